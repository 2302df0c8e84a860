//! Pinchetti et al., "Benchmarking predictive coding networks — made simple" (ICLR 2025): its networks of one size,
//! 784-128-128-128-10, and VGG-5 for CIFAR-10, each method with the settings that its authors found for it.
//!
//! Their figure is the mean over the best five of seven seeds, each at its best epoch on the test set. Beside it stands the plain
//! one: all seeds, after the last epoch.

use super::page::{Record, load};
use super::piece::{Piece, Train, pieces, with_updates};
use super::results::{shares, times};
use super::{Checked, Context, Folder, Results};
use serde::{Deserialize, Serialize};
use std::path::Path;
use zilch::error::Result;

/// A method with its settings.
#[derive(Debug)]
pub struct Method {
    /// Its name in files and on the page.
    pub name: &'static str,
    /// The data whose settings and figures these are: `mnist`, `fashion-mnist` or `cifar-10`.
    pub data: &'static str,
    /// Arguments of `zilch train` besides [`COMMON`] or [`VGG5`].
    pub command: &'static str,
    /// The test accuracy that was published, in per cent: mean and standard deviation.
    pub published: (f64, f64),
}

/// A training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The method.
    pub name: String,
    /// The data.
    pub data: String,
    /// What ran: arguments of `zilch train`.
    pub command: String,
    /// The seed.
    pub seed: u64,
    /// Test error after each epoch, 0 to 1.
    pub errors: Vec<f64>,
    /// Seconds that its updates took.
    pub seconds: f64,
    /// Why it ended early, if it did.
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

/// What all methods have in common. (Theirs also draw biases; here they begin at 0.)
pub const COMMON: &str = "--layers 784,128,128,128,10 --bias --pixels 0.5,0.5 --batch 128 --epochs 25 --mean --optimizer adamw --lr-schedule warm-cosine";

/// What all have in common on CIFAR-10: a value node after every pool.
pub const VGG5: &str = "--layers 3x32x32,128c3p1,m2,256c3p1,m2,512c3p1,m2,512c3p1,m2,10 --bias \
                        --pixels 0.4914,0.4822,0.4465,0.2023,0.1994,0.2010 --augment flip,crop4 --batch 128 --epochs 50 --mean \
                        --optimizer adamw --lr-schedule warm-cosine";

/// Seeds.
pub const SEEDS: u64 = 7;

/// Every method whose settings are published, in the order of their table.
pub const METHODS: &[Method] = &[
    Method {
        name: "BP-SE",
        data: "mnist",
        command: "--rule bp --activation gelu --lr 0.000275 --weight-decay 0.0051",
        published: (98.29, 0.08),
    },
    Method {
        name: "BP-CE",
        data: "mnist",
        command: "--rule bp --loss cross-entropy --activation hard-tanh --lr 0.000281 --weight-decay 0.0015",
        published: (98.07, 0.06),
    },
    Method {
        name: "PC-SE",
        data: "mnist",
        command: "--rule il --nodes post --steps 8 --gamma 0.01053 --node-momentum 0.65 --activation gelu --lr 0.000297 --weight-decay 0.00036",
        published: (98.26, 0.04),
    },
    Method {
        name: "PC-CE",
        data: "mnist",
        command: "--rule il --nodes post --steps 5 --gamma 0.01828 --node-momentum 0.35 --loss cross-entropy --activation gelu --lr 0.0003 \
                  --weight-decay 0.0033",
        published: (98.11, 0.03),
    },
    Method {
        name: "PN",
        data: "mnist",
        command: "--rule il --nodes post --steps 5 --gamma 0.058 --node-momentum 0.7 --nudging positive --nudge 0.55 --activation gelu \
                  --lr 0.000299 --weight-decay 0.00014",
        published: (98.36, 0.06),
    },
    Method {
        name: "NN",
        data: "mnist",
        command: "--rule il --nodes post --steps 4 --gamma 0.0686 --node-momentum 0.5 --nudging negative --nudge 0.2 --nudge-step 0.02 \
                  --activation gelu --lr 0.000269 --weight-decay 0.0046",
        published: (98.26, 0.07),
    },
    Method {
        name: "CN",
        data: "mnist",
        command: "--rule il --nodes post --steps 5 --gamma 0.058 --node-momentum 0.7 --nudging centred --nudge 0.55 --activation gelu \
                  --lr 0.000299 --weight-decay 0.00014",
        published: (98.23, 0.09),
    },
    Method {
        name: "iPC",
        data: "mnist",
        command: "--rule ipc --nodes post --steps 8 --gamma 0.8495 --node-momentum 0.35 --activation leaky-relu --lr 0.000253 \
                  --weight-decay 0.033",
        published: (98.45, 0.09),
    },
    Method {
        name: "BP-SE",
        data: "fashion-mnist",
        command: "--rule bp --activation relu --lr 0.000275 --weight-decay 0.00017",
        published: (89.48, 0.07),
    },
    Method {
        name: "PC-SE",
        data: "fashion-mnist",
        command: "--rule il --nodes post --steps 5 --gamma 0.0261 --node-momentum 0.1 --activation gelu --lr 0.000297 --weight-decay 0.0018",
        published: (89.58, 0.13),
    },
    Method {
        name: "iPC",
        data: "fashion-mnist",
        command: "--rule ipc --nodes post --steps 8 --gamma 0.7997 --node-momentum 0.25 --activation leaky-relu --lr 0.000269 \
                  --weight-decay 0.012",
        published: (89.90, 0.06),
    },
    Method {
        name: "BP-SE",
        data: CIFAR,
        command: "--rule bp --activation gelu --lr 0.000279 --weight-decay 0.00011",
        published: (89.43, 0.12),
    },
    Method {
        name: "BP-CE",
        data: CIFAR,
        command: "--rule bp --loss cross-entropy --activation gelu --lr 0.000294 --weight-decay 0.00001",
        published: (88.11, 0.13),
    },
    Method {
        name: "PC-SE",
        data: CIFAR,
        command: "--rule il --nodes post --steps 7 --gamma 0.02349 --node-momentum 0.3 --activation gelu --lr 0.000266 --weight-decay 0.0067",
        published: (87.98, 0.11),
    },
    Method {
        name: "PC-CE",
        data: CIFAR,
        command: "--rule il --nodes post --steps 8 --gamma 0.01471 --node-momentum 0.05 --loss cross-entropy --activation gelu --lr 0.000264 \
                  --weight-decay 0.000012",
        published: (88.06, 0.13),
    },
    Method {
        name: "PN",
        data: CIFAR,
        command: "--rule il --nodes post --steps 7 --gamma 0.03623 --node-momentum 0.1 --nudging positive --nudge 0.323 --nudge-step 0.02 \
                  --activation gelu --lr 0.0003 --weight-decay 0.000037",
        published: (88.42, 0.66),
    },
    Method {
        name: "NN",
        data: CIFAR,
        command: "--rule il --nodes post --steps 7 --gamma 0.02802 --node-momentum 0.5 --nudging negative --nudge 0.179 --nudge-step 0.02 \
                  --activation gelu --lr 0.000262 --weight-decay 0.0009",
        published: (88.83, 0.04),
    },
    Method {
        name: "CN",
        data: CIFAR,
        command: "--rule il --nodes post --steps 7 --gamma 0.03623 --node-momentum 0.1 --nudging centred --nudge 0.323 --nudge-step 0.02 \
                  --activation gelu --lr 0.0003 --weight-decay 0.000037",
        published: (89.47, 0.13),
    },
    Method {
        name: "iPC",
        data: CIFAR,
        command: "--rule ipc --nodes post --steps 8 --gamma 0.7441 --node-momentum 0.65 --activation hard-tanh --lr 0.000175 \
                  --weight-decay 0.000026",
        published: (85.51, 0.12),
    },
];

impl Method {
    /// The whole command.
    pub fn whole(&self) -> String {
        let common = if self.data == CIFAR { VGG5 } else { COMMON };
        let words: Vec<&str> = self.command.split_whitespace().chain(common.split_whitespace()).collect();
        words.join(" ")
    }

    /// The methods for data of that name; of other data those of MNIST.
    fn of(data: &str) -> impl Iterator<Item = &'static Method> {
        let wanted = published(data).unwrap_or("mnist");
        METHODS.iter().filter(move |m| m.data == wanted)
    }
}

/// The name of CIFAR-10 here, whose folder may have a longer one.
const CIFAR: &str = "cifar-10";

/// The data of published settings that data of this name are.
fn published(data: &str) -> Option<&'static str> {
    let name = if data == CIFAR || data.starts_with("cifar-10-") { CIFAR } else { data };
    METHODS.iter().map(|m| m.data).find(|known| *known == name)
}

/// Trains every method with so many seeds; what is in the folder already is not made again.
///
/// # Errors
/// Those of training.
pub fn run(context: &Context<'_>, folder: &Folder, train: &Train<'_>, seeds: u64) -> Result<Vec<Run>> {
    let seeds = if context.quick { 1 } else { seeds.min(SEEDS) };
    let piece = |method: &Method, seed| {
        let command = if context.quick { with_updates(&method.whole(), "8") } else { method.whole() };
        Piece { name: method.name.into(), command, seed, ..Piece::default() }
    };
    let all: Vec<Piece> =
        (0..seeds).flat_map(|seed| Method::of(&context.data.name).map(move |m| piece(m, seed))).collect();
    let run = |outcome: super::piece::Outcome| Run {
        name: outcome.name,
        data: context.data.name.clone(),
        command: outcome.command,
        seed: outcome.seed,
        errors: outcome.errors,
        seconds: outcome.seconds,
        stopped: outcome.stopped,
    };
    Ok(pieces(context, folder, &all, train)?.into_iter().map(run).collect())
}

/// The first line of the page.
pub const PCX_TITLE: &str = "# One network, eight ways to learn\n";

/// Seeds that count in the statistic of the paper.
const BEST: usize = 5;

/// The name of a record: one for each data set that has published settings.
pub fn record_name(data: &str) -> String {
    published(data).map_or("pcx".into(), |data| format!("pcx-{data}"))
}

/// Mean and standard deviation of accuracies, in per cent.
fn statistics(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (!values.is_empty()).then(|| (mean, variance.sqrt()))
}

/// The two statistics of a method's runs: the best five at their best epochs, and all after the last.
fn both(runs: &[&Run]) -> [Option<(f64, f64)>; 2] {
    let accuracy = |error: f64| 100.0 * (1.0 - error);
    let least = |run: &&&Run| run.errors.iter().copied().reduce(f64::min).map(accuracy);
    let mut best: Vec<f64> = runs.iter().filter_map(|run| least(&run)).collect();
    best.sort_by(|a, b| b.total_cmp(a));
    // Fewer runs: the same share of them.
    best.truncate((best.len() * BEST).div_ceil(SEEDS as usize));
    let last: Vec<f64> = runs.iter().filter_map(|run| run.errors.last().copied().map(accuracy)).collect();
    [statistics(&best), statistics(&last)]
}

/// The mean accuracy after the last epoch of a method on some data, by the record in `dir`.
pub(super) fn last_epoch(records: &[Record<Vec<Run>>], data: &str, method: &str) -> Option<(f64, f64, usize)> {
    let mine = |run: &&Run| published(&run.data).unwrap_or(&run.data) == data && run.name == method;
    let runs: Vec<&Run> = records.iter().flat_map(|r| &r.results).filter(mine).collect();
    let (mean, sd) = both(&runs)[1]?;
    Some((mean, sd, runs.len()))
}

/// The records in `dir`.
///
/// # Errors
/// [`zilch::Error::Data`] when one is there and cannot be read.
pub(super) fn records(dir: &Path) -> Result<Vec<Record<Vec<Run>>>> {
    let names = ["pcx-mnist", "pcx-fashion-mnist", "pcx-cifar-10", "pcx"];
    let all: Vec<Option<Record<Vec<Run>>>> = names.iter().map(|name| load(dir, name)).collect::<Result<_>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// The page of what lies in `dir`, if there are records.
///
/// # Errors
/// [`zilch::Error::Data`] when a record is there and cannot be read.
pub fn pcx_page(dir: &Path) -> Result<Option<String>> {
    let records = records(dir)?;
    let Some(first) = records.first() else { return Ok(None) };
    let folder = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut text = String::from(PCX_TITLE);
    text += &format!(
        "\nPinchetti et al., \"Benchmarking predictive coding networks — made simple\" (ICLR 2025): 784-128-128-128-10, and VGG-5 for CIFAR-10, with the \
         settings of their configuration files, re-run by `zilch reproduce pcx --data DIR` on {} ({}{}), on one thread each. This page is made from \
         `{folder}/pcx-*.json` by `zilch reproduce page`; a test holds it to those.\n\n\
         Their figure is the mean over the best five of seven seeds, each at the epoch where its test accuracy is highest. *Last epoch* is the \
         mean over all seeds after the last one, which nobody chose. ± is the standard deviation. Where there are fewer than seven seeds, the same \
         share of them counts as best.\n",
        first.date,
        first.host["cpu"].as_str().unwrap_or("a CPU"),
        if first.quick { ", the reduced version: its numbers mean nothing" } else { "" },
    );
    for record in &records {
        text += &format!(
            "\n## {}\n\n| method | published | ours, their way | ours, last epoch | seeds | seconds a run |\n| --- | --- | --- | --- | --- | --- |\n",
            record.data
        );
        for method in Method::of(&record.data) {
            let runs: Vec<&Run> = record.results.iter().filter(|run| run.name == method.name).collect();
            let stopped = runs.iter().find_map(|run| run.stopped.clone());
            let show = |s: Option<(f64, f64)>| s.map_or("–".into(), |(mean, sd)| format!("{mean:.2} ± {sd:.2}"));
            let [theirs, last] = both(&runs);
            let mut seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
            seconds.sort_by(f64::total_cmp);
            let median = seconds.get(seconds.len() / 2).map_or("–".into(), |s| format!("{s:.0}"));
            let (mean, sd) = method.published;
            text += &format!(
                "| {} | {mean:.2} ± {sd:.2} | {} | {} | {} | {median} |\n",
                method.name,
                stopped.unwrap_or_else(|| show(theirs)),
                show(last),
                runs.len()
            );
        }
    }
    if !records.iter().any(|record| published(&record.data) == Some(CIFAR)) {
        text += "\n## cifar-10\n\nVGG-5 has not run yet: its commands are below, its published figures these.\n\n| method | published |\n| --- | --- |\n";
        for method in Method::of(CIFAR) {
            text += &format!("| {} | {:.2} ± {:.2} |\n", method.name, method.published.0, method.published.1);
        }
    }
    text += "\nCN has no published settings: here it is PN and NN in turn, an epoch each, with PN's. Biases begin at 0, where theirs are drawn. The \
             published figures of single cells were quoted from memory of their Table 1 and agree with all of its cells that could be looked up.\n\n\
             The command of each, with `--data DIR --seed S`:\n\n";
    for method in METHODS {
        text += &format!("* {} on {}: `zilch train {}`\n", method.name, method.data, method.whole());
    }
    Ok(Some(text))
}
