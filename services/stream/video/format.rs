//! What the pictures are: size, sampling, depth, scan and rate, and how they are packed.
//!
//! ```text
//!   Spec (as said) ──check──► Format (can be sent)
//!
//!   frame = 1 or 2 fields      field = rows      row = pgroups      pgroup = octets
//!           scan                       1 line, or 2 in 4:2:0
//! ```
//!
//! A *field* is what one marker ends: the whole frame where the scan is progressive, else every
//! second line of it. A *row* is what ST 2110-20 calls a sample row: a line, or in 4:2:0 the two
//! lines that share their chroma. A picture in memory is its rows from the top, whatever field
//! they are of, each one's pgroups from the left.

use std::fmt;

use serde::Deserialize;

use super::packing::{self, Packets, Packing, Plan};
use super::pgroup::Pgroup;
use crate::stream::timing::Rate;
use crate::stream::timing::schedule::{self, Images};

/// Fewest pgroups of a row: the pattern's number has as many cells.
pub const ROW_PGROUPS_MIN: u32 = 64;

/// Most pixels of a line. Beyond 8K there are no pictures, and a row of them at 16 bits is still
/// counted in 16 bits.
pub const WIDTH_MAX: u32 = 8192;

/// Smallest and largest height in lines.
pub const HEIGHT: std::ops::RangeInclusive<u32> = 16..=8192;

/// Why there is no such format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The width is out of range or not of whole pgroups.
    Width {
        /// Pixels asked for.
        found: u32,
        /// Pixels of a pgroup, whose multiples are allowed.
        step: u32,
    },
    /// The height is out of range or not of whole pgroups and fields.
    Height {
        /// Lines asked for.
        found: u32,
        /// Lines whose multiples are allowed.
        step: u32,
    },
    /// The depth is none of ST 2110-20's integers.
    Depth(u8),
    /// 4:2:0 in two fields.
    Fields(Scan),
    /// The packing does not suit.
    Packing(packing::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let multiples = |step| match step {
            1 => "all numbers".into(),
            2 => "even numbers".into(),
            step => format!("multiples of {step}"),
        };
        match self {
            Self::Width { found, step } => write!(
                f,
                "width {found}: allowed are {} from {} to {WIDTH_MAX}",
                multiples(*step),
                width_min(*step),
            ),
            Self::Height { found, step } => write!(
                f,
                "height {found}: allowed are {} from {} to {}",
                multiples(*step),
                HEIGHT.start(),
                HEIGHT.end()
            ),
            Self::Depth(found) => write!(f, "depth {found}: allowed are 8, 10, 12 and 16"),
            Self::Fields(scan) => write!(
                f,
                "scan \"{scan}\": the pgroups of YCbCr-4:2:0 have two neighbouring lines, which \
                 fields would part; use scan \"progressive\" or sampling \"YCbCr-4:2:2\""
            ),
            Self::Packing(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<packing::Error> for Error {
    fn from(error: packing::Error) -> Self {
        Self::Packing(error)
    }
}

/// Fewest pixels of a line, where a pgroup has `pixels`; never under 128.
const fn width_min(pixels: u32) -> u32 {
    let pixels = if pixels > 2 { pixels } else { 2 };
    ROW_PGROUPS_MIN * pixels
}

/// Bits per sample. ST 2110-20's 16-bit floating point is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum Depth {
    /// 8 bits.
    Eight,
    /// 10 bits.
    Ten,
    /// 12 bits.
    Twelve,
    /// 16 bits, integers.
    Sixteen,
}

impl TryFrom<u8> for Depth {
    type Error = Error;

    fn try_from(bits: u8) -> Result<Self, Error> {
        let all = Self::ALL.into_iter();
        all.clone().find(|depth| depth.bits() == bits).ok_or(Error::Depth(bits))
    }
}

impl Depth {
    /// All depths.
    pub const ALL: [Self; 4] = [Self::Eight, Self::Ten, Self::Twelve, Self::Sixteen];

    /// Bits per sample.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Eight => 8,
            Self::Ten => 10,
            Self::Twelve => 12,
            Self::Sixteen => 16,
        }
    }
}

/// Which samples a picture has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Sampling {
    /// Chroma at half the horizontal resolution.
    #[default]
    #[serde(rename = "YCbCr-4:2:2")]
    YCbCr422,
    /// Chroma at the full resolution.
    #[serde(rename = "YCbCr-4:4:4")]
    YCbCr444,
    /// Chroma at half the resolution, horizontally and vertically.
    #[serde(rename = "YCbCr-4:2:0")]
    YCbCr420,
    /// Red, green and blue.
    #[serde(rename = "RGB")]
    Rgb,
}

impl Sampling {
    /// All samplings.
    pub const ALL: [Self; 4] = [Self::YCbCr422, Self::YCbCr444, Self::YCbCr420, Self::Rgb];

    /// Its name in configurations and SDP, ST 2110-20, section 7.4.1.
    pub const fn name(self) -> &'static str {
        match self {
            Self::YCbCr422 => "YCbCr-4:2:2",
            Self::YCbCr444 => "YCbCr-4:4:4",
            Self::YCbCr420 => "YCbCr-4:2:0",
            Self::Rgb => "RGB",
        }
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In what order the lines of a frame are taken and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scan {
    /// All from the top, at one moment.
    #[default]
    Progressive,
    /// Two fields, the second half a frame later; the first has the top line.
    Interlaced,
    /// Progressive segmented frames: two segments like fields, but of one moment.
    Psf,
}

impl Scan {
    /// Fields or segments of a frame: markers of a frame.
    pub const fn fields(self) -> u32 {
        match self {
            Self::Progressive => 1,
            Self::Interlaced | Self::Psf => 2,
        }
    }
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Progressive => "progressive",
            Self::Interlaced => "interlaced",
            Self::Psf => "psf",
        })
    }
}

/// What somebody wants: a configuration or an SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Pixels of a line.
    pub width: u32,
    /// Lines of a frame.
    pub height: u32,
    /// Which samples.
    pub sampling: Sampling,
    /// Bits per sample.
    pub depth: Depth,
    /// Fields or not.
    pub scan: Scan,
    /// Frames per second; an interlaced 50 Hz has 25.
    pub rate: Rate,
    /// How packets are filled.
    pub packing: Packing,
}

impl Spec {
    /// The most used kind: progressive 4:2:2 in one-line packets. To be altered:
    /// `Spec { scan: Scan::Interlaced, ..Spec::new(1920, 1080, Depth::Ten, rate) }`.
    pub const fn new(width: u32, height: u32, depth: Depth, rate: Rate) -> Self {
        let (sampling, scan) = (Sampling::YCbCr422, Scan::Progressive);
        Self { width, height, sampling, depth, scan, rate, packing: Packing::GpmLine }
    }

    /// Checks that it can be sent, and finds how.
    ///
    /// # Errors
    ///
    /// When a number is out of range, or size, scan and packing do not go together.
    pub fn check(self) -> Result<Format, Error> {
        let pgroup = Pgroup::of(self.sampling, self.depth);
        let widths = width_min(pgroup.pixels)..=WIDTH_MAX;
        if !widths.contains(&self.width) || !self.width.is_multiple_of(pgroup.pixels) {
            return Err(Error::Width { found: self.width, step: pgroup.pixels });
        }
        if pgroup.lines > 1 && self.scan != Scan::Progressive {
            return Err(Error::Fields(self.scan));
        }
        let step = pgroup.lines * self.scan.fields();
        if !HEIGHT.contains(&self.height) || !self.height.is_multiple_of(step) {
            return Err(Error::Height { found: self.height, step });
        }
        let rows = self.height / step;
        let plan = Plan::new(self.packing, pgroup, self.width / pgroup.pixels, rows)?;
        Ok(Format { spec: self, pgroup, plan })
    }
}

/// A checked video format.
///
/// Holding one proves that a frame has whole fields of whole rows of whole pgroups, and that its
/// packing fills packets with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    spec: Spec,
    pgroup: Pgroup,
    plan: Plan,
}

impl Format {
    /// The most used kind: progressive 4:2:2 in one-line packets. For others, see [`Spec`].
    ///
    /// # Errors
    ///
    /// When a number is out of range, or no even split of a line comes near the best.
    pub fn new(width: u32, height: u32, depth: Depth, rate: Rate) -> Result<Self, Error> {
        Spec::new(width, height, depth, rate).check()
    }

    /// What it was made of.
    pub const fn spec(&self) -> Spec {
        self.spec
    }

    /// Pixels of a line.
    pub const fn width(&self) -> u32 {
        self.spec.width
    }

    /// Lines of a frame.
    pub const fn height(&self) -> u32 {
        self.spec.height
    }

    /// Which samples.
    pub const fn sampling(&self) -> Sampling {
        self.spec.sampling
    }

    /// Bits per sample.
    pub const fn depth(&self) -> Depth {
        self.spec.depth
    }

    /// Fields or not.
    pub const fn scan(&self) -> Scan {
        self.spec.scan
    }

    /// Frames per second.
    pub const fn rate(&self) -> Rate {
        self.spec.rate
    }

    /// How packets are filled.
    pub const fn packing(&self) -> Packing {
        self.spec.packing
    }

    /// The smallest piece of a row.
    pub const fn pgroup(&self) -> Pgroup {
        self.pgroup
    }

    /// Pgroups of a row.
    pub const fn row_pgroups(&self) -> u32 {
        self.spec.width / self.pgroup.pixels
    }

    /// Octets of a row.
    pub const fn row_octets(&self) -> u32 {
        self.row_pgroups() * self.pgroup.octets
    }

    /// Rows of a frame.
    pub const fn rows(&self) -> u32 {
        self.spec.height / self.pgroup.lines
    }

    /// Fields of a frame: 1, or 2 where it is interlaced or segmented.
    pub const fn fields(&self) -> u32 {
        self.spec.scan.fields()
    }

    /// Rows of a field.
    pub const fn field_rows(&self) -> u32 {
        self.rows() / self.fields()
    }

    /// Octets of a frame.
    pub const fn frame_octets(&self) -> usize {
        self.row_octets() as usize * self.rows() as usize
    }

    /// Pgroups of a frame.
    pub const fn frame_pgroups(&self) -> usize {
        self.row_pgroups() as usize * self.rows() as usize
    }

    /// Packets of a field.
    pub const fn packets_per_field(&self) -> u32 {
        self.plan.packets_per_field()
    }

    /// Packets of a frame, of all its fields.
    pub const fn packets_per_frame(&self) -> u32 {
        self.packets_per_field() * self.fields()
    }

    /// Octets of UDP payload in the longest packet, which SDP's MAXUDP bounds.
    pub const fn payload_octets_max(&self) -> u32 {
        self.plan.payload_octets_max()
    }

    /// The packets of any field: which pieces of it are in which.
    pub const fn packets(&self) -> Packets {
        Packets::new(self.plan)
    }

    /// When field `field` of frame `index` starts, in nanoseconds of TAI. The second field of an
    /// interlaced frame is of a later moment, the second segment is only sent later.
    pub fn field_start_ns(&self, index: u64, field: u32) -> u64 {
        self.field_rate().frame_start_ns(index * u64::from(self.fields()) + u64::from(field))
    }

    /// The RTP timestamp of field `field` of frame `index`. ST 2110-10, section 7.6: each field
    /// has the time at which it was taken, so both segments of a frame have the same.
    pub fn field_timestamp(&self, index: u64, field: u32) -> u32 {
        match self.spec.scan {
            Scan::Progressive | Scan::Psf => self.rate().timestamp(index),
            Scan::Interlaced => self.field_rate().timestamp(2 * index + u64::from(field)),
        }
    }

    /// What timing knows of it: its images are our fields.
    pub const fn images(&self) -> Images {
        let scan = match self.spec.scan {
            Scan::Progressive => schedule::Scan::Progressive,
            Scan::Interlaced => schedule::Scan::Interlaced,
            Scan::Psf => schedule::Scan::Segmented,
        };
        Images {
            frames: self.spec.rate,
            scan,
            height: self.spec.height,
            packets: self.packets_per_field(),
        }
    }

    /// Fields, or segments, per second.
    pub fn field_rate(&self) -> Rate {
        self.rate().times(self.fields())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { width, height, sampling, depth, scan, rate, .. } = self.spec;
        write!(f, "{width}x{height} at {rate}, ")?;
        if scan != Scan::Progressive {
            write!(f, "{scan}, ")?;
        }
        let name = sampling.name().trim_start_matches("YCbCr-");
        write!(f, "{name} {} bit", depth.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(width: u32, height: u32, depth: Depth) -> Spec {
        Spec::new(width, height, depth, "25".parse().unwrap())
    }

    #[test]
    fn sizes_are_of_whole_pgroups() {
        // Octets of a frame, by ST 2110-20's table of pgroups.
        let table = [
            (Sampling::YCbCr422, [4_147_200, 5_184_000, 6_220_800, 8_294_400]),
            (Sampling::YCbCr444, [6_220_800, 7_776_000, 9_331_200, 12_441_600]),
            (Sampling::Rgb, [6_220_800, 7_776_000, 9_331_200, 12_441_600]),
            (Sampling::YCbCr420, [3_110_400, 3_888_000, 4_665_600, 6_220_800]),
        ];
        for (sampling, octets) in table {
            for (depth, octets) in Depth::ALL.into_iter().zip(octets) {
                let format = Spec { sampling, ..spec(1920, 1080, depth) }.check().unwrap();
                assert_eq!(format.frame_octets(), octets, "{format}");
                assert_eq!(format.row_octets() * format.rows(), u32::try_from(octets).unwrap());
            }
        }
    }

    #[test]
    fn fields_are_half_a_frame_apart_and_segments_of_one_moment() {
        let rate: Rate = "30000/1001".parse().unwrap();
        let base = Spec { rate, ..spec(1920, 1080, Depth::Ten) };
        let of = |scan| Spec { scan, ..base }.check().unwrap();
        let (interlaced, psf) = (of(Scan::Interlaced), of(Scan::Psf));
        assert_eq!((interlaced.fields(), interlaced.field_rows()), (2, 540));
        assert_eq!(interlaced.packets_per_frame(), 4320);
        // 1501.5 ticks: nothing is lost to rounding.
        let ticks: Vec<_> =
            (0..4).map(|at| interlaced.field_timestamp(10 + u64::from(at / 2), at % 2)).collect();
        assert_eq!(ticks, [30_030, 31_531, 33_033, 34_534]);
        assert_eq!(psf.field_timestamp(10, 1), psf.field_timestamp(10, 0));
        for format in [interlaced, psf] {
            assert_eq!(format.field_start_ns(30_000, 0), 1_001_000_000_000);
            assert_eq!(format.field_start_ns(30_000, 1), 1_001_016_683_333);
            assert_eq!(format.field_start_ns(30_000, 0), rate.frame_start_ns(30_000));
        }
        let progressive = of(Scan::Progressive);
        assert_eq!(progressive.field_start_ns(7, 0), rate.frame_start_ns(7));
        assert_eq!(progressive.field_timestamp(7, 0), rate.timestamp(7));
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        let refused = |spec: Spec| spec.check().unwrap_err().to_string();
        let ten = |w, h| spec(w, h, Depth::Ten);
        assert_eq!(
            refused(ten(1921, 1080)),
            "width 1921: allowed are even numbers from 128 to 8192"
        );
        assert_eq!(refused(ten(64, 1080)), "width 64: allowed are even numbers from 128 to 8192");
        assert_eq!(refused(ten(1920, 0)), "height 0: allowed are all numbers from 16 to 8192");
        assert_eq!(
            refused(Spec { sampling: Sampling::Rgb, ..ten(1366, 768) }),
            "width 1366: allowed are multiples of 4 from 256 to 8192"
        );
        assert_eq!(
            refused(Spec { sampling: Sampling::YCbCr420, ..ten(1920, 1081) }),
            "height 1081: allowed are even numbers from 16 to 8192"
        );
        assert_eq!(
            refused(Spec { scan: Scan::Psf, ..ten(1920, 1081) }),
            "height 1081: allowed are even numbers from 16 to 8192"
        );
        assert_eq!(
            refused(Spec {
                sampling: Sampling::YCbCr420,
                scan: Scan::Interlaced,
                ..ten(1920, 1080)
            }),
            "scan \"interlaced\": the pgroups of YCbCr-4:2:0 have two neighbouring lines, which \
             fields would part; use scan \"progressive\" or sampling \"YCbCr-4:2:2\""
        );
        assert_eq!(
            Depth::try_from(9).unwrap_err().to_string(),
            "depth 9: allowed are 8, 10, 12 and 16"
        );
    }

    #[test]
    fn says_what_it_is() {
        let format = |spec: Spec| spec.check().unwrap().to_string();
        assert_eq!(format(spec(1280, 720, Depth::Ten)), "1280x720 at 25, 4:2:2 10 bit");
        let rgb =
            Spec { sampling: Sampling::Rgb, scan: Scan::Psf, ..spec(1280, 720, Depth::Twelve) };
        assert_eq!(format(rgb), "1280x720 at 25, psf, RGB 12 bit");
    }
}
