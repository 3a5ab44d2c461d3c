//! The run explorer: a window over run directories, finished or still being written.
//!
//! It reads records and never a tensor, so that "watch it train" and "open last month's run" are one path.

mod actions;
mod app;
mod core;
mod data;
mod fonts;
mod jobs;
mod layout;
mod measure;
mod notes;
mod panels;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod thumbs;
mod tokens;
mod tools;

pub use measure::{Measured, measure};
pub use thumbs::read_plainly;

use std::path::{Path, PathBuf};

/// Reads a picture of a run, as its training read it: the run's folder, the file; or why it cannot be read.
pub type ReadPicture = fn(&Path, &Path) -> Result<image::RgbImage, String>;

/// Why the window could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    /// No window system, or no OpenGL.
    #[error("cannot open a window ({why}); over a remote shell, forward a display or copy the run directory")]
    Window {
        /// The reason.
        why: String,
    },
    /// The background reader did not start.
    #[error("cannot start the reader of the runs: {source}")]
    Reader {
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Opens the explorer over `runs`: run directories, or folders of them; `picture` reads the pictures of samples. Returns when the
/// window is closed.
///
/// # Errors
/// No window can be opened.
pub fn open(runs: Vec<PathBuf>, picture: ReadPicture) -> Result<(), ViewerError> {
    let viewport = egui::ViewportBuilder::default()
        .with_title("covft-probe")
        .with_inner_size(tokens::WINDOW)
        .with_min_inner_size(tokens::LEAST_WINDOW);
    let options = eframe::NativeOptions { viewport, renderer: renderer(), ..Default::default() };
    let create = move |context: &eframe::CreationContext<'_>| {
        let ctx = context.egui_ctx.clone();
        let source = source::Source::follow(runs, move || ctx.request_repaint())?;
        let tools = tools::Tools::new(jobs::Spawner::Threads(context.egui_ctx.clone()), picture);
        let layout = layout::Layout::open(layout::Layout::place());
        Ok(Box::new(app::App::new(app::Explorer::new(source, layout, tools))) as Box<dyn eframe::App>)
    };
    let shown = eframe::run_native("covft-probe", options, Box::new(create));
    shown.map_err(|e| ViewerError::Window { why: e.to_string() })
}

/// OpenGL, unless this was built to draw through wgpu.
fn renderer() -> eframe::Renderer {
    #[cfg(feature = "wgpu")]
    return eframe::Renderer::Wgpu;
    #[cfg(not(feature = "wgpu"))]
    eframe::Renderer::Glow
}
