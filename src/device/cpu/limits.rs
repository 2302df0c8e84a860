//! What this machine has, and what is refused for it.

use super::connections::{self, Connections};
use super::known::Kernels;
use super::slots::Shard;
use super::{EVAL_BATCH, LIMITS, ends, examples, exec, work};
use crate::error::{Error, Result};
use crate::plan::{Home, Plan};
use crate::program::Program;

/// The most threads of a device.
const MAX_THREADS: usize = 1024;

/// Refuses ends of more slots and numbers than a kernel takes.
pub(super) fn check_sizes(plan: &Plan, program: &Program) -> Result<()> {
    for job in program.launches().flat_map(|launch| &launch.jobs) {
        let code = &job.code;
        let written = code.outs.len();
        if written > exec::MAX_WRITES
            || code.leaves.len() - written > work::MAX_LEAVES
            || code.params.len() > ends::MAX_PARAMS
        {
            let symbol = &plan.slot(code.leaves[0].slot).symbol;
            return Err(Error::usage(format!(
                "the plan of {} cannot run: what makes {symbol} touches {} slots and {} numbers, of at most {} written, {} \
                 read and {} numbers; part it",
                plan.options.rule.name(),
                code.leaves.len(),
                code.params.len(),
                exec::MAX_WRITES,
                work::MAX_LEAVES,
                ends::MAX_PARAMS
            )));
        }
    }
    Ok(())
}

/// Refuses a plan whose slots, parameters and numbers of each of so many examples exceed the memory this machine has free.
pub(super) fn check_memory<T: Kernels>(
    plan: &Plan,
    program: &Program,
    (batch, samples): (usize, usize),
    threads: usize,
    evaluates: bool,
) -> Result<()> {
    let slots = Shard::<T>::bytes(plan, program, batch);
    let eval = if evaluates {
        let plan = plan.prediction();
        Shard::<T>::bytes(&plan, &Program::lower(&plan, &LIMITS), EVAL_BATCH)
    } else {
        0
    };
    // A copy is kept for `restore`; the host has the network's weights before and after training.
    let connections = plan.slots.iter().zip(&program.halves).filter(|(_, halves)| **halves > 0).map(|(slot, _)| {
        let Home::Connections(p) = slot.home else { return 0 };
        let [to, from] = [plan.projections[p].to, plan.projections[p].from].map(|at| plan.populations[at].n);
        2 * Connections::<T>::bytes(to, from, true)
    });
    let parameters = connections.sum::<u64>() + 8 * plan.network.parameters();
    let scratch = threads as u64 * connections::scratch::<T>(batch) * size_of::<T>() as u64;
    let examples = examples::bytes::<T>(plan, samples);
    let needed = slots.saturating_add(examples).saturating_add(eval).saturating_add(parameters).saturating_add(scratch);
    match free_memory() {
        Some(available) if needed > available => Err(Error::Limit {
            what: format!("training {} with batch {batch} on the CPU", plan.network),
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
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
