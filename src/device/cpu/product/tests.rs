//! Compares every product with a plain loop, for several splits into bands and shards.

use super::*;
use crate::device::cpu::fixed_maps::FixedMap;
use crate::device::cpu::matrix::Shape;
use crate::device::cpu::parallel::Parallel;
use crate::plan::Window;
use crate::random::{Random, Stream};
use ndarray::{Array2, s};

fn random(rows: usize, cols: usize, index: u64) -> Array2<f32> {
    let mut r = Random::new(7, Stream::Test, index);
    Array2::from_shape_fn((rows, cols), |_| r.range(-1.0, 1.0) as f32)
}

/// The expected result, bit for bit: p = 0, 1, … in order, by fused multiply-adds.
fn sums(a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
    let dot = |i, j| (0..a.ncols()).fold(0.0, |sum: f32, p| f32::mul_add(a[(i, p)], b[(p, j)], sum));
    Array2::from_shape_fn((a.nrows(), b.ncols()), |(i, j)| dot(i, j))
}

fn matrix(a: &Array2<f32>) -> Matrix<f32> {
    Matrix::from_array(a.view())
}

fn same(got: &Matrix<f32>, want: &Array2<f32>) {
    assert_eq!(got.to_array().mapv(|v| (v as f32).to_bits()), want.mapv(f32::to_bits), "{:?}", want.dim());
}

const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (3, 5, 7),
    (10, 32, 784),
    (20, 10, 33),
    (23, 33, 17),
    (31, 65, 400),
    (64, 127, 65),
    (100, 40, 385),
    (16, 200, 512),
];

#[test]
fn every_product_in_any_bands_has_the_bits_of_sums_in_order() {
    let arch = Arch::new();
    for (m, n, k) in SHAPES {
        let (a, b) = (random(m, k, 1), random(k, n, 2));
        let (left, right, want) = (matrix(&a), matrix(&b), sums(&a, &b));
        for bands in [1, 2, 5] {
            let (mut out, mut transposed) = (Matrix::<f32>::zeros(m, n), Matrix::<f32>::zeros(n, m));
            let mut plain = (out.clone(), transposed.clone());
            let mut scratch = vec![0.0; Transposed::<f32>::scratch(n)];
            for i in 0..bands {
                let band = &out.shape().band(i, bands);
                let r = band.range();
                f32::rows(arch, Rows { out: &mut out.data_mut()[r.clone()], band, left: &left, right: &right });
                plain::rows(arch, Rows { out: &mut plain.0.data_mut()[r], band, left: &left, right: &right });
                let (band, scratch) = (&transposed.shape().band(i, bands), &mut scratch[..]);
                let r = band.range();
                let (left, right) = (&left, &right);
                f32::transposed(
                    arch,
                    Transposed { out: &mut transposed.data_mut()[r.clone()], band, left, right, scratch },
                );
                let out = &mut plain.1.data_mut()[r];
                plain::transposed(arch, Transposed { out, band, left, right, scratch });
            }
            same(&out, &want);
            same(&plain.0, &want);
            same(&transposed, &want.t().to_owned());
            same(&plain.1, &want.t().to_owned());
        }
    }
}

#[test]
fn weights_learn_the_same_bits_from_one_batch_and_from_its_shards() {
    let arch = Arch::new();
    for (m, n, k) in SHAPES {
        let (a, b, c) = (random(k, m, 1), random(k, n, 2), random(m, n, 3));
        let sum = sums(&a.t().to_owned(), &b);
        let want = Array2::from_shape_fn((m, n), |at| 0.25f32.mul_add(sum[at], c[at]));
        for cut in [0, k / 3, k] {
            // Empty shards do not occur.
            let parts = [0..cut, cut..k].into_iter().filter(|p| !p.is_empty());
            let pair = |p: Range<usize>| {
                (matrix(&a.slice(s![p.clone(), ..]).to_owned()), matrix(&b.slice(s![p, ..]).to_owned()))
            };
            let shards: Vec<_> = parts.map(pair).collect();
            let operands = |s: usize| (&shards[s].0, &shards[s].1);
            for (bands, deep) in [(1, false), (3, false), (1, true), (3, true)] {
                let (mut theta, mut plain) = (matrix(&c), matrix(&c));
                for i in 0..bands {
                    let band = &theta.shape().band(i, bands);
                    let (r, shards, alpha) = (band.range(), shards.len(), 0.25);
                    // NaNs show that the old contents of the partial sums are not used.
                    let mut sums = vec![f32::NAN; if deep { r.len() } else { 0 }];
                    let sums = &mut sums[..];
                    let theta = &mut theta.data_mut()[r.clone()];
                    f32::columns(arch, Columns { theta, band, operands, shards, alpha, sums });
                    let theta = &mut plain.data_mut()[r];
                    plain::columns(arch, Columns { theta, band, operands, shards, alpha, sums: &mut [] });
                }
                same(&theta, &want);
                same(&plain, &want);
            }
        }
    }
}

/// im2col patches that are read in place give results bit-identical to those of stored patches, for images and for
/// grids with few and many channels.
#[test]
fn patches_in_place_have_the_bits_of_stored_ones() {
    let arch = Arch::new();
    for (samples, channels, [height, width], planes, [kernel, stride, padding], n) in [
        (2, 1, [9, 8], true, [5, 1, 2], 6),
        (3, 3, [8, 8], true, [3, 2, 1], 33),
        (4, 6, [7, 6], false, [3, 1, 0], 16),
        (2, 16, [6, 5], false, [2, 1, 1], 40),
        (2, 40, [5, 5], false, [3, 1, 1], 24),
        (5, 32, [4, 4], false, [4, 1, 0], 70),
    ] {
        let [channels, height, width, kernel, stride, padding] =
            [channels, height, width, kernel, stride, padding].map(|v| v as u32);
        let map = FixedMap::of_window(Window { channels, height, width, planes, kernel, stride, padding });
        let (pixels, channels) = ((height * width) as usize, channels as usize);
        let shape = match planes {
            true => Shape { rows: samples, cols: channels * pixels, wide: PANEL },
            false => Shape::of_places(samples, pixels, channels),
        };
        let mut grid = Matrix::<f32>::of(shape);
        grid.fill_from(random(shape.rows, shape.cols, 1).view());
        let mut patches = Matrix::<f32>::of_patches(map.in_place(samples).expect("patches"), samples);
        let padded = patches.shape();
        map.pad(&Parallel::serial(), (padded, &mut patches.lines), &grid);
        let left = patches.to_array().mapv(|v| v as f32);
        let (rows, k) = left.dim();
        let (weights, error) = (random(k, n, 2), random(rows, n, 3));
        let (right, error_matrix) = (matrix(&weights), matrix(&error));
        let theta = random(k, n, 4);
        for bands in [1, 3] {
            let mut out = Matrix::<f32>::zeros(rows, n);
            let mut learnt = matrix(&theta);
            for i in 0..bands {
                let band = &out.shape().band(i, bands);
                let part = &mut out.data_mut()[band.range()];
                f32::rows(arch, Rows { out: part, band, left: &patches, right: &right });
                let band = &learnt.shape().band(i, bands);
                let theta = &mut learnt.data_mut()[band.range()];
                let mut sums = vec![f32::NAN; if bands == 3 { theta.len() } else { 0 }];
                let operands = |_| (&patches, &error_matrix);
                f32::columns(arch, Columns { theta, band, operands, shards: 1, alpha: 0.5, sums: &mut sums });
            }
            same(&out, &sums(&left, &weights));
            let sum = sums(&left.t().to_owned(), &error);
            same(&learnt, &Array2::from_shape_fn((k, n), |at| 0.5f32.mul_add(sum[at], theta[at])));
        }
    }
}

#[test]
fn transposing_in_bands_turns_a_matrix() {
    for (m, n, _) in SHAPES {
        let a = random(m, n, 4);
        let mut transposed = Matrix::<f32>::zeros(n, m);
        for i in 0..3 {
            let band = transposed.shape().band(i, 3);
            transpose(Arch::new(), &mut transposed.data_mut()[band.range()], &band, &matrix(&a));
        }
        same(&transposed, &a.t().to_owned());
    }
}
