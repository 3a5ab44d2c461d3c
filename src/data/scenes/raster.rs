//! Draws a scene.

use super::font;
use super::world::{BACKGROUNDS, COLOURS, Object, SHAPES, SIDE, Scene, WORDS};
use image::{Rgb, RgbImage};

/// Ink of the printed word.
const INK: Rgb<u8> = Rgb([25, 25, 30]);
/// Pixels of a dot of the font.
const DOT: u32 = 2;
/// Left edge of the word: three letters in the middle.
const WORD_LEFT: u32 = 15;
/// Upper edge of the word.
const WORD_TOP: u32 = 49;

/// The scene as an image of [`SIDE`] pixels.
pub(super) fn render(scene: &Scene) -> RgbImage {
    let mut image = RgbImage::from_pixel(SIDE, SIDE, Rgb(BACKGROUNDS[scene.background]));
    for object in &scene.objects {
        let colour = Rgb(COLOURS[object.colour].1);
        let side = object.side();
        for y in 0..side {
            for x in (0..side).filter(|&x| covers(object, x, y)) {
                image.put_pixel(object.left + x, object.top + y, colour);
            }
        }
    }
    for (place, letter) in (0..).zip(WORDS[scene.word].chars()) {
        let left = WORD_LEFT + place * (font::COLUMNS + 1) * DOT;
        for (column, row) in font::dots(letter) {
            for (x, y) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                image.put_pixel(left + column * DOT + x, WORD_TOP + row * DOT + y, INK);
            }
        }
    }
    image
}

/// Whether a shape covers pixel `(x, y)` of its box. Every shape touches all four edges of its box.
fn covers(object: &Object, x: u32, y: u32) -> bool {
    let side = object.side();
    // Twice the distance of the pixel's centre from the middle.
    let from_middle = |v: u32| (2 * v + 1).abs_diff(side);
    match SHAPES[object.shape] {
        "circle" => from_middle(x).pow(2) + from_middle(y).pow(2) <= side.pow(2),
        "triangle" => from_middle(x) <= y + 1,
        "cross" => from_middle(x) * 3 <= side || from_middle(y) * 3 <= side,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::scenes::world::{SIZES, stream};

    #[test]
    fn shapes_touch_all_edges_of_their_box_and_nothing_else() {
        for (shape, name) in SHAPES.iter().enumerate() {
            for size in 0..SIZES.len() {
                let object = Object { left: 8, top: 4, size, colour: 0, shape };
                let scene = Scene { objects: vec![object], word: 0, background: 0 };
                let image = render(&scene);
                let red = Rgb(COLOURS[0].1);
                let drawn: Vec<_> =
                    image.enumerate_pixels().filter(|(_, _, p)| **p == red).map(|(x, y, _)| (x, y)).collect();
                let range = |f: fn(&(u32, u32)) -> u32| {
                    (drawn.iter().map(f).min().unwrap(), drawn.iter().map(f).max().unwrap())
                };
                assert_eq!(range(|p| p.0), (8, 8 + object.side() - 1), "{name}");
                assert_eq!(range(|p| p.1), (4, 4 + object.side() - 1), "{name}");
            }
        }
    }

    #[test]
    fn the_word_fits_at_every_place() {
        for i in 0..200 {
            let scene = Scene::draw(&mut stream(1, 0, i));
            let image = render(&scene);
            let ink = image.pixels().filter(|p| **p == INK).count();
            let dots: usize = WORDS[scene.word].chars().map(|c| font::dots(c).count()).sum();
            assert_eq!(ink, dots * 4);
        }
    }
}
