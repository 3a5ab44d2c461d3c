//! Samples of two tasks that show the same picture and the same object: what two runs over the same images see at the
//! same step.
//!
//! A pair is found by picture and by id without the task's name (`grounding_coco_25_598548` and
//! `region_captioning_coco_25_598548`, `train_00007_grounding` and `train_00007_region_captioning`); where the id does not
//! hold the task's name, by picture and the boxes in the texts. Two samples that both name boxes must name the same.

use super::conversation::Entry;
use super::dataset::Dataset;
use super::error::Result;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One side of the pairs of a set.
#[derive(Clone, Debug)]
pub struct Paired {
    /// Samples of the first tasks that have a partner, in an order that is the same for the partners.
    pub samples: Dataset,
    /// What each pair is about, in the same order: equal on both sides.
    pub keys: Vec<String>,
    /// Samples of the first tasks without a partner.
    pub left_out: Vec<Arc<str>>,
    /// Pairs whose two texts name the same boxes.
    pub by_box: usize,
}

/// What a sample is about.
struct Subject {
    place: usize,
    boxes: Vec<String>,
}

impl Dataset {
    /// The samples of `tasks` whose partner is among `with`: a sample of `tasks[k]` is paired with one of `with[k]`.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn paired(&self, tasks: &[String], with: &[String]) -> Result<Paired> {
        let mut found: BTreeMap<(usize, String), usize> = BTreeMap::new();
        let mut left_out = Vec::new();
        let mut by_box = 0;
        for (k, (task, partner)) in tasks.iter().zip(with).enumerate() {
            let partners = self.subjects(partner)?;
            for (key, own) in self.subjects(task)? {
                let same = |other: &Subject| own.boxes.is_empty() || other.boxes.is_empty() || own.boxes == other.boxes;
                match partners.get(&key).filter(|other| same(other)) {
                    Some(other) => {
                        by_box += usize::from(!own.boxes.is_empty() && own.boxes == other.boxes);
                        found.insert((k, key), own.place);
                    }
                    None => left_out.push(self.entry(own.place)?.id),
                }
            }
        }
        let places: Vec<usize> = found.values().copied().collect();
        let keys = found.into_keys().map(|(k, key)| format!("{k} {key}")).collect();
        Ok(Paired { samples: self.select(&places), keys, left_out, by_box })
    }

    /// The samples of a task by what they are about. Of several about the same the first counts.
    fn subjects(&self, task: &str) -> Result<BTreeMap<String, Subject>> {
        let mut subjects = BTreeMap::new();
        for place in (0..self.len()).filter(|i| self.task(*i).is_some_and(|t| *t == *task)) {
            let entry = self.entry(place)?;
            let boxes = boxes(&entry);
            subjects.entry(key(&entry, task, &boxes)).or_insert(Subject { place, boxes });
        }
        Ok(subjects)
    }
}

fn key(entry: &Entry, task: &str, boxes: &[String]) -> String {
    let image = entry.image.as_deref().unwrap_or_default();
    match entry.id.find(task) {
        Some(at) => format!("{image} {}{}", &entry.id[..at], &entry.id[at + task.len()..]),
        None if boxes.is_empty() => format!("{image} {}", entry.id),
        None => format!("{image} {}", boxes.join(" ")),
    }
}

/// What stands in square brackets in any turn, without white space, sorted.
fn boxes(entry: &Entry) -> Vec<String> {
    let mut found = Vec::new();
    for turn in &entry.turns {
        let inside = turn.text.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
        found.extend(inside.map(|(numbers, _)| numbers.split_whitespace().collect::<String>()));
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing;

    fn names(tasks: &[&str]) -> Vec<String> {
        tasks.iter().map(|t| (*t).to_owned()).collect()
    }

    fn ids(set: &Dataset) -> Vec<String> {
        (0..set.len()).map(|i| set.entry(i).unwrap().id.to_string()).collect()
    }

    #[test]
    fn both_sides_show_the_same_picture_and_object_at_the_same_place() {
        let set = testing::scenes_dataset(40, 0);
        let (a, b) = (names(&["grounding"]), names(&["region_captioning"]));
        let (one, other) = (set.paired(&a, &b).unwrap(), set.paired(&b, &a).unwrap());
        assert_eq!((one.samples.len(), one.by_box, one.left_out.len()), (40, 40, 0));
        assert_eq!(one.keys, other.keys);
        for i in 0..40 {
            let (x, y) = (one.samples.entry(i).unwrap(), other.samples.entry(i).unwrap());
            assert_eq!(x.image, y.image);
            assert!(y.question().contains(x.answer()), "{} is not in {}", x.answer(), y.question());
        }
        let own = set.paired(&a, &a).unwrap();
        assert_eq!(ids(&own.samples), ids(&one.samples));
        assert!(set.paired(&a, &names(&["nothing"])).unwrap().samples.is_empty());
    }

    #[test]
    fn what_has_no_partner_or_another_box_is_left_out() {
        let entry = |id: &str, task: &str, question: &str, answer: &str| {
            format!(
                r#"{{"id": "{id}", "image": "p.png", "task": "{task}", "conversations": [
                {{"from": "human", "value": "<image>\n{question}"}}, {{"from": "gpt", "value": "{answer}"}}]}}"#
            )
        };
        let entries = [
            entry("g_1", "g", "Where?", "[0.1, 0.2, 0.3, 0.4]"),
            entry("g_2", "g", "Where?", "[0.5, 0.2, 0.6, 0.4]"),
            entry("g_3", "g", "Where?", "[0.0, 0.0, 0.6, 0.4]"),
            entry("c_2", "c", "What is at [0.50, 0.2, 0.6, 0.4]?", "a cat"),
            entry("c_1", "c", "What is at [0.1,0.2,0.3,0.4]?", "a dog"),
            // Ids that do not hold the task's name: the box says what they are about.
            entry("x7", "wh", "Where?", "[0.7, 0.7, 0.8, 0.8]"),
            entry("y9", "wa", "What is at [0.7, 0.7, 0.8, 0.8]?", "a cup"),
        ];
        let (_dir, set) = testing::temporary_dataset(&format!("[{}]", entries.join(",")), 4);
        let (g, c) = (names(&["g", "wh"]), names(&["c", "wa"]));
        let found = set.paired(&g, &c).unwrap();
        assert_eq!(ids(&found.samples), ["g_1", "x7"]);
        assert_eq!(found.left_out.iter().map(|id| &**id).collect::<Vec<_>>(), ["g_2", "g_3"]);
        assert_eq!(ids(&set.paired(&c, &g).unwrap().samples), ["c_1", "y9"]);
        assert_eq!(found.by_box, 2);
    }
}
