//! Generic Routing Encapsulation, RFC 2784 with the key and sequence number of RFC 2890, and the
//! version 1 of PPTP, RFC 2637.

use super::Malformed;

/// Octets in a GRE header without optional fields.
pub const HEADER_LEN: usize = 4;

/// What GRE carries where it carries whole Ethernet frames.
pub const ETHERNET: u16 = 0x6558;

const CHECKSUM: u8 = 0x80;
const ROUTING: u8 = 0x40;
const KEY: u8 = 0x20;
const SEQUENCE: u8 = 0x10;
/// Of version 1, in the second octet.
const ACKNOWLEDGMENT: u8 = 0x80;

/// A checked view of one GRE packet.
///
/// Holding a `Gre` proves that the header with its optional fields is whole, as far as they can be
/// measured: behind a source route of RFC 1701 nothing is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gre<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Gre<'a> {
    /// Checks `bytes`, which start at the GRE header and end with the IP payload.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when the header is not whole.
    /// - [`Malformed::Version`] when the version is neither 0 nor 1.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let have = bytes.len();
        let (header, _) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have, need: HEADER_LEN })?;
        let field = |there: bool| if there { 4 } else { 0 };
        let need = HEADER_LEN
            + field(header[0] & KEY != 0)
            + field(header[0] & SEQUENCE != 0)
            + match header[1] & 0x07 {
                // RFC 2784, section 2.1: checksum and a reserved field are there together; RFC 1701
                // has the same octets when there is a route.
                0 => field(header[0] & (CHECKSUM | ROUTING) != 0),
                1 => field(header[1] & ACKNOWLEDGMENT != 0),
                found => return Err(Malformed::Version { found }),
            };
        let payload = bytes.get(need..).ok_or(Malformed::Truncated { have, need })?;
        Ok(Self { header, payload })
    }

    /// EtherType of what is carried; 0x880b, PPP, in version 1.
    #[inline]
    pub const fn protocol(self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// 0, or 1 for PPTP.
    #[inline]
    pub const fn version(self) -> u8 {
        self.header[1] & 0x07
    }

    /// What follows the header and its optional fields.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }

    /// Whether [`Self::payload`] begins with what [`Self::protocol`] says: not behind a source route
    /// (RFC 1701), whose length is not read, and not in version 1.
    #[inline]
    pub const fn shows_what_it_carries(self) -> bool {
        self.version() == 0 && self.header[0] & ROUTING == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_carried_behind_each_optional_field() {
        for (flags, second, octets) in [
            (0, 0, 4),
            (CHECKSUM, 0, 8),
            (KEY, 0, 8),
            (SEQUENCE, 0, 8),
            (CHECKSUM | KEY | SEQUENCE, 0, 16),
            (KEY, 1, 8),
            (KEY | SEQUENCE, 1 | ACKNOWLEDGMENT, 16),
        ] {
            let mut bytes = vec![flags, second, 8, 0];
            bytes.resize(octets, 0xa5);
            bytes.push(1);
            let gre = Gre::parse(&bytes).unwrap();
            assert_eq!((gre.protocol(), gre.payload()), (0x0800, &[1][..]), "{flags:02x}");
            assert_eq!(gre.shows_what_it_carries(), second == 0);
            for end in 0..octets {
                let refusal = Gre::parse(&bytes[..end]).unwrap_err();
                assert!(matches!(refusal, Malformed::Truncated { .. }), "{refusal}");
            }
        }
    }

    #[test]
    fn a_source_route_is_not_read() {
        let bytes = [ROUTING, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(!Gre::parse(&bytes).unwrap().shows_what_it_carries());
    }

    #[test]
    fn refuses_another_version() {
        assert_eq!(Gre::parse(&[0, 2, 8, 0]), Err(Malformed::Version { found: 2 }));
    }
}
