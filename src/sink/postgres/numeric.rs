//! Decimals in PostgreSQL's binary form.

use bytes::{BufMut, BytesMut};

/// Appends `unscaled * 10^-scale` as `numeric` is sent: digits to the base of 10,000, each a 16-bit
/// integer, behind their number, the weight of the first, the sign and the digits after the point.
/// The length goes before it. `scale` is not negative.
/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/numeric.c> (numeric_recv)
pub(super) fn put(unscaled: i128, scale: u32, out: &mut BytesMut) {
    const BASE: u128 = 10_000;
    const NEGATIVE: u16 = 0x4000;
    // Padded so that the point stands between two digits.
    let padding = (4 - scale % 4) % 4;
    let groups_after = (scale + padding) / 4;
    let magnitude = unscaled.unsigned_abs();
    // 38 decimal digits and up to three of padding make more than an i128 holds: the lowest digit
    // is split off first.
    let low = 10u128.pow(4 - padding);
    let mut digits = Vec::with_capacity(11);
    digits.push((magnitude % low * 10u128.pow(padding)) as u16);
    let mut rest = magnitude / low;
    while rest > 0 {
        digits.push((rest % BASE) as u16);
        rest /= BASE;
    }
    // Lowest first so far. Zeros at the end after the point, and at the beginning, are not sent.
    let mut weight = digits.len() as i32 - 1 - groups_after as i32;
    while digits.last() == Some(&0) {
        digits.pop();
        weight -= 1;
    }
    digits.reverse();
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.is_empty() {
        weight = 0;
    }
    out.put_i32(8 + 2 * digits.len() as i32);
    out.put_i16(digits.len() as i16);
    out.put_i16(weight as i16);
    out.put_u16(if unscaled < 0 { NEGATIVE } else { 0 });
    out.put_i16(scale as i16);
    for digit in digits {
        out.put_u16(digit);
    }
}
