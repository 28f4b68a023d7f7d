//! Real-time Transport Protocol, RFC 3550.

use super::Malformed;

/// Octets in an RTP header without contributing sources and extension.
pub const HEADER_LEN: usize = 12;

/// A checked view of one RTP packet.
///
/// Holding an `Rtp` proves that the header with its contributing sources and extension is whole and
/// that the padding fits, so the payload is exactly what the payload format gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    /// Checks `bytes`, a UDP payload.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when the header, its contributing sources or its extension are
    ///   not whole.
    /// - [`Malformed::Version`] when the version is not 2.
    /// - [`Malformed::Length`] when the padding is 0 octets or more than there are.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let have = bytes.len();
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have, need: HEADER_LEN })?;
        if header[0] >> 6 != 2 {
            return Err(Malformed::Version { found: header[0] >> 6 });
        }
        let mut skip = 4 * usize::from(header[0] & 0x0f);
        if header[0] & 0x10 != 0 {
            // RFC 3550, section 5.3.1: a profile's 16 bits, then the number of 32-bit words that
            // follow.
            let need = HEADER_LEN + skip + 4;
            let start = rest.get(skip..skip + 4).ok_or(Malformed::Truncated { have, need })?;
            skip += 4 + 4 * usize::from(u16::from_be_bytes([start[2], start[3]]));
        }
        let mut payload =
            rest.get(skip..).ok_or(Malformed::Truncated { have, need: HEADER_LEN + skip })?;
        if header[0] & 0x20 != 0 {
            // RFC 3550, section 5.1: the last octet of the padding counts the padding, itself
            // included.
            let field = usize::from(payload.last().copied().unwrap_or(0));
            payload = payload
                .len()
                .checked_sub(field)
                .filter(|_| field > 0)
                .map(|len| &payload[..len])
                .ok_or(Malformed::Length { field, have: payload.len() })?;
        }
        Ok(Self { header, payload })
    }

    /// The marker; in video it says "last packet of the frame or field".
    #[inline]
    pub const fn marker(self) -> bool {
        self.header[1] & 0x80 != 0
    }

    /// Payload type, 7 bits.
    #[inline]
    pub const fn payload_type(self) -> u8 {
        self.header[1] & 0x7f
    }

    /// Sequence number.
    #[inline]
    pub const fn sequence(self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Timestamp, in ticks of the payload format's clock.
    #[inline]
    pub const fn timestamp(self) -> u32 {
        let h = self.header;
        u32::from_be_bytes([h[4], h[5], h[6], h[7]])
    }

    /// Synchronisation source.
    #[inline]
    pub const fn ssrc(self) -> u32 {
        let h = self.header;
        u32::from_be_bytes([h[8], h[9], h[10], h[11]])
    }

    /// What the payload format gets: no header, no extension, no padding.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }
}

/// An RTP header to write, without contributing sources, extension or padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The marker.
    pub marker: bool,
    /// Payload type, under 128.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// The header as octets.
    ///
    /// # Panics
    ///
    /// When the payload type does not fit its 7 bits.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        assert!(self.payload_type < 128, "payload type {}", self.payload_type);
        let mut octets = [0; HEADER_LEN];
        octets[0] = 0x80;
        octets[1] = u8::from(self.marker) << 7 | self.payload_type;
        octets[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        octets[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        octets[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        marker: true,
        payload_type: 96,
        sequence: 0xfffe,
        timestamp: 0x0102_0304,
        ssrc: 0x0506_0708,
    };

    /// Two contributing sources, an extension of one word, two octets of payload, three of padding.
    fn everything() -> Vec<u8> {
        let mut bytes = HEADER.emit().to_vec();
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        bytes.extend([0xc1, 0, 0, 1, 0xc1, 0, 0, 2]);
        bytes.extend([0xbe, 0xde, 0, 1, 0x51, 0, 0, 0]);
        bytes.extend([0xaa, 0xbb, 0, 0, 3]);
        bytes
    }

    #[test]
    fn reads_back_what_the_emitter_wrote() {
        let bytes = HEADER.emit();
        let rtp = Rtp::parse(&bytes).unwrap();
        assert!(rtp.marker());
        assert_eq!((rtp.payload_type(), rtp.sequence()), (96, 0xfffe));
        assert_eq!((rtp.timestamp(), rtp.ssrc()), (0x0102_0304, 0x0506_0708));
        assert_eq!(rtp.payload(), [0u8; 0]);
    }

    #[test]
    fn skips_sources_extension_and_padding() {
        assert_eq!(Rtp::parse(&everything()).unwrap().payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        let mut bytes = everything();
        bytes[0] &= !0x20; // Without padding, the header is what must be whole.
        for end in 0..=bytes.len() {
            assert_eq!(Rtp::parse(&bytes[..end]).is_ok(), end >= 28, "prefix of {end} octets");
        }
    }

    #[test]
    fn refuses_padding_of_nothing_or_of_more_than_there_is() {
        for (count, fits) in [(0, false), (1, true), (5, true), (6, false)] {
            let mut bytes = everything();
            *bytes.last_mut().unwrap() = count;
            assert_eq!(Rtp::parse(&bytes).is_ok(), fits, "{count} octets of padding");
        }
    }

    #[test]
    fn refuses_another_version() {
        let mut bytes = everything();
        bytes[0] ^= 0xc0;
        assert_eq!(Rtp::parse(&bytes), Err(Malformed::Version { found: 1 }));
    }

    #[test]
    fn refuses_an_extension_past_the_packet() {
        let mut bytes = everything();
        bytes[23] = 3;
        assert_eq!(Rtp::parse(&bytes), Err(Malformed::Truncated { have: 33, need: 36 }));
    }
}
