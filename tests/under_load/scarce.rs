//! Days on which something runs out: rings, memory, room in a chunk, a service's budget.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use tidegate::lab::Wire;
use tidegate::lab::flood::Generator;
use tidegate::registry::{NoOptions, Registry};
use tidegate_runtime::burst::{Burst, Delivery};
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::service::{Build, BuildError, Service, ServiceError};
use tidegate_runtime::verdict::Verdict;

use super::together::echo;
use super::{
    PORT, ROOMY, Stage, WireOptions, all_answered, ask, config, lost, ports, scrub, server,
    service, soon, start, steered, wire,
};
use crate::require;

/// Keeps every frame that it gets, for a while.
struct Hoard {
    keep_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoardOptions {
    keep_ms: u64,
}

impl Service for Hoard {
    const KIND: &'static str = "hoard";
    type Options = HoardOptions;

    fn build(options: &HoardOptions, _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { keep_ns: options.keep_ms * 1_000_000 })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let (mut burst, mut kept) = (Burst::default(), Vec::new());
        let mut let_go_ns = cx.now_ns() + self.keep_ns;
        loop {
            let delivery = cx.recv_until(&mut burst, let_go_ns).await;
            kept.append(&mut burst.frames);
            if delivery == Delivery::Drained || cx.now_ns() >= let_go_ns {
                for frame in kept.drain(..) {
                    cx.settle(frame, Verdict::Consumed);
                }
                let_go_ns = cx.now_ns() + self.keep_ns;
            }
            if delivery == Delivery::Drained {
                return Ok(());
            }
        }
    }
}

/// Answers nothing, and panics with frames in its hands.
struct Clumsy {
    bursts_left: u32,
}

impl Service for Clumsy {
    const KIND: &'static str = "clumsy";
    type Options = NoOptions;

    fn build(_: &NoOptions, _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { bursts_left: 5 })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut burst = Burst::default();
        while cx.recv(&mut burst).await == Delivery::Received {
            assert!(self.bursts_left > 0, "as it should, in a test about panics");
            self.bursts_left -= 1;
            for frame in burst.frames.drain(..) {
                cx.settle(frame, Verdict::Consumed);
            }
        }
        Ok(())
    }
}

/// A hoarder of [`PORT`] that may hold so many frames, and keeps them for so long.
fn hoard(wire: &Wire, held_frames_max: u32, keep_ms: u64) -> String {
    let v4 = wire.near.ipv4;
    format!(
        "[[service]]\nname = \"miser\"\nkind = \"hoard\"\nheld_frames_max = {held_frames_max}\n\
         selectors = [{{ destination = \"{v4}\", protocol = \"udp\", ports = {PORT} }}]\n\
         options = {{ keep_ms = {keep_ms} }}\n"
    )
}

fn with_hoard(wire: &Wire, text: &str) -> Stage {
    let registry = Registry::stock().add::<Hoard>();
    let program = start(&wire.near.namespace, text, &registry).unwrap();
    Stage { wire: wire.clone(), program }
}

#[test]
fn rings_that_overflow_lose_packets_by_name_and_work_again_afterwards() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let server = server(&wire);
    let least = "umem = { frames = 128 }\nring_entries = 64\n";
    let services = scrub(&wire).replace("8192", "64");
    let stage = Stage::start(&wire, &config(&wire, least, &services));
    let flood = stage.flood(None, Generator::Auto);
    let losses = || ports(&stage.program.snapshot(), "tide1").kernel_losses();
    assert!(soon(|| losses() > 10_000), "the rings did not overflow");
    let (_, sent) = flood.stop().unwrap();

    // Over, and the shard asleep: the numbers that an operator sees are the last ones too.
    let seen = || {
        let snapshot = stage.program.snapshot();
        let port = ports(&snapshot, "tide1");
        (steered(&snapshot, "redirected"), port.rx_frames + port.kernel_losses())
    };
    assert!(soon(|| seen() == (sent.taken(), sent.taken())), "{:?}, {sent:?}", seen());
    let before = lost(&wire, &stage.program.snapshot());
    let asked = ask(&wire, 200).wait().unwrap();
    all_answered(&asked, lost(&wire, &stage.program.snapshot()) - before);
    let outcome = stage.leave();
    assert_eq!(steered(&outcome.snapshot, "redirected"), sent.taken() + asked.sent);
    server.stop().unwrap();
}

#[test]
fn memory_that_runs_out_loses_packets_by_name_and_comes_back() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions { ipv6: false, ..WireOptions::default() });
    let least = "umem = { frames = 128 }\nring_entries = 64\n";
    // It may hold all there is, and does.
    let stage = with_hoard(&wire, &config(&wire, least, &hoard(&wire, 128, 200)));
    let flood = stage.flood(Some(20_000), Generator::Auto);
    let now = || ports(&stage.program.snapshot(), "tide1");
    assert!(soon(|| now().held_frames == 128), "{:#?}", now());
    assert!(soon(|| now().rx_frames >= 3 * 128), "nothing comes after it let go: {:#?}", now());
    let (_, sent) = flood.stop().unwrap();
    let outcome = stage.leave();
    let port = ports(&outcome.snapshot, "tide1");
    assert!(port.kernel_rx_dropped > 0 && port.kernel_rx_fill_ring_empty_descs > 0, "{port:#?}");
    assert_eq!(port.settled_consumed, port.rx_frames);
    assert_eq!(steered(&outcome.snapshot, "redirected"), sent.taken());
}

#[test]
fn losses_show_while_the_shard_sleeps_on_a_service_that_has_all_its_frames() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions { ipv6: false, ..WireOptions::default() });
    let least = "umem = { frames = 128 }\nring_entries = 64\n";
    let stage = with_hoard(&wire, &config(&wire, least, &hoard(&wire, 128, 60_000)));
    let flood = stage.flood(Some(20_000), Generator::Auto);
    let redirected = || steered(&stage.program.snapshot(), "redirected");
    assert!(soon(|| redirected() > 5_000));
    let (_, sent) = flood.stop().unwrap();
    let now = || ports(&stage.program.snapshot(), "tide1");
    let accounted = || now().rx_frames + now().kernel_losses();
    assert!(soon(|| accounted() == sent.taken()), "{} of {sent:?}: {:#?}", accounted(), now());
    stage.leave();
}

#[test]
fn a_service_that_panics_in_a_flood_is_built_again_and_its_frames_come_home() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let (v4, echo) = (wire.near.ipv4, echo(wire.near.ipv4));
    let services = format!(
        "[[service]]\nname = \"juggler\"\nkind = \"clumsy\"\n\
         selectors = [{{ destination = \"{v4}\", protocol = \"udp\", ports = {PORT} }}]\n{echo}"
    );
    let text = config(&wire, ROOMY, &services)
        .replace("shards = 1", "shards = 1\nrestart = { max_per_minute = 3 }");
    let registry = Registry::stock().add::<Clumsy>();
    let program = start(&wire.near.namespace, &text, &registry).unwrap();
    let stage = Stage { wire: wire.clone(), program };
    let flood = stage.flood(Some(20_000), Generator::Auto);
    let beside = super::ask_from(&wire, 0, 7, 500).wait().unwrap();
    all_answered(&beside, lost(&wire, &stage.program.snapshot()));
    let panics = || service(&stage.program.snapshot(), "juggler").stats.panics;
    assert!(soon(|| panics() == 4), "three more chances than one: {}", panics());
    let (_, sent) = flood.stop().unwrap();
    let outcome = stage.leave();
    let juggler = service(&outcome.snapshot, "juggler");
    assert_eq!((juggler.stats.panics, juggler.stats.restarts), (4, 3));
    assert!(juggler.stats.reclaimed_frames >= 4, "{juggler:#?}");
    assert!(juggler.drops["abandoned"] > 0, "{juggler:#?}");
    assert_eq!(steered(&outcome.snapshot, "redirected"), sent.taken() + beside.sent);
}

#[test]
fn a_service_that_holds_as_much_as_it_may_gets_no_more_and_others_do() {
    require_net!();
    let _alone = require::alone();
    let wire = wire(&WireOptions::default());
    let services = hoard(&wire, 100, 100) + &echo(wire.near.ipv4);
    let stage = with_hoard(&wire, &config(&wire, ROOMY, &services));
    let flood = stage.flood(Some(20_000), Generator::Auto);
    let beside = super::ask_from(&wire, 0, 7, 300).wait().unwrap();
    all_answered(&beside, lost(&wire, &stage.program.snapshot()));
    assert!(ports(&stage.program.snapshot(), "tide1").held_frames <= 100);
    flood.stop().unwrap();
    let outcome = stage.leave();
    let miser = service(&outcome.snapshot, "miser");
    assert!(miser.drops["over_budget"] > 1_000, "{miser:#?}");
    assert!(miser.stats.settled_consumed >= 300, "{miser:#?}");
    let both = miser.stats.settled_consumed + miser.drops["over_budget"];
    assert_eq!(miser.stats.rx_frames, both);
}

#[test]
fn packets_that_no_chunk_can_hold_are_lost_by_name_and_short_ones_go_on() {
    require_net!();
    let _alone = require::alone();
    const LONG: u64 = 20;
    let wire = wire(&WireOptions { mtu: 3000, ..WireOptions::default() });
    let server = server(&wire);
    // Left open, the chunks would be as large as this MTU needs them.
    let short = ROOMY.replace("frames = 16384", "frames = 16384, chunk_octets = 2048");
    let short = format!("{short}multi_buffer = \"off\"\n");
    let stage = Stage::start(&wire, &config(&wire, &short, &scrub(&wire)));
    let send_long = || {
        let socket = UdpSocket::bind((wire.far.ipv4, 0)).unwrap();
        for _ in 0..LONG {
            let to = SocketAddr::from((wire.near.ipv4, PORT));
            socket.send_to(&[b'A'; 2500], to).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    };
    wire.far.namespace.run(send_long).unwrap();
    // Nothing was received, so nothing wakes the shard.
    let dropped = || ports(&stage.program.snapshot(), "tide1").kernel_rx_dropped;
    assert!(soon(|| dropped() == LONG), "{}", dropped());
    let asked = ask(&wire, 100).wait().unwrap();
    all_answered(&asked, 0);
    let outcome = stage.leave();
    let port = ports(&outcome.snapshot, "tide1");
    assert_eq!(steered(&outcome.snapshot, "redirected"), LONG + 100);
    assert_eq!((port.kernel_rx_dropped, port.rx_frames), (LONG, 100), "{port:#?}");
    assert_eq!(server.stop().unwrap().delivered, 100);
}
