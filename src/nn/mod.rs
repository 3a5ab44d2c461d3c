//! Parameters and the layers that every model here is made of.

mod init;
mod layers;
mod params;

pub use init::{Init, Stream};
pub use layers::{LayerNorm, Linear, RmsNorm};
pub use params::{MapSource, Param, ParamBuilder, ParamStore, Part, Role, TensorSource};
