//! A drawing area in points (1/72 in), whatever the backend's pixels are.

use super::theme::{FONT, INK};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A point in pt from the top left corner.
pub(super) type Point = (f64, f64);
pub(super) type Drawn = Result<(), String>;

/// The area of a figure.
pub(super) struct Canvas<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    /// Pixels a point.
    scale: f64,
    /// Size of ordinary text in pt.
    pub small: f64,
    /// Size of axis titles in pt.
    pub title: f64,
    /// Size of the area in pt.
    pub size: Point,
}

impl<'a, DB: DrawingBackend> Canvas<'a, DB> {
    pub(super) fn new(area: &'a DrawingArea<DB, Shift>, scale: f64, fonts: (f64, f64), size: Point) -> Self {
        Self { area, scale, small: fonts.0, title: fonts.1, size }
    }

    fn pixel(&self, at: Point) -> (i32, i32) {
        ((at.0 * self.scale).round() as i32, (at.1 * self.scale).round() as i32)
    }

    fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: (width * self.scale).round().max(1.0) as u32 }
    }

    /// A line through `points`, `width` pt thick.
    pub(super) fn line(&self, points: &[Point], color: RGBColor, width: f64) -> Drawn {
        let pixels: Vec<_> = points.iter().map(|p| self.pixel(*p)).collect();
        self.area.draw(&PathElement::new(pixels, self.stroke(color, width))).map_err(|e| e.to_string())
    }

    /// A filled rectangle.
    pub(super) fn fill(&self, from: Point, to: Point, color: RGBColor) -> Drawn {
        let rectangle = Rectangle::new([self.pixel(from), self.pixel(to)], color.filled());
        self.area.draw(&rectangle).map_err(|e| e.to_string())
    }

    /// A disc of `radius` pt.
    pub(super) fn disc(&self, at: Point, radius: f64, color: RGBColor) -> Drawn {
        let radius = (radius * self.scale).round() as i32;
        self.area.draw(&Circle::new(self.pixel(at), radius, color.filled())).map_err(|e| e.to_string())
    }

    /// A standing square, for a second kind of mark.
    pub(super) fn diamond(&self, at: Point, radius: f64, color: RGBColor) -> Drawn {
        let corners = [(0.0, -radius), (radius, 0.0), (0.0, radius), (-radius, 0.0)];
        let pixels: Vec<_> = corners.iter().map(|c| self.pixel((at.0 + c.0, at.1 + c.1))).collect();
        self.area.draw(&Polygon::new(pixels, color.filled())).map_err(|e| e.to_string())
    }

    /// Text of `size` pt whose anchor is at `at`.
    pub(super) fn text(&self, text: &str, at: Point, size: f64, anchor: (HPos, VPos), color: RGBColor) -> Drawn {
        let style = self.style(size).color(&color).pos(Pos::new(anchor.0, anchor.1));
        self.area.draw(&Text::new(text.to_owned(), self.pixel(at), style)).map_err(|e| e.to_string())
    }

    /// Text that reads upwards, centred at `at`.
    pub(super) fn upwards(&self, text: &str, at: Point, size: f64) -> Drawn {
        let font = (FONT, size * self.scale).into_font().transform(FontTransform::Rotate270);
        let style = TextStyle::from(font).color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
        self.area.draw(&Text::new(text.to_owned(), self.pixel(at), style)).map_err(|e| e.to_string())
    }

    fn style(&self, size: f64) -> TextStyle<'static> {
        TextStyle::from((FONT, size * self.scale).into_font())
    }

    /// Width of `text` in pt.
    pub(super) fn width(&self, text: &str, size: f64) -> f64 {
        let pixels = self.area.estimate_text_size(text, &self.style(size)).map_or(0, |s| s.0);
        f64::from(pixels) / self.scale
    }
}
