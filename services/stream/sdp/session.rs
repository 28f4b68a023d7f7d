//! What an ST 2110 session is, in types: what stands in its SDP and no more.
//!
//! ```text
//!   Session ── groups (DUP): which media carry the same stream twice (ST 2022-7)
//!      └── Media ── Leg (group, TTL, sources) ── payload type ── clocks
//!             └── Essence: Video (-20, -21), Audio (-30), Ancillary (-40)
//! ```
//!
//! Defaults of the standards are filled in: a [`Video`] whose SDP says nothing of RANGE is NARROW.
//! Holding one of these does not prove that the standards are obeyed; that is what the findings of
//! [`super::read`] are for.

use std::fmt;
use std::net::IpAddr;

use super::ancillary::Ancillary;
use super::audio::Audio;
use super::video::Video;
use super::words::words;

/// The Standard UDP Size Limit of ST 2110-10: octets, the UDP header included.
pub const UDP_STANDARD: u16 = 1460;

/// The Extended UDP Size Limit of the same.
pub const UDP_EXTENDED: u16 = 8960;

/// A session: what one SDP describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who made it, and which version this is.
    pub origin: Origin,
    /// Its name, for people.
    pub name: String,
    /// More about it, for people.
    pub information: Option<String>,
    /// Media that carry the same stream: RFC 7104, semantics DUP.
    pub groups: Vec<Group>,
    /// The media, in the order of the file.
    pub media: Vec<Media>,
}

/// The origin of a session, RFC 8866, 5.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Login at the host; `-` where there is none.
    pub user: String,
    /// Number of the session.
    pub id: u64,
    /// Number of this version of its description.
    pub version: u64,
    /// The host, an address or a name.
    pub host: String,
}

/// Media that carry the same stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Their `mid`s, the primary one first.
    pub mids: Vec<String>,
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Its name within the session.
    pub mid: Option<String>,
    /// UDP port that it is sent to.
    pub port: u16,
    /// Where it is sent to. One, or two where a section has two `c=` lines.
    pub legs: Vec<Leg>,
    /// RTP payload type.
    pub payload_type: u8,
    /// Clocks that its timestamps follow.
    pub refclks: Vec<RefClock>,
    /// How the media clock follows them.
    pub mediaclk: Option<MediaClock>,
    /// Largest UDP datagram, its header included.
    pub max_udp: u16,
    /// What the RTP timestamps say, ST 2110-10:2022, 8.7.
    pub ts_mode: Option<TsMode>,
    /// Microseconds from capture to transmission, of the same.
    pub ts_delay_us: Option<u32>,
    /// What it is.
    pub essence: Essence,
}

/// A destination with the sources that may send to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Address of a group or of a receiver.
    pub destination: IpAddr,
    /// Time to live, of IPv4 groups.
    pub ttl: Option<u8>,
    /// Allowed sources (RFC 4570, `incl`); empty: any.
    pub sources: Vec<IpAddr>,
}

/// What a medium is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Essence {
    /// Uncompressed video, ST 2110-20.
    Video(Video),
    /// PCM audio, ST 2110-30.
    Audio(Audio),
    /// Ancillary data, ST 2110-40.
    Ancillary(Ancillary),
}

/// A reference clock, RFC 7273 and ST 2110-10, 8.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefClock {
    /// IEEE 1588-2008.
    Ptp(Grandmaster),
    /// A sender's own clock, known by its link address.
    LocalMac([u8; 6]),
    /// Another one that RFC 7273 has, as written.
    Other(String),
}

/// Which PTP clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grandmaster {
    /// Any that is traceable to TAI.
    Traceable,
    /// The one with this identity.
    Id {
        /// Clock identity.
        id: [u8; 8],
        /// Domain number, 0 to 127.
        domain: Option<u8>,
    },
}

/// A media clock, RFC 7273 and ST 2110-10, 8.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaClock {
    /// The reference clock's, with the value that it had at its epoch.
    Direct {
        /// RTP timestamp at the epoch.
        offset: u32,
    },
    /// The sender's own.
    Sender,
    /// Another one that RFC 7273 has, as written.
    Other(String),
}

words! {
    /// What the RTP timestamps say.
    pub enum TsMode {
        /// When the samples were captured.
        Sampled = "SAMP",
        /// When they were made anew from others.
        New = "NEW",
        /// What they said before.
        Preserved = "PRES",
    }
}

impl Session {
    /// The media that are the same stream as media `index`, itself included, in the order of
    /// their group: its paths (ST 2022-7).
    pub fn paths(&self, index: usize) -> Vec<usize> {
        let mid = self.media.get(index).and_then(|media| media.mid.as_deref());
        let of = |group: &&Group| group.mids.iter().any(|it| Some(it.as_str()) == mid);
        let Some(group) = self.groups.iter().find(of) else { return vec![index] };
        let named =
            |name: &String| self.media.iter().position(|media| media.mid.as_ref() == Some(name));
        let mut paths: Vec<usize> = Vec::new();
        for path in group.mids.iter().filter_map(named) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    /// The index of each stream's first path: a stream that travels twice is there once.
    pub fn streams(&self) -> Vec<usize> {
        (0..self.media.len()).filter(|&index| self.paths(index).first() == Some(&index)).collect()
    }
}

impl Essence {
    /// The word for the `m=` line. ST 2110-40 is video too (RFC 8331, 3.1).
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Audio(_) => "audio",
            Self::Video(_) | Self::Ancillary(_) => "video",
        }
    }

    /// The document that defines it.
    pub const fn standard(&self) -> &'static str {
        match self {
            Self::Video(_) => "ST 2110-20",
            Self::Audio(_) => "ST 2110-30",
            Self::Ancillary(_) => "ST 2110-40",
        }
    }
}

impl fmt::Display for RefClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ptp(Grandmaster::Traceable) => f.write_str("ptp=IEEE1588-2008:traceable"),
            Self::Ptp(Grandmaster::Id { id, domain }) => {
                write!(f, "ptp=IEEE1588-2008:{}", Octets(id))?;
                domain.map_or(Ok(()), |domain| write!(f, ":{domain}"))
            }
            Self::LocalMac(mac) => write!(f, "localmac={}", Octets(mac)),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for MediaClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { offset } => write!(f, "direct={offset}"),
            Self::Sender => f.write_str("sender"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Octets as SDP writes identities: `39-A7-94-FF-FE-07-CB-D0`.
struct Octets<'a>(&'a [u8]);

impl fmt::Display for Octets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            let dash = if index == 0 { "" } else { "-" };
            write!(f, "{dash}{octet:02X}")?;
        }
        Ok(())
    }
}

/// Reads octets written so; the separator may be a colon.
pub(super) fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    let mut parts = text.split(['-', ':']);
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 2)?;
        let digits = part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *octet = digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()?;
    }
    parts.next().is_none().then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_written_as_the_standard_has_them() {
        let id = octets("39-a7-94-ff-fe-07-cb-d0").unwrap();
        let clock = RefClock::Ptp(Grandmaster::Id { id, domain: Some(37) });
        assert_eq!(clock.to_string(), "ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:37");
        let traceable = RefClock::Ptp(Grandmaster::Traceable);
        assert_eq!(traceable.to_string(), "ptp=IEEE1588-2008:traceable");
        let mac = RefClock::LocalMac(octets("02:00:00:00:00:0a").unwrap());
        assert_eq!(mac.to_string(), "localmac=02-00-00-00-00-0A");
        assert_eq!(MediaClock::Direct { offset: 0 }.to_string(), "direct=0");
    }

    #[test]
    fn identities_are_read_strictly() {
        for text in
            ["", "02-00-00-00-00", "02-00-00-00-00-01-02", "2-0-0-0-0-1", "+1-00-00-00-00-00"]
        {
            assert_eq!(octets::<6>(text), None, "{text}");
        }
    }
}
