//! Random rules and packets, judged twice: by the house, and by a slow reader
//! of the same descriptions that shares no code with it.
//!
//! The rules go through their TOML text and the packets through their octets,
//! so that what is compared is the whole way. `SEED=n` repeats one run.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;

use super::samples::{Kind, Part, Sample};
use super::*;

/// `SplitMix64` (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).unwrap()
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    /// A small world, so that rules and packets meet.
    fn address(&mut self, v4: bool) -> IpAddr {
        let host = self.below(16);
        if v4 {
            IpAddr::V4((0xc612_0000 + host).into())
        } else {
            IpAddr::V6((DOC + u128::from(host)).into())
        }
    }

    /// A port, mostly one of a few, with both ends.
    fn port(&mut self) -> u16 {
        [0, 1, 2, 3, 53, 65_533, 65_534, 65_535][self.below(8) as usize]
    }
}

const DOC: u128 = 0x2001_0db8 << 96;

/// A rule as a person would keep it.
#[derive(Default)]
struct Plain {
    source: Option<(IpAddr, u8)>,
    destination: Option<(IpAddr, u8)>,
    protocol: Option<&'static str>,
    source_ports: Option<(u16, u16)>,
    destination_ports: Option<(u16, u16)>,
    flags: Vec<(&'static str, u8, bool)>,
    length: Option<(usize, usize)>,
    payload: Option<(usize, Vec<u8>)>,
    fragment: Option<bool>,
    action: What,
}

#[derive(Clone, Copy, Default)]
enum What {
    #[default]
    Drop,
    Pass,
    Limit(u32, u32),
}

impl Plain {
    fn random(random: &mut Random) -> Self {
        let mut rule = Self::default();
        let v4 = random.one_in(2);
        let prefix = |random: &mut Random| {
            let address = random.address(v4);
            let (bits, host) = (if v4 { 32 } else { 128 }, random.below(5));
            Some((clear(address, host), u8::try_from(bits - host).unwrap()))
        };
        if random.one_in(3) {
            rule.source = prefix(random);
        }
        if random.one_in(3) {
            rule.destination = prefix(random);
        }
        let ports = |random: &mut Random| {
            let (one, other) = (random.port(), random.port());
            Some((one.min(other), one.max(other)))
        };
        match random.below(6) {
            0 => rule.protocol = Some("icmp"),
            1 => rule.protocol = Some("47"),
            2 => {
                rule.protocol = [None, Some("udp"), Some("tcp")][random.below(3) as usize];
                rule.source_ports = ports(random);
            }
            3 => {
                rule.protocol = [None, Some("udp"), Some("17")][random.below(3) as usize];
                rule.destination_ports = ports(random);
            }
            4 => {
                rule.protocol = [None, Some("tcp"), Some("6")][random.below(3) as usize];
                for (bit, name) in ["fin", "syn", "rst", "psh", "ack"].into_iter().enumerate() {
                    if random.one_in(3) || (bit == 4 && rule.flags.is_empty()) {
                        rule.flags.push((name, 1 << bit, random.one_in(2)));
                    }
                }
            }
            _ => {}
        }
        if random.one_in(5) {
            let (one, other) = (20 + random.below(60) as usize, 20 + random.below(60) as usize);
            rule.length = Some((one.min(other), one.max(other)));
        }
        if random.one_in(5) {
            let octets = (0..=random.below(2)).map(|_| u8::from(random.one_in(2))).collect();
            rule.payload = Some((random.below(4) as usize, octets));
        }
        if random.one_in(6) {
            rule.fragment = Some(random.one_in(2));
        }
        rule.action = match random.below(3) {
            0 => What::Drop,
            1 => What::Pass,
            _ => What::Limit(1 + random.below(1000), 1 + random.below(4)),
        };
        rule
    }

    fn text(&self, index: usize) -> String {
        let mut text = format!("[[rules]]\nname = \"r{index}\"\n");
        let mut line = |key: &str, value: String| writeln!(text, "{key} = {value}").unwrap();
        for (key, prefix) in [("source", self.source), ("destination", self.destination)] {
            if let Some((address, bits)) = prefix {
                line(key, format!("\"{address}/{bits}\""));
            }
        }
        if let Some(protocol) = self.protocol {
            line("protocol", format!("\"{protocol}\""));
        }
        let ports = [self.source_ports, self.destination_ports];
        for (key, ports) in ["source_ports", "destination_ports"].into_iter().zip(ports) {
            if let Some((first, last)) = ports {
                line(key, format!("\"{first}-{last}\""));
            }
        }
        if !self.flags.is_empty() {
            let word = |(name, _, set): &(&str, u8, bool)| {
                if *set { (*name).into() } else { format!("!{name}") }
            };
            line(
                "flags",
                format!("\"{}\"", self.flags.iter().map(word).collect::<Vec<_>>().join(",")),
            );
        }
        if let Some((first, last)) = self.length {
            line("length", format!("\"{first}-{last}\""));
        }
        if let Some((offset, octets)) = &self.payload {
            let octets: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            line("payload", format!("{{ offset = {offset}, octets = \"{octets}\" }}"));
        }
        if let Some(fragment) = self.fragment {
            line("fragment", fragment.to_string());
        }
        line(
            "action",
            match self.action {
                What::Drop => "\"drop\"".into(),
                What::Pass => "\"pass\"".into(),
                What::Limit(rate, burst) => {
                    format!(
                        "{{ limit = {{ packets_per_second = {rate}, burst = {burst}, sources = 4096 }} }}"
                    )
                }
            },
        );
        text
    }

    fn matches(&self, sample: &Sample) -> bool {
        let within = |prefix: Option<(IpAddr, u8)>, address: IpAddr| {
            let Some((network, bits)) = prefix else { return true };
            let host = if network.is_ipv4() { 32 } else { 128 } - u32::from(bits);
            network.is_ipv4() == address.is_ipv4() && clear(address, host) == network
        };
        let later = sample.part == Part::Later;
        let (ports, flags) = match sample.kind {
            _ if later => (None, None),
            Kind::Udp { source, destination } => (Some((source, destination)), None),
            Kind::Tcp { source, destination, flags } => (Some((source, destination)), Some(flags)),
            Kind::Icmp | Kind::Other(_) => (None, None),
        };
        let asked = |range: Option<(u16, u16)>, port: Option<u16>| {
            range
                .is_none_or(|(first, last)| port.is_some_and(|port| (first..=last).contains(&port)))
        };
        within(self.source, sample.source)
            && within(self.destination, sample.destination)
            && self.protocol.is_none_or(|word| match word {
                "udp" | "17" => matches!(sample.kind, Kind::Udp { .. }),
                "tcp" | "6" => matches!(sample.kind, Kind::Tcp { .. }),
                "icmp" => matches!(sample.kind, Kind::Icmp),
                number => matches!(sample.kind, Kind::Other(n) if n.to_string() == number),
            })
            && asked(self.source_ports, ports.map(|(source, _)| source))
            && asked(self.destination_ports, ports.map(|(_, destination)| destination))
            && self.flags.iter().all(|(_, bit, set)| flags.is_some_and(|f| (f & bit != 0) == *set))
            && self.length.is_none_or(|(first, last)| (first..=last).contains(&sample.length()))
            && self.payload.as_ref().is_none_or(|(offset, octets)| {
                let frame = sample.frame();
                let payload = &frame[frame.len() - payload_octets(sample)..];
                !later && payload.iter().skip(*offset).take(octets.len()).eq(octets.iter())
            })
            && self.fragment.is_none_or(|fragment| fragment == (sample.part != Part::Whole))
    }
}

/// Octets behind the header above IP, with the zeros that fill up a first part.
fn payload_octets(sample: &Sample) -> usize {
    let ip = match (sample.source, sample.part) {
        (IpAddr::V4(_), _) => 20,
        (IpAddr::V6(_), Part::Whole) => 40,
        (IpAddr::V6(_), _) => 48,
    };
    sample.length()
        - ip
        - match sample.kind {
            Kind::Udp { .. } | Kind::Icmp => 8,
            Kind::Tcp { .. } => 20,
            Kind::Other(_) => 0,
        }
        .min(sample.length() - ip)
}

/// `address` with its last `bits` cleared.
fn clear(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() >> bits << bits).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> bits << bits).into()),
    }
}

fn packet(random: &mut Random) -> Sample {
    let v4 = random.one_in(2);
    let (source, destination) = (random.port(), random.port());
    Sample {
        source: random.address(v4),
        destination: random.address(v4),
        kind: match random.below(6) {
            0 | 1 => Kind::Udp { source, destination },
            2 | 3 => {
                Kind::Tcp { source, destination, flags: u8::try_from(random.below(32)).unwrap() }
            }
            4 => Kind::Icmp,
            _ => Kind::Other(47),
        },
        part: [Part::Whole, Part::Whole, Part::First, Part::Later][random.below(4) as usize],
        payload: (0..random.below(8)).map(|_| u8::from(random.one_in(2))).collect(),
    }
}

/// Tokens in billionths and the time they were counted, by rule and source.
type Buckets = HashMap<(usize, IpAddr), (u128, u64)>;

fn slow_judge(rules: &[Plain], buckets: &mut Buckets, sample: &Sample, now_ns: u64) -> Decision {
    let Some(index) = rules.iter().position(|rule| rule.matches(sample)) else {
        return Decision { rule: None, fate: Fate::Drop(Reason::Default) };
    };
    let passes = match rules[index].action {
        What::Drop => false,
        What::Pass => true,
        What::Limit(rate, burst) => {
            let token = 1_000_000_000;
            let full = u128::from(burst) * token;
            let (tokens, then) = buckets.entry((index, sample.source)).or_insert((full, now_ns));
            *tokens = (*tokens + u128::from(now_ns - *then) * u128::from(rate)).min(full);
            *then = now_ns;
            let passes = *tokens >= token;
            *tokens -= if passes { token } else { 0 };
            passes
        }
    };
    let fate = if passes { Fate::Reinject } else { Fate::Drop(Reason::Rule) };
    Decision { rule: Some(u8::try_from(index).unwrap()), fate }
}

#[test]
fn agrees_with_the_slow_reader_on_random_rules_and_packets() {
    let seed =
        std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().expect("SEED is a number"));
    for seed in seed.map_or(0..150, |seed| seed..seed + 1) {
        let random = &mut Random(seed);
        let rules: Vec<Plain> = (0..random.below(9)).map(|_| Plain::random(random)).collect();
        let text: Vec<String> = rules.iter().enumerate().map(|(i, rule)| rule.text(i)).collect();
        let text = format!("default = \"drop\"\n{}", text.concat());
        let options = tidegate_config::Options::from_text(&text).unwrap().parse::<Options>();
        let options = options.unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
        let mut state = State::new(&options, Key::fixed(seed));
        let (mut buckets, mut now_ns, mut met) = (Buckets::new(), 0, 0);
        for step in 0..400 {
            now_ns += u64::from(random.below(2_000_000));
            let sample = packet(random);
            let expected = slow_judge(&rules, &mut buckets, &sample, now_ns);
            let got = judge(&mut state, &sample.frame(), now_ns);
            assert_eq!(got, expected, "SEED={seed} step {step}: {sample:?} by\n{text}");
            met += u32::from(got.rule.is_some());
        }
        assert!(met > 0 || rules.len() < 4, "SEED={seed}: rules and packets never met\n{text}");
        assert_eq!(state.takeovers(), 0, "SEED={seed}");
    }
}
