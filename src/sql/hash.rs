//! A hash that is the same in every run, release and machine.
//!
//! It decides which shard a key belongs to and names plans in checkpoints, so its values are kept:
//! a test pins them. The mixing step is the folded 64 x 64 -> 128 bit multiplication of wyhash
//! (Wang Yi, <https://github.com/wangyi-fudan/wyhash>).

const START: u64 = 0xa076_1d64_78bd_642f;
const STEP: u64 = 0xe703_7ed1_a0b4_28db;
const END: u64 = 0x8ebc_6af0_9c88_c6e3;

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Hashes one 64-bit value on top of `seed`.
#[inline]
pub(crate) fn hash_u64(seed: u64, value: u64) -> u64 {
    fold(fold(value ^ START, STEP ^ seed), END ^ value)
}

/// Hashes bytes on top of `seed`. Eight at a time, little-endian; the length takes part.
#[inline]
pub(crate) fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = fold(START ^ seed, STEP ^ bytes.len() as u64);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0_u8; 8];
        word.copy_from_slice(chunk);
        state = fold(state ^ u64::from_le_bytes(word), STEP);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0_u8; 8];
        word[..rest.len()].copy_from_slice(rest);
        state = fold(state ^ u64::from_le_bytes(word), END);
    }
    fold(state, END)
}

/// 128 bits of hash as 32 hexadecimal digits.
pub(crate) fn hex(text: &str) -> String {
    let bytes = text.as_bytes();
    format!("{:016x}{:016x}", hash_bytes(0, bytes), hash_bytes(1, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_never_change() {
        assert_eq!(hash_u64(0, 1), 9_969_388_204_246_444_763);
        assert_eq!(hex("millpond"), "7042101e31a9f6b2a514086013d426e3");
    }

    #[test]
    fn spreads_small_differences() {
        let mut low = [0_usize; 8];
        for number in 0..8_000_u64 {
            low[(hash_u64(0, number) % 8) as usize] += 1;
        }
        for number in 0..8_000_u64 {
            low[(hash_bytes(0, format!("key-{number}").as_bytes()) % 8) as usize] += 1;
        }
        assert!(low.iter().all(|count| (1_800..2_200).contains(count)), "{low:?}");
        assert_ne!(hash_bytes(0, b"a"), hash_bytes(0, b"a\0"));
        assert_ne!(hash_bytes(0, b""), hash_bytes(1, b""));
    }
}
