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
        (row.loss, row.ms_total) = (loss, loss);
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
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{id}");
        }
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
