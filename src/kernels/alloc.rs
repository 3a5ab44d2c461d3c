//! A pool for big buffers. A training step asks for the same few hundred sizes again and again; the system allocator
//! gives big ones back to the kernel each time, and every first touch is then a page fault (hundreds of thousands a step).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Smallest pooled block: 64 KiB.
const SMALLEST: usize = 1 << 16;
/// Classes per power of two: a block wastes at most an eighth.
const STEPS: usize = 8;
/// Powers of two: 64 KiB to 8 GiB.
const DOUBLINGS: usize = 17;
const CLASSES: usize = STEPS * DOUBLINGS;

/// An allocator that keeps freed blocks of 64 KiB and more for reuse, up to a cap; everything else goes to the system.
///
/// Install it in a binary with `#[global_allocator] static POOL: PoolAllocator = PoolAllocator::new(cap);`.
#[derive(Debug)]
pub struct PoolAllocator {
    cap: usize,
    kept: AtomicUsize,
    locked: AtomicBool,
    /// Heads of the free lists; a free block's first word points to the next.
    lists: UnsafeCell<[*mut u8; CLASSES]>,
}

// SAFETY: `lists` is only touched between `lock` and `unlock`.
unsafe impl Sync for PoolAllocator {}

/// Class and block size of a request.
fn class(size: usize) -> Option<(usize, usize)> {
    if size < SMALLEST {
        return None;
    }
    // The power of two at or below the size, and the eighth of it that the size reaches into.
    let doubling = (usize::BITS - 1 - size.leading_zeros()) as usize - 16;
    let eighth = (SMALLEST << doubling) / STEPS;
    let steps = (size - (SMALLEST << doubling)).div_ceil(eighth);
    let index = doubling * STEPS + steps;
    (index < CLASSES).then_some((index, (SMALLEST << doubling) + steps * eighth))
}

impl PoolAllocator {
    /// A pool that keeps at most `cap` bytes of free blocks.
    #[must_use]
    pub const fn new(cap: usize) -> Self {
        Self {
            cap,
            kept: AtomicUsize::new(0),
            locked: AtomicBool::new(false),
            lists: UnsafeCell::new([std::ptr::null_mut(); CLASSES]),
        }
    }

    /// Bytes of free blocks kept now.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Gives every kept block back to the system (between phases that use different sizes).
    pub fn clear(&self) {
        for index in 0..CLASSES {
            while let Some(block) = self.take(index) {
                let size = block_size(index);
                self.kept.fetch_sub(size, Ordering::Relaxed);
                // SAFETY: the block was allocated with this very layout.
                unsafe { System.dealloc(block, pooled(size)) };
            }
        }
    }

    fn with_lists<R>(&self, f: impl FnOnce(&mut [*mut u8; CLASSES]) -> R) -> R {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the spin lock is held; `f` does not allocate.
        let result = f(unsafe { &mut *self.lists.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    fn take(&self, index: usize) -> Option<*mut u8> {
        self.with_lists(|lists| {
            let block = lists[index];
            if block.is_null() {
                return None;
            }
            // SAFETY: a block on a list holds the address of the next in its first word.
            lists[index] = unsafe { link(block).read() };
            Some(block)
        })
    }
}

fn block_size(index: usize) -> usize {
    let power = SMALLEST << (index / STEPS);
    power + index % STEPS * (power / STEPS)
}

/// Blocks are page aligned, which serves every alignment that occurs.
const ALIGN: usize = 4096;

/// Where a free block keeps the address of the next one: its first word, which is aligned, as the block is to a page.
fn link(block: *mut u8) -> *mut *mut u8 {
    block.cast()
}

fn pooled(size: usize) -> Layout {
    // SAFETY: the alignment is a power of two and the size far from overflowing.
    unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
}

// SAFETY: blocks come from the system with the size of their class and go back with it; a block is on a free list or in
// use, never both; requests of unusual alignment never meet the pool.
unsafe impl GlobalAlloc for PoolAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout.size()) {
            Some((index, size)) if layout.align() <= ALIGN => match self.take(index) {
                Some(block) => {
                    self.kept.fetch_sub(size, Ordering::Relaxed);
                    block
                }
                // SAFETY: a non-zero size.
                None => unsafe { System.alloc(pooled(size)) },
            },
            // SAFETY: passed on as it came.
            _ => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class(layout.size()) {
            Some((index, size)) if layout.align() <= ALIGN => {
                if self.kept.fetch_add(size, Ordering::Relaxed) + size > self.cap {
                    self.kept.fetch_sub(size, Ordering::Relaxed);
                    // SAFETY: allocated above with this layout.
                    unsafe { System.dealloc(block, pooled(size)) };
                    return;
                }
                self.with_lists(|lists| {
                    // SAFETY: the block is free and at least a page long.
                    unsafe { link(block).write(lists[index]) };
                    lists[index] = block;
                });
            }
            // SAFETY: passed on as it came.
            _ => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let old = class(layout.size()).filter(|_| layout.align() <= ALIGN);
        let new = class(new_size).filter(|_| layout.align() <= ALIGN);
        match (old, new) {
            // SAFETY: neither block is pooled.
            (None, None) => unsafe { System.realloc(block, layout, new_size) },
            (Some(old), Some(new)) if old == new => block,
            _ => {
                // SAFETY: the new size is valid by the caller's promise; both blocks hold the copied bytes.
                unsafe {
                    let moved = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(new_size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole test binary runs on the pool.
    #[global_allocator]
    static POOL: PoolAllocator = PoolAllocator::new(1 << 30);

    #[test]
    fn classes_cover_their_sizes() {
        for size in (SMALLEST..SMALLEST * 40).step_by(977) {
            let (index, block) = class(size).unwrap();
            assert_eq!(block, block_size(index));
            assert!(block >= size && block - size <= size / STEPS, "{size} in {block}");
        }
        assert_eq!(class(SMALLEST - 1), None);
        assert_eq!(class(SMALLEST << DOUBLINGS), None);
    }

    #[test]
    fn reuses_blocks_up_to_the_cap_and_moves_contents() {
        let pool = PoolAllocator::new(1 << 20);
        let layout = Layout::from_size_align(300_000, 64).unwrap();
        // SAFETY: plain use of an allocator.
        unsafe {
            let a = pool.alloc(layout);
            a.write_bytes(7, 300_000);
            pool.dealloc(a, layout);
            assert!(pool.kept() >= 300_000);
            let b = pool.alloc(layout);
            assert_eq!((a, pool.kept()), (b, 0));
            let c = pool.realloc(b, layout, 1000);
            assert_eq!(std::slice::from_raw_parts(c.add(8), 992), [7; 992]);
            let small = Layout::from_size_align(1000, 64).unwrap();
            let d = pool.realloc(c, small, 2_000_000);
            assert_eq!(std::slice::from_raw_parts(d.add(8), 992), [7; 992]);
            // Over the cap: back to the system.
            let kept = pool.kept();
            pool.dealloc(d, Layout::from_size_align(2_000_000, 64).unwrap());
            assert_eq!(pool.kept(), kept);
            pool.clear();
            assert_eq!(pool.kept(), 0);
        }
    }
}
