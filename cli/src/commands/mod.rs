//! Reading the command line, calling the library, printing what it answers.

mod args;
mod compare;
mod completions;
mod doctor;
mod draw;
mod eval;
mod evolve;
mod info;
mod plan;
mod progress;
mod reproduce;
mod rules;
mod runs;
mod signals;
mod table;
mod trace;
mod train;
mod tune;

use args::{Cli, Command, of_a_file};
use clap::Parser;
use signals::{Leave, stop_flag};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;
use zilch::device::Device;
use zilch::device::cpu::threads_of;
use zilch::device::gpu::{Precision, TuneFile};
use zilch::files::{is_control, printable, printable_json};
use zilch::{Error, Result};

/// Reads the command line and runs its command.
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => answer(cli),
        Err(error) => refuse(&error),
    }
}

/// What the grammar says: help and versions on stdout, and what is wrong on stderr.
fn refuse(error: &clap::Error) -> ExitCode {
    // A file that the command line names is read while that is: its failure is no mistake of the grammar.
    if let Some(failure) = of_a_file(error) {
        return failed(&failure);
    }
    if error.use_stderr() {
        // What was typed is quoted among clap's colours, where it could not be told from them.
        let foreign = std::env::args_os().any(|word| word.to_string_lossy().contains(is_control));
        let plain = error.render().to_string();
        let _ = if foreign { std::io::stderr().write_all(printable(&plain).as_bytes()) } else { error.print() };
        return ExitCode::from(Error::usage("").exit_code());
    }
    let printed = error.print().and_then(|()| std::io::stdout().flush());
    told(written(printed))
}

/// Runs a command; what it answers goes to stdout, whole, and a failure to stderr, in one paragraph.
fn answer(cli: Cli) -> ExitCode {
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
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    };
    // What was to be kept is written. A command that ends because of a signal ends with what it says of that.
    if !stop.load(Ordering::Relaxed) {
        signals::free(Leave::default());
    }
    told(answer.and_then(|answer| {
        print(&answer.text)?;
        answer.failure.map_or(Ok(()), Err)
    }))
}

/// The exit code of what was done, and a message if it failed.
fn told(done: Result<()>) -> ExitCode {
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

/// Tells of a failure, and gives its exit code.
fn failed(error: &Error) -> ExitCode {
    progress::say(&format!("zilch: {error}"));
    ExitCode::from(error.exit_code())
}

/// Opens a device. Where tiles were to be remembered and cannot be read, that is told, once, and is no failure.
fn open(wanted: &str, threads: Option<usize>, precision: Precision) -> Result<Device> {
    static TOLD: Once = Once::new();
    let device = Device::open_with(wanted, threads, precision)?;
    if let (Some(_), Err(error)) = (device.as_gpu(), TuneFile::open()) {
        TOLD.call_once(|| progress::say(&format!("{error}. The default tiles are used")));
    }
    Ok(device)
}

/// Refuses a number of threads where only GPUs were asked for, by these names. With `auto`, it is for the case that there
/// is none.
fn check_threads(threads: Option<usize>, devices: &[Device], names: &[String]) -> Result<()> {
    threads_of(threads)?;
    let auto = names.iter().any(|name| name.trim().eq_ignore_ascii_case("auto"));
    if threads.is_some() && !auto && devices.iter().all(|device| device.as_gpu().is_some()) {
        return Err(Error::usage("--threads is for the CPU device, and a GPU was asked for; leave it out"));
    }
    Ok(())
}

/// What a command prints on stdout, and the failure it then ends with, if any.
pub(crate) struct Answer {
    text: String,
    failure: Option<Error>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Answer { text, failure: None }
    }
}

/// Prints to stdout what a terminal may have: names of settings, paths and reasons come out of files.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    written(out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()))
}

/// A reader that has closed the pipe has seen what it wanted: that is no failure.
fn written(done: std::io::Result<()>) -> Result<()> {
    match done {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("standard output".as_ref(), e)),
        _ => Ok(()),
    }
}

/// One JSON document, as `--json` prints it.
fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::usage(format!("cannot write JSON: {e}")))?;
    Ok(printable_json(&text).into_owned() + "\n")
}

/// A time after which a command is to stop as if interrupted.
struct Deadline {
    time: Option<Duration>,
    over: Arc<AtomicBool>,
    begun: OnceLock<()>,
}

impl Deadline {
    /// So long from its beginning; never, where no time is given.
    fn new(time: Option<Duration>) -> Self {
        Deadline { time, over: Arc::new(AtomicBool::new(false)), begun: OnceLock::new() }
    }

    /// The time begins, unless it has.
    fn begin(&self, stop: &Arc<AtomicBool>) -> Result<()> {
        let Some(time) = self.time.filter(|_| self.begun.set(()).is_ok()) else { return Ok(()) };
        let (over, stop) = (Arc::clone(&self.over), Arc::clone(stop));
        let wait = move || {
            std::thread::sleep(time);
            over.store(true, Ordering::Relaxed);
            stop.store(true, Ordering::Relaxed);
        };
        let thread = zilch::memory::start("max-time", wait);
        thread.map_err(|e| Error::usage(format!("--max-time cannot be kept: the system gives no thread ({e})")))?;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}
