//! Inner products of the samples' gradients: exact ones against the reference, and what sketches say of themselves.

use super::compare::{Worst, values};
use super::golden::{Golden, Tensors};
use super::{Row, VerifyReport, tolerance};
use crate::models::mllm::Mllm;
use crate::ops::{Ctx, LayerId};
use crate::probe::per_sample::oracle::{GramEntry, Oracle};
use candle_core::Result;
use rayon::prelude::*;

/// Seeds that sketches are drawn from.
const SEEDS: u64 = 100;
/// Projections of a sketch, the default of `[probe] sketch_k`.
const K: usize = 16;

/// Compares with `expected/<name>.per_sample_grams.safetensors`, where the folder has it.
pub(super) fn check(golden: &Golden, name: &str, model: &Mllm, report: &mut VerifyReport) -> Result<()> {
    let Some(expected) = golden.expected(&format!("{name}.per_sample_grams"))? else { return Ok(()) };
    let samples = golden.input.input_ids.len();
    let oracle = Oracle::new(samples);
    let output = model.forward(&Ctx::train(&golden.device)?.with_observer(oracle.observer()), &golden.input)?;
    let labelled: usize = output.sample_tokens.iter().sum();
    (output.loss_sum / labelled as f64)?.backward()?;
    let reference = references(&expected, samples)?;

    let mut worst = Worst::new(format!("{name}: inner products of samples' gradients, exact"), tolerance::GRADIENT);
    let ours = oracle.exact()?;
    for (key, layer, truth) in &reference {
        let ours: Vec<f64> = ours.matrix(*layer).iter().map(|entry| entry.value).collect();
        worst.values(key, &ours, truth);
    }
    report.rows.push(worst.row());

    let draw = |seed| {
        let grams = oracle.sketched(K, seed)?;
        Ok(reference.iter().map(|(_, layer, _)| grams.matrix(*layer)).collect())
    };
    let drawn: Vec<Vec<Vec<GramEntry>>> = (0..SEEDS).into_par_iter().map(draw).collect::<Result<_>>()?;
    let mut entries = Vec::new();
    for (number, (key, _, truth)) in reference.iter().enumerate() {
        for (at, truth) in truth.iter().enumerate().filter(|(at, _)| at / samples <= at % samples) {
            let of: Vec<GramEntry> = drawn.iter().map(|grams| grams[number][at]).collect();
            // Exact numbers (layer norms alone, samples without an image) have no interval to be tested.
            if of.iter().any(|entry| entry.low != entry.high) {
                entries.push(Entry { name: format!("{key}[{}, {}]", at / samples, at % samples), truth: *truth, of });
            }
        }
    }
    report.rows.extend([covered(name, &entries), unbiased(name, &entries)]);
    Ok(())
}

/// One sketched inner product under every seed.
struct Entry {
    name: String,
    truth: f64,
    of: Vec<GramEntry>,
}

type Reference = (String, Option<LayerId>, Vec<f64>);

fn references(expected: &Tensors, samples: usize) -> Result<Vec<Reference>> {
    let mut all = Vec::new();
    for key in expected.below("gram.") {
        let layer = match key.strip_prefix("layer").and_then(|number| number.parse().ok()) {
            Some(number) => Some(LayerId::Block(number)),
            None if key == "other" => Some(LayerId::Embeddings),
            None if key == "total" => None,
            None => candle_core::bail!("gram.{key} is of no layer that is known here"),
        };
        let gram = values(expected.get(&format!("gram.{key}"))?, &[samples, samples], key)?;
        all.push((key.to_owned(), layer, gram));
    }
    Ok(all)
}

/// The stated 95 % intervals must hold the truth in at least nine of ten cases.
fn covered(name: &str, entries: &[Entry]) -> Row {
    let cases =
        entries.iter().flat_map(|entry| entry.of.iter().map(|of| of.low <= entry.truth && entry.truth <= of.high));
    let (all, held) = cases.fold((0u32, 0u32), |(all, held), holds| (all + 1, held + u32::from(holds)));
    let missed = 1.0 - f64::from(held) / f64::from(all);
    Row {
        what: format!("{name}: inner products of samples' gradients outside the sketches' 95 % intervals"),
        max_rel: missed,
        tolerance: tolerance::OUTSIDE,
        pass: missed <= tolerance::OUTSIDE,
        note: format!("share of {} entries x {SEEDS} seeds, k = {K}", entries.len()),
    }
}

/// The mean over the seeds must lie within [`tolerance::DEVIATIONS`] of its own standard errors of the truth, every entry.
fn unbiased(name: &str, entries: &[Entry]) -> Row {
    let n = SEEDS as f64;
    let deviation = |entry: &Entry| {
        let mean = entry.of.iter().map(|of| of.value).sum::<f64>() / n;
        let squares: f64 = entry.of.iter().map(|of| (of.value - mean).powi(2)).sum();
        (mean - entry.truth).abs() / (squares / (n - 1.0) / n).sqrt()
    };
    let all: Vec<f64> = entries.iter().map(deviation).collect();
    let worst = all.iter().zip(entries).fold((0.0, ""), |worst, (z, entry)| {
        if z.is_nan() || *z > worst.0 { (*z, entry.name.as_str()) } else { worst }
    });
    let typical = (all.iter().map(|z| z * z).sum::<f64>() / all.len() as f64).sqrt();
    Row {
        what: format!("{name}: bias of the sketches, in standard errors of the mean over the seeds"),
        max_rel: worst.0,
        tolerance: tolerance::DEVIATIONS,
        pass: worst.0 <= tolerance::DEVIATIONS && !entries.is_empty(),
        note: format!("{} entries, {typical:.2} on the whole; worst: {}", entries.len(), worst.1),
    }
}
