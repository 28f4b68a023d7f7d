//! Conditions that no packet can meet: mistakes, and not rules that happen to match nothing.
//!
//! Found are headers that exclude each other, numbers with nothing in common, addresses likewise,
//! and what later fragments do not have. Not everything that is impossible is found; everything that
//! is found is impossible.

use std::collections::BTreeMap;

use super::expression::{Expression, Prefixes, Ranges, Test};
use super::field::{AddressField, Layer, NumberField, Scope};
use super::parser::last_of;

/// Combinations that are tried at most for one condition. A condition with more is let pass.
const TRIES_MAX: usize = 10_000;

/// Prefixes of two sets at most that are held against each other.
const PREFIXES_MAX: usize = 4096;

/// Why no packet meets `expression`, if none does.
pub(super) fn of(expression: &Expression) -> Option<String> {
    let mut tries = TRIES_MAX;
    impossible(&Known::default(), expression, &mut tries)
}

/// What must be true of a packet that has come so far.
#[derive(Clone, Default)]
struct Known<'e> {
    numbers: BTreeMap<(Scope, NumberField, u64), (Ranges, String)>,
    addresses: Vec<(Scope, AddressField, &'e Prefixes)>,
    layers: Vec<(Scope, Layer)>,
    absent: Vec<(Scope, Layer)>,
}

/// Why `expression` cannot hold of a packet of which all of `known` does.
fn impossible<'e>(
    known: &Known<'e>,
    expression: &'e Expression,
    tries: &mut usize,
) -> Option<String> {
    *tries = tries.checked_sub(1)?;
    match expression {
        Expression::True => None,
        Expression::Not(denied) if **denied == Expression::True => Some("it is `false`".into()),
        Expression::Test(_) | Expression::Not(_) => known.clone().learn(expression),
        Expression::And(list) => {
            let mut known = known.clone();
            let mut choices = Vec::new();
            if let Some(why) = known.learn_all(list, &mut choices, tries) {
                return Some(why);
            }
            choices.into_iter().find_map(|choice| impossible(&known, choice, tries))
        }
        Expression::Or(list) => {
            let mut first = None;
            for one in list {
                let why = impossible(known, one, tries)?;
                first.get_or_insert(why);
            }
            first
        }
    }
}

impl<'e> Known<'e> {
    /// Learns what is not a choice of `list`, and of what is within; puts aside what is.
    fn learn_all(
        &mut self,
        list: &'e [Expression],
        choices: &mut Vec<&'e Expression>,
        tries: &mut usize,
    ) -> Option<String> {
        for one in list {
            *tries = tries.checked_sub(1)?;
            let why = match one {
                Expression::And(within) => self.learn_all(within, choices, tries),
                Expression::Or(_) => {
                    choices.push(one);
                    None
                }
                _ => self.learn(one),
            };
            if why.is_some() {
                return why;
            }
        }
        None
    }

    /// Why it contradicts what is known.
    fn learn(&mut self, expression: &'e Expression) -> Option<String> {
        match expression {
            Expression::Test(test) => self.test(test),
            Expression::Not(denied) => match &**denied {
                Expression::True => Some("it is `false`".into()),
                Expression::Test(Test::Has(scope, layer)) => self.lacks(*scope, *layer),
                _ => None,
            },
            _ => None,
        }
    }

    fn test(&mut self, test: &'e Test) -> Option<String> {
        match test {
            Test::Has(scope, layer) => self.has(*scope, *layer),
            Test::Number { scope, field, mask, ranges } => {
                let why = field.layer().and_then(|layer| self.has(*scope, layer));
                let first = is_in_first_part(*field).then(|| self.is_first(*scope)).flatten();
                let shown = format!("`{}`", Expression::Test(test.clone()));
                why.or(first).or_else(|| self.number(*scope, *field, *mask, ranges, shown))
            }
            Test::Address { scope, field, set } => {
                let family = match (set.ipv4().is_empty(), set.ipv6().is_empty()) {
                    (false, true) => Layer::Ipv4,
                    (true, false) => Layer::Ipv6,
                    _ => Layer::Ip,
                };
                self.has(*scope, family).or_else(|| self.address(*scope, *field, set))
            }
            Test::Octets { scope, .. }
            | Test::Equal { scope, .. }
            | Test::Contains { scope, .. } => {
                self.has(*scope, Layer::Ip).or_else(|| self.is_first(*scope))
            }
            Test::Name { scope, .. } => self.has(*scope, Layer::Dns),
            Test::Fingerprint(_) => self.has(Scope::Outer, Layer::Tcp),
            Test::Bytecode(_) | Test::Standing(_) => None,
        }
    }

    /// `shown` is what says so.
    fn number(
        &mut self,
        scope: Scope,
        field: NumberField,
        mask: u64,
        ranges: &Ranges,
        shown: String,
    ) -> Option<String> {
        let key = (scope, common(field), mask);
        if let Some((before, why)) = self.numbers.get_mut(&key) {
            let both = before.intersection(ranges);
            if both.is_empty() {
                return Some(format!("{why} and {shown} are never true together"));
            }
            *before = both;
            return None;
        }
        self.numbers.insert(key, (ranges.clone(), shown));
        None
    }

    /// What follows of a header or a field being there.
    fn follows(
        &mut self,
        scope: Scope,
        field: NumberField,
        number: u64,
        why: impl FnOnce() -> String,
    ) -> Option<String> {
        let ranges = Ranges::new([(number, number)]);
        self.number(scope, field, last_of(field.bits()), &ranges, why())
    }

    /// What has a transport header or a payload is not a later fragment.
    fn is_first(&mut self, scope: Scope) -> Option<String> {
        let why =
            || "what only the first part of a datagram has (ports, flags, payload)".to_owned();
        self.follows(scope, NumberField::IpFragmentOffset, 0, why)
    }

    fn address(&mut self, scope: Scope, field: AddressField, set: &'e Prefixes) -> Option<String> {
        let size = |set: &Prefixes| set.ipv4().len() + set.ipv6().len();
        let others = self.addresses.iter().filter(|other| (other.0, other.1) == (scope, field));
        for (_, _, other) in others {
            if size(other) + size(set) <= PREFIXES_MAX
                && !meet(other.ipv4(), set.ipv4())
                && !meet(other.ipv6(), set.ipv6())
            {
                return Some(format!("{field} has two sets with no address in common"));
            }
        }
        self.addresses.push((scope, field, set));
        None
    }

    fn lacks(&mut self, scope: Scope, layer: Layer) -> Option<String> {
        self.absent.push((scope, layer));
        self.layers.contains(&(scope, layer)).then(|| never(scope, layer, "not there"))
    }

    fn has(&mut self, scope: Scope, layer: Layer) -> Option<String> {
        if self.layers.contains(&(scope, layer)) {
            return None;
        }
        if self.absent.contains(&(scope, layer)) {
            return Some(never(scope, layer, "not there"));
        }
        if let Some((_, other)) = self
            .layers
            .iter()
            .find(|&&(in_scope, other)| in_scope == scope && excludes(layer, other))
        {
            let text = |layer| Expression::Test(Test::Has(scope, layer)).to_string();
            return Some(format!("{} and {} are never in one packet", text(*other), text(layer)));
        }
        self.layers.push((scope, layer));
        let beneath = beneath(layer).iter().find_map(|&layer| self.has(scope, layer));
        let text = || format!("`{}`", Expression::Test(Test::Has(scope, layer)));
        let protocol = protocol(layer)
            .and_then(|number| self.follows(scope, NumberField::IpProtocol, number, text));
        let version = match layer {
            Layer::Ipv4 => Some(4),
            Layer::Ipv6 => Some(6),
            _ => None,
        };
        let version =
            version.and_then(|number| self.follows(scope, NumberField::IpVersion, number, text));
        let first = is_transport(layer).then(|| self.is_first(scope)).flatten();
        let inner = (scope == Scope::Inner).then(|| self.has(Scope::Outer, Layer::Carried));
        beneath.or(protocol).or(version).or(first).or(inner.flatten())
    }
}

fn never(scope: Scope, layer: Layer, what: &str) -> String {
    let layer = Expression::Test(Test::Has(scope, layer));
    format!("{layer} is asked for, and is {what}")
}

/// Ports of TCP or UDP are also ports.
const fn common(field: NumberField) -> NumberField {
    match field {
        NumberField::TcpSourcePort | NumberField::UdpSourcePort => NumberField::SourcePort,
        NumberField::TcpDestinationPort | NumberField::UdpDestinationPort => {
            NumberField::DestinationPort
        }
        _ => field,
    }
}

/// Whether later fragments do not have it, of what is not of one transport alone.
const fn is_in_first_part(field: NumberField) -> bool {
    matches!(
        field,
        NumberField::SourcePort | NumberField::DestinationPort | NumberField::PayloadLength
    )
}

/// Headers of which a packet has one at most.
const fn excludes(one: Layer, other: Layer) -> bool {
    const fn group(layer: Layer) -> u8 {
        match layer {
            Layer::Ipv4 | Layer::Ipv6 => 1,
            Layer::Tcp | Layer::Udp | Layer::Icmp | Layer::Icmpv6 | Layer::Gre => 2,
            _ => 0,
        }
    }
    group(one) != 0 && group(one) == group(other) && one as u8 != other as u8
}

/// Headers that are there when this one is.
const fn beneath(layer: Layer) -> &'static [Layer] {
    match layer {
        Layer::Icmp | Layer::IpOptions => &[Layer::Ipv4],
        Layer::Icmpv6
        | Layer::HopByHop
        | Layer::Routing
        | Layer::DestinationOptions
        | Layer::FragmentHeader => &[Layer::Ipv6],
        Layer::Vxlan => &[Layer::Udp],
        Layer::Ipv4
        | Layer::Ipv6
        | Layer::Tcp
        | Layer::Udp
        | Layer::Gre
        | Layer::Dns
        | Layer::Authentication => &[Layer::Ip],
        Layer::Vlan | Layer::Ip | Layer::Carried => &[],
    }
}

/// The protocol number above IP that a header has.
const fn protocol(layer: Layer) -> Option<u64> {
    match layer {
        Layer::Icmp => Some(1),
        Layer::Tcp => Some(6),
        Layer::Udp => Some(17),
        Layer::Gre => Some(47),
        Layer::Icmpv6 => Some(58),
        _ => None,
    }
}

/// Whether later fragments do not show it.
const fn is_transport(layer: Layer) -> bool {
    matches!(
        layer,
        Layer::Tcp
            | Layer::Udp
            | Layer::Icmp
            | Layer::Icmpv6
            | Layer::Gre
            | Layer::Vxlan
            | Layer::Dns
    )
}

/// Whether two lists of disjoint networks have an address in common.
fn meet<T: Ord + Copy>(left: &[(T, T)], right: &[(T, T)]) -> bool {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        if a.0.max(b.0) <= a.1.min(b.1) {
            return true;
        }
        if a.1 < b.1 {
            left.next()
        } else {
            right.next()
        };
    }
    false
}
