//! User Datagram Protocol, RFC 768.

use super::Malformed;

/// Octets in a UDP header.
pub const HEADER_LEN: usize = 8;

/// A checked view of one UDP datagram.
///
/// Holding a `Udp` proves that the header is whole and that its length field fits the octets of the
/// datagram, so no accessor can fail. Octets past the length field (Ethernet padding, say) are not
/// part of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Checks `bytes`, which start at the UDP header and end with the IP payload.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when fewer than [`HEADER_LEN`] octets are present.
    /// - [`Malformed::Length`] when the length field is under [`HEADER_LEN`] or runs past `bytes`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_head(bytes, bytes.len())
    }

    /// Checks `head`, which starts at the UDP header and is the beginning of `octets` octets of IP
    /// payload. Of the data the view has what is there.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], with `octets` for the bytes present.
    #[inline]
    pub fn parse_head(head: &'a [u8], octets: usize) -> Result<Self, Malformed> {
        debug_assert!(head.len() <= octets, "a beginning is no longer than the whole");
        let (header, rest, field) = Self::split(head)?;
        // RFC 768, Fields: the length counts header and data, so 8 is its minimum. A zero for
        // "jumbogram" (RFC 2675, section 4) needs a hop-by-hop option that nobody sends.
        let len = field
            .checked_sub(HEADER_LEN)
            .filter(|_| field <= octets)
            .ok_or(Malformed::Length { field, have: octets })?;
        Ok(Self { header, payload: &rest[..len.min(rest.len())] })
    }

    /// Checks `head` of a datagram's first fragment, the beginning of `octets` octets: there the
    /// length field counts parts that are still to come, so the payload is what is here.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], but the length field has to run past `octets`: parts follow, and a
    /// datagram that ends before them is a trick on whoever reassembles.
    #[inline]
    pub fn parse_first_fragment(head: &'a [u8], octets: usize) -> Result<Self, Malformed> {
        let (header, payload, field) = Self::split(head)?;
        if field <= octets {
            return Err(Malformed::Length { field, have: octets });
        }
        Ok(Self { header, payload })
    }

    fn split(bytes: &'a [u8]) -> Result<(&'a [u8; HEADER_LEN], &'a [u8], usize), Malformed> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have: bytes.len(), need: HEADER_LEN })?;
        Ok((header, rest, usize::from(u16::from_be_bytes([header[4], header[5]]))))
    }

    /// Source port, in host order.
    #[inline]
    pub const fn source(self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port, in host order.
    #[inline]
    pub const fn destination(self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Octets of header and data by the length field. In a first fragment it counts later ones too.
    #[inline]
    pub const fn octets(self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }

    /// Checksum as sent, or `None` where the sender computed none.
    ///
    /// RFC 768, Fields: an all-zero checksum means "not computed". Over IPv6 that is an error by
    /// default (RFC 8200, section 8.1); the caller knows which IP it unwrapped, so the caller
    /// decides.
    #[inline]
    pub const fn checksum(self) -> Option<u16> {
        match u16::from_be_bytes([self.header[6], self.header[7]]) {
            0 => None,
            sum => Some(sum),
        }
    }

    /// The data octets, without header and without padding, as far as they were there to be parsed.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }
}

/// A UDP header to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Octets of data behind the header.
    pub payload_octets: u16,
    /// Checksum, 0 for none; see [`super::checksum`].
    pub checksum: u16,
}

impl Header {
    /// The header as octets.
    ///
    /// # Panics
    ///
    /// When header and data are more than 65,535 octets.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let length = self.payload_octets.checked_add(8).expect("a UDP length");
        let mut octets = [0; HEADER_LEN];
        octets[..2].copy_from_slice(&self.source.to_be_bytes());
        octets[2..4].copy_from_slice(&self.destination.to_be_bytes());
        octets[4..6].copy_from_slice(&length.to_be_bytes());
        octets[6..].copy_from_slice(&self.checksum.to_be_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DNS-sized example: port 48896 to 53, length 10, no checksum, then padding.
    const DATAGRAM: [u8; 12] = [0xbf, 0, 0, 53, 0, 10, 0, 0, 0xaa, 0xff, 0, 0];

    #[test]
    fn reads_fields_and_leaves_padding_out() {
        let udp = Udp::parse(&DATAGRAM).unwrap();
        assert_eq!(udp.source(), 48896);
        assert_eq!(udp.destination(), 53);
        assert_eq!(udp.checksum(), None);
        assert_eq!(udp.payload(), [0xaa, 0xff]);
    }

    #[test]
    fn writes_what_it_reads() {
        let header = Header { source: 48896, destination: 53, payload_octets: 2, checksum: 0 };
        assert_eq!(header.emit(), DATAGRAM[..8]);
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        for end in 0..=DATAGRAM.len() {
            let whole = Udp::parse(&DATAGRAM[..end]).is_ok();
            assert_eq!(whole, end >= 10, "prefix of {end} octets");
        }
    }

    #[test]
    fn refuses_a_length_field_shorter_than_the_header() {
        let mut bytes = DATAGRAM;
        bytes[5] = 7;
        let refusal = Udp::parse(&bytes).unwrap_err();
        assert_eq!(refusal, Malformed::Length { field: 7, have: 12 });
    }

    #[test]
    fn a_first_fragment_says_more_than_it_holds() {
        let mut bytes = DATAGRAM;
        bytes[4] = 9;
        assert_eq!(Udp::parse(&bytes), Err(Malformed::Length { field: 0x90a, have: 12 }));
        let udp = Udp::parse_first_fragment(&bytes, 12).unwrap();
        assert_eq!(udp.payload(), [0xaa, 0xff, 0, 0]);
    }

    #[test]
    fn refuses_a_first_fragment_that_says_it_is_all() {
        let refusal = Udp::parse_first_fragment(&DATAGRAM, 12).unwrap_err();
        assert_eq!(refusal, Malformed::Length { field: 10, have: 12 });
    }
}
