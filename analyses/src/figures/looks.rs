//! Which look a class (a task, a cluster) has, in figures and on screens: at most as many as are told apart by all eyes,
//! the largest classes first; the rest go together as "others".

use super::scene::{Rgb, Shape};

/// Looks that are told apart: colours for every sight, and marks. With more classes the last one is that of the others.
pub const LOOKS: usize = 10;

/// Tol's muted palette, for white ground.
const PAPER: [[u8; 3]; LOOKS] = [
    [0x33, 0x22, 0x88],
    [0xCC, 0x66, 0x77],
    [0x11, 0x77, 0x33],
    [0xDD, 0xCC, 0x77],
    [0x88, 0xCC, 0xEE],
    [0x88, 0x22, 0x55],
    [0x44, 0xAA, 0x99],
    [0x99, 0x99, 0x33],
    [0xAA, 0x44, 0x99],
    [0xDD, 0xDD, 0xDD],
];

/// The same hues, light enough to be seen on dark ground.
const NIGHT: [[u8; 3]; LOOKS] = [
    [0x70, 0x64, 0xAC],
    [0xCC, 0x66, 0x77],
    [0x88, 0xBB, 0x99],
    [0xDD, 0xCC, 0x77],
    [0x88, 0xCC, 0xEE],
    [0xCF, 0xA7, 0xBB],
    [0x44, 0xAA, 0x99],
    [0x99, 0x99, 0x33],
    [0xC4, 0x7C, 0xB8],
    [0xDD, 0xDD, 0xDD],
];

/// Red, green and blue of look `look` on white (or dark) ground; `None` is the neutral look of the others.
#[must_use]
pub fn color(look: Option<usize>, dark: bool) -> [u8; 3] {
    let look = look.filter(|l| *l < LOOKS).unwrap_or(LOOKS - 1);
    if dark { NIGHT[look] } else { PAPER[look] }
}

/// The colour of a look on paper.
pub(super) fn paper(look: Option<usize>) -> Rgb {
    let [red, green, blue] = color(look, false);
    Rgb(red, green, blue)
}

/// The mark of a look; a dot for the others.
pub(super) fn mark(look: Option<usize>) -> Shape {
    look.and_then(|l| Shape::ALL.get(l).copied()).unwrap_or(Shape::Dot)
}

/// Classes that keep a look of their own, and the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    numbers: Vec<Option<usize>>,
    own: Vec<usize>,
    others: Vec<usize>,
}

impl Looks {
    /// Looks for classes of `counts` members. All classes have one where there are at most [`LOOKS`] of them and `most`
    /// does not say fewer; otherwise the `most` (at most `LOOKS - 1`) largest do. Numbers go by the order of classes.
    #[must_use]
    pub fn assign(counts: &[usize], most: Option<usize>) -> Self {
        Self::largest(counts, most, LOOKS)
    }

    /// The same where `all` looks are told apart by something else than [`color`] and mark, such as places in a map.
    #[must_use]
    pub fn largest(counts: &[usize], most: Option<usize>, all: usize) -> Self {
        let (n, most) = (counts.len(), most.unwrap_or(all));
        let own = if n <= all.min(most) { n } else { most.min(all - 1) };
        let mut by_size: Vec<usize> = (0..n).collect();
        by_size.sort_by_key(|class| std::cmp::Reverse(counts[*class]));
        let mut looks = Self { numbers: vec![None; n], own: by_size[..own].to_vec(), others: by_size[own..].to_vec() };
        looks.own.sort_unstable();
        looks.others.sort_unstable();
        for (look, class) in looks.own.iter().enumerate() {
            looks.numbers[*class] = Some(look);
        }
        looks
    }

    /// The look of a class; `None` among the others.
    #[must_use]
    pub fn of(&self, class: usize) -> Option<usize> {
        self.numbers.get(class).copied().flatten()
    }

    /// Classes with a look of their own, in their order.
    #[must_use]
    pub fn own(&self) -> &[usize] {
        &self.own
    }

    /// Classes that go together, in their order.
    #[must_use]
    pub fn others(&self) -> &[usize] {
        &self.others
    }
}

#[cfg(test)]
mod tests {
    use super::super::color::tests::{closest, contrast};
    use super::*;

    #[test]
    fn the_largest_keep_a_look_and_no_two_look_alike() {
        let all = Looks::assign(&[3; 10], None);
        assert_eq!((all.own().len(), all.of(9), all.others().len()), (10, Some(9), 0));
        let counts: Vec<usize> = (0..200).map(|i| if i % 50 == 7 { 100 } else { i % 3 }).collect();
        let some = Looks::assign(&counts, None);
        assert_eq!((some.own().len(), some.others().len()), (9, 191));
        assert_eq!([7, 57, 107, 157].map(|i| some.own().contains(&i)), [true; 4]);
        assert_eq!((some.of(7), some.of(0)), (some.own().iter().position(|c| *c == 7), None));
        for (a, b) in (0..200).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let look = |class| (mark(some.of(class)), paper(some.of(class)));
            assert_eq!(look(a) == look(b), some.of(a).is_none() && some.of(b).is_none(), "{a} and {b}");
        }
        assert_eq!(Looks::assign(&counts, Some(3)).own(), [7, 57, 107]);
        assert_eq!(Looks::assign(&counts, Some(100)).own().len(), 9);
        assert_eq!(Looks::assign(&[1, 2], Some(1)).others(), [0]);
        assert_eq!(Looks::largest(&counts, Some(100), 300).own().len(), 100);
        assert_eq!(Looks::assign(&[], None), Looks::default());
    }

    #[test]
    fn colours_are_told_apart_on_both_grounds() {
        for (dark, least) in [(false, 15.0), (true, 10.0)] {
            let of = |[red, green, blue]: [u8; 3]| Rgb(red, green, blue);
            let colors: Vec<Rgb> = (0..LOOKS).map(|i| of(color(Some(i), dark))).collect();
            assert!(closest(&colors) > least, "{dark}: {}", closest(&colors));
            let night = Rgb(0x1b, 0x1b, 0x1b);
            assert!(!dark || colors.iter().all(|c| contrast(*c, night) >= 2.99));
        }
        assert_eq!(color(None, true), color(Some(LOOKS - 1), true));
    }
}
