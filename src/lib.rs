//! Trains CoVFT and its rivals on a vision encoder inside a multimodal LLM, and measures how instructions pull the
//! encoder apart. See `ARCHITECTURE.md` for the path of the data.

pub mod cli;
pub mod config;
pub mod data;
pub mod dist;
pub mod eval;
pub mod experiment;
pub mod kernels;
pub mod models;
pub mod nn;
pub mod ops;
pub mod probe;
pub mod train;
pub mod verify;
