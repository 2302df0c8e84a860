//! Threads that stand by while updates are made, so that sharing out a kernel costs a cache miss and no
//! system call.
//!
//! A kernel is cut into tasks; whoever is free claims the next one. The caller works, too, and waits only
//! for tasks that others have claimed: a thread that the system has put aside holds nobody up.
#![allow(unsafe_code, reason = "a job borrows from the stack of the caller, who waits until it is done")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The most tasks of one job.
pub(crate) const MAX_TASKS: usize = u16::MAX as usize;
/// Looks at the ticket before a waiting thread lets others run (some 50 µs).
const PATIENCE: u32 = 4096;

/// A cache line of its own: what one thread writes shall not slow what another reads.
#[repr(align(128))]
struct Apart<T>(T);

/// A job: what to do with each task's number. Borrowed from the caller's stack for as long as it waits.
type Job = *const (dyn Fn(usize) + Sync);

/// What the threads share.
struct Shared {
    /// Number of the job · 2³² + its tasks · 2¹⁶ + tasks claimed.
    ticket: Apart<AtomicU64>,
    /// Tasks of the current job that are done.
    done: Apart<AtomicUsize>,
    /// Written by the caller before the ticket of its job; read only by holders of a claim on that job.
    job: UnsafeCell<Option<Job>>,
    /// What the first task that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Calls of [`Team::gather`] under way, and whether the team is dismissed.
    wanted: Mutex<(usize, bool)>,
    wake: Condvar,
    /// The same as `wanted.0 > 0`, for spinning threads.
    spin: Apart<AtomicBool>,
}

// SAFETY: `job` is written only while no task is claimed (the caller has waited for all of them, and
// callers take turns), and read only after a claim whose acquire ordering follows that write.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is only followed under a claim, while the caller waits.
unsafe impl Send for Shared {}

/// A fixed number of threads, the caller's included.
pub(crate) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Whoever hands out a job; sessions of one device take turns.
    turn: Mutex<()>,
}

impl Team {
    /// A team of `threads`: the caller's, and the rest started here.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            ticket: Apart(AtomicU64::new(0)),
            done: Apart(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            wanted: Mutex::new((0, false)),
            wake: Condvar::new(),
            spin: Apart(AtomicBool::new(false)),
        });
        let mut team = Team { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for i in 1..threads {
            let shared = Arc::clone(&team.shared);
            let thread = std::thread::Builder::new().name(format!("zilch-{i}"));
            team.workers.push(thread.spawn(move || shared.work())?);
        }
        Ok(team)
    }

    /// Threads, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Wakes the threads, and keeps them awake until the guard is dropped.
    pub(crate) fn gather(&self) -> Gathered<'_> {
        if !self.workers.is_empty() {
            let mut wanted = lock(&self.shared.wanted);
            wanted.0 += 1;
            self.shared.spin.0.store(true, Ordering::Relaxed);
            self.shared.wake.notify_all();
        }
        Gathered { team: self }
    }

    /// Does `task` for 0, 1, … `tasks` − 1, each once, on any of the threads, and returns when all are done.
    ///
    /// # Panics
    /// When a task panics, with what it said; and for more than [`MAX_TASKS`].
    pub(crate) fn each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        assert!(tasks <= MAX_TASKS);
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(task);
            return;
        }
        let _turn = lock(&self.turn);
        let shared = &*self.shared;
        // SAFETY: of the two lifetimes only the name changes: no claim on this job outlives the wait below,
        // and nobody follows the pointer without one.
        let job: Job = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(task) };
        // SAFETY: every task of the last job is done, so nobody holds a claim and reads this.
        unsafe { *shared.job.get() = Some(job) };
        shared.done.0.store(0, Ordering::Relaxed);
        let number = (shared.ticket.0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared.ticket.0.store(number << 32 | (tasks as u64) << 16, Ordering::Release);
        while shared.claim_and_do() {}
        let mut looks = 0;
        while shared.done.0.load(Ordering::Acquire) < tasks {
            wait(&mut looks);
        }
        if let Some(said) = lock(&shared.panic).take() {
            resume_unwind(said);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        lock(&self.shared.wanted).1 = true;
        self.shared.spin.0.store(false, Ordering::Relaxed);
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches what its tasks throw; there is nothing to report here.
            let _ = worker.join();
        }
    }
}

/// Keeps a team's threads awake.
pub(crate) struct Gathered<'a> {
    team: &'a Team,
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        if !self.team.workers.is_empty() {
            let mut wanted = lock(&self.team.shared.wanted);
            wanted.0 -= 1;
            self.team.shared.spin.0.store(wanted.0 > 0, Ordering::Relaxed);
        }
    }
}

impl Shared {
    /// Claims a task of the current job, if any is left, and does it.
    fn claim_and_do(&self) -> bool {
        let ticket = self.ticket.0.load(Ordering::Acquire);
        let (tasks, next) = (ticket >> 16 & 0xffff, ticket & 0xffff);
        if next >= tasks {
            return false;
        }
        // A ticket of another job does not pass: its number differs.
        if self.ticket.0.compare_exchange(ticket, ticket + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return true;
        }
        let done = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: this claim is on the job whose pointer was written before its ticket, and the caller
            // who owns it waits until `done` counts this task.
            if let Some(job) = unsafe { *self.job.get() } {
                unsafe { (*job)(next as usize) };
            }
        }));
        if let Err(said) = done {
            lock(&self.panic).get_or_insert(said);
        }
        self.done.0.fetch_add(1, Ordering::Release);
        true
    }

    /// The life of a thread.
    fn work(&self) {
        loop {
            {
                let mut wanted = lock(&self.wanted);
                while *wanted == (0, false) {
                    wanted = self.wake.wait(wanted).unwrap_or_else(PoisonError::into_inner);
                }
                if wanted.1 {
                    return;
                }
            }
            let mut looks = 0;
            while self.spin.0.load(Ordering::Relaxed) {
                if self.claim_and_do() {
                    looks = 0;
                } else {
                    wait(&mut looks);
                }
            }
        }
    }
}

/// Waits a moment; after many of them, lets other programs run.
fn wait(looks: &mut u32) {
    if *looks < PATIENCE {
        *looks += 1;
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
            let team = Team::new(threads).unwrap();
            assert_eq!(team.threads(), threads);
            for round in 0..200 {
                // Awake or asleep: without the guard the caller does everything.
                let _awake = (round % 2 == 0).then(|| team.gather());
                let counts: Vec<AtomicUsize> = (0..round).map(|_| AtomicUsize::new(0)).collect();
                team.each(round, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads, round {round}");
            }
        }
    }

    #[test]
    fn several_callers_take_turns_and_a_panic_reaches_its_caller() {
        let team = Team::new(3).unwrap();
        let _awake = team.gather();
        std::thread::scope(|scope| {
            for caller in 0..4 {
                let team = &team;
                scope.spawn(move || {
                    for round in 0..100 {
                        let sum = AtomicUsize::new(0);
                        let bad = caller == 0 && round % 10 == 0;
                        let result = catch_unwind(AssertUnwindSafe(|| {
                            team.each(10, &|i| {
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
