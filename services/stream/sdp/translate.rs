//! From what an SDP says to what the services know, and back: the one file that knows both.

use std::fmt;

use super::rate;
use super::session::{Essence, Media};
use super::video::{Colorimetry, Depth, Packing, Range, Sampling, Scan, SenderType, Tcs, Video};
use crate::stream::timing::{Class, Rate};
use crate::stream::video::{self, Spec};

/// Why a medium cannot be received here, though it may be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsuited {
    /// Another essence than video.
    Essence(&'static str),
    /// Samples that are not received.
    Samples(Sampling, Depth),
    /// The SDP does not say the rate, and nobody else does.
    Rate,
    /// The pictures are of a size that is not received.
    Format(video::format::Error),
}

impl fmt::Display for Unsuited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Essence(standard) => {
                write!(f, "it is {standard}; only video (ST 2110-20) is received")
            }
            Self::Samples(sampling, depth) => write!(
                f,
                "{sampling} of {depth} bits; received are YCbCr (4:2:2, 4:4:4, 4:2:0) and RGB of 8 \
                 to 16 bits"
            ),
            Self::Rate => f.write_str("exactframerate is missing; set rate beside the SDP"),
            Self::Format(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Unsuited {}

/// What pictures `media` has; `rate` where the SDP does not say it.
///
/// # Errors
///
/// [`Unsuited`], when they are not received here.
pub fn spec(media: &Media, rate: Option<Rate>) -> Result<Spec, Unsuited> {
    let Essence::Video(it) = &media.essence else {
        return Err(Unsuited::Essence(media.essence.standard()));
    };
    let sampling = match it.sampling {
        Sampling::YCbCr422 => Some(video::Sampling::YCbCr422),
        Sampling::YCbCr444 => Some(video::Sampling::YCbCr444),
        Sampling::YCbCr420 => Some(video::Sampling::YCbCr420),
        Sampling::Rgb => Some(video::Sampling::Rgb),
        _ => None,
    };
    let depth = match it.depth {
        Depth::Eight => Some(video::Depth::Eight),
        Depth::Ten => Some(video::Depth::Ten),
        Depth::Twelve => Some(video::Depth::Twelve),
        Depth::Sixteen => Some(video::Depth::Sixteen),
        Depth::SixteenFloat => None,
    };
    let (Some(sampling), Some(depth)) = (sampling, depth) else {
        return Err(Unsuited::Samples(it.sampling, it.depth));
    };
    let said = it.rate.map(|rate| rate.to_string().parse().expect("checked more narrowly"));
    let scan = match it.scan {
        Scan::Progressive => video::Scan::Progressive,
        Scan::Interlaced => video::Scan::Interlaced,
        Scan::Segmented => video::Scan::Psf,
    };
    let packing = match it.packing {
        // Which kind of it, an SDP does not say; this one suits every picture.
        Packing::General => video::Packing::Gpm,
        Packing::Block => video::Packing::Bpm,
    };
    let Video { width, height, .. } = *it;
    let rate = said.or(rate).ok_or(Unsuited::Rate)?;
    let spec = Spec { width, height, sampling, depth, scan, rate, packing };
    spec.check().map_err(Unsuited::Format)?;
    Ok(spec)
}

/// What an SDP says of pictures that are sent.
///
/// Colours are not a matter of the sender's, which takes samples as they are: what most of it is
/// for such a size is said, with BT.601 for the rasters of standard definition.
pub fn video(spec: &Spec, class: Class) -> Video {
    let (frames, seconds) = spec.rate.ratio();
    Video {
        sampling: match spec.sampling {
            video::Sampling::YCbCr422 => Sampling::YCbCr422,
            video::Sampling::YCbCr444 => Sampling::YCbCr444,
            video::Sampling::YCbCr420 => Sampling::YCbCr420,
            video::Sampling::Rgb => Sampling::Rgb,
        },
        depth: match spec.depth {
            video::Depth::Eight => Depth::Eight,
            video::Depth::Ten => Depth::Ten,
            video::Depth::Twelve => Depth::Twelve,
            video::Depth::Sixteen => Depth::Sixteen,
        },
        width: spec.width,
        height: spec.height,
        rate: rate::Rate::new(frames, seconds),
        scan: match spec.scan {
            video::Scan::Progressive => Scan::Progressive,
            video::Scan::Interlaced => Scan::Interlaced,
            video::Scan::Psf => Scan::Segmented,
        },
        colorimetry: if spec.height > 576 { Colorimetry::Bt709 } else { Colorimetry::Bt601 },
        tcs: Tcs::Sdr,
        range: Range::Narrow,
        pixel_aspect: (1, 1),
        packing: match spec.packing {
            video::Packing::GpmLine | video::Packing::Gpm => Packing::General,
            video::Packing::Bpm => Packing::Block,
        },
        sender: Some(sender(class)),
        troff_us: None,
        cmax: None,
    }
}

/// The sender type of a class.
pub const fn sender(class: Class) -> SenderType {
    match class {
        Class::Narrow => SenderType::Narrow,
        Class::NarrowLinear => SenderType::NarrowLinear,
        Class::Wide => SenderType::Wide,
    }
}

/// The class of a sender type.
pub const fn class(sender: SenderType) -> Class {
    match sender {
        SenderType::Narrow => Class::Narrow,
        SenderType::NarrowLinear => Class::NarrowLinear,
        SenderType::Wide => Class::Wide,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sdp::samples;

    fn media(video: Video) -> Media {
        Media { essence: Essence::Video(video), ..samples::media() }
    }

    #[test]
    fn what_is_sent_is_received_as_the_same() {
        for sampling in video::Sampling::ALL {
            for depth in video::Depth::ALL {
                for scan in [video::Scan::Progressive, video::Scan::Interlaced, video::Scan::Psf] {
                    let rate = "30000/1001".parse().unwrap();
                    let sent = Spec {
                        sampling,
                        scan,
                        packing: video::Packing::Gpm,
                        ..Spec::new(1920, 1080, depth, rate)
                    };
                    if sent.check().is_err() {
                        continue;
                    }
                    assert_eq!(spec(&media(video(&sent, Class::Narrow)), None), Ok(sent));
                }
            }
        }
    }

    #[test]
    fn what_is_not_received_is_said() {
        let refused = |change: &dyn Fn(&mut Video)| {
            let mut it = samples::video();
            change(&mut it);
            spec(&media(it), None).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&|it| it.sampling = Sampling::Key),
            "KEY of 10 bits; received are YCbCr (4:2:2, 4:4:4, 4:2:0) and RGB of 8 to 16 bits"
        );
        assert_eq!(
            refused(&|it| it.rate = None),
            "exactframerate is missing; set rate beside the SDP"
        );
        assert!(refused(&|it| it.width = 32_000).starts_with("width 32000"));
        let essence = Essence::Ancillary(super::super::ancillary::Ancillary::default());
        assert_eq!(
            spec(&Media { essence, ..samples::media() }, None).unwrap_err().to_string(),
            "it is ST 2110-40; only video (ST 2110-20) is received"
        );
    }

    #[test]
    fn a_rate_that_the_sdp_lacks_may_come_from_elsewhere() {
        let it = media(Video { rate: None, ..samples::video() });
        let rate: Rate = "25".parse().unwrap();
        assert_eq!(spec(&it, Some(rate)).unwrap().rate, rate);
    }
}
