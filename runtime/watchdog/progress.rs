//! What a shard says about itself while it runs.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::judge::View;

/// Named tasks (services) on one shard. Their stall counts are taken at start,
/// 8 octets each.
pub const TASKS_MAX: usize = 64;

/// A task of a shard, or none: the shard's own work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskIndex(u32);

impl TaskIndex {
    /// The shard's own work, between tasks.
    pub const NONE: Self = Self(0);

    pub(super) fn nth(count: usize) -> Self {
        Self(u32::try_from(count).expect("at most TASKS_MAX"))
    }

    /// Where its name and count are, counting from 0.
    pub(super) fn place(self) -> Option<usize> {
        self.0.checked_sub(1).map(|place| place as usize)
    }
}

/// Written by one shard with plain stores, read by the watchdog.
///
/// On cache lines of its own, so that the watchdog's looks cost the shard one
/// miss per beat and nothing else.
#[derive(Debug)]
#[repr(align(128))]
pub struct Progress {
    turn: AtomicU64,
    started_ns: AtomicU64,
    task: AtomicU32,
    asleep: AtomicBool,
    /// By the watchdog: all stalls, and by task.
    stalls: AtomicU64,
    task_stalls: [AtomicU64; TASKS_MAX],
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            turn: AtomicU64::default(),
            started_ns: AtomicU64::default(),
            task: AtomicU32::default(),
            // Nothing to complain about before the first turn.
            asleep: AtomicBool::new(true),
            stalls: AtomicU64::default(),
            task_stalls: [const { AtomicU64::new(0) }; TASKS_MAX],
        }
    }
}

impl Progress {
    /// A turn starts. Also ends a sleep.
    pub fn start_turn(&self, now_ns: u64) {
        self.started_ns.store(now_ns, Ordering::Relaxed);
        // One writer: no need for an atomic addition.
        let turn = self.turn.load(Ordering::Relaxed) + 1;
        // Release: who sees this turn sees its start, not that of the last one.
        self.turn.store(turn, Ordering::Release);
        self.asleep.store(false, Ordering::Release);
    }

    /// The shard hands the thread to a task of its own.
    pub fn enter(&self, task: TaskIndex) {
        self.task.store(task.0, Ordering::Relaxed);
    }

    /// The task gave the thread back.
    pub fn leave(&self) {
        self.enter(TaskIndex::NONE);
    }

    /// The shard found nothing to do and waits on purpose, until the next
    /// [`Progress::start_turn`].
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
    }

    /// Turns that the watchdog found past the budget.
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// The same for one task.
    pub fn stalls_of(&self, task: TaskIndex) -> u64 {
        task.place().map_or(0, |place| self.task_stalls[place].load(Ordering::Relaxed))
    }

    pub(super) fn count_stall(&self, task: TaskIndex) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = task.place() {
            self.task_stalls[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// In the reverse order of [`Progress::start_turn`]: a start may be of a
    /// later turn than the number says, which looks like progress, never of an
    /// earlier one, which would look like a stall.
    pub(super) fn view(&self) -> View {
        let asleep = self.asleep.load(Ordering::Acquire);
        let turn = self.turn.load(Ordering::Acquire);
        let started_ns = self.started_ns.load(Ordering::Relaxed);
        let task = TaskIndex(self.task.load(Ordering::Relaxed));
        View { turn, started_ns, task, asleep }
    }
}
