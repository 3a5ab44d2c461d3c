//! Files: whole or not there.

use super::toy::{Script, Toy, ToySource, plan, stage};
use crate::config::train::Schedule;
use crate::models::checkpoint::{Safetensors, write_safetensors};
use crate::nn::TensorSource;
use crate::train::checkpoint::{CheckpointDir, Loaded, latest, list};
use crate::train::{TrainError, Trainer};
use candle_core::{DType, Device, Tensor};
use std::fs;
use std::path::Path;

/// Trains 6 steps with a checkpoint at every step; `losses` are the evaluations' at every step and at the end.
fn train(saver: &mut CheckpointDir, losses: &[f64]) -> Result<Toy, TrainError> {
    let mut stage = stage(Schedule::Constant, 0);
    (stage.checkpoint_every, stage.eval_every) = (Some(1), Some(1));
    let plan = plan(stage, 6);
    let (toy, mut source, mut script) = (Toy::new(), ToySource::new(4, 1), Script(losses.to_vec()));
    let trainer = Trainer::new(&plan, &toy, &mut source)?;
    trainer.with_evaluator(&mut script).with_saver(saver).run()?;
    Ok(toy)
}

const LOSSES: [f64; 7] = [5.0, 3.0, 4.0, 4.5, 4.6, 4.7, 4.8];

fn steps(dir: &Path) -> Vec<u64> {
    list(dir).unwrap().into_iter().map(|(step, _)| step).collect()
}

fn hidden(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
    names.filter(|n| n.to_string_lossy().starts_with('.')).count()
}

#[test]
fn the_last_two_and_the_best_stay_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut saver = CheckpointDir::open(dir.path()).unwrap().with_file("config.json", b"{}".to_vec());
    let toy = train(&mut saver, &LOSSES).unwrap();
    assert_eq!(steps(dir.path()), [2, 5, 6], "the best is after step 2");
    assert_eq!(hidden(dir.path()), 0);
    let last = latest(dir.path()).unwrap().unwrap();
    assert_eq!(fs::read(last.join("config.json")).unwrap(), b"{}");
    let loaded = Loaded::open(&last).unwrap();
    assert_eq!(Toy::from_source(&loaded.model).bytes(), toy.bytes());
    assert!(loaded.state.stage_finished);
    assert_eq!(loaded.state.best_eval_loss, Some(3.0));
    let dims = loaded.optimizer.get("second_moment.head.weight").unwrap().unwrap().dims().to_vec();
    assert_eq!(dims, [12, 8]);
    assert!(loaded.optimizer.get("first_moment.tower.frozen.weight").unwrap().is_none());
}

#[test]
fn a_write_that_fails_leaves_older_checkpoints_alone() {
    let dir = tempfile::tempdir().unwrap();
    train(&mut CheckpointDir::open(dir.path()).unwrap(), &LOSSES).unwrap();
    let before = fs::read(dir.path().join("step-000006/model.safetensors")).unwrap();
    // The last file of a checkpoint cannot be made: its folder does not exist.
    let mut saver = CheckpointDir::open(dir.path()).unwrap().with_file("nowhere/config.json", Vec::new());
    let error = train(&mut saver, &LOSSES).unwrap_err().to_string();
    assert!(error.starts_with("cannot write: ") && error.ends_with("nowhere/config.json"), "{error}");
    assert_eq!(steps(dir.path()), [2, 5, 6]);
    assert_eq!(hidden(dir.path()), 0, "nothing half-written stays");
    assert_eq!(fs::read(dir.path().join("step-000006/model.safetensors")).unwrap(), before);
}

#[test]
fn a_checkpoint_of_the_same_step_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    train(&mut CheckpointDir::open(dir.path()).unwrap(), &LOSSES).unwrap();
    let mut saver = CheckpointDir::open(dir.path()).unwrap().with_file("config.json", b"new".to_vec());
    train(&mut saver, &LOSSES).unwrap();
    assert_eq!(fs::read(dir.path().join("step-000006/config.json")).unwrap(), b"new");
    assert_eq!(hidden(dir.path()), 0);
}

#[test]
fn opening_finishes_what_a_killed_run_left() {
    let dir = tempfile::tempdir().unwrap();
    train(&mut CheckpointDir::open(dir.path()).unwrap(), &LOSSES).unwrap();
    fs::create_dir(dir.path().join(".writing-step-000007")).unwrap();
    fs::create_dir(dir.path().join(".deleting-step-000004")).unwrap();
    // Killed between the two renames of a replacement, and after both.
    fs::rename(dir.path().join("step-000006"), dir.path().join(".old-step-000006")).unwrap();
    fs::create_dir(dir.path().join(".old-step-000005")).unwrap();
    assert_eq!(steps(dir.path()), [2, 5], "no reader looks at hidden names");
    let saver = CheckpointDir::open(dir.path()).unwrap();
    assert_eq!(steps(dir.path()), [2, 5, 6]);
    assert_eq!(hidden(dir.path()), 0);
    Loaded::open(&saver.path_of(6)).unwrap();
    saver.drop_after(2).unwrap();
    assert_eq!(steps(dir.path()), [2]);
}

#[test]
fn a_checkpoint_that_lacks_a_tensor_is_not_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let toy = train(&mut CheckpointDir::open(dir.path()).unwrap(), &LOSSES).unwrap();
    let path = dir.path().join("step-000006");
    let file = path.join("model.safetensors");
    let whole = Safetensors::open(&file).unwrap();
    let all: Vec<(&str, Tensor)> = whole.names().map(|name| (name, whole.get(name).unwrap().unwrap())).collect();
    let write = |tensors: &[(&str, Tensor)]| {
        let borrowed: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        write_safetensors(&file, &borrowed).unwrap();
    };
    write(&all[1..]);
    let (n, path_shown) = (all.len(), path.display());
    let wanted = format!(
        "model.safetensors holds {} tensors, and {n} were saved; go on from another checkpoint by moving this one away: \
         {path_shown}",
        n - 1
    );
    assert_eq!(Loaded::open(&path).unwrap_err().to_string(), wanted);
    // As many, but another one; and one of another shape.
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let (first, second) = (all[0].0, all[1].0);
    let mut other = all.clone();
    other[0] = ("zz", all[0].1.clone());
    other[1].1 = zeros(&[1, 2, 3]);
    write(&other);
    let error = Loaded::open(&path).unwrap().check(&toy.params).unwrap_err().to_string();
    let wanted = format!("(missing: {first}; of another shape: {second}; of no use: zz)");
    assert!(error.contains(&wanted) && error.ends_with(&path_shown.to_string()), "{error}");
    write(&all);
    Loaded::open(&path).unwrap().check(&toy.params).unwrap();
}

#[test]
fn files_that_are_cut_short_or_garbled_are_named() {
    let dir = tempfile::tempdir().unwrap();
    train(&mut CheckpointDir::open(dir.path()).unwrap(), &LOSSES).unwrap();
    let path = dir.path().join("step-000006");
    for name in ["model.safetensors", "optimizer.safetensors", "start.safetensors"] {
        let file = path.join(name);
        let whole = fs::read(&file).unwrap();
        for length in [0, 7, 100, whole.len() - 1] {
            fs::write(&file, &whole[..length]).unwrap();
            let error = Loaded::open(&path).unwrap_err().to_string();
            assert!(error.contains("the file is truncated"), "{error}");
            assert!(error.ends_with(&file.display().to_string()), "{error}");
        }
        fs::write(&file, whole).unwrap();
    }
    let state = path.join("state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("\"schema\": 1", "\"schema\": 9")).unwrap();
    let error = Loaded::open(&path).unwrap_err().to_string();
    assert!(error.contains("layout version 9") && error.ends_with("state.json"), "{error}");
    fs::remove_file(&state).unwrap();
    let error = Loaded::open(&path).unwrap_err().to_string();
    assert!(error.starts_with("cannot read: ") && error.ends_with("state.json"), "{error}");
}
