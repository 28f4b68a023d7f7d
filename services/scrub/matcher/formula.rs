//! Expressions as they stand for one kind of packet: negations pushed down to the tests, tests that
//! the kind decides gone, tests of one field put together.

use std::sync::Arc;

use crate::scrub::rules::expression::{Expression, Names, Place, Prefixes, Ranges, Test, Width};
use crate::scrub::rules::field::{AddressField, Layer, NumberField, Scope};

use super::kind::{Kind, Presence};

/// Numbers of fields have 32 bits at most.
pub(super) const NUMBER_MAX: u64 = u32::MAX as u64;

/// An expression of one kind of packet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Formula<'a> {
    True,
    False,
    /// A number or octets that must be there, and among these.
    In(Field, Ranges),
    /// The opposite: not there, or not among these.
    NotIn(Field, Ranges),
    /// An address or a name that must be there, and in the set.
    Within(Slot, Set<'a>),
    NotWithin(Slot, Set<'a>),
    /// Another test holds, or does not.
    Is(&'a Test),
    IsNot(&'a Test),
    /// At least two.
    And(Vec<Self>),
    Or(Vec<Self>),
}

/// Which address or name of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Slot {
    Source,
    Destination,
    InnerSource,
    InnerDestination,
    Name,
    InnerName,
}

impl Slot {
    pub(super) const COUNT: usize = 6;

    const fn address(scope: Scope, field: AddressField) -> Self {
        match (scope, field) {
            (Scope::Outer, AddressField::Source) => Self::Source,
            (Scope::Outer, AddressField::Destination) => Self::Destination,
            (Scope::Inner, AddressField::Source) => Self::InnerSource,
            (Scope::Inner, AddressField::Destination) => Self::InnerDestination,
        }
    }

    const fn name(scope: Scope) -> Self {
        match scope {
            Scope::Outer => Self::Name,
            Scope::Inner => Self::InnerName,
        }
    }
}

/// A set of addresses or of names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Set<'a> {
    Prefixes(&'a Arc<Prefixes>),
    Names(&'a Arc<Names>),
}

/// Where a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Number(Scope, NumberField, u32),
    Octets(Scope, FromEnd, u16, Bytes, u32),
}

/// Whether a place is counted from the end of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FromEnd {
    No,
    Yes,
}

/// How many octets make the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bytes {
    One = 1,
    Two = 2,
    Four = 4,
}

impl Field {
    fn octets(scope: Scope, place: Place, bytes: Bytes, mask: u32) -> Self {
        match place {
            Place::Front(at) => Self::Octets(scope, FromEnd::No, at, bytes, mask),
            Place::Back(at) => Self::Octets(scope, FromEnd::Yes, at, bytes, mask),
        }
    }
}

impl<'a> Formula<'a> {
    /// What `expression` asks of packets of a kind.
    pub(super) fn of(expression: &'a Expression, kind: Kind) -> Self {
        Self::read(expression, true, kind)
    }

    /// The expression, or its opposite.
    fn read(expression: &'a Expression, is: bool, kind: Kind) -> Self {
        match expression {
            Expression::True => Self::constant(is),
            Expression::Not(other) => Self::read(other, !is, kind),
            Expression::And(parts) | Expression::Or(parts) => {
                let parts = parts.iter().map(|part| Self::read(part, is, kind));
                if matches!(expression, Expression::And(_)) == is {
                    Self::all(parts.collect())
                } else {
                    Self::any(parts.collect())
                }
            }
            Expression::Test(test) => Self::test(test, is, kind),
        }
    }

    const fn constant(is: bool) -> Self {
        if is { Self::True } else { Self::False }
    }

    fn test(test: &'a Test, is: bool, kind: Kind) -> Self {
        match test {
            &Test::Has(scope, layer) => match kind.layer(scope, layer) {
                Presence::Always => Self::constant(is),
                Presence::Never => Self::constant(!is),
                Presence::Maybe if is => Self::Is(test),
                Presence::Maybe => Self::IsNot(test),
            },
            &Test::Number { scope, field, mask, ref ranges } => {
                Self::number(scope, field, mask, ranges, is, kind)
            }
            &Test::Address { scope, field, ref set } => {
                let never = kind == Kind::NotIp;
                Self::set(Slot::address(scope, field), Set::Prefixes(set), never, is)
            }
            &Test::Name { scope, ref names } => {
                let never = kind.layer(scope, Layer::Dns) == Presence::Never;
                Self::set(Slot::name(scope), Set::Names(names), never, is)
            }
            &Test::Octets { scope, place, width, mask, ref ranges } => {
                let bytes = match width {
                    Width::One => Bytes::One,
                    Width::Two => Bytes::Two,
                    Width::Four => Bytes::Four,
                };
                let field = Field::octets(scope, place, bytes, low(mask));
                Self::within_ranges(field, clipped(ranges), is, Presence::Maybe)
            }
            Test::Equal { scope, place, octets } => {
                let (bytes, number) = match **octets {
                    [] => return if is { Self::Is(test) } else { Self::IsNot(test) },
                    [a] => (Bytes::One, u32::from(a)),
                    [a, b] | [a, b, _] => (Bytes::Two, u16::from_be_bytes([a, b]).into()),
                    [a, b, c, d, ..] => (Bytes::Four, u32::from_be_bytes([a, b, c, d])),
                };
                let field = Field::octets(*scope, *place, bytes, u32::MAX);
                let ranges = Ranges::new([(number.into(), number.into())]);
                let beginning = Self::within_ranges(field, ranges, is, Presence::Maybe);
                match (octets.len() == bytes as usize, is) {
                    (true, _) => beginning,
                    // The beginning can be looked up.
                    (false, true) => Self::And(vec![beginning, Self::Is(test)]),
                    (false, false) => Self::IsNot(test),
                }
            }
            Test::Contains { .. }
            | Test::Bytecode(_)
            | Test::Fingerprint(_)
            | Test::Standing(_) => {
                let never = match test {
                    Test::Contains { octets, .. } => kind == Kind::NotIp && !octets.is_empty(),
                    Test::Fingerprint(_) => !kind.is_tcp(),
                    _ => false,
                };
                match (never, is) {
                    (true, _) => Self::constant(!is),
                    (false, true) => Self::Is(test),
                    (false, false) => Self::IsNot(test),
                }
            }
        }
    }

    const fn set(slot: Slot, set: Set<'a>, never: bool, is: bool) -> Self {
        match (never, is) {
            (true, _) => Self::constant(!is),
            (false, true) => Self::Within(slot, set),
            (false, false) => Self::NotWithin(slot, set),
        }
    }

    fn number(
        scope: Scope,
        field: NumberField,
        mask: u64,
        ranges: &Ranges,
        is: bool,
        kind: Kind,
    ) -> Self {
        let presence = kind.number(scope, field);
        if presence == Presence::Never {
            return Self::constant(!is);
        }
        // One name for one thing, so that tests of it are put together.
        let (field, bit) = match field {
            NumberField::TcpFin => (NumberField::TcpFlags, Some(0)),
            NumberField::TcpSyn => (NumberField::TcpFlags, Some(1)),
            NumberField::TcpReset => (NumberField::TcpFlags, Some(2)),
            NumberField::TcpPush => (NumberField::TcpFlags, Some(3)),
            NumberField::TcpAckFlag => (NumberField::TcpFlags, Some(4)),
            NumberField::TcpUrgent => (NumberField::TcpFlags, Some(5)),
            NumberField::TcpEce => (NumberField::TcpFlags, Some(6)),
            NumberField::TcpCwr => (NumberField::TcpFlags, Some(7)),
            NumberField::TcpSourcePort | NumberField::UdpSourcePort if scope == Scope::Outer => {
                (NumberField::SourcePort, None)
            }
            NumberField::TcpDestinationPort | NumberField::UdpDestinationPort
                if scope == Scope::Outer =>
            {
                (NumberField::DestinationPort, None)
            }
            other => (other, None),
        };
        let holds = |number: u64| {
            let shown = bit.map_or(number, |bit: u32| number >> bit & 1);
            ranges.contains(shown & mask)
        };
        if field == NumberField::IpVersion && scope == Scope::Outer {
            return Self::constant(holds(if kind.is_v4() { 4 } else { 6 }) == is);
        }
        if field.bits() <= 8 {
            let numbers = (0..=255).filter(|&number| holds(number));
            let ranges = Ranges::new(numbers.map(|number| (number, number)));
            // Nothing above can be, so it may count as among them: complements stay whole.
            let ranges = if ranges.contains(255) { extended(&ranges) } else { ranges };
            return Self::within_ranges(
                Field::Number(scope, field, u32::MAX),
                ranges,
                is,
                presence,
            );
        }
        let field = Field::Number(scope, field, low(mask));
        Self::within_ranges(field, clipped(ranges), is, presence)
    }

    fn within_ranges(field: Field, ranges: Ranges, is: bool, presence: Presence) -> Self {
        match (is, presence) {
            (true, _) => Self::inside(field, ranges, presence),
            (false, Presence::Always) => {
                Self::inside(field, ranges.complement(NUMBER_MAX), presence)
            }
            (false, _) if ranges.iter().next().is_none() => Self::True,
            (false, _) => Self::NotIn(field, ranges),
        }
    }

    fn inside(field: Field, ranges: Ranges, presence: Presence) -> Self {
        let (first, all) = (ranges.iter().next(), Some((0, NUMBER_MAX)));
        if first.is_none() {
            Self::False
        } else if first == all && presence == Presence::Always {
            Self::True
        } else {
            Self::In(field, ranges)
        }
    }

    /// All of them.
    pub(super) fn all(parts: Vec<Self>) -> Self {
        let mut flat: Vec<Self> = Vec::with_capacity(parts.len());
        let mut waiting: Vec<Self> = parts.into_iter().rev().collect();
        while let Some(part) = waiting.pop() {
            match part {
                Self::True => {}
                Self::False => return Self::False,
                Self::And(inner) => waiting.extend(inner.into_iter().rev()),
                Self::In(field, ranges) => {
                    let same = flat.iter_mut().find_map(|other| match other {
                        Self::In(theirs, ranges) if *theirs == field => Some(ranges),
                        _ => None,
                    });
                    match same {
                        Some(theirs) => *theirs = intersection(theirs, &ranges),
                        None => flat.push(Self::In(field, ranges)),
                    }
                }
                other if flat.contains(&other) => {}
                other => flat.push(other),
            }
        }
        let empty =
            |part: &Self| matches!(part, Self::In(_, ranges) if ranges.iter().next().is_none());
        match flat.len() {
            _ if flat.iter().any(empty) => Self::False,
            0 => Self::True,
            1 => flat.swap_remove(0),
            _ => Self::And(flat),
        }
    }

    /// One of them.
    fn any(parts: Vec<Self>) -> Self {
        let mut flat: Vec<Self> = Vec::with_capacity(parts.len());
        let mut waiting: Vec<Self> = parts.into_iter().rev().collect();
        while let Some(part) = waiting.pop() {
            match part {
                Self::True => return Self::True,
                Self::False => {}
                Self::Or(inner) => waiting.extend(inner.into_iter().rev()),
                Self::In(field, ranges) => {
                    let same = flat.iter_mut().find_map(|other| match other {
                        Self::In(theirs, ranges) if *theirs == field => Some(ranges),
                        _ => None,
                    });
                    match same {
                        Some(theirs) => *theirs = Ranges::new(theirs.iter().chain(ranges.iter())),
                        None => flat.push(Self::In(field, ranges)),
                    }
                }
                other if flat.contains(&other) => {}
                other => flat.push(other),
            }
        }
        match flat.len() {
            0 => Self::False,
            1 => flat.swap_remove(0),
            _ => Self::Or(flat),
        }
    }
}

/// The low half of a mask: fields have no more.
fn low(mask: u64) -> u32 {
    u32::try_from(mask & NUMBER_MAX).unwrap_or(u32::MAX)
}

/// Without what no field can be.
fn clipped(ranges: &Ranges) -> Ranges {
    let inside = ranges.iter().filter(|&(first, _)| first <= NUMBER_MAX);
    Ranges::new(inside.map(|(first, last)| (first, last.min(NUMBER_MAX))))
}

/// From 256 on, too.
fn extended(ranges: &Ranges) -> Ranges {
    Ranges::new(ranges.iter().chain([(256, NUMBER_MAX)]))
}

/// What is among both.
fn intersection(one: &Ranges, other: &Ranges) -> Ranges {
    let both = one.iter().flat_map(|(first, last)| {
        other.iter().map(move |(start, end)| (first.max(start), last.min(end)))
    });
    Ranges::new(both.filter(|&(first, last)| first <= last))
}

/// One way in which a rule can hold: all parts of it, none of them an `And`.
#[derive(Clone, Debug)]
pub(super) struct Clause<'a> {
    /// Which rule, counted from 0.
    pub(super) rule: u32,
    pub(super) parts: Vec<Formula<'a>>,
}

/// Alternatives that are taken apart; more stay together and are looked at one by one.
const ALTERNATIVES_MAX: usize = 32;

impl<'a> Clause<'a> {
    /// The ways in which rule `rule` can hold.
    pub(super) fn all_of(rule: u32, formula: Formula<'a>) -> Vec<Self> {
        let mut clauses = Vec::new();
        let mut waiting = vec![formula];
        while let Some(formula) = waiting.pop() {
            let mut parts = match formula {
                Formula::True => Vec::new(),
                Formula::False => continue,
                Formula::And(parts) => parts,
                Formula::Or(parts) if may_split(&parts, clauses.len() + waiting.len()) => {
                    waiting.extend(parts);
                    continue;
                }
                other => vec![other],
            };
            let taken = clauses.len() + waiting.len();
            let splits = |part: &Formula<'_>| match part {
                Formula::Or(each) => each.iter().all(is_selective) && may_split(each, taken),
                _ => false,
            };
            let split = parts.iter().position(splits);
            match split.filter(|_| !parts.iter().any(is_selective)) {
                Some(at) => {
                    let Formula::Or(each) = parts.swap_remove(at) else { continue };
                    waiting
                        .extend(each.into_iter().map(|alternative| {
                            Formula::all([&parts[..], &[alternative]].concat())
                        }));
                }
                None => clauses.push(Self { rule, parts }),
            }
        }
        clauses
    }
}

fn may_split(parts: &[Formula<'_>], taken: usize) -> bool {
    parts.len() + taken <= ALTERNATIVES_MAX
}

/// Whether a test can be looked up and holds of few packets.
fn is_selective(formula: &Formula<'_>) -> bool {
    match formula {
        Formula::In(_, ranges) => {
            ranges.iter().map(|(first, last)| last - first + 1).sum::<u64>() <= 4096
        }
        Formula::Within(..) => true,
        Formula::And(parts) => parts.iter().any(is_selective),
        _ => false,
    }
}
