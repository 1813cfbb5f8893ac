//! The heap: one fixed piece of RAM, constant time, wiped when freed.
//!
//! An allocation that does not fit panics, and the device halts; the bounds of `Config::firmware` are such that no host
//! can make that happen. Freed memory is wiped at once, besides what its owner wiped, so that no copy left behind by a
//! compiler or a growing vector stays readable.
#![allow(unsafe_code, reason = "an allocator hands out raw memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::slice::from_raw_parts_mut;
use core::sync::atomic::{AtomicUsize, Ordering};
use rlsf::Tlsf;
use zeroize::Zeroize;

/// Blocks of up to 2^(4 + 16) bytes, 16 sizes to each power of two.
type Blocks = Tlsf<'static, u16, u16, 16, 16>;

/// The heap of the device.
#[global_allocator]
pub(crate) static HEAP: Heap = Heap {
    blocks: UnsafeCell::new(Blocks::new()),
    bytes: AtomicUsize::new(0),
    used: AtomicUsize::new(0),
    peak: AtomicUsize::new(0),
};

pub(crate) struct Heap {
    blocks: UnsafeCell<Blocks>,
    bytes: AtomicUsize,
    used: AtomicUsize,
    peak: AtomicUsize,
}

// SAFETY: there is one hart, no thread, and no interrupt handler that returns; so no two calls overlap.
unsafe impl Sync for Heap {}

impl Heap {
    /// Gives the heap its memory, once, before anything is allocated.
    pub(crate) fn begin(&self, memory: &'static mut [MaybeUninit<u8>]) {
        self.bytes.store(memory.len(), Ordering::Relaxed);
        // SAFETY: no other reference lives, as for `Sync`.
        let blocks = unsafe { &mut *self.blocks.get() };
        blocks.insert_free_block(memory);
    }

    /// The most bytes ever in use, including what the allocator itself needed, and how many there are.
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.peak.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// What a block takes: itself and its header, in granules of four words.
    const fn cost(layout: Layout) -> usize {
        (layout.size() + size_of::<usize>() * 2).next_multiple_of(size_of::<usize>() * 4)
    }

    fn count(&self, cost: usize) {
        let used = self.used.load(Ordering::Relaxed) + cost;
        self.used.store(used, Ordering::Relaxed);
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.store(used, Ordering::Relaxed);
        }
    }
}

// SAFETY: the blocks come from `Tlsf`, which keeps its promises; counting and wiping do not touch its headers.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: no other reference lives, as for `Sync`.
        let blocks = unsafe { &mut *self.blocks.get() };
        let Some(block) = blocks.allocate(layout) else { return null_mut() };
        self.count(Self::cost(layout));
        block.as_ptr()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        // SAFETY: this many bytes are the caller's until the block is freed below, whatever they hold.
        let bytes = unsafe { from_raw_parts_mut(block.as_ptr().cast::<MaybeUninit<u8>>(), layout.size()) };
        // Secret: whatever it was. With volatile writes and a fence, because a compiler that sees the block freed next
        // may leave out plain writes that nobody reads.
        bytes.zeroize();
        self.used.store(self.used.load(Ordering::Relaxed) - Self::cost(layout), Ordering::Relaxed);
        // SAFETY: no other reference lives, as for `Sync`.
        let blocks = unsafe { &mut *self.blocks.get() };
        // SAFETY: the caller had it from `alloc` with this layout.
        unsafe { blocks.deallocate(block, layout.align()) };
    }
}
