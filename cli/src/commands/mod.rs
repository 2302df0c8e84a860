//! Parses the command line, calls the library and prints the results.

mod args;
mod compare;
mod completions;
mod confusion;
mod doctor;
mod draw;
mod eval;
mod evolve;
mod info;
mod live;
mod markdown;
mod plan;
mod progress;
mod report;
mod reproduce;
mod rules;
mod runs;
mod signals;
mod table;
mod trace;
mod train;
mod tune;

use args::{Cli, Command, of_a_file, reworded};
use clap::{CommandFactory, FromArgMatches};
use signals::{Leave, stop_flag};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;
use zilch::device::Device;
use zilch::device::cpu::threads_of;
use zilch::device::gpu::{Precision, TuneFile};
use zilch::files::{is_control, printable, printable_json};
use zilch::{Error, Result};
use zilch_cli::process::arguments;
use zilch_cli::words::{explained, other_names};

/// Parses the command line of the process, runs its command, and returns the exit code.
pub(crate) fn run() -> u8 {
    let typed = arguments();
    let mut grammar = other_names(Cli::command());
    let matches = grammar.try_get_matches_from_mut(&typed);
    let read = matches.and_then(|matches| Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut grammar)));
    match read {
        Ok(cli) => answer(cli),
        Err(error) => refuse(&explained(reworded(error), &grammar, &typed)),
    }
}

/// Prints clap's output when there is no command to run: help and version on stdout, usage errors on stderr.
fn refuse(error: &clap::Error) -> u8 {
    // Rule files are read during parsing. An unreadable file is reported as a data error, not as a usage error.
    if let Some(failure) = of_a_file(error) {
        return failed(&failure);
    }
    if error.use_stderr() {
        // clap quotes the arguments. If one contains control characters, they cannot be separated from clap's own colour codes, so the
        // text is printed without colours and escaped.
        let control = arguments().iter().any(|word| word.to_string_lossy().contains(is_control));
        let plain = error.render().to_string();
        let _ = if control { std::io::stderr().write_all(printable(&plain).as_bytes()) } else { error.print() };
        return Error::usage("").exit_code();
    }
    let printed = error.print().and_then(|()| std::io::stdout().flush());
    exit_code(written(printed))
}

/// Runs a command. Its complete result goes to stdout; an error goes to stderr as one paragraph.
fn answer(cli: Cli) -> u8 {
    signals::free(Leave::default());
    let stop = stop_flag();
    let answer = match cli.command {
        Command::Compare(args) => compare::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Draw(args) => draw::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Evolve(args) => evolve::run(&args),
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    };
    // All results are written, so a signal may now end the process at once. After a signal the command itself reports
    // the interruption, so the process must not end before.
    if !stop.load(Ordering::Relaxed) {
        signals::free(Leave::default());
    }
    exit_code(answer.and_then(|answer| {
        print(&answer.text)?;
        answer.failure.map_or(Ok(()), Err)
    }))
}

/// The exit code for a result. An error is printed.
fn exit_code(done: Result<()>) -> u8 {
    done.map_or_else(|error| failed(&error), |()| 0)
}

/// Prints an error and returns its exit code.
fn failed(error: &Error) -> u8 {
    progress::say(&format!("zilch: {error}"));
    error.exit_code()
}

/// Opens a device. An unreadable tune file is reported once and is not an error.
fn open(wanted: &str, threads: Option<usize>, precision: Precision) -> Result<Device> {
    static REPORTED: Once = Once::new();
    let device = Device::open_with(wanted, threads, precision)?;
    if let (Some(_), Err(error)) = (device.as_gpu(), TuneFile::open()) {
        REPORTED.call_once(|| progress::say(&format!("{error}. The default tiles are used")));
    }
    Ok(device)
}

/// Refuses `--threads` if all requested devices are GPUs. With `auto` it is accepted: it applies if there is no GPU.
fn check_threads(threads: Option<usize>, devices: &[Device], names: &[String]) -> Result<()> {
    threads_of(threads)?;
    let auto = names.iter().any(|name| name.trim().eq_ignore_ascii_case("auto"));
    if threads.is_some() && !auto && devices.iter().all(|device| device.as_gpu().is_some()) {
        return Err(Error::usage("--threads is for the CPU device, but the device is a GPU; remove it"));
    }
    Ok(())
}

/// The output of a command on stdout, and the error that it ends with, if any.
pub(crate) struct Answer {
    text: String,
    failure: Option<Error>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Answer { text, failure: None }
    }
}

/// Prints to stdout with control characters escaped: names of settings, paths and messages may come from files.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    written(out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()))
}

/// The result of a write to stdout. A closed pipe is not an error: the reader needs no more output.
fn written(done: std::io::Result<()>) -> Result<()> {
    match done {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("standard output".as_ref(), e)),
        _ => Ok(()),
    }
}

/// Formats the JSON document that `--json` prints.
fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::usage(format!("cannot write JSON: {e}")))?;
    Ok(printable_json(&text).into_owned() + "\n")
}

/// The time limit of a command. When it is over, the command stops as if interrupted.
struct Deadline {
    time: Option<Duration>,
    over: Arc<AtomicBool>,
    begun: OnceLock<()>,
}

impl Deadline {
    /// A time limit that starts with [`Deadline::begin`]. Without a time the deadline never passes.
    fn new(time: Option<Duration>) -> Self {
        Deadline { time, over: Arc::new(AtomicBool::new(false)), begun: OnceLock::new() }
    }

    /// Starts the clock, unless it is running.
    fn begin(&self, stop: &Arc<AtomicBool>) -> Result<()> {
        let Some(time) = self.time.filter(|_| self.begun.set(()).is_ok()) else { return Ok(()) };
        let (over, stop) = (Arc::clone(&self.over), Arc::clone(stop));
        let wait = move || {
            std::thread::sleep(time);
            over.store(true, Ordering::Relaxed);
            stop.store(true, Ordering::Relaxed);
        };
        let thread = zilch::memory::start("max-time", wait);
        thread
            .map_err(|e| Error::usage(format!("--max-time needs a thread, and the system cannot start one ({e})")))?;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}
