//! One training of an experiment: its settings and its outcome. Each outcome is one file.

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

/// A training to run.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The name in file names. Name and seed together are unique.
    pub name: String,
    /// The settings.
    pub settings: Settings,
    /// The seed.
    pub seed: u64,
    /// The sequence of tasks, if the data change during the training.
    pub tasks: Option<Tasks>,
    /// A training with the same seed that runs first; this one starts from its final weights.
    pub before: Option<Settings>,
}

impl Trial {
    /// A training on constant data from initial weights.
    pub fn new(name: impl Into<String>, settings: Settings, seed: u64) -> Trial {
        Trial { name: name.into(), settings, seed, tasks: None, before: None }
    }

    /// Trains on one CPU thread.
    ///
    /// # Errors
    /// Those of [`Settings::training`] and of training. Divergence is not an error: the outcome records it.
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

    /// Whether an outcome belongs to this training.
    fn made(&self, outcome: &Outcome) -> bool {
        let before = match (&self.before, &outcome.before) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => same(&command(ours), theirs),
            _ => false,
        };
        before && outcome.is_of(&self.settings) && outcome.tasks == self.tasks
    }
}

/// The outcome of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The trial's name.
    pub name: String,
    /// The command: arguments of `zilch train`.
    pub command: String,
    /// The seed.
    pub seed: u64,
    /// Test error after each epoch, 0 to 1.
    pub errors: Vec<f64>,
    /// Error on the held-out training images after each epoch, if images were held out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<f64>,
    /// Test error of every task after each epoch, if it was requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tested: Vec<Vec<f64>>,
    /// Angle in degrees between the rule's update and BP's after the last epoch, for θ^l from l = 1. Empty if it was
    /// not requested.
    pub angles: Vec<Option<f64>>,
    /// Weight updates.
    pub updates: u64,
    /// Seconds of the updates.
    pub seconds: f64,
    /// The reason for an early end.
    pub stopped: Option<String>,
    /// The sequence of tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Tasks>,
    /// The preceding training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The final weights.
    #[serde(skip)]
    pub weights: Option<Weights>,
}

impl Outcome {
    /// Whether the training used these settings.
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

/// Runs all trainings on all threads. Outcomes that are already in the folder are not repeated.
///
/// # Errors
/// Those of training. A training that diverges is recorded instead.
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
