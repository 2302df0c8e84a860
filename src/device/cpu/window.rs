//! Fixed maps over grids: patches, pooling and flattening, and their transposes, as gathers into the rows of the result.
//!
//! ```text
//! patches   p [sample · place, (row, column, channel)] = h [sample · (y, x), channel], or 0 outside the grid
//! average   p [sample · place, channel]                = Σ_window h / kernel²
//! maximum   p [sample · place, channel]                = max_window h
//! part      p [sample, unit]                           = h [sample, start + unit]
//! back      e [sample · (y, x), channel]               = Σ_places of what came from there, place after place
//! ```
//!
//! Flattening is a patch as large as the grid. A channel is a column, so that all loops run over 32 of them at once, but those
//! over images, whose planes of pixels are one after the other.

use super::matrix::{Band, Matrix, PANEL};
use super::real::Real;
use super::vector::vector;
use crate::plan::{Connection, Plan, Window};
use crate::program::Work;
use pulp::Arch;
use std::ops::Range;

/// 32 columns of a row.
type Lanes<T> = [T; PANEL];

/// Which numbers of a window are brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Patches,
    Average,
    Maximum,
    Part,
}

/// Columns of a panel of patches that come from one place below.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Of the panel.
    to: u32,
    len: u32,
    /// The row and the column of the window.
    at: [u32; 2],
    /// The first column that is read; of an image, at the first pixel.
    from: u32,
}

/// A fixed map, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    kind: Kind,
    channels: usize,
    height: usize,
    width: usize,
    planes: bool,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    /// Of a part: the first unit of it.
    start: usize,
    /// Rows and columns of places.
    places: [usize; 2],
    /// Of patches: by panel of the result.
    runs: Vec<Vec<Run>>,
}

/// Bytes of the tables of a plan's maps, about: a few ops go through each.
pub(super) fn bytes(plan: &Plan) -> u64 {
    let maps = plan.projections.iter().filter(|p| p.kind.is_map());
    maps.map(|p| 4 * (plan.populations[p.to].n * size_of::<Run>()) as u64).sum()
}

impl Map {
    /// The map that a job goes through, if it goes through one.
    pub(super) fn of(plan: &Plan, work: &Work) -> Option<Map> {
        let Work::Send { projection, .. } = work else { return None };
        let of = &plan.projections[*projection];
        match of.kind {
            Connection::Patches(window) => Map::new(Kind::Patches, window),
            Connection::Average(window) => Map::new(Kind::Average, window),
            Connection::Maximum(window) => Map::new(Kind::Maximum, window),
            Connection::Flat => {
                let from = &plan.populations[of.from];
                Some(Map::flat(from.n, from.places))
            }
            Connection::Part { start } => {
                let [from, to] = [of.from, of.to].map(|p| plan.populations[p].n);
                Some(Map::part(start, from, to))
            }
            Connection::Dense { .. } | Connection::Identity => None,
        }
    }

    fn new(kind: Kind, window: Window) -> Option<Map> {
        let Window { channels, height, width, planes, kernel, stride, padding } = window;
        let [channels, height, width, kernel, stride, padding] =
            [channels, height, width, kernel, stride, padding].map(|n| n as usize);
        let (kernel, places) = ([kernel; 2], window.places()?);
        let map =
            Map { kind, channels, height, width, planes, kernel, stride, padding, start: 0, places, runs: Vec::new() };
        Some(map.with_runs())
    }

    /// All places one after the other: a window over a grid of one row.
    fn flat(channels: usize, places: usize) -> Map {
        Map {
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
            runs: Vec::new(),
        }
        .with_runs()
    }

    /// Units from `start` on of one row.
    fn part(start: usize, from: usize, to: usize) -> Map {
        let kernel = [1, to];
        Map { kind: Kind::Part, width: from, planes: true, kernel, start, ..Map::flat(1, 1) }
    }

    /// Looks up once which columns of patches come from where.
    fn with_runs(mut self) -> Map {
        if self.kind != Kind::Patches {
            return self;
        }
        let [rows, columns] = self.kernel;
        let n = rows * columns * self.channels;
        self.runs.resize_with(n.div_ceil(PANEL), Vec::new);
        let mut column = 0;
        while column < n {
            let (tap, channel) = (column / self.channels, column % self.channels);
            // Up to the end of the place, of the panel that is read, or of the one that is written.
            let len = match self.planes {
                true => 1,
                false => (self.channels - channel).min(PANEL - channel % PANEL).min(PANEL - column % PANEL),
            };
            let from = if self.planes { channel * self.height * self.width } else { channel };
            let at = [tap / columns, tap % columns].map(|n| n as u32);
            let run = Run { to: (column % PANEL) as u32, len: len as u32, at, from: from as u32 };
            self.runs[column / PANEL].push(run);
            column += len;
        }
        self
    }

    /// Operations on a number of the result, about.
    pub(super) fn work(&self) -> u64 {
        match self.kind {
            Kind::Patches | Kind::Part => 4,
            Kind::Average | Kind::Maximum => (2 * self.kernel[0] * self.kernel[1]) as u64,
        }
    }

    /// A band of what the map makes of `from`, or of what comes back through it; `decides` is what was sent.
    pub(super) fn run<T: Real>(
        &self,
        arch: Arch,
        forward: bool,
        band: &Band,
        out: &mut [T],
        from: &Matrix<T>,
        decides: &Matrix<T>,
    ) {
        let grid = match (forward, self.planes) {
            (true, _) => self.places,
            (false, false) => [self.height, self.width],
            (false, true) => [1, 1],
        };
        vector(
            arch,
            #[inline(always)]
            || match (forward, self.kind, self.planes) {
                (_, Kind::Part, _) => each_row(band, out, grid, |row, at| self.part_of(row, at, forward, from)),
                (true, Kind::Patches, false) => each_row(band, out, grid, |row, at| self.patch(row, at, from)),
                (true, Kind::Patches, true) => each_row(band, out, grid, |row, at| self.patch_of_image(row, at, from)),
                (true, ..) => each_row(band, out, grid, |row, at| *row = self.pool(at, from)),
                (false, _, true) => each_row(band, out, grid, |row, at| self.image_back(row, at, from, decides)),
                (false, Kind::Patches, _) => each_row(band, out, grid, |row, at| *row = self.patches_back(at, from)),
                (false, ..) => each_row(band, out, grid, |row, at| *row = self.pools_back(at, from, decides)),
            },
        );
    }

    /// The row or column below a window's, if it is on the grid.
    #[inline(always)]
    fn below(&self, place: usize, tap: usize, side: usize) -> Option<usize> {
        (place * self.stride + tap).checked_sub(self.padding).filter(|at| *at < side)
    }

    #[inline(always)]
    fn patch<T: Real>(&self, row: &mut Lanes<T>, Row { q, sample, y, x }: Row, from: &Matrix<T>) {
        let data = from.data();
        for run in &self.runs[q] {
            let to = &mut row[run.to as usize..(run.to + run.len) as usize];
            let [ky, kx] = run.at.map(|n| n as usize);
            match self.below(y, ky, self.height).zip(self.below(x, kx, self.width)) {
                Some((y, x)) => {
                    let (column, place) = (run.from as usize, (sample * self.height + y) * self.width + x);
                    let start = (column / PANEL * from.rows + place) * PANEL + column % PANEL;
                    to.copy_from_slice(&data[start..start + to.len()]);
                }
                None => to.fill(T::ZERO),
            }
        }
    }

    #[inline(always)]
    fn patch_of_image<T: Real>(&self, row: &mut Lanes<T>, Row { q, sample, y, x }: Row, from: &Matrix<T>) {
        let data = from.data();
        for run in &self.runs[q] {
            let [ky, kx] = run.at.map(|n| n as usize);
            let below = self.below(y, ky, self.height).zip(self.below(x, kx, self.width));
            row[run.to as usize] = below.map_or(T::ZERO, |(y, x)| {
                let column = run.from as usize + y * self.width + x;
                data[(column / PANEL * from.rows + sample) * PANEL + column % PANEL]
            });
        }
    }

    #[inline(always)]
    fn part_of<T: Real>(&self, row: &mut Lanes<T>, Row { q, sample, .. }: Row, forward: bool, from: &Matrix<T>) {
        for (column, to) in (q * PANEL..).zip(row) {
            let at = if forward { Some(column + self.start) } else { column.checked_sub(self.start) };
            let end = if forward { self.start + self.kernel[1] } else { self.kernel[1] };
            *to = at.filter(|at| *at < end).map_or(T::ZERO, |at| from.get(sample, at));
        }
    }

    /// 32 channels at a place of the grid below.
    #[inline(always)]
    fn lanes<T: Real>(&self, from: &Matrix<T>, q: usize, sample: usize, [y, x]: [usize; 2]) -> Lanes<T> {
        let mut lanes = [T::ZERO; PANEL];
        if self.planes {
            for (channel, to) in (q * PANEL..self.channels).zip(&mut lanes) {
                *to = from.get(sample, (channel * self.height + y) * self.width + x);
            }
        } else {
            let place = (sample * self.height + y) * self.width + x;
            lanes.copy_from_slice(&from.data()[(q * from.rows + place) * PANEL..][..PANEL]);
        }
        lanes
    }

    /// The places of a window, in order.
    #[inline(always)]
    fn window(&self, y: usize, x: usize) -> impl Iterator<Item = [usize; 2]> {
        let ([rows, columns], stride) = (self.kernel, self.stride);
        (0..rows).flat_map(move |ky| (0..columns).map(move |kx| [y * stride + ky, x * stride + kx]))
    }

    fn share<T: Real>(&self) -> T {
        T::from_f64(1.0 / (self.kernel[0] * self.kernel[1]) as f64)
    }

    #[inline(always)]
    fn pool<T: Real>(&self, Row { q, sample, y, x }: Row, from: &Matrix<T>) -> Lanes<T> {
        let mut all = if self.kind == Kind::Average {
            [T::ZERO; PANEL]
        } else {
            self.lanes(from, q, sample, [y * self.stride, x * self.stride])
        };
        for at in self.window(y, x) {
            let lanes = self.lanes(from, q, sample, at);
            if self.kind == Kind::Average {
                (0..PANEL).for_each(|i| all[i] = all[i] + lanes[i]);
            } else {
                // A number that is none is the largest: it must not be lost.
                (0..PANEL).for_each(|i| all[i] = if lanes[i] > all[i] || none(lanes[i]) { lanes[i] } else { all[i] });
            }
        }
        if self.kind == Kind::Average {
            let share = self.share();
            (0..PANEL).for_each(|i| all[i] = all[i] * share);
        }
        all
    }

    /// Rows or columns of places whose windows a row or column of the grid is in.
    #[inline(always)]
    fn above(&self, at: usize, kernel: usize, places: usize) -> Range<usize> {
        let at = at + self.padding;
        (at + 1).saturating_sub(kernel).div_ceil(self.stride)..(at / self.stride + 1).min(places)
    }

    #[inline(always)]
    fn patches_back<T: Real>(&self, Row { q, sample, y, x }: Row, from: &Matrix<T>) -> Lanes<T> {
        let mut sum = [T::ZERO; PANEL];
        let ([rows, columns], [height, width]) = (self.kernel, self.places);
        let wide = (self.channels - q * PANEL).min(PANEL);
        for oy in self.above(y, rows, height) {
            for ox in self.above(x, columns, width) {
                let tap = (y + self.padding - oy * self.stride) * columns + (x + self.padding - ox * self.stride);
                let (column, place) = (tap * self.channels + q * PANEL, (sample * height + oy) * width + ox);
                let (panel, start) = (column / PANEL, column % PANEL);
                let row = |panel: usize| &from.data()[(panel * from.rows + place) * PANEL..][..PANEL];
                // The channels may lie in two panels.
                let first = wide.min(PANEL - start);
                if first == PANEL {
                    let row = row(panel);
                    (0..PANEL).for_each(|i| sum[i] = sum[i] + row[i]);
                    continue;
                }
                sum[..first].iter_mut().zip(&row(panel)[start..]).for_each(|(s, v)| *s = *s + *v);
                if first < wide {
                    sum[first..wide].iter_mut().zip(row(panel + 1)).for_each(|(s, v)| *s = *s + *v);
                }
            }
        }
        sum
    }

    #[inline(always)]
    fn pools_back<T: Real>(&self, row: Row, from: &Matrix<T>, decides: &Matrix<T>) -> Lanes<T> {
        let Row { q, sample, y, x } = row;
        let mut sum = [T::ZERO; PANEL];
        let ([rows, columns], [height, width]) = (self.kernel, self.places);
        for oy in self.above(y, rows, height) {
            for ox in self.above(x, columns, width) {
                let place = (sample * height + oy) * width + ox;
                let error = &from.data()[(q * from.rows + place) * PANEL..][..PANEL];
                if self.kind == Kind::Average {
                    (0..PANEL).for_each(|i| sum[i] = sum[i] + error[i]);
                } else {
                    let first = self.is_first(row, [oy, ox], decides);
                    (0..PANEL).for_each(|i| sum[i] = sum[i] + if first[i] { error[i] } else { T::ZERO });
                }
            }
        }
        if self.kind == Kind::Average {
            let share = self.share();
            (0..PANEL).for_each(|i| sum[i] = sum[i] * share);
        }
        sum
    }

    /// Whether a place of the grid has the first among the largest numbers of a window.
    #[inline(always)]
    fn is_first<T: Real>(&self, Row { q, sample, y, x }: Row, [oy, ox]: [usize; 2], sent: &Matrix<T>) -> [bool; PANEL] {
        let own = self.lanes(sent, q, sample, [y, x]);
        let mut first = [true; PANEL];
        for at in self.window(oy, ox).filter(|at| *at != [y, x]) {
            let other = self.lanes(sent, q, sample, at);
            if at < [y, x] {
                (0..PANEL).for_each(|i| first[i] &= other[i] < own[i] || none(own[i]) || none(other[i]));
            } else {
                (0..PANEL).for_each(|i| first[i] &= other[i] <= own[i] || none(own[i]) || none(other[i]));
            }
        }
        first
    }

    /// What comes back to the pixels of an image: rules hardly ask for it.
    fn image_back<T: Real>(&self, row: &mut Lanes<T>, at: Row, from: &Matrix<T>, decides: &Matrix<T>) {
        let pixels = self.height * self.width;
        for (i, to) in row.iter_mut().enumerate() {
            let column = at.q * PANEL + i;
            if column >= self.channels * pixels {
                break;
            }
            let (channel, pixel) = (column / pixels, column % pixels);
            let (q, y, x) = (channel / PANEL, pixel / self.width, pixel % self.width);
            let place = Row { q, sample: at.sample, y, x };
            let all = if self.kind == Kind::Patches {
                self.patches_back(place, from)
            } else {
                self.pools_back(place, from, decides)
            };
            *to = all[channel % PANEL];
        }
    }
}

/// Whether it is no number.
#[inline(always)]
#[allow(clippy::eq_op, reason = "NaN is not itself")]
fn none<T: Real>(value: T) -> bool {
    value != value
}

/// A row of the result: its panel, its sample and its place.
#[derive(Clone, Copy)]
struct Row {
    q: usize,
    sample: usize,
    y: usize,
    x: usize,
}

/// Does `make` for each row of a band, of a matrix with a row for each place of a grid.
#[inline(always)]
fn each_row<T: Real>(
    band: &Band,
    out: &mut [T],
    [height, width]: [usize; 2],
    mut make: impl FnMut(&mut Lanes<T>, Row),
) {
    let mut rest = out.as_chunks_mut::<PANEL>().0;
    for piece in band.pieces() {
        let (rows, after) = std::mem::take(&mut rest).split_at_mut(piece.rows.len());
        rest = after;
        let (sample, place) = (piece.rows.start / (height * width), piece.rows.start % (height * width));
        let mut at = Row { q: piece.q, sample, y: place / width, x: place % width };
        for row in rows {
            make(row, at);
            at.x += 1;
            if at.x == width {
                (at.x, at.y) = (0, at.y + 1);
            }
            if at.y == height {
                (at.y, at.sample) = (0, at.sample + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, Stream};
    use ndarray::{Array2, Array4};

    const SAMPLES: usize = 3;

    /// Few different numbers, so that windows have equal ones.
    fn random(rows: usize, cols: usize, index: u64) -> Matrix<f32> {
        let mut r = Random::new(5, Stream::Test, index);
        Matrix::from_array(Array2::from_shape_simple_fn((rows, cols), || r.below(5) as f32 - 2.0).view())
    }

    /// The grid below as [sample, y, x, channel], from a matrix.
    fn grid(map: &Map, m: &Matrix<f32>) -> Array4<f32> {
        let Map { channels, height, width, .. } = *map;
        Array4::from_shape_fn((SAMPLES, height, width, channels), |(s, y, x, c)| match map.planes {
            true => m.get(s, (c * height + y) * width + x),
            false => m.get((s * height + y) * width + x, c),
        })
    }

    /// Every (place, column of the result) and (y, x, channel) that a number of a sample goes between, with its factor.
    fn links(map: &Map, sent: &Array4<f32>, s: usize) -> Vec<([usize; 2], [usize; 3], f32)> {
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

    fn check(map: &Map) {
        let Map { channels, height, width, kernel: [rows, columns], places: [oh, ow], .. } = *map;
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
        for bands in [1, 3] {
            let mut made = Matrix::<f32>::zeros(SAMPLES * oh * ow, n);
            let mut returned = Matrix::<f32>::zeros(below[0], below[1]);
            for (forward, to, from) in [(true, &mut made, &sent), (false, &mut returned, &error)] {
                let shape = to.shape();
                for i in 0..bands {
                    let band = shape.band(i, bands);
                    map.run(Arch::new(), forward, &band, &mut to.data_mut()[band.range()], from, &sent);
                }
            }
            let near = |a: f64, b: f32| (a - f64::from(b)).abs() < 1e-5;
            let wrong = made.to_array().iter().zip(&there).filter(|(a, b)| !near(**a, **b)).count();
            assert_eq!(wrong, 0, "forward {map:?}");
            let returned = grid(map, &returned);
            let wrong = returned.iter().zip(&back).filter(|(a, b)| !near(f64::from(**a), **b)).count();
            assert_eq!(wrong, 0, "backward {map:?}");
        }
    }

    #[test]
    fn every_map_is_the_plain_loop() {
        for planes in [false, true] {
            for (channels, height, width) in [(1, 5, 7), (3, 8, 8), (32, 4, 5), (33, 6, 3), (70, 3, 4)] {
                for (kernel, stride, padding) in [(1, 1, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0), (2, 1, 1)] {
                    let window = Window { channels, height, width, planes, kernel, stride, padding };
                    for kind in [Kind::Patches, Kind::Average, Kind::Maximum] {
                        if kind == Kind::Patches || padding == 0 {
                            check(&Map::new(kind, window).expect("it fits"));
                        }
                    }
                }
            }
        }
        for (channels, places) in [(1, 1), (3, 20), (32, 6), (40, 9), (5, 64)] {
            check(&Map::flat(channels, places));
        }
        for (start, from, to) in [(0, 1, 1), (0, 40, 40), (5, 70, 33), (64, 96, 32), (7, 8, 1)] {
            check(&Map::part(start, from, to));
        }
    }

    /// What is no number is not lost on the way.
    #[test]
    fn a_maximum_hands_on_what_is_no_number() {
        let window = Window { channels: 1, height: 2, width: 2, planes: false, kernel: 2, stride: 2, padding: 0 };
        let map = Map::new(Kind::Maximum, window).expect("it fits");
        for at in 0..4 {
            let mut sent = Matrix::<f32>::from_array(Array2::from_shape_fn((4, 1), |(i, _)| i as f32).view());
            sent.set(at, 0, f32::NAN);
            let mut made = Matrix::<f32>::zeros(1, 1);
            let band = made.shape().whole();
            map.run(Arch::new(), true, &band, made.data_mut(), &sent, &sent);
            assert!(made.get(0, 0).is_nan(), "{at}");
        }
    }
}
