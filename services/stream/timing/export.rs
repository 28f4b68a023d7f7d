//! What operators see of a stream's timing: the same names for senders and receivers.

use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::{Counter, Level, Word};
use tidegate_runtime::service::Build;

use super::arrivals::{Arrived, Span, Times};
use super::class::{Class, Extremes, Limit};
use super::meter::Image;
use super::record::{Record, Standing, Worst};

/// The record of a stream, and where it is shown.
#[derive(Debug)]
pub struct Export {
    record: Record,
    minute: Shown,
    since_start: Shown,
    limit: [Level; 2],
    /// By [`Standing::number`], less one: an image is never unmeasured.
    images: [Counter; 4],
}

#[derive(Debug)]
struct Shown {
    class: Word,
    burst_max: Level,
    buffer_min: Level,
    buffer_max: Level,
}

/// What the times are that a stream is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The clock when a group was handed over to the driver.
    HandOver,
    /// The same, but not before the launch time of its first packet, which a card is believed to
    /// keep. Whether it did, nobody says.
    LaunchTime,
    /// The time of the turn that found a burst: all of its packets count as having come then. So
    /// each seems to come when it did or a little later, and together with others: C_INST is
    /// higher than it was, VRX lower, its lowest below what it was and its highest too.
    Arrival,
}

impl Basis {
    const fn word(self) -> &'static str {
        match self {
            Self::HandOver => "hand-over",
            Self::LaunchTime => "launch time",
            Self::Arrival => "arrival",
        }
    }
}

/// What a stream is, and should be.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The class that it should keep.
    pub asked: Class,
    /// What it is measured by.
    pub basis: Basis,
    /// What it consists of, in words.
    pub format: &'a str,
    /// Frames per second, in words.
    pub rate: &'a str,
}

impl Export {
    /// Registers everything.
    pub fn register(build: &mut Build<'_>, about: About<'_>) -> Self {
        let About { asked, basis, format, rate } = about;
        // Words that do not change.
        build.word("format", "What the stream consists of", &[format]);
        build.word("rate", "Frames per second of the stream", &[rate]);
        build.word("measured_by", "Times that class, VRX and C_INST are of", &[basis.word()]);
        build.word(
            "class_asked",
            "Class of ST 2110-21 that the stream should keep",
            &[asked.word()],
        );
        let mut class = |name, help| build.word(name, help, &Standing::WORDS);
        let (minute, since_start) = (
            class("class_held", "Class that every frame of the last minute kept"),
            class("class_held_since_start", "Class that every frame since the start kept"),
        );
        let mut level = |name, help| build.level(name, help);
        let minute = Shown {
            class: minute,
            burst_max: level("c_inst_max", "Highest C_INST of the last minute"),
            buffer_min: level("vrx_min", "Lowest VRX of the last minute"),
            buffer_max: level("vrx_max", "Highest VRX of the last minute"),
        };
        let since_start = Shown {
            class: since_start,
            burst_max: level("c_inst_max_since_start", "Highest C_INST since the start"),
            buffer_min: level("vrx_min_since_start", "Lowest VRX since the start"),
            buffer_max: level("vrx_max_since_start", "Highest VRX since the start"),
        };
        let limit = [
            level("c_max", "Highest C_INST that the class allows"),
            level("vrx_full", "Highest VRX that the class allows"),
        ];
        let mut counter = |name, help| build.counter(name, help);
        let images = [
            counter("frames_narrow", "Frames or fields that kept class narrow"),
            counter("frames_narrow_linear", "Frames or fields that kept class narrow linear"),
            counter("frames_wide", "Frames or fields that kept class wide and no better"),
            counter("frames_of_no_class", "Frames or fields that kept no class of ST 2110-21"),
        ];
        Self { record: Record::default(), minute, since_start, limit, images }
    }

    /// Shows what the class asked for allows.
    pub fn limit(&self, cx: &mut ShardContext, limit: Limit) {
        cx.set_level(self.limit[0], i64::from(limit.burst_packets));
        cx.set_level(self.limit[1], i64::from(limit.buffer_packets));
    }

    /// Adds an image that has just ended.
    pub fn add(&mut self, cx: &mut ShardContext, image: &Image) {
        self.record.add(image.into(), cx.now_ns());
        cx.count(self.images[Standing::from(image.held).number() - 1], 1);
        self.minute.show(cx, &self.record.last_minute());
        self.since_start.show(cx, &self.record.since_start());
    }

    /// What was kept.
    pub const fn record(&self) -> &Record {
        &self.record
    }
}

/// The same of a stream that arrives, and when it did.
#[derive(Debug)]
pub struct ArrivalExport {
    kept: Export,
    record: Record<Times>,
    first_packet: [Level; 2],
    latency: [Level; 2],
    unjudged: Counter,
}

impl ArrivalExport {
    /// Registers everything.
    pub fn register(build: &mut Build<'_>, asked: Class, format: &str, rate: &str) -> Self {
        let kept = Export::register(build, About { asked, basis: Basis::Arrival, format, rate });
        let mut level = |name, help| build.level(name, help);
        Self {
            kept,
            record: Record::default(),
            first_packet: [
                level("first_packet_ns_min", "Shortest time from k*T to a frame's first packet"),
                level("first_packet_ns_max", "Longest time from k*T to a frame's first packet"),
            ],
            latency: [
                level("latency_ns_min", "Shortest time from RTP timestamp to arrival"),
                level("latency_ns_max", "Longest time from RTP timestamp to arrival"),
            ],
            unjudged: build.counter(
                "frames_unjudged",
                "Frames or fields of no class because packets were missing or numbers unknown",
            ),
        }
    }

    /// Shows what the class asked for allows.
    pub fn limit(&self, cx: &mut ShardContext, limit: Limit) {
        self.kept.limit(cx, limit);
    }

    /// Adds an image that has just ended.
    pub fn add(&mut self, cx: &mut ShardContext, arrived: &Arrived) {
        match &arrived.image {
            Some(image) => self.kept.add(cx, image),
            None => cx.count(self.unjudged, 1),
        }
        self.record.add(arrived.times, cx.now_ns());
        let Times { first_packet, latency } = self.record.last_minute();
        for (levels, Span { min_ns, max_ns }) in
            [(self.first_packet, first_packet), (self.latency, latency)]
        {
            cx.set_level(levels[0], min_ns);
            cx.set_level(levels[1], max_ns);
        }
    }
}

impl Shown {
    fn show(&self, cx: &mut ShardContext, worst: &Worst) {
        let Extremes { burst_max, buffer_min, buffer_max } = worst.extremes;
        cx.say(self.class, worst.standing.number());
        cx.set_level(self.burst_max, burst_max);
        cx.set_level(self.buffer_min, buffer_min);
        cx.set_level(self.buffer_max, buffer_max);
    }
}
