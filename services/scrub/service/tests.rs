//! The service on rings in memory: every frame settled and counted once.

use tidegate_runtime::plan::{Policy, ServicePlan};
use tidegate_runtime::report::ServiceReport;
use tidegate_runtime::sim::{Sim, SimPort};

use super::super::samples::{Kind, Part, Sample};
use super::*;

const MS: u64 = 1_000_000;

/// A scrubber with these rules on a shard of its own.
fn stage(rules: &str) -> Sim {
    let text = format!("rules = '''\n{rules}'''");
    let options = tidegate_config::Options::from_text(&text).unwrap().parse().unwrap();
    let plan = ServicePlan::of::<Scrub>("shield", options).selector(0, 0);
    let mut sim = Sim::new(1);
    sim.shard(&[SimPort::default()], vec![plan], Policy::default()).unwrap();
    sim
}

fn feed(sim: &mut Sim, frame: &[u8]) {
    sim.deliver(0, 0, frame, 0);
    sim.turn();
    sim.check();
}

fn left(mut sim: Sim) -> ServiceReport {
    let mut reports = sim.drain();
    reports.remove(0).services.remove(0)
}

#[test]
fn settles_every_frame_and_counts_it_once() {
    let mut sim = stage(
        "default drop\n\
         no_tcp: drop when tcp\n\
         friend: pass when ip.src == 198.18.0.1\n\
         others: limit 1 packets/s burst 2 per source of 1 when udp\n\
         rest: pass when udp\n",
    );
    let friend = Sample::udp(b"friend");
    let from = |host: u8| Sample { source: [198, 18, 7, host].into(), ..friend.clone() };
    let ping = Sample { kind: Kind::Icmp, ..from(1) };
    let mut frames: Vec<Vec<u8>> = [&friend, &Sample::tcp_v6(2), &ping].map(Sample::frame).into();
    frames.push(friend.frame()[..41].to_vec());
    // Three of one source, of which the last is over; then so many sources that the 16
    // tokens of the table are spent.
    frames.extend([1, 1, 1].map(|host| from(host).frame()));
    frames.extend((2..20).map(|host| from(host).frame()));
    for frame in &frames {
        feed(&mut sim, frame);
    }
    let reinjected = sim.reinjected(0, 0);
    assert_eq!(reinjected.len(), 1 + 16);
    assert_eq!(reinjected[0], friend.frame(), "unchanged, as if it had just arrived");

    let report = left(sim);
    let drops = ["malformed", "default", "rule", "limit", "table_full"];
    assert_eq!(drops.map(|reason| report.dropped(reason)), [1, 1, 1, 1, 4]);
    assert_eq!(report.counter("takeovers"), 7);
    assert_eq!(report.stats().rx_frames, frames.len() as u64);
    assert_eq!(report.stats().settled_reinject, 17);
}

#[test]
fn a_syn_goes_back_as_a_challenge_and_its_answer_lets_the_next_one_in() {
    let mut sim = stage("ask: challenge when tcp.flags.syn and not tcp.flags.ack\n");
    for (syn, header) in
        [(Sample::tcp_v6(2), 40), (Sample { kind: Sample::tcp_v6(2).kind, ..Sample::udp(b"") }, 20)]
    {
        feed(&mut sim, &syn.frame());
        let sent = sim.sent(0, 0);
        assert_eq!((sent.len(), sim.reinjected(0, 0).len()), (1, 0));
        assert_eq!(sent[0].len(), 14 + header + 20, "no longer than the SYN");
        let tcp = 14 + header;
        assert_eq!(sent[0][tcp + 13], 0x12);
        let mut reset = syn.frame();
        reset[tcp + 4..tcp + 8].copy_from_slice(&sent[0][tcp + 8..tcp + 12]);
        reset[tcp + 13] = 4;
        feed(&mut sim, &reset);
        feed(&mut sim, &syn.frame());
        assert_eq!(sim.reinjected(0, 0), [syn.frame()]);
        assert!(sim.sent(0, 0).is_empty());
    }
    // From a group: nobody answers.
    let mut odd = Sample { source: [198, 18, 9, 9].into(), ..Sample::udp(b"") };
    odd.kind = Sample::tcp_v6(2).kind;
    let mut frame = odd.frame();
    frame[6] |= 1;
    feed(&mut sim, &frame);
    let report = left(sim);
    assert_eq!(report.counter("challenged"), 2);
    assert_eq!(report.stats().settled_transmit, 2);
    assert_eq!(["answer", "challenge"].map(|reason| report.dropped(reason)), [2, 1]);
}

#[test]
fn a_part_waits_for_its_first_and_follows_it_or_is_judged_alone() {
    let mut sim = stage("ntp: drop when udp.srcport == 123\n");
    let piece = |part, host: u8, port| {
        let kind = Kind::Udp { source: port, destination: 40_000 };
        let source = [198, 18, 7, host].into();
        Sample { part, source, kind, ..Sample::udp(b"payload!") }.frame()
    };
    // Of one that is dropped and one that passes.
    for (host, port) in [(1, 123), (2, 5000)] {
        feed(&mut sim, &piece(Part::Later, host, port));
    }
    assert!(sim.reinjected(0, 0).is_empty());
    assert_eq!(sim.report(0).services[0].snapshot.gauges["parts_waiting"], 2);
    for (host, port) in [(1, 123), (2, 5000)] {
        feed(&mut sim, &piece(Part::First, host, port));
    }
    let first_then_later = [Part::First, Part::Later].map(|part| piece(part, 2, 5000));
    assert_eq!(sim.reinjected(0, 0), first_then_later);
    // One that nothing comes of goes on after its time, also when nothing else comes.
    feed(&mut sim, &piece(Part::Later, 3, 123));
    sim.run_for(40 * MS);
    assert!(sim.reinjected(0, 0).is_empty());
    sim.run_for(20 * MS);
    assert_eq!(sim.reinjected(0, 0).len(), 1);
    // And at the end nobody waits.
    feed(&mut sim, &piece(Part::Later, 4, 123));
    let report = left(sim);
    assert_eq!(report.counter("parts_alone"), 2);
    assert_eq!(report.dropped("rule"), 2);
    assert_eq!(report.stats().settled_reinject, 4);
}

#[test]
fn more_parts_than_may_wait_are_judged_alone_at_once() {
    let mut sim = stage("default pass\n");
    for host in 0..100 {
        let source = [198, 18, 7, host].into();
        let part = Part::Later;
        feed(&mut sim, &Sample { part, source, ..Sample::udp(b"payload!") }.frame());
    }
    assert_eq!(sim.reinjected(0, 0).len(), 36);
    let report = left(sim);
    assert_eq!(report.counter("parts_alone"), 100);
    assert_eq!(report.stats().settled_reinject, 100);
}
