//! The run directory: a public format, read by pandas, polars and DuckDB alike.
//!
//! ```text
//! runs/<name>/
//!   manifest.json                      what ran, on what, and how it ended
//!   config.toml                        the resolved configuration
//!   log.txt
//!   dataset.parquet                    the samples
//!   images/
//!   records/<stream>/part-000042.parquet
//!   records/cuts.json                  where the streams stood at each checkpoint
//!   checkpoints/step-000300/
//!   analysis/  figures/
//! ```
//!
//! A part is written whole: under a temporary name that starts with a dot, synced, then renamed. Every 64 closed parts
//! are merged into one that is named by its range (`part-000000-000063.parquet`). A reader ignores a part whose range
//! lies within another's, a writer deletes it when it opens, so that a kill at any moment loses at most a second of
//! records and doubles none.

mod atomic;
mod budget;
mod cell;
mod clock;
mod cuts;
mod dataset;
mod dir;
mod error;
mod follow;
mod gradients;
mod manifest;
mod name;
mod part;
mod partial;
mod reader;
mod records;
mod sample;
mod study;
#[cfg(test)]
mod tests;
mod writer;

pub use atomic::{check_free, write_atomic};
pub use budget::BudgetRow;
pub use clock::timestamp;
pub use cuts::Cut;
pub use dataset::{DatasetRow, read_dataset, visit_dataset, write_dataset};
pub(crate) use dataset::{dataset_schema, visit_dataset_batches};
pub use dir::RunDir;
pub use error::{Result, StoreError};
pub use follow::{News, Poll, RunFollower, StreamFollower};
pub use gradients::{ConflictRow, DistanceRow, GradientRow, Judged, NoiseRow, PairRow, SampleGradientRow};
pub use manifest::{
    Change, DroppedSample, Instead, Manifest, ParameterEntry, PictureDecision, SCHEMA, StageEntry, Status,
};
pub use name::Name;
pub(crate) use part::{encode, parquet_properties, write_table};
pub use partial::{ContextKey, DatasetTask, RoutingKey, RoutingWeights, SampleTask};
pub use reader::{Read, read_batches, read_records, read_where, stream_schemas, streams, visit_batches, visit_records};
pub use records::{
    ALL, ContextRow, EvalRow, LayerRow, PredictionRow, Record, RoutingRow, SampleRow, StepRow, option_that_logs,
};
pub use sample::{BySample, OfSample, Place, SampleKey};
pub use study::{STUDY_SCHEMA, Study, StudyKind, StudyRun, StudyStatus};
pub use writer::{RecordWriter, WriterOptions};
