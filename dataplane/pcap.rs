//! Captures: reading pcap and pcapng, writing pcap with nanoseconds and pcapng with comments.
//!
//! A thin layer over the crate `pcap-file` that gives one [`Record`] for both formats, timestamps
//! in nanoseconds whatever the file's unit, and errors that name the file and the record. For
//! tests, the lab and the command line; it allocates per record, so it is not for the data path.
//! [`link`] makes Ethernet frames of packets from other links.
//!
//! Refused: pcapng's obsolete packet block, which tools stopped writing before 2010.

mod annotated;
pub mod link;

pub use annotated::{AnnotatedWriter, COMMENT_OCTETS_MAX};

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{error, fmt};

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::Block;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

/// `LINKTYPE_ETHERNET` of the link-layer header type registry: what the rest of this room reads.
pub const LINK_ETHERNET: u32 = 1;

/// First octets of a pcapng file: the type of its section header block, the same in both byte
/// orders.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Octets of a packet that [`Writer`] keeps at most; larger ones are refused. What tcpdump uses.
const SNAP_OCTETS: u32 = 262_144;

/// One captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was captured, since 1970-01-01 UTC. 0 where the file does not say.
    pub timestamp_ns: u64,
    /// What was captured of it.
    pub bytes: Vec<u8>,
    /// Octets that it had on the wire; more than `bytes` where the capture was cut.
    pub original_len: u32,
    /// Number of the link-layer header type, see [`LINK_ETHERNET`].
    pub link_type: u32,
}

/// Why a capture could not be read or written.
#[derive(Debug)]
pub enum Error {
    /// The file could not be opened, read or written.
    Io {
        /// The file as asked for.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is not a capture, or breaks off.
    Format {
        /// The file as asked for.
        path: PathBuf,
        /// Records before the one that is wrong; 0 with a wrong header too.
        records: u64,
        /// What is wrong.
        what: Box<str>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "capture {}: {source}", path.display()),
            Self::Format { path, records, what } => {
                write!(f, "capture {}: after {records} records: {what}", path.display())
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Format { .. } => None,
        }
    }
}

enum Format<R: Read> {
    Pcap(PcapReader<R>),
    PcapNg(PcapNgReader<R>),
}

/// The stream after a look at its first octets.
type Looked<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Reads a capture record by record; after an error it ends.
pub struct Reader<R: Read> {
    path: PathBuf,
    format: Format<Looked<R>>,
    records: u64,
    failed: bool,
}

impl Reader<File> {
    /// Opens the capture at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or does not start like a capture.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file =
            File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::new(path, file)
    }
}

impl<R: Read> Reader<R> {
    /// Reads a capture from `stream`; `path` is its name in errors.
    ///
    /// # Errors
    ///
    /// When the stream cannot be read or does not start like a capture, or is compressed.
    pub fn new(path: impl Into<PathBuf>, mut stream: R) -> Result<Self, Error> {
        let path = path.into();
        let mut start = Vec::new();
        if let Err(source) = stream.by_ref().take(4).read_to_end(&mut start) {
            return Err(Error::Io { path, source });
        }
        if let Some(program) = unpacked_by(&start) {
            let what = format!("it is compressed: unpack it with `{program}` first").into();
            return Err(Error::Format { path, records: 0, what });
        }
        let is_next_generation = start == PCAPNG_MAGIC;
        let stream = io::Cursor::new(start).chain(stream);
        let format = if is_next_generation {
            PcapNgReader::new(stream).map(Format::PcapNg)
        } else {
            PcapReader::new(stream).map(Format::Pcap)
        };
        match format {
            Ok(format) => Ok(Self { path, format, records: 0, failed: false }),
            Err(PcapError::InvalidField(_)) => {
                let what = "no pcap or pcapng file: its first octets say otherwise".into();
                Err(Error::Format { path, records: 0, what })
            }
            Err(error) => Err(explain(path, 0, error)),
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let record = match &mut self.format {
            Format::Pcap(reader) => next_pcap(reader),
            Format::PcapNg(reader) => next_pcapng(reader),
        };
        match record {
            Ok(record) => {
                self.records += u64::from(record.is_some());
                record.map(Ok)
            }
            Err(error) => {
                self.failed = true;
                Some(Err(explain(self.path.clone(), self.records, error)))
            }
        }
    }
}

/// What unpacks a file that begins so, where it is one of those in which captures are handed out.
fn unpacked_by(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("gzip -d"),
        [b'B', b'Z', b'h', ..] => Some("bzip2 -d"),
        [0xfd, b'7', b'z', b'X'] => Some("xz -d"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("zstd -d"),
        _ => None,
    }
}

fn explain(path: PathBuf, records: u64, error: PcapError) -> Error {
    match error {
        PcapError::IoError(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
            Error::Io { path, source }
        }
        PcapError::IoError(_) | PcapError::IncompleteBuffer => {
            Error::Format { path, records, what: "the file breaks off".into() }
        }
        error => Error::Format { path, records, what: error.to_string().into() },
    }
}

fn next_pcap<R: Read>(reader: &mut PcapReader<R>) -> Result<Option<Record>, PcapError> {
    let header = reader.header();
    // The raw packet: the checked one refuses an original length above the snap length, which real
    // captures have.
    let Some(packet) = reader.next_raw_packet().transpose()? else { return Ok(None) };
    let unit_ns = match header.ts_resolution {
        TsResolution::MicroSecond => 1000,
        TsResolution::NanoSecond => 1,
    };
    Ok(Some(Record {
        timestamp_ns: u64::from(packet.ts_sec) * 1_000_000_000
            + u64::from(packet.ts_frac) * unit_ns,
        bytes: packet.data.into_owned(),
        original_len: packet.orig_len,
        link_type: header.datalink.into(),
    }))
}

fn next_pcapng<R: Read>(reader: &mut PcapNgReader<R>) -> Result<Option<Record>, PcapError> {
    loop {
        let Some(block) = reader.next_block().transpose()? else { return Ok(None) };
        let (id, units, original_len, mut bytes) = match block {
            Block::EnhancedPacket(packet) => (
                packet.interface_id,
                // The crate takes the file's units for nanoseconds, whatever they are.
                packet.timestamp.as_nanos(),
                packet.original_len,
                packet.data.into_owned(),
            ),
            Block::SimplePacket(packet) => (0, 0, packet.original_len, packet.data.into_owned()),
            Block::Packet(_) => {
                return Err(PcapError::InvalidField(
                    "obsolete packet block; `editcap` rewrites such files",
                ));
            }
            _ => continue,
        };
        let interface =
            reader.interfaces().get(id as usize).ok_or(PcapError::InvalidInterfaceId(id))?;
        let per_second = units_per_second(interface)?;
        // A simple packet block's data still has its padding.
        bytes.truncate(original_len as usize);
        let timestamp_ns = units * 1_000_000_000 / per_second;
        return Ok(Some(Record {
            timestamp_ns: u64::try_from(timestamp_ns)
                .map_err(|_| PcapError::InvalidField("timestamp past the year 2554"))?,
            bytes,
            original_len,
            link_type: interface.linktype.into(),
        }));
    }
}

/// The unit of an interface's timestamps: option `if_tsresol`, microseconds where it is missing.
fn units_per_second(interface: &InterfaceDescriptionBlock<'_>) -> Result<u128, PcapError> {
    let resolution = interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
        _ => None,
    });
    match resolution.unwrap_or(6) {
        // The top bit chooses between negative powers of 2 and of 10.
        power @ 0..=18 => Ok(10_u128.pow(power.into())),
        power @ 0x80..=0xbf => Ok(1 << (power & 0x7f)),
        _ => Err(PcapError::InvalidField("if_tsresol finer than any clock")),
    }
}

/// Writes a capture of Ethernet frames, with nanoseconds.
#[derive(Debug)]
pub struct Writer<W: Write> {
    path: PathBuf,
    inner: PcapWriter<W>,
    records: u64,
}

impl<W: Write> Writer<W> {
    /// Starts a capture in `stream`; `path` is its name in errors.
    ///
    /// # Errors
    ///
    /// When the header cannot be written.
    pub fn new(path: impl Into<PathBuf>, stream: W) -> Result<Self, Error> {
        let path = path.into();
        let header = PcapHeader {
            snaplen: SNAP_OCTETS,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::native(),
            ..PcapHeader::default()
        };
        match PcapWriter::with_header(stream, header) {
            Ok(inner) => Ok(Self { path, inner, records: 0 }),
            Err(error) => Err(explain(path, 0, error)),
        }
    }

    /// Appends one frame.
    ///
    /// # Errors
    ///
    /// When it cannot be written, is longer than 262,144 octets, or was captured after 2106.
    pub fn write(&mut self, timestamp_ns: u64, bytes: &[u8]) -> Result<(), Error> {
        let original_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let packet = PcapPacket::new(Duration::from_nanos(timestamp_ns), original_len, bytes);
        match self.inner.write_packet(&packet) {
            Ok(_) => {
                self.records += 1;
                Ok(())
            }
            Err(error) => Err(explain(self.path.clone(), self.records, error)),
        }
    }

    /// Ends the capture and gives the stream back; a buffered one is still to be flushed.
    pub fn into_stream(self) -> W {
        self.inner.into_writer()
    }
}

#[cfg(test)]
mod tests;
