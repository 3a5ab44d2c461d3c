//! What a scene is: a few shapes, each in a cell of its own, above a printed word, drawn from a seed.
//!
//! Cells are as large as the patches of the built-in recipe's tower, so that one patch holds one whole object.

use crate::data::permutation::mix;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Width and height of a scene in pixels.
pub const SIDE: u32 = 64;
/// Side of a cell in pixels.
const CELL: u32 = 16;
/// Cells beside one another.
const CELL_COLUMNS: u32 = SIDE / CELL;
/// Rows of cells; the word stands below.
const CELL_ROWS: u32 = 3;
/// Edges of objects are multiples of this, so that a box takes few different coordinates.
pub(super) const LATTICE: u32 = 4;
/// A third of the scenes hold one object: what is seen is then learnt before what is asked about has to be found.
const OBJECTS: std::ops::RangeInclusive<usize> = 1..=3;

/// Colours: a word and its RGB value. Each lifts one or two channels above the background and leaves the others: the sum over
/// channels then shows the shape whatever the colour, so that a small tower from nothing finds it soon.
pub(super) const COLOURS: [(&str, [u8; 3]); 4] =
    [("red", [255, 116, 104]), ("green", [122, 250, 104]), ("blue", [122, 116, 250]), ("yellow", [255, 250, 104])];
/// Shapes.
pub(super) const SHAPES: [&str; 4] = ["circle", "square", "triangle", "cross"];
/// Sizes: a word and the side in pixels.
pub(super) const SIZES: [(&str, u32); 2] = [("small", 8), ("large", 16)];
/// Printed words.
pub(super) const WORDS: [&str; 12] =
    ["SUN", "CAT", "DOG", "KEY", "TEA", "ICE", "FOX", "JAM", "BUS", "PIE", "OWL", "HUT"];
/// Backgrounds, near the mean of natural images that CLIP's normalisation takes away: an empty patch is then near zero.
pub(super) const BACKGROUNDS: [[u8; 3]; 3] = [[122, 116, 104], [130, 124, 112], [138, 132, 120]];

/// One shape. Fields are numbers into the lists above; edges are in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object {
    pub left: u32,
    pub top: u32,
    pub size: usize,
    pub colour: usize,
    pub shape: usize,
}

impl Object {
    pub(super) fn side(&self) -> u32 {
        SIZES[self.size].1
    }

    /// `red circle`.
    pub(super) fn phrase(&self) -> String {
        format!("{} {}", COLOURS[self.colour].0, SHAPES[self.shape])
    }

    /// `[x1, y1, x2, y2]` as fractions of the side, two decimals.
    pub(super) fn bounds(&self) -> String {
        let edges = [self.left, self.top, self.left + self.side(), self.top + self.side()];
        let [a, b, c, d] = edges.map(coordinate);
        format!("[{a}, {b}, {c}, {d}]")
    }

    /// Twice the centre, in pixels.
    pub(super) fn centre2(&self) -> (u32, u32) {
        (2 * self.left + self.side(), 2 * self.top + self.side())
    }

    fn kind(&self) -> (usize, usize) {
        (self.colour, self.shape)
    }

    fn cell(&self) -> (u32, u32) {
        (self.left / CELL, self.top / CELL)
    }
}

/// An edge in pixels as a fraction of the side.
pub(super) fn coordinate(pixels: u32) -> String {
    format!("{:.2}", f64::from(pixels) / f64::from(SIDE))
}

/// One picture's content. No two objects have the same colour and shape; they stand from left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    pub objects: Vec<Object>,
    pub word: usize,
    pub background: usize,
}

impl Scene {
    /// Draws one from a stream.
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        loop {
            let wanted = rng.random_range(OBJECTS);
            // Half of the scenes have a theme, so that larger counts are not rare.
            let theme = rng.random_bool(0.5).then(|| (rng.random_bool(0.5), rng.random_range(0..COLOURS.len())));
            let mut objects: Vec<Object> = Vec::with_capacity(wanted);
            for _ in 0..40 {
                if objects.len() == wanted {
                    break;
                }
                let object = draw_object(rng, theme);
                if !objects.iter().any(|o| o.kind() == object.kind() || o.cell() == object.cell()) {
                    objects.push(object);
                }
            }
            objects.sort_unstable();
            let word = rng.random_range(0..WORDS.len());
            let background = rng.random_range(0..BACKGROUNDS.len());
            let scene = Self { objects, word, background };
            if scene.objects.len() == wanted && scene.can_be_related() && scene.singles_out() {
                return scene;
            }
        }
    }

    /// What must not come in both parts of the set: the objects and the word.
    pub(super) fn signature(&self) -> (Vec<Object>, usize) {
        (self.objects.clone(), self.word)
    }

    /// Pairs of objects that lie clearly beside (`true`) or above (`false`) one another, the left or upper one first.
    pub(super) fn related_pairs(&self) -> Vec<(Object, Object, bool)> {
        // Twice a cell.
        const CLEARLY: u32 = 2 * CELL;
        let mut pairs = Vec::new();
        for a in &self.objects {
            for b in &self.objects {
                let ((ax, ay), (bx, by)) = (a.centre2(), b.centre2());
                if ax + CLEARLY <= bx {
                    pairs.push((*a, *b, true));
                }
                if ay + CLEARLY <= by {
                    pairs.push((*a, *b, false));
                }
            }
        }
        pairs
    }

    /// An object alone is related to the middle of the picture.
    fn can_be_related(&self) -> bool {
        self.objects.len() == 1 || !self.related_pairs().is_empty()
    }

    /// Whether the scene has exactly one object of colour (`by_colour`) or shape `value`.
    pub(super) fn is_single(&self, by_colour: bool, value: usize) -> bool {
        self.objects.iter().filter(|o| value == if by_colour { o.colour } else { o.shape }).count() == 1
    }

    /// Whether its colour or its shape alone names some object.
    fn singles_out(&self) -> bool {
        self.objects.iter().any(|o| self.is_single(true, o.colour) || self.is_single(false, o.shape))
    }
}

fn draw_object(rng: &mut ChaCha8Rng, theme: Option<(bool, usize)>) -> Object {
    let (mut colour, mut shape) = (rng.random_range(0..COLOURS.len()), rng.random_range(0..SHAPES.len()));
    if let Some((by_colour, value)) = theme.filter(|_| rng.random_bool(0.7)) {
        if by_colour { colour = value } else { shape = value % SHAPES.len() }
    }
    let size = rng.random_range(0..SIZES.len());
    // In the middle of its cell.
    let margin = (CELL - SIZES[size].1) / 2;
    let left = CELL * rng.random_range(0..CELL_COLUMNS) + margin;
    let top = CELL * rng.random_range(0..CELL_ROWS) + margin;
    Object { left, top, size, colour, shape }
}

/// The stream of scene `index` of part `part`.
pub(super) fn stream(seed: u64, part: u64, index: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(mix(mix(mix(seed) ^ part) ^ index))
}

/// One of a list.
pub(super) fn pick<'a, T>(rng: &mut ChaCha8Rng, list: &'a [T]) -> &'a T {
    list.choose(rng).expect("lists of the set are not empty")
}
