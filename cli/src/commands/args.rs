//! The command line's grammar.

use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use zilch::data::tasks::Subset;
use zilch::device::gpu::Precision;
use zilch::lower::passes::Pass;
use zilch::named::Named;
use zilch::network::Init;
use zilch::network::{read_pixels, read_targets};
use zilch::plan::augment::Augment;
use zilch::rules::Phi;
use zilch::rules::RuleFile;
use zilch::rules::{Loss, LrSchedule, Optimizer, Ramp};
use zilch::train::Every;
use zilch::train::probe::Probe;
use zilch::{Activation, Coords, Error, Network, Options, Result, Rule, Schedule};
use zilch_lab::Experiment;
use zilch_lab::experiment::Input;
use zilch_lab::experiments::{EXPERIMENTS, SONG_2020, named};

/// Trains predictive coding networks, and shows that Z-IL learns what backpropagation learns, to the last bit.
#[derive(Debug, Parser)]
#[command(
    name = "zilch",
    version,
    after_help = "Exit codes: 0 done · 1 failed · 2 usage · 3 no usable device · 4 bad data or weights file · \
                  5 diverged (NaN or infinity) · 130 interrupted.\n\
                  Results go to stdout, progress and messages to stderr."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Time one weight update of each rule on each device, and measure its distance from BP's
    Compare(CompareArgs),
    /// Train a network
    Train(Box<TrainArgs>),
    /// Count the errors of trained weights on a test set
    Eval(EvalArgs),
    /// Print the plan of a rule: what happens at each inference moment, its cost and its locality
    Plan(PlanArgs),
    /// Draw one update of a rule: how large ε is in each layer at each moment, and when φ fires
    Trace(TraceArgs),
    /// Draw what the first hidden layer's units are sensitive to: their weights from the input, as images
    Draw(DrawArgs),
    /// What every rule asks of a brain, read off its plan
    Rules(RulesArgs),
    /// Search for a learning rule: evolve the numbers of a rule of three local terms
    Evolve(EvolveArgs),
    /// Re-run what was published, by Song et al. (2020) and others, and set the numbers beside ours
    Reproduce(ReproduceArgs),
    /// Measure which tiles a GPU makes a network's matrix products fastest with, and remember them
    Tune(TuneArgs),
    /// List devices, drivers and limits
    Info(InfoArgs),
    /// List the runs below folders, in what they differ, and what several seeds come to
    Runs(RunsArgs),
    /// Look for what keeps a GPU from being used, and check that every device computes rightly
    Doctor(DoctorArgs),
    /// Print what a shell needs to complete this command line
    Completions(CompletionsArgs),
    /// Print the manual page, or write a page a command
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Layers, input first: sizes, and for convolutions words like 28x28,6c5p2,a2,16c5,m2,84,10
    #[arg(long, default_value = "784,32,32,32,10")]
    pub(crate) layers: OsString,
    /// Samples of one weight update
    #[arg(long, default_value_t = 20)]
    pub(crate) batch: usize,
    /// Rules to compare
    #[arg(long, value_delimiter = ',', default_value = "bp,il,zil,fazil", value_parser = choice::<Rule>())]
    pub(crate) rules: Vec<Rule>,
    /// Devices to compare: cpu, gpu, or part of an adapter's name
    #[arg(long, value_delimiter = ',', default_value = "cpu,gpu")]
    pub(crate) devices: Vec<String>,
    /// t_c of il and T of fazil [default: 20, lmax]
    #[arg(long, value_name = "T")]
    pub(crate) steps: Option<u32>,
    /// One schedule for all rules [default: every one that differs]
    #[arg(long, value_parser = choice::<Schedule>())]
    pub(crate) schedule: Option<Schedule>,
    /// What an error node carries from step to step
    #[arg(long, default_value = "error", value_parser = choice::<Coords>())]
    pub(crate) coords: Coords,
    /// Activation of the hidden layers
    #[arg(long, default_value = "sigmoid", value_parser = choice::<Activation>())]
    pub(crate) activation: Activation,
    /// float32, or mixed: float16 operands and float32 sums in matrix products, on a GPU that has units for it. Equal bits
    /// are promised for float32 only
    #[arg(long, default_value = "float32", value_parser = choice::<Precision>())]
    pub(crate) precision: Precision,
    /// Threads of the CPU device [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Seconds to measure each rule on each device
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// A network and a rule on it: what `train` and `plan` share.
#[derive(Debug, Clone, Args)]
pub(crate) struct RuleArgs {
    /// Layers, input first: sizes, and for convolutions words like 28x28,6c5p2,a2,16c5,m2,84,10
    #[arg(
        long,
        default_value = "784,32,32,10",
        long_help = "Layers, input first: sizes, as 784,32,32,10, or with convolutions 28x28,6c5p2,a2,16c5,m2,84,10: an image \
                     (28x28, 3x32x32), a convolution of 6 channels with a kernel of 5 x 5 (6c5, with s2 its stride, with p2 \
                     zeros around it), the mean or the maximum of 2 x 2 places (a2, m2, with s1 their stride), and plain layers. \
                     With skips 784,128=a,128,128+a,10: a layer called a, and one to which f of a is added as it is; b:32c1s2 are \
                     weights that begin at the layer called b, in.3:64 at row 3 of an image 28x28=in, and weights with the same \
                     name (64~w) are the same. Or FILE.json: a list of these words, or the run.json of a run"
    )]
    pub(crate) layers: OsString,
    /// Learning rule, or a file that `zilch evolve` wrote
    #[arg(long, default_value = "zil", value_parser = RuleParser, value_name = "RULE|FILE.json")]
    pub(crate) rule: Chosen,
    /// Samples of one weight update
    #[arg(long, default_value_t = 20)]
    pub(crate) batch: usize,
    /// Learning rate α
    #[arg(long, default_value_t = 0.001, allow_negative_numbers = true)]
    pub(crate) lr: f64,
    /// Average updates over the batch instead of summing them
    #[arg(long)]
    pub(crate) mean: bool,
    /// Activation f of the hidden layers [default: sigmoid; relu for ff]. Rules with units of their own take no other
    #[arg(long, value_parser = choice::<Activation>())]
    pub(crate) activation: Option<Activation>,
    /// Give every layer biases
    #[arg(long)]
    pub(crate) bias: bool,
    /// Apply f to the input layer too
    #[arg(long)]
    pub(crate) input_activation: bool,
    /// Scale the input: (p / 255 − MEAN) / SD for a pixel p, as in 0.5,0.5; or the means of all channels and after them their SDs,
    /// as in 0.49,0.48,0.45,0.25,0.24,0.26 [default: p / 255]
    #[arg(long, value_name = "MEAN[,..],SD[,..]", allow_hyphen_values = true)]
    pub(crate) pixels: Option<String>,
    /// What the output is held to: OFF at the units of other classes, ON at the label's, as in -1,1 [default: 0,1]
    #[arg(long, value_name = "OFF,ON", allow_hyphen_values = true)]
    pub(crate) targets: Option<String>,
    // The defaults in these help texts are read from the definitions of the rules.
    #[arg(long, allow_negative_numbers = true, help = with_defaults("Integration step γ of inference; λ of epc", "gamma", |rule| rule.gamma.to_string()))]
    pub(crate) gamma: Option<f64>,
    #[arg(long, value_name = "T", help = with_defaults("Inference steps: t_c of il and rpc, T of others", "steps", default_steps))]
    pub(crate) steps: Option<u32>,
    /// What φ of fazil looks at: a unit's error node, as in the paper, or the feedback that reaches it [default: error]
    #[arg(long, value_parser = choice::<Phi>())]
    pub(crate) phi: Option<Phi>,
    /// t_d of fazil: silent steps before a unit may fire [default: 4]
    #[arg(long)]
    pub(crate) td: Option<u32>,
    #[arg(long, value_parser = choice::<Schedule>(), help = with_defaults("Which layers a step works on", "schedule", |rule| rule.schedule.name().to_owned()))]
    pub(crate) schedule: Option<Schedule>,
    /// What an error node carries: its own error, or x − μ as in the paper [default: error]
    #[arg(long, value_parser = choice::<Coords>())]
    pub(crate) coords: Option<Coords>,
    /// What the output is held to: ½ Σ (target − μ)², or −log softmax(μ) of the label
    #[arg(long, default_value = "squared", value_parser = choice::<Loss>())]
    pub(crate) loss: Loss,
    /// How weights follow the direction that the rule finds
    #[arg(long, default_value = "sgd", value_parser = choice::<Optimizer>())]
    pub(crate) optimizer: Optimizer,
    /// λ: weights shrink towards 0, biases too; apart from the gradient with adamw [default: 0.01 for adamw, else 0]
    #[arg(long, value_name = "LAMBDA", allow_negative_numbers = true)]
    pub(crate) weight_decay: Option<f64>,
    /// Share of the last step that --optimizer momentum keeps [default: 0.9]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) momentum: Option<f64>,
    /// β₁,β₂ of --optimizer adam and adamw [default: 0.9,0.999]
    #[arg(long, value_name = "B1,B2", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) betas: Option<Vec<f64>>,
    /// Factors of --lr by layer of weights, from the input's to the output's, as in 1,0.5 [default: all 1]
    #[arg(long, value_name = "F,F,..", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) layer_lr: Vec<f64>,
    #[command(flatten)]
    pub(crate) own: OwnArgs,
}

/// What rules have as options of their own, as it was typed: every rule's, each once.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnArgs(BTreeMap<String, String>);

impl clap::Args for OwnArgs {
    fn augment_args(mut command: clap::Command) -> clap::Command {
        let mut known: Vec<&str> = Vec::new();
        for choice in Rule::all().iter().flat_map(|rule| rule.own) {
            if known.contains(&choice.name) {
                continue;
            }
            known.push(choice.name);
            let own = |rule: &'static Rule| rule.own.iter().find(|c| c.name == choice.name).map(|c| (rule.name(), c));
            let (takers, theirs): (Vec<&str>, Vec<_>) = Rule::all().iter().filter_map(own).unzip();
            let defaults: Vec<String> = theirs.iter().map(|c| c.write(c.default)).collect();
            let alike = defaults.iter().all(|default| *default == defaults[0]);
            let named = || takers.iter().zip(&defaults).map(|(rule, default)| format!("{default} for {rule}"));
            let default = if alike { defaults[0].clone() } else { named().collect::<Vec<_>>().join(", ") };
            let help = format!("{}: {} ({}) [default: {default}]", takers.join(", "), choice.help, choice.values);
            let arg = clap::Arg::new(choice.name).long(choice.name).value_name("VALUE").help(help);
            command = command.arg(arg.allow_negative_numbers(true).help_heading("Options of single rules"));
        }
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for OwnArgs {
    fn from_arg_matches(matches: &clap::ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut own = OwnArgs::default();
        own.update_from_arg_matches(matches)?;
        Ok(own)
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> std::result::Result<(), clap::Error> {
        for choice in Rule::all().iter().flat_map(|rule| rule.own) {
            if let Ok(Some(text)) = matches.try_get_one::<String>(choice.name) {
                self.0.insert(choice.name.to_owned(), text.clone());
            }
        }
        Ok(())
    }
}

impl OwnArgs {
    /// Those of one rule.
    fn read(&self, rule: Rule) -> Result<BTreeMap<String, f64>> {
        let read = |(name, text): (&String, &String)| {
            let choice = rule.own.iter().find(|choice| choice.name == name.as_str());
            let choice = choice.ok_or_else(|| Options::new(rule).refused(name))?;
            Ok((name.clone(), choice.read(text)?))
        };
        self.0.iter().map(read).collect()
    }
}

/// What `zilch trace` takes.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// A folder with the four MNIST-named IDX files or CIFAR-10's, or `digits` or `colours` for a built-in synthetic set: its first samples
    /// are shown
    #[arg(long, default_value = "digits")]
    pub(crate) data: OsString,
    #[command(flatten)]
    pub(crate) rule: RuleArgs,
    /// Seed of the weights, and of all random numbers of the rule
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Start from these weights (a .safetensors file)
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Draw to this SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `zilch draw` takes.
#[derive(Debug, Args)]
pub(crate) struct DrawArgs {
    /// The weights (a .safetensors file)
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// Draw to this SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Draw the first so many units
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) units: usize,
    /// Rows of an input image [default: as many as columns]
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<usize>,
}

/// What `zilch rules` takes.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl RuleArgs {
    /// The network.
    pub(crate) fn network(&self) -> Result<Network> {
        let activation = self.activation.or(self.rule.activation).unwrap_or(Activation::Sigmoid);
        let mut network = zilch::network::read_layers(&self.layers)?.with_activation(activation).with_bias(self.bias);
        if let Some(file) = self.rule.file.as_ref().filter(|_| network.graph().is_some() && !self.rule.graphs) {
            let who = format!("the rule of {}, which is {} with numbers of its own,", file.display(), self.rule.name());
            return Err(Options::no_graphs(&who));
        }
        network.input_activation = self.input_activation;
        if let Some(text) = &self.pixels {
            let refuse = || {
                Error::usage(format!(
                    "--pixels takes a mean and a standard deviation, as in 0.5,0.5, or of images with several channels all means \
                     and after them all deviations; {text} given"
                ))
            };
            let scale = read_pixels(text).ok_or_else(refuse)?;
            scale.check(&network)?;
            network.pixels = Some(scale);
        }
        if let Some(text) = &self.targets {
            let refuse = || {
                Error::usage(format!("--targets takes two numbers, the second one larger, as in -1,1; {text} given"))
            };
            // What is the default is not said, so that it tells equal runs not apart.
            network.targets = Some(read_targets(text).ok_or_else(refuse)?).filter(|held| *held != [0.0, 1.0]);
        }
        Ok(network)
    }

    /// The rule's options.
    pub(crate) fn options(&self) -> Result<Options> {
        let defaults = Options::new(self.rule.rule);
        for (name, given) in [
            ("phi", self.phi.is_some()),
            ("td", self.td.is_some()),
            ("schedule", self.schedule.is_some()),
            ("coords", self.coords.is_some()),
        ] {
            if given && !self.rule.takes(name) {
                return Err(defaults.refused(name));
            }
        }
        let betas = match self.betas.as_deref() {
            None => None,
            Some(&[beta1, beta2]) => Some([beta1, beta2]),
            Some(_) => return Err(Error::usage("--betas takes two numbers, as in --betas 0.9,0.999")),
        };
        Ok(Options {
            loss: self.loss,
            optimizer: self.optimizer,
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            betas,
            layer_lr: self.layer_lr.clone(),
            own: self.rule.own.clone().into_iter().chain(self.own.read(self.rule.rule)?).collect(),
            schedule: self.schedule,
            coords: self.coords.unwrap_or(defaults.coords),
            gamma: self.gamma,
            steps: self.steps,
            phi: self.phi.unwrap_or(defaults.phi),
            td: self.td.unwrap_or(defaults.td),
            alpha: self.lr,
            mean: self.mean,
            ..defaults
        })
    }
}

/// A rule, and numbers of its own that a file brought.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) rule: Rule,
    /// The file.
    pub(crate) file: Option<PathBuf>,
    pub(crate) own: BTreeMap<String, f64>,
}

impl Chosen {
    /// Whether `--rule` names a file by this.
    pub(crate) fn is_file(value: &OsStr) -> bool {
        Path::new(value).extension().is_some_and(|extension| extension == "json")
    }

    /// The rule of a file.
    fn read(path: PathBuf) -> Result<Chosen> {
        let file = RuleFile::read(&path)?;
        Ok(Chosen { rule: file.rule, own: file.numbers()?, file: Some(path) })
    }
}

impl std::ops::Deref for Chosen {
    type Target = Rule;
    fn deref(&self) -> &Rule {
        &self.rule
    }
}

/// The failure of a file behind what clap says of a value.
pub(crate) fn of_a_file(error: &clap::Error) -> Option<Error> {
    match std::error::Error::source(error)?.downcast_ref()? {
        Error::Data { path, reason } => Some(Error::data(path, reason)),
        _ => None,
    }
}

/// A help text with the default of each rule that takes a shared option.
fn with_defaults(what: &str, option: &str, value: impl Fn(&Rule) -> String) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for rule in Rule::all().iter().filter(|rule| rule.takes(option)) {
        let default = value(rule);
        match groups.iter_mut().find(|(known, _)| *known == default) {
            Some((_, rules)) => rules.push(rule.name()),
            None => groups.push((default, vec![rule.name()])),
        }
    }
    let each: Vec<String> =
        groups.iter().map(|(default, rules)| format!("{default} for {}", enumerated(rules))).collect();
    format!("{what} [default: {}]", each.join(", "))
}

/// "a, b and c"
fn enumerated(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => names.join(""),
    }
}

/// The number of steps of a rule where none is given; `lmax` where that is the number.
fn default_steps(rule: &Rule) -> String {
    let [short, long] = [3, 4].map(|layers| Network::new(&vec![1; layers]).map_or(0, |network| (rule.steps)(&network)));
    if (short, long) == (2, 3) { "lmax".to_owned() } else { short.to_string() }
}

/// Reads the name of one of a type's values.
fn choice<T: Named>() -> impl TypedValueParser<Value = T> {
    let names = PossibleValuesParser::new(T::all().iter().map(possible));
    names.try_map(|name| T::from_name(&name).ok_or_else(|| format!("{name} is none of these values")))
}

/// A value as clap lists it.
fn possible<T: Named>(value: &T) -> PossibleValue {
    PossibleValue::new(value.name()).help(value.help())
}

/// Reads the name of a rule, or the file of one.
#[derive(Debug, Clone)]
pub(crate) struct RuleParser;

impl TypedValueParser for RuleParser {
    type Value = Chosen;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> std::result::Result<Chosen, clap::Error> {
        if Chosen::is_file(value) {
            // The failure itself is then the source of clap's error.
            return PathBufValueParser::new().try_map(Chosen::read).parse_ref(command, arg, value);
        }
        let named = choice::<Rule>();
        named.parse_ref(command, arg, value).map(|rule| Chosen { rule, file: None, own: BTreeMap::new() })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Rule::all().iter().map(possible)))
    }
}

/// What `zilch evolve` takes.
#[derive(Debug, Args)]
pub(crate) struct EvolveArgs {
    /// A folder with the four MNIST-named IDX files, or `digits`: its training images alone are used
    #[arg(long)]
    pub(crate) data: OsString,
    /// The small network, input first
    #[arg(long, default_value = "784,64,32,10")]
    pub(crate) layers: OsString,
    /// Activation of its hidden layers
    #[arg(long, default_value = "tanh", value_parser = choice::<Activation>())]
    pub(crate) activation: Activation,
    /// Learning rate α, which the numbers found multiply
    #[arg(long, default_value_t = 0.01)]
    pub(crate) lr: f64,
    /// Images that a network learns from, once, and as many that it is judged on
    #[arg(long, default_value_t = 500)]
    pub(crate) images: usize,
    /// Samples of one weight update
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Networks that each candidate trains in a generation
    #[arg(long, default_value_t = 3)]
    pub(crate) networks: usize,
    /// Candidates of a generation
    #[arg(long, default_value_t = 16)]
    pub(crate) population: usize,
    /// Generations
    #[arg(long, default_value_t = 20)]
    pub(crate) generations: usize,
    /// Seed of the search
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Write the rule to this file, for `--rule FILE.json`
    #[arg(long, value_name = "FILE.json")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TrainArgs {
    /// A folder with the four MNIST-named IDX files or CIFAR-10's six, or `digits` or `colours` for a built-in synthetic set
    #[arg(long, required_unless_present_any = ["resume", "config"])]
    pub(crate) data: Option<OsString>,
    #[command(flatten)]
    pub(crate) rule: RuleArgs,
    /// cpu, gpu, auto (a real GPU if there is one), or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    /// float32, or mixed: float16 operands and float32 sums in matrix products, on a GPU that has units for it. Equal bits
    /// are promised for float32 only
    #[arg(long, default_value = "float32", value_parser = choice::<Precision>())]
    pub(crate) precision: Precision,
    /// Passes over the training set [default: 10]
    #[arg(long, conflicts_with = "updates")]
    pub(crate) epochs: Option<u64>,
    /// Weight updates, instead of epochs
    #[arg(long)]
    pub(crate) updates: Option<u64>,
    /// How the learning rate changes over the run: not at all, down to 0 along half a cosine, to a tenth and a hundredth
    /// after half and three quarters, or up by a tenth in the first tenth and down to a tenth along half a cosine
    #[arg(long, default_value = "constant", value_name = "SHAPE", value_parser = choice::<Ramp>())]
    pub(crate) lr_schedule: Ramp,
    /// Updates over which the learning rate grows from nothing
    #[arg(long, default_value_t = 0, value_name = "UPDATES")]
    pub(crate) warmup: u64,
    /// Seed of the initial weights, of the order of the samples, and of all random numbers of the rule
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Show the samples in the file's order in every epoch
    #[arg(long)]
    pub(crate) no_shuffle: bool,
    /// Initial weights: uniform (±1/√fan-in), xavier, he, orthogonal, normal (variance 1), or a .safetensors file to start from
    /// [default: uniform; normal for mupc, which is made of it]
    #[arg(long, value_name = "uniform|xavier|he|orthogonal|normal|FILE")]
    pub(crate) init: Option<PathBuf>,
    /// What drawn weights are multiplied by: one number for all, or one for each layer of weights, from the input's to the output's
    #[arg(long, default_value = "1", value_name = "F[,F,..]", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) init_gain: Vec<f64>,
    #[command(flatten)]
    pub(crate) subset: SubsetArgs,
    /// Tasks that take turns, each of some classes under labels of its own, for some epochs: a JSON file, see docs/rules.md
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["classes", "per_class", "test_per_class"])]
    pub(crate) tasks: Option<PathBuf>,
    /// Do not show the last so many training images of each class, and test on them, too, after each epoch: a validation set, by which
    /// --patience and the best weights then go
    #[arg(long, value_name = "N", conflicts_with = "tasks")]
    pub(crate) hold_out: Option<usize>,
    /// Change every training image before it is shown: flip mirrors it left to right half of the time; crop4 puts 4 pixels of 0
    /// around it, and cuts it to its size again at a random place. Images that are tested stay as they are
    #[arg(long, value_name = "flip,cropN", default_value = "none", hide_default_value = true)]
    pub(crate) augment: Augment,
    /// The most updates of an epoch, so that a network is tested more often than once a pass
    #[arg(long, value_name = "N")]
    pub(crate) epoch_updates: Option<u64>,
    /// Measure after each epoch, layer by layer, on the first batch: the angle between the rule's step and BP's, the energy,
    /// the size of ε; or target: the angle between what a step does to the output and what the target asks for. With --out
    /// they are columns of metrics.csv, and drawn in curves.svg
    #[arg(long, value_delimiter = ',', value_name = "alignment,energy,eps,target", value_parser = choice::<Probe>())]
    pub(crate) probe: Vec<Probe>,
    /// Write weights, metrics and settings to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Keep in --out all that is needed to go on, after so many updates or so much time, as in 500, 30s, 5m or 2h, and the weights of
    /// the best epoch (best.safetensors; by --hold-out where there is one, else by the test set). An interrupted run keeps it in any case
    #[arg(long, value_name = "N|TIME", value_parser = every, allow_hyphen_values = true)]
    pub(crate) checkpoint_every: Option<Every>,
    /// Go on with the interrupted run of this folder, to the same bits as if it had never stopped. Takes no other option but --threads,
    /// --checkpoint-every, --max-time and --json: the others are the run's own
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Take options from this file, where they are not typed: a .toml with a line an option, as in lr = 0.01, or the run.json of an
    /// earlier run. Paths of data, weights, rules and tasks in it start from its folder
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Train from so many seeds, --seed and those that follow, each in a folder of its own in --out, and tell mean and spread
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) seeds: Option<u64>,
    /// Stop when so many epochs went by without a better error, by --hold-out where there is one, else by the test set. The weights of
    /// the best epoch are in --out as best.safetensors
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) patience: Option<u64>,
    /// Stop after so much time of training, as in 30s, 5m or 2h, as if interrupted: --resume goes on. Exit code 130 says that it is not done
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) max_time: Option<std::time::Duration>,
    /// Threads of the CPU device [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads "30s", "5m" or "2h".
fn time(text: &str) -> std::result::Result<std::time::Duration, String> {
    match every(text) {
        Ok(Every::Time(time)) => Ok(time),
        _ => Err(format!("\"{text}\" is not a time; write it as 30s, 5m or 2h")),
    }
}

/// Reads "500", "30s", "5m" or "2h".
fn every(text: &str) -> std::result::Result<Every, String> {
    let refuse = || format!("\"{text}\" is neither a number of updates nor a time, as 500, 30s, 5m or 2h are");
    let unit = [("s", 1), ("m", 60), ("h", 3600)].into_iter().find(|(unit, _)| text.ends_with(unit));
    let number: u64 = text.strip_suffix(unit.map_or("", |(u, _)| u)).unwrap_or(text).parse().map_err(|_| refuse())?;
    let longest = 1_000_000;
    match unit {
        _ if number == 0 => Err(refuse()),
        Some((_, seconds)) if number <= longest => Ok(Every::Time(std::time::Duration::from_secs(number * seconds))),
        Some(_) => Err(refuse()),
        None => Ok(Every::Updates(number)),
    }
}

/// What of a data set is shown.
#[derive(Debug, Clone, Args)]
pub(crate) struct SubsetArgs {
    /// Show these classes only, labelled 0, 1, … in this order
    #[arg(long, value_name = "C,C,..", value_delimiter = ',')]
    pub(crate) classes: Option<Vec<u8>>,
    /// Show only the first so many training images of each class
    #[arg(long, value_name = "N")]
    pub(crate) per_class: Option<usize>,
    /// Test on only the first so many test images of each class
    #[arg(long, value_name = "N")]
    pub(crate) test_per_class: Option<usize>,
}

impl SubsetArgs {
    /// As it stands in `run.json`.
    pub(crate) fn subset(&self) -> Subset {
        let SubsetArgs { classes, per_class, test_per_class } = self;
        let (per_class, test_per_class) = (*per_class, *test_per_class);
        Subset { classes: classes.clone(), per_class, test_per_class, ..Subset::default() }
    }
}

impl TrainArgs {
    /// The rate over the run; how long that is the training knows.
    pub(crate) fn lr_schedule(&self) -> LrSchedule {
        LrSchedule { ramp: self.lr_schedule, warmup: self.warmup, total: 0 }
    }

    /// The way in which initial weights are drawn, if they do not come from a file.
    pub(crate) fn drawn(&self) -> Option<Init> {
        let Some(init) = &self.init else { return Some(self.rule.rule.init) };
        init.to_str().and_then(|name| Init::from_name(&name.to_ascii_lowercase()))
    }
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// The weights (a .safetensors file)
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// The rule whose prediction is asked for; some have one of their own [default: that of the run.json beside the weights, else
    /// a forward pass]
    #[arg(long, value_parser = RuleParser, value_name = "RULE|FILE.json")]
    pub(crate) rule: Option<Chosen>,
    /// A folder with the four MNIST-named IDX files or CIFAR-10's six, or `digits` or `colours`
    #[arg(long)]
    pub(crate) data: OsString,
    /// Test on these classes only, labelled 0, 1, … in this order [default: those of the run.json beside the weights, else all]
    #[arg(long, value_name = "C,C,..", value_delimiter = ',')]
    pub(crate) classes: Option<Vec<u8>>,
    /// Test on only the first so many images of each class
    #[arg(long, value_name = "N")]
    pub(crate) test_per_class: Option<usize>,
    /// cpu, gpu, auto, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    /// Threads of the CPU device [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) rule: RuleArgs,
    /// Print the plan or the program after a pass of lowering, as for a GPU
    #[arg(long, value_name = "PASS", value_parser = choice::<Pass>())]
    pub(crate) after: Option<Pass>,
    /// Print the shaders (WGSL) that the plan becomes on a GPU, each op under its equation
    #[arg(long, conflicts_with = "after")]
    pub(crate) wgsl: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The winners go to the file that ZILCH_TUNE names, else to zilch/tune.json in the user's folder \
                        for caches, and every later run on that adapter, driver and zilch takes them. Tiles show in the \
                        time alone: the bits are the same with any."
)]
pub(crate) struct TuneArgs {
    /// Layer sizes, input first
    #[arg(long, default_value = "784,32,32,32,10")]
    pub(crate) layers: OsString,
    /// Samples of one weight update
    #[arg(long, default_value_t = 20)]
    pub(crate) batch: usize,
    /// Activation of the hidden layers
    #[arg(long, default_value = "sigmoid", value_parser = choice::<Activation>())]
    pub(crate) activation: Activation,
    /// gpu, or part of an adapter's name
    #[arg(long, default_value = "gpu")]
    pub(crate) device: String,
    /// Seconds to measure each tile of each product
    #[arg(long, default_value_t = 0.5)]
    pub(crate) seconds: f64,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `zilch reproduce` is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// One experiment.
    One(&'static dyn Experiment),
    /// Those of Song et al. (2020).
    All,
    /// Pages and figures alone.
    Page,
}

/// The words for what is not one experiment, and their help.
const ALL: (&str, &str) = ("all", "The four above");
const PAGE: (&str, &str) = ("page", "Only make page and figures anew from the results in --out");

impl Wanted {
    /// Reads a name: an experiment's, `all` or `page`.
    fn parser() -> impl TypedValueParser<Value = Wanted> {
        let value = |(name, help): (&'static str, &'static str)| PossibleValue::new(name).help(help);
        let of = |experiment: &&dyn Experiment| value((experiment.name(), experiment.help()));
        // Those that `all` runs stand before it.
        let (first, others) = EXPERIMENTS.split_at(SONG_2020.len());
        let values = first.iter().map(of).chain([value(ALL)]).chain(others.iter().map(of)).chain([value(PAGE)]);
        PossibleValuesParser::new(values.collect::<Vec<_>>()).try_map(|name| match name.as_str() {
            name if name == ALL.0 => Ok(Wanted::All),
            name if name == PAGE.0 => Ok(Wanted::Page),
            name => named(name).map(Wanted::One).ok_or_else(|| format!("{name} is no experiment")),
        })
    }

    /// What is to be run.
    pub(crate) fn experiments(self) -> Vec<&'static dyn Experiment> {
        match self {
            Wanted::One(one) => vec![one],
            Wanted::All => SONG_2020.to_vec(),
            Wanted::Page => Vec::new(),
        }
    }
}

/// Names as in "a, b and c".
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// The help of --data.
fn data_help() -> String {
    let known = |experiment: &&&dyn Experiment| matches!(experiment.input(), Input::Known(_));
    let mut experiments: Vec<&dyn Experiment> = EXPERIMENTS.iter().filter(known).copied().collect();
    experiments.sort_by_key(|experiment| experiment.name());
    let names = |experiment: &&dyn Experiment| match experiment.input() {
        Input::Known(names) => names,
        Input::Any | Input::Own => &[],
    };
    let mut data: Vec<&str> = Vec::new();
    for name in experiments.iter().flat_map(names) {
        if !data.contains(name) {
            data.push(name);
        }
    }
    let title = |experiments: Vec<&&dyn Experiment>| listed(&experiments.iter().map(|e| e.name()).collect::<Vec<_>>());
    let cifar = title(experiments.iter().filter(|e| names(e).contains(&"cifar-10")).collect());
    format!(
        "A folder with the four MNIST files (or CIFAR-10's, for {cifar}), or `digits` for the built-in synthetic set. {} take \
         settings and published figures by the folder's name: {}",
        title(experiments.iter().collect()),
        data.join(", ")
    )
}

/// The help of --out.
fn out_help() -> String {
    let pages: Vec<&str> =
        EXPERIMENTS.iter().filter_map(|experiment| experiment.page()).map(|page| page.file).collect();
    format!(
        "Folder of the results; pages go beside it, under its name with .md, or as {}. A run that was stopped goes on from what it finds",
        listed(&pages)
    )
}

/// The help of --seeds.
fn seeds_help() -> String {
    let of = |experiment: &&dyn Experiment| {
        experiment.seeds().map(|seeds| format!("of {}, at most {}{}", experiment.name(), seeds.most, seeds.why))
    };
    let all: Vec<String> = EXPERIMENTS.iter().filter_map(of).collect();
    format!("Seeds {}. A later run with more goes on from what is there", all.join(", and "))
}

/// The most seeds that any experiment takes.
fn most_seeds() -> u64 {
    EXPERIMENTS.iter().filter_map(|experiment| experiment.seeds()).map(|seeds| seeds.most).max().unwrap_or(1)
}

#[derive(Debug, Args)]
pub(crate) struct ReproduceArgs {
    /// Which experiment
    #[arg(value_parser = Wanted::parser())]
    pub(crate) experiment: Wanted,
    #[arg(long, help = data_help())]
    pub(crate) data: Option<OsString>,
    #[arg(long, value_name = "DIR", default_value = "results", help = out_help())]
    pub(crate) out: PathBuf,
    /// A reduced version of everything, in half a minute or so
    #[arg(long)]
    pub(crate) quick: bool,
    #[arg(
        long,
        value_name = "N",
        default_value_t = most_seeds(),
        value_parser = clap::value_parser!(u64).range(1..=most_seeds()),
        help = seeds_help()
    )]
    pub(crate) seeds: u64,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A run is a folder with the run.json that `zilch train --out` writes; links are not followed. Settings have \
                        the names that they have there. NaN is what run.json has as null; it and what is missing sort last. \
                        A run that was made twice, or with other --threads, counts once among its seeds."
)]
pub(crate) struct RunsArgs {
    /// Folders to look into, and below
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
    /// Sort by folder, epochs, updates, seconds, error, best, state, or a setting [default: folder]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) sort: Option<String>,
    /// Put together what agrees in these settings, as in lr,rule [default: what differs in nothing but its seed]
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    pub(crate) by: Vec<String>,
    /// Draw test error and training energy over epochs to this SVG file, one colour a group
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every device makes one update by BP and one by Z-IL: both must have the same bits, and a GPU's must be \
                        the CPU's within their roundings.\n\
                        Exit codes: 0 everything that is there works, or no GPU is there and none was expected · 3 a GPU is \
                        there and cannot be used, or a device computes wrongly."
)]
pub(crate) struct DoctorArgs {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "bash: zilch completions bash > ~/.local/share/bash-completion/completions/zilch\n\
                        zsh: zilch completions zsh > a folder of $fpath, as _zilch\n\
                        fish: zilch completions fish > ~/.config/fish/completions/zilch.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write zilch.1 and a page for each command to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
