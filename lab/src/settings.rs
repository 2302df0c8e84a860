//! The settings of a training: one field for each option of `zilch train` that changes its bits, so that experiments are tables of
//! them, [`Settings::training`] runs them, and [`crate::command`] writes them.

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

/// What `zilch train` can be told of a training besides data, seed and device. Start from [`Settings::DEFAULT`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The rule's name.
    pub rule: &'static str,
    /// Layers, as `--layers` takes them.
    pub layers: &'static str,
    /// f of the hidden layers; none is the rule's own, else the sigmoid.
    pub activation: Option<Activation>,
    /// Whether layers have biases.
    pub bias: bool,
    /// Whether f is applied to the input, too.
    pub input_activation: bool,
    /// Means of pixels and after them their deviations; none is p / 255.
    pub pixels: &'static [f32],
    /// What the output is held to: off and on; none is 0 and 1.
    pub targets: Option<[f32; 2]>,
    /// The loss.
    pub loss: Loss,
    /// How weights are drawn; none is the rule's own way.
    pub init: Option<Init>,
    /// What drawn weights are multiplied by; none is 1.
    pub init_gain: &'static [f64],
    /// Samples of a weight update.
    pub batch: usize,
    /// Whether updates are averaged over the batch instead of summed.
    pub mean: bool,
    /// How weights follow.
    pub optimizer: Optimizer,
    /// Share of the last step that momentum keeps.
    pub momentum: Option<f64>,
    /// β₁ and β₂ of adam and adamw.
    pub betas: Option<[f64; 2]>,
    /// λ.
    pub weight_decay: Option<f64>,
    /// α.
    pub lr: f64,
    /// Factors of α by layer, from the input's to the output's.
    pub layer_lr: &'static [f64],
    /// How α changes over the run.
    pub lr_schedule: Ramp,
    /// Updates over which α grows from nothing.
    pub warmup: u64,
    /// γ.
    pub gamma: Option<f64>,
    /// Steps of inference.
    pub steps: Option<u32>,
    /// What φ of fazil looks at.
    pub phi: Option<Phi>,
    /// t_d of φ.
    pub td: Option<u32>,
    /// Which layers a step works on.
    pub schedule: Option<Schedule>,
    /// What error nodes carry.
    pub coords: Option<Coords>,
    /// The rule's own options: names and values, as they are typed.
    pub rule_options: &'static [(&'static str, &'static str)],
    /// How long to train.
    pub length: Length,
    /// The most updates of an epoch.
    pub epoch_updates: Option<u64>,
    /// Whether every epoch has its own random order.
    pub shuffle: bool,
    /// The classes that are shown; none is all.
    pub classes: &'static [u8],
    /// The most training images of a class.
    pub per_class: Option<usize>,
    /// The most test images of a class.
    pub test_per_class: Option<usize>,
    /// Training images of each class that are not shown, and tested.
    pub hold_out: Option<usize>,
    /// How training images are changed.
    pub augment: Augment,
    /// What is measured after each epoch.
    pub probe: &'static [Probe],
    /// Epochs without a better error after which to stop.
    pub patience: Option<u64>,
}

impl Settings {
    /// What `zilch train` does where it is told nothing.
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

    /// The same with so many updates in the place of its length: what a reduced run does.
    pub fn shortened(self, updates: u64) -> Settings {
        Settings { length: Length::Updates(updates), ..self }
    }

    /// The training of a seed, without what is held out of its data: see [`Settings::shown`].
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no such rule, network or option.
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

    /// The rule.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is none of the name.
    pub fn rule(&self) -> Result<Rule> {
        Rule::named(self.rule).ok_or_else(|| Error::usage(format!("there is no rule {}", self.rule)))
    }

    fn network(&self, rule: Rule) -> Result<Network> {
        let activation = self.activation.or(rule.activation).unwrap_or(Activation::Sigmoid);
        let mut network = Network::parse(self.layers)?.with_activation(activation).with_bias(self.bias);
        network.input_activation = self.input_activation;
        network.targets = self.targets;
        if !self.pixels.is_empty() {
            let refuse = || Error::usage(format!("{:?} are no means and deviations of pixels", self.pixels));
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

    /// The part of the data that is shown.
    pub fn subset(&self) -> Subset {
        Subset {
            classes: (!self.classes.is_empty()).then(|| self.classes.to_vec()),
            per_class: self.per_class,
            test_per_class: self.test_per_class,
            ..Subset::default()
        }
    }

    /// The data that are shown, and those that are held out.
    ///
    /// # Errors
    /// [`Error::Usage`] where the data have no such part.
    pub fn shown(&self, data: Data) -> Result<(Data, Option<Dataset>)> {
        shown(data, self.subset(), self.hold_out)
    }
}

/// The part of the data that is shown, and `hold_out` images of each of its classes that are not.
///
/// # Errors
/// [`Error::Usage`] where the data have no such part.
pub fn shown(data: Data, subset: Subset, hold_out: Option<usize>) -> Result<(Data, Option<Dataset>)> {
    let Some(n) = hold_out else {
        let part = if subset.is_all() { data } else { subset.of(&data)? };
        return Ok((part, None));
    };
    // Of the classes that are shown, under their labels; then as many of the rest as are wanted.
    let classes = Subset { per_class: None, ..subset.clone() };
    let (rest, held) = classes.of(&data)?.hold_out(n)?;
    let fewer = Subset { classes: None, labels: None, test_per_class: None, ..subset };
    Ok((fewer.of(&rest)?, Some(held)))
}
