//! Training: epochs of weight updates on a device, watched for numbers that are not finite.

use crate::data::{Data, Set};
use crate::device::{Device, Session, next_chunk};
use crate::error::{Error, Result};
use crate::files::EpochMetrics;
use crate::network::{Init, Network, Weights};
use crate::plan::Plan;
use crate::probe::{Probe, Probed, Prober};
use crate::random::{Random, Stream};
use crate::rules::{Options, Rule};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most updates between two looks for NaN and infinity.
const CHECK_EVERY: usize = 512;
/// How long the updates between two looks should take, so that a run can be watched and interrupted.
const LOOK: Duration = Duration::from_millis(250);

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Passes over the training set.
    Epochs(u64),
    /// Weight updates.
    Updates(u64),
}

/// A training to be made.
#[derive(Debug, Clone)]
pub struct Training {
    /// The network.
    pub network: Network,
    /// The rule and its options.
    pub options: Options,
    /// Samples of one weight update.
    pub batch: usize,
    /// How long to train.
    pub length: Length,
    /// Seed of the initial weights and of the order of the samples.
    pub seed: u64,
    /// Whether every epoch has its own random order (else the file's).
    pub shuffle: bool,
    /// How the initial weights are drawn; `None` is [`Init::Uniform`].
    pub initial: Option<Init>,
    /// Weights to start from, instead of drawn ones.
    pub init: Option<Weights>,
    /// What is measured after each epoch besides.
    pub probes: Vec<Probe>,
}

/// What a training made.
#[derive(Debug)]
pub struct Trained {
    /// The final weights: the last finite ones if it was stopped.
    pub weights: Weights,
    /// A row an epoch (the last one may be part of an epoch).
    pub metrics: Vec<EpochMetrics>,
    /// What was probed after each epoch, in the order of `metrics`.
    pub probed: Vec<Vec<Probed>>,
    /// Weight updates made.
    pub updates: u64,
    /// Seconds spent on updates, without evaluation.
    pub seconds: f64,
    /// Why it ended early: [`Error::Diverged`] or [`Error::Interrupted`].
    pub stopped: Option<Error>,
}

/// What a watcher is told.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// So many of so many updates are made, in so many seconds.
    Updates(u64, u64, f64),
    /// An epoch has been evaluated.
    Epoch(EpochMetrics),
}

impl Training {
    /// A training by Z-IL with the paper's settings, in batches of 20, from seed 0: to be changed by `..Training::new(…)`.
    pub fn new(network: Network, length: Length) -> Training {
        Training {
            network,
            options: Options::new(Rule::ZIL),
            batch: 20,
            length,
            seed: 0,
            shuffle: true,
            initial: None,
            init: None,
            probes: Vec::new(),
        }
    }

    /// Weight updates of one epoch: an incomplete last batch is dropped.
    fn updates_per_epoch(&self, samples: usize) -> u64 {
        (samples / self.batch) as u64
    }

    /// Weight updates in all.
    pub fn total(&self, samples: usize) -> u64 {
        match self.length {
            Length::Epochs(n) => n.saturating_mul(self.updates_per_epoch(samples)),
            Length::Updates(n) => n,
        }
    }

    /// The samples of epoch `epoch` (from 0), in the order they are shown.
    pub fn order(&self, samples: usize, epoch: u64) -> Vec<u32> {
        let mut order = if self.shuffle {
            Random::new(self.seed, Stream::Shuffle, epoch).permutation(samples)
        } else {
            (0..samples as u32).collect()
        };
        order.truncate(samples / self.batch * self.batch);
        order
    }

    /// The plan of one update, on a training set of so many samples: a rate that changes needs to know the whole run.
    ///
    /// # Errors
    /// Those of [`Options::plan`].
    pub fn plan(&self, samples: usize) -> Result<Plan> {
        let mut options = self.options.clone();
        options.lr_schedule.total = self.total(samples);
        options.plan(&self.network)
    }

    /// The weights before the first update.
    pub fn start(&self) -> Weights {
        let drawn = || Weights::drawn(&self.network, self.seed, self.initial.unwrap_or_default());
        self.init.clone().unwrap_or_else(drawn)
    }

    /// Checks that the data fit the network and the batch.
    ///
    /// # Errors
    /// [`Error::Data`] when they do not fit the network; [`Error::Usage`] when a batch is larger than the set.
    pub fn check(&self, data: &Data) -> Result<()> {
        data.fits(&self.network)?;
        if self.batch == 0 || self.batch > data.train.len() {
            return Err(Error::usage(format!(
                "--batch must lie in 1 to {}, the number of training samples; {} given",
                data.train.len(),
                self.batch
            )));
        }
        Ok(())
    }

    /// Trains on `device`, telling `watch` how it goes, until done or `stop` is set.
    ///
    /// A run that makes a number that is not finite, or is stopped, is no error of this function: what
    /// was learned before is in [`Trained`], with the reason.
    ///
    /// # Errors
    /// Those of [`Training::check`], [`Options::plan`], [`Device::fits`] and [`Device::session`]; [`Error::Gpu`] when the
    /// device fails.
    pub fn run(
        &self,
        device: &Device,
        data: &Arc<Data>,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(Event),
    ) -> Result<Trained> {
        self.check(data)?;
        let plan = self.plan(data.train.len())?;
        device.fits(&plan, self.batch, true)?;
        let resident = device.upload(data)?;
        let session = device.session(&plan.unread(), self.batch, &resident, &self.start())?;
        let prober = (!self.probes.is_empty()).then(|| Prober::new(self, device, data, &resident));
        let mut prober = prober.transpose()?;
        let samples = data.train.len();
        let mut run = Run { training: self, session, made: 0, seconds: 0.0, chunk: 16, total: self.total(samples) };
        let (mut metrics, mut probed) = (Vec::new(), Vec::new());
        let mut stopped = None;
        let mut epoch = 0;
        while run.made < run.total && stopped.is_none() {
            let order = self.order(samples, epoch);
            epoch += 1;
            stopped = run.epoch(&order, stop, watch)?;
            if !matches!(stopped, Some(Error::Interrupted(_))) {
                let row = run.evaluate(epoch)?;
                watch(Event::Epoch(row));
                metrics.push(row);
                if let Some(prober) = &mut prober {
                    probed.push(prober.measure(&run.session)?);
                }
            }
        }
        Ok(Trained {
            weights: run.session.weights()?,
            metrics,
            probed,
            updates: run.made,
            seconds: run.seconds,
            stopped,
        })
    }
}

/// A training under way.
struct Run<'a> {
    training: &'a Training,
    session: Session,
    made: u64,
    seconds: f64,
    /// Updates until the next look.
    chunk: usize,
    total: u64,
}

impl Run<'_> {
    /// Makes the updates of one epoch, or what is left of the total; returns why it had to stop, if it did.
    fn epoch(&mut self, order: &[u32], stop: &AtomicBool, watch: &mut dyn FnMut(Event)) -> Result<Option<Error>> {
        let batch = self.training.batch;
        let mut left = order;
        while !left.is_empty() && self.made < self.total {
            if stop.load(Ordering::Relaxed) {
                let why = format!("interrupted after {} of {} updates", self.made, self.total);
                return Ok(Some(Error::Interrupted(why)));
            }
            let updates = (self.chunk as u64).min((left.len() / batch) as u64).min(self.total - self.made);
            let (now, later) = left.split_at(updates as usize * batch);
            let start = Instant::now();
            self.session.run(now)?;
            if self.session.not_finite()?.is_some() {
                return self.find_divergence(now).map(Some);
            }
            self.session.save();
            let took = start.elapsed().as_secs_f64();
            self.seconds += took;
            self.made += updates;
            watch(Event::Updates(self.made, self.total, self.seconds));
            self.chunk = next_chunk(self.chunk, updates as usize, start.elapsed(), LOOK, CHECK_EVERY);
            left = later;
        }
        Ok(None)
    }

    /// Repeats the last updates one by one from the saved weights, which gives the same bits, to find the
    /// one that was not finite; leaves the weights before it.
    fn find_divergence(&mut self, order: &[u32]) -> Result<Error> {
        self.session.restore();
        let start = Instant::now();
        for samples in order.chunks_exact(self.training.batch) {
            self.session.run(samples)?;
            if let Some((layer, what)) = self.session.not_finite()? {
                self.session.restore();
                self.seconds += start.elapsed().as_secs_f64();
                return Ok(Error::Diverged { update: self.made + 1, layer, what });
            }
            self.session.save();
            self.made += 1;
        }
        Ok(Error::Gpu(
            "a number that was not finite did not come back when the same updates were repeated: the device does not \
             compute reliably. The weights kept are the repeated ones"
                .into(),
        ))
    }

    fn evaluate(&mut self, epoch: u64) -> Result<EpochMetrics> {
        let train = self.session.score(Set::Train)?;
        let test = self.session.score(Set::Test)?;
        Ok(EpochMetrics {
            epoch,
            updates: self.made,
            seconds: self.seconds,
            train_energy: train.mean_energy(),
            test_error: test.error_rate(),
        })
    }
}
