//! Our own data path against the stored batch: conversations, template, tokens, labels, context texts, pixels.

use super::compare::Worst;
use super::golden::{Golden, Tensors};
use super::{VerifyError, VerifyReport, tolerance};
use crate::config::data::{ContextSuffix, DataConfig, ImageAspect};
use crate::data::{Batch, BatchPosition, Dataset, ImageSpec, Preparation, Tokenizers, context_text};
use crate::models::shapes::ModelShapes;
use candle_core::DType;
use std::path::Path;

/// Ids, labels, mask, context texts and their ids must be equal; pixels as near as one grey level.
pub(super) fn check(golden: &Golden, report: &mut VerifyReport) -> Result<(), VerifyError> {
    let instructions = golden.folder.join("instruct.json");
    if !instructions.exists() {
        report.skipped.push("data path: the folder has no instruct.json".into());
        return Ok(());
    }
    let shapes = ModelShapes::resolve(&golden.config)?;
    let set = dataset(golden, &instructions, &shapes)?;
    let stored = Tensors::open(&golden.folder.join("expected/batch.safetensors"))?;
    let all: Vec<usize> = (0..set.len()).collect();
    let batch = set.batch(&all, BatchPosition::default())?;
    ids(&set, &batch, &stored, report)?;
    contexts(golden, &set, &batch, report)?;
    report.rows.push(pixels(&batch, &shapes, &stored)?.row());
    Ok(())
}

/// The fixture as the published training reads it.
fn dataset(golden: &Golden, instructions: &Path, shapes: &ModelShapes) -> crate::data::Result<Dataset> {
    let config = DataConfig {
        train: instructions.to_owned(),
        images: Some(golden.folder.join("images")),
        image_aspect: ImageAspect::Pad,
        context_suffix: ContextSuffix::End,
        ..DataConfig::default()
    };
    let folder = &golden.folder;
    let tokenizers = Tokenizers::load(&folder.join("llava"), &folder.join("bert"), shapes.text.positions)?;
    let vision = &shapes.vision;
    let image = ImageSpec {
        size: vision.image_size as u32,
        mean: vision.image_mean.map(|v| v as f32),
        std: vision.image_std.map(|v| v as f32),
        aspect: config.image_aspect,
    };
    let preparation = Preparation::new(&config, tokenizers, image, vision.patches());
    Dataset::train(&config, preparation)
}

/// Equal or not, row by row.
fn equal<T: PartialEq>(what: &str, ours: &[T], reference: &[T]) -> super::Row {
    let mut worst = Worst::new(format!("data path: {what}"), 0.0);
    if ours.len() != reference.len() {
        worst.fail(format!("{} rows, the reference has {}", ours.len(), reference.len()));
    }
    for (i, (a, b)) in ours.iter().zip(reference).enumerate() {
        if a == b {
            worst.add("", 0.0);
        } else {
            worst.fail(format!("row {i}"));
        }
    }
    worst.row()
}

fn ids(set: &Dataset, batch: &Batch, stored: &Tensors, report: &mut VerifyReport) -> candle_core::Result<()> {
    let padded = batch.padded(set.preparation().tokenizers.language.pad());
    let rows = |name: &str| stored.get(name)?.to_dtype(DType::I64)?.to_vec2::<i64>();
    let ours = |values: &[i64]| values.chunks(padded.width.max(1)).map(<[i64]>::to_vec).collect::<Vec<_>>();
    let mask: Vec<i64> = padded.mask.iter().map(|m| i64::from(*m)).collect();
    report.rows.push(equal("token ids", &ours(&padded.input_ids), &rows("input_ids")?));
    report.rows.push(equal("labels", &ours(&padded.labels), &rows("labels")?));
    report.rows.push(equal("attention mask", &ours(&mask), &rows("attention_mask")?));
    Ok(())
}

fn contexts(golden: &Golden, set: &Dataset, batch: &Batch, report: &mut VerifyReport) -> Result<(), VerifyError> {
    let text = |i| -> crate::data::Result<String> { Ok(context_text(&set.entry(i)?.turns, ContextSuffix::End)) };
    let texts = (0..set.len()).map(text).collect::<crate::data::Result<Vec<_>>>()?;
    report.rows.push(equal("context texts", &texts, &golden.meta.context_texts));
    report.rows.push(equal("context ids", &batch.context_ids, &golden.meta.contexts()));
    Ok(())
}

/// Differences before normalisation, of values in 0..=1.
fn pixels(batch: &Batch, shapes: &ModelShapes, stored: &Tensors) -> candle_core::Result<Worst> {
    let reference = stored.get("pixel_values")?;
    let expected = reference.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let mut worst = Worst::new("data path: pixels", tolerance::PIXEL);
    worst.note("difference of values in 0..1, before normalisation");
    if expected.len() != batch.pixels.len() {
        worst.fail(format!("{} values, the reference has {}", batch.pixels.len(), expected.len()));
        return Ok(worst);
    }
    let plane = batch.image_size * batch.image_size;
    for (i, sample) in batch.samples.iter().enumerate() {
        let at = i * 3 * plane..(i + 1) * 3 * plane;
        let off = batch.pixels[at.clone()].iter().zip(&expected[at]).enumerate();
        let off = off.map(|(j, (a, b))| (f64::from(*a) - b) * shapes.vision.image_std[j / plane]);
        worst.add(&sample.id, super::compare::peak(off));
    }
    Ok(worst)
}
