//! The whole program on real wires of the lab, under load, on bad days.
//!
//! ```text
//!   far: flood, questions ───► wire ───► near: steering ─► port ─► service ─► kernel socket
//! ```
//!
//! Whatever happens to it, at the end [`Stage::leave`] holds every packet against the law:
//! what steering redirected was received or lost by a name that the kernel has for it, and what
//! was received was settled.

mod challenge;
mod jumbo;
mod leave;
mod links;
mod reinject;
mod scarce;
mod semantics;
mod shapes;
mod singly;
mod steering;
mod together;
mod video;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::flood::{self, Budget, Flood, Generator, Kind, Running};
use tidegate::lab::witness::udp::Questions;
use tidegate::lab::witness::{Testimony, Witness, udp};
use tidegate::lab::{Namespace, Wire, WireOptions};
use tidegate::registry::Registry;
use tidegate::run::{Outcome, Program};
use tidegate_config::Config;
use tidegate_runtime::metrics::PortStats;
use tidegate_runtime::metrics::snapshot::{ServiceSnapshot, Snapshot};

pub(crate) use reinject::nft;

/// Port that is flooded, and asked by those who mean it.
pub(crate) const PORT: u16 = 5300;

/// Packets a second that two shared cores carry in a debug build, all witnesses beside it.
pub(crate) const PACE: u64 = 50_000;

/// Rings that do not overflow at that pace when the shard loses its processor for a while.
pub(crate) const ROOMY: &str = "umem = { frames = 16384 }\nring_entries = 8192\n";

/// A wire, and the program at its near end.
pub(crate) struct Stage {
    pub(crate) wire: Wire,
    pub(crate) program: Program,
}

impl Stage {
    /// Starts the stock program with `config`.
    pub(crate) fn start(wire: &Wire, config: &str) -> Self {
        let program = start(&wire.near.namespace, config, &Registry::stock()).unwrap();
        Self { wire: wire.clone(), program }
    }

    /// Packets for [`PORT`], at [`PACE`] or as fast as they go, until stopped.
    fn flood(&self, pace: Option<u64>, generator: Generator) -> Running {
        flood(&self.wire, pace, generator)
    }

    /// Stops the program, and holds what it did against the law.
    pub(crate) fn leave(self) -> Outcome {
        let outcome = self.program.stop();
        law(&outcome);
        outcome
    }
}

pub(crate) fn wire(options: &WireOptions) -> Wire {
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    Wire::new(&near, &far, options).unwrap()
}

fn start(
    namespace: &Namespace,
    config: &str,
    registry: &Registry,
) -> Result<Program, tidegate::run::RunError> {
    let config = Config::parse("test.toml", config).unwrap_or_else(|error| panic!("{error}"));
    namespace.run(|| Program::start(&config, registry)).unwrap()
}

fn flood(wire: &Wire, pace: Option<u64>, generator: Generator) -> Running {
    let kind = Kind::Udp { port: PORT };
    let options = flood::Options { generator, ..flood::Options::new(kind) };
    let budget = Budget {
        packets: u64::MAX,
        time: Duration::from_secs(60),
        packets_per_second: pace.and_then(NonZeroU64::new),
        processor: None,
    };
    Flood::new(&wire.far, &options).unwrap().start(budget).unwrap()
}

/// A name that no other test's program has.
pub(crate) fn instance() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("load-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A config of one shard: the near end with `interface`'s keys, and `services`.
pub(crate) fn config(wire: &Wire, interface: &str, services: &str) -> String {
    let (instance, name) = (instance(), &wire.near.name);
    format!(
        "[runtime]\ninstance = \"{instance}\"\nshards = 1\n\n\
         [[interface]]\nname = \"{name}\"\n{interface}\n{services}"
    )
}

/// A scrubber of [`PORT`] on both of the near end's addresses, which ends what has a source of
/// the flood's and passes the rest.
fn scrub(wire: &Wire) -> String {
    let (v4, v6) = (wire.near.ipv4, wire.near.ipv6);
    format!(
        r#"
[[service]]
name = "shield"
kind = "scrub"
held_frames_max = 8192
selectors = [
    {{ destination = "{v4}", protocol = "udp", ports = {PORT} }},
    {{ destination = "{v6}", protocol = "udp", ports = {PORT} }},
]
[service.options]
rules = "spoofed: drop when ip.src in {{ 198.19.0.0/16, 2001:db8:f100::/64 }}"
"#
    )
}

/// A kernel socket at [`PORT`] of the near end.
pub(crate) fn server(wire: &Wire) -> udp::Server {
    let at = SocketAddr::from((wire.near.ipv4, PORT));
    udp::Server::start(&wire.near.namespace, at).unwrap()
}

/// Asks [`PORT`] so often, 500 times a second.
fn ask(wire: &Wire, count: u32) -> Witness {
    ask_from(wire, 0, PORT, count)
}

/// Asks port `to` from port `from`.
pub(crate) fn ask_from(wire: &Wire, from: u16, to: u16, count: u32) -> Witness {
    let patience = Duration::from_secs(3);
    udp::ask(
        &wire.far.namespace,
        SocketAddr::from((wire.far.ipv4, from)),
        SocketAddr::from((wire.near.ipv4, to)),
        Questions { count, per_second: 500, octets: 64, patience },
    )
    .unwrap()
}

/// Every question was answered, but for those that the kernel dropped by name.
pub(crate) fn all_answered(testimony: &Testimony, dropped: u64) {
    let Testimony { sent, delivered, wrong, duplicate, .. } = *testimony;
    assert!(sent > 0 && sent - delivered <= dropped, "{testimony:?}, {dropped} dropped");
    assert_eq!((wrong, duplicate), (0, 0), "{testimony:?}");
}

/// Packets that the wire itself lost, on their way to the near end, or into its socket.
pub(crate) fn lost(wire: &Wire, snapshot: &Snapshot) -> u64 {
    wire.far.link().unwrap().counters.tx_dropped + ports(snapshot, &wire.near.name).kernel_losses()
}

/// Whether `true` comes within a time that only something broken needs.
pub(crate) fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// The ports of an interface, summed.
pub(crate) fn ports(snapshot: &Snapshot, interface: &str) -> PortStats {
    let ports = snapshot.shards.iter().flat_map(|shard| &shard.ports);
    let of_it = ports.filter(|port| port.interface == interface);
    of_it.fold(PortStats::default(), |sum, port| sum.combine(&port.stats))
}

/// A service by name.
pub(crate) fn service<'a>(snapshot: &'a Snapshot, name: &str) -> &'a ServiceSnapshot {
    let mut services = snapshot.shards.iter().flat_map(|shard| &shard.services);
    services.find(|service| service.name == name).unwrap()
}

/// What the steering of the near end counted under `name`.
pub(crate) fn steered(snapshot: &Snapshot, name: &str) -> u64 {
    snapshot.steering[0].counters[name]
}

/// No packet is nowhere: from the wire to the verdict.
pub(crate) fn law(outcome: &Outcome) {
    let Outcome { report, snapshot, .. } = outcome;
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.shards.iter().all(|shard| shard.leaked == 0), "{report:#?}");
    for steering in &snapshot.steering {
        let counters = &steering.counters;
        let outcomes: u64 = counters.values().sum::<u64>() - counters["received"];
        assert_eq!(outcomes, counters["received"], "{counters:?}");
        let port = ports(snapshot, &steering.interface);
        let came = port.rx_frames + port.bad_descriptors + port.lost_packets();
        assert_eq!(counters["redirected"], came, "{port:#?}");
        assert_eq!(port.bad_descriptors, 0);
        assert_eq!(port.held_frames, 0);
        let (here, left) = port.flow();
        assert_eq!(here, left, "{port:#?}");
        assert_eq!(port.tx_frames + port.tx_parts, port.completed_frames, "{port:#?}");
    }
    for service in snapshot.shards.iter().flat_map(|shard| &shard.services) {
        let (came, left) = service.stats.flow();
        assert_eq!(came, left, "{service:#?}");
        assert_eq!(service.drops.values().sum::<u64>(), service.stats.settled_drop);
    }
}
