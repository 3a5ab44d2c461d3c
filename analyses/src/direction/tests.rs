//! Made gradients whose directions are known, exact and through count sketches of the test's own.

use super::{Definition, LayerSketches, Series, Sketches, directions, momentum, sketched};
use crate::stats::{Stream, Summary};
use crate::store::{ALL, GradientRow, LayerRow, RecordWriter, RunDir, WriterOptions};
use half::f16;

fn normal(stream: &mut Stream) -> f64 {
    (0..12).map(|_| stream.unit()).sum::<f64>() - 6.0
}

/// `steps` gradients of `n` numbers: `strength` times a fixed unit vector plus isotropic noise of norm about 1.
fn gradients(steps: usize, n: usize, strength: f64, seed: u64) -> Vec<Vec<f64>> {
    let mut stream = Stream::new(seed);
    let planted: Vec<f64> = (0..n).map(|_| stream.sign() / (n as f64).sqrt()).collect();
    let mut one = || planted.iter().map(|p| strength * p + normal(&mut stream) / (n as f64).sqrt()).collect();
    (0..steps).map(|_| one()).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn half_row(numbers: &[f64]) -> (f32, Vec<f16>) {
    let scale = numbers.iter().fold(0.0_f64, |m, v| m.max(v.abs())) as f32;
    (scale, numbers.iter().map(|v| f16::from_f64(v / f64::from(scale))).collect())
}

fn layer(name: &str, gradients: &[Vec<f64>], sketch: impl Fn(&[f64]) -> Vec<f64>) -> LayerSketches {
    let mut layer = LayerSketches {
        layer: name.into(),
        depth: name.parse().ok(),
        buckets: sketch(&gradients[0]).len(),
        steps: Vec::new(),
        norms: Vec::new(),
        scales: Vec::new(),
        numbers: Vec::new(),
    };
    for (step, g) in gradients.iter().enumerate() {
        let (scale, numbers) = half_row(&sketch(g));
        assert!(layer.push(step as u64, norm(g), scale, &numbers));
    }
    layer
}

/// A textbook count sketch: every coordinate has a bucket and a sign of its own.
fn count_sketch(k: usize, seed: u64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| {
        let mut stream = Stream::new(seed);
        let mut out = vec![0.0; k];
        for v in x {
            out[stream.below(k)] += stream.sign() * v;
        }
        out
    }
}

fn made(layers: Vec<LayerSketches>) -> Sketches {
    Sketches { stage: "s".into(), space: "trainable".into(), layers }
}

fn whole(sketches: &Sketches, definition: Definition) -> Series {
    sketched(sketches, definition).pop().unwrap()
}

fn mean_of(series: &Series) -> f64 {
    series.summary().unwrap().mean
}

#[test]
fn noise_has_no_direction_unless_a_step_is_compared_with_itself() {
    let t = 64;
    let noise = made(vec![layer("0", &gradients(t, 4000, 0.0, 1), <[f64]>::to_vec)]);
    let (alone, raw) = (whole(&noise, Definition::Mean), whole(&noise, Definition::MeanRaw));
    assert!(mean_of(&alone).abs() < 0.01, "{}", mean_of(&alone));
    let expected = 1.0 / (t as f64).sqrt();
    assert!((mean_of(&raw) / expected - 1.0).abs() < 0.1, "{} {expected}", mean_of(&raw));
    // Signs that are drawn say so too.
    assert!(alone.null.unwrap().mean.abs() < 0.005 && (raw.null.unwrap().mean / expected - 1.0).abs() < 0.1);
    let svd = whole(&noise, Definition::Svd);
    let null = svd.null.unwrap();
    assert!(mean_of(&svd) >= 0.0 && (mean_of(&svd) - null.mean).abs() < 4.0 * null.deviation, "{svd:?}");
}

#[test]
fn a_planted_direction_is_found_by_every_definition() {
    let n = 3000;
    // |planted| = |noise| = 1: each gradient has a cosine of 1 / sqrt(2) with the planted vector.
    let planted = made(vec![layer("0", &gradients(100, n, 1.0, 2), <[f64]>::to_vec)]);
    for definition in [Definition::Mean, Definition::MeanRaw, Definition::Svd] {
        let series = whole(&planted, definition);
        assert!((mean_of(&series) - 0.5_f64.sqrt()).abs() < 0.02, "{definition}: {}", mean_of(&series));
        assert_eq!((series.t(), series.below_zero(), series.skipped.len()), (100, Some(0.0), 0));
        assert_eq!(series.histogram(2), [0, 100]);
        assert!(series.null.unwrap().mean < 0.15);
    }
}

#[test]
fn exact_values_of_three_small_gradients() {
    let g = vec![vec![3.0, 0.0], vec![0.0, 2.0], vec![1.0, 0.0]];
    // A sketch in which no two coordinates share a bucket is exact.
    let made = made(vec![layer("0", &g, <[f64]>::to_vec)]);
    let close = |series: &Series, expected: [f64; 3]| {
        let off = series.cosines.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-3, "{:?} {expected:?}", series.cosines);
    };
    let root = 0.5_f64.sqrt();
    close(&whole(&made, Definition::Mean), [root, 0.0, root]);
    let raw = 20_f64.sqrt();
    close(&whole(&made, Definition::MeanRaw), [4.0 / raw, 2.0 / raw, 4.0 / raw]);
    close(&whole(&made, Definition::Svd), [1.0, 0.0, 1.0]);
}

#[test]
fn standard_errors_cover_the_exact_values_layer_by_layer_and_over_all() {
    let (t, n) = (40, 4000);
    let exact: Vec<_> = [3, 4].map(|seed| gradients(t, n, 0.5, seed)).into();
    let truth = made(exact.iter().enumerate().map(|(i, g)| layer(&i.to_string(), g, <[f64]>::to_vec)).collect());
    for definition in [Definition::Mean, Definition::MeanRaw, Definition::Svd] {
        let mut scores = vec![Vec::new(); 3];
        let mut mean_scores = Vec::new();
        for trial in 0..12 {
            let sketch = |i: usize| count_sketch(256, 100 + 2 * trial + i as u64);
            let noisy = made(exact.iter().enumerate().map(|(i, g)| layer(&i.to_string(), g, sketch(i))).collect());
            for ((scores, a), b) in
                scores.iter_mut().zip(sketched(&noisy, definition)).zip(sketched(&truth, definition))
            {
                let pairs = a.cosines.iter().zip(&b.cosines).zip(&a.errors);
                scores.extend(pairs.map(|((a, b), error)| (a - b) / error));
                mean_scores.push((mean_of(&a) - mean_of(&b)) / a.mean_error);
            }
        }
        for scores in &scores {
            let summary = Summary::of(scores.iter().copied()).unwrap();
            let covered = scores.iter().filter(|z| z.abs() <= 1.96).count() as f64 / scores.len() as f64;
            assert!(covered > 0.9, "{definition}: {covered}");
            // The error is an upper bound, and no far one.
            assert!((0.6..1.1).contains(&summary.deviation), "{definition}: {summary:?}");
            assert!(summary.mean.abs() < 0.35, "{definition}: {summary:?}");
        }
        let outside = mean_scores.iter().filter(|z| z.abs() > 2.5).count();
        assert!(outside <= 2, "{definition}: {mean_scores:?}");
    }
}

#[test]
fn steps_that_some_layer_lacks_or_that_are_not_finite_are_left_out_and_counted() {
    let g = gradients(6, 50, 1.0, 5);
    let mut one = layer("0", &g, <[f64]>::to_vec);
    one.norms[2] = f64::NAN;
    let other = layer("1", &g[..5], <[f64]>::to_vec);
    let all = sketched(&made(vec![one, other]), Definition::Mean);
    assert_eq!((all[0].steps.as_slice(), all[0].skipped.as_slice()), ([0, 1, 3, 4, 5].as_slice(), [2].as_slice()));
    assert_eq!(all[1].t(), 5);
    assert_eq!((all[2].layer.as_str(), all[2].steps.as_slice()), (ALL, [0, 1, 3, 4].as_slice()));
    let joined =
        Sketches::joined(&[made(vec![layer("0", &g, <[f64]>::to_vec)]), made(vec![layer("0", &g, <[f64]>::to_vec)])]);
    assert_eq!(whole(&joined.unwrap(), Definition::MeanRaw).t(), 12);
    assert_eq!(whole(&made(vec![layer("0", &g[..1], <[f64]>::to_vec)]), Definition::Mean).t(), 0, "no other step");
}

#[test]
fn a_run_is_read_and_its_last_stage_taken() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    let g = gradients(5, 64, 2.0, 6);
    for stage in ["base", "instruct"] {
        for (step, g) in g.iter().enumerate() {
            let (scale, sketch) = half_row(g);
            let row = |layer: &str, depth, kind: &str| GradientRow {
                index: None,
                split: None,
                stage: stage.into(),
                step: step as u64,
                layer: layer.into(),
                depth: Some(depth),
                kind: kind.into(),
                space: "trainable".into(),
                sample: None,
                tracked: false,
                elements: 64,
                norm: norm(g),
                scale,
                sketch: sketch.clone(),
                error: 0.1,
            };
            writer.push(&[row("final_norm", 1, "batch"), row("0", 0, "batch"), row("0", 0, "sample")]).unwrap();
        }
    }
    let layer = |step, layer: &str, depth, momentum| LayerRow {
        stage: "instruct".into(),
        step,
        layer: layer.into(),
        depth,
        module: ALL.into(),
        elements: 1,
        drift: 0.0,
        drift_relative: None,
        drift_per_element: None,
        update: 0.0,
        grad_norm: None,
        momentum,
    };
    let rows = [layer(0, "0", Some(0), None), layer(1, "0", Some(0), Some(0.5)), layer(1, ALL, None, Some(f64::NAN))];
    writer.push(&rows).unwrap();
    writer.finish().unwrap();
    let names = |stage| directions(&dir, Definition::Mean, stage, "trainable").unwrap();
    let all = names(None);
    let places: Vec<_> = all.iter().map(|s| (s.stage.as_str(), s.layer.as_str(), s.t())).collect();
    assert_eq!(places, [("instruct", "0", 5), ("instruct", "final_norm", 5), ("instruct", ALL, 5)]);
    assert_eq!(names(Some("base"))[0].cosines, all[0].cosines);
    assert!(names(Some("none")).is_empty());
    assert!(directions(&dir, Definition::Svd, None, "shared").unwrap().is_empty());
    let moved = directions(&dir, Definition::Momentum, None, "trainable").unwrap();
    assert_eq!((moved[0].cosines.as_slice(), moved[0].skipped.len()), ([0.5].as_slice(), 0));
    assert_eq!((moved[1].t(), moved[1].skipped.as_slice()), (0, [1].as_slice()));
    assert!(momentum(&rows[..1], None).is_empty());
}

#[test]
fn names_come_back() {
    for definition in Definition::ALL {
        assert_eq!(definition.to_string().parse(), Ok(definition));
    }
    assert!("median".parse::<Definition>().unwrap_err().contains("mean_raw"));
}
