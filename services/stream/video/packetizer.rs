//! Packets of video, built in place: what UDP carries of them.
//!
//! ```text
//!   Ethernet, IP, UDP │ 0 RTP │ 12 extended sequence, row headers │ 20, 26, 32 pixels
//!    another's header │└─────────── template, copied whole ──────┘
//!                             1 marker, 2 sequence, 4 timestamp, 12 extended sequence, 14 length,
//!                             16 line, 18 offset: patched, 13 octets and the length
//! ```
//!
//! What is in front of it is a [`Header`](crate::stream::header::Header), which is the same for all
//! packets: so a packet that goes two ways is the same here, too.

use tidegate_dataplane::wire::{rfc4175, rtp};

use super::format::Format;
use super::packing::{PacketOf, SEGMENTS_MAX, Segment};
use super::picture::Pixels;

const ROW: usize = rtp::HEADER_LEN;

/// Octets between UDP's header and the pixels, in a packet with `rows` row headers.
const fn header_octets(rows: usize) -> usize {
    ROW + rfc4175::SEQUENCE_LEN + rows * rfc4175::ROW_HEADER_LEN
}

/// Octets between UDP's header and the pixels of a packet that keeps to one row.
pub const HEADER_OCTETS: usize = header_octets(1);

const HEADER_OCTETS_MAX: usize = header_octets(SEGMENTS_MAX);

const _: () = assert!(HEADER_OCTETS == 20 && HEADER_OCTETS_MAX == 32, "as drawn above");

/// What packets of a stream are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// RTP payload type, 96 to 127.
    pub payload_type: u8,
    /// RTP synchronisation source.
    pub ssrc: u32,
}

/// What all packets of a field have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// 0, or 1 for the second field of a frame.
    pub index: u32,
    /// Its RTP timestamp.
    pub timestamp: u32,
}

/// Writes the packets of one stream, from RTP on.
#[derive(Clone, Debug)]
pub struct Packetizer {
    /// RTP and the extended sequence; row headers are all written.
    template: [u8; HEADER_OCTETS_MAX],
    payload_octets_max: usize,
    pgroup_octets: usize,
    /// From pgroups to pixels, by shifting: they are a power of two.
    pixels_shift: u32,
    row_lines: u16,
    fields: usize,
}

impl Packetizer {
    /// Makes the template.
    ///
    /// # Panics
    ///
    /// When the payload type is over 127.
    pub fn new(identity: &Identity, format: &Format) -> Self {
        let pgroup = format.pgroup();
        let rtp = rtp::Header {
            marker: false,
            payload_type: identity.payload_type,
            sequence: 0,
            timestamp: 0,
            ssrc: identity.ssrc,
        };
        let mut template = [0; HEADER_OCTETS_MAX];
        template[..ROW].copy_from_slice(&rtp.emit());
        let mut packetizer = Self {
            template,
            payload_octets_max: 0,
            pgroup_octets: pgroup.octets as usize,
            pixels_shift: pgroup.pixels.trailing_zeros(),
            row_lines: u16::try_from(pgroup.lines).expect("one or two"),
            fields: format.fields() as usize,
        };
        let lengths = format.packets().map(|packet| packetizer.payload_octets(&packet));
        packetizer.payload_octets_max = lengths.max().unwrap_or(0);
        packetizer
    }

    /// Octets of the longest payload: those of all but a few, where each packet keeps to its row.
    pub const fn payload_octets_max(&self) -> usize {
        self.payload_octets_max
    }

    /// Octets of this packet's payload.
    #[inline]
    pub fn payload_octets(&self, packet: &PacketOf) -> usize {
        header_octets(packet.segments().len()) + packet.pgroups() as usize * self.pgroup_octets
    }

    /// Writes what UDP carries of `packet` of `field` of `picture` into `into`.
    ///
    /// # Panics
    ///
    /// When `into` is not [`Self::payload_octets`] long, or the picture has no such packet.
    #[inline]
    pub fn write(
        &self,
        into: &mut [u8],
        packet: &PacketOf,
        sequence: u32,
        field: Field,
        picture: &impl Pixels,
    ) {
        // Each with a header of a size that is known, so that copying it is a few instructions.
        match packet.segments().len() {
            1 => self.write_rows::<{ header_octets(1) }>(into, packet, sequence, field, picture),
            2 => self.write_rows::<{ header_octets(2) }>(into, packet, sequence, field, picture),
            _ => self.write_rows::<{ header_octets(3) }>(into, packet, sequence, field, picture),
        }
    }

    #[inline]
    fn write_rows<const HEADER: usize>(
        &self,
        into: &mut [u8],
        packet: &PacketOf,
        sequence: u32,
        field: Field,
        picture: &impl Pixels,
    ) {
        let segments = packet.segments();
        let (header, mut data) =
            into.split_first_chunk_mut::<HEADER>().expect("room for the header");
        *header = *self.template.first_chunk().expect("no header is longer than the template");
        header[1] |= u8::from(packet.last) << 7;
        let [high_1, high_0, low_1, low_0] = sequence.to_be_bytes();
        header[2..4].copy_from_slice(&[low_1, low_0]);
        header[4..8].copy_from_slice(&field.timestamp.to_be_bytes());
        header[ROW..ROW + 2].copy_from_slice(&[high_1, high_0]);
        for (index, segment) in segments.iter().enumerate() {
            let octets = usize::from(segment.pgroups) * self.pgroup_octets;
            let at = ROW + rfc4175::SEQUENCE_LEN + index * rfc4175::ROW_HEADER_LEN;
            let row_header = &mut header[at..at + rfc4175::ROW_HEADER_LEN];
            self.write_row_header(row_header, segment, octets, field.index);
            if index + 1 < segments.len() {
                row_header[4] |= CONTINUES;
            }
            let row = usize::from(segment.row) * self.fields + field.index as usize;
            let start = usize::from(segment.start) * self.pgroup_octets;
            let (piece, rest) = data.split_at_mut(octets);
            picture.write(row, start, piece);
            data = rest;
        }
        assert!(data.is_empty(), "a packet of {} octets more", data.len());
    }

    #[inline]
    fn write_row_header(&self, into: &mut [u8], segment: &Segment, octets: usize, field: u32) {
        let line = segment.row * self.row_lines;
        let offset = segment.start << self.pixels_shift;
        let [_, _, _, _, _, _, length_1, length_0] = (octets as u64).to_be_bytes();
        let [line_1, line_0] = line.to_be_bytes();
        let [offset_1, offset_0] = offset.to_be_bytes();
        let second = if field == 0 { 0 } else { SECOND_FIELD };
        into.copy_from_slice(&[length_1, length_0, line_1 | second, line_0, offset_1, offset_0]);
    }
}

/// Bits of RFC 4175's row header: in the first octet of the line, and of the offset.
const SECOND_FIELD: u8 = 0x80;
const CONTINUES: u8 = 0x80;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers, or cut on purpose")]
mod tests {
    use tidegate_dataplane::wire::{Rfc4175, Rtp};

    use super::*;
    use crate::stream::video::convert::{self, Planar};
    use crate::stream::video::format::{Depth, Sampling, Scan, Spec};
    use crate::stream::video::packing::Packing;
    use crate::stream::video::picture::Picture;

    const IDENTITY: Identity = Identity { payload_type: 96, ssrc: 0x5eed_0001 };

    fn spec() -> Spec {
        Spec::new(1920, 1080, Depth::Ten, "50".parse().unwrap())
    }

    /// All packets of a field, numbered from 7, written over octets that are something else.
    fn written(format: &Format, field: Field, picture: &[u8]) -> Vec<Vec<u8>> {
        packets_of(format, field, &Picture::whole(picture, format.row_octets() as usize))
    }

    fn packets_of(format: &Format, field: Field, picture: &impl Pixels) -> Vec<Vec<u8>> {
        let packetizer = Packetizer::new(&IDENTITY, format);
        let write = |(sequence, packet): (u32, PacketOf)| {
            let mut octets = vec![0xa5; packetizer.payload_octets(&packet)];
            assert!(octets.len() <= packetizer.payload_octets_max());
            packetizer.write(&mut octets, &packet, sequence, field, picture);
            octets
        };
        (7..).zip(format.packets()).map(write).collect()
    }

    const FIELD: Field = Field { index: 0, timestamp: 0x0102_0304 };

    /// The last packet of a 1080p50 frame, octet for octet.
    #[test]
    fn the_header_is_as_drawn() {
        let format = spec().check().unwrap();
        let picture = vec![0x5a; 5_184_000];
        let packetizer = Packetizer::new(&IDENTITY, &format);
        let last = format.packets().last().unwrap();
        let mut packet = vec![0xa5; packetizer.payload_octets(&last)];
        let picture = Picture::whole(&picture, 4800);
        packetizer.write(&mut packet, &last, 0x0012_fffe, FIELD, &picture);
        assert_eq!(packet.len(), 1220);
        #[rustfmt::skip]
        let header: [u8; 20] = [
            0x80, 0xe0, 0xff, 0xfe, 1, 2, 3, 4, 0x5e, 0xed, 0, 1,
            0x00, 0x12, 0x04, 0xb0, 0x04, 0x37, 0x05, 0xa0,
        ];
        assert_eq!(packet[..20], header);
        assert!(packet[20..].iter().all(|&octet| octet == 0x5a));
    }

    /// The row headers where the second field's line 1 begins, in blocks of 1260 octets.
    #[test]
    fn a_packet_that_crosses_a_line_continues() {
        let spec = Spec { packing: Packing::Bpm, scan: Scan::Interlaced, ..spec() };
        let field = Field { index: 1, ..FIELD };
        let packet = &written(&spec.check().unwrap(), field, &vec![0x5a; 5_184_000])[3];
        // 3780 octets have gone: 1020 are left of the line, 408 pixels; 240 of the next fit.
        #[rustfmt::skip]
        assert_eq!(packet[12..26], [
            0, 0,  0x03, 0xfc, 0x80, 0, 0x80 | 0x05, 0xe8,  0x00, 0xf0, 0x80, 1, 0, 0,
        ]);
        assert_eq!(packet.len(), 26 + 1260);
    }

    /// Every format there is, in every packing, with lines that are no multiple of anything.
    fn formats() -> Vec<Format> {
        let mut formats = Vec::new();
        for sampling in Sampling::ALL {
            for depth in Depth::ALL {
                for scan in [Scan::Progressive, Scan::Interlaced] {
                    for packing in [Packing::GpmLine, Packing::Gpm, Packing::Bpm] {
                        let spec = Spec { sampling, depth, scan, packing, width: 736, ..spec() };
                        formats.extend(Spec { height: 20, ..spec }.check());
                    }
                }
            }
        }
        // 4:2:0 has no fields, 4:2:2 at 16 bits no blocks, and 736 no even split at some depths.
        assert!(formats.len() > 60, "{}", formats.len());
        formats
    }

    #[test]
    fn every_packet_reads_back_and_together_they_are_the_picture() {
        for format in formats() {
            let picture: Vec<u8> =
                (0..format.frame_octets()).map(|at| (at * 7 / 5) as u8).collect();
            let mut rebuilt = vec![0; picture.len()];
            let pgroup = format.pgroup();
            let mut rebuild = |octets: &[u8], field: u32, last: bool| {
                let rtp = Rtp::parse(octets).unwrap();
                assert_eq!(rtp.marker(), last);
                assert!(octets.len() <= format.payload_octets_max() as usize);
                for row in Rfc4175::parse(rtp.payload()).unwrap().rows() {
                    assert_eq!(row.second_field, field == 1);
                    assert_eq!(u32::from(row.line) % pgroup.lines, 0);
                    let frame_row = u32::from(row.line) / pgroup.lines * format.fields() + field;
                    let at = frame_row * format.row_octets()
                        + u32::from(row.offset_pixels) / pgroup.pixels * pgroup.octets;
                    rebuilt[at as usize..][..row.data.len()].copy_from_slice(row.data);
                }
            };
            for index in 0..format.fields() {
                let packets = written(&format, Field { index, ..FIELD }, &picture);
                assert_eq!(packets.len(), format.packets_per_field() as usize);
                for (at, octets) in packets.iter().enumerate() {
                    rebuild(octets, index, at + 1 == packets.len());
                }
            }
            assert!(rebuilt == picture, "{format} {:?}", format.packing());
        }
    }

    #[test]
    fn planes_go_straight_into_packets() {
        for format in formats() {
            let size = convert::planar_octets(&format);
            let mut planes: Vec<u8> = (0..size).map(|at| (at * 7 / 5) as u8).collect();
            if format.depth() != Depth::Eight {
                let above = 16 - format.depth().bits();
                planes.iter_mut().skip(1).step_by(2).for_each(|high| *high &= 0xff >> above);
            }
            let mut picture = vec![0; format.frame_octets()];
            convert::from_planes(&format, &planes, &mut picture);
            let planar = Planar::new(&format, &planes);
            for index in 0..format.fields() {
                let field = Field { index, ..FIELD };
                let (straight, copied) =
                    (packets_of(&format, field, &planar), written(&format, field, &picture));
                assert!(straight == copied, "{format} {:?}", format.packing());
            }
        }
    }

    /// A picture that counts what is written of it, and only takes places within `packet`.
    struct Counting<'a> {
        picture: Picture<'a>,
        packet: std::cell::Cell<(usize, usize)>,
        octets: std::cell::Cell<usize>,
    }

    impl Pixels for Counting<'_> {
        fn write(&self, row: usize, start: usize, into: &mut [u8]) {
            let (from, to) = self.packet.get();
            let at = into.as_ptr().addr();
            assert!(from <= at && at + into.len() <= to, "somewhere else than in the packet");
            self.octets.set(self.octets.get() + into.len());
            self.picture.write(row, start, into);
        }
    }

    #[test]
    fn each_octet_of_a_picture_is_written_once_and_straight_into_its_packet() {
        for format in formats() {
            let octets = vec![0x5a; format.frame_octets()];
            let picture = Counting {
                picture: Picture::whole(&octets, format.row_octets() as usize),
                packet: Default::default(),
                octets: Default::default(),
            };
            let packetizer = Packetizer::new(&IDENTITY, &format);
            let mut packet = vec![0; packetizer.payload_octets_max()];
            for index in 0..format.fields() {
                for plan in format.packets() {
                    let into = &mut packet[..packetizer.payload_octets(&plan)];
                    let range = into.as_ptr_range();
                    picture.packet.set((range.start.addr(), range.end.addr()));
                    packetizer.write(into, &plan, 0, Field { index, ..FIELD }, &picture);
                }
            }
            assert_eq!(picture.octets.get(), format.frame_octets(), "{format}");
        }
    }

    #[test]
    fn building_packets_allocates_nothing() {
        let format = Spec { packing: Packing::Gpm, ..spec() }.check().unwrap();
        let packetizer = Packetizer::new(&IDENTITY, &format);
        let octets = vec![0x5a; format.frame_octets()];
        let picture = Picture::whole(&octets, format.row_octets() as usize);
        let mut memory = vec![0; packetizer.payload_octets_max()];
        let counts = allocation_counter::measure(|| {
            for packet in format.packets() {
                let into = &mut memory[..packetizer.payload_octets(&packet)];
                packetizer.write(into, &packet, 0, FIELD, &picture);
            }
        });
        assert_eq!(counts.count_total, 0);
    }

    #[test]
    #[should_panic(expected = "octets 0 and 1200 more of a row")]
    fn a_picture_of_another_format_is_refused() {
        let format = spec().check().unwrap();
        let packetizer = Packetizer::new(&IDENTITY, &format);
        let packet = format.packets().next().unwrap();
        let mut octets = vec![0; packetizer.payload_octets(&packet)];
        packetizer.write(&mut octets, &packet, 0, FIELD, &Picture::whole(&[0; 1000], 1000));
    }
}
