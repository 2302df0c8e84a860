//! One training of an experiment: its settings, and what came of it, a file each.

use super::command::{command, same};
use super::results::{shares, times, within};
use super::settings::Settings;
use super::{Checked, Context, Folder, Results, parallel};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use zilch::data::Data;
use zilch::data::tasks::Tasks;
use zilch::device::Device;
use zilch::error::{Error, Result};
use zilch::network::Weights;

/// A training to be made.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Its name in files, unique together with the seed.
    pub name: String,
    /// How it is trained.
    pub settings: Settings,
    /// The seed.
    pub seed: u64,
    /// What is shown when, where it is not the same data at all times.
    pub tasks: Option<Tasks>,
    /// A training of the same seed whose weights this one starts from.
    pub before: Option<Settings>,
}

impl Trial {
    /// A training on the same data at all times, from drawn weights.
    pub fn new(name: impl Into<String>, settings: Settings, seed: u64) -> Trial {
        Trial { name: name.into(), settings, seed, tasks: None, before: None }
    }

    /// Trains, on one thread of the CPU.
    ///
    /// # Errors
    /// Those of [`Settings::training`] and of training, but for one that diverges: its outcome says so.
    pub fn train(&self, data: &Arc<Data>, stop: &AtomicBool) -> Result<Outcome> {
        let Trial { name, settings, seed, tasks, before } = self;
        let mut training = settings.training(*seed)?;
        let (shown, held) = settings.shown(Data::clone(data))?;
        (training.held, training.tasks) = (held, tasks.clone());
        if let Some(before) = before {
            training.init = Trial::new("", *before, *seed).train(data, stop)?.weights;
        }
        let device = Device::open("cpu", Some(1))?;
        let trained = training.run(&device, &Arc::new(shown), stop, &mut |_| ())?;
        if let Some(stopped @ Error::Interrupted(_)) = trained.stopped {
            return Err(stopped);
        }
        let angles = trained.probed.last().and_then(|probed| probed.first()).map(|p| p.values.clone());
        Ok(Outcome {
            name: name.clone(),
            command: command(settings),
            seed: *seed,
            errors: trained.metrics.iter().map(|row| row.test_error).collect(),
            held: trained.held,
            tested: trained.tested,
            angles: angles.unwrap_or_default(),
            updates: trained.updates,
            seconds: trained.seconds,
            stopped: trained.stopped.map(|e| e.to_string()),
            tasks: tasks.clone(),
            before: before.as_ref().map(command),
            weights: Some(trained.weights),
        })
    }

    /// Whether an outcome is of this training.
    fn made(&self, outcome: &Outcome) -> bool {
        let before = match (&self.before, &outcome.before) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => same(&command(ours), theirs),
            _ => false,
        };
        before && outcome.is_of(&self.settings) && outcome.tasks == self.tasks
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The trial's name.
    pub name: String,
    /// What ran: arguments of `zilch train`.
    pub command: String,
    /// The seed.
    pub seed: u64,
    /// Test error after each epoch, 0 to 1.
    pub errors: Vec<f64>,
    /// Error on held-out training images after each epoch, where there were some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<f64>,
    /// Test error of every task after each epoch, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tested: Vec<Vec<f64>>,
    /// Degrees between the rule's step and BP's after the last epoch, by θ^l from l = 1; empty where it was not asked for.
    pub angles: Vec<Option<f64>>,
    /// Weight updates.
    pub updates: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// Why it ended early, if it did.
    pub stopped: Option<String>,
    /// What was shown when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Tasks>,
    /// The training before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The weights it ended on.
    #[serde(skip)]
    pub weights: Option<Weights>,
}

impl Outcome {
    /// Whether it was trained with these settings.
    pub fn is_of(&self, settings: &Settings) -> bool {
        same(&self.command, &command(settings))
    }

    /// As [`Results::check`].
    pub(super) fn check(&self) -> Checked {
        shares("a test error", &self.errors)?;
        shares("a held-out error", &self.held)?;
        shares("the test error of a task", self.tested.iter().flatten())?;
        within("an angle", self.angles.iter().flatten(), [0.0, 180.0])?;
        times("\"seconds\"", [&self.seconds])
    }
}

impl Results for Vec<Outcome> {
    fn check(&self) -> Checked {
        self.iter().try_for_each(Outcome::check)
    }
}

/// Makes all of them, on all threads; what is in the folder already is not made again.
///
/// # Errors
/// Those of training, but for a training that diverges, which is recorded.
pub fn trials(context: &Context<'_>, folder: &Folder, all: &[Trial]) -> Result<Vec<Outcome>> {
    let done = AtomicUsize::new(0);
    parallel(context, all, |trial| {
        context.check()?;
        let file = format!("{}-seed{}.json", trial.name, trial.seed);
        let known = folder.read::<Outcome>(&file).filter(|known| known.check().is_ok() && trial.made(known));
        let outcome = match known {
            Some(outcome) => outcome,
            None => {
                let outcome = trial.train(&context.data, context.stop)?;
                folder.write(&file, &outcome)?;
                outcome
            }
        };
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        (context.watch)(done as f64 / all.len() as f64, &trial.name);
        Ok(outcome)
    })
}
