//! Counters in sets of eight.

/// Counters of one set. Eight keys fill two cache lines, eight counts and errors one: a packet whose
/// key is known touches three.
pub(super) const WAYS: usize = 8;

/// Eight keys, how often each was seen at most, and by how much that may be too many.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Set {
    keys: [u128; WAYS],
    counts: [u32; WAYS],
    errors: [u32; WAYS],
}

/// One key and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: u128,
    pub(super) count: u32,
    pub(super) error: u32,
}

impl Set {
    #[inline]
    fn note(&mut self, key: u128) {
        if let Some(way) = self.keys.iter().position(|&other| other == key) {
            self.counts[way] = self.counts[way].saturating_add(1);
            return;
        }
        // The way in the lowest bits, so that the least is found without a branch to guess.
        let ranked = |way: usize| u64::from(self.counts[way]) << 3 | way as u64;
        let least = (1..WAYS).fold(ranked(0), |least, way| least.min(ranked(way)));
        let least = (least & 7) as usize;
        self.keys[least] = key;
        self.errors[least] = self.counts[least];
        self.counts[least] = self.counts[least].saturating_add(1);
    }

    /// What a key that is not in the set was seen at most.
    pub(super) fn least(&self) -> u32 {
        self.counts.into_iter().min().unwrap_or(0)
    }

    /// What is known of `key`.
    pub(super) fn of(&self, key: u128) -> Option<Entry> {
        self.entries().find(|entry| entry.key == key)
    }

    /// All keys that were seen.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let entry =
            |way| Entry { key: self.keys[way], count: self.counts[way], error: self.errors[way] };
        (0..WAYS).map(entry).filter(|entry| entry.count > 0)
    }
}

/// Sets, a power of two of them.
#[derive(Clone)]
pub(super) struct Table {
    sets: Box<[Set]>,
}

impl Table {
    /// An empty one with so many sets.
    pub(super) fn new(sets: usize) -> Self {
        assert!(sets.is_power_of_two(), "{sets} sets");
        Self { sets: vec![Set::default(); sets].into() }
    }

    /// Counts `key` once.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "any of its bits will do")]
    pub(super) fn note(&mut self, hash: u64, key: u128) {
        let set = hash as usize & (self.sets.len() - 1);
        self.sets[set].note(key);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.sets.fill(Set::default());
    }

    /// Becomes the same as `other`, which has as many sets.
    pub(super) fn copy(&mut self, other: &Self) {
        self.sets.copy_from_slice(&other.sets);
    }

    /// The sets, in the order of the hashes.
    pub(super) fn sets(&self) -> &[Set] {
        &self.sets
    }
}
