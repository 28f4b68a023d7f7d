//! One packet while rules are tried: what was found out of it is not found out again.

use std::cell::{Cell, OnceCell};

use crate::scrub::facts::Facts;
use crate::scrub::p0f::Shape;
use crate::scrub::rules::expression::Place;
use crate::scrub::rules::field::{AddressField, NumberField, Scope};

use super::address::Classes;
use super::formula::{Bytes, Field, FromEnd, Slot};

/// Not looked up yet.
const UNKNOWN: u32 = u32::MAX;

/// No such address or name.
pub(super) const ABSENT: u32 = u32::MAX - 1;

pub(super) struct Packet<'a, 'f> {
    pub(super) facts: &'a Facts<'f>,
    classes: &'a [Classes; Slot::COUNT],
    found: [Cell<u32>; Slot::COUNT],
    shape: OnceCell<Option<Shape>>,
    ports: Option<(u16, u16)>,
    payload: OnceCell<&'f [u8]>,
}

impl<'a, 'f> Packet<'a, 'f> {
    #[inline]
    pub(super) fn new(
        facts: &'a Facts<'f>,
        classes: &'a [Classes; Slot::COUNT],
        ports: Option<(u16, u16)>,
    ) -> Self {
        Self {
            facts,
            classes,
            found: [const { Cell::new(UNKNOWN) }; Slot::COUNT],
            shape: OnceCell::new(),
            ports,
            payload: OnceCell::new(),
        }
    }

    /// The class of an address or a name, or [`ABSENT`].
    #[inline]
    pub(super) fn class(&self, slot: Slot) -> u32 {
        let found = self.found[slot as usize].get();
        if found != UNKNOWN {
            return found;
        }
        let classes = &self.classes[slot as usize];
        let address = |scope, field| {
            self.facts.address(scope, field).map_or(ABSENT, |address| classes.of(address))
        };
        let name =
            |scope| self.facts.query_name(scope).map_or(ABSENT, |name| classes.of_name(name));
        let class = match slot {
            Slot::Source => address(Scope::Outer, AddressField::Source),
            Slot::Destination => address(Scope::Outer, AddressField::Destination),
            Slot::InnerSource => address(Scope::Inner, AddressField::Source),
            Slot::InnerDestination => address(Scope::Inner, AddressField::Destination),
            Slot::Name => name(Scope::Outer),
            Slot::InnerName => name(Scope::Inner),
        };
        self.found[slot as usize].set(class);
        class
    }

    /// Whether an address or a name is there and in a set.
    #[inline]
    pub(super) fn is_within(&self, slot: Slot, set: u32) -> bool {
        let class = self.class(slot);
        class != ABSENT && self.classes[slot as usize].is_in(class, set)
    }

    /// What p0f sees of it.
    pub(super) fn shape(&self) -> Option<&Shape> {
        self.shape.get_or_init(|| self.facts.ip().and_then(Shape::of)).as_ref()
    }

    /// The payload of the packet that arrived.
    #[inline]
    pub(super) fn payload(&self) -> &'f [u8] {
        self.payload.get_or_init(|| self.facts.payload(Scope::Outer))
    }

    /// The number in a field, where it is there.
    #[inline]
    pub(super) fn number(&self, field: Field) -> Option<u32> {
        match field {
            Field::Number(Scope::Outer, NumberField::SourcePort, mask) => {
                self.ports.map(|(source, _)| u32::from(source) & mask)
            }
            Field::Number(Scope::Outer, NumberField::DestinationPort, mask) => {
                self.ports.map(|(_, destination)| u32::from(destination) & mask)
            }
            Field::Octets(Scope::Outer, FromEnd::No, at, bytes, mask) => {
                let behind = self.payload().get(usize::from(at)..)?;
                let number = match bytes {
                    Bytes::One => u32::from(*behind.first()?),
                    Bytes::Two => u16::from_be_bytes(*behind.first_chunk()?).into(),
                    Bytes::Four => u32::from_be_bytes(*behind.first_chunk()?),
                };
                Some(number & mask)
            }
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
