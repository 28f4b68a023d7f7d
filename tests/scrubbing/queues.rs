//! One service before several queues, and before several interfaces: what is counted is the sum of
//! all, and a verdict that one shard came to holds for all.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use tidegate::lab::flood::Sent;
use tidegate::lab::{Namespace, Wire};
use tidegate::run::Outcome as Left;
use tidegate_dataplane::steer::{Outcome, State};

use super::senders::{budget, frame, sent};
use super::{Budget, Flood, ROOMY, Stage, WireOptions, ports, soon, thread, wire};
use crate::require;
use crate::under_load::PORT;

/// The port that rules drop at once, and the one whose senders the program is told of.
const DROPPED: u16 = 9;
const BANNED: u16 = 10;

/// Packets a second from each processor: two together are over [`THRESHOLD`], one is not.
const PACE: u64 = 3_000;
const THRESHOLD: u64 = 4_500;

fn config(wires: &[&Wire], shards: u32, queues: &str, engage: &str) -> String {
    let interface = |wire: &&Wire| {
        format!("[[interface]]\nname = \"{}\"\nqueues = {queues}\n{ROOMY}\n", wire.near.name)
    };
    let protect = |wire: &&Wire| {
        format!(
            "[[service.options.protect]]\ndestination = \"{}\"\nengage = \"{engage}\"\n\
             packets_per_second = {THRESHOLD}\n",
            wire.near.ipv4
        )
    };
    let names: Vec<_> = wires.iter().map(|wire| format!("\"{}\"", wire.near.name)).collect();
    format!(
        "[runtime]\ninstance = \"{}\"\nshards = {shards}\n{}\
         [[service]]\nname = \"shield\"\nkind = \"scrub\"\nheld_frames_max = 8192\n\
         interface = [{}]\n[service.options]\n\
         rules = '''\n\
         dropped: drop when udp.dstport == {DROPPED}\n\
         banned: drop for 60s per source when udp.dstport == {BANNED}\n'''\n{}",
        crate::under_load::instance(),
        wires.iter().map(interface).collect::<String>(),
        names.join(", "),
        wires.iter().map(protect).collect::<String>(),
    )
}

/// Floods from both processors at once, so many packets each: a veth has a queue for each.
fn from_both(wire: &Wire, packets: u64) -> u64 {
    let start = |processor: u8| {
        let frames = (0..50).map(|host| {
            let from = (Ipv4Addr::new(198, 19, processor, host), 4000 + u16::from(host));
            frame(wire, from, (wire.near.ipv4, DROPPED))
        });
        let budget = Budget { processor: Some(processor.into()), ..budget(packets, PACE) };
        Flood::of_frames(&wire.far, frames.collect()).unwrap().start(budget).unwrap()
    };
    let taken = |sent: Sent| {
        assert_eq!((sent.offered, sent.refused), (packets, 0));
        sent.taken()
    };
    [0, 1].map(start).map(|flood| taken(flood.wait().unwrap().1)).iter().sum()
}

/// What the service's rule ended on shards: by each.
fn by_shard(stage: &Stage, name: &str) -> Vec<u64> {
    let answer = stage.ask(&serde_json::json!({ "command": "rules", "do": "hits" }));
    let rules = answer["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["name"] == name).unwrap();
    let cores = rule["cores"].as_array().unwrap();
    cores.iter().map(|core| core["packets"].as_u64().unwrap()).collect()
}

/// What all instances of the service dropped by a rule.
fn dropped(left: &Left) -> u64 {
    let services = left.snapshot.shards.iter().flat_map(|shard| &shard.services);
    services.map(|service| service.drops["rule"]).sum()
}

#[test]
fn two_queues_are_engaged_by_their_sum_and_counted_together() {
    require_net!();
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return require::without("there is one processor");
    }
    let _alone = require::alone();
    let wire = wire(&WireOptions { queues: 2, ipv6: false, ..WireOptions::default() });
    let stage = Stage::start(&wire, &config(&[&wire], 2, "[0, 1]", "auto"));
    assert!(soon(|| stage.state() == Some(State::Peace)));
    let mut all = from_both(&wire, 4_000);
    assert_eq!(stage.state(), Some(State::Engaged), "{all} came");
    all += from_both(&wire, 2_000);
    let passed = || stage.outcome(Outcome::PassPeace) + stage.outcome(Outcome::PassStalled);
    let ended = || by_shard(&stage, "dropped");
    assert!(soon(|| ended().iter().sum::<u64>() + passed() == all), "{:?} of {all}", ended());
    assert!(ended().len() == 2 && ended().iter().all(|&count| count > 0), "{:?}", ended());
    let (on_shards, sum) = (stage.hits("dropped").0, ended().iter().sum::<u64>());
    assert_eq!(on_shards, sum);

    // Told by one queue's shard, obeyed at both: each processor sends as one source.
    let source = Ipv4Addr::new(198, 19, 7, 7);
    let banned = [frame(&wire, (source, 4000), (wire.near.ipv4, BANNED))];
    let ends = || {
        let before = stage.outcome(Outcome::DropVerdict);
        sent(&wire, banned.clone().into(), 500);
        stage.outcome(Outcome::DropVerdict) - before == 500
    };
    assert!(soon(ends));
    let (judged, promoted) = stage.hits("banned");
    for port in 4001..4021 {
        sent(&wire, [frame(&wire, (source, port), (wire.near.ipv4, PORT))].into(), 50);
    }
    assert_eq!(stage.hits("banned"), (judged, promoted + 1_000));
    let sum = sum + judged;
    let left = stage.leave();
    assert_eq!(dropped(&left), sum);
    assert_eq!(ports(&left.snapshot, "tide1").rx_frames, sum);
    let shards = &left.snapshot.shards;
    let queues: BTreeSet<_> =
        shards.iter().flat_map(|shard| &shard.ports).map(|port| port.queue).collect();
    assert_eq!(queues, [0, 1].into());
}

#[test]
fn a_verdict_by_what_came_to_one_interface_holds_at_the_other() {
    require_net!();
    let _alone = require::alone();
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wires = [1, 2].map(|number| {
        let options = WireOptions { number, ipv6: false, ..WireOptions::default() };
        Wire::new(&near, &far, &options).unwrap()
    });
    let [one, other] = &wires;
    let stage = Stage::start(one, &config(&[one, other], 1, "[0]", "on"));
    let steerings = || stage.program.steerings();
    let engaged = || {
        let places: Vec<_> =
            steerings().iter().flat_map(|steering| steering.states()).flatten().collect();
        places.len() == 4 && places.iter().all(|&state| state == State::Engaged)
    };
    assert!(soon(engaged), "both destinations, at both interfaces");
    let ended = |wire: &Wire| {
        let steering = steerings().iter().find(|it| *it.interface() == *wire.near.name).unwrap();
        steering.counters().unwrap().get(Outcome::DropVerdict).packets
    };
    let source = Ipv4Addr::new(198, 19, 7, 7);
    let learn = || {
        let before = ended(one);
        sent(one, [frame(one, (source, 4000), (one.near.ipv4, BANNED))].into(), 300);
        ended(one) - before == 300
    };
    assert!(soon(learn));
    let (judged, promoted) = stage.hits("banned");
    sent(other, [frame(other, (source, 4001), (other.near.ipv4, PORT))].into(), 300);
    assert_eq!(ended(other), 300);
    assert_eq!(stage.hits("banned"), (judged, promoted + 300), "of both");

    // Each has rings of its own, and one count.
    for (wire, host, packets) in [(one, 1, 400), (other, 2, 500)] {
        let from = (Ipv4Addr::new(198, 19, 8, host), 4000);
        sent(wire, [frame(wire, from, (wire.near.ipv4, DROPPED))].into(), packets);
    }
    let stalled =
        || steerings().iter().map(|it| it.counters().unwrap().get(Outcome::PassStalled).packets);
    assert!(soon(|| stage.hits("dropped").0 + stalled().sum::<u64>() >= 900));
    let (dropped_there, judged) = (stage.hits("dropped").0, stage.hits("banned").0);
    let left = stage.leave();
    assert_eq!(dropped(&left), dropped_there + judged);
    let received = ["tide1", "tide2"].map(|name| ports(&left.snapshot, name).rx_frames);
    assert_eq!(received.iter().sum::<u64>(), dropped_there + judged);
    assert!(received.iter().all(|&count| count > 0), "{received:?}");
}
