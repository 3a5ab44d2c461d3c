//! `task-conflict`: mean cosine between the gradients of samples of two tasks; the share of pairs in conflict, the share
//! that is undecided and the number of pairs in the cells.

use super::axes::{row_names, signed};
use super::color::{INK, Scale, ink_on};
use super::heat::{self, Columns};
use super::looks::Looks;
use super::page::{LeftOut, Page};
use super::scene::{Across, Along, Canvas, Point};
use super::source::Source;
use super::tally::{self, Pairs};
use super::{Figure, FigureId, Options, Result, Table, cell};
use crate::store::{ALL, option_that_logs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Tasks with a row of their own at most.
const ROWS: usize = 24;

/// What is drawn: the largest tasks, and the rest together.
struct View {
    names: Vec<String>,
    cells: Vec<Vec<Pairs>>,
    /// Whether there is room for one line a cell alone.
    low: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TaskConflict {
    stage: String,
    mode: String,
    space: String,
    layer: String,
    /// `all` in older sidecars.
    #[serde(default)]
    module: Option<String>,
    tasks: Vec<String>,
    /// `[task][task]`, symmetric.
    cells: Vec<Vec<Pairs>>,
    all: Pairs,
    /// How much longer sketches would have to be, where most pairs are undecided.
    longer: Option<usize>,
    /// Pairs with a sample that has no task.
    unlabelled: u64,
}

impl TaskConflict {
    pub(super) fn load(source: &Source, options: &Options) -> Result<Self> {
        let id = FigureId::TaskConflict;
        let layer = options.layer.clone().unwrap_or_else(|| ALL.to_owned());
        let module = options.module.clone().unwrap_or_else(|| ALL.to_owned());
        let (found, mode) = tally::load(id, source, options, &layer, &module)?;
        let Some(cell) = found.cell(&layer, &module) else {
            return Err(source.lacks(id, &format!("`pairs` of layer {layer}"), option_that_logs("pairs")));
        };
        let n = found.labels.len();
        Ok(Self {
            tasks: found.labels.to_vec(),
            cells: (0..n).map(|a| (0..n).map(|b| Pairs::of(cell.matrix.get(a, b))).collect()).collect(),
            all: Pairs::of(&cell.all),
            longer: tally::longer(&cell.all),
            unlabelled: found.unlabelled,
            mode,
            space: options.space.clone(),
            stage: found.stage,
            layer,
            module: Some(module),
        })
    }

    /// The tasks with most pairs.
    fn looks(&self, page: &Page) -> Looks {
        let pairs: Vec<usize> = self.cells.iter().map(|row| row.iter().map(|p| p.pairs as usize).sum()).collect();
        Looks::largest(&pairs, page.most, page.fit(ROWS, page.venue.small() * 1.6, page.venue.small() * 12.0))
    }

    fn view(&self, canvas: &Canvas) -> View {
        let looks = self.looks(&canvas.page);
        let (own, others) = (looks.own(), looks.others());
        let of = |a: usize, b: usize| self.cells[a][b];
        let rest = |a: usize| Pairs::merged(&others.iter().map(|b| &self.cells[a][*b]));
        let mut cells: Vec<Vec<Pairs>> = own.iter().map(|a| own.iter().map(|b| of(*a, *b)).collect()).collect();
        let mut names = canvas.readable(&own.iter().map(|i| self.tasks[*i].clone()).collect::<Vec<_>>());
        if !others.is_empty() {
            own.iter().zip(&mut cells).for_each(|(a, row)| row.push(rest(*a)));
            let mut last: Vec<Pairs> = cells.iter().filter_map(|row| row.last().copied()).collect();
            let among = others.iter().enumerate().flat_map(|(i, a)| others[i..].iter().map(|b| &self.cells[*a][*b]));
            last.push(Pairs::merged(&among));
            cells.push(last);
            names.push(format!("others ({})", others.len()));
        }
        let low = (cells.len() as f64 * 3.6 + 5.2) * canvas.small > canvas.page.room();
        View { low: low || cells.len() > 12, names, cells }
    }

    /// Three lines of text a cell.
    fn texts(tally: &Pairs) -> [String; 3] {
        let percent = |share: Option<f64>| share.map_or_else(|| "\u{2013}".to_owned(), |s| format!("{s:.0}"));
        let mean = tally.mean.map_or_else(|| "\u{2013}".to_owned(), |m| signed(m, 2));
        [mean, format!("{} | {} %", percent(tally.share()), percent(tally.undecided_share())), count(tally.pairs)]
    }

    fn cell_width(canvas: &Canvas) -> f64 {
        canvas.width("100 | 100 %", canvas.small) + 3.0
    }

    /// Edges of the map, names of the rows, and names below the columns.
    fn frame(view: &View, canvas: &Canvas, scale: Scale) -> (f64, f64, Vec<String>, Columns) {
        let small = canvas.small;
        let rows = canvas.short(&view.names, small, canvas.size.0 * 0.3);
        let widest = rows.iter().map(|t| canvas.width(t, small)).fold(0.0, f64::max);
        let (left, right) = (widest + 7.0, canvas.size.0 - heat::bar_room(canvas, scale));
        let columns = Columns::new(canvas, &view.names, (right - left) / view.names.len().max(1) as f64);
        (left, right, rows, columns)
    }

    fn scale(view: &View) -> Scale {
        Scale::diverging(view.cells.iter().flatten().filter_map(|t| t.mean))
    }

    fn width(&self, page: &Page) -> f64 {
        let venue = page.venue;
        let canvas = page.canvas((0.0, 0.0));
        let view = self.view(&canvas);
        let names = view.names.iter().map(|n| canvas.width(n, venue.small())).fold(0.0, f64::max);
        let needed = names + 55.0 + Self::cell_width(&canvas) * view.names.len() as f64;
        72.0 * if needed > venue.column() * 72.0 { venue.full() } else { venue.column() }
    }
}

/// 12,345 pairs are `12k`.
fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{}k", n / 1000),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

impl Figure for TaskConflict {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let canvas = page.canvas((self.width(page), 0.0));
        let view = self.view(&canvas);
        let (_, _, _, columns) = Self::frame(&view, &canvas, Self::scale(&view));
        let rows = view.names.len() as f64 * venue.small() * if view.low { 1.6 } else { 3.6 };
        let high = rows + venue.small() * (5.2 + 1.1 * (columns.high - 2.0).max(0.0));
        (canvas.size.0, high.min(page.room()))
    }

    fn draw(&self, canvas: &mut Canvas) {
        let small = canvas.small;
        let view = self.view(canvas);
        let means: Vec<Vec<Option<f64>>> = view.cells.iter().map(|row| row.iter().map(|t| t.mean).collect()).collect();
        let scale = Self::scale(&view);
        let n = view.names.len().max(1) as f64;
        let (left, right, rows, columns) = Self::frame(&view, canvas, scale);
        let from = (left, 4.0);
        let to = (right, canvas.size.1 - small * columns.high.mul_add(1.1, 2.9));
        heat::cells(canvas, from, to, &means, scale);
        let (width, height) = ((to.0 - from.0) / n, (to.1 - from.1) / n);
        let fits = !view.low && height > small * 3.1 && Self::cell_width(canvas) <= width + 2.0;
        let number = canvas.width("\u{2212}0.00", small) < width;
        for (r, row) in view.cells.iter().enumerate().filter(|_| number) {
            for (c, tally) in row.iter().enumerate() {
                let middle = ((c as f64 + 0.5).mul_add(width, from.0), (r as f64 + 0.5).mul_add(height, from.1));
                let ink = ink_on(scale.color(tally.mean));
                let [mean, shares, pairs] = Self::texts(tally);
                let lines = if fits { vec![mean, shares, pairs] } else { vec![mean] };
                for (i, text) in lines.iter().enumerate() {
                    let y = middle.1 + (i as f64 - (lines.len() as f64 - 1.0) / 2.0) * small * 1.08;
                    canvas.text(text, (middle.0, y), small, (Across::Center, Along::Middle), ink);
                }
            }
        }
        row_names(canvas, from.0, (from.1, to.1), &rows);
        columns.draw(canvas, (from.0, to));
        heat::bar(canvas, (to.0, from.1), to.1, scale, "mean cosine");
        let key = match (fits, number) {
            (true, _) => "cell: mean cosine; % in conflict | % undecided; pairs",
            (false, true) => "cell: mean cosine",
            (false, false) => "colour: mean cosine",
        };
        let share = |s: Option<f64>| s.unwrap_or(0.0);
        let all = format!(
            "all: {:.0} % in conflict, {:.0} % undecided, {} pairs",
            share(self.all.share()),
            share(self.all.undecided_share()),
            count(self.all.pairs)
        );
        let longer = self.longer.map_or_else(String::new, |f| format!("; sketches {f} times as long would decide"));
        let both = format!("{key}. {all}{longer}");
        let lines = canvas.wrap(&both, small, canvas.size.0 - 8.0, 2);
        for (i, line) in lines.iter().enumerate() {
            let y = canvas.size.1 - small * 1.15 * (lines.len() - i) as f64;
            canvas.text(line, (4.0, y), small, (Across::Left, Along::Top), INK);
        }
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for (a, row) in self.tasks.iter().zip(&self.cells) {
            rows.extend(self.tasks.iter().zip(row).map(|(b, t)| {
                let counts = [t.pairs, t.conflict, t.undecided].map(|n| n.to_string());
                let [pairs, conflict, undecided] = counts;
                [a.clone(), b.clone(), cell(t.mean), cell(t.error), pairs, conflict, undecided]
            }));
        }
        Table::new(["task_a", "task_b", "mean_cosine", "standard_error", "pairs", "conflict", "undecided"], rows)
    }

    fn notes(&self) -> Value {
        json!({
            "stage": self.stage, "layer": self.layer, "module": self.module.as_deref().unwrap_or(ALL), "mode": self.mode, "space": self.space,
            "conflict": "the 95 % interval of the pair's cosine lies below 0", "undecided": "it holds 0",
            "percent_in_conflict": self.all.share(), "percent_undecided": self.all.undecided_share(), "pairs": self.all.pairs,
            "pairs_without_a_task": self.unlabelled, "sketches_this_many_times_as_long_would_decide": self.longer,
        })
    }

    fn left_out(&self) -> Vec<String> {
        let unlabelled = (self.unlabelled > 0).then(|| {
            format!("{} pairs with a sample that has no task: in the numbers over all alone", self.unlabelled)
        });
        self.all.left_out().into_iter().chain(unlabelled).collect()
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        LeftOut::of("tasks", &self.tasks, self.looks(page).own(), true).into_iter().collect()
    }
}
