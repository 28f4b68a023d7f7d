//! What unread packets hold in the kernel: each batch has a page pool, which lives until its last
//! packet was read. They are counted by the kernel's trace of pools that cannot be released yet,
//! each of which it tries again every second.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tidegate_dataplane::inject::{Flushed, Tiers};

use super::{injector, on_a_wire, packet, take};
use crate::require;

/// Packets in a batch of this test: pages are taken by 64, so its pools have 192, and those of
/// nobody else on the machine have.
const BATCH: u32 = 150;
const PAGES: u32 = 192;

/// A trace of its own, gone with it.
struct Trace {
    /// Where the kernel's tracing is, seen by this thread alone.
    root: PathBuf,
    instance: PathBuf,
}

impl Trace {
    /// `None` where the kernel has no tracing.
    fn start() -> Option<Self> {
        let root = std::env::temp_dir().join(format!("tidetrace-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("none"), &root, Some("tracefs"), MsFlags::empty(), none).ok()?;
        let instance = root.join("instances").join(format!("tide{}", std::process::id()));
        fs::create_dir(&instance).ok()?;
        let trace = Self { root, instance };
        let event = trace.instance.join("events/page_pool/page_pool_release");
        fs::write(event.join("filter"), format!("inflight > 0 && hold == {PAGES}")).ok()?;
        fs::write(event.join("enable"), "1").ok()?;
        Some(trace)
    }

    /// Pools that wait for a packet to be read.
    fn pools(&self) -> usize {
        let path = self.instance.join("trace");
        fs::write(&path, "").unwrap();
        // Each is tried again once a second; a busy machine is late.
        thread::sleep(Duration::from_secs(3));
        let text = fs::read_to_string(&path).unwrap();
        let pool = |line: &str| -> Option<String> {
            Some(line.split_once("page_pool=")?.1.split_whitespace().next()?.to_owned())
        };
        text.lines().filter_map(pool).collect::<BTreeSet<_>>().len()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::write(self.instance.join("events/enable"), "0");
        let _ = fs::remove_dir(&self.instance);
        let _ = nix::mount::umount(&self.root);
        let _ = fs::remove_dir(&self.root);
    }
}

/// Octets that an ordinary socket's buffer may have.
fn buffer_octets() -> u32 {
    let text = fs::read_to_string(Path::new("/proc/sys/net/core/rmem_default")).unwrap();
    text.trim().parse().unwrap()
}

#[test]
fn sockets_that_nobody_reads_hold_no_more_batches_than_their_buffers_have_pages() {
    require_net!();
    let _alone = require::alone();
    const BATCHES: u32 = 1_000;
    on_a_wire(|bound| {
        drop(bound);
        let Some(trace) = Trace::start() else {
            assert!(std::env::var_os("REQUIRE_NET").is_none(), "no tracefs, no page_pool events");
            return;
        };
        assert_eq!(trace.pools(), 0);
        // An ordinary one, that nobody reads.
        let unread = UdpSocket::bind(("198.18.1.1", super::PORT)).unwrap();
        let mut injector = injector(Tiers::LiveFrames);
        // The worst there is: one packet of each batch to the socket, the others to nobody.
        let other = {
            let mut other = packet(0, 60);
            other[36..38].copy_from_slice(&9u16.to_be_bytes());
            other
        };
        for number in 0..BATCHES {
            take(&mut injector, &packet(number, 60));
            (1..BATCH).for_each(|_| take(&mut injector, &other));
            assert_eq!(injector.flush(), Flushed { delivered: BATCH, refused: 0 });
        }
        let (pools, pages) = (trace.pools(), buffer_octets() as usize / 4096);
        // One packet is always taken, however full; and the trace has to have seen some.
        assert!((pages / 2..=pages + 1).contains(&pools), "{pools} pools, {pages} pages");
        drop(unread);
        thread::sleep(Duration::from_secs(2));
        assert_eq!(trace.pools(), 0, "all given back");
    });
}
