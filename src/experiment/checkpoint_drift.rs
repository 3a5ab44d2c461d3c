//! Per-layer distance of any two checkpoints, by tensor name.

use crate::models::checkpoint::{CheckpointError, Safetensors};
use crate::models::covft::plain_ffn;
use std::collections::BTreeMap;
use std::path::Path;

/// Part and layer that tensors are grouped by, in the order they are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `vision`, `projector`, `language`, `text` or `other`.
    pub part: &'static str,
    /// Layer of the part; `None` for what stands outside its blocks.
    pub layer: Option<usize>,
}

/// Distance of one group of tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerDistance {
    /// Which tensors.
    pub place: Place,
    /// Tensors compared.
    pub tensors: usize,
    /// Elements compared.
    pub elements: usize,
    /// `||tuned - base||`.
    pub distance: f64,
    /// `||base||`.
    pub base_norm: f64,
}

impl LayerDistance {
    /// `||tuned - base|| / ||base||`.
    #[must_use]
    pub fn relative(&self) -> f64 {
        self.distance / self.base_norm.max(f64::MIN_POSITIVE)
    }

    /// `||tuned - base|| / sqrt(n)`.
    #[must_use]
    pub fn per_element(&self) -> f64 {
        self.distance / (self.elements.max(1) as f64).sqrt()
    }
}

/// What [`compare`] found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// One row a part and layer.
    pub layers: Vec<LayerDistance>,
    /// Tensors that only the base has.
    pub only_base: Vec<String>,
    /// Tensors that only the tuned checkpoint has and that started as no tensor of the base.
    pub only_tuned: Vec<String>,
    /// Tensors whose shapes differ.
    pub reshaped: Vec<String>,
}

/// Compares every tensor of `tuned` with the one of the same name in `base`; an expert of a mixture is compared with the
/// FFN that it began as.
pub fn compare(base: &Path, tuned: &Path) -> Result<Comparison, CheckpointError> {
    let (base, tuned) = (Safetensors::open(base)?, Safetensors::open(tuned)?);
    let mut groups: BTreeMap<Place, (usize, usize, f64, f64)> = BTreeMap::new();
    let mut result = Comparison::default();
    let mut used = std::collections::BTreeSet::new();
    let mut names: Vec<String> = tuned.names().map(str::to_owned).collect();
    names.sort_by_key(|n| (place(n), n.clone()));
    for name in names {
        let origin = find_origin(&base, &name);
        let Some(origin) = origin else {
            result.only_tuned.push(name);
            continue;
        };
        used.insert(origin.clone());
        if base.shape(&origin) != tuned.shape(&name) {
            result.reshaped.push(name);
            continue;
        }
        let (Some(a), Some(b)) = (base.read(&origin)?, tuned.read(&name)?) else { continue };
        let group = groups.entry(place(&name)).or_default();
        group.0 += 1;
        group.1 += a.len();
        group.2 += a.iter().zip(&b).map(|(a, b)| (f64::from(*b) - f64::from(*a)).powi(2)).sum::<f64>();
        group.3 += a.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>();
    }
    result.layers = groups
        .into_iter()
        .map(|(place, (tensors, elements, distance, norm))| LayerDistance {
            place,
            tensors,
            elements,
            distance: distance.sqrt(),
            base_norm: norm.sqrt(),
        })
        .collect();
    result.only_base = base.names().filter(|n| !used.contains(*n)).map(str::to_owned).collect();
    result.only_base.sort();
    Ok(result)
}

/// The tensor of `base` that `name` is compared with. A bare tower (`vision_model. ...`) matches the same tower inside a
/// multimodal checkpoint.
fn find_origin(base: &Safetensors, name: &str) -> Option<String> {
    const TOWER: &str = "model.vision_tower.vision_tower.";
    let plain = plain_ffn(name);
    let candidates = [Some(name.to_owned()), plain.clone()];
    for candidate in candidates.into_iter().flatten() {
        let bare = candidate.strip_prefix(TOWER).map(str::to_owned);
        let nested = Some(format!("{TOWER}{candidate}"));
        for found in [Some(candidate), bare, nested].into_iter().flatten() {
            if base.shape(&found).is_some() {
                return Some(found);
            }
        }
    }
    None
}

/// Part and layer of a tensor, from its name.
#[must_use]
pub fn place(name: &str) -> Place {
    let part = if name.contains("vision") || name.starts_with("encoder.layer") || name.starts_with("embeddings.patch") {
        "vision"
    } else if name.contains("mm_projector") || name.contains("multi_modal_projector") {
        "projector"
    } else if name.contains("context_") {
        "text"
    } else if name.starts_with("model.") || name.starts_with("language_model.") || name.starts_with("lm_head") {
        "language"
    } else {
        "other"
    };
    let mut pieces = name.split('.').peekable();
    let mut layer = None;
    while let Some(piece) = pieces.next() {
        if piece == "layers" || piece == "layer" {
            layer = pieces.peek().and_then(|n| n.parse().ok());
            break;
        }
    }
    Place { part, layer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_part_and_layer() {
        let tower = "model.vision_tower.vision_tower.vision_model.encoder.layers.11.mlp.experts.2.0.weight";
        assert_eq!(place(tower), Place { part: "vision", layer: Some(11) });
        assert_eq!(place("model.layers.3.mlp.up_proj.weight"), Place { part: "language", layer: Some(3) });
        assert_eq!(place("model.mm_projector.0.weight"), Place { part: "projector", layer: None });
        assert_eq!(place("encoder.layer.7.norm1.weight"), Place { part: "vision", layer: Some(7) });
    }

    #[test]
    fn an_expert_is_compared_with_the_ffn_it_began_as() {
        assert_eq!(plain_ffn("a.mlp.experts.2.0.weight").as_deref(), Some("a.mlp.fc1.weight"));
        assert_eq!(plain_ffn("a.mlp.experts.0.2.bias").as_deref(), Some("a.mlp.fc2.bias"));
        assert_eq!(plain_ffn("a.mlp.fc1.weight"), None);
    }
}
