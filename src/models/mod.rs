//! The networks: vision towers, text encoder, language model, projector, and the multimodal model that joins them.

pub mod checkpoint;
pub mod covft;
mod feed_forward;
#[cfg(test)]
mod golden;
pub mod towers;
pub mod tuning;
