//! Boxes that a text names: `[x1, y1, x2, y2]` as fractions of the picture.

/// Left, top, right, bottom in 0..=1.
pub(crate) type Fractions = [f32; 4];

/// Every bracket of four numbers in 0..=1, corners in whatever order; other brackets are passed over.
pub(crate) fn find(text: &str) -> Vec<Fractions> {
    let mut found = Vec::new();
    for part in text.split('[').skip(1) {
        let Some((inside, _)) = part.split_once(']') else { continue };
        let numbers: Vec<f32> = inside.split(',').filter_map(|n| n.trim().parse().ok()).collect();
        if let [a, b, c, d] = numbers[..]
            && inside.split(',').count() == 4
            && numbers.iter().all(|n| (0.0..=1.0).contains(n))
        {
            found.push([a.min(c), b.min(d), a.max(c), b.max(d)]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_of_four_fractions() {
        assert_eq!(find("Name the object at [0.56, 0.5, 0.69, 0.6]."), [[0.56, 0.5, 0.69, 0.6]]);
        assert_eq!(find("[0.4,0.2,0.1,0.9]; [0, 0, 1, 1]").len(), 2);
        assert_eq!(find("[0.4,0.2,0.1,0.9]")[0], [0.1, 0.2, 0.4, 0.9]);
        for none in
            ["", "[1, 2]", "[10, 20, 30, 40]", "[0.1, 0.2, 0.3, x]", "[0.1, 0.2, 0.3", "[0,0,0,0,0]", "[NaN,0,0,0]"]
        {
            assert!(find(none).is_empty(), "{none}");
        }
    }
}
