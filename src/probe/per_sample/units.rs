//! From what was seen of a step to inner products between its samples, weight by weight.
//!
//! A [`Unit`] is the smallest thing whose sketch has an error of its own: one linear layer (the experts of a layer share
//! their projections, so they are one), or everything of a module that is exact.

use super::step::{LinearSums, StepSums, VectorSums, WeightId};
use crate::kernels::{self, Matrix};
use crate::nn::Stream;
use crate::ops::LayerId;
use crate::probe::space::{Space, without_expert};
use rand::Rng as _;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Longest gradient, beside those of linear layers, that is kept as it is; longer ones (position tables) are
/// count-sketched into two halves of half as many buckets.
pub(super) const LONGEST: usize = 4096;

/// Inner products of the samples' gradients, `[n, n]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    pub(super) layer: LayerId,
    pub(super) module: &'static str,
    pub(super) dots: Vec<f64>,
    /// Half the difference between the two halves of a sketch; `None` for exact numbers.
    pub(super) half: Option<Vec<f64>>,
}

type Key = (LayerId, &'static str, String, usize);

/// Rows `keep` of a table of rows `width` wide.
fn rows<'t>(of: &'t [f32], width: usize, keep: &[usize]) -> Cow<'t, [f32]> {
    if keep.len() * width == of.len() && keep.iter().enumerate().all(|(i, kept)| i == *kept) {
        return Cow::Borrowed(of);
    }
    let mut kept = Vec::with_capacity(keep.len() * width);
    keep.iter().for_each(|i| kept.extend_from_slice(&of[i * width..(i + 1) * width]));
    Cow::Owned(kept)
}

/// `x x^T` of `x [n, width]`.
fn gram(x: &[f32], n: usize) -> Vec<f64> {
    let width = x.len() / n.max(1);
    products(Matrix::new(x, n, width), n)
}

fn products(x: Matrix<'_>, n: usize) -> Vec<f64> {
    let mut out = vec![0.0f32; n * n];
    kernels::matmul_into(&mut out, x, x.t(), false);
    out.into_iter().map(f64::from).collect()
}

fn add(sum: &mut Vec<f64>, more: &[f64]) {
    sum.resize(more.len(), 0.0);
    sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
}

/// Weights of `space` that are computed together: all experts of a layer, one linear layer, one parameter.
fn grouped<W>(
    weights: &BTreeMap<WeightId, W>,
    space: Space,
    trains: impl Fn(&W) -> bool,
) -> BTreeMap<Key, Vec<(&WeightId, &W)>> {
    let mut groups: BTreeMap<Key, Vec<(&WeightId, &W)>> = BTreeMap::new();
    for (id, weight) in weights {
        if let Some(module) = space.module(id.place(), trains(weight)) {
            groups.entry((id.layer, module, without_expert(&id.name), id.offset)).or_default().push((id, weight));
        }
    }
    groups
}

/// Adds the weights of a group up where the space says so; a list of tables.
fn summed(space: Space, tables: Vec<Cow<'_, [f32]>>) -> Vec<Cow<'_, [f32]>> {
    if !space.adds_experts() {
        return tables;
    }
    let mut tables = tables.into_iter();
    let Some(mut sum) = tables.next() else { return Vec::new() };
    for more in tables {
        kernels::accumulate(sum.to_mut(), &more, true);
    }
    vec![sum]
}

/// Inner products of sketches and half the difference of their two halves, each `[n, n]`.
type Halves = (Vec<f64>, Vec<f64>);

/// Units of every space from sketches, for samples `keep`.
pub(super) fn sketched(sums: &StepSums, spaces: &[Space], k: usize, keep: &[usize], seed: u64) -> Vec<Vec<Unit>> {
    let n = keep.len();
    // What spaces have in common is computed once.
    let weights: Vec<_> = sums.linears.iter().collect();
    let alone = weights.par_iter().map(|(id, w)| (*id, halves(&[sketches(w, k, keep)], n)));
    let alone: BTreeMap<&WeightId, Halves> = alone.collect::<Vec<_>>().into_iter().collect();
    let of_space = |space: &Space| {
        let space = *space;
        let linears: Vec<_> = grouped(&sums.linears, space, |w: &LinearSums| w.trains).into_iter().collect();
        let of_linear = |((layer, module, ..), group): &(Key, Vec<(&WeightId, &LinearSums)>)| {
            let (dots, half) = if space.adds_experts() && group.len() > 1 {
                halves(&summed(space, group.iter().map(|(_, w)| sketches(w, k, keep)).collect()), n)
            } else {
                let mut sum = Halves::default();
                for (dots, half) in group.iter().filter_map(|(id, _)| alone.get(id)) {
                    add(&mut sum.0, dots);
                    add(&mut sum.1, half);
                }
                sum
            };
            Unit { layer: *layer, module, dots, half: Some(half) }
        };
        let mut units: Vec<Unit> = linears.par_iter().map(of_linear).collect();
        units.extend(others(sums, space, keep, seed));
        units
    };
    spaces.iter().map(of_space).collect()
}

/// Units of what is no linear layer: exact ones, one a module of a layer, and those that are sketched because they are long.
fn others(sums: &StepSums, space: Space, keep: &[usize], seed: u64) -> Vec<Unit> {
    let n = keep.len();
    let mut units = Vec::new();
    let others: Vec<_> = grouped(&sums.vectors, space, |w: &VectorSums| w.trains).into_iter().collect();
    let of_vector = |((layer, module, name, _), group): &(Key, Vec<(&WeightId, &VectorSums)>)| {
        let tables = summed(space, group.iter().map(|(_, w)| vectors(w, keep)).collect());
        let (dots, half) = if tables.iter().all(|t| t.len() <= LONGEST * n) {
            let mut dots = vec![0.0; n * n];
            tables.iter().for_each(|t| add(&mut dots, &gram(t, n)));
            (dots, None)
        } else {
            let sketches: Vec<_> = tables.iter().map(|t| Cow::Owned(count_sketch(t, n, name, seed))).collect();
            let (dots, half) = halves(&sketches, n);
            (dots, Some(half))
        };
        Unit { layer: *layer, module, dots, half }
    };
    let found: Vec<Unit> = others.par_iter().map(of_vector).collect();
    let mut exact: BTreeMap<(LayerId, &'static str), Vec<f64>> = BTreeMap::new();
    for unit in found {
        match unit.half {
            None => add(exact.entry((unit.layer, unit.module)).or_default(), &unit.dots),
            Some(_) => units.push(unit),
        }
    }
    units.extend(exact.into_iter().map(|((layer, module), dots)| Unit { layer, module, dots, half: None }));
    units
}

/// Mean of the inner products in the halves of rows `[n, 2, width]`, and half their difference; summed over the tables.
fn halves(tables: &[Cow<'_, [f32]>], n: usize) -> Halves {
    let mut sums = [vec![0.0; n * n], vec![0.0; n * n]];
    for table in tables {
        let width = table.len() / (2 * n).max(1);
        for (number, sum) in sums.iter_mut().enumerate() {
            add(sum, &products(Matrix::strided(&table[number * width..], n, width, 2 * width), n));
        }
    }
    let [a, b] = &sums;
    let both = |f: fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(*a, *b) / 2.0).collect();
    (both(|a, b| a + b), both(|a, b| a - b))
}

fn sketches<'s>(sums: &'s LinearSums, k: usize, keep: &[usize]) -> Cow<'s, [f32]> {
    rows(&sums.sketches, k * k / 2, keep)
}

fn vectors<'s>(sums: &'s VectorSums, keep: &[usize]) -> Cow<'s, [f32]> {
    rows(&sums.gradients, sums.gradients.len() / sums.samples.max(1), keep)
}

/// Count sketches `[n, 2, LONGEST / 2]` of `x [n, width]`; both halves have buckets and signs of their own.
fn count_sketch(x: &[f32], n: usize, name: &str, seed: u64) -> Vec<f32> {
    let (width, buckets) = (x.len() / n, LONGEST / 2);
    let mut sketches = vec![0.0; n * 2 * buckets];
    for half in 0..2 {
        let mut stream = Stream::new(seed, &format!("count/{name}/{half}"));
        let places: Vec<u64> = (0..width).map(|_| stream.rng().random()).collect();
        for (x, sketch) in x.chunks_exact(width).zip(sketches.chunks_exact_mut(2 * buckets)) {
            for (x, bits) in x.iter().zip(&places) {
                let sign = if bits >> 63 == 0 { 1.0 } else { -1.0 };
                sketch[half * buckets + (bits % buckets as u64) as usize] += sign * x;
            }
        }
    }
    sketches
}

/// Numbers of the sketch of one sample's gradient of one layer.
const BUCKETS: usize = 1024;

/// The samples' gradients of one layer, sketched: rows of inner products that add over layers.
#[derive(Clone, Debug)]
pub(super) struct LayerSketch {
    pub(super) layer: LayerId,
    /// Numbers of the gradient.
    pub(super) elements: u64,
    /// `[n, BUCKETS]`.
    pub(super) sketches: Vec<f32>,
}

/// Standard error of a cosine that comes from folding a layer's sketches into so many buckets.
pub(super) fn folding_error() -> f64 {
    (BUCKETS as f64).sqrt().recip()
}

/// Each layer's sketches and small gradients, folded into one count sketch a sample.
pub(super) fn layers(sums: &StepSums, space: Space, k: usize, keep: &[usize], seed: u64) -> Vec<LayerSketch> {
    let mut layers: BTreeMap<LayerId, LayerSketch> = BTreeMap::new();
    let mut add = |layer: LayerId, name: &str, elements: usize, scale: f32, tables: &[Cow<'_, [f32]>]| {
        let empty = || LayerSketch { layer, elements: 0, sketches: vec![0.0; keep.len() * BUCKETS] };
        let to = layers.entry(layer).or_insert_with(empty);
        for (number, table) in tables.iter().enumerate() {
            to.elements += elements as u64;
            let width = table.len() / keep.len().max(1);
            let mut stream = Stream::new(seed, &format!("fold/{name}/{number}"));
            let places: Vec<u64> = (0..width).map(|_| stream.rng().random()).collect();
            for (row, sketch) in table.chunks_exact(width.max(1)).zip(to.sketches.chunks_exact_mut(BUCKETS)) {
                for (x, bits) in row.iter().zip(&places) {
                    let sign = if bits >> 63 == 0 { scale } else { -scale };
                    sketch[(bits % BUCKETS as u64) as usize] += sign * x;
                }
            }
        }
    };
    for ((layer, _, name, _), group) in grouped(&sums.linears, space, |w: &LinearSums| w.trains) {
        let tables = summed(space, group.iter().map(|(_, w)| sketches(w, k, keep)).collect());
        let elements = group.first().map_or(0, |(_, w)| w.d_in * w.d_out);
        // The mean of two halves' inner products.
        add(layer, &name, elements, 0.5_f32.sqrt(), &tables);
    }
    for ((layer, _, name, offset), group) in grouped(&sums.vectors, space, |w: &VectorSums| w.trains) {
        let tables = summed(space, group.iter().map(|(_, w)| vectors(w, keep)).collect());
        let elements = tables.first().map_or(0, |t| t.len() / keep.len().max(1));
        add(layer, &format!("{name}/{offset}"), elements, 1.0, &tables);
    }
    layers.into_values().collect()
}

/// Units of a space without any approximation, one a module of a layer:
/// `<G_i, G_j> = sum over tokens t, s of (a_it . a_js)(d_it . d_js)`.
pub(super) fn exact(sums: &StepSums, space: Space, keep: &[usize]) -> Vec<Unit> {
    let n = keep.len();
    let mut dots: BTreeMap<(LayerId, &'static str), Vec<f64>> = BTreeMap::new();
    for ((layer, module, ..), group) in grouped(&sums.linears, space, |w: &LinearSums| w.trains) {
        // The gradient of a sum over experts is a sum over more rows.
        let group: Vec<&LinearSums> = group.into_iter().map(|(_, w)| w).collect();
        let sets = if space.adds_experts() { vec![group] } else { group.into_iter().map(|w| vec![w]).collect() };
        for set in sets {
            add(dots.entry((layer, module)).or_default(), &factored(&set, keep));
        }
    }
    for ((layer, module, ..), group) in grouped(&sums.vectors, space, |w: &VectorSums| w.trains) {
        for table in summed(space, group.iter().map(|(_, w)| vectors(w, keep)).collect()) {
            add(dots.entry((layer, module)).or_default(), &gram(&table, n));
        }
    }
    dots.into_iter().map(|((layer, module), dots)| Unit { layer, module, dots, half: None }).collect()
}

/// One sample's rows in one pass of one weight.
struct Rows<'s> {
    sample: usize,
    input: &'s [f32],
    output_grad: &'s [f32],
}

/// Inner products `[keep, keep]` of the sums of `weights`' gradients.
fn factored(weights: &[&LinearSums], keep: &[usize]) -> Vec<f64> {
    let n = keep.len();
    let Some(first) = weights.first() else { return vec![0.0; n * n] };
    let (d_in, d_out) = (first.d_in, first.d_out);
    let mut all = Vec::new();
    for part in weights.iter().flat_map(|w| &w.factors) {
        let (a, d) = (part.input.len() / part.samples, part.output_grad.len() / part.samples);
        for (sample, number) in keep.iter().enumerate() {
            if let Some(at) = number.checked_sub(part.first).filter(|at| *at < part.samples) {
                let (input, output_grad) = (&part.input[at * a..][..a], &part.output_grad[at * d..][..d]);
                all.push(Rows { sample, input, output_grad });
            }
        }
    }
    let mut dots = vec![0.0; n * n];
    for (number, a) in all.iter().enumerate() {
        for b in &all[number..] {
            let dot = shared(a, b, d_in, d_out);
            dots[a.sample * n + b.sample] += dot;
            if !std::ptr::eq(a, b) {
                dots[b.sample * n + a.sample] += dot;
            }
        }
    }
    dots
}

/// `sum over rows t of a, s of b of (a_t . a_s)(d_t . d_s)`.
fn shared(a: &Rows<'_>, b: &Rows<'_>, d_in: usize, d_out: usize) -> f64 {
    let product = |x: &[f32], y: &[f32], d: usize| {
        let (x, y) = (Matrix::new(x, x.len() / d, d), Matrix::new(y, y.len() / d, d));
        let mut out = vec![0.0; a.input.len() / d_in * (b.input.len() / d_in)];
        kernels::matmul_into(&mut out, x, y.t(), false);
        out
    };
    kernels::dot(&product(a.input, b.input, d_in), &product(a.output_grad, b.output_grad, d_out))
}
