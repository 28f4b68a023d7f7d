//! The RTP payload of ancillary data, RFC 8331, written and read.
//!
//! ```text
//!   0 extended sequence │ 2 length │ 4 ANC count │ 5 F, reserved │ 8 ANC packets
//!
//!   ANC packet:  C │ line, 11 │ offset, 12 │ S │ stream, 7 │ DID, 10 │ SDID, 10 │ count, 10
//!                │ words, 10 each │ checksum, 10 │ 0 up to a multiple of 32 bits
//! ```

#![expect(clippy::cast_possible_truncation, reason = "bits are cut out of words")]

use super::anc::{Anc, Head, WORDS_MAX, checksum, octet, with_parity};

/// Octets in front of the ANC packets.
pub const HEADER_LEN: usize = 8;

/// Octets of the place of an ANC packet, in front of its words.
const PLACE_LEN: usize = 4;

/// ANC packets in one payload at most: the count has 8 bits.
pub const PACKETS_MAX: usize = 255;

/// Which field of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// There are none: the picture is progressive, or nobody says.
    Whole,
    /// The first.
    First,
    /// The second.
    Second,
}

impl Field {
    /// The two bits of F.
    const fn bits(self) -> u8 {
        match self {
            Self::Whole => 0b00,
            Self::First => 0b10,
            Self::Second => 0b11,
        }
    }

    const fn of(bits: u8) -> Option<Self> {
        match bits {
            0b00 => Some(Self::Whole),
            0b10 => Some(Self::First),
            0b11 => Some(Self::Second),
            _ => None,
        }
    }
}

/// Octets that a packet of so many words takes, up to the next multiple of 32 bits.
pub const fn packet_octets(words: usize) -> usize {
    // DID, SDID, data count and checksum beside.
    PLACE_LEN + ((words + 4) * 10).div_ceil(32) * 4
}

/// Writes the payload header, whose ANC packets take `octets`.
///
/// # Panics
///
/// When there are more octets or packets than their fields hold.
pub fn header(sequence_high: u16, octets: usize, packets: usize, field: Field) -> [u8; HEADER_LEN] {
    let [e1, e0] = sequence_high.to_be_bytes();
    let [l1, l0] = u16::try_from(octets).expect("less than a packet").to_be_bytes();
    let count = u8::try_from(packets).expect("at most 255");
    [e1, e0, l1, l0, count, field.bits() << 6, 0, 0]
}

/// Writes an ANC packet to the beginning of `into`; returns the rest.
///
/// # Panics
///
/// When there is no room for [`packet_octets`], or there are more words than 255.
pub fn write<'a>(into: &'a mut [u8], head: &Head, words: &[u16]) -> &'a mut [u8] {
    let (own, rest) = into.split_at_mut(packet_octets(words.len()));
    let (place, data) = own.split_at_mut(PLACE_LEN);
    let stream = head.stream.map_or(0, |stream| 0x80 | u32::from(stream & 0x7f));
    let bits = u32::from(head.is_colour) << 31
        | u32::from(head.line & 0x7ff) << 20
        | u32::from(head.offset & 0xfff) << 8
        | stream;
    place.copy_from_slice(&bits.to_be_bytes());
    let count = u8::try_from(words.len()).expect("at most 255");
    let front = [head.did, head.sdid, count].map(with_parity);
    let all = || front.into_iter().chain(words.iter().map(|word| word & 0x3ff));
    let (mut bits, mut held, mut at) = (0_u32, 0, 0);
    for word in all().chain([checksum(all())]) {
        bits = bits << 10 | u32::from(word);
        held += 10;
        while held >= 8 {
            held -= 8;
            data[at] = (bits >> held) as u8;
            at += 1;
            bits &= (1 << held) - 1;
        }
    }
    if held > 0 {
        data[at] = (bits << (8 - held)) as u8;
        at += 1;
    }
    data[at..].fill(0);
    rest
}

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends within its header.
    Header,
    /// Its length is not that of the octets that are there.
    Length,
    /// F has the value that RFC 8331 forbids.
    Field,
    /// Its ANC packets are not as long together as it says.
    Packets,
}

/// A checked view of a payload.
///
/// Holding one proves that all of its ANC packets are there, whole, and that nothing else is.
/// Whether each is right is for [`Found`].
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    sequence_high: u16,
    field: Field,
    count: u8,
    packets: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Checks `bytes`, an RTP payload.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, packets) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Header)?;
        let [e1, e0, l1, l0, count, flags, ..] = *header;
        // The 22 bits behind F are reserved, and not looked at (RFC 8331, 2.1).
        let field = Field::of(flags >> 6).ok_or(Malformed::Field)?;
        if usize::from(u16::from_be_bytes([l1, l0])) != packets.len() {
            return Err(Malformed::Length);
        }
        let mut rest = packets;
        for _ in 0..count {
            let words = words_of(rest).ok_or(Malformed::Packets)?;
            rest = rest.get(packet_octets(words)..).ok_or(Malformed::Packets)?;
        }
        if !rest.is_empty() {
            return Err(Malformed::Packets);
        }
        Ok(Self { sequence_high: u16::from_be_bytes([e1, e0]), field, count, packets })
    }

    /// The upper half of the sequence number.
    pub const fn sequence_high(&self) -> u16 {
        self.sequence_high
    }

    /// Which field its packets are of.
    pub const fn field(&self) -> Field {
        self.field
    }

    /// How many ANC packets there are.
    pub const fn count(&self) -> u8 {
        self.count
    }

    /// They, one after the other.
    pub fn packets(&self) -> impl Iterator<Item = Found> + use<'a> {
        let (mut rest, mut left) = (self.packets, self.count);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let words = words_of(rest).expect("checked by parse");
            let (own, behind) = rest.split_at(packet_octets(words));
            rest = behind;
            Some(found(own, words))
        })
    }
}

/// An ANC packet, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// It.
    pub anc: Anc,
    /// Whether DID, SDID and data count have their parity.
    pub parity_is_right: bool,
    /// Whether the checksum is that of its words.
    pub checksum_is_right: bool,
}

/// Bits 10 `index` to 10 `index` + 9 behind the place of an ANC packet.
fn word(own: &[u8], index: usize) -> u16 {
    let (at, shift) = (PLACE_LEN + index * 10 / 8, index * 10 % 8);
    let two = u16::from_be_bytes([own[at], own[at + 1]]);
    two >> (6 - shift) & 0x3ff
}

/// User data words of the ANC packet that begins here; `None` where it is cut before its count.
fn words_of(rest: &[u8]) -> Option<usize> {
    // The count is the third word: its parity may be wrong, its lower 8 bits count all the same.
    (rest.len() >= packet_octets(0)).then(|| usize::from(word(rest, 2) & 0xff))
}

fn found(own: &[u8], words: usize) -> Found {
    let place = u32::from_be_bytes([own[0], own[1], own[2], own[3]]);
    let bits = |shift: u32, mask: u16| (place >> shift) as u16 & mask;
    let front = [word(own, 0), word(own, 1), word(own, 2)];
    let mut data = [0; WORDS_MAX];
    for (index, into) in data[..words].iter_mut().enumerate() {
        *into = word(own, 3 + index);
    }
    let data = &data[..words];
    let [did, sdid, _] = front.map(|word| (word & 0xff) as u8);
    let head = Head {
        is_colour: place >> 31 == 1,
        line: bits(20, 0x7ff),
        offset: bits(8, 0xfff),
        stream: (place >> 7 & 1 == 1).then_some(bits(0, 0x7f) as u8),
        did,
        sdid,
    };
    let sum = checksum(front.into_iter().chain(data.iter().copied()));
    Found {
        anc: Anc::new(head, data),
        parity_is_right: front.iter().all(|&word| octet(word).is_some()),
        checksum_is_right: sum == word(own, 3 + words),
    }
}

#[cfg(test)]
mod tests;
