//! Two paths: sender and receiver on `sim`.

use super::*;
use crate::stream::redundancy::split::Second;

/// Both paths of an SDP come to one receiver, from two senders in step.
#[test]
fn each_packet_of_two_paths_counts_once() {
    let sdp = "v=0\ns=two paths\nt=0 0\na=group:DUP 1 2\n".to_owned()
        + &[(1, 20000), (2, 20002)].map(|(mid, port)| format!(
            "m=video {port} RTP/AVP 96\nc=IN IP4 198.18.0.2\na=rtpmap:96 raw/90000\na=fmtp:96 \
             sampling=YCbCr-4:2:2; width=640; height=64; exactframerate=500; depth=10; TP=2110TPW\n\
             a=mid:{mid}\n"
        )).concat();
    let path = std::env::temp_dir().join(format!("tidegate-paths-{}.sdp", std::process::id()));
    std::fs::write(&path, sdp).unwrap();
    let options = receiver::Options {
        sdp: Some(path.clone()),
        sink: sink::Kind::Verify,
        ..receiver::Options::default()
    };
    let mut sim = Sim::new(1);
    let port = [SimPort::default()];
    for to in [20000, 20002] {
        let destination = format!("198.18.0.2:{to}").parse().unwrap();
        let options = sender::Options { frames: Some(5), destination, ..sender() };
        sim.shard(&port, vec![sends(options)], Policy::default()).unwrap();
    }
    sim.shard(&port, vec![receives(options)], Policy::default()).unwrap();
    let _ = std::fs::remove_file(path);
    for from in [(0, 0), (1, 0)] {
        sim.link(from, (2, 0), Faults::default(), |_| 0);
    }
    run_frames(&mut sim, 5);
    let received = sim.drain().remove(2).services.remove(0);
    assert_eq!(received.counter("packets_received"), 5 * PACKETS);
    assert_eq!(received.counter("packets_duplicate"), 0);
    assert_eq!(received.dropped("copy"), 5 * PACKETS);
    for path in ["first", "second"] {
        assert_eq!(received.counter(&format!("{path}_packets_received")), 5 * PACKETS);
        assert_eq!(received.counter(&format!("{path}_packets_lost")), 0);
    }
    assert_eq!(received.word("first_path"), "198.18.0.2:20000");
    assert_eq!(received.word("second_path"), "198.18.0.2:20002");
    assert_eq!(received.counter("frames_received"), 5);
    assert_eq!(received.counter("packets_lost") + received.counter("frames_wrong"), 0);
}

/// A sender on two interfaces and a receiver on two, with nothing between: see [`carry`].
fn two_paths(frames: u64) -> Sim {
    let mut sim = Sim::new(1);
    sim.shard(&ports(), vec![sends_both(frames)], Policy::default()).unwrap();
    let options = receiver::Options {
        interface: Some("sim0".into()),
        second: Some(receiver::Second { interface: Some("sim1".into()), ..Default::default() }),
        ..receiver()
    };
    let plan = ServicePlan::of::<StreamReceive>("in", options).selector(0, 0).selector(1, 0);
    sim.shard(&ports(), vec![plan], Policy::default()).unwrap();
    sim
}

fn ports() -> [SimPort; 2] {
    let mut ports = [SimPort::default(), SimPort::default()];
    ports[1].facts.interface = "sim1".into();
    ports[1].facts.mac = [0x02, 0, 0, 0, 1, 1];
    ports
}

fn second_path() -> Second {
    Second {
        destination: "198.18.1.2:20000".parse().unwrap(),
        source_address: "198.18.1.1:20000".parse().unwrap(),
        interface: Some("sim1".into()),
        destination_mac: Some("02:00:00:00:01:02".parse().unwrap()),
        vlan: None,
    }
}

fn sends_both(frames: u64) -> ServicePlan {
    sends(sender::Options {
        interface: Some("sim0".into()),
        frames: Some(frames),
        second: Some(second_path()),
        ..sender()
    })
}

/// Runs for so many frames' time; `cable` says what becomes of packet `n` of a path.
fn carry(sim: &mut Sim, frames: u64, mut cable: impl FnMut(usize, u64, &mut Vec<u8>) -> bool) {
    let mut count = [0; 2];
    for _ in 0..frames * PERIOD_NS / TURN_NS {
        sim.turn();
        for path in [0, 1] {
            for mut packet in sim.sent(0, path) {
                if cable(path, count[path], &mut packet) {
                    sim.deliver(1, path, &packet, 0);
                }
                count[path] += 1;
            }
        }
    }
}

/// Waits for the sink's thread, which works in its own time, and returns what both counted.
fn carried(sim: &mut Sim) -> (ServiceReport, ServiceReport) {
    for _ in 0..2_000 {
        let report = sim.report(1).services.remove(0);
        let done = ["frames_verified", "frames_wrong", "frames_dropped"];
        let done: u64 = done.iter().map(|name| report.counter(name)).sum();
        if done >= report.counter("frames_received") {
            break;
        }
        sim.run_for(PERIOD_NS);
    }
    ended(sim)
}

/// So many frames are the pattern, bit for bit, but for those that the sink's thread had no time for.
fn verified(received: &ServiceReport, frames: u64) {
    let [good, wrong, dropped] =
        ["frames_verified", "frames_wrong", "frames_dropped"].map(|name| received.counter(name));
    assert_eq!((good + dropped, wrong), (frames, 0), "{received:?}");
    assert!(good > 0, "{received:?}");
}

const FIRST: [&str; 2] = ["first", "second"];

fn of_path(report: &ServiceReport, what: &str) -> [u64; 2] {
    FIRST.map(|path| report.counter(&format!("{path}_packets_{what}")))
}

#[test]
fn packets_of_both_paths_are_the_same_from_rtp_on() {
    let mut sim = two_paths(3);
    let mut sent = [Vec::new(), Vec::new()];
    for _ in 0..5 * PERIOD_NS / TURN_NS {
        sim.turn();
        let now_ns = sim.now_ns();
        for path in [0, 1] {
            sent[path].extend(sim.sent(0, path).into_iter().map(|packet| (now_ns, packet)));
        }
    }
    let [first, second] = sent;
    assert_eq!((first.len() as u64, second.len() as u64), (3 * PACKETS, 3 * PACKETS));
    for ((at, one), (other_at, other)) in first.iter().zip(&second) {
        assert_eq!((at, &one[42..]), (other_at, &other[42..]));
        assert_eq!((&one[30..34], &other[30..34]), (&[198, 18, 0, 2][..], &[198, 18, 1, 2][..]));
        assert_eq!(other[..12], [2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1]);
    }
    let report = sim.report(0).services.remove(0);
    assert_eq!((of_path(&report, "sent"), of_path(&report, "lost")), ([384, 384], [0, 0]));
    assert_eq!((report.counter("packets_sent"), report.counter("frames_sent")), (384, 3));
    assert_eq!(report.word("second_path"), "sim1 198.18.1.2:20000");
    sim.drain();
}

#[test]
fn disjoint_loss_on_both_paths_is_whole_pictures() {
    let mut sim = two_paths(10);
    carry(&mut sim, 13, |path, n, _| n == 0 || n % 2 != path as u64);
    let (_, received) = carried(&mut sim);
    assert_eq!(received.counter("frames_received"), 10);
    assert_eq!(received.counter("packets_lost"), 0);
    verified(&received, 10);
    assert_eq!(of_path(&received, "lost"), [639, 640]);
    assert_eq!(
        (received.word("first_path"), received.word("second_path")),
        ("sim0 port 20000", "sim1 port 20000")
    );
}

#[test]
fn the_same_loss_on_both_paths_is_counted_as_exactly_that() {
    let mut sim = two_paths(10);
    carry(&mut sim, 20, |path, n, _| {
        !(200..207).contains(&n) && n != 700 && !(path == 0 && n == 900)
    });
    let (_, received) = carried(&mut sim);
    assert_eq!(received.counter("packets_lost"), 8, "{received:?}");
    assert_eq!(of_path(&received, "lost"), [9, 8]);
    assert_eq!(
        (received.counter("frames_received"), received.counter("frames_incomplete")),
        (8, 2)
    );
    verified(&received, 8);
}

/// What the checks above are worth: a packet that is gone and a bit that is another do show.
#[test]
fn one_packet_dropped_on_a_single_path_and_one_bit_flipped_are_seen() {
    let mut sim = two_paths(10);
    carry(&mut sim, 20, |path, n, _| path == 0 && n != 321);
    let (_, received) = carried(&mut sim);
    assert_eq!(
        (received.counter("frames_received"), received.counter("frames_incomplete")),
        (9, 1)
    );
    assert_eq!((received.counter("packets_lost"), of_path(&received, "lost")), (1, [1, 1280]));

    // Three frames find room with the sink, whenever its thread has time.
    let mut sim = two_paths(3);
    carry(&mut sim, 20, |path, n, packet| {
        let last = packet.len() - 1;
        packet[last] ^= u8::from(path == 0 && n == 77);
        path == 0
    });
    let (_, received) = carried(&mut sim);
    assert_eq!((received.counter("frames_received"), received.counter("packets_lost")), (3, 0));
    assert_eq!((received.counter("frames_verified"), received.counter("frames_wrong")), (2, 1));
}

#[test]
fn a_path_killed_at_any_time_changes_nothing_and_comes_back() {
    for (dead, from, to) in
        [(0, 0, 1280), (1, 0, 1280), (0, 333, 777), (1, 333, 777), (0, 640, 9999)]
    {
        let mut sim = two_paths(10);
        carry(&mut sim, 13, |path, n, _| path != dead || !(from..to).contains(&n));
        let (sent, received) = carried(&mut sim);
        let case = format!("path {dead} dead from {from} to {to}: {received:?}");
        assert_eq!(received.counter("frames_received"), 10, "{case}");
        assert_eq!(
            received.counter("packets_lost") + received.counter("frames_wrong"),
            0,
            "{case}"
        );
        let lost = of_path(&received, "lost");
        assert_eq!((lost[dead], lost[1 - dead]), (to.min(1280) - from, 0), "{case}");
        assert_eq!(received.counter("restarts"), 0, "{case}");
        assert_eq!(of_path(&sent, "lost"), [0, 0]);
    }
}

/// Packets of the first path with their times, and those of the second.
#[derive(Default)]
struct Left {
    first: Vec<(u64, Vec<u8>)>,
    second: Vec<Vec<u8>>,
}

/// What leaves a sender of ten frames, something happening meanwhile at some turns.
fn left(sim: &mut Sim, mut meanwhile: impl FnMut(&mut Sim, u64)) -> Left {
    let mut left = Left::default();
    for turn in 0..13 * PERIOD_NS / TURN_NS {
        meanwhile(sim, turn);
        sim.turn();
        let now_ns = sim.now_ns();
        left.first.extend(sim.sent(0, 0).into_iter().map(|packet| (now_ns, packet)));
        left.second.extend(sim.sent(0, 1));
    }
    left
}

fn sender_alone() -> Sim {
    let mut sim = Sim::new(1);
    sim.shard(&ports(), vec![sends_both(10)], Policy::default()).unwrap();
    sim
}

#[test]
fn a_second_path_whose_ring_is_stuck_changes_nothing_on_the_first() {
    let undisturbed = left(&mut sender_alone(), |_, _| {}).first;
    assert_eq!(undisturbed.len() as u64, 10 * PACKETS);
    let mut sim = sender_alone();
    let Left { first, second } = left(&mut sim, |sim, turn| match turn {
        5_000 => sim.stall(0, 1, true),
        13_000 => sim.stall(0, 1, false),
        _ => {}
    });
    assert!(first == undisturbed, "each packet at its time");
    let report = sim.report(0).services.remove(0);
    assert_eq!((report.counter("groups_late"), report.counter("frames_sent")), (0, 10));
    let ([all, sent], [none, lost]) = (of_path(&report, "sent"), of_path(&report, "lost"));
    assert_eq!((all, none, report.counter("packets_unsent")), (10 * PACKETS, 0, 0));
    assert_eq!(sent + lost, 10 * PACKETS);
    assert_eq!(second.len() as u64, sent);
    // Four frames' time, less what the ring of 64 took before it was full.
    assert!((350..=4 * PACKETS).contains(&lost), "{lost}");
    assert_eq!(second.last().unwrap()[42..], first.last().unwrap().1[42..], "it is back");
    sim.drain();
}

#[test]
fn a_first_path_whose_link_is_down_changes_nothing_on_the_second_and_leaves_no_burst() {
    let turns = 13 * PERIOD_NS / TURN_NS;
    for (errno, dead) in [(libc::ENETDOWN, 0), (libc::ENXIO, 0), (libc::ENETDOWN, 1)] {
        let (mut lives, mut back) = (Vec::new(), Vec::new());
        let mut sim = sender_alone();
        for turn in 0..turns {
            if turn == 5_000 || turn == 13_000 {
                sim.stall(0, dead, turn == 5_000);
                let answer = if turn == 5_000 { errno } else { 0 };
                sim.kernel(0, dead).answer_wakeups(answer);
            }
            sim.turn();
            lives.extend(sim.sent(0, 1 - dead));
            let sent = sim.sent(0, dead);
            if turn >= 13_000 {
                back.push(sent.len());
            }
        }
        assert_eq!(lives.len() as u64, 10 * PACKETS);
        // What was on its ring when it went down, a group, and no more.
        assert!(back.iter().all(|&packets| packets <= 32), "{:?}", back.iter().max());
        assert!(back.iter().sum::<usize>() > 400, "it is back");
        let report = sim.report(0).services.remove(0);
        let lost = of_path(&report, "lost");
        assert_eq!(lost[1 - dead], 0);
        assert!((480..=4 * PACKETS).contains(&lost[dead]), "{lost:?}");
        assert_eq!((report.counter("groups_late"), report.counter("packets_unsent")), (0, 0));
        sim.drain();
    }
}

/// Sequence number and timestamp of each packet of a sender that stalls for some frames.
fn stalled(ssrc: Option<u32>) -> Vec<(u32, u32)> {
    let mut sim = Sim::new(1);
    let options = sender::Options { ssrc, frames: Some(8), ..sender() };
    sim.shard(&[SimPort::default()], vec![sends(options)], Policy::default()).unwrap();
    let mut packets = Vec::new();
    for turn in 0..14 * PERIOD_NS / TURN_NS {
        if turn == 3 * PERIOD_NS / TURN_NS + 700 {
            sim.pass(7 * PERIOD_NS / 2);
        }
        sim.turn();
        packets.extend(sim.sent(0, 0).iter().map(|packet| {
            let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
            let sequence = u32::from(word(54)) << 16 | u32::from(word(44));
            (sequence, u32::from(word(46)) << 16 | u32::from(word(48)))
        }));
    }
    assert!(sim.report(0).services[0].counter("frames_skipped") >= 3);
    sim.drain();
    packets
}

#[test]
fn after_a_stall_senders_of_one_identifier_still_number_their_packets_alike() {
    // 180 ticks and 128 packets a frame.
    let by_frame = |packets: &[(u32, u32)]| {
        let (sequence, timestamp) = packets[0];
        packets.chunks(128).all(|frame| {
            frame[0].0.wrapping_sub(sequence) == frame[0].1.wrapping_sub(timestamp) / 180 * 128
        })
    };
    let steady = |packets: &[(u32, u32)]| {
        packets.windows(2).all(|pair| pair[1].0.wrapping_sub(pair[0].0) == 1)
    };
    let (named, random) = (stalled(Some(7)), stalled(None));
    assert!(by_frame(&named) && !steady(&named));
    // Nobody else can be its other path, and to receivers nothing is lost.
    assert!(steady(&random) && !by_frame(&random));
}

#[test]
fn packets_that_no_path_takes_are_counted_and_frames_go_on() {
    let mut sim = sender_alone();
    for turn in 0..13 * PERIOD_NS / TURN_NS {
        if turn == 5_000 || turn == 13_000 {
            for path in [0, 1] {
                sim.stall(0, path, turn == 5_000);
                sim.kernel(0, path).answer_wakeups(if turn == 5_000 { libc::ENETDOWN } else { 0 });
            }
        }
        sim.turn();
    }
    let report = sim.report(0).services.remove(0);
    let unsent = report.counter("packets_unsent");
    assert!((480..=4 * PACKETS).contains(&unsent), "{unsent}");
    assert_eq!(report.counter("packets_sent") + unsent, 10 * PACKETS);
    assert!((5..=6).contains(&report.counter("frames_sent")), "{report:?}");
    assert_eq!(report.counter("frames_skipped"), 0);
    sim.drain();
}

#[test]
fn two_paths_that_cannot_be_are_refused_with_the_remedy() {
    let refused = |options: sender::Options| {
        let plan = sends(options);
        let error = Sim::new(1).shard(&ports(), vec![plan], Policy::default()).unwrap_err();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        cause.to_string()
    };
    let first = sender::Options { interface: Some("sim0".into()), ..sender() };
    let destination = first.destination;
    let same = Second { destination, interface: None, ..second_path() };
    let text = refused(sender::Options { second: Some(same), ..first.clone() });
    assert!(text.ends_with("or another destination"), "{text}");
    let unpaced = sender::Options { second: Some(second_path()), unpaced: true, ..first.clone() };
    assert!(refused(unpaced).ends_with("leave out either"));
    let other = Second { interface: Some("eth7".into()), ..second_path() };
    let text = refused(sender::Options { second: Some(other), ..first });
    assert!(text.contains("no queue of \"eth7\""), "{text}");

    let receiver = "port = 20000\nwidth = 1280\nheight = 720\nrate = \"50\"\ndepth = 8\n";
    for (more, key, said) in [
        ("[second]\n", "second", "two paths that no packet can be told by"),
        ("[second]\nport = 20000\n", "second", "two paths that no packet can be told by"),
        ("skew_us = 0\n[second]\nport = 1\n", "skew_us", "1 to 1000000"),
        ("skew_us = 7\nskew_class = \"A\"\n", "skew_us", "either of the two"),
        ("source = \"198.18.0.1\"\n", "source", "a source without a destination"),
        ("[second]\ndestination = \"198.18.0.2\"\n", "second", "a destination on one path only"),
    ] {
        let text = checked("stream-receive", &format!("{receiver}{more}")).unwrap_err();
        assert!(text.contains(key) && text.contains(said), "{more}: {text}");
    }
    for more in [
        "skew_class = \"C\"\ninterface = \"a\"\n[second]\ninterface = \"b\"\n",
        "destination = \"239.1.1.1\"\n[second]\ndestination = \"239.1.1.2\"\nsource = \"198.18.0.1\"\n",
    ] {
        checked("stream-receive", &format!("{receiver}{more}")).unwrap();
    }
}
