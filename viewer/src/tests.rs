//! The window by accessibility label, over runs that are written while it is looked at.

mod analyses;
mod defaults;
mod figures;
mod many;
mod numbers;
mod panels;
mod pictures;
mod places;
mod run;
mod small;
mod soft;
