//! Bitmaps: shapes as exact coverage of pixels, and PNG.

use super::fonts::Fonts;
use super::scene::{Item, Pixels, Point, Rgb, Scene};
use ab_glyph_rasterizer::{Point as Corner, Rasterizer, point};
use owned_ttf_parser::{GlyphId, OutlineBuilder};
use png::{BitDepth, ColorType, Encoder, PixelDimensions, Unit};

/// Dots an inch of PNG files and of rasterised marks.
pub(super) const DPI: f64 = 300.0;

/// PNG bytes; the resolution is noted where it is known.
pub(super) fn png(pixels: &Pixels, dpi: Option<f64>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, pixels.width as u32, pixels.height as u32);
    let opaque = pixels.opaque();
    encoder.set_color(if opaque { ColorType::Rgb } else { ColorType::Rgba });
    encoder.set_depth(BitDepth::Eight);
    if let Some(dpi) = dpi {
        let per_metre = (dpi / 0.0254).round() as u32;
        encoder.set_pixel_dims(Some(PixelDimensions { xppu: per_metre, yppu: per_metre, unit: Unit::Meter }));
    }
    let rgb: Vec<u8>;
    let data = if opaque {
        rgb = pixels.rgba.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
        &rgb
    } else {
        &pixels.rgba
    };
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(data).and_then(|()| writer.finish()).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// The drawing at `dpi` on white.
pub(super) fn render(scene: &Scene, dpi: f64) -> Pixels {
    let mut bitmap = Bitmap::new(scene.size, dpi, [u8::MAX; 4]);
    for item in &scene.items {
        bitmap.draw(item, &scene.fonts);
    }
    bitmap.pixels
}

/// Marks alone over a frame of the drawing's size at [`DPI`], on nothing: what a scatter of very many marks becomes.
pub(super) fn marks(scene: &Scene) -> Pixels {
    let mut bitmap = Bitmap::new(scene.size, DPI, [u8::MAX, u8::MAX, u8::MAX, 0]);
    for item in &scene.items {
        bitmap.draw(item, &scene.fonts);
    }
    bitmap.pixels
}

struct Bitmap {
    pixels: Pixels,
    /// Pixels a point.
    scale: f64,
}

/// Outlines of several closed rings, in pixels.
#[derive(Default)]
struct Rings(Vec<Vec<Corner>>);

impl Bitmap {
    fn new(size: Point, dpi: f64, ground: [u8; 4]) -> Self {
        let scale = dpi / 72.0;
        let of = |pt: f64| (pt * scale).round().max(1.0) as usize;
        let (width, height) = (of(size.0), of(size.1));
        Self { pixels: Pixels { width, height, rgba: ground.repeat(width * height) }, scale }
    }

    fn draw(&mut self, item: &Item, fonts: &Fonts) {
        let scale = self.scale;
        let to = |p: Point| point((p.0 * scale) as f32, (p.1 * scale) as f32);
        match item {
            Item::Line { points, color, width, dash } => {
                // Thinner than a pixel, a line would be a ghost of itself.
                let half = (width * self.scale).max(1.0) as f32 / 2.0;
                for part in dashes(points, dash) {
                    let corners: Vec<Corner> = part.iter().map(|p| to(*p)).collect();
                    self.fill(&stroke(&corners, half), *color);
                }
            }
            Item::Polygon { points, color } => {
                let rings = Rings(vec![points.iter().map(|p| to(*p)).collect()]);
                self.fill(&rings, *color);
            }
            Item::Rect { from, to: end, color } => {
                let (a, b) = (to(*from), to(*end));
                let ring = vec![a, point(b.x, a.y), b, point(a.x, b.y)];
                self.fill(&Rings(vec![ring]), *color);
            }
            Item::Disc { at, radius, color } => {
                let ring = round(to(*at), (radius * self.scale) as f32);
                self.fill(&Rings(vec![ring]), *color);
            }
            Item::Text { text, at, size, color, up } => {
                let rings = letters(fonts, text, to(*at), size * self.scale, *up);
                self.fill(&rings, *color);
            }
            Item::Image { from, to: end, pixels, smooth } => self.image(to(*from), to(*end), pixels, *smooth),
        }
    }

    /// Fills what the rings cover; rings of the same sense unite, of opposite senses cut holes.
    fn fill(&mut self, rings: &Rings, color: Rgb) {
        let all = || rings.0.iter().flatten();
        let low = all().fold((f32::MAX, f32::MAX), |a, p| (a.0.min(p.x), a.1.min(p.y)));
        let high = all().fold((f32::MIN, f32::MIN), |a, p| (a.0.max(p.x), a.1.max(p.y)));
        let edge = |v: f32, most: usize| v.clamp(0.0, most as f32) as usize;
        let (left, top) = (edge(low.0.floor(), self.pixels.width), edge(low.1.floor(), self.pixels.height));
        let (right, bottom) = (edge(high.0.ceil(), self.pixels.width), edge(high.1.ceil(), self.pixels.height));
        if right <= left || bottom <= top {
            return;
        }
        let width = right - left;
        let mut raster = Rasterizer::new(width, bottom - top);
        // A line left of the area still counts for all that is right of it.
        let shift = |p: &Corner| point((p.x - left as f32).clamp(0.0, width as f32), p.y - top as f32);
        for ring in &rings.0 {
            for i in 0..ring.len() {
                raster.draw_line(shift(&ring[i]), shift(&ring[(i + 1) % ring.len()]));
            }
        }
        raster.for_each_pixel_2d(|x, y, cover| {
            // What is less is the sums' rounding.
            if cover > 0.002 {
                self.blend(left + x as usize, top + y as usize, color, f64::from(cover.min(1.0)));
            }
        });
    }

    fn blend(&mut self, x: usize, y: usize, color: Rgb, cover: f64) {
        if x >= self.pixels.width || y >= self.pixels.height {
            return;
        }
        let at = 4 * (y * self.pixels.width + x);
        let pixel = &mut self.pixels.rgba[at..at + 4];
        let under = f64::from(pixel[3]) / 255.0;
        let alpha = under.mul_add(1.0 - cover, cover);
        for (p, c) in pixel.iter_mut().zip([color.0, color.1, color.2]) {
            let mixed = f64::from(c).mul_add(cover, f64::from(*p) * under * (1.0 - cover)) / alpha;
            *p = mixed.round() as u8;
        }
        pixel[3] = (alpha * 255.0).round() as u8;
    }

    fn image(&mut self, from: Corner, to: Corner, pixels: &Pixels, smooth: bool) {
        let edge = |v: f32, most: usize| v.round().clamp(0.0, most as f32) as usize;
        for y in edge(from.y, self.pixels.height)..edge(to.y, self.pixels.height) {
            for x in edge(from.x, self.pixels.width)..edge(to.x, self.pixels.width) {
                let across = (x as f64 + 0.5 - f64::from(from.x)) / f64::from(to.x - from.x) * pixels.width as f64;
                let along = (y as f64 + 0.5 - f64::from(from.y)) / f64::from(to.y - from.y) * pixels.height as f64;
                let [r, g, b, a] = if smooth { blurred(pixels, across, along) } else { sharp(pixels, across, along) };
                self.blend(x, y, Rgb(r, g, b), f64::from(a) / 255.0);
            }
        }
    }
}

fn sharp(pixels: &Pixels, x: f64, y: f64) -> [u8; 4] {
    let column = (x.max(0.0) as usize).min(pixels.width - 1);
    let row = (y.max(0.0) as usize).min(pixels.height - 1);
    let at = 4 * (row * pixels.width + column);
    [pixels.rgba[at], pixels.rgba[at + 1], pixels.rgba[at + 2], pixels.rgba[at + 3]]
}

fn blurred(pixels: &Pixels, x: f64, y: f64) -> [u8; 4] {
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let corner = |dx: f64, dy: f64| sharp(pixels, left + dx, top + dy).map(f64::from);
    let (a, b, c, d) = (corner(0.0, 0.0), corner(1.0, 0.0), corner(0.0, 1.0), corner(1.0, 1.0));
    let (fx, fy) = (x - left, y - top);
    std::array::from_fn(|i| {
        let upper = a[i].mul_add(1.0 - fx, b[i] * fx);
        let lower = c[i].mul_add(1.0 - fx, d[i] * fx);
        upper.mul_add(1.0 - fy, lower * fy).round() as u8
    })
}

/// A polygon that is a circle at any resolution that is drawn here.
fn round(at: Corner, radius: f32) -> Vec<Corner> {
    let corners = (8 + (radius * 2.0) as usize).min(64);
    let turn = |i: usize| std::f32::consts::TAU * i as f32 / corners as f32;
    (0..corners).map(|i| point(turn(i).cos().mul_add(radius, at.x), turn(i).sin().mul_add(radius, at.y))).collect()
}

/// A thick line: a rectangle a segment and a disc a joint, all of one sense.
fn stroke(points: &[Corner], half: f32) -> Rings {
    let mut rings = Vec::new();
    for pair in points.windows(2) {
        let (dx, dy) = (pair[1].x - pair[0].x, pair[1].y - pair[0].y);
        let length = dx.hypot(dy);
        if length > 0.0 {
            let (nx, ny) = (-dy / length * half, dx / length * half);
            let corner = |p: Corner, s: f32| point(s.mul_add(nx, p.x), s.mul_add(ny, p.y));
            let [a, b] = [pair[0], pair[1]];
            rings.push(vec![corner(a, -1.0), corner(b, -1.0), corner(b, 1.0), corner(a, 1.0)]);
        }
    }
    if half > 0.75 && points.len() > 2 {
        rings.extend(points[1..points.len() - 1].iter().map(|p| round(*p, half)));
    }
    Rings(rings)
}

/// The strokes of a dashed line.
fn dashes(points: &[Point], dash: &[f64]) -> Vec<Vec<Point>> {
    if dash.is_empty() || dash.iter().sum::<f64>() <= 0.0 {
        return vec![points.to_vec()];
    }
    let (mut done, mut part) = (Vec::new(), vec![points[0]]);
    let (mut which, mut left) = (0, dash[0]);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length <= left {
                left -= length;
                part.push(to);
                break;
            }
            let share = left / length;
            from = ((to.0 - from.0).mul_add(share, from.0), (to.1 - from.1).mul_add(share, from.1));
            part.push(from);
            if which % 2 == 0 {
                done.push(std::mem::take(&mut part));
            }
            part = vec![from];
            which += 1;
            left = dash[which % dash.len()];
        }
    }
    if which % 2 == 0 && part.len() > 1 {
        done.push(part);
    }
    done
}

struct Letters {
    rings: Vec<Vec<Corner>>,
    origin: Corner,
    /// Pixels a font unit.
    scale: f32,
    /// How far the pen has gone, font units.
    pen: f32,
    /// Where the glyph is drawn from the pen, font units.
    moved: (f32, f32),
    up: bool,
}

impl Letters {
    fn at(&self, x: f32, y: f32) -> Corner {
        let (across, high) = ((self.pen + self.moved.0 + x) * self.scale, (y + self.moved.1) * self.scale);
        if self.up {
            point(self.origin.x - high, self.origin.y - across)
        } else {
            point(self.origin.x + across, self.origin.y - high)
        }
    }

    fn push(&mut self, corner: Corner) {
        if let Some(ring) = self.rings.last_mut() {
            ring.push(corner);
        }
    }
}

impl OutlineBuilder for Letters {
    fn move_to(&mut self, x: f32, y: f32) {
        self.rings.push(vec![self.at(x, y)]);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.push(self.at(x, y));
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let Some(start) = self.rings.last().and_then(|r| r.last().copied()) else { return };
        let (middle, end) = (self.at(x1, y1), self.at(x, y));
        for i in 1..=6 {
            let t = i as f32 / 6.0;
            let s = 1.0 - t;
            let one = |a: f32, b: f32, c: f32| (s * s).mul_add(a, (2.0 * s * t).mul_add(b, t * t * c));
            self.push(point(one(start.x, middle.x, end.x), one(start.y, middle.y, end.y)));
        }
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let Some(start) = self.rings.last().and_then(|r| r.last().copied()) else { return };
        let (first, second, end) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        for i in 1..=8 {
            let t = i as f32 / 8.0;
            let s = 1.0 - t;
            let [a, b, c, d] = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
            let one = |p: f32, q: f32, r: f32, e: f32| a * p + b * q + c * r + d * e;
            self.push(point(one(start.x, first.x, second.x, end.x), one(start.y, first.y, second.y, end.y)));
        }
    }

    fn close(&mut self) {}
}

/// The outlines of `text`, `size` pixels high, from `origin` on.
fn letters(fonts: &Fonts, text: &str, origin: Corner, size: f64, up: bool) -> Rings {
    let mut letters = Letters { rings: Vec::new(), origin, scale: 0.0, pen: 0.0, moved: (0.0, 0.0), up };
    for run in fonts.lay(text) {
        letters.scale = (size / fonts.units(run.font)) as f32;
        for glyph in &run.glyphs {
            letters.moved = (glyph.moved.0 as f32, glyph.moved.1 as f32);
            // A glyph without an outline is a space.
            let _ = fonts.face(run.font).outline_glyph(GlyphId(glyph.id), &mut letters);
            letters.pen += glyph.advance as f32;
        }
        letters.moved = (0.0, 0.0);
        letters.origin = letters.at(0.0, 0.0);
        letters.pen = 0.0;
    }
    Rings(letters.rings)
}
