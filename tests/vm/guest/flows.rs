//! Flows whose queue is known, because it was looked at.
//!
//! A card hashes addresses and ports with a key that the kernel draws anew at each boot, so no flow
//! can be named here that comes to some queue. But one packet of it shows which: so many are tried,
//! and sorted.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::flood::MARK;
use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::witness::tcp;
use tidegate::lab::{Namespace, Wire};

use super::cards::{await_links, soon};
use super::program::PATIENCE;
use super::traffic::PORT;

/// Ways from the far end to the near one, each by the queue on which it comes in.
pub(crate) struct Flows {
    /// Of the flood: sources in 198.19.0.0/16.
    pub(crate) floods: Vec<(u32, UdpSocket)>,
    /// Of those who ask: sources in 198.18.0.0/16.
    pub(crate) askers: Vec<(u32, Ipv4Addr)>,
    /// Connections to an echo.
    pub(crate) connections: Vec<(u32, TcpStream)>,
}

/// Enough that each of eight queues has some; see [`source`].
const FLOODS: u16 = 64;
/// The same for those who ask.
const ASKERS: u16 = 64;
const CONNECTIONS: usize = 16;

/// Where the echo is.
const ECHO: u16 = 7;

impl Flows {
    /// Makes them, and looks where they come in. The echo has to live as long.
    pub(crate) fn look(wire: &Wire) -> (Self, tidegate::lab::witness::Witness) {
        let near = &wire.near.namespace;
        let echo = tcp::echo(near, (wire.near.ipv4, ECHO).into()).unwrap();
        let (floods, askers): (Vec<_>, Vec<_>) = (
            (1..=FLOODS).map(|number| source(19, number)).collect(),
            (1..=ASKERS).map(|number| source(18, number)).collect(),
        );
        let (mut far_links, mut near_links) =
            (wire.far.namespace.netlink().unwrap(), near.netlink().unwrap());
        for address in floods.iter().chain(&askers) {
            far_links.add_address(wire.far.index, (*address).into(), 32).unwrap();
        }
        for address in &askers {
            near_links.add_route((*address).into(), 32, None, wire.near.index).unwrap();
            near_links.add_neighbour(wire.near.index, (*address).into(), wire.far.mac).unwrap();
        }
        let sink = Sink::attach(&wire.near, Action::Pass).unwrap();
        await_links(wire);
        let far = &wire.far.namespace;
        let to = SocketAddr::from((wire.near.ipv4, PORT));
        let socket = |source: Ipv4Addr| {
            let socket = far.run(|| UdpSocket::bind((source, 0))).unwrap().unwrap();
            socket.connect(to).unwrap();
            socket
        };
        let shown =
            |socket: UdpSocket| (queue_of(&sink, || socket.send(b"look").map(drop)), socket);
        let floods = floods.into_iter().map(socket).map(shown).collect();
        let askers = askers.into_iter().map(|source| (shown(socket(source)).0, source)).collect();
        let connect = || {
            let mut made = None;
            let queue = queue_of(&sink, || {
                let stream = connect(far, (wire.near.ipv4, ECHO).into())?;
                made = Some(stream);
                Ok(())
            });
            (queue, made.expect("made before it was looked at"))
        };
        let connections = (0..CONNECTIONS).map(|_| connect()).collect();
        drop(sink);
        await_links(wire);
        (Self { floods, askers, connections }, echo)
    }

    /// Sends so many flood packets by turns from those flows whose queue `chosen` names, paced, and
    /// says how many went to each queue.
    pub(crate) fn flood(
        &self,
        chosen: impl Fn(u32) -> bool,
        packets: u64,
        per_second: u32,
    ) -> Vec<(u32, u64)> {
        let flows: Vec<_> = self.floods.iter().filter(|(queue, _)| chosen(*queue)).collect();
        assert!(!flows.is_empty(), "no flow comes to those queues");
        let mut sent = vec![0; 64];
        let (start, mut number) = (Instant::now(), 0_u32);
        for (queue, socket) in flows.iter().cycle().take(usize::try_from(packets).unwrap()) {
            let due = start + Duration::from_secs(1) * number / per_second;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            number += 1;
            // The queue of the link is full for a moment: not sent, not counted.
            if socket.send(&[MARK; 18]).is_ok() {
                sent[*queue as usize] += 1;
            }
        }
        (0..).zip(sent).filter(|(_, sent)| *sent > 0).collect()
    }
}

/// An address of 198.18.0.0/16 or 198.19.0.0/16, unlike others in many bits.
///
/// The card's hash is linear: each bit that differs turns the same bits of it over, whatever else
/// does. So with addresses in a row, which differ in six, one boot in 30 had no flow on some of four
/// queues and one in 16 on some of eight, for 3,000 keys that were tried; with these, none and one
/// in 400.
fn source(second: u8, number: u16) -> Ipv4Addr {
    let [third, fourth] = number.wrapping_mul(40_503).to_be_bytes();
    Ipv4Addr::new(198, second, third, fourth)
}

/// Exchanges messages on the connections, one after the other, until told to stop. Messages sent
/// and answered, by queue.
pub(crate) fn exchange(
    connections: &mut [(u32, TcpStream)],
    mut stop: impl FnMut() -> bool,
) -> Vec<(u32, u64, u64)> {
    let mut exchanged: Vec<_> = connections.iter().map(|(queue, _)| (*queue, 0, 0)).collect();
    let mut number = 0_u64;
    while !stop() {
        for ((_, stream), (_, sent, answered)) in connections.iter_mut().zip(&mut exchanged) {
            number += 1;
            *sent += 1;
            *answered += u64::from(echo(stream, number).is_ok());
        }
        thread::sleep(Duration::from_millis(20));
    }
    exchanged
}

/// The queue on which the packets come that `send` sends.
fn queue_of(sink: &Sink, send: impl FnOnce() -> io::Result<()>) -> u32 {
    let counts = || sink.arrived_by_queue().unwrap().map(|it| it.packets);
    let before = counts();
    send().unwrap();
    let came = || {
        let after = counts();
        (0..)
            .zip(before.iter().zip(after))
            .find(|(_, (before, after))| after > before)
            .map(|it| it.0)
    };
    let mut found = None;
    let is_there = soon(|| {
        found = came();
        found.is_some()
    });
    assert!(is_there, "a packet came nowhere");
    found.expect("just found")
}

/// A connection to the echo that has worked once.
fn connect(far: &Namespace, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = far.run(|| TcpStream::connect_timeout(&to, PATIENCE)).map_err(io::Error::other)?;
    let mut stream = stream?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    echo(&mut stream, 0)?;
    Ok(stream)
}

/// Sends one message and reads it back.
fn echo(stream: &mut TcpStream, number: u64) -> io::Result<()> {
    let message = [number.to_be_bytes(); 32].concat();
    stream.write_all(&message)?;
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer)?;
    if answer == message { Ok(()) } else { Err(io::Error::other("another answer")) }
}
