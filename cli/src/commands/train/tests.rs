//! Tests that the `zilch train` commands written by experiments parse to the settings of the experiment.

use super::super::args::{MNIST, TrainArgs};
use super::config::{Line, command as grammar};
use super::{Training, training};
use clap::Parser;
use std::process::Command;
use zilch::network::Init;
use zilch::plan::activation::Activation;
use zilch::plan::augment::Augment;
use zilch::rules::{Coords, Loss, Optimizer, Options, Phi, Preset, Ramp, Rule, Schedule};
use zilch::train::Length;
use zilch::train::probe::Probe;
use zilch_lab::command::command;
use zilch_lab::experiments::EXPERIMENTS;
use zilch_lab::settings::Settings;

/// Options that are not settings of an experiment: data and seed (set by every trial), devices, files, and output.
const NOT_SETTINGS: [&str; 17] = [
    // It sets factors of --layer-lr to 0.
    "freeze",
    "data",
    "seed",
    "device",
    "precision",
    "threads",
    "tasks",
    "out",
    "checkpoint-every",
    "resume",
    "config",
    "seeds",
    "max-time",
    "json",
    "help",
    "updates",
    "epochs",
];

/// The words of a command, split by a shell.
fn words(command: &str) -> Vec<String> {
    let script = format!("for word in {command}; do printf '%s\\n' \"$word\"; done");
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// The training that a command describes.
fn parsed(command: &str) -> (TrainArgs, Training) {
    let given = ["--data", "digits", "--seed", "7"].map(str::to_owned);
    let read = Line::try_parse_from(words(command).into_iter().chain(given));
    let Line { args } = read.unwrap_or_else(|e| panic!("{command}: {e}"));
    let mut training = training(&args, MNIST).unwrap_or_else(|e| panic!("{command}: {e}"));
    training.options.lr_schedule = args.lr_schedule();
    (args, training)
}

/// Asserts that the command of these settings describes the same training.
fn check(settings: &Settings) {
    let command = command(settings);
    let (args, parsed) = parsed(&command);
    let expected = settings.training(7).unwrap_or_else(|e| panic!("{command}: {e}"));
    assert_eq!(format!("{parsed:?}"), format!("{expected:?}"), "{command}");
    assert_eq!((args.subset.subset(), args.hold_out), (settings.subset(), settings.hold_out), "{command}");
}

/// Every command on a page describes the settings that the experiment trains.
#[cfg(unix)]
#[test]
fn commands_on_pages_describe_the_trained_settings() {
    let results = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/results");
    let mut shown = 0;
    for experiment in EXPERIMENTS {
        let settings = experiment.settings();
        settings.iter().for_each(check);
        let commands: Vec<String> = settings.iter().map(command).collect();
        let Some(page) = experiment.page() else { continue };
        let text = (page.make)(results.as_ref()).expect(page.file).expect("its records are committed");
        for printed in text.split("`zilch train ").skip(1).filter_map(|rest| rest.split('`').next()) {
            assert!(commands.iter().any(|command| command == printed), "{}: {printed}", page.file);
            shown += 1;
        }
    }
    assert!(shown > 60, "only {shown} commands are on pages");
}

/// Settings that all differ from the defaults are unchanged by the round trip through a command. Every option of `zilch
/// train` has a setting.
#[cfg(unix)]
#[test]
fn every_option_has_a_setting() {
    let all = Settings {
        rule: "il",
        layers: "784,16=a,16+a,10",
        activation: Some(Activation::Tanh),
        bias: true,
        input_activation: true,
        pixels: &[0.5, 0.25],
        targets: Some([-1.0, 1.0]),
        loss: Loss::CrossEntropy,
        init: Some(Init::He),
        init_gain: &[2.0, 1.0, 0.5],
        batch: 7,
        mean: true,
        optimizer: Optimizer::Momentum,
        momentum: Some(0.8),
        betas: Some([0.8, 0.95]),
        weight_decay: Some(1e-5),
        lr: 0.125,
        layer_lr: &[1.0, 0.5, 0.25],
        lr_schedule: Ramp::Cosine,
        warmup: 3,
        gamma: Some(0.2),
        steps: Some(9),
        phi: None,
        td: None,
        schedule: Some(Schedule::Full),
        coords: Some(Coords::Value),
        rule_options: &[("discount", "0.5"), ("nodes", "post")],
        length: Length::Epochs(3),
        epoch_updates: Some(5),
        shuffle: false,
        classes: &[3, 1],
        per_class: Some(6),
        test_per_class: Some(4),
        hold_out: Some(2),
        augment: Augment { flip: true, crop: 2 },
        probe: &[Probe::Energy, Probe::Eps],
        patience: Some(2),
    };
    // Options that apply only to fazil.
    let fazil = Settings { rule: "fazil", phi: Some(Phi::Feedback), td: Some(2), ..Settings::DEFAULT }.shortened(11);
    let mut written = Vec::new();
    for settings in [all, fazil] {
        check(&settings);
        written.extend(words(&command(&settings)).into_iter().filter(|word| word.starts_with("--")));
    }
    for arg in grammar().get_arguments() {
        let Some(name) = arg.get_long().filter(|name| !NOT_SETTINGS.contains(name)) else { continue };
        let own = arg.get_help_heading().is_some();
        assert!(own || written.contains(&format!("--{name}")), "--{name} has no setting in zilch_lab::settings");
    }
}

/// What is not given has the recommended settings of the rule, which the library has too.
#[cfg(unix)]
#[test]
fn defaults_are_those_of_the_library() {
    for rule in Rule::all() {
        let expected = Training::with_preset(Preset::Recommended, *rule, MNIST, Length::Epochs(10)).expect("settings");
        let expected = Training { seed: 7, options: Options { seed: 7, ..expected.options }, ..expected };
        let (_, mut training) = parsed(&format!("--rule {}", rule.name()));
        if training.init_gain == [1.0] {
            training.init_gain.clear();
        }
        assert_eq!(format!("{training:?}"), format!("{expected:?}"));
    }
}

/// An error, what chance is, and the error at chance.
const CHANCE: [&str; 3] = ["90.00 %", super::AT_CHANCE, "90.00 %"];

/// The hint for a training at chance leads to the recommended settings, with which every rule learns (`tests/numerics/learning.rs`).
#[cfg(unix)]
#[test]
fn the_hint_at_chance_names_what_helps() {
    for rule in Rule::all() {
        let defaults = rule.defaults(Preset::Recommended);
        let network = defaults.network(MNIST[0], MNIST[1]).expect("a network");
        let layers = network.to_string().replace('-', ",");
        let bad = format!("--preset paper --rule {} --layers {layers}", rule.name());
        let (_, at_chance) = parsed(&format!("{bad} --lr 1e-9"));
        let hint = super::at_chance(&at_chance, CHANCE, false);
        let words = hint.split_once(&format!("recommended for --rule {}: ", rule.name())).expect("advice").1;
        let (_, advised) = parsed(&format!("{bad} {words}"));
        let (_, recommended) = parsed(&format!("--rule {}", rule.name()));
        let steps = |t: &Training| (t.options.gamma(), t.options.steps(&t.network), t.options.varied());
        assert_eq!(steps(&advised), steps(&recommended), "{hint}");
        let (gamma, steps) = (recommended.options.gamma, recommended.options.steps);
        let rule_options = recommended.options.rule_options.clone();
        let advised = Training { options: Options { gamma, steps, rule_options, ..advised.options }, ..advised };
        assert_eq!(format!("{advised:?}"), format!("{recommended:?}"), "{hint}");
        assert!(!super::at_chance(&recommended, CHANCE, false).contains("recommended"), "nothing is left to recommend");
    }
}
