//! The numeric fixtures of `tests/fixtures/covft-tiny`, for tests of models.

use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::PathBuf;

/// The tensors of one fixture file.
pub(crate) struct Fixture(pub HashMap<String, Tensor>);

impl Fixture {
    /// A path below the fixture's folder.
    pub(crate) fn path(name: &str) -> PathBuf {
        super::golden::path(name)
    }

    /// Reads one file.
    pub(crate) fn load(name: &str) -> Self {
        Self(candle_core::safetensors::load(Self::path(name), &Device::Cpu).unwrap())
    }

    /// One tensor of it.
    pub(crate) fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("the fixture has no {name}")).clone()
    }
}

/// `max |a - b| / max |b|`; a reference below 1e-7 everywhere asks for `max |a| < 1e-6`.
pub(crate) fn close(a: &Tensor, b: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let values = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (a, b) = (values(a), values(b));
    let peak = |v: &mut dyn Iterator<Item = f64>| v.fold(0.0, |m: f64, x| if x.is_nan() { x } else { m.max(x.abs()) });
    let scale = peak(&mut b.iter().copied());
    if scale < 1e-7 {
        assert!(peak(&mut a.iter().copied()) < 1e-6, "{what}: should be zero");
        return;
    }
    let off = peak(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / scale;
    assert!(off <= tolerance, "{what}: {off:.2e} > {tolerance:.0e}");
}
