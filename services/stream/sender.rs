//! The sending service: pictures in, packets out, each group at its time.
//!
//! ```text
//!   wait for its start ─► for each group: take frames, build in place, wait, send, one wake-up ─► k+1
//!                                                                                │
//!                                             meter: VRX, C_INST ◄── when it was ┘
//! ```
//!
//! Frame `k` is read at `k * T + TROFFSET` of TAI, whoever sends it and whenever it started: two
//! senders of the same rate are in step. After a stall nothing is sent in a burst; see
//! [`super::timing::pace`]. A drain ends between frames, so that no receiver sees half of one.
//!
//! What left when is measured by the sender itself, by the clock at each wake-up: its packets are
//! handed over then, and what a driver or a virtual link makes of them is not seen here.

use std::net::SocketAddr;

use serde::Deserialize;
use tidegate_config::{Refusal, Selector};
use tidegate_runtime::burst::{Delivery, Frames};
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::{DropReason, Word};
use tidegate_runtime::service::{Build, BuildError, Service, ServiceError};
use tidegate_runtime::verdict::Verdict;

use super::departure::{Checksum, Departure, LaunchTime};
use super::header::{Header, Marks};
use super::programme::cadence::Fields;
use super::programme::lanes::{Common, JOIN_NS};
use super::programme::{Lanes, options};
use super::receiver::payload_type;
use super::redundancy::split::{Second, Split};
use super::route::{Counts, Dscp, Mac, Route, Tag, Ttl, Way, room};
use super::sdp::describe::Described;
use super::source::{End, PATTERN, Ready, Source, Step};
use super::timing::class::GROUP_PACKETS_MAX;
use super::timing::export::{About, Basis};
use super::timing::meter::Reference;
use super::timing::pace::{Next, Timing};
use super::timing::schedule::Schedule;
use super::timing::{Class, Export, Meter, Pacer, Rate};
use super::video::format::{Depth, Format, Sampling, Scan, Spec};
use super::video::packetizer::{Field, Packetizer};
use super::video::packing::{Packets, Packing};
use crate::registry::{Selects, Unfit};

mod counters;
mod fit;

use counters::Counters;
pub use fit::Error;
pub(super) use fit::{choose_port, identity};
use fit::{open_second, patience, second_port};

/// How long before its start a frame is prepared: its picture drawn and its first group built.
/// That takes some 20 microseconds; much more would only hold frames.
const PREPARE_NS: u64 = 100_000;

/// How often the first picture of a source that has to read it is looked for: no sooner would it be
/// sent than at the next frame.
const FIRST_NS: u64 = 1_000_000;

/// How long an unpaced sender waits for a picture. It takes all that the thread reads; less would
/// ask for what cannot be there.
const NEXT_NS: u64 = 50_000;

/// How long to wait when the pool has no frame: completions come in microseconds.
const POOL_WAIT_NS: u64 = 10_000;

/// The sender's options table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where to: address and UDP port of a receiver or a group.
    pub destination: SocketAddr,
    /// From where: our address on the interface, and a UDP port.
    pub source_address: SocketAddr,
    /// The interface to send on; needed where the shard has more than one.
    #[serde(default)]
    pub interface: Option<Box<str>>,
    /// Link address of the next hop; as the kernel's routes and neighbours say where it is missing.
    #[serde(default)]
    pub destination_mac: Option<Mac>,
    /// VLAN that packets are tagged with.
    #[serde(default)]
    pub vlan: Option<Tag>,
    /// Differentiated services code point.
    #[serde(default)]
    pub dscp: Dscp,
    /// Time to live, or hop limit.
    #[serde(default)]
    pub ttl: Ttl,
    /// The second path, ST 2022-7.
    #[serde(default)]
    pub second: Option<Second>,
    /// Pixels of a line.
    pub width: u32,
    /// Lines of a frame.
    pub height: u32,
    /// Frames per second.
    pub rate: Rate,
    /// Bits per sample.
    pub depth: Depth,
    /// Which samples.
    #[serde(default)]
    pub sampling: Sampling,
    /// Fields or not.
    #[serde(default)]
    pub scan: Scan,
    /// How packets are filled.
    #[serde(default)]
    pub packing: Packing,
    /// `pattern`, `-` for standard input, or the path of a file or FIFO: Y4M or raw pgroups.
    #[serde(default = "pattern")]
    pub source: Box<str>,
    /// The longest file that is held in memory, in MiB as pgroups; longer ones are read ahead.
    #[serde(default = "clip_mib")]
    pub clip_mib: u32,
    /// ST 2110-21 class, which bounds bursts and head start.
    #[serde(default)]
    pub class: Class,
    /// TROFFSET of ST 2110-21 in microseconds; TROdefault where it is missing.
    #[serde(default)]
    pub troffset_us: Option<u32>,
    /// RTP payload type.
    #[serde(default = "payload_type")]
    pub payload_type: u8,
    /// RTP synchronisation source; random where it is missing.
    #[serde(default)]
    pub ssrc: Option<u32>,
    /// Send as fast as the ring takes packets: for measurements, never for receivers.
    #[serde(default)]
    pub unpaced: bool,
    /// Stop after so many frames.
    #[serde(default)]
    pub frames: Option<u64>,
    /// What its SDP says beside.
    #[serde(default)]
    pub sdp: Described,
    /// Whether packets have a UDP checksum.
    #[serde(default)]
    pub checksum: Checksum,
    /// Whether the card sends each packet at its own time.
    #[serde(default)]
    pub launch_time: LaunchTime,
    /// The sound beside.
    #[serde(default)]
    pub audio: Option<options::Audio>,
    /// The ancillary data beside.
    #[serde(default)]
    pub ancillary: Option<options::Ancillary>,
}

impl Options {
    /// What packets are told networks by.
    pub(super) fn marks(&self) -> Marks {
        Marks { vlan: self.vlan.map(|Tag(vlan)| vlan), dscp: self.dscp.0, ttl: self.ttl.0 }
    }

    /// The way that they ask for.
    pub(super) fn way(&self) -> Way {
        Way {
            destination: self.destination,
            source: self.source_address,
            destination_mac: self.destination_mac,
            marks: self.marks(),
        }
    }

    /// The fields that ancillary data belong to.
    fn fields(&self) -> Fields {
        Fields::new(self.rate, self.scan)
    }

    /// What pictures they ask for.
    pub(super) const fn spec(&self) -> Spec {
        let Self { width, height, sampling, depth, scan, rate, packing, .. } = *self;
        Spec { width, height, sampling, depth, scan, rate, packing }
    }
}

fn pattern() -> Box<str> {
    PATTERN.into()
}

/// A gibibyte, 8 s of 1080p25 at 10 bits. Less, and short loops keep a thread and a disk busy; more
/// would surprise a machine that also has packets to hold.
pub(super) const fn clip_mib() -> u32 {
    1024
}

/// What is said of the source, in the order of [`End`].
const SOURCE_STATES: [&str; 3] = ["playing", "ended", "broken"];

/// Sends one stream.
#[derive(Debug)]
pub struct StreamSend {
    port: usize,
    format: Format,
    route: Route,
    header: Header,
    packetizer: Packetizer,
    source: Source,
    schedule: Schedule,
    class: Class,
    departure: Departure,
    group_packets_max: u32,
    unpaced: bool,
    frames_max: u64,
    /// Number of the next packet.
    sequence: u32,
    /// Whether packets are numbered by their image, whatever was sent before: what another sender
    /// of the same source identifier does too, so that both are paths of one stream.
    numbers_by_image: bool,
    group: Frames,
    /// Sound and ancillary data.
    lanes: Lanes,
    second: Option<Split>,
    /// Packets of the present frame that no path took.
    unsent: u64,
    not_taken: DropReason,
    counters: Counters,
    source_state: Word,
    timing: Export,
}

impl Service for StreamSend {
    const KIND: &'static str = "stream-send";
    type Options = Options;

    fn build(options: &Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        let format = options.spec().check().map_err(BuildError::new)?;
        let port = choose_port(build.name(), options.interface.as_deref(), build.ports())
            .map_err(BuildError::new)?;
        let facts = &build.ports()[port];
        let packetizer = Packetizer::new(&identity(options.payload_type, options.ssrc)?, &format);
        let payload_octets = packetizer.payload_octets_max();
        Self::selectors(options).map_err(BuildError::new)?;
        let way = options.way();
        let route = Route::open(&way, facts, patience(build)).map_err(BuildError::new)?;
        let header = Header::new(route.flow(), payload_octets).map_err(BuildError::new)?;
        room::check(facts, &header, payload_octets).map_err(BuildError::new)?;
        let source = Source::open(&options.source, format, u64::from(options.clip_mib) << 20)
            .map_err(BuildError::new)?;
        let launch_time = if options.unpaced { LaunchTime::None } else { options.launch_time };
        let second = second_port(options, build)?;
        // Groups are handed over together, so both paths have launch times or none.
        let launch_time = match second {
            Some(other) if !build.ports()[other].tx.launch_time => LaunchTime::None,
            _ => launch_time,
        };
        let departure = Departure::new(options.checksum, launch_time, facts.tx, &header);
        let launches = departure.launches();
        tracing::info!(
            service = build.name(),
            checksum = departure.checksum_word(facts.tx),
            launch_times = departure.launches(),
            "packets leave"
        );
        let not_taken =
            build.drop_reason("not_taken", "Packets that were due and found no room to leave");
        let common = Common {
            port,
            facts,
            source_address: options.source_address,
            marks: options.marks(),
            checksum: options.checksum,
            launch_time,
            patience: patience(build),
        };
        let (audio, ancillary) = (options.audio.as_ref(), options.ancillary.as_ref());
        let lanes =
            Lanes::new(build, &common, audio, ancillary, Some(options.fields()), not_taken)?;
        // A group leaves room for what goes out with it.
        let held_frames_max =
            build.held_frames_max().saturating_sub(if lanes.is_empty() { 0 } else { 2 }).max(1);
        let class = options.class;
        let second = match second {
            Some(other) => Some(open_second(options, build, [port, other], launches, &packetizer)?),
            None => None,
        };
        let groups = 1 + u32::from(second.is_some());
        let held_frames_max = (held_frames_max / groups).max(1);
        let schedule = Schedule::new(format.images(), class.sent(), options.troffset_us)
            .map_err(BuildError::new)?;
        Ok(Self {
            port,
            schedule,
            class,
            timing: Export::register(
                build,
                About {
                    asked: class,
                    basis: if departure.launches() { Basis::LaunchTime } else { Basis::HandOver },
                    format: &format.to_string(),
                    rate: &format.rate().to_string(),
                },
            ),
            departure,
            group_packets_max: GROUP_PACKETS_MAX.min(held_frames_max),
            unpaced: options.unpaced,
            frames_max: options.frames.unwrap_or(u64::MAX),
            sequence: 0,
            numbers_by_image: options.ssrc.is_some(),
            group: Frames::new(),
            lanes,
            not_taken,
            second,
            unsent: 0,
            counters: Counters::register(build),
            source_state: build.word("source", "What became of its source", &SOURCE_STATES),
            format,
            route,
            header,
            packetizer,
            source,
        })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let Some(earliest_ns) = self.first_picture(cx).await else { return Ok(()) };
        let mut pacer = Pacer::new(self.schedule, self.class, earliest_ns, cx.tai_at_zero_ns());
        pacer.limit_groups(self.group_packets_max);
        if self.field_of(pacer.image()) > 0 {
            pacer.sent();
        }
        let first = pacer.image();
        self.sequence = self.number_of(first);
        let fields = u64::from(self.format.fields());
        self.lanes.begin(self.format.rate().frame_start_ns(first / fields));
        match self.unpaced {
            true => self.run_unpaced(cx, first).await,
            false => self.run_paced(cx, pacer).await,
        }
        Ok(())
    }
}

impl Selects for StreamSend {
    /// It receives nothing; here is only seen what does not go together.
    fn selectors(options: &Options) -> Result<Vec<Selector>, Unfit> {
        options.way().check()?;
        if let Some(second) = &options.second {
            second.way(options.marks()).check().map_err(|Unfit { key, refusal }| {
                let found = format!("{key} {}", refusal.found);
                Unfit { key: "second", refusal: Refusal::new(found, refusal.allowed) }
            })?;
        }
        if options.destination.is_ipv6() && options.checksum == Checksum::None {
            let found = "no checksum, while UDP over IPv6 always has one (RFC 8200, section 8.1)";
            let refusal = Refusal::new(found, "\"auto\" or \"full\"");
            return Err(Unfit { key: "checksum", refusal });
        }
        let (audio, ancillary) = (options.audio.as_ref(), options.ancillary.as_ref());
        if options.unpaced && (audio.is_some() || ancillary.is_some()) {
            let refusal = Refusal::new("true, beside sound or ancillary data", "false");
            return Err(Unfit { key: "unpaced", refusal });
        }
        options::check(audio, ancillary, Some(options.fields()))?;
        Ok(Vec::new())
    }
}

impl StreamSend {
    /// Waits for a picture to begin with; returns the earliest time at which its frame may start.
    /// `None` when there is none to come, or the shard drains.
    async fn first_picture(&mut self, cx: &mut ShardContext) -> Option<u64> {
        let ahead_ns = PREPARE_NS + self.departure.lead_ns();
        let earliest_ns = cx.now_ns() + ahead_ns + self.source.start_ns();
        let tai_ns = (earliest_ns + cx.tai_at_zero_ns()).saturating_sub(self.schedule.offset_ns());
        let number = self.format.rate().next_frame(tai_ns);
        loop {
            match self.source.ready(number) {
                Ready::Yes => return Some(earliest_ns.max(cx.now_ns() + ahead_ns)),
                Ready::Ended(end) => {
                    self.source_ended(cx, end);
                    return None;
                }
                Ready::NotYet => {
                    if cx.sleep_until(cx.now_ns() + FIRST_NS).await == Delivery::Drained {
                        return None;
                    }
                }
            }
        }
    }

    /// Goes on to the picture of an image. Both fields of a frame have the same.
    fn go_on(&mut self, image: u64) -> Step {
        match self.field_of(image) {
            0 => self.source.advance(image / u64::from(self.format.fields())),
            _ => Step::New,
        }
    }

    fn source_ended(&self, cx: &mut ShardContext, end: End) {
        cx.say(self.source_state, 1 + end as usize);
    }

    async fn run_paced(&mut self, cx: &mut ShardContext, mut pacer: Pacer) {
        let schedule = self.schedule.read_by(self.class.read());
        let mut meter = Meter::new(schedule, Reference::Epoch);
        self.timing.limit(cx, meter.limits().of_class(self.class));
        let ahead_ns = PREPARE_NS + self.departure.lead_ns();
        let mut sent = 0;
        while sent < self.frames_max && !cx.draining() {
            let now_ns = cx.now_ns() + self.departure.lead_ns();
            let Next { image, skipped, stepped } = pacer.next(now_ns, cx.tai_at_zero_ns());
            cx.count(self.counters.frames_skipped, skipped);
            cx.count(self.counters.clock_steps, u64::from(stepped));
            if self.field_of(image) > 0 && (skipped > 0 || stepped) {
                // No frame is begun with its second field.
                cx.count(self.counters.frames_skipped, 1);
                pacer.sent();
                continue;
            }
            if pacer.start_ns() > cx.now_ns() + ahead_ns {
                match self.lanes.rest_until(cx, pacer.start_ns() - ahead_ns).await {
                    Delivery::Drained => return,
                    // Asked again: the sleep may have been longer.
                    Delivery::TimedOut | Delivery::Received => continue,
                }
            }
            match self.go_on(image) {
                Step::New => {}
                Step::Again => cx.count(self.counters.frames_repeated, 1),
                Step::Ended(end) => return self.source_ended(cx, end),
            }
            let frames = self.send_paced(cx, image, &mut pacer, &mut meter).await;
            let Some(frames) = frames else { return };
            self.timing.add(cx, &meter.end());
            if cx.now_ns() > pacer.end_ns() {
                cx.count(self.counters.frames_late, 1);
            }
            pacer.sent();
            sent += frames;
            if sent >= self.frames_max {
                // What is heard while the last one is seen.
                let next = (image + 1) / u64::from(self.format.fields());
                let end_ns = self.format.rate().frame_start_ns(next);
                let end_ns = end_ns.saturating_sub(cx.tai_at_zero_ns());
                self.lanes.send_until(cx, end_ns.saturating_sub(self.departure.lead_ns())).await;
            }
        }
    }

    async fn run_unpaced(&mut self, cx: &mut ShardContext, first: u64) {
        let (mut sent, mut image) = (0, first);
        while sent < self.frames_max && !cx.draining() {
            match self.go_on(image) {
                Step::New => {}
                Step::Again => {
                    pause_until(cx, cx.now_ns() + NEXT_NS).await;
                    continue;
                }
                Step::Ended(end) => return self.source_ended(cx, end),
            }
            self.follow_the_route(cx);
            let mut work = self.work(image);
            while work.packet < self.format.packets_per_field() {
                let built = self.build_some(cx, &mut work, self.group_packets_max, None).await;
                if self.hand_over(cx, built).await.is_none() {
                    return;
                }
            }
            sent += self.count_sent(cx, image);
            image += 1;
        }
    }

    /// Which field of its frame an image is.
    fn field_of(&self, image: u64) -> u32 {
        u32::try_from(image % u64::from(self.format.fields())).expect("0 or 1")
    }

    /// Sends to where the next hop is now.
    fn follow_the_route(&mut self, cx: &mut ShardContext) {
        let Counts { mut changes, mut losses } = self.route.follow(&mut self.header);
        if let Some(second) = &mut self.second {
            let other = second.follow_the_route();
            changes += other.changes;
            losses += other.losses;
        }
        cx.count(self.counters.next_hop_changes, changes);
        cx.count(self.counters.next_hop_losses, losses);
    }

    /// All packets of an image are still to be built.
    fn work(&mut self, image: u64) -> Work {
        if self.numbers_by_image {
            self.sequence = self.number_of(image);
        }
        let (number, index) = (image / u64::from(self.format.fields()), self.field_of(image));
        Work {
            number,
            field: Field { index, timestamp: self.format.field_timestamp(number, index) },
            packets: self.format.packets(),
            packet: 0,
        }
    }

    /// The sequence number of an image's first packet, where none was ever skipped.
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
    fn number_of(&self, image: u64) -> u32 {
        (u128::from(image) * u128::from(self.format.packets_per_field())) as u32
    }

    /// An image was sent: counts its frame, if it is the last of it, and returns how many.
    fn count_sent(&mut self, cx: &mut ShardContext, image: u64) -> u64 {
        let frames = u64::from(self.field_of(image) + 1 == self.format.fields());
        if frames > 0 && std::mem::take(&mut self.unsent) == 0 {
            cx.count(self.counters.frames_sent, frames);
        }
        frames
    }

    /// Sends an image, each group when `pacer` says so, less what it is handed over ahead. Returns
    /// the frames that end with it, or `None` at the end, on a link that takes nothing.
    async fn send_paced(
        &mut self,
        cx: &mut ShardContext,
        image: u64,
        pacer: &mut Pacer,
        meter: &mut Meter,
    ) -> Option<u64> {
        let lead_ns = self.departure.lead_ns();
        self.follow_the_route(cx);
        let mut work = self.work(image);
        while work.packet < self.format.packets_per_field() {
            let packet = work.packet;
            let wanted = pacer.allotment().group_packets;
            let built = self.build_some(cx, &mut work, wanted, Some(pacer)).await;
            let due_ns = pacer.due_ns(packet, built);
            let hand_over_ns = due_ns.saturating_sub(lead_ns);
            self.lanes.send_until(cx, hand_over_ns.saturating_sub(JOIN_NS)).await;
            self.lanes.build_by(cx, hand_over_ns);
            pause_until(cx, hand_over_ns).await;
            let handed_over_ns = self.hand_over(cx, built).await?;
            // A card with launch times sends the group when it is due, or at once where that is
            // past. Nobody tells whether it did.
            let left_ns = if lead_ns > 0 { handed_over_ns.max(due_ns) } else { handed_over_ns };
            if pacer.left(packet, built, left_ns) == Timing::Late {
                cx.count(self.counters.groups_late, 1);
            }
            if packet == 0 {
                meter.begin(image, left_ns, pacer.tai_at_zero_ns());
            }
            meter.group(left_ns, built);
        }
        Some(self.count_sent(cx, image))
    }

    /// Sends the group, by one wake-up; returns when that was. `None` at the end, on a link that
    /// takes nothing.
    async fn hand_over(&mut self, cx: &mut ShardContext, built: u32) -> Option<u64> {
        if let Some(second) = &mut self.second {
            let packets = u64::from(built);
            let sent = second.send(cx, &mut self.group, packets, self.not_taken);
            let handed_over_ns = cx.moment_ns();
            self.lanes.put(cx);
            second.flush(cx);
            self.lanes.flush_others(cx, self.port);
            self.unsent += packets - sent;
            cx.count(self.counters.packets_sent, sent);
            return Some(handed_over_ns);
        }
        let packets = self.group.len() as u64;
        if cx.send_all(self.port, &mut self.group).await == Delivery::Drained {
            // What was built for it is settled here.
            cx.count(self.counters.packets_sent, packets - self.group.len() as u64);
            for frame in self.group.drain(..) {
                cx.settle(frame, Verdict::Drop(self.not_taken));
            }
            return None;
        }
        let handed_over_ns = cx.moment_ns();
        // Behind the group: not a packet of it waits for them.
        self.lanes.put(cx);
        // Paced, because the group is due; unpaced, while its octets are still in the cache that
        // the kernel copies from: handing over 512 at the end of a turn cost 10 % more.
        cx.flush(self.port);
        self.lanes.flush_others(cx, self.port);
        cx.count(self.counters.packets_sent, packets);
        Some(handed_over_ns)
    }

    /// Builds the next `wanted` packets, or those of them that there are frames for, at least one.
    async fn build_some(
        &mut self,
        cx: &mut ShardContext,
        work: &mut Work,
        wanted: u32,
        pacer: Option<&Pacer>,
    ) -> u32 {
        loop {
            match self.build_group(cx, work, wanted, pacer) {
                0 => {
                    cx.count(self.counters.pool_empty, 1);
                    pause_until(cx, cx.now_ns() + POOL_WAIT_NS).await;
                }
                built => return built,
            }
        }
    }

    /// Builds up to `wanted` packets into blank frames, as many as there are; returns how many.
    fn build_group(
        &mut self,
        cx: &mut ShardContext,
        work: &mut Work,
        wanted: u32,
        pacer: Option<&Pacer>,
    ) -> u32 {
        debug_assert!(self.group.is_empty(), "the last group was sent");
        let picture = self.source.picture(work.number);
        let end = self.format.packets_per_field().min(work.packet + wanted);
        // Only a card with launch times asks for one.
        let pacer = pacer.filter(|_| self.departure.launches());
        let slip_ns = pacer.map_or(0, |pacer| pacer.slip_ns(&(work.packet..end)));
        let (first, mut timed) = (work.packet, 0);
        if let Some(second) = &mut self.second {
            second.look(cx);
        }
        while work.packet < end {
            let taken = match &mut self.second {
                None => cx.take(self.port).map(|frame| [Some(frame), None]),
                Some(second) => second.take(cx),
            };
            let Some([frame, other]) = taken else { break };
            let packet = work.packets.next().expect("as many as the format says");
            let octets = self.packetizer.payload_octets(&packet);
            let tai_ns = pacer.map(|pacer| pacer.ideal_tai_ns(work.packet) + slip_ns);
            let write = |payload: &mut [u8]| {
                self.packetizer.write(payload, &packet, self.sequence, work.field, &picture);
            };
            match (frame, other, &mut self.second) {
                (Some(mut frame), other, second) => {
                    frame.set_len(self.header.octets() + octets);
                    let payload = self.header.write(frame.bytes_mut());
                    write(payload);
                    if let (Some(other), Some(second)) = (other, second) {
                        second.build(other, octets, tai_ns, |into| into.copy_from_slice(payload));
                    }
                    timed += u64::from(self.departure.ask(&mut frame, tai_ns));
                    self.group.push(frame);
                }
                (None, Some(other), Some(second)) => second.build(other, octets, tai_ns, write),
                (None, ..) => {}
            }
            self.sequence = self.sequence.wrapping_add(1);
            work.packet += 1;
        }
        cx.count(self.counters.packets_timed, timed);
        work.packet - first
    }
}

/// What is left to be built of an image: a frame, or one field of it.
#[derive(Debug)]
struct Work {
    /// Of the frame.
    number: u64,
    field: Field,
    packets: Packets,
    /// Number of the next packet within the image.
    packet: u32,
}

/// Waits until `due_ns`, in a drain as well: a frame that has begun is ended at its pace.
pub(super) async fn pause_until(cx: &mut ShardContext, due_ns: u64) {
    if cx.sleep_until(due_ns).await == Delivery::Drained {
        while cx.now_ns() < due_ns {
            futures_lite::future::yield_now().await;
        }
    }
}
