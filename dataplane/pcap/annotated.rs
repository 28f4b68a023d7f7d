//! Writing pcapng: packets of any link type, each with a comment.
//!
//! pcapng and not pcap, because only there a packet can say why it is in the file, and because
//! packets of several link types fit into one. Times are nanoseconds (`if_tsresol` 9), octets and
//! original lengths are those of the [`Record`], so that what was read is written.

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};

use super::{Error, Record, explain};

/// Link types in one file at most. Real captures have one or two.
const INTERFACES_MAX: usize = 64;

/// Octets of a comment at most; its length is a field of 16 bits.
pub const COMMENT_OCTETS_MAX: usize = 4096;

/// Writes a pcapng capture.
pub struct AnnotatedWriter<W: Write> {
    path: PathBuf,
    inner: PcapNgWriter<W>,
    /// By the interface that the file has for it.
    link_types: Vec<u32>,
    records: u64,
}

impl<W: Write> AnnotatedWriter<W> {
    /// Starts a capture in `stream`; `path` is its name in errors.
    ///
    /// # Errors
    ///
    /// When the header cannot be written.
    pub fn new(path: impl Into<PathBuf>, stream: W) -> Result<Self, Error> {
        let path = path.into();
        match PcapNgWriter::new(stream) {
            Ok(inner) => Ok(Self { path, inner, link_types: Vec::new(), records: 0 }),
            Err(error) => Err(explain(path, 0, error)),
        }
    }

    /// Appends one packet, with `comment` unless that is empty. Of a comment longer than
    /// [`COMMENT_OCTETS_MAX`] the beginning is kept.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or has the 65th link type of the file.
    pub fn write(&mut self, record: &Record, comment: &str) -> Result<(), Error> {
        let written = self.append(record, comment);
        match written {
            Ok(()) => {
                self.records += 1;
                Ok(())
            }
            Err(error) => Err(explain(self.path.clone(), self.records, error)),
        }
    }

    fn append(&mut self, record: &Record, comment: &str) -> Result<(), PcapError> {
        let known = self.link_types.iter().position(|&link| link == record.link_type);
        let interface = match known {
            Some(interface) => interface,
            None => self.add_interface(record.link_type)?,
        };
        let comment = &comment[..comment.floor_char_boundary(COMMENT_OCTETS_MAX)];
        let options = match comment {
            "" => Vec::new(),
            comment => vec![EnhancedPacketOption::Comment(Cow::Borrowed(comment))],
        };
        self.inner.write_pcapng_block(EnhancedPacketBlock {
            interface_id: u32::try_from(interface).expect("at most 64"),
            timestamp: Duration::from_nanos(record.timestamp_ns),
            original_len: record.original_len,
            data: Cow::Borrowed(&record.bytes),
            options,
        })?;
        Ok(())
    }

    fn add_interface(&mut self, link_type: u32) -> Result<usize, PcapError> {
        if self.link_types.len() == INTERFACES_MAX {
            return Err(PcapError::InvalidField("more than 64 link types in one capture"));
        }
        self.inner.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::from(link_type),
            // No limit: what was cut was cut before.
            snaplen: 0,
            options: vec![InterfaceDescriptionOption::IfTsResol(9)],
        })?;
        self.link_types.push(link_type);
        Ok(self.link_types.len() - 1)
    }

    /// Ends the capture and gives the stream back; a buffered one is still to be flushed.
    pub fn into_stream(self) -> W {
        self.inner.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LINK_ETHERNET, Reader};
    use super::*;

    fn record(timestamp_ns: u64, link_type: u32, bytes: &[u8], original_len: u32) -> Record {
        Record { timestamp_ns, bytes: bytes.to_vec(), original_len, link_type }
    }

    #[test]
    fn what_was_read_is_written_with_its_time_link_and_lengths() {
        let records = [
            record(1_700_000_000_123_456_789, LINK_ETHERNET, &[1, 2, 3], 3),
            record(0, 101, &[], 0),
            record(u64::MAX, LINK_ETHERNET, &[4; 60], 1514),
            record(5, 113, &[9; 17], 17),
        ];
        let mut writer = AnnotatedWriter::new("x.pcapng", Vec::new()).unwrap();
        for (record, comment) in records.iter().zip(["why", "", "a second reason", "ä"]) {
            writer.write(record, comment).unwrap();
        }
        let octets = writer.into_stream();
        let read: Vec<Record> =
            Reader::new("x.pcapng", &octets[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, records);
        let comments =
            |text: &str| octets.windows(text.len()).filter(|it| *it == text.as_bytes()).count();
        assert_eq!([comments("why"), comments("a second reason"), comments("ä")], [1, 1, 1]);
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let mut writer = AnnotatedWriter::new("x.pcapng", Vec::new()).unwrap();
        writer.write(&record(1, 1, &[7], 1), &"ä".repeat(40_000)).unwrap();
        writer.write(&record(2, 1, &[8], 1), &format!("x{}", "ä".repeat(40_000))).unwrap();
        let octets = writer.into_stream();
        let reader = Reader::new("x.pcapng", &octets[..]).unwrap();
        assert_eq!(reader.map(Result::unwrap).count(), 2);
        assert!(octets.len() < 2 * COMMENT_OCTETS_MAX + 300, "{}", octets.len());
    }

    #[test]
    fn a_stream_that_is_full_is_an_error_with_the_name_of_the_file() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
                if self.0 < octets.len() {
                    return Err(std::io::ErrorKind::StorageFull.into());
                }
                self.0 -= octets.len();
                Ok(octets.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut writer = AnnotatedWriter::new("x.pcapng", Full(100)).unwrap();
        let refusal = (0..3).find_map(|_| writer.write(&record(0, 1, &[0; 40], 40), "").err());
        assert_eq!(refusal.unwrap().to_string(), "capture x.pcapng: no storage space");
    }

    #[test]
    fn the_number_of_link_types_is_bounded() {
        let mut writer = AnnotatedWriter::new("x.pcapng", Vec::new()).unwrap();
        for link in 0..64 {
            writer.write(&record(0, link, &[0], 1), "").unwrap();
        }
        let refusal = writer.write(&record(0, 64, &[0], 1), "").unwrap_err().to_string();
        assert!(
            refusal.contains("after 64 records: Invalid field value: more than 64"),
            "{refusal}"
        );
    }
}
