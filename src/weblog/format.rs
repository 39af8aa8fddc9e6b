//! Numbers and timestamps as text, without allocating.

/// `00` to `99`: formatting two digits at a time halves the divisions.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// The last millisecond of the year 9999, the last that RFC 3339 can write.
pub(super) const LAST_MS: i64 = 253_402_300_799_999;
const DAY_MS: i64 = 86_400_000;

/// Appends `value` in decimal.
#[inline]
pub(super) fn push_decimal(buffer: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[rest as usize]);
    } else {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    buffer.extend_from_slice(&digits[at..]);
}

/// Appends a number of tenths with one decimal: 1234 as `123.4`.
#[inline]
pub(super) fn push_tenths(buffer: &mut Vec<u8>, tenths: u64) {
    push_decimal(buffer, tenths / 10);
    buffer.extend_from_slice(&[b'.', b'0' + (tenths % 10) as u8]);
}

/// The 16 lowercase hexadecimal digits of `value`.
#[inline]
pub(super) fn hex(value: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|i| DIGITS[((value >> (60 - 4 * i)) & 15) as usize])
}

/// Writes timestamps; remembers the date of the last, which most share with the next.
pub(super) struct Timestamps {
    day: i64,
    date: [u8; 10],
}

impl Timestamps {
    pub fn new() -> Self {
        Self { day: 0, date: *b"1970-01-01" }
    }

    /// Writes `ms`, milliseconds since the Unix epoch, as `2026-01-01T00:00:00.000Z`. What is
    /// outside the years 1970 to 9999 is written as the nearest that is inside.
    #[inline]
    pub fn write(&mut self, ms: i64, out: &mut [u8; 24]) {
        let ms = ms.clamp(0, LAST_MS);
        let (day, of_day) = (ms / DAY_MS, (ms % DAY_MS) as u32);
        if day != self.day {
            self.day = day;
            self.date = date_text(day);
        }
        let (seconds, millis) = (of_day / 1000, of_day % 1000);
        let (minutes, second) = (seconds / 60, seconds % 60);
        let pair = |n: u32| PAIRS[n as usize];
        out[..10].copy_from_slice(&self.date);
        out[10] = b'T';
        out[11..13].copy_from_slice(&pair(minutes / 60));
        out[13] = b':';
        out[14..16].copy_from_slice(&pair(minutes % 60));
        out[16] = b':';
        out[17..19].copy_from_slice(&pair(second));
        out[19] = b'.';
        out[20] = b'0' + (millis / 100) as u8;
        out[21..23].copy_from_slice(&pair(millis % 100));
        out[23] = b'Z';
    }
}

/// The date `day` days after 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant,
/// "chrono-compatible low-level date algorithms", `civil_from_days`).
fn date_text(day: i64) -> [u8; 10] {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let pair = |n: i64| PAIRS[(n % 100) as usize];
    let mut text = *b"0000-00-00";
    text[0..2].copy_from_slice(&pair(year / 100));
    text[2..4].copy_from_slice(&pair(year));
    text[5..7].copy_from_slice(&pair(month));
    text[8..10].copy_from_slice(&pair(day));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer);
        String::from_utf8(buffer).expect("only ASCII is written")
    }

    #[test]
    fn decimals_are_those_of_the_standard_library() {
        let mut value = 1u64;
        for _ in 0..64 {
            for n in [value - 1, value, value + 1, value * 7 / 5] {
                assert_eq!(text(|b| push_decimal(b, n)), n.to_string());
            }
            value = value.saturating_mul(2).min(u64::MAX / 8);
        }
        assert_eq!(text(|b| push_decimal(b, u64::MAX)), u64::MAX.to_string());
        assert_eq!(text(|b| push_tenths(b, 0)), "0.0");
        assert_eq!(text(|b| push_tenths(b, 1234)), "123.4");
        assert_eq!(&hex(0x0123_4567_89ab_cdef), b"0123456789abcdef");
    }

    #[test]
    fn timestamps_are_those_of_chrono() {
        let mut timestamps = Timestamps::new();
        let mut out = [0; 24];
        let mut ms = 0;
        while ms <= LAST_MS {
            timestamps.write(ms, &mut out);
            let wanted = chrono::DateTime::from_timestamp_millis(ms)
                .map(|t| t.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
            assert_eq!(std::str::from_utf8(&out).ok(), wanted.as_deref());
            ms += 7_890_123_457;
        }
        for (ms, wanted) in
            [(-5, b"1970-01-01T00:00:00.000Z"), (i64::MAX, b"9999-12-31T23:59:59.999Z")]
        {
            timestamps.write(ms, &mut out);
            assert_eq!(&out, wanted);
        }
    }
}
