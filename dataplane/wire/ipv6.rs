//! Internet Protocol version 6, RFC 8200, with the walk over its extension headers.

use core::net::Ipv6Addr;

mod extensions;

pub use extensions::Extensions;

use super::{Fragment, Malformed, protocol};

/// Octets in an IPv6 header.
pub const HEADER_LEN: usize = 40;

/// Extension headers read before the transport header. RFC 8200, section 4.1, recommends an order
/// in which no packet has more than six (destination options may come twice); eight leaves room.
/// Fewer would drop what the RFC allows, more would let a sender choose how long we work.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// A checked view of one IPv6 packet and of its chain of extension headers.
///
/// Holding an `Ipv6` proves that the header is whole, that the payload length fits the octets of the
/// packet, that the chain ends within it after at most [`MAX_EXTENSION_HEADERS`], and that a
/// fragment keeps the rules of section 4.5. Octets past the payload length are not part of the
/// view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6<'a> {
    header: &'a [u8; HEADER_LEN],
    /// Extension headers, the fragment header among them.
    extensions: &'a [u8],
    protocol: u8,
    fragment: Fragment,
    has_stops: bool,
    payload: &'a [u8],
}

impl<'a> Ipv6<'a> {
    /// Checks `bytes`, which start at the version field.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when the header, or an extension header that the one before
    ///   announced, is not whole.
    /// - [`Malformed::Version`] when the version is not 6.
    /// - [`Malformed::Length`] when the payload length is past `bytes`.
    /// - [`Malformed::Depth`] when the chain is longer than [`MAX_EXTENSION_HEADERS`].
    /// - [`Malformed::Order`] for hop-by-hop options anywhere but first, and for a second fragment
    ///   header.
    /// - [`Malformed::Fragment`] when a fragment with more to come is not a multiple of 8 octets,
    ///   or one ends past the largest datagram.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_head(bytes, bytes.len())
    }

    /// Checks `head`, which starts at the version field and is the beginning of `octets` octets.
    /// Of the payload the view has what is there.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], with `octets` for the bytes present; the extension headers have to be in
    /// `head`.
    #[inline]
    pub fn parse_head(head: &'a [u8], octets: usize) -> Result<Self, Malformed> {
        debug_assert!(head.len() <= octets, "a beginning is no longer than the whole");
        let have = head.len();
        let (header, rest) = head
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(Malformed::Truncated { have, need: HEADER_LEN })?;
        if header[0] >> 4 != 6 {
            return Err(Malformed::Version { found: header[0] >> 4 });
        }
        // RFC 8200, section 3: the payload length counts extension headers, but not this header.
        let field = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if field > octets - HEADER_LEN {
            return Err(Malformed::Length { field, have: octets - HEADER_LEN });
        }
        let body = &rest[..field.min(rest.len())];
        let chain = walk(header[6], body, field)?;
        let (extensions, payload) = body.split_at(chain.octets);
        let fragment = chain.fragment.unwrap_or(Fragment::Whole);
        let Chain { protocol, has_stops, .. } = chain;
        Ok(Self { header, extensions, protocol, fragment, has_stops, payload })
    }

    /// Source address.
    #[inline]
    pub fn source(self) -> Ipv6Addr {
        address(&self.header[8..24])
    }

    /// Destination address as in the header: with a routing header, the next stop.
    #[inline]
    pub fn destination(self) -> Ipv6Addr {
        address(&self.header[24..])
    }

    /// Protocol of the payload. In a later fragment it is what the fragment header announces, which
    /// may be an extension header that only the first fragment holds.
    #[inline]
    pub const fn protocol(self) -> u8 {
        self.protocol
    }

    /// Hop limit.
    #[inline]
    pub const fn hop_limit(self) -> u8 {
        self.header[7]
    }

    /// Differentiated services code point and ECN.
    #[inline]
    pub const fn traffic_class(self) -> u8 {
        self.header[0] << 4 | self.header[1] >> 4
    }

    /// The part of the datagram that this packet carries.
    #[inline]
    pub const fn fragment(self) -> Fragment {
        self.fragment
    }

    /// The extension headers as octets, all that were walked.
    #[inline]
    pub const fn extensions(self) -> &'a [u8] {
        self.extensions
    }

    /// The extension headers one by one.
    #[inline]
    pub const fn each_extension(self) -> Extensions<'a> {
        Extensions::new(self.header[6], self.extensions)
    }

    /// Flow label, 20 bits.
    #[inline]
    pub const fn flow_label(self) -> u32 {
        let h = self.header;
        u32::from_be_bytes([0, h[1] & 0x0f, h[2], h[3]])
    }

    /// Octets of the packet by its payload length, header included.
    #[inline]
    pub const fn total_octets(self) -> usize {
        HEADER_LEN + u16::from_be_bytes([self.header[4], self.header[5]]) as usize
    }

    /// Octets behind the last extension header by the payload length: [`Self::payload`] where all is
    /// there.
    #[inline]
    pub const fn payload_octets(self) -> usize {
        self.total_octets() - HEADER_LEN - self.extensions.len()
    }

    /// Whether a routing header has stops to go: then [`Self::destination`] is not the final one.
    #[inline]
    pub const fn has_stops(self) -> bool {
        self.has_stops
    }

    /// What follows the last extension header, as far as it was there to be parsed.
    #[inline]
    pub const fn payload(self) -> &'a [u8] {
        self.payload
    }
}

fn address(field: &[u8]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(field);
    octets.into()
}

/// Where a chain of extension headers ended.
struct Chain {
    protocol: u8,
    octets: usize,
    fragment: Option<Fragment>,
    has_stops: bool,
}

/// Walks over the extension headers in `body`, the beginning of a payload of `octets`.
fn walk(first: u8, body: &[u8], octets: usize) -> Result<Chain, Malformed> {
    let mut chain = Chain { protocol: first, octets: 0, fragment: None, has_stops: false };
    let mut count = 0;
    while is_extension(chain.protocol) {
        if count == MAX_EXTENSION_HEADERS {
            return Err(Malformed::Depth { limit: MAX_EXTENSION_HEADERS });
        }
        count += 1;
        step(&mut chain, body, octets)?;
        // Behind a later fragment's header is the middle of something: no chain to walk.
        if matches!(chain.fragment, Some(Fragment::Later { .. })) {
            break;
        }
    }
    Ok(chain)
}

/// The list of IANA, but for ESP, behind which nothing can be read, and the numbers for experiments.
/// The steering program has the same: a packet that it takes for UDP is UDP here too.
const fn is_extension(header: u8) -> bool {
    matches!(
        header,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HOST_IDENTITY
            | protocol::SHIM6
    )
}

/// Moves over one extension header.
fn step(chain: &mut Chain, body: &[u8], octets: usize) -> Result<(), Malformed> {
    let header = chain.protocol;
    let here = &body[chain.octets..];
    let have = here.len();
    // All of them are at least eight octets long and start with the next header and, but for
    // fragments, a length.
    let start = here.first_chunk::<8>().ok_or(Malformed::Truncated { have, need: 8 })?;
    let need = header_octets(header, start[1]);
    if have < need {
        return Err(Malformed::Truncated { have, need });
    }
    match header {
        // RFC 8200, section 4.1: hop-by-hop options appear immediately after the IPv6 header only.
        protocol::HOP_BY_HOP if chain.octets > 0 => return Err(Malformed::Order { header }),
        protocol::FRAGMENT if chain.fragment.is_some() => return Err(Malformed::Order { header }),
        protocol::FRAGMENT => {
            chain.fragment = Some(fragment(start, octets - chain.octets - need)?);
        }
        // RFC 8200, section 4.4: the fourth octet is the number of segments left.
        protocol::ROUTING => chain.has_stops |= start[3] != 0,
        _ => {}
    }
    chain.protocol = start[0];
    chain.octets += need;
    Ok(())
}

/// Octets of an extension header by its length field.
const fn header_octets(header: u8, field: u8) -> usize {
    match header {
        protocol::FRAGMENT => 8,
        // RFC 4302, section 2.2: in 32-bit words, minus 2. No real one has 0, but who walks past
        // it, as Linux and the steering program do, finds the next header after 8 octets.
        protocol::AUTHENTICATION => (field as usize + 2) * 4,
        // RFC 8200, sections 4.3 to 4.6, and the others alike: in 8-octet units, not counting the
        // first.
        _ => (field as usize + 1) * 8,
    }
}

/// Reads a fragment header in front of `length` octets. RFC 8200, section 4.5.
fn fragment(header: &[u8; 8], length: usize) -> Result<Fragment, Malformed> {
    let field = u16::from_be_bytes([header[2], header[3]]);
    let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let offset_octets = field & 0xfff8;
    let more = field & 1 != 0;
    let offset = usize::from(offset_octets);
    // "If the length of a fragment ... is not a multiple of 8 octets and the M flag of that
    // fragment is 1, then that fragment must be discarded"; "if ... the Payload Length of the
    // packet reassembled from the fragment would exceed 65,535 octets, then that fragment must be
    // discarded".
    if (more && !length.is_multiple_of(8)) || offset + length > usize::from(u16::MAX) {
        return Err(Malformed::Fragment { offset, length });
    }
    Ok(match offset_octets {
        0 if !more => Fragment::Whole,
        0 => Fragment::First { id },
        _ => Fragment::Later { id, offset_octets, more },
    })
}

/// An IPv6 header to write, without extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Protocol of the payload, see [`super::protocol`].
    pub protocol: u8,
    /// Octets behind the header.
    pub payload_octets: u16,
    /// Hop limit.
    pub hop_limit: u8,
    /// Differentiated services code point and ECN.
    pub traffic_class: u8,
}

impl Header {
    /// The header as octets; the flow label is 0.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut octets = [0; HEADER_LEN];
        octets[0] = 0x60 | self.traffic_class >> 4;
        octets[1] = self.traffic_class << 4;
        octets[4..6].copy_from_slice(&self.payload_octets.to_be_bytes());
        octets[6] = self.protocol;
        octets[7] = self.hop_limit;
        octets[8..24].copy_from_slice(&self.source.octets());
        octets[24..].copy_from_slice(&self.destination.octets());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        destination: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
        protocol: protocol::UDP,
        payload_octets: 3,
        hop_limit: 64,
        traffic_class: 0x88,
    };

    /// A packet whose first header is `first` and whose body is `body`.
    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let payload_octets = u16::try_from(body.len()).unwrap();
        let mut bytes = Header { protocol: first, payload_octets, ..HEADER }.emit().to_vec();
        bytes.extend(body);
        bytes
    }

    /// A minimal extension header that announces `next`.
    fn extension(next: u8) -> [u8; 8] {
        [next, 0, 1, 4, 0, 0, 0, 0]
    }

    fn fragment_header(next: u8, field: u16) -> [u8; 8] {
        let [a, b] = field.to_be_bytes();
        [next, 0, a, b, 0, 0, 0, 9]
    }

    #[test]
    fn reads_back_what_the_emitter_wrote() {
        let mut bytes = packet(protocol::UDP, &[1, 2, 3]);
        bytes.extend([0; 6]);
        let ip = Ipv6::parse(&bytes).unwrap();
        assert_eq!(ip.source(), HEADER.source);
        assert_eq!(ip.destination(), HEADER.destination);
        assert_eq!((ip.protocol(), ip.hop_limit(), ip.traffic_class()), (17, 64, 0x88));
        assert_eq!(ip.payload(), [1, 2, 3]);
        assert_eq!(ip.total_octets(), 43);
        assert_eq!((ip.flow_label(), ip.each_extension().count()), (0, 0));
        (bytes[1], bytes[2], bytes[3]) = (0xfa, 0xbc, 0xde);
        assert_eq!(Ipv6::parse(&bytes).unwrap().flow_label(), 0xa_bcde);
    }

    #[test]
    fn walks_every_kind_of_extension_header() {
        let mut body = Vec::new();
        body.extend(extension(protocol::DESTINATION_OPTIONS)); // The hop-by-hop options.
        body.extend(extension(protocol::ROUTING));
        // A routing header of 24 octets.
        body.extend([protocol::FRAGMENT, 2, 2, 0, 0, 0, 0, 0]);
        body.extend([0; 16]);
        body.extend(fragment_header(protocol::AUTHENTICATION, 1));
        // An authentication header of (4 + 2) * 4 octets.
        body.extend([protocol::DESTINATION_OPTIONS, 4, 0, 0, 0, 0, 0, 1]);
        body.extend([0; 16]);
        body.extend(extension(protocol::TCP));
        body.extend([0xaa; 8]);
        let bytes = packet(protocol::HOP_BY_HOP, &body);
        let ip = Ipv6::parse(&bytes).unwrap();
        assert_eq!(ip.protocol(), protocol::TCP);
        assert_eq!(ip.fragment(), Fragment::First { id: 9 });
        assert_eq!(ip.payload(), [0xaa; 8]);
        assert_eq!(ip.extensions().len(), 8 + 8 + 24 + 8 + 24 + 8);
        let each: Vec<_> = ip.each_extension().map(|(kind, it)| (kind, it.len())).collect();
        assert_eq!(each, [(0, 8), (60, 8), (43, 24), (44, 8), (51, 24), (60, 8)]);
        // Every prefix is refused: the payload length is then past the octets.
        for end in 0..bytes.len() {
            assert!(Ipv6::parse(&bytes[..end]).is_err(), "prefix of {end} octets");
        }
        // Also when the payload length is cut with it, every prefix ends inside the chain or inside
        // the payload.
        for end in 0..body.len() {
            let bytes = packet(protocol::HOP_BY_HOP, &body[..end]);
            let outcome = Ipv6::parse(&bytes).map(|ip| ip.payload().len());
            assert_eq!(outcome.is_ok(), end == 80, "body of {end} octets: {outcome:?}");
        }
    }

    #[test]
    fn walks_the_kinds_that_only_few_use() {
        for kind in [protocol::MOBILITY, protocol::HOST_IDENTITY, protocol::SHIM6] {
            let mut body = vec![protocol::UDP, 1];
            body.resize(16, 0);
            body.extend([0xaa; 8]);
            let bytes = packet(kind, &body);
            let ip = Ipv6::parse(&bytes).unwrap();
            assert_eq!((ip.protocol(), ip.payload()), (protocol::UDP, &[0xaa; 8][..]));
        }
    }

    #[test]
    fn an_authentication_header_ends_where_its_length_says_even_if_that_is_too_early() {
        let mut body = vec![protocol::UDP, 0, 0, 0, 0, 0, 0, 1];
        body.extend([0xaa; 8]);
        let bytes = packet(protocol::AUTHENTICATION, &body);
        let ip = Ipv6::parse(&bytes).unwrap();
        assert_eq!((ip.protocol(), ip.payload()), (protocol::UDP, &[0xaa; 8][..]));
    }

    #[test]
    fn stops_at_a_later_fragment() {
        let mut body = fragment_header(protocol::DESTINATION_OPTIONS, 1480 | 1).to_vec();
        body.extend([0xff; 8]); // Would be an impossible options header.
        let bytes = packet(protocol::FRAGMENT, &body);
        let ip = Ipv6::parse(&bytes).unwrap();
        let later = Fragment::Later { id: 9, offset_octets: 1480, more: true };
        assert_eq!((ip.fragment(), ip.protocol()), (later, protocol::DESTINATION_OPTIONS));
        assert_eq!(ip.payload(), [0xff; 8]);
    }

    #[test]
    fn an_atomic_fragment_is_whole() {
        let mut body = fragment_header(protocol::UDP, 0).to_vec();
        body.push(1);
        assert_eq!(
            Ipv6::parse(&packet(protocol::FRAGMENT, &body)).unwrap().fragment(),
            Fragment::Whole
        );
    }

    #[test]
    fn refuses_fragments_that_break_the_rules() {
        let mut body = fragment_header(protocol::UDP, 1).to_vec();
        body.extend([0; 9]);
        let refusal = Ipv6::parse(&packet(protocol::FRAGMENT, &body)).unwrap_err();
        assert_eq!(refusal, Malformed::Fragment { offset: 0, length: 9 });
        let mut body = fragment_header(protocol::UDP, 0xfff8).to_vec();
        body.extend([0; 8]);
        let refusal = Ipv6::parse(&packet(protocol::FRAGMENT, &body)).unwrap_err();
        assert_eq!(refusal, Malformed::Fragment { offset: 65528, length: 8 });
    }

    #[test]
    fn refuses_a_second_fragment_header() {
        let mut body = fragment_header(protocol::FRAGMENT, 1).to_vec();
        body.extend(fragment_header(protocol::UDP, 1));
        let refusal = Ipv6::parse(&packet(protocol::FRAGMENT, &body)).unwrap_err();
        assert_eq!(refusal, Malformed::Order { header: protocol::FRAGMENT });
    }

    #[test]
    fn refuses_hop_by_hop_options_that_are_not_first() {
        let mut body = extension(protocol::HOP_BY_HOP).to_vec();
        body.extend(extension(protocol::UDP));
        let refusal = Ipv6::parse(&packet(protocol::DESTINATION_OPTIONS, &body)).unwrap_err();
        assert_eq!(refusal, Malformed::Order { header: protocol::HOP_BY_HOP });
    }

    #[test]
    fn refuses_a_chain_without_end() {
        let body = extension(protocol::DESTINATION_OPTIONS).repeat(9);
        let refusal = Ipv6::parse(&packet(protocol::DESTINATION_OPTIONS, &body)).unwrap_err();
        assert_eq!(refusal, Malformed::Depth { limit: 8 });
    }

    #[test]
    fn refuses_another_version() {
        let mut bytes = packet(protocol::UDP, &[]);
        bytes[0] = 0x45;
        assert_eq!(Ipv6::parse(&bytes), Err(Malformed::Version { found: 4 }));
    }

    #[test]
    fn refuses_a_payload_length_past_the_octets() {
        let mut bytes = packet(protocol::UDP, &[1]);
        bytes[5] = 2;
        assert_eq!(Ipv6::parse(&bytes), Err(Malformed::Length { field: 2, have: 1 }));
    }
}
