//! What a sample is counted under.

use super::matrix::SampleAt;
use crate::stats::NotFinite;
use crate::store::{NoiseRow, OfSample, Result, RoutingWeights, RunDir, SampleKey, read_records, visit_records};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Puts samples in groups. Closures and maps from samples to names do.
pub trait Labels {
    /// The group of a sample; `None` for one that belongs to none.
    fn label(&self, at: &SampleAt<'_>) -> Option<String>;
}

impl<F: Fn(&SampleAt<'_>) -> Option<String>> Labels for F {
    fn label(&self, at: &SampleAt<'_>) -> Option<String> {
        self(at)
    }
}

/// By sample alone (context clusters).
impl Labels for BTreeMap<SampleKey, String> {
    fn label(&self, at: &SampleAt<'_>) -> Option<String> {
        self.get(at.sample).cloned()
    }
}

/// The expert with a sample's largest routing weight, at the step of the pair.
#[derive(Debug)]
struct Experts {
    layer: Option<String>,
    /// By stage, layer, step and sample.
    largest: HashMap<(String, String), HashMap<(u64, SampleKey), usize>>,
}

impl Labels for Experts {
    fn label(&self, at: &SampleAt<'_>) -> Option<String> {
        let layer = self.layer.as_deref().unwrap_or(at.layer);
        let of = self.largest.get(&(at.stage.to_owned(), layer.to_owned()))?;
        of.get(&(at.step, at.sample.clone())).map(|expert| format!("expert {expert}"))
    }
}

/// Groups samples by the expert with their largest routing weight: in `layer`, or, for `None`, in the layer of the pair
/// itself (layers without experts then have no groups). Only steps with pairs are kept in memory.
///
/// # Errors
/// The folder of the run cannot be listed.
pub fn dominating_experts(dir: &RunDir, layer: Option<&str>) -> Result<impl Labels + use<>> {
    let steps = read_records::<NoiseRow>(dir)?.rows.into_iter().map(|row| (row.stage, row.step));
    let steps: BTreeSet<(String, u64)> = steps.collect();
    let mut largest: HashMap<_, HashMap<_, _>> = HashMap::new();
    visit_records(dir, |row: RoutingWeights| {
        if layer.is_some_and(|wanted| wanted != row.layer) || !steps.contains(&(row.stage.clone(), row.step)) {
            return;
        }
        // Of weights that are not finite none is the largest: such a sample has no group.
        if !NotFinite::default().take_row(&row.weights) {
            return;
        }
        if let Some((expert, _)) = row.weights.iter().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a }) {
            let at = (row.step, row.key());
            largest.entry((row.stage, row.layer)).or_default().insert(at, expert);
        }
    })?;
    Ok(Experts { layer: layer.map(str::to_owned), largest })
}
