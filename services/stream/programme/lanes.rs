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
use crate::stream::route::{Patience, Route, Way};
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

/// The way of one stream's packets, and what is in front of them.
#[derive(Debug)]
struct Out {
    route: Route,
    header: Header,
    departure: Departure,
}

impl Out {
    fn open(
        common: &Common<'_>,
        to: std::net::SocketAddr,
        from: Option<std::net::SocketAddr>,
        mac: Option<crate::stream::route::Mac>,
        octets_max: usize,
    ) -> Result<Self, BuildError> {
        let Common { facts, marks, checksum, launch_time, patience, .. } = *common;
        let source = from.unwrap_or(common.source_address);
        let way = Way { destination: to, source, destination_mac: mac, marks };
        way.check().map_err(BuildError::new)?;
        let route = Route::open(&way, facts, patience).map_err(BuildError::new)?;
        let header = Header::new(route.flow(), octets_max).map_err(BuildError::new)?;
        sender::check_room(facts, header.octets() + octets_max).map_err(BuildError::new)?;
        let departure = Departure::new(checksum, launch_time, facts.tx, &header);
        Ok(Self { route, header, departure })
    }

    /// A packet of `octets`, which `write` writes; to leave at `tai_ns`.
    fn build(
        &mut self,
        mut frame: Frame,
        octets: usize,
        tai_ns: u64,
        write: impl FnOnce(&mut [u8]),
    ) -> Frame {
        self.route.follow(&mut self.header);
        frame.set_len(self.header.octets() + octets);
        write(self.header.write(frame.bytes_mut()));
        self.departure.ask(&mut frame, Some(tai_ns));
        frame
    }
}

#[derive(Debug)]
struct Sound {
    out: Out,
    packetizer: audio::Packetizer,
    source: audio::Source,
    cadence: Cadence,
    sent: Counter,
    skipped: Counter,
    /// Packets built and not handed over.
    built: u64,
}

#[derive(Debug)]
struct Data {
    out: Out,
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
    group: Frames,
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
        let sound = audio.map(|options| Sound::new(build, common, options)).transpose()?;
        let data = ancillary.map(|options| Data::new(build, common, options, pictures));
        let data = data.transpose()?;
        let out = sound.as_ref().map(|it| &it.out).or(data.as_ref().map(|it| &it.out));
        Ok(Self {
            port: common.port,
            lead_ns: out.map_or(0, |out| out.departure.lead_ns()),
            sound,
            data,
            group: Frames::new(),
            not_taken,
        })
    }

    /// Begins with what is of `tai_ns` or later.
    pub fn begin(&mut self, tai_ns: u64) {
        if let Some(Sound { cadence, packetizer, .. }) = &mut self.sound {
            *cadence = Cadence::starting(packetizer.format(), tai_ns);
        }
        if let Some(Data { cadence, fields, sequence, .. }) = &mut self.data {
            *cadence = Cadence::starting(fields, tai_ns);
            // A field is a packet nearly always: senders that start together number alike.
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
            if due.at_ns <= by_ns
                && let Some(frame) = cx.take(self.port)
            {
                let at_ns = due.at_ns.max(now_ns.min(by_ns));
                self.group.push(sound.build(frame, due.index, at_ns + zero_ns));
                sound.cadence.left(at_ns, true);
            }
        }
        if let Some(data) = &mut self.data {
            let due = data.cadence.look(&data.fields, now_ns, zero_ns);
            if due.at_ns <= by_ns
                && let Some(frame) = cx.take(self.port)
            {
                let at_ns = due.at_ns.max(now_ns.min(by_ns));
                let (frame, is_last) = data.build(frame, due, at_ns + zero_ns);
                self.group.push(frame);
                data.cadence.left(at_ns, is_last);
            }
        }
    }

    /// Puts what was built on the ring, behind whatever is there. It goes out with the wake-up that
    /// follows; what finds no room is dropped and counted.
    pub fn put(&mut self, cx: &mut ShardContext) {
        if self.group.is_empty() {
            return;
        }
        cx.send(self.port, &mut self.group);
        if !self.group.is_empty() {
            // Copy mode makes room by the wake-up.
            cx.flush(self.port);
            cx.send(self.port, &mut self.group);
        }
        let left = self.group.len() as u64;
        for frame in self.group.drain(..) {
            cx.settle(frame, Verdict::Drop(self.not_taken));
        }
        // The last ones found no room: of data first, which were built behind sound.
        if let Some(data) = &mut self.data {
            let lacks = left.min(data.built);
            cx.count(data.sent, std::mem::take(&mut data.built) - lacks);
            cx.count(data.fields_sent, std::mem::take(&mut data.built_fields));
        }
        if let Some(sound) = &mut self.sound {
            let lacks = left.min(sound.built);
            cx.count(sound.sent, std::mem::take(&mut sound.built) - lacks);
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
        if self.group.is_empty() {
            sender::pause_until(cx, now_ns + POOL_WAIT_NS).await;
            return;
        }
        self.put(cx);
        cx.flush(self.port);
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
        options: &options::Audio,
    ) -> Result<Self, BuildError> {
        let format = options.format().map_err(refused)?;
        let identity = sender::identity(options.payload_type, options.ssrc)?;
        let packetizer = audio::Packetizer::new(format, identity.payload_type, identity.ssrc);
        let (to, from, mac) =
            (options.destination, options.source_address, options.destination_mac);
        let out = Out::open(common, to, from, mac, packetizer.octets())?;
        let source = options.open(format).map_err(refused)?;
        build.word("audio_format", "What the sound consists of", &[&format.to_string()]);
        let level = format.level().map_or("none".to_owned(), |level| level.to_string());
        let help = "Conformance level of ST 2110-30 that the sound is within";
        build.word("audio_level", help, &[&level]);
        let mut counter = |name, help| build.counter(name, help);
        Ok(Self {
            out,
            packetizer,
            source,
            cadence: Cadence::starting(&format, 0),
            sent: counter("audio_packets_sent", "Packets of sound handed to the TX ring"),
            skipped: counter("audio_packets_skipped", "Packets of sound not sent, after a stall"),
            built: 0,
        })
    }

    fn build(&mut self, frame: Frame, index: u64, tai_ns: u64) -> Frame {
        let Self { packetizer, source, .. } = self;
        self.built += 1;
        let octets = packetizer.octets();
        self.out.build(frame, octets, tai_ns, |into| packetizer.write(into, index, source))
    }
}

impl Data {
    fn new(
        build: &mut Build<'_>,
        common: &Common<'_>,
        options: &options::Ancillary,
        pictures: Option<Fields>,
    ) -> Result<Self, BuildError> {
        let fields = options.fields(pictures).map_err(refused)?;
        let identity = sender::identity(options.payload_type, options.ssrc)?;
        let (to, from, mac) =
            (options.destination, options.source_address, options.destination_mac);
        let out = Out::open(common, to, from, mac, ancillary::packetizer::OCTETS_MAX)?;
        let source = options.open(fields).map_err(refused)?;
        let mut counter = |name, help| build.counter(name, help);
        Ok(Self {
            out,
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

    /// The next packet of the field that is due, and whether it is the last.
    fn build(&mut self, frame: Frame, due: Due, tai_ns: u64) -> (Frame, bool) {
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
        let frame = self.out.build(frame, octets, tai_ns, |into| {
            packetizer.write(into, &part, *sequence, timestamp, field);
        });
        *sequence = sequence.wrapping_add(1);
        self.built += 1;
        self.built_fields += u64::from(part.is_last);
        self.gone = if part.is_last { 0 } else { self.gone + part.entries.len() };
        (frame, part.is_last)
    }
}
