//! Captures that nobody here made: every packet is read or refused with a reason, and every one is
//! counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Fragment, Malformed, Packet};
use crate::pcap::Reader;

/// How many packets are refused by which reason.
type Refusals = &'static [(&'static str, usize)];

/// File, packets as the corpus says, and how many of them are refused.
const CAPTURES: [(&str, usize, Refusals); 11] = [
    ("attack/tcp-syn-flood-spoofed.pcap", 37_841, &[]),
    ("attack/udp-snmp-amplification.pcapng", 4_373, &[]),
    ("attack/udp-dns-rrsig-amplification-fragmented.pcap", 4_412, &[]),
    ("attack/tcp-syn-scan.pcap", 2_011, &[]),
    ("legit/quic.pcap", 518, &[]),
    ("legit/tls-curl.pcap", 109, &[]),
    ("legit/http-ipv6.pcap", 193, &[]),
    ("legit/snmp.pcap", 72, &[]),
    ("legit/dns-fragmented.pcap", 66, &[]),
    ("legit/gre.pcapng", 1, &[]),
    // Four first fragments with eight octets where a TCP header should be.
    ("odd/ip-fragmented-garbage.pcap", 1_252, &[("truncated", 4)]),
];

/// The captures' directory, or `None` with a printed reason.
fn corpus() -> Option<PathBuf> {
    let place = std::env::var_os("TIDEGATE_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let captures = place.join("pcap");
    if captures.is_dir() {
        return Some(captures);
    }
    let required = std::env::var_os("REQUIRE_CORPUS").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_CORPUS=1, but {} is not there", captures.display());
    eprintln!(
        "skipped: no captures at {}; TIDEGATE_CORPUS names another place",
        captures.display()
    );
    None
}

#[test]
fn every_captured_packet_is_read_or_refused_with_a_reason() {
    let Some(captures) = corpus() else { return };
    for (file, packets, refusals) in CAPTURES {
        let mut count = 0;
        let mut refused = BTreeMap::<&str, usize>::new();
        for record in Reader::open(captures.join(file)).unwrap() {
            let record = record.unwrap();
            count += 1;
            if let Err(refusal) = Packet::parse(&record.bytes) {
                *refused.entry(refusal.name()).or_default() += 1;
            }
        }
        assert_eq!(count, packets, "{file}");
        assert_eq!(refused, refusals.iter().copied().collect(), "{file}");
    }
}

#[test]
fn fragments_are_told_apart_as_other_tools_tell_them() {
    let Some(captures) = corpus() else { return };
    let file = "attack/udp-dns-rrsig-amplification-fragmented.pcap";
    let (mut whole, mut first, mut later) = (0, 0, 0);
    for record in Reader::open(captures.join(file)).unwrap() {
        match Packet::parse(&record.unwrap().bytes).map(|packet| packet.fragment()) {
            Ok(Fragment::Whole) => whole += 1,
            Ok(Fragment::First { .. }) => first += 1,
            Ok(Fragment::Later { .. }) => later += 1,
            Err(Malformed::NotIp { .. }) => panic!("only IP in {file}"),
            Err(_) => {}
        }
    }
    // As tshark 4.0.17 counts `ip.flags.mf==1 && ip.frag_offset==0` and `ip.frag_offset>0`.
    assert_eq!((whole, first, later), (3203, 483, 726));
}
