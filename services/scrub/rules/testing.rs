//! Random rules and random packets that have a fair chance to meet.
//!
//! Both draw from the same small pools of addresses, ports, names and octets: a rule of random
//! numbers would hold of no packet, and a matcher that never says yes would pass.

mod packets;

use std::sync::Arc;

use tidegate_config::Prefix;

use super::cursor::Cursor;
use super::expression::{Expression, Place, Prefixes, Ranges, Test, Width};
use super::field::{AddressField, Layer, NumberField, Scope, Standing};
use super::lexer::tokens;
use super::mistake::Source;
use super::parser::{Parser, last_of};
use super::sets::Sets;
use super::subject::Vocabulary;
use super::value::NameList;
use super::{Mistake, words};
pub(crate) use packets::{damaged, packet};

/// Marsaglia's xorshift64; `SEED=n` replays a run.
pub(crate) struct Random(u64);

impl Random {
    /// From the environment, and printed.
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
        eprintln!("SEED={seed}");
        Self::new(seed)
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.next() >> 16) % limit as u64).unwrap()
    }

    /// So many times in a thousand.
    pub(crate) fn chance(&mut self, thousandths: usize) -> bool {
        self.below(1000) < thousandths
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn octet(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// Reads a condition alone, without sets and without asking whether anything can meet it.
pub(crate) fn condition(text: &str) -> Result<Expression, Mistake> {
    let source = Source::new("condition", text);
    let read = || {
        let tokens = tokens(text, &(0..text.len()))?;
        let (sets, vocabulary) = (Sets::default(), Vocabulary::new());
        let mut parser = Parser::new(Cursor::new(&tokens, text.len()), &sets, &vocabulary);
        let expression = parser.expression()?;
        parser.cursor.finish("the end")?;
        Ok(expression)
    };
    read().map_err(|wrong| source.mistake(wrong))
}

/// An expression with at most so many parts in each other.
pub(crate) fn expression(random: &mut Random, depth: usize) -> Expression {
    let parts = |random: &mut Random| {
        let count = 2 + random.below(3);
        (0..count).map(|_| expression(random, depth - 1)).collect()
    };
    match random.below(if depth == 0 { 5 } else { 12 }) {
        0 if random.chance(100) => Expression::True,
        0..=4 => Expression::Test(test(random)),
        5 => Expression::Not(Box::new(expression(random, depth - 1))),
        6..=9 => Expression::And(parts(random)),
        _ => Expression::Or(parts(random)),
    }
}

const PROGRAMS: [&str; 3] = [
    // UDP over IPv4.
    "4,48 0 0 9,21 0 1 17,6 0 0 1,6 0 0 0",
    // More than 100 octets.
    "4,128 0 0 0,37 0 1 100,6 0 0 1,6 0 0 0",
    // The octet behind the IPv4 header is not 0.
    "5,177 0 0 0,80 0 0 0,21 0 1 0,6 0 0 0,6 0 0 1",
];

const SIGNATURES: [&str; 4] = [
    "*:255-:*:*:*,*:mss:*:*",
    "*:255-:*:*:*,*::*:*",
    "*:255-:*:*:*,*:mss,sok,ts,nop,ws:*:*",
    "4:128:0:1460:mss*20,7:mss,sok,ts,nop,ws:df,id+:0",
];

fn scope(random: &mut Random) -> Scope {
    if random.chance(200) { Scope::Inner } else { Scope::Outer }
}

/// One test, that the reader could have made.
pub(crate) fn test(random: &mut Random) -> Test {
    let scope = scope(random);
    match random.below(40) {
        0..=7 => Test::Has(scope, layer(random, scope)),
        8..=22 => {
            let field = *random.pick(NumberField::ALL);
            let (mask, ranges) =
                numbers(random, last_of(field.bits()), |random| value(random, field));
            Test::Number { scope, field, mask, ranges }
        }
        23..=27 => {
            let field = *random.pick(AddressField::ALL);
            let count = 1 + random.below(4);
            let set = Arc::new(Prefixes::new((0..count).map(|_| prefix(random))));
            Test::Address { scope, field, set }
        }
        28..=30 => {
            let width = *random.pick(&[Width::One, Width::Two, Width::Four]);
            let octets = width as usize;
            let place = place(random, octets);
            let last = last_of(8 * u32::try_from(octets).unwrap());
            let (mask, ranges) = numbers(random, last, |random| {
                let octets = needle(random);
                octets.iter().fold(0, |number, &octet| number << 8 & last | u64::from(octet))
            });
            Test::Octets { scope, place, width, mask, ranges }
        }
        31 | 32 => {
            let octets = needle(random);
            Test::Equal { scope, place: place(random, octets.len()), octets }
        }
        33 | 34 => {
            let any_case = random.chance(500);
            let octets = needle(random);
            let octets = if any_case { octets.to_ascii_lowercase().into() } else { octets };
            Test::Contains { scope, octets, any_case }
        }
        35..=37 => {
            let mut list = NameList::default();
            for _ in 0..=random.below(3) {
                let below = if random.chance(300) { "*." } else { "" };
                let name = format!("{below}{}", random.pick(&packets::NAMES));
                list.add(name.as_bytes(), &(0..0)).unwrap();
            }
            Test::Name { scope, names: Arc::new(list.finish()) }
        }
        38 if random.chance(500) => {
            Test::Bytecode(Arc::new(random.pick(&PROGRAMS).parse().unwrap()))
        }
        38 => Test::Fingerprint(Arc::new(random.pick(&SIGNATURES).parse().unwrap())),
        _ => {
            Test::Standing(*random.pick(&[Standing::Known, Standing::Verified, Standing::Surging]))
        }
    }
}

fn layer(random: &mut Random, scope: Scope) -> Layer {
    loop {
        let layer = *random.pick(Layer::ALL);
        if (scope, layer) != (Scope::Inner, Layer::Carried) {
            return layer;
        }
    }
}

/// A mask, and ranges behind it: one or a few, of which some are met.
fn numbers(
    random: &mut Random,
    last: u64,
    mut value: impl FnMut(&mut Random) -> u64,
) -> (u64, Ranges) {
    let mask = match random.chance(150) {
        true => (random.next() & last).max(1),
        false => last,
    };
    let count = if random.chance(600) { 1 } else { 1 + random.below(5) };
    let ranges = (0..count).map(|_| {
        let first = value(random) & mask;
        match random.below(6) {
            0 => (0, first),
            1 => (first, mask),
            2 => {
                let other = value(random) & mask;
                (first.min(other), first.max(other))
            }
            _ => (first, first),
        }
    });
    (mask, Ranges::new(ranges.collect::<Vec<_>>()))
}

/// A number of a field: of those that packets have, or any.
fn value(random: &mut Random, field: NumberField) -> u64 {
    let last = last_of(field.bits());
    let named = words::of(field);
    match random.below(10) {
        0 => random.next() & last,
        1..=3 if !named.is_empty() => random.pick(named).1,
        1..=4 => u64::from(*random.pick(&packets::PORTS)) & last,
        _ => random.pick(&packets::NUMBERS) & last,
    }
}

fn prefix(random: &mut Random) -> Prefix {
    let address = *random.pick(&packets::addresses());
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let len = if random.chance(400) {
        bits
    } else {
        u8::try_from(random.below(usize::from(bits) + 1)).unwrap()
    };
    Prefix::network(address, len)
}

fn place(random: &mut Random, octets: usize) -> Place {
    let most = if random.chance(900) { 16 } else { 1500 };
    let before = u16::try_from(random.below(most)).unwrap();
    match random.chance(700) {
        true => Place::Front(before),
        false => Place::Back(before + u16::try_from(octets).unwrap()),
    }
}

/// Octets that payloads have.
fn needle(random: &mut Random) -> Box<[u8]> {
    let from = *random.pick(&packets::PAYLOADS);
    let length = 1 + random.below(from.len().min(8));
    let start = random.below(from.len() - length + 1);
    from[start..start + length].into()
}
