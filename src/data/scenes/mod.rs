//! `builtin:scenes`: pictures of 64 pixels with shapes of several colours and sizes above a printed word, and one
//! question of every one of eight tasks about each. Everything is drawn from a seed when it is asked for, within a
//! fraction of a second; `write` puts the same set on disk in the LLaVA format.
//!
//! Grounding ("Locate the red circle." - "[0.25, 0.00, 0.50, 0.25]") and region captioning ask about the same
//! (picture, object) pairs, each the inverse of the other. Vocabularies are closed and answers short, so that a model of
//! a few million parameters learns the tasks from nothing in minutes.

mod font;
mod questions;
mod raster;
pub mod vocabulary;
mod world;
mod write;

pub use questions::TASKS;
pub use world::SIDE;
pub use write::write;

use super::conversation::{Entry, IMAGE_PLACEHOLDER, Role, Turn};
use super::dataset::Split;
use crate::config::data::ScenesConfig;
use image::RgbImage;
use std::collections::BTreeSet;
use std::sync::Arc;
use world::Scene;

/// The set's own `tokenizer.json` for the language model.
pub const LANGUAGE_TOKENIZER: &str = include_str!("../../../assets/scenes/llm_tokenizer.json");
/// The set's own `tokenizer.json` for the text encoder.
pub const TEXT_TOKENIZER: &str = include_str!("../../../assets/scenes/text_tokenizer.json");

/// One part of the set: [`TASKS`] samples a scene, in this order.
#[derive(Clone, Debug)]
pub struct SceneSet {
    /// Samples, scene by scene.
    pub entries: Vec<Entry>,
    /// Pictures by name, in order.
    pub pictures: Vec<(Arc<str>, RgbImage)>,
}

/// Draws one part. No held-out scene has the objects and word of a training scene.
#[must_use]
pub fn generate(config: &ScenesConfig, split: Split) -> SceneSet {
    let mut seen = BTreeSet::new();
    let train = draw(config.seed, Split::Train, config.train, &mut seen);
    let scenes = match split {
        Split::Train => train,
        Split::Val => draw(config.seed, Split::Val, config.val, &mut seen),
    };
    let mut set = SceneSet { entries: Vec::new(), pictures: Vec::new() };
    for (number, scene) in scenes.iter().enumerate() {
        let name: Arc<str> = format!("{}_{number:05}.png", split.name()).into();
        let mut rng = world::stream(config.seed, part(split) + 2, number as u64);
        for (task, (question, answer)) in TASKS.iter().zip(questions::ask(scene, &mut rng)) {
            set.entries.push(entry(format!("{}_{number:05}_{task}", split.name()), task, &name, &question, answer));
        }
        set.pictures.push((name, raster::render(scene)));
    }
    set
}

fn part(split: Split) -> u64 {
    match split {
        Split::Train => 0,
        Split::Val => 1,
    }
}

fn draw(seed: u64, split: Split, n: usize, seen: &mut BTreeSet<(Vec<world::Object>, usize)>) -> Vec<Scene> {
    let new = |number: usize| {
        let mut rng = world::stream(seed, part(split), number as u64);
        loop {
            let scene = Scene::draw(&mut rng);
            if seen.insert(scene.signature()) {
                return scene;
            }
        }
    };
    (0..n).map(new).collect()
}

fn entry(id: String, task: &str, image: &Arc<str>, question: &str, answer: String) -> Entry {
    let words = 1 + question.split_whitespace().count() + answer.split_whitespace().count();
    Entry {
        id: id.into(),
        image: Some(Arc::clone(image)),
        task: Some(task.into()),
        turns: vec![
            Turn { role: Role::Human, text: format!("{IMAGE_PLACEHOLDER}\n{question}") },
            Turn { role: Role::Assistant, text: answer },
        ],
        answers: Vec::new(),
        words: words as u32,
        system: None,
        remarks: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
