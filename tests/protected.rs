//! A protected destination on a real wire, with a shard behind it: the order of a flow through every
//! change, and a shard that stands still.
//!
//! ```text
//!   far: flood, numbered datagrams ──► wire ──► near: steering ─┬─PASS──────────────► kernel socket
//!                                                               └─► ring ─► judge ─► reinjected
//! ```

pub(crate) mod order;
mod stalled;

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::flood::{self, Budget, Flood, Generator, Kind};
use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::inject::{self, Injector, Tiers};
use tidegate_dataplane::steer::{
    self, Cached, Fragments, Outcome, Prefix, Promotion, Protection, Protocol, Selector, State,
    Steering, Whose, XdpMode,
};
use tidegate_dataplane::umem::{self, Umem};
use tidegate_dataplane::xsk;
use tidegate_runtime::burst::Burst;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::registry::Registry;
use tidegate_runtime::plan::{Plan, Policy, PortPlan, ServicePlan, ShardPlan};
use tidegate_runtime::port::{NotTaken, Opener, PortFacts, Reinject};
use tidegate_runtime::runtime::{Report, Runtime};
use tidegate_runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate_runtime::verdict::{DropReason, Verdict};

use crate::require;

/// Where the numbered datagrams go.
const PORT: u16 = 5300;
/// Where the flood goes; what comes for it is dropped by the judge.
const FLOODED: u16 = 9;

fn wire() -> Wire {
    let options = WireOptions::default();
    Wire::new(&Namespace::new().unwrap(), &Namespace::new().unwrap(), &options).unwrap()
}

/// Drops what is for [`FLOODED`], and gives the rest back; what came for its place alone without a
/// look, as a judge has to.
struct Judge {
    flooded: DropReason,
}

impl BurstHandler for Judge {
    const KIND: &'static str = "judge";
    const REINJECTS: bool = true;
    type Options = ();

    fn build(_: &(), build: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { flooded: build.drop_reason("flooded", "For the port that is flooded") })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        // The flood first, though it came last: frames end out of order.
        let flooded = |frame: &mut Frame| {
            // Behind Ethernet and an address of either length.
            let to = if frame.bytes()[12..14] == [8, 0] { 36 } else { 56 };
            !frame.is_ordered() && frame.bytes()[to..to + 2] == FLOODED.to_be_bytes()
        };
        for frame in burst.frames.extract_if(.., flooded) {
            cx.settle(frame, Verdict::Drop(self.flooded));
        }
        for frame in burst.frames.drain(..) {
            cx.settle(frame, Verdict::Reinject);
        }
        Ok(())
    }
}

/// The injector as the runtime knows it.
struct Back(Injector);

impl Reinject for Back {
    fn inject(&mut self, packet: &Frame, _: u64) -> Result<(), NotTaken> {
        match self.0.inject(packet.bytes()) {
            inject::Outcome::Taken => Ok(()),
            inject::Outcome::Refused => Err(NotTaken::Length),
        }
    }

    fn flush(&mut self, _: u64) -> u32 {
        self.0.flush().refused
    }
}

/// A shard with a judge behind a protected destination.
struct Stand {
    steering: Arc<Steering>,
    runtime: Runtime,
}

impl Stand {
    /// On the interface of this name in the thread's namespace, protecting `destination`.
    fn start(interface: &str, destination: Prefix, protection: Protection) -> Self {
        let options = steer::Options {
            interface: interface.into(),
            xdp: XdpMode::Native,
            selectors: vec![Selector {
                destination,
                source: None,
                protocol: Protocol::Any,
                destination_ports: None,
                fragments: Fragments::Take,
                protection: Some(protection),
            }],
        };
        let steering = Arc::new(Steering::attach(&options).unwrap());
        let port = PortPlan { name: "queue 0".into(), opener: opener(interface, &steering) };
        let judge = ServicePlan::of::<Judge>("judge", ()).selector(0, 0).held_frames_max(8192);
        let shard = ShardPlan { cpu: None, ports: vec![port], services: vec![judge] };
        let plan = Plan::new(vec![shard], Policy::default(), Registry::new("protected", 0));
        Self { steering, runtime: Runtime::start(plan).unwrap() }
    }

    fn leave(self) -> Report {
        self.runtime.stopper().stop();
        self.runtime.wait()
    }

    fn outcome(&self, outcome: Outcome) -> u64 {
        self.steering.counters().unwrap().get(outcome).packets
    }

    /// Lets a drain end, and says whether it did in time.
    fn made_peace(&self) -> bool {
        soon(|| self.steering.end_draining().unwrap() == [0])
    }

    fn promote(&self, whose: Whose, verdict: Cached) {
        let epoch = self.steering.cache().epoch();
        let until_ns = u64::MAX;
        let promotion = Promotion { scope: 0, whose, verdict, rule: 1, epoch, until_ns };
        self.steering.promote(&promotion).unwrap();
    }
}

/// Always engaged.
fn engaged() -> Protection {
    Protection { state: State::Engaged, ..Protection::default() }
}

fn opener(interface: &str, steering: &Arc<Steering>) -> Opener {
    let (interface, steering): (Box<str>, _) = (interface.into(), Arc::clone(steering));
    Box::new(move || {
        // Room for what comes while the shard's processor is somebody else's.
        let umem = umem::Options { frames: 16_384, ..umem::Options::default() };
        let options = xsk::Options {
            ring_entries: 8192,
            fill_frames: 8192,
            ..xsk::Options::new(&interface, 0)
        };
        let mut queue = xsk::open(&options, Umem::new(&umem)?)?;
        queue.set_tidings(steering.tidings(0)?);
        let options = inject::Options {
            interface: interface.clone(),
            xdp: XdpMode::Native,
            tiers: Tiers::Auto,
        };
        let back = Back(Injector::new(&options)?);
        steering.set_socket(0, queue.fd().ok_or("a real socket")?)?;
        let facts = PortFacts { interface, ..PortFacts::default() };
        Ok((queue, Box::new(back) as Box<dyn Reinject>, facts))
    })
}

fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

#[test]
fn a_shard_that_sleeps_keeps_its_heart_beating() {
    require_net!();
    let wire = wire();
    let near = &wire.near;
    let protect = || Stand::start(&near.name, Prefix::host(near.ipv4.into()), engaged());
    let stand = near.namespace.run(protect).unwrap();
    let server = near.namespace.run(|| UdpSocket::bind((near.ipv4, PORT))).unwrap().unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let client = wire.far.namespace.run(|| UdpSocket::bind((wire.far.ipv4, 0))).unwrap().unwrap();
    let mut octets = [0; 8];
    for number in 0..5_u64 {
        // Far longer than the program's patience, each time.
        thread::sleep(Duration::from_millis(250));
        client.send_to(&number.to_be_bytes(), (near.ipv4, PORT)).unwrap();
        server.recv(&mut octets).unwrap();
        assert_eq!(u64::from_be_bytes(octets), number);
    }
    let (redirected, stalled) =
        (stand.outcome(Outcome::Redirected), stand.outcome(Outcome::PassStalled));
    // A machine that takes a processor away for 60 ms may make one late.
    assert!(redirected >= 4 && redirected + stalled == 5, "{redirected} {stalled}");
    let report = stand.leave();
    assert!(report.is_clean(), "{report:?}");
}
