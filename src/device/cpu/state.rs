//! What a CPU session holds: layers, parameters, and the machine it runs on.

use super::matrix::{Matrix, PAD};
use super::product::{self, Call, Left};
use super::real::Real;
use crate::network::{Network, Weights};
use pulp::Arch;
use rayon::prelude::*;
use std::sync::Arc;

/// Weight matrices of at most this many numbers (half of a common second-level cache) take our own product.
const SMALL: usize = 1 << 17;
/// Elementwise kernels on at least this many numbers are shared out over the threads.
const WIDE: usize = 1 << 16;
/// Numbers a thread takes at a time in those.
const CHUNK: usize = 1 << 13;

/// How kernels run: the vector unit found on this machine, and the threads they may use.
#[derive(Clone)]
pub(crate) struct Exec {
    arch: Arch,
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Exec {
    /// `pool` is `None` for one thread.
    pub(crate) fn new(pool: Option<Arc<rayon::ThreadPool>>) -> Self {
        Exec { arch: Arch::new(), pool }
    }

    /// Threads that large kernels may use.
    pub(crate) fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, |p| p.current_num_threads())
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
        let len = write[0].len();
        match &self.pool {
            Some(pool) if len >= WIDE => {
                let pieces = split(write, read, len);
                pool.install(|| pieces.into_par_iter().for_each(|(w, r)| piece(self.arch, &body, w, r)));
            }
            _ => piece(self.arch, &body, write, read),
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
    /// θ^lᵀ, [n^l, n^{l−1}]: `predict` and `learn` then run along its rows.
    theta_t: Matrix<T>,
    /// θ^l, [n^{l−1}, n^l], kept beside it where the matrix is small, so that feedback does too.
    theta: Option<Matrix<T>>,
    /// Whether the products are our own.
    own: bool,
    /// b^l, [1, n^{l−1}].
    pub(crate) bias: Option<Matrix<T>>,
    /// Σ_batch ε^{l−1}, [1, n^{l−1}].
    pub(crate) bias_sum: Matrix<T>,
}

impl<T: Real> Params<T> {
    /// θ^l and b^l from the host.
    pub(crate) fn new(weights: &Weights, l: usize) -> Self {
        let theta = &weights.theta[l - 1];
        let own = T::OWN_PRODUCT && theta.len() <= SMALL;
        Params {
            theta_t: Matrix::from_array(theta.t()),
            theta: (own && l < weights.theta.len()).then(|| Matrix::from_array(theta.view())),
            own,
            bias: weights.bias.get(l - 1).map(|b| Matrix::from_array(b.view().insert_axis(ndarray::Axis(0)))),
            bias_sum: Matrix::zeros(1, theta.nrows()),
        }
    }

    /// θ^l as a host array, [n^{l−1}, n^l].
    pub(crate) fn theta(&self) -> ndarray::Array2<f64> {
        self.theta_t.to_array().reversed_axes()
    }

    /// Whether every weight, or (second) every bias, is finite.
    pub(crate) fn finite(&self) -> (bool, bool) {
        let all = |m: &Matrix<T>| m.data().iter().all(|v| v.to_f64().is_finite());
        (all(&self.theta_t), self.bias.as_ref().is_none_or(all))
    }

    /// μ = h θᵀ
    pub(crate) fn predict(&self, exec: &Exec, mu: &mut Matrix<T>, h: &Matrix<T>) {
        self.product(
            exec,
            Call { dst: mu, left: Left::plain(h), right: &self.theta_t, right_transposed: false, scale: None },
        );
    }

    /// g = ε θ
    pub(crate) fn feedback(&self, exec: &Exec, g: &mut Matrix<T>, eps: &Matrix<T>) {
        let (right, right_transposed) = self.theta.as_ref().map_or((&self.theta_t, true), |theta| (theta, false));
        self.product(exec, Call { dst: g, left: Left::plain(eps), right, right_transposed, scale: None });
    }

    /// θ += α εᵀ h. The copy of θ gets the same sums of the same products, hence the same bits.
    pub(crate) fn learn(&mut self, exec: &Exec, alpha: T, eps: &Matrix<T>, h: &Matrix<T>) {
        let own = self.own;
        let call = |dst, left, right| Call {
            dst,
            left: Left::transposed(left),
            right,
            right_transposed: false,
            scale: Some(alpha),
        };
        run_product(own, exec, call(&mut self.theta_t, h, eps));
        if let Some(theta) = &mut self.theta {
            run_product(own, exec, call(theta, eps, h));
        }
    }

    fn product(&self, exec: &Exec, call: Call<'_, T>) {
        run_product(self.own, exec, call);
    }
}

fn run_product<T: Real>(own: bool, exec: &Exec, call: Call<'_, T>) {
    if own {
        T::own_product(call);
        return;
    }
    match &exec.pool {
        Some(pool) => pool.install(|| product::library(call, exec.threads())),
        None => product::library(call, 1),
    }
}
