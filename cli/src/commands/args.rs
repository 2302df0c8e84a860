//! The grammar of the command line.

use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ContextKind;
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::num::{IntErrorKind, ParseIntError};
use std::path::{Path, PathBuf};
use zilch::data::tasks::Subset;
use zilch::data::{Data, Reading, Scaling};
use zilch::device::gpu::Precision;
use zilch::lower::passes::Pass;
use zilch::named::Named;
use zilch::network::Init;
use zilch::network::{read_pixels, read_targets};
use zilch::plan::augment::Augment;
use zilch::rules::Phi;
use zilch::rules::RuleFile;
use zilch::rules::{Defaults, Loss, LrSchedule, Optimizer, Preset, Ramp};
use zilch::train::Every;
use zilch::train::probe::Probe;
use zilch::{Activation, Coords, Error, Network, Options, Result, Rule, Schedule};
use zilch_cli::words::{choice, new_file, picture};
use zilch_lab::Experiment;
use zilch_lab::experiment::Input;
use zilch_lab::experiments::{EXPERIMENTS, SONG_2020, named};

/// Trains predictive coding networks. Z-IL reproduces the weights of backpropagation bit for bit.
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
    /// Time one weight update of each rule on each device, and compare the weights with BP's
    Compare(Box<CompareArgs>),
    /// Train a network
    Train(Box<TrainArgs>),
    /// Evaluate trained weights on a test set
    Eval(EvalArgs),
    /// Print the plan of a rule: the operations of each inference step, their cost and their locality
    Plan(Box<PlanArgs>),
    /// Show one update of a rule: the size of ε per layer and step, and when φ fires
    Trace(Box<TraceArgs>),
    /// Draw the receptive fields of the first hidden layer: the input weights of each unit, as an image
    Draw(DrawArgs),
    /// List the locality and autonomy properties of every rule, derived from its plan
    Rules(RulesArgs),
    /// Search for a learning rule: evolve the coefficients of three local terms
    Evolve(EvolveArgs),
    /// Repeat published experiments (Song et al. 2020 and others) and compare the results
    Reproduce(ReproduceArgs),
    /// Measure the fastest tile sizes for a network's matrix products on a GPU, and store them
    Tune(TuneArgs),
    /// List devices, drivers and limits
    Info(InfoArgs),
    /// List the runs in folders, the settings that differ, and statistics over seeds
    Runs(RunsArgs),
    /// Write one HTML page about runs: curves, confusion matrix, weights, activity, settings and commands
    Report(ReportArgs),
    /// Find out why a GPU cannot be used, and check the results of every device
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one page per command
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Layers, input first: sizes, or words for convolutions, as in 28x28,6c5p2,a2,16c5,m2,84,10
    #[arg(long, default_value = "784,32,32,32,10")]
    pub(crate) layers: OsString,
    /// Mini-batch size: samples per weight update
    #[arg(long, default_value_t = 20)]
    pub(crate) batch: usize,
    /// Rules to compare [default: bp,il,zil,fazil; zil with --sweep]
    #[arg(long, value_delimiter = ',', value_parser = choice::<Rule>())]
    pub(crate) rules: Option<Vec<Rule>>,
    /// Devices to compare: cpu, gpu, or part of an adapter's name
    #[arg(long, value_delimiter = ',', default_value = "cpu,gpu")]
    pub(crate) devices: Vec<String>,
    /// Inference steps: t_c of il and T of fazil [default: 20 for il, lmax for fazil]
    #[arg(long, value_name = "T")]
    pub(crate) steps: Option<u32>,
    /// Use this schedule for all rules [default: every schedule that makes a difference]
    #[arg(long, value_parser = choice::<Schedule>())]
    pub(crate) schedule: Option<Schedule>,
    /// State kept between inference steps: the error ε, or the value x with ε = x − μ as in the paper
    #[arg(long, default_value = "error", value_parser = choice::<Coords>())]
    pub(crate) coords: Coords,
    /// Activation of the hidden layers
    #[arg(long, default_value = "sigmoid", value_parser = choice::<Activation>())]
    pub(crate) activation: Activation,
    /// Give every layer a bias [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(crate) bias: Option<bool>,
    /// Average the weight changes over the mini-batch instead of summing them [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(crate) mean: Option<bool>,
    /// Learning rate α
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Integration step γ of inference, for the rules that have one
    #[arg(long)]
    pub(crate) gamma: Option<f64>,
    /// Loss at the output
    #[arg(long, default_value = "squared", value_parser = choice::<Loss>())]
    pub(crate) loss: Loss,
    /// Optimizer that applies the weight changes of the rules
    #[arg(long, default_value = "sgd", value_parser = choice::<Optimizer>())]
    pub(crate) optimizer: Optimizer,
    /// Distribution of the weights
    #[arg(long, default_value = "uniform", value_parser = choice::<Init>())]
    pub(crate) init: Init,
    /// Seed of the weights and of the order of samples
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// float32, or mixed: matrix products with float16 operands and float32 accumulators, on a GPU with matrix units.
    /// Only float32 guarantees bit-identical results
    #[arg(long, default_value = "float32", value_parser = choice::<Precision>())]
    pub(crate) precision: Precision,
    /// Threads of the CPU device [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Measuring time in seconds: per rule and device, or with --sweep per point of the grid [default: 2; 1 with --sweep]
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
}

/// The grid of `zilch compare --sweep`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sweep")]
pub(crate) struct SweepArgs {
    /// Measure one rule on the CPU and on a GPU over a grid of network sizes, and find where the GPU overtakes the CPU. The input and
    /// the output layer are those of --layers
    #[arg(long, conflicts_with = "batch")]
    pub(crate) sweep: bool,
    /// Units of each hidden layer
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "32,128,512,2048", requires = "sweep")]
    pub(crate) widths: Vec<usize>,
    /// Numbers of hidden layers
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "1,3", requires = "sweep")]
    pub(crate) depths: Vec<usize>,
    /// Mini-batch sizes
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "1,32,512", requires = "sweep")]
    pub(crate) batches: Vec<usize>,
    /// Draw the time on the CPU divided by the time on the GPU to this SVG file
    #[arg(long, value_name = "FILE.svg", requires = "sweep", value_parser = picture())]
    pub(crate) out: Option<PathBuf>,
}

/// A network and its learning rule: the options that `train`, `plan` and `trace` share.
#[derive(Debug, Clone, Args)]
pub(crate) struct RuleArgs {
    /// Layers, input first: sizes, or words for convolutions, as in 28x28,6c5p2,a2,16c5,m2,84,10 [default: 128,128 between the
    /// inputs and the classes of --data]
    #[arg(
        long,
        long_help = "Layers, input first [default: 128,128 between the inputs and the classes of --data].\n\
                     Dense: 784,32,32,10 lists the sizes.\n\
                     Convolutional: 28x28,6c5p2,a2,16c5,m2,84,10. An image is 28x28 or 3x32x32 (channels first). 6c5 is a \
                     convolution with 6 output channels and a 5 x 5 kernel; append s2 for stride 2, p2 for 2 pixels of zero \
                     padding. a2 and m2 are average and max pooling over 2 x 2; append s1 for stride 1.\n\
                     Skip connections: in 784,128=a,128,128+a,10 the first layer of 128 is named a, and 128+a adds f of layer a. \
                     b:32c1s2 takes its input from layer b; in.3:64 takes row 3 of the image 28x28=in. Layers with the \
                     same ~name (64~w) share one weight matrix.\n\
                     File: FILE.json, a list of these words, or the run.json of a run"
    )]
    pub(crate) layers: Option<OsString>,
    /// Learning rule, or a rule file written by `zilch evolve`
    #[arg(long, default_value = "zil", value_parser = RuleParser, value_name = "RULE|FILE.json")]
    pub(crate) rule: Chosen,
    /// Values of the options below that are not given. `zilch rules --settings` lists the recommended ones of each rule
    #[arg(long, default_value = "recommended", value_parser = choice::<Preset>())]
    pub(crate) preset: Preset,
    /// Mini-batch size: samples per weight update [default: 50]
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Learning rate α [default: 0.001 for most rules; 0.1 with --optimizer sgd, 0.01 with momentum]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) lr: Option<f64>,
    /// Average the weight changes over the mini-batch instead of summing them; --mean=false sums them [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(crate) mean: Option<bool>,
    /// Activation f of the hidden layers [default: tanh for most rules]. Some rules prescribe their activation
    #[arg(long, value_parser = choice::<Activation>())]
    pub(crate) activation: Option<Activation>,
    /// Give every layer a bias; --bias=false gives none [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    pub(crate) bias: Option<bool>,
    /// Apply f to the input layer too
    #[arg(long)]
    pub(crate) input_activation: bool,
    /// Normalise the input: x = (p / 255 − MEAN) / SD for a pixel p, as in 0.5,0.5. Per channel: all means, then all SDs, as in
    /// 0.49,0.48,0.45,0.25,0.24,0.26 [default: p / 255]
    #[arg(long, value_name = "MEAN[,..],SD[,..]", allow_hyphen_values = true)]
    pub(crate) pixels: Option<String>,
    /// Target values of the output units: ON for the label's unit, OFF for all others, as in -1,1 [default: 0,1]
    #[arg(long, value_name = "OFF,ON", allow_hyphen_values = true)]
    pub(crate) targets: Option<String>,
    // The help texts below take their defaults, which are the recommended ones, from the definitions of the rules.
    #[arg(long, allow_negative_numbers = true, help = with_defaults("Integration step γ of inference; λ of epc", "gamma", |rule| rule.gamma.to_string()))]
    pub(crate) gamma: Option<f64>,
    #[arg(long, value_name = "T", help = with_defaults("Inference steps: t_c of il and rpc, T of others", "steps", default_steps))]
    pub(crate) steps: Option<u32>,
    /// Signal that φ of fazil detects: the error node of a unit, as in the paper, or the feedback it receives [default: error]
    #[arg(long, value_parser = choice::<Phi>())]
    pub(crate) phi: Option<Phi>,
    /// t_d of fazil: steps of silence required before a unit may fire [default: 4]
    #[arg(long)]
    pub(crate) td: Option<u32>,
    #[arg(long, value_parser = choice::<Schedule>(), help = with_defaults("Layers that an inference step updates", "schedule", |rule| rule.schedule.name().to_owned()))]
    pub(crate) schedule: Option<Schedule>,
    /// State kept between inference steps: the error ε, or the value x with ε = x − μ as in the paper [default: error]
    #[arg(long, value_parser = choice::<Coords>())]
    pub(crate) coords: Option<Coords>,
    /// Loss at the output: squared is ½ Σ (target − μ)², cross-entropy is −log softmax(μ) of the label [default: squared]
    #[arg(long, value_parser = choice::<Loss>())]
    pub(crate) loss: Option<Loss>,
    /// Optimizer that applies the weight changes of the rule [default: adam for most rules]
    #[arg(long, value_parser = choice::<Optimizer>())]
    pub(crate) optimizer: Option<Optimizer>,
    /// Weight decay λ of weights and biases; decoupled from the gradient with adamw [default: 0.01 for adamw, else 0]
    #[arg(long, value_name = "LAMBDA", allow_negative_numbers = true)]
    pub(crate) weight_decay: Option<f64>,
    /// Momentum coefficient of --optimizer momentum [default: 0.9]
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) momentum: Option<f64>,
    /// β₁,β₂ of --optimizer adam or adamw [default: 0.9,0.999]
    #[arg(long, value_name = "B1,B2", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) betas: Option<Vec<f64>>,
    /// Learning rate factors, one per weight matrix from input to output, as in 1,0.5 [default: all 1 for most rules]
    #[arg(long, value_name = "F,F,..", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) layer_lr: Vec<f64>,
    /// Freeze weight matrices: the l of θ^l, from 1 at the output, or the words input and output, as in 2,3. Their weights and biases
    /// stay as they are, under weight decay too
    #[arg(long, value_name = "LAYER,LAYER,..", value_delimiter = ',')]
    pub(crate) freeze: Vec<String>,
    #[command(flatten)]
    pub(crate) rule_options: RuleOptionArgs,
}

/// Options that belong to single rules, as typed. An option that several rules define appears once.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleOptionArgs(BTreeMap<String, String>);

impl clap::Args for RuleOptionArgs {
    fn augment_args(mut command: clap::Command) -> clap::Command {
        let mut known: Vec<&str> = Vec::new();
        for choice in Rule::all().iter().flat_map(|rule| rule.rule_options) {
            if known.contains(&choice.name) {
                continue;
            }
            known.push(choice.name);
            let own = |rule: &'static Rule| {
                let own = rule.rule_options.iter().find(|c| c.name == choice.name)?;
                Some((rule.name(), own.write(rule.recommended.rule_option(own))))
            };
            let (takers, defaults): (Vec<&str>, Vec<String>) = Rule::all().iter().filter_map(own).unzip();
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

impl clap::FromArgMatches for RuleOptionArgs {
    fn from_arg_matches(matches: &clap::ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut own = RuleOptionArgs::default();
        own.update_from_arg_matches(matches)?;
        Ok(own)
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> std::result::Result<(), clap::Error> {
        for choice in Rule::all().iter().flat_map(|rule| rule.rule_options) {
            if let Ok(Some(text)) = matches.try_get_one::<String>(choice.name) {
                self.0.insert(choice.name.to_owned(), text.clone());
            }
        }
        Ok(())
    }
}

impl RuleOptionArgs {
    /// The values for `rule`. An option of another rule is an error.
    fn read(&self, rule: Rule) -> Result<BTreeMap<String, f64>> {
        let read = |(name, text): (&String, &String)| {
            let choice = rule.rule_options.iter().find(|choice| choice.name == name.as_str());
            let choice = choice.ok_or_else(|| Options::new(rule).refused(name))?;
            Ok((name.clone(), choice.read(text)?))
        };
        self.0.iter().map(read).collect()
    }
}

/// Arguments of `zilch trace`.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// A folder or a file with data of a format in docs/data.md (MNIST, CIFAR, CSV, .npz, images by class), or `digits` or `colours` for a built-in
    /// synthetic set. The first samples form the mini-batch
    #[arg(long, default_value = "digits")]
    pub(crate) data: OsString,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) rule: RuleArgs,
    /// Seed of the initial weights and of all random numbers of the rule
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Start from these weights (a .safetensors file)
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Draw to this SVG file
    #[arg(long, value_name = "FILE.svg", value_parser = picture())]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `zilch draw`.
#[derive(Debug, Args)]
pub(crate) struct DrawArgs {
    /// The weights (a .safetensors file)
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// Draw to this SVG file
    #[arg(long, value_name = "FILE.svg", value_parser = picture())]
    pub(crate) out: PathBuf,
    /// Number of units to draw, counted from the first
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) units: usize,
    /// Rows of an input image [default: as many as columns; images are square]
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<usize>,
}

/// Arguments of `zilch rules`.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    /// List the recommended settings of every rule, which `zilch train` uses for options that are not given
    #[arg(long)]
    pub(crate) settings: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// The number of inputs and outputs of a network whose layers are not given, where no data set says them: those of MNIST.
pub(crate) const MNIST: [usize; 2] = [784, 10];

impl RuleArgs {
    /// The values of the options that are not given.
    pub(crate) fn defaults(&self) -> Defaults {
        self.rule.rule.defaults(self.preset)
    }

    /// Samples per weight update.
    pub(crate) fn batch(&self) -> usize {
        self.batch.unwrap_or(self.defaults().batch)
    }

    /// Whether the network has the inputs and outputs of the data set.
    pub(crate) fn follows_data(&self) -> bool {
        self.layers.is_none() && self.preset != Preset::Paper
    }

    /// The network; between these numbers of inputs and outputs if `--layers` is not given.
    pub(crate) fn network(&self, [inputs, outputs]: [usize; 2]) -> Result<Network> {
        let defaults = self.defaults();
        let network = match &self.layers {
            Some(layers) => zilch::network::read_layers(layers)?,
            None => defaults.network(inputs, outputs)?,
        };
        let activation = self.activation.unwrap_or(defaults.activation);
        let mut network = network.with_activation(activation).with_bias(self.bias.unwrap_or(defaults.bias));
        if let Some(file) = self.rule.file.as_ref().filter(|_| network.graph().is_some() && !self.rule.graphs) {
            let who =
                format!("the rule of {}, which is {} with its own coefficients,", file.display(), self.rule.name());
            return Err(Options::no_graphs(&who));
        }
        network.input_activation = self.input_activation;
        if let Some(text) = &self.pixels {
            let refuse = || {
                Error::usage(format!(
                    "--pixels takes a mean and a standard deviation, as in 0.5,0.5; for images with several channels, all means \
                     and then all standard deviations; {text} given"
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
            // The default is stored as none, so that runs with and without an explicit `--targets 0,1` have equal settings.
            network.targets = Some(read_targets(text).ok_or_else(refuse)?).filter(|held| *held != [0.0, 1.0]);
        }
        Ok(network)
    }

    /// The rule's options for this network.
    pub(crate) fn options(&self, network: &Network) -> Result<Options> {
        let preset = self.defaults();
        let defaults = preset.options(self.rule.rule, network.matrices());
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
        let optimizer = self.optimizer.unwrap_or(preset.optimizer);
        let mean = self.mean.unwrap_or(preset.mean);
        let own = self.rule_options.read(self.rule.rule)?;
        let mut options = Options {
            loss: self.loss.unwrap_or(preset.loss),
            optimizer,
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            betas,
            layer_lr: if self.layer_lr.is_empty() { defaults.layer_lr } else { self.layer_lr.clone() },
            rule_options: defaults.rule_options.into_iter().chain(self.rule.rule_options.clone()).chain(own).collect(),
            schedule: self.schedule,
            coords: self.coords.unwrap_or(defaults.coords),
            gamma: self.gamma.or(defaults.gamma),
            steps: self.steps.or(defaults.steps),
            phi: self.phi.unwrap_or(defaults.phi),
            td: self.td.unwrap_or(defaults.td),
            alpha: self.lr.unwrap_or_else(|| preset.rate(optimizer, mean, self.batch())),
            mean,
            ..defaults
        };
        if !self.freeze.is_empty() {
            options.freeze(network, &self.freeze)?;
        }
        Ok(options)
    }
}

/// The rule that `--rule` selects.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) rule: Rule,
    /// The rule file, if `--rule` names one.
    pub(crate) file: Option<PathBuf>,
    /// The coefficients that the file defines.
    pub(crate) rule_options: BTreeMap<String, f64>,
}

impl Chosen {
    /// Whether this value of `--rule` is the path of a file.
    pub(crate) fn is_file(value: &OsStr) -> bool {
        Path::new(value).extension().is_some_and(|extension| extension == "json")
    }

    /// Reads a rule file.
    fn read(path: PathBuf) -> Result<Chosen> {
        let file = RuleFile::read(&path)?;
        Ok(Chosen { rule: file.rule, rule_options: file.numbers()?, file: Some(path) })
    }
}

impl std::ops::Deref for Chosen {
    type Target = Rule;
    fn deref(&self) -> &Rule {
        &self.rule
    }
}

/// The error of a file that clap wrapped in an error about an argument's value.
pub(crate) fn of_a_file(error: &clap::Error) -> Option<Error> {
    match std::error::Error::source(error)?.downcast_ref()? {
        Error::Data { path, reason } => Some(Error::data(path, reason)),
        _ => None,
    }
}

/// The error of clap, with a helpful message if a whole number was expected. Rust's own message is "invalid digit found in string".
pub(crate) fn reworded(error: clap::Error) -> clap::Error {
    let digits = |e: &ParseIntError| matches!(e.kind(), IntErrorKind::InvalidDigit | IntErrorKind::Empty);
    let not_whole = std::error::Error::source(&error).and_then(|e| e.downcast_ref()).is_some_and(digits);
    match (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue)) {
        (Some(option), Some(value)) if not_whole => clap::Error::raw(
            error.kind(),
            format!(
                "invalid value '{value}' for '{option}': expected a whole number, such as 1000\n\nFor more information, try \
                 '--help'.\n"
            ),
        ),
        _ => error,
    }
}

/// A help text that lists the default of each rule that takes the option.
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

/// The default number of steps of a rule, as help shows it: a number, or `lmax` if it equals the number of weight layers.
fn default_steps(rule: &Rule) -> String {
    if let Some(steps) = rule.recommended.steps {
        return steps.to_string();
    }
    let [short, long] = [3, 4].map(|layers| Network::new(&vec![1; layers]).map_or(0, |network| (rule.steps)(&network)));
    if (short, long) == (2, 3) { "lmax".to_owned() } else { short.to_string() }
}

/// Parses the name of a rule or the path of a rule file.
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
            // With `try_map` the error of the file is the source of clap's error; `of_a_file` finds it there.
            return PathBufValueParser::new().try_map(Chosen::read).parse_ref(command, arg, value);
        }
        let named = choice::<Rule>();
        named.parse_ref(command, arg, value).map(|rule| Chosen { rule, file: None, rule_options: BTreeMap::new() })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values: Vec<PossibleValue> = choice::<Rule>().possible_values().into_iter().flatten().collect();
        Some(Box::new(values.into_iter()))
    }
}

/// Arguments of `zilch evolve`.
#[derive(Debug, Args)]
pub(crate) struct EvolveArgs {
    /// A folder or a file with data of a format in docs/data.md (MNIST, CIFAR, CSV, .npz, images by class), or `digits` or `colours` for a built-in
    /// synthetic set. Only the training samples are used
    #[arg(long)]
    pub(crate) data: OsString,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Layer sizes of the network that candidates train, input first
    #[arg(long, default_value = "784,64,32,10")]
    pub(crate) layers: OsString,
    /// Activation of the hidden layers
    #[arg(long, default_value = "tanh", value_parser = choice::<Activation>())]
    pub(crate) activation: Activation,
    /// Learning rate α; the coefficients of the rule multiply it
    #[arg(long, default_value_t = 0.01)]
    pub(crate) lr: f64,
    /// Training images per network, each shown once; as many other images test it
    #[arg(long, default_value_t = 500)]
    pub(crate) images: usize,
    /// Mini-batch size: samples per weight update
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Networks trained per candidate and generation
    #[arg(long, default_value_t = 3)]
    pub(crate) networks: usize,
    /// Candidates per generation
    #[arg(long, default_value_t = 16)]
    pub(crate) population: usize,
    /// Number of generations
    #[arg(long, default_value_t = 20)]
    pub(crate) generations: usize,
    /// Seed of the search
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Write the rule to this file; use it with `--rule FILE.json`
    #[arg(long, value_name = "FILE.json", value_parser = new_file())]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TrainArgs {
    /// A folder or a file with data of a format in docs/data.md (MNIST, CIFAR, CSV, .npz, images by class), or `digits` or `colours` for a built-in
    /// synthetic set
    #[arg(long, required_unless_present_any = ["resume", "config"])]
    pub(crate) data: Option<OsString>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) rule: RuleArgs,
    /// cpu, gpu, auto (a hardware GPU if there is one, else the CPU), or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    /// float32, or mixed: matrix products with float16 operands and float32 accumulators, on a GPU with matrix units.
    /// Only float32 guarantees bit-identical results
    #[arg(long, default_value = "float32", value_parser = choice::<Precision>())]
    pub(crate) precision: Precision,
    /// Number of passes over the training set [default: 10]
    #[arg(long, conflicts_with = "updates")]
    pub(crate) epochs: Option<u64>,
    /// Number of weight updates, instead of epochs
    #[arg(long)]
    pub(crate) updates: Option<u64>,
    /// Learning rate over the run: constant; cosine (half a cosine down to 0); step (× 0.1 after half of the run, × 0.01 after
    /// three quarters); warm-cosine (up to × 1.1 over the first tenth, then half a cosine down to × 0.1)
    #[arg(long, default_value = "constant", value_name = "SHAPE", value_parser = choice::<Ramp>())]
    pub(crate) lr_schedule: Ramp,
    /// Number of updates over which the learning rate grows linearly from 0
    #[arg(long, default_value_t = 0, value_name = "UPDATES")]
    pub(crate) warmup: u64,
    /// Seed of the initial weights, the sample order and all random numbers of the rule
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Keep the sample order of the file in every epoch
    #[arg(long)]
    pub(crate) no_shuffle: bool,
    /// Initial weights: uniform (±1/√fan-in), xavier, he, orthogonal, normal (variance 1), or a .safetensors file to start from
    /// [default: xavier for most rules; normal for mupc, which requires it]
    #[arg(long, value_name = "uniform|xavier|he|orthogonal|normal|FILE")]
    pub(crate) init: Option<PathBuf>,
    /// Factor of the random initial weights: one for all, or one per weight matrix from input to output [default: 1 for most rules]
    #[arg(long, value_name = "F[,F,..]", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) init_gain: Vec<f64>,
    #[command(flatten)]
    pub(crate) subset: SubsetArgs,
    /// JSON file with tasks to train in sequence, each with its classes, labels and number of epochs (see docs/samples.md)
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["classes", "per_class", "test_per_class"])]
    pub(crate) tasks: Option<PathBuf>,
    /// Hold out the last N training images of each class as a validation set, and test on it after each epoch. --patience and the
    /// best weights then use its error
    #[arg(long, value_name = "N", conflicts_with = "tasks")]
    pub(crate) hold_out: Option<usize>,
    /// Augment the training images: flip mirrors left to right with probability ½; crop4 pads with 4 pixels of 0 and crops to the
    /// original size at a random position. Test images are not changed
    #[arg(long, value_name = "flip,cropN", default_value = "none", hide_default_value = true)]
    pub(crate) augment: Augment,
    /// End an epoch after N updates, to test more often than once per pass
    #[arg(long, value_name = "N")]
    pub(crate) epoch_updates: Option<u64>,
    /// Measure on the first mini-batch after each epoch. Per layer: alignment (angle between the rule's weight change and BP's),
    /// energy, eps (root mean square of ε). At the output: target (angle between the change of the output and the direction to the
    /// target). With --out, metrics.csv and curves.svg contain the values
    #[arg(long, value_delimiter = ',', value_name = "alignment,energy,eps,target", value_parser = choice::<Probe>())]
    pub(crate) probe: Vec<Probe>,
    /// Write weights, metrics and settings to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write a checkpoint to --out every N updates or every TIME, as in 500, 30s, 5m or 2h, and the weights of the best epoch to
    /// best.safetensors (by --hold-out if given, else by the test set). An interrupted run always writes a checkpoint
    #[arg(long, value_name = "N|TIME", value_parser = every, allow_hyphen_values = true)]
    pub(crate) checkpoint_every: Option<Every>,
    /// Resume the interrupted run in this folder. The weights are bit-identical to those of an uninterrupted run. Other options allowed:
    /// --epochs, to train longer, --threads, --checkpoint-every, --max-time, --live and --json; all others come from the run
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Read options from this file; options on the command line override it. A .toml file with one option per line, as in lr = 0.01, or
    /// the run.json of an earlier run. Paths in a .toml file are relative to its folder
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Train N times, with seeds --seed, --seed + 1, …, each in its own subfolder of --out; report mean and standard deviation
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) seeds: Option<u64>,
    /// Early stopping: stop after this many epochs without a lower error (of --hold-out if given, else of the test set). --out then has
    /// the weights of the best epoch, best.safetensors
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) patience: Option<u64>,
    /// Interrupt the run after this time, as in 30s, 5m or 2h: of updates and evaluations together, without loading. The seconds that
    /// a run reports are those of its updates alone. Continue with --resume. Exit code 130 means unfinished
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) max_time: Option<std::time::Duration>,
    /// Serve a page with the curves on 127.0.0.1 while training runs [default port: 7878; 0 is any free one]
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = LIVE_PORT)]
    pub(crate) live: Option<u16>,
    /// Threads of the CPU device [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// The port of `--live` without a number.
const LIVE_PORT: &str = "7878";

/// Reads "30s", "5m" or "2h".
fn time(text: &str) -> std::result::Result<std::time::Duration, String> {
    match every(text) {
        Ok(Every::Time(time)) => Ok(time),
        _ => Err(format!("\"{text}\" is not a time; write it as 30s, 5m or 2h")),
    }
}

/// Reads "500", "30s", "5m" or "2h".
fn every(text: &str) -> std::result::Result<Every, String> {
    let refuse = || format!("\"{text}\" is neither a number of updates nor a time; write 500, 30s, 5m or 2h");
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

/// How data are read.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Data of your own")]
pub(crate) struct ReadingArgs {
    /// Column of a CSV file with the class: its name, or its number counted from 1 [default: label, class or target, else the last]
    #[arg(long, value_name = "COLUMN", conflicts_with = "target_columns")]
    pub(crate) label: Option<String>,
    /// Columns of a CSV file with real targets, by name or number. The test error is then the mean squared error
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    pub(crate) target_columns: Vec<String>,
    /// Columns of a CSV file to leave out, by name or number
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    pub(crate) ignore_columns: Vec<String>,
    /// Whether the first row of a CSV file names the columns [default: yes if none of its cells is a number]
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    pub(crate) header: Option<bool>,
    /// Scaling of numbers and real targets, by the statistics of the training samples [default: standard]
    #[arg(long, value_parser = choice::<Scaling>())]
    pub(crate) scaling: Option<Scaling>,
    /// Part of the samples that becomes the test set if the data have none [default: 0.2]
    #[arg(long, value_name = "PART")]
    pub(crate) test_part: Option<f64>,
    /// Seed of that split, so that runs with several --seed have the same test set [default: 0]
    #[arg(long, value_name = "SEED")]
    pub(crate) split_seed: Option<u64>,
    /// Resize the images of a folder of classes, as in 28x28 (rows x columns)
    #[arg(long, value_name = "ROWSxCOLS", value_parser = image_size)]
    pub(crate) image_size: Option<[usize; 2]>,
}

impl ReadingArgs {
    /// The choices in the form that `run.json` stores.
    pub(crate) fn reading(&self) -> Reading {
        let ReadingArgs { label, target_columns, ignore_columns, header, scaling, test_part, split_seed, image_size } =
            self.clone();
        let earlier = None;
        Reading { label, target_columns, ignore_columns, header, scaling, test_part, split_seed, image_size, earlier }
    }
}

/// Reads "yes" or "no".
fn yes_or_no(text: &str) -> std::result::Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("write yes or no".into()),
    }
}

/// Reads "28x28".
fn image_size(text: &str) -> std::result::Result<[usize; 2], String> {
    let refuse = || format!("\"{text}\" is not a size; write rows and columns of 1 to 4096 pixels, as in 28x28");
    let (rows, cols) = text.split_once('x').ok_or_else(refuse)?;
    let side = |side: &str| side.parse().ok().filter(|side| (1..=4096).contains(side)).ok_or_else(refuse);
    Ok([side(rows)?, side(cols)?])
}

/// The subset of a data set to use.
#[derive(Debug, Clone, Args)]
pub(crate) struct SubsetArgs {
    /// Use only these classes, labelled 0, 1, … in this order
    #[arg(long, value_name = "C,C,..", value_delimiter = ',')]
    pub(crate) classes: Option<Vec<u8>>,
    /// Use only the first N training images of each class
    #[arg(long, value_name = "N")]
    pub(crate) per_class: Option<usize>,
    /// Use only the first N test images of each class
    #[arg(long, value_name = "N")]
    pub(crate) test_per_class: Option<usize>,
}

impl SubsetArgs {
    /// The subset in the form that `run.json` stores.
    pub(crate) fn subset(&self) -> Subset {
        let SubsetArgs { classes, per_class, test_per_class } = self;
        let (per_class, test_per_class) = (*per_class, *test_per_class);
        Subset { classes: classes.clone(), per_class, test_per_class, ..Subset::default() }
    }
}

impl SubsetArgs {
    /// The inputs and outputs of a network for this part of a data set.
    pub(crate) fn ends(&self, data: &Data) -> [usize; 2] {
        let [inputs, outputs] = data.ends();
        [inputs, self.classes.as_ref().map_or(outputs, |classes| classes.len().max(1))]
    }
}

impl TrainArgs {
    /// The learning rate schedule. `total` is 0 here; the training sets it.
    pub(crate) fn lr_schedule(&self) -> LrSchedule {
        LrSchedule { ramp: self.lr_schedule, warmup: self.warmup, total: 0 }
    }

    /// Factors of the random initial weights.
    pub(crate) fn init_gain(&self, matrices: usize) -> Vec<f64> {
        let preset = || Some(self.rule.defaults().init_gain(matrices)).filter(|gain| !gain.is_empty());
        match self.init_gain[..] {
            [] => preset().filter(|_| self.drawn().is_some()).unwrap_or_else(|| vec![1.0]),
            _ => self.init_gain.clone(),
        }
    }

    /// The distribution of the initial weights; none if they come from a file.
    pub(crate) fn drawn(&self) -> Option<Init> {
        let Some(init) = &self.init else { return Some(self.rule.defaults().init) };
        init.to_str().and_then(Init::read)
    }
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// The weights (a .safetensors file)
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: PathBuf,
    /// Rule that predicts; some rules define their own prediction [default: the rule in the run.json beside the weights, else a
    /// forward pass]
    #[arg(long, value_parser = RuleParser, value_name = "RULE|FILE.json")]
    pub(crate) rule: Option<Chosen>,
    /// A folder or a file with data of a format in docs/data.md (MNIST, CIFAR, CSV, .npz, images by class), or `digits` or `colours` for a built-in
    /// synthetic set. What the run.json beside the weights says about reading and scaling holds here too
    #[arg(long)]
    pub(crate) data: OsString,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Use only these classes, labelled 0, 1, … in this order [default: those of the run.json beside the weights, else all]
    #[arg(long, value_name = "C,C,..", value_delimiter = ',')]
    pub(crate) classes: Option<Vec<u8>>,
    /// Use only the first N test images of each class
    #[arg(long, value_name = "N")]
    pub(crate) test_per_class: Option<usize>,
    /// cpu, gpu, auto, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    /// Threads of the CPU device [default: one per core]
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
    /// Print the plan or the program after this pass of the lowering to a GPU
    #[arg(long, value_name = "PASS", value_parser = choice::<Pass>())]
    pub(crate) after: Option<Pass>,
    /// Print the WGSL shaders of the plan, each op below its equation
    #[arg(long, conflicts_with = "after")]
    pub(crate) wgsl: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The fastest tiles are stored in the file named by ZILCH_TUNE, else in zilch/tune.json in the user's cache \
                        folder. Later runs with the same adapter, driver and version of zilch use them. Tiles change only \
                        the speed: results are bit-identical with all of them."
)]
pub(crate) struct TuneArgs {
    /// Layer sizes, input first
    #[arg(long, default_value = "784,32,32,32,10")]
    pub(crate) layers: OsString,
    /// Mini-batch size: samples per weight update
    #[arg(long, default_value_t = 20)]
    pub(crate) batch: usize,
    /// Activation of the hidden layers
    #[arg(long, default_value = "sigmoid", value_parser = choice::<Activation>())]
    pub(crate) activation: Activation,
    /// gpu, or part of an adapter's name
    #[arg(long, default_value = "gpu")]
    pub(crate) device: String,
    /// Measuring time per tile and matrix product, in seconds
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

/// What `zilch reproduce` runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// One experiment.
    One(&'static dyn Experiment),
    /// All experiments of Song et al. (2020).
    All,
    /// No experiment; only the pages and figures are written.
    Page,
}

/// Names of [`Wanted::All`] and [`Wanted::Page`] on the command line, and their help.
const ALL: (&str, &str) = ("all", "The four experiments above");
const PAGE: (&str, &str) = ("page", "Only rewrite pages and figures from the results in --out");

impl Wanted {
    /// Parses the name of an experiment, `all` or `page`.
    fn parser() -> impl TypedValueParser<Value = Wanted> {
        let value = |(name, help): (&'static str, &'static str)| PossibleValue::new(name).help(help);
        let of = |experiment: &&dyn Experiment| value((experiment.name(), experiment.help()));
        // Help lists the experiments that `all` runs before `all` itself.
        let (first, others) = EXPERIMENTS.split_at(SONG_2020.len());
        let values = first.iter().map(of).chain([value(ALL)]).chain(others.iter().map(of)).chain([value(PAGE)]);
        PossibleValuesParser::new(values.collect::<Vec<_>>()).try_map(|name| match name.as_str() {
            name if name == ALL.0 => Ok(Wanted::All),
            name if name == PAGE.0 => Ok(Wanted::Page),
            name => named(name).map(Wanted::One).ok_or_else(|| format!("there is no experiment {name}")),
        })
    }

    /// The experiments to run.
    pub(crate) fn experiments(self) -> Vec<&'static dyn Experiment> {
        match self {
            Wanted::One(one) => vec![one],
            Wanted::All => SONG_2020.to_vec(),
            Wanted::Page => Vec::new(),
        }
    }
}

/// Joins names as "a, b and c".
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// The help text of `--data`.
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
        "Folder with the four MNIST files (the files of CIFAR-10 for {cifar}), or `digits` for the built-in synthetic set. {} take \
         settings and published figures from the folder's name: {}",
        title(experiments.iter().collect()),
        data.join(", ")
    )
}

/// The help text of `--out`.
fn out_help() -> String {
    let pages: Vec<&str> =
        EXPERIMENTS.iter().filter_map(|experiment| experiment.page()).map(|page| page.file).collect();
    format!(
        "Folder for the results. The pages are written beside it: its name with .md, or {}. An interrupted run continues from the \
         results in it",
        listed(&pages)
    )
}

/// The help text of `--seeds`.
fn seeds_help() -> String {
    let of = |experiment: &&dyn Experiment| {
        experiment.seeds().map(|seeds| format!("of {}, at most {}{}", experiment.name(), seeds.most, seeds.why))
    };
    let all: Vec<String> = EXPERIMENTS.iter().filter_map(of).collect();
    format!("Number of seeds {}. A later run with more seeds trains only the missing ones", all.join(", and "))
}

/// The largest number of seeds that any experiment takes.
fn most_seeds() -> u64 {
    EXPERIMENTS.iter().filter_map(|experiment| experiment.seeds()).map(|seeds| seeds.most).max().unwrap_or(1)
}

#[derive(Debug, Args)]
pub(crate) struct ReproduceArgs {
    /// Experiment to run
    #[arg(value_parser = Wanted::parser())]
    pub(crate) experiment: Wanted,
    #[arg(long, help = data_help())]
    pub(crate) data: Option<OsString>,
    #[arg(long, value_name = "DIR", default_value = "results", help = out_help())]
    pub(crate) out: PathBuf,
    /// Run a reduced version in about half a minute
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
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A run is a folder with a run.json written by `zilch train --out`. Links are not followed. Settings have the \
                        names that they have in run.json. A null in run.json is shown as NaN; NaN and missing values sort last. \
                        A repeated run, or one that differs only in --threads, counts once among the seeds."
)]
pub(crate) struct RunsArgs {
    /// Folders to search, with their subfolders
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
    /// Sort by folder, epochs, updates, seconds, error, best, status, date or a setting [default: folder]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) sort: Option<String>,
    /// Group runs with equal values of these settings, as in lr,rule [default: runs that differ only in the seed]
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    pub(crate) by: Vec<String>,
    /// Draw test error and training energy over epochs to this SVG file, one colour per group
    #[arg(long, value_name = "FILE.svg", value_parser = picture())]
    pub(crate) out: Option<PathBuf>,
    /// Print CSV with every column: settings that differ, errors, status, date and command
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The page needs no other file and loads nothing from outside. The confusion matrix, the weights and the activity are \
                        those of the best run of the best three groups. They need weights.safetensors and the data that run.json \
                        names; what cannot be opened is said on the page."
)]
pub(crate) struct ReportArgs {
    /// Folders to search for runs, with their subfolders
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
    /// Group runs with equal values of these settings, as in lr,rule [default: runs that differ only in the seed]
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    pub(crate) by: Vec<String>,
    /// Write the page to this file [default: report.html]
    #[arg(long, value_name = "FILE.html")]
    pub(crate) out: Option<PathBuf>,
    /// Serve the page on 127.0.0.1 until Ctrl-C, made anew for each request [default port: 7878; 0 is any free one]
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = LIVE_PORT,
        conflicts_with = "out"
    )]
    pub(crate) live: Option<u16>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every device computes one update with BP and one with Z-IL. Both must give bit-identical weights, and the \
                        weights of a GPU must equal those of the CPU within rounding error.\n\
                        Exit codes: 0 every device works, or there is no GPU and none was expected · 3 a GPU is present but \
                        cannot be used, or a device computes wrong results."
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
    /// Shell to write the script for
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write zilch.1 and one page per command to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print all commands and options as one Markdown page
    #[arg(long, conflicts_with = "out")]
    pub(crate) markdown: bool,
}
