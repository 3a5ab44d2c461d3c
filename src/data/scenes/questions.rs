//! One question and answer of every task about a scene.

use super::world::{COLOURS, Object, SHAPES, SIDE, SIZES, Scene, WORDS, pick};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Tasks, in the order in which a scene's samples stand.
pub const TASKS: [&str; 8] =
    ["captioning", "grounding", "region_captioning", "counting", "attribute", "relation", "existence", "ocr"];

/// A question and its answer.
pub(super) type Pair = (String, String);

/// The question and answer of every task, in the order of [`TASKS`]. Grounding and region captioning are about the same
/// object, each the inverse of the other.
pub(super) fn ask(scene: &Scene, rng: &mut ChaCha8Rng) -> [Pair; TASKS.len()] {
    let region = pick(rng, &scene.objects);
    [
        captioning(&scene.objects),
        grounding(region),
        region_captioning(region),
        counting(scene, rng),
        attribute(scene, rng),
        relation(scene, rng),
        existence(scene, rng),
        ocr(WORDS[scene.word]),
    ]
}

/// Objects from left to right.
pub(super) fn captioning(objects: &[Object]) -> Pair {
    let named: Vec<String> = objects.iter().map(|o| format!("a {}", o.phrase())).collect();
    ("Describe the image.".to_owned(), named.join(", "))
}

pub(super) fn grounding(object: &Object) -> Pair {
    (format!("Locate the {}.", object.phrase()), object.bounds())
}

pub(super) fn region_captioning(object: &Object) -> Pair {
    (format!("Name the object at {}.", object.bounds()), object.phrase())
}

pub(super) fn count_colour(colour: usize, n: usize) -> Pair {
    (format!("How many {} objects are there?", COLOURS[colour].0), n.to_string())
}

pub(super) fn count_shape(shape: usize, n: usize) -> Pair {
    let plural = if SHAPES[shape].ends_with('s') { "es" } else { "s" };
    (format!("How many {}{plural} are there?", SHAPES[shape]), n.to_string())
}

/// A count drawn evenly from those that the scene has.
fn counting(scene: &Scene, rng: &mut ChaCha8Rng) -> Pair {
    let count = |f: &dyn Fn(&Object) -> bool| scene.objects.iter().filter(|o| f(o)).count();
    let colours = (0..COLOURS.len()).map(|c| count_colour(c, count(&|o| o.colour == c)));
    let shapes = (0..SHAPES.len()).map(|s| count_shape(s, count(&|o| o.shape == s)));
    let all: Vec<Pair> = colours.chain(shapes).collect();
    let mut counts: Vec<&str> = all.iter().map(|(_, n)| n.as_str()).collect();
    counts.sort_unstable();
    counts.dedup();
    let wanted = *pick(rng, &counts);
    let fitting: Vec<&Pair> = all.iter().filter(|(_, n)| n == wanted).collect();
    (*pick(rng, &fitting)).clone()
}

pub(super) fn colour_of(object: &Object) -> Pair {
    (format!("What color is the {}?", SHAPES[object.shape]), COLOURS[object.colour].0.to_owned())
}

pub(super) fn shape_of(object: &Object) -> Pair {
    (format!("What shape is the {} object?", COLOURS[object.colour].0), SHAPES[object.shape].to_owned())
}

/// `by_colour`: of the only object of its colour; otherwise of the only one of its shape.
pub(super) fn size_of(object: &Object, by_colour: bool) -> Pair {
    let named =
        if by_colour { format!("{} object", COLOURS[object.colour].0) } else { SHAPES[object.shape].to_owned() };
    (format!("What size is the {named}?"), SIZES[object.size].0.to_owned())
}

/// Colour, shape or size of an object that its shape or its colour singles out.
fn attribute(scene: &Scene, rng: &mut ChaCha8Rng) -> Pair {
    let mut forms: Vec<Vec<Pair>> = vec![Vec::new(); 3];
    for o in &scene.objects {
        if scene.is_single(false, o.shape) {
            forms[0].push(colour_of(o));
            forms[2].push(size_of(o, false));
        }
        if scene.is_single(true, o.colour) {
            forms[1].push(shape_of(o));
            forms[2].push(size_of(o, true));
        }
    }
    // Every scene singles out some object.
    forms.retain(|f| !f.is_empty());
    let form = pick(rng, &forms);
    pick(rng, form).clone()
}

/// `first` is the left or upper one; `swap` asks about the other.
pub(super) fn related(first: &Object, second: &Object, beside: bool, swap: bool) -> Pair {
    let (near, far) = if beside { ("left", "right") } else { ("above", "below") };
    let (subject, other, answer) = if swap { (second, first, far) } else { (first, second, near) };
    let of = if beside { " of" } else { "" };
    (format!("Is the {} {near} or {far}{of} the {}?", subject.phrase(), other.phrase()), answer.to_owned())
}

/// On which side of the picture an object is. None lies across its middle.
pub(super) fn side_of(object: &Object) -> Pair {
    let answer = if object.centre2().0 < SIDE { "left" } else { "right" };
    (format!("Is the {} left or right of the middle?", object.phrase()), answer.to_owned())
}

fn relation(scene: &Scene, rng: &mut ChaCha8Rng) -> Pair {
    if let [alone] = scene.objects.as_slice() {
        return side_of(alone);
    }
    let (first, second, beside) = *pick(rng, &scene.related_pairs());
    related(&first, &second, beside, rng.random_bool(0.5))
}

/// Whether there is a shape (`by_colour` false) or something of a colour.
pub(super) fn is_there(by_colour: bool, value: usize, there: bool) -> Pair {
    let answer = if there { "yes" } else { "no" };
    let named = if by_colour { format!("{} object", COLOURS[value].0) } else { SHAPES[value].to_owned() };
    (format!("Is there a {named}?"), answer.to_owned())
}

/// As many yes as no, of as many colours as shapes.
fn existence(scene: &Scene, rng: &mut ChaCha8Rng) -> Pair {
    let (by_colour, there) = (rng.random_bool(0.5), rng.random_bool(0.5));
    let (n, of): (usize, fn(&Object) -> usize) =
        if by_colour { (COLOURS.len(), |o| o.colour) } else { (SHAPES.len(), |o| o.shape) };
    // At most three objects leave one of four colours and of four shapes out.
    let fitting: Vec<usize> = (0..n).filter(|v| scene.objects.iter().any(|o| of(o) == *v) == there).collect();
    is_there(by_colour, *pick(rng, &fitting), there)
}

pub(super) fn ocr(word: &str) -> Pair {
    ("What word is written?".to_owned(), word.to_owned())
}
