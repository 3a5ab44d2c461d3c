//! Pictures that cannot be read: decided before the first step, listed in the manifest, and the same when a run goes
//! on.

use super::error::SessionError;
use super::setup::Setup;
use crate::config::data::Broken;
use crate::data::{CheckReport, Dataset, Met, Progress, Split, StandIn, look_on};
use crate::train::hook::{Hook, HookResult, StepView};
use covft_analyses::store::{Instead, Manifest, PictureDecision, RunDir};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// When the pictures of the training set are decoded for the first time. Held-out ones always are before the first
/// step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PictureCheck {
    /// Before the first step.
    #[default]
    Before,
    /// In the background, while the run trains.
    Lazily,
}

/// How the data of a run are checked.
#[derive(Clone, Copy, Default)]
pub struct Checking<'a> {
    /// Folder that keeps findings under the files' hashes, sizes and times.
    pub cache: Option<&'a Path>,
    /// When pictures are decoded.
    pub pictures: PictureCheck,
    /// What the run decided before; nothing is decided anew then.
    pub decided: Option<&'a [PictureDecision]>,
    /// Hears how far the decoding is.
    pub progress: Option<&'a Progress<'a>>,
}

/// Decides about the samples of a set whose pictures cannot be read. What is left of it, and what was left out.
pub(super) fn decide(set: &Dataset, report: &CheckReport, broken: Broken) -> (Dataset, Vec<PictureDecision>) {
    let left_out: Vec<usize> = report.unusable.iter().map(|u| u.index).collect();
    match broken {
        Broken::Refuse => (set.clone(), Vec::new()),
        Broken::Blank => {
            for u in &report.unusable {
                set.stand_in(u.index, Met { stand_in: StandIn::Blank, sample: u.id.clone(), why: u.why.clone() });
            }
            (set.clone(), Vec::new())
        }
        Broken::Drop => {
            let dropped = report.unusable.iter().map(|u| decision(set, u.index, &u.id, &u.why, Instead::Nothing));
            (set.without_entries(&left_out), dropped.collect())
        }
    }
}

/// Repeats what a run decided. What is left of the set, and what was left out.
pub(super) fn repeat(set: &Dataset, decided: &[PictureDecision]) -> (Dataset, Vec<PictureDecision>) {
    let own = decided.iter().filter(|d| d.split == set.split().name());
    let mut left_out = Vec::new();
    for d in own {
        let stand_in = match d.instead {
            Instead::Nothing => {
                left_out.push(d.clone());
                continue;
            }
            Instead::Blank => StandIn::Blank,
            Instead::NextSample => StandIn::Next,
        };
        set.stand_in(d.index as usize, Met { stand_in, sample: d.sample.clone(), why: d.why.clone() });
    }
    (set.without_entries(&left_out.iter().map(|d| d.index as usize).collect::<Vec<_>>()), left_out)
}

fn decision(set: &Dataset, index: usize, sample: &str, why: &str, instead: Instead) -> PictureDecision {
    let (split, sample, why) = (set.split().name().to_owned(), sample.to_owned(), why.to_owned());
    PictureDecision { split, index: index as u64, sample, why, instead }
}

/// All decisions so far, also those about pictures that were met in training.
pub(super) fn decisions(setup: &Setup) -> Vec<PictureDecision> {
    let mut all = setup.left_out.clone();
    for set in [Some(&setup.train), setup.val.as_ref()].into_iter().flatten() {
        for (index, met) in set.standing_in() {
            let instead = if met.stand_in == StandIn::Blank { Instead::Blank } else { Instead::NextSample };
            all.push(decision(set, index, &met.sample, &met.why, instead));
        }
    }
    all
}

/// How many samples of each set the run does without or trains in another way, one line for each kind.
pub(super) fn told(setup: &Setup) -> Vec<String> {
    let all = decisions(setup);
    let kinds = [
        (Instead::Nothing, "dropped"),
        (Instead::Blank, "given a blank picture"),
        (Instead::NextSample, "replaced by the next sound sample"),
    ];
    let mut lines = Vec::new();
    for (split, report) in [Split::Train, Split::Val].into_iter().zip(&setup.reports) {
        for (instead, what) in kinds {
            let of: Vec<_> = all.iter().filter(|d| d.split == split.name() && d.instead == instead).collect();
            let Some(first) = of.first() else { continue };
            lines.push(format!(
                "pictures ({}): {} of {} samples {what}, first {:?} ({}); all are listed in the run's manifest.json under \"pictures\"",
                split.name(),
                of.len(),
                report.samples(),
                first.sample,
                first.why
            ));
        }
    }
    lines
}

/// Keeps the manifest's list of decisions as long as it really is.
pub(in crate::experiment) struct Listing<'a> {
    dir: &'a RunDir,
    setup: &'a Setup,
    listed: usize,
}

impl<'a> Listing<'a> {
    pub(in crate::experiment) fn new(dir: &'a RunDir, setup: &'a Setup) -> Self {
        Self { dir, setup, listed: decisions(setup).len() }
    }

    /// Lists what was met since.
    pub(in crate::experiment) fn update(&mut self) -> Result<(), SessionError> {
        let all = decisions(self.setup);
        if all.len() > self.listed {
            let mut manifest = Manifest::read(self.dir)?;
            self.listed = all.len();
            manifest.pictures = all;
            manifest.write(self.dir)?;
        }
        Ok(())
    }
}

impl Hook for Listing<'_> {
    fn step(&mut self, _: &StepView<'_>) -> HookResult {
        Ok(self.update()?)
    }
}

/// Decodes the pictures of a set in a thread of its own, which ends with this.
#[derive(Debug)]
pub(super) struct Background(Arc<AtomicBool>);

impl Background {
    pub(super) fn start(set: &Dataset, cache: PathBuf) -> Result<Self, SessionError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (set, stopped, path) = (set.clone(), Arc::clone(&stop), set.path().to_path_buf());
        // What cannot be kept is decoded again the next time; the training meets what is broken in any case.
        let work = move || drop(look_on(&set, &cache, &|_, _| !stopped.load(Ordering::Relaxed)));
        let thread = std::thread::Builder::new().name("pictures".to_owned()).spawn(work);
        let what = "start a thread that checks the pictures of";
        thread.map_err(|source| SessionError::Io { what, source, path })?;
        Ok(Self(stop))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Recipe;
    use serde_json::json;

    /// Three samples with a sound picture, two whose picture is missing, one whose is broken; two of them are held out.
    fn setup(dir: &Path, broken: &str, decided: Option<&[PictureDecision]>) -> Setup {
        image::RgbImage::from_pixel(8, 8, image::Rgb([90, 20, 200])).save(dir.join("good.png")).unwrap();
        std::fs::write(dir.join("bad.png"), "<html>404</html>").unwrap();
        let entry = |id: &str, image: &str| {
            let turn = |from: &str, value: &str| json!({"from": from, "value": value});
            let turns = [turn("human", "<image>\nWhat is it?"), turn("gpt", "a square")];
            json!({"id": id, "image": image, "task": "name", "conversations": turns})
        };
        let entries = [("a", "good"), ("b", "no"), ("c", "good"), ("d", "bad"), ("e", "good"), ("f", "no")]
            .map(|(id, name)| entry(id, &format!("{name}.png")));
        std::fs::write(dir.join("train.json"), json!(entries).to_string()).unwrap();
        std::fs::write(dir.join("val.json"), json!(entries[2..4]).to_string()).unwrap();
        let path = |key: &str, name: &str| format!("{key}='{}'", dir.join(name).display());
        let keys = [
            path("out", "out"),
            path("data.train", "train.json"),
            path("data.val", "val.json"),
            path("data.images", ""),
            format!("data.broken='{broken}'"),
        ];
        let text = include_str!("../../../tests/fixtures/tiny.toml");
        let recipe = Recipe::parse(text, Path::new("tiny.toml"), &keys).unwrap();
        Setup::new(&recipe, &Checking { decided, ..Checking::default() }).unwrap()
    }

    fn says(dir: &Path, setup: &Setup) -> String {
        told(setup).join("\n").replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn what_was_decided_is_counted_before_step_0_and_again_when_the_run_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let dropped = setup(dir.path(), "drop", None);
        let said = says(dir.path(), &dropped);
        insta::assert_snapshot!(said, @r#"
        pictures (train): 3 of 6 samples dropped, first "b" (the image is missing: DIR/no.png); all are listed in the run's manifest.json under "pictures"
        pictures (val): 1 of 2 samples dropped, first "d" (a web page was saved in place of the picture; fetch it again: DIR/bad.png); all are listed in the run's manifest.json under "pictures"
        "#);
        let blank = setup(dir.path(), "blank", None);
        insta::assert_snapshot!(says(dir.path(), &blank), @r#"
        pictures (train): 3 of 6 samples given a blank picture, first "b" (the image is missing: DIR/no.png); all are listed in the run's manifest.json under "pictures"
        pictures (val): 1 of 2 samples given a blank picture, first "d" (a web page was saved in place of the picture; fetch it again: DIR/bad.png); all are listed in the run's manifest.json under "pictures"
        "#);
        let mut decided = decisions(&dropped);
        assert_eq!(says(dir.path(), &setup(dir.path(), "drop", Some(&decided))), said);
        decided.truncate(1);
        decided[0].instead = Instead::NextSample;
        insta::assert_snapshot!(says(dir.path(), &setup(dir.path(), "drop", Some(&decided))), @r#"pictures (train): 1 of 6 samples replaced by the next sound sample, first "b" (the image is missing: DIR/no.png); all are listed in the run's manifest.json under "pictures""#);
    }

    #[test]
    fn nothing_is_said_where_every_picture_is_sound() {
        let dir = tempfile::tempdir().unwrap();
        let sound = setup(dir.path(), "blank", Some(&[]));
        assert_eq!(told(&sound), Vec::<String>::new());
    }
}
