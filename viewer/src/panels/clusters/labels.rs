//! Labels of clusters in the scatter: at the middle of their points, or beside it with a line to it.

use super::NAMES;
use crate::core::colors::cluster_name;
use crate::core::scatter::ColorBy;
use crate::panels::Cx;
use covft_analyses::figures::label_places;
use egui::{Align2, Color32, RichText};
use egui_plot::{Line, PlotPoint, PlotUi, Text};

/// Width and height of a scatter and radius of a label, as labels are placed: about those of a window of the usual size.
const NOMINAL: [f64; 3] = [700.0, 450.0, 11.0];
/// Points that labels of clusters keep clear of at most.
const SEEN: usize = 5000;

/// Where the labels of clusters stand, by the figures' rule.
fn beside_points(middles: &[(u16, [f64; 2])], dots: &[(usize, [f64; 2])]) -> Vec<[f64; 2]> {
    let ends = |k: usize| dots.iter().fold((f64::MAX, f64::MIN), |(l, h), (_, at)| (l.min(at[k]), h.max(at[k])));
    let ends = [ends(0), ends(1)];
    let far = [0, 1].map(|k| (ends[k].1 - ends[k].0).max(f64::MIN_POSITIVE));
    let onto = |at: &[f64; 2]| {
        let [x, y] = [0, 1].map(|k| (at[k] - ends[k].0) / far[k] * NOMINAL[k]);
        (x, y)
    };
    let at: Vec<(f64, f64)> = middles.iter().map(|(_, at)| onto(at)).collect();
    let dots: Vec<(usize, (f64, f64))> = dots.iter().map(|(c, at)| (*c, onto(at))).collect();
    let (margin, whole) = (2.0 * NOMINAL[2], (NOMINAL[0], NOMINAL[1]));
    let places = label_places(&at, NOMINAL[2], &dots, ((-margin, -margin), (whole.0 + margin, whole.1 + margin)));
    places.into_iter().map(|(x, y)| [0, 1].map(|k| [x, y][k] / NOMINAL[k] * far[k] + ends[k].0)).collect()
}

/// Names of clusters, where their points are and where the label stands, if colours mean clusters.
pub(super) fn names(cx: &mut Cx<'_>) -> Vec<([[f64; 2]; 2], String)> {
    if cx.state.notes.color != ColorBy::Cluster || cx.state.local.scatter.density {
        return Vec::new();
    }
    let (shown, colors) = (std::sync::Arc::clone(&cx.state.shown), std::sync::Arc::clone(&cx.state.colors));
    let of = || {
        let mut sums = vec![[0.0_f64; 3]; colors.palette.len()];
        for (i, c) in colors.index.iter().enumerate() {
            let sum = &mut sums[*c as usize];
            sum[0] += f64::from(shown.xs[i]);
            sum[1] += f64::from(shown.ys[i]);
            sum[2] += 1.0;
        }
        let some = sums.iter().enumerate().filter(|(_, s)| s[2] > 0.0).take(NAMES);
        let middles: Vec<(u16, [f64; 2])> = some.map(|(c, s)| (c as u16, [s[0] / s[2], s[1] / s[2]])).collect();
        let every = shown.xs.len().div_ceil(SEEN).max(1);
        let dots =
            (0..shown.xs.len()).step_by(every).map(|i| (usize::from(colors.index[i]), [shown.xs[i], shown.ys[i]]));
        let places = beside_points(&middles, &dots.map(|(c, at)| (c, at.map(f64::from))).collect::<Vec<_>>());
        middles.into_iter().zip(places).map(|((c, middle), place)| (c, [middle, place])).collect::<Vec<_>>()
    };
    let centres = cx.state.local.scatter.centres.get(cx.state.colors_serial, of);
    let names = &cx.state.notes.names;
    centres
        .iter()
        .map(|(c, at)| {
            (*at, names.get(c).filter(|n| !n.is_empty()).map_or_else(|| c.to_string(), |_| cluster_name(names, *c)))
        })
        .collect()
}

/// Draws the labels.
pub(super) fn draw(plot: &mut PlotUi<'_>, names: Vec<([[f64; 2]; 2], String)>, ink: Color32) {
    for ([middle, place], name) in names {
        let from =
            plot.screen_from_plot(PlotPoint::from(middle)).distance(plot.screen_from_plot(PlotPoint::from(place)));
        if from > 8.0 {
            plot.line(Line::new("", vec![middle, place]).color(ink).width(1.0).allow_hover(false));
        }
        let text = RichText::new(name)
            .strong()
            .size(13.0)
            .background_color(Color32::from_black_alpha(110))
            .color(Color32::WHITE);
        plot.text(
            Text::new("", PlotPoint::new(place[0], place[1]), text).anchor(Align2::CENTER_CENTER).color(Color32::WHITE),
        );
    }
}
