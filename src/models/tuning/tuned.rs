//! What a tuning method left in a file of weights: read from the names and shapes of its tensors, and from the recipe
//! that our own checkpoints carry. A stage that begins from such weights goes on with the same method, or merges it.

use crate::config::model::{LanguageMethod, Router, Tuning, VisionMethod};
use std::fmt;
use std::ops::Range;

/// What a method added.
#[derive(Clone, Debug, PartialEq)]
pub enum Added {
    /// Adapters' factors.
    Lora {
        /// Rank r.
        rank: usize,
        /// Scale is alpha / r; names and shapes do not tell it.
        alpha: Option<f64>,
    },
    /// Prompts of every block.
    Prompts {
        /// Prompts a block.
        prompts: usize,
    },
    /// A mixture of experts in place of the feed-forward layer.
    Mixture {
        /// Experts.
        experts: usize,
        /// Blocks that have one.
        layers: Range<usize>,
        /// Names and shapes do not tell it.
        router: Option<Router>,
    },
}

/// What tuning added to a file's vision encoder and language model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuned {
    /// To the vision encoder.
    pub vision: Option<Added>,
    /// To the language model.
    pub language: Option<Added>,
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lora { rank, alpha: Some(alpha) } => write!(f, "lora (rank {rank}, alpha {alpha})"),
            Self::Lora { rank, alpha: None } => write!(f, "lora (rank {rank}, alpha not stored)"),
            Self::Prompts { prompts } => write!(f, "vpt ({prompts} prompts a block)"),
            Self::Mixture { experts, layers, router } => {
                let router = router.map_or_else(String::new, |r| format!(", router {r:?}").to_lowercase());
                write!(f, "covft ({experts} experts in blocks {}..{}{router})", layers.start, layers.end)
            }
        }
    }
}

impl Added {
    /// Whether a stage with `method` goes on with it; `layers` are the blocks that the stage's method gives a mixture.
    #[must_use]
    pub fn goes_on(&self, method: &VisionMethod, layers: &Range<usize>) -> bool {
        match (self, method) {
            (Self::Lora { rank, alpha }, VisionMethod::Lora { rank: r, alpha: a, .. }) => same(*rank, *alpha, *r, *a),
            (Self::Prompts { prompts }, VisionMethod::Vpt { prompts: p }) => prompts == p,
            (
                Self::Mixture { experts, layers: found, router },
                VisionMethod::Covft { experts: e, router: wanted, .. },
            ) => experts == e && found == layers && router.is_none_or(|r| r == *wanted),
            _ => false,
        }
    }

    /// The same for the language model.
    #[must_use]
    pub fn goes_on_in_language(&self, method: &LanguageMethod) -> bool {
        match (self, method) {
            (Self::Lora { rank, alpha }, LanguageMethod::Lora { rank: r, alpha: a, .. }) => same(*rank, *alpha, *r, *a),
            _ => false,
        }
    }

    /// The method as a recipe writes it.
    #[must_use]
    pub fn as_written(&self) -> String {
        match self {
            Self::Lora { rank, alpha } => {
                let alpha = alpha.map_or_else(String::new, |a| format!(", alpha = {a:?}"));
                format!("{{ type = \"lora\", rank = {rank}{alpha} }}")
            }
            Self::Prompts { prompts } => format!("{{ type = \"vpt\", prompts = {prompts} }}"),
            Self::Mixture { experts, layers, router } => {
                let router = match router {
                    Some(Router::Sparse(n)) => format!(", router = {{ sparse = {n} }}"),
                    Some(Router::Uniform) => ", router = \"uniform\"".to_owned(),
                    Some(Router::Dense) | None => String::new(),
                };
                let Range { start, end } = layers;
                format!("{{ type = \"covft\", experts = {experts}, start_layer = {start}, end_layer = {end}{router} }}")
            }
        }
    }
}

fn same(rank: usize, alpha: Option<f64>, wanted_rank: usize, wanted_alpha: f64) -> bool {
    // Settings are compared as written.
    #[expect(clippy::float_cmp, reason = "the same setting is the same number")]
    let alike = alpha.is_none_or(|alpha| alpha == wanted_alpha);
    rank == wanted_rank && alike
}

impl Tuned {
    /// Of tensors by name and shape; `stored` is the tuning that one of our checkpoints carries.
    ///
    /// # Errors
    /// Why names, shapes and `stored` do not fit together.
    pub fn of<'a>(
        tensors: impl Iterator<Item = (&'a str, &'a [usize])>,
        stored: Option<&Tuning>,
    ) -> Result<Self, String> {
        let mut found = Self::default();
        for (name, shape) in tensors {
            let place = if is_language(name) { &mut found.language } else { &mut found.vision };
            let added = added_by(name, shape);
            match (place.as_mut(), added) {
                (_, None) => {}
                (None, Some(added)) => *place = Some(added),
                (Some(before), Some(added)) => {
                    before.join(&added).map_err(|()| format!("{name} is of {added}, other tensors are of {before}"))?;
                }
            }
        }
        if let Some(stored) = stored {
            found.lacks(stored)?;
            found.name_settings(stored);
        }
        Ok(found)
    }

    /// That what the stored tuning added is there.
    fn lacks(&self, stored: &Tuning) -> Result<(), String> {
        let vision = match stored.vision {
            VisionMethod::Lora { .. } => Some(("lora", matches!(self.vision, Some(Added::Lora { .. })))),
            VisionMethod::Vpt { .. } => Some(("vpt", matches!(self.vision, Some(Added::Prompts { .. })))),
            VisionMethod::Covft { .. } => Some(("covft", matches!(self.vision, Some(Added::Mixture { .. })))),
            VisionMethod::Freeze | VisionMethod::Full | VisionMethod::BitFit => None,
        };
        let language = match stored.language {
            LanguageMethod::Lora { .. } => Some(("lora", matches!(self.language, Some(Added::Lora { .. })))),
            _ => None,
        };
        match [("vision", vision), ("language", language)].into_iter().find(|(_, of)| matches!(of, Some((_, false)))) {
            Some((part, Some((method, _)))) => Err(format!(
                "config.json says that {method} tuned the {part} weights, and none of its tensors is there"
            )),
            _ => Ok(()),
        }
    }

    /// Takes from the stored tuning what shapes do not tell.
    fn name_settings(&mut self, stored: &Tuning) {
        match (&mut self.vision, &stored.vision) {
            (Some(Added::Lora { rank, alpha }), VisionMethod::Lora { rank: r, alpha: a, .. }) if rank == r => {
                *alpha = Some(*a);
            }
            (Some(Added::Mixture { router, .. }), VisionMethod::Covft { router: r, .. }) => *router = Some(*r),
            _ => {}
        }
        if let (Some(Added::Lora { rank, alpha }), LanguageMethod::Lora { rank: r, alpha: a, .. }) =
            (&mut self.language, &stored.language)
            && rank == r
        {
            *alpha = Some(*a);
        }
    }
}

impl Added {
    fn join(&mut self, other: &Self) -> Result<(), ()> {
        match (self, other) {
            (Self::Mixture { experts, layers, .. }, Self::Mixture { experts: e, layers: l, .. }) => {
                *experts = (*experts).max(*e);
                *layers = layers.start.min(l.start)..layers.end.max(l.end);
                Ok(())
            }
            (before, other) if before == other => Ok(()),
            _ => Err(()),
        }
    }
}

/// Whether a tensor belongs to a language model, in any of the names that are read.
pub(in crate::models) fn is_language(name: &str) -> bool {
    let plain = name.starts_with("model.layers.") || name.starts_with("model.language_model.");
    plain || name.starts_with("language_model.")
}

fn added_by(name: &str, shape: &[usize]) -> Option<Added> {
    let segments: Vec<&str> = name.split('.').collect();
    let number_after = |word: &str| {
        let at = segments.iter().position(|s| *s == word)?;
        segments.get(at + 1)?.parse::<usize>().ok()
    };
    if segments.contains(&"lora_down") {
        return Some(Added::Lora { rank: *shape.first()?, alpha: None });
    }
    if segments.contains(&"prompt_embeddings") {
        return Some(Added::Prompts { prompts: *shape.get(1)? });
    }
    let expert = number_after("experts")?;
    let layer = number_after("layers").or_else(|| number_after("layer"))?;
    Some(Added::Mixture { experts: expert + 1, layers: layer..layer + 1, router: None })
}
