//! The bytes of snapshots: little-endian numbers, varints for counts, length-prefixed text.
//!
//! A format of its own rather than JSON because floats must come back bit for bit, and because a
//! series then takes a third of the bytes; checkpoints carry this every few seconds.

use std::sync::Arc;

use super::DetectorError;

/// Version of the layout, for all kinds. To be raised with every change of it.
pub const VERSION: u8 = 1;

/// First byte: tells a snapshot from other bytes.
const MAGIC: u8 = 0xA7;

/// Appends values.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A snapshot of a detector (or buffer) of this kind.
    pub fn new(kind: &str) -> Self {
        let mut writer = Writer { bytes: vec![MAGIC, VERSION] };
        writer.text(kind);
        writer
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A time, or that there is none.
    pub fn time(&mut self, value: Option<i64>) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            self.i64(value);
        }
    }

    /// A float that [`Reader::f64`] takes only if it is finite.
    pub fn f64(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Any float, finite or not.
    pub fn bits(&mut self, value: f64) {
        self.f64(value);
    }

    pub fn f32(&mut self, value: f32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn text(&mut self, value: &str) {
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// Bytes with their length before them.
    pub fn block(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads what a [`Writer`] wrote; every read is checked, so that no bytes can do harm.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Checks the head.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] if the bytes are no snapshot, of a newer version, or of another kind.
    pub fn new(kind: &'static str, bytes: &'a [u8]) -> Result<Self, DetectorError> {
        let mut reader = Reader { bytes, offset: 0 };
        if reader.u8()? != MAGIC {
            return Err(DetectorError::Corrupt { offset: 0, detail: "not a detector's state" });
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(DetectorError::Version { found: version, known: VERSION });
        }
        let found = reader.text()?;
        if &*found != kind {
            return Err(DetectorError::Kind { expected: kind, found: found.to_string() });
        }
        Ok(reader)
    }

    /// An error at the place last read.
    pub fn corrupt(&self, detail: &'static str) -> DetectorError {
        DetectorError::Corrupt { offset: self.offset, detail }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DetectorError> {
        let end = self.offset.checked_add(length).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(self.corrupt("it ends too early"));
        };
        let taken = &self.bytes[self.offset..end];
        self.offset = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DetectorError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// What [`Writer::block`] wrote.
    pub fn block(&mut self) -> Result<&'a [u8], DetectorError> {
        let length = self.count(1)?;
        self.take(length)
    }

    pub fn u8(&mut self) -> Result<u8, DetectorError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn varint(&mut self) -> Result<u64, DetectorError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.corrupt("a number is too long"))
    }

    pub fn u32(&mut self) -> Result<u32, DetectorError> {
        u32::try_from(self.varint()?).map_err(|_| self.corrupt("a number is too large"))
    }

    /// The number of items that follow, each of at least `size` bytes. Holding it against the
    /// bytes left keeps a damaged count from asking for all the memory there is.
    pub fn count(&mut self, size: usize) -> Result<usize, DetectorError> {
        let count = self.varint()?;
        let left = (self.bytes.len() - self.offset) / size.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= left => Ok(count),
            _ => Err(self.corrupt("a count is larger than what follows")),
        }
    }

    pub fn i64(&mut self) -> Result<i64, DetectorError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A time, if there was one.
    pub fn time(&mut self) -> Result<Option<i64>, DetectorError> {
        Ok(if self.u8()? != 0 { Some(self.i64()?) } else { None })
    }

    /// A finite float.
    pub fn f64(&mut self) -> Result<f64, DetectorError> {
        let value = f64::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err(self.corrupt("a number is not finite")) }
    }

    /// Any float, finite or not.
    pub fn bits(&mut self) -> Result<f64, DetectorError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A finite float.
    pub fn f32(&mut self) -> Result<f32, DetectorError> {
        let value = f32::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err(self.corrupt("a number is not finite")) }
    }

    pub fn text(&mut self) -> Result<Arc<str>, DetectorError> {
        let length = self.count(1)?;
        match std::str::from_utf8(self.take(length)?) {
            Ok(text) => Ok(Arc::from(text)),
            Err(_) => Err(self.corrupt("text is not UTF-8")),
        }
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Corrupt`] if there is.
    pub fn finish(self) -> Result<(), DetectorError> {
        if self.offset == self.bytes.len() { Ok(()) } else { Err(self.corrupt("it goes on")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(a in any::<u64>(), b in any::<i64>(), c in -1e300f64..1e300, t in ".*") {
            let mut out = Writer::new("k");
            out.varint(a);
            out.i64(b);
            out.f64(c);
            out.text(&t);
            let bytes = out.finish();
            let mut input = Reader::new("k", &bytes).unwrap();
            prop_assert_eq!(input.varint().unwrap(), a);
            prop_assert_eq!(input.i64().unwrap(), b);
            prop_assert_eq!(input.f64().unwrap(), c);
            prop_assert_eq!(&*input.text().unwrap(), t.as_str());
            input.finish().unwrap();
        }
    }

    #[test]
    fn the_head_is_checked() {
        let bytes = Writer::new("a").finish();
        assert!(matches!(Reader::new("b", &bytes), Err(DetectorError::Kind { .. })));
        let mut newer = bytes.clone();
        newer[1] = VERSION + 1;
        assert!(matches!(Reader::new("a", &newer), Err(DetectorError::Version { .. })));
        assert!(matches!(Reader::new("a", b""), Err(DetectorError::Corrupt { .. })));
        assert!(matches!(Reader::new("a", b"{}"), Err(DetectorError::Corrupt { .. })));
    }
}
