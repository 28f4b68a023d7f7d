//! A shard's timers: insert and cancel in constant time, nanosecond deadlines.
//!
//! ```text
//!   level 0   64 slots of 1.024 us   everything due within the current 65 us
//!   level 1   64 slots of 65.5 us    ... within the current 4.2 ms
//!   level 2   64 slots of 4.2 ms     ... within the current 268 ms
//!   ...
//!   level 8                          ... within what a u64 of nanoseconds can say
//! ```
//!
//! A deadline lives at the level of the highest group of six bits in which its
//! tick differs from the wheel's own tick (Varghese and Lauck, 1987, scheme 7).
//! When the wheel's tick enters a slot of level 1 or above, the slot's entries
//! move down; an entry moves at most eight times. Nine levels hold every `u64`,
//! so there is no overflow list to walk and no deadline too far away.
//!
//! One bit per slot says whether it is taken, so a jump of days costs the same
//! as a jump of a microsecond: the wheel steps from taken slot to taken slot.
//!
//! Glommio's timers run only when the executor leaves its busy loop and are late
//! by milliseconds there; packets are paced by this wheel, which the shard turns
//! itself, once per turn.
//!
//! What the wheel refuses to do: ask for the time, call anything while it is
//! half changed, and allocate after it was made.

use std::error;
use std::fmt;

/// Nanoseconds per tick are two to this power.
///
/// Only order within a tick depends on it (see [`Wheel::advance`]): deadlines
/// are kept to the nanosecond. Lower: more moves between levels for the same
/// distance. Higher: more entries share a slot, and the slot that is current is
/// looked through once per turn.
const TICK_BITS: u32 = 10;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 9;
const _: () = assert!(TICK_BITS + slot_shift(LEVELS) >= u64::BITS, "every u64 has a slot");

/// End of a list.
const NONE: u32 = u32::MAX;
/// Where a free entry lives.
const FREE: u16 = u16::MAX;
const _: () = assert!(LEVELS * SLOTS < FREE as usize);

/// Names one timer that was inserted.
///
/// It stays safe to use after the timer fired or was cancelled: the place is
/// reused, the generation is not (for 2^32 uses of that place).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// The wheel holds as many timers as it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Timers that the wheel was made for.
    pub capacity: u32,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {} timers of this shard are in use", self.capacity)
    }
}

impl error::Error for Full {}

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline_ns: u64,
    token: u32,
    generation: u32,
    previous: u32,
    next: u32,
    /// Index into `slots`, or [`FREE`].
    slot: u16,
}

/// First in, first out.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List { first: NONE, last: NONE };

/// Timers of one shard. See the module's page.
#[derive(Debug)]
pub struct Wheel {
    entries: Box<[Entry]>,
    /// First entry that is free; the rest follow by `next`.
    free: u32,
    live_count: u32,
    /// Slot `s` of level `l` is at `l * SLOTS + s`.
    slots: Box<[List; LEVELS * SLOTS]>,
    /// Bit `s` of `taken[l]`: slot `s` of level `l` is not empty.
    taken: [u64; LEVELS],
    now_ns: u64,
}

impl Wheel {
    /// A wheel for `capacity` timers, standing at `now_ns`. Takes all its memory
    /// here: 32 octets per timer and 4.6 KiB of slots.
    ///
    /// # Panics
    ///
    /// When `capacity` is `u32::MAX`, which ends lists.
    pub fn new(capacity: u32, now_ns: u64) -> Self {
        assert!(capacity < NONE, "{capacity} timers");
        let entry = |index: u32| Entry {
            deadline_ns: 0,
            token: 0,
            generation: 0,
            previous: NONE,
            next: if index + 1 < capacity { index + 1 } else { NONE },
            slot: FREE,
        };
        Self {
            entries: (0..capacity).map(entry).collect(),
            free: if capacity > 0 { 0 } else { NONE },
            live_count: 0,
            slots: Box::new([EMPTY; LEVELS * SLOTS]),
            taken: [0; LEVELS],
            now_ns,
        }
    }

    /// Timers waiting.
    pub const fn len(&self) -> u32 {
        self.live_count
    }

    /// Whether no timer waits.
    pub const fn is_empty(&self) -> bool {
        self.live_count == 0
    }

    /// Calls back with `token` once [`Wheel::advance`] is told a time at or after
    /// `deadline_ns`. A deadline that is already past is due at the next call.
    ///
    /// # Errors
    ///
    /// [`Full`] when every timer is in use.
    pub fn insert(&mut self, deadline_ns: u64, token: u32) -> Result<TimerId, Full> {
        let index = self.free;
        if index == NONE {
            return Err(Full { capacity: self.live_count });
        }
        let entry = &mut self.entries[index as usize];
        self.free = entry.next;
        entry.deadline_ns = deadline_ns;
        entry.token = token;
        let generation = entry.generation;
        self.live_count += 1;
        self.link(index);
        Ok(TimerId { index, generation })
    }

    /// Takes a timer out; false when it had fired or had been cancelled before.
    ///
    /// # Panics
    ///
    /// When `id` comes from a wheel with more timers than this one.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        let entry = &self.entries[id.index as usize];
        let waits = entry.slot != FREE && entry.generation == id.generation;
        if waits {
            self.release(id.index);
        }
        waits
    }

    /// Moves the wheel to `now_ns`, calls `fire` with the token of each timer
    /// due (`deadline_ns <= now_ns`), and returns how many there were.
    ///
    /// Never early. Tick by tick (1.024 us) in order of deadline; within a tick
    /// in order of insertion. A timer inserted after its deadline counts as due
    /// in the tick of its insertion. A timer is gone from the wheel before it is
    /// called back, so a panic in `fire` loses none of the others.
    ///
    /// A `now_ns` before that of an earlier call is taken for that one: time
    /// does not run backwards here.
    pub fn advance(&mut self, now_ns: u64, fire: &mut impl FnMut(u32)) -> u32 {
        let target = now_ns.max(self.now_ns);
        let mut fired_count = 0;
        while let Some((level, slot)) = self.first_taken() {
            let start_ns = self.start_ns(level, slot);
            if start_ns > target {
                break;
            }
            // From taken slot to taken slot, never past `target`. A slot of level
            // 0 may have been entered before, by a call that left some of it.
            self.now_ns = self.now_ns.max(start_ns);
            if level > 0 {
                self.move_down(level, slot);
                continue;
            }
            fired_count += self.fire_slot(slot, target, fire);
            if start_ns >> TICK_BITS == target >> TICK_BITS {
                break; // What is left of this slot is due later within the tick.
            }
        }
        self.now_ns = target;
        fired_count
    }

    /// The earliest deadline, if a timer waits. Exact, and possibly past.
    ///
    /// Looks through the one slot that holds it, so it costs as much as that
    /// slot has timers: meant for a shard about to sleep, not for every turn.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let (level, slot) = self.first_taken()?;
        let mut index = self.slots[place(level, slot)].first;
        let mut earliest_ns = u64::MAX;
        while index != NONE {
            let entry = &self.entries[index as usize];
            earliest_ns = earliest_ns.min(entry.deadline_ns);
            index = entry.next;
        }
        Some(earliest_ns)
    }

    /// The taken slot that comes first in time.
    ///
    /// A level's slots all lie within the current slot of the level above, after
    /// the level's own current slot; hence the lowest level with a taken slot
    /// has it, and its lowest slot is it.
    fn first_taken(&self) -> Option<(usize, usize)> {
        let level = self.taken.iter().position(|&bits| bits != 0)?;
        Some((level, self.taken[level].trailing_zeros() as usize))
    }

    /// When the wheel enters this slot, given that the slot is in the future or
    /// current.
    fn start_ns(&self, level: usize, slot: usize) -> u64 {
        let below = TICK_BITS + slot_shift(level);
        let above = below + SLOT_BITS;
        let block_ns = if above < u64::BITS { self.now_ns >> above << above } else { 0 };
        block_ns | (slot as u64) << below
    }

    /// Fires what is due by `target` in a slot of level 0.
    fn fire_slot(&mut self, slot: usize, target: u64, fire: &mut impl FnMut(u32)) -> u32 {
        let mut fired_count = 0;
        let mut index = self.slots[place(0, slot)].first;
        while index != NONE {
            let Entry { deadline_ns, token, next, .. } = self.entries[index as usize];
            if deadline_ns <= target {
                self.release(index);
                fired_count += 1;
                fire(token);
            }
            index = next;
        }
        fired_count
    }

    /// Links the entries of a slot again, now that the wheel stands at its start.
    fn move_down(&mut self, level: usize, slot: usize) {
        let list = std::mem::replace(&mut self.slots[place(level, slot)], EMPTY);
        self.taken[level] &= !(1 << slot);
        let mut index = list.first;
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            debug_assert!(usize::from(self.entries[index as usize].slot) < level * SLOTS);
            index = next;
        }
    }

    /// Appends an entry to the slot of its deadline.
    fn link(&mut self, index: u32) {
        let now = self.now_ns >> TICK_BITS;
        let tick = (self.entries[index as usize].deadline_ns >> TICK_BITS).max(now);
        let level = match now ^ tick {
            0 => 0,
            difference => (difference.ilog2() / SLOT_BITS) as usize,
        };
        let slot = (tick >> slot_shift(level)) as usize % SLOTS;
        let place = place(level, slot);
        let list = &mut self.slots[place];
        let last = std::mem::replace(&mut list.last, index);
        if last == NONE {
            list.first = index;
            self.taken[level] |= 1 << slot;
        } else {
            self.entries[last as usize].next = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.previous = last;
        entry.next = NONE;
        entry.slot = u16::try_from(place).expect("below FREE");
    }

    /// Unlinks an entry and makes its place free for another.
    fn release(&mut self, index: u32) {
        let Entry { previous, next, slot, .. } = self.entries[index as usize];
        let place = usize::from(slot);
        match previous {
            NONE => self.slots[place].first = next,
            previous => self.entries[previous as usize].next = next,
        }
        match next {
            NONE => self.slots[place].last = previous,
            next => self.entries[next as usize].previous = previous,
        }
        if self.slots[place].first == NONE {
            self.taken[place / SLOTS] &= !(1 << (place % SLOTS));
        }
        let entry = &mut self.entries[index as usize];
        entry.slot = FREE;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        self.live_count -= 1;
    }
}

/// Bits of a tick that lie below the slot number of `level`.
#[expect(clippy::cast_possible_truncation, reason = "at most LEVELS")]
const fn slot_shift(level: usize) -> u32 {
    SLOT_BITS * level as u32
}

const fn place(level: usize, slot: usize) -> usize {
    level * SLOTS + slot
}

#[cfg(test)]
mod tests;
