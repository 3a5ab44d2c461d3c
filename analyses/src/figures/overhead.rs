//! `overhead`: what the parts of a training step cost, and what probing cost; one bar a run.

use super::axes::{Axes, Entry, Mark, bottom_room, legend};
use super::color::{INK, WHITE};
use super::page::{LeftOut, Page};
use super::scene::{Across, Along, Canvas, Point, Rgb};
use super::source::Inputs;
use super::{Figure, FigureId, Options, Result, Table, cell};
use crate::labels;
use crate::stats::NotFinite;
use crate::store::{StepRow, option_that_logs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Parts of a step, in the order of the bars, from dark to light and back: they differ in lightness side by side.
const PARTS: [(&str, Rgb); 6] = [
    ("data", Rgb(0xDD, 0xDD, 0xDD)),
    ("forward", Rgb(0x00, 0x72, 0xB2)),
    ("backward", Rgb(0x9C, 0xC9, 0xE8)),
    ("optimizer", Rgb(0x22, 0x22, 0x22)),
    ("probes", Rgb(0xD5, 0x5E, 0x00)),
    ("other", Rgb(0xF2, 0xF2, 0xF2)),
];

#[derive(Debug, Serialize, Deserialize)]
struct Bar {
    label: String,
    stage: String,
    steps: u64,
    /// Mean milliseconds a step by part.
    parts: Vec<f64>,
    /// Mean milliseconds of a step.
    total: f64,
    /// Bytes of records a step.
    bytes: f64,
    /// Largest resident memory, bytes.
    memory: Option<u64>,
    /// Steps whose times are not finite.
    #[serde(default)]
    not_finite: NotFinite,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Overhead {
    bars: Vec<Bar>,
    /// Whether the bars are the stages of one run.
    stages: bool,
}

#[derive(Default)]
struct Sums {
    stage: String,
    steps: u64,
    parts: [f64; 6],
    total: f64,
    bytes: u64,
    memory: Option<u64>,
    not_finite: NotFinite,
}

impl Sums {
    fn add(&mut self, row: &StepRow) {
        let known = [row.ms_data, row.ms_forward, row.ms_backward, row.ms_optimizer, row.ms_probe];
        let all = known.map(|v| v + row.ms_total);
        // The first step warms caches and the allocator.
        if row.step > 0 && self.not_finite.take_row(&all) {
            let other = (row.ms_total - known.iter().sum::<f64>()).max(0.0);
            for (sum, part) in self.parts.iter_mut().zip(known.into_iter().chain([other])) {
                *sum += part;
            }
            self.total += row.ms_total;
            self.bytes += row.probe_bytes;
            self.steps += 1;
        }
        self.memory = self.memory.max(row.peak_memory);
    }

    fn bar(self, label: String) -> Bar {
        let n = self.steps.max(1) as f64;
        Bar {
            label,
            stage: self.stage,
            steps: self.steps,
            parts: self.parts.iter().map(|p| p / n).collect(),
            total: self.total / n,
            bytes: self.bytes as f64 / n,
            memory: self.memory,
            not_finite: self.not_finite,
        }
    }
}

impl Overhead {
    pub(super) fn load(inputs: &Inputs, options: &Options) -> Result<Self> {
        let stages = inputs.runs.len() == 1;
        let mut bars = Vec::new();
        for source in &inputs.runs {
            let wanted = source.stage(options.stage.as_deref());
            let mut sums: Vec<Sums> = Vec::new();
            source.visit(|row: StepRow| {
                if wanted.as_ref().is_some_and(|w| *w != row.stage) || !options.has_step(row.step) {
                    return;
                }
                if sums.last().is_none_or(|s| s.stage != row.stage) {
                    sums.push(Sums { stage: row.stage.clone(), ..Sums::default() });
                }
                if let Some(last) = sums.last_mut() {
                    last.add(&row);
                }
            })?;
            sums.retain(|s| s.steps > 0 && s.total.is_finite());
            let kept = if stages { sums } else { sums.pop().into_iter().collect() };
            bars.extend(kept.into_iter().map(|s| {
                let label = if stages { s.stage.clone() } else { source.label.clone() };
                s.bar(label)
            }));
        }
        if bars.is_empty() {
            let source = inputs.runs.first().ok_or_else(|| inputs.nothing(FigureId::Overhead))?;
            return Err(source.lacks(FigureId::Overhead, "`steps` (two at least)", option_that_logs("steps")));
        }
        if !stages {
            inputs.note_absent(FigureId::Overhead, bars.iter().map(|bar| &bar.label));
            labels::with_stages(bars.iter_mut().map(|bar| (&mut bar.label, bar.stage.as_str())));
        }
        Ok(Self { bars, stages })
    }

    fn entries() -> Vec<Entry> {
        PARTS.iter().map(|(name, color)| ((*name).to_owned(), *color, Mark::Box)).collect()
    }

    /// The bars that a page has room for, the first.
    fn shown(&self, page: &Page) -> &[Bar] {
        let small = page.venue.small();
        &self.bars[..page.fit(self.bars.len(), small * 2.9, small * 6.0 + page.venue.font_size() * 1.6)]
    }

    /// What stands at the end of a bar.
    fn remark(bar: &Bar) -> [String; 2] {
        let share = bar.parts[4] / bar.total * 100.0;
        let digits = usize::from(share < 10.0);
        let memory = bar.memory.map_or_else(String::new, |m| format!(", peak {:.1} GB", m as f64 / 1e9));
        [format!("{:.0} ms, probes {share:.digits$} %", bar.total), format!("logs {}{memory}", bytes(bar.bytes))]
    }
}

fn bytes(n: f64) -> String {
    if n >= 1e6 { format!("{:.1} MB", n / 1e6) } else { format!("{:.0} kB", n / 1e3) }
}

impl Figure for Overhead {
    fn size(&self, page: &Page) -> Point {
        let venue = page.venue;
        let width = venue.column() * 72.0;
        let canvas = page.canvas((width, 0.0));
        let used = super::axes::legend_height(&canvas, &Self::entries(), 5.0, width - 5.0);
        (
            width,
            self.shown(page).len() as f64 * venue.small() * 2.9 + used + venue.small() * 2.0 + venue.font_size() * 1.6,
        )
    }

    fn draw(&self, canvas: &mut Canvas) {
        let small = canvas.small;
        let bars = self.shown(&canvas.page);
        let widest = bars.iter().map(|b| canvas.width(&b.label, small)).fold(0.0, f64::max);
        let left = (widest + 8.0).min(canvas.size.0 * 0.3);
        let used = legend(canvas, &Self::entries(), (5.0, small * 0.75), canvas.size.0 - 5.0);
        let remarks: Vec<[String; 2]> = bars.iter().map(Self::remark).collect();
        let room = remarks.iter().flatten().map(|r| canvas.width(r, small)).fold(0.0, f64::max) + 8.0;
        let longest = bars.iter().map(|b| b.total).fold(0.0, f64::max).max(1e-9);
        let right = (canvas.size.0 - room).max(left + canvas.size.0 * 0.25);
        let (from, to) = ((left, used + 2.0), (right, canvas.size.1 - bottom_room(canvas)));
        let axes = Axes { from, to, x: (0.0, longest), y: (0.0, 1.0) };
        let row = (to.1 - from.1) / bars.len() as f64;
        let labels: Vec<String> = bars.iter().map(|b| b.label.clone()).collect();
        let labels = canvas.short(&labels, small, left - 6.0);
        for (i, bar) in bars.iter().enumerate() {
            let middle = (i as f64 + 0.5).mul_add(row, from.1);
            canvas.text(&labels[i], (left - 4.0, middle), small, (Across::Right, Along::Middle), INK);
            let mut at = 0.0;
            for (part, (_, color)) in bar.parts.iter().zip(PARTS) {
                let (a, b) = (axes.at(at, 0.0).0, axes.at(at + part, 0.0).0);
                canvas.rect((a, middle - row * 0.36), (b, middle + row * 0.36), color);
                at += part;
                canvas.line(&[(b, middle - row * 0.36), (b, middle + row * 0.36)], WHITE, 0.4);
            }
            let end = axes.at(at, 0.0).0;
            canvas.outline((left, middle - row * 0.36), (end, middle + row * 0.36), INK, 0.4);
            for (line, text) in remarks[i].iter().enumerate() {
                let y = middle + (line as f64 - 0.5) * small * 1.1;
                canvas.text(text, (right + 5.0, y), small, (Across::Left, Along::Middle), INK);
            }
        }
        canvas.line(&[from, (from.0, to.1)], INK, 0.6);
        axes.x_axis(canvas, "ms a step");
    }

    fn table(&self) -> Table {
        let line = |b: &Bar| {
            let mut cells = vec![b.label.clone(), b.stage.clone(), b.steps.to_string()];
            cells.extend(b.parts.iter().chain([&b.total, &b.bytes]).map(|v| cell(Some(*v))));
            cells.push(b.memory.map_or_else(String::new, |m| m.to_string()));
            cells
        };
        let names = ["run", "stage", "steps"].into_iter().map(str::to_owned);
        let names = names.chain(PARTS.iter().map(|p| format!("ms_{}", p.0)));
        let last = ["ms_total", "record_bytes", "peak_memory_bytes"].map(str::to_owned);
        Table { columns: names.chain(last).collect(), rows: self.bars.iter().map(line).collect() }
    }

    fn notes(&self) -> Value {
        json!({
            "bars": if self.stages { "stages of one run" } else { "runs" },
            "times": "means over the steps but the first", "logs": "bytes of records a step, before compression",
            "peak": "largest resident memory of the process so far",
        })
    }

    fn left_out(&self) -> Vec<String> {
        let of = |b: &Bar| Some(format!("{}: {}", b.label, b.not_finite.words("step's time", "steps' times")?));
        self.bars.iter().filter_map(of).collect()
    }

    fn not_shown(&self, page: &Page) -> Vec<LeftOut> {
        let labels: Vec<String> = self.bars.iter().map(|b| b.label.clone()).collect();
        let shown: Vec<usize> = (0..self.shown(page).len()).collect();
        LeftOut::of(if self.stages { "stages" } else { "runs" }, &labels, &shown, false).into_iter().collect()
    }
}
