//! Scores of generated answers, 0 to 1.

use super::boxes::{match_score, parse_boxes};

/// How the answers of a task are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scorer {
    /// The answer is the reference, without case, surrounding white space and a trailing period.
    Exact,
    /// Boxes matched at an intersection over union of at least 0.5.
    Iou50,
    /// VQA soft accuracy.
    Vqa,
}

/// Share of a box that must be common for a match.
const IOU_THRESHOLD: f64 = 0.5;

impl Scorer {
    /// The scorer of a task; `None` for tasks with free answers (captions, dialogues).
    #[must_use]
    pub fn for_task(task: &str) -> Option<Self> {
        match task {
            "grounding" | "text_grounding" | "detection" => Some(Self::Iou50),
            "counting" | "existence" | "attribute" | "vqa_choice" | "relation" | "spatial_relation"
            | "caption_choice" | "ocr" => Some(Self::Exact),
            "vqa" => Some(Self::Vqa),
            _ => None,
        }
    }

    /// Its name in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Iou50 => "iou50",
            Self::Vqa => "vqa",
        }
    }

    /// Scores `answer` against the accepted `references`: with [`Exact`](Self::Exact) and [`Iou50`](Self::Iou50) the best
    /// of them counts. 0 without any reference.
    #[must_use]
    pub fn score(self, answer: &str, references: &[String]) -> f64 {
        match self {
            Self::Exact => f64::from(references.iter().any(|r| normalise(r) == normalise(answer))),
            Self::Iou50 => references.iter().map(|r| boxes(answer, r)).fold(0.0, f64::max),
            Self::Vqa => soft_accuracy(answer, references),
        }
    }
}

/// Lower case, without surrounding white space and one trailing period.
#[must_use]
pub fn normalise(text: &str) -> String {
    let text = text.trim();
    text.strip_suffix('.').unwrap_or(text).trim_end().to_lowercase()
}

fn boxes(answer: &str, reference: &str) -> f64 {
    match (parse_boxes(answer), parse_boxes(reference)) {
        (Some(given), Some(wanted)) => match_score(&given, &wanted, IOU_THRESHOLD),
        _ => 0.0,
    }
}

/// For each of the references in turn, `min(1, matches among the others / 3)`, averaged: the official VQA accuracy for
/// ten people's answers. A single reference is matched exactly; with fewer than four, all the others must match for 1.
fn soft_accuracy(answer: &str, references: &[String]) -> f64 {
    let matches: Vec<bool> = references.iter().map(|r| normalise(r) == normalise(answer)).collect();
    let total = matches.iter().filter(|m| **m).count();
    if matches.len() < 2 {
        return total as f64;
    }
    let enough = 3.min(matches.len() - 1) as f64;
    let left_out = matches.iter().map(|own| (total - usize::from(*own)) as f64 / enough);
    left_out.map(|share| share.min(1.0)).sum::<f64>() / matches.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn exact_match_ignores_case_space_and_a_final_period() {
        for right in ["two", "Two", " two\n", "two.", "TWO. "] {
            assert_eq!(Scorer::Exact.score(right, &all(&["Two"])), 1.0, "{right:?}");
        }
        for wrong in ["two..", "2", "two dogs", ""] {
            assert_eq!(Scorer::Exact.score(wrong, &all(&["Two"])), 0.0, "{wrong:?}");
        }
        assert_eq!(Scorer::Exact.score("b", &all(&["A", "B"])), 1.0, "any reference will do");
        assert_eq!(Scorer::Exact.score("b", &[]), 0.0);
    }

    #[test]
    fn soft_accuracy_of_ten_references_is_the_official_one() {
        // Four of ten say red: leaving one of the four out leaves three (1), leaving another out leaves four (1).
        let ten = all(&["red", "Red", "red.", "red", "blue", "blue", "green", "pink", "grey", "teal"]);
        let close = |answer: &str, want: f64| {
            let got = Scorer::Vqa.score(answer, &ten);
            assert!((got - want).abs() < 1e-12, "{answer}: {got} {want}");
        };
        close("red", 1.0);
        // Two say blue: 8 of the folds see 2/3, 2 see 1/3.
        close("Blue", (8.0 * 2.0 + 2.0) / 30.0);
        // One says pink: 9 folds see 1/3, one sees none.
        close("pink", 0.3);
        close("black", 0.0);
    }

    #[test]
    fn soft_accuracy_of_few_references() {
        assert_eq!(Scorer::Vqa.score("Yes.", &all(&["yes"])), 1.0);
        assert_eq!(Scorer::Vqa.score("no", &all(&["yes"])), 0.0);
        assert_eq!(Scorer::Vqa.score("yes", &all(&["yes", "yes"])), 1.0);
        assert_eq!(Scorer::Vqa.score("yes", &all(&["yes", "no"])), 0.5);
    }

    #[test]
    fn boxes_are_matched_at_one_half() {
        let reference = all(&["[0.20, 0.20, 0.60, 0.60]"]);
        assert_eq!(Scorer::Iou50.score("[0.20, 0.20, 0.60, 0.60]", &reference), 1.0);
        assert_eq!(Scorer::Iou50.score("It is at [0.2, 0.2, 0.6, 0.41].", &reference), 1.0, "0.525 of the box");
        assert_eq!(Scorer::Iou50.score("[0.20, 0.20, 0.60, 0.39]", &reference), 0.0);
        assert_eq!(Scorer::Iou50.score("the left one", &reference), 0.0);
    }

    #[test]
    fn tasks_have_their_scorers() {
        assert_eq!(Scorer::for_task("detection"), Some(Scorer::Iou50));
        assert_eq!(Scorer::for_task("ocr"), Some(Scorer::Exact));
        assert_eq!(Scorer::for_task("vqa"), Some(Scorer::Vqa));
        assert_eq!(Scorer::for_task("captioning"), None);
    }
}
