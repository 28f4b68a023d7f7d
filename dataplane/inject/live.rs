//! Packets back into the stack as live frames of `BPF_PROG_RUN`.
//!
//! The batch lies in a map that is mapped into the process; one system call runs
//! `inject.bpf.c` once per packet, on copies of a dummy that the program turns into the
//! packets. The stack takes them as received on the interface named, in order, before the
//! call returns.
//!
//! # The keeper
//!
//! With more than one repetition the kernel enters the program in its XDP dispatcher and
//! takes it out again at every call, which patches code and waits for all processors:
//! 28 to 32 ms. Unless it is in there anyway, because it is attached to something. So it is
//! attached for good to the loopback of a network namespace that nothing else is in and
//! whose loopback is down. No packet ever comes there, hence none moves the batch's cursor.
//! The namespace has no name and is gone with the process.
//!
//! Where namespaces are not permitted (CAP_SYS_ADMIN), a TAP device that stays down does it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya::programs::Xdp;
use nix::sched::{CloneFlags, unshare};

use super::error::Error;
use crate::sys::bpf::{self, LinkMode, SharedValues};
use crate::sys::netlink;
use crate::sys::tun::Tap;

/// The object that `steer/rebuild` makes from inject.bpf.c.
static OBJECT: &[u8] = aya::include_bytes_aligned!("inject.bpf.o");
/// Why looking things up in [`OBJECT`] cannot fail.
const OBJECT_KNOWN: &str = "the committed object has the maps and the program of its source";

/// Most packets in one batch, the kernel's limit too.
pub(super) const BATCH_PACKETS: u32 = bpf::LIVE_BATCH_MAX;
/// Longest packet. Two slots share a page; every MTU up to 2026 fits.
pub(super) const PACKET_OCTETS: usize = 2040;
/// Shortest packet: an Ethernet header.
pub(super) const PACKET_OCTETS_MIN: usize = 14;

/// `struct slot` of inject.bpf.c: a length, four octets of nothing, the packet.
const SLOT_OCTETS: usize = 8 + PACKET_OCTETS;
const SLOTS_OCTETS: usize = SLOT_OCTETS * BATCH_PACKETS as usize;
/// `struct state` of inject.bpf.c.
const NEXT: usize = 0;
const PASSED: usize = 4;
const STATE_OCTETS: usize = 8;

/// Index of the loopback in every network namespace.
const LOOPBACK: u32 = 1;

/// A batch of packets and the program that lets the stack receive them.
pub(super) struct LiveFrames {
    ebpf: Ebpf,
    slots: SharedValues,
    state: SharedValues,
    _keeper: Keeper,
    ifindex: u32,
    pending: u32,
    /// Octets of the longest packet in the batch.
    longest: usize,
}

/// What the program stays attached to, see the module.
struct Keeper {
    _link: OwnedFd,
    _home: Home,
}

/// Kept open, never used.
#[expect(dead_code, reason = "held for what ends with it")]
enum Home {
    Namespace(File),
    Tap(Tap),
}

/// What the kernel did with a batch.
pub(super) struct Sent {
    pub(super) delivered: u32,
    /// Packets that the program ended.
    pub(super) dropped: u32,
    /// Why it took no more of them.
    pub(super) refusal: Option<io::Error>,
}

impl LiveFrames {
    /// Loads the program and tries it once, on nothing.
    pub(super) fn new(ifindex: u32) -> Result<Self, Error> {
        const LOAD: &str = "loading the program for live frames";
        let mut ebpf = Ebpf::load(OBJECT).map_err(|error| Error::step(LOAD, error))?;
        let program: &mut Xdp = program(&mut ebpf);
        program.load().map_err(|error| Error::step(LOAD, error))?;
        let keeper = program.fd().map_err(|error| Error::step(LOAD, error))?;
        let keeper = Keeper::new(keeper.as_fd())
            .map_err(|error| Error::step("keeping the program in the dispatcher", error))?;
        let slots = shared(&mut ebpf, "slots", SLOTS_OCTETS)?;
        let state = shared(&mut ebpf, "state", STATE_OCTETS)?;
        let mut live =
            Self { ebpf, slots, state, _keeper: keeper, ifindex, pending: 0, longest: 0 };
        // An empty slot is dropped by the program: the call is made, and no packet.
        live.run(1, PACKET_OCTETS_MIN)
            .map_err(|error| Error::step("running a live frame", error))?;
        Ok(live)
    }

    /// Packets in the batch.
    pub(super) const fn pending(&self) -> u32 {
        self.pending
    }

    /// Copies a packet into the batch, which has room, of a length that fits.
    pub(super) fn push(&mut self, packet: &[u8]) {
        assert!((PACKET_OCTETS_MIN..=PACKET_OCTETS).contains(&packet.len()));
        assert!(self.pending < BATCH_PACKETS, "the batch is full");
        let slot = SLOT_OCTETS * self.pending as usize;
        #[expect(clippy::cast_possible_truncation)] // At most PACKET_OCTETS.
        self.slots.store(slot, packet.len() as u32);
        self.slots.write(slot + 8, packet);
        self.pending += 1;
        self.longest = self.longest.max(packet.len());
    }

    /// Hands each packet of the batch from number `first` on to `other` instead, and empties it.
    pub(super) fn drain(&mut self, first: u32, mut other: impl FnMut(&[u8])) {
        let mut octets = [0; PACKET_OCTETS];
        for index in first as usize..self.pending as usize {
            let slot = SLOT_OCTETS * index;
            let packet = &mut octets[..self.slots.load(slot) as usize];
            self.slots.read(slot + 8, packet);
            other(packet);
        }
        self.empty();
    }

    /// Lets the stack receive the batch. It is empty afterwards, unless the kernel refused the
    /// call: then those behind the delivered ones are still there, for [`Self::drain`].
    pub(super) fn send(&mut self) -> Sent {
        let batch = self.pending;
        let answer = self.run(batch, self.longest);
        let passed = self.state.load(PASSED);
        assert!(passed <= batch, "{passed} of {batch} packets passed");
        match answer {
            Ok(()) => {
                self.empty();
                // The program refuses only what `push` lets nobody write.
                let dropped = batch - passed;
                Sent { delivered: passed, dropped, refusal: None }
            }
            // net/bpf/test_run.c, xdp_test_run_batch. All ran: the packet buffers failed, all
            // at once, and none arrived. Else a page failed, and those before it arrived.
            Err(error) => {
                let delivered = if passed == batch { 0 } else { passed };
                Sent { delivered, dropped: 0, refusal: Some(error) }
            }
        }
    }

    fn empty(&mut self) {
        self.pending = 0;
        self.longest = 0;
    }

    /// Runs the program `batch` times from the first slot, on copies of `octets` octets: the
    /// longest packet's length, since a copy is cheaper to cut than to lengthen.
    fn run(&mut self, batch: u32, octets: usize) -> io::Result<()> {
        static DUMMY: [u8; PACKET_OCTETS] = [0; PACKET_OCTETS];
        self.state.store(NEXT, 0);
        self.state.store(PASSED, 0);
        let program = program(&mut self.ebpf);
        let fd = program.fd().map_err(io::Error::other)?;
        bpf::prog_run_live(fd.as_fd(), &DUMMY[..octets], self.ifindex, batch, batch)
    }
}

fn program(ebpf: &mut Ebpf) -> &mut Xdp {
    let program = ebpf.program_mut("tidegate_inject").expect(OBJECT_KNOWN);
    program.try_into().expect(OBJECT_KNOWN)
}

fn shared(ebpf: &mut Ebpf, name: &str, octets: usize) -> Result<SharedValues, Error> {
    let Some(Map::Array(map)) = ebpf.map(name) else { unreachable!("{OBJECT_KNOWN}: {name}") };
    let map: &MapData = map;
    SharedValues::of(map.fd().as_fd(), octets)
        .map_err(|error| Error::step("mapping the batch", error))
}

impl Keeper {
    fn new(program: BorrowedFd<'_>) -> io::Result<Self> {
        let in_a_namespace = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let home = Home::Namespace(File::open("/proc/thread-self/ns/net")?);
            let link = bpf::link_xdp(program, LOOPBACK, LinkMode::Generic)?;
            Ok(Self { _link: link, _home: home })
        };
        let kept = thread::scope(|scope| scope.spawn(in_a_namespace).join());
        kept.expect("no panic in it").or_else(|error: io::Error| match error.raw_os_error() {
            Some(libc::EPERM | libc::ENOENT) => {
                let home = Tap::new("tgkeep%d")?;
                let index = netlink::link(home.name()).map_err(io::Error::other)?.index;
                let link = bpf::link_xdp(program, index, LinkMode::Generic)?;
                Ok(Self { _link: link, _home: Home::Tap(home) })
            }
            _ => Err(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The constants both sides use, so that they cannot drift apart.
    #[test]
    fn agrees_with_the_program_on_every_constant() {
        const SOURCE: &str = include_str!("inject.bpf.c");
        let defined = |name: &str| -> usize {
            let (_, rest) = SOURCE.split_once(&format!("#define {name} ")).unwrap();
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        assert_eq!(defined("SLOTS"), BATCH_PACKETS as usize);
        assert_eq!(defined("PACKET_OCTETS"), PACKET_OCTETS);
        assert_eq!(defined("PACKET_OCTETS_MIN"), PACKET_OCTETS_MIN);
        // An array map rounds its values up to eight octets.
        assert_eq!(SLOT_OCTETS % 8, 0);
    }
}
