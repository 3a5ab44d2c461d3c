//! What a conflict study found: how far apart the encoders are, where, and whether that is more than what another order
//! of the same instructions does.

use super::rank::{Rank, spearman};
use super::{Cell, Column, Format, Table};
use crate::stats::{NotFinite, Summary, finite};
use crate::store::{ALL, DistanceRow, LayerRow, Result, RunDir, Study, StudyRun, read_where};
use std::collections::BTreeMap;
use std::path::Path;

/// The end of a conflict study.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Tuning method.
    pub method: String,
    /// Label of the first and of the second run.
    pub runs: [String; 2],
    /// Steps that both have made.
    pub steps: u64,
    /// Layers in order of depth, the whole encoder last.
    pub layers: Vec<LayerConflict>,
    /// Whether it grows with depth: rank correlations over the blocks that train.
    pub growth: Vec<Growth>,
    /// Distances at the end, of any two runs, that are not finite: in no mean and no correlation.
    pub not_finite: NotFinite,
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerConflict {
    /// Layer, or `all`.
    pub layer: String,
    /// Sort key.
    pub depth: Option<i32>,
    /// Elements of the trained tensors.
    pub elements: u64,
    /// `||theta_a - theta_b||`.
    pub distance: f64,
    /// Divided by the start's norm.
    pub relative: Option<f64>,
    /// Divided by the root of the elements.
    pub per_element: Option<f64>,
    /// How far each of the two went from the start.
    pub drifts: Option<[f64; 2]>,
    /// Cosine of the two ways from the start: 1 = both went the same way.
    pub cosine: Option<f64>,
    /// Mean distance of two runs of the same instructions in another order.
    pub null: Option<f64>,
    /// Mean distance of two runs that differ in instructions *and* order: what the null is fairly compared with.
    pub crossed: Option<f64>,
}

/// Rank correlation of a number with depth.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// The number.
    pub of: &'static str,
    /// The correlation.
    pub rank: Rank,
}

/// How two runs of a study differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Difference {
    Instructions,
    Order,
    Both,
    Neither,
}

fn difference(a: &StudyRun, b: &StudyRun) -> Difference {
    match (a.tasks == b.tasks, a.seed == b.seed) {
        (false, true) => Difference::Instructions,
        (true, false) => Difference::Order,
        (false, false) => Difference::Both,
        (true, true) => Difference::Neither,
    }
}

impl Conflict {
    /// Reads the study in the folder `path`; `None` while no step is measured.
    ///
    /// # Errors
    /// No study, or records that cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let study = Study::read(path)?;
        let [a, b, ..] = study.runs.as_slice() else { return Ok(None) };
        let rows = read_where(&RunDir::of_study(path), |row: &DistanceRow| row.module == ALL)?.rows;
        let Some(step) = rows.iter().map(|row| row.step).max() else { return Ok(None) };
        let end: Vec<&DistanceRow> = rows.iter().filter(|row| row.step == step).collect();
        let drifts = [drifts(path, &study, a, step)?, drifts(path, &study, b, step)?];
        let first = end.iter().filter(|row| row.run_a == a.label && row.run_b == b.label);
        let mut layers: Vec<LayerConflict> = first
            .map(|row| LayerConflict {
                null: mean_over(&end, &study, &row.layer, Difference::Order),
                crossed: mean_over(&end, &study, &row.layer, Difference::Both),
                ..layer(row, drifts[0].get(&row.layer).zip(drifts[1].get(&row.layer)))
            })
            .collect();
        layers.sort_by_key(|l| l.depth.unwrap_or(i32::MAX));
        let growth = growth(&layers);
        let runs = [a.label.clone(), b.label.clone()];
        let (_, not_finite) = NotFinite::split(end.iter().map(|row| row.distance));
        Ok(Some(Self { method: a.method.clone(), runs, steps: step + 1, layers, growth, not_finite }))
    }

    /// As a table; its notes say what is over what, and whether the distance grows with depth.
    #[must_use]
    pub fn table(&self) -> Table {
        let [a, b] = &self.runs;
        let nulls = self.layers.iter().any(|l| l.null.is_some());
        let mut columns = vec![
            Column::words("vision layer"),
            Column::new("trained", Format::Count),
            Column::new("distance", Format::Fixed(4)),
            Column::new("relative", Format::Scientific(2)),
            Column::new("per element", Format::Scientific(2)),
            Column::new(&format!("drift {a}"), Format::Fixed(4)),
            Column::new(&format!("drift {b}"), Format::Fixed(4)),
            Column::new("cosine of drifts", Format::Signed(3)),
        ];
        if nulls {
            columns.push(Column::new("order alone", Format::Fixed(4)));
            columns.push(Column::new("both", Format::Fixed(4)));
            columns.push(Column::new("both / order", Format::Fixed(2)));
        }
        let row = |l: &LayerConflict| {
            let mut cells = vec![
                Cell::Text(l.layer.clone()),
                Cell::number(l.elements as f64),
                Cell::number(l.distance),
                Cell::maybe(l.relative),
                Cell::maybe(l.per_element),
                Cell::maybe(l.drifts.map(|d| d[0])),
                Cell::maybe(l.drifts.map(|d| d[1])),
                Cell::maybe(l.cosine),
            ];
            if nulls {
                cells.extend([Cell::maybe(l.null), Cell::maybe(l.crossed), Cell::maybe(l.excess())]);
            }
            cells
        };
        Table {
            caption: format!("Distance of the encoders of {a} and {b} ({}) after {} steps", self.method, self.steps),
            columns,
            rows: self.layers.iter().map(row).collect(),
            notes: self.notes(nulls),
        }
    }

    fn notes(&self, nulls: bool) -> Vec<String> {
        let mut notes: Vec<String> = self.not_finite.words("distance", "distances").into_iter().collect();
        if nulls {
            notes.push(
                "order alone: mean distance of two runs of the same instructions in another order; both: of two runs that \
                 differ in both; their ratio is what the instructions add"
                    .to_owned(),
            );
        } else {
            notes
                .push("no runs of the same instructions in another order to compare with: --null adds them".to_owned());
        }
        for Growth { of, rank } in &self.growth {
            let verdict = match (rank.p < 0.05, rank.rho > 0.0) {
                (false, _) => "no trend that is told apart from chance",
                (true, true) => "grows with depth",
                (true, false) => "falls with depth",
            };
            notes.push(format!(
                "{of}: {verdict} (Spearman rho {:+.2} over {} blocks that train, p = {:.3})",
                rank.rho, rank.n, rank.p
            ));
        }
        if self.growth.is_empty() {
            notes.push("too few blocks train, or nothing moved: growth with depth cannot be told".to_owned());
        }
        notes
    }
}

impl LayerConflict {
    /// Distance of runs that differ in instructions and order over that of runs that differ in order alone.
    #[must_use]
    pub fn excess(&self) -> Option<f64> {
        self.crossed.zip(self.null).filter(|(_, null)| *null > 0.0).map(|(crossed, null)| crossed / null)
    }
}

/// Drift of a run by layer after `step`; none where it was not measured.
fn drifts(path: &Path, study: &Study, run: &StudyRun, step: u64) -> Result<BTreeMap<String, f64>> {
    let wanted = |r: &LayerRow| r.stage == study.stage && r.step == step && r.module == ALL;
    let rows = read_where(&RunDir::open(path.join(&run.label))?, wanted)?.rows;
    Ok(rows.into_iter().map(|row| (row.layer, row.drift)).collect())
}

fn layer(row: &DistanceRow, drifts: Option<(&f64, &f64)>) -> LayerConflict {
    let drifts = drifts.map(|(a, b)| [*a, *b]).filter(|_| row.elements > 0);
    // |a - b|^2 = |a|^2 + |b|^2 - 2 <a, b>, with a and b the ways from the common start.
    let cosine = drifts
        .filter(|[a, b]| *a > 0.0 && *b > 0.0)
        .map(|[a, b]| ((a * a + b * b - row.distance * row.distance) / (2.0 * a * b)).clamp(-1.0, 1.0));
    LayerConflict {
        layer: row.layer.clone(),
        depth: row.depth,
        elements: row.elements,
        distance: row.distance,
        relative: row.distance_relative,
        per_element: row.distance_per_element,
        drifts,
        cosine,
        null: None,
        crossed: None,
    }
}

/// Mean distance at `layer` of all pairs of runs that differ so.
fn mean_over(end: &[&DistanceRow], study: &Study, layer: &str, wanted: Difference) -> Option<f64> {
    let run = |label: &str| study.runs.iter().find(|run| run.label == label);
    let of_kind = end
        .iter()
        .filter(|row| row.layer == layer)
        .filter(|row| run(&row.run_a).zip(run(&row.run_b)).is_some_and(|(a, b)| difference(a, b) == wanted));
    Summary::of(of_kind.map(|row| row.distance)).map(|all| all.mean)
}

fn growth(layers: &[LayerConflict]) -> Vec<Growth> {
    let is_block = |l: &&LayerConflict| l.layer.parse::<u32>().is_ok() && l.elements > 0 && l.distance > 0.0;
    let blocks: Vec<&LayerConflict> = layers.iter().filter(is_block).collect();
    let over = |of: &'static str, number: &dyn Fn(&LayerConflict) -> Option<f64>| {
        let points = blocks.iter().filter_map(|l| Some((f64::from(l.depth?), number(l).and_then(finite)?)));
        let (depth, values): (Vec<f64>, Vec<f64>) = points.unzip();
        spearman(&depth, &values).map(|rank| Growth { of, rank })
    };
    let all = [
        over("distance", &|l| Some(l.distance)),
        over("distance relative to the start", &|l| l.relative),
        over("distance per element", &|l| l.per_element),
        over("cosine of the drifts", &|l| l.cosine),
        over("what the instructions add to the order", &LayerConflict::excess),
    ];
    all.into_iter().flatten().collect()
}
