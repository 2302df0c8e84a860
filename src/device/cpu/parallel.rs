//! How kernels are shared out over the threads of a team, by bands of the matrices they write.
#![allow(unsafe_code, reason = "threads write disjoint bands of a slot")]

use super::element::Element;
use super::matrix::{Band, Lines, Shape};
use super::thread_pool::{MAX_TASKS, ThreadPool};
use pulp::Arch;
use std::ops::Range;
use std::sync::Arc;

/// Matrices that one job may write.
pub(crate) const MAX_WRITES: usize = 8;
/// Multiplications and additions below which a kernel is not shared out.
const WORTHWHILE: u64 = 1 << 17;
/// The same, from which on threads take several bands each, so that one who is late holds nobody up.
pub(crate) const LONG: u64 = 1 << 24;
/// So many.
pub(crate) const EACH: usize = 4;
/// Rows of a matrix from which on it is tall, as those of a batch of images are: it is then shared out by rows.
pub(crate) const TALL: usize = 512;
/// Rows of it that are worked on at a time, so that what they need stays in the second-level cache.
const ROWS_AT_A_TIME: usize = 128;

/// How kernels run: the vector unit found on this machine, and the threads they are shared out over.
#[derive(Clone)]
pub(crate) struct Parallel {
    pub(crate) arch: Arch,
    team: Option<Arc<ThreadPool>>,
    /// Threads that a kernel is shared out over.
    threads: usize,
}

impl Parallel {
    /// Kernels that run on the calling thread.
    pub(crate) fn alone() -> Self {
        Parallel { arch: Arch::new(), team: None, threads: 1 }
    }

    /// Kernels that are shared out over `threads` of a team.
    pub(crate) fn team(team: &Arc<ThreadPool>, threads: usize) -> Self {
        Parallel { arch: Arch::new(), team: (threads > 1).then(|| Arc::clone(team)), threads }
    }

    /// Threads that kernels are shared out over.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Bands that `work` multiplications and additions are cut into.
    pub(crate) fn bands(&self, work: u64) -> usize {
        match &self.team {
            Some(_) if work >= WORTHWHILE => {
                let each = if work >= LONG { EACH } else { 1 };
                (self.threads * each).min(MAX_TASKS)
            }
            _ => 1,
        }
    }

    /// Does `task` for 0 .. `tasks`, each once.
    pub(crate) fn each(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        match &self.team {
            Some(team) if tasks > 1 => team.each(tasks, &task),
            _ => (0..tasks).for_each(task),
        }
    }

    /// Does `task` for each item, on any thread.
    pub(crate) fn each_of<U: Send>(&self, items: &mut [U], task: impl Fn(&mut U) + Sync) {
        let (parts, count) = (Parts::new(items), items.len());
        self.each(count, |i| {
            // SAFETY: `items` is borrowed throughout, and each item is handed out once.
            unsafe { parts.range(i..i + 1) }.iter_mut().for_each(&task);
        });
    }

    /// Cuts matrices of one shape into the same bands, and hands each band of the `write`s to `task` once.
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
                // SAFETY: bands of different numbers do not overlap, and each number is handed out once.
                let part = |w: usize| if w < count { unsafe { parts[w].get(&band) } } else { &mut [] };
                task(&band, &mut std::array::from_fn::<_, MAX_WRITES, _>(part)[..count]);
            }
        });
    }

    /// As [`Parallel::share`]; of a tall matrix, a few rows of every panel after a few rows of every panel, so that what is read for
    /// one panel is still near for the next.
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
                    // SAFETY: runs of different numbers do not overlap, nor do those of different panels, and each is handed
                    // out once.
                    let part = |w: usize| if w < count { unsafe { parts[w].get(&band) } } else { &mut [] };
                    task(&band, &mut std::array::from_fn::<_, MAX_WRITES, _>(part)[..count]);
                }
            }
        });
    }
}

impl Parallel {
    /// Hands runs of at most so many rows (a multiple of 8) of a matrix to `task`, each once: the rows, and of each panel what
    /// they hold, [rows, wide].
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
                // SAFETY: runs of different numbers do not overlap, nor do those of different panels, and each is handed out
                // once.
                let mut panels: Vec<&mut [T]> = shape.across(&rows).map(|band| unsafe { parts.get(&band) }).collect();
                task(rows, &mut panels);
            }
        });
    }
}

/// A matrix's numbers, to be written in bands by several threads.
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
    /// Nothing.
    pub(crate) fn none() -> Self {
        Parts { data: std::ptr::null_mut(), len: 0 }
    }

    /// All of `data`.
    pub(crate) fn new(data: &mut [T]) -> Self {
        Parts { data: data.as_mut_ptr(), len: data.len() }
    }

    /// The numbers of a band.
    ///
    /// # Safety
    /// The slice this was made from must outlive the result, and nobody else may use that band meanwhile.
    #[allow(clippy::mut_from_ref, reason = "by the contract above")]
    pub(crate) unsafe fn get<'a>(&self, band: &Band) -> &'a mut [T] {
        // SAFETY: by this function's contract.
        unsafe { self.range(band.range()) }
    }

    /// The numbers of a range, under the same contract.
    #[allow(clippy::mut_from_ref, reason = "by the contract of `get`")]
    unsafe fn range<'a>(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice by the assert, and not aliased by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }
}

/// Numbers that matrices of a shape hold, missing columns included.
pub(crate) fn numbers(shape: Shape) -> u64 {
    (shape.rows * shape.cols.next_multiple_of(shape.wide)) as u64
}
