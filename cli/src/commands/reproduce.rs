//! `zilch reproduce`

use super::args::{ReproduceArgs, Wanted};
use super::progress::{Progress, say};
use super::signals::{self, Leave};
use super::{Answer, stop_flag};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::{DIGITS, Data};
use zilch::device::cpu::threads_of;
use zilch::files::{counted, printable};
use zilch::plan::Kind;
use zilch::{Error, Result};
use zilch_lab::experiment::{Input, folder};
use zilch_lab::experiments::{EXPERIMENTS, SONG_2020};
use zilch_lab::paper::{PAGE_TITLE, page};
use zilch_lab::shell::quoted;
use zilch_lab::{Context, Experiment, write_text};

pub(crate) fn run(args: &ReproduceArgs) -> Result<Answer> {
    let path = page_path(&args.out)?;
    if let Wanted::Page = args.experiment {
        if args.out.exists() && !args.out.is_dir() {
            return Err(Error::data(&args.out, "this is not a folder; --out takes the folder of the results"));
        }
    } else {
        let runner = Runner { args, data: Arc::new(data(args)?), stop: stop_flag() };
        // Every finished trial is already in a file, so a signal may end the process at any time.
        let why = format!("interrupted; finished trials are kept. Continue with: {}", again());
        signals::free(Leave { why, ..Leave::default() });
        let done = args.experiment.experiments().into_iter().try_for_each(|experiment| runner.run(experiment));
        match done {
            Err(Error::Interrupted(why)) => {
                return Err(Error::Interrupted(format!("{why}. Continue with: {}", again())));
            }
            other => other?,
        }
    }
    pages(args, &path)
}

/// Writes all figures and pages again. Returns the page of the requested experiment.
fn pages(args: &ReproduceArgs, path: &Path) -> Result<Answer> {
    for experiment in EXPERIMENTS {
        for (name, svg) in experiment.figures(&args.out)? {
            write_text(&args.out.join(name), &svg)?;
        }
    }
    let (mut shown, mut written) = (None, 0);
    for experiment in EXPERIMENTS {
        let Some(page) = experiment.page() else { continue };
        let Some(text) = (page.make)(&args.out)? else { continue };
        let at = args.out.with_file_name(page.file);
        refuse_foreign(&at, page.title)?;
        let text = printable(&text).into_owned();
        write_text(&at, &text)?;
        say(&format!("written: {}", at.display()));
        written += 1;
        if matches!(args.experiment, Wanted::One(one) if one.name() == experiment.name()) {
            shown = Some(text);
        }
    }
    if let Some(text) = shown {
        return Ok(text.into());
    }
    // The common page shows only results of Song et al. (2020); without them it is not written.
    let song = SONG_2020.iter().any(|experiment| args.out.join(format!("{}.json", experiment.name())).exists());
    if written > 0 && !song {
        return Ok(String::new().into());
    }
    let text = printable(&page(&args.out)?).into_owned();
    write_text(path, &text)?;
    say(&format!("written: {} and the results in {}", path.display(), args.out.display()));
    Ok(text.into())
}

/// The data of the requested experiments.
fn data(args: &ReproduceArgs) -> Result<Data> {
    let own = matches!(args.experiment, Wanted::One(one) if one.input() == Input::Own);
    if let (true, Some(_), Wanted::One(one)) = (own, &args.data, args.experiment) {
        let name = one.name();
        return Err(Error::usage(format!("reproduce {name} generates its own data; remove --data")));
    }
    // An experiment that generates its own data does not use this data set; the digits are a placeholder.
    let given = if own { Some(OsStr::new(DIGITS)) } else { args.data.as_deref() };
    let data = Data::open(given.ok_or_else(no_data)?)?;
    if data.train.kind() != Kind::default() {
        let why = "published experiments learn classes of images, and these data have numbers or real targets";
        return Err(Error::data(data.train.source(), why));
    }
    Ok(data)
}

/// The path of the page of the results in `out`: next to the folder, with the folder's name and the extension `.md`.
fn page_path(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        return Err(Error::usage(format!("--out takes the name of a folder, as in results; {} given", out.display())));
    };
    let mut name = name.to_owned();
    name.push(".md");
    let path = out.with_file_name(name);
    refuse_foreign(&path, PAGE_TITLE)?;
    Ok(path)
}

/// Refuses to replace a file that is not a page written by zilch.
fn refuse_foreign(path: &Path, title: &str) -> Result<()> {
    // `write_text` refuses anything that is not a regular file.
    if !path.is_file() {
        return Ok(());
    }
    let mut first = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(title.len() as u64).read_to_end(&mut first));
    if read.is_ok() && first != title.as_bytes() {
        return Err(Error::usage(format!(
            "the page of these results would replace {}, which zilch did not write; choose another --out",
            path.display()
        )));
    }
    Ok(())
}

fn no_data() -> Error {
    Error::usage(
        "reproduce needs --data DIR, a folder with the four files of MNIST (train-images-idx3-ubyte, \
         train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, plain or .gz), or --data digits \
         for the built-in synthetic set",
    )
}

/// The command that continues after an interruption, which is the same command line.
fn again() -> String {
    zilch_cli::process::arguments().into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

struct Runner<'a> {
    args: &'a ReproduceArgs,
    data: Arc<Data>,
    stop: Arc<AtomicBool>,
}

impl Runner<'_> {
    /// Runs one experiment. Its trials are in its own folder.
    fn run(&self, experiment: &dyn Experiment) -> Result<()> {
        let (args, data) = (self.args, &self.data);
        let name = experiment.record_name(&data.name);
        let threads = threads_of(args.threads)?;
        let folder = folder(experiment, data, args.quick, &args.out)?;
        // The data of an experiment that generates its own are a placeholder.
        let on = if experiment.input() == Input::Own { String::new() } else { format!(" on {}", data.name) };
        say(&format!("{name}{on} with {}", counted(threads, "thread")));
        let progress = Progress::new(1000, &name);
        let watch = |part: f64, _: &str| progress.at((part * 1000.0) as u64);
        let context = Context {
            data: Arc::clone(data),
            quick: args.quick,
            seeds: args.seeds,
            threads,
            stop: &self.stop,
            watch: &watch,
        };
        experiment.run(&context, &folder)?;
        progress.done();
        Ok(())
    }
}
