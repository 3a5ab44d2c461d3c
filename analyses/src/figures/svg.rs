//! SVG: text stays text, in a subset of the font that the file carries.

use super::embed::{Embedded, usual};
use super::font::{NAME, Subset, for_browsers};
use super::fonts::{Fonts, Run};
use super::raster::png;
use super::scene::{Item, Point, Rgb, Scene};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use owned_ttf_parser::{GlyphId, OutlineBuilder};

/// A number in a file: three digits after the point at most.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn hex(color: Rgb) -> String {
    format!("#{:02x}{:02x}{:02x}", color.0, color.1, color.2)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn path(points: &[Point]) -> String {
    let mut text = String::new();
    for (i, p) in points.iter().enumerate() {
        text += if i == 0 { "M" } else { "L" };
        text += &format!("{} {}", number(p.0), number(p.1));
    }
    text
}

/// The drawing as SVG of its printed size; user units are points.
pub(super) fn svg(scene: &Scene, title: &str) -> Result<Vec<u8>, String> {
    let (width, height) = scene.size;
    let embedded = Embedded::of(scene);
    let subset = Subset::of(&embedded.characters);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}in\" height=\"{}in\" viewBox=\"0 0 {} {}\">\n\
         <title>{}</title>\n<style>@font-face{{font-family:\"Figure Sans\";src:url(data:font/ttf;base64,{})}}{}\
         text{{font-family:\"Figure Sans\",\"{NAME}\",Arial,Helvetica,sans-serif;font-kerning:none;white-space:pre}}\
         path{{stroke-linejoin:round}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        number4(width / 72.0),
        number4(height / 72.0),
        number(width),
        number(height),
        escape(title),
        STANDARD.encode(&subset.bytes),
        faces(scene, &embedded)?,
    );
    for item in &scene.items {
        out += &element(scene, &embedded, item)?;
    }
    out += "</svg>\n";
    Ok(out.into_bytes())
}

fn number4(value: f64) -> String {
    format!("{value:.4}")
}

fn element(scene: &Scene, embedded: &Embedded, item: &Item) -> Result<String, String> {
    Ok(match item {
        Item::Line { points, color, width, dash } => {
            let dash = match dash.iter().map(|d| number(*d)).collect::<Vec<_>>().join(" ") {
                d if d.is_empty() => d,
                d => format!(" stroke-dasharray=\"{d}\""),
            };
            let (d, color, width) = (path(points), hex(*color), number(*width));
            format!("<path d=\"{d}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"{dash}/>\n")
        }
        Item::Polygon { points, color } => format!("<path d=\"{}Z\" fill=\"{}\"/>\n", path(points), hex(*color)),
        Item::Rect { from, to, color } => format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n",
            number(from.0.min(to.0)),
            number(from.1.min(to.1)),
            number((to.0 - from.0).abs()),
            number((to.1 - from.1).abs()),
            hex(*color)
        ),
        Item::Disc { at, radius, color } => format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>\n",
            number(at.0),
            number(at.1),
            number(*radius),
            hex(*color)
        ),
        Item::Text { text, at, size, color, up } => texts((&scene.fonts, embedded), text, *at, (*size, *color, *up)),
        Item::Image { from, to, pixels, smooth } => format!(
            "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\"{} \
             href=\"data:image/png;base64,{}\"/>\n",
            number(from.0),
            number(from.1),
            number(to.0 - from.0),
            number(to.1 - from.1),
            if *smooth { "" } else { " style=\"image-rendering:pixelated\"" },
            STANDARD.encode(png(pixels, None)?)
        ),
    })
}

/// The fonts beside the built-in one whose letters stand as text.
fn faces(scene: &Scene, embedded: &Embedded) -> Result<String, String> {
    let mut faces = String::new();
    for (font, other) in embedded.others.iter().filter(|(_, o)| !o.letters.is_empty()) {
        let (bytes, cff) = other.bytes(&scene.fonts, *font)?;
        let bytes = STANDARD.encode(for_browsers(&bytes, scene.fonts.face(*font), &other.letters));
        let kind = if cff { "otf" } else { "ttf" };
        let font = embedded.number(*font);
        faces += &format!("@font-face{{font-family:\"Figure Sans {font}\";src:url(data:font/{kind};base64,{bytes})}}");
    }
    Ok(faces)
}

/// Runs of one text one after the other: letter by letter as text, and what is shaped as outlines, named for readers.
fn texts(
    (fonts, embedded): (&Fonts, &Embedded),
    text: &str,
    from: Point,
    (size, color, up): (f64, Rgb, bool),
) -> String {
    let (mut out, mut at) = (String::new(), from);
    for run in fonts.lay(text) {
        let scale = size / fonts.units(run.font);
        let (x, y) = (number(at.0), number(at.1));
        let (color, text) = (hex(color), escape(&run.text));
        if run.shaped {
            let d = outlines(fonts, &run, at, scale, up);
            out += &format!("<path role=\"img\" aria-label=\"{text}\" d=\"{d}\" fill=\"{color}\"/>\n");
        } else {
            let turn = if up { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
            let family = if usual(&run) {
                String::new()
            } else {
                format!(" style=\"font-family:'Figure Sans {}'\"", embedded.number(run.font))
            };
            let size = number(size);
            out += &format!(
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{color}\"{turn}{family}>{text}</text>\n"
            );
        }
        let width = run.glyphs.iter().map(|g| g.advance).sum::<f64>() * scale;
        at = if up { (at.0, at.1 - width) } else { (at.0 + width, at.1) };
    }
    out
}

struct Outlines {
    d: String,
    from: Point,
    scale: f64,
    up: bool,
}

impl Outlines {
    fn put(&mut self, command: char, points: &[(f32, f32)]) {
        self.d.push(command);
        let places = points.iter().map(|(x, y)| {
            let (across, high) = (f64::from(*x) * self.scale, f64::from(*y) * self.scale);
            let (x, y) = if self.up { (-high, -across) } else { (across, -high) };
            format!("{} {}", number(self.from.0 + x), number(self.from.1 + y))
        });
        self.d += &places.collect::<Vec<_>>().join(" ");
    }
}

impl OutlineBuilder for Outlines {
    fn move_to(&mut self, x: f32, y: f32) {
        self.put('M', &[(x, y)]);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.put('L', &[(x, y)]);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.put('Q', &[(x1, y1), (x, y)]);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.put('C', &[(x1, y1), (x2, y2), (x, y)]);
    }

    fn close(&mut self) {
        self.d.push('Z');
    }
}

fn outlines(fonts: &Fonts, run: &Run, from: Point, scale: f64, up: bool) -> String {
    let (mut out, mut pen) = (Outlines { d: String::new(), from, scale, up }, 0.0);
    for glyph in &run.glyphs {
        let (across, high) = ((pen + glyph.moved.0) * scale, glyph.moved.1 * scale);
        out.from = if up { (from.0 - high, from.1 - across) } else { (from.0 + across, from.1 - high) };
        // A glyph without an outline is a space.
        let _ = fonts.face(run.font).outline_glyph(GlyphId(glyph.id), &mut out);
        pen += glyph.advance;
    }
    out.d
}
