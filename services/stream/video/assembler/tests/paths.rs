//! Two paths: whole frames from halves, exact losses, and who is waited for.

use super::*;
use crate::stream::redundancy::SkewClass;

const MS: u64 = 1_000_000;

/// 20 ms of 16 packets.
const PACKET_NS: u64 = 20 * MS / PACKETS as u64;

/// A day on which packet `index` leaves at `index * PACKET_NS`, and each path is as late as said.
struct Day {
    assembler: Assembler,
    /// By time, path and index.
    arrivals: Vec<(u64, usize, Vec<u8>)>,
    /// When which frame was delivered, and what it missed.
    delivered: Vec<(u64, u32, usize)>,
    /// When frames that are whole were delivered.
    wrong: usize,
}

impl Day {
    fn new(class: SkewClass, incomplete: Incomplete) -> Self {
        let skew = class.skew();
        let frames = open_frames(&format(), skew) + 2;
        let assembler = Assembler::of_two_paths(format(), 96, incomplete, frames, skew);
        Self { assembler, arrivals: Vec::new(), delivered: Vec::new(), wrong: 0 }
    }

    fn bring(&mut self, path: usize, index: u32, lag_ns: u64, datagram: Vec<u8>) {
        self.arrivals.push((MS + u64::from(index) * PACKET_NS + lag_ns, path, datagram));
    }

    /// Both paths bring `packets`, but for those that `loses` says.
    fn bring_all(&mut self, packets: u32, lags_ns: [u64; 2], loses: impl Fn(usize, u32) -> bool) {
        for index in 0..packets {
            for (path, lag_ns) in lags_ns.into_iter().enumerate() {
                if !loses(path, index) {
                    self.bring(path, index, lag_ns, stream(index, 0));
                }
            }
        }
    }

    /// Lets it all come, a look each millisecond between, and until all is judged.
    fn pass(&mut self) {
        self.arrivals.sort_by_key(|&(at_ns, ..)| at_ns);
        let mut now_ns = 0;
        for (at_ns, path, datagram) in std::mem::take(&mut self.arrivals) {
            self.look(&mut now_ns, at_ns);
            self.assembler.packet_by(path, &datagram, at_ns);
            self.take(at_ns);
            self.assembler.tick(at_ns);
            self.take(at_ns);
        }
        self.look(&mut now_ns.clone(), now_ns + 1_000 * MS);
        self.assembler.finish();
        self.take(now_ns);
    }

    fn look(&mut self, now_ns: &mut u64, until_ns: u64) {
        while *now_ns + MS < until_ns {
            *now_ns += MS;
            self.assembler.tick(*now_ns);
            self.take(*now_ns);
        }
        *now_ns = until_ns;
    }

    fn take(&mut self, now_ns: u64) {
        while let Some(frame) = self.assembler.take_delivered() {
            self.delivered.push((now_ns, frame.timestamp, frame.missing_octets));
            let Some(octets) = frame.octets else { continue };
            let verified = PATTERN.with_borrow_mut(|pattern| pattern.verify(&octets));
            let whole = matches!(verified, Verified::Frame(number)
                if format().rate().timestamp(number) == frame.timestamp);
            self.wrong += usize::from(whole != (frame.missing_octets == 0));
            self.assembler.give_back(octets);
        }
    }

    /// Numbers of the frames delivered, after their times in packets since the first left.
    fn frames(&self) -> Vec<(u64, u32)> {
        let first = format().rate().timestamp(100);
        let number = |timestamp: u32| timestamp.wrapping_sub(first) / 1800;
        self.delivered
            .iter()
            .map(|&(at_ns, timestamp, _)| ((at_ns - MS) / PACKET_NS, number(timestamp)))
            .collect()
    }
}

#[test]
fn disjoint_loss_on_both_paths_gives_whole_frames_in_order() {
    for class in [SkewClass::A, SkewClass::B, SkewClass::C] {
        let lag_ns = class.skew().ns() * 9 / 10;
        for lags_ns in [[0, lag_ns], [lag_ns, 0], [0, 0]] {
            let mut day = Day::new(class, Incomplete::Drop);
            // Half of all packets, each on one path; and a frame's end and the next one's beginning.
            day.bring_all(60 * PACKETS, lags_ns, |path, index| {
                let away = path == 0 && (300..330).contains(&index);
                let thinned = !(300..330).contains(&index) && index % 4 == path as u32 * 2;
                index > 0 && (thinned || away)
            });
            day.pass();
            let numbers: Vec<u32> = day.frames().into_iter().map(|(_, number)| number).collect();
            assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "{class:?} {lags_ns:?}");
            let stats = day.assembler.stats();
            assert_eq!((stats.frames, stats.lost, day.wrong), (60, 0, 0), "{class:?} {lags_ns:?}");
            assert_eq!((stats.frames_incomplete, stats.frames_unstored), (0, 0));
            // From the first packet on, which both bring.
            let lost = day.assembler.counts().paths.map(|path| path.lost);
            assert_eq!(lost, [239 - 8 + 30, 240 - 7], "{class:?} {lags_ns:?}");
        }
    }
}

#[test]
fn the_same_loss_on_both_is_given_up_when_the_skew_has_passed_and_frames_stay_in_order() {
    let mut day = Day::new(SkewClass::B, Incomplete::Mark);
    let lag_ns = 5 * MS;
    let lost = [35, 36, 100];
    day.bring_all(20 * PACKETS, [0, lag_ns], |_, index| lost.contains(&index));
    day.pass();
    let stats = day.assembler.stats();
    assert_eq!((stats.lost, stats.frames, stats.frames_incomplete), (3, 18, 2));
    assert_eq!(day.assembler.counts().paths.map(|path| path.lost), [3, 3]);
    assert_eq!(day.wrong, 0);
    let frames = day.frames();
    assert!(frames.iter().map(|&(_, number)| number).eq(0..20), "{frames:?}");
    // The faster path has all of a frame with its sixteenth packet. Frame 2 misses two, and ends with
    // packet 47, which is judged 40 packets of 1.25 ms later; and with it come those that waited.
    let at = |frame: usize| frames[frame].0;
    assert_eq!((at(0), at(1)), (15, 31));
    let judged = 47 + 40..=47 + 40 + 3;
    assert!(judged.contains(&at(2)), "{frames:?}");
    assert_eq!((at(3), at(4)), (at(2), at(2)));
    assert_eq!((at(12), at(19)), (12 * 16 + 15, 19 * 16 + 15));
}

#[test]
fn a_dead_path_adds_no_latency_and_a_gap_waits_for_nobody_then() {
    for dies in [0, 1] {
        let mut day = Day::new(SkewClass::B, Incomplete::Drop);
        // The one that lives loses a packet of frame 40, long after the other's end.
        day.bring_all(60 * PACKETS, [0, 0], |path, index| {
            path == dies && index >= 300 || index == 40 * PACKETS + 3
        });
        day.pass();
        let frames = day.frames();
        let last = |number: u32| u64::from(number) * 16 + 15;
        for &(at, number) in &frames {
            // Packets of both come at once, so that a frame is there with its last one.
            assert_eq!(at, last(number), "frame {number}, {dies} died: {frames:?}");
        }
        assert_eq!(frames.len(), 59);
        let stats = day.assembler.stats();
        assert_eq!((stats.lost, stats.frames_incomplete), (1, 1));
        let lost = day.assembler.counts().paths.map(|path| path.lost);
        assert_eq!(lost[dies], 60 * 16 - 300);
        assert_eq!(lost[1 - dies], 1);
    }
}

#[test]
fn a_path_that_is_dead_from_the_start_is_only_counted() {
    let mut day = Day::new(SkewClass::C, Incomplete::Drop);
    day.bring_all(60 * PACKETS, [0, 0], |path, _| path == 1);
    day.pass();
    let stats = day.assembler.stats();
    assert_eq!((stats.frames, stats.lost, stats.restarts), (60, 0, 0));
    assert_eq!(day.assembler.counts().paths.map(|path| path.lost), [0, 960]);
    assert!(day.frames().iter().all(|&(at, number)| at == u64::from(number) * 16 + 15));
}

/// Packet `index` of a sender that begins anew at frame `from`.
fn anew(ssrc: u32, index: u32, from: u32, first: u32) -> Vec<u8> {
    let frame = 100 + u64::from(index / PACKETS);
    let packet = index % PACKETS;
    let (ssrc, sequence) = match index / PACKETS < from {
        true => (1, index),
        false => (ssrc, first.wrapping_add(index)),
    };
    datagram(ssrc, frame, packet, sequence)
}

#[test]
fn a_restart_on_both_paths_is_one_restart_and_no_loss() {
    // The same source with numbers further on, or back; and another source.
    for (ssrc, first) in [(1, 1 << 20), (1, 0u32.wrapping_sub(5000)), (9, 1 << 20), (9, 0)] {
        for lag_ns in [0, 9 * MS, 45 * MS] {
            let mut day = Day::new(SkewClass::B, Incomplete::Drop);
            for index in 0..60 * PACKETS {
                for (path, lag_ns) in [0, lag_ns].into_iter().enumerate() {
                    day.bring(path, index, lag_ns, anew(ssrc, index, 30, first));
                }
            }
            day.pass();
            let (stats, counts) = (day.assembler.stats(), day.assembler.counts());
            let case = format!("{ssrc} {first} {lag_ns}: {stats:?} {counts:?}");
            assert_eq!((stats.restarts, stats.lost, day.wrong), (1, 0, 0), "{case}");
            // Another source is listened to when it has sent 64 packets.
            let unheard = if ssrc == 1 { 0 } else { stats.strangers };
            assert!(stats.strangers == 0 || ssrc == 9 && (63..=126).contains(&unheard), "{case}");
            assert!(stats.frames >= 60 - unheard.div_ceil(16) - 1, "{case}");
            assert_eq!(counts.paths.map(|path| path.late), [0, 0], "{case}");
            assert!(counts.paths.iter().all(|path| path.lost <= unheard), "{case}");
        }
    }
}

/// Packet `index`, of a larger picture in the frames 20 to 39.
fn changing(index: u32) -> Vec<u8> {
    let mut packet = stream(index, 0);
    if (20..40).contains(&(index / PACKETS)) {
        // The line of the first row header.
        packet[16..18].copy_from_slice(&(1000_u16 + (index % PACKETS) as u16).to_be_bytes());
    }
    packet
}

#[test]
fn a_format_that_changes_and_comes_back_is_counted_once_and_loses_nothing() {
    for lag_ns in [0, 9 * MS] {
        let mut day = Day::new(SkewClass::A, Incomplete::Drop);
        for index in 0..60 * PACKETS {
            for (path, lag_ns) in [0, lag_ns].into_iter().enumerate() {
                day.bring(path, index, lag_ns, changing(index));
            }
        }
        day.pass();
        let (stats, counts) = (day.assembler.stats(), day.assembler.counts());
        assert_eq!(stats.format_changes, 1, "{stats:?}");
        assert_eq!((stats.frames, stats.lost, day.wrong), (40, 0, 0), "{stats:?}");
        assert_eq!((stats.restarts, stats.wrong_format), (0, 2 * 20 * 16));
        assert!(counts.paths[1].lost <= 8, "{counts:?}");
    }
    let mut one = assembler();
    for index in 0..60 * PACKETS {
        feed(&mut one, &changing(index));
    }
    one.finish();
    let stats = one.stats();
    assert_eq!((stats.frames, stats.lost, stats.format_changes), (40, 0, 1), "{stats:?}");
}

#[test]
fn as_many_frames_are_open_as_the_skew_has() {
    let open = |class: SkewClass| open_frames(&format(), class.skew());
    let classes = [SkewClass::A, SkewClass::B, SkewClass::C, SkewClass::D];
    assert_eq!(classes.map(open), [3, 5, 25, 3]);
}

/// Any loss, order and skew on either path: a frame is whole where each packet came by one of them.
#[test]
fn agrees_with_a_model_of_two_bad_networks() {
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for seed in seed..seed + 10 {
        eprintln!("SEED={seed}");
        let mut random = Random::new(seed);
        let class = [SkewClass::A, SkewClass::B][random.below(2) as usize];
        let mut day = Day::new(class, Incomplete::Mark);
        let lags_ns = [random.below(class.skew().ns() / 2), random.below(class.skew().ns() / 2)];
        let (mut whole, mut all) = (0, HashSet::new());
        for frame in 0..60 {
            let mut missing = 0;
            for index in frame * PACKETS..(frame + 1) * PACKETS {
                // Both paths have a first and a last packet, and some packets come by neither.
                let edge = index == 0 || index + 1 == 60 * PACKETS;
                let neither = !edge && random.chance(3);
                let comes = [0, 1].map(|_| edge || !neither && !random.chance(150));
                missing += u32::from(comes == [false, false]);
                for (path, lag_ns) in
                    lags_ns.into_iter().enumerate().filter(|(path, _)| comes[*path])
                {
                    all.insert(index);
                    for _ in 0..=u64::from(random.chance(20)) {
                        let jitter = if edge { 0 } else { random.below(class.skew().ns() / 4) };
                        day.bring(path, index, lag_ns + jitter, stream(index, 0));
                    }
                }
            }
            whole += u64::from(missing == 0);
        }
        day.pass();
        let stats = day.assembler.stats();
        // Whether the last one goes on, nobody knows at the end.
        let cut = stats.frames_cut;
        assert_eq!((stats.frames, stats.frames_incomplete + cut), (whole, 60 - whole), "{stats:?}");
        assert!(cut <= 1, "{stats:?}");
        assert_eq!(stats.packets + stats.lost, 60 * 16);
        assert_eq!(stats.packets, all.len() as u64);
        assert_eq!((day.wrong, day.delivered.len() as u64), (0, 60 - cut));
        for path in day.assembler.counts().paths {
            assert_eq!(path.received + path.lost, 60 * 16);
        }
    }
}

#[test]
fn two_paths_with_a_loss_and_a_restart_allocate_nothing() {
    let mut day = Day::new(SkewClass::B, Incomplete::Mark);
    for index in 0..40 * PACKETS {
        for path in [0, 1] {
            if index % 50 > 0 {
                day.bring(path, index, path as u64 * 4 * MS, anew(1, index, 20, 1 << 20));
            }
        }
    }
    day.arrivals.sort_by_key(|&(at_ns, ..)| at_ns);
    let Day { mut assembler, arrivals, .. } = day;
    let counts = allocation_counter::measure(|| {
        for (at_ns, path, datagram) in &arrivals {
            assembler.packet_by(*path, datagram, *at_ns);
            assembler.tick(*at_ns);
            while let Some(frame) = assembler.take_delivered() {
                frame.octets.into_iter().for_each(|octets| assembler.give_back(octets));
            }
        }
    });
    assert_eq!(counts.count_total, 0);
    let stats = assembler.stats();
    assert!(stats.restarts == 1 && stats.frames_incomplete > 5, "{stats:?}");
}
