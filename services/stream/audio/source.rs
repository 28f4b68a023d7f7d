//! Where a sender's sound comes from: the tone, or a WAV file played in a loop.
//!
//! A file is read and turned into samples of the stream once, when the service is built: afterwards
//! a packet costs its copy, and no disk can make one late. So it has to fit [`OCTETS_MAX`].
//!
//! Samples are never changed: a file of another rate or of other channels is refused, with the
//! command that converts it, and so is one of more bits than the stream has. One of 16 bits in a
//! stream of 24 is the same sound, each sample with 8 bits of 0 behind.

use std::fmt;
use std::path::{Path, PathBuf};

use super::format::{Depth, Format};
use super::tone;

/// Most octets of sound in memory: half a gibibyte, a quarter of an hour of four channels. Less
/// would not hold a piece of music; more would surprise a machine that has pictures to hold.
pub const OCTETS_MAX: u64 = 1 << 29;

/// Why a file cannot be sent.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read, or is no WAV.
    Wav {
        /// The file as configured.
        path: PathBuf,
        /// What was found.
        source: hound::Error,
    },
    /// It holds other sound.
    Unsuited {
        /// The file as configured.
        path: PathBuf,
        /// What it holds.
        found: hound::WavSpec,
        /// What the stream is configured for.
        format: Format,
    },
    /// It holds no samples.
    Empty(PathBuf),
    /// It is longer than [`OCTETS_MAX`].
    Long {
        /// The file as configured.
        path: PathBuf,
        /// Seconds that would fit.
        seconds_max: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wav { path, source } => {
                let path = path.display();
                match source {
                    hound::Error::IoError(error) => write!(f, "sound file {path}: {error}"),
                    other => write!(f, "sound file {path} is no WAV file that is read: {other}"),
                }
            }
            Self::Unsuited { path, found, format } => {
                let path = path.display();
                let kind = match found.sample_format {
                    hound::SampleFormat::Int => "bits",
                    hound::SampleFormat::Float => "bits of floating point",
                };
                let spec = format.spec();
                write!(
                    f,
                    "sound file {path} has {} channels of {} {kind} at {} Hz, the stream is \
                     {format}; convert it with `ffmpeg -i {path} -ac {} -ar {} -c:a pcm_s{}le \
                     out.wav`",
                    found.channels,
                    found.bits_per_sample,
                    found.sample_rate,
                    spec.channels,
                    spec.sample_rate,
                    spec.depth.bits(),
                )
            }
            Self::Empty(path) => {
                write!(f, "sound file {} has no samples; give one that has", path.display())
            }
            Self::Long { path, seconds_max } => write!(
                f,
                "sound file {} does not fit in memory, of which sound takes {OCTETS_MAX} octets; \
                 cut it to {seconds_max} seconds, as with `ffmpeg -t {seconds_max}`",
                path.display(),
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Wav { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Sound without end.
#[derive(Debug)]
pub enum Source {
    /// Made from the number of each sample.
    Tone(Format),
    /// A file, in network order as the stream has it.
    Clip {
        /// All of it.
        octets: Vec<u8>,
        /// What it is.
        format: Format,
    },
}

impl Source {
    /// The tone.
    pub const fn tone(format: Format) -> Self {
        Self::Tone(format)
    }

    /// The WAV file at `path`: of 16 or 24 bits, with any header that WAV has for them.
    ///
    /// # Errors
    ///
    /// When it cannot be read, holds other sound or none, or is too long.
    pub fn file(path: &Path, format: Format) -> Result<Self, Error> {
        let wav = |source| Error::Wav { path: path.to_owned(), source };
        let mut reader = hound::WavReader::open(path).map_err(wav)?;
        let (found, spec) = (reader.spec(), format.spec());
        let depth = match (found.sample_format, found.bits_per_sample) {
            (hound::SampleFormat::Int, 16) => Some(Depth::Sixteen),
            (hound::SampleFormat::Int, 24) => Some(Depth::TwentyFour),
            _ => None,
        };
        let suited = depth.filter(|depth| {
            (found.channels, found.sample_rate) == (spec.channels, spec.sample_rate)
                && depth.bits() <= spec.depth.bits()
        });
        let Some(depth) = suited else {
            return Err(Error::Unsuited { path: path.to_owned(), found, format });
        };
        if reader.duration() == 0 {
            return Err(Error::Empty(path.to_owned()));
        }
        let octets_all = u64::from(reader.duration()) * format.frame_octets() as u64;
        if octets_all > OCTETS_MAX {
            let per_second = u64::from(spec.sample_rate) * format.frame_octets() as u64;
            let seconds_max = OCTETS_MAX / per_second;
            return Err(Error::Long { path: path.to_owned(), seconds_max });
        }
        let mut octets = Vec::with_capacity(usize::try_from(octets_all).expect("below 2^29"));
        let shift = spec.depth.bits() - depth.bits();
        for sample in reader.samples::<i32>() {
            let [_, high, middle, low] = (sample.map_err(wav)? << shift).to_be_bytes();
            match spec.depth {
                Depth::Sixteen => octets.extend([middle, low]),
                Depth::TwentyFour => octets.extend([high, middle, low]),
            }
        }
        Ok(Self::Clip { octets, format })
    }

    /// Writes samples, the first of them with number `first` since the epoch. A file begins at the
    /// numbers that its length divides, so that two senders of it send the same; behind its last
    /// sample comes its first.
    pub fn write(&self, first: u64, into: &mut [u8]) {
        match self {
            Self::Tone(format) => tone::write(format, super::format::timestamp(first), into),
            Self::Clip { octets, format } => {
                let size = format.frame_octets();
                let samples = (octets.len() / size) as u64;
                let mut at = usize::try_from(first % samples).expect("within memory") * size;
                let mut into = into;
                while !into.is_empty() {
                    let piece = into.len().min(octets.len() - at);
                    let (now, later) = into.split_at_mut(piece);
                    now.copy_from_slice(&octets[at..at + piece]);
                    (into, at) = (later, 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Spec;
    use super::*;

    struct File(PathBuf);

    impl File {
        /// A WAV of these samples.
        fn new(name: &str, spec: hound::WavSpec, samples: impl Iterator<Item = i32>) -> Self {
            let name = format!("tidegate-sound-{name}-{}.wav", std::process::id());
            let path = std::env::temp_dir().join(name);
            let mut writer = hound::WavWriter::create(&path, spec).unwrap();
            samples.for_each(|sample| writer.write_sample(sample).unwrap());
            writer.finalize().unwrap();
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn wav(channels: u16, bits_per_sample: u16) -> hound::WavSpec {
        let sample_format = hound::SampleFormat::Int;
        hound::WavSpec { channels, sample_rate: 48_000, bits_per_sample, sample_format }
    }

    fn format(channels: u16, depth: Depth) -> Format {
        Spec { depth, sample_rate: 48_000, channels, packet_time_us: 1000 }.check().unwrap()
    }

    fn written(source: &Source, first: u64, octets: usize) -> Vec<u8> {
        let mut into = vec![0xa5; octets];
        source.write(first, &mut into);
        into
    }

    #[test]
    fn a_file_is_repeated_without_a_seam_from_where_the_epoch_has_it() {
        // 100 samples: no packet is a multiple of it.
        let file = File::new("loop", wav(2, 24), (0..200).map(|it| (it - 100) * 70_001));
        let source = Source::file(&file.0, format(2, Depth::TwentyFour)).unwrap();
        let whole = written(&source, 0, 600);
        assert_eq!(whole[..6], [0x95, 0x2f, 0xdc, 0x96, 0x41, 0x4d], "-7,000,100 and -6,930,099");
        for first in [1, 90, 99, 100, 5_000_000_017] {
            let start = usize::try_from(first % 100).unwrap() * 6;
            let expected: Vec<u8> =
                whole.iter().copied().cycle().skip(start).take(48 * 6 * 5).collect();
            assert_eq!(written(&source, first, 48 * 6 * 5), expected, "{first}");
        }
    }

    #[test]
    fn sixteen_bits_go_into_both_and_twenty_four_only_into_their_own() {
        let file = File::new("short", wav(1, 16), [0x1234, -2].into_iter());
        let short = Source::file(&file.0, format(1, Depth::Sixteen)).unwrap();
        assert_eq!(written(&short, 0, 4), [0x12, 0x34, 0xff, 0xfe]);
        let long = Source::file(&file.0, format(1, Depth::TwentyFour)).unwrap();
        assert_eq!(written(&long, 0, 6), [0x12, 0x34, 0, 0xff, 0xfe, 0]);
        let file = File::new("long", wav(1, 24), [0x12_3456].into_iter());
        let refused = Source::file(&file.0, format(1, Depth::Sixteen)).unwrap_err().to_string();
        let path = file.0.display();
        assert_eq!(
            refused,
            format!(
                "sound file {path} has 1 channels of 24 bits at 48000 Hz, the stream is 1 channels \
                 of L16 at 48000 Hz, 1000 us; convert it with `ffmpeg -i {path} -ac 1 -ar 48000 \
                 -c:a pcm_s16le out.wav`"
            )
        );
    }

    #[test]
    fn a_plain_header_of_old_is_read_too() {
        // WAVE_FORMAT_PCM as of 1991, without an extension; one sample of two channels.
        let mut octets = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
        octets.extend([48_000_u32.to_le_bytes(), 192_000_u32.to_le_bytes()].concat());
        octets.extend(b"\x04\0\x10\0data\x04\0\0\0\x01\x02\x03\x04");
        let path = std::env::temp_dir().join(format!("tidegate-plain-{}.wav", std::process::id()));
        std::fs::write(&path, octets).unwrap();
        let file = File(path);
        let source = Source::file(&file.0, format(2, Depth::Sixteen)).unwrap();
        assert_eq!(written(&source, 0, 4), [2, 1, 4, 3]);
    }

    #[test]
    fn files_that_are_none_are_refused() {
        let path = std::env::temp_dir().join(format!("tidegate-none-{}.wav", std::process::id()));
        let refused =
            |path: &Path| Source::file(path, format(2, Depth::Sixteen)).unwrap_err().to_string();
        assert!(refused(&path).contains("No such file"), "{}", refused(&path));
        std::fs::write(&path, b"RIFFnothing of the kind").unwrap();
        let file = File(path);
        assert!(refused(&file.0).contains("is no WAV file that is read"), "{}", refused(&file.0));
        let empty = File::new("empty", wav(2, 16), [].into_iter());
        assert!(refused(&empty.0).ends_with("has no samples; give one that has"));
        // Cut within its samples.
        let cut = File::new("cut", wav(2, 16), 0..1000);
        let octets = std::fs::read(&cut.0).unwrap();
        std::fs::write(&cut.0, &octets[..octets.len() - 7]).unwrap();
        assert!(refused(&cut.0).contains("sound file"), "{}", refused(&cut.0));
    }
}
