//! Frames as PNG.
//!
//! The newest, always at the same place, for whoever wants to look at a stream that runs; or the
//! first, the last or all of them, with their numbers. A file appears under its name when it is
//! whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Kind;
use crate::stream::sdp::video::{Colorimetry, Range};
use crate::stream::video::colour::{Colours, Screen};
use crate::stream::video::format::Format;

/// Which frames become pictures, and of what colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pictures {
    /// Only so many from the start.
    #[serde(default)]
    pub first: Option<NonZeroU32>,
    /// Only so many at the end: of each that comes the oldest is removed.
    #[serde(default)]
    pub last: Option<NonZeroU32>,
    /// One of so many.
    #[serde(default)]
    pub every: Option<NonZeroU32>,
    /// Colour primaries; by the size where it is missing.
    #[serde(default)]
    pub colorimetry: Option<Colorimetry>,
    /// Which sample values are used; narrow where it is missing.
    #[serde(default)]
    pub range: Option<Range>,
}

impl Pictures {
    /// The newest frame alone.
    const NEWEST: Self =
        Self { first: None, last: NonZeroU32::new(1), every: None, colorimetry: None, range: None };

    /// What the sink `kind` is told: what was asked for, in the colours that an SDP says where
    /// nobody asked for others.
    pub fn of(kind: Kind, asked: Option<Self>, said: Option<(Colorimetry, Range)>) -> Option<Self> {
        if kind != Kind::Png {
            return asked;
        }
        let asked = asked.unwrap_or(Self::NEWEST);
        // What was agreed upon elsewhere is what is usual.
        let colorimetry = said.map(|(it, _)| it).filter(|it| *it != Colorimetry::Unspecified);
        Some(Self {
            colorimetry: asked.colorimetry.or(colorimetry),
            range: asked.range.or(said.map(|(_, range)| range)),
            ..asked
        })
    }
}

/// What is between the end of a path's stem and its number, and before `.png`.
const DIGITS: usize = 6;

/// Writes one frame after the other.
#[derive(Debug)]
pub(super) struct Album {
    path: PathBuf,
    wanted: Pictures,
    format: Format,
    screen: Screen,
    picture: Vec<u8>,
    /// Frames that came, and pictures that were written.
    frames: u64,
    written: u64,
}

impl Album {
    /// Takes the memory; `None` where there is no matrix for the colours.
    pub(super) fn new(path: &Path, wanted: Pictures, format: Format) -> Option<Self> {
        let colours = Colours::of(&format, wanted.colorimetry, wanted.range);
        let screen = Screen::new(format, colours)?;
        let picture = vec![0; screen.octets()];
        Some(Self { path: path.to_owned(), wanted, format, screen, picture, frames: 0, written: 0 })
    }

    /// Takes a frame; whether it became a picture.
    pub(super) fn frame(&mut self, pgroups: &[u8]) -> io::Result<bool> {
        let every = self.wanted.every.map_or(1, NonZeroU32::get);
        let number = self.frames;
        self.frames += 1;
        let enough = self.wanted.first.is_some_and(|first| self.written >= first.get().into());
        if enough || !number.is_multiple_of(every.into()) {
            return Ok(false);
        }
        let path = self.name(self.written);
        let part = path.with_extension("png.part");
        self.screen.show(pgroups, &mut self.picture);
        let written = File::create(&part)
            .and_then(|file| write(file, &self.format, self.screen.bits(), &self.picture))
            .and_then(|()| fs::rename(&part, &path));
        if written.is_err() {
            // Half a picture is none; where even that cannot be removed, its name says what it is.
            let _ = fs::remove_file(&part);
        }
        written?;
        self.written += 1;
        let oldest =
            self.wanted.last.and_then(|last| self.written.checked_sub(1 + u64::from(last.get())));
        if let Some(oldest) = oldest.filter(|_| !self.replaces()) {
            fs::remove_file(self.name(oldest))?;
        }
        Ok(true)
    }

    /// Whether there is one picture only, replaced by the next.
    fn replaces(&self) -> bool {
        let one = |number: Option<NonZeroU32>| number.is_some_and(|it| it.get() == 1);
        one(self.wanted.last) || one(self.wanted.first)
    }

    fn name(&self, number: u64) -> PathBuf {
        if self.replaces() {
            return self.path.clone();
        }
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}-{number:0DIGITS$}.png"))
    }
}

/// Writes a picture: RGB of 8 or 16 bits, as [`Screen::show`] makes it.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(into: impl Write, format: &Format, bits: u8, picture: &[u8]) -> io::Result<()> {
    let mut encoder = png::Encoder::new(into, format.width(), format.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(if bits > 8 { png::BitDepth::Sixteen } else { png::BitDepth::Eight });
    // A stream does not wait: a third larger, in a tenth of the time.
    encoder.set_compression(png::Compression::Fast);
    let failed = |error| match error {
        png::EncodingError::IoError(error) => error,
        error => io::Error::other(error),
    };
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(picture).map_err(failed)?;
    writer.finish().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_asked_for_or_else_those_of_the_sdp() {
        let said = Some((Colorimetry::Bt2020, Range::Full));
        let of = |asked, said| {
            let Pictures { colorimetry, range, .. } = Pictures::of(Kind::Png, asked, said).unwrap();
            (colorimetry, range)
        };
        assert_eq!(of(None, said), (Some(Colorimetry::Bt2020), Some(Range::Full)));
        let asked = Pictures { colorimetry: Some(Colorimetry::Bt709), ..Pictures::NEWEST };
        assert_eq!(of(Some(asked), said), (Some(Colorimetry::Bt709), Some(Range::Full)));
        let unspecified = Some((Colorimetry::Unspecified, Range::Narrow));
        assert_eq!(of(None, unspecified), (None, Some(Range::Narrow)));
        assert_eq!(of(None, None), (None, None));
        assert_eq!(Pictures::of(Kind::Hash, None, said), None);
    }
}
