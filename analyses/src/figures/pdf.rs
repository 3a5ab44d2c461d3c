//! PDF: one page, text as text in a subset of the font as TrueType (never Type 3), no dates, so that bytes repeat.

use super::embed::{Embedded, Other, usual};
use super::font::{self, NAME, Subset};
use super::fonts::{Fonts, Run};
use super::scene::{Item, Pixels, Point, Rgb, Scene};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use owned_ttf_parser::GlyphId;
use pdf_writer::types::{CidFontType, FontFlags, LineJoinStyle, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const PAGE: Ref = Ref::new(3);
const CONTENT: Ref = Ref::new(4);
const FONT: Ref = Ref::new(5);
const CID_FONT: Ref = Ref::new(6);
const DESCRIPTOR: Ref = Ref::new(7);
const FONT_FILE: Ref = Ref::new(8);
const TO_UNICODE: Ref = Ref::new(9);
const INFO: Ref = Ref::new(10);
const FIRST_IMAGE: i32 = 11;
const IDENTITY: SystemInfo<'static> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };

fn deflate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|e| e.to_string())
}

/// The drawing as a PDF of its printed size.
pub(super) fn pdf(scene: &Scene, title: &str) -> Result<Vec<u8>, String> {
    let embedded = Embedded::of(scene);
    let subset = Subset::of(&embedded.characters);
    let images = images(scene);
    let first = image_ref(images.len()).0.get();
    let mut pdf = Pdf::new();
    pdf.catalog(CATALOG).pages(PAGES);
    pdf.pages(PAGES).kids([PAGE]).count(1);
    let mut page = pdf.page(PAGE);
    page.parent(PAGES).media_box(Rect::new(0.0, 0.0, scene.size.0 as f32, scene.size.1 as f32)).contents(CONTENT);
    let mut resources = page.resources();
    let mut fonts = resources.fonts();
    fonts.pair(Name(b"F"), FONT);
    for (i, font) in embedded.others.keys().enumerate() {
        fonts.pair(Name(font_name(embedded.number(*font)).as_bytes()), font_refs(first, i)[0]);
    }
    fonts.finish();
    let mut objects = resources.x_objects();
    for i in 0..images.len() {
        objects.pair(Name(image_name(i).as_bytes()), image_ref(i).0);
    }
    objects.finish();
    resources.finish();
    page.finish();
    let content = deflate(&content(scene, &subset, &embedded))?;
    pdf.stream(CONTENT, &content).filter(Filter::FlateDecode);
    for (i, image) in images.iter().enumerate() {
        write_image(&mut pdf, i, image)?;
    }
    write_font(&mut pdf, &subset)?;
    for (i, (font, other)) in embedded.others.iter().enumerate() {
        write_other(&mut pdf, &scene.fonts, (*font, other), font_refs(first, i))?;
    }
    pdf.document_info(INFO).title(TextStr(title)).producer(TextStr("covft-probe"));
    Ok(pdf.finish())
}

fn image_name(i: usize) -> String {
    format!("I{i}")
}

/// Of the picture, and of its transparency.
fn image_ref(i: usize) -> (Ref, Ref) {
    let first = FIRST_IMAGE + 2 * i32::try_from(i).unwrap_or(i32::MAX / 4);
    (Ref::new(first), Ref::new(first + 1))
}

fn images(scene: &Scene) -> Vec<(Arc<Pixels>, bool)> {
    let image = |item: &Item| match item {
        Item::Image { pixels, smooth, .. } => Some((Arc::clone(pixels), *smooth)),
        _ => None,
    };
    scene.items.iter().filter_map(image).collect()
}

fn write_image(pdf: &mut Pdf, i: usize, (pixels, smooth): &(Arc<Pixels>, bool)) -> Result<(), String> {
    let (color, mask) = image_ref(i);
    let size = (pixels.width as i32, pixels.height as i32);
    let rgb: Vec<u8> = pixels.rgba.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    let rgb = deflate(&rgb)?;
    let mut image = pdf.image_xobject(color, &rgb);
    image.filter(Filter::FlateDecode);
    image.width(size.0).height(size.1).bits_per_component(8).interpolate(*smooth);
    image.color_space().device_rgb();
    if !pixels.opaque() {
        image.s_mask(mask);
        image.finish();
        let alpha: Vec<u8> = pixels.rgba.chunks_exact(4).map(|p| p[3]).collect();
        let alpha = deflate(&alpha)?;
        let mut image = pdf.image_xobject(mask, &alpha);
        image.filter(Filter::FlateDecode);
        image.width(size.0).height(size.1).bits_per_component(8);
        image.color_space().device_gray();
    }
    Ok(())
}

/// Six letters that depend on the subset alone, as the format wants before a subset's name.
fn tag(subset: &Subset) -> String {
    letters(subset.glyphs.keys().map(|c| u32::from(*c)))
}

fn letters(of: impl Iterator<Item = u32>) -> String {
    let seed = of.fold(0xcbf2_9ce4_8422_2325_u64, |hash, n| (hash ^ u64::from(n)).wrapping_mul(0x0100_0000_01b3));
    (0..6).map(|i| char::from(b'A' + (seed >> (8 * i)) as u8 % 26)).collect()
}

/// Name of a font in the page's resources.
fn font_name(font: usize) -> String {
    format!("F{font}")
}

/// Of a font, its descendant, descriptor, file and map to characters.
fn font_refs(first: i32, i: usize) -> [Ref; 5] {
    let from = first + 5 * i32::try_from(i).unwrap_or(i32::MAX / 8);
    [0, 1, 2, 3, 4].map(|k| Ref::new(from + k))
}

/// A font beside the built-in one: TrueType or CFF.
fn write_other(pdf: &mut Pdf, fonts: &Fonts, (font, other): (usize, &Other), refs: [Ref; 5]) -> Result<(), String> {
    let (bytes, cff) = other.bytes(fonts, font)?;
    let face = fonts.face(font);
    let plain: String = fonts.note(font).name.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("{}+{plain}", letters(other.old().map(u32::from)));
    let name = Name(name.as_bytes());
    let milli = |units: f64| (units * 1000.0 / fonts.units(font)) as f32;
    pdf.type0_font(refs[0])
        .base_font(name)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(refs[1])
        .to_unicode(refs[4]);
    let mut cid = pdf.cid_font(refs[1]);
    cid.subtype(if cff { CidFontType::Type0 } else { CidFontType::Type2 });
    cid.base_font(name).system_info(IDENTITY).font_descriptor(refs[2]).default_width(0.0);
    if !cff {
        cid.cid_to_gid_map_predefined(Name(b"Identity"));
    }
    let width = |glyph: u16| f64::from(face.glyph_hor_advance(GlyphId(glyph)).unwrap_or(0));
    cid.widths().consecutive(0, other.old().map(|glyph| milli(width(glyph))));
    cid.finish();
    let bounds = face.global_bounding_box();
    let measure = |v: i16| milli(f64::from(v));
    let mut descriptor = pdf.font_descriptor(refs[2]);
    descriptor
        .name(name)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(measure(bounds.x_min), measure(bounds.y_min), measure(bounds.x_max), measure(bounds.y_max)))
        .italic_angle(0.0)
        .ascent(measure(face.ascender()))
        .descent(measure(face.descender()))
        .cap_height(measure(face.capital_height().unwrap_or(face.ascender())))
        .stem_v(80.0);
    if cff {
        descriptor.font_file3(refs[3])
    } else {
        descriptor.font_file2(refs[3])
    };
    descriptor.finish();
    let bytes = if cff { font::cff(&bytes) } else { &bytes[..] };
    let file = deflate(bytes)?;
    let mut stream = pdf.stream(refs[3], &file);
    stream.filter(Filter::FlateDecode);
    if cff {
        stream.pair(Name(b"Subtype"), Name(b"CIDFontType0C"));
    } else {
        stream.pair(Name(b"Length1"), bytes.len() as i32);
    }
    stream.finish();
    let mut unicode = UnicodeCmap::new(Name(b"Custom"), IDENTITY);
    for (glyph, text) in other.text.iter().filter(|(_, text)| !text.is_empty()) {
        unicode.pair_with_multiple(*glyph, text.chars());
    }
    let unicode = deflate(&unicode.finish())?;
    pdf.cmap(refs[4], &unicode).filter(Filter::FlateDecode);
    Ok(())
}

fn write_font(pdf: &mut Pdf, subset: &Subset) -> Result<(), String> {
    let name = format!("{}+{}", tag(subset), NAME.replace(' ', ""));
    let name = Name(name.as_bytes());
    let face = font::face();
    // PDF measures fonts in thousandths of an em.
    let milli = |units: f64| (units * 1000.0 / font::units()) as f32;
    pdf.type0_font(FONT)
        .base_font(name)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(CID_FONT)
        .to_unicode(TO_UNICODE);
    let mut cid = pdf.cid_font(CID_FONT);
    cid.subtype(CidFontType::Type2).base_font(name).system_info(IDENTITY).font_descriptor(DESCRIPTOR);
    cid.default_width(0.0).cid_to_gid_map_predefined(Name(b"Identity"));
    cid.widths().consecutive(0, subset.widths.iter().map(|w| milli(*w)));
    cid.finish();
    let bounds = face.global_bounding_box();
    let measure = |v: i16| milli(f64::from(v));
    pdf.font_descriptor(DESCRIPTOR)
        .name(name)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(measure(bounds.x_min), measure(bounds.y_min), measure(bounds.x_max), measure(bounds.y_max)))
        .italic_angle(0.0)
        .ascent(measure(face.ascender()))
        .descent(measure(face.descender()))
        .cap_height(measure(face.capital_height().unwrap_or(1409)))
        .stem_v(80.0)
        .font_file2(FONT_FILE);
    let file = deflate(&subset.bytes)?;
    let length = subset.bytes.len() as i32;
    pdf.stream(FONT_FILE, &file).filter(Filter::FlateDecode).pair(Name(b"Length1"), length);
    let mut unicode = UnicodeCmap::new(Name(b"Custom"), IDENTITY);
    for (c, glyph) in &subset.glyphs {
        unicode.pair(*glyph, *c);
    }
    let unicode = deflate(&unicode.finish())?;
    pdf.cmap(TO_UNICODE, &unicode).filter(Filter::FlateDecode);
    Ok(())
}

/// Writes shapes; the page's y grows upwards, the drawing's downwards.
struct Painter<'a> {
    content: Content,
    height: f64,
    subset: &'a BTreeMap<char, u16>,
    fonts: &'a Fonts,
    embedded: &'a Embedded,
    image: usize,
}

/// To a thousandth of a point, as the SVG.
fn short(value: f64) -> f32 {
    ((value * 1000.0).round() / 1000.0) as f32
}

fn content(scene: &Scene, subset: &Subset, embedded: &Embedded) -> Vec<u8> {
    let mut painter = Painter {
        content: Content::new(),
        height: scene.size.1,
        subset: &subset.glyphs,
        fonts: &scene.fonts,
        embedded,
        image: 0,
    };
    painter.content.set_line_join(LineJoinStyle::RoundJoin);
    for item in &scene.items {
        painter.item(item);
    }
    painter.content.finish().into_vec()
}

impl Painter<'_> {
    fn at(&self, p: Point) -> (f32, f32) {
        (short(p.0), short(self.height - p.1))
    }

    fn fill(&mut self, color: Rgb) {
        let [r, g, b] = [color.0, color.1, color.2].map(|v| short(f64::from(v) / 255.0));
        self.content.set_fill_rgb(r, g, b);
    }

    fn path(&mut self, points: &[Point]) {
        for (i, p) in points.iter().enumerate() {
            let (x, y) = self.at(*p);
            if i == 0 {
                self.content.move_to(x, y)
            } else {
                self.content.line_to(x, y)
            };
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Line { points, color, width, dash } => {
                let [r, g, b] = [color.0, color.1, color.2].map(|v| short(f64::from(v) / 255.0));
                self.content.set_stroke_rgb(r, g, b).set_line_width(short(*width));
                self.content.set_dash_pattern(dash.iter().map(|d| short(*d)), 0.0);
                self.path(points);
                self.content.stroke();
            }
            Item::Polygon { points, color } => {
                self.fill(*color);
                self.path(points);
                self.content.close_path().fill_nonzero();
            }
            Item::Rect { from, to, color } => {
                self.fill(*color);
                let (left, bottom) = self.at((from.0.min(to.0), from.1.max(to.1)));
                self.content.rect(left, bottom, short((to.0 - from.0).abs()), short((to.1 - from.1).abs()));
                self.content.fill_nonzero();
            }
            Item::Disc { at, radius, color } => self.disc(*at, *radius, *color),
            Item::Text { text, at, size, color, up } => {
                self.fill(*color);
                let mut at = *at;
                for run in self.fonts.lay(text) {
                    self.run(&run, at, *size, *up);
                    let width = run.glyphs.iter().map(|g| g.advance).sum::<f64>() * size / self.fonts.units(run.font);
                    at = if *up { (at.0, at.1 - width) } else { (at.0 + width, at.1) };
                }
            }
            Item::Image { from, to, .. } => {
                let (left, bottom) = self.at((from.0, to.1));
                let place = [short(to.0 - from.0), 0.0, 0.0, short(to.1 - from.1), left, bottom];
                let name = image_name(self.image);
                self.image += 1;
                self.content.save_state().transform(place).x_object(Name(name.as_bytes())).restore_state();
            }
        }
    }

    /// A run of text from `at` on.
    fn run(&mut self, run: &Run, at: Point, size: f64, up: bool) {
        let turn = |(x, y): (f32, f32)| if up { [0.0, 1.0, -1.0, 0.0, x, y] } else { [1.0, 0.0, 0.0, 1.0, x, y] };
        if usual(run) {
            let code = |c: char| self.subset.get(&c).copied().unwrap_or(0).to_be_bytes();
            let codes: Vec<u8> = run.text.chars().flat_map(code).collect();
            let place = turn(self.at(at));
            self.content.begin_text().set_font(Name(b"F"), short(size)).set_text_matrix(place);
            self.content.show(Str(&codes)).end_text();
            return;
        }
        let Some(other) = self.embedded.others.get(&run.font) else { return };
        let scale = size / self.fonts.units(run.font);
        // Of what is reordered from left to right the text is said; readers turn what runs backwards round by themselves.
        let said = run.shaped && run.glyphs.is_sorted_by_key(|g| g.cluster);
        if said {
            let mut mark = self.content.begin_marked_content_with_properties(Name(b"Span"));
            mark.properties().actual_text(TextStr(&run.text));
        }
        self.content.begin_text().set_font(Name(font_name(self.embedded.number(run.font)).as_bytes()), short(size));
        let mut pen = 0.0;
        for glyph in &run.glyphs {
            let (across, high) = ((pen + glyph.moved.0) * scale, glyph.moved.1 * scale);
            let place = if up { (at.0 - high, at.1 - across) } else { (at.0 + across, at.1 - high) };
            let place = turn(self.at(place));
            self.content.set_text_matrix(place).show(Str(&other.number(glyph.id).to_be_bytes()));
            pen += glyph.advance;
        }
        self.content.end_text();
        if said {
            self.content.end_marked_content();
        }
    }

    fn disc(&mut self, at: Point, radius: f64, color: Rgb) {
        self.fill(color);
        // A quarter circle as one cubic.
        let k = radius * 0.552_284_75;
        let ends = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)];
        let around = |x: f64, y: f64| self.at((at.0 + x, at.1 + y));
        let (x, y) = around(radius, 0.0);
        let curves: Vec<_> = (0..4)
            .map(|i| {
                let ((ax, ay), (bx, by)) = (ends[i], ends[(i + 1) % 4]);
                let first = around(ax * radius + bx * k, ay * radius + by * k);
                let second = around(bx * radius + ax * k, by * radius + ay * k);
                (first, second, around(bx * radius, by * radius))
            })
            .collect();
        self.content.move_to(x, y);
        for (a, b, c) in curves {
            self.content.cubic_to(a.0, a.1, b.0, b.1, c.0, c.1);
        }
        self.content.close_path().fill_nonzero();
    }
}
