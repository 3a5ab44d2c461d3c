//! The window by accessibility label, over runs that are written while it is looked at.

mod analyses;
mod figures;
mod numbers;
mod panels;
mod pictures;
mod places;
mod run;
mod small;
mod soft;
