//! Which tensors a layer's sketch is over, and how the work is split.

use super::super::error::ProbeError;
use super::super::space::Space;
use super::on_device::DeviceSketches;
use super::sketch::{Filling, Sketch, tensor_key};
use super::virtual_gradients::Gradients;
use crate::config::probe::ProbeConfig;
use crate::nn::{Param, ParamStore, Part};
use crate::ops::{LayerId, LentGradient, Place, read_numbers};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

/// Elements that one task sketches at least; a multiple of the run of the hash.
const TASK: usize = 1 << 15;

/// A tensor as the sketch sees it: one of the model, or the sum of several (the experts').
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: u64,
    sources: Vec<String>,
}

/// What is sketched in one space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct SketchPlan {
    space: Space,
    buckets: usize,
    layers: BTreeMap<LayerId, Vec<Entry>>,
}

/// A gradient: lent by its slot, copied from a device, or of a weight that does not train.
enum Gradient<'s> {
    Lent(LentGradient<'s>),
    Copied(Vec<f32>),
    Virtual(&'s [f32]),
}

impl Deref for Gradient<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Lent(lent) => lent,
            Self::Copied(copy) => copy,
            Self::Virtual(seen) => seen,
        }
    }
}

/// A piece of an entry.
struct Piece<'a> {
    key: u64,
    first: usize,
    sources: Vec<&'a [f32]>,
}

/// Pieces of one layer that one thread sketches.
struct Task<'a> {
    layer: LayerId,
    pieces: Vec<Piece<'a>>,
}

impl SketchPlan {
    /// The plan of each space that `config` names.
    pub(in crate::probe) fn all(config: &ProbeConfig, params: &ParamStore) -> Vec<Self> {
        let mut spaces: Vec<Space> = config.sketch_spaces.clone();
        spaces.sort_unstable();
        spaces.dedup();
        spaces.into_iter().map(|space| Self::new(space, config, params)).collect()
    }

    fn new(space: Space, config: &ProbeConfig, params: &ParamStore) -> Self {
        let mut layers: BTreeMap<LayerId, Vec<Entry>> = BTreeMap::new();
        for param in params.iter().filter(|p| wanted(p, space, config)) {
            let name = param.weight.name();
            let common = if space == Space::Shared { common_name(name) } else { Cow::from(name) };
            let key = tensor_key(&common);
            let entries = layers.entry(param.role.layer.unwrap_or(LayerId::Embeddings)).or_default();
            match entries.iter_mut().find(|entry| entry.key == key) {
                Some(entry) => entry.sources.push(name.to_owned()),
                None => entries.push(Entry { key, sources: vec![name.to_owned()] }),
            }
        }
        Self { space, buckets: config.sketch_buckets, layers }
    }

    pub(in crate::probe) fn space(&self) -> Space {
        self.space
    }

    /// Tensors that are sketched.
    pub(in crate::probe) fn tensors(&self) -> usize {
        self.layers.values().flatten().map(|entry| entry.sources.len()).sum()
    }

    /// The weights that have no gradient slot, and where they stand.
    pub(in crate::probe) fn frozen(&self, params: &ParamStore) -> Vec<(String, Place)> {
        let names = self.layers.values().flatten().flat_map(|entry| &entry.sources);
        let place =
            |param: &Param| Place { layer: param.role.layer.unwrap_or(LayerId::Embeddings), module: param.role.module };
        let frozen = names.filter_map(|name| params.get(name)).filter(|p| !p.weight.is_trainable());
        frozen.map(|p| (p.weight.name().to_owned(), place(p))).collect()
    }

    /// Sketches of the gradients that the slots hold and of the virtual ones, by layer; layers without any gradient are
    /// left out.
    pub(in crate::probe) fn take(
        &self,
        params: &ParamStore,
        seen: &Gradients,
    ) -> Result<Vec<(LayerId, Sketch)>, ProbeError> {
        let mut lent: Vec<(LayerId, u64, Vec<Gradient<'_>>)> = Vec::new();
        let mut there = DeviceSketches::new(self.buckets);
        for (layer, entries) in &self.layers {
            for entry in entries {
                let slots = || entry.sources.iter().filter_map(|name| params.get(name)).map(|p| &p.weight);
                if entry.sources.iter().all(|name| !seen.contains_key(name)) && there.add(*layer, entry.key, slots())? {
                    continue;
                }
                let gradients = entry.sources.iter().filter_map(|name| {
                    let seen = seen.get(name).map(|seen| Ok(Gradient::Virtual(seen)));
                    seen.or_else(|| gradient(params.get(name)?).transpose())
                });
                let gradients = gradients.collect::<Result<Vec<_>, _>>()?;
                if !gradients.is_empty() {
                    lent.push((*layer, entry.key, gradients));
                }
            }
        }
        let tasks = tasks(&lent);
        let sketches: Vec<Sketch> = tasks.par_iter().map(|task| task.run(self.buckets)).collect();
        let mut layers: Vec<(LayerId, Sketch)> = Vec::new();
        for (task, sketch) in tasks.iter().zip(sketches) {
            match layers.last_mut().filter(|(layer, _)| *layer == task.layer) {
                Some((_, whole)) => whole.join(&sketch),
                None => layers.push((task.layer, sketch)),
            }
        }
        for (layer, sketch) in there.finish()? {
            match layers.binary_search_by_key(&layer, |(layer, _)| *layer) {
                Ok(at) => layers[at].1.join(&sketch),
                Err(at) => layers.insert(at, (layer, sketch)),
            }
        }
        Ok(layers)
    }
}

impl Task<'_> {
    fn run(&self, buckets: usize) -> Sketch {
        let mut filling = Filling::new(buckets);
        let mut sum = Vec::new();
        for piece in &self.pieces {
            match &piece.sources[..] {
                [only] => filling.add(piece.key, piece.first, only),
                [first, rest @ ..] => {
                    sum.clear();
                    sum.extend_from_slice(first);
                    for more in rest {
                        sum.iter_mut().zip(*more).for_each(|(a, b)| *a += b);
                    }
                    filling.add(piece.key, piece.first, &sum);
                }
                [] => {}
            }
        }
        filling.finish()
    }
}

/// Cuts what was lent into tasks that depend on the shapes alone.
fn tasks<'a>(lent: &'a [(LayerId, u64, Vec<Gradient<'_>>)]) -> Vec<Task<'a>> {
    let mut tasks: Vec<Task<'a>> = Vec::new();
    let mut room = 0;
    for (layer, key, gradients) in lent {
        let len = gradients.iter().map(|g| g.len()).min().unwrap_or(0);
        for first in (0..len).step_by(TASK) {
            let end = (first + TASK).min(len);
            let sources = gradients.iter().map(|g| &g[first..end]).collect();
            let piece = Piece { key: *key, first, sources };
            if let Some(task) = tasks.last_mut().filter(|task| task.layer == *layer && room > 0) {
                task.pieces.push(piece);
            } else {
                tasks.push(Task { layer: *layer, pieces: vec![piece] });
                room = TASK;
            }
            room = room.saturating_sub(end - first);
        }
    }
    tasks
}

fn gradient(param: &Param) -> Result<Option<Gradient<'_>>, ProbeError> {
    let Some(slot) = param.weight.slot() else { return Ok(None) };
    if let Some(lent) = slot.lend() {
        return Ok(Some(Gradient::Lent(lent)));
    }
    let tensor = slot.tensor(param.weight.dims())?;
    Ok(tensor.map(|t| read_numbers(&t, <[f32]>::to_vec)).transpose()?.map(Gradient::Copied))
}

fn wanted(param: &Param, space: Space, config: &ProbeConfig) -> bool {
    let role = &param.role;
    let layer = role.layer.unwrap_or(LayerId::Embeddings);
    let module = space.module(Place { layer, module: role.module }, param.weight.is_trainable());
    let layer = layer.to_string();
    let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
    role.part == Part::Vision
        && role.reached
        && named(&config.sketch_layers, &layer)
        && module.is_some_and(|module| named(&config.sketch_modules, module))
}

/// The plain feed-forward layer's name for an expert's tensor: `mlp.experts.3.0.weight` is a part of `mlp.fc1.weight`.
fn common_name(name: &str) -> Cow<'_, str> {
    let Some((block, inside)) = name.split_once(".experts.") else { return Cow::from(name) };
    let plain = |leaf: &str| match leaf.split_once('.') {
        Some(("0", kind)) => Some(format!("{block}.fc1.{kind}")),
        Some(("2", kind)) => Some(format!("{block}.fc2.{kind}")),
        _ => None,
    };
    inside.split_once('.').and_then(|(_, leaf)| plain(leaf)).map_or(Cow::from(name), Cow::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_go_under_the_plain_layers_name() {
        assert_eq!(common_name("t.2.mlp.experts.3.0.weight"), "t.2.mlp.fc1.weight");
        assert_eq!(common_name("t.2.mlp.experts.0.2.bias"), "t.2.mlp.fc2.bias");
        assert_eq!(common_name("t.2.mlp.fc1.weight"), "t.2.mlp.fc1.weight");
    }
}
