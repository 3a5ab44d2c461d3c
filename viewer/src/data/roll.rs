//! The samples that records name, by number: told apart by their places in the data, or by id where records have none.

use covft_analyses::store::{Place, SampleKey};
use std::collections::HashMap;
use std::sync::Arc;

/// Each sample once, numbered in the order of its first row.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    ids: Vec<Arc<str>>,
    /// By number; empty as long as no record has one.
    places: Vec<Option<Place>>,
    by_place: HashMap<Place, u32>,
    by_id: HashMap<Arc<str>, u32>,
}

impl Roll {
    pub(crate) fn number(&mut self, place: Option<Place>, id: &str) -> u32 {
        if let Some(known) = self.find(place, id) {
            return known;
        }
        let number = self.ids.len() as u32;
        let id: Arc<str> = id.into();
        self.ids.push(Arc::clone(&id));
        match place {
            Some(place) => {
                self.places.resize(self.ids.len(), None);
                self.places[number as usize] = Some(place);
                self.by_place.insert(place, number);
            }
            None => drop(self.by_id.insert(id, number)),
        }
        number
    }

    /// The sample of a place, or the one of an id that has no place.
    pub(crate) fn find(&self, place: Option<Place>, id: &str) -> Option<u32> {
        place.map_or_else(|| self.by_id.get(id), |place| self.by_place.get(&place)).copied()
    }

    pub(crate) fn id(&self, sample: u32) -> &str {
        self.ids.get(sample as usize).map_or("", |id| id)
    }

    pub(crate) fn place(&self, sample: u32) -> Option<Place> {
        self.places.get(sample as usize).copied().flatten()
    }

    /// What tells it apart, which samples are put in order by.
    pub(crate) fn key(&self, sample: u32) -> SampleKey {
        SampleKey::new(self.place(sample), self.id(sample))
    }

    /// Whether records have places.
    pub(crate) fn has_places(&self) -> bool {
        !self.by_place.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}
