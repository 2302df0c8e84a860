//! The process that runs a command: its arguments, an allocator that reports when memory is exhausted, a stack that is large enough, and
//! writes that fail with an error instead of a signal. The binary and the Python wheel's script both start here.
#![allow(unsafe_code, reason = "an allocator, and two calls of the C library")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::OsString;
use std::io::Write;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Stack size in bytes of the thread that runs a command if the main thread has a smaller stack.
const STACK: usize = 4 << 20;

/// The exit code of a process whose main thread panicked, as the standard library has it.
const PANICKED: u8 = 101;

/// The arguments of the command line, the program's name first.
static ARGUMENTS: Mutex<Vec<OsString>> = Mutex::new(Vec::new());

/// Whether this process runs a command.
static AT_WORK: AtomicBool = AtomicBool::new(false);

/// Runs the command of a command line, with the program's name first, and returns the exit code. It is the only work of its process: a
/// signal or exhausted memory ends the process, and the signal handlers stay.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    prepare();
    *ARGUMENTS.lock().unwrap_or_else(PoisonError::into_inner) = arguments.into_iter().collect();
    // The panic hook has printed the message.
    let code = panic::catch_unwind(|| on_enough_stack(crate::commands::run)).unwrap_or(PANICKED);
    // Only the binary's own runtime flushes stdout at exit.
    let _ = std::io::stdout().flush();
    code
}

/// The arguments of the command line, the program's name first. In Python's process they differ from those of the interpreter.
pub fn arguments() -> Vec<OsString> {
    ARGUMENTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The system allocator. When it has no memory left, the process exits with code 3 and a message instead of aborting.
#[derive(Debug)]
pub struct OrExit {
    /// Whether it does so from the start of the process, or only once a command runs.
    pub always: bool,
}

// SAFETY: each call forwards the caller's arguments to the system allocator, and returns what it returned.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, which is that of `System`.
        self.or_exit(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.or_exit(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        self.or_exit(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

impl OrExit {
    #[inline]
    fn or_exit(&self, memory: *mut u8, bytes: usize) -> *mut u8 {
        if memory.is_null() && (self.always || AT_WORK.load(Ordering::Relaxed)) {
            no_memory(bytes);
        }
        memory
    }
}

/// Ends the process without allocating. It skips exit handlers, which might allocate.
#[cold]
#[inline(never)]
fn no_memory(bytes: usize) -> ! {
    let mut text = [0; 512];
    let mut rest = &mut text[..];
    // A truncated message is better than none.
    let _ = writeln!(
        rest,
        "zilch: out of memory: the system refused an allocation of {bytes} bytes. Use smaller --layers, a smaller --batch or fewer \
         --threads, or raise the limit (ulimit -v, ulimit -d, the memory of the container or of the cluster job). Files and \
         checkpoints already written are complete"
    );
    let left = rest.len();
    end(&text[..text.len() - left], 3)
}

/// Writes a message to stderr and ends the process.
#[cfg(unix)]
fn end(message: &[u8], code: i32) -> ! {
    // SAFETY: pointer and length come from one slice. If standard error is closed, the message is lost.
    unsafe { libc::write(2, message.as_ptr().cast(), message.len()) };
    signal_hook::low_level::exit(code)
}

#[cfg(not(unix))]
fn end(message: &[u8], code: i32) -> ! {
    let _ = std::io::stderr().write_all(message);
    std::process::exit(code)
}

/// Prepares the process. Called before zilch starts any thread.
fn prepare() {
    AT_WORK.store(true, Ordering::Relaxed);
    // Fails where a logger is set already: by an earlier command of this process.
    let _ = crate::logging::builder().try_init();
    #[cfg(unix)]
    {
        // A write beyond `ulimit -f` must fail like a write to a full disk; by default SIGXFSZ kills the process.
        // If the handler cannot be registered, the default stays.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if limit(libc::RLIMIT_AS).is_some() || limit(libc::RLIMIT_DATA).is_some() {
        // glibc reserves an arena of 64 MiB of address space per allocating thread, if the limit leaves room for it. Which runs fit
        // would then depend on that room. With a single arena it depends only on the memory that a run needs.
        // SAFETY: the call has no requirements.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// A resource limit of this process; none if unlimited.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn limit(of: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer refers to a complete `rlimit`, which the call fills.
    let known = unsafe { libc::getrlimit(of, &mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Whether the stack of the main thread is smaller than [`STACK`].
fn stack_is_small() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return limit(libc::RLIMIT_STACK).is_some_and(|bytes| bytes < STACK as u64);
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    return false;
}

/// Runs `work` on a large enough stack: on the main thread, or on a new thread if the main thread's stack is too small.
fn on_enough_stack<T: Send + 'static>(work: fn() -> T) -> T {
    if !stack_is_small() {
        return work();
    }
    match thread::Builder::new().name("command".into()).stack_size(STACK).spawn(work) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
        Err(_) => end(
            b"zilch: the stack is too small (ulimit -s), and there is no memory for a new one of 4 MiB. Raise ulimit -s to 4096 or more\n",
            3,
        ),
    }
}
