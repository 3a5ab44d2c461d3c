//! A heat map with names, a colour bar, and the value under the pointer.

use crate::tokens;
use covft_analyses::figures::{diverging, readable_on, viridis};
use egui::{Align2, Color32, FontId, Mesh, Pos2, Rect, Role, Sense, Shape, Ui, Vec2, WidgetInfo};

/// Which colours stand for which numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// From the darkest to the lightest colour.
    From(f64, f64),
    /// Blue below 0, red above, as far as this on both sides.
    Around(f64),
}

/// What is drawn. Rows from the top; null is grey.
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

    /// Draws it; returns the cell under the pointer.
    pub(crate) fn show(&self, ui: &mut Ui) -> Option<Under> {
        let font = FontId::proportional(12.0);
        let ink = ui.visuals().text_color();
        let height = tokens::MAP_ROW * self.rows.len() as f32;
        let widest = self.columns.iter().map(|c| c.chars().count()).max().unwrap_or(0) as f32 * 7.0;
        let each = self.width / self.columns.len().max(1) as f32;
        let slanted = widest > each;
        let above = if self.columns.is_empty() {
            0.0
        } else if slanted {
            (widest * 0.6 + 10.0).min(90.0)
        } else {
            18.0
        };
        let size = Vec2::new(tokens::MAP_LEFT + self.width + tokens::MAP_BAR, above + height);
        let (whole, response) = ui.allocate_exact_size(size, Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, self.label));
        let map = Rect::from_min_size(whole.min + Vec2::new(tokens::MAP_LEFT, above), Vec2::new(self.width, height));
        let mut mesh = Mesh::default();
        self.each_cell(map, |cell, value| mesh.add_colored_rect(cell, self.scale.color(value)));
        let (low, high) = self.scale.ends();
        let strip = Rect::from_min_size(map.right_top() + Vec2::new(16.0, 0.0), Vec2::new(14.0, height));
        for i in 0_u8..64 {
            let top = strip.bottom() - height * f32::from(i + 1) / 64.0;
            let piece = Rect::from_min_size(Pos2::new(strip.left(), top), Vec2::new(14.0, height / 64.0 + 0.5));
            mesh.add_colored_rect(piece, self.scale.color(Some(low + (high - low) * f64::from(i) / 63.0)));
        }
        ui.painter().add(Shape::mesh(mesh));
        let text = |at: Pos2, anchor: Align2, text: String, ink: Color32| {
            ui.painter().text(at, anchor, text, font.clone(), ink);
        };
        if self.numbers {
            self.each_cell(map, |cell, value| {
                let number = value.map_or("\u{2013}".to_owned(), |v| format!("{v:.2}"));
                text(cell.center(), Align2::CENTER_CENTER, number, ink_on(self.scale.color(value)));
            });
        }
        for (i, name) in self.rows.iter().enumerate() {
            let at = Pos2::new(map.left() - 6.0, map.top() + tokens::MAP_ROW * (i as f32 + 0.5));
            let short: String = name.chars().take(19).collect();
            text(at, Align2::RIGHT_CENTER, short, ink);
        }
        for (i, name) in self.columns.iter().enumerate() {
            let at = Pos2::new(map.left() + each * (i as f32 + 0.5), map.top() - 3.0);
            if slanted {
                let short: String = name.chars().take(18).collect();
                let galley = ui.painter().layout_no_wrap(short, font.clone(), ink);
                let start = at - Vec2::new(4.0, galley.size().y * 0.8);
                ui.painter().add(egui::epaint::TextShape::new(start, galley, ink).with_angle(-0.6));
            } else {
                text(at, Align2::CENTER_BOTTOM, name.clone(), ink);
            }
        }
        let beside = strip.right() + 4.0;
        text(Pos2::new(beside, strip.top()), Align2::LEFT_TOP, short(high), ink);
        if self.rows.len() > 1 {
            text(Pos2::new(beside, strip.bottom()), Align2::LEFT_BOTTOM, short(low), ink);
        }
        let at = response.hover_pos().or(response.interact_pointer_pos()).filter(|p| map.contains(*p))? - map.min;
        let row = ((at.y / tokens::MAP_ROW) as usize).min(self.rows.len().checked_sub(1)?);
        let columns = self.values.get(row)?.len();
        let column = ((at.x / self.width * columns as f32) as usize).min(columns.checked_sub(1)?);
        Some((row, column, response.clicked()))
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

/// Three digits that say something.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 || (1e-3..1e4).contains(&value.abs()) { format!("{value:.3}") } else { format!("{value:.1e}") }
}
