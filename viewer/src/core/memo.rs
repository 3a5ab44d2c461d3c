//! Values that are computed again only when what they depend on changed.

/// The last value, and the key it belongs to.
#[derive(Debug)]
pub(crate) struct Memo<K, V> {
    held: Option<(K, V)>,
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self { held: None }
    }
}

impl<K: PartialEq, V> Memo<K, V> {
    /// The value that is held, whatever its key.
    pub(crate) fn held(&self) -> Option<&V> {
        self.held.as_ref().map(|(_, value)| value)
    }

    /// The value of `key`, made by `make` unless it is the one that is held.
    pub(crate) fn get(&mut self, key: K, make: impl FnOnce() -> V) -> &V {
        if self.held.as_ref().is_none_or(|(held, _)| *held != key) {
            self.held = Some((key, make()));
        }
        match &self.held {
            Some((_, value)) => value,
            None => unreachable!("it was set just above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_key_computes_again() {
        let mut memo = Memo::default();
        assert_eq!(*memo.get(1, || 10), 10);
        assert_eq!(*memo.get(1, || 11), 10);
        assert_eq!(*memo.get(2, || 12), 12);
    }
}
