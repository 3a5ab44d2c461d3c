//! Differences between our numbers and the reference's.

use super::Row;
use candle_core::{DType, Result, Tensor, bail};

/// A reference tensor below this everywhere is zero up to rounding (key biases, whose gradient softmax cancels).
const SMALL_REFERENCE: f64 = 1e-7;
/// What ours may be there.
const SMALL_OURS: f64 = 1e-6;

/// The worst of several comparisons, which become one row of the report.
#[derive(Debug)]
pub(super) struct Worst {
    what: String,
    tolerance: f64,
    max: f64,
    at: String,
    compared: usize,
    failed: Vec<String>,
    notes: Vec<String>,
}

impl Worst {
    pub(super) fn new(what: impl Into<String>, tolerance: f64) -> Self {
        let (what, at) = (what.into(), String::new());
        Self { what, tolerance, max: 0.0, at, compared: 0, failed: Vec::new(), notes: Vec::new() }
    }

    /// One comparison that came out at `off`.
    pub(super) fn add(&mut self, name: &str, off: f64) {
        self.compared += 1;
        if off.is_nan() || off > self.max {
            (self.max, self.at) = (off, name.to_owned());
        }
        if off.is_nan() || off > self.tolerance {
            self.failed.push(name.to_owned());
        }
    }

    /// `max |a - b| / max |b|` of two tensors of one shape.
    pub(super) fn tensors(&mut self, name: &str, ours: &Tensor, reference: &Tensor) -> Result<()> {
        self.values(name, &values(ours, reference.dims(), name)?, &values(reference, reference.dims(), name)?);
        Ok(())
    }

    /// The same of two lists of numbers.
    pub(super) fn values(&mut self, name: &str, ours: &[f64], reference: &[f64]) {
        if ours.len() != reference.len() {
            self.fail(format!("{name}: {} numbers, the reference has {}", ours.len(), reference.len()));
            return;
        }
        let scale = peak(reference.iter().copied());
        if scale < SMALL_REFERENCE {
            self.compared += 1;
            let ours = peak(ours.iter().copied());
            if ours.is_nan() || ours >= SMALL_OURS {
                self.fail(format!("{name} is {ours:.1e} where the reference is zero"));
            }
            return;
        }
        self.add(name, peak(ours.iter().zip(reference).map(|(a, b)| a - b)) / scale);
    }

    /// Something that cannot be measured as a difference is wrong.
    pub(super) fn fail(&mut self, why: String) {
        self.compared += 1;
        self.failed.push(why);
    }

    /// A remark for the row.
    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The row.
    pub(super) fn row(self) -> Row {
        let mut note = self.notes;
        if self.compared > 1 {
            note.insert(0, format!("{} compared", self.compared));
            if self.max > 0.0 || self.max.is_nan() {
                note.push(format!("worst: {}", self.at));
            }
        }
        if self.compared == 0 {
            note.push("nothing to compare".into());
        }
        if let Some(first) = self.failed.first() {
            note.push(format!("{} over: {first}", self.failed.len()));
        }
        let pass = self.failed.is_empty() && self.compared > 0;
        Row { what: self.what, max_rel: self.max, tolerance: self.tolerance, pass, note: note.join("; ") }
    }
}

/// Numbers of a tensor that must have the shape `dims`.
pub(super) fn values(tensor: &Tensor, dims: &[usize], name: &str) -> Result<Vec<f64>> {
    if tensor.dims() != dims {
        bail!("{name} has shape {:?}, the reference {dims:?}", tensor.dims());
    }
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// The largest magnitude; NaN if one of them is.
pub(super) fn peak(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |peak: f64, v| if v.is_nan() || peak.is_nan() { f64::NAN } else { peak.max(v.abs()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_to_the_reference_and_nan_fails() {
        let mut worst = Worst::new("x", 0.1);
        worst.values("a", &[1.0, 2.1], &[1.0, 2.0]);
        worst.values("b", &[0.0], &[1e-9]);
        let row = worst.row();
        assert!(row.pass && (row.max_rel - 0.05).abs() < 1e-12, "{row:?}");
        for (ours, reference) in [(f64::NAN, 1.0), (2.0, 1.0), (1e-3, 1e-9), (f64::NAN, 0.0)] {
            let mut worst = Worst::new("x", 0.1);
            worst.values("a", &[ours], &[reference]);
            assert!(!worst.row().pass, "{ours} {reference}");
        }
        assert!(!Worst::new("nothing", 1.0).row().pass);
    }
}
