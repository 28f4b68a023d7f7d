//! Where a packet has its UDP or TCP checksum, and how that is finished.
//!
//! ```text
//!   │ Ethernet │ IP │ UDP or TCP … checksum … │ data │ padding │
//!                   start        field               end         the sum goes from start to end
//! ```
//!
//! A checksum is finished here, or begun here and finished by whoever sends the packet: then its
//! field holds the sum of the pseudo header, and the rest is added on the way out.

use core::fmt;
use std::error;

use super::checksum::{Pieces, Sum, for_udp, pseudo_v4, pseudo_v6};
use super::packet::{Network, Packet, Transport};
use super::{Fragment, Malformed};

/// The place of a packet's transport checksum.
///
/// Holding one proves that the packet that it was found in is a whole UDP or TCP datagram. It stays
/// right for packets with the same addresses, protocol, headers and length: whoever builds such
/// packets finds it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportChecksum {
    start: u16,
    field: u16,
    end: u16,
    /// Sum of the pseudo header, folded and not complemented.
    pseudo: u16,
}

/// Why a packet has no checksum to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoChecksum {
    /// It cannot be read.
    Malformed(Malformed),
    /// It is a part of a datagram, and the sum is over all of it.
    Fragment,
    /// Neither UDP nor TCP.
    Protocol(u8),
    /// A routing header has stops to go: the sum is over the last one's address, which is elsewhere.
    Routed,
}

impl fmt::Display for NoChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Fragment => f.write_str("a fragment has no checksum of its own"),
            Self::Protocol(number) => write!(f, "protocol {number} is neither UDP nor TCP"),
            Self::Routed => f.write_str("a routing header has stops to go"),
        }
    }
}

impl error::Error for NoChecksum {}

impl TransportChecksum {
    /// Finds it in `packet`, which starts at the Ethernet header.
    ///
    /// # Errors
    ///
    /// [`NoChecksum`] where the packet has none.
    pub fn of(packet: &[u8]) -> Result<Self, NoChecksum> {
        Self::of_head(packet, packet.len())
    }

    /// Finds it in a packet of `octets` that begins with `head`, which has all headers in it.
    ///
    /// # Errors
    ///
    /// As [`Self::of`].
    pub fn of_head(head: &[u8], octets: usize) -> Result<Self, NoChecksum> {
        let parsed = Packet::parse_head(head, octets).map_err(NoChecksum::Malformed)?;
        if parsed.fragment() != Fragment::Whole {
            return Err(NoChecksum::Fragment);
        }
        let body = match parsed.network() {
            Network::V4(ip) => ip.payload_octets(),
            Network::V6(ip) if ip.has_stops() => return Err(NoChecksum::Routed),
            Network::V6(ip) => ip.payload_octets(),
        };
        // RFC 768 sums what the UDP length says, which may be less than IP brings.
        let (field, octets) = match parsed.transport() {
            Transport::Udp(udp) => (6, udp.octets().into()),
            Transport::Tcp(_) => (16, body),
            _ => return Err(NoChecksum::Protocol(parsed.protocol())),
        };
        let octets = u16::try_from(octets).map_err(|_| too_long(octets))?;
        let pseudo = match parsed.network() {
            Network::V4(ip) => pseudo_v4(ip.source(), ip.destination(), ip.protocol(), octets),
            Network::V6(ip) => {
                pseudo_v6(ip.source(), ip.destination(), ip.protocol(), octets.into())
            }
        };
        let ip = parsed.ethernet().header_octets();
        let start = ip + parsed.ip_octets() - body;
        let start = u16::try_from(start).map_err(|_| too_long(start))?;
        let end = start.checked_add(octets).ok_or(too_long(octets.into()))?;
        Ok(Self { start, field, end, pseudo: !pseudo.finish() })
    }

    /// The same for a packet of `octets` with other data and the same headers but for their
    /// lengths, and without padding.
    ///
    /// # Panics
    ///
    /// When that is shorter than the headers or longer than IP packets are.
    #[inline]
    #[must_use]
    pub fn resized(self, octets: usize) -> Self {
        let end = u16::try_from(octets).expect("no longer than a packet of IP");
        assert!(end >= self.start + self.field + 2, "a packet of {octets} octets");
        // The length is in the pseudo header. RFC 1624, equation 3, without the complements.
        let (old, new) = (self.end - self.start, end - self.start);
        let sum = u32::from(self.pseudo) + u32::from(!old) + u32::from(new);
        let sum = (sum & 0xffff) + (sum >> 16);
        let [_, _, high, low] = (sum + (sum >> 16)).to_be_bytes();
        Self { end, pseudo: u16::from_be_bytes([high, low]), ..self }
    }

    /// Where the transport header starts, from the packet's first octet.
    pub const fn start(&self) -> u16 {
        self.start
    }

    /// Where the checksum lies, from [`Self::start`].
    pub const fn field(&self) -> u16 {
        self.field
    }

    /// Whether the sum goes to the end of a packet of so many octets, as those who sum without
    /// reading headers suppose. Padding behind the datagram is no part of it.
    pub fn goes_to_the_end_of(&self, octets: usize) -> bool {
        usize::from(self.end) == octets
    }

    /// Writes the sum of the pseudo header into the field: the rest is another's.
    ///
    /// # Panics
    ///
    /// When the packet is shorter than the one that this was found in.
    #[inline]
    pub fn begin(&self, packet: &mut [u8]) {
        self.write(packet, self.pseudo);
    }

    /// Writes the checksum.
    ///
    /// # Panics
    ///
    /// When the packet is shorter than the one that this was found in.
    #[inline]
    pub fn finish(&self, packet: &mut [u8]) {
        self.begin(packet);
        let covered = &packet[self.start.into()..self.end.into()];
        self.write(packet, for_udp(Sum::default().add_octets(covered)));
    }

    /// Writes the checksum of a packet that lies in `parts`, of which the first has all headers.
    ///
    /// # Panics
    ///
    /// When the first part is shorter than its headers.
    pub fn finish_parts<'a>(&self, mut parts: impl Iterator<Item = &'a mut [u8]>) {
        let Some(head) = parts.next() else { return };
        self.begin(head);
        let (mut sum, mut left) = (Pieces::default(), usize::from(self.end - self.start));
        let mut add = |piece: &[u8]| {
            let covered = &piece[..piece.len().min(left)];
            left -= covered.len();
            sum = sum.then(covered);
        };
        add(&head[self.start.into()..]);
        parts.for_each(|part| add(part));
        self.write(head, for_udp(sum.sum()));
    }

    fn write(&self, packet: &mut [u8], value: u16) {
        let at = usize::from(self.start + self.field);
        packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

/// Longer than a packet of IP and its link header: no Ethernet has it.
const fn too_long(octets: usize) -> NoChecksum {
    NoChecksum::Malformed(Malformed::Length { field: octets, have: u16::MAX as usize })
}

/// Finishes what was begun: sums from `start` to the packet's end, whatever is there, and writes the
/// checksum `field` octets behind `start`. A card does the same. False where that is past the packet.
///
/// In a TCP segment a sum of 0 becomes 0xffff too, as in Linux: both verify.
pub(crate) fn finish_begun(packet: &mut [u8], start: u16, field: u16) -> bool {
    let (start, field) = (usize::from(start), usize::from(start) + usize::from(field));
    if field + 2 > packet.len() {
        return false;
    }
    let sum = for_udp(Sum::default().add_octets(&packet[start..]));
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::super::{protocol, samples};
    use super::*;

    /// Whether a receiver would take the packet, by the sums of the sample's own addresses.
    fn verifies(packet: &[u8]) -> bool {
        let parsed = Packet::parse(packet).unwrap();
        let (body, length) = match (parsed.network(), parsed.transport()) {
            (Network::V4(ip), Transport::Udp(udp)) => (ip.payload(), 8 + udp.payload().len()),
            (Network::V6(ip), Transport::Udp(udp)) => (ip.payload(), 8 + udp.payload().len()),
            (Network::V4(ip), _) => (ip.payload(), ip.payload().len()),
            (Network::V6(ip), _) => (ip.payload(), ip.payload().len()),
        };
        let number = parsed.protocol();
        let pseudo = match parsed.network() {
            Network::V4(ip) => {
                pseudo_v4(ip.source(), ip.destination(), number, length.try_into().unwrap())
            }
            Network::V6(ip) => {
                pseudo_v6(ip.source(), ip.destination(), number, length.try_into().unwrap())
            }
        };
        pseudo.add_octets(&body[..length]).finish() == 0
    }

    fn packets() -> Vec<Vec<u8>> {
        samples::all().into_iter().filter(|it| TransportChecksum::of(it).is_ok()).collect()
    }

    #[test]
    fn a_finished_checksum_verifies_over_ipv4_and_ipv6_tags_and_extension_headers() {
        let packets = packets();
        assert_eq!(
            packets.len(),
            4,
            "UDP over IPv4 twice, over chained IPv6, TCP over tagged IPv6"
        );
        for mut packet in packets {
            let place = TransportChecksum::of(&packet).unwrap();
            let at = usize::from(place.start() + place.field());
            packet[at..at + 2].fill(0xa5); // What was in the field does not matter.
            assert!(!verifies(&packet));
            place.finish(&mut packet);
            assert!(verifies(&packet), "{packet:02x?}");
        }
    }

    #[test]
    fn what_was_begun_here_and_finished_by_another_is_the_same() {
        for mut packet in packets() {
            let place = TransportChecksum::of(&packet).unwrap();
            assert!(place.goes_to_the_end_of(packet.len()));
            let mut begun = packet.clone();
            place.finish(&mut packet);
            place.begin(&mut begun);
            assert_ne!(begun, packet);
            assert!(finish_begun(&mut begun, place.start(), place.field()));
            assert_eq!(begun, packet);
        }
    }

    #[test]
    fn a_packet_of_another_length_has_its_checksum_in_the_same_place() {
        let place = TransportChecksum::of(&samples::udp_v4(b"first")).unwrap();
        for octets in [0, 1, 2, 5, 255, 256, 1400, 20_000] {
            let mut packet = samples::udp_v4(&vec![0x5a; octets]);
            let resized = place.resized(packet.len());
            resized.finish(&mut packet);
            assert!(verifies(&packet), "{octets} octets");
            let found = TransportChecksum::of(&packet).unwrap();
            assert_eq!(
                (resized.start, resized.field, resized.end),
                (found.start, found.field, found.end)
            );
            // 0 and 0xffff are the same sum.
            assert_eq!(resized.pseudo % 0xffff, found.pseudo % 0xffff);
        }
    }

    #[test]
    fn a_packet_in_parts_gets_the_checksum_of_the_whole() {
        for mut whole in packets() {
            whole.extend([0xa5; 7]); // Padding.
            let place = TransportChecksum::of(&whole).unwrap();
            let headers = usize::from(place.start() + place.field()) + 4;
            let mut parts = whole.clone();
            place.finish(&mut whole);
            for first in headers..parts.len() {
                if TransportChecksum::of_head(&parts[..first], parts.len()) != Ok(place) {
                    continue; // Inside a header.
                }
                for second in first..parts.len() {
                    let (head, rest) = parts.split_at_mut(first);
                    let (middle, last) = rest.split_at_mut(second - first);
                    place.finish_parts([head, middle, last].into_iter());
                    assert_eq!(parts, whole, "cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn padding_is_no_part_of_the_sum() {
        let mut bare = samples::udp_v4(b"odd");
        let mut padded = [&bare[..], &[0xa5; 15]].concat();
        let place = TransportChecksum::of(&padded).unwrap();
        assert_eq!(place, TransportChecksum::of(&bare).unwrap());
        assert!(!place.goes_to_the_end_of(padded.len()), "who sums to the end would be wrong");
        place.finish(&mut bare);
        place.finish(&mut padded);
        assert_eq!(padded[..bare.len()], bare);
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        let mut packet = samples::udp_v4(&[0, 0]);
        let place = TransportChecksum::of(&packet).unwrap();
        place.finish(&mut packet);
        let checksum = [packet[40], packet[41]];
        // Data that adds the checksum to the sum makes it all ones, and its complement zero.
        packet[42..44].copy_from_slice(&checksum);
        place.finish(&mut packet);
        assert_eq!(packet[40..42], [0xff; 2]);
        assert!(verifies(&packet));
    }

    #[test]
    fn parts_other_protocols_and_packets_on_a_route_have_none() {
        let mut fragment = samples::udp_v4(&[0; 8]);
        fragment[20] = 0x20; // More parts follow.
        assert!(TransportChecksum::of(&fragment).is_err());
        let mut later = samples::udp_v4(&[0; 8]);
        later[21] = 1;
        assert_eq!(TransportChecksum::of(&later), Err(NoChecksum::Fragment));
        let others = samples::all().into_iter().filter_map(|it| TransportChecksum::of(&it).err());
        let others: Vec<_> = others.collect();
        let numbers = [protocol::ICMP, protocol::ICMPV6, 47].map(NoChecksum::Protocol);
        assert_eq!(others, numbers);
        // The sample's routing header has no stops left; with one, the last address is elsewhere.
        let mut routed = samples::all().remove(3);
        assert_eq!(routed[14 + 40 + 8], protocol::FRAGMENT);
        routed[14 + 40 + 8 + 3] = 1;
        assert_eq!(TransportChecksum::of(&routed), Err(NoChecksum::Routed));
        assert_eq!(NoChecksum::Protocol(47).to_string(), "protocol 47 is neither UDP nor TCP");
    }

    #[test]
    fn every_prefix_is_refused_or_right_and_never_panics() {
        for packet in samples::all() {
            for end in 0..packet.len() {
                if let Ok(place) = TransportChecksum::of(&packet[..end]) {
                    place.finish(&mut packet[..end].to_vec());
                }
            }
        }
        assert!(!finish_begun(&mut [0; 8], 4, 3));
        assert!(!finish_begun(&mut [], u16::MAX, u16::MAX));
    }

    #[test]
    fn the_emitters_own_checksum_is_found_again() {
        let packet = samples::tcp_v6_tagged();
        let mut again = packet.clone();
        TransportChecksum::of(&packet).unwrap().finish(&mut again);
        assert_eq!(again, packet);
    }
}
