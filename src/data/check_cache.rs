//! Where the check's findings about a file are kept: under the hash of all that they depend on.

use super::check::Embeddings;
use super::dataset::Dataset;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Raised whenever the findings, or how they are found, change.
const FORMAT: u32 = 5;

/// Where the findings about `dataset` lie in `folder`. `None` for the built-in set, which is quicker made than read.
pub(super) fn path(dataset: &Dataset, folder: &Path, embeddings: Option<Embeddings>) -> Option<PathBuf> {
    let file = dataset.file()?;
    let p = dataset.preparation();
    let mut hash = Sha256::new();
    hash.update(FORMAT.to_le_bytes());
    hash.update(file.sha256());
    hash.update(p.tokenizers.language.fingerprint());
    hash.update(p.tokenizers.language.end().to_le_bytes());
    hash.update(format!("{:?} {:?} {} {}", p.template, p.system, p.max_length, p.image_tokens));
    // The context text is only tokenised where its tokenizer is larger than its model.
    hash.update(format!("{embeddings:?} {:?}", p.context_suffix));
    hash.update(p.tokenizers.text.fingerprint());
    for i in 0..dataset.len() {
        hash.update((dataset.index(i) as u64).to_le_bytes());
    }
    let name = u128::from_be_bytes(*hash.finalize().first_chunk().expect("a SHA-256 hash has 32 bytes"));
    Some(folder.join(format!("check-{name:032x}.json")))
}
