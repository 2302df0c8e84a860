//! An allocator with a limit. libFuzzer checks the resident memory, so it misses a large allocation that is never written.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The maximum number of bytes allocated at a time.
const MOST: usize = 512 << 20;

static USED: AtomicUsize = AtomicUsize::new(0);

/// The system allocator. It aborts the process if more than [`MOST`] bytes are allocated.
pub struct Bounded;

fn take(bytes: usize) {
    if USED.fetch_add(bytes, Relaxed).saturating_add(bytes) > MOST {
        // The message below allocates, which must not fail again.
        USED.store(0, Relaxed);
        eprintln!("an allocation of {bytes} bytes exceeds the limit of {MOST} bytes in use");
        std::process::abort();
    }
}

// SAFETY: every call forwards its arguments to the system allocator unchanged. The counter does not allocate.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; the pointer came from the system allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
