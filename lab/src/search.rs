//! Search for a learning rule by evolution. It optimises the numeric options of a rule. Each candidate trains many
//! small networks, and every network is evaluated on images that it was not trained on.
//!
//! The method is the cross-entropy method (Rubinstein 1999). Candidates are drawn from a normal distribution for each
//! number, and the best quarter updates its mean and its width. All candidates of a generation start from the same
//! weights, see the same images in the same order, and are evaluated on the same images. They therefore differ by the
//! rule only. Each generation draws new images and weights.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use zilch::data::{Data, Dataset};
use zilch::device::Device;
use zilch::error::{Error, Result};
use zilch::memory::on_threads;
use zilch::network::{Init, Network};
use zilch::plan::activation::Activation;
use zilch::random::{Random, Stream};
use zilch::rules::{Options, Rule};
use zilch::train::{Length, Training};

/// Upper limit of candidates per generation, and of generations.
const MOST: usize = 10_000;
/// The minimum width of a distribution, relative to its initial width.
const NARROWEST: f64 = 0.02;
/// The weight of the previous mean and width in the new ones.
const KEPT: f64 = 0.3;

/// A numeric option of the rule that the search optimises.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Coefficient {
    /// The name of the option.
    pub name: String,
    /// The initial mean.
    pub start: f64,
    /// The initial standard deviation.
    pub width: f64,
}

/// The settings of a search.
#[derive(Debug, Clone)]
pub struct Search {
    /// The rule, with the options that the search keeps fixed.
    pub options: Options,
    /// The options that the search optimises.
    pub coefficients: Vec<Coefficient>,
    /// The small network that candidates train.
    pub network: Network,
    /// Training images per candidate, each seen once, and as many evaluation images.
    pub images: usize,
    /// Mini-batch size.
    pub batch: usize,
    /// Networks that each candidate trains per generation.
    pub networks: usize,
    /// Candidates per generation.
    pub population: usize,
    /// The number of generations.
    pub generations: usize,
    /// The seed.
    pub seed: u64,
    /// The number of threads.
    pub threads: usize,
}

/// The result of one generation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Generation {
    /// The mean of every coefficient after the generation.
    pub mean: Vec<f64>,
    /// The width of every coefficient after the generation.
    pub width: Vec<f64>,
    /// Test errors of the best candidate, the median candidate and the initial rule, on the same images.
    pub errors: [f64; 3],
}

impl Search {
    /// A search for the three terms of the rule `local` on networks of 784-64-32-10.
    ///
    /// # Errors
    /// [`Error::Usage`] when the rule does not exist.
    pub fn new() -> Result<Search> {
        let rule = Rule::named("local").ok_or_else(|| Error::usage("there is no rule local"))?;
        let number = |name: &str, start, width| Coefficient { name: name.into(), start, width };
        Ok(Search {
            options: Options { alpha: 0.01, ..Options::new(rule) },
            coefficients: vec![number("gradient", 1.0, 1.0), number("error-error", 0.0, 0.5), number("oja", 0.0, 0.2)],
            network: Network::new(&[784, 64, 32, 10])?.with_activation(Activation::Tanh),
            images: 500,
            batch: 1,
            networks: 3,
            population: 16,
            generations: 20,
            seed: 0,
            threads: 1,
        })
    }

    /// Searches on the training set of `data`. Calls `watch` after every generation.
    ///
    /// # Errors
    /// Those of [`Training::run`]; [`Error::Interrupted`] when `stop` is set before the first generation is complete;
    /// [`Error::Usage`] for invalid settings.
    pub fn run(
        &self,
        data: &Data,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(usize, &Generation),
    ) -> Result<Vec<Generation>> {
        self.check(data)?;
        let mut mean: Vec<f64> = self.coefficients.iter().map(|c| c.start).collect();
        let mut width: Vec<f64> = self.coefficients.iter().map(|c| c.width).collect();
        let first = mean.clone();
        let mut generations = Vec::new();
        for g in 0..self.generations {
            let episodes = (0..self.networks).map(|k| self.episode(data, g, k)).collect::<Result<Vec<_>>>()?;
            let mut random = Random::new(self.seed, Stream::Search, (g as u64) << 32);
            let mut candidates: Vec<Vec<f64>> = (1..self.population)
                .map(|_| (0..mean.len()).map(|i| self.within(i, mean[i] + width[i] * random.normal())).collect())
                .collect();
            // The mean itself is a candidate too. The initial rule is evaluated beside the candidates.
            candidates.push(mean.clone());
            let mut all = candidates.clone();
            all.push(first.clone());
            let errors = match self.judge(&all, &episodes, stop) {
                // Interrupted: return the generations that are complete.
                Err(Error::Interrupted(_)) if !generations.is_empty() => break,
                errors => errors?,
            };
            let mut order: Vec<usize> = (0..candidates.len()).collect();
            order.sort_by(|a, b| errors[*a].total_cmp(&errors[*b]));
            let elite = &order[..(candidates.len() / 4).max(2)];
            for i in 0..mean.len() {
                let of = |k: &usize| candidates[*k][i];
                let best = elite.iter().map(of).sum::<f64>() / elite.len() as f64;
                let spread = elite.iter().map(|k| (of(k) - best).powi(2)).sum::<f64>() / elite.len() as f64;
                mean[i] = KEPT * mean[i] + (1.0 - KEPT) * best;
                let least = NARROWEST * self.coefficients[i].width;
                width[i] = (KEPT * width[i] + (1.0 - KEPT) * spread.sqrt()).max(least);
            }
            let median = errors[order[order.len() / 2]];
            let generation = Generation {
                mean: mean.clone(),
                width: width.clone(),
                errors: [errors[order[0]], median, errors[candidates.len()]],
            };
            watch(g, &generation);
            generations.push(generation);
        }
        Ok(generations)
    }

    /// Test errors of several candidates on the same new episodes, which no generation has seen.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub fn compare(&self, candidates: &[Vec<f64>], data: &Data, stop: &AtomicBool) -> Result<Vec<f64>> {
        self.check(data)?;
        let fresh = |k| self.episode(data, self.generations, k);
        let episodes = (0..4 * self.networks).map(fresh).collect::<Result<Vec<_>>>()?;
        self.judge(candidates, &episodes, stop)
    }

    /// The options of the rule with these coefficients.
    pub fn options(&self, candidate: &[f64]) -> Options {
        let named = self.coefficients.iter().zip(candidate).map(|(c, value)| (c.name.clone(), *value));
        let rule_options = self.options.rule_options.clone().into_iter().chain(named).collect::<BTreeMap<_, _>>();
        Options { rule_options, ..self.options.clone() }
    }

    /// The rule with these coefficients as an equation.
    pub fn mathematics(&self, candidate: &[f64]) -> String {
        let terms = [("gradient", "ε hᵀ"), ("error-error", "ε εᵀ"), ("oja", "h (h − θᵀh)ᵀ")];
        let term = |(name, text): (&str, &str)| {
            let at = self.coefficients.iter().position(|c| c.name == name)?;
            let value = if name == "error-error" { -candidate[at] } else { candidate[at] };
            Some(format!("{} {:.4} {text}", if value < 0.0 { "−" } else { "+" }, value.abs()))
        };
        let sum: Vec<String> = terms.into_iter().filter_map(term).collect();
        format!("Δθ = {} × ({})", self.options.alpha, sum.join(" ").trim_start_matches("+ "))
    }

    fn check(&self, data: &Data) -> Result<()> {
        let within = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::usage(format!("--{name} must lie in {low} to {high}; {value} given")))
        };
        within("population", self.population, 4, MOST)?;
        within("generations", self.generations, 1, MOST)?;
        within("networks", self.networks, 1, 1000)?;
        // One half trains a candidate, the other half evaluates it.
        within("images", self.images, 1, data.train.len() / 2)?;
        within("batch", self.batch, 1, self.images)?;
        data.fits(&self.network)?;
        self.options(&self.coefficients.iter().map(|c| c.start).collect::<Vec<_>>()).plan(&self.network).map(|_| ())
    }

    /// Clamps a coefficient to the range of its option.
    fn within(&self, i: usize, value: f64) -> f64 {
        let choice = self.options.rule.rule_options.iter().find(|c| c.name == self.coefficients[i].name);
        match choice.map(|c| &c.values) {
            Some(zilch::rules::Values::Number(low, high)) => value.clamp(*low, *high),
            _ => value,
        }
    }

    /// Draws training and evaluation images from the training set, and the seed of the weights.
    fn episode(&self, data: &Data, generation: usize, network: usize) -> Result<(Arc<Data>, u64)> {
        let number = (generation * 1000 + network) as u64;
        let order = Random::new(self.seed, Stream::Search, 1 + (1 << 20) + number).permutation(data.train.len());
        let part = |of: &[u32]| -> Result<Dataset> {
            let rows: Vec<usize> = of.iter().map(|i| *i as usize).collect();
            data.train.chosen(Path::new("an episode"), &rows)
        };
        let (learnt, judged) = order[..2 * self.images].split_at(self.images);
        let episode =
            Data { name: "an episode".into(), train: part(learnt)?, test: part(judged)?, checksums: Vec::new() };
        Ok((Arc::new(episode), self.seed ^ (number << 8)))
    }

    /// The mean test error of every candidate over the episodes. A candidate that diverges has error 1.
    fn judge(&self, candidates: &[Vec<f64>], episodes: &[(Arc<Data>, u64)], stop: &AtomicBool) -> Result<Vec<f64>> {
        let jobs: Vec<(usize, usize)> =
            (0..candidates.len()).flat_map(|c| (0..episodes.len()).map(move |e| (c, e))).collect();
        let queue: Mutex<VecDeque<usize>> = Mutex::new((0..jobs.len()).collect());
        let errors: Mutex<Vec<f64>> = Mutex::new(vec![0.0; jobs.len()]);
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let lock = |queue: &Mutex<VecDeque<usize>>| queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        on_threads(self.threads, || {
            while let Some(job) = lock(&queue) {
                let (candidate, episode) = jobs[job];
                match self.learn(&candidates[candidate], &episodes[episode], stop) {
                    Ok(error) => errors.lock().unwrap_or_else(PoisonError::into_inner)[job] = error,
                    Err(error) => {
                        queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                }
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(errors.chunks(episodes.len()).map(|of| of.iter().sum::<f64>() / of.len() as f64).collect())
    }

    fn learn(&self, candidate: &[f64], (data, seed): &(Arc<Data>, u64), stop: &AtomicBool) -> Result<f64> {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("interrupted before the first generation was complete".into()));
        }
        let training = Training {
            options: Options { seed: *seed, ..self.options(candidate) },
            batch: self.batch,
            seed: *seed,
            initial: Some(Init::Xavier),
            ..Training::new(self.network.clone(), Length::Epochs(1))
        };
        let trained = training.run(&Device::open("cpu", Some(1))?, data, stop, &mut |_| ())?;
        match trained.stopped {
            Some(Error::Diverged { .. }) => Ok(1.0),
            Some(Error::Interrupted(_)) => {
                Err(Error::Interrupted("interrupted before the first generation was complete".into()))
            }
            Some(error) => Err(error),
            None => Ok(trained.metrics.last().map_or(1.0, |row| row.test_error)),
        }
    }
}
