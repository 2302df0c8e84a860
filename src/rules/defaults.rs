//! The values of settings that are not given.
//!
//! Each rule's [`Definition`](super::Definition) has settings with which the rule learns. `--preset paper` selects the settings of
//! Song et al. (2020) for every rule.

use super::{Choice, Loss, Optimizer, Options, Phi, Rule};
use crate::error::Result;
use crate::named::named;
use crate::network::{Init, Network};
use crate::plan::activation::Activation;

named! {
    /// The values of settings that are not given.
    Preset {
        /// Settings with which the rule learns MNIST and the built-in digits.
        Recommended = "recommended",
        /// The settings of Song et al. (2020): 784,32,32,10, sigmoid, no bias, batches of 20, plain steps of 0.001 times the summed changes.
        Paper = "paper",
    }
}

/// The values of settings that are not given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Units of the hidden layers, the one next to the input first.
    pub hidden: &'static [usize],
    /// f of the hidden layers.
    pub activation: Activation,
    /// Whether layers have biases.
    pub bias: bool,
    /// The distribution of the initial weights.
    pub init: Init,
    /// Factor of the initial weights of the output's matrix.
    pub output_gain: f64,
    /// Batch size: samples per weight update.
    pub batch: usize,
    /// Whether weight changes are averaged over the batch instead of summed.
    pub mean: bool,
    /// The loss of the output.
    pub loss: Loss,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The learning rate α with this optimiser; [`Defaults::rate`] has it for the others.
    pub lr: f64,
    /// Whether `lr` is the default with every optimiser.
    pub one_rate: bool,
    /// Factor of α for all weight matrices but the output's, which learns with α itself.
    pub hidden_lr: f64,
    /// γ of Eq. (7); `None` is the rule's default.
    pub gamma: Option<f64>,
    /// Inference steps; `None` is the rule's default.
    pub steps: Option<u32>,
    /// The signal that φ of Fa-Z-IL detects.
    pub phi: Phi,
    /// The rule's own options that differ from their defaults: a number, or the index of a name.
    pub rule_options: &'static [(&'static str, f64)],
}

impl Defaults {
    /// The settings of Song et al. (2020), section 4.
    pub const PAPER: Defaults = Defaults {
        hidden: &[32, 32],
        activation: Activation::Sigmoid,
        bias: false,
        init: Init::Uniform,
        output_gain: 1.0,
        batch: 20,
        mean: false,
        loss: Loss::Squared,
        optimizer: Optimizer::Sgd,
        lr: 0.001,
        one_rate: true,
        hidden_lr: 1.0,
        gamma: None,
        steps: None,
        phi: Phi::Error,
        rule_options: &[],
    };

    /// Recommended settings of most rules.
    pub const RECOMMENDED: Defaults = Defaults {
        hidden: &[128, 128],
        activation: Activation::Tanh,
        bias: true,
        init: Init::Xavier,
        batch: 50,
        mean: true,
        optimizer: Optimizer::Adam,
        one_rate: false,
        ..Defaults::PAPER
    };

    /// The network between this number of inputs and outputs.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) if there are no inputs or outputs.
    pub fn network(&self, inputs: usize, outputs: usize) -> Result<Network> {
        let sizes: Vec<usize> = [&[inputs], self.hidden, &[outputs]].concat();
        Ok(Network::new(&sizes)?.with_activation(self.activation).with_bias(self.bias))
    }

    /// The options of `rule`, whose definition these defaults are from, for a network with this number of weight matrices.
    pub fn options(&self, rule: Rule, matrices: usize) -> Options {
        Options {
            gamma: self.gamma,
            steps: self.steps,
            phi: self.phi,
            alpha: self.lr,
            mean: self.mean,
            loss: self.loss,
            optimizer: self.optimizer,
            layer_lr: self.layer_lr(matrices),
            rule_options: self.rule_options.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            ..Options::new(rule)
        }
    }

    /// The value of one of the rule's own options.
    pub fn rule_option(&self, choice: &Choice) -> f64 {
        self.rule_options.iter().find(|(name, _)| *name == choice.name).map_or(choice.default, |(_, value)| *value)
    }

    /// Factors of α per weight matrix, from the input to the output. Empty: all 1.
    pub fn layer_lr(&self, matrices: usize) -> Vec<f64> {
        per_matrix(self.hidden_lr, 1.0, matrices)
    }

    /// Factors of the initial weights per weight matrix, from the input to the output. Empty: all 1.
    pub fn init_gain(&self, matrices: usize) -> Vec<f64> {
        per_matrix(1.0, self.output_gain, matrices)
    }

    /// The learning rate with this optimiser. For an optimiser other than the recommended one it is a usual value, which is divided by
    /// the batch size where changes are summed. The paper's rate is the same for all.
    pub fn rate(&self, optimizer: Optimizer, mean: bool, batch: usize) -> f64 {
        if self.one_rate || (optimizer == self.optimizer && mean == self.mean) {
            return self.lr;
        }
        let samples = if mean { 1.0 } else { batch.max(1) as f64 };
        match optimizer {
            Optimizer::Adam | Optimizer::Adamw => 0.001,
            Optimizer::Momentum => 0.01 / samples,
            Optimizer::Sgd => 0.1 / samples,
        }
    }
}

/// One factor for each hidden matrix and one for the output's; empty if both are 1.
fn per_matrix(hidden: f64, output: f64, matrices: usize) -> Vec<f64> {
    if (hidden == 1.0 && output == 1.0) || matrices == 0 {
        return Vec::new();
    }
    let mut factors = vec![hidden; matrices - 1];
    factors.push(output);
    factors
}

impl Rule {
    /// The values of settings that are not given.
    pub fn defaults(&self, preset: Preset) -> Defaults {
        let defaults = match preset {
            Preset::Recommended => self.recommended,
            Preset::Paper => Defaults { init: self.init, ..Defaults::PAPER },
        };
        Defaults { activation: self.activation.unwrap_or(defaults.activation), ..defaults }
    }
}

/// The settings of a training that decide whether it learns.
#[derive(Debug, Clone, Copy)]
pub struct Learning<'a> {
    /// The rule and its options.
    pub options: &'a Options,
    /// The network.
    pub network: &'a Network,
    /// The distribution of the initial weights; `None` if they are given.
    pub init: Option<Init>,
    /// Factors of the initial weights per weight matrix; empty: all 1.
    pub init_gain: &'a [f64],
    /// Samples per weight update.
    pub batch: usize,
}

impl Learning<'_> {
    /// The settings as options of the command line: name and value.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let Learning { options, network, init, init_gain, batch } = *self;
        let rule = options.rule;
        let mut words = vec![("optimizer", options.optimizer.name().to_owned()), ("lr", options.alpha.to_string())];
        words.extend(factors(&options.layer_lr).map(|factors| ("layer-lr", factors)));
        words.push(("mean", options.mean.to_string()));
        words.push(("batch", batch.to_string()));
        if rule.activation.is_none() {
            words.push(("activation", network.activation.name().to_owned()));
        }
        words.push(("bias", network.bias.to_string()));
        words.extend(init.map(|init| ("init", init.name().to_owned())));
        words.extend(init.and(factors(init_gain)).map(|factors| ("init-gain", factors)));
        words.push(("loss", options.loss.name().to_owned()));
        if rule.takes("gamma") {
            words.push(("gamma", options.gamma().to_string()));
        }
        if rule.takes("steps") {
            words.push(("steps", options.steps(network).to_string()));
        }
        let own = |choice: &'static Choice| (choice.name, choice.write(options.rule_option(choice.name)));
        words.extend(rule.rule_options.iter().map(own));
        words
    }

    /// The recommended settings of the rule from which these differ, as options of the command line.
    pub fn advice(&self) -> Vec<(&'static str, String)> {
        let rule = self.options.rule;
        let defaults = rule.defaults(Preset::Recommended);
        let network = self.network.clone().with_activation(defaults.activation).with_bias(defaults.bias);
        let mut words = defaults.words(rule, &network);
        words.retain(|(name, _)| self.init.is_some() || !["init", "init-gain"].contains(name));
        let given = self.words();
        let ones = |name: &'static str| (name, vec!["1"; network.matrices()].join(","));
        // Factors that are given, and not recommended, are 1 in the advice.
        let extra =
            ["layer-lr", "init-gain"].map(|name| (name, [&words, &given].map(|w| w.iter().any(|(n, _)| *n == name))));
        words.extend(extra.into_iter().filter(|(_, has)| *has == [false, true]).map(|(name, _)| ones(name)));
        words.retain(|word| !given.contains(word));
        words
    }
}

impl Defaults {
    /// These defaults as options of the command line, for this rule and network.
    pub fn words(&self, rule: Rule, network: &Network) -> Vec<(&'static str, String)> {
        let options = &self.options(rule, network.matrices());
        let init_gain = &self.init_gain(network.matrices());
        Learning { options, network, init: Some(self.init), init_gain, batch: self.batch }.words()
    }
}

/// Factors as they are typed; none if all are 1.
fn factors(factors: &[f64]) -> Option<String> {
    let all: Vec<String> = factors.iter().map(f64::to_string).collect();
    factors.iter().any(|factor| *factor != 1.0).then(|| all.join(","))
}
