//! Song, Millidge, Salvatori, Lukasiewicz, Xu & Bogacz, "Inferring neural activity before plasticity as a foundation for learning beyond
//! backpropagation" (Nature Neuroscience 2024): where a network that settles before it learns does better than backpropagation, and
//! where it does not.
//!
//! An experiment is a grid of trainings by `zilch train`, one a rule, a condition, a learning rate and a seed. Three numbers come
//! of each grid: the best rate by the test error, as the paper picks it; the best rate by held-out training images, which is what
//! somebody has who does not know the test set; and the curve at the first of these.

use super::piece::{Outcome, Piece, Train, pieces, with_updates};
use super::results::{shares, times, within};
use super::{Checked, Context, Folder, Results, SEEDS};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use zilch::data::tasks::{Subset, Task, Tasks, Tested};
use zilch::device::cpu::{CpuDevice, CpuSession64};
use zilch::error::Result;
use zilch::network::{Init, Network, Weights};
use zilch::random::{Random, Stream};
use zilch::rules::{Options, Rule};
use zilch::train::probe::angle;

/// An experiment that trains.
#[derive(Debug)]
pub struct Experiment {
    /// Its name in files and on the page.
    pub name: &'static str,
    /// The figure of the paper.
    pub figure: &'static str,
    /// What is asked.
    pub title: &'static str,
    /// What the conditions are.
    pub axis: &'static str,
    /// Which number of a training is looked at.
    pub score: Score,
    /// By condition: its rates.
    pub grid: fn() -> Vec<(u64, &'static [f64])>,
    /// Arguments of a training under a condition, without rule and rate.
    pub command: fn(u64) -> String,
    /// Those of predictive coding besides.
    pub settle: &'static str,
    /// Seeds.
    pub seeds: usize,
    /// What was published: condition, PC, BP.
    pub published: &'static [(u64, f64, f64)],
    /// The rate of that figure, where it is not the best one.
    pub published_at: Option<f64>,
}

/// What is made of the test errors of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Score {
    /// The smallest.
    Least,
    /// The mean over epochs, and over tasks where there are several.
    Mean,
}

/// A training of a grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The experiment.
    pub experiment: String,
    /// pc or bp.
    pub rule: String,
    /// The condition.
    pub at: u64,
    /// The learning rate.
    pub lr: f64,
    /// The seed.
    pub seed: u64,
    /// The experiment's score, 0 to 1; none where it diverged.
    pub score: Option<f64>,
    /// The same score of held-out images, where there were some.
    pub held: Option<f64>,
    /// The test error by which somebody is judged who cannot see it: at the epoch that held-out images choose, where the score is
    /// that of one epoch.
    pub chosen: Option<f64>,
    /// Test error after the last epoch.
    pub last: Option<f64>,
    /// Weight updates.
    pub updates: u64,
    /// Seconds that they took.
    pub seconds: f64,
}

/// Test error over epochs, the mean over seeds, at the rate that is best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The experiment.
    pub experiment: String,
    /// pc or bp.
    pub rule: String,
    /// The condition.
    pub at: u64,
    /// The rate.
    pub lr: f64,
    /// After each epoch.
    pub errors: Vec<f64>,
}

/// Figure 3a: a linear chain of 1, 1 and 2 units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interference {
    /// The learning rate.
    pub lr: f64,
    /// pc or bp.
    pub rule: String,
    /// The lowest that the output falls which should stay.
    pub lowest: f64,
}

/// Figure 3e: how straight an update leads to its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alignment {
    /// Layers of weights.
    pub depth: u64,
    /// pc or bp.
    pub rule: String,
    /// Degrees between what the update does to the output and what the target asks for, a seed each.
    pub angles: Vec<f64>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prospective {
    /// Figure 3a.
    pub interference: Vec<Interference>,
    /// Figure 3e.
    pub alignment: Vec<Alignment>,
    /// Every training of the grids.
    pub cells: Vec<Cell>,
    /// The best ones.
    pub curves: Vec<Curve>,
}

/// The deepest network of the alignment.
const DEEPEST: u64 = 1 << 10;
/// What the output of the interference may reach.
const LOWEST: f64 = 1e6;

impl Results for Prospective {
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

/// Held out of each class to choose a rate by.
const HELD: &str = "--hold-out 500";

const SMALL: &str = "--layers 784,32,32,10 --init xavier";

/// Every grid, in the order of the page.
pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "online",
        figure: "4b, c",
        title: "Few examples at a time: the mean test error over 64 times 200 updates",
        axis: "batch",
        score: Score::Mean,
        grid: || {
            vec![
                (1, &[0.05, 0.1, 0.15, 0.2, 0.25, 0.3]),
                (4, &[0.025, 0.05, 0.075, 0.1, 0.15]),
                (16, &[0.005, 0.01, 0.025, 0.05, 0.075]),
                (64, &[0.001, 0.0025, 0.005, 0.01, 0.025]),
            ]
        },
        command: |batch| format!("{SMALL} --batch {batch} --epoch-updates 200 --epochs 64 {HELD}"),
        settle: "--gamma 0.1 --discount 0.5 --steps 63",
        seeds: 3,
        published: &[(1, 0.272, 0.288), (16, 0.193, 0.200)],
        published_at: None,
    },
    Experiment {
        name: "few",
        figure: "4h",
        title: "Few data: the least test error in 64 epochs",
        axis: "images a class",
        score: Score::Least,
        grid: || {
            const FINE: &[f64] = &[0.1, 0.075, 0.05, 0.025, 0.01, 0.0075, 0.005, 0.0025, 0.001, 0.0005];
            // What is best for 600 images a class, and its neighbours.
            const COARSE: &[f64] = &[0.01, 0.005, 0.0025];
            vec![(60, FINE), (300, FINE), (600, FINE), (3000, COARSE), (5500, &[0.005, 0.0025])]
        },
        command: |n| format!("{SMALL} --per-class {n} --test-per-class {n} --batch 60 --epochs 64 {HELD}"),
        settle: "--gamma 1 --discount 0.5 --steps 63",
        seeds: 3,
        published: &[
            (60, 0.248, 0.268),
            (300, 0.178, 0.182),
            (600, 0.167, 0.167),
            (3000, 0.150, 0.139),
            (5500, 0.146, 0.130),
        ],
        published_at: None,
    },
    Experiment {
        name: "continual",
        figure: "4d, e",
        title: "Two tasks in turn, four epochs each, of five classes on the same outputs: the mean test error of both",
        axis: "images a class",
        score: Score::Mean,
        grid: || vec![(600, &[0.005, 0.0025, 0.001, 0.00075, 0.0005, 0.00025])],
        command: |_| "--layers 784,32,32,32,5 --init xavier --batch 500 --epochs 84".into(),
        settle: "--gamma 0.1 --discount 0.9 --steps 63",
        seeds: 21,
        published: &[(600, 0.638, 0.69)],
        published_at: None,
    },
    Experiment {
        name: "drift",
        figure: "4f, g",
        title: "Labels of five classes change places every 64 epochs: the mean test error",
        axis: "images a class",
        score: Score::Mean,
        grid: || vec![(120, &[0.1, 0.05, 0.01])],
        command: |_| format!("{SMALL} --targets -1,1 --batch 32 --epochs 3000"),
        settle: "--gamma 0.1 --discount 0.5 --steps 127",
        seeds: 3,
        published: &[(120, 0.29, 0.405)],
        published_at: Some(0.01),
    },
    Experiment {
        name: "depth",
        figure: "3f–h",
        title: "Deep networks on 60 images a class: the mean test error over 64 epochs",
        axis: "layers of weights",
        score: Score::Mean,
        grid: || {
            const RATES: &[f64] = &[1.0, 0.5, 0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001];
            vec![(4, RATES), (10, RATES), (15, RATES)]
        },
        command: |depth| {
            let hidden = "64,".repeat(depth as usize - 1);
            let init = "--activation leaky-relu --init xavier";
            format!("--layers 784,{hidden}10 {init} --per-class 60 --batch 60 --epochs 64 {HELD}")
        },
        settle: "--gamma 0.1 --discount 0.5 --steps 127",
        seeds: 3,
        published: &[(4, 0.278, 0.29), (10, 0.327, 0.348), (15, 0.417, 0.533)],
        published_at: None,
    },
];

/// Epochs between changes of labels.
const DRIFT: u64 = 64;

/// Rules that are compared: names on the page, and on the command line.
const RULES: [(&str, &str); 2] = [("pc", "il"), ("bp", "bp")];

/// Seeds: the paper's, and then others.
fn seeds(n: usize) -> Vec<u64> {
    SEEDS.into_iter().chain(1..).take(n).collect()
}

impl Experiment {
    /// The command of a training.
    pub fn whole(&self, rule: &str, at: u64, lr: f64) -> String {
        let settle = if rule == "pc" { format!(" {}", self.settle) } else { String::new() };
        let named = RULES.iter().find(|(name, _)| *name == rule).map_or(rule, |(_, named)| named);
        format!("--rule {named}{settle} {} --lr {lr}", (self.command)(at))
    }

    fn piece(&self, (rule, at, lr, seed): (&str, u64, f64, u64), smallest: usize, quick: bool) -> Piece {
        let command = self.whole(rule, at, lr);
        let command = if quick { with_updates(&command, "6") } else { command };
        let (tasks, before) = match self.name {
            "continual" => (Some(two_tasks(seed, at as usize)), None),
            "drift" => {
                let parts = (smallest / at as usize).max(1) as u64;
                let first = format!("--rule bp {SMALL} --targets -1,1 --batch 60 --epochs 64 --lr 0.01");
                (Some(drift(seed, at as usize, parts)), Some(if quick { with_updates(&first, "6") } else { first }))
            }
            _ => (None, None),
        };
        Piece { name: format!("{}-{rule}-{at}-{lr}", self.name), command, seed, tasks, before }
    }

    /// The score of test errors by epoch.
    fn score(&self, errors: &[f64]) -> Option<f64> {
        match self.score {
            Score::Least => errors.iter().copied().reduce(f64::min),
            Score::Mean if errors.is_empty() => None,
            Score::Mean => Some(errors.iter().sum::<f64>() / errors.len() as f64),
        }
    }

    /// The score as held-out images choose it.
    fn chosen(&self, errors: &[f64], held: &[f64]) -> Option<f64> {
        if held.is_empty() || self.score == Score::Mean {
            return self.score(errors).filter(|_| !held.is_empty());
        }
        let least = held.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1))?;
        errors.get(least.0).copied()
    }

    fn cell(&self, (rule, at, lr, seed): (&str, u64, f64, u64), outcome: &Outcome) -> Cell {
        let finished = outcome.stopped.is_none();
        let errors = errors(outcome);
        Cell {
            experiment: self.name.into(),
            rule: rule.into(),
            at,
            lr,
            seed,
            score: self.score(&errors).filter(|_| finished),
            held: self.score(&outcome.held).filter(|_| finished),
            chosen: self.chosen(&errors, &outcome.held).filter(|_| finished),
            last: errors.last().copied().filter(|_| finished),
            updates: outcome.updates,
            seconds: outcome.seconds,
        }
    }
}

/// Test errors by epoch: of the task at hand, or the mean of all where every one was tested.
fn errors(outcome: &Outcome) -> Vec<f64> {
    if outcome.tested.is_empty() {
        return outcome.errors.clone();
    }
    outcome.tested.iter().map(|all| all.iter().sum::<f64>() / all.len().max(1) as f64).collect()
}

/// Ten classes in two tasks of five, at random, on outputs 0 to 4.
fn two_tasks(seed: u64, per_class: usize) -> Tasks {
    let classes: Vec<u8> = Random::new(seed, Stream::Test, 1).permutation(10).iter().map(|c| *c as u8).collect();
    let task = |classes: &[u8]| Task {
        subset: Subset { classes: Some(classes.to_vec()), per_class: Some(per_class), ..Subset::default() },
        epochs: 4,
    };
    Tasks { tasks: classes.chunks(5).map(task).collect(), test: Tested::Every }
}

/// Ten classes, of which the last five change labels among themselves, again and again; each time with other images, as
/// far as there are so many parts of them.
fn drift(seed: u64, per_class: usize, parts: u64) -> Tasks {
    let mut random = Random::new(seed, Stream::Test, 2);
    let mut task = |k: u64| {
        let moved = random.permutation(5).into_iter().map(|l| 5 + l as u8);
        let subset = Subset {
            classes: None,
            labels: Some((0..5).chain(moved).collect()),
            per_class: Some(per_class),
            skip: Some((k % parts) as usize * per_class),
            test_per_class: Some(100),
        };
        Task { subset, epochs: DRIFT }
    };
    Tasks { tasks: (0..3000_u64.div_ceil(DRIFT)).map(&mut task).collect(), test: Tested::Current }
}

/// Runs everything; what is in the folder already is not made again.
///
/// # Errors
/// Those of training.
pub fn run(context: &Context<'_>, folder: &Folder, train: &Train<'_>) -> Result<Prospective> {
    let (interference, alignment) = match folder.read::<(Vec<Interference>, Vec<Alignment>)>("exact.json") {
        Some(known) => known,
        None => {
            let made = (interference()?, alignment(context)?);
            folder.write("exact.json", &made)?;
            made
        }
    };
    let mut all = Vec::new();
    for experiment in EXPERIMENTS {
        let mut grid = (experiment.grid)();
        let mut seeds = seeds(experiment.seeds);
        if context.quick {
            grid.truncate(1);
            grid[0].1 = &grid[0].1[..1];
            seeds.truncate(1);
        }
        for (at, rates) in grid {
            for (rule, _) in RULES {
                let one = |lr: &f64| seeds.iter().map(|seed| (rule, at, *lr, *seed)).collect::<Vec<_>>();
                all.extend(rates.iter().flat_map(one).map(|key| (experiment, key)));
            }
        }
    }
    let train_set = &context.data.train;
    let size = |class: usize| train_set.labels().iter().filter(|l| usize::from(**l) == class).count();
    let smallest = (0..train_set.classes()).map(size).filter(|n| *n > 0).min().unwrap_or(0);
    let todo: Vec<Piece> = all.iter().map(|(e, key)| e.piece(*key, smallest, context.quick)).collect();
    let outcomes = pieces(context, folder, &todo, train)?;
    let cells: Vec<Cell> = all.iter().zip(&outcomes).map(|((e, key), outcome)| e.cell(*key, outcome)).collect();
    let curves = EXPERIMENTS.iter().flat_map(|e| curves(e, &cells, &outcomes)).collect();
    Ok(Prospective { interference, alignment, cells, curves })
}

/// The curves of an experiment at its best rates.
fn curves(experiment: &Experiment, cells: &[Cell], outcomes: &[Outcome]) -> Vec<Curve> {
    let mut all = Vec::new();
    for (at, _) in (experiment.grid)() {
        for (rule, _) in RULES {
            let Some(best) = best(cells, experiment.name, rule, at, &|c| c.score) else { continue };
            let of = |(cell, _): &(&Cell, &Outcome)| {
                (cell.experiment.as_str(), cell.rule.as_str(), cell.at, cell.lr) == (experiment.name, rule, at, best)
            };
            let runs: Vec<Vec<f64>> = cells.iter().zip(outcomes).filter(of).map(|(_, o)| errors(o)).collect();
            let epochs = runs.iter().map(Vec::len).min().unwrap_or(0);
            let mean = |e: usize| runs.iter().map(|run| run[e]).sum::<f64>() / runs.len() as f64;
            let errors = (0..epochs).map(mean).collect();
            all.push(Curve { experiment: experiment.name.into(), rule: rule.into(), at, lr: best, errors });
        }
    }
    all
}

/// The rate whose mean over seeds is the least, by a number of each training; one that diverged rules its rate out.
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
        all.filter(|all| !all.is_empty()).map(|all| all.iter().sum::<f64>() / all.len() as f64)
    };
    let means = rates.into_iter().filter_map(|lr| mean(lr).map(|mean| (lr, mean)));
    means.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(lr, _)| lr)
}

/// What a rule comes to under a condition, a seed each: at the rate that a number is best at, the values of another.
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

/// Who is better with at least four of five seeds, under which both begin alike and see the same; "–" where nobody is, "" where
/// that is not known. `held`: rates as held-out images choose them.
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

/// A rule's options in the exact experiments.
fn options(rule: &str, lr: f64, moments: u32) -> Options {
    if rule == "bp" {
        return Options { alpha: lr, ..Options::new(Rule::BP) };
    }
    let mut options = Options { alpha: lr, gamma: Some(0.1), steps: Some(moments - 1), ..Options::new(Rule::IL) };
    options.own.insert("discount".into(), 0.5);
    options
}

/// A session of a linear network on batches of one, given as numbers. Float64: near its minimum an energy in float32 no longer
/// falls while the values are still 10⁻⁴ from rest, and γ is cut down too early.
fn session(network: &Network, options: &Options, weights: &Weights) -> Result<CpuSession64> {
    CpuDevice::new(Some(1))?.session_f64(&options.plan(network)?, 1, super::blank(network)?, weights)
}

/// x → θ² x → θ¹ θ² x of a linear chain.
fn linear(theta: &[Array2<f64>], input: &Array2<f32>) -> Array2<f64> {
    theta.iter().rev().fold(input.mapv(f64::from), |x, theta| x.dot(&theta.t()))
}

/// Figure 3a, d: two outputs see one input. The first should fall to 0, the second stay at 1; how low does that fall meanwhile?
///
/// # Errors
/// Those of a session.
pub fn interference() -> Result<Vec<Interference>> {
    let network = Network::new(&[1, 1, 2])?.with_activation(zilch::Activation::Identity);
    let ones = Weights { theta: vec![Array2::ones((2, 1)), Array2::ones((1, 1))], bias: Vec::new() };
    let (input, target) = (Array2::ones((1, 1)), Array2::from_shape_fn((1, 2), |(_, j)| j as f32));
    let mut all = Vec::new();
    for lr in [0.1, 0.005] {
        for (rule, _) in RULES {
            let mut session = session(&network, &options(rule, lr, 128), &ones)?;
            let mut lowest = f64::INFINITY;
            for _ in 0..2048 {
                session.step(&input, &target);
                lowest = lowest.min(linear(&session.weights_f64().0, &input)[(0, 1)]);
            }
            all.push(Interference { lr, rule: rule.into(), lowest });
        }
    }
    Ok(all)
}

/// Figure 3e: linear networks of 64 units a layer, one update on one random input and target.
fn alignment(context: &Context<'_>) -> Result<Vec<Alignment>> {
    let (deepest, count) = if context.quick { (2, 2) } else { (24, 27) };
    let depths: Vec<(u64, &str)> = (1..=deepest).flat_map(|d| RULES.map(|(rule, _)| (d, rule))).collect();
    super::parallel(context, &depths, |&(depth, rule)| {
        let network = Network::new(&vec![64; depth as usize + 1])?.with_activation(zilch::Activation::Identity);
        let mut angles = Vec::new();
        let blank = Weights::zeros(&network);
        let mut session = session(&network, &options(rule, 0.001, 512), &blank)?;
        for seed in seeds(count) {
            context.check()?;
            session.load(&Weights::drawn(&network, seed, Init::Xavier));
            let mut random = Random::new(seed, Stream::Test, 3);
            let mut normal = || Array2::from_shape_simple_fn((1, 64), || random.normal() as f32);
            let (input, target) = (normal(), normal());
            let before = linear(&session.weights_f64().0, &input);
            session.step(&input, &target);
            let after = linear(&session.weights_f64().0, &input);
            angles.extend(angle(&(after - &before), &(target.mapv(f64::from) - &before)));
        }
        Ok(Alignment { depth, rule: rule.into(), angles })
    })
}
