//! What a service leaves to the driver, and what becomes of it on each way.

use crate::burst::Burst;
use crate::context::ShardContext;
use crate::plan::{Policy, ServicePlan};
use crate::service::{Build, BuildError, BurstHandler, ServiceError};
use crate::sim::{Sim, SimPort};
use crate::verdict::Verdict;
use tidegate_dataplane::offload::{ChecksumBy, TxOffloads};
use tidegate_dataplane::wire::TransportChecksum;

/// Changes every packet, finishes it for a time, and sends it or gives it back.
struct Changes(Verdict);

/// When packets shall leave.
const LAUNCH_NS: u64 = 1_710_000_000_123_456_789;

impl BurstHandler for Changes {
    const KIND: &'static str = "changes";
    type Options = Verdict;

    fn build(verdict: &Verdict, _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self(*verdict))
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for mut frame in burst.frames.drain(..) {
            frame.bytes_mut()[44] ^= 0xff;
            frame.finish_checksum().expect("the test sends UDP");
            frame.launch_at(LAUNCH_NS);
            cx.settle(frame, self.0);
        }
        Ok(())
    }
}

/// UDP over IPv4, three octets.
fn packet() -> Vec<u8> {
    let mut packet = [&[2; 12][..], &[8, 0, 0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0]].concat();
    packet.extend([198, 18, 0, 1, 198, 18, 0, 2, 0, 7, 0, 9, 0, 11, 0, 0, 1, 2, 3]);
    packet
}

fn sim(verdict: Verdict, tx: TxOffloads) -> Sim {
    let mut port = SimPort::default();
    port.facts.tx = tx;
    let plan = ServicePlan::of::<Changes>("changes", verdict).selector(0, 0);
    let mut sim = Sim::new(7);
    sim.shard(&[port], vec![plan], Policy::default()).unwrap();
    sim.deliver(0, 0, &packet(), 0);
    sim.drain();
    sim
}

#[test]
fn a_changed_packet_is_right_on_every_way_and_whoever_sums_it() {
    let mut right = packet();
    right[44] ^= 0xff;
    TransportChecksum::of(&right).unwrap().finish(&mut right);
    for checksum in [ChecksumBy::Software, ChecksumBy::Kernel, ChecksumBy::Driver] {
        for launch_time in [false, true] {
            let tx = TxOffloads { checksum, launch_time };
            let launch_ns = launch_time.then_some(LAUNCH_NS);
            let sent = sim(Verdict::Transmit, tx).launched(0, 0);
            assert_eq!(sent, [(right.clone(), launch_ns)], "{tx:?}");
            assert_eq!(sim(Verdict::Reinject, tx).reinjected(0, 0), [right.clone()], "{tx:?}");
        }
    }
}
