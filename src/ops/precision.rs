//! What composed forms do about short floats (bfloat16, float16): statistics and sums over many rows in float32,
//! products accumulated in float32 and rounded once. In float32 and float64 all of this is the plain operation.

use candle_core::{D, DType, Result, Tensor};

/// Whether `dtype` has fewer digits than master weights have.
pub(super) fn is_short(dtype: DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F16)
}

/// `x` as statistics are computed: float32 where it is shorter, itself otherwise. Its gradient comes back in `x`'s type.
pub fn wide(x: &Tensor) -> Result<Tensor> {
    if is_short(x.dtype()) { x.to_dtype(DType::F32) } else { Ok(x.clone()) }
}

/// `a b`. The CPU has no product of bfloat16 numbers: there the operands are widened (exact) and the result rounded,
/// which is what accelerators do.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() && is_short(a.dtype()) {
        return wide(a)?.matmul(&wide(b)?)?.to_dtype(a.dtype());
    }
    a.matmul(b)
}

/// `x [.., D] + bias [D]`, of one type. The bias's gradient is a sum over all rows: for short floats it is a product
/// with ones, which accumulates in float32 where a sum would stop growing after a few hundred rows.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !is_short(x.dtype()) || !bias.track_op() {
        return x.broadcast_add(bias);
    }
    let d = x.dim(D::Minus1)?;
    let ones = Tensor::ones((x.elem_count() / d, 1), x.dtype(), x.device())?;
    x + matmul(&ones, &bias.reshape((1, d))?)?.reshape(x.dims())?
}

/// Softmax over the last dimension, in float32 where `x` is shorter; the result has `x`'s type.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax(&wide(x)?, D::Minus1)?.to_dtype(x.dtype())
}
