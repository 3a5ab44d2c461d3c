//! A LLaMA with grouped queries and tied embeddings, alone.

use super::compare::Worst;
use super::forward::valid_rows;
use super::golden::Tensors;
use super::{VerifyReport, gradients, tolerance};
use crate::config::model::LanguageMethod;
use crate::models::checkpoint::Safetensors;
use crate::models::llama::Llama;
use crate::models::shapes::LanguageShape;
use crate::models::splice::Spliced;
use crate::nn::{ParamBuilder, Part};
use crate::ops::{self, Ctx};
use candle_core::{DType, Device, Error, Result, Tensor};
use std::path::Path;

/// Logits, loss and every gradient of `llama-gqa/`.
pub(super) fn check(folder: &Path, device: &Device, report: &mut VerifyReport) -> Result<()> {
    let folder = folder.join("llama-gqa");
    if !folder.is_dir() {
        report.skipped.push("llama-gqa: the folder has none".into());
        return Ok(());
    }
    let expected = Tensors::open(&folder.join("expected.safetensors"))?;
    let shape = LanguageShape::from_folder(&folder)?;
    let source = Safetensors::open(&folder).map_err(Error::wrap)?;
    let pb = ParamBuilder::new(&source, &|_, _| true, 0, device).part(Part::Language);
    let llama = Llama::new(&pb, &shape, &LanguageMethod::Full, false)?;
    let store = pb.finish();
    let batch = batch(&expected)?;
    let ids = Tensor::from_slice(&batch.text_ids, (batch.lengths.len(), batch.text_len), device)?;

    let ctx = Ctx::train(device)?;
    let states = llama.states(&ctx, &llama.embed(&ctx, &ids)?, &batch.lengths)?;
    let logits = llama.logits(&Ctx::eval(), &states.detach())?;
    report.rows.push(valid_rows("llama-gqa: logits", &logits, expected.get("logits")?, &batch.lengths)?);

    let (rows, targets) = batch.labelled();
    let states = ops::gather_rows(&states.flatten_to(1)?, &rows)?;
    let loss = ops::cross_entropy(&llama.logits(&ctx, &states)?, &targets)?;
    let mean = (loss.sum / loss.labelled as f64)?;
    let mut worst = Worst::new("llama-gqa: loss", tolerance::TRACE);
    worst.values("loss", &[f64::from(mean.to_scalar::<f32>()?)], &[expected.scalar("loss")?]);
    report.rows.push(worst.row());

    mean.backward()?;
    let mut worst = Worst::new("llama-gqa: gradients", tolerance::GRADIENT);
    gradients::compare(&store, &expected, &mut worst)?;
    report.rows.push(worst.row());
    Ok(())
}

fn batch(expected: &Tensors) -> Result<Spliced> {
    let rows = |name: &str| expected.get(name)?.to_dtype(DType::I64)?.to_vec2::<i64>();
    let lengths: Vec<usize> = rows("attention_mask")?.iter().map(|m| m.iter().filter(|v| **v != 0).count()).collect();
    let cut = |name: &str| -> Result<Vec<Vec<i64>>> {
        Ok(rows(name)?.into_iter().zip(&lengths).map(|(row, n)| row[..*n].to_vec()).collect())
    };
    Spliced::new(&cut("input_ids")?, &cut("labels")?, 0, usize::MAX)
}
