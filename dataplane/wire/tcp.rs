//! Transmission Control Protocol, RFC 9293.

pub mod options;

use super::Malformed;
use options::Options;

/// Octets in a TCP header without options.
pub const HEADER_LEN: usize = 20;

/// The control bits of a segment, RFC 9293, section 3.1; the low octet, without the accurate-ECN
/// bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Sender has finished.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Explicit congestion notification echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);

    /// Both sets together.
    #[must_use]
    #[inline]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A checked view of one TCP segment.
///
/// Holding a `Tcp` proves that the header with its options is whole. The options are read when asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    header: &'a [u8; HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Tcp<'a> {
    /// Checks `bytes`, which start at the TCP header and end with the IP payload.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when fewer than [`HEADER_LEN`] octets are present.
    /// - [`Malformed::Length`] when the data offset is under [`HEADER_LEN`] or runs past `bytes`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let have = bytes.len();
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have, need: HEADER_LEN })?;
        // RFC 9293, section 3.1: the data offset counts 32-bit words of header.
        let field = usize::from(header[12] >> 4) * 4;
        let (options, payload) = field
            .checked_sub(HEADER_LEN)
            .and_then(|len| rest.split_at_checked(len))
            .ok_or(Malformed::Length { field, have })?;
        Ok(Self { header, options, payload })
    }

    /// Source port.
    #[inline]
    pub const fn source(self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port.
    #[inline]
    pub const fn destination(self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Sequence number of the first data octet, or of the SYN.
    #[inline]
    pub const fn sequence(self) -> u32 {
        let h = self.header;
        u32::from_be_bytes([h[4], h[5], h[6], h[7]])
    }

    /// Acknowledgment number; counts only with [`Flags::ACK`].
    #[inline]
    pub const fn acknowledgment(self) -> u32 {
        let h = self.header;
        u32::from_be_bytes([h[8], h[9], h[10], h[11]])
    }

    /// Control bits.
    #[inline]
    pub const fn flags(self) -> Flags {
        Flags(self.header[13])
    }

    /// Receive window as sent, not scaled.
    #[inline]
    pub const fn window(self) -> u16 {
        u16::from_be_bytes([self.header[14], self.header[15]])
    }

    /// Checksum as sent.
    #[inline]
    pub const fn checksum(self) -> u16 {
        u16::from_be_bytes([self.header[16], self.header[17]])
    }

    /// Urgent pointer; counts only with [`Flags::URG`].
    #[inline]
    pub const fn urgent_pointer(self) -> u16 {
        u16::from_be_bytes([self.header[18], self.header[19]])
    }

    /// Octets of header and options.
    #[inline]
    pub const fn header_octets(self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// The options, 0 to 40 octets, padding included.
    #[inline]
    pub const fn options(self) -> &'a [u8] {
        self.options
    }

    /// The options one by one.
    #[inline]
    pub const fn each_option(self) -> Options<'a> {
        Options::new(self.options)
    }

    /// The data octets.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }
}

/// A TCP header to write, without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: Flags,
    /// Receive window.
    pub window: u16,
    /// Checksum; see [`super::checksum`].
    pub checksum: u16,
}

impl Header {
    /// The header as octets; the urgent pointer is 0.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut octets = [0; HEADER_LEN];
        octets[..2].copy_from_slice(&self.source.to_be_bytes());
        octets[2..4].copy_from_slice(&self.destination.to_be_bytes());
        octets[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        octets[8..12].copy_from_slice(&self.acknowledgment.to_be_bytes());
        octets[12] = 0x50;
        octets[13] = self.flags.0;
        octets[14..16].copy_from_slice(&self.window.to_be_bytes());
        octets[16..18].copy_from_slice(&self.checksum.to_be_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        source: 40000,
        destination: 443,
        sequence: 0x0102_0304,
        acknowledgment: 0x0506_0708,
        flags: Flags::SYN.with(Flags::ACK),
        window: 1024,
        checksum: 0xbeef,
    };

    /// The header above with one maximum-segment-size option and two octets of data.
    fn segment() -> Vec<u8> {
        let mut bytes = HEADER.emit().to_vec();
        bytes[12] = 0x60;
        bytes.extend([2, 4, 5, 0xb4, b'h', b'i']);
        bytes
    }

    #[test]
    fn reads_back_what_the_emitter_wrote() {
        let bytes = segment();
        let tcp = Tcp::parse(&bytes).unwrap();
        assert_eq!((tcp.source(), tcp.destination()), (40000, 443));
        assert_eq!((tcp.sequence(), tcp.acknowledgment()), (0x0102_0304, 0x0506_0708));
        assert_eq!((tcp.window(), tcp.checksum()), (1024, 0xbeef));
        assert!(tcp.flags().contains(Flags::SYN) && !tcp.flags().contains(Flags::RST));
        assert_eq!(tcp.options(), [2, 4, 5, 0xb4]);
        assert_eq!(tcp.each_option().collect::<Vec<_>>(), [(2, &[5, 0xb4][..])]);
        assert_eq!((tcp.header_octets(), tcp.urgent_pointer()), (24, 0));
        assert_eq!(tcp.payload(), b"hi");
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        let bytes = segment();
        for end in 0..=bytes.len() {
            assert_eq!(Tcp::parse(&bytes[..end]).is_ok(), end >= 24, "prefix of {end} octets");
        }
    }

    #[test]
    fn refuses_a_data_offset_shorter_than_the_header() {
        let mut bytes = segment();
        bytes[12] = 0x40;
        assert_eq!(Tcp::parse(&bytes), Err(Malformed::Length { field: 16, have: 26 }));
    }

    #[test]
    fn refuses_options_that_run_past_the_segment() {
        let mut bytes = segment();
        bytes[12] = 0xf0;
        assert_eq!(Tcp::parse(&bytes), Err(Malformed::Length { field: 60, have: 26 }));
    }
}
