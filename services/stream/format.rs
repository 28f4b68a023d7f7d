//! What the pictures are: size, depth and rate, and how a line is cut into packets.
//!
//! A [`Format`] is progressive 4:2:2 video, ST 2110-20's most used kind. Its pixels travel in
//! *pixel groups* (pgroups) of two pixels, Cb Y0 Cr Y1: 4 octets at 8 bits, 5 at 10. A packet
//! never crosses a line, and all packets of a stream are equally long ("one-line GPM"), so packet
//! `n` of a frame is octets `n * data .. (n + 1) * data` of the picture.

use std::fmt;

use serde::Deserialize;

use super::timing::Rate;

/// Most octets of pixels in a packet. The standard UDP size of ST 2110-10 is 1460 octets with the
/// UDP header; without the RTP, sequence and row headers 1432 remain, and 1430 of whole pgroups.
pub const DATA_OCTETS_MAX: u32 = 1430;

/// Smallest and largest width in pixels. The pattern's frame number needs 64 pgroups; beyond 8K
/// there are no pictures, and RFC 4175 counts offsets in 15 bits.
pub const WIDTH: std::ops::RangeInclusive<u32> = 128..=8192;

/// Smallest and largest height in lines.
pub const HEIGHT: std::ops::RangeInclusive<u32> = 16..=8192;

/// Why there is no such format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The width is out of range or odd.
    Width(u32),
    /// The height is out of range.
    Height(u32),
    /// The depth is neither 8 nor 10.
    Depth(u8),
    /// No even split of a line into packets near the best size.
    Split {
        /// Pixels of the line.
        width: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width(found) => write!(
                f,
                "width {found}: allowed are even numbers from {} to {}",
                WIDTH.start(),
                WIDTH.end()
            ),
            Self::Height(found) => {
                write!(f, "height {found}: allowed are {} to {}", HEIGHT.start(), HEIGHT.end())
            }
            Self::Depth(found) => write!(f, "depth {found}: allowed are 8 and 10"),
            Self::Split { width } => write!(
                f,
                "width {width}: a line cannot be cut into equal packets near {DATA_OCTETS_MAX} \
                 octets; use a multiple of 32"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Bits per sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum Depth {
    /// 8 bits; a pgroup is 4 octets.
    Eight,
    /// 10 bits; a pgroup is 5 octets.
    Ten,
}

impl TryFrom<u8> for Depth {
    type Error = Error;

    fn try_from(bits: u8) -> Result<Self, Error> {
        match bits {
            8 => Ok(Self::Eight),
            10 => Ok(Self::Ten),
            _ => Err(Error::Depth(bits)),
        }
    }
}

impl Depth {
    /// Bits per sample.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Eight => 8,
            Self::Ten => 10,
        }
    }

    /// Octets in a pgroup, which is two pixels.
    pub const fn pgroup_octets(self) -> u32 {
        match self {
            Self::Eight => 4,
            Self::Ten => 5,
        }
    }
}

/// How chroma is sampled. One value for now; in the configuration so that a file says what it
/// means, and keeps meaning it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Sampling {
    /// Chroma at half the horizontal resolution.
    #[default]
    #[serde(rename = "YCbCr-4:2:2")]
    YCbCr422,
}

/// A checked video format.
///
/// Holding one proves that a line splits evenly into packets of whole pgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    width: u32,
    height: u32,
    depth: Depth,
    rate: Rate,
    packets_per_line: u32,
}

impl Format {
    /// Checks the size and finds the packet size.
    ///
    /// # Errors
    ///
    /// When a number is out of range, or no even split comes near the best.
    pub fn new(width: u32, height: u32, depth: Depth, rate: Rate) -> Result<Self, Error> {
        if !WIDTH.contains(&width) || !width.is_multiple_of(2) {
            return Err(Error::Width(width));
        }
        if !HEIGHT.contains(&height) {
            return Err(Error::Height(height));
        }
        let pgroups = width / 2;
        let fewest = (pgroups * depth.pgroup_octets()).div_ceil(DATA_OCTETS_MAX);
        // The fewest packets that divide the line. More than twice the best would waste the link
        // on headers: a line of a prime number of pgroups has no split but into single ones.
        let packets_per_line = (fewest..=2 * fewest)
            .find(|&count| pgroups.is_multiple_of(count))
            .ok_or(Error::Split { width })?;
        Ok(Self { width, height, depth, rate, packets_per_line })
    }

    /// Pixels of a line.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Lines of a frame.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// Bits per sample.
    pub const fn depth(&self) -> Depth {
        self.depth
    }

    /// Frames per second.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Pgroups of a line.
    pub const fn line_pgroups(&self) -> u32 {
        self.width / 2
    }

    /// Octets of a line.
    pub const fn line_octets(&self) -> u32 {
        self.line_pgroups() * self.depth.pgroup_octets()
    }

    /// Octets of a frame.
    pub const fn frame_octets(&self) -> usize {
        self.line_octets() as usize * self.height as usize
    }

    /// Packets of a line, all equally long.
    pub const fn packets_per_line(&self) -> u32 {
        self.packets_per_line
    }

    /// Packets of a frame.
    pub const fn packets_per_frame(&self) -> u32 {
        self.packets_per_line * self.height
    }

    /// Octets of pixels in a packet.
    pub const fn data_octets(&self) -> u32 {
        self.line_octets() / self.packets_per_line
    }

    /// Pixels in a packet.
    pub const fn data_pixels(&self) -> u32 {
        self.width / self.packets_per_line
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, height, depth, rate, .. } = self;
        write!(f, "{width}x{height} at {rate}, 4:2:2 {} bit", depth.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(width: u32, height: u32, depth: Depth, rate: &str) -> Format {
        Format::new(width, height, depth, rate.parse().unwrap()).unwrap()
    }

    #[test]
    fn splits_lines_as_the_worked_numbers_say() {
        let table = [
            (1920, 1080, Depth::Ten, 4, 1200, 4320),
            (3840, 2160, Depth::Ten, 8, 1200, 17280),
            (1280, 720, Depth::Ten, 4, 800, 2880),
            (1920, 1080, Depth::Eight, 3, 1280, 3240),
            (1280, 720, Depth::Eight, 2, 1280, 1440),
            (720, 576, Depth::Ten, 2, 900, 1152),
            (128, 16, Depth::Ten, 1, 320, 16),
        ];
        for (width, height, depth, per_line, data, per_frame) in table {
            let format = format(width, height, depth, "50");
            assert_eq!(format.packets_per_line(), per_line, "{format}");
            assert_eq!(format.data_octets(), data, "{format}");
            assert_eq!(format.packets_per_frame(), per_frame, "{format}");
            assert_eq!(format.data_octets() % depth.pgroup_octets(), 0, "{format}");
            assert_eq!(per_line * format.data_pixels(), width, "{format}");
        }
    }

    #[test]
    fn every_width_splits_into_whole_pgroups_or_is_refused() {
        for width in WIDTH.filter(|width| width % 2 == 0) {
            for depth in [Depth::Eight, Depth::Ten] {
                let Ok(format) = Format::new(width, 16, depth, "25".parse().unwrap()) else {
                    assert_ne!(width % 32, 0, "multiples of 32 are promised: {width}");
                    continue;
                };
                assert!(format.data_octets() <= DATA_OCTETS_MAX);
                assert_eq!(format.data_octets() % depth.pgroup_octets(), 0);
                assert_eq!(format.data_octets() * format.packets_per_line(), format.line_octets());
            }
        }
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        let rate: Rate = "25".parse().unwrap();
        let refused = |w, h| Format::new(w, h, Depth::Ten, rate).unwrap_err().to_string();
        assert_eq!(refused(1921, 1080), "width 1921: allowed are even numbers from 128 to 8192");
        assert_eq!(refused(64, 1080), "width 64: allowed are even numbers from 128 to 8192");
        assert_eq!(refused(1920, 0), "height 0: allowed are 16 to 8192");
        assert_eq!(
            refused(1366, 768),
            "width 1366: a line cannot be cut into equal packets near 1430 octets; \
             use a multiple of 32"
        );
        assert_eq!(Depth::try_from(12).unwrap_err().to_string(), "depth 12: allowed are 8 and 10");
    }
}
