//! Very many tasks, layers, experts and runs, and names that are long: nothing runs over, no two look alike, and what is
//! left out is said.

use super::files::layout;
use super::*;
use crate::store::{
    ALL, ConflictRow, ContextRow, DatasetRow, LayerRow, Manifest, PairRow, RecordWriter, RoutingRow, WriterOptions,
    write_dataset,
};
use half::f16;

struct Many {
    tasks: Vec<String>,
    layers: usize,
    experts: usize,
}

fn long(i: usize) -> String {
    format!("{}{i:03}{}", "vision_language_".repeat(4), "_of_the_second_half".repeat(3))
}

/// A run in which every task has two samples, the first three tasks more.
fn run(dir: &RunDir, of: &Many) {
    Manifest::start(vec!["covft-probe".into()], 0, "cpu", "avx512").write(dir).unwrap();
    let samples: Vec<(String, usize)> =
        (0..of.tasks.len() * 2 + 12).map(|i| (format!("s{i}"), if i < 12 { i % 3 } else { (i - 12) / 2 })).collect();
    let row = |(sample, task): &(String, usize)| DatasetRow {
        index: None,
        sample: sample.clone(),
        split: "train".into(),
        task: Some(of.tasks[*task].clone().into()),
        image: None,
        width: None,
        height: None,
        question: format!("What of {sample}?"),
        answer: "That".into(),
    };
    write_dataset(dir, &samples.iter().map(row).collect::<Vec<_>>()).unwrap();
    let mut writer = RecordWriter::create(dir, WriterOptions::default()).unwrap();
    for step in 0..2_u64 {
        writer.push(&[made::step_row("instruct", step, step, 3.0)]).unwrap();
        for layer in 0..of.layers {
            let name = (layer.to_string(), Some(layer as i32));
            writer.push(&[layer_row(step, &name.0, name.1)]).unwrap();
            for (i, (sample, task)) in samples.iter().enumerate().filter(|_| step == 1) {
                let value = |e: usize| 1.0 + made::noise((e + task * 7 + layer) as u64);
                let sum: f64 = (0..of.experts).map(value).sum();
                let weights = (0..of.experts).map(|e| (value(e) / sum) as f32).collect();
                let (stage, layer) = ("instruct".to_owned(), name.0.clone());
                let vector = (0..8).map(|k| f16::from_f64(made::noise((i * 31 + k) as u64))).collect();
                let (sample, depth, logits) = (sample.clone(), name.1, vec![0.0; of.experts]);
                writer
                    .push(&[ContextRow {
                        index: None,
                        split: None,
                        stage: stage.clone(),
                        step,
                        sample: sample.clone(),
                        layer: layer.clone(),
                        depth,
                        tracked: false,
                        vector,
                    }])
                    .unwrap();
                writer
                    .push(&[RoutingRow {
                        index: None,
                        split: None,
                        stage,
                        step,
                        sample,
                        layer,
                        depth,
                        tracked: false,
                        logits,
                        weights,
                        entropy: 1.0,
                    }])
                    .unwrap();
            }
        }
        let all = [None].into_iter().chain((0..of.layers).map(Some));
        for layer in all {
            let few = layer.is_some();
            let pairs = samples.iter().zip(samples.iter().skip(1)).enumerate();
            let rows: Vec<PairRow> = pairs
                .filter(|(i, _)| !few || i.is_multiple_of(40))
                .map(|(i, (a, b))| pair(step, i, [a, b], layer, &of.tasks))
                .collect();
            for within in [true, false] {
                let of: Vec<&PairRow> = rows.iter().filter(|r| (r.task_a == r.task_b) == within).collect();
                let Some(first) = of.first() else { continue };
                let mut counts = ConflictRow::like(first);
                of.iter().for_each(|row| counts.count(row));
                writer.push(&[counts]).unwrap();
            }
            writer.push(&rows).unwrap();
        }
    }
    writer.finish().unwrap();
}

fn pair(step: u64, i: usize, of: [&(String, usize); 2], layer: Option<usize>, tasks: &[String]) -> PairRow {
    let cosine = made::noise(step + i as u64) as f32;
    PairRow {
        index_a: None,
        index_b: None,
        split: None,
        stage: "instruct".into(),
        step,
        layer: layer.map_or(ALL.into(), |l| l.to_string()).into(),
        depth: layer.map(|l| l as i32),
        module: ALL.into(),
        space: "trainable".into(),
        tracked: false,
        mode: "sketch".into(),
        sample_a: of[0].0.as_str().into(),
        sample_b: of[1].0.as_str().into(),
        task_a: Some(tasks[of[0].1].as_str().into()),
        task_b: Some(tasks[of[1].1].as_str().into()),
        dot: f64::from(cosine),
        cosine: Some(cosine),
        error: Some(0.1),
        low: Some(cosine - 0.2),
        high: Some(cosine + 0.2),
    }
}

fn layer_row(step: u64, layer: &str, depth: Option<i32>) -> LayerRow {
    LayerRow { layer: layer.into(), depth, ..made::layer_row(WHOLE, step, ALL, None) }
}

/// Every figure of one run, at every venue: inside its page, nothing over anything else.
fn check(plots: &[Plot], out: &std::path::Path, venues: &[Venue]) {
    let mut faults = Vec::new();
    for plot in plots {
        for venue in venues.iter().copied() {
            let (_, height) = plot.size(venue);
            if height > venue.height() * 72.0 {
                faults.push(format!("{} {venue}: {height} pt high", plot.id()));
            }
            faults.extend(layout(plot, venue));
        }
        plot.save(Venue::Cvpr, &[Format::Png], out, &["plot".into()]).unwrap();
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults[..faults.len().min(40)].join("\n"));
}

fn loaded(inputs: &Inputs, ids: &[FigureId], options: &Options) -> Vec<Plot> {
    ids.iter().flat_map(|id| Plot::load(*id, inputs, &options.of_figure(*id)).unwrap()).collect()
}

const OF_RUN: [FigureId; 10] = [
    FigureId::Loss,
    FigureId::Drift,
    FigureId::Overhead,
    FigureId::TaskConflict,
    FigureId::LayerConflict,
    FigureId::ContextClusters,
    FigureId::ClusterSamples,
    FigureId::RoutingContext,
    FigureId::RoutingByTask,
    FigureId::ExpertLoad,
];

fn notes(plot: &Plot) -> Value {
    serde_json::from_str::<Value>(&plot.json(Venue::Cvpr, &[]).unwrap()).unwrap()["notes"]["not_shown"].take()
}

#[test]
fn two_hundred_tasks_forty_layers_and_sixty_experts_fit_a_page() {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    run(&dir, &Many { tasks: (0..200).map(long).collect(), layers: 40, experts: 60 });
    let inputs = Inputs::of_run(&dir).unwrap();
    let plots = loaded(&inputs, &OF_RUN, &Options { clusters: 25, ..Options::default() });
    check(&plots, &kept(root.path().join("figures")).join("many"), &[Venue::Cvpr, Venue::Neurips, Venue::Slides]);
    for (id, what, of) in [
        (FigureId::TaskConflict, "tasks", 200),
        (FigureId::ContextClusters, "clusters", 25),
        (FigureId::ContextClusters, "tasks", 200),
        (FigureId::RoutingByTask, "tasks", 200),
        (FigureId::RoutingByTask, "layers", 40),
        (FigureId::ExpertLoad, "experts", 60),
        (FigureId::ExpertLoad, "layers", 40),
        (FigureId::ClusterSamples, "clusters", 25),
    ] {
        let plot = plots.iter().find(|p| p.id() == id).unwrap();
        let notes = notes(plot);
        let note =
            notes.as_array().unwrap().iter().find(|n| n["what"] == what).unwrap_or_else(|| panic!("{id}: {notes}"));
        let shown = note["shown"].as_u64().unwrap();
        assert_eq!(
            (note["of"].as_u64(), note["names"].as_array().unwrap().len() as u64),
            (Some(of), of - shown),
            "{id}"
        );
        let svg = String::from_utf8(plot.draw(Venue::Cvpr, Format::Svg).unwrap()).unwrap();
        let said = if note["together"] == true {
            format!("others ({}", of - shown)
        } else {
            format!("showing {shown} of {of} {what}")
        };
        assert!(svg.contains(&said), "{id}: {said}");
    }
    // The largest tasks are named, each by what sets it apart.
    let svg = plots[5].draw(Venue::Cvpr, Format::Svg).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    assert!(["000", "001", "002"].iter().all(|n| svg.contains(n)), "{svg}");
    let few = loaded(&inputs, &[FigureId::TaskConflict], &Options { most: Some(3), ..Options::default() });
    assert_eq!(notes(&few[0])[0]["shown"], 3);
}

#[test]
fn twenty_five_runs_with_long_names_come_into_one_figure() {
    let root = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for i in 0..25 {
        let dir = RunDir::create(root.path().join(long(i))).unwrap();
        made::run(&dir, Made { contexts: false, pairs: false, steps: 12, seed: i as u64, ..WHOLE });
        paths.push(dir.path().to_owned());
    }
    let inputs = Inputs::open(&paths).unwrap();
    let ids = [FigureId::Loss, FigureId::Drift, FigureId::Overhead, FigureId::GradientCosine];
    let plots = loaded(&inputs, &ids, &Options::default());
    check(&plots, &kept(root.path().join("figures")).join("runs"), &[Venue::Cvpr, Venue::Neurips, Venue::Slides]);
    let svg = String::from_utf8(plots[0].draw(Venue::Cvpr, Format::Svg).unwrap()).unwrap();
    assert!(svg.contains("others (12 runs)") && (0..13).all(|i| svg.contains(&format!("{i:03}"))), "{svg}");
    assert!(plots[0].warnings(Venue::Cvpr).is_empty());
    let asked = Options { most: Some(20), ..Options::default() };
    let warning = Plot::load(FigureId::Loss, &inputs, &asked).unwrap()[0].warnings(Venue::Cvpr).join("\n");
    assert!(warning.starts_with("loss: --most 20, but 13 of 25 runs"), "{warning}");
    assert!(notes(&plots[3])[0]["names"].as_array().is_some_and(|names| !names.is_empty()));
}

#[test]
fn ordinary_runs_leave_nothing_out() {
    let (_root, plots) = plots();
    for plot in &plots {
        assert!(notes(plot).is_null() && plot.warnings(Venue::Cvpr).is_empty(), "{}", plot.id());
    }
}
