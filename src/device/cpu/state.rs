//! What a CPU session holds: layers, parameters, and the machine it runs on.

use super::matrix::{Matrix, PAD};
use super::panels::{self, Panels, Scratch};
use super::product::{self, Call, Left};
use super::real::Real;
use crate::network::{Network, Weights};
use pulp::Arch;
use rayon::prelude::*;
use std::any::Any;
use std::cell::{RefCell, RefMut};
use std::sync::Arc;

/// Weight matrices of at most this many numbers (half of a common second-level cache) stay on one thread.
const SMALL: usize = 1 << 17;
/// Elementwise kernels on at least this many numbers are shared out over the threads.
const WIDE: usize = 1 << 16;
/// Numbers a thread takes at a time in those.
const CHUNK: usize = 1 << 13;

/// How kernels run: the vector unit found on this machine, the threads they may use, and room to pack.
pub(crate) struct Exec {
    arch: Arch,
    pool: Arc<rayon::ThreadPool>,
    threads: usize,
    scratch: RefCell<Scratch>,
}

impl Exec {
    /// Kernels that run on the threads of `pool`.
    pub(crate) fn new(pool: Arc<rayon::ThreadPool>) -> Self {
        let threads = pool.current_num_threads();
        Exec { arch: Arch::new(), pool, threads, scratch: RefCell::default() }
    }

    /// Room to pack operands in; one product at a time holds it.
    pub(crate) fn scratch(&self) -> RefMut<'_, Scratch> {
        self.scratch.borrow_mut()
    }

    /// Does `task` for every item of a parallel iterator, on this device's threads.
    pub(crate) fn each<I: ParallelIterator>(&self, items: I, task: impl Fn(I::Item, Arch) + Sync + Send) {
        let arch = self.arch;
        self.pool.install(|| items.for_each(|item| task(item, arch)));
    }

    /// Runs a loop compiled for this machine's vector unit.
    #[inline(always)]
    pub(crate) fn run(&self, body: impl FnOnce()) {
        self.arch.dispatch(body);
    }

    /// Runs an elementwise loop over equally long slices: `body` gets a block of each and returns the new
    /// blocks of those written. Long loops are shared out over the threads; every number is computed by
    /// itself, so that does not show in the result.
    #[inline(always)]
    pub(crate) fn blocks<T: Real, const W: usize, const R: usize>(
        &self,
        write: [&mut [T]; W],
        read: [&[T]; R],
        body: impl Fn([Block<T>; W], [Block<T>; R]) -> [Block<T>; W] + Sync,
    ) {
        let (len, arch) = (write[0].len(), self.arch);
        if self.threads > 1 && len >= WIDE {
            let pieces = split(write, read, len);
            self.pool.install(|| pieces.into_par_iter().for_each(|(w, r)| piece(arch, &body, w, r)));
        } else {
            piece(arch, &body, write, read);
        }
    }
}

/// A vector's worth of numbers: as a value, it can alias nothing, and loops over it become vector code.
pub(crate) type Block<T> = [T; PAD];

/// One piece of an elementwise loop, compiled for the vector unit.
#[inline(always)]
fn piece<T: Real, const W: usize, const R: usize>(
    arch: Arch,
    body: &impl Fn([Block<T>; W], [Block<T>; R]) -> [Block<T>; W],
    write: [&mut [T]; W],
    read: [&[T]; R],
) {
    arch.dispatch(
        #[inline(always)]
        || {
            let write = write.map(|s| s.as_chunks_mut::<PAD>().0);
            let read = read.map(|s| s.as_chunks::<PAD>().0);
            let blocks = write[0].len();
            assert!(write.iter().all(|w| w.len() == blocks) && read.iter().all(|r| r.len() == blocks));
            for b in 0..blocks {
                let mut old = [[T::ZERO; PAD]; W];
                for i in 0..W {
                    old[i] = write[i][b];
                }
                let mut with = [[T::ZERO; PAD]; R];
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

/// A thread's share: the slices it writes and those it reads.
type Piece<'a, T, const W: usize, const R: usize> = ([&'a mut [T]; W], [&'a [T]; R]);

/// The pieces of `len` numbers that threads take one at a time.
fn split<'a, T, const W: usize, const R: usize>(
    write: [&'a mut [T]; W],
    read: [&'a [T]; R],
    len: usize,
) -> Vec<Piece<'a, T, W, R>> {
    let mut writers = write.map(|s| s.chunks_mut(CHUNK));
    let mut readers = read.map(|s| s.chunks(CHUNK));
    let next = |_| {
        let write = writers.each_mut().map(|c| c.next().unwrap_or_default());
        (write, readers.each_mut().map(|c| c.next().unwrap_or_default()))
    };
    (0..len.div_ceil(CHUNK)).map(next).collect()
}

/// The slots of one layer, each [batch, n^l].
#[derive(Clone)]
pub(crate) struct Layer<T> {
    /// Value nodes x^l; on layer 0 the clamped target.
    pub(crate) x: Matrix<T>,
    /// f(x^l), two halves (see `program.rs`); on the input layer s_in, in half 0.
    pub(crate) h: [Matrix<T>; 2],
    /// Predictions μ^l, and those of the last ε^l.
    pub(crate) mu: Matrix<T>,
    pub(crate) mu_prev: Matrix<T>,
    /// Δx^l of the last inference step.
    pub(crate) dx: Matrix<T>,
    /// Error nodes ε^l (δ^l in BP), and φ^l ∘ ε^l.
    pub(crate) eps: Matrix<T>,
    pub(crate) gated: Matrix<T>,
    /// Feedback current ε^{l−1} θ^l.
    pub(crate) feedback: Matrix<T>,
    /// Silent steps of each unit, up to t_d.
    pub(crate) quiet: Vec<u32>,
    /// t + 1 of the layer's last spike, for each sample.
    pub(crate) spike: Vec<u32>,
}

impl<T: Real> Layer<T> {
    /// The slots that layer `l` of the network needs: the input only f(x), the output no f(x) and no Δx.
    pub(crate) fn new(network: &Network, l: usize, batch: usize, forward_only: bool) -> Self {
        let n = network.n(l);
        let when = |wanted: bool| if wanted { Matrix::zeros(batch, n) } else { Matrix::zeros(0, 0) };
        let (input, output) = (l == network.lmax(), l == 0);
        let learns = !forward_only && !input;
        Layer {
            x: when(!input),
            h: [when(!output), when(learns && !output)],
            mu: when(!input),
            mu_prev: when(learns),
            dx: when(learns),
            eps: when(learns),
            gated: when(learns),
            feedback: when(learns && !output),
            quiet: if learns { vec![0; batch * n.next_multiple_of(PAD)] } else { Vec::new() },
            spike: if learns { vec![0; batch] } else { Vec::new() },
        }
    }

    /// Bytes that [`Layer::new`] takes.
    pub(crate) fn bytes(network: &Network, l: usize, batch: usize) -> u64 {
        let matrices = if l == network.lmax() { 1 } else { 9 };
        matrices * Matrix::<T>::bytes(batch, network.n(l)) + Matrix::<f32>::bytes(batch, network.n(l))
    }
}

/// θ^l and b^l.
#[derive(Clone)]
pub(crate) struct Params<T> {
    theta: Theta<T>,
    /// b^l, [1, n^{l−1}].
    pub(crate) bias: Option<Matrix<T>>,
    /// Σ_batch ε^{l−1}, [1, n^{l−1}].
    pub(crate) bias_sum: Matrix<T>,
}

/// θ^l, kept in the form that suits its size; the choice hangs on its shape alone, so that every rule
/// gets the same sums.
#[derive(Clone)]
enum Theta<T> {
    /// θ^lᵀ, [n^l, n^{l−1}], so that `predict` and `learn` run along its rows; and θ^l, [n^{l−1}, n^l], but
    /// for the input's, so that feedback does too. One thread, our own product.
    Small(Matrix<T>, Option<Matrix<T>>),
    /// θ^lᵀ in panels; all threads, our own product, float32.
    Large(Panels),
    /// θ^lᵀ, through the `gemm` crate: float64, and shapes too odd for panels.
    Library(Matrix<T>),
}

impl<T: Real> Params<T> {
    /// θ^l and b^l from the host.
    pub(crate) fn new(weights: &Weights, l: usize) -> Self {
        let theta = &weights.theta[l - 1];
        let transposed = || Matrix::from_array(theta.t());
        let store = if !T::OWN_PRODUCT {
            Theta::Library(transposed())
        } else if theta.len() <= SMALL {
            let copy = (l < weights.theta.len()).then(|| Matrix::from_array(theta.view()));
            Theta::Small(transposed(), copy)
        } else if theta.ncols() >= panels::ROWS {
            let mut panels = Panels::zeros(theta.ncols(), theta.nrows());
            for ((i, j), value) in theta.indexed_iter() {
                panels.set(j, i, *value);
            }
            Theta::Large(panels)
        } else {
            Theta::Library(transposed())
        };
        Params {
            theta: store,
            bias: weights.bias.get(l - 1).map(|b| Matrix::from_array(b.view().insert_axis(ndarray::Axis(0)))),
            bias_sum: Matrix::zeros(1, theta.nrows()),
        }
    }

    /// θ^l as a host array, [n^{l−1}, n^l].
    pub(crate) fn theta(&self) -> ndarray::Array2<f64> {
        match &self.theta {
            Theta::Small(theta_t, _) | Theta::Library(theta_t) => theta_t.to_array().reversed_axes(),
            Theta::Large(p) => ndarray::Array2::from_shape_fn((p.cols, p.rows), |(i, j)| f64::from(p.get(j, i))),
        }
    }

    /// Whether every weight, or (second) every bias, is finite.
    pub(crate) fn finite(&self) -> (bool, bool) {
        let all = |m: &Matrix<T>| m.data().iter().all(|v| v.to_f64().is_finite());
        let theta = match &self.theta {
            Theta::Small(theta_t, _) | Theta::Library(theta_t) => all(theta_t),
            Theta::Large(panels) => panels.data().iter().all(|v| v.is_finite()),
        };
        (theta, self.bias.as_ref().is_none_or(all))
    }

    /// μ = h θᵀ
    pub(crate) fn predict(&self, exec: &Exec, mu: &mut Matrix<T>, h: &Matrix<T>) {
        match &self.theta {
            Theta::Small(theta_t, _) => T::own_product(Call::new(mu, Left::plain(h), theta_t)),
            Theta::Library(theta_t) => library(exec, Call::new(mu, Left::plain(h), theta_t)),
            Theta::Large(theta_t) => {
                if let (Some(mu), Some(h)) = (float_mut(mu), float(h)) {
                    panels::predict(exec, mu, h, theta_t);
                }
            }
        }
    }

    /// g = ε θ
    pub(crate) fn feedback(&self, exec: &Exec, g: &mut Matrix<T>, eps: &Matrix<T>) {
        match &self.theta {
            Theta::Small(_, Some(theta)) => T::own_product(Call::new(g, Left::plain(eps), theta)),
            Theta::Small(theta_t, None) | Theta::Library(theta_t) => {
                library(exec, Call { right_transposed: true, ..Call::new(g, Left::plain(eps), theta_t) });
            }
            Theta::Large(theta_t) => {
                if let (Some(g), Some(eps)) = (float_mut(g), float(eps)) {
                    panels::feedback(exec, g, eps, theta_t);
                }
            }
        }
    }

    /// θ += α εᵀ h. The copy of a small θ gets the same sums of the same products, hence the same bits.
    pub(crate) fn learn(&mut self, exec: &Exec, alpha: T, eps: &Matrix<T>, h: &Matrix<T>) {
        let add = |call| Call { scale: Some(alpha), ..call };
        match &mut self.theta {
            Theta::Small(theta_t, theta) => {
                T::own_product(add(Call::new(theta_t, Left::transposed(h), eps)));
                if let Some(theta) = theta {
                    T::own_product(add(Call::new(theta, Left::transposed(eps), h)));
                }
            }
            Theta::Library(theta_t) => library(exec, add(Call::new(theta_t, Left::transposed(h), eps))),
            Theta::Large(theta_t) => {
                if let (Some(eps), Some(h)) = (float(eps), float(h)) {
                    panels::learn(exec, theta_t, alpha.to_f64() as f32, eps, h);
                }
            }
        }
    }
}

fn library<T: Real>(exec: &Exec, call: Call<'_, T>) {
    let threads = exec.threads;
    if threads > 1 {
        exec.pool.install(|| product::library(call, threads));
    } else {
        product::library(call, 1);
    }
}

/// The matrix itself if its numbers are float32: panels are made for no other.
fn float<T: Real>(matrix: &Matrix<T>) -> Option<&Matrix<f32>> {
    (matrix as &dyn Any).downcast_ref()
}

/// As [`float`].
fn float_mut<T: Real>(matrix: &mut Matrix<T>) -> Option<&mut Matrix<f32>> {
    (matrix as &mut dyn Any).downcast_mut()
}
