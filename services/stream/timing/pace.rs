//! When each group of packets leaves, and what becomes of a delay.
//!
//! ```text
//!  k*T      start = TVD - lead*TRS            TVD                       (k+1)*T
//!   │         │ group │ group │ group │ …      │ the reader reads …   │ gap │
//!   │         └group*TRS┘                      └ the lead is what it may find late
//! ```
//!
//! A sender is `lead` packets ahead of the receiver's reader, so that a group may leave late by as
//! many TRS and still be there in time. After a delay it may catch up, but not faster than the
//! network's bucket drains, which is a twentieth faster than the reader reads: a group leaves when
//! it is due *and* fits into the bucket. So no delay, however long, leads to a burst over CMAX.
//!
//! What is too late is not sent: after a stall, frames go on with one that has not begun. And
//! frames follow TAI when somebody sets it, forward or back, without a stop and without a burst.

use std::ops::Range;

use super::class::{Allotment, Class, Limits};
use super::meter::drain_of_network;
use super::schedule::{Moment, Schedule};

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// It left before its first packet was to be read.
    InTime,
    /// It used up the whole lead: the receiver's reader found nothing.
    Late,
}

/// Which image is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its index.
    pub image: u64,
    /// Images before it that are not sent, after a stall. Told once.
    pub skipped: u64,
    /// Somebody set TAI, and the images follow. Told once.
    pub stepped: bool,
}

/// Decides when one stream's groups leave.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    schedule: Schedule,
    allotment: Allotment,
    /// T/N/1.1 as a ratio of nanoseconds.
    drain: (u64, u64),
    /// When the bucket would be empty, on the shard's clock, if nothing more came.
    empty_ns: u64,
    /// TAI when the shard's clock shows 0, as last told.
    tai_at_zero_ns: u64,
    /// The image to be sent next, or being sent.
    image: u64,
    /// Its start on the shard's clock.
    start: Moment,
}

impl Pacer {
    /// A pacer whose next image is the first that has not begun.
    pub fn new(schedule: Schedule, class: Class, now_ns: u64, tai_at_zero_ns: u64) -> Self {
        let allotment = Allotment::new(class, &Limits::of(&schedule), &schedule);
        let mut pacer = Self {
            schedule,
            allotment,
            drain: drain_of_network(&schedule),
            empty_ns: 0,
            tai_at_zero_ns,
            image: 0,
            start: Moment { ns: 0, part: 0 },
        };
        pacer.image = pacer.first_after(now_ns);
        pacer.start = pacer.start_of(pacer.image);
        pacer
    }

    /// Groups of at most `packets`, for a sender that holds no more. The lead stays.
    ///
    /// # Panics
    ///
    /// When `packets` is 0.
    pub fn limit_groups(&mut self, packets: u32) {
        assert!(packets > 0, "a group has packets");
        self.allotment.group_packets = self.allotment.group_packets.min(packets);
    }

    /// How it uses its class.
    pub const fn allotment(&self) -> &Allotment {
        &self.allotment
    }

    /// Which image comes next, when it is `now_ns`: the one after the last that was sent, or
    /// after a stall the first that has not begun. The images between are not sent at all: a burst
    /// to catch up would reach receivers that have gone on without them.
    ///
    /// An image that should have begun less than half a period ago is still sent, late. At the
    /// gap, a twenty-fifth, every hiccup of the machine would cost an image that most receivers
    /// still show; beyond the half, the next one is the nearer.
    ///
    /// TAI that moved by more than half a period since the last call was set, not slewed: then
    /// images begin anew where TAI is now, and none is skipped.
    pub fn next(&mut self, now_ns: u64, tai_at_zero_ns: u64) -> Next {
        let half_ns = self.schedule.period_ns() / 2;
        let stepped = tai_at_zero_ns.abs_diff(self.tai_at_zero_ns) > half_ns;
        self.tai_at_zero_ns = tai_at_zero_ns;
        let before = self.image;
        self.start = self.start_of(before);
        if stepped || now_ns > self.start.ns.saturating_add(half_ns) {
            self.image = self.first_after(now_ns);
            self.start = self.start_of(self.image);
        }
        let skipped = if stepped { 0 } else { self.image - before };
        Next { image: self.image, skipped, stepped }
    }

    /// The image that is to be sent, as far as is known now.
    pub const fn image(&self) -> u64 {
        self.image
    }

    /// The present image was sent.
    pub const fn sent(&mut self) {
        self.image += 1;
    }

    /// TAI at the zero of the shard's clock, as the present image uses it.
    pub const fn tai_at_zero_ns(&self) -> u64 {
        self.tai_at_zero_ns
    }

    /// When the present image starts, on the shard's clock.
    pub const fn start_ns(&self) -> u64 {
        self.start.ns
    }

    /// When the present image's period ends, on the shard's clock.
    pub fn end_ns(&self) -> u64 {
        self.start.ns.saturating_add(self.schedule.period_ns())
    }

    /// When packet `packet` leaves if nothing is late, on the shard's clock.
    fn ideal_ns(&self, packet: u32) -> u64 {
        let (spacing, parts) = self.schedule.spacing_ratio();
        let into = u128::from(spacing) * u128::from(packet) + u128::from(self.start.part);
        // Rounded up: a nanosecond early would be one packet more in the reader's buffer.
        let into_ns = into.div_ceil(u128::from(parts));
        self.start.ns.saturating_add(u64::try_from(into_ns).expect("less than a period"))
    }

    /// The same in TAI, for a card that sends each packet at its own time.
    pub fn ideal_tai_ns(&self, packet: u32) -> u64 {
        self.ideal_ns(packet).saturating_add(self.tai_at_zero_ns)
    }

    /// By how much a group is behind that, as far as is known.
    pub fn slip_ns(&self, packets: &Range<u32>) -> u64 {
        let count = packets.end.saturating_sub(packets.start);
        self.due_ns(packets.start, count) - self.ideal_ns(packets.start)
    }

    /// When the `count` packets from `packet` on may leave, on the shard's clock.
    pub fn due_ns(&self, packet: u32, count: u32) -> u64 {
        let (period, of) = self.drain;
        let room = self.allotment.burst_packets.saturating_sub(count);
        let early_ns = u128::from(room) * u128::from(period) / u128::from(of);
        let early_ns = u64::try_from(early_ns).expect("a few packets");
        self.ideal_ns(packet).max(self.empty_ns.saturating_sub(early_ns))
    }

    /// The `count` packets from `packet` on left at `left_ns`: not when that was decided, between
    /// which and the wake-up the machine may have been elsewhere.
    pub fn left(&mut self, packet: u32, count: u32, left_ns: u64) -> Timing {
        let lead_ns = self.schedule.spacing_ns(self.allotment.lead_packets);
        let late_ns = left_ns.saturating_sub(self.ideal_ns(packet));
        let (period, parts) = self.drain;
        let drains = (u128::from(count) * u128::from(period)).div_ceil(u128::from(parts));
        let drains_ns = u64::try_from(drains).expect("a few packets");
        self.empty_ns = self.empty_ns.max(left_ns).saturating_add(drains_ns);
        // Within a TRS of its reading time the buffer is empty, not yet below that.
        if late_ns > lead_ns + self.schedule.spacing_ns(1) { Timing::Late } else { Timing::InTime }
    }

    /// The first image that starts at `now_ns` or later, to the nanosecond.
    fn first_after(&self, now_ns: u64) -> u64 {
        let tai_ns = now_ns.saturating_add(self.tai_at_zero_ns);
        let into_ns = self.schedule.send_starts(0, self.allotment.lead_packets).ns;
        self.schedule.images().rate().next_frame(tai_ns.saturating_sub(into_ns))
    }

    fn start_of(&self, image: u64) -> Moment {
        let Moment { ns, part } = self.schedule.send_starts(image, self.allotment.lead_packets);
        Moment { ns: ns.saturating_sub(self.tai_at_zero_ns), part }
    }
}

#[cfg(test)]
mod tests {
    use super::super::meter::{Image, Meter, Reference};
    use super::super::schedule::{Images, Scan};
    use super::*;

    /// TAI when the clock shows 0: a whole number of seconds, so that the clock shows the phase.
    const ZERO_NS: u64 = 1_700_000_000_000_000_000;

    fn schedule(height: u32, rate: &str, packets: u32, class: Class) -> Schedule {
        let images =
            Images { frames: rate.parse().unwrap(), scan: Scan::Progressive, height, packets };
        Schedule::new(images, class.sent(), None).unwrap()
    }

    fn hd(class: Class) -> Schedule {
        schedule(1080, "50", 4320, class)
    }

    /// A sender on a clock of our own, its groups as late as `late_ns` says, measured.
    struct Run {
        pacer: Pacer,
        meter: Meter,
        now_ns: u64,
        /// Time and packets of each group.
        left: Vec<(u64, u32)>,
        late: u32,
    }

    impl Run {
        fn new(schedule: Schedule, class: Class) -> Self {
            Self {
                pacer: Pacer::new(schedule, class, 1_000_000_000, ZERO_NS),
                meter: Meter::new(schedule.read_by(class.read()), Reference::Epoch),
                now_ns: 1_000_000_000,
                left: Vec::new(),
                late: 0,
            }
        }

        fn next(&mut self, tai_at_zero_ns: u64) -> Next {
            let next = self.pacer.next(self.now_ns, tai_at_zero_ns);
            self.now_ns = self.now_ns.max(self.pacer.start_ns());
            next
        }

        fn send(&mut self, image: u64, late_ns: &mut impl FnMut(u32) -> u64) -> Image {
            let packets = self.meter.schedule().images().packets;
            let size = self.pacer.allotment().group_packets;
            let mut packet = 0;
            while packet < packets {
                let count = size.min(packets - packet);
                self.now_ns = self.pacer.due_ns(packet, count).max(self.now_ns) + late_ns(packet);
                self.late += u32::from(self.pacer.left(packet, count, self.now_ns) == Timing::Late);
                if packet == 0 {
                    self.meter.begin(image, self.now_ns, self.pacer.tai_at_zero_ns());
                }
                self.meter.group(self.now_ns, count);
                self.left.push((self.now_ns, count));
                packet += count;
            }
            self.pacer.sent();
            self.meter.end()
        }
    }

    #[test]
    fn a_sender_in_time_keeps_its_class_with_its_lead_in_hand() {
        let table = [
            (Class::Narrow, 1080, "50", 4320, 0, (7, 7)),
            (Class::NarrowLinear, 1080, "50", 4320, 0, (7, 7)),
            // Sent gapped and read linear, so the last packets are the furthest ahead.
            (Class::Wide, 1080, "50", 4320, 15, (83, 270)),
            (Class::Wide, 1080, "24000/1001", 4320, 15, (83, 270)),
            (Class::Wide, 720, "60000/1001", 2880, 15, (54, 184)),
            (Class::Narrow, 1080, "60000/1001", 4115, 0, (8, 8)),
            (Class::Narrow, 2160, "25", 17_280, 1, (14, 15)),
            (Class::Wide, 2160, "25", 17_280, 19, (331, 1040)),
            (Class::Wide, 2160, "24000/1001", 17_280, 18, (331, 1039)),
            (Class::Narrow, 720, "60000/1001", 2880, 0, (7, 7)),
        ];
        for (class, height, rate, packets, burst, (lowest, highest)) in table {
            let mut run = Run::new(schedule(height, rate, packets, class), class);
            for _ in 0..3 {
                let image = run.next(ZERO_NS).image;
                let done = run.send(image, &mut |_| 0);
                let what = format!("{class} {height}p{rate}: {done:?}");
                assert_eq!(done.held, Some(class), "{what}");
                assert_eq!(done.extremes.burst_max, burst, "{what}");
                // A last group that is not full leaves fewer behind.
                assert!((lowest - 1..=lowest).contains(&done.extremes.buffer_min), "{what}");
                assert_eq!(done.extremes.buffer_max, highest, "{what}");
            }
            assert_eq!(run.late, 0, "{class} {height}p{rate}");
        }
    }

    /// By the meter, which is LIST's, and by section 6.3.3, where the reader of a second field starts
    /// half a line later.
    #[test]
    fn both_fields_keep_narrow_with_and_without_the_half_line() {
        for (height, packets, half_line) in [(1080, 2160, 17_777), (576, 1152, 32_000)] {
            let class = Class::Narrow;
            let scan = Scan::Interlaced;
            let images = Images { frames: "25".parse().unwrap(), scan, height, packets };
            let mut run = Run::new(Schedule::new(images, class.sent(), None).unwrap(), class);
            let full = run.meter.limits().narrow.buffer_packets;
            for field in 0..4 {
                let image = run.next(ZERO_NS).image;
                assert_eq!(image % 2, field % 2, "begins with a first field");
                run.left.clear();
                let done = run.send(image, &mut |_| 0);
                assert_eq!(done.held, Some(class), "{height}, field {field}: {done:?}");
                let later = if field % 2 == 0 { 0 } else { half_line };
                let reads =
                    |packet| run.meter.schedule().read_at(image, packet).ns + later - ZERO_NS;
                let (mut sent, mut read) = (0, 0);
                for &(at_ns, count) in &run.left {
                    while read < packets && reads(read) < at_ns {
                        read += 1;
                    }
                    assert!(read <= sent, "{height}, field {field}: {sent} sent, {read} read");
                    sent += count;
                    assert!(sent - read <= full, "{height}, field {field}: {}", sent - read);
                }
            }
        }
    }

    #[test]
    fn groups_are_due_at_their_times_and_never_a_nanosecond_early() {
        let class = Class::Wide;
        let mut pacer = Pacer::new(hd(class), class, 1_000_000_000, ZERO_NS);
        // TVD is 764,444.4 ns into the frame, the lead 86 times 4444.4.
        assert_eq!(pacer.next(1_000_000_000, ZERO_NS).image, 1_700_000_001 * 50);
        assert_eq!((pacer.start_ns(), pacer.start.part), (1_000_382_222, 2));
        assert_eq!(pacer.due_ns(0, 16), 1_000_382_223);
        assert_eq!(pacer.due_ns(16, 16), 1_000_453_334);
        assert_eq!(pacer.due_ns(9 * 16, 16), 1_001_022_223);
        assert_eq!(pacer.end_ns(), 1_020_382_222);
    }

    #[test]
    fn a_group_late_by_less_than_the_lead_breaks_nothing() {
        for (class, late_ns) in [(Class::Narrow, 31_000), (Class::Wide, 382_000)] {
            let mut run = Run::new(hd(class), class);
            for frame in 0..20 {
                let image = run.next(ZERO_NS).image;
                let group = u32::from(frame % 20 == 3) * 99;
                let size = run.pacer.allotment().group_packets;
                let done = run.send(image, &mut |packet| match packet {
                    packet if group > 0 && packet == group * size => late_ns,
                    _ => 0,
                });
                assert_eq!(done.held, Some(class), "{class}, frame {frame}: {done:?}");
            }
        }
    }

    /// Whatever delays there are, C_INST is within CMAX, by a meter that knows nothing of the
    /// pacer's bucket.
    #[test]
    fn no_delay_leads_to_a_burst() {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7_u64);
        println!("SEED={seed}");
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % bound
        };
        for class in [Class::Narrow, Class::NarrowLinear, Class::Wide] {
            for (height, rate, packets) in
                [(1080, "50", 4320), (2160, "25", 17_280), (1080, "30000/1001", 4115)]
            {
                let mut run = Run::new(schedule(height, rate, packets, class), class);
                let limit = run.meter.limits().of_class(class);
                for _ in 0..8 {
                    let image = run.next(ZERO_NS).image;
                    let done = run.send(image, &mut |_| match below(100) {
                        0 => below(2_000_000),
                        1..10 => below(60_000),
                        _ => below(3_000),
                    });
                    let most = i64::from(limit.burst_packets);
                    assert!(done.extremes.burst_max <= most, "{class} {height}p{rate}: {done:?}");
                }
            }
        }
    }

    #[test]
    fn after_a_delay_groups_come_closer_by_a_twentieth_until_they_are_in_time() {
        let class = Class::Wide;
        let mut run = Run::new(hd(class), class);
        let image = run.next(ZERO_NS).image;
        run.send(image, &mut |packet| if packet == 1600 { 500_000 } else { 0 });
        // The lead is 382 us: 31 groups, each 3.77 us less late than the one before.
        assert_eq!(run.late, 31);
        let distances: Vec<u64> = run.left.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        // 16 packets of T/N/1.1.
        assert_eq!(distances.iter().min(), Some(&67_341));
        assert_eq!(distances[99], 71_111 + 500_000);
        // 500 us at 3.77 us a group are 133 groups.
        assert_eq!(distances[231], 67_341);
        assert!(distances[235..].iter().all(|ns| (71_111..=71_112).contains(ns)));
    }

    #[test]
    fn a_stall_ends_at_a_frame_boundary() {
        let class = Class::Narrow;
        let mut run = Run::new(hd(class), class);
        let first = run.next(ZERO_NS).image;
        run.send(first, &mut |_| 0);
        // Half a period after its start a frame is sent, late; later it is not.
        let start = run.pacer.next(run.now_ns, ZERO_NS).image;
        assert_eq!(start, first + 1);
        let start_ns = run.pacer.start_ns();
        let at = |run: &mut Run, now_ns| run.pacer.next(now_ns, ZERO_NS);
        let (same, plain) = (first + 1, |image, skipped| Next { image, skipped, stepped: false });
        assert_eq!(at(&mut run, start_ns + 10_000_000), plain(same, 0));
        assert_eq!(at(&mut run, start_ns + 10_000_001), plain(same + 1, 1));
        // Told once.
        assert_eq!(at(&mut run, start_ns + 10_000_002), plain(same + 1, 0));
        assert_eq!(at(&mut run, start_ns + 1_000_000_000), plain(same + 50, 49));
        run.now_ns = start_ns + 1_000_000_000;
        run.left.clear();
        let done = run.send(same + 50, &mut |_| 0);
        assert_eq!(done.held, Some(class));
    }

    #[test]
    fn frames_follow_a_clock_that_is_set_without_a_stop_and_without_a_burst() {
        let class = Class::Narrow;
        for step_ns in [-10_000_000_000_i64, 10_000_000_000, -30_000_000, 37_000_000_123] {
            let mut run = Run::new(hd(class), class);
            let first = run.next(ZERO_NS).image;
            run.send(first, &mut |_| 0);
            let before_ns = run.now_ns;
            let zero_ns = ZERO_NS.checked_add_signed(step_ns).unwrap();
            let next = run.next(zero_ns);
            assert!(next.stepped && next.skipped == 0, "{step_ns}: {next:?}");
            assert!(run.now_ns - before_ns <= 21_000_000, "{step_ns}: not silent for longer");
            let tai_ns = run.now_ns + zero_ns;
            assert_eq!(next.image, run.meter.image_at(tai_ns), "{step_ns}: where TAI is");
            let done = run.send(next.image, &mut |_| 0);
            assert_eq!(done.held, Some(class), "{step_ns}: {done:?}");
            let after = run.next(zero_ns);
            let plain = Next { image: next.image + 1, skipped: 0, stepped: false };
            assert_eq!(after, plain, "{step_ns}: told once");
        }
    }

    #[test]
    fn a_clock_that_is_slewed_takes_the_frames_along() {
        let class = Class::Wide;
        let mut run = Run::new(hd(class), class);
        let mut zero_ns = ZERO_NS;
        let first = run.next(zero_ns).image;
        for frame in 0..200 {
            let next = run.next(zero_ns);
            let plain = Next { image: first + frame, skipped: 0, stepped: false };
            assert_eq!(next, plain);
            // 500 ppm, the most that adjtimex(2) slews by.
            assert_eq!(run.send(next.image, &mut |_| 0).held, Some(class), "frame {frame}");
            zero_ns += 10_000;
        }
    }

    #[test]
    fn a_step_of_less_than_half_a_period_moves_the_next_frame_and_bursts_not_either() {
        let class = Class::Narrow;
        for step_ns in [-8_000_000_i64, 8_000_000] {
            let mut run = Run::new(hd(class), class);
            let first = run.next(ZERO_NS).image;
            run.send(first, &mut |_| 0);
            let zero_ns = ZERO_NS.checked_add_signed(step_ns).unwrap();
            let mut held = None;
            for frame in 1..=12 {
                let next = run.next(zero_ns);
                let plain = Next { image: first + frame, skipped: 0, stepped: false };
                assert_eq!(next, plain, "{step_ns}");
                let done = run.send(next.image, &mut |_| 0);
                assert!(done.extremes.burst_max <= 5, "{step_ns}: {done:?}");
                held = done.held;
            }
            // Forward, frames are late at first, and catch up a tenth of a period with each.
            assert_eq!(held, Some(class), "{step_ns}: in time again");
        }
    }

    #[test]
    fn groups_may_be_smaller_than_the_class_allows() {
        let mut pacer = Pacer::new(hd(Class::Wide), Class::Wide, 0, ZERO_NS);
        pacer.limit_groups(64);
        assert_eq!(pacer.allotment().group_packets, 16);
        pacer.limit_groups(8);
        assert_eq!((pacer.allotment().group_packets, pacer.allotment().lead_packets), (8, 86));
    }
}
