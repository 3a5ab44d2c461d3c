//! Trains CoVFT and its rivals on a vision encoder inside a multimodal LLM, and measures how instructions pull the
//! encoder apart. See `ARCHITECTURE.md` for the path of the data.

pub mod config;
pub mod data;
pub mod eval;
pub mod experiment;
#[expect(unsafe_code, reason = "SIMD and unwritten memory live here and nowhere else")]
pub mod kernels;
pub mod models;
pub mod nn;
pub mod ops;
pub mod probe;
pub mod train;
pub mod verify;
