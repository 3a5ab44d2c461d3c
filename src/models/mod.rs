//! The networks: vision towers, text encoder, language model, projector, and the multimodal model that joins them.

pub mod account;
#[cfg(test)]
mod account_tests;
pub mod bert;
pub mod checkpoint;
pub mod covft;
mod description;
mod feed_forward;
pub mod generate;
#[cfg(test)]
mod golden;
pub mod llama;
pub mod mllm;
pub mod projector;
pub mod save;
pub mod shapes;
pub mod source;
pub mod splice;
pub mod towers;
pub mod tuning;

#[cfg(test)]
pub(crate) mod test_support;
