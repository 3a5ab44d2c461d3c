//! The rows that components and clusters are found from: as `covft-probe analyze` draws them from the files, here from memory.
//!
//! Of one layer and stage, between two steps, the steps' own samples or the tracked ones: the last finite vector of every
//! sample, in the order of the data set (of older records in order of id); of many samples an even draw.

use super::scatter::Population;
use crate::data::{Contexts, LayerKey, RunData};
use crate::notes::{Basis, Notes};
use covft_analyses::analysis::{ContextData, ContextSample, default_steps, stratified};
use covft_analyses::stats::NotFinite;
use ndarray::Array2;
use std::collections::BTreeSet;

/// Whether the tracked samples are looked at: asked for, or there are no others.
pub(crate) fn tracked(contexts: &Contexts, notes: &Notes) -> bool {
    notes.population == Population::Tracked || contexts.tracked.iter().all(|t| *t)
}

/// The rows that clusters are found from unless others are given, up to step `until` of the run: the last step of the tracked
/// samples, or the later half of the last stage; `None` where there is no such row.
pub(crate) fn basis(data: &RunData, contexts: &Contexts, tracked: bool, until: u32) -> Option<Basis> {
    let rows = &contexts.rows;
    let starts = data.stage_starts();
    let at = |i: usize| starts[usize::from(rows.stage[i])].saturating_add(rows.step[i]);
    let of = |i: &usize| contexts.tracked[*i] == tracked && at(*i) <= until;
    let stage = rows.stage[(0..rows.len()).rev().find(of)?];
    let steps = || (0..rows.len()).filter(of).filter(|i| rows.stage[*i] == stage).map(|i| u64::from(rows.step[i]));
    let (first, last) = (steps().min()?, steps().max()?);
    let steps = default_steps(first, last, tracked);
    Some(Basis { stage: data.stages.name(u32::from(stage)).to_owned(), steps, tracked })
}

/// The last finite row of every sample between the basis' steps, in order of what tells samples apart.
fn candidates(data: &RunData, contexts: &Contexts, basis: &Basis) -> Vec<(u32, usize)> {
    let Some(stage) = data.stages.find(&basis.stage) else { return Vec::new() };
    let rows = &contexts.rows;
    let mut taken = vec![false; data.samples.len()];
    let mut found: Vec<(u32, usize)> = Vec::new();
    for i in (0..rows.len()).rev() {
        let sample = rows.sample[i];
        let wanted = u32::from(rows.stage[i]) == stage
            && contexts.tracked[i] == basis.tracked
            && (basis.steps.0..=basis.steps.1).contains(&u64::from(rows.step[i]))
            && !taken[sample as usize];
        if wanted && contexts.vector(i).iter().all(|v| v.is_finite()) {
            taken[sample as usize] = true;
            found.push((sample, i));
        }
    }
    found.sort_by_cached_key(|(sample, _)| data.samples.key(*sample));
    found
}

/// What the data set, or else a record, calls a sample's task.
fn task(data: &RunData, sample: u32) -> &str {
    data.samples.row(sample).and_then(|r| r.task.as_deref()).unwrap_or_else(|| data.samples.task(sample))
}

/// An even draw of about `most` of the samples of the basis at most, in the same order, with their rows.
pub(crate) fn rows(data: &RunData, contexts: &Contexts, basis: &Basis, most: usize) -> Vec<(u32, usize)> {
    let all = candidates(data, contexts, basis);
    let tasks: Vec<&str> = all.iter().map(|(s, _)| task(data, *s)).collect();
    stratified(&tasks, most).into_iter().map(|i| all[i]).collect()
}

/// The context vectors of `chosen` samples and rows, with what is known of them.
pub(crate) fn describe(
    data: &RunData,
    layer: &LayerKey,
    contexts: &Contexts,
    basis: &Basis,
    chosen: &[(u32, usize)],
) -> ContextData {
    let mut vectors = Array2::<f32>::zeros((chosen.len(), contexts.width));
    for ((_, row), mut to) in chosen.iter().zip(vectors.rows_mut()) {
        to.iter_mut().zip(contexts.vector(*row)).for_each(|(to, v)| *to = v.to_f32());
    }
    let one = |(s, row): &(u32, usize)| {
        let known = data.samples.row(*s);
        ContextSample {
            sample: data.samples.id(*s).to_owned(),
            place: data.samples.place(*s),
            step: u64::from(contexts.rows.step[*row]),
            task: task(data, *s).to_owned(),
            image: known.and_then(|r| r.image.clone()),
            question: known.map_or_else(String::new, |r| r.question.clone()),
            answer: known.map_or_else(String::new, |r| r.answer.clone()),
        }
    };
    ContextData {
        stage: basis.stage.clone(),
        layer: layer.1.clone(),
        depth: layer.0,
        steps: basis.steps,
        tracked: basis.tracked,
        samples: chosen.iter().map(one).collect(),
        vectors,
        weights: None,
        without_routing: BTreeSet::new(),
        of: chosen.len(),
        not_finite: 0,
        rows_not_finite: NotFinite::default(),
        problems: Vec::new(),
    }
}

/// What components and clusters are found from.
///
/// # Errors
/// Fewer than three samples; said in words.
pub(crate) fn gather(data: &RunData, layer: &LayerKey, basis: &Basis, fit: usize) -> Result<ContextData, String> {
    let contexts = data.contexts.get(layer).ok_or("this layer has no context vectors")?;
    let chosen = rows(data, contexts, basis, fit);
    if chosen.len() < 3 {
        let (stage, (from, to)) = (&basis.stage, basis.steps);
        let kind = if basis.tracked { "tracked samples" } else { "samples" };
        return Err(format!(
            "{} {kind} of stage {stage}, steps {from} to {to}, have a finite context vector in layer {}: too few to find \
             clusters (at least 3)",
            chosen.len(),
            layer.1
        ));
    }
    Ok(describe(data, layer, contexts, basis, &chosen))
}
