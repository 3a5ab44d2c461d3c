//! What whoever never looks at the pictures scores: the level that a score has to be above to mean anything.
//!
//! A held-out question is answered with the answer that scores best among the *training* samples that ask the very same
//! question; where none does, among all of its task. So "What size is ...?" is held to one of two sizes, not to one of all
//! answers of its task, and a box to the box that is most often right.

use crate::eval::Scorer;
use covft_analyses::store::{ALL, BySample, DatasetRow, Result, RunDir, read_dataset};
use covft_analyses::tables::Chance;
use std::collections::BTreeMap;

/// Answers that are tried, the most frequent ones.
const CANDIDATES: usize = 64;
/// Samples that they are tried on.
const TRIALS: usize = 1024;

/// The score of blind answers to the held-out samples `scored` of a run, by task and over all.
///
/// # Errors
/// The run's samples cannot be read.
pub fn blind(run: &RunDir, scored: &BySample<()>) -> Result<Chance> {
    let rows = read_dataset(run)?;
    let train: Vec<&DatasetRow> = rows.iter().filter(|row| row.split == "train").collect();
    let mut by_question: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut by_task: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in &train {
        let task = row.task.as_deref().unwrap_or_default();
        by_question.entry((task, &row.question)).or_default().push(&row.answer);
        by_task.entry(task).or_default().push(&row.answer);
    }
    let held_out = rows.iter().filter(|row| row.split != "train" && scored.of(*row).is_some());
    let mut guesses: BTreeMap<(&str, Option<&str>), Option<String>> = BTreeMap::new();
    let mut sums: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for row in held_out {
        let task = row.task.as_deref().unwrap_or_default();
        let Some(scorer) = Scorer::for_task(task) else { continue };
        let same = by_question.get(&(task, row.question.as_str()));
        let key = (task, same.map(|_| row.question.as_str()));
        let answers = same.or_else(|| by_task.get(task));
        let guess = guesses.entry(key).or_insert_with(|| answers.and_then(|answers| best(scorer, answers)));
        let score = guess.as_deref().map_or(0.0, |guess| scorer.score(guess, std::slice::from_ref(&row.answer)));
        for name in [task, ALL] {
            let sum = sums.entry(name).or_default();
            (sum.0, sum.1) = (sum.0 + score, sum.1 + 1);
        }
    }
    Ok(sums.into_iter().map(|(task, (sum, n))| (task.to_owned(), sum / n as f64)).collect())
}

/// The answer that scores best against `answers`; of equals the more frequent, then the first in order.
fn best(scorer: Scorer, answers: &[&str]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer).or_default() += 1;
    }
    let mut candidates: Vec<(&str, usize)> = counts.into_iter().collect();
    candidates.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    candidates.truncate(CANDIDATES);
    let every = answers.len().div_ceil(TRIALS).max(1);
    let trials: Vec<String> = answers.iter().step_by(every).map(|answer| (*answer).to_owned()).collect();
    let score =
        |candidate: &str| trials.iter().map(|truth| scorer.score(candidate, std::slice::from_ref(truth))).sum::<f64>();
    let mut found: Option<(&str, f64)> = None;
    for (candidate, _) in candidates {
        let own = score(candidate);
        if found.is_none_or(|(_, top)| own > top) {
            found = Some((candidate, own));
        }
    }
    found.map(|(candidate, _)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use covft_analyses::store::write_dataset;

    fn row(split: &str, n: usize, task: &str, question: &str, answer: &str) -> DatasetRow {
        DatasetRow {
            index: None,
            sample: format!("{split}{n}"),
            split: split.into(),
            task: Some(task.into()),
            image: None,
            width: None,
            height: None,
            question: question.into(),
            answer: answer.into(),
        }
    }

    #[test]
    fn the_same_question_decides_and_a_new_one_falls_back_on_its_task() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path().join("run")).unwrap();
        let rows = [
            row("train", 0, "attribute", "What size?", "small"),
            row("train", 1, "attribute", "What size?", "small"),
            row("train", 2, "attribute", "What size?", "large"),
            row("train", 3, "attribute", "What color?", "red"),
            row("train", 4, "grounding", "Where?", "[0, 0, 1, 1]"),
            row("train", 5, "grounding", "Where?", "[0, 0, 1, 0.9]"),
            row("train", 6, "grounding", "Where?", "[0.9, 0.9, 1, 1]"),
            row("val", 0, "attribute", "What size?", "small"),
            row("val", 1, "attribute", "What size?", "large"),
            row("val", 2, "attribute", "What shape?", "small"),
            row("val", 3, "grounding", "Where?", "[0, 0, 1, 0.8]"),
            row("val", 4, "captioning", "Describe.", "a cat"),
            row("val", 5, "attribute", "What color?", "blue"),
        ];
        write_dataset(&run, &rows).unwrap();
        // The last one was not scored.
        let mut scored = BySample::default();
        (0..5).for_each(|n| scored.insert(None, &format!("val{n}"), ()));
        let chance = blind(&run, &scored).unwrap();
        assert!((chance["attribute"] - 2.0 / 3.0).abs() < 1e-12, "{chance:?}");
        assert_eq!(chance["grounding"], 1.0);
        assert_eq!(chance.get("captioning"), None);
        assert_eq!(chance[ALL], 0.75);
    }
}
