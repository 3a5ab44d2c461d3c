//! Made pairs with known answers.

use super::*;
use crate::store::{ConflictRow, NoiseRow, PairRow, RecordWriter, RoutingRow, RunDir, SampleKey, WriterOptions};
use std::collections::BTreeMap;

fn pair(step: u64, layer: &str, ids: [&str; 2], tasks: [&str; 2], cosine: Option<f32>, half: f32) -> PairRow {
    PairRow {
        index_a: None,
        index_b: None,
        split: None,
        stage: "instruct".into(),
        step,
        layer: layer.into(),
        depth: layer.parse().ok(),
        module: "all".into(),
        space: "shared".into(),
        tracked: false,
        mode: "sketch".into(),
        sample_a: ids[0].into(),
        sample_b: ids[1].into(),
        task_a: Some(tasks[0].into()),
        task_b: Some(tasks[1].into()),
        dot: 1.0,
        cosine,
        error: cosine.map(|_| half / 2.0),
        low: cosine.map(|c| c - half),
        high: cosine.map(|c| c + half),
    }
}

fn run(pairs: &[Vec<PairRow>], noise: &[NoiseRow], routing: &[RoutingRow]) -> (tempfile::TempDir, RunDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    for (number, rows) in (1u64..).zip(pairs) {
        writer.push(rows).unwrap();
        // A cut closes the part: the rows of one step may come in several.
        writer.cut(number).unwrap();
    }
    writer.push(noise).unwrap();
    writer.push(routing).unwrap();
    writer.finish().unwrap();
    (root, dir)
}

fn close(a: Option<f64>, b: f64) {
    assert!((a.unwrap() - b).abs() < 1e-6, "{a:?} {b}");
}

#[test]
fn counts_say_what_the_pairs_say() {
    let pairs: Vec<PairRow> = (0..4)
        .flat_map(|step| {
            [(["a", "b"], ["vqa", "vqa"], 0.5), (["a", "c"], ["vqa", "ocr"], -0.4), (["b", "c"], ["vqa", "ocr"], 0.05)]
                .map(|(ids, tasks, c)| pair(step, "3", ids, tasks, Some(c - 0.02 * step as f32), 0.1))
        })
        .chain([pair(9, "3", ["a", "c"], ["vqa", "ocr"], None, 0.1)])
        .collect();
    let counted = |step: u64, within: bool| {
        let of: Vec<&PairRow> = pairs.iter().filter(|p| p.step == step && (p.task_a == p.task_b) == within).collect();
        of.first().map(|first| {
            let mut row = ConflictRow::like(first);
            of.iter().for_each(|pair| row.count(pair));
            row
        })
    };
    let counts: Vec<ConflictRow> =
        (0..10).flat_map(|step| [counted(step, true), counted(step, false)]).flatten().collect();
    let (_root, dir) = run(std::slice::from_ref(&pairs), &[], &[]);
    let mut writer = RecordWriter::resume(&dir, 1, WriterOptions::default()).unwrap();
    writer.push(&counts).unwrap();
    writer.finish().unwrap();
    let single = conflict(&dir, &Selection::of("shared")).unwrap();
    let whole = conflict_counts(&dir, &Selection::of("shared")).unwrap();
    let (single, cell) = (single.cell("3", "all").unwrap(), whole.cell("3", "all").unwrap());
    assert_eq!((cell.all.pairs, cell.all.conflict, cell.all.undecided, cell.all.undefined), (12, 4, 4, 1));
    for (a, b) in [(&single.all, &cell.all), (&single.within, &cell.within), (&single.across, &cell.across)] {
        assert_eq!((a.pairs, a.conflict, a.undecided, a.steps), (b.pairs, b.conflict, b.undecided, b.steps));
        close(a.mean(), b.mean().unwrap());
        close(a.error(), b.error().unwrap());
    }
    assert!(whole.problems.is_empty() && whole.stage == "instruct");
}

#[test]
fn tasks_within_and_across() {
    let pairs = vec![
        vec![
            pair(0, "all", ["a", "b"], ["vqa", "vqa"], Some(0.5), 0.1),
            pair(0, "all", ["a", "c"], ["vqa", "ocr"], Some(-0.5), 0.1),
        ],
        vec![
            pair(0, "all", ["b", "c"], ["vqa", "ocr"], Some(-0.1), 0.2),
            pair(0, "3", ["b", "c"], ["vqa", "ocr"], Some(-1.0), 0.2),
            pair(10, "all", ["d", "e"], ["ocr", "vqa"], Some(0.3), 0.1),
            pair(10, "all", ["d", "f"], ["ocr", "vqa"], None, 0.1),
            pair(10, "all", ["d", "d"], ["ocr", "ocr"], Some(1.0), 0.0),
            pair(10, "all", ["d", "g"], ["ocr", "ocr"], Some(f32::NAN), 0.0),
            PairRow { space: "trainable".into(), ..pair(10, "all", ["d", "e"], ["ocr", "vqa"], Some(0.9), 0.1) },
            PairRow { mode: "exact".into(), ..pair(10, "all", ["d", "e"], ["ocr", "vqa"], Some(0.9), 0.1) },
            PairRow { tracked: true, ..pair(10, "all", ["d", "e"], ["ocr", "vqa"], Some(0.9), 0.1) },
        ],
    ];
    let (_root, dir) = run(&pairs, &[], &[]);
    let result = conflict(&dir, &Selection::of("shared")).unwrap();
    assert!(result.problems.is_empty() && result.unlabelled == 0);
    assert_eq!((result.labels.to_vec(), result.stage.as_str()), (vec!["ocr".to_owned(), "vqa".into()], "instruct"));
    let order: Vec<_> = result.cells.iter().map(|c| c.layer.as_str()).collect();
    assert_eq!(order, ["3", "all"]);
    let cell = result.cell("all", "all").unwrap();
    let across = cell.matrix.get(1, 0);
    assert_eq!((across.pairs, across.conflict, across.undecided, across.undefined, across.steps), (3, 1, 1, 1, 2));
    close(across.mean(), -0.1);
    close(across.conflict_share(), 1.0 / 3.0);
    close(across.undecided_share(), 1.0 / 3.0);
    // Two steps: sums -0.6 over 2 pairs and 0.3 over 1; residuals -0.4 and 0.4.
    close(across.error(), (2.0 * 2.0 * 0.16_f64).sqrt() / 3.0);
    assert_eq!(cell.across, *across, "two tasks: one cell off the diagonal");
    assert_eq!((cell.within.pairs, cell.within.not_finite), (1, 1));
    close(cell.matrix.means()[1][1], 0.5);
    assert_eq!(cell.matrix.means()[0][0], None);
    assert_eq!((cell.all.pairs, cell.all.conflict), (4, 1));
    close(result.by_layer("all").next().unwrap().across.mean(), -1.0);
    assert_eq!(conflict(&dir, &Selection { steps: 10..=10, ..Selection::of("shared") }).unwrap().cells.len(), 1);
}

#[test]
fn one_step_has_the_spread_of_its_pairs_as_error() {
    let rows = [0.1, 0.2, 0.6].map(|c| pair(4, "all", ["a", "b"], ["x", "x"], Some(c), 0.2));
    let (_root, dir) = run(&[rows.to_vec()], &[], &[]);
    let result = conflict(&dir, &Selection::of("shared")).unwrap();
    let tally = result.cells[0].within;
    close(tally.error(), (0.07_f64 / 3.0).sqrt());
    close(tally.sketch_error(), 0.1 / 3.0_f64.sqrt());
    assert_eq!((tally.undecided, tally.conflict), (2, 0), "an interval that ends at 0 holds it");
    assert!(tally.k_to_decide(16).unwrap() >= 8);
}

#[test]
fn other_labels_and_samples_without_one() {
    let noise = NoiseRow {
        stage: "instruct".into(),
        step: 2,
        layer: "all".into(),
        depth: None,
        module: "all".into(),
        space: "shared".into(),
        mode: "sketch".into(),
        samples: 3,
        grad2: 2.0,
        trace: 6.0,
        scale: Some(3.0),
    };
    let negative = NoiseRow { step: 3, grad2: -1.0, trace: 4.0, scale: None, ..noise.clone() };
    let routing = |sample: &str, step, weights: [f32; 2]| RoutingRow {
        index: None,
        split: None,
        stage: "instruct".into(),
        step,
        sample: sample.into(),
        layer: "3".into(),
        tracked: false,
        depth: Some(3),
        logits: vec![0.0; 2],
        weights: weights.to_vec(),
        entropy: 0.5,
    };
    let routing = [routing("a", 2, [0.9, 0.1]), routing("b", 2, [0.2, 0.8]), routing("a", 9, [0.0, 1.0])];
    let rows = vec![
        pair(2, "3", ["a", "b"], ["x", "x"], Some(0.5), 0.1),
        pair(2, "all", ["a", "b"], ["x", "x"], Some(0.25), 0.1),
        pair(2, "3", ["a", "t"], ["x", "x"], Some(0.5), 0.1),
    ];
    let (_root, dir) = run(&[rows], &[noise, negative], &routing);
    let own = conflict_by(&dir, &Selection::of("shared"), &dominating_experts(&dir, None).unwrap()).unwrap();
    assert_eq!(own.labels.to_vec(), ["expert 0", "expert 1"]);
    assert_eq!((own.cell("3", "all").unwrap().across.pairs, own.unlabelled), (1, 2));
    assert_eq!(own.cell("3", "all").unwrap().all.pairs, 2);
    let fixed = conflict_by(&dir, &Selection::of("shared"), &dominating_experts(&dir, Some("3")).unwrap()).unwrap();
    assert_eq!(fixed.cell("all", "all").unwrap().across.pairs, 1);
    let clusters: BTreeMap<SampleKey, String> = ["a", "b", "t"].map(|s| (SampleKey::new(None, s), "c0".into())).into();
    let result = conflict_by(&dir, &Selection::of("shared"), &clusters).unwrap();
    assert_eq!(result.cell("3", "all").unwrap().within.pairs, 2);

    let points = noise_series(&dir, &Selection::of("shared")).unwrap();
    assert_eq!((points.len(), points[0].scale, points[1].scale), (2, Some(3.0), None));
    assert_eq!(pooled_scale(&points), Some(10.0));
    assert_eq!(pooled_scale(&points[1..]), None);
}
