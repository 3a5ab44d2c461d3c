//! The vision encoder's parameters as a stage began: what drift is measured from.

use crate::models::checkpoint::Safetensors;
use crate::nn::{ParamStore, Part, TensorSource};
use candle_core::{Device, Result, Tensor};
use indexmap::IndexMap;

/// Copies of the vision parameters that train; those that do not are the model's own, which never move.
#[derive(Clone, Debug, Default)]
pub struct StartValues {
    copies: IndexMap<String, Tensor>,
    frozen: IndexMap<String, Tensor>,
}

impl StartValues {
    /// Copies them now.
    ///
    /// # Errors
    /// A tensor that cannot be copied.
    pub fn copy(params: &ParamStore) -> Result<Self> {
        let mut start = Self::frozen_of(params);
        for param in vision(params).filter(|p| p.weight.is_trainable()) {
            let value = param.weight.tensor();
            // A detached tensor shares storage with the parameter and would follow it: a copy does not. It is kept out of
            // an accelerator's memory.
            let copy = if value.device().is_cpu() { value.copy()? } else { value.to_device(&Device::Cpu)? };
            start.copies.insert(param.weight.name().to_owned(), copy.detach());
        }
        Ok(start)
    }

    /// Takes them from a checkpoint's `start.safetensors`.
    ///
    /// # Errors
    /// A trained vision parameter that the file does not hold in its shape.
    pub fn from_file(params: &ParamStore, file: &Safetensors) -> Result<Self> {
        let mut start = Self::frozen_of(params);
        for param in vision(params).filter(|p| p.weight.is_trainable()) {
            let name = param.weight.name();
            let Some(tensor) = file.get(name)?.filter(|t| t.dims() == param.weight.dims()) else {
                candle_core::bail!("{name} {:?} is missing: {}", param.weight.dims(), file.describe());
            };
            start.copies.insert(name.to_owned(), tensor);
        }
        Ok(start)
    }

    /// The copies, in the store's order.
    pub fn copies(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.copies.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The copy of a trained vision parameter; `None` for every other.
    #[must_use]
    pub fn copy_of(&self, name: &str) -> Option<&Tensor> {
        self.copies.get(name)
    }

    fn frozen_of(params: &ParamStore) -> Self {
        let frozen = vision(params).filter(|p| !p.weight.is_trainable());
        let frozen = frozen.map(|p| (p.weight.name().to_owned(), p.weight.tensor().clone())).collect();
        Self { copies: IndexMap::new(), frozen }
    }
}

impl TensorSource for StartValues {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        Ok(self.copies.get(name).or_else(|| self.frozen.get(name)).cloned())
    }

    fn describe(&self) -> String {
        format!("the stage's start ({} trained vision parameters)", self.copies.len())
    }
}

fn vision(params: &ParamStore) -> impl Iterator<Item = &crate::nn::Param> {
    params.iter().filter(|p| p.role.part == Part::Vision)
}
