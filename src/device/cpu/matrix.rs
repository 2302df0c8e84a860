//! Row-major matrices whose rows start on a cache line.

use super::real::Real;
use ndarray::{Array2, ArrayView2};

/// A cache line, and one full vector register on every machine we know.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl Line {
    /// All zero.
    pub(crate) const ZERO: Line = Line([0; 64]);
}

/// [rows, cols], row-major with row stride `ld`. Columns `cols..ld` are padding: they are zero wherever
/// a product reads them, so that products may work in whole vectors.
#[derive(Clone)]
pub(crate) struct Matrix<T> {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Row stride: `cols` rounded up to [`PAD`].
    pub(crate) ld: usize,
    lines: Vec<Line>,
    kind: std::marker::PhantomData<T>,
}

/// Row strides are multiples of this many numbers.
pub(crate) const PAD: usize = 16;

impl<T: Real> Matrix<T> {
    /// All zero.
    pub(crate) fn zeros(rows: usize, cols: usize) -> Self {
        let ld = cols.next_multiple_of(PAD);
        let lines = vec![Line::ZERO; rows * ld * size_of::<T>() / size_of::<Line>()];
        Matrix { rows, cols, ld, lines, kind: std::marker::PhantomData }
    }

    /// From a host array.
    pub(crate) fn from_array(array: ArrayView2<'_, f32>) -> Self {
        let mut matrix = Self::zeros(array.nrows(), array.ncols());
        for (i, row) in array.outer_iter().enumerate() {
            for (to, from) in matrix.row_mut(i).iter_mut().zip(row) {
                *to = T::from_f64(f64::from(*from));
            }
        }
        matrix
    }

    /// To a host array of float64 (exact for float32 too).
    pub(crate) fn to_array(&self) -> Array2<f64> {
        Array2::from_shape_fn((self.rows, self.cols), |(i, j)| self.data()[i * self.ld + j].to_f64())
    }

    /// Every number, padding included, [rows · ld].
    pub(crate) fn data(&self) -> &[T] {
        bytemuck::cast_slice(&self.lines)
    }

    /// Every number, padding included, [rows · ld].
    pub(crate) fn data_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// Row `i` without its padding.
    pub(crate) fn row(&self, i: usize) -> &[T] {
        &self.data()[i * self.ld..][..self.cols]
    }

    /// Row `i` without its padding.
    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [T] {
        let (ld, cols) = (self.ld, self.cols);
        &mut self.data_mut()[i * ld..][..cols]
    }

    /// Sets the padding to zero, after a loop that ran over whole rows.
    pub(crate) fn clear_padding(&mut self) {
        let (ld, cols) = (self.ld, self.cols);
        if cols < ld {
            for row in self.data_mut().chunks_exact_mut(ld) {
                row[cols..].fill(T::ZERO);
            }
        }
    }

    /// Bytes that a matrix of this shape takes.
    pub(crate) fn bytes(rows: usize, cols: usize) -> u64 {
        rows as u64 * cols.next_multiple_of(PAD) as u64 * size_of::<T>() as u64
    }
}
