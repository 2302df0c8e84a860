//! What a run keeps: checkpoints on the way, its files at the end, and another place for them where --out cannot take them.

use super::super::args::TrainArgs;
use super::super::progress::{Progress, say};
use super::super::signals::{self, Leave};
use super::config::Arguments;
use super::curves::picture;
use super::{ReadyRun, tell};
use serde_json::Value;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::{env, fs, io, process};
use zilch::network::read_weights_for;
use zilch::train::checkpoint::{CHECKPOINT_FILE, Checkpoint, Manifest};
use zilch::train::{BEST_FILE, MetricsLog, RunFolder};
use zilch::train::{Event, Every, Keep, Trained};
use zilch::{Error, Result, Weights};
use zilch_lab::shell::quoted_path as quoted;

/// Names that are tried for a folder that --out is not.
const NAMES: u32 = 100;

/// The folder of a run, if it has one, and what goes into it.
pub(super) struct RunOutput {
    folder: Option<RunFolder>,
    every: Option<Every>,
    manifest: Manifest,
    /// The log of epochs, in the folder.
    log: Option<MetricsLog>,
    /// Whether anything is kept on the way: what a finished run with equal settings left is not put at risk by one that may never
    /// end.
    keeps: bool,
    /// Updates of a checkpoint of the same run, begun anew: it stays until this run is as far.
    earlier: Option<u64>,
    /// The last checkpoint, if it could not be written.
    unwritten: Option<Checkpoint>,
}

impl RunOutput {
    /// Takes the folder, and reads the checkpoint that the run goes on from.
    pub(super) fn open(
        args: &TrainArgs,
        arguments: &Arguments,
        ready: &ReadyRun,
        from: Option<Manifest>,
    ) -> Result<(RunOutput, Option<Checkpoint>)> {
        let take = if from.is_some() { RunFolder::resume } else { RunFolder::create };
        let folder = args.out.as_deref().map(|dir| take(dir, &ready.settings)).transpose()?;
        let (mut earlier, mut log) = (None, None);
        let (manifest, checkpoint) = match (from, &folder) {
            // Read when no other process can write here any more.
            (Some(begun), Some(folder)) => {
                let manifest = Manifest { settings: begun.settings, ..Manifest::read(folder.path())? };
                let samples: Vec<usize> = ready.run.shown.iter().map(|data| data.train.len()).collect();
                let checkpoint = Checkpoint::read(folder.path(), &manifest, &ready.run.plan, &samples)?;
                tell_of_missing_best(folder, &manifest, ready);
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

    /// Tells of a checkpoint that this run does not go on from.
    pub(super) fn tell_of_earlier(&self, progress: &Progress) {
        if let Some((folder, earlier)) = self.folder.as_ref().zip(self.earlier) {
            progress.line(&format!(
                "this begins anew; {} holds a checkpoint after {} updates, which stays until this run has made as many: zilch train --resume \
                 goes on from there",
                folder.path().display(),
                earlier
            ));
        }
    }

    /// Trains, and keeps on the way what is to be kept.
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
        let chance = ready.run.shown.first().map_or(1.0, |data| data.test.chance());
        // Both the watcher of epochs and the keeper of checkpoints write to it.
        let log = RefCell::new(log);
        let mut told = false;
        let mut with = |checkpoint: &Checkpoint| {
            // Nobody ends the process in the middle of it.
            signals::hold();
            if earlier.is_some_and(|earlier| checkpoint.progress.updates <= earlier) {
                return;
            }
            let written = match (folder, &mut *log.borrow_mut()) {
                (Some(folder), Some(log)) => write_checkpoint(folder, checkpoint, manifest, log),
                _ => Ok(()),
            };
            // Once: the next one may succeed, and what was kept before is still there.
            if let (Err(error), false) = (&written, told) {
                progress.line(&format!("{error}: a checkpoint is not kept; the last one stays"));
            }
            told = written.is_err();
            *unwritten = written.err().map(|_| checkpoint.clone());
        };
        let mut told_best = false;
        let mut best = |weights: &Weights| {
            let written = folder.map_or(Ok(()), |folder| folder.write_best(&training.network, weights));
            if let (Err(error), false) = (&written, std::mem::replace(&mut told_best, written.is_err())) {
                progress.line(&format!("{error}: the best weights so far are not kept. The training goes on"));
            }
        };
        let keep = folder.map(|_| Keep { every: *every, with: &mut with, best: &mut best });
        let mut told_metrics = false;
        let mut watch = |event: Event<'_>| {
            if let (Event::Epoch(row), Some(log)) = (event, &mut *log.borrow_mut()) {
                let written = folder.map_or(Ok(()), RunFolder::is_ours).and_then(|()| log.push(row));
                if let (Err(error), false) = (&written, std::mem::replace(&mut told_metrics, written.is_err())) {
                    progress.line(&format!("{error}: the metrics are not kept for now. The training goes on"));
                }
            }
            tell(event, progress, training, chance);
        };
        ready.run.run(from, stop, &mut watch, keep)
    }

    /// What to do after a failure that left no result: a checkpoint, if there is one, is named.
    pub(super) fn failed(&self, error: Error) -> Error {
        let Some(folder) = &self.folder else { return error };
        folder.abandon();
        if let Some(checkpoint) = &self.unwritten {
            let written = elsewhere(&self.manifest.settings, |other| {
                checkpoint.write(other.path(), &self.manifest, &mut MetricsLog::new(other.path()))
            });
            match written {
                Ok(dir) => say(&format!("what was learned is kept. Go on with: zilch train --resume {}", quoted(&dir))),
                Err(error) => say(&format!("{error}: what was learned cannot be kept anywhere")),
            }
        } else if let Ok(manifest) = Manifest::read(folder.path()) {
            let (updates, dir) = (manifest.progress.updates, quoted(folder.path()));
            say(&format!("the checkpoint after {updates} updates is kept. Go on with: zilch train --resume {dir}"));
        }
        error
    }

    /// What is left where the run is ended before it has made an update.
    pub(super) fn leave(&self) -> Leave {
        let found = self.folder.as_ref().filter(|folder| Manifest::read(folder.path()).is_ok());
        let how = found.map(|folder| format!(". Go on with: zilch train --resume {}", quoted(folder.path())));
        let why = format!("interrupted before an update was made{}", how.unwrap_or_default());
        Leave { folder: self.folder.clone(), why }
    }

    /// What to say to someone who has interrupted the run.
    pub(super) fn how_to_go_on(&self) -> String {
        match self.folder.as_ref().filter(|_| self.keeps && self.unwritten.is_none()) {
            Some(folder) => format!(". Go on with: zilch train --resume {}", quoted(folder.path())),
            None => String::new(),
        }
    }

    /// Writes the run's files; one that was stopped leaves those of a finished run with equal settings alone. Returns where they are,
    /// and what went wrong.
    pub(super) fn write(
        &mut self,
        ready: &ReadyRun,
        trained: &Trained,
        result: &Value,
    ) -> (Option<PathBuf>, Option<Error>) {
        let Some(folder) = &self.folder else { return (None, None) };
        if trained.stopped.is_some() && folder.holds_finished_run() {
            say(&format!("{} keeps the finished run it holds", folder.path().display()));
            return (None, None);
        }
        // Without its checkpoint an interrupted run cannot go on from here.
        let written = match (&self.unwritten, &mut self.log) {
            (Some(checkpoint), Some(log)) if trained.stopped.is_some() => {
                write_checkpoint(folder, checkpoint, &self.manifest, log)
            }
            _ => Ok(()),
        };
        match written.and_then(|()| write_files(folder, ready, trained, result)) {
            Ok(()) => {
                // A log without a checkpoint, as a diverged run leaves one, is in metrics.csv as well.
                let over = trained.stopped.is_none() || !folder.path().join(CHECKPOINT_FILE).exists();
                if over && folder.is_ours().is_ok() {
                    Manifest::remove(folder.path());
                }
                (Some(folder.path().to_owned()), None)
            }
            Err(error @ Error::Io { .. }) => self.write_elsewhere(ready, trained, result, error),
            // What no place can take.
            Err(error) => (None, Some(error)),
        }
    }

    /// Writes them to another folder after `error`, and the last checkpoint of a run that was stopped.
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
                let mut said = format!("What was learned is in {} instead", dir.display());
                if checkpoint.is_some() {
                    said += &format!(", and goes on with: zilch train --resume {}", quoted(&dir));
                }
                (Some(dir), Some(more(error, &said)))
            }
            Err(other) => {
                let said = format!("No other place takes what was learned, either ({other})");
                (None, Some(more(error, &said)))
            }
        }
    }
}

/// Tells of a best epoch whose weights are not there any more: the run goes on, and keeps those of the next epoch that is better.
fn tell_of_missing_best(folder: &RunFolder, manifest: &Manifest, ready: &ReadyRun) {
    let path = folder.path().join(BEST_FILE);
    let kept = manifest.arguments.iter().any(|word| {
        let word = word.to_string_lossy();
        word.starts_with("--checkpoint-every") || word.starts_with("--patience")
    });
    if let (true, Some(epoch)) = (kept, manifest.progress.best_epoch)
        && let Err(error) = read_weights_for(&path, &ready.run.training.network)
    {
        say(&format!(
            "the weights of epoch {epoch}, the best so far, are lost ({error}). The run goes on without them"
        ));
    }
}

/// A checkpoint, into the folder that the run began with.
fn write_checkpoint(folder: &RunFolder, checkpoint: &Checkpoint, about: &Manifest, log: &mut MetricsLog) -> Result<()> {
    folder.is_ours()?;
    checkpoint.write(folder.path(), about, log)
}

/// The files of a run.
fn write_files(folder: &RunFolder, ready: &ReadyRun, trained: &Trained, result: &Value) -> Result<()> {
    folder.write_weights(&ready.run.training.network, &trained.weights)?;
    folder.write_metrics(trained)?;
    if trained.probed.iter().any(|probed| !probed.is_empty()) {
        folder.write_curves(&picture(&trained.metrics, &trained.probed)?)?;
    }
    folder.write_run(result)
}

/// An error of a file, with what more is to be said.
fn more(error: Error, said: &str) -> Error {
    match error {
        Error::Io { path, source } => {
            Error::Io { path, source: io::Error::new(source.kind(), format!("{source}. {said}")) }
        }
        other => Error::usage(format!("{other}. {said}")),
    }
}

/// Writes into a new folder among temporary files, else in the one at hand, else in the user's; returns which.
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
        // It is new, and all that is in it is this try's.
        let _ = fs::remove_dir_all(&dir);
    }
    Err(last)
}

/// A folder that was not there before.
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
