//! Paints points into a picture, so that a frame costs the same for a thousand points as for a million.

use covft_analyses::figures::viridis;

/// What is painted. `xs`, `ys`, `colors` and `emphasis` are equally long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points<'a> {
    pub xs: &'a [f32],
    pub ys: &'a [f32],
    /// Index into the palette.
    pub colors: &'a [u16],
    pub palette: &'a [[u8; 3]],
}

/// Where: the picture's corners in the points' units, and its size in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct View {
    pub low: [f64; 2],
    pub high: [f64; 2],
    pub width: usize,
    pub height: usize,
}

/// How.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A disc a point, in its colour.
    #[default]
    Points,
    /// How many points lie where, whatever their colour.
    Density,
}

/// Picture in unmultiplied RGBA, row by row from the top.
pub(crate) type Rgba = Vec<u8>;

/// Weights of a disc around a point.
struct Stamp {
    reach: i32,
    weights: Vec<f32>,
}

/// Radius of a disc in pixels: fewer points are larger.
fn radius(points: usize) -> f32 {
    match points {
        0..=3_000 => 3.5,
        3_001..=20_000 => 2.6,
        20_001..=100_000 => 1.7,
        _ => 0.9,
    }
}

impl Stamp {
    fn new(radius: f32) -> Self {
        let reach = radius.ceil() as i32;
        let cover = |x: i32, y: i32| (radius + 0.5 - (x as f32).hypot(y as f32)).clamp(0.0, 1.0);
        let weights = (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| cover(x, y))).collect();
        Self { reach, weights }
    }
}

/// Sum of colour times weight, and of weight, for each pixel.
struct Sums<'v> {
    view: &'v View,
    sums: Vec<[f32; 4]>,
}

impl Sums<'_> {
    fn add(&mut self, stamp: &Stamp, px: f32, py: f32, [r, g, b]: [f32; 3]) {
        let (cx, cy) = (px.floor() as i32, py.floor() as i32);
        let side = 2 * stamp.reach + 1;
        let (width, height) = (self.view.width as i32, self.view.height as i32);
        let rows = (cy - stamp.reach).max(0)..(cy + stamp.reach + 1).min(height);
        let columns = (cx - stamp.reach).max(0)..(cx + stamp.reach + 1).min(width);
        for y in rows {
            let line = (y * width) as usize;
            let from = ((y - cy + stamp.reach) * side - cx + stamp.reach) as isize;
            for x in columns.clone() {
                let weight = stamp.weights[(from + x as isize) as usize];
                let sum = &mut self.sums[line + x as usize];
                sum[0] += weight * r;
                sum[1] += weight * g;
                sum[2] += weight * b;
                sum[3] += weight;
            }
        }
    }
}

/// Paints the points. Where `emphasis` is not empty, points outside it are faint and those in it lie on top.
pub(crate) fn paint(points: Points<'_>, emphasis: &dyn Fn(usize) -> bool, any: bool, view: &View, mode: Mode) -> Rgba {
    let place = |i: usize| {
        let along = |v: f32, k: usize| ((f64::from(v) - view.low[k]) / (view.high[k] - view.low[k])) as f32;
        // Up is larger; rows go down.
        (along(points.xs[i], 0) * view.width as f32, (1.0 - along(points.ys[i], 1)) * view.height as f32)
    };
    if mode == Mode::Density {
        return density(points.xs.len(), &place, &|i| !any || emphasis(i), view);
    }
    let stamp = Stamp::new(radius(points.xs.len()));
    let edge = stamp.reach as f32;
    let empty = vec![[0.0; 4]; view.width * view.height];
    let mut layers = [Sums { view, sums: empty.clone() }, Sums { view, sums: if any { empty } else { Vec::new() } }];
    let palette: Vec<[f32; 3]> = points.palette.iter().map(|c| c.map(f32::from)).collect();
    for i in 0..points.xs.len() {
        let (px, py) = place(i);
        let (right, bottom) = (view.width as f32 + edge, view.height as f32 + edge);
        // Also false for what is not a number.
        if px >= -edge && py >= -edge && px < right && py < bottom {
            let color = palette.get(points.colors[i] as usize).copied().unwrap_or([144.0; 3]);
            layers[usize::from(any && emphasis(i))].add(&stamp, px, py, color);
        }
    }
    let strength = if points.xs.len() > 100_000 { 0.45 } else { 0.85 };
    let [all, chosen] = layers;
    let faint = if any { 0.22 } else { strength };
    let mut rgba = Vec::with_capacity(all.sums.len() * 4);
    for (i, below) in all.sums.iter().enumerate() {
        let under = tone(*below, faint);
        let over = chosen.sums.get(i).map_or([0.0; 4], |sum| tone(*sum, 0.95));
        let left = under[3] * (1.0 - over[3]);
        let alpha = over[3] + left;
        for channel in 0..3 {
            let mixed = if alpha > 0.0 { (over[channel] * over[3] + under[channel] * left) / alpha } else { 0.0 };
            rgba.push(mixed as u8);
        }
        rgba.push((alpha * 255.0) as u8);
    }
    rgba
}

/// Mean colour and how opaque that many layers of `strength` are: the order of the points does not matter.
fn tone([r, g, b, weight]: [f32; 4], strength: f32) -> [f32; 4] {
    if weight <= 0.0 {
        return [0.0; 4];
    }
    let alpha = if weight <= 1.0 { strength * weight } else { 1.0 - (1.0 - strength).powf(weight) };
    [r / weight, g / weight, b / weight, alpha]
}

fn density(points: usize, place: &dyn Fn(usize) -> (f32, f32), wanted: &dyn Fn(usize) -> bool, view: &View) -> Rgba {
    // Bins of several pixels for few points, so that there is something to count.
    let bin = if points > 200_000 { 2 } else { 6 };
    let (columns, rows) = (view.width.div_ceil(bin), view.height.div_ceil(bin));
    let mut counts = vec![0_u32; columns * rows];
    for i in (0..points).filter(|i| wanted(*i)) {
        let (px, py) = place(i);
        if px >= 0.0 && py >= 0.0 && (px as usize) < view.width && (py as usize) < view.height {
            counts[py as usize / bin * columns + px as usize / bin] += 1;
        }
    }
    let most = f64::from(counts.iter().copied().max().unwrap_or(0)).max(1.0).ln_1p();
    let colors: Vec<[u8; 4]> = counts
        .iter()
        .map(|count| {
            let [r, g, b] = viridis(f64::from(*count).ln_1p() / most);
            [r, g, b, if *count > 0 { 255 } else { 0 }]
        })
        .collect();
    let pixel = |i: usize| colors[i / view.width / bin * columns + i % view.width / bin];
    (0..view.width * view.height).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: View = View { low: [0.0; 2], high: [10.0; 2], width: 40, height: 40 };
    const PALETTE: [[u8; 3]; 2] = [[255, 0, 0], [0, 0, 255]];

    fn pixel(rgba: &Rgba, x: usize, y: usize) -> [u8; 4] {
        std::array::from_fn(|k| rgba[(y * 40 + x) * 4 + k])
    }

    #[test]
    fn discs_stand_where_their_points_are() {
        let points = Points { xs: &[2.0, 8.0, f32::NAN], ys: &[2.0, 8.0, 1.0], colors: &[0, 1, 0], palette: &PALETTE };
        let rgba = paint(points, &|_| false, false, &VIEW, Mode::Points);
        assert_eq!(pixel(&rgba, 8, 32)[..3], [255, 0, 0], "low is at the bottom");
        assert_eq!(pixel(&rgba, 32, 8)[..3], [0, 0, 255]);
        assert_eq!(pixel(&rgba, 20, 20)[3], 0);
        let chosen = paint(points, &|i| i == 1, true, &VIEW, Mode::Points);
        assert!(pixel(&chosen, 8, 32)[3] < 80 && pixel(&chosen, 32, 8)[3] > 200);
    }

    #[test]
    fn the_order_of_points_does_not_matter() {
        let at = [5.0, 5.1, 4.9];
        let one = paint(
            Points { xs: &at, ys: &at, colors: &[0, 1, 0], palette: &PALETTE },
            &|_| false,
            false,
            &VIEW,
            Mode::Points,
        );
        let back = [4.9, 5.1, 5.0];
        let two = paint(
            Points { xs: &back, ys: &back, colors: &[0, 1, 0], palette: &PALETTE },
            &|_| false,
            false,
            &VIEW,
            Mode::Points,
        );
        assert_eq!(one, two);
    }

    #[test]
    fn density_counts() {
        let points = Points { xs: &[1.0, 1.0, 9.0], ys: &[1.0, 1.0, 9.0], colors: &[0; 3], palette: &PALETTE };
        let rgba = paint(points, &|_| false, false, &VIEW, Mode::Density);
        assert_eq!(pixel(&rgba, 4, 36)[..3], viridis(1.0), "two points are the densest");
        assert_eq!(pixel(&rgba, 36, 4)[..3], viridis(2_f64.ln() / 3_f64.ln()));
        assert_eq!(pixel(&rgba, 20, 20)[3], 0);
    }
}
