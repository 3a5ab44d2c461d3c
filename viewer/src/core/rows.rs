//! The selected samples as a table: what is known of each, and of its latest point.

use super::colors::cluster_name;
use super::export::{Cells, Table};
use super::scatter::match_rows;
use crate::data::RunData;
use crate::state::State;
use covft_analyses::store::Place;
use std::collections::HashMap;

/// The digits that a single stands for: 0.1 is 0.1 and not 0.10000000149011612.
fn plain(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// The point of a sample: row of the layer's contexts, row of its routing.
type Point = (usize, Option<usize>);

/// The last point of every sample that has one.
fn points(data: &RunData, state: &State) -> HashMap<u32, Point> {
    let layer = state.embedding.as_ref().map(|found| &found.asked.layer);
    let (contexts, routing) = (layer.and_then(|l| data.contexts.get(l)), layer.and_then(|l| data.routing.get(l)));
    let matched = contexts.zip(routing).map(|(c, r)| match_rows(&c.rows, &r.rows)).unwrap_or_default();
    let routed = |row: usize| matched.get(row).copied().flatten().map(|r| r as usize);
    let point = |(sample, row): (&u32, &u32)| (*sample, (*row as usize, routed(*row as usize)));
    state.shown.samples.iter().zip(&state.shown.rows).map(point).collect()
}

/// The table of the selected samples, in the order of their first record.
pub(crate) fn table(data: &RunData, state: &mut State) -> Table {
    let gradients = state.gradients(data);
    let points = points(data, state);
    let chosen: Vec<u32> = state.selection.now().iter().collect();
    let samples = &data.samples;
    let words = |of: &dyn Fn(u32) -> Option<String>| Cells::Words(chosen.iter().map(|s| of(*s)).collect());
    let counts = |of: &dyn Fn(u32) -> Option<u64>| Cells::Counts(chosen.iter().map(|s| of(*s)).collect());
    let numbers = |of: &dyn Fn(u32) -> Option<f64>| Cells::Numbers(chosen.iter().map(|s| of(*s)).collect());
    let mut columns: Vec<(String, Cells)> = Vec::new();
    let mut put = |title: &str, cells: Cells| columns.push((title.to_owned(), cells));
    put("sample", words(&|s| Some(samples.id(s).to_owned())));
    put("index", counts(&|s| samples.place(s).map(Place::index)));
    let split = |s: u32| match samples.row(s) {
        Some(row) => Some(row.split.to_string()),
        None => samples.place(s).map(|place| place.split().to_owned()),
    };
    put("split", words(&split));
    put("task", words(&|s| Some(samples.task(s).to_owned())));
    if let Some(found) = &state.embedding {
        let layer = &found.asked.layer;
        let row = |s: u32| points.get(&s).map(|p| p.0);
        if let Some(contexts) = data.contexts.get(layer) {
            put("stage", words(&|s| Some(data.stages.name(u32::from(contexts.rows.stage[row(s)?])).to_owned())));
            put("step", counts(&|s| Some(u64::from(contexts.rows.step[row(s)?]))));
        }
        put("layer", words(&|s| row(s).map(|_| layer.1.clone())));
        put("cluster", counts(&|s| Some(u64::from(found.labels[row(s)?]))));
        put("cluster_name", words(&|s| Some(cluster_name(&state.notes.names, found.labels[row(s)?]))));
        for (k, coordinates) in found.coordinates.iter().enumerate() {
            put(&format!("component_{}", k + 1), numbers(&|s| Some(plain(coordinates[row(s)?]))));
        }
        if let Some(routing) = data.routing.get(layer) {
            let routed = |s: u32| points.get(&s)?.1;
            put("expert", counts(&|s| routing.expert(routed(s)?).map(u64::from)));
            for expert in 0..routing.experts {
                let weight = |s: u32| Some(plain(routing.weights(routed(s)?)[expert]));
                put(&format!("weight_{expert}"), numbers(&weight));
            }
            put("entropy", numbers(&|s| Some(plain(routing.entropy[routed(s)?]))));
        }
    }
    put("loss", numbers(&|s| samples.look(s)?.loss));
    put("seen", counts(&|s| Some(u64::from(samples.look(s)?.seen))));
    put("tokens", counts(&|s| Some(u64::from(samples.look(s)?.tokens))));
    put("question", words(&|s| Some(samples.row(s)?.question.clone())));
    put("answer", words(&|s| Some(samples.row(s)?.answer.clone())));
    put("prediction", words(&|s| Some(samples.look(s)?.prediction.as_ref()?.0.clone())));
    put("correct", numbers(&|s| samples.look(s)?.prediction.as_ref()?.1));
    put("image", words(&|s| samples.row(s)?.image.clone()));
    put("conflict_share", numbers(&|s| gradients.conflict(s)));
    put("alignment", numbers(&|s| gradients.alignment(s).map(|a| plain(a as f32))));
    Table { columns }
}

#[cfg(test)]
mod tests {
    #[test]
    fn singles_have_their_own_digits() {
        assert_eq!((super::plain(0.1), super::plain(-2.5), super::plain(1e-30)), (0.1, -2.5, 1e-30));
        assert!(super::plain(f32::NAN).is_nan() && super::plain(f32::INFINITY).is_infinite());
    }
}
