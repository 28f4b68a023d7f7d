//! Sound and ancillary data that are received, beside pictures or alone.
//!
//! A packet belongs to a stream by its UDP port and, where they are told, by its destination, its
//! source and its interface, and by nothing else: no stream takes what another was sent.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidegate_config::{Refusal, Selector};
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::Counter;
use tidegate_runtime::port::PortFacts;
use tidegate_runtime::service::{Build, BuildError};

use super::cadence::Fields;
use super::options;
use crate::registry::Unfit;
use crate::stream::ancillary::{self, Reader as DataReader};
use crate::stream::audio::sink::Offered;
use crate::stream::audio::{self, Format, Reader as SoundReader};
use crate::stream::outcome::Outcome;
use crate::stream::receiver::Second;
use crate::stream::redundancy::paths::Untold;
use crate::stream::redundancy::{Memory, Paths, Skew, Tell};
use crate::stream::route::Tag;
use crate::stream::sdp::essence::{self, AskedAudio, AskedData};
use crate::stream::sdp::receive::{Arrival, selectors};
use crate::stream::timing::Rate;
use crate::stream::video::format::Scan;

/// The sound of a receiver.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    /// Which medium of the SDP, where it has several with sound.
    #[serde(default)]
    pub media: Option<Box<str>>,
    /// UDP port that it is sent to.
    #[serde(default)]
    pub port: Option<u16>,
    /// Address that it is sent to, where no selectors say it.
    #[serde(default)]
    pub destination: Option<IpAddr>,
    /// Address that it comes from; any where it is missing.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// The interface that the first path comes in by; any where it is missing.
    #[serde(default)]
    pub interface: Option<Box<str>>,
    /// The second path, ST 2022-7.
    #[serde(default)]
    pub second: Option<Second>,
    /// Bits of a sample.
    #[serde(default)]
    pub depth: Option<audio::Depth>,
    /// Samples of a channel in a second.
    #[serde(default)]
    pub sample_rate: Option<u32>,
    /// Channels.
    #[serde(default)]
    pub channels: Option<u16>,
    /// Microseconds of sound in a packet. Packets of any length are taken.
    #[serde(default)]
    pub packet_time_us: Option<u32>,
    /// RTP payload type.
    #[serde(default)]
    pub payload_type: Option<u8>,
    /// What to do with it.
    #[serde(default)]
    pub sink: audio::sink::Kind,
    /// Where the sink writes, if it does.
    #[serde(default)]
    pub path: Option<PathBuf>,
}

/// The ancillary data of a receiver.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ancillary {
    /// Which medium of the SDP, where it has several with ancillary data.
    #[serde(default)]
    pub media: Option<Box<str>>,
    /// UDP port that they are sent to.
    #[serde(default)]
    pub port: Option<u16>,
    /// Address that they are sent to, where no selectors say it.
    #[serde(default)]
    pub destination: Option<IpAddr>,
    /// Address that they come from; any where it is missing.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// The interface that the first path comes in by; any where it is missing.
    #[serde(default)]
    pub interface: Option<Box<str>>,
    /// The second path, ST 2022-7.
    #[serde(default)]
    pub second: Option<Second>,
    /// Frames per second; the pictures' where there are some.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// RTP payload type.
    #[serde(default)]
    pub payload_type: Option<u8>,
    /// What to do with them.
    #[serde(default)]
    pub sink: ancillary::sink::Kind,
    /// Where the sink writes, if it does.
    #[serde(default)]
    pub path: Option<PathBuf>,
}

/// What a receiver is to take beside its pictures.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The SDP of all streams, where there is one.
    pub sdp: Option<&'a Path>,
    /// The sound.
    pub audio: Option<&'a Audio>,
    /// The ancillary data.
    pub ancillary: Option<&'a Ancillary>,
    /// Fields of the pictures beside, where there are some.
    pub pictures: Option<Fields>,
    /// How far one path may be behind the other.
    pub skew: Skew,
    /// The VLAN of the first paths.
    pub vlan: Option<Tag>,
}

/// What was described, checked.
struct Described {
    sound: Option<(Format, u8, Vec<Arrival>)>,
    data: Option<(Rate, u8, Vec<Arrival>)>,
}

impl Wanted<'_> {
    fn describe(&self) -> Result<Described, Unfit> {
        let sound = self.audio.map(|audio| {
            essence::sound(&AskedAudio {
                sdp: self.sdp,
                media: audio.media.as_deref(),
                port: audio.port,
                destination: audio.destination,
                source: audio.source,
                second: audio.second.as_ref().map(Second::asked),
                depth: audio.depth,
                sample_rate: audio.sample_rate,
                channels: audio.channels,
                packet_time_us: audio.packet_time_us,
                payload_type: audio.payload_type,
            })
        });
        let data = self.ancillary.map(|data| {
            let (rate, payload_type, arrivals) = essence::data(&AskedData {
                sdp: self.sdp,
                media: data.media.as_deref(),
                port: data.port,
                destination: data.destination,
                source: data.source,
                second: data.second.as_ref().map(Second::asked),
                rate: data.rate,
                payload_type: data.payload_type,
            })?;
            let scan = self.pictures.map_or(Scan::Progressive, |pictures| pictures.scan());
            let fields = options::settle(rate, Some(scan), self.pictures);
            let fields = fields.map_err(|error| Unfit {
                key: "ancillary",
                refusal: Refusal::new(error.to_string(), "a rate that is known"),
            })?;
            Ok((fields.rate(), payload_type, arrivals))
        });
        let described = Described { sound: sound.transpose()?, data: data.transpose()? };
        for (key, tells) in
            [("audio", self.sound_tells(&described)), ("ancillary", self.data_tells(&described))]
        {
            if !tells.is_empty() {
                Paths::check(&tells).map_err(|untold| unfit(key, &untold))?;
            }
        }
        Ok(described)
    }

    /// The packets of its streams, and how each is told, so that no two take the same.
    ///
    /// # Errors
    ///
    /// [`Unfit`], with the key that has to be changed.
    pub fn check(&self, pictures: &[Tell]) -> Result<Vec<Selector>, Unfit> {
        let described = self.describe()?;
        let (sound, data) = (self.sound_tells(&described), self.data_tells(&described));
        let overlap = |some: &[Tell], others: &[Tell]| {
            some.iter().any(|one| others.iter().any(|other| one.overlaps(other)))
        };
        let same = "a port, or a destination with its source, that no other stream has";
        if overlap(&sound, pictures) {
            let found = "packets that are the pictures', too";
            return Err(Unfit { key: "audio", refusal: Refusal::new(found, same) });
        }
        if overlap(&data, pictures) || overlap(&data, &sound) {
            let found = "packets that are another stream's, too";
            return Err(Unfit { key: "ancillary", refusal: Refusal::new(found, same) });
        }
        let arrivals = |it: &Option<(_, u8, Vec<Arrival>)>| match it {
            Some((_, _, arrivals)) => selectors(arrivals),
            None => Vec::new(),
        };
        let mut all = arrivals(&described.sound.map(|(_, it, arrivals)| ((), it, arrivals)));
        all.extend(arrivals(&described.data.map(|(_, it, arrivals)| ((), it, arrivals))));
        Ok(all)
    }

    /// How the paths of its streams are told.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn tells(&self) -> Result<Vec<Tell>, Unfit> {
        let described = self.describe()?;
        Ok([self.sound_tells(&described), self.data_tells(&described)].concat())
    }

    fn sound_tells(&self, described: &Described) -> Vec<Tell> {
        let (Some(audio), Some((_, _, arrivals))) = (self.audio, &described.sound) else {
            return Vec::new();
        };
        tells(arrivals, audio.interface.as_deref(), self.vlan, audio.second.as_ref())
    }

    fn data_tells(&self, described: &Described) -> Vec<Tell> {
        let (Some(data), Some((_, _, arrivals))) = (self.ancillary, &described.data) else {
            return Vec::new();
        };
        tells(arrivals, data.interface.as_deref(), self.vlan, data.second.as_ref())
    }
}

fn unfit(key: &'static str, untold: &Untold) -> Unfit {
    Unfit { key, refusal: Refusal::new(untold.to_string(), "paths that differ") }
}

/// How the paths of a stream are told.
pub(in crate::stream) fn tells(
    arrivals: &[Arrival],
    interface: Option<&str>,
    vlan: Option<Tag>,
    second: Option<&Second>,
) -> Vec<Tell> {
    let other = second.map(|second| (second.interface.as_deref(), second.vlan));
    let ins = [(interface, vlan), other.unwrap_or_default()];
    let ins = ins.into_iter().chain(std::iter::repeat((None, None)));
    let tell = |(arrival, (interface, vlan)): (&Arrival, (Option<&str>, Option<Tag>))| Tell {
        vlan: vlan.map(|Tag(vlan)| vlan.id()),
        interface: interface.map(Into::into),
        port: arrival.port,
        destination: arrival.leg.as_ref().map(|leg| leg.destination),
        sources: arrival.leg.as_ref().map(|leg| leg.sources.clone()).unwrap_or_default(),
    };
    arrivals.iter().zip(ins).map(tell).collect()
}

/// A packet's way in.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// Port of the shard.
    pub shard_port: u16,
    /// UDP port that it was sent to.
    pub udp_port: u16,
    /// Address that it was sent to.
    pub to: IpAddr,
    /// Where it comes from.
    pub from: IpAddr,
    /// The VLAN that it is tagged with.
    pub tag: Option<u16>,
    /// When it came, on the shard's clock.
    pub at_ns: u64,
}

/// Sound and ancillary data of a receiver, either or none.
#[derive(Debug)]
pub struct Ears {
    sound: Option<Sound>,
    data: Option<Data>,
}

#[derive(Debug)]
struct Sound {
    paths: Paths,
    reader: SoundReader,
    sink: audio::sink::Sink,
    /// Samples that came and that no sink took.
    dropped: u64,
    counted: Counted<11>,
}

#[derive(Debug)]
struct Data {
    paths: Paths,
    reader: DataReader,
    sink: ancillary::sink::Sink,
    counted: Counted<11>,
}

/// Counters that follow what others count.
#[derive(Debug)]
struct Counted<const N: usize>([(Counter, u64); N]);

impl<const N: usize> Counted<N> {
    fn register(build: &mut Build<'_>, names: [(&str, &str); N]) -> Self {
        Self(names.map(|(name, help)| (build.counter(name, help), 0)))
    }

    fn show(&mut self, cx: &mut ShardContext, values: [u64; N]) {
        for ((counter, shown), value) in self.0.iter_mut().zip(values) {
            if value != *shown {
                cx.count(*counter, value - *shown);
                *shown = value;
            }
        }
    }
}

const SOUND_COUNTERS: [(&str, &str); 11] = [
    ("audio_packets_received", "Packets of sound, each number once"),
    ("audio_packets_lost", "Packets of sound that never came, or after they were given up"),
    ("audio_packets_duplicate", "Packets of sound that came again"),
    ("audio_packets_reordered", "Packets of sound that came after later ones"),
    ("audio_restarts", "Times that the source of the sound began anew"),
    ("audio_samples_received", "Samples of each channel that came"),
    ("audio_samples_silent", "Samples of each channel in whose place there is silence"),
    ("audio_samples_dropped", "Samples of each channel not kept: the sink was behind"),
    ("audio_samples_verified", "Samples equal to the tone, every bit of every channel"),
    ("audio_samples_wrong", "Samples different from the tone, or at the wrong time"),
    ("audio_samples_written", "Samples of each channel that the sink hashed or wrote"),
];

const DATA_COUNTERS: [(&str, &str); 11] = [
    ("ancillary_packets_received", "Packets of ancillary data, each number once"),
    ("ancillary_packets_lost", "Packets of ancillary data that never came, or too late"),
    ("ancillary_packets_duplicate", "Packets of ancillary data that came again"),
    ("ancillary_packets_reordered", "Packets of ancillary data that came after later ones"),
    ("ancillary_restarts", "Times that the source of the ancillary data began anew"),
    ("ancillary_fields_received", "Frames or fields whose ancillary data ended"),
    ("anc_received", "ANC packets that are right"),
    ("anc_wrong_parity", "ANC packets dropped: parity of DID, SDID or data count"),
    ("anc_wrong_checksum", "ANC packets dropped: checksum"),
    ("anc_written", "ANC packets that the sink wrote"),
    ("anc_dropped", "ANC packets not kept: the sink was behind"),
];

impl Ears {
    /// Takes what is wanted.
    ///
    /// # Errors
    ///
    /// When it cannot be received as asked.
    pub fn new(build: &mut Build<'_>, wanted: &Wanted<'_>) -> Result<Self, BuildError> {
        let described = wanted.describe().map_err(BuildError::new)?;
        let (sound_tells, data_tells) =
            (wanted.sound_tells(&described), wanted.data_tells(&described));
        let paths = |tells: Vec<Tell>, ports: &[PortFacts]| {
            Paths::on(tells, ports).map_err(BuildError::new)
        };
        let memory = |paths: &Paths, packets_per_second: u64| match paths.count() {
            0 | 1 => Memory::ONE_PATH,
            _ => Memory::two_paths(wanted.skew, packets_per_second),
        };
        let sound = wanted.audio.zip(described.sound).map(|(audio, (format, payload_type, _))| {
            let paths = paths(sound_tells, build.ports())?;
            let rate = u64::from(format.spec().sample_rate);
            let memory = memory(&paths, rate.div_ceil(6));
            build.word("audio_format", "What the sound consists of", &[&format.to_string()]);
            let level = format.level().map_or("none".to_owned(), |level| level.to_string());
            let help = "Conformance level of ST 2110-30 that the sound is within";
            build.word("audio_level", help, &[&level]);
            let sink = audio::sink::Sink::start(audio.sink, audio.path.as_deref(), format);
            Ok::<_, BuildError>(Sound {
                paths,
                reader: SoundReader::of_paths(format, payload_type, audio::sink::BLOCKS, memory),
                sink: sink.map_err(BuildError::new)?,
                dropped: 0,
                counted: Counted::register(build, SOUND_COUNTERS),
            })
        });
        let data = wanted.ancillary.zip(described.data).map(|(data, (rate, payload_type, _))| {
            let paths = paths(data_tells, build.ports())?;
            let memory = memory(&paths, 1000);
            let sink = ancillary::sink::Sink::start(data.sink, data.path.as_deref());
            Ok::<_, BuildError>(Data {
                paths,
                reader: DataReader::of_paths(payload_type, rate, memory),
                sink: sink.map_err(BuildError::new)?,
                counted: Counted::register(build, DATA_COUNTERS),
            })
        });
        Ok(Self { sound: sound.transpose()?, data: data.transpose()? })
    }

    /// Takes the payload of a UDP datagram, if it is of one of its streams.
    pub fn packet(&mut self, came: &Came, payload: &[u8]) -> Option<Outcome> {
        let Came { shard_port, udp_port, to, from, tag, at_ns } = *came;
        if let Some(sound) = &mut self.sound
            && let Some(path) = sound.paths.of(shard_port, udp_port, to, from, tag)
        {
            let outcome = sound.reader.packet_by(path, payload, at_ns);
            sound.deliver();
            return Some(outcome);
        }
        let data = self.data.as_mut()?;
        let path = data.paths.of(shard_port, udp_port, to, from, tag)?;
        let sink = &mut data.sink;
        Some(data.reader.packet_by(path, payload, at_ns, |item| sink.offer(item)))
    }

    /// Time passes.
    pub fn tick(&mut self, now_ns: u64) {
        if let Some(sound) = &mut self.sound {
            sound.reader.tick(now_ns);
        }
        if let Some(data) = &mut self.data {
            data.reader.tick(now_ns);
        }
    }

    /// Whether a sink has something that it has not counted.
    pub fn sinks_work(&self) -> bool {
        self.sound.as_ref().is_some_and(|sound| sound.sink.works())
            || self.data.as_ref().is_some_and(|data| data.sink.works())
    }

    /// No more comes: what is open is ended and given to the sinks.
    pub fn end(&mut self) {
        if let Some(sound) = &mut self.sound {
            sound.reader.finish();
            sound.deliver();
        }
        if let Some(data) = &mut self.data {
            data.reader.finish();
            data.sink.end(data.reader.frames());
        }
    }

    /// Whether the sinks have done all that they had; to be asked after [`Self::end`] until they
    /// have.
    pub fn finished(&mut self) -> bool {
        let sound = self.sound.as_mut().is_none_or(|sound| sound.sink.finished());
        self.data.as_mut().is_none_or(|data| data.sink.finished()) && sound
    }

    /// Shows what was counted.
    pub fn publish(&mut self, cx: &mut ShardContext) {
        if let Some(sound) = &mut self.sound {
            let audio::reader::Stats { packets, samples, samples_silent, samples_unstored } =
                sound.reader.stats();
            let audio::sink::Counts { verified, wrong, written, failed } = sound.sink.counts();
            let values = [
                packets.packets,
                packets.lost,
                packets.duplicates,
                packets.reordered,
                packets.restarts,
                samples,
                samples_silent,
                samples_unstored + sound.dropped + failed,
                verified,
                wrong,
                written,
            ];
            sound.counted.show(cx, values);
        }
        if let Some(data) = &mut self.data {
            let ancillary::reader::Stats { packets, fields, anc, wrong_parity, wrong_checksum } =
                data.reader.stats();
            let values = [
                packets.packets,
                packets.lost,
                packets.duplicates,
                packets.reordered,
                packets.restarts,
                fields,
                anc,
                wrong_parity,
                wrong_checksum,
                data.sink.written(),
                data.sink.dropped(),
            ];
            data.counted.show(cx, values);
        }
    }
}

impl Sound {
    /// Gives blocks that are done with to the sink, and memory that it has done with back.
    fn deliver(&mut self) {
        while let Some(block) = self.reader.take_delivered() {
            match self.sink.offer(block) {
                Offered::Taken => {}
                Offered::Unused(block) => self.reader.give_back(block.octets),
                Offered::Behind(block) => {
                    self.dropped += (block.len() - block.missing()) as u64;
                    self.reader.give_back(block.octets);
                }
            }
            while let Some(block) = self.sink.returned() {
                self.reader.give_back(block.octets);
            }
        }
    }
}
