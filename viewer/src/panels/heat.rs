//! A heat map with names, a colour bar, and the value under the pointer.

use crate::core::names::short_names;
use crate::tokens;
use covft_analyses::figures::{diverging, readable_on, viridis};
use egui::{Align2, Color32, FontId, Mesh, Pos2, Rect, Role, ScrollArea, Sense, Shape, Ui, Vec2, WidgetInfo};

/// Which colours stand for which numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// From the darkest to the lightest colour.
    From(f64, f64),
    /// Blue below 0, red above, as far as this on both sides.
    Around(f64),
}

/// What is drawn. Rows from the top; a cell without a number is grey, one whose number is not finite is hatched.
pub(crate) struct Heat<'a> {
    /// Said to screen readers.
    pub label: &'a str,
    pub rows: &'a [String],
    /// Names above the columns; none for steps.
    pub columns: &'a [String],
    pub values: &'a [Vec<Option<f64>>],
    pub scale: Scale,
    /// Whether each cell shows its number.
    pub numbers: bool,
    pub width: f32,
}

/// A cell, and whether it was clicked.
pub(crate) type Under = (usize, usize, bool);

impl Scale {
    fn color(self, value: Option<f64>) -> Color32 {
        let Some(value) = value.filter(|v| v.is_finite()) else { return tokens::NO_VALUE };
        match self {
            Self::From(low, high) => tokens::rgb(viridis(if high > low { (value - low) / (high - low) } else { 0.0 })),
            Self::Around(far) => tokens::rgb(diverging(if far > 0.0 { value / far } else { 0.0 })),
        }
    }

    fn ends(self) -> (f64, f64) {
        match self {
            Self::From(low, high) => (low, high),
            Self::Around(far) => (-far, far),
        }
    }
}

fn ink_on(color: Color32) -> Color32 {
    tokens::rgb(readable_on([color.r(), color.g(), color.b()]))
}

impl Heat<'_> {
    /// Width of the cells that leaves room for names and colour bar.
    pub(crate) fn room(ui: &Ui) -> f32 {
        (ui.available_width() - tokens::MAP_LEFT - tokens::MAP_BAR - 8.0).clamp(120.0, 1100.0)
    }

    /// Draws it, scrolled sideways where its cells need more room; returns the cell under the pointer.
    pub(crate) fn show(&self, ui: &mut Ui) -> Option<Under> {
        let least = if self.numbers { tokens::MAP_NUMBER } else { tokens::MAP_COLUMN };
        let width = self.width.max(least * self.columns.len() as f32);
        if tokens::MAP_LEFT + width + tokens::MAP_BAR <= ui.available_width() {
            return self.draw(ui, width);
        }
        ScrollArea::horizontal().id_salt(self.label).show(ui, |ui| self.draw(ui, width)).inner
    }

    fn draw(&self, ui: &mut Ui, width: f32) -> Option<Under> {
        let height = tokens::MAP_ROW * self.rows.len() as f32;
        let each = width / self.columns.len().max(1) as f32;
        let (rows, columns) = (short_names(ui.ctx(), self.rows, 19), short_names(ui.ctx(), self.columns, 18));
        let slant = Slant::of(ui, &columns, each);
        let size = Vec2::new(tokens::MAP_LEFT + width + tokens::MAP_BAR, slant.height + height);
        let (whole, response) = ui.allocate_exact_size(size, Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, self.label));
        let map = Rect::from_min_size(whole.min + Vec2::new(tokens::MAP_LEFT, slant.height), Vec2::new(width, height));
        let mut mesh = Mesh::default();
        self.each_cell(ui, map, |cell, value| mesh.add_colored_rect(cell, self.scale.color(value)));
        ui.painter().add(Shape::mesh(mesh));
        self.each_cell(ui, map, |cell, value| {
            if value.is_some_and(|v| !v.is_finite()) {
                hatch(ui, cell);
            }
            if self.numbers {
                text(ui, cell.center(), Align2::CENTER_CENTER, &number(value), ink_on(self.scale.color(value)));
            }
        });
        self.bar(ui, map);
        let ink = ui.visuals().text_color();
        let clip = ui.clip_rect();
        for (i, name) in rows.iter().enumerate() {
            let at = Pos2::new(map.left() - 6.0, map.top() + tokens::MAP_ROW * (i as f32 + 0.5));
            if clip.y_range().expand(tokens::MAP_ROW).contains(at.y) {
                text(ui, at, Align2::RIGHT_CENTER, name, ink);
            }
        }
        for (i, name) in columns.iter().enumerate() {
            let at = Pos2::new(map.left() + each * (i as f32 + 0.5), map.top() - 3.0);
            if clip.x_range().expand(tokens::MAP_LEFT).contains(at.x) {
                slant.name(ui, at, name, ink);
            }
        }
        let at = response.hover_pos().or(response.interact_pointer_pos()).filter(|p| map.contains(*p))? - map.min;
        let row = ((at.y / tokens::MAP_ROW) as usize).min(self.rows.len().checked_sub(1)?);
        let columns = self.values.get(row)?.len();
        let column = ((at.x / width * columns as f32) as usize).min(columns.checked_sub(1)?);
        let clicked = response.clicked();
        let of = self.columns.get(column).map_or_else(String::new, |name| format!(", {name}"));
        response.on_hover_text_at_pointer(format!("{}{of}: {}", self.rows[row], number(self.values[row][column])));
        Some((row, column, clicked))
    }

    /// The colour bar at the right.
    fn bar(&self, ui: &Ui, map: Rect) {
        let (low, high) = self.scale.ends();
        let height = map.height().min(tokens::MAP_BAR_HEIGHT);
        let strip = Rect::from_min_size(map.right_top() + Vec2::new(16.0, 0.0), Vec2::new(14.0, height));
        let mut mesh = Mesh::default();
        for i in 0_u8..64 {
            let top = strip.bottom() - height * f32::from(i + 1) / 64.0;
            let piece = Rect::from_min_size(Pos2::new(strip.left(), top), Vec2::new(14.0, height / 64.0 + 0.5));
            mesh.add_colored_rect(piece, self.scale.color(Some(low + (high - low) * f64::from(i) / 63.0)));
        }
        ui.painter().add(Shape::mesh(mesh));
        let (beside, ink) = (strip.right() + 4.0, ui.visuals().text_color());
        text(ui, Pos2::new(beside, strip.top()), Align2::LEFT_TOP, &short(high), ink);
        if self.rows.len() > 1 {
            text(ui, Pos2::new(beside, strip.bottom()), Align2::LEFT_BOTTOM, &short(low), ink);
        }
    }

    /// The cells that can be seen.
    fn each_cell(&self, ui: &Ui, map: Rect, mut draw: impl FnMut(Rect, Option<f64>)) {
        let clip = ui.clip_rect();
        for (r, row) in self.values.iter().enumerate() {
            let size = Vec2::new(map.width() / row.len().max(1) as f32, tokens::MAP_ROW);
            for (c, value) in row.iter().enumerate() {
                let cell = Rect::from_min_size(map.min + Vec2::new(c as f32, r as f32) * size, size);
                if clip.intersects(cell) {
                    draw(cell, *value);
                }
            }
        }
    }
}

fn text(ui: &Ui, at: Pos2, anchor: Align2, text: &str, ink: Color32) {
    ui.painter().text(at, anchor, text, FontId::proportional(12.0), ink);
}

/// A cell in words: nothing was recorded, or it is not finite, or the number.
fn number(value: Option<f64>) -> String {
    match value {
        None => "\u{2013}".to_owned(),
        Some(v) if v.is_nan() => "NaN".to_owned(),
        Some(v) if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.to_owned(),
        Some(v) => format!("{v:.2}"),
    }
}

/// Lines across a cell whose number is not finite.
fn hatch(ui: &Ui, cell: Rect) {
    let painter = ui.painter().with_clip_rect(cell.intersect(ui.clip_rect()));
    let mut x = cell.left() - cell.height();
    while x < cell.right() {
        let ends = [Pos2::new(x, cell.bottom()), Pos2::new(x + cell.height(), cell.top())];
        painter.line_segment(ends, (1.0, tokens::NOT_FINITE));
        x += 5.0;
    }
}

/// How the names of columns stand: upright where there is room.
struct Slant {
    slanted: bool,
    height: f32,
}

impl Slant {
    fn of(ui: &Ui, columns: &[String], each: f32) -> Self {
        let wide = |name: &String| {
            let galley = ui.painter().layout_no_wrap(name.clone(), FontId::proportional(12.0), Color32::WHITE);
            galley.size().x
        };
        let widest = columns.iter().map(wide).fold(0.0, f32::max);
        let slanted = widest > each;
        let height = if slanted { (widest * 0.6 + 16.0).min(90.0) } else { 18.0 };
        Self { slanted, height: if columns.is_empty() { 0.0 } else { height } }
    }

    fn name(&self, ui: &Ui, at: Pos2, name: &str, ink: Color32) {
        if !self.slanted {
            return text(ui, at, Align2::CENTER_BOTTOM, name, ink);
        }
        let galley = ui.painter().layout_no_wrap(name.to_owned(), FontId::proportional(12.0), ink);
        let start = at - Vec2::new(4.0, galley.size().y * 0.8);
        ui.painter().add(egui::epaint::TextShape::new(start, galley, ink).with_angle(-0.6));
    }
}

/// Three digits that say something.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 || (1e-3..1e4).contains(&value.abs()) { format!("{value:.3}") } else { format!("{value:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_and_names_say_what_they_are() {
        assert_eq!(
            [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(0.5)].map(number),
            ["\u{2013}", "NaN", "inf", "-inf", "0.50"]
        );
    }
}
