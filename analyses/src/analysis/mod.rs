//! What context vectors and routing weights of a run say: principal components, clusters and their names, how clusters and
//! tasks agree, and whether samples with similar contexts are routed alike.
//!
//! [`ContextData::load`] reads, [`ContextAnalysis::run`] computes, [`write()`] keeps. [`ViewFile`] is what the
//! explorer saves of an analysis and `covft-probe analyze --from` repeats.

mod contexts;
mod data;
mod defaults;
mod error;
mod files;
mod fitted;
mod history;
mod labels;
mod overview;
mod routing;
mod routing_context;
#[cfg(test)]
mod selection_tests;
mod tasks;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;
mod view_file;

pub use contexts::{Agreement, ClusterSummary, ContextAnalysis, ContextParams, SeedStability, SweepPoint, several};
pub use data::{ContextData, ContextSample, NO_TASK, Selection, Steps};
pub use defaults::{FIT, RESTARTS, default_layer, default_steps};
pub use error::{AnalysisError, Result};
pub use files::{Written, write};
pub use fitted::{Fitted, stratified};
pub use history::{ClusterHistory, HistoryStep, cluster_history};
pub use labels::{Word, over_represented, words};
pub use overview::ContextOverview;
pub use routing::{RoutingStats, RoutingStep, RoutingSums, RoutingTask, routing_stats};
pub use routing_context::{LeftOut, RoutingContext, RoutingPair, routing_context};
pub(crate) use tasks::sample_tasks;
pub use view_file::{NamedSelection, VIEW_SCHEMA, ViewFile};
