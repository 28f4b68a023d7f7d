//! Captured floods, made the lab's: from its sources, to its near end.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::lab::Wire;
use tidegate_dataplane::pcap::Reader;
use tidegate_dataplane::pcap::link::as_ethernet;

/// The captures' directory; says so where it is missing.
pub(super) fn corpus() -> Option<PathBuf> {
    let place = std::env::var_os("TIDEGATE_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let captures = place.join("pcap");
    if captures.is_dir() {
        return Some(captures);
    }
    let required = std::env::var_os("REQUIRE_CORPUS").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_CORPUS=1, but {} is not there", captures.display());
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(io::stderr(), "skipped: {test}: no captures at {}", captures.display());
    None
}

/// Where an IPv4 header is behind an Ethernet header.
const IP: usize = 14;

/// Who is beside a flood has an address from here on: 198.19.240.0/20.
const BESIDE: u16 = 0xf000;

/// What a capture holds for the address that most of it goes to, each packet as it was but for its
/// addresses: of each source a source of the lab's own, 198.19.0.0/16.
///
/// A flood that comes in parts was captured on a host that had other business too. Whose datagrams are
/// all whole has no part in it.
pub(super) fn flood(file: &Path, wire: &Wire) -> Arc<[Vec<u8>]> {
    let records = Reader::open(file).unwrap().map(Result::unwrap);
    let frames = records.filter_map(|record| as_ethernet(&record).map(|frame| frame.into_owned()));
    // Longer than the wire takes: put together by who captured it.
    let whole = |frame: &Vec<u8>| {
        frame.len() >= IP + 20 && frame.len() <= IP + 1500 && frame[12..14] == [8, 0]
    };
    let mut frames: Vec<Vec<u8>> = frames.filter(whole).collect();
    let mut goes = HashMap::<[u8; 4], u32>::new();
    for frame in &frames {
        *goes.entry(destination(frame)).or_default() += 1;
    }
    let victim = *goes.iter().max_by_key(|(_, count)| **count).unwrap().0;
    frames.retain(|frame| destination(frame) == victim);
    let in_parts: HashSet<_> =
        frames.iter().filter(|it| is_part(it)).map(|it| source(it)).collect();
    let mut sources = HashMap::new();
    for frame in &mut frames {
        let source = source(frame);
        let number = u16::try_from(sources.len()).expect("as many sources as the lab has");
        assert!(number < BESIDE, "as many sources as a flood has here");
        let is_beside = !in_parts.is_empty() && !in_parts.contains(&source);
        let mine = *sources.entry(source).or_insert(number | if is_beside { BESIDE } else { 0 });
        let [high, low] = mine.to_be_bytes();
        readdress(frame, Ipv4Addr::new(198, 19, high, low), wire.near.ipv4);
        frame[..6].copy_from_slice(&wire.near.mac);
        frame[6..12].copy_from_slice(&wire.far.mac);
    }
    frames.into()
}

fn source(frame: &[u8]) -> [u8; 4] {
    frame[IP + 12..IP + 16].try_into().unwrap()
}

/// More fragments, or an offset.
fn is_part(frame: &[u8]) -> bool {
    u16::from_be_bytes([frame[IP + 6], frame[IP + 7]]) & 0x3fff != 0
}

fn destination(frame: &[u8]) -> [u8; 4] {
    frame[IP + 16..IP + 20].try_into().unwrap()
}

/// Other addresses, with the checksums over them; a checksum that was wrong is wrong by as much.
fn readdress(frame: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr) {
    let mut new = [0; 8];
    new[..4].copy_from_slice(&source.octets());
    new[4..].copy_from_slice(&destination.octets());
    let old: [u8; 8] = frame[IP + 12..IP + 20].try_into().unwrap();
    frame[IP + 12..IP + 20].copy_from_slice(&new);
    let upper = IP + usize::from(frame[IP] & 15) * 4;
    let is_first = u16::from_be_bytes([frame[IP + 6], frame[IP + 7]]) & 0x1fff == 0;
    let of_upper = match frame[IP + 9] {
        6 => Some(upper + 16),
        17 => Some(upper + 6),
        _ => None,
    };
    for at in [Some(IP + 10), of_upper.filter(|_| is_first)].into_iter().flatten() {
        let Some(octets) = frame.get_mut(at..at + 2) else { continue };
        let was = u16::from_be_bytes([octets[0], octets[1]]);
        // A datagram without a checksum has none.
        if was == 0 && at != IP + 10 {
            continue;
        }
        // RFC 1624: the complement of what was, less the old words, and the new ones.
        let words = |octets: &[u8; 8]| {
            octets
                .as_chunks::<2>()
                .0
                .iter()
                .map(|word| u16::from_be_bytes(*word))
                .collect::<Vec<_>>()
        };
        let mut sum = u32::from(!was);
        sum += words(&old).into_iter().map(|word| u32::from(!word)).sum::<u32>();
        sum += words(&new).into_iter().map(u32::from).sum::<u32>();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let now = !u16::try_from(sum).expect("folded");
        octets.copy_from_slice(&now.to_be_bytes());
    }
}
