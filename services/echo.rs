//! Answers UDP: what came from you goes back to you. A service to copy from: take this file, give
//! it another `KIND`, write your own `on_burst`, and register it by one line, `.add::<Yours>()`.

use crate::registry::NoOptions;
use tidegate_dataplane::wire::packet::{Network, Packet, Transport};
use tidegate_runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate_runtime::verdict::{DropReason, Verdict};
use tidegate_runtime::{burst::Burst, context::ShardContext};

/// The service: one on each of its shards, which it never leaves. Its field is a counter.
pub struct Echo(DropReason);

impl BurstHandler for Echo {
    const KIND: &'static str = "echo";
    const READS_PARTS: bool = true; // Of a jumbo packet, `bytes` has the headers: no more is read.
    type Options = NoOptions;
    fn build(_: &NoOptions, build: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self(build.drop_reason("not_udp", "Frames dropped: not a UDP packet")))
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for mut frame in burst.frames.drain(..) {
            let answer = turn_round(frame.octets(), frame.bytes_mut());
            cx.settle(frame, answer.map_or(Verdict::Drop(self.0), |()| Verdict::Transmit));
        }
        Ok(())
    }
}

/// Swaps sender and receiver. They stand side by side, and the checksum, a sum, stays right.
fn turn_round(octets: usize, head: &mut [u8]) -> Option<()> {
    let packet = Packet::parse_head(head, octets).ok()?;
    let Transport::Udp(_) = packet.transport() else { return None };
    let ip = packet.ethernet().header_octets();
    let (addresses, size, datagram) = match packet.network() {
        Network::V4(v4) => (ip + 12, 4, v4.payload_octets()),
        Network::V6(v6) => (ip + 8, 16, v6.payload_octets()),
    };
    for (pair, size) in [(0, 6), (addresses, size), (ip + packet.ip_octets() - datagram, 2)] {
        head[pair..pair + 2 * size].rotate_left(size);
    }
    Some(())
}

#[test]
fn answers_udp_and_drops_the_rest() {
    use tidegate_runtime::{plan::Policy, plan::ServicePlan, sim::Sim, sim::SimPort};
    let asked = b"::MAC2::MAC1\x08\0\x45\0\0\x1e\0\0\0\0\x40\x11\0\0ADR1ADR2p1p2\0\x0a\0\0hi";
    let answer = b"::MAC1::MAC2\x08\0\x45\0\0\x1e\0\0\0\0\x40\x11\0\0ADR2ADR1p2p1\0\x0a\0\0hi";
    let (mut sim, plan) = (Sim::new(1), ServicePlan::of::<Echo>("echo", NoOptions {}));
    sim.shard(&[SimPort::default()], vec![plan.selector(0, 0)], Policy::default()).unwrap();
    let _ = [&asked[..], &asked[..41]].map(|packet| sim.deliver(0, 0, packet, 0));
    assert_eq!(sim.drain()[0].services[0].dropped("not_udp"), 1);
    assert_eq!(sim.sent(0, 0), [answer]);
}
