//! Heat maps: colours, cells and the colour bar.

use super::axes::{label, ticks};
use super::canvas::{Canvas, Drawn, Point};
use super::theme::{GREY, INK};
use plotters::prelude::{DrawingBackend, RGBColor, WHITE};
use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};
use plotters::style::text_anchor::{HPos, VPos};

/// Room that a colour bar needs at the right, pt.
pub(super) fn bar_room<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, range: (f64, f64)) -> f64 {
    let ticks = ticks(range.0, range.1, 4);
    let widest = ticks.iter().map(|t| canvas.width(&label(*t, &ticks), canvas.small)).fold(0.0, f64::max);
    8.0 + 8.0 + 6.0 + widest + canvas.title * 1.5
}

/// Red, green and blue of the sequential colour map at `part` (0..=1), the same in figures and viewer.
#[must_use]
pub fn viridis(part: f64) -> [u8; 3] {
    let RGBColor(red, green, blue) = ViridisRGB.get_color(part.clamp(0.0, 1.0));
    [red, green, blue]
}

/// Viridis; null is grey.
pub(super) fn color(value: Option<f64>, range: (f64, f64)) -> RGBColor {
    let Some(value) = value.filter(|v| v.is_finite()) else { return GREY };
    let part = if range.1 > range.0 { ((value - range.0) / (range.1 - range.0)).clamp(0.0, 1.0) } else { 0.0 };
    ViridisRGB.get_color(part)
}

/// Black or white, whichever is read better on `on`.
pub(super) fn ink_on(on: RGBColor) -> RGBColor {
    let light = 0.2126 * f64::from(on.0) + 0.7152 * f64::from(on.1) + 0.0722 * f64::from(on.2);
    if light > 140.0 { INK } else { WHITE }
}

/// Cells in rows from the top, filling the rectangle without gaps.
pub(super) fn cells<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    from: Point,
    to: Point,
    rows: &[Vec<Option<f64>>],
    range: (f64, f64),
) -> Drawn {
    let height = (to.1 - from.1) / rows.len().max(1) as f64;
    for (r, row) in rows.iter().enumerate() {
        let width = (to.0 - from.0) / row.len().max(1) as f64;
        for (c, value) in row.iter().enumerate() {
            let corner = (from.0 + c as f64 * width, from.1 + r as f64 * height);
            canvas.fill(corner, (corner.0 + width, corner.1 + height), color(*value, range))?;
        }
    }
    Ok(())
}

/// The colour bar, its left edge 8 pt right of `at.0`, between heights `at.1` and `bottom`.
pub(super) fn bar<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    at: Point,
    bottom: f64,
    range: (f64, f64),
    title: &str,
) -> Drawn {
    let (left, right) = (at.0 + 8.0, at.0 + 16.0);
    let steps = 128;
    let height = (bottom - at.1) / f64::from(steps);
    for i in 0..steps {
        let value = range.0 + (range.1 - range.0) * (f64::from(i) + 0.5) / f64::from(steps);
        let low = bottom - f64::from(i) * height;
        canvas.fill((left, low - height), (right, low), color(Some(value), range))?;
    }
    let marks = ticks(range.0, range.1, 4);
    let mut widest = 0.0_f64;
    for tick in marks.iter().filter(|t| **t >= range.0 && **t <= range.1) {
        let y = bottom - (tick - range.0) / (range.1 - range.0) * (bottom - at.1);
        canvas.line(&[(right, y), (right + 2.5, y)], INK, 0.6)?;
        let text = label(*tick, &marks);
        widest = widest.max(canvas.width(&text, canvas.small));
        canvas.text(&text, (right + 4.0, y), canvas.small, (HPos::Left, VPos::Center), INK)?;
    }
    let place = (right + 6.0 + widest + canvas.title * 0.7, f64::midpoint(at.1, bottom));
    canvas.upwards(title, place, canvas.title)
}
