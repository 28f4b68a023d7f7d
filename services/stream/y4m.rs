//! YUV4MPEG2, the simplest video file: a line of text, then frames of planes.
//!
//! Written by FFmpeg, GStreamer, mjpegtools; there is no standard but what they do. Read here:
//! 4:2:2, 4:4:4 and 4:2:0 at 8 bits (`C422`) and at 10, 12 and 16 (`C422p10`, two octets a sample,
//! little end first), whose size, rate and scan are the stream's. There is no RGB in it.

use std::fmt;

use super::timing::Rate;
use super::video::format::{Depth, Format, Sampling, Scan};

/// First octets of a file.
pub const MAGIC: &[u8] = b"YUV4MPEG2";

/// First octets of each frame; parameters and a newline may follow.
pub const FRAME: &[u8] = b"FRAME";

/// Most octets in a header line. FFmpeg's is under 100.
pub const LINE_OCTETS_MAX: usize = 1024;

/// What a file says that it is, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pixels of a line.
    pub width: u32,
    /// Lines of a frame.
    pub height: u32,
    /// Frames per second; `None` where the file does not say.
    pub rate: Option<Rate>,
    /// The colour space's name, `420jpeg` where the file does not say.
    pub colour: Box<str>,
    /// `p` for progressive.
    pub interlacing: char,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, height, rate, colour, interlacing } = self;
        write!(f, "{width}x{height}")?;
        if let Some(rate) = rate {
            write!(f, " at {rate}")?;
        }
        write!(f, ", C{colour}, I{interlacing}")
    }
}

impl Header {
    /// Splits `octets` into the header and what follows; `None` when they do not start with one.
    pub fn parse(octets: &[u8]) -> Option<(Self, &[u8])> {
        let (line, rest) = split_line(octets)?;
        let fields = std::str::from_utf8(line.strip_prefix(MAGIC)?).ok()?;
        let mut header =
            Self { width: 0, height: 0, rate: None, colour: "420jpeg".into(), interlacing: 'p' };
        for field in fields.split_ascii_whitespace() {
            let (kind, value) = field.split_at_checked(1)?;
            match kind {
                "W" => header.width = value.parse().ok()?,
                "H" => header.height = value.parse().ok()?,
                // "0:0" says unknown.
                "F" => header.rate = value.parse().ok(),
                "C" => header.colour = value.into(),
                "I" => header.interlacing = value.chars().next()?,
                _ => {} // Aspect, comments.
            }
        }
        Some((header, rest))
    }

    /// Whether its frames can be sent as `format`. An unknown rate is taken for the stream's, and
    /// unknown interlacing too.
    pub fn suits(&self, format: &Format) -> bool {
        let scan = match format.scan() {
            // A segmented frame is a progressive one; how it is sent is not the file's concern.
            Scan::Progressive | Scan::Psf => 'p',
            // The first field has the top line.
            Scan::Interlaced => 't',
        };
        (self.width, self.height) == (format.width(), format.height())
            && self.rate.is_none_or(|rate| rate.same_as(format.rate()))
            && colours(format).contains(&&*self.colour)
            && (self.interlacing == scan || self.interlacing == '?')
    }

    /// The header line for frames of `format`; `None` for RGB.
    pub fn emit(format: &Format) -> Option<String> {
        let colour = colours(format).first()?;
        let (frames, seconds) = format.rate().ratio();
        let (width, height) = (format.width(), format.height());
        let scan = if format.scan() == Scan::Interlaced { 't' } else { 'p' };
        Some(format!(
            "YUV4MPEG2 W{width} H{height} F{frames}:{seconds} I{scan} A1:1 C{colour} XYSCSS={}\n",
            colour.to_ascii_uppercase()
        ))
    }
}

/// The names that FFmpeg has for the planes of `format`; the first is what we write.
const fn colours(format: &Format) -> &'static [&'static str] {
    match (format.sampling(), format.depth()) {
        (Sampling::YCbCr422, Depth::Eight) => &["422"],
        (Sampling::YCbCr422, Depth::Ten) => &["422p10"],
        (Sampling::YCbCr422, Depth::Twelve) => &["422p12"],
        (Sampling::YCbCr422, Depth::Sixteen) => &["422p16"],
        (Sampling::YCbCr444, Depth::Eight) => &["444"],
        (Sampling::YCbCr444, Depth::Ten) => &["444p10"],
        (Sampling::YCbCr444, Depth::Twelve) => &["444p12"],
        (Sampling::YCbCr444, Depth::Sixteen) => &["444p16"],
        // They differ in where chroma is sampled, which RFC 4175 does not say.
        (Sampling::YCbCr420, Depth::Eight) => &["420jpeg", "420mpeg2", "420paldv", "420"],
        (Sampling::YCbCr420, Depth::Ten) => &["420p10"],
        (Sampling::YCbCr420, Depth::Twelve) => &["420p12"],
        (Sampling::YCbCr420, Depth::Sixteen) => &["420p16"],
        (Sampling::Rgb, _) => &[],
    }
}

/// Octets of the line with which a frame begins, newline and all; `None` when `octets` do not start
/// with a whole one.
pub fn frame_line(octets: &[u8]) -> Option<usize> {
    let (line, rest) = split_line(octets)?;
    line.starts_with(FRAME).then_some(octets.len() - rest.len())
}

fn split_line(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = octets.iter().take(LINE_OCTETS_MAX).position(|&octet| octet == b'\n')?;
    Some((&octets[..end], &octets[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::video::format::Spec;

    fn format(depth: Depth) -> Format {
        Format::new(128, 16, depth, "30000/1001".parse().unwrap()).unwrap()
    }

    #[test]
    fn reads_what_ffmpeg_writes() {
        let text = b"YUV4MPEG2 W1920 H1080 F25:1 Ip A1:1 C422p10 XYSCSS=422P10\nFRAME\n";
        let (header, rest) = Header::parse(text).unwrap();
        assert_eq!(header.to_string(), "1920x1080 at 25, C422p10, Ip");
        assert_eq!(rest, b"FRAME\n");
    }

    #[test]
    fn reads_back_its_own_header() {
        let all: Vec<_> = all().collect();
        for (at, format) in all.iter().enumerate() {
            let Some(text) = Header::emit(format) else {
                assert_eq!(format.sampling(), Sampling::Rgb);
                continue;
            };
            let (header, rest) = Header::parse(text.as_bytes()).unwrap();
            assert_eq!(rest, b"");
            for (other, format) in all.iter().enumerate() {
                assert_eq!(header.suits(format), other == at, "{header}: {format}");
            }
        }
    }

    /// Every sampling and depth.
    fn all() -> impl Iterator<Item = Format> {
        let spec = format(Depth::Ten).spec();
        let depths = move |sampling| {
            Depth::ALL.map(|depth| Spec { sampling, depth, width: 256, ..spec }.check().unwrap())
        };
        Sampling::ALL.into_iter().flat_map(depths)
    }

    #[test]
    fn a_file_of_fields_has_the_top_one_first() {
        let of = |scan| Spec { scan, ..format(Depth::Eight).spec() }.check().unwrap();
        let (interlaced, psf) = (of(Scan::Interlaced), of(Scan::Psf));
        let text = Header::emit(&interlaced).unwrap();
        assert!(text.contains(" It "), "{text}");
        assert!(Header::emit(&psf).unwrap().contains(" Ip "));
        for (scan, fields) in [('t', true), ('b', false), ('m', false), ('p', false), ('?', true)] {
            let text = text.replace(" It ", &format!(" I{scan} "));
            let header = Header::parse(text.as_bytes()).unwrap().0;
            assert_eq!(header.suits(&interlaced), fields, "{header}");
            assert_eq!(header.suits(&psf), matches!(scan, 'p' | '?'), "{header}");
        }
    }

    #[test]
    fn suits_only_the_same_picture() {
        let suits =
            |text: &str| Header::parse(text.as_bytes()).unwrap().0.suits(&format(Depth::Eight));
        assert!(suits("YUV4MPEG2 W128 H16 F30000:1001 Ip C422\n"));
        assert!(suits("YUV4MPEG2 H16 W128 F0:0 I? C422\n"));
        for other in [
            "YUV4MPEG2 W130 H16 F30000:1001 Ip C422\n",
            "YUV4MPEG2 W128 H18 F30000:1001 Ip C422\n",
            "YUV4MPEG2 W128 H16 F30:1 Ip C422\n",
            "YUV4MPEG2 W128 H16 F30000:1001 It C422\n",
            "YUV4MPEG2 W128 H16 F30000:1001 Ip C420jpeg\n",
            "YUV4MPEG2 W128 H16 F30000:1001 Ip\n",
        ] {
            assert!(!suits(other), "{other}");
        }
    }

    #[test]
    fn frames_may_have_parameters() {
        assert_eq!(frame_line(b"FRAME Ip\nabcd"), Some(9));
        assert_eq!(frame_line(b"FRAME"), None);
        assert_eq!(frame_line(b"GRAME\nabc"), None);
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        let text = Header::emit(&format(Depth::Ten)).unwrap();
        for end in 0..text.len() {
            assert!(Header::parse(&text.as_bytes()[..end]).is_none());
        }
    }

    #[test]
    fn a_line_without_end_is_refused_early() {
        let mut octets = MAGIC.to_vec();
        octets.extend([b' '; 5000]);
        octets.push(b'\n');
        assert_eq!(Header::parse(&octets), None);
    }
}
