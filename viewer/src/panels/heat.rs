//! A heat map with row names, a colour bar, and the value under the pointer.

use crate::tokens;
use covft_analyses::figures::viridis;
use egui::{Align2, Color32, FontId, Mesh, Pos2, Rect, Role, Sense, Shape, Ui, Vec2, WidgetInfo};

/// What is drawn. Rows from the top; null is grey.
pub(crate) struct Heat<'a> {
    /// Said to screen readers.
    pub label: &'a str,
    pub rows: &'a [String],
    pub values: &'a [Vec<Option<f64>>],
    /// Value of the darkest and of the lightest colour.
    pub range: (f64, f64),
    /// Whether each cell shows its number.
    pub numbers: bool,
    pub width: f32,
}

fn color(value: Option<f64>, (low, high): (f64, f64)) -> Color32 {
    let Some(value) = value.filter(|v| v.is_finite()) else { return tokens::NO_VALUE };
    let [red, green, blue] = viridis(if high > low { (value - low) / (high - low) } else { 0.0 });
    Color32::from_rgb(red, green, blue)
}

fn ink_on(color: Color32) -> Color32 {
    let light = 0.2126 * f32::from(color.r()) + 0.7152 * f32::from(color.g()) + 0.0722 * f32::from(color.b());
    if light > 140.0 { Color32::BLACK } else { Color32::WHITE }
}

impl Heat<'_> {
    /// Draws it; returns row and column under the pointer.
    pub(crate) fn show(&self, ui: &mut Ui) -> Option<(usize, usize)> {
        let height = tokens::MAP_ROW * self.rows.len() as f32;
        let bar = 90.0;
        let (whole, response) =
            ui.allocate_exact_size(Vec2::new(tokens::MAP_LEFT + self.width + bar, height), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, self.label));
        let map = Rect::from_min_size(whole.min + Vec2::new(tokens::MAP_LEFT, 0.0), Vec2::new(self.width, height));
        let mut mesh = Mesh::default();
        self.each_cell(map, |cell, value| mesh.add_colored_rect(cell, color(value, self.range)));
        let strip = Rect::from_min_size(map.right_top() + Vec2::new(16.0, 0.0), Vec2::new(14.0, height));
        for i in 0_u8..64 {
            let top = strip.bottom() - height * f32::from(i + 1) / 64.0;
            let piece = Rect::from_min_size(Pos2::new(strip.left(), top), Vec2::new(14.0, height / 64.0 + 0.5));
            let [red, green, blue] = viridis(f64::from(i) / 63.0);
            mesh.add_colored_rect(piece, Color32::from_rgb(red, green, blue));
        }
        ui.painter().add(Shape::mesh(mesh));
        let (font, ink) = (FontId::proportional(12.0), ui.visuals().text_color());
        let text = |at: Pos2, anchor: Align2, text: String, ink: Color32| {
            ui.painter().text(at, anchor, text, font.clone(), ink);
        };
        if self.numbers {
            self.each_cell(map, |cell, value| {
                let number = value.map_or("\u{2013}".to_owned(), |v| format!("{v:.2}"));
                text(cell.center(), Align2::CENTER_CENTER, number, ink_on(color(value, self.range)));
            });
        }
        for (i, name) in self.rows.iter().enumerate() {
            let at = Pos2::new(map.left() - 6.0, map.top() + tokens::MAP_ROW * (i as f32 + 0.5));
            text(at, Align2::RIGHT_CENTER, name.clone(), ink);
        }
        let beside = strip.right() + 4.0;
        text(Pos2::new(beside, strip.top()), Align2::LEFT_TOP, format!("{:.3}", self.range.1), ink);
        text(Pos2::new(beside, strip.bottom()), Align2::LEFT_BOTTOM, format!("{:.3}", self.range.0), ink);
        let at = response.hover_pos().filter(|p| map.contains(*p))? - map.min;
        let row = ((at.y / tokens::MAP_ROW) as usize).min(self.rows.len().checked_sub(1)?);
        let columns = self.values.get(row)?.len();
        Some((row, ((at.x / self.width * columns as f32) as usize).min(columns.checked_sub(1)?)))
    }

    fn each_cell(&self, map: Rect, mut draw: impl FnMut(Rect, Option<f64>)) {
        for (r, row) in self.values.iter().enumerate() {
            let size = Vec2::new(map.width() / row.len().max(1) as f32, tokens::MAP_ROW);
            for (c, value) in row.iter().enumerate() {
                draw(Rect::from_min_size(map.min + Vec2::new(c as f32, r as f32) * size, size), *value);
            }
        }
    }
}
