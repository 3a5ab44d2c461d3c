//! Where labels of clusters stand: in the figure and in the explorer by one rule.

use super::scene::Point;
use std::collections::BTreeMap;

/// Places for round labels of `radius`, one for each of `middles`: as near to it as can be without covering a small cluster
/// or another label. `dots` are points with their clusters; `frame` is the lower and the upper corner of what is drawn.
#[must_use]
pub fn label_places(middles: &[Point], radius: f64, dots: &[(usize, Point)], frame: (Point, Point)) -> Vec<Point> {
    let mut places: Vec<Point> = Vec::with_capacity(middles.len());
    for middle in middles {
        places.push(free(*middle, radius, &places, dots, frame));
    }
    apart(&mut places, 2.0 * radius + 0.6, frame, radius);
    places
}

/// Where a label of `radius` covers least of any cluster, as near to `middle` as that allows.
fn free(middle: Point, radius: f64, taken: &[Point], dots: &[(usize, Point)], frame: (Point, Point)) -> Point {
    let far = |a: Point, b: Point| ((a.0 - b.0).powi(2) + (a.1 - b.1).powi(2)).sqrt();
    let mut sizes: BTreeMap<usize, f64> = BTreeMap::new();
    dots.iter().for_each(|(c, _)| *sizes.entry(*c).or_default() += 1.0);
    let inside = |at: Point| {
        let x = at.0.min(frame.1.0 - radius).max(frame.0.0 + radius);
        (x, at.1.min(frame.1.1 - radius).max(frame.0.1 + radius))
    };
    let ring =
        |r: i32| (0..12).map(move |i| (2.2 * radius * f64::from(r), std::f64::consts::TAU * f64::from(i) / 12.0));
    let around =
        (1..=4).flat_map(ring).map(|(far, angle)| (middle.0 + far * angle.cos(), middle.1 + far * angle.sin()));
    // Shares of clusters that would be hidden; a label never lies on another.
    let cost = |at: Point| {
        let hidden: f64 = dots.iter().filter(|(_, dot)| far(at, *dot) < radius).map(|(c, _)| 1.0 / sizes[c]).sum();
        let over = taken.iter().filter(|t| far(at, **t) < 2.0 * radius).count() as f64;
        hidden + 10.0 * over + 0.01 * far(at, middle) / radius
    };
    std::iter::once(middle)
        .chain(around)
        .map(inside)
        .map(|at| (at, cost(at)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(middle, |best| best.0)
}

/// Moves places that are nearer to each other than `least`, all of them `margin` inside the frame.
fn apart(places: &mut [Point], least: f64, frame: (Point, Point), margin: f64) {
    for _ in 0..200 {
        let mut moved = false;
        for i in 0..places.len() {
            for j in 0..i {
                let (x, y) = (places[i].0 - places[j].0, places[i].1 - places[j].1);
                let distance = (x * x + y * y).sqrt();
                if distance >= least {
                    continue;
                }
                // Places that coincide go apart along the axis.
                let (x, y) = if distance > 1e-6 { (x / distance, y / distance) } else { (1.0, 0.0) };
                let step = (least - distance) / 2.0 + 0.01;
                (places[i].0, places[i].1) = (places[i].0 + x * step, places[i].1 + y * step);
                (places[j].0, places[j].1) = (places[j].0 - x * step, places[j].1 - y * step);
                moved = true;
            }
        }
        for place in places.iter_mut() {
            place.0 = place.0.max(frame.0.0 + margin).min(frame.1.0 - margin);
            place.1 = place.1.max(frame.0.1 + margin).min(frame.1.1 - margin);
        }
        if !moved {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_cover_each_other() {
        let frame = ((0.0, 0.0), (100.0, 60.0));
        let mut places = vec![(50.0, 30.0), (50.0, 30.0), (51.0, 31.0), (1.0, 1.0), (2.0, 1.0), (80.0, 20.0)];
        apart(&mut places, 10.0, frame, 5.0);
        for (i, a) in places.iter().enumerate() {
            assert!(a.0 >= 5.0 && a.0 <= 95.0 && a.1 >= 5.0 && a.1 <= 55.0, "{a:?}");
            assert!(places[..i].iter().all(|b| (a.0 - b.0).powi(2) + (a.1 - b.1).powi(2) > 99.0), "{places:?}");
        }
        assert_eq!(places[5], (80.0, 20.0));
    }

    #[test]
    fn a_label_stays_on_a_large_cluster_and_beside_a_small_one() {
        let frame = ((0.0, 0.0), (100.0, 60.0));
        // Three marks about one place, and a hundred in a square of 40.
        let small = (0..3).map(|i| (0, (80.0 + f64::from(i), 20.0)));
        let large = (0..100).map(|i| (1, (10.0 + 4.0 * f64::from(i % 10), 10.0 + 4.0 * f64::from(i / 10))));
        let dots: Vec<(usize, Point)> = small.chain(large).collect();
        let at = free((81.0, 20.0), 4.0, &[], &dots, frame);
        assert!(dots[..3].iter().all(|(_, d)| (at.0 - d.0).powi(2) + (at.1 - d.1).powi(2) >= 16.0), "{at:?}");
        assert!((at.0 - 81.0).abs() < 10.0 && (at.1 - 20.0).abs() < 10.0, "near: {at:?}");
        let on = free((28.0, 28.0), 4.0, &[], &dots, frame);
        assert!((8.0..48.0).contains(&on.0) && (8.0..48.0).contains(&on.1), "{on:?}");
        let beside = free((28.0, 28.0), 4.0, &[on], &dots, frame);
        assert!((beside.0 - on.0).powi(2) + (beside.1 - on.1).powi(2) >= 64.0, "{beside:?}");
    }
}
