//! The figure of the scatter.

use super::super::figures::Request;
use crate::core::scatter::{ColorBy, Population};
use crate::panels::{Cx, thousands};
use covft_analyses::figures::looks::LOOKS;
use covft_analyses::figures::{ColorBy as Paint, FigureId};

/// What the colours of the figure can mean, too.
fn paint(by: ColorBy) -> Option<Paint> {
    Some(match by {
        ColorBy::Cluster => Paint::Cluster,
        ColorBy::Task => Paint::Task,
        ColorBy::Expert => Paint::Expert,
        ColorBy::Entropy => Paint::Entropy,
        ColorBy::Step => Paint::Step,
        ColorBy::Split => Paint::Split,
        ColorBy::Loss => Paint::Loss,
        ColorBy::Stage => Paint::Stage,
        ColorBy::Seen => Paint::Seen,
        ColorBy::Tokens => Paint::Tokens,
        ColorBy::Correct => Paint::Correct,
        ColorBy::Conflict | ColorBy::Alignment => return None,
    })
}

/// The figure of the clusters that are shown.
pub(crate) fn paper(cx: &Cx<'_>) -> Option<Request> {
    let found = cx.state.embedding.as_ref()?;
    let mut figure = Request::new(cx, FigureId::ContextClusters)?;
    let (notes, basis) = (&cx.state.notes, &found.basis);
    figure.options.layer = Some(found.asked.layer.1.clone());
    figure.options.stage = Some(basis.stage.clone());
    let options = &mut figure.options;
    (options.steps, options.tracked) = (Some(basis.steps), Some(basis.tracked));
    (options.clusters, options.seed) = (found.asked.clusters, found.asked.seed);
    (options.fit, options.restarts) = (found.asked.fit, found.asked.restarts);
    options.axes = (notes.axes[0] + 1, notes.axes[1] + 1);
    match paint(notes.color) {
        Some(color) => options.color_by = color,
        None => figure.but(format!(
            "The view colours by {}; the figure by cluster, with a mark for each task.",
            notes.color.name()
        )),
    }
    if notes.color == ColorBy::Loss {
        figure
            .but("The view colours by the latest loss of a sample; the figure by its loss at the step of its vector.");
    }
    let experts = cx.data.routing.get(&found.asked.layer).map_or(0, |routing| routing.experts);
    if notes.color == ColorBy::Expert && experts > LOOKS {
        figure.but("Which experts are the largest, the view counts over all rows and the figure over its own samples.");
    }
    let (points, fitted) = (cx.state.shown.rows.len(), found.fitted());
    if points != fitted || notes.population == Population::All {
        figure.but(format!(
            "The view shows {} rows; the figure the samples of stage {}, steps {} to {}, that the clusters were found from: {}.",
            thousands(points),
            basis.stage,
            basis.steps.0,
            basis.steps.1,
            thousands(fitted)
        ));
    }
    if !notes.names.is_empty() {
        figure.but("The figure numbers the clusters; their names are not in it.");
    }
    if !cx.state.selection.now().is_empty() {
        figure.but("What is selected is not set apart in the figure.");
    }
    if cx.state.local.scatter.density {
        figure.but("The view shows the density; the figure shows points.");
    }
    Some(figure)
}
