//! Pinchetti et al., "Benchmarking predictive coding networks — made simple" (ICLR 2025): the networks
//! 784-128-128-128-10, and VGG-5 for CIFAR-10. Each method uses the hyperparameters that the authors selected for it.
//!
//! The published values are means over the best five of seven seeds, each at its best epoch on the test set. The page
//! also shows the mean over all seeds after the last epoch.

use crate::command::command;
use crate::experiment::{Input, Page, Seeds, Summary, records, spread};
use crate::record::folder_name;
use crate::results::{shares, times};
use crate::settings::Settings;
use crate::trial::{Outcome, Trial, trials};
use crate::{Checked, Context, Experiment, Folder, Record, Results};
use serde::{Deserialize, Serialize};
use std::path::Path;
use zilch::error::Result;
use zilch::plan::activation::Activation;
use zilch::plan::augment::Augment;
use zilch::rules::{Loss, Optimizer, Ramp};
use zilch::statistics::{PLUS_MINUS, Statistics, quartiles};
use zilch::train::Length;

/// One network trained with eight methods.
#[derive(Debug)]
pub struct Pcx;

impl Experiment for Pcx {
    fn name(&self) -> &'static str {
        "pcx"
    }

    fn help(&self) -> &'static str {
        "The networks of one size that Pinchetti et al. (2025) compare"
    }

    fn input(&self) -> Input {
        Input::Known(&DATA)
    }

    fn seeds(&self) -> Option<Seeds> {
        Some(Seeds { most: SEEDS, why: " as in its paper" })
    }

    fn record_name(&self, data: &str) -> String {
        published(data).map_or("pcx".into(), |data| format!("pcx-{data}"))
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        let run = |outcome: Outcome| Run {
            name: outcome.name,
            data: context.data.name.clone(),
            command: outcome.command,
            seed: outcome.seed,
            errors: outcome.errors,
            seconds: outcome.seconds,
            stopped: outcome.stopped,
        };
        let runs: Vec<Run> = trials(context, folder, &all(context))?.into_iter().map(run).collect();
        folder.record(context, runs)
    }

    fn settings(&self) -> Vec<Settings> {
        METHODS.iter().map(|method| method.settings).collect()
    }

    fn page(&self) -> Option<Page> {
        Some(PAGE)
    }

    fn summary(&self, dir: &Path) -> Result<Vec<Summary>> {
        let records: Vec<Record<Vec<Run>>> = records(self, dir)?;
        Ok(METHODS.iter().filter_map(|method| summary(method, &records)).collect())
    }
}

const PAGE: Page = Page { file: "pcx.md", title: "# One network, eight ways to learn\n", make: page };

/// A method and its settings.
#[derive(Debug)]
pub struct Method {
    /// The name in file names and on the page.
    pub name: &'static str,
    /// The data set of these settings and published values, one of [`DATA`].
    pub data: &'static str,
    /// The training settings.
    pub settings: Settings,
    /// The published test accuracy in percent: mean and standard deviation.
    pub published: (f64, f64),
}

/// The outcome of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The method.
    pub name: String,
    /// The data set.
    pub data: String,
    /// The command: arguments of `zilch train`.
    pub command: String,
    /// The seed.
    pub seed: u64,
    /// Test error after each epoch, 0 to 1.
    pub errors: Vec<f64>,
    /// Seconds of the updates.
    pub seconds: f64,
    /// The reason for an early end.
    pub stopped: Option<String>,
}

impl Results for Vec<Run> {
    fn check(&self) -> Checked {
        self.iter().try_for_each(|run| {
            shares("a test error", &run.errors)?;
            times("\"seconds\"", [&run.seconds])
        })
    }
}

/// The name of CIFAR-10 in [`DATA`]. The name of its folder can be longer.
const CIFAR: &str = "cifar-10";

/// The data sets with published settings.
pub const DATA: [&str; 3] = ["mnist", "fashion-mnist", CIFAR];

/// The settings that all methods share. (The paper also draws random biases; here biases are initialised to 0.)
const COMMON: Settings = Settings {
    bias: true,
    batch: 128,
    mean: true,
    optimizer: Optimizer::Adamw,
    lr_schedule: Ramp::WarmCosine,
    ..Settings::DEFAULT
};

/// The settings that all methods share on MNIST and Fashion-MNIST.
const MLP: Settings =
    Settings { layers: "784,128,128,128,10", pixels: &[0.5, 0.5], length: Length::Epochs(25), ..COMMON };

/// The settings that all methods share on CIFAR-10. Each pooling layer is followed by a value node.
const VGG5: Settings = Settings {
    layers: "3x32x32,128c3p1,m2,256c3p1,m2,512c3p1,m2,512c3p1,m2,10",
    pixels: &[0.4914, 0.4822, 0.4465, 0.2023, 0.1994, 0.2010],
    augment: Augment { flip: true, crop: 4 },
    length: Length::Epochs(50),
    ..COMMON
};

/// The number of seeds.
const SEEDS: u64 = 7;

/// Number of seeds, the best ones, over which the paper averages.
const BEST: usize = 5;

/// Every method with published settings, in the order of the published table.
pub const METHODS: &[Method] = &[
    Method {
        name: "BP-SE",
        data: "mnist",
        settings: Settings {
            rule: "bp",
            activation: Some(Activation::Gelu),
            lr: 0.000275,
            weight_decay: Some(0.0051),
            ..MLP
        },
        published: (98.29, 0.08),
    },
    Method {
        name: "BP-CE",
        data: "mnist",
        settings: Settings {
            rule: "bp",
            loss: Loss::CrossEntropy,
            activation: Some(Activation::HardTanh),
            lr: 0.000281,
            weight_decay: Some(0.0015),
            ..MLP
        },
        published: (98.07, 0.06),
    },
    Method {
        name: "PC-SE",
        data: "mnist",
        settings: Settings {
            rule: "il",
            steps: Some(8),
            gamma: Some(0.01053),
            activation: Some(Activation::Gelu),
            lr: 0.000297,
            weight_decay: Some(0.00036),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.65")],
            ..MLP
        },
        published: (98.26, 0.04),
    },
    Method {
        name: "PC-CE",
        data: "mnist",
        settings: Settings {
            rule: "il",
            steps: Some(5),
            gamma: Some(0.01828),
            loss: Loss::CrossEntropy,
            activation: Some(Activation::Gelu),
            lr: 0.0003,
            weight_decay: Some(0.0033),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.35")],
            ..MLP
        },
        published: (98.11, 0.03),
    },
    Method {
        name: "PN",
        data: "mnist",
        settings: Settings {
            rule: "il",
            steps: Some(5),
            gamma: Some(0.058),
            activation: Some(Activation::Gelu),
            lr: 0.000299,
            weight_decay: Some(0.00014),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.7"), ("nudging", "positive"), ("nudge", "0.55")],
            ..MLP
        },
        published: (98.36, 0.06),
    },
    Method {
        name: "NN",
        data: "mnist",
        settings: Settings {
            rule: "il",
            steps: Some(4),
            gamma: Some(0.0686),
            activation: Some(Activation::Gelu),
            lr: 0.000269,
            weight_decay: Some(0.0046),
            rule_options: &[
                ("nodes", "post"),
                ("node-momentum", "0.5"),
                ("nudging", "negative"),
                ("nudge", "0.2"),
                ("nudge-step", "0.02"),
            ],
            ..MLP
        },
        published: (98.26, 0.07),
    },
    Method {
        name: "CN",
        data: "mnist",
        settings: Settings {
            rule: "il",
            steps: Some(5),
            gamma: Some(0.058),
            activation: Some(Activation::Gelu),
            lr: 0.000299,
            weight_decay: Some(0.00014),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.7"), ("nudging", "centred"), ("nudge", "0.55")],
            ..MLP
        },
        published: (98.23, 0.09),
    },
    Method {
        name: "iPC",
        data: "mnist",
        settings: Settings {
            rule: "ipc",
            steps: Some(8),
            gamma: Some(0.8495),
            activation: Some(Activation::LeakyRelu),
            lr: 0.000253,
            weight_decay: Some(0.033),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.35")],
            ..MLP
        },
        published: (98.45, 0.09),
    },
    Method {
        name: "BP-SE",
        data: "fashion-mnist",
        settings: Settings {
            rule: "bp",
            activation: Some(Activation::Relu),
            lr: 0.000275,
            weight_decay: Some(0.00017),
            ..MLP
        },
        published: (89.48, 0.07),
    },
    Method {
        name: "PC-SE",
        data: "fashion-mnist",
        settings: Settings {
            rule: "il",
            steps: Some(5),
            gamma: Some(0.0261),
            activation: Some(Activation::Gelu),
            lr: 0.000297,
            weight_decay: Some(0.0018),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.1")],
            ..MLP
        },
        published: (89.58, 0.13),
    },
    Method {
        name: "iPC",
        data: "fashion-mnist",
        settings: Settings {
            rule: "ipc",
            steps: Some(8),
            gamma: Some(0.7997),
            activation: Some(Activation::LeakyRelu),
            lr: 0.000269,
            weight_decay: Some(0.012),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.25")],
            ..MLP
        },
        published: (89.90, 0.06),
    },
    Method {
        name: "BP-SE",
        data: CIFAR,
        settings: Settings {
            rule: "bp",
            activation: Some(Activation::Gelu),
            lr: 0.000279,
            weight_decay: Some(0.00011),
            ..VGG5
        },
        published: (89.43, 0.12),
    },
    Method {
        name: "BP-CE",
        data: CIFAR,
        settings: Settings {
            rule: "bp",
            loss: Loss::CrossEntropy,
            activation: Some(Activation::Gelu),
            lr: 0.000294,
            weight_decay: Some(0.00001),
            ..VGG5
        },
        published: (88.11, 0.13),
    },
    Method {
        name: "PC-SE",
        data: CIFAR,
        settings: Settings {
            rule: "il",
            steps: Some(7),
            gamma: Some(0.02349),
            activation: Some(Activation::Gelu),
            lr: 0.000266,
            weight_decay: Some(0.0067),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.3")],
            ..VGG5
        },
        published: (87.98, 0.11),
    },
    Method {
        name: "PC-CE",
        data: CIFAR,
        settings: Settings {
            rule: "il",
            steps: Some(8),
            gamma: Some(0.01471),
            loss: Loss::CrossEntropy,
            activation: Some(Activation::Gelu),
            lr: 0.000264,
            weight_decay: Some(0.000012),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.05")],
            ..VGG5
        },
        published: (88.06, 0.13),
    },
    Method {
        name: "PN",
        data: CIFAR,
        settings: Settings {
            rule: "il",
            steps: Some(7),
            gamma: Some(0.03623),
            activation: Some(Activation::Gelu),
            lr: 0.0003,
            weight_decay: Some(0.000037),
            rule_options: &[
                ("nodes", "post"),
                ("node-momentum", "0.1"),
                ("nudging", "positive"),
                ("nudge", "0.323"),
                ("nudge-step", "0.02"),
            ],
            ..VGG5
        },
        published: (88.42, 0.66),
    },
    Method {
        name: "NN",
        data: CIFAR,
        settings: Settings {
            rule: "il",
            steps: Some(7),
            gamma: Some(0.02802),
            activation: Some(Activation::Gelu),
            lr: 0.000262,
            weight_decay: Some(0.0009),
            rule_options: &[
                ("nodes", "post"),
                ("node-momentum", "0.5"),
                ("nudging", "negative"),
                ("nudge", "0.179"),
                ("nudge-step", "0.02"),
            ],
            ..VGG5
        },
        published: (88.83, 0.04),
    },
    Method {
        name: "CN",
        data: CIFAR,
        settings: Settings {
            rule: "il",
            steps: Some(7),
            gamma: Some(0.03623),
            activation: Some(Activation::Gelu),
            lr: 0.0003,
            weight_decay: Some(0.000037),
            rule_options: &[
                ("nodes", "post"),
                ("node-momentum", "0.1"),
                ("nudging", "centred"),
                ("nudge", "0.323"),
                ("nudge-step", "0.02"),
            ],
            ..VGG5
        },
        published: (89.47, 0.13),
    },
    Method {
        name: "iPC",
        data: CIFAR,
        settings: Settings {
            rule: "ipc",
            steps: Some(8),
            gamma: Some(0.7441),
            activation: Some(Activation::HardTanh),
            lr: 0.000175,
            weight_decay: Some(0.000026),
            rule_options: &[("nodes", "post"), ("node-momentum", "0.65")],
            ..VGG5
        },
        published: (85.51, 0.12),
    },
];

/// The name in [`DATA`] for a data set named `data`.
fn published(data: &str) -> Option<&'static str> {
    let name = if data == CIFAR || data.starts_with("cifar-10-") { CIFAR } else { data };
    DATA.into_iter().find(|known| *known == name)
}

/// The methods for the data set named `data`. Data sets without published settings use those of MNIST.
fn methods(data: &str) -> impl Iterator<Item = &'static Method> {
    let wanted = published(data).unwrap_or(DATA[0]);
    METHODS.iter().filter(move |m| m.data == wanted)
}

/// Every method with every seed.
fn all(context: &Context<'_>) -> Vec<Trial> {
    let settings = |m: &Method| if context.quick { m.settings.shortened(8) } else { m.settings };
    let one = |seed| methods(&context.data.name).map(move |m| Trial::new(m.name, settings(m), seed));
    (0..Pcx.seeds_of(context)).flat_map(one).collect()
}

/// Accuracies of a method's runs, in percent: of the best five at their best epochs, and of all runs after the last
/// epoch.
fn accuracies(runs: &[&Run]) -> [Option<Statistics>; 2] {
    let accuracy = |error: f64| 100.0 * (1.0 - error);
    let least = |run: &&Run| run.errors.iter().copied().reduce(f64::min).map(accuracy);
    let mut best: Vec<f64> = runs.iter().filter_map(least).collect();
    best.sort_by(|a, b| b.total_cmp(a));
    // With fewer runs, the same fraction of them is selected.
    best.truncate((best.len() * BEST).div_ceil(SEEDS as usize));
    let last: Vec<f64> = runs.iter().filter_map(|run| run.errors.last().copied().map(accuracy)).collect();
    [Statistics::of(&best), Statistics::of(&last)]
}

/// The row of a method in the table of all experiments: its accuracy after the last epoch.
fn summary(method: &Method, records: &[Record<Vec<Run>>]) -> Option<Summary> {
    let mine = |run: &&Run| published(&run.data).unwrap_or(&run.data) == method.data && run.name == method.name;
    let runs: Vec<&Run> = records.iter().flat_map(|r| &r.results).filter(mine).collect();
    let [_, last] = accuracies(&runs);
    let last = last?;
    let (theirs, sd) = method.published;
    let verdict = match last.mean - theirs {
        d if d.abs() <= 3.0 * last.sample_sd.unwrap_or(0.0).max(sd) => "as published".into(),
        d if d > 0.0 => format!("better by {d:.2} points"),
        d => format!("short by {:.2} points", -d),
    };
    Some(Summary {
        paper: "Pinchetti et al. 2025",
        what: format!("{}, {}, accuracy", method.name, method.data),
        published: format!("{theirs:.2} %"),
        ours: format!("{:.2} %", last.mean),
        spread: spread(&[last], 2, "seeds"),
        verdict,
    })
}

/// The page of the records in `dir`. `None` without records.
fn page(dir: &Path) -> Result<Option<String>> {
    let records: Vec<Record<Vec<Run>>> = records(&Pcx, dir)?;
    let Some(first) = records.first() else { return Ok(None) };
    let mut text = PAGE.title.to_owned() + &introduction(first, &folder_name(dir));
    for record in &records {
        text += &table(record);
    }
    if !records.iter().any(|record| published(&record.data) == Some(CIFAR)) {
        text += "\n## cifar-10\n\nVGG-5 has not been run yet. Its commands are below; the published accuracies are:\n\n| method | published |\n| --- | --- |\n";
        for method in methods(CIFAR) {
            text += &format!("| {} | {:.2} ± {:.2} |\n", method.name, method.published.0, method.published.1);
        }
    }
    text += "\nCN has no published settings. Here it alternates between PN and NN from epoch to epoch, with the settings of PN. Biases start at 0; the paper draws \
             them. The published values were quoted from memory of the paper's Table 1, and agree with all of its cells that could be checked.\n\n\
             The command of each method, with `--data DIR --seed S`:\n\n";
    for method in METHODS {
        text += &format!("* {} on {}: `zilch train {}`\n", method.name, method.data, command(&method.settings));
    }
    Ok(Some(text))
}

fn introduction<T>(first: &Record<T>, folder: &str) -> String {
    format!(
        "\nPinchetti et al., \"Benchmarking predictive coding networks — made simple\" (ICLR 2025): 784-128-128-128-10, and VGG-5 for CIFAR-10, with the \
         settings of their configuration files, re-run by `zilch reproduce pcx --data DIR` on {}, on one thread each. This page is generated from \
         `{folder}/pcx-*.json` by `zilch reproduce page`, and a test checks that it is up to date.\n\n\
         The published value is the mean over the best five of seven seeds, each at the epoch with its highest test accuracy. *Selected as published* is \
         our mean with the same selection; with fewer than seven seeds, the same fraction of them is selected. *Last epoch* is the mean over all seeds after \
         the last epoch, without selection. {PLUS_MINUS} over these seeds; that of the published value is as published.\n",
        first.made(),
    )
}

fn table(record: &Record<Vec<Run>>) -> String {
    let mut text = format!(
        "\n## {}\n\n| method | published | ours, selected as published | ours, last epoch | seeds | seconds per run |\n| --- | --- | --- | --- | --- | --- |\n",
        record.data
    );
    for method in methods(&record.data) {
        let runs: Vec<&Run> = record.results.iter().filter(|run| run.name == method.name).collect();
        text += &row(method, &runs);
    }
    text
}

fn row(method: &Method, runs: &[&Run]) -> String {
    let stopped = runs.iter().find_map(|run| run.stopped.clone());
    let show = |s: Option<Statistics>| s.map_or("–".into(), |s| format!("{s:.2}"));
    let [theirs, last] = accuracies(runs);
    let mut seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
    let median = if seconds.is_empty() { "–".into() } else { format!("{:.0}", quartiles(&mut seconds)[1]) };
    let (mean, sd) = method.published;
    format!(
        "| {} | {mean:.2} ± {sd:.2} | {} | {} | {} | {median} |\n",
        method.name,
        stopped.unwrap_or_else(|| show(theirs)),
        show(last),
        runs.len()
    )
}
