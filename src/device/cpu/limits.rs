//! Limits of the CPU device: thread count, sizes of epilogues, memory estimates.

use super::fused_kernels::Kernels;
use super::matrix::{Matrix, Shape};
use super::storage::Shard;
use super::weight_matrix::{self, WeightMatrix};
use super::{EVAL_BATCH, LIMITS, backward, epilogue, examples, job, parallel, product};
use crate::error::{Error, Result};
use crate::lower::{Job, Look, Program, Speculation, Work};
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Plan};
use std::sync::OnceLock;

/// The largest thread count.
const MAX_THREADS: usize = 1024;

/// Refuses a plan with an epilogue that accesses more slots or parameters than a kernel supports.
pub(super) fn check_sizes(plan: &Plan, program: &Program) -> Result<()> {
    for job in program.launches().flat_map(|launch| &launch.jobs) {
        let code = &job.code;
        let written = code.outs.len();
        if written > parallel::MAX_WRITES
            || code.leaves.len() - written > job::MAX_LEAVES
            || code.params.len() > epilogue::MAX_PARAMS
        {
            let symbol = &plan.slot(code.leaves[0].slot).symbol;
            return Err(Error::usage(format!(
                "the plan of {} cannot run on the CPU: the epilogue that writes {symbol} touches {} slots and {} parameters; \
                 at most {} slots written, {} slots read and {} parameters are possible. Split the op into several",
                plan.task.rule,
                code.leaves.len(),
                code.params.len(),
                parallel::MAX_WRITES,
                job::MAX_LEAVES,
                epilogue::MAX_PARAMS
            )));
        }
    }
    Ok(())
}

/// Advice when memory is insufficient.
pub(super) const SMALLER: &str = "choose smaller --layers or a smaller --batch";

/// A description of a training session, for error messages.
pub(super) fn training(plan: &Plan, batch: usize) -> String {
    format!("training {} with batch {batch} on the CPU", plan.task.network)
}

/// A plan and the programs that a session runs.
pub(super) struct Lowered {
    /// The plan, with slots for the guards of the speculative program. The set of observed slots is unchanged.
    pub(super) plan: Plan,
    pub(super) program: Program,
    /// The speculative program, which is tried first.
    pub(super) speculation: Option<Speculation>,
    /// The normal and the speculative program concatenated, for memory allocation.
    pub(super) all: Program,
    /// Whether the expression evaluator runs every epilogue, without fused kernels.
    pub(super) evaluated: bool,
    /// The plan and program of prediction, lowered at the first evaluation.
    prediction: OnceLock<(Plan, Program)>,
    /// Observation points, see [`CpuDevice::update_looked_at`](super::CpuDevice::update_looked_at).
    pub(super) looks: Vec<Look>,
}

impl Lowered {
    /// Lowers a plan. With `evaluated` the expression evaluator runs every epilogue, and there is no speculative
    /// program.
    pub(super) fn new(plan: &Plan, evaluated: bool) -> Lowered {
        let program = Program::lower(plan, &LIMITS);
        let speculation = if evaluated { None } else { Program::speculate(plan, &LIMITS, &program) };
        let speculation =
            speculation.filter(|speculation| check_sizes(&speculation.plan, &speculation.program).is_ok());
        let mut with_guards = plan.clone();
        with_guards.slots.extend(
            speculation.iter().flat_map(|speculation| speculation.plan.slots[plan.slots.len()..].iter().cloned()),
        );
        let program = program.with_slots(&with_guards);
        let mut all = program.clone();
        for other in speculation.iter().map(|speculation| &speculation.program) {
            all.halves.iter_mut().zip(&other.halves).for_each(|(a, b)| *a = (*a).max(*b));
            all.passes.extend(other.passes.iter().cloned());
        }
        Lowered {
            plan: with_guards,
            program,
            speculation,
            all,
            evaluated,
            prediction: OnceLock::new(),
            looks: Vec::new(),
        }
    }

    /// The plan and program of prediction.
    pub(super) fn prediction(&self) -> &(Plan, Program) {
        self.prediction.get_or_init(|| {
            let plan = self.plan.prediction();
            let program = Program::lower(&plan, &LIMITS);
            (plan, program)
        })
    }

    /// Lowers a plan such that the slots `seen` can be observed after the moments `looks`. There is no speculative
    /// program.
    pub(super) fn looked_at(plan: &Plan, looks: &[usize], seen: &[SlotId]) -> Lowered {
        let (program, looks) = Program::looked_at(plan, &LIMITS, looks, seen);
        let all = program.clone();
        Lowered {
            plan: plan.clone(),
            program,
            speculation: None,
            all,
            evaluated: false,
            prediction: OnceLock::new(),
            looks,
        }
    }

    /// Bytes of a session with `samples` training examples: slots, persistent slots twice (for `restore`), and the threads' scratch.
    pub(super) fn bytes<T: Kernels>(&self, batch: usize, samples: usize, threads: usize) -> u64 {
        let Lowered { plan, all, .. } = self;
        let backward = backward(plan, all);
        let persistent = plan.slots.iter().zip(&all.halves).zip(&backward).map(|((slot, halves), backward)| {
            let one = match slot.home {
                Domain::Connections(p) => connections_bytes::<T>(plan, p, *backward),
                Domain::Vector(p) => Matrix::<T>::bytes(1, plan.populations[p].n),
                _ => 0,
            };
            one.saturating_mul(2 * *halves as u64)
        });
        let persistent = persistent.fold(0u64, u64::saturating_add);
        // On a grid, each position of a sample is a row of a product.
        let places = plan.populations.iter().map(|p| p.places).max().unwrap_or(1);
        let transposed = threads as u64 * weight_matrix::scratch::<T>(batch * places) * size_of::<T>() as u64;
        [
            Shard::<T>::bytes(plan, all, batch),
            examples::bytes::<T>(plan, samples),
            transposed,
            scratch_bytes::<T>(plan, all, batch, threads),
        ]
        .into_iter()
        .fold(persistent, u64::saturating_add)
    }
}

/// Bytes of scratch for sums that are not computed in a slot, over all threads.
fn scratch_bytes<T: Kernels>(plan: &Plan, program: &Program, batch: usize, threads: usize) -> u64 {
    let home = |job: &Job| job.code.leaves.first().map(|place| plan.slot(place.slot).home);
    let one = program.launches().flat_map(|launch| &launch.jobs).map(|job| match (&job.work, home(job)) {
        (Work::OuterProduct { .. }, Some(Domain::Connections(p))) => {
            let batch = batch * plan.populations[plan.projections[p].to].places;
            // One buffer for the final sums, and one for partial sums.
            let rooms = u64::from(!job::is_step(&job.code)) + u64::from(batch > product::DEEP);
            let bytes = connections_bytes::<T>(plan, p, None);
            // A large product is cut into several bands per thread.
            let long = threads > 1 && 2 * batch as u64 * bytes / size_of::<T>() as u64 >= parallel::LONG_WORK;
            rooms * if long { bytes / parallel::BANDS_PER_THREAD as u64 } else { bytes }
        }
        (Work::Send { .. }, Some(Domain::Units(p))) => {
            Shape::of_places(batch, plan.populations[p].places, plan.populations[p].n).bytes::<T>()
        }
        _ => 0,
    });
    one.max().unwrap_or(0)
}

/// Bytes of a slot of connections.
fn connections_bytes<T: Kernels>(plan: &Plan, projection: usize, backward: Option<usize>) -> u64 {
    let of = &plan.projections[projection];
    let [to, from] = [of.to, of.from].map(|p| plan.populations[p].n);
    WeightMatrix::<T>::bytes(to, from, backward)
}

/// Bytes of an evaluation.
pub(super) fn eval_bytes<T: Kernels>(lowered: &Lowered, threads: usize) -> u64 {
    let (plan, program) = lowered.prediction();
    Shard::<T>::bytes(plan, program, EVAL_BATCH) + scratch_bytes::<T>(plan, program, EVAL_BATCH, threads)
}

/// The thread count: `asked`, or else one thread per core.
///
/// # Errors
/// [`Error::Usage`] for 0 or more than 1024.
pub fn threads_of(asked: Option<usize>) -> Result<usize> {
    let all = || std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let threads = asked.unwrap_or_else(all);
    if threads == 0 || threads > MAX_THREADS {
        return Err(Error::usage(format!("--threads must lie in 1 to {MAX_THREADS}; {threads} given")));
    }
    Ok(threads)
}

/// The processor's name; if the system does not say, its architecture.
pub fn model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split(':').nth(1));
    name.map_or_else(|| format!("{} CPU", std::env::consts::ARCH), |n| n.trim().to_owned())
}
