//! What may be chosen about figures.

use super::FigureId;
use super::error::FigureError;
use crate::analysis::{FIT, NamedSelection, RESTARTS};
use crate::store::BySample;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// SVG with text as text and the font inside.
    Svg,
    /// PDF, likewise.
    Pdf,
    /// PNG at 300 dpi.
    Png,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Svg, Self::Pdf, Self::Png];

    /// The file name's ending.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Pdf => "pdf",
            Self::Png => "png",
        }
    }
}

impl FromStr for Format {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self, FigureError> {
        Self::ALL.into_iter().find(|f| f.extension() == text).ok_or_else(|| FigureError::Unknown {
            kind: "format",
            asked: text.to_owned(),
            known: Self::ALL.map(Self::extension).join(", "),
        })
    }
}

/// What is stated of the encoder's layers: their distance from the start, and in `drift` also how they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// L2 norm of the distance.
    #[default]
    Distance,
    /// Divided by the norm of the start.
    Relative,
    /// Divided by the square root of the number of elements.
    PerElement,
    /// L2 norm of the step's update; of single runs alone.
    Update,
    /// Norm of the gradient; of single runs alone.
    GradientNorm,
    /// Cosine of the gradient with AdamW's first moment of the steps before; of single runs alone.
    Momentum,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Distance, Self::Relative, Self::PerElement, Self::Update, Self::GradientNorm, Self::Momentum];

    /// Whether it says how far apart parameters are: what two runs have too.
    #[must_use]
    pub fn is_distance(self) -> bool {
        matches!(self, Self::Distance | Self::Relative | Self::PerElement)
    }

    /// The title of an axis, of a `distance` or a `drift`.
    pub(super) fn title(self, what: &str) -> String {
        match self {
            Self::Distance => format!("{what} (L2 norm)"),
            Self::Relative => format!("{what} / norm of the start"),
            Self::PerElement => format!("{what} / \u{221a}elements"),
            Self::Update => "update (L2 norm)".to_owned(),
            Self::GradientNorm => "gradient norm".to_owned(),
            Self::Momentum => "cosine to momentum".to_owned(),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distance => "distance",
            Self::Relative => "relative",
            Self::PerElement => "per-element",
            Self::Update => "update",
            Self::GradientNorm => "gradient-norm",
            Self::Momentum => "momentum",
        })
    }
}

impl FromStr for Measure {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self, FigureError> {
        Self::ALL.into_iter().find(|m| m.to_string() == text).ok_or_else(|| FigureError::Unknown {
            kind: "measure",
            asked: text.to_owned(),
            known: Self::ALL.map(|m| m.to_string()).join(", "),
        })
    }
}

/// What the colours of `context-clusters` mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColorBy {
    /// The sample's cluster.
    #[default]
    Cluster,
    /// Its task.
    Task,
    /// The expert with its largest routing weight in the layer.
    Expert,
    /// The entropy of its routing weights in the layer.
    Entropy,
    /// The step of its vector.
    Step,
    /// The part of the data that it belongs to.
    Split,
    /// Its loss at the step of its vector, or else the last one of the stage.
    Loss,
    /// The stage of its vector.
    Stage,
    /// How often the run trained on it.
    Seen,
    /// Labelled tokens of its answer.
    Tokens,
    /// How far its last generated answer is right.
    Correct,
}

impl ColorBy {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Cluster,
        Self::Task,
        Self::Expert,
        Self::Entropy,
        Self::Step,
        Self::Split,
        Self::Loss,
        Self::Stage,
        Self::Seen,
        Self::Tokens,
        Self::Correct,
    ];
}

impl fmt::Display for ColorBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Task => "task",
            Self::Expert => "expert",
            Self::Entropy => "entropy",
            Self::Step => "step",
            Self::Split => "split",
            Self::Loss => "loss",
            Self::Stage => "stage",
            Self::Seen => "seen",
            Self::Tokens => "tokens",
            Self::Correct => "correct",
        })
    }
}

impl FromStr for ColorBy {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self, FigureError> {
        Self::ALL.into_iter().find(|c| c.to_string() == text).ok_or_else(|| FigureError::Unknown {
            kind: "colour",
            asked: text.to_owned(),
            known: Self::ALL.map(|c| c.to_string()).join(", "),
        })
    }
}

/// What may be chosen; the default shows the last stage that has what the figure needs. The names of the fields are those of
/// the flags of `covft-probe plot`. No figure takes all of them: [`Plot::load`](super::Plot::load) refuses by name what a
/// figure does not take, [`Options::of_figure`] leaves that out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Stage.
    pub stage: Option<String>,
    /// First and last step of the stage that count, both included; if `None`, the whole stage, and for contexts and routing
    /// the default of [`crate::analysis`].
    pub steps: Option<(u64, u64)>,
    /// Layer of context figures (the last but one `CoMoE` layer if none is named), of conflict figures and the gradient's
    /// cosine (`all`), of routing figures (all of them).
    pub layer: Option<String>,
    /// Module of drift and of the conflict of tasks (`all` if none is named).
    pub module: Option<String>,
    /// Samples that are shown, under the name of their selection; all if `None`. Clusters and components are found from all
    /// samples whatever is shown.
    pub samples: Option<NamedSelection>,
    /// The tracked samples (`true`) or the steps' own (`false`); as in [`crate::analysis::Selection`] if `None`.
    pub tracked: Option<bool>,
    /// What is stated of layers.
    pub measure: Measure,
    /// What colours mean.
    pub color_by: ColorBy,
    /// Principal components across and up, from 1.
    pub axes: (usize, usize),
    /// Definition of the dominant gradient direction; the best that was logged if none is named.
    pub direction: Option<String>,
    /// Space of gradients: `trainable` or `shared`.
    pub space: String,
    /// How pairs were measured: `sketch` or `exact`; sketched ones, or exact ones where no others were logged, if `None`.
    pub mode: Option<String>,
    /// Clusters of context vectors.
    pub clusters: usize,
    /// Samples that clusters and components are found from at most, even over tasks; the others are placed among them.
    pub fit: usize,
    /// Beginnings of k-means.
    pub restarts: usize,
    /// Seed of clusters, samples and intervals.
    pub seed: u64,
    /// Classes (tasks, clusters, experts, runs) with a look of their own at most; as many as are told apart if not said.
    #[serde(default)]
    pub most: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stage: None,
            steps: None,
            layer: None,
            module: None,
            samples: None,
            tracked: None,
            measure: Measure::default(),
            color_by: ColorBy::default(),
            axes: (1, 2),
            direction: None,
            space: "trainable".to_owned(),
            mode: None,
            clusters: 10,
            fit: FIT,
            restarts: RESTARTS,
            seed: 0,
            most: None,
        }
    }
}

/// Fields of [`Options`] that a figure takes.
fn taken(id: FigureId) -> &'static [&'static str] {
    match id {
        FigureId::Loss => &["stage", "steps", "most"],
        FigureId::Overhead => &["stage", "steps"],
        FigureId::Drift => &["stage", "steps", "measure", "module"],
        FigureId::GradientCosine => &["stage", "steps", "layer", "direction", "space", "most"],
        FigureId::ConflictOverSteps => &["stage", "steps", "measure"],
        FigureId::ConflictByLayer => &["stage", "steps", "measure", "most"],
        FigureId::TaskConflict => &["stage", "steps", "layer", "module", "tracked", "space", "mode", "most"],
        FigureId::LayerConflict => &["stage", "steps", "tracked", "space", "mode"],
        FigureId::ContextClusters => &[
            "stage", "steps", "layer", "samples", "tracked", "color_by", "axes", "clusters", "fit", "restarts", "seed",
            "most",
        ],
        FigureId::ClusterSamples => {
            &["stage", "steps", "layer", "samples", "tracked", "clusters", "fit", "restarts", "seed", "most"]
        }
        FigureId::RoutingContext => &["stage", "steps", "layer", "samples", "tracked", "seed"],
        FigureId::RoutingByTask | FigureId::ExpertLoad => &["stage", "steps", "layer", "samples", "most"],
    }
}

fn flag(field: &str) -> String {
    format!("--{}", field.replace('_', "-"))
}

impl Options {
    fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }

    /// Fields that are not as by default.
    fn chosen(&self) -> Vec<String> {
        let usual = Self::default().fields();
        self.fields().into_iter().filter(|(name, value)| usual.get(name) != Some(value)).map(|(name, _)| name).collect()
    }

    /// That the figure does not take what is chosen, by name.
    pub(super) fn check(&self, id: FigureId) -> Result<(), FigureError> {
        let refused = |field: &String| !taken(id).contains(&field.as_str());
        let refused: Vec<String> = self.chosen().into_iter().filter(refused).map(|f| flag(&f)).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let takes = taken(id).iter().map(|f| flag(f)).collect::<Vec<_>>().join(", ");
        Err(FigureError::Option { figure: id.to_string(), option: refused.join(", "), takes })
    }

    /// The same with what the figure does not take at its default.
    #[must_use]
    pub fn of_figure(&self, id: FigureId) -> Self {
        let (mut fields, usual) = (self.fields(), Self::default().fields());
        fields.retain(|name, _| taken(id).contains(&name.as_str()));
        for (name, value) in usual {
            fields.entry(name).or_insert(value);
        }
        serde_json::from_value(Value::Object(fields)).unwrap_or_default()
    }

    /// Whether a step of the stage counts.
    pub(super) fn has_step(&self, step: u64) -> bool {
        self.steps.is_none_or(|(from, to)| (from..=to).contains(&step))
    }

    /// The samples that are shown; `None`: all.
    pub(super) fn shown(&self) -> Option<BySample<()>> {
        let selection = self.samples.as_ref()?;
        let mut shown = BySample::default();
        selection.each().for_each(|(place, id)| shown.insert(place, id, ()));
        Some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_taken_by_a_figure_and_refused_by_name_elsewhere() {
        for field in Options::default().fields().keys() {
            assert!(
                FigureId::ALL.iter().any(|id| taken(*id).contains(&field.as_str())),
                "{field} is taken by no figure"
            );
        }
        let known = Options::default().fields();
        assert!(FigureId::ALL.iter().all(|id| taken(*id).iter().all(|f| known.contains_key(*f))));
        let asked = Options { color_by: ColorBy::Task, clusters: 4, steps: Some((1, 2)), ..Options::default() };
        assert!(asked.check(FigureId::ContextClusters).is_ok());
        let error = asked.check(FigureId::Loss).unwrap_err().to_string();
        assert_eq!(error, "the figure `loss` does not take --color-by, --clusters; it takes --stage, --steps, --most");
        let left = asked.of_figure(FigureId::Loss);
        assert_eq!(left, Options { steps: Some((1, 2)), ..Options::default() });
        assert!(left.check(FigureId::Loss).is_ok());
    }

    #[test]
    fn options_of_older_sidecars_are_the_usual_where_they_are_missing() {
        let old = r#"{"stage": null, "layer": "3", "measure": "relative", "direction": null, "space": "shared",
                      "clusters": 7, "seed": 1}"#;
        let read: Options = serde_json::from_str(old).unwrap();
        assert_eq!((read.layer.as_deref(), read.clusters, read.axes), (Some("3"), 7, (1, 2)));
    }
}
