//! What the table of drivers says of this one, tried on it.
//!
//! ```text
//!   near: attach, bind, close, detach, each watched ── packets of all lengths ──► far: in chunks
//! ```

use std::sync::mpsc;
use std::thread;
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

use super::facts::Left;
use super::{Play, checksums};
use crate::guest::cards::{await_links, wire};
use crate::guest::configs::camera;
use crate::guest::program::Program;
use crate::guest::step;
use crate::machine::Nics;

/// The longest packet of an MTU of 1500.
const LONGEST: u32 = 1514;

/// Chunks of the receiver that is away.
const FEW: u32 = 64;

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
    dry: Dry,
    /// The program with chunks of 2048 octets, where the driver brings pieces into them.
    refused: Option<Left>,
    /// Milliseconds from a close to the next open of the same queue.
    reopened_ms: [u64; 3],
    checksums: Vec<checksums::Came>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Lost {
    doing: String,
    times: u32,
    /// Milliseconds until it was back.
    back_ms: u64,
}

/// What came to a receiver with few chunks.
#[derive(Debug, Serialize, Deserialize)]
struct Dry {
    /// While it was away, and when it was there again.
    before: usize,
    after: usize,
    /// System calls that said that there are chunks again.
    calls: u64,
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
        let pair = Pair::new(&wire);
        let came = lengths(&pair, Driver::named(&driver));
        step("a driver without chunks");
        let dry = dry(&pair);
        drop(pair);
        step("checksums");
        let checksums = checksums::play(&wire);
        let pieces = !Driver::named(&driver).fits(2048, 1500, CopyMode::ZeroCopy);
        let refused = pieces.then(|| small_chunks(&wire));
        Seen {
            driver,
            carriers,
            without_program,
            with_program,
            came,
            dry,
            refused,
            reopened_ms,
            checksums,
        }
    }

    fn judge(nics: Nics, seen: Seen) {
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
        let Dry { before, after, calls } = seen.dry;
        assert!(before >= FEW as usize && after == 10, "{:?}", seen.dry);
        assert!(calls > 0, "it never said that it has no chunks");
        if let Some(refused) = &seen.refused {
            let complaint = refused.complaint();
            let pieces = "of more than 1024 octets in pieces where chunks have 2048 octets; leave";
            assert!(complaint.contains(pieces), "{complaint}");
        }
        // The open itself waits for the queue, and gives up after two seconds.
        assert!(seen.reopened_ms.iter().all(|ms| *ms < 2_000), "{:?}", seen.reopened_ms);

        checksums::judge(driver, &seen.checksums);

        for came in &seen.came {
            let whole = driver.whole_octets(came.chunk_octets, CopyMode::ZeroCopy);
            if came.sent <= whole {
                assert_eq!(came.came, [came.sent as usize], "{came:?}");
            } else {
                // Each piece is a packet to the driver, and the first is shorter than it says: the
                // program leaves it to the kernel, and no service takes it for a packet.
                assert!(came.came.is_empty() && came.met.0 == 2 && came.met.1 >= 1, "{came:?}");
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
        protection: None,
    };
    let xdp = steer::XdpMode::Native;
    let interface = end.name.clone();
    Steering::attach(&steer::Options { interface, xdp, selectors: vec![selector] }).unwrap()
}

/// What a queue is opened with.
struct Open {
    chunk_octets: u32,
    ring_entries: u32,
    fill_frames: u32,
}

impl Default for Open {
    fn default() -> Self {
        Self { chunk_octets: 4096, ring_entries: 2048, fill_frames: 2048 }
    }
}

impl Open {
    fn open(&self, end: &End) -> Queue {
        let &Self { chunk_octets, ring_entries, fill_frames } = self;
        let umem = umem::Options { chunk_octets, frames: 4096, pages: Pages::Ordinary };
        let copy = CopyMode::ZeroCopy;
        let base = xsk::Options::new(&end.name, 0);
        let options = xsk::Options { copy, ring_entries, fill_frames, ..base };
        xsk::open(&options, Umem::new(&umem).unwrap()).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Opens queue 0 of the near end, sends one packet, and says how many were sent within `patience`
/// and how many wake-ups were refused.
fn send_one(wire: &Wire, patience: Duration) -> (u64, u64) {
    let mut queue = Open::default().open(&wire.near);
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
        thread::sleep(Duration::from_millis(5));
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

type Treated = (Vec<Lost>, (u64, u64), [u64; 3]);

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
    let mut queue = Some(Open::default().open(end));
    let first = queue.as_mut().expect("just opened");
    send(first, wire, 60, PATIENCE);
    let sent = (first.stats().completed_frames, first.stats().wake_other);
    let reopened_ms = [(); 3].map(|()| {
        let begun = Instant::now();
        queue.take();
        queue = Some(Open::default().open(end));
        u64::try_from(begun.elapsed().as_millis()).unwrap()
    });
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

/// Both ends with programs and sockets: what is sent from the near one comes to the far one.
struct Pair<'a> {
    wire: &'a Wire,
    _near: Steering,
    far: Steering,
}

impl<'a> Pair<'a> {
    fn new(wire: &'a Wire) -> Self {
        let attach = |end: &End| end.namespace.run(|| attach(end)).unwrap();
        Self { wire, _near: attach(&wire.near), far: attach(&wire.far) }
    }

    /// Gives `work` a queue at the far end, and what sends a packet of a length to it and waits so
    /// long until it has left.
    fn work<T: Send>(
        &self,
        far: &Open,
        work: impl FnOnce(&mut Queue, &dyn Fn(u32, Duration)) -> T + Send,
    ) -> T {
        let wire = self.wire;
        let receive = || {
            let mut queue = far.open(&wire.far);
            self.far.set_socket(0, queue.fd().unwrap()).unwrap();
            let (ask, asked) = mpsc::channel();
            let (done, told) = mpsc::channel();
            // A queue stays on its thread, and a thread in its namespace.
            let send_all = || {
                let mut queue = Open::default().open(&wire.near);
                await_links(wire);
                for (length, patience) in asked {
                    send(&mut queue, wire, length, patience);
                    done.send(()).unwrap();
                }
            };
            thread::scope(|scope| {
                scope.spawn(|| wire.near.namespace.run(send_all).unwrap());
                let result = work(&mut queue, &|length, patience| {
                    ask.send((length, patience)).unwrap();
                    told.recv().unwrap();
                });
                drop(ask);
                result
            })
        };
        wire.far.namespace.run(receive).unwrap()
    }

    /// Packets that the far program met, and those of them that are shorter than they say.
    fn met(&self) -> (u64, u64) {
        let counters = self.far.counters().unwrap();
        (counters.received.packets, counters.get(Outcome::PassTruncated).packets)
    }
}

/// Packets of several lengths, into chunks of each size.
fn lengths(pair: &Pair<'_>, driver: &Driver) -> Vec<Came> {
    let of_chunk = |chunk_octets: u32| {
        let whole = driver.whole_octets(chunk_octets, CopyMode::ZeroCopy);
        let mut lengths = vec![whole, whole + 1, LONGEST];
        lengths.retain(|length| *length <= LONGEST);
        pair.work(&Open { chunk_octets, ..Open::default() }, |queue, send| {
            let one = |sent: u32| {
                let before = pair.met();
                send(sent, PATIENCE);
                let came = receive(queue, 1).iter().map(Frame::len).collect();
                let (packets, truncated) = pair.met();
                let met = (packets - before.0, truncated - before.1);
                Came { chunk_octets, sent, came, met }
            };
            lengths.into_iter().map(one).collect::<Vec<_>>()
        })
    };
    CHUNK_OCTETS.into_iter().flat_map(of_chunk).collect()
}

/// A receiver that has few chunks and is away while many packets come: the driver runs dry, says
/// so by its flag, and goes on when it was told that there are chunks again.
fn dry(pair: &Pair<'_>) -> Dry {
    let few = Open { ring_entries: FEW, fill_frames: FEW, ..Open::default() };
    pair.work(&few, |queue, send| {
        // What finds no chunk is lost, or waits in the emulator, and then the sender waits too.
        (0..4 * FEW).for_each(|_| send(60, Duration::from_millis(10)));
        let before = receive(queue, usize::MAX).len();
        let calls = queue.stats().rx_wakes;
        let after = (0..10).map(|_| {
            send(60, PATIENCE);
            receive(queue, 1).len()
        });
        Dry { before, after: after.sum(), calls }
    })
}

/// A program that was told to take smaller chunks than the driver needs.
fn small_chunks(wire: &Wire) -> Left {
    step("small chunks in a config");
    let name = &wire.near.name;
    let config = format!(
        "[[interface]]\nname = \"{name}\"\numem = {{ chunk_octets = 2048 }}\n{}",
        camera(wire, "")
    );
    Program::refused(&wire.near.namespace, "small", &config)
}

/// The frames that come within a time that is enough for all, or at least so many and a little
/// more. As a shard does, it gives their chunks back and tells the kernel.
fn receive(queue: &mut Queue, count: usize) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let give_up = Instant::now() + ENOUGH;
    while Instant::now() < give_up && frames.len() < count {
        thread::sleep(Duration::from_millis(5));
        queue.recv(&mut frames, 64);
        queue.refill();
        queue.kick();
    }
    thread::sleep(Duration::from_millis(50));
    queue.recv(&mut frames, 64);
    frames
}
