//! What the far end sends to the near one: a flood, and questions by those who mean it.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use tidegate::lab::Wire;
use tidegate::lab::flood::{self, Budget, Flood, Generator, Kind};
use tidegate::lab::witness::Witness;
use tidegate::lab::witness::udp::{self, Questions};

/// Port of the near end that is flooded, and asked by those who mean it.
pub(crate) const PORT: u16 = 5300;

/// Pace of floods: within what two software CPUs carry with all the rest.
const FLOOD_PACKETS_PER_SECOND: u64 = 2_000;
const QUESTIONS_PER_SECOND: u32 = 100;

/// So many packets, or until it is stopped.
pub(crate) fn flood(wire: &Wire, packets: u64) -> flood::Running {
    let kind = Kind::Udp { port: PORT };
    let options = flood::Options { generator: Generator::Packets, ..flood::Options::new(kind) };
    let budget = Budget {
        packets,
        time: Duration::from_secs(60),
        packets_per_second: NonZeroU64::new(FLOOD_PACKETS_PER_SECOND),
        processor: None,
    };
    Flood::new(&wire.far, &options).unwrap().start(budget).unwrap()
}

/// So many questions.
pub(crate) fn ask(wire: &Wire, count: u32) -> Witness {
    let patience = Duration::from_secs(5);
    let questions = Questions { count, per_second: QUESTIONS_PER_SECOND, octets: 64, patience };
    let (from, to) = (wire.far.ipv4, wire.near.ipv4);
    udp::ask(&wire.far.namespace, SocketAddr::from((from, 0)), (to, PORT).into(), questions)
        .unwrap()
}

/// A kernel socket that answers them.
pub(crate) fn server(wire: &Wire) -> udp::Server {
    udp::Server::start(&wire.near.namespace, (wire.near.ipv4, PORT).into()).unwrap()
}
