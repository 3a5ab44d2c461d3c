//! The assignment problem: which row goes with which column for the least cost (Kuhn 1955, Munkres 1957; by shortest
//! augmenting paths, O(n^2 m)).

use ndarray::ArrayView2;

/// For each row of `cost` `[n, m]` the column it is assigned to, no column twice; `None` for rows that are left over where
/// `n > m`. The sum of the costs is the least possible.
///
/// # Panics
/// A cost is NaN.
#[must_use]
pub fn assign(cost: ArrayView2<'_, f64>) -> Vec<Option<usize>> {
    assert!(cost.iter().all(|c| !c.is_nan()), "a cost that is NaN");
    let (n, m) = cost.dim();
    if n > m {
        let mut rows = vec![None; n];
        for (column, row) in assign(cost.t()).into_iter().enumerate() {
            if let Some(row) = row {
                rows[row] = Some(column);
            }
        }
        return rows;
    }
    // Potentials of rows and columns, and the row that each column is taken by; column m is where a path begins.
    let (mut row_potential, mut column_potential) = (vec![0.0; n], vec![0.0; m + 1]);
    let mut taken: Vec<Option<usize>> = vec![None; m + 1];
    for row in 0..n {
        taken[m] = Some(row);
        let (mut least, mut before, mut used) = (vec![f64::INFINITY; m], vec![m; m], vec![false; m + 1]);
        let mut column = m;
        while let Some(from) = taken[column] {
            used[column] = true;
            let mut next = (f64::INFINITY, m);
            for c in (0..m).filter(|c| !used[*c]) {
                let reduced = cost[[from, c]] - row_potential[from] - column_potential[c];
                if reduced < least[c] {
                    (least[c], before[c]) = (reduced, column);
                }
                if least[c] < next.0 || next.1 == m {
                    next = (least[c], c);
                }
            }
            for c in 0..=m {
                if used[c] {
                    if let Some(row) = taken[c] {
                        row_potential[row] += next.0;
                    }
                    column_potential[c] -= next.0;
                } else {
                    least[c] -= next.0;
                }
            }
            column = next.1;
        }
        while column != m {
            taken[column] = taken[before[column]];
            column = before[column];
        }
    }
    let mut columns = vec![None; n];
    for (column, row) in taken[..m].iter().enumerate() {
        if let Some(row) = row {
            columns[*row] = Some(column);
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    #[test]
    fn small_cases() {
        let cost = array![[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]];
        assert_eq!(assign(cost.view()), [Some(1), Some(0), Some(2)]);
        assert_eq!(assign(array![[5.0, 1.0]].view()), [Some(1)]);
        assert_eq!(assign(array![[5.0], [1.0]].view()), [None, Some(0)]);
        assert!(assign(Array2::zeros((0, 3)).view()).is_empty());
    }

    /// Least cost over every assignment.
    fn brute(cost: &Array2<f64>, row: usize, used: &mut Vec<bool>) -> f64 {
        if row == cost.nrows() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for c in 0..cost.ncols() {
            if !used[c] {
                used[c] = true;
                best = best.min(cost[[row, c]] + brute(cost, row + 1, used));
                used[c] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn no_other_assignment_costs_less(n in 1_usize..6, more in 0_usize..2, numbers in prop::collection::vec(-9_i32..9, 36)) {
            let m = n + more;
            let cost = Array2::from_shape_fn((n, m), |(i, j)| f64::from(numbers[i * 6 + j]));
            let found = assign(cost.view());
            let mut columns: Vec<usize> = found.iter().flatten().copied().collect();
            let sum: f64 = found.iter().enumerate().map(|(i, c)| cost[[i, c.unwrap()]]).sum();
            columns.sort_unstable();
            columns.dedup();
            prop_assert_eq!(columns.len(), n);
            prop_assert_eq!(sum, brute(&cost, 0, &mut vec![false; m]));
        }
    }
}
