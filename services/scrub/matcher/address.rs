//! Addresses by the sets that they are in: one look-up for all sets of a field, however many and large.
//!
//! All prefixes of all sets cut the addresses into intervals. Two intervals that are in the same sets
//! are of one class.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::scrub::rules::expression::Prefixes;

use super::TooLarge;
use super::interval::{Intervals, sweep};

/// Members of classes in all: 64 MiB while rules are compiled.
const MEMBERS_MAX: usize = 1 << 24;

/// Classes of one field.
#[derive(Debug, Default)]
pub(super) struct Classes {
    ipv4: Intervals<u32>,
    ipv6: Intervals<u128>,
    /// For each set, which classes are in it: a bit each.
    bits: Box<[u64]>,
    /// Words of `bits` for one set.
    stride: usize,
}

impl Classes {
    /// The class of an address.
    #[inline]
    pub(super) fn of(&self, address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(address) => self.ipv4.get(address.to_bits()),
            IpAddr::V6(address) => self.ipv6.get(address.to_bits()),
        }
    }

    /// Whether a class is in a set.
    #[inline]
    pub(super) fn is_in(&self, class: u32, set: u32) -> bool {
        let word = self.bits[set as usize * self.stride + class as usize / 64];
        word >> (class % 64) & 1 != 0
    }

    pub(super) fn octets(&self) -> usize {
        self.ipv4.octets() + self.ipv6.octets() + size_of_val(&*self.bits)
    }
}

/// The sets that rules ask for of one field, while they are compiled.
#[derive(Debug, Default)]
pub(super) struct Sets<'a> {
    sets: Vec<&'a Arc<Prefixes>>,
    /// By their place in memory.
    known: BTreeMap<usize, u32>,
}

/// The sets of each class, by class.
pub(super) type Members = Vec<Box<[u32]>>;

impl<'a> Sets<'a> {
    /// The number of a set, which is remembered.
    pub(super) fn number(&mut self, set: &'a Arc<Prefixes>) -> u32 {
        let next = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let number = *self.known.entry(Arc::as_ptr(set) as usize).or_insert(next);
        if number == next {
            self.sets.push(set);
        }
        number
    }

    /// The number of a set, if it has one.
    pub(super) fn known(&self, set: &Arc<Prefixes>) -> Option<u32> {
        self.known.get(&(Arc::as_ptr(set) as usize)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// Cuts all addresses.
    pub(super) fn classes(&self) -> Result<(Classes, Members), TooLarge> {
        let mut known: BTreeMap<Box<[u32]>, u32> = BTreeMap::new();
        let mut members: Members = Vec::new();
        let mut taken = 0_usize;
        let mut class_of = |active: &mut dyn ExactSizeIterator<Item = u32>| {
            // Beyond the bound nothing more is kept; the refusal follows.
            if taken > MEMBERS_MAX {
                return 0;
            }
            let active: Box<[u32]> = active.collect();
            let next = u32::try_from(members.len()).unwrap_or(u32::MAX);
            *known.entry(active).or_insert_with_key(|active| {
                taken += active.len() + 1;
                members.push(active.clone());
                next
            })
        };
        let none = class_of(&mut [].into_iter());
        let numbered = || (0..).zip(&self.sets);
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        let all = numbered().flat_map(|(number, set)| {
            let ends = move |&(first, last): &(u32, u32)| (first, last.checked_add(1), number);
            set.ipv4().iter().map(ends)
        });
        sweep(all, |border, active| {
            ipv4.push((border, class_of(&mut active.iter().copied())));
        });
        let all = numbered().flat_map(|(number, set)| {
            let ends = move |&(first, last): &(u128, u128)| (first, last.checked_add(1), number);
            set.ipv6().iter().map(ends)
        });
        sweep(all, |border, active| {
            ipv6.push((border, class_of(&mut active.iter().copied())));
        });
        drop(known);
        let stride = members.len().div_ceil(64);
        if taken > MEMBERS_MAX || stride.saturating_mul(self.sets.len()) > MEMBERS_MAX {
            return Err(TooLarge::Sets { sets: self.sets.len() });
        }
        let mut bits = vec![0_u64; stride * self.sets.len()];
        for (class, sets) in members.iter().enumerate() {
            for &set in sets {
                bits[set as usize * stride + class / 64] |= 1 << (class % 64);
            }
        }
        let classes = Classes {
            ipv4: Intervals::new(none, ipv4),
            ipv6: Intervals::new(none, ipv6),
            bits: bits.into(),
            stride,
        };
        Ok((classes, members))
    }
}

/// The classes of each set.
pub(super) fn inverted(members: &Members, sets: usize) -> Members {
    let mut classes = vec![Vec::new(); sets];
    for (class, sets) in (0..).zip(members) {
        for &set in sets {
            classes[set as usize].push(class);
        }
    }
    classes.into_iter().map(Vec::into_boxed_slice).collect()
}
