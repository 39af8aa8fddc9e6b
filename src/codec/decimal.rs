//! Decimals as unscaled numbers.

/// An unscaled value of scale `from` as one of scale `to`, rounded half up (away from zero).
pub(super) fn rescale(value: i128, from: i32, to: i32) -> Option<i128> {
    let digits = from.abs_diff(to);
    if from <= to {
        return match value {
            0 => Some(0),
            _ => value.checked_mul(10i128.checked_pow(digits)?),
        };
    }
    // Beyond the 39 digits of an i128 nothing is left.
    let Some(unit) = 10i128.checked_pow(digits) else { return Some(0) };
    let (whole, rest) = (value / unit, value % unit);
    let up = rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2);
    Some(whole + if up { value.signum() } else { 0 })
}

/// A two's complement number, or None beyond the range of `i128`. No bytes are zero.
pub(super) fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let filler = if negative { 0xff } else { 0 };
    let significant = bytes.iter().position(|byte| *byte != filler).unwrap_or(bytes.len());
    let digits = &bytes[significant..];
    let mut wide = [filler; 16];
    wide.get_mut(16usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    let value = i128::from_be_bytes(wide);
    // Sixteen significant bytes may spell the other sign.
    ((value < 0) == negative).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rescaling_rounds_half_away_from_zero() {
        for (value, from, to, wanted) in [
            (0, 0, 38, Some(0)),
            (15, 1, 0, Some(2)),
            (-15, 1, 0, Some(-2)),
            (14, 1, 0, Some(1)),
            (-149, 2, 0, Some(-1)),
            (5, 1, 0, Some(1)),
            (7, 0, 3, Some(7000)),
            (1, 0, 38, Some(10i128.pow(38))),
            (2, 0, 38, None),
            (i128::MAX, 0, 1, None),
            (i128::MIN, 200, 0, Some(0)),
            (1, 0, 100, None),
        ] {
            assert_eq!(rescale(value, from, to), wanted, "{value} {from} {to}");
        }
    }

    #[test]
    fn bytes_are_twos_complement() {
        assert_eq!(big_endian(&[]), Some(0));
        assert_eq!(big_endian(&[0xff]), Some(-1));
        assert_eq!(big_endian(&[0, 0x80]), Some(128));
        assert_eq!(big_endian(&[0x80]), Some(-128));
        assert_eq!(big_endian(&[0xff; 40]), Some(-1));
        assert_eq!(big_endian(&[0; 40]), Some(0));
        let mut wide = [0; 17];
        wide[1] = 0x80;
        assert_eq!(big_endian(&wide), None);
        assert_eq!(big_endian(&[0x7f; 17]), None);
        assert_eq!(big_endian(&i128::MIN.to_be_bytes()), Some(i128::MIN));
        let mut wide = [0xff; 17];
        wide[1] = 0x7f;
        assert_eq!(big_endian(&wide), None);
    }

    proptest! {
        #[test]
        fn every_number_survives(value in any::<i128>(), padding in 0usize..4) {
            let filler = if value < 0 { 0xff } else { 0 };
            let mut bytes = vec![filler; padding];
            bytes.extend(value.to_be_bytes());
            prop_assert_eq!(big_endian(&bytes), Some(value));
        }
    }
}
