//! The files of a run: checkpoints during training, and results at the end. If `--out` cannot be written, they go to
//! another folder.

use super::super::args::TrainArgs;
use super::super::progress::{Progress, say};
use super::super::signals::{self, Leave};
use super::config::Arguments;
use super::curves::picture;
use super::{ReadyRun, report_event};
use serde_json::Value;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::{env, fs, io, process};
use zilch::files::counted;
use zilch::network::read_weights_for;
use zilch::train::checkpoint::{CHECKPOINT_FILE, Checkpoint, Manifest};
use zilch::train::{BEST_FILE, MetricsLog, RunFolder};
use zilch::train::{Event, Every, Keep, Trained};
use zilch::{Error, Result, Weights};
use zilch_lab::shell::quoted_path as quoted;

/// The number of names that are tried for a folder other than `--out`.
const NAMES: u32 = 100;

/// The folder of a run, if it has one, and the state of its files.
pub(super) struct RunOutput {
    folder: Option<RunFolder>,
    every: Option<Every>,
    manifest: Manifest,
    /// The log of epochs in the folder.
    log: Option<MetricsLog>,
    /// Whether files are written during training: always with checkpoints, otherwise only if the folder holds no
    /// finished run, whose files an unfinished run must not replace.
    keeps: bool,
    /// The update count of a checkpoint that an earlier attempt at the same run has left. The file is kept until this
    /// run has made more updates.
    earlier: Option<u64>,
    /// The last checkpoint, if writing it failed.
    unwritten: Option<Checkpoint>,
}

impl RunOutput {
    /// Opens and locks the folder, and reads the checkpoint to resume from.
    pub(super) fn open(
        args: &TrainArgs,
        arguments: &Arguments,
        ready: &ReadyRun,
        from: Option<Manifest>,
    ) -> Result<(RunOutput, Option<Checkpoint>)> {
        let take = |dir: &Path| match &from {
            // A run that is continued to another length still has its first length on disk.
            Some(_) => RunFolder::resume(dir, &Manifest::read(dir)?.settings),
            None => RunFolder::create(dir, &ready.settings),
        };
        let mut folder = args.out.as_deref().map(take).transpose()?;
        let (mut earlier, mut log) = (None, None);
        let (manifest, checkpoint) = match (from, &mut folder) {
            // The folder is locked now, so no other process writes to these files.
            (Some(begun), Some(folder)) => {
                let found = Manifest::read(folder.path())?;
                let changed = found.settings != begun.settings;
                let manifest = Manifest { settings: begun.settings, arguments: begun.arguments, ..found };
                if changed {
                    folder.replace_settings(&manifest.settings, |dir| manifest.write(dir))?;
                }
                let samples: Vec<usize> = ready.run.shown.iter().map(|data| data.train.len()).collect();
                let checkpoint = Checkpoint::read(folder.path(), &manifest, &ready.run.plan, &samples)?;
                report_missing_best(folder, &manifest, ready);
                log = Some(MetricsLog::resume(folder.path(), &manifest.metrics)?);
                (manifest, Some(checkpoint))
            }
            _ => {
                let found = folder.as_ref().and_then(|folder| Manifest::read(folder.path()).ok());
                earlier = found.map(|manifest| manifest.progress.updates);
                let words = arguments.words.clone();
                let begun = Manifest::begin(&ready.settings, words, &ready.driver);
                (Manifest { folder: arguments.folder.clone(), ..begun }, None)
            }
        };
        let every = args.checkpoint_every;
        let keeps = folder.as_ref().is_some_and(|f| every.is_some() || !f.holds_finished_run());
        let log = log.or_else(|| folder.as_ref().filter(|_| keeps).map(|folder| MetricsLog::new(folder.path())));
        Ok((RunOutput { folder, every, manifest, log, keeps, earlier, unwritten: None }, checkpoint))
    }

    /// Reports an earlier checkpoint of the same run that this run does not resume.
    pub(super) fn report_earlier(&self, progress: &Progress) {
        if let Some((folder, earlier)) = self.folder.as_ref().zip(self.earlier) {
            progress.line(&format!(
                "this run starts from the beginning. {} holds a checkpoint after {}, which stays until this run has more \
                 updates. To continue from it: zilch train --resume {}",
                folder.path().display(),
                counted(earlier, "update"),
                quoted(folder.path())
            ));
        }
    }

    /// Trains, and writes checkpoints, the best weights and metrics on the way.
    pub(super) fn train(
        &mut self,
        ready: &ReadyRun,
        from: Option<Checkpoint>,
        stop: &AtomicBool,
        progress: &Progress,
    ) -> Result<Trained> {
        let RunOutput { folder, every, manifest, log, keeps, earlier, unwritten } = self;
        let folder = folder.as_ref().filter(|_| *keeps);
        let training = &ready.run.training;
        let first = ready.run.shown.first();
        let chance = first.map_or(1.0, |data| data.test.chance());
        let whole = first.map_or(0, |data| training.updates_per_epoch(data.train.len())).min(ready.total());
        // Both closures below, for epochs and for checkpoints, write to the log.
        let log = RefCell::new(log);
        let mut reported = false;
        let mut with = |checkpoint: &Checkpoint| {
            // A signal must not end the process while a checkpoint is written.
            signals::hold();
            if earlier.is_some_and(|earlier| checkpoint.progress.updates <= earlier) {
                return;
            }
            let written = match (folder, &mut *log.borrow_mut()) {
                (Some(folder), Some(log)) => write_checkpoint(folder, checkpoint, manifest, log),
                _ => Ok(()),
            };
            // A series of failures is reported once: the next attempt may succeed, and the last checkpoint is still there.
            if let (Err(error), false) = (&written, reported) {
                progress.line(&format!("{error}: this checkpoint was not written; the last one stays"));
            }
            reported = written.is_err();
            *unwritten = written.err().map(|_| checkpoint.clone());
        };
        let mut reported_best = false;
        let mut best = |weights: &Weights| {
            let written = folder.map_or(Ok(()), |folder| folder.write_best(&training.network, weights));
            if let (Err(error), false) = (&written, std::mem::replace(&mut reported_best, written.is_err())) {
                progress.line(&format!("{error}: the best weights were not written. Training continues"));
            }
        };
        let keep = folder.map(|_| Keep { every: *every, with: &mut with, best: &mut best });
        let mut reported_metrics = false;
        let mut watch = |event: Event<'_>| {
            if let (Event::Epoch(row), Some(log)) = (event, &mut *log.borrow_mut()) {
                let written = folder.map_or(Ok(()), RunFolder::is_ours).and_then(|()| log.push(row));
                if let (Err(error), false) = (&written, std::mem::replace(&mut reported_metrics, written.is_err())) {
                    progress.line(&format!("{error}: the metrics were not written. Training continues"));
                }
            }
            report_event(event, progress, training, (chance, whole));
        };
        ready.run.run(from, stop, &mut watch, keep)
    }

    /// Handles an error that ends training without a result: saves the last checkpoint, and prints how to continue from
    /// it.
    pub(super) fn failed(&self, error: Error) -> Error {
        let Some(folder) = &self.folder else { return error };
        folder.abandon();
        if let Some(checkpoint) = &self.unwritten {
            let written = elsewhere(&self.manifest.settings, |other| {
                checkpoint.write(other.path(), &self.manifest, &mut MetricsLog::new(other.path()))
            });
            match written {
                Ok(dir) => {
                    say(&format!("a checkpoint was written. Continue with: zilch train --resume {}", quoted(&dir)))
                }
                Err(error) => say(&format!("{error}: the checkpoint cannot be written anywhere")),
            }
        } else if let Ok(manifest) = Manifest::read(folder.path()) {
            let (updates, dir) = (counted(manifest.progress.updates, "update"), quoted(folder.path()));
            say(&format!("there is a checkpoint after {updates}. Continue with: zilch train --resume {dir}"));
        }
        error
    }

    /// How a signal ends the process before the first update: the folder is abandoned, and a message says how to
    /// continue.
    pub(super) fn leave(&self) -> Leave {
        let found = self.folder.as_ref().filter(|folder| Manifest::read(folder.path()).is_ok());
        let how = found.map(|folder| format!(". Continue with: zilch train --resume {}", quoted(folder.path())));
        let why = format!("interrupted before the first update{}", how.unwrap_or_default());
        Leave { folder: self.folder.clone(), why }
    }

    /// The end of the message about an interrupted run: the command that continues it.
    pub(super) fn how_to_continue(&self) -> String {
        match self.folder.as_ref().filter(|_| self.keeps && self.unwritten.is_none()) {
            Some(folder) => format!(". Continue with: zilch train --resume {}", quoted(folder.path())),
            None => String::new(),
        }
    }

    /// Writes the files of the run. A stopped run does not replace those of a finished run with equal settings. Returns their folder
    /// and the error, if any.
    pub(super) fn write(
        &mut self,
        ready: &ReadyRun,
        trained: &Trained,
        result: &Value,
    ) -> (Option<PathBuf>, Option<Error>) {
        let Some(folder) = &self.folder else { return (None, None) };
        if trained.stopped.is_some() && folder.holds_finished_run() {
            say(&format!("{} keeps the finished run that it holds", folder.path().display()));
            return (None, None);
        }
        // An interrupted run can only be resumed from its checkpoint, so a checkpoint that could not be written is
        // tried again.
        let written = match (&self.unwritten, &mut self.log) {
            (Some(checkpoint), Some(log)) if trained.stopped.is_some() => {
                write_checkpoint(folder, checkpoint, &self.manifest, log)
            }
            _ => Ok(()),
        };
        match written.and_then(|()| write_files(folder, ready, trained, result)) {
            Ok(()) => {
                // metrics.csv contains the whole log now. The log is also removed if a diverged run has left it without
                // a checkpoint.
                let over = trained.stopped.is_none() || !folder.path().join(CHECKPOINT_FILE).exists();
                if over && folder.is_ours().is_ok() {
                    Manifest::remove(folder.path());
                }
                (Some(folder.path().to_owned()), None)
            }
            Err(error @ Error::Io { .. }) => self.write_elsewhere(ready, trained, result, error),
            // Another folder helps only against I/O errors.
            Err(error) => (None, Some(error)),
        }
    }

    /// Writes the files, and the last checkpoint of a stopped run, to another folder after `error`.
    fn write_elsewhere(
        &self,
        ready: &ReadyRun,
        trained: &Trained,
        result: &Value,
        error: Error,
    ) -> (Option<PathBuf>, Option<Error>) {
        let checkpoint = self.unwritten.as_ref().filter(|_| trained.stopped.is_some());
        let written = elsewhere(&ready.settings, |folder| {
            write_files(folder, ready, trained, result)?;
            let mut log = MetricsLog::new(folder.path());
            checkpoint.map_or(Ok(()), |checkpoint| checkpoint.write(folder.path(), &self.manifest, &mut log))
        });
        match written {
            Ok(dir) => {
                let mut addition = format!("The results are in {} instead", dir.display());
                if checkpoint.is_some() {
                    addition += &format!(". Continue with: zilch train --resume {}", quoted(&dir));
                }
                (Some(dir), Some(more(error, &addition)))
            }
            Err(other) => {
                let addition = format!("The results could not be written to any other folder either ({other})");
                (None, Some(more(error, &addition)))
            }
        }
    }
}

/// Reports that the weights of the best epoch are missing. The run continues and writes those of the next better epoch.
fn report_missing_best(folder: &RunFolder, manifest: &Manifest, ready: &ReadyRun) {
    let path = folder.path().join(BEST_FILE);
    let kept = manifest.arguments.iter().any(|word| {
        let word = word.to_string_lossy();
        word.starts_with("--checkpoint-every") || word.starts_with("--patience")
    });
    if let (true, Some(epoch)) = (kept, manifest.progress.best_epoch)
        && let Err(error) = read_weights_for(&path, &ready.run.training.network)
    {
        say(&format!(
            "the weights of epoch {epoch}, the best so far, are lost ({error}). The run continues without them"
        ));
    }
}

/// Writes a checkpoint. It is an error if the folder is no longer the one that the run started with.
fn write_checkpoint(folder: &RunFolder, checkpoint: &Checkpoint, about: &Manifest, log: &mut MetricsLog) -> Result<()> {
    folder.is_ours()?;
    checkpoint.write(folder.path(), about, log)
}

/// Writes the files of a run.
fn write_files(folder: &RunFolder, ready: &ReadyRun, trained: &Trained, result: &Value) -> Result<()> {
    folder.write_weights(&ready.run.training.network, &trained.weights)?;
    folder.write_metrics(trained)?;
    if trained.probed.iter().any(|probed| !probed.is_empty()) {
        folder.write_curves(&picture(&trained.metrics, &trained.probed)?)?;
    }
    folder.write_run(result)
}

/// An I/O error with `addition` at the end of its message.
fn more(error: Error, addition: &str) -> Error {
    match error {
        Error::Io { path, source } => {
            Error::Io { path, source: io::Error::new(source.kind(), format!("{source}. {addition}")) }
        }
        other => Error::usage(format!("{other}. {addition}")),
    }
}

/// Writes to a new folder in the folder for temporary files, else in the current folder, else in the home folder. Returns the folder.
fn elsewhere(settings: &Value, write: impl Fn(&RunFolder) -> Result<()>) -> Result<PathBuf> {
    let places = [Some(env::temp_dir()), env::current_dir().ok(), env::home_dir()];
    let mut last = Error::usage("there is no folder for temporary files");
    for place in places.into_iter().flatten() {
        let dir = match new_folder(&place) {
            Ok(dir) => dir,
            Err(error) => {
                last = Error::io(&place, error);
                continue;
            }
        };
        match RunFolder::create(&dir, settings).and_then(|folder| write(&folder)) {
            Ok(()) => return Ok(dir),
            Err(error) => last = error,
        }
        // The folder is new, so it contains only files of this failed attempt.
        let _ = fs::remove_dir_all(&dir);
    }
    Err(last)
}

/// Creates a new folder in `place`.
fn new_folder(place: &Path) -> io::Result<PathBuf> {
    let mut last = None;
    for i in 0..NAMES {
        let dir = place.join(format!("zilch-{}-{i}", process::id()));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}
