//! From losses and answers of samples to one row a task and one over all.

use super::chance::Constants;
use super::examiner::Answer;
use super::scorer::Scorer;
use crate::train::hook::{EvalRow, Prediction, SampleLoss};
use std::collections::BTreeMap;

/// Name of the row over all samples.
const ALL: &str = "all";
/// Name of the row of samples that name no task.
const NO_TASK: &str = "none";

/// Sums by task, in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    tasks: BTreeMap<String, Sums>,
    predictions: Vec<Prediction>,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    loss: f64,
    tokens: usize,
    samples: usize,
    score: f64,
    scored: usize,
    /// Accepted answers of what was scored.
    references: Constants,
}

impl Tally {
    /// Counts a sample's loss.
    pub fn add_loss(&mut self, sample: &SampleLoss) {
        let sums = self.task(sample.task.as_deref());
        sums.loss += sample.loss_sum;
        sums.tokens += sample.tokens;
        sums.samples += 1;
    }

    /// Scores a generated answer, where its task has a scorer, and keeps it.
    pub fn add_answer(&mut self, answer: &Answer) {
        let Answer { sample, index, task, text, references } = answer;
        let task = task.as_deref();
        let correct = task.and_then(Scorer::for_task).map(|scorer| scorer.score(text, references));
        if let Some(score) = correct {
            let sums = self.task(task);
            sums.score += score;
            sums.scored += 1;
            sums.references.add(references);
        }
        let (sample, task) = (sample.to_string(), task.map(str::to_owned));
        self.predictions.push(Prediction { sample, index: *index, task, text: text.clone(), correct });
    }

    /// One row a task, by name, then `all`: its loss is over all labelled tokens, its score the mean over all scored
    /// answers, its chance level the mean of the tasks' over the same answers. And the predictions in the order they came.
    #[must_use]
    pub fn finish(self) -> (Vec<EvalRow>, Vec<Prediction>) {
        let mut all = Sums::default();
        let mut all_chance = 0.0;
        let mut rows = Vec::with_capacity(self.tasks.len() + 1);
        for (task, sums) in &self.tasks {
            all.loss += sums.loss;
            all.tokens += sums.tokens;
            all.samples += sums.samples;
            all.score += sums.score;
            all.scored += sums.scored;
            let scorer = Scorer::for_task(task);
            let chance = scorer.map_or(0.0, |scorer| sums.references.best(scorer));
            all_chance += chance * sums.scored as f64;
            rows.push(row(task, sums, scorer, chance));
        }
        rows.push(row(ALL, &all, None, all_chance / all.scored.max(1) as f64));
        (rows, self.predictions)
    }

    fn task(&mut self, task: Option<&str>) -> &mut Sums {
        self.tasks.entry(task.unwrap_or(NO_TASK).to_owned()).or_default()
    }
}

fn row(task: &str, sums: &Sums, scorer: Option<Scorer>, chance: f64) -> EvalRow {
    let mean = |sum: f64, n: usize| if n == 0 { 0.0 } else { sum / n as f64 };
    EvalRow {
        task: task.to_owned(),
        loss: mean(sums.loss, sums.tokens),
        tokens: sums.tokens,
        samples: sums.samples,
        score: (sums.scored > 0).then(|| mean(sums.score, sums.scored)),
        scorer: scorer.filter(|_| sums.scored > 0).map(Scorer::name),
        scored: sums.scored,
        chance: (sums.scored > 0).then_some(chance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;

    fn loss(id: &str, task: Option<&str>, loss_sum: f64, tokens: usize) -> SampleLoss {
        let task = task.map(Into::into);
        SampleLoss { id: id.into(), index: 0, split: Split::Val, task, has_image: true, loss_sum, tokens }
    }

    fn answer(sample: &str, task: &str, text: &str, reference: &str) -> Answer {
        let (task, references) = (Some(task.into()), vec![reference.to_owned()]);
        Answer { sample: sample.into(), index: 7, task, text: text.to_owned(), references }
    }

    #[test]
    fn rows_are_means_over_tokens_and_over_answers() {
        let mut tally = Tally::default();
        tally.add_loss(&loss("a", Some("ocr"), 6.0, 2));
        tally.add_loss(&loss("b", Some("ocr"), 1.0, 2));
        tally.add_loss(&loss("c", Some("captioning"), 5.0, 1));
        tally.add_loss(&loss("d", None, 0.0, 1));
        tally.add_answer(&answer("a", "ocr", "Stop", "STOP"));
        tally.add_answer(&answer("b", "ocr", "go", "STOP"));
        tally.add_answer(&answer("e", "counting", "3", "3"));
        tally.add_answer(&answer("c", "captioning", "A dog.", "A cat."));
        let (rows, predictions) = tally.finish();
        let names: Vec<_> = rows.iter().map(|r| r.task.as_str()).collect();
        assert_eq!(names, ["captioning", "counting", "none", "ocr", "all"]);
        let ocr = &rows[3];
        assert_eq!((ocr.loss, ocr.tokens, ocr.samples), (1.75, 4, 2));
        assert_eq!((ocr.score, ocr.scorer, ocr.scored), (Some(0.5), Some("exact"), 2));
        assert_eq!((rows[0].score, rows[0].scorer, rows[0].chance), (None, None, None), "captions are not scored");
        // Always STOP is right twice, always 3 once.
        assert_eq!((ocr.chance, rows[1].chance, rows[4].chance), (Some(1.0), Some(1.0), Some(1.0)));
        let all = &rows[4];
        assert_eq!((all.loss, all.tokens, all.samples, all.scored), (2.0, 6, 4, 3));
        assert!((all.score.unwrap() - 2.0 / 3.0).abs() < 1e-15);
        let correct: Vec<_> = predictions.iter().map(|p| p.correct).collect();
        assert_eq!(correct, [Some(1.0), Some(0.0), Some(1.0), None]);
        assert!(predictions.iter().all(|p| p.index == 7));
    }

    #[test]
    fn nothing_gives_an_empty_row() {
        let (rows, predictions) = Tally::default().finish();
        assert_eq!((rows.len(), rows[0].loss, predictions.len()), (1, 0.0, 0));
    }
}
