//! Token ids and labels of a rendered conversation.

use super::conversation::IMAGE_PLACEHOLDER;
use super::error::Result;
use super::template::Rendered;
use super::tokenizer::LanguageTokenizer;

/// Id that stands for the image's features.
pub const IMAGE_ID: i64 = -200;

/// Label of tokens that the loss leaves out.
pub const IGNORE_LABEL: i64 = -100;

/// Ids with their labels, of equal length; labels are not shifted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, [`IMAGE_ID`] for the image.
    pub ids: Vec<i64>,
    /// The id where the token is learnt, [`IGNORE_LABEL`] elsewhere.
    pub labels: Vec<i64>,
    /// Whether [`truncate`](Self::truncate) left something out.
    pub cut: bool,
}

impl Encoded {
    fn push(&mut self, id: i64, labelled: bool) {
        self.ids.push(id);
        self.labels.push(if labelled { id } else { IGNORE_LABEL });
    }

    /// Number of tokens with a label that a next-token loss reaches (the first token is never a next one).
    #[must_use]
    pub fn labelled(&self) -> usize {
        self.labels.iter().skip(1).filter(|&&l| l != IGNORE_LABEL).count()
    }

    /// Length once the image is `image_tokens` features.
    #[must_use]
    pub fn expanded_len(&self, image_tokens: usize) -> usize {
        self.ids.iter().map(|&id| if id == IMAGE_ID { image_tokens } else { 1 }).sum()
    }

    /// Cuts after the last token that begins within the first `max_length` places of the expanded sequence. Of an
    /// image that crosses the limit the id stays; the model cuts its features.
    pub fn truncate(&mut self, max_length: usize, image_tokens: usize) {
        let mut at = 0;
        let mut keep = 0;
        for &id in &self.ids {
            if at >= max_length {
                break;
            }
            at += if id == IMAGE_ID { image_tokens } else { 1 };
            keep += 1;
        }
        self.cut |= keep < self.ids.len();
        self.ids.truncate(keep);
        self.labels.truncate(keep);
    }
}

/// Tokenises the text before and after `<image>` apart, as LLaVA does, one begin token before all. In a conversation
/// without an image (`has_image` false) `<image>` is ordinary text.
///
/// # Errors
/// The tokenizer fails.
pub(super) fn encode(rendered: &Rendered, has_image: bool, tokenizer: &LanguageTokenizer) -> Result<Encoded> {
    let mut out = Encoded::default();
    for &id in tokenizer.begin() {
        out.push(i64::from(id), false);
    }
    let mut base = 0;
    loop {
        let rest = &rendered.text[base..];
        let image = rest.find(IMAGE_PLACEHOLDER).filter(|_| has_image);
        let chunk = &rest[..image.unwrap_or(rest.len())];
        if !chunk.is_empty() {
            for piece in tokenizer.pieces(chunk)? {
                let (start, end) = (base + piece.span.start, base + piece.span.end);
                let labelled = rendered.labelled.iter().any(|r| end > r.start && start < r.end);
                out.push(i64::from(piece.id), labelled);
            }
        }
        let Some(image) = image else { return Ok(out) };
        out.push(IMAGE_ID, false);
        base += image + IMAGE_PLACEHOLDER.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::data::Template;
    use crate::data::template::{render, render_prompt};
    use crate::data::testing::{fixture, fixture_batch, fixture_entries};

    #[test]
    fn ids_and_labels_equal_the_published_ones() {
        let tokenizer = LanguageTokenizer::load(&fixture("llava")).unwrap();
        let expected = fixture_batch();
        for (i, entry) in fixture_entries().iter().enumerate() {
            let rendered = render(&entry.turns, Template::V1, None, tokenizer.end_text()).unwrap();
            let encoded = encode(&rendered, entry.image.is_some(), &tokenizer).unwrap();
            let n = expected.mask[i].iter().filter(|&&m| m).count();
            assert_eq!(encoded.ids, expected.ids[i][..n], "ids of row {i}");
            assert_eq!(encoded.labels, expected.labels[i][..n], "labels of row {i}");
            let prompt = render_prompt(&entry.turns[..1], Template::V1, None, tokenizer.end_text()).unwrap();
            let prompt = Rendered { text: prompt, labelled: Vec::new() };
            let prompt = encode(&prompt, entry.image.is_some(), &tokenizer).unwrap();
            let first = encoded.labels.iter().position(|&l| l != IGNORE_LABEL).unwrap();
            assert_eq!(prompt.ids, encoded.ids[..first], "a prompt is what stands before the first answer");
        }
    }

    #[test]
    fn plain_labels_all_after_the_image() {
        let tokenizer = LanguageTokenizer::load(&fixture("llava")).unwrap();
        for caption in ["The circle.", "你好", " x"] {
            let labelled = std::iter::once(7..8 + caption.len()).collect();
            let rendered = Rendered { text: format!("<image>{caption}\n"), labelled };
            let encoded = encode(&rendered, true, &tokenizer).unwrap();
            assert_eq!(encoded.ids[..2], [1, IMAGE_ID]);
            assert_eq!(encoded.labels[..2], [IGNORE_LABEL; 2]);
            assert_eq!(encoded.labels[2..], encoded.ids[2..], "{caption:?}");
        }
    }

    #[test]
    fn the_placeholder_is_text_without_an_image() {
        let tokenizer = LanguageTokenizer::load(&fixture("llava")).unwrap();
        let rendered = Rendered { text: "a <image> b".to_owned(), labelled: Vec::new() };
        let ids = encode(&rendered, false, &tokenizer).unwrap().ids;
        assert!(!ids.contains(&IMAGE_ID));
        assert_eq!(ids[1..], tokenizer.ids("a <image> b").unwrap().into_iter().map(i64::from).collect::<Vec<_>>());
    }

    #[test]
    fn truncation_counts_the_image_features() {
        let encoded = Encoded { ids: vec![1, IMAGE_ID, 5, 6, 7], labels: vec![-100, -100, -100, 6, 7], cut: false };
        let cut = |max: usize| {
            let mut e = encoded.clone();
            e.truncate(max, 10);
            (e.ids.len(), e.labelled(), e.expanded_len(10))
        };
        assert_eq!(cut(14), (5, 2, 14));
        assert_eq!(cut(13), (4, 1, 13));
        assert_eq!(cut(11), (2, 0, 11));
        assert_eq!(cut(4), (2, 0, 11));
        assert_eq!(cut(1), (1, 0, 1));
    }
}
