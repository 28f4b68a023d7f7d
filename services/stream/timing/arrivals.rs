//! The timing of a stream that arrives: which image a packet is of, and when it came.
//!
//! A receiver is told the rate and the raster, but not into how many packets the sender cuts an
//! image; that is learned from sequence numbers, of two images in a row that agree. Which image it
//! is, is in the RTP timestamp where that counts from the epoch, as ST 2110-10 has it; else it is
//! the one that an ideal sender would send at the time. Images with packets missing are not judged:
//! what is lost is told elsewhere, and the reader's buffer is then too low for no reason of time.

use super::Class;
use super::meter::{Image, Levels, Meter, Reference};
use super::record::Merge;
use super::schedule::{Error, Images, Scan, Schedule};

/// What a receiver knows of a stream before the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// All but the number of packets, which is learned.
    pub images: Images,
    /// The class that the sender claims; it says how the stream is read.
    pub class: Class,
    /// TROFFSET in microseconds, where it is not the default.
    pub offset_us: Option<u32>,
    /// What TVD is measured from.
    pub reference: Reference,
}

/// The lowest and the highest of some nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of all that were.
    pub min_ns: i64,
    /// Likewise.
    pub max_ns: i64,
}

impl Span {
    const fn of(ns: i64) -> Self {
        Self { min_ns: ns, max_ns: ns }
    }
}

impl Merge for Span {
    const NONE: Self = Self { min_ns: i64::MAX, max_ns: i64::MIN };

    fn and(&self, other: &Self) -> Self {
        Self { min_ns: self.min_ns.min(other.min_ns), max_ns: self.max_ns.max(other.max_ns) }
    }
}

/// When images came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The first packet, after `k * T` (FPT).
    pub first_packet: Span,
    /// Every packet, after the moment that its RTP timestamp names.
    pub latency: Span,
}

impl Merge for Times {
    const NONE: Self = Self { first_packet: Span::NONE, latency: Span::NONE };

    fn and(&self, other: &Self) -> Self {
        Self {
            first_packet: self.first_packet.and(&other.first_packet),
            latency: self.latency.and(&other.latency),
        }
    }
}

/// An image that has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// What the meter says; `None` where packets were missing, or nothing is known yet to measure
    /// with.
    pub image: Option<Image>,
    /// When it came.
    pub times: Times,
}

/// What is read from a packet's RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Sequence number, of which 16 bits suffice here.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Whether it is the last packet of its image.
    pub marker: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    timestamp: u32,
    index: u64,
    first_sequence: u16,
    packets: u32,
    /// TAI of the moment that the timestamp names.
    named_ns: u64,
    ended: bool,
    /// When the last packet came: packets of one burst have one latency.
    last_ns: u64,
    times: Times,
}

/// Follows one stream.
#[derive(Clone, Debug)]
pub struct Arrivals {
    expected: Expected,
    meter: Option<Meter>,
    open: Option<Open>,
    /// Packets of the image before, as its and the next one's sequence numbers say.
    packets_before: u32,
    /// Whether the last packet was one of the image that is being measured.
    taken: bool,
}

/// A packet whose timestamp is behind by less than this is a straggler of an image that is over;
/// one that is further behind is of a source that counts anew. A second, in ticks: no network
/// reorders so far, and a clock that is set back by less is rare.
const STRAGGLER_TICKS: i32 = 90_000;

/// A timestamp further away than this from the time of its arrival does not count from the epoch.
const NEAR_TICKS: i32 = 90_000;

impl Arrivals {
    /// Of a stream of which nothing has come.
    pub const fn new(expected: Expected) -> Self {
        Self { expected, meter: None, open: None, packets_before: 0, taken: false }
    }

    /// The same where it is known how many packets an image has.
    ///
    /// # Errors
    ///
    /// Where there is no such schedule.
    pub fn with_packets(expected: Expected, packets: u32) -> Result<Self, Error> {
        let mut arrivals = Self::new(expected);
        arrivals.meter = Some(meter(&expected, packets)?);
        Ok(arrivals)
    }

    /// VRX and C_INST after the last packet, where it was measured.
    pub fn levels(&self) -> Option<Levels> {
        self.meter.as_ref().filter(|_| self.taken).map(Meter::levels)
    }

    /// The meter, once it is known how many packets an image has.
    pub const fn meter(&self) -> Option<&Meter> {
        self.meter.as_ref()
    }

    /// Takes one packet that came at `at_ns` of a clock that shows 0 when TAI is `tai_at_zero_ns`.
    /// Says what the image before it was, where it is the first of another.
    #[inline]
    pub fn packet(&mut self, at_ns: u64, tai_at_zero_ns: u64, stamp: Stamp) -> Option<Arrived> {
        let tai_ns = at_ns.saturating_add(tai_at_zero_ns);
        let mut arrived = None;
        match &self.open {
            Some(open) if open.timestamp == stamp.timestamp && !self.next_segment(open) => {}
            Some(open) if is_straggler(open.timestamp, stamp.timestamp) => {
                self.taken = false;
                return None;
            }
            _ => {
                arrived = self.close(stamp.sequence);
                self.begin(at_ns, tai_at_zero_ns, stamp);
            }
        }
        if let Some(open) = &mut self.open {
            open.packets = open.packets.saturating_add(1);
            open.ended |= stamp.marker;
            if open.last_ns != at_ns {
                open.last_ns = at_ns;
                let latency = Span::of(difference(tai_ns, open.named_ns));
                open.times.latency = open.times.latency.and(&latency);
            }
        }
        if let Some(meter) = &mut self.meter {
            meter.packet(at_ns);
        }
        self.taken = true;
        arrived
    }

    /// The two segments of a frame may have one timestamp: then the marker is between them.
    fn next_segment(&self, open: &Open) -> bool {
        open.ended && self.expected.images.scan == Scan::Segmented
    }

    #[cold]
    fn begin(&mut self, at_ns: u64, tai_at_zero_ns: u64, stamp: Stamp) {
        let rate = self.expected.images.rate();
        let tai_ns = at_ns.saturating_add(tai_at_zero_ns);
        let (named_ns, behind) = named(tai_ns, stamp.timestamp);
        // The timestamp is the floor of `k * T` in ticks.
        let index = rate.next_frame(named_ns);
        let on_grid = stamp.timestamp.wrapping_sub(rate.timestamp(index)).cast_signed().abs() <= 1;
        let index = match &self.open {
            Some(open) if open.timestamp == stamp.timestamp => open.index + 1,
            _ if on_grid && behind.abs() < NEAR_TICKS => index,
            _ => ideal_index(rate, tai_ns),
        };
        let first_packet = Span::of(difference(tai_ns, rate.frame_start_ns(index)));
        self.open = Some(Open {
            timestamp: stamp.timestamp,
            index,
            first_sequence: stamp.sequence,
            packets: 0,
            named_ns,
            ended: false,
            last_ns: at_ns,
            times: Times { first_packet, latency: Span::of(difference(tai_ns, named_ns)) },
        });
        if let Some(meter) = &mut self.meter {
            meter.begin(index, at_ns, tai_at_zero_ns);
        }
    }

    /// Ends the open image, whose next one begins with `sequence`.
    #[cold]
    fn close(&mut self, sequence: u16) -> Option<Arrived> {
        let open = self.open?;
        let image = self.meter.as_mut().map(Meter::end);
        // By 16 bits of sequence numbers, and by what has come: losses do not disturb it, nor do
        // more than 65,536 packets an image.
        let low = u32::from(sequence.wrapping_sub(open.first_sequence));
        let turns = open.packets.saturating_sub(low).div_ceil(1 << 16);
        let packets = low.saturating_add(turns << 16);
        let whole = open.packets == packets;
        let known = self.meter.map(|meter| meter.schedule().images().packets);
        if packets == self.packets_before && known != Some(packets) {
            self.learn(packets);
        }
        self.packets_before = packets;
        let image = image.filter(|_| whole && known == Some(packets));
        Some(Arrived { image, times: open.times })
    }

    /// Images have so many packets.
    fn learn(&mut self, packets: u32) {
        // What was wrong with the offset was said when the receiver was built; a number of packets
        // that no image has is a source that makes no sense, and is not measured.
        self.meter = meter(&self.expected, packets).ok();
    }
}

fn meter(expected: &Expected, packets: u32) -> Result<Meter, Error> {
    let images = Images { packets, ..expected.images };
    let schedule = Schedule::new(images, expected.class.read(), expected.offset_us)?;
    Ok(Meter::new(schedule, expected.reference))
}

/// The image that an ideal sender sends at `tai_ns`.
fn ideal_index(rate: super::Rate, tai_ns: u64) -> u64 {
    let next = rate.next_frame(tai_ns);
    if rate.frame_start_ns(next) == tai_ns { next } else { next.saturating_sub(1) }
}

/// Whether a packet of `timestamp` is left over from before the image of `open`.
const fn is_straggler(open: u32, timestamp: u32) -> bool {
    let behind = open.wrapping_sub(timestamp).cast_signed();
    behind > 0 && behind < STRAGGLER_TICKS
}

/// The moment nearest to `tai_ns` that a clock of 90 kHz since the epoch shows as `timestamp`, and
/// by how many ticks it is in the past.
fn named(tai_ns: u64, timestamp: u32) -> (u64, i32) {
    // 90 kHz is 9 ticks in 100 microseconds.
    let ticks = u64::try_from(u128::from(tai_ns) * 9 / 100_000).expect("fewer than nanoseconds");
    #[expect(clippy::cast_possible_truncation, reason = "the clock wraps")]
    let behind = (ticks as u32).wrapping_sub(timestamp).cast_signed();
    let ticks = ticks.saturating_add_signed(-i64::from(behind));
    let ns = u128::from(ticks) * 100_000 / 9;
    (u64::try_from(ns).unwrap_or(u64::MAX), behind)
}

/// `one - other`, as far as 64 bits go.
fn difference(one: u64, other: u64) -> i64 {
    i64::try_from(i128::from(one) - i128::from(other)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TAI when the clock shows 0: a whole second, but not one whose ticks end in 0.
    const ZERO_NS: u64 = 1_700_000_001_000_000_000;
    const FIRST: u64 = 1_700_000_002 * 50;

    fn expected() -> Expected {
        let images = Images {
            frames: "50".parse().unwrap(),
            scan: Scan::Progressive,
            height: 1080,
            packets: 0,
        };
        Expected { images, class: Class::Narrow, offset_us: None, reference: Reference::Epoch }
    }

    /// A sender of packets at their times, `lead` packets ahead of the reader.
    struct Source {
        schedule: Schedule,
        sequence: u16,
        /// What its RTP clock shows at the epoch.
        clock: u32,
        lead: u32,
    }

    impl Source {
        fn new(expected: &Expected, packets: u32) -> Self {
            let images = Images { packets, ..expected.images };
            let schedule = Schedule::new(images, expected.class.read(), None).unwrap();
            Self { schedule, sequence: 65_000, clock: 0, lead: 4 }
        }

        /// The packets of image `index`, by shard time.
        fn image(&mut self, index: u64) -> Vec<(u64, Stamp)> {
            let images = *self.schedule.images();
            let timestamp = images.rate().timestamp(index).wrapping_add(self.clock);
            let start = self.schedule.send_starts(index, self.lead).ns + 1 - ZERO_NS;
            (0..images.packets)
                .map(|packet| {
                    let stamp = Stamp {
                        sequence: self.sequence,
                        timestamp,
                        marker: packet + 1 == images.packets,
                    };
                    self.sequence = self.sequence.wrapping_add(1);
                    (start + self.schedule.spacing_ns(packet), stamp)
                })
                .collect()
        }
    }

    /// What is said of each image when the next begins.
    fn follow(arrivals: &mut Arrivals, packets: &[(u64, Stamp)]) -> Vec<Arrived> {
        let take = |&(at_ns, stamp): &(u64, Stamp)| arrivals.packet(at_ns, ZERO_NS, stamp);
        packets.iter().filter_map(take).collect()
    }

    #[test]
    fn learns_the_packets_of_an_image_and_measures_from_then_on() {
        for packets in [4320, 4115, 70_000] {
            let mut arrivals = Arrivals::new(expected());
            let mut source = Source::new(&expected(), packets);
            let sent: Vec<_> = (FIRST..FIRST + 6).flat_map(|index| source.image(index)).collect();
            // We come in the middle of the first.
            let arrived = follow(&mut arrivals, &sent[1000..]);
            let judged: Vec<bool> = arrived.iter().map(|it| it.image.is_some()).collect();
            // Two whole ones tell, and the next is measured.
            assert_eq!(judged, [false, false, false, true, true], "{packets}");
            let image = arrived[4].image.unwrap();
            assert_eq!((image.packets, image.held), (packets, Some(Class::Narrow)));
        }
    }

    #[test]
    fn first_packet_and_latency_are_counted_from_the_image_and_its_timestamp() {
        let mut arrivals = Arrivals::new(expected());
        let mut source = Source::new(&expected(), 4320);
        let sent: Vec<_> = (FIRST..FIRST + 2).flat_map(|index| source.image(index)).collect();
        let [arrived] = <[Arrived; 1]>::try_from(follow(&mut arrivals, &sent)).unwrap();
        // TVD less four TRS, and a nanosecond.
        assert_eq!(arrived.times.first_packet, Span::of(746_667));
        let last = 746_667 + 4444 * 4319 + 1919;
        assert_eq!(arrived.times.latency, Span { min_ns: 746_667, max_ns: last });
    }

    /// 60,000/1001: timestamps are rounded down to a tick of 11 us, k * T is not.
    #[test]
    fn a_timestamp_names_its_image_at_any_rate_and_across_its_wrap() {
        for rate in ["24000/1001", "60000/1001", "25"] {
            let rate: super::super::Rate = rate.parse().unwrap();
            // Where the 32 bits begin anew for the 35,624th time, in 2023.
            let wrap_ns = (35_624_u64 << 32) * 100_000 / 9;
            let first = rate.next_frame(wrap_ns) - 3;
            for index in first..first + 6 {
                for after_ns in [0, 1, 700_000, 30_000_000] {
                    let tai_ns = rate.frame_start_ns(index) + after_ns;
                    let (named_ns, behind) = named(tai_ns, rate.timestamp(index));
                    assert_eq!(rate.next_frame(named_ns), index, "{rate}");
                    let ticks = i64::try_from(after_ns).unwrap() * 9 / 100_000;
                    assert!((i64::from(behind) - ticks).abs() <= 1, "{rate}");
                    assert!(difference(tai_ns, named_ns) - 11_112 <= after_ns.cast_signed());
                }
                // A clock that is behind sees it before it begins.
                let (named_ns, behind) =
                    named(rate.frame_start_ns(index) - 500_000, rate.timestamp(index));
                assert_eq!(rate.next_frame(named_ns), index, "{rate}");
                assert!(behind < 0);
            }
        }
    }

    #[test]
    fn a_timestamp_that_counts_from_anywhere_leaves_the_image_to_the_time() {
        let mut arrivals = Arrivals::new(expected());
        let mut source = Source::new(&expected(), 4320);
        source.clock = 0x5eed_5eed;
        let sent: Vec<_> = (FIRST..FIRST + 5).flat_map(|index| source.image(index)).collect();
        let arrived = follow(&mut arrivals, &sent);
        assert_eq!(arrived[3].image.unwrap().held, Some(Class::Narrow));
        assert_eq!(arrived[3].times.first_packet, Span::of(746_667));
    }

    #[test]
    fn an_image_with_packets_missing_is_not_judged_and_the_next_is() {
        let mut arrivals = Arrivals::new(expected());
        let mut source = Source::new(&expected(), 4320);
        let mut judged = Vec::new();
        for index in FIRST..FIRST + 9 {
            let mut image = source.image(index);
            match index - FIRST {
                4 => drop(image.remove(77)),
                // The first is missing in the next: the numbers of two images are wrong by one.
                6 => drop(image.remove(0)),
                _ => {}
            }
            judged.extend(follow(&mut arrivals, &image).iter().map(|it| it.image.is_some()));
        }
        assert_eq!(judged, [false, false, true, true, false, false, false, true]);
    }

    #[test]
    fn a_straggler_disturbs_nothing_and_a_source_that_counts_anew_is_followed() {
        let mut arrivals = Arrivals::new(expected());
        let mut source = Source::new(&expected(), 4320);
        let mut sent: Vec<_> = (FIRST..FIRST + 5).flat_map(|index| source.image(index)).collect();
        let late = sent[3 * 4320 + 4319];
        sent.insert(4 * 4320 + 2, late);
        let arrived = follow(&mut arrivals, &sent);
        assert_eq!(arrived.len(), 4, "no image more");
        let mut again = Source::new(&expected(), 4320);
        again.clock = 0u32.wrapping_sub(200_000);
        let sent: Vec<_> = (FIRST + 5..FIRST + 8).flat_map(|index| again.image(index)).collect();
        assert_eq!(follow(&mut arrivals, &sent).len(), 3);
    }

    #[test]
    fn segments_of_one_timestamp_are_two_images() {
        let images =
            Images { scan: Scan::Segmented, frames: "25".parse().unwrap(), ..expected().images };
        let expected = Expected { images, ..expected() };
        let mut arrivals = Arrivals::new(expected);
        let mut source = Source::new(&expected, 2160);
        let mut arrived = Vec::new();
        for frame in FIRST / 2..FIRST / 2 + 4 {
            let (first, second) = (source.image(2 * frame), source.image(2 * frame + 1));
            let timestamp = first[0].1.timestamp;
            arrived.extend(follow(&mut arrivals, &first));
            let second: Vec<_> = (second.into_iter())
                .map(|(at_ns, stamp)| (at_ns, Stamp { timestamp, ..stamp }))
                .collect();
            arrived.extend(follow(&mut arrivals, &second));
        }
        assert_eq!(arrived.len(), 7);
        for (number, arrived) in arrived.iter().enumerate().skip(2) {
            assert_eq!(arrived.image.unwrap().held, Some(Class::Narrow), "{number}");
            // TROdefault of fields, 782,222 ns, less four TRS of 8888.9; the second half a line later.
            let first = if number % 2 == 0 { 746_667 } else { 764_445 };
            assert_eq!(arrived.times.first_packet, Span::of(first), "{number}");
        }
    }

    /// Whatever comes, nothing panics.
    #[test]
    fn nonsense_is_survived() {
        let mut random = 1_u64;
        for reference in [Reference::Epoch, Reference::FirstPacket, Reference::EachImage] {
            let mut arrivals = Arrivals::new(Expected { reference, ..expected() });
            let mut at_ns = 0;
            for _ in 0..200_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let few = |shift: u32, bits: u32| (random >> shift) & ((1 << bits) - 1);
                at_ns = match few(60, 4) {
                    0 => random,
                    _ => at_ns.saturating_add(few(30, 14)),
                };
                let stamp = Stamp {
                    sequence: u16::try_from(few(20, 2)).unwrap(),
                    timestamp: u32::try_from(few(40, 2) * 1800).unwrap(),
                    marker: few(50, 2) == 0,
                };
                arrivals.packet(at_ns, ZERO_NS, stamp);
            }
        }
    }
}
