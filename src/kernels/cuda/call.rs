//! One launch: arguments are checked as they are added, in the kernel's order.

use super::engine::{Arg, Engine, Grid, Source};
use super::memory::{Fresh, Lent, Span};
use candle_core::{DType, Result, bail};
use std::fmt;

/// Threads of a block where nothing says otherwise.
pub(super) const THREADS: u32 = 256;

/// A kernel's name for numbers of `dtype`.
pub(super) fn typed(entry: &str, dtype: DType) -> Result<String> {
    match dtype {
        DType::F32 => Ok(format!("{entry}_f32")),
        DType::BF16 => Ok(format!("{entry}_bf16")),
        other => bail!("{entry}: no kernel for {other:?}"),
    }
}

/// A size as a kernel's int.
pub(super) fn int(size: usize) -> Result<i32> {
    match i32::try_from(size) {
        Ok(size) => Ok(size),
        Err(_) => bail!("{size} is too large for a kernel"),
    }
}

pub(super) struct Call<'c> {
    engine: &'c Engine,
    source: &'static Source,
    entry: String,
    args: Vec<Arg>,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.entry, self.args)
    }
}

impl<'c> Call<'c> {
    pub(super) const fn new(engine: &'c Engine, source: &'static Source, entry: String) -> Self {
        Self { engine, source, entry, args: Vec::new() }
    }

    fn address(mut self, span: Span, dtype: DType, len: usize) -> Result<Self> {
        if span.dtype != dtype || span.len != len {
            let at = self.args.len();
            bail!("{}: argument {at} is {} {:?}, not {len} {dtype:?}", self.entry, span.len, span.dtype);
        }
        self.args.push(Arg::Pointer(span.address));
        Ok(self)
    }

    /// `len` numbers to read.
    pub(super) fn input(self, lent: &'c Lent<'_>, dtype: DType, len: usize) -> Result<Self> {
        self.address(lent.span, dtype, len)
    }

    /// The same, or a null pointer.
    pub(super) fn input_or_none(mut self, lent: Option<&'c Lent<'_>>, dtype: DType, len: usize) -> Result<Self> {
        if let Some(lent) = lent {
            return self.input(lent, dtype, len);
        }
        self.args.push(Arg::Pointer(0));
        Ok(self)
    }

    /// `len` numbers to write.
    pub(super) fn output(self, fresh: &mut Fresh, dtype: DType, len: usize) -> Result<Self> {
        let span = fresh.span()?;
        self.address(span, dtype, len)
    }

    /// The same, or a null pointer.
    pub(super) fn output_or_none(mut self, fresh: Option<&mut Fresh>, dtype: DType, len: usize) -> Result<Self> {
        if let Some(fresh) = fresh {
            return self.output(fresh, dtype, len);
        }
        self.args.push(Arg::Pointer(0));
        Ok(self)
    }

    /// `len` numbers to change in place.
    pub(super) fn changed(self, span: Span, dtype: DType, len: usize) -> Result<Self> {
        self.address(span, dtype, len)
    }

    /// The same, or a null pointer.
    pub(super) fn changed_or_none(mut self, span: Option<&Span>, dtype: DType, len: usize) -> Result<Self> {
        if let Some(span) = span {
            return self.changed(*span, dtype, len);
        }
        self.args.push(Arg::Pointer(0));
        Ok(self)
    }

    pub(super) fn int(mut self, value: usize) -> Result<Self> {
        self.args.push(Arg::Int(int(value)?));
        Ok(self)
    }

    pub(super) fn long(mut self, value: usize) -> Self {
        self.args.push(Arg::Long(value as i64));
        self
    }

    pub(super) fn float(mut self, value: f32) -> Self {
        self.args.push(Arg::Float(value));
        self
    }

    /// A loop over `n` elements with stride.
    pub(super) fn run_over(self, n: usize) -> Result<()> {
        let blocks = self.engine.blocks_over(n) as u32;
        self.run([blocks, 1, 1], THREADS, 0)
    }

    /// Queues it.
    pub(super) fn run(self, blocks: [u32; 3], threads: u32, shared: u32) -> Result<()> {
        if blocks.contains(&0) || blocks[1] > 65_535 || blocks[2] > 65_535 {
            bail!("{}: a grid of {blocks:?} blocks", self.entry);
        }
        let grid = Grid { blocks, threads, shared };
        // SAFETY: every function of this module adds the arguments in the order of its kernel, of the types and lengths that
        // the kernel states; addresses live as long as the borrowed operands, or are freed on the same stream after it.
        unsafe { self.engine.launch(self.source, &self.entry, grid, &self.args) }
    }
}
