//! The networks: vision towers, text encoder, language model, projector, and the multimodal model that joins them.

pub mod bert;
pub mod covft;
pub mod llama;
pub mod projector;
pub mod shapes;
pub mod splice;

#[cfg(test)]
pub(crate) mod test_support;
