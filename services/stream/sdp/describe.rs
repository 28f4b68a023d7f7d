//! The SDP of a sender, from its options.
//!
//! What the options do not say is not guessed: the clock is our own, known by a link address,
//! unless the operator names the one that disciplines it; the sender type is what the caller
//! found out, for a class is measured and not wished.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use tidegate_config::Refusal;

use super::medium;
use super::programme::{self, Common};
use super::session::{
    Essence, Group, Leg, Media, MediaClock, Origin, RefClock, Session, UDP_STANDARD,
};
use super::translate;
use super::video::{Colorimetry, Range, SenderType, Tcs, Video};
use crate::stream::programme::alone;
use crate::stream::programme::cadence::Fields;
use crate::stream::sender::Options;

/// What a sender's SDP says that its packets do not depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// The clock that the machine's time follows; our own where it is missing.
    #[serde(default)]
    pub refclk: Option<Reference>,
    /// Colour primaries; by the size where it is missing.
    #[serde(default)]
    pub colorimetry: Option<Colorimetry>,
    /// Transfer characteristic; SDR where it is missing.
    #[serde(default)]
    pub tcs: Option<Tcs>,
    /// Which sample values are used; narrow where it is missing.
    #[serde(default)]
    pub range: Option<Range>,
}

/// A reference clock as a config names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Reference(pub RefClock);

impl TryFrom<String> for Reference {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        medium::named(&text).map(Self).ok_or_else(|| {
            let allowed = "\"ptp=IEEE1588-2008:<identity>:<domain>\", as \
                           \"ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127\", or \
                           \"ptp=IEEE1588-2008:traceable\", or \"localmac=02-00-00-00-00-01\"";
            Refusal::new(format!("{text:?}"), allowed)
        })
    }
}

/// What is said of a sender beside its options.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its name.
    pub name: &'a str,
    /// Number of the session, the same as long as it is the same sender.
    pub id: u64,
    /// Number that grows when its description changes.
    pub version: u64,
    /// Our clock, where the options name no other.
    pub own_clock: Option<[u8; 6]>,
    /// The sender type.
    pub sender: SenderType,
}

/// The session of a sender with these options; `None` without a clock.
pub fn session(options: &Options, facts: &Facts<'_>) -> Option<Session> {
    let named = options.sdp.refclk.as_ref().map(|Reference(clock)| clock.clone());
    let clock = named.or(facts.own_clock.map(RefClock::LocalMac))?;
    let source = options.source_address.ip();
    let said = translate::video(&options.spec(), options.class);
    let Described { colorimetry, tcs, range, .. } = &options.sdp;
    let video = Video {
        colorimetry: colorimetry.unwrap_or(said.colorimetry),
        tcs: tcs.unwrap_or(said.tcs),
        range: range.unwrap_or(said.range),
        sender: Some(facts.sender),
        troff_us: options.troffset_us,
        ..said
    };
    let medium = |mid: Option<&str>, destination: SocketAddr, source: SocketAddr| Media {
        mid: mid.map(str::to_owned),
        port: destination.port(),
        legs: vec![leg(destination.ip(), source.ip(), options.ttl.0)],
        payload_type: options.payload_type,
        refclks: vec![clock.clone()],
        // RTP timestamps are k * T from the epoch of the clock, whichever it is.
        mediaclk: Some(MediaClock::Direct { offset: 0 }),
        max_udp: UDP_STANDARD,
        ts_mode: None,
        ts_delay_us: None,
        essence: Essence::Video(video.clone()),
    };
    let (to, from) = (options.destination, options.source_address);
    // ST 2110-10, section 8.5: the paths of ST 2022-7 are media of a DUP group.
    let (groups, media) = match &options.second {
        None => (Vec::new(), vec![medium(None, to, from)]),
        Some(second) => {
            let mids = ["primary", "secondary"];
            let (other, source) = (second.destination, second.source_address);
            let media = vec![medium(Some(mids[0]), to, from), medium(Some(mids[1]), other, source)];
            (vec![Group { mids: mids.map(str::to_owned).to_vec() }], media)
        }
    };
    let common = Common { clock: &clock, source: from, ttl: options.ttl.0 };
    let mut all = (groups, media);
    let (audio, ancillary) = (options.audio.as_ref(), options.ancillary.as_ref());
    let pictures = Some(Fields::new(options.rate, options.scan));
    programme::add(&common, audio, ancillary, pictures, &mut all);
    Some(of(all, source, facts))
}

/// The session of a sender without pictures; `None` without a clock.
pub fn session_alone(options: &alone::Options, facts: &Facts<'_>) -> Option<Session> {
    let named = options.sdp.refclk.as_ref().map(|Reference(clock)| clock.clone());
    let clock = named.or(facts.own_clock.map(RefClock::LocalMac))?;
    let source = options.source_address;
    let common = Common { clock: &clock, source, ttl: options.ttl.0 };
    let mut all = (Vec::new(), Vec::new());
    let (audio, ancillary) = (options.audio.as_ref(), options.ancillary.as_ref());
    programme::add(&common, audio, ancillary, None, &mut all);
    Some(of(all, source.ip(), facts))
}

fn of((groups, media): (Vec<Group>, Vec<Media>), source: IpAddr, facts: &Facts<'_>) -> Session {
    Session {
        origin: Origin {
            user: "-".into(),
            id: facts.id,
            version: facts.version,
            host: source.to_string(),
        },
        name: facts.name.into(),
        information: None,
        groups,
        media,
    }
}

pub(super) fn leg(destination: IpAddr, source: IpAddr, ttl: u8) -> Leg {
    let is_group = destination.is_multicast();
    Leg {
        destination,
        ttl: (is_group && destination.is_ipv4()).then_some(ttl),
        // RFC 4570 has filters for all; only a group has other sources.
        sources: if is_group { vec![source] } else { Vec::new() },
    }
}

/// The type that may be said: the one asked for where all that was sent kept it, else what it
/// kept.
///
/// `held` is the word that a running sender shows; `None` where nobody measured. `Err` where it
/// kept no class at all.
///
/// # Errors
///
/// The sender has kept no class.
pub fn sender_type(asked: SenderType, held: Option<&str>) -> Result<Advertised, NoClass> {
    let held = match held {
        None | Some("unmeasured") => return Ok(Advertised { sender: asked, is_measured: false }),
        Some("narrow") => SenderType::Narrow,
        Some("narrow-linear") => SenderType::NarrowLinear,
        Some("wide") => SenderType::Wide,
        Some(_) => return Err(NoClass),
    };
    // Whoever keeps a narrow one keeps wide.
    let sender = if asked == SenderType::Wide { asked } else { held };
    Ok(Advertised { sender, is_measured: true })
}

/// The sender type of an SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// What it says.
    pub sender: SenderType,
    /// Whether the sender has been seen to keep it.
    pub is_measured: bool,
}

/// A sender that has kept no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoClass;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sdp::{Severity, read};

    const FACTS: Facts<'_> = Facts {
        name: "camera",
        id: 7,
        version: 3,
        own_clock: Some([2, 0, 0, 0, 0, 1]),
        sender: SenderType::Wide,
    };

    fn options(rest: &str) -> Options {
        let text = format!(
            "destination = \"239.1.2.1:20000\"\nsource_address = \"198.18.0.1:20000\"\n\
             width = 1920\nheight = 1080\nrate = \"30000/1001\"\ndepth = 10\n{rest}"
        );
        tidegate_config::Options::from_text(&text).unwrap().parse().unwrap()
    }

    #[test]
    fn a_sender_is_described_whole_and_without_a_finding() {
        let text = session(&options("scan = \"interlaced\""), &FACTS).unwrap().emit();
        assert_eq!(
            text.replace('\r', ""),
            "v=0\no=- 7 3 IN IP4 198.18.0.1\ns=camera\nt=0 0\nm=video 20000 RTP/AVP 96\n\
             c=IN IP4 239.1.2.1/64\na=source-filter: incl IN IP4 239.1.2.1 198.18.0.1\n\
             a=rtpmap:96 raw/90000\na=fmtp:96 sampling=YCbCr-4:2:2; width=1920; height=1080; \
             exactframerate=30000/1001; interlace; depth=10; TCS=SDR; colorimetry=BT709; \
             PM=2110GPM; SSN=ST2110-20:2017; TP=2110TPW;\na=ts-refclk:localmac=02-00-00-00-00-01\n\
             a=mediaclk:direct=0\n"
        );
        assert!(read(text.as_bytes()).findings.is_empty());
    }

    #[test]
    fn groups_of_ipv4_have_the_hops_that_are_sent_and_ipv6_has_none() {
        let read_back = |text: &str| {
            let findings = read(text.as_bytes()).findings;
            findings.iter().all(|it| it.severity == Severity::Note)
        };
        let connection = |text: &str| {
            let options = tidegate_config::Options::from_text(text).unwrap();
            let text = session(&options.parse().unwrap(), &FACTS).unwrap().emit();
            assert!(read_back(&text), "{text}");
            let lines = text
                .lines()
                .filter(|line| line.starts_with("c=") || line.starts_with("a=source-filter"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let asked = |destination: &str, source: &str| {
            format!(
                "destination = \"{destination}:20000\"\nsource_address = \"{source}:20000\"\n\
                 width = 1920\nheight = 1080\nrate = \"50\"\ndepth = 10\nttl = 9\n"
            )
        };
        assert_eq!(
            connection(&asked("239.1.2.1", "198.18.0.1")),
            ["c=IN IP4 239.1.2.1/9", "a=source-filter: incl IN IP4 239.1.2.1 198.18.0.1"]
        );
        assert_eq!(
            connection(&asked("[ff3e::8000:1]", "[2001:db8::1]")),
            ["c=IN IP6 ff3e::8000:1", "a=source-filter: incl IN IP6 ff3e::8000:1 2001:db8::1"]
        );
        assert_eq!(connection(&asked("198.18.0.2", "198.18.0.1")), ["c=IN IP4 198.18.0.2"]);
        assert_eq!(connection(&asked("[2001:db8::2]", "[2001:db8::1]")), ["c=IN IP6 2001:db8::2"]);
    }

    #[test]
    fn two_paths_are_two_media_of_one_group_that_a_receiver_takes_for_one_stream() {
        let second = "[second]\ndestination = \"239.1.3.1:20002\"\n\
                      source_address = \"198.18.1.1:20000\"\n";
        let text = session(&options(second), &FACTS).unwrap().emit();
        for line in [
            "a=group:DUP primary secondary\r\n",
            "m=video 20002 RTP/AVP 96\r\nc=IN IP4 239.1.3.1/64\r\n",
            "a=source-filter: incl IN IP4 239.1.3.1 198.18.1.1\r\n",
            "a=mid:primary\r\n",
            "a=mid:secondary\r\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let reading = read(text.as_bytes());
        assert!(reading.findings.is_empty(), "{:#?}", reading.findings);
        let session = reading.session.unwrap();
        assert_eq!((session.streams(), session.paths(0)), (vec![0], vec![0, 1]));
    }

    #[test]
    fn every_format_that_is_sent_is_described_without_a_warning() {
        for rest in [
            "sampling = \"RGB\"\npacking = \"bpm\"",
            "sampling = \"YCbCr-4:2:0\"\npacking = \"gpm\"",
            "sampling = \"YCbCr-4:4:4\"",
            "scan = \"psf\"",
            "sdp = { colorimetry = \"BT2100\", tcs = \"PQ\", range = \"FULL\" }",
            "sdp = { refclk = \"ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:127\" }",
        ] {
            let text = session(&options(rest), &FACTS).unwrap().emit();
            let findings = read(text.as_bytes()).findings;
            assert!(findings.iter().all(|it| it.severity == Severity::Note), "{findings:#?}");
        }
    }

    #[test]
    fn the_clock_is_our_own_unless_another_is_named() {
        let named = options("sdp = { refclk = \"ptp=IEEE1588-2008:traceable\" }");
        let text = session(&named, &FACTS).unwrap().emit();
        assert!(text.contains("a=ts-refclk:ptp=IEEE1588-2008:traceable\r\n"), "{text}");
        let unknown = Facts { own_clock: None, ..FACTS };
        assert!(session(&options(""), &unknown).is_none());
        assert!(session(&named, &unknown).is_some());
        for wrong in ["ptp=39-A7", "ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0", "gps", ""] {
            assert!(Reference::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    /// ST 2110-21, 6.2: receivers take the default where it is not said.
    #[test]
    fn an_offset_of_ones_own_is_said() {
        let text = session(&options("troffset_us = 900"), &FACTS).unwrap().emit();
        assert!(text.contains("; TROFF=900;"), "{text}");
        assert!(read(text.as_bytes()).findings.is_empty());
        assert!(!session(&options(""), &FACTS).unwrap().emit().contains("TROFF"));
    }

    #[test]
    fn a_class_is_said_that_was_kept() {
        use SenderType::{Narrow, NarrowLinear, Wide};
        let said = |asked, held| sender_type(asked, held).map(|it| (it.sender, it.is_measured));
        assert_eq!(said(Narrow, None), Ok((Narrow, false)));
        assert_eq!(said(Narrow, Some("unmeasured")), Ok((Narrow, false)));
        assert_eq!(said(Narrow, Some("narrow")), Ok((Narrow, true)));
        assert_eq!(said(Narrow, Some("wide")), Ok((Wide, true)));
        assert_eq!(said(Wide, Some("narrow")), Ok((Wide, true)));
        assert_eq!(said(Wide, Some("narrow-linear")), Ok((Wide, true)));
        assert_eq!(said(NarrowLinear, Some("narrow-linear")), Ok((NarrowLinear, true)));
        assert_eq!(said(Wide, Some("none")), Err(NoClass));
    }
}
