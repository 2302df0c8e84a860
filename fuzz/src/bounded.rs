//! Memory with a bound: libFuzzer sees what is resident, and so not a large piece that is asked for and never written.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The most bytes that may be in use at once.
const MOST: usize = 512 << 20;

static USED: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which ends the process where more than the bound is asked for.
pub struct Bounded;

fn take(bytes: usize) {
    if USED.fetch_add(bytes, Relaxed).saturating_add(bytes) > MOST {
        // Nothing may be allocated from here on.
        USED.store(0, Relaxed);
        eprintln!("more than {MOST} bytes are in use, with {bytes} that were asked for");
        std::process::abort();
    }
}

// SAFETY: every call is handed on to the system's allocator unchanged; the counter does not allocate.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promise is the one that the system's allocator asks for.
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
        // SAFETY: as above; the pointer came from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
