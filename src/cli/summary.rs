//! What a finished run prints: what was measured, and what can be done with it.

use super::out::say;
use super::table::{Table, duration};
use covft_analyses::stats::{NotFinite, Summary};
use covft_analyses::store::{ALL, BySample, EvalRow, LayerRow, OfSample, PredictionRow, RunDir, StepRow, read_records};

pub(super) fn print(run: &RunDir) -> anyhow::Result<()> {
    let steps = read_records::<StepRow>(run)?.rows;
    let evals = read_records::<EvalRow>(run)?.rows;
    let layers = read_records::<LayerRow>(run)?.rows;
    let Some(last) = steps.last() else { return Ok(()) };
    let stage = last.stage.clone();
    stages(&steps, &evals);
    say!("");
    scores(&evals, &stage);
    drift(&layers, &stage);
    examples(run, &stage)?;
    let path = run.path().display();
    say!("\nnext:");
    say!("  covft-probe view {path}");
    say!("  covft-probe plot {path}");
    say!("  covft-probe drift {path}/checkpoints/... another/checkpoint");
    say!("records are parquet: pandas.read_parquet(\"{path}/records/layers\")");
    Ok(())
}

fn stages(steps: &[StepRow], evals: &[EvalRow]) {
    let mut table =
        Table::new(&["stage", "steps", "first loss", "last loss", "held-out loss", "step time", "probe share"]);
    let mut at = 0;
    while at < steps.len() {
        let stage = &steps[at].stage;
        let rows: Vec<&StepRow> = steps[at..].iter().take_while(|r| r.stage == *stage).collect();
        at += rows.len();
        let tenth = (rows.len() / 10).max(1);
        let mean = |rows: &[&StepRow]| mean(rows.iter().map(|r| r.loss), |mean| format!("{mean:.3}"));
        let time = rows.iter().map(|r| r.ms_total).sum::<f64>();
        let probe = rows.iter().map(|r| r.ms_probe).sum::<f64>();
        let held_out = evals.iter().rev().find(|e| e.stage == *stage && e.task == ALL);
        table.row([
            stage.clone(),
            rows.len().to_string(),
            mean(&rows[..tenth]),
            mean(&rows[rows.len() - tenth..]),
            held_out.and_then(|e| e.loss).map_or_else(|| "-".into(), |l| format!("{l:.3}")),
            duration(time / 1000.0 / rows.len() as f64),
            format!("{:.1} %", 100.0 * probe / time.max(1e-9)),
        ]);
    }
    table.print();
}

/// The mean of what is finite, with the count of what is not; that count alone where nothing is.
fn mean(values: impl Iterator<Item = f64>, written: impl Fn(f64) -> String) -> String {
    let (finite, left) = NotFinite::split(values);
    let mean = Summary::of(finite).map(|all| written(all.mean));
    match (mean, left.total()) {
        (Some(mean), 0) => mean,
        (Some(mean), _) => format!("{mean} ({})", left.kinds()),
        (None, 0) => "-".to_owned(),
        (None, _) => left.kinds(),
    }
}

fn scores(evals: &[EvalRow], stage: &str) {
    let own: Vec<&EvalRow> = evals.iter().filter(|e| e.stage == stage).collect();
    let Some(last) = own.last().map(|e| (e.split.clone(), e.step)) else { return };
    let mut table = Table::new(&["held-out task", "samples", "loss", "score", "chance", "scorer"]);
    for row in own.iter().filter(|e| (&e.split, e.step) == (&last.0, last.1)) {
        table.row([
            row.task.clone(),
            row.samples.to_string(),
            row.loss.map_or_else(|| "-".into(), |l| format!("{l:.3}")),
            row.score.map_or_else(|| "-".into(), |s| score(s, row.scored)),
            row.chance.map_or_else(|| "-".into(), |c| format!("{:.1} %", 100.0 * c)),
            row.scorer.clone().unwrap_or_default(),
        ]);
    }
    table.print();
}

/// A score with its binomial standard error.
fn score(score: f64, samples: u64) -> String {
    let error = (score * (1.0 - score) / samples.max(1) as f64).sqrt();
    format!("{:.1} ± {:.1} % of {samples}", 100.0 * score, 100.0 * error)
}

fn drift(layers: &[LayerRow], stage: &str) {
    let own: Vec<&LayerRow> = layers.iter().filter(|l| l.stage == stage && l.module == ALL && l.layer != ALL).collect();
    let Some(step) = own.iter().map(|l| l.step).max() else { return };
    say!("");
    let mut table = Table::new(&["vision layer", "drift", "relative", "gradient", "cosine to momentum"]);
    for row in own.iter().filter(|l| l.step == step) {
        // Mean over the stage: one step says little about a direction.
        let cosines: Vec<f64> = own.iter().filter(|l| l.layer == row.layer).filter_map(|l| l.momentum).collect();
        let of = cosines.len();
        table.row([
            row.layer.clone(),
            format!("{:.4}", row.drift),
            row.drift_relative.map_or_else(|| "-".into(), |d| format!("{d:.2e}")),
            row.grad_norm.map_or_else(|| "-".into(), |g| format!("{g:.2e}")),
            mean(cosines.into_iter(), |mean| format!("{mean:+.3} (mean of {of})")),
        ]);
    }
    table.print();
}

/// A few answers: what people look at first.
fn examples(run: &RunDir, stage: &str) -> anyhow::Result<()> {
    let predictions = read_records::<PredictionRow>(run)?.rows;
    let own: Vec<&PredictionRow> = predictions.iter().filter(|p| p.stage == stage).collect();
    let Some(step) = own.iter().map(|p| p.step).max() else { return Ok(()) };
    let samples = covft_analyses::store::read_dataset(run)?;
    let mut known = BySample::default();
    samples.iter().enumerate().for_each(|(i, sample)| known.insert(sample.place(), sample.id(), i));
    say!("");
    let mut shown: Vec<&str> = Vec::new();
    let mut table = Table::new(&["task", "question", "answer", "predicted"]);
    for prediction in own.iter().filter(|p| p.step == step) {
        let Some(sample) = known.of(*prediction).map(|i| &samples[*i]) else { continue };
        let task = sample.task.as_deref().unwrap_or("(none)");
        if shown.contains(&task) {
            continue;
        }
        shown.push(task);
        table.row([task.to_owned(), short(&sample.question), short(&sample.answer), short(&prediction.text)]);
    }
    table.print();
    Ok(())
}

fn short(text: &str) -> String {
    const LONGEST: usize = 44;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_say_what_they_leave_out() {
        let of = |values: &[f64]| mean(values.iter().copied(), |mean| format!("{mean:.1}"));
        assert_eq!(of(&[1.0, 2.0]), "1.5");
        assert_eq!(of(&[1.0, f64::NAN, f64::INFINITY]), "1.0 (1 NaN, 1 infinite)");
        assert_eq!((of(&[f64::NAN]), of(&[])), ("1 NaN".to_owned(), "-".to_owned()));
    }
}
