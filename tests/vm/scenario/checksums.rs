//! Checksums on real drivers: what each obtains, and whether the kernel at the other end, which
//! verifies, believes what left the card.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::lab::{End, Wire};
use tidegate_dataplane::driver::Driver;
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::offload::ChecksumWish;
use tidegate_dataplane::steer::{self, Steering};
use tidegate_dataplane::umem::{self, Pages, Umem};
use tidegate_dataplane::wire::{TransportChecksum, ethernet, ipv4, protocol, udp};
use tidegate_dataplane::xsk::{self, CopyMode, Queue};

use crate::guest::cards::{await_links, soon};

const PORT: u16 = 5300;
const LENGTHS: [usize; 6] = [0, 1, 2, 63, 900, 1001];

/// What one bind came to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Came {
    copy: String,
    checksum: String,
    /// Datagrams whose checksum was finished, and those of them that the far socket got.
    finished: (u64, u64),
    /// Datagrams whose checksum was only begun, and those that the far kernel refused for it.
    begun: (u64, u64),
}

/// Sends through a bind of each kind.
pub(super) fn play(wire: &Wire) -> Vec<Came> {
    let program = || Steering::attach(&options(&wire.near)).unwrap();
    // Where the driver sends in zero-copy only with a program.
    let _program = wire.near.namespace.run(program).unwrap();
    await_links(wire);
    let far = wire.far.namespace.run(|| UdpSocket::bind((wire.far.ipv4, PORT))).unwrap();
    let far = far.unwrap();
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    [CopyMode::Copy, CopyMode::ZeroCopy].map(|copy| come(wire, &far, copy)).into()
}

/// Every checksum is believed, whoever has summed it.
pub(super) fn judge(driver: &Driver, facts: &[Came]) {
    let came = |copy: &str, checksum: &str| Came {
        copy: copy.into(),
        checksum: checksum.into(),
        finished: (LENGTHS.len() as u64, LENGTHS.len() as u64),
        begun: (1, 1),
    };
    let copied = if driver.finishes_checksums.is { "kernel" } else { "software" };
    assert_eq!(facts, [came("copy", copied), came("zero-copy", "software")]);
}

fn options(end: &End) -> steer::Options {
    steer::Options { interface: end.name.clone(), xdp: steer::XdpMode::Native, selectors: vec![] }
}

/// Sends both kinds through one bind.
fn come(wire: &Wire, far: &UdpSocket, copy: CopyMode) -> Came {
    let refused_before = refused(&wire.far);
    let mut finished = (0, 0);
    let on_the_queue = |wish, work: &mut (dyn FnMut(&mut Queue) + Send)| {
        let inside = || {
            let chunk_octets = Driver::of(&wire.near.name).chunk_octets(1500, copy);
            let umem = umem::Options { chunk_octets, frames: 1024, pages: Pages::Ordinary };
            let options = xsk::Options {
                copy,
                tx_checksum: wish,
                ring_entries: 256,
                fill_frames: 256,
                ..xsk::Options::new(&wire.near.name, 0)
            };
            let mut queue = xsk::open(&options, Umem::new(&umem).unwrap()).unwrap();
            await_links(wire);
            work(&mut queue);
            let obtained = queue.obtained();
            (obtained.copy.to_string(), obtained.tx.checksum.to_string())
        };
        wire.near.namespace.run(inside).unwrap()
    };
    let (copied, checksum) = on_the_queue(ChecksumWish::Auto, &mut |queue| {
        for length in LENGTHS {
            let data: Vec<u8> = (0..=u8::MAX).cycle().step_by(7).take(length).collect();
            let mut frame = frame_of(queue, &packet(wire, &data));
            frame.finish_checksum().unwrap();
            send(queue, frame);
            finished.0 += 1;
            let mut octets = [0; 2048];
            let got = far.recv(&mut octets).is_ok_and(|len| octets[..len] == data);
            finished.1 += u64::from(got);
        }
    });
    on_the_queue(ChecksumWish::Software, &mut |queue| {
        let mut packet = packet(wire, b"begun");
        TransportChecksum::of(&packet).unwrap().begin(&mut packet);
        let frame = frame_of(queue, &packet);
        send(queue, frame);
    });
    soon(|| refused(&wire.far) > refused_before);
    Came { copy: copied, checksum, finished, begun: (1, refused(&wire.far) - refused_before) }
}

fn packet(wire: &Wire, data: &[u8]) -> Vec<u8> {
    let payload_octets = data.len().try_into().unwrap();
    let transport = udp::Header { source: 40_000, destination: PORT, payload_octets, checksum: 1 };
    let ip = ipv4::Header {
        source: wire.near.ipv4,
        destination: wire.far.ipv4,
        protocol: protocol::UDP,
        payload_octets: payload_octets + 8,
        ttl: 64,
        traffic_class: 0,
        id: 0,
    };
    let link = ethernet::Header {
        destination: wire.far.mac,
        source: wire.near.mac,
        ether_type: ethernet::ether_type::IPV4,
    };
    [&link.emit()[..], &ip.emit(), &transport.emit(), data].concat()
}

fn frame_of(queue: &mut Queue, packet: &[u8]) -> Frame {
    let mut frame = queue.take().unwrap();
    frame.set_len(packet.len());
    frame.bytes_mut().copy_from_slice(packet);
    frame
}

/// Sends one frame; when it comes home is the driver's business.
fn send(queue: &mut Queue, frame: Frame) {
    assert_eq!(queue.send(&mut [frame].into_iter().collect()), 1);
    soon(|| {
        queue.kick();
        queue.reap();
        !queue.tx_pending()
    });
}

/// Datagrams that the kernel at this end refused for their checksum.
fn refused(end: &End) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let text = end.namespace.run(read).unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "InCsumErrors").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}
