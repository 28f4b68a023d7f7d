//! Which pieces of a field are in which packet: ST 2110-20, section 6.3.
//!
//! ```text
//!   gpm-line   │ n │ n │ n │ n │    a row in equal packets, none crosses its end
//!   gpm        │ 1430 │ 1430 │ … 640┆785 │    as full as UDP lets them be, up to three rows
//!   bpm        │ 7*180 │ 7*180 │ … 300┆960 │    seven blocks of 180, the last packet shorter
//! ```
//!
//! [`Packets`] is the field's packets one after the other: a packet costs a few additions, no
//! division, no memory. It counts in pgroups; octets and pixels are a multiplication away.

use std::fmt;

use serde::Deserialize;

use super::pgroup::Pgroup;

/// Octets of RTP payload in a datagram of the standard UDP size of ST 2110-10, section 6.3: 1460
/// with the UDP header, without that and RTP's.
const PAYLOAD_OCTETS: u32 = 1460 - 8 - 12;

/// Octets of the extended sequence number, and of each row header behind it.
const SEQUENCE_OCTETS: u32 = 2;
const ROW_HEADER_OCTETS: u32 = 6;

/// Rows in a packet at most, ST 2110-20, section 6.2.1.
pub const SEGMENTS_MAX: usize = 3;

/// Octets of a block, ST 2110-20, section 6.3.3, and the blocks that fit a datagram of standard
/// size.
const BLOCK_OCTETS: u32 = 180;
const BLOCKS: u32 = 7;

/// Octets of pixels that fit a packet with `count` row headers: 1432, 1426, 1420.
const fn data_octets_max(count: u32) -> u32 {
    PAYLOAD_OCTETS - SEQUENCE_OCTETS - ROW_HEADER_OCTETS * count
}

const _: () = assert!(data_octets_max(3) >= BLOCKS * BLOCK_OCTETS);

/// Why pictures of this size cannot be packed so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No even split of a row into packets near the best size.
    Split {
        /// Pgroups of the row.
        pgroups: u32,
        /// Pixels of a pgroup.
        pixels: u32,
    },
    /// A block does not hold whole pgroups.
    Block {
        /// Octets of a pgroup.
        octets: u32,
    },
    /// A packet of blocks would hold pieces of more rows than it may.
    Rows {
        /// Octets of a row.
        octets: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split { pgroups, pixels } => write!(
                f,
                "width {}: a line cannot be cut into equal packets near {} octets; use packing \
                 \"gpm\"",
                pgroups * pixels,
                data_octets_max(1),
            ),
            Self::Block { octets } => write!(
                f,
                "packing \"bpm\": a block of {BLOCK_OCTETS} octets does not hold whole pgroups of \
                 {octets} (YCbCr-4:2:2 at 16 bits); use packing \"gpm\""
            ),
            Self::Rows { octets } => write!(
                f,
                "packing \"bpm\": a packet of {} octets would hold more than {SEGMENTS_MAX} lines \
                 of {octets}; use packing \"gpm\"",
                BLOCKS * BLOCK_OCTETS,
            ),
        }
    }
}

impl std::error::Error for Error {}

/// How packets are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// General packing mode, all packets equally long and within their row.
    #[default]
    GpmLine,
    /// General packing mode, in as few packets as there can be.
    Gpm,
    /// Block packing mode.
    Bpm,
}

impl Packing {
    /// Its name in SDP, ST 2110-20, section 7.2.
    pub const fn sdp_name(self) -> &'static str {
        match self {
            Self::GpmLine | Self::Gpm => "2110GPM",
            Self::Bpm => "2110BPM",
        }
    }
}

/// The numbers that a packing comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pgroups in a packet at most, by its number of segments less one. Never more than the entry
    /// before; 0 where there is no such packet.
    pgroups_max: [u16; SEGMENTS_MAX],
    row_pgroups: u16,
    rows: u16,
    packets: u32,
    payload_octets_max: u32,
}

impl Plan {
    pub(super) fn new(
        packing: Packing,
        pgroup: Pgroup,
        row_pgroups: u32,
        rows: u32,
    ) -> Result<Self, Error> {
        let octets = pgroup.octets;
        let full = BLOCKS * BLOCK_OCTETS / octets;
        let pgroups_max = match packing {
            Packing::GpmLine => [even_split(pgroup, row_pgroups)?, 0, 0],
            Packing::Gpm => [1, 2, 3].map(|count| data_octets_max(count) / octets),
            Packing::Bpm if !BLOCK_OCTETS.is_multiple_of(octets) => {
                return Err(Error::Block { octets });
            }
            Packing::Bpm => [full; SEGMENTS_MAX],
        };
        let short = |count: u32| u16::try_from(count).expect("a row of 8192 pixels is as long");
        let mut plan = Self {
            pgroups_max: pgroups_max.map(short),
            row_pgroups: short(row_pgroups),
            rows: short(rows),
            packets: 0,
            payload_octets_max: 0,
        };
        for packet in Packets::new(plan) {
            if packing == Packing::Bpm && !packet.last && packet.pgroups() != full {
                return Err(Error::Rows { octets: row_pgroups * octets });
            }
            let headers = ROW_HEADER_OCTETS * u32::from(packet.count);
            let payload = SEQUENCE_OCTETS + headers + packet.pgroups() * octets;
            plan.payload_octets_max = plan.payload_octets_max.max(payload + 12);
            plan.packets += 1;
        }
        Ok(plan)
    }

    pub(super) const fn packets_per_field(&self) -> u32 {
        self.packets
    }

    pub(super) const fn payload_octets_max(&self) -> u32 {
        self.payload_octets_max
    }
}

/// Pgroups of each packet where a row is cut evenly.
fn even_split(pgroup: Pgroup, row_pgroups: u32) -> Result<u32, Error> {
    let fewest = (row_pgroups * pgroup.octets).div_ceil(data_octets_max(1));
    // The fewest packets that divide the row. More than twice the best would waste the link on
    // headers: a row of a prime number of pgroups has no split but into single ones.
    let count = (fewest..=2 * fewest).find(|&count| {
        row_pgroups.is_multiple_of(count)
            && row_pgroups / count * pgroup.octets <= data_octets_max(1)
    });
    let refusal = Error::Split { pgroups: row_pgroups, pixels: pgroup.pixels };
    count.map(|count| row_pgroups / count).ok_or(refusal)
}

/// A piece of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Row within the field.
    pub row: u16,
    /// First pgroup within the row.
    pub start: u16,
    /// Number of pgroups.
    pub pgroups: u16,
}

/// What is in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketOf {
    segments: [Segment; SEGMENTS_MAX],
    count: u8,
    /// Whether the field ends with it: the marker.
    pub last: bool,
}

impl PacketOf {
    /// Its pieces of rows, in order; at least one.
    #[inline]
    pub fn segments(&self) -> &[Segment] {
        &self.segments[..usize::from(self.count)]
    }

    /// Pgroups of all of them.
    #[inline]
    pub fn pgroups(&self) -> u32 {
        self.segments().iter().map(|segment| u32::from(segment.pgroups)).sum()
    }
}

/// The packets of a field that are still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    plan: Plan,
    row: u16,
    /// Pgroups of the row that have gone.
    at: u16,
}

impl Packets {
    pub(super) const fn new(plan: Plan) -> Self {
        Self { plan, row: 0, at: 0 }
    }

    /// The next piece of at most `max` pgroups, if there is any row left.
    #[inline]
    fn take(&mut self, max: u16) -> Segment {
        let left = self.plan.row_pgroups - self.at;
        let pgroups = left.min(max);
        let segment = Segment { row: self.row, start: self.at, pgroups };
        if pgroups == left {
            (self.row, self.at) = (self.row + 1, 0);
        } else {
            self.at += pgroups;
        }
        segment
    }
}

impl Iterator for Packets {
    type Item = PacketOf;

    #[inline]
    fn next(&mut self) -> Option<PacketOf> {
        let Plan { pgroups_max, rows, .. } = self.plan;
        if self.row == rows {
            return None;
        }
        let mut segments = [Segment::default(); SEGMENTS_MAX];
        segments[0] = self.take(pgroups_max[0]);
        let (mut count, mut filled) = (1_u8, segments[0].pgroups);
        // A further row only where it adds to the packet: its header leaves less room.
        while self.at == 0 && self.row != rows {
            let index = usize::from(count);
            let max = pgroups_max.get(index);
            let Some(room) = max.and_then(|max| max.checked_sub(filled)).filter(|&room| room > 0)
            else {
                break;
            };
            segments[index] = self.take(room);
            filled += segments[index].pgroups;
            count += 1;
        }
        Some(PacketOf { segments, count, last: self.row == rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::video::format::{Depth, Format, HEIGHT, Sampling, Scan, Spec};

    fn spec(width: u32, height: u32, packing: Packing) -> Spec {
        let rate = "50".parse().unwrap();
        Spec { packing, ..Spec::new(width, height, Depth::Ten, rate) }
    }

    fn octets(format: &Format, packet: &PacketOf) -> u32 {
        packet.pgroups() * format.pgroup().octets
    }

    #[test]
    fn lines_are_split_as_the_worked_numbers_say() {
        let table = [
            (1920, 1080, Depth::Ten, 1200, 4320),
            (3840, 2160, Depth::Ten, 1200, 17280),
            (1280, 720, Depth::Ten, 800, 2880),
            (1920, 1080, Depth::Eight, 1280, 3240),
            (1280, 720, Depth::Eight, 1280, 1440),
            (720, 576, Depth::Ten, 900, 1152),
            (128, 16, Depth::Ten, 320, 16),
        ];
        for (width, height, depth, data, per_field) in table {
            let spec = Spec { depth, ..spec(width, height, Packing::GpmLine) };
            let format = spec.check().unwrap();
            assert_eq!(format.packets_per_field(), per_field, "{format}");
            assert_eq!(format.payload_octets_max(), 12 + 2 + 6 + data, "{format}");
            assert!(format.packets().all(|packet| octets(&format, &packet) == data), "{format}");
        }
    }

    #[test]
    fn blocks_and_full_packets_are_as_many_as_the_worked_numbers_say() {
        let count = |width, height, packing| {
            spec(width, height, packing).check().unwrap().packets_per_field()
        };
        assert_eq!(count(1920, 1080, Packing::Bpm), 4115);
        assert_eq!(count(3840, 2160, Packing::Bpm), 16458);
        // 20,736,000 octets: 14,501 packets if all had 1430 octets, 14,552 if all had 1425.
        assert_eq!(count(1920, 1080, Packing::Gpm), 3629);
        assert_eq!(count(3840, 2160, Packing::Gpm), 14_509);
    }

    /// Fewer packets there cannot be: how far each packet reaches, tried in every way.
    #[test]
    fn full_packets_are_the_fewest() {
        for (width, sampling, depth) in [
            (1920, Sampling::YCbCr422, Depth::Ten),
            (728, Sampling::Rgb, Depth::Ten),
            (130, Sampling::YCbCr422, Depth::Eight),
            (478, Sampling::YCbCr444, Depth::Eight),
            (256, Sampling::YCbCr420, Depth::Ten),
        ] {
            let spec = Spec { sampling, depth, ..spec(width, 64, Packing::Gpm) };
            let format = spec.check().unwrap();
            let (row, size) = (format.row_pgroups(), format.pgroup().octets);
            let end = row * format.rows();
            // By dynamic programming over all lengths of all packets.
            let mut fewest = vec![u32::MAX; end as usize + 1];
            fewest[0] = 0;
            for at in 0..end {
                for to in at + 1..=end.min(at + 1432 / size) {
                    let rows = (to - 1) / row - at / row + 1;
                    if rows <= 3 && (to - at) * size <= 1440 - 2 - 6 * rows {
                        let through = fewest[at as usize] + 1;
                        fewest[to as usize] = fewest[to as usize].min(through);
                    }
                }
            }
            assert_eq!(format.packets_per_field(), fewest[end as usize], "{format}");
        }
    }

    #[test]
    fn a_field_is_covered_once_in_order_and_ends_with_the_marker() {
        for packing in [Packing::GpmLine, Packing::Gpm, Packing::Bpm] {
            for sampling in Sampling::ALL {
                for depth in Depth::ALL {
                    let spec = Spec { sampling, depth, ..spec(1280, 720, packing) };
                    let Ok(format) = spec.check() else {
                        assert_eq!((packing, depth), (Packing::Bpm, Depth::Sixteen));
                        assert_eq!(sampling, Sampling::YCbCr422);
                        continue;
                    };
                    let (mut at, mut ended) = (0, false);
                    for packet in format.packets() {
                        assert!(!ended, "a packet behind the last");
                        ended = packet.last;
                        let headers = 6 * u32::from(packet.count);
                        assert!(octets(&format, &packet) + headers + 2 + 12 + 8 <= 1460);
                        for segment in packet.segments() {
                            let place = u32::from(segment.row) * format.row_pgroups()
                                + u32::from(segment.start);
                            assert_eq!(place, at, "{format}");
                            assert!(segment.pgroups > 0);
                            at += u32::from(segment.pgroups);
                        }
                    }
                    assert_eq!((at as usize, ended), (format.frame_pgroups(), true), "{format}");
                }
            }
        }
    }

    #[test]
    fn packets_of_blocks_are_full_but_for_the_last() {
        for scan in [Scan::Progressive, Scan::Interlaced] {
            let format = Spec { scan, ..spec(1280, 720, Packing::Bpm) }.check().unwrap();
            let packets: Vec<_> = format.packets().collect();
            let (last, full) = packets.split_last().unwrap();
            assert!(full.iter().all(|packet| octets(&format, packet) == 1260));
            // 2,304,000 octets in a frame.
            let rest = 2_304_000 / format.fields() as usize - 1260 * full.len();
            assert_eq!(octets(&format, last) as usize, rest);
        }
    }

    #[test]
    fn every_width_is_packed_or_refused_with_a_remedy() {
        for width in (128..=8192).step_by(2) {
            for depth in [Depth::Eight, Depth::Ten, Depth::Twelve, Depth::Sixteen] {
                let height = *HEIGHT.start();
                let of = |packing| Spec { depth, ..spec(width, height, packing) }.check();
                if let Err(error) = of(Packing::GpmLine) {
                    assert!(error.to_string().contains("use packing \"gpm\""), "{error}");
                    assert!(depth.bits() > 10 || width % 32 != 0, "{width}");
                }
                of(Packing::Gpm).unwrap();
            }
        }
    }

    #[test]
    fn refusals_name_the_remedy() {
        let refused = |spec: Spec| spec.check().unwrap_err().to_string();
        assert_eq!(
            refused(spec(1366, 768, Packing::GpmLine)),
            "width 1366: a line cannot be cut into equal packets near 1432 octets; use packing \
             \"gpm\""
        );
        assert_eq!(
            refused(Spec { depth: Depth::Sixteen, ..spec(1920, 1080, Packing::Bpm) }),
            "packing \"bpm\": a block of 180 octets does not hold whole pgroups of 8 \
             (YCbCr-4:2:2 at 16 bits); use packing \"gpm\""
        );
        assert_eq!(
            refused(spec(128, 16, Packing::Bpm)),
            "packing \"bpm\": a packet of 1260 octets would hold more than 3 lines of 320; use \
             packing \"gpm\""
        );
    }
}
