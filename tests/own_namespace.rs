//! Network namespaces of a test's own: made by it, gone with it, and nobody else's.

use std::fmt::Display;
use std::fs::File;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use tidegate_dataplane::sys::netlink::{Link, Netlink, VethEnd};

/// Hardware addresses of the two ends of [`veth`].
pub(crate) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// Says that a test was skipped, or fails where `REQUIRE_NET=1` forbids it.
#[expect(clippy::print_stdout, reason = "a skip must be seen")]
pub(crate) fn skip(reason: impl Display) {
    assert!(std::env::var_os("REQUIRE_NET").is_none_or(|v| v != "1"), "skipped: {reason}");
    println!("skipped: {reason}");
}

/// Runs `test` on a thread in a network namespace of its own, or skips it.
pub(crate) fn in_own_namespace(test: impl FnOnce() + Send) {
    let run = || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => test(),
        Err(error) => skip(format_args!("no network namespace of its own: {error}")),
    };
    let outcome = thread::scope(|scope| scope.spawn(run).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Another network namespace, which lives as long as this.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Self(thread::scope(|scope| scope.spawn(make).join()).unwrap())
    }

    /// Runs `job` in it.
    pub(crate) fn run<R: Send>(&self, job: impl FnOnce() -> R + Send) -> R {
        let run = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
            job()
        };
        thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A veth pair, both ends up: `va`, 198.18.0.1/24, with `rx_queues` here, `vb`,
/// 198.18.0.2/24, with `tx_queues` in `far`. Each knows the other as neighbour for good.
pub(crate) fn veth(far: &Namespace, rx_queues: u32, tx_queues: u32) -> Link {
    use std::os::fd::AsFd;
    let end =
        VethEnd { name: "va", mac: MACS[0], mtu: 1500, rx_queues, tx_queues: 1, namespace: None };
    let far_end = VethEnd {
        name: "vb",
        mac: MACS[1],
        rx_queues: 1,
        tx_queues,
        namespace: Some(far.0.as_fd()),
        ..end
    };
    Netlink::open().unwrap().create_veth(&end, &far_end).unwrap();
    let settle = |name: &str, own: &str, other: &str, mac| {
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link(name).unwrap();
        netlink.add_address(link.index, own.parse().unwrap(), 24).unwrap();
        netlink.set_up(link.index).unwrap();
        netlink.add_neighbour(link.index, other.parse().unwrap(), mac).unwrap();
        link
    };
    far.run(|| settle("vb", "198.18.0.2", "198.18.0.1", MACS[0]));
    settle("va", "198.18.0.1", "198.18.0.2", MACS[1])
}
