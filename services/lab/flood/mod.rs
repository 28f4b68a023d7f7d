//! The traffic generator: many packets from sources that change, to one port.
//!
//! It is a tool of the lab and of nothing else. A [`Flood`] is made from an
//! [`End`] of a wire, and only [`super::Wire::new`] makes ends; there is no
//! address, interface or file that a user could name. Sources lie in
//! 198.19.0.0/16 and 2001:db8:f100::/64. Every run is bounded in packets and in
//! time.
//!
//! There are two generators with the same packets, octet for octet:
//!
//! | generator | how | speed |
//! |---|---|---|
//! | live frames | `BPF_PROG_RUN` makes frames in the kernel and redirects them into the link | millions a second |
//! | packets | `sendmmsg` on a packet socket | hundreds of thousands |
//!
//! [`Shape`] has what is not plain, by the second.
//!
//! Live frames need a receiver: an XDP program at the other end. They are put
//! on the receive queue `processor % queues`, and received by the same
//! processor; [`Budget::processor`] says which.

mod live;
mod packets;
mod shapes;
mod template;

use std::num::NonZeroU64;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

pub use shapes::Shape;
pub use template::{MARK, SOURCE_IPV4, SOURCE_IPV6};

use super::{End, LabError};
use shapes::Shaped;
use template::{Template, Way};

/// Packets handed over by one call, at most.
///
/// A call costs 15 to 20 us whatever it carries: with 64 at a time the
/// generator made 2.1 million packets in a second of processor time, with 1024
/// at a time 3.9 million. Too high: a call lasts a quarter of a millisecond
/// already, and a stop and the pace wait for its end.
const CALL: u64 = 1024;

/// Packets worth a call, where the pace leaves time to collect them.
const PIECE: u64 = 64;

/// Longest sleep between two looks at the time: a stop is seen within it.
const NAP: Duration = Duration::from_millis(5);

/// How far a paced flood may fall behind before it gives the lost time up. Too
/// low and a moment without processor lowers the rate; too high and it is
/// followed by a burst far above it.
const DEBT: Duration = Duration::from_millis(10);

/// What the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Datagrams to a port; their data starts with [`MARK`].
    Udp {
        /// Destination port.
        port: u16,
    },
    /// Requests for a TCP connection to a port, from sources that will not answer.
    Syn {
        /// Destination port.
        port: u16,
    },
    /// Packets of another shape, by the generator of packets, each as long as it is.
    Shaped {
        /// What they are like.
        shape: Shape,
        /// Destination port, where they have one.
        port: u16,
    },
}

/// Which Internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Which generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// Live frames where they are permitted, packets where not.
    Auto,
    /// Live frames or nothing.
    LiveFrames,
    /// Packets.
    Packets,
}

/// What a flood is made of.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the packets are.
    pub kind: Kind,
    /// Which Internet protocol.
    pub family: Family,
    /// Octets of a frame without its check sequence, brought into 60 (IPv6: 80)
    /// to 1514 and below the link's MTU.
    pub frame_octets: u16,
    /// Distinguishes floods: one seed gives one row of sources.
    pub seed: u64,
    /// Which generator.
    pub generator: Generator,
}

impl Options {
    /// The shortest packets of a kind, over IPv4, by the best generator.
    pub const fn new(kind: Kind) -> Self {
        Self { kind, family: Family::Ipv4, frame_octets: 60, seed: 0, generator: Generator::Auto }
    }
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Most packets.
    pub packets: u64,
    /// Most time.
    pub time: Duration,
    /// The pace; `None` is as fast as it goes.
    pub packets_per_second: Option<NonZeroU64>,
    /// The processor to stay on; `None` is wherever the scheduler likes.
    pub processor: Option<usize>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Packets made and offered to the link.
    pub offered: u64,
    /// Of these, those that the link did not take, its receive ring being full.
    /// The link counts its drops together, so where others sent too at that
    /// time theirs are among them. Live frames that found no receiver, since its
    /// program went away meanwhile, are not: the kernel does not count those.
    pub refused: u64,
    /// Octets of one frame, the first of those whose shape has several lengths.
    pub frame_octets: u64,
    /// The time from the first packet to the last.
    pub elapsed: Duration,
    /// The generator that it was.
    pub generator: Generator,
}

impl Sent {
    /// Packets that the link took.
    pub const fn taken(&self) -> u64 {
        self.offered.saturating_sub(self.refused)
    }

    /// The pace that was reached.
    #[expect(clippy::cast_precision_loss, reason = "a rate to be looked at")]
    pub fn packets_per_second(&self) -> f64 {
        self.offered as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// A flood that is ready to go, from one end of a wire to the other.
pub struct Flood {
    end: End,
    source: Source,
    frame_octets: u64,
    /// The number of the next packet: runs go on where the last one stopped.
    next: u64,
}

enum Source {
    LiveFrames(Box<live::LiveFrames>),
    Packets(packets::Packets),
}

impl Flood {
    /// Prepares a flood from `end` to the end across.
    ///
    /// # Errors
    ///
    /// Where the generator cannot be had.
    pub fn new(end: &End, options: &Options) -> Result<Self, LabError> {
        let Options { kind, family, frame_octets, seed, generator } = *options;
        let way = Way {
            from_mac: end.mac,
            to_mac: end.peer.mac,
            to_ipv4: end.peer.ipv4,
            to_ipv6: end.peer.ipv6,
            mtu: end.mtu,
        };
        if let Kind::Shaped { shape, port } = kind {
            let shaped = Shaped { way, shape, port, family, seed };
            let frame_octets = shaped.frame(0).len() as u64;
            let packets = packets::Packets::new(end, move |frame, number| {
                *frame = shaped.frame(number);
            });
            return Ok(Self {
                end: end.clone(),
                source: Source::Packets(packets?),
                frame_octets,
                next: 0,
            });
        }
        let template = Template::new(&way, kind, family, frame_octets, seed);
        let frame_octets = template.frame.len() as u64;
        let packets = || {
            let template = template.clone();
            let stamp = move |frame: &mut Vec<u8>, number| {
                frame.clone_from(&template.frame);
                template.stamp(frame, number);
            };
            packets::Packets::new(end, stamp).map(Source::Packets)
        };
        let live = || live::LiveFrames::new(end, &template).map(Box::new).map(Source::LiveFrames);
        let source = match generator {
            Generator::Packets => packets()?,
            Generator::LiveFrames => live()?,
            Generator::Auto => live().or_else(|_| packets())?,
        };
        Ok(Self { end: end.clone(), source, frame_octets, next: 0 })
    }

    /// Prepares one of these frames, in turn and again from the first, by the generator of packets.
    ///
    /// # Errors
    ///
    /// Where the generator cannot be had.
    ///
    /// # Panics
    ///
    /// Where there are no frames.
    pub fn of_frames(end: &End, frames: Arc<[Vec<u8>]>) -> Result<Self, LabError> {
        let frame_octets = frames[0].len() as u64;
        let count = frames.len() as u64;
        let packets = packets::Packets::new(end, move |frame, number| {
            let place = usize::try_from(number % count).expect("less than there are");
            frame.clone_from(&frames[place]);
        });
        let source = Source::Packets(packets?);
        Ok(Self { end: end.clone(), source, frame_octets, next: 0 })
    }

    /// The generator that it has, never [`Generator::Auto`].
    pub const fn generator(&self) -> Generator {
        match self.source {
            Source::LiveFrames(_) => Generator::LiveFrames,
            Source::Packets(_) => Generator::Packets,
        }
    }

    /// Sends up to `budget` and returns when it is used up.
    ///
    /// # Errors
    ///
    /// [`LabError::NoReceiver`] for live frames to an end without XDP program;
    /// where the kernel refuses a call.
    pub fn run(&mut self, budget: &Budget) -> Result<Sent, LabError> {
        let namespace = self.end.namespace.clone();
        let never = Progress::default();
        namespace.run(|| self.run_inside(budget, &never))?
    }

    /// Sends up to `budget` on a thread of its own.
    ///
    /// # Errors
    ///
    /// Where no thread can be had; what [`Self::run`] would say comes at the end.
    pub fn start(mut self, budget: Budget) -> Result<Running, LabError> {
        let progress = Arc::new(Progress::default());
        let seen = Arc::clone(&progress);
        let namespace = self.end.namespace.clone();
        let thread = namespace.spawn_thread("lab-flood", move || {
            let sent = self.run_inside(&budget, &progress);
            (self, sent)
        })?;
        Ok(Running { progress: seen, thread: Some(thread) })
    }

    fn run_inside(&mut self, budget: &Budget, progress: &Progress) -> Result<Sent, LabError> {
        if let Some(processor) = budget.processor {
            stay_on(processor)?;
        }
        if let Source::LiveFrames(_) = self.source {
            self.expect_a_receiver()?;
        }
        let dropped_before = self.end.link()?.counters.tx_dropped;
        let start = Instant::now();
        let mut pace = Pace { per_second: budget.packets_per_second, from: start, given: 0 };
        let mut offered = 0;
        let mut last = start;
        loop {
            let now = Instant::now();
            let over = now.duration_since(start) >= budget.time;
            if over || offered == budget.packets || progress.stop.load(Ordering::Relaxed) {
                break;
            }
            match pace.due(now) {
                Due::In(wait) => thread::sleep(wait.min(NAP)),
                Due::Now(due) => {
                    let count = due.min(CALL).min(budget.packets - offered);
                    let sent = match &mut self.source {
                        Source::LiveFrames(live) => live.send(count)?,
                        Source::Packets(packets) => packets.send(self.next, count)?,
                    };
                    self.next += sent;
                    offered += sent;
                    pace.given += sent;
                    progress.offered.store(offered, Ordering::Relaxed);
                    last = Instant::now();
                }
            }
        }
        let dropped = self.end.link()?.counters.tx_dropped - dropped_before;
        Ok(Sent {
            offered,
            refused: dropped.min(offered),
            frame_octets: self.frame_octets,
            elapsed: last.duration_since(start),
            generator: self.generator(),
        })
    }

    /// Without a receiver a veth loses live frames and counts nothing.
    fn expect_a_receiver(&self) -> Result<(), LabError> {
        let peer = &self.end.peer;
        let link = peer.namespace.netlink()?.link_by_index(peer.index)?;
        match link.xdp {
            Some(_) => Ok(()),
            None => Err(LabError::NoReceiver { interface: link.name }),
        }
    }
}

/// A flood that is going on. Dropping it ends it.
pub struct Running {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<(Flood, Result<Sent, LabError>)>>,
}

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    offered: AtomicU64,
}

impl Running {
    /// Packets offered so far.
    pub fn offered(&self) -> u64 {
        self.progress.offered.load(Ordering::Relaxed)
    }

    /// Ends it, and tells what was sent; the flood may be run again.
    ///
    /// # Errors
    ///
    /// As [`Flood::run`].
    pub fn stop(self) -> Result<(Flood, Sent), LabError> {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until its budget is used up. A panic of its thread goes on here.
    ///
    /// # Errors
    ///
    /// As [`Flood::run`].
    pub fn wait(mut self) -> Result<(Flood, Sent), LabError> {
        let Some(thread) = self.thread.take() else { unreachable!("only this and drop take it") };
        let (flood, sent) = thread.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
        Ok((flood, sent?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was already printed, and this may be another one's end.
            let _ = thread.join();
        }
    }
}

/// What the pace allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// So many packets, at least one.
    Now(u64),
    /// None before this time has passed.
    In(Duration),
}

/// Gives packets out at a rate, in pieces worth a call.
#[derive(Clone, Copy, Debug)]
struct Pace {
    per_second: Option<NonZeroU64>,
    /// The time from which `given` counts.
    from: Instant,
    given: u64,
}

impl Pace {
    fn due(&mut self, now: Instant) -> Due {
        let Some(per_second) = self.per_second else { return Due::Now(u64::MAX) };
        let per_second = per_second.get();
        // A call each millisecond at low rates, whole pieces at high ones.
        let piece = (per_second / 1000).clamp(1, PIECE);
        let owed = entitled(per_second, now - self.from).saturating_sub(self.given);
        if owed < piece {
            return Due::In(time_for(per_second, piece - owed));
        }
        let debt_max = entitled(per_second, DEBT).max(piece);
        if owed > debt_max {
            self.given += owed - debt_max;
        }
        Due::Now(owed.min(debt_max))
    }
}

/// Packets that `time` is good for.
fn entitled(per_second: u64, time: Duration) -> u64 {
    let packets = u128::from(per_second) * time.as_nanos() / 1_000_000_000;
    u64::try_from(packets).unwrap_or(u64::MAX)
}

/// The time that `packets` take.
fn time_for(per_second: u64, packets: u64) -> Duration {
    let nanoseconds = u128::from(packets) * 1_000_000_000 / u128::from(per_second);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

fn stay_on(processor: usize) -> Result<(), LabError> {
    let mut processors = CpuSet::new();
    processors
        .set(processor)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &processors))
        .map_err(|errno| LabError::os(format!("keep a thread on processor {processor}"), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: u64) -> Pace {
        Pace { per_second: NonZeroU64::new(per_second), from: Instant::now(), given: 0 }
    }

    #[test]
    fn a_second_of_looks_gives_out_the_rate_exactly() {
        for per_second in [1, 7, 999, 50_000, 3_000_001] {
            let mut pace = pace(per_second);
            let mut given = 0;
            let start = pace.from;
            for microseconds in (0..=1_000_000).step_by(20) {
                if let Due::Now(due) = pace.due(start + Duration::from_micros(microseconds)) {
                    let due = due.min(CALL);
                    given += due;
                    pace.given += due;
                }
            }
            assert!(per_second - given <= PIECE, "{given} of {per_second}");
        }
    }

    #[test]
    fn lost_time_is_given_up_beyond_the_debt() {
        let mut pace = pace(1_000_000);
        let late = pace.from + Duration::from_secs(1);
        assert_eq!(pace.due(late), Due::Now(10_000), "10 ms at this rate");
        pace.given += 10_000;
        assert_eq!(pace.due(late), Due::In(Duration::from_micros(64)));
    }

    #[test]
    fn without_a_rate_everything_is_due() {
        let mut pace = pace(0);
        assert_eq!(pace.due(pace.from), Due::Now(u64::MAX));
    }
}
