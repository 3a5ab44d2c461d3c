//! Boxes in answers: `[x1, y1, x2, y2]`, several joined by `; `.

/// A box; `x1 <= x2` and `y1 <= y2`, in whatever unit both sides use (fractions of the image here).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundingBox {
    /// Left.
    pub x1: f64,
    /// Top.
    pub y1: f64,
    /// Right.
    pub x2: f64,
    /// Bottom.
    pub y2: f64,
}

impl BoundingBox {
    /// The box between two corners, in whatever order they are.
    #[must_use]
    pub fn new([xa, ya, xb, yb]: [f64; 4]) -> Self {
        Self { x1: xa.min(xb), y1: ya.min(yb), x2: xa.max(xb), y2: ya.max(yb) }
    }

    /// Width times height.
    #[must_use]
    pub fn area(&self) -> f64 {
        (self.x2 - self.x1) * (self.y2 - self.y1)
    }

    /// Intersection over union; 0 where neither has an area.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f64 {
        let width = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let height = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let common = width * height;
        let union = self.area() + other.area() - common;
        if union > 0.0 { common / union } else { 0.0 }
    }
}

/// All boxes of a text, words around them ignored; `None` if there is none or a bracket does not hold four finite numbers.
#[must_use]
pub fn parse_boxes(text: &str) -> Option<Vec<BoundingBox>> {
    let mut boxes = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let inside = &rest[open + 1..];
        let close = inside.find(']')?;
        let numbers: Vec<f64> = inside[..close].split(',').map(|n| n.trim().parse().ok()).collect::<Option<_>>()?;
        let corners: [f64; 4] = numbers.try_into().ok()?;
        if !corners.iter().all(|c| c.is_finite()) {
            return None;
        }
        boxes.push(BoundingBox::new(corners));
        rest = &inside[close + 1..];
    }
    (!boxes.is_empty()).then_some(boxes)
}

/// `2 matches / (given + wanted)`: with one box on either side 1 or 0. A box is matched at most once, at an
/// intersection over union of `threshold` or more, as many as possible.
#[must_use]
pub fn match_score(given: &[BoundingBox], wanted: &[BoundingBox], threshold: f64) -> f64 {
    let fits: Vec<Vec<usize>> =
        given.iter().map(|g| (0..wanted.len()).filter(|w| g.iou(&wanted[*w]) >= threshold).collect()).collect();
    let mut owner: Vec<Option<usize>> = vec![None; wanted.len()];
    let matched = (0..given.len()).filter(|g| claim(*g, &fits, &mut owner, &mut vec![false; wanted.len()])).count();
    let total = given.len() + wanted.len();
    if total == 0 { 0.0 } else { 2.0 * matched as f64 / total as f64 }
}

/// Finds a box for `given`, moving earlier owners to other boxes where that makes room (augmenting paths).
fn claim(given: usize, fits: &[Vec<usize>], owner: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &wanted in &fits[given] {
        if std::mem::replace(&mut tried[wanted], true) {
            continue;
        }
        let free = match owner[wanted] {
            None => true,
            Some(other) => claim(other, fits, owner, tried),
        };
        if free {
            owner[wanted] = Some(given);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes(text: &str) -> Vec<BoundingBox> {
        parse_boxes(text).unwrap()
    }

    #[test]
    fn reads_one_and_several_boxes() {
        assert_eq!(boxes("[0.56, 0.27, 0.85, 0.81]"), [BoundingBox::new([0.56, 0.27, 0.85, 0.81])]);
        assert_eq!(boxes("[0.1,0.1,0.2,0.2]; [0.3, 0.3, 0.5, 0.5].").len(), 2);
        assert_eq!(boxes("[0.5, 0.6, 0.1, 0.2]"), boxes("[0.1, 0.2, 0.5, 0.6]"), "corners in any order");
        for broken in ["", "none", "[0.1, 0.2, 0.3]", "[0.1, 0.2, 0.3, 0.4", "[a, b, c, d]", "[nan, 0, 1, 1]"] {
            assert_eq!(parse_boxes(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn iou_by_hand() {
        let unit = BoundingBox::new([0.0, 0.0, 1.0, 1.0]);
        let half = BoundingBox::new([0.5, 0.0, 1.5, 1.0]);
        assert!((unit.iou(&half) - 0.5 / 1.5).abs() < 1e-15);
        assert_eq!(unit.iou(&BoundingBox::new([1.0, 0.0, 2.0, 1.0])), 0.0);
        let point = BoundingBox::new([0.3; 4]);
        assert_eq!(point.iou(&point), 0.0);
    }

    #[test]
    fn several_boxes_are_matched_one_to_one() {
        let wanted = boxes("[0, 0, 0.4, 0.4]; [0.5, 0.5, 0.9, 0.9]");
        let score = |text: &str| match_score(&boxes(text), &wanted, 0.5);
        assert_eq!(score("[0.5, 0.5, 0.9, 0.9]; [0, 0, 0.4, 0.4]"), 1.0, "order does not matter");
        assert!((score("[0, 0, 0.4, 0.4]") - 2.0 / 3.0).abs() < 1e-15, "one missing");
        assert!((score("[0, 0, 0.4, 0.4]; [0, 0, 0.4, 0.4]") - 0.5).abs() < 1e-15, "a box counts once");
    }

    #[test]
    fn an_earlier_match_makes_room() {
        // The first fits both, the second only the first's first choice.
        let wanted = boxes("[0, 0, 1, 1]; [0.2, 0, 1.2, 1]");
        let given = boxes("[0.1, 0, 1.1, 1]; [-0.3, 0, 0.7, 1]");
        assert_eq!(match_score(&given, &wanted, 0.5), 1.0);
    }
}
