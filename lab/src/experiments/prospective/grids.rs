//! The grids of trainings: the conditions, and for each condition the learning rates and the settings.

use super::{Cell, Key, RULES};
use crate::settings::Settings;
use crate::trial::{Outcome, Trial};
use serde::{Deserialize, Serialize};
use zilch::data::tasks::{Subset, Task, Tasks, Tested};
use zilch::network::Init;
use zilch::plan::activation::Activation;
use zilch::random::{Random, Stream};
use zilch::statistics::Statistics;
use zilch::train::Length;

/// A question of the paper, and the grid of trainings that answers it.
#[derive(Debug)]
pub struct Grid {
    /// The name in file names and on the page.
    pub name: &'static str,
    /// The figure in the paper.
    pub figure: &'static str,
    /// The question.
    pub title: &'static str,
    /// The quantity that the conditions vary.
    pub axis: &'static str,
    /// The score that is computed from the test errors of a training.
    pub score: Score,
    /// The learning rates by condition.
    pub rates: fn() -> Vec<(u64, &'static [f64])>,
    /// The settings of a training under a condition, without rule and learning rate.
    pub condition: fn(u64) -> Settings,
    /// Inference of predictive coding: γ, steps, and the factor that reduces γ.
    pub settle: Settle,
    /// The number of seeds.
    pub seeds: usize,
    /// The published values: condition, PC, BP.
    pub published: &'static [(u64, f64, f64)],
    /// The learning rate of the published figure, if it is not the best one.
    pub published_at: Option<f64>,
}

/// The score of a training, computed from its test errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Score {
    /// The minimum.
    Least,
    /// The mean over epochs, and over tasks if there are several.
    Mean,
}

/// Inference settings of predictive coding.
#[derive(Debug, Clone, Copy)]
pub struct Settle {
    gamma: f64,
    steps: u32,
    /// The option --discount, the factor that reduces γ.
    rule_options: &'static [(&'static str, &'static str)],
}

/// The network of most grids.
const SMALL: Settings = Settings { layers: "784,32,32,10", init: Some(Init::Xavier), ..Settings::DEFAULT };

/// The settings with held-out training images of each class, on which a learning rate is selected.
const HELD: Settings = Settings { hold_out: Some(500), length: Length::Epochs(64), ..SMALL };

/// The network of the experiment with changing labels.
const DRIFTING: Settings = Settings { targets: Some([-1.0, 1.0]), ..SMALL };

/// The training before the labels change.
const BEFORE_DRIFT: Settings = Settings { rule: "bp", batch: 60, lr: 0.01, length: Length::Epochs(64), ..DRIFTING };

/// Epochs between two changes of the labels.
const DRIFT: u64 = 64;

/// A network with hidden layers of 64 units and this number of weight layers.
fn deep(depth: u64) -> &'static str {
    match depth {
        4 => "784,64,64,64,10",
        10 => "784,64,64,64,64,64,64,64,64,64,10",
        _ => "784,64,64,64,64,64,64,64,64,64,64,64,64,64,64,10",
    }
}

/// Every grid in the order of the page.
pub const GRIDS: &[Grid] = &[
    Grid {
        name: "online",
        figure: "4b, c",
        title: "Few examples at a time: the mean test error over 64 times 200 updates",
        axis: "batch",
        score: Score::Mean,
        rates: || {
            vec![
                (1, &[0.05, 0.1, 0.15, 0.2, 0.25, 0.3]),
                (4, &[0.025, 0.05, 0.075, 0.1, 0.15]),
                (16, &[0.005, 0.01, 0.025, 0.05, 0.075]),
                (64, &[0.001, 0.0025, 0.005, 0.01, 0.025]),
            ]
        },
        condition: |batch| Settings { batch: batch as usize, epoch_updates: Some(200), ..HELD },
        settle: Settle { gamma: 0.1, steps: 63, rule_options: &[("discount", "0.5")] },
        seeds: 3,
        published: &[(1, 0.272, 0.288), (16, 0.193, 0.200)],
        published_at: None,
    },
    Grid {
        name: "few",
        figure: "4h",
        title: "Few data: the least test error in 64 epochs",
        axis: "images a class",
        score: Score::Least,
        rates: || {
            const FINE: &[f64] = &[0.1, 0.075, 0.05, 0.025, 0.01, 0.0075, 0.005, 0.0025, 0.001, 0.0005];
            // The best rate for 600 images per class, and its neighbours.
            const COARSE: &[f64] = &[0.01, 0.005, 0.0025];
            vec![(60, FINE), (300, FINE), (600, FINE), (3000, COARSE), (5500, &[0.005, 0.0025])]
        },
        condition: |n| Settings { per_class: Some(n as usize), test_per_class: Some(n as usize), batch: 60, ..HELD },
        settle: Settle { gamma: 1.0, steps: 63, rule_options: &[("discount", "0.5")] },
        seeds: 3,
        published: &[
            (60, 0.248, 0.268),
            (300, 0.178, 0.182),
            (600, 0.167, 0.167),
            (3000, 0.150, 0.139),
            (5500, 0.146, 0.130),
        ],
        published_at: None,
    },
    Grid {
        name: "continual",
        figure: "4d, e",
        title: "Two tasks in turn, four epochs each, of five classes on the same outputs: the mean test error of both",
        axis: "images a class",
        score: Score::Mean,
        rates: || vec![(600, &[0.005, 0.0025, 0.001, 0.00075, 0.0005, 0.00025])],
        condition: |_| Settings { layers: "784,32,32,32,5", batch: 500, length: Length::Epochs(84), ..SMALL },
        settle: Settle { gamma: 0.1, steps: 63, rule_options: &[("discount", "0.9")] },
        seeds: 21,
        published: &[(600, 0.638, 0.69)],
        published_at: None,
    },
    Grid {
        name: "drift",
        figure: "4f, g",
        title: "Labels of five classes change places every 64 epochs: the mean test error",
        axis: "images a class",
        score: Score::Mean,
        rates: || vec![(120, &[0.1, 0.05, 0.01])],
        condition: |_| Settings { batch: 32, length: Length::Epochs(3000), ..DRIFTING },
        settle: Settle { gamma: 0.1, steps: 127, rule_options: &[("discount", "0.5")] },
        seeds: 3,
        published: &[(120, 0.29, 0.405)],
        published_at: Some(0.01),
    },
    Grid {
        name: "depth",
        figure: "3f–h",
        title: "Deep networks on 60 images a class: the mean test error over 64 epochs",
        axis: "layers of weights",
        score: Score::Mean,
        rates: || {
            const RATES: &[f64] = &[1.0, 0.5, 0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001];
            vec![(4, RATES), (10, RATES), (15, RATES)]
        },
        condition: |depth| {
            let activation = Some(Activation::LeakyRelu);
            Settings { layers: deep(depth), activation, per_class: Some(60), batch: 60, ..HELD }
        },
        settle: Settle { gamma: 0.1, steps: 127, rule_options: &[("discount", "0.5")] },
        seeds: 3,
        published: &[(4, 0.278, 0.29), (10, 0.327, 0.348), (15, 0.417, 0.533)],
        published_at: None,
    },
];

impl Grid {
    /// The settings of a training.
    pub fn settings(&self, rule: &str, at: u64, lr: f64) -> Settings {
        let settings = Settings { lr, ..(self.condition)(at) };
        let named = RULES.iter().find(|(name, _)| *name == rule).map_or("bp", |(_, named)| *named);
        if rule != "pc" {
            return Settings { rule: named, ..settings };
        }
        let Settle { gamma, steps, rule_options } = self.settle;
        Settings { rule: named, gamma: Some(gamma), steps: Some(steps), rule_options, ..settings }
    }

    /// The settings that the page shows: predictive coding under the first condition, with its first learning rate.
    pub(super) fn shown(&self) -> Settings {
        let (at, rates) = (self.rates)()[0];
        self.settings("pc", at, rates[0])
    }

    /// A training. `smallest` is the size of the smallest class in images.
    pub(super) fn trial(&self, (rule, at, lr, seed): Key, smallest: usize, quick: bool) -> Trial {
        let length = |settings: Settings| if quick { settings.shortened(6) } else { settings };
        let settings = length(self.settings(rule, at, lr));
        let trial = Trial::new(format!("{}-{rule}-{at}-{lr}", self.name), settings, seed);
        match self.name {
            "continual" => Trial { tasks: Some(two_tasks(seed, at as usize)), ..trial },
            "drift" => {
                let parts = (smallest / at as usize).max(1) as u64;
                let tasks = Some(drift(seed, at as usize, parts));
                Trial { tasks, before: Some(length(BEFORE_DRIFT)), ..trial }
            }
            _ => trial,
        }
    }

    /// The score of a sequence of test errors by epoch.
    fn score(&self, errors: &[f64]) -> Option<f64> {
        match self.score {
            Score::Least => errors.iter().copied().reduce(f64::min),
            Score::Mean => Statistics::of(errors).map(|s| s.mean),
        }
    }

    /// The score at the epoch that is selected on the held-out images.
    fn chosen(&self, errors: &[f64], held: &[f64]) -> Option<f64> {
        if held.is_empty() || self.score == Score::Mean {
            return self.score(errors).filter(|_| !held.is_empty());
        }
        let least = held.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1))?;
        errors.get(least.0).copied()
    }

    pub(super) fn cell(&self, (rule, at, lr, seed): Key, outcome: &Outcome) -> Cell {
        let finished = outcome.stopped.is_none();
        let errors = errors(outcome);
        Cell {
            experiment: self.name.into(),
            rule: rule.into(),
            at,
            lr,
            seed,
            score: self.score(&errors).filter(|_| finished),
            held: self.score(&outcome.held).filter(|_| finished),
            chosen: self.chosen(&errors, &outcome.held).filter(|_| finished),
            last: errors.last().copied().filter(|_| finished),
            updates: outcome.updates,
            seconds: outcome.seconds,
        }
    }
}

/// Test errors by epoch: of the current task, or the mean over all tasks if all were tested.
pub(super) fn errors(outcome: &Outcome) -> Vec<f64> {
    if outcome.tested.is_empty() {
        return outcome.errors.clone();
    }
    outcome.tested.iter().map(|all| Statistics::of(all).map_or(0.0, |s| s.mean)).collect()
}

/// Splits ten classes at random into two tasks of five, which share the outputs 0 to 4.
fn two_tasks(seed: u64, per_class: usize) -> Tasks {
    let classes: Vec<u8> = Random::new(seed, Stream::Test, 1).permutation(10).iter().map(|c| *c as u8).collect();
    let task = |classes: &[u8]| Task {
        subset: Subset { classes: Some(classes.to_vec()), per_class: Some(per_class), ..Subset::default() },
        epochs: 4,
    };
    Tasks { tasks: classes.chunks(5).map(task).collect(), test: Tested::Every }
}

/// A sequence of tasks with ten classes. The last five classes repeatedly permute their labels. Each task uses other
/// images, up to the number of `parts`.
fn drift(seed: u64, per_class: usize, parts: u64) -> Tasks {
    let mut random = Random::new(seed, Stream::Test, 2);
    let mut task = |k: u64| {
        let moved = random.permutation(5).into_iter().map(|l| 5 + l as u8);
        let subset = Subset {
            classes: None,
            labels: Some((0..5).chain(moved).collect()),
            per_class: Some(per_class),
            skip: Some((k % parts) as usize * per_class),
            test_per_class: Some(100),
        };
        Task { subset, epochs: DRIFT }
    };
    Tasks { tasks: (0..3000_u64.div_ceil(DRIFT)).map(&mut task).collect(), test: Tested::Current }
}
