//! Writes the `zilch train` command of a training from its [`Settings`]. A test parses every command that pages show
//! and checks that it gives the same training.

use super::settings::Settings;
use super::shell::quoted;
use std::fmt::Display;
use zilch::rules::Preset;
use zilch::train::Length;

/// The words of one option: its name, and its value if it has one.
type Group = Vec<String>;

/// The arguments of `zilch train` for these settings, quoted for a shell, without --data and --seed.
pub fn command(settings: &Settings) -> String {
    joined(&groups(settings))
}

/// The arguments that all commands share, in the order of the first command.
pub fn common<'a>(commands: impl IntoIterator<Item = &'a Settings>) -> String {
    let mut all = commands.into_iter().map(groups);
    let mut shared = all.next().unwrap_or_default();
    for other in all {
        shared.retain(|group| other.contains(group));
    }
    joined(&shared)
}

/// Whether two commands have the same meaning. The order of options and the notation of numbers do not matter.
pub fn same(a: &str, b: &str) -> bool {
    let sorted = |command: &str| {
        let mut groups: Vec<Group> = Vec::new();
        for word in command.split_whitespace() {
            match groups.last_mut() {
                Some(group) if !word.starts_with("--") => group.push(values(word)),
                _ => groups.push(vec![word.to_owned()]),
            }
        }
        groups.sort();
        groups
    };
    sorted(a) == sorted(b)
}

/// The values of a word, with numbers in the notation of this file.
fn values(word: &str) -> String {
    let value = |text: &str| text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| number.to_string());
    list(&word.split(',').map(value).collect::<Vec<_>>())
}

fn joined(groups: &[Group]) -> String {
    groups.iter().flatten().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Numbers as a comma-separated list.
fn list<T: Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Collects the options that are set.
#[derive(Default)]
struct Words(Vec<Group>);

impl Words {
    fn value(&mut self, name: &str, value: impl Display) {
        self.0.push(vec![format!("--{name}"), value.to_string()]);
    }

    fn optional<T: Display>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    fn list<T: Display>(&mut self, name: &str, values: &[T]) {
        self.optional(name, (!values.is_empty()).then(|| list(values)));
    }

    fn flag(&mut self, name: &str, wanted: bool) {
        self.0.extend(wanted.then(|| vec![format!("--{name}")]));
    }
}

/// Every option that differs from the paper's settings, after `--preset paper`. Rule, layers, batch, learning rate and length are
/// always included.
fn groups(settings: &Settings) -> Vec<Group> {
    let mut words = Words::default();
    words.value("preset", Preset::Paper.name());
    network(settings, &mut words);
    optimizer(settings, &mut words);
    inference(settings, &mut words);
    duration(settings, &mut words);
    words.0
}

fn network(s: &Settings, words: &mut Words) {
    words.value("rule", s.rule);
    words.value("layers", s.layers);
    words.optional("activation", s.activation.map(|f| f.name()));
    words.flag("bias", s.bias);
    words.flag("input-activation", s.input_activation);
    words.list("pixels", s.pixels);
    words.optional("targets", s.targets.map(|pair| list(&pair)));
    words.optional("loss", (s.loss != Settings::DEFAULT.loss).then(|| s.loss.name()));
    words.optional("init", s.init.map(|init| init.name()));
    words.list("init-gain", s.init_gain);
}

fn optimizer(s: &Settings, words: &mut Words) {
    words.value("batch", s.batch);
    words.flag("mean", s.mean);
    words.optional("optimizer", (s.optimizer != Settings::DEFAULT.optimizer).then(|| s.optimizer.name()));
    words.optional("momentum", s.momentum);
    words.optional("betas", s.betas.map(|pair| list(&pair)));
    words.optional("weight-decay", s.weight_decay);
    words.value("lr", s.lr);
    words.list("layer-lr", s.layer_lr);
    words.optional("lr-schedule", (s.lr_schedule != Settings::DEFAULT.lr_schedule).then(|| s.lr_schedule.name()));
    words.optional("warmup", (s.warmup != 0).then_some(s.warmup));
}

fn inference(s: &Settings, words: &mut Words) {
    words.optional("gamma", s.gamma);
    words.optional("steps", s.steps);
    words.optional("phi", s.phi.map(|phi| phi.name()));
    words.optional("td", s.td);
    words.optional("schedule", s.schedule.map(|schedule| schedule.name()));
    words.optional("coords", s.coords.map(|coords| coords.name()));
    for (name, value) in s.rule_options {
        words.value(name, value);
    }
}

fn duration(s: &Settings, words: &mut Words) {
    match s.length {
        Length::Epochs(n) => words.value("epochs", n),
        Length::Updates(n) => words.value("updates", n),
    }
    words.optional("epoch-updates", s.epoch_updates);
    words.flag("no-shuffle", !s.shuffle);
    words.list("classes", s.classes);
    words.optional("per-class", s.per_class);
    words.optional("test-per-class", s.test_per_class);
    words.optional("hold-out", s.hold_out);
    words.optional("augment", (!s.augment.is_none()).then_some(s.augment));
    words.optional("probe", (!s.probe.is_empty()).then(|| list(&s.probe.iter().map(|p| p.name()).collect::<Vec<_>>())));
    words.optional("patience", s.patience);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_what_is_not_the_default() {
        let settings =
            Settings { layers: "784,16=a,16+a,10", lr: 1e-5, targets: Some([-1.0, 1.0]), ..Settings::DEFAULT };
        let written =
            "--preset paper --rule zil --layers '784,16=a,16+a,10' --targets -1,1 --batch 20 --lr 0.00001 --epochs 10";
        assert_eq!(command(&settings), written);
        assert_eq!(
            common([&settings, &Settings { lr: 1.0, bias: true, ..settings }]),
            written.replace(" --lr 0.00001", "")
        );
    }

    #[test]
    fn the_order_of_options_says_nothing() {
        assert!(same("--a 1 --b --c 2", "--c 2 --a 1 --b"));
        assert!(!same("--a 1 --b", "--a --b 1"));
        assert!(!same("--a 1", "--a 1 --a 1"));
        assert!(same("--a 0.2010,1 --b x,1e-5", "--b x,0.00001 --a 0.201,1.0"));
        assert!(!same("--a 0.2010,1", "--a 0.2011,1"));
    }
}
