//! Matrices stored in panels of 32 columns. Each panel is contiguous and row-major: [rows, 32] after [rows, 32].
//!
//! Every operand of a product can then be read sequentially, whether the product runs along rows or columns. A run of
//! rows of a panel, or of whole panels, is one slice that a thread can write. A matrix with many rows (grid positions)
//! and few columns (channels) has a single panel of 8 or 16 columns, which saves work on padding.

use super::element::Element;
use super::fixed_maps::patches::Patches;
use super::vector::lanes;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use std::ops::Range;

/// The alignment unit of every matrix, 64 bytes. This is a cache line or half of one, and at least as long as any
/// vector register.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl Line {
    /// A line of zeros.
    pub(crate) const ZERO: Line = Line([0; 64]);
}

/// Columns of a full panel.
pub(crate) const PANEL: usize = 32;
/// Rows of a group. A group is never split: bands begin at multiples of [`ROWS`].
pub(crate) const ROWS: usize = 8;

/// The values of a matrix, without its shape.
pub(crate) struct Lines<T> {
    lines: Box<[Line]>,
    kind: std::marker::PhantomData<T>,
}

impl<T> Clone for Lines<T> {
    fn clone(&self) -> Self {
        Lines { lines: self.lines.clone(), kind: self.kind }
    }

    /// Reuses the memory if the lengths are equal.
    fn clone_from(&mut self, other: &Self) {
        self.lines.clone_from(&other.lines);
    }
}

impl<T> Default for Lines<T> {
    /// An empty buffer.
    fn default() -> Self {
        Lines { lines: Box::default(), kind: std::marker::PhantomData }
    }
}

impl<T: Element> Lines<T> {
    /// All values.
    pub(crate) fn data(&self) -> &[T] {
        bytemuck::cast_slice(&self.lines)
    }

    /// All values.
    pub(crate) fn data_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

/// A matrix [rows, cols] in panels. The padding columns of the last panel are zero wherever a product reads them.
pub(crate) struct Matrix<T> {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Columns per panel: [`PANEL`], or fewer if the matrix has a single, narrower panel.
    pub(crate) wide: usize,
    pub(crate) lines: Lines<T>,
    /// Set for an im2col matrix that is not materialised. `lines` then holds the grid from which products read patches,
    /// without panels.
    pub(crate) patches: Option<Box<Patches>>,
}

impl<T> Clone for Matrix<T> {
    fn clone(&self) -> Self {
        Matrix { lines: self.lines.clone(), patches: self.patches.clone(), ..*self }
    }

    fn clone_from(&mut self, other: &Self) {
        (self.rows, self.cols, self.wide) = (other.rows, other.cols, other.wide);
        self.lines.clone_from(&other.lines);
        self.patches.clone_from(&other.patches);
    }
}

impl<T> Default for Matrix<T> {
    /// An empty matrix.
    fn default() -> Self {
        Matrix { rows: 0, cols: 0, wide: PANEL, lines: Lines::default(), patches: None }
    }
}

impl<T: Element> Matrix<T> {
    /// A zero matrix in panels of [`PANEL`] columns.
    pub(crate) fn zeros(rows: usize, cols: usize) -> Self {
        Self::of(Shape { rows, cols, wide: PANEL })
    }

    /// A zero matrix of this shape.
    pub(crate) fn of(shape: Shape) -> Self {
        let lines = vec![Line::ZERO; shape.bytes::<T>() as usize / size_of::<Line>()].into();
        let Shape { rows, cols, wide } = shape;
        Matrix { rows, cols, wide, lines: Lines { lines, kind: std::marker::PhantomData }, patches: None }
    }

    /// An im2col matrix that reads its patches from a zero grid.
    pub(crate) fn of_patches(patches: Patches, samples: usize) -> Self {
        let [rows, cols] = patches.dim(samples);
        Matrix { rows, cols, patches: Some(Box::new(patches.clone())), ..Self::of(patches.grid) }
    }

    /// Copies a host array.
    pub(crate) fn from_array(array: ArrayView2<'_, f32>) -> Self {
        let mut matrix = Self::zeros(array.nrows(), array.ncols());
        matrix.fill_from(array);
        matrix
    }

    /// Overwrites the values with a host array of the same shape.
    pub(crate) fn fill_from(&mut self, array: ArrayView2<'_, f32>) {
        for ((i, j), value) in array.indexed_iter() {
            let at = self.at(i, j);
            self.data_mut()[at] = T::from_f64(f64::from(*value));
        }
    }

    /// Copies to a host array of float64 (exact for float32 too).
    pub(crate) fn to_array(&self) -> Array2<f64> {
        Array2::from_shape_fn((self.rows, self.cols), |(i, j)| self.get(i, j).to_f64())
    }

    /// The index of element (i, j) in the data.
    fn at(&self, i: usize, j: usize) -> usize {
        if let Some(patches) = &self.patches {
            return patches.at(i, j);
        }
        // If `wide` is less than PANEL there is a single panel. The branch avoids a division by a run-time width, which
        // would dominate the cost.
        if self.wide == PANEL { (j / PANEL * self.rows + i) * PANEL + j % PANEL } else { i * self.wide + j }
    }

    /// Element (i, j).
    pub(crate) fn get(&self, i: usize, j: usize) -> T {
        self.data()[self.at(i, j)]
    }

    /// Sets element (i, j).
    pub(crate) fn set(&mut self, i: usize, j: usize, value: T) {
        let at = self.at(i, j);
        self.data_mut()[at] = value;
    }

    /// Overwrites row i.
    pub(crate) fn fill_row(&mut self, i: usize, numbers: ArrayView1<'_, f32>) {
        let wide = self.wide;
        for (q, part) in numbers.axis_chunks_iter(Axis(0), wide).enumerate() {
            let at = (q * self.rows + i) * wide;
            let row = self.data_mut()[at..at + wide].iter_mut();
            row.zip(part).for_each(|(to, from)| *to = T::from_f64(f64::from(*from)));
        }
    }

    /// Overwrites row i with row k of a matrix with the same number of columns.
    pub(crate) fn copy_row(&mut self, i: usize, from: &Matrix<T>, k: usize) {
        let wide = self.wide;
        if wide != from.wide {
            return (0..self.cols).for_each(|j| self.set(i, j, from.get(k, j)));
        }
        for q in 0..self.cols.div_ceil(wide) {
            let (to, at) = ((q * self.rows + i) * wide, (q * from.rows + k) * wide);
            self.data_mut()[to..to + wide].copy_from_slice(&from.data()[at..at + wide]);
        }
    }

    /// Whether every element is finite.
    pub(crate) fn finite(&self) -> bool {
        self.data().iter().all(|v| v.to_f64().is_finite())
    }

    /// Whether every element equals `value`.
    pub(crate) fn is_everywhere(&self, value: T) -> bool {
        (0..self.cols.div_ceil(self.wide)).all(|q| {
            let width = (self.cols - q * self.wide).min(self.wide);
            self.panel(q).chunks_exact(self.wide).all(|row| row[..width].iter().all(|v| *v == value))
        })
    }

    /// All values, [panels, rows, wide], padding columns included.
    pub(crate) fn data(&self) -> &[T] {
        self.lines.data()
    }

    /// All values, [panels, rows, wide], padding columns included.
    pub(crate) fn data_mut(&mut self) -> &mut [T] {
        self.lines.data_mut()
    }

    /// Panel `q`, [rows, wide]: the columns starting at wide · q.
    pub(crate) fn panel(&self, q: usize) -> &[T] {
        debug_assert!(self.patches.is_none(), "patches have no panels");
        &self.data()[q * self.rows * self.wide..][..self.rows * self.wide]
    }

    /// The values of row `i` in panel `q`, `[wide]`.
    #[inline(always)]
    pub(crate) fn row(&self, q: usize, i: usize) -> &[T] {
        debug_assert!(self.patches.is_none(), "patches have no panels");
        &self.data()[(q * self.rows + i) * self.wide..][..self.wide]
    }

    /// The shape of the stored values; for an im2col matrix that of its grid.
    pub(crate) fn shape(&self) -> Shape {
        if let Some(patches) = &self.patches {
            return patches.grid;
        }
        Shape { rows: self.rows, cols: self.cols, wide: self.wide }
    }

    /// Bytes of [`Matrix::zeros`].
    pub(crate) fn bytes(rows: usize, cols: usize) -> u64 {
        Shape { rows, cols, wide: PANEL }.bytes::<T>()
    }
}

/// The shape of a matrix in panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Columns of a panel.
    pub(crate) wide: usize,
}

/// A run of rows of one panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The index of the panel, whose columns start at wide · q.
    pub(crate) q: usize,
    pub(crate) rows: Range<usize>,
    /// Columns of a panel.
    pub(crate) wide: usize,
}

/// A run of rows in memory order, possibly across panels: the part of a matrix that one task works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Band {
    shape: Shape,
    /// Range of groups of [`ROWS`] rows; groups are numbered consecutively over all panels.
    groups: Range<usize>,
}

impl Shape {
    /// The shape of a unit slot, [samples · positions, cols]: one narrow panel for a grid with few units per position. A row is never
    /// shorter than a vector register, and a group of rows fills whole cache lines.
    pub(crate) fn of_places(samples: usize, places: usize, cols: usize) -> Self {
        let rows = samples * places;
        let wide = match cols {
            _ if places == 1 => PANEL,
            0..=8 if rows.is_multiple_of(2) && lanes() <= 8 => 8,
            0..=16 => 16,
            _ => PANEL,
        };
        Shape { rows, cols, wide }
    }

    /// The number of panels.
    pub(crate) fn panels(self) -> usize {
        self.cols.div_ceil(self.wide)
    }

    /// Bytes of a matrix of this shape.
    pub(crate) fn bytes<T>(self) -> u64 {
        self.rows as u64 * self.cols.next_multiple_of(self.wide) as u64 * size_of::<T>() as u64
    }

    fn groups(self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    /// The whole matrix as one band.
    pub(crate) fn whole(self) -> Band {
        self.band(0, 1)
    }

    /// The `i`-th of `n` nearly equal bands; some are empty if there are fewer row groups than bands.
    pub(crate) fn band(self, i: usize, n: usize) -> Band {
        let all = self.panels() * self.groups();
        Band { shape: self, groups: i * all / n..(i + 1) * all / n }
    }
}

impl Shape {
    /// The `i`-th of `n` nearly equal parts of the rows, in runs of at most `most` rows, a multiple of [`ROWS`].
    pub(crate) fn runs(self, i: usize, n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
        let (groups, step) = (self.groups(), most / ROWS);
        let (start, end) = (i * groups / n, (i + 1) * groups / n);
        (start..end).step_by(step).map(move |g| g * ROWS..((g + step).min(end) * ROWS).min(self.rows))
    }

    /// The bands of these rows, one per panel. The rows begin at a multiple of [`ROWS`].
    pub(crate) fn across(self, rows: &Range<usize>) -> impl Iterator<Item = Band> + use<> {
        let (per, groups) = (self.groups(), rows.start / ROWS..rows.end.div_ceil(ROWS));
        (0..self.panels()).map(move |q| Band { shape: self, groups: q * per + groups.start..q * per + groups.end })
    }
}

impl Band {
    /// The range of the band in the matrix's data.
    pub(crate) fn range(&self) -> Range<usize> {
        let Shape { rows, wide, .. } = self.shape;
        let per = self.shape.groups().max(1);
        let at = |group: usize| (group / per * rows + group % per * ROWS) * wide;
        at(self.groups.start)..at(self.groups.end)
    }

    /// The pieces of the band in order, each a run of rows of one panel.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> + use<> {
        let Shape { rows, wide, .. } = self.shape;
        let per = self.shape.groups().max(1);
        let Range { mut start, end } = self.groups;
        std::iter::from_fn(move || {
            (start < end).then(|| {
                let q = start / per;
                let stop = end.min((q + 1) * per);
                let piece = Piece { q, rows: start % per * ROWS..((stop - q * per) * ROWS).min(rows), wide };
                start = stop;
                piece
            })
        })
    }
}

impl Piece {
    /// The number of values in the band.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() * self.wide
    }
}

/// Zeroes the padding columns of the last panel in a band, after a loop that ran over whole panels.
pub(crate) fn zero_padding<T: Element>(band: &Band, data: &mut [T]) {
    let Shape { cols, wide, .. } = band.shape;
    if cols.is_multiple_of(wide) {
        return;
    }
    let mut rest = data;
    for piece in band.pieces() {
        let (part, after) = rest.split_at_mut(piece.len());
        if piece.q == cols / wide {
            for row in part.chunks_exact_mut(wide) {
                row[cols % wide..].fill(T::ZERO);
            }
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_a_matrix_once_in_the_order_of_memory() {
        for (rows, cols) in [(1, 1), (8, 32), (20, 10), (20, 784), (17, 65), (64, 512), (100, 33)] {
            let matrix = Matrix::<f32>::zeros(rows, cols);
            for n in [1, 2, 3, 7, 64] {
                let (mut at, mut seen) = (0, 0);
                for i in 0..n {
                    let band = matrix.shape().band(i, n);
                    assert_eq!(band.range().start, at);
                    at = band.range().end;
                    let mut start = band.range().start;
                    for piece in band.pieces() {
                        assert_eq!(start, matrix.at(piece.rows.start, piece.q * PANEL));
                        start += piece.len();
                        seen += piece.rows.len();
                    }
                    assert_eq!(start, at);
                }
                assert_eq!((at, seen), (matrix.data().len(), rows * cols.div_ceil(PANEL)));
            }
        }
    }

    #[test]
    fn runs_across_all_panels_cover_a_matrix_once() {
        for (rows, cols) in [(512, 1), (520, 40), (1001, 96), (2048, 33)] {
            let shape = Matrix::<f32>::zeros(rows, cols).shape();
            for n in [1, 3, 8] {
                let runs = (0..n).flat_map(|i| shape.runs(i, n, 128));
                let mut seen: Vec<Range<usize>> =
                    runs.flat_map(|rows| shape.across(&rows)).map(|b| b.range()).collect();
                seen.sort_by_key(|r| r.start);
                let mut at = 0;
                for range in seen {
                    assert!(range.start == at && range.len() <= 128 * PANEL);
                    at = range.end;
                }
                assert_eq!(at, rows * cols.div_ceil(PANEL) * PANEL);
            }
        }
    }

    #[test]
    fn elements_survive_the_panels() {
        let array = Array2::from_shape_fn((19, 70), |(i, j)| (i * 100 + j) as f32);
        let matrix = Matrix::<f32>::from_array(array.view());
        assert_eq!(matrix.to_array(), array.mapv(f64::from));
        assert_eq!(matrix.panel(2)[18 * PANEL + 5], 1869.0);
    }
}
