//! Sender and receiver on `sim`: the real services, without a machine.

use tidegate_dataplane::offload::{ChecksumBy, TxOffloads};
use tidegate_dataplane::wire::TransportChecksum;
use tidegate_runtime::plan::{Policy, ServicePlan};
use tidegate_runtime::report::ServiceReport;
use tidegate_runtime::service::Service;
use tidegate_runtime::sim::{Faults, Sim, SimPort, TURN_NS};

use super::departure::{Checksum, LAUNCH_LEAD_NS, LaunchTime};
use super::receiver::{self, StreamReceive};
use super::sender::{self, StreamSend};
use super::sink;
use super::timing::schedule::{Images, Read, Scan, Schedule};
use super::video::format::{Depth, Format};

mod addresses;
mod formats;
mod long;
mod paths;
mod programme;
mod sources;
mod wraps;

/// 128 packets a frame, 2 ms a frame.
fn format() -> Format {
    Format::new(640, 64, Depth::Ten, "500".parse().unwrap()).unwrap()
}

const PACKETS: u64 = 128;
const PERIOD_NS: u64 = 2_000_000;

pub(crate) fn sender() -> sender::Options {
    sender::Options {
        destination: "198.18.0.2:20000".parse().unwrap(),
        source_address: "198.18.0.1:20000".parse().unwrap(),
        interface: None,
        destination_mac: Some("02:00:00:00:00:02".parse().unwrap()),
        vlan: None,
        dscp: Default::default(),
        ttl: Default::default(),
        second: None,
        width: 640,
        height: 64,
        rate: "500".parse().unwrap(),
        depth: Depth::Ten,
        sampling: Default::default(),
        scan: Default::default(),
        packing: Default::default(),
        source: "pattern".into(),
        clip_mib: 64,
        class: Default::default(),
        troffset_us: None,
        payload_type: 96,
        ssrc: Some(7),
        unpaced: false,
        frames: None,
        sdp: Default::default(),
        checksum: Default::default(),
        launch_time: Default::default(),
        audio: None,
        ancillary: None,
    }
}

fn receiver() -> receiver::Options {
    receiver::Options {
        port: Some(20000),
        width: Some(640),
        height: Some(64),
        rate: Some("500".parse().unwrap()),
        depth: Some(Depth::Ten),
        sink: sink::Kind::Verify,
        ..receiver::Options::default()
    }
}

fn sends(options: sender::Options) -> ServicePlan {
    ServicePlan::of::<StreamSend>("out", options)
}

fn receives(options: receiver::Options) -> ServicePlan {
    ServicePlan::of::<StreamReceive>("in", options).selector(0, 0)
}

/// A sender's shard and a receiver's, joined.
fn joined(seed: u64, options: sender::Options, faults: Faults) -> Sim {
    let mut sim = Sim::new(seed);
    let port = [SimPort::default()];
    sim.shard(&port, vec![sends(options)], Policy::default()).unwrap();
    sim.shard(&port, vec![receives(receiver())], Policy::default()).unwrap();
    sim.link((0, 0), (1, 0), faults, |_| 0);
    sim
}

/// Drains, and returns what sender and receiver counted.
fn ended(sim: &mut Sim) -> (ServiceReport, ServiceReport) {
    let mut reports = sim.drain();
    let receiver = reports.remove(1).services.remove(0);
    (reports.remove(0).services.remove(0), receiver)
}

/// Runs until the sender has sent as many frames as it may, and packets have arrived.
fn run_frames(sim: &mut Sim, frames: u64) {
    sim.run_for((frames + 2) * PERIOD_NS);
}

#[test]
fn every_frame_arrives_bit_for_bit() {
    let mut sim = joined(1, sender::Options { frames: Some(10), ..sender() }, Faults::default());
    run_frames(&mut sim, 10);
    let (sent, received) = ended(&mut sim);
    assert_eq!(sent.counter("frames_sent"), 10);
    assert_eq!(sent.counter("packets_sent"), 10 * PACKETS);
    for zero in ["frames_late", "frames_skipped", "groups_late"] {
        assert_eq!(sent.counter(zero), 0, "{zero}");
    }
    assert_eq!(received.counter("frames_received"), 10);
    assert_eq!(
        received.counter("frames_verified") + received.counter("frames_dropped"),
        10,
        "what the thread did not get is counted"
    );
    assert_eq!(received.counter("packets_received"), 10 * PACKETS);
    for zero in ["frames_wrong", "packets_lost", "packets_duplicate", "frames_incomplete"] {
        assert_eq!(received.counter(zero), 0, "{zero}");
    }
}

#[test]
fn the_sinks_counts_show_without_another_packet() {
    let mut sim = joined(1, sender::Options { frames: Some(2), ..sender() }, Faults::default());
    // The thread works in its own time: far more turns than it needs.
    let verified = |sim: &mut Sim| sim.report(1).services[0].counter("frames_verified");
    for _ in 0..2000 {
        if verified(&mut sim) < 2 {
            sim.run_for(PERIOD_NS);
        }
    }
    assert_eq!(verified(&mut sim), 2);
    assert_eq!(sim.report(1).services[0].counter("frames_received"), 2);
    sim.drain();
}

#[test]
fn what_the_cable_does_is_counted_to_the_packet() {
    for seed in 1..=5 {
        let faults = Faults {
            loss_per_mille: 5,
            duplicate_per_mille: 10,
            reorder_per_mille: 20,
            delay_ns: 2_000,
            ..Faults::default()
        };
        let mut sim = joined(seed, sender::Options { frames: Some(10), ..sender() }, faults);
        run_frames(&mut sim, 10);
        let arrived = sim.report(1).ports[0].stats.rx_frames;
        let (sent, received) = ended(&mut sim);
        let count = |name| received.counter(name);
        // One that overtook the first of all is not known to be new.
        let unique = arrived - count("packets_duplicate") - received.dropped("too_late");
        assert_eq!(count("packets_received"), unique, "seed {seed}");
        // A first or last packet that is lost is not missed by anyone.
        let unseen = sent.counter("packets_sent") - unique - count("packets_lost");
        assert!(unseen <= 2, "seed {seed}: {unseen}");
        assert!(count("packets_lost") > 0 && count("packets_duplicate") > 0);
        assert!(count("packets_reordered") > 0);
        let frames = count("frames_received") + count("frames_incomplete") + count("frames_cut");
        assert_eq!(frames, 10, "seed {seed}");
        assert_eq!(count("frames_wrong"), 0, "seed {seed}");
        assert_eq!(received.dropped("duplicate"), count("packets_duplicate"));
    }
}

#[test]
fn groups_leave_at_their_times_and_frames_at_multiples_of_the_period() {
    let mut sim = Sim::new(1);
    let options = sender::Options { frames: Some(3), ..sender() };
    sim.shard(&[SimPort::default()], vec![sends(options)], Policy::default()).unwrap();
    let mut groups = Vec::new();
    for _ in 0..5 * PERIOD_NS / TURN_NS {
        let now_ns = sim.now_ns();
        sim.turn();
        let count = sim.sent(0, 0).len();
        if count > 0 {
            groups.push((now_ns, count));
        }
    }
    // CMAX of the wide class is 16 for a small format: 8 groups a frame.
    assert_eq!(groups.len(), 24);
    assert!(groups.iter().all(|&(_, count)| count == 16), "{groups:?}");
    let distance = PERIOD_NS * 24 / 25 / 8;
    for frame in groups.chunks(8) {
        let start = frame[0].0;
        // `sim` counts TAI from a whole second, so a shard's time shows the phase: TROdefault of
        // a small raster, 28/750 of 2 ms, less a lead of two packets 15 us apart.
        let phase = start % PERIOD_NS;
        assert!((44_667..44_667 + 2 * TURN_NS).contains(&phase), "a frame at {start}");
        for (group, &(at, _)) in frame.iter().enumerate() {
            let due = start / PERIOD_NS * PERIOD_NS + 44_667 + group as u64 * distance;
            assert!((due..due + 2 * TURN_NS).contains(&at), "group {group} at {at}, due {due}");
        }
    }
}

#[test]
fn a_stall_skips_to_a_frame_boundary_and_never_bursts() {
    let mut sim = Sim::new(1);
    sim.shard(&[SimPort::default()], vec![sends(sender())], Policy::default()).unwrap();
    let mut groups = Vec::new();
    for turn in 0..12 * PERIOD_NS / TURN_NS {
        if turn == 3 * PERIOD_NS / TURN_NS + 700 {
            sim.pass(7 * PERIOD_NS / 2);
        }
        let now_ns = sim.now_ns();
        sim.turn();
        let count = sim.sent(0, 0).len();
        if count > 0 {
            groups.push((now_ns, count));
        }
    }
    assert!(groups.iter().all(|&(_, count)| count <= 16), "{groups:?}");
    let closest = groups.windows(2).map(|pair| pair[1].0 - pair[0].0).min().unwrap();
    assert!(closest >= PERIOD_NS * 24 / 25 / 8 * 19 / 20 - 2 * TURN_NS, "{closest}");
    let report = sim.report(0).services.remove(0);
    // What was left of the frame in which it happened.
    assert!((1..8).contains(&report.counter("groups_late")));
    assert_eq!(report.counter("frames_late"), 1);
    assert_eq!(report.counter("frames_skipped"), 4);
    sim.drain();
}

#[test]
fn a_sender_says_what_class_it_holds_and_for_how_long() {
    use super::timing::Class;
    for (class, word, counter) in [
        (Class::Narrow, "narrow", "frames_narrow"),
        (Class::NarrowLinear, "narrow-linear", "frames_narrow_linear"),
        // It keeps better than it was asked for, but for its groups of 16.
        (Class::Wide, "wide", "frames_wide"),
    ] {
        let mut sim = Sim::new(1);
        let options = sender::Options { class, frames: Some(5), ..sender() };
        sim.shard(&[SimPort::default()], vec![sends(options)], Policy::default()).unwrap();
        sim.turn();
        let report = sim.report(0).services.remove(0);
        assert_eq!((report.word("class_held"), report.word("class_asked")), ("unmeasured", word));
        assert_eq!(report.word("format"), "640x64 at 500, 4:2:2 10 bit");
        assert_eq!((report.word("rate"), report.word("measured_by")), ("500", "hand-over"));
        run_frames(&mut sim, 5);
        let report = sim.report(0).services.remove(0);
        assert_eq!(report.word("class_held"), word);
        assert_eq!(report.word("class_held_since_start"), word);
        assert_eq!(report.counter(counter), 5, "{class}");
        let level = |name| report.level(name).unwrap();
        assert!(level("c_inst_max") <= level("c_max"), "{class}");
        assert!(0 <= level("vrx_min") && level("vrx_max") <= level("vrx_full"), "{class}");
    }
}

#[test]
fn a_receiver_says_what_class_it_sees_and_when_packets_come() {
    use super::timing::Class;
    let mut sim = Sim::new(1);
    let port = [SimPort::default()];
    let sender = sender::Options { class: Class::Narrow, frames: Some(8), ..sender() };
    sim.shard(&port, vec![sends(sender)], Policy::default()).unwrap();
    let receiver = receiver::Options { class: Some(Class::Narrow), ..receiver() };
    sim.shard(&port, vec![receives(receiver)], Policy::default()).unwrap();
    let faults = Faults { delay_ns: 20_000, ..Faults::default() };
    sim.link((0, 0), (1, 0), faults, |_| 0);
    run_frames(&mut sim, 8);
    let (sent, received) = ended(&mut sim);
    assert_eq!(received.word("measured_by"), "arrival");
    assert_eq!((received.word("class_asked"), received.word("class_held")), ("narrow", "narrow"));
    // Two images to learn how many packets they have, and the last has no end.
    assert_eq!(received.counter("frames_narrow"), 5);
    assert_eq!(received.counter("frames_unjudged"), 2);
    let level = |report: &ServiceReport, name| report.level(name).unwrap();
    assert_eq!(level(&received, "c_inst_max"), level(&sent, "c_inst_max"));
    assert_eq!((level(&received, "c_max"), level(&received, "vrx_full")), (4, 8));
    // 20 us on the way are one or two TRS of 15 us.
    let lower = level(&sent, "vrx_min") - level(&received, "vrx_min");
    assert!((1..=2).contains(&lower), "{lower}");
    // Sent 44,667 ns after k*T, as above.
    for name in ["first_packet_ns_min", "first_packet_ns_max", "latency_ns_min"] {
        let first = level(&received, name);
        assert!((64_000..72_000).contains(&first), "{name} {first}");
    }
    let last = level(&received, "latency_ns_max");
    assert!((1_920_000..2_000_000).contains(&last), "{last}");
}

#[test]
fn a_receiver_does_not_judge_what_it_did_not_get_whole() {
    let faults = Faults { loss_per_mille: 20, ..Faults::default() };
    let mut sim = joined(4, sender::Options { frames: Some(12), ..sender() }, faults);
    run_frames(&mut sim, 12);
    let (_, received) = ended(&mut sim);
    assert!(received.counter("packets_lost") > 10);
    let judged = received.counter("frames_wide") + received.counter("frames_of_no_class");
    assert_eq!(judged + received.counter("frames_unjudged"), 11);
    assert!(received.counter("frames_unjudged") >= 7, "{received:?}");
}

#[test]
fn a_stall_is_seen_in_the_class_and_forgotten_after_a_minute_but_not_since_the_start() {
    let mut sim = Sim::new(1);
    let options = sender::Options { frames: Some(2_000_000), ..sender() };
    sim.shard(&[SimPort::default()], vec![sends(options)], Policy::default()).unwrap();
    sim.run_for(PERIOD_NS + PERIOD_NS / 2);
    sim.pass(300_000);
    sim.run_for(PERIOD_NS);
    let report = sim.report(0).services.remove(0);
    assert_eq!(report.word("class_held"), "none");
    assert_eq!(report.counter("frames_of_no_class"), 1);
    // 300 us are 19 packets 15.6 us apart; the lead was two, and half a frame a 24th of it.
    assert!(report.level("vrx_min").unwrap() <= -14, "{:?}", report.level("vrx_min"));
    // Another between two frames spoils none.
    sim.run_for(2 * PERIOD_NS - sim.now_ns() % PERIOD_NS - 150_000);
    sim.pass(61_000_000_000);
    sim.run_for(3 * PERIOD_NS);
    assert!(sim.report(0).services[0].counter("frames_skipped") > 30_000);
    let report = sim.report(0).services.remove(0);
    assert_eq!(report.word("class_held"), "wide");
    assert_eq!(report.word("class_held_since_start"), "none");
    assert!(report.level("vrx_min").unwrap() >= 0);
    assert!(report.level("vrx_min_since_start").unwrap() <= -14);
}

#[test]
fn frames_follow_a_clock_that_is_set_forward_or_back() {
    for step_ns in [5_000_000_000_i64, -5_000_000_000] {
        let mut sim = Sim::new(1);
        sim.shard(&[SimPort::default()], vec![sends(sender())], Policy::default()).unwrap();
        sim.run_for(3 * PERIOD_NS);
        sim.step_tai(step_ns);
        sim.sent(0, 0);
        // TAI is read each 10 ms; then a period without a frame at most.
        let (mut silence_ns, mut longest_ns, mut closest_ns) = (0, 0, u64::MAX);
        let mut timestamps = Vec::new();
        for _ in 0..20 * PERIOD_NS / TURN_NS {
            sim.turn();
            silence_ns += TURN_NS;
            let group = sim.sent(0, 0);
            let Some(packet) = group.first() else { continue };
            assert!(group.len() <= 16, "{step_ns}: {} at once", group.len());
            if !timestamps.is_empty() {
                closest_ns = silence_ns.min(closest_ns);
            }
            longest_ns = silence_ns.max(longest_ns);
            silence_ns = 0;
            let timestamp = u32::from_be_bytes(packet[46..50].try_into().unwrap());
            if timestamps.last() != Some(&timestamp) {
                timestamps.push(timestamp);
            }
        }
        assert!(longest_ns <= PERIOD_NS, "{step_ns}: silent for {longest_ns} ns");
        let distance_ns = PERIOD_NS * 24 / 25 / 8;
        assert!(closest_ns >= distance_ns - 2 * TURN_NS, "{closest_ns}");
        // 180 ticks a frame of 2 ms; one step of 5 s among them.
        let steps: Vec<i32> = (timestamps.windows(2))
            .map(|pair| pair[1].wrapping_sub(pair[0]).cast_signed())
            .filter(|&step| step != 180)
            .collect();
        let [step] = <[i32; 1]>::try_from(steps).unwrap();
        let expected = i32::try_from(step_ns / 1_000_000 * 90).unwrap();
        assert!((step - expected).abs() <= 2 * 180, "{step}, {expected}");
        let report = sim.report(0).services.remove(0);
        assert_eq!(report.counter("clock_steps"), 1, "{step_ns}");
        for zero in ["frames_skipped", "frames_late", "groups_late", "frames_of_no_class"] {
            assert_eq!(report.counter(zero), 0, "{zero}, {step_ns}");
        }
        sim.drain();
    }
}

#[test]
fn a_drain_ends_between_frames() {
    let mut sim = joined(1, sender(), Faults::default());
    sim.run_for(3 * PERIOD_NS + PERIOD_NS / 3);
    let (sent, received) = ended(&mut sim);
    assert_eq!(sent.counter("packets_sent"), sent.counter("frames_sent") * PACKETS);
    assert!(sent.counter("frames_sent") >= 3);
    // Both drain at once; what the receiver got before its rings were empty is all whole or cut.
    assert_eq!(received.counter("frames_incomplete"), 0);
}

#[test]
fn unpaced_is_as_fast_as_the_ring() {
    let options = sender::Options { unpaced: true, frames: Some(100), ..sender() };
    let mut sim = joined(1, options, Faults::default());
    sim.run_for(PERIOD_NS);
    let (sent, received) = ended(&mut sim);
    assert_eq!(sent.counter("frames_sent"), 100, "in the time of one");
    assert_eq!(received.counter("packets_lost"), 0);
    assert_eq!(received.counter("frames_received"), 100);
}

#[test]
fn a_full_ring_makes_frames_late_and_loses_nothing() {
    let faults = Faults { stall_per_mille: 1, stall_ns: 1_500_000, ..Faults::default() };
    let mut sim = joined(3, sender::Options { frames: Some(10), ssrc: None, ..sender() }, faults);
    run_frames(&mut sim, 60);
    let (sent, received) = ended(&mut sim);
    assert_eq!(sent.counter("packets_sent"), 10 * PACKETS);
    assert!(sent.counter("groups_late") > 0);
    assert_eq!(received.counter("packets_received"), 10 * PACKETS);
    assert_eq!(received.counter("packets_lost"), 0);
}

#[test]
fn a_second_receiver_ignores_what_is_not_its_own() {
    let mut sim = Sim::new(1);
    let port = [SimPort::default()];
    sim.shard(
        &port,
        vec![sends(sender::Options { frames: Some(1), ..sender() })],
        Policy::default(),
    )
    .unwrap();
    let other = receiver::Options { port: Some(20002), ..receiver() };
    sim.shard(&port, vec![receives(other)], Policy::default()).unwrap();
    sim.link((0, 0), (1, 0), Faults::default(), |_| 0);
    run_frames(&mut sim, 1);
    sim.deliver(1, 0, &[0xa5; 60], 0);
    let (_, received) = ended(&mut sim);
    assert_eq!(received.dropped("not_ours"), PACKETS);
    assert_eq!(received.dropped("malformed"), 1);
    assert_eq!(received.counter("packets_received"), 0);
}

/// The text with which a shard refuses to start.
fn refusal(plan: ServicePlan, port: SimPort) -> String {
    let error = Sim::new(1).shard(&[port], vec![plan], Policy::default()).unwrap_err();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[test]
fn options_that_cannot_be_followed_are_refused_with_the_remedy() {
    let refused = |options| refusal(sends(options), SimPort::default());
    let text = refused(sender::Options {
        destination: "[2001:db8::2]:20000".parse().unwrap(),
        ..sender()
    });
    assert!(
        text.ends_with(
            "source_address: 198.18.0.1:20000, while destination is [2001:db8::2]:20000; allowed: \
             an address of IPv6"
        ),
        "{text}"
    );
    let text = refused(sender::Options { payload_type: 33, ..sender() });
    assert!(text.ends_with("payload_type 33: allowed are 96 to 127, the dynamic ones"), "{text}");
    let text = refused(sender::Options { troffset_us: Some(2000), ..sender() });
    assert!(
        text.ends_with(
            "troffset_us 2000: a picture is read within its own period; allowed are 0 to 1999"
        ),
        "{text}"
    );
    let text = refused(sender::Options { interface: Some("eth7".into()), ..sender() });
    assert!(
        text.ends_with(
            "service \"out\" sends on one interface and its cores have no queue of \"eth7\"; set \
             interface to one of those that its cores have: [\"sim0\"]"
        ),
        "{text}"
    );
    let mut small = SimPort::default();
    small.facts.mtu = 800;
    let text = refusal(sends(sender()), small);
    assert!(
        text.ends_with(
            "sim0 has an MTU of 800, packets of the stream need 848; raise it with `ip link set \
             sim0 mtu 1500`, and that of the switch"
        ),
        "{text}"
    );
    assert_eq!(format().payload_octets_max() as usize, 848 - 28);
}

/// What the registry says to the options of a service.
fn checked(kind: &str, text: &str) -> Result<(), String> {
    let options = tidegate_config::Options::from_text(text).unwrap();
    let stock = crate::registry::Registry::stock();
    stock.kind(kind).unwrap().check(&options).map_err(|error| error.to_string())
}

const SENDER: &str = r#"
    destination = "198.18.0.2:20000"
    source_address = "198.18.0.1:20000"
    width = 1920
    height = 1080
    rate = "30000/1001"
    depth = 10
"#;

#[test]
fn options_are_read_from_the_config() {
    checked("stream-send", SENDER).unwrap();
    let all = r#"
        destination_mac = "02:00:00:00:00:02"
        interface = "eth2"
        sampling = "YCbCr-4:2:2"
        source = "pattern"
        class = "narrow-linear"
        troffset_us = 700
        payload_type = 97
        ssrc = 5
        frames = 10
        unpaced = true
        checksum = "full"
        launch_time = "none"
    "#;
    checked("stream-send", &format!("{SENDER}{all}")).unwrap();
    let receiver = "port = 20000\nwidth = 1280\nheight = 720\nrate = \"50\"\ndepth = 8\n";
    let timing = "class = \"narrow\"\ntroffset_us = 700\nreference = \"first-packet\"";
    for more in ["", timing, "sink = \"verify\"", "sink = \"file\"\npath = \"out.y4m\"\n"] {
        checked("stream-receive", &format!("{receiver}{more}")).unwrap();
    }
}

#[test]
fn mistakes_in_options_are_named() {
    let table = [
        ("30000/1001", "59.94", "rate \"59.94\": allowed are frames per second"),
        ("depth = 10", "depth = 9", "depth 9: allowed are 8, 10, 12 and 16"),
        ("width", "wide", "unknown key \"wide\""),
        ("198.18.0.2:20000", "198.18.0.2", "socket address"),
        ("depth = 10", "depth = 10\nclass = \"broad\"", "broad"),
        ("depth = 10", "depth = 10\nsampling = \"YUV\"", "YUV"),
        ("depth = 10", "depth = 10\nchecksum = \"some\"", "some"),
        ("depth = 10", "depth = 10\nlaunch_time = \"on\"", "on"),
        ("depth = 10", "depth = 10\ndestination_mac = \"02\"", "found: link address \"02\""),
    ];
    for (right, wrong, said) in table {
        let text = checked("stream-send", &SENDER.replace(right, wrong)).unwrap_err();
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn the_manual_shows_options_that_are_understood() {
    let config = tidegate_config::Config::parse("example.toml", tidegate_config::EXAMPLE).unwrap();
    let camera = config.services.iter().find(|service| service.kind == StreamSend::KIND).unwrap();
    crate::registry::Registry::stock().outfit(camera).unwrap();
}

/// A packet that left, and its launch time.
type Departed = (Vec<u8>, Option<u64>);

/// What left a port whose driver does this, and what the sender on it counted.
fn sent_by(
    options: sender::Options,
    tx: TxOffloads,
    frames: u64,
) -> (Vec<Departed>, ServiceReport) {
    let mut port = SimPort::default();
    port.facts.tx = tx;
    let mut sim = Sim::new(1);
    let options = sender::Options { frames: Some(frames), ..options };
    sim.shard(&[port], vec![sends(options)], Policy::default()).unwrap();
    run_frames(&mut sim, frames);
    let packets = sim.launched(0, 0);
    (packets, sim.drain().remove(0).services.remove(0))
}

const CARD: TxOffloads = TxOffloads { checksum: ChecksumBy::Driver, launch_time: true };

#[test]
fn a_checksum_is_there_where_it_costs_nothing_or_is_wanted_and_is_right() {
    let by = |checksum| TxOffloads { checksum, launch_time: false };
    for (wish, tx, there) in [
        (Checksum::Auto, by(ChecksumBy::Software), false),
        (Checksum::Auto, by(ChecksumBy::Kernel), false),
        (Checksum::Auto, by(ChecksumBy::Driver), true),
        (Checksum::None, by(ChecksumBy::Driver), false),
        (Checksum::Full, by(ChecksumBy::Software), true),
        (Checksum::Full, by(ChecksumBy::Kernel), true),
        (Checksum::Full, by(ChecksumBy::Driver), true),
    ] {
        let (packets, _) = sent_by(sender::Options { checksum: wish, ..sender() }, tx, 1);
        assert_eq!(packets.len() as u64, PACKETS);
        for (packet, launch_ns) in packets {
            assert_eq!(launch_ns, None);
            let mut right = packet.clone();
            TransportChecksum::of(&packet).unwrap().finish(&mut right);
            match there {
                true => assert!(packet == right, "{wish:?} {tx:?}"),
                false => assert_eq!(packet[40..42], [0; 2], "{wish:?} {tx:?}"),
            }
        }
    }
}

#[test]
fn where_the_card_has_launch_times_each_packet_leaves_at_its_own() {
    let (packets, report) = sent_by(sender(), CARD, 3);
    assert_eq!(report.counter("packets_timed"), 3 * PACKETS);
    assert_eq!(report.counter("groups_late"), 0);
    let images =
        Images { frames: format().rate(), scan: Scan::Progressive, height: 64, packets: 128 };
    let schedule = Schedule::new(images, Read::Gapped, None).unwrap();
    let (_, first) = packets[0];
    let number = format().rate().next_frame(first.unwrap()) - 1;
    for (at, (_, launch_ns)) in (0_u64..).zip(&packets) {
        let (frame, packet) = (number + at / PACKETS, u32::try_from(at % PACKETS).unwrap());
        // Two packets before it is read, and never a nanosecond earlier.
        let due = schedule.read_at(frame, packet);
        let due_ns = due.ns + u64::from(due.part > 0) - 30_000;
        assert_eq!(*launch_ns, Some(due_ns), "packet {packet} of frame {frame}");
    }
    assert_eq!(report.word("measured_by"), "launch time");
    assert_eq!(report.counter("frames_wide"), 3, "as handed over in groups of 16");
}

#[test]
fn a_packet_with_a_launch_time_is_handed_over_before_it() {
    let mut port = SimPort::default();
    port.facts.tx = CARD;
    let mut sim = Sim::new(1);
    let options = sender::Options { frames: Some(2), ..sender() };
    sim.shard(&[port], vec![sends(options)], Policy::default()).unwrap();
    let tai_at_zero_ns = 1_710_000_000_000_000_000;
    let mut leads = Vec::new();
    for _ in 0..4 * PERIOD_NS / TURN_NS {
        let now_ns = tai_at_zero_ns + sim.now_ns();
        sim.turn();
        let launched = sim.launched(0, 0);
        assert!(launched.len() <= 16, "no more at once than without");
        leads.extend(launched.first().map(|(_, launch_ns)| launch_ns.unwrap() - now_ns));
    }
    assert_eq!(leads.len(), 16, "eight groups a frame");
    let due = LAUNCH_LEAD_NS - 2 * TURN_NS..=LAUNCH_LEAD_NS;
    assert!(leads.iter().all(|lead_ns| due.contains(lead_ns)), "{leads:?}");
}

#[test]
fn no_launch_times_where_none_are_wanted_or_none_are_to_be_had() {
    let none = sender::Options { launch_time: LaunchTime::None, ..sender() };
    let unpaced = sender::Options { unpaced: true, ..sender() };
    for (options, tx) in
        [(none, CARD), (unpaced, CARD), (sender(), TxOffloads { launch_time: false, ..CARD })]
    {
        let (packets, report) = sent_by(options, tx, 1);
        assert!(packets.iter().all(|(_, launch_ns)| launch_ns.is_none()));
        assert_eq!(report.counter("packets_timed"), 0);
    }
}
