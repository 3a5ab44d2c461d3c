//! What is made of a step's sums when the step is over.

use super::rows::{Common, Rows};
use super::statistics::{self, CellId};
use super::step::StepSums;
use super::units::{self, Unit};
use super::{Plan, SEED};
use crate::train::hook::SampleInfo;
use rayon::prelude::*;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Everything that the rows of a step come from.
#[derive(Debug)]
pub(super) struct StepWork {
    pub(super) plan: Plan,
    pub(super) tracked: bool,
    pub(super) blocks: usize,
    pub(super) stage: String,
    pub(super) step: u64,
    pub(super) samples: Vec<SampleInfo>,
    pub(super) sums: StepSums,
    pub(super) sketched: bool,
    pub(super) exact: bool,
}

/// Rows that are being made, and the time that observers and statistics took.
#[derive(Debug)]
pub(in crate::probe) struct Pending(Receiver<(Rows, Duration)>);

impl Pending {
    /// Has `beside` make them, or makes them here.
    pub(super) fn begin(work: StepWork, beside: Option<&rayon::ThreadPool>) -> Self {
        let (to, from) = mpsc::sync_channel(1);
        // Whoever no longer waits does not want them.
        let run = move || drop(to.send(work.rows()));
        match beside {
            Some(beside) => beside.spawn(run),
            None => run(),
        }
        Self(from)
    }

    /// Waits for them; `None` if the thread that made them died.
    pub(in crate::probe) fn wait(self) -> Option<(Rows, Duration)> {
        self.0.recv().ok()
    }
}

impl StepWork {
    fn rows(self) -> (Rows, Duration) {
        let begun = Instant::now();
        let keep: Vec<usize> = self.samples.iter().enumerate().filter(|(_, s)| s.has_image).map(|(i, _)| i).collect();
        let mut rows = Rows::default();
        let (spaces, k) = (&self.plan.spaces, self.plan.k);
        let sketched = self.sketched.then(|| units::sketched(&self.sums, spaces, k, &keep, SEED));
        let mut sketched = sketched.into_iter().flatten();
        let products = begun.elapsed();
        for &space in spaces {
            let common = |mode: &str| Common {
                step: self.step,
                blocks: self.blocks,
                stage: self.stage.as_str().into(),
                space: space.name().into(),
                mode: mode.into(),
                tracked: self.tracked,
                samples: &self.samples,
                keep: &keep,
            };
            if let Some(units) = sketched.next() {
                let units = self.push(&common("sketch"), units, &mut rows);
                let kept = self.plan.keeps_sketches.then(|| units::layers(&self.sums, space, k, &keep, SEED));
                let cells = statistics::cells(if kept.is_some() { &units } else { &[] }, keep.len());
                for layer in kept.iter().flatten() {
                    let cell = cells.get(&CellId { layer: Some(layer.layer), module: None });
                    cell.into_iter().for_each(|cell| common("sketch").sketches(layer, cell, &mut rows));
                }
            }
            if self.exact {
                self.push(&common("exact"), units::exact(&self.sums, space, &keep), &mut rows);
            }
        }
        let (observers, all) = (self.sums.spent(), begun.elapsed());
        tracing::debug!(step = self.step, ?observers, ?products, ?all, "gradients of samples");
        (rows, observers + all)
    }

    /// Adds the rows of every cell, and says where numbers are not finite.
    fn push(&self, common: &Common<'_>, mut units: Vec<Unit>, rows: &mut Rows) -> Vec<Unit> {
        units.retain(|unit| self.plan.counts(unit.module));
        for unit in &units {
            if let Some(i) = (0..common.keep.len()).find(|i| !unit.dots[i * common.keep.len() + i].is_finite()) {
                let sample = &common.samples[common.keep[i]];
                tracing::warn!(
                    "stage {}, step {}: the gradient of sample {sample} is not finite in layer {}, module {}",
                    common.stage,
                    common.step,
                    unit.layer,
                    unit.module
                );
            }
        }
        let cells: Vec<_> = statistics::cells(&units, common.keep.len()).into_iter().collect();
        let found: Vec<_> = cells.par_iter().map(|(_, cell)| (cell.cosines(), cell.alignments())).collect();
        for ((id, cell), (cosines, alignments)) in cells.iter().zip(&found) {
            let each = self.plan.by_module || id.layer.is_none() || id.module.is_none();
            common.pairs(*id, cell, cosines, each, rows);
            common.noise(*id, cell, rows);
            if each {
                common.gradients(*id, cell, alignments, rows);
            }
        }
        units
    }
}
