//! The recorder against models of a few numbers whose answers are known.

use super::{ProbeError, Recorder, RecorderSetup};
use crate::config::probe::{ProbeConfig, Schedule};
use crate::models::covft::LayerRouting;
use crate::nn::{Init, MapSource, ParamBuilder, ParamStore, Part, Role};
use crate::ops::{LayerId, Path, on_path};
use crate::train::hook::{
    EvalRow, EvalView, FirstMoments, GradientView, Hook, MicroBatch, Prediction, SampleLoss, StageView, StepId,
    StepTimes, StepView,
};
use candle_core::{Device, Tensor};
use covft_analyses::store::{
    self, ContextRow, LayerRow, Manifest, RecordWriter, RoutingRow, RunDir, SampleRow, StepRow,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
struct Moments(HashMap<String, Vec<f32>>);

impl FirstMoments for Moments {
    fn first_moment(&self, name: &str) -> candle_core::Result<Option<Cow<'_, [f32]>>> {
        Ok(self.0.get(name).map(Cow::from))
    }
}

/// Layer 0 frozen, layer 1 with `mlp` and `gate` that train (`trains` says which), and a language weight.
fn model(trains: &dyn Fn(&str, &Role) -> bool) -> ParamStore {
    let nothing = MapSource::default();
    let root = ParamBuilder::new(&nothing, &trains, 0, &Device::Cpu);
    let vision = root.part(Part::Vision);
    let layer = |i| vision.layer(LayerId::Block(i));
    layer(0).module("attention").get(&[2, 2], "a", Init::Ones).unwrap();
    layer(1).module("mlp").get(&[4], "b", Init::Ones).unwrap();
    layer(1).module("gate").get(&[3], "c", Init::Zeros).unwrap();
    vision.layer(LayerId::FinalNorm).module("layer_norm").get(&[2], "d", Init::Ones).unwrap();
    root.part(Part::Language).get(&[2], "l", Init::Ones).unwrap();
    root.finish()
}

fn covft(_: &str, role: &Role) -> bool {
    role.part == Part::Language || matches!(role.module, "mlp" | "gate")
}

struct Rig {
    root: tempfile::TempDir,
    dir: RunDir,
    recorder: Recorder,
    params: ParamStore,
}

fn at(step: u64) -> StepId<'static> {
    StepId { stage: "instruct", step, global_step: 100 + step }
}

fn rig(
    params: ParamStore,
    config: ProbeConfig,
    scale: Option<f64>,
) -> Result<Rig, Box<dyn std::error::Error + Send + Sync>> {
    let root = tempfile::tempdir().unwrap();
    let dir = RunDir::create(root.path().join("run")).unwrap();
    Manifest::start(vec![], 0, "cpu", "plain").write(&dir).unwrap();
    let writer = RecordWriter::create(&dir, store::WriterOptions::default()).unwrap();
    let lora_scales = scale.map(|s| ("instruct".to_owned(), s)).into_iter().collect::<BTreeMap<_, _>>();
    let mut recorder = Recorder::new(RecorderSetup { dir: dir.clone(), writer, config, lora_scales });
    let start = MapSource::default();
    recorder.stage_start(&StageView {
        stage: "instruct",
        index: 0,
        steps: 9,
        steps_in_run: 9,
        start_step: 0,
        params: &params,
        start_values: &start,
    })?;
    Ok(Rig { root, dir, recorder, params })
}

fn log_grads() -> ProbeConfig {
    ProbeConfig { log_grads: true, sample_sketches: false, ..ProbeConfig::default() }
}

fn batch() -> MicroBatch {
    let sample = |id: &str, has_image, loss_sum, tokens| {
        let (id, split) = (id.into(), crate::data::Split::Train);
        SampleLoss { id, index: 4, split, task: None, has_image, loss_sum, tokens }
    };
    let tensor = |values: &[f32], width: usize| Tensor::from_slice(values, (3, width), &Device::Cpu).unwrap();
    let routing = |layer| LayerRouting {
        layer,
        context: tensor(&[0.5, 1.0, 2.0, 3.0, 4.0, 5.0], 2),
        logits: tensor(&[0.0, 0.0, 1.0, -1.0, 9.0, 9.0], 2),
        weights: tensor(&[0.5, 0.5, 1.0, 0.0, 0.5, 0.5], 2),
    };
    MicroBatch {
        samples: vec![sample("p", true, 6.0, 3), sample("q", true, 0.0, 0), sample("text", false, 1.0, 1)],
        routing: vec![routing(0), routing(1)],
    }
}

impl Rig {
    fn gradient(&self, name: &str, values: &[f32]) {
        let slot = self.params.get(name).unwrap().weight.slot().unwrap().clone();
        slot.clear();
        slot.accumulate(&Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()).unwrap();
    }

    fn set(&self, name: &str, values: &[f32]) {
        let weight = &self.params.get(name).unwrap().weight;
        weight.assign(&Tensor::from_slice(values, weight.dims(), &Device::Cpu).unwrap()).unwrap();
    }

    fn see_gradients(&mut self, step: u64, moments: &Moments) {
        assert!(self.recorder.wants_gradients(at(step)));
        let view = GradientView { at: at(step), params: &self.params, first_moments: moments };
        self.recorder.gradients(&view).unwrap();
    }

    fn step(&mut self, step: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let batches = [batch()];
        self.recorder.step(&StepView {
            at: at(step),
            steps_in_stage: 9,
            steps_in_run: 9,
            loss: 1.75,
            objectives: &[],
            learning_rates: &[("vision".into(), 0.5), ("vision.no_decay".into(), 0.25), ("language".into(), 0.125)],
            grad_norm: 2.0,
            clip_factor: 0.5,
            labelled_tokens: 4,
            sequence_tokens: 20,
            micro_batches: &batches,
            params: &self.params,
            times: StepTimes::default(),
        })
    }

    fn read<R: store::Record>(self) -> (tempfile::TempDir, Vec<R>) {
        self.recorder.finish().unwrap();
        let read = store::read_records(&self.dir).unwrap();
        assert!(read.problems.is_empty());
        (self.root, read.rows)
    }
}

fn row<'a>(rows: &'a [LayerRow], step: u64, layer: &str, module: &str) -> &'a LayerRow {
    rows.iter().find(|r| r.step == step && r.layer == layer && r.module == module).unwrap()
}

#[test]
fn numbers_of_two_steps() {
    two_steps();
}

/// Parameters and gradients that the host cannot look into are copied.
#[test]
fn numbers_of_two_steps_elsewhere() {
    on_path(Path::Device, two_steps);
}

fn two_steps() {
    let mut rig = rig(model(&covft), log_grads(), None).unwrap();
    rig.gradient("b", &[3.0, 0.0, 0.0, 4.0]);
    rig.gradient("c", &[0.0; 3]);
    rig.see_gradients(0, &Moments::default());
    rig.step(0).unwrap();
    let moments =
        |b: [f32; 4]| Moments(HashMap::from([("b".to_owned(), b.to_vec()), ("c".to_owned(), vec![1.0, 0.0, 0.0])]));
    rig.see_gradients(1, &moments([6.0, 0.0, 0.0, 8.0]));
    rig.set("b", &[4.0, 1.0, 1.0, 5.0]);
    rig.set("c", &[0.0, 0.0, 2.0]);
    rig.step(1).unwrap();
    rig.gradient("c", &[-2.0, 0.0, 0.0]);
    rig.see_gradients(2, &moments([-3.0, 0.0, 0.0, -4.0]));
    rig.set("b", &[4.0, 1.0, 1.0, 7.0]);
    rig.step(2).unwrap();
    // A gradient of nothing but rounding beside one of norm 5.
    rig.gradient("c", &[-2e-6, 0.0, 0.0]);
    rig.see_gradients(3, &moments([-3.0, 0.0, 0.0, -4.0]));
    rig.step(3).unwrap();
    let (_root, rows) = rig.read::<LayerRow>();

    // Nothing moved at step 0 (learning rate 0 in the warm-up); there was no moment yet, and c's gradient is zero.
    let first = row(&rows, 0, "1", "mlp");
    assert_eq!((first.drift, first.update, first.drift_relative, first.elements), (0.0, 0.0, Some(0.0), 4));
    assert_eq!((first.grad_norm, first.momentum), (Some(5.0), None));
    assert_eq!(row(&rows, 0, "1", "gate").grad_norm, Some(0.0));

    let mlp = row(&rows, 1, "1", "mlp");
    assert_eq!((mlp.drift, mlp.update, mlp.momentum), (5.0, 5.0, Some(1.0)));
    assert_eq!((mlp.drift_relative, mlp.drift_per_element), (Some(2.5), Some(2.5)));
    let gate = row(&rows, 1, "1", "gate");
    assert_eq!((gate.drift, gate.drift_relative, gate.momentum), (2.0, None, None), "zero start, zero gradient");
    let whole = row(&rows, 1, "1", "all");
    assert_eq!((whole.drift, whole.elements), (29_f64.sqrt(), 7));
    // <g, m> = 50, |g| = 5, |m| = sqrt(101)
    assert!((whole.momentum.unwrap() - 10.0 / 101_f64.sqrt()).abs() < 1e-15);
    assert_eq!(row(&rows, 1, "all", "all").drift, whole.drift);
    assert_eq!(row(&rows, 1, "all", "all").depth, None);

    let mlp = row(&rows, 2, "1", "mlp");
    assert_eq!((mlp.drift, mlp.update, mlp.momentum), (45_f64.sqrt(), 2.0, Some(-1.0)));
    assert_eq!(row(&rows, 2, "1", "gate").update, 0.0);
    assert_eq!(row(&rows, 2, "1", "gate").momentum, Some(-1.0));
    let quiet = row(&rows, 3, "1", "gate");
    assert!(quiet.momentum.is_none() && (quiet.grad_norm.unwrap() / 2e-6 - 1.0).abs() < 1e-6, "{quiet:?}");

    let frozen = row(&rows, 2, "0", "all");
    assert_eq!((frozen.drift, frozen.update, frozen.elements), (0.0, 0.0, 0));
    assert_eq!((frozen.drift_relative, frozen.grad_norm, frozen.momentum), (None, None, None));
    assert_eq!((row(&rows, 2, "0", "all").depth, row(&rows, 2, "final_norm", "all").depth), (Some(0), Some(2)));
}

#[test]
fn lora_counts_with_the_weight_it_makes() {
    let nothing = MapSource::default();
    let trains = |name: &str, _: &Role| name.contains("lora");
    let root = ParamBuilder::new(&nothing, &trains, 0, &Device::Cpu);
    let layer = root.part(Part::Vision).layer(LayerId::Block(0));
    layer.module("attention").get(&[2, 3], "q.weight", Init::Ones).unwrap();
    let lora = layer.module("lora");
    lora.get(&[1, 3], "q.lora_down.weight", Init::Ones).unwrap();
    lora.get(&[2, 1], "q.lora_up.weight", Init::Zeros).unwrap();
    let params = root.finish();
    let error = rig(params.clone(), ProbeConfig::default(), None).err().unwrap();
    assert!(matches!(error.downcast_ref(), Some(ProbeError::NoLoraScale { .. })), "{error}");

    let mut rig = rig(params, ProbeConfig::default(), Some(2.0)).unwrap();
    rig.step(0).unwrap();
    rig.set("q.lora_up.weight", &[1.0, 0.0]);
    rig.set("q.lora_down.weight", &[1.0, 2.0, 3.0]);
    rig.step(1).unwrap();
    rig.set("q.lora_up.weight", &[1.0, 1.0]);
    rig.step(2).unwrap();
    let (_root, rows) = rig.read::<LayerRow>();
    assert_eq!(row(&rows, 0, "0", "attention").drift, 0.0);
    // 2 * [1 2 3; 0 0 0] = sqrt(4 * 14); the start is six ones.
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    let effective = row(&rows, 1, "0", "attention");
    close(effective.drift, 56_f64.sqrt());
    close(effective.drift_relative.unwrap(), (56.0_f64 / 6.0).sqrt());
    assert_eq!(effective.elements, 6);
    close(row(&rows, 2, "0", "attention").drift, 112_f64.sqrt());
    close(row(&rows, 2, "0", "attention").update, 56_f64.sqrt());
    // The factors themselves: up by 1, down by (0, 1, 2); they are not in the whole, their product is.
    close(row(&rows, 1, "0", "lora").drift, 6_f64.sqrt());
    close(row(&rows, 1, "0", "all").drift, 56_f64.sqrt());
    close(row(&rows, 2, "all", "all").drift, 112_f64.sqrt());
}

#[test]
fn every_third_step_still_has_its_own_update() {
    let config = ProbeConfig { every: Schedule::every(3), batch_sketches: false, ..log_grads() };
    let mut rig = rig(model(&covft), config, None).unwrap();
    for step in 0..4 {
        assert_eq!(rig.recorder.wants_gradients(at(step)), step % 3 == 0);
        if step % 3 == 0 {
            rig.gradient("b", &[1.0; 4]);
            rig.see_gradients(step, &Moments::default());
        }
        rig.set("b", &[2.0 + step as f32; 4]);
        rig.step(step).unwrap();
    }
    let (_root, rows) = rig.read::<LayerRow>();
    assert!(rows.iter().all(|r| r.step == 0 || r.step == 3));
    let last = row(&rows, 3, "1", "mlp");
    assert_eq!((last.drift, last.update), (8.0, 2.0));
}

#[test]
fn a_resumed_stage_drifts_from_its_start() {
    let Rig { root, dir, mut recorder, params } = rig(model(&covft), ProbeConfig::default(), None).unwrap();
    let tensor = |v: &[f32]| Tensor::from_slice(v, v.len(), &Device::Cpu).unwrap();
    let mut start = MapSource::default();
    start.tensors.insert("b".into(), tensor(&[0.0, 1.0, 1.0, 1.0]));
    let resume = |recorder: &mut Recorder, start: &MapSource| {
        recorder.stage_start(&StageView {
            stage: "instruct",
            index: 0,
            steps: 9,
            steps_in_run: 9,
            start_step: 5,
            params: &params,
            start_values: start,
        })
    };
    let error = resume(&mut recorder, &start).unwrap_err();
    assert!(error.to_string().contains("what c was"), "{error}");
    start.tensors.insert("c".into(), tensor(&[0.0; 3]));
    resume(&mut recorder, &start).unwrap();
    assert_eq!(Manifest::read(&dir).unwrap().stages.len(), 1);
    let mut rig = Rig { root, dir, recorder, params };
    rig.step(5).unwrap();
    let (_root, rows) = rig.read::<LayerRow>();
    assert_eq!((row(&rows, 5, "1", "mlp").drift, row(&rows, 5, "1", "mlp").update), (1.0, 0.0));
}

#[test]
fn steps_samples_contexts_and_routing() {
    let mut rig = rig(model(&covft), ProbeConfig::default(), None).unwrap();
    for step in 0..2 {
        rig.step(step).unwrap();
    }
    let dir = rig.dir.clone();
    let (_root, steps) = rig.read::<StepRow>();
    assert_eq!(steps.len(), 2);
    assert_eq!((steps[1].step, steps[1].global_step, steps[1].loss, steps[1].samples), (1, 101, 1.75, 3));
    assert_eq!((steps[0].lr_vision, steps[0].lr_projector, steps[0].lr_language), (Some(0.5), None, Some(0.125)));
    assert!(steps[0].probe_bytes > steps[1].probe_bytes, "all layers' contexts at step 0 only");
    let samples = store::read_records::<SampleRow>(&dir).unwrap().rows;
    assert_eq!(samples.iter().map(|s| s.loss).collect::<Vec<_>>()[..3], [Some(2.0), None, Some(1.0)]);
    let routing = store::read_records::<RoutingRow>(&dir).unwrap().rows;
    assert_eq!(routing.len(), 2 * 2 * 2, "steps, layers, samples with an image");
    assert_eq!((routing[1].logits.as_slice(), routing[1].entropy), ([1.0, -1.0].as_slice(), 0.0));
    assert!(routing.iter().all(|r| r.sample != "text"));
    let contexts = store::read_records::<ContextRow>(&dir).unwrap().rows;
    let layers = |step| contexts.iter().filter(|c| c.step == step).map(|c| c.layer.as_str()).collect::<Vec<_>>();
    assert_eq!((layers(0), layers(1)), (vec!["0", "0", "1", "1"], vec!["1", "1"]));
    assert_eq!(contexts[1].vector[1].to_f32(), 3.0);
    let table = &Manifest::read(&dir).unwrap().stages[0].parameters;
    assert_eq!(table.len(), 5);
    assert_eq!((table[1].layer.as_deref(), table[1].module.as_str(), table[1].trained), (Some("1"), "mlp", true));
}

#[test]
fn a_probe_that_sees_nothing_ends_the_run() {
    let mut blind = rig(model(&covft), log_grads(), None).unwrap();
    let error = blind.step(0).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(ProbeError::NoGradients { trained: 2, .. })), "{error}");
    // Called, but no slot was filled.
    blind.see_gradients(0, &Moments::default());
    assert!(blind.step(0).is_err());
    // Frozen: one line in the log, zeros, and no gradient asked for.
    let mut frozen = rig(model(&|_, role| role.part == Part::Language), log_grads(), None).unwrap();
    assert!(!frozen.recorder.wants_gradients(at(0)));
    frozen.step(0).unwrap();
    let (_root, rows) = frozen.read::<LayerRow>();
    assert_eq!(rows.len(), 4, "layers 0, 1, final norm, all");
    assert!(rows.iter().all(|r| r.drift == 0.0 && r.grad_norm.is_none()));
}

#[test]
fn gates_without_routing_end_the_run() {
    let mut rig = rig(model(&covft), ProbeConfig::default(), None).unwrap();
    let view_without = |params: &ParamStore, recorder: &mut Recorder| {
        let batches = [MicroBatch { routing: Vec::new(), ..batch() }];
        recorder.step(&StepView {
            at: at(0),
            steps_in_stage: 9,
            steps_in_run: 9,
            loss: 1.0,
            objectives: &[],
            learning_rates: &[],
            grad_norm: 1.0,
            clip_factor: 1.0,
            labelled_tokens: 4,
            sequence_tokens: 20,
            micro_batches: &batches,
            params,
            times: StepTimes::default(),
        })
    };
    let error = view_without(&rig.params, &mut rig.recorder).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(ProbeError::NoRouting { .. })), "{error}");
}

#[test]
fn evaluations_and_checkpoints() {
    let mut rig = rig(model(&covft), ProbeConfig::default(), None).unwrap();
    let row = |task: &str, tokens, score| EvalRow {
        task: task.into(),
        loss: if tokens == 0 { f64::NAN } else { 0.5 },
        tokens,
        samples: 2,
        score,
        scorer: Some("exact"),
        scored: 2,
        chance: score.map(|s: f64| s / 2.0),
    };
    let prediction = Prediction { sample: "p".into(), index: 7, task: None, text: "two".into(), correct: Some(1.0) };
    rig.recorder
        .evaluated(&EvalView {
            at: at(3),
            split: "val",
            rows: &[row("ocr", 0, None), row("all", 4, Some(0.25))],
            predictions: &[prediction],
        })
        .unwrap();
    rig.recorder.before_checkpoint(at(3)).unwrap();
    let dir = rig.dir.clone();
    drop(rig.recorder);
    drop(RecordWriter::resume(&dir, 103, store::WriterOptions::default()).unwrap());
    let evals = store::read_records::<store::EvalRow>(&dir).unwrap().rows;
    assert_eq!((evals[0].loss, evals[1].loss, evals[1].score), (None, Some(0.5), Some(0.25)));
    assert_eq!((evals[0].chance, evals[1].chance), (None, Some(0.125)));
    let said = &store::read_records::<store::PredictionRow>(&dir).unwrap().rows[0];
    assert_eq!((said.text.as_str(), said.index), ("two", Some(7)));
}
