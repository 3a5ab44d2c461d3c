//! Patch embedding: unfold the pixels once, then a [`linear`](super::linear) layer with the convolution's kernel.

use candle_core::{Result, Tensor, bail};

/// `pixels [B, 3, H, W]` to `[B, (H/p)(W/p), 3 p p]`, patches row by row, each in the order of a convolution kernel
/// `[D, 3, p, p]`. Pixels are data: no gradient flows back to them.
pub fn unfold_patches(pixels: &Tensor, patch: usize) -> Result<Tensor> {
    let (b, c, h, w) = pixels.dims4()?;
    if patch == 0 || h % patch != 0 || w % patch != 0 {
        bail!("an image of {h} x {w} pixels does not divide into patches of {patch}");
    }
    let (rows, columns) = (h / patch, w / patch);
    pixels.detach().reshape((b, c, rows, patch, columns, patch))?.permute((0, 2, 4, 1, 3, 5))?.contiguous()?.reshape((
        b,
        rows * columns,
        c * patch * patch,
    ))
}
