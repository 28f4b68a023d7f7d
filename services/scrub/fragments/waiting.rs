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
}

impl<F> Waiting<F> {
    pub(crate) fn new() -> Self {
        Self { waiters: Vec::with_capacity(PARTS_MAX) }
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

    /// The next one whose waiting is over: its first part has come, or its time is over; with `all`
    /// everybody's is.
    pub(crate) fn next<V: Copy>(
        &mut self,
        fragments: &mut Fragments<V>,
        now_ns: u64,
        all: bool,
    ) -> Option<(F, End<V>)> {
        let (index, end) = (0..self.waiters.len()).find_map(|index| {
            let waiter = &self.waiters[index];
            match fragments.ask(&waiter.part, now_ns) {
                Step::Follow(verdict) => Some((index, End::Follow(verdict))),
                Step::Refuse => Some((index, End::Refuse)),
                // A clock that was set back ends the waiting too.
                Step::Early | Step::Judge => {
                    let over = all || now_ns.abs_diff(waiter.since_ns) >= WAITS_NS;
                    over.then_some((index, End::Alone))
                }
            }
        })?;
        // Those behind move up: the order stays, and there are few.
        Some((self.waiters.remove(index).frame, end))
    }

    /// When the first of them has waited long enough; `None` where nobody waits.
    pub(crate) fn until_ns(&self) -> Option<u64> {
        self.waiters.first().map(|waiter| waiter.since_ns.saturating_add(WAITS_NS))
    }

    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.waiters.len()
    }
}
