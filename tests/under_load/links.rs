//! An end of the wire goes down under load and comes back. Nobody restarts anything.

use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::flood::Generator;
use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::{End, Wire};
use tidegate::run::Outcome;
use tidegate_runtime::metrics::PortStats;

use super::leave::{camera, packets_per_frame};
use super::{
    PACE, ROOMY, Stage, WireOptions, all_answered, ask, config, lost, ports, scrub, server,
    service, soon, steered, wire,
};
use crate::require;

/// How long it stays down: a video of 25 frames a second misses several.
const OUTAGE: Duration = Duration::from_millis(300);

fn outage(end: &End) {
    end.set_down().unwrap();
    thread::sleep(OUTAGE);
    end.set_up().unwrap();
}

/// Returns the flood's packets that the protected socket heard.
fn a_scrubber_outlives(broken: impl Fn(&Wire) -> &End) -> u64 {
    let wire = wire(&WireOptions::default());
    let server = server(&wire);
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    // Live frames: they are still made when the link does not take them.
    let flood = stage.flood(Some(PACE), Generator::LiveFrames);
    let dropped = || lost(&wire, &stage.program.snapshot());
    let came = || ports(&stage.program.snapshot(), "tide1").rx_frames;
    let mut questions = 0;
    for _ in 0..2 {
        let before = dropped();
        let asked = ask(&wire, 100).wait().unwrap();
        all_answered(&asked, dropped() - before);
        questions += asked.sent;
        let unheard = ask(&wire, 300);
        assert!(soon(|| unheard.testimony().sent > 10));
        outage(broken(&wire));
        let before = came();
        assert!(soon(|| came() > before + 10_000), "no packets any more");
        questions += unheard.stop().unwrap().sent;
    }
    let before = dropped();
    let asked = ask(&wire, 100).wait().unwrap();
    all_answered(&asked, dropped() - before);
    questions += asked.sent;
    flood.stop().unwrap();
    let outcome = stage.leave();
    let (port, shield) = (ports(&outcome.snapshot, "tide1"), service(&outcome.snapshot, "shield"));
    // What the program saw of the flood it ended; what it put back was questions. Beside them the
    // far kernel talks: groups that it joins, answers that nobody awaits any more.
    let saw = |name| steered(&outcome.snapshot, name);
    let talk = saw("pass_no_selector") + saw("pass_gate_closed");
    assert_eq!(saw("received"), saw("redirected") + talk, "{:?}", outcome.snapshot.steering);
    assert!(talk < 100, "{:?}", outcome.snapshot.steering);
    assert_eq!(port.rx_frames, shield.drops["rule"] + port.settled_reinject);
    assert!(port.settled_reinject <= questions, "{port:#?}");
    server.stop().unwrap().wrong
}

#[test]
fn a_scrubber_goes_on_when_its_interface_comes_back() {
    require_net!();
    let _alone = require::alone();
    // A veth that goes down loses its program before its packets, and one that comes up has it
    // last (veth_disable_xdp and veth_enable_xdp of the driver): for a moment the kernel has them,
    // as if nothing was attached.
    let _unseen = a_scrubber_outlives(|wire| &wire.near);
}

#[test]
fn a_scrubber_goes_on_when_the_other_end_comes_back() {
    require_net!();
    let _alone = require::alone();
    let through = a_scrubber_outlives(|wire| &wire.far);
    assert_eq!(through, 0, "the flood came through");
}

/// Returns wake-ups that the kernel refused since the interface was down, and frames that were
/// not sent.
fn a_sender_outlives(broken: impl Fn(&Wire) -> &End) -> (u64, u64) {
    let wire = wire(&WireOptions::default());
    let sink = Sink::attach(&wire.far, Action::Drop).unwrap();
    // A ring that an outage fills.
    let stage = Stage::start(&wire, &config(&wire, "", &camera(&wire)));
    let arrived = || sink.arrived().unwrap().packets;
    for _ in 0..2 {
        let before = arrived();
        assert!(soon(|| arrived() > before + 2_000));
        outage(broken(&wire));
    }
    let before = arrived();
    assert!(soon(|| arrived() > before + 2_000), "it does not send any more");
    let outcome = stage.leave();
    let port = ports(&outcome.snapshot, "tide1");
    let camera = &service(&outcome.snapshot, "camera").counters;
    // Still whole frames, also those that were on the ring when the link went.
    assert_eq!(camera["frames_sent"] * packets_per_frame(), port.tx_frames);
    let dropped = || wire.near.link().unwrap().counters.tx_dropped;
    let accounted = || arrived() + dropped() == port.tx_frames;
    assert!(soon(accounted), "{} and {} of {}", arrived(), dropped(), port.tx_frames);
    (port.wake_errors_netdown, camera["frames_skipped"])
}

#[test]
fn a_sender_waits_for_its_interface_and_takes_up_the_beat() {
    require_net!();
    let _alone = require::alone();
    let (refused, skipped) = a_sender_outlives(|wire| &wire.near);
    assert!(refused > 0, "the kernel says that the interface is down");
    assert!(skipped > 0, "what was due meanwhile is not sent in a burst");
}

#[test]
fn a_sender_goes_on_when_the_other_end_comes_back() {
    require_net!();
    let _alone = require::alone();
    a_sender_outlives(|wire| &wire.far);
}

/// Stops a sender whose ring the kernel does not empty any more.
fn leaves_in_time(stage: Stage) -> PortStats {
    let asked = Instant::now();
    let Outcome { report, snapshot, .. } = stage.program.stop();
    let port = ports(&snapshot, "tide1");
    // It may not call a frame sent that is on the ring still: it says how many it gave up. And it
    // does not wait until its time is up (2 s) for a link that takes nothing.
    assert!(report.is_clean(), "{report:#?}");
    assert!(asked.elapsed() < Duration::from_millis(1_500), "{report:#?}");
    assert_eq!(port.tx_frames, port.completed_frames + port.unsent_frames, "{port:#?}");
    assert_eq!(port.unsent_frames, port.ring_tx_frames, "{port:#?}");
    assert_eq!(port.held_frames, 0, "{port:#?}");
    port
}

#[test]
fn a_sender_that_is_stopped_while_its_interface_is_down_leaves_in_time() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let sink = Sink::attach(&wire.far, Action::Drop).unwrap();
    let stage = Stage::start(&wire, &config(&wire, "", &camera(&wire)));
    let arrived = || sink.arrived().unwrap().packets;
    assert!(soon(|| arrived() > 2_000));
    wire.near.set_down().unwrap();
    let refused = || ports(&stage.program.snapshot(), "tide1").wake_errors_netdown;
    assert!(soon(|| refused() > 100));
    let port = leaves_in_time(stage);
    assert!(port.unsent_frames > 0, "{port:#?}");
    let dropped = wire.near.link().unwrap().counters.tx_dropped;
    assert_eq!(arrived() + dropped, port.completed_frames);
}

#[test]
fn a_scrubber_whose_interface_is_removed_sleeps_until_it_is_stopped() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    let flood = stage.flood(Some(PACE), Generator::LiveFrames);
    let came = || ports(&stage.program.snapshot(), "tide1").rx_frames;
    assert!(soon(|| came() > 10_000));
    wire.near.remove().unwrap();
    // It ends with an error or without, as the far end is gone too.
    drop(flood);
    thread::sleep(OUTAGE);
    let turns = || stage.program.snapshot().shards[0].stats.turns;
    let before = turns();
    thread::sleep(OUTAGE);
    assert!(turns() - before < 20_000, "it spins");
    stage.leave();
}

#[test]
fn a_sender_whose_interface_is_removed_leaves_in_time() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let sink = Sink::attach(&wire.far, Action::Drop).unwrap();
    let stage = Stage::start(&wire, &config(&wire, "", &camera(&wire)));
    assert!(soon(|| sink.arrived().unwrap().packets > 2_000));
    wire.near.remove().unwrap();
    let refused = || ports(&stage.program.snapshot(), "tide1").wake_errors_other;
    assert!(soon(|| refused() > 100), "the kernel says that there is no such device");
    leaves_in_time(stage);
}
