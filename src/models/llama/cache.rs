//! Keys and values of the tokens already seen, for generation.

use crate::ops::RopeTable;
use candle_core::{Result, Tensor};

/// Keys and values of every block for one text.
#[derive(Clone, Debug)]
pub struct KvCache {
    blocks: Vec<Option<(Tensor, Tensor)>>,
    capacity: usize,
    len: usize,
    pub(super) table: RopeTable,
}

impl KvCache {
    pub(super) fn new(blocks: usize, capacity: usize, table: RopeTable) -> Self {
        Self { blocks: vec![None; blocks], capacity, len: 0, table }
    }

    /// Tokens it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn grow(&mut self, n: usize) {
        self.len += n;
    }

    /// Appends `k, v [1, n, kv_heads * d]` to `block` and returns all of them.
    pub(super) fn append(&mut self, block: usize, k: Tensor, v: Tensor) -> Result<(Tensor, Tensor)> {
        let all = match self.blocks[block].take() {
            Some((old_k, old_v)) => (Tensor::cat(&[&old_k, &k], 1)?, Tensor::cat(&[&old_v, &v], 1)?),
            None => (k, v),
        };
        self.blocks[block] = Some(all.clone());
        Ok(all)
    }
}
