//! One thread that wakes every shard and notices the one that stands still.
//!
//! It has two duties, each once per beat (a millisecond):
//!
//! **The beat.** Glommio's executor can go to sleep with a task ready to run:
//! when its preemption timer fires just before the first task of a round, it
//! takes "ran nothing" for "nothing to run", parks, and nobody is left to wake
//! it (seen within a second at a preemption timer of 100 us; also at 1 ms).
//! A wake from another thread always ends that sleep. So each shard runs a
//! [`Heartbeat`], and this thread wakes it: the sleep is bounded by one beat, or
//! by a few ([`Options::asleep_beats`]) where the shard meant to sleep.
//!
//! **The stall.** A shard tells its [`Progress`] when a turn starts, which
//! service runs, and when it sleeps on purpose. A turn past the budget is
//! counted once and logged with the service's name, a few times a minute. Time
//! that the kernel gave to somebody else counts: packets waited all the same.
//!
//! The thread reads atomics and decides in the pure [`Judge`]. It holds no lock
//! that a shard takes in a turn, and cannot stop a shard.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use crate::clock::monotonic_ns;

mod heartbeat;
mod judge;
mod progress;

pub use heartbeat::Heartbeat;
pub use judge::{Judge, Stall, View};
pub use progress::{Progress, TASKS_MAX, TaskIndex};

use judge::Reports;

/// How often, and how patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Time between beats. It bounds how long an executor can sleep by mistake.
    /// Lower costs wakes of idle shards; higher makes that mistake longer.
    pub beat: Duration,
    /// Beats between wakes of a shard that sleeps on purpose. An idle executor
    /// woken each millisecond takes 7 % of a core (debug build); the mistake is
    /// rare there (seen once in some 500,000 wakes), so it may last longer.
    pub asleep_beats: u32,
    /// The longest turn that is not a stall. Lower, and a busy machine's own
    /// scheduling shows as stalls; higher, and rings overflow unexplained (a
    /// ring of 2048 at 1 Mpps is full after 2 ms).
    pub stall_budget: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            beat: Duration::from_millis(1),
            asleep_beats: 4,
            stall_budget: Duration::from_millis(25),
        }
    }
}

/// The thread. Dropping it ends the thread; shards registered then are on their
/// own, so it is dropped after them.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Where shards register. Clone and send freely.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// One shard's registration; dropping it ends the watch.
#[derive(Debug)]
pub struct Watched {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    entries: Mutex<Vec<Arc<Entry>>>,
}

/// What the thread knows of one shard.
struct Entry {
    shard: u32,
    progress: Arc<Progress>,
    /// Of the [`Heartbeat`], once it was polled.
    waker: Mutex<Option<Waker>>,
    /// The heartbeat ran since the last wake.
    answered: AtomicBool,
    closed: AtomicBool,
    /// By [`TaskIndex`], from 1.
    names: Mutex<Vec<Box<str>>>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// What these locks guard is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the system grants no thread.
    pub fn start(options: Options) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watch(&watched, options))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Where shards register.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panics only by a mistake of ours, already printed by then.
            let _ = thread.join();
        }
    }
}

impl Handle {
    /// Watches a shard until the returned value is dropped.
    pub fn watch(&self, shard: u32) -> Watched {
        let entry = Arc::new(Entry {
            shard,
            progress: Arc::default(),
            waker: Mutex::default(),
            answered: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            names: Mutex::default(),
        });
        lock(&self.shared.entries).push(Arc::clone(&entry));
        Watched { shared: Arc::clone(&self.shared), entry }
    }
}

impl Watched {
    /// Where the shard says what it does.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.entry.progress
    }

    /// A number for a service's name, to be given to [`Progress::enter`].
    ///
    /// # Panics
    ///
    /// When the shard has [`TASKS_MAX`] names.
    pub fn name_task(&self, name: &str) -> TaskIndex {
        let mut names = lock(&self.entry.names);
        assert!(names.len() < TASKS_MAX, "shard {} has {TASKS_MAX} tasks", self.entry.shard);
        names.push(name.into());
        TaskIndex::nth(names.len())
    }

    /// The task that the shard's executor runs to be woken: spawn it once.
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat::new(Arc::clone(&self.entry))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.shared.entries).retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        self.entry.closed.store(true, Ordering::Relaxed);
        // The heartbeat's task ends at this last wake.
        let waker = lock(&self.entry.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The thread's loop.
fn watch(shared: &Shared, options: Options) {
    let budget_ns = u64::try_from(options.stall_budget.as_nanos()).unwrap_or(u64::MAX);
    let mut states: Vec<State> = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let entries = lock(&shared.entries).clone();
        states.retain(|state| entries.iter().any(|entry| Arc::ptr_eq(entry, &state.entry)));
        for entry in entries {
            if !states.iter().any(|state| Arc::ptr_eq(&entry, &state.entry)) {
                states.push(State::new(entry));
            }
        }
        let now_ns = monotonic_ns();
        for state in &mut states {
            let view = state.entry.progress.view();
            if !state.turns_on(view) {
                state.beat(view.asleep.then_some(options.asleep_beats));
            }
            state.check(view, now_ns, budget_ns);
        }
        thread::park_timeout(options.beat);
    }
}

/// What the thread remembers of one shard between beats.
struct State {
    entry: Arc<Entry>,
    beats: judge::Beats,
    judge: Judge,
    reports: Reports,
    /// Number of the turn at the last beat.
    turn: u64,
}

impl State {
    fn new(entry: Arc<Entry>) -> Self {
        Self {
            entry,
            beats: Default::default(),
            judge: Judge::default(),
            reports: Reports::default(),
            turn: 0,
        }
    }

    /// Whether the shard has begun a turn since the last beat and is awake: then its executor has
    /// not parked, and a wake would only cost it (2 % of a busy core at a beat of 1 ms).
    fn turns_on(&mut self, view: View) -> bool {
        let before = std::mem::replace(&mut self.turn, view.turn);
        !view.asleep && view.turn != before
    }

    fn beat(&mut self, asleep_beats: Option<u32>) {
        let answered = self.entry.answered.load(Ordering::Relaxed);
        if self.beats.wake_due(answered, asleep_beats.unwrap_or(1))
            && let Some(waker) = &*lock(&self.entry.waker)
        {
            self.entry.answered.store(false, Ordering::Relaxed);
            waker.wake_by_ref();
        }
    }

    fn check(&mut self, view: View, now_ns: u64, budget_ns: u64) {
        let Some(stall) = self.judge.judge(view, now_ns, budget_ns) else { return };
        if stall.first {
            self.entry.progress.count_stall(stall.task);
        }
        let Some(unreported) = self.reports.admit(now_ns) else { return };
        let names = lock(&self.entry.names);
        let task = match stall.task.place() {
            Some(place) => names.get(place).map_or("?", |name| &**name),
            None => "the shard itself",
        };
        tracing::warn!(
            shard = self.entry.shard,
            task,
            lasted_ms = stall.lasted_ns / 1_000_000,
            budget_ms = budget_ns / 1_000_000,
            unreported,
            "stall: a turn of this shard does not end"
        );
    }
}

#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;
