//! Sources made of other sources: names translated, several asked in turn, a table of parameters in memory.

use super::read::CheckpointError;
use crate::nn::{ParamStore, TensorSource};
use candle_core::{Result, Tensor};

/// Nothing at all: every parameter is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Empty;

impl TensorSource for Empty {
    fn get(&self, _: &str) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn describe(&self) -> String {
        "no weights given".into()
    }
}

/// Asks `inner` by other names: of the rules `(ours, theirs)` whose `ours` begins the wanted name, the first whose
/// translated name `inner` holds answers. A name that no rule begins is not there.
pub struct Renamed<S> {
    inner: S,
    rules: Vec<(String, String)>,
    optional: Option<fn(&str) -> bool>,
}

impl<S: TensorSource> Renamed<S> {
    /// Prefix rules `(ours, theirs)`, tried in order; write the dots (`("model.vision_tower.vision_tower.", "")`).
    pub fn new<A: Into<String>, B: Into<String>>(inner: S, rules: impl IntoIterator<Item = (A, B)>) -> Self {
        let rules = rules.into_iter().map(|(a, b)| (a.into(), b.into())).collect();
        Self { inner, rules, optional: None }
    }

    /// From now on a name that a rule covers *must* be there unless `optional` says that it need not (what a tuning
    /// method adds): a pretrained part with a wrong prefix is then an error, not a random tensor.
    #[must_use]
    pub fn complete(mut self, optional: fn(&str) -> bool) -> Self {
        self.optional = Some(optional);
        self
    }

    fn candidates(&self, name: &str) -> impl Iterator<Item = String> {
        self.rules
            .iter()
            .filter_map(move |(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours.as_str())?)))
    }

    /// What `answer` makes of the inner name that answers `name`; the refusal of a complete part if there is none.
    fn ask<T>(&self, name: &str, answer: impl FnOnce(&S, &str) -> Result<Option<T>>) -> Result<Option<T>> {
        if let Some(theirs) = self.translate(name)? {
            return answer(&self.inner, &theirs);
        }
        match (self.optional, self.candidates(name).next()) {
            (Some(optional), Some(theirs)) if !optional(name) => {
                let lacking = CheckpointError::Lacking { name: theirs, source_of: self.inner.describe() };
                Err(lacking.plain())
            }
            _ => Ok(None),
        }
    }

    /// The inner name that answers `name`.
    fn translate(&self, name: &str) -> Result<Option<String>> {
        for candidate in self.candidates(name) {
            if self.inner.contains(&candidate)? {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }
}

impl<S: TensorSource> TensorSource for Renamed<S> {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        self.ask(name, S::get)
    }

    fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
        self.ask(name, S::dims)
    }

    fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.translate(name)?.is_some())
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn origin(&self, name: &str) -> (String, String) {
        let theirs = self.translate(name).ok().flatten();
        self.inner.origin(theirs.as_deref().unwrap_or(name))
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Renamed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renamed").field("inner", &self.inner).field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Several sources; the first that holds a name answers.
#[derive(Debug, Default)]
pub struct Chain(pub Vec<Box<dyn TensorSource>>);

impl Chain {
    /// Whether a link holds the name is asked of all first: a complete part must not refuse what another link holds.
    fn ask<T>(&self, name: &str, answer: impl Fn(&dyn TensorSource) -> Result<Option<T>>) -> Result<Option<T>> {
        for link in &self.0 {
            if link.contains(name)? {
                return answer(link.as_ref());
            }
        }
        for link in &self.0 {
            if let Some(found) = answer(link.as_ref())? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl TensorSource for Chain {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        self.ask(name, |link| link.get(name))
    }

    fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
        self.ask(name, |link| link.dims(name))
    }

    fn contains(&self, name: &str) -> Result<bool> {
        for link in &self.0 {
            if link.contains(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn describe(&self) -> String {
        let links: Vec<String> = self.0.iter().map(|link| link.describe()).collect();
        if links.is_empty() { Empty.describe() } else { links.join(", ") }
    }

    fn origin(&self, name: &str) -> (String, String) {
        let holding = self.0.iter().find(|link| link.contains(name).unwrap_or(false));
        holding.map_or_else(|| (name.to_owned(), self.describe()), |link| link.origin(name))
    }
}

/// The parameters of a model in memory (the stage before), by their names. Values are copied: training goes on.
#[derive(Clone, Copy, Debug)]
pub struct StoreSource<'a>(pub &'a ParamStore);

impl TensorSource for StoreSource<'_> {
    fn get(&self, name: &str) -> Result<Option<Tensor>> {
        self.0.get(name).map(|p| p.weight.tensor().copy()?.to_device(&candle_core::Device::Cpu)).transpose()
    }

    fn dims(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.0.get(name).map(|p| p.weight.dims().to_vec()))
    }

    fn describe(&self) -> String {
        format!("the stage before ({} tensors)", self.0.len())
    }
}
