//! Every colour and size, and the themes.

use egui::{Color32, Context, Stroke, Style, Theme, Vec2, Visuals};

pub(crate) const WINDOW: Vec2 = Vec2::new(1400.0, 900.0);
/// The smallest window, in points of the usual size.
pub(crate) const LEAST_WINDOW: Vec2 = Vec2::new(480.0, 360.0);
/// The room that a view needs; it scrolls in less.
pub(crate) const LEAST_VIEW: Vec2 = Vec2::new(420.0, 320.0);
/// A view narrower than this wraps its controls into one line more, of this height.
pub(crate) const NARROW: f32 = 520.0;
pub(crate) const CONTROLS: f32 = 25.0;
/// A window from this height has the table below the other views.
pub(crate) const LOW: f32 = 640.0;
/// A window from this width shows the runs, and from the other the selection, too, unless told otherwise.
pub(crate) const WIDE_FOR_RUNS: f32 = 900.0;
pub(crate) const WIDE_FOR_ALL: f32 = 1100.0;
pub(crate) const LEFT: f32 = 210.0;
pub(crate) const RIGHT: f32 = 300.0;
pub(crate) const TIMELINE: f32 = 132.0;
/// The room that the selection needs; it scrolls in less.
pub(crate) const LEAST_SELECTION: Vec2 = Vec2::new(220.0, 420.0);
pub(crate) const ROW_HEIGHT: f32 = 20.0;
pub(crate) const MAP_ROW: f32 = 22.0;
pub(crate) const MAP_LEFT: f32 = 130.0;
pub(crate) const MAP_BAR: f32 = 90.0;
pub(crate) const MAP_BAR_HEIGHT: f32 = 220.0;
/// Least width of a column, with and without numbers.
pub(crate) const MAP_NUMBER: f32 = 34.0;
pub(crate) const MAP_COLUMN: f32 = 12.0;
pub(crate) const CARD_PICTURE: f32 = 150.0;

/// Okabe and Ito's colours, readable on light and dark.
pub(crate) const TRAIN: Color32 = Color32::from_rgb(0x56, 0xB4, 0xE9);
pub(crate) const SMOOTH: Color32 = Color32::from_rgb(0x00, 0x8A, 0xD8);
pub(crate) const HELD_OUT: Color32 = Color32::from_rgb(0xD5, 0x5E, 0x00);
pub(crate) const DRIFT: Color32 = Color32::from_rgb(0x00, 0x9E, 0x73);
pub(crate) const COSINE: Color32 = Color32::from_rgb(0xCC, 0x79, 0xA7);
pub(crate) const NOT_FINITE: Color32 = Color32::from_rgb(0xC0, 0x20, 0x20);
pub(crate) const NO_VALUE: Color32 = Color32::from_rgb(0x90, 0x90, 0x90);
/// Boxes of the question, of the answer, of the prediction.
pub(crate) const BOX_QUESTION: Color32 = Color32::from_rgb(0x56, 0xB4, 0xE9);
pub(crate) const BOX_ANSWER: Color32 = Color32::from_rgb(0x00, 0xC0, 0x80);
pub(crate) const BOX_PREDICTION: Color32 = Color32::from_rgb(0xE6, 0x9F, 0x00);

/// Width of a side at most, so that the views keep room.
pub(crate) fn side(window: Vec2) -> f32 {
    (window.x - LEAST_VIEW.x).clamp(LEFT, 0.5 * WINDOW.x)
}

pub(crate) fn rgb([r, g, b]: [u8; 3]) -> Color32 {
    Color32::from_rgb(r, g, b)
}

/// Red, green and blue of a colour.
pub(crate) fn parts(color: Color32) -> [u8; 3] {
    [color.r(), color.g(), color.b()]
}

/// The looks of light and dark, with more contrast if asked for.
pub(crate) fn dress(ctx: &Context, contrast: bool) {
    for theme in [Theme::Light, Theme::Dark] {
        let mut style = Style { visuals: theme.default_visuals(), ..Style::default() };
        if contrast {
            sharpen(&mut style.visuals);
        }
        ctx.set_style_of(theme, style);
    }
}

/// Black on white or white on black, outlines around everything, nothing faint (WCAG's 7:1).
fn sharpen(visuals: &mut Visuals) {
    let (ink, paper, mark) = if visuals.dark_mode {
        (Color32::WHITE, Color32::BLACK, Color32::from_rgb(0x00, 0x4A, 0xA8))
    } else {
        (Color32::BLACK, Color32::WHITE, Color32::from_rgb(0xFF, 0xE0, 0x60))
    };
    visuals.override_text_color = Some(ink);
    visuals.weak_text_alpha = 1.0;
    (visuals.panel_fill, visuals.window_fill, visuals.extreme_bg_color) = (paper, paper, paper);
    visuals.faint_bg_color = paper;
    visuals.window_stroke = Stroke::new(2.0, ink);
    visuals.selection.bg_fill = mark;
    visuals.selection.stroke = Stroke::new(2.0, ink);
    visuals.hyperlink_color = ink;
    (visuals.warn_fg_color, visuals.error_fg_color) = (ink, ink);
    let widgets = &mut visuals.widgets;
    for state in [
        &mut widgets.noninteractive,
        &mut widgets.inactive,
        &mut widgets.hovered,
        &mut widgets.active,
        &mut widgets.open,
    ] {
        state.fg_stroke = Stroke::new(1.5, ink);
        state.bg_stroke = Stroke::new(1.0, ink);
        (state.bg_fill, state.weak_bg_fill) = (paper, paper);
    }
    // Rails of sliders; ink on it keeps its contrast.
    widgets.inactive.bg_fill = Color32::from_gray(if visuals.dark_mode { 80 } else { 185 });
    for state in [&mut widgets.hovered, &mut widgets.active] {
        state.bg_stroke = Stroke::new(2.5, ink);
        (state.bg_fill, state.weak_bg_fill) = (mark, mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_contrast_is_seven_to_one() {
        let light = |c: Color32| {
            let part = |v: u8| {
                let v = f64::from(v) / 255.0;
                if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(c.r()) + 0.7152 * part(c.g()) + 0.0722 * part(c.b()) + 0.05
        };
        for theme in [Theme::Light, Theme::Dark] {
            let mut v = theme.default_visuals();
            sharpen(&mut v);
            let ratio = |a: Color32, b: Color32| (light(a) / light(b)).max(light(b) / light(a));
            for (ink, paper) in [
                (v.text_color(), v.panel_fill),
                (v.weak_text_color(), v.panel_fill),
                (v.selection.stroke.color, v.selection.bg_fill),
                (v.text_color(), v.widgets.hovered.bg_fill),
                (v.text_color(), v.widgets.inactive.bg_fill),
            ] {
                assert!(ratio(ink, paper) >= 7.0, "{theme:?} {ink:?} on {paper:?}");
            }
        }
    }
}
