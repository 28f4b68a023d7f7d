//! Sessions made by chance are written and read as the same; texts that nobody would write are
//! read without harm.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate_runtime::sim::Random;

use super::super::ancillary::{Ancillary, Transmission};
use super::super::audio::{Audio, ChannelGroup, Encoding};
use super::super::finding::Severity;
use super::super::rate::Rate;
use super::super::session::{
    Essence, Grandmaster, Group, Leg, Media, MediaClock, Origin, RefClock, Session, TsMode,
};
use super::super::text::OCTETS_MAX;
use super::super::video::{
    Colorimetry, Depth, Packing, Range, Sampling, Scan, SenderType, Tcs, Video,
};
use super::super::words::Word;
use super::super::{numbers, read};
use super::{FFMPEG, GOOD};

fn word<W: Word>(random: &mut Random) -> W {
    pick(random, W::ALL)
}

fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[usize::try_from(random.below(list.len() as u64)).unwrap()]
}

fn number<T: TryFrom<u64>>(random: &mut Random, below: u64) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(random.below(below)).unwrap()
}

fn maybe<T>(random: &mut Random, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
    random.chance(500).then(|| make(random))
}

fn some_rate(random: &mut Random) -> Rate {
    loop {
        let (frames, seconds) = (1 + number::<u32>(random, 121_000), pick(random, &[1, 2, 1001]));
        if let Some(rate) = Rate::new(frames, seconds) {
            return rate;
        }
    }
}

fn some_video(random: &mut Random) -> Video {
    loop {
        // Multiples of what any pgroup or field needs.
        let (width, height) =
            (4 * (1 + number::<u32>(random, 8191)), 4 * (1 + number::<u32>(random, 2000)));
        let video = Video {
            sampling: word::<Sampling>(random),
            depth: word::<Depth>(random),
            width: width.min(32_764),
            height,
            rate: maybe(random, some_rate),
            scan: pick(random, &[Scan::Progressive, Scan::Interlaced, Scan::Segmented]),
            colorimetry: word::<Colorimetry>(random),
            tcs: word::<Tcs>(random),
            range: word::<Range>(random),
            pixel_aspect: pick(random, &[(1, 1), (12, 11), (16, 15), (1, 4_294_967_295)]),
            packing: word::<Packing>(random),
            sender: maybe(random, word::<SenderType>),
            troff_us: maybe(random, |random| number(random, 1 << 32)),
            cmax: maybe(random, |random| 1 + number::<u32>(random, 1 << 20)),
        };
        if video.pgroup().is_some() {
            return video;
        }
    }
}

fn some_audio(random: &mut Random) -> Audio {
    let some_group = |random: &mut Random| {
        use ChannelGroup as G;
        let undefined = G::Undefined(1 + number::<u8>(random, 64));
        pick(
            random,
            &[
                G::Mono,
                G::DualMono,
                G::Stereo,
                G::Matrix,
                G::Surround51,
                G::Surround71,
                G::Surround222,
                G::SdiGroup,
                undefined,
            ],
        )
    };
    Audio {
        encoding: word::<Encoding>(random),
        sample_rate: pick(random, &[44_100, 48_000, 96_000]),
        channels: 1 + number::<u16>(random, 4),
        packet_time_us: pick(random, &[125, 120, 250, 333, 1000, 1090]),
        packet_time_max_us: maybe(random, |random| 1 + number::<u32>(random, 100_000)),
        channel_order: (0..random.below(4)).map(|_| some_group(random)).collect(),
    }
}

fn some_ancillary(random: &mut Random) -> Ancillary {
    Ancillary {
        kinds: (0..random.below(4)).map(|_| (number(random, 256), number(random, 256))).collect(),
        vpid: maybe(random, |random| 1 + number::<u8>(random, 255)),
        rate: maybe(random, some_rate),
        transmission: maybe(random, word::<Transmission>),
        troff_us: maybe(random, |random| number(random, 1 << 32)),
    }
}

fn some_refclk(random: &mut Random) -> RefClock {
    let octet = |random: &mut Random| number::<u8>(random, 256);
    match random.below(4) {
        0 => RefClock::Ptp(Grandmaster::Traceable),
        1 => RefClock::LocalMac(std::array::from_fn(|_| octet(random))),
        2 => RefClock::Other(pick(random, &["ntp=/traceable/", "gps", "local"]).into()),
        _ => {
            let id = std::array::from_fn(|_| octet(random));
            let domain = maybe(random, |random| number::<u8>(random, 128));
            RefClock::Ptp(Grandmaster::Id { id, domain })
        }
    }
}

fn some_mediaclk(random: &mut Random) -> MediaClock {
    match random.below(3) {
        0 => MediaClock::Sender,
        1 => MediaClock::Direct { offset: number(random, 1 << 32) },
        _ => MediaClock::Other("direct=0 rate=1000/1001".into()),
    }
}

fn some_leg(random: &mut Random, is_ipv4: bool, unlike: u8) -> Leg {
    let address = |random: &mut Random, group: bool| -> IpAddr {
        let [a, b]: [u8; 2] = std::array::from_fn(|_| number(random, 256));
        match (is_ipv4, group) {
            (true, true) => Ipv4Addr::new(239, unlike, a, b).into(),
            (true, false) => Ipv4Addr::new(198, 18, a, b).into(),
            (false, true) => {
                Ipv6Addr::new(0xff3e, unlike.into(), 0, 0, 0, 0, a.into(), b.into()).into()
            }
            (false, false) => {
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, a.into(), 1 + u16::from(b)).into()
            }
        }
    };
    let destination = address(random, true);
    let mut sources: Vec<IpAddr> = Vec::new();
    for _ in 0..random.below(3) {
        let source = address(random, false);
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    Leg { destination, ttl: is_ipv4.then(|| number(random, 256)), sources }
}

fn some_session(random: &mut Random) -> Session {
    let count: u8 = number(random, 5);
    let media: Vec<Media> = (0..count)
        .map(|index| {
            let is_ipv4 = random.chance(700);
            let essence = match random.below(3) {
                0 => Essence::Audio(some_audio(random)),
                1 => Essence::Ancillary(some_ancillary(random)),
                _ => Essence::Video(some_video(random)),
            };
            let two = random.chance(200);
            let legs = (0..=u8::from(two)).map(|leg| some_leg(random, is_ipv4, 2 * index + leg));
            Media {
                legs: legs.collect(),
                mid: Some(format!("m{index}")).filter(|_| index < 2 || index % 2 == 0),
                port: 1 + number::<u16>(random, 65_535),
                payload_type: 96 + number::<u8>(random, 32),
                refclks: (0..random.below(3)).map(|_| some_refclk(random)).collect(),
                mediaclk: maybe(random, some_mediaclk),
                max_udp: pick(random, &[1460, 8960, 1300]),
                ts_mode: maybe(random, word::<TsMode>),
                ts_delay_us: maybe(random, |random| number(random, 1 << 32)),
                essence,
            }
        })
        .collect();
    let is_grouped = media.len() > 1 && random.chance(500);
    let group = Group { mids: vec!["m0".into(), "m1".into()] };
    Session {
        origin: Origin {
            user: pick(random, &["-", "ali"]).into(),
            id: random.below(u64::MAX),
            version: random.below(u64::MAX),
            host: pick(random, &["198.18.0.1", "2001:db8::1", "host.example"]).into(),
        },
        name: pick(random, &["-", "camera 1", "Kamera für später", "a=b:c d"]).into(),
        information: maybe(random, |_| "more about it".into()),
        groups: is_grouped.then_some(group).into_iter().collect(),
        media,
    }
}

#[test]
fn sessions_are_written_and_read_as_the_same() {
    for seed in 0..2_000 {
        let session = some_session(&mut Random::new(seed));
        let text = session.emit();
        let reading = read(text.as_bytes());
        let worst = reading.findings.iter().find(|it| it.severity == Severity::Error);
        if let Some(error) = worst.filter(|error| error.code != "parameter-missing") {
            assert_eq!(error.code, "no-media", "SEED={seed}: {error}\n{text}");
        }
        assert_eq!(reading.session.as_ref(), Some(&session), "SEED={seed}\n{text}");
        assert_eq!(reading.places.len(), session.media.len());
    }
}

/// Changes `text` somewhere.
fn damage(random: &mut Random, text: &mut Vec<u8>) {
    let at = |random: &mut Random, text: &[u8]| number::<usize>(random, text.len().max(1) as u64);
    let (here, there) = (at(random, text), at(random, text));
    if text.is_empty() {
        return text.push(b'v');
    }
    match random.below(8) {
        0 => text[here] ^= 1 << random.below(8),
        1 => text[here] = number(random, 256),
        2 => drop(text.drain(here.min(there)..here.max(there))),
        3 => text.truncate(here),
        4 => {
            let piece = text[here.min(there)..here.max(there)].to_vec();
            text.splice(here..here, piece);
        }
        5 => {
            let strange: &[u8] = pick(
                random,
                &[
                    b"\r",
                    b"\n",
                    b"=",
                    b":",
                    b";",
                    b"/",
                    b" ",
                    b"\0",
                    b"4294967296",
                    b"-1",
                    b"\xff",
                    b"a=fmtp:96 ",
                    b"m=video 0 RTP/AVP 96\n",
                    "ß".as_bytes(),
                    b"99999999999999999999",
                ],
            );
            text.splice(here..here, strange.iter().copied());
        }
        6 => text.swap(here, there),
        _ => {
            // One number becomes another.
            if let Some(digit) = text[here..].iter_mut().find(|octet| octet.is_ascii_digit()) {
                *digit = b'0' + number::<u8>(random, 10);
            }
        }
    }
}

#[test]
fn no_text_does_harm() {
    let samples: Vec<&[u8]> =
        GOOD.iter().map(|(_, text)| text.as_bytes()).chain([FFMPEG.as_bytes()]).collect();
    let (mut whole, mut refused) = (0, 0);
    for seed in 0..30_000 {
        let mut random = Random::new(seed);
        let mut text = pick(&mut random, &samples).to_vec();
        for _ in 0..=random.below(6) {
            damage(&mut random, &mut text);
        }
        text.truncate(OCTETS_MAX);
        let lines = text.split(|&octet| octet == b'\n').count();
        let reading = read(&text);
        assert!(reading.findings.iter().all(|it| (1..=lines).contains(&it.line)), "SEED={seed}");
        assert!(reading.findings.iter().all(|it| it.to_string().len() < 600), "SEED={seed}");
        match reading.session {
            None => refused += 1,
            Some(session) => {
                whole += 1;
                assert_eq!(reading.places.len(), session.media.len());
                // What was read can be written, and is the same as far as SDP can say it.
                let again = read(session.emit().as_bytes()).session.unwrap();
                assert_eq!(again.media, session.media, "SEED={seed}\n{}", session.emit());
                for media in &session.media {
                    let Essence::Video(video) = &media.essence else { continue };
                    let Some(packets) = numbers::packets(video, media.max_udp) else { continue };
                    for &sender in SenderType::ALL {
                        let _ = numbers::bounds(video, sender, packets.by_line, media.max_udp);
                    }
                }
            }
        }
    }
    assert!(whole > 5_000 && refused > 5_000, "{whole} read, {refused} refused");
}
