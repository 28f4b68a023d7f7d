//! Numbers cut into intervals, each with a value: the table behind every look-up.
//!
//! ```text
//!   key ─► slot of the table ─► few borders, each beside its value
//! ```
//!
//! The table spreads the borders' own span, so that it helps wherever they are. Borders that lie so
//! close together that many share a slot cost a binary search among those. Of many borders of 32 bits
//! only what the slot does not say is kept: a hundred thousand prefixes take a megabyte, and a look-up
//! two lines of cache.

/// What can be cut.
pub(super) trait Key: Copy + Ord {
    /// How far it is behind `first`, in steps of `2^shift`; at most what fits.
    fn slot(self, first: Self, shift: u32) -> usize;

    /// The low 16 bits of how far it is behind `first`, if keys have no more than 32.
    fn low(self, first: Self) -> Option<u16>;
}

impl Key for u32 {
    #[inline]
    fn slot(self, first: Self, shift: u32) -> usize {
        ((self - first) >> shift) as usize
    }

    #[inline]
    fn low(self, first: Self) -> Option<u16> {
        let [a, b, ..] = (self - first).to_le_bytes();
        Some(u16::from_le_bytes([a, b]))
    }
}

impl Key for u128 {
    #[inline]
    fn slot(self, first: Self, shift: u32) -> usize {
        usize::try_from((self - first) >> shift).unwrap_or(usize::MAX)
    }

    #[inline]
    fn low(self, _: Self) -> Option<u16> {
        None
    }
}

/// Up to so many borders are counted through, more are searched.
const FEW: usize = 16;

/// Bits of the largest table.
const TABLE_BITS_MAX: u32 = 18;

/// From so many borders on, only their low halves are kept.
const MANY: usize = 4096;

/// Values of intervals that together are all numbers.
#[derive(Clone, Debug)]
pub(super) struct Intervals<K> {
    /// The value of what is before all borders.
    before: u32,
    /// The first border.
    first: Option<K>,
    /// How many borders are before each slot, and all at the end; empty where borders are few.
    table: Box<[u32]>,
    shift: u32,
    borders: Borders<K>,
}

/// Where intervals begin, ascending, each with its value.
#[derive(Clone, Debug)]
enum Borders<K> {
    Whole(Box<[(K, u32)]>),
    /// The low half of how far each is behind the first; slots are as wide, or less.
    Low(Box<[(u16, u16)]>),
}

impl<K: Key> Default for Intervals<K> {
    fn default() -> Self {
        Self::new(0, [])
    }
}

impl<K: Key> Intervals<K> {
    /// `before` is the value of what is before all `borders`, which ascend, each with the value from
    /// it on.
    pub(super) fn new(before: u32, borders: impl IntoIterator<Item = (K, u32)>) -> Self {
        let mut kept: Vec<(K, u32)> = Vec::new();
        for (border, value) in borders {
            if kept.last().map_or(before, |&(_, last)| last) != value {
                kept.push((border, value));
            }
        }
        let mut shift = 0;
        let mut table = Vec::new();
        let (first, last) = (kept.first().map(|at| at.0), kept.last().map(|at| at.0));
        let mut low = None;
        if let (Some(first), Some(last), true) = (first, last, kept.len() > FEW) {
            low = (kept.len() >= MANY).then(|| {
                let halves = kept
                    .iter()
                    .map(|&(border, value)| Some((border.low(first)?, u16::try_from(value).ok()?)));
                halves.collect::<Option<Box<[_]>>>()
            });
            let low = matches!(low, Some(Some(_)));
            let bits = if low { 16 } else { (kept.len().ilog2() + 1).min(TABLE_BITS_MAX) };
            while last.slot(first, shift) >> bits != 0 {
                shift += 1;
            }
            for (number, &(border, _)) in (0..).zip(&kept) {
                while table.len() <= border.slot(first, shift) {
                    table.push(number);
                }
            }
            table.push(u32::try_from(kept.len()).unwrap_or(u32::MAX));
        }
        let borders = match low.flatten() {
            Some(low) => Borders::Low(low),
            None => Borders::Whole(kept.into()),
        };
        Self { before, first, table: table.into(), shift, borders }
    }

    /// The value of the interval that `key` is in.
    #[inline]
    pub(super) fn get(&self, key: K) -> u32 {
        let Some(first) = self.first.filter(|&first| key >= first) else { return self.before };
        let (start, end) = if self.table.is_empty() {
            (0, usize::MAX)
        } else {
            let slot = key.slot(first, self.shift);
            match self.table.get(slot..).and_then(|rest| rest.first_chunk()) {
                Some(&[start, end]) => (start as usize, end as usize),
                None => (usize::MAX, usize::MAX),
            }
        };
        match &self.borders {
            Borders::Whole(borders) => {
                let end = end.min(borders.len());
                let start = start.min(end);
                let at = start + not_behind(&borders[start..end], key);
                at.checked_sub(1).map_or(self.before, |at| borders[at].1)
            }
            Borders::Low(borders) => {
                let end = end.min(borders.len());
                let start = start.min(end);
                let low = key.low(first).unwrap_or(0);
                // Slots are at most as wide as what is kept, but may begin in the middle of it.
                let at = start + not_behind(&borders[start..end], low);
                at.checked_sub(1).map_or(self.before, |at| borders[at].1.into())
            }
        }
    }

    /// Octets that it takes.
    pub(super) fn octets(&self) -> usize {
        let borders = match &self.borders {
            Borders::Whole(borders) => size_of_val(&**borders),
            Borders::Low(borders) => size_of_val(&**borders),
        };
        borders + size_of_val(&*self.table)
    }
}

/// How many borders are not behind `key`.
#[inline]
fn not_behind<K: Copy + Ord, V>(borders: &[(K, V)], key: K) -> usize {
    if borders.len() > FEW {
        return borders.partition_point(|&(border, _)| border <= key);
    }
    borders.iter().map(|&(border, _)| usize::from(border <= key)).sum()
}

/// Cuts ranges that may overlap: for each border, in ascending order, `each` gets it with who is
/// active from there on, ascending. What is before the first border is nobody's.
pub(super) fn sweep<K: Key>(
    ranges: impl IntoIterator<Item = (K, Option<K>, u32)>,
    mut each: impl FnMut(K, &[u32]),
) {
    // Each range is from its first number to before its end, without one to the last there is.
    let mut events: Vec<(K, bool, u32)> = Vec::new();
    for (first, end, who) in ranges {
        events.push((first, true, who));
        events.extend(end.map(|end| (end, false, who)));
    }
    events.sort_unstable();
    let mut active: Vec<u32> = Vec::new();
    for at_once in events.chunk_by(|one, other| one.0 == other.0) {
        // Ends come before beginnings, so who goes on in an adjacent range stays.
        for &(_, begins, who) in at_once {
            match (active.binary_search(&who), begins) {
                (Err(at), true) => active.insert(at, who),
                (Ok(at), false) => {
                    active.remove(at);
                }
                _ => {}
            }
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
        for (count, span) in [
            (0, 1),
            (1, 10),
            (8, 100),
            (9, 100),
            (9, u32::MAX),
            (1000, 2000),
            (5000, u32::MAX),
            (9000, 20_000),
            (70_000, u32::MAX),
        ] {
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
            seen.push((border, active.to_vec()));
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
