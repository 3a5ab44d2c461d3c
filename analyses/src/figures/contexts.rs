//! What the context figures share: the samples that `covft-probe analyze` takes too, and what is known of them.

use super::source::Source;
use super::{FigureError, FigureId, Options, Result};
use crate::analysis::{AnalysisError, ContextData, ContextSample, Fitted, Selection, Steps, sample_tasks};
use crate::cluster::Clusters;
use crate::stats::NotFinite;
use crate::store::{BySample, Name, RoutingKey, option_that_logs};
use ndarray::{Array2, Axis};

/// Whether a sample is among those that are shown.
pub(super) fn has(only: Option<&BySample<()>>, sample: &ContextSample) -> bool {
    only.is_none_or(|only| only.get(sample.place, &sample.sample).is_some())
}

/// The stage of routing to draw, and the first and last step that has any.
pub(super) fn routed(id: FigureId, source: &Source, options: &Options) -> Result<(String, (u64, u64))> {
    let wanted = source.stage(options.stage.as_deref());
    let mut found: Option<(String, (u64, u64))> = None;
    source.visit(|row: RoutingKey| {
        if wanted.as_ref().is_some_and(|w| *w != row.stage) {
            return;
        }
        match &mut found {
            Some((known, (first, last))) if *known == row.stage => {
                (*first, *last) = ((*first).min(row.step), (*last).max(row.step));
            }
            _ => found = Some((row.stage, (row.step, row.step))),
        }
    })?;
    found.ok_or_else(|| source.lacks(id, "`routing`", option_that_logs("routing")))
}

/// That nothing is left of the routing: because of its numbers, or because of what was asked for.
pub(super) fn nothing_routed(id: FigureId, source: &Source, not_finite: NotFinite) -> FigureError {
    let why = not_finite
        .words("routing row", "routing rows")
        .unwrap_or_else(|| "no routing of these steps, samples and this layer; ask for others".to_owned());
    source.unfit(id, why)
}

/// The task of each sample that has one.
pub(super) fn tasks(source: &Source) -> Result<BySample<Name>> {
    let (tasks, problems) = sample_tasks(&source.run)?;
    source.note(problems.iter().map(ToString::to_string));
    Ok(tasks)
}

/// Context vectors of one layer.
pub(super) struct Contexts {
    pub data: ContextData,
    id: FigureId,
    path: std::path::PathBuf,
}

impl Contexts {
    pub(super) fn load(id: FigureId, source: &Source, options: &Options) -> Result<Self> {
        let selection = Selection {
            stage: source.stage(options.stage.as_deref()),
            layer: options.layer.clone(),
            steps: options.steps.map_or(Steps::Late, |(from, to)| Steps::Between(from, to)),
            tracked: options.tracked,
            most: 0,
            seed: options.seed,
        };
        let path = source.run.path().to_owned();
        let data = ContextData::load(&source.run, &selection).map_err(|error| match error {
            AnalysisError::Store(error) => FigureError::Store(error),
            AnalysisError::NoRecords { .. } => source.lacks(id, "`contexts`", option_that_logs("contexts")),
            // A stage without context vectors is one that did not log them; a layer or step was named wrongly.
            AnalysisError::Unknown { what: "stage", asked, .. } => {
                source.lacks(id, &format!("`contexts` of stage {asked}"), option_that_logs("contexts"))
            }
            AnalysisError::Unknown { stream, what, asked, known, .. } => {
                let why = format!("no `{stream}` records of {what} {asked}; there are {known}");
                FigureError::Data { figure: id.to_string(), why, path: path.clone() }
            }
            AnalysisError::TooFew { why, .. } => FigureError::Data { figure: id.to_string(), why, path: path.clone() },
            error => FigureError::Data { figure: id.to_string(), why: error.to_string(), path: path.clone() },
        })?;
        source.note(data.problems.iter().cloned());
        Ok(Self { data, id, path })
    }

    /// The samples of the selection alone.
    pub(super) fn of_selection(mut self, options: &Options) -> Result<Self> {
        let Some(only) = options.shown() else { return Ok(self) };
        let kept: Vec<usize> =
            (0..self.data.samples.len()).filter(|i| has(Some(&only), &self.data.samples[*i])).collect();
        if kept.is_empty() {
            return Err(self.failed(&"none of the samples asked for has a context vector here"));
        }
        self.data.samples = kept.iter().map(|i| self.data.samples[*i].clone()).collect();
        self.data.vectors = self.data.vectors.select(Axis(0), &kept);
        self.data.weights = self.data.weights.map(|w| w.select(Axis(0), &kept));
        let without = |(new, old): (usize, &usize)| self.data.without_routing.contains(old).then_some(new);
        self.data.without_routing = kept.iter().enumerate().filter_map(without).collect();
        Ok(self)
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> FigureError {
        FigureError::Data { figure: self.id.to_string(), why: why.to_string(), path: self.path.clone() }
    }

    /// What components and clusters are found from.
    pub(super) fn fitted(&self, options: &Options) -> Fitted<'_> {
        Fitted::of(&self.data, Some(options.fit))
    }

    /// Clusters in the original space: those of `covft-probe analyze` with as many of the same seed. Beside them, that there
    /// are fewer than asked for.
    pub(super) fn clusters(&self, fitted: &Fitted<'_>, options: &Options) -> Result<(Clusters, Option<String>)> {
        let found = fitted.clusters(options.clusters, options.restarts, options.seed).map_err(|e| self.failed(&e))?;
        let fewer = fitted.fewer(options.clusters, found.centroids().nrows());
        Ok((found.labelling(self.data.vectors.view()), fewer))
    }

    /// Coordinates on two principal components (from 1), and their shares of the variance.
    pub(super) fn plane(&self, fitted: &Fitted<'_>, axes: (usize, usize)) -> Result<(Array2<f64>, [f64; 2])> {
        let (samples, width) = fitted.vectors().dim();
        let most = width.min(samples.saturating_sub(1));
        if axes.0.min(axes.1) < 1 || axes.0.max(axes.1) > most {
            let why = format!(
                "there is no component {}: {samples} vectors of {width} numbers have 1 to {most}",
                axes.0.max(axes.1)
            );
            return Err(self.failed(&why));
        }
        let pca = fitted.pca(axes.0.max(axes.1)).map_err(|e| self.failed(&e))?;
        let (ratio, places) = (pca.variance_ratio(), [axes.0 - 1, axes.1 - 1]);
        let on = pca.transform(self.data.vectors.view()).select(Axis(1), &places);
        Ok((on, places.map(|p| ratio[p])))
    }

    /// What was left out, in words.
    pub(super) fn left_out(&self, fewer: Option<String>) -> Vec<String> {
        self.data.left_out().into_iter().chain(fewer).collect()
    }
}
