//! The ordinary program with both services at once, from one card to the other.
//!
//! ```text
//!   near                                        far
//!     camera ══════════ video ═══════════════►    monitor, compares every bit
//!     shield ◄═════════ flood, questions ═════    flood, asker
//!        └─► kernel socket ── answers ───────►    asker
//! ```

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::lab::flood::{self, Budget, Flood, Generator, Kind};
use tidegate::lab::witness::udp::{self, Questions};
use tidegate::lab::{End, Wire};
use tidegate::stream::timing::Rate;
use tidegate::stream::video::format::{Depth, Format};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::Play;
use super::facts::{Asked, Card, Flooded, Left, law, obtained, ports, service, steered};
use crate::guest::cards::{await_links, soon, wire};
use crate::guest::program::Program;
use crate::guest::step;
use crate::machine::Nics;

/// Port that is flooded, and asked by those who mean it.
const PORT: u16 = 5300;

/// Frames of video: four seconds.
const FRAMES: u64 = 100;
/// Small, since every packet of it costs a software CPU.
const FORMAT: &str = "width = 320\nheight = 180\nrate = \"25\"\ndepth = 10\n";

/// Flood, within what two software CPUs carry with all the rest.
const FLOOD_PACKETS: u64 = 8_000;
const FLOOD_PACKETS_PER_SECOND: u64 = 2_000;
const QUESTIONS: u32 = 200;

pub(super) struct Together;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    near: Snapshot,
    far: Snapshot,
    near_left: Left,
    far_left: Left,
    near_card: Card,
    far_card: Card,
    flooded: Flooded,
    asked: Asked,
    /// Questions, and flood packets, that the kernel's socket heard.
    heard: (u64, u64),
}

impl Play for Together {
    type Facts = Facts;

    fn play(nics: Nics) -> Facts {
        let wire = wire(1);
        let at = SocketAddr::from((wire.near.ipv4, PORT));
        let server = udp::Server::start(&wire.near.namespace, at).unwrap();
        step("the receiver");
        let far = Program::start(&wire.far.namespace, "far", &far_config(&wire, nics));
        await_links(&wire);
        step("the sender");
        let near = Program::start(&wire.near.namespace, "near", &near_config(&wire, nics));
        await_links(&wire);
        step("the flood");
        let flood = flood_of(&wire.far);
        let asked = ask(&wire);
        let (_, flooded) = flood.wait().unwrap();
        let asked = asked.wait().unwrap();
        step("the end of the video");
        let sent = || service(&near.stats(), "camera").counters["frames_sent"];
        assert!(soon(|| sent() >= FRAMES), "{} frames were sent", sent());
        step("quiet");
        let (near_quiet, far_quiet) = (near.quiet(), far.quiet());
        let (near_card, far_card) = (Card::of(&wire.near), Card::of(&wire.far));
        step("the ends");
        let heard = (server.heard(udp::QUESTION), server.heard(flood::MARK));
        Facts {
            near: near_quiet,
            far: far_quiet,
            near_left: near.leave(),
            far_left: far.leave(),
            near_card,
            far_card,
            flooded: flooded.into(),
            asked: asked.into(),
            heard,
        }
    }

    fn judge(_: Nics, facts: Facts) {
        println!(
            "{:?} {:?} {:?} {:?} {:?}",
            facts.near_card, facts.far_card, facts.flooded, facts.asked, facts.heard
        );
        println!(
            "{:?} {:?} {:?}",
            facts.near.steering,
            ports(&facts.near),
            facts.near.shards[0].services
        );
        println!(
            "{:?} {:?} {:?}",
            facts.far.steering,
            ports(&facts.far),
            facts.far.shards[0].services
        );
        println!("{} {}", facts.near_left.log, facts.far_left.log);
        for snapshot in [&facts.near, &facts.far] {
            law(snapshot);
            assert_eq!(obtained(snapshot, "copy"), ["zero-copy"]);
            assert_eq!(obtained(snapshot, "xdp"), ["native"]);
        }
        facts.near_left.in_order();
        facts.far_left.in_order();

        let (camera, monitor) = (service(&facts.near, "camera"), service(&facts.far, "monitor"));
        assert_eq!(camera.counters["frames_sent"], FRAMES);
        assert_eq!(camera.counters["packets_sent"], FRAMES * packets_per_frame());
        assert_eq!(monitor.counters["frames_verified"], FRAMES, "{monitor:#?}");
        assert_eq!(monitor.counters["frames_wrong"], 0);

        let shield = service(&facts.near, "shield");
        assert!(facts.flooded.taken >= FLOOD_PACKETS / 2, "{:?}", facts.flooded);
        assert_eq!(shield.drops["spoofed"], facts.flooded.taken);
        let Asked { sent, answered, odd } = facts.asked;
        assert_eq!((sent, answered, odd), (QUESTIONS.into(), QUESTIONS.into(), 0));
        assert_eq!(shield.stats.settled_reinject, sent);
        assert_eq!(facts.heard, (sent, 0));
        assert_eq!(steered(&facts.near, "redirected"), facts.flooded.taken + sent);
    }
}

fn packets_per_frame() -> u64 {
    let rate: Rate = "25".parse().unwrap();
    Format::new(320, 180, Depth::Ten, rate).unwrap().packets_per_frame().into()
}

/// The keys of an interface with such a driver.
fn interface(end: &End, nics: Nics) -> String {
    let chunk_octets = match nics {
        Nics::Virtio => 2048,
        // It rounds its buffers down: longer packets would come in two parts.
        Nics::Igb => 4096,
    };
    format!(
        "[[interface]]\nname = \"{}\"\ncopy = \"zero-copy\"\n\
         umem = {{ frames = 16384, chunk_octets = {chunk_octets} }}\nring_entries = 4096\n",
        end.name
    )
}

fn near_config(wire: &Wire, nics: Nics) -> String {
    let (from, to) = (wire.near.ipv4, wire.far.ipv4);
    interface(&wire.near, nics)
        + &format!(
            r#"
[[service]]
name = "shield"
kind = "scrub"
selectors = [{{ destination = "{from}", protocol = "udp", ports = {PORT} }}]
[service.options]
rules = [{{ name = "spoofed", source = "198.19.0.0/16", action = "drop" }}]

[[service]]
name = "camera"
kind = "stream-send"
[service.options]
destination = "{to}:20000"
source_address = "{from}:20000"
frames = {FRAMES}
{FORMAT}"#
        )
}

fn far_config(wire: &Wire, nics: Nics) -> String {
    let to = wire.far.ipv4;
    interface(&wire.far, nics)
        + &format!(
            r#"
[[service]]
name = "monitor"
kind = "stream-receive"
selectors = [{{ destination = "{to}", protocol = "udp", ports = 20000 }}]
[service.options]
port = 20000
sink = "verify"
{FORMAT}"#
        )
}

fn flood_of(end: &End) -> flood::Running {
    let kind = Kind::Udp { port: PORT };
    let options = flood::Options { generator: Generator::Packets, ..flood::Options::new(kind) };
    let budget = Budget {
        packets: FLOOD_PACKETS,
        time: Duration::from_secs(10),
        packets_per_second: NonZeroU64::new(FLOOD_PACKETS_PER_SECOND),
        processor: None,
    };
    Flood::new(end, &options).unwrap().start(budget).unwrap()
}

fn ask(wire: &Wire) -> tidegate::lab::witness::Witness {
    let questions = Questions {
        count: QUESTIONS,
        per_second: 100,
        octets: 64,
        patience: Duration::from_secs(5),
    };
    udp::ask(
        &wire.far.namespace,
        SocketAddr::from((wire.far.ipv4, 0)),
        SocketAddr::from((wire.near.ipv4, PORT)),
        questions,
    )
    .unwrap()
}
