//! What this program asks of the system for itself: memory that says why it ends, a stack that is large enough, and writes that fail
//! with an error in place of a signal.
#![allow(unsafe_code, reason = "an allocator, and two calls of the C library")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::thread;

/// Stack of the thread that runs a command, in bytes, where the main thread's is smaller.
const STACK: usize = 4 << 20;

/// The system's allocator; where it has no more memory, the process ends with exit code 3 and a reason in place of an abort.
struct OrExit;

#[global_allocator]
static ALLOCATOR: OrExit = OrExit;

// SAFETY: each call is the system allocator's, with the caller's arguments; a null pointer is never returned.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises of this call.
        or_exit(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_exit(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        or_exit(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

#[inline]
fn or_exit(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        no_memory(bytes);
    }
    memory
}

/// Ends the process without allocating, and without running what is to run at an exit: that might allocate.
#[cold]
#[inline(never)]
fn no_memory(bytes: usize) -> ! {
    let mut text = [0; 512];
    let mut rest = &mut text[..];
    // A message that is cut off is better than none.
    let _ = writeln!(
        rest,
        "zilch: out of memory: {bytes} bytes more were asked for, and the system gave none. Choose smaller --layers, a smaller --batch \
         or fewer --threads, or raise the limit (ulimit -v, ulimit -d, the memory of a container or of a cluster's job). Files and \
         checkpoints that were written before are whole"
    );
    let left = rest.len();
    end(&text[..text.len() - left], 3)
}

/// Writes a message to stderr and ends the process.
#[cfg(unix)]
fn end(message: &[u8], code: i32) -> ! {
    // SAFETY: the pointer and the length are those of one slice. Standard error may be closed; then nobody is told.
    unsafe { libc::write(2, message.as_ptr().cast(), message.len()) };
    signal_hook::low_level::exit(code)
}

#[cfg(not(unix))]
fn end(message: &[u8], code: i32) -> ! {
    let _ = std::io::stderr().write_all(message);
    std::process::exit(code)
}

/// Prepares the process. Called before any thread is started.
pub(crate) fn prepare() {
    #[cfg(unix)]
    {
        // A write beyond `ulimit -f` is to fail as one on a full disk does; by default its signal ends the process.
        // Where that cannot be had, the signal ends it as before.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if limit(libc::RLIMIT_AS).is_some() || limit(libc::RLIMIT_DATA).is_some() {
        // glibc sets 64 MiB of address space aside for each thread that allocates, if there are as many. Which runs fit would depend on
        // whether there are; with one arena it depends on what they need.
        // SAFETY: the call has no requirements.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// A limit of this process, unless it has none.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn limit(of: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a whole `rlimit`, which the call fills.
    let told = unsafe { libc::getrlimit(of, &mut limit) } == 0;
    (told && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Whether the main thread's stack is smaller than commands need.
fn stack_is_small() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return limit(libc::RLIMIT_STACK).is_some_and(|bytes| bytes < STACK as u64);
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    return false;
}

/// Runs `work` on a stack that is large enough: on a thread of its own where the main one's is not.
pub(crate) fn on_enough_stack<T: Send + 'static>(work: fn() -> T) -> T {
    if !stack_is_small() {
        return work();
    }
    match thread::Builder::new().name("command".into()).stack_size(STACK).spawn(work) {
        Ok(thread) => thread.join().unwrap_or_else(|said| std::panic::resume_unwind(said)),
        Err(_) => end(
            b"zilch: the stack is too small (ulimit -s), and there is no memory for another one of 4 MiB. Raise ulimit -s to 4096 or more\n",
            3,
        ),
    }
}
