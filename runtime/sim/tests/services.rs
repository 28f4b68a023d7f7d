//! Services that do one thing each, right or wrong.

use crate::burst::{Burst, Delivery, Frames};
use crate::context::ShardContext;
use crate::metrics::Counter;
use crate::plan::{Policy, ServicePlan};
use crate::service::{Build, BuildError, BurstHandler, Service, ServiceError};
use crate::sim::{Sim, SimPort};
use crate::verdict::{DropReason, Verdict};
use tidegate_dataplane::frame::Frame;

/// A packet that a service knows by its first octet.
pub(super) fn packet(first: u8) -> [u8; 60] {
    let mut packet = [0xa5; 60];
    packet[0] = first;
    packet
}

/// One shard with one port and these services; selector `n` is service `n`'s.
pub(super) fn one_shard(services: Vec<ServicePlan>, policy: Policy) -> Sim {
    one_shard_on(SimPort::default(), services, policy)
}

/// The same with this port.
pub(super) fn one_shard_on(port: SimPort, services: Vec<ServicePlan>, policy: Policy) -> Sim {
    let mut sim = Sim::new(7);
    let claim = |(at, plan): (usize, ServicePlan)| plan.selector(0, u16::try_from(at).unwrap());
    let services = services.into_iter().enumerate().map(claim).collect();
    sim.shard(&[port], services, policy).unwrap();
    sim
}

/// Sends every frame back, and counts bursts.
pub(super) struct Echo {
    answers: Counter,
}

impl BurstHandler for Echo {
    const KIND: &'static str = "echo";
    type Options = ();

    fn build(_: &(), build: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { answers: build.counter("answers", "Frames sent back") })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for frame in burst.frames.drain(..) {
            cx.count(self.answers, 1);
            cx.settle(frame, Verdict::Transmit);
        }
        Ok(())
    }
}

/// Gives each frame the fate that its first octet names.
pub(super) struct Obedient {
    on_request: DropReason,
    kept: Vec<Frame>,
}

pub(super) const TRANSMIT: u8 = 1;
pub(super) const REINJECT: u8 = 2;
pub(super) const CONSUME: u8 = 3;
pub(super) const DROP: u8 = 4;
pub(super) const LEAVE: u8 = 5;
pub(super) const LOSE: u8 = 6;
pub(super) const FORGET: u8 = 7;
pub(super) const KEEP: u8 = 8;
pub(super) const PANIC: u8 = 9;
pub(super) const FAIL: u8 = 10;

impl BurstHandler for Obedient {
    const KIND: &'static str = "obedient";
    const READS_PARTS: bool = true;
    type Options = ();

    fn build(_: &(), build: &mut Build<'_>) -> Result<Self, BuildError> {
        let on_request = build.drop_reason("on_request", "It said so");
        Ok(Self { on_request, kept: Vec::new() })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        let mut left = Frames::new();
        for frame in burst.frames.drain(..) {
            match frame.bytes()[0] {
                TRANSMIT => cx.settle(frame, Verdict::Transmit),
                REINJECT => cx.settle(frame, Verdict::Reinject),
                CONSUME => cx.settle(frame, Verdict::Consumed),
                DROP => cx.settle(frame, Verdict::Drop(self.on_request)),
                LOSE => drop(frame),
                FORGET => std::mem::forget(frame),
                KEEP => self.kept.push(frame),
                PANIC => panic!("it said so"),
                FAIL => return Err(ServiceError::new("it said so")),
                _ => left.push(frame),
            }
        }
        burst.frames.extend(left);
        Ok(())
    }
}

/// Sends a numbered packet at each of its times, each built in place.
pub(super) struct Ticker {
    period_ns: u64,
}

impl Service for Ticker {
    const KIND: &'static str = "ticker";
    type Options = u64;

    fn build(period_ns: &u64, _: &mut Build<'_>) -> Result<Self, BuildError> {
        match *period_ns {
            0 => Err(BuildError::new("period 0 ns; allowed is 1 and more")),
            period_ns => Ok(Self { period_ns }),
        }
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut group = Frames::new();
        let mut next_ns = cx.now_ns() + self.period_ns;
        while cx.sleep_until(next_ns).await == Delivery::TimedOut {
            next_ns += self.period_ns;
            let Some(mut frame) = cx.take(0) else { continue };
            frame.set_len(60);
            frame.bytes_mut().fill(0);
            let stamp = cx.now_ns().to_be_bytes();
            frame.bytes_mut()[..8].copy_from_slice(&stamp);
            group.push(frame);
            if cx.send_all(0, &mut group).await != Delivery::Received {
                break;
            }
        }
        Ok(())
    }
}
