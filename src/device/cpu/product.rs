//! The matrix product behind `predict`, `infer` and `learn`.
//!
//! Three ways, chosen by the shape of the weight matrix alone, so that every rule takes the same one: for
//! small matrices our own on one thread (no packing and no hand-off, both of which cost more than the
//! arithmetic there), for large ones our own in panels on all threads (`panels.rs`), and the `gemm` crate
//! for float64 and odd shapes. Each adds up in a fixed order: for one machine, shape and number of threads
//! the bits are always the same.
#![allow(
    unsafe_code,
    reason = "raw pointers into matrices whose bounds are asserted at entry, and the gemm crate's call"
)]

use super::matrix::Matrix;
use super::real::Real;
use pulp::{Arch, Simd, WithSimd};

/// The left operand: element (i, p) is `data[i · row + p · inner]`, for i < rows, p < depth.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) row: usize,
    pub(crate) inner: usize,
}

impl<'a, T: Real> Left<'a, T> {
    /// The matrix itself: rows × cols.
    pub(crate) fn plain(m: &'a Matrix<T>) -> Self {
        Left { data: m.data(), rows: m.rows, depth: m.cols, row: m.ld, inner: 1 }
    }

    /// Its transpose: cols × rows.
    pub(crate) fn transposed(m: &'a Matrix<T>) -> Self {
        Left { data: m.data(), rows: m.cols, depth: m.rows, row: 1, inner: m.ld }
    }
}

/// dst = left · right, or dst += scale · left · right.
pub(crate) struct Call<'a, T> {
    /// [left.rows, n]
    pub(crate) dst: &'a mut Matrix<T>,
    pub(crate) left: Left<'a, T>,
    /// [left.depth, n], or [n, left.depth] if `right_transposed` (the library only).
    pub(crate) right: &'a Matrix<T>,
    pub(crate) right_transposed: bool,
    pub(crate) scale: Option<T>,
}

impl<'a, T: Real> Call<'a, T> {
    /// dst = left · right
    pub(crate) fn new(dst: &'a mut Matrix<T>, left: Left<'a, T>, right: &'a Matrix<T>) -> Self {
        Call { dst, left, right, right_transposed: false, scale: None }
    }

    /// Panics, before any pointer is formed, if the shapes do not fit together.
    fn assert_shapes(&self) {
        let right =
            if self.right_transposed { (self.right.cols, self.right.rows) } else { (self.right.rows, self.right.cols) };
        assert_eq!((self.left.rows, self.left.depth, self.dst.cols), (self.dst.rows, right.0, right.1));
        let Left { data, rows, depth, row, inner } = self.left;
        assert!(rows > 0 && depth > 0 && (rows - 1) * row + (depth - 1) * inner < data.len());
    }
}

/// The product through the `gemm` crate, on up to `threads` threads of the current rayon pool.
pub(crate) fn library<T: Real>(call: Call<'_, T>, threads: usize) {
    call.assert_shapes();
    let Call { dst, left, right, right_transposed, scale } = call;
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    let (right_row, right_col) = if right_transposed { (1, right.ld as isize) } else { (right.ld as isize, 1) };
    let (m, n, k) = (left.rows, dst.cols, left.depth);
    let (dst_row, keep) = (dst.ld as isize, scale.is_some());
    // SAFETY: `assert_shapes` has checked that all three operands hold the elements that (m, n, k) and
    // these strides reach, and `dst` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.data_mut().as_mut_ptr(),
            1,
            dst_row,
            keep,
            left.data.as_ptr(),
            left.inner as isize,
            left.row as isize,
            right.data().as_ptr(),
            right_col,
            right_row,
            if keep { T::ONE } else { T::ZERO },
            scale.unwrap_or(T::ONE),
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// The product on the calling thread, by register tiles over whole padded rows.
pub(crate) fn own(call: Call<'_, f32>) {
    call.assert_shapes();
    assert!(!call.right_transposed && call.right.ld == call.dst.ld);
    Arch::new().dispatch(Own(call));
}

struct Own<'a>(Call<'a, f32>);

impl WithSimd for Own<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Tiles that fill the register file: 32 registers of 16, 16 of 8, 32 of 4.
        match S::F32_LANES {
            16 => panels::<S, 10, 2>(simd, self.0),
            8 => panels::<S, 6, 2>(simd, self.0),
            _ => panels::<S, 6, 4>(simd, self.0),
        }
    }
}

/// Covers dst with tiles of R rows by V vectors, and what is left over with smaller ones.
#[inline(always)]
fn panels<S: Simd, const R: usize, const V: usize>(simd: S, call: Call<'_, f32>) {
    let lanes = S::F32_LANES;
    let (rows, vectors) = (call.left.rows, call.dst.ld / lanes);
    let mut tile = Tile {
        depth: call.left.depth,
        left: call.left.data.as_ptr(),
        left_row: call.left.row,
        left_inner: call.left.inner,
        right: call.right.data().as_ptr(),
        dst: call.dst.data_mut().as_mut_ptr(),
        ld: call.right.ld,
        scale: call.scale,
    };
    let (left, right, dst) = (tile.left, tile.right, tile.dst);
    let mut v = 0;
    while v < vectors {
        let wide = vectors - v >= V;
        let mut i = 0;
        while i < rows {
            // SAFETY: row i < rows and vector v < vectors lie inside the operands `assert_shapes` has
            // checked; the tiles below stay within `rows - i` rows and `vectors - v` vectors.
            unsafe {
                tile.left = left.add(i * tile.left_row);
                tile.right = right.add(v * lanes);
                tile.dst = dst.add(i * tile.ld + v * lanes);
                i += match (rows - i >= R, rows - i >= 4, wide) {
                    (true, _, true) => tile.run::<S, R, V>(simd),
                    (true, _, false) => tile.run::<S, R, 1>(simd),
                    (false, true, true) => tile.run::<S, 4, V>(simd),
                    (false, true, false) => tile.run::<S, 4, 1>(simd),
                    (false, false, true) => tile.run::<S, 1, V>(simd),
                    (false, false, false) => tile.run::<S, 1, 1>(simd),
                };
            }
        }
        v += if wide { V } else { 1 };
    }
}

/// One register tile: pointers to its first elements.
struct Tile {
    depth: usize,
    left: *const f32,
    left_row: usize,
    left_inner: usize,
    right: *const f32,
    dst: *mut f32,
    /// Row stride of `right` and `dst`.
    ld: usize,
    scale: Option<f32>,
}

impl Tile {
    /// Adds up R × V vectors in registers, p = 0, 1, … in order, and returns R.
    ///
    /// # Safety
    /// R rows of `left` and `dst`, `depth` rows of `right`, and V vectors of each row must be there.
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) -> usize {
        let lanes = S::F32_LANES;
        let mut sum = [[simd.splat_f32s(0.0); V]; R];
        for p in 0..self.depth {
            // SAFETY: p < depth, r < R, v < V: inside by this function's contract.
            unsafe {
                let right = self.right.add(p * self.ld);
                let mut row = [simd.splat_f32s(0.0); V];
                for v in 0..V {
                    row[v] = right.add(v * lanes).cast::<S::f32s>().read_unaligned();
                }
                for r in 0..R {
                    let a = simd.splat_f32s(*self.left.add(r * self.left_row + p * self.left_inner));
                    for v in 0..V {
                        sum[r][v] = simd.mul_add_f32s(a, row[v], sum[r][v]);
                    }
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                // SAFETY: r < R, v < V: inside by this function's contract.
                unsafe {
                    let dst = self.dst.add(r * self.ld + v * lanes).cast::<S::f32s>();
                    let value = match self.scale {
                        None => sum[r][v],
                        Some(scale) => simd.mul_add_f32s(simd.splat_f32s(scale), sum[r][v], dst.read_unaligned()),
                    };
                    dst.write_unaligned(value);
                }
            }
        }
        R
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, Stream};
    use ndarray::Array2;

    fn random(rows: usize, cols: usize, index: u64) -> Array2<f32> {
        let mut r = Random::new(7, Stream::Test, index);
        Array2::from_shape_fn((rows, cols), |_| r.range(-1.0, 1.0) as f32)
    }

    /// Own and library products against ndarray in float64, over ragged shapes, within the forward-error
    /// bound γ_K |A||B|.
    #[test]
    fn products_stay_within_the_forward_error_bound() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (10, 32, 784), (20, 10, 33), (23, 33, 17), (31, 65, 4), (64, 127, 65)] {
            let (a, b, c) = (random(m, k, 1), random(k, n, 2), random(m, n, 3));
            for (scale, own_way, transposed) in
                [(None, true, false), (Some(0.25f32), true, false), (None, false, false), (None, true, true)]
            {
                let left = if transposed { a.t().as_standard_layout().to_owned() } else { a.clone() };
                let left = Matrix::<f32>::from_array(left.view());
                let right = Matrix::from_array(b.view());
                let mut dst = Matrix::from_array(c.view());
                let view = if transposed { Left::transposed(&left) } else { Left::plain(&left) };
                let call = Call { dst: &mut dst, left: view, right: &right, right_transposed: false, scale };
                if own_way {
                    own(call)
                } else {
                    library(call, 2)
                }
                let wide = |x: &Array2<f32>| x.mapv(f64::from);
                let s = f64::from(scale.unwrap_or(1.0));
                let exact = wide(&a).dot(&wide(&b)) * s + if scale.is_some() { wide(&c) } else { wide(&c) * 0.0 };
                let size = wide(&a).mapv(f64::abs).dot(&wide(&b).mapv(f64::abs)) * s + wide(&c).mapv(f64::abs);
                let u = f64::from(f32::EPSILON) / 2.0;
                let gamma = (k + 2) as f64 * u / (1.0 - (k + 2) as f64 * u);
                for ((got, want), size) in dst.to_array().iter().zip(&exact).zip(&size) {
                    assert!((got - want).abs() <= gamma * size, "{m}x{n}x{k}: {got} for {want}");
                }
            }
        }
    }
}
