//! The networks: vision towers, text encoder, language model, projector, and the multimodal model that joins them.

pub mod covft;
