//! A cable with a mind of its own: it passes what it likes, and knows what it passed.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, setsockopt, socket,
    sockopt,
};
use tidegate::lab::End;

/// Octets in front of RTP over IPv4.
const RTP: usize = 42;

/// One at work, on a thread.
pub(super) struct Relay {
    passed: Arc<Mutex<BTreeSet<u64>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

fn open(end: &End, protocol: Option<SockProtocol>) -> OwnedFd {
    let work = || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol).unwrap();
        let mut links = getifaddrs().unwrap().filter_map(|it| it.address?.as_link_addr().copied());
        let link = links.find(|link| link.ifindex() == end.index as usize).unwrap();
        bind(socket.as_raw_fd(), &link).unwrap();
        // A busy machine looks away for a while.
        setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).unwrap();
        socket
    };
    end.namespace.run(work).unwrap()
}

impl Relay {
    /// Passes RTP from one end to the other, but for the packets whose number `loses` names.
    pub(super) fn start(
        from: &End,
        to: &End,
        loses: impl Fn(u16) -> bool + Send + 'static,
    ) -> Self {
        let (from, to) = (open(from, Some(SockProtocol::EthAll)), open(to, None));
        let (passed, stop) = (Arc::<Mutex<BTreeSet<u64>>>::default(), Arc::<AtomicBool>::default());
        let (own, told) = (Arc::clone(&passed), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            // Numbers go on beyond 16 bits.
            let mut newest: Option<u64> = None;
            while !told.load(Ordering::Relaxed) {
                let Ok(octets) = nix::unistd::read(&from, &mut buffer) else {
                    thread::sleep(Duration::from_micros(200));
                    continue;
                };
                let packet = &buffer[..octets];
                if octets < RTP + 12 || packet[RTP] != 0x80 {
                    continue;
                }
                let low = u16::from_be_bytes([packet[RTP + 2], packet[RTP + 3]]);
                let high = u64::from(u16::from_be_bytes([packet[RTP + 12], packet[RTP + 13]]));
                let number = (1 << 40) + (high << 16 | u64::from(low));
                // The wrap of 32 bits comes once in eleven days of this stream.
                assert!(newest.is_none_or(|newest| number.abs_diff(newest) < 1 << 20), "a jump");
                newest = Some(number);
                if loses(low) {
                    continue;
                }
                while send(to.as_raw_fd(), packet, MsgFlags::empty()) == Err(Errno::ENOBUFS) {
                    thread::yield_now();
                }
                own.lock().unwrap().insert(number);
            }
        });
        Self { passed, stop, thread }
    }

    /// The numbers that it has passed on.
    pub(super) fn passed(&self) -> BTreeSet<u64> {
        self.passed.lock().unwrap().clone()
    }

    pub(super) fn stop(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut *self.passed.lock().unwrap())
    }
}
