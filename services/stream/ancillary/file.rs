//! ANC packets as text, one line each: what the source reads and the sink writes.
//!
//! ```text
//!   # frame field channel line offset stream DID/SDID words
//!   0 p Y 9 0 - 60/60 08 00 00 00 10 00 00 00 20 00 00 00 10 00 00 00
//!   0 p C 2047 4095 3 61/01 96 69 2f
//!   12 p Y 11 0 - 41/05 40 201
//!   frames 25
//! ```
//!
//! Frames count from 0 and do not go down. The field is `p` for progressive pictures, else `1` or
//! `2`; the channel `Y` or `C`; line and offset are numbers as RFC 8331 has them, 2047 and 4095
//! being "none in particular"; the stream is `-` or a number. All else is hexadecimal: a word of two
//! digits gets its parity, one of three is written as it is. `frames` says how many there are, for
//! those at the end that have none; what follows `#` is a remark.

use std::fmt;

use super::anc::{Head, LINE_MAX, OFFSET_MAX, STREAM_MAX, WORD_MAX, WORDS_MAX, octet, with_parity};
use super::payload::Field;

/// An ANC packet of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its frame.
    pub frame: u32,
    /// Its field.
    pub field: Field,
    /// Where it stands, and what it is.
    pub head: Head,
    /// Its user data words.
    pub words: Box<[u16]>,
}

/// The packets of a file, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// How many frames there are.
    pub frames: u32,
    /// All packets.
    pub entries: Vec<Entry>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong with that.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Clip {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The first line that is not as it should be.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut clip = Self { frames: 0, entries: Vec::new() };
        let mut frames = None;
        for (line, text) in (1..).zip(text.lines()) {
            let wrong = |what| Wrong { line, what };
            let text = text.split('#').next().unwrap_or_default().trim();
            if let Some(count) = text.strip_prefix("frames ") {
                let count =
                    number(count.trim(), "the number of frames", u32::MAX).map_err(wrong)?;
                frames = Some((line, count));
            } else if !text.is_empty() {
                let entry = entry(text).map_err(wrong)?;
                if clip.entries.last().is_some_and(|last| order(last) > order(&entry)) {
                    return Err(wrong(
                        "its frame or field is before that of the line above".into(),
                    ));
                }
                clip.frames = entry.frame.checked_add(1).ok_or_else(|| {
                    wrong(format!("the frame {}: allowed is less than it", entry.frame))
                })?;
                clip.entries.push(entry);
            }
        }
        if let Some((line, count)) = frames {
            if count < clip.frames.max(1) {
                let what =
                    format!("{count} frames, but there are packets of {}", clip.frames.max(1));
                return Err(Wrong { line, what });
            }
            clip.frames = count;
        }
        if clip.frames == 0 {
            let what = "no packets, and no `frames` that says how many have none".into();
            return Err(Wrong { line: 1, what });
        }
        Ok(clip)
    }

    /// The packets of a field.
    pub fn of(&self, frame: u32, field: Field) -> &[Entry] {
        let key = (frame, field == Field::Second);
        let from = self.entries.partition_point(|entry| order(entry) < key);
        let to = self.entries.partition_point(|entry| order(entry) <= key);
        &self.entries[from..to]
    }
}

fn order(entry: &Entry) -> (u32, bool) {
    (entry.frame, entry.field == Field::Second)
}

fn number(text: &str, what: &str, most: u32) -> Result<u32, String> {
    let digits = text.bytes().all(|it| it.is_ascii_digit());
    let value = text.parse().ok().filter(|&value| digits && value <= most);
    value.ok_or_else(|| format!("{what} {text:?}: allowed is 0 to {most}"))
}

fn hexadecimal(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|it| it.is_ascii_hexdigit());
    u16::from_str_radix(text, 16).ok().filter(|_| digits)
}

fn entry(text: &str) -> Result<Entry, String> {
    let mut parts = text.split_whitespace();
    let mut part = |what: &str| {
        parts.next().ok_or_else(|| format!("it ends before {what}; see the form of these files"))
    };
    let frame = number(part("the frame")?, "the frame", u32::MAX)?;
    let field = match part("the field")? {
        "p" => Field::Whole,
        "1" => Field::First,
        "2" => Field::Second,
        other => return Err(format!("the field {other:?}: allowed are p, 1 and 2")),
    };
    let is_colour = match part("the channel")? {
        "Y" => false,
        "C" => true,
        other => return Err(format!("the channel {other:?}: allowed are Y and C")),
    };
    let line = number(part("the line")?, "the line", LINE_MAX.into())?;
    let offset = number(part("the offset")?, "the offset", OFFSET_MAX.into())?;
    let stream = match part("the stream")? {
        "-" => None,
        text => Some(number(text, "the stream", STREAM_MAX.into())?),
    };
    let kind = part("DID/SDID")?;
    let octet = |text: &str| {
        hexadecimal(text).filter(|_| text.len() == 2).and_then(|value| u8::try_from(value).ok())
    };
    let (did, sdid) = kind
        .split_once('/')
        .and_then(|(did, sdid)| Some((octet(did)?, octet(sdid)?)))
        .ok_or_else(|| format!("{kind:?}: allowed are DID and SDID, as in 60/60"))?;
    let words: Box<[u16]> = parts
        .map(|text| match (hexadecimal(text), text.len()) {
            (Some(value), 2) => Ok(with_parity(u8::try_from(value).expect("two digits"))),
            (Some(value), 3) if value <= WORD_MAX => Ok(value),
            _ => Err(format!("the word {text:?}: allowed are 00 to ff, and 000 to 3ff")),
        })
        .collect::<Result<_, _>>()?;
    if words.len() > WORDS_MAX {
        return Err(format!("{} words: allowed are up to {WORDS_MAX}", words.len()));
    }
    let small = |value: u32| u16::try_from(value).expect("checked");
    let stream = stream.map(|it| u8::try_from(it).expect("checked"));
    let head = Head { is_colour, line: small(line), offset: small(offset), stream, did, sdid };
    Ok(Entry { frame, field, head, words })
}

/// A line of a file.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The frame.
    pub frame: u64,
    /// The field.
    pub field: Field,
    /// Where the packet stands, and what it is.
    pub head: &'a Head,
    /// Its user data words.
    pub words: &'a [u16],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { is_colour, line, offset, stream, did, sdid } = *self.head;
        let field = match self.field {
            Field::Whole => 'p',
            Field::First => '1',
            Field::Second => '2',
        };
        let channel = if is_colour { 'C' } else { 'Y' };
        write!(f, "{} {field} {channel} {line} {offset} ", self.frame)?;
        match stream {
            None => f.write_str("-")?,
            Some(stream) => write!(f, "{stream}")?,
        }
        write!(f, " {did:02x}/{sdid:02x}")?;
        for &word in self.words {
            match octet(word) {
                Some(octet) => write!(f, " {octet:02x}")?,
                None => write!(f, " {word:03x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# frame field channel line offset stream DID/SDID words\n\
                        0 p Y 9 0 - 60/60 08 00 ff\n0 p C 2047 4095 3 61/01\n\n\
                        12 p Y 11 0 - 41/05 40 201 # 201h has no parity\nframes 25\n";

    #[test]
    fn a_file_is_read_and_written_again() {
        let clip = Clip::parse(FILE).unwrap();
        assert_eq!((clip.frames, clip.entries.len()), (25, 3));
        assert_eq!(clip.of(0, Field::Whole).len(), 2);
        assert_eq!(clip.of(1, Field::Whole).len(), 0);
        let Entry { head, words, .. } = &clip.of(12, Field::Whole)[0];
        assert_eq!((head.line, head.did, head.sdid), (11, 0x41, 5));
        assert_eq!(**words, [with_parity(0x40), 0x201]);
        assert_eq!(clip.entries[1].head.stream, Some(3));
        let lines: Vec<String> = clip
            .entries
            .iter()
            .map(|Entry { frame, field, head, words }| {
                Line { frame: u64::from(*frame), field: *field, head, words }.to_string()
            })
            .collect();
        let again = Clip::parse(&(lines.join("\n") + "\nframes 25")).unwrap();
        assert_eq!(again, clip);
        assert_eq!(lines[2], "12 p Y 11 0 - 41/05 40 201");
    }

    #[test]
    fn fields_stand_in_their_order() {
        let clip = Clip::parse("3 1 Y 9 0 - 60/60\n3 2 Y 571 0 - 60/60 00\n").unwrap();
        assert_eq!(clip.of(3, Field::First).len(), 1);
        assert_eq!(clip.of(3, Field::Second)[0].head.line, 571);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, says) in [
            ("", "line 1: no packets, and no `frames` that says how many have none"),
            ("\nx p", "line 2: the frame \"x\": allowed is 0 to 4294967295"),
            ("+1 p", "line 1: the frame \"+1\": allowed is 0 to 4294967295"),
            ("0 q", "line 1: the field \"q\": allowed are p, 1 and 2"),
            ("0 p Z", "line 1: the channel \"Z\": allowed are Y and C"),
            ("0 p Y 2048", "line 1: the line \"2048\": allowed is 0 to 2047"),
            ("0 p Y 9 4096", "line 1: the offset \"4096\": allowed is 0 to 4095"),
            ("0 p Y 9 0 128", "line 1: the stream \"128\": allowed is 0 to 127"),
            ("0 p Y 9 0", "line 1: it ends before the stream; see the form of these files"),
            ("0 p Y 9 0 - 6/60", "line 1: \"6/60\": allowed are DID and SDID, as in 60/60"),
            ("0 p Y 9 0 - 60/60 4", "line 1: the word \"4\": allowed are 00 to ff, and 000 to 3ff"),
            (
                "0 p Y 9 0 - 60/60 400",
                "line 1: the word \"400\": allowed are 00 to ff, and 000 to 3ff",
            ),
            (
                "1 p Y 9 0 - 60/60\n0 p Y 9 0 - 60/60",
                "line 2: its frame or field is before that of the line above",
            ),
            ("5 p Y 9 0 - 60/60\nframes 5", "line 2: 5 frames, but there are packets of 6"),
            ("4294967295 p Y 9 0 - 60/60", "line 1: the frame 4294967295: allowed is less than it"),
        ] {
            assert_eq!(Clip::parse(text).unwrap_err().to_string(), says, "{text}");
        }
        let long = format!("0 p Y 9 0 - 60/60{}", " 00".repeat(256));
        assert_eq!(
            Clip::parse(&long).unwrap_err().to_string(),
            "line 1: 256 words: allowed are up to 255"
        );
    }
}
