//! Cosines with the dominant gradient direction, read from runs.

use super::source::Inputs;
use super::{FigureError, FigureId, Options, Result};
use crate::store::{ALL, LayerRow};

/// The cosines of one run.
pub(super) struct Curve {
    pub label: String,
    pub stage: String,
    /// Step and cosine.
    pub cosines: Vec<(f64, f64)>,
    pub null: Option<(f64, f64)>,
    pub mean_error: Option<f64>,
}

/// What the axis calls a direction.
pub(super) fn short(direction: &str) -> &'static str {
    match direction {
        "momentum" => "momentum",
        "svd" => "singular direction",
        "mean_raw" => "raw mean direction",
        _ => "mean direction",
    }
}

/// What a caption calls it.
pub(super) fn explain(direction: &str) -> &'static str {
    match direction {
        "momentum" => "momentum: AdamW's first moment of the steps before",
        "svd" => "svd: top right singular vector of the steps x parameters matrix",
        "mean_raw" => "mean_raw: the sum of all steps' gradients, the step's own included",
        _ => "mean: the sum of the other steps' unit gradients",
    }
}

/// The curves of all runs that logged them, with the name of their direction.
pub(super) fn load(id: FigureId, inputs: &Inputs, options: &Options) -> Result<(String, Vec<Curve>)> {
    let direction = options.direction.clone().unwrap_or_else(|| "momentum".to_owned());
    if direction != "momentum" {
        return Err(FigureError::Unknown { kind: "direction", asked: direction, known: "momentum".to_owned() });
    }
    let mut curves = Vec::new();
    for source in &inputs.runs {
        let wanted = source.stage(options.stage.as_deref());
        let mut curve: Option<Curve> = None;
        source.visit(|row: LayerRow| {
            let Some(cosine) = row.momentum.filter(|m| m.is_finite()) else { return };
            if row.layer != ALL || row.module != ALL || wanted.as_ref().is_some_and(|w| *w != row.stage) {
                return;
            }
            if curve.as_ref().is_none_or(|c| c.stage != row.stage) {
                let (label, stage) = (source.label.clone(), row.stage.clone());
                curve = Some(Curve { label, stage, cosines: Vec::new(), null: None, mean_error: None });
            }
            if let Some(curve) = &mut curve {
                curve.cosines.push((row.step as f64, cosine));
            }
        })?;
        curves.extend(curve);
    }
    if curves.is_empty() {
        let source = inputs.runs.first().ok_or_else(|| inputs.nothing(id))?;
        let option = "`--log-grads` (`[probe] log_grads = true`)";
        return Err(source.lacks(id, "`layers.momentum`", option));
    }
    Ok((direction, curves))
}
