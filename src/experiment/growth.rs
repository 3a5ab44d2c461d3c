//! How a step's time and peak memory grow with batch, tokens, layers and experts, one at a time.
//!
//! Every point is a fresh process, so that its peak memory is its own. A power law `a x^b` is fitted to all points of an
//! axis, and the exponent between the last two is given beside it: what does not grow (weights, the other parts) lowers the
//! first more than the second.

use super::beside_torch::{BesideError, in_fresh_process};
use super::step_bench::{Preset, StepBench, median};
use std::fmt::Write as _;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Samples.
    Batch,
    /// Tokens of an image.
    ImageTokens,
    /// Text tokens after the image.
    TextTokens,
    /// Blocks of the vision encoder.
    TowerLayers,
    /// Blocks of the language model.
    LanguageLayers,
    /// Experts of each CoMoE layer.
    Experts,
}

impl Axis {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Batch, Self::ImageTokens, Self::TextTokens, Self::TowerLayers, Self::LanguageLayers, Self::Experts];

    /// Name in commands and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::ImageTokens => "image-tokens",
            Self::TextTokens => "text-tokens",
            Self::TowerLayers => "tower-layers",
            Self::LanguageLayers => "language-layers",
            Self::Experts => "experts",
        }
    }

    /// Title of its axis.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Batch => "samples a batch",
            Self::ImageTokens => "tokens an image",
            Self::TextTokens => "text tokens a sample",
            Self::TowerLayers => "vision encoder layers",
            Self::LanguageLayers => "language model layers",
            Self::Experts => "experts a layer",
        }
    }

    /// The steps to measure, and where each stands on the axis.
    #[must_use]
    pub fn points(self, base: StepBench) -> Vec<(usize, StepBench)> {
        let patch = match base.preset {
            Preset::Tiny => 8,
            Preset::Real | Preset::Real112 => 14,
        };
        let values: &[usize] = match self {
            // Patches a side.
            Self::ImageTokens => &[4, 8, 12, 16, 24],
            Self::TextTokens => &[24, 48, 96, 192, 384, 768],
            Self::TowerLayers => &[4, 8, 16, 32],
            Self::Batch | Self::LanguageLayers => &[2, 4, 8, 16, 32],
            Self::Experts => &[1, 2, 4, 8, 16],
        };
        let point = |value: &usize| {
            let (mut bench, value) = (base, *value);
            match self {
                Self::Batch => bench.batch = value,
                Self::ImageTokens => bench.resized.image_size = Some(value * patch),
                Self::TextTokens => bench.text_len = value,
                Self::TowerLayers => bench.resized.tower_layers = Some(value),
                Self::LanguageLayers => bench.resized.language_layers = Some(value),
                Self::Experts => bench.resized.experts = Some(value),
            }
            (if self == Self::ImageTokens { value * value } else { value }, bench)
        };
        values.iter().map(point).collect()
    }
}

/// One point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Place on the axis.
    pub value: usize,
    /// Seconds of every timed step.
    pub all: Vec<f64>,
    /// Peak memory in MiB.
    pub peak_mib: f64,
}

impl Point {
    /// Median step in seconds.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&self.all)
    }

    /// Fastest step in seconds.
    #[must_use]
    pub fn fastest(&self) -> f64 {
        self.all.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What grows.
    pub axis: Axis,
    /// In rising order.
    pub points: Vec<Point>,
}

/// Exponents of `a x^b`: over all points, and between the last two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponents {
    /// Least squares over the logarithms.
    pub all: f64,
    /// From the last point but one to the last.
    pub last: f64,
}

impl Exponents {
    /// Of points whose numbers are above 0; NaN for fewer than two.
    #[must_use]
    pub fn of(points: &[(f64, f64)]) -> Self {
        let logs: Vec<(f64, f64)> = points.iter().map(|p| (p.0.ln(), p.1.ln())).collect();
        Self { all: slope(&logs), last: slope(&logs[logs.len().saturating_sub(2)..]) }
    }
}

/// Of the least-squares line.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0 / n, s.1 + p.1 / n));
    let (xy, xx) = points.iter().fold((0.0, 0.0), |s, p| (s.0 + (p.0 - x) * (p.1 - y), s.1 + (p.0 - x).powi(2)));
    xy / xx
}

impl Curve {
    /// Measures `axis` from `base` on: all points in turn, `rounds` times; `progress` hears of each.
    ///
    /// # Errors
    /// A process that fails.
    pub fn measure(
        axis: Axis,
        base: StepBench,
        rounds: usize,
        mut progress: impl FnMut(Axis, usize),
    ) -> Result<Self, BesideError> {
        let steps = axis.points(base);
        let empty = |(value, _): &(usize, StepBench)| Point { value: *value, all: Vec::new(), peak_mib: 0.0 };
        let mut points: Vec<Point> = steps.iter().map(empty).collect();
        for _ in 0..rounds {
            for (point, (value, bench)) in points.iter_mut().zip(&steps) {
                progress(axis, *value);
                let report = in_fresh_process(bench)?;
                point.all.extend(report.all);
                point.peak_mib = point.peak_mib.max(report.peak_mib.unwrap_or(0) as f64);
            }
        }
        Ok(Self { axis, points })
    }

    /// `(value, seconds)` of the fastest steps: what else the machine does only ever adds to a time.
    #[must_use]
    pub fn time(&self) -> Vec<(f64, f64)> {
        self.points.iter().map(|p| (p.value as f64, p.fastest())).collect()
    }

    /// `(value, MiB)`.
    #[must_use]
    pub fn memory(&self) -> Vec<(f64, f64)> {
        self.points.iter().map(|p| (p.value as f64, p.peak_mib)).collect()
    }
}

/// All points as CSV.
#[must_use]
pub fn csv(curves: &[Curve]) -> String {
    let mut text = String::from("axis,value,median_step_s,fastest_step_s,timed_steps,peak_mib\n");
    for curve in curves {
        for p in &curve.points {
            let (axis, value, steps, mib) = (curve.axis.name(), p.value, p.all.len(), p.peak_mib);
            // Writing into a String cannot fail.
            writeln!(text, "{axis},{value},{:.6},{:.6},{steps},{mib}", p.median(), p.fastest()).ok();
        }
    }
    text
}

/// The exponents as a Markdown table.
#[must_use]
pub fn markdown(curves: &[Curve]) -> String {
    let mut text = String::from(
        "| grows | from, to | fastest step, ms | exponent, all (last two) | peak memory, MiB | exponent, all (last two) |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for curve in curves {
        let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else { continue };
        let (time, memory) = (Exponents::of(&curve.time()), Exponents::of(&curve.memory()));
        writeln!(
            text,
            "| {} | {} to {} | {:.1} to {:.1} | {:.2} ({:.2}) | {:.0} to {:.0} | {:.2} ({:.2}) |",
            curve.axis.title(),
            first.value,
            last.value,
            first.fastest() * 1e3,
            last.fastest() * 1e3,
            time.all,
            time.last,
            first.peak_mib,
            last.peak_mib,
            memory.all,
            memory.last
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::step_bench::{Method, Resized};
    use super::*;

    #[test]
    fn exponents_of_power_laws() {
        let square: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 8.0].map(|x| (x, 3.0 * x * x)).to_vec();
        let found = Exponents::of(&square);
        assert!((found.all - 2.0).abs() < 1e-12 && (found.last - 2.0).abs() < 1e-12);
        // A constant beside a line: flat at first, a line in the end.
        let line: Vec<(f64, f64)> = [1.0, 10.0, 1000.0, 10_000.0].map(|x| (x, x + 100.0)).to_vec();
        let found = Exponents::of(&line);
        assert!(found.all < 0.6 && found.last > 0.95, "{found:?}");
        assert!(Exponents::of(&[(1.0, 1.0)]).all.is_nan());
    }

    #[test]
    fn an_axis_changes_one_size() {
        let (preset, method) = (Preset::Tiny, Method::Covft);
        let resized = Resized::default();
        let base = StepBench { preset, resized, method, batch: 8, text_len: 48, question_len: 16, steps: 3 };
        for axis in Axis::ALL {
            let points = axis.points(base);
            assert!(points.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 != p[1].1), "{axis:?}");
            assert!(axis == Axis::TowerLayers || points.iter().any(|p| p.0 == value(axis)), "{axis:?}");
        }
        let side = Axis::ImageTokens.points(base)[1].1.resized.image_size;
        assert_eq!(side, Some(64));
    }

    /// Where the preset stands.
    fn value(axis: Axis) -> usize {
        match axis {
            Axis::Batch => 8,
            Axis::ImageTokens => 64,
            Axis::TextTokens => 48,
            Axis::TowerLayers => 6,
            Axis::LanguageLayers | Axis::Experts => 4,
        }
    }

    #[test]
    fn tables() {
        let point = |value: usize| Point { value, all: vec![value as f64 * 0.01], peak_mib: 100.0 };
        let curves = [Curve { axis: Axis::Batch, points: [2, 4, 8].map(point).to_vec() }];
        let row = "| samples a batch | 2 to 8 | 20.0 to 80.0 | 1.00 (1.00) | 100 to 100 | 0.00 (0.00) |\n";
        assert!(markdown(&curves).ends_with(row), "{}", markdown(&curves));
        assert!(csv(&curves).contains("\nbatch,4,0.040000,0.040000,1,100\n"), "{}", csv(&curves));
    }
}
