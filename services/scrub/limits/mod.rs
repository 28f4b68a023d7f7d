//! Token buckets: how much of what comes from one source, one network, to one destination or in one
//! flow goes on.
//!
//! ```text
//! packet ──what the limit is per──► SipHash, secret key ──► group ► [ slot × 8 ]
//!                                                                    tag, tokens, filled at
//! ```
//!
//! A slot that nobody took yet is a full bucket of nobody. Whoever is not in its group takes over
//! the group's **fullest** bucket, *with the tokens that are in it*. That one rule does everything:
//!
//! - While there is room, the fullest bucket is an idle one that filled up again: nothing is lost by
//!   taking it, and who is new starts full.
//! - A source over its limit has the emptiest bucket, so it is the last one to be forgotten: more
//!   sources do not wash it out.
//! - A take-over makes no tokens. However many addresses a flood invents, no more than
//!   `slots × (burst + rate × time)` gets through, and a group without enough left admits nobody
//!   new ([`Admission::TableFull`]).
//!
//! The price: under a flood of more sources than slots, a new honest source may start with less than
//! its whole burst, or wait. Both are counted.
//!
//! Whose bucket it is says a tag, 64 bits of the keyed hash: that two of a million share one is a
//! matter of 1 in 10^13, and nobody can bring it about. So a slot is as long for a flow of IPv6 as
//! for a source of IPv4: a million sources need 32 MiB, or 64 MiB in a table half empty, where they
//! hardly ever meet (see the tests).
//!
//! A shard has its own buckets: the rate is that of one shard. Packets of one flow come to one.

use super::siphash::Key;

mod bucket;
mod owner;

use bucket::Bucket;
pub(crate) use bucket::Rate;
pub(crate) use owner::{Flow, Owner};

/// Slots in a group: how far a bucket may lie from where its hash points.
///
/// 8 slots of 32 octets are four cache lines, read in order. In a table half full, 1 group of 47 is
/// asked for more sources than it has slots; with 4 slots it would be 1 of 19, and with 16 a new
/// source would cost eight cache lines.
const SLOTS: usize = 8;

/// Buckets of one limit at most: 128 MiB.
pub(crate) const BUCKETS_MAX: u32 = 1 << 22;

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// There were tokens for it.
    Admitted,
    /// Its owner has spent its tokens.
    Over,
    /// Its owner is new and no bucket of its group has the tokens.
    TableFull,
}

/// Somebody's bucket.
#[derive(Clone, Copy, Debug)]
struct Slot {
    bucket: Bucket,
    tag: u64,
}

/// The slots among which one bucket can be.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Group([Slot; SLOTS]);

const _: () = assert!(size_of::<Group>() == 256, "four cache lines, no padding");

/// The buckets of one limit. All memory is taken by [`Limiter::new`].
pub(crate) struct Limiter {
    rate: Rate,
    key: Key,
    groups: Box<[Group]>,
    /// Number of groups less one, all bits set.
    mask: u64,
    takeovers: u64,
}

impl Limiter {
    /// Full buckets, `buckets` rounded up to a power of two, at least [`SLOTS`].
    ///
    /// # Panics
    ///
    /// When there are none, or more than [`BUCKETS_MAX`].
    pub(crate) fn new(rate: Rate, buckets: u32, key: Key) -> Self {
        assert!((1..=BUCKETS_MAX).contains(&buckets), "{buckets} buckets");
        let count = (buckets as usize).div_ceil(SLOTS).next_power_of_two();
        let nobody = Slot { bucket: Bucket::full(rate), tag: 0 };
        let groups = vec![Group([nobody; SLOTS]); count].into_boxed_slice();
        Self { rate, key, groups, mask: count as u64 - 1, takeovers: 0 }
    }

    /// Octets of `buckets`, as they are rounded up.
    #[cfg(test)]
    pub(crate) const fn memory_octets(buckets: u32) -> usize {
        (buckets as usize).div_ceil(SLOTS).next_power_of_two() * size_of::<Group>()
    }

    /// Takes `tokens` of the bucket of `owner`, if it has as many.
    #[expect(clippy::cast_possible_truncation, reason = "the mask is less than a table's length")]
    pub(crate) fn admit(&mut self, owner: &Owner, tokens: u32, now_ns: u64) -> Admission {
        let rate = self.rate;
        let tag = owner.tag(self.key);
        let Group(slots) = &mut self.groups[(tag & self.mask) as usize];
        if let Some(slot) = slots.iter_mut().find(|slot| slot.tag == tag) {
            slot.bucket.refill(rate, now_ns);
            return if slot.bucket.spend(tokens) { Admission::Admitted } else { Admission::Over };
        }
        let mut fullest = 0;
        for slot in 0..SLOTS {
            slots[slot].bucket.refill(rate, now_ns);
            if slots[slot].bucket.holds_more_than(slots[fullest].bucket) {
                fullest = slot;
            }
        }
        let taken = &mut slots[fullest];
        let in_use = !taken.bucket.is_full(rate);
        if !taken.bucket.spend(tokens) {
            return Admission::TableFull;
        }
        taken.tag = tag;
        self.takeovers += u64::from(in_use);
        Admission::Admitted
    }

    /// Another rate for the same buckets, with what is in them. Of a smaller burst none has more
    /// from its next packet on.
    pub(crate) const fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// How often somebody took over a bucket that was still in use.
    pub(crate) const fn takeovers(&self) -> u64 {
        self.takeovers
    }
}

#[cfg(test)]
mod tests;
