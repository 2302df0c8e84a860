//! Patches (im2col) that are not stored. Products read them in place, from the zero-padded grid:
//!
//! ```text
//! value p of the patch at position o of sample s   =   grid [s · sample + places[o] + numbers[p]]
//! ```

use super::{FixedMap, places};
use crate::device::cpu::element::Element;
use crate::device::cpu::matrix::{Lines, Matrix, PANEL, Shape};
use crate::device::cpu::parallel::{Parallel, numbers};
use crate::device::cpu::vector::vector;
use std::ops::Range;

/// Grid rows per task.
const ROWS: usize = 128;
/// float32 values per cache line.
const LINE: usize = 16;

/// The offsets by which patches are read from a grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patches {
    /// The grid with its padding: one row per position or, for images, one row per sample.
    pub(crate) grid: Shape,
    /// Offset from one sample to the next.
    sample: usize,
    /// For each position: the offset of its patch within the sample.
    places: Box<[u32]>,
    /// For each value of a patch: the offset from the start of the patch.
    numbers: Box<[u32]>,
    /// The largest offset of a patch value within its sample.
    reach: usize,
}

impl Patches {
    /// Neither list may be empty.
    fn new(grid: Shape, sample: usize, places: Box<[u32]>, numbers: Box<[u32]>) -> Self {
        let last = |all: &[u32]| all.iter().max().map_or(0, |at| *at as usize);
        let reach = last(&places) + last(&numbers);
        Patches { grid, sample, places, numbers, reach }
    }

    /// [rows, columns] of the im2col matrix for this many samples.
    pub(crate) fn dim(&self, samples: usize) -> [usize; 2] {
        [samples * self.places.len(), self.numbers.len()]
    }

    /// The offset of element (i, j) of the im2col matrix.
    pub(crate) fn at(&self, i: usize, j: usize) -> usize {
        let places = self.places.len();
        i / places * self.sample + self.places[i % places] as usize + self.numbers[j] as usize
    }

    /// For each value of a patch: the offset from the start of the patch.
    #[inline(always)]
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// The start offsets of the patches from `row` on.
    #[inline(always)]
    pub(crate) fn starts(&self, row: usize) -> Starts<'_> {
        let places = self.places.len();
        Starts { patches: self, place: row % places, sample: row / places * self.sample }
    }

    /// The patches of these rows, grouped by sample: the offset of the sample, and the offsets of its patches within it.
    #[inline(always)]
    pub(crate) fn runs(&self, rows: Range<usize>) -> impl Iterator<Item = (usize, &[u32])> {
        let places = self.places.len();
        let (mut sample, mut first) = (rows.start / places * self.sample, rows.start % places);
        let mut rest = rows.len();
        std::iter::from_fn(move || {
            let count = rest.min(places - first);
            let run = (sample, &self.places[first..first + count]);
            (sample, first, rest) = (sample + self.sample, 0, rest - count);
            (count > 0).then_some(run)
        })
    }

    /// Whether every value of the first `rows` rows lies within a grid of `len` values.
    pub(crate) fn lie_within(&self, rows: usize, len: usize) -> bool {
        let samples = rows.div_ceil(self.places.len().max(1));
        samples == 0 || (samples - 1) * self.sample + self.reach < len
    }

    /// Bytes of the offset lists.
    pub(crate) fn bytes(&self) -> u64 {
        ((self.places.len() + self.numbers.len()) * size_of::<u32>()) as u64
    }
}

/// The start offsets of consecutive patches. It does not stop at the last row.
pub(crate) struct Starts<'a> {
    patches: &'a Patches,
    place: usize,
    sample: usize,
}

impl Starts<'_> {
    /// The next offset.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> usize {
        let start = self.sample + self.patches.places[self.place] as usize;
        self.place += 1;
        if self.place == self.patches.places.len() {
            (self.place, self.sample) = (0, self.sample + self.patches.sample);
        }
        start
    }
}

impl FixedMap {
    /// The offsets for `samples` samples; `None` for maps other than patches, and when an offset does not fit into 32 bits.
    pub(crate) fn in_place(&self, samples: usize) -> Option<Patches> {
        if self.kind != super::Kind::Patches {
            return None;
        }
        let ([height, width], [rows, columns], [oh, ow]) = (self.padded(), self.kernel, self.places);
        let places = (0..oh).flat_map(|y| (0..ow).map(move |x| (y * width + x) * self.stride));
        let taps = (0..rows).flat_map(|y| (0..columns).map(move |x| y * width + x));
        let all = |tap: usize| (0..self.channels).map(move |channel| (tap, channel));
        let u32s = |all: &mut dyn Iterator<Item = usize>| all.map(|at| u32::try_from(at).ok()).collect::<Option<_>>();
        if self.planes {
            let sample = (self.channels * height * width).next_multiple_of(LINE);
            let grid = Shape { rows: samples, cols: sample, wide: sample };
            let mut numbers = taps.flat_map(all).map(|(tap, channel)| channel * height * width + tap);
            let numbers = u32s(&mut numbers)?;
            return Some(Patches::new(grid, sample, u32s(&mut { places })?, numbers));
        }
        let wide = Shape::of_places(samples, self.height * self.width, self.channels).wide;
        let grid = Shape { rows: samples * height * width, cols: self.channels, wide };
        let places = u32s(&mut places.map(|at| at * wide))?;
        let panel = grid.rows * wide;
        let mut numbers = taps.flat_map(all).map(|(tap, c)| c / wide * panel + tap * wide + c % wide);
        Some(Patches::new(grid, height * width * wide, places, u32s(&mut numbers)?))
    }

    /// Copies the grid into its padded form.
    pub(crate) fn pad<T: Element>(&self, exec: &Parallel, (shape, out): (Shape, &mut Lines<T>), from: &Matrix<T>) {
        exec.rows(shape, 2 * numbers(shape), out, ROWS, |rows, panels| {
            vector(
                exec.arch,
                #[inline(always)]
                || match (self.planes, shape.wide) {
                    (true, wide) => {
                        for (sample, to) in rows.clone().zip(panels[0].chunks_exact_mut(wide)) {
                            self.pad_image(from, sample, to);
                        }
                    }
                    (false, 8) => self.pad_rows::<T, 8>(&rows, panels, from),
                    (false, 16) => self.pad_rows::<T, 16>(&rows, panels, from),
                    (false, _) => self.pad_rows::<T, PANEL>(&rows, panels, from),
                },
            );
        });
    }

    #[inline(always)]
    fn pad_rows<T: Element, const N: usize>(&self, rows: &Range<usize>, panels: &mut [&mut [T]], from: &Matrix<T>) {
        for (q, panel) in panels.iter_mut().enumerate() {
            let (source, to) = (from.panel(q).as_chunks::<N>().0, panel.as_chunks_mut::<N>().0);
            if self.padding == 0 {
                to.copy_from_slice(&source[rows.clone()]);
                continue;
            }
            for (at, to) in places(rows, self.padded()).zip(to) {
                let [y, x] = [at.y, at.x].map(|v| v.wrapping_sub(self.padding));
                *to = if y < self.height && x < self.width {
                    source[(at.sample * self.height + y) * self.width + x]
                } else {
                    [T::ZERO; N]
                };
            }
        }
    }

    /// One image [channels, height, width], each channel with its own padding.
    #[inline(always)]
    fn pad_image<T: Element>(&self, from: &Matrix<T>, sample: usize, to: &mut [T]) {
        let [_, width] = self.padded();
        if self.padding > 0 {
            to.fill(T::ZERO);
        }
        for line in 0..self.channels * self.height {
            let (channel, y) = (line / self.height, line % self.height);
            let start = ((channel * self.padded()[0] + y + self.padding) * width) + self.padding;
            let mut rest = &mut to[start..start + self.width];
            let mut pixel = line * self.width;
            while !rest.is_empty() {
                let run = (PANEL - pixel % PANEL).min(rest.len());
                let (part, after) = rest.split_at_mut(run);
                part.copy_from_slice(&from.row(pixel / PANEL, sample)[pixel % PANEL..][..run]);
                (rest, pixel) = (after, pixel + run);
            }
        }
    }
}
