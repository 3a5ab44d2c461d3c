//! Where image features enter the text: the layout of one batch of sequences.

use crate::ops::{IGNORE_INDEX, RowSource};
use candle_core::{Result, bail};
use std::sync::Arc;

/// The token id that marks the image's place in a prompt.
pub const IMAGE_TOKEN: i64 = -200;

/// The layout of a batch after every image mark became its features.
#[derive(Clone, Debug)]
pub struct Spliced {
    /// Text ids `[B, T]`, row-major, 0 at image marks and padding (those rows are used by nothing).
    pub text_ids: Vec<u32>,
    /// Longest text in tokens, image marks included: `T`.
    pub text_len: usize,
    /// Source of every row of `[B, L]`.
    pub plan: Arc<[RowSource]>,
    /// Longest sequence: `L`.
    pub len: usize,
    /// Valid rows of each sequence.
    pub lengths: Arc<[usize]>,
    /// Label of every row of `[B, L]`: the token standing there, or [`IGNORE_INDEX`].
    pub labels: Vec<i64>,
}

impl Spliced {
    /// Puts `patches` features of image `b` where sample `b` has its mark, then cuts to `max_length` rows and pads on
    /// the right.
    ///
    /// # Errors
    /// Ids and labels of different lengths; an empty sample; two marks in one sample; a negative id.
    pub fn new(ids: &[Vec<i64>], labels: &[Vec<i64>], patches: usize, max_length: usize) -> Result<Self> {
        if ids.len() != labels.len() {
            bail!("{} samples, {} rows of labels", ids.len(), labels.len());
        }
        let Some(text_len) = ids.iter().map(Vec::len).max().filter(|n| *n > 0) else { bail!("a batch without tokens") };
        let mut text_ids = vec![0u32; ids.len() * text_len];
        let mut rows = Vec::with_capacity(ids.len());
        for (b, (ids, labels)) in ids.iter().zip(labels).enumerate() {
            let text = &mut text_ids[b * text_len..][..ids.len()];
            let mut row = expand(b, ids, labels, patches, text_len, text)?;
            row.truncate(max_length);
            rows.push(row);
        }
        let lengths: Arc<[usize]> = rows.iter().map(Vec::len).collect();
        let len = lengths.iter().copied().max().unwrap_or(0);
        let mut plan = vec![RowSource::Padding; ids.len() * len];
        let mut out = vec![IGNORE_INDEX; ids.len() * len];
        for (b, row) in rows.iter().enumerate() {
            for (i, (source, label)) in row.iter().enumerate() {
                plan[b * len + i] = *source;
                out[b * len + i] = *label;
            }
        }
        Ok(Self { text_ids, text_len, plan: plan.into(), len, lengths, labels: out })
    }

    /// Rows of `[B * L]` whose next token is labelled, with that label, in order.
    #[must_use]
    pub fn labelled(&self) -> (Vec<u32>, Vec<i64>) {
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        for (b, labels) in self.labels.chunks(self.len).enumerate() {
            for (i, label) in labels.iter().enumerate().skip(1).filter(|(_, l)| **l != IGNORE_INDEX) {
                rows.push((b * self.len + i - 1) as u32);
                targets.push(*label);
            }
        }
        (rows, targets)
    }
}

fn expand(
    b: usize,
    ids: &[i64],
    labels: &[i64],
    patches: usize,
    text_len: usize,
    text: &mut [u32],
) -> Result<Vec<(RowSource, i64)>> {
    if ids.is_empty() || ids.len() != labels.len() {
        bail!("sample {b} of the batch has {} ids and {} labels", ids.len(), labels.len());
    }
    let mut row = Vec::with_capacity(ids.len() + patches);
    let mut seen = false;
    for (i, (id, label)) in ids.iter().zip(labels).enumerate() {
        if *id == IMAGE_TOKEN {
            if std::mem::replace(&mut seen, true) {
                bail!("sample {b} of the batch marks more than one image, and only one is given");
            }
            let image = (b * patches) as u32;
            row.extend((image..image + patches as u32).map(|i| (RowSource::Image(i), IGNORE_INDEX)));
        } else {
            let Ok(id) = u32::try_from(*id) else { bail!("sample {b} of the batch has the token id {id}") };
            text[i] = id;
            row.push((RowSource::Text((b * text_len + i) as u32), *label));
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_expand_then_the_sequence_is_cut() {
        use RowSource::{Image, Padding, Text};
        let ids = vec![vec![1, IMAGE_TOKEN, 7, 8], vec![1, 5]];
        let labels = vec![vec![IGNORE_INDEX, IGNORE_INDEX, 7, 8], vec![IGNORE_INDEX, 5]];
        let s = Spliced::new(&ids, &labels, 3, 5).unwrap();
        assert_eq!((s.len, &*s.lengths), (5, &[5, 2][..]));
        let plan = [Text(0), Image(0), Image(1), Image(2), Text(2), Text(4), Text(5), Padding, Padding, Padding];
        assert_eq!(&*s.plan, &plan);
        // The cut took the label 8; 7 is predicted by the last image row, 5 by the first token of sample 1.
        assert_eq!(s.labelled(), (vec![3, 5], vec![7, 5]));
    }

    #[test]
    fn the_second_sample_uses_its_own_image() {
        let ids = vec![vec![1, 2], vec![IMAGE_TOKEN]];
        let s = Spliced::new(&ids, &[vec![IGNORE_INDEX; 2], vec![IGNORE_INDEX]], 2, 9).unwrap();
        assert_eq!(&s.plan[2..], &[RowSource::Image(2), RowSource::Image(3)]);
        assert!(s.labelled().0.is_empty());
    }

    #[test]
    fn bad_batches_are_refused() {
        let ignore = |n| vec![IGNORE_INDEX; n];
        assert!(Spliced::new(&[vec![1, 2]], &[ignore(1)], 1, 9).is_err());
        assert!(Spliced::new(&[vec![IMAGE_TOKEN; 2]], &[ignore(2)], 1, 9).is_err());
        assert!(Spliced::new(&[vec![]], &[vec![]], 1, 9).is_err());
        assert!(Spliced::new(&[vec![-3]], &[ignore(1)], 1, 9).is_err());
    }
}
