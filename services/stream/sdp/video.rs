//! Video of ST 2110-20 and how ST 2110-21 sends it, as SDP says it.

mod read;

use std::fmt;

pub(super) use read::read;

use super::rate::Rate;
use super::words::words;

/// Uncompressed video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// Components, and where their samples lie.
    pub sampling: Sampling,
    /// Bits of a sample.
    pub depth: Depth,
    /// Pixels of a line.
    pub width: u32,
    /// Lines of a frame, both fields together.
    pub height: u32,
    /// Frames per second, not fields. `None` where the SDP does not say it.
    pub rate: Option<Rate>,
    /// Fields or whole frames.
    pub scan: Scan,
    /// Colour primaries and matrix.
    pub colorimetry: Colorimetry,
    /// Transfer characteristic.
    pub tcs: Tcs,
    /// Which sample values are used.
    pub range: Range,
    /// Width and height of a pixel.
    pub pixel_aspect: (u32, u32),
    /// How lines are cut into packets.
    pub packing: Packing,
    /// How evenly it is sent; `None` where the SDP does not say it.
    pub sender: Option<SenderType>,
    /// Microseconds from a frame's time to its first packet; `None`: the default of the format.
    pub troff_us: Option<u32>,
    /// Most packets at once; `None`: what the type allows.
    pub cmax: Option<u32>,
}

words! {
    /// Components and where their samples lie, ST 2110-20, 7.4.1.
    pub enum Sampling {
        /// Luma and chroma everywhere.
        YCbCr444 = "YCbCr-4:4:4",
        /// Chroma at each second pixel.
        YCbCr422 = "YCbCr-4:2:2",
        /// Chroma at each second pixel of each second line.
        YCbCr420 = "YCbCr-4:2:0",
        /// Constant luminance, everywhere.
        ClYCbCr444 = "CLYCbCr-4:4:4",
        /// Constant luminance, at each second pixel.
        ClYCbCr422 = "CLYCbCr-4:2:2",
        /// Constant luminance, at each second pixel of each second line.
        ClYCbCr420 = "CLYCbCr-4:2:0",
        /// Constant intensity, everywhere.
        ICtCp444 = "ICtCp-4:4:4",
        /// Constant intensity, at each second pixel.
        ICtCp422 = "ICtCp-4:2:2",
        /// Constant intensity, at each second pixel of each second line.
        ICtCp420 = "ICtCp-4:2:0",
        /// Red, green, blue.
        Rgb = "RGB",
        /// CIE 1931.
        Xyz = "XYZ",
        /// One component: a key.
        Key = "KEY",
    }
}

words! {
    /// Bits of a sample, ST 2110-20, 7.4.2.
    pub enum Depth {
        /// 8 bits.
        Eight = "8",
        /// 10 bits.
        Ten = "10",
        /// 12 bits.
        Twelve = "12",
        /// 16 bits.
        Sixteen = "16",
        /// 16 bits of floating point.
        SixteenFloat = "16f",
    }
}

words! {
    /// Colour primaries and matrix, ST 2110-20, 7.5.
    pub enum Colorimetry {
        /// ITU-R BT.601-7.
        Bt601 = "BT601",
        /// ITU-R BT.709-6.
        Bt709 = "BT709",
        /// ITU-R BT.2020-2.
        Bt2020 = "BT2020",
        /// ITU-R BT.2100.
        Bt2100 = "BT2100",
        /// ACES, SMPTE ST 2065-1.
        St2065_1 = "ST2065-1",
        /// ADX, SMPTE ST 2065-3.
        St2065_3 = "ST2065-3",
        /// CIE 1931.
        Xyz = "XYZ",
        /// A key has no colour; of the 2022 revision.
        Alpha = "ALPHA",
        /// Agreed upon elsewhere.
        Unspecified = "UNSPECIFIED",
    }
}

words! {
    /// Transfer characteristic, ST 2110-20, 7.6.
    pub enum Tcs {
        /// Standard dynamic range.
        Sdr = "SDR",
        /// Perceptual quantization.
        Pq = "PQ",
        /// Hybrid log-gamma.
        Hlg = "HLG",
        /// Linear floating point.
        Linear = "LINEAR",
        /// Linear, from PQ.
        Bt2100LinPq = "BT2100LINPQ",
        /// Linear, from HLG.
        Bt2100LinHlg = "BT2100LINHLG",
        /// Linear, of ACES.
        St2065_1 = "ST2065-1",
        /// Of digital cinema.
        St428_1 = "ST428-1",
        /// Densities.
        Density = "DENSITY",
        /// Log of S-Gamut3; of the 2022 revision.
        St2115LogS3 = "ST2115LOGS3",
        /// Agreed upon elsewhere.
        Unspecified = "UNSPECIFIED",
    }
}

words! {
    /// Which sample values are used, ST 2110-20, 7.3.
    pub enum Range {
        /// Head and foot room.
        Narrow = "NARROW",
        /// All but the codes of SDI's timing.
        FullProtect = "FULLPROTECT",
        /// All.
        Full = "FULL",
    }
}

words! {
    /// How lines are cut into packets, ST 2110-20, 6.3.
    pub enum Packing {
        /// General packing mode: anything of whole pgroups.
        General = "2110GPM",
        /// Block packing mode: blocks of 180 octets, 1260 in each packet but the last.
        Block = "2110BPM",
    }
}

words! {
    /// How evenly packets are sent, ST 2110-21, 7.1.
    pub enum SenderType {
        /// Narrow, with a gap where the vertical blanking was.
        Narrow = "2110TPN",
        /// Narrow, without a gap.
        NarrowLinear = "2110TPNL",
        /// Wide.
        Wide = "2110TPW",
    }
}

/// Fields or whole frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scan {
    /// Whole frames.
    #[default]
    Progressive,
    /// Two fields, one after the other.
    Interlaced,
    /// One frame sent as two fields (PsF).
    Segmented,
}

/// SMPTE's number and year of the document that a stream obeys.
pub const SSN_2017: &str = "ST2110-20:2017";

/// The same for what the revision of 2022 brought.
pub const SSN_2022: &str = "ST2110-20:2022";

impl Video {
    /// The SSN: ST 2110-20:2022, 7.2, asks for the older year wherever the older document suffices.
    pub const fn ssn(&self) -> &'static str {
        match (self.colorimetry, self.tcs) {
            (Colorimetry::Alpha, _) | (_, Tcs::St2115LogS3) => SSN_2022,
            _ => SSN_2017,
        }
    }

    /// Octets, pixels and lines of a pgroup; `None` where ST 2110-20, 6.2, has no such one.
    pub const fn pgroup(&self) -> Option<Pgroup> {
        Pgroup::of(self.sampling, self.depth)
    }

    /// Octets of the frame without padding: `None` where it is not of whole pgroups.
    pub fn frame_octets(&self) -> Option<u64> {
        let pgroup = self.pgroup()?;
        let (width, height) = (self.width, self.height);
        let whole = width.is_multiple_of(pgroup.pixels) && height.is_multiple_of(pgroup.lines);
        let pgroups = u64::from(width / pgroup.pixels) * u64::from(height / pgroup.lines);
        whole.then_some(pgroups * u64::from(pgroup.octets))
    }

    /// Frames or fields of a second: what ST 2110-21 calls periods.
    pub fn periods_per_frame(&self) -> u32 {
        if self.scan == Scan::Progressive { 1 } else { 2 }
    }
}

/// The smallest part of a picture that a packet may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pgroup {
    /// Its octets.
    pub octets: u32,
    /// Pixels of a line.
    pub pixels: u32,
    /// Lines.
    pub lines: u32,
}

impl Pgroup {
    /// ST 2110-20, 6.2, tables 1 to 3.
    pub const fn of(sampling: Sampling, depth: Depth) -> Option<Self> {
        use Depth::{Eight, Sixteen, SixteenFloat, Ten, Twelve};
        use Sampling as S;
        let (octets, pixels, lines) = match (sampling, depth) {
            (S::YCbCr422 | S::ClYCbCr422 | S::ICtCp422, depth) => match depth {
                Eight => (4, 2, 1),
                Ten => (5, 2, 1),
                Twelve => (6, 2, 1),
                Sixteen | SixteenFloat => (8, 2, 1),
            },
            // Two lines of pixels, which makes each of these twice what its name says.
            (S::YCbCr420 | S::ClYCbCr420 | S::ICtCp420, depth) => match depth {
                Eight => (6, 2, 2),
                Ten => (15, 4, 2),
                Twelve => (9, 2, 2),
                Sixteen | SixteenFloat => (12, 2, 2),
            },
            (S::Key, depth) => match depth {
                Eight => (1, 1, 1),
                Ten => (5, 4, 1),
                Twelve => (3, 2, 1),
                Sixteen | SixteenFloat => (2, 1, 1),
            },
            // XYZ is of 12 bits or more: ST 2110-20, table 1.
            (S::Xyz, Eight | Ten) => return None,
            (_, depth) => match depth {
                Eight => (3, 1, 1),
                Ten => (15, 4, 1),
                Twelve => (9, 2, 1),
                Sixteen | SixteenFloat => (6, 1, 1),
            },
        };
        Some(Self { octets, pixels, lines })
    }
}

impl fmt::Display for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, height, sampling, depth, .. } = self;
        let scan = match self.scan {
            Scan::Progressive => "",
            Scan::Interlaced => " interlaced",
            Scan::Segmented => " segmented frames",
        };
        write!(f, "{width}x{height}{scan}")?;
        if let Some(rate) = self.rate {
            write!(f, " at {rate}")?;
        }
        match depth {
            Depth::SixteenFloat => write!(f, ", {sampling} 16 bit floating point"),
            depth => write!(f, ", {sampling} {depth} bit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sdp::words::Word as _;

    /// Octets of a frame by the number of samples and their bits.
    fn by_samples(sampling: Sampling, depth: Depth, width: u64, height: u64) -> u64 {
        let bits: u64 = depth.word().trim_end_matches('f').parse().unwrap();
        let pixels = width * height;
        let samples = match sampling.word().rsplit('-').next().unwrap() {
            "4:2:2" => 2 * pixels,
            "4:2:0" => pixels + pixels / 2,
            "KEY" => pixels,
            _ => 3 * pixels,
        };
        samples * bits / 8
    }

    #[test]
    fn pgroups_hold_each_sample_once() {
        for &sampling in Sampling::ALL {
            for &depth in Depth::ALL {
                let Some(pgroup) = Pgroup::of(sampling, depth) else {
                    assert_eq!(sampling, Sampling::Xyz);
                    continue;
                };
                let frame = 1920 / u64::from(pgroup.pixels)
                    * (1080 / u64::from(pgroup.lines))
                    * u64::from(pgroup.octets);
                assert_eq!(frame, by_samples(sampling, depth, 1920, 1080), "{sampling} {depth}");
            }
        }
    }
}
