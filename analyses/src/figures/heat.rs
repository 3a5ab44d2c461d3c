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

/// Names below the columns of a map: in one or two lines where they fit whole, reading upwards otherwise.
pub(super) struct Columns {
    lines: Vec<Vec<String>>,
    upwards: bool,
    /// Lines of text that the names are high.
    pub high: f64,
}

impl Columns {
    /// For columns `width` pt wide.
    pub(super) fn new(canvas: &Canvas, names: &[String], width: f64) -> Self {
        let small = canvas.small;
        let whole = |lines: &[String], name: &String| lines.concat().replace(' ', "") == name.replace(' ', "");
        let lines: Vec<Vec<String>> = names.iter().map(|n| canvas.wrap(n, small, width - 2.0, 2)).collect();
        if lines.iter().zip(canvas.short(names, small, f64::INFINITY)).all(|(l, n)| whole(l, &n)) {
            let high = lines.iter().map(Vec::len).max().unwrap_or(1).max(1) as f64;
            return Self { lines, upwards: false, high };
        }
        let short = canvas.short(names, small, (canvas.page.venue.column() * 72.0 * 0.3).min(small * 10.0));
        let longest = short.iter().map(|n| canvas.width(n, small)).fold(0.0, f64::max);
        Self {
            lines: short.into_iter().map(|n| vec![n]).collect(),
            upwards: true,
            high: (longest + 3.0) / (small * 1.1),
        }
    }

    /// Draws them from the left edge to the map's bottom right corner; those that would touch are left out.
    pub(super) fn draw(&self, canvas: &mut Canvas, (left, to): (f64, Point)) {
        let small = canvas.small;
        let width = (to.0 - left) / self.lines.len().max(1) as f64;
        let every = if self.upwards { (small * 1.05 / width).ceil().max(1.0) as usize } else { 1 };
        for (c, lines) in self.lines.iter().enumerate().filter(|(c, _)| c % every == 0) {
            let x = (c as f64 + 0.5).mul_add(width, left);
            for (i, line) in lines.iter().enumerate() {
                if self.upwards {
                    canvas.upwards_from(line, (x, to.1 + 3.0 + canvas.width(line, small)), small, INK);
                } else {
                    let y = (i as f64).mul_add(small * 1.1, to.1 + 2.5);
                    canvas.text(line, (x, y), small, (Across::Center, Along::Top), INK);
                }
            }
        }
    }
}

/// Numbers below the columns of a map, thinned out where they would touch.
pub(super) fn column_numbers(canvas: &mut Canvas, (left, to): (f64, Point), columns: usize) {
    let width = (to.0 - left) / columns.max(1) as f64;
    let widest = canvas.width(&columns.saturating_sub(1).to_string(), canvas.small) + 2.0;
    for column in (0..columns).step_by((widest / width).ceil().max(1.0) as usize) {
        let at = ((column as f64 + 0.5).mul_add(width, left), to.1 + 2.5);
        canvas.text(&column.to_string(), at, canvas.small, (Across::Center, Along::Top), INK);
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
