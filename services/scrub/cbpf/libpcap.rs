//! Against libpcap: what tcpdump prints as bytecode of an expression, and what it passes by that
//! expression, must be the same packets. Captured ones, and the same with damage and cut off.

use std::io::Write;
use std::process::{Command, Stdio};

use tidegate_dataplane::pcap::Reader;
use tidegate_dataplane::wire::ethernet::Ethernet;

use super::Program;
use crate::scrub::corpus::{self, skip};

/// Expressions of each kind that operators write, with and without jumps far ahead.
const EXPRESSIONS: [&str; 27] = [
    "ip",
    "ip6",
    "tcp",
    "udp port 53",
    "udp src port 161 and greater 500",
    "tcp dst portrange 1-1024",
    "not tcp and not udp",
    "src net 10.0.0.0/8",
    "dst host 10.10.10.10 and udp",
    "ip[6:2] & 0x1fff != 0",
    "ip[6] & 0x20 != 0 or ip[6:2] & 0x1fff > 0",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "tcp[tcpflags] == tcp-syn and tcp[14:2] == 0",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "udp[8:2] & 0x8000 != 0 and udp[4:2] > 100",
    "udp[8] == 0x30 and udp[9] & 0x80 != 0",
    "ip[8] < 64",
    "ip[2:2] - ((ip[0] & 0xf) << 2) > 100",
    "ip6[6] == 6 and ip6[40:2] > 1024",
    "ip6 and tcp port 443",
    "icmp or icmp6",
    "less 64",
    "len % 7 == 3",
    "(ip[4:2] ^ ip[10:2]) * 3 / 5 > 7000",
    "ip proto 47 or ip proto 4",
    "udp[1000:4] > 0",
    "host 2001:db8::1 or net 2a00::/16 or port 80 or port 443 or portrange 5000-6000",
];

fn tcpdump(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("tcpdump")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump was there a moment ago");
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        // It may end before it has read all of it.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("it ends")
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tcpdump {arguments:?}: {errors}");
    output.stdout
}

/// What is from the IP header on in a frame.
fn from_ip(frame: &[u8]) -> Option<Vec<u8>> {
    let ethernet = Ethernet::parse(frame).ok()?;
    let packet = frame.get(ethernet.header_octets()..)?.to_vec();
    matches!(packet.first()? >> 4, 4 | 6).then_some(packet)
}

/// Captured packets, each also with one octet changed, and cut off.
fn packets() -> Option<Vec<Vec<u8>>> {
    let captures = corpus::corpus()?;
    let mut packets = Vec::new();
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
        packets.extend(records.take(400).filter_map(|record| from_ip(&record.bytes)));
    }
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(random >> 40).unwrap() % below
    };
    for index in 0..packets.len() {
        let mut changed = packets[index].clone();
        // The version stays: without it, the link type does not say what it is.
        let at = 1 + next(changed.len().min(60) - 1);
        changed[at] = next(256).to_le_bytes()[0];
        let mut cut = packets[index].clone();
        cut.truncate(1 + next(cut.len().min(80)));
        packets.extend([changed, cut]);
    }
    Some(packets)
}

/// A capture of IP packets without a link layer (LINKTYPE_RAW); the seconds count them.
fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    for field in [0, 0, 262_144, 101] {
        file.extend(word(field));
    }
    for (index, packet) in packets.iter().enumerate() {
        for field in [index, 0, packet.len(), packet.len()] {
            file.extend(word(field));
        }
        file.extend(packet);
    }
    file
}

#[test]
fn the_same_packets_pass_as_by_libpcaps_own_filter() {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        return skip("no tcpdump");
    }
    let Some(packets) = packets() else { return };
    let file = capture(&packets);
    let mut verdicts = [0_usize; 2];
    for expression in EXPRESSIONS {
        let text = tcpdump(&["-ddd", "-y", "RAW", expression], &[]);
        let program: Program = std::str::from_utf8(&text).unwrap().parse().unwrap();
        let passed = tcpdump(&["-r", "-", "-w", "-", "-n", expression], &file);
        let mut passed = Reader::new("tcpdump", &passed[..])
            .unwrap()
            .map(|record| usize::try_from(record.unwrap().timestamp_ns / 1_000_000_000).unwrap())
            .peekable();
        for (index, packet) in packets.iter().enumerate() {
            let theirs = passed.next_if_eq(&index).is_some();
            let ours = program.run(packet) != 0;
            assert_eq!(ours, theirs, "{expression}: packet {index}: {packet:02x?}");
            verdicts[usize::from(ours)] += 1;
        }
        assert!(passed.next().is_none(), "{expression}");
    }
    assert!(verdicts[0] > 10_000 && verdicts[1] > 10_000, "{verdicts:?}");
}
