//! Internet Control Message Protocol, RFC 792 and, for IPv6, RFC 4443.

use super::Malformed;

/// Octets that every message has: type, code, checksum, and four whose meaning is the type's.
///
/// RFC 4443 counts four, but no message that it or a later RFC defines is shorter than eight, and
/// the kernel refuses shorter ones too.
pub const HEADER_LEN: usize = 8;

/// A checked view of one ICMP or ICMPv6 message. The two number their types differently, so whoever
/// asks for [`Icmp::kind`] must know which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Icmp<'a> {
    /// Checks `bytes`, which start at the type and end with the IP payload.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`] when fewer than [`HEADER_LEN`] octets are present.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have: bytes.len(), need: HEADER_LEN })?;
        Ok(Self { header, payload })
    }

    /// The type: 8 asks for an echo in ICMP, 128 in ICMPv6.
    #[inline]
    pub const fn kind(self) -> u8 {
        self.header[0]
    }

    /// The code, a refinement of the type.
    #[inline]
    pub const fn code(self) -> u8 {
        self.header[1]
    }

    /// Checksum as sent.
    #[inline]
    pub const fn checksum(self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// The four octets whose meaning is the type's: of an echo, its identifier and number.
    #[inline]
    pub const fn rest(self) -> [u8; 4] {
        [self.header[4], self.header[5], self.header[6], self.header[7]]
    }

    /// What follows the first eight octets.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_type_and_code() {
        let icmp = Icmp::parse(&[3, 4, 0x12, 0x34, 0, 0, 5, 0xdc, 0x45]).unwrap();
        assert_eq!((icmp.kind(), icmp.code(), icmp.checksum()), (3, 4, 0x1234));
        assert_eq!(icmp.rest(), [0, 0, 5, 0xdc]);
        assert_eq!(icmp.payload(), [0x45]);
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        for end in 0..=9 {
            assert_eq!(Icmp::parse(&[0xa5; 9][..end]).is_ok(), end >= 8, "prefix of {end}");
        }
    }
}
