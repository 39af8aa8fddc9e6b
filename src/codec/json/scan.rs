//! Looking at 16 bytes at once: where a string ends, and whether the predicted key is next.
//!
//! SSE2 belongs to every x86-64, so that it needs no detection at run time and inlines into its
//! callers, which matters more for strings of 10 to 100 bytes than wider registers would. Other
//! machines take the loops over bytes, which are also what the tests hold the former against.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
};

/// Whether a byte cannot simply be copied out of a JSON string: `"`, `\` or a control character.
#[inline(always)]
fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// One bit a byte: which are special, and which are not ASCII.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn masks(block: &[u8; 16]) -> (u32, u32) {
    // SAFETY: SSE2 belongs to every x86-64. The load reads the 16 bytes of the reference and asks
    // for no alignment; everything else works on registers.
    unsafe {
        let block = _mm_loadu_si128(block.as_ptr().cast());
        let quote = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'\\' as i8));
        // Unsigned "less than 0x20" is "the lesser of it and 0x1f is itself".
        let control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
        let special = _mm_or_si128(_mm_or_si128(quote, backslash), control);
        // A movemask of 16 bytes has 16 bits.
        (_mm_movemask_epi8(special) as u32, _mm_movemask_epi8(block) as u32)
    }
}

/// One bit a byte: which are the same in both.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn equal(one: &[u8; 16], other: &[u8; 16]) -> u32 {
    // SAFETY: SSE2 belongs to every x86-64. The loads read the 16 bytes of the references and ask
    // for no alignment; everything else works on registers.
    unsafe {
        let one = _mm_loadu_si128(one.as_ptr().cast());
        let other = _mm_loadu_si128(other.as_ptr().cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(one, other)) as u32
    }
}

/// Finds the first special byte at or after `from`: its position (the length of `bytes` when
/// there is none), and whether a byte before it is not ASCII.
#[inline(always)]
pub(super) fn find_special(bytes: &[u8], from: usize) -> (usize, bool) {
    #[cfg(target_arch = "x86_64")]
    {
        let mut at = from;
        let mut not_ascii = 0;
        while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
            let (special, high) = masks(block);
            if special != 0 {
                // The bits below the lowest set one.
                let before = special & special.wrapping_neg();
                not_ascii |= high & before.wrapping_sub(1);
                return (at + special.trailing_zeros() as usize, not_ascii != 0);
            }
            not_ascii |= high;
            at += 16;
        }
        // Fewer than 16 bytes are left: look at the last 16 again, less what was seen.
        if let Some(block) = bytes.last_chunk::<16>()
            && at < bytes.len()
        {
            let seen = at + 16 - bytes.len();
            let (special, high) = masks(block);
            let (special, high) = (special >> seen, high >> seen);
            if special != 0 {
                let before = special & special.wrapping_neg();
                not_ascii |= high & before.wrapping_sub(1);
                return (at + special.trailing_zeros() as usize, not_ascii != 0);
            }
            return (bytes.len(), (not_ascii | high) != 0);
        }
        find_special_by_byte(bytes, at, not_ascii != 0)
    }
    #[cfg(not(target_arch = "x86_64"))]
    find_special_by_byte(bytes, from, false)
}

fn find_special_by_byte(bytes: &[u8], from: usize, mut not_ascii: bool) -> (usize, bool) {
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        if is_special(byte) {
            break;
        }
        not_ascii |= !byte.is_ascii();
        at += 1;
    }
    (at, not_ascii)
}

/// A piece of text that is expected at some place, made ready for comparing.
#[derive(Debug)]
pub(super) struct Pattern {
    text: Box<[u8]>,
    /// The first 32 bytes of it, and one bit for each of them that is there.
    head: [[u8; 16]; 2],
    mask: u32,
}

impl Pattern {
    /// An empty text makes a pattern that never matches.
    pub(super) fn new(text: &[u8]) -> Self {
        let mut head = [[0; 16]; 2];
        for (to, from) in head.as_flattened_mut().iter_mut().zip(text) {
            *to = *from;
        }
        let mask = u32::MAX.checked_shl(text.len() as u32).map_or(u32::MAX, |above| !above);
        Self { text: text.into(), head, mask }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether the text stands at `at`.
    #[inline(always)]
    pub(super) fn stands_at(&self, bytes: &[u8], at: usize) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self.text.len() <= 32
            && let Some(window) = bytes.get(at..).and_then(|rest| rest.first_chunk::<32>())
        {
            // The halves of 32 bytes are 16 bytes each: the split cannot fail.
            let (low, high) = window.split_at(16);
            let (Some(low), Some(high)) = (low.first_chunk(), high.first_chunk()) else {
                return false;
            };
            let (low, high) = (equal(low, &self.head[0]), equal(high, &self.head[1]));
            return (low | high << 16) & self.mask == self.mask && self.mask != 0;
        }
        !self.text.is_empty() && bytes.get(at..).is_some_and(|rest| rest.starts_with(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_the_loop_over_bytes_finds(
            bytes in prop::collection::vec(
                prop_oneof![20 => b'a'..=b'z', 1 => Just(b'"'), 1 => Just(b'\\'), 1 => any::<u8>()],
                0..80,
            ),
            from in 0usize..80,
        ) {
            let from = from.min(bytes.len());
            prop_assert_eq!(
                find_special(&bytes, from),
                find_special_by_byte(&bytes, from, false)
            );
        }

        #[test]
        fn matches_as_starts_with_does(
            text in prop::collection::vec(b'a'..=b'c', 0..40),
            before in 0usize..20,
            after in 0usize..40,
            flip in 0usize..60,
        ) {
            let pattern = Pattern::new(&text);
            let mut bytes = vec![b'x'; before];
            bytes.extend(&text);
            bytes.extend(vec![b'y'; after]);
            prop_assert_eq!(pattern.stands_at(&bytes, before), !text.is_empty());
            if let Some(byte) = bytes.get_mut(flip) {
                *byte ^= 1;
                let stands = flip < before || flip >= before + text.len();
                prop_assert_eq!(pattern.stands_at(&bytes, before), stands && !text.is_empty());
            }
            prop_assert!(!pattern.stands_at(&bytes, bytes.len() + 1));
        }
    }
}
