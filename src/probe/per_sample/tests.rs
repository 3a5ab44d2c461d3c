//! Made gradients whose answers are known, through the recorder's own methods.

use super::statistics::{Cell, CellId, cells};
use super::student::t_quantile;
use super::units::Unit;
use crate::config::probe::{ProbeConfig, SampleRows, SketchK, Space};
use crate::data::Split;
use crate::nn::{Init, MapSource, ParamBuilder, ParamStore, Part};
use crate::ops::{BackwardObserver, LayerId, LinearBackward, Place, VectorBackward};
use crate::probe::{ProbeError, Recorder, RecorderSetup};
use crate::train::hook::{
    FirstMoments, GradientView, Hook, MicroView, SampleInfo, StageView, StepId, StepTimes, StepView,
};
use candle_core::Device;
use covft_analyses::store::{self, ConflictRow, Manifest, NoiseRow, PairRow, RecordWriter, RunDir, SampleGradientRow};
use std::borrow::Cow;
use std::sync::Arc;

const LAYER: LayerId = LayerId::Block(0);

struct Rig {
    root: tempfile::TempDir,
    dir: RunDir,
    recorder: Recorder,
    params: ParamStore,
}

#[derive(Debug)]
struct NoMoments;

impl FirstMoments for NoMoments {
    fn first_moment(&self, _: &str) -> candle_core::Result<Option<Cow<'_, [f32]>>> {
        Ok(None)
    }
}

fn at(step: u64) -> StepId<'static> {
    StepId { stage: "instruct", step, global_step: step }
}

/// An encoder of two experts `[2, 3]` and a bias `[2]` that train, and a frozen attention weight.
fn rig(config: ProbeConfig, trains: bool) -> Rig {
    let nothing = MapSource::default();
    let rule = |name: &str, _: &crate::nn::Role| trains && !name.contains("frozen");
    let root = ParamBuilder::new(&nothing, &rule, 0, &Device::Cpu);
    let layer = root.part(Part::Vision).layer(LAYER);
    layer.module("experts").get(&[2, 3], "mlp.experts.0.0.weight", Init::Zeros).unwrap();
    layer.module("experts").get(&[2, 3], "mlp.experts.1.0.weight", Init::Zeros).unwrap();
    layer.module("layer_norm").get(&[2], "norm.bias", Init::Zeros).unwrap();
    layer.module("attention").get(&[2, 3], "frozen.weight", Init::Zeros).unwrap();
    let params = root.finish();
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::create(folder.path().join("run")).unwrap();
    Manifest::start(vec![], 0, "cpu", "plain").write(&dir).unwrap();
    let writer = RecordWriter::create(&dir, store::WriterOptions::default()).unwrap();
    let config = ProbeConfig { log_grads: true, drift: false, ..config };
    let mut recorder = Recorder::new(RecorderSetup {
        dir: dir.clone(),
        writer,
        config,
        lora_scales: std::collections::BTreeMap::new(),
    });
    let start = MapSource::default();
    let view = StageView {
        stage: "instruct",
        index: 0,
        steps: 9,
        steps_in_run: 9,
        start_step: 0,
        params: &params,
        start_values: &start,
    };
    recorder.stage_start(&view).unwrap();
    Rig { root: folder, dir, recorder, params }
}

fn sample(id: &str, has_image: bool) -> SampleInfo {
    // Samples of one letter are entries of their own.
    SampleInfo {
        id: id.into(),
        index: u64::from(id.as_bytes()[0]),
        split: Split::Train,
        task: Some(format!("task of {id}").into()),
        has_image,
    }
}

fn exact() -> ProbeConfig {
    ProbeConfig { exact_steps: vec![0], sample_rows: SampleRows::Modules, ..ProbeConfig::default() }
}

impl Rig {
    fn observer(&mut self, step: u64, micro: u32, samples: &[SampleInfo]) -> Option<Arc<dyn BackwardObserver>> {
        self.recorder.observer(&MicroView { at: at(step), micro, micro_batches: 2, member: 0, samples })
    }

    fn step(&mut self, step: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for slot in self.params.iter().filter_map(|p| p.weight.slot()) {
            slot.accumulate_host(1, |buffer, _| buffer.fill(1.0));
        }
        if self.recorder.wants_gradients(at(step)) {
            let view = GradientView { at: at(step), params: &self.params, first_moments: &NoMoments };
            self.recorder.gradients(&view)?;
        }
        self.recorder.step(&StepView {
            at: at(step),
            steps_in_stage: 9,
            steps_in_run: 9,
            loss: 1.0,
            objectives: &[],
            learning_rates: &[],
            grad_norm: 1.0,
            clip_factor: 0.5,
            labelled_tokens: 1,
            sequence_tokens: 1,
            micro_batches: &[],
            params: &self.params,
            times: StepTimes::default(),
        })
    }

    fn read(self) -> (Vec<PairRow>, Vec<SampleGradientRow>, Vec<NoiseRow>) {
        self.recorder.finish().unwrap();
        let dir = &self.dir;
        let rows = (
            store::read_records(dir).unwrap().rows,
            store::read_records(dir).unwrap().rows,
            store::read_records(dir).unwrap().rows,
        );
        drop(self.root);
        rows
    }
}

/// A linear layer with one token a sample: `inputs` and `grads` have three and two numbers a sample.
fn show(to: &dyn BackwardObserver, weight: &str, module: &'static str, inputs: &[f32], grads: &[f32]) {
    let place = Place { layer: LAYER, module };
    let trains = !weight.contains("frozen");
    if to.wants(place, trains) {
        let samples = inputs.len() / 3;
        to.linear(&LinearBackward {
            place,
            weight,
            trains,
            input: inputs,
            output_grad: grads,
            samples,
            d_in: 3,
            d_out: 2,
        });
    }
}

fn show_bias(to: &dyn BackwardObserver, gradients: &[f32]) {
    let place = Place { layer: LAYER, module: "layer_norm" };
    let samples = gradients.len() / 2;
    to.vectors(&VectorBackward { place, weight: "norm.bias", trains: true, offset: 0, gradients, samples });
}

fn find<'a>(rows: &'a [PairRow], space: &str, mode: &str, module: &str) -> Vec<&'a PairRow> {
    let has = |r: &&PairRow| r.space == space && r.mode == mode && r.module == module && r.layer == "0";
    rows.iter().filter(has).collect()
}

/// Two experts whose gradients are opposite: in `trainable` they add up as squares, in `shared` they cancel.
#[test]
fn experts_are_added_before_inner_products_and_text_only_samples_are_null() {
    let mut rig = rig(exact(), true);
    // A micro-batch with a sample without image, then one with a sample that came before.
    for (micro, samples) in [vec![sample("a", true), sample("t", false)], vec![sample("b", true), sample("a", true)]]
        .into_iter()
        .enumerate()
    {
        let to = rig.observer(0, micro as u32, &samples).unwrap();
        let a: &[f32] = if micro == 0 { &[1.0, 0.0, 0.0, 9.0, 9.0, 9.0] } else { &[1.0, 1.0, 0.0, 1.0, 0.0, 0.0] };
        let d: &[f32] = if micro == 0 { &[2.0, 0.0, 9.0, 9.0] } else { &[3.0, 0.0, 2.0, 0.0] };
        show(&*to, "mlp.experts.0.0.weight", "experts", a, d);
        show(&*to, "mlp.experts.1.0.weight", "experts", a, &d.iter().map(|d| -d).collect::<Vec<_>>());
        show(&*to, "frozen.weight", "attention", a, d);
        show_bias(&*to, if micro == 0 { &[0.0, 1.0, 0.0, 0.0] } else { &[0.0, -3.0, 0.0, 1.0] });
    }
    rig.step(0).unwrap();
    let (pairs, gradients, noise) = rig.read();
    assert!(pairs.iter().all(|r| r.sample_a != "t" && r.sample_b != "t" && r.sample_a != r.sample_b));
    assert_eq!((pairs[0].task_a.as_deref(), pairs[0].task_b.as_deref()), (Some("task of a"), Some("task of b")));
    // <a, b>: 2 * 3 * 1 an expert; the sample that came twice gives two pairs.
    let trained = find(&pairs, "trainable", "exact", "experts");
    assert_eq!(trained.iter().map(|r| (r.dot, r.error)).collect::<Vec<_>>(), [(12.0, Some(0.0)); 2]);
    assert!((trained[0].cosine.unwrap() - 0.5_f32.sqrt()).abs() < 1e-6);
    let shared = find(&pairs, "shared", "exact", "mlp");
    assert_eq!(shared.iter().map(|r| (r.dot, r.cosine)).collect::<Vec<_>>(), [(0.0, None); 2], "they cancel");
    let frozen = find(&pairs, "shared", "exact", "attention");
    assert_eq!(frozen.iter().map(|r| r.dot).collect::<Vec<_>>(), [6.0; 2]);
    assert!(find(&pairs, "trainable", "exact", "attention").is_empty());
    let norms = find(&pairs, "shared", "sketch", "layer_norm");
    assert_eq!(
        norms.iter().map(|r| (r.dot, r.cosine, r.high)).collect::<Vec<_>>(),
        [(-3.0, Some(-1.0), Some(-1.0)); 2]
    );
    let whole = find(&pairs, "trainable", "exact", "all");
    assert_eq!(whole[0].dot, 9.0);
    // Sketches cancel exactly as well: the experts share their projections.
    assert!(find(&pairs, "shared", "sketch", "mlp").iter().all(|r| r.cosine.is_none()));
    assert!(find(&pairs, "trainable", "sketch", "experts").iter().all(|r| r.error.unwrap() > 0.0));

    let of = |sample: &str| {
        let has = |r: &&SampleGradientRow| r.sample == sample && r.mode == "exact" && r.module == "layer_norm";
        gradients.iter().find(|r| has(r) && r.layer == "0" && r.space == "trainable").unwrap()
    };
    assert_eq!((of("t").norm, of("t").alignment, of("t").error), (None, None, None));
    // b against the sum of both a.
    assert_eq!((of("b").norm, of("b").alignment), (Some(3.0), Some(-1.0)));
    let row = noise.iter().find(|r| r.module == "layer_norm" && r.mode == "exact").unwrap();
    // Observations 3 * (1, -3, 1): mean -1, variance (16 + 64 + 16) / 2 = 48, |G|^2 = 1 - 48 / 3.
    assert_eq!((row.samples, row.trace, row.grad2, row.scale), (3, 48.0, -15.0, None));
}

#[test]
fn what_is_not_shown_ends_the_run() {
    let samples = [sample("a", true), sample("b", true)];
    let (a, d) = ([1.0; 6], [1.0; 4]);
    let fails = |show_all: &dyn Fn(&dyn BackwardObserver)| {
        let mut rig = rig(ProbeConfig { sample_spaces: vec![Space::Trainable], ..exact() }, true);
        let to = rig.observer(0, 0, &samples).unwrap();
        show_all(&*to);
        let error = rig.step(0).unwrap_err();
        let Some(ProbeError::Samples { reason, .. }) = error.downcast_ref() else { panic!("{error}") };
        reason.clone()
    };
    let expert = |to: &dyn BackwardObserver, e: usize| {
        show(to, &format!("mlp.experts.{e}.0.weight"), "experts", &a, &d);
    };
    assert!(fails(&|_| ()).contains("no backward pass showed it"));
    let reason = fails(&|to| {
        expert(to, 0);
        show_bias(to, &[1.0; 4]);
    });
    assert!(reason.contains("mlp.experts.1.0.weight"), "{reason}");
    assert!(fails(&|to| show_bias(to, &[1.0; 6])).contains("3 samples in a micro-batch of 2"));
    let mut blind = rig(ProbeConfig::default(), true);
    assert!(blind.step(0).unwrap_err().to_string().contains("no backward pass was watched"));
}

#[test]
fn steps_and_frozen_encoders_are_watched_as_configured() {
    let samples = [sample("a", true)];
    let mut off = rig(ProbeConfig { sample_sketches: false, ..ProbeConfig::default() }, true);
    assert!(off.observer(0, 0, &samples).is_none());
    let mut some = rig(ProbeConfig { exact_steps: vec![3], ..ProbeConfig::default() }, true);
    let watched: Vec<u64> = (0..21).filter(|step| some.observer(*step, 0, &samples).is_some()).collect();
    assert_eq!(watched, [0, 3, 10, 20]);
    let mut frozen = rig(ProbeConfig::default(), false);
    assert!(frozen.observer(0, 0, &samples).is_none());
    let mut seen = rig(ProbeConfig { virtual_frozen: true, ..ProbeConfig::default() }, false);
    let to = seen.observer(0, 0, &samples).unwrap();
    assert!(to.wants_frozen_encoder() && to.wants(Place { layer: LAYER, module: "attention" }, false));
    show(&*to, "frozen.weight", "attention", &[1.0; 3], &[1.0; 2]);
    seen.step(0).unwrap();
    let (_, gradients, _) = seen.read();
    assert!(gradients.iter().all(|r| r.space == "shared") && gradients.len() == 3, "layer, module, everything");
}

/// Modules of layers have no rows of their own by default, but are counted.
#[test]
fn every_module_is_counted_and_stages_can_be_left_out() {
    let samples = [sample("a", true), sample("b", true), sample("a", true), sample("t", false)];
    let shown = |config: ProbeConfig| {
        let mut rig = rig(config, true);
        let to = rig.observer(0, 0, &samples)?;
        let (a, d) = ([1.0, 0.0, 2.0].repeat(4), [1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        show(&*to, "mlp.experts.0.0.weight", "experts", &a, &d);
        show(&*to, "mlp.experts.1.0.weight", "experts", &a, &d);
        show_bias(&*to, &[1.0; 8]);
        rig.step(0).unwrap();
        let dir = rig.dir.clone();
        rig.recorder.finish().unwrap();
        let counts: Vec<ConflictRow> = store::read_records(&dir).unwrap().rows;
        let pairs: Vec<PairRow> = store::read_records(&dir).unwrap().rows;
        Some((counts, pairs))
    };
    let (counts, pairs) = shown(ProbeConfig { exact_steps: vec![0], ..ProbeConfig::default() }).unwrap();
    assert!(pairs.iter().all(|r| r.layer == "all" || r.module == "all") && !pairs.is_empty());
    let (finer, _) = shown(exact()).unwrap();
    assert_eq!(counts, finer);
    let row = |module: &str, relation: &str| {
        let has =
            |r: &&ConflictRow| (r.layer.as_str(), r.mode.as_str(), r.space.as_str()) == ("0", "exact", "trainable");
        counts.iter().filter(has).find(|r| r.module == module && r.relation == relation).cloned()
    };
    // a with b: opposite; b with the second a: orthogonal; a with itself makes no pair. Each sample is a task of its own.
    let experts = row("experts", "across").unwrap();
    assert_eq!((experts.pairs, experts.conflict, experts.undecided), (2, 1, 1));
    assert!((experts.cosines + 1.0).abs() < 1e-6 && (experts.squares - 1.0).abs() < 1e-6 && experts.errors == 0.0);
    let norms = row("layer_norm", "across").unwrap();
    assert_eq!((norms.pairs, norms.conflict, norms.undecided, norms.cosines), (2, 0, 0, 2.0));
    assert!(row("experts", "within").is_none());
    let elsewhere = ProbeConfig { gradient_stages: vec!["base".into()], ..exact() };
    assert!(shown(elsewhere).is_none());
}

fn unit(module: &'static str, dots: [f64; 4], half: Option<[f64; 4]>) -> Unit {
    Unit { layer: LAYER, module, dots: dots.to_vec(), half: half.map(|h| h.to_vec()) }
}

#[test]
fn a_pair_is_undecided_while_its_interval_holds_zero() {
    let certain = unit("attention", [1.0, -0.5, -0.5, 1.0], Some([0.0, 0.2, 0.2, 0.0]));
    let unsure = unit("mlp", [1.0, -0.3, -0.3, 1.0], Some([0.0, 0.4, 0.4, 0.0]));
    let exact = unit("layer_norm", [2.0, 0.0, 0.0, 2.0], None);
    let cosine = |units: &[&Unit]| Cell::new(units, 2).cosines()[0].2.unwrap();
    // Variances add up: sqrt(0.04 + 0.16) over norms of 2, with t of 2 (0.2)^2 / (0.04^2 + 0.16^2) degrees.
    let sum = cosine(&[&certain, &unsure]);
    assert!((sum.value + 0.4).abs() < 1e-12 && (sum.error - 0.2_f64.sqrt() / 2.0).abs() < 1e-12);
    assert!((sum.high - (t_quantile(0.08 / 0.0272) * sum.error - 0.4)).abs() < 1e-9);
    assert!(sum.low < 0.0 && sum.high > 0.0);
    // What is exact adds to the norms and has no part in the error.
    let diluted = cosine(&[&certain, &unsure, &exact]);
    assert!((diluted.value + 0.2).abs() < 1e-12 && (diluted.error - 0.2_f64.sqrt() / 4.0).abs() < 1e-12);
    let alone = cosine(&[&exact]);
    assert_eq!((alone.value, alone.error, alone.low, alone.high), (0.0, 0.0, 0.0, 0.0));
    let five: Vec<Unit> = (0..5).map(|_| certain.clone()).collect();
    let agreed = cosine(&five.iter().collect::<Vec<_>>());
    assert!(agreed.high < 0.0, "five linears of -0.5 with errors of 0.2 each: {agreed:?}");
    let all = [certain, unsure, exact];
    assert_eq!(cells(&all, 2).len(), 8, "three modules and all, in the layer and over all");
}

#[test]
fn what_is_nothing_but_rounding_has_no_direction() {
    let loud = unit("experts", [4.0, 1.0, 1.0, 4.0], None);
    let square = |share: f64| (2.0 * share).powi(2);
    let quiet = |a: f64, b: f64| {
        let both = 0.5 * (square(a) * square(b)).sqrt();
        unit("gate", [square(a), both, both, square(b)], None)
    };
    let gate = |units: &[Unit; 2]| {
        let cells = cells(units, 2);
        let cell = &cells[&CellId { layer: None, module: Some("gate") }];
        assert!(cells[&CellId { layer: None, module: None }].cosines()[0].2.is_some(), "the whole has one");
        (cell.cosines()[0].2.is_some(), cell.alignments().iter().map(Option::is_some).collect::<Vec<_>>(), cell.norm(0))
    };
    // Both are loud enough, one is not, none is.
    assert_eq!(gate(&[loud.clone(), quiet(1e-3, 1e-5)]), (true, vec![true, true], 2e-3));
    assert_eq!(gate(&[loud.clone(), quiet(1e-8, 1e-5)]), (false, vec![false, false], 2e-8));
    let (cosine, aligned, norm) = gate(&[loud, quiet(1e-8, 3e-8)]);
    assert!(!cosine && aligned == [false, false] && norm > 0.0);
    // A gradient that is not finite is shown.
    let broken = [unit("experts", [4.0, 1.0, 1.0, 4.0], None), unit("gate", [f64::NAN; 4], None)];
    let found = cells(&broken, 2)[&CellId { layer: None, module: Some("gate") }].cosines()[0].2;
    assert!(found.is_some_and(|cosine| cosine.value.is_nan()));
}

/// A cosine of 1 with norms that are as wrong as the inner product is not wrong at all.
#[test]
fn errors_of_norms_and_products_cancel_where_they_are_one() {
    let one = unit("mlp", [1.0; 4], Some([0.3; 4]));
    let cell = Cell::new(&[&one], 2);
    let cosine = cell.cosines()[0].2.unwrap();
    assert!((cosine.value - 1.0).abs() < 1e-12 && cosine.error < 1e-12, "{cosine:?}");
    assert!((cell.dot_estimate(0, 1).error - 0.3).abs() < 1e-12);
    let aligned = cell.alignments()[0].unwrap();
    assert!((aligned.value - 1.0).abs() < 1e-12 && aligned.error < 1e-12);
}

#[test]
fn longer_sketches_are_refused_unless_they_are_known() {
    assert_eq!(toml::from_str::<ProbeConfig>("sketch_k = 32").unwrap().sketch_k, SketchK::K32);
    let error = toml::from_str::<ProbeConfig>("sketch_k = 24").unwrap_err().to_string();
    assert!(error.contains("choose 16, 32 or 64"), "{error}");
}

#[test]
fn entries_of_one_id_are_samples_of_their_own_and_an_entry_drawn_twice_is_one() {
    let mut rig = rig(exact(), true);
    let twin = |index| SampleInfo { index, ..sample("a", true) };
    for (micro, samples) in [[twin(3), twin(9)], [twin(9), twin(3)]].into_iter().enumerate() {
        let to = rig.observer(0, micro as u32, &samples).unwrap();
        let (a, d) = ([1.0, 1.0, 0.0, 1.0, 0.0, 0.0], [3.0, 0.0, 2.0, 0.0]);
        for (name, module) in [
            ("mlp.experts.0.0.weight", "experts"),
            ("mlp.experts.1.0.weight", "experts"),
            ("frozen.weight", "attention"),
        ] {
            show(&*to, name, module, &a, &d);
        }
        show_bias(&*to, &[0.0, -3.0, 0.0, 1.0]);
    }
    rig.step(0).unwrap();
    let (pairs, gradients, _) = rig.read();
    let exact = find(&pairs, "trainable", "exact", "experts");
    let places: Vec<_> = exact.iter().map(|r| (r.index_a, r.index_b)).collect();
    assert_eq!(places, [(Some(3), Some(9)), (Some(3), Some(9)), (Some(9), Some(3)), (Some(9), Some(3))]);
    assert!(pairs.iter().all(|r| r.sample_a == "a" && r.sample_b == "a" && r.split.as_deref() == Some("train")));
    let mut entries: Vec<_> = gradients.iter().map(|r| r.index.unwrap()).collect();
    entries.sort_unstable();
    entries.dedup();
    assert_eq!(entries, [3, 9]);
}
