//! JSON strings that are read, and the base64 in some of them.

use super::cursor::{Cursor, Fail};
use super::scan::find_special;
use crate::codec::Reason;

impl<'a> Cursor<'a> {
    /// Appends the string that starts here, unescaped, to `out`. After a failure `out` may end
    /// with a part of it.
    #[inline(always)]
    pub fn string_into(&mut self, out: &mut Vec<u8>) -> Result<(), Fail> {
        let start = self.at + 1;
        let (end, not_ascii) = find_special(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') && !not_ascii {
            out.extend_from_slice(&self.bytes[start..end]);
            self.at = end + 1;
            return Ok(());
        }
        self.any_string_into(out)
    }

    /// As above, for strings with escapes or with more than ASCII in them.
    #[inline(never)]
    fn any_string_into(&mut self, out: &mut Vec<u8>) -> Result<(), Fail> {
        self.at += 1;
        loop {
            // Escapes are ASCII: the text is UTF-8 if each piece between them is.
            let (end, not_ascii) = find_special(self.bytes, self.at);
            let piece = &self.bytes[self.at..end];
            if not_ascii && let Err(error) = std::str::from_utf8(piece) {
                return self.fail_at(self.at + error.valid_up_to(), Reason::InvalidUtf8);
            }
            out.extend_from_slice(piece);
            self.at = end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    let c = self.escape()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(_) => return self.fail(Reason::ControlCharacter),
                None => return self.fail(Reason::Truncated),
            }
        }
    }

    /// The string that starts here: in place where it can be, in `scratch` if it has escapes.
    #[inline]
    pub fn text<'t>(&mut self, scratch: &'t mut Vec<u8>) -> Result<&'t [u8], Fail>
    where
        'a: 't,
    {
        let start = self.at + 1;
        let (end, not_ascii) = find_special(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') && !not_ascii {
            self.at = end + 1;
            return Ok(&self.bytes[start..end]);
        }
        scratch.clear();
        self.any_string_into(scratch)?;
        Ok(scratch)
    }

    /// Appends the JSON text of the value that starts here to `out`.
    #[inline(never)]
    pub fn raw_into(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Fail> {
        let start = self.at;
        self.skip_value(depth)?;
        let raw = &self.bytes[start..self.at];
        if let Err(error) = std::str::from_utf8(raw) {
            return self.fail_at(start + error.valid_up_to(), Reason::InvalidUtf8);
        }
        out.extend_from_slice(raw);
        Ok(())
    }

    /// Appends the bytes that the base64 string here stands for to `out`.
    pub fn base64_into(&mut self, out: &mut Vec<u8>) -> Result<(), Fail> {
        if self.peek() != Some(b'"') {
            return self.mismatch("BINARY (a base64 string)");
        }
        let start = self.at;
        let mut scratch = Vec::new();
        let text = self.text(&mut scratch)?;
        if !decode_base64(text, out) {
            return self.fail_at(start, Reason::InvalidBase64);
        }
        Ok(())
    }
}

/// Appends what padded standard base64 (RFC 4648, section 4) stands for; false if it is not that.
/// White space between the characters is passed over, as Jackson does, which Spark reads with.
fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut group, mut characters, mut padding) = (0u32, 0, 0);
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if characters + padding >= 2 && characters + padding < 4 => {
                padding += 1;
                continue;
            }
            0..=b' ' => continue,
            _ => return false,
        };
        if padding > 0 {
            return false;
        }
        group = group << 6 | u32::from(value);
        characters += 1;
        if characters == 4 {
            out.extend_from_slice(&group.to_be_bytes()[1..]);
            (group, characters) = (0, 0);
        }
    }
    match (characters, padding) {
        (0, 0) => {}
        // The bits below the last whole byte must be zero, or two texts would mean one value.
        (2, 2) if group & 0xf == 0 => out.push((group >> 4) as u8),
        (3, 1) if group & 0x3 == 0 => out.extend_from_slice(&((group >> 2) as u16).to_be_bytes()),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode_base64(text.as_bytes(), &mut out).then_some(out)
    }

    #[test]
    fn base64_of_rfc_4648() {
        for (text, wanted) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zm9v\r\nYmFy", "foobar"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(wanted.as_bytes()), "{text}");
        }
        assert_eq!(base64("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
        for bad in [
            "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm8", "Zm9=", "=", "====", "Z===", "Zg==Zg==",
            "Zm9v=", "Zm-_", "Zm9vé",
        ] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }

    fn string(bytes: &[u8]) -> Result<String, &'static str> {
        let mut cursor = Cursor::new(bytes, 1);
        let mut out = Vec::new();
        match cursor.string_into(&mut out) {
            Ok(()) => {
                assert_eq!(cursor.at, bytes.len());
                let mut skip = Cursor::new(bytes, 1);
                skip.skip_string().unwrap();
                assert_eq!(skip.at, bytes.len());
                Ok(String::from_utf8(out).unwrap())
            }
            Err(Fail) => Err(cursor.into_fault().code()),
        }
    }

    #[test]
    fn strings_and_their_escapes() {
        for (text, wanted) in [
            (r#""""#, ""),
            (r#""plain""#, "plain"),
            (r#""äöü €""#, "äöü €"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u0041\u00e4\u20AC""#, "Aä€"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""\u0000""#, "\0"),
            (
                r#""a long enough string \\ to need several blocks of sixteen \" bytes""#,
                r#"a long enough string \ to need several blocks of sixteen " bytes"#,
            ),
        ] {
            assert_eq!(string(text.as_bytes()).as_deref(), Ok(wanted), "{text}");
        }
        for (text, wanted) in [
            (&br#""open"#[..], "truncated"),
            (br#""open\"#, "truncated"),
            (br#""\u00"#, "truncated"),
            (br#""\x41""#, "invalid_escape"),
            (br#""\u00g0""#, "invalid_escape"),
            (br#""\u+123""#, "invalid_escape"),
            (br#""\ud83d""#, "invalid_escape"),
            (br#""\ude00""#, "invalid_escape"),
            (br#""\ud83d\u0041""#, "invalid_escape"),
            (br#""\ud83dxx""#, "invalid_escape"),
            (b"\"a\nb\"", "control_character"),
            (b"\"a\x00b\"", "control_character"),
            (b"\"\xff\"", "invalid_utf8"),
            (b"\"\xc0\x80\"", "invalid_utf8"),
            (b"\"\xed\xa0\x80\"", "invalid_utf8"),
            (b"\"\xe2\x82\\n\"", "invalid_utf8"),
        ] {
            assert_eq!(string(text), Err(wanted), "{}", text.escape_ascii());
        }
    }
}
