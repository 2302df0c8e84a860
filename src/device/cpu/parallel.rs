//! Splits kernels over the threads of a pool, by bands of the matrices they write.
#![allow(unsafe_code, reason = "threads write disjoint bands of a slot")]

use super::element::Element;
use super::matrix::{Band, Lines, Shape};
use super::thread_pool::{MAX_TASKS, ThreadPool};
use pulp::Arch;
use std::ops::Range;
use std::sync::Arc;

/// Matrices that one job may write.
pub(crate) const MAX_WRITES: usize = 8;
/// Minimum multiply-adds for more than one thread.
const MIN_WORK: u64 = 1 << 17;
/// Minimum multiply-adds for several bands per thread, with which the load is balanced if a thread is delayed.
pub(crate) const LONG_WORK: u64 = 1 << 24;
/// Bands per thread of a kernel with at least [`LONG_WORK`] multiply-adds.
pub(crate) const BANDS_PER_THREAD: usize = 4;
/// Minimum rows of a tall matrix, such as the activities of a batch on a grid. A tall matrix is split by rows.
pub(crate) const TALL: usize = 512;
/// Rows of a tall matrix per step, so that the data of a step stays in the L2 cache.
const ROWS_AT_A_TIME: usize = 128;

/// The vector instruction set and the threads with which kernels run.
#[derive(Clone)]
pub(crate) struct Parallel {
    pub(crate) arch: Arch,
    pool: Option<Arc<ThreadPool>>,
    /// Threads that a kernel is split over.
    threads: usize,
}

impl Parallel {
    /// Kernels run on the calling thread.
    pub(crate) fn serial() -> Self {
        Parallel { arch: Arch::new(), pool: None, threads: 1 }
    }

    /// Kernels are split over `threads` threads of a pool.
    pub(crate) fn on_pool(pool: &Arc<ThreadPool>, threads: usize) -> Self {
        Parallel { arch: Arch::new(), pool: (threads > 1).then(|| Arc::clone(pool)), threads }
    }

    /// Threads that kernels are split over.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// The number of bands for a kernel with `work` multiply-adds.
    pub(crate) fn bands(&self, work: u64) -> usize {
        match &self.pool {
            Some(_) if work >= MIN_WORK => {
                let each = if work >= LONG_WORK { BANDS_PER_THREAD } else { 1 };
                (self.threads * each).min(MAX_TASKS)
            }
            _ => 1,
        }
    }

    /// Calls `task` once with each of 0 .. `tasks`.
    pub(crate) fn each(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        match &self.pool {
            Some(pool) if tasks > 1 => pool.each(tasks, &task),
            _ => (0..tasks).for_each(task),
        }
    }

    /// Calls `task` once with each item, on any thread.
    pub(crate) fn each_of<U: Send>(&self, items: &mut [U], task: impl Fn(&mut U) + Sync) {
        let (parts, count) = (Parts::new(items), items.len());
        self.each(count, |i| {
            // SAFETY: `items` is borrowed throughout, and each item is handed out once.
            unsafe { parts.range(i..i + 1) }.iter_mut().for_each(&task);
        });
    }

    /// Splits matrices of one shape into the same bands. Calls `task` once per band, with that band of each matrix of `write`.
    pub(crate) fn share<T: Element>(
        &self,
        shape: Shape,
        work: u64,
        write: &mut [Lines<T>],
        task: impl Fn(&Band, &mut [&mut [T]]) + Sync,
    ) {
        let (bands, count) = (self.bands(work), write.len());
        assert!(count <= MAX_WRITES && write.iter().all(|lines| lines.data().len() as u64 == numbers(shape)));
        if bands <= 1 {
            let mut all = write.iter_mut();
            let mut slices: [&mut [T]; MAX_WRITES] =
                std::array::from_fn(|_| all.next().map(Lines::data_mut).unwrap_or_default());
            return task(&shape.whole(), &mut slices[..count]);
        }
        let mut all = write.iter_mut();
        let parts: [Parts<T>; MAX_WRITES] =
            std::array::from_fn(|_| all.next().map_or(Parts::none(), |lines| Parts::new(lines.data_mut())));
        self.each(bands, |i| {
            let band = shape.band(i, bands);
            if !band.range().is_empty() {
                // SAFETY: bands with different indices do not overlap, and each index is used once.
                let part = |w: usize| if w < count { unsafe { parts[w].get(&band) } } else { &mut [] };
                task(&band, &mut std::array::from_fn::<_, MAX_WRITES, _>(part)[..count]);
            }
        });
    }

    /// As [`Parallel::share`], but a tall matrix is processed in runs of a few rows. Each run covers all panels, so
    /// that the data read for one panel is still in the cache for the next.
    pub(crate) fn share_rows<T: Element>(
        &self,
        shape: Shape,
        work: u64,
        write: &mut [Lines<T>],
        task: impl Fn(&Band, &mut [&mut [T]]) + Sync,
    ) {
        if shape.rows < TALL {
            return self.share(shape, work, write, task);
        }
        let (tasks, count) = (self.bands(work), write.len());
        assert!(count <= MAX_WRITES && write.iter().all(|lines| lines.data().len() as u64 == numbers(shape)));
        let mut all = write.iter_mut();
        let parts: [Parts<T>; MAX_WRITES] =
            std::array::from_fn(|_| all.next().map_or(Parts::none(), |lines| Parts::new(lines.data_mut())));
        self.each(tasks, |i| {
            for rows in shape.runs(i, tasks, ROWS_AT_A_TIME) {
                for band in shape.across(&rows) {
                    // SAFETY: runs with different indices do not overlap, nor do bands of different panels, and each is handed out
                    // once.
                    let part = |w: usize| if w < count { unsafe { parts[w].get(&band) } } else { &mut [] };
                    task(&band, &mut std::array::from_fn::<_, MAX_WRITES, _>(part)[..count]);
                }
            }
        });
    }
}

impl Parallel {
    /// Splits a matrix into runs of at most `most` rows, a multiple of 8. Calls `task` once per run, with the rows and, for each panel,
    /// their values [rows, wide].
    pub(crate) fn rows<T: Element>(
        &self,
        shape: Shape,
        work: u64,
        write: &mut Lines<T>,
        most: usize,
        task: impl Fn(Range<usize>, &mut [&mut [T]]) + Sync,
    ) {
        assert!(write.data().len() as u64 == numbers(shape));
        let (tasks, parts) = (self.bands(work), Parts::new(write.data_mut()));
        self.each(tasks, |i| {
            for rows in shape.runs(i, tasks, most) {
                // SAFETY: runs with different indices do not overlap, nor do bands of different panels, and each is handed out
                // once.
                let mut panels: Vec<&mut [T]> = shape.across(&rows).map(|band| unsafe { parts.get(&band) }).collect();
                task(rows, &mut panels);
            }
        });
    }
}

/// The values of a matrix, for several threads to write disjoint bands.
#[derive(Clone, Copy)]
pub(crate) struct Parts<T> {
    data: *mut T,
    len: usize,
}

// SAFETY: `get` hands out disjoint parts, by its contract.
unsafe impl<T: Send> Send for Parts<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    /// An empty slice.
    pub(crate) fn none() -> Self {
        Parts { data: std::ptr::null_mut(), len: 0 }
    }

    /// All of `data`.
    pub(crate) fn new(data: &mut [T]) -> Self {
        Parts { data: data.as_mut_ptr(), len: data.len() }
    }

    /// The values of a band.
    ///
    /// # Safety
    /// The slice given to [`Parts::new`] must outlive the result, and no other reference to the band may be in use meanwhile.
    #[allow(clippy::mut_from_ref, reason = "by the contract above")]
    pub(crate) unsafe fn get<'a>(&self, band: &Band) -> &'a mut [T] {
        // SAFETY: by this function's contract.
        unsafe { self.range(band.range()) }
    }

    /// The values of a range, under the same contract.
    #[allow(clippy::mut_from_ref, reason = "by the contract of `get`")]
    unsafe fn range<'a>(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assert, and not aliased by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }
}

/// The number of values of a matrix of this shape, padding columns included.
pub(crate) fn numbers(shape: Shape) -> u64 {
    (shape.rows * shape.cols.next_multiple_of(shape.wide)) as u64
}
