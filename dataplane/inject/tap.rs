//! Packets back into the stack through a TAP device.
//!
//! What is written to a TAP device the stack receives on that device: the wrong one, and
//! the address of the original interface is not its own. A program at its ingress moves
//! each packet to the original interface before anyone else sees it (`tap.bpf.c`).
//!
//! One system call a packet. The device is closed, and gone, with the process.

use std::{fs, io};

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::tc::{self, SchedClassifier, TcAttachType, TcError};

use super::error::Error;
use crate::sys::netlink::Netlink;
use crate::sys::tun;

/// The object that `steer/rebuild` makes from tap.bpf.c.
static OBJECT: &[u8] = aya::include_bytes_aligned!("tap.bpf.o");
/// Why looking things up in [`OBJECT`] cannot fail.
const OBJECT_KNOWN: &str = "the committed object has the map and the program of its source";

/// Longest packet: what an IPv4 packet can be, with Ethernet header and two VLAN tags.
pub(super) const PACKET_OCTETS: usize = 65_535 + 22;

/// A TAP device whose packets arrive on another interface.
pub(super) struct Tap {
    device: tun::Tap,
    /// Program, map and attachment live with it.
    _ebpf: Ebpf,
}

impl Tap {
    pub(super) fn new(ifindex: u32) -> Result<Self, Error> {
        const LOAD: &str = "loading the TAP device's program";
        let device = tun::Tap::new("tidegate%d").map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Error::step("making a TAP device", error),
            _ => Error::NoTun { source: error },
        })?;
        let mut ebpf = Ebpf::load(OBJECT).map_err(|error| Error::step(LOAD, error))?;
        let target = ebpf.map_mut("target").expect(OBJECT_KNOWN);
        let mut target: Array<_, u32> = target.try_into().expect(OBJECT_KNOWN);
        target
            .set(0, ifindex, 0)
            .map_err(|error| Error::step("telling the TAP device's program its target", error))?;
        let program = ebpf.program_mut("tidegate_tap").expect(OBJECT_KNOWN);
        let program: &mut SchedClassifier = program.try_into().expect(OBJECT_KNOWN);
        program.load().map_err(|error| Error::step(LOAD, error))?;
        attach(program, device.name())
            .map_err(|error| Error::step("attaching the TAP device's program", error))?;
        silence(device.name());
        bring_up(device.name())
            .map_err(|error| Error::step("bringing up the TAP device", error))?;
        Ok(Self { device, _ebpf: ebpf })
    }

    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.device.write(packet)
    }
}

/// By a TCX link, or before Linux 6.6 by the qdisc that came before.
fn attach(
    program: &mut SchedClassifier,
    name: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if program.attach(name, TcAttachType::Ingress).is_ok() {
        return Ok(());
    }
    match tc::qdisc_add_clsact(name) {
        Ok(()) | Err(TcError::AlreadyAttached) => {}
        Err(error) => return Err(error.into()),
    }
    program.attach(name, TcAttachType::Ingress)?;
    Ok(())
}

/// Keeps the stack from announcing itself over IPv6 on the device. Nobody listens there, so
/// it is no harm where the file is missing or not writable.
fn silence(name: &str) {
    let switch = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    if let Err(error) = fs::write(switch, "1") {
        tracing::debug!(name, %error, "IPv6 stays on on the TAP device");
    }
}

fn bring_up(name: &str) -> Result<(), crate::sys::netlink::Error> {
    let mut netlink = Netlink::open()?;
    let index = netlink.link(name)?.index;
    netlink.set_up(index)
}
