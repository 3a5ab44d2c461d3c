//! Weights with the adapters' factors added to them: `W + (alpha / r) up down`.

use super::tuned::is_language;
use crate::nn::TensorSource;
use candle_core::{DType, Result, Tensor, bail};

/// A source whose adapted layers are plain ones. The factors are not there any more; what has no factors is as it was.
#[derive(Debug)]
pub struct Merged<S> {
    inner: S,
    vision: Option<f64>,
    language: Option<f64>,
}

impl<S: TensorSource> Merged<S> {
    /// `vision` and `language` are alpha / r of the two parts' factors; a part without one keeps its factors.
    pub fn new(inner: S, vision: Option<f64>, language: Option<f64>) -> Self {
        Self { inner, vision, language }
    }

    fn scale(&self, name: &str) -> Option<f64> {
        if is_language(name) { self.language } else { self.vision }
    }

    /// Whether `name` is a factor that is merged.
    fn is_gone(&self, name: &str) -> bool {
        name.split('.').any(|s| s == "lora_down" || s == "lora_up") && self.scale(name).is_some()
    }

    /// The factors beside the weight `name`, looked up by `ask`: down, then up.
    fn factors<T>(&self, name: &str, ask: impl Fn(&S, &str) -> Result<Option<T>>) -> Result<Option<(T, T, f64)>> {
        let (Some(stem), Some(scale)) = (name.strip_suffix(".weight"), self.scale(name)) else { return Ok(None) };
        let [down, up] = ["lora_down", "lora_up"].map(|factor| format!("{stem}.{factor}.weight"));
        match (ask(&self.inner, &down)?, ask(&self.inner, &up)?) {
            (None, None) => Ok(None),
            (Some(down), Some(up)) => Ok(Some((down, up, scale))),
            (None, Some(_)) => bail!("the weights lack {down}: {}", self.describe()),
            (Some(_), None) => bail!("the weights lack {up}: {}", self.describe()),
        }
    }
}

impl<S: TensorSource> TensorSource for Merged<S> {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        if self.is_gone(name) {
            return Ok(None);
        }
        let Some(weight) = self.inner.get(name)? else { return Ok(None) };
        let Some((down, up, scale)) = self.factors(name, S::get)? else { return Ok(Some(weight)) };
        let wide = |t: Tensor| t.to_dtype(DType::F64);
        let product = (wide(up)?.matmul(&wide(down)?)? * scale)?;
        (wide(weight)? + product)?.to_dtype(DType::F32).map(Some)
    }

    fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
        if self.is_gone(name) {
            return Ok(None);
        }
        let found = self.inner.dims(name)?;
        if let (Some(dims), Some((down, up, _))) = (&found, self.factors(name, S::dims)?)
            && (dims.len() != 2 || down != [up[1], dims[1]] || up[0] != dims[0])
        {
            bail!("the factors {up:?} and {down:?} of {name} {dims:?} do not fit: {}", self.describe());
        }
        Ok(found)
    }

    fn contains(&self, name: &str) -> Result<bool> {
        Ok(!self.is_gone(name) && self.inner.contains(name)?)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn origin(&self, name: &str) -> (String, String) {
        self.inner.origin(name)
    }
}
