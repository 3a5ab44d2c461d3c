//! What the line plots share.

use crate::tokens;
use covft_analyses::stats::smooth;
use egui::{Color32, Stroke, Ui};
use egui_plot::{AxisHints, Corner, GridMark, Legend, Line, LineStyle, Plot, PlotUi, Points, Span};

/// Points a line has at most.
pub(crate) const MOST: usize = 1500;

/// A plot of this name. What it keeps (its range) is kept under the name alone, wherever in the window it stands: by egui's
/// own rule a plot is another one once the layout around it changes.
pub(crate) fn named<'a>(name: &'static str) -> Plot<'a> {
    Plot::new(name).id(plot_id(name))
}

/// What the range of a plot is kept under.
pub(crate) fn plot_id(name: &'static str) -> egui::Id {
    egui::Id::unique(("plot", name))
}

/// A plot over steps with a legend.
pub(crate) fn over_steps<'a>(name: &'static str, y: &'a str, height: f32) -> Plot<'a> {
    named(name)
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
    let hints = AxisHints::new_y().label(label).min_thickness(48.0).label_spacing(egui::Rangef::new(12.0, 24.0));
    hints.formatter(|mark, _| tick(mark))
}

/// The number at a tick, with powers of ten where it would be long.
fn tick(mark: GridMark) -> String {
    let (value, far) = (mark.value, mark.value.abs());
    let places = |number: f64| number.log10().floor();
    if far < mark.step_size * 1e-6 {
        return "0".to_owned();
    }
    if (1e-4..1e6).contains(&far) {
        let digits = (-places(mark.step_size)).clamp(0.0, 7.0) as usize;
        return format!("{value:.digits$}");
    }
    let digits = (places(far) - places(mark.step_size)).clamp(0.0, 3.0) as usize;
    format!("{value:.digits$e}")
}

/// Steps in a row whose value is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gap {
    nan: bool,
    from: f64,
    to: f64,
}

/// Stretches of NaN and of infinite values. Those of one kind that are too close to be told apart in a plot are one.
pub(crate) fn gaps(points: &[[f64; 2]]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    let ends = points.first().zip(points.last());
    let close = ends.map_or(0.0, |(first, last)| (last[0] - first[0]) / 400.0);
    let mut before = None;
    for [step, value] in points {
        let nan = value.is_nan();
        if value.is_finite() {
            before = None;
            continue;
        }
        match gaps.iter_mut().rev().find(|gap| gap.nan == nan) {
            Some(gap) if before == Some(nan) || step - gap.to <= close => gap.to = *step,
            _ => gaps.push(Gap { nan, from: *step, to: *step }),
        }
        before = Some(nan);
    }
    gaps
}

/// Marks where values are not finite, NaN and infinite apart.
pub(crate) fn mark(plot: &mut PlotUi<'_>, gaps: &[Gap]) {
    for (nan, name, style) in [(true, "NaN", LineStyle::Solid), (false, "infinite", LineStyle::dashed_dense())] {
        for (i, gap) in gaps.iter().filter(|gap| gap.nan == nan).enumerate() {
            // The first one names them all.
            let span = Span::new(if i == 0 { name } else { "" }, gap.from..=gap.to).border_style(style);
            let color = tokens::NOT_FINITE;
            plot.span(span.fill(color.gamma_multiply(0.25)).border(Stroke::new(2.0, color)));
        }
    }
}

/// Points of a line; where a number is not finite there is a gap.
pub(crate) fn line(steps: impl Iterator<Item = f64>, values: impl Iterator<Item = f64>) -> Vec<[f64; 2]> {
    steps.zip(values).map(|(s, v)| [s, v]).collect()
}

/// A mean over the steps, broken where the numbers themselves are.
pub(crate) fn smoothed(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let values: Vec<f64> = points.iter().map(|p| p[1]).collect();
    let place = |(p, mean): (&[f64; 2], f64)| [p[0], if p[1].is_finite() { mean } else { f64::NAN }];
    points.iter().zip(smooth(&values, 0.9)).map(place).collect()
}

/// Parts of a line between its gaps, about `most` points in all. A point is the mean of equally many neighbours; those that
/// are not finite are in no mean, and where all of them are not there is a gap.
pub(crate) fn parts(points: &[[f64; 2]], most: usize) -> Vec<Vec<[f64; 2]>> {
    let every = points.len().div_ceil(most.max(1)).max(1);
    let mut parts = vec![Vec::new()];
    for chunk in points.chunks(every) {
        let (n, sums) = chunk.iter().filter(|p| p[1].is_finite()).fold((0.0, [0.0; 2]), |(n, sums), p| {
            // Means step by step, so that large numbers do not become infinite.
            let n: f64 = n + 1.0;
            (n, [0, 1].map(|k| sums[k] + (p[k] - sums[k]) / n))
        });
        match parts.last_mut() {
            Some(part) if n > 0.0 => part.push(sums),
            Some(part) if !part.is_empty() => parts.push(Vec::new()),
            _ => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// How a line looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ink {
    pub color: Color32,
    pub width: f32,
    pub style: LineStyle,
}

impl Ink {
    pub(crate) fn full(color: Color32, width: f32) -> Self {
        Self { color, width, style: LineStyle::Solid }
    }
}

/// Draws a line with its gaps; a point that stands alone is a dot.
pub(crate) fn curve(plot: &mut PlotUi<'_>, name: &str, points: &[[f64; 2]], ink: Ink) {
    for part in parts(points, MOST) {
        if part.len() == 1 {
            plot.points(Points::new(name, part).radius(ink.width + 1.0).color(ink.color));
        } else {
            plot.line(Line::new(name, part).color(ink.color).width(ink.width).style(ink.style));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short() {
        let at = |value, step_size| tick(GridMark { value, step_size });
        assert_eq!([at(0.25, 0.05), at(3.0, 1.0), at(0.3 - 0.1 - 0.2, 0.1)], ["0.25", "3", "0"]);
        assert_eq!([at(1.5e30, 1e29), at(-2e-7, 1e-7), at(999_999.0, 1.0)], ["1.5e30", "-2e-7", "999999"]);
    }

    #[test]
    fn every_stretch_that_is_not_finite_is_marked_nan_and_infinite_apart() {
        let of = |values: &[f64]| gaps(&values.iter().enumerate().map(|(i, v)| [i as f64, *v]).collect::<Vec<_>>());
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let gap = |nan, from, to| Gap { nan, from, to };
        assert_eq!(
            of(&[1.0, nan, nan, 2.0, inf, nan, 3.0, nan]),
            [gap(true, 1.0, 2.0), gap(false, 4.0, 4.0), gap(true, 5.0, 5.0), gap(true, 7.0, 7.0)]
        );
        // Ten thousand of them are no more than can be seen.
        let all: Vec<f64> = (0..20_000).map(|i| if i % 2 == 0 { nan } else { 1.0 }).collect();
        assert_eq!(of(&all), [gap(true, 0.0, 19_998.0)]);
        assert!(of(&[]).is_empty() && of(&[1.0]).is_empty());
    }

    #[test]
    fn lines_have_gaps_where_numbers_are_not_finite() {
        let points: Vec<[f64; 2]> = [1.0, 2.0, f64::NAN, 3.0, f64::INFINITY, 4.0, 5.0]
            .iter()
            .enumerate()
            .map(|(i, v)| [i as f64, *v])
            .collect();
        let whole = parts(&points, 100);
        assert_eq!(whole, [vec![[0.0, 1.0], [1.0, 2.0]], vec![[3.0, 3.0]], vec![[5.0, 4.0], [6.0, 5.0]]]);
        // Thinned, a number that is not finite takes nothing with it.
        assert_eq!(parts(&points, 4), [vec![[0.5, 1.5], [3.0, 3.0], [5.0, 4.0], [6.0, 5.0]]]);
        assert!(parts(&[[0.0, f64::NAN]], 10).is_empty() && parts(&[], 10).is_empty());
        assert_eq!(parts(&[[0.0, f64::MAX], [1.0, f64::MAX]], 1), [vec![[0.5, f64::MAX]]]);
        let mean = smoothed(&points);
        assert!(mean[2][1].is_nan() && mean[4][1].is_nan() && mean[3][1] > mean[1][1]);
    }
}
