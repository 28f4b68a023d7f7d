//! Addresses, and names, by the sets that they are in: one look-up for all sets of a field, however many and large.
//!
//! All prefixes of all sets cut the addresses into intervals. Two intervals that are in the same sets
//! are of one class.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::scrub::rules::expression::{Names, Prefixes};

use super::TooLarge;
use super::formula::Set;
use super::interval::{Intervals, sweep};
use super::names::NameTable;

/// Members of classes in all: 64 MiB while rules are compiled.
const MEMBERS_MAX: usize = 1 << 24;

/// Classes of one field.
#[derive(Debug, Default)]
pub(super) struct Classes {
    ipv4: Intervals<u32>,
    ipv6: Intervals<u128>,
    names: NameTable,
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

    /// The class of a name of DNS.
    #[inline]
    pub(super) fn of_name(&self, name: &[u8]) -> u32 {
        self.names.class(name)
    }

    /// Whether a class is in a set.
    #[inline]
    pub(super) fn is_in(&self, class: u32, set: u32) -> bool {
        let word = self.bits[set as usize * self.stride + class as usize / 64];
        word >> (class % 64) & 1 != 0
    }

    pub(super) fn octets(&self) -> usize {
        self.ipv4.octets() + self.ipv6.octets() + self.names.octets() + size_of_val(&*self.bits)
    }
}

/// The sets that rules ask for of one field, while they are compiled.
#[derive(Debug, Default)]
pub(super) struct Sets<'a> {
    prefixes: Vec<&'a Prefixes>,
    /// Of names; a field has either.
    names: Vec<&'a Names>,
    /// By their place in memory.
    known: BTreeMap<usize, u32>,
    /// By what is in them, if that is little.
    small: BTreeMap<Ends, u32>,
}

/// First and last address of each network of IPv4, and of IPv6.
type Ends = (Box<[(u32, u32)]>, Box<[(u128, u128)]>);

/// Networks of a set that is compared with others: the one or few that rules name themselves.
const SMALL: usize = 4;

/// The sets of each class, by class.
pub(super) type Members = Vec<Box<[u32]>>;

impl<'a> Sets<'a> {
    /// The number of a set, which is remembered.
    pub(super) fn number(&mut self, set: Set<'a>) -> u32 {
        if let Some(known) = self.known(set) {
            return known;
        }
        let next = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let number = match set {
            Set::Prefixes(set) if set.ipv4().len() + set.ipv6().len() <= SMALL => {
                let ends = (set.ipv4().into(), set.ipv6().into());
                *self.small.entry(ends).or_insert(next)
            }
            _ => next,
        };
        if number == next {
            match set {
                Set::Prefixes(set) => self.prefixes.push(set),
                Set::Names(names) => self.names.push(names),
            }
        }
        self.known.insert(place(set), number);
        number
    }

    /// The number of a set, if it has one.
    pub(super) fn known(&self, set: Set<'_>) -> Option<u32> {
        self.known.get(&place(set)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.prefixes.len() + self.names.len()
    }

    /// Cuts all addresses, or knows all names.
    pub(super) fn classes(&self) -> Result<(Classes, Members), TooLarge> {
        if !self.names.is_empty() {
            let (names, members) = NameTable::new(&self.names);
            let (bits, stride) = bits(&members, self.len())?;
            return Ok((Classes { names, bits, stride, ..Classes::default() }, members));
        }
        let mut known: BTreeMap<Box<[u32]>, u32> = BTreeMap::new();
        let mut members: Members = Vec::new();
        let mut taken = 0_usize;
        let mut class_of = |active: &[u32]| {
            // Beyond the bound nothing more is kept; the refusal follows.
            if taken > MEMBERS_MAX {
                return 0;
            }
            if let Some(&class) = known.get(active) {
                return class;
            }
            taken += active.len() + 1;
            let class = u32::try_from(members.len()).unwrap_or(u32::MAX);
            members.push(active.into());
            known.insert(active.into(), class);
            class
        };
        let none = class_of(&[]);
        let numbered = || (0..).zip(&self.prefixes);
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        let all = numbered().flat_map(|(number, set)| {
            let ends = move |&(first, last): &(u32, u32)| (first, last.checked_add(1), number);
            set.ipv4().iter().map(ends)
        });
        sweep(all, |border, active| {
            ipv4.push((border, class_of(active)));
        });
        let all = numbered().flat_map(|(number, set)| {
            let ends = move |&(first, last): &(u128, u128)| (first, last.checked_add(1), number);
            set.ipv6().iter().map(ends)
        });
        sweep(all, |border, active| {
            ipv6.push((border, class_of(active)));
        });
        drop(known);
        if taken > MEMBERS_MAX {
            return Err(TooLarge::Sets { sets: self.len() });
        }
        let (bits, stride) = bits(&members, self.len())?;
        let (ipv4, ipv6) = (Intervals::new(none, ipv4), Intervals::new(none, ipv6));
        Ok((Classes { ipv4, ipv6, bits, stride, ..Classes::default() }, members))
    }
}

/// Where a set is in memory; the same set may be asked for by many rules.
fn place(set: Set<'_>) -> usize {
    match set {
        Set::Prefixes(set) => Arc::as_ptr(set) as usize,
        Set::Names(names) => Arc::as_ptr(names) as usize,
    }
}

/// A bit for each set and class, and the words of one set.
fn bits(members: &Members, sets: usize) -> Result<(Box<[u64]>, usize), TooLarge> {
    let stride = members.len().div_ceil(64);
    if stride.saturating_mul(sets) > MEMBERS_MAX {
        return Err(TooLarge::Sets { sets });
    }
    let mut bits = vec![0_u64; stride * sets];
    for (class, sets) in members.iter().enumerate() {
        for &set in sets {
            bits[set as usize * stride + class / 64] |= 1 << (class % 64);
        }
    }
    Ok((bits.into(), stride))
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
