//! How a cost grows with several sizes, one panel a size; not made of a run, and so no [`FigureId`](super::FigureId).

use super::axes::{Axes, Entry, Grid, Mark, balanced, bottom_room, left_room, legend, legend_height};
use super::color::{BLUE, GREY, INK, WHITE};
use super::page::Page;
use super::plot::encode;
use super::scene::{Across, Along, Canvas, Point, Shape};
use super::{FigureError, Format, Result, Venue};

/// One size that grows.
#[derive(Clone, Debug, PartialEq)]
pub struct GrowthPanel {
    /// Title of the horizontal axis.
    pub title: String,
    /// `(size, cost)` in rising order.
    pub points: Vec<(f64, f64)>,
    /// Said in the panel's corner.
    pub remark: String,
}

/// Curves of one cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Name of the figure, without ending.
    pub name: String,
    /// Title of the vertical axes, which begin at 0.
    pub cost: String,
    /// Panels.
    pub panels: Vec<GrowthPanel>,
}

const DASH: &[f64] = &[3.0, 2.0];

impl Growth {
    /// The figure as a file's bytes; the same figure gives the same bytes.
    ///
    /// # Errors
    /// No panel, or one of fewer than two points; an encoder that fails.
    pub fn draw(&self, venue: Venue, format: Format) -> Result<Vec<u8>> {
        let failed = |why: String| FigureError::Draw { figure: self.name.clone(), why };
        if self.panels.is_empty() || self.panels.iter().any(|p| p.points.len() < 2) {
            return Err(failed("growth takes two points at least".to_owned()));
        }
        let mut canvas = Page::new(venue).canvas(self.size(venue));
        self.paint(&mut canvas);
        encode(&canvas.finish(), &self.name, format).map_err(failed)
    }

    fn columns(&self) -> usize {
        balanced(self.panels.len(), 3)
    }

    fn lines(&self) -> usize {
        self.panels.len().div_ceil(self.columns())
    }

    fn size(&self, venue: Venue) -> Point {
        let width = venue.full() * 72.0;
        let canvas = Page::new(venue).canvas((width, 0.0));
        let used = legend_height(&canvas, &Self::entries(), 5.0, width - 5.0);
        let body = width / self.columns() as f64 * 0.52;
        (width, used + 3.0 + self.lines() as f64 * (body + bottom_room(&canvas) + venue.small() * 0.8))
    }

    fn entries() -> Vec<Entry> {
        vec![
            ("measured".to_owned(), BLUE, Mark::Marked(Shape::Disc, &[])),
            ("straight line through the first two".to_owned(), GREY, Mark::Line(1.0, DASH)),
        ]
    }

    fn paint(&self, canvas: &mut Canvas) {
        let used = legend(canvas, &Self::entries(), (5.0, canvas.small * 0.75), canvas.size.0 - 5.0);
        // The remark stands above the curve.
        let highest = |panel: &GrowthPanel| panel.points.iter().map(|p| p.1).fold(0.0, f64::max) * 1.22;
        // Every panel has its own scale and as much room for its numbers as the widest needs.
        let room = self.panels.iter().map(|p| left_room(canvas, (0.0, highest(p)))).fold(0.0, f64::max);
        let grid = Grid {
            columns: self.columns(),
            lines: self.lines(),
            from: (room, used + 3.0),
            to: (canvas.size.0 - 6.0, canvas.size.1),
            head: canvas.small * 0.4,
            foot: bottom_room(canvas) + canvas.small * 0.4,
            gap: room,
        };
        for (i, panel) in self.panels.iter().enumerate() {
            let (from, to) = grid.frame(i);
            let last = panel.points.last().map_or(1.0, |p| p.0);
            let axes = Axes { from, to, x: (0.0, last), y: (0.0, highest(panel)) };
            axes.frame(canvas, &panel.title, &self.cost);
            straight(canvas, &axes, &panel.points);
            let places = axes.place(&panel.points);
            canvas.line(&places, BLUE, 1.1);
            for at in places {
                canvas.mark(Shape::Disc, at, 2.4, WHITE);
                canvas.mark(Shape::Disc, at, 1.8, BLUE);
            }
            let corner = (from.0 + 4.0, from.1 + 2.0);
            let remark = canvas.fit(&panel.remark, canvas.small, to.0 - from.0 - 6.0);
            canvas.text(&remark, corner, canvas.small, (Across::Left, Along::Top), INK);
        }
    }
}

/// The first two points' line, as far as the frame goes.
fn straight(canvas: &mut Canvas, axes: &Axes, points: &[(f64, f64)]) {
    let (a, b) = (points[0], points[1]);
    let slope = (b.1 - a.1) / (b.0 - a.0);
    let at = |x: f64| slope.mul_add(x - a.0, a.1);
    let end = if slope > 0.0 && at(axes.x.1) > axes.y.1 { a.0 + (axes.y.1 - a.1) / slope } else { axes.x.1 };
    canvas.dashed(&axes.place(&[(0.0, at(0.0)), (end, at(end))]), GREY, 1.0, DASH);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(panels: usize) -> Growth {
        let panel = |i: usize| GrowthPanel {
            title: format!("size {i}"),
            points: [1.0, 2.0, 4.0, 8.0].map(|x| (x, f64::powi(x, 1 + i as i32) * 10.0)).to_vec(),
            remark: format!("exponent {}", i + 1),
        };
        Growth { name: "growth".to_owned(), cost: "ms a step".to_owned(), panels: (0..panels).map(panel).collect() }
    }

    #[test]
    fn every_format_says_what_is_in_it() {
        let svg = String::from_utf8(growth(3).draw(Venue::Cvpr, Format::Svg).unwrap()).unwrap();
        for text in ["size 0", "size 2", "exponent 2", "ms a step", "measured"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(growth(6).draw(Venue::Cvpr, Format::Png).unwrap().starts_with(b"\x89PNG"));
        assert!(growth(1).draw(Venue::Slides, Format::Pdf).unwrap().starts_with(b"%PDF"));
        let again = || growth(4).draw(Venue::Tmlr, Format::Png).unwrap();
        assert_eq!(again(), again());
    }

    #[test]
    fn too_little_is_an_error() {
        assert!(growth(0).draw(Venue::Cvpr, Format::Svg).is_err());
        let mut one = growth(2);
        one.panels[1].points.truncate(1);
        assert!(one.draw(Venue::Cvpr, Format::Svg).is_err());
    }
}
