//! Threads that stand by while updates are made, so that sharing out a kernel costs a cache miss and no
//! system call.
//!
//! A kernel is cut into tasks, of which every thread first claims its own run, so that it meets again what its
//! cache still holds, and then what others have left. The caller works, too, and waits only for tasks that others
//! have claimed: a thread that the system has put aside holds nobody up.
#![allow(unsafe_code, reason = "a job borrows from the stack of the caller, who waits until it is done")]

use crate::memory;
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// The most tasks of one job.
pub(crate) const MAX_TASKS: usize = u16::MAX as usize;
/// Looks at the ticket before a waiting thread lets others run.
const PATIENCE: u32 = 4096;

/// A cache line of its own: what one thread writes shall not slow what another reads.
#[repr(align(128))]
struct Apart<T>(T);

/// A job: what to do with each task's number. Borrowed from the caller's stack for as long as it waits.
type Call = *const (dyn Fn(usize) + Sync);

/// What the threads share.
struct Shared {
    /// For each thread's run of tasks: number of the job · 2³² + end of the run · 2¹⁶ + the next task to be claimed.
    tickets: Vec<Apart<AtomicU64>>,
    /// Tasks of the current job that are done.
    done: Apart<AtomicUsize>,
    /// Written by the caller before the tickets of its job; read only by holders of a claim on that job.
    job: UnsafeCell<Option<Call>>,
    /// What the first task that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    wanted: Mutex<Wanted>,
    wake: Condvar,
    /// Threads that shall be awake, the callers' included: the largest number in `wanted`.
    awake: Apart<AtomicUsize>,
}

/// What the sleeping threads wait for.
#[derive(Default)]
struct Wanted {
    /// For each [`ThreadPool::gather`] under way, how many threads it asked for.
    calls: Vec<usize>,
    /// Whether the team is dismissed.
    over: bool,
}

// SAFETY: `job` is written only while no task is claimed (the caller has waited for all of them, and
// callers take turns), and read only after a claim whose acquire ordering follows that write.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is only followed under a claim, while the caller waits.
unsafe impl Send for Shared {}

/// A fixed number of threads, the caller's included.
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Whoever hands out a job; sessions of one device take turns.
    turn: Mutex<()>,
}

impl ThreadPool {
    /// A team of `threads`: the caller's, and the rest started here.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            tickets: (0..threads.max(1)).map(|_| Apart(AtomicU64::new(0))).collect(),
            done: Apart(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            wanted: Mutex::default(),
            wake: Condvar::new(),
            awake: Apart(AtomicUsize::new(0)),
        });
        let mut team = ThreadPool { shared, workers: Vec::new(), turn: Mutex::new(()) };
        // A thread takes its address space with its first allocation, which a message is. It is waited for: what is free
        // shall not shrink after it was looked at.
        let (begun, begins) = mpsc::channel();
        for i in 1..threads {
            let (shared, begun) = (Arc::clone(&team.shared), begun.clone());
            team.workers.push(memory::start(&format!("zilch-{i}"), move || {
                // Nobody listens any more if another thread could not be started.
                let _ = begun.send(Box::new(i));
                drop(begun);
                shared.work(i);
            })?);
        }
        drop(begun);
        begins.iter().for_each(drop);
        Ok(team)
    }

    /// Threads, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Wakes as many threads as make up `threads` with the caller's, and keeps them awake until the guard is dropped.
    pub(crate) fn gather(&self, threads: usize) -> Gathered<'_> {
        if threads > 1 {
            lock(&self.shared.wanted).calls.push(threads);
            self.shared.count();
        }
        Gathered { team: self, threads }
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
        let job: Call = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Call>(task) };
        // SAFETY: every task of the last job is done, so nobody holds a claim and reads this.
        unsafe { *shared.job.get() = Some(job) };
        shared.done.0.store(0, Ordering::Relaxed);
        let number = (shared.tickets[0].0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        let awake = shared.awake.0.load(Ordering::Relaxed).clamp(1, shared.tickets.len());
        for (i, ticket) in shared.tickets.iter().take(awake).enumerate() {
            let (next, end) = ((i * tasks / awake) as u64, ((i + 1) * tasks / awake) as u64);
            ticket.0.store(number << 32 | end << 16 | next, Ordering::Release);
        }
        while shared.claim_and_do(0) {}
        let mut looks = 0;
        while shared.done.0.load(Ordering::Acquire) < tasks {
            wait(&mut looks);
        }
        if let Some(said) = lock(&shared.panic).take() {
            resume_unwind(said);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        lock(&self.shared.wanted).over = true;
        self.shared.count();
        for worker in self.workers.drain(..) {
            // A worker catches what its tasks throw; there is nothing to report here.
            let _ = worker.join();
        }
    }
}

/// Keeps threads of a team awake.
pub(crate) struct Gathered<'a> {
    team: &'a ThreadPool,
    threads: usize,
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        if self.threads > 1 {
            let calls = &mut lock(&self.team.shared.wanted).calls;
            if let Some(call) = calls.iter().position(|threads| *threads == self.threads) {
                calls.swap_remove(call);
            }
        }
        self.team.shared.count();
    }
}

impl Shared {
    /// Tells all threads whether they are wanted.
    fn count(&self) {
        let wanted = lock(&self.wanted);
        let awake = if wanted.over { 0 } else { wanted.calls.iter().copied().max().unwrap_or(0) };
        if self.awake.0.swap(awake, Ordering::Relaxed) != awake || wanted.over {
            self.wake.notify_all();
        }
    }

    /// Claims a task of the current job, thread `own`'s first, if any is left, and does it.
    fn claim_and_do(&self, own: usize) -> bool {
        let (others, mine) = self.tickets.split_at(own);
        let Some(next) = mine.iter().chain(others).find_map(|ticket| claim(&ticket.0)) else { return false };
        let done = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: this claim is on the job whose pointer was written before its tickets, and nobody writes
            // another before `done` counts this task.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job {
                // SAFETY: as above; the caller, who owns the job, waits until then.
                unsafe { (*job)(next as usize) };
            }
        }));
        if let Err(said) = done {
            lock(&self.panic).get_or_insert(said);
        }
        self.done.0.fetch_add(1, Ordering::Release);
        true
    }

    /// The life of thread `i` (the callers' are number 0).
    fn work(&self, i: usize) {
        loop {
            {
                let mut wanted = lock(&self.wanted);
                while !wanted.over && self.awake.0.load(Ordering::Relaxed) <= i {
                    wanted = self.wake.wait(wanted).unwrap_or_else(PoisonError::into_inner);
                }
                if wanted.over {
                    return;
                }
            }
            let mut looks = 0;
            while self.awake.0.load(Ordering::Relaxed) > i {
                if self.claim_and_do(i) {
                    looks = 0;
                } else {
                    wait(&mut looks);
                }
            }
        }
    }
}

/// Claims the next task of a run. A ticket of another job does not pass: its number differs.
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
            let team = ThreadPool::new(threads).unwrap();
            assert_eq!(team.threads(), threads);
            for round in 0..200 {
                // Awake or asleep: without the guard the caller does everything.
                let _awake = (round % 2 == 0).then(|| team.gather(1 + round / 2 % threads));
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
        let team = ThreadPool::new(3).unwrap();
        let _awake = team.gather(3);
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
