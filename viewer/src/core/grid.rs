//! Finds points of the plane: inside a polygon or a rectangle, and the nearest one.

/// Points of a cell on average.
const PER_CELL: usize = 4;
/// Cells a side at most.
const MOST: usize = 512;

/// A polygon's corners, or a pointer's place.
pub(crate) type Place = [f64; 2];

/// Points sorted into equal cells.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    side: usize,
    low: Place,
    /// Size of a cell.
    cell: Place,
    /// Where each cell's points begin in `points`, and one past the last.
    starts: Vec<u32>,
    points: Vec<u32>,
}

/// Where the polygon's edges cross a row of cells.
#[derive(Clone, Copy)]
struct Edge {
    a: Place,
    b: Place,
}

impl Edge {
    /// Where it crosses the height `y`, if it does (upper end left out, so that a corner counts once).
    fn crosses(self, y: f64) -> Option<f64> {
        ((self.a[1] > y) != (self.b[1] > y))
            .then(|| self.a[0] + (y - self.a[1]) / (self.b[1] - self.a[1]) * (self.b[0] - self.a[0]))
    }
}

fn inside(edges: &[Edge], x: f64, y: f64) -> bool {
    edges.iter().filter_map(|e| e.crosses(y)).filter(|at| *at > x).count() % 2 == 1
}

impl Grid {
    /// An index over the points; those that are not finite are left out.
    pub(crate) fn new(xs: &[f32], ys: &[f32]) -> Self {
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for (x, y) in xs.iter().zip(ys).filter(|(x, y)| x.is_finite() && y.is_finite()) {
            for (k, v) in [f64::from(*x), f64::from(*y)].into_iter().enumerate() {
                (low[k], high[k]) = (low[k].min(v), high[k].max(v));
            }
        }
        if low[0] > high[0] {
            return Self::default();
        }
        let side = ((xs.len() / PER_CELL) as f64).sqrt().ceil().clamp(1.0, MOST as f64) as usize;
        // A little more than the range, so that the largest lies inside; a range of 0 still has cells.
        let size =
            |k: usize| ((high[k] - low[k]) * (1.0 + 1e-9)).max(f64::MIN_POSITIVE * 1e9).max(low[k].abs() * 1e-12);
        let cell = [size(0) / side as f64, size(1) / side as f64];
        let mut grid = Self { side, low, cell, starts: vec![0; side * side + 1], points: Vec::new() };
        let of: Vec<u32> = xs
            .iter()
            .zip(ys)
            .map(|(x, y)| {
                let finite = x.is_finite() && y.is_finite();
                if finite { (grid.row(f64::from(*y)) * side + grid.column(f64::from(*x))) as u32 } else { u32::MAX }
            })
            .collect();
        of.iter().filter(|c| **c != u32::MAX).for_each(|c| grid.starts[*c as usize + 1] += 1);
        (1..grid.starts.len()).for_each(|i| grid.starts[i] += grid.starts[i - 1]);
        let mut next = grid.starts.clone();
        grid.points = vec![0; grid.starts[side * side] as usize];
        for (point, c) in of.iter().enumerate().filter(|(_, c)| **c != u32::MAX) {
            grid.points[next[*c as usize] as usize] = point as u32;
            next[*c as usize] += 1;
        }
        grid
    }

    /// Smallest and largest corner of what is indexed.
    pub(crate) fn bounds(&self) -> Option<(Place, Place)> {
        let high = |k: usize| self.low[k] + self.cell[k] * self.side as f64;
        (self.side > 0).then(|| (self.low, [high(0), high(1)]))
    }

    fn column(&self, x: f64) -> usize {
        (((x - self.low[0]) / self.cell[0]).max(0.0) as usize).min(self.side - 1)
    }

    fn row(&self, y: f64) -> usize {
        (((y - self.low[1]) / self.cell[1]).max(0.0) as usize).min(self.side - 1)
    }

    fn cell(&self, row: usize, column: usize) -> &[u32] {
        let at = row * self.side + column;
        &self.points[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// The points, cell by cell.
    pub(crate) fn in_order(&self) -> &[u32] {
        &self.points
    }

    /// Calls `take` for every point inside the closed polygon (even-odd rule), with its place in [`Grid::in_order`].
    ///
    /// Cells that no edge touches are taken or passed over whole; only in the others are points looked at, each against
    /// the edges of its own row of cells.
    pub(crate) fn polygon(&self, xs: &[f32], ys: &[f32], corners: &[Place], mut take: impl FnMut(usize)) {
        if self.side == 0 || corners.len() < 3 {
            return;
        }
        let next = |i: usize| corners[(i + 1) % corners.len()];
        let edges: Vec<Edge> = corners.iter().enumerate().map(|(i, a)| Edge { a: *a, b: next(i) }).collect();
        let heights = edges.iter().flat_map(|e| [e.a[1], e.b[1]]);
        let (bottom, top) = heights.fold((f64::MAX, f64::MIN), |(l, h), y| (l.min(y), h.max(y)));
        let mut touched = vec![false; self.side];
        for row in self.row(bottom)..=self.row(top) {
            let low = self.low[1] + row as f64 * self.cell[1];
            let high = low + self.cell[1];
            // The outermost rows hold what rounding put there.
            let slack = self.cell[1] * 1e-6;
            let here: Vec<Edge> = edges
                .iter()
                .filter(|e| e.a[1].min(e.b[1]) <= high + slack && e.a[1].max(e.b[1]) >= low - slack)
                .copied()
                .collect();
            touched.fill(false);
            for edge in &here {
                let (from, to) = self.span(*edge, low - slack, high + slack);
                touched[self.column(from)..=self.column(to)].fill(true);
            }
            for (column, mixed) in touched.iter().enumerate() {
                let at = row * self.side + column;
                let places = self.starts[at] as usize..self.starts[at + 1] as usize;
                if places.is_empty() {
                } else if *mixed {
                    let within = |at: &usize| {
                        let point = self.points[*at] as usize;
                        inside(&here, f64::from(xs[point]), f64::from(ys[point]))
                    };
                    places.filter(within).for_each(&mut take);
                } else if inside(&here, self.low[0] + (column as f64 + 0.5) * self.cell[0], low + self.cell[1] * 0.5) {
                    places.for_each(&mut take);
                }
            }
        }
    }

    /// The range of x of an edge between two heights, a hair wider than it is.
    fn span(&self, edge: Edge, low: f64, high: f64) -> (f64, f64) {
        let along = |y: f64| {
            let t = if edge.b[1] == edge.a[1] { 0.0 } else { (y - edge.a[1]) / (edge.b[1] - edge.a[1]) };
            edge.a[0] + t.clamp(0.0, 1.0) * (edge.b[0] - edge.a[0])
        };
        let ends = if edge.a[1] == edge.b[1] { [edge.a[0], edge.b[0]] } else { [along(low), along(high)] };
        let hair = self.cell[0] * 1e-6;
        (ends[0].min(ends[1]) - hair, ends[0].max(ends[1]) + hair)
    }

    /// The nearest point to `at` within an ellipse of the half axes `reach`, distances measured in them.
    pub(crate) fn nearest(&self, xs: &[f32], ys: &[f32], at: Place, reach: Place) -> Option<u32> {
        if self.side == 0 {
            return None;
        }
        let mut best: Option<(f64, u32)> = None;
        for row in self.row(at[1] - reach[1])..=self.row(at[1] + reach[1]) {
            for column in self.column(at[0] - reach[0])..=self.column(at[0] + reach[0]) {
                for point in self.cell(row, column) {
                    let x = (f64::from(xs[*point as usize]) - at[0]) / reach[0];
                    let y = (f64::from(ys[*point as usize]) - at[1]) / reach[1];
                    let far = x.hypot(y);
                    if far <= 1.0 && best.is_none_or(|b| (far, *point) < b) {
                        best = Some((far, *point));
                    }
                }
            }
        }
        best.map(|(_, point)| point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(n: u32) -> (Vec<f32>, Vec<f32>) {
        let number = |i: u32, k: u32| (f64::from(i * 7919 + k * 104_729).sin() * 43_758.545).fract() as f32;
        ((0..n).map(|i| number(i, 1)).collect(), (0..n).map(|i| number(i, 2) * 3.0).collect())
    }

    fn taken(xs: &[f32], ys: &[f32], corners: &[Place]) -> Vec<u32> {
        let mut out = Vec::new();
        let grid = Grid::new(xs, ys);
        grid.polygon(xs, ys, corners, |at| out.push(grid.in_order()[at]));
        out.sort_unstable();
        out
    }

    #[test]
    fn a_polygon_takes_what_a_scan_over_all_points_takes() {
        let (xs, ys) = cloud(5000);
        let star: Vec<Place> = (0..40)
            .map(|i| {
                let (angle, far) = (f64::from(i) * 0.157_08, if i % 2 == 0 { 0.9 } else { 0.35 });
                [far * angle.cos() - 0.1, 2.5 * far * angle.sin()]
            })
            .collect();
        let knot = [[-0.8, -2.0], [0.9, 2.0], [0.9, -2.0], [-0.8, 2.0]];
        let outside = [[5.0, 5.0], [6.0, 5.0], [6.0, 6.0]];
        let all = [[-9.0, -9.0], [9.0, -9.0], [9.0, 9.0], [-9.0, 9.0]];
        for polygon in [&star[..], &knot, &outside, &all] {
            let edges: Vec<Edge> =
                (0..polygon.len()).map(|i| Edge { a: polygon[i], b: polygon[(i + 1) % polygon.len()] }).collect();
            let slow: Vec<u32> = (0..5000_u32)
                .filter(|i| inside(&edges, f64::from(xs[*i as usize]), f64::from(ys[*i as usize])))
                .collect();
            assert_eq!(taken(&xs, &ys, polygon), slow);
        }
        assert_eq!(taken(&xs, &ys, &all).len(), 5000);
        assert!(taken(&xs, &ys, &all[..2]).is_empty(), "two corners enclose nothing");
    }

    #[test]
    fn edges_of_the_index() {
        assert!(Grid::new(&[], &[]).bounds().is_none());
        assert!(taken(&[], &[], &[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]).is_empty());
        let square = [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]];
        assert_eq!(taken(&[1.0; 3], &[1.0; 3], &square), [0, 1, 2], "one place");
        assert_eq!(taken(&[1.0, f32::NAN], &[1.0, 1.0], &square), [0]);
    }

    #[test]
    fn nearest_point() {
        let (xs, ys) = cloud(2000);
        let grid = Grid::new(&xs, &ys);
        for at in [[0.0, 0.0], [0.3, -2.0], [-0.9, 2.9]] {
            let far =
                |i: u32| ((f64::from(xs[i as usize]) - at[0]) / 0.1).hypot((f64::from(ys[i as usize]) - at[1]) / 0.3);
            let slow = (0..2000_u32).filter(|i| far(*i) <= 1.0).min_by(|a, b| far(*a).total_cmp(&far(*b)));
            assert_eq!(grid.nearest(&xs, &ys, at, [0.1, 0.3]), slow);
        }
        assert_eq!(grid.nearest(&xs, &ys, [9.0, 9.0], [0.1, 0.1]), None);
    }
}
