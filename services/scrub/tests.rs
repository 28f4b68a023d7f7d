//! Rules as operators write them, packets as bytes, decisions.

use super::facts::Standings;
use super::judge::{Fate, Judge, Judgement, Reason};
use super::samples::{Kind, Part, Sample};
use super::*;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn options(text: &str) -> Result<Options, tidegate_config::ConfigError> {
    tidegate_config::Options::from_text(text)?.parse()
}

fn judge(rules: &str) -> Judge {
    let text = format!("rules = '''\n{rules}\n'''");
    let options = options(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Judge::new(options.rules().book(Key::fixed(1)), Key::fixed(1))
}

/// The decision on a frame, later parts of datagrams by themselves.
fn decide(judge: &mut Judge, frame: &[u8], now_ns: u64) -> (Fate, Option<u32>) {
    let mut decision = judge.judge(frame, frame.len(), Standings::default(), now_ns);
    if decision.fate == Fate::Hold {
        decision = judge.judge_alone(frame, frame.len(), Standings::default(), now_ns);
    }
    let Judgement { fate, rule, .. } = decision;
    (fate, rule)
}

/// What a scrubber decides whose only rule drops `when` this holds.
fn is_dropped(when: &str, frame: &[u8]) -> bool {
    match decide(&mut judge(&format!("it: drop when {when}")), frame, 0) {
        (Fate::Drop(Reason::Rule), Some(0)) => true,
        (Fate::Pass, None) => false,
        other => panic!("{other:?} of {when}"),
    }
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
        ("ip", &all),
        ("ip.src in { 198.18.0.0/24 }", &[&ntp, &ping, &gre, &first, &later]),
        ("ip.src == 198.18.0.1", &[&ntp, &ping, &gre, &first, &later]),
        ("ip.src == 198.18.0.0", &none),
        ("ip.src in { 0.0.0.0/0 }", &[&ntp, &ping, &gre, &first, &later]),
        ("ip.src in { ::/0 }", &[&syn, &ping_v6]),
        // The digits of 198.18.0.1 in an IPv6 address are another address.
        ("ip.src == ::198.18.0.1", &none),
        ("ip.dst in { 2001:db8:0:1::/64 }", &[&syn, &ping_v6]),
        ("ip.dst in { 2001:db8:0:2::/63 }", &none),
        ("ip.proto == 17", &[&ntp, &first, &later]),
        ("tcp", &[&syn]),
        ("icmp or icmpv6", &[&ping, &ping_v6]),
        ("ip.proto == 47", &[&gre]),
        ("ip.proto == 1", &[&ping]),
        ("srcport == 123", &[&ntp, &first]),
        ("srcport in { 124-65535 }", &[&syn]),
        ("dstport in { 443-40000 }", &[&ntp, &syn, &first]),
        ("dstport in { 444-39999 }", &none),
        ("tcp.flags.syn and not tcp.flags.ack", &[&syn]),
        ("tcp.flags.syn and tcp.flags.ack", &none),
        ("tcp and not tcp.flags.reset", &[&syn]),
        ("ip.len == 34", &[&ntp]),
        ("ip.len <= 28", &[&ping, &gre, &later]),
        ("ip.len in { 48-60 }", &[&ping_v6, &syn]),
        ("payload[0:4] == 17:00:03:2a", &[&ntp, &first]),
        ("payload[3] == 0x2a", &[&ntp, &first]),
        ("payload[5:2] == 00:00", &[&first]),
        ("ip.fragment", &[&first, &later]),
        ("not ip.fragment", &[&ntp, &syn, &ping, &ping_v6, &gre]),
        ("ip.fragment and ip.proto == 17 and ip.src in { 198.18.0.0/15 }", &[&first, &later]),
        ("ip.fragment and udp.srcport == 123", &[&first]),
    ];
    for (when, expected) in cases {
        for (index, sample) in all.iter().enumerate() {
            let should = expected.iter().any(|one| std::ptr::eq(*one, *sample));
            assert_eq!(is_dropped(when, &sample.frame()), should, "{when} on {index}");
        }
    }
}

#[test]
fn a_limit_holds_each_source_to_its_rate() {
    let mut judge = judge("limited: limit 10 packets/s burst 3 per source of 64 when ip");
    let one = Sample::udp(b"").frame();
    let other = Sample { source: [198, 18, 0, 9].into(), ..Sample::udp(b"") }.frame();
    let mut passed = |frame: &[u8], now_ns| {
        let mut decide = |_: &u32| decide(&mut judge, frame, now_ns);
        (0..5).filter(|index| decide(index).0 == Fate::Pass).count()
    };
    assert_eq!(passed(&one, 0), 3);
    assert_eq!(passed(&other, 0), 3);
    assert_eq!(passed(&one, 99_999_999), 0);
    assert_eq!(passed(&one, 100_000_000), 1);
    assert_eq!(passed(&one, 3_600_000_000_000), 3, "an hour of silence is one burst");
}

#[test]
fn malformed_at_every_prefix_whatever_the_rules_say() {
    let mut judge = judge("all: pass when ip");
    for sample in [Sample::udp(b"payload"), Sample::tcp_v6(ACK)] {
        let frame = sample.frame();
        for end in 0..frame.len() {
            let malformed = (Fate::Drop(Reason::Malformed), None);
            assert_eq!(decide(&mut judge, &frame[..end], 0), malformed, "{end} octets");
        }
        assert_eq!(decide(&mut judge, &frame, 0).0, Fate::Pass);
    }
}

#[test]
fn a_frame_that_is_not_ip_meets_only_rules_of_frames() {
    let mut arp = Sample::udp(b"").frame();
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert!(is_dropped("eth.type == 0x806", &arp) && is_dropped("not ip", &arp));
    for when in ["ip.proto == 0", "ip.len <= 65575", "ip.fragment == 0"] {
        assert!(!is_dropped(when, &arp), "{when}");
    }
}

#[test]
fn padding_is_neither_length_nor_payload() {
    let mut frame = Sample::udp(b"\x01").frame();
    frame.resize(60, 0xa5);
    assert!(is_dropped("ip.len == 29", &frame));
    assert!(!is_dropped("payload[0:2] == 01:a5", &frame));
}

#[test]
fn mistakes_are_shown_with_key_line_column_and_remedy() {
    let said = |text: &str| options(text).unwrap_err().to_string();
    let error = said("rules = '''\none: drop when udp\ntwo: dorp when udp\n'''");
    for part in ["error: options.rules\n", "rules:2:6: error", "two: dorp when udp", "     ^^^^"] {
        assert!(error.contains(part), "no {part:?} in\n{error}");
    }
    let error = said("rules = 7");
    assert!(error.contains("allowed: rules in a string, one a line"), "{error}");
    let error = said("rules = ''\nrules_file = '/dev/null'");
    assert!(error.contains("found: rules and rules_file"), "{error}");
    let error = said("rules_file = '/nowhere/a.rules'");
    let cause = "/nowhere/a.rules, which cannot be read: No such file or directory";
    assert!(error.contains(cause) && error.contains("error: options.rules_file"), "{error}");
    let error = said("rule = ''");
    assert!(error.contains("did you mean \"rules\"?"), "{error}");
}

#[test]
fn a_verdict_for_the_program_needs_a_protected_destination() {
    const RULE: &str = "rules = 'bad: drop for 10s per source when udp'";
    let said = |selectors: &str, protect: &str| {
        let text = format!(
            "[[interface]]\nname = 'eth1'\n[[service]]\nname = 'shield'\nkind = 'scrub'\n\
             {selectors}\n[service.options]\n{RULE}\n{protect}"
        );
        let config = tidegate_config::Config::parse("shield.toml", &text).unwrap();
        crate::registry::Registry::stock().check(&config).map_err(|error| error.to_string())
    };
    let error = said("selectors = [{ destination = '198.18.0.1' }]", "").unwrap_err();
    for part in ["shield.toml:", "rule bad says `for`", "[[service.options.protect]]"] {
        assert!(error.contains(part), "no {part:?} in\n{error}");
    }
    let protect = "[[service.options.protect]]\ndestination = '198.18.0.1'";
    assert_eq!(said("", protect), Ok(()));
}

#[test]
fn rules_may_be_in_a_file_of_their_own_with_sets_beside_it() {
    let folder = std::env::temp_dir().join(format!("tidegate-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (rules, bad) = (folder.join("shield.rules"), folder.join("bad.txt"));
    std::fs::write(&rules, "set bad = file \"bad.txt\"\nbad: drop when ip.src in $bad\n").unwrap();
    std::fs::write(&bad, "198.18.0.0/24\n").unwrap();
    let text = format!("rules_file = '{}'", rules.display());
    let good = options(&text).unwrap();
    let mut judge = Judge::new(good.rules().book(Key::fixed(1)), Key::fixed(1));
    let dropped = (Fate::Drop(Reason::Rule), Some(0));
    assert_eq!(decide(&mut judge, &Sample::udp(b"").frame(), 0), dropped);
    std::fs::write(&rules, "bad: drop when\n").unwrap();
    let error = options(&text).unwrap_err().to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(error.contains("shield.rules:1:"), "{error}");
}
