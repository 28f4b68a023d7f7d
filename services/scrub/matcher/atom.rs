//! What is left to be tested once a rule was looked up: small, side by side, cheap ones first.

use std::collections::BTreeMap;
use std::sync::Arc;

use memchr::memmem;

use crate::scrub::cbpf::Program;
use crate::scrub::p0f::Signature;
use crate::scrub::rules::expression::{Ranges, Test};
use crate::scrub::rules::field::{Layer, NumberField, Scope, Standing};

use super::address::Sets;
use super::formula::{Field, Formula, Slot};
use super::packet::Packet;

/// One test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Atom {
    /// A number is there and from the first to the last.
    Between(Field, u32, u32),
    /// It is not there, or not among them.
    NotBetween(Field, u32, u32),
    /// A number is there and in one of these ranges.
    Among(Field, u32, u32),
    NotAmong(Field, u32, u32),
    /// An address or a name is there and in a set.
    Within(Slot, u32),
    NotWithin(Slot, u32),
    Has(Scope, Layer),
    HasNot(Scope, Layer),
    Stands(Standing),
    StandsNot(Standing),
    /// One of the tests that take their time.
    Heavy(u32),
    HeavyNot(u32),
    /// One of these groups of tests holds.
    Any(u32, u32),
}

/// A test that takes its time.
#[derive(Debug)]
enum Heavy {
    Equal(Test),
    Contains(Scope, Box<memmem::Finder<'static>>),
    ContainsAnyCase(Scope, Box<[u8]>),
    Bytecode(Arc<Program>),
    Fingerprint(Arc<Signature>),
}

/// Tests, and what they refer to.
#[derive(Debug, Default)]
pub(super) struct Atoms {
    atoms: Vec<Atom>,
    ranges: Vec<(u32, u32)>,
    heavy: Vec<Heavy>,
    /// Where the tests of each group are.
    groups: Vec<Run>,
}

/// So many tests, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    start: u32,
    end: u32,
}

impl Run {
    /// Whether there is nothing to test.
    pub(super) const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

fn index(length: usize) -> u32 {
    u32::try_from(length).expect("rules are bounded, so are their tests")
}

/// Makes tests of formulas, equal ones once.
#[derive(Debug, Default)]
pub(super) struct Writer<'a> {
    pub(super) atoms: Atoms,
    pub(super) sets: [Sets<'a>; Slot::COUNT],
    known: Vec<(&'a Test, u32)>,
    /// By their place in memory.
    places: BTreeMap<usize, u32>,
}

impl<'a> Writer<'a> {
    /// Writes what must hold together.
    pub(super) fn write<'f>(&mut self, parts: impl IntoIterator<Item = &'f Formula<'a>>) -> Run
    where
        'a: 'f,
    {
        let mut atoms: Vec<Atom> = parts.into_iter().map(|part| self.atom(part)).collect();
        atoms.sort_by_key(|&atom| self.atoms.cost(atom));
        let start = index(self.atoms.atoms.len());
        self.atoms.atoms.append(&mut atoms);
        Run { start, end: index(self.atoms.atoms.len()) }
    }

    /// Gives each set of addresses its number.
    pub(super) fn learn(&mut self, formula: &Formula<'a>) {
        match *formula {
            Formula::Within(slot, set) | Formula::NotWithin(slot, set) => {
                self.sets[slot as usize].number(set);
            }
            Formula::And(ref parts) | Formula::Or(ref parts) => {
                for part in parts {
                    self.learn(part);
                }
            }
            _ => {}
        }
    }

    fn atom(&mut self, formula: &Formula<'a>) -> Atom {
        match *formula {
            // Neither is part of a clause, but both can be said: one of no groups holds.
            Formula::True => {
                Atom::NotAmong(Field::Number(Scope::Outer, NumberField::IpTtl, 0), 0, 0)
            }
            Formula::False => Atom::Any(0, 0),
            Formula::In(field, ref ranges) => match self.ranges(ranges) {
                (start, end) if end - start == 1 => {
                    let (first, last) = self.atoms.ranges[start as usize];
                    Atom::Between(field, first, last)
                }
                (start, end) => Atom::Among(field, start, end),
            },
            Formula::NotIn(field, ref ranges) => match self.ranges(ranges) {
                (start, end) if end - start == 1 => {
                    let (first, last) = self.atoms.ranges[start as usize];
                    Atom::NotBetween(field, first, last)
                }
                (start, end) => Atom::NotAmong(field, start, end),
            },
            Formula::Within(slot, set) => Atom::Within(slot, self.sets[slot as usize].number(set)),
            Formula::NotWithin(slot, set) => {
                Atom::NotWithin(slot, self.sets[slot as usize].number(set))
            }
            Formula::Is(&Test::Has(scope, layer)) => Atom::Has(scope, layer),
            Formula::IsNot(&Test::Has(scope, layer)) => Atom::HasNot(scope, layer),
            Formula::Is(&Test::Standing(standing)) => Atom::Stands(standing),
            Formula::IsNot(&Test::Standing(standing)) => Atom::StandsNot(standing),
            Formula::Is(test) => Atom::Heavy(self.heavy(test)),
            Formula::IsNot(test) => Atom::HeavyNot(self.heavy(test)),
            // Within another, all of them are one group.
            Formula::And(_) => {
                let groups = self.groups(std::slice::from_ref(formula));
                Atom::Any(groups.0, groups.1)
            }
            Formula::Or(ref parts) => {
                let groups = self.groups(parts);
                Atom::Any(groups.0, groups.1)
            }
        }
    }

    fn groups(&mut self, parts: &[Formula<'a>]) -> (u32, u32) {
        let runs: Vec<Run> = parts
            .iter()
            .map(|part| match part {
                Formula::And(parts) => self.write(parts),
                other => self.write([other]),
            })
            .collect();
        let start = index(self.atoms.groups.len());
        self.atoms.groups.extend(runs);
        (start, index(self.atoms.groups.len()))
    }

    fn ranges(&mut self, ranges: &Ranges) -> (u32, u32) {
        let start = index(self.atoms.ranges.len());
        let low = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        self.atoms.ranges.extend(ranges.iter().map(|(first, last)| (low(first), low(last))));
        (start, index(self.atoms.ranges.len()))
    }

    fn heavy(&mut self, test: &'a Test) -> u32 {
        let place = std::ptr::from_ref(test) as usize;
        if let Some(&known) = self.places.get(&place) {
            return known;
        }
        // Equal ones are looked for among the last only, so that many rules cost no more than few.
        let equal = self.known.iter().rev().take(64).find(|&&(other, _)| other == test);
        if let Some(&(_, known)) = equal {
            self.places.insert(place, known);
            return known;
        }
        let number = index(self.atoms.heavy.len());
        self.atoms.heavy.push(match test {
            Test::Contains { scope, octets, any_case: false } => {
                let finder = memmem::Finder::new(&octets[..]).into_owned();
                Heavy::Contains(*scope, Box::new(finder))
            }
            Test::Contains { scope, octets, any_case: true } => {
                Heavy::ContainsAnyCase(*scope, octets.to_ascii_lowercase().into())
            }
            Test::Bytecode(program) => Heavy::Bytecode(Arc::clone(program)),
            Test::Fingerprint(signature) => Heavy::Fingerprint(Arc::clone(signature)),
            other => Heavy::Equal(other.clone()),
        });
        self.known.push((test, number));
        self.places.insert(place, number);
        number
    }
}

impl Atoms {
    /// Octets that they take.
    pub(super) fn octets(&self) -> usize {
        self.atoms.capacity() * size_of::<Atom>()
            + self.ranges.capacity() * size_of::<(u32, u32)>()
            + self.heavy.capacity() * size_of::<Heavy>()
            + self.groups.capacity() * size_of::<Run>()
    }

    /// Cheap ones first.
    fn cost(&self, atom: Atom) -> u32 {
        match atom {
            Atom::Stands(_) | Atom::StandsNot(_) => 0,
            Atom::Between(field, ..) | Atom::NotBetween(field, ..) => field_cost(field),
            Atom::Among(field, ..) | Atom::NotAmong(field, ..) => field_cost(field) + 1,
            Atom::Has(..) | Atom::HasNot(..) => 3,
            Atom::Within(slot, _) | Atom::NotWithin(slot, _) => match slot {
                Slot::Source | Slot::Destination => 4,
                Slot::Name => 6,
                Slot::InnerSource | Slot::InnerDestination | Slot::InnerName => 8,
            },
            Atom::Any(..) => 10,
            Atom::Heavy(heavy) | Atom::HeavyNot(heavy) => match self.heavy[heavy as usize] {
                Heavy::Equal(_) => 5,
                Heavy::Fingerprint(_) => 13,
                Heavy::Bytecode(_) => 14,
                Heavy::Contains(..) => 15,
                Heavy::ContainsAnyCase(..) => 16,
            },
        }
    }

    /// Whether all tests of a run hold.
    #[inline]
    pub(super) fn all_hold(&self, run: Run, packet: &Packet<'_, '_>) -> bool {
        self.atoms[run.start as usize..run.end as usize]
            .iter()
            .all(|&atom| self.holds(atom, packet))
    }

    #[inline]
    fn holds(&self, atom: Atom, packet: &Packet<'_, '_>) -> bool {
        match atom {
            Atom::Between(field, first, last) => {
                packet.number(field).is_some_and(|number| first <= number && number <= last)
            }
            Atom::NotBetween(field, first, last) => {
                !packet.number(field).is_some_and(|number| first <= number && number <= last)
            }
            Atom::Among(field, start, end) => {
                packet.number(field).is_some_and(|number| self.is_among(number, start, end))
            }
            Atom::NotAmong(field, start, end) => {
                !packet.number(field).is_some_and(|number| self.is_among(number, start, end))
            }
            Atom::Within(slot, set) => packet.is_within(slot, set),
            Atom::NotWithin(slot, set) => !packet.is_within(slot, set),
            Atom::Has(scope, layer) => packet.facts.has(scope, layer),
            Atom::HasNot(scope, layer) => !packet.facts.has(scope, layer),
            Atom::Stands(standing) => packet.facts.stands(standing),
            Atom::StandsNot(standing) => !packet.facts.stands(standing),
            Atom::Heavy(heavy) => self.heavy[heavy as usize].holds(packet),
            Atom::HeavyNot(heavy) => !self.heavy[heavy as usize].holds(packet),
            Atom::Any(start, end) => self.groups[start as usize..end as usize]
                .iter()
                .any(|&run| self.all_hold(run, packet)),
        }
    }

    fn is_among(&self, number: u32, start: u32, end: u32) -> bool {
        let ranges = &self.ranges[start as usize..end as usize];
        let after = ranges.partition_point(|&(first, _)| first <= number);
        after > 0 && number <= ranges[after - 1].1
    }
}

const fn field_cost(field: Field) -> u32 {
    match field {
        Field::Number(Scope::Outer, ..) => 1,
        Field::Octets(Scope::Outer, ..) => 2,
        Field::Number(Scope::Inner, ..) | Field::Octets(Scope::Inner, ..) => 7,
    }
}

impl Heavy {
    fn holds(&self, packet: &Packet<'_, '_>) -> bool {
        match self {
            Self::Equal(Test::Equal { scope, place, octets }) => {
                let there = packet.facts.octets(*scope, *place, octets.len());
                there.is_some_and(|there| there == &octets[..])
            }
            // Nothing else is made into this.
            Self::Equal(_) => false,
            Self::Contains(scope, finder) => finder.find(packet.facts.payload(*scope)).is_some(),
            Self::ContainsAnyCase(scope, octets) => {
                contains_any_case(packet.facts.payload(*scope), octets)
            }
            Self::Bytecode(program) => {
                packet.facts.ip().is_some_and(|packet| program.run(packet) != 0)
            }
            Self::Fingerprint(signature) => {
                packet.shape().is_some_and(|shape| signature.matches_shape(shape))
            }
        }
    }
}

/// Whether `wanted`, which is in lower case, stands in `payload` in any.
fn contains_any_case(payload: &[u8], wanted: &[u8]) -> bool {
    let Some((&first, rest)) = wanted.split_first() else { return true };
    let starts = memchr::memchr2_iter(first, first.to_ascii_uppercase(), payload);
    for start in starts {
        match payload[start + 1..].get(..rest.len()) {
            Some(found) if found.eq_ignore_ascii_case(rest) => return true,
            Some(_) => {}
            None => return false,
        }
    }
    false
}
