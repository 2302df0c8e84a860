//! The CPU device: the same program as the GPU's, by a twin of every kernel.
//!
//! A session owns all its memory from the start: an update allocates nothing.

mod activation;
mod error;
mod gate;
mod gather;
mod infer;
mod learn;
mod matrix;
mod perturb;
mod predict;
mod product;
mod real;
mod score;
mod state;
mod team;

use crate::data::{Data, Dataset, Set};
use crate::device::{Score, check_session};
use crate::error::{Error, Result};
use crate::network::{Network, Weights};
use crate::plan::{Plan, Slot};
use crate::program::{ErrorNode, Pass, Perturb, Predict, Program};
use crate::random::{Random, Stream};
use matrix::Matrix;
use ndarray::{Array1, Array2};
use real::Real;
use state::{Exec, Layer, Params};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use team::Team;

/// The most threads of a device.
const MAX_THREADS: usize = 1024;
/// Samples that an evaluation predicts at a time.
const EVAL_BATCH: usize = 256;

/// The CPU, with the threads that large kernels may use.
#[derive(Clone)]
pub struct CpuDevice {
    team: Arc<Team>,
}

impl CpuDevice {
    /// A device of `threads` threads; `None` for one a core.
    ///
    /// # Errors
    /// [`Error::Usage`] when the number is zero or absurd, or the threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let threads = threads_of(threads)?;
        let team = Team::new(threads).map_err(|e| Error::usage(format!("cannot start {threads} threads: {e}")))?;
        Ok(CpuDevice { team: Arc::new(team) })
    }

    /// Threads that large kernels may use.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// The vector unit the kernels were compiled for and run on.
    pub fn simd() -> String {
        // pulp names a level (V4, V3, Neon, Scalar …) and then its feature tokens.
        let name = format!("{:?}", pulp::Arch::new());
        match name.split(['(', ' ', '{']).next().unwrap_or_default() {
            "V4" => "AVX-512".into(),
            "V3" => "AVX2 + FMA".into(),
            other => other.to_owned(),
        }
    }

    /// The matrix products in use.
    pub fn products() -> &'static str {
        "zilch register tiles over panels of 32 columns"
    }

    /// See [`crate::device::Device::fits`].
    pub(crate) fn fits(&self, network: &Network, batch: usize, evaluates: bool) -> Result<()> {
        check_memory::<f32>(network, batch, self.threads(), evaluates)
    }

    /// A session that trains by `plan` on `data`, in float32.
    ///
    /// # Errors
    /// [`Error::Limit`] when it needs more memory than the machine has free; [`Error::Usage`] and
    /// [`Error::Data`] for a plan, batch, weights or data that do not fit.
    pub fn session(&self, plan: &Plan, batch: usize, data: Arc<Data>, weights: &Weights) -> Result<CpuSession> {
        check_session(plan, batch, weights)?;
        data.fits(&plan.network)?;
        CpuSession::new(self, plan, batch, data, weights)
    }

    /// The same in float64: the yardstick of the tests.
    ///
    /// # Errors
    /// As [`CpuDevice::session`].
    pub fn session_f64(&self, plan: &Plan, batch: usize, data: Arc<Data>, weights: &Weights) -> Result<CpuSession64> {
        check_session(plan, batch, weights)?;
        data.fits(&plan.network)?;
        CpuSession64::new(self, plan, batch, data, weights)
    }
}

/// Training in float32.
pub type CpuSession = Session<f32>;
/// Training in float64.
pub type CpuSession64 = Session<f64>;

/// A network in training on the CPU.
#[allow(private_bounds, reason = "the two precisions are a closed set, named by CpuSession and CpuSession64")]
pub struct Session<T: Real> {
    /// All threads, for kernels that are shared out.
    exec: Exec,
    /// The calling thread, for kernels on one shard.
    alone: Exec,
    team: Arc<Team>,
    plan: Plan,
    program: Program,
    batch: usize,
    data: Arc<Data>,
    /// The batch. A small network has a shard a thread: samples meet only where weights are learnt. A larger
    /// one has a single shard, and its kernels are shared out instead.
    shards: Vec<Shard<T>>,
    sharing: Sharing,
    /// `params[l]` holds θ^{l+1}.
    params: Vec<Params<T>>,
    /// The parameters at the last [`Session::save`].
    saved: Vec<Params<T>>,
    saved_updates: u64,
    updates: u64,
    /// Slots for evaluation, made when it is first asked for.
    eval: Vec<Layer<T>>,
}

#[allow(private_bounds, reason = "the two precisions are a closed set, named by CpuSession and CpuSession64")]
impl<T: Real> Session<T> {
    fn new(device: &CpuDevice, plan: &Plan, batch: usize, data: Arc<Data>, weights: &Weights) -> Result<Self> {
        let network = &plan.network;
        check_memory::<T>(network, batch, device.threads(), false)?;
        let params: Vec<Params<T>> = (1..=network.lmax()).map(|l| Params::new(network, weights, l)).collect();
        let shards = Shard::of(network, batch, device.threads());
        Ok(Session {
            exec: Exec::team(&device.team, if shards.len() > 1 { shards.len() } else { device.threads() }),
            alone: Exec::alone(),
            team: Arc::clone(&device.team),
            plan: plan.clone(),
            program: Program::new(plan),
            batch,
            data,
            shards,
            sharing: Sharing::new(),
            saved: params.clone(),
            params,
            saved_updates: 0,
            updates: 0,
            eval: Vec::new(),
        })
    }

    /// Makes one weight update for every `batch` samples that `order` names, in order.
    ///
    /// # Panics
    /// When `order` names a sample that is not in the training set.
    pub fn run(&mut self, order: &[u32]) {
        let team = Arc::clone(&self.team);
        // Of larger networks every update is shared out; of small ones, where that pays on this machine, today.
        let small = self.shards.len() > 1;
        let mut awake = None;
        let mut rest = order;
        while rest.len() >= self.batch {
            let shared = self.sharing.shared;
            let threads = if shared { self.exec.threads() } else { 1 };
            if awake.as_ref().is_none_or(|(were, _)| *were != threads) {
                awake = Some((threads, team.gather(threads)));
            }
            let updates = if small { self.sharing.left() } else { usize::MAX }.min(rest.len() / self.batch);
            let (now, later) = rest.split_at(updates * self.batch);
            let start = Instant::now();
            for (i, samples) in now.chunks_exact(self.batch).enumerate() {
                let next = rest.get((i + 1) * self.batch..(i + 2) * self.batch).unwrap_or_default();
                self.update(samples, next, shared);
            }
            if small {
                self.sharing.took(updates, start.elapsed());
            }
            rest = later;
        }
    }

    /// Refuses an order that names a sample which is not there.
    pub(crate) fn check_order(&self, order: &[u32]) -> Result<()> {
        let samples = self.data.train.len();
        match order.iter().find(|&&s| s as usize >= samples) {
            Some(bad) => Err(Error::usage(format!("sample {bad} was asked for; the set has {samples}"))),
            None => Ok(()),
        }
    }

    /// One weight update on these samples, before one on the `next` ones.
    fn update(&mut self, samples: &[u32], next: &[u32], shared: bool) {
        let Session { exec, alone, plan, program, data, shards, params, updates, .. } = self;
        let alone = &*alone;
        let exec = if shared { &*exec } else { alone };
        let alpha = T::from_f64(if plan.mean { plan.alpha / self.batch as f64 } else { plan.alpha });
        let mut noise = None;
        let mut passes = &program.passes[..];
        let mut gathered = false;
        loop {
            // The passes up to the next one in which samples meet; the batch is gathered with the first ones.
            let own = passes.iter().take_while(|p| !matches!(p, Pass::Learn(_) | Pass::Perturb(_))).count();
            let (stretch, rest) = passes.split_at(own);
            on_shards(exec, alone, shards, |exec, shard| {
                if !gathered {
                    let part = shard.samples.clone();
                    let order = (&samples[part.clone()], next.get(part).unwrap_or_default());
                    gather_into(exec, &plan.network, &data.train, order, &mut shard.layers);
                }
                run_passes(exec, plan, params, &mut shard.layers, stretch);
            });
            gathered = true;
            match rest.first() {
                Some(Pass::Learn(jobs)) => learn::learn(exec, jobs, shards, params, alpha),
                Some(Pass::Perturb(jobs)) => {
                    let noise = noise.get_or_insert_with(|| Random::new(plan.seed, Stream::Perturb, *updates));
                    for Perturb { layer: l } in jobs {
                        for shard in &mut *shards {
                            perturb::perturb(exec, &mut shard.layers[*l], plan.network.drive(*l), plan.sigma, noise);
                        }
                    }
                }
                _ => break,
            }
            passes = &rest[1..];
        }
        *updates += 1;
    }

    /// Weight updates made so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The weights, rounded to float32.
    pub fn weights(&self) -> Weights {
        let theta = self.params.iter().map(Params::theta);
        let bias = self.params.iter().filter_map(|p| p.bias.as_ref());
        Weights { theta: theta.collect(), bias: bias.map(|b| b.to_array().row(0).mapv(|v| v as f32)).collect() }
    }

    /// θ^1 .. θ^{lmax} in float64, [n^{l−1}, n^l], and the biases.
    pub fn weights_f64(&self) -> (Vec<Array2<f64>>, Vec<Array1<f64>>) {
        let bias = self.params.iter().filter_map(|p| p.bias.as_ref());
        (self.params.iter().map(Params::theta_f64).collect(), bias.map(|b| b.to_array().row(0).to_owned()).collect())
    }

    /// Replaces the weights, and forgets what was saved.
    pub fn load(&mut self, weights: &Weights) {
        let network = &self.plan.network;
        self.params = (1..=network.lmax()).map(|l| Params::new(network, weights, l)).collect();
        self.save();
    }

    /// Keeps a copy of the weights, for [`Session::restore`].
    pub fn save(&mut self) {
        self.saved.clone_from(&self.params);
        self.saved_updates = self.updates;
    }

    /// Goes back to the weights of the last [`Session::save`].
    pub fn restore(&mut self) {
        self.params.clone_from(&self.saved);
        self.updates = self.saved_updates;
    }

    /// The first layer l whose θ^l or b^l is not finite, and which of them it is.
    pub fn not_finite(&self) -> Option<(usize, &'static str)> {
        (1..).zip(&self.params).find_map(|(l, p)| match p.finite() {
            (false, _) => Some((l, "the weights")),
            (_, false) => Some((l, "the biases")),
            _ => None,
        })
    }

    /// What a slot held at the end of the last update, [batch, n^l].
    ///
    /// # Panics
    /// For slots that are not kept for reading (φ, θ).
    pub fn slot(&self, slot: Slot) -> Array2<f64> {
        let parts: Vec<Array2<f64>> = self.shards.iter().map(|shard| shard.slot(slot)).collect();
        let parts: Vec<_> = parts.iter().map(|part| part.view()).collect();
        ndarray::concatenate(ndarray::Axis(0), &parts).expect("parts of one width")
    }

    /// Predicts every sample of a set, and counts errors and energy.
    pub fn score(&mut self, set: Set) -> Score {
        let data = Arc::clone(&self.data);
        let dataset = data.set(set);
        let network = &self.plan.network;
        let lmax = network.lmax();
        let mut score = Score::default();
        let order: Vec<u32> = (0..dataset.len() as u32).collect();
        if self.eval.is_empty() {
            self.eval = (0..=lmax).map(|l| Layer::new(network, l, EVAL_BATCH, true)).collect();
        }
        let program = Program::prediction(lmax);
        let team = Arc::clone(&self.team);
        let _awake = team.gather(team.threads());
        for samples in order.chunks(EVAL_BATCH) {
            gather_into(&self.exec, network, dataset, (samples, &[]), &mut self.eval);
            run_passes(&self.exec, &self.plan, &self.params, &mut self.eval, &program.passes);
            let labels = samples.iter().map(|&s| dataset.labels()[s as usize]);
            score::score(&self.eval[0].mu, labels, &mut score);
        }
        score
    }
}

/// Whether a small network's updates are shared out over threads. That costs some cache misses between
/// processors, which are cheap within one chip's cache and dear across two: both ways are timed, on updates
/// that have to be made anyway, and compared again from time to time. The bits are the same.
struct Sharing {
    /// The way of the trial under way.
    shared: bool,
    /// Its updates so far, and their time.
    updates: usize,
    time: Duration,
    /// The last two trials alone, and shared. The better counts: one that the system interrupted says nothing.
    took: [[Duration; 2]; 2],
    /// Trials made, since the other way was last tried.
    trials: u32,
    /// Trials after which it is tried again.
    again: u32,
}

impl Sharing {
    /// Updates of a trial.
    const TRIAL: usize = 32;
    /// Bounds of `again`: it doubles as long as the way stays the same.
    const AGAIN: [u32; 2] = [4, 256];

    fn new() -> Self {
        let unknown = [Duration::MAX; 2];
        Sharing { shared: true, updates: 0, time: Duration::ZERO, took: [unknown; 2], trials: 0, again: Self::AGAIN[0] }
    }

    /// Updates that the trial under way still takes.
    fn left(&self) -> usize {
        Self::TRIAL - self.updates
    }

    /// So many more updates of the trial took so long; when it is over, the next way is chosen.
    fn took(&mut self, updates: usize, time: Duration) {
        (self.updates, self.time) = (self.updates + updates, self.time + time);
        if self.updates < Self::TRIAL {
            return;
        }
        let last = &mut self.took[usize::from(self.shared)];
        *last = [last[1], std::mem::take(&mut self.time)];
        (self.updates, self.trials) = (0, self.trials + 1);
        let [alone, shared] = self.took.map(|last| last[0].min(last[1]));
        let best = shared <= alone;
        if self.trials < self.again {
            self.shared = best;
        } else if self.trials == self.again {
            // Twice the way that is thought to be slower.
            self.shared = !best;
        } else if self.trials > self.again + 1 {
            let [fewest, most] = Self::AGAIN;
            let same = best != self.shared;
            (self.shared, self.trials) = (best, 0);
            self.again = if same { (2 * self.again).min(most) } else { fewest };
        }
    }
}

/// Samples of a batch, with slots of their own.
pub(crate) struct Shard<T> {
    /// Which of the batch's.
    samples: Range<usize>,
    /// `layers[l]` holds the slots of layer l.
    layers: Vec<Layer<T>>,
}

/// Samples that a shard has at least: fewer would leave a register tile half empty.
const SHARD: usize = 8;

impl<T: Real> Shard<T> {
    /// The shards of a batch: one, or for small networks nearly equal ones, one a thread.
    fn of(network: &Network, batch: usize, threads: usize) -> Vec<Self> {
        let small = network.parameters() <= state::SMALL;
        let shards = if small { (batch / SHARD).clamp(1, threads) } else { 1 };
        let part = |s: usize| s * batch / shards..(s + 1) * batch / shards;
        let layers = |rows: usize| (0..=network.lmax()).map(|l| Layer::new(network, l, rows, false)).collect();
        (0..shards).map(|s| Shard { samples: part(s), layers: layers(part(s).len()) }).collect()
    }

    fn slot(&self, slot: Slot) -> Array2<f64> {
        match slot {
            Slot::X(l) => self.layers[l].x.to_array(),
            Slot::Mu(l) => self.layers[l].mu.to_array(),
            Slot::Eps(l) => self.layers[l].eps.to_array(),
            Slot::Phi(_) | Slot::Theta(_) => panic!("{slot} is no [batch, n] slot of real numbers"),
        }
    }
}

/// Does `task` for each shard: a single one with kernels shared out, several each on a thread.
fn on_shards<T: Real>(exec: &Exec, alone: &Exec, shards: &mut [Shard<T>], task: impl Fn(&Exec, &mut Shard<T>) + Sync) {
    match shards {
        [shard] => task(exec, shard),
        _ => exec.each_of(shards, |shard| task(alone, shard)),
    }
}

/// Passes in which no sample meets another.
fn run_passes<T: Real>(exec: &Exec, plan: &Plan, params: &[Params<T>], layers: &mut [Layer<T>], passes: &[Pass]) {
    for (i, pass) in passes.iter().enumerate() {
        // Error nodes right after their predictions are made with them.
        let before = i.checked_sub(1).map(|i| &passes[i]);
        let errors = match passes.get(i + 1) {
            Some(Pass::Error(errors)) => &errors[..],
            _ => &[],
        };
        run_pass(exec, plan, params, layers, (before, pass, errors));
    }
}

/// One of them, after the pass before it and before these error nodes.
fn run_pass<T: Real>(
    exec: &Exec,
    plan: &Plan,
    params: &[Params<T>],
    layers: &mut [Layer<T>],
    (before, pass, errors): (Option<&Pass>, &Pass, &[ErrorNode]),
) {
    let network = &plan.network;
    match pass {
        Pass::Predict(jobs) => jobs.iter().for_each(|job| {
            let l = job.layer;
            let (low, high) = layers.split_at_mut(l + 1);
            let then = errors.iter().find(|error| error.layer == l && !job.settle).copied();
            predict::predict(exec, *job, then, &mut low[l], &high[0], &params[l], network.drive(l));
        }),
        Pass::Error(jobs) => jobs.iter().for_each(|job| {
            let made = |p: &Predict| p.layer == job.layer && !p.settle;
            if !matches!(before, Some(Pass::Predict(predicted)) if predicted.iter().any(made)) {
                error::error(exec, *job, &mut layers[job.layer]);
            }
        }),
        // From the input down: a layer reads what the one below it fired a step before.
        Pass::Gate(jobs) => jobs.iter().rev().for_each(|job| {
            let (low, high) = layers.split_at_mut(job.layer);
            let lower = low.last().map(|lower| &lower.spike[..]);
            gate::gate(exec, *job, &mut high[0], lower, plan.td);
        }),
        Pass::Infer(jobs) => jobs.iter().for_each(|job| {
            let l = job.layer;
            let (low, high) = layers.split_at_mut(l);
            let gamma = T::from_f64(plan.gamma);
            infer::infer(exec, *job, &mut high[0], &mut low[l - 1], &params[l - 1], network.drive(l), gamma);
        }),
        Pass::Perturb(_) | Pass::Learn(_) => unreachable!("samples meet in these passes"),
    }
}

fn gather_into<T: Real>(
    exec: &Exec,
    network: &Network,
    data: &Dataset,
    samples: (&[u32], &[u32]),
    layers: &mut [Layer<T>],
) {
    let lmax = network.lmax();
    let (output, input) = layers.split_at_mut(lmax);
    gather::gather(exec, data, samples, network.drive(lmax), &mut output[0], &mut input[0]);
}

/// Refuses a network whose slots and parameters exceed the memory this machine has free.
fn check_memory<T: Real>(network: &Network, batch: usize, threads: usize, evaluates: bool) -> Result<()> {
    let slots: u64 = (0..=network.lmax()).map(|l| Layer::<T>::bytes(network, l, batch)).sum();
    // x, f(x) and μ.
    let eval: u64 = (0..=network.lmax()).map(|l| 3 * Matrix::<T>::bytes(EVAL_BATCH, network.n(l))).sum();
    let slots = slots + if evaluates { eval } else { 0 };
    let parameters: u64 = (1..=network.lmax()).map(|l| Params::<T>::bytes(network, l)).sum();
    let scratch = threads as u64 * Params::<T>::scratch(batch) * size_of::<T>() as u64;
    let needed = slots.saturating_add(parameters).saturating_add(scratch);
    match free_memory() {
        Some(available) if needed > available => Err(Error::Limit {
            what: format!("training {network} with batch {batch} on the CPU"),
            needed: needed >> 20,
            available: available >> 20,
            unit: "MiB",
            holder: "this machine's free memory".into(),
            advice: "choose smaller --layers or a smaller --batch".into(),
        }),
        _ => Ok(()),
    }
}

/// As many threads as were asked for, or one a core.
///
/// # Errors
/// [`Error::Usage`] for none, or absurdly many.
pub fn threads_of(asked: Option<usize>) -> Result<usize> {
    let all = || std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let threads = asked.unwrap_or_else(all);
    if threads == 0 || threads > MAX_THREADS {
        return Err(Error::usage(format!("--threads must lie in 1 to {MAX_THREADS}; {threads} given")));
    }
    Ok(threads)
}

/// The processor's name, where the system tells.
pub fn model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split(':').nth(1));
    name.map_or_else(|| format!("{} CPU", std::env::consts::ARCH), |n| n.trim().to_owned())
}

/// Bytes of memory that can be had without swapping, where the system tells.
pub(crate) fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
