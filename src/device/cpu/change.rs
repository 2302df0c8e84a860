//! Weight changes, Eqs. (3) and (9) among them: s = Σ_batch post ⊗ pre, summed sample by sample, followed by the epilogue on the
//! slots of the projection. The GPU counterpart is its product over the batch.
#![allow(unsafe_code, reason = "threads write disjoint bands of the weights")]

use super::State;
use super::epilogue::{MAX_PARAMS, Read};
use super::fused_kernels::Kernels;
use super::job::{CpuJob, MAX_LEAVES, with_scratch};
use super::matrix::{Band, Lines, Matrix, PANEL, Shape};
use super::parallel::{MAX_WRITES, Parallel, Parts, TALL, numbers};
use super::product::{Columns, DEEP};
use super::storage::Shard;
use super::vector::vector;
use super::weight_matrix::WeightMatrix;
use crate::plan::Domain;

/// Jobs per parallel region; longer lists are processed in several.
const JOBS: usize = 8;

/// What one job writes, to be split into bands: a stored copy of a weight matrix, or several slots of the same epilogue.
struct Target<'a, T> {
    job: &'a CpuJob<T>,
    shape: Shape,
    /// Whether the copy is Wᵀ; otherwise it is the second copy, W.
    transposed: bool,
    data: [Parts<T>; MAX_WRITES],
    params: [T; MAX_PARAMS],
}

/// Changes the weights of every job. Sums run over samples in order, from shard to shard.
pub(super) fn change<T: Kernels>(
    exec: &Parallel,
    jobs: &[CpuJob<T>],
    shards: &[Shard<T>],
    state: &mut State<T>,
    params: &[T],
    sums: &mut Matrix<T>,
) {
    let State { connections, vectors } = state;
    // The second copy W is either summed over the batch again or transposed from the first, whichever is faster. (With patches as an
    // operand only the first copy can be summed, since products read patches by rows.)
    let patches = |slot: usize| shards.iter().any(|shard| shard.slots[slot].patches.is_some());
    let again = |job: &CpuJob<T>| {
        let [post, pre] = job.operands();
        job.is_step && depth(post, shards) < TALL && !patches(pre)
    };
    for jobs in jobs.chunks(JOBS) {
        let mut targets: [Option<Target<'_, T>>; 2 * JOBS] = [const { None }; _];
        for (i, job) in jobs.iter().enumerate() {
            let mut data = [Parts::none(); MAX_WRITES];
            let params = job.params(params, &[]);
            for (to, w) in data.iter_mut().zip(job.writes()) {
                *to = Parts::new(connections[*w as usize].transposed.data_mut());
            }
            let first = &mut connections[job.writes()[0] as usize];
            targets[2 * i] = Some(Target { job, shape: first.transposed.shape(), transposed: true, data, params });
            if let (true, Some(second)) = (again(job), &mut first.second) {
                let (shape, mut data) = (second.shape(), [Parts::none(); MAX_WRITES]);
                data[0] = Parts::new(second.data_mut());
                targets[2 * i + 1] = Some(Target { job, shape, transposed: false, data, params });
            }
        }
        change_targets(exec, &targets, shards, (connections, vectors));
        for job in jobs {
            change_bias(exec, job, shards, (connections, vectors), job.params(params, &[]), sums);
            if !again(job) {
                job.writes().iter().for_each(|w| connections[*w as usize].update_second(exec));
            }
        }
    }
}

/// Length of the sum: samples · positions.
fn depth<T: Kernels>(slot: usize, shards: &[Shard<T>]) -> usize {
    shards.iter().map(|shard| shard.slots[slot].rows).sum()
}

/// Each task updates one band of every matrix.
fn change_targets<T: Kernels>(
    exec: &Parallel,
    targets: &[Option<Target<'_, T>>],
    shards: &[Shard<T>],
    (connections, vectors): (&[WeightMatrix<T>], &[Matrix<T>]),
) {
    let depth = |target: &Target<'_, T>| depth(target.job.operands()[0], shards);
    let work = targets.iter().flatten().map(|t| 2 * numbers(t.shape) * depth(t) as u64).sum();
    let bands = exec.bands(work);
    exec.each(bands, |i| {
        for target in targets.iter().flatten() {
            let band = target.shape.band(i, bands);
            let [post, pre] = target.job.operands();
            let operands = |s: usize| {
                let (post, pre) = (&shards[s].slots[post], &shards[s].slots[pre]);
                if target.transposed { (pre, post) } else { (post, pre) }
            };
            let count = target.job.writes().len();
            // SAFETY: the matrices outlive this call, and each band of each matrix belongs to one task.
            let part = |w: usize| if w < count { unsafe { target.data[w].get(&band) } } else { &mut [] };
            let (len, shards) = (band.range().len(), shards.len());
            let deep = if depth(target) > DEEP { len } else { 0 };
            if target.job.is_step {
                let (theta, alpha) = (part(0), target.params[0]);
                with_scratch(deep, |sums| {
                    T::columns(exec.arch, Columns { theta, band: &band, operands, shards, alpha, sums });
                });
                continue;
            }
            with_scratch(len + deep, |s| {
                let (s, sums) = s.split_at_mut(len);
                s.fill(T::ZERO);
                T::columns(exec.arch, Columns { theta: &mut *s, band: &band, operands, shards, alpha: T::ONE, sums });
                let mut writes: [&mut [T]; MAX_WRITES] = std::array::from_fn(part);
                let reads = reads(target.job, vectors, |at| &connections[at].transposed.data()[band.range()]);
                let (writes, reads) = (&mut writes[..count], &reads[..target.job.reads().len()]);
                target.job.epilogue.run(exec.arch, &band, writes, s, reads, &target.params, true);
            });
        }
    });
}

/// The slots that an epilogue only reads. A column of Wᵀ, and of the biases, is a receiving unit.
fn reads<'a, T: Kernels>(
    job: &CpuJob<T>,
    vectors: &'a [Matrix<T>],
    data: impl Fn(usize) -> &'a [T],
) -> [Read<'a, T>; MAX_LEAVES] {
    let mut reads = [Read::Element(&[][..]); MAX_LEAVES];
    for ((to, &at), kind) in reads.iter_mut().zip(job.reads()).zip(&job.about.kinds) {
        let at = at as usize;
        *to = match kind {
            Domain::Vector(_) => Read::Vector(vectors[at].data()),
            Domain::BatchScalar(_) => Read::One(vectors[at].get(0, 0)),
            _ => Read::Element(data(at)),
        };
    }
    reads
}

/// The same epilogue on the biases, for which s = Σ_batch post.
fn change_bias<T: Kernels>(
    exec: &Parallel,
    job: &CpuJob<T>,
    shards: &[Shard<T>],
    (connections, vectors): (&mut [WeightMatrix<T>], &[Matrix<T>]),
    params: [T; MAX_PARAMS],
    sums: &mut Matrix<T>,
) {
    let Some(shape) = connections[job.writes()[0] as usize].bias.as_ref().map(Matrix::shape) else { return };
    let band = shape.whole();
    let sum = &mut sums.data_mut()[..band.range().len()];
    vector(
        exec.arch,
        #[inline(always)]
        || {
            sum.fill(T::ZERO);
            for shard in shards {
                let post = &shard.slots[job.operands()[0]];
                for (q, sum) in sum.chunks_exact_mut(PANEL).enumerate() {
                    for row in post.panel(q).chunks_exact(post.wide) {
                        for (s, e) in sum.iter_mut().zip(row) {
                            *s = *s + *e;
                        }
                    }
                }
            }
        },
    );
    biases(exec, job, (connections, vectors), &band, sum, &params);
}

/// Elementwise work on connections: first Wᵀ, then the biases, then the second copy.
pub(super) fn elements<T: Kernels>(exec: &Parallel, job: &CpuJob<T>, state: &mut State<T>, params: &[T]) {
    let State { connections, vectors } = state;
    let params = job.params(params, &[]);
    let shape = connections[job.writes()[0] as usize].transposed.shape();
    let mut written: [Lines<T>; MAX_WRITES] = std::array::from_fn(|_| Lines::default());
    for (to, from) in written.iter_mut().zip(job.writes()) {
        *to = std::mem::take(&mut connections[*from as usize].transposed.lines);
    }
    let work = u64::from(job.epilogue.nodes) * numbers(shape);
    exec.share(shape, work, &mut written[..job.writes().len()], |band, writes| {
        let reads = reads(job, vectors, |at| &connections[at].transposed.data()[band.range()]);
        job.epilogue.run(exec.arch, band, writes, &mut [], &reads[..job.reads().len()], &params, true);
    });
    for (to, from) in job.writes().iter().zip(written) {
        connections[*to as usize].transposed.lines = from;
        connections[*to as usize].update_second(exec);
    }
    if let Some(shape) = connections[job.writes()[0] as usize].bias.as_ref().map(Matrix::shape) {
        let band = shape.whole();
        biases(exec, job, (connections, vectors), &band, &mut [], &params);
    }
}

/// Applies the epilogue to the biases of each slot, on the calling thread.
fn biases<T: Kernels>(
    exec: &Parallel,
    job: &CpuJob<T>,
    (connections, vectors): (&mut [WeightMatrix<T>], &[Matrix<T>]),
    band: &Band,
    s: &mut [T],
    params: &[T],
) {
    let mut written: [Matrix<T>; MAX_WRITES] = std::array::from_fn(|_| Matrix::default());
    for (to, from) in written.iter_mut().zip(job.writes()) {
        *to = connections[*from as usize].bias.as_mut().map(std::mem::take).unwrap_or_default();
    }
    {
        let mut all = written.iter_mut();
        let mut writes: [&mut [T]; MAX_WRITES] =
            std::array::from_fn(|_| all.next().map(|m| m.data_mut()).unwrap_or_default());
        let reads = reads(job, vectors, |at| connections[at].bias.as_ref().map(Matrix::data).unwrap_or_default());
        let (writes, reads) = (&mut writes[..job.writes().len()], &reads[..job.reads().len()]);
        job.epilogue.run(exec.arch, band, writes, s, reads, params, false);
    }
    for (to, from) in job.writes().iter().zip(written) {
        if let Some(place) = &mut connections[*to as usize].bias {
            *place = from;
        }
    }
}
