//! Softmax attention.

use super::call::{Call, typed};
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent};
use candle_core::{DType, Result, Tensor, bail};

pub(super) static SHORT: Source = source!("attention", "attention");
pub(super) static FULL: Source = source!("attention_f32", "attention");

/// Threads of a block: as in attention.cuh.
const THREADS: u32 = 128;

/// Heads and mask.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Query `i` of `n_q` sees keys up to `i + n_k - n_q`.
    pub causal: bool,
    /// Valid keys of each sample, int32 `[B]`.
    pub lengths: Option<Tensor>,
}

/// Whether there are kernels for this type and width of a head.
#[must_use]
pub fn attention_fits(dtype: DType, d: usize) -> bool {
    matches!(dtype, DType::F32 | DType::BF16) && (1..=128).contains(&d)
}

/// How a kernel cuts its work into tiles: as in attention.cu and attention_f32.cu.
struct Tiles {
    /// The width that a head is filled up to.
    width: usize,
    /// Rows of a block.
    rows: usize,
    /// How many keys pass at a time forward, and how many keys or queries on the way back.
    passing: [usize; 2],
}

struct Sizes {
    batch: usize,
    n_q: usize,
    n_k: usize,
    d: usize,
    dtype: DType,
}

impl Sizes {
    fn new(q: &Tensor, k: &Tensor, mask: &AttentionMask) -> Result<Self> {
        let ((batch, n_q, width), (b, n_k, kv_width)) = (q.dims3()?, k.dims3()?);
        let d = width / mask.heads;
        let fits = b == batch && d * mask.heads == width && d * mask.kv_heads == kv_width;
        if !fits || !mask.heads.is_multiple_of(mask.kv_heads) || !attention_fits(q.dtype(), d) {
            bail!("attention: no kernel for q {:?} {:?}, k {:?}, {mask:?}", q.dims(), q.dtype(), k.dims());
        }
        Ok(Self { batch, n_q, n_k, d, dtype: q.dtype() })
    }

    fn tiles(&self) -> Tiles {
        let width = match self.d {
            0..=32 => 32,
            33..=64 => 64,
            _ => 128,
        };
        let (rows, passing) = match (self.dtype, width) {
            (DType::BF16, 128) => (64, [32, 16]),
            (DType::BF16, _) => (64, [32, 32]),
            (_, 128) => (32, [8, 8]),
            _ => (32, [32, 32]),
        };
        Tiles { width, rows, passing }
    }

    fn queries(&self, heads: usize) -> usize {
        self.batch * self.n_q * heads
    }

    fn keys(&self, heads: usize) -> usize {
        self.batch * self.n_k * heads
    }

    /// Shared memory of `own` tiles of a block's rows and two tiles of `passing` rows, and in float32 of `shares` numbers for
    /// every pair of theirs. Rows lie a little apart.
    fn shared(&self, own: usize, passing: usize, shares: usize) -> u32 {
        let Tiles { width, rows, .. } = self.tiles();
        let bytes = match self.dtype {
            DType::BF16 => (own * rows + 2 * passing) * (width + 8) * 2,
            _ => ((own * rows + 2 * passing) * (width + 1) + shares * rows * (passing + 1)) * 4,
        };
        bytes as u32
    }

    fn call<'c>(&self, engine: &'c Engine, entry: &str) -> Result<Call<'c>> {
        let source = if self.dtype == DType::BF16 { &SHORT } else { &FULL };
        Ok(Call::new(engine, source, format!("{}_{}", typed(entry, self.dtype)?, self.tiles().width)))
    }

    /// The numbers that every kernel ends with.
    fn shape<'c>(&self, call: Call<'c>, mask: &AttentionMask) -> Result<Call<'c>> {
        let call = call.int(self.n_q)?.int(self.n_k)?.int(mask.heads)?.int(mask.kv_heads)?.int(self.d)?;
        Ok(call.int(usize::from(mask.causal))?.float(1.0 / (self.d as f32).sqrt()))
    }
}

/// `q [B, N_q, heads * d]`, `k, v [B, N_k, kv_heads * d]` to the output, like `q`, and the rows' log-sum-exps
/// `[B, heads, N_q]` in units of log 2, float32.
pub fn attention(engine: &Engine, q: &Tensor, k: &Tensor, v: &Tensor, mask: &AttentionMask) -> Result<(Fresh, Tensor)> {
    let sizes = Sizes::new(q, k, mask)?;
    let (rows, keys) = (sizes.queries(mask.heads), sizes.keys(mask.kv_heads) * sizes.d);
    let (dtype, tiles) = (sizes.dtype, sizes.tiles());
    let (mut out, mut lse) = (Fresh::new(engine, dtype, rows * sizes.d)?, Fresh::new(engine, DType::F32, rows)?);
    let lent = (Lent::of(q)?, Lent::of(k)?, Lent::of(v)?, mask.lengths.as_ref().map(Lent::of).transpose()?);
    let call = sizes
        .call(engine, "attention_forward")?
        .input(&lent.0, dtype, rows * sizes.d)?
        .input(&lent.1, dtype, keys)?
        .input(&lent.2, dtype, keys)?
        .input_or_none(lent.3.as_ref(), DType::I32, sizes.batch)?
        .output(&mut out, dtype, rows * sizes.d)?
        .output(&mut lse, DType::F32, rows)?;
    let blocks = [sizes.n_q.div_ceil(tiles.rows) as u32, mask.heads as u32, sizes.batch as u32];
    sizes.shape(call, mask)?.run(blocks, THREADS, sizes.shared(1, tiles.passing[0], 1))?;
    Ok((out, lse.into_tensor(&[sizes.batch, mask.heads, sizes.n_q])?))
}

/// Gradients of `q`, `k` and `v`. `out` and `lse` as [`attention`] gave them.
pub fn attention_backward(
    engine: &Engine,
    [q, k, v]: [&Tensor; 3],
    out: &Tensor,
    lse: &Tensor,
    grad: &Tensor,
    mask: &AttentionMask,
) -> Result<[Tensor; 3]> {
    let sizes = Sizes::new(q, k, mask)?;
    let (rows, keys) = (sizes.queries(mask.heads), sizes.keys(mask.kv_heads) * sizes.d);
    let (dtype, tiles, delta) = (sizes.dtype, sizes.tiles(), delta(engine, out, grad, &sizes, mask.heads)?);
    let [mut dq, mut dk, mut dv] = [
        Fresh::new(engine, dtype, rows * sizes.d)?,
        Fresh::new(engine, dtype, keys)?,
        Fresh::new(engine, dtype, keys)?,
    ];
    let lent = [Lent::of(q)?, Lent::of(k)?, Lent::of(v)?, Lent::of(grad)?, Lent::of(lse)?, Lent::of(&delta)?];
    let lengths = mask.lengths.as_ref().map(Lent::of).transpose()?;
    let call = |entry: &str| {
        sizes
            .call(engine, entry)?
            .input(&lent[0], dtype, rows * sizes.d)?
            .input(&lent[1], dtype, keys)?
            .input(&lent[2], dtype, keys)?
            .input_or_none(lengths.as_ref(), DType::I32, sizes.batch)?
            .input(&lent[3], dtype, rows * sizes.d)?
            .input(&lent[4], DType::F32, rows)?
            .input(&lent[5], DType::F32, rows)
    };
    let shared = |shares| sizes.shared(2, tiles.passing[1], shares);
    let batch = sizes.batch as u32;
    let queries = call("attention_query")?.output(&mut dq, dtype, rows * sizes.d)?;
    sizes.shape(queries, mask)?.run(
        [sizes.n_q.div_ceil(tiles.rows) as u32, mask.heads as u32, batch],
        THREADS,
        shared(1),
    )?;
    let both = call("attention_keys")?.output(&mut dk, dtype, keys)?.output(&mut dv, dtype, keys)?;
    sizes.shape(both, mask)?.run(
        [sizes.n_k.div_ceil(tiles.rows) as u32, mask.kv_heads as u32, batch],
        THREADS,
        shared(2),
    )?;
    Ok([dq.into_tensor(q.dims())?, dk.into_tensor(k.dims())?, dv.into_tensor(v.dims())?])
}

/// `sum(out grad)` of every row.
fn delta(engine: &Engine, out: &Tensor, grad: &Tensor, sizes: &Sizes, heads: usize) -> Result<Tensor> {
    let (rows, dtype) = (sizes.queries(heads), sizes.dtype);
    let mut delta = Fresh::new(engine, DType::F32, rows)?;
    let lent = (Lent::of(out)?, Lent::of(grad)?);
    let source = if dtype == DType::BF16 { &SHORT } else { &FULL };
    Call::new(engine, source, typed("attention_delta", dtype)?)
        .input(&lent.0, dtype, rows * sizes.d)?
        .input(&lent.1, dtype, rows * sizes.d)?
        .output(&mut delta, DType::F32, rows)?
        .int(rows)?
        .int(sizes.n_q)?
        .int(heads)?
        .int(sizes.d)?
        .run([rows.div_ceil(4) as u32, 1, 1], THREADS, 0)?;
    delta.into_tensor(&[rows])
}
