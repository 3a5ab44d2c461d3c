//! How many different samples there are: more clusters than that would stand empty.

use crate::linalg::{Real, Rows, mean};
use ndarray::ArrayView2;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

/// Different rows of `x [N, D]`, as clusters see them: in float32, about the mean.
#[must_use]
pub fn distinct<T: Real>(x: ArrayView2<'_, T>) -> usize {
    let rows = Rows::centred(x, mean(x).view());
    let hash = |i: usize| {
        let mut hasher = DefaultHasher::new();
        // Zero has two signs.
        rows.row(i).iter().for_each(|v| hasher.write_u32((v + 0.0).to_bits()));
        hasher.finish()
    };
    (0..rows.len()).map(hash).collect::<HashSet<u64>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn equal_rows_count_once() {
        assert_eq!(distinct(array![[0.0_f64, 1.0], [-0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]].view()), 3);
        assert_eq!(distinct(ndarray::Array2::<f32>::zeros((5, 3)).view()), 1);
    }
}
