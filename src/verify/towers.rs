//! The other encoders: hidden states of every block, against Hugging Face's.

use super::compare::Worst;
use super::golden::Tensors;
use super::{VerifyError, VerifyReport, tolerance};
use crate::config::model::{VisionConfig, VisionMethod};
use crate::models::checkpoint::Renamed;
use crate::models::checkpoint::Safetensors;
use crate::models::mllm::VISION_PREFIX;
use crate::models::towers::{SizesError, Tower, TowerSizes};
use crate::nn::{ParamBuilder, Part};
use crate::ops::Ctx;
use candle_core::{Device, Error, Result};
use std::path::Path;

/// Every folder below `towers/`, in order of name; kinds without a model here are named as skipped.
pub(super) fn check(folder: &Path, device: &Device, report: &mut VerifyReport) -> std::result::Result<(), VerifyError> {
    let towers = folder.join("towers");
    if !towers.is_dir() {
        report.skipped.push("towers: the folder has none".into());
        return Ok(());
    }
    let unreadable = |e: std::io::Error| VerifyError::Unreadable { reason: e.to_string(), path: towers.clone() };
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(&towers).map_err(unreadable)? {
        kinds.push(entry.map_err(unreadable)?.path());
    }
    kinds.sort();
    for kind in kinds {
        let name = kind.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match TowerSizes::resolve(&VisionConfig::from_folder(&kind)) {
            Ok(sizes) => tower(&name, &kind, &sizes, device, report)?,
            Err(SizesError::Kind { found, .. }) => {
                report.skipped.push(format!("towers/{name}: there is no model of type {found} yet"));
            }
            Err(e) => return Err(Error::wrap(e).into()),
        }
    }
    Ok(())
}

fn tower(name: &str, folder: &Path, sizes: &TowerSizes, device: &Device, report: &mut VerifyReport) -> Result<()> {
    let weights = Safetensors::open(folder).map_err(Error::wrap)?;
    let source = Renamed::new(weights, [(format!("{VISION_PREFIX}."), "")]);
    let pb = ParamBuilder::new(&source, &|_, _| false, 0, device).part(Part::Vision);
    let tower = Tower::new(&pb.pp(VISION_PREFIX), sizes, &VisionMethod::Freeze, 1, false)?;
    let mut worst = Worst::new(format!("towers/{name}: hidden states"), tolerance::FORWARD);
    for file in ["expected.safetensors", "expected_wide.safetensors"] {
        let path = folder.join(file);
        if !path.exists() {
            continue;
        }
        let expected = Tensors::open(&path)?;
        let states = tower.hidden_states(&Ctx::eval(), &expected.get("pixel_values")?.to_device(device)?, None)?;
        for index in expected.below("hidden.") {
            let what = format!("{file} hidden.{index}");
            match index.parse::<usize>().ok().and_then(|i| states.get(i)) {
                Some(ours) => worst.tensors(&what, ours, expected.get(&format!("hidden.{index}"))?)?,
                None => worst.fail(format!("{what}: the tower has {} states", states.len())),
            }
        }
        if let (Some(reference), Some(last)) = (expected.find("last_hidden_state"), states.last()) {
            let ours = tower.final_norm(&Ctx::eval(), last)?;
            worst.tensors(&format!("{file} last_hidden_state"), &ours, reference)?;
        }
    }
    report.rows.push(worst.row());
    Ok(())
}
