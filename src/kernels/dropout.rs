//! Dropout with a mask that is a function of a key and the element's index.

use super::buffer::{Fresh, Shared, build};
use super::dispatch::{dispatch, level};
use super::parallel::{PIECE, for_each, part};

/// What the mask depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutKey {
    /// Start of the counter.
    pub state: u64,
    /// An element is dropped if its 32 random bits are below this.
    pub limit: u64,
    /// Factor of the elements that stay.
    pub scale: f32,
}

/// The finaliser of SplitMix64.
#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[inline(always)]
fn body<const FMA: bool>(x: &[f32], first: u64, key: DropoutKey, out: &mut Fresh) {
    for (i, (o, x)) in (first..).zip(out.iter_mut().zip(x)) {
        let state = key.state.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let keep = if (mix(state) >> 32) < key.limit { 0.0 } else { key.scale };
        o.write(x * keep);
    }
}

dispatch! { fn piece(x: &[f32], first: u64, key: DropoutKey, out: &mut Fresh) = body }

/// `x` with dropped elements zeroed and the others scaled; of a gradient, the backward pass.
#[must_use]
pub fn dropout(x: &[f32], key: DropoutKey) -> Vec<f32> {
    let level = level();
    // SAFETY: the pieces cover the vector, do not overlap, and the kernel fills them.
    unsafe {
        build(x.len(), |out| {
            let shared = Shared::new(out);
            for_each(x.len().div_ceil(PIECE), |p| {
                let x = part(x, p, PIECE);
                piece(level, x, (p * PIECE) as u64, key, shared.region(p * PIECE, x.len()));
            });
        })
    }
}
