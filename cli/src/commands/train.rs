//! `zilch train`

mod config;
mod curves;
mod output;
mod report;
mod seeds;
#[cfg(test)]
mod tests;

use super::args::{MNIST, TrainArgs, of_a_file};
use super::progress::{Progress, say};
use super::table::{energy, option};
use super::{Answer, Deadline, check_threads, json, open, signals, stop_flag};
use clap::Parser;
use config::{Arguments, Line};
use output::RunOutput;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use zilch::data::Data;
use zilch::data::tasks::Tasks;
use zilch::files::counted;
use zilch::named::Named;
use zilch::network::Init;
use zilch::network::read_weights_for;
use zilch::rules::{Learning, Ramp};
use zilch::train::checkpoint::{CHECKPOINT_FILE, Checkpoint, Manifest};
use zilch::train::{EpochRow, metrics_json, value_text};
use zilch::train::{Event, Length, Prepared, Trained, Training};
use zilch::{Error, Options, Result};
use zilch_lab::settings::shown;

/// A test error above chance − `NEAR` counts as nothing learned.
const NEAR: f64 = 0.01;

/// Options allowed on a command line with `--resume`. The others come from the run.
const RESUMED: [&str; 6] = ["resume", "epochs", "threads", "checkpoint-every", "max-time", "json"];

pub(crate) fn run(args: &TrainArgs) -> Result<Answer> {
    let deadline = Deadline::new(args.max_time);
    if let Some(dir) = &args.resume {
        let (args, manifest) = resumed(dir, args)?;
        let Manifest { arguments, folder, .. } = manifest.clone();
        let arguments = Arguments { words: arguments, folder, left_out: None };
        return go(&args, &arguments, Some(manifest), &deadline)?.answer(args.json);
    }
    let (read, arguments);
    let args = match &args.config {
        Some(file) => {
            (read, arguments) = config::with_file(file)?;
            arguments.left_out.iter().for_each(|left_out| say(left_out));
            &read
        }
        None => {
            arguments = Arguments::typed();
            args
        }
    };
    if args.out.is_none() && args.checkpoint_every.is_some() {
        return Err(Error::usage("--checkpoint-every writes checkpoints to --out DIR; add --out DIR"));
    }
    match args.seeds {
        Some(seeds) => seeds::run(args, &arguments, seeds, &deadline),
        None => go(args, &arguments, None, &deadline)?.answer(args.json),
    }
}

/// The arguments and the manifest of the run in `dir`, to resume it.
fn resumed(dir: &Path, given: &TrainArgs) -> Result<(TrainArgs, Manifest)> {
    if let Some(other) =
        config::typed().into_iter().find(|(name, _)| !RESUMED.contains(&name.as_str())).map(|(name, _)| name)
    {
        let allowed: Vec<String> = RESUMED[1..].iter().map(|name| format!("--{name}")).collect();
        return Err(Error::usage(format!(
            "--resume continues a run with its own options, but --{other} is given; remove it (allowed with --resume: {})",
            allowed.join(", ")
        )));
    }
    let dir = std::path::absolute(dir).map_err(|e| Error::data(dir, e.to_string()))?;
    if !dir.is_dir() {
        let what = if dir.exists() { "this is not a folder" } else { "there is no such folder" };
        return Err(Error::data(&dir, format!("{what}; --resume takes the --out folder of a run")));
    }
    if dir.join(CHECKPOINT_FILE).symlink_metadata().is_err() {
        return Err(Error::data(
            &dir,
            "there is no checkpoint here: the run is finished, it stopped before its first checkpoint (see --checkpoint-every), or this \
             is not the folder of a run. A new run can start from the weights of a finished one: --init DIR/weights.safetensors",
        ));
    }
    let mut manifest = Manifest::read(&dir)?;
    if let Some(epochs) = given.epochs {
        lengthen(&mut manifest, epochs)?;
    }
    // The arguments contain paths relative to the folder in which the run was started. Rule files are read during parsing, so the
    // working folder must change before it.
    if std::env::set_current_dir(&manifest.folder).is_err() {
        say(&format!(
            "{}, in which this run was started, does not exist any more; its relative paths are resolved from the current folder",
            manifest.folder.display()
        ));
    }
    let Line { args } = Line::try_parse_from(&manifest.arguments).map_err(|e| {
        let why = format!("its arguments are invalid: {}", config::first_line(&e));
        of_a_file(&e).unwrap_or_else(|| Error::data(&dir.join(CHECKPOINT_FILE), why))
    })?;
    if given.epochs.is_some() && args.lr_schedule != Ramp::Constant {
        return Err(Error::usage(format!(
            "--epochs cannot change the length of a run with --lr-schedule {}: the learning rate of its updates depends on the length. \
             Resume it without --epochs",
            args.lr_schedule.name()
        )));
    }
    let args = TrainArgs {
        out: Some(dir),
        threads: given.threads.or(args.threads),
        checkpoint_every: given.checkpoint_every.or(args.checkpoint_every),
        json: given.json,
        ..args
    };
    Ok((args, manifest))
}

/// Changes the length of a run to `epochs`, in its settings and in its arguments.
fn lengthen(manifest: &mut Manifest, epochs: u64) -> Result<()> {
    let begins = |word: &OsString, name: &str| word.as_encoded_bytes().starts_with(name.as_bytes());
    if manifest.arguments.iter().any(|word| begins(word, "--updates=")) {
        return Err(Error::usage(
            "this run has a length in --updates, so --epochs does not apply; resume it without --epochs",
        ));
    }
    let (epoch, within) = (manifest.progress.epoch, manifest.progress.within);
    if epochs < epoch.saturating_add(u64::from(within > 0)) {
        return Err(Error::usage(format!(
            "--epochs {epochs} is less than this run has trained: {epoch} epochs and {within} updates; give a larger number"
        )));
    }
    manifest.arguments.retain(|word| !begins(word, "--epochs="));
    manifest.arguments.push(format!("--epochs={epochs}").into());
    if let Some(settings) = manifest.settings.as_object_mut() {
        settings.insert("length".into(), json!(Length::Epochs(epochs)));
    }
    Ok(())
}

/// A run that can start: its data and its device are open, and its plan fits both.
struct ReadyRun {
    /// The training, with its plan compiled for the device.
    run: Prepared,
    data: Arc<Data>,
    settings: Value,
    /// The driver of the GPU, or "the CPU": the driver text of a CPU names its threads, which do not change any result.
    driver: String,
}

impl ReadyRun {
    fn new(args: &TrainArgs) -> Result<Self> {
        // Errors in the options are found before a device or data are opened, unless the network takes its size from the data.
        let data = || Data::read(args.data.as_deref().unwrap_or_default(), &args.reading.reading());
        let opened = args.rule.follows_data().then(data).transpose()?;
        let mut training = training(args, opened.as_ref().map_or(MNIST, |data| args.subset.ends(data)))?;
        training.options.lr_schedule = args.lr_schedule();
        let plan = training.planned()?;
        let device = open(&args.device, args.threads, args.precision)?;
        check_threads(args.threads, slice::from_ref(&device), slice::from_ref(&args.device))?;
        let data = shown_of(args, opened.map_or_else(data, Ok)?, &mut training)?;
        let shown = training.shown(&data)?;
        let run = training.prepare(plan, &device, shown, 0)?;
        let settings = report::settings(args, &training, &device, &data);
        let driver = if device.as_cpu().is_some() { "the CPU".to_owned() } else { device.driver() };
        Ok(ReadyRun { run, data, settings, driver })
    }

    /// The number of updates of the whole run.
    fn total(&self) -> u64 {
        self.run.total()
    }

    /// Refuses to resume a run that has other settings. Reports another version or driver.
    fn resume_from(&mut self, manifest: &Manifest) -> Result<()> {
        let changed = report::changed(&manifest.settings, &self.settings);
        if !changed.is_empty() {
            return Err(Error::usage(format!(
                "this run cannot be resumed with bit-identical results: {} changed since it was started",
                changed.join(", ")
            )));
        }
        let version = env!("CARGO_PKG_VERSION");
        if (manifest.version.as_str(), &manifest.driver) != (version, &self.driver) {
            say(&format!(
                "this run was started with zilch {} and {}; with zilch {version} and {} its results may differ in their bits",
                manifest.version, manifest.driver, self.driver
            ));
        }
        self.settings = manifest.settings.clone();
        Ok(())
    }
}

/// The result of a run.
struct Ran {
    /// The document of `run.json`.
    result: Value,
    trained: Trained,
    /// The folder with its files.
    written: Option<PathBuf>,
    failure: Option<Error>,
}

impl Ran {
    /// The document that `--json` prints: `run.json`, the epochs and the folder.
    fn document(&self) -> Value {
        let mut document = self.result.clone();
        if let Some(document) = document.as_object_mut() {
            document.extend(metrics_json(&self.trained.rows()));
        }
        if let Some(dir) = &self.written {
            document["written_to"] = dir.display().to_string().into();
        }
        document
    }

    /// The output of the command. It contains the results even if they could not be written.
    fn answer(self, as_json: bool) -> Result<Answer> {
        let text = match as_json {
            true => json(&self.document())?,
            false => report::summary(&self.trained, self.written.as_deref()),
        };
        Ok(Answer { text, failure: self.failure })
    }
}

/// Trains, from a checkpoint if `from` is one.
fn go(args: &TrainArgs, arguments: &Arguments, from: Option<Manifest>, deadline: &Deadline) -> Result<Ran> {
    let mut ready = ReadyRun::new(args)?;
    from.as_ref().map_or(Ok(()), |manifest| ready.resume_from(manifest))?;
    go_ready(args, arguments, &ready, from, deadline)
}

/// As [`go`], for a run that is ready.
fn go_ready(
    args: &TrainArgs,
    arguments: &Arguments,
    ready: &ReadyRun,
    from: Option<Manifest>,
    deadline: &Deadline,
) -> Result<Ran> {
    let stop = stop_flag();
    let (mut output, checkpoint) = RunOutput::open(args, arguments, ready, from)?;
    signals::free(output.leave());
    say(&format!(
        "{} on {} with {} ({}): {} of {}",
        ready.run.training.network,
        ready.data.name,
        ready.run.device.name(),
        ready.run.training.options.rule.title(),
        counted(ready.total(), "update"),
        counted(ready.run.training.batch, "sample")
    ));
    let progress = Progress::new(ready.total(), "updates");
    if let Some(Checkpoint { progress: done, .. }) = &checkpoint {
        progress.line(&format!("continues after {}, in epoch {}", counted(done.updates, "update"), done.epoch + 1));
    }
    output.report_earlier(&progress);
    // `--max-time` does not include loading, so that a run resumed repeatedly makes progress each time.
    deadline.begin(&stop)?;
    let trained = output.train(ready, checkpoint, &stop, &progress);
    signals::hold();
    progress.done();
    let mut trained = trained.map_err(|error| output.failed(error))?;
    if let Some(Error::Interrupted(why)) = &mut trained.stopped {
        if deadline.is_over() {
            *why = why.replacen("interrupted", "--max-time is over", 1);
        }
        *why += &output.how_to_continue();
    }
    let result = report::result(ready, &trained, arguments);
    let (written, failed) = output.write(ready, &trained, &result);
    Ok(Ran { result, written, failure: failed.or_else(|| trained.stopped.take()), trained })
}

/// Prints the progress of updates and epochs. `chance` is the error of always answering the most frequent class, and `first` the number
/// of updates of the first epoch.
fn report_event(event: Event<'_>, progress: &Progress, training: &Training, (chance, first): (f64, u64)) {
    // After the first update a signal must not discard the weights.
    signals::hold();
    match event {
        Event::Updates(done, _, _) => progress.at(done),
        Event::Reopened { error, updates, .. } => {
            progress.line(&format!(
                "{error}. The device was reopened; training continues after {}",
                counted(updates, "update")
            ));
        }
        Event::Epoch(EpochRow { metrics: row, .. }) => {
            progress.line(&format!(
                "epoch {:>3} · {} · {:.2} s · train energy {} · {}",
                row.epoch,
                counted(row.updates, "update"),
                row.seconds,
                energy(row.train_energy),
                row.tested()
            ));
            let exploded = row.train_energy > EXPLODED;
            // The squared error of real targets is compared with their variance, which has no scale of its own.
            let (near, means) = match row.test_r2 {
                None => (NEAR, AT_CHANCE),
                Some(_) => (NEAR * chance, AT_MEAN),
            };
            // An epoch that a divergence cut short is reported by the error of the divergence.
            let whole = row.epoch == 1 && row.updates >= first;
            if whole && chance > near && row.test_error > chance - near && row.train_energy.is_finite() {
                let [error, chance] = [row.test_error, chance].map(|error| value_text(error, row.test_r2.is_some()));
                progress.line(&at_chance(training, [&error, means, &chance], exploded));
            }
        }
    }
}

/// The data to train and test on. The held-out samples go to the training.
fn shown_of(args: &TrainArgs, data: Data, training: &mut Training) -> Result<Arc<Data>> {
    let (shown, held) = shown(data, args.subset.subset(), args.hold_out)?;
    training.held = held;
    Ok(Arc::new(shown))
}

/// Training energy per sample above which the training has failed.
const EXPLODED: f64 = 1e3;

/// What chance is: for classes, and for real targets.
const AT_CHANCE: &str = "always answering the most frequent class";
const AT_MEAN: &str = "always answering the mean";

/// The message about a network that is no better than chance, with options to try: its error, what chance is, and the error at chance.
fn at_chance(training: &Training, [error, chance, at_chance]: [&str; 3], exploded: bool) -> String {
    let Training { options, network, initial: init, init_gain, .. } = training;
    let advice = Learning { options, network, init: *init, init_gain, batch: training.batch }.advice();
    let (rule, lr) = (options.rule.name(), options.alpha);
    let tries = match (advice.is_empty(), exploded) {
        (false, _) => {
            let words: Vec<String> = advice.iter().map(|(name, value)| option(name, value)).collect();
            format!("try the settings that are recommended for --rule {rule}: {}", words.join(" "))
        }
        (true, true) => format!("try --lr {}", rounded(lr / 10.0)),
        (true, false) => format!("try --lr {} or --lr {}", rounded(lr / 10.0), rounded(lr * 10.0)),
    };
    format!(
        "the test error is {error}, and {chance} gives {at_chance}: after the first epoch the network has \
         learned nothing. If this does not change, {tries}"
    )
}

/// A number with two significant digits.
fn rounded(value: f64) -> String {
    format!("{:?}", format!("{value:.1e}").parse::<f64>().unwrap_or(value))
}

/// Refuses a value of `--init` that is neither the name of an initialisation nor the path of a file.
fn check_init(path: &Path) -> Result<()> {
    let word = path.to_str().filter(|word| !path.exists() && path.extension().is_none() && !word.contains(['/', '\\']));
    let Some(word) = word else { return Ok(()) };
    let ways = Init::ALL.map(Init::name);
    let meant = Init::nearest(word).map_or(String::new(), |way| format!("; did you mean {way}?"));
    Err(Error::data(
        path,
        format!("--init takes {} or a weights file, and there is no file with this name{meant}", ways.join(", ")),
    ))
}

/// The training; `ends` are the inputs and outputs of a network whose layers are not given.
fn training(args: &TrainArgs, ends: [usize; 2]) -> Result<Training> {
    let network = args.rule.network(ends)?;
    let initial = args.drawn();
    let file = args.init.as_deref().filter(|_| initial.is_none());
    file.map_or(Ok(()), check_init)?;
    let init = file.map(|path| read_weights_for(path, &network)).transpose()?;
    let length = match (args.epochs, args.updates) {
        (_, Some(updates)) => Length::Updates(updates),
        (epochs, None) => Length::Epochs(epochs.unwrap_or(10)),
    };
    let tasks = args.tasks.as_deref().map(Tasks::read).transpose()?;
    Ok(Training {
        options: Options { seed: args.seed, augment: args.augment, ..args.rule.options(&network)? },
        init_gain: args.init_gain(network.matrices()),
        network,
        batch: args.rule.batch(),
        length,
        seed: args.seed,
        shuffle: !args.no_shuffle,
        initial,
        init,
        epoch_updates: args.epoch_updates,
        tasks,
        held: None,
        probes: args.probe.clone(),
        patience: args.patience,
    })
}
