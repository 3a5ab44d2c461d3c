//! Which gradients a number is over, so that methods can be compared.

pub use crate::config::probe::Space;
use crate::ops::Place;

impl Space {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Trainable, Self::Shared];

    /// The module that a weight at `place` counts under; `None` if it is not in this space.
    #[must_use]
    pub fn module(self, place: Place, trains: bool) -> Option<&'static str> {
        match (self, place.module) {
            (Self::Trainable, module) => trains.then_some(module),
            (Self::Shared, "experts") => Some("mlp"),
            (Self::Shared, module @ ("attention" | "layer_norm" | "mlp")) => Some(module),
            (Self::Shared, _) => None,
        }
    }

    /// Whether a layer's experts are added up before anything is computed of them.
    #[must_use]
    pub fn adds_experts(self) -> bool {
        self == Self::Shared
    }
}

/// The name of a weight with the expert's number left out: what a layer's experts share.
#[must_use]
pub fn without_expert(weight: &str) -> String {
    let Some((before, after)) = weight.split_once(".experts.") else { return weight.to_owned() };
    match after.split_once('.') {
        Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => format!("{before}.experts.{rest}"),
        _ => weight.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::LayerId;

    #[test]
    fn modules_and_names() {
        let place = |module| Place { layer: LayerId::Block(1), module };
        assert_eq!(Space::Shared.module(place("experts"), true), Some("mlp"));
        assert_eq!(Space::Shared.module(place("attention"), false), Some("attention"));
        assert_eq!(Space::Shared.module(place("cve"), true), None);
        assert_eq!(Space::Trainable.module(place("cve"), true), Some("cve"));
        assert_eq!(Space::Trainable.module(place("attention"), false), None);
        assert_eq!(without_expert("a.3.mlp.experts.12.0.weight"), "a.3.mlp.experts.0.weight");
        assert_eq!(without_expert("a.3.mlp.fc1.weight"), "a.3.mlp.fc1.weight");
    }
}
