//! The matrix products behind `predict`, `infer` and `learn`: register tiles over matrices in panels.
//!
//! ```text
//! predict   μ  [batch, n^{l−1}]  = h · θᵀ          rows of h, panels of θᵀ
//! feedback  g  [batch, n^l]      = ε · θ           rows of ε, panels of a second θ     (small θ)
//!           gᵀ [n^l, batch]      = θᵀ · εᵀ         rows of θᵀ, panels of εᵀ            (large θ)
//! learn     θᵀ [n^l, n^{l−1}]   += α hᵀ · ε        columns of h, panels of ε
//! ```
//!
//! Every sum runs over p = 0, 1, … in order, by fused multiply-adds. Results are therefore bit-identical for any tile shape, blocking,
//! thread count and for either form of feedback.
#![allow(unsafe_code, reason = "register tiles over raw pointers, whose extents are asserted at entry")]

pub(crate) mod plain;
#[cfg(test)]
mod tests;

use super::element::Element;
use super::matrix::{Band, Matrix, PANEL, ROWS};
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// Block length along p for long sums: a block of a panel then has 32 KiB and stays in the L1 cache.
const DEPTH: usize = 256;
/// float32 values per cache line.
const LINE: usize = 16;
/// Prefetch distance of a single tall tile, in rows of the right operand.
const PREFETCH_ROWS: usize = 64;
/// Batch rows above which a sum over the batch is split into blocks, with partial sums in memory.
pub(crate) const DEEP: usize = 512;
/// Rows per block of a sum that is split. The block of a panel of both operands has 32 KiB and stays in the L1 cache.
const ROWS_DEEP: usize = 128;
/// Special value of the const parameter W (panel width): the left operand is an im2col matrix that is read in place.
const PATCHES: usize = 0;
/// Rows of the tallest register tile.
const TALLEST: usize = 10;
/// Number of panels that are computed with a block of the left operand while the block is in the L2 cache.
const GROUP: usize = 4;

/// An element type with its matrix products.
pub(crate) trait Products: Element {
    /// out = left · right
    fn rows(arch: Arch, product: Rows<'_, Self>);
    /// out = (left · right)ᵀ
    fn transposed(arch: Arch, product: Transposed<'_, Self>);
    /// θ += α leftᵀ · right
    fn columns<'m, F>(arch: Arch, product: Columns<'_, Self, F>)
    where
        F: Fn(usize) -> (&'m Matrix<Self>, &'m Matrix<Self>);
}

impl Products for f32 {
    fn rows(arch: Arch, product: Rows<'_, f32>) {
        arch.dispatch(product);
    }
    fn transposed(arch: Arch, product: Transposed<'_, f32>) {
        arch.dispatch(product);
    }
    fn columns<'m, F>(arch: Arch, product: Columns<'_, f32, F>)
    where
        F: Fn(usize) -> (&'m Matrix<f32>, &'m Matrix<f32>),
    {
        arch.dispatch(product);
    }
}

impl Products for f64 {
    fn rows(arch: Arch, product: Rows<'_, f64>) {
        plain::rows(arch, product);
    }
    fn transposed(arch: Arch, product: Transposed<'_, f64>) {
        plain::transposed(arch, product);
    }
    fn columns<'m, F>(arch: Arch, product: Columns<'_, f64, F>)
    where
        F: Fn(usize) -> (&'m Matrix<f64>, &'m Matrix<f64>),
    {
        plain::columns(arch, product);
    }
}

/// A band of out = left · right.
pub(crate) struct Rows<'a, T> {
    /// The band's part of out, [rows, cols].
    pub(crate) out: &'a mut [T],
    pub(crate) band: &'a Band,
    /// [rows, depth]
    pub(crate) left: &'a Matrix<T>,
    /// [depth, cols]
    pub(crate) right: &'a Matrix<T>,
}

/// A band of out = (left · right)ᵀ. The left operand has as many rows as out has columns.
pub(crate) struct Transposed<'a, T> {
    /// The band's part of out, [cols, rows].
    pub(crate) out: &'a mut [T],
    pub(crate) band: &'a Band,
    /// [rows, depth]
    pub(crate) left: &'a Matrix<T>,
    /// [depth, cols]
    pub(crate) right: &'a Matrix<T>,
    /// Space for the products before they are transposed.
    pub(crate) scratch: &'a mut [T],
}

impl<T> Transposed<'_, T> {
    /// Scratch values for a band whose longest piece has `rows` rows. Pieces may begin and end within a panel.
    pub(crate) fn scratch(rows: usize) -> usize {
        GROUP * (rows.div_ceil(PANEL) + 1) * PANEL * PANEL
    }
}

/// A band of θ += α Σ leftᵀ · right, summed over the shards of a batch in order.
pub(crate) struct Columns<'a, T, F> {
    /// The band's part of θ, [rows, cols].
    pub(crate) theta: &'a mut [T],
    pub(crate) band: &'a Band,
    /// Shard index → left [samples, rows] and right [samples, cols].
    pub(crate) operands: F,
    pub(crate) shards: usize,
    pub(crate) alpha: T,
    /// Partial sums, as many values as the band, for sums over more than [`DEEP`] rows; otherwise empty.
    pub(crate) sums: &'a mut [T],
}

/// A block of rows to sum over: a range of shards, and all rows of these shards or a range.
#[derive(Clone)]
struct Span {
    shards: Range<usize>,
    rows: Option<Range<usize>>,
    /// Whether the block contains the first row of the whole sum, and whether it contains the last.
    first_last: [bool; 2],
}

/// A run of rows of one panel of a product's band.
struct Part<'a, T> {
    /// [rows, stride]
    out: &'a mut [T],
    stride: usize,
    rows: Range<usize>,
    /// [depth, 32]
    right: &'a [T],
    /// Columns without padding.
    width: usize,
}

/// A panel index, a run of its rows, and the part of out that holds them.
type GroupPiece<'a> = (usize, Range<usize>, &'a mut [f32]);

impl WithSimd for Rows<'_, f32> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Rows { out, band, left, right } = self;
        assert!(left.cols == right.rows && right.wide == PANEL);
        assert!(left.patches.as_ref().is_none_or(|patches| patches.lie_within(left.rows, left.data().len())));
        let mut rest = out;
        let mut pieces = band.pieces();
        loop {
            // The next GROUP panels; they share each block of the left operand.
            let mut parts: [Option<Part<'_, f32>>; GROUP] = [const { None }; GROUP];
            for (slot, piece) in parts.iter_mut().zip(&mut pieces) {
                let (out, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
                rest = after;
                let width = (right.cols - piece.q * PANEL).min(PANEL);
                *slot = Some(Part { out, stride: piece.wide, right: right.panel(piece.q), rows: piece.rows, width });
            }
            if parts[0].is_none() {
                return;
            }
            let panels = parts.each_ref().map(|part| part.as_ref().map(|part| part.right));
            for p in blocks(left.cols) {
                for (i, part) in parts.iter_mut().flatten().enumerate() {
                    // Data to prefetch: the same block of p of the next panel; after the last panel, the next block of
                    // p of the first panel.
                    let next = panels.get(i + 1).copied().flatten().map(|panel| &panel[p.start * PANEL..]);
                    let from = next.or(panels[0].map(|panel| &panel[p.end * PANEL..])).unwrap_or_default();
                    let ahead = Ahead { from, stride: 0, runs: 1, len: from.len().min(p.len() * PANEL), call: (0, 1) };
                    match left.wide {
                        _ if left.patches.is_some() => block::<S, PATCHES>(simd, part, left, p.clone(), ahead),
                        8 => block::<S, 8>(simd, part, left, p.clone(), ahead),
                        16 => block::<S, 16>(simd, part, left, p.clone(), ahead),
                        _ => block::<S, PANEL>(simd, part, left, p.clone(), ahead),
                    }
                }
            }
        }
    }
}

/// Prefetches a cache line. Any address is allowed.
#[inline(always)]
pub(crate) fn prefetch<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and cannot fault.
    unsafe {
        std::arch::x86_64::_mm_prefetch(line.cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// As [`prefetch`], for a line that will be written.
#[inline(always)]
fn prefetch_for_write<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and cannot fault; processors without this instruction ignore it.
    unsafe {
        std::arch::x86_64::_mm_prefetch(line.cast(), std::arch::x86_64::_MM_HINT_ET0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// The next block of an operand, prefetched piece by piece while the current one is in use.
struct Ahead<'a> {
    /// Runs of `len` values at a distance of `stride`.
    from: &'a [f32],
    stride: usize,
    runs: usize,
    len: usize,
    /// (i, n): this call prefetches the i-th of n shares.
    call: (usize, usize),
}

impl Ahead<'_> {
    /// Divides the share of this call into `n` parts, and prefetches the parts in the range `part`.
    #[inline(always)]
    fn prefetch(&self, part: Range<usize>, n: usize) {
        let (part, n) = (self.call.0 * n + part.start..self.call.0 * n + part.end, self.call.1 * n);
        let per = (self.len / LINE).max(1);
        let lines = self.runs * per;
        let (mut line, end) = (part.start * lines / n, part.end * lines / n);
        let (mut run, mut at) = (line / per, line % per);
        while line < end {
            prefetch(self.from.as_ptr().wrapping_add(run * self.stride + at * LINE));
            (line, at) = (line + 1, at + 1);
            if at == per {
                (run, at) = (run + 1, 0);
            }
        }
    }
}

/// 0..depth in blocks of about [`DEPTH`].
fn blocks(depth: usize) -> impl Iterator<Item = Range<usize>> {
    let n = ((depth + DEPTH / 2) / DEPTH).max(1);
    let step = depth.div_ceil(n).next_multiple_of(PANEL);
    (0..depth.div_ceil(step)).map(move |i| i * step..((i + 1) * step).min(depth))
}

/// out (+)= left[rows, p] · right[p, :]. The block that begins at p = 0 overwrites out; later blocks add to it.
///
/// W is the panel width of `left`, or [`PATCHES`].
#[inline(always)]
fn block<S: Simd, const W: usize>(
    simd: S,
    part: &mut Part<'_, f32>,
    left: &Matrix<f32>,
    p: Range<usize>,
    ahead: Ahead<'_>,
) {
    let Part { out, stride, rows, right, width } = part;
    assert!(rows.end <= left.rows && p.end <= left.cols && p.start.is_multiple_of(PANEL));
    assert!(if W == PATCHES { left.patches.is_some() } else { left.wide == W && left.patches.is_none() });
    assert!(out.len() == rows.len() * *stride && *width <= *stride && right.len() >= p.end * PANEL);
    let (lanes, wide) = (S::F32_LANES, if S::F32_LANES == 4 { 4 } else { 2 });
    // Vectors cover a row of out, which may be narrower than PANEL but not narrower than one vector.
    assert!(lanes <= *stride);
    let vectors = width.div_ceil(lanes);
    let mut v = 0;
    while v < vectors {
        let whole = vectors - v >= wide;
        let mut i = 0;
        while i < rows.len() {
            let tall = height(lanes, rows.len() - i, whole);
            // If one tall tile covers all rows, it prefetches within its loop; otherwise each tile prefetches a part of the next block.
            let single = tall == rows.len() && tall >= ROWS && vectors >= wide;
            if v == 0 && !single {
                ahead.prefetch(i..i + tall, rows.len());
            }
            let (mut starts, mut numbers) = ([0; TALLEST], [].as_ptr());
            if let (PATCHES, Some(patches)) = (W, &left.patches) {
                let mut next = patches.starts(rows.start + i);
                starts[..tall].iter_mut().for_each(|start| *start = next.step());
                numbers = patches.numbers()[p.clone()].as_ptr();
            }
            // SAFETY: by the asserts above, and those on patches in `with_simd`, out has `tall` rows from i on and the vectors from v on;
            // `left` has panels p / 32 .. and `right` has rows p.
            unsafe {
                let tile = Tile {
                    out: out.as_mut_ptr().add(i * *stride + v * lanes),
                    across: *stride,
                    left: left.data().as_ptr().add(match W {
                        PATCHES => 0,
                        _ => (p.start / W * left.rows + rows.start + i) * W,
                    }),
                    stride: left.rows * W,
                    starts: &starts,
                    numbers,
                    right: right.as_ptr().add(p.start * PANEL + v * lanes),
                    depth: p.len(),
                    first: p.start == 0,
                };
                i += match (tall, lanes == 4, whole) {
                    (10, _, true) if single => tile.run_fetching::<S, 10, 2, W>(simd),
                    (8, _, true) if single => tile.run_fetching::<S, 8, 2, W>(simd),
                    (10, _, true) => tile.run::<S, 10, 2, W>(simd),
                    (10, _, false) => tile.run::<S, 10, 1, W>(simd),
                    (8, _, true) => tile.run::<S, 8, 2, W>(simd),
                    (8, _, false) => tile.run::<S, 8, 1, W>(simd),
                    (6, _, true) => tile.run::<S, 6, 2, W>(simd),
                    (6, _, false) => tile.run::<S, 6, 1, W>(simd),
                    (4, true, true) => tile.run::<S, 4, 4, W>(simd),
                    (4, false, true) => tile.run::<S, 4, 2, W>(simd),
                    (4, _, false) => tile.run::<S, 4, 1, W>(simd),
                    (_, true, true) => tile.run::<S, 1, 4, W>(simd),
                    (_, false, true) => tile.run::<S, 1, 2, W>(simd),
                    (_, _, false) => tile.run::<S, 1, 1, W>(simd),
                };
            }
        }
        v += if whole { wide } else { 1 };
    }
}

/// The height of the next tile. It depends on the vector registers: 32 of 16 lanes (AVX-512), 16 of 8 lanes (AVX2), or
/// those of 4 lanes (NEON). A tile one vector wide is taller, to have enough independent accumulators. Heights are
/// balanced: 4 + 4 rows are faster than 6 + 2.
#[inline(always)]
fn height(lanes: usize, rows: usize, whole: bool) -> usize {
    match rows {
        10 | 20 if lanes == 16 => 10,
        8.. if lanes == 16 || lanes == 8 && !whole => 8,
        6 | 7 | 10.. if lanes == 8 => 6,
        4.. => 4,
        _ => 1,
    }
}

/// A register tile of `rows`: pointers to its first elements.
struct Tile<'a> {
    out: *mut f32,
    /// Offset from one row of out to the next.
    across: usize,
    /// The tile's first row, with row stride W within a panel; for patches, the start of the grid.
    left: *const f32,
    /// Offset from one panel of `left` to the next.
    stride: usize,
    /// For patches: the offset of each row's patch in the grid.
    starts: &'a [usize; TALLEST],
    /// For patches: the offset of each p within the patch.
    numbers: *const u32,
    /// The first row, with row stride [`PANEL`].
    right: *const f32,
    depth: usize,
    first: bool,
}

impl Tile<'_> {
    /// Accumulates R × V vectors in registers and returns R.
    ///
    /// # Safety
    /// R rows of `left` and `out`, `depth` rows of `right`, and V vectors of each row must be in bounds.
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize, const W: usize>(self, simd: S) -> usize {
        // SAFETY: the same contract.
        unsafe { self.sums::<S, R, V, W, false>(simd) }
    }

    /// As [`Tile::run`], with a prefetch of `right` [`PREFETCH_ROWS`] rows ahead.
    ///
    /// # Safety
    /// As [`Tile::run`].
    #[inline(always)]
    unsafe fn run_fetching<S: Simd, const R: usize, const V: usize, const W: usize>(self, simd: S) -> usize {
        // SAFETY: the same contract.
        unsafe { self.sums::<S, R, V, W, true>(simd) }
    }

    /// # Safety
    /// As [`Tile::run`].
    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize, const V: usize, const W: usize, const FETCH: bool>(self, simd: S) -> usize {
        let lanes = S::F32_LANES;
        let mut sum = [[simd.splat_f32s(0.0); V]; R];
        if !self.first {
            for r in 0..R {
                for v in 0..V {
                    // SAFETY: r < R and v < V, so it is in bounds by this function's contract.
                    sum[r][v] = unsafe { self.out.add(r * self.across + v * lanes).cast::<S::f32s>().read_unaligned() };
                }
            }
        }
        // SAFETY: in bounds by this function's contract.
        unsafe {
            if W == PATCHES {
                let from: [*const f32; R] = std::array::from_fn(|r| self.left.wrapping_add(self.starts[r]));
                for p in 0..self.depth {
                    let at = *self.numbers.add(p) as usize;
                    add(simd, &mut sum, self.right.wrapping_add(p * PANEL), |r| from[r].add(at));
                }
            } else {
                let (mut left, mut right, mut rest) = (self.left, self.right, self.depth);
                while rest > 0 {
                    let count = rest.min(W);
                    for p in 0..count {
                        let row = right.wrapping_add(p * PANEL);
                        if FETCH {
                            prefetch(row.wrapping_add(PREFETCH_ROWS * PANEL));
                            prefetch(row.wrapping_add(PREFETCH_ROWS * PANEL + LINE));
                        }
                        add(simd, &mut sum, row, |r| left.add(r * W + p));
                    }
                    rest -= count;
                    left = left.wrapping_add(self.stride);
                    right = right.wrapping_add(count * PANEL);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                // SAFETY: r < R and v < V, so it is in bounds by this function's contract.
                unsafe { self.out.add(r * self.across + v * lanes).cast::<S::f32s>().write_unaligned(sum[r][v]) };
            }
        }
        R
    }
}

/// Adds the outer product for one p: one value of each of R rows, times a row of V vectors.
///
/// # Safety
/// V vectors at `row`, and one value at each pointer of `left`, must be in bounds.
#[inline(always)]
unsafe fn add<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sum: &mut [[S::f32s; V]; R],
    row: *const f32,
    left: impl Fn(usize) -> *const f32,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut numbers = [simd.splat_f32s(0.0); V];
        for v in 0..V {
            numbers[v] = row.add(v * S::F32_LANES).cast::<S::f32s>().read_unaligned();
        }
        for r in 0..R {
            let a = simd.splat_f32s(*left(r));
            for v in 0..V {
                sum[r][v] = simd.mul_add_f32s(a, numbers[v], sum[r][v]);
            }
        }
    }
}

impl WithSimd for Transposed<'_, f32> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Transposed { out, band, left, right, scratch } = self;
        assert!(left.cols == right.rows && [left.wide, right.wide] == [PANEL; 2]);
        assert!(band.pieces().all(|piece| piece.wide == PANEL));
        let mut rest = out;
        let mut pieces = band.pieces();
        loop {
            let mut group: [Option<GroupPiece<'_>>; GROUP] = [const { None }; GROUP];
            for (slot, piece) in group.iter_mut().zip(&mut pieces) {
                let (out, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
                rest = after;
                *slot = Some((piece.q, piece.rows, out));
            }
            if group[0].is_none() {
                return;
            }
            // Squares of 32 units × 32 samples. All panels of the group use a block of εᵀ while it is in the cache.
            let panels = |samples: &Range<usize>| samples.start / PANEL..samples.end.div_ceil(PANEL);
            let widest = group.iter().flatten().map(|(_, samples, _)| panels(samples).len()).max().unwrap_or(0);
            let squares = group.iter().flatten().count() * widest;
            for p in blocks(left.cols) {
                for b in 0..widest {
                    for (i, (q, samples, _)) in group.iter().flatten().enumerate() {
                        let panels = panels(samples);
                        let (b, number) = (panels.start + b, b * GROUP + i);
                        if b >= panels.end {
                            continue;
                        }
                        let units = q * PANEL..(q * PANEL + PANEL).min(left.rows);
                        let out = &mut scratch[number * PANEL * PANEL..][..units.len() * PANEL];
                        let width = (right.cols - b * PANEL).min(PANEL);
                        let ahead = next_weights(left, &group, p.clone(), (number, squares.max(number + 1)));
                        block::<S, PANEL>(
                            simd,
                            &mut Part { out, stride: PANEL, rows: units, right: right.panel(b), width },
                            left,
                            p.clone(),
                            ahead,
                        );
                    }
                }
            }
            for (i, (q, samples, out)) in group.iter_mut().flatten().enumerate() {
                let units = (left.rows - *q * PANEL).min(PANEL);
                let panels = panels(samples);
                for b in panels.clone() {
                    let square = &scratch[((b - panels.start) * GROUP + i) * PANEL * PANEL..][..PANEL * PANEL];
                    let (from, to) = (samples.start.max(b * PANEL), samples.end.min((b + 1) * PANEL));
                    let rows = &mut out[(from - samples.start) * PANEL..(to - samples.start) * PANEL];
                    transpose_block(S::F32_LANES, &square[from - b * PANEL..], rows, units);
                }
            }
        }
    }
}

/// Data to prefetch in this call: the weights of the group in the next block of p; after the last block, the first
/// weights of the next units.
fn next_weights<'a>(
    left: &'a Matrix<f32>,
    group: &[Option<GroupPiece<'_>>; GROUP],
    p: Range<usize>,
    call: (usize, usize),
) -> Ahead<'a> {
    let units = group.iter().flatten().map(|(q, ..)| q * PANEL);
    let (first, last) = (units.clone().min().unwrap_or(0), units.max().unwrap_or(0) + PANEL);
    let (unit, from) = if p.end < left.cols { (first, p.end) } else { (last, 0) };
    let from = left.data().get((from / PANEL * left.rows + unit) * PANEL..).unwrap_or_default();
    Ahead { from, stride: left.rows * PANEL, runs: p.len().div_ceil(PANEL), len: (last - first) * PANEL, call }
}

/// to[i][j] = from[j][i] for the rows of `to` and j < `units`, both with row stride 32. The other columns of `to` become zero.
#[inline(always)]
fn transpose_block<T: Element>(lanes: usize, from: &[T], to: &mut [T], units: usize) {
    if lanes == 16 && to.len() == PANEL * PANEL && units == PANEL && from.len() >= PANEL * PANEL {
        for (i, j) in [(0, 0), (0, LINE), (LINE, 0), (LINE, LINE)] {
            transpose_square(&from[j * PANEL + i..], &mut to[i * PANEL + j..]);
        }
        return;
    }
    for (i, row) in to.chunks_exact_mut(PANEL).enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            *value = if j < units { from[j * PANEL + i] } else { T::ZERO };
        }
    }
}

/// Transposes a square of 16 × 16 values: float32 with vectors of 16 lanes, other types with plain loops.
#[inline(always)]
fn transpose_square<T: Element>(from: &[T], to: &mut [T]) {
    assert!(from.len() > 15 * PANEL + 15 && to.len() > 15 * PANEL + 15);
    #[cfg(target_arch = "x86_64")]
    if size_of::<T>() == size_of::<f32>() {
        // SAFETY: T is float32 by its size; the assert keeps 16 rows of 16 values in bounds; callers come here only with
        // vectors of 16 lanes, which on this architecture means AVX-512.
        unsafe { transpose_vectors(from.as_ptr().cast(), to.as_mut_ptr().cast()) };
        return;
    }
    for i in 0..LINE {
        for j in 0..LINE {
            to[i * PANEL + j] = from[j * PANEL + i];
        }
    }
}

/// Transposes with shuffles in four stages: pairs of values, pairs of pairs, and twice quarters of vectors.
///
/// # Safety
/// AVX-512 must be available, and 16 rows of 16 values at stride 32 must be in bounds at both pointers.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose_vectors(from: *const f32, to: *mut f32) {
    use std::arch::x86_64::*;
    // SAFETY: in bounds by this function's contract.
    let rows: [__m512; LINE] = std::array::from_fn(|i| unsafe { _mm512_loadu_ps(from.add(i * PANEL)) });
    let mut pairs = rows;
    for i in (0..LINE).step_by(2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    // Row 4 k + c: column c of each quarter, of rows 4 k .. 4 k + 3.
    let mut quads = pairs;
    for k in (0..LINE).step_by(4) {
        for c in 0..2 {
            let (a, b) = (_mm512_castps_pd(pairs[k + c]), _mm512_castps_pd(pairs[k + c + 2]));
            quads[k + 2 * c] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            quads[k + 2 * c + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for c in 0..4 {
        let even = |k: usize| _mm512_shuffle_f32x4::<0x88>(quads[k + c], quads[k + 4 + c]);
        let odd = |k: usize| _mm512_shuffle_f32x4::<0xdd>(quads[k + c], quads[k + 4 + c]);
        let (e, o) = ([even(0), even(8)], [odd(0), odd(8)]);
        let transposed = [
            _mm512_shuffle_f32x4::<0x88>(e[0], e[1]),
            _mm512_shuffle_f32x4::<0x88>(o[0], o[1]),
            _mm512_shuffle_f32x4::<0xdd>(e[0], e[1]),
            _mm512_shuffle_f32x4::<0xdd>(o[0], o[1]),
        ];
        for (quarter, row) in transposed.into_iter().enumerate() {
            // SAFETY: in bounds by this function's contract.
            unsafe { _mm512_storeu_ps(to.add((4 * quarter + c) * PANEL), row) };
        }
    }
}

/// Transposes m into `to`, a band of mᵀ in panels.
pub(crate) fn transpose<T: Element>(arch: Arch, to: &mut [T], band: &Band, m: &Matrix<T>) {
    arch.dispatch(Transpose { to, band, m });
}

struct Transpose<'a, T> {
    to: &'a mut [T],
    band: &'a Band,
    m: &'a Matrix<T>,
}

impl<T: Element> WithSimd for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Transpose { to, band, m } = self;
        let mut rest = to;
        for piece in band.pieces() {
            let (mut part, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
            // Row p of panel q holds column p of m, for m's rows from 32 q on.
            let samples = piece.q * PANEL..(piece.q * PANEL + PANEL).min(m.rows);
            let mut p = piece.rows.start;
            while p < piece.rows.end {
                let stop = (p / PANEL * PANEL + PANEL).min(piece.rows.end);
                let (rows, more) = std::mem::take(&mut part).split_at_mut((stop - p) * PANEL);
                let from = &m.panel(p / PANEL)[samples.start * PANEL + p % PANEL..];
                transpose_block(S::F32_LANES, from, rows, samples.len());
                (part, p) = (more, stop);
            }
            rest = after;
        }
    }
}

impl<'m, F: Fn(usize) -> (&'m Matrix<f32>, &'m Matrix<f32>)> WithSimd for Columns<'_, f32, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if self.sums.is_empty() {
            return self.span(simd, &Span { shards: 0..self.shards, rows: None, first_last: [true; 2] });
        }
        assert!(self.sums.len() >= self.theta.len());
        let filled = (0..self.shards).filter(|s| (self.operands)(*s).0.rows > 0);
        let Some(([first, last], all)) = filled.clone().next().zip(filled.last()).map(|(a, b)| ([a, b], a..b + 1))
        else {
            return;
        };
        for s in all {
            let depth = (self.operands)(s).0.rows;
            for start in (0..depth).step_by(ROWS_DEEP) {
                let end = (start + ROWS_DEEP).min(depth);
                let first_last = [s == first && start == 0, s == last && end == depth];
                self.span(simd, &Span { shards: s..s + 1, rows: Some(start..end), first_last });
            }
        }
    }
}

impl<'m, F: Fn(usize) -> (&'m Matrix<f32>, &'m Matrix<f32>)> Columns<'_, f32, F> {
    /// Runs every tile of the band over one block of rows.
    #[inline(always)]
    fn span<S: Simd>(&mut self, simd: S, span: &Span) {
        let mut start = 0;
        for piece in self.band.pieces() {
            for s in span.shards.clone() {
                let (left, right) = (self.operands)(s);
                assert!(left.rows == right.rows && piece.rows.end <= left.cols && piece.q * PANEL < right.cols);
                assert!(piece.wide == PANEL && S::F32_LANES <= right.wide);
                assert!(span.rows.as_ref().is_none_or(|rows| rows.end <= left.rows));
                assert!(left.patches.as_ref().is_none_or(|patches| patches.lie_within(left.rows, left.data().len())));
                assert!(right.patches.is_none());
            }
            assert!(self.theta.len() >= start + piece.len());
            let width = ((self.operands)(0).1.cols - piece.q * PANEL).min(PANEL);
            let (lanes, wide) = (S::F32_LANES, if S::F32_LANES == 4 { 4 } else { 2 });
            let vectors = width.div_ceil(lanes);
            let mut u = piece.rows.start;
            while u < piece.rows.end {
                let rows = (piece.rows.end - u).min(PANEL - u % PANEL);
                let tall = height(lanes, if lanes == 16 { rows.min(ROWS) } else { rows }, vectors > 1);
                let mut v = 0;
                while v < vectors {
                    let whole = vectors - v >= wide;
                    let at = (start + (u - piece.rows.start) * PANEL + v * lanes, u, piece.q, v * lanes);
                    // SAFETY: in bounds by the asserts above; a tile's rows never cross a panel of `left`.
                    unsafe {
                        match (tall, lanes == 4, whole) {
                            (8, _, true) => self.tile::<S, 8, 2>(simd, at, span),
                            (8, _, false) => self.tile::<S, 8, 1>(simd, at, span),
                            (6, _, true) => self.tile::<S, 6, 2>(simd, at, span),
                            (6, _, false) => self.tile::<S, 6, 1>(simd, at, span),
                            (4, true, true) => self.tile::<S, 4, 4>(simd, at, span),
                            (4, false, true) => self.tile::<S, 4, 2>(simd, at, span),
                            (4, _, false) => self.tile::<S, 4, 1>(simd, at, span),
                            (_, true, true) => self.tile::<S, 1, 4>(simd, at, span),
                            (_, false, true) => self.tile::<S, 1, 2>(simd, at, span),
                            (_, _, false) => self.tile::<S, 1, 1>(simd, at, span),
                        }
                    }
                    v += if whole { wide } else { 1 };
                }
                u += tall;
            }
            start += piece.len();
        }
    }

    /// One register tile at (offset in θ, row u, panel q, column within the panel), over one block of rows.
    ///
    /// # Safety
    /// These must be in bounds: R rows of θ and of the partial sums; R columns of `left` from u on, within one panel; V vectors of each
    /// row; the rows of the span.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        (at, u, q, column): (usize, usize, usize, usize),
        span: &Span,
    ) {
        let lanes = S::F32_LANES;
        let [first, last] = span.first_last;
        if last {
            // The weights may be in memory or in the cache of another core. The prefetch for writing overlaps this
            // latency with the computation of the sums.
            for r in 0..R {
                prefetch_for_write(self.theta.as_ptr().wrapping_add(at + r * PANEL));
                prefetch_for_write(self.theta.as_ptr().wrapping_add(at + r * PANEL + LINE));
            }
        }
        let mut sum = [[simd.splat_f32s(0.0); V]; R];
        if !first {
            for r in 0..R {
                for v in 0..V {
                    // SAFETY: within the partial sums by this function's contract.
                    sum[r][v] = unsafe {
                        self.sums.as_ptr().add(at + r * PANEL + v * lanes).cast::<S::f32s>().read_unaligned()
                    };
                }
            }
        }
        for s in span.shards.clone() {
            let (left, right) = (self.operands)(s);
            let depth = left.rows;
            let rows = span.rows.clone().unwrap_or(0..depth);
            // SAFETY: panel u / 32 of `left` and panel q of `right` exist, with `depth` rows each. By this function's contract R columns
            // from u % 32 on and V vectors from `column` on lie inside them, and patches lie within their grid.
            unsafe {
                let (by, on) = (left.wide, right.wide);
                let mut right = right.data().as_ptr().add((q * depth + rows.start) * on + column);
                if let Some(patches) = &left.patches {
                    let numbers: [usize; R] = std::array::from_fn(|r| patches.numbers()[u + r] as usize);
                    for (sample, starts) in patches.runs(rows) {
                        let grid = left.data().as_ptr().add(sample);
                        for start in starts {
                            let start = grid.add(*start as usize);
                            add(simd, &mut sum, right, |r| start.add(numbers[r]));
                            right = right.wrapping_add(on);
                        }
                    }
                    continue;
                }
                let mut left = left.data().as_ptr().add((u / by * depth + rows.start) * by + u % by);
                for _ in rows {
                    add(simd, &mut sum, right, |r| left.add(r));
                    (left, right) = (left.wrapping_add(by), right.wrapping_add(on));
                }
            }
        }
        let alpha = simd.splat_f32s(self.alpha);
        for r in 0..R {
            for v in 0..V {
                let at = at + r * PANEL + v * lanes;
                // SAFETY: within θ, and within the partial sums unless this is the last block, by this function's contract.
                unsafe {
                    if last {
                        let to = self.theta.as_mut_ptr().add(at).cast::<S::f32s>();
                        to.write_unaligned(simd.mul_add_f32s(alpha, sum[r][v], to.read_unaligned()));
                    } else {
                        self.sums.as_mut_ptr().add(at).cast::<S::f32s>().write_unaligned(sum[r][v]);
                    }
                }
            }
        }
    }
}
