//! The receiving service: frames of packets in, frames of pictures out.
//!
//! Takes what the steering program selects for it, keeps UDP to its port, and gives the payload
//! to the [`Assembler`], with the path that it came by; complete frames go to the [`Sink`]. Every packet ends here: taken, or
//! dropped with its reason. What is lost on the way is counted to the packet; see
//! [`super::redundancy`].

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Refusal, Selector};
use tidegate_dataplane::wire::ethernet::Vlan;
use tidegate_dataplane::wire::packet::{Packet, Transport};
use tidegate_dataplane::wire::{Fragment, Rtp};
use tidegate_runtime::burst::{Burst, Delivery};
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::Counter;
use tidegate_runtime::port::PortFacts;
use tidegate_runtime::service::{Build, BuildError, Service, ServiceError};
use tidegate_runtime::verdict::{DropReason, Verdict};

use super::membership::{self, Membership};
use super::outcome::Outcome;
use super::programme::cadence::Fields;
use super::programme::receive::{self, Came, Ears, Wanted};
use super::redundancy::{self, Paths, Skew, SkewClass, Tell};
use super::route::Tag;
use super::sdp::receive::{Asked, AskedPath, Stream};
use super::sink::{self, Counts, Offered, Sink};
use super::timing::arrivals::{Arrivals, Expected, Stamp};
use super::timing::export::ArrivalExport;
use super::timing::meter::Reference;
use super::timing::schedule::Schedule;
use super::timing::{Class, Rate};
use super::video::assembler::{Assembler, Incomplete, OPEN_FRAMES, Stats, open_frames};
use super::video::format::{Depth, Sampling, Scan};
use crate::registry::{Selects, Unfit};

/// How often the sink's counts are looked at while no packet comes. Soon enough for whoever
/// watches, rare enough for a shard that wants to sleep.
pub(super) const LOOK_NS: u64 = 5_000_000;

/// How long a drain waits for the sink's thread. A disk that needs longer for its last frames
/// loses them; the runtime's own limit for a drain is longer.
pub(super) const FINISH_NS: u64 = 500_000_000;

/// The receiver's options table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// An SDP that says what follows here, up to the payload type, and which packets come.
    #[serde(default)]
    pub sdp: Option<PathBuf>,
    /// Which medium of it, where it has several: its `mid`, or its number from 0.
    #[serde(default)]
    pub media: Option<Box<str>>,
    /// UDP port that the video is sent to.
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
    /// The VLAN that the first path's packets are tagged with; any, or none, where it is missing.
    #[serde(default)]
    pub vlan: Option<Tag>,
    /// Whether its groups are joined.
    #[serde(default)]
    pub membership: membership::Wish,
    /// The second path, ST 2022-7.
    #[serde(default)]
    pub second: Option<Second>,
    /// How far one path may be behind the other: a class of ST 2022-7.
    #[serde(default)]
    pub skew_class: Option<SkewClass>,
    /// The same in microseconds.
    #[serde(default)]
    pub skew_us: Option<u32>,
    /// Pixels of a line.
    #[serde(default)]
    pub width: Option<u32>,
    /// Lines of a frame.
    #[serde(default)]
    pub height: Option<u32>,
    /// Frames per second.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Bits per sample.
    #[serde(default)]
    pub depth: Option<Depth>,
    /// Which samples.
    #[serde(default)]
    pub sampling: Option<Sampling>,
    /// Fields or not.
    #[serde(default)]
    pub scan: Option<Scan>,
    /// RTP payload type of the video.
    #[serde(default)]
    pub payload_type: Option<u8>,
    /// What becomes of frames with pixels missing.
    #[serde(default)]
    pub incomplete: Incomplete,
    /// What to do with frames.
    #[serde(default)]
    pub sink: sink::Kind,
    /// Where the sink writes, if it does.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Which frames the sink `png` makes pictures of; the newest where it is missing.
    #[serde(default)]
    pub pictures: Option<sink::Pictures>,
    /// ST 2110-21 class that the sender claims.
    #[serde(default)]
    pub class: Option<Class>,
    /// Its TROFFSET in microseconds; TROdefault where it is missing.
    #[serde(default)]
    pub troffset_us: Option<u32>,
    /// What its packets' times are measured from.
    #[serde(default)]
    pub reference: Reference,
    /// The sound beside.
    #[serde(default)]
    pub audio: Option<receive::Audio>,
    /// The ancillary data beside.
    #[serde(default)]
    pub ancillary: Option<receive::Ancillary>,
}

/// The second path's options table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// UDP port that it is sent to; the first path's where it is missing.
    #[serde(default)]
    pub port: Option<u16>,
    /// Address that it is sent to.
    #[serde(default)]
    pub destination: Option<IpAddr>,
    /// Address that it comes from.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// The interface that it comes in by.
    #[serde(default)]
    pub interface: Option<Box<str>>,
    /// The VLAN that its packets are tagged with.
    #[serde(default)]
    pub vlan: Option<Tag>,
}

impl Second {
    /// What it asks for.
    pub(super) const fn asked(&self) -> AskedPath {
        let Self { port, destination, source, .. } = *self;
        AskedPath { port, destination, source }
    }
}

impl Options {
    /// What there is beside the pictures.
    fn wanted(&self, stream: &Stream) -> Result<Wanted<'_>, Unfit> {
        Ok(Wanted {
            sdp: self.sdp.as_deref(),
            audio: self.audio.as_ref(),
            ancillary: self.ancillary.as_ref(),
            pictures: Some(Fields::new(stream.spec.rate, stream.spec.scan)),
            skew: self.skew()?,
            vlan: self.vlan,
        })
    }

    /// How the paths of their stream are told.
    fn tells(&self, stream: &Stream) -> Vec<Tell> {
        let interface = self.interface.as_deref();
        receive::tells(&stream.arrivals, interface, self.vlan, self.second.as_ref())
    }

    /// Joins the groups of all streams, if that is wanted.
    fn join(&self, stream: &Stream, ports: &[PortFacts]) -> Result<Membership, BuildError> {
        let beside = self.wanted(stream).and_then(|wanted| wanted.tells());
        let tells = [self.tells(stream), beside.map_err(BuildError::new)?].concat();
        Membership::of(self.membership, tells, ports).map_err(BuildError::new)
    }

    /// How far one path may be behind the other.
    fn skew(&self) -> Result<Skew, Unfit> {
        skew(self.skew_class, self.skew_us)
    }

    /// The stream that they describe, themselves or by their SDP.
    fn stream(&self) -> Result<Stream, Unfit> {
        let stream = self.described()?;
        self.skew()?;
        if self.second.is_some() && stream.arrivals.len() < 2 {
            let found = "a second path, while the SDP has one";
            let refusal = Refusal::new(found, "an SDP with a DUP group, or none");
            return Err(Unfit { key: "second", refusal });
        }
        let untold = |untold: redundancy::paths::Untold| Unfit {
            key: if self.sdp.is_some() { "sdp" } else { "second" },
            refusal: Refusal::new(untold.to_string(), "paths that differ"),
        };
        Paths::check(&self.tells(&stream)).map_err(untold)?;
        Ok(stream)
    }

    /// The same, as they or their SDP describe it.
    fn described(&self) -> Result<Stream, Unfit> {
        let Self { port, width, height, rate, depth, sampling, scan, payload_type, .. } = *self;
        let Self { class, troffset_us, destination, source, .. } = *self;
        let second = self.second.as_ref().map(Second::asked);
        let (sdp, media) = (self.sdp.as_deref(), self.media.as_deref());
        Stream::of(&Asked {
            sdp,
            media,
            port,
            destination,
            source,
            second,
            width,
            height,
            rate,
            depth,
            sampling,
            scan,
            payload_type,
            class,
            troffset_us,
        })
    }
}

/// How far one path may be behind the other, by either key.
pub(super) fn skew(class: Option<SkewClass>, us: Option<u32>) -> Result<Skew, Unfit> {
    let unfit = |found: String, allowed: &str| Unfit {
        key: "skew_us",
        refusal: Refusal::new(found, allowed),
    };
    match (class, us) {
        (class, None) => Ok(class.unwrap_or_default().skew()),
        (None, Some(us)) => Skew::of_us(us).map_err(|_| {
            unfit(us.to_string(), "1 to 1000000, or skew_class = \"A\", \"B\", \"C\" or \"D\"")
        }),
        (Some(_), Some(us)) => Err(unfit(format!("{us}, beside skew_class"), "either of the two")),
    }
}

/// The first dynamic payload type, which most senders use.
pub(super) const fn payload_type() -> u8 {
    96
}

/// Receives one stream.
#[derive(Debug)]
pub struct StreamReceive {
    paths: Paths,
    /// Held, and so a member, for as long as it runs.
    _membership: Membership,
    assembler: Assembler,
    /// Sound and ancillary data.
    ears: Ears,
    sink: Sink,
    arrivals: Arrivals,
    timing: ArrivalExport,
    class: Class,
    reasons: Reasons,
    counters: [Counter; COUNTERS.len()],
    /// What the counters have.
    counted: [u64; COUNTERS.len()],
    /// Of two paths.
    by_path: Option<redundancy::Export>,
    frames_dropped: u64,
    /// Frames that the sink took.
    frames_offered: u64,
}

#[derive(Debug)]
pub(super) struct Reasons {
    pub(super) malformed: DropReason,
    pub(super) not_ours: DropReason,
    wrong_format: DropReason,
    copy: DropReason,
    duplicate: DropReason,
    too_late: DropReason,
    stranger: DropReason,
}

impl Reasons {
    pub(super) fn register(build: &mut Build<'_>) -> Self {
        let mut reason = |name, help| build.drop_reason(name, help);
        Self {
            malformed: reason("malformed", "Frames dropped: no Ethernet, IP, UDP, RTP and essence"),
            not_ours: reason("not_ours", "Frames dropped: another protocol or port, or fragments"),
            wrong_format: reason("wrong_format", "Frames dropped: of another format"),
            copy: reason("copy", "Frames dropped: the other path had brought the same"),
            duplicate: reason("duplicate", "Frames dropped: their number was seen before"),
            too_late: reason("too_late", "Frames dropped: given up before they came"),
            stranger: reason("stranger", "Frames dropped: from another source"),
        }
    }
}

impl Reasons {
    /// The fate of a packet of which that became.
    pub(super) const fn of(&self, outcome: Outcome) -> Verdict {
        use Outcome as Of;
        Verdict::Drop(match outcome {
            Of::Taken => return Verdict::Consumed,
            Of::Malformed => self.malformed,
            Of::WrongFormat => self.wrong_format,
            Of::Copy => self.copy,
            Of::Duplicate => self.duplicate,
            Of::TooLate => self.too_late,
            Of::Stranger => self.stranger,
        })
    }
}

/// Names and help texts, in the order of [`StreamReceive::values`].
const COUNTERS: [(&str, &str); 14] = [
    ("packets_received", "Packets of the stream, each number once"),
    ("packets_lost", "Packets that never came, or after they were given up"),
    ("packets_duplicate", "Packets that came again"),
    ("packets_reordered", "Packets that came after later ones"),
    ("restarts", "Times that the source began anew"),
    ("format_changes", "Times that the source changed to another format"),
    ("frames_received", "Frames complete"),
    ("frames_incomplete", "Frames given up with pixels missing"),
    ("octets_missing", "Octets of pixels that were missing in incomplete frames"),
    ("frames_cut", "Frames that began before or ended after we listened"),
    ("frames_dropped", "Frames not kept: the sink was behind"),
    ("frames_verified", "Frames equal to the pattern, every bit"),
    ("frames_wrong", "Frames different from the pattern, or at the wrong time"),
    ("frames_written", "Frames that the sink hashed or wrote"),
];

impl Service for StreamReceive {
    const KIND: &'static str = "stream-receive";
    const READS_PARTS: bool = true;
    type Options = Options;

    fn build(options: &Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        let stream = options.stream().map_err(BuildError::new)?;
        let format = stream.spec.check().map_err(BuildError::new)?;
        let paths = Paths::on(options.tells(&stream), build.ports()).map_err(BuildError::new)?;
        let pictures = sink::Pictures::of(options.sink, options.pictures, stream.colours);
        let sink = Sink::start(options.sink, options.path.as_deref(), pictures, format)
            .map_err(BuildError::new)?;
        // What the sender cuts an image into is its own choice; its packets are only to be checked.
        let images = format.images();
        let (class, offset_us) = (stream.class, stream.troffset_us);
        Schedule::new(images, class.read(), offset_us).map_err(BuildError::new)?;
        let expected = Expected { images, class, offset_us, reference: options.reference };
        let rate = format.rate().to_string();
        let (payload_type, incomplete) = (stream.payload_type, options.incomplete);
        let assembler = if paths.count() > 1 {
            let skew = options.skew().map_err(BuildError::new)?;
            let frames = sink::FRAMES - OPEN_FRAMES + open_frames(&format, skew);
            Assembler::of_two_paths(format, payload_type, incomplete, frames, skew)
        } else {
            Assembler::new(format, payload_type, incomplete, sink::FRAMES)
        };
        let wanted = options.wanted(&stream).map_err(BuildError::new)?;
        let ears = Ears::new(build, &wanted)?;
        Ok(Self {
            ears,
            arrivals: Arrivals::new(expected),
            timing: ArrivalExport::register(build, class, &format.to_string(), &rate),
            class,
            assembler,
            by_path: (paths.count() > 1)
                .then(|| redundancy::Export::register(build, paths.words())),
            paths,
            _membership: options.join(&stream, build.ports())?,
            sink,
            reasons: Reasons::register(build),
            counters: COUNTERS.map(|(name, help)| build.counter(name, help)),
            counted: [0; COUNTERS.len()],
            frames_dropped: 0,
            frames_offered: 0,
        })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut burst = Burst::default();
        // For packets in several chunks, copied together: their pixels are copied in any case.
        let longest = cx.ports().iter().map(|port| port.packet_capacity_octets).max();
        let mut memory = Vec::with_capacity(longest.unwrap_or(0));
        loop {
            // While the sink works, its counts change without a packet; and a gap that no path
            // fills is given up when its time has come.
            let waits = self.sink_works() || self.assembler.waits() || self.ears.sinks_work();
            let until_ns = if waits { cx.now_ns() + LOOK_NS } else { u64::MAX };
            if cx.recv_until(&mut burst, until_ns).await == Delivery::Drained {
                break;
            }
            for frame in burst.frames.drain(..) {
                let port = frame.port();
                let verdict = self.judge(port, frame.contiguous(&mut memory), burst.at_ns, cx);
                cx.settle(frame, verdict);
            }
            self.assembler.tick(cx.now_ns());
            self.ears.tick(cx.now_ns());
            self.deliver();
            self.publish(cx);
        }
        self.assembler.finish();
        self.deliver();
        self.ears.end();
        let deadline_ns = cx.now_ns() + FINISH_NS;
        while !(self.sink.finished() & self.ears.finished()) {
            if cx.now_ns() > deadline_ns {
                tracing::warn!("the sink did not finish in time; its last frames are lost");
                break;
            }
            futures_lite::future::yield_now().await;
        }
        self.publish(cx);
        Ok(())
    }
}

impl Selects for StreamReceive {
    fn selectors(options: &Options) -> Result<Vec<Selector>, Unfit> {
        let stream = options.stream()?;
        let mut selectors = stream.selectors();
        selectors.extend(options.wanted(&stream)?.check(&options.tells(&stream))?);
        Ok(selectors)
    }
}

impl StreamReceive {
    /// Takes one packet.
    fn judge(&mut self, port: u16, octets: &[u8], at_ns: u64, cx: &mut ShardContext) -> Verdict {
        let Ok(packet) = Packet::parse(octets) else {
            return Verdict::Drop(self.reasons.malformed);
        };
        let (Transport::Udp(udp), Fragment::Whole) = (packet.transport(), packet.fragment()) else {
            return Verdict::Drop(self.reasons.not_ours);
        };
        let (to, from) = (packet.destination(), packet.source());
        let tag = packet.ethernet().tags().next().map(Vlan::id);
        let Some(path) = self.paths.of(port, udp.destination(), to, from, tag) else {
            let udp_port = udp.destination();
            let came = Came { shard_port: port, udp_port, to, from, tag, at_ns };
            let outcome = self.ears.packet(&came, udp.payload());
            return outcome.map_or(Verdict::Drop(self.reasons.not_ours), |it| self.reasons.of(it));
        };
        let outcome = self.assembler.packet_by(path, udp.payload(), at_ns);
        self.deliver();
        if outcome == Outcome::Taken {
            self.measure(udp.payload(), at_ns, cx);
        }
        self.reasons.of(outcome)
    }

    /// Gives complete frames to the sink.
    #[inline]
    fn deliver(&mut self) {
        while let Some(frame) = self.assembler.take_delivered() {
            match self.sink.offer(frame) {
                Offered::Taken => self.frames_offered += 1,
                Offered::Unused(memory) => self.give_back(memory),
                Offered::Behind(memory) => {
                    self.frames_dropped += 1;
                    self.give_back(memory);
                }
            }
            while let Some(memory) = self.sink.returned() {
                self.assembler.give_back(memory);
            }
        }
    }

    fn give_back(&mut self, memory: Option<Vec<u8>>) {
        if let Some(memory) = memory {
            self.assembler.give_back(memory);
        }
    }

    /// Puts a packet of the stream on record. Its time is that of the turn in which it was found:
    /// it came then or, at most as long as a turn is, before.
    #[inline]
    fn measure(&mut self, payload: &[u8], at_ns: u64, cx: &mut ShardContext) {
        let Ok(rtp) = Rtp::parse(payload) else { return };
        let stamp =
            Stamp { sequence: rtp.sequence(), timestamp: rtp.timestamp(), marker: rtp.marker() };
        if let Some(arrived) = self.arrivals.packet(at_ns, cx.tai_at_zero_ns(), stamp) {
            if let Some(meter) = self.arrivals.meter() {
                self.timing.limit(cx, meter.limits().of_class(self.class));
            }
            self.timing.add(cx, &arrived);
        }
    }

    /// Whether the sink has frames that it has not counted.
    fn sink_works(&self) -> bool {
        self.frames_offered > self.sink.counts().total()
    }

    /// What [`COUNTERS`] should say now.
    fn values(&self) -> [u64; COUNTERS.len()] {
        let stats = self.assembler.stats();
        let Stats { packets, lost, duplicates, reordered, restarts, format_changes, .. } = stats;
        let Stats { frames, frames_incomplete, octets_missing, frames_cut, .. } = stats;
        let Counts { verified, wrong, written, failed, .. } = self.sink.counts();
        let dropped = self.frames_dropped + stats.frames_unstored + failed;
        [
            packets,
            lost,
            duplicates,
            reordered,
            restarts,
            format_changes,
            frames,
            frames_incomplete,
            octets_missing,
            frames_cut,
            dropped,
            verified,
            wrong,
            written,
        ]
    }

    fn publish(&mut self, cx: &mut ShardContext) {
        self.ears.publish(cx);
        let values = self.values();
        for ((&counter, value), counted) in self.counters.iter().zip(values).zip(&mut self.counted)
        {
            if value != *counted {
                cx.count(counter, value - *counted);
                *counted = value;
            }
        }
        if let Some(by_path) = &mut self.by_path {
            by_path.publish(cx, &self.assembler.counts());
        }
    }
}
