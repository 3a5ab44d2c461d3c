//! A keyed permutation of `0..n` that can be read at any place without making the others: a balanced Feistel network
//! over the smallest even number of bits that holds `n`, walked until the value is below `n`.

use std::num::NonZeroU64;

const ROUNDS: u64 = 8;
/// Smaller halves leave too few networks for an even choice among the orders of a small set.
const MIN_HALF: u32 = 3;

/// A permutation of `0..n`, the same for the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permutation {
    n: NonZeroU64,
    half: u32,
    keys: [u64; ROUNDS as usize],
}

impl Permutation {
    /// The permutation of `0..n` under `seed` and `stream` (an epoch, for instance). `None` for `n = 0`.
    #[must_use]
    pub fn new(n: u64, seed: u64, stream: u64) -> Option<Self> {
        let n = NonZeroU64::new(n)?;
        let bits = 64 - (n.get() - 1).leading_zeros();
        let base = mix(mix(seed) ^ stream);
        let mut keys = [0; ROUNDS as usize];
        for (round, key) in (0..).zip(&mut keys) {
            *key = mix(base.wrapping_add(round));
        }
        Some(Self { n, half: bits.div_ceil(2).max(MIN_HALF), keys })
    }

    /// Element at `place`, in a handful of steps on average.
    ///
    /// # Panics
    /// If `place` is not below `n`.
    #[must_use]
    pub fn get(&self, place: u64) -> u64 {
        assert!(place < self.n.get(), "place {place} of a permutation of {}", self.n);
        let mut value = self.round_trip(place);
        while value >= self.n.get() {
            value = self.round_trip(value);
        }
        value
    }

    /// One pass through the network: a bijection on `2 * half` bits.
    fn round_trip(&self, value: u64) -> u64 {
        let mask = (1_u64 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half) | right
    }
}

/// The finaliser of splitmix64: every bit of the input moves every bit of the output.
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn is_a_bijection(n in 1_u64..3000, seed: u64, epoch in 0_u64..100) {
            let permutation = Permutation::new(n, seed, epoch).unwrap();
            let mut seen: Vec<u64> = (0..n).map(|i| permutation.get(i)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_matter_and_large_sets_are_read_at_once() {
        let order = |seed, epoch| {
            let p = Permutation::new(1000, seed, epoch).unwrap();
            (0..1000).map(|i| p.get(i)).collect::<Vec<_>>()
        };
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        let huge = Permutation::new(u64::MAX >> 2, 3, 0).unwrap();
        assert_ne!(huge.get(12_345), huge.get(12_346));
        assert!(Permutation::new(0, 0, 0).is_none());
    }

    #[test]
    fn looks_uniform() {
        // Over 2,000 keys each of 10 elements should come first about 200 times (standard deviation 13).
        let mut first = [0_u32; 10];
        for seed in 0..2000 {
            first[Permutation::new(10, seed, 0).unwrap().get(0) as usize] += 1;
        }
        assert!(first.iter().all(|&n| (140..=260).contains(&n)), "{first:?}");
    }
}
