//! One sample: picture with boxes, question, answer, prediction, routing by layer.

use super::Cx;
use crate::core::boxes;
use crate::core::classes::Look;
use crate::core::colors::{cluster_name, number};
use crate::data::RunData;
use crate::thumbs::Thumb;
use crate::tokens;
use egui::{Color32, Rect, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo};
use std::path::PathBuf;

/// The folder of the run, and where the picture of a sample lies.
fn picture_path(cx: &Cx<'_>, sample: u32) -> Option<(PathBuf, PathBuf)> {
    let image = cx.data.samples.row(sample)?.image.as_deref()?;
    let run = cx.state.run.clone()?;
    // An absolute path stands for itself.
    let path = run.join(image);
    Some((run, path))
}

/// The picture, at most `side` points high and wide, with the boxes that question, answer and prediction name.
fn picture(ui: &mut Ui, cx: &mut Cx<'_>, sample: u32, side: f32) {
    let Some((run, path)) = picture_path(cx, sample) else { return };
    let id = cx.data.samples.title(sample);
    match cx.tools.thumbs.get(&run, &path) {
        Thumb::Waiting => {
            ui.allocate_space(Vec2::splat(side * 0.75));
        }
        Thumb::Failed(why) => {
            ui.add(egui::Label::new(why).wrap());
        }
        Thumb::Ready(texture) => {
            let [width, height] = texture.size().map(|s| s as f32);
            let size = Vec2::new(width, height) * (side / width.max(height));
            let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
            response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("Picture of {id}")));
            let whole = Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1.0, 1.0));
            ui.painter().image(texture.id(), rect, whole, Color32::WHITE);
            let row = cx.data.samples.row(sample);
            let said = cx.data.samples.look(sample).and_then(|s| s.prediction.as_ref());
            let texts = [
                (row.map_or("", |r| r.question.as_str()), tokens::BOX_QUESTION),
                (row.map_or("", |r| r.answer.as_str()), tokens::BOX_ANSWER),
                (said.map_or("", |p| p.0.as_str()), tokens::BOX_PREDICTION),
            ];
            for (text, color) in texts {
                for [left, top, right, bottom] in boxes::find(text) {
                    let at = |x: f32, y: f32| rect.min + Vec2::new(x, y) * size;
                    let drawn = Rect::from_min_max(at(left, top), at(right, bottom));
                    ui.painter().rect_stroke(drawn, 0.0, Stroke::new(3.0, Color32::BLACK), StrokeKind::Middle);
                    ui.painter().rect_stroke(drawn, 0.0, Stroke::new(1.5, color), StrokeKind::Middle);
                }
            }
        }
    }
}

/// The routing weights of a sample by layer, as of its last row up to step `until`.
pub(crate) fn path(data: &RunData, sample: u32, until: u32) -> Vec<(String, Vec<f32>)> {
    let starts = data.stage_starts();
    let mut layers = Vec::new();
    for ((_, name), routing) in &data.routing {
        let rows = &routing.rows;
        let early = |i: &usize| starts[rows.stage[*i] as usize] + rows.step[*i] <= until;
        // Rows are in order of time: looked for from the end.
        if let Some(i) = (0..rows.len()).rev().filter(|i| rows.sample[*i] == sample).find(early) {
            layers.push((name.clone(), routing.weights(i).to_vec()));
        }
    }
    layers
}

/// One line a layer: the experts' weights as a divided bar, those without a look of their own together at its end.
fn routing(ui: &mut Ui, cx: &mut Cx<'_>, sample: u32) {
    let looks = cx.state.expert_looks(cx.data);
    for (layer, weights) in path(cx.data, sample, cx.state.until()) {
        ui.horizontal(|ui| {
            ui.weak(format!("layer {layer}"));
            if weights.iter().any(|w| !w.is_finite()) {
                ui.weak("its weights are not finite");
                return;
            }
            let width = (ui.available_width() - 4.0).clamp(60.0, 160.0);
            let (bar, response) = ui.allocate_exact_size(Vec2::new(width, 10.0), Sense::hover());
            let mut words = format!("Routing in layer {layer}:");
            let mut left = bar.left();
            let look = |expert: usize| looks.get(&layer).and_then(|l| l.get(expert)).copied().unwrap_or(Look::Others);
            let (others, own): (Vec<usize>, Vec<usize>) =
                (0..weights.len()).partition(|expert| look(*expert) == Look::Others);
            for expert in own.into_iter().chain(others) {
                let weight = weights[expert];
                let piece = Rect::from_min_size(egui::pos2(left, bar.top()), Vec2::new(width * weight, bar.height()));
                ui.painter().rect_filled(piece, 0.0, look(expert).color(ui));
                left += width * weight;
            }
            weights.iter().enumerate().for_each(|(e, weight)| words += &format!(" expert {e} {weight:.2}"));
            response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &words));
            response.on_hover_text(words.clone());
        });
    }
}

fn facts(cx: &mut Cx<'_>, sample: u32) -> String {
    let cluster = cx.state.clusters(cx.data).get(sample as usize).copied().flatten();
    let one = cx.data.samples.get(sample);
    let mut facts = vec![cx.data.samples.task(sample).to_owned()];
    facts.extend(cx.data.samples.row(sample).map(|r| r.split.to_string()));
    facts.extend(cluster.map(|c| cluster_name(&cx.state.notes.names, c)));
    facts.extend(one.loss.map(|l| format!("loss {}", number(l))));
    if one.seen > 0 {
        facts.push(format!("seen {} times", one.seen));
    }
    let gradients = cx.state.gradients(cx.data);
    facts.extend(
        gradients
            .tally(sample)
            .and_then(|t| Some(format!("{:.0} % of {} pairs in conflict", t.conflict_share()? * 100.0, t.pairs))),
    );
    facts.extend(gradients.alignment(sample).map(|a| format!("alignment {a:.2}")));
    facts.join(" \u{b7} ")
}

fn words(ui: &mut Ui, cx: &Cx<'_>, sample: u32, most: usize) {
    let cut = |text: &str| {
        let short: String = text.chars().take(most).collect();
        if short.len() < text.len() { short + "\u{2026}" } else { short }
    };
    let mut say = |what: &str, text: &str| {
        ui.horizontal_wrapped(|ui| {
            ui.weak(what);
            ui.label(cut(text));
        });
    };
    if let Some(row) = cx.data.samples.row(sample) {
        say("Q", &row.question);
        say("A", &row.answer);
    }
    if let Some((text, correct)) = cx.data.samples.look(sample).and_then(|s| s.prediction.as_ref()) {
        let right = correct.map_or_else(String::new, |c| format!(" (correct {c:.2})"));
        say("said", &format!("{text}{right}"));
    }
}

/// The card of the pointer.
pub(crate) fn brief(ui: &mut Ui, cx: &mut Cx<'_>, sample: u32) {
    ui.set_max_width(240.0);
    ui.strong(cx.data.samples.title(sample));
    ui.weak(facts(cx, sample));
    picture(ui, cx, sample, tokens::CARD_PICTURE);
    words(ui, cx, sample, 160);
    routing(ui, cx, sample);
}

/// A card of the selection; returns whether it was clicked.
pub(crate) fn full(ui: &mut Ui, cx: &mut Cx<'_>, sample: u32) -> bool {
    let focused = cx.state.focus == Some(sample);
    let mut clicked = false;
    egui::Frame::group(ui.style()).show(ui, |ui| {
        ui.set_width(ui.available_width());
        clicked = ui.selectable_label(focused, cx.data.samples.title(sample)).clicked();
        ui.weak(facts(cx, sample));
        picture(ui, cx, sample, tokens::CARD_PICTURE);
        words(ui, cx, sample, 400);
        routing(ui, cx, sample);
    });
    clicked
}
