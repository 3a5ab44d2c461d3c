//! The bottom: loss, cosine and drift over the run's steps, and the step that is shown.

use super::Cx;
use crate::actions::Action;
use crate::core::memo::Memo;
use crate::data::{Measure, RunData};
use crate::panels::loss::not_finite_steps;
use crate::panels::plots::{Gap, Ink, curve, mark, named, smoothed};
use crate::panels::runs::button;
use crate::state::State;
use crate::tokens;
use covft_analyses::store::ALL;
use egui::{Color32, Context, Panel, Slider, Ui, Vec2};
use egui_plot::{Legend, VLine};

/// Time that a whole run takes to play, in seconds.
const WHOLE: f64 = 20.0;

/// What the panel keeps.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    /// Where playing is, with fractions of steps.
    played: f64,
    lines: Memo<u64, Vec<(&'static str, Color32, Vec<[f64; 2]>)>>,
    broken: Memo<u64, Vec<Gap>>,
}

/// Moves on while the steps are played.
pub(crate) fn advance(ctx: &Context, state: &mut State, data: &RunData) {
    if !state.playing {
        return;
    }
    let last = data.last_step();
    let played = &mut state.local.timeline.played;
    if state.at.is_none_or(|at| at >= last) || *played as u32 != state.at.unwrap_or(0) {
        *played = f64::from(state.at.filter(|at| *at < last).unwrap_or(0));
    }
    *played += f64::from(ctx.input(|i| i.stable_dt).min(0.2)) * f64::from(last.max(1)) / WHOLE;
    if *played >= f64::from(last) {
        (state.at, state.playing) = (None, false);
    } else {
        state.at = Some(*played as u32);
        ctx.request_repaint_after(std::time::Duration::from_millis(33));
    }
}

/// Each line between 0 and 1, since they share the axis.
fn scaled(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let finite = || points.iter().filter(|p| p[1].is_finite());
    let (low, high) = finite().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p[1]), h.max(p[1])));
    // Halves, so that no difference is infinite.
    let far = high / 2.0 - low / 2.0;
    let place = |v: f64| if far > 0.0 { (v / 2.0 - low / 2.0) / far } else { 0.5 };
    points.iter().map(|p| [p[0], if p[1].is_finite() { place(p[1]) } else { f64::NAN }]).collect()
}

fn lines(data: &RunData) -> Vec<(&'static str, Color32, Vec<[f64; 2]>)> {
    let losses: Vec<[f64; 2]> = data.curves.iter().flat_map(|c| c.train.iter().copied()).collect();
    let starts = data.stage_starts();
    let of = |measure: Measure| -> Vec<[f64; 2]> {
        let stages = data.layers.stages.iter();
        let whole = stages.flat_map(|(stage, layers)| {
            let series = layers.iter().filter(|((l, m), _)| l.1 == ALL && m == ALL);
            series
                .flat_map(|(_, s)| s.steps.iter().zip(s.line(measure)))
                .map(|(s, v)| [f64::from(starts[*stage as usize] + s), v])
        });
        whole.collect()
    };
    vec![
        ("loss", tokens::HELD_OUT, scaled(&smoothed(&losses))),
        ("gradient cosine", tokens::COSINE, scaled(&of(Measure::Momentum))),
        ("drift", tokens::DRIFT, scaled(&of(Measure::Drift))),
    ]
}

/// The panel; in a low window it has the controls alone.
pub(crate) fn panel(window: Vec2) -> Panel {
    if window.y < tokens::LOW {
        return Panel::bottom("low steps").resizable(false);
    }
    Panel::bottom("steps").default_size(tokens::TIMELINE).resizable(true)
}

pub(crate) fn show(ui: &mut Ui, cx: &mut Cx<'_>) {
    let last = cx.data.last_step();
    ui.horizontal_wrapped(|ui| {
        button(ui, cx.tools, Action::First, "First");
        button(ui, cx.tools, Action::StepBack, "Back");
        button(ui, cx.tools, Action::Play, if cx.state.playing { "Stop" } else { "Play" });
        button(ui, cx.tools, Action::StepOn, "On");
        button(ui, cx.tools, Action::Latest, "Latest");
        let mut at = cx.state.at.unwrap_or(last);
        let label = ui.label("Step");
        // What is left of this line: the width of a whole line would push the numbers out of the window.
        let left = ui.available_size_before_wrap().x - 190.0;
        ui.spacing_mut().slider_width = left.clamp(80.0, 1200.0);
        if ui.add(Slider::new(&mut at, 0..=last.max(1))).labelled_by(label.id).changed() {
            cx.state.at = (at < last).then_some(at);
        }
        ui.label(if cx.state.at.is_none() { format!("latest of {last}") } else { format!("of {last}") });
    });
    if ui.ctx().content_rect().height() < tokens::LOW {
        return;
    }
    let data = cx.data;
    let lines = cx.state.local.timeline.lines.get(data.version, || lines(data));
    let plot = named("timeline")
        .height(ui.available_height().max(40.0))
        .legend(Legend::default())
        .show_axes([true, false])
        .show_grid([true, false])
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .label_formatter(|_| None)
        .set_margin_fraction(egui::vec2(0.01, 0.08))
        .include_x(0.0)
        .include_x(f64::from(last));
    let broken = cx.state.local.timeline.broken.get(data.version, || not_finite_steps(data));
    let at = cx.state.at;
    let shown = plot.show(ui, |plot| {
        for (name, color, points) in lines {
            curve(plot, name, points, Ink::full(*color, 1.5));
        }
        mark(plot, broken);
        for start in data.stage_starts() {
            plot.vline(VLine::new("", f64::from(start)).color(tokens::NO_VALUE).width(1.0).allow_hover(false));
        }
        if let Some(at) = at {
            plot.vline(VLine::new("", f64::from(at)).color(tokens::SMOOTH).width(2.5).allow_hover(false));
        }
    });
    if (shown.response.clicked() || shown.response.dragged())
        && let Some(at) = shown.response.interact_pointer_pos()
    {
        let step = shown.transform.value_from_position(at).x.round().clamp(0.0, f64::from(last)) as u32;
        cx.state.at = (step < last).then_some(step);
        cx.state.playing = false;
    }
}
