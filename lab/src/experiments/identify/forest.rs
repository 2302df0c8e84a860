//! Random forests that predict which rule trained a layer.

use super::{Accuracy, CONTROL, KINDS, LAYERS, MEASURES, OBSERVABLES, Raw, SPLITS, STATISTICS, Specimen, TIMES, TREES};
use crate::{Context, parallel};
use smartcore::ensemble::random_forest_classifier::{RandomForestClassifier, RandomForestClassifierParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;
use std::path::Path;
use zilch::error::{Error, Result};
use zilch::random::{Random, Stream};

/// Trains and evaluates all forests on the networks.
pub(super) fn judge(context: &Context<'_>, specimens: Vec<Specimen>) -> Result<Raw> {
    let everyone: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let seen =
        [Seen::All].into_iter().chain((0..MEASURES.len()).map(Seen::Measure)).chain([Seen::First(4), Seen::Last]);
    let mut asked: Vec<(Seen, Classes<'_>)> = seen.map(|seen| (seen, Classes::Kinds(everyone.clone()))).collect();
    let others = asked.len();
    asked.extend([
        (Seen::All, Classes::Kinds(vec!["SGD", "FA", "DFA", "IL"])),
        (Seen::All, Classes::Kinds(vec!["SGD", "FA"])),
        (Seen::All, Classes::Kinds(vec!["SGD", CONTROL.name])),
        (Seen::All, Classes::Even("SGD")),
    ]);
    let splits = if context.quick { 2 } else { SPLITS };
    let jobs: Vec<(usize, u64)> = (0..asked.len()).flat_map(|a| (0..splits).map(move |s| (a, s))).collect();
    let told = parallel(context, &jobs, |&(a, split)| {
        context.check()?;
        tell(&specimens, &asked[a].1, asked[a].0, split)
    })?;
    let of = |a: usize| jobs.iter().zip(&told).filter(move |((job, _), _)| *job == a).map(|(_, told)| told);
    let accuracy = |a: usize| Accuracy {
        seen: asked[a].0.name(),
        kinds: asked[a].1.count(),
        layers: of(a).map(|t| share(&t.layers)).collect(),
        networks: of(a).map(|t| share(&t.networks)).collect(),
    };
    let mut confusion = vec![vec![0; KINDS.len()]; KINDS.len()];
    for (is, named) in of(0).flat_map(|told| &told.layers) {
        confusion[*is][*named] += 1;
    }
    Ok(Raw {
        accuracies: (0..others).map(accuracy).collect(),
        equals: accuracy(others),
        contrast: accuracy(others + 1),
        control: accuracy(others + 2),
        leak: accuracy(others + 3),
        confusion,
        specimens: specimens.iter().map(|s| Specimen { observed: Vec::new(), ..s.clone() }).collect(),
    })
}

/// The features on which a forest is trained.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// All observables at all times.
    All,
    /// The observables of one measure.
    Measure(usize),
    /// All observables at the first times, of which there are this many.
    First(usize),
    /// All observables at the last time.
    Last,
}

impl Seen {
    fn name(self) -> String {
        match self {
            Seen::All => "everything, at 21 times".into(),
            Seen::Measure(m) => format!("{} alone", MEASURES[m]),
            Seen::First(n) => format!("everything, at the first {n} times"),
            Seen::Last => "everything, at the last time alone".into(),
        }
    }

    fn shows(self, time: usize, observable: usize) -> bool {
        match self {
            Seen::All => true,
            Seen::Measure(m) => observable / STATISTICS == m,
            Seen::First(n) => time < n,
            Seen::Last => time == TIMES - 1,
        }
    }

    /// A feature vector: the selected observables of a layer, and the index of the layer.
    fn row(self, specimen: &Specimen, layer: usize) -> Vec<f64> {
        let all = specimen.observed[layer].iter().enumerate();
        let shown = all.filter(|(i, _)| self.shows(i / OBSERVABLES, i % OBSERVABLES)).map(|(_, v)| *v);
        shown.chain((0..LAYERS).map(|l| if l == layer { 1.0 } else { 0.0 })).collect()
    }
}

/// The classes of a classification.
enum Classes<'a> {
    /// The kinds with these names.
    Kinds(Vec<&'a str>),
    /// The parity of the network number within one kind. A control for leaks of test networks into the training set.
    Even(&'a str),
}

impl Classes<'_> {
    fn count(&self) -> usize {
        match self {
            Classes::Kinds(names) => names.len(),
            Classes::Even(_) => 2,
        }
    }

    /// The class of a network. `None` if it belongs to no class.
    fn of(&self, specimen: &Specimen) -> Option<usize> {
        match self {
            Classes::Kinds(names) => names.iter().position(|name| *name == specimen.kind),
            Classes::Even(name) => (*name == specimen.kind).then_some((specimen.number % 2) as usize),
        }
    }
}

/// Predictions on the test set of a split: (true class, predicted class) of layers and of networks.
struct Told {
    layers: Vec<(usize, usize)>,
    networks: Vec<(usize, usize)>,
}

/// The share of correct predictions.
fn share(of: &[(usize, usize)]) -> f64 {
    of.iter().filter(|(is, named)| is == named).count() as f64 / of.len().max(1) as f64
}

/// Trains a forest on three quarters of the networks and tests it on the others. Networks with the same number are
/// always in the same part, because they share initial weights and data.
fn tell(specimens: &[Specimen], classes: &Classes<'_>, seen: Seen, split: u64) -> Result<Told> {
    let networks = specimens.iter().map(|s| s.number + 1).max().unwrap_or(0) as usize;
    let order = Random::new(split, Stream::Search, 2 << 40).permutation(networks);
    let asked = &order[networks - (networks / 4).max(1)..];
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    let mut questions = Vec::new();
    for specimen in specimens {
        let Some(class) = classes.of(specimen) else { continue };
        let new = asked.contains(&(specimen.number as u32));
        for layer in 0..LAYERS {
            let row = seen.row(specimen, layer);
            if new {
                questions.push((class, row));
            } else {
                rows.push(row);
                labels.push(class as u32);
            }
        }
    }
    let fails =
        |e: &dyn std::fmt::Display| Error::data(Path::new("identify"), format!("the random forest failed: {e}"));
    let matrix = |rows: &Vec<Vec<f64>>| DenseMatrix::from_2d_vec(rows).map_err(|e| fails(&e));
    let parameters = RandomForestClassifierParameters::default().with_n_trees(TREES).with_seed(1000 * split);
    let forest = RandomForestClassifier::fit(&matrix(&rows)?, &labels, parameters).map_err(|e| fails(&e))?;
    let (is, rows): (Vec<usize>, Vec<Vec<f64>>) = questions.into_iter().unzip();
    let named = forest.predict(&matrix(&rows)?).map_err(|e| fails(&e))?;
    let layers: Vec<(usize, usize)> = is.into_iter().zip(named.into_iter().map(|n| n as usize)).collect();
    let network = |layers: &[(usize, usize)]| {
        let votes = |k: usize| layers.iter().filter(|(_, named)| *named == k).count();
        // Majority vote of the layers. Without a majority, the prediction for the last layer counts.
        let most = layers.iter().rev().map(|(_, named)| *named).find(|named| 2 * votes(*named) > layers.len());
        (layers[0].0, most.unwrap_or(layers[layers.len() - 1].1))
    };
    Ok(Told { networks: layers.chunks(LAYERS).map(network).collect(), layers })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control: if the classes do not differ, exactly half of the predictions are correct.
    #[test]
    fn a_forest_is_at_chance_where_nothing_differs() {
        let made = |kind: &str, number: u64, shift: f64| {
            let mut random = Random::new(number, Stream::Test, 0);
            let row = |_| (0..TIMES * OBSERVABLES).map(|_| random.normal() + shift).collect();
            let observed = (0..LAYERS).map(row).collect();
            Specimen { kind: kind.into(), number, hidden: [1, 1], batch: 1, lr: 1.0, error: 0.0, observed }
        };
        let all: Vec<Specimen> =
            (0..16).flat_map(|n| [made("a", n, 0.0), made("b", n, 0.0), made("c", n, 1.0)]).collect();
        let told = |classes: Classes<'_>| tell(&all, &classes, Seen::All, 1).expect("told");
        let equal = told(Classes::Kinds(vec!["a", "b"]));
        assert_eq!((share(&equal.layers), share(&equal.networks)), (0.5, 0.5));
        let other = told(Classes::Kinds(vec!["a", "c"]));
        assert!(share(&other.layers) > 0.9, "{}", share(&other.layers));
        // A leak of test networks into the training set would show as an accuracy above chance.
        let parity = told(Classes::Even("a"));
        assert!(share(&parity.layers) < 0.9, "{}", share(&parity.layers));
    }
}
