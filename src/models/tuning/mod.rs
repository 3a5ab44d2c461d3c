//! Tuning methods of the vision encoder: which parameters train, and what is added to the tower.
//!
//! | method | trains | adds |
//! | --- | --- | --- |
//! | freeze | nothing | |
//! | full | everything | |
//! | lora | the adapters alone | `lora_down`, `lora_up` beside each attention projection |
//! | bitfit | every bias, those of layer norms too | |
//! | vpt | the prompts | `prompt_embeddings.{layer}` |
//! | covft | experts, gate, residual blocks, cross-attention, and both layer norms of *every* block (not the norms before and after the blocks) | CoMoE in the second half of the used blocks |

mod lora;
mod merged;
mod tuned;
#[cfg(test)]
mod tuned_tests;
mod vpt;

pub use lora::{Adapter, LoraLinear, LoraSpec};
pub use merged::Merged;
pub use tuned::{Added, Tuned};
pub use vpt::Prompts;

use crate::config::model::VisionMethod;
use crate::nn::{Part, Role};

/// Name segments that CoVFT frees: the mixture and its context extractor, and the blocks' norms in the names of CLIP
/// and of DINOv2.
const COVFT: [&str; 9] = [
    "experts",
    "gate",
    "image_resblock",
    "text_resblock",
    "cross_attn",
    "layer_norm1",
    "layer_norm2",
    "norm1",
    "norm2",
];

/// Whether `method` trains the parameter `name` of the vision encoder; false for other parts.
#[must_use]
pub fn vision_trains(method: &VisionMethod, name: &str, role: &Role) -> bool {
    let has = |wanted: &[&str]| name.split('.').any(|segment| wanted.contains(&segment));
    role.part == Part::Vision
        && match method {
            VisionMethod::Freeze => false,
            VisionMethod::Full => true,
            VisionMethod::Lora { .. } => has(&["lora_down", "lora_up"]),
            VisionMethod::BitFit => has(&["bias", "in_proj_bias"]),
            VisionMethod::Vpt { .. } => has(&["prompt_embeddings"]),
            VisionMethod::Covft { .. } => has(&COVFT),
        }
}

/// Whether `name` is one that a method adds or a checkpoint may lack, so that a pretrained tower need not hold it.
#[must_use]
pub fn is_optional(name: &str) -> bool {
    const ADDED: [&str; 9] = [
        "lora_down",
        "lora_up",
        "prompt_embeddings",
        "experts",
        "gate",
        "image_resblock",
        "text_resblock",
        "cross_attn",
        "mask_token",
    ];
    name.split('.').any(|segment| ADDED.contains(&segment))
}
