//! What the pictures of a set are like: each decoded once, and not again as long as its size and time stay the same.

use super::dataset::Dataset;
use super::error::{DataError, Result};
use super::keep;
use super::picture::Kind;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Raised whenever what is found, or how it is found, changes.
const FORMAT: u32 = 2;
/// Pictures that are decoded between two looks at the clock.
const BLOCK: usize = 256;
/// What was found is kept this often, so that a check that is stopped need not begin anew.
const KEEP_EVERY: Duration = Duration::from_secs(30);

/// Hears how many pictures of how many are done, and says whether to go on.
pub type Progress<'a> = dyn Fn(usize, usize) -> bool + Sync + 'a;

/// What was found of a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Width in pixels, as it is trained on.
    pub width: u32,
    /// Height.
    pub height: u32,
    /// CRC-32 of its RGB bytes, row by row.
    pub pixels: u32,
    /// Whether its EXIF block says that it is to be turned or mirrored.
    pub has_rotation: bool,
    /// Whether all its pixels are the same.
    pub is_one_colour: bool,
    /// What its file is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A look and the file's size and time (nanoseconds since 1970) at that moment.
type Kept = HashMap<String, (u64, u64, Look)>;

/// Decodes pictures and says what they are like, in order. `cache` keeps it.
pub(super) fn look(
    dataset: &Dataset,
    names: &[String],
    cache: Option<&Path>,
    progress: Option<&Progress<'_>>,
) -> Result<Vec<Look>> {
    let kept_at = cache.and_then(|folder| kept_at(dataset, folder));
    let mut kept: Kept = kept_at.as_deref().and_then(keep::read).unwrap_or_default();
    let mut looks = Vec::with_capacity(names.len());
    let (mut said, mut changed) = (Instant::now(), false);
    for block in names.chunks(BLOCK) {
        let found: Vec<(Option<(u64, u64)>, Look, bool)> = block
            .par_iter()
            .map(|name| {
                let stamp = dataset.file().and_then(|_| stamp(&dataset.image_path(name)));
                let known = kept.get(name).filter(|(size, time, _)| stamp == Some((*size, *time)));
                match known {
                    Some((_, _, look)) => (stamp, look.clone(), false),
                    None => (stamp, one(dataset, name), true),
                }
            })
            .collect();
        for (name, (stamp, look, fresh)) in block.iter().zip(found) {
            if let (Some((size, time)), true) = (stamp, fresh) {
                kept.insert(name.clone(), (size, time, look.clone()));
                changed = true;
            }
            looks.push(look);
        }
        let go_on = progress.is_none_or(|progress| progress(looks.len(), names.len()));
        if let (Some(path), true) = (&kept_at, changed && said.elapsed() > KEEP_EVERY) {
            keep::write(path, &kept)?;
            (said, changed) = (Instant::now(), false);
        }
        if !go_on {
            break;
        }
    }
    if let (Some(path), true) = (&kept_at, changed) {
        keep::write(path, &kept)?;
    }
    Ok(looks)
}

/// Decodes the pictures of a set in one thread, for who trains on it meanwhile; what is found is kept in `cache`. A
/// picture that `data.broken` refuses ends the training with the next batch.
///
/// # Errors
/// Entries cannot be read, or what is found cannot be kept.
pub fn look_on(dataset: &Dataset, cache: &Path, progress: &Progress<'_>) -> Result<()> {
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for place in (0..dataset.len()).filter(|&i| dataset.has_image(i)) {
        if let Some(name) = dataset.entry(place)?.image {
            first.entry(name.to_string()).or_insert(place);
        }
    }
    let names: Vec<String> = first.keys().cloned().collect();
    // One thread: the others have training to do.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| DataError::io("start a thread for", dataset.path())(std::io::Error::other(e)))?;
    for block in names.chunks(BLOCK * 16) {
        for (name, look) in block.iter().zip(pool.install(|| look(dataset, block, Some(cache), Some(progress)))?) {
            if let Some(problem) = look.problem {
                dataset.refuse(first[name], name, problem)?;
            }
        }
        if !progress(0, names.len()) {
            break;
        }
    }
    Ok(())
}

fn one(dataset: &Dataset, name: &str) -> Look {
    match dataset.opened("", name) {
        Ok(picture) => Look {
            width: picture.pixels.width(),
            height: picture.pixels.height(),
            pixels: crc32fast::hash(picture.pixels.as_raw()),
            has_rotation: picture.has_rotation,
            is_one_colour: picture.is_one_colour(),
            kind: picture.kind,
            problem: None,
        },
        Err(DataError::Image { problem, .. }) => Look { problem: Some(problem), ..Look::default() },
        Err(error) => Look { problem: Some(error.to_string()), ..Look::default() },
    }
}

/// Size and time of a file.
fn stamp(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    let time = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((found.len(), u64::try_from(time.as_nanos()).ok()?))
}

/// Where the looks at the pictures of a folder lie.
fn kept_at(dataset: &Dataset, folder: &Path) -> Option<PathBuf> {
    dataset.file()?;
    let images = std::path::absolute(dataset.image_path("")).ok()?;
    let mut hash = Sha256::new();
    hash.update(FORMAT.to_le_bytes());
    hash.update(images.as_os_str().as_encoded_bytes());
    hash.update(format!("{:?}", dataset.preparation().exif));
    let name = u128::from_be_bytes(*hash.finalize().first_chunk().expect("a SHA-256 hash has 32 bytes"));
    Some(folder.join(format!("pictures-{name:032x}.json")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{images, temporary_dataset};
    use std::sync::Mutex;

    #[test]
    fn a_picture_is_decoded_again_when_its_file_changes() {
        let (dir, dataset) = temporary_dataset("[]", 4);
        let (cache, picture) = (dir.path().join("cache"), dir.path().join("a.png"));
        std::fs::copy(images("rgb.png"), &picture).unwrap();
        let names = ["a.png".to_owned(), "no.png".to_owned()];
        let heard = Mutex::new(Vec::new());
        let hear = |done, all| {
            heard.lock().unwrap().push((done, all));
            true
        };
        let first = look(&dataset, &names, Some(&cache), Some(&hear)).unwrap();
        assert_eq!((first[0].width, first[0].height, &first[0].problem), (53, 37, &None));
        assert_eq!(first[1].problem.as_deref(), Some("the image is missing"));
        assert_eq!(*heard.lock().unwrap(), [(2, 2)]);
        let kept: PathBuf = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        // What is kept is believed: another width in it comes back.
        let text = std::fs::read_to_string(&kept).unwrap().replace("\"width\":53", "\"width\":54");
        std::fs::write(&kept, text).unwrap();
        assert_eq!(look(&dataset, &names, Some(&cache), None).unwrap()[0].width, 54);
        std::fs::copy(images("420.jpg"), &picture).unwrap();
        let third = look(&dataset, &names, Some(&cache), None).unwrap();
        assert_ne!(third[0].pixels, first[0].pixels);
    }
}
