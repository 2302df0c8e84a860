//! Which rule made this network? After Nayebi, Srivastava, Ganguli & Yamins, "Identifying learning rules from neural network
//! observables" (NeurIPS 2020): many small networks learn, what can be observed of each layer is written down at 21 times, and a random
//! forest is asked which rule was at work.
//!
//! Of every layer there are 24 observables: of its weights, of its activities on images that nobody learns from, and of how those
//! activities have changed since the last time, each
//!
//! ```text
//! ‖v‖   mean v   median v   third quartile of v   variance of v   mean |v|   median |v|   third quartile of |v|
//! ```
//!
//! A forest never sees other layers of a network that it is asked about. Z-IL makes BP's weights, so that no observable tells the two
//! apart: there it is right in just half of the cases.

mod forest;
mod page;

use crate::experiment::{Page, Summary};
use crate::results::{length, shares};
use crate::{Checked, Context, Experiment, Folder, Results, load, parallel};
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use zilch::data::{Data, Set};
use zilch::device::cpu::{CpuDevice, CpuSession};
use zilch::error::{Error, Result};
use zilch::network::{Init, Network, Weights};
use zilch::plan::activation::Activation;
use zilch::random::{Random, Stream};
use zilch::rules::{Optimizer, Options, Rule};

/// Which rule made a network?
#[derive(Debug)]
pub struct Identify;

impl Experiment for Identify {
    fn name(&self) -> &'static str {
        "identify"
    }

    fn help(&self) -> &'static str {
        "Which rule made a network, told from what can be observed of it: after Nayebi et al. (2020)"
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        folder.record(context, run(context, folder)?)
    }

    fn page(&self) -> Option<Page> {
        Some(page::PAGE)
    }

    fn summary(&self, dir: &Path) -> Result<Vec<Summary>> {
        Ok(load(dir, "identify")?.and_then(|record| page::summary(&record.results)).into_iter().collect())
    }
}

/// What makes a network.
#[derive(Debug)]
pub struct Kind {
    /// Its name on the page.
    pub name: &'static str,
    /// The rule.
    pub rule: &'static str,
    /// How weights follow.
    pub optimizer: Optimizer,
    /// The learning rate that networks have more or less.
    pub lr: f64,
}

/// Those that are told apart.
pub const KINDS: &[Kind] = &[
    Kind { name: "SGD", rule: "bp", optimizer: Optimizer::Sgd, lr: 0.03 },
    Kind { name: "Adam", rule: "bp", optimizer: Optimizer::Adam, lr: 0.001 },
    Kind { name: "FA", rule: "fa", optimizer: Optimizer::Sgd, lr: 0.03 },
    Kind { name: "DFA", rule: "dfa", optimizer: Optimizer::Sgd, lr: 0.03 },
    Kind { name: "IL", rule: "il", optimizer: Optimizer::Sgd, lr: 0.03 },
    Kind { name: "iPC", rule: "ipc", optimizer: Optimizer::Sgd, lr: 0.015 },
    Kind { name: "EP", rule: "ep", optimizer: Optimizer::Sgd, lr: 0.1 },
];

/// The control: BP's weights by another way.
pub const CONTROL: Kind = Kind { name: "Z-IL", rule: "zil", optimizer: Optimizer::Sgd, lr: 0.03 };

/// Networks of a kind.
pub const NETWORKS: u64 = 64;
/// Times at which a network is observed, and updates between them.
pub const TIMES: usize = 21;
const BETWEEN: u64 = 100;
/// Layers of weights.
pub const LAYERS: usize = 3;
/// What is measured, and numbers of each.
pub const MEASURES: [&str; 3] = ["weights", "activities", "changes of activities"];
const STATISTICS: usize = 8;
const OBSERVABLES: usize = MEASURES.len() * STATISTICS;
/// Images on which activities are observed: the first ones of the test set.
const IMAGES: usize = 256;
/// Ways to cut the networks in those that a forest learns from and those it is asked about.
const SPLITS: u64 = 10;
const TREES: u16 = 100;

/// A network that learnt, and what was seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Specimen {
    /// The kind's name.
    pub kind: String,
    /// Its number: networks of one number differ by their kind alone.
    pub number: u64,
    /// Units of the two hidden layers.
    pub hidden: [usize; 2],
    /// Samples of a weight update.
    pub batch: usize,
    /// The learning rate.
    pub lr: f64,
    /// The test error that it ended on, 0 to 1.
    pub error: f64,
    /// By layer of weights, from the input's: [TIMES × OBSERVABLES], time after time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Vec<f64>>,
}

/// How often a forest is right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// What it saw.
    pub seen: String,
    /// Among how many kinds it chose.
    pub kinds: usize,
    /// Share of layers whose kind it named, 0 to 1, a split each.
    pub layers: Vec<f64>,
    /// Share of networks that most of whose layers it named.
    pub networks: Vec<f64>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raw {
    /// Every network, without what was observed.
    pub specimens: Vec<Specimen>,
    /// By what was seen.
    pub accuracies: Vec<Accuracy>,
    /// Those whose rates are the same: SGD, FA, DFA or IL?
    pub equals: Accuracy,
    /// FA or SGD?
    pub contrast: Accuracy,
    /// Z-IL or SGD? Whatever the forest says is right for one of two.
    pub control: Accuracy,
    /// Is the number of a network of SGD even? Near half, unless what a forest learns from has to do with what it is asked about.
    pub leak: Accuracy,
    /// With all that can be seen: of layers of kind i, how many were called kind j, over all splits.
    pub confusion: Vec<Vec<u64>>,
}

impl Specimen {
    /// Whether all was observed that a forest is shown.
    fn is_observed(&self) -> bool {
        let whole = |layer: &Vec<f64>| layer.len() == TIMES * OBSERVABLES && layer.iter().all(|v| v.is_finite());
        self.observed.len() == LAYERS && self.observed.iter().all(whole)
    }
}

impl Results for Raw {
    fn check(&self) -> Checked {
        for one in self.accuracies.iter().chain([&self.equals, &self.contrast, &self.control, &self.leak]) {
            shares("the share of layers", &one.layers)?;
            shares("the share of networks", &one.networks)?;
            if one.kinds == 0 || one.layers.is_empty() || one.networks.is_empty() {
                return Err("an accuracy is of no kinds, or of no splits".into());
            }
        }
        length("\"confusion\"", &self.confusion, KINDS.len())?;
        for counts in &self.confusion {
            length("a row of \"confusion\"", counts, KINDS.len())?;
            if counts.iter().any(|count| *count > u64::from(u32::MAX)) {
                return Err("a count of \"confusion\" is larger than there can be layers".into());
            }
        }
        shares("a test error", self.specimens.iter().map(|specimen| &specimen.error))
    }
}

/// Runs everything; networks that are in the folder already are not made again.
fn run(context: &Context<'_>, folder: &Folder) -> Result<Raw> {
    let networks = if context.quick { 4 } else { NETWORKS };
    let updates = if context.quick { 5 } else { BETWEEN };
    let kinds = || KINDS.iter().chain([&CONTROL]);
    let all: Vec<(&Kind, u64)> = (0..networks).flat_map(|n| kinds().map(move |kind| (kind, n))).collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let specimens = parallel(context, &all, |&(kind, number)| {
        context.check()?;
        let file = format!("{}-{number}.json", kind.name.to_lowercase());
        let made_before = folder.read::<Specimen>(&file).filter(Specimen::is_observed);
        let specimen = match made_before {
            Some(known) => known,
            None => {
                let made = specimen(&context.data, kind, number, updates)?;
                folder.write(&file, &made)?;
                made
            }
        };
        let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        (context.watch)(0.5 * done as f64 / all.len() as f64, kind.name);
        Ok(specimen)
    })?;
    forest::judge(context, specimens)
}

/// Trains network `number` of a kind, and observes it before its first update and after every so many.
///
/// # Errors
/// Those of a session; [`Error::Diverged`] when what is observed is no number.
pub fn specimen(data: &Arc<Data>, kind: &Kind, number: u64, updates: u64) -> Result<Specimen> {
    // Networks of one number have all of this in common.
    let mut random = Random::new(number, Stream::Search, 1 << 40);
    let mut choose = |of: &[usize]| of[random.below(of.len() as u64) as usize];
    let hidden = [choose(&[32, 48, 64]), choose(&[32, 48, 64])];
    let batch = choose(&[20, 50, 100]).min(data.train.len());
    let lr = kind.lr * 2f64.powf(random.range(-1.0, 1.0));
    let rule = Rule::named(kind.rule).ok_or_else(|| Error::usage(format!("there is no rule {}", kind.rule)))?;
    let outputs = data.train.classes().max(data.test.classes());
    let activation = rule.activation.unwrap_or(Activation::Tanh);
    let network = Network::new(&[data.train.pixels(), hidden[0], hidden[1], outputs])?.with_activation(activation);
    let options = Options { alpha: lr, mean: true, optimizer: kind.optimizer, seed: number, ..Options::new(rule) };
    let weights = Weights::drawn(&network, number, Init::Xavier);
    let plan = options.plan(&network)?;
    let mut session = CpuDevice::new(Some(1))?.session(&plan, batch, Arc::clone(data), &weights)?;
    let mut order = (0..).flat_map(|epoch| {
        let mut order = Random::new(number, Stream::Shuffle, epoch).permutation(data.train.len());
        order.truncate(order.len() / batch * batch);
        order
    });
    let images: Vec<u32> = (0..data.test.len().min(IMAGES) as u32).collect();
    let mut observed = vec![Vec::new(); LAYERS];
    let mut before: Option<Vec<Array2<f64>>> = None;
    for time in 0..TIMES {
        if time > 0 {
            let next: Vec<u32> = order.by_ref().take(updates as usize * batch).collect();
            session.run(&next);
        }
        before = Some(observe(&mut session, &images, before.as_deref(), &mut observed)?);
    }
    if let Some(layer) = observed.iter().position(|layer| layer.iter().any(|v| !v.is_finite())) {
        let (update, layer) = (session.updates(), LAYERS - layer);
        return Err(Error::Diverged { update, layer, of: "layer", what: "the weights", advice: String::new() });
    }
    let error = session.score(Set::Test).error_rate();
    Ok(Specimen { kind: kind.name.into(), number, hidden, batch, lr, error, observed })
}

/// Adds the observables of every layer; returns the activities that changes are counted from next time.
fn observe(
    session: &mut CpuSession,
    images: &[u32],
    before: Option<&[Array2<f64>]>,
    observed: &mut [Vec<f64>],
) -> Result<Vec<Array2<f64>>> {
    let weights = session.weights();
    let silent = || Error::usage("a layer says nothing that could be observed");
    let activities = session.activities(Set::Test, images).ok_or_else(silent)?;
    for (k, layer) in observed.iter_mut().enumerate() {
        // The k-th layer from the input's side is θ^{lmax − k}, and feeds layer lmax − k − 1.
        let l = weights.theta.len() - 1 - k;
        let now = &activities[l];
        let changes = match before {
            Some(before) => now - &before[l],
            None => Array2::zeros(now.dim()),
        };
        layer.extend(statistics(weights.theta[l].iter().map(|w| f64::from(*w)).collect()));
        layer.extend(statistics(now.iter().copied().collect()));
        // Of each unit the mean over the images.
        layer.extend(statistics(changes.mean_axis(Axis(0)).map(|m| m.to_vec()).unwrap_or_default()));
    }
    Ok(activities)
}

/// ‖v‖, then mean, median, third quartile and variance of v, then mean, median and third quartile of |v|.
fn statistics(mut v: Vec<f64>) -> [f64; STATISTICS] {
    let n = v.len().max(1) as f64;
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mean = v.iter().sum::<f64>() / n;
    let variance = v.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    let [median, third] = quantiles(&mut v);
    v.iter_mut().for_each(|x| *x = x.abs());
    let size = v.iter().sum::<f64>() / n;
    let [middle, upper] = quantiles(&mut v);
    [norm, mean, median, third, variance, size, middle, upper]
}

/// The numbers at half and at three quarters of the way, the nearest below.
fn quantiles(v: &mut [f64]) -> [f64; 2] {
    [2, 3].map(|quarter| {
        let at = v.len().saturating_sub(1) * quarter / 4;
        if v.is_empty() { 0.0 } else { *v.select_nth_unstable_by(at, f64::total_cmp).1 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_they_say() {
        let [norm, mean, median, third, variance, size, middle, upper] = statistics(vec![3.0, -1.0, 0.0, -4.0, 2.0]);
        assert_eq!((norm, mean, median, third), (30f64.sqrt(), 0.0, 0.0, 2.0));
        assert_eq!((variance, size, middle, upper), (6.0, 2.0, 2.0, 3.0));
        assert_eq!(statistics(Vec::new()), [0.0; 8]);
    }

    /// Z-IL's networks are BP's, in all that can be seen of them; those of FA, whose weights start alike, are not.
    #[test]
    fn what_is_seen_of_zil_is_what_is_seen_of_bp() {
        let data = Arc::new(Data::open(Path::new("digits").to_str().unwrap_or_default()).expect("digits"));
        let of = |kind: &Kind| specimen(&data, kind, 3, 4).expect("a network");
        let (bp, zil, fa) = (of(&KINDS[0]), of(&CONTROL), of(&KINDS[2]));
        assert_eq!(bp.observed.len(), LAYERS);
        assert!(bp.observed.iter().all(|layer| layer.len() == TIMES * OBSERVABLES));
        assert_eq!((&bp.observed, bp.error), (&zil.observed, zil.error));
        assert_eq!((bp.hidden, bp.batch, bp.lr), (fa.hidden, fa.batch, fa.lr));
        assert_ne!(bp.observed[0], fa.observed[0]);
        assert_eq!(bp.observed[2][..OBSERVABLES], fa.observed[2][..OBSERVABLES], "before the first update");
    }
}
