//! SVG: text stays text, in a subset of the font that the file carries.

use super::font::{NAME, Subset};
use super::raster::png;
use super::scene::{Item, Point, Rgb, Scene};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeSet;

/// The characters that a drawing shows.
pub(super) fn characters(scene: &Scene) -> BTreeSet<char> {
    let texts = scene.items.iter().filter_map(|i| if let Item::Text { text, .. } = i { Some(text) } else { None });
    texts.flat_map(|t| t.chars()).collect()
}

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
    let subset = Subset::of(&characters(scene));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}in\" height=\"{}in\" viewBox=\"0 0 {} {}\">\n\
         <title>{}</title>\n<style>@font-face{{font-family:\"Figure Sans\";src:url(data:font/ttf;base64,{})}}\
         text{{font-family:\"Figure Sans\",\"{NAME}\",Arial,Helvetica,sans-serif;font-kerning:none;white-space:pre}}\
         path{{stroke-linejoin:round}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        number4(width / 72.0),
        number4(height / 72.0),
        number(width),
        number(height),
        escape(title),
        STANDARD.encode(&subset.bytes),
    );
    for item in &scene.items {
        out += &element(item)?;
    }
    out += "</svg>\n";
    Ok(out.into_bytes())
}

fn number4(value: f64) -> String {
    format!("{value:.4}")
}

fn element(item: &Item) -> Result<String, String> {
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
        Item::Text { text, at, size, color, up } => {
            let (x, y) = (number(at.0), number(at.1));
            let turn = if *up { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
            let (size, color, text) = (number(*size), hex(*color), escape(text));
            format!("<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{color}\"{turn}>{text}</text>\n")
        }
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
