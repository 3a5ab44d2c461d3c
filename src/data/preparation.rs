//! How a model wants its samples.

use super::context::context_text;
use super::conversation::{IMAGE_PLACEHOLDER, Role, Turn};
use super::encode::encode;
use super::error::Result;
use super::image::ImageSpec;
use super::template::{Rendered, render_prompt};
use super::tokenizer::Tokenizers;
use crate::config::data::{ContextSuffix, DataConfig, Exif, Template};

/// How entries become ids and pixels.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// Tokenizers.
    pub tokenizers: Tokenizers,
    /// Prompt template.
    pub template: Template,
    /// System message; the template's own if `None`.
    pub system: Option<String>,
    /// Longest expanded sequence.
    pub max_length: usize,
    /// What follows the questions in the context text.
    pub context_suffix: ContextSuffix,
    /// What a rotation in a picture's EXIF block does.
    pub exif: Exif,
    /// How the tower wants its images.
    pub image: ImageSpec,
    /// Features that an image becomes in the language model.
    pub image_tokens: usize,
}

impl Preparation {
    /// The configuration's preparation for a model. `image_tokens` is the number of features an image becomes.
    #[must_use]
    pub fn new(config: &DataConfig, tokenizers: Tokenizers, image: ImageSpec, image_tokens: usize) -> Self {
        Self {
            tokenizers,
            template: config.template,
            system: config.system.clone(),
            max_length: config.max_length,
            context_suffix: config.context_suffix,
            exif: config.exif,
            image: ImageSpec { aspect: config.image_aspect, ..image },
            image_tokens,
        }
    }

    /// Ids of one question up to the header of its answer. With an image, `<image>` is put in front where `question`
    /// lacks it.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn prompt_ids(&self, question: &str, has_image: bool) -> Result<Vec<i64>> {
        self.prompt_ids_under(self.system.as_deref(), question, has_image)
    }

    /// The same under another system message.
    pub(super) fn prompt_ids_under(&self, system: Option<&str>, question: &str, has_image: bool) -> Result<Vec<i64>> {
        let text = if has_image && !question.contains(IMAGE_PLACEHOLDER) {
            format!("{IMAGE_PLACEHOLDER}\n{question}")
        } else {
            question.to_owned()
        };
        let tokenizer = &self.tokenizers.language;
        let turns = [Turn { role: Role::Human, text }];
        let text = render_prompt(&turns, self.template, system, tokenizer.end_text())
            .expect("one question fits every template");
        Ok(encode(&Rendered { text, labelled: Vec::new() }, has_image, tokenizer)?.ids)
    }

    /// Text encoder's ids of one question.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn context_ids(&self, question: &str) -> Result<Vec<u32>> {
        let turns = [Turn { role: Role::Human, text: question.to_owned() }];
        self.tokenizers.text.ids(&context_text(&turns, self.context_suffix))
    }
}
