//! What stands in front of RTP in each packet of a stream: Ethernet, perhaps a tag, IP and UDP.
//!
//! ```text
//!   0 Ethernet │ 12 802.1Q tag │ 14 IPv4 │ 34 UDP │ 42 payload          18, 38, 46 with a tag
//!   0 Ethernet │ 12 802.1Q tag │ 14 IPv6 │ 54 UDP │ 62 payload          18, 58, 66 with a tag
//!  └────────────── template, copied whole ────────┘
//! ```
//!
//! A stream's packets nearly all have the same length. The template has it, and with it IPv4's
//! header checksum: writing such a header is one copy of a size known at compile time. Only the
//! packets of another length have it patched.
//!
//! UDP's checksum is written as 0, "none", as is usual for ST 2110 over IPv4: the Ethernet check
//! sequence guards the link, and a sum over the pixels would read each twice. Over IPv6 it has to be
//! there (RFC 8200, section 8.1). [`departure`](crate::stream::departure) puts it there, or has it
//! put: in software, by the kernel or by the driver, whichever the port obtained.
//!
//! Who builds packets makes one [`Header`] from a [`Flow`], and for each packet writes it in front
//! of a payload of its own:
//!
//! ```
//! # use tidegate::stream::header::{Flow, Header, Marks};
//! let flow = Flow {
//!     source_mac: [2, 0, 0, 0, 0, 1],
//!     destination_mac: [2, 0, 0, 0, 0, 2],
//!     source: "198.18.0.1:20000".parse().unwrap(),
//!     destination: "198.18.0.2:20000".parse().unwrap(),
//!     marks: Marks::default(),
//! };
//! let header = Header::new(&flow, 1220).unwrap();
//! let mut packet = vec![0; header.octets() + 1220];
//! header.write(&mut packet).fill(0x5a);
//! ```

use std::fmt;
use std::net::SocketAddr;

use tidegate_dataplane::wire::ethernet::{Vlan, ether_type};
use tidegate_dataplane::wire::{TransportChecksum, ethernet, ipv4, ipv6, protocol, udp};

const V4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;
const V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN;
const V4_TAGGED: usize = V4 + ethernet::TAG_LEN;
const V6_TAGGED: usize = V6 + ethernet::TAG_LEN;

/// Octets of the longest header.
pub const HEADER_OCTETS_MAX: usize = V6_TAGGED;

const _: () = assert!(V4 == 42 && V6 == 62, "as drawn above");
const _: () = assert!(V4_TAGGED == 46 && V6_TAGGED == 66, "as drawn above");

/// Octets of the longest payload: IPv4 counts its own header, too.
pub const PAYLOAD_OCTETS_MAX: usize = u16::MAX as usize - ipv4::HEADER_LEN - udp::HEADER_LEN;

/// Assured forwarding 41, RFC 2597: what AES67 (under quality of service) gives to media, and what
/// makers of ST 2110 equipment preset. Expedited forwarding, 46, is the clock's there: video of
/// gigabits in the queue of PTP makes every clock behind the switch worse.
pub const DSCP_DEFAULT: u8 = 34;

/// The largest differentiated services code point: six bits.
pub const DSCP_MAX: u8 = 63;

/// Hops that packets may go. Media are meant for one site: 64 are more than any has, for a receiver
/// and for a group alike. A group's packets go only where somebody joined it, so less would guard
/// nothing, and 1, which kernels preset for groups, ends at the first router.
pub const TTL_DEFAULT: u8 = 64;

/// What networks are told to do with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// VLAN and priority, where packets are tagged.
    pub vlan: Option<Vlan>,
    /// Differentiated services code point, 0 to [`DSCP_MAX`].
    pub dscp: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
}

impl Default for Marks {
    fn default() -> Self {
        Self { vlan: None, dscp: DSCP_DEFAULT, ttl: TTL_DEFAULT }
    }
}

/// From whom, to whom, and by which marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Our link address.
    pub source_mac: [u8; 6],
    /// The next hop's, or the group's.
    pub destination_mac: [u8; 6],
    /// Our address and port.
    pub source: SocketAddr,
    /// The receiver's or the group's.
    pub destination: SocketAddr,
    /// What networks are told.
    pub marks: Marks,
}

/// Addresses of both kinds of IP: no packet has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixedFamilies {
    /// Ours.
    pub source: SocketAddr,
    /// The receiver's or the group's.
    pub destination: SocketAddr,
}

impl fmt::Display for MixedFamilies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination } = self;
        write!(
            f,
            "source_address {source} and destination {destination}: one is IPv4 and the other \
             IPv6; use two addresses of one kind"
        )
    }
}

impl std::error::Error for MixedFamilies {}

/// The header of a stream's packets, ready to be written.
///
/// Holding one proves that its addresses are of one kind of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// For a payload of `payload_octets`.
    template: [u8; HEADER_OCTETS_MAX],
    octets: usize,
    payload_octets: usize,
}

impl Header {
    /// The header of `flow`, for payloads that mostly have `payload_octets`.
    ///
    /// # Errors
    ///
    /// When the addresses are of both kinds of IP.
    ///
    /// # Panics
    ///
    /// When the payload is longer than [`PAYLOAD_OCTETS_MAX`].
    pub fn new(flow: &Flow, payload_octets: usize) -> Result<Self, MixedFamilies> {
        assert!(payload_octets <= PAYLOAD_OCTETS_MAX, "{payload_octets} octets in a packet");
        let Flow { source, destination, marks, .. } = *flow;
        let udp = udp::Header {
            source: source.port(),
            destination: destination.port(),
            payload_octets: short(payload_octets),
            checksum: 0,
        };
        let datagram_octets = short(udp::HEADER_LEN + payload_octets);
        let traffic_class = marks.dscp << 2;
        let mut into = Octets::default();
        match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                into.link(flow, ether_type::IPV4);
                let ip = ipv4::Header {
                    source: *source.ip(),
                    destination: *destination.ip(),
                    protocol: protocol::UDP,
                    payload_octets: datagram_octets,
                    ttl: marks.ttl,
                    traffic_class,
                    id: 0,
                };
                into.push(&ip.emit());
            }
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
                into.link(flow, ether_type::IPV6);
                let ip = ipv6::Header {
                    source: *source.ip(),
                    destination: *destination.ip(),
                    protocol: protocol::UDP,
                    payload_octets: datagram_octets,
                    hop_limit: marks.ttl,
                    traffic_class,
                };
                into.push(&ip.emit());
            }
            _ => return Err(MixedFamilies { source, destination }),
        }
        into.push(&udp.emit());
        Ok(Self { template: into.octets, octets: into.len, payload_octets })
    }

    /// The same header for payloads that mostly have another length.
    ///
    /// # Panics
    ///
    /// As [`Self::new`].
    #[must_use]
    pub fn resized(mut self, payload_octets: usize) -> Self {
        assert!(payload_octets <= PAYLOAD_OCTETS_MAX, "{payload_octets} octets in a packet");
        match self.octets {
            V4 => resize::<V4>(&mut self.template, payload_octets),
            V6 => resize::<V6>(&mut self.template, payload_octets),
            V4_TAGGED => resize::<V4_TAGGED>(&mut self.template, payload_octets),
            _ => resize::<V6_TAGGED>(&mut self.template, payload_octets),
        }
        Self { payload_octets, ..self }
    }

    /// Its octets, in front of the payload.
    #[inline]
    pub const fn octets(&self) -> usize {
        self.octets
    }

    /// Its octets in front of IP, which an MTU does not count: those of a tag neither.
    pub const fn link_octets(&self) -> usize {
        let ip = if self.is_ipv6() { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        self.octets - ip - udp::HEADER_LEN
    }

    /// The link address that packets go to.
    pub const fn destination_mac(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.template;
        [a, b, c, d, e, f]
    }

    /// Sends the packets that are written from now on to another link address.
    pub fn set_destination_mac(&mut self, mac: [u8; 6]) {
        self.template[..6].copy_from_slice(&mac);
    }

    /// Whether it is IPv6, over which UDP always has a checksum.
    pub const fn is_ipv6(&self) -> bool {
        matches!(self.octets, V6 | V6_TAGGED)
    }

    /// Where the UDP checksum is, in a packet of so many octets as [`TransportChecksum::resized`] is
    /// told.
    pub fn checksum(&self) -> TransportChecksum {
        let mut packet = self.template[..self.octets].to_vec();
        packet.resize(self.octets + self.payload_octets, 0);
        TransportChecksum::of(&packet).expect("the template is UDP over IP")
    }

    /// Writes it to the beginning of `packet`, which is as long as the packet is to be. Returns the
    /// rest: the payload, of which no octet is touched.
    ///
    /// # Panics
    ///
    /// When `packet` is shorter than the header, or the payload longer than [`PAYLOAD_OCTETS_MAX`].
    #[inline]
    pub fn write<'a>(&self, packet: &'a mut [u8]) -> &'a mut [u8] {
        // Always the same arm for a stream. Each copies a size that is known: a few instructions.
        match self.octets {
            V4 => self.write_sized::<V4>(packet),
            V6 => self.write_sized::<V6>(packet),
            V4_TAGGED => self.write_sized::<V4_TAGGED>(packet),
            _ => self.write_sized::<V6_TAGGED>(packet),
        }
    }

    #[inline]
    fn write_sized<'a, const LEN: usize>(&self, packet: &'a mut [u8]) -> &'a mut [u8] {
        let (header, payload) = packet.split_first_chunk_mut::<LEN>().expect("room for the header");
        *header = *self.template.first_chunk().expect("no header is longer than the template");
        if payload.len() != self.payload_octets {
            resize::<LEN>(header, payload.len());
        }
        payload
    }
}

/// Octets that are being put together.
struct Octets {
    octets: [u8; HEADER_OCTETS_MAX],
    len: usize,
}

impl Default for Octets {
    fn default() -> Self {
        Self { octets: [0; HEADER_OCTETS_MAX], len: 0 }
    }
}

impl Octets {
    fn push(&mut self, more: &[u8]) {
        self.octets[self.len..self.len + more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    fn link(&mut self, flow: &Flow, ether_type: u16) {
        let Flow { source_mac: source, destination_mac: destination, marks, .. } = *flow;
        match marks.vlan {
            None => self.push(&ethernet::Header { destination, source, ether_type }.emit()),
            Some(tag) => {
                let ether_type_vlan = ether_type::VLAN;
                let outer = ethernet::Header { destination, source, ether_type: ether_type_vlan };
                self.push(&outer.emit());
                self.push(&tag.emit(ether_type));
            }
        }
    }
}

fn short(count: usize) -> u16 {
    u16::try_from(count).expect("less than a packet")
}

/// Puts another length of payload into a header of `LEN` octets.
#[inline]
fn resize<const LEN: usize>(header: &mut [u8], payload_octets: usize) {
    let udp = LEN - udp::HEADER_LEN;
    let udp_octets = short(udp::HEADER_LEN + payload_octets);
    header[udp + 4..udp + 6].copy_from_slice(&udp_octets.to_be_bytes());
    match LEN {
        V6 | V6_TAGGED => {
            let ip = udp - ipv6::HEADER_LEN;
            header[ip + 4..ip + 6].copy_from_slice(&udp_octets.to_be_bytes());
        }
        _ => {
            let ip = udp - ipv4::HEADER_LEN;
            let octets = short(ipv4::HEADER_LEN + usize::from(udp_octets));
            let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            // RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
            let sum = u32::from(!word(ip + 10)) + u32::from(!word(ip + 2)) + u32::from(octets);
            let sum = (sum & 0xffff) + (sum >> 16);
            let [_, _, sum_1, sum_0] = (sum + (sum >> 16)).to_be_bytes();
            header[ip + 2..ip + 4].copy_from_slice(&octets.to_be_bytes());
            header[ip + 10..ip + 12].copy_from_slice(&[!sum_1, !sum_0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_dataplane::wire::packet::{Network, Packet, Transport};

    use super::*;

    fn flow(source: &str, destination: &str, vlan: Option<Vlan>) -> Flow {
        Flow {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            marks: Marks { vlan, dscp: 46, ttl: 17 },
        }
    }

    /// Every form that a header has.
    fn flows() -> [Flow; 4] {
        let tag = Vlan::new(0x123, 5);
        [None, tag]
            .map(|tag| flow("198.18.0.1:20001", "198.18.0.2:20000", tag))
            .into_iter()
            .chain([None, tag].map(|tag| flow("[2001:db8::1]:20001", "[2001:db8::2]:20000", tag)))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    #[test]
    fn every_form_says_what_the_flow_says_at_every_length() {
        for flow in flows() {
            let header = Header::new(&flow, 100).unwrap();
            assert_eq!(header.link_octets(), if flow.marks.vlan.is_some() { 18 } else { 14 });
            for octets in [0, 1, 99, 100, 101, 1220, 8948, PAYLOAD_OCTETS_MAX] {
                let mut packet = vec![0xa5; header.octets() + octets];
                header.write(&mut packet);
                let parsed = Packet::parse(&packet).unwrap();
                let ethernet = parsed.ethernet();
                assert_eq!(ethernet.source(), flow.source_mac);
                assert_eq!(ethernet.destination(), flow.destination_mac);
                assert_eq!(ethernet.tags().next(), flow.marks.vlan);
                let (ttl, class, length) = match parsed.network() {
                    Network::V4(ip) => {
                        let head = ethernet.header_octets();
                        let sum = tidegate_dataplane::wire::checksum::of(&packet[head..head + 20]);
                        assert_eq!(sum, 0, "checksum of the header with {octets} octets");
                        (ip.ttl(), ip.traffic_class(), head + ip.total_octets())
                    }
                    Network::V6(ip) => {
                        let head = ethernet.header_octets();
                        (ip.hop_limit(), ip.traffic_class(), head + ip.total_octets())
                    }
                };
                assert_eq!((ttl, class, length), (17, 46 << 2, packet.len()), "{octets} octets");
                assert_eq!((parsed.source(), parsed.destination()), {
                    (flow.source.ip(), flow.destination.ip())
                });
                let Transport::Udp(udp) = parsed.transport() else { panic!("{parsed:?}") };
                assert_eq!((udp.source(), udp.destination()), (20001, 20000));
                assert_eq!((udp.payload().len(), udp.checksum()), (octets, None));
                assert!(
                    udp.payload().iter().all(|&octet| octet == 0xa5),
                    "the payload was touched"
                );
            }
        }
    }

    #[test]
    fn a_resized_template_writes_what_a_new_one_does() {
        for flow in flows() {
            let new = Header::new(&flow, 1220).unwrap();
            assert_eq!(Header::new(&flow, 7).unwrap().resized(1220), new);
        }
    }

    #[test]
    fn a_tagged_packet_is_as_drawn() {
        let [_, v4, _, v6] = flows();
        let mut packet = [0xa5; 50];
        Header::new(&v4, 4).unwrap().write(&mut packet);
        assert_eq!(packet[12..18], [0x81, 0, 0xa1, 0x23, 0x08, 0]);
        assert_eq!(packet[18..26], [0x45, 0xb8, 0, 32, 0, 0, 0x40, 0]);
        assert_eq!(packet[38..50], [0x4e, 0x21, 0x4e, 0x20, 0, 12, 0, 0, 0xa5, 0xa5, 0xa5, 0xa5]);
        let mut packet = [0xa5; 70];
        Header::new(&v6, 4).unwrap().write(&mut packet);
        assert_eq!(packet[12..18], [0x81, 0, 0xa1, 0x23, 0x86, 0xdd]);
        assert_eq!(packet[18..26], [0x6b, 0x80, 0, 0, 0, 12, 17, 17]);
    }

    #[test]
    fn another_link_address_changes_nothing_else() {
        for flow in flows() {
            let mut header = Header::new(&flow, 100).unwrap();
            let mac = [2, 0, 0, 0, 0, 9];
            header.set_destination_mac(mac);
            assert_eq!(header.destination_mac(), mac);
            assert_eq!(header, Header::new(&Flow { destination_mac: mac, ..flow }, 100).unwrap());
        }
    }

    #[test]
    fn the_checksum_is_where_a_parser_finds_it() {
        for flow in flows() {
            let header = Header::new(&flow, 100).unwrap();
            let mut packet = vec![0x5a; header.octets() + 61];
            header.write(&mut packet);
            let place = header.checksum().resized(packet.len());
            assert_eq!(place, TransportChecksum::of(&packet).unwrap());
        }
    }

    #[test]
    fn addresses_of_both_kinds_are_refused_with_the_remedy() {
        let flow = flow("198.18.0.1:20001", "[2001:db8::2]:20000", None);
        assert_eq!(
            Header::new(&flow, 100).unwrap_err().to_string(),
            "source_address 198.18.0.1:20001 and destination [2001:db8::2]:20000: one is IPv4 and \
             the other IPv6; use two addresses of one kind"
        );
    }
}
