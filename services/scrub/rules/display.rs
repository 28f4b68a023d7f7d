//! Expressions as text that reads back to the same.

use std::fmt::{self, Display, Formatter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::expression::{Expression, Names, Place, Prefixes, Ranges, Test, Width};
use super::field::{Layer, Scope, Standing};
use super::parser::last_of;

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::True => f.write_str("true"),
            Self::Not(denied) => {
                f.write_str("not ")?;
                part(f, denied)
            }
            Self::And(list) => parts(f, list, " and "),
            Self::Or(list) => parts(f, list, " or "),
            Self::Test(test) => test.fmt(f),
        }
    }
}

fn parts(f: &mut Formatter<'_>, list: &[Expression], between: &str) -> fmt::Result {
    for (index, one) in list.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        part(f, one)?;
    }
    Ok(())
}

/// What stands in something else has brackets where it has parts of its own.
fn part(f: &mut Formatter<'_>, expression: &Expression) -> fmt::Result {
    match expression {
        Expression::And(_) | Expression::Or(_) => write!(f, "({expression})"),
        _ => expression.fmt(f),
    }
}

/// `inner.` before what is asked of the packet within.
struct Prefix(Scope);

impl Display for Prefix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Scope::Outer => Ok(()),
            Scope::Inner => f.write_str("inner."),
        }
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Has(Scope::Outer, Layer::Carried) => f.write_str("inner"),
            Self::Has(scope, layer) => write!(f, "{}{layer}", Prefix(*scope)),
            Self::Number { scope, field, mask, ranges } => {
                write!(f, "{}{field}", Prefix(*scope))?;
                let last = last_of(field.bits());
                // A flag that is set needs no more words.
                if last == 1 && ranges.iter().eq([(1, 1)]) {
                    return Ok(());
                }
                numbers(f, last, *mask, ranges)
            }
            Self::Address { scope, field, set } => {
                write!(f, "{}{field} ", Prefix(*scope))?;
                let networks = networks(set);
                match &networks[..] {
                    [one] => write!(f, "== {one}"),
                    _ => write!(f, "in {{{}}}", networks.join(", ")),
                }
            }
            Self::Octets { scope, place, width, mask, ranges } => {
                write!(f, "{}payload", Prefix(*scope))?;
                slice(f, *place, *width as usize)?;
                let bits = match width {
                    Width::One => 8,
                    Width::Two => 16,
                    Width::Four => 32,
                };
                numbers(f, last_of(bits), *mask, ranges)
            }
            Self::Equal { scope, place, octets } => {
                write!(f, "{}payload[", Prefix(*scope))?;
                match place {
                    Place::Front(offset) => write!(f, "{offset}")?,
                    Place::Back(behind) => write!(f, "-{behind}")?,
                }
                write!(f, ":{}] == ", octets.len())?;
                // One octet without text would be a number.
                let is_text = octets.iter().all(|octet| (b' '..=b'~').contains(octet));
                if is_text || octets.len() == 1 { text(f, octets) } else { pairs(f, octets) }
            }
            Self::Contains { scope, octets, any_case } => {
                let verb = if *any_case { "icontains" } else { "contains" };
                write!(f, "{}payload {verb} ", Prefix(*scope))?;
                text(f, octets)
            }
            Self::Name { scope, names } => {
                write!(f, "{}dns.qry.name ", Prefix(*scope))?;
                query_names(f, names)
            }
            Self::Bytecode(program) => write!(f, "cbpf \"{program}\""),
            Self::Fingerprint(signature) => write!(f, "p0f \"{signature}\""),
            Self::Standing(Standing::Known) => f.write_str("known"),
            Self::Standing(Standing::Verified) => f.write_str("verified"),
            Self::Standing(Standing::Surging) => f.write_str("surging"),
        }
    }
}

fn slice(f: &mut Formatter<'_>, place: Place, length: usize) -> fmt::Result {
    match place {
        Place::Front(offset) => write!(f, "[{offset}")?,
        Place::Back(behind) => write!(f, "[-{behind}")?,
    }
    if length > 1 {
        write!(f, ":{length}")?;
    }
    f.write_char(']')
}

/// A comparison of a number of at most `last`, behind a mask.
fn numbers(f: &mut Formatter<'_>, last: u64, mask: u64, ranges: &Ranges) -> fmt::Result {
    if mask != last {
        write!(f, " & {mask:#x}")?;
    }
    let hexadecimal = mask != last;
    let number = |number: u64| match hexadecimal {
        true => format!("{number:#x}"),
        false => number.to_string(),
    };
    let mut iter = ranges.iter();
    match (iter.next(), iter.next()) {
        (Some((first, end)), None) if first == end => write!(f, " == {}", number(first)),
        (Some((0, end)), None) if end < mask => write!(f, " <= {}", number(end)),
        (Some((first, end)), None) if end == mask => write!(f, " >= {}", number(first)),
        _ => {
            let each = ranges.iter().map(|(first, end)| match first == end {
                true => number(first),
                false => format!("{}-{}", number(first), number(end)),
            });
            write!(f, " in {{{}}}", each.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Each network as its first address and the length of its prefix.
fn networks(set: &Prefixes) -> Vec<String> {
    let four = set.ipv4().iter().map(|&(first, last)| {
        let address = IpAddr::from(Ipv4Addr::from_bits(first));
        (address, (first ^ last).leading_zeros(), 32)
    });
    let six = set.ipv6().iter().map(|&(first, last)| {
        let address = IpAddr::from(Ipv6Addr::from_bits(first));
        (address, (first ^ last).leading_zeros(), 128)
    });
    let shown = four.chain(six).map(|(address, len, all)| match len == all {
        true => address.to_string(),
        false => format!("{address}/{len}"),
    });
    shown.collect()
}

fn text(f: &mut Formatter<'_>, octets: &[u8]) -> fmt::Result {
    f.write_char('"')?;
    for &octet in octets {
        match octet {
            b'"' | b'\\' => write!(f, "\\{}", char::from(octet))?,
            b' '..=b'~' => f.write_char(char::from(octet))?,
            _ => write!(f, "\\x{octet:02x}")?,
        }
    }
    f.write_char('"')
}

fn pairs(f: &mut Formatter<'_>, octets: &[u8]) -> fmt::Result {
    for (index, octet) in octets.iter().enumerate() {
        write!(f, "{}{octet:02x}", if index > 0 { ":" } else { "" })?;
    }
    Ok(())
}

fn query_names(f: &mut Formatter<'_>, names: &Names) -> fmt::Result {
    let exact = names.exact().iter().map(|name| (&b""[..], name));
    let all: Vec<_> = exact.chain(names.below().iter().map(|name| (&b"*."[..], name))).collect();
    f.write_str(if all.len() == 1 { "== " } else { "in {" })?;
    for (index, (lead, wire)) in all.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        text(f, &[lead, &dotted(wire)[..]].concat())?;
    }
    f.write_str(if all.len() == 1 { "" } else { "}" })
}

/// Labels between dots; the root is a dot.
fn dotted(wire: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((&length @ 1.., behind)) = rest.split_first() {
        let (label, next) = behind.split_at(usize::from(length).min(behind.len()));
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend_from_slice(label);
        rest = next;
    }
    if text.is_empty() { b".".to_vec() } else { text }
}
