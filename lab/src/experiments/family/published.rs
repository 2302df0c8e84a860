//! The published experiments with the settings that reproduce them.

use super::SEEDS;
use crate::settings::Settings;
use zilch::network::Init;
use zilch::plan::activation::Activation;
use zilch::rules::{Loss, Optimizer, Ramp};
use zilch::train::Length;

/// A published experiment.
pub struct Anchor {
    /// The name in file names.
    pub name: &'static str,
    /// The paper.
    pub paper: &'static str,
    /// The network and the task.
    pub what: &'static str,
    /// The training settings.
    pub settings: Settings,
    /// The range of the published test error in percent: minimum, maximum.
    pub published: [f64; 2],
    /// The source of the published value.
    pub seen: &'static str,
    /// The differences from the paper.
    pub differs: &'static str,
}

impl Anchor {
    /// The seeds to run. Trainings that take minutes have one seed.
    pub(super) fn seeds(&self, quick: bool) -> &'static [u64] {
        let long = matches!(self.settings.length, Length::Epochs(11..))
            || self.settings.rule_options.contains(&("mode", "spikes"));
        if quick || long { &SEEDS[..1] } else { &SEEDS }
    }

    /// Compares the measured mean, in percent, with the published range.
    pub(super) fn verdict(&self, ours: f64) -> String {
        let [low, high] = self.published;
        if ours > high + 0.005 {
            format!("short by {:.2} points", ours - high)
        } else if ours < low - 0.005 {
            format!("better by {:.2} points", low - ours)
        } else {
            "as published".into()
        }
    }
}

/// The settings that most experiments share.
const PLAIN: Settings = Settings { bias: true, init: Some(Init::Xavier), ..Settings::DEFAULT };

/// Networks with seven layers of 240 units.
const DEEP: Settings = Settings {
    layers: "784,240,240,240,240,240,240,240,10",
    activation: Some(Activation::Tanh),
    bias: true,
    loss: Loss::CrossEntropy,
    mean: true,
    ..Settings::DEFAULT
};

/// The networks of Nøkland.
const NOKLAND: Settings = Settings {
    init: Some(Init::Xavier),
    batch: 64,
    optimizer: Optimizer::Adam,
    lr: 0.001,
    lr_schedule: Ramp::Cosine,
    length: Length::Epochs(30),
    ..DEEP
};

/// Every published experiment in the order of the page.
pub const ANCHORS: &[Anchor] = &[
    Anchor {
        name: "bp-7x240",
        paper: "Nøkland 2016",
        what: "BP, 7 × 240 tanh",
        settings: Settings { rule: "bp", ..NOKLAND },
        published: [2.16, 2.16],
        seen: "as usually quoted",
        differs: "30 epochs of Adam, not 300 of RMSprop",
    },
    Anchor {
        name: "fa-7x240",
        paper: "Nøkland 2016",
        what: "FA, 7 × 240 tanh",
        settings: Settings { rule: "fa", ..NOKLAND },
        published: [2.20, 2.20],
        seen: "as usually quoted",
        differs: "30 epochs of Adam, not 300 of RMSprop",
    },
    Anchor {
        name: "dfa-7x240",
        paper: "Nøkland 2016",
        what: "DFA, 7 × 240 tanh",
        settings: Settings { rule: "dfa", ..NOKLAND },
        published: [2.32, 2.32],
        seen: "as usually quoted",
        differs: "30 epochs of Adam, not 300 of RMSprop",
    },
    Anchor {
        name: "mupc-30",
        paper: "Innocenti et al. 2025",
        what: "μPC, 30 layers of 128, ReLU, after 900 updates",
        settings: Settings {
            rule: "mupc",
            layers: "784,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,128,10",
            activation: Some(Activation::Relu),
            init: Some(Init::Normal),
            pixels: &[0.1307, 0.3081],
            batch: 64,
            mean: true,
            optimizer: Optimizer::Adam,
            lr: 0.1,
            length: Length::Updates(900),
            epoch_updates: Some(100),
            ..Settings::DEFAULT
        },
        published: [6.74, 6.74],
        seen: "the notebook beside the authors' code: accuracy 85.83, 90.81, 92.18, 93.26 % after 100, 300, 600, 900 updates",
        differs: "no known difference",
    },
    Anchor {
        name: "ep-500",
        paper: "Scellier & Bengio 2017",
        what: "EP, 784-500-10",
        settings: Settings {
            rule: "ep",
            layers: "784,500,10",
            batch: 20,
            mean: true,
            lr: 0.1,
            layer_lr: &[1.0, 0.5],
            shuffle: false,
            length: Length::Epochs(25),
            ..PLAIN
        },
        published: [2.0, 3.0],
        seen: "the paper, as usually quoted",
        differs: "trained on all 60,000 images, not 50,000",
    },
    Anchor {
        name: "dtp-7x240",
        paper: "Lee et al. 2015",
        what: "difference target propagation, 7 × 240 tanh",
        settings: Settings {
            rule: "dtp",
            init: Some(Init::Orthogonal),
            batch: 100,
            optimizer: Optimizer::Momentum,
            lr: 0.015,
            length: Length::Epochs(20),
            ..DEEP
        },
        published: [1.94, 1.94],
        seen: "the paper, as usually quoted",
        differs: "20 epochs with momentum, not 100 of RMSprop; V and θ learn in the same update",
    },
    dendrite("dendrite-0", "no hidden layer", "784,10", 8.3),
    dendrite("dendrite-1", "500 hidden units", "784,500,10", 4.1),
    dendrite("dendrite-2", "500 and 100 hidden units", "784,500,100,10", 3.2),
    Anchor {
        name: "dendrite-spikes",
        paper: "Guerguiev et al. 2017",
        what: "segregated dendrites with Poisson spikes, 500 hidden units",
        settings: Settings {
            rule: "dendrite",
            layers: "784,500,10",
            batch: 20,
            lr: 0.05,
            length: Length::Epochs(3),
            rule_options: &[("mode", "spikes")],
            ..PLAIN
        },
        published: [4.1, 4.1],
        seen: "the paper, as usually quoted",
        differs: "3 epochs, not 60; batches of 20",
    },
    Anchor {
        name: "burstprop-500",
        paper: "Payeur et al. 2021",
        what: "burstprop, 784-500-10",
        settings: Settings {
            rule: "burstprop",
            layers: "784,500,10",
            batch: 32,
            lr: 0.1,
            layer_lr: &[1.0, 0.3],
            length: Length::Epochs(10),
            rule_options: &[("p0", "0.5"), ("feedback-scale", "1.6")],
            ..PLAIN
        },
        published: [10.45, 10.45],
        seen: "the demo stored beside the authors' code, after 10 epochs",
        differs: "all 60,000 images; our own learning rates; Y is fixed",
    },
    Anchor {
        name: "burstccn-3x500",
        paper: "Greedy et al. 2022",
        what: "BurstCCN, 784-500-500-500-10",
        settings: Settings {
            rule: "burstccn",
            layers: "784,500,500,500,10",
            batch: 32,
            mean: true,
            lr: 0.3,
            length: Length::Epochs(2),
            rule_options: &[("feedback-scale", "11")],
            ..PLAIN
        },
        published: [5.87, 5.87],
        seen: "the log stored beside the authors' code, after 2 epochs",
        differs: "Q cancels from the start; Y is uniform, of the same magnitude",
    },
    Anchor {
        name: "kh-100",
        paper: "Krotov & Hopfield 2019",
        what: "100 competing units and a readout, after 20 epochs",
        settings: Settings {
            rule: "kh",
            layers: "784,100,10",
            init: Some(Init::Normal),
            batch: 100,
            lr: 0.02,
            layer_lr: &[1.0, 0.1],
            lr_schedule: Ramp::Cosine,
            length: Length::Epochs(20),
            rule_options: &[("power", "4")],
            ..Settings::DEFAULT
        },
        published: [1.46, 1.46],
        seen: "the paper's 2,000 units and 200 epochs, as usually quoted",
        differs: "100 units, 20 epochs, n = 4; the readout learns at the same time",
    },
    Anchor {
        name: "kh-2000",
        paper: "Krotov & Hopfield 2019",
        what: "2,000 competing units and a readout, after 40 epochs",
        settings: Settings {
            rule: "kh",
            layers: "784,2000,10",
            init: Some(Init::Normal),
            init_gain: &[0.3, 0.01],
            batch: 100,
            lr: 0.02,
            layer_lr: &[1.0, 0.1],
            lr_schedule: Ramp::Cosine,
            length: Length::Epochs(40),
            rule_options: &[("power", "4")],
            ..Settings::DEFAULT
        },
        published: [1.46, 1.46],
        seen: "the paper, after 200 epochs, as usually quoted",
        differs: "40 epochs, n = 4; the readout learns at the same time",
    },
    Anchor {
        name: "ff-2x500",
        paper: "Hinton 2022",
        what: "Forward-Forward, 784-500-500-10",
        settings: Settings {
            rule: "ff",
            layers: "784,500,500,10",
            loss: Loss::CrossEntropy,
            batch: 100,
            mean: true,
            optimizer: Optimizer::Momentum,
            lr: 0.001,
            layer_lr: &[1.0, 1.0, 10.0],
            length: Length::Epochs(20),
            ..PLAIN
        },
        published: [1.36, 1.47],
        seen: "the paper, its Matlab code and the PyTorch port, 3 × 1,000 units and 100 epochs",
        differs: "2 × 500 units and 20 epochs; the output layer reads the last hidden layer only",
    },
    Anchor {
        name: "ff-3x1000",
        paper: "Hinton 2022",
        what: "Forward-Forward, 784-1000-1000-1000-10, after 100 epochs",
        settings: Settings {
            rule: "ff",
            layers: "784,1000,1000,1000,10",
            loss: Loss::CrossEntropy,
            batch: 100,
            mean: true,
            optimizer: Optimizer::Momentum,
            lr: 0.001,
            layer_lr: &[1.0, 1.0, 1.0, 10.0],
            lr_schedule: Ramp::Cosine,
            length: Length::Epochs(100),
            ..PLAIN
        },
        published: [1.36, 1.47],
        seen: "the paper, its Matlab code and the PyTorch port",
        differs: "a cosine schedule; the output layer reads the last hidden layer only",
    },
];

/// One of the three networks of Guerguiev et al.
const fn dendrite(name: &'static str, what: &'static str, layers: &'static str, published: f64) -> Anchor {
    Anchor {
        name,
        paper: "Guerguiev et al. 2017",
        what,
        settings: Settings { rule: "dendrite", layers, batch: 1, lr: 0.21, ..PLAIN },
        published: [published, published],
        seen: "the paper, as usually quoted",
        differs: "rates, not spikes; 10 epochs, not 60",
    }
}
