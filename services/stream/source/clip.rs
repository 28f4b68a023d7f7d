//! A file in memory, as pgroups.

use super::Layout;
use super::error::Error;
use super::file::Reel;
use crate::progress::Progress;
use crate::stream::video::convert;
use crate::stream::video::format::Format;
use crate::stream::video::picture::Picture;

/// All frames of a file, one behind the other.
#[derive(Debug)]
pub struct Clip {
    octets: Vec<u8>,
    format: Format,
}

impl Clip {
    /// Reads all of it.
    pub(super) fn load(reel: &Reel, format: Format) -> Result<Self, Error> {
        let size = format.frame_octets();
        let frames = usize::try_from(reel.frames()).expect("a clip fits in memory");
        let mut octets = vec![0; frames * size];
        let mut planes = match reel.layout() {
            Layout::Planes => vec![0; convert::planar_octets(&format)],
            Layout::Pgroups => Vec::new(),
        };
        let mut progress = Progress::begin(format!("loading {}", reel.place()), reel.frames());
        for (number, into) in (0..).zip(octets.chunks_exact_mut(size)) {
            match reel.layout() {
                Layout::Pgroups => reel.read(number, into)?,
                Layout::Planes => {
                    reel.read(number, &mut planes)?;
                    convert::from_planes(&format, &planes, into);
                }
            }
            progress.advance(1);
        }
        Ok(Self { octets, format })
    }

    /// The picture of frame `number` of the stream.
    #[inline]
    pub(super) fn picture(&self, number: u64) -> Picture<'_> {
        let size = self.format.frame_octets();
        let frames = self.octets.len() / size;
        let index = usize::try_from(number % frames as u64).expect("one of the frames");
        Picture::whole(&self.octets[index * size..][..size], self.format.row_octets() as usize)
    }
}
