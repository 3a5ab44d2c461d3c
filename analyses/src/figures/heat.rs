//! Heat maps: cells and the colour bar.

use super::axes::{label, ticks};
use super::color::{INK, Scale};
use super::scene::{Across, Along, Canvas, Point};

/// Room that a colour bar needs at the right, pt.
pub(super) fn bar_room(canvas: &Canvas, scale: Scale) -> f64 {
    let ticks = ticks(scale.low, scale.high, 4);
    let widest = ticks.iter().map(|t| canvas.width(&label(*t, &ticks), canvas.small)).fold(0.0, f64::max);
    8.0 + 8.0 + 6.0 + widest + canvas.title * 1.5
}

/// Cells in rows from the top. Each reaches a little under the next ones, so that no viewer shows seams.
pub(super) fn cells(canvas: &mut Canvas, from: Point, to: Point, rows: &[Vec<Option<f64>>], scale: Scale) {
    let height = (to.1 - from.1) / rows.len().max(1) as f64;
    for (r, row) in rows.iter().enumerate() {
        let width = (to.0 - from.0) / row.len().max(1) as f64;
        for (c, value) in row.iter().enumerate() {
            let corner = (width.mul_add(c as f64, from.0), height.mul_add(r as f64, from.1));
            let end = ((corner.0 + width + 0.4).min(to.0), (corner.1 + height + 0.4).min(to.1));
            canvas.rect(corner, end, scale.color(*value));
        }
    }
}

/// Lines that the names of columns `width` pt wide take, one or two.
pub(super) fn column_lines(canvas: &Canvas, names: &[String], width: f64) -> usize {
    names.iter().map(|n| canvas.wrap(n, canvas.small, width - 2.0, 2).len()).max().unwrap_or(1).max(1)
}

/// Names of columns below a map from the left edge to the bottom right corner.
pub(super) fn column_names(canvas: &mut Canvas, (left, to): (f64, Point), names: &[String]) {
    let width = (to.0 - left) / names.len().max(1) as f64;
    for (c, name) in names.iter().enumerate() {
        let x = (c as f64 + 0.5).mul_add(width, left);
        for (i, line) in canvas.wrap(name, canvas.small, width - 2.0, 2).iter().enumerate() {
            let y = (i as f64).mul_add(canvas.small * 1.1, to.1 + 2.5);
            canvas.text(line, (x, y), canvas.small, (Across::Center, Along::Top), INK);
        }
    }
}

/// The colour bar, its left edge 8 pt right of `at.0`, between heights `at.1` and `bottom`.
pub(super) fn bar(canvas: &mut Canvas, at: Point, bottom: f64, scale: Scale, title: &str) {
    let (left, right) = (at.0 + 8.0, at.0 + 16.0);
    let steps = 96;
    let span = scale.high - scale.low;
    let height = (bottom - at.1) / f64::from(steps);
    for i in (0..steps).rev() {
        let value = span.mul_add((f64::from(i) + 0.5) / f64::from(steps), scale.low);
        let low = f64::from(i).mul_add(-height, bottom);
        canvas.rect((left, low - height), (right, (low + 0.4).min(bottom)), scale.color(Some(value)));
    }
    let marks = ticks(scale.low, scale.high, 4);
    let mut widest = 0.0_f64;
    for tick in &marks {
        let y = bottom - (tick - scale.low) / span * (bottom - at.1);
        canvas.line(&[(right, y), (right + 2.5, y)], INK, 0.6);
        let text = label(*tick, &marks);
        widest = widest.max(canvas.width(&text, canvas.small));
        canvas.text(&text, (right + 4.0, y), canvas.small, (Across::Left, Along::Middle), INK);
    }
    let place = (right + 6.0 + widest + canvas.title * 0.7, f64::midpoint(at.1, bottom));
    canvas.upwards(title, place, canvas.title, INK);
}
