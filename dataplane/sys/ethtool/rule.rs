//! A flow rule of a network card: which packets, and the queue that gets them.
//!
//! Source: `struct ethtool_rxnfc` and what it contains, `linux/ethtool.h`:
//!
//! ```text
//! word  0    4          5..18  18..23  23..36  36..41  42..44  44        46
//!       cmd  flow type  value  extra   mask    extra   queue   location  count, then locations
//! ```
//!
//! Value and mask are 52 octets each, as they stand in a packet; a bit of the mask that is set is
//! compared. A [`Rule`] can say less than that: prefixes of addresses, one block of destination
//! ports, a protocol. What says more was not written by this program, and is not read.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Words of `struct ethtool_rxnfc`. The locations begin inside of the last one, which is padding.
pub(super) const WORDS: usize = 48;
/// The word with which the array of locations begins.
pub(super) const LOCATIONS: usize = 47;
/// The word with the number of locations.
pub(super) const COUNT: usize = 46;
/// The word with a rule's location.
pub(super) const LOCATION: usize = 44;

const _: () = assert!(align_of::<u64>() == 8, "elsewhere the kernel packs the structure closer");

const FLOW_TYPE: usize = 4;
const VALUE: usize = 5;
const MASK: usize = 23;
const QUEUE: usize = 42;
/// Words of the value, and of the mask.
const FIELD_WORDS: usize = 13;
const FIELD_OCTETS: usize = FIELD_WORDS * 4;

/// `ETH_RX_NFC_IP4`: what the field for the version of IP has to say.
const NFC_IP4: u8 = 1;

/// Where a rule sends which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The packets.
    pub flow: Flow,
    /// The receive queue that they come to.
    pub queue: u32,
}

/// A rule as the driver shows it, bit by bit.
///
/// Drivers keep rules in forms of their own and may show one in other words than it was given. Two
/// that are shown alike are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shown(Vec<u32>);

impl Shown {
    pub(super) fn of(words: &[u32; WORDS]) -> Self {
        Self(words[FLOW_TYPE..LOCATION].to_vec())
    }

    /// As a driver shows it that changes nothing.
    pub fn unchanged(rule: &Rule) -> Self {
        let mut words = [0; WORDS];
        rule.encode(0, &mut words);
        Self::of(&words)
    }

    /// What it says; `None` where it is of a kind that this program does not write.
    pub fn rule(&self) -> Option<Rule> {
        Rule::decode(&self.words())
    }

    /// The queue that it names; `None` where it names none, as one that discards.
    pub fn queue(&self) -> Option<u32> {
        queue(&self.words())
    }

    fn words(&self) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        for (to, from) in words[FLOW_TYPE..LOCATION].iter_mut().zip(&self.0) {
            *to = *from;
        }
        words
    }
}

/// Packets that a rule can name. All must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// What is above IP.
    pub protocol: FlowProtocol,
    /// Source addresses; of the same family as `destination`.
    pub source: Network,
    /// Destination addresses.
    pub destination: Network,
    /// Destination ports, of a protocol that has some.
    pub ports: PortBlock,
}

/// What is above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowProtocol {
    /// Anything.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// The one with this number.
    Number(u8),
}

/// Addresses with a common beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The first; no bit behind `len` is set.
    pub address: IpAddr,
    /// Bits that are compared.
    pub len: u8,
}

/// Ports with a common beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBlock {
    /// The first; no bit behind `len` is set.
    pub first: u16,
    /// Bits that are compared: 16 for one port, 0 for any.
    pub len: u8,
}

impl PortBlock {
    /// Any port, and packets without one.
    pub const ANY: Self = Self { first: 0, len: 0 };

    const fn mask(self) -> u16 {
        // A shift by 16 is none at all.
        match 0xffff_u16.checked_shl(16 - self.len as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }
}

impl Network {
    /// All addresses of the family of `like`.
    pub const fn any(like: IpAddr) -> Self {
        let address = match like {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { address, len: 0 }
    }

    /// The mask with the family's own number of octets.
    fn mask(self) -> IpAddr {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.len)).unwrap_or(0);
        match self.address {
            #[allow(clippy::cast_possible_truncation)] // The upper 32 bits are what is left.
            IpAddr::V4(_) => IpAddr::V4(((mask >> 96) as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(mask.into()),
        }
    }
}

/// The octets of an address, as in a packet.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Where the fields of a family stand: destination address, ports, protocol. The source is first.
struct Places {
    destination: usize,
    destination_port: usize,
    protocol: usize,
}

const IPV4: Places = Places { destination: 4, destination_port: 10, protocol: 14 };
const IPV6: Places = Places { destination: 16, destination_port: 34, protocol: 37 };

impl Flow {
    const fn places(&self) -> &'static Places {
        if self.destination.address.is_ipv4() { &IPV4 } else { &IPV6 }
    }

    /// `TCP_V4_FLOW` and its like.
    const fn flow_type(&self) -> u32 {
        match (self.destination.address, self.protocol) {
            (IpAddr::V4(_), FlowProtocol::Tcp) => 0x01,
            (IpAddr::V4(_), FlowProtocol::Udp) => 0x02,
            (IpAddr::V4(_), FlowProtocol::Sctp) => 0x03,
            (IpAddr::V6(_), FlowProtocol::Tcp) => 0x05,
            (IpAddr::V6(_), FlowProtocol::Udp) => 0x06,
            (IpAddr::V6(_), FlowProtocol::Sctp) => 0x07,
            (IpAddr::V4(_), _) => 0x0d,
            (IpAddr::V6(_), _) => 0x0e,
        }
    }

    /// Value and mask.
    fn fields(&self) -> ([u8; FIELD_OCTETS], [u8; FIELD_OCTETS]) {
        let (mut value, mut mask) = ([0; FIELD_OCTETS], [0; FIELD_OCTETS]);
        let places = self.places();
        let mut put = |at: usize, wanted: &[u8], compared: &[u8]| {
            value[at..at + wanted.len()].copy_from_slice(wanted);
            mask[at..at + compared.len()].copy_from_slice(compared);
        };
        for (at, network) in [(0, self.source), (places.destination, self.destination)] {
            put(at, &octets(network.address), &octets(network.mask()));
        }
        match self.protocol {
            FlowProtocol::Any => {}
            FlowProtocol::Number(number) => put(places.protocol, &[number], &[0xff]),
            FlowProtocol::Tcp | FlowProtocol::Udp | FlowProtocol::Sctp => put(
                places.destination_port,
                &self.ports.first.to_be_bytes(),
                &self.ports.mask().to_be_bytes(),
            ),
        }
        // `ip_ver`, whose mask has to be 0.
        if self.flow_type() == 0x0d {
            value[13] = NFC_IP4;
        }
        (value, mask)
    }
}

impl Rule {
    /// Writes the rule into a request, for the place `location` of the card's table.
    pub(super) fn encode(&self, location: u32, words: &mut [u32; WORDS]) {
        let (value, mask) = self.flow.fields();
        words[FLOW_TYPE] = self.flow.flow_type();
        for (at, field) in [(VALUE, value), (MASK, mask)] {
            for (word, octets) in words[at..].iter_mut().zip(field.as_chunks::<4>().0) {
                *word = u32::from_ne_bytes(*octets);
            }
        }
        let queue = u64::from(self.queue).to_ne_bytes();
        for (word, octets) in words[QUEUE..].iter_mut().zip(queue.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*octets);
        }
        words[LOCATION] = location;
    }

    /// Reads the rule of a request or answer. `None` where it says what a [`Rule`] cannot: then it
    /// is no rule of this program.
    fn decode(words: &[u32; WORDS]) -> Option<Self> {
        let field = |at: usize| -> [u8; FIELD_OCTETS] {
            let mut octets = [0; FIELD_OCTETS];
            for (to, word) in octets.as_chunks_mut::<4>().0.iter_mut().zip(&words[at..]) {
                *to = word.to_ne_bytes();
            }
            octets
        };
        let (value, mask) = (field(VALUE), field(MASK));
        // Any flag, as of a VLAN or an RSS context, makes it another type than these.
        let (is_ipv4, mut protocol) = match words[FLOW_TYPE] {
            0x01 => (true, FlowProtocol::Tcp),
            0x02 => (true, FlowProtocol::Udp),
            0x03 => (true, FlowProtocol::Sctp),
            0x05 => (false, FlowProtocol::Tcp),
            0x06 => (false, FlowProtocol::Udp),
            0x07 => (false, FlowProtocol::Sctp),
            0x0d => (true, FlowProtocol::Any),
            0x0e => (false, FlowProtocol::Any),
            _ => return None,
        };
        let places = if is_ipv4 { &IPV4 } else { &IPV6 };
        let network =
            |at: usize| if is_ipv4 { ipv4(&value, &mask, at) } else { ipv6(&value, &mask, at) };
        if protocol == FlowProtocol::Any && mask[places.protocol] == 0xff {
            protocol = FlowProtocol::Number(value[places.protocol]);
        }
        let has_ports = !matches!(protocol, FlowProtocol::Any | FlowProtocol::Number(_));
        let port = |from: &[u8]| {
            let at = places.destination_port;
            u16::from_be_bytes([from[at], from[at + 1]])
        };
        let ports = match (has_ports, port(&mask)) {
            (false, _) => PortBlock::ANY,
            #[allow(clippy::cast_possible_truncation)] // At most 16.
            (true, mask) => {
                PortBlock { first: port(&value) & mask, len: mask.leading_ones() as u8 }
            }
        };
        let flow =
            Flow { protocol, source: network(0), destination: network(places.destination), ports };
        // Whatever else is compared shows as a difference to what this flow compares.
        let (own_value, own_mask) = flow.fields();
        let same = mask == own_mask
            && value.iter().zip(own_value).zip(mask).all(|((a, b), mask)| a & mask == b & mask);
        Some(Self { flow, queue: queue(words)? }).filter(|_| same)
    }
}

/// `ring_cookie`. Larger than a queue's number: a virtual function's queue, or "discard".
fn queue(words: &[u32; WORDS]) -> Option<u32> {
    let cookie = [words[QUEUE].to_ne_bytes(), words[QUEUE + 1].to_ne_bytes()];
    u32::try_from(u64::from_ne_bytes(*cookie.as_flattened().first_chunk()?)).ok()
}

#[allow(clippy::cast_possible_truncation)] // At most 32.
fn ipv4(value: &[u8], mask: &[u8], at: usize) -> Network {
    let word =
        |from: &[u8]| u32::from_be_bytes([from[at], from[at + 1], from[at + 2], from[at + 3]]);
    let len = word(mask).leading_ones() as u8;
    let kept = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
    Network { address: IpAddr::V4((word(value) & kept).into()), len }
}

#[allow(clippy::cast_possible_truncation)] // At most 128.
fn ipv6(value: &[u8], mask: &[u8], at: usize) -> Network {
    let long = |from: &[u8]| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&from[at..at + 16]);
        u128::from_be_bytes(octets)
    };
    let len = long(mask).leading_ones() as u8;
    let kept = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
    Network { address: IpAddr::V6((long(value) & kept).into()), len }
}

/// In the words of `ethtool -N`, so that an operator can try it by hand. There a bit of a mask
/// that is set is *not* compared.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} action {}", self.flow, self.queue)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.destination.address.is_ipv4() { 4 } else { 6 };
        match self.protocol {
            FlowProtocol::Any | FlowProtocol::Number(_) => write!(f, "flow-type ip{version}")?,
            FlowProtocol::Tcp => write!(f, "flow-type tcp{version}")?,
            FlowProtocol::Udp => write!(f, "flow-type udp{version}")?,
            FlowProtocol::Sctp => write!(f, "flow-type sctp{version}")?,
        }
        for (word, network) in [("src-ip", self.source), ("dst-ip", self.destination)] {
            let full = if version == 4 { 32 } else { 128 };
            match network.len {
                0 => {}
                len if len == full => write!(f, " {word} {}", network.address)?,
                _ => {
                    let ignored = match network.mask() {
                        IpAddr::V4(mask) => IpAddr::V4((!u32::from(mask)).into()),
                        IpAddr::V6(mask) => IpAddr::V6((!u128::from(mask)).into()),
                    };
                    write!(f, " {word} {} m {ignored}", network.address)?;
                }
            }
        }
        if let FlowProtocol::Number(number) = self.protocol {
            write!(f, " l4proto {number}")?;
        }
        match self.ports {
            PortBlock { len: 0, .. } => Ok(()),
            PortBlock { first, len: 16 } => write!(f, " dst-port {first}"),
            block => write!(f, " dst-port {} m {:#x}", block.first, !block.mask()),
        }
    }
}

#[cfg(test)]
mod tests;
