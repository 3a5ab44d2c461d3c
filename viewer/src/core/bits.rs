//! Sets of samples by number.

/// A set of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl PartialEq for Bits {
    /// Equal sets, however long their words.
    fn eq(&self, other: &Self) -> bool {
        let longest = self.words.len().max(other.words.len());
        self.count == other.count && (0..longest).all(|i| self.word(i) == other.word(i))
    }
}

impl Bits {
    /// The set of `numbers`.
    pub(crate) fn of(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|n| set.insert(n));
        set
    }

    fn word(&self, i: usize) -> u64 {
        self.words.get(i).copied().unwrap_or(0)
    }

    pub(crate) fn insert(&mut self, number: u32) {
        let at = number as usize / 64;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let bit = 1 << (number % 64);
        self.count += usize::from(self.words[at] & bit == 0);
        self.words[at] |= bit;
    }

    #[inline]
    pub(crate) fn has(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|w| w & (1 << (number % 64)) != 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The numbers, smallest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                (left != 0).then(|| {
                    left &= left - 1;
                    at as u32 * 64 + bit
                })
            })
        })
    }

    fn merge(&self, other: &Self, how: impl Fn(u64, u64) -> u64) -> Self {
        let words: Vec<u64> =
            (0..self.words.len().max(other.words.len())).map(|i| how(self.word(i), other.word(i))).collect();
        let count = words.iter().map(|w| w.count_ones() as usize).sum();
        Self { words, count }
    }

    pub(crate) fn or(&self, other: &Self) -> Self {
        self.merge(other, |a, b| a | b)
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.merge(other, |a, b| a & !b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algebra_of_sets() {
        let (a, b) = (Bits::of([1, 2, 200]), Bits::of([2, 3]));
        let list = |s: Bits| s.iter().collect::<Vec<_>>();
        assert_eq!(list(a.or(&b)), [1, 2, 3, 200]);
        assert_eq!(list(a.minus(&b)), [1, 200]);
        assert_eq!((a.len(), a.or(&b).len()), (3, 4));
        assert!(a.has(200) && !a.has(199) && !b.has(10_000));
        assert_eq!(Bits::of([5, 5]).len(), 1);
        assert_eq!(a.minus(&a), Bits::default());
    }
}
