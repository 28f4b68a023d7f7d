//! Parts that came before their first.

use super::{Fragments, Part, Step};

/// Parts that wait at once. Each holds a frame, of which a shard has some thousands: more of them and
/// a flood of later parts would starve the fill ring; fewer and parts in disorder are judged alone
/// sooner.
const PARTS_MAX: usize = 64;

/// How long a part waits. Disorder on the way is a matter of a millisecond; a first part that was
/// lost never comes.
const WAITS_NS: u64 = 50_000_000;

struct Waiter<F> {
    frame: F,
    part: Part,
    since_ns: u64,
}

/// How it ended for one who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End<V> {
    /// What became of the first.
    Follow(V),
    /// No honest sender makes it.
    Refuse,
    /// Its first did not come in time.
    Alone,
}

/// Frames that wait for their first part, in the order in which they came. All memory is taken by
/// [`Waiting::new`].
pub(crate) struct Waiting<F> {
    waiters: Vec<Waiter<F>>,
    /// Taken out in turn and put back: memory for one pass.
    again: Vec<Waiter<F>>,
}

impl<F> Waiting<F> {
    pub(crate) fn new() -> Self {
        let memory = || Vec::with_capacity(PARTS_MAX);
        Self { waiters: memory(), again: memory() }
    }

    /// Keeps `frame`, or gives it back where as many wait as may.
    ///
    /// # Errors
    ///
    /// The frame, to be judged alone.
    pub(crate) fn keep(&mut self, frame: F, part: Part, now_ns: u64) -> Result<(), F> {
        if self.waiters.len() >= PARTS_MAX {
            return Err(frame);
        }
        self.waiters.push(Waiter { frame, part, since_ns: now_ns });
        Ok(())
    }

    /// Ends the waiting of those whose first part has come, or whose time is over; `all`: of
    /// everybody.
    pub(crate) fn end<V: Copy>(
        &mut self,
        fragments: &mut Fragments<V>,
        now_ns: u64,
        all: bool,
        mut ended: impl FnMut(F, &Part, End<V>),
    ) {
        for waiter in self.waiters.drain(..) {
            let end = match fragments.ask(&waiter.part, now_ns) {
                Step::Follow(verdict) => End::Follow(verdict),
                Step::Refuse => End::Refuse,
                // A clock that was set back ends the waiting too.
                Step::Early | Step::Judge
                    if all || now_ns.abs_diff(waiter.since_ns) >= WAITS_NS =>
                {
                    End::Alone
                }
                Step::Early | Step::Judge => {
                    self.again.push(waiter);
                    continue;
                }
            };
            ended(waiter.frame, &waiter.part, end);
        }
        std::mem::swap(&mut self.waiters, &mut self.again);
    }

    /// When the first of them has waited long enough; `None` where nobody waits.
    pub(crate) fn until_ns(&self) -> Option<u64> {
        self.waiters.iter().map(|waiter| waiter.since_ns.saturating_add(WAITS_NS)).min()
    }

    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.waiters.len()
    }
}
