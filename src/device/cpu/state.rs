//! What a CPU session holds: layers, parameters, and the machine it runs on.
#![allow(unsafe_code, reason = "threads write disjoint bands of a slot")]

use super::matrix::{Band, Matrix, PANEL, Shape};
use super::product::{self, Rows, Transposed};
use super::real::Real;
use super::team::{MAX_TASKS, Team};
use crate::network::{Network, Weights};
use ndarray::Array2;
use pulp::{Arch, Simd, WithSimd};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Weight matrices of at most this many numbers (half of a common second-level cache) have a second copy for
/// feedback; a network of no more than this in all has its batch shared out over the threads by samples.
pub(crate) const SMALL: u64 = 1 << 17;
/// Multiplications and additions below which a kernel is not shared out.
const WORTHWHILE: u64 = 1 << 17;
/// The same, from which on threads take several bands each, so that one who is late holds nobody up.
const LONG: u64 = 1 << 24;

/// How kernels run: the vector unit found on this machine, and the threads they are shared out over.
#[derive(Clone)]
pub(crate) struct Exec {
    pub(crate) arch: Arch,
    team: Option<Arc<Team>>,
    /// Threads that a kernel is shared out over.
    threads: usize,
}

impl Exec {
    /// Kernels that run on the calling thread.
    pub(crate) fn alone() -> Self {
        Exec { arch: Arch::new(), team: None, threads: 1 }
    }

    /// Kernels that are shared out over `threads` of a team.
    pub(crate) fn team(team: &Arc<Team>, threads: usize) -> Self {
        Exec { arch: Arch::new(), team: (threads > 1).then(|| Arc::clone(team)), threads }
    }

    /// Threads that kernels are shared out over.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Bands that `work` multiplications and additions are cut into.
    pub(crate) fn bands(&self, work: u64) -> usize {
        match &self.team {
            Some(_) if work >= WORTHWHILE => {
                let each = if work >= LONG { 4 } else { 1 };
                (self.threads * each).min(MAX_TASKS)
            }
            _ => 1,
        }
    }

    /// Does `task` for 0 .. `tasks`, each once.
    pub(crate) fn each(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        match &self.team {
            Some(team) if tasks > 1 => team.each(tasks, &task),
            _ => (0..tasks).for_each(task),
        }
    }

    /// Does `task` for each item, on any thread.
    pub(crate) fn each_of<U: Send>(&self, items: &mut [U], task: impl Fn(&mut U) + Sync) {
        let (parts, count) = (Parts::new(items), items.len());
        self.each(count, |i| {
            // SAFETY: `items` is borrowed throughout, and each item is handed out once.
            unsafe { parts.range(i..i + 1) }.iter_mut().for_each(&task);
        });
    }

    /// Cuts matrices of one shape into the same bands, and hands each band of the `write`s to `task` once.
    pub(crate) fn share<T: Real, const W: usize>(
        &self,
        shape: Shape,
        work: u64,
        mut write: [&mut [T]; W],
        task: impl Fn(&Band, [&mut [T]; W]) + Sync,
    ) {
        let bands = self.bands(work);
        if bands <= 1 {
            return task(&shape.whole(), write);
        }
        let parts = write.each_mut().map(|w| Parts::new(w));
        self.each(bands, |i| {
            let band = shape.band(i, bands);
            if !band.range().is_empty() {
                // SAFETY: bands of different numbers do not overlap, and each number is handed out once.
                task(&band, parts.each_ref().map(|part| unsafe { part.get(&band) }));
            }
        });
    }
}

/// A matrix's numbers, to be written in bands by several threads.
#[derive(Clone, Copy)]
pub(crate) struct Parts<T> {
    data: *mut T,
    len: usize,
}

// SAFETY: `get` hands out disjoint parts, by its contract.
unsafe impl<T: Send> Send for Parts<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    /// All of `data`.
    pub(crate) fn new(data: &mut [T]) -> Self {
        Parts { data: data.as_mut_ptr(), len: data.len() }
    }

    /// The numbers of a band.
    ///
    /// # Safety
    /// The slice this was made from must outlive the result, and nobody else may use that band meanwhile.
    #[allow(clippy::mut_from_ref, reason = "by the contract above")]
    pub(crate) unsafe fn get<'a>(&self, band: &Band) -> &'a mut [T] {
        // SAFETY: by this function's contract.
        unsafe { self.range(band.range()) }
    }

    /// The numbers of a range, under the same contract.
    #[allow(clippy::mut_from_ref, reason = "by the contract of `get`")]
    unsafe fn range<'a>(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice by the assert, and not aliased by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }
}

/// A loop to be compiled for the vector unit.
struct Loop<F>(F);

impl<F: FnMut() -> R, R> WithSimd for Loop<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}

/// Runs `body`, an `#[inline(always)]` closure, compiled for the vector unit.
///
/// Not `Arch::dispatch` itself: that takes the closure as `FnOnce`, and a closure that could be called again
/// then runs through a shim that is not inlined, and is compiled without the vector unit.
#[inline(always)]
pub(crate) fn vector<R>(arch: Arch, body: impl FnMut() -> R) -> R {
    arch.dispatch(Loop(body))
}

/// A vector's worth of numbers: as a value, it can alias nothing, and loops over it become vector code.
pub(crate) type Block<T> = [T; BLOCK];
/// Numbers of a block.
pub(crate) const BLOCK: usize = 16;

/// Runs an elementwise loop over equally long slices, compiled for the vector unit: `body` gets a block of
/// each and returns the new blocks of those written.
#[inline(always)]
pub(crate) fn blocks<T: Real, const W: usize, const R: usize>(
    arch: Arch,
    write: [&mut [T]; W],
    read: [&[T]; R],
    body: impl Fn([Block<T>; W], [Block<T>; R]) -> [Block<T>; W],
) {
    let mut write = write.map(|s| s.as_chunks_mut::<BLOCK>().0);
    let read = read.map(|s| s.as_chunks::<BLOCK>().0);
    vector(
        arch,
        #[inline(always)]
        || {
            let blocks = write[0].len();
            assert!(write.iter().all(|w| w.len() == blocks) && read.iter().all(|r| r.len() == blocks));
            for b in 0..blocks {
                let mut old = [[T::ZERO; BLOCK]; W];
                for i in 0..W {
                    old[i] = write[i][b];
                }
                let mut with = [[T::ZERO; BLOCK]; R];
                for i in 0..R {
                    with[i] = read[i][b];
                }
                let new = body(old, with);
                for i in 0..W {
                    write[i][b] = new[i];
                }
            }
        },
    );
}

/// The slots of one layer, each [batch, n^l].
pub(crate) struct Layer<T> {
    /// Value nodes x^l; on layer 0 the clamped target.
    pub(crate) x: Matrix<T>,
    /// f(x^l), two halves (see `program.rs`); on the input layer s_in, in half 0.
    pub(crate) h: [Matrix<T>; 2],
    /// Predictions μ^l.
    pub(crate) mu: Matrix<T>,
    /// The predictions of the last ε^l, once newer ones are in `mu`.
    pub(crate) mu_prev: Matrix<T>,
    /// Whether the last ε^l was made from what is in `mu`.
    pub(crate) mu_used: bool,
    /// Δx^l of the last inference step; within it, first the feedback current ε^{l−1} θ^l.
    pub(crate) dx: Matrix<T>,
    /// Error nodes ε^l (δ^l in BP), and φ^l ∘ ε^l.
    pub(crate) eps: Matrix<T>,
    pub(crate) gated: Matrix<T>,
    /// ε^lᵀ, [n^l, batch], where θ^{l+1} is too large to be kept twice.
    pub(crate) eps_t: Matrix<T>,
    /// Silent steps of each unit, up to t_d, laid out as ε.
    pub(crate) quiet: Vec<u32>,
    /// t + 1 of the layer's last spike, for each sample.
    pub(crate) spike: Vec<AtomicU32>,
}

impl<T: Real> Layer<T> {
    /// The slots that layer `l` of the network needs: the input only f(x), the output no f(x) and no Δx.
    pub(crate) fn new(network: &Network, l: usize, batch: usize, forward_only: bool) -> Self {
        let n = network.n(l);
        let when = |wanted: bool| if wanted { Matrix::zeros(batch, n) } else { Matrix::zeros(0, 0) };
        let (input, output) = (l == network.lmax(), l == 0);
        let learns = !forward_only && !input;
        let gated = when(learns);
        Layer {
            x: when(!input),
            h: [when(!output), when(learns && !output)],
            mu: when(!input),
            mu_prev: when(learns),
            mu_used: false,
            dx: when(learns),
            eps: when(learns),
            eps_t: if learns && turned(network, l) { Matrix::zeros(n, batch) } else { Matrix::zeros(0, 0) },
            quiet: vec![0; gated.data().len()],
            gated,
            spike: (0..if learns { batch } else { 0 }).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Makes room for new predictions in `mu`, and keeps those that an ε^l was made from.
    pub(crate) fn new_predictions(&mut self) {
        if std::mem::take(&mut self.mu_used) {
            std::mem::swap(&mut self.mu, &mut self.mu_prev);
        }
    }

    /// Bytes that [`Layer::new`] takes, at most.
    pub(crate) fn bytes(network: &Network, l: usize, batch: usize) -> u64 {
        let matrices = if l == network.lmax() { 1 } else { 8 };
        let eps_t = if turned(network, l) { Matrix::<T>::bytes(network.n(l), batch) } else { 0 };
        let (slots, quiet) = (Matrix::<T>::bytes(batch, network.n(l)), Matrix::<f32>::bytes(batch, network.n(l)));
        matrices * slots + quiet + eps_t + 4 * batch as u64
    }
}

/// Whether θ^l is kept twice; its feedback then needs no transposing. The input's gives none.
fn doubled(network: &Network, l: usize) -> bool {
    l < network.lmax() && (network.n(l) * network.n(l - 1)) as u64 <= SMALL
}

/// Whether ε^l is transposed for feedback: θ^{l+1} gives some, and is kept once.
fn turned(network: &Network, l: usize) -> bool {
    l + 1 < network.lmax() && !doubled(network, l + 1)
}

/// θ^l and b^l.
#[derive(Clone)]
pub(crate) struct Params<T> {
    /// θ^lᵀ, [n^l, n^{l−1}], along whose rows `predict` and `learn` run.
    pub(crate) theta_t: Matrix<T>,
    /// θ^l, [n^{l−1}, n^l], where it is small: along its rows feedback runs. It gets the same sums of the
    /// same products as the other copy, hence the same bits.
    pub(crate) theta: Option<Matrix<T>>,
    /// b^l, [1, n^{l−1}].
    pub(crate) bias: Option<Matrix<T>>,
    /// Σ_batch ε^{l−1}, [1, n^{l−1}].
    pub(crate) bias_sum: Matrix<T>,
}

thread_local! {
    /// Where a thread puts products before they are turned; grown once.
    static SCRATCH: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

impl<T: Real> Params<T> {
    /// θ^l and b^l from the host.
    pub(crate) fn new(network: &Network, weights: &Weights, l: usize) -> Self {
        let theta = &weights.theta[l - 1];
        Params {
            theta_t: Matrix::from_array(theta.t()),
            theta: doubled(network, l).then(|| Matrix::from_array(theta.view())),
            bias: weights.bias.get(l - 1).map(|b| Matrix::from_array(b.view().insert_axis(ndarray::Axis(0)))),
            bias_sum: Matrix::zeros(1, theta.nrows()),
        }
    }

    /// θ^l as a host array, [n^{l−1}, n^l], rounded to float32.
    pub(crate) fn theta(&self) -> Array2<f32> {
        let t = &self.theta_t;
        Array2::from_shape_fn((t.cols, t.rows), |(i, j)| t.get(j, i).to_f64() as f32)
    }

    /// The same in float64.
    pub(crate) fn theta_f64(&self) -> Array2<f64> {
        self.theta_t.to_array().reversed_axes()
    }

    /// Bytes of θ^l: what [`Params::new`] takes twice (a copy is kept for `restore`), and the host's weights before
    /// and after training.
    pub(crate) fn bytes(network: &Network, l: usize) -> u64 {
        let (n, below) = (network.n(l), network.n(l - 1));
        let copy = if doubled(network, l) { Matrix::<T>::bytes(below, n) } else { 0 };
        2 * (Matrix::<T>::bytes(n, below) + copy) + 8 * n as u64 * below as u64
    }

    /// Numbers of a thread's scratch on batches of `batch`, at most.
    pub(crate) fn scratch(batch: usize) -> u64 {
        Transposed::<T>::scratch(batch) as u64
    }

    /// Whether every weight, or (second) every bias, is finite.
    pub(crate) fn finite(&self) -> (bool, bool) {
        (self.theta_t.finite(), self.bias.as_ref().is_none_or(Matrix::finite))
    }

    /// A band of μ = h θᵀ, [batch, n^{l−1}].
    pub(crate) fn predict(&self, arch: Arch, band: &Band, mu: &mut [T], h: &Matrix<T>) {
        T::rows(arch, Rows { out: mu, band, left: h, right: &self.theta_t });
    }

    /// A band of g = ε θ, [batch, n^l]; `eps_t` is εᵀ where θ is not kept twice.
    pub(crate) fn feedback(&self, arch: Arch, band: &Band, g: &mut [T], eps: &Matrix<T>, eps_t: &Matrix<T>) {
        match &self.theta {
            Some(theta) => T::rows(arch, Rows { out: g, band, left: eps, right: theta }),
            None => SCRATCH.with_borrow_mut(|scratch| {
                let longest = band.pieces().map(|piece| piece.rows.len()).max().unwrap_or(0);
                let numbers = Transposed::<T>::scratch(longest);
                let words = (numbers * size_of::<T>()).div_ceil(size_of::<f64>());
                if scratch.len() < words {
                    scratch.resize(words, 0.0);
                }
                let scratch = &mut bytemuck::cast_slice_mut(scratch)[..numbers];
                T::transposed(arch, Transposed { out: g, band, left: &self.theta_t, right: eps_t, scratch });
            }),
        }
    }

    /// εᵀ for [`Params::feedback`], where it is needed.
    pub(crate) fn prepare(&self, exec: &Exec, eps: &Matrix<T>, eps_t: &mut Matrix<T>) {
        if self.theta.is_none() {
            let (shape, work) = (eps_t.shape(), 8 * eps.data().len() as u64);
            exec.share(shape, work, [eps_t.data_mut()], |band, [to]| {
                product::transpose(exec.arch, to, band, eps);
            });
        }
    }
}

/// Numbers that matrices of a shape hold, missing columns included.
pub(crate) fn numbers(shape: Shape) -> u64 {
    (shape.rows * shape.cols.next_multiple_of(PANEL)) as u64
}
