//! The points as a texture, painted behind the window when the view or what it shows changed.

use super::Cx;
use crate::core::raster::{self, Mode, Rgba, View};
use crate::jobs::Work;
use egui::{ColorImage, TextureHandle, TextureOptions, Ui};
use egui_plot::{PlotImage, PlotPoint, PlotTransform};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// While the view moves, a new picture is begun at most this often; between, the old one moves along.
const PAUSE: Duration = Duration::from_millis(120);
/// Room around what is seen, so that a picture can be moved a little, as a share of it.
const MARGIN: f64 = 0.15;

/// What a picture depends on: points and colours, the selection, how, where.
type Key = (u64, u64, Mode, View);

#[derive(Default)]
pub(super) struct Picture {
    texture: Option<(TextureHandle, View)>,
    work: Work<(Rgba, View)>,
    begun: Option<(Key, Instant)>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({:?})", self.begun)
    }
}

impl Picture {
    /// Whether there is a picture and no other is being painted.
    pub(super) fn drawn(&self) -> bool {
        self.texture.is_some() && !self.work.busy()
    }

    /// The picture at its place in the plot.
    pub(super) fn image(&self) -> Option<PlotImage> {
        let (texture, view) = self.texture.as_ref()?;
        let centre = |k: usize| f64::midpoint(view.low[k], view.high[k]);
        let size = [(view.high[0] - view.low[0]) as f32, (view.high[1] - view.low[1]) as f32];
        Some(PlotImage::new("", texture.id(), PlotPoint::new(centre(0), centre(1)), size).allow_hover(false))
    }
}

/// Begins a new picture if the one that is shown is out of date, and takes in the one that is ready.
pub(super) fn update(ui: &Ui, cx: &mut Cx<'_>, transform: &PlotTransform) {
    let (bounds, frame) = (transform.bounds(), transform.frame());
    let dots = ui.ctx().pixels_per_point();
    let (width, height) = (bounds.width(), bounds.height());
    let more = 1.0 + 2.0 * MARGIN;
    let view = View {
        low: [bounds.min()[0] - width * MARGIN, bounds.min()[1] - height * MARGIN],
        high: [bounds.max()[0] + width * MARGIN, bounds.max()[1] + height * MARGIN],
        width: (f64::from(frame.width() * dots) * more).clamp(1.0, 8192.0) as usize,
        height: (f64::from(frame.height() * dots) * more).clamp(1.0, 8192.0) as usize,
    };
    let mode = super::mode(&cx.state.local.scatter);
    let key = (cx.state.colors_serial, cx.state.selection.changes(), mode, view);
    let picture = &mut cx.state.local.scatter.picture;
    let out_of_date = picture.begun.as_ref().is_none_or(|(begun, _)| *begun != key);
    if out_of_date && !picture.work.busy() && bounds.is_valid() {
        let early = picture.begun.as_ref().and_then(|(_, at)| PAUSE.checked_sub(at.elapsed()));
        let moved_only = picture.begun.as_ref().is_some_and(|(b, _)| (b.0, b.1, b.2) == (key.0, key.1, key.2));
        if let Some(left) = early.filter(|_| moved_only) {
            ui.ctx().request_repaint_after(left);
        } else {
            picture.begun = Some((key, Instant::now()));
            let (shown, colors) = (Arc::clone(&cx.state.shown), Arc::clone(&cx.state.colors));
            let selected = cx.state.selection.now().clone();
            picture.work.start(&cx.tools.spawner, move |_| {
                let points =
                    raster::Points { xs: &shown.xs, ys: &shown.ys, colors: &colors.index, palette: &colors.palette };
                let any = !selected.is_empty();
                let rgba = raster::paint(points, &|i| selected.has(shown.samples[i]), any, &view, mode);
                Some((rgba, view))
            });
        }
    }
    if let Some((rgba, view)) = picture.work.poll() {
        let image = ColorImage::from_rgba_unmultiplied([view.width, view.height], &rgba);
        match &mut picture.texture {
            Some((texture, at)) => {
                texture.set(image, TextureOptions::LINEAR);
                *at = view;
            }
            None => picture.texture = Some((ui.ctx().load_texture("points", image, TextureOptions::LINEAR), view)),
        }
        ui.ctx().request_repaint();
    }
}
