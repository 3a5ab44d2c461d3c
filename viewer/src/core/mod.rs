//! What is computed and never drawn: sets of samples, the grid index, search, rasters, exports.

pub(crate) mod bits;
pub(crate) mod boxes;
pub(crate) mod by_sample;
pub(crate) mod classes;
pub(crate) mod colors;
pub(crate) mod embed;
pub(crate) mod export;
pub(crate) mod fit;
pub(crate) mod grid;
pub(crate) mod memo;
pub(crate) mod names;
pub(crate) mod query;
pub(crate) mod raster;
pub(crate) mod routes;
pub(crate) mod rows;
pub(crate) mod scatter;
pub(crate) mod searched;
pub(crate) mod selection;
