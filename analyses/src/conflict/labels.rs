//! What a sample is counted under.

use super::matrix::SampleAt;
use crate::store::{NoiseRow, Result, RoutingWeights, RunDir, read_records, visit_records};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Puts samples in groups. Closures and maps from sample ids to names do.
pub trait Labels {
    /// The group of a sample; `None` for one that belongs to none.
    fn label(&self, at: &SampleAt<'_>) -> Option<String>;
}

impl<F: Fn(&SampleAt<'_>) -> Option<String>> Labels for F {
    fn label(&self, at: &SampleAt<'_>) -> Option<String> {
        self(at)
    }
}

/// By sample id alone (context clusters).
impl Labels for BTreeMap<String, String> {
    fn label(&self, at: &SampleAt<'_>) -> Option<String> {
        self.get(at.sample).cloned()
    }
}

/// The expert with a sample's largest routing weight, at the step of the pair.
#[derive(Debug)]
struct Experts {
    layer: Option<String>,
    /// By stage, layer, step and sample.
    largest: HashMap<(String, String), HashMap<(u64, String), usize>>,
}

impl Labels for Experts {
    fn label(&self, at: &SampleAt<'_>) -> Option<String> {
        let layer = self.layer.as_deref().unwrap_or(at.layer);
        let of = self.largest.get(&(at.stage.to_owned(), layer.to_owned()))?;
        of.get(&(at.step, at.sample.to_owned())).map(|expert| format!("expert {expert}"))
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
        if let Some((expert, _)) = row.weights.iter().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a }) {
            let of = largest.entry((row.stage, row.layer)).or_default();
            of.insert((row.step, row.sample), expert);
        }
    })?;
    Ok(Experts { layer: layer.map(str::to_owned), largest })
}
