//! Names of DNS by the sets that they are in: one look-up for all sets, however many and large.
//!
//! A name is in sets because of itself or of what stands behind one of its dots. The longest such
//! ending that is known says it all: every other known one is an ending of it, too.

use std::collections::BTreeMap;

use crate::scrub::rules::expression::Names;

use super::address::Members;

/// Octets of a name on the wire, RFC 1035, section 2.3.4.
const NAME_MAX: usize = 255;

/// Labels of a name, the root's included: each but that has two octets at least.
const LABELS_MAX: usize = NAME_MAX / 2 + 1;

/// Names that are known, each with its two classes: of itself, and of what is below it.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    names: Box<[(u64, Box<[u8]>)]>,
    /// Numbers of names from 1 on, each at the place of its hash or behind it; 0 is free. At most half
    /// of it is full, so a search ends. What is asked for does not change it, so nobody but the
    /// operator can make a search long.
    slots: Box<[u32]>,
}

impl NameTable {
    /// The names of `sets`, and the sets of each class.
    pub(super) fn new(sets: &[&Names]) -> (Self, Members) {
        let mut known: BTreeMap<&[u8], (Vec<u32>, Vec<u32>)> = BTreeMap::new();
        for (number, set) in (0..).zip(sets) {
            for name in set.exact() {
                known.entry(name).or_default().0.push(number);
            }
            for name in set.below() {
                known.entry(name).or_default().1.push(number);
            }
        }
        let mut members: Members = vec![Box::default()];
        for (name, (exact, below)) in &known {
            let mut above: Vec<u32> = Vec::new();
            let mut rest = *name;
            while let Some(ending) = parent(rest) {
                above.extend(known.get(ending).into_iter().flat_map(|(_, below)| below));
                rest = ending;
            }
            for own in [exact, below] {
                let mut sets = [&own[..], &above].concat();
                sets.sort_unstable();
                sets.dedup();
                members.push(sets.into());
            }
        }
        let names: Box<[(u64, Box<[u8]>)]> = known
            .keys()
            .map(|&name| {
                let mut last = 0;
                endings(name, |_, hash| last = hash);
                (last, name.into())
            })
            .collect();
        let mut slots = vec![0; (2 * names.len()).next_power_of_two()].into_boxed_slice();
        for (number, &(hash, _)) in (1..).zip(&names) {
            let mut at = place(hash, slots.len());
            while slots[at] != 0 {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = number;
        }
        (Self { names, slots }, members)
    }

    /// The class of a name as it stands on the wire.
    pub(super) fn class(&self, name: &[u8]) -> u32 {
        if self.names.is_empty() || name.len() > NAME_MAX {
            return 0;
        }
        let mut lower = [0; NAME_MAX];
        let lower = &mut lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let mut class = 0;
        endings(lower, |start, hash| {
            if let Some(number) = self.find(&lower[start..], hash) {
                // The last that is found is the longest.
                class = if start == 0 { number * 2 - 1 } else { number * 2 };
            }
        });
        class
    }

    fn find(&self, name: &[u8], hash: u64) -> Option<u32> {
        let mut at = place(hash, self.slots.len());
        loop {
            let number = self.slots[at].checked_sub(1)?;
            let (theirs, known) = &self.names[number as usize];
            if *theirs == hash && **known == *name {
                return Some(number + 1);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    pub(super) fn octets(&self) -> usize {
        let names = self.names.iter().map(|(_, name)| name.len() + size_of::<(u64, Box<[u8]>)>());
        names.sum::<usize>() + size_of_val(&*self.slots)
    }
}

/// Where a hash is looked for first, of a power of two of slots.
#[inline]
fn place(hash: u64, slots: usize) -> usize {
    usize::try_from(hash & (slots as u64 - 1)).expect("less than there are slots")
}

/// What stands behind the first label.
fn parent(name: &[u8]) -> Option<&[u8]> {
    match name.split_first() {
        Some((&length @ 1.., behind)) => behind.get(usize::from(length)..),
        _ => None,
    }
}

/// Where each ending of a name begins, from the shortest to the whole, with its hash.
fn endings(name: &[u8], mut each: impl FnMut(usize, u64)) {
    let mut starts = [0_u8; LABELS_MAX];
    let (mut count, mut rest) = (0, Some(name));
    while let Some(ending) = rest.filter(|ending| !ending.is_empty() && count < LABELS_MAX) {
        starts[count] = (name.len() - ending.len()).to_le_bytes()[0];
        count += 1;
        rest = parent(ending);
    }
    // FNV-1a, label by label from the last.
    let (mut hash, mut end) = (0xcbf2_9ce4_8422_2325_u64, name.len());
    for &start in starts[..count].iter().rev() {
        let start = usize::from(start);
        for &octet in &name[start..end] {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
        each(start, hash ^ hash >> 32);
        end = start;
    }
}
