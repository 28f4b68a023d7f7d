//! Captures that nobody here made: every packet has exactly one decision, and a
//! handful of rules tells floods from users.
//!
//! The expected numbers are those of another tool: 1,209 UDP fragments, 4,079
//! SNMP answers and no user's packet among them.

use std::path::{Path, PathBuf};

use tidegate_dataplane::pcap::Reader;

use super::facts::Standings;
use super::judge::{Fate, Judge, Reason};
use super::*;

/// The captures' directory, or `None` with a printed reason.
pub(in crate::scrub) fn corpus() -> Option<PathBuf> {
    let place = std::env::var_os("TIDEGATE_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let captures = place.join("pcap");
    if captures.is_dir() {
        return Some(captures);
    }
    skip(&format!("no captures at {}; TIDEGATE_CORPUS names another place", captures.display()));
    None
}

/// Says that a comparison with what others made is left out, and why. With `REQUIRE_CORPUS=1` that is
/// a failure.
pub(in crate::scrub) fn skip(why: &str) {
    let required = std::env::var_os("REQUIRE_CORPUS").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_CORPUS=1, but there is {why}");
    eprintln!("skipped: {why}");
}

/// What an operator might write against the floods of the corpus.
const RULES: &str = r#"
    rules = """
        dns_fragments: drop when ip.proto == 17 and ip.dst == 10.10.10.10 and ip.fragment
        dns_answers: drop when udp.srcport == 53 and ip.dst == 10.10.10.10 and ip.len >= 512
        snmp_answers: drop when udp.srcport == 161 and ip.dst == 10.10.10.10 and payload[0] == 0x30
        syn: limit 10 packets/s burst 20 per source when tcp.flags.syn and not tcp.flags.ack
    """
"#;

/// Decisions on one capture, by fate.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    reinjected: u64,
    malformed: u64,
    rule: u64,
    other: u64,
}

impl Counts {
    const fn total(&self) -> u64 {
        self.reinjected + self.malformed + self.rule + self.other
    }
}

/// Judges a capture in the order of its file, at a thousand packets a second; parts before their
/// first by themselves.
fn judged(file: &Path) -> (u64, Counts) {
    let options = tidegate_config::Options::from_text(RULES).unwrap().parse::<Options>().unwrap();
    let mut judge = Judge::new(options.rules().book(Key::fixed(1)), Key::fixed(1));
    let (mut packets, mut counts) = (0, Counts::default());
    for record in Reader::open(file).unwrap() {
        let (bytes, now_ns) = (record.unwrap().bytes, packets * 1_000_000);
        let mut fate = judge.judge(&bytes, bytes.len(), Standings::default(), now_ns).fate;
        if fate == Fate::Hold {
            fate = judge.judge_alone(&bytes, bytes.len(), Standings::default(), now_ns).fate;
        }
        packets += 1;
        *match fate {
            Fate::Pass => &mut counts.reinjected,
            Fate::Drop(Reason::Malformed) => &mut counts.malformed,
            Fate::Drop(Reason::Rule | Reason::Limit) => &mut counts.rule,
            _ => &mut counts.other,
        } += 1;
    }
    (packets, counts)
}

/// File, packets, and what becomes of them.
const CAPTURES: [(&str, u64, Counts); 11] = [
    // Each source of this flood sends one packet: a limit per source does not see it.
    ("attack/tcp-syn-flood-spoofed.pcap", 37_841, counts(37_841, 0, 0)),
    ("attack/udp-snmp-amplification.pcapng", 4_373, counts(294, 0, 4_079)),
    ("attack/udp-dns-rrsig-amplification-fragmented.pcap", 4_412, counts(3_203, 0, 1_209)),
    ("attack/tcp-syn-scan.pcap", 2_011, counts(57, 0, 1_954)),
    ("legit/quic.pcap", 518, counts(518, 0, 0)),
    ("legit/tls-curl.pcap", 109, counts(109, 0, 0)),
    ("legit/http-ipv6.pcap", 193, counts(193, 0, 0)),
    ("legit/snmp.pcap", 72, counts(72, 0, 0)),
    ("legit/dns-fragmented.pcap", 66, counts(66, 0, 0)),
    ("legit/gre.pcapng", 1, counts(1, 0, 0)),
    // Four parts begin within a TCP header (RFC 1858).
    (
        "odd/ip-fragmented-garbage.pcap",
        1_252,
        Counts { reinjected: 1_244, malformed: 4, rule: 0, other: 4 },
    ),
];

const fn counts(reinjected: u64, malformed: u64, rule: u64) -> Counts {
    Counts { reinjected, malformed, rule, other: 0 }
}

#[test]
fn every_captured_packet_has_exactly_one_decision() {
    let Some(captures) = corpus() else { return };
    for (file, packets, expected) in CAPTURES {
        let (judged, counts) = judged(&captures.join(file));
        assert_eq!(judged, packets, "{file}");
        assert_eq!(counts.total(), packets, "{file}: {counts:?}");
        assert_eq!(counts, expected, "{file}");
    }
}
