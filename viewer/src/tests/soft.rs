//! A software rasteriser for egui's triangles, so that pictures of the window need neither driver nor display.

use egui::epaint::{ImageData, Primitive, Vertex};
use egui::{Color32, ColorImage, TextureFilter, TextureId, TexturesDelta};
use egui_kittest::TestRenderer;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

type Held = Rc<RefCell<BTreeMap<TextureId, (ColorImage, bool)>>>;

/// Keeps the textures that the window hands over.
#[derive(Clone, Default)]
pub(super) struct Soft {
    textures: Held,
}

impl TestRenderer for Soft {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        let mut held = self.textures.borrow_mut();
        for (id, change) in delta.set.drain().flat_map(|(id, all)| all.into_iter().map(move |c| (id, c))) {
            let ImageData::Color(image) = &change.image;
            let smooth = change.options.magnification == TextureFilter::Linear;
            match (change.pos, held.get_mut(&id)) {
                (Some([x, y]), Some((whole, _))) => {
                    for row in 0..image.height() {
                        for column in 0..image.width() {
                            whole[(x + column, y + row)] = image[(column, row)];
                        }
                    }
                }
                _ => drop(held.insert(id, (image.as_ref().clone(), smooth))),
            }
        }
        delta.free.drain().for_each(|id| drop(held.remove(&id)));
    }
}

fn sample((image, smooth): &(ColorImage, bool), u: f32, v: f32) -> [f32; 4] {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let at = |x: f32, y: f32| {
        image[(x.clamp(0.0, width - 1.0) as usize, y.clamp(0.0, height - 1.0) as usize)].to_array().map(f32::from)
    };
    let (x, y) = (u * width, v * height);
    if !smooth {
        return at(x, y);
    }
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (s, t) = (x - left, y - top);
    let corners = [at(left, top), at(left + 1.0, top), at(left, top + 1.0), at(left + 1.0, top + 1.0)];
    std::array::from_fn(|k| {
        (corners[0][k] * (1.0 - s) + corners[1][k] * s) * (1.0 - t)
            + (corners[2][k] * (1.0 - s) + corners[3][k] * s) * t
    })
}

impl Soft {
    /// The window as it was drawn last, one pixel a point.
    pub(super) fn picture(&self, ctx: &egui::Context, output: &egui::FullOutput, size: [usize; 2]) -> ColorImage {
        let mut picture = ColorImage::filled(size, Color32::BLACK);
        let textures = self.textures.borrow();
        for clipped in ctx.tessellate(output.shapes.clone(), 1.0) {
            let Primitive::Mesh(mesh) = clipped.primitive else { continue };
            let Some(texture) = textures.get(&mesh.texture_id) else { continue };
            for corners in mesh.indices.chunks_exact(3) {
                let corner = |k: usize| &mesh.vertices[corners[k] as usize];
                triangle(&mut picture, texture, clipped.clip_rect, [corner(0), corner(1), corner(2)]);
            }
        }
        picture
    }
}

fn triangle(picture: &mut ColorImage, texture: &(ColorImage, bool), clip: egui::Rect, [a, b, c]: [&Vertex; 3]) {
    let area = |p: egui::Pos2, q: egui::Pos2, r: egui::Pos2| (q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x);
    let whole = area(a.pos, b.pos, c.pos);
    let bounds = egui::Rect::from_points(&[a.pos, b.pos, c.pos]).intersect(clip);
    if whole == 0.0 || !bounds.is_positive() {
        return;
    }
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let columns = bounds.left().max(0.0).floor() as usize..bounds.right().min(width).ceil().max(0.0) as usize;
    let rows = bounds.top().max(0.0).floor() as usize..bounds.bottom().min(height).ceil().max(0.0) as usize;
    for y in rows {
        for x in columns.clone() {
            let at = egui::pos2(x as f32 + 0.5, y as f32 + 0.5);
            let share = [area(b.pos, c.pos, at), area(c.pos, a.pos, at), area(a.pos, b.pos, at)].map(|s| s / whole);
            if share.iter().any(|s| *s < 0.0) || !clip.contains(at) {
                continue;
            }
            let mixed = |of: &dyn Fn(&Vertex) -> f32| share[0] * of(a) + share[1] * of(b) + share[2] * of(c);
            let texel = sample(texture, mixed(&|v| v.uv.x), mixed(&|v| v.uv.y));
            let ink: [f32; 4] =
                std::array::from_fn(|k| texel[k] * mixed(&|v| f32::from(v.color.to_array()[k])) / 255.0);
            let under = picture[(x, y)].to_array().map(f32::from);
            let left = 1.0 - ink[3] / 255.0;
            let [r, g, b, _] = std::array::from_fn(|k| (ink[k] + under[k] * left + 0.5).min(255.0) as u8);
            picture[(x, y)] = Color32::from_rgb(r, g, b);
        }
    }
}
