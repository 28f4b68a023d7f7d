//! Ethernet II with VLAN tags, IEEE 802.3 and 802.1Q.

use super::Malformed;

/// Octets in an Ethernet header without tags.
pub const HEADER_LEN: usize = 14;

/// Octets in one VLAN tag.
pub const TAG_LEN: usize = 4;

/// VLAN tags read before the EtherType: a service tag (802.1ad) around a customer tag (802.1Q) is
/// what networks use. Fewer would lose provider links; more is what a sender does to walk past a
/// filter.
pub const MAX_TAGS: usize = 2;

/// Values of the type field.
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// A customer tag follows, IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// A service tag follows, IEEE 802.1ad.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// One VLAN tag's control information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    control: u16,
}

impl Vlan {
    /// The tag of VLAN `id` and `priority`, not eligible for being dropped first. `None` where the
    /// former has more than 12 bits or the latter more than 3.
    pub const fn new(id: u16, priority: u8) -> Option<Self> {
        if id > 0x0fff || priority > 7 {
            return None;
        }
        Some(Self { control: (priority as u16) << 13 | id })
    }

    /// The tag as octets, behind a type of [`ether_type::VLAN`], with the type of what follows.
    #[inline]
    pub const fn emit(self, ether_type: u16) -> [u8; TAG_LEN] {
        let [control_1, control_0] = self.control.to_be_bytes();
        let [type_1, type_0] = ether_type.to_be_bytes();
        [control_1, control_0, type_1, type_0]
    }

    /// VLAN identifier, 12 bits; 0 marks priority without a VLAN.
    #[inline]
    pub const fn id(self) -> u16 {
        self.control & 0x0fff
    }

    /// Priority code point, 0 to 7.
    #[inline]
    pub const fn priority(self) -> u8 {
        (self.control >> 13) as u8
    }
}

/// A checked view of one Ethernet frame, without its frame check sequence.
///
/// Holding an `Ethernet` proves that both addresses, all tags and the type field behind them are
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet<'a> {
    header: &'a [u8; HEADER_LEN],
    /// Pairs of control information and type, at most [`MAX_TAGS`].
    tags: &'a [[u8; TAG_LEN]],
    payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// Checks `bytes`, which start at the destination address.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when the header or an announced tag is not whole.
    /// - [`Malformed::Depth`] when more than [`MAX_TAGS`] tags are stacked.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let have = bytes.len();
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have, need: HEADER_LEN })?;
        let mut count = 0;
        let mut kind = u16::from_be_bytes([header[12], header[13]]);
        while matches!(kind, ether_type::VLAN | ether_type::SERVICE_VLAN) {
            if count == MAX_TAGS {
                return Err(Malformed::Depth { limit: MAX_TAGS });
            }
            count += 1;
            let need = HEADER_LEN + count * TAG_LEN;
            if have < need {
                return Err(Malformed::Truncated { have, need });
            }
            kind = u16::from_be_bytes([bytes[need - 2], bytes[need - 1]]);
        }
        let (tags, payload) = rest.split_at(count * TAG_LEN);
        Ok(Self { header, tags: tags.as_chunks().0, payload })
    }

    /// Destination address.
    #[inline]
    pub const fn destination(self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = *self.header;
        [a, b, c, d, e, f]
    }

    /// Source address.
    #[inline]
    pub const fn source(self) -> [u8; 6] {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.header;
        [a, b, c, d, e, f]
    }

    /// What the payload is, read behind all tags. Under 0x0600 it is an IEEE 802.3 length.
    #[inline]
    pub fn ether_type(self) -> u16 {
        let [.., a, b] = *self.header;
        self.tags.last().map_or(u16::from_be_bytes([a, b]), |tag| {
            let [_, _, a, b] = *tag;
            u16::from_be_bytes([a, b])
        })
    }

    /// The tags from outside to inside.
    #[inline]
    pub fn tags(self) -> impl ExactSizeIterator<Item = Vlan> {
        self.tags.iter().map(|tag| Vlan { control: u16::from_be_bytes([tag[0], tag[1]]) })
    }

    /// Octets from the frame's first to the payload's first.
    #[inline]
    pub const fn header_octets(self) -> usize {
        HEADER_LEN + TAG_LEN * self.tags.len()
    }

    /// Everything behind the type field, padding included.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }
}

/// An Ethernet header to write; tags follow it, see [`Vlan::emit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination address.
    pub destination: [u8; 6],
    /// Source address.
    pub source: [u8; 6],
    /// What the payload is, see [`ether_type`].
    pub ether_type: u16,
}

impl Header {
    /// The header as octets.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut octets = [0; HEADER_LEN];
        octets[..6].copy_from_slice(&self.destination);
        octets[6..12].copy_from_slice(&self.source);
        octets[12..].copy_from_slice(&self.ether_type.to_be_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { destination: [2, 0, 0, 0, 0, 1], source: [2, 0, 0, 0, 0, 2], ether_type: 0x0800 };

    /// Service tag 100 with priority 5, customer tag 7, IPv6, one octet.
    const TAGGED: [u8; 23] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xa8, 0xa0, 100, 0x81, 0x00, 0, 7, 0x86, 0xdd,
        0xaa,
    ];

    #[test]
    fn reads_back_what_the_emitter_wrote() {
        let bytes = HEADER.emit();
        let frame = Ethernet::parse(&bytes).unwrap();
        assert_eq!(frame.destination(), HEADER.destination);
        assert_eq!(frame.source(), HEADER.source);
        assert_eq!(frame.ether_type(), HEADER.ether_type);
        assert_eq!(frame.header_octets(), HEADER_LEN);
        assert_eq!(frame.payload(), [0u8; 0]);
    }

    #[test]
    fn reads_the_type_behind_two_tags() {
        let frame = Ethernet::parse(&TAGGED).unwrap();
        assert_eq!(frame.ether_type(), ether_type::IPV6);
        assert_eq!(frame.payload(), [0xaa]);
        assert_eq!(frame.header_octets(), 22);
        let tags: Vec<_> = frame.tags().map(|tag| (tag.id(), tag.priority())).collect();
        assert_eq!(tags, [(100, 5), (7, 0)]);
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        for end in 0..=TAGGED.len() {
            assert_eq!(Ethernet::parse(&TAGGED[..end]).is_ok(), end >= 22, "prefix of {end}");
        }
    }

    #[test]
    fn a_tag_that_is_written_reads_the_same() {
        let outer = Header { ether_type: ether_type::VLAN, ..HEADER };
        let tag = Vlan::new(0xabc, 6).unwrap();
        let frame = [&outer.emit()[..], &tag.emit(ether_type::IPV6)].concat();
        let read = Ethernet::parse(&frame).unwrap();
        assert_eq!(read.ether_type(), ether_type::IPV6);
        assert_eq!(
            read.tags().map(|it| (it.id(), it.priority())).collect::<Vec<_>>(),
            [(0xabc, 6)]
        );
        assert_eq!((Vlan::new(4096, 0), Vlan::new(1, 8)), (None, None));
    }

    #[test]
    fn refuses_a_third_tag() {
        let mut bytes = TAGGED.to_vec();
        bytes.splice(12..12, [0x81, 0x00, 0, 9]);
        assert_eq!(Ethernet::parse(&bytes), Err(Malformed::Depth { limit: 2 }));
    }
}
