//! Sanfiz & Akrout, "Benchmarking the accuracy and robustness of feedback alignment algorithms" (2021, BioTorch): LeNet on MNIST and
//! Fashion-MNIST by backprop and by the feedback that takes the place of its transposed weights.
//!
//! Their figure is one seed's best epoch of 100 on the test set. Beside it stands ours after the last epoch, which nobody chose.

use super::page::{Record, load};
use super::piece::{Outcome, Piece, Train, pieces, with_updates};
use super::{Context, Folder};
use std::path::Path;
use zilch::error::Result;

/// A method, and its published test errors in per cent.
#[derive(Debug)]
pub struct Method {
    /// Its name on the page.
    pub name: &'static str,
    /// Its rule.
    pub rule: &'static str,
    /// The rates, on MNIST and on Fashion-MNIST.
    pub rates: [&'static str; 2],
    /// On the same.
    pub published: [f64; 2],
}

/// Every method of their table but brSF, which draws its feedback anew for every image.
pub const METHODS: &[Method] = &[
    Method { name: "BP", rule: "bp", rates: ["0.01", "0.01"], published: [0.91, 9.20] },
    Method { name: "FA", rule: "fa", rates: ["0.01", "0.003"], published: [1.70, 13.06] },
    Method { name: "uSF", rule: "usf", rates: ["0.01", "0.01"], published: [0.94, 9.69] },
    Method { name: "frSF", rule: "frsf", rates: ["0.01", "0.01"], published: [0.97, 9.61] },
    Method { name: "DFA", rule: "dfa", rates: ["0.003", "0.003"], published: [1.61, 12.81] },
];

/// The names of the data that their table has.
pub const DATA: [&str; 2] = ["mnist", "fashion-mnist"];

/// What all methods have in common. Theirs: images scaled to 32 × 32 in the place of the frame of zeros, 100 epochs, and no f between the last two
/// layers.
pub const COMMON: &str = "--layers 28x28,6c5p2,m2,16c5,m2,120c5,84,10 --bias --activation relu --loss cross-entropy --batch 64 --mean \
                          --init xavier --optimizer momentum --momentum 0.9 --weight-decay 0.001 --lr-schedule step --epochs 40";

/// Seeds.
pub const SEEDS: u64 = 3;

impl Method {
    /// The whole command, on the data of a column of their table; on other data as on the first's.
    pub fn whole(&self, column: Option<usize>) -> String {
        let Method { rule, rates, .. } = self;
        let common: Vec<&str> = COMMON.split_whitespace().collect();
        format!("--rule {rule} --lr {} {}", rates[column.unwrap_or(0)], common.join(" "))
    }
}

/// The column of their table that data have.
fn column(data: &str) -> Option<usize> {
    DATA.iter().position(|name| *name == data)
}

/// Trains every method with so many seeds; what is in the folder already is not made again.
///
/// # Errors
/// Those of training.
pub fn run(context: &Context<'_>, folder: &Folder, train: &Train<'_>, seeds: u64) -> Result<Vec<Outcome>> {
    let seeds = if context.quick { 1 } else { seeds.min(SEEDS) };
    let piece = |method: &Method, seed| {
        let mut command = method.whole(column(&context.data.name));
        if context.quick {
            command = with_updates(&command, "4");
        }
        Piece { name: method.name.into(), command, seed, ..Piece::default() }
    };
    let all: Vec<Piece> = (0..seeds).flat_map(|seed| METHODS.iter().map(move |m| piece(m, seed))).collect();
    pieces(context, folder, &all, train)
}

/// The first line of the page.
pub const LENET_TITLE: &str = "# LeNet by feedback alignment\n";

/// The name of a record: one for each data set of their table.
pub fn record_name(data: &str) -> String {
    if DATA.contains(&data) { format!("lenet-{data}") } else { "lenet".into() }
}

/// The page of what lies in `dir`, if there are records.
///
/// # Errors
/// [`zilch::Error::Data`] when a record is there and cannot be read.
pub fn lenet_page(dir: &Path) -> Result<Option<String>> {
    let mut records: Vec<Record<Vec<Outcome>>> = Vec::new();
    for name in DATA.map(record_name).iter().map(String::as_str).chain(["lenet"]) {
        records.extend(load(dir, name)?);
    }
    let Some(first) = records.first() else { return Ok(None) };
    let folder = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut text = String::from(LENET_TITLE);
    text += &format!(
        "\nSanfiz & Akrout, \"Benchmarking the accuracy and robustness of feedback alignment algorithms\" (2021, BioTorch): LeNet, re-run by \
         `zilch reproduce lenet --data DIR` on {} ({}{}), on one thread each. This page is made from `{folder}/lenet-*.json` by `zilch \
         reproduce page`; a test holds it to those.\n\nTest error in per cent. Theirs is one seed's best epoch of 100, the rate divided by 10 \
         after 50 and 75. Ours is after the last of 40, the rate divided by 10 after 20 and by 100 after 30, the mean over seeds ± half of their \
         range; *best epoch* is their way to choose. \
         Their files do not say the rate for these data: here it is 0.01, and for FA and DFA the best of 0.001, 0.003 and 0.01 after a run \
         of 8 epochs. Theirs scale the images to 32 × 32, here a frame of zeros makes them as large, and they have no f between the last two layers. brSF, which draws \
         its feedback anew for every image, is not there.\n",
        first.date,
        first.host["cpu"].as_str().unwrap_or("a CPU"),
        if first.quick { ", the reduced version: its numbers mean nothing" } else { "" },
    );
    for record in &records {
        text += &format!(
            "\n## {}\n\n| method | published | ours, last epoch | ours, best epoch | seeds |\n| --- | --- | --- | --- | --- |\n",
            record.data
        );
        for method in METHODS {
            text += &row(method, column(&record.data), &record.results);
        }
    }
    text += "\nThe command of each, with `--data DIR --seed S`:\n\n";
    for method in METHODS {
        text += &format!("* {}: `zilch train {}`\n", method.name, method.whole(None));
        if method.rates[0] != method.rates[1] {
            text += &format!("  (Fashion-MNIST: `--lr {}`)\n", method.rates[1]);
        }
    }
    Ok(Some(text))
}

/// A method's line of the table.
fn row(method: &Method, column: Option<usize>, all: &[Outcome]) -> String {
    let runs: Vec<&Outcome> = all.iter().filter(|run| run.name == method.name).collect();
    let published = column.map_or("–".into(), |c| format!("{:.2}", method.published[c]));
    let last: Vec<f64> = runs.iter().filter_map(|run| run.errors.last().copied()).collect();
    let best: Vec<f64> = runs.iter().filter_map(|run| run.errors.iter().copied().reduce(f64::min)).collect();
    let stopped = runs.iter().find_map(|run| run.stopped.clone());
    format!(
        "| {} | {published} | {} | {} | {} |\n",
        method.name,
        stopped.unwrap_or_else(|| spread(&last)),
        spread(&best),
        runs.len()
    )
}

/// Mean and half of the range, in per cent.
fn spread(errors: &[f64]) -> String {
    let ends = errors.iter().copied().reduce(f64::min).zip(errors.iter().copied().reduce(f64::max));
    let Some((low, high)) = ends else { return "–".into() };
    let mean = 100.0 * errors.iter().sum::<f64>() / errors.len() as f64;
    if errors.len() == 1 { format!("{mean:.2}") } else { format!("{mean:.2} ± {:.2}", 50.0 * (high - low)) }
}
