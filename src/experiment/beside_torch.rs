//! The step of [`step_bench`](super::step_bench) in processes of its own, and the same network's in PyTorch, in turn.
//!
//! Every measurement is a fresh process, so that peak memory is its own. PyTorch's side is `scripts/torch_step.py`, which
//! this program carries with it.

use super::step_bench::{Method, Preset, Resized, StepBench, StepReport, median};
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// PyTorch's side.
const SCRIPT: &str = include_str!("../../scripts/torch_step.py");

/// MKL asks this function whether the CPU is Intel's before it takes its AVX-512 path.
const SHIM: &str = "int mkl_serv_intel_cpu_true(void) { return 1; }\n";

/// Where to get what is missing.
const INSTALL: &str = "pip install torch==2.11.0 transformers==4.57.6, or name another Python in PYTHON";

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// No such program.
    #[error("cannot start {} ({source}); install Python 3, then {INSTALL}", python.to_string_lossy())]
    NoPython {
        /// What was started.
        python: OsString,
        /// Why not.
        source: std::io::Error,
    },
    /// Python without what it needs.
    #[error("{} has no PyTorch with transformers ({why}); {INSTALL}", python.to_string_lossy())]
    NoTorch {
        /// The Python.
        python: OsString,
        /// The last line of what it said.
        why: String,
    },
    /// The shim cannot be used here.
    #[error(
        "MKL can be unlocked on Linux only, where a library can be loaded before a program's own; leave --mkl-unlocked out"
    )]
    NoPreload,
    /// The shim cannot be made.
    #[error(
        "--mkl-unlocked compiles one line of C with `{compiler}`, which failed ({why}); install a C compiler or name one in CC"
    )]
    NoCompiler {
        /// The compiler.
        compiler: String,
        /// What it said.
        why: String,
    },
    /// A measurement ended badly.
    #[error("{side} ended with {status}: {why}")]
    Failed {
        /// Which side.
        side: &'static str,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The last lines of what it said.
        why: String,
    },
    /// A measurement said something else than its line.
    #[error("{side} did not print its line of measurements ({source})")]
    Line {
        /// Which side.
        side: &'static str,
        /// Why it cannot be read.
        source: serde_json::Error,
    },
    /// A process could not be started, or a file not written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BesideError {
    let what = what.into();
    |source| BesideError::Io { what, source }
}

/// What one side measured in all rounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Seconds of every timed step.
    pub all: Vec<f64>,
    /// Largest resident size of its processes in MiB.
    pub peak_mib: u64,
    /// Resident size once PyTorch was imported and nothing built yet, in MiB.
    pub imported_mib: Option<u64>,
    /// Trained numbers.
    pub trainable: usize,
}

impl Measured {
    /// Median step in seconds.
    #[must_use]
    pub fn median(&self) -> f64 {
        median(&self.all)
    }

    /// Fastest step in seconds.
    #[must_use]
    pub fn fastest(&self) -> f64 {
        self.all.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn add(&mut self, line: Line) {
        self.all.extend(line.all);
        self.peak_mib = self.peak_mib.max(line.peak_mib.unwrap_or(0));
        self.imported_mib = line.imported_mib.or(self.imported_mib);
        self.trainable = line.trainable;
    }
}

/// What both sides print.
#[derive(Debug, Deserialize)]
struct Line {
    all: Vec<f64>,
    peak_mib: Option<u64>,
    imported_mib: Option<u64>,
    trainable: usize,
}

/// What is to be measured beside each other.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    /// The step.
    pub bench: StepBench,
    /// Rounds; both sides run once in each.
    pub rounds: usize,
    /// Whether PyTorch's output head, too, sees labelled positions only.
    pub text_head: bool,
}

/// Both sides' measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// This program.
    pub ours: Measured,
    /// PyTorch as it is installed.
    pub torch: Measured,
    /// PyTorch with MKL told that the CPU is Intel's.
    pub unlocked: Option<Measured>,
}

impl Beside {
    /// Runs both sides in turn, whoever begins changing from round to round.
    ///
    /// # Errors
    /// A side that fails.
    pub fn run(&self, torch: &Torch, shim: Option<&Shim>) -> Result<Compared, BesideError> {
        let mut sides = [Measured::default(), Measured::default(), Measured::default()];
        let count = if shim.is_some() { 3 } else { 2 };
        for round in 0..self.rounds {
            for place in 0..count {
                let side = (place + round) % count;
                let line = match side {
                    0 => in_fresh_process(&self.bench).map(|report| Line {
                        all: report.all,
                        peak_mib: report.peak_mib,
                        imported_mib: None,
                        trainable: report.trainable,
                    })?,
                    1 => torch.step(self, None)?,
                    _ => torch.step(self, shim)?,
                };
                sides[side].add(line);
            }
        }
        let [ours, stock, unlocked] = sides;
        Ok(Compared { ours, torch: stock, unlocked: shim.map(|_| unlocked) })
    }
}

/// Arguments that both sides understand.
fn arguments(bench: &StepBench) -> Vec<String> {
    let preset = match bench.preset {
        Preset::Tiny => "tiny",
        Preset::Real => "real",
        Preset::Real112 => "real-112",
    };
    let method = match bench.method {
        Method::Covft => "covft",
        Method::Full => "full",
        Method::Freeze => "freeze",
    };
    let mut all = vec!["--preset".to_owned(), preset.to_owned(), "--method".to_owned(), method.to_owned()];
    let Resized { image_size, tower_layers, language_layers, experts } = bench.resized;
    let numbers = [
        ("--batch", Some(bench.batch)),
        ("--text-len", Some(bench.text_len)),
        ("--question-len", Some(bench.question_len)),
        ("--steps", Some(bench.steps)),
        ("--image-size", image_size),
        ("--tower-layers", tower_layers),
        ("--llm-layers", language_layers),
        ("--experts", experts),
    ];
    for (name, number) in numbers {
        all.extend(number.iter().flat_map(|n| [name.to_owned(), n.to_string()]));
    }
    all
}

/// [`StepBench::run`] in a fresh process of this program.
///
/// # Errors
/// The process cannot be started or fails.
pub fn in_fresh_process(bench: &StepBench) -> Result<StepReport, BesideError> {
    let program = std::env::current_exe().map_err(io("find this program's file"))?;
    let mut command = Command::new(program);
    command.args(["bench", "step"]).args(arguments(bench)).stdin(Stdio::null());
    let output = command.output().map_err(io("start this program again"))?;
    parse("covft-probe", &output)
}

fn parse<T: for<'d> Deserialize<'d>>(side: &'static str, output: &Output) -> Result<T, BesideError> {
    if !output.status.success() {
        return Err(BesideError::Failed { side, status: output.status, why: last_lines(&output.stderr, 4) });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next_back().unwrap_or("");
    serde_json::from_str(line).map_err(|source| BesideError::Line { side, source })
}

fn last_lines(text: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" / ")
}

/// A Python with PyTorch.
#[derive(Clone, Debug)]
pub struct Torch {
    python: OsString,
    /// `torch 2.11.0, transformers 4.57.6`
    pub versions: String,
}

impl Torch {
    /// The Python that `PYTHON` names, `python3` otherwise.
    ///
    /// # Errors
    /// There is none, or it lacks PyTorch or transformers; the message says what to install.
    pub fn find() -> Result<Self, BesideError> {
        Self::at(std::env::var_os("PYTHON").filter(|p| !p.is_empty()).unwrap_or_else(|| "python3".into()))
    }

    fn at(python: OsString) -> Result<Self, BesideError> {
        let ask =
            "import torch, transformers; print(f'torch {torch.__version__}, transformers {transformers.__version__}')";
        let output = Command::new(&python).args(["-c", ask]).stdin(Stdio::null()).output();
        let output = output.map_err(|source| BesideError::NoPython { python: python.clone(), source })?;
        if !output.status.success() {
            return Err(BesideError::NoTorch { python, why: last_lines(&output.stderr, 1) });
        }
        let versions = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { python, versions })
    }

    fn step(&self, beside: &Beside, shim: Option<&Shim>) -> Result<Line, BesideError> {
        let mut command = Command::new(&self.python);
        command.arg("-").args(arguments(&beside.bench));
        command.args(["--threads", &rayon::current_num_threads().to_string()]);
        if beside.text_head {
            command.arg("--text-head");
        }
        if let Some(shim) = shim {
            command.env("LD_PRELOAD", preloads(&shim.library, std::env::var_os("LD_PRELOAD").as_deref()));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(io("start Python"))?;
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(SCRIPT.as_bytes()));
        let output = child.wait_with_output().map_err(io("wait for Python"))?;
        // A Python that died before it read its script says why itself.
        if output.status.success() {
            written.map_err(io("hand the script to Python"))?;
        }
        parse("PyTorch", &output)
    }
}

fn preloads(library: &Path, already: Option<&OsStr>) -> OsString {
    let mut all = library.as_os_str().to_owned();
    if let Some(already) = already.filter(|a| !a.is_empty()) {
        all.push(":");
        all.push(already);
    }
    all
}

/// A library that tells MKL that the CPU is Intel's, for as long as this value lives.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    /// Removed with the value.
    _folder: tempfile::TempDir,
}

impl Shim {
    /// Compiles it with `CC`, `cc` otherwise, in a temporary folder.
    ///
    /// # Errors
    /// Not Linux; no C compiler.
    pub fn build() -> Result<Self, BesideError> {
        if !cfg!(target_os = "linux") {
            return Err(BesideError::NoPreload);
        }
        Self::with(&std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()))
    }

    fn with(compiler: &str) -> Result<Self, BesideError> {
        let failed = |why: String| BesideError::NoCompiler { compiler: compiler.to_owned(), why };
        let folder = tempfile::tempdir().map_err(io("make a temporary folder"))?;
        let (source, library) = (folder.path().join("shim.c"), folder.path().join("mkl-unlocked.so"));
        std::fs::write(&source, SHIM).map_err(io(format!("write {}", source.display())))?;
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).stdin(Stdio::null());
        let output = command.output().map_err(|e| failed(e.to_string()))?;
        if !output.status.success() {
            return Err(failed(last_lines(&output.stderr, 2)));
        }
        Ok(Self { library, _folder: folder })
    }
}

/// Who made this CPU, where the system tells (`GenuineIntel`, `AuthenticAMD`).
#[must_use]
pub fn cpu_vendor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("vendor_id"))?;
    line.split(':').nth(1).map(|vendor| vendor.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> StepBench {
        let resized = Resized { experts: Some(8), ..Resized::default() };
        let (preset, method) = (Preset::Real112, Method::Covft);
        StepBench { preset, resized, method, batch: 4, text_len: 48, question_len: 16, steps: 3 }
    }

    #[test]
    fn both_sides_are_told_the_same() {
        let line = arguments(&bench()).join(" ");
        let want = "--preset real-112 --method covft --batch 4 --text-len 48 --question-len 16 --steps 3 --experts 8";
        assert_eq!(line, want);
        for name in ["preset", "method", "batch", "text-len", "question-len", "steps", "experts", "image-size"] {
            assert!(SCRIPT.contains(&format!("\"--{name}\"")), "{name}");
        }
    }

    #[test]
    fn a_missing_python_or_library_says_what_to_do() {
        let error = Torch::at("no-such-python".into()).unwrap_err().to_string();
        assert!(error.contains("no-such-python") && error.contains("pip install torch"), "{error}");
        // `false` is a Python that imports nothing.
        let error = Torch::at("false".into()).unwrap_err().to_string();
        assert!(error.contains("has no PyTorch") && error.contains("pip install torch"), "{error}");
    }

    #[test]
    fn a_missing_compiler_says_what_to_do() {
        let error = Shim::with("no-such-compiler").unwrap_err().to_string();
        assert!(error.contains("no-such-compiler") && error.contains("CC"), "{error}");
        assert!(Shim::with("false").is_err());
    }

    #[test]
    fn what_was_preloaded_stays_so() {
        let library = Path::new("/a/b.so");
        assert_eq!(preloads(library, None), "/a/b.so");
        assert_eq!(preloads(library, Some(OsStr::new("c.so"))), "/a/b.so:c.so");
    }

    #[test]
    fn the_last_line_counts_and_failures_carry_their_words() {
        let ok =
            Command::new("sh").args(["-c", "echo hello; echo '{\"all\":[1.0],\"trainable\":3}'"]).output().unwrap();
        let line: Line = parse("x", &ok).unwrap();
        let mut measured = Measured::default();
        measured.add(line);
        assert_eq!((measured.median(), measured.fastest(), measured.trainable), (1.0, 1.0, 3));
        let bad = Command::new("sh").args(["-c", "echo why >&2; exit 3"]).output().unwrap();
        let error = parse::<Line>("x", &bad).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
        let silent = Command::new("true").output().unwrap();
        assert!(parse::<Line>("x", &silent).is_err());
    }
}
