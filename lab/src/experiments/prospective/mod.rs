//! Song, Millidge, Salvatori, Lukasiewicz, Xu & Bogacz, "Inferring neural activity before plasticity as a foundation
//! for learning beyond backpropagation" (Nature Neuroscience 2024): tasks in which inference before learning is better
//! than backpropagation, and tasks in which it is not.
//!
//! Each task has a grid of trainings over rule, condition, learning rate and seed. Each grid gives three results: (1)
//! the score at the learning rate that is selected by test error, as in the paper; (2) the score at the learning rate
//! that is selected on held-out training images, without the test set; (3) the learning curve at the learning rate of
//! (1).

mod exact;
mod grids;
mod page;

pub use exact::interference;
pub use grids::{GRIDS, Grid, Score};
pub use page::one_at_a_time;

use crate::experiment::{Figure, Page, Summary};
use crate::results::{shares, times, within};
use crate::settings::Settings;
use crate::trial::{Outcome, Trial, trials};
use crate::{Checked, Context, Experiment, Folder, Results, SEEDS, load};
use serde::{Deserialize, Serialize};
use std::path::Path;
use zilch::error::Result;
use zilch::statistics::Statistics;

/// Tasks in which predictive coding is better than backprop, and tasks in which it is not.
#[derive(Debug)]
pub struct Prospective;

impl Experiment for Prospective {
    fn name(&self) -> &'static str {
        "prospective"
    }

    fn help(&self) -> &'static str {
        "Where predictive coding beats backprop: Song et al. (2024)"
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        folder.record(context, run(context, folder)?)
    }

    fn settings(&self) -> Vec<Settings> {
        GRIDS.iter().map(Grid::shown).collect()
    }

    fn page(&self) -> Option<Page> {
        Some(page::PAGE)
    }

    fn figures(&self, dir: &Path) -> Result<Vec<Figure>> {
        load(dir, "prospective")?.map_or(Ok(Vec::new()), |record| page::figures(&record.results))
    }

    fn summary(&self, dir: &Path) -> Result<Vec<Summary>> {
        Ok(load(dir, "prospective")?.map(|record| page::summary(&record.results)).unwrap_or_default())
    }
}

/// Rule, condition, learning rate and seed of a training.
type Key = (&'static str, u64, f64, u64);

/// The rules that are compared: the name on the page and on the command line.
const RULES: [(&str, &str); 2] = [("pc", "il"), ("bp", "bp")];

/// A training of a grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The name of the grid.
    pub experiment: String,
    /// pc or bp.
    pub rule: String,
    /// The condition.
    pub at: u64,
    /// The learning rate.
    pub lr: f64,
    /// The seed.
    pub seed: u64,
    /// The score of the grid, 0 to 1. `None` if the training diverged.
    pub score: Option<f64>,
    /// The same score on held-out images, if images were held out.
    pub held: Option<f64>,
    /// The test score without selection on the test set. If the score is that of a single epoch, this epoch is selected
    /// on the held-out images.
    pub chosen: Option<f64>,
    /// Test error after the last epoch.
    pub last: Option<f64>,
    /// Weight updates.
    pub updates: u64,
    /// Seconds of the updates.
    pub seconds: f64,
}

/// Test error over epochs at the best learning rate, as the mean over seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The name of the grid.
    pub experiment: String,
    /// pc or bp.
    pub rule: String,
    /// The condition.
    pub at: u64,
    /// The learning rate.
    pub lr: f64,
    /// Test error after each epoch.
    pub errors: Vec<f64>,
}

/// Figure 3a: a linear chain of 1, 1 and 2 units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interference {
    /// The learning rate.
    pub lr: f64,
    /// pc or bp.
    pub rule: String,
    /// The minimum of the output whose target does not change.
    pub lowest: f64,
}

/// Figure 3e: target alignment, the direction of an update's effect on the output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alignment {
    /// The number of weight layers.
    pub depth: u64,
    /// pc or bp.
    pub rule: String,
    /// Angle in degrees between the change of the output and the direction to the target, by seed.
    pub angles: Vec<f64>,
}

/// The results of the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raw {
    /// Figure 3a.
    pub interference: Vec<Interference>,
    /// Figure 3e.
    pub alignment: Vec<Alignment>,
    /// Every training of the grids.
    pub cells: Vec<Cell>,
    /// The learning curves at the best rates.
    pub curves: Vec<Curve>,
}

/// The deepest network of the target alignment.
const DEEPEST: u64 = 1 << 10;
/// Limit of the absolute output in the interference experiment.
const LOWEST: f64 = 1e6;

impl Results for Raw {
    fn check(&self) -> Checked {
        within("the lowest output", self.interference.iter().map(|one| &one.lowest), [-LOWEST, LOWEST])?;
        for one in &self.alignment {
            within("an angle", &one.angles, [0.0, 180.0])?;
            if one.depth > DEEPEST {
                return Err(format!("a depth is {}; expected at most {DEEPEST}", one.depth));
            }
        }
        for cell in &self.cells {
            shares("a score", [&cell.score, &cell.held, &cell.chosen, &cell.last].into_iter().flatten())?;
            times("\"seconds\"", [&cell.seconds])?;
        }
        shares("a test error", self.curves.iter().flat_map(|curve| &curve.errors))
    }
}

/// The seeds: first those of the paper, then others.
fn seeds(n: usize) -> Vec<u64> {
    SEEDS.into_iter().chain(1..).take(n).collect()
}

/// Runs the experiment. Trainings that are already in the folder are not repeated.
fn run(context: &Context<'_>, folder: &Folder) -> Result<Raw> {
    let (interference, alignment) = match folder.read::<(Vec<Interference>, Vec<Alignment>)>("exact.json") {
        Some(known) => known,
        None => {
            let made = (interference()?, exact::alignment(context)?);
            folder.write("exact.json", &made)?;
            made
        }
    };
    let all = all(context.quick);
    let train_set = &context.data.train;
    let size = |class: usize| train_set.labels().iter().filter(|l| usize::from(**l) == class).count();
    let smallest = (0..train_set.classes()).map(size).filter(|n| *n > 0).min().unwrap_or(0);
    let todo: Vec<Trial> = all.iter().map(|(grid, key)| grid.trial(*key, smallest, context.quick)).collect();
    let outcomes = trials(context, folder, &todo)?;
    let cells: Vec<Cell> = all.iter().zip(&outcomes).map(|((grid, key), outcome)| grid.cell(*key, outcome)).collect();
    let curves = GRIDS.iter().flat_map(|grid| curves(grid, &cells, &outcomes)).collect();
    Ok(Raw { interference, alignment, cells, curves })
}

/// Every training: its grid, rule, condition, rate and seed. The reduced version has only the first condition, rate and
/// seed of each grid, for both rules.
fn all(quick: bool) -> Vec<(&'static Grid, Key)> {
    let mut all = Vec::new();
    for grid in GRIDS {
        let mut conditions = (grid.rates)();
        let mut seeds = seeds(grid.seeds);
        if quick {
            conditions.truncate(1);
            conditions[0].1 = &conditions[0].1[..1];
            seeds.truncate(1);
        }
        for (at, rates) in conditions {
            for (rule, _) in RULES {
                let one = |lr: &f64| seeds.iter().map(|seed| (rule, at, *lr, *seed)).collect::<Vec<_>>();
                all.extend(rates.iter().flat_map(one).map(|key| (grid, key)));
            }
        }
    }
    all
}

/// The learning curves of a grid at its best rates.
fn curves(grid: &Grid, cells: &[Cell], outcomes: &[Outcome]) -> Vec<Curve> {
    let mut all = Vec::new();
    for (at, _) in (grid.rates)() {
        for (rule, _) in RULES {
            let Some(best) = best(cells, grid.name, rule, at, &|c| c.score) else { continue };
            let of = |(cell, _): &(&Cell, &Outcome)| {
                (cell.experiment.as_str(), cell.rule.as_str(), cell.at, cell.lr) == (grid.name, rule, at, best)
            };
            let runs: Vec<Vec<f64>> = cells.iter().zip(outcomes).filter(of).map(|(_, o)| grids::errors(o)).collect();
            let epochs = runs.iter().map(Vec::len).min().unwrap_or(0);
            let mean = |e: usize| Some(Statistics::of(&runs.iter().map(|run| run[e]).collect::<Vec<f64>>())?.mean);
            let errors = (0..epochs).filter_map(mean).collect();
            all.push(Curve { experiment: grid.name.into(), rule: rule.into(), at, lr: best, errors });
        }
    }
    all
}

/// The learning rate with the smallest mean of `number` over seeds. A rate with a training that diverged is excluded.
pub fn best(
    cells: &[Cell],
    experiment: &str,
    rule: &str,
    at: u64,
    number: &dyn Fn(&Cell) -> Option<f64>,
) -> Option<f64> {
    let mine: Vec<&Cell> =
        cells.iter().filter(|c| c.experiment == experiment && c.rule == rule && c.at == at).collect();
    let mut rates: Vec<f64> = mine.iter().map(|c| c.lr).collect();
    rates.dedup();
    let mean = |lr: f64| {
        let all: Option<Vec<f64>> = mine.iter().filter(|c| c.lr == lr).map(|c| number(c)).collect();
        all.and_then(|all| Statistics::of(&all)).map(|s| s.mean)
    };
    let means = rates.into_iter().filter_map(|lr| mean(lr).map(|mean| (lr, mean)));
    means.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(lr, _)| lr)
}

/// For a rule under a condition: the learning rate with the best mean of `by`, and the values of `shown` per seed at
/// this rate.
pub fn at_best(
    cells: &[Cell],
    (experiment, rule, at): (&str, &str, u64),
    by: &dyn Fn(&Cell) -> Option<f64>,
    shown: &dyn Fn(&Cell) -> Option<f64>,
) -> Option<(f64, Vec<f64>)> {
    let lr = best(cells, experiment, rule, at, by)?;
    let mine = |c: &&Cell| (c.experiment.as_str(), c.rule.as_str(), c.at, c.lr) == (experiment, rule, at, lr);
    let values: Vec<f64> = cells.iter().filter(mine).filter_map(shown).collect();
    (!values.is_empty()).then_some((lr, values))
}

/// The rule that is better for at least four of five seeds. With the same seed, both rules start from the same initial
/// weights and data. Returns "–" if neither is better, and "" if values are missing. With `held`, the rates are
/// selected on held-out images.
pub fn winner(cells: &[Cell], (experiment, at): (&str, u64), held: bool) -> &'static str {
    let by = |c: &Cell| if held { c.held } else { c.score };
    let shown = |c: &Cell| if held { c.chosen } else { c.score };
    let of = |rule| at_best(cells, (experiment, rule, at), &by, &shown);
    let (Some((_, pc)), Some((_, bp))) = (of("pc"), of("bp")) else { return "" };
    let wins = |a: &[f64], b: &[f64]| 5 * a.iter().zip(b).filter(|(a, b)| a < b).count() >= 4 * a.len();
    match (wins(&pc, &bp), wins(&bp, &pc)) {
        (true, _) => "PC",
        (_, true) => "BP",
        _ => "–",
    }
}
