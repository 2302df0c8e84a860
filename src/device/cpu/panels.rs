//! The matrix products of large weight matrices, on all threads.
//!
//! θᵀ is kept in panels of [`PANEL`] columns, each contiguous: [n^l, 32] after [n^l, 32]. All three
//! products then stream through memory with nothing but the activations to repack:
//!
//! ```text
//! predict   μ  [batch, n^{l−1}]  = h · θᵀ       h packed in row blocks, panels of θᵀ as they lie
//! feedback  gᵀ [n^l, batch]      = θᵀ · εᵀ      rows of θᵀ as they lie, εᵀ packed in panels
//! learn     θᵀ [n^l, n^{l−1}]   += α hᵀ · ε     hᵀ packed in row blocks, ε packed in panels
//! ```
//!
//! A register tile adds up p = 0, 1, … in order, as in `product.rs`: neither the tile nor the number of
//! threads shows in the bits.
#![allow(unsafe_code, reason = "register tiles over raw pointers, whose extents the callers assert")]

use super::matrix::{Line, Matrix};
use super::state::Exec;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Columns of a panel.
pub(crate) const PANEL: usize = 32;
/// Rows of a packed block: those of the tallest register tile.
pub(crate) const ROWS: usize = 10;

/// A matrix in panels: [rows, cols], panel q holding columns 32 q ..; missing columns are zero.
#[derive(Clone)]
pub(crate) struct Panels {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    lines: Vec<Line>,
}

impl Panels {
    /// All zero.
    pub(crate) fn zeros(rows: usize, cols: usize) -> Self {
        Panels { rows, cols, lines: vec![Line::ZERO; rows * cols.div_ceil(PANEL) * 2] }
    }

    /// All panels, one after the other.
    pub(crate) fn data(&self) -> &[f32] {
        bytemuck::cast_slice(&self.lines)
    }

    fn data_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    fn at(&self, row: usize, col: usize) -> usize {
        (col / PANEL * self.rows + row) * PANEL + col % PANEL
    }

    /// Element (row, col).
    pub(crate) fn get(&self, row: usize, col: usize) -> f32 {
        self.data()[self.at(row, col)]
    }

    /// Sets element (row, col).
    pub(crate) fn set(&mut self, row: usize, col: usize, value: f32) {
        let at = self.at(row, col);
        self.data_mut()[at] = value;
    }
}

/// Packed operands, kept from update to update.
#[derive(Default)]
pub(crate) struct Scratch {
    left: Vec<Line>,
    right: Vec<Line>,
}

/// The first `len` numbers of a buffer that grows when it must.
fn room(lines: &mut Vec<Line>, len: usize) -> &mut [f32] {
    let wanted = len.div_ceil(PANEL / 2);
    if lines.len() < wanted {
        lines.resize(wanted, Line::ZERO);
    }
    &mut bytemuck::cast_slice_mut(lines)[..len]
}

/// μ = h θᵀ
pub(crate) fn predict(exec: &Exec, mu: &mut Matrix<f32>, h: &Matrix<f32>, theta_t: &Panels) {
    assert_eq!((mu.rows, mu.cols, h.cols), (h.rows, theta_t.cols, theta_t.rows));
    let mut scratch = exec.scratch();
    let (rows, depth) = (h.rows, h.cols);
    let left = room(&mut scratch.left, rows.div_ceil(ROWS) * ROWS * depth);
    exec.each(left.par_chunks_mut(ROWS * depth).enumerate(), |(b, block), _| {
        for r in 0..ROWS {
            let row = if b * ROWS + r < rows { h.row(b * ROWS + r) } else { &[] };
            for p in 0..depth {
                block[p * ROWS + r] = row.get(p).copied().unwrap_or(0.0);
            }
        }
    });
    let (left, ld, cols) = (&*left, mu.ld, mu.cols);
    let out = Shared(mu.data_mut().as_mut_ptr());
    exec.each(theta_t.data().par_chunks(depth * PANEL).enumerate(), |(q, panel), arch| {
        let width = (cols - q * PANEL).min(PANEL).next_multiple_of(16);
        for (b, block) in left.chunks_exact(ROWS * depth).enumerate() {
            let tile = Tile { left: block, panels: None, right: panel, depth };
            let sums = arch.dispatch(tile);
            for (r, sum) in sums.iter().enumerate().take(rows - b * ROWS) {
                // SAFETY: row b · ROWS + r < rows and columns 32 q .. 32 q + width ≤ ld lie inside μ, and
                // no other task writes the columns of panel q.
                unsafe {
                    let to = out.get().add((b * ROWS + r) * ld + q * PANEL);
                    std::ptr::copy_nonoverlapping(sum.as_ptr(), to, width);
                }
            }
        }
    });
}

/// g = ε θ, as gᵀ = θᵀ εᵀ
pub(crate) fn feedback(exec: &Exec, g: &mut Matrix<f32>, eps: &Matrix<f32>, theta_t: &Panels) {
    assert_eq!((g.rows, g.cols, eps.cols), (eps.rows, theta_t.rows, theta_t.cols));
    assert!(theta_t.rows >= ROWS);
    let mut scratch = exec.scratch();
    let (batch, depth, units) = (eps.rows, eps.cols, g.cols);
    let right = room(&mut scratch.right, batch.div_ceil(PANEL) * PANEL * depth);
    exec.each(right.par_chunks_mut(PANEL * depth).enumerate(), |(q, panel), _| {
        for s in 0..PANEL {
            let row = if q * PANEL + s < batch { eps.row(q * PANEL + s) } else { &[] };
            for p in 0..depth {
                panel[p * PANEL + s] = row.get(p).copied().unwrap_or(0.0);
            }
        }
    });
    let (right, ld) = (&*right, g.ld);
    let out = Shared(g.data_mut().as_mut_ptr());
    exec.each((0..units.div_ceil(ROWS)).into_par_iter(), |b, arch| {
        // The last block begins earlier, so that a tile never leaves the matrix; it writes only its own units.
        let first = (b * ROWS).min(units.saturating_sub(ROWS));
        for (q, panel) in right.chunks_exact(PANEL * depth).enumerate() {
            let tile = Tile { left: &theta_t.data()[first * PANEL..], panels: Some(theta_t.rows), right: panel, depth };
            let sums = arch.dispatch(tile);
            for s in 0..PANEL.min(batch - q * PANEL) {
                for (r, sum) in sums.iter().enumerate().skip(b * ROWS - first) {
                    // SAFETY: sample 32 q + s < batch and unit first + r < units lie inside g, and task b
                    // alone writes units ROWS b .. ROWS (b + 1).
                    unsafe { out.get().add((q * PANEL + s) * ld + first + r).write(sum[s]) };
                }
            }
        }
    });
}

/// θᵀ += α hᵀ ε
pub(crate) fn learn(exec: &Exec, theta_t: &mut Panels, alpha: f32, eps: &Matrix<f32>, h: &Matrix<f32>) {
    assert_eq!((theta_t.rows, theta_t.cols, eps.rows), (h.cols, eps.cols, h.rows));
    let mut scratch = exec.scratch();
    let Scratch { left, right } = &mut *scratch;
    let (units, depth, cols) = (h.cols, h.rows, eps.cols);
    let left = room(left, units.div_ceil(ROWS) * ROWS * depth);
    exec.each(left.par_chunks_mut(ROWS * depth).enumerate(), |(b, block), _| {
        let wide = ROWS.min(units - b * ROWS);
        for (p, to) in block.chunks_exact_mut(ROWS).enumerate() {
            to[..wide].copy_from_slice(&h.row(p)[b * ROWS..][..wide]);
            to[wide..].fill(0.0);
        }
    });
    let right = room(right, cols.div_ceil(PANEL) * PANEL * depth);
    exec.each(right.par_chunks_mut(PANEL * depth).enumerate(), |(q, panel), _| {
        let wide = PANEL.min(cols - q * PANEL);
        for (p, to) in panel.chunks_exact_mut(PANEL).enumerate() {
            to[..wide].copy_from_slice(&eps.row(p)[q * PANEL..][..wide]);
            to[wide..].fill(0.0);
        }
    });
    let (left, right) = (&*left, &*right);
    let panels = theta_t.data_mut().par_chunks_mut(units * PANEL).zip(right.par_chunks(PANEL * depth));
    exec.each(panels, |(theta, panel), arch| {
        for (block, rows) in left.chunks_exact(ROWS * depth).zip(theta.chunks_mut(ROWS * PANEL)) {
            let tile = Tile { left: block, panels: None, right: panel, depth };
            arch.dispatch(Update { tile, theta: rows, alpha });
        }
    });
}

/// The rows of a panel of θᵀ += α · a tile.
struct Update<'a> {
    tile: Tile<'a>,
    theta: &'a mut [f32],
    alpha: f32,
}

impl WithSimd for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let sums = self.tile.with_simd(simd);
        let alpha = simd.splat_f32s(self.alpha);
        let sums = S::as_simd_f32s(sums.as_flattened()).0;
        for (theta, sum) in S::as_mut_simd_f32s(self.theta).0.iter_mut().zip(sums) {
            *theta = simd.mul_add_f32s(alpha, *sum, *theta);
        }
    }
}

/// A pointer that tasks share; each writes elements of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

impl Shared {
    fn get(self) -> *mut f32 {
        self.0
    }
}

// SAFETY: only used by tasks that write disjoint elements, each use with its own proof.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// ROWS × PANEL sums of `left · right` over `depth`.
struct Tile<'a> {
    /// Packed [depth, ROWS], or rows of a matrix in panels.
    left: &'a [f32],
    /// The rows of that matrix, for `left` not packed.
    panels: Option<usize>,
    /// [depth, PANEL]
    right: &'a [f32],
    depth: usize,
}

/// The results of a tile, row by row.
type Sums = [[f32; PANEL]; ROWS];

impl WithSimd for Tile<'_> {
    type Output = Sums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sums {
        // Register tiles that fill the register file: 32 registers of 16, 16 of 8, 32 of 4.
        match S::F32_LANES {
            16 => self.tiles::<S, 10, 2>(simd),
            8 => self.tiles::<S, 5, 2>(simd),
            _ => self.tiles::<S, 5, 4>(simd),
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const V: usize>(self, simd: S) -> Sums {
        assert!(self.right.len() >= self.depth * PANEL);
        let mut sums = [[0.0; PANEL]; ROWS];
        let mut r = 0;
        while r < ROWS {
            let mut c = 0;
            while c < PANEL {
                match self.panels {
                    None => {
                        assert!(self.left.len() >= self.depth * ROWS);
                        let left = &self.left[r..];
                        self.run::<S, R, V>(simd, left, (1, ROWS), &self.right[c..], self.depth, &mut sums, (r, c));
                    }
                    Some(rows) => self.panel_rows::<S, R, V>(simd, rows, &mut sums, (r, c)),
                }
                c += V * S::F32_LANES;
            }
            r += R;
        }
        sums
    }

    /// As [`Tile::run`], with the rows of a matrix in panels on the left: 32 p's of a row lie together.
    #[inline(always)]
    fn panel_rows<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        rows: usize,
        sums: &mut Sums,
        at: (usize, usize),
    ) {
        let mut p = 0;
        while p < self.depth {
            let left = &self.left[p / PANEL * rows * PANEL + at.0 * PANEL..];
            let depth = PANEL.min(self.depth - p);
            assert!(left.len() >= (R - 1) * PANEL + depth);
            self.run::<S, R, V>(simd, left, (PANEL, 1), &self.right[p * PANEL + at.1..], depth, sums, at);
            p += PANEL;
        }
    }

    /// Adds R × V vectors over `depth` to `sums` at `at`; (row, inner) are the strides of `left`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "a register tile is described by its strides")]
    fn run<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        left: &[f32],
        (row, inner): (usize, usize),
        right: &[f32],
        depth: usize,
        sums: &mut Sums,
        at: (usize, usize),
    ) {
        let lanes = S::F32_LANES;
        let (left, right) = (left.as_ptr(), right.as_ptr());
        let mut acc = [[simd.splat_f32s(0.0); V]; R];
        for r in 0..R {
            for v in 0..V {
                let from: &[f32] = &sums[at.0 + r][at.1 + v * lanes..][..lanes];
                // SAFETY: `from` is one vector long.
                acc[r][v] = unsafe { from.as_ptr().cast::<S::f32s>().read_unaligned() };
            }
        }
        for p in 0..depth {
            // SAFETY: the callers have asserted that `left` holds R rows of `depth` numbers at these
            // strides, and `right` `depth` rows of a panel from column `at.1` on.
            unsafe {
                let from = right.add(p * PANEL);
                let mut line = [simd.splat_f32s(0.0); V];
                for v in 0..V {
                    line[v] = from.add(v * lanes).cast::<S::f32s>().read_unaligned();
                }
                for r in 0..R {
                    let a = simd.splat_f32s(*left.add(r * row + p * inner));
                    for v in 0..V {
                        acc[r][v] = simd.mul_add_f32s(a, line[v], acc[r][v]);
                    }
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let to: &mut [f32] = &mut sums[at.0 + r][at.1 + v * lanes..][..lanes];
                // SAFETY: `to` is one vector long.
                unsafe { to.as_mut_ptr().cast::<S::f32s>().write_unaligned(acc[r][v]) };
            }
        }
    }
}
