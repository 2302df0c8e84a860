//! The settings of a training: one field for each option of `zilch train` that affects the resulting weights.
//! Experiments are defined by tables of settings. [`Settings::training`] makes a training from settings, and
//! [`crate::command`] the equivalent command.

use zilch::data::tasks::Subset;
use zilch::data::{Data, Dataset};
use zilch::error::{Error, Result};
use zilch::network::{Init, Pixels};
use zilch::plan::activation::Activation;
use zilch::plan::augment::Augment;
use zilch::rules::{Coords, Loss, LrSchedule, Optimizer, Options, Phi, Ramp, Rule, Schedule};
use zilch::train::probe::Probe;
use zilch::train::{Length, Training};
use zilch::{Network, Weights};

/// All options of `zilch train` except data, seed and device. Start from [`Settings::DEFAULT`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The rule's name.
    pub rule: &'static str,
    /// The layers in the notation of `--layers`.
    pub layers: &'static str,
    /// f of the hidden layers. `None` is the rule's own default, or the sigmoid if it has none.
    pub activation: Option<Activation>,
    /// Whether layers have biases.
    pub bias: bool,
    /// Whether f is also applied to the input.
    pub input_activation: bool,
    /// Means, then standard deviations, of the pixels per channel. If empty, a pixel p is scaled to p / 255.
    pub pixels: &'static [f32],
    /// Targets of the output units, off and on. `None` is 0 and 1.
    pub targets: Option<[f32; 2]>,
    /// The loss.
    pub loss: Loss,
    /// Initialisation of the weights. `None` is the rule's own default.
    pub init: Option<Init>,
    /// Factors of the initial weights. If empty, 1.
    pub init_gain: &'static [f64],
    /// Mini-batch size.
    pub batch: usize,
    /// Whether updates are averaged over the mini-batch instead of summed.
    pub mean: bool,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The momentum coefficient.
    pub momentum: Option<f64>,
    /// β₁ and β₂ of Adam and AdamW.
    pub betas: Option<[f64; 2]>,
    /// Weight decay λ.
    pub weight_decay: Option<f64>,
    /// Learning rate α.
    pub lr: f64,
    /// Factors of α by layer, from the input to the output.
    pub layer_lr: &'static [f64],
    /// Learning rate schedule.
    pub lr_schedule: Ramp,
    /// Updates of the warm-up, in which α rises from 0.
    pub warmup: u64,
    /// Integration step γ of inference.
    pub gamma: Option<f64>,
    /// Inference steps.
    pub steps: Option<u32>,
    /// The quantity that φ of Fa-Z-IL observes.
    pub phi: Option<Phi>,
    /// The parameter t_d of φ.
    pub td: Option<u32>,
    /// The layers that each inference step computes.
    pub schedule: Option<Schedule>,
    /// The coordinates of the error nodes.
    pub coords: Option<Coords>,
    /// Options that only this rule has: names and values as on the command line.
    pub rule_options: &'static [(&'static str, &'static str)],
    /// Length of the training.
    pub length: Length,
    /// Maximum updates per epoch.
    pub epoch_updates: Option<u64>,
    /// Whether each epoch uses a new random order.
    pub shuffle: bool,
    /// Classes to train on. Empty means all.
    pub classes: &'static [u8],
    /// Maximum training images per class.
    pub per_class: Option<usize>,
    /// Maximum test images per class.
    pub test_per_class: Option<usize>,
    /// Training images per class that are held out as a validation set.
    pub hold_out: Option<usize>,
    /// Augmentation of the training images.
    pub augment: Augment,
    /// Probes that are measured after each epoch.
    pub probe: &'static [Probe],
    /// Early stopping: epochs without improvement.
    pub patience: Option<u64>,
}

impl Settings {
    /// The paper's settings: the defaults of `zilch train --preset paper`.
    pub const DEFAULT: Settings = Settings {
        rule: "zil",
        layers: "784,32,32,10",
        activation: None,
        bias: false,
        input_activation: false,
        pixels: &[],
        targets: None,
        loss: Loss::Squared,
        init: None,
        init_gain: &[],
        batch: 20,
        mean: false,
        optimizer: Optimizer::Sgd,
        momentum: None,
        betas: None,
        weight_decay: None,
        lr: 0.001,
        layer_lr: &[],
        lr_schedule: Ramp::Constant,
        warmup: 0,
        gamma: None,
        steps: None,
        phi: None,
        td: None,
        schedule: None,
        coords: None,
        rule_options: &[],
        length: Length::Epochs(10),
        epoch_updates: None,
        shuffle: true,
        classes: &[],
        per_class: None,
        test_per_class: None,
        hold_out: None,
        augment: Augment::NONE,
        probe: &[],
        patience: None,
    };

    /// The same settings with this number of updates as the length, for a reduced run.
    pub fn shortened(self, updates: u64) -> Settings {
        Settings { length: Length::Updates(updates), ..self }
    }

    /// The training for a seed. The caller selects and holds out data with [`Settings::shown`].
    ///
    /// # Errors
    /// [`Error::Usage`] when the rule, the network or an option does not exist.
    pub fn training(&self, seed: u64) -> Result<Training> {
        let rule = self.rule()?;
        Ok(Training {
            network: self.network(rule)?,
            options: Options { seed, ..self.options(rule)? },
            batch: self.batch,
            length: self.length,
            seed,
            shuffle: self.shuffle,
            initial: Some(self.init.unwrap_or(rule.init)),
            init_gain: if self.init_gain.is_empty() { vec![1.0] } else { self.init_gain.to_vec() },
            init: None::<Weights>,
            epoch_updates: self.epoch_updates,
            tasks: None,
            held: None,
            probes: self.probe.to_vec(),
            patience: self.patience,
        })
    }

    /// Looks up the rule.
    ///
    /// # Errors
    /// [`Error::Usage`] when no rule has this name.
    pub fn rule(&self) -> Result<Rule> {
        Rule::named(self.rule).ok_or_else(|| Error::usage(format!("there is no rule {}", self.rule)))
    }

    fn network(&self, rule: Rule) -> Result<Network> {
        let activation = self.activation.or(rule.activation).unwrap_or(Activation::Sigmoid);
        let mut network = Network::parse(self.layers)?.with_activation(activation).with_bias(self.bias);
        network.input_activation = self.input_activation;
        network.targets = self.targets;
        if !self.pixels.is_empty() {
            let refuse = || Error::usage(format!("{:?} are not means and standard deviations of pixels", self.pixels));
            network.pixels = Some(Pixels::new(self.pixels).ok_or_else(refuse)?);
        }
        Ok(network)
    }

    fn options(&self, rule: Rule) -> Result<Options> {
        let defaults = Options::new(rule);
        let own = self.rule_options.iter().map(|(name, value)| {
            let choice = rule.rule_options.iter().find(|choice| choice.name == *name);
            Ok(((*name).to_owned(), choice.ok_or_else(|| defaults.refused(name))?.read(value)?))
        });
        Ok(Options {
            rule_options: own.collect::<Result<_>>()?,
            loss: self.loss,
            optimizer: self.optimizer,
            weight_decay: self.weight_decay,
            momentum: self.momentum,
            betas: self.betas,
            alpha: self.lr,
            mean: self.mean,
            layer_lr: self.layer_lr.to_vec(),
            lr_schedule: LrSchedule { ramp: self.lr_schedule, warmup: self.warmup, total: 0 },
            gamma: self.gamma,
            steps: self.steps,
            phi: self.phi.unwrap_or(defaults.phi),
            td: self.td.unwrap_or(defaults.td),
            schedule: self.schedule,
            coords: self.coords.unwrap_or(defaults.coords),
            augment: self.augment,
            ..defaults
        })
    }

    /// The subset of the data to train and test on.
    pub fn subset(&self) -> Subset {
        Subset {
            classes: (!self.classes.is_empty()).then(|| self.classes.to_vec()),
            per_class: self.per_class,
            test_per_class: self.test_per_class,
            ..Subset::default()
        }
    }

    /// The selected data, and the held-out images.
    ///
    /// # Errors
    /// [`Error::Usage`] when the data do not contain this subset.
    pub fn shown(&self, data: Data) -> Result<(Data, Option<Dataset>)> {
        shown(data, self.subset(), self.hold_out)
    }
}

/// Selects a subset of the data. Also holds out `hold_out` training images per class of the subset, which the subset
/// does not contain.
///
/// # Errors
/// [`Error::Usage`] when the data do not contain this subset.
pub fn shown(data: Data, subset: Subset, hold_out: Option<usize>) -> Result<(Data, Option<Dataset>)> {
    let Some(n) = hold_out else {
        let part = if subset.is_all() { data } else { subset.of(&data)? };
        return Ok((part, None));
    };
    // Select the same classes with the same labels, then take the held-out images from the training images that remain.
    let classes = Subset { per_class: None, ..subset.clone() };
    let part = if classes.is_all() { data } else { classes.of(&data)? };
    let (rest, held) = part.hold_out(n)?;
    let fewer = Subset { classes: None, labels: None, test_per_class: None, ..subset };
    Ok((if fewer.is_all() { rest } else { fewer.of(&rest)? }, Some(held)))
}
