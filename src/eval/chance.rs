//! The chance level of a score: what the best constant answer reaches on the same samples.

use super::scorer::{Scorer, normalise};
use std::collections::{BTreeMap, BTreeSet};

/// Accepted answers of the samples of a task, equal lists counted together.
#[derive(Clone, Debug, Default)]
pub(super) struct Constants(BTreeMap<Vec<String>, usize>);

impl Constants {
    /// Counts a sample.
    pub(super) fn add(&mut self, references: &[String]) {
        let references: Vec<String> = references.iter().map(|r| normalise(r)).collect();
        *self.0.entry(references).or_default() += 1;
    }

    /// The highest mean score that one accepted answer, given to every sample, reaches; 0 without any sample.
    pub(super) fn best(&self, scorer: Scorer) -> f64 {
        let candidates: BTreeSet<&String> = self.0.keys().flatten().collect();
        let samples = self.0.values().sum::<usize>().max(1) as f64;
        let sum = |answer: &String| {
            self.0.iter().map(|(references, n)| scorer.score(answer, references) * *n as f64).sum::<f64>()
        };
        candidates.into_iter().map(sum).fold(0.0, f64::max) / samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(scorer: Scorer, samples: &[&[&str]]) -> f64 {
        let mut constants = Constants::default();
        for references in samples {
            constants.add(&references.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
        }
        constants.best(scorer)
    }

    #[test]
    fn the_commonest_answer_is_the_best_constant() {
        assert_eq!(best(Scorer::Exact, &[&["yes"], &["Yes."], &["no"], &["YES"]]), 0.75);
        assert_eq!(best(Scorer::Exact, &[&["a", "b"], &["b", "c"], &["c"]]), 2.0 / 3.0, "any accepted answer counts");
        assert_eq!(best(Scorer::Exact, &[]), 0.0);
    }

    #[test]
    fn the_best_box_need_not_be_the_commonest() {
        // Twice the same corner; a middle box matches three others.
        let corner = "[0.8, 0.8, 1.0, 1.0]";
        let boxes = [[corner], [corner], ["[0, 0, 0.4, 0.4]"], ["[0, 0, 0.5, 0.4]"], ["[0, 0, 0.6, 0.4]"]];
        let samples: Vec<&[&str]> = boxes.iter().map(|b| &b[..]).collect();
        assert_eq!(best(Scorer::Iou50, &samples), 0.6);
    }

    #[test]
    fn soft_accuracies_are_averaged() {
        // Always red: of a list of four, three folds leave two of three others, one leaves all three.
        let four = ["red", "red", "red", "blue"];
        let red = (3.0 * 2.0 / 3.0 + 1.0) / 4.0;
        assert_eq!(best(Scorer::Vqa, &[&four, &four, &["green"]]), 2.0 * red / 3.0);
    }
}
