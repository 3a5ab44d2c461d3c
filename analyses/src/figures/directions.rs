//! Cosines with the dominant gradient direction, read from runs.

use super::source::{Inputs, Source};
use super::{FigureError, FigureId, Options, Result};
use crate::direction::{Definition, Series, directions, momentum};
use crate::store::{ALL, LayerRow, option_that_logs};

/// The cosines of one run.
pub(super) struct Curve {
    pub label: String,
    /// What its run has in common with others: the method, where a study names it.
    pub group: String,
    pub series: Series,
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

/// The series over one layer (all if none is named), if the run logged it.
fn series(source: &Source, definition: Definition, options: &Options) -> Result<Option<Series>> {
    let stage = source.stage(options.stage.as_deref());
    let layer = options.layer.as_deref().unwrap_or(ALL);
    let all = if definition == Definition::Momentum {
        let rows = source.rows(|r: &LayerRow| r.layer == layer && r.module == ALL)?;
        if options.space == "trainable" { momentum(&rows, stage.as_deref()) } else { Vec::new() }
    } else {
        directions(&source.run, definition, stage.as_deref(), &options.space)?
    };
    Ok(all.into_iter().find(|s| s.layer == layer))
}

fn keep<T>(items: &mut Vec<T>, wanted: &[bool]) {
    let mut wanted = wanted.iter();
    items.retain(|_| wanted.next().copied().unwrap_or(false));
}

/// The curves of all runs that logged them, with the name of their direction: the one that is asked for, or else `mean`
/// where a run has sketches, or else `momentum`.
pub(super) fn load(id: FigureId, inputs: &Inputs, options: &Options) -> Result<(Definition, Vec<Curve>)> {
    let asked = options.direction.as_ref();
    let unknown = |asked: &String| FigureError::Unknown {
        kind: "direction",
        asked: asked.clone(),
        known: Definition::ALL.map(Definition::name).join(", "),
    };
    let tries = match asked {
        Some(asked) => vec![asked.parse().map_err(|_unknown: String| unknown(asked))?],
        None => vec![Definition::Mean, Definition::Momentum],
    };
    let mut bad = 0;
    for definition in &tries {
        let mut curves = Vec::new();
        for source in &inputs.runs {
            let (label, group) = (source.label.clone(), source.group().to_owned());
            let Some(mut series) = series(source, *definition, options)? else { continue };
            bad += series.skipped.len();
            // The direction is over all steps, whichever are shown.
            let shown = series.steps.iter().map(|s| options.has_step(*s)).collect::<Vec<_>>();
            keep(&mut series.cosines, &shown);
            keep(&mut series.errors, &shown);
            keep(&mut series.steps, &shown);
            series.skipped.retain(|s| options.has_step(*s));
            if series.cosines.iter().any(|c| c.is_finite()) {
                curves.push(Curve { label, group, series });
            }
        }
        if !curves.is_empty() {
            inputs.note_absent(id, curves.iter().map(|curve| &curve.label));
            return Ok((*definition, curves));
        }
    }
    let source = inputs.runs.first().ok_or_else(|| inputs.nothing(id))?;
    if bad > 0 {
        let why =
            format!("the gradients of {bad} steps are zero or not finite, or no other step is there to compare with");
        return Err(source.unfit(id, why));
    }
    Err(match asked {
        Some(_) if tries[0] != Definition::Momentum => {
            let what = format!("`gradients` of space {}", options.space);
            source.lacks(id, &what, option_that_logs("gradients"))
        }
        _ => source.lacks(id, "`gradients` or `layers.momentum`", "`--log-grads` (`[probe] log_grads = true`)"),
    })
}
