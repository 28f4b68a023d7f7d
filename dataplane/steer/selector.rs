//! Selectors: which packets leave the kernel, and for which service.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Most selectors in one program, as in steer.bpf.c: one for each bit of a word, so that a packet
/// finds those that could want its destination by a table look-up for each octet of it. Too low:
/// operators have to join what is not alike. Higher: two words, and tables of twice the size.
pub const SELECTORS_MAX: usize = 64;

/// Octets of one selector in the program's map, `struct selector` of steer.bpf.c.
pub(super) const SELECTOR_OCTETS: usize = 72;

const ANY_PROTOCOL: u8 = 1;
const PORTS: u8 = 2;
const TAKE_FRAGMENTS: u8 = 4;
const PROTECTS: u8 = 8;
const CLOSED: u8 = 16;

/// An IP prefix. Holding one proves that its length fits its family and that no bit behind
/// the length is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// The prefix of `len` bits at `address`.
    ///
    /// # Errors
    ///
    /// When `len` is over 32 (IPv4) or 128 (IPv6), or `address` has bits behind it: then
    /// the writer meant something else, and rounding would hide it.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if len > bits {
            return Err(PrefixError::Length { address, len, bits });
        }
        let prefix = Self { address, len };
        let network = prefix.network();
        if network != address {
            return Err(PrefixError::HostBits { address, len, network });
        }
        Ok(prefix)
    }

    /// The prefix that holds `address` alone.
    pub const fn host(address: IpAddr) -> Self {
        let len = if address.is_ipv4() { 32 } else { 128 };
        Self { address, len }
    }

    /// First address of the prefix.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Length, in bits.
    pub const fn bits(self) -> u8 {
        self.len
    }

    /// Whether `address` lies in this prefix.
    pub fn contains(self, address: IpAddr) -> bool {
        let (own, mask) = self.words();
        address.is_ipv4() == self.address.is_ipv4()
            && wire_octets(address).iter().zip(mask).zip(own).all(|((a, m), p)| a & m == p)
    }

    fn network(self) -> IpAddr {
        let (_, mask) = self.words();
        match self.address {
            IpAddr::V4(address) => {
                let mask = [mask[0], mask[1], mask[2], mask[3]];
                IpAddr::V4((u32::from(address) & u32::from_be_bytes(mask)).into())
            }
            IpAddr::V6(address) => {
                IpAddr::V6((u128::from(address) & u128::from_be_bytes(mask)).into())
            }
        }
    }

    /// Address and mask as in the program's map: octets as on the wire, zeros behind IPv4.
    fn words(self) -> ([u8; 16], [u8; 16]) {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.len)).unwrap_or(0);
        (wire_octets(self.address), mask.to_be_bytes())
    }
}

pub(super) fn wire_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
        IpAddr::V6(address) => address.octets(),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `198.18.0.0/15`, `2001:db8::/32`, or an address alone.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let malformed = || PrefixError::Malformed { text: text.into() };
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        match len {
            None => Ok(Self::host(address)),
            Some(len) => Self::new(address, len.parse().map_err(|_| malformed())?),
        }
    }
}

/// Why something is no prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrefixError {
    /// Longer than an address of the family.
    Length {
        /// The address.
        address: IpAddr,
        /// The length asked for.
        len: u8,
        /// The longest of this family.
        bits: u8,
    },
    /// Bits are set behind the length.
    HostBits {
        /// The address.
        address: IpAddr,
        /// The length asked for.
        len: u8,
        /// The address without those bits.
        network: IpAddr,
    },
    /// Not an address and a length.
    Malformed {
        /// What was found.
        text: Box<str>,
    },
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { address, len, bits } => {
                write!(f, "{address}/{len}: a prefix of this family has at most {bits} bits")
            }
            Self::HostBits { address, len, network } => write!(
                f,
                "{address}/{len} has bits behind its length; write {network}/{len} or {address}",
            ),
            Self::Malformed { text } => {
                write!(f, "{text:?} is no prefix such as 198.18.0.0/15 or 2001:db8::/32")
            }
        }
    }
}

impl std::error::Error for PrefixError {}

/// The upper-layer protocol a selector asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Any, known or not. With a port range: any that has ports (TCP, UDP, SCTP).
    #[default]
    Any,
    /// The one with this number.
    Number(u8),
}

impl Protocol {
    /// TCP.
    pub const TCP: Self = Self::Number(6);
    /// UDP.
    pub const UDP: Self = Self::Number(17);
    /// SCTP.
    pub const SCTP: Self = Self::Number(132);

    const fn has_ports(self) -> bool {
        matches!(self, Self::Any | Self::Number(6 | 17 | 132))
    }
}

/// What a selector with a port range does with IP fragments behind the first, which carry
/// no ports. The first one is matched by its ports like any packet.
///
/// A selector without a port range asks nothing that a later fragment does not show, and
/// takes it under either policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fragments {
    /// Leaves them to the kernel.
    #[default]
    Pass,
    /// Takes those whose addresses and protocol match, whatever the ports of the first were.
    Take,
}

/// What becomes of the packets of a protected destination while its scrubber stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stalled {
    /// They pass to the kernel.
    #[default]
    Open,
    /// They are dropped.
    Closed,
}

/// What makes a selector one that protects its destination: its packets are counted, and leave the
/// kernel only while it is engaged ([`State`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protection {
    /// Whose cached verdicts hold for it: a number that the selectors of one service share.
    pub scope: u8,
    /// What becomes of its packets while the shard stands still.
    pub stalled: Stalled,
    /// What it is when the list of selectors is set.
    pub state: State,
}

/// Whether the packets of a protected destination leave the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// They are counted and stay.
    #[default]
    Peace = 0,
    /// They leave: all but those that a cached verdict or a socket of the kernel's decides on.
    Engaged = 1,
    /// They stay, but those of flows of which packets are still out follow them, so that none is
    /// overtaken. [`super::Steering::end_draining`] makes peace of it when the last is back.
    Draining = 2,
}

/// One kind of packets to take from the kernel. All that it names must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Destination addresses.
    pub destination: Prefix,
    /// Source addresses, if it matters.
    pub source: Option<Prefix>,
    /// Upper-layer protocol.
    pub protocol: Protocol,
    /// Destination ports of TCP, UDP or SCTP, if it matters.
    pub destination_ports: Option<RangeInclusive<u16>>,
    /// What happens to fragments without ports.
    pub fragments: Fragments,
    /// Whether the destination is protected; if not, the packets always leave the kernel.
    pub protection: Option<Protection>,
}

impl Selector {
    /// Checks what the types leave open.
    pub(super) fn check(&self) -> Result<(), SelectorError> {
        if let Some(source) = self.source
            && source.address.is_ipv4() != self.destination.address.is_ipv4()
        {
            return Err(SelectorError::Families { source, destination: self.destination });
        }
        let Some(ports) = &self.destination_ports else { return Ok(()) };
        if ports.is_empty() {
            return Err(SelectorError::EmptyPorts { low: *ports.start(), high: *ports.end() });
        }
        match self.protocol {
            Protocol::Number(protocol) if !self.protocol.has_ports() => {
                Err(SelectorError::NoPorts { protocol })
            }
            _ => Ok(()),
        }
    }

    /// Whether the destination may have `value` in its octet `place`, counted from 0.
    pub(super) fn may_have(&self, place: usize, value: u8) -> bool {
        let (address, mask) = self.destination.words();
        value & mask[place] == address[place]
    }

    /// `struct selector` of steer.bpf.c.
    pub(super) fn encode(&self) -> [u8; SELECTOR_OCTETS] {
        let mut octets = [0; SELECTOR_OCTETS];
        let (address, mask) = self.destination.words();
        octets[..16].copy_from_slice(&address);
        octets[16..32].copy_from_slice(&mask);
        if let Some(source) = self.source {
            let (address, mask) = source.words();
            octets[32..48].copy_from_slice(&address);
            octets[48..64].copy_from_slice(&mask);
        }
        let mut flags = 0;
        if let Some(ports) = &self.destination_ports {
            octets[64..66].copy_from_slice(&ports.start().to_ne_bytes());
            octets[66..68].copy_from_slice(&ports.end().to_ne_bytes());
            flags |= PORTS;
        }
        octets[68] = if self.destination.address.is_ipv4() { 4 } else { 6 };
        match self.protocol {
            Protocol::Any => flags |= ANY_PROTOCOL,
            Protocol::Number(number) => octets[69] = number,
        }
        if self.fragments == Fragments::Take {
            flags |= TAKE_FRAGMENTS;
        }
        if let Some(protection) = self.protection {
            flags |= PROTECTS;
            if protection.stalled == Stalled::Closed {
                flags |= CLOSED;
            }
            octets[71] = protection.scope;
        }
        octets[70] = flags;
        octets
    }
}

/// Why a selector can match nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelectorError {
    /// Source and destination of different families.
    Families {
        /// The source prefix.
        source: Prefix,
        /// The destination prefix.
        destination: Prefix,
    },
    /// A port range that ends before it starts.
    EmptyPorts {
        /// Its first port.
        low: u16,
        /// Its last port.
        high: u16,
    },
    /// A port range for a protocol without ports.
    NoPorts {
        /// The protocol's number.
        protocol: u8,
    },
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Families { source, destination } => {
                write!(f, "source {source} and destination {destination} are of different families")
            }
            Self::EmptyPorts { low, high } => {
                write!(f, "the port range {low}-{high} is empty; write {high}-{low}")
            }
            Self::NoPorts { protocol } => write!(
                f,
                "protocol {protocol} has no ports to select by; only 6 (TCP), 17 (UDP) and \
                 132 (SCTP) have",
            ),
        }
    }
}

impl std::error::Error for SelectorError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn selector() -> Selector {
        Selector {
            destination: prefix("198.18.0.0/15"),
            source: Some(prefix("198.19.1.2")),
            protocol: Protocol::UDP,
            destination_ports: Some(5004..=5007),
            fragments: Fragments::Take,
            protection: None,
        }
    }

    #[test]
    fn encodes_every_field_where_the_program_reads_it() {
        let mut expected = [0; SELECTOR_OCTETS];
        expected[..4].copy_from_slice(&[198, 18, 0, 0]);
        expected[16..20].copy_from_slice(&[255, 254, 0, 0]);
        expected[32..36].copy_from_slice(&[198, 19, 1, 2]);
        expected[48..52].copy_from_slice(&[255; 4]);
        expected[64..66].copy_from_slice(&5004u16.to_ne_bytes());
        expected[66..68].copy_from_slice(&5007u16.to_ne_bytes());
        expected[68..71].copy_from_slice(&[4, 17, PORTS | TAKE_FRAGMENTS]);
        assert_eq!(selector().encode(), expected);
        let stalled = Stalled::Closed;
        let protection = Some(Protection { scope: 5, stalled, ..Protection::default() });
        expected[70..72].copy_from_slice(&[PORTS | TAKE_FRAGMENTS | PROTECTS | CLOSED, 5]);
        assert_eq!(Selector { protection, ..selector() }.encode(), expected);
    }

    #[test]
    fn encodes_ipv6_and_what_does_not_matter_as_zero_masks() {
        let any = Selector {
            destination: prefix("2001:db8::/33"),
            source: None,
            protocol: Protocol::Any,
            destination_ports: None,
            fragments: Fragments::Pass,
            protection: None,
        };
        let mut expected = [0; SELECTOR_OCTETS];
        expected[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        expected[16..21].copy_from_slice(&[255, 255, 255, 255, 0x80]);
        expected[68..71].copy_from_slice(&[6, 0, ANY_PROTOCOL]);
        assert_eq!(any.encode(), expected);
    }

    #[test]
    fn refuses_what_can_match_nothing() {
        let families = Selector { source: Some(prefix("2001:db8::/32")), ..selector() };
        assert_eq!(
            families.check().unwrap_err().to_string(),
            "source 2001:db8::/32 and destination 198.18.0.0/15 are of different families"
        );
        #[expect(clippy::reversed_empty_ranges, reason = "the mistake under test")]
        let empty = Selector { destination_ports: Some(9..=8), ..selector() };
        assert_eq!(
            empty.check().unwrap_err().to_string(),
            "the port range 9-8 is empty; write 8-9"
        );
        let icmp = Selector { protocol: Protocol::Number(1), ..selector() };
        assert_eq!(
            icmp.check().unwrap_err().to_string(),
            "protocol 1 has no ports to select by; only 6 (TCP), 17 (UDP) and 132 (SCTP) have"
        );
        let icmp = Selector { destination_ports: None, ..icmp };
        assert_eq!(icmp.check(), Ok(()));
        assert_eq!(selector().check(), Ok(()));
    }

    #[test]
    fn reads_prefixes_and_says_what_is_wrong_with_others() {
        assert_eq!(prefix("0.0.0.0/0").to_string(), "0.0.0.0/0");
        assert_eq!(prefix("2001:db8::1").to_string(), "2001:db8::1/128");
        let refusal = |text: &str| text.parse::<Prefix>().unwrap_err().to_string();
        assert_eq!(
            refusal("198.18.0.1/33"),
            "198.18.0.1/33: a prefix of this family has at most 32 bits"
        );
        assert_eq!(
            refusal("198.18.0.1/24"),
            "198.18.0.1/24 has bits behind its length; write 198.18.0.0/24 or 198.18.0.1"
        );
        assert_eq!(
            refusal("2001:db8::1/64"),
            "2001:db8::1/64 has bits behind its length; write 2001:db8::/64 or 2001:db8::1"
        );
        for text in ["", "/", "198.18.0/24", "198.18.0.0/", "198.18.0.0/-1", "2001:db8::/999"] {
            assert_eq!(
                refusal(text),
                format!("{text:?} is no prefix such as 198.18.0.0/15 or 2001:db8::/32")
            );
        }
    }

    #[test]
    fn contains_its_own_addresses_and_no_others() {
        let net = prefix("198.18.0.0/15");
        assert!(net.contains("198.19.255.255".parse().unwrap()));
        assert!(!net.contains("198.20.0.0".parse().unwrap()));
        assert!(!net.contains("2001:db8::".parse().unwrap()));
        assert!(!prefix("::/0").contains("198.18.0.1".parse().unwrap()));
        assert!(prefix("::/0").contains("ffff::".parse().unwrap()));
    }
}
