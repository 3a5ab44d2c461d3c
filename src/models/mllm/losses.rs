//! The losses of a batch's samples, wherever the rows' losses are.

use crate::ops::RowLosses;
use candle_core::{Result, Tensor};

/// Sums of rows' losses by sample. On a device they wait to be read: see [`RowLosses::read`].
#[derive(Clone, Debug)]
pub struct SampleLosses {
    rows: RowLosses,
    /// The sample of each row; `None` for a row without a label.
    samples_of: Vec<Option<usize>>,
    samples: usize,
}

impl SampleLosses {
    /// `samples_of` names the sample, below `samples`, of each of the `rows`.
    #[must_use]
    pub fn new(rows: RowLosses, samples_of: Vec<Option<usize>>, samples: usize) -> Self {
        Self { rows, samples_of, samples }
    }

    /// The sum of each sample's rows.
    ///
    /// # Errors
    /// Numbers that cannot be copied from their device.
    pub fn read(&self) -> Result<Vec<f64>> {
        Ok(self.sums(self.rows.read()?.iter().map(|loss| f64::from(*loss))))
    }

    /// The rows' losses, where they must be fetched from a device.
    #[must_use]
    pub fn waiting(&self) -> Option<&Tensor> {
        match &self.rows {
            RowLosses::Host(_) => None,
            RowLosses::Device(rows) => Some(rows),
        }
    }

    /// The sums by sample of rows' losses that were fetched.
    #[must_use]
    pub fn sums(&self, rows: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut sums = vec![0.0; self.samples];
        for (sample, loss) in self.samples_of.iter().zip(rows) {
            if let Some(sample) = sample {
                sums[*sample] += loss;
            }
        }
        sums
    }

    /// Labelled rows of each sample.
    #[must_use]
    pub fn tokens(&self) -> Vec<usize> {
        let mut tokens = vec![0; self.samples];
        self.samples_of.iter().flatten().for_each(|sample| tokens[*sample] += 1);
        tokens
    }
}
