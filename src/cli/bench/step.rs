//! `covft-probe bench step`: a step's time alone, by operation, or beside PyTorch's.

use crate::cli::out::say;
use crate::experiment::beside_torch::{Beside, Compared, Measured, Shim, Torch, cpu_vendor};
use crate::experiment::step_bench::{Method, Preset, Resized, StepBench};
use crate::kernels::dispatch_level;
use crate::ops::profile::{BETWEEN, Direction, Spent};
use anyhow::bail;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  covft-probe bench step --preset tiny --method covft --batch 16
  covft-probe bench step --profile                                         where the time goes, as a Markdown table
  covft-probe bench step --vs-torch --mkl-unlocked --batch 16 --steps 10   this and PyTorch in turn, with the ratios
  PYTHON=venv/bin/python covft-probe bench step --vs-torch --method covft,full,freeze")]
pub(super) struct StepArgs {
    #[command(flatten)]
    sizes: SizeArgs,
    /// How the vision encoder is tuned; several with --vs-torch.
    #[arg(long, value_enum, default_value = "covft", value_delimiter = ',')]
    method: Vec<MethodName>,
    /// Print where the time goes, by part of the model and operation.
    #[arg(long, conflicts_with = "vs_torch")]
    profile: bool,
    /// Run the same step in PyTorch too, in turn, and print both and their ratio; PYTHON names a Python with torch and
    /// transformers (python3 otherwise).
    #[arg(long)]
    vs_torch: bool,
    /// Rounds of both sides in turn; each side is a fresh process every time.
    #[arg(long, default_value_t = 3, requires = "vs_torch")]
    rounds: usize,
    /// Measure PyTorch a second time with MKL's AVX-512 path open on a CPU that is not Intel's (Linux, with a C compiler).
    #[arg(long, requires = "vs_torch")]
    mkl_unlocked: bool,
    /// Let PyTorch's output head, too, see labelled positions only.
    #[arg(long, requires = "vs_torch")]
    text_head: bool,
}

/// Sizes of a step.
#[derive(Debug, clap::Args)]
pub(super) struct SizeArgs {
    /// Model sizes.
    #[arg(long, value_enum, default_value = "tiny")]
    preset: PresetName,
    /// Samples.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Text tokens after the image, all labelled.
    #[arg(long, default_value_t = 48)]
    text_len: usize,
    /// Tokens of the text encoder.
    #[arg(long, default_value_t = 16)]
    question_len: usize,
    /// Timed steps, after two that are not.
    #[arg(long, default_value_t = 8)]
    pub(super) steps: usize,
    /// Side of the image in pixels, instead of the preset's.
    #[arg(long)]
    image_size: Option<usize>,
    /// Blocks of the vision encoder (the last is not used), instead of the preset's.
    #[arg(long)]
    tower_layers: Option<usize>,
    /// Blocks of the language model, instead of the preset's.
    #[arg(long)]
    llm_layers: Option<usize>,
    /// Experts of a CoMoE layer, instead of 4.
    #[arg(long)]
    experts: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetName {
    Tiny,
    Real,
    #[value(name = "real-112")]
    Real112,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MethodName {
    Covft,
    Full,
    Freeze,
}

impl MethodName {
    fn name(self) -> &'static str {
        match self {
            Self::Covft => "covft",
            Self::Full => "full",
            Self::Freeze => "freeze",
        }
    }
}

impl SizeArgs {
    pub(super) fn bench(&self, method: MethodName) -> StepBench {
        StepBench {
            preset: match self.preset {
                PresetName::Tiny => Preset::Tiny,
                PresetName::Real => Preset::Real,
                PresetName::Real112 => Preset::Real112,
            },
            resized: Resized {
                image_size: self.image_size,
                tower_layers: self.tower_layers,
                language_layers: self.llm_layers,
                experts: self.experts,
            },
            method: match method {
                MethodName::Covft => Method::Covft,
                MethodName::Full => Method::Full,
                MethodName::Freeze => Method::Freeze,
            },
            batch: self.batch,
            text_len: self.text_len,
            question_len: self.question_len,
            steps: self.steps,
        }
    }

    /// What a table says about itself.
    pub(super) fn heading(&self) -> String {
        let preset = self.preset.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        format!(
            "{preset}, batch {}, {} text tokens, {}, {} threads",
            self.batch,
            self.text_len,
            dispatch_level(),
            rayon::current_num_threads()
        )
    }
}

pub(super) fn run(args: &StepArgs) -> anyhow::Result<ExitCode> {
    let [method] = args.method[..] else {
        if args.vs_torch {
            return beside(args);
        }
        bail!("several methods go with --vs-torch; without it, a process measures one (its peak memory is its own)");
    };
    if args.vs_torch {
        return beside(args);
    }
    let bench = args.sizes.bench(method);
    if args.profile {
        say!("{}, {}; means of {} steps\n", args.sizes.heading(), method.name(), bench.steps);
        crate::cli::out::text(&profile_table(&bench.profile()?, bench.steps));
    } else {
        say!("{}", serde_json::to_string(&bench.run()?)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn beside(args: &StepArgs) -> anyhow::Result<ExitCode> {
    if args.rounds == 0 || args.sizes.steps == 0 {
        bail!("--rounds and --steps are 1 at least");
    }
    let torch = Torch::find()?;
    let shim = args.mkl_unlocked.then(Shim::build).transpose()?;
    let vendor = cpu_vendor().unwrap_or_else(|| "a CPU of unknown make".to_owned());
    say!("{}; {}; {vendor}", args.sizes.heading(), torch.versions);
    if vendor != "GenuineIntel" && shim.is_none() {
        say!("MKL may keep to AVX2 on this CPU: --mkl-unlocked measures PyTorch on its AVX-512 path, too.");
    }
    say!("Medians over {} rounds of {} steps; in brackets the fastest.\n", args.rounds, args.sizes.steps);
    crate::cli::out::text(HEAD);
    for method in &args.method {
        let bench = args.sizes.bench(*method);
        let compared = Beside { bench, rounds: args.rounds, text_head: args.text_head }.run(&torch, shim.as_ref())?;
        say!("{}", row(method.name(), &compared));
    }
    Ok(ExitCode::SUCCESS)
}

const HEAD: &str = "\
| method | ours, ms | PyTorch, ms | ratio | MKL unlocked, ms | ratio | peak, MiB: ours | PyTorch | after its import | trained: ours | PyTorch |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
";

fn row(method: &str, compared: &Compared) -> String {
    let Compared { ours, torch, unlocked } = compared;
    let ms = |seconds: f64| {
        let ms = seconds * 1e3;
        if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
    };
    let times = |m: &Measured| format!("{} ({})", ms(m.median()), ms(m.fastest()));
    let ratio = |m: &Measured| format!("{:.2}", ours.median() / m.median());
    let or_dash = |of: &dyn Fn(&Measured) -> String| unlocked.as_ref().map_or_else(|| "-".to_owned(), of);
    format!(
        "| {method} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        times(ours),
        times(torch),
        ratio(torch),
        or_dash(&times),
        or_dash(&ratio),
        ours.peak_mib,
        torch.peak_mib,
        torch.imported_mib.map_or_else(|| "-".to_owned(), |m| m.to_string()),
        ours.trainable,
        torch.trainable
    )
}

/// Forward and backward milliseconds a step by part and operation, most expensive first; what is below a two-hundredth of
/// the step is put together by part.
fn profile_table(spent: &Spent, steps: usize) -> String {
    let steps = steps.max(1) as f64;
    let inside = || spent.iter().filter(|(entry, _)| entry.part != "outside");
    let total: f64 = inside().map(|(_, s)| s.0.as_secs_f64()).sum();
    let mut cells: BTreeMap<(&str, &str), [f64; 3]> = BTreeMap::new();
    for (entry, (time, calls)) in inside() {
        let cell = cells.entry((entry.part, entry.op)).or_default();
        cell[usize::from(entry.direction == Direction::Backward)] += time.as_secs_f64();
        cell[2] += if entry.op == BETWEEN { 0.0 } else { *calls as f64 };
    }
    let mut rows: BTreeMap<(&str, &str), [f64; 3]> = BTreeMap::new();
    for ((part, op), [forward, backward, calls]) in cells {
        let op = if forward + backward < total / 200.0 { "(rest)" } else { op };
        let row = rows.entry((part, op)).or_default();
        for (sum, more) in row.iter_mut().zip([forward, backward, calls]) {
            *sum += more;
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|a, b| (b.1[0] + b.1[1]).total_cmp(&(a.1[0] + a.1[1])));
    let mut text =
        String::from("| part | operation | forward, ms | backward, ms | share |\n| --- | --- | ---: | ---: | ---: |\n");
    for ((part, op), [forward, backward, _]) in rows {
        let ms = |s: f64| format!("{:.2}", s / steps * 1e3);
        let share = (forward + backward) / total * 100.0;
        text += &format!("| {part} | {op} | {} | {} | {share:.1} % |\n", ms(forward), ms(backward));
    }
    text += &format!("| all | | | {:.2} | 100 % |\n", total / steps * 1e3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::profile::Entry;
    use std::time::Duration;

    #[test]
    fn a_row_says_both_ratios() {
        let side = |s: f64, mib| Measured {
            all: vec![s, s * 3.0, s * 2.0],
            peak_mib: mib,
            imported_mib: Some(300),
            trainable: 7,
        };
        let mut compared = Compared { ours: side(0.01, 100), torch: side(0.02, 900), unlocked: Some(side(0.1, 900)) };
        let line = row("covft", &compared);
        let want = "| covft | 20.0 (10.0) | 40.0 (20.0) | 0.50 | 200 (100) | 0.10 | 100 | 900 | 300 | 7 | 7 |";
        assert_eq!(line, want);
        assert_eq!(line.matches('|').count(), HEAD.lines().next().unwrap().matches('|').count());
        compared.unlocked = None;
        assert!(row("covft", &compared).contains("| 0.50 | - | - |"));
    }

    #[test]
    fn a_profile_puts_small_things_together() {
        let entry = |op, direction| Entry { part: "vision encoder", op, direction };
        let spent: Spent = [
            (entry("linear", Direction::Forward), (Duration::from_millis(40), 4)),
            (entry("linear", Direction::Backward), (Duration::from_millis(150), 4)),
            (entry("norm", Direction::Forward), (Duration::from_micros(300), 4)),
            (entry("rope", Direction::Forward), (Duration::from_micros(200), 4)),
            (Entry { part: "outside", op: BETWEEN, direction: Direction::Update }, (Duration::from_secs(9), 1)),
        ]
        .into();
        let table = profile_table(&spent, 2);
        assert!(table.contains("| vision encoder | linear | 20.00 | 75.00 | 99.7 % |"), "{table}");
        assert!(table.contains("| vision encoder | (rest) | 0.25 | 0.00 | 0.3 % |"), "{table}");
        assert!(table.ends_with("| all | | | 95.25 | 100 % |\n"), "{table}");
    }
}
