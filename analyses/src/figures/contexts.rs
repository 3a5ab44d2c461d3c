//! What the context figures share: the samples that `covft-probe analyze` takes too, and what is known of them.

use super::source::Source;
use super::{FigureError, FigureId, Options, Result};
use crate::analysis::{AnalysisError, ContextData, Selection, Steps, sample_tasks};
use crate::cluster::Clusters;
use crate::reduce::Pca;
use crate::store::{BySample, Name, Record, option_that_logs};
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::Array2;

/// Samples that clusters are sought over at most, as in the paper.
const SAMPLES: usize = 5000;
/// Beginnings of k-means.
const RESTARTS: usize = 10;

/// The stage to draw and its last step.
pub(super) fn last_step<R: Record>(
    source: &Source,
    options: &Options,
    of: impl Fn(&R) -> (&str, u64),
) -> Result<Option<(String, u64)>> {
    let wanted = source.stage(options.stage.as_deref());
    let mut found: Option<(String, u64)> = None;
    source.visit(|row: R| {
        let (stage, step) = of(&row);
        if wanted.as_ref().is_some_and(|w| w != stage) {
            return;
        }
        match &mut found {
            Some((known, last)) if known == stage => *last = (*last).max(step),
            _ => found = Some((stage.to_owned(), step)),
        }
    })?;
    Ok(found)
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
            steps: Steps::Late,
            tracked: None,
            most: SAMPLES,
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
            AnalysisError::TooFew { found, needed, .. } => {
                let why = format!("only {found} samples have a finite context vector, {needed} are needed");
                FigureError::Data { figure: id.to_string(), why, path: path.clone() }
            }
            error => FigureError::Data { figure: id.to_string(), why: error.to_string(), path: path.clone() },
        })?;
        source.note(data.problems.iter().cloned());
        Ok(Self { data, id, path })
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> FigureError {
        FigureError::Data { figure: self.id.to_string(), why: why.to_string(), path: self.path.clone() }
    }

    /// Clusters in the original space: those of `covft-probe analyze` with as many of the same seed.
    pub(super) fn clusters(&self, options: &Options) -> Result<Clusters> {
        self.data.clusters(options.clusters, RESTARTS, options.seed).map_err(|e| self.failed(&e))
    }

    /// Coordinates on the first two principal components, and their shares of the variance.
    pub(super) fn plane(&self) -> Result<(Array2<f64>, [f64; 2])> {
        let vectors = self.data.vectors.view();
        let width = vectors.ncols();
        if width < 2 {
            return Err(self.failed(&format!("vectors of {width} numbers have no plane of components")));
        }
        let pca = Pca::params(2).fit(&DatasetBase::from(vectors)).map_err(|e| self.failed(&e))?;
        let ratio = pca.variance_ratio();
        Ok((pca.transform(vectors), [ratio[0], ratio[1]]))
    }
}
