//! Signals that ask the process to end, and what they find: work that keeps what it made before it ends, or work that has made nothing.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use zilch::memory;
use zilch::train::RunFolder;

/// What often comes twice, from a shell and from the system, is one wish within this time.
const ONE_WISH: Duration = Duration::from_secs(1);
/// How long work that has made nothing may take to end by itself: what it says of its end is more exact.
const GRACE: Duration = Duration::from_millis(500);
/// How often it is looked at after the first signal.
const LOOK: Duration = Duration::from_millis(50);

/// What is to be done where a command is ended before it has made anything that would be lost.
#[derive(Default)]
pub(crate) struct Leave {
    /// The folder of a run, which is abandoned.
    pub(crate) folder: Option<RunFolder>,
    /// What goes to stderr.
    pub(crate) why: String,
}

/// What a signal finds; none while something would be lost, and whoever is at work looks at the flag.
static LEAVE: Mutex<Option<Leave>> = Mutex::new(None);

/// What the command has to print of what it has finished.
static FINISHED: Mutex<String> = Mutex::new(String::new());

fn leave() -> MutexGuard<'static, Option<Leave>> {
    LEAVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on nothing would be lost if the process ended.
pub(crate) fn free(with: Leave) {
    *leave() = Some(with);
}

/// From here on something would be lost: a signal sets the flag, and nothing else.
pub(crate) fn hold() {
    leave().take();
}

/// What is printed on stdout where the command is ended from now on.
pub(crate) fn finished(answer: String) {
    *FINISHED.lock().unwrap_or_else(PoisonError::into_inner) = answer;
}

/// A flag that Ctrl-C sets, and a cluster's SIGTERM and a closed terminal's SIGHUP; a second one ends the process at once. Every call
/// gives the same.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    Arc::clone(FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flag);
        // Waited for until it has taken its memory: what is free shall not shrink after it was looked at.
        let (begun, begins) = mpsc::channel();
        let listen = move || {
            let signals = Signals::new();
            let _ = begun.send(signals.as_ref().err().map(ToString::to_string));
            if let Ok(signals) = signals {
                heed(signals, &seen);
            }
        };
        let failed = match memory::start("signals", listen) {
            Ok(_) => begins.recv().unwrap_or_default(),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = failed {
            log::warn!("Ctrl-C will end the program at once: {error}");
        }
        flag
    }))
}

/// Waits for the first signal, and then sees to it that the process ends.
fn heed(mut signals: Signals, seen: &AtomicBool) {
    if !signals.first() {
        return;
    }
    seen.store(true, Ordering::Relaxed);
    let first = Instant::now();
    loop {
        thread::sleep(LOOK);
        let again = signals.again();
        if again && first.elapsed() > ONE_WISH {
            end();
        }
        if first.elapsed() < GRACE {
            continue;
        }
        // Held to the end: whoever is to begin with something that would be lost waits for it.
        let mut at_work = leave();
        if let Some(Leave { folder, why }) = at_work.take() {
            folder.iter().for_each(RunFolder::abandon);
            let answer = FINISHED.lock().unwrap_or_else(PoisonError::into_inner);
            // Nothing is left to be told where these are closed.
            let _ = std::io::stdout().write_all(answer.as_bytes()).and_then(|()| std::io::stdout().flush());
            let why = if why.is_empty() { "interrupted" } else { &why };
            let _ = writeln!(std::io::stderr(), "zilch: {why}");
            end();
        }
    }
}

/// Ends the process without waiting for what others have to do at an exit: a driver may be at work.
#[cfg(unix)]
fn end() -> ! {
    signal_hook::low_level::exit(130)
}

#[cfg(not(unix))]
fn end() -> ! {
    std::process::exit(130)
}

/// The signals that ask the process to end.
#[cfg(unix)]
struct Signals(signal_hook::iterator::Signals);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let hangup = (!hangup_is_ignored()).then_some(SIGHUP);
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup)).map(Signals)
    }

    /// Waits for one; false where none can come.
    fn first(&mut self) -> bool {
        self.0.forever().next().is_some()
    }

    /// Whether another one has come.
    fn again(&mut self) -> bool {
        self.0.pending().next().is_some()
    }
}

/// Whether the program was begun so as to outlive its terminal, as by nohup.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    use std::io::IsTerminal;
    // SIGHUP is bit 0 of this mask; a system that has no such file cannot be asked.
    let mask = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let hex = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(hex.trim(), 16).ok()
    });
    mask.map_or_else(|| !std::io::stderr().is_terminal(), |mask| mask & 1 == 1)
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals(mpsc::Receiver<()>);

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        let (tell, told) = mpsc::channel();
        ctrlc::set_handler(move || drop(tell.send(()))).map_err(std::io::Error::other)?;
        Ok(Signals(told))
    }

    /// Waits for one; false where none can come.
    fn first(&mut self) -> bool {
        self.0.recv().is_ok()
    }

    /// Whether another one has come.
    fn again(&mut self) -> bool {
        self.0.try_recv().is_ok()
    }
}
