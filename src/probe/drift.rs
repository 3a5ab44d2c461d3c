//! Drift, update size, gradient norm and `momentum` cosine of the vision encoder, by layer and module.

mod distance;

pub use distance::Distances;

use super::error::ProbeError;
use super::lora::{self, Factors};
use super::sums::{self, Direction, Shift};
use crate::nn::{Param, ParamStore, Part};
use crate::ops::{GradSlot, LayerId, Moved, read_numbers};
use crate::train::hook::{FirstMoments, StageView};
use candle_core::{Device, Tensor};
use covft_analyses::store::{ALL, LayerRow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ProbeError>;
type Key = (LayerId, &'static str);

const UP: &str = ".lora_up.weight";
const DOWN: &str = ".lora_down.weight";
/// Module of the factors, which the rows over all modules leave out: their product counts with the weight it changes.
const LORA: &str = "lora";

/// One trained tensor.
#[derive(Debug)]
struct Tracked {
    name: String,
    key: Key,
    elements: usize,
    /// At the stage's start, float32 on the host: shared with the trainer where it keeps the start.
    start: Tensor,
    /// Before this step, where the optimiser does not measure for us: on a device, or for the product of two factors.
    before: Option<Vec<f32>>,
    start_norm2: f64,
    shift: Shift,
    direction: Option<Direction>,
    /// Whether the optimiser measured it.
    measured: bool,
    /// Whether it was measured and will not move: no loss reaches it.
    rests: bool,
}

/// A weight that two tracked factors change.
#[derive(Debug)]
struct Pair {
    key: Key,
    up: usize,
    down: usize,
    rank: usize,
    elements: u64,
    start_norm2: f64,
    /// Squared distances; filled before `before` is overwritten.
    shift: Shift,
}

/// Sums over a group of tensors.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    elements: u64,
    shift: Shift,
    start_norm2: f64,
    direction: Option<Direction>,
}

/// What is remembered of the vision encoder during a stage.
#[derive(Debug)]
pub(super) struct VisionTracker {
    layers: BTreeSet<LayerId>,
    tracked: Vec<Tracked>,
    pairs: Vec<Pair>,
    lora_scale: f64,
    /// Step whose gradients are held.
    gradients_of: Option<u64>,
}

fn layer(param: &Param) -> LayerId {
    param.role.layer.unwrap_or(LayerId::Embeddings)
}

/// Number that sorts layers: -1, 0.., and the number of blocks for the final norm.
pub(super) fn depth(layer: LayerId, blocks: usize) -> i32 {
    let number = match layer {
        LayerId::Embeddings => return -1,
        LayerId::Block(i) => i,
        LayerId::FinalNorm => blocks,
    };
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Blocks of the vision encoder.
pub(super) fn blocks(params: &ParamStore) -> usize {
    let numbers = params.iter().filter(|p| p.role.part == Part::Vision).filter_map(|p| match p.role.layer {
        Some(LayerId::Block(i)) => Some(i + 1),
        _ => None,
    });
    numbers.max().unwrap_or(0)
}

fn lend_gradient<R>(slot: &GradSlot, dims: &[usize], read: impl Fn(&[f32]) -> R) -> candle_core::Result<Option<R>> {
    if let Some(read) = slot.with_host(|g| read(g)) {
        return Ok(Some(read));
    }
    slot.tensor(dims)?.map(|g| read_numbers(&g, read)).transpose()
}

fn numbers(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    read_numbers(tensor, <[f32]>::to_vec)
}

impl VisionTracker {
    /// Copies what trains. `lora_scale` is alpha / r of the stage's vision encoder.
    pub(super) fn new(view: &StageView<'_>, lora_scale: Option<f64>) -> Result<Self> {
        let vision: Vec<&Param> = view.params.iter().filter(|p| p.role.part == Part::Vision).collect();
        let layers = vision.iter().map(|p| layer(p)).collect();
        let mut tracked = Vec::new();
        for param in vision.iter().filter(|p| p.weight.is_trainable()) {
            let before = read_numbers(param.weight.tensor(), <[f32]>::to_vec)?;
            let start = match view.start_values.get(param.weight.name())? {
                Some(start) => start,
                None if view.start_step == 0 => Tensor::from_slice(&before, before.len(), &Device::Cpu)?,
                None => {
                    return Err(ProbeError::NoStart {
                        stage: view.stage.to_owned(),
                        name: param.weight.name().to_owned(),
                        source_name: view.start_values.describe(),
                    });
                }
            };
            tracked.push(Tracked {
                name: param.weight.name().to_owned(),
                key: (layer(param), param.role.module),
                elements: before.len(),
                start_norm2: read_numbers(&start, sums::square_norm)?,
                start,
                before: Some(before),
                shift: Shift::default(),
                direction: None,
                measured: false,
                rests: false,
            });
        }
        let scale = lora_scale.unwrap_or_default();
        let mut tracker = Self { layers, tracked, pairs: Vec::new(), lora_scale: scale, gradients_of: None };
        tracker.find_pairs(view.params)?;
        if let (Some(pair), None) = (tracker.pairs.first(), lora_scale) {
            let name = tracker.tracked[pair.up].name.clone();
            return Err(ProbeError::NoLoraScale { stage: view.stage.to_owned(), name });
        }
        Ok(tracker)
    }

    fn find_pairs(&mut self, params: &ParamStore) -> Result<()> {
        let at: BTreeMap<&str, usize> = self.tracked.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
        for (up, tracked) in self.tracked.iter().enumerate() {
            let Some(stem) = tracked.name.strip_suffix(UP) else { continue };
            let Some(&down) = at.get(format!("{stem}{DOWN}").as_str()) else { continue };
            let Some(base) = params.get(&format!("{stem}.weight")) else { continue };
            let Some(&[rows, rank]) = params.get(&tracked.name).map(|p| p.weight.dims()) else { continue };
            let [up_start, down_start] = [&tracked.start, &self.tracked[down].start].map(numbers);
            let start = Factors { up: &up_start?, down: &down_start?, rank };
            let start_norm2 = read_numbers(base.weight.tensor(), |w| lora::square_norm(w, start, self.lora_scale))?;
            let elements = (rows * self.tracked[down].elements / rank) as u64;
            let key = (layer(base), base.role.module);
            self.pairs.push(Pair { key, up, down, rank, elements, start_norm2, shift: Shift::default() });
        }
        Ok(())
    }

    /// Trained tensors.
    pub(super) fn trained(&self) -> usize {
        self.tracked.len()
    }

    /// Tensors whose gradient was seen at `step`.
    pub(super) fn seen(&self, step: u64) -> usize {
        let held = self.gradients_of == Some(step);
        if held { self.tracked.iter().filter(|t| t.direction.is_some()).count() } else { 0 }
    }

    /// Measures the gradients of `step`, those that the optimiser does not measure.
    pub(super) fn gradients(&mut self, step: u64, params: &ParamStore, moments: &dyn FirstMoments) -> Result<()> {
        for tracked in self.tracked.iter_mut().filter(|t| !t.measured) {
            let weight = params.get(&tracked.name).map(|p| &p.weight);
            let Some((weight, slot)) = weight.and_then(|w| Some((w, w.slot()?))) else { continue };
            let moment = moments.first_moment(&tracked.name)?.unwrap_or_default();
            tracked.direction = lend_gradient(slot, weight.dims(), |g| sums::direction(g, &moment))?;
        }
        self.gradients_of = Some(step);
        Ok(())
    }

    /// Takes what the optimiser measured at `step`, gradients only if `directions`. From then on nothing is remembered of
    /// such a tensor, unless its product with another is wanted.
    pub(super) fn take(&mut self, step: u64, moved: &[(Arc<str>, Moved)], directions: bool) {
        let known: BTreeMap<&str, &Moved> = moved.iter().map(|(name, moved)| (&**name, moved)).collect();
        for (i, tracked) in self.tracked.iter_mut().enumerate() {
            let Some(moved) = known.get(tracked.name.as_str()) else { continue };
            tracked.shift = Shift { drift: moved.drift, update: moved.update };
            let Moved { gradient, moment, inner, .. } = **moved;
            tracked.direction = directions.then_some(Direction { gradient, moment, inner });
            tracked.measured = true;
            if !self.pairs.iter().any(|pair| pair.up == i || pair.down == i) {
                tracked.before = None;
            }
        }
        if directions && !moved.is_empty() {
            self.gradients_of = Some(step);
        }
    }

    /// Measures where the step led; `keep` remembers it as the next step's beginning.
    pub(super) fn measure(&mut self, params: &ParamStore, keep: bool) -> Result<()> {
        for i in 0..self.pairs.len() {
            self.pairs[i].shift = self.pair_shift(&self.pairs[i], params)?;
        }
        for tracked in &mut self.tracked {
            let (Some(param), Some(before)) = (params.get(&tracked.name), &mut tracked.before) else { continue };
            let now = param.weight.tensor();
            if tracked.measured {
                // The optimiser's numbers are there already.
                read_numbers(now, |now| {
                    if keep {
                        before.copy_from_slice(now);
                    }
                })?;
                continue;
            }
            if tracked.rests {
                tracked.shift.update = 0.0;
                continue;
            }
            tracked.rests = !param.role.reached;
            let start = numbers(&tracked.start)?;
            tracked.shift = read_numbers(now, |now| sums::shift(now, &start, before, keep))?;
        }
        Ok(())
    }

    /// Remembers the parameters as the next step's beginning, measuring nothing.
    pub(super) fn keep(&mut self, params: &ParamStore) -> Result<()> {
        for tracked in self.tracked.iter_mut().filter(|tracked| !tracked.rests) {
            let (Some(param), Some(before)) = (params.get(&tracked.name), &mut tracked.before) else { continue };
            read_numbers(param.weight.tensor(), |now| before.copy_from_slice(now))?;
        }
        Ok(())
    }

    fn pair_shift(&self, pair: &Pair, params: &ParamStore) -> Result<Shift> {
        let (up, down) = (&self.tracked[pair.up], &self.tracked[pair.down]);
        let now = |t: &Tracked| params.get(&t.name).map(|p| numbers(p.weight.tensor())).transpose();
        let (Some(up_now), Some(down_now)) = (now(up)?, now(down)?) else { return Ok(Shift::default()) };
        let rank = pair.rank;
        let now = Factors { up: &up_now, down: &down_now, rank };
        let scale2 = self.lora_scale.powi(2);
        let from = |up: &[f32], down: &[f32]| scale2 * lora::square_distance(now, Factors { up, down, rank });
        let update = match (&up.before, &down.before) {
            (Some(up), Some(down)) => from(up, down),
            _ => 0.0,
        };
        Ok(Shift { drift: from(&numbers(&up.start)?, &numbers(&down.start)?), update })
    }

    /// Rows of the last measurement, in order of layer and module: every layer's own, and one a module that trains.
    pub(super) fn rows(&self, stage: &str, step: u64, blocks: usize) -> Vec<LayerRow> {
        let held = self.gradients_of == Some(step);
        let mut modules: BTreeMap<Key, Totals> = BTreeMap::new();
        let mut whole: BTreeMap<LayerId, Totals> = self.layers.iter().map(|l| (*l, Totals::default())).collect();
        let mut total = Totals::default();
        for t in &self.tracked {
            let counts = if t.key.1 == LORA { 0.0 } else { 1.0 };
            let groups = [modules.entry(t.key).or_default(), whole.entry(t.key.0).or_default(), &mut total];
            for (group, weight) in groups.into_iter().zip([1.0, counts, counts]) {
                let elements = if weight > 0.0 { t.elements as u64 } else { 0 };
                group.add_shift(t.shift, elements, t.start_norm2, weight);
                group.add_direction(t.direction.filter(|_| held));
            }
        }
        for pair in &self.pairs {
            let groups = [modules.entry(pair.key).or_default(), whole.entry(pair.key.0).or_default(), &mut total];
            for group in groups {
                group.add_shift(pair.shift, pair.elements, pair.start_norm2, 1.0);
            }
        }
        let floor = total.direction.map(|d| [d.gradient, d.moment].map(|square| square * sums::ROUNDING.powi(2)));
        let floor = floor.unwrap_or_default();
        let row =
            |layer: String, depth, module: &str, totals: &Totals| totals.row(stage, step, layer, depth, module, floor);
        let mut rows = Vec::with_capacity(modules.len() + whole.len() + 1);
        for (id, totals) in &whole {
            let depth = Some(depth(*id, blocks));
            rows.push(row(id.to_string(), depth, ALL, totals));
            let inside = modules.range((*id, "")..).take_while(|((layer, _), _)| layer == id);
            rows.extend(inside.map(|((_, module), totals)| row(id.to_string(), depth, module, totals)));
        }
        rows.push(row(ALL.to_owned(), None, ALL, &total));
        rows
    }
}

impl Totals {
    fn add_shift(&mut self, shift: Shift, elements: u64, start_norm2: f64, weight: f64) {
        self.elements += elements;
        self.shift.drift += weight * shift.drift;
        self.shift.update += weight * shift.update;
        self.start_norm2 += weight * start_norm2;
    }

    fn add_direction(&mut self, direction: Option<Direction>) {
        let Some(more) = direction else { return };
        let sum = self.direction.get_or_insert_default();
        sum.gradient += more.gradient;
        sum.moment += more.moment;
        sum.inner += more.inner;
    }

    /// `floor`: squared norms of gradient and moment up to which they are nothing but rounding.
    fn row(
        &self,
        stage: &str,
        step: u64,
        layer: String,
        depth: Option<i32>,
        module: &str,
        floor: [f64; 2],
    ) -> LayerRow {
        let drift = self.shift.drift.sqrt();
        // A zero norm has no direction, nor has rounding; one that is not finite gives a cosine that is not, and is shown.
        let cosine = |d: &Direction| {
            let silent = d.gradient <= floor[0] || d.moment <= floor[1];
            (!silent).then(|| d.inner / (d.gradient.sqrt() * d.moment.sqrt()))
        };
        LayerRow {
            stage: stage.to_owned(),
            step,
            layer,
            depth,
            module: module.to_owned(),
            elements: self.elements,
            drift,
            drift_relative: (self.start_norm2 != 0.0).then(|| drift / self.start_norm2.sqrt()),
            drift_per_element: (self.elements > 0).then(|| drift / (self.elements as f64).sqrt()),
            update: self.shift.update.sqrt(),
            grad_norm: self.direction.map(|d| d.gradient.sqrt()),
            momentum: self.direction.as_ref().and_then(cosine),
        }
    }
}
