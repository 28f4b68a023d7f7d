//! Protected destinations: counted in peace, engaged, drained; what is cached, what is numbered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use tidegate::lab::Namespace;
use tidegate_dataplane::steer::{
    Cached, Epoch, Error, Flow, Fragments, Outcome, PeaceCounts, Prefix, Program, Promotion,
    Protection, Selector, Stalled, State, Tidings, Whose,
};
use tidegate_dataplane::sys::bpf;
use tidegate_dataplane::wire::checksum;
use tidegate_runtime::clock::monotonic_ns as now_ns;

use super::packets::{
    self, Ipv4, TCP, UDP, VICTIM, extension, fragment, ipv6, ports, tagged, udp, udp6,
};
use super::{Bench, to};

use Outcome::{
    DropStalled, DropVerdict, PassDrained, PassFragment, PassNoSelector, PassNoSocket, PassPeace,
    PassSocket, PassStalled, PassTruncated, PassVerdict, Redirected,
};

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn protecting(state: State) -> Protection {
    Protection { state, ..Protection::default() }
}

fn guard(destination: &str, state: State) -> Selector {
    Selector { protection: Some(protecting(state)), ..to(destination) }
}

/// Both families' victim, in this state.
pub(super) fn guards(state: State) -> [Selector; 2] {
    [guard("198.18.0.80", state), guard("2001:db8::50", state)]
}

/// An engaged program whose shard lives, and will for as long as a test takes on a busy machine.
fn engaged() -> (Bench, Tidings) {
    let bench = Bench::new(&guards(State::Engaged));
    let mut tidings = bench.program.tidings(0).unwrap();
    tidings.beat(now_ns() + 600_000_000_000);
    (bench, tidings)
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut header = ports(80);
    header[13] = flags;
    header
}

/// The IPv4 packet with another source.
pub(super) fn from(packet: &[u8], source: [u8; 4]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[26..30].copy_from_slice(&source);
    packet
}

/// The untagged IPv4 packet without options with another source port.
fn from_port(packet: &[u8], port: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[34..36].copy_from_slice(&port.to_be_bytes());
    packet
}

fn promotion(bench: &Bench, whose: Whose, verdict: Cached) -> Promotion {
    let epoch = bench.program.cache().epoch();
    Promotion { scope: 0, whose, verdict, rule: 7, epoch, until_ns: u64::MAX }
}

pub(super) fn promote(bench: &Bench, whose: Whose, verdict: Cached) {
    bench.program.cache().promote(&promotion(bench, whose, verdict)).unwrap();
}

pub(super) fn source(address: &str) -> Whose {
    Whose::Source(address.parse().unwrap())
}

pub(super) fn prefix(text: &str) -> Whose {
    Whose::Prefix(text.parse::<Prefix>().unwrap())
}

pub(super) fn flow(source: &str, destination: &str, protocol: u8) -> Whose {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Whose::Flow(Flow { source: address(source), destination: address(destination), protocol })
}

/// Of every packet that these tests send to UDP port 53.
const CLIENT: &str = "198.19.7.7";
const CLIENT6: &str = "2001:db8:7::7";

#[test]
fn peace_counts_every_shape_of_packet_and_passes_it() {
    require_net!();
    let mut take = guards(State::Peace);
    take[0].destination_ports = Some(0..=65535);
    take[0].fragments = Fragments::Take;
    let mut bench = Bench::new(&take);
    let first = Ipv4 { fragment: 1 << 13, ..Ipv4::new(UDP) }.packet(&ports(53));
    let later = Ipv4 { fragment: 3, ..Ipv4::new(UDP) }.packet(&[1; 30]);
    let options = Ipv4 { options: vec![1; 40], ..Ipv4::new(UDP) }.packet(&ports(53));
    let shapes4 = [
        udp(53),
        tagged(0x8100, &udp(53)),
        tagged(0x88a8, &tagged(0x8100, &udp(53))),
        options,
        first,
        later,
    ];
    let shapes6 = [
        udp6(53),
        tagged(0x8100, &udp6(53)),
        ipv6(0, &extension(UDP, 3, &ports(53))),
        ipv6(44, &fragment(UDP, 0, true, &ports(53))),
        ipv6(44, &fragment(UDP, 5, false, &[1; 30])),
        ipv6(1, &[8; 8]),
    ];
    let mut expected = [PeaceCounts::default(); 2];
    for (packets, expected) in [&shapes4, &shapes6].into_iter().zip(&mut expected) {
        for packet in packets {
            assert_eq!(bench.run(packet).outcome, PassPeace, "{packet:02x?}");
            expected.packets += 1;
            expected.octets += packet.len() as u64;
        }
    }
    let counts = bench.program.selector_counts().unwrap();
    // One flow of whole datagrams, one of fragments: a later one begins none; and the ping.
    assert_eq!(counts[0], PeaceCounts { new_flows: 2, ..expected[0] });
    assert_eq!(counts[1], PeaceCounts { new_flows: 3, ..expected[1] });
    let other = from(&udp(53), [198, 19, 7, 8]);
    for _ in 0..3 {
        bench.run(&other);
    }
    assert_eq!(bench.program.selector_counts().unwrap()[0].new_flows, 3);
}

#[test]
fn what_is_not_protected_or_cannot_be_read_is_not_counted() {
    require_net!();
    let mut guard = guard("198.18.0.80", State::Peace);
    guard.destination_ports = Some(53..=53);
    let mut bench = Bench::new(&[guard, to("198.18.0.80")]);
    let mut elsewhere = udp(53);
    elsewhere[33] = 81;
    assert_eq!(bench.run(&elsewhere).outcome, PassNoSelector);
    assert_eq!(bench.run(&udp(54)).metadata.unwrap().selector, 1, "always leaves, as before");
    assert!(!bench.run(&udp(54)).metadata.unwrap().numbered);
    assert_eq!(bench.run(&udp(53)[..30]).outcome, PassTruncated);
    let counts = bench.program.selector_counts().unwrap();
    assert_eq!(counts, [PeaceCounts::default(); 2]);
    // What no selector has the destination of is told so, whatever else is wrong with it.
    let mut later = Ipv4 { fragment: 3, ..Ipv4::new(UDP) }.packet(&[1; 30]);
    assert_eq!(bench.run(&later).outcome, Redirected);
    later[33] = 81;
    assert_eq!(bench.run(&later).outcome, PassNoSelector);
    let guard = Selector { destination_ports: Some(9..=9), ..to("198.18.0.81") };
    bench.program.set_selectors(&[guard]).unwrap();
    assert_eq!(bench.run(&later).outcome, PassFragment);
}

#[test]
fn requests_without_an_answer_are_those_that_no_ack_follows() {
    require_net!();
    let mut bench = Bench::new(&guards(State::Peace));
    let packet = |port: u16, flags| from_port(&Ipv4::new(TCP).packet(&tcp(flags)), port);
    let mut run = |port, flags| {
        bench.run(&packet(port, flags));
        let counts = bench.program.selector_counts().unwrap()[0];
        (counts.syn, counts.new_flows, counts.unanswered_syn)
    };
    assert_eq!(run(1000, SYN), (1, 1, 1));
    assert_eq!(run(1000, SYN), (2, 1, 1), "the same request once more");
    assert_eq!(run(1001, SYN), (3, 2, 2));
    assert_eq!(run(1000, RST), (3, 2, 2), "no answer");
    assert_eq!(run(1000, ACK), (3, 2, 1));
    assert_eq!(run(1000, ACK), (3, 2, 1), "once is enough");
    assert_eq!(run(1002, ACK), (3, 3, 1), "of nobody's request");
    assert_eq!(run(1001, SYN | ACK), (3, 3, 1), "is not what a client sends");
    assert_eq!(run(1001, ACK), (3, 3, 0));
    assert_eq!(run(1001, SYN), (4, 3, 1), "the port is used again");
}

#[test]
fn estimates_of_many_flows_are_near() {
    require_net!();
    let mut bench = Bench::new(&guards(State::Peace));
    let flows = 4_000_u16;
    let packet = |flow: u16, flags| {
        let packet = from_port(&Ipv4::new(TCP).packet(&tcp(flags)), flow);
        from(&packet, [198, 19, 1, flow.to_le_bytes()[0]])
    };
    for flow in 0..flows {
        bench.run(&packet(flow, SYN));
    }
    for flow in 0..flows / 2 {
        bench.run(&packet(flow, ACK));
    }
    let counts = bench.program.selector_counts().unwrap()[0];
    let (flows, asked) = (u64::from(flows), u64::from(flows / 2));
    assert_eq!(counts.syn, flows);
    // By the bounds of protect.bpf.h one in 8,192 is missed, and next to none counted twice.
    assert!(counts.new_flows.abs_diff(flows) <= 6, "{counts:?}");
    assert!(counts.unanswered_syn.abs_diff(asked) <= 6, "{counts:?}");
}

#[test]
fn states_change_what_leaves_and_not_what_is_counted() {
    require_net!();
    let mut bench = Bench::new(&[guard("198.18.0.80", State::Peace), to("::/0")]);
    bench.program.tidings(0).unwrap().beat(now_ns() + 600_000_000_000);
    for (state, outcome) in [
        (State::Peace, PassPeace),
        (State::Engaged, Redirected),
        (State::Peace, PassPeace),
        (State::Engaged, Redirected),
    ] {
        bench.program.set_state(0, state).unwrap();
        assert_eq!(bench.run(&udp(53)).outcome, outcome, "{state:?}");
        assert_eq!(bench.program.states(), [Some(state), None]);
    }
    assert_eq!(bench.program.selector_counts().unwrap()[0].packets, 4);
    for selector in [1, 2, 64] {
        let refusal = bench.program.set_state(selector, State::Engaged).unwrap_err();
        assert!(matches!(refusal, Error::NotProtecting { .. }), "{refusal:?}");
    }
    // A new list has the states that it says, from its first packet on.
    bench.program.set_selectors(&guards(State::Peace)).unwrap();
    assert_eq!(bench.run(&udp(53)).outcome, PassPeace);
}

#[test]
fn a_shard_that_stands_still_is_passed_by_or_nothing_is_let_in() {
    require_net!();
    let closed = Protection { stalled: Stalled::Closed, ..protecting(State::Engaged) };
    let open = guard("198.18.0.80", State::Engaged);
    let mut bench = Bench::new(&[open, Selector { protection: Some(closed), ..to("::/0") }]);
    let mut tidings = bench.program.tidings(0).unwrap();
    let ms = 1_000_000;
    // No shard ever was there; one that was, and is late; one whose clock is ahead of the tick.
    for (age_ns, fresh) in [
        (now_ns(), false),
        (91 * ms, false),
        (10 * ms, true),
        (0, true),
        (101 * ms, false),
        (0, true),
    ] {
        tidings.beat(now_ns() - age_ns);
        let (v4, v6) = (bench.run(&udp(53)).outcome, bench.run(&udp6(53)).outcome);
        let expected = if fresh { (Redirected, Redirected) } else { (PassStalled, DropStalled) };
        assert_eq!((v4, v6), expected, "silent for {age_ns} ns");
    }
    // What is decided is decided, where nothing of the flow is out.
    tidings.beat(1);
    assert_eq!(bench.run(&udp6(53)).outcome, DropStalled);
    tidings.settle(tidings.numbered());
    promote(&bench, source(CLIENT), Cached::Drop);
    promote(&bench, source(CLIENT6), Cached::Pass);
    assert_eq!(bench.run(&udp(53)).outcome, DropVerdict);
    assert_eq!(bench.run(&udp6(53)).outcome, PassVerdict);
    // And without a socket there is no shard.
    bench.program.clear_socket(0).unwrap();
    bench.program.cache().flush();
    assert_eq!(bench.run(&udp(53)).outcome, PassNoSocket);
    assert_eq!(bench.run(&udp6(53)).outcome, PassNoSocket);
    // One by a verdict; three and one more for the shard. In all: the six rounds, and these.
    let counts = bench.program.selector_counts().unwrap();
    assert_eq!([counts[0].dropped.packets, counts[1].dropped.packets], [1, 4]);
    assert_eq!([counts[0].packets, counts[1].packets], [8, 9]);
}

#[test]
fn numbers_go_up_by_queue_and_travel_with_the_packets() {
    require_net!();
    let (mut bench, tidings) = engaged();
    for number in 1..=5 {
        let metadata = bench.run(&if number % 2 == 0 { udp(53) } else { udp6(53) }).metadata;
        let metadata = metadata.unwrap();
        assert!(metadata.numbered && !metadata.ordered);
        assert_eq!(bench.number, number);
        assert_eq!(tidings.numbered(), number);
        assert_eq!(u64::from(metadata.selector), number % 2);
    }
    bench.program.reload().unwrap();
    bench.run(&udp(53));
    assert_eq!(bench.number, 6, "a fresh instance goes on");
}

#[test]
fn a_flow_that_may_pass_follows_those_of_its_packets_that_are_out() {
    require_net!();
    let (mut bench, mut tidings) = engaged();
    assert_eq!(bench.run(&udp(53)).outcome, Redirected);
    promote(&bench, source(CLIENT), Cached::Pass);
    // Number 1 is out: 2 and 3 follow it.
    for number in [2, 3] {
        assert!(bench.run(&udp(53)).metadata.unwrap().ordered, "{number}");
        assert_eq!(bench.number, number);
        tidings.settle(number - 1);
    }
    assert_eq!(bench.run(&from_port(&udp(53), 9)).outcome, PassVerdict, "another flow");
    tidings.settle(3);
    assert_eq!(bench.run(&udp(53)).outcome, PassVerdict);
    // The same where a verdict ends: what passes now may be followed at once.
    bench.program.cache().flush();
    assert!(!bench.run(&udp(53)).metadata.unwrap().ordered);
    assert_eq!(bench.number, 4);
    // In a drain too.
    bench.program.set_state(0, State::Draining).unwrap();
    assert!(bench.run(&udp(53)).metadata.unwrap().ordered);
    tidings.settle(4);
    assert!(bench.run(&udp(53)).metadata.unwrap().ordered);
    tidings.settle(6);
    assert_eq!(bench.run(&udp(53)).outcome, PassDrained);
    // And a shard that stands still holds nobody.
    bench.program.set_state(0, State::Engaged).unwrap();
    bench.run(&udp(53));
    promote(&bench, source(CLIENT), Cached::Pass);
    tidings.beat(1);
    assert_eq!(bench.run(&udp(53)).outcome, PassStalled);
    tidings.settle(tidings.numbered());
    assert_eq!(bench.run(&udp(53)).outcome, PassVerdict);
}

#[test]
fn fragments_follow_one_another_whatever_their_ports() {
    require_net!();
    let (mut bench, mut tidings) = engaged();
    let first = Ipv4 { fragment: 1 << 13, ..Ipv4::new(UDP) }.packet(&ports(53));
    let later = Ipv4 { fragment: 3, ..Ipv4::new(UDP) }.packet(&[1; 30]);
    assert_eq!(bench.run(&first).outcome, Redirected);
    bench.program.set_state(0, State::Draining).unwrap();
    assert!(bench.run(&later).metadata.unwrap().ordered);
    tidings.settle(2);
    assert_eq!(bench.run(&later).outcome, PassDrained);
    assert_eq!(bench.run(&first).outcome, PassDrained);
}

#[test]
fn draining_ends_when_nothing_is_out() {
    require_net!();
    let (mut bench, mut tidings) = engaged();
    bench.run(&udp(53));
    bench.run(&udp6(53));
    assert!(bench.program.end_draining().unwrap().is_empty(), "nothing drains");
    bench.program.set_state(0, State::Draining).unwrap();
    for _ in 0..3 {
        assert!(bench.program.end_draining().unwrap().is_empty(), "1 and 2 are out");
    }
    bench.run(&udp(53));
    tidings.settle(2);
    assert!(bench.program.end_draining().unwrap().is_empty(), "3 was redirected since");
    assert!(bench.program.end_draining().unwrap().is_empty(), "and is out");
    tidings.settle(3);
    // The other selector goes on, and does not keep this one.
    bench.run(&udp6(53));
    assert_eq!(bench.program.end_draining().unwrap(), [0]);
    assert_eq!(bench.program.states(), [Some(State::Peace), Some(State::Engaged)]);
    assert_eq!(bench.run(&udp(53)).outcome, PassPeace);
}

#[test]
fn the_most_special_verdict_decides_and_is_counted_by_its_rule() {
    require_net!();
    let (mut bench, _tidings) = engaged();
    let met = |bench: &mut Bench| (bench.run(&udp(53)).outcome, bench.run(&udp6(53)).outcome);
    let nothing = (Redirected, Redirected);
    assert_eq!(met(&mut bench), nothing);
    let mut bench = engaged().0;
    promote(&bench, prefix("198.19.0.0/16"), Cached::Drop);
    promote(&bench, prefix("2001:db8:7::/48"), Cached::Drop);
    assert_eq!(met(&mut bench), (DropVerdict, DropVerdict));
    promote(&bench, prefix("198.19.7.0/24"), Cached::Pass);
    assert_eq!(met(&mut bench), (PassVerdict, DropVerdict), "the longest prefix");
    promote(&bench, source(CLIENT), Cached::Drop);
    promote(&bench, source(CLIENT6), Cached::Pass);
    assert_eq!(met(&mut bench), (DropVerdict, PassVerdict));
    let client = flow("198.19.7.7:40000", "198.18.0.80:53", UDP);
    let client6 = flow("[2001:db8:7::7]:40000", "[2001:db8::50]:53", UDP);
    promote(&bench, client, Cached::Pass);
    bench
        .program
        .cache()
        .promote(&Promotion { rule: 9, ..promotion(&bench, client6, Cached::Drop) })
        .unwrap();
    assert_eq!(met(&mut bench), (PassVerdict, DropVerdict));
    assert_eq!(bench.run(&udp(54)).outcome, DropVerdict, "another flow of the source");
    let octets = (udp(53).len() * 5 + udp6(53).len() * 3) as u64;
    let hits = bench.program.cache().hits().unwrap();
    assert_eq!(hits.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), [7, 9]);
    assert_eq!((hits[0].1.packets, hits[0].1.octets), (8, octets));
    assert_eq!((hits[1].1.packets, hits[1].1.octets), (1, udp6(53).len() as u64));

    // Forgotten one by one, the next one decides.
    let forget = |whose| bench.program.cache().forget(0, &whose).unwrap();
    assert!(forget(client) && forget(client6));
    assert!(!forget(client), "it is gone");
    assert!(forget(source(CLIENT)) && forget(prefix("2001:db8:7::/48")));
    assert!(!forget(prefix("2001:db8:7::/49")));
    assert_eq!(met(&mut bench), (PassVerdict, PassVerdict));
}

#[test]
fn verdicts_hold_for_their_scope_time_and_epoch() {
    require_net!();
    let (mut bench, _tidings) = engaged();
    let verdict = promotion(&bench, source(CLIENT), Cached::Drop);
    let met = |bench: &mut Bench, promotion: Promotion| {
        bench.program.cache().promote(&promotion).unwrap();
        bench.run(&udp(53)).outcome
    };
    assert_eq!(met(&mut bench, Promotion { scope: 1, ..verdict }), Redirected);
    assert_eq!(
        met(&mut bench, Promotion { until_ns: now_ns() - 20_000_000, ..verdict }),
        Redirected
    );
    let soon = Promotion { until_ns: now_ns() + 60_000_000_000, ..verdict };
    assert_eq!(met(&mut bench, soon), DropVerdict);
    // All at once, and what was decided before comes too late.
    let next = bench.program.cache().flush();
    assert_eq!(bench.run(&udp(53)).outcome, Redirected);
    assert_eq!(met(&mut bench, verdict), Redirected);
    assert_eq!(met(&mut bench, Promotion { epoch: next, ..verdict }), DropVerdict);
    // By rule.
    let other = bench.program.cache().flush_rule(8).unwrap();
    assert_eq!(bench.run(&udp(53)).outcome, DropVerdict);
    let own: Epoch = bench.program.cache().flush_rule(7).unwrap();
    assert!(own > other && bench.program.cache().epoch() == own);
    assert_eq!(bench.run(&udp(53)).outcome, Redirected);
    assert_eq!(met(&mut bench, Promotion { epoch: own, ..verdict }), DropVerdict);
    assert_eq!(met(&mut bench, Promotion { epoch: other, rule: 8, ..verdict }), DropVerdict);

    let refusal = bench.program.cache().promote(&Promotion { rule: 16_384, ..verdict });
    assert!(matches!(refusal, Err(Error::NoRule { rule: 16_384 })), "{refusal:?}");
    let mixed = flow("198.19.7.7:1", "[2001:db8::50]:53", UDP);
    let refusal = bench.program.cache().promote(&Promotion { whose: mixed, ..verdict });
    assert!(matches!(refusal, Err(Error::FlowFamilies { .. })), "{refusal:?}");
}

#[test]
fn a_full_cache_gives_up_the_oldest_and_a_full_table_of_prefixes_refuses() {
    require_net!();
    let (mut bench, _tidings) = engaged();
    let host = |host: u16| IpAddr::from([198, 19, host.to_be_bytes()[0], host.to_be_bytes()[1]]);
    for number in 0..2_000 {
        promote(&bench, Whose::Source(host(number)), Cached::Drop);
    }
    let dropped = |bench: &mut Bench, number: u16| {
        let IpAddr::V4(address) = host(number) else { unreachable!() };
        bench.run(&from(&udp(53), address.octets())).outcome == DropVerdict
    };
    assert!(dropped(&mut bench, 1_999), "the last one is there");
    assert!(!dropped(&mut bench, 0), "the first one is not");
    let there = (0..2_000).filter(|number| dropped(&mut bench, *number)).count();
    assert!((1..=64).contains(&there), "{there}");

    for number in 0..64 {
        promote(&bench, prefix(&format!("198.18.{number}.0/24")), Cached::Drop);
    }
    let refusal =
        bench.program.cache().promote(&promotion(&bench, prefix("198.18.64.0/24"), Cached::Drop));
    assert!(matches!(refusal, Err(Error::CacheFull)), "{refusal:?}");

    // Room is made of those whose time is over, and of all by a flush.
    let over = prefix("198.18.7.0/24");
    let brief = Promotion { until_ns: 1, ..promotion(&bench, over, Cached::Drop) };
    bench.program.cache().promote(&brief).unwrap();
    promote(&bench, prefix("198.18.64.0/24"), Cached::Drop);
    assert!(!bench.program.cache().forget(0, &over).unwrap(), "it made room");
    bench.program.cache().flush();
    for number in 65..129 {
        promote(&bench, prefix(&format!("198.18.{number}.0/24")), Cached::Drop);
    }
}

/// In a namespace of its own, with real sockets on its loopback.
#[test]
fn connections_that_the_kernel_has_pass_untouched() {
    require_net!();
    let namespace = Namespace::new().unwrap();
    let inside = || {
        let mut netlink = namespace.netlink().unwrap();
        for address in ["198.18.0.80", "198.19.7.7", "2001:db8::50", "2001:db8:7::7"] {
            let address: IpAddr = address.parse().unwrap();
            let bits = if address.is_ipv4() { 32 } else { 128 };
            netlink.add_address(1, address, bits).unwrap();
        }
        let (mut bench, mut tidings) = engaged();
        for (victim, client, ipv4) in
            [("198.18.0.80", CLIENT, true), ("2001:db8::50", CLIENT6, false)]
        {
            let at = |host: &str, port: u16| SocketAddr::new(host.parse().unwrap(), port);
            let packet = |protocol, from: u16, to: u16, flags: u8| {
                let mut header = ports(to);
                header[..2].copy_from_slice(&from.to_be_bytes());
                if protocol == TCP {
                    header[13] = flags;
                }
                if ipv4 { Ipv4::new(protocol).packet(&header) } else { ipv6(protocol, &header) }
            };
            let mut outcome = |packet: &[u8]| {
                tidings.settle(tidings.numbered());
                bench.run(packet).outcome
            };
            // UDP: a server's open socket is no connection, a connected one is.
            let open = UdpSocket::bind(at(victim, 53)).unwrap();
            assert_eq!(outcome(&packet(UDP, 4000, 53, 0)), Redirected);
            let connected = UdpSocket::bind(at(victim, 54)).unwrap();
            connected.connect(at(client, 4000)).unwrap();
            assert_eq!(outcome(&packet(UDP, 4000, 54, 0)), PassSocket);
            assert_eq!(outcome(&packet(UDP, 4001, 54, 0)), Redirected, "another source port");
            assert_eq!(outcome(&packet(TCP, 4000, 54, ACK)), Redirected, "another protocol");
            drop((open, connected));
            assert_eq!(outcome(&packet(UDP, 4000, 54, 0)), Redirected, "closed");
            // TCP: a listener is no connection.
            let listener = TcpListener::bind(at(victim, 80)).unwrap();
            assert_eq!(outcome(&packet(TCP, 4000, 80, SYN)), Redirected);
            let there = TcpStream::connect(at(victim, 80)).unwrap();
            let (here, peer) = listener.accept().unwrap();
            let port = peer.port();
            // The loopback's addresses are the victim's own: the client has that one too.
            let own = |packet: Vec<u8>| {
                let mut packet = packet;
                let (source, destination) = if ipv4 { (26..30, 30) } else { (22..38, 38) };
                packet.copy_within(destination..destination + source.len(), source.start);
                packet
            };
            assert_eq!(outcome(&own(packet(TCP, port, 80, ACK))), PassSocket);
            assert_eq!(outcome(&own(packet(TCP, port ^ 1, 80, ACK))), Redirected);
            // Neither in peace nor in a fragment is a socket asked for.
            if ipv4 {
                let mut header = ports(80);
                header[..2].copy_from_slice(&port.to_be_bytes());
                let first = Ipv4 { fragment: 1 << 13, ..Ipv4::new(TCP) }.packet(&header);
                assert_eq!(outcome(&own(first)), Redirected);
            }
            drop((there, here, listener));
        }
        assert_eq!(bench.program.counters().unwrap().unaccounted(), 0);
    };
    namespace.run(inside).unwrap();
}

/// The client is beyond a route, so that the SYN-ACK reaches nobody who would refuse it.
#[test]
fn a_handshake_in_flight_comes_to_its_end() {
    require_net!();
    let namespace = Namespace::new().unwrap();
    let inside = || {
        let mut netlink = namespace.netlink().unwrap();
        netlink.add_address(1, VICTIM.into(), 32).unwrap();
        netlink.add_route(packets::CLIENT.into(), 32, None, 1).unwrap();
        let (mut bench, mut tidings) = engaged();
        let _listener = TcpListener::bind((Ipv4Addr::from(VICTIM), 80)).unwrap();
        let packet = |flags: u8| {
            let mut segment = tcp(flags);
            segment[12] = 0x50;
            let length = u16::try_from(segment.len()).unwrap();
            let sum = checksum::pseudo_v4(packets::CLIENT.into(), VICTIM.into(), TCP, length);
            let sum = sum.add_octets(&segment).finish();
            segment[16..18].copy_from_slice(&sum.to_be_bytes());
            let mut packet = Ipv4::new(TCP).packet(&segment);
            // The loopback's own address.
            packet[..6].fill(0);
            let sum = checksum::of(&packet[14..34]);
            packet[24..26].copy_from_slice(&sum.to_be_bytes());
            packet
        };
        let mut outcome = |packet: &[u8]| {
            tidings.settle(tidings.numbered());
            bench.run(packet).outcome
        };
        assert_eq!(outcome(&packet(ACK)), Redirected, "nobody asked yet");
        let passes = Program::load().unwrap();
        bpf::prog_run_live(passes.fd().unwrap(), &packet(SYN), 1, 1, 1).unwrap();
        let asked = std::time::Instant::now();
        while outcome(&packet(ACK)) != PassSocket {
            assert!(asked.elapsed().as_secs() < 5, "the kernel does not know the request");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(outcome(&packet(SYN)), Redirected, "a flood could repeat it");
        assert_eq!(outcome(&from_port(&packet(ACK), 40_001)), Redirected);
    };
    namespace.run(inside).unwrap();
}
