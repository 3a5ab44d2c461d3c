//! From instruction files and photographs to batches: conversations, prompt templates with their label masks, token
//! ids, pixels, order of the samples, worker threads, and the built-in set `scenes`.
//!
//! The path of a sample: [`InstructFile`] (offsets into the file) or a built-in list gives an [`Entry`];
//! [`Template`](crate::config::data::Template) renders it as text with labelled spans; [`LanguageTokenizer`] turns
//! this into ids and labels; [`ImageSpec`] turns the photograph into pixels; [`Dataset::batch`] collects them.
//! [`Sampler`] says which samples a step takes, [`Loader`] prepares them ahead in threads, [`check`](check::check)
//! reads everything once before the first step.

mod batch;
pub mod check;
mod check_cache;
mod check_tokens;
mod context;
mod conversation;
mod convert;
mod dataset;
mod encode;
mod entry_keys;
mod error;
mod file_kind;
mod form;
mod group_by_length;
pub mod image;
mod index;
mod json;
mod json_faults;
mod json_scan;
mod keep;
mod loader;
mod look;
mod media;
mod pairs;
mod permutation;
pub mod picture;
mod placeholder;
mod preparation;
mod prepare;
pub mod remark;
mod resample;
mod sampler;
pub mod scenes;
pub(crate) mod shown;
mod stand_in;
mod template;
#[cfg(test)]
mod testing;
mod tokenizer;

pub use batch::{Batch, BatchPosition, EvalItem, NO_TASK, SampleMeta};
pub use check::{CheckOptions, CheckReport, Embeddings, Unusable};
pub use context::context_text;
pub use conversation::{Entry, IMAGE_PLACEHOLDER, Role, Turn};
pub use convert::{Converted, convert};
pub use dataset::{Dataset, SampleInfo, Split, TaskTable};
pub use encode::{Encoded, IGNORE_LABEL, IMAGE_ID};
pub use error::{DataError, Place, Result};
pub use form::Form;
pub use image::ImageSpec;
pub use index::InstructFile;
pub use loader::Loader;
pub use look::{Look, Progress, look_on};
pub use pairs::Paired;
pub use permutation::Permutation;
pub use preparation::Preparation;
pub use remark::{Remark, Tally};
pub use sampler::{Order, Sampler, SamplerState};
pub use stand_in::{Met, StandIn};
pub use template::{Rendered, render, render_prompt};
pub use tokenizer::{LanguageTokenizer, TextTokenizer, Tokenizers, other_files};
