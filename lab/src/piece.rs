//! One training of an experiment: a command of `zilch train`, and what came of it, a file each.

use super::results::{shares, times, within};
use super::{Checked, Context, Folder, Results, parallel};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};
use zilch::data::tasks::Tasks;
use zilch::error::Result;
use zilch::network::Weights;

/// A training to be made.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    /// Its name in files: one of a kind, with the seed.
    pub name: String,
    /// Arguments of `zilch train`, without --data and --seed.
    pub command: String,
    /// The seed.
    pub seed: u64,
    /// What is shown when, in the place of a file of tasks.
    pub tasks: Option<Tasks>,
    /// A training whose weights this one starts from: its arguments; the seed is the same.
    pub before: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The piece's name.
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

/// Makes a training.
pub type Train<'a> = dyn Fn(&Piece) -> Result<Outcome> + Sync + 'a;

/// Makes all of them, on all threads; what is in the folder already is not made again.
///
/// # Errors
/// Those of training, but for a training that diverges, which is recorded.
pub fn pieces(context: &Context<'_>, folder: &Folder, all: &[Piece], train: &Train<'_>) -> Result<Vec<Outcome>> {
    let done = AtomicUsize::new(0);
    parallel(context, all, |piece| {
        context.check()?;
        let file = format!("{}-seed{}.json", piece.name, piece.seed);
        let known = folder.read::<Outcome>(&file).filter(|known| known.check().is_ok()).filter(|known| {
            (&known.command, &known.tasks, &known.before) == (&piece.command, &piece.tasks, &piece.before)
        });
        let outcome = match known {
            Some(outcome) => outcome,
            None => {
                let outcome = train(piece)?;
                folder.write(&file, &outcome)?;
                outcome
            }
        };
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        (context.watch)(done as f64 / all.len() as f64, &piece.name);
        Ok(outcome)
    })
}

/// The same command with so many updates instead of its epochs.
pub fn with_updates(command: &str, updates: &'static str) -> String {
    let mut words: Vec<&str> = command.split_whitespace().collect();
    if let Some(at) = words.iter().position(|word| ["--epochs", "--updates"].contains(word)) {
        words[at] = "--updates";
        words[at + 1] = updates;
    }
    words.join(" ")
}
