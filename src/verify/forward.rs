//! Values of the forward pass.

use super::compare::Worst;
use super::golden::{Golden, Tensors};
use super::{VerifyReport, tolerance};
use crate::models::mllm::Mllm;
use crate::ops::Ctx;
use candle_core::{Result, Tensor};

/// Loss and features of a method; projected features, text vectors, contexts, routing and logits where the reference
/// has them.
pub(super) fn check(
    golden: &Golden,
    name: &str,
    model: &Mllm,
    expected: &Tensors,
    report: &mut VerifyReport,
) -> Result<()> {
    let (ctx, input) = (Ctx::eval(), &golden.input);
    let mut one = |what: &str, ours: &Tensor, reference: &str| -> Result<()> {
        if let Some(reference) = expected.find(reference) {
            let mut worst = Worst::new(format!("{name}: {what}"), tolerance::FORWARD);
            worst.tensors(what, ours, reference)?;
            report.rows.push(worst.row());
        }
        Ok(())
    };
    let vision = model.vision(&ctx, &input.pixels, &input.context_ids)?;
    one("text vectors", &model.text_vector(&input.context_ids)?, "bert_cls")?;
    one("vision features", &vision.features, "vision_features")?;
    one("projected features", &model.projected(&ctx, &vision.features)?, "projected")?;
    for routing in &vision.routing {
        let layer = routing.layer;
        one(&format!("layer {layer} context"), &routing.context, &format!("layer{layer}.context"))?;
        one(&format!("layer {layer} gate logits"), &routing.logits, &format!("layer{layer}.gate_logits"))?;
    }
    if let Some(reference) = expected.find("logits") {
        let (logits, lengths) = model.logits(&ctx, input)?;
        report.rows.push(valid_rows(&format!("{name}: logits"), &logits, reference, &lengths)?);
    }
    let output = model.forward(&ctx, input)?;
    let labelled: usize = output.sample_tokens.iter().sum();
    let loss = f64::from(output.loss_sum.to_scalar::<f32>()?) / labelled as f64;
    let mut worst = Worst::new(format!("{name}: loss"), tolerance::TRACE);
    worst.values("loss", &[loss], &[expected.scalar("loss")?]);
    worst.values("labelled tokens", &[labelled as f64], &[golden.labelled() as f64]);
    let by_sample = output.sample_losses.read()?.iter().sum::<f64>() / labelled as f64;
    worst.values("sum over samples", &[by_sample], &[expected.scalar("loss")?]);
    report.rows.push(worst.row());
    Ok(())
}

/// Compares `[B, L, V]` where a sample has rows; both sides padded to any length.
pub(super) fn valid_rows(what: &str, ours: &Tensor, reference: &Tensor, lengths: &[usize]) -> Result<super::Row> {
    let valid = |t: &Tensor| -> Result<Tensor> {
        let rows = lengths.iter().enumerate().map(|(b, n)| t.get(b)?.narrow(0, 0, *n)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&rows, 0)
    };
    let mut worst = Worst::new(what, tolerance::FORWARD);
    worst.tensors(what, &valid(ours)?, &valid(reference)?)?;
    Ok(worst.row())
}
