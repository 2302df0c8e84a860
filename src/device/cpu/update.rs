//! One update: stages in which each shard is independent, and launches that combine samples.

use super::State;
use super::change;
use super::fused_kernels::Kernels;
use super::gather::{self, Changed};
use super::job::{CpuJob, CpuLaunch, Shared, reduced};
use super::matrix::{Lines, Matrix, PANEL};
use super::parallel::Parallel;
use super::storage::{Index, Shard};
use crate::data::Dataset;
use crate::lower::{Kind, Pass, Work};
use crate::plan::{Domain, Draw, Plan, Reduction};
use crate::random::{Counter, Random, Stream};
use std::sync::atomic::{AtomicBool, Ordering};

/// A part of an update.
pub(super) enum Phase<T> {
    /// Launches in which each sample is independent; each list runs the given number of times.
    PerSample(Vec<(u32, Vec<CpuLaunch<T>>)>),
    /// A launch that must run across all shards; see [`CpuLaunch::combines_samples`].
    Combined(CpuLaunch<T>),
    /// Stages that run the given number of times.
    Repeat(u32, Vec<Phase<T>>),
}

/// A running update.
pub(super) struct Update<'a, T> {
    pub(super) exec: &'a Parallel,
    pub(super) serial: &'a Parallel,
    pub(super) plan: &'a Plan,
    pub(super) data: &'a Dataset,
    pub(super) input: usize,
    pub(super) target: usize,
    /// The samples of this update and of the next one; `None` after the batch has been gathered.
    pub(super) order: Option<(&'a [u32], &'a [u32])>,
    /// The augmentation of the images of this update.
    pub(super) changed: Option<Changed>,
    pub(super) params: &'a [T],
    pub(super) counter: Counter,
    pub(super) normal: Option<Random>,
    pub(super) updates: u64,
    /// Set to interrupt the update.
    pub(super) stop: &'a AtomicBool,
}

impl<T: Kernels> Update<'_, T> {
    /// Runs a stage. Returns false if it was interrupted.
    #[must_use]
    pub(super) fn stage(
        &mut self,
        stage: &Phase<T>,
        shards: &mut [Shard<T>],
        state: &mut State<T>,
        sums: &mut Matrix<T>,
    ) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            return false;
        }
        match stage {
            Phase::PerSample(launches) => self.per_sample(launches, shards, state),
            Phase::Combined(launch) => {
                if self.order.is_some() && !self.per_sample(&[], shards, state) {
                    return false;
                }
                self.combined(launch, shards, state, sums);
                true
            }
            Phase::Repeat(times, stages) => {
                (0..*times).all(|_| stages.iter().all(|stage| self.stage(stage, shards, state, sums)))
            }
        }
    }

    /// Runs launches on each shard independently. Before the first launch of an update it gathers the batch.
    fn per_sample(&mut self, launches: &[(u32, Vec<CpuLaunch<T>>)], shards: &mut [Shard<T>], state: &State<T>) -> bool {
        let stopped = AtomicBool::new(false);
        let order = self.order.take();
        let (plan, counter, params) = (self.plan, self.counter, self.params);
        let shared = Shared { connections: &state.connections, vectors: &state.vectors, params, counter };
        on_shards(self.exec, self.serial, shards, |exec, shard| {
            if let Some((samples, next)) = order {
                let part = shard.samples.clone();
                let order = (&samples[part.clone()], next.get(part).unwrap_or_default());
                gather::gather(exec, self.data, order, plan, (self.input, self.target), self.changed, shard);
            }
            if !run_per_sample(exec, shard, shared, launches, self.stop) {
                stopped.store(true, Ordering::Relaxed);
            }
        });
        !stopped.into_inner()
    }

    /// Runs a launch that combines samples.
    fn combined(&mut self, launch: &CpuLaunch<T>, shards: &mut [Shard<T>], state: &mut State<T>, sums: &mut Matrix<T>) {
        match launch.kind {
            Kind::OuterProduct => change::change(self.exec, &launch.jobs, shards, state, self.params, sums),
            Kind::Connections => {
                for job in &launch.jobs {
                    change::elements(self.exec, job, state, self.params);
                }
            }
            _ => {
                for job in &launch.jobs {
                    match job.about.work {
                        Work::Draw(Draw::Normal { sd }) => self.normal(sd, job.writes()[0] as usize, shards),
                        Work::Reduce { from, how } if job.is_shared() => {
                            reduce_shared(self.exec, how, self.plan.slot(from.slot).home, job, shards, state);
                        }
                        _ if job.is_shared() => {
                            let slots = std::mem::take(&mut state.vectors);
                            let outputs = std::array::from_fn(|_| Lines::default());
                            let mut all = Shard { samples: 0..1, slots, outputs, transposed: Vec::new() };
                            let (connections, counter) = (&state.connections[..], self.counter);
                            let shared = Shared { connections, vectors: &[], params: self.params, counter };
                            job.run(self.serial, &mut all, shared);
                            state.vectors = all.slots;
                        }
                        _ => {
                            let (params, counter) = (self.params, self.counter);
                            let (connections, vectors) = (&state.connections[..], &state.vectors[..]);
                            let shared = Shared { connections, vectors, params, counter };
                            for shard in &mut *shards {
                                job.run(self.serial, shard, shared);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Draws normal random numbers in order of samples and units, from one stream per update.
    fn normal(&mut self, sd: f64, to: usize, shards: &mut [Shard<T>]) {
        let (seed, updates) = (self.plan.task.seed, self.updates);
        let random = self.normal.get_or_insert_with(|| Random::new(seed, Stream::Perturb, updates));
        for shard in shards {
            let to = &mut shard.slots[to];
            for i in 0..to.rows {
                for j in 0..to.cols {
                    to.set(i, j, T::from_f64(sd * random.normal()));
                }
            }
        }
    }
}

/// A reduction to a slot without a sample axis: over the batch, over rows of weights, or over units. Values are reduced
/// in order.
fn reduce_shared<T: Kernels>(
    exec: &Parallel,
    how: Reduction,
    home: Domain,
    job: &CpuJob<T>,
    shards: &[Shard<T>],
    state: &mut State<T>,
) {
    let (from, to) = (job.operands()[0], job.writes()[0] as usize);
    let mut result = std::mem::take(&mut state.vectors[to]);
    match home {
        Domain::Units(_) => {
            let rows = |shard: &Shard<T>| shard.slots[from].rows;
            for j in 0..result.cols {
                let column = shards.iter().flat_map(|s| (0..rows(s)).map(move |i| s.slots[from].get(i, j)));
                result.set(0, j, reduced(how, column));
            }
        }
        Domain::Samples(_) => {
            let numbers = shards.iter().flat_map(|s| (0..s.samples.len()).map(move |i| s.slots[from].get(0, i)));
            result.set(0, 0, reduced(how, numbers));
        }
        Domain::Connections(_) => {
            let (weights, n) = (&state.connections[from].transposed, result.cols);
            let rows = result.data_mut().chunks_exact_mut(PANEL);
            exec.each_of(&mut rows.enumerate().collect::<Vec<_>>(), |(q, to)| {
                let width = (n - *q * PANEL).min(PANEL);
                match reduce_rows(how, weights.panel(*q)) {
                    Some(all) => to[..width].copy_from_slice(&all[..width]),
                    None => (0..width).for_each(|i| {
                        let row = (0..weights.rows).map(|j| weights.get(j, *q * PANEL + i));
                        to[i] = reduced(how, row);
                    }),
                }
            });
        }
        Domain::Vector(_) | Domain::BatchScalar(_) => {
            let all = &state.vectors[from];
            result.set(0, 0, reduced(how, (0..all.cols).map(|j| all.get(0, j))));
        }
    }
    state.vectors[to] = result;
}

/// Reduces 32 rows of weights at once. The values of a row are reduced in order. `transposed` is a panel of Wᵀ, [n of
/// the layer above, 32], read in memory order. `None` for reductions that need more than one accumulator per row.
fn reduce_rows<T: Kernels>(how: Reduction, transposed: &[T]) -> Option<[T; PANEL]> {
    match how {
        Reduction::Sum => Some(columns([T::ZERO; PANEL], transposed, |sum, v| sum + v)),
        Reduction::Squares => Some(columns([T::ZERO; PANEL], transposed, |sum, v| sum + v * v)),
        Reduction::Max => {
            let first = transposed.first_chunk::<PANEL>()?;
            Some(columns(*first, transposed, |most, v| if v > most { v } else { most }))
        }
        Reduction::Argmax | Reduction::Top(_) => None,
    }
}

/// Folds the rows of a panel into 32 accumulators.
fn columns<T: Kernels>(mut all: [T; PANEL], transposed: &[T], step: impl Fn(T, T) -> T) -> [T; PANEL] {
    for column in transposed.chunks_exact(PANEL) {
        for (to, v) in all.iter_mut().zip(column) {
            *to = step(*to, *v);
        }
    }
    all
}

/// Runs launches in which each sample is independent, until `stop` is set. Returns whether all ran.
#[must_use]
pub(super) fn run_per_sample<T: Kernels>(
    exec: &Parallel,
    shard: &mut Shard<T>,
    shared: Shared<'_, T>,
    launches: &[(u32, Vec<CpuLaunch<T>>)],
    stop: &AtomicBool,
) -> bool {
    for (times, launches) in launches {
        for _ in 0..*times {
            let mut jobs = launches.iter().flat_map(|launch| &launch.jobs).peekable();
            while let Some(job) = jobs.next() {
                if stop.load(Ordering::Relaxed) {
                    return false;
                }
                // A kernel evicts the record of the next job from the L1 cache, so the record is prefetched while the
                // current job runs.
                if let Some(next) = jobs.peek() {
                    next.prefetch();
                }
                job.run(exec, shard, shared);
            }
        }
    }
    true
}

/// Groups the launches of an update into stages.
pub(super) fn stages<T: Kernels>(plan: &Plan, passes: &[Pass], index: &Index, evaluated: bool) -> Vec<Phase<T>> {
    let mut stages = Vec::new();
    for pass in passes {
        let ready = pass.launches.iter().map(|launch| CpuLaunch::new(plan, index, launch, evaluated));
        let mut own = Vec::new();
        if pass.times > 1 {
            let launches: Vec<_> = ready.collect();
            if launches.iter().any(CpuLaunch::combines_samples) {
                launches.into_iter().for_each(|launch| add(&mut own, launch));
                stages.push(Phase::Repeat(pass.times, own));
            } else if let Some(Phase::PerSample(lists)) = stages.last_mut() {
                lists.push((pass.times, launches));
            } else {
                stages.push(Phase::PerSample(vec![(pass.times, launches)]));
            }
        } else {
            ready.for_each(|launch| add(&mut stages, launch));
        }
    }
    stages
}

/// Adds a launch to the last stage if it fits there, otherwise as a new stage.
fn add<T: Kernels>(stages: &mut Vec<Phase<T>>, launch: CpuLaunch<T>) {
    if launch.combines_samples() {
        stages.push(Phase::Combined(launch));
        return;
    }
    match stages.last_mut() {
        Some(Phase::PerSample(lists)) => match lists.last_mut() {
            Some((1, list)) => list.push(launch),
            _ => lists.push((1, vec![launch])),
        },
        _ => stages.push(Phase::PerSample(vec![(1, vec![launch])])),
    }
}

/// Calls `task` for each shard. The kernels of a single shard are split over the threads; several shards run in
/// parallel, on one thread each.
fn on_shards<T: Kernels>(
    exec: &Parallel,
    serial: &Parallel,
    shards: &mut [Shard<T>],
    task: impl Fn(&Parallel, &mut Shard<T>) + Sync,
) {
    match shards {
        [shard] => task(exec, shard),
        _ => exec.each_of(shards, |shard| task(serial, shard)),
    }
}
