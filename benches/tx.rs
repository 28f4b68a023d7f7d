//! How fast does one core send 1262-octet packets: bare rings, frames, kernel sockets?

mod common;

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use common::bare::Bare;
use common::{Contender, compare, lasting, wire};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use tidegate::lab::End;
use tidegate::lab::sink::{Action, Sink};
use tidegate_dataplane::umem::{self, Umem};
use tidegate_dataplane::xsk::queue::{BURST_FRAMES, Group};
use tidegate_dataplane::xsk::{self};

const FRAME_OCTETS: usize = 1262;
const PAYLOAD_OCTETS: usize = FRAME_OCTETS - 42;

fn main() {
    let wire = wire(1);
    let sink = Sink::attach(&wire.far, Action::Drop).expect("a sink");
    let near = &wire.near;
    // What arrived is counted, not what was handed over.
    let measured = |work: &(dyn Fn(Duration) + Sync), time: Duration| {
        let arrived = || sink.arrived().expect("a count").packets;
        let (before, start) = (arrived(), Instant::now());
        near.namespace.run(|| work(time)).expect("a thread");
        (arrived() - before) as f64 / start.elapsed().as_secs_f64()
    };
    compare(vec![
        Contender::new("bare rings", |time| measured(&|time| bare(near, time), time)),
        Contender::new("frames, built once", |time| measured(&|time| frames(near, time), time)),
        Contender::new("sendmmsg of 64", |time| measured(&|time| sockets(near, time), time)),
    ]);
}

fn packet(end: &End) -> Vec<u8> {
    let mut packet = vec![0xa5; FRAME_OCTETS];
    packet[..6].copy_from_slice(&end.peer.mac);
    packet[6..12].copy_from_slice(&end.mac);
    packet[12..14].copy_from_slice(&[0x08, 0x00]);
    packet
}

fn bare(end: &End, time: Duration) {
    let mut bare = Bare::open(&end.name, 0, &packet(end));
    bare.send(FRAME_OCTETS as u32, lasting(time));
}

fn frames(end: &End, time: Duration) {
    let packet = packet(end);
    let umem = Umem::new(&umem::Options { pages: umem::Pages::Ordinary, ..Default::default() });
    let mut queue =
        xsk::open(&xsk::Options::new(&end.name, 0), umem.expect("memory")).expect("a queue");
    // Fills every chunk once: afterwards a frame from the pool holds the packet already.
    let mut all: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
    for frame in &mut all {
        frame.set_len(FRAME_OCTETS);
        frame.bytes_mut().copy_from_slice(&packet);
    }
    all.into_iter().for_each(|frame| queue.release(frame));
    let mut group = Group::new();
    let mut go = lasting(time);
    while go() {
        while group.len() < BURST_FRAMES
            && let Some(mut frame) = queue.take()
        {
            frame.set_len(FRAME_OCTETS);
            group.push(frame);
        }
        queue.send(&mut group);
        queue.kick();
        queue.reap();
    }
    group.drain(..).for_each(|frame| queue.release(frame));
}

fn sockets(end: &End, time: Duration) {
    let socket = UdpSocket::bind((end.ipv4, 0)).expect("a socket");
    let payload = [0xa5; PAYLOAD_OCTETS];
    let address = SockaddrIn::from(std::net::SocketAddrV4::new(end.peer.ipv4, 9));
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(64, None);
    let slices = [[IoSlice::new(&payload)]; 64];
    let mut go = lasting(time);
    while go() {
        let addresses = [Some(address); 64];
        let sent =
            sendmmsg(socket.as_raw_fd(), &mut headers, &slices, addresses, [], MsgFlags::empty());
        let _ = sent.map(|results| results.count());
    }
}
