//! What goes through the scrubber is to the rest of the kernel what it was before: a capture sees it
//! once, connections are tracked, and bulk data comes whole, both ways, without a segment sent twice.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::witness::tcp;
use tidegate::lab::{End, Namespace, Wire};

use super::reinject::{nft, scrub_tcp, send_numbers};
use super::{PORT, ROOMY, Stage, WireOptions, config, lost, ports, scrub, server, soon, wire};
use crate::require;

fn ipv4_wire() -> Wire {
    wire(&WireOptions { ipv6: false, ..WireOptions::default() })
}

#[test]
fn a_capture_on_the_interface_sees_every_packet_once() {
    require_net!();
    if !require::program("tcpdump") {
        return;
    }
    let _alone = require::alone();
    const COUNT: u32 = 2_000;
    let wire = ipv4_wire();
    let server = server(&wire);
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub(&wire)));
    let file = std::env::temp_dir().join(format!("tidecapture-{}.pcap", std::process::id()));
    let mut command = Command::new("tcpdump");
    command.args(["-i", "tide1", "-U", "-Z", "root", "--immediate-mode", "-B", "65536", "-w"]);
    command.arg(&file).args(["udp and src port 4000"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = wire.near.namespace.spawn(&mut command).unwrap();
    // Its first line says that it listens; the file is there a moment before.
    let mut first = [0; 1];
    child.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert!(soon(|| fs::metadata(&file).is_ok_and(|it| it.len() >= 24)));
    // In pieces that go as live frames and, the last of each, by the TAP device.
    send_numbers(&wire, wire.far.ipv4.into(), wire.near.ipv4.into(), COUNT);
    assert!(soon(|| server.testimony().wrong == u64::from(COUNT)), "{:?}", server.testimony());
    thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    child.wait().unwrap();
    let capture = fs::read(&file).unwrap();
    let _ = fs::remove_file(&file);
    let mut numbers = Vec::new();
    // pcap: a header of 24 octets; before each packet 16, the third word of them its length.
    let mut rest = &capture[24..];
    while let Some((head, more)) = rest.split_first_chunk::<16>() {
        let octets = u32::from_ne_bytes(head[8..12].try_into().unwrap()) as usize;
        numbers.push(u32::from_be_bytes(more[42..46].try_into().unwrap()));
        rest = &more[octets..];
    }
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    stage.leave();
}

const STATES: &str = "table inet states {
    counter fresh {}
    counter known {}
    counter wrong {}
    chain before {
        type filter hook input priority 0;
        iifname \"tide1\" tcp dport 5300 ct state new counter name fresh
        iifname \"tide1\" tcp dport 5300 ct state established counter name known
        iifname \"tide1\" tcp dport 5300 ct state invalid counter name wrong
    }
}";

/// What the kernel's tracking said of the packets of `connections` short talks: packets that began
/// a connection, that belonged to one, that made no sense.
fn tracked(wire: &Wire, connections: u64) -> Option<[u64; 3]> {
    let near = &wire.near.namespace;
    nft(near, STATES)?;
    let at = SocketAddr::from((wire.near.ipv4, PORT));
    let listener = tcp::echo(near, at).unwrap();
    for _ in 0..connections {
        let patience = Duration::from_secs(5);
        let talk = tcp::Exchange { messages: 5, octets: 3_000, per_second: 0, patience };
        let talked = tcp::exchange(&wire.far.namespace, at, talk).unwrap().wait().unwrap();
        assert_eq!((talked.sent, talked.delivered), (5, 5));
    }
    listener.stop().unwrap();
    let counted = ["fresh", "known", "wrong"].map(|name| {
        let text = nft(near, &format!("list counter inet states {name}")).unwrap();
        let (_, rest) = text.split_once("packets ").unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    });
    nft(near, "delete table inet states").unwrap();
    Some(counted)
}

#[test]
fn the_kernel_tracks_connections_as_without_the_scrubber() {
    require_net!();
    let _alone = require::alone();
    const CONNECTIONS: u64 = 10;
    let wire = ipv4_wire();
    let Some([fresh, known, wrong]) = tracked(&wire, CONNECTIONS) else {
        return require::without("nft tracks no connections");
    };
    assert_eq!((fresh, wrong), (CONNECTIONS, 0), "without it");
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub_tcp(&wire)));
    let [through, with, senseless] = tracked(&wire, CONNECTIONS).unwrap();
    assert_eq!((through, senseless), (fresh, 0));
    // How TCP cuts and acknowledges is a matter of the moment, but not by so much.
    assert!(known > 5 * CONNECTIONS && with > known / 3 && with < known * 3, "{known} {with}");
    let outcome = stage.leave();
    assert_eq!(ports(&outcome.snapshot, "tide1").settled_reinject, through + with);
}

/// What the namespace's TCP counts, zeros left out, as nstat(8) shows it.
fn tcp_counters(namespace: &Namespace) -> BTreeMap<String, u64> {
    let read = || {
        ["snmp", "netstat"]
            .map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap())
    };
    let text = namespace.run(read).unwrap().concat();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("Tcp")).collect();
    let of_pair = |pair: &[&str]| -> Vec<(String, u64)> {
        let pairs = pair[0].split_whitespace().zip(pair[1].split_whitespace());
        // The limit of connections may be -1.
        pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    };
    lines.chunks(2).flat_map(of_pair).filter(|(_, value)| *value > 0).collect()
}

/// Octet `at` of the row that each side sends.
fn octet(at: u64, side: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(side) >> 56) as u8
}

/// Sends the row until `end`, then closes its side. Returns how long it was.
fn pour(mut stream: &TcpStream, side: u64, end: Instant) -> u64 {
    let mut at = 0;
    let mut piece = vec![0; 16 << 10];
    while Instant::now() < end {
        for (place, number) in piece.iter_mut().zip(at..) {
            *place = octet(number, side);
        }
        stream.write_all(&piece).unwrap();
        at += piece.len() as u64;
    }
    stream.shutdown(Shutdown::Write).unwrap();
    at
}

/// Reads the row to its end, every octet where it should be. Returns how long it was.
fn swallow(mut stream: &TcpStream, side: u64) -> u64 {
    let mut at = 0;
    let mut piece = vec![0; 64 << 10];
    loop {
        let len = stream.read(&mut piece).unwrap();
        if len == 0 {
            return at;
        }
        for (place, number) in piece[..len].iter().zip(at..) {
            assert_eq!(*place, octet(number, side), "octet {number} of side {side}");
        }
        at += len as u64;
    }
}

/// Not more under way than the wire's own ring of 256 packets holds: what it drops is not ours.
fn modest(stream: &TcpStream) {
    setsockopt(stream, sockopt::SndBuf, &(64 << 10)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
}

/// `BULK_SECONDS=300` for minutes.
#[test]
fn bulk_data_of_a_connection_comes_whole_both_ways_at_once_and_nothing_is_sent_twice() {
    require_net!();
    let _alone = require::alone();
    let seconds = std::env::var("BULK_SECONDS").ok().and_then(|it| it.parse().ok()).unwrap_or(10);
    let wire = ipv4_wire();
    let stage = Stage::start(&wire, &config(&wire, ROOMY, &scrub_tcp(&wire)));
    let (near, far) = (&wire.near.namespace, &wire.far.namespace);
    // The far end receives in one queue too. Otherwise a veth receives on whatever processor sends,
    // and what two of them send of one connection is received in either order.
    let _receiver = Sink::attach(&wire.far, Action::Pass).unwrap();
    for namespace in [near, far] {
        // No segment is sent twice to see whether it was lost.
        namespace.set("net/ipv4/tcp_early_retrans", "0").unwrap();
    }
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let listener = near.run(|| TcpListener::bind(any).unwrap()).unwrap();
    let connect = || TcpStream::connect((wire.near.ipv4, PORT)).unwrap();
    let client = far.run(connect).unwrap();
    let (server, _) = listener.accept().unwrap();
    [&client, &server].into_iter().for_each(modest);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (there, back) = thread::scope(|scope| {
        let up = scope.spawn(|| pour(&client, 0, end));
        let down = scope.spawn(|| pour(&server, 1, end));
        let (heard, echoed) =
            (scope.spawn(|| swallow(&server, 0)), scope.spawn(|| swallow(&client, 1)));
        let there = (up.join().unwrap(), heard.join().unwrap());
        let back = (down.join().unwrap(), echoed.join().unwrap());
        (there, back)
    });
    assert_eq!((there.0, back.0), (there.1, back.1), "sent and received");
    assert!(there.0 > seconds << 20 && back.0 > seconds << 20, "{there:?} {back:?}");
    let of_link = |end: &End| end.link().unwrap().counters;
    let dropped = of_link(&wire.near).tx_dropped;
    let outcome = stage.leave();
    let named = lost(&wire, &outcome.snapshot) + dropped;
    for namespace in [near, far] {
        let counters = tcp_counters(namespace);
        let count = |name: &str| counters.get(name).copied().unwrap_or(0);
        assert_eq!((count("InCsumErrors"), count("InErrs")), (0, 0), "{counters:#?}");
        assert!(named > 0 || count("RetransSegs") == 0, "{counters:#?}");
    }
    let resent = [near, far].map(|end| tcp_counters(end).get("RetransSegs").copied().unwrap_or(0));
    println!(
        "{seconds} s: octets {there:?} and {back:?}, sent again {resent:?}, lost by name {named}"
    );
    let port = ports(&outcome.snapshot, "tide1");
    assert_eq!((port.settled_drop, port.reinject_refused_packets), (0, 0));
    assert!(port.settled_reinject > there.0 / 1460);
}
