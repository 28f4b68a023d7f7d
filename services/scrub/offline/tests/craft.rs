//! Packets and captures made for tests, by what protocols say of themselves.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_dataplane::pcap::{AnnotatedWriter, LINK_ETHERNET, Reader, Record};
use tidegate_dataplane::wire::{ethernet, ipv4, ipv6, protocol, tcp, udp};

use super::super::{Request, Summary, run};
use crate::scrub::load::{Origin, Rules};

/// The shipped rules.
pub(super) fn shipped() -> Rules {
    Rules::load(&Origin::Shipped).unwrap()
}

/// Numbers that look random and are the same each time.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        // Marsaglia, "Xorshift RNGs", 2003; the multiplication is of xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// A port from which clients ask.
    pub(super) fn port(&mut self) -> u16 {
        u16::try_from(32_768 + self.below(28_000)).unwrap()
    }

    /// An address that is nobody's special one.
    pub(super) fn address(&mut self) -> IpAddr {
        let first = 11 + u8::try_from(self.below(90)).unwrap();
        IpAddr::V4(Ipv4Addr::new(first, self.byte(), self.byte(), 1 + self.byte() % 250))
    }
}

/// A frame of Ethernet around a packet of IP.
pub(super) fn ip(source: IpAddr, destination: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let payload_octets = body.len().try_into().unwrap();
    let (ether_type, header) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = ipv4::Header {
                source,
                destination,
                protocol,
                payload_octets,
                ttl: 57,
                traffic_class: 0,
                id: 7,
            };
            (0x0800, header.emit().to_vec())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = ipv6::Header {
                source,
                destination,
                protocol,
                payload_octets,
                hop_limit: 57,
                traffic_class: 0,
            };
            (0x86dd, header.emit().to_vec())
        }
        _ => panic!("two kinds of address"),
    };
    let (from, to) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let link = ethernet::Header { destination: to, source: from, ether_type };
    [&link.emit()[..], &header, body].concat()
}

pub(super) type At = (IpAddr, u16);

/// A frame with a datagram of UDP.
pub(super) fn datagram(from: At, to: At, data: &[u8]) -> Vec<u8> {
    let payload_octets = data.len().try_into().unwrap();
    let header = udp::Header { source: from.1, destination: to.1, payload_octets, checksum: 0 };
    ip(from.0, to.0, protocol::UDP, &[&header.emit()[..], data].concat())
}

/// The frames of a datagram of UDP in parts of at most 1,480 octets.
pub(super) fn parts(from: At, to: At, data: &[u8], id: u16) -> Vec<Vec<u8>> {
    let whole = datagram(from, to, data);
    let body = &whole[34..];
    let count = body.len().div_ceil(1480);
    let part = |(index, part): (usize, &[u8])| {
        let mut frame = ip(from.0, to.0, protocol::UDP, part);
        let more = if index + 1 < count { 0x2000 } else { 0 };
        let field = more | u16::try_from(index * 1480 / 8).unwrap();
        frame[18..20].copy_from_slice(&id.to_be_bytes());
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        frame
    };
    body.chunks(1480).enumerate().map(part).collect()
}

/// A frame with a segment of TCP.
pub(super) fn segment(from: At, to: At, flags: u8, numbers: (u32, u32), data: &[u8]) -> Vec<u8> {
    let header = tcp::Header {
        source: from.1,
        destination: to.1,
        sequence: numbers.0,
        acknowledgment: numbers.1,
        flags: tcp::Flags(flags),
        window: 29_200,
        checksum: 0,
    };
    ip(from.0, to.0, protocol::TCP, &[&header.emit()[..], data].concat())
}

/// A frame with an ICMP message.
pub(super) fn icmp(source: IpAddr, destination: IpAddr, head: [u8; 8], data: &[u8]) -> Vec<u8> {
    ip(source, destination, protocol::ICMP, &[&head[..], data].concat())
}

/// Frames with times.
#[derive(Clone, Debug, Default)]
pub(super) struct Capture {
    pub(super) records: Vec<Record>,
    now_ns: u64,
}

impl Capture {
    pub(super) fn new() -> Self {
        Self { records: Vec::new(), now_ns: 1_700_000_000_000_000_000 }
    }

    /// Time goes by.
    pub(super) fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
    }

    /// A frame 100 us after the one before.
    pub(super) fn add(&mut self, frame: Vec<u8>) {
        self.now_ns += 100_000;
        let original_len = frame.len().try_into().unwrap();
        let (timestamp_ns, link_type) = (self.now_ns, LINK_ETHERNET);
        self.records.push(Record { timestamp_ns, bytes: frame, original_len, link_type });
    }
}

/// A directory of a test, gone with it.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-offline-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a capture.
    pub(super) fn write(&self, name: &str, records: &[Record]) -> PathBuf {
        let path = self.file(name);
        let mut writer =
            AnnotatedWriter::new(&path, std::fs::File::create(&path).unwrap()).unwrap();
        for record in records {
            writer.write(record, "").unwrap();
        }
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// All packets of a file.
pub(super) fn read(path: impl Into<PathBuf>) -> Vec<Record> {
    let path = path.into();
    Reader::open(&path).unwrap().map_while(Result::ok).collect()
}

/// Judges a file with the shipped presets. Every packet of it is in exactly one of the two files,
/// octet for octet and in order, or this fails.
#[track_caller]
pub(super) fn judge(read_from: PathBuf, engaged: bool) -> Summary {
    let place = Place::new();
    let (passed, dropped) = (place.file("passed.pcapng"), place.file("dropped.pcapng"));
    let request = Request { read: &read_from, passed: &passed, dropped: &dropped, engaged };
    let mut lines = Vec::new();
    let summary = run(&request, &shipped(), Some(&mut lines)).unwrap();
    let (all, passed, dropped) = (read(read_from), read(passed), read(dropped));
    assert_eq!(summary.packets, all.len() as u64);
    assert_eq!((summary.passed, summary.dropped), (passed.len() as u64, dropped.len() as u64));
    assert_eq!(summary.by().iter().map(|(_, packets)| packets).sum::<u64>(), summary.dropped);
    let (mut passed, mut dropped) = (passed.into_iter(), dropped.into_iter());
    let lines = String::from_utf8(lines).unwrap();
    let mut number = 0;
    for (record, line) in all.iter().zip(lines.lines()) {
        number += 1;
        let fate = line.strip_prefix(&format!("{number} ")).unwrap();
        let written = match fate.starts_with("passed: ") {
            true => passed.next(),
            false => dropped.next(),
        };
        assert_eq!(written.as_ref(), Some(record), "{line}");
    }
    assert_eq!((number, passed.next(), dropped.next()), (summary.packets, None, None));
    summary
}

/// Judges a made capture.
#[track_caller]
pub(super) fn judge_made(capture: &Capture, engaged: bool) -> Summary {
    let place = Place::new();
    judge(place.write("in.pcapng", &capture.records), engaged)
}
