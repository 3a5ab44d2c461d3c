//! What the line plots share.

use egui::Ui;
use egui_plot::{AxisHints, Corner, Legend, Plot};

/// Points a line has at most.
pub(crate) const MOST: usize = 1500;

/// A plot over steps with a legend.
pub(crate) fn over_steps<'a>(name: &'static str, y: &'a str, height: f32) -> Plot<'a> {
    Plot::new(name)
        .legend(Legend::default().position(Corner::RightTop))
        .height(height)
        .allow_scroll(false)
        .custom_x_axes(vec![across("step")])
        .custom_y_axes(vec![up(y)])
}

/// An axis whose numbers may stand closer than usual: small plots would show one number alone.
pub(crate) fn across(label: &str) -> AxisHints<'_> {
    AxisHints::new_x().label(label).label_spacing(egui::Rangef::new(28.0, 56.0))
}

/// The same, upwards.
pub(crate) fn up(label: &str) -> AxisHints<'_> {
    AxisHints::new_y().label(label).min_thickness(48.0).label_spacing(egui::Rangef::new(12.0, 24.0))
}

/// Points of a line, thinned and without what is not a number.
pub(crate) fn line(steps: impl Iterator<Item = f64>, values: impl Iterator<Item = f64>) -> Vec<[f64; 2]> {
    let points: Vec<[f64; 2]> = steps.zip(values).filter(|(_, v)| v.is_finite()).map(|(s, v)| [s, v]).collect();
    crate::data::thin(&points, MOST)
}

/// A labelled choice of one of several names.
pub(crate) fn choose<T: PartialEq + Clone>(ui: &mut Ui, label: &str, value: &mut T, all: &[(T, String)]) -> bool {
    let before = value.clone();
    let now = all.iter().find(|(v, _)| v == value).map_or("", |(_, name)| name.as_str());
    // The name stands before what it names, as everywhere else.
    let named = ui.label(label);
    let combo = egui::ComboBox::from_id_salt(label).selected_text(now).show_ui(ui, |ui| {
        for (one, name) in all {
            ui.selectable_value(value, one.clone(), name);
        }
    });
    combo.response.labelled_by(named.id);
    ui.add_space(4.0);
    before != *value
}
