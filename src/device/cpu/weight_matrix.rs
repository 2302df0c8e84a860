//! The slots of a projection: weights θ^l with b^l, fixed feedback, an optimiser's state.

use super::element::Element;
use super::matrix::{Band, Matrix};
use super::parallel::Parallel;
use super::product::{self, Products, Rows, Transposed};
use ndarray::{Array1, Array2, ArrayView2};
use pulp::Arch;
use std::cell::RefCell;

/// Weight matrices of at most this many numbers (half of a common second-level cache), and those of convolutions, have a second
/// copy for feedback; a network of no more than this in all has its batch shared out over the threads by samples.
pub(crate) const SMALL: u64 = 1 << 17;

thread_local! {
    /// Where a thread puts products before they are turned; grown once.
    static SCRATCH: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// A slot of a projection, W [n_to, n_from], and beside it `[n_to]` for the biases.
pub(crate) struct WeightMatrix<T> {
    /// Wᵀ, [n_from, n_to], along whose rows forward products and changes run.
    pub(crate) turned: Matrix<T>,
    /// W, [n_to, n_from], where it is sent through backward and small, or at many places: along its rows feedback runs. It gets
    /// the same sums of the same products as the other copy, or that copy's numbers: the same bits.
    pub(crate) straight: Option<Matrix<T>>,
    /// [1, n_to]
    pub(crate) bias: Option<Matrix<T>>,
}

impl<T> Clone for WeightMatrix<T> {
    fn clone(&self) -> Self {
        let WeightMatrix { turned, straight, bias } = self;
        WeightMatrix { turned: turned.clone(), straight: straight.clone(), bias: bias.clone() }
    }

    fn clone_from(&mut self, other: &Self) {
        self.turned.clone_from(&other.turned);
        self.straight.clone_from(&other.straight);
        self.bias.clone_from(&other.bias);
    }
}

impl<T> Default for WeightMatrix<T> {
    /// No connection at all.
    fn default() -> Self {
        WeightMatrix { turned: Matrix::default(), straight: None, bias: None }
    }
}

impl<T: Products> WeightMatrix<T> {
    /// From the host's numbers; `backward` as [`doubled`] has it.
    pub(crate) fn new(weights: ArrayView2<'_, f32>, bias: Option<&Array1<f32>>, backward: Option<usize>) -> Self {
        WeightMatrix {
            turned: Matrix::from_array(weights.t()),
            straight: doubled(weights.nrows(), weights.ncols(), backward).then(|| Matrix::from_array(weights)),
            bias: bias.map(|b| Matrix::from_array(b.view().insert_axis(ndarray::Axis(0)))),
        }
    }

    /// Takes the host's numbers, of the same shape, into the same memory; biases that are not given become 0.
    pub(crate) fn fill(&mut self, weights: ArrayView2<'_, f32>, bias: Option<&Array1<f32>>) {
        self.turned.fill_from(weights.t());
        self.straight.iter_mut().for_each(|straight| straight.fill_from(weights));
        if let Some(own) = &mut self.bias {
            match bias {
                Some(bias) => own.fill_from(bias.view().insert_axis(ndarray::Axis(0))),
                None => own.data_mut().fill(T::ZERO),
            }
        }
    }

    /// W as a host array, rounded to float32.
    pub(crate) fn weights(&self) -> Array2<f32> {
        let t = &self.turned;
        Array2::from_shape_fn((t.cols, t.rows), |(i, j)| t.get(j, i).to_f64() as f32)
    }

    /// The same in float64.
    pub(crate) fn weights_f64(&self) -> Array2<f64> {
        self.turned.to_array().reversed_axes()
    }

    /// Bytes that [`WeightMatrix::new`] takes.
    pub(crate) fn bytes(to: usize, from: usize, backward: Option<usize>) -> u64 {
        let copy = if doubled(to, from, backward) { Matrix::<T>::bytes(to, from) } else { 0 };
        Matrix::<T>::bytes(from, to) + copy + Matrix::<T>::bytes(1, to)
    }

    /// Whether every weight, or (second) every bias, is finite.
    pub(crate) fn finite(&self) -> (bool, bool) {
        (self.turned.finite(), self.bias.as_ref().is_none_or(Matrix::finite))
    }

    /// A band of from · Wᵀ, [batch, n_to].
    pub(crate) fn forward(&self, arch: Arch, band: &Band, out: &mut [T], from: &Matrix<T>) {
        T::rows(arch, Rows { out, band, left: from, right: &self.turned });
    }

    /// A band of from · W, [batch, n_from]; `from_t` is fromᵀ where W is not kept twice.
    pub(crate) fn backward(&self, arch: Arch, band: &Band, out: &mut [T], from: &Matrix<T>, from_t: &Matrix<T>) {
        match &self.straight {
            Some(straight) => T::rows(arch, Rows { out, band, left: from, right: straight }),
            None => SCRATCH.with_borrow_mut(|scratch| {
                let longest = band.pieces().map(|piece| piece.rows.len()).max().unwrap_or(0);
                let numbers = Transposed::<T>::scratch(longest);
                let words = (numbers * size_of::<T>()).div_ceil(size_of::<f64>());
                if scratch.len() < words {
                    scratch.resize(words, 0.0);
                }
                let scratch = &mut bytemuck::cast_slice_mut(scratch)[..numbers];
                T::transposed(arch, Transposed { out, band, left: &self.turned, right: from_t, scratch });
            }),
        }
    }

    /// fromᵀ for [`WeightMatrix::backward`], where it is needed.
    pub(crate) fn prepare(&self, exec: &Parallel, from: &Matrix<T>, from_t: &mut Matrix<T>) {
        if self.straight.is_none() {
            let (shape, work) = (from_t.shape(), 8 * from.data().len() as u64);
            exec.share(shape, work, std::slice::from_mut(&mut from_t.lines), |band, to| {
                product::transpose(exec.arch, to[0], band, from);
            });
        }
    }

    /// Makes the second copy anew from the first.
    pub(crate) fn straighten(&mut self, exec: &Parallel) {
        if let Some(straight) = &mut self.straight {
            let (shape, work) = (straight.shape(), 8 * straight.data().len() as u64);
            exec.share(shape, work, std::slice::from_mut(&mut straight.lines), |band, to| {
                product::transpose(exec.arch, to[0], band, &self.turned);
            });
        }
    }
}

/// Numbers of a thread's scratch on batches of `batch`, at most.
pub(crate) fn scratch<T: Element>(batch: usize) -> u64 {
    Transposed::<T>::scratch(batch) as u64
}

/// Whether weights are kept twice; feedback then needs no transposing. `backward` is the places that they are sent through
/// backward from, if they are: at many, products have so many rows that the copy costs nothing.
pub(crate) fn doubled(to: usize, from: usize, backward: Option<usize>) -> bool {
    backward.is_some_and(|places| places > 1 || (to * from) as u64 <= SMALL)
}
