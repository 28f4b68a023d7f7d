//! Internet Protocol version 4, RFC 791.

use core::net::Ipv4Addr;

use super::{Fragment, Malformed, checksum};

/// Octets in an IPv4 header without options.
pub const HEADER_LEN: usize = 20;

/// A checked view of one IPv4 packet.
///
/// Holding an `Ipv4` proves that header and options are whole, that the total length fits the octets
/// of the packet, and that a fragment ends where a datagram may. Octets past the total length (Ethernet
/// padding) are not part of the view. The options are not parsed and the header checksum is not
/// verified; see [`Ipv4::checksum_is_right`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4<'a> {
    header: &'a [u8; HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// Checks `bytes`, which start at the version field.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when fewer than [`HEADER_LEN`] octets are present.
    /// - [`Malformed::Version`] when the version is not 4.
    /// - [`Malformed::Length`] when the header length is under [`HEADER_LEN`] or past the total
    ///   length, or the total length is past `bytes`.
    /// - [`Malformed::Fragment`] when a fragment ends past the 65,535 octets of the largest
    ///   datagram.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_head(bytes, bytes.len())
    }

    /// Checks `head`, which starts at the version field and is the beginning of `octets` octets.
    /// Of the payload the view has what is there.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], with `octets` for the bytes present; [`Malformed::Truncated`] also when
    /// the options are not whole in `head`.
    #[inline]
    pub fn parse_head(head: &'a [u8], octets: usize) -> Result<Self, Malformed> {
        debug_assert!(head.len() <= octets, "a beginning is no longer than the whole");
        let have = head.len();
        let (header, _) = head
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have, need: HEADER_LEN })?;
        if header[0] >> 4 != 4 {
            return Err(Malformed::Version { found: header[0] >> 4 });
        }
        // RFC 791, section 3.1: the total length includes the header, so it also bounds the header
        // length.
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if total > octets {
            return Err(Malformed::Length { field: total, have: octets });
        }
        let packet = &head[..total.min(have)];
        let header_octets = usize::from(header[0] & 0x0f) * 4;
        let (before, payload) =
            packet.split_at_checked(header_octets).ok_or(match header_octets <= total {
                true => Malformed::Truncated { have, need: header_octets },
                false => Malformed::Length { field: header_octets, have: total },
            })?;
        let options = before
            .get(HEADER_LEN..)
            .ok_or(Malformed::Length { field: header_octets, have: total })?;
        let ip = Self { header, options, payload };
        let offset = ip.offset_octets();
        // The "ping of death": an offset near the top makes the reassembled datagram longer than
        // any buffer for it.
        if usize::from(offset) + total > usize::from(u16::MAX) {
            let length = total - header_octets;
            return Err(Malformed::Fragment { offset: offset.into(), length });
        }
        Ok(ip)
    }

    /// Source address.
    #[inline]
    pub const fn source(self) -> Ipv4Addr {
        let h = self.header;
        Ipv4Addr::new(h[12], h[13], h[14], h[15])
    }

    /// Destination address.
    #[inline]
    pub const fn destination(self) -> Ipv4Addr {
        let h = self.header;
        Ipv4Addr::new(h[16], h[17], h[18], h[19])
    }

    /// Protocol of the payload, see [`super::protocol`].
    #[inline]
    pub const fn protocol(self) -> u8 {
        self.header[9]
    }

    /// Time to live.
    #[inline]
    pub const fn ttl(self) -> u8 {
        self.header[8]
    }

    /// Differentiated services code point and ECN.
    #[inline]
    pub const fn traffic_class(self) -> u8 {
        self.header[1]
    }

    /// Identification, which the parts of a datagram share.
    #[inline]
    pub const fn id(self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }

    /// Whether the sender forbids to make parts of it.
    #[inline]
    pub const fn dont_fragment(self) -> bool {
        self.header[6] & 0x40 != 0
    }

    /// Whether the bit is set that must be 0, RFC 791, section 3.1.
    #[inline]
    pub const fn reserved_bit(self) -> bool {
        self.header[6] & 0x80 != 0
    }

    /// The part of the datagram that this packet carries.
    #[inline]
    pub const fn fragment(self) -> Fragment {
        let h = self.header;
        let id = u16::from_be_bytes([h[4], h[5]]) as u32;
        let more = h[6] & 0x20 != 0;
        match self.offset_octets() {
            0 if !more => Fragment::Whole,
            0 => Fragment::First { id },
            offset_octets => Fragment::Later { id, offset_octets, more },
        }
    }

    const fn offset_octets(self) -> u16 {
        // RFC 791, section 3.1: 13 bits, in units of 8 octets.
        (u16::from_be_bytes([self.header[6], self.header[7]]) & 0x1fff) * 8
    }

    /// The options, 0 to 40 octets, padding included.
    #[inline]
    pub const fn options(self) -> &'a [u8] {
        self.options
    }

    /// Octets of the packet by its total length.
    #[inline]
    pub const fn total_octets(self) -> usize {
        u16::from_be_bytes([self.header[2], self.header[3]]) as usize
    }

    /// Octets behind header and options by the total length: [`Self::payload`] where all is there.
    #[inline]
    pub const fn payload_octets(self) -> usize {
        self.total_octets() - HEADER_LEN - self.options.len()
    }

    /// Whether header and options sum to their checksum.
    #[inline]
    pub fn checksum_is_right(self) -> bool {
        checksum::Sum::default().add_octets(self.header).add_octets(self.options).finish() == 0
    }

    /// What the packet carries, as far as it was there to be parsed.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }
}

/// An IPv4 header to write, without options and never a fragment ("don't fragment" is set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol of the payload, see [`super::protocol`].
    pub protocol: u8,
    /// Octets behind the header.
    pub payload_octets: u16,
    /// Time to live.
    pub ttl: u8,
    /// Differentiated services code point and ECN.
    pub traffic_class: u8,
    /// Identification. RFC 6864, section 4.1: free to repeat where "don't fragment" is set.
    pub id: u16,
}

impl Header {
    /// The header as octets, with its checksum.
    ///
    /// # Panics
    ///
    /// When header and payload are more than 65,535 octets.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let total = self.payload_octets.checked_add(20).expect("an IPv4 length");
        let mut octets = [0; HEADER_LEN];
        octets[0] = 0x45;
        octets[1] = self.traffic_class;
        octets[2..4].copy_from_slice(&total.to_be_bytes());
        octets[4..6].copy_from_slice(&self.id.to_be_bytes());
        octets[6] = 0x40;
        octets[8] = self.ttl;
        octets[9] = self.protocol;
        octets[12..16].copy_from_slice(&self.source.octets());
        octets[16..].copy_from_slice(&self.destination.octets());
        let sum = checksum::of(&octets);
        octets[10..12].copy_from_slice(&sum.to_be_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        source: Ipv4Addr::new(198, 18, 0, 1),
        destination: Ipv4Addr::new(198, 18, 0, 2),
        protocol: super::super::protocol::UDP,
        payload_octets: 3,
        ttl: 64,
        traffic_class: 0x88,
        id: 7,
    };

    /// The header above, one option of four octets, three of payload, two of padding.
    fn packet() -> Vec<u8> {
        let mut bytes = HEADER.emit().to_vec();
        bytes[0] = 0x46;
        bytes[3] += 4;
        bytes.extend([1, 1, 1, 0, 0xaa, 0xbb, 0xcc, 0, 0]);
        let sum = checksum::update(u16::from_be_bytes([bytes[10], bytes[11]]), 0x4588, 0x4688);
        let sum = checksum::update(sum, 23, 27);
        let sum = checksum::update(checksum::update(sum, 0, 0x0101), 0, 0x0100);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn with_fragment_field(field: u16) -> Vec<u8> {
        let mut bytes = packet();
        bytes[6..8].copy_from_slice(&field.to_be_bytes());
        bytes
    }

    #[test]
    fn reads_back_what_the_emitter_wrote() {
        let mut bytes = HEADER.emit().to_vec();
        bytes.extend([0xaa, 0xbb, 0xcc]);
        let ip = Ipv4::parse(&bytes).unwrap();
        assert_eq!(ip.source(), HEADER.source);
        assert_eq!(ip.destination(), HEADER.destination);
        assert_eq!((ip.protocol(), ip.ttl(), ip.traffic_class()), (17, 64, 0x88));
        assert_eq!(ip.fragment(), Fragment::Whole);
        assert_eq!((ip.id(), ip.dont_fragment(), ip.reserved_bit()), (7, true, false));
        assert_eq!(ip.payload(), [0xaa, 0xbb, 0xcc]);
        assert!(ip.checksum_is_right());
        bytes[6] = 0x80;
        let ip = Ipv4::parse(&bytes).unwrap();
        assert_eq!((ip.dont_fragment(), ip.reserved_bit()), (false, true));
    }

    #[test]
    fn splits_options_payload_and_padding() {
        let bytes = packet();
        let ip = Ipv4::parse(&bytes).unwrap();
        assert_eq!(ip.options(), [1, 1, 1, 0]);
        assert_eq!(ip.payload(), [0xaa, 0xbb, 0xcc]);
        assert_eq!(ip.total_octets(), 27);
        assert!(ip.checksum_is_right());
    }

    #[test]
    fn notices_a_wrong_checksum_under_the_options_too() {
        let mut bytes = packet();
        bytes[21] ^= 1;
        assert!(!Ipv4::parse(&bytes).unwrap().checksum_is_right());
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        let bytes = packet();
        for end in 0..=bytes.len() {
            assert_eq!(Ipv4::parse(&bytes[..end]).is_ok(), end >= 27, "prefix of {end} octets");
        }
    }

    #[test]
    fn refuses_another_version() {
        let mut bytes = packet();
        bytes[0] = 0x66;
        assert_eq!(Ipv4::parse(&bytes), Err(Malformed::Version { found: 6 }));
    }

    #[test]
    fn refuses_a_header_length_shorter_than_the_header() {
        let mut bytes = packet();
        bytes[0] = 0x44;
        assert_eq!(Ipv4::parse(&bytes), Err(Malformed::Length { field: 16, have: 27 }));
    }

    #[test]
    fn refuses_a_header_length_past_the_total_length() {
        let mut bytes = packet();
        bytes[0] = 0x47;
        assert_eq!(Ipv4::parse(&bytes), Err(Malformed::Length { field: 28, have: 27 }));
    }

    #[test]
    fn refuses_a_total_length_shorter_than_the_header() {
        let mut bytes = packet();
        bytes[3] = 19;
        assert_eq!(Ipv4::parse(&bytes), Err(Malformed::Length { field: 24, have: 19 }));
    }

    #[test]
    fn tells_first_from_later_fragments() {
        let first = with_fragment_field(0x2000);
        assert_eq!(Ipv4::parse(&first).unwrap().fragment(), Fragment::First { id: 7 });
        let middle = with_fragment_field(0x2001);
        assert_eq!(
            Ipv4::parse(&middle).unwrap().fragment(),
            Fragment::Later { id: 7, offset_octets: 8, more: true }
        );
        let last = with_fragment_field(0x00b9);
        assert_eq!(
            Ipv4::parse(&last).unwrap().fragment(),
            Fragment::Later { id: 7, offset_octets: 1480, more: false }
        );
    }

    #[test]
    fn refuses_a_fragment_that_ends_past_the_largest_datagram() {
        let bytes = with_fragment_field(0x1fff);
        assert_eq!(Ipv4::parse(&bytes), Err(Malformed::Fragment { offset: 65528, length: 3 }));
    }
}
