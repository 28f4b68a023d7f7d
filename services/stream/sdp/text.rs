//! From the text of an SDP to its fields, each with its line.
//!
//! The syntax of RFC 8866 is the business of `sdp-types`; it says the line of what it cannot read,
//! but not where the things stand that it could read. Fields of one kind stay in the order of the
//! file, so a second, simpler pass that counts lines finds them again.

use std::str::FromStr;

use sdp_types::{AttributeError, Connection, ParserError, TypedAttribute};

use super::finding::{Code, Findings, quoted};

/// Most octets of an SDP. One of two paths, video, 16 audio and ancillary streams has some 20
/// thousand; much more is another file, given by mistake.
pub const OCTETS_MAX: usize = 1 << 18;

/// Most `m=` sections. A programme has some dozens.
pub const MEDIA_MAX: usize = 256;

/// One `m=` section, or what stands before the first.
pub(super) struct Section {
    /// Line of its `m=`; 1 for what stands before the first.
    pub(super) line: usize,
    /// Its `c=` lines.
    pub(super) connections: Vec<(usize, Connection)>,
    attributes: Vec<Attribute>,
}

/// An `a=` line.
pub(super) struct Attribute {
    /// Where it stands.
    pub(super) line: usize,
    /// What stands before the colon.
    pub(super) name: String,
    /// What stands behind it.
    pub(super) value: String,
}

impl Section {
    /// The `a=` lines of that name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Attribute> {
        self.attributes.iter().filter(move |it| it.name == name)
    }

    /// The first `a=` line of that name; notes that there is another one.
    pub(super) fn only<'a>(&'a self, name: &'a str, out: &mut Findings) -> Option<&'a Attribute> {
        let mut all = self.all(name);
        let first = all.next()?;
        if let Some(again) = all.next() {
            let text = format!("a={name} stands here again, after line {}", first.line);
            out.add(again.line, Code::AttributeRepeated, text, "leave one of them");
        }
        Some(first)
    }
}

impl Attribute {
    /// The value as `sdp-types` reads it.
    pub(super) fn parse<T>(&self) -> Result<T, AttributeError>
    where
        T: TypedAttribute + FromStr<Err = AttributeError>,
    {
        self.value.parse()
    }
}

/// A session's fields and where they stand.
pub(super) struct Fields {
    /// The fields.
    pub(super) session: sdp_types::Session,
    /// What stands before the first `m=`.
    pub(super) top: Section,
    /// One for each of `session.medias`.
    pub(super) media: Vec<Section>,
    /// Lines of `o=`, `s=` and the first `t=`, where there are any.
    pub(super) origin: Option<usize>,
    pub(super) name: Option<usize>,
    pub(super) time: Option<usize>,
}

/// Reads the fields. What is no SDP is one error and nothing else.
pub(super) fn fields(text: &[u8], out: &mut Findings) -> Option<Fields> {
    if text.len() > OCTETS_MAX {
        let found = format!("{} octets, where {OCTETS_MAX} are far more than enough", text.len());
        out.add(1, Code::TooLarge, found, "give the SDP itself, not what it is packed in");
        return None;
    }
    let session = match sdp_types::Session::parse(text) {
        Ok(session) => session,
        Err(error) => {
            let (line, remedy) = place(&error, text);
            out.add(line, Code::Syntax, in_words(&error, line), remedy);
            return None;
        }
    };
    if session.medias.len() > MEDIA_MAX {
        let found = format!("{} media, of which {MEDIA_MAX} are read", session.medias.len());
        out.add(1, Code::TooManyMedia, found, "cut the session into several");
        return None;
    }
    Some(located(text, session))
}

/// Finds the lines of what was read. The reader took every line that is not empty.
fn located(text: &[u8], session: sdp_types::Session) -> Fields {
    let mut sections = vec![(1, Vec::new(), Vec::new())];
    let [mut origin, mut name, mut time] = [None; 3];
    for (line, octets) in (1..).zip(text.split(|&octet| octet == b'\n')) {
        let last = sections.last_mut().expect("one from the start");
        match octets.first() {
            Some(b'm') => sections.push((line, Vec::new(), Vec::new())),
            Some(b'c') => last.1.push(line),
            Some(b'a') => last.2.push(line),
            Some(b'o') => origin = origin.or(Some(line)),
            Some(b's') => name = name.or(Some(line)),
            Some(b't') => time = time.or(Some(line)),
            _ => {}
        }
    }
    let mut sections = sections.into_iter();
    let mut section = |connections: Vec<Connection>, attributes: &[sdp_types::Attribute]| {
        let (line, connection_lines, attribute_lines) = sections.next().unwrap_or_default();
        debug_assert_eq!(connection_lines.len(), connections.len());
        debug_assert_eq!(attribute_lines.len(), attributes.len());
        let attribute = |(line, it): (usize, &sdp_types::Attribute)| Attribute {
            line,
            name: it.attribute.trim().to_owned(),
            value: it.value.as_deref().unwrap_or_default().trim().to_owned(),
        };
        Section {
            line,
            connections: connection_lines.into_iter().zip(connections).collect(),
            attributes: attribute_lines.into_iter().zip(attributes).map(attribute).collect(),
        }
    };
    let top = section(session.connection.iter().cloned().collect(), &session.attributes);
    let media = session.medias.iter().map(|it| section(it.connections.clone(), &it.attributes));
    let media = media.collect();
    Fields { session, top, media, origin, name, time }
}

/// The line of a mistake, and what helps.
fn place(error: &ParserError, text: &[u8]) -> (usize, &'static str) {
    use ParserError as P;
    #[allow(deprecated)] // Not made any more, but still there to be matched.
    let line = match *error {
        P::NoVersion | P::NoOrigin | P::NoSessionName => 1,
        P::UnexpectedLine(line, _)
        | P::InvalidLineFormat(line, _)
        | P::InvalidFieldEncoding(line, _)
        | P::InvalidFieldFormat(line, _)
        | P::MissingField(line, _)
        | P::FieldTrailingData(line, _)
        | P::InvalidVersion(line, _)
        | P::MultipleVersions(line)
        | P::MultipleOrigins(line)
        | P::MultipleSessionNames(line)
        | P::MultipleSessionDescription(line)
        | P::MultipleUris(line)
        | P::MultipleConnections(line)
        | P::MultipleTimeZones(line)
        | P::MultipleMediaTitles(line)
        | P::MultipleKeys(line)
        | P::RepeatWithoutTime(line) => line,
    };
    let remedy = match error {
        P::NoVersion if text.is_empty() => "the file is empty; give an SDP",
        P::NoVersion | P::InvalidVersion(..) => "begin the file with the line v=0",
        P::InvalidFieldEncoding(..) => "write the file in UTF-8",
        P::MultipleConnections(_) => "leave one c= before the first m=",
        _ => "write each line as <letter>=<value>, without blanks around the =",
    };
    (line, remedy)
}

/// The message without its line, which is said beside it.
fn in_words(error: &ParserError, line: usize) -> String {
    let said = error.to_string();
    for place in [format!(" in line {line}"), format!(" at line {line}"), format!(" line {line}")] {
        if let Some((before, behind)) = said.split_once(&place) {
            return format!("{before}{behind}").to_lowercase();
        }
    }
    // It may quote what it could not read.
    if said.len() > 80 { quoted(&said) } else { said.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "v=0\r\no=- 1 1 IN IP4 198.18.0.1\r\ns=x\r\n\r\nt=0 0\r\na=group:DUP 1 2\r\n\
                        m=video 20000 RTP/AVP 96\r\nc=IN IP4 239.1.1.1/64\r\na=mid:1\r\n\
                        b=AS:1\r\na=mid:2\r\nm=audio 20002 RTP/AVP 97\r\na=mid: 3\r\n";

    #[test]
    fn each_field_has_its_line_whatever_ends_the_lines() {
        for text in [TEXT.to_owned(), TEXT.replace('\r', "")] {
            let mut out = Findings::default();
            let fields = fields(text.as_bytes(), &mut out).unwrap();
            assert_eq!((fields.origin, fields.name, fields.time), (Some(2), Some(3), Some(5)));
            assert_eq!(fields.top.only("group", &mut out).unwrap().line, 6);
            assert_eq!(fields.media[0].connections[0].0, 8);
            let mids: Vec<_> = (fields.media.iter())
                .flat_map(|section| section.all("mid").map(|it| (it.line, it.value.as_str())))
                .collect();
            assert_eq!(mids, [(9, "1"), (11, "2"), (13, "3")]);
            assert_eq!(fields.media[1].line, 12);
            assert!(fields.media[0].only("mid", &mut out).is_some());
            let found = out.sorted();
            assert_eq!((found[0].line, found[0].code), (11, "attribute-repeated"));
        }
    }

    #[test]
    fn what_is_no_sdp_is_one_error_with_its_line() {
        for (text, line, says) in [
            ("", 1, "no version line"),
            ("v=1\n", 1, "invalid version"),
            ("v=0\ns=x\nhello\n", 3, "invalid formatted"),
            ("v=0\ns=x\nm=video x RTP/AVP 96\n", 3, "invalid field formatting at media port"),
            ("v=0\nc=IN IP4 239.1.1.1\nc=IN IP4 239.1.1.2\n", 3, "multiple connections"),
        ] {
            let mut out = Findings::default();
            assert!(fields(text.as_bytes(), &mut out).is_none());
            let found = out.sorted();
            assert_eq!((found.len(), found[0].line), (1, line), "{text}");
            assert!(found[0].text.contains(says), "{}", found[0].text);
        }
        let mut out = Findings::default();
        assert!(fields(&vec![b'x'; OCTETS_MAX + 1], &mut out).is_none());
        assert_eq!(out.sorted()[0].code, "too-large");
        let many = format!("v=0\n{}", "m=video 1 RTP/AVP 96\n".repeat(MEDIA_MAX + 1));
        let mut out = Findings::default();
        assert!(fields(many.as_bytes(), &mut out).is_none());
        assert_eq!(out.sorted()[0].code, "too-many-media");
    }
}
