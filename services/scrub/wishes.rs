//! Verdicts that the kernel is to have, on their way to who can put them there.
//!
//! A shard makes no system call for a verdict: it writes down what it wishes, and whoever operates
//! the service takes the list some times a second. A packet later than its wish is judged as the
//! first was, so one that is lost costs nothing but time.

use super::limits::Owner;
use super::siphash::Key;

/// Wishes that wait at once. Taken ten times a second they are 10,000 new sources a second.
const WISHES_MAX: usize = 1024;

/// Wishes that are remembered, so that a source that floods is wished for once. Two that meet here
/// wish in turn.
const RECENT: usize = 4096;

/// A verdict to be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Whose packets.
    pub(crate) owner: Owner,
    /// Whether they pass; else they are dropped.
    pub(crate) passes: bool,
    /// The rule that decided.
    pub(crate) rule: u32,
    /// Until when, on the shard's clock.
    pub(crate) until_ns: u64,
}

/// What one shard wishes. All memory is taken by [`Wishes::new`].
pub(crate) struct Wishes {
    key: Key,
    list: Vec<Wish>,
    /// 64 bits of the keyed hash of whose packets, and until when.
    recent: Box<[(u64, u64)]>,
}

impl Wishes {
    pub(crate) fn new(key: Key) -> Self {
        let recent = vec![(0, 0); RECENT].into_boxed_slice();
        Self { key, list: Vec::with_capacity(WISHES_MAX), recent }
    }

    /// Writes `wish` down, where it was not wished before and there is room.
    #[expect(clippy::cast_possible_truncation, reason = "less than the table's length")]
    pub(crate) fn add(&mut self, wish: Wish, now_ns: u64) {
        let tag = wish.owner.tag(self.key);
        let recent = &mut self.recent[tag as usize & (RECENT - 1)];
        let is_wished = recent.0 == tag && now_ns < recent.1;
        if is_wished || self.list.len() >= WISHES_MAX {
            return;
        }
        *recent = (tag, wish.until_ns);
        self.list.push(wish);
    }

    /// Exchanges what was wished so far for `empty`, which was made with room enough.
    pub(crate) fn take(&mut self, empty: Vec<Wish>) -> Vec<Wish> {
        debug_assert!(empty.is_empty());
        if empty.capacity() < WISHES_MAX {
            return empty;
        }
        std::mem::replace(&mut self.list, empty)
    }

    /// A list to be exchanged.
    pub(crate) fn room() -> Vec<Wish> {
        Vec::with_capacity(WISHES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(n: u32, until_ns: u64) -> Wish {
        let owner = Owner::Source(std::net::IpAddr::V4(n.into()));
        Wish { owner, passes: false, rule: 3, until_ns }
    }

    #[test]
    fn a_source_that_floods_is_wished_for_once_and_again_when_its_time_is_over() {
        let mut wishes = Wishes::new(Key::fixed(1));
        for now_ns in 0..100 {
            wishes.add(wish(1, now_ns + 50), now_ns);
        }
        assert_eq!(wishes.take(Wishes::room()), [wish(1, 50), wish(1, 100)]);
        assert!(wishes.take(Wishes::room()).is_empty());
    }

    #[test]
    fn no_more_wait_than_there_is_room_for_and_the_rest_may_wish_again() {
        let mut wishes = Wishes::new(Key::fixed(1));
        (0..10_000).for_each(|n| wishes.add(wish(n, 50), 0));
        let taken = wishes.take(Wishes::room());
        assert_eq!(taken.len(), WISHES_MAX);
        wishes.add(wish(9_999, 50), 0);
        assert_eq!(wishes.take(Wishes::room()), [wish(9_999, 50)]);
        // Without room nothing is given away.
        wishes.add(wish(20_000, 50), 0);
        assert!(wishes.take(Vec::new()).is_empty());
        assert_eq!(wishes.take(Wishes::room()).len(), 1);
    }
}
