//! One flow, numbered, through every change of state and of verdict under flood, over both Internet
//! protocols and both with ports.
//!
//! A machine may take the shard's processor away for so long that the program passes it by. Then a
//! packet that only follows others overtakes them, and is counted as `pass_stalled`; each one makes
//! one place at most where a number is behind a later one. All others keep their order all the same,
//! for what nobody judges is dropped here, not passed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sockopt};

use super::*;

/// Sends numbers until told to stop, and returns how many: in bursts with short pauses, and now and
/// then one that is longer than a turn takes.
pub(crate) fn numbered(send: impl Fn(u64), stop: &AtomicBool) -> u64 {
    let (mut number, mut random) = (0_u64, 0x9e37_79b9_7f4a_7c15_u64);
    while !stop.load(Ordering::Relaxed) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        for _ in 0..1 + random % 24 {
            send(number);
            number += 1;
        }
        let pause_us = if random >> 59 == 0 { 4_000 } else { random >> 32 & 0xff };
        thread::sleep(Duration::from_micros(pause_us));
    }
    number
}

/// What came of them: how many, and how often one came directly behind a later one.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) count: u64,
    last: u64,
    steps_back: u64,
    /// The first of them, and what it came behind.
    overtaken: Option<(u64, u64)>,
}

impl Heard {
    /// Holds that nobody overtook but these, which were not held back to their turn.
    #[track_caller]
    pub(crate) fn in_order(&self, out_of_turn: u64) {
        assert!(self.steps_back <= out_of_turn, "{out_of_turn} out of turn, and {self:?}");
    }
}

/// Hears numbers, until told to stop and it is quiet: what is on its way is heard. `next` waits a
/// tenth of a second for one; an error is that none came.
pub(crate) fn hear(next: impl Fn() -> io::Result<u64>, stop: &AtomicBool) -> Heard {
    let mut heard = Heard::default();
    loop {
        match next() {
            Ok(number) => {
                if number < heard.last {
                    heard.steps_back += 1;
                    heard.overtaken.get_or_insert((number, heard.last));
                }
                heard.last = number;
                heard.count += 1;
            }
            Err(_) if stop.load(Ordering::Relaxed) => return heard,
            Err(_) => {}
        }
    }
}

/// Where numbers are received in time.
pub(crate) fn patient(socket: &impl AsFd) {
    socket::setsockopt(socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
    let tenth = nix::sys::time::TimeVal::new(0, 100_000);
    socket::setsockopt(socket, sockopt::ReceiveTimeout, &tenth).unwrap();
}

/// A number at a socket for datagrams.
pub(crate) fn received(socket: &UdpSocket) -> io::Result<u64> {
    let mut octets = [0; 8];
    socket.recv(&mut octets)?;
    Ok(u64::from_be_bytes(octets))
}

/// What is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upper {
    Udp,
    /// Segments of a connection that nobody has: both ends see them beside the kernel's TCP.
    Tcp,
}

/// Octets of a TCP header.
const TCP_HEADER: usize = 20;

/// One end of a flow, in its namespace.
enum Numbers {
    Udp(UdpSocket),
    Tcp(OwnedFd),
}

impl Numbers {
    fn at(end: &End, upper: Upper, address: IpAddr, port: u16) -> Self {
        let open = || match upper {
            Upper::Udp => Self::Udp(UdpSocket::bind((address, port)).unwrap()),
            Upper::Tcp => {
                let family =
                    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
                let (raw, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
                Self::Tcp(socket::socket(family, raw, flags, SockProtocol::Tcp).unwrap())
            }
        };
        let numbers = end.namespace.run(open).unwrap();
        match &numbers {
            Self::Udp(socket) => patient(socket),
            Self::Tcp(socket) => patient(socket),
        }
        numbers
    }

    fn send(&self, to: SocketAddr, number: u64) {
        match self {
            Self::Udp(socket) => {
                socket.send_to(&number.to_be_bytes(), to).unwrap();
            }
            Self::Tcp(socket) => {
                // RFC 9293, 3.1: ports, numbers, a header of five words with ACK alone.
                let mut segment = [CLIENT, to.port(), 0, 0, 0, 0].map(u16::to_be_bytes).concat();
                segment.extend([0x50, 0x10, 1, 0, 0, 0, 0, 0]);
                segment.extend(number.to_be_bytes());
                let to = socket::SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
                let flags = MsgFlags::empty();
                socket::sendto(socket.as_raw_fd(), &segment, &to, flags).unwrap();
            }
        }
    }

    fn next(&self) -> io::Result<u64> {
        let socket = match self {
            Self::Udp(socket) => return received(socket),
            Self::Tcp(socket) => socket,
        };
        loop {
            let mut octets = [0; 128];
            let count = socket::recv(socket.as_raw_fd(), &mut octets, MsgFlags::empty())?;
            // raw(7): over IPv4 with the header of IP.
            let ip = if count == TCP_HEADER + 8 { 0 } else { 20 };
            let Some(segment) = octets[..count].get(ip..ip + TCP_HEADER + 8) else { continue };
            // All TCP of the namespace is here.
            if segment[..2] == CLIENT.to_be_bytes() && segment[2..4] == PORT.to_be_bytes() {
                let number = segment[TCP_HEADER..].try_into().expect("eight octets");
                return Ok(u64::from_be_bytes(number));
            }
        }
    }
}

/// Where the numbers come from.
const CLIENT: u16 = 4000;

#[test]
fn a_flow_of_datagrams_stays_in_order_and_whole_through_every_change_under_flood() {
    require_net!();
    let _alone = require::alone();
    stays_in_order(Upper::Udp, flood::Family::Ipv4);
}

#[test]
fn a_flow_of_datagrams_over_ipv6_stays_in_order_and_whole() {
    require_net!();
    let _alone = require::alone();
    stays_in_order(Upper::Udp, flood::Family::Ipv6);
}

#[test]
fn a_flow_of_segments_stays_in_order_and_whole() {
    require_net!();
    let _alone = require::alone();
    stays_in_order(Upper::Tcp, flood::Family::Ipv4);
}

#[test]
fn a_flow_of_segments_over_ipv6_stays_in_order_and_whole() {
    require_net!();
    let _alone = require::alone();
    stays_in_order(Upper::Tcp, flood::Family::Ipv6);
}

fn stays_in_order(upper: Upper, family: flood::Family) {
    let wire = wire();
    let (near, far) = (&wire.near, &wire.far);
    let like: IpAddr = match family {
        flood::Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        flood::Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (at, from) = (near.address(like), far.address(like));
    let (socket, client) =
        (Numbers::at(near, upper, at, PORT), Numbers::at(far, upper, from, CLIENT));
    let protection = Protection { stalled: steer::Stalled::Closed, ..Protection::default() };
    let start = || Stand::start(&near.name, Prefix::host(at), protection);
    let stand = near.namespace.run(start).unwrap();
    // Not of TCP, all of which a socket for segments would receive.
    let options = flood::Options {
        generator: Generator::Auto,
        family,
        frame_octets: 80,
        ..flood::Options::new(Kind::Udp { port: FLOODED })
    };
    let budget = Budget {
        packets: u64::MAX,
        time: Duration::from_secs(60),
        packets_per_second: NonZeroU64::new(40_000),
        processor: None,
    };
    let flood = Flood::new(far, &options).unwrap().start(budget).unwrap();
    let (sending, hearing) = (AtomicBool::new(false), AtomicBool::new(false));
    let source = Whose::Source(from);
    let send = |number| client.send(SocketAddr::new(at, PORT), number);
    let (sent, heard) = thread::scope(|scope| {
        let hearer = scope.spawn(|| hear(|| socket.next(), &hearing));
        let sender = scope.spawn(|| numbered(send, &sending));
        let pause = |ms| thread::sleep(Duration::from_millis(ms));
        let changes = || {
            pause(5);
            stand.steering.set_state(0, State::Engaged).unwrap();
            pause(15);
            // Proven: it passes by itself, until it is forgotten.
            stand.promote(source, Cached::Pass);
            pause(15);
            stand.steering.forget(0, &source).unwrap();
            pause(7);
            // Proven again, and disengaged meanwhile.
            stand.promote(source, Cached::Pass);
            pause(3);
            stand.steering.set_state(0, State::Draining).unwrap();
            assert!(stand.made_peace(), "a flow with pauses ends a drain");
            stand.steering.cache().flush();
        };
        (0..25).for_each(|_| changes());
        if let Numbers::Udp(socket) = &socket {
            // From here on the kernel has a connection of the flow.
            assert_eq!(stand.outcome(Outcome::PassSocket), 0);
            socket.connect((from, CLIENT)).unwrap();
            (0..5).for_each(|_| changes());
        }
        sending.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap();
        pause(300);
        hearing.store(true, Ordering::Relaxed);
        (sent, hearer.join().unwrap())
    });
    flood.stop().unwrap();
    let counters = stand.steering.counters().unwrap();
    let report = stand.leave();
    let port = &report.shards[0].ports[0];
    let stats = port.stats;
    let lost = stats.kernel_rx_dropped
        + stats.kernel_rx_ring_full
        + stats.kernel_rx_fill_ring_empty_descs
        + counters.get(Outcome::DropStalled).packets;
    assert_eq!(report.unaccounted(), 0);
    heard.in_order(counters.get(Outcome::PassStalled).packets);
    assert!(heard.count <= sent, "{} of {sent}", heard.count);
    assert!(sent - heard.count <= lost, "{} are nowhere", sent - heard.count);
    assert!(heard.count > 1_000);
    for outcome in [Outcome::Redirected, Outcome::PassPeace, Outcome::PassVerdict] {
        assert!(counters.get(outcome).packets > 100, "{outcome:?} {counters:?}");
    }
    let by_socket = counters.get(Outcome::PassSocket).packets;
    assert_eq!(by_socket > 100, upper == Upper::Udp, "{counters:?}");
    assert!(counters.ordered.packets > 0, "no change ever met a packet: {counters:?}");
}
