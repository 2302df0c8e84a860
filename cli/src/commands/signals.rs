//! Signals that ask the process to end. A command with unsaved results polls a flag, writes the results and returns. A
//! command without results is ended at once.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use zilch::memory;
use zilch::train::RunFolder;

/// A second signal within this time is treated as a duplicate: a shell and the system often both send one.
const ONE_WISH: Duration = Duration::from_secs(1);
/// Time in which a command without results can end by itself. Its own message is more specific than the one printed
/// here.
const GRACE: Duration = Duration::from_millis(500);
/// The polling interval after the first signal.
const LOOK: Duration = Duration::from_millis(50);

/// How to end the process while no results would be lost.
#[derive(Default)]
pub(crate) struct Leave {
    /// The folder of a run without results, to be abandoned.
    pub(crate) folder: Option<RunFolder>,
    /// The message for stderr.
    pub(crate) why: String,
}

/// How a signal may end the process. It is `None` while results would be lost; the command then reads the flag.
static LEAVE: Mutex<Option<Leave>> = Mutex::new(None);

/// The output about finished work, printed if a signal ends the process.
static FINISHED: Mutex<String> = Mutex::new(String::new());

fn leave() -> MutexGuard<'static, Option<Leave>> {
    LEAVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allows a signal to end the process as described by `with`, since there are no results to lose.
pub(crate) fn free(with: Leave) {
    *leave() = Some(with);
}

/// From this call on a signal only sets the flag, since ending the process would lose results.
pub(crate) fn hold() {
    leave().take();
}

/// Sets the text that goes to stdout if a signal ends the process.
pub(crate) fn finished(answer: String) {
    *FINISHED.lock().unwrap_or_else(PoisonError::into_inner) = answer;
}

/// The flag that the first signal sets: SIGINT (Ctrl-C), SIGTERM (clusters) or SIGHUP (a closed terminal). A second signal ends the
/// process at once. Every call returns the same flag.
pub(crate) fn stop_flag() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    Arc::clone(FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flag);
        // Waits until the thread has allocated its memory, which would otherwise falsify later measurements of the free
        // memory.
        let (started, starts) = mpsc::channel();
        let listen = move || {
            let signals = Signals::new();
            let _ = started.send(signals.as_ref().err().map(ToString::to_string));
            if let Ok(signals) = signals {
                heed(signals, &seen);
            }
        };
        let failed = match memory::start("signals", listen) {
            Ok(_) => starts.recv().unwrap_or_default(),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = failed {
            log::warn!("no signal handler: Ctrl-C will end the program at once ({error})");
        }
        flag
    }))
}

/// Waits for the first signal and sets the flag. Then ends the process at a second signal, or as soon as no results
/// would be lost.
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
        // The lock is held until the process ends, so that `hold` blocks a command that is about to create results.
        let mut at_work = leave();
        if let Some(Leave { folder, why }) = at_work.take() {
            folder.iter().for_each(RunFolder::abandon);
            let answer = FINISHED.lock().unwrap_or_else(PoisonError::into_inner);
            // stdout and stderr may be closed; the process ends anyway.
            let _ = std::io::stdout().write_all(answer.as_bytes()).and_then(|()| std::io::stdout().flush());
            let why = if why.is_empty() { "interrupted" } else { &why };
            let _ = writeln!(std::io::stderr(), "zilch: {why}");
            end();
        }
    }
}

/// Ends the process without running exit handlers: a driver may block them.
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

    /// Waits for a signal; false if none can arrive.
    fn first(&mut self) -> bool {
        self.0.forever().next().is_some()
    }

    /// Whether another signal has arrived.
    fn again(&mut self) -> bool {
        self.0.pending().next().is_some()
    }
}

/// Whether the process was started to outlive its terminal, for example with nohup.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    use std::io::IsTerminal;
    // SIGHUP is bit 0 of the mask of ignored signals. On systems without this file, a stderr that is not a terminal is
    // taken as a sign of nohup.
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
        let (sender, receiver) = mpsc::channel();
        ctrlc::set_handler(move || drop(sender.send(()))).map_err(std::io::Error::other)?;
        Ok(Signals(receiver))
    }

    /// Waits for a signal; false if none can arrive.
    fn first(&mut self) -> bool {
        self.0.recv().is_ok()
    }

    /// Whether another signal has arrived.
    fn again(&mut self) -> bool {
        self.0.try_recv().is_ok()
    }
}
