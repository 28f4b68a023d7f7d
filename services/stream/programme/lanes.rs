//! The small streams of a programme: their packets, built when they are due and handed over.

use std::error::Error;

use tidegate_dataplane::frame::Frame;
use tidegate_runtime::burst::{Delivery, Frames};
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::{Counter, DropReason};
use tidegate_runtime::port::PortFacts;
use tidegate_runtime::service::{Build, BuildError};
use tidegate_runtime::verdict::Verdict;

use super::cadence::{Beat, Cadence, Due, Fields};
use super::options;
use crate::stream::ancillary::packetizer::Part;
use crate::stream::ancillary::payload::Field;
use crate::stream::departure::{Checksum, Departure, LaunchTime};
use crate::stream::header::{Header, Marks};
use crate::stream::redundancy::split::Second;
use crate::stream::route::{Patience, Route, Way, room};
use crate::stream::sender;
use crate::stream::{ancillary, audio};

/// How long a packet that is due waits for a group of video to go out with.
///
/// A wake-up of its own costs some microseconds, which are video's: below 20 us of waiting packets
/// would hardly ever meet a group of the narrow class, and at 125 us sound would lose the room that
/// its shortest packets leave it. Receivers buffer a millisecond and more.
pub const JOIN_NS: u64 = 50_000;

/// How long to wait when the pool has no frame.
const POOL_WAIT_NS: u64 = 10_000;

/// What all streams of a sender have in common.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// Port of the shard.
    pub port: usize,
    /// What is known of it.
    pub facts: &'a PortFacts,
    /// From where, if a stream does not say it.
    pub source_address: std::net::SocketAddr,
    /// What networks are told.
    pub marks: Marks,
    /// Whether packets have a checksum.
    pub checksum: Checksum,
    /// Whether the card sends each at its own time.
    pub launch_time: LaunchTime,
    /// Whether a next hop may be waited for.
    pub patience: Patience,
}

/// One way of a stream's packets, and what is in front of them.
#[derive(Debug)]
struct Out {
    /// Which of the groups it goes with.
    group: usize,
    route: Route,
    header: Header,
    departure: Departure,
}

impl Out {
    fn open(
        group: usize,
        common: &Common<'_>,
        facts: &PortFacts,
        way: &Way,
        octets_max: usize,
    ) -> Result<Self, BuildError> {
        way.check().map_err(BuildError::new)?;
        let route = Route::open(way, facts, common.patience).map_err(BuildError::new)?;
        let header = Header::new(route.flow(), octets_max).map_err(BuildError::new)?;
        room::check(facts, &header, octets_max).map_err(BuildError::new)?;
        let departure = Departure::new(common.checksum, common.launch_time, facts.tx, &header);
        Ok(Self { group, route, header, departure })
    }

    /// A packet of `octets`, which `write` writes; to leave at `tai_ns`.
    fn build(
        &mut self,
        frame: &mut Frame,
        octets: usize,
        tai_ns: u64,
        write: impl FnOnce(&mut [u8]),
    ) {
        self.route.follow(&mut self.header);
        frame.set_len(self.header.octets() + octets);
        write(self.header.write(frame.bytes_mut()));
        self.departure.ask(frame, Some(tai_ns));
    }
}

/// What is handed over on one port.
#[derive(Debug)]
struct Group {
    port: usize,
    frames: Frames,
    /// Whether something lies on the ring that no wake-up followed.
    is_put: bool,
}

/// The ways of one stream: the second has the same packets.
#[derive(Debug)]
struct Ways {
    first: Out,
    second: Option<Out>,
}

impl Ways {
    fn open(
        build: &Build<'_>,
        common: &Common<'_>,
        groups: &mut Vec<Group>,
        first: &Way,
        second: Option<&Second>,
        octets_max: usize,
    ) -> Result<Self, BuildError> {
        let mut group_of = |port: usize| {
            groups.iter().position(|group| group.port == port).unwrap_or_else(|| {
                groups.push(Group { port, frames: Frames::new(), is_put: false });
                groups.len() - 1
            })
        };
        let own = Out::open(group_of(common.port), common, common.facts, first, octets_max)?;
        let other = second.map(|second| {
            let interface = second.interface.as_deref().unwrap_or(&common.facts.interface);
            let port = sender::choose_port(build.name(), Some(interface), build.ports());
            let port = port.map_err(BuildError::new)?;
            let way = second.way(common.marks);
            Out::open(group_of(port), common, &build.ports()[port], &way, octets_max)
        });
        Ok(Self { first: own, second: other.transpose()? })
    }

    /// Builds a packet for each way; whether there was a frame for it. What the second way has none
    /// for goes the first alone.
    fn build(
        &mut self,
        cx: &mut ShardContext,
        groups: &mut [Group],
        octets: usize,
        tai_ns: u64,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        let Some(mut frame) = cx.take(groups[self.first.group].port) else { return false };
        self.first.build(&mut frame, octets, tai_ns, write);
        if let Some(second) = &mut self.second
            && let Some(mut copy) = cx.take(groups[second.group].port)
        {
            let written = &*frame.bytes_mut();
            let payload = &written[written.len() - octets..];
            second.build(&mut copy, octets, tai_ns, |into| into.copy_from_slice(payload));
            groups[second.group].frames.push(copy);
        }
        groups[self.first.group].frames.push(frame);
        true
    }
}

#[derive(Debug)]
struct Sound {
    ways: Ways,
    packetizer: audio::Packetizer,
    source: audio::Source,
    cadence: Cadence,
    /// Number of the next packet.
    sequence: u16,
    sent: Counter,
    skipped: Counter,
    /// Packets built and not handed over.
    built: u64,
}

#[derive(Debug)]
struct Data {
    ways: Ways,
    packetizer: ancillary::Packetizer,
    source: ancillary::Source,
    fields: Fields,
    cadence: Cadence,
    /// Number of the next packet.
    sequence: u32,
    /// ANC packets of the present field that have gone.
    gone: usize,
    sent: Counter,
    fields_sent: Counter,
    skipped: Counter,
    built: u64,
    built_fields: u64,
}

/// Sound and ancillary data of a sender, either or none.
#[derive(Debug)]
pub struct Lanes {
    port: usize,
    lead_ns: u64,
    sound: Option<Sound>,
    data: Option<Data>,
    /// By port; the one of the pictures first.
    groups: Vec<Group>,
    not_taken: DropReason,
}

fn refused(error: impl Error + Send + Sync + 'static) -> BuildError {
    BuildError::new(error)
}

impl Lanes {
    /// The streams that are asked for, beside pictures of `pictures` or alone.
    ///
    /// # Errors
    ///
    /// When one cannot be sent as asked.
    pub fn new(
        build: &mut Build<'_>,
        common: &Common<'_>,
        audio: Option<&options::Audio>,
        ancillary: Option<&options::Ancillary>,
        pictures: Option<Fields>,
        not_taken: DropReason,
    ) -> Result<Self, BuildError> {
        let mut groups = Vec::new();
        let sound = audio.map(|options| Sound::new(build, common, &mut groups, options));
        let sound = sound.transpose()?;
        let data =
            ancillary.map(|options| Data::new(build, common, &mut groups, options, pictures));
        let data = data.transpose()?;
        let ways = sound.as_ref().map(|it| &it.ways).or(data.as_ref().map(|it| &it.ways));
        Ok(Self {
            port: common.port,
            lead_ns: ways.map_or(0, |ways| ways.first.departure.lead_ns()),
            sound,
            data,
            groups,
            not_taken,
        })
    }

    /// Begins with what is of `tai_ns` or later.
    pub fn begin(&mut self, tai_ns: u64) {
        // Senders that start together number alike.
        if let Some(Sound { cadence, packetizer, sequence, .. }) = &mut self.sound {
            *cadence = Cadence::starting(packetizer.format(), tai_ns);
            #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
            {
                *sequence = packetizer.format().next_packet(tai_ns) as u16;
            }
        }
        if let Some(Data { cadence, fields, sequence, .. }) = &mut self.data {
            *cadence = Cadence::starting(fields, tai_ns);
            // A field is a packet nearly always.
            #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
            {
                *sequence = fields.first_from(tai_ns) as u32;
            }
        }
    }

    /// When the next packet is to be handed over; `u64::MAX` where there are none.
    pub fn due_ns(&mut self, cx: &mut ShardContext) -> u64 {
        let (now_ns, zero_ns) = (cx.now_ns(), cx.tai_at_zero_ns());
        let mut due_ns = u64::MAX;
        if let Some(Sound { cadence, packetizer, skipped, .. }) = &mut self.sound {
            let due = cadence.look(packetizer.format(), now_ns + self.lead_ns, zero_ns);
            cx.count(*skipped, due.skipped);
            due_ns = due.at_ns;
        }
        if let Some(data) = &mut self.data {
            let due = data.cadence.look(&data.fields, now_ns + self.lead_ns, zero_ns);
            if due.skipped > 0 {
                cx.count(data.skipped, due.skipped);
                data.gone = 0;
            }
            due_ns = due_ns.min(due.at_ns);
        }
        if due_ns == u64::MAX { due_ns } else { due_ns.saturating_sub(self.lead_ns) }
    }

    /// Builds what is to be handed over by `by_ns`, at most a packet of each stream.
    pub fn build_by(&mut self, cx: &mut ShardContext, by_ns: u64) {
        if self.due_ns(cx) > by_ns {
            return;
        }
        let (now_ns, zero_ns) = (cx.now_ns() + self.lead_ns, cx.tai_at_zero_ns());
        let by_ns = by_ns + self.lead_ns;
        if let Some(sound) = &mut self.sound {
            let due = sound.cadence.look(sound.packetizer.format(), now_ns, zero_ns);
            if due.at_ns <= by_ns {
                let at_ns = due.at_ns.max(now_ns.min(by_ns));
                if sound.build(cx, &mut self.groups, due.index, at_ns + zero_ns) {
                    sound.cadence.left(at_ns, true);
                }
            }
        }
        if let Some(data) = &mut self.data {
            let due = data.cadence.look(&data.fields, now_ns, zero_ns);
            if due.at_ns <= by_ns {
                let at_ns = due.at_ns.max(now_ns.min(by_ns));
                if let Some(is_last) = data.build(cx, &mut self.groups, due, at_ns + zero_ns) {
                    data.cadence.left(at_ns, is_last);
                }
            }
        }
    }

    /// Puts what was built on the rings, behind whatever is there. It goes out with the wake-up that
    /// follows; what finds no room is dropped and counted.
    pub fn put(&mut self, cx: &mut ShardContext) {
        let mut least = u64::MAX;
        for Group { port, frames, is_put } in &mut self.groups {
            if frames.is_empty() {
                continue;
            }
            cx.send(*port, frames);
            *is_put = true;
            if !frames.is_empty() {
                // Copy mode makes room by the wake-up.
                cx.flush(*port);
                cx.send(*port, frames);
            }
            least = least.min(frames.len() as u64);
            for frame in frames.drain(..) {
                cx.settle(frame, Verdict::Drop(self.not_taken));
            }
        }
        if least == u64::MAX {
            return;
        }
        // Those that no path took are the last: of data first, which were built behind sound.
        if let Some(data) = &mut self.data {
            let lacks = least.min(data.built);
            least -= lacks;
            cx.count(data.sent, std::mem::take(&mut data.built) - lacks);
            cx.count(data.fields_sent, std::mem::take(&mut data.built_fields));
        }
        if let Some(sound) = &mut self.sound {
            let lacks = least.min(sound.built);
            cx.count(sound.sent, std::mem::take(&mut sound.built) - lacks);
        }
    }

    /// Wakes up the ports on which something was put, but for one that was woken since.
    pub fn flush_others(&mut self, cx: &mut ShardContext, woken: usize) {
        for Group { port, is_put, .. } in &mut self.groups {
            if std::mem::take(is_put) && *port != woken {
                cx.flush(*port);
            }
        }
    }

    /// Sends by themselves all packets that are due before `until_ns`. Goes on while the shard
    /// drains: what is shown ends with its sound.
    pub async fn send_until(&mut self, cx: &mut ShardContext, until_ns: u64) {
        loop {
            let due_ns = self.due_ns(cx);
            if due_ns >= until_ns {
                return;
            }
            sender::pause_until(cx, due_ns).await;
            self.send_alone(cx).await;
        }
    }

    /// The same, until the shard drains.
    pub async fn rest_until(&mut self, cx: &mut ShardContext, until_ns: u64) -> Delivery {
        loop {
            let due_ns = self.due_ns(cx);
            if cx.sleep_until(due_ns.min(until_ns)).await == Delivery::Drained {
                return Delivery::Drained;
            }
            if cx.now_ns() >= until_ns {
                return Delivery::TimedOut;
            }
            self.send_alone(cx).await;
        }
    }

    /// Sends what is due now, by a wake-up of its own.
    async fn send_alone(&mut self, cx: &mut ShardContext) {
        let now_ns = cx.now_ns();
        if self.due_ns(cx) > now_ns {
            return;
        }
        self.build_by(cx, now_ns);
        if self.groups.iter().all(|group| group.frames.is_empty()) {
            sender::pause_until(cx, now_ns + POOL_WAIT_NS).await;
            return;
        }
        self.put(cx);
        cx.flush(self.port);
        self.flush_others(cx, self.port);
    }

    /// Whether there are any.
    pub const fn is_empty(&self) -> bool {
        self.sound.is_none() && self.data.is_none()
    }
}

impl Sound {
    fn new(
        build: &mut Build<'_>,
        common: &Common<'_>,
        groups: &mut Vec<Group>,
        options: &options::Audio,
    ) -> Result<Self, BuildError> {
        let format = options.format().map_err(refused)?;
        let identity = sender::identity(options.payload_type, options.ssrc)?;
        let packetizer = audio::Packetizer::new(format, identity.payload_type, identity.ssrc);
        let way = Way {
            destination: options.destination,
            source: options.source_address.unwrap_or(common.source_address),
            destination_mac: options.destination_mac,
            marks: common.marks,
        };
        let (second, octets) = (options.second.as_ref(), packetizer.octets());
        let ways = Ways::open(build, common, groups, &way, second, octets)?;
        let source = options.open(format).map_err(refused)?;
        build.word("audio_format", "What the sound consists of", &[&format.to_string()]);
        let level = format.level().map_or("none".to_owned(), |level| level.to_string());
        let help = "Conformance level of ST 2110-30 that the sound is within";
        build.word("audio_level", help, &[&level]);
        let mut counter = |name, help| build.counter(name, help);
        Ok(Self {
            ways,
            packetizer,
            source,
            cadence: Cadence::starting(&format, 0),
            sequence: 0,
            sent: counter("audio_packets_sent", "Packets of sound handed to the TX ring"),
            skipped: counter("audio_packets_skipped", "Packets of sound not sent, after a stall"),
            built: 0,
        })
    }

    fn build(
        &mut self,
        cx: &mut ShardContext,
        groups: &mut [Group],
        index: u64,
        tai_ns: u64,
    ) -> bool {
        let Self { packetizer, source, sequence, .. } = self;
        let octets = packetizer.octets();
        let is_built = self.ways.build(cx, groups, octets, tai_ns, |into| {
            packetizer.write(into, index, *sequence, source)
        });
        self.built += u64::from(is_built);
        self.sequence = self.sequence.wrapping_add(u16::from(is_built));
        is_built
    }
}

impl Data {
    fn new(
        build: &mut Build<'_>,
        common: &Common<'_>,
        groups: &mut Vec<Group>,
        options: &options::Ancillary,
        pictures: Option<Fields>,
    ) -> Result<Self, BuildError> {
        let fields = options.fields(pictures).map_err(refused)?;
        let identity = sender::identity(options.payload_type, options.ssrc)?;
        let way = Way {
            destination: options.destination,
            source: options.source_address.unwrap_or(common.source_address),
            destination_mac: options.destination_mac,
            marks: common.marks,
        };
        let (second, octets) = (options.second.as_ref(), ancillary::packetizer::OCTETS_MAX);
        let ways = Ways::open(build, common, groups, &way, second, octets)?;
        let source = options.open(fields).map_err(refused)?;
        let mut counter = |name, help| build.counter(name, help);
        Ok(Self {
            ways,
            packetizer: ancillary::Packetizer::new(identity.payload_type, identity.ssrc),
            source,
            fields,
            cadence: Cadence::starting(&fields, 0),
            sequence: 0,
            gone: 0,
            sent: counter("ancillary_packets_sent", "Packets of data handed to the TX ring"),
            fields_sent: counter(
                "ancillary_fields_sent",
                "Frames or fields whose data, or that there are none, were sent",
            ),
            skipped: counter(
                "ancillary_fields_skipped",
                "Frames or fields whose data were not sent, after a stall",
            ),
            built: 0,
            built_fields: 0,
        })
    }

    /// The next packet of the field that is due; whether it is the last, if there was a frame.
    fn build(
        &mut self,
        cx: &mut ShardContext,
        groups: &mut [Group],
        due: Due,
        tai_ns: u64,
    ) -> Option<bool> {
        let (number, which) = self.fields.place(due.index);
        let field = match (self.fields.per_frame(), which) {
            (1, _) => Field::Whole,
            (_, 0) => Field::First,
            _ => Field::Second,
        };
        let timestamp = self.fields.timestamp(due.index);
        let packets = self.source.packets(number, field);
        let part = Part::of(&packets[self.gone.min(packets.len())..]);
        let Self { packetizer, sequence, .. } = self;
        let octets = part.packet_octets();
        let is_built = self.ways.build(cx, groups, octets, tai_ns, |into| {
            packetizer.write(into, &part, *sequence, timestamp, field);
        });
        if !is_built {
            return None;
        }
        *sequence = sequence.wrapping_add(1);
        self.built += 1;
        self.built_fields += u64::from(part.is_last);
        self.gone = if part.is_last { 0 } else { self.gone + part.entries.len() };
        Some(part.is_last)
    }
}
