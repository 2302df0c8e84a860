//! Which rule trained this network? After Nayebi, Srivastava, Ganguli & Yamins, "Identifying learning rules from neural
//! network observables" (NeurIPS 2020). Many small networks are trained, and observables of each layer are recorded at
//! 21 times. A random forest then predicts from the observables of a layer which rule trained the network.
//!
//! Each layer has 24 observables: eight statistics of each of three measures. The measures v are its weights, its
//! activities on images that no network trains on, and the changes of these activities since the previous time. The
//! statistics are
//!
//! ```text
//! ‖v‖   mean v   median v   third quartile of v   variance of v   mean |v|   median |v|   third quartile of |v|
//! ```
//!
//! The training and test sets of a forest have no network in common. Z-IL computes the same weights as BP, so no
//! observable distinguishes the two rules, and classifying Z-IL against BP has an accuracy of exactly one half.

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

/// Classification of learning rules from observables.
#[derive(Debug)]
pub struct Identify;

impl Experiment for Identify {
    fn name(&self) -> &'static str {
        "identify"
    }

    fn help(&self) -> &'static str {
        "Which rule trained a network, predicted from observables: after Nayebi et al. (2020)"
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

/// A class of networks: rule, optimiser and learning rate.
#[derive(Debug)]
pub struct Kind {
    /// The name on the page.
    pub name: &'static str,
    /// The rule.
    pub rule: &'static str,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The learning rate, which varies around this value between networks.
    pub lr: f64,
}

/// The classes to be distinguished.
pub const KINDS: &[Kind] = &[
    Kind { name: "SGD", rule: "bp", optimizer: Optimizer::Sgd, lr: 0.03 },
    Kind { name: "Adam", rule: "bp", optimizer: Optimizer::Adam, lr: 0.001 },
    Kind { name: "FA", rule: "fa", optimizer: Optimizer::Sgd, lr: 0.03 },
    Kind { name: "DFA", rule: "dfa", optimizer: Optimizer::Sgd, lr: 0.03 },
    Kind { name: "IL", rule: "il", optimizer: Optimizer::Sgd, lr: 0.03 },
    Kind { name: "iPC", rule: "ipc", optimizer: Optimizer::Sgd, lr: 0.015 },
    Kind { name: "EP", rule: "ep", optimizer: Optimizer::Sgd, lr: 0.1 },
];

/// The control. Z-IL computes the same weights as BP with another algorithm.
pub const CONTROL: Kind = Kind { name: "Z-IL", rule: "zil", optimizer: Optimizer::Sgd, lr: 0.03 };

/// Networks per kind.
pub const NETWORKS: u64 = 64;
/// Number of times at which a network is observed, and of updates between two of these times.
pub const TIMES: usize = 21;
const BETWEEN: u64 = 100;
/// The number of weight layers.
pub const LAYERS: usize = 3;
/// The measures, and the number of statistics of each.
pub const MEASURES: [&str; 3] = ["weights", "activities", "changes of activities"];
const STATISTICS: usize = 8;
const OBSERVABLES: usize = MEASURES.len() * STATISTICS;
/// Images for the observation of activities: the first images of the test set.
const IMAGES: usize = 256;
/// Random splits into training and test networks.
const SPLITS: u64 = 10;
const TREES: u16 = 100;

/// A trained network and its observables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Specimen {
    /// The name of its kind.
    pub kind: String,
    /// The network number. Networks with the same number have the same seed, layer sizes and batch size; only the kind
    /// differs.
    pub number: u64,
    /// Sizes of the two hidden layers.
    pub hidden: [usize; 2],
    /// Mini-batch size.
    pub batch: usize,
    /// The learning rate.
    pub lr: f64,
    /// The final test error, 0 to 1.
    pub error: f64,
    /// The observables per weight layer, starting at the input: [TIMES × OBSERVABLES], ordered by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Vec<f64>>,
}

/// The accuracy of a forest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Names of the features that the forest is trained on.
    pub seen: String,
    /// The number of classes.
    pub kinds: usize,
    /// Share of correctly classified layers, 0 to 1, by split.
    pub layers: Vec<f64>,
    /// Share of networks that are classified correctly by majority vote of their layers, by split.
    pub networks: Vec<f64>,
}

/// The results of the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raw {
    /// Every network, without its observables.
    pub specimens: Vec<Specimen>,
    /// Accuracy per set of features.
    pub accuracies: Vec<Accuracy>,
    /// Accuracy among the kinds with the same learning rate: SGD, FA, DFA and IL.
    pub equals: Accuracy,
    /// Accuracy for FA against SGD.
    pub contrast: Accuracy,
    /// Accuracy for Z-IL against SGD. The features of the two networks with the same number are equal, so any
    /// prediction is right for exactly one of them.
    pub control: Accuracy,
    /// Accuracy for the parity of the network number among SGD networks. It is near one half unless information leaks
    /// from the training set into the test set.
    pub leak: Accuracy,
    /// Confusion matrix with all features: the number of layers of kind i that were classified as kind j, over all
    /// splits.
    pub confusion: Vec<Vec<u64>>,
}

impl Specimen {
    /// Whether the network has all observables that a forest needs.
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
                return Err("an accuracy has no kinds or no splits".into());
            }
        }
        length("\"confusion\"", &self.confusion, KINDS.len())?;
        for counts in &self.confusion {
            length("a row of \"confusion\"", counts, KINDS.len())?;
            if counts.iter().any(|count| *count > u64::from(u32::MAX)) {
                return Err("a count of \"confusion\" exceeds the number of layers".into());
            }
        }
        shares("a test error", self.specimens.iter().map(|specimen| &specimen.error))
    }
}

/// Runs the experiment. Networks that are already in the folder are not trained again.
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

/// Trains network `number` of a kind. Observes it before the first update and at regular intervals.
///
/// # Errors
/// Those of a session; [`Error::Diverged`] when an observable is NaN or infinite.
pub fn specimen(data: &Arc<Data>, kind: &Kind, number: u64, updates: u64) -> Result<Specimen> {
    // The properties that networks with the same number share.
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

/// Appends the observables of every layer. Returns the activities, from which the next call computes the changes.
fn observe(
    session: &mut CpuSession,
    images: &[u32],
    before: Option<&[Array2<f64>]>,
    observed: &mut [Vec<f64>],
) -> Result<Vec<Array2<f64>>> {
    let weights = session.weights();
    let silent = || Error::usage("a layer stores no activity that could be observed");
    let activities = session.activities(Set::Test, images).ok_or_else(silent)?;
    for (k, layer) in observed.iter_mut().enumerate() {
        // The k-th layer from the input is θ^{lmax − k}, which computes layer lmax − k − 1.
        let l = weights.theta.len() - 1 - k;
        let now = &activities[l];
        let changes = match before {
            Some(before) => now - &before[l],
            None => Array2::zeros(now.dim()),
        };
        layer.extend(statistics(weights.theta[l].iter().map(|w| f64::from(*w)).collect()));
        layer.extend(statistics(now.iter().copied().collect()));
        // The mean of each unit over the images.
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

/// The median and the third quartile, without interpolation: the nearest value below.
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

    /// Networks trained with Z-IL have the same observables as those trained with BP. Networks trained with FA differ,
    /// although they have the same initial weights.
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
