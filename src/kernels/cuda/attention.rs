//! Softmax attention in bfloat16.

use super::call::Call;
use super::engine::{Engine, Source, source};
use super::memory::{Fresh, Lent};
use candle_core::{DType, Result, Tensor, bail};

pub(super) static SOURCE: Source = source!("attention");

/// Rows of a block, and its threads: as in attention.cu.
const ROWS: usize = 64;
const THREADS: u32 = 128;
/// Keys that pass at a time forward.
const KEYS: usize = 32;
const BF16: DType = DType::BF16;

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
    dtype == BF16 && (1..=128).contains(&d)
}

/// The width that a head is filled up to, and how many keys or queries pass at a time on the way back.
const fn padded(d: usize) -> (usize, usize) {
    match d {
        0..=32 => (32, 32),
        33..=64 => (64, 32),
        _ => (128, 16),
    }
}

struct Sizes {
    batch: usize,
    n_q: usize,
    n_k: usize,
    d: usize,
}

impl Sizes {
    fn new(q: &Tensor, k: &Tensor, mask: &AttentionMask) -> Result<Self> {
        let ((batch, n_q, width), (b, n_k, kv_width)) = (q.dims3()?, k.dims3()?);
        let d = width / mask.heads;
        let fits = b == batch && d * mask.heads == width && d * mask.kv_heads == kv_width;
        if !fits || !mask.heads.is_multiple_of(mask.kv_heads) || !attention_fits(q.dtype(), d) {
            bail!("attention: no kernel for q {:?} {:?}, k {:?}, {mask:?}", q.dims(), q.dtype(), k.dims());
        }
        Ok(Self { batch, n_q, n_k, d })
    }

    fn queries(&self, heads: usize) -> usize {
        self.batch * self.n_q * heads
    }

    fn keys(&self, heads: usize) -> usize {
        self.batch * self.n_k * heads
    }

    /// Shared memory of `tiles` rows.
    fn shared(&self, rows: usize) -> u32 {
        (rows * (padded(self.d).0 + 8) * BF16.size_in_bytes()) as u32
    }

    fn name(&self, entry: &str) -> String {
        format!("{entry}_{}", padded(self.d).0)
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
    let (mut out, mut lse) = (Fresh::new(engine, BF16, rows * sizes.d)?, Fresh::new(engine, DType::F32, rows)?);
    let lent = (Lent::of(q)?, Lent::of(k)?, Lent::of(v)?, mask.lengths.as_ref().map(Lent::of).transpose()?);
    let call = Call::new(engine, &SOURCE, sizes.name("attention_forward"))
        .input(&lent.0, BF16, rows * sizes.d)?
        .input(&lent.1, BF16, keys)?
        .input(&lent.2, BF16, keys)?
        .input_or_none(lent.3.as_ref(), DType::I32, sizes.batch)?
        .output(&mut out, BF16, rows * sizes.d)?
        .output(&mut lse, DType::F32, rows)?;
    let blocks = [sizes.n_q.div_ceil(ROWS) as u32, mask.heads as u32, sizes.batch as u32];
    sizes.shape(call, mask)?.run(blocks, THREADS, sizes.shared(ROWS + 2 * KEYS))?;
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
    let delta = delta(engine, out, grad, &sizes, mask.heads)?;
    let [mut dq, mut dk, mut dv] =
        [Fresh::new(engine, BF16, rows * sizes.d)?, Fresh::new(engine, BF16, keys)?, Fresh::new(engine, BF16, keys)?];
    let lent = [Lent::of(q)?, Lent::of(k)?, Lent::of(v)?, Lent::of(grad)?, Lent::of(lse)?, Lent::of(&delta)?];
    let lengths = mask.lengths.as_ref().map(Lent::of).transpose()?;
    let call = |entry: &str| {
        Call::new(engine, &SOURCE, sizes.name(entry))
            .input(&lent[0], BF16, rows * sizes.d)?
            .input(&lent[1], BF16, keys)?
            .input(&lent[2], BF16, keys)?
            .input_or_none(lengths.as_ref(), DType::I32, sizes.batch)?
            .input(&lent[3], BF16, rows * sizes.d)?
            .input(&lent[4], DType::F32, rows)?
            .input(&lent[5], DType::F32, rows)
    };
    let shared = sizes.shared(2 * ROWS + 2 * padded(sizes.d).1);
    let batch = sizes.batch as u32;
    let queries = call("attention_query")?.output(&mut dq, BF16, rows * sizes.d)?;
    sizes.shape(queries, mask)?.run([sizes.n_q.div_ceil(ROWS) as u32, mask.heads as u32, batch], THREADS, shared)?;
    let both = call("attention_keys")?.output(&mut dk, BF16, keys)?.output(&mut dv, BF16, keys)?;
    sizes.shape(both, mask)?.run([sizes.n_k.div_ceil(ROWS) as u32, mask.kv_heads as u32, batch], THREADS, shared)?;
    Ok([dq.into_tensor(q.dims())?, dk.into_tensor(k.dims())?, dv.into_tensor(v.dims())?])
}

/// `sum(out grad)` of every row.
fn delta(engine: &Engine, out: &Tensor, grad: &Tensor, sizes: &Sizes, heads: usize) -> Result<Tensor> {
    let rows = sizes.queries(heads);
    let mut delta = Fresh::new(engine, DType::F32, rows)?;
    let lent = (Lent::of(out)?, Lent::of(grad)?);
    Call::new(engine, &SOURCE, "attention_delta".into())
        .input(&lent.0, BF16, rows * sizes.d)?
        .input(&lent.1, BF16, rows * sizes.d)?
        .output(&mut delta, DType::F32, rows)?
        .int(rows)?
        .int(sizes.n_q)?
        .int(heads)?
        .int(sizes.d)?
        .run([rows.div_ceil(4) as u32, 1, 1], THREADS, 0)?;
    delta.into_tensor(&[rows])
}
