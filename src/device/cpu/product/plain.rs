//! The same products without register tiles, for any precision; float64 uses them.

use super::{Columns, Matrix, PANEL, Rows, Transposed};
use crate::device::cpu::element::Element;
use crate::device::cpu::vector::vector;
use pulp::Arch;

/// out = left · right
pub(crate) fn rows<T: Element>(arch: Arch, product: Rows<'_, T>) {
    let Rows { out, band, left, right } = product;
    let mut rest = out;
    for piece in band.pieces() {
        let right = right.panel(piece.q);
        let (part, after) = rest.split_at_mut(piece.len());
        rest = after;
        for (i, out) in piece.rows.zip(part.chunks_exact_mut(piece.wide)) {
            let value = |p| left.get(i, p);
            vector(
                arch,
                #[inline(always)]
                || {
                    let sums = sum([T::ZERO; PANEL], (0..left.cols).map(|p| (value(p), &right[p * PANEL..][..PANEL])));
                    out.copy_from_slice(&sums[..out.len()]);
                },
            );
        }
    }
}

/// out = (left · right)ᵀ
pub(crate) fn transposed<T: Element>(arch: Arch, product: Transposed<'_, T>) {
    let Transposed { out, band, left, right, .. } = product;
    let mut rows = out.chunks_exact_mut(PANEL);
    for piece in band.pieces() {
        let (units, right_rows) = (PANEL.min(left.rows - piece.q * PANEL), right.rows);
        for (sample, out) in piece.rows.zip(&mut rows) {
            out.fill(T::ZERO);
            for (j, out) in out[..units].iter_mut().enumerate() {
                let (left, right) = (|p| left.get(piece.q * PANEL + j, p), |p| right.get(p, sample));
                *out = vector(
                    arch,
                    #[inline(always)]
                    || (0..right_rows).fold(T::ZERO, |sum, p| left(p).fma(right(p), sum)),
                );
            }
        }
    }
}

/// θ += α leftᵀ · right
pub(crate) fn columns<'m, T: Element, F: Fn(usize) -> (&'m Matrix<T>, &'m Matrix<T>)>(
    arch: Arch,
    product: Columns<'_, T, F>,
) {
    let Columns { theta, band, operands, shards, alpha, .. } = product;
    let mut theta = theta.chunks_exact_mut(PANEL);
    for piece in band.pieces() {
        for (u, theta) in piece.rows.zip(&mut theta) {
            vector(
                arch,
                #[inline(always)]
                || {
                    let mut sums = [T::ZERO; PANEL];
                    for s in 0..shards {
                        let (left, right) = operands(s);
                        sums = sum(sums, (0..left.rows).map(|p| (left.get(p, u), right.row(piece.q, p))));
                    }
                    for (theta, sum) in theta.iter_mut().zip(sums) {
                        *theta = alpha.fma(sum, *theta);
                    }
                },
            );
        }
    }
}

/// sums + Σ a · row, in order.
#[inline(always)]
fn sum<'r, T: Element>(mut sums: [T; PANEL], terms: impl Iterator<Item = (T, &'r [T])>) -> [T; PANEL] {
    for (a, row) in terms {
        for (sum, b) in sums.iter_mut().zip(row) {
            *sum = a.fma(*b, *sum);
        }
    }
    sums
}
