//! Random numbers that are the same on every machine and in every later version.
//!
//! Written out here rather than taken from a crate because the bytes a seed gives are a promise:
//! a crate may change its streams with any release.

/// SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014). It is a bijection on 64 bits: distinct inputs give distinct outputs.
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The step of SplitMix64's counter: 2^64 divided by the golden ratio, odd.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2019),
/// seeded through SplitMix64 as its authors recommend.
#[derive(Clone, Debug)]
pub(super) struct Rng([u64; 4]);

impl Rng {
    /// The stream numbered `stream` of `seed`; streams of one seed are independent.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut counter = mix(seed.wrapping_add(GOLDEN)) ^ mix(stream.wrapping_add(1));
        Self(std::array::from_fn(|_| {
            counter = counter.wrapping_add(GOLDEN);
            mix(counter)
        }))
    }

    /// 64 random bits.
    #[inline]
    pub fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`, or 0 if `bound` is 0. Lemire's multiplication without rejection:
    /// the bias is below `bound / 2^32`.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        scale(self.next() >> 32, bound)
    }

    /// A number in `0.0..1.0`, a multiple of 2^-53.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// Maps `bits`, 32 random bits, to `0..bound`.
#[inline]
pub(super) fn scale(bits: u64, bound: u32) -> u32 {
    (((bits & 0xffff_ffff) * u64::from(bound)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_pinned() {
        let mut rng = Rng::new(42, 0);
        let first: Vec<u64> = (0..3).map(|_| rng.next()).collect();
        let mut again = Rng::new(42, 0);
        assert_eq!(first, (0..3).map(|_| again.next()).collect::<Vec<_>>());
        assert_ne!(first[0], Rng::new(42, 1).next());
        assert_ne!(first[0], Rng::new(43, 0).next());
    }

    #[test]
    fn xoshiro_matches_its_reference() {
        // First outputs of the authors' C code for the state 1, 2, 3, 4.
        let mut rng = Rng([1, 2, 3, 4]);
        let outputs: Vec<u64> = (0..4).map(|_| rng.next()).collect();
        assert_eq!(outputs, [41943041, 58720359, 3588806011781223, 3591011842654386]);
    }

    #[test]
    fn bounds_hold() {
        let mut rng = Rng::new(7, 7);
        for bound in [1, 2, 24, 20_000, u32::MAX] {
            for _ in 0..1000 {
                assert!(rng.below(bound) < bound);
            }
        }
        assert_eq!(rng.below(0), 0);
        let mean = (0..100_000).map(|_| rng.unit()).sum::<f64>() / 100_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
