//! Samples of two tasks that show the same picture and the same object: what two runs over the same images see at the
//! same step.
//!
//! A pair is found by picture and by id without the task's name (`grounding_coco_25_598548` and
//! `region_captioning_coco_25_598548`, `train_00007_grounding` and `train_00007_region_captioning`); where the id does not
//! hold the task's name, by picture and the boxes in the texts. Two samples that both name boxes must name the same. Where
//! several samples of a task are about the same (ids repeat), those that name the same boxes are partners, in the order of
//! the file.

use super::batch::SampleMeta;
use super::conversation::Entry;
use super::dataset::Dataset;
use super::error::Result;
use std::collections::BTreeMap;

/// One side of the pairs of a set.
#[derive(Clone, Debug)]
pub struct Paired {
    /// Samples of the first tasks that have a partner, in an order that is the same for the partners.
    pub samples: Dataset,
    /// What each pair is about, in the same order: equal on both sides.
    pub keys: Vec<String>,
    /// Samples of the first tasks without a partner.
    pub left_out: Vec<SampleMeta>,
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
        let mut found: BTreeMap<(usize, String, usize), usize> = BTreeMap::new();
        let mut left_out = Vec::new();
        let mut by_box = 0;
        for (k, (task, partner)) in tasks.iter().zip(with).enumerate() {
            let mut partners = self.subjects(partner)?;
            for (key, own) in self.subjects(task)? {
                let others = partners.remove(&key).unwrap_or_default();
                let Matched { pairs, left } = matched(&own, &others);
                for (number, (own, other)) in pairs.into_iter().enumerate() {
                    by_box += usize::from(!own.boxes.is_empty() && own.boxes == other.boxes);
                    found.insert((k, key.clone(), number), own.place);
                }
                for place in left {
                    left_out.push(self.meta(place, &self.entry(place)?));
                }
            }
        }
        let places: Vec<usize> = found.values().copied().collect();
        let keys = found.into_keys().map(|(k, key, number)| format!("{k} {key} {number}")).collect();
        Ok(Paired { samples: self.select(&places), keys, left_out, by_box })
    }

    /// The samples of a task by what they are about, each list in the order of the file.
    fn subjects(&self, task: &str) -> Result<BTreeMap<String, Vec<Subject>>> {
        let mut subjects: BTreeMap<String, Vec<Subject>> = BTreeMap::new();
        for place in (0..self.len()).filter(|i| self.task(*i).is_some_and(|t| *t == *task)) {
            let entry = self.entry(place)?;
            let boxes = boxes(&entry);
            subjects.entry(key(&entry, task, &boxes)).or_default().push(Subject { place, boxes });
        }
        Ok(subjects)
    }
}

/// Partners in an order that is the same from either side, and places on the first without one.
struct Matched<'s> {
    pairs: Vec<(&'s Subject, &'s Subject)>,
    left: Vec<usize>,
}

/// Pairs samples that are about the same: first those that name the same boxes, then those that name none with what is left.
fn matched<'s>(own: &'s [Subject], others: &'s [Subject]) -> Matched<'s> {
    let mut by_boxes: BTreeMap<&[String], [Vec<&Subject>; 2]> = BTreeMap::new();
    for (side, subjects) in [own, others].into_iter().enumerate() {
        for subject in subjects {
            by_boxes.entry(&subject.boxes).or_default()[side].push(subject);
        }
    }
    let mut pairs = Vec::new();
    // On each side what names no box, and what names one; after the first round one side at most has any of the former.
    let mut rest: [[Vec<&Subject>; 2]; 2] = Default::default();
    for (boxes, [a, b]) in by_boxes {
        let same = a.len().min(b.len());
        pairs.extend(a.iter().copied().zip(b.iter().copied()));
        for (side, subjects) in rest.iter_mut().zip([a, b]) {
            side[usize::from(!boxes.is_empty())].extend(&subjects[same..]);
        }
    }
    let [[open_a, named_a], [open_b, named_b]] = rest;
    pairs.extend(open_a.iter().copied().zip(named_b.iter().copied()));
    pairs.extend(named_a.iter().copied().zip(open_b.iter().copied()));
    let left = open_a.iter().skip(named_b.len()).chain(named_a.iter().skip(open_b.len()));
    Matched { left: left.map(|subject| subject.place).collect(), pairs }
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
        assert_eq!(found.left_out.iter().map(|s| (&*s.id, s.index)).collect::<Vec<_>>(), [("g_2", 1), ("g_3", 2)]);
        assert_eq!(ids(&set.paired(&c, &g).unwrap().samples), ["c_1", "y9"]);
        assert_eq!(found.by_box, 2);
    }

    #[test]
    fn entries_of_one_id_are_partners_by_box_and_none_is_lost() {
        let entry = |id: &str, task: &str, question: &str, answer: &str| {
            format!(
                r#"{{"id": "{id}", "image": "p.png", "task": "{task}", "conversations": [
                {{"from": "human", "value": "<image>\n{question}"}}, {{"from": "gpt", "value": "{answer}"}}]}}"#
            )
        };
        let entries = [
            entry("g_1", "g", "Where is the dog?", "[0.1, 0.2, 0.3, 0.4]"),
            entry("g_1", "g", "Where is the cat?", "[0.5, 0.2, 0.6, 0.4]"),
            entry("g_1", "g", "Where is the cup?", "there"),
            entry("c_1", "c", "What is at [0.5, 0.2, 0.6, 0.4]?", "a cat"),
            entry("c_1", "c", "What is at [0.1, 0.2, 0.3, 0.4]?", "a dog"),
            entry("c_1", "c", "What is at [0.8, 0.8, 0.9, 0.9]?", "a cup"),
            entry("c_1", "c", "What is at [0.7, 0.8, 0.9, 0.9]?", "a mug"),
        ];
        let (_dir, set) = testing::temporary_dataset(&format!("[{}]", entries.join(",")), 4);
        let (g, c) = (names(&["g"]), names(&["c"]));
        let (one, other) = (set.paired(&g, &c).unwrap(), set.paired(&c, &g).unwrap());
        let indices = |p: &Paired| (0..p.samples.len()).map(|i| p.samples.index(i)).collect::<Vec<_>>();
        assert_eq!((indices(&one), indices(&other)), (vec![0, 1, 2], vec![4, 3, 6]));
        assert_eq!((&one.keys, one.by_box), (&other.keys, 2));
        assert!(one.left_out.is_empty());
        assert_eq!(other.left_out.iter().map(|s| s.index).collect::<Vec<_>>(), [5]);
    }
}
