//! Shards without a machine: the very same [`Shard`], on rings in plain memory, with a clock that
//! stands still until it is moved.
//!
//! ```text
//!   script ──deliver──► Kernel ─RX ring─► Shard ─TX ring─► Kernel ──► sent()       a port by itself
//!
//!   Shard ─TX ring─► Kernel ──► Link: delay, loss, duplicates, reorder ──► Kernel ─RX ring─► Shard
//! ```
//!
//! One seed is one run: services see the same bursts at the same times and the
//! [trace](Sim::trace) ends in the same number. A test either scripts a port by hand or links two
//! ports and lets faults happen. No privilege, no thread, no sleep.
//!
//! What it is not: a model of how long anything takes. A turn takes [`TURN_NS`] by decree.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::offload::TxOffloads;
use tidegate_dataplane::umem::{self, Pages};
use tidegate_dataplane::xsk::testing::{self, Kernel};

use crate::clock::{Clock, Manual};
use crate::metrics::registry::Registry;
use crate::plan::{Policy, ServicePlan};
use crate::port::{NotTaken, PortFacts, Reinject};
use crate::report::ShardReport;
use crate::shard::{self, Equipment, Shard};
use crate::shared::{Mail, ShardId};
use crate::wake::Unpark;

mod link;
mod random;
#[cfg(test)]
mod tests;
mod trace;

pub use link::{Classify, Faults};
pub use random::Random;

use link::Link;
use trace::{Event, Trace};

/// Time from one turn to the next. Every shard turns once in it.
pub const TURN_NS: u64 = 1_000;

/// TAI when the clock shows zero: any moment will do, this one is in 2024.
pub const TAI_AT_ZERO_NS: u64 = 1_710_000_000_000_000_000;

/// A port of a simulated shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimPort {
    /// Chunks of its UMEM.
    pub umem_frames: u32,
    /// Octets in a chunk.
    pub chunk_octets: u32,
    /// Entries in each ring, a power of two.
    pub ring_entries: u32,
    /// Chunks that the fill ring should hold.
    pub fill_frames: u32,
    /// Packets may lie in several chunks.
    pub multi_buffer: bool,
    /// Octets of the longest packet that goes back into the kernel.
    pub reinject_octets_max: usize,
    /// Its name, address and MTU, and what its driver does for packets that are sent.
    pub facts: PortFacts,
}

impl Default for SimPort {
    /// Rings of 64 on a UMEM of 256 small chunks: small enough that a test can fill them.
    fn default() -> Self {
        let facts = PortFacts {
            interface: "sim0".into(),
            mac: [0x02, 0, 0, 0, 0, 1],
            mtu: 1500,
            queue: 0,
            chunk_capacity_octets: 0,
            packet_capacity_octets: 0,
            xdp: Box::default(),
            tx: TxOffloads::default(),
        };
        Self {
            umem_frames: 256,
            chunk_octets: 2048,
            ring_entries: 64,
            fill_frames: 64,
            multi_buffer: false,
            reinject_octets_max: usize::MAX,
            facts,
        }
    }
}

/// Shards, the kernels behind their ports, and what lies between.
#[derive(Debug)]
pub struct Sim {
    clock: Manual,
    random: Random,
    shards: Vec<Node>,
    links: Vec<Link>,
    trace: Trace,
    registry: Arc<Registry>,
}

/// One shard and the kernels' halves of its ports.
#[derive(Debug)]
struct Node {
    shard: Shard,
    ends: Vec<End>,
    finished: bool,
}

/// The kernel's half of one port.
#[derive(Debug)]
struct End {
    kernel: Kernel,
    /// Sent packets that no link took away, with the time at which they were to leave.
    sent: Vec<(Vec<u8>, Option<u64>)>,
    reinjected: Rc<RefCell<Vec<Vec<u8>>>>,
    /// The kernel takes nothing from the TX ring and completes nothing.
    stalled: bool,
}

/// A way back into a kernel that is a vector.
struct Recorder {
    packets: Rc<RefCell<Vec<Vec<u8>>>>,
    octets_max: usize,
}

impl Reinject for Recorder {
    fn inject(&mut self, packet: &Frame, _: u64) -> Result<(), NotTaken> {
        if packet.octets() > self.octets_max {
            return Err(NotTaken::Length);
        }
        self.packets.borrow_mut().push(packet.parts().flatten().copied().collect());
        Ok(())
    }

    fn flush(&mut self, _: u64) -> u32 {
        0
    }
}

impl Sim {
    /// An empty world at 1 s, with this seed for all that happens by chance.
    pub fn new(seed: u64) -> Self {
        Self {
            clock: Manual::new(1_000_000_000, TAI_AT_ZERO_NS + 1_000_000_000),
            random: Random::new(seed),
            shards: Vec::new(),
            links: Vec::new(),
            trace: Trace::new(),
            registry: Registry::new("sim", 1_000_000_000),
        }
    }

    /// Adds a shard; returns its number.
    ///
    /// # Errors
    ///
    /// As [`Shard::new`].
    ///
    /// # Panics
    ///
    /// When a port's sizes are such as no UMEM or ring has.
    pub fn shard(
        &mut self,
        ports: &[SimPort],
        services: Vec<ServicePlan>,
        policy: Policy,
    ) -> Result<usize, shard::Error> {
        let (mut ends, mut opened) = (Vec::new(), Vec::new());
        for port in ports {
            let umem = umem::Options {
                chunk_octets: port.chunk_octets,
                frames: port.umem_frames,
                pages: Pages::Ordinary,
            };
            let pair = if port.multi_buffer { testing::multi_buffer_pair } else { testing::pair };
            let (mut queue, kernel) = pair(&umem, port.ring_entries, port.fill_frames)
                .expect("sizes that a UMEM can have");
            queue.set_tx_offloads(port.facts.tx);
            let facts = PortFacts {
                chunk_capacity_octets: queue.blank_capacity(),
                packet_capacity_octets: queue.packet_capacity(),
                ..port.facts.clone()
            };
            let reinjected = Rc::default();
            let recorder =
                Recorder { packets: Rc::clone(&reinjected), octets_max: port.reinject_octets_max };
            opened.push((queue, Box::new(recorder) as Box<dyn Reinject>, facts));
            ends.push(End { kernel, sent: Vec::new(), reinjected, stalled: false });
        }
        let number = self.shards.len();
        let id = ShardId(u16::try_from(number).expect("far fewer than 65536 shards"));
        let unpark = Arc::new(Unpark::never_asleep());
        let equipment = Equipment {
            clock: Clock::manual(&self.clock),
            unpark: &unpark,
            metrics: self.registry.add_shard(u32::from(id.0), None),
            watched: None,
        };
        let shard = Shard::new(id, opened, services, policy, equipment)?;
        self.shards.push(Node { shard, ends, finished: false });
        Ok(number)
    }

    /// Joins two ports, each given as (shard, port), by a cable with these faults in either
    /// direction. `classify` says which selector the steering program would have matched.
    pub fn link(
        &mut self,
        a: (usize, usize),
        b: (usize, usize),
        faults: Faults,
        classify: Classify,
    ) {
        self.links.push(Link::new(a, b, faults, classify));
        self.links.push(Link::new(b, a, faults, classify));
    }

    /// The time that all see.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// A packet arrives on a port, and the steering program redirects it by this selector.
    pub fn deliver(
        &mut self,
        shard: usize,
        port: usize,
        packet: &[u8],
        selector: u16,
    ) -> testing::Delivery {
        self.trace.record(self.clock.now_ns(), Event::Arrives, (shard, port), packet);
        self.shards[shard].ends[port].kernel.deliver(packet, selector)
    }

    /// One turn of every shard; then the kernels and links move, and [`TURN_NS`] pass.
    pub fn turn(&mut self) {
        for shard in 0..self.shards.len() {
            self.turn_alone(shard);
        }
        self.carry();
        self.clock.advance(TURN_NS);
    }

    /// One turn of one shard. No time passes and no kernel moves.
    pub fn turn_alone(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        if !node.finished {
            node.finished = node.shard.turn(self.clock.now_ns()).finished;
        }
    }

    /// Turns until so much time has passed.
    pub fn run_for(&mut self, ns: u64) {
        let until_ns = self.clock.now_ns() + ns;
        while self.clock.now_ns() < until_ns {
            self.turn();
        }
    }

    /// Lets time pass without a turn: the shards were asleep, or stalled.
    pub fn pass(&mut self, ns: u64) {
        self.clock.advance(ns);
    }

    /// Somebody sets the machine's clock on, or back. Shards notice when they next look.
    pub fn step_tai(&mut self, ns: i64) {
        self.clock.step_tai(ns);
    }

    /// What left a port that no link is tied to, since the last call.
    pub fn sent(&mut self, shard: usize, port: usize) -> Vec<Vec<u8>> {
        self.launched(shard, port).into_iter().map(|(packet, _)| packet).collect()
    }

    /// As [`Self::sent`], with the time at which the card was told to send each.
    pub fn launched(&mut self, shard: usize, port: usize) -> Vec<(Vec<u8>, Option<u64>)> {
        mem::take(&mut self.shards[shard].ends[port].sent)
    }

    /// What was given back to the kernel on a port, since the last call.
    pub fn reinjected(&mut self, shard: usize, port: usize) -> Vec<Vec<u8>> {
        mem::take(&mut self.shards[shard].ends[port].reinjected.borrow_mut())
    }

    /// From now on the kernel takes nothing from the port's TX ring, or does again.
    pub fn stall(&mut self, shard: usize, port: usize, stalled: bool) {
        self.shards[shard].ends[port].stalled = stalled;
    }

    /// The kernel's half of a port, for all that a script may want beyond the calls here.
    pub fn kernel(&mut self, shard: usize, port: usize) -> &mut Kernel {
        &mut self.shards[shard].ends[port].kernel
    }

    /// Leaves a message for a service of a shard, by its name.
    ///
    /// # Errors
    ///
    /// The message itself, where it finds no taker.
    pub fn post(&mut self, shard: usize, service: &str, mail: Mail) -> Result<(), Mail> {
        self.shards[shard].shard.post(service, mail)
    }

    /// A shard itself.
    pub fn inside(&self, shard: usize) -> &Shard {
        &self.shards[shard].shard
    }

    /// What a shard did until now.
    pub fn report(&mut self, shard: usize) -> ShardReport {
        self.shards[shard].shard.report()
    }

    /// Checks the laws of frames on every shard.
    ///
    /// # Panics
    ///
    /// When one does not hold: that is a failed test.
    pub fn check(&mut self) {
        for node in &mut self.shards {
            if let Err(imbalance) = node.shard.check_conservation() {
                panic!("{}: {imbalance}", node.shard.id());
            }
        }
    }

    /// Tells all shards to leave. They go on turning by [`Self::turn`].
    pub fn begin_drain(&mut self) {
        for node in &mut self.shards {
            node.shard.begin_drain(self.clock.now_ns());
        }
    }

    /// Drains all shards, turns until they have left, checks the laws, and returns what they did.
    ///
    /// # Panics
    ///
    /// When a law does not hold, or a shard does not finish by its own deadline.
    pub fn drain(&mut self) -> Vec<ShardReport> {
        self.begin_drain();
        let patience = self.shards.iter().map(|node| node.shard.policy.drain_timeout_ns);
        let patience_ns = patience.max().unwrap_or(0);
        let until_ns = self.clock.now_ns() + patience_ns + 2 * TURN_NS;
        while self.shards.iter().any(|node| !node.finished) {
            assert!(self.clock.now_ns() < until_ns, "a drain without end");
            self.turn();
        }
        self.check();
        self.shards.iter_mut().map(|node| node.shard.report()).collect()
    }

    /// A number that stands for everything that happened on the ports, in order and in time. Two
    /// runs are the same run when it is the same.
    pub const fn trace(&self) -> u64 {
        self.trace.hash()
    }

    /// What the shards sent leaves them; what is on the links arrives.
    fn carry(&mut self) {
        let now_ns = self.clock.now_ns();
        for (shard, node) in self.shards.iter_mut().enumerate() {
            for (port, end) in node.ends.iter_mut().enumerate() {
                let from = (shard, port);
                let mut link = self.links.iter_mut().find(|link| link.from == from);
                let stalled =
                    link.as_mut().is_some_and(|link| link.stalls(now_ns, &mut self.random));
                if end.stalled || stalled {
                    continue;
                }
                while let Some((packet, launch_ns)) = end.kernel.launch() {
                    self.trace.record(now_ns, Event::Leaves, from, &packet);
                    match &mut link {
                        Some(link) => link.send(now_ns, packet, &mut self.random),
                        None => end.sent.push((packet, launch_ns)),
                    }
                }
                end.kernel.complete(usize::MAX);
            }
        }
        for link in &mut self.links {
            let (shard, port) = link.to;
            let end = &mut self.shards[shard].ends[port];
            while let Some((packet, selector)) = link.arrived(now_ns) {
                self.trace.record(now_ns, Event::Arrives, link.to, &packet);
                end.kernel.deliver(&packet, selector);
            }
        }
    }
}
