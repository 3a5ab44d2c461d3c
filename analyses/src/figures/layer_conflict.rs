//! `layer-conflict`: share of the pairs in conflict by layer and module, with the share that is undecided.

use super::axes::row_names;
use super::color::{INK, Scale, ink_on};
use super::drift::layer_name;
use super::heat::{self, Columns};
use super::page::{LeftOut, Page, spread};
use super::scene::{Across, Along, Canvas, Point};
use super::source::Source;
use super::tally::{self, Pairs};
use super::{Figure, FigureId, Options, Result, Table, cell};
use crate::store::ALL;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LayerConflict {
    stage: String,
    mode: String,
    space: String,
    /// Deepest first, `all` last.
    layers: Vec<String>,
    /// `all` first.
    modules: Vec<String>,
    /// `[layer][module]`; null where the layer has no such module.
    cells: Vec<Vec<Option<Pairs>>>,
}

impl LayerConflict {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::LayerConflict;
        let (found, mode) = tally::counts(id, source, options)?;
        let mut modules: Vec<String> = found.cells.iter().map(|c| c.module.clone()).collect();
        modules.sort_by_key(|m| (m != ALL, m.clone()));
        modules.dedup();
        // By depth, the row over all layers after them: from the deepest down, and that one at the bottom.
        let mut layers: Vec<String> = found.cells.iter().map(|c| c.layer.clone()).collect();
        layers.dedup();
        let (mut layers, over_all): (Vec<String>, Vec<String>) = layers.into_iter().partition(|l| l != ALL);
        layers.reverse();
        layers.extend(over_all);
        let cell = |layer: &String, module: &String| found.cell(layer, module).map(|c| Pairs::of(&c.all));
        let cells = layers.iter().map(|l| modules.iter().map(|m| cell(l, m)).collect()).collect();
        let space = options.space.clone();
        Ok(Self { stage: found.stage.clone(), mode, space, layers, modules, cells })
    }

    /// The layers that a page has room for, from the deepest to the first, and the row over all of them.
    fn shown(&self, page: &Page) -> Vec<usize> {
        let small = page.venue.small();
        let n = self.layers.len();
        let most = page.fit(n, small * 1.5, small * 7.0);
        if n <= most { (0..n).collect() } else { spread(n - 1, most - 1).into_iter().chain([n - 1]).collect() }
    }

    fn shares(&self) -> Vec<Vec<Option<f64>>> {
        let share = |t: &Option<Pairs>| t.and_then(|t| t.share());
        self.cells.iter().map(|row| row.iter().map(share).collect()).collect()
    }

    fn modules(&self, canvas: &Canvas) -> Vec<String> {
        let name = |m: &String| if m == ALL { "all modules".to_owned() } else { m.clone() };
        canvas.readable(&self.modules.iter().map(name).collect::<Vec<_>>())
    }

    /// Names of the layers that are shown, edges of the map, and names below the columns.
    fn frame(&self, canvas: &Canvas) -> (Vec<String>, f64, f64, Columns) {
        let names: Vec<String> = self.shown(&canvas.page).iter().map(|l| layer_name(&self.layers[*l])).collect();
        let names = canvas.short(&names, canvas.small, canvas.size.0 * 0.25);
        let widest = names.iter().map(|t| canvas.width(t, canvas.small)).fold(0.0, f64::max);
        let left = widest + canvas.title * 1.4 + 5.0;
        let right = canvas.size.0 - heat::bar_room(canvas, self.scale());
        let columns = Columns::new(canvas, &self.modules(canvas), (right - left) / self.modules.len().max(1) as f64);
        (names, left, right, columns)
    }

    fn scale(&self) -> Scale {
        let highest = self.shares().iter().flatten().flatten().fold(0.0_f64, |a, s| a.max(*s));
        Scale::sequential(0.0, highest.max(1.0))
    }

    /// What the cells say, in lines that fit.
    fn key(&self, canvas: &Canvas, fits: bool) -> Vec<String> {
        let pairs = self.cells.iter().flatten().flatten().map(|t| t.pairs).max().unwrap_or(0);
        let cell = if fits { "cell: % in conflict | % undecided" } else { "cell: % in conflict" };
        let empty = self.shares().iter().flatten().any(Option::is_none);
        let dash = if empty { "; \u{2013}: no such gradient" } else { "" };
        canvas.wrap(&format!("{cell}, of up to {pairs} pairs{dash}"), canvas.small, canvas.size.0 - 8.0, 2)
    }

    fn cell_width(canvas: &Canvas) -> f64 {
        canvas.width("100 | 100", canvas.small) + 3.0
    }
}

impl Figure for LayerConflict {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let canvas = page.canvas((0.0, 0.0));
        let needed = Self::cell_width(&canvas) * self.modules.len() as f64 + 95.0;
        let width = 72.0 * if needed > venue.column() * 72.0 { venue.full() } else { venue.column() };
        let canvas = page.canvas((width, 0.0));
        let lines = self.key(&canvas, true).len() as f64;
        let (names, _, _, columns) = self.frame(&canvas);
        let more = 1.1 * (columns.high - 2.0).max(0.0);
        let rest = lines.mul_add(venue.small() * 1.15, venue.small() * (3.45 + more) + 4.0);
        (width, (names.len() as f64).mul_add(venue.small() * 1.5, rest).min(page.room()))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let small = canvas.small;
        let shares = self.shares();
        let scale = self.scale();
        let (names, left, right, columns) = self.frame(canvas);
        let from = (left, 4.0);
        let fits = Self::cell_width(canvas) <= (right - from.0) / self.modules.len().max(1) as f64 + 2.0;
        let key = self.key(canvas, fits);
        let to = (right, canvas.size.1 - small * columns.high.mul_add(1.1, 1.15f64.mul_add(key.len() as f64, 0.85)));
        let shown = self.shown(&canvas.page);
        heat::cells(canvas, from, to, &shown.iter().map(|l| shares[*l].clone()).collect::<Vec<_>>(), scale);
        let n = (self.modules.len().max(1) as f64, shown.len().max(1) as f64);
        let (width, height) = ((to.0 - from.0) / n.0, (to.1 - from.1) / n.1);
        let number = canvas.width("100", small) < width;
        for (r, row) in shown.iter().map(|l| &self.cells[*l]).enumerate().filter(|_| number) {
            for (c, tally) in row.iter().enumerate() {
                let middle = ((c as f64 + 0.5).mul_add(width, from.0), (r as f64 + 0.5).mul_add(height, from.1));
                let Some(share) = tally.and_then(|t| t.share()) else {
                    canvas.text("\u{2013}", middle, small, (Across::Center, Along::Middle), INK);
                    continue;
                };
                let undecided = tally.and_then(|t| t.undecided_share()).unwrap_or(0.0);
                let conflict = format!("{share:.0}");
                let text = if fits { format!("{conflict} | {undecided:.0}") } else { conflict };
                let ink = ink_on(scale.color(Some(share)));
                canvas.text(&text, middle, small, (Across::Center, Along::Middle), ink);
            }
        }
        row_names(canvas, from.0, (from.1, to.1), &names);
        columns.draw(canvas, (from.0, to));
        canvas.upwards("layer", (canvas.title * 0.7, f64::midpoint(from.1, to.1)), canvas.title, INK);
        heat::bar(canvas, (to.0, from.1), to.1, scale, "pairs in conflict (%)");
        for (i, line) in key.iter().enumerate() {
            let y = canvas.size.1 - small * 1.15 * (key.len() - i) as f64 - small * 0.15;
            canvas.text(line, (4.0, y), small, (Across::Left, Along::Top), INK);
        }
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for (layer, row) in self.layers.iter().zip(&self.cells) {
            for (module, tally) in self.modules.iter().zip(row) {
                let Some(t) = tally else { continue };
                let [pairs, conflict, undecided] = [t.pairs, t.conflict, t.undecided].map(|n| n.to_string());
                rows.push([layer.clone(), module.clone(), cell(t.mean), cell(t.error), pairs, conflict, undecided]);
            }
        }
        Table::new(["layer", "module", "mean_cosine", "standard_error", "pairs", "conflict", "undecided"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "stage": self.stage, "mode": self.mode, "space": self.space,
            "conflict": "the 95 % interval of the pair's cosine lies below 0", "undecided": "it holds 0",
        })
    }

    fn left_out(&self) -> Vec<String> {
        let mut all = Pairs::default();
        for pairs in self.cells.iter().flatten().flatten() {
            all.pairs += pairs.pairs;
            all.undefined += pairs.undefined;
            all.not_finite += pairs.not_finite;
        }
        all.left_out().into_iter().map(|words| format!("over all layers and modules: {words}")).collect()
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        LeftOut::of("rows", &self.layers, &self.shown(page), false).into_iter().collect()
    }
}
