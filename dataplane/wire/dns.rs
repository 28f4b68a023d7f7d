//! Domain Name System, RFC 1035: the header and the first question of a message.

use super::Malformed;

/// Octets in the header of a message.
pub const HEADER_LEN: usize = 12;

/// UDP and TCP port of servers.
pub const PORT: u16 = 53;

/// RFC 1035, section 2.3.4: octets of a name at most, with lengths and the final zero.
pub const NAME_MAX: usize = 255;

/// RFC 1035, section 2.3.4: octets of a label at most. A length above it is a pointer (section
/// 4.1.4) or nothing.
const LABEL_MAX: u8 = 63;

/// A checked view of one message.
///
/// Holding a `Dns` proves that the header is whole, and nothing of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dns<'a> {
    header: &'a [u8; HEADER_LEN],
    body: &'a [u8],
}

/// The first question of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name in the form of the wire: labels with their lengths, and the final zero. 1 to
    /// [`NAME_MAX`] octets, with no pointer in it.
    pub name: &'a [u8],
    /// Type and class, where they are whole.
    pub asked: Option<(u16, u16)>,
}

impl<'a> Dns<'a> {
    /// Checks `bytes`, the data of a UDP datagram.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`] when fewer than [`HEADER_LEN`] octets are present.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have: bytes.len(), need: HEADER_LEN })?;
        Ok(Self { header, body })
    }

    /// Checks `bytes`, the data of a TCP segment at the beginning of a message. RFC 1035, section
    /// 4.2.2: two octets of length come before it. The segment need not have all of the message.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], and [`Malformed::Length`] when that length is shorter than a header.
    #[inline]
    pub fn parse_segment(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let have = bytes.len();
        let (length, message) = bytes
            .split_first_chunk::<2>()
            .ok_or(Malformed::Truncated { have, need: 2 + HEADER_LEN })?;
        let field = usize::from(u16::from_be_bytes(*length));
        if field < HEADER_LEN {
            return Err(Malformed::Length { field, have: have - 2 });
        }
        Self::parse(&message[..field.min(message.len())])
    }

    const fn word(self, at: usize) -> u16 {
        u16::from_be_bytes([self.header[at], self.header[at + 1]])
    }

    /// Identification.
    #[inline]
    pub const fn id(self) -> u16 {
        self.word(0)
    }

    /// Whether it is a response.
    #[inline]
    pub const fn is_response(self) -> bool {
        self.header[2] & 0x80 != 0
    }

    /// Kind of query, 4 bits.
    #[inline]
    pub const fn opcode(self) -> u8 {
        self.header[2] >> 3 & 0x0f
    }

    /// Authoritative answer.
    #[inline]
    pub const fn is_authoritative(self) -> bool {
        self.header[2] & 0x04 != 0
    }

    /// Truncated.
    #[inline]
    pub const fn is_truncated(self) -> bool {
        self.header[2] & 0x02 != 0
    }

    /// Recursion desired.
    #[inline]
    pub const fn recursion_desired(self) -> bool {
        self.header[2] & 0x01 != 0
    }

    /// Recursion available.
    #[inline]
    pub const fn recursion_available(self) -> bool {
        self.header[3] & 0x80 != 0
    }

    /// Response code, the 4 bits of the header.
    #[inline]
    pub const fn response_code(self) -> u8 {
        self.header[3] & 0x0f
    }

    /// Questions, answers, authority records and additional records, as counted by the header.
    #[inline]
    pub const fn counts(self) -> [u16; 4] {
        [self.word(4), self.word(6), self.word(8), self.word(10)]
    }

    /// The first question. `None` where the header counts none, and where the name is cut off, too
    /// long, or holds a pointer: before the first question there is nothing to point at.
    #[inline]
    pub fn question(self) -> Option<Question<'a>> {
        if self.counts()[0] == 0 {
            return None;
        }
        let name = &self.body[..name_octets(self.body)?];
        let asked = self.body[name.len()..].first_chunk().map(|&[a, b, c, d]| {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])) //
        });
        Some(Question { name, asked })
    }
}

/// Octets of the name that `body` begins with, its final zero included.
fn name_octets(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < NAME_MAX {
        match *body.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=LABEL_MAX => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question for the RRSIG of `a.example`, recursion desired.
    const QUERY: [u8; 27] = [
        0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1, 1, b'a', 7, b'e', b'x', b'a', b'm', b'p',
        b'l', b'e', 0, 0, 46, 0, 1,
    ];

    #[test]
    fn reads_header_and_question() {
        let dns = Dns::parse(&QUERY).unwrap();
        assert_eq!((dns.id(), dns.opcode(), dns.response_code()), (0x1234, 0, 0));
        assert!(!dns.is_response() && dns.recursion_desired() && !dns.recursion_available());
        assert!(!dns.is_authoritative() && !dns.is_truncated());
        assert_eq!(dns.counts(), [1, 0, 0, 1]);
        let question = dns.question().unwrap();
        assert_eq!(question.name, b"\x01a\x07example\0");
        assert_eq!(question.asked, Some((46, 1)));
    }

    #[test]
    fn reads_every_flag_from_its_own_bit() {
        let mut bytes = QUERY;
        (bytes[2], bytes[3]) = (0b1010_1110, 0b1000_0101);
        let dns = Dns::parse(&bytes).unwrap();
        assert!(dns.is_response() && dns.is_authoritative() && dns.is_truncated());
        assert!(!dns.recursion_desired() && dns.recursion_available());
        assert_eq!((dns.opcode(), dns.response_code()), (5, 5));
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        for end in 0..=QUERY.len() {
            let dns = Dns::parse(&QUERY[..end]);
            assert_eq!(dns.is_ok(), end >= HEADER_LEN, "prefix of {end} octets");
            let question = dns.ok().and_then(Dns::question);
            assert_eq!(question.is_some(), end >= 23, "prefix of {end} octets");
            assert_eq!(question.is_some_and(|it| it.asked.is_some()), end >= 27);
        }
    }

    #[test]
    fn a_segment_has_the_length_before_the_message() {
        let segment = [&[0, 27][..], &QUERY, &[0xff; 9]].concat();
        assert_eq!(Dns::parse_segment(&segment), Dns::parse(&QUERY));
        assert!(Dns::parse_segment(&segment[..14]).is_ok(), "the rest is in the next segment");
        let refusal = Dns::parse_segment(&[0, 11, 0, 0]).unwrap_err();
        assert_eq!(refusal, Malformed::Length { field: 11, have: 2 });
        for end in 0..14 {
            assert!(Dns::parse_segment(&segment[..end]).is_err());
        }
    }

    #[test]
    fn a_name_is_as_long_as_names_are_and_has_no_pointer() {
        let message = |name: &[u8]| [&QUERY[..12], name, &[0, 1, 0, 1]].concat();
        let asks = |name: &[u8]| Dns::parse(&message(name)).unwrap().question().is_some();
        assert!(asks(&[0]), "the root");
        assert!(!asks(&[0xc0, 12]), "a pointer to itself");
        assert!(!asks(&[64; 66]), "a label longer than labels are");
        let long = |last: u8| {
            let mut name = [[63; 64]; 3].concat();
            name.push(last);
            name.resize(name.len() + usize::from(last), 1);
            name.push(0);
            name
        };
        assert_eq!(long(61).len(), NAME_MAX);
        assert!(asks(&long(61)));
        assert!(!asks(&long(62)));
        let mut none = QUERY;
        none[5] = 0;
        assert_eq!(Dns::parse(&none).unwrap().question(), None, "no question is counted");
    }
}
