//! Who sends floods here: their datagrams, and how many of them how fast.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tidegate::lab::Wire;
use tidegate::lab::flood::{Budget, Flood};

/// Sources of [`frames`].
pub(super) const SOURCES: u8 = 50;

/// A datagram without a checksum, on its way to the near end. Both addresses are of one protocol.
pub(super) fn datagram(
    wire: &Wire,
    [from, to]: [SocketAddr; 2],
    hops: u8,
    payload: &[u8],
) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let mut frame = [wire.near.mac, wire.far.mac].concat();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = [0; 20];
            ip[0] = 0x45;
            ip[2..4].copy_from_slice(&(20 + len).to_be_bytes());
            ip[8..10].copy_from_slice(&[hops, 17]);
            ip[12..16].copy_from_slice(&source.octets());
            ip[16..].copy_from_slice(&destination.octets());
            let words =
                ip.as_chunks::<2>().0.iter().map(|&word| u32::from(u16::from_be_bytes(word)));
            let sum = words.sum::<u32>();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !((sum & 0xffff) + (sum >> 16));
            ip[10..12].copy_from_slice(&sum.to_be_bytes()[2..]);
            frame.extend([8, 0]);
            frame.extend(ip);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([17, hops]);
            frame.extend([source.octets(), destination.octets()].concat());
        }
        _ => panic!("{from} and {to} are of different protocols"),
    }
    frame.extend([from.port(), to.port(), len, 0].map(u16::to_be_bytes).concat());
    frame.extend(payload);
    frame
}

/// A small datagram.
pub(super) fn frame(wire: &Wire, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    datagram(wire, [from.into(), to.into()], 64, &[0; 18])
}

/// A datagram to this place, of each of 50 sources: 198.19.`network`.0/24.
pub(super) fn frames(wire: &Wire, network: u8, to: (Ipv4Addr, u16)) -> Arc<[Vec<u8>]> {
    let source = |host| Ipv4Addr::new(198, 19, network, host);
    (1..=SOURCES).map(|host| frame(wire, (source(host), 4000), to)).collect()
}

/// So many packets, so many a second, in a minute at most.
pub(super) const fn budget(packets: u64, packets_per_second: u64) -> Budget {
    let packets_per_second = NonZeroU64::new(packets_per_second);
    Budget { packets, time: Duration::from_secs(60), packets_per_second, processor: None }
}

/// So many packets, these in turn, all of them on the wire when it returns.
pub(super) fn sent(wire: &Wire, frames: Arc<[Vec<u8>]>, packets: u64) {
    let mut flood = Flood::of_frames(&wire.far, frames).unwrap();
    let sent = flood.run(&budget(packets, 10_000)).unwrap();
    assert_eq!((sent.offered, sent.refused), (packets, 0));
}
