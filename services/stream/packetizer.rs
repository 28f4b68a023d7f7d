//! Packets of video, built in place.
//!
//! ```text
//!   0 Ethernet │ 14 IPv4 │ 34 UDP │ 42 RTP │ 54 extended sequence, one row header │ 62 pixels
//!  └────────────────────── template, copied whole ──────────────────────────────┘
//!                                  43 marker, 44 sequence, 46 timestamp, 54 extended sequence,
//!                                  58 line, 60 offset: patched, 13 octets
//! ```
//!
//! Every packet of a stream has the same length, so everything else is the same in all of them,
//! IPv4's checksum included. UDP's checksum is written as 0, "none", as is usual for ST 2110 over
//! IPv4: the Ethernet check sequence guards the link, and a sum over the pixels would read each
//! twice. Where the driver sums or the operator wants it, [`super::departure`] puts it there.

use std::net::SocketAddrV4;

use tidegate_dataplane::wire::{TransportChecksum, ethernet, ipv4, protocol, rfc4175, rtp, udp};

use super::format::Format;
use super::picture::Picture;

/// Octets in front of the pixels.
pub const HEADER_OCTETS: usize = ethernet::HEADER_LEN
    + ipv4::HEADER_LEN
    + udp::HEADER_LEN
    + rtp::HEADER_LEN
    + rfc4175::HEADER_LEN;

const _: () = assert!(HEADER_OCTETS == 62, "as drawn above");

const RTP: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;
const ROW: usize = RTP + rtp::HEADER_LEN;

/// Time to live of video. It is meant for one site: 64 hops are more than any.
const TTL: u8 = 64;

/// Expedited forwarding, RFC 3246, the class that ST 2110 networks give to media: 46, and two
/// bits of ECN.
const TRAFFIC_CLASS: u8 = 46 << 2;

/// From whom, to whom, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Our link address.
    pub source_mac: [u8; 6],
    /// The next hop's.
    pub destination_mac: [u8; 6],
    /// Our address and port.
    pub source: SocketAddrV4,
    /// The receiver's or the group's.
    pub destination: SocketAddrV4,
    /// RTP payload type, 96 to 127.
    pub payload_type: u8,
    /// RTP synchronisation source.
    pub ssrc: u32,
}

/// Writes the packets of one stream.
#[derive(Clone, Debug)]
pub struct Packetizer {
    template: [u8; HEADER_OCTETS],
    packets_per_line: u32,
    packets_per_frame: u32,
    data_octets: u32,
    data_pixels: u32,
}

impl Packetizer {
    /// Makes the template.
    ///
    /// # Panics
    ///
    /// When the payload type is over 127.
    pub fn new(addresses: &Addresses, format: &Format) -> Self {
        let data_octets = u16::try_from(format.data_octets()).expect("at most 1430");
        Self {
            template: template(addresses, data_octets),
            packets_per_line: format.packets_per_line(),
            packets_per_frame: format.packets_per_frame(),
            data_octets: format.data_octets(),
            data_pixels: format.data_pixels(),
        }
    }

    /// Octets of every packet.
    pub const fn packet_octets(&self) -> usize {
        HEADER_OCTETS + self.data_octets as usize
    }

    /// Where the UDP checksum of every packet is.
    pub fn checksum(&self) -> TransportChecksum {
        let mut packet = vec![0; self.packet_octets()];
        packet[..HEADER_OCTETS].copy_from_slice(&self.template);
        TransportChecksum::of(&packet).expect("the template is UDP over IPv4")
    }

    /// Writes packet `packet` of the frame with `timestamp` into `into`.
    ///
    /// # Panics
    ///
    /// When `into` is not [`Self::packet_octets`] long, or the frame has no such packet.
    #[inline]
    pub fn write(
        &self,
        into: &mut [u8],
        packet: u32,
        sequence: u32,
        timestamp: u32,
        picture: &Picture<'_>,
    ) {
        assert!(packet < self.packets_per_frame, "packet {packet}");
        let (header, data) =
            into.split_first_chunk_mut::<HEADER_OCTETS>().expect("room for the header");
        let (line, piece) = (packet / self.packets_per_line, packet % self.packets_per_line);
        let last = packet + 1 == self.packets_per_frame;
        *header = self.template;
        header[RTP + 1] |= u8::from(last) << 7;
        let [high_1, high_0, low_1, low_0] = sequence.to_be_bytes();
        header[RTP + 2..RTP + 4].copy_from_slice(&[low_1, low_0]);
        header[RTP + 4..RTP + 8].copy_from_slice(&timestamp.to_be_bytes());
        header[ROW..ROW + 2].copy_from_slice(&[high_1, high_0]);
        header[ROW + 4..ROW + 6].copy_from_slice(&field(line));
        header[ROW + 6..].copy_from_slice(&field(piece * self.data_pixels));
        let start = (piece * self.data_octets) as usize;
        data.copy_from_slice(picture.octets(line as usize, start, self.data_octets as usize));
    }
}

/// A line or an offset, which a format keeps below 2^13.
#[inline]
const fn field(value: u32) -> [u8; 2] {
    let [_, _, high, low] = value.to_be_bytes();
    [high, low]
}

fn template(addresses: &Addresses, data_octets: u16) -> [u8; HEADER_OCTETS] {
    let octets = |count: usize| u16::try_from(count).expect("less than a packet");
    let rtp_octets = data_octets + octets(rtp::HEADER_LEN + rfc4175::HEADER_LEN);
    let ethernet = ethernet::Header {
        destination: addresses.destination_mac,
        source: addresses.source_mac,
        ether_type: ethernet::ether_type::IPV4,
    };
    let ip = ipv4::Header {
        source: *addresses.source.ip(),
        destination: *addresses.destination.ip(),
        protocol: protocol::UDP,
        payload_octets: rtp_octets + octets(udp::HEADER_LEN),
        ttl: TTL,
        traffic_class: TRAFFIC_CLASS,
        id: 0,
    };
    let udp = udp::Header {
        source: addresses.source.port(),
        destination: addresses.destination.port(),
        payload_octets: rtp_octets,
        checksum: 0,
    };
    let rtp = rtp::Header {
        marker: false,
        payload_type: addresses.payload_type,
        sequence: 0,
        timestamp: 0,
        ssrc: addresses.ssrc,
    };
    let row = rfc4175::Header { extended_sequence: 0, data_octets, line: 0, offset_pixels: 0 };
    let mut octets = [0; HEADER_OCTETS];
    octets[..14].copy_from_slice(&ethernet.emit());
    octets[14..34].copy_from_slice(&ip.emit());
    octets[34..RTP].copy_from_slice(&udp.emit());
    octets[RTP..ROW].copy_from_slice(&rtp.emit());
    octets[ROW..].copy_from_slice(&row.emit());
    octets
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers, or cut on purpose")]
mod tests {
    use tidegate_dataplane::wire::packet::{Packet, Transport};
    use tidegate_dataplane::wire::{Rfc4175, Rtp};

    use super::*;
    use crate::stream::format::Depth;

    const ADDRESSES: Addresses = Addresses {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        source: SocketAddrV4::new(std::net::Ipv4Addr::new(198, 18, 0, 1), 20001),
        destination: SocketAddrV4::new(std::net::Ipv4Addr::new(198, 18, 0, 2), 20000),
        payload_type: 96,
        ssrc: 0x5eed_0001,
    };

    fn format() -> Format {
        Format::new(1920, 1080, Depth::Ten, "50".parse().unwrap()).unwrap()
    }

    fn written(packet: u32, sequence: u32, timestamp: u32, picture: &[u8]) -> Vec<u8> {
        let packetizer = Packetizer::new(&ADDRESSES, &format());
        let mut octets = vec![0xa5; packetizer.packet_octets()];
        let picture = Picture::whole(picture, 4800);
        packetizer.write(&mut octets, packet, sequence, timestamp, &picture);
        octets
    }

    /// The last packet of a 1080p50 frame, octet for octet.
    #[test]
    fn the_header_is_as_drawn() {
        let picture = vec![0x5a; 5_184_000];
        let packet = written(4319, 0x0012_fffe, 0x0102_0304, &picture);
        assert_eq!(packet.len(), 1262);
        #[rustfmt::skip]
        let header: [u8; 62] = [
            2, 0, 0, 0, 0, 2,  2, 0, 0, 0, 0, 1,  0x08, 0x00,
            0x45, 0xb8, 0x04, 0xe0, 0, 0, 0x40, 0, 64, 17, 0xa9, 0x2d,
            198, 18, 0, 1,  198, 18, 0, 2,
            0x4e, 0x21, 0x4e, 0x20, 0x04, 0xcc, 0, 0,
            0x80, 0xe0, 0xff, 0xfe, 1, 2, 3, 4, 0x5e, 0xed, 0, 1,
            0x00, 0x12, 0x04, 0xb0, 0x04, 0x37, 0x05, 0xa0,
        ];
        assert_eq!(packet[..62], header);
        assert!(packet[62..].iter().all(|&octet| octet == 0x5a));
    }

    #[test]
    fn every_packet_reads_back_and_together_they_are_the_picture() {
        let format = format();
        let picture: Vec<u8> = (0..format.frame_octets()).map(|at| (at * 7 / 5) as u8).collect();
        let mut rebuilt: Vec<u8> = Vec::new();
        for number in 0..format.packets_per_frame() {
            let octets = written(number, number, 9, &picture);
            let packet = Packet::parse(&octets).unwrap();
            let Transport::Udp(udp) = packet.transport() else { panic!("{packet:?}") };
            assert_eq!((udp.destination(), udp.checksum()), (20000, None));
            let rtp = Rtp::parse(udp.payload()).unwrap();
            assert_eq!(rtp.marker(), number == 4319, "packet {number}");
            let video = Rfc4175::parse(rtp.payload()).unwrap();
            let rows: Vec<_> = video.rows().collect();
            assert_eq!(rows.len(), 1);
            let (line, offset) = (number / 4, number % 4 * 480);
            assert_eq!((rows[0].line, rows[0].offset_pixels), (line as u16, offset as u16));
            rebuilt.extend(rows[0].data);
        }
        assert!(rebuilt == picture);
    }

    #[test]
    fn the_ip_checksum_is_right() {
        let picture = vec![0; 5_184_000];
        let octets = written(0, 0, 0, &picture);
        let packet = Packet::parse(&octets).unwrap();
        let tidegate_dataplane::wire::packet::Network::V4(ip) = packet.network() else {
            panic!("{packet:?}")
        };
        assert!(ip.checksum_is_right());
    }

    #[test]
    #[should_panic(expected = "packet 4320")]
    fn a_frame_has_no_packet_behind_its_last() {
        written(4320, 0, 0, &vec![0; 5_184_000]);
    }
}
