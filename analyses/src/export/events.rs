//! TensorBoard: one event file a run. Scalars of `steps`, `layers` (whole layers), `evals`, `routing` and `noise`, and
//! histograms of the samples' losses, all over the run's global step.

use super::draft::Draft;
use super::protobuf::{bytes, double, doubles, float, int, record};
use super::{Export, ExportError, ExportOptions, Exported, Result};
use crate::analysis::{AnalysisError, RoutingStats, routing_stats};
use crate::stats::finite;
use crate::store::{
    ALL, EvalRow, LayerRow, Manifest, NoiseRow, RunDir, SampleRow, StepRow, StoreError, check_free, visit_records,
};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

struct Events {
    draft: Draft,
    count: u64,
    buffer: Vec<u8>,
    failed: Option<std::io::Error>,
}

impl Events {
    fn event(&mut self, time: f64, step: u64, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut event = Vec::new();
        double(&mut event, 1, time);
        int(&mut event, 2, step);
        fill(&mut event);
        self.buffer.clear();
        record(&mut self.buffer, &event);
        self.count += 1;
        if self.failed.is_none() {
            self.failed = self.draft.file.write_all(&self.buffer).err();
        }
    }

    /// A summary of one value; `fill` adds it after the tag.
    fn value(&mut self, clock: &Clock, stage: &str, step: u64, tag: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        let (global, time) = clock.at(stage, step);
        self.event(time, global, |event| {
            let mut value = Vec::new();
            bytes(&mut value, 1, tag.as_bytes());
            fill(&mut value);
            let mut summary = Vec::new();
            bytes(&mut summary, 1, &value);
            bytes(event, 5, &summary);
        });
    }

    fn scalar(&mut self, clock: &Clock, stage: &str, step: u64, tag: &str, value: Option<f64>) {
        if let Some(number) = value {
            self.value(clock, stage, step, tag, |to| float(to, 2, number as f32));
        }
    }

    fn histogram(&mut self, clock: &Clock, stage: &str, step: u64, tag: &str, values: &[f64]) {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        if let Some(histogram) = histogram(&finite) {
            self.value(clock, stage, step, tag, |to| bytes(to, 5, &histogram));
        }
    }
}

/// A `HistogramProto` of 30 even buckets; `None` without values.
fn histogram(values: &[f64]) -> Option<Vec<u8>> {
    const BUCKETS: usize = 30;
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    if values.is_empty() {
        return None;
    }
    let width = ((high - low) / BUCKETS as f64).max(f64::EPSILON * high.abs().max(1.0));
    let mut counts = vec![0.0; BUCKETS];
    values.iter().for_each(|v| counts[(((v - low) / width) as usize).min(BUCKETS - 1)] += 1.0);
    let limits: Vec<f64> = (1..=BUCKETS).map(|i| low + width * i as f64).collect();
    let mut to = Vec::new();
    double(&mut to, 1, low);
    double(&mut to, 2, high);
    double(&mut to, 3, values.len() as f64);
    double(&mut to, 4, values.iter().sum());
    double(&mut to, 5, values.iter().map(|v| v * v).sum());
    doubles(&mut to, 6, &limits);
    doubles(&mut to, 7, &counts);
    Some(to)
}

/// Global step and wall time of each stage's steps.
#[derive(Default)]
struct Clock {
    start: f64,
    steps: BTreeMap<String, BTreeMap<u64, (u64, f64)>>,
}

impl Clock {
    fn read(run: &RunDir, problems: &mut Vec<StoreError>) -> Result<Self> {
        let mut clock = Self { start: Manifest::read(run).map_or(0.0, |m| seconds(&m.started)), ..Self::default() };
        let mut passed = 0.0;
        problems.extend(visit_records(run, |row: StepRow| {
            passed += finite(row.ms_total).unwrap_or(0.0) / 1000.0;
            clock.steps.entry(row.stage).or_default().insert(row.step, (row.global_step, clock.start + passed));
        })?);
        Ok(clock)
    }

    /// Steps that no row tells of stand where the last one before them does, as much later.
    fn at(&self, stage: &str, step: u64) -> (u64, f64) {
        let before = self.steps.get(stage).and_then(|steps| steps.range(..=step).next_back());
        before.map_or((step, self.start), |(known, (global, time))| (global + (step - known), *time))
    }
}

/// Seconds since 1970 of `2026-11-22T08:05:47Z`; 0 for anything else.
fn seconds(stamp: &str) -> f64 {
    let numbers: Vec<i64> = stamp.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let [year, month, day, hour, minute, second, ..] = numbers[..] else { return 0.0 };
    // Days of the civil calendar, counted from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 719_469;
    (((days * 24 + hour) * 60 + minute) * 60 + second) as f64
}

pub(super) fn export(run: &RunDir, options: &ExportOptions, out: &Path, made: &mut Export) -> Result<()> {
    let mut problems = Vec::new();
    let clock = Clock::read(run, &mut problems)?;
    let name = format!("events.out.tfevents.{:010}.{}", clock.start as u64, run.name());
    let path = out.join(name);
    check_free([&path], options.force)?;
    fs::create_dir_all(out).map_err(ExportError::io("make the folder", out))?;
    let mut events = Events { draft: Draft::new(&path)?, count: 0, buffer: Vec::new(), failed: None };
    events.event(clock.start, 0, |event| bytes(event, 3, b"brain.Event:2"));
    scalars(run, &clock, &mut events, &mut problems)?;
    losses(run, &clock, &mut events, &mut problems)?;
    let routing = match routing_stats(run) {
        Ok(found) => found,
        Err(AnalysisError::Store(error)) => return Err(error.into()),
        Err(error @ (AnalysisError::Unreadable { .. } | AnalysisError::NotFinite { .. })) => {
            RoutingStats { problems: vec![error.to_string()], ..RoutingStats::default() }
        }
        Err(_none_logged) => RoutingStats::default(),
    };
    let unread = routing.problems;
    // A step whose rows are all not finite has no mean.
    for step in routing.steps.into_iter().filter(|step| step.samples > 0) {
        let mut put = |what: String, value: f64| {
            events.scalar(&clock, &step.stage, step.step, &format!("routing/{what}/{}", step.layer), Some(value));
        };
        put("entropy".into(), step.entropy);
        put("effective_experts".into(), step.effective_experts);
        put("dead_experts".into(), step.dead_experts as f64);
        step.gate_mass.iter().enumerate().for_each(|(e, m)| put(format!("gate_mass/expert_{e}"), *m));
        step.hard_load.iter().enumerate().for_each(|(e, m)| put(format!("hard_load/expert_{e}"), *m));
    }
    if let Some(error) = events.failed.take() {
        return Err(ExportError::io("write", events.draft.path())(error));
    }
    if events.count == 1 {
        return Err(ExportError::Nothing { path: run.path().to_owned() });
    }
    made.tell(problems.iter().map(ToString::to_string).chain(unread));
    made.files.push(Exported { path: events.draft.finish()?, entries: events.count });
    Ok(())
}

fn scalars(run: &RunDir, clock: &Clock, events: &mut Events, problems: &mut Vec<StoreError>) -> Result<()> {
    problems.extend(visit_records(run, |row: StepRow| {
        let mut put = |tag: &str, value| events.scalar(clock, &row.stage, row.step, &format!("train/{tag}"), value);
        put("loss", Some(row.loss));
        put("grad_norm", Some(row.grad_norm));
        put("clip_factor", Some(row.clip_factor));
        put("lr_vision", row.lr_vision);
        put("lr_projector", row.lr_projector);
        put("lr_language", row.lr_language);
        put("lr_text", row.lr_text);
        put("ms_total", Some(row.ms_total));
        put("ms_probe", Some(row.ms_probe));
    })?);
    problems.extend(visit_records(run, |row: LayerRow| {
        if row.module != ALL {
            return;
        }
        let mut put = |tag: &str, value| {
            events.scalar(clock, &row.stage, row.step, &format!("layers/{tag}/{}", row.layer), value);
        };
        put("drift", Some(row.drift));
        put("update", Some(row.update));
        put("grad_norm", row.grad_norm);
        put("momentum", row.momentum);
    })?);
    problems.extend(visit_records(run, |row: EvalRow| {
        let tag = |what: &str| format!("eval/{}/{what}/{}", row.split, row.task);
        // An evaluation after n steps stands at step n - 1, the last whose update it saw.
        let step = row.step.saturating_sub(1);
        events.scalar(clock, &row.stage, step, &tag("loss"), row.loss);
        events.scalar(clock, &row.stage, step, &tag("score"), row.score);
    })?);
    problems.extend(visit_records(run, |row: NoiseRow| {
        if row.module == ALL {
            events.scalar(clock, &row.stage, row.step, &format!("noise_scale/{}/{}", row.space, row.layer), row.scale);
        }
    })?);
    Ok(())
}

/// A histogram of the samples' losses at each step.
fn losses(run: &RunDir, clock: &Clock, events: &mut Events, problems: &mut Vec<StoreError>) -> Result<()> {
    let mut now: Option<(String, u64, Vec<f64>)> = None;
    problems.extend(visit_records(run, |row: SampleRow| {
        if let Some((stage, step, values)) = &mut now {
            if *stage == row.stage && *step == row.step {
                values.extend(row.loss);
                return;
            }
            events.histogram(clock, stage, *step, "samples/loss", values);
        }
        now = Some((row.stage, row.step, row.loss.into_iter().collect()));
    })?);
    if let Some((stage, step, values)) = now {
        events.histogram(clock, &stage, step, "samples/loss", &values);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), 0.0);
        assert_eq!(seconds("2026-11-22T08:05:47Z"), 1_795_334_747.0);
        assert_eq!(seconds("yesterday"), 0.0);
    }
}
