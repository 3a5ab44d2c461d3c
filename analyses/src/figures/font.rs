//! The font of all figures: measures, outlines, and the subset that files carry.

use owned_ttf_parser::{Face, GlyphId, Tag};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Its name.
pub(super) const NAME: &str = "Liberation Sans";
/// SIL Open Font Licence 1.1; see `assets/LiberationSans-LICENSE.txt`.
pub(super) const BYTES: &[u8] = include_bytes!("../../assets/LiberationSans-Regular.ttf");

/// The built-in font.
pub(super) fn face() -> &'static Face<'static> {
    static FACE: OnceLock<Face<'static>> = OnceLock::new();
    FACE.get_or_init(|| Face::parse(BYTES, 0).expect("the built-in font is a TrueType file"))
}

/// Units of the font's own measures in an em.
pub(super) fn units() -> f64 {
    f64::from(face().units_per_em())
}

/// The glyph of a character.
fn glyph(c: char) -> GlyphId {
    face().glyph_index(c).unwrap_or(GlyphId(0))
}

/// Width of a glyph in the font's units.
fn advance(glyph: GlyphId) -> f64 {
    f64::from(face().glyph_hor_advance(glyph).unwrap_or(0))
}

/// The glyphs that a drawing uses, renumbered: a TrueType font of its own.
pub(super) struct Subset {
    /// New number of each character's glyph.
    pub glyphs: BTreeMap<char, u16>,
    /// Widths by new number, in the font's units.
    pub widths: Vec<f64>,
    /// The font file.
    pub bytes: Vec<u8>,
}

impl Subset {
    /// The subset for `characters`.
    pub(super) fn of(characters: &BTreeSet<char>) -> Self {
        let font = Tables::read(BYTES);
        let mut old: Vec<u16> = vec![0];
        let mut number: BTreeMap<u16, u16> = BTreeMap::from([(0, 0)]);
        let mut take = |id: u16, old: &mut Vec<u16>| {
            *number.entry(id).or_insert_with(|| {
                old.push(id);
                (old.len() - 1) as u16
            })
        };
        let glyphs: BTreeMap<char, u16> = characters.iter().map(|c| (*c, take(glyph(*c).0, &mut old))).collect();
        // Parts of composite glyphs come along; those are appended and looked at in turn.
        let mut outlines = Vec::new();
        let mut at = 0;
        while at < old.len() {
            outlines.push(font.outline(old[at], |part| take(part, &mut old)));
            at += 1;
        }
        let widths = old.iter().map(|g| advance(GlyphId(*g))).collect();
        let bytes = font.write(&old, &outlines, &glyphs);
        Self { glyphs, widths, bytes }
    }
}

/// A font file as browsers want it of one that was made for PDF: with a map of characters, a name, and measures.
pub(super) fn for_browsers(pdf: &[u8], original: &Face<'_>, letters: &BTreeMap<char, u16>) -> Vec<u8> {
    let measures = original.raw_face().table(Tag::from_bytes(b"OS/2"));
    let measures = measures.unwrap_or_else(|| Tables::read(BYTES).table(*b"OS/2")).to_vec();
    let mut tables: BTreeMap<[u8; 4], Vec<u8>> =
        Tables::read(pdf).0.into_iter().map(|(name, table)| (name, table.to_vec())).collect();
    let mut post = vec![0; 32];
    post[..4].copy_from_slice(&[0, 3, 0, 0]);
    tables.extend([(*b"OS/2", measures), (*b"cmap", cmap(letters)), (*b"name", name()), (*b"post", post)]);
    if let Some(sum) = tables.get_mut(b"head").and_then(|head| head.get_mut(8..12)) {
        sum.fill(0);
    }
    assemble(&tables.into_iter().collect::<Vec<_>>())
}

/// The table of CFF outlines of a font file.
pub(super) fn cff(file: &[u8]) -> &[u8] {
    Tables::read(file).table(*b"CFF ")
}

/// The font's tables by name.
struct Tables<'a>(BTreeMap<[u8; 4], &'a [u8]>);

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

impl<'a> Tables<'a> {
    fn read(font: &'a [u8]) -> Self {
        let entry = |i: usize| {
            let at = 12 + 16 * i;
            let name = [font[at], font[at + 1], font[at + 2], font[at + 3]];
            let from = u32_at(font, at + 8) as usize;
            (name, &font[from..from + u32_at(font, at + 12) as usize])
        };
        Self((0..usize::from(u16_at(font, 4))).map(entry).collect())
    }

    fn table(&self, name: [u8; 4]) -> &'a [u8] {
        self.0.get(&name).copied().unwrap_or_default()
    }

    /// The outline of glyph `id` without its instructions, parts renumbered by `renumber`.
    fn outline(&self, id: u16, mut renumber: impl FnMut(u16) -> u16) -> Vec<u8> {
        let (loca, id) = (self.table(*b"loca"), usize::from(id));
        let long = u16_at(self.table(*b"head"), 50) == 1;
        let place = |i: usize| {
            if long { u32_at(loca, 4 * i) as usize } else { 2 * usize::from(u16_at(loca, 2 * i)) }
        };
        let old = &self.table(*b"glyf")[place(id)..place(id + 1)];
        if old.is_empty() {
            return Vec::new();
        }
        let mut new = old.to_vec();
        let contours = u16_at(old, 0) as i16;
        if contours >= 0 {
            let at = 10 + 2 * contours as usize;
            let instructions = usize::from(u16_at(old, at));
            new.drain(at + 2..at + 2 + instructions);
            new[at..at + 2].fill(0);
        } else {
            let mut at = 10;
            loop {
                let flags = u16_at(old, at);
                // Bit 8: instructions follow, which are dropped.
                new[at..at + 2].copy_from_slice(&(flags & !0x100).to_be_bytes());
                new[at + 2..at + 4].copy_from_slice(&renumber(u16_at(old, at + 2)).to_be_bytes());
                at += 4 + if flags & 1 != 0 { 4 } else { 2 };
                at += if flags & 8 != 0 { 2 } else { 0 };
                at += if flags & 0x40 != 0 { 4 } else { 0 };
                at += if flags & 0x80 != 0 { 8 } else { 0 };
                if flags & 0x20 == 0 {
                    break;
                }
            }
            new.truncate(at);
        }
        new.resize(new.len().next_multiple_of(4), 0);
        new
    }

    fn write(&self, old: &[u16], outlines: &[Vec<u8>], glyphs: &BTreeMap<char, u16>) -> Vec<u8> {
        let count = (old.len() as u16).to_be_bytes();
        let mut loca = vec![0; 4];
        let mut end = 0;
        for outline in outlines {
            end += outline.len() as u32;
            loca.extend(end.to_be_bytes());
        }
        let metrics = usize::from(u16_at(self.table(*b"hhea"), 34));
        let hmtx = self.table(*b"hmtx");
        let bearing = |g: usize| if g < metrics { 4 * g + 2 } else { 4 * metrics + 2 * (g - metrics) };
        let long = |g: &u16| {
            let width = face().glyph_hor_advance(GlyphId(*g)).unwrap_or(0).to_be_bytes();
            let left = u16_at(hmtx, bearing(usize::from(*g))).to_be_bytes();
            [width[0], width[1], left[0], left[1]]
        };
        let changed = |name: &[u8; 4], at: usize, to: &[u8]| {
            let mut table = self.table(*name).to_vec();
            table[at..at + to.len()].copy_from_slice(to);
            table
        };
        let mut head = changed(b"head", 50, &[0, 1]);
        head[8..12].fill(0);
        let mut post = vec![0; 32];
        post[..4].copy_from_slice(&[0, 3, 0, 0]);
        post[8..12].copy_from_slice(&self.table(*b"post")[8..12]);
        let tables: Vec<([u8; 4], Vec<u8>)> = vec![
            (*b"OS/2", self.table(*b"OS/2").to_vec()),
            (*b"cmap", cmap(glyphs)),
            (*b"glyf", outlines.concat()),
            (*b"head", head),
            (*b"hhea", changed(b"hhea", 34, &count)),
            (*b"hmtx", old.iter().flat_map(long).collect()),
            (*b"loca", loca),
            (*b"maxp", changed(b"maxp", 4, &count)),
            (*b"name", name()),
            (*b"post", post),
        ];
        assemble(&tables)
    }
}

/// A `cmap` of format 12: one group a character, which every browser reads, beside a format 4 that some want.
fn cmap(glyphs: &BTreeMap<char, u16>) -> Vec<u8> {
    let basic: Vec<(u16, u16)> =
        glyphs.iter().filter_map(|(c, g)| Some((u16::try_from(u32::from(*c)).ok()?, *g))).collect();
    let segments = basic.len() as u16 + 1;
    let power = 15 - segments.leading_zeros() as u16;
    let mut four: Vec<u16> =
        vec![4, 16 + 8 * segments, 0, 2 * segments, 2 << power, power, 2 * segments - (2 << power)];
    four.extend(basic.iter().map(|b| b.0).chain([0xffff, 0]));
    four.extend(basic.iter().map(|b| b.0).chain([0xffff]));
    four.extend(basic.iter().map(|(c, g)| g.wrapping_sub(*c)).chain([1]));
    four.extend(std::iter::repeat_n(0, usize::from(segments)));
    let four: Vec<u8> = four.iter().flat_map(|v| v.to_be_bytes()).collect();
    let mut twelve: Vec<u8> = vec![0, 12, 0, 0];
    for value in [16 + 12 * glyphs.len() as u32, 0, glyphs.len() as u32] {
        twelve.extend(value.to_be_bytes());
    }
    for (c, g) in glyphs {
        for value in [u32::from(*c), u32::from(*c), u32::from(*g)] {
            twelve.extend(value.to_be_bytes());
        }
    }
    let mut table: Vec<u8> = vec![0, 0, 0, 2];
    for (encoding, offset) in [(1_u16, 20), (10, 20 + four.len() as u32)] {
        table.extend(3_u16.to_be_bytes());
        table.extend(encoding.to_be_bytes());
        table.extend(u32::to_be_bytes(offset));
    }
    [table, four, twelve].concat()
}

/// A `name` table: family, style, full and PostScript name. A changed font may not carry its reserved name.
fn name() -> Vec<u8> {
    let entries = [(1_u16, "Figure Sans"), (2, "Regular"), (4, "Figure Sans Regular"), (6, "FigureSans-Regular")];
    let (mut records, mut strings) = (Vec::new(), Vec::new());
    for (id, text) in entries {
        let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for value in [3, 1, 0x409, id, text.len() as u16, strings.len() as u16] {
            records.extend(u16::to_be_bytes(value));
        }
        strings.extend(text);
    }
    let head: Vec<u8> = [0, 4, 6 + records.len() as u16].iter().flat_map(|v| v.to_be_bytes()).collect();
    [head, records, strings].concat()
}

fn checksum(bytes: &[u8]) -> u32 {
    let word = |c: &[u8]| (0..4).fold(0_u32, |sum, i| sum << 8 | u32::from(c.get(i).copied().unwrap_or(0)));
    bytes.chunks(4).fold(0_u32, |sum, c| sum.wrapping_add(word(c)))
}

/// The font file of `tables`, in order of their names.
fn assemble(tables: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let count = tables.len() as u16;
    let power = 15 - count.leading_zeros() as u16;
    let cff = tables.iter().any(|t| t.0 == *b"CFF ");
    let mut file: Vec<u8> = if cff { b"OTTO".to_vec() } else { vec![0, 1, 0, 0] };
    for value in [count, 16 << power, power, 16 * count - (16 << power)] {
        file.extend(value.to_be_bytes());
    }
    let mut at = 12 + 16 * tables.len();
    let mut head = 0;
    for (name, table) in tables {
        if name == b"head" {
            head = at;
        }
        file.extend(name);
        for value in [checksum(table), at as u32, table.len() as u32] {
            file.extend(value.to_be_bytes());
        }
        at += table.len().next_multiple_of(4);
    }
    for (_, table) in tables {
        file.extend(table);
        file.resize(file.len().next_multiple_of(4), 0);
    }
    let adjustment = 0xB1B0_AFBA_u32.wrapping_sub(checksum(&file));
    file[head + 8..head + 12].copy_from_slice(&adjustment.to_be_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_a_font_with_the_same_shapes() {
        struct Points(Vec<(char, f32, f32)>);
        impl owned_ttf_parser::OutlineBuilder for Points {
            fn move_to(&mut self, x: f32, y: f32) {
                self.0.push(('m', x, y));
            }
            fn line_to(&mut self, x: f32, y: f32) {
                self.0.push(('l', x, y));
            }
            fn quad_to(&mut self, _: f32, _: f32, x: f32, y: f32) {
                self.0.push(('q', x, y));
            }
            fn curve_to(&mut self, _: f32, _: f32, _: f32, _: f32, x: f32, y: f32) {
                self.0.push(('c', x, y));
            }
            fn close(&mut self) {}
        }
        let outline = |face: &Face<'_>, c: char| {
            let mut points = Points(Vec::new());
            face.outline_glyph(face.glyph_index(c).unwrap(), &mut points);
            points.0
        };
        // An umlaut is a composite glyph.
        let characters: BTreeSet<char> = "Loss 0.25 \u{2212}\u{b1}\u{d6}\u{e9}\u{3bc}".chars().collect();
        let subset = Subset::of(&characters);
        assert!(subset.bytes.len() < 8000, "{}", subset.bytes.len());
        assert_eq!(checksum(&subset.bytes), 0xB1B0_AFBA);
        let small = Face::parse(&subset.bytes, 0).unwrap();
        for c in &characters {
            assert_eq!(outline(&small, *c), outline(face(), *c), "{c}");
            assert_eq!(small.glyph_index(*c).unwrap().0, subset.glyphs[c]);
            let width = small.glyph_hor_advance(small.glyph_index(*c).unwrap()).unwrap();
            assert_eq!(f64::from(width), advance(glyph(*c)), "{c}");
        }
        assert_eq!(small.glyph_index('Z'), None);
    }
}
