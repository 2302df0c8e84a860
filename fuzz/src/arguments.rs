//! The command line. An input is its words, one per line. An accepted command runs like in the program until it would allocate memory.

#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../../cli/src/commands/args.rs"]
pub(super) mod args;

use super::bytes::part;
use super::tiny::DATA;
use args::{Cli, Command, MNIST, RuleArgs, TrainArgs};
use clap::{CommandFactory, FromArgMatches};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use zilch::data::Data;
use zilch::device::check_batch;
use zilch::lower::Program;
use zilch::train::{Length, Training};
use zilch::{Network, Options, Result};

thread_local! {
    /// Built once, because building it takes longer than everything else.
    static GRAMMAR: RefCell<clap::Command> = RefCell::new(Cli::command());
}

/// Plans with more ops are too slow to lower for a fuzzer, and networks with more layers are too slow to plan.
const MOST_OPS: usize = 2_000;
const MOST_LAYERS: usize = 12;

pub fn run(bytes: &[u8]) {
    let words = std::iter::once("zilch".into()).chain(bytes.split(|b| *b == b'\n').map(word));
    let read = GRAMMAR.with_borrow_mut(|grammar| grammar.try_get_matches_from_mut(words));
    match read.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            // Valid words may still be refused by their values.
            let _ = execute(&cli.command, part(bytes));
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error without a message"),
    }
}

/// A word of a command line, from the bytes of the input.
#[cfg(unix)]
fn word(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn word(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// Every name and value in the grammar, for the dictionary of the fuzzer.
pub fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for command in Cli::command().get_subcommands() {
        known.insert(command.get_name().to_owned());
        for argument in command.get_arguments() {
            known.extend(argument.get_long().map(|name| format!("--{name}")));
            known.extend(argument.get_possible_values().iter().map(|value| value.get_name().to_owned()));
        }
    }
    known
}

fn execute(command: &Command, part: u8) -> Result<()> {
    match command {
        Command::Plan(args) => {
            check_batch(args.rule.batch())?;
            plan(&args.rule, part)?;
        }
        Command::Train(args) => train(args)?,
        Command::Trace(args) => plan(&args.rule, part)?,
        Command::Compare(args) => {
            let network = Network::parse(&args.layers.to_string_lossy())?.with_activation(args.activation);
            check_batch(args.batch)?;
            for rule in args.rules.iter().flatten() {
                let steps = args.steps.filter(|_| rule.takes("steps"));
                let (schedule, coords) = (args.schedule, args.coords);
                Options { steps, schedule, coords, ..Options::new(*rule) }.plan(&rule.suited(network.clone()))?;
            }
        }
        Command::Tune(args) => {
            Network::parse(&args.layers.to_string_lossy())?;
            check_batch(args.batch)?;
        }
        Command::Evolve(args) => drop(Network::parse(&args.layers.to_string_lossy())?),
        _ => {}
    }
    Ok(())
}

fn plan(args: &RuleArgs, part: u8) -> Result<()> {
    let network = args.network(MNIST)?;
    let options = args.options(&network)?;
    if network.lmax() > MOST_LAYERS {
        return Ok(());
    }
    let plan = options.plan(&network)?;
    plan.cost(args.batch());
    if part.is_multiple_of(4) && plan.ops().count() < MOST_OPS {
        assert!(!plan.to_string().is_empty() && !plan.properties().list().is_empty(), "a plan without text");
    }
    if part.is_multiple_of(16) && plan.ops().count() < MOST_OPS {
        Program::new(&plan).count();
    }
    Ok(())
}

fn train(args: &TrainArgs) -> Result<()> {
    let length = match (args.epochs, args.updates) {
        (_, Some(updates)) => Length::Updates(updates),
        (epochs, None) => Length::Epochs(epochs.unwrap_or(10)),
    };
    let network = args.rule.network(MNIST)?;
    let mut options = Options { seed: args.seed, augment: args.augment, ..args.rule.options(&network)? };
    options.lr_schedule = args.lr_schedule();
    let training = Training {
        options,
        batch: args.rule.batch(),
        shuffle: !args.no_shuffle,
        seed: args.seed,
        initial: args.drawn(),
        init_gain: args.init_gain(network.matrices()),
        epoch_updates: args.epoch_updates,
        probes: args.probe.clone(),
        ..Training::new(network, length)
    };
    if training.network.lmax() > MOST_LAYERS {
        return Ok(());
    }
    let data = match args.hold_out {
        Some(n) => DATA.hold_out(n)?.0,
        None => Data::clone(&DATA),
    };
    let subset = args.subset.subset();
    let shown = [Arc::new(if subset.is_all() { data } else { subset.of(&data)? })];
    training.check(&shown[0])?;
    training.plan(&shown)?;
    training.order(shown[0].train.len(), 0);
    Ok(())
}
