//! Long packets through the whole program, beside short ones: a packet of 9,000 octets is one packet
//! to every service, and whole wherever it goes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tidegate::lab::witness::tcp;
use tidegate::lab::{End, Wire};
use tidegate_runtime::metrics::snapshot::Snapshot;

use super::{PORT, ROOMY, Stage, WireOptions, config, ports, scrub, service, soon, steered, wire};
use crate::jumbo::data;
use crate::require;

const MTU: u32 = 9000;

/// Chunks of the smaller size, so that packets have many.
const SMALL: &str = "umem = { frames = 16384, chunk_octets = 2048 }\nring_entries = 8192\n";

/// Octets of data in the longest datagrams over IPv6, so that both protocols can have all.
const LONGEST: usize = MTU as usize - 48;

fn long_wire() -> Wire {
    wire(&WireOptions { mtu: MTU, ..WireOptions::default() })
}

fn socket(end: &End, at: IpAddr, port: u16) -> UdpSocket {
    let socket = end.namespace.run(|| UdpSocket::bind((at, port))).unwrap().unwrap();
    // A packet holds whole pages in it: the usual buffer has room for eight.
    setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn addresses(wire: &Wire) -> [(IpAddr, IpAddr); 2] {
    let (near, far) = (&wire.near, &wire.far);
    [(near.ipv4.into(), far.ipv4.into()), (near.ipv6.into(), far.ipv6.into())]
}

/// Lengths long and short in turn, so that each burst has both.
fn lengths() -> impl Iterator<Item = usize> {
    let long = (0..60).map(|step| LONGEST - step * 149);
    long.flat_map(|octets| [octets, octets % 100 + 1])
}

/// Sends every length to `to` and hands what comes to `heard`, which has to be the same.
fn send_all(sender: &UdpSocket, to: SocketAddr, heard: &UdpSocket) {
    for (number, octets) in lengths().enumerate() {
        sender.send_to(&data(number, octets), to).unwrap();
    }
    let mut octets = vec![0; 65_536];
    for (number, expected) in lengths().enumerate() {
        let (len, _) = heard.recv_from(&mut octets).unwrap_or_else(|error| {
            panic!("datagram {number} of {expected} octets to {to}: {error}");
        });
        assert!(octets[..len] == data(number, expected), "datagram {number}: {len} octets");
    }
}

fn obtained<'a>(snapshot: &'a Snapshot, what: &str) -> &'a str {
    &snapshot.shards[0].ports[0].obtained[what]
}

#[test]
fn the_echo_of_a_long_packet_is_as_long_and_says_the_same() {
    require_net!();
    let wire = long_wire();
    let echo = format!(
        "[[service]]\nname = \"echo\"\nkind = \"echo\"\nselectors = [\n\
         {{ destination = \"{}\", ports = 7 }}, {{ destination = \"{}\", ports = 7 }}]\n",
        wire.near.ipv4, wire.near.ipv6
    );
    let stage = Stage::start(&wire, &config(&wire, SMALL, &echo));
    assert_eq!(obtained(&stage.program.snapshot(), "packet_chunks_max"), "17");
    for (near, far) in addresses(&wire) {
        let socket = socket(&wire.far, far, 0);
        send_all(&socket, SocketAddr::from((near, 7)), &socket);
    }
    let outcome = stage.leave();
    let port = ports(&outcome.snapshot, "tide1");
    let packets = 2 * lengths().count() as u64;
    assert_eq!(
        (port.rx_frames, port.settled_transmit, port.tx_frames),
        (packets, packets, packets)
    );
    assert_eq!(port.rx_parts, port.tx_parts);
    assert!(port.rx_parts > packets, "{port:#?}");
    assert_eq!(service(&outcome.snapshot, "echo").stats.rx_octets, port.tx_octets);
}

#[test]
fn what_passes_the_scrubber_is_whole_and_in_order_in_the_kernel() {
    require_net!();
    let _alone = require::alone();
    let wire = long_wire();
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    for (near, far) in addresses(&wire) {
        let heard = socket(&wire.near, near, PORT);
        send_all(&socket(&wire.far, far, 0), SocketAddr::from((near, PORT)), &heard);
    }
    let outcome = stage.leave();
    let port = ports(&outcome.snapshot, "tide1");
    let packets = 2 * lengths().count() as u64;
    assert_eq!((port.rx_frames, port.settled_reinject), (packets, packets));
    assert_eq!((port.settled_drop, port.reinject_refused_packets), (0, 0));
}

#[test]
fn rules_judge_the_whole_of_a_long_packet() {
    require_net!();
    let wire = long_wire();
    let rules = format!(
        r#"
[[service]]
name = "shield"
kind = "scrub"
selectors = [{{ destination = "{}", protocol = "udp", ports = {PORT} }}]
[service.options]
rules = """
    length: drop when ip.len in {{ 6000-7000 }}
    early:  drop when payload[3:2] == ca:fe
    late:   drop when payload[8000:2] == be:ef
    border: drop when payload[1749:2] == f0:0d
"""
"#,
        wire.near.ipv4
    );
    let stage = Stage::start(&wire, &config(&wire, SMALL, &rules));
    let heard = socket(&wire.near, wire.near.ipv4.into(), PORT);
    let sender = socket(&wire.far, wire.far.ipv4.into(), 0);
    let with = |at: usize, octets: [u8; 2]| {
        let mut data = vec![0; LONGEST];
        data[at..at + 2].copy_from_slice(&octets);
        data
    };
    let datagrams = [
        (vec![0; 7000 - 28], "length"),
        (vec![0; 6000 - 28], "length"),
        (with(3, [0xca, 0xfe]), "early"),
        (with(8000, [0xbe, 0xef]), "late"),
        // The last octet of the first chunk, and the first of the second.
        (with(1749, [0xf0, 0x0d]), "border"),
        (vec![0; 7001 - 28], ""),
        (vec![0; 5999 - 28], ""),
        (with(4, [0xca, 0xfe]), ""),
        (with(8001, [0xbe, 0xef]), ""),
        (vec![0; 8001], ""),
    ];
    let to = SocketAddr::from((wire.near.ipv4, PORT));
    for (data, _) in &datagrams {
        sender.send_to(data, to).unwrap();
    }
    let mut octets = vec![0; 65_536];
    for (expected, _) in datagrams.iter().filter(|(_, rule)| rule.is_empty()) {
        let len = heard.recv(&mut octets).unwrap();
        assert!(octets[..len] == *expected, "{len} octets, {} expected", expected.len());
    }
    let outcome = stage.leave();
    let drops = &service(&outcome.snapshot, "shield").drops;
    let expected = datagrams.iter().filter(|(_, rule)| !rule.is_empty()).count() as u64;
    assert_eq!(drops["rule"], expected, "{drops:?}");
}

#[test]
fn a_connection_with_long_segments_passes_the_scrubber() {
    require_net!();
    let _alone = require::alone();
    const OCTETS: u64 = 4 << 20;
    let wire = long_wire();
    let rules = scrub(&wire).replace("protocol = \"udp\"", "protocol = \"tcp\"");
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &rules));
    for (near, _) in addresses(&wire) {
        let at = SocketAddr::from((near, PORT));
        let swallower = tcp::swallow(&wire.near.namespace, at).unwrap();
        let poured = tcp::pour(&wire.far.namespace, at, OCTETS).unwrap().wait().unwrap();
        assert!(soon(|| swallower.testimony().delivered_octets == OCTETS), "{poured:?}");
        swallower.stop().unwrap();
    }
    let outcome = stage.leave();
    let port = ports(&outcome.snapshot, "tide1");
    assert_eq!(port.settled_reinject, port.rx_frames);
    assert!(port.rx_parts > 2 * OCTETS / 8960, "segments were not long: {port:#?}");
}

#[test]
fn what_has_more_chunks_than_a_frame_may_have_is_lost_by_name() {
    require_net!();
    let wire = wire(&WireOptions { mtu: 65_535, ipv6: false, ..WireOptions::default() });
    let stage = Stage::start(&wire, &config(&wire, SMALL, &scrub(&wire)));
    let heard = socket(&wire.near, wire.near.ipv4.into(), PORT);
    let sender = socket(&wire.far, wire.far.ipv4.into(), 0);
    // 17 chunks of 1792 octets, Ethernet, IPv4 and UDP in front.
    let longest = 17 * 1792 - 42;
    for octets in [longest + 1, 65_507, longest] {
        sender.send_to(&data(1, octets), (wire.near.ipv4, PORT)).unwrap();
    }
    let mut octets = vec![0; 65_536];
    let len = heard.recv(&mut octets).unwrap();
    assert!(octets[..len] == data(1, longest), "{len} octets");
    let lost = || ports(&stage.program.snapshot(), "tide1").overlong_packets;
    assert!(soon(|| lost() == 2), "{}", lost());
    let outcome = stage.leave();
    assert_eq!(steered(&outcome.snapshot, "redirected"), 3);
}

#[test]
fn an_ordinary_mtu_asks_for_nothing_unless_it_is_told_to() {
    require_net!();
    let wire = wire(&WireOptions { ipv6: false, ..WireOptions::default() });
    for (said, expected) in [("auto", "1"), ("off", "1"), ("on", "17")] {
        let interface = format!("multi_buffer = \"{said}\"\n");
        let stage = Stage::start(&wire, &config(&wire, &interface, &scrub(&wire)));
        assert_eq!(obtained(&stage.program.snapshot(), "packet_chunks_max"), expected, "{said}");
        let server = super::server(&wire);
        super::all_answered(&super::ask(&wire, 50).wait().unwrap(), 0);
        drop(server);
        stage.leave();
    }
}
