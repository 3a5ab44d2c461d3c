//! How a tower's images were prepared: `preprocessor_config.json` beside its weights. What changes pixels is followed
//! or refused.

use super::sizes::SizesError;
use crate::config::model::TowerKind;
use crate::models::description::{DescriptionError, PREPROCESSOR, read_json};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is followed.
#[derive(Debug, Default)]
pub(super) struct Preprocessor {
    pub(super) image_mean: Option<[f64; 3]>,
    pub(super) image_std: Option<[f64; 3]>,
    /// Fields that nobody here knows.
    pub(super) unknown: Vec<String>,
    /// Pixels of the shorter side after resizing, and of the square cut from it.
    sides: [Option<u64>; 2],
    path: PathBuf,
}

impl Preprocessor {
    /// Of the folder `weights`; nothing where there is no such file.
    pub(super) fn beside(weights: Option<&Path>) -> Result<Self, SizesError> {
        let Some(path) = weights.map(|w| w.join("preprocessor_config.json")).filter(|p| p.exists()) else {
            return Ok(Self::default());
        };
        let json = read_json(&path)?;
        let unknown = PREPROCESSOR.check(&json, &path)?;
        let sides = [side(&json, "size", &path)?, side(&json, "crop_size", &path)?];
        let (image_mean, image_std) = (channels(&json, "image_mean", &path)?, channels(&json, "image_std", &path)?);
        Ok(Self { image_mean, image_std, unknown, sides, path })
    }

    /// CLIP's pictures are resized to the tower's resolution and cut square. DINOv2's may have another resolution, so
    /// theirs are resized to it at once: see [`remark`](Self::remark).
    pub(super) fn fits(&self, kind: TowerKind, image_size: usize) -> Result<(), SizesError> {
        for (field, side) in ["size", "crop_size"].into_iter().zip(self.sides) {
            match side {
                Some(side) if kind == TowerKind::Clip && side != image_size as u64 => {
                    let reason = format!("{field} {side} is not the tower's image_size {image_size}");
                    return Err(unreadable(reason, &self.path));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is done in another way here.
    pub(super) fn remark(&self, image_size: usize) -> Option<String> {
        let sides: Vec<u64> = self.sides.into_iter().flatten().collect();
        let differ = sides.iter().any(|side| *side != image_size as u64);
        let path = self.path.display();
        differ.then(|| {
            format!(
                "pictures are resized to {image_size} pixels at once, where the preprocessor names {sides:?}: {path}"
            )
        })
    }
}

/// `224`, `{"shortest_edge": 224}` or `{"height": 224, "width": 224}`.
fn side(json: &Value, field: &str, path: &Path) -> Result<Option<u64>, SizesError> {
    let Some(value) = json.get(field).filter(|v| !v.is_null()) else { return Ok(None) };
    let inside = |key: &str| value.get(key).and_then(Value::as_u64);
    let square = inside("height").filter(|h| inside("width") == Some(*h));
    match value.as_u64().or_else(|| inside("shortest_edge")).or(square) {
        Some(side) if side > 0 => Ok(Some(side)),
        _ => Err(unreadable(format!("{field} = {value} is not the side of a square"), path)),
    }
}

fn channels(json: &Value, field: &str, path: &Path) -> Result<Option<[f64; 3]>, SizesError> {
    let Some(value) = json.get(field).filter(|v| !v.is_null()) else { return Ok(None) };
    let numbers: Option<[f64; 3]> = serde_json::from_value(value.clone()).ok();
    let sound = |n: &[f64; 3]| n.iter().all(|x| x.is_finite() && (field != "image_std" || *x > 0.0));
    let wrong = || unreadable(format!("{field} = {value} is not three numbers, one a colour"), path);
    numbers.filter(sound).map(Some).ok_or_else(wrong)
}

fn unreadable(reason: String, path: &Path) -> SizesError {
    DescriptionError::Unreadable { reason, path: path.to_owned() }.into()
}
