//! Why octets were refused.

use core::fmt;

/// Why a packet was refused.
///
/// A peer's mistake, never ours: the caller drops the packet and counts [`Malformed::name`]. The
/// numbers are for whoever debugs the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The octets end before the header does.
    Truncated {
        /// Octets that are there.
        have: usize,
        /// Octets that the header has at least.
        need: usize,
    },
    /// A length field is shorter than its own header or runs past the octets.
    Length {
        /// The length that the field says, in octets.
        field: usize,
        /// Octets that are there.
        have: usize,
    },
    /// A version field has a value that the protocol does not have.
    Version {
        /// The value.
        found: u8,
    },
    /// Not IPv4 and not IPv6, so not for this reader.
    NotIp {
        /// What the frame says that it carries; under 0x0600 an IEEE 802.3 length.
        ether_type: u16,
    },
    /// More VLAN tags, extension headers or row segments than are ever needed.
    Depth {
        /// How many are read.
        limit: usize,
    },
    /// An extension header where none may be.
    Order {
        /// Its protocol number.
        header: u8,
    },
    /// A fragment that no datagram can have: it ends past 65,535 octets, or breaks the rule of 8.
    Fragment {
        /// Where it starts, in octets.
        offset: usize,
        /// Its octets.
        length: usize,
    },
}

impl Malformed {
    /// Every name that [`Self::name`] returns.
    pub const NAMES: [&str; 7] =
        ["truncated", "length", "version", "not_ip", "depth", "order", "fragment"];

    /// One word per variant, for counters.
    #[inline]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Position of [`Self::name`] in [`Self::NAMES`], for tables of counters.
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::Truncated { .. } => 0,
            Self::Length { .. } => 1,
            Self::Version { .. } => 2,
            Self::NotIp { .. } => 3,
            Self::Depth { .. } => 4,
            Self::Order { .. } => 5,
            Self::Fragment { .. } => 6,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { have, need } => write!(f, "{have} octets of at least {need}"),
            Self::Length { field, have } => {
                write!(f, "length field says {field} octets, {have} are there")
            }
            Self::Version { found } => write!(f, "no such version: {found}"),
            Self::NotIp { ether_type } => write!(f, "not IP: EtherType {ether_type:#06x}"),
            Self::Depth { limit } => write!(f, "more than {limit} headers of a kind"),
            Self::Order { header } => write!(f, "header {header} in the wrong place"),
            Self::Fragment { offset, length } => {
                write!(f, "impossible fragment of {length} octets at {offset}")
            }
        }
    }
}

impl core::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_wrong_in_words() {
        let table = [
            (Malformed::Truncated { have: 3, need: 8 }, "3 octets of at least 8"),
            (
                Malformed::Length { field: 99, have: 12 },
                "length field says 99 octets, 12 are there",
            ),
            (Malformed::Version { found: 5 }, "no such version: 5"),
            (Malformed::NotIp { ether_type: 0x0806 }, "not IP: EtherType 0x0806"),
            (Malformed::Depth { limit: 2 }, "more than 2 headers of a kind"),
            (Malformed::Order { header: 0 }, "header 0 in the wrong place"),
            (
                Malformed::Fragment { offset: 65528, length: 9 },
                "impossible fragment of 9 octets at 65528",
            ),
        ];
        for (index, (refusal, text)) in table.into_iter().enumerate() {
            assert_eq!(refusal.to_string(), text);
            assert_eq!(refusal.index(), index);
            assert_eq!(refusal.name(), Malformed::NAMES[index]);
        }
    }
}
