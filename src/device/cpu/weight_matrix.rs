//! Slots of a projection: weights θ^l with b^l, fixed feedback weights, optimiser state.

use super::element::Element;
use super::matrix::{Band, Matrix};
use super::parallel::Parallel;
use super::product::{self, Products, Rows, Transposed};
use ndarray::{Array1, Array2, ArrayView2};
use pulp::Arch;
use std::cell::RefCell;

/// Size limit in values, half of a common L2 cache. Weight matrices up to this size, and those of convolutions, keep a second copy
/// for feedback. A network with at most this many weights in all is parallelised over samples.
pub(crate) const SMALL: u64 = 1 << 17;

thread_local! {
    /// Per-thread space for products before they are transposed; it grows to the largest size and is then reused.
    static SCRATCH: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// A slot of a projection: W [n_to, n_from], and `[n_to]` for the biases.
pub(crate) struct WeightMatrix<T> {
    /// Wᵀ, [n_from, n_to]. Forward products and weight changes stream along its rows.
    pub(crate) transposed: Matrix<T>,
    /// W, [n_to, n_from], kept for backward products if the matrix is small or is used at several grid positions.
    /// Feedback streams along its rows. Its values are summed in the same order as those of `transposed`, or copied
    /// from them; the two copies are bit-identical.
    pub(crate) second: Option<Matrix<T>>,
    /// The biases, [1, n_to].
    pub(crate) bias: Option<Matrix<T>>,
}

impl<T> Clone for WeightMatrix<T> {
    fn clone(&self) -> Self {
        let WeightMatrix { transposed, second, bias } = self;
        WeightMatrix { transposed: transposed.clone(), second: second.clone(), bias: bias.clone() }
    }

    fn clone_from(&mut self, other: &Self) {
        self.transposed.clone_from(&other.transposed);
        self.second.clone_from(&other.second);
        self.bias.clone_from(&other.bias);
    }
}

impl<T> Default for WeightMatrix<T> {
    /// An empty slot.
    fn default() -> Self {
        WeightMatrix { transposed: Matrix::default(), second: None, bias: None }
    }
}

impl<T: Products> WeightMatrix<T> {
    /// From host arrays; `backward` as for [`is_kept_twice`].
    pub(crate) fn new(weights: ArrayView2<'_, f32>, bias: Option<&Array1<f32>>, backward: Option<usize>) -> Self {
        WeightMatrix {
            transposed: Matrix::from_array(weights.t()),
            second: is_kept_twice(weights.nrows(), weights.ncols(), backward).then(|| Matrix::from_array(weights)),
            bias: bias.map(|b| Matrix::from_array(b.view().insert_axis(ndarray::Axis(0)))),
        }
    }

    /// Overwrites the values in place with host arrays of the same shape. Without `bias` the biases become 0.
    pub(crate) fn fill(&mut self, weights: ArrayView2<'_, f32>, bias: Option<&Array1<f32>>) {
        self.transposed.fill_from(weights.t());
        self.second.iter_mut().for_each(|second| second.fill_from(weights));
        if let Some(own) = &mut self.bias {
            match bias {
                Some(bias) => own.fill_from(bias.view().insert_axis(ndarray::Axis(0))),
                None => own.data_mut().fill(T::ZERO),
            }
        }
    }

    /// W as a host array, rounded to float32.
    pub(crate) fn weights(&self) -> Array2<f32> {
        let t = &self.transposed;
        Array2::from_shape_fn((t.cols, t.rows), |(i, j)| t.get(j, i).to_f64() as f32)
    }

    /// W as a host array in float64.
    pub(crate) fn weights_f64(&self) -> Array2<f64> {
        self.transposed.to_array().reversed_axes()
    }

    /// Bytes that [`WeightMatrix::new`] allocates.
    pub(crate) fn bytes(to: usize, from: usize, backward: Option<usize>) -> u64 {
        let copy = if is_kept_twice(to, from, backward) { Matrix::<T>::bytes(to, from) } else { 0 };
        Matrix::<T>::bytes(from, to) + copy + Matrix::<T>::bytes(1, to)
    }

    /// Whether all weights are finite, and whether all biases are.
    pub(crate) fn finite(&self) -> (bool, bool) {
        (self.transposed.finite(), self.bias.as_ref().is_none_or(Matrix::finite))
    }

    /// A band of from · Wᵀ, [batch, n_to].
    pub(crate) fn forward(&self, arch: Arch, band: &Band, out: &mut [T], from: &Matrix<T>) {
        T::rows(arch, Rows { out, band, left: from, right: &self.transposed });
    }

    /// A band of from · W, [batch, n_from]. `from_t` is fromᵀ, needed if W has no second copy.
    pub(crate) fn backward(&self, arch: Arch, band: &Band, out: &mut [T], from: &Matrix<T>, from_t: &Matrix<T>) {
        match &self.second {
            Some(second) => T::rows(arch, Rows { out, band, left: from, right: second }),
            None => SCRATCH.with_borrow_mut(|scratch| {
                let longest = band.pieces().map(|piece| piece.rows.len()).max().unwrap_or(0);
                let numbers = Transposed::<T>::scratch(longest);
                let words = (numbers * size_of::<T>()).div_ceil(size_of::<f64>());
                if scratch.len() < words {
                    scratch.resize(words, 0.0);
                }
                let scratch = &mut bytemuck::cast_slice_mut(scratch)[..numbers];
                T::transposed(arch, Transposed { out, band, left: &self.transposed, right: from_t, scratch });
            }),
        }
    }

    /// Computes fromᵀ for [`WeightMatrix::backward`], if it is needed.
    pub(crate) fn prepare(&self, exec: &Parallel, from: &Matrix<T>, from_t: &mut Matrix<T>) {
        if self.second.is_none() {
            let (shape, work) = (from_t.shape(), 8 * from.data().len() as u64);
            exec.share(shape, work, std::slice::from_mut(&mut from_t.lines), |band, to| {
                product::transpose(exec.arch, to[0], band, from);
            });
        }
    }

    /// Recomputes the second copy from the first.
    pub(crate) fn update_second(&mut self, exec: &Parallel) {
        if let Some(second) = &mut self.second {
            let (shape, work) = (second.shape(), 8 * second.data().len() as u64);
            exec.share(shape, work, std::slice::from_mut(&mut second.lines), |band, to| {
                product::transpose(exec.arch, to[0], band, &self.transposed);
            });
        }
    }
}

/// Maximum number of scratch values per thread at this batch size.
pub(crate) fn scratch<T: Element>(batch: usize) -> u64 {
    Transposed::<T>::scratch(batch) as u64
}

/// Whether a second copy W is kept; feedback then needs no transposition. `backward` is the number of grid positions of
/// the backward product with this slot, or `None` if there is no such product. With several positions the product has
/// batch · positions rows, so the cost of the copy is negligible.
pub(crate) fn is_kept_twice(to: usize, from: usize, backward: Option<usize>) -> bool {
    backward.is_some_and(|places| places > 1 || (to * from) as u64 <= SMALL)
}
