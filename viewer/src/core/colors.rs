//! The colour of every point, and the legend.

use super::by_sample::BySample;
use super::classes::{Classes, Look, experts};
use super::embed::Embedding;
use super::scatter::{ColorBy, Shown, match_rows};
use crate::data::RunData;
use crate::tokens;
use covft_analyses::figures::viridis;
use std::collections::BTreeMap;

/// A line of the legend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub name: String,
    pub color: [u8; 3],
    pub points: usize,
    /// The values that the points have, for selecting them; none in a scale.
    pub values: Vec<u16>,
    /// What goes together in it.
    pub holds: Vec<String>,
}

/// The colour of every point.
#[derive(Debug, Default)]
pub(crate) struct Colors {
    pub index: Vec<u16>,
    pub palette: Vec<[u8; 3]>,
    pub keys: Vec<Key>,
}

/// Values by point: classes, or numbers.
enum Values {
    Classes(Vec<u16>, Classes),
    Scale(Vec<Option<f32>>),
}

impl Colors {
    pub(crate) fn new(
        data: &RunData,
        found: &Embedding,
        shown: &Shown,
        by: ColorBy,
        names: &BTreeMap<u16, String>,
        gradients: &BySample,
        dark: bool,
    ) -> Self {
        let of_samples = |of: &dyn Fn(u32) -> Option<f64>| {
            Self::scale(&shown.samples.iter().map(|s| of(*s).map(|v| v as f32)).collect::<Vec<_>>())
        };
        match by {
            ColorBy::Conflict => return of_samples(&|s| gradients.conflict(s)),
            ColorBy::Alignment => return of_samples(&|s| gradients.alignment(s)),
            _ => {}
        }
        match values(data, found, shown, by, names) {
            Values::Classes(index, classes) => Self::classes(index, &classes, dark),
            Values::Scale(values) => Self::scale(&values),
        }
    }

    fn classes(index: Vec<u16>, classes: &Classes, dark: bool) -> Self {
        let palette: Vec<[u8; 3]> = (0..classes.len()).map(|c| classes.look(c).rgb(dark)).collect();
        let mut counts = vec![0; classes.len()];
        index.iter().for_each(|i| {
            if let Some(count) = counts.get_mut(*i as usize) {
                *count += 1;
            }
        });
        let (others, own): (Vec<usize>, Vec<usize>) =
            (0..classes.len()).filter(|c| counts[*c] > 0).partition(|c| classes.look(*c) == Look::Others);
        let mut keys: Vec<Key> = own
            .into_iter()
            .map(|c| Key {
                name: classes.name(c).to_owned(),
                color: palette[c],
                points: counts[c],
                values: vec![c as u16],
                holds: Vec::new(),
            })
            .collect();
        if !others.is_empty() {
            keys.push(Key {
                name: format!("others ({} {})", others.len(), classes.what),
                color: Look::Others.rgb(dark),
                points: others.iter().map(|c| counts[*c]).sum(),
                values: others.iter().map(|c| *c as u16).collect(),
                holds: others.iter().map(|c| classes.name(*c).to_owned()).collect(),
            });
        }
        Self { index, palette, keys }
    }

    /// Numbers on a scale; what has none, and what is not finite, apart from it and from each other.
    fn scale(values: &[Option<f32>]) -> Self {
        let finite = || values.iter().flatten().copied().filter(|v| v.is_finite());
        let (low, high) = finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let mut palette: Vec<[u8; 3]> = (0..256).map(|i| viridis(f64::from(i) / 255.0)).collect();
        palette.extend([tokens::NO_VALUE, tokens::NOT_FINITE].map(tokens::parts));
        // Halves, so that no difference is infinite.
        let far = high / 2.0 - low / 2.0;
        let place = |v: &Option<f32>| match v {
            None => 256,
            Some(v) if !v.is_finite() => 257,
            Some(v) if far > 0.0 => ((v / 2.0 - low / 2.0) / far * 255.0) as u16,
            Some(_) => 128,
        };
        let index: Vec<u16> = values.iter().map(place).collect();
        let mut keys = Vec::new();
        if low <= high {
            for share in [1.0, 0.75, 0.5, 0.25, 0.0] {
                let value = low * (1.0 - share) + high * share;
                let color = viridis(f64::from(share));
                keys.push(Key {
                    name: number(f64::from(value)),
                    color,
                    points: 0,
                    values: Vec::new(),
                    holds: Vec::new(),
                });
            }
        }
        for (value, name) in [(256, "no value"), (257, "not finite")] {
            let points = index.iter().filter(|i| **i == value).count();
            if points > 0 {
                keys.push(Key {
                    name: name.to_owned(),
                    color: palette[usize::from(value)],
                    points,
                    values: vec![value],
                    holds: Vec::new(),
                });
            }
        }
        Self { index, palette, keys }
    }
}

/// A number for people.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e7 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Name of a cluster: the one that was given, or its number.
pub(crate) fn cluster_name(names: &BTreeMap<u16, String>, cluster: u16) -> String {
    names
        .get(&cluster)
        .filter(|n| !n.is_empty())
        .map_or_else(|| format!("cluster {cluster}"), |n| format!("{cluster}: {n}"))
}

fn values(data: &RunData, found: &Embedding, shown: &Shown, by: ColorBy, names: &BTreeMap<u16, String>) -> Values {
    let rows = || shown.rows.iter().map(|r| *r as usize);
    let samples = || shown.samples.iter().copied();
    let Some(contexts) = data.contexts.get(&found.asked.layer) else { return Values::Scale(Vec::new()) };
    match by {
        ColorBy::Cluster => {
            let labels = rows().map(|r| found.labels[r]).collect();
            Values::Classes(labels, Classes::clusters(found, names))
        }
        ColorBy::Task => {
            let (of, classes) = Classes::tasks(data, found);
            Values::Classes(samples().map(|s| of[s as usize]).collect(), classes)
        }
        ColorBy::Stage => {
            let stages = data.stages.list();
            // In the order of the run, as in the figure.
            let classes = Classes::new("stages", stages.iter().map(|s| (s.clone(), 0)).collect(), &[]);
            Values::Classes(rows().map(|r| contexts.rows.stage[r]).collect(), classes)
        }
        ColorBy::Split => {
            let of = |s: u32| match data.samples.row(s).map(|r| r.split.as_str()) {
                Some("train") => 0,
                Some("val") => 1,
                _ => 2,
            };
            let known = ["train", "val"].map(|split| (split.to_owned(), 0)).to_vec();
            let classes = Classes::new("splits", known, &[("not in the data set", Look::NoValue)]);
            Values::Classes(samples().map(of).collect(), classes)
        }
        ColorBy::Expert | ColorBy::Entropy => routed(data, found, shown, by),
        ColorBy::Step => {
            let starts = data.stage_starts();
            let at = |r: usize| Some((starts[contexts.rows.stage[r] as usize] + contexts.rows.step[r]) as f32);
            Values::Scale(rows().map(at).collect())
        }
        _ => {
            let of = |s: u32| {
                let sample = data.samples.look(s)?;
                match by {
                    ColorBy::Loss => sample.loss.map(|l| l as f32),
                    ColorBy::Seen => Some(sample.seen as f32),
                    ColorBy::Tokens => Some(sample.tokens as f32),
                    _ => sample.prediction.as_ref()?.1.map(|c| c as f32),
                }
            };
            Values::Scale(samples().map(of).collect())
        }
    }
}

/// Expert or entropy of the routing row of the same sample, stage and step.
fn routed(data: &RunData, found: &Embedding, shown: &Shown, by: ColorBy) -> Values {
    let layer = &found.asked.layer;
    let (Some(contexts), Some(routing)) = (data.contexts.get(layer), data.routing.get(layer)) else {
        return Values::Scale(vec![None; shown.rows.len()]);
    };
    let matched = match_rows(&contexts.rows, &routing.rows);
    let row = |r: &u32| matched[*r as usize];
    if by == ColorBy::Entropy {
        let of = |r: &u32| row(r).map(|i| routing.entropy[i as usize]);
        return Values::Scale(shown.rows.iter().map(of).collect());
    }
    let (none, bad) = (routing.experts as u16, routing.experts as u16 + 1);
    let of = |r: &u32| row(r).map_or(none, |i| routing.expert(i as usize).unwrap_or(bad));
    let apart = [("not routed", Look::NoValue), ("routing not finite", Look::NotFinite)];
    let all = experts(routing).into_iter().enumerate().map(|(e, rows)| (format!("expert {e}"), rows)).collect();
    Values::Classes(shown.rows.iter().map(of).collect(), Classes::new("experts", all, &apart))
}
