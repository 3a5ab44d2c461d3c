//! Writes a figure's four files.

use super::canvas::{Canvas, Drawn, Point};
use super::error::FigureError;
use super::theme::{self, FONT, Venue};
use super::{FigureId, Result};
use crate::store::{Manifest, RunDir, StoreError, write_atomic};
use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Pixels a point in SVG, where coordinates are whole numbers.
const SVG_SCALE: f64 = 20.0;
/// Pixels a point in PNG: 300 dpi.
const PNG_SCALE: f64 = 300.0 / 72.0;
/// The bitmap is drawn this many times larger and averaged, since the backend's thick lines have hard edges.
const OVERSAMPLE: u32 = 3;

/// The plotted numbers.
pub(super) struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// A figure whose numbers are at hand.
pub(super) trait Figure {
    /// Size in pt at `venue`.
    fn size(&self, venue: Venue) -> Point;
    /// Draws it.
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn;
    /// The numbers.
    fn table(&self) -> Table;
    /// What the JSON says besides run and command.
    fn notes(&self) -> serde_json::Value;
}

/// What is drawn where.
pub(super) struct Job<'a> {
    pub id: FigureId,
    pub run: &'a RunDir,
    pub venue: Venue,
    pub out: &'a Path,
    pub command: &'a [String],
}

impl Job<'_> {
    pub(super) fn save(&self, figure: &impl Figure) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(self.out).map_err(StoreError::io("make the folder", self.out))?;
        let path = |extension: &str| self.out.join(format!("{}.{extension}", self.id));
        let paths = vec![path("svg"), path("png"), path("csv"), path("json")];
        if !theme::register() {
            return Err(self.failed("the built-in font cannot be read", &paths[0]));
        }
        let svg = self.svg(figure).map_err(|why| self.failed(&why, &paths[0]))?;
        let csv = csv(&figure.table());
        let json = self.json(figure)?;
        write_atomic(&paths[0], |f| f.write_all(svg.as_bytes()))?;
        self.png(figure, &paths[1])?;
        write_atomic(&paths[2], |f| f.write_all(csv.as_bytes()))?;
        write_atomic(&paths[3], |f| f.write_all(json.as_bytes()))?;
        Ok(paths)
    }

    fn failed(&self, why: &str, path: &Path) -> FigureError {
        FigureError::Draw { figure: self.id.to_string(), why: why.to_owned(), path: path.to_owned() }
    }

    fn paint<DB: DrawingBackend>(&self, figure: &impl Figure, area: &DrawingArea<DB, Shift>, scale: f64) -> Drawn {
        area.fill(&WHITE).map_err(|e| e.to_string())?;
        let fonts = (self.venue.small(), self.venue.font_size());
        figure.draw(&Canvas::new(area, scale, fonts, figure.size(self.venue)))?;
        area.present().map_err(|e| e.to_string())
    }

    /// SVG of the exact printed size.
    pub(super) fn svg(&self, figure: &impl Figure) -> std::result::Result<String, String> {
        let size = figure.size(self.venue);
        let pixels = pixels(size, SVG_SCALE);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, pixels).into_drawing_area();
            self.paint(figure, &area, SVG_SCALE)?;
        }
        let printed = format!("width=\"{:.4}in\" height=\"{:.4}in\"", size.0 / 72.0, size.1 / 72.0);
        let drawn = format!("width=\"{}\" height=\"{}\"", pixels.0, pixels.1);
        let families = format!("font-family=\"{FONT}, Arial, Helvetica, sans-serif\"");
        Ok(svg.replacen(&drawn, &printed, 1).replace(&format!("font-family=\"{FONT}\""), &families))
    }

    fn png(&self, figure: &impl Figure, path: &Path) -> Result<()> {
        let (width, height) = pixels(figure.size(self.venue), PNG_SCALE);
        let large = (width * OVERSAMPLE, height * OVERSAMPLE);
        let mut buffer = vec![0; large.0 as usize * large.1 as usize * 3];
        let painted = {
            let area = BitMapBackend::with_buffer(&mut buffer, large).into_drawing_area();
            self.paint(figure, &area, PNG_SCALE * f64::from(OVERSAMPLE))
        };
        let small = shrink(&buffer, width as usize, height as usize, OVERSAMPLE as usize);
        // The encoder wants a path ending in .png; the rename makes the file appear whole.
        let unfinished = path.with_file_name(format!(".{}.tmp.png", self.id));
        let written = painted.and_then(|()| {
            let mut backend = BitMapBackend::new(&unfinished, (width, height));
            backend.blit_bitmap((0, 0), (width, height), &small).map_err(|e| e.to_string())?;
            backend.present().map_err(|e| e.to_string())
        });
        written.map_err(|why| self.failed(&why, path))?;
        Ok(fs::rename(&unfinished, path).map_err(StoreError::io("write", path))?)
    }

    fn json(&self, figure: &impl Figure) -> Result<String> {
        let manifest = Manifest::read(self.run)?;
        let run = json!({
            "name": self.run.name(), "seed": manifest.seed, "started": manifest.started, "device": manifest.device,
            "dispatch": manifest.dispatch, "versions": manifest.versions, "command": manifest.command,
        });
        let all = json!({
            "figure": self.id.to_string(), "venue": self.venue.to_string(), "command": self.command, "runs": [run],
            "notes": figure.notes(),
        });
        let text = serde_json::to_string_pretty(&all);
        Ok(text.map_err(|source| StoreError::Json { source, path: self.out.to_owned() })? + "\n")
    }
}

fn pixels(size: Point, scale: f64) -> (u32, u32) {
    ((size.0 * scale).round() as u32, (size.1 * scale).round() as u32)
}

/// Averages squares of `by * by` pixels.
fn shrink(large: &[u8], width: usize, height: usize, by: usize) -> Vec<u8> {
    let mut small = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3 {
                let pixel = |i: usize| large[((y * by + i / by) * width * by + x * by + i % by) * 3 + channel];
                let sum: usize = (0..by * by).map(|i| usize::from(pixel(i))).sum();
                small.push(u8::try_from((sum + by * by / 2) / (by * by)).unwrap_or(u8::MAX));
            }
        }
    }
    small
}

fn csv(table: &Table) -> String {
    let quote = |cell: &String| {
        if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
    };
    let line = |cells: &Vec<String>| cells.iter().map(quote).collect::<Vec<_>>().join(",") + "\n";
    line(&table.columns) + &table.rows.iter().map(line).collect::<String>()
}

/// A cell: empty for null.
pub(super) fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}
