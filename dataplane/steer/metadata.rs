//! What the program writes in front of each packet that it redirects.

/// The 8 octets in front of a packet, in native byte order, and the 8 before them where the packet
/// has a number.
///
/// They are there for every redirected packet: where a driver has no room for them, the
/// program leaves the packet to the kernel and counts it (`pass_metadata_refused`). So a
/// wrong magic is no peer's doing, but a program or a descriptor that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Index of the selector that matched.
    pub selector: u16,
    /// Where the IP header starts, from the packet's first octet.
    pub l3_offset: u8,
    /// Where the upper-layer header starts; `None` for a later fragment, or where the
    /// header chain was too long or too short to reach it.
    pub l4_offset: Option<u16>,
    /// Whether the packet's number stands in front: it has one where its selector protects.
    pub numbered: bool,
    /// Whether the packet was passed already, and came here only so that it does not overtake those
    /// of its flow that came before: it is reinjected without being judged.
    pub ordered: bool,
}

const NUMBERED: u8 = 1;
const ORDERED: u8 = 2;

impl Metadata {
    /// Octets right in front of the packet.
    pub const LEN: usize = 8;
    /// Octets of the number in front of those.
    pub const NUMBER_LEN: usize = 8;
    /// First field, `MAGIC` of steer.bpf.c.
    pub const MAGIC: u16 = 0x7469;

    /// Reads the octets right before a packet; `None` where they do not start with the magic.
    #[inline]
    pub fn parse(octets: &[u8; Self::LEN]) -> Option<Self> {
        let [a, b, c, d, l3_offset, flags, g, h] = *octets;
        if u16::from_ne_bytes([a, b]) != Self::MAGIC {
            return None;
        }
        let l4_offset = u16::from_ne_bytes([g, h]);
        Some(Self {
            selector: u16::from_ne_bytes([c, d]),
            l3_offset,
            l4_offset: (l4_offset != 0).then_some(l4_offset),
            numbered: flags & NUMBERED != 0,
            ordered: flags & ORDERED != 0,
        })
    }

    /// The octets that [`Self::parse`] reads: for whoever plays the kernel.
    pub fn emit(self) -> [u8; Self::LEN] {
        let [a, b] = Self::MAGIC.to_ne_bytes();
        let [c, d] = self.selector.to_ne_bytes();
        let [g, h] = self.l4_offset.unwrap_or(0).to_ne_bytes();
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = flag(self.numbered, NUMBERED) | flag(self.ordered, ORDERED);
        [a, b, c, d, self.l3_offset, flags, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_emits_and_refuses_a_wrong_magic() {
        for l4_offset in [None, Some(34)] {
            for (numbered, ordered) in [(false, false), (true, false), (true, true)] {
                let metadata =
                    Metadata { selector: 3, l3_offset: 14, l4_offset, numbered, ordered };
                let mut octets = metadata.emit();
                assert_eq!(Metadata::parse(&octets), Some(metadata));
                octets[0] ^= 1;
                assert_eq!(Metadata::parse(&octets), None);
            }
        }
    }
}
