//! ST 2110-20 from its packets: size, pgroups, cut, scan, rate.
//!
//! ```text
//!   line 7: │ offset 0, 1200 octets │ offset 480, 1200 octets │ …     480 pixels are 1200 octets:
//!                                                                     5 octets of 2 pixels
//! ```

use tidegate_dataplane::wire::Rfc4175;

use super::Stamp;
use super::rate::{gcd, of, ticks};
use crate::stream::timing::Rate;
use crate::stream::video::packing::Packing;
use crate::stream::video::pgroup::Pgroup;
use crate::stream::video::{Depth, Sampling, Scan, Spec};

/// Octets of a packet of blocks, ST 2110-20, section 6.3.3.
const BLOCKS_OCTETS: u32 = 1260;

/// Octets of a block.
const BLOCK_OCTETS: u32 = 180;

/// Ratios of octets to pixels that are counted; a stream has one.
const RATIOS_MAX: usize = 4;

/// What pieces of lines say together.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    /// Packets that are RFC 4175 to the last octet.
    pub(super) packets: usize,
    /// The piece before, where the next packet may go on with it.
    before: Option<Piece>,
    /// Octets and pixels, shortened, of pieces that another one follows on the same line; and how
    /// many.
    ratios: Vec<((u64, u64), u64)>,
    /// What all lengths, and all offsets, are multiples of.
    octets_unit: u64,
    offset_unit: u64,
    /// The piece furthest to the right.
    right: (u16, usize),
    /// The last line, and which parities there are, of each field.
    last_line: u16,
    parities: [[bool; 2]; 2],
    rows_max: usize,
    /// Data of packets that do not end an image: the least and the most.
    data: Option<(u32, u32)>,
    /// The most data of all.
    data_max: u32,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    second_field: bool,
    line: u16,
    offset: u16,
    octets: usize,
}

impl Pieces {
    /// Takes a packet; `follows` says that its number is next to that of the one before.
    pub(super) fn packet(
        &mut self,
        video: &Rfc4175<'_>,
        payload_octets: usize,
        marker: bool,
        follows: bool,
    ) {
        if !follows {
            self.before = None;
        }
        let (mut data, mut count) = (0, 0);
        for row in video.rows() {
            let piece = Piece {
                second_field: row.second_field,
                line: row.line,
                offset: row.offset_pixels,
                octets: row.data.len(),
            };
            self.piece(piece);
            data += row.data.len();
            count += 1;
        }
        self.packets += usize::from(payload_octets == 2 + 6 * count + data && data > 0);
        self.rows_max = self.rows_max.max(count);
        let data = u32::try_from(data).unwrap_or(u32::MAX);
        self.data_max = self.data_max.max(data);
        if !marker {
            let (least, most) = self.data.unwrap_or((data, data));
            self.data = Some((least.min(data), most.max(data)));
        }
    }

    fn piece(&mut self, piece: Piece) {
        let Piece { second_field, line, offset, octets } = piece;
        if let Some(before) = self.before.replace(piece)
            && (before.second_field, before.line) == (second_field, line)
            && offset > before.offset
        {
            self.ratio(before.octets as u64, u64::from(offset - before.offset));
        }
        self.octets_unit = gcd(self.octets_unit, octets as u64);
        self.offset_unit = gcd(self.offset_unit, offset.into());
        self.right = self.right.max((offset, octets));
        self.last_line = self.last_line.max(line);
        self.parities[usize::from(second_field)][usize::from(line % 2)] = true;
    }

    fn ratio(&mut self, octets: u64, pixels: u64) {
        let unit = gcd(octets, pixels);
        let ratio = (octets / unit, pixels / unit);
        if let Some((_, count)) = self.ratios.iter_mut().find(|(it, _)| *it == ratio) {
            *count += 1;
        } else if self.ratios.len() < RATIOS_MAX {
            self.ratios.push((ratio, 1));
        }
    }

    /// Octets to pixels, where two pieces of a line say it.
    fn common_ratio(&self) -> Option<(u64, u64)> {
        self.ratios.iter().max_by_key(|(_, count)| *count).map(|(ratio, _)| *ratio)
    }
}

/// What may be in the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which samples.
    pub sampling: Sampling,
    /// Bits of a sample.
    pub depth: Depth,
    /// Pixels of a line.
    pub width: u32,
}

/// How lines are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Blocks of 180 octets.
    Blocks,
    /// Pieces within their line.
    Line,
    /// Pieces of several lines in a packet.
    Lines,
}

impl Cut {
    /// Our name for it.
    pub const fn packing(self) -> Packing {
        match self {
            Self::Blocks => Packing::Bpm,
            Self::Line => Packing::GpmLine,
            Self::Lines => Packing::Gpm,
        }
    }
}

/// A stream of video.
#[derive(Clone, Debug)]
pub struct Video {
    /// All that fit, the most usual first; never none.
    pub candidates: Vec<Candidate>,
    /// Whether two pieces of a line say how many octets a pixel has; else nothing does, and the
    /// candidates are all whose pgroups fit.
    pub measured: bool,
    /// Lines of a frame.
    pub height: u32,
    /// Fields or not.
    pub scan: Scan,
    /// Lines of fields are numbered as those of the frame, which ST 2110-20 does not.
    pub frame_lines: bool,
    /// Frames per second.
    pub rate: Option<Rate>,
    /// How lines are cut.
    pub cut: Cut,
    /// The most pieces in a packet.
    pub rows_max: usize,
    /// Octets of pixels in the longest packet.
    pub data_octets_max: u32,
    /// Images that came whole: frames or fields.
    pub images: u32,
    /// Packets of an image, where all have as many.
    pub packets_per_image: Option<u32>,
    /// Whether there is a gap between images; `None` where that is not to be seen.
    pub gapped: Option<bool>,
}

/// The most usual first.
const ORDER: [(Sampling, Depth); 16] = {
    use Depth::{Eight, Sixteen, Ten, Twelve};
    use Sampling::{Rgb, YCbCr420, YCbCr422, YCbCr444};
    [
        (YCbCr422, Ten),
        (YCbCr422, Eight),
        (YCbCr422, Twelve),
        (YCbCr422, Sixteen),
        (Rgb, Eight),
        (Rgb, Ten),
        (Rgb, Twelve),
        (Rgb, Sixteen),
        (YCbCr444, Eight),
        (YCbCr444, Ten),
        (YCbCr444, Twelve),
        (YCbCr444, Sixteen),
        (YCbCr420, Eight),
        (YCbCr420, Ten),
        (YCbCr420, Twelve),
        (YCbCr420, Sixteen),
    ]
};

impl Video {
    /// What the pieces say; `None` where they fit no pgroups.
    pub(super) fn of(pieces: &Pieces, stamps: &[(u64, Stamp)]) -> Option<Self> {
        let has_fields = pieces.parities[1] != [false, false];
        // GStreamer's: the lines of the frame, the even ones in the first field.
        let frame_lines = pieces.parities == [[true, false], [false, true]] && pieces.last_line > 2;
        let lines = u32::from(pieces.last_line) + 1;
        let pairs = !has_fields && !pieces.parities[0][1] && pieces.last_line >= 2;
        let height = match (has_fields, pairs) {
            (true, _) if frame_lines => lines,
            (true, _) => lines * 2,
            (false, true) => lines + 1,
            (false, false) => lines,
        };
        let ratio = pieces.common_ratio();
        let candidates: Vec<_> = ORDER
            .into_iter()
            .filter(|(sampling, _)| (*sampling == Sampling::YCbCr420) == pairs)
            .filter_map(|(sampling, depth)| candidate(pieces, ratio, sampling, depth))
            .collect();
        candidates.first()?;
        let ticks = ticks(stamps);
        let images = images(stamps);
        let between = of(&ticks);
        // Segments of a frame share a timestamp.
        let markers = stamps.iter().filter(|(_, stamp)| stamp.marker).count();
        let segmented = has_fields && markers * 2 > ticks.len() * 3;
        let scan = match (has_fields, segmented) {
            (false, _) => Scan::Progressive,
            (true, false) => Scan::Interlaced,
            (true, true) => Scan::Psf,
        };
        let rate = between.and_then(|rate| match scan {
            Scan::Interlaced => half(rate),
            Scan::Progressive | Scan::Psf => Some(rate),
        });
        let counts: Vec<u32> = images.iter().map(|image| image.packets).collect();
        let first = counts.first().copied();
        Some(Self {
            candidates,
            measured: ratio.is_some(),
            height,
            scan,
            frame_lines,
            rate,
            cut: cut(pieces),
            rows_max: pieces.rows_max,
            data_octets_max: pieces.data_max,
            images: u32::try_from(images.len()).unwrap_or(u32::MAX),
            packets_per_image: first.filter(|first| counts.iter().all(|count| count == first)),
            gapped: gapped(&images),
        })
    }

    /// The first candidate as a format; `None` where we have none such.
    pub fn spec(&self) -> Option<Spec> {
        let Candidate { sampling, depth, width } = *self.candidates.first()?;
        let spec = Spec {
            width,
            height: self.height,
            sampling,
            depth,
            scan: self.scan,
            rate: self.rate?,
            packing: self.cut.packing(),
        };
        // Others cut lines as we do not.
        let as_full = Spec { packing: Packing::Gpm, ..spec };
        [spec, as_full].into_iter().find(|spec| spec.check().is_ok())
    }
}

/// Whether this format fits, and how wide it would be.
fn candidate(
    pieces: &Pieces,
    ratio: Option<(u64, u64)>,
    sampling: Sampling,
    depth: Depth,
) -> Option<Candidate> {
    let pgroup = Pgroup::of(sampling, depth);
    let (octets, pixels) = (u64::from(pgroup.octets), u64::from(pgroup.pixels));
    let is_whole =
        pieces.octets_unit.is_multiple_of(octets) && pieces.offset_unit.is_multiple_of(pixels);
    if !is_whole || ratio.is_some_and(|(of, to)| octets * to != pixels * of) {
        return None;
    }
    let (offset, right) = pieces.right;
    let width = u64::from(offset) + right as u64 / octets * pixels;
    Some(Candidate { sampling, depth, width: u32::try_from(width).ok()? })
}

fn cut(pieces: &Pieces) -> Cut {
    let is_full = pieces.data == Some((BLOCKS_OCTETS, BLOCKS_OCTETS));
    if is_full && pieces.data_max == BLOCKS_OCTETS && pieces.octets_unit != 0 {
        // As many blocks in each; those of general packing only by chance.
        debug_assert!(BLOCKS_OCTETS.is_multiple_of(BLOCK_OCTETS));
        return Cut::Blocks;
    }
    if pieces.rows_max > 1 { Cut::Lines } else { Cut::Line }
}

fn half(rate: Rate) -> Option<Rate> {
    let (images, seconds) = rate.ratio();
    let text = match images.is_multiple_of(2) {
        true => format!("{}/{seconds}", images / 2),
        false => format!("{images}/{}", seconds * 2),
    };
    text.parse().ok()
}

/// An image of which every packet came, by marker and number.
struct Image {
    packets: u32,
    first_ns: u64,
    last_ns: u64,
    /// When the next one began, where it followed at once.
    next_ns: Option<u64>,
}

fn images(stamps: &[(u64, Stamp)]) -> Vec<Image> {
    let mut images: Vec<Image> = Vec::new();
    // The packet behind a marker begins an image, whose packets follow each other to the next.
    let mut open: Option<(u64, u32)> = None;
    for pair in stamps.windows(2) {
        let ((_, before), (at_ns, stamp)) = (pair[0], pair[1]);
        if before.sequence.wrapping_add(1) != stamp.sequence {
            open = None;
            continue;
        }
        if before.marker {
            open = Some((at_ns, 0));
            if let Some(image) = images.last_mut().filter(|image| image.last_ns == pair[0].0) {
                image.next_ns = Some(at_ns);
            }
        }
        if let Some((first_ns, packets)) = &mut open {
            *packets += 1;
            if stamp.marker {
                let (first_ns, packets) = (*first_ns, *packets);
                images.push(Image { packets, first_ns, last_ns: at_ns, next_ns: None });
                open = None;
            }
        }
    }
    images
}

/// Packets of an image at least, for a gap to be told from the end of a group.
const GAP_PACKETS_MIN: u32 = 200;

/// A gap is 4 % of a period, in standard definition 7 %: half of the smaller is more than groups of
/// the wide class leave between them, and less than any gap. (The EBU's rule, ten times what is
/// between packets, takes the spacing of even packets for granted.)
fn gapped(images: &[Image]) -> Option<bool> {
    let mut gaps: Vec<bool> = images
        .iter()
        .filter(|image| image.packets >= GAP_PACKETS_MIN)
        .filter_map(|image| {
            let next_ns = image.next_ns?;
            let gap_ns = next_ns.saturating_sub(image.last_ns);
            let spacing_ns =
                image.last_ns.saturating_sub(image.first_ns) / u64::from(image.packets - 1);
            let period_ns = next_ns.saturating_sub(image.first_ns);
            Some(gap_ns.saturating_sub(spacing_ns) > period_ns / 50)
        })
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied()
}
