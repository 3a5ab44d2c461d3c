//! Rows of a step, of an evaluation, and the manifest's table of parameters.

use crate::nn::{ParamStore, Part};
use crate::probe::memory;
use crate::train::hook::{EvalView, Prediction, StepView};
use covft_analyses::store::{EvalRow, ParameterEntry, PredictionRow, StepRow};
use std::time::Duration;

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The largest learning rate of the groups of `part`, which are called by it or begin so (`vision`, `vision.no_decay`).
fn learning_rate(view: &StepView<'_>, part: Part) -> Option<f64> {
    let part = part.to_string();
    let of_part = |group: &str| {
        group.strip_prefix(&part).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    view.learning_rates.iter().filter(|(group, _)| of_part(group)).map(|(_, rate)| *rate).reduce(f64::max)
}

pub(super) fn step_row(view: &StepView<'_>) -> StepRow {
    let samples: usize = view.micro_batches.iter().map(|m| m.samples.len()).sum();
    StepRow {
        stage: view.at.stage.to_owned(),
        step: view.at.step,
        global_step: view.at.global_step,
        loss: view.loss,
        lr_vision: learning_rate(view, Part::Vision),
        lr_projector: learning_rate(view, Part::Projector),
        lr_language: learning_rate(view, Part::Language),
        lr_text: learning_rate(view, Part::Text),
        grad_norm: view.grad_norm,
        clip_factor: view.clip_factor,
        samples: samples as u64,
        labelled_tokens: view.labelled_tokens as u64,
        sequence_tokens: view.sequence_tokens as u64,
        ms_data: milliseconds(view.times.data),
        ms_forward: milliseconds(view.times.forward),
        ms_backward: milliseconds(view.times.backward),
        ms_optimizer: milliseconds(view.times.optimizer),
        ms_total: milliseconds(view.times.total),
        ms_probe: 0.0,
        probe_bytes: 0,
        peak_memory: memory::peak(),
    }
}

pub(super) fn eval_rows(view: &EvalView<'_>) -> Vec<EvalRow> {
    view.rows.iter().map(|row| eval_row(view, row)).collect()
}

pub(super) fn prediction_rows(view: &EvalView<'_>) -> Vec<PredictionRow> {
    let row = |prediction: &Prediction| PredictionRow {
        stage: view.at.stage.to_owned(),
        step: view.at.step,
        split: view.split.to_owned(),
        sample: prediction.sample.clone(),
        index: Some(prediction.index),
        task: prediction.task.clone(),
        text: prediction.text.clone(),
        correct: prediction.correct,
    };
    view.predictions.iter().map(row).collect()
}

fn eval_row(view: &EvalView<'_>, row: &crate::train::hook::EvalRow) -> EvalRow {
    EvalRow {
        stage: view.at.stage.to_owned(),
        step: view.at.step,
        global_step: view.at.global_step,
        split: view.split.to_owned(),
        task: row.task.clone(),
        loss: (row.tokens > 0).then_some(row.loss),
        tokens: row.tokens as u64,
        samples: row.samples as u64,
        score: row.score,
        scorer: row.scorer.map(str::to_owned),
        scored: row.scored as u64,
        chance: row.chance,
    }
}

pub(super) fn parameters(params: &ParamStore) -> Vec<ParameterEntry> {
    let entry = |p: &crate::nn::Param| ParameterEntry {
        name: p.weight.name().to_owned(),
        shape: p.weight.dims().to_vec(),
        part: p.role.part.to_string(),
        layer: p.role.layer.map(|l| l.to_string()),
        module: p.role.module.to_owned(),
        trained: p.weight.is_trainable(),
        reached: p.role.reached,
    };
    params.iter().map(entry).collect()
}
