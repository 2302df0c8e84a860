//! Fixed maps over grids: im2col patches, pooling, flattening and parts, with their transposes. Each is a gather into the rows of
//! the result.
//!
//! ```text
//! patches   p [sample · position, (row, column, channel)] = h [sample · (y, x), channel], or 0 outside the grid
//! average   p [sample · position, channel]                = Σ_window h / kernel²
//! maximum   p [sample · position, channel]                = max_window h
//! part      p [sample, unit]                              = h [sample, start + unit]
//! back      e [sample · (y, x), channel]                  = Σ of the errors of all windows that contain (y, x), in position order
//! ```
//!
//! Flattening is a patch as large as the grid. Channels are columns, so an inner loop runs over the channels of one panel of the
//! result (8, 16 or 32). Patches are rarely stored: see [`patches`].

pub(crate) mod patches;

use super::element::Element;
use super::matrix::{Lines, Matrix, PANEL, Shape};
use super::parallel::{Parallel, numbers};
use super::vector::vector;
use crate::lower::Work;
use crate::plan::{Connection, Plan, Window};
use std::ops::Range;

/// Rows per task.
const ROWS: usize = 128;

/// Which values of a window the map delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Patches,
    Average,
    Maximum,
    Part,
}

/// A fixed map with its geometry.
#[derive(Debug, Clone)]
pub(crate) struct FixedMap {
    kind: Kind,
    channels: usize,
    height: usize,
    width: usize,
    planes: bool,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    /// For a part: its first unit.
    start: usize,
    /// Rows and columns of output positions.
    places: [usize; 2],
    /// For each row and each column of the grid: the rows or columns of output positions whose windows contain it.
    above: [Vec<Range<usize>>; 2],
}

impl FixedMap {
    /// The map of a job's projection, if that is a fixed map.
    pub(super) fn of(plan: &Plan, work: &Work) -> Option<FixedMap> {
        let Work::Send { projection, .. } = work else { return None };
        let of = &plan.projections[*projection];
        match of.kind {
            Connection::Patches(window) => FixedMap::new(Kind::Patches, window),
            Connection::Average(window) => FixedMap::new(Kind::Average, window),
            Connection::Maximum(window) => FixedMap::new(Kind::Maximum, window),
            Connection::Flat => {
                let from = &plan.populations[of.from];
                Some(FixedMap::flat(from.n, from.places))
            }
            Connection::Part { start } => {
                let [from, to] = [of.from, of.to].map(|p| plan.populations[p].n);
                Some(FixedMap::part(start, from, to))
            }
            Connection::Dense { .. } | Connection::Identity => None,
        }
    }

    fn new(kind: Kind, window: Window) -> Option<FixedMap> {
        let Window { channels, height, width, planes, kernel, stride, padding } = window;
        let [channels, height, width, kernel, stride, padding] =
            [channels, height, width, kernel, stride, padding].map(|n| n as usize);
        let (kernel, places) = ([kernel; 2], window.places()?);
        let above = [Vec::new(), Vec::new()];
        Some(
            FixedMap { kind, channels, height, width, planes, kernel, stride, padding, start: 0, places, above }
                .with_windows(),
        )
    }

    /// The patches of a window.
    #[cfg(test)]
    pub(super) fn of_window(window: Window) -> FixedMap {
        FixedMap::new(Kind::Patches, window).expect("a window that fits")
    }

    /// Fills `above` once, because the divisions cost more than the work they serve.
    fn with_windows(mut self) -> FixedMap {
        for (side, n) in [self.height, self.width].into_iter().enumerate() {
            self.above[side] = (0..n).map(|at| self.above(at, self.kernel[side], self.places[side])).collect();
        }
        self
    }

    /// Flattening: one window over all positions, laid out as a grid of one row.
    fn flat(channels: usize, places: usize) -> FixedMap {
        FixedMap {
            kind: Kind::Patches,
            channels,
            height: 1,
            width: places,
            planes: false,
            kernel: [1, places],
            stride: 1,
            padding: 0,
            start: 0,
            places: [1, 1],
            above: [Vec::new(), Vec::new()],
        }
        .with_windows()
    }

    /// The `to` units from `start` on of a row of `from` units.
    fn part(start: usize, from: usize, to: usize) -> FixedMap {
        let kernel = [1, to];
        FixedMap { kind: Kind::Part, width: from, planes: true, kernel, start, ..FixedMap::flat(1, 1) }
    }

    /// Values per patch, that is, per output position.
    fn columns(&self) -> usize {
        let [rows, columns] = self.kernel;
        rows * columns * self.channels
    }

    /// Rows and columns of an image with its zero padding.
    fn padded(&self) -> [usize; 2] {
        [self.height + 2 * self.padding, self.width + 2 * self.padding]
    }

    /// Approximate operations per value of the result.
    fn work(&self) -> u64 {
        match self.kind {
            Kind::Patches | Kind::Part => 4,
            Kind::Average | Kind::Maximum => (2 * self.kernel[0] * self.kernel[1]) as u64,
        }
    }

    /// Applies the map to `from`, forward or backward. Max pooling finds its maxima in `forward_input`.
    pub(super) fn run<T: Element>(
        &self,
        exec: &Parallel,
        forward: bool,
        (shape, out): (Shape, &mut Lines<T>),
        from: &Matrix<T>,
        forward_input: &Matrix<T>,
    ) {
        exec.rows(shape, self.work() * numbers(shape), out, ROWS, |rows, panels| {
            vector(
                exec.arch,
                #[inline(always)]
                || match (forward, self.kind, self.planes, shape.wide) {
                    (_, Kind::Part, ..) => self.part_of(&rows, panels, forward, from),
                    (true, Kind::Patches, ..) => self.patches(&rows, panels, shape.wide, from),
                    (true, _, _, 8) => self.pool::<T, 8>(&rows, panels, from),
                    (true, _, _, 16) => self.pool::<T, 16>(&rows, panels, from),
                    (true, ..) => self.pool::<T, PANEL>(&rows, panels, from),
                    (false, _, true, _) => self.images_back(&rows, panels, from, forward_input),
                    (false, _, false, 8) => self.back::<T, 8>(&rows, panels, from, forward_input),
                    (false, _, false, 16) => self.back::<T, 16>(&rows, panels, from, forward_input),
                    (false, _, false, _) => self.back::<T, PANEL>(&rows, panels, from, forward_input),
                },
            );
        });
    }

    /// The input row or column of a window tap, if it is on the grid.
    #[inline(always)]
    fn below(&self, place: usize, tap: usize, side: usize) -> Option<usize> {
        (place * self.stride + tap).checked_sub(self.padding).filter(|at| *at < side)
    }

    /// Stores patches value by value, for the rare case that operations other than products read them.
    fn patches<T: Element>(&self, rows: &Range<usize>, panels: &mut [&mut [T]], wide: usize, from: &Matrix<T>) {
        let (columns, pixels) = (self.columns(), self.height * self.width);
        for (q, panel) in panels.iter_mut().enumerate() {
            for (at, row) in places(rows, self.places).zip(panel.chunks_exact_mut(wide)) {
                for (column, to) in (q * wide..).zip(row) {
                    let (tap, channel) = (column / self.channels, column % self.channels);
                    let [ky, kx] = [tap / self.kernel[1], tap % self.kernel[1]];
                    let below = self.below(at.y, ky, self.height).zip(self.below(at.x, kx, self.width));
                    *to = match below.filter(|_| column < columns) {
                        Some((y, x)) if self.planes => from.get(at.sample, channel * pixels + y * self.width + x),
                        Some((y, x)) => from.get(at.sample * pixels + y * self.width + x, channel),
                        None => T::ZERO,
                    };
                }
            }
        }
    }

    #[inline(always)]
    fn part_of<T: Element>(&self, rows: &Range<usize>, panels: &mut [&mut [T]], forward: bool, from: &Matrix<T>) {
        let end = if forward { self.start + self.kernel[1] } else { self.kernel[1] };
        for (q, panel) in panels.iter_mut().enumerate() {
            for (sample, row) in rows.clone().zip(panel.as_chunks_mut::<PANEL>().0) {
                for (column, to) in (q * PANEL..).zip(row) {
                    let at = if forward { Some(column + self.start) } else { column.checked_sub(self.start) };
                    *to = at.filter(|at| *at < end).map_or(T::ZERO, |at| from.get(sample, at));
                }
            }
        }
    }

    /// N channels at a position of the input grid.
    #[inline(always)]
    fn lanes<T: Element, const N: usize>(
        &self,
        from: &Matrix<T>,
        q: usize,
        sample: usize,
        [y, x]: [usize; 2],
    ) -> [T; N] {
        let (mut lanes, place) = ([T::ZERO; N], (sample * self.height + y) * self.width + x);
        if !self.planes && from.wide == N {
            return from.panel(q).as_chunks::<N>().0[place];
        }
        for (channel, to) in (q * N..self.channels).zip(&mut lanes) {
            *to = if self.planes {
                from.get(sample, (channel * self.height + y) * self.width + x)
            } else {
                from.get(place, channel)
            };
        }
        lanes
    }

    /// The input positions of a window, row by row.
    #[inline(always)]
    fn window(&self, y: usize, x: usize) -> impl Iterator<Item = [usize; 2]> {
        let ([rows, columns], stride) = (self.kernel, self.stride);
        (0..rows).flat_map(move |ky| (0..columns).map(move |kx| [y * stride + ky, x * stride + kx]))
    }

    fn fraction<T: Element>(&self) -> T {
        T::from_f64(1.0 / (self.kernel[0] * self.kernel[1]) as f64)
    }

    #[inline(always)]
    fn pool<T: Element, const N: usize>(&self, rows: &Range<usize>, panels: &mut [&mut [T]], from: &Matrix<T>) {
        for (q, panel) in panels.iter_mut().enumerate() {
            for (at, to) in places(rows, self.places).zip(panel.as_chunks_mut::<N>().0) {
                *to = self.pooled(q, at, from);
            }
        }
    }

    #[inline(always)]
    fn pooled<T: Element, const N: usize>(
        &self,
        q: usize,
        WindowPlace { sample, y, x }: WindowPlace,
        from: &Matrix<T>,
    ) -> [T; N] {
        if self.kind == Kind::Average {
            let (mut all, share) = ([T::ZERO; N], self.fraction());
            for at in self.window(y, x) {
                all = added(all, self.lanes(from, q, sample, at));
            }
            return scaled(all, share);
        }
        let mut all = self.lanes::<T, N>(from, q, sample, [y * self.stride, x * self.stride]);
        for at in self.window(y, x) {
            let lanes = self.lanes::<T, N>(from, q, sample, at);
            for i in 0..N {
                // A NaN counts as the maximum, so that it propagates.
                all[i] = if lanes[i] > all[i] || is_nan(lanes[i]) { lanes[i] } else { all[i] };
            }
        }
        all
    }

    /// The errors for the positions of the input grid.
    #[inline(always)]
    fn back<T: Element, const N: usize>(
        &self,
        rows: &Range<usize>,
        panels: &mut [&mut [T]],
        from: &Matrix<T>,
        forward_input: &Matrix<T>,
    ) {
        let mut firsts = FirstMaxima::new(self);
        for (q, panel) in panels.iter_mut().enumerate() {
            for (at, to) in places(rows, [self.height, self.width]).zip(panel.as_chunks_mut::<N>().0) {
                *to = match self.kind {
                    Kind::Patches => self.patches_back(q, at, from),
                    _ => self.pools_back(q, at, from, forward_input, &mut firsts),
                };
            }
        }
    }

    /// The rows or columns of output positions whose windows contain row or column `at` of the grid.
    fn above(&self, at: usize, kernel: usize, places: usize) -> Range<usize> {
        let at = at + self.padding;
        (at + 1).saturating_sub(kernel).div_ceil(self.stride)..(at / self.stride + 1).min(places)
    }

    #[inline(always)]
    fn patches_back<T: Element, const N: usize>(
        &self,
        q: usize,
        WindowPlace { sample, y, x }: WindowPlace,
        from: &Matrix<T>,
    ) -> [T; N] {
        let mut sum = [T::ZERO; N];
        let ([_, columns], [height, width]) = (self.kernel, self.places);
        let count = (self.channels - q * N).min(N);
        for oy in self.above[0][y].clone() {
            for ox in self.above[1][x].clone() {
                let tap = (y + self.padding - oy * self.stride) * columns + (x + self.padding - ox * self.stride);
                let (column, place) = (tap * self.channels + q * N, (sample * height + oy) * width + ox);
                // A panel narrower than PANEL is the only panel of its matrix.
                let (panel, start) = if from.wide == PANEL { (column / PANEL, column % PANEL) } else { (0, column) };
                let row = from.row(panel, place);
                if let Some(numbers) = row[start..].first_chunk::<N>() {
                    // Lanes beyond `count` add the next tap's channels; they are cleared after the loop.
                    sum = added(sum, *numbers);
                    continue;
                }
                // The channels may span two panels.
                let first = count.min(from.wide - start);
                sum[..first].iter_mut().zip(&row[start..]).for_each(|(s, v)| *s = *s + *v);
                if first < count {
                    sum[first..count].iter_mut().zip(from.row(panel + 1, place)).for_each(|(s, v)| *s = *s + *v);
                }
            }
        }
        if count < N {
            sum[count..].fill(T::ZERO);
        }
        sum
    }

    #[inline(always)]
    fn pools_back<T: Element, const N: usize>(
        &self,
        q: usize,
        at: WindowPlace,
        from: &Matrix<T>,
        forward_input: &Matrix<T>,
        firsts: &mut FirstMaxima<T, N>,
    ) -> [T; N] {
        let WindowPlace { sample, y, x } = at;
        let mut sum = [T::ZERO; N];
        let [height, width] = self.places;
        for oy in self.above[0][y].clone() {
            for ox in self.above[1][x].clone() {
                let mut error = self.error::<T, N>(from, q, (sample * height + oy) * width + ox);
                if self.kind == Kind::Maximum {
                    let tap = T::from_f64(((y - oy * self.stride) * self.kernel[1] + x - ox * self.stride) as f64);
                    let own = self.lanes::<T, N>(forward_input, q, sample, [y, x]);
                    let first = firsts.of(self, forward_input, [q, sample, oy])[ox];
                    for i in 0..N {
                        error[i] = if first[i] == tap || is_nan(own[i]) { error[i] } else { T::ZERO };
                    }
                }
                sum = added(sum, error);
            }
        }
        if self.kind == Kind::Average { scaled(sum, self.fraction()) } else { sum }
    }

    /// N channels of the error at an output position.
    #[inline(always)]
    fn error<T: Element, const N: usize>(&self, from: &Matrix<T>, q: usize, place: usize) -> [T; N] {
        if from.wide == N {
            return from.panel(q).as_chunks::<N>().0[place];
        }
        let mut lanes = [T::ZERO; N];
        (q * N..self.channels).zip(&mut lanes).for_each(|(channel, to)| *to = from.get(place, channel));
        lanes
    }

    /// The errors for the pixels of an image. It is slow, but rules hardly ever need it.
    fn images_back<T: Element>(
        &self,
        rows: &Range<usize>,
        panels: &mut [&mut [T]],
        from: &Matrix<T>,
        forward_input: &Matrix<T>,
    ) {
        let (pixels, mut firsts) = (self.height * self.width, FirstMaxima::new(self));
        for (q, panel) in panels.iter_mut().enumerate() {
            for (sample, row) in rows.clone().zip(panel.as_chunks_mut::<PANEL>().0) {
                for (column, to) in (q * PANEL..self.channels * pixels).zip(row) {
                    let (channel, pixel) = (column / pixels, column % pixels);
                    let (q, at) =
                        (channel / PANEL, WindowPlace { sample, y: pixel / self.width, x: pixel % self.width });
                    let all: [T; PANEL] = match self.kind {
                        Kind::Patches => self.patches_back(q, at, from),
                        _ => self.pools_back(q, at, from, forward_input, &mut firsts),
                    };
                    *to = all[channel % PANEL];
                }
            }
        }
    }
}

/// A cache of the first maximum (tap index) of each window, per channel, for the rows of windows requested last.
struct FirstMaxima<T, const N: usize> {
    /// For each entry: the panel, sample and window row that it holds.
    of: Vec<Option<[usize; 3]>>,
    /// [entries, windows per row]
    taps: Vec<[T; N]>,
}

impl<T: Element, const N: usize> FirstMaxima<T, N> {
    /// As many entries as window rows can contain one position; none unless the map is max pooling.
    fn new(map: &FixedMap) -> Self {
        let rows = if map.kind == Kind::Maximum { (map.kernel[0] - 1) / map.stride + 1 } else { 0 };
        FirstMaxima { of: vec![None; rows], taps: vec![[T::ZERO; N]; rows * map.places[1]] }
    }

    /// The first maxima of a row of windows. (A NaN is never the first maximum; it gets its error separately.)
    #[inline(always)]
    fn of(&mut self, map: &FixedMap, sent: &Matrix<T>, [q, sample, oy]: [usize; 3]) -> &[[T; N]] {
        let (part, width) = (oy % self.of.len(), map.places[1]);
        let taps = &mut self.taps[part * width..][..width];
        if self.of[part] != Some([q, sample, oy]) {
            self.of[part] = Some([q, sample, oy]);
            for (ox, to) in taps.iter_mut().enumerate() {
                let (mut tap, mut number) = ([T::ZERO; N], T::ZERO);
                let mut most = map.lanes::<T, N>(sent, q, sample, [oy * map.stride, ox * map.stride]);
                for at in map.window(oy, ox).skip(1) {
                    let lanes = map.lanes::<T, N>(sent, q, sample, at);
                    number = number + T::ONE;
                    for i in 0..N {
                        let more = lanes[i] > most[i] || is_nan(most[i]);
                        most[i] = if more { lanes[i] } else { most[i] };
                        tap[i] = if more { number } else { tap[i] };
                    }
                }
                *to = tap;
            }
        }
        taps
    }
}

/// a + b. (It takes values: a closure might not be compiled for the vector unit.)
#[inline(always)]
fn added<T: Element, const N: usize>(mut a: [T; N], b: [T; N]) -> [T; N] {
    for i in 0..N {
        a[i] = a[i] + b[i];
    }
    a
}

/// factor · a
#[inline(always)]
fn scaled<T: Element, const N: usize>(mut a: [T; N], factor: T) -> [T; N] {
    for i in 0..N {
        a[i] = a[i] * factor;
    }
    a
}

/// Whether the value is NaN.
#[inline(always)]
#[allow(clippy::eq_op, reason = "NaN is not itself")]
fn is_nan<T: Element>(value: T) -> bool {
    value != value
}

/// A position of a sample's grid.
#[derive(Clone, Copy)]
struct WindowPlace {
    sample: usize,
    y: usize,
    x: usize,
}

/// The positions of these rows, for a matrix with one row per grid position.
#[inline(always)]
fn places(rows: &Range<usize>, [height, width]: [usize; 2]) -> impl Iterator<Item = WindowPlace> {
    let (sample, place) = (rows.start / (height * width), rows.start % (height * width));
    let mut at = WindowPlace { sample, y: place / width, x: place % width };
    rows.clone().map(move |_| {
        let now = at;
        at.x += 1;
        if at.x == width {
            (at.x, at.y) = (0, at.y + 1);
        }
        if at.y == height {
            (at.y, at.sample) = (0, at.sample + 1);
        }
        now
    })
}

#[cfg(test)]
mod tests {
    use super::super::thread_pool::ThreadPool;
    use super::*;
    use crate::random::{Random, Stream};
    use ndarray::{Array2, Array4};
    use std::sync::Arc;

    /// Panels of 8 columns need an even number of rows.
    const SAMPLES: usize = 4;

    /// A zero matrix with the panel width of unit slots, [samples · positions, cols].
    fn zeros(rows: usize, cols: usize) -> Matrix<f32> {
        Matrix::of(Shape::of_places(SAMPLES, rows / SAMPLES, cols))
    }

    /// Small integers, so that windows contain equal values.
    fn random(rows: usize, cols: usize, index: u64) -> Matrix<f32> {
        let mut r = Random::new(5, Stream::Test, index);
        let mut random = zeros(rows, cols);
        random.fill_from(Array2::from_shape_simple_fn((rows, cols), || r.below(5) as f32 - 2.0).view());
        random
    }

    /// The input grid as [sample, y, x, channel], from a matrix.
    fn grid(map: &FixedMap, m: &Matrix<f32>) -> Array4<f32> {
        let FixedMap { channels, height, width, .. } = *map;
        Array4::from_shape_fn((SAMPLES, height, width, channels), |(s, y, x, c)| match map.planes {
            true => m.get(s, (c * height + y) * width + x),
            false => m.get((s * height + y) * width + x, c),
        })
    }

    /// The map as a list of links for one sample: [position, column] of the result, [y, x, channel] of the input, factor.
    fn links(map: &FixedMap, sent: &Array4<f32>, s: usize) -> Vec<([usize; 2], [usize; 3], f32)> {
        let ([rows, columns], [oh, ow]) = (map.kernel, map.places);
        let mut links = Vec::new();
        for (oy, ox, c) in (0..oh).flat_map(|y| (0..ow).flat_map(move |x| (0..map.channels).map(move |c| (y, x, c)))) {
            let mut best: Option<[usize; 2]> = None;
            for (ky, kx) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                let [y, x] = [oy * map.stride + ky, ox * map.stride + kx].map(|v| v.wrapping_sub(map.padding));
                if y >= map.height || x >= map.width {
                    continue;
                }
                match map.kind {
                    Kind::Patches => {
                        let column = (ky * columns + kx) * map.channels + c;
                        links.push(([oy * ow + ox, column], [y, x, c], 1.0));
                    }
                    Kind::Part => links.push(([0, kx], [0, map.start + kx, 0], 1.0)),
                    Kind::Average => {
                        links.push(([oy * ow + ox, c], [y, x, c], 1.0 / (rows * columns) as f32));
                    }
                    Kind::Maximum => {
                        let more = |[by, bx]: [usize; 2]| sent[[s, y, x, c]] > sent[[s, by, bx, c]];
                        if best.is_none_or(more) {
                            best = Some([y, x]);
                        }
                    }
                }
            }
            if let Some([y, x]) = best {
                links.push(([oy * ow + ox, c], [y, x, c], 1.0));
            }
        }
        links
    }

    fn check(map: &FixedMap) {
        let FixedMap { channels, height, width, kernel: [rows, columns], places: [oh, ow], .. } = *map;
        let below =
            if map.planes { [SAMPLES, channels * height * width] } else { [SAMPLES * height * width, channels] };
        let n = if matches!(map.kind, Kind::Patches | Kind::Part) { rows * columns * channels } else { channels };
        let (sent, error) = (random(below[0], below[1], 0), random(SAMPLES * oh * ow, n, 1));
        let sent_grid = grid(map, &sent);
        let mut there = Array2::<f32>::zeros((SAMPLES * oh * ow, n));
        let mut back = Array4::<f32>::zeros((SAMPLES, height, width, channels));
        for s in 0..SAMPLES {
            for ([place, column], [y, x, c], factor) in links(map, &sent_grid, s) {
                there[[s * oh * ow + place, column]] += factor * sent_grid[[s, y, x, c]];
                back[[s, y, x, c]] += factor * error.get(s * oh * ow + place, column);
            }
        }
        let pool = Arc::new(ThreadPool::new(3).expect("threads"));
        for exec in [Parallel::serial(), Parallel::on_pool(&pool, 3)] {
            let (mut made, mut returned) = (zeros(SAMPLES * oh * ow, n), zeros(below[0], below[1]));
            for (forward, to, from) in [(true, &mut made, &sent), (false, &mut returned, &error)] {
                let shape = to.shape();
                map.run(&exec, forward, (shape, &mut to.lines), from, &sent);
            }
            let near = |a: f64, b: f32| (a - f64::from(b)).abs() < 1e-5;
            let wrong = made.to_array().iter().zip(&there).filter(|(a, b)| !near(**a, **b)).count();
            assert_eq!(wrong, 0, "forward {map:?}");
            for m in [&made, &returned] {
                let (panel, used) = (m.panel((m.cols - 1) / m.wide), m.cols % m.wide);
                let clean = used == 0 || panel.chunks_exact(m.wide).all(|row| row[used..].iter().all(|v| *v == 0.0));
                assert!(clean, "padding columns are not 0 {map:?}");
            }
            if let Some(patches) = map.in_place(SAMPLES) {
                let mut padded = Matrix::of_patches(patches, SAMPLES);
                padded.data_mut().fill(f32::NAN);
                let shape = padded.shape();
                map.pad(&exec, (shape, &mut padded.lines), &sent);
                assert_eq!(padded.to_array(), made.to_array(), "in place {map:?}");
            }
            let returned = grid(map, &returned);
            let wrong = returned.iter().zip(&back).filter(|(a, b)| !near(f64::from(**a), **b)).count();
            assert_eq!(wrong, 0, "backward {map:?}");
        }
    }

    #[test]
    fn every_map_is_the_plain_loop() {
        for planes in [false, true] {
            for (channels, height, width) in
                [(1, 5, 7), (3, 8, 8), (6, 9, 8), (16, 5, 4), (32, 4, 5), (33, 6, 3), (70, 3, 4)]
            {
                for (kernel, stride, padding) in [(1, 1, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0), (2, 1, 1)] {
                    let window = Window { channels, height, width, planes, kernel, stride, padding };
                    for kind in [Kind::Patches, Kind::Average, Kind::Maximum] {
                        if kind == Kind::Patches || padding == 0 {
                            check(&FixedMap::new(kind, window).expect("it fits"));
                        }
                    }
                }
            }
        }
        for (channels, places) in [(1, 1), (3, 20), (32, 6), (40, 9), (5, 64)] {
            check(&FixedMap::flat(channels, places));
        }
        for (start, from, to) in [(0, 1, 1), (0, 40, 40), (5, 70, 33), (64, 96, 32), (7, 8, 1)] {
            check(&FixedMap::part(start, from, to));
        }
    }

    /// A NaN in the input reaches the output, and its error comes back.
    #[test]
    fn a_maximum_hands_on_what_is_no_number_and_its_error() {
        let window = Window { channels: 1, height: 2, width: 2, planes: false, kernel: 2, stride: 2, padding: 0 };
        let map = FixedMap::new(Kind::Maximum, window).expect("it fits");
        for at in 0..4 {
            let mut sent = Matrix::<f32>::from_array(Array2::from_shape_fn((4, 1), |(i, _)| i as f32).view());
            sent.set(at, 0, f32::NAN);
            let mut made = Matrix::<f32>::zeros(1, 1);
            map.run(&Parallel::serial(), true, (made.shape(), &mut made.lines), &sent, &sent);
            assert!(made.get(0, 0).is_nan(), "{at}");
            // The error goes to the NaN and to the largest of the other values.
            made.set(0, 0, 7.0);
            let mut back = Matrix::<f32>::zeros(4, 1);
            map.run(&Parallel::serial(), false, (back.shape(), &mut back.lines), &made, &sent);
            let largest = if at == 3 { 2 } else { 3 };
            let want = |i: usize| if i == at || i == largest { 7.0 } else { 0.0 };
            assert!((0..4).all(|i| back.get(i, 0) == want(i)), "{at}: {:?}", back.to_array());
        }
    }
}
