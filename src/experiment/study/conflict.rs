//! Two sets of instructions over the same pictures, in lockstep: after every step the distance of the encoders is taken
//! from the parameters themselves, and nothing but distances is stored of it.

use super::base;
use super::dir::StudyDir;
use super::error::StudyError;
use super::plan;
use super::tell::{Relay, Tell};
use crate::experiment::session::{Ended, Listing, Parts, Session, Work, check_samples, lora_scale};
use crate::probe::{Distances, Recorder};
use crate::train::checkpoint::{CheckpointDir, list};
use crate::train::hook::Hook;
use crate::train::{LoaderSource, MllmStep, Trainer};
use covft_analyses::store::{RecordWriter, RunDir, WriterOptions};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Runner<'a> = Trainer<'a, MllmStep, LoaderSource>;

/// Trains the base, then all runs of the study side by side.
pub(super) fn run(dir: &StudyDir, stop: &Arc<AtomicBool>, tell: &Tell<'_>) -> Result<Ended, StudyError> {
    let index = plan::studied(dir.recipe())?;
    let together = dir.runs().len() as u64 * plan::steps(&dir.recipe().stages[index..]);
    let before = if base::is_done(&dir.run(base::BASE)) { 0 } else { plan::steps(&dir.recipe().stages[..index]) };
    if before > 0 {
        // Before minutes go into a base that nothing can be trained upon.
        dir.runs().iter().take(2).try_for_each(|planned| check_samples(&planned.recipe))?;
    }
    tell.left(before + together);
    if base::train(dir, stop, tell)? == Ended::Stopped {
        return Ok(Ended::Stopped);
    }
    if dir.runs().iter().all(|planned| base::is_done(&dir.run(&planned.run.label))) {
        return Ok(Ended::Done);
    }
    let (sessions, step) = sessions(dir)?;
    let mut lockstep = Lockstep { dir, index, sessions, resumed_at: step };
    let ended = lockstep.train(stop, tell);
    lockstep.conclude(ended)
}

/// Sessions of all runs at one step: the last that all of them have saved, or the beginning.
fn sessions(dir: &StudyDir) -> Result<(Vec<Session>, Option<u64>), StudyError> {
    let path = |label: &str| dir.run(label);
    let mut common: Option<BTreeSet<u64>> = None;
    for planned in dir.runs() {
        let checkpoints = path(&planned.run.label).join("checkpoints");
        if checkpoints.exists() {
            // Takes back what a kill left between two renames.
            CheckpointDir::open(&checkpoints)?;
        }
        let steps: BTreeSet<u64> = list(&checkpoints)?.into_iter().map(|(step, _)| step).collect();
        common = Some(common.map_or(steps.clone(), |common| &common & &steps));
    }
    let step = common.and_then(|steps| steps.last().copied());
    let command = &dir.study().command;
    let beside = RunDir::open(path(base::BASE)).ok();
    let session = |planned: &plan::Planned| {
        let path: PathBuf = path(&planned.run.label);
        let mut session = if step.is_some() {
            Session::resume_at(path, step, command.clone())?
        } else {
            base::remove(&path)?;
            Session::create(planned.recipe.clone(), path, command.clone())?
        };
        session.set_broken(planned.recipe.data.broken);
        (session.accept, session.beside) = (dir.accept.clone(), beside.clone());
        Ok(session)
    };
    let sessions = dir.runs().iter().map(session).collect::<Result<Vec<_>, StudyError>>()?;
    Ok((sessions, step))
}

/// The runs of a study at one step.
struct Lockstep<'s> {
    dir: &'s StudyDir,
    /// The studied stage.
    index: usize,
    sessions: Vec<Session>,
    resumed_at: Option<u64>,
}

impl Lockstep<'_> {
    fn train(&mut self, stop: &AtomicBool, tell: &Tell<'_>) -> Result<Ended, StudyError> {
        let works: Vec<Work> = self.sessions.iter_mut().map(Session::prepare).collect::<Result<_, _>>()?;
        // All runs read the same weights and pictures: each line once.
        let mut said = BTreeSet::new();
        let told = works.iter().flat_map(Work::told);
        told.filter(|line| said.insert(line.clone())).for_each(|line| tell.note(line));
        for (planned, work) in self.dir.runs().iter().zip(&works) {
            work.changed.lines().for_each(|line| tell.note(format!("{}: {line}", planned.run.label)));
        }
        self.check_partners(&works, tell)?;
        let mut recorders: Vec<Recorder> =
            self.sessions.iter().zip(&works).map(|(s, w)| s.begin(w)).collect::<Result<_, _>>()?;
        let mut parts = self.parts(&works)?;
        let labels: Vec<String> = self.dir.runs().iter().map(|planned| planned.run.label.clone()).collect();
        let mut relays: Vec<Relay<'_, '_>> = labels.iter().map(|run| Relay { run: run.clone(), tell }).collect();
        let mut listings: Vec<Listing<'_>> =
            self.sessions.iter().zip(&works).map(|(s, w)| Listing::new(s.dir(), &w.setup)).collect();
        let mut trainers: Vec<Runner<'_>> = Vec::new();
        for ((((session, part), recorder), relay), listing) in
            self.sessions.iter().zip(&mut parts).zip(&mut recorders).zip(&mut relays).zip(&mut listings)
        {
            // A run that was saved at its end, while another was not, has nothing left to do.
            if self.resumed_at.is_none() || session.resuming(self.index).is_some() {
                let hooks: [&mut dyn Hook; 3] = [relay, listing, recorder];
                trainers.push(part.trainer(hooks, session.resuming(self.index))?);
            }
        }
        let mut meter = self.meter(&trainers, labels)?;
        let outcome = side_by_side(&mut trainers, &mut meter, stop, tell);
        drop(trainers);
        listings.iter_mut().try_for_each(Listing::update)?;
        let outcome = outcome?;
        meter.writer.finish()?;
        recorders.into_iter().try_for_each(Recorder::finish)?;
        Ok(outcome)
    }

    /// Every run sees the same object of the same picture as sample i.
    fn check_partners(&self, works: &[Work], tell: &Tell<'_>) -> Result<(), StudyError> {
        let runs = self.dir.runs();
        let Some(first) = works.first().and_then(|work| work.paired(self.index)) else { return Ok(()) };
        for (planned, work) in runs.iter().zip(works) {
            let Some(paired) = work.paired(self.index).filter(|paired| paired.keys == first.keys) else {
                let (a, b) = (runs[0].run.label.clone(), planned.run.label.clone());
                return Err(StudyError::NotPartners { a, b, path: self.dir.path().to_path_buf() });
            };
            if paired.left_out.is_empty() && planned.run.label != runs[0].run.label {
                continue;
            }
            tell.note(format!(
                "{}: {} samples with a partner ({} name the same box), {} without are left out",
                planned.run.label,
                paired.samples.len(),
                paired.by_box,
                paired.left_out.len()
            ));
        }
        Ok(())
    }

    fn parts(&self, works: &[Work]) -> Result<Vec<Parts>, StudyError> {
        let mut base = None;
        if self.resumed_at.is_none() && self.index > 0 {
            let kept = works.first().map_or(Ok(None), |work| work.base(self.index - 1))?;
            let gone =
                || StudyError::BaseGone { kept: self.dir.recipe().out.join(".stages"), path: self.dir.run(base::BASE) };
            base = Some(kept.ok_or_else(gone)?.1);
        }
        // What is frozen is shared by all runs; what trains is copied by each.
        let build = |(session, work): (&Session, &Work)| session.parts(work, self.index, base.clone());
        Ok(self.sessions.iter().zip(works).map(build).collect::<Result<_, _>>()?)
    }

    fn meter(&self, trainers: &[Runner<'_>], labels: Vec<String>) -> Result<Meter, StudyError> {
        let folder = RunDir::of_study(self.dir.path());
        let writer = match self.resumed_at {
            Some(step) => RecordWriter::resume(&folder, step, WriterOptions::default())?,
            None => RecordWriter::create(&folder, WriterOptions::default())?,
        };
        let stage = self.sessions.first().map(|session| &session.stages()[self.index]);
        let scale = stage.and_then(lora_scale);
        let distances = trainers.first().map(|trainer| Distances::new(&trainer.view(), scale)).transpose()?;
        Ok(Meter { labels, distances, writer })
    }

    /// Writes into every manifest how it ended.
    fn conclude(self, ended: Result<Ended, StudyError>) -> Result<Ended, StudyError> {
        let mut sessions = self.sessions.iter();
        let of_run = match ended {
            Err(StudyError::Train(error)) => Err(StudyError::Session(error.into())),
            other => other,
        };
        let ended = match of_run {
            Err(StudyError::Session(error)) => match sessions.next() {
                Some(first) => first.conclude(Err(error)).map_err(StudyError::from),
                None => Err(error.into()),
            },
            other => other,
        };
        for session in sessions {
            // What another run failed at can be gone on from.
            session.conclude(Ok(*ended.as_ref().unwrap_or(&Ended::Stopped)))?;
        }
        ended
    }
}

/// Takes the distances.
struct Meter {
    labels: Vec<String>,
    distances: Option<Distances>,
    writer: RecordWriter,
}

impl Meter {
    /// The distance of every two runs after the step that all have just made.
    fn measure(&mut self, trainers: &[Runner<'_>]) -> Result<(), StudyError> {
        let Some(distances) = &mut self.distances else { return Ok(()) };
        for (i, a) in trainers.iter().enumerate() {
            for (j, b) in trainers.iter().enumerate().skip(i + 1) {
                let step = a.steps_done() - 1;
                let (one, other) = ((self.labels[i].as_str(), a.params()), (self.labels[j].as_str(), b.params()));
                self.writer.push(&distances.measure(step, one, other)?)?;
            }
        }
        Ok(())
    }
}

/// All trainers step by step, saved together.
fn side_by_side(
    trainers: &mut [Runner<'_>],
    meter: &mut Meter,
    stop: &AtomicBool,
    tell: &Tell<'_>,
) -> Result<Ended, StudyError> {
    let left = trainers.iter().map(|t| t.steps_planned() - t.steps_done()).sum();
    tell.left(left);
    for trainer in trainers.iter_mut() {
        trainer.begin()?;
    }
    while !trainers.iter().all(Trainer::is_over) {
        for trainer in trainers.iter_mut() {
            trainer.step()?;
        }
        meter.measure(trainers)?;
        let stopped = stop.load(Ordering::SeqCst);
        if stopped || trainers.iter().any(|t| t.save_is_due(false)) {
            save(trainers, meter)?;
        }
        if stopped {
            return Ok(Ended::Stopped);
        }
    }
    if let Some(trainer) = trainers.first() {
        meter.writer.cut(trainer.global_step())?;
    }
    for trainer in trainers.iter_mut() {
        trainer.finish()?;
    }
    Ok(Ended::Done)
}

fn save(trainers: &mut [Runner<'_>], meter: &mut Meter) -> Result<(), StudyError> {
    if let Some(trainer) = trainers.first() {
        meter.writer.cut(trainer.global_step())?;
    }
    for trainer in trainers {
        trainer.save()?;
    }
    Ok(())
}
