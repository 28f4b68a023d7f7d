//! How well a stream keeps its class: C_INST and VRX of every packet, exact.
//!
//! ```text
//!   C_INST   +1 per packet, -1 per T/N/1.1 since the first packet of all, never below 0
//!   VRX      +1 per packet of the image, -1 at each TPRj; begun anew with each image
//! ```
//!
//! These are the formulas of the EBU's analyser LIST (`d21/c_calculator`, `d21/vrx_calculator`),
//! which the industry compares with, and where ST 2110-21 leaves a choice it is LIST's:
//!
//! - The first packet of all leaves C_INST at 0, so a burst of n packets shows as n - 1.
//! - The drain of C_INST has no RACTIVE and does not start anew with an image. (Another meter in
//!   use drains it by TRS, which is 4 % more lenient.)
//! - The reader reads from TVD on, whether there is a packet or not: a packet that is late takes
//!   VRX below zero, and all that follow it. Before TVD it reads backwards: a packet that is n
//!   TRS early counts as n, even where nothing follows it until TVD.
//!
//! Constant work per packet, or per group of packets of one time; no memory, no floating point.
//! What is over after each tick is carried on exactly, so an hour of a 1001 rate ends where it
//! should. Times that run backwards count as standing still.

use serde::Deserialize;

use super::class::{Class, Extremes, Limits};
use super::schedule::{Moment, Schedule, greatest_divisor};

/// What TVD is measured from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// The epoch: TVD = k*T + TROFFSET. Needs clocks that agree. LIST's `ideal`.
    #[default]
    Epoch,
    /// The first packet of all, and T from image to image: for a capture without PTP, as long as
    /// the clocks do not drift apart by more than a buffer. LIST's `first_packet_first_frame`.
    FirstPacket,
    /// Each image by itself: the reader starts when three quarters of the narrow buffer are
    /// filled. Shows spacing and nothing of punctuality. LIST's `first_packet_each_frame`.
    EachImage,
}

impl Reference {
    /// All, as written in a configuration.
    pub const WORDS: [&'static str; 3] = ["epoch", "first-packet", "each-image"];

    /// The reference of a word.
    pub fn of(word: &str) -> Option<Self> {
        let all = [Self::Epoch, Self::FirstPacket, Self::EachImage];
        Self::WORDS.iter().position(|it| *it == word).map(|place| all[place])
    }
}

/// Both levels after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// C_INST.
    pub burst: i64,
    /// VRX.
    pub buffer: i64,
}

/// What one image did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its packets.
    pub packets: u32,
    /// How far the models went.
    pub extremes: Extremes,
    /// The class that it kept, if it kept one.
    pub held: Option<Class>,
}

/// Measures one stream.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    schedule: Schedule,
    limits: Limits,
    reference: Reference,
    network: Option<Ticker>,
    burst: i64,
    reader: Ticker,
    /// Packets that the reader has read or would have; negative before it starts.
    drained: i64,
    /// Packets of the image so far.
    packets: i64,
    /// When the last of them came; `None` before the first, and while the reader of
    /// [`Reference::EachImage`] has not started.
    last_ns: Option<u64>,
    /// The first packet of all that has a place in [`Reference::FirstPacket`].
    anchor: Option<(u64, u64)>,
    /// Packets that the reader of [`Reference::EachImage`] lets come first.
    watermark: i64,
    extremes: Extremes,
}

impl Meter {
    /// A meter that has seen nothing.
    pub fn new(schedule: Schedule, reference: Reference) -> Self {
        let limits = Limits::of(&schedule);
        Self {
            schedule,
            limits,
            reference,
            network: None,
            burst: 0,
            reader: Ticker::new(schedule.spacing_parts(), schedule.parts(), 0),
            drained: 0,
            packets: 0,
            last_ns: None,
            anchor: None,
            watermark: i64::from(limits.narrow.buffer_packets) * 3 / 4,
            extremes: Extremes::NONE,
        }
    }

    /// The limits that images are judged by.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The schedule that it measures against.
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The image that an ideal sender sends at `tai_ns`: LIST's choice of k where a stream says
    /// nothing better.
    pub fn image_at(&self, tai_ns: u64) -> u64 {
        let rate = self.schedule.images().rate();
        let next = rate.next_frame(tai_ns);
        if rate.frame_start_ns(next) == tai_ns { next } else { next.saturating_sub(1) }
    }

    /// Begins image `index`, whose first packet has the time `at_ns` on a clock that shows 0 when
    /// TAI is `tai_at_zero_ns`.
    pub fn begin(&mut self, index: u64, at_ns: u64, tai_at_zero_ns: u64) {
        self.packets = 0;
        self.last_ns = None;
        self.extremes = Extremes::NONE;
        let (reads, zero_ns) = match self.reference {
            Reference::Epoch => (self.schedule.read_starts(index), tai_at_zero_ns),
            Reference::FirstPacket => {
                let (first, first_ns) = *self.anchor.get_or_insert((index, at_ns));
                // Numbers that run backwards are another stream; it has a first packet too.
                match index.checked_sub(first) {
                    Some(count) => {
                        let Moment { ns, part } = self.schedule.periods(count);
                        (Moment { ns: ns.saturating_add(first_ns), part }, 0)
                    }
                    None => {
                        self.anchor = Some((index, at_ns));
                        (Moment { ns: at_ns, part: 0 }, 0)
                    }
                }
            }
            Reference::EachImage => {
                self.drained = 0;
                return;
            }
        };
        self.start_reader(reads, at_ns, zero_ns);
    }

    /// Sets the reader to where it is at `at_ns` if it starts at `reads`.
    fn start_reader(&mut self, reads: Moment, at_ns: u64, tai_at_zero_ns: u64) {
        let (parts, spacing) = (i128::from(self.schedule.parts()), self.schedule.spacing_parts());
        // Below 2^64 nanoseconds of less than 2^53 parts each.
        let since_ns = i128::from(at_ns) + i128::from(tai_at_zero_ns) - i128::from(reads.ns);
        let since = since_ns * parts - i128::from(reads.part);
        let ticks = since.div_euclid(i128::from(spacing));
        // A packet is read at TVD itself.
        self.drained =
            i64::try_from(ticks + 1).unwrap_or(if ticks < 0 { i64::MIN / 4 } else { i64::MAX / 4 });
        let part = u64::try_from(since.rem_euclid(i128::from(spacing))).expect("below TRS");
        self.reader = Ticker { part, at_ns, ..self.reader };
    }

    /// One packet of the image, at `at_ns`.
    #[inline]
    pub fn packet(&mut self, at_ns: u64) -> Levels {
        self.group(at_ns, 1)
    }

    /// `count` packets of the image at the same time; the levels are those after the last.
    ///
    /// # Panics
    ///
    /// When `count` is 0.
    #[inline]
    pub fn group(&mut self, at_ns: u64, count: u32) -> Levels {
        assert!(count > 0, "a group has packets");
        let count = i64::from(count);
        if self.last_ns == Some(at_ns) {
            // Packets of one burst: nothing drains between them.
            self.burst += count;
            self.packets += count;
            let Extremes { burst_max, buffer_max, .. } = &mut self.extremes;
            *burst_max = self.burst.max(*burst_max);
            *buffer_max = (self.packets - self.drained).max(*buffer_max);
            return self.levels();
        }
        match &mut self.network {
            None => {
                let (period, parts) = drain_of_network(&self.schedule);
                self.network = Some(Ticker::new(period, parts, at_ns));
                self.burst = 0;
            }
            Some(network) => {
                let cleared = network.advance(at_ns);
                self.burst = (self.burst + 1).saturating_sub_unsigned(cleared).max(0);
            }
        }
        // The others of the group come at the same time, in which nothing drains.
        self.burst += count - 1;
        let (lowest, highest) = self.read(at_ns, count);
        let Extremes { burst_max, buffer_min, buffer_max } = &mut self.extremes;
        *burst_max = self.burst.max(*burst_max);
        *buffer_min = lowest.min(*buffer_min);
        *buffer_max = highest.max(*buffer_max);
        self.levels()
    }

    /// Both levels after the last packet.
    #[inline]
    pub const fn levels(&self) -> Levels {
        Levels { burst: self.burst, buffer: self.packets - self.drained }
    }

    /// VRX after the first of `count` packets and after the highest.
    #[inline]
    fn read(&mut self, at_ns: u64, count: i64) -> (i64, i64) {
        if self.reference == Reference::EachImage && self.packets < self.watermark {
            return self.fill(at_ns, count);
        }
        self.last_ns = Some(at_ns);
        self.drained = self.drained.saturating_add_unsigned(self.reader.advance(at_ns));
        let before = self.packets;
        self.packets += count;
        (before + 1 - self.drained, self.packets - self.drained)
    }

    /// The same while the reader of [`Reference::EachImage`] has not started.
    fn fill(&mut self, at_ns: u64, count: i64) -> (i64, i64) {
        let first = self.packets + 1;
        self.packets += count;
        if self.packets < self.watermark {
            return (first, self.packets);
        }
        // It starts with the packet that reaches the mark, and reads one at once.
        self.drained = 1;
        self.reader = Ticker { part: 0, at_ns, ..self.reader };
        (first.min(self.watermark - 1), self.packets - 1)
    }

    /// Ends the image and says what it did.
    pub fn end(&mut self) -> Image {
        Image {
            packets: u32::try_from(self.packets).unwrap_or(u32::MAX),
            extremes: self.extremes,
            held: self.limits.held(&self.extremes),
        }
    }
}

/// T / N / 1.1 in lowest terms: the drain factor of section 6.6.1 is 1.1.
pub(super) const fn drain_of_network(schedule: &Schedule) -> (u64, u64) {
    let (frames, seconds) = schedule.images().rate().ratio();
    let period = seconds as u64 * 1_000_000_000 * 10;
    let parts = frames as u64 * schedule.images().packets as u64 * 11;
    let divisor = greatest_divisor(period, parts);
    (period / divisor, parts / divisor)
}

/// Counts whole periods as time goes on, and forgets nothing of what is over.
#[derive(Clone, Copy, Debug)]
struct Ticker {
    /// A period in parts of a nanosecond.
    period: u64,
    /// A nanosecond in the same parts.
    parts: u64,
    /// Since the last whole period.
    part: u64,
    at_ns: u64,
}

impl Ticker {
    const fn new(period: u64, parts: u64, at_ns: u64) -> Self {
        Self { period, parts, part: 0, at_ns }
    }

    /// Whole periods that ended since the last call.
    #[inline]
    fn advance(&mut self, now_ns: u64) -> u64 {
        let elapsed_ns = now_ns.saturating_sub(self.at_ns);
        if elapsed_ns == 0 {
            return 0;
        }
        self.at_ns = now_ns;
        // Mostly: a group's distance fits into 64 bits of parts, and a division of 64 bits costs a
        // third of one of 128.
        match elapsed_ns.checked_mul(self.parts).and_then(|parts| parts.checked_add(self.part)) {
            Some(parts) => {
                self.part = parts % self.period;
                parts / self.period
            }
            None => self.advance_far(elapsed_ns),
        }
    }

    #[cold]
    fn advance_far(&mut self, elapsed_ns: u64) -> u64 {
        let parts = u128::from(elapsed_ns) * u128::from(self.parts) + u128::from(self.part);
        let period = u128::from(self.period);
        self.part = u64::try_from(parts % period).expect("below the period");
        u64::try_from(parts / period).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
