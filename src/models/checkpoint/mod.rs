//! Weights on disk: safetensors files and folders as sources of parameters, names translated on the way, and the
//! writer of a folder that other tools read.

mod folder;
mod read;
mod sources;
#[cfg(test)]
mod tests;
mod write;

pub use folder::holds_weights;
pub(super) use folder::is_lfs_pointer;
pub use read::{CheckpointError, Safetensors};
pub use sources::{Chain, Empty, Renamed, StoreSource};
pub use write::{write_folder, write_safetensors};
