//! Paper figures of runs and studies: exact venue widths, one embedded font, colours that survive colour blindness.
//!
//! ```no_run
//! use covft_analyses::figures::{FigureId, Format, Inputs, Options, Plot, Venue};
//! # fn main() -> Result<(), covft_analyses::figures::FigureError> {
//! let inputs = Inputs::open(&["runs/scenes".into()])?;
//! for plot in Plot::load(FigureId::Drift, &inputs, &Options::default())? {
//!     let bytes = plot.draw(Venue::Cvpr, Format::Pdf)?; // the same bytes that `save` writes
//!     plot.save(Venue::Cvpr, &[Format::Svg, Format::Pdf], "figures".as_ref(), &[])?;
//! }
//! # Ok(()) }
//! ```
//!
//! A figure becomes `<id>.svg`, `.pdf`, `.png` (300 dpi), `<id>.csv` (the numbers that are plotted) and `<id>.json` (where
//! they come from, and all that is needed to draw it again). Shapes go through one list (`scene`) into each format.

mod axes;
mod cluster_samples;
mod color;
mod conflict_by_layer;
mod conflict_over_steps;
mod context_clusters;
mod contexts;
mod directions;
mod distances;
mod drift;
mod embed;
mod error;
mod expert_load;
mod font;
mod fonts;
mod gradient_cosine;
mod growth;
mod heat;
mod layer_conflict;
pub mod looks;
mod loss;
mod options;
mod overhead;
mod page;
mod paint;
mod pdf;
mod places;
mod plot;
mod points;
mod raster;
mod routing_by_task;
mod routing_context;
mod scene;
mod sidecar;
mod source;
mod svg;
mod tally;
mod task_conflict;
#[cfg(test)]
mod tests;
mod theme;

pub use color::{diverging, readable_on, viridis};
pub use error::FigureError;
pub use fonts::{FontNote, Fonts};
pub use growth::{Growth, GrowthPanel};
pub use options::{ColorBy, Format, Measure, Options};
pub use places::label_places;
pub use plot::Plot;
pub use sidecar::Sidecar;
pub use source::{Inputs, Source, StudySource};
pub use theme::Venue;

use crate::store::Place;
use page::{LeftOut, Page};
use scene::{Canvas, Point};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// Result of drawing.
pub type Result<T> = std::result::Result<T, FigureError>;

/// The plotted numbers.
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new<const N: usize>(columns: [&str; N], rows: Vec<[String; N]>) -> Self {
        Self { columns: columns.map(str::to_owned).to_vec(), rows: rows.into_iter().map(|r| r.to_vec()).collect() }
    }
}

/// A cell of a table: empty for null.
fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

/// Cells for the number of a sample's entry and its split: empty where records have no places.
fn place_cells(place: Option<Place>) -> [String; 2] {
    place.map_or_else(Default::default, |place| [place.index().to_string(), place.split().to_owned()])
}

/// A figure whose numbers are at hand.
trait Figure {
    /// Size in pt on `page`.
    fn size(&self, page: &Page) -> Point;
    /// Draws it.
    fn draw(&self, canvas: &mut Canvas);
    /// The numbers.
    fn table(&self) -> Table;
    /// What a caption should say besides run and command.
    fn notes(&self) -> Value;
    /// What is not in the figure though it was logged, and why, one line each.
    fn left_out(&self) -> Vec<String> {
        Vec::new()
    }

    /// What does not come in one by one.
    fn not_shown(&self, _page: &Page) -> Vec<LeftOut> {
        Vec::new()
    }
}

/// Numbers of a figure, read from runs: all of them in one figure, or one figure a run.
enum Read<'a> {
    Together(&'a Inputs),
    Each(&'a Source),
}

macro_rules! figures {
    ($($(#[$doc:meta])* $id:ident $name:literal $reads:ident $module:ident::$data:ident,)*) => {
        /// A figure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FigureId { $($(#[$doc])* $id,)* }

        impl FigureId {
            /// All figures.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$id),*];

            /// Its name in commands and file names.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$id => $name,)* }
            }

            /// Whether several runs come into one figure; otherwise each run has a figure of its own.
            #[must_use]
            pub fn overlays(self) -> bool {
                match self { $(Self::$id => matches!(stringify!($reads), "together"),)* }
            }

            fn load(self, read: &Read<'_>, options: &Options) -> Result<Box<dyn Drawn>> {
                match self { $(Self::$id => figures!(@load $reads read options $module $data),)* }
            }

            fn parse(self, data: Value) -> serde_json::Result<Box<dyn Drawn>> {
                match self { $(Self::$id => Ok(Box::new(serde_json::from_value::<$module::$data>(data)?)),)* }
            }
        }
    };
    (@load together $read:ident $options:ident $module:ident $data:ident) => {
        match $read {
            Read::Together(inputs) => Ok(Box::new($module::$data::load(inputs, $options)?)),
            Read::Each(_) => unreachable!("a figure of all runs together"),
        }
    };
    (@load each $read:ident $options:ident $module:ident $data:ident) => {
        match $read {
            Read::Each(source) => Ok(Box::new($module::$data::load(source, $options)?)),
            Read::Together(_) => unreachable!("a figure of one run"),
        }
    };
}

/// A figure that can go into a sidecar and come back.
trait Drawn: Figure + fmt::Debug {
    fn data(&self) -> serde_json::Result<Value>;
}

impl<F: Figure + fmt::Debug + serde::Serialize> Drawn for F {
    fn data(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}

figures! {
    /// Losses over the steps: training and held-out.
    Loss "loss" together loss::Loss,
    /// Drift of the vision encoder's layers over the steps of a stage.
    Drift "drift" together drift::Drift,
    /// What the parts of a step cost, and what probing cost.
    Overhead "overhead" together overhead::Overhead,
    /// Cosine of the gradient to the dominant direction over the steps, with its histogram.
    GradientCosine "gradient-cosine" together gradient_cosine::GradientCosine,
    /// Distance of the two runs of a conflict study over the steps.
    ConflictOverSteps "conflict-over-steps" together conflict_over_steps::ConflictOverSteps,
    /// The same at the end, by depth.
    ConflictByLayer "conflict-by-layer" together conflict_by_layer::ConflictByLayer,
    /// Mean cosine between the gradients of samples, task by task.
    TaskConflict "task-conflict" each task_conflict::TaskConflict,
    /// Share of the pairs in conflict by layer and module.
    LayerConflict "layer-conflict" each layer_conflict::LayerConflict,
    /// Context vectors on their first two principal components.
    ContextClusters "context-clusters" each context_clusters::ContextClusters,
    /// The samples nearest to each cluster's centre.
    ClusterSamples "cluster-samples" each cluster_samples::ClusterSamples,
    /// Similarity of routing against similarity of context.
    RoutingContext "routing-context" each routing_context::RoutingContext,
    /// Mean routing weights by task and expert, layer by layer.
    RoutingByTask "routing-by-task" each routing_by_task::RoutingByTask,
    /// Gate mass and hard load of the experts over the steps.
    ExpertLoad "expert-load" each expert_load::ExpertLoad,
}

impl fmt::Display for FigureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FigureId {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|id| id.name() == text).ok_or_else(|| FigureError::Unknown {
            kind: "figure",
            asked: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}
