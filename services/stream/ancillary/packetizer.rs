//! Packets of ancillary data, built in place: those of a field, in as few packets as hold them.
//!
//! What is in front of RTP is the [header template](crate::stream::header)'s.

use tidegate_dataplane::wire::rtp;

use super::file::Entry;
use super::payload::{self, Field, PACKETS_MAX, packet_octets};
use crate::stream::audio::format::PAYLOAD_OCTETS_MAX;

/// Octets of ANC packets that fit in one packet.
const ROOM: usize = PAYLOAD_OCTETS_MAX - payload::HEADER_LEN;

const _: () = assert!(packet_octets(super::anc::WORDS_MAX) <= ROOM, "any fits by itself");

/// Octets of the longest packet from its RTP header on.
pub const OCTETS_MAX: usize = rtp::HEADER_LEN + PAYLOAD_OCTETS_MAX;

/// The part of a field's ANC packets that goes into one packet.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// They.
    pub entries: &'a [Entry],
    /// Whether no others of the field follow.
    pub is_last: bool,
    octets: usize,
}

impl<'a> Part<'a> {
    /// As many of `entries` as fit, which are what is left of a field. None are a part too: it says
    /// that the field has no data.
    pub fn of(entries: &'a [Entry]) -> Self {
        let (mut count, mut octets) = (0, 0);
        for entry in entries.iter().take(PACKETS_MAX) {
            let own = packet_octets(entry.words.len());
            if octets + own > ROOM {
                break;
            }
            (count, octets) = (count + 1, octets + own);
        }
        Self { entries: &entries[..count], is_last: count == entries.len(), octets }
    }

    /// Octets of its packet from its RTP header on.
    pub const fn packet_octets(&self) -> usize {
        rtp::HEADER_LEN + payload::HEADER_LEN + self.octets
    }
}

/// Writes the packets of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Packetizer {
    payload_type: u8,
    ssrc: u32,
}

impl Packetizer {
    /// For a stream of this payload type and synchronisation source.
    pub const fn new(payload_type: u8, ssrc: u32) -> Self {
        Self { payload_type, ssrc }
    }

    /// Writes a part of a field.
    ///
    /// # Panics
    ///
    /// When `into` is not [`Part::packet_octets`] long.
    pub fn write(
        &self,
        into: &mut [u8],
        part: &Part<'_>,
        sequence: u32,
        timestamp: u32,
        field: Field,
    ) {
        assert_eq!(into.len(), part.packet_octets(), "a packet of ancillary data");
        #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
        let (high, low) = ((sequence >> 16) as u16, sequence as u16);
        let header = rtp::Header {
            // RFC 8331, 2: the marker says "last of the frame or field".
            marker: part.is_last,
            payload_type: self.payload_type,
            sequence: low,
            timestamp,
            ssrc: self.ssrc,
        };
        let (head, rest) = into.split_at_mut(rtp::HEADER_LEN);
        head.copy_from_slice(&header.emit());
        let (front, mut rest) = rest.split_at_mut(payload::HEADER_LEN);
        front.copy_from_slice(&payload::header(high, part.octets, part.entries.len(), field));
        for entry in part.entries {
            rest = payload::write(rest, &entry.head, &entry.words);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_dataplane::wire::Rtp;

    use super::super::anc::Head;
    use super::super::payload::Payload;
    use super::*;

    fn entries(count: usize, words: usize) -> Vec<Entry> {
        let head = Head { is_colour: false, line: 9, offset: 0, stream: None, did: 1, sdid: 2 };
        let words = vec![0x200; words].into_boxed_slice();
        vec![Entry { frame: 0, field: Field::Whole, head, words }; count]
    }

    /// All packets of a field: their marker, number and ANC packets.
    fn field(entries: &[Entry]) -> Vec<(bool, u32, usize)> {
        let (mut rest, mut sequence, mut all) = (entries, 0x1_fffe, Vec::new());
        loop {
            let part = Part::of(rest);
            let mut octets = vec![0xa5; part.packet_octets()];
            assert!(octets.len() <= OCTETS_MAX);
            Packetizer::new(100, 7).write(&mut octets, &part, sequence, 5, Field::Whole);
            let rtp = Rtp::parse(&octets).unwrap();
            assert_eq!((rtp.payload_type(), rtp.timestamp(), rtp.ssrc()), (100, 5, 7));
            let read = Payload::parse(rtp.payload()).unwrap();
            let number = u32::from(read.sequence_high()) << 16 | u32::from(rtp.sequence());
            all.push((rtp.marker(), number, read.packets().count()));
            if part.is_last {
                return all;
            }
            (rest, sequence) = (&rest[part.entries.len()..], sequence + 1);
        }
    }

    #[test]
    fn a_field_goes_into_as_few_packets_as_hold_it() {
        assert_eq!(field(&[]), [(true, 0x1_fffe, 0)]);
        assert_eq!(field(&entries(3, 16)), [(true, 0x1_fffe, 3)]);
        // 328 octets each: four in 1432.
        assert_eq!(
            field(&entries(10, 255)),
            [(false, 0x1_fffe, 4), (false, 0x1_ffff, 4), (true, 0x2_0000, 2)]
        );
        assert_eq!(field(&entries(4, 255)), [(true, 0x1_fffe, 4)]);
        // 12 octets each: 119.
        assert_eq!(field(&entries(120, 0)).len(), 2);
    }
}
