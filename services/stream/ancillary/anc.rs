//! One ANC packet: ST 291-1, with the place that RFC 8331 gives it.
//!
//! ```text
//!   10 bits each:  DID │ SDID │ data count │ 0 to 255 user data words │ checksum
//!   of a word of 8 bits:  9: not 8 │ 8: even parity of 7..0 │ 7..0
//! ```

/// Words of user data in a packet at most.
pub const WORDS_MAX: usize = 255;

/// Where an ANC packet stands, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether it stands among the colour difference samples; else in luma, or in a format that
    /// does not tell them apart (C).
    pub is_colour: bool,
    /// Line, 11 bits: the raster's, or 0x7ff for none in particular.
    pub line: u16,
    /// Horizontal offset, 12 bits, or 0xfff for none in particular.
    pub offset: u16,
    /// Number of the stream that it came in, 7 bits, where there are several (S, StreamNum).
    pub stream: Option<u8>,
    /// Data identification.
    pub did: u8,
    /// Secondary data identification, or the block number of a packet of type 1.
    pub sdid: u8,
}

/// Line numbers have 11 bits.
pub const LINE_MAX: u16 = 0x7ff;

/// Horizontal offsets have 12 bits.
pub const OFFSET_MAX: u16 = 0xfff;

/// Stream numbers have 7 bits.
pub const STREAM_MAX: u8 = 0x7f;

/// Words have 10 bits.
pub const WORD_MAX: u16 = 0x3ff;

/// An ANC packet as it came, its words among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anc {
    /// Where it stands, and what it is.
    pub head: Head,
    count: u8,
    words: [u16; WORDS_MAX],
}

impl Anc {
    /// A packet of these words.
    ///
    /// # Panics
    ///
    /// When there are more than [`WORDS_MAX`].
    pub fn new(head: Head, words: &[u16]) -> Self {
        let mut all = [0; WORDS_MAX];
        all[..words.len()].copy_from_slice(words);
        let count = u8::try_from(words.len()).expect("at most 255");
        Self { head, count, words: all }
    }

    /// Its user data words, of 10 bits each.
    pub fn words(&self) -> &[u16] {
        &self.words[..usize::from(self.count)]
    }
}

/// The 10 bits of a word of 8: with even parity, and its complement (ST 291-1, 6.1).
pub const fn with_parity(octet: u8) -> u16 {
    let parity = (octet.count_ones() & 1) as u16;
    octet as u16 | parity << 8 | (parity ^ 1) << 9
}

/// The 8 bits of a word; `None` where its parity is wrong.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
pub const fn octet(word: u16) -> Option<u8> {
    let octet = word as u8;
    if with_parity(octet) == word & WORD_MAX { Some(octet) } else { None }
}

/// The checksum over DID, SDID, data count and user data: the sum of their lower 9 bits, and the
/// complement of its highest (ST 291-1, 6.4).
pub fn checksum(words: impl Iterator<Item = u16>) -> u16 {
    let sum = words.fold(0_u16, |sum, word| (sum + (word & 0x1ff)) & 0x1ff);
    sum | ((sum >> 8 & 1) ^ 1) << 9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_parity_of_the_standard() {
        // Of a timecode's header: DID and SDID 60h are 260h with parity, 16 words are 110h.
        assert_eq!(with_parity(0x60), 0x260);
        assert_eq!(with_parity(0x10), 0x110);
        assert_eq!(with_parity(0), 0x200);
        for value in 0..=255 {
            let word = with_parity(value);
            assert_eq!(octet(word), Some(value));
            assert_eq!((word & 0x1ff).count_ones() % 2, 0, "even");
            for bit in 0..10 {
                assert_eq!(octet(word ^ 1 << bit), None, "{value} {bit}");
            }
        }
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // The example of a CEA-708 packet's head: 161h + 101h + 152h = 3b4h, of which 1b4h.
        assert_eq!(checksum([0x161, 0x101, 0x152].into_iter()), 0x1b4);
        assert_eq!(checksum([0x260, 0x260].into_iter()), 0x2c0);
        assert_eq!(checksum(std::iter::empty()), 0x200);
    }
}
