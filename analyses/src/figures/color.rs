//! Colours that survive colour blindness, and what tells series apart besides colour.

use super::scene::{Dash, Rgb, Shape};

pub(super) const WHITE: Rgb = Rgb(0xFF, 0xFF, 0xFF);
pub(super) const INK: Rgb = Rgb(0x22, 0x22, 0x22);
pub(super) const GREY: Rgb = Rgb(0xB0, 0xB0, 0xB0);
pub(super) const GRID: Rgb = Rgb(0xE6, 0xE6, 0xE6);
/// Okabe and Ito's.
pub(super) const BLUE: Rgb = Rgb(0x00, 0x72, 0xB2);
pub(super) const VERMILION: Rgb = Rgb(0xD5, 0x5E, 0x00);

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Style {
    pub color: Rgb,
    pub dash: Dash,
    pub shape: Shape,
}

/// Okabe and Ito's colours, those that reach 3:1 on white first; each with a dash and a mark of its own.
const SERIES: [(Rgb, Dash); 7] = [
    (BLUE, &[]),
    (VERMILION, &[4.0, 1.6]),
    (INK, &[1.2, 1.2]),
    (Rgb(0xCC, 0x79, 0xA7), &[6.0, 1.5, 1.2, 1.5]),
    (Rgb(0x00, 0x9E, 0x73), &[2.4, 1.2]),
    (Rgb(0xE6, 0x9F, 0x00), &[8.0, 2.0]),
    (Rgb(0x56, 0xB4, 0xE9), &[5.0, 1.4, 1.2, 1.4, 1.2, 1.4]),
];

/// Lines that are told apart: each colour with two dashes.
pub(super) const LINES: usize = 2 * SERIES.len();

/// The style of series `i`; beyond [`LINES`] the neutral one of all that go together.
pub(super) fn series(i: usize) -> Style {
    if i >= LINES {
        return Style { color: GREY.mix(WHITE, 0.3), dash: &[], shape: Shape::Dot };
    }
    // The second time round the dash is that of another colour.
    let (color, dash) = (SERIES[i % SERIES.len()].0, SERIES[(i + i / SERIES.len() * 3) % SERIES.len()].1);
    Style { color, dash, shape: Shape::ALL[i % Shape::ALL.len()] }
}

/// The style of a class; the neutral one for those that go together.
pub(super) fn style(look: Option<usize>) -> Style {
    series(look.unwrap_or(LINES))
}

/// matplotlib's viridis at 17 places.
const VIRIDIS: [u32; 17] = [
    0x44_01_54, 0x48_18_6a, 0x47_2d_7b, 0x42_40_86, 0x3b_52_8b, 0x33_63_8d, 0x2c_72_8e, 0x26_82_8e, 0x21_91_8c,
    0x1f_a0_88, 0x28_ae_80, 0x3f_bc_73, 0x5e_c9_62, 0x84_d4_4b, 0xad_dc_30, 0xd8_e2_19, 0xfd_e7_25,
];
/// Tol's blue to red without green, white in the middle.
const DIVERGING: [u32; 9] =
    [0x21_66_ac, 0x43_93_c3, 0x92_c5_de, 0xd1_e5_f0, 0xf7_f7_f7, 0xfd_db_c7, 0xf4_a5_82, 0xd6_60_4d, 0xb2_18_2b];

fn ramp(colors: &[u32], part: f64) -> Rgb {
    let place = part.clamp(0.0, 1.0) * (colors.len() - 1) as f64;
    let below = (place as usize).min(colors.len() - 2);
    let rgb = |c: u32| Rgb((c >> 16) as u8, (c >> 8) as u8, c as u8);
    rgb(colors[below]).mix(rgb(colors[below + 1]), place - below as f64)
}

/// Red, green and blue of the sequential colour map at `part` (0..=1), the same in figures and viewer.
#[must_use]
pub fn viridis(part: f64) -> [u8; 3] {
    let Rgb(red, green, blue) = ramp(&VIRIDIS, part);
    [red, green, blue]
}

/// Red, green and blue of the signed colour map at `part` (-1..=1, white at 0), the same in figures and viewer.
#[must_use]
pub fn diverging(part: f64) -> [u8; 3] {
    let Rgb(red, green, blue) = ramp(&DIVERGING, f64::midpoint(part, 1.0));
    [red, green, blue]
}

/// Black or white as red, green and blue, whichever is read better on `ground`; the same in figures and viewer.
#[must_use]
pub fn readable_on([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let Rgb(red, green, blue) = ink_on(Rgb(red, green, blue));
    [red, green, blue]
}

/// A colour map with its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub low: f64,
    pub high: f64,
    /// Blue over white to red, zero in the middle.
    diverging: bool,
}

impl Scale {
    /// Viridis from `low` to `high`.
    pub(super) fn sequential(low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, diverging: false }
    }

    /// Blue below zero, red above, as far to either side as `values` go.
    pub(super) fn diverging(values: impl Iterator<Item = f64>) -> Self {
        let far = values.filter(|v| v.is_finite()).fold(0.0_f64, |a, v| a.max(v.abs()));
        let far = if far > 0.0 { far } else { 1.0 };
        Self { low: -far, high: far, diverging: true }
    }

    /// The colour of a value; grey for null.
    pub(super) fn color(&self, value: Option<f64>) -> Rgb {
        let Some(value) = value.filter(|v| v.is_finite()) else { return GREY };
        let part = (value - self.low) / (self.high - self.low);
        ramp(if self.diverging { &DIVERGING } else { &VIRIDIS }, part)
    }
}

/// The colour of line `i` of `n` that have an order: from dark to light, never too light for white paper.
pub(super) fn ordered(i: usize, n: usize) -> Rgb {
    ramp(&VIRIDIS, if n < 2 { 0.3 } else { 0.82 * i as f64 / (n - 1) as f64 })
}

/// Black or white, whichever is read better on `on`.
pub(super) fn ink_on(on: Rgb) -> Rgb {
    if luminance(on) > 0.2 { INK } else { WHITE }
}

/// Relative luminance, 0..=1.
fn luminance(color: Rgb) -> f64 {
    let [r, g, b] = linear(color);
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn linear(color: Rgb) -> [f64; 3] {
    [color.0, color.1, color.2].map(|v| {
        let v = f64::from(v) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Machado, Oliveira and Fernandes (2009), severity 1: protanopia, deuteranopia, tritanopia; and ordinary sight.
    const SIGHTS: [[[f64; 3]; 3]; 4] = [
        [[0.152_286, 1.052_583, -0.204_868], [0.114_503, 0.786_281, 0.099_216], [-0.003_882, -0.048_116, 1.051_998]],
        [[0.367_322, 0.860_646, -0.227_968], [0.280_085, 0.672_501, 0.047_413], [-0.011_820, 0.042_940, 0.968_881]],
        [[1.255_528, -0.076_749, -0.178_779], [-0.078_411, 0.930_809, 0.147_602], [0.004_733, 0.691_367, 0.303_900]],
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    ];

    /// CIELAB (D65) of a colour as someone with `sight` sees it.
    fn lab(color: Rgb, sight: &[[f64; 3]; 3]) -> [f64; 3] {
        let rgb = linear(color);
        let seen = sight.map(|row| row.iter().zip(rgb).map(|(m, v)| m * v).sum::<f64>().clamp(0.0, 1.0));
        let xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]];
        let white = [0.9505, 1.0, 1.089];
        let f = |t: f64| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let [x, y, z]: [f64; 3] =
            std::array::from_fn(|i| f(xyz[i].iter().zip(seen).map(|(m, v)| m * v).sum::<f64>() / white[i]));
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn apart(a: Rgb, b: Rgb) -> f64 {
        let one = |sight: &[[f64; 3]; 3]| {
            let (a, b) = (lab(a, sight), lab(b, sight));
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        SIGHTS.iter().map(one).fold(f64::INFINITY, f64::min)
    }

    /// Least distance of two of `colors` for any sight; a just noticeable difference is about 2.3.
    pub(in super::super) fn closest(colors: &[Rgb]) -> f64 {
        let pairs = colors.iter().enumerate().flat_map(|(i, a)| colors[..i].iter().map(|b| apart(*a, *b)));
        pairs.fold(f64::INFINITY, f64::min)
    }

    /// Contrast of two colours, 1..=21.
    pub(in super::super) fn contrast(a: Rgb, b: Rgb) -> f64 {
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn colours_stay_apart_for_every_sight() {
        let series: Vec<Rgb> = SERIES.iter().map(|s| s.0).collect();
        assert!(closest(&series) > 15.0, "{}", closest(&series));
        let blue_green = [Rgb(0, 114, 178), Rgb(0, 110, 170)];
        assert!(closest(&blue_green) < 5.0, "the measure tells close colours");
        for n in 2..=8 {
            let ordered: Vec<Rgb> = (0..n).map(|i| ordered(i, n)).collect();
            assert!(closest(&ordered) > 7.0, "{n}: {}", closest(&ordered));
        }
    }

    #[test]
    fn no_two_series_look_alike() {
        for (i, j) in (0..=LINES).flat_map(|i| (0..i).map(move |j| (i, j))) {
            let (a, b) = (series(i), series(j));
            assert!((a.color, a.dash) != (b.color, b.dash), "{i} and {j}");
        }
        assert_eq!((series(LINES), style(None)), (series(LINES + 9), series(LINES)));
        for style in (0..5).map(series) {
            assert!(1.05 / (luminance(style.color) + 0.05) >= 3.0, "{style:?} is too pale on white");
        }
    }

    #[test]
    fn maps_are_monotone_and_centred() {
        let lightness = |rgb: Rgb| lab(rgb, &SIGHTS[3])[0];
        for i in 0..100 {
            let at = |i: i32| lightness(ramp(&VIRIDIS, f64::from(i) / 100.0));
            assert!(at(i + 1) > at(i), "{i}");
        }
        let scale = Scale::diverging([0.1, -0.4, f64::NAN].into_iter());
        assert_eq!((scale.low, scale.high), (-0.4, 0.4));
        assert_eq!(scale.color(Some(0.0)), Rgb(0xf7, 0xf7, 0xf7));
        assert!(scale.color(Some(-0.4)).2 > 0xa0 && scale.color(Some(0.4)).0 > 0xa0);
        assert_eq!(scale.color(None), GREY);
        for i in 0..=20 {
            let ground = ramp(&VIRIDIS, f64::from(i) / 20.0);
            assert!(contrast(ground, ink_on(ground)) >= 3.8, "{i}: {}", contrast(ground, ink_on(ground)));
            let ground = diverging(f64::from(i) / 10.0 - 1.0);
            let [red, green, blue] = readable_on(ground);
            let contrast = contrast(Rgb(ground[0], ground[1], ground[2]), Rgb(red, green, blue));
            assert!(contrast >= 3.8, "{i}: {contrast}");
        }
    }
}
