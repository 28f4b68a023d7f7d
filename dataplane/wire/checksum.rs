//! The Internet checksum, RFC 1071, and its incremental update, RFC 1624.
//!
//! A checksum is the complement of a one's complement [`Sum`] of 16-bit words. Transport checksums
//! also cover a pseudo header that is never sent: start from [`pseudo_v4`] or [`pseudo_v6`], add
//! the transport header with a zero checksum field and the data, and finish. Over what was
//! received, checksum field included, the finished sum is 0.

use core::net::{Ipv4Addr, Ipv6Addr};

/// A running one's complement sum. Folding waits for [`Sum::finish`]; 2^32 words fit before it
/// overflows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds octets. All pieces but the last have an even length: words do not straddle pieces.
    #[must_use]
    #[inline]
    pub fn add_octets(self, octets: &[u8]) -> Self {
        // RFC 1071, section 2(C): sums of wider words fold to the same result, so read 32 bits at
        // once.
        let (words, tail) = octets.as_chunks::<4>();
        let mut sum = self.0;
        for word in words {
            sum += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        Self(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds one 16-bit word.
    #[must_use]
    #[inline]
    pub const fn add_word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// The checksum: folded to 16 bits and complemented. 0 over octets that carry a right checksum.
    #[inline]
    pub const fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits just above")]
        let folded = sum as u16;
        !folded
    }
}

/// A running sum over octets that come in pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pieces {
    sum: Sum,
    octets: usize,
}

impl Pieces {
    /// Adds the next piece.
    #[must_use]
    pub fn then(self, piece: &[u8]) -> Self {
        let word = !Sum::default().add_octets(piece).finish();
        // RFC 1071, section 2(B): the sum of octets that stand in the other half of their words is
        // the same with its halves exchanged.
        let word = if self.octets.is_multiple_of(2) { word } else { word.swap_bytes() };
        Self { sum: self.sum.add_word(word), octets: self.octets + piece.len() }
    }

    /// The sum of all of them.
    pub const fn sum(self) -> Sum {
        self.sum
    }
}

/// The checksum of `octets`.
pub fn of(octets: &[u8]) -> u16 {
    Sum::default().add_octets(octets).finish()
}

/// A checksum after one 16-bit word that it covers has changed.
///
/// RFC 1624, section 3, equation 3: `HC' = ~(~HC + ~m + m')`. The subtraction of RFC 1141 can give
/// 0 where 0xffff is right; this form cannot.
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(0).add_word(!checksum).add_word(!old).add_word(new).finish()
}

/// The start of a transport checksum over IPv4, RFC 9293, section 3.1.
pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Sum {
    Sum::default()
        .add_octets(&source.octets())
        .add_octets(&destination.octets())
        .add_word(u16::from(protocol))
        .add_word(length)
}

/// The start of a transport checksum over IPv6, RFC 8200, section 8.1. With a routing header,
/// `destination` is the final one.
pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: u32) -> Sum {
    Sum::default()
        .add_octets(&source.octets())
        .add_octets(&destination.octets())
        .add_octets(&length.to_be_bytes())
        .add_word(u16::from(protocol))
}

/// A finished UDP checksum as it is sent: RFC 768, Fields: 0 means "none", so a computed 0 travels
/// as 0xffff.
pub const fn for_udp(sum: Sum) -> u16 {
    match sum.finish() {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header that most textbooks sum: 192.168.0.1 to 192.168.0.199, checksum 0xb861.
    const HEADER: [u8; 20] = [
        0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
        0xc7,
    ];

    #[test]
    fn sums_a_known_header() {
        assert_eq!(of(&HEADER), 0);
        let mut blank = HEADER;
        blank[10..12].fill(0);
        assert_eq!(of(&blank), 0xb861);
    }

    #[test]
    fn pieces_of_any_length_sum_to_the_whole() {
        let octets: Vec<u8> = (0..67u8).map(|i| i.wrapping_mul(151) | 0x80).collect();
        for first in 0..octets.len() {
            for second in first..octets.len() {
                let pieces = [&octets[..first], &octets[first..second], &octets[second..]];
                let sum = pieces.iter().fold(Pieces::default(), |sum, piece| sum.then(piece)).sum();
                assert_eq!(sum.finish(), of(&octets), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn every_length_agrees_with_word_by_word() {
        let octets: Vec<u8> = (0..67u8).map(|i| i.wrapping_mul(151) | 0x80).collect();
        for end in 0..octets.len() {
            let slow = octets[..end].chunks(2).fold(Sum::default(), |sum, pair| {
                sum.add_word(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
            });
            assert_eq!(of(&octets[..end]), slow.finish(), "{end} octets");
        }
    }

    #[test]
    fn an_update_equals_a_recomputation() {
        let mut bytes = HEADER;
        let mut checksum = 0xb861;
        for (at, new) in [(8, 0x3f11_u16), (0, 0x4500), (4, 0xffff), (12, 0x0000), (4, 0x0001)] {
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            checksum = update(checksum, old, new);
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(of(&bytes), 0, "word at {at}");
        }
    }

    /// RFC 1624, section 4: the old header sums to 0xdd2f, 0x5555 becomes 0x3285.
    #[test]
    fn passes_the_example_of_rfc_1624() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn covers_the_pseudo_headers() {
        // Port 1 to 2, length 9, checksum 0, one octet; the sums below were computed by hand.
        let datagram = [0, 1, 0, 2, 0, 9, 0, 0, 0xab];
        let v4 = pseudo_v4([198, 18, 0, 1].into(), [198, 18, 0, 2].into(), 17, 9);
        // c612+0001+c612+0002+0011+0009+0001+0002+0009+ab00 = 2374d, folded 374f.
        assert_eq!(v4.add_octets(&datagram).finish(), !0x374f);
        let one: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let v6 = pseudo_v6(one, one, 17, 9);
        // 2*(2001+0db8+0001) + 0009 + 0011 + 0001+0002+0009+ab00 = 1069a, folded 069b.
        assert_eq!(v6.add_octets(&datagram).finish(), !0x069b);
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
        assert_eq!(for_udp(Sum::default().add_word(0xffff)), 0xffff);
    }
}
