//! One packet while rules are tried: what was found out of it is not found out again.

use std::cell::{Cell, OnceCell};

use crate::scrub::facts::Facts;
use crate::scrub::p0f::Shape;
use crate::scrub::rules::expression::Place;
use crate::scrub::rules::field::{AddressField, Scope};

use super::address::Classes;
use super::formula::{Field, FromEnd};

/// Source and destination of the packet and of the one in it.
pub(super) const SLOTS: usize = 4;

/// Not looked up yet.
const UNKNOWN: u32 = u32::MAX;

/// No such address.
pub(super) const ABSENT: u32 = u32::MAX - 1;

/// Which of the slots an address has.
pub(super) const fn slot(scope: Scope, field: AddressField) -> usize {
    match (scope, field) {
        (Scope::Outer, AddressField::Source) => 0,
        (Scope::Outer, AddressField::Destination) => 1,
        (Scope::Inner, AddressField::Source) => 2,
        (Scope::Inner, AddressField::Destination) => 3,
    }
}

pub(super) struct Packet<'a, 'f> {
    pub(super) facts: &'a Facts<'f>,
    classes: &'a [Classes; SLOTS],
    found: [Cell<u32>; SLOTS],
    shape: OnceCell<Option<Shape>>,
}

impl<'a, 'f> Packet<'a, 'f> {
    #[inline]
    pub(super) fn new(facts: &'a Facts<'f>, classes: &'a [Classes; SLOTS]) -> Self {
        Self {
            facts,
            classes,
            found: [const { Cell::new(UNKNOWN) }; SLOTS],
            shape: OnceCell::new(),
        }
    }

    /// The class of an address, or [`ABSENT`].
    #[inline]
    pub(super) fn class(&self, slot: usize) -> u32 {
        let found = self.found[slot].get();
        if found != UNKNOWN {
            return found;
        }
        let scope = if slot < 2 { Scope::Outer } else { Scope::Inner };
        let field = if slot % 2 == 0 { AddressField::Source } else { AddressField::Destination };
        let class = self.facts.address(scope, field).map_or(ABSENT, |at| self.classes[slot].of(at));
        self.found[slot].set(class);
        class
    }

    /// Whether an address is there and in a set.
    #[inline]
    pub(super) fn is_within(&self, slot: usize, set: u32) -> bool {
        let class = self.class(slot);
        class != ABSENT && self.classes[slot].is_in(class, set)
    }

    /// What p0f sees of it.
    pub(super) fn shape(&self) -> Option<&Shape> {
        self.shape.get_or_init(|| self.facts.ip().and_then(Shape::of)).as_ref()
    }

    /// The number in a field, where it is there.
    #[inline]
    pub(super) fn number(&self, field: Field) -> Option<u32> {
        match field {
            Field::Number(scope, field, mask) => {
                let number = self.facts.number(scope, field)?;
                // Fields have 32 bits at most.
                Some(u32::try_from(number).unwrap_or(u32::MAX) & mask)
            }
            Field::Octets(scope, from_end, at, bytes, mask) => {
                let place = match from_end {
                    FromEnd::No => Place::Front(at),
                    FromEnd::Yes => Place::Back(at),
                };
                let octets = self.facts.octets(scope, place, bytes as usize)?;
                let number = octets.iter().fold(0, |number, &octet| number << 8 | u32::from(octet));
                Some(number & mask)
            }
        }
    }
}
