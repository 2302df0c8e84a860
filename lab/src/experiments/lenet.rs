//! Sanfiz & Akrout, "Benchmarking the accuracy and robustness of feedback alignment algorithms" (2021, BioTorch): LeNet
//! on MNIST and Fashion-MNIST, trained with backprop and with variants of feedback alignment.
//!
//! The published values are the best of 100 epochs on the test set, with one seed. The values measured here are those
//! after the last epoch, without selection.

use crate::command::command;
use crate::experiment::{Input, Page, Seeds, records};
use crate::record::folder_name;
use crate::settings::Settings;
use crate::trial::{Outcome, Trial, trials};
use crate::{Context, Experiment, Folder, Record};
use std::path::Path;
use zilch::error::Result;
use zilch::network::Init;
use zilch::plan::activation::Activation;
use zilch::rules::{Loss, Optimizer, Ramp};
use zilch::statistics::{PLUS_MINUS, Statistics};
use zilch::train::Length;

/// LeNet with backprop and with feedback alignment.
#[derive(Debug)]
pub struct Lenet;

impl Experiment for Lenet {
    fn name(&self) -> &'static str {
        "lenet"
    }

    fn help(&self) -> &'static str {
        "LeNet by backprop and by feedback alignment: Sanfiz & Akrout (2021, BioTorch)"
    }

    fn input(&self) -> Input {
        Input::Known(&DATA)
    }

    fn seeds(&self) -> Option<Seeds> {
        Some(Seeds { most: 3, why: "" })
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        folder.record(context, trials(context, folder, &all(context))?)
    }

    fn settings(&self) -> Vec<Settings> {
        METHODS.iter().map(|method| method.settings(None)).collect()
    }

    fn page(&self) -> Option<Page> {
        Some(PAGE)
    }
}

const PAGE: Page = Page { file: "lenet.md", title: "# LeNet by feedback alignment\n", make: page };

/// A method and its published test errors, in percent.
#[derive(Debug)]
pub struct Method {
    /// The name on the page.
    pub name: &'static str,
    /// The rule.
    pub rule: &'static str,
    /// The learning rates on MNIST and on Fashion-MNIST.
    pub rates: [f64; 2],
    /// The published test errors on MNIST and on Fashion-MNIST.
    pub published: [f64; 2],
}

/// Every method of the published table except brSF, which draws new feedback weights for every image.
pub const METHODS: &[Method] = &[
    Method { name: "BP", rule: "bp", rates: [0.01, 0.01], published: [0.91, 9.20] },
    Method { name: "FA", rule: "fa", rates: [0.01, 0.003], published: [1.70, 13.06] },
    Method { name: "uSF", rule: "usf", rates: [0.01, 0.01], published: [0.94, 9.69] },
    Method { name: "frSF", rule: "frsf", rates: [0.01, 0.01], published: [0.97, 9.61] },
    Method { name: "DFA", rule: "dfa", rates: [0.003, 0.003], published: [1.61, 12.81] },
];

/// The data sets of the published table.
pub const DATA: [&str; 2] = ["mnist", "fashion-mnist"];

/// The settings that all methods share. The paper differs in three points: images are scaled to 32 × 32 instead of zero
/// padding, training takes 100 epochs, and there is no f between the last two layers.
const COMMON: Settings = Settings {
    layers: "28x28,6c5p2,m2,16c5,m2,120c5,84,10",
    bias: true,
    activation: Some(Activation::Relu),
    loss: Loss::CrossEntropy,
    batch: 64,
    mean: true,
    init: Some(Init::Xavier),
    optimizer: Optimizer::Momentum,
    momentum: Some(0.9),
    weight_decay: Some(0.001),
    lr_schedule: Ramp::Step,
    length: Length::Epochs(40),
    ..Settings::DEFAULT
};

impl Method {
    /// The settings for a column of the published table. Other data use the settings of the first column.
    pub fn settings(&self, column: Option<usize>) -> Settings {
        Settings { rule: self.rule, lr: self.rates[column.unwrap_or(0)], ..COMMON }
    }
}

/// The column of the published table for a data set.
pub fn column(data: &str) -> Option<usize> {
    DATA.iter().position(|name| *name == data)
}

/// Every method with every seed.
fn all(context: &Context<'_>) -> Vec<Trial> {
    let settings = |method: &Method| {
        let whole = method.settings(column(&context.data.name));
        if context.quick { whole.shortened(4) } else { whole }
    };
    let one = |seed| METHODS.iter().map(move |m| Trial::new(m.name, settings(m), seed));
    (0..Lenet.seeds_of(context)).flat_map(one).collect()
}

/// The page of the records in `dir`. `None` without records.
fn page(dir: &Path) -> Result<Option<String>> {
    let records: Vec<Record<Vec<Outcome>>> = records(&Lenet, dir)?;
    let Some(first) = records.first() else { return Ok(None) };
    let mut text = PAGE.title.to_owned() + &introduction(first, &folder_name(dir));
    for record in &records {
        text += &table(record);
    }
    text += "\nThe command of each, with `--data DIR --seed S`:\n\n";
    for method in METHODS {
        text += &format!("* {}: `zilch train {}`\n", method.name, command(&method.settings(None)));
        if method.rates[0] != method.rates[1] {
            text += &format!("  (Fashion-MNIST: `--lr {}`)\n", method.rates[1]);
        }
    }
    Ok(Some(text))
}

fn introduction<T>(first: &Record<T>, folder: &str) -> String {
    format!(
        "\nSanfiz & Akrout, \"Benchmarking the accuracy and robustness of feedback alignment algorithms\" (2021, BioTorch): LeNet, re-run by \
         `zilch reproduce lenet --data DIR` on {}, on one thread each. This page is generated from `{folder}/lenet-*.json` by `zilch \
         reproduce page`, and a test checks that it is up to date.\n\nTest error in percent. The published value is the best of 100 epochs, with one seed; the learning rate \
         is divided by 10 after 50 and after 75 epochs. Ours is the mean over seeds after the last of 40 epochs, with the learning rate divided by 10 after 20 epochs and by 100 \
         after 30; {PLUS_MINUS} over seeds. *Best epoch* selects the epoch as the paper does. \
         The published files do not state the learning rate for these data. Here it is 0.01, and for FA and DFA the best of 0.001, 0.003 and 0.01 after a run \
         of 8 epochs. The paper scales the images to 32 × 32; here they are padded with zeros to that size. It has no f between the last two layers. brSF, which draws \
         new feedback weights for every image, is not included.\n",
        first.made(),
    )
}

fn table(record: &Record<Vec<Outcome>>) -> String {
    let mut text = format!(
        "\n## {}\n\n| method | published | ours, last epoch | ours, best epoch | seeds |\n| --- | --- | --- | --- | --- |\n",
        record.data
    );
    for method in METHODS {
        text += &row(method, column(&record.data), &record.results);
    }
    text
}

/// A method's row of the table.
fn row(method: &Method, column: Option<usize>, all: &[Outcome]) -> String {
    let runs: Vec<&Outcome> = all.iter().filter(|run| run.name == method.name).collect();
    let published = column.map_or("–".into(), |c| format!("{:.2}", method.published[c]));
    let last: Vec<f64> = runs.iter().filter_map(|run| run.errors.last().copied()).collect();
    let best: Vec<f64> = runs.iter().filter_map(|run| run.errors.iter().copied().reduce(f64::min)).collect();
    let percent = |errors: &[f64]| Statistics::of(errors).map_or("–".into(), |s| format!("{:.2}", s.scaled(100.0)));
    let stopped = runs.iter().find_map(|run| run.stopped.clone());
    format!(
        "| {} | {published} | {} | {} | {} |\n",
        method.name,
        stopped.unwrap_or_else(|| percent(&last)),
        percent(&best),
        runs.len()
    )
}
