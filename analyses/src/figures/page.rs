//! What a figure is drawn for: a venue with its largest size, how many classes are named, and what does not come in.

use super::Venue;
use super::fonts::Fonts;
use super::scene::{Canvas, Point};
use serde::Serialize;
use std::sync::Arc;

/// The page that a figure is drawn for.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub venue: Venue,
    /// Classes that are named at most, where something was chosen.
    pub most: Option<usize>,
    pub fonts: Arc<Fonts>,
}

impl Page {
    /// With the built-in font alone.
    pub(super) fn new(venue: Venue) -> Self {
        Self { venue, most: None, fonts: Fonts::built_in() }
    }

    /// An area of `size` pt to draw on, or to measure with.
    pub(super) fn canvas(&self, size: Point) -> Canvas {
        Canvas::new(self, size)
    }

    /// How many of `n` parts, `each` pt high, fit beside `rest` pt; one at least.
    pub(super) fn fit(&self, n: usize, each: f64, rest: f64) -> usize {
        let most = ((self.room() - rest) / each).floor();
        n.min(most.max(1.0) as usize).max(1)
    }

    /// The largest height of a figure in pt, less room for words about what is left out.
    pub(super) fn room(&self) -> f64 {
        self.venue.height() * 72.0 - 2.0 * self.venue.small() * 1.2
    }
}

/// Parts of a figure that are not shown one by one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LeftOut {
    /// `tasks`, `layers` and the like.
    pub what: &'static str,
    pub shown: usize,
    pub of: usize,
    /// Whether they go together as "others", which the figure itself says; otherwise they are not shown at all.
    pub together: bool,
    pub names: Vec<String>,
}

impl LeftOut {
    /// Those of `names` that are not in `shown` (numbers, rising); `None` if all are.
    pub(super) fn of(what: &'static str, names: &[String], shown: &[usize], together: bool) -> Option<Self> {
        let out = |i: &usize| shown.binary_search(i).is_err();
        let out: Vec<String> = (0..names.len()).filter(out).map(|i| names[i].clone()).collect();
        (!out.is_empty()).then_some(Self { what, shown: shown.len(), of: names.len(), together, names: out })
    }

    /// As the figure says it; nothing where a legend says it already.
    pub(super) fn line(&self) -> Option<String> {
        (!self.together).then(|| format!("showing {} of {} {}", self.shown, self.of, self.what))
    }
}

/// `most` numbers below `n`, first and last among them, as evenly spread as can be.
pub(super) fn spread(n: usize, most: usize) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    let gaps = (most.max(2) - 1) as f64;
    let at = |i: usize| (i as f64 / gaps * (n - 1) as f64).round() as usize;
    (0..most).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_named() {
        assert_eq!(spread(40, 5), [0, 10, 20, 29, 39]);
        assert_eq!((spread(3, 5), spread(9, 1)), (vec![0, 1, 2], vec![0]));
        let names: Vec<String> = (0..5).map(|i| i.to_string()).collect();
        let out = LeftOut::of("layers", &names, &[0, 2, 4], false).unwrap();
        assert_eq!((out.names.join(" ").as_str(), out.line().as_deref()), ("1 3", Some("showing 3 of 5 layers")));
        assert!(LeftOut::of("layers", &names, &[0, 1, 2, 3, 4], false).is_none());
        let page = Page::new(Venue::Cvpr);
        assert_eq!((page.fit(100, 100.0, 0.0), page.fit(2, 100.0, 0.0), page.fit(9, 1e6, 0.0)), (6, 2, 1));
    }
}
