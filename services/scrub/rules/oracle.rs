//! What an expression means, written as plainly as it can be.
//!
//! This is the definition: a matcher that says something else is wrong. It walks, it asks the packet
//! again for each test, and nothing in it is fast.

use super::expression::{Expression, Test, Width};
use super::field::{NumberField, Scope};
use super::rule::RuleSet;
use crate::scrub::facts::Facts;

/// The first rule at or behind `from` whose condition holds.
pub(crate) fn first(set: &RuleSet, facts: &Facts<'_>, from: usize) -> Option<usize> {
    (from..set.rules.len()).find(|&index| holds(&set.rules[index].when, facts))
}

/// Whether `expression` holds of the packet.
pub(crate) fn holds(expression: &Expression, facts: &Facts<'_>) -> bool {
    match expression {
        Expression::True => true,
        Expression::Not(denied) => !holds(denied, facts),
        Expression::And(list) => list.iter().all(|one| holds(one, facts)),
        Expression::Or(list) => list.iter().any(|one| holds(one, facts)),
        Expression::Test(test) => passes(test, facts),
    }
}

/// What a packet does not have passes no test.
fn passes(test: &Test, facts: &Facts<'_>) -> bool {
    match test {
        Test::Has(scope, layer) => facts.has(*scope, *layer),
        Test::Number { scope, field, mask, ranges } => {
            facts.number(*scope, *field).is_some_and(|number| ranges.contains(number & mask))
        }
        Test::Address { scope, field, set } => {
            facts.address(*scope, *field).is_some_and(|address| set.contains(address))
        }
        Test::Octets { scope, place, width, mask, ranges } => {
            let count = match width {
                Width::One => 1,
                Width::Two => 2,
                Width::Four => 4,
            };
            let Some(octets) = facts.octets(*scope, *place, count) else { return false };
            let number = octets.iter().fold(0_u64, |number, &octet| number << 8 | u64::from(octet));
            ranges.contains(number & mask)
        }
        Test::Equal { scope, place, octets } => {
            facts.octets(*scope, *place, octets.len()) == Some(octets)
        }
        Test::Contains { scope, octets, any_case } => {
            let payload = facts.payload(*scope);
            payload.windows(octets.len()).any(|there| match any_case {
                true => there.eq_ignore_ascii_case(octets),
                false => there == &**octets,
            })
        }
        Test::Name { scope, names } => facts.query_name(*scope).is_some_and(|asked| {
            let asked = asked.to_ascii_lowercase();
            let below = |name: &[u8]| asked != name && labels_of(&asked).any(|end| end == name);
            names.exact().iter().any(|name| **name == asked)
                || names.below().iter().any(|name| below(name))
        }),
        Test::Bytecode(program) => facts.ip().is_some_and(|packet| {
            let octets = facts.number(Scope::Outer, NumberField::IpLength).unwrap_or(0);
            program.run_head(packet, u32::try_from(octets).unwrap_or(u32::MAX)) != 0
        }),
        Test::Fingerprint(signature) => {
            facts.ip().is_some_and(|packet| signature.matches_packet(packet))
        }
        Test::Standing(standing) => facts.stands(*standing),
    }
}

/// A name of the wire, and then what is left of it without its first label, and so on to the root.
fn labels_of(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(name), |rest| match rest.split_first() {
        Some((&length @ 1.., behind)) => behind.get(usize::from(length)..),
        _ => None,
    })
}
