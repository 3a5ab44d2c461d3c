//! Patch embedding: unfold the pixels once, then a [`linear`](super::linear) layer with the convolution's kernel.

use super::graph::{fits, host};
use super::weight::read_f32;
use crate::kernels;
use candle_core::{Result, Tensor, bail};

/// `pixels [B, 3, H, W]` to `[B, (H/p)(W/p), 3 p p]`, patches row by row, each in the order of a convolution kernel
/// `[D, 3, p, p]`. Pixels are data: no gradient flows back to them.
pub fn unfold_patches(pixels: &Tensor, patch: usize) -> Result<Tensor> {
    let (b, c, h, w) = pixels.dims4()?;
    if patch == 0 || h % patch != 0 || w % patch != 0 {
        bail!("an image of {h} x {w} pixels does not divide into patches of {patch}");
    }
    let (rows, columns) = (h / patch, w / patch);
    if fits(&[pixels]) {
        let patches = read_f32(&pixels.detach().contiguous()?, |x| kernels::unfold_patches(x, [b, c, h, w], patch))?;
        return host(patches, &[b, rows * columns, c * patch * patch]);
    }
    composed(pixels, patch)
}

/// The same in plain tensor operations.
pub(crate) fn composed(pixels: &Tensor, patch: usize) -> Result<Tensor> {
    let (b, c, h, w) = pixels.dims4()?;
    let (rows, columns) = (h / patch, w / patch);
    pixels.detach().reshape((b, c, rows, patch, columns, patch))?.permute((0, 2, 4, 1, 3, 5))?.contiguous()?.reshape((
        b,
        rows * columns,
        c * patch * patch,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::random;
    use super::*;

    #[test]
    fn forms_agree() {
        for (dims, patch) in [([2, 3, 8, 12], 4), ([1, 1, 3, 3], 1), ([3, 3, 56, 42], 14)] {
            let pixels = random(&dims, 1);
            let (a, b) = (unfold_patches(&pixels, patch).unwrap(), composed(&pixels, patch).unwrap());
            assert_eq!(a.dims(), b.dims());
            assert_eq!(a.to_vec3::<f32>().unwrap(), b.to_vec3::<f32>().unwrap());
        }
        assert!(unfold_patches(&random(&[1, 3, 8, 9], 1), 4).is_err());
    }
}
