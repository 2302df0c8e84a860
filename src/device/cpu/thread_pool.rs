//! A thread pool whose threads spin while updates run, so that the start of a parallel kernel costs a cache miss but no
//! system call.
//!
//! A kernel is split into tasks. Each thread has a run of consecutive tasks. It first claims tasks of its own run,
//! whose data may still be in its cache, and then unclaimed tasks of other threads (work stealing). The calling thread
//! works too. It waits only for tasks that are claimed, so a thread that the operating system has descheduled does not
//! delay the job, unless it holds a task.
#![allow(unsafe_code, reason = "a job borrows from the stack of the caller, who waits until it is done")]

use crate::memory;
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// Maximum number of tasks per job.
pub(crate) const MAX_TASKS: usize = u16::MAX as usize;
/// Number of polls after which a waiting thread yields to other programs.
const SPINS: u32 = 4096;

/// Pads a value to its own cache lines, against false sharing.
#[repr(align(128))]
struct CachePadded<T>(T);

/// A job: a function of the task index, borrowed from the stack of the caller, who waits until it is done.
type Call = *const (dyn Fn(usize) + Sync);

/// State shared by all threads.
struct Shared {
    /// One ticket per thread's run of tasks: job number · 2³² + end of the run · 2¹⁶ + next unclaimed task.
    tickets: Vec<CachePadded<AtomicU64>>,
    /// Completed tasks of the current job.
    done: CachePadded<AtomicUsize>,
    /// Written by the caller before the tickets of its job; read only with a claimed task of that job.
    job: UnsafeCell<Option<Call>>,
    /// The payload of the first task that panicked.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    wanted: Mutex<Wanted>,
    wake: Condvar,
    /// The number of threads to keep awake, the calling thread included: the maximum of `wanted.calls`.
    awake: CachePadded<AtomicUsize>,
}

/// The condition that sleeping threads wait for.
#[derive(Default)]
struct Wanted {
    /// The thread count of each active [`ThreadPool::wake`].
    calls: Vec<usize>,
    /// Whether the pool is shutting down.
    shutdown: bool,
}

// SAFETY: `job` is written only while no task is claimed (the previous caller has waited for all of its tasks, and callers take
// turns), and read only after a claim whose acquire ordering follows that write.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is followed only with a claim, while the caller waits.
unsafe impl Send for Shared {}

/// A fixed number of threads, the calling thread included.
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the caller that runs a job; the sessions of a device take turns.
    turn: Mutex<()>,
}

impl ThreadPool {
    /// A pool of `threads` threads: the caller, and the others started here.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            tickets: (0..threads.max(1)).map(|_| CachePadded(AtomicU64::new(0))).collect(),
            done: CachePadded(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            wanted: Mutex::default(),
            wake: Condvar::new(),
            awake: CachePadded(AtomicUsize::new(0)),
        });
        let mut pool = ThreadPool { shared, workers: Vec::new(), turn: Mutex::new(()) };
        // The allocator reserves address space for a thread at its first allocation, which here is the boxed message.
        // Waiting for this message ensures that later memory checks include the reservation.
        let (begun, begins) = mpsc::channel();
        for i in 1..threads {
            let (shared, begun) = (Arc::clone(&pool.shared), begun.clone());
            pool.workers.push(memory::start(&format!("zilch-{i}"), move || {
                // The receiver is gone if a later thread could not be started.
                let _ = begun.send(Box::new(i));
                drop(begun);
                shared.run_worker(i);
            })?);
        }
        drop(begun);
        begins.iter().for_each(drop);
        Ok(pool)
    }

    /// Number of threads, the calling thread included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Keeps `threads` threads awake, the calling thread included, until the guard is dropped.
    pub(crate) fn wake(&self, threads: usize) -> AwakeGuard<'_> {
        if threads > 1 {
            lock(&self.shared.wanted).calls.push(threads);
            self.shared.update_awake();
        }
        AwakeGuard { pool: self, threads }
    }

    /// Calls `task` once with each of 0 .. `tasks`, on any thread, and returns when all calls are done.
    ///
    /// # Panics
    /// When a task panics, with its payload; and for more than [`MAX_TASKS`] tasks.
    pub(crate) fn each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        assert!(tasks <= MAX_TASKS);
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(task);
            return;
        }
        let _turn = lock(&self.turn);
        let shared = &*self.shared;
        // SAFETY: the cast only extends the lifetime. No claim on this job outlives the wait below, and the pointer is followed
        // only with a claim.
        let job: Call = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Call>(task) };
        // SAFETY: every task of the previous job is done, so no thread holds a claim and reads this.
        unsafe { *shared.job.get() = Some(job) };
        shared.done.0.store(0, Ordering::Relaxed);
        let number = (shared.tickets[0].0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        let awake = shared.awake.0.load(Ordering::Relaxed).clamp(1, shared.tickets.len());
        for (i, ticket) in shared.tickets.iter().take(awake).enumerate() {
            let (next, end) = ((i * tasks / awake) as u64, ((i + 1) * tasks / awake) as u64);
            ticket.0.store(number << 32 | end << 16 | next, Ordering::Release);
        }
        while shared.claim_and_do(0) {}
        let mut polls = 0;
        while shared.done.0.load(Ordering::Acquire) < tasks {
            wait(&mut polls);
        }
        if let Some(payload) = lock(&shared.panic).take() {
            resume_unwind(payload);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        lock(&self.shared.wanted).shutdown = true;
        self.shared.update_awake();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks, so there is no error to report.
            let _ = worker.join();
        }
    }
}

/// A guard that keeps threads awake.
pub(crate) struct AwakeGuard<'a> {
    pool: &'a ThreadPool,
    threads: usize,
}

impl Drop for AwakeGuard<'_> {
    fn drop(&mut self) {
        if self.threads > 1 {
            let calls = &mut lock(&self.pool.shared.wanted).calls;
            if let Some(call) = calls.iter().position(|threads| *threads == self.threads) {
                calls.swap_remove(call);
            }
        }
        self.pool.shared.update_awake();
    }
}

impl Shared {
    /// Recomputes the number of threads to keep awake, and wakes sleeping threads.
    fn update_awake(&self) {
        let wanted = lock(&self.wanted);
        let awake = if wanted.shutdown { 0 } else { wanted.calls.iter().copied().max().unwrap_or(0) };
        if self.awake.0.swap(awake, Ordering::Relaxed) != awake || wanted.shutdown {
            self.wake.notify_all();
        }
    }

    /// Claims and runs one task of the current job, from the run of thread `own` if possible. Returns false if no task is left.
    fn claim_and_do(&self, own: usize) -> bool {
        let (others, mine) = self.tickets.split_at(own);
        let Some(next) = mine.iter().chain(others).find_map(|ticket| claim(&ticket.0)) else { return false };
        let done = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the pointer was written before the tickets of this job, one of which is claimed here. It is not overwritten
            // before `done` counts this task.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job {
                // SAFETY: as above. The caller owns the closure and waits until `done` counts this task.
                unsafe { (*job)(next as usize) };
            }
        }));
        if let Err(payload) = done {
            lock(&self.panic).get_or_insert(payload);
        }
        self.done.0.fetch_add(1, Ordering::Release);
        true
    }

    /// The main loop of thread `i`. (Index 0 is the calling thread.)
    fn run_worker(&self, i: usize) {
        loop {
            {
                let mut wanted = lock(&self.wanted);
                while !wanted.shutdown && self.awake.0.load(Ordering::Relaxed) <= i {
                    wanted = self.wake.wait(wanted).unwrap_or_else(PoisonError::into_inner);
                }
                if wanted.shutdown {
                    return;
                }
            }
            let mut polls = 0;
            while self.awake.0.load(Ordering::Relaxed) > i {
                if self.claim_and_do(i) {
                    polls = 0;
                } else {
                    wait(&mut polls);
                }
            }
        }
    }
}

/// Claims the next task of a run. The exchange fails if the ticket belongs to another job by then, because the job number differs.
fn claim(ticket: &AtomicU64) -> Option<u64> {
    let mut now = ticket.load(Ordering::Acquire);
    while now & 0xffff < now >> 16 & 0xffff {
        match ticket.compare_exchange_weak(now, now + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(now & 0xffff),
            Err(other) => now = other,
        }
    }
    None
}

/// Spins; after [`SPINS`] polls, yields to other programs.
fn wait(polls: &mut u32) {
    if *polls < SPINS {
        *polls += 1;
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_by_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = ThreadPool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            for round in 0..200 {
                // Tests with and without the guard. Without it, the calling thread runs every task.
                let _awake = (round % 2 == 0).then(|| pool.wake(1 + round / 2 % threads));
                let counts: Vec<AtomicUsize> = (0..round).map(|_| AtomicUsize::new(0)).collect();
                pool.each(round, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads, round {round}");
            }
        }
    }

    #[test]
    fn several_callers_take_turns_and_a_panic_reaches_its_caller() {
        let pool = ThreadPool::new(3).unwrap();
        let _awake = pool.wake(3);
        std::thread::scope(|scope| {
            for caller in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..100 {
                        let sum = AtomicUsize::new(0);
                        let bad = caller == 0 && round % 10 == 0;
                        let result = catch_unwind(AssertUnwindSafe(|| {
                            pool.each(10, &|i| {
                                assert!(!(bad && i == 7), "task seven");
                                sum.fetch_add(i, Ordering::Relaxed);
                            })
                        }));
                        assert_eq!(result.is_err(), bad);
                        assert_eq!(sum.load(Ordering::Relaxed), if bad { 38 } else { 45 });
                    }
                });
            }
        });
    }
}
