//! What a file carries of the fonts: the glyphs that it uses, renumbered.

use super::fonts::{Fonts, Run};
use super::scene::{Item, Scene};
use std::collections::{BTreeMap, BTreeSet};
use subsetter::{GlyphRemapper, subset};

/// The built-in font letter by letter, which every file has; all other use of a font is an [`Other`].
pub(super) struct Embedded {
    pub characters: BTreeSet<char>,
    /// By number of the font.
    pub others: BTreeMap<usize, Other>,
}

/// Glyphs of one font.
pub(super) struct Other {
    glyphs: GlyphRemapper,
    /// What each glyph stands for, by new number.
    pub text: BTreeMap<u16, String>,
    /// Characters that are drawn letter by letter, with new numbers.
    pub letters: BTreeMap<char, u16>,
}

/// Whether a run is in the built-in font, letter by letter.
pub(super) fn usual(run: &Run) -> bool {
    run.font == 0 && !run.shaped
}

impl Embedded {
    /// The number of a font in the file, from 1 on.
    pub(super) fn number(&self, font: usize) -> usize {
        1 + self.others.range(..font).count()
    }

    pub(super) fn of(scene: &Scene) -> Self {
        let mut embedded = Self { characters: BTreeSet::new(), others: BTreeMap::new() };
        let texts = scene.items.iter().filter_map(|i| if let Item::Text { text, .. } = i { Some(text) } else { None });
        for run in texts.flat_map(|text| scene.fonts.lay(text)) {
            if usual(&run) {
                embedded.characters.extend(run.text.chars());
                continue;
            }
            let new = || Other { glyphs: GlyphRemapper::new(), text: BTreeMap::new(), letters: BTreeMap::new() };
            let other = embedded.others.entry(run.font).or_insert_with(new);
            for (i, glyph) in run.glyphs.iter().enumerate() {
                let number = other.glyphs.remap(glyph.id);
                let known = other.text.entry(number).or_default();
                if known.is_empty() {
                    run.characters(i).clone_into(known);
                }
                if !run.shaped {
                    other.letters.extend(run.text[glyph.cluster..].chars().next().map(|c| (c, number)));
                }
            }
        }
        embedded
    }
}

impl Other {
    /// The new number of a glyph.
    pub(super) fn number(&self, glyph: u16) -> u16 {
        self.glyphs.get(glyph).unwrap_or(0)
    }

    /// The glyphs by their new numbers.
    pub(super) fn old(&self) -> impl Iterator<Item = u16> + '_ {
        self.glyphs.remapped_gids()
    }

    /// A font file of these glyphs, and whether its outlines are CFF.
    pub(super) fn bytes(&self, fonts: &Fonts, font: usize) -> Result<(Vec<u8>, bool), String> {
        let (bytes, index) = fonts.bytes(font);
        let failed = |e: subsetter::Error| format!("no subset of {} can be made: {e}", fonts.note(font).name);
        Ok((subset(bytes, index, &self.glyphs).map_err(failed)?, fonts.face(font).tables().glyf.is_none()))
    }
}
