//! A receiver's options, some or all of which come from an SDP.
//!
//! What the options say and what the SDP says must be the same; where it is not, the key is named.
//! An error that concerns another stream of the same SDP is none of ours.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

use tidegate_config::{Fragments, PortRange, Prefix, Protocol, Refusal, Selector};

use super::finding::{Code, Finding, Severity};
use super::session::{Essence, Leg, Session};
use super::video::{Colorimetry, Range};
use super::{OCTETS_MAX, Place, Reading, read, translate};
use crate::registry::Unfit;
use crate::stream::timing::{Class, Rate};
use crate::stream::video::{Depth, Packing, Sampling, Scan, Spec};

/// What the options of a receiver say, as far as they do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The SDP.
    pub sdp: Option<&'a Path>,
    /// Which medium of it: its `mid`, or its number from 0.
    pub media: Option<&'a str>,
    /// UDP port.
    pub port: Option<u16>,
    /// Address that packets are sent to.
    pub destination: Option<IpAddr>,
    /// Address that they come from.
    pub source: Option<IpAddr>,
    /// A second path, where there is no SDP that has it.
    pub second: Option<AskedPath>,
    /// Pixels of a line.
    pub width: Option<u32>,
    /// Lines of a frame.
    pub height: Option<u32>,
    /// Frames per second.
    pub rate: Option<Rate>,
    /// Bits of a sample.
    pub depth: Option<Depth>,
    /// Which samples.
    pub sampling: Option<Sampling>,
    /// Fields or not.
    pub scan: Option<Scan>,
    /// RTP payload type.
    pub payload_type: Option<u8>,
    /// Class that the sender claims.
    pub class: Option<Class>,
    /// Its TROFFSET in microseconds.
    pub troffset_us: Option<u32>,
}

/// What the options say of a second path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedPath {
    /// UDP port, where it is not the first path's.
    pub port: Option<u16>,
    /// Address that packets are sent to.
    pub destination: Option<IpAddr>,
    /// Address that they come from.
    pub source: Option<IpAddr>,
}

/// What is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its pictures.
    pub spec: Spec,
    /// Its RTP payload type.
    pub payload_type: u8,
    /// The class that its sender claims.
    pub class: Class,
    /// Its TROFFSET in microseconds; `None`: the default of the format.
    pub troffset_us: Option<u32>,
    /// The ways that it comes: one, or the paths of ST 2022-7.
    pub arrivals: Vec<Arrival>,
    /// Its colours, as the SDP says them.
    pub colours: Option<(Colorimetry, Range)>,
}

/// One way that packets of a stream come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// UDP port that they are sent to.
    pub port: u16,
    /// The address that they are sent to, and from where; `None` where only the config's
    /// selectors say it.
    pub leg: Option<Leg>,
}

/// The first dynamic payload type, which most senders use.
const PAYLOAD_TYPE: u8 = 96;

const PROTOCOL_UDP: u8 = 17;

impl Stream {
    /// The stream of these options; reads their SDP.
    ///
    /// # Errors
    ///
    /// [`Unfit`], with the key that lacks something, cannot be followed, or contradicts the SDP.
    pub fn of(asked: &Asked<'_>) -> Result<Self, Unfit> {
        let Some(path) = asked.sdp else { return by_keys(asked) };
        let text = fetch(path).map_err(|error| {
            let found = format!("{:?}, which cannot be read: {error}", path.display().to_string());
            unfit("sdp", found, "the path of an SDP")
        })?;
        Self::by_sdp(asked, &path.display().to_string(), &text)
    }

    /// The stream of these options and the SDP `text`, which is called `name`.
    fn by_sdp(asked: &Asked<'_>, name: &str, text: &[u8]) -> Result<Self, Unfit> {
        let Reading { session, places, findings } = read(text);
        let Some(session) = session else { return Err(refused(name, &findings[0])) };
        let index = choose(asked, name, &session, &places, &findings)?;
        let paths = session.paths(index);
        let is_other =
            |it: &Finding| it.code != Code::ParameterMissing.word() || asked.rate.is_none();
        let errors = concerning(&session, index, &places, text, &findings);
        if let Some(error) = errors.into_iter().find(|it| is_other(it)) {
            return Err(refused(name, error));
        }
        let media = &session.media[index];
        let spec = translate::spec(media, asked.rate)
            .map_err(|why| unfit("sdp", format!("{name:?}: {why}"), "a stream that is received"))?;
        let line = places[index].parameters;
        let same = Same { name, line };
        same.hold("width", asked.width, spec.width)?;
        same.hold("height", asked.height, spec.height)?;
        if let Some(rate) = asked.rate.filter(|rate| !rate.same_as(spec.rate)) {
            return Err(same.differs("rate", rate, spec.rate));
        }
        same.hold("depth", asked.depth.map(Depth::bits), spec.depth.bits())?;
        same.hold("sampling", asked.sampling, spec.sampling)?;
        same.hold("scan", asked.scan, spec.scan)?;
        same.hold("payload_type", asked.payload_type, media.payload_type)?;
        let (class, troffset_us) = timing(&media.essence);
        same.hold("class", asked.class.filter(|_| class.is_some()), class.unwrap_or_default())?;
        let troffset = asked.troffset_us.filter(|_| troffset_us.is_some());
        same.hold("troffset_us", troffset, troffset_us.unwrap_or_default())?;
        let AskedPath { port, destination, source } = asked.second.unwrap_or_default();
        let (first, second) = (["destination", "source"], "second");
        for (key, given) in [
            (first[0], asked.destination.is_some()),
            (first[1], asked.source.is_some()),
            (second, port.is_some() || destination.is_some() || source.is_some()),
        ] {
            if given {
                let found = format!("addresses, while {name:?} has them");
                return Err(unfit(key, found, "an SDP without them, or interface alone"));
            }
        }
        for media in paths.iter().map(|&path| &session.media[path]) {
            Same { name, line: places[index].line }.hold("port", asked.port, media.port)?;
        }
        let arrivals = arrivals_of(&session, &paths);
        Ok(Self {
            spec,
            payload_type: media.payload_type,
            class: class.or(asked.class).unwrap_or_default(),
            troffset_us: troffset_us.or(asked.troffset_us),
            arrivals,
            colours: colours(&media.essence),
        })
    }

    /// The packets of it, and no others. None where the config has to say them.
    pub fn selectors(&self) -> Vec<Selector> {
        selectors(&self.arrivals)
    }
}

/// The packets that come in these ways, and no others. None where the config has to say them.
pub fn selectors(arrivals: &[Arrival]) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for Arrival { port, leg } in arrivals {
        let Some(leg) = leg else { continue };
        let from = |source: Option<IpAddr>| Selector {
            destination: host(leg.destination),
            source: source.map(host),
            protocol: Protocol::Number(PROTOCOL_UDP),
            ports: Some(PortRange::one(*port)),
            fragments: Fragments::Pass,
            protection: None,
        };
        match leg.sources.as_slice() {
            [] => selectors.push(from(None)),
            sources => selectors.extend(sources.iter().map(|&source| from(Some(source)))),
        }
    }
    selectors
}

/// The errors that concern medium `index`: those of its paths, and of the session.
pub(super) fn concerning<'a>(
    session: &Session,
    index: usize,
    places: &[Place],
    text: &[u8],
    findings: &'a [Finding],
) -> Vec<&'a Finding> {
    let paths = session.paths(index);
    let mut lines: Vec<_> = paths.iter().map(|&path| section(text, places[path].line)).collect();
    lines.extend(left_out(session, index, places, text));
    let top = places.iter().map(|place| place.line).min().unwrap_or(usize::MAX);
    let concerns = |it: &&Finding| {
        let own = lines.iter().any(|(from, to)| (*from..*to).contains(&it.line));
        it.severity == Severity::Error && (own || it.line < top)
    };
    findings.iter().filter(concerns).collect()
}

/// The ways that the paths of a stream come.
pub(super) fn arrivals_of(session: &Session, paths: &[usize]) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for media in paths.iter().map(|&path| &session.media[path]) {
        let port = media.port;
        arrivals.extend(media.legs.iter().cloned().map(|leg| Arrival { port, leg: Some(leg) }));
    }
    arrivals
}

/// The ways that a stream without an SDP comes, as the keys of its table say.
pub(super) fn by_addresses(
    table: &'static str,
    media: Option<&str>,
    port: Option<u16>,
    destination: Option<IpAddr>,
    source: Option<IpAddr>,
    second: Option<AskedPath>,
) -> Result<Vec<Arrival>, Unfit> {
    if media.is_some() {
        return Err(unfit(table, "media of no SDP", "sdp = \"FILE\" of the service"));
    }
    let Some(port) = port else {
        let found = "no port; the key is required";
        return Err(unfit(table, found, "a value for it, or sdp = \"FILE\" of the service"));
    };
    let mut arrivals = vec![arrival(table, port, destination, source)?];
    if let Some(AskedPath { port: other, destination: to, source }) = second {
        if to.is_some() != destination.is_some() {
            let found = "a destination on one path only";
            return Err(unfit(table, found, "one on both paths, or selectors for both"));
        }
        arrivals.push(arrival(table, other.unwrap_or(port), to, source)?);
    }
    Ok(arrivals)
}

/// The medium of a kind: the one that is asked for, or the only one.
pub(super) fn choose_of(
    name: &str,
    asked: Option<&str>,
    session: &Session,
    places: &[Place],
    what: &str,
    is_wanted: fn(&Essence) -> bool,
) -> Result<usize, Unfit> {
    let of_kind: Vec<usize> = session.streams();
    let of_kind: Vec<usize> =
        of_kind.into_iter().filter(|&it| is_wanted(&session.media[it].essence)).collect();
    let called = |index: usize| match &session.media[index].mid {
        Some(mid) => mid.clone(),
        None => places[index].index.to_string(),
    };
    let listed = || {
        let each = of_kind.iter().map(|&it| format!("{} (line {})", called(it), places[it].line));
        each.collect::<Vec<_>>().join(", ")
    };
    if let Some(wanted) = asked {
        let found = of_kind.iter().find(|&&it| called(it) == wanted).copied();
        let number = wanted.parse().ok();
        let by_number = of_kind.iter().find(|&&it| Some(places[it].index) == number).copied();
        return found.or(by_number).ok_or_else(|| {
            let found = format!("{wanted:?}, which is no {what} of {name}");
            unfit("media", found, listed())
        });
    }
    match of_kind.as_slice() {
        [only] => Ok(*only),
        [] => Err(unfit(
            "sdp",
            format!("{name:?}, which has no {what}"),
            format!("an SDP with {what}"),
        )),
        _ => {
            let found = format!("{name:?}, which has several streams of {what}");
            Err(unfit("media", found, format!("one of {}", listed())))
        }
    }
}

/// What an SDP says of colours.
const fn colours(essence: &Essence) -> Option<(Colorimetry, Range)> {
    match essence {
        Essence::Video(video) => Some((video.colorimetry, video.range)),
        Essence::Audio(_) | Essence::Ancillary(_) => None,
    }
}

/// What an SDP says of when packets come.
fn timing(essence: &Essence) -> (Option<Class>, Option<u32>) {
    match essence {
        Essence::Video(video) => (video.sender.map(translate::class), video.troff_us),
        Essence::Audio(_) | Essence::Ancillary(_) => (None, None),
    }
}

fn host(address: IpAddr) -> Prefix {
    Prefix::network(address, if address.is_ipv4() { 32 } else { 128 })
}

pub(super) fn unfit(
    key: &'static str,
    found: impl Into<String>,
    allowed: impl Into<String>,
) -> Unfit {
    Unfit { key, refusal: Refusal::new(found, allowed) }
}

/// What an SDP says, as a refusal of it.
pub(super) fn refused(name: &str, error: &Finding) -> Unfit {
    let Finding { line, text, remedy, .. } = error;
    unfit("sdp", format!("{name:?}, of which line {line} is wrong: {text}"), remedy.clone())
}

/// The file, no more of it than an SDP may be long.
pub(super) fn fetch(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(OCTETS_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// A stream without an SDP: all has to be said.
fn by_keys(asked: &Asked<'_>) -> Result<Stream, Unfit> {
    fn need<T>(key: &'static str, value: Option<T>) -> Result<T, Unfit> {
        value.ok_or_else(|| {
            unfit(key, "nothing; the key is required", "a value for it, or sdp = \"FILE\"")
        })
    }
    if asked.media.is_some() {
        return Err(unfit("media", "a medium of no SDP", "sdp = \"FILE\" beside it"));
    }
    let spec = Spec {
        width: need("width", asked.width)?,
        height: need("height", asked.height)?,
        rate: need("rate", asked.rate)?,
        depth: need("depth", asked.depth)?,
        sampling: asked.sampling.unwrap_or_default(),
        scan: asked.scan.unwrap_or_default(),
        // Every packing is understood; this one suits every picture.
        packing: Packing::Gpm,
    };
    let port = need("port", asked.port)?;
    let mut arrivals = vec![arrival("source", port, asked.destination, asked.source)?];
    if let Some(AskedPath { port: other, destination, source }) = asked.second {
        if destination.is_some() != asked.destination.is_some() {
            let found = "a destination on one path only";
            return Err(unfit("second", found, "one on both paths, or selectors for both"));
        }
        arrivals.push(arrival("second", other.unwrap_or(port), destination, source)?);
    }
    Ok(Stream {
        spec,
        payload_type: asked.payload_type.unwrap_or(PAYLOAD_TYPE),
        class: asked.class.unwrap_or_default(),
        troffset_us: asked.troffset_us,
        arrivals,
        colours: None,
    })
}

/// A way that packets come, as keys say it.
fn arrival(
    key: &'static str,
    port: u16,
    destination: Option<IpAddr>,
    source: Option<IpAddr>,
) -> Result<Arrival, Unfit> {
    let sources: Vec<IpAddr> = source.into_iter().collect();
    let leg = destination.map(|destination| Leg { destination, ttl: None, sources });
    if leg.is_none() && source.is_some() {
        let found = "a source without a destination";
        return Err(unfit(key, found, "destination beside it, or a selector with both"));
    }
    if let (Some(destination), Some(source)) = (destination, source)
        && destination.is_ipv4() != source.is_ipv4()
    {
        let found = format!("destination {destination} and source {source}");
        return Err(unfit(key, found, "two addresses of one kind, IPv4 or IPv6"));
    }
    Ok(Arrival { port, leg })
}

/// The medium that is asked for, or the only one that can be received.
fn choose(
    asked: &Asked<'_>,
    name: &str,
    session: &Session,
    places: &[Place],
    findings: &[Finding],
) -> Result<usize, Unfit> {
    let called = |index: usize| match &session.media[index].mid {
        Some(mid) => mid.clone(),
        None => places[index].index.to_string(),
    };
    let listed = |indices: &[usize]| -> String {
        let each = indices.iter().map(|&it| format!("{} (line {})", called(it), places[it].line));
        each.collect::<Vec<_>>().join(", ")
    };
    let videos: Vec<usize> = (session.streams().into_iter())
        .filter(|&index| translate::spec(&session.media[index], asked.rate).is_ok())
        .collect();
    if let Some(wanted) = asked.media {
        let by_mid = session.media.iter().position(|it| it.mid.as_deref() == Some(wanted));
        let number = wanted.parse().ok();
        let by_number = places.iter().position(|place| Some(place.index) == number);
        return by_mid.or(by_number).ok_or_else(|| {
            let all: Vec<usize> = (0..session.media.len()).collect();
            unfit("media", format!("{wanted:?}, which {name} does not have"), listed(&all))
        });
    }
    match (videos.as_slice(), session.streams().as_slice()) {
        ([only], _) => Ok(*only),
        // Whatever is there will say why it is not received.
        ([], [first, ..]) => Ok(*first),
        ([], []) => {
            let error = findings.iter().find(|it| it.severity == Severity::Error);
            Err(error.map_or_else(
                || unfit("sdp", format!("{name:?}, which has no media"), "an SDP with video"),
                |error| refused(name, error),
            ))
        }
        (several, _) => {
            let found = format!("{name:?}, which has several streams");
            Err(unfit("sdp", found, format!("media = one of {}", listed(several))))
        }
    }
}

/// The lines of the SDP, from 1.
fn numbered(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(text.split(|&octet| octet == b'\n').map(<[u8]>::trim_ascii_end))
}

/// The lines of a medium: from its `m=`, in line `from`, to the next.
fn section(text: &[u8], from: usize) -> (usize, usize) {
    let mut later = numbered(text).filter(|(line, text)| *line > from && text.starts_with(b"m="));
    (from, later.next().map_or(usize::MAX, |(line, _)| line))
}

/// The lines of the media that are paths of the same stream and could not be read.
fn left_out(session: &Session, index: usize, places: &[Place], text: &[u8]) -> Vec<(usize, usize)> {
    let mid = session.media[index].mid.as_ref();
    let group = session.groups.iter().find(|group| mid.is_some_and(|it| group.mids.contains(it)));
    let Some(group) = group else { return Vec::new() };
    let named: Vec<String> = group.mids.iter().map(|mid| format!("a=mid:{mid}")).collect();
    numbered(text)
        .filter(|(line, text)| text.starts_with(b"m=") && places.iter().all(|it| it.line != *line))
        .map(|(line, _)| section(text, line))
        .filter(|(from, to)| {
            let mut own = numbered(text).filter(|(line, _)| (*from..*to).contains(line));
            own.any(|(_, text)| named.iter().any(|mid| mid.as_bytes() == text))
        })
        .collect()
}

/// What stands twice must be the same.
pub(super) struct Same<'a> {
    pub(super) name: &'a str,
    pub(super) line: usize,
}

impl Same<'_> {
    pub(super) fn hold<T: PartialEq + Display>(
        &self,
        key: &'static str,
        asked: Option<T>,
        said: T,
    ) -> Result<(), Unfit> {
        match asked {
            Some(asked) if asked != said => Err(self.differs(key, asked, said)),
            _ => Ok(()),
        }
    }

    pub(super) fn differs(
        &self,
        key: &'static str,
        asked: impl Display,
        said: impl Display,
    ) -> Unfit {
        let Self { name, line } = self;
        let found = format!("{asked}, while line {line} of {name} says {said}");
        unfit(key, found, format!("{said}, or leave the key out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sdp::tests::{FFMPEG, good};

    fn of(asked: &Asked<'_>, text: &str) -> Result<Stream, String> {
        Stream::by_sdp(asked, "a.sdp", text.as_bytes()).map_err(|unfit| unfit.to_string())
    }

    const NOTHING: Asked<'_> = Asked {
        sdp: None,
        media: None,
        port: None,
        destination: None,
        source: None,
        second: None,
        width: None,
        height: None,
        rate: None,
        depth: None,
        sampling: None,
        scan: None,
        payload_type: None,
        class: None,
        troffset_us: None,
    };

    #[test]
    fn an_sdp_says_all_that_a_receiver_has_to_know() {
        let stream = of(&NOTHING, good("narrow")).unwrap();
        assert_eq!(stream.payload_type, 96);
        assert_eq!((stream.spec.width, stream.spec.height), (3840, 2160));
        assert_eq!((stream.class, stream.troffset_us), (Class::Narrow, None));
        let wide = of(&NOTHING, good("unicast")).unwrap();
        assert_eq!((wide.class, wide.troffset_us), (Class::Wide, Some(1700)));
        let [selector] = stream.selectors().try_into().unwrap();
        assert_eq!(selector.destination.to_string(), "239.1.2.1/32");
        assert_eq!(selector.source.unwrap().to_string(), "192.168.1.10/32");
        assert_eq!(selector.ports.unwrap().to_string(), "20000");
        assert_eq!(selector.protocol, Protocol::Number(17));
    }

    #[test]
    fn each_path_and_source_is_selected_and_nothing_else() {
        let words = |text: &str, media| {
            let stream = of(&Asked { media, ..NOTHING }, text).unwrap();
            let words = stream.selectors().into_iter().map(|it| {
                let source = it.source.map_or_else(|| "any".into(), |it| it.address().to_string());
                format!("{} {} {source}", it.destination.address(), it.ports.unwrap())
            });
            words.collect::<Vec<_>>()
        };
        let two = ["239.100.9.10 50000 192.168.100.2", "239.101.9.10 50020 192.168.101.2"];
        assert_eq!(words(good("two-paths"), None), two);
        // Either path means both.
        assert_eq!(words(good("two-paths"), Some("secondary")), two);
        assert_eq!(
            words(good("one-line-two-groups"), None),
            ["239.10.1.1 20000 192.168.100.2", "239.20.1.1 20000 192.168.200.2"]
        );
        assert_eq!(
            words(good("two-sources"), None),
            ["233.252.0.1 30000 198.51.100.1", "233.252.0.1 30000 198.51.100.2"]
        );
        assert_eq!(words(good("unicast"), None), ["198.18.0.2 20000 any"]);
        // The only video of a programme.
        assert_eq!(words(good("programme"), None).len(), 2);
    }

    #[test]
    fn what_stands_twice_must_be_the_same() {
        let narrow = good("narrow");
        let same = Asked {
            port: Some(20_000),
            width: Some(3840),
            height: Some(2160),
            rate: Some("50/2".parse().unwrap()),
            depth: Some(Depth::Ten),
            sampling: Some(Sampling::YCbCr422),
            scan: Some(Scan::Progressive),
            payload_type: Some(96),
            class: Some(Class::Narrow),
            // Which the SDP leaves at its default, and so to the receiver.
            troffset_us: Some(7),
            ..NOTHING
        };
        assert!(of(&same, narrow).is_ok());
        let table = [
            (Asked { width: Some(1280), ..same }, "width: 1280, while line 9 of a.sdp says 3840"),
            (Asked { height: Some(720), ..same }, "height: 720, while line 9 of a.sdp says 2160"),
            (Asked { depth: Some(Depth::Eight), ..same }, "depth: 8, while line 9"),
            (Asked { port: Some(5004), ..same }, "port: 5004, while line 5 of a.sdp says 20000"),
            (Asked { payload_type: Some(97), ..same }, "payload_type: 97, while line 9"),
            (Asked { scan: Some(Scan::Psf), ..same }, "scan: psf, while line 9"),
            (Asked { class: Some(Class::Wide), ..same }, "class: wide, while line 9"),
            (Asked { sampling: Some(Sampling::Rgb), ..same }, "sampling: RGB, while line 9"),
            (
                Asked { rate: Some("50".parse().unwrap()), ..same },
                "rate: 50, while line 9 of a.sdp says 25; allowed: 25, or leave the key out",
            ),
        ];
        for (asked, says) in table {
            let refusal = of(&asked, narrow).unwrap_err();
            assert!(refusal.starts_with(says), "{refusal}");
        }
    }

    #[test]
    fn a_rate_may_be_said_beside_an_sdp_that_has_none() {
        let rate = Some("10".parse().unwrap());
        let stream = of(&Asked { rate, ..NOTHING }, FFMPEG).unwrap();
        assert_eq!(stream.spec.rate.ratio(), (10, 1));
        assert_eq!(
            of(&NOTHING, FFMPEG),
            Err("sdp: \"a.sdp\", of which line 10 is wrong: exactframerate is missing; allowed: add \
                 exactframerate=25 or 30000/1001, say"
                .into())
        );
    }

    #[test]
    fn a_stream_is_chosen_where_there_are_several() {
        let two = good("two-paths").replace("a=group:DUP primary secondary\n", "");
        let refusal = of(&NOTHING, &two).unwrap_err();
        assert_eq!(
            refusal,
            "sdp: \"a.sdp\", which has several streams; allowed: media = one of primary (line 7), \
             secondary (line 15)"
        );
        let chosen = |media| {
            of(&Asked { media: Some(media), ..NOTHING }, &two).map(|it| it.arrivals[0].port)
        };
        assert_eq!(
            (chosen("secondary"), chosen("1"), chosen("0")),
            (Ok(50_020), Ok(50_020), Ok(50_000))
        );
        assert_eq!(
            chosen("third").unwrap_err(),
            "media: \"third\", which a.sdp does not have; allowed: primary (line 7), secondary (line \
             15)"
        );
    }

    #[test]
    fn errors_of_other_streams_do_not_matter_and_own_ones_do() {
        // The key's fill cannot be received, and its error is not the programme's audio.
        let broken = good("programme").replace("L24/48000/16", "L24/48000/0");
        assert!(of(&NOTHING, &broken).is_ok());
        let broken =
            good("programme").replace("239.20.1.1 192.168.20.2", "239.20.1.9 192.168.20.2");
        let refusal = of(&NOTHING, &broken).unwrap_err();
        assert!(refusal.contains("source-filter for 239.20.1.9"), "{refusal}");
        let audio = of(&NOTHING, good("audio")).unwrap_err();
        assert!(audio.contains("it is ST 2110-30; only video"), "{audio}");
        assert!(of(&NOTHING, "v=0\ns=x\nt=0 0\n").unwrap_err().contains("no m= line"));
        assert!(of(&NOTHING, "hello").unwrap_err().starts_with("sdp: \"a.sdp\", of which line 1"));
    }

    #[test]
    fn without_an_sdp_each_key_is_needed() {
        let whole = Asked {
            port: Some(1),
            width: Some(1280),
            height: Some(720),
            rate: Some("25".parse().unwrap()),
            depth: Some(Depth::Ten),
            ..NOTHING
        };
        let stream = Stream::of(&whole).unwrap();
        let [Arrival { port: 1, leg: None }] = &*stream.arrivals else { panic!("{stream:?}") };
        assert!(stream.selectors().is_empty());
        let lacks = |asked: Asked<'_>| Stream::of(&asked).unwrap_err().key;
        assert_eq!(lacks(Asked { port: None, ..whole }), "port");
        assert_eq!(lacks(Asked { width: None, ..whole }), "width");
        assert_eq!(lacks(Asked { height: None, ..whole }), "height");
        assert_eq!(lacks(Asked { rate: None, ..whole }), "rate");
        assert_eq!(lacks(Asked { depth: None, ..whole }), "depth");
        assert_eq!(lacks(Asked { media: Some("0"), ..whole }), "media");
        let missing = Asked { sdp: Some(Path::new("/nonexistent/a.sdp")), ..NOTHING };
        let refusal = Stream::of(&missing).unwrap_err().to_string();
        assert!(refusal.starts_with("sdp: \"/nonexistent/a.sdp\", which cannot be read: No such"));
    }
}
