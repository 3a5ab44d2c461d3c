//! What is trained where a picture cannot be read: a blank, or the next sound sample. Whatever is met is noted once and
//! stays so for the whole run, so that its batches are the same whenever it goes on.

use super::conversation::Entry;
use super::dataset::{Dataset, Split};
use super::error::{DataError, Result};
use crate::config::data::Broken;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// What stands in for a sample's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// A picture of the mean colour.
    Blank,
    /// The next sound sample, in place of the whole sample.
    Next,
}

/// A sample whose picture cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// What stands in.
    pub stand_in: StandIn,
    /// Sample id.
    pub sample: String,
    /// What is wrong with the picture, and its path.
    pub why: String,
}

/// The samples of a set whose pictures cannot be read, by number of the entry.
#[derive(Debug, Default)]
pub(super) struct StandIns {
    policy: Broken,
    met: Mutex<BTreeMap<usize, Met>>,
    /// A picture that was found broken before it was met, and is refused.
    refused: Mutex<Option<DataError>>,
}

impl StandIns {
    pub(super) fn new(policy: Broken) -> Self {
        Self { policy, ..Self::default() }
    }

    fn known(&self, entry: usize) -> Option<StandIn> {
        self.lock().get(&entry).map(|met| met.stand_in)
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, Option<DataError>> {
        self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Met>> {
        // A thread that panicked while it held the list cannot have left half an insertion.
        self.met.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Dataset {
    /// Notes a sample whose picture cannot be read, before it is met.
    pub fn stand_in(&self, entry: usize, met: Met) {
        self.stand_ins().lock().insert(entry, met);
    }

    /// Samples for which something stands in so far, by number of the entry.
    #[must_use]
    pub fn standing_in(&self) -> BTreeMap<usize, Met> {
        self.stand_ins().lock().clone()
    }

    /// Ends the training with its next batch, if `data.broken` refuses pictures that cannot be read.
    pub(super) fn refuse(&self, place: usize, name: &str, problem: String) -> Result<()> {
        if self.stand_ins().policy == Broken::Refuse {
            let (sample, path) = (self.entry(place)?.id.to_string(), self.image_path(name));
            *self.stand_ins().refused() = Some(DataError::BrokenPicture { sample, problem, path });
        }
        Ok(())
    }

    /// The sample at place `i`, or what stands in for it: place, entry and pixels.
    ///
    /// # Errors
    /// The file cannot be read any more; a picture cannot be used and `data.broken` refuses it; there is no sound
    /// sample.
    pub(super) fn sound(&self, i: usize) -> Result<(usize, Entry, Vec<f32>)> {
        if let Some(error) = self.stand_ins().refused().take() {
            return Err(error);
        }
        let spec = &self.preparation().image;
        for place in (i..self.len()).chain(0..i) {
            let entry = self.entry(place)?;
            let Some(name) = &entry.image else {
                return Ok((place, entry, vec![0.0; spec.values()]));
            };
            let index = self.index(place);
            let stand_in = match self.stand_ins().known(index) {
                Some(known) => known,
                None => match self.picture(&entry.id, name) {
                    Ok(picture) => return Ok((place, entry, spec.pixels(&picture))),
                    Err(error) => self.note(index, &entry, error)?,
                },
            };
            if stand_in == StandIn::Blank {
                return Ok((place, entry, spec.pixels(&spec.blank())));
            }
        }
        Err(DataError::Refused {
            problem: "no sample is left whose picture can be read".to_owned(),
            path: self.path().to_path_buf(),
        })
    }

    /// Notes a picture that was met and decides what stands in for it.
    fn note(&self, index: usize, entry: &Entry, error: DataError) -> Result<StandIn> {
        let stand_in = match (self.stand_ins().policy, self.split()) {
            (Broken::Refuse, _) => {
                let DataError::Image { sample, problem, path } = error else { return Err(error) };
                return Err(DataError::BrokenPicture { sample, problem, path });
            }
            // Every held-out sample is scored once.
            (Broken::Drop, Split::Train) => StandIn::Next,
            (Broken::Drop, Split::Val) | (Broken::Blank, _) => StandIn::Blank,
        };
        let DataError::Image { problem, path, .. } = error else { return Err(error) };
        let why = format!("{problem}: {}", super::shown::path(&path));
        self.stand_in(index, Met { stand_in, sample: entry.id.to_string(), why });
        Ok(stand_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::BatchPosition;
    use crate::data::testing::{images, set_of_pictures};

    fn ids(dataset: &Dataset, places: &[usize]) -> Vec<String> {
        dataset.batch(places, BatchPosition::default()).unwrap().samples.iter().map(|s| s.id.to_string()).collect()
    }

    #[test]
    fn a_refused_picture_says_how_to_go_on() {
        let (_dir, dataset) = set_of_pictures(&["rgb.png", "no.png"], Broken::Refuse);
        let error = dataset.batch(&[1], BatchPosition::default()).unwrap_err().to_string();
        assert!(
            error.starts_with("sample \"1\": the image is missing (") && error.contains("--broken drop"),
            "{error}"
        );
    }

    #[test]
    fn the_next_sound_sample_stands_in_and_stays() {
        let (dir, dataset) = set_of_pictures(&["rgb.png", "a.png", "b.png", "grey.png"], Broken::Drop);
        assert_eq!(ids(&dataset, &[0, 1, 2, 3]), ["0", "3", "3", "3"]);
        assert_eq!(dataset.standing_in().keys().copied().collect::<Vec<_>>(), [1, 2]);
        // Also when the picture is there after all.
        std::fs::copy(images("rgb.png"), dir.path().join("a.png")).unwrap();
        assert_eq!(ids(&dataset, &[1]), ["3"]);
        let (_dir, none) = set_of_pictures(&["a.png"], Broken::Drop);
        assert!(none.batch(&[0], BatchPosition::default()).unwrap_err().to_string().contains("no sample is left"));
    }

    #[test]
    fn a_blank_has_the_mean_colour() {
        let (_dir, dataset) = set_of_pictures(&["a.png"], Broken::Blank);
        let batch = dataset.batch(&[0], BatchPosition::default()).unwrap();
        assert!(batch.samples[0].has_image && batch.pixels.iter().all(|v| v.abs() < 0.02));
        assert_eq!(dataset.standing_in()[&0].stand_in, StandIn::Blank);
    }
}
