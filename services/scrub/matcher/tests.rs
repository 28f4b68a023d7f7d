//! The matcher against the oracle: the same rule for each packet, and from each rule on.

use std::fmt::Write;
use std::sync::Arc;

use tidegate_config::Prefix;
use tidegate_dataplane::pcap::Reader;

use super::*;
use crate::scrub::corpus;
use crate::scrub::facts::{Standings, testing};
use crate::scrub::rules::expression::{Expression, Place, Prefixes, Ranges, Test, Width};
use crate::scrub::rules::field::{AddressField, Layer, NumberField, Scope, Standing};
use crate::scrub::rules::rule::{Fallback, Rule};
use crate::scrub::rules::{self, oracle};

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % limit
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn octet(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }
}

/// What rules are made of: values that packets have, so that tests hold now and then.
struct Material {
    frames: Vec<Vec<u8>>,
    sets: Vec<Arc<Prefixes>>,
    names: Vec<Test>,
}

/// Names that messages ask for, others, and what is above them.
const NAMES: [&str; 9] = [
    "\"www.example.com\"",
    "\"WWW.EXAMPLE.COM\"",
    "\"*.com\"",
    "\"*.example.com\"",
    "\"*.www.example.com\"",
    "{\"example.com\", \"*.org\", \"www.example.com\"}",
    "{\"a.com\", \"*.b.com\"}",
    "{\"*.com\", \"*.example.com\"}",
    "{\"com\", \"*.ripe.net\", \"*.net\", \"*.gov\"}",
];

fn names() -> Vec<Test> {
    let text: String = NAMES
        .iter()
        .enumerate()
        .map(|(number, names)| format!("n{number}: drop when dns.qry.name in {names}\n"))
        .collect();
    let text = text.replace("in \"", "== \"");
    let set = rules::read(&text, "names", &mut |_| unreachable!("no files"), &[]).unwrap();
    let tests = set.rules.into_iter().map(|rule| match rule.when {
        Expression::Test(test) => test,
        other => panic!("{other:?} is no test of a name"),
    });
    tests.collect()
}

fn facts(frame: &[u8], standing: usize) -> Option<Facts<'_>> {
    let [known, verified, surging] = [1, 2, 4].map(|bit| standing & bit != 0);
    let standing = Standings { known, verified, surging };
    Facts::of(frame, frame.len(), standing).ok()
}

/// Of each capture some packets, frames made here, and all of them with damage.
fn frames(random: &mut Random) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    if let Some(captures) = corpus::corpus() {
        for file in [
            "attack/tcp-syn-flood-spoofed.pcap",
            "attack/udp-snmp-amplification.pcapng",
            "attack/udp-dns-rrsig-amplification-fragmented.pcap",
            "attack/tcp-syn-scan.pcap",
            "legit/quic.pcap",
            "legit/tls-curl.pcap",
            "legit/http-ipv6.pcap",
            "legit/snmp.pcap",
            "legit/dns-fragmented.pcap",
            "legit/gre.pcapng",
            "odd/ip-fragmented-garbage.pcap",
        ] {
            let records = Reader::open(captures.join(file)).unwrap().map(Result::unwrap);
            frames.extend(records.take(12).map(|record| record.bytes));
        }
    }
    let dns = |kind| testing::message([1, 0], b"\x03www\x07Example\x03com\x00", kind);
    let inner = testing::v4(17, &testing::datagram(53, 4000, &dns(1)));
    let tunnel = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &testing::udp_v4(1, 2, b"xyz")].concat();
    frames.extend([
        testing::udp_v4(40_000, 53, &dns(255)),
        testing::udp_v4(53, 40_000, &dns(16)),
        testing::udp_v4(123, 40_000, &[0x17, 0, 3, 0x2a, 1, 2, 3]),
        testing::udp_v4(4000, 4789, &tunnel),
        testing::tcp_v4(40_000, 80, 2),
        testing::tcp_v4(80, 40_000, 0x12),
        testing::frame(0x0800, &testing::v4(4, &inner)),
        testing::frame(0x0800, &testing::v4(1, &[8, 0, 0, 0, 0, 0, 0, 0])),
        testing::frame(0x86dd, &testing::v6(58, &[128, 0, 0, 0, 0, 0, 0, 0])),
        testing::frame(0x86dd, &testing::v6(17, &testing::datagram(53, 53, &dns(28)))),
        testing::frame(0x86dd, &testing::v6(47, &[&[0, 0, 8, 0][..], &inner].concat())),
        testing::frame(0x0806, &[0; 28]),
        testing::tagged(&testing::tcp_v4(1, 2, 0x10), 0x2007),
    ]);
    for index in 0..frames.len() {
        let mut damaged = frames[index].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(damaged.len().min(80));
            damaged[at] = random.octet();
        }
        frames.push(damaged);
    }
    frames
}

impl Material {
    fn new(random: &mut Random) -> Self {
        let frames = frames(random);
        let mut sets = Vec::new();
        for _ in 0..12 {
            let prefixes = (0..random.one_of(&[0, 1, 1, 2, 5, 40])).map(|_| {
                let address = loop {
                    let frame = &frames[random.below(frames.len())];
                    let facts = facts(frame, 0);
                    let field = random.one_of(AddressField::ALL);
                    let found = facts.and_then(|facts| facts.address(Scope::Outer, field));
                    if let Some(found) = found {
                        break found;
                    }
                };
                let bits = if address.is_ipv4() { 33 } else { 129 };
                let length = if random.below(3) == 0 { random.below(bits) } else { bits - 1 };
                prefix(address, length)
            });
            sets.push(Arc::new(Prefixes::new(prefixes.collect::<Vec<_>>())));
        }
        Self { frames, sets, names: names() }
    }

    /// A number that some packet has in the field, or another one.
    fn number(&self, random: &mut Random, scope: Scope, field: NumberField) -> u64 {
        for _ in 0..10 {
            let frame = &self.frames[random.below(self.frames.len())];
            if let Some(found) = facts(frame, 0).and_then(|facts| facts.number(scope, field)) {
                return found;
            }
        }
        random.below(1 << field.bits().min(16)) as u64
    }

    fn test(&self, random: &mut Random) -> Test {
        let scope = random.one_of(&[Scope::Outer, Scope::Outer, Scope::Outer, Scope::Inner]);
        match random.below(16) {
            0 | 1 => Test::Has(scope, random.one_of(Layer::ALL)),
            2..=7 => {
                let field = random.one_of(NumberField::ALL);
                let mask = random.one_of(&[u64::MAX, u64::MAX, u64::MAX, 0xff, 0x12, 0xf0, 1]);
                let count = random.one_of(&[0, 1, 1, 1, 1, 2, 5]);
                let ranges = (0..count).map(|_| {
                    let number = self.number(random, scope, field) & mask;
                    match random.below(4) {
                        0 => (number, number.saturating_add(random.below(1000) as u64)),
                        1 => (number, u64::MAX),
                        2 => (0, number),
                        _ => (number, number),
                    }
                });
                Test::Number { scope, field, mask, ranges: Ranges::new(ranges.collect::<Vec<_>>()) }
            }
            8 | 9 => {
                let set = Arc::clone(&self.sets[random.below(self.sets.len())]);
                Test::Address { scope, field: random.one_of(AddressField::ALL), set }
            }
            10 | 11 => {
                let (width, octets) =
                    random.one_of(&[(Width::One, 1), (Width::Two, 2), (Width::Four, 4)]);
                let place = self.place(random);
                let frame = &self.frames[random.below(self.frames.len())];
                let found = facts(frame, 0)
                    .and_then(|facts| facts.octets(scope, place, octets).map(<[u8]>::to_vec));
                let number =
                    found.unwrap_or_default().iter().fold(0, |n, &o| n << 8 | u64::from(o));
                let mask = random.one_of(&[u64::MAX, u64::MAX, 0x0f, 0xffff_0000]);
                let first = number & mask;
                let last = if random.below(2) == 0 { first } else { first + 1000 };
                Test::Octets { scope, place, width, mask, ranges: Ranges::new([(first, last)]) }
            }
            12 => {
                let place = self.place(random);
                let count = 1 + random.below(7);
                let frame = &self.frames[random.below(self.frames.len())];
                let found = facts(frame, 0)
                    .and_then(|facts| facts.octets(scope, place, count).map(<[u8]>::to_vec));
                Test::Equal { scope, place, octets: found.unwrap_or_else(|| vec![1; count]).into() }
            }
            13 => {
                let frame = &self.frames[random.below(self.frames.len())];
                let payload = facts(frame, 0).map(|facts| facts.payload(scope).to_vec());
                let payload = payload.filter(|octets| octets.len() > 8);
                let mut octets = payload.unwrap_or_else(|| b"exAmPlecom".to_vec());
                let at = random.below(octets.len() - 4);
                octets = octets[at..at + 1 + random.below(4)].to_vec();
                Test::Contains { scope, octets: octets.into(), any_case: random.below(2) == 0 }
            }
            14 => match random.below(4) {
                3 => self.names[random.below(self.names.len())].clone(),
                0 => Test::Standing(random.one_of(&[
                    Standing::Known,
                    Standing::Verified,
                    Standing::Surging,
                ])),
                1 => {
                    let text = random.one_of(&[
                        "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0",
                        "4,48 0 0 8,53 0 1 64,6 0 0 1,6 0 0 0",
                    ]);
                    Test::Bytecode(Arc::new(text.parse().unwrap()))
                }
                _ => {
                    let text = random.one_of(&[
                        "*:64:0:*:*,*:mss:*:0",
                        "*:255-:*:*:*,*::*:*",
                        "*:128-:*:*:*,*:mss,nop,ws,sok,ts:*:*",
                    ]);
                    Test::Fingerprint(Arc::new(text.parse().unwrap()))
                }
            },
            // Sets of one rule are met by others, too.
            _ => Test::Number {
                scope: Scope::Outer,
                field: random.one_of(&[
                    NumberField::SourcePort,
                    NumberField::UdpDestinationPort,
                    NumberField::TcpFlags,
                    NumberField::TcpSyn,
                    NumberField::IpTtl,
                ]),
                mask: u64::MAX,
                ranges: Ranges::new([random.one_of(&[
                    (1, 1),
                    (53, 53),
                    (2, 2),
                    (64, 64),
                    (0, 80),
                ])]),
            },
        }
    }

    fn place(&self, random: &mut Random) -> Place {
        let at = u16::try_from(random.below(12)).unwrap();
        if random.below(4) == 0 { Place::Back(at + 1) } else { Place::Front(at) }
    }

    fn expression(&self, random: &mut Random, depth: u32) -> Expression {
        let many = |random: &mut Random| {
            (0..2 + random.below(3)).map(|_| self.expression(random, depth - 1)).collect()
        };
        match random.below(if depth == 0 { 5 } else { 14 }) {
            0 if random.below(20) == 0 => Expression::True,
            0..=4 => Expression::Test(self.test(random)),
            5..=7 => Expression::Not(Box::new(self.expression(random, depth - 1))),
            8..=11 => Expression::And(many(random)),
            _ => Expression::Or(many(random)),
        }
    }

    fn rules(&self, random: &mut Random, count: usize) -> RuleSet {
        let rules = (0..count).map(|number| {
            let depth = random.one_of(&[0, 1, 1, 2, 3]);
            let action = match random.below(4) {
                0 => Action::Pass,
                1 => Action::Sample(std::num::NonZeroU32::MIN),
                _ => Action::Drop,
            };
            rule(number, action, random.below(8) == 0, self.expression(random, depth))
        });
        RuleSet { rules: rules.collect(), default: Fallback::Pass }
    }
}

fn prefix(address: std::net::IpAddr, length: usize) -> Prefix {
    let masked = match address {
        std::net::IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::try_from(length).unwrap()).unwrap_or(0);
            std::net::IpAddr::from(std::net::Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        std::net::IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::try_from(length).unwrap()).unwrap_or(0);
            std::net::IpAddr::from(std::net::Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    };
    format!("{masked}/{length}").parse().unwrap()
}

pub(super) fn rule(number: usize, action: Action, dry_run: bool, when: Expression) -> Rule {
    Rule {
        name: format!("r{number}").into(),
        action,
        dry_run,
        promote: None,
        when,
        text: "".into(),
        line: u32::try_from(number).unwrap() + 1,
    }
}

/// Asks both for every packet, from the first rule and from others on.
fn compare(random: &mut Random, set: &RuleSet, frames: &[Vec<u8>], every: bool) -> [usize; 2] {
    let matcher = Matcher::compile(set).unwrap();
    let mut met = [0; 2];
    for frame in frames {
        let Some(facts) = facts(frame, random.below(4)) else { continue };
        let mut from = 0;
        loop {
            let expected = oracle::first(set, &facts, from);
            let found = matcher.first(&facts, u32::try_from(from).unwrap());
            if found.map(|rule| rule as usize) != expected {
                let mut text = String::new();
                for rule in [expected, found.map(|rule| rule as usize)].into_iter().flatten() {
                    write!(text, "\n{rule}: {:?}", set.rules[rule].when).unwrap();
                }
                panic!("from {from}: {found:?} instead of {expected:?} of {frame:02x?}{text}");
            }
            met[usize::from(expected.is_some())] += 1;
            from = match expected {
                _ if every && from < set.rules.len() => from + 1,
                Some(rule) if !every => rule + 1,
                _ => break,
            };
        }
    }
    met
}

fn seeds(name: &str, default: u64) -> std::ops::Range<u64> {
    let number = |key: &str| std::env::var(key).ok().map(|text| text.parse::<u64>().expect(key));
    let first = number("SEED").unwrap_or(1);
    let seeds = first..first + number(name).unwrap_or(default);
    eprintln!("SEED={first}, {} of them ({name})", seeds.end - seeds.start);
    seeds
}

#[test]
fn the_first_rule_is_that_of_the_oracle() {
    let mut met = [0; 2];
    for seed in seeds("MATCHER_SEEDS", 60) {
        let mut random = Random::new(seed);
        let material = Material::new(&mut random);
        let count = random.one_of(&[1, 3, 8, 20, 60]);
        let set = material.rules(&mut random, count);
        eprintln!("seed {seed}: {count} rules");
        let these = compare(&mut random, &set, &material.frames, true);
        met = [met[0] + these[0], met[1] + these[1]];
    }
    assert!(met[0] > 1000 && met[1] > 1000, "{met:?}");
}

#[test]
fn of_many_rules_each_is_found() {
    for seed in seeds("MATCHER_MANY_SEEDS", 3) {
        let mut random = Random::new(seed + 1000);
        let material = Material::new(&mut random);
        let set = material.rules(&mut random, 700);
        compare(&mut random, &set, &material.frames, false);
    }
}

fn test_of_source(prefixes: impl IntoIterator<Item = String>) -> Expression {
    let set = Prefixes::new(prefixes.into_iter().map(|text| text.parse().unwrap()));
    let field = AddressField::Source;
    Expression::Test(Test::Address { scope: Scope::Outer, field, set: Arc::new(set) })
}

fn set_of(conditions: impl IntoIterator<Item = Expression>) -> RuleSet {
    let rules = conditions.into_iter().enumerate();
    let rules = rules.map(|(number, when)| rule(number, Action::Drop, false, when));
    RuleSet { rules: rules.collect(), default: Fallback::Pass }
}

#[test]
fn large_sets_are_looked_up_as_small_ones() {
    let mut random = Random::new(7);
    // Spread over all addresses, and crowded in a few networks.
    let mut prefixes = |count: usize, base: u32, span: usize| -> Vec<String> {
        (0..count)
            .map(|_| {
                let bits = u32::try_from(20 + random.below(13)).unwrap();
                let address = base.wrapping_add(u32::try_from(random.below(span)).unwrap());
                format!("{}/{bits}", std::net::Ipv4Addr::from(address & u32::MAX << (32 - bits)))
            })
            .collect()
    };
    let sets = [prefixes(30_000, 0, 1 << 32), prefixes(30_000, 0xc612_0000, 1 << 17)];
    let known = [&sets[0], &sets[1]].map(|set| set.clone());
    let set = set_of(sets.into_iter().map(test_of_source));
    let matcher = Matcher::compile(&set).unwrap();
    let mut met = [0; 3];
    for number in 0..4_000 {
        let mut frame = testing::tcp_v4(1, 2, 2);
        let address = match number % 3 {
            0 => u32::try_from(random.below(1 << 32)).unwrap(),
            1 => 0xc612_0000 + u32::try_from(random.below(1 << 17)).unwrap(),
            _ => {
                let text = &known[number % 2][random.below(30_000)];
                let first: std::net::Ipv4Addr = text.split_once('/').unwrap().0.parse().unwrap();
                first.to_bits().wrapping_sub(u32::try_from(random.below(2)).unwrap())
            }
        };
        frame[26..30].copy_from_slice(&address.to_be_bytes());
        let facts = facts(&frame, 0).unwrap();
        let expected = oracle::first(&set, &facts, 0);
        assert_eq!(matcher.first(&facts, 0).map(|rule| rule as usize), expected, "{address:#x}");
        met[expected.unwrap_or(2)] += 1;
    }
    assert!(met.iter().all(|&count| count > 200), "{met:?}");
}

#[test]
fn too_many_rules_and_too_many_ways_of_overlapping_are_refused_with_the_remedy() {
    let set = set_of((0..=RULES_MAX).map(|_| Expression::True));
    let refusal = Matcher::compile(&set).unwrap_err().to_string();
    assert!(refusal.contains("65537 rules: at most 65536"), "{refusal}");
    assert!(refusal.contains("put addresses and ports into sets"), "{refusal}");
    // Each of these sets is half of all addresses, and one address of its own in the other half.
    let set = set_of((0..6_000_u32).map(|number| {
        let (half, own) = if number % 2 == 0 { (0_u32, 1 << 31) } else { (1 << 31, 0) };
        let address = |bits: u32| std::net::Ipv4Addr::from(bits);
        test_of_source([
            format!("{}/1", address(half)),
            format!("{}/32", address(own | number << 8)),
        ])
    }));
    let refusal = Matcher::compile(&set).unwrap_err().to_string();
    assert!(refusal.contains("6000 sets of prefixes overlap in too many ways; join"), "{refusal}");
}

#[test]
fn many_rules_alike_are_told_apart_by_what_differs() {
    let text: String = (0..1500)
        .map(|number| {
            let name = format!("r{number}");
            match number % 3 {
                0 => format!(
                    "{name}: drop when udp.dstport == 53 and dns.qry.name == \"*.z{number}.com\"\n"
                ),
                1 => format!("{name}: drop when ip.len > {number} and udp.srcport == {number}\n"),
                _ => format!("{name}: drop when udp and payload[2:2] == {number} and ip.ttl > 3\n"),
            }
        })
        .collect();
    let set = rules::read(&text, "many", &mut |_| unreachable!("no files"), &[]).unwrap();
    let matcher = Matcher::compile(&set).unwrap();
    let reference = matcher.roots[Kind::V4Udp as usize];
    assert_ne!(reference & NODE, 0, "looked up, not a list");
    let rest = matcher.nodes[(reference & !NODE) as usize].rest as usize;
    assert_eq!(matcher.candidates[rest].rule, END, "nothing is tried one by one");
    let question = |name: &str| {
        let labels = name
            .split('.')
            .map(|label| [&[label.len().to_le_bytes()[0]], label.as_bytes()].concat());
        testing::message([1, 0], &[labels.collect::<Vec<_>>().concat(), vec![0]].concat(), 1)
    };
    for (frame, expected) in [
        (testing::udp_v4(9000, 53, &question("www.Z300.com")), Some(300)),
        (testing::udp_v4(9000, 53, &question("z300.com")), None),
        (testing::udp_v4(1, 9000, &[0; 1000]), Some(1)),
        (testing::udp_v4(1000, 9000, &[0; 1000]), Some(1000)),
        (testing::udp_v4(1000, 9000, &[0; 900]), None),
        (testing::udp_v4(9000, 9000, &[0, 0, 1, 1]), Some(257)),
    ] {
        let facts = facts(&frame, 0).unwrap();
        assert_eq!(matcher.first(&facts, 0), expected, "{frame:02x?}");
        assert_eq!(oracle::first(&set, &facts, 0), expected.map(|rule| rule as usize));
    }
}
