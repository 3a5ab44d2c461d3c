//! The streams that gradients are kept in: sketches, pairs of samples, alignment, noise; and the distance of two runs.

use super::name::Name;
use super::records::record;
use arrow::array::RecordBatch;
use half::f16;
use std::path::Path;

record! {
    /// Stream `gradients`: sketches of gradients. One row a layer (`module = "all"`); the sketches of one space are linear,
    /// so the dot product over all layers is the sum of the layers' dot products.
    GradientRow in "gradients" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Layer.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// `batch`: the exact gradient of the whole step before clipping; `sample`: one sample's share of it.
        kind: String,
        /// `trainable` (each method's own parameters) or `shared` (attention, layer norms and feed-forward layers, summed over
        /// experts, with virtual gradients for what is frozen).
        space: String,
        /// The sample of kind `sample`.
        sample: Option<String>,
        /// Number of the sample's entry in its file; null in older records. So `split`.
        index: Option<u64>,
        /// Set that the sample is of: `train` or `val`.
        split: Option<Name>,
        /// Whether the sample belongs to the tracked set, which is measured without training on it.
        tracked: bool,
        /// Elements that the gradient has.
        elements: u64,
        /// Norm of the gradient: exact for kind `batch`, estimated for kind `sample`.
        norm: f64,
        /// The sketch is `scale` times the numbers in `sketch`.
        scale: f32,
        /// Sketch in float16, its largest number 1.
        sketch: Vec<f16>,
        /// Standard error of the cosine of two such sketches whose gradients are orthogonal.
        error: f32,
    }
}

record! {
    /// Stream `pairs`: inner products of the gradients of two samples of one step, by layer and module.
    PairRow in "pairs" {
        /// Stage.
        stage: Name,
        /// Step in the stage.
        step: u64,
        /// Layer, or `all`.
        layer: Name,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Module, or `all`.
        module: Name,
        /// `trainable` or `shared`; see stream `gradients`.
        space: Name,
        /// Whether both samples belong to the tracked set, which is measured without training on it.
        tracked: bool,
        /// `sketch` or `exact`.
        mode: Name,
        /// First sample.
        sample_a: Name,
        /// Number of its entry in its file; null in older records. So `index_b` and `split`.
        index_a: Option<u64>,
        /// Second sample.
        sample_b: Name,
        /// Number of its entry.
        index_b: Option<u64>,
        /// Set that both are of: `train` or `val`.
        split: Option<Name>,
        /// Task of the first.
        task_a: Option<Name>,
        /// Task of the second.
        task_b: Option<Name>,
        /// Inner product; each gradient is of the sample's share of the step's loss.
        dot: f64,
        /// Cosine; null where a norm is zero, nothing but rounding, or its estimate not positive. A sketched one may lie outside -1..1.
        cosine: Option<f32>,
        /// Standard error of the cosine; 0 in mode `exact`.
        error: Option<f32>,
        /// Lower end of the 95 % interval.
        low: Option<f32>,
        /// Upper end of the 95 % interval. The pair is in conflict when it lies below 0, undecided when the interval holds 0.
        high: Option<f32>,
    }
}

record! {
    /// Stream `conflict`: how the gradients of a step's samples agree, counted for every layer and module: one row for pairs of
    /// samples of one task, one for pairs of two, one for pairs of which a sample has no task.
    ConflictRow in "conflict" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Layer, or `all`.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Module, or `all`.
        module: String,
        /// `trainable` or `shared`; see stream `gradients`.
        space: String,
        /// Whether both samples belong to the tracked set, which is measured without training on it.
        tracked: bool,
        /// `sketch` or `exact`.
        mode: String,
        /// `within` one task, `across` two, or `unlabelled`.
        relation: String,
        /// Pairs with a cosine.
        pairs: u64,
        /// Of those, the ones in conflict: the 95 % interval lies below 0.
        conflict: u64,
        /// Of those, the ones that are undecided: the interval holds 0.
        undecided: u64,
        /// Pairs without a cosine: a norm is zero, nothing but rounding, or its estimate not positive.
        undefined: u64,
        /// Pairs whose numbers are not finite; in none of the rest.
        not_finite: u64,
        /// Sum of the cosines.
        cosines: f64,
        /// Sum of their squares.
        squares: f64,
        /// Sum of their squared standard errors.
        errors: f64,
    }
}

impl ConflictRow {
    /// An empty row with the keys of `pair`.
    #[must_use]
    pub fn like(pair: &PairRow) -> Self {
        let relation = match (&pair.task_a, &pair.task_b) {
            (Some(a), Some(b)) if a == b => "within",
            (Some(_), Some(_)) => "across",
            _ => "unlabelled",
        };
        Self {
            stage: pair.stage.to_string(),
            step: pair.step,
            layer: pair.layer.to_string(),
            depth: pair.depth,
            module: pair.module.to_string(),
            space: pair.space.to_string(),
            tracked: pair.tracked,
            mode: pair.mode.to_string(),
            relation: relation.to_owned(),
            pairs: 0,
            conflict: 0,
            undecided: 0,
            undefined: 0,
            not_finite: 0,
            cosines: 0.0,
            squares: 0.0,
            errors: 0.0,
        }
    }

    /// Counts a pair.
    pub fn count(&mut self, pair: &PairRow) {
        match Judged::of([pair.cosine, pair.error, pair.low, pair.high]) {
            Judged::Undefined => self.undefined += 1,
            Judged::NotFinite => self.not_finite += 1,
            Judged::Cosine { cosine, error, conflict, undecided } => {
                self.pairs += 1;
                self.conflict += u64::from(conflict);
                self.undecided += u64::from(undecided);
                self.cosines += cosine;
                self.squares += cosine * cosine;
                self.errors += error * error;
            }
        }
    }
}

/// What a pair of samples counts as, wherever pairs are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judged {
    /// It has no cosine.
    Undefined,
    /// Its numbers are not finite.
    NotFinite,
    /// A cosine with its standard error.
    Cosine {
        /// The cosine.
        cosine: f64,
        /// Its standard error.
        error: f64,
        /// Whether its 95 % interval lies below 0.
        conflict: bool,
        /// Whether the interval holds 0.
        undecided: bool,
    },
}

impl Judged {
    /// A pair by its cosine, standard error, and lower and upper end of its interval, as they stand in `pairs`; without an
    /// interval the cosine itself decides.
    #[must_use]
    pub fn of([cosine, error, low, high]: [Option<f32>; 4]) -> Self {
        let Some(cosine) = cosine.map(f64::from) else { return Self::Undefined };
        let error = f64::from(error.unwrap_or(0.0));
        if !cosine.is_finite() || !error.is_finite() {
            return Self::NotFinite;
        }
        let [low, high] = [low, high].map(|end| end.map_or(cosine, f64::from));
        Self::Cosine { cosine, error, conflict: high < 0.0, undecided: high >= 0.0 && low <= 0.0 }
    }
}

record! {
    /// Stream `sample_gradients`: norm of each sample's gradient and its alignment with the step's, by layer and module.
    SampleGradientRow in "sample_gradients" {
        /// Stage.
        stage: Name,
        /// Step in the stage.
        step: u64,
        /// Sample id.
        sample: Name,
        /// Number of the sample's entry in its file; null in older records. So `split`.
        index: Option<u64>,
        /// Set that the sample is of: `train` or `val`.
        split: Option<Name>,
        /// Layer, or `all`.
        layer: Name,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Module, or `all`.
        module: Name,
        /// `trainable` or `shared`; see stream `gradients`.
        space: Name,
        /// Whether it belongs to the tracked set, which is measured without training on it.
        tracked: bool,
        /// `sketch` or `exact`.
        mode: Name,
        /// Task, where the data names one.
        task: Option<Name>,
        /// Norm; null where its estimated square is not positive.
        norm: Option<f64>,
        /// Cosine with the sum of the *other* samples' gradients; null where a norm is not positive.
        alignment: Option<f32>,
        /// Standard error of the alignment; 0 in mode `exact`.
        error: Option<f32>,
    }
}

record! {
    /// Stream `noise`: gradient noise scale of a step, by layer and module.
    NoiseRow in "noise" {
        /// Stage.
        stage: String,
        /// Step in the stage.
        step: u64,
        /// Layer, or `all`.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Module, or `all`.
        module: String,
        /// `trainable` or `shared`; see stream `gradients`.
        space: String,
        /// `sketch` or `exact`.
        mode: String,
        /// Samples with a gradient of the encoder.
        samples: u64,
        /// Unbiased estimate of the squared norm of the mean gradient; may be negative.
        grad2: f64,
        /// Unbiased estimate of the trace of the samples' gradient covariance.
        trace: f64,
        /// `trace / grad2`; null where `grad2` is not positive.
        scale: Option<f64>,
    }
}

record! {
    /// Stream `distances` of a conflict study: distance of two runs that advance in lockstep, by layer and module.
    DistanceRow in "distances" {
        /// Stage.
        stage: String,
        /// Step in the stage, whose update both runs have made.
        step: u64,
        /// Layer, or `all`.
        layer: String,
        /// Sort key of the layer.
        depth: Option<i32>,
        /// Module, or `all`.
        module: String,
        /// Label of the first run.
        run_a: String,
        /// Label of the second run.
        run_b: String,
        /// Elements of the trained tensors that the distance is over.
        elements: u64,
        /// `||theta_a - theta_b||`; of effective weights under LoRA.
        distance: f64,
        /// Divided by the norm of the start; null where that is zero or nothing trains.
        distance_relative: Option<f64>,
        /// Divided by the square root of `elements`; null where nothing trains.
        distance_per_element: Option<f64>,
    }
}
