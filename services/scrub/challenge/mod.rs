//! Who asks for a TCP connection and is really there: a cookie in a wrong acknowledgement.
//!
//! ```text
//!  client                                    here                                   kernel
//!    │ SYN, seq x ──────────────────────────► │ source not verified
//!    │ ◄───────────── SYN-ACK, ack = cookie   │ nothing kept
//!    │ RST, seq = cookie ───────────────────► │ right: the source is verified, for a while
//!    │ SYN, seq x, once more ───────────────► │ ────────────────────────────────────────► SYN
//! ```
//!
//! RFC 9293, section 3.10.7.3: a client that gets an acknowledgement of what it did not send answers
//! with a reset whose sequence number is that acknowledgement, and goes on asking. So who answers
//! with the cookie has received what was sent to its address. The cookie is a keyed hash of both
//! ends and of the time in slots; it is made again when the reset comes, so that a flood of SYN
//! leaves no trace here, whatever its length. The answer is never longer than the SYN.
//!
//! What clients do, read in their sources: Linux answers with RST and, since 5.6, sends its SYN again
//! at once (before, and all others: after its timeout of a second). FreeBSD, and those that have its
//! stack, answer with RST; lwIP with RST and ACK, and sends its SYN again at once. Both forms are
//! taken. A pure ACK is not: no client that asks for a connection answers so, it would only double
//! what a blind guess may hit.
//!
//! A guess hits with one packet in 2^31 (two slots): ten million a second verify one address of the
//! attacker's choice every three and a half minutes. So a rule set that challenges does well to
//! limit verified sources too. Behind a firewall that drops what its connection tracking calls
//! invalid, a client never sees the answer, and gets through only while nobody is challenged.

use std::net::IpAddr;

use tidegate_dataplane::wire::packet::{Network, Packet, Transport};
use tidegate_dataplane::wire::tcp::Flags;
use tidegate_dataplane::wire::{Fragment, Tcp, ipv4, ipv6, protocol, tcp, transport};

use super::siphash::{self, Key};

/// Bits of the clock within one slot: 4.3 s. A cookie of this and of the last slot is right, so an
/// answer may take that long at least, which is more than any way there and back; and one that was
/// seen by somebody else is of use to him for 8.6 s at most.
const SLOT_BITS: u32 = 32;

/// Acknowledgements so far ahead of the SYN might be right ones, of data that came with it.
const SENT_MAX: u32 = 1 << 16;

/// The option for the maximum segment size; of no use to the client, but who looks at SYN-ACKs on
/// their way expects it.
const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];

/// Whether a segment asks for a connection, and for nothing else.
pub(crate) const fn asks(tcp: Tcp<'_>) -> bool {
    let looked_at = Flags::SYN.with(Flags::ACK).with(Flags::RST).with(Flags::FIN);
    tcp.flags().0 & looked_at.0 == Flags::SYN.0
}

/// Whether a segment is of the kind that answers a challenge: a reset.
#[inline]
pub(crate) const fn may_answer(tcp: Tcp<'_>) -> bool {
    let looked_at = Flags::RST.with(Flags::SYN).with(Flags::FIN);
    tcp.flags().0 & looked_at.0 == Flags::RST.0
}

/// Makes challenges and knows the answers. Keeps nothing but a key.
pub(crate) struct Challenger {
    key: Key,
}

impl Challenger {
    pub(crate) const fn new(key: Key) -> Self {
        Self { key }
    }

    /// Makes the SYN in `frame` its own SYN-ACK, in place; returns the octets that it has then.
    ///
    /// `None`, and `frame` as it was, where there is nothing to answer: no whole SYN, from an
    /// address that no host has, or one of 65,536 for whom the cookie of this slot would be a right
    /// acknowledgement.
    pub(crate) fn answer(&self, frame: &mut [u8], now_ns: u64) -> Option<usize> {
        let syn = Syn::read(frame)?;
        let cookie = self.cookie(&syn.ends, now_ns >> SLOT_BITS);
        let acknowledgment = low(cookie);
        if (1..=SENT_MAX).contains(&acknowledgment.wrapping_sub(syn.sequence)) {
            return None;
        }
        let (link, rest) = frame.split_at_mut(syn.link_octets);
        let (to, from) = link[..12].split_at_mut(6);
        to.swap_with_slice(from);
        let options: &[u8] = if syn.has_options { &MSS } else { &[] };
        let segment_octets = tcp::HEADER_LEN + options.len();
        let mut header = tcp::Header {
            source: syn.ends.destination_port,
            destination: syn.ends.source_port,
            sequence: low(cookie >> 32),
            acknowledgment,
            flags: Flags::SYN.with(Flags::ACK),
            window: u16::MAX,
            checksum: 0,
        }
        .emit();
        // The data offset counts the option's word too.
        header[12] = u8::try_from(segment_octets / 4).unwrap_or(5) << 4;
        let ip_octets = syn.ends.write_back(rest, segment_octets);
        let segment = &mut rest[ip_octets..ip_octets + segment_octets];
        segment[..tcp::HEADER_LEN].copy_from_slice(&header);
        segment[tcp::HEADER_LEN..].copy_from_slice(options);
        let octets = syn.link_octets + ip_octets + segment_octets;
        let frame = &mut frame[..octets];
        transport::TransportChecksum::of(frame).ok()?.finish(frame);
        Some(octets)
    }

    /// Whether a segment is the answer to a challenge: a reset with the cookie.
    pub(crate) fn is_answered_by(&self, ends: &Ends, tcp: Tcp<'_>, now_ns: u64) -> bool {
        if !may_answer(tcp) {
            return false;
        }
        let slot = now_ns >> SLOT_BITS;
        [slot, slot.wrapping_sub(1)]
            .into_iter()
            .any(|slot| low(self.cookie(ends, slot)) == tcp.sequence())
    }

    fn cookie(&self, ends: &Ends, slot: u64) -> u64 {
        let ports = u64::from(ends.source_port) << 16 | u64::from(ends.destination_port);
        match (ends.source, ends.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let both = u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
                self.key.hash_words([both, ports, slot])
            }
            (source, destination) => {
                let [a, b] = siphash::halves(bits(source));
                let [c, d] = siphash::halves(bits(destination));
                self.key.hash_words([a, b, c, d, ports, slot])
            }
        }
    }
}

/// Both ends of a connection, as its client writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Ends {
    /// Writes the IP header of a segment of so many octets from the destination to the source;
    /// returns its own octets.
    fn write_back(&self, rest: &mut [u8], segment_octets: usize) -> usize {
        // 24 octets at most.
        let payload_octets = u16::try_from(segment_octets).unwrap_or(0);
        match (self.destination, self.source) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = ipv4::Header {
                    source,
                    destination,
                    protocol: protocol::TCP,
                    payload_octets,
                    ttl: 64,
                    traffic_class: 0,
                    id: 0,
                };
                rest[..ipv4::HEADER_LEN].copy_from_slice(&header.emit());
                ipv4::HEADER_LEN
            }
            (source, destination) => {
                let header = ipv6::Header {
                    source: bits(source).into(),
                    destination: bits(destination).into(),
                    protocol: protocol::TCP,
                    payload_octets,
                    hop_limit: 64,
                    traffic_class: 0,
                };
                rest[..ipv6::HEADER_LEN].copy_from_slice(&header.emit());
                ipv6::HEADER_LEN
            }
        }
    }
}

/// What is needed of a SYN to answer it.
struct Syn {
    ends: Ends,
    sequence: u32,
    link_octets: usize,
    /// Whether its own header is longer than the shortest: so the answer may be.
    has_options: bool,
}

impl Syn {
    /// Reads a SYN that may be answered.
    fn read(frame: &[u8]) -> Option<Self> {
        let packet = Packet::parse(frame).ok()?;
        let (Transport::Tcp(tcp), Fragment::Whole) = (packet.transport(), packet.fragment()) else {
            return None;
        };
        let routed = matches!(packet.network(), Network::V6(ip) if ip.has_stops());
        let ends = Ends {
            source: packet.source(),
            destination: packet.destination(),
            source_port: tcp.source(),
            destination_port: tcp.destination(),
        };
        let ethernet = packet.ethernet();
        // IEEE 802: the lowest bit of the first octet marks a group, to which nobody answers.
        let group = (ethernet.source()[0] | ethernet.destination()[0]) & 1 != 0;
        if !asks(tcp) || routed || group || !is_host(ends.source) || !is_host(ends.destination) {
            return None;
        }
        Some(Self {
            ends,
            sequence: tcp.sequence(),
            link_octets: ethernet.header_octets(),
            has_options: !tcp.options().is_empty(),
        })
    }
}

/// Whether packets for `address` may come to one host from another.
fn is_host(address: IpAddr) -> bool {
    match address {
        // RFC 1122, section 3.2.1.3: "this" network, loopback, groups, and what is reserved.
        IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(address) => {
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half")]
const fn low(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests;
