//! The reference's training steps on another device, in float32 and bfloat16, against the same steps on the CPU.

use super::compare::Worst;
use super::golden::{Golden, METHODS};
use super::{VerifyError, VerifyReport, tolerance, training};
use candle_core::{DType, Device};
use std::path::Path;

/// Losses of every method of `folder`, one row a method and type.
///
/// # Errors
/// A folder of another layout, a model that cannot be built or run there.
pub fn parity(folder: &Path, device: &Device) -> Result<VerifyReport, VerifyError> {
    let (here, there) = (Golden::open(folder, &Device::Cpu)?, Golden::open(folder, device)?);
    let mut report = VerifyReport::default();
    for name in METHODS {
        if here.method(name).is_none() || !here.meta.train.contains_key(name) {
            continue;
        }
        let host = losses(&here, name, DType::F32)?;
        for (dtype, tolerance) in [(DType::F32, tolerance::TRACE), (DType::BF16, tolerance::SHORT)] {
            let what = format!("{name}: losses of the steps in {} against the CPU's", dtype.as_str());
            let mut worst = Worst::new(what, tolerance);
            match (&host, &losses(&there, name, dtype)?) {
                (Ok(host), Ok(losses)) if host.len() == losses.len() => {
                    for (step, (ours, host)) in losses.iter().zip(host).enumerate() {
                        worst.values(&format!("step {step}"), &[*ours], &[*host]);
                    }
                }
                (Ok(_), Ok(losses)) => worst.fail(format!("{} steps", losses.len())),
                (Err(fault), _) | (_, Err(fault)) => worst.fail(fault.clone()),
            }
            report.rows.push(worst.row());
        }
    }
    Ok(report)
}

/// The losses, or what a step's gradients lack.
fn losses(golden: &Golden, name: &str, dtype: DType) -> Result<Result<Vec<f64>, String>, VerifyError> {
    let Some(method) = golden.method(name) else { return Ok(Err(format!("no method {name}"))) };
    let (mut model, store) = golden.build(name, method)?;
    model.set_compute(dtype);
    Ok(training::train(golden, &model, &store)?.map(|trace| trace.losses))
}
