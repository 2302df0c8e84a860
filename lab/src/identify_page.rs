//! The page of the experiment that asks which rule made a network, made from its record alone.

use super::identify::{Accuracy, CONTROL, Identify, KINDS, LAYERS, MEASURES, TIMES};
use super::page::load;
use std::path::Path;
use zilch::error::Result;

/// The first line of the page.
pub const IDENTIFY_TITLE: &str = "# Which rule made this network?\n";

/// Mean and standard deviation over splits, in per cent.
fn percent(values: &[f64]) -> String {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let sd = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
    format!("{:.1} ± {:.1} %", 100.0 * mean, 100.0 * sd)
}

fn row(accuracy: &Accuracy, what: &str) -> String {
    let chance = 100.0 / accuracy.kinds as f64;
    format!("| {what} | {} | {} | {chance:.1} % |\n", percent(&accuracy.layers), percent(&accuracy.networks))
}

/// The page of what lies in `dir`, if `identify.json` is there.
///
/// # Errors
/// [`zilch::Error::Data`] when the record is there and cannot be read.
pub fn identify_page(dir: &Path) -> Result<Option<String>> {
    let Some(record) = load::<Identify>(dir, "identify")? else { return Ok(None) };
    let r = &record.results;
    let folder = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut text = String::from(IDENTIFY_TITLE);
    text += &format!(
        "\nAfter Nayebi, Srivastava, Ganguli & Yamins, \"Identifying learning rules from neural network observables\" (NeurIPS 2020), with small \
         networks and other rules; run by `zilch reproduce identify --data DIR` on {} on {} ({}{}). This page is made from `{folder}/identify.json` by \
         `zilch reproduce page`; a test holds it to that.\n\n\
         {} networks of 784-a-b-10 (a, b of 32, 48, 64; batches of 20, 50 or 100; learning rates within a factor of 2) learn for 2,000 updates. At {TIMES} times \
         24 observables are written down of each of the {LAYERS} layers: of {}, each norm, mean, median, third quartile and variance, and of absolute \
         values mean, median and third quartile. A random forest of 100 trees (the crate smartcore) learns from three quarters of the networks and is asked \
         about the layers of the others: the mean over ten such splits, ± the standard deviation. A network is what most of its layers are called, else what its last one is.\n\n\
         Networks of one number have width, batch, order of images, factor of the rate and first weights in common, whatever their rule, and stand on one \
         side of a split.\n",
        record.data,
        record.date,
        record.host["cpu"].as_str().unwrap_or("a CPU"),
        if record.quick { ", the reduced version: its numbers mean nothing" } else { "" },
        r.specimens.len(),
        MEASURES.join(", "),
    );
    text += "\n| a forest that sees | names the rule of a layer | of a network | chance |\n| --- | --- | --- | --- |\n";
    for accuracy in &r.accuracies {
        text += &row(accuracy, &accuracy.seen);
    }
    text += &row(&r.equals, "everything, and says SGD, FA, DFA or IL, whose rates are the same");
    text += &row(&r.contrast, "everything, and says FA or SGD");
    text += &row(&r.control, "everything, and says Z-IL or SGD");
    text += &row(&r.leak, "everything, and says whether the number of an SGD network is even");
    text += "\nThe last two rows are controls. Z-IL makes BP's weights to the bit, so that both networks of a number look alike and get the same answer, \
             right for one of them: whatever the forest does, that is half. Whether a number is even shows in nothing: a forest that was right there would \
             have seen what it is asked about.\n";
    text += "\n## What is taken for what\n\nOf all layers of a kind (row), the share that is called each kind, in per cent, with all that can be seen:\n\n| |";
    let heads: String = KINDS.iter().map(|kind| format!(" {} |", kind.name)).collect();
    text += &format!("{heads}\n| --- |{}\n", " --- |".repeat(KINDS.len()));
    for (kind, counts) in KINDS.iter().zip(&r.confusion) {
        let all = counts.iter().map(|n| *n as f64).sum::<f64>().max(1.0);
        let cells: String = counts.iter().map(|n| format!(" {:.0} |", 100.0 * *n as f64 / all)).collect();
        text += &format!("| {} |{cells}\n", kind.name);
    }
    text += "\n## The networks\n\n| kind | rule | rate, up to a factor of 2 | test error, median | least | most |\n| --- | --- | --- | --- | --- | --- |\n";
    for kind in KINDS.iter().chain([&CONTROL]) {
        let mut errors: Vec<f64> = r.specimens.iter().filter(|s| s.kind == kind.name).map(|s| s.error).collect();
        errors.sort_by(f64::total_cmp);
        let Some((least, most)) = errors.first().zip(errors.last()) else { continue };
        text += &format!(
            "| {} | `--rule {} --optimizer {}` | {} | {:.1} % | {:.1} % | {:.1} % |\n",
            kind.name,
            kind.rule,
            kind.optimizer.name(),
            kind.lr,
            100.0 * errors[errors.len() / 2],
            100.0 * least,
            100.0 * most
        );
    }
    text += "\nAll but EP's, whose units are its own, have tanh units. EP's are told by that alone; the comparison that says something is among the others. \
             The paper's networks were convolutional and of ImageNet's size, and its rules SGD with momentum, Adam, FA and information alignment; its \
             accuracies are in no text that could be looked up, so that nothing is set beside ours.\n";
    Ok(Some(text))
}
