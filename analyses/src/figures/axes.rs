//! A plot's frame: ranges, ticks at round numbers, labels, and a legend that never covers the data.

use super::canvas::{Canvas, Drawn, Point};
use super::theme::{GRID, INK};
use plotters::prelude::{DrawingBackend, RGBColor};
use plotters::style::text_anchor::{HPos, VPos};

/// Round numbers from `low` to `high`, about `count` of them.
pub(super) fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 || count == 0 {
        return vec![low];
    }
    let rough = span / count as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough * 0.999).unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's label: as many digits as its neighbours need to differ, a true minus sign.
pub(super) fn label(value: f64, all: &[f64]) -> String {
    let step = all.windows(2).map(|w| (w[1] - w[0]).abs()).fold(f64::INFINITY, f64::min);
    let digits = if step.is_finite() { (-(step * 1.0001).log10().floor()).clamp(0.0, 9.0) as usize } else { 3 };
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
    /// Where a value lies, pt; kept inside the frame.
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        let part = |v: f64, (low, high): (f64, f64)| ((v - low) / (high - low)).clamp(0.0, 1.0);
        let across = part(x, self.x).mul_add(self.to.0 - self.from.0, self.from.0);
        (across, part(y, self.y).mul_add(self.from.1 - self.to.1, self.to.1))
    }

    /// Left and bottom edge, ticks, labels and titles. Leave room for them: see [`left_room`] and [`bottom_room`].
    pub(super) fn frame<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, x_title: &str, y_title: &str) -> Drawn {
        let y_ticks = self.y_ticks(canvas);
        for tick in &y_ticks {
            let (_, y) = self.at(self.x.0, *tick);
            canvas.line(&[(self.from.0, y), (self.to.0, y)], GRID, 0.4)?;
            canvas.line(&[(self.from.0 - 2.5, y), (self.from.0, y)], INK, 0.6)?;
            let place = (self.from.0 - 4.0, y);
            canvas.text(&label(*tick, &y_ticks), place, canvas.small, (HPos::Right, VPos::Center), INK)?;
        }
        // After the grid, whose last line may lie on it.
        self.x_axis(canvas, x_title)?;
        canvas.line(&[self.from, (self.from.0, self.to.1)], INK, 0.6)?;
        canvas.upwards(y_title, (canvas.title * 0.7, f64::midpoint(self.from.1, self.to.1)), canvas.title)
    }

    /// The bottom edge alone.
    pub(super) fn x_axis<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, title: &str) -> Drawn {
        let bottom = self.to.1;
        let x_ticks = ticks(self.x.0, self.x.1, ((self.to.0 - self.from.0) / (canvas.small * 5.0)).max(2.0) as usize);
        for tick in &x_ticks {
            let (x, _) = self.at(*tick, self.y.0);
            canvas.line(&[(x, bottom), (x, bottom + 2.5)], INK, 0.6)?;
            let place = (x, bottom + 4.0);
            canvas.text(&label(*tick, &x_ticks), place, canvas.small, (HPos::Center, VPos::Top), INK)?;
        }
        canvas.line(&[(self.from.0, bottom), self.to], INK, 0.6)?;
        let place = (f64::midpoint(self.from.0, self.to.0), bottom + 5.5 + canvas.small * 1.1);
        canvas.text(title, place, canvas.title, (HPos::Center, VPos::Top), INK)
    }

    fn y_ticks<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Vec<f64> {
        ticks(self.y.0, self.y.1, ((self.to.1 - self.from.1) / (canvas.small * 2.4)).max(2.0) as usize)
    }
}

/// Room at the left for ticks of `y` and the title, pt.
pub(super) fn left_room<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, y: (f64, f64), height: f64) -> f64 {
    let at = Axes { from: (0.0, 0.0), to: (1.0, height), x: (0.0, 1.0), y };
    let ticks = at.y_ticks(canvas);
    let widest = ticks.iter().map(|t| canvas.width(&label(*t, &ticks), canvas.small)).fold(0.0, f64::max);
    widest + canvas.title * 1.4 + 7.0
}

/// Room at the bottom for ticks and title, pt.
pub(super) fn bottom_room<DB: DrawingBackend>(canvas: &Canvas<'_, DB>) -> f64 {
    canvas.small * 1.1 + canvas.title * 1.25 + 6.5
}

/// How a legend's entry is marked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// A line this thick, pt.
    Line(f64),
    /// A line with discs.
    Disc,
    /// A diamond alone.
    Diamond,
}

/// Draws entries side by side from `at` (left, vertical centre), wrapping at the right edge; returns the height used.
pub(super) fn legend<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    entries: &[(String, RGBColor, Mark)],
    at: Point,
) -> Result<f64, String> {
    let (mut x, mut y) = at;
    let swatch = canvas.small * 1.6;
    for (text, color, mark) in entries {
        let width = swatch + 3.0 + canvas.width(text, canvas.small);
        if x > at.0 && x + width > canvas.size.0 - 2.0 {
            (x, y) = (at.0, y + canvas.small * 1.4);
        }
        let middle = (x + swatch / 2.0, y);
        match mark {
            Mark::Line(thick) => canvas.line(&[(x, y), (x + swatch, y)], *color, *thick)?,
            Mark::Disc => {
                canvas.line(&[(x, y), (x + swatch, y)], *color, 0.9)?;
                canvas.disc(middle, 1.8, *color)?;
            }
            Mark::Diamond => canvas.diamond(middle, 2.6, *color)?,
        }
        canvas.text(text, (x + swatch + 3.0, y), canvas.small, (HPos::Left, VPos::Center), INK)?;
        x += width + canvas.small * 1.2;
    }
    Ok(y - at.1 + canvas.small * 1.4)
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
    }

    #[test]
    fn ranges() {
        assert_eq!(range([1.0, f64::NAN, 3.0].into_iter(), 0.5), Some((0.0, 4.0)));
        assert_eq!(range([f64::INFINITY].into_iter(), 0.1), None);
        assert_eq!(range([0.0, 0.0].into_iter(), 0.1), Some((-0.1, 0.1)));
    }
}
