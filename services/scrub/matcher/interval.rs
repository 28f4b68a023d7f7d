//! Numbers cut into intervals, each with a value: the table behind every look-up.
//!
//! ```text
//!   key ─► slot of the table ─► few borders ─► value of the interval
//! ```
//!
//! The table spreads the borders' own span, so that it helps wherever they are. Borders that lie so
//! close together that many share a slot cost a binary search among those.

/// What can be cut.
pub(super) trait Key: Copy + Ord {
    /// How far it is behind `first`, in steps of `2^shift`; not over what fits.
    fn slot(self, first: Self, shift: u32) -> usize;
}

impl Key for u32 {
    #[inline]
    fn slot(self, first: Self, shift: u32) -> usize {
        ((self - first) >> shift) as usize
    }
}

impl Key for u128 {
    #[inline]
    fn slot(self, first: Self, shift: u32) -> usize {
        usize::try_from((self - first) >> shift).unwrap_or(usize::MAX)
    }
}

/// Up to so many borders are counted through without a table.
const FEW: usize = 8;

/// Bits of the largest table.
const TABLE_BITS_MAX: u32 = 18;

/// Values of intervals that together are all numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Intervals<K> {
    /// Where each interval but the first begins, ascending.
    borders: Box<[K]>,
    /// One more than borders.
    values: Box<[u32]>,
    /// How many borders are before each slot, and all at the end; empty where borders are few.
    table: Box<[u32]>,
    shift: u32,
}

impl<K: Key> Intervals<K> {
    /// `first` is the value of what is before all `borders`, which ascend, each with the value from
    /// it on.
    pub(super) fn new(first: u32, borders: impl IntoIterator<Item = (K, u32)>) -> Self {
        let (mut keys, mut values) = (Vec::new(), vec![first]);
        for (key, value) in borders {
            if values.last() != Some(&value) {
                keys.push(key);
                values.push(value);
            }
        }
        let mut intervals =
            Self { borders: keys.into(), values: values.into(), table: Box::default(), shift: 0 };
        intervals.spread();
        intervals
    }

    /// Makes the table.
    fn spread(&mut self) {
        let (Some(&first), Some(&last)) = (self.borders.first(), self.borders.last()) else {
            return;
        };
        if self.borders.len() <= FEW {
            return;
        }
        let bits = (self.borders.len().ilog2() + 1).min(TABLE_BITS_MAX);
        while last.slot(first, self.shift) >> bits != 0 {
            self.shift += 1;
        }
        let slots = last.slot(first, self.shift) + 1;
        let mut table = Vec::with_capacity(slots + 1);
        for (before, &border) in (0..).zip(&self.borders) {
            while table.len() <= border.slot(first, self.shift) {
                table.push(before);
            }
        }
        table.push(u32::try_from(self.borders.len()).unwrap_or(u32::MAX));
        self.table = table.into();
    }

    /// The value of the interval that `key` is in.
    #[inline]
    pub(super) fn get(&self, key: K) -> u32 {
        self.values[self.before(key)]
    }

    /// How many borders are not behind `key`.
    #[inline]
    fn before(&self, key: K) -> usize {
        if self.table.is_empty() {
            return self.borders.iter().map(|&border| usize::from(border <= key)).sum();
        }
        let first = self.borders[0];
        if key < first {
            return 0;
        }
        let slot = key.slot(first, self.shift);
        let Some(&[start, end]) = self.table.get(slot..).and_then(|rest| rest.first_chunk()) else {
            return self.borders.len();
        };
        let (start, end) = (start as usize, end as usize);
        let shared = &self.borders[start..end];
        if shared.len() <= FEW {
            return start + shared.iter().map(|&border| usize::from(border <= key)).sum::<usize>();
        }
        start + shared.partition_point(|&border| border <= key)
    }

    /// All values, in the order of their intervals.
    pub(super) fn values(&self) -> &[u32] {
        &self.values
    }

    /// Octets that it takes.
    pub(super) fn octets(&self) -> usize {
        size_of_val(&*self.borders) + size_of_val(&*self.values) + size_of_val(&*self.table)
    }
}

/// Cuts ranges that may overlap: for each border, in ascending order, `each` gets it with who is
/// active from there on, ascending. What is before the first border is nobody's.
pub(super) fn sweep<K: Key>(
    ranges: impl IntoIterator<Item = (K, Option<K>, u32)>,
    mut each: impl FnMut(K, &std::collections::BTreeSet<u32>),
) {
    // Each range is from its first number to before its end, without one to the last there is.
    let mut events: Vec<(K, bool, u32)> = Vec::new();
    for (first, end, who) in ranges {
        events.push((first, true, who));
        events.extend(end.map(|end| (end, false, who)));
    }
    events.sort_unstable();
    let mut active = std::collections::BTreeSet::new();
    for at_once in events.chunk_by(|one, other| one.0 == other.0) {
        // Ends come before beginnings, so who goes on in an adjacent range stays.
        for &(_, begins, who) in at_once {
            if begins {
                active.insert(who)
            } else {
                active.remove(&who)
            };
        }
        each(at_once[0].0, &active);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_value_of_its_interval_wherever_the_borders_are() {
        let mut random = 1_u64;
        let mut next = |below: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(random >> 32).unwrap() % below
        };
        for (count, span) in
            [(0, 1), (1, 10), (8, 100), (9, 100), (9, u32::MAX), (1000, 2000), (5000, u32::MAX)]
        {
            let base = if span < 1_000_000 { 3_323_068_416 } else { 0 };
            let mut borders: Vec<(u32, u32)> =
                (0..count).map(|_| (base + next(span), next(5))).collect();
            borders.sort_unstable();
            borders.dedup_by_key(|border| border.0);
            let narrow = Intervals::new(7, borders.iter().copied());
            let wide = |key: u32| u128::from(key) << 90 | 0x5555;
            let wider = Intervals::new(7, borders.iter().map(|&(key, value)| (wide(key), value)));
            let around = borders.iter().flat_map(|&(key, _)| [key.saturating_sub(1), key, key + 1]);
            for key in around.chain([0, 1, base, u32::MAX]).chain((0..100).map(|_| next(u32::MAX)))
            {
                let after = borders.partition_point(|&(border, _)| border <= key);
                let expected = if after == 0 { 7 } else { borders[after - 1].1 };
                assert_eq!(narrow.get(key), expected, "{key} among {count}");
                assert_eq!(wider.get(wide(key)), expected, "{key} among {count}");
            }
        }
    }

    #[test]
    fn a_sweep_tells_who_is_active_from_each_border_on() {
        let ranges = [(10_u32, Some(20), 1), (15, Some(16), 2), (20, Some(30), 1), (25, None, 0)];
        let mut seen = Vec::new();
        sweep(ranges, |border, active| {
            seen.push((border, active.iter().copied().collect::<Vec<_>>()));
        });
        let expected: [(u32, &[u32]); 7] = [
            (10, &[1]),
            (15, &[1, 2]),
            (16, &[1]),
            (20, &[1]),
            (25, &[0, 1]),
            (30, &[0]),
            (40, &[]),
        ];
        assert_eq!(seen.len(), 6);
        for ((border, active), (at, who)) in seen.iter().zip(expected) {
            assert_eq!((*border, &active[..]), (at, who));
        }
    }
}
