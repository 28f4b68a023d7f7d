//! Rules as operators write them, packets as bytes, decisions.

use super::samples::{Kind, Part, Sample};
use super::*;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn options(text: &str) -> Result<Options, tidegate_config::ConfigError> {
    tidegate_config::Options::from_text(text)?.parse()
}

fn state(text: &str) -> State {
    State::new(&options(text).unwrap_or_else(|error| panic!("{error}\n{text}")), Key::fixed(1))
}

/// What a scrubber decides whose only rule has `conditions` and drops.
fn is_dropped(conditions: &str, frame: &[u8]) -> bool {
    let text = format!("[[rules]]\nname = \"it\"\naction = \"drop\"\n{conditions}");
    match judge(&mut state(&text), frame, 0) {
        Decision { rule: Some(0), fate: Fate::Drop(Reason::Rule) } => true,
        Decision { rule: None, fate: Fate::Reinject } => false,
        other => panic!("{other:?} of {text}"),
    }
}

/// Rules with nothing but a name and an action, in this order.
fn plain(rules: &[(&str, &str)]) -> String {
    let rule = |(name, rest): &(&str, &str)| format!("[[rules]]\nname = \"{name}\"\n{rest}\n");
    rules.iter().map(rule).collect()
}

#[test]
fn each_condition_matches_what_it_says_and_nothing_beside() {
    let ntp = Sample::udp(&[0x17, 0, 3, 0x2a, 0, 0]);
    let syn = Sample::tcp_v6(SYN);
    let ping = Sample { kind: Kind::Icmp, ..Sample::udp(b"") };
    let ping_v6 = Sample { kind: Kind::Icmp, ..Sample::tcp_v6(0) };
    let gre = Sample { kind: Kind::Other(47), ..Sample::udp(b"") };
    let first = Sample { part: Part::First, ..ntp.clone() };
    let later = Sample { part: Part::Later, ..ntp.clone() };
    let none: [&Sample; 0] = [];
    let all = [&ntp, &syn, &ping, &ping_v6, &gre, &first, &later];
    let cases: &[(&str, &[&Sample])] = &[
        ("", &all),
        ("source = \"198.18.0.0/24\"", &[&ntp, &ping, &gre, &first, &later]),
        ("source = \"198.18.0.1\"", &[&ntp, &ping, &gre, &first, &later]),
        ("source = \"198.18.0.0\"", &none),
        ("source = \"0.0.0.0/0\"", &[&ntp, &ping, &gre, &first, &later]),
        ("source = \"::/0\"", &[&syn, &ping_v6]),
        // The digits of 198.18.0.1 in an IPv6 address are another address.
        ("source = \"::198.18.0.1\"", &none),
        ("destination = \"2001:db8:0:1::/64\"", &[&syn, &ping_v6]),
        ("destination = \"2001:db8:0:2::/63\"", &none),
        ("protocol = \"udp\"", &[&ntp, &first, &later]),
        ("protocol = \"tcp\"", &[&syn]),
        ("protocol = \"icmp\"", &[&ping, &ping_v6]),
        ("protocol = 47", &[&gre]),
        ("protocol = 1", &[&ping]),
        ("source_ports = 123", &[&ntp, &first]),
        ("source_ports = \"124-65535\"", &[&syn]),
        ("destination_ports = \"443-40000\"", &[&ntp, &syn, &first]),
        ("destination_ports = \"444-39999\"", &none),
        ("destination_ports = \"0-65535\"", &[&ntp, &syn, &first]),
        ("flags = \"syn,!ack\"", &[&syn]),
        ("flags = \"syn,ack\"", &none),
        ("flags = \"!rst\"", &[&syn]),
        ("length = 34", &[&ntp]),
        ("length = \"0-28\"", &[&ping, &gre, &later]),
        ("length = \"48-60\"", &[&ping_v6, &syn]),
        ("payload = { octets = \"17 00 03 2a\" }", &[&ntp, &first]),
        ("payload = { offset = 3, octets = \"2a\" }", &[&ntp, &first]),
        ("payload = { offset = 5, octets = \"00 00\" }", &[&first]),
        ("payload = { offset = 65535, octets = \"00\" }", &none),
        ("fragment = true", &[&first, &later]),
        ("fragment = false", &[&ntp, &syn, &ping, &ping_v6, &gre]),
        ("fragment = true\nprotocol = \"udp\"\nsource = \"198.18.0.0/15\"", &[&first, &later]),
        ("fragment = true\nsource_ports = 123", &[&first]),
    ];
    for (conditions, expected) in cases {
        for (index, sample) in all.iter().enumerate() {
            let should = expected.iter().any(|one| std::ptr::eq(*one, *sample));
            assert_eq!(is_dropped(conditions, &sample.frame()), should, "{conditions} on {index}");
        }
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = plain(&[
        ("no", "protocol = \"tcp\"\naction = \"drop\""),
        ("good", "source = \"198.18.0.1\"\naction = \"pass\""),
        ("bad", "action = \"drop\""),
    ]);
    let mut state = state(&rules);
    let known = Sample::udp(b"");
    let other = Sample { source: [198, 18, 0, 9].into(), ..known.clone() };
    let tcp = Sample { kind: Kind::Tcp { source: 1, destination: 2, flags: 0 }, ..known.clone() };
    let mut decide = |sample: &Sample| judge(&mut state, &sample.frame(), 0);
    assert_eq!(decide(&known), Decision { rule: Some(1), fate: Fate::Reinject });
    assert_eq!(decide(&other), Decision { rule: Some(2), fate: Fate::Drop(Reason::Rule) });
    assert_eq!(decide(&tcp), Decision { rule: Some(0), fate: Fate::Drop(Reason::Rule) });
}

#[test]
fn what_no_rule_matches_has_the_default() {
    let frame = Sample::udp(b"").frame();
    let decide = |text: &str| judge(&mut state(text), &frame, 0);
    assert_eq!(decide(""), Decision { rule: None, fate: Fate::Reinject });
    assert_eq!(decide("default = \"pass\""), Decision { rule: None, fate: Fate::Reinject });
    let dropped = Decision { rule: None, fate: Fate::Drop(Reason::Default) };
    assert_eq!(decide("default = \"drop\""), dropped);
}

#[test]
fn a_limit_holds_each_source_to_its_rate() {
    let limit = "action = { limit = { packets_per_second = 10, burst = 3, sources = 64 } }";
    let mut state = state(&plain(&[("limited", limit)]));
    let one = Sample::udp(b"").frame();
    let other = Sample { source: [198, 18, 0, 9].into(), ..Sample::udp(b"") }.frame();
    let mut passed = |frame: &[u8], now_ns| {
        let mut decide = |_: &u32| judge(&mut state, frame, now_ns);
        (0..5).filter(|index| decide(index).fate == Fate::Reinject).count()
    };
    assert_eq!(passed(&one, 0), 3);
    assert_eq!(passed(&other, 0), 3);
    assert_eq!(passed(&one, 99_999_999), 0);
    assert_eq!(passed(&one, 100_000_000), 1);
    assert_eq!(passed(&one, 3_600_000_000_000), 3, "an hour of silence is one burst");
}

#[test]
fn a_limit_drops_under_the_name_of_its_rule_or_of_the_full_table() {
    let limit = "action = { limit = { packets_per_second = 1, burst = 1, sources = 1 } }";
    let mut state = state(&plain(&[("limited", limit)]));
    let mut decide = |last: u8| {
        let sample = Sample { source: [198, 18, 1, last].into(), ..Sample::udp(b"") };
        judge(&mut state, &sample.frame(), 0)
    };
    // One group of 8 buckets.
    for source in 0..8 {
        assert_eq!(decide(source), Decision { rule: Some(0), fate: Fate::Reinject });
    }
    assert_eq!(decide(7), Decision { rule: Some(0), fate: Fate::Drop(Reason::Rule) });
    assert_eq!(decide(8), Decision { rule: Some(0), fate: Fate::Drop(Reason::TableFull) });
    assert_eq!(state.takeovers(), 0);
}

#[test]
fn malformed_at_every_prefix_whatever_the_rules_say() {
    let mut state = state(&plain(&[("all", "action = \"pass\"")]));
    let malformed = Decision { rule: None, fate: Fate::Drop(Reason::Malformed) };
    for sample in [Sample::udp(b"payload"), Sample::tcp_v6(ACK)] {
        let frame = sample.frame();
        for end in 0..frame.len() {
            assert_eq!(judge(&mut state, &frame[..end], 0), malformed, "{end} octets");
        }
        assert_eq!(judge(&mut state, &frame, 0).fate, Fate::Reinject);
    }
}

#[test]
fn a_frame_that_is_not_ip_meets_only_rules_without_conditions() {
    let mut arp = Sample::udp(b"").frame();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert!(is_dropped("", &arp));
    for conditions in ["protocol = 0", "length = \"0-65575\"", "fragment = false"] {
        assert!(!is_dropped(conditions, &arp), "{conditions}");
    }
}

#[test]
fn padding_is_neither_length_nor_payload() {
    let mut frame = Sample::udp(b"\x01").frame();
    frame.resize(60, 0xa5);
    assert!(is_dropped("length = 29", &frame));
    assert!(!is_dropped("payload = { octets = \"01 a5\" }", &frame));
}

#[test]
fn a_rule_may_not_have_a_name_that_counts_something_else() {
    for taken in ["malformed", "default", "table_full", "takeovers", "tx_full", "rule_two"] {
        let error = options(&plain(&[("two", "action = \"drop\""), (taken, "action = \"drop\"")]));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("rules[1] \"{taken}\", a name that something")), "{error}");
    }
}

#[test]
fn mistakes_are_named_with_their_rule_and_what_is_allowed() {
    let rule = |rest: &str| format!("[[rules]]\nname = \"one\"\n{rest}\naction = \"drop\"\n");
    let limit = |rest: &str| plain(&[("one", &format!("action = {{ limit = {{ {rest} }} }}"))]);
    let many: String = (0..49).map(|i| plain(&[(&format!("r{i}"), "action = \"drop\"")])).collect();
    for (text, key, found, allowed) in [
        (
            rule("flags = \"syn,akc\""),
            "options.rules[0].flags",
            "\"syn,akc\"",
            "TCP flags that must be set, or with ! must not, such as \"syn,!ack\"; \
             they are fin, syn, rst, psh, ack, urg, ece, cwr",
        ),
        (
            rule("source = \"198.18.0.1/15\""),
            "options.rules[0].source",
            "\"198.18.0.1/15\", which has bits set behind the prefix",
            "the network \"198.18.0.0/15\" or the address \"198.18.0.1/32\"",
        ),
        (
            rule("") + &rule("flag = \"syn\""),
            "options.rules[1].flag",
            "the unknown key \"flag\"; did you mean \"flags\"?",
            "name, source, destination, protocol, source_ports, destination_ports, flags, \
             length, payload, fragment, action",
        ),
        (
            rule("protocol = \"udp\"\nflags = \"syn\""),
            "options.rules[0]",
            "flags of another protocol",
            "protocol = \"tcp\" beside flags",
        ),
        (
            rule("protocol = \"icmp\"\nsource_ports = 1"),
            "options.rules[0]",
            "ports of another protocol",
            "protocol = \"udp\" or \"tcp\" beside ports",
        ),
        (
            rule("source = \"::/0\"\ndestination = \"0.0.0.0/0\""),
            "options.rules[0]",
            "source ::/0 and destination 0.0.0.0/0",
            "two addresses of the same kind of IP",
        ),
        (
            rule("") + &rule(""),
            "options",
            "rules[1] \"one\", the name of rules[0] too",
            "a name of its own for each rule",
        ),
        (
            plain(&[("malformed", "action = \"drop\"")]),
            "options",
            "rules[0] \"malformed\", a name that something else is counted under",
            "another name",
        ),
        (
            plain(&[("tx_full", "action = \"drop\"")]),
            "options",
            "rules[0] \"tx_full\", a name that something else is counted under",
            "another name",
        ),
        (many, "options", "49 rules", "at most 48 rules"),
        (
            limit("packets_per_second = 0, burst = 1"),
            "options.rules[0].action.limit.packets_per_second",
            "the integer 0",
            "a nonzero u32",
        ),
        (
            limit("packets_per_second = 1, burst = 1, sources = 0"),
            "options.rules[0]",
            "sources = 0",
            "1 to 4194304 sources",
        ),
        (
            limit("packets_per_second = 1"),
            "options.rules[0].action.limit.burst",
            "nothing; the key is required",
            "a value for it",
        ),
        (
            plain(&[("one", "action = \"dorp\"")]),
            "options.rules[0].action",
            "\"dorp\"; did you mean \"drop\"?",
            "drop, pass, limit",
        ),
        ("default = \"accept\"".into(), "options.default", "\"accept\"", "drop, pass"),
    ] {
        let error = options(&text).unwrap_err().to_string();
        for part in [
            &format!("error: {key}\n"),
            &format!("found: {found}\n"),
            &format!("allowed: {allowed}\n"),
        ] {
            assert!((error.clone() + "\n").contains(part), "no {part:?} in\n{error}");
        }
    }
}
