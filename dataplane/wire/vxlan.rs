//! Virtual eXtensible Local Area Network, RFC 7348.

use super::Malformed;

/// Octets in a VXLAN header.
pub const HEADER_LEN: usize = 8;

/// UDP port of who takes VXLAN, RFC 7348, section 5.
pub const PORT: u16 = 4789;

/// RFC 7348, section 5: the flag that says that the identifier counts.
const IDENTIFIED: u8 = 0x08;

/// A checked view of one VXLAN packet.
///
/// Holding a `Vxlan` proves that the header is whole and says which network it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Vxlan<'a> {
    /// Checks `bytes`, the data of a UDP datagram.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when fewer than [`HEADER_LEN`] octets are present.
    /// - [`Malformed::Version`] with the octet of flags when it does not say that there is an
    ///   identifier.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have: bytes.len(), need: HEADER_LEN })?;
        if header[0] & IDENTIFIED == 0 {
            return Err(Malformed::Version { found: header[0] });
        }
        Ok(Self { header, payload })
    }

    /// VXLAN network identifier, 24 bits.
    #[inline]
    pub const fn identifier(self) -> u32 {
        let h = self.header;
        u32::from_be_bytes([0, h[4], h[5], h[6]])
    }

    /// The Ethernet frame that is carried.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 10] = [0x08, 0, 0, 0, 1, 2, 3, 0, 0xaa, 0xbb];

    #[test]
    fn reads_the_identifier_and_the_frame() {
        let vxlan = Vxlan::parse(&PACKET).unwrap();
        assert_eq!((vxlan.identifier(), vxlan.payload()), (0x01_0203, &[0xaa, 0xbb][..]));
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        for end in 0..=PACKET.len() {
            assert_eq!(Vxlan::parse(&PACKET[..end]).is_ok(), end >= 8, "prefix of {end} octets");
        }
    }

    #[test]
    fn refuses_a_header_without_identifier() {
        let mut bytes = PACKET;
        bytes[0] = 0xf7;
        assert_eq!(Vxlan::parse(&bytes), Err(Malformed::Version { found: 0xf7 }));
    }
}
