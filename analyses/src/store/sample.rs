//! What a sample is: its place in the data of a run. Its id is what people call it, and many entries may have the same.
//!
//! Records that were written before places were have ids alone: there an id is a sample, and what the data set says of it
//! is what its first entry says.

use super::name::Name;
use super::partial::{DatasetTask, RoutingWeights, SampleTask};
use super::{ContextRow, DatasetRow, PairRow, PredictionRow, RoutingRow, SampleGradientRow, SampleRow};
use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The split that is trained on; every other name is of held-out samples.
const TRAIN: &str = "train";

/// A sample's place: the number of its entry in the file of the training set, or of the held-out set. Training samples come
/// first in its order, each set in the order of its file.
/// In JSON it is `["train", 17]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(String, u64)", into = "(String, u64)")]
pub struct Place(u64);

impl From<(String, u64)> for Place {
    fn from((split, index): (String, u64)) -> Self {
        Self::new(Some(&split), index)
    }
}

impl From<Place> for (String, u64) {
    fn from(place: Place) -> Self {
        (place.split().to_owned(), place.index())
    }
}

/// Marks places of held-out samples.
const HELD_OUT: u64 = 1 << 63;

impl Place {
    /// Entry `index` of a split as records name it (`train`, `val`, `val-subset`); rows that name none are of the training
    /// set.
    #[must_use]
    pub fn new(split: Option<&str>, index: u64) -> Self {
        let held_out = split.is_some_and(|split| split != TRAIN);
        Self((index & !HELD_OUT) | if held_out { HELD_OUT } else { 0 })
    }

    /// Number of the entry in its file, from 0.
    #[must_use]
    pub fn index(self) -> u64 {
        self.0 & !HELD_OUT
    }

    /// `train` or `val`.
    #[must_use]
    pub fn split(self) -> &'static str {
        if self.0 & HELD_OUT == 0 { TRAIN } else { "val" }
    }
}

/// What tells the samples of a run apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleKey {
    /// Its place.
    Place(Place),
    /// Its id, in records without places.
    Id(Name),
}

impl SampleKey {
    /// The place where there is one, else the id.
    pub fn new(place: Option<Place>, id: impl Into<Name>) -> Self {
        place.map_or_else(|| Self::Id(id.into()), Self::Place)
    }

    /// The place, where records have it.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Place(place) => Some(*place),
            Self::Id(_) => None,
        }
    }
}

/// A row about one sample.
pub trait OfSample {
    /// Its place; `None` in older records.
    fn place(&self) -> Option<Place>;

    /// Its id.
    fn id(&self) -> &str;

    /// What tells it apart.
    fn key(&self) -> SampleKey {
        SampleKey::new(self.place(), self.id())
    }
}

macro_rules! of_sample {
    ($($row:ty: $split:expr,)*) => {$(
        impl OfSample for $row {
            fn place(&self) -> Option<Place> {
                let split: fn(&Self) -> Option<&str> = $split;
                self.index.map(|index| Place::new(split(self), index))
            }

            fn id(&self) -> &str {
                &self.sample
            }
        }
    )*};
}

of_sample! {
    ContextRow: |row| row.split.as_deref(),
    RoutingRow: |row| row.split.as_deref(),
    RoutingWeights: |row| row.split.as_deref(),
    SampleGradientRow: |row| row.split.as_deref(),
    PredictionRow: |row| Some(&row.split),
    DatasetRow: |row| Some(&row.split),
    DatasetTask: |row| Some(&row.split),
    SampleRow: |_| None,
    SampleTask: |_| None,
}

impl PairRow {
    /// What tells its two samples apart.
    #[must_use]
    pub fn keys(&self) -> [SampleKey; 2] {
        let place = |index: Option<u64>| index.map(|index| Place::new(self.split.as_deref(), index));
        [
            SampleKey::new(place(self.index_a), self.sample_a.clone()),
            SampleKey::new(place(self.index_b), self.sample_b.clone()),
        ]
    }
}

/// Something that is known of samples: found by place, or by id where what is asked or what is known has no places. What came
/// first of a sample stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BySample<T> {
    places: HashMap<Place, T>,
    ids: HashMap<Name, T>,
}

impl<T> Default for BySample<T> {
    fn default() -> Self {
        Self { places: HashMap::new(), ids: HashMap::new() }
    }
}

impl<T: Clone> BySample<T> {
    /// Keeps `value` of the sample at `place` with this id.
    pub fn insert(&mut self, place: Option<Place>, id: &str, value: T) {
        if !self.ids.contains_key(id) {
            self.ids.insert(id.into(), value.clone());
        }
        if let Some(place) = place {
            self.places.entry(place).or_insert(value);
        }
    }

    /// What is known of a sample.
    #[must_use]
    pub fn get(&self, place: Option<Place>, id: &str) -> Option<&T> {
        match place {
            Some(place) if !self.places.is_empty() => self.places.get(&place),
            _ => self.ids.get(id),
        }
    }

    /// What is known of a row's sample.
    #[must_use]
    pub fn of(&self, row: &impl OfSample) -> Option<&T> {
        self.get(row.place(), row.id())
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Rows as a run has them that began before records had places. The split of predictions is older than places and stays: it
/// is never null.
pub(super) fn without_places(rows: &RecordBatch) -> RecordBatch {
    let schema = rows.schema();
    let kept = schema.fields().iter().enumerate().filter(|(_, field)| {
        let place = matches!(field.name().as_str(), "index" | "index_a" | "index_b" | "split");
        !(place && field.is_nullable())
    });
    let kept: Vec<usize> = kept.map(|(i, _)| i).collect();
    rows.project(&kept).expect("the numbers of its own columns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_tell_the_sets_apart_and_follow_their_files() {
        let [train, none, val, subset] =
            [Some("train"), None, Some("val"), Some("val-subset")].map(|split| Place::new(split, 5));
        assert_eq!((train, val), (none, subset));
        assert_eq!((train.index(), train.split(), val.index(), val.split()), (5, "train", 5, "val"));
        assert!(train < Place::new(None, 6) && Place::new(None, u64::MAX) < Place::new(Some("val"), 0));
    }

    #[test]
    fn what_is_known_is_found_by_place_and_without_one_by_the_first_of_the_id() {
        let place = |index| Some(Place::new(None, index));
        let mut known = BySample::default();
        known.insert(place(3), "twice", "first");
        known.insert(place(9), "twice", "second");
        known.insert(place(9), "twice", "again");
        assert_eq!((known.get(place(9), "twice"), known.get(None, "twice")), (Some(&"second"), Some(&"first")));
        assert_eq!(
            known.get(Some(Place::new(Some("val"), 9)), "twice"),
            None,
            "the held-out entry 9 is another sample"
        );
        let mut old = BySample::default();
        old.insert(None, "twice", "first");
        old.insert(None, "twice", "second");
        assert_eq!(old.get(place(9), "twice"), Some(&"first"), "an older data set has ids alone");
    }

    #[test]
    fn a_key_is_the_place_or_else_the_id() {
        let [a, b] = [3, 9].map(|index| SampleKey::new(Some(Place::new(None, index)), "twice"));
        assert_ne!(a, b);
        assert_eq!(SampleKey::new(None, "twice"), SampleKey::Id("twice".into()));
        assert_eq!((a.place().map(Place::index), SampleKey::new(None, "x").place()), (Some(3), None));
    }
}
