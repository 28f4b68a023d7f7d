//! The meter against a slow transcription of LIST in rationals of any size, and by hand.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::ToPrimitive;

use super::super::schedule::{Images, Read, Scan};
use super::*;

/// LIST's `c_calculator` and `vrx_calculator`, line by line, with exact numbers where LIST has
/// 64-bit fractions and doubles.
struct Oracle {
    period: BigRational,
    drain: BigRational,
    spacing: BigRational,
    offset: BigRational,
    reference: Reference,
    watermark: i64,
    initial: Option<u64>,
    cleared: BigInt,
    cinst: BigInt,
    first: Option<(u64, BigRational)>,
    tvd: BigRational,
    start_draining: BigRational,
    in_frame: i64,
    drained: BigInt,
    vrx: BigInt,
}

fn big(over: u64, under: u64) -> BigRational {
    BigRational::new(over.into(), under.into())
}

impl Oracle {
    fn new(schedule: &Schedule, reference: Reference) -> Self {
        let images = schedule.images();
        let (frames, seconds) = images.rate().ratio();
        let period = big(u64::from(seconds) * 1_000_000_000, u64::from(frames));
        let packets = big(images.packets.into(), 1);
        let (active, of_active) = schedule.active();
        let default = match (images.scan, images.height) {
            (Scan::Progressive, ..1080) => big(28, 750),
            (Scan::Progressive, _) => big(43, 1125),
            (_, ..576) => big(20, 525) * big(2, 1),
            (_, ..1080) => big(26, 625) * big(2, 1),
            _ => big(22, 1125) * big(2, 1),
        };
        let full = (&packets / (big(27_000, 1_000_000_000) * &period)).floor().to_integer();
        Self {
            drain: &period / &packets / big(11, 10),
            spacing: &period * big(active, of_active) / &packets,
            offset: default * &period,
            period,
            reference,
            watermark: full.to_i64().unwrap().max(8) * 3 / 4,
            initial: None,
            cleared: 0.into(),
            cinst: 0.into(),
            first: None,
            tvd: big(0, 1),
            start_draining: big(0, 1),
            in_frame: 0,
            drained: 0.into(),
            vrx: 0.into(),
        }
    }

    fn begin(&mut self, index: u64, at_ns: u64) {
        let at = big(at_ns, 1);
        let (first, first_at) = self.first.get_or_insert((index, at.clone())).clone();
        self.tvd = match self.reference {
            Reference::Epoch => big(index, 1) * &self.period + &self.offset,
            Reference::FirstPacket => first_at + &self.period * big(index - first, 1),
            Reference::EachImage => at,
        };
        (self.drained, self.vrx, self.in_frame) = (0.into(), 0.into(), 0);
    }

    fn packet(&mut self, at_ns: u64) -> Levels {
        self.on_c(at_ns);
        self.on_vrx(&big(at_ns, 1));
        Levels { burst: self.cinst.to_i64().unwrap(), buffer: self.vrx.to_i64().unwrap() }
    }

    fn on_c(&mut self, at_ns: u64) {
        let Some(initial) = self.initial else {
            self.initial = Some(at_ns);
            return;
        };
        let cleared = (big(at_ns - initial, 1) / &self.drain).floor().to_integer();
        let buffer: BigInt = &self.cinst + 1 - (&cleared - &self.cleared);
        (self.cinst, self.cleared) = (buffer.max(0.into()), cleared);
    }

    fn on_vrx(&mut self, at: &BigRational) {
        if self.reference == Reference::EachImage {
            self.in_frame += 1;
            if self.in_frame < self.watermark {
                (self.vrx, self.drained) = (self.in_frame.into(), 0.into());
                return;
            }
            if self.in_frame == self.watermark {
                self.start_draining = at.clone();
            }
            self.tvd = self.start_draining.clone();
        }
        let drained = ((at - &self.tvd + &self.spacing) / &self.spacing).floor().to_integer();
        self.vrx = &self.vrx + 1 - (&drained - &self.drained);
        self.drained = drained;
    }
}

fn schedule(height: u32, scan: Scan, rate: &str, packets: u32, read: Read) -> Schedule {
    let images = Images { frames: rate.parse().unwrap(), scan, height, packets };
    Schedule::new(images, read, None).unwrap()
}

fn hd() -> Schedule {
    schedule(1080, Scan::Progressive, "50", 4320, Read::Gapped)
}

/// Numbers by chance, always the same for one seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64, Marsaglia 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Frames of groups whose spacing, lateness and stalls are by chance, packet by packet and group
/// by group, against the oracle.
#[test]
fn agrees_with_list_on_every_packet() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x21_10_21);
    println!("SEED={seed}");
    let mut chance = Chance(seed);
    let formats = [
        schedule(1080, Scan::Progressive, "50", 4320, Read::Gapped),
        schedule(1080, Scan::Progressive, "60000/1001", 4115, Read::Linear),
        schedule(1080, Scan::Interlaced, "30000/1001", 2058, Read::Gapped),
        schedule(576, Scan::Interlaced, "25", 577, Read::Gapped),
        schedule(2160, Scan::Progressive, "24000/1001", 16_458, Read::Gapped),
        // Parts so fine that a stall leaves 64 bits.
        schedule(720, Scan::Progressive, "59999/1013", 2879, Read::Linear),
    ];
    for schedule in formats {
        for reference in [Reference::Epoch, Reference::FirstPacket, Reference::EachImage] {
            let mut oracle = Oracle::new(&schedule, reference);
            let (mut by_packet, mut by_group) =
                (Meter::new(schedule, reference), Meter::new(schedule, reference));
            // TAI of the packets' clock, and when that shows 0; the oracle knows only TAI.
            let zero_ns = 1_700_000_000_000_000_000 + chance.below(1_000_000_000);
            let first = schedule.images().rate().next_frame(zero_ns + 1_000_000_000);
            let mut now = 0;
            for frame in 0..6 {
                let index = first + frame + frame / 4 * 3; // Some are skipped.
                let start = schedule.send_starts(index, 8).ns - zero_ns;
                now = now.max(start + chance.below(3_000));
                let (at, zero) = match reference {
                    Reference::Epoch => (now + zero_ns, 0),
                    _ => (now, 0),
                };
                oracle.begin(index, at);
                let _ = zero;
                by_packet.begin(index, now, zero_ns);
                by_group.begin(index, now, zero_ns);
                let mut extremes = Extremes::NONE;
                let mut sent = 0;
                while sent < 300 {
                    let count = 1 + u32::try_from(chance.below(20)).unwrap();
                    let mut last = Levels { burst: 0, buffer: 0 };
                    for _ in 0..count {
                        let at = if reference == Reference::Epoch { now + zero_ns } else { now };
                        last = oracle.packet(at);
                        assert_eq!(by_packet.packet(now), last, "{schedule:?} {reference:?}");
                        extremes = extremes.and(&Extremes {
                            burst_max: last.burst,
                            buffer_min: last.buffer,
                            buffer_max: last.buffer,
                        });
                    }
                    assert_eq!(by_group.group(now, count), last, "{schedule:?} {reference:?}");
                    sent += count;
                    now += match chance.below(50) {
                        0 => chance.below(5_000_000),
                        1 => chance.below(100_000_000_000),
                        2..10 => 0,
                        _ => schedule.spacing_ns(count) * (80 + chance.below(40)) / 100,
                    };
                }
                assert_eq!(by_packet.end(), by_group.end());
                assert_eq!(by_packet.end().extremes, extremes, "{schedule:?} {reference:?}");
                assert_eq!(by_packet.end().packets, sent);
            }
        }
    }
}

/// Sends frames of groups of `size` at their times, `lead` packets ahead.
fn steady(schedule: Schedule, size: u32, lead: u32, frames: u64) -> Vec<Image> {
    let mut meter = Meter::new(schedule, Reference::Epoch);
    let packets = schedule.images().packets;
    (0..frames)
        .map(|frame| {
            let index = 85_000_000_000 + frame;
            let start = schedule.send_starts(index, lead);
            let spacing = u128::from(schedule.spacing_parts());
            let at = |packet: u32| {
                let parts = u128::from(packet) * spacing + u128::from(start.part);
                start.ns + u64::try_from(parts.div_ceil(u128::from(schedule.parts()))).unwrap()
            };
            meter.begin(index, at(0), 0);
            for packet in (0..packets).step_by(size as usize) {
                meter.group(at(packet), size.min(packets - packet));
            }
            meter.end()
        })
        .collect()
}

/// What was measured of a sender that is one group ahead: groups of 4 keep narrow, of 16 wide,
/// of 64 nothing.
#[test]
fn the_size_of_groups_decides_the_class() {
    let table = [
        (4, 3, (4, 7), Some(Class::Narrow)),
        (16, 15, (16, 31), Some(Class::Wide)),
        (64, 63, (64, 127), None),
    ];
    for (size, burst, (lowest, highest), held) in table {
        for image in steady(hd(), size, size, 3) {
            let Extremes { burst_max, buffer_min, buffer_max } = image.extremes;
            assert_eq!((burst_max, image.held), (burst, held), "groups of {size}");
            // The last group of 64 is half a one, so nothing here is about its end.
            assert_eq!((buffer_min, buffer_max), (lowest, highest), "groups of {size}");
        }
    }
}

#[test]
fn packets_at_their_reading_times_leave_the_buffer_empty() {
    let image = steady(hd(), 1, 0, 2)[1];
    assert_eq!(image.extremes, Extremes { burst_max: 0, buffer_min: 0, buffer_max: 0 });
    assert_eq!((image.packets, image.held), (4320, Some(Class::Narrow)));
}

/// TVD is 1 s + 764,444.4 ns.
#[test]
fn a_packet_counts_from_the_nanosecond_in_which_it_is_read() {
    let at = |ns: u64| {
        let mut meter = Meter::new(hd(), Reference::Epoch);
        meter.begin(50, ns, 0);
        meter.packet(ns).buffer
    };
    // Four TRS early is 4, by LIST, and from TVD on 0.
    assert_eq!(at(1_000_746_666), 5);
    assert_eq!(at(1_000_746_667), 4);
    assert_eq!(at(1_000_764_444), 1);
    assert_eq!(at(1_000_764_445), 0);
    assert_eq!(at(1_000_768_888), 0);
    assert_eq!(at(1_000_768_889), -1);
}

#[test]
fn the_network_drains_by_a_tenth_more_than_the_mean() {
    // T / N / 1.1 is 4208.754 ns: 11 drained packets last 10 mean spacings, 46,296.3 ns.
    let mut meter = Meter::new(hd(), Reference::Epoch);
    meter.begin(50, 0, 1_000_000_000);
    assert_eq!(meter.group(0, 12).burst, 11);
    assert_eq!(meter.group(46_296, 1).burst, 2);
    assert_eq!(meter.group(46_297, 1).burst, 2);
    let mut meter = Meter::new(hd(), Reference::Epoch);
    meter.begin(50, 0, 1_000_000_000);
    meter.group(0, 12);
    assert_eq!(meter.group(46_297, 1).burst, 1);
    // Never below nothing, and the next image goes on from there.
    assert_eq!(meter.group(90_000_000, 1).burst, 0);
    meter.begin(55, 90_000_000, 1_000_000_000);
    assert_eq!(meter.group(90_000_000, 1).burst, 1);
}

#[test]
fn a_late_packet_takes_the_rest_of_the_image_below_zero_and_not_the_next() {
    let schedule = hd();
    let mut meter = Meter::new(schedule, Reference::Epoch);
    let start = schedule.send_starts(50, 4).ns;
    meter.begin(50, start, 0);
    meter.group(start, 3);
    let late = start + schedule.spacing_ns(3) + 100_000;
    assert_eq!(meter.group(late, 3).buffer, 4 + 2 - 22);
    let image = meter.end();
    assert_eq!(image.extremes.buffer_min, 4 - 22);
    assert_eq!(image.held, None);
    let start = schedule.send_starts(51, 4).ns + 1;
    meter.begin(51, start, 0);
    meter.group(start, 3);
    assert_eq!(meter.end().held, Some(Class::Narrow));
}

#[test]
fn the_image_of_a_moment_is_the_one_that_began_before_it() {
    let meter = Meter::new(hd(), Reference::Epoch);
    for (tai_ns, index) in [(0, 0), (19_999_999, 0), (20_000_000, 1), (1_000_000_001, 50)] {
        assert_eq!(meter.image_at(tai_ns), index, "{tai_ns}");
    }
}

#[test]
fn words_are_those_of_the_configuration() {
    for word in Reference::WORDS {
        let read: Reference = serde_json::from_value(word.into()).unwrap();
        assert_eq!(Reference::of(word), Some(read));
    }
    assert_eq!(Reference::of("noon"), None);
}

#[test]
fn times_that_run_backwards_and_absurd_ones_are_survived() {
    let mut meter = Meter::new(hd(), Reference::FirstPacket);
    meter.begin(u64::MAX / 1_000_000_000, u64::MAX, u64::MAX);
    meter.group(u64::MAX, u32::MAX);
    meter.group(0, 1);
    meter.begin(7, 0, 0);
    assert_eq!(meter.packet(0).buffer, 0, "a new first packet");
    let mut meter = Meter::new(hd(), Reference::Epoch);
    meter.begin(0, u64::MAX, u64::MAX);
    assert!(meter.packet(u64::MAX).buffer < -1_000_000);
}
