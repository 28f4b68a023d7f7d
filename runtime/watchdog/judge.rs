//! The watchdog's decisions: pure, from what was seen and the time.

use super::progress::TaskIndex;

/// What a shard said about itself at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Number of the turn.
    pub turn: u64,
    /// When it started.
    pub started_ns: u64,
    /// The task that has the thread.
    pub task: TaskIndex,
    /// The shard waits on purpose.
    pub asleep: bool,
}

/// A turn past its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The task that has the thread, and so is to blame.
    pub task: TaskIndex,
    /// How long the turn lasts so far.
    pub lasted_ns: u64,
    /// Seen for the first time in this turn: to be counted.
    pub first: bool,
}

/// Remembers which turn was found stalled. See [`Judge::judge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judge {
    /// The turn found stalled last.
    turn: Option<u64>,
    /// It is worth saying again once it lasts this long.
    again_ns: u64,
}

impl Judge {
    /// A stall worth saying: when a turn first passes `budget_ns`, and each time
    /// it has doubled since.
    pub fn judge(&mut self, view: View, now_ns: u64, budget_ns: u64) -> Option<Stall> {
        let lasted_ns = now_ns.saturating_sub(view.started_ns);
        if view.asleep || lasted_ns <= budget_ns {
            return None;
        }
        let first = self.turn != Some(view.turn);
        if !first && lasted_ns < self.again_ns {
            return None;
        }
        self.turn = Some(view.turn);
        self.again_ns = lasted_ns.saturating_mul(2);
        Some(Stall { task: view.task, lasted_ns, first })
    }
}

/// Unanswered wakes sent at full pace, after which it is one in [`SPARSE`] beats.
/// Glommio queues wakes from other threads without bound, so a shard stalled for
/// hours must not be sent one each millisecond; and one wake is not always
/// enough, because the executor can fall asleep again before the woken task ran.
const DENSE: u32 = 16;
const SPARSE: u32 = 128;

/// When to wake.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beats {
    /// Wakes since the last answer.
    unanswered: u32,
    /// Beats since the last wake.
    silent: u32,
}

impl Beats {
    /// Whether to wake at this beat, given whether the last wake was answered
    /// and how many beats are to lie between two wakes.
    pub(super) const fn wake_due(&mut self, answered: bool, every: u32) -> bool {
        if answered {
            self.unanswered = 0;
        }
        let every = if self.unanswered < DENSE { every } else { SPARSE };
        self.silent += 1;
        let due = self.silent >= every;
        if due {
            self.silent = 0;
            self.unanswered = self.unanswered.saturating_add(1);
        }
        due
    }
}

/// Reports per shard and [`WINDOW_NS`], as Seastar's stall detector does. Fewer
/// hide a second culprit; more drown the log that has to explain them.
const REPORTS_MAX: u32 = 5;
const WINDOW_NS: u64 = 60_000_000_000;

/// Keeps the log short.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reports {
    window_ends_ns: u64,
    admitted: u32,
    unreported: u64,
}

impl Reports {
    /// Whether to say it now, and how many were not said since the last time.
    pub(super) const fn admit(&mut self, now_ns: u64) -> Option<u64> {
        if now_ns >= self.window_ends_ns {
            self.window_ends_ns = now_ns.saturating_add(WINDOW_NS);
            self.admitted = 0;
        }
        if self.admitted == REPORTS_MAX {
            self.unreported += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::replace(&mut self.unreported, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET_NS: u64 = 25_000_000;
    const VIEW: View = View { turn: 9, started_ns: 1_000, task: TaskIndex::NONE, asleep: false };

    #[test]
    fn a_turn_within_its_budget_is_no_stall() {
        assert_eq!(Judge::default().judge(VIEW, 1_000 + BUDGET_NS, BUDGET_NS), None);
    }

    #[test]
    fn a_turn_past_its_budget_counts_once_and_is_said_again_when_it_doubles() {
        let mut judge = Judge::default();
        let mut at = |lasted_ns| judge.judge(VIEW, 1_000 + lasted_ns, BUDGET_NS);
        let stall = |lasted_ns, first| Some(Stall { task: TaskIndex::NONE, lasted_ns, first });
        assert_eq!(at(BUDGET_NS + 1), stall(BUDGET_NS + 1, true));
        assert_eq!(at(2 * BUDGET_NS), None);
        assert_eq!(at(2 * BUDGET_NS + 2), stall(2 * BUDGET_NS + 2, false));
        assert_eq!(at(3 * BUDGET_NS), None);
    }

    #[test]
    fn the_next_stalled_turn_counts_again() {
        let mut judge = Judge::default();
        assert!(judge.judge(VIEW, BUDGET_NS * 2, BUDGET_NS).unwrap().first);
        let next = View { turn: 10, ..VIEW };
        assert!(judge.judge(next, BUDGET_NS * 2, BUDGET_NS).unwrap().first);
    }

    #[test]
    fn a_shard_asleep_on_purpose_does_not_stall() {
        let asleep = View { asleep: true, ..VIEW };
        assert_eq!(Judge::default().judge(asleep, u64::MAX, BUDGET_NS), None);
    }

    #[test]
    fn a_start_later_than_now_is_no_stall() {
        let ahead = View { started_ns: 5_000, ..VIEW };
        assert_eq!(Judge::default().judge(ahead, 4_000, 0), None);
    }

    #[test]
    fn a_shard_that_does_not_answer_is_woken_less_often_but_always_again() {
        let mut beats = Beats::default();
        let wakes =
            |beats: &mut Beats, count| (0..count).filter(|_| beats.wake_due(false, 1)).count();
        assert_eq!(wakes(&mut beats, 16), 16);
        assert_eq!(wakes(&mut beats, 10 * 128), 10, "one in 128");
        assert!(beats.wake_due(true, 1), "it answered");
        assert_eq!(wakes(&mut beats, 15), 15);
    }

    #[test]
    fn a_shard_asleep_is_woken_every_so_many_beats() {
        let mut beats = Beats::default();
        let wakes = (0..40).filter(|_| beats.wake_due(true, 4)).count();
        assert_eq!(wakes, 10);
    }

    #[test]
    fn says_five_a_minute_and_then_how_many_it_kept_to_itself() {
        let mut reports = Reports::default();
        let said = (0..12).filter(|n| reports.admit(1_000 + n).is_some()).count();
        assert_eq!(said, 5);
        assert_eq!(reports.admit(1_000 + WINDOW_NS), Some(7));
        assert_eq!(reports.admit(1_001 + WINDOW_NS), Some(0));
    }
}
