//! Fresh buffers that are written once instead of being zeroed first.

use std::mem::MaybeUninit;

/// Memory not yet written.
pub(super) type Fresh = [MaybeUninit<f32>];

/// A vector of `n` numbers filled by `write`.
///
/// # Safety
/// `write` must initialise every element.
pub(super) unsafe fn build(n: usize, write: impl FnOnce(&mut Fresh)) -> Vec<f32> {
    let mut v: Vec<f32> = Vec::with_capacity(n);
    write(&mut v.spare_capacity_mut()[..n]);
    // SAFETY: the capacity is there, and the caller vouches for the contents.
    unsafe { v.set_len(n) };
    v
}

/// A pointer that parallel tasks may share; each task writes a region of its own.
#[derive(Clone, Copy)]
pub(super) struct Shared(*mut f32);

// SAFETY: the pointer is only an address; whoever writes through it vouches that the regions are disjoint.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(slice: &mut Fresh) -> Self {
        Self(slice.as_mut_ptr().cast())
    }

    /// The address of element `at`.
    pub(super) fn at(self, at: usize) -> *mut f32 {
        self.0.wrapping_add(at)
    }

    /// # Safety
    /// `at + n` lies within the slice, and no other task touches this region meanwhile.
    #[inline(always)]
    pub(super) unsafe fn region<'a>(self, at: usize, n: usize) -> &'a mut Fresh {
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at).cast(), n) }
    }
}

/// Initialised numbers seen as memory to be overwritten.
///
/// The result must only be *written with numbers*; every kernel here writes floats only.
pub(super) fn as_fresh(slice: &mut [f32]) -> &mut Fresh {
    // SAFETY: same layout; kernels only store initialised floats through it.
    unsafe { &mut *(std::ptr::from_mut(slice) as *mut Fresh) }
}
