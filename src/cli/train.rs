//! `zilch train`

use super::args::TrainArgs;
use super::progress::{Progress, say};
use super::table::{energy, time};
use super::{Answer, check_threads, json, open, stop_flag};
use clap::Parser;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::checkpoint::{CHECKPOINT_FILE, Checkpoint, Manifest};
use zilch::data::Data;
use zilch::data::tasks::{Subset, Tasks};
use zilch::device::Device;
use zilch::device::gpu::Precision;
use zilch::files::{RunFolder, read_weights_for};
use zilch::host::Host;
use zilch::network::Init;
use zilch::probe::{Probe, Probed};
use zilch::reproduce::piece::{Outcome, Piece};
use zilch::rules::Optimizer;
use zilch::train::{Event, Keep, Length, Trained, Training};
use zilch::{Activation, Error, Options, Result, Weights};

/// Tasks whose errors are printed.
const SHOWN: usize = 12;

/// How near to chance a network has learned nothing.
const NEAR: f64 = 0.01;

pub(crate) fn run(args: &TrainArgs) -> Result<Answer> {
    if let Some(dir) = &args.resume {
        return resume(dir, args);
    }
    if args.checkpoint_every.is_some() && args.out.is_none() {
        return Err(Error::usage("--checkpoint-every keeps what it keeps in --out DIR; name one"));
    }
    go(args, None)
}

/// Options that --resume leaves to a person: the others are the run's.
const RESUMED: [&str; 4] = ["--resume", "--threads", "--checkpoint-every", "--json"];

/// Goes on with the run of a folder.
fn resume(dir: &Path, given: &TrainArgs) -> Result<Answer> {
    let typed = typed().into_iter().filter(|word| word.starts_with("--"));
    let mut others = typed.filter(|word| !RESUMED.contains(&word.split('=').next().unwrap_or(word)));
    if let Some(other) = others.next() {
        return Err(Error::usage(format!(
            "--resume goes on with a run as it was begun, and {other} is given; leave it out (only {} go with it)",
            RESUMED[1..].join(", ")
        )));
    }
    let dir = std::path::absolute(dir).map_err(|e| Error::io(dir, e))?;
    if dir.is_dir() && !dir.join(CHECKPOINT_FILE).exists() {
        return Err(Error::data(
            &dir,
            "there is no checkpoint here: the run is over, was stopped before it had one (see --checkpoint-every), or is none",
        ));
    }
    let manifest = Manifest::read(&dir)?;
    // Paths are those that were typed there; those of rules are read as they are parsed.
    if std::env::set_current_dir(&manifest.folder).is_err() {
        say(&format!(
            "{} is gone, where this run was begun: its relative paths are looked up from here",
            manifest.folder.display()
        ));
    }
    let Line { args } = Line::try_parse_from(&manifest.arguments)
        .map_err(|e| Error::data(&dir.join(CHECKPOINT_FILE), format!("the arguments in it are refused: {e}")))?;
    let args = TrainArgs {
        out: Some(dir),
        threads: given.threads.or(args.threads),
        checkpoint_every: given.checkpoint_every.or(args.checkpoint_every),
        json: given.json,
        ..args
    };
    go(&args, Some(manifest))
}

/// The words after `train` on the command line.
fn typed() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.skip_while(|word| word != "train").skip(1).collect()
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains(|c: char| c.is_whitespace() || "'\"\\$&;()*?<>|".contains(c)) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    text
}

/// What of two settings is not the same. Threads do not show in a run's bits.
fn changed(old: &Value, new: &Value) -> Vec<String> {
    // Through a file, as the old ones were.
    let new: Value = serde_json::from_str(&new.to_string()).unwrap_or_default();
    let names = old.as_object().into_iter().chain(new.as_object()).flat_map(|o| o.keys());
    let mut names: Vec<String> = names.filter(|n| *n != "threads" && old[*n] != new[*n]).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Trains, from a checkpoint on if there is one.
fn go(args: &TrainArgs, from: Option<Manifest>) -> Result<Answer> {
    let mut training = training(args)?;
    // Before any device or data are opened, as far as that can be told.
    training.options.plan(&training.network)?;
    training.options.lr_schedule = args.lr_schedule();
    let device = open(&args.device, args.threads, args.precision)?;
    check_threads(args.threads, slice::from_ref(&device), slice::from_ref(&args.device))?;
    let data = shown_of(args, Data::open(args.data.as_deref().unwrap_or_default())?, &mut training)?;
    let shown = training.shown(&data)?;
    shown.iter().try_for_each(|data| training.check(data))?;
    let plan = training.plan(&shown)?;
    device.fits(&plan, training.batch, true)?;
    let mut settings = settings(args, &training, &device, &data);
    // A CPU's says threads, which do not show in a run's bits.
    let driver = if let Device::Gpu(_) = device { device.driver() } else { "the CPU".to_owned() };
    if let Some(manifest) = &from {
        let changed = changed(&manifest.settings, &settings);
        if !changed.is_empty() {
            return Err(Error::usage(format!(
                "this run cannot go on to the same bits: {} changed since it was begun",
                changed.join(", ")
            )));
        }
        if (manifest.version.as_str(), manifest.driver.as_str()) != (env!("CARGO_PKG_VERSION"), &driver) {
            say(&format!(
                "this run was begun with zilch {} and {}; with zilch {} and {} its bits may differ",
                manifest.version,
                manifest.driver,
                env!("CARGO_PKG_VERSION"),
                driver
            ));
        }
        settings = manifest.settings.clone();
    }
    // From here on Ctrl-C and other signals end the training, and what it made is written.
    let stop = stop_flag();
    let folder = args.out.as_deref().map(|dir| RunFolder::create(dir, &settings)).transpose()?;
    // Read when no other process can write here any more.
    let from = from.map(|manifest| {
        Manifest::read(folder.as_ref().map_or(Path::new(""), RunFolder::path))
            .map(|new| Manifest { settings: manifest.settings, ..new })
    });
    let from = from.transpose()?;
    let checkpoint = match (&from, &folder) {
        (Some(manifest), Some(folder)) => Some(Checkpoint::read(folder.path(), manifest, &plan)?),
        _ => None,
    };

    say(&format!(
        "{} on {} with {} ({}): {} updates of {} samples",
        training.network,
        data.name,
        device.name(),
        training.options.rule.title(),
        training.total(&shown),
        training.batch
    ));
    let progress = Progress::new(training.total(&shown), "updates");
    let chance = shown.first().map_or(1.0, |data| data.test.chance());
    if let Some(Checkpoint { progress: done, .. }) = &checkpoint {
        progress.line(&format!("goes on after {} updates, in epoch {}", done.updates, done.epoch + 1));
    }
    // Of the same run, begun anew: what is further along stays until this one is.
    let earlier = match (&from, &folder) {
        (None, Some(folder)) => Manifest::read(folder.path()).map_or(0, |earlier| earlier.progress.updates),
        _ => 0,
    };
    if let Some(folder) = folder.as_ref().filter(|_| earlier > 0) {
        progress.line(&format!(
            "this begins anew; {} holds a checkpoint after {earlier} updates, which stays until this run has made as many: zilch train --resume goes on \
             from there",
            folder.path().display(),
        ));
    }
    let manifest = from.unwrap_or_else(|| Manifest::begin(&settings, typed(), &driver));
    // What a finished run with equal settings left is not put at risk by one that may never end.
    let keeps = folder.as_ref().filter(|f| args.checkpoint_every.is_some() || !f.holds_finished_run());
    let (mut kept, mut told) = (Ok(()), false);
    let mut with = |checkpoint: &Checkpoint| {
        if checkpoint.progress.updates <= earlier {
            return;
        }
        kept = keeps.map_or(Ok(()), |folder| checkpoint.write(folder.path(), &manifest));
        // Once: the next one may succeed, and what was kept before is still there.
        if let (Err(error), false) = (&kept, told) {
            progress.line(&format!("{error}: a checkpoint is not kept; the last one stays"));
        }
        told = kept.is_err();
    };
    let mut best = |weights: &Weights| {
        let written = keeps.map_or(Ok(()), |folder| folder.write_best(&training.network, weights));
        if let Err(error) = written {
            progress.line(&format!("{error}: the best weights so far are not kept. The training goes on"));
        }
    };
    let keep = keeps.map(|_| Keep { every: args.checkpoint_every, with: &mut with, best: &mut best });
    let trained = training.go_on(
        &device,
        &data,
        checkpoint,
        &stop,
        &mut |event| match event {
            Event::Updates(done, _, _) => progress.at(done),
            Event::Epoch(row) => {
                progress.line(&format!(
                    "epoch {:>3} · {} updates · {:.2} s · train energy {} · test error {:.2} %",
                    row.epoch,
                    row.updates,
                    row.seconds,
                    energy(row.train_energy),
                    100.0 * row.test_error
                ));
                let exploded = row.train_energy > EXPLODED;
                if row.epoch == 1 && chance > NEAR && row.test_error > chance - NEAR && row.train_energy.is_finite() {
                    progress.line(&at_chance(&training, row.test_error, chance, exploded));
                }
            }
        },
        keep,
    );
    progress.done();
    let mut trained = match (trained, folder.as_ref()) {
        (Err(error), Some(folder)) => {
            folder.abandon();
            if let Ok(manifest) = Manifest::read(folder.path()) {
                let (updates, dir) = (manifest.progress.updates, quoted(folder.path()));
                say(&format!("the checkpoint after {updates} updates is kept. Go on with: zilch train --resume {dir}"));
            }
            return Err(error);
        }
        (trained, _) => trained?,
    };

    if let (Some(Error::Interrupted(why)), Some(folder), Ok(())) = (&mut trained.stopped, keeps, &kept) {
        *why += &format!(". Go on with: zilch train --resume {}", quoted(folder.path()));
    }
    let result = result(&training, &settings, &device, &trained);
    let written = folder.as_ref().map_or(Ok(()), |folder| write(folder, &training, &trained, &result));
    if let (Some(folder), Ok(()), None) = (&folder, &written, &trained.stopped) {
        Manifest::remove(folder.path());
    }
    let text = if args.json { json(&result)? } else { summary(args, &trained) };
    // What was learned is told even if it could not be written.
    Ok(Answer { text, failure: written.err().or(trained.stopped) })
}

/// The part of the data that is shown; what is held out goes to the training.
fn shown_of(args: &TrainArgs, data: Data, training: &mut Training) -> Result<Arc<Data>> {
    let Some(n) = args.hold_out else { return Ok(Arc::new(args.subset.of(data)?)) };
    // Of the classes that are shown, under their labels; then as many of the rest as are wanted.
    let classes = Subset { per_class: None, ..args.subset.subset() };
    let (rest, held) = classes.of(&data)?.hold_out(n)?;
    training.held = Some(held);
    let fewer = Subset { classes: None, labels: None, test_per_class: None, ..args.subset.subset() };
    Ok(Arc::new(fewer.of(&rest)?))
}

/// A training energy a sample that no network learns from.
const EXPLODED: f64 = 1e3;

/// What is to be probed, each once.
fn probes(args: &TrainArgs) -> Result<Vec<Probe>> {
    let mut probes: Vec<Probe> = Vec::new();
    for probe in &args.probe {
        if probes.contains(probe) {
            return Err(Error::usage(format!("--probe names {} twice", probe.name())));
        }
        probes.push(*probe);
    }
    Ok(probes)
}

/// What to say of a network that answers no better than one that always names the commonest class, and what to try.
fn at_chance(training: &Training, error: f64, chance: f64, exploded: bool) -> String {
    let lr = training.options.alpha;
    // Two digits, as a person would write them.
    let round = |v: f64| format!("{v:.1e}").parse::<f64>().unwrap_or(v);
    let mut tries = vec![format!("--lr {:?}", round(lr / 10.0))];
    if !exploded {
        tries.push(format!("--lr {:?}", round(lr * 10.0)));
    }
    if training.initial.is_some_and(|init| init == Init::Uniform) {
        tries.push("--init xavier".into());
    }
    if training.network.activation == Activation::Sigmoid && training.options.rule.activation.is_none() {
        tries.push("--activation tanh".into());
    }
    if training.options.optimizer == Optimizer::Sgd {
        tries.push("--optimizer adam".into());
    }
    format!(
        "the test error is {:.2} %, and naming the commonest class always makes {:.2} %: after the first epoch the network has \
         learned nothing. If that stays so, try {}",
        100.0 * error,
        100.0 * chance,
        tries.join(", ")
    )
}

/// Writes a run's files; one that was stopped early leaves those of a finished run with equal settings alone.
fn write(folder: &RunFolder, training: &Training, trained: &Trained, result: &Value) -> Result<()> {
    if trained.stopped.is_some() && folder.holds_finished_run() {
        say(&format!("{} keeps the finished run it holds", folder.path().display()));
        return Ok(());
    }
    folder.write_weights(&training.network, &trained.weights)?;
    folder.write_metrics(trained)?;
    folder.write_curves(&trained.metrics, &trained.probed)?;
    folder.write_run(result)
}

/// A whole command line of its arguments.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    args: TrainArgs,
}

/// Trains by a command, on one thread of the CPU, with what else a [`Piece`] says: what `zilch reproduce` makes of experiments.
pub(crate) fn by_command(piece: &Piece, data: &Arc<Data>, stop: &AtomicBool) -> Result<Outcome> {
    let Piece { command, seed, .. } = piece;
    let seed_text = seed.to_string();
    let words = command.split_whitespace().chain(["--data", "given", "--seed", &seed_text]);
    let Line { args } = Line::try_parse_from(words).map_err(|e| Error::usage(e.to_string()))?;
    let mut training = training(&args)?;
    training.options.lr_schedule = args.lr_schedule();
    let all = data;
    let data = shown_of(&args, Data::clone(data), &mut training)?;
    training.tasks = piece.tasks.clone().or(training.tasks);
    if let Some(before) = &piece.before {
        let first = Piece { command: before.clone(), seed: *seed, ..Piece::default() };
        training.init = by_command(&first, all, stop)?.weights;
    }
    let device = open("cpu", Some(1), Precision::default())?;
    let trained = training.run(&device, &data, stop, &mut |_| ())?;
    if let Some(stopped @ Error::Interrupted(_)) = trained.stopped {
        return Err(stopped);
    }
    let angles = trained.probed.last().and_then(|probed| probed.first()).map(|p| p.values.clone());
    Ok(Outcome {
        name: piece.name.clone(),
        command: command.clone(),
        seed: *seed,
        errors: trained.metrics.iter().map(|row| row.test_error).collect(),
        held: trained.held,
        tested: trained.tested,
        angles: angles.unwrap_or_default(),
        updates: trained.updates,
        seconds: trained.seconds,
        stopped: trained.stopped.map(|e| e.to_string()),
        tasks: piece.tasks.clone(),
        before: piece.before.clone(),
        weights: Some(trained.weights),
    })
}

fn training(args: &TrainArgs) -> Result<Training> {
    let network = args.rule.network()?;
    let initial = args.drawn();
    let file = args.init.as_deref().filter(|_| initial.is_none());
    let init = file.map(|path| read_weights_for(path, &network)).transpose()?;
    let length = match (args.epochs, args.updates) {
        (_, Some(0)) | (Some(0), _) => return Err(Error::usage("--epochs and --updates must be at least 1")),
        (_, Some(updates)) => Length::Updates(updates),
        (epochs, None) => Length::Epochs(epochs.unwrap_or(10)),
    };
    if args.epoch_updates == Some(0) {
        return Err(Error::usage("--epoch-updates must be at least 1"));
    }
    if !((args.init_gain as f32).is_finite() && args.init_gain >= 0.0) {
        return Err(Error::usage(format!(
            "--init-gain must be zero or a positive float32 number; {:e} given",
            args.init_gain
        )));
    }
    if init.is_some() && args.init_gain != 1.0 {
        return Err(Error::usage("--init-gain is for weights that are drawn, and --init names a file"));
    }
    Ok(Training {
        network,
        options: Options { seed: args.seed, ..args.rule.options()? },
        batch: args.rule.batch,
        length,
        seed: args.seed,
        shuffle: !args.no_shuffle,
        initial,
        init_gain: args.init_gain,
        init,
        epoch_updates: args.epoch_updates,
        tasks: args.tasks.as_deref().map(Tasks::read).transpose()?,
        held: None,
        probes: probes(args)?,
    })
}

/// Every option as resolved: what a run must share with another to give the same weights on one device.
fn settings(args: &TrainArgs, training: &Training, device: &Device, data: &Data) -> Value {
    let (network, options) = (&training.network, &training.options);
    let takes = |name: &str| options.rule.takes(name);
    json!({
        "layers": network.input_first(),
        "activation": network.activation,
        "bias": network.bias,
        "input_activation": network.input_activation,
        "pixels": network.pixels,
        "targets": network.targets,
        "rule": options.rule,
        // What a rule has no use for is null, so that it cannot tell equal runs apart.
        "schedule": takes("schedule").then(|| options.schedule()),
        "coords": takes("coords").then_some(options.coords),
        "gamma": takes("gamma").then(|| options.gamma()),
        "steps": takes("steps").then(|| options.steps(network)),
        "phi": takes("phi").then_some(options.phi),
        "td": takes("td").then_some(options.td),
        "own": own(options),
        "lr": options.alpha,
        "mean": options.mean,
        "loss": options.loss,
        "optimizer": options.optimizer,
        "weight_decay": options.weight_decay(),
        "momentum": (options.optimizer == Optimizer::Momentum).then(|| options.averages()[0]),
        "betas": matches!(options.optimizer, Optimizer::Adam | Optimizer::Adamw).then(|| [options.averages()[1], options.averages()[2]]),
        "lr_schedule": options.lr_schedule.ramp,
        "layer_lr": (!options.layer_lr.is_empty()).then_some(&options.layer_lr),
        "warmup": options.lr_schedule.warmup,
        "batch": training.batch,
        "length": training.length,
        "seed": training.seed,
        "shuffle": training.shuffle,
        "init": training.initial,
        "init_gain": training.initial.map(|_| training.init_gain),
        "subset": Some(args.subset.subset()).filter(|subset| !subset.is_all()),
        "tasks": training.tasks,
        "hold_out": args.hold_out,
        "epoch_updates": training.epoch_updates,
        "init_sha256": training.init.as_ref().map(zilch::Weights::sha256),
        "device": device.kind(),
        "device_name": device.name(),
        "precision": args.precision,
        "threads": if let Device::Cpu(_) = device { args.threads } else { None },
        "data": data.name,
        "data_sha256": data.checksums.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}

/// The rule's own options, with their defaults, as they are written on the command line.
fn own(options: &Options) -> BTreeMap<&'static str, String> {
    options.rule.own.iter().map(|choice| (choice.name, choice.write(options.own(choice.name)))).collect()
}

fn result(training: &Training, settings: &Value, device: &Device, trained: &Trained) -> Value {
    let threads = if let Device::Cpu(cpu) = device { cpu.threads() } else { 1 };
    json!({
        "settings": settings,
        "version": env!("CARGO_PKG_VERSION"),
        "host": Host::new(threads),
        "driver": device.driver(),
        "software": device.software(),
        "parameters": training.network.parameters(),
        "updates": trained.updates,
        "seconds": trained.seconds,
        "weights_sha256": trained.weights.sha256(),
        "epochs": trained.metrics,
        "tested": (!trained.tested.is_empty()).then_some(&trained.tested),
        "held_out": (!trained.held.is_empty()).then_some(&trained.held),
        "probes": trained.probed,
        "stopped": trained.stopped.as_ref().map(ToString::to_string),
    })
}

/// The last numbers of a probe, a layer after the other.
fn probe(Probed { probe, first, values }: &Probed) -> String {
    let (name, symbol, unit) = match probe {
        Probe::Alignment => ("angle to BP", "θ", "°"),
        Probe::Energy => ("energy", "ε", ""),
        Probe::Eps => ("size of ε", "ε", ""),
        Probe::Target => ("angle to target", "", "°"),
    };
    let number = |v: &f64| if unit.is_empty() { format!("{v:.2e}") } else { format!("{v:.2}{unit}") };
    let one = |(i, v): (usize, &Option<f64>)| {
        let place = if symbol.is_empty() { String::new() } else { format!("{symbol}^{} ", first + i) };
        format!("{place}{}", v.as_ref().map_or_else(|| "–".to_owned(), number))
    };
    format!("{name:<15} {}\n", values.iter().enumerate().map(one).collect::<Vec<_>>().join("  "))
}

fn summary(args: &TrainArgs, trained: &Trained) -> String {
    let mut text = String::new();
    if let Some(last) = trained.metrics.last() {
        text += &format!("test error      {:.2} %\n", 100.0 * last.test_error);
        text += &format!("train energy    {} a sample\n", energy(last.train_energy));
    }
    if let Some(error) = trained.held.last() {
        text += &format!("held-out error  {:.2} %\n", 100.0 * error);
    }
    if let Some(errors) = trained.tested.last() {
        let all: Vec<String> = errors.iter().map(|e| format!("{:.2} %", 100.0 * e)).collect();
        let more = all.len().saturating_sub(SHOWN);
        let rest = if more > 0 { format!("  … and {more} more") } else { String::new() };
        text += &format!("of each task    {}{rest}\n", all[..all.len() - more].join("  "));
    }
    for probed in trained.probed.last().into_iter().flatten() {
        text += &probe(probed);
    }
    text += &format!("updates         {} in {:.2} s", trained.updates, trained.seconds);
    if trained.updates > 0 && trained.seconds > 0.0 {
        text += &format!(", {} each", time(trained.seconds / trained.updates as f64 * 1e6));
    }
    text.push('\n');
    text += &format!("weights sha256  {}\n", trained.weights.sha256());
    if let Some(dir) = &args.out {
        text += &format!("written to      {}\n", dir.display());
    }
    text
}
