//! Every colour and size.

use egui::{Color32, Vec2};

pub(crate) const WINDOW: Vec2 = Vec2::new(1280.0, 820.0);
pub(crate) const SIDE: f32 = 240.0;
pub(crate) const PLOT_HEIGHT: f32 = 300.0;
pub(crate) const ROW_HEIGHT: f32 = 20.0;
pub(crate) const MAP_ROW: f32 = 24.0;
pub(crate) const MAP_LEFT: f32 = 130.0;
pub(crate) const MAP_WIDTH: f32 = 900.0;

/// Okabe and Ito's colours, readable on light and dark.
pub(crate) const TRAIN: Color32 = Color32::from_rgb(0x56, 0xB4, 0xE9);
pub(crate) const SMOOTH: Color32 = Color32::from_rgb(0x00, 0x8A, 0xD8);
pub(crate) const HELD_OUT: Color32 = Color32::from_rgb(0xD5, 0x5E, 0x00);
pub(crate) const NO_VALUE: Color32 = Color32::from_rgb(0x90, 0x90, 0x90);
