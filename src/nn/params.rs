//! The ordered table of parameters, and the builder through which models ask for them by checkpoint name.

use super::init::Init;
use crate::ops::{LayerId, Weight};
use candle_core::{DType, Device, Result, Tensor, bail};
use indexmap::IndexMap;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Which part of the model a parameter belongs to; parts have learning rates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The vision tower with whatever a tuning method adds to it.
    Vision,
    /// The multimodal projector.
    Projector,
    /// The language model.
    Language,
    /// The text encoder whose vector asks for the context.
    Text,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vision => "vision",
            Self::Projector => "projector",
            Self::Language => "language",
            Self::Text => "text",
        })
    }
}

/// What a model says of a parameter when it asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Part of the model.
    pub part: Part,
    /// Layer of the vision encoder; `None` outside it.
    pub layer: Option<LayerId>,
    /// `attention`, `mlp`, `experts`, `cve`, `gate`, `layer_norm`, `layer_scale`, `lora`, `prompts`, `embeddings`, or the
    /// part's name outside the vision encoder.
    pub module: &'static str,
    /// Whether the loss depends on it (false past the selected feature layer, in the post norm, ...).
    pub reached: bool,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Param {
    /// Value and gradient slot; its name is the checkpoint's.
    pub weight: Weight,
    /// What it is.
    pub role: Role,
}

/// All parameters of a model, in the order of construction.
#[derive(Clone, Debug, Default)]
pub struct ParamStore {
    params: IndexMap<Arc<str>, Param>,
}

impl ParamStore {
    /// Every parameter, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.params.values()
    }

    /// The parameters that train, in order.
    pub fn trainable(&self) -> impl Iterator<Item = &Param> {
        self.iter().filter(|p| p.weight.is_trainable())
    }

    /// Keeps bfloat16 copies of all values on a card, or does not; see [`Weight::value_in`].
    pub fn keep_copies(&self, keep: bool) {
        self.iter().for_each(|param| param.weight.keep_copy(keep));
    }

    /// The parameter called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.params.get(name)
    }

    /// Number of parameters tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.params.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Forgets all gradients.
    pub fn clear_gradients(&self) {
        for slot in self.iter().filter_map(|p| p.weight.slot()) {
            slot.clear();
        }
    }
}

/// Where the tensors of a model come from: safetensors files, an earlier stage, nothing.
pub trait TensorSource: fmt::Debug {
    /// The tensor `name`, float32 on any device; `None` if the source does not hold it. A tensor that is there but cannot
    /// be read is an error ending in the path.
    fn get(&self, name: &str) -> Result<Option<Tensor>>;

    /// The dimensions of `name` without reading it; `None` if the source does not hold it.
    fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.get(name)?.map(|t| t.dims().to_vec()))
    }

    /// Whether the source holds `name`; answers without an error where `get` would refuse a missing tensor.
    fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.dims(name)?.is_some())
    }

    /// What the source is, for error messages (a path).
    fn describe(&self) -> String;

    /// Where `name` is from, for error messages: what it is called there, and what that source is.
    fn origin(&self, name: &str) -> (String, String) {
        (name.to_owned(), self.describe())
    }
}

/// What lends a source is one.
macro_rules! lends {
    ($($lender:ty),*) => {$(
        impl<S: TensorSource + ?Sized> TensorSource for $lender {
            fn get(&self, name: &str) -> Result<Option<Tensor>> {
                (**self).get(name)
            }

            fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
                (**self).dims(name)
            }

            fn contains(&self, name: &str) -> Result<bool> {
                (**self).contains(name)
            }

            fn describe(&self) -> String {
                (**self).describe()
            }

            fn origin(&self, name: &str) -> (String, String) {
                (**self).origin(name)
            }
        }
    )*};
}

lends!(Arc<S>, &S);

/// A source in memory (the parameters of an earlier stage, or nothing at all).
#[derive(Clone, Debug, Default)]
pub struct MapSource {
    /// Tensors by name.
    pub tensors: HashMap<String, Tensor>,
}

impl TensorSource for MapSource {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        Ok(self.tensors.get(name).cloned())
    }

    fn describe(&self) -> String {
        format!("memory ({} tensors)", self.tensors.len())
    }
}

type TrainRule<'a> = dyn Fn(&str, &Role) -> bool + 'a;

/// Hands out parameters by name. A prefix, a part, a layer and a module travel with it.
#[derive(Clone)]
pub struct ParamBuilder<'a> {
    shared: Rc<Shared<'a>>,
    prefix: String,
    role: Role,
}

struct Shared<'a> {
    store: RefCell<ParamStore>,
    source: &'a dyn TensorSource,
    trains: &'a TrainRule<'a>,
    seed: u64,
    device: Device,
    dtype: DType,
    planning: bool,
}

impl fmt::Debug for ParamBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParamBuilder({} {:?})", self.prefix, self.role)
    }
}

impl<'a> ParamBuilder<'a> {
    /// `trains` says of each name and role whether it trains; `seed` is the run's.
    pub fn new(source: &'a dyn TensorSource, trains: &'a TrainRule<'a>, seed: u64, device: &Device) -> Self {
        let role = Role { part: Part::Language, layer: None, module: "language", reached: true };
        let store = RefCell::default();
        let shared = Shared { store, source, trains, seed, device: device.clone(), dtype: DType::F32, planning: false };
        Self { shared: Rc::new(shared), prefix: String::new(), role }
    }

    /// A builder that takes no memory: names, shapes, roles and what trains are real, the values are not there. Shapes
    /// are still compared with the source's.
    pub fn planning(source: &'a dyn TensorSource, trains: &'a TrainRule<'a>) -> Self {
        let role = Role { part: Part::Language, layer: None, module: "language", reached: true };
        let store = RefCell::default();
        let device = Device::Cpu;
        let shared = Shared { store, source, trains, seed: 0, device, dtype: DType::F32, planning: true };
        Self { shared: Rc::new(shared), prefix: String::new(), role }
    }

    /// The builder below `name` (`prefix.name.`).
    #[must_use]
    pub fn pp(&self, name: impl fmt::Display) -> Self {
        let prefix = if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) };
        Self { prefix, ..self.clone() }
    }

    /// The builder above the last name of the prefix (`a.b` to `a`), for what stands beside a module.
    #[must_use]
    pub fn parent(&self) -> Self {
        let prefix = self.prefix.rsplit_once('.').map_or_else(String::new, |(above, _)| above.to_owned());
        Self { prefix, ..self.clone() }
    }

    /// The builder for `part`, outside any layer, module named as the part.
    #[must_use]
    pub fn part(&self, part: Part) -> Self {
        let module = match part {
            Part::Vision => "embeddings",
            Part::Projector => "projector",
            Part::Language => "language",
            Part::Text => "text",
        };
        Self { role: Role { part, layer: None, module, reached: self.role.reached }, ..self.clone() }
    }

    /// The builder for a layer of the vision encoder.
    #[must_use]
    pub fn layer(&self, layer: LayerId) -> Self {
        Self { role: Role { layer: Some(layer), ..self.role }, ..self.clone() }
    }

    /// The builder for a module of a layer.
    #[must_use]
    pub fn module(&self, module: &'static str) -> Self {
        Self { role: Role { module, ..self.role }, ..self.clone() }
    }

    /// The builder for parameters that the loss does not depend on.
    #[must_use]
    pub fn unreached(&self) -> Self {
        Self { role: Role { reached: false, ..self.role }, ..self.clone() }
    }

    /// The prefix, without a trailing dot.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The role given to parameters asked for here.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The device parameters are put on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.shared.device
    }

    /// Whether the source holds `name` below this prefix.
    pub fn contains(&self, name: &str) -> Result<bool> {
        self.shared.source.contains(&self.full(name))
    }

    /// Whether any parameter asked for so far below this prefix trains.
    #[must_use]
    pub fn any_trainable(&self) -> bool {
        let below = format!("{}.", self.prefix);
        self.shared.store.borrow().trainable().any(|p| p.weight.name().starts_with(&below))
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// The parameter `name` below this prefix, of shape `dims`: from the source, else drawn by `init`.
    ///
    /// # Errors
    /// A tensor of another shape; a [`Init::Required`] one that is missing; a name asked for twice.
    #[expect(clippy::needless_pass_by_value, reason = "written where the parameter is asked for: `Init::Zeros`")]
    pub fn get(&self, dims: &[usize], name: &str, init: Init) -> Result<Weight> {
        let full = self.full(name);
        if self.shared.planning {
            return self.plan(&full, dims, &init);
        }
        let value = self.value(&full, dims, &init)?;
        let value = value.to_device(&self.shared.device)?.to_dtype(self.shared.dtype)?;
        let trains = (self.shared.trains)(&full, &self.role);
        let weight = if trains {
            Weight::trainable(full.as_str(), &value)?
        } else {
            Weight::frozen(full.as_str(), value.contiguous()?.detach())
        };
        self.enter(&full, weight)
    }

    fn enter(&self, name: &str, weight: Weight) -> Result<Weight> {
        let param = Param { weight: weight.clone(), role: self.role };
        if self.shared.store.borrow_mut().params.insert(name.into(), param).is_some() {
            bail!("the model asks twice for the parameter {name}");
        }
        Ok(weight)
    }

    fn plan(&self, full: &str, dims: &[usize], init: &Init) -> Result<Weight> {
        let mut found = self.shared.source.dims(full)?;
        if let (None, Init::CopyOf(other, _)) = (&found, init) {
            found = self.shared.source.dims(other)?;
        }
        if let Some(found) = found
            && found != dims
        {
            return Err(self.misshapen(full, &found, dims));
        }
        // One zero, seen through strides of zero: a 7B model is planned in kilobytes.
        let value = Tensor::zeros(1, self.shared.dtype, &self.shared.device)?.broadcast_as(dims)?;
        let trains = (self.shared.trains)(full, &self.role);
        self.enter(full, Weight::planned(full, value, trains))
    }

    fn misshapen(&self, full: &str, found: &[usize], wanted: &[usize]) -> candle_core::Error {
        let (name, source) = self.shared.source.origin(full);
        candle_core::Error::Msg(format!("{name} has shape {found:?}, the configuration needs {wanted:?}: {source}"))
    }

    fn value(&self, full: &str, dims: &[usize], init: &Init) -> Result<Tensor> {
        if let Some(found) = self.shared.source.get(full)? {
            if found.dims() != dims {
                return Err(self.misshapen(full, found.dims(), dims));
            }
            return Ok(found);
        }
        if let Some(drawn) = init.draw(self.shared.seed, full, dims)? {
            return Ok(drawn);
        }
        match init {
            Init::CopyOf(other, otherwise) => self.value(other, dims, otherwise),
            _ => bail!("{full} {dims:?} is missing: {}", self.shared.source.describe()),
        }
    }

    /// The table of everything that was asked for; call it when the model is built.
    #[must_use]
    pub fn finish(self) -> ParamStore {
        self.shared.store.borrow().clone()
    }
}
