//! What the check learns from an entry's tokens alone.

use super::check::Embeddings;
use super::context::context_text;
use super::conversation::Entry;
use super::dataset::Dataset;
use super::encode::{Encoded, IMAGE_ID};
use super::error::Result;
use super::remark::Remark;
use crate::config::data::Template;

/// Adds what only the tokens tell: a picture that is cut, an end token within a text, tokens without an embedding.
pub(super) fn remark_tokens(
    dataset: &Dataset,
    entry: &Entry,
    encoded: &Encoded,
    embeddings: Option<Embeddings>,
    remarks: &mut Vec<Remark>,
) -> Result<()> {
    let p = dataset.preparation();
    let end = p.tokenizers.language.end_text();
    if entry.turns.iter().any(|t| t.text.contains(end)) {
        remarks.push(Remark::EndToken(end.to_owned()));
    }
    if p.template == Template::Plain && !entry.question().is_empty() {
        remarks.push(Remark::QuestionLeftOut);
    }
    let whole = encoded.ids.iter().position(|&id| id == IMAGE_ID).is_some_and(|at| at + p.image_tokens <= p.max_length);
    if entry.image.is_some() && !whole {
        remarks.push(Remark::PictureCut);
    }
    let Some(embeddings) = embeddings else { return Ok(()) };
    let beyond = |model: &str, largest: u32, embeddings: usize| {
        (largest as usize >= embeddings).then(|| Remark::NoEmbedding {
            model: model.to_owned(),
            token: largest,
            embeddings,
        })
    };
    let largest = encoded.ids.iter().filter_map(|&id| u32::try_from(id).ok()).max().unwrap_or(0);
    remarks.extend(beyond("language model", largest, embeddings.language));
    // Only a tokenizer that is larger than its model can have such a token: most need not be asked.
    if p.tokenizers.text.vocabulary() > embeddings.text {
        let largest = p.tokenizers.text.ids(&context_text(&entry.turns, p.context_suffix))?.into_iter().max();
        remarks.extend(beyond("text encoder", largest.unwrap_or(0), embeddings.text));
    }
    Ok(())
}
