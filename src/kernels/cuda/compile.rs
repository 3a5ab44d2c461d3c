//! Kernel sources to PTX, once a process and kind of card.

use super::engine::Source;
use candle_core::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use candle_core::{Result, bail};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

type Compiled = HashMap<(&'static str, i32), Arc<str>>;

static COMPILED: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);

/// PTX of `source` for cards of compute capability `capability` (90 is 9.0).
pub(super) fn compiled(source: &'static Source, capability: i32) -> Result<Arc<str>> {
    let mut all = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(done) = all.get(&(source.name, capability)) {
        return Ok(Arc::clone(done));
    }
    let ptx: Arc<str> = compile(source, capability)?.into();
    all.insert((source.name, capability), Arc::clone(&ptx));
    Ok(ptx)
}

fn compile(source: &Source, capability: i32) -> Result<String> {
    let text = [include_str!("common.cuh"), source.header, source.text].join("\n");
    // Without the last one, the run-time compiler takes a closure for a function of the host, and there are none here.
    let options = CompileOptions {
        options: vec![
            format!("--gpu-architecture=compute_{capability}"),
            "--std=c++17".into(),
            "--device-as-default-execution-space".into(),
        ],
        name: Some(format!("{}.cu", source.name)),
        ..CompileOptions::default()
    };
    match compile_ptx_with_opts(text, options) {
        Ok(ptx) => Ok(ptx.to_src()),
        Err(CompileError::CompileError { log, .. }) => {
            bail!("{}.cu does not compile for compute capability {capability}:\n{}", source.name, log.to_string_lossy())
        }
        Err(other) => bail!("{}.cu: the run-time compiler failed: {other}", source.name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{activation, adamw, attention, cross_entropy, mixture, norm, reduce, rope, sketch};
    use super::*;

    /// Needs the compiler's library (libnvrtc), not a card.
    #[test]
    fn every_source_compiles_for_every_card_of_eight_years() {
        let sources = [
            &activation::SOURCE,
            &adamw::SOURCE,
            &attention::SHORT,
            &attention::FULL,
            &cross_entropy::SOURCE,
            &mixture::SOURCE,
            &norm::SOURCE,
            &reduce::SOURCE,
            &rope::SOURCE,
            &sketch::SOURCE,
        ];
        for source in sources {
            for capability in [80, 90, 100] {
                let ptx = compiled(source, capability).unwrap();
                assert!(ptx.contains(".entry"), "{}", source.name);
                assert!(ptx.contains(&format!("sm_{capability}")), "{}", source.name);
            }
        }
    }
}
