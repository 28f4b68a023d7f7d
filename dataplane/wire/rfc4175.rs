//! The RTP payload format for uncompressed video, RFC 4175, as ST 2110-20 uses it.
//!
//! ```text
//!  RTP payload: | high 16 bits of sequence | row headers 1 … | row data 1 … |
//!  row header:  | octets of data | F, line number | C, offset in pixels |
//!                  C: another row header follows;  F: second field
//! ```

use super::Malformed;

/// Octets of the extended sequence number in front of the row headers.
pub const SEQUENCE_LEN: usize = 2;

/// Octets in one row header.
pub const ROW_HEADER_LEN: usize = 6;

/// Octets in front of the data of a packet with one row.
pub const HEADER_LEN: usize = SEQUENCE_LEN + ROW_HEADER_LEN;

/// Row headers in one packet at most. ST 2110-20 allows three; RFC 4175 any number, and FFmpeg and
/// GStreamer fill packets with as many as fit: four, of lines of 320 pixels at 8 bits. Eight are
/// enough for lines of 90; more would only be work for whoever is sent them.
pub const MAX_ROWS: usize = 8;

/// A piece of one line: where it belongs and its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Line from the top of the frame or field, from 0.
    pub line: u16,
    /// Whether it belongs to the second field of an interlaced frame.
    pub second_field: bool,
    /// First pixel of the piece within the line.
    pub offset_pixels: u16,
    /// Its pixel groups.
    pub data: &'a [u8],
}

/// A checked view of one RFC 4175 payload.
///
/// Holding an `Rfc4175` proves that there are one to [`MAX_ROWS`] row headers and that the data of
/// all of them is there. Whether lines and offsets lie within a picture is for those who know the
/// picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc4175<'a> {
    extended_sequence: u16,
    headers: &'a [[u8; ROW_HEADER_LEN]],
    data: &'a [u8],
}

impl<'a> Rfc4175<'a> {
    /// Checks `bytes`, an RTP payload. Octets behind the last row's data are ignored.
    ///
    /// # Errors
    ///
    /// - [`Malformed::Truncated`] when the sequence number or an announced row header is not whole.
    /// - [`Malformed::Depth`] when more than [`MAX_ROWS`] row headers are announced.
    /// - [`Malformed::Length`] when the rows have more data than there is.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let have = bytes.len();
        let (sequence, rest) = bytes
            .split_first_chunk::<SEQUENCE_LEN>()
            .ok_or(Malformed::Truncated { have, need: HEADER_LEN })?;
        let (all, _) = rest.as_chunks::<ROW_HEADER_LEN>();
        let mut count = 0;
        let mut octets = 0;
        loop {
            if count == MAX_ROWS {
                return Err(Malformed::Depth { limit: MAX_ROWS });
            }
            let need = SEQUENCE_LEN + (count + 1) * ROW_HEADER_LEN;
            let header = all.get(count).ok_or(Malformed::Truncated { have, need })?;
            octets += usize::from(u16::from_be_bytes([header[0], header[1]]));
            count += 1;
            // RFC 4175, section 4: the continuation bit says that another row header follows.
            if header[4] & 0x80 == 0 {
                break;
            }
        }
        let data = &rest[count * ROW_HEADER_LEN..];
        let data =
            data.get(..octets).ok_or(Malformed::Length { field: octets, have: data.len() })?;
        Ok(Self { extended_sequence: u16::from_be_bytes(*sequence), headers: &all[..count], data })
    }

    /// The high half of the sequence number; RTP's header has the low half.
    #[inline]
    pub const fn extended_sequence(self) -> u16 {
        self.extended_sequence
    }

    /// The pieces of lines, in the order of the packet.
    #[inline]
    pub fn rows(self) -> impl Iterator<Item = Row<'a>> {
        let mut data = self.data;
        self.headers.iter().map(move |header| {
            let length = usize::from(u16::from_be_bytes([header[0], header[1]]));
            let (row, rest) = data.split_at(length);
            data = rest;
            Row {
                line: u16::from_be_bytes([header[2] & 0x7f, header[3]]),
                second_field: header[2] & 0x80 != 0,
                offset_pixels: u16::from_be_bytes([header[4] & 0x7f, header[5]]),
                data: row,
            }
        })
    }
}

/// The header of a packet with one row, to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The high half of the sequence number.
    pub extended_sequence: u16,
    /// Octets of data behind the header.
    pub data_octets: u16,
    /// Line from the top, from 0; 15 bits. The first field or a progressive frame.
    pub line: u16,
    /// First pixel of the data within the line; 15 bits.
    pub offset_pixels: u16,
}

impl Header {
    /// The header as octets.
    ///
    /// # Panics
    ///
    /// When line or offset do not fit their 15 bits.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        assert!(self.line < 0x8000, "line {}", self.line);
        assert!(self.offset_pixels < 0x8000, "offset {}", self.offset_pixels);
        let mut octets = [0; HEADER_LEN];
        octets[..2].copy_from_slice(&self.extended_sequence.to_be_bytes());
        octets[2..4].copy_from_slice(&self.data_octets.to_be_bytes());
        octets[4..6].copy_from_slice(&self.line.to_be_bytes());
        octets[6..].copy_from_slice(&self.offset_pixels.to_be_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three rows: 2 octets of line 5 from pixel 100, 0 octets, 3 octets of the second field's line
    /// 6.
    const THREE: [u8; 26] = [
        0x12, 0x34, 0, 2, 0, 5, 0x80, 100, 0, 0, 0, 6, 0x80, 0, 0, 3, 0x80, 6, 0, 0, 0xa0, 0xa1,
        0xb0, 0xb1, 0xb2, 0xff,
    ];

    #[test]
    fn reads_back_what_the_emitter_wrote() {
        let header =
            Header { extended_sequence: 7, data_octets: 1, line: 1079, offset_pixels: 1440 };
        let mut bytes = header.emit().to_vec();
        bytes.push(0xaa);
        let payload = Rfc4175::parse(&bytes).unwrap();
        assert_eq!(payload.extended_sequence(), 7);
        let row = Row { line: 1079, second_field: false, offset_pixels: 1440, data: &[0xaa] };
        assert_eq!(payload.rows().collect::<Vec<_>>(), [row]);
    }

    #[test]
    fn reads_three_rows_and_leaves_the_rest() {
        let payload = Rfc4175::parse(&THREE).unwrap();
        assert_eq!(payload.extended_sequence(), 0x1234);
        let rows: Vec<_> = payload.rows().collect();
        let row = |line, second_field, offset_pixels, data| Row {
            line,
            second_field,
            offset_pixels,
            data,
        };
        assert_eq!(rows[0], row(5, false, 100, &[0xa0, 0xa1]));
        assert_eq!(rows[1], row(6, false, 0, &[]));
        assert_eq!(rows[2], row(6, true, 0, &[0xb0, 0xb1, 0xb2]));
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn every_prefix_is_read_or_refused_but_never_panics() {
        for end in 0..=THREE.len() {
            assert_eq!(Rfc4175::parse(&THREE[..end]).is_ok(), end >= 25, "prefix of {end}");
        }
    }

    #[test]
    fn reads_eight_rows_and_refuses_a_ninth() {
        let mut bytes = vec![0, 0];
        for line in 0..8 {
            bytes.extend([0, 1, 0, line, if line < 7 { 0x80 } else { 0 }, 0]);
        }
        bytes.extend([0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0, 0, 0, 0, 0, 0]);
        let rows = Rfc4175::parse(&bytes).unwrap().rows();
        assert!(rows.map(|row| (row.line, row.data[0])).eq((0..8).zip(0xa0..)));
        bytes[2 + 7 * 6 + 4] |= 0x80;
        assert_eq!(Rfc4175::parse(&bytes), Err(Malformed::Depth { limit: 8 }));
    }

    #[test]
    fn refuses_rows_with_more_data_than_there_is() {
        let mut bytes = THREE;
        bytes[15] = 5;
        assert_eq!(Rfc4175::parse(&bytes), Err(Malformed::Length { field: 7, have: 6 }));
    }
}
