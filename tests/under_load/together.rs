//! Several services, and other ways to run them.

use std::net::SocketAddr;

use tidegate::lab::flood::Generator;
use tidegate::lab::witness::udp;
use tidegate::registry::Registry;
use tidegate_dataplane::sys::netlink::XdpMode;

use super::{
    PACE, PORT, ROOMY, Stage, WireOptions, all_answered, ask, ask_from, config, lost, ports, scrub,
    server, service, start, steered, wire,
};
use crate::require;

/// An echo of port 7.
pub(super) fn echo(address: impl std::fmt::Display) -> String {
    format!(
        "[[service]]\nname = \"ping\"\nkind = \"echo\"\n\
         selectors = [{{ destination = \"{address}\", protocol = \"udp\", ports = 7 }}]\n"
    )
}

#[test]
fn two_services_on_one_port_each_get_what_their_selectors_name() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let server = server(&wire);
    // What the echo answers, no kernel socket hears.
    let silent = SocketAddr::from((wire.near.ipv4, 7));
    let silent = udp::Server::start(&wire.near.namespace, silent).unwrap();
    let services = echo(wire.near.ipv4) + &scrub(&wire);
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &services));
    let flood = stage.flood(Some(PACE), Generator::Auto);
    let (echoed, scrubbed) = (ask_from(&wire, 0, 7, 300), ask(&wire, 300));
    let (echoed, scrubbed) = (echoed.wait().unwrap(), scrubbed.wait().unwrap());
    let (_, sent) = flood.stop().unwrap();
    all_answered(&echoed, lost(&wire, &stage.program.snapshot()));
    all_answered(&scrubbed, lost(&wire, &stage.program.snapshot()));
    let outcome = stage.leave();
    let snapshot = &outcome.snapshot;
    assert_eq!(steered(snapshot, "redirected"), sent.taken() + 600);
    let (ping, shield) = (service(snapshot, "ping"), service(snapshot, "shield"));
    assert_eq!(ping.stats.rx_frames, ping.stats.settled_transmit);
    assert_eq!(ping.stats.rx_frames, echoed.delivered);
    assert_eq!(shield.stats.settled_reinject, server.heard(b'A'));
    assert_eq!(shield.stats.settled_reinject, scrubbed.delivered);
    assert_eq!(shield.stats.rx_frames, shield.drops["rule"] + scrubbed.delivered);
    let port = ports(snapshot, "tide1");
    assert_eq!(port.rx_frames, ping.stats.rx_frames + shield.stats.rx_frames);
    assert_eq!(silent.stop().unwrap().delivered, 0);
    server.stop().unwrap();
}

#[test]
fn two_shards_share_an_interface_and_each_serves_its_own_queue() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions { queues: 2, ..WireOptions::default() });
    let server = server(&wire);
    let interface = format!("queues = [0, 1]\n{ROOMY}");
    let services = scrub(&wire).replace("kind =", "cores = [0, 1]\nkind =");
    let text = config(&wire, &interface, &services).replace("shards = 1", "shards = 2");
    let stage = Stage::start(&wire, &text);
    let flood = stage.flood(Some(PACE), Generator::Auto);
    // Flows that the sending kernel spreads over the queues.
    let askers: Vec<_> = (0..16).map(|it| ask_from(&wire, 41_000 + it, PORT, 50)).collect();
    let (mut sent, mut delivered) = (0, 0);
    for asker in askers {
        let testimony = asker.wait().unwrap();
        all_answered(&testimony, lost(&wire, &stage.program.snapshot()));
        (sent, delivered) = (sent + testimony.sent, delivered + testimony.delivered);
    }
    let (_, flooded) = flood.stop().unwrap();
    let outcome = stage.leave();
    let snapshot = &outcome.snapshot;
    assert_eq!(steered(snapshot, "redirected"), flooded.taken() + sent);
    let reinjected = |shard: usize| snapshot.shards[shard].services[0].stats.settled_reinject;
    assert!(reinjected(0) >= 50 && reinjected(1) >= 50, "{} {}", reinjected(0), reinjected(1));
    assert_eq!(reinjected(0) + reinjected(1), delivered);
    assert_eq!(server.stop().unwrap().delivered, delivered);
}

#[test]
fn an_echo_answers_from_generic_mode() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let stage = Stage::start(&wire, &config(&wire, "xdp = \"generic\"\n", &echo(wire.near.ipv4)));
    let attached = wire.near.link().unwrap().xdp.unwrap();
    assert_eq!(attached.mode, XdpMode::Generic);
    let asked = ask_from(&wire, 0, 7, 500).wait().unwrap();
    all_answered(&asked, lost(&wire, &stage.program.snapshot()));
    let outcome = stage.leave();
    assert_eq!(service(&outcome.snapshot, "ping").stats.settled_transmit, asked.delivered);
    assert_eq!(wire.near.link().unwrap().xdp, None);
}

#[test]
fn a_scrubber_is_refused_in_generic_mode_and_leaves_nothing_behind() {
    require_net!();
    let wire = wire(&WireOptions::default());
    let text = config(&wire, "xdp = \"generic\"\n", &scrub(&wire).replace("8192", "1024"));
    let Err(refusal) = start(&wire.near.namespace, &text, &Registry::stock()) else {
        panic!("started");
    };
    assert_eq!(
        refusal.to_string(),
        "shard 0, tide1 queue 0: XDP runs in generic mode on tide1, so packets put back would \
         meet it again; use an interface whose driver runs XDP (mode native), or services that \
         put nothing back"
    );
    assert_eq!(wire.near.link().unwrap().xdp, None);
    let server = server(&wire);
    all_answered(&ask(&wire, 10).wait().unwrap(), 0);
    assert_eq!(server.stop().unwrap().delivered, 10);
}
