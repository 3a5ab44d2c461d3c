//! A plot's frame: ranges, ticks at round numbers, labels, and a legend that never covers the data.

use super::color::{GRID, INK};
use super::scene::{Across, Along, Canvas, Dash, Point, Rgb, Shape};

/// Round numbers from `low` to `high`, about `count` of them.
pub(super) fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || count == 0 {
        return vec![low];
    }
    let rough = span / count as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough * 0.8).unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's label: as many digits as its neighbours need to differ, a true minus sign.
pub(super) fn label(value: f64, all: &[f64]) -> String {
    let step = all.windows(2).map(|w| (w[1] - w[0]).abs()).fold(f64::INFINITY, f64::min);
    // One number alone: the fewest digits that say it.
    let alone =
        || (0..=6).find(|d| (format!("{value:.d$}").parse().unwrap_or(f64::NAN) - value).abs() < 1e-9).unwrap_or(6);
    let digits = if step.is_finite() { (-(step * 1.0001).log10().floor()).clamp(0.0, 9.0) as usize } else { alone() };
    let text = if value.abs() >= 1e6 || (digits > 5 && value != 0.0) {
        format!("{value:.1e}")
    } else {
        format!("{value:.digits$}")
    };
    if text.trim_start_matches(['-', '0', '.']).is_empty() {
        text.replace('-', "")
    } else {
        text.replace('-', "\u{2212}")
    }
}

/// The smallest range of `values` that are finite, widened by `margin` of itself; `None` without any.
pub(super) fn range(values: impl Iterator<Item = f64>, margin: f64) -> Option<(f64, f64)> {
    let (low, high) =
        values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return None;
    }
    let pad = if high > low { (high - low) * margin } else { high.abs().max(1.0) * 0.1 };
    Some((low - pad, high + pad))
}

/// A plot inside a figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axes {
    /// Top left corner, pt.
    pub from: Point,
    /// Bottom right corner, pt.
    pub to: Point,
    /// Values at the left and right edge.
    pub x: (f64, f64),
    /// Values at the bottom and top edge.
    pub y: (f64, f64),
}

impl Axes {
    /// Where a value lies, pt; kept inside the frame. NaN stays NaN, so that lines break there.
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        let part = |v: f64, (low, high): (f64, f64)| ((v - low) / (high - low)).clamp(0.0, 1.0);
        let across = part(x, self.x).mul_add(self.to.0 - self.from.0, self.from.0);
        (across, part(y, self.y).mul_add(self.from.1 - self.to.1, self.to.1))
    }

    /// The line through values.
    pub(super) fn place(&self, values: &[(f64, f64)]) -> Vec<Point> {
        values.iter().map(|v| self.at(v.0, v.1)).collect()
    }

    /// Left and bottom edge, ticks, labels and titles. Leave room for them: see [`left_room`] and [`bottom_room`].
    pub(super) fn frame(&self, canvas: &mut Canvas, x_title: &str, y_title: &str) {
        self.y_axis(canvas, true);
        // After the grid, whose last line may lie on it.
        self.x_axis(canvas, x_title);
        let middle = f64::midpoint(self.from.1, self.to.1);
        let left = self.from.0 - left_room(canvas, self.y) + canvas.title * 0.7;
        canvas.upwards(y_title, (left, middle), canvas.title, INK);
    }

    /// The grid and the left edge, with or without numbers.
    pub(super) fn y_axis(&self, canvas: &mut Canvas, numbers: bool) {
        let ticks = self.y_ticks(canvas.small);
        for tick in &ticks {
            let (_, y) = self.at(self.x.0, *tick);
            canvas.line(&[(self.from.0, y), (self.to.0, y)], GRID, 0.4);
            canvas.line(&[(self.from.0 - canvas.small * 0.36, y), (self.from.0, y)], INK, 0.6);
            if numbers {
                let place = (self.from.0 - canvas.small * 0.57, y);
                canvas.text(&label(*tick, &ticks), place, canvas.small, (Across::Right, Along::Middle), INK);
            }
        }
        canvas.line(&[self.from, (self.from.0, self.to.1)], INK, 0.6);
    }

    /// Ticks of the bottom edge: as many as fit with their labels a digit apart.
    fn x_ticks(&self, canvas: &Canvas) -> Vec<f64> {
        let room = self.to.0 - self.from.0;
        let fits = |ticks: &[f64]| {
            let wide = ticks.iter().map(|t| canvas.width(&label(*t, ticks), canvas.small)).fold(0.0, f64::max);
            let gap = room * (ticks.get(1).unwrap_or(&f64::INFINITY) - ticks[0]) / (self.x.1 - self.x.0);
            gap > wide + canvas.small * 0.7
        };
        let most = (room / (canvas.small * 3.2)).clamp(2.0, 8.0) as usize;
        let some = (1..=most).rev().map(|n| ticks(self.x.0, self.x.1, n)).find(|t| fits(t));
        some.unwrap_or_else(|| ticks(self.x.0, self.x.1, 1))
    }

    /// The gap between these axes and those to their right whose labels at the edges do not meet, pt.
    pub(super) fn gap_to(&self, right: &Self, canvas: &Canvas) -> f64 {
        let (own, theirs) = (self.x_ticks(canvas), right.x_ticks(canvas));
        let half = |tick: f64, all: &[f64]| canvas.width(&label(tick, all), canvas.small) / 2.0;
        let beyond = own.last().map_or(0.0, |t| half(*t, &own) - (self.to.0 - self.at(*t, self.y.0).0));
        let before = theirs.first().map_or(0.0, |t| half(*t, &theirs) - (right.at(*t, right.y.0).0 - right.from.0));
        beyond + before + canvas.small * 0.4
    }

    /// The bottom edge alone.
    pub(super) fn x_axis(&self, canvas: &mut Canvas, title: &str) {
        let bottom = self.to.1;
        let ticks = self.x_ticks(canvas);
        for tick in &ticks {
            let (x, _) = self.at(*tick, self.y.0);
            canvas.line(&[(x, bottom), (x, bottom + canvas.small * 0.36)], INK, 0.6);
            let text = label(*tick, &ticks);
            let half = canvas.width(&text, canvas.small) / 2.0;
            // A label at the edge never leaves the figure.
            let place = (x.min(canvas.size.0 - half - 0.5), bottom + canvas.small * 0.57);
            canvas.text(&text, place, canvas.small, (Across::Center, Along::Top), INK);
        }
        canvas.line(&[(self.from.0, bottom), self.to], INK, 0.6);
        let place = (f64::midpoint(self.from.0, self.to.0), bottom + canvas.small * 1.84);
        let room = 2.0 * place.0.min(canvas.size.0 - place.0);
        canvas.text(&canvas.fit(title, canvas.title, room), place, canvas.title, (Across::Center, Along::Top), INK);
    }

    /// The bottom edge with a name at each place.
    pub(super) fn names(&self, canvas: &mut Canvas, names: &[(f64, String)], title: &str) {
        let bottom = self.to.1;
        canvas.line(&[(self.from.0, bottom), self.to], INK, 0.6);
        // Names that would touch the one before are left out, never shrunk.
        let mut end = f64::NEG_INFINITY;
        for (value, name) in names {
            let (x, _) = self.at(*value, self.y.0);
            canvas.line(&[(x, bottom), (x, bottom + canvas.small * 0.36)], INK, 0.6);
            let half = canvas.width(name, canvas.small) / 2.0;
            if x - half > end + canvas.small * 0.4 {
                let place = (x, bottom + canvas.small * 0.57);
                canvas.text(name, place, canvas.small, (Across::Center, Along::Top), INK);
                end = x + half;
            }
        }
        let place = (f64::midpoint(self.from.0, self.to.0), bottom + canvas.small * 1.84);
        canvas.text(title, place, canvas.title, (Across::Center, Along::Top), INK);
    }

    fn y_ticks(&self, small: f64) -> Vec<f64> {
        ticks(self.y.0, self.y.1, ((self.to.1 - self.from.1) / (small * 2.4)).clamp(2.0, 8.0) as usize)
    }
}

/// Width of the tick labels of `y`, however many there are.
fn y_width(canvas: &Canvas, y: (f64, f64)) -> f64 {
    let of = |n: usize| {
        let ticks = ticks(y.0, y.1, n);
        ticks.iter().map(|t| canvas.width(&label(*t, &ticks), canvas.small)).fold(0.0, f64::max)
    };
    (2..=8).map(of).fold(0.0, f64::max)
}

/// Room at the left for ticks of `y` and the title, pt.
pub(super) fn left_room(canvas: &Canvas, y: (f64, f64)) -> f64 {
    y_width(canvas, y) + canvas.title * 1.4 + canvas.small * 0.8
}

/// Room at the bottom for ticks and title, pt.
pub(super) fn bottom_room(canvas: &Canvas) -> f64 {
    canvas.small * 1.95 + canvas.title * 1.1
}

/// Names of rows at the left of `x`, thinned out where they would touch.
pub(super) fn row_names(canvas: &mut Canvas, x: f64, (top, bottom): (f64, f64), names: &[String]) {
    let row = (bottom - top) / names.len().max(1) as f64;
    let every = (canvas.small * 1.05 / row).ceil().max(1.0) as usize;
    for (i, name) in names.iter().enumerate().filter(|(i, _)| i % every == 0) {
        let at = (x - 4.0, (i as f64 + 0.5).mul_add(row, top));
        canvas.text(name, at, canvas.small, (Across::Right, Along::Middle), INK);
    }
}

/// How a legend's entry is marked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// A line this thick, pt, with this dash.
    Line(f64, Dash),
    /// A line with marks.
    Marked(Shape, Dash),
    /// A mark alone.
    Alone(Shape),
    /// A filled box.
    Box,
}

/// An entry of a legend.
pub(super) type Entry = (String, Rgb, Mark);

/// The entry of classes that go together: their number, and that of their members where they are counted.
pub(super) fn others(
    what: &str,
    classes: usize,
    members: Option<(usize, &str)>,
    color: Rgb,
    mark: Mark,
) -> Option<Entry> {
    let members = members.map_or_else(String::new, |(n, of)| format!(", {n} {of}"));
    (classes > 0).then(|| (format!("others ({classes} {what}{members})"), color, mark))
}

/// Draws entries side by side from `at` (left, vertical centre), wrapping at `right`; returns the height used.
pub(super) fn legend(canvas: &mut Canvas, entries: &[Entry], at: Point, right: f64) -> f64 {
    let (mut x, mut y) = at;
    let small = canvas.small;
    let swatch = |mark: &Mark| if matches!(mark, Mark::Alone(_) | Mark::Box) { small * 0.9 } else { small * 2.2 };
    let widest = entries.iter().map(|e| swatch(&e.2)).fold(0.0, f64::max);
    let texts: Vec<String> = entries.iter().map(|e| e.0.clone()).collect();
    let texts = canvas.short(&texts, small, right - at.0 - widest - 3.0);
    for (text, (_, color, mark)) in texts.iter().zip(entries) {
        let swatch = swatch(mark);
        let width = swatch + 3.0 + canvas.width(text, small);
        if x > at.0 && x + width > right {
            (x, y) = (at.0, y + small * 1.35);
        }
        let middle = (x + swatch / 2.0, y);
        match mark {
            Mark::Line(thick, dash) => canvas.dashed(&[(x, y), (x + swatch, y)], *color, *thick, dash),
            Mark::Marked(shape, dash) => {
                canvas.dashed(&[(x, y), (x + swatch, y)], *color, 1.0, dash);
                canvas.mark(*shape, middle, 2.0, *color);
            }
            Mark::Alone(shape) => canvas.mark(*shape, middle, 2.4, *color),
            Mark::Box => {
                let (from, to) = ((x, y - small * 0.32), (x + swatch, y + small * 0.32));
                canvas.rect(from, to, *color);
                canvas.outline(from, to, INK, 0.4);
            }
        }
        canvas.text(text, (x + swatch + 3.0, y), small, (Across::Left, Along::Middle), INK);
        x += width + small * 1.1;
    }
    if entries.is_empty() { 0.0 } else { y - at.1 + small * 1.35 }
}

/// Height of [`legend`] without drawing it.
pub(super) fn legend_height(canvas: &Canvas, entries: &[Entry], left: f64, right: f64) -> f64 {
    let mut trial = canvas.page.canvas(canvas.size);
    legend(&mut trial, entries, (left, 0.0), right)
}

/// Columns for `n` panels, at most `most` side by side: rows as equal as can be.
pub(super) fn balanced(n: usize, most: usize) -> usize {
    let n = n.max(1);
    n.div_ceil(n.div_ceil(most.clamp(1, n)))
}

/// `n` panels in rows of at most `columns`: the top left corners and the size of each frame. `head` and `foot` are left
/// free above and below each row, `left` before the first column, `gap` between columns.
pub(super) struct Grid {
    pub columns: usize,
    pub lines: usize,
    pub from: Point,
    pub to: Point,
    pub head: f64,
    pub foot: f64,
    pub gap: f64,
}

impl Grid {
    /// Frame of panel `i`.
    pub(super) fn frame(&self, i: usize) -> (Point, Point) {
        let width = (self.to.0 - self.from.0 - self.gap * (self.columns as f64 - 1.0)) / self.columns as f64;
        let line = (self.to.1 - self.from.1) / self.lines as f64;
        let (column, row) = ((i % self.columns) as f64, (i / self.columns) as f64);
        let left = (width + self.gap).mul_add(column, self.from.0);
        let top = line.mul_add(row, self.from.1);
        ((left, top + self.head), (left + width, top + line - self.foot))
    }
}

/// A number with so many decimals and a true minus sign; never a negative zero.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.contains(|c: char| c.is_ascii_digit() && c != '0') => format!("\u{2212}{rest}"),
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_ticks_and_labels() {
        let t = ticks(0.03, 1.02, 5);
        assert_eq!(t.iter().map(|v| label(*v, &t)).collect::<Vec<_>>(), ["0.2", "0.4", "0.6", "0.8", "1.0"]);
        let t = ticks(-1.0, 1.0, 4);
        assert_eq!(
            t.iter().map(|v| label(*v, &t)).collect::<Vec<_>>(),
            ["\u{2212}1.0", "\u{2212}0.5", "0.0", "0.5", "1.0"]
        );
        let t = ticks(0.0, 400.0, 4);
        assert_eq!(t.iter().map(|v| label(*v, &t)).collect::<Vec<_>>(), ["0", "100", "200", "300", "400"]);
        assert_eq!(ticks(3.0, 3.0, 4), [3.0]);
        assert_eq!([100.0, 0.25].map(|v| label(v, &[v])), ["100", "0.25"]);
        assert_eq!([(6, 5), (3, 5), (7, 3), (0, 4)].map(|(n, most)| balanced(n, most)), [3, 3, 3, 1]);
    }

    #[test]
    fn ranges() {
        assert_eq!(range([1.0, f64::NAN, 3.0].into_iter(), 0.5), Some((0.0, 4.0)));
        assert_eq!(range([f64::INFINITY].into_iter(), 0.1), None);
        assert_eq!(range([0.0, 0.0].into_iter(), 0.1), Some((-0.1, 0.1)));
    }
}
