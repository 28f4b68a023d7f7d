//! What does a service cost over a plain loop?
//!
//!     cargo bench --bench async_cost
//!
//! Both read the clock once per burst, receive bursts from the same ring in memory, look at the
//! first octet of each packet, count it and release it. The plain loop does it by hand; the shard
//! does all that a turn does: demultiplexer, budget, inbox, poll of the service's future, verdict,
//! counters, fill ring. Printed are nanoseconds per packet and the difference.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::umem::{Options, Pages};
use tidegate_dataplane::xsk::Queue;
use tidegate_dataplane::xsk::testing::{self, Kernel};
use tidegate_runtime::burst::Burst;
use tidegate_runtime::clock::Clock;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::registry::Registry;
use tidegate_runtime::plan::{Policy, ServicePlan};
use tidegate_runtime::port::{NoReinject, PortFacts};
use tidegate_runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate_runtime::shard::{Equipment, Shard, ShardId};
use tidegate_runtime::verdict::{DropReason, Verdict};
use tidegate_runtime::wake::Unpark;

/// Packets in a run; runs of the two take turns, and the best of each counts, so that a busy
/// machine slows both or neither.
const PACKETS: u32 = 64_000;
const RUNS: u32 = 15;

/// Drops everything.
struct Sink {
    reason: DropReason,
}

impl BurstHandler for Sink {
    const KIND: &'static str = "sink";
    type Options = ();

    fn build(_: &(), build: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { reason: build.drop_reason("unwanted", "Everything is") })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for frame in burst.frames.drain(..) {
            black_box(frame.bytes()[0]);
            cx.settle(frame, Verdict::Drop(self.reason));
        }
        Ok(())
    }
}

fn queue() -> (Queue, Kernel) {
    let umem = Options { chunk_octets: 2048, frames: 1024, pages: Pages::Ordinary };
    testing::pair(&umem, 256, 256).expect("memory")
}

fn deliver(kernel: &mut Kernel, burst: u32) {
    for _ in 0..burst {
        assert_eq!(kernel.deliver(&[0xa5; 60], 0), testing::Delivery::Delivered);
    }
}

/// Nanoseconds per packet of `work`, the median of many rounds: what interrupts some rounds does
/// not show.
fn time(kernel: &mut Kernel, burst: u32, work: &mut dyn FnMut()) -> f64 {
    let mut rounds: Vec<_> = (0..PACKETS / burst)
        .map(|_| {
            deliver(kernel, burst);
            let start = Instant::now();
            work();
            start.elapsed().as_nanos()
        })
        .collect();
    rounds.sort_unstable();
    rounds[rounds.len() / 2] as f64 / f64::from(burst)
}

fn plain(burst: u32) -> impl FnMut() -> f64 {
    let (mut queue, mut kernel) = queue();
    let mut frames: Vec<Frame> = Vec::with_capacity(64);
    let clock = Clock::machine();
    let mut dropped = 0_u64;
    move || {
        time(&mut kernel, burst, &mut || {
            black_box(clock.now_ns());
            queue.recv(&mut frames, 64);
            for frame in frames.drain(..) {
                black_box(frame.bytes()[0]);
                dropped += 1;
                frame.release();
            }
            queue.refill();
            black_box(&mut dropped);
        })
    }
}

fn shard(burst: u32) -> impl FnMut() -> f64 {
    let (queue, mut kernel) = queue();
    let clock = Clock::machine();
    let registry = Registry::new("bench", clock.now_ns());
    let unpark = Arc::new(Unpark::never_asleep());
    let equipment = Equipment {
        clock: clock.clone(),
        unpark: &unpark,
        metrics: registry.add_shard(0, None),
        watched: None,
    };
    let services = vec![ServicePlan::of::<Sink>("sink", ()).selector(0, 0)];
    let ports = vec![(queue, Box::new(NoReinject) as _, PortFacts::default())];
    let mut shard =
        Shard::new(ShardId(0), ports, services, Policy::default(), equipment).expect("a shard");
    shard.turn(clock.now_ns());
    move || {
        let per_packet = time(&mut kernel, burst, &mut || {
            assert!(shard.turn(clock.now_ns()).progress);
        });
        shard.check_conservation().expect("no frame is lost");
        per_packet
    }
}

fn main() {
    println!("burst  plain loop  shard and service  difference   (ns per packet)");
    for burst in [1, 8, 32, 64] {
        let (mut plain, mut shard) = (plain(burst), shard(burst));
        let best = (0..RUNS).fold((f64::MAX, f64::MAX), |best: (f64, f64), _| {
            (best.0.min(plain()), best.1.min(shard()))
        });
        println!("{burst:5}  {:10.2}  {:17.2}  {:10.2}", best.0, best.1, best.1 - best.0);
    }
}
