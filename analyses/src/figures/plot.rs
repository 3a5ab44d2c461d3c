//! A figure with its numbers and its provenance: drawn into bytes, saved with sidecars, made again from a sidecar.

use super::embed::Embedded;
use super::page::{LeftOut, Page};
use super::raster::{DPI, png, render};
use super::scene::Scene;
use super::sidecar::{self, Sidecar};
use super::source::{Inputs, Source};
use super::{Drawn, FigureError, FigureId, FontNote, Fonts, Format, Options, Read, Result, Venue, pdf, svg};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A figure, ready to be drawn.
#[derive(Debug)]
pub struct Plot {
    id: FigureId,
    /// Name of its files, without ending.
    name: String,
    figure: Box<dyn Drawn>,
    data: Value,
    provenance: Value,
    options: Options,
    fonts: Arc<Fonts>,
    /// What of its sidecar is not here.
    problems: Vec<String>,
}

impl Plot {
    /// Reads what `id` needs from `inputs`: one plot of all runs together, or one plot a run that logged it.
    ///
    /// # Errors
    /// No run has what the figure needs (the message says which option logs it), or one cannot be read; an option that the
    /// figure does not take (see [`Options::of_figure`]).
    pub fn load(id: FigureId, inputs: &Inputs, options: &Options) -> Result<Vec<Self>> {
        options.check(id)?;
        if id.overlays() {
            let all: Vec<&Source> = inputs.runs.iter().collect();
            let figure = id.load(&Read::Together(inputs), options)?;
            return Ok(vec![Self::new(id, id.to_string(), figure.as_ref(), inputs.provenance(&all)?, options)?]);
        }
        let mut plots = Vec::new();
        let mut lacking = None;
        for source in &inputs.runs {
            match id.load(&Read::Each(source), options) {
                Ok(figure) => plots.push((source, figure)),
                Err(error @ FigureError::Lacks { .. }) => lacking = lacking.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        if plots.is_empty() {
            return Err(lacking.unwrap_or_else(|| inputs.nothing(id)));
        }
        inputs.note_absent(id, plots.iter().map(|(source, _)| &source.label));
        let alone = plots.len() == 1;
        let named = |label: &str| if alone { id.to_string() } else { format!("{id}--{}", file_name(label)) };
        let plot = |(source, figure): (&Source, Box<dyn Drawn>)| {
            let provenance = inputs.provenance(&[source])?;
            Self::new(id, named(&source.label), figure.as_ref(), provenance, options)
        };
        plots.into_iter().map(plot).collect()
    }

    /// The figure that a sidecar (`<id>.json`) describes, and the command that it names.
    ///
    /// # Errors
    /// The file cannot be read or is no sidecar of a known figure.
    pub fn from_sidecar(path: &Path) -> Result<(Self, Sidecar)> {
        let sidecar = Sidecar::read(path)?;
        let id: FigureId = sidecar.figure.parse()?;
        let wrong = |e: serde_json::Error| FigureError::Sidecar { why: e.to_string(), path: path.to_owned() };
        let mut data = sidecar.data.clone();
        sidecar::canonical(&mut data);
        let figure = id.parse(data.clone()).map_err(wrong)?;
        let (name, provenance, options) = (sidecar.name.clone(), sidecar.provenance.clone(), sidecar.options.clone());
        let (fonts, problems) = Fonts::of_notes(&sidecar.fonts);
        Ok((Self { id, name, figure, data, provenance, options, fonts, problems }, sidecar))
    }

    fn new(id: FigureId, name: String, figure: &dyn Drawn, provenance: Value, options: &Options) -> Result<Self> {
        let failed = |e: serde_json::Error| FigureError::Draw { figure: id.to_string(), why: e.to_string() };
        let mut data = figure.data().map_err(failed)?;
        // Drawn from the very numbers that the sidecar holds, so that it gives the same figure again.
        sidecar::canonical(&mut data);
        let figure = id.parse(data.clone()).map_err(failed)?;
        let (options, fonts) = (options.clone(), Fonts::built_in());
        Ok(Self { id, name, figure, data, provenance, options, fonts, problems: Vec::new() })
    }

    /// Drawn with other fonts than the built-in one and those of its sidecar.
    #[must_use]
    pub fn with_fonts(self, fonts: Arc<Fonts>) -> Self {
        Self { fonts, problems: Vec::new(), ..self }
    }

    /// What a reader of the figure at `venue` would be misled by: fonts that are not here, characters that none has.
    #[must_use]
    pub fn warnings(&self, venue: Venue) -> Vec<String> {
        let missing = self.scene(venue).missing;
        let lacking = (!missing.characters.is_empty()).then(|| {
            let some: Vec<String> = missing.characters.iter().take(3).map(char::to_string).collect();
            let more = missing.characters.len() - some.len();
            let more = if more > 0 { format!(" ({more} more)") } else { String::new() };
            let labels = match missing.labels.len() {
                1 => "a label".to_owned(),
                n => format!("{n} labels"),
            };
            let some = some.join(" ");
            format!(
                "no font of the figure {} has a glyph for {some}{more} in {labels}; name one that has: --font FILE",
                self.name
            )
        });
        self.problems.iter().cloned().chain(lacking).chain(self.fewer_than_most(venue)).collect()
    }

    /// That there are fewer looks or less room than `--most` asks for.
    fn fewer_than_most(&self, venue: Venue) -> Vec<String> {
        let Some(asked) = self.options.most else { return Vec::new() };
        let out = self.figure.not_shown(&self.page(venue)).into_iter().filter(|out| out.shown < asked.min(out.of));
        let why = "no more are told apart or fit on the page";
        out.map(|o| format!("{}: --most {asked}, but {} of {} {}: {why}", self.name, o.shown, o.of, o.what)).collect()
    }

    /// Which figure it is.
    #[must_use]
    pub fn id(&self) -> FigureId {
        self.id
    }

    /// Name of its files, without ending.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is not in the figure though it was logged, and why, one line each; the sidecar says it too.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        self.figure.left_out()
    }

    /// The same figure in files of another name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Width and height in points (1/72 in) at `venue`.
    #[must_use]
    pub fn size(&self, venue: Venue) -> (f64, f64) {
        self.scene(venue).size
    }

    fn page(&self, venue: Venue) -> Page {
        Page { venue, most: self.options.most, fonts: Arc::clone(&self.fonts) }
    }

    pub(super) fn scene(&self, venue: Venue) -> Scene {
        let page = self.page(venue);
        let mut canvas = page.canvas(self.figure.size(&page));
        self.figure.draw(&mut canvas);
        let not_shown = self.figure.not_shown(&page);
        let words: Vec<String> = not_shown.iter().filter_map(LeftOut::line).collect();
        canvas.below(&words.join("; "));
        canvas.finish()
    }

    /// The figure as a file's bytes; the same figure gives the same bytes.
    ///
    /// # Errors
    /// An encoder failed.
    pub fn draw(&self, venue: Venue, format: Format) -> Result<Vec<u8>> {
        encode(&self.scene(venue), &self.name, format)
            .map_err(|why| FigureError::Draw { figure: self.id.to_string(), why })
    }

    /// The plotted numbers as CSV.
    #[must_use]
    pub fn csv(&self) -> String {
        sidecar::csv(&self.figure.table())
    }

    /// The JSON that the figure can be drawn again from.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn json(&self, venue: Venue, command: &[String]) -> Result<String> {
        let notes = self.notes(venue)?;
        let sidecar = Sidecar {
            figure: self.id.to_string(),
            name: self.name.clone(),
            venue: venue.to_string(),
            command: command.to_vec(),
            program: concat!("covft-probe ", env!("CARGO_PKG_VERSION")).to_owned(),
            options: self.options.clone(),
            fonts: self.used(venue),
            provenance: self.provenance.clone(),
            notes,
            csv_sha256: super::source::sha256(self.csv().as_bytes()),
            data: self.data.clone(),
        };
        sidecar.text(&self.name)
    }

    /// The fonts that the figure is drawn with.
    fn used(&self, venue: Venue) -> Vec<FontNote> {
        let mut used: BTreeSet<usize> = Embedded::of(&self.scene(venue)).others.into_keys().collect();
        used.insert(0);
        used.into_iter().map(|font| self.fonts.note(font).clone()).collect()
    }

    /// What a caption should say, and the names of what does not come in one by one.
    fn notes(&self, venue: Venue) -> Result<Value> {
        let mut notes = self.figure.notes();
        let failed = |e: serde_json::Error| FigureError::Draw { figure: self.id.to_string(), why: e.to_string() };
        let not_shown = self.figure.not_shown(&self.page(venue));
        if let Value::Object(fields) = &mut notes {
            fields.insert("left_out".to_owned(), self.left_out().into());
            if !not_shown.is_empty() {
                fields.insert("not_shown".to_owned(), serde_json::to_value(not_shown).map_err(failed)?);
            }
        }
        Ok(notes)
    }

    /// The files that [`Plot::save`] writes.
    #[must_use]
    pub fn files(&self, formats: &[Format], out: &Path) -> Vec<PathBuf> {
        let endings = formats.iter().map(|f| f.extension()).chain(["csv", "json"]);
        endings.map(|ending| sidecar::place(out, &self.name, ending)).collect()
    }

    /// Writes the figure and its sidecars into the folder `out` and names the files.
    ///
    /// # Errors
    /// An encoder failed, or a file cannot be written.
    pub fn save(&self, venue: Venue, formats: &[Format], out: &Path, command: &[String]) -> Result<Vec<PathBuf>> {
        let scene = self.scene(venue);
        let mut files = Vec::new();
        for format in formats {
            let failed = |why| FigureError::Draw { figure: self.id.to_string(), why };
            files.push((format.extension(), encode(&scene, &self.name, *format).map_err(failed)?));
        }
        files.push(("csv", self.csv().into_bytes()));
        files.push(("json", self.json(venue, command)?.into_bytes()));
        sidecar::write(out, &self.name, files)
    }
}

pub(super) fn encode(scene: &Scene, title: &str, format: Format) -> std::result::Result<Vec<u8>, String> {
    match format {
        Format::Svg => svg::svg(scene, title),
        Format::Pdf => pdf::pdf(scene, title),
        Format::Png => png(&render(scene, DPI), Some(DPI)),
    }
}

/// A label that may stand in a file name.
fn file_name(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}
