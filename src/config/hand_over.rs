//! From the tuning of one stage to that of the next: what the first added and the second would drop.

use super::model::{LanguageMethod, Tuning, VisionMethod};

/// What becomes of a stage's additions in the stage after it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HandOver {
    /// alpha / r of the vision encoder's adapters, where the next stage does not go on with them.
    pub vision: Option<f64>,
    /// The language model's.
    pub language: Option<f64>,
    /// Parts whose additions would be lost, with the method that made them.
    pub lost: Vec<(&'static str, &'static str)>,
}

impl HandOver {
    /// Whether adapters have to be merged.
    #[must_use]
    pub fn merges(&self) -> bool {
        self.vision.is_some() || self.language.is_some()
    }
}

impl Tuning {
    /// From this stage's tuning to the next one's: settings that say nothing of the weights (dropout) may differ.
    #[must_use]
    pub fn hand_over(&self, next: &Self) -> HandOver {
        let mut over = HandOver::default();
        match (&self.vision, &next.vision) {
            (VisionMethod::Lora { rank, alpha, .. }, other) => {
                let kept = matches!(other, VisionMethod::Lora { rank: r, alpha: a, .. } if (r, a) == (rank, alpha));
                over.vision = (!kept).then(|| alpha / *rank as f64);
            }
            (before @ (VisionMethod::Vpt { .. } | VisionMethod::Covft { .. }), other) if before != other => {
                over.lost.push(("vision", before.name()));
            }
            _ => {}
        }
        if let LanguageMethod::Lora { rank, alpha, .. } = &self.language {
            let kept =
                matches!(&next.language, LanguageMethod::Lora { rank: r, alpha: a, .. } if (r, a) == (rank, alpha));
            over.language = (!kept).then(|| alpha / *rank as f64);
        }
        over
    }
}
