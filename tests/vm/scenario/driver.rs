//! What the table of drivers says of this one, tried on it.
//!
//! ```text
//!   near: attach, bind, close, detach, each watched ── packets of all lengths ──► far: in chunks
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegate::lab::{End, Wire};
use tidegate_dataplane::driver::{CHUNK_OCTETS, Driver};
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::steer::{self, Fragments, Outcome, Protocol, Selector, Steering};
use tidegate_dataplane::sys::netlink::{Change, Watch};
use tidegate_dataplane::umem::{self, Pages, Umem};
use tidegate_dataplane::wire::{ethernet, ipv4, protocol, udp};
use tidegate_dataplane::xsk::{self, CopyMode, Queue};

use super::{Play, checksums};
use crate::guest::cards::{await_links, wire};
use crate::guest::step;
use crate::machine::Nics;

/// The longest packet of an MTU of 1500.
const LONGEST: u32 = 1514;

const PATIENCE: Duration = Duration::from_secs(20);

/// How long a driver may take that does what it is not expected to. The kernel tells once a second
/// of carriers that were lost (`net/core/link_watch.c`).
const ENOUGH: Duration = Duration::from_millis(1_500);

pub(super) struct Facts;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Seen {
    driver: String,
    /// Carriers lost while each thing was done to the link.
    carriers: Vec<Lost>,
    /// Without a program, and with one: frames sent of one, and wake-ups refused by EINVAL or the
    /// like.
    without_program: (u64, u64),
    with_program: (u64, u64),
    /// For each chunk and each length of packet: lengths that came.
    came: Vec<Came>,
    /// Milliseconds from a close to the next open of the same queue.
    reopened_ms: Vec<u64>,
    checksums: Vec<checksums::Came>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Lost {
    doing: String,
    times: u32,
    /// Milliseconds until it was back.
    back_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Came {
    chunk_octets: u32,
    sent: u32,
    /// To the socket.
    came: Vec<usize>,
    /// To the program: packets, and those of them that are shorter than they say.
    met: (u64, u64),
}

impl Play for Facts {
    type Facts = Seen;

    fn play(_: Nics) -> Seen {
        let wire = wire(1);
        let name = wire.near.name.clone();
        let driver = wire.near.namespace.run(|| Driver::of(&name).name.to_owned()).unwrap();
        step("no program");
        let without_program = wire.near.namespace.run(|| send_one(&wire, ENOUGH)).unwrap();
        await_links(&wire);
        step("attach, bind, close, detach");
        let (carriers, with_program, reopened_ms) =
            wire.near.namespace.run(|| treat(&wire)).unwrap();
        step("lengths");
        let came = lengths(&wire, Driver::named(&driver));
        step("checksums");
        let checksums = checksums::play(&wire);
        Seen { driver, carriers, without_program, with_program, came, reopened_ms, checksums }
    }

    fn judge(nics: Nics, seen: Seen) {
        println!("{seen:#?}");
        assert_eq!(seen.driver, nics.driver());
        let driver = Driver::named(&seen.driver);

        let (sent, refused) = seen.without_program;
        assert_eq!(sent == 1, driver.sends_without_program.is, "{refused} refused");
        assert_eq!(refused == 0, driver.sends_without_program.is, "the driver says so");
        assert_eq!(seen.with_program, (1, 0));

        let lost = |doing: &str| {
            seen.carriers.iter().filter(|it| it.doing == doing).map(|it| it.times).sum::<u32>()
        };
        for doing in ["attach", "detach"] {
            assert_eq!(lost(doing) > 0, driver.resets_link.is, "{doing}");
        }
        assert_eq!(lost("bind and close"), 0);

        checksums::judge(driver, &seen.checksums);

        for came in &seen.came {
            let whole = driver.whole_octets(came.chunk_octets, CopyMode::ZeroCopy);
            if came.sent <= whole {
                assert_eq!(came.came, [came.sent as usize], "{came:?}");
            } else {
                // Each piece is a packet to the driver, and the first is shorter than it says: the
                // kernel has it, and no service takes it for a packet.
                assert_eq!((&came.came[..], came.met), (&[][..], (2, 1)), "{came:?}");
            }
        }
    }
}

/// A program that selects everything for the lab's addresses.
fn attach(end: &End) -> Steering {
    let selector = Selector {
        destination: "198.18.0.0/15".parse().unwrap(),
        source: None,
        protocol: Protocol::Any,
        destination_ports: None,
        fragments: Fragments::Take,
    };
    let xdp = steer::XdpMode::Native;
    let interface = end.name.clone();
    Steering::attach(&steer::Options { interface, xdp, selectors: vec![selector] }).unwrap()
}

fn open(end: &End, chunk_octets: u32) -> Queue {
    let umem = umem::Options { chunk_octets, frames: 4096, pages: Pages::Ordinary };
    let options = xsk::Options { copy: CopyMode::ZeroCopy, ..xsk::Options::new(&end.name, 0) };
    xsk::open(&options, Umem::new(&umem).unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

/// Opens queue 0 of the near end, sends one packet, and says how many were sent within `patience`
/// and how many wake-ups were refused.
fn send_one(wire: &Wire, patience: Duration) -> (u64, u64) {
    let mut queue = open(&wire.near, 4096);
    send(&mut queue, wire, 60, patience);
    let stats = queue.stats();
    (stats.completed_frames, stats.wake_other)
}

fn send(queue: &mut Queue, wire: &Wire, octets: u32, patience: Duration) {
    let mut frame = queue.take().unwrap();
    let packet = packet(wire, octets);
    frame.set_len(packet.len());
    frame.bytes_mut().copy_from_slice(&packet);
    let before = queue.stats().completed_frames;
    assert_eq!(queue.send(&mut [frame].into_iter().collect()), 1);
    let give_up = Instant::now() + patience;
    while queue.stats().completed_frames == before && Instant::now() < give_up {
        queue.tell_again();
        queue.kick();
        std::thread::sleep(Duration::from_millis(5));
        queue.reap();
    }
}

/// A UDP packet to the far end, of so many octets.
fn packet(wire: &Wire, octets: u32) -> Vec<u8> {
    let payload = octets as usize - 14 - 20 - 8;
    let link = ethernet::Header {
        destination: wire.far.mac,
        source: wire.near.mac,
        ether_type: ethernet::ether_type::IPV4,
    };
    let ip = ipv4::Header {
        source: wire.near.ipv4,
        destination: wire.far.ipv4,
        protocol: protocol::UDP,
        payload_octets: u16::try_from(8 + payload).unwrap(),
        ttl: 64,
        traffic_class: 0,
        id: 0,
    };
    let udp = udp::Header {
        source: 9,
        destination: 9,
        payload_octets: u16::try_from(payload).unwrap(),
        checksum: 0,
    };
    [&link.emit()[..], &ip.emit(), &udp.emit(), &vec![0xa5; payload]].concat()
}

type Treated = (Vec<Lost>, (u64, u64), Vec<u64>);

/// Does to the near end what a run does, and watches its carrier.
fn treat(wire: &Wire) -> Treated {
    let end = &wire.near;
    let mut lost = Vec::new();
    let mut after = |doing: &str, watch: Watch| lost.push(carriers(end, doing, watch));
    let watch = || Watch::open().unwrap();

    let watching = watch();
    let steering = attach(end);
    after("attach", watching);
    let watching = watch();
    let mut queue = open(end, 4096);
    send(&mut queue, wire, 60, PATIENCE);
    let sent = (queue.stats().completed_frames, queue.stats().wake_other);
    let mut reopened_ms = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        drop(queue);
        queue = open(end, 4096);
        reopened_ms.push(u64::try_from(begun.elapsed().as_millis()).unwrap());
    }
    drop(queue);
    after("bind and close", watching);
    let watching = watch();
    drop(steering);
    after("detach", watching);
    (lost, sent, reopened_ms)
}

/// How often the carrier went, as was told until it was there for a while.
fn carriers(end: &End, doing: &str, mut watch: Watch) -> Lost {
    let begun = Instant::now();
    let (mut times, mut running, mut back_ms) = (0, true, 0);
    let give_up = begun + PATIENCE;
    // A driver may take some time to notice what it did.
    while let Some(change) = watch.next(ENOUGH).unwrap() {
        let Change::Now(link) = change else { panic!("{change:?}") };
        assert!(Instant::now() < give_up, "{doing}: it does not come back");
        if link.index != end.index || link.running == running {
            continue;
        }
        running = link.running;
        times += u32::from(!running);
        if running {
            back_ms = u64::try_from(begun.elapsed().as_millis()).unwrap();
        }
    }
    assert!(running, "{doing}: it does not come back");
    Lost { doing: doing.into(), times, back_ms }
}

/// Sends packets of several lengths to the far end, into chunks of each size.
fn lengths(wire: &Wire, driver: &Driver) -> Vec<Came> {
    let mut all = Vec::new();
    let near = wire.near.namespace.run(|| attach(&wire.near)).unwrap();
    let far = wire.far.namespace.run(|| attach(&wire.far)).unwrap();
    let met = || {
        let counters = far.counters().unwrap();
        (counters.received.packets, counters.get(Outcome::PassTruncated).packets)
    };
    for chunk_octets in CHUNK_OCTETS {
        let whole = driver.whole_octets(chunk_octets, CopyMode::ZeroCopy);
        let mut lengths: Vec<u32> = [60, whole, whole + 1, 1400, LONGEST].into();
        lengths.retain(|length| *length <= LONGEST);
        lengths.dedup();
        let receive = || {
            let mut queue = open(&wire.far, chunk_octets);
            far.set_socket(0, queue.fd().unwrap()).unwrap();
            let (ask, asked) = std::sync::mpsc::channel::<u32>();
            let (done, told) = std::sync::mpsc::channel();
            let sender = wire.near.namespace.clone();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let work = || {
                        let mut queue = open(&wire.near, 4096);
                        await_links(wire);
                        for length in asked {
                            send(&mut queue, wire, length, PATIENCE);
                            done.send(()).unwrap();
                        }
                    };
                    sender.run(work).unwrap();
                });
                for sent in lengths.iter().copied() {
                    let before = met();
                    ask.send(sent).unwrap();
                    told.recv().unwrap();
                    let came = receive(&mut queue);
                    let (packets, truncated) = met();
                    let met = (packets - before.0, truncated - before.1);
                    all.push(Came { chunk_octets, sent, came, met });
                }
                drop(ask);
            });
        };
        wire.far.namespace.run(receive).unwrap();
    }
    drop((near, far));
    all
}

/// Lengths of the frames that come within a time that is enough for all of one packet.
fn receive(queue: &mut Queue) -> Vec<usize> {
    let mut frames: Vec<Frame> = Vec::new();
    let give_up = Instant::now() + ENOUGH;
    while Instant::now() < give_up {
        queue.recv(&mut frames, 64);
        queue.refill();
        queue.kick();
        if !frames.is_empty() {
            std::thread::sleep(Duration::from_millis(300));
            queue.recv(&mut frames, 64);
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    frames.iter().map(Frame::len).collect()
}
