//! What the SDP of a sender says of its sound and its ancillary data.

use std::net::SocketAddr;

use super::ancillary::Ancillary;
use super::audio::{Audio, ChannelGroup, Encoding};
use super::describe::leg;
use super::rate;
use super::session::{Essence, Group, Media, MediaClock, RefClock, UDP_STANDARD};
use crate::stream::audio::Depth;
use crate::stream::programme::cadence::Fields;
use crate::stream::programme::options;

/// What all media of a sender have in common.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// The clock that they follow.
    pub clock: &'a RefClock,
    /// Where they come from, if they do not say it.
    pub source: SocketAddr,
    /// Time to live.
    pub ttl: u8,
}

/// Destination and source of each path.
type Ends = (SocketAddr, SocketAddr);

impl Common<'_> {
    /// Adds a stream by one path or two: ST 2110-10, section 8.5, has a DUP group for two.
    fn add(
        &self,
        name: &str,
        payload_type: u8,
        first: Ends,
        second: Option<Ends>,
        essence: &Essence,
        to: &mut (Vec<Group>, Vec<Media>),
    ) {
        let medium = |mid: Option<String>, (destination, source): Ends| Media {
            mid,
            port: destination.port(),
            legs: vec![leg(destination.ip(), source.ip(), self.ttl)],
            payload_type,
            refclks: vec![self.clock.clone()],
            // ST 2110-30, 5.1, and -40, 5.3: the offset of the RTP clock is 0.
            mediaclk: Some(MediaClock::Direct { offset: 0 }),
            max_udp: UDP_STANDARD,
            ts_mode: None,
            ts_delay_us: None,
            essence: essence.clone(),
        };
        let Some(second) = second else { return to.1.push(medium(None, first)) };
        let mids = ["primary", "secondary"].map(|path| format!("{name}-{path}"));
        to.1.push(medium(Some(mids[0].clone()), first));
        to.1.push(medium(Some(mids[1].clone()), second));
        to.0.push(Group { mids: mids.to_vec() });
    }
}

/// Adds sound and ancillary data, as far as there are some, behind what is there. What cannot be
/// sent is left out: the sender says why.
pub fn add(
    common: &Common<'_>,
    audio: Option<&options::Audio>,
    ancillary: Option<&options::Ancillary>,
    pictures: Option<Fields>,
    to: &mut (Vec<Group>, Vec<Media>),
) {
    if let Some((options, format)) = audio.and_then(|it| Some((it, it.format().ok()?))) {
        let first = (options.destination, options.source_address.unwrap_or(common.source));
        let second = options.second.as_ref().map(|it| (it.destination, it.source_address));
        let spec = format.spec();
        let essence = Essence::Audio(Audio {
            encoding: match spec.depth {
                Depth::Sixteen => Encoding::L16,
                Depth::TwentyFour => Encoding::L24,
            },
            sample_rate: spec.sample_rate,
            channels: spec.channels,
            // AES67, 7.2.1: at 44.1 kHz as many samples take a little longer, and that is said.
            packet_time_us: match (spec.sample_rate, spec.packet_time_us) {
                (44_100, 1000) => 1090,
                (44_100, _) => 140,
                (_, time) => time,
            },
            packet_time_max_us: None,
            channel_order: options
                .channel_order
                .as_ref()
                .map_or_else(|| undefined(spec.channels), |order| order.0.clone()),
        });
        common.add("audio", options.payload_type, first, second, &essence, to);
    }
    if let Some((options, fields)) = ancillary.and_then(|it| Some((it, it.fields(pictures).ok()?)))
    {
        let first = (options.destination, options.source_address.unwrap_or(common.source));
        let second = options.second.as_ref().map(|it| (it.destination, it.source_address));
        let (frames, seconds) = fields.rate().ratio();
        let essence = Essence::Ancillary(Ancillary {
            kinds: options.open(fields).map(|source| source.kinds()).unwrap_or_default(),
            vpid: None,
            rate: rate::Rate::new(frames, seconds),
            transmission: None,
            troff_us: None,
        });
        common.add("ancillary", options.payload_type, first, second, &essence, to);
    }
}

/// So many channels of which nothing is known.
fn undefined(channels: u16) -> Vec<ChannelGroup> {
    let (whole, rest) = (channels / 64, channels % 64);
    let rest = u8::try_from(rest).ok().filter(|&rest| rest > 0);
    let whole = (0..whole).map(|_| ChannelGroup::Undefined(64));
    whole.chain(rest.map(ChannelGroup::Undefined)).collect()
}

#[cfg(test)]
mod tests {
    use crate::stream::programme::alone;
    use crate::stream::sdp::describe::{Facts, session, session_alone};
    use crate::stream::sdp::video::SenderType;
    use crate::stream::sdp::{Severity, read};
    use crate::stream::sender;

    const FACTS: Facts<'_> = Facts {
        name: "camera",
        id: 7,
        version: 3,
        own_clock: Some([2, 0, 0, 0, 0, 1]),
        sender: SenderType::Wide,
    };

    const BESIDE: &str = "[audio]\ndestination = \"239.1.2.2:20000\"\nchannels = 8\n\
                          packet_time_us = 125\nchannel_order = \"51,ST\"\n\
                          [ancillary]\ndestination = \"239.1.2.3:20000\"\n";

    fn options(rest: &str) -> sender::Options {
        let text = format!(
            "destination = \"239.1.2.1:20000\"\nsource_address = \"198.18.0.1:20000\"\n\
             width = 1920\nheight = 1080\nrate = \"30000/1001\"\ndepth = 10\n{rest}"
        );
        tidegate_config::Options::from_text(&text).unwrap().parse().unwrap()
    }

    #[test]
    fn a_programme_is_described_whole_and_without_a_finding() {
        let text = session(&options(BESIDE), &FACTS).unwrap().emit().replace('\r', "");
        let expected = "m=audio 20000 RTP/AVP 97\nc=IN IP4 239.1.2.2/64\n\
                        a=source-filter: incl IN IP4 239.1.2.2 198.18.0.1\n\
                        a=rtpmap:97 L24/48000/8\n\
                        a=fmtp:97 channel-order=SMPTE2110.(51,ST);\na=ptime:0.125\n\
                        a=ts-refclk:localmac=02-00-00-00-00-01\na=mediaclk:direct=0\n\
                        m=video 20000 RTP/AVP 100\nc=IN IP4 239.1.2.3/64\n\
                        a=source-filter: incl IN IP4 239.1.2.3 198.18.0.1\n\
                        a=rtpmap:100 smpte291/90000\n\
                        a=fmtp:100 DID_SDID={0x60,0x60}; exactframerate=30000/1001; \
                        SSN=ST2110-40:2018;\n\
                        a=ts-refclk:localmac=02-00-00-00-00-01\na=mediaclk:direct=0\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains("\nm=video 20000 RTP/AVP 96\n"), "{text}");
        let findings = read(text.as_bytes()).findings;
        assert!(findings.iter().all(|it| it.severity == Severity::Note), "{findings:#?}");
    }

    #[test]
    fn two_paths_of_sound_are_a_group_of_their_own() {
        let second = "[audio.second]\ndestination = \"239.2.2.2:20000\"\n\
                      source_address = \"198.18.1.1:20000\"\n";
        let text = format!("[audio]\ndestination = \"239.1.2.2:20000\"\n{second}");
        let text = session(&options(&text), &FACTS).unwrap().emit();
        let session = read(text.as_bytes()).session.unwrap();
        assert_eq!(session.streams().len(), 2, "{text}");
        assert_eq!(session.paths(1), [1, 2]);
        assert_eq!(session.groups[0].mids, ["audio-primary", "audio-secondary"]);
    }

    #[test]
    fn sound_without_pictures_has_a_session_of_its_own() {
        let text = "source_address = \"198.18.0.1:5004\"\n[audio]\n\
                    destination = \"239.1.2.2:5004\"\nsample_rate = 44100\ndepth = 16\nchannels = 2\n";
        let options: alone::Options =
            tidegate_config::Options::from_text(text).unwrap().parse().unwrap();
        let text = session_alone(&options, &FACTS).unwrap().emit();
        assert!(text.contains("a=rtpmap:97 L16/44100/2\r\n"), "{text}");
        assert!(text.contains("a=ptime:1.09\r\n"), "{text}");
        assert!(text.contains("channel-order=SMPTE2110.(U02)"), "{text}");
        assert!(!read(text.as_bytes()).has_errors());
        assert!(session_alone(&options, &Facts { own_clock: None, ..FACTS }).is_none());
    }
}
