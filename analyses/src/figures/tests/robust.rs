//! Runs that lack streams, are damaged, half-written, or huge.

use super::*;
use crate::store::{RecordWriter, RoutingRow, WriterOptions};
use std::fs;

fn message(id: FigureId, inputs: &Inputs) -> String {
    Plot::load(id, inputs, &Options::default()).unwrap_err().to_string()
}

#[test]
fn a_run_that_lacks_it_says_which_option_logs_it() {
    let bare = Made { log_grads: false, contexts: false, pairs: false, steps: 9, seed: 1 };
    let (_root, dir, inputs) = run_of(bare);
    for (id, option) in [
        (FigureId::GradientCosine, "--log-grads"),
        (FigureId::TaskConflict, "sample_sketches = true"),
        (FigureId::LayerConflict, "sample_sketches = true"),
        (FigureId::ContextClusters, "`[probe] contexts = true`"),
        (FigureId::ClusterSamples, "`[probe] contexts = true`"),
        (FigureId::RoutingContext, "`[probe] contexts = true`"),
        (FigureId::RoutingByTask, "`[probe] routing = true`"),
        (FigureId::ExpertLoad, "`[probe] routing = true`"),
        (FigureId::ConflictOverSteps, "covft-probe experiment conflict"),
        (FigureId::ConflictByLayer, "covft-probe experiment conflict"),
    ] {
        let message = message(id, &inputs);
        assert!(message.contains(option) && message.ends_with("run"), "{id}: {message}");
    }
    fs::remove_dir_all(dir.records()).unwrap();
    for id in FigureId::ALL {
        assert!(matches!(Plot::load(id, &inputs, &Options::default()), Err(FigureError::Lacks { .. })), "{id}");
    }
    assert!("nonsense".parse::<FigureId>().unwrap_err().to_string().contains("loss, drift"));
}

#[test]
fn what_is_damaged_is_told_and_the_rest_is_drawn() {
    let (_root, dir, inputs) = run_of(Made { steps: 30, ..WHOLE });
    let part = fs::read_dir(dir.stream("layers")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(dir.stream("layers").join(".part-000009.parquet.tmp"), "half").unwrap();
    fs::write(dir.stream("steps").join("part-000999.parquet"), "no parquet").unwrap();
    assert!(Plot::load(FigureId::Loss, &inputs, &Options::default()).is_ok());
    assert!(message(FigureId::Drift, &inputs).contains("drift = true"));
    let problems = inputs.problems();
    assert!(problems.iter().any(|p| p.contains("part-000999.parquet")), "{problems:?}");
    assert!(problems.iter().any(|p| p.contains("damaged") && p.contains("layers")), "{problems:?}");
    fs::write(dir.manifest(), "{\"schema\": 1").unwrap();
    let message = Inputs::open(&[dir.path().to_owned()]).unwrap_err().to_string();
    assert!(message.ends_with("manifest.json"), "{message}");
    fs::remove_file(dir.manifest()).unwrap();
    let message = Inputs::open(&[dir.path().to_owned()]).unwrap_err().to_string();
    assert!(message.contains("no run directory"), "{message}");
}

#[test]
fn numbers_that_are_not_finite_break_lines_and_poison_nothing() {
    let (root, whole, _) = run_of(Made { steps: 12, ..WHOLE });
    let mut rows = crate::store::read_records::<crate::store::StepRow>(&whole).unwrap().rows;
    for (row, loss) in rows.iter_mut().zip([1.0, f64::NAN, f64::INFINITY, 2.0]) {
        (row.loss, row.ms_data) = (loss, loss);
    }
    let dir = RunDir::create(root.path().join("other")).unwrap();
    fs::copy(whole.manifest(), dir.manifest()).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    writer.push(&rows).unwrap();
    writer.finish().unwrap();
    let inputs = Inputs::of_run(&dir).unwrap();
    for id in [FigureId::Loss, FigureId::Overhead] {
        for plot in Plot::load(id, &inputs, &Options::default()).unwrap() {
            let svg = String::from_utf8(plot.draw(Venue::Cvpr, Format::Svg).unwrap()).unwrap();
            // As words, never as a place.
            assert!(!svg.contains("NaN,") && !svg.contains("=\"NaN") && !svg.contains("inf\""), "{id}");
            assert_eq!(plot.left_out().len(), 1, "{id}: {:?}", plot.left_out());
        }
    }
}

/// A run of one stage with these losses.
fn losses(root: &std::path::Path, name: &str, losses: &[f64]) -> Inputs {
    let (_other, whole, _) = run_of(Made { steps: 2, ..WHOLE });
    let model = crate::store::read_records::<crate::store::StepRow>(&whole).unwrap().rows.remove(0);
    let dir = RunDir::create(root.join(name)).unwrap();
    fs::copy(whole.manifest(), dir.manifest()).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    let row = |(i, loss): (usize, &f64)| {
        let mut row = model.clone();
        (row.step, row.global_step, row.loss) = (i as u64, i as u64, *loss);
        row
    };
    writer.push(&losses.iter().enumerate().map(row).collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    Inputs::of_run(&dir).unwrap()
}

#[test]
fn a_diverged_run_shows_where_its_loss_ceased_to_be_finite() {
    let root = tempfile::tempdir().unwrap();
    let nan = f64::NAN;
    let inputs = losses(root.path(), "diverged", &[3.0, 2.0, nan, 1.5, nan, f64::INFINITY, 2.5, nan, nan, nan]);
    let plot = Plot::load(FigureId::Loss, &inputs, &Options::default()).unwrap().remove(0);
    let left = plot.left_out();
    let words = "6 losses are not finite (5 NaN, 1 infinite): left out (NaN at step 2, NaN at step 4, infinite at step 5, \
                 NaN from step 7 on)";
    assert_eq!(left, [format!("diverged, stage base: {words}")]);
    let scene = plot.scene(Venue::Cvpr);
    let texts: Vec<&str> = scene
        .items
        .iter()
        .filter_map(|i| if let scene::Item::Text { text, .. } = i { Some(text.as_str()) } else { None })
        .collect();
    assert!(texts.contains(&"NaN at step 2, and 2 more") && texts.contains(&"infinite at step 5"), "{texts:?}");
    // The infinite value is in no scale: no tick is above 3.
    assert!(!texts.iter().any(|t| t.parse::<f64>().is_ok_and(|v| v > 9.0)), "{texts:?}");
    // The points at steps 3 and 6 stand alone: each is a disc, by step and smoothed.
    let discs = scene.items.iter().filter(|i| matches!(i, scene::Item::Disc { .. })).count();
    assert_eq!(discs, 4);
    assert!(files::layout(&plot, Venue::Cvpr).is_empty(), "{:?}", files::layout(&plot, Venue::Cvpr));
    let all = losses(root.path(), "dead", &[nan; 5]);
    let plot = Plot::load(FigureId::Loss, &all, &Options::default()).unwrap().remove(0);
    assert!(plot.left_out()[0].ends_with("(NaN from step 0 on)"), "{:?}", plot.left_out());
    plot.draw(Venue::Cvpr, Format::Png).unwrap();
}

#[test]
fn steps_measure_and_module_make_the_figure_what_is_asked_for() {
    let (_root, _dir, inputs) = run_of(Made { steps: 40, ..WHOLE });
    let with = |id, options: Options| Plot::load(id, &inputs, &options).unwrap().remove(0);
    let last = |csv: &str, column: usize| csv.lines().last().unwrap().split(',').nth(column).unwrap().to_owned();
    let some = Options { steps: Some((10, 19)), measure: Measure::Update, ..Options::default() };
    let drift = with(FigureId::Drift, some.clone());
    let csv = drift.csv();
    assert!(
        csv.starts_with("run,stage,layer,step,update\n") && last(&csv, 3) == "19" && last(&csv, 4) == "0.01",
        "{csv}"
    );
    let error = Plot::load(FigureId::Drift, &inputs, &Options { measure: Measure::Relative, ..Options::default() });
    assert!(error.unwrap_err().to_string().contains("drift / norm of the start in `layers`"));
    let error = Plot::load(FigureId::Loss, &inputs, &some).unwrap_err().to_string();
    assert!(error.contains("does not take --measure"), "{error}");
    for id in [FigureId::RoutingByTask, FigureId::ExpertLoad, FigureId::ContextClusters, FigureId::Loss] {
        let plot = with(id, Options { steps: Some((8, 15)), ..Options::default() });
        let json: serde_json::Value = serde_json::from_str(&plot.json(Venue::Cvpr, &[]).unwrap()).unwrap();
        assert_eq!(json["options"]["steps"], serde_json::json!([8, 15]), "{id}");
    }
    let samples = crate::analysis::NamedSelection::new("odd", [(None, "ocr-1"), (None, "counting-3")]);
    let only = Options { samples: Some(samples), ..Options::default() };
    let csv = with(FigureId::ContextClusters, only.clone()).csv();
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let csv = with(FigureId::RoutingByTask, only).csv();
    assert!(csv.contains("ocr") && !csv.contains("captioning"), "{csv}");
    for by in ColorBy::ALL {
        let options = Options { color_by: by, axes: (2, 3), ..Options::default() };
        let plot = with(FigureId::ContextClusters, options);
        let header = plot.csv().lines().next().unwrap().to_owned();
        assert!(header.starts_with("sample,task,cluster,pc2,pc3"), "{header}");
        assert_eq!(header.ends_with(&format!(",{by}")), by != ColorBy::Cluster, "{header}");
        for venue in [Venue::Cvpr, Venue::Neurips] {
            assert!(files::layout(&plot, venue).is_empty(), "{by}: {:?}", files::layout(&plot, venue));
            plot.draw(venue, Format::Pdf).unwrap();
        }
    }
}

/// All words of a figure, a line each.
fn texts(plot: &Plot) -> String {
    let text = |i: &scene::Item| if let scene::Item::Text { text, .. } = i { Some(text.clone() + "\n") } else { None };
    plot.scene(Venue::Slides).items.iter().filter_map(text).collect()
}

/// A run of another stage beside `path` is not drawn as if it were of the same.
fn other_stages(path: &std::path::Path) {
    let root = tempfile::tempdir().unwrap();
    let base = losses(root.path(), "short", &[3.0, 2.0, 1.0]).runs.remove(0).run;
    let inputs = Inputs::open(&[base.path().to_owned(), path.to_owned()]).unwrap();
    for id in [FigureId::Loss, FigureId::Overhead] {
        let plot = Plot::load(id, &inputs, &Options::default()).unwrap().remove(0);
        let all = texts(&plot);
        assert!(all.contains("short (stage base)") && all.contains("full (stage instruct)"), "{all}");
        assert!(id == FigureId::Overhead || all.contains("step of the stage\n"), "{all}");
    }
}

#[test]
fn several_runs_overlay_and_studies_name_what_has_not_begun() {
    let root = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (i, name) in ["full", "covft", "lora"].into_iter().enumerate() {
        let dir = RunDir::create(root.path().join(name)).unwrap();
        made::run(&dir, Made { contexts: name == "covft", pairs: false, seed: i as u64, ..WHOLE });
        paths.push(dir.path().to_owned());
    }
    let inputs = Inputs::open(&paths).unwrap();
    let out = kept(root.path().join("figures")).join("overlay");
    let command = &["plot".to_owned()];
    for id in [FigureId::Loss, FigureId::Drift, FigureId::GradientCosine, FigureId::Overhead] {
        let plots = Plot::load(id, &inputs, &Options::default()).unwrap();
        assert_eq!(plots.len(), 1);
        assert!(["full", "covft", "lora"].iter().all(|label| plots[0].csv().contains(label)), "{id}");
        for venue in [Venue::Cvpr, Venue::Neurips] {
            plots[0].save(venue, &Format::ALL, &out.join(venue.to_string()), command).unwrap();
        }
    }
    // Only one of them has routing: its figure needs no label.
    let plots = Plot::load(FigureId::ExpertLoad, &inputs, &Options::default()).unwrap();
    assert_eq!(plots.iter().map(Plot::name).collect::<Vec<_>>(), ["expert-load"]);
    let absent = "expert-load: 2 of 3 runs have nothing for it and are not in it: full, lora".to_owned();
    assert_eq!(inputs.problems(), [absent]);
    fs::remove_dir_all(paths[2].join("records").join("steps")).unwrap();
    let inputs = Inputs::open(&paths).unwrap();
    Plot::load(FigureId::Loss, &inputs, &Options::default()).unwrap();
    assert_eq!(inputs.problems(), ["loss: 1 of 3 runs have nothing for it and are not in it: lora"]);
    assert!(
        texts(&Plot::load(FigureId::Loss, &inputs, &Options::default()).unwrap()[0]).contains("step of stage instruct")
    );
    other_stages(&paths[0]);
    let twice = Inputs::open(&[paths[1].clone(), paths[1].clone()]).unwrap();
    let plots = Plot::load(FigureId::ExpertLoad, &twice, &Options::default()).unwrap();
    let names: Vec<&str> = plots.iter().map(Plot::name).collect();
    assert_eq!(names, ["expert-load--covft", "expert-load--covft--2-"]);
    made::conflict_study(root.path());
    fs::remove_dir_all(root.path().join("full-1-a")).unwrap();
    let study = Inputs::open(&[root.path().to_owned()]).unwrap();
    assert_eq!((study.missing.len(), study.runs.len()), (1, 7));
}

/// Resident memory in bytes, where the system tells.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb * 1024)
}

#[test]
#[ignore = "a million rows take seconds: run alone, since it measures the process's memory"]
fn a_million_routing_rows_in_bounded_memory() {
    let (root, whole, _) = run_of(Made { contexts: false, pairs: false, steps: 2, ..WHOLE });
    let dir = RunDir::create(root.path().join("huge")).unwrap();
    fs::copy(whole.manifest(), dir.manifest()).unwrap();
    let inputs = Inputs::of_run(&dir).unwrap();
    let mut writer = RecordWriter::create(&dir, WriterOptions::default()).unwrap();
    for step in 0..2000_u64 {
        let rows: Vec<RoutingRow> = (0..500_u64)
            .map(|i| RoutingRow {
                index: None,
                split: None,
                stage: "instruct".into(),
                step,
                sample: format!("{}-{}", made::TASKS[(i % 5) as usize], i % 8),
                layer: (i % 12).to_string(),
                depth: Some((i % 12) as i32),
                tracked: false,
                logits: vec![0.0; 4],
                weights: vec![0.25; 4],
                entropy: 1.0,
            })
            .collect();
        writer.push(&rows).unwrap();
    }
    writer.finish().unwrap();
    let before = resident().unwrap();
    for id in [FigureId::RoutingByTask, FigureId::ExpertLoad] {
        Plot::load(id, &inputs, &Options::default()).unwrap()[0].draw(Venue::Cvpr, Format::Pdf).unwrap();
    }
    let more = resident().unwrap() - before;
    assert!(more < 150_000_000, "{more} bytes more");
}
