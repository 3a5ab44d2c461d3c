//! The fonts of figures: the built-in one, and those that are named for what it lacks. Measuring, drawing and embedding all
//! ask here which font has a character, and how text is laid out: scripts that are written from right to left or whose
//! letters join are shaped, the rest goes letter by letter.

use super::source::sha256;
use super::{FigureError, Result, font};
use crate::names::unseen;
use harfrust::{Direction, FontRef, ShapeOptions, ShaperData, UnicodeBuffer};
use owned_ttf_parser::{AsFaceRef, Face, GlyphId, OutlineBuilder, OwnedFace, Permissions};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unicode_bidi::BidiInfo;
use unicode_script::{Script, UnicodeScript};

/// What is drawn for a character that no font has.
pub(super) const BOX: char = '\u{25a1}';

/// A font as sidecars name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FontNote {
    /// Its full name.
    pub name: String,
    /// Its file, `FILE#N` for the Nth of a collection; null for the built-in one.
    pub file: Option<PathBuf>,
    /// SHA-256 of the file.
    pub sha256: Option<String>,
}

/// One font.
struct Font {
    note: FontNote,
    /// Which of a collection.
    index: u32,
    /// `None` is the built-in one.
    face: Option<OwnedFace>,
}

/// The fonts that figures are drawn with: the built-in one first, then others for what it lacks, in their order.
#[derive(Debug)]
pub struct Fonts(Vec<Font>);

impl std::fmt::Debug for Font {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.note.fmt(f)
    }
}

impl Default for Fonts {
    fn default() -> Self {
        let note = FontNote { name: font::NAME.to_owned(), file: None, sha256: None };
        Self(vec![Font { note, index: 0, face: None }])
    }
}

/// Outlines are asked for, not drawn.
struct Nothing;

impl OutlineBuilder for Nothing {
    fn move_to(&mut self, _: f32, _: f32) {}
    fn line_to(&mut self, _: f32, _: f32) {}
    fn quad_to(&mut self, _: f32, _: f32, _: f32, _: f32) {}
    fn curve_to(&mut self, _: f32, _: f32, _: f32, _: f32, _: f32, _: f32) {}
    fn close(&mut self) {}
}

impl Font {
    fn open(path: &Path) -> Result<Self> {
        let wrong = |why: &str| FigureError::Font { why: why.to_owned(), path: path.to_owned() };
        let text = path.to_string_lossy();
        // A collection holds several: `FILE#N`, unless a file has such a name.
        let (file, index) = match text.rsplit_once('#').and_then(|(f, n)| Some((PathBuf::from(f), n.parse().ok()?))) {
            Some((file, index)) if !path.is_file() => (file, index),
            _ => (path.to_owned(), 0),
        };
        let bytes = std::fs::read(&file).map_err(|e| wrong(&e.to_string()))?;
        let sum = sha256(&bytes);
        let fonts = owned_ttf_parser::fonts_in_collection(&bytes).unwrap_or(1);
        if index >= fonts {
            return Err(wrong(&format!("it holds {fonts} fonts, numbered from 0")));
        }
        let owned =
            OwnedFace::from_vec(bytes, index).map_err(|e| wrong(&format!("no TrueType or OpenType font: {e}")))?;
        let face = owned.as_face_ref();
        if face.permissions() == Some(Permissions::Restricted) {
            return Err(wrong("its licence bits forbid embedding it"));
        }
        let tables = face.tables();
        if tables.glyf.is_none() && tables.cff.is_none() {
            let bitmaps = face.raw_face().table(owned_ttf_parser::Tag::from_bytes(b"CBDT")).is_some();
            return Err(wrong(match (bitmaps, tables.cff2.is_some()) {
                (true, _) => "its letters are colour pictures, which are not drawn; name a font with outlines",
                (_, true) => "its outlines are CFF2, which cannot be embedded; name a font that is not variable",
                _ => "it has no outlines",
            }));
        }
        if FontRef::from_index(owned.as_slice(), index).is_err() {
            return Err(wrong("its tables are damaged"));
        }
        let name =
            |id: u16| face.names().into_iter().find(|n| n.name_id == id && n.is_unicode()).and_then(|n| n.to_string());
        let note = FontNote {
            name: name(owned_ttf_parser::name_id::FULL_NAME).unwrap_or_else(|| file.display().to_string()),
            file: Some(path.to_owned()),
            sha256: Some(sum),
        };
        Ok(Self { note, index, face: Some(owned) })
    }

    fn face(&self) -> &Face<'_> {
        self.face.as_ref().map_or_else(|| font::face(), |f| f.as_face_ref())
    }

    fn bytes(&self) -> &[u8] {
        self.face.as_ref().map_or(font::BYTES, OwnedFace::as_slice)
    }

    /// The glyph of a character, if it can be drawn: a colour picture cannot.
    fn glyph(&self, c: char) -> Option<GlyphId> {
        let glyph = self.face().glyph_index(c).filter(|g| g.0 != 0)?;
        let drawn = || self.face().outline_glyph(glyph, &mut Nothing).is_some();
        (self.face.is_none() || c.is_whitespace() || drawn()).then_some(glyph)
    }
}

/// A glyph of a run; measures in the font's units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Glyph {
    pub id: u16,
    pub advance: f64,
    /// Moved by this from the pen.
    pub moved: (f64, f64),
    /// Where its characters begin in the run's text.
    pub cluster: usize,
}

/// A piece of text in one font, from left to right as it is seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub font: usize,
    /// In the order in which it is read.
    pub text: String,
    /// Whether glyphs are other than one a character in a row.
    pub shaped: bool,
    pub glyphs: Vec<Glyph>,
}

impl Run {
    /// The characters that a glyph stands for; empty for further glyphs of the same.
    pub(super) fn characters(&self, glyph: usize) -> &str {
        let from = self.glyphs[glyph].cluster;
        let first = self.glyphs.iter().position(|g| g.cluster == from) == Some(glyph);
        let next = self.glyphs.iter().map(|g| g.cluster).filter(|c| *c > from).min().unwrap_or(self.text.len());
        if first { &self.text[from..next] } else { "" }
    }
}

/// Scripts whose letters stand side by side, one glyph each.
fn plain(c: char) -> bool {
    let letter_by_letter = matches!(
        c.script(),
        Script::Common
            | Script::Latin
            | Script::Greek
            | Script::Cyrillic
            | Script::Han
            | Script::Hiragana
            | Script::Katakana
            | Script::Hangul
            | Script::Bopomofo
            | Script::Armenian
            | Script::Georgian
    );
    // Single letters of Korean join into syllables.
    let joins = matches!(c, '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}');
    letter_by_letter && !joins && !unseen(c)
}

/// A letter with what belongs to it, and the font that has it.
struct Cluster {
    at: Range<usize>,
    font: Option<usize>,
    shaped: bool,
    script: Script,
}

impl Fonts {
    /// The built-in font and those of `paths`; of a collection the first, or `FILE#N` for the Nth (from 0).
    ///
    /// # Errors
    /// A file cannot be read, is no font, may not be embedded, or has no outlines that can be.
    pub fn open(paths: &[PathBuf]) -> Result<Arc<Self>> {
        let mut fonts = Self::default();
        for path in paths {
            fonts.0.push(Font::open(path)?);
        }
        Ok(Arc::new(fonts))
    }

    /// Fonts as a sidecar names them, and what of them is not here or is another file now.
    pub(super) fn of_notes(notes: &[FontNote]) -> (Arc<Self>, Vec<String>) {
        let (mut fonts, mut problems) = (Self::default(), Vec::new());
        for note in notes {
            let Some(path) = &note.file else { continue };
            let lost = |why: String| {
                let (name, path) = (&note.name, path.display());
                format!(
                    "the font {name} that the figure was drawn with is left out ({why}); name one with --font FILE: {path}"
                )
            };
            match Font::open(path) {
                Ok(font) if font.note.sha256 == note.sha256 => fonts.0.push(font),
                Ok(_) => problems.push(lost("the file is another one now".to_owned())),
                Err(FigureError::Font { why, .. }) => problems.push(lost(why)),
                Err(error) => problems.push(lost(error.to_string())),
            }
        }
        (Arc::new(fonts), problems)
    }

    /// The built-in font alone.
    pub(super) fn built_in() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(super) fn note(&self, font: usize) -> &FontNote {
        &self.0[font].note
    }

    pub(super) fn face(&self, font: usize) -> &Face<'_> {
        self.0[font].face()
    }

    pub(super) fn bytes(&self, font: usize) -> (&[u8], u32) {
        (self.0[font].bytes(), self.0[font].index)
    }

    /// Units of a font's own measures in an em.
    pub(super) fn units(&self, font: usize) -> f64 {
        f64::from(self.face(font).units_per_em())
    }

    /// Whether a font has a character, or it is one that is not seen.
    pub(super) fn has(&self, c: char) -> bool {
        unseen(c) || c.is_control() || self.0.iter().any(|f| f.glyph(c).is_some())
    }

    /// `text` with spaces for control characters.
    pub(super) fn clean(text: &str) -> String {
        let lines = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        text.chars().map(|c| if lines(c) { ' ' } else { c }).collect()
    }

    /// Letters with their marks and joiners.
    fn clusters(&self, text: &str) -> Vec<Cluster> {
        let mut clusters: Vec<Cluster> = Vec::new();
        for (at, c) in text.char_indices() {
            let range = at..at + c.len_utf8();
            match clusters.last_mut() {
                Some(last) if c.script() == Script::Inherited || unseen(c) => {
                    last.at.end = range.end;
                    last.shaped |= c.script() == Script::Inherited;
                }
                _ => clusters.push(Cluster { at: range, font: None, shaped: !plain(c), script: c.script() }),
            }
        }
        for cluster in &mut clusters {
            let letters = || text[cluster.at.clone()].chars().filter(|c| !unseen(*c));
            let all = |font: &Font| letters().all(|c| font.glyph(c).is_some());
            let first = |font: &Font| letters().next().is_some_and(|c| font.glyph(c).is_some());
            cluster.font = self.0.iter().position(all).or_else(|| self.0.iter().position(first));
        }
        clusters
    }

    /// `text` with [`BOX`] for what no font has, and what that was.
    pub(super) fn boxed(&self, text: &str) -> (String, Vec<char>) {
        if text.chars().all(|c| plain(c) && self.0[0].glyph(c).is_some()) {
            return (text.to_owned(), Vec::new());
        }
        let (mut boxed, mut missing) = (String::new(), Vec::new());
        for cluster in self.clusters(text) {
            let letters = &text[cluster.at.clone()];
            // A mark that the letter's font lacks is left out, a letter that none has is a box.
            let drawn = |c: &char| cluster.font.is_some_and(|f| unseen(*c) || self.0[f].glyph(*c).is_some());
            if cluster.font.is_none() {
                boxed.push(BOX);
            }
            boxed.extend(letters.chars().filter(drawn));
            missing.extend(letters.chars().filter(|c| !unseen(*c) && !drawn(c)));
        }
        (boxed, missing)
    }

    /// Width of `text` in pt at `size` pt.
    pub(super) fn width(&self, text: &str, size: f64) -> f64 {
        let run = |r: Run| r.glyphs.iter().map(|g| g.advance).sum::<f64>() * size / self.units(r.font);
        self.lay(text).into_iter().map(run).sum()
    }

    /// The runs of `text` from left to right.
    pub(super) fn lay(&self, text: &str) -> Vec<Run> {
        if text.chars().all(|c| plain(c) && self.0[0].glyph(c).is_some()) {
            return vec![self.letters(0, text)];
        }
        let (text, _) = self.boxed(text);
        let bidi = BidiInfo::new(&text, None);
        let mut runs = Vec::new();
        for paragraph in &bidi.paragraphs {
            let (levels, ranges) = bidi.visual_runs(paragraph, paragraph.range.clone());
            for range in ranges {
                let backwards = levels[range.start].is_rtl();
                let mut pieces = self.pieces(&text[range], backwards);
                if backwards {
                    pieces.reverse();
                }
                runs.extend(pieces);
            }
        }
        runs
    }

    /// Runs of one font in the order in which they are read.
    fn pieces(&self, text: &str, backwards: bool) -> Vec<Run> {
        let mut pieces: Vec<Cluster> = Vec::new();
        for cluster in self.clusters(text) {
            let font = cluster.font.unwrap_or(0);
            let common = cluster.script == Script::Common;
            let shaped = cluster.shaped || backwards;
            match pieces.last_mut() {
                // Spaces and signs stay with the letters before them.
                Some(last) if last.shaped && common && self.covers(last.font, &text[cluster.at.clone()]) => {
                    last.at.end = cluster.at.end;
                }
                Some(last)
                    if last.font == Some(font)
                        && last.shaped == shaped
                        && (!shaped || [cluster.script, Script::Common].contains(&last.script)) =>
                {
                    (last.at.end, last.script) = (cluster.at.end, cluster.script);
                }
                _ => pieces.push(Cluster { font: Some(font), shaped, ..cluster }),
            }
        }
        let run = |p: Cluster| {
            let (font, text) = (p.font.unwrap_or(0), &text[p.at]);
            if p.shaped { self.shape(font, text, backwards) } else { self.letters(font, text) }
        };
        pieces.into_iter().map(run).collect()
    }

    fn covers(&self, font: Option<usize>, text: &str) -> bool {
        font.is_some_and(|f| text.chars().all(|c| unseen(c) || self.0[f].glyph(c).is_some()))
    }

    /// Letter by letter.
    fn letters(&self, font: usize, text: &str) -> Run {
        let face = self.face(font);
        let text: String = text.chars().filter(|c| !unseen(*c)).collect();
        let glyph = |(cluster, c): (usize, char)| {
            let id = face.glyph_index(c).unwrap_or(GlyphId(0));
            let advance = f64::from(face.glyph_hor_advance(id).unwrap_or(0));
            Glyph { id: id.0, advance, moved: (0.0, 0.0), cluster }
        };
        Run { font, glyphs: text.char_indices().map(glyph).collect(), shaped: false, text }
    }

    /// Letters that join, reorder or go backwards.
    fn shape(&self, font: usize, text: &str, backwards: bool) -> Run {
        let (bytes, index) = self.bytes(font);
        let Ok(tables) = FontRef::from_index(bytes, index) else { return self.letters(font, text) };
        let data = ShaperData::new(&tables);
        let mut buffer = UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.set_direction(if backwards { Direction::RightToLeft } else { Direction::LeftToRight });
        buffer.guess_segment_properties();
        let shaped = data.shaper(&tables).build().shape(buffer, ShapeOptions::new());
        let glyph = |(info, place): (&harfrust::GlyphInfo, &harfrust::GlyphPosition)| Glyph {
            id: info.glyph_id as u16,
            advance: f64::from(place.x_advance),
            moved: (f64::from(place.x_offset), f64::from(place.y_offset)),
            cluster: info.cluster as usize,
        };
        let glyphs = shaped.glyph_infos().iter().zip(shaped.glyph_positions()).map(glyph).collect();
        Run { font, text: text.to_owned(), shaped: true, glyphs }
    }
}
