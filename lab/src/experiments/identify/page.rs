//! Generates the page of the classification experiment from its record only.

use super::{Accuracy, CONTROL, KINDS, LAYERS, MEASURES, Raw, TIMES};
use crate::Record;
use crate::experiment::{Page, Summary, spread};
use crate::record::{folder_name, load};
use std::path::Path;
use zilch::error::Result;
use zilch::statistics::{PLUS_MINUS, Statistics};

/// The page.
pub(super) const PAGE: Page = Page { file: "identify.md", title: "# Which rule made this network?\n", make: page };

/// Mean and standard deviation over splits, in percent.
fn percent(values: &[f64]) -> String {
    Statistics::of(values).map_or("–".into(), |s| format!("{:.1} %", s.scaled(100.0)))
}

fn row(accuracy: &Accuracy, what: &str) -> String {
    let chance = 100.0 / accuracy.kinds as f64;
    format!("| {what} | {} | {} | {chance:.1} % |\n", percent(&accuracy.layers), percent(&accuracy.networks))
}

/// The page of the records in `dir`. `None` without `identify.json`.
fn page(dir: &Path) -> Result<Option<String>> {
    let Some(record) = load::<Raw>(dir, "identify")? else { return Ok(None) };
    let r = &record.results;
    let text = PAGE.title.to_owned() + &introduction(&record, &folder_name(dir));
    Ok(Some(text + &accuracies(r) + &confusion(r) + &networks(r) + CLOSING))
}

fn introduction(record: &Record<Raw>, folder: &str) -> String {
    format!(
        "\nAfter Nayebi, Srivastava, Ganguli & Yamins, \"Identifying learning rules from neural network observables\" (NeurIPS 2020), with small \
         networks and other rules; run by `zilch reproduce identify --data DIR` on {} on {}. This page is generated from \
         `{folder}/identify.json` by `zilch reproduce page`, and a test checks that it is up to date.\n\n\
         {} networks of 784-a-b-10 (a and b are 32, 48 or 64; mini-batches of 20, 50 or 100; learning rates within a factor of 2) train for 2,000 updates. \
         At {TIMES} times, 24 observables of each of the {LAYERS} layers are recorded: for each of {}, the norm, mean, median, third quartile and \
         variance, and the mean, median and third quartile of the absolute values. A random forest of 100 trees (the crate smartcore) is trained on three \
         quarters of the networks and classifies the layers of the others. The accuracy is the mean over ten such splits; {PLUS_MINUS} over splits. A network \
         gets the class of most of its layers or, without a majority, that of its last layer.\n\n\
         Networks with the same number have the same widths, mini-batch size, order of images, factor of the learning rate and initial weights, whatever \
         their rule. A split never separates them.\n",
        record.data,
        record.made(),
        record.results.specimens.len(),
        MEASURES.join(", "),
    )
}

/// The table of accuracies.
fn accuracies(r: &Raw) -> String {
    let mut text = String::from(
        "\n| features of the forest | accuracy on layers | accuracy on networks | chance |\n| --- | --- | --- | --- |\n",
    );
    for accuracy in &r.accuracies {
        text += &row(accuracy, &accuracy.seen);
    }
    text += &row(&r.equals, "everything; SGD, FA, DFA or IL, which have the same learning rate");
    text += &row(&r.contrast, "everything; FA or SGD");
    text += &row(&r.control, "everything; Z-IL or SGD");
    text += &row(&r.leak, "everything; even or odd number of an SGD network");
    text + "\nThe last two rows are controls. Z-IL produces the weights of BP, bit for bit. The two networks of a pair therefore get the same \
             answer, which is right for one of them, so the accuracy is 50 % for any forest. Nothing in a network depends on whether its number \
             is even. An accuracy above chance in that row would mean that the label leaks into the features.\n"
}

fn confusion(r: &Raw) -> String {
    let mut text = String::from(
        "\n## Confusion matrix\n\nThe share of the layers of each kind (row) that are classified as each kind (column), in percent, with all features:\n\n| |",
    );
    let heads: String = KINDS.iter().map(|kind| format!(" {} |", kind.name)).collect();
    text += &format!("{heads}\n| --- |{}\n", " --- |".repeat(KINDS.len()));
    for (kind, counts) in KINDS.iter().zip(&r.confusion) {
        let all = counts.iter().map(|n| *n as f64).sum::<f64>().max(1.0);
        let cells: String = counts.iter().map(|n| format!(" {:.0} |", 100.0 * *n as f64 / all)).collect();
        text += &format!("| {} |{cells}\n", kind.name);
    }
    text
}

fn networks(r: &Raw) -> String {
    let mut text = String::from(
        "\n## The networks\n\n| kind | rule | learning rate, within a factor of 2 | median test error | lowest | highest |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for kind in KINDS.iter().chain([&CONTROL]) {
        let mut errors: Vec<f64> = r.specimens.iter().filter(|s| s.kind == kind.name).map(|s| s.error).collect();
        errors.sort_by(f64::total_cmp);
        let Some(all) = Statistics::of(&errors) else { continue };
        text += &format!(
            "| {} | `--rule {} --optimizer {}` | {} | {:.1} % | {:.1} % | {:.1} % |\n",
            kind.name,
            kind.rule,
            kind.optimizer.name(),
            kind.lr,
            100.0 * errors[errors.len() / 2],
            100.0 * all.min,
            100.0 * all.max
        );
    }
    text
}

const CLOSING: &str = "\nAll networks except EP's have tanh units. EP defines its own units, by which its networks are recognised, so only the comparison among the others is \
             informative. The paper trained convolutional networks on ImageNet with SGD with momentum, Adam, FA and information alignment. Its accuracies are in no \
             text that was available, so none are shown beside ours.\n";

/// The row in the table of all experiments.
pub(super) fn summary(r: &Raw) -> Option<Summary> {
    let all = Statistics::of(&r.accuracies.first()?.layers)?.scaled(100.0);
    let control = Statistics::of(&r.control.layers)?.scaled(100.0);
    Some(Summary {
        paper: "Nayebi et al. 2020",
        what: format!("which of {} kinds of training produced a layer; Z-IL or BP, which are identical", KINDS.len()),
        published: "not available; 50 %".into(),
        ours: format!("{:.1} %; {:.1} %", all.mean, control.mean),
        spread: spread(&[all, control], 1, "splits"),
        verdict: if control.mean == 50.0 {
            "at chance for identical networks"
        } else {
            "not at chance for identical networks"
        }
        .into(),
    })
}
