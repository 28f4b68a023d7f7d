//! The steering program, run by the kernel on single packets that are made by hand.
//!
//! Every run is checked against the law: one packet in, one outcome, its octets counted,
//! and a packet that passes is not changed.

mod model;
mod packets;
mod protect;

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use packets::{Ipv4, SCTP, TCP, UDP, ethernet, extension, fragment, ipv6, ports, tagged};
use packets::{udp, udp6};
use tidegate_dataplane::steer::{
    CacheSizes, Counters, Error, Fragments, Metadata, OUTCOMES, Outcome, Program, Protocol,
    Selector,
};
use tidegate_dataplane::sys::{bpf, xdp};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// A loaded program with a socket on queue 0 and a memory of its counters.
pub(crate) struct Bench {
    pub(crate) program: Program,
    before: Counters,
    /// Of the last packet that was redirected with one.
    pub(crate) number: u64,
    _socket: OwnedFd,
}

/// What one packet met.
#[derive(Debug, PartialEq)]
pub(crate) struct Met {
    pub(crate) outcome: Outcome,
    pub(crate) metadata: Option<Metadata>,
}

impl Bench {
    pub(crate) fn new(selectors: &[Selector]) -> Self {
        let sizes = CacheSizes { flows: 64, sources: 64, prefixes: 64 };
        let mut program = Program::load_with(&sizes).unwrap();
        program.set_selectors(selectors).unwrap();
        // Bound to nothing, which the map does not mind.
        let socket = xdp::socket().unwrap();
        program.set_socket(0, socket.as_fd()).unwrap();
        Self { program, before: Counters::default(), number: 0, _socket: socket }
    }

    pub(crate) fn run(&mut self, packet: &[u8]) -> Met {
        let fd = self.program.fd().unwrap();
        let run = bpf::prog_test_run(fd, packet, None, 1)
            .unwrap_or_else(|error| panic!("{} octets: {error}", packet.len()));
        let after = self.program.counters().unwrap();
        let octets = packet.len() as u64;
        assert_eq!(after.unaccounted(), 0, "{after:?}");
        assert_eq!(after.received.packets - self.before.received.packets, 1);
        assert_eq!(after.received.octets - self.before.received.octets, octets);
        let changed: Vec<Outcome> = OUTCOMES
            .iter()
            .map(|(outcome, ..)| *outcome)
            .filter(|outcome| after.get(*outcome) != self.before.get(*outcome))
            .collect();
        let [outcome] = changed[..] else { panic!("{changed:?}") };
        assert_eq!(after.get(outcome).packets - self.before.get(outcome).packets, 1);
        assert_eq!(after.get(outcome).octets - self.before.get(outcome).octets, octets);

        let metadata = if outcome == Outcome::Redirected {
            assert_eq!(run.action, XDP_REDIRECT);
            let (front, rest) = run.data.split_at(run.data.len() - packet.len());
            assert_eq!(rest, packet);
            let metadata = Metadata::parse(front.last_chunk().unwrap()).unwrap();
            let numbered = if metadata.numbered { Metadata::NUMBER_LEN } else { 0 };
            assert_eq!(front.len(), numbered + Metadata::LEN);
            self.number = front.first_chunk().copied().map_or(0, u64::from_ne_bytes);
            let selector = usize::from(metadata.selector);
            let (was, is) = (self.before.selectors[selector], after.selectors[selector]);
            assert_eq!((is.packets - was.packets, is.octets - was.octets), (1, octets));
            let ordered = after.ordered.packets - self.before.ordered.packets;
            assert_eq!(ordered, u64::from(metadata.ordered));
            Some(metadata)
        } else {
            let drops = matches!(outcome, Outcome::DropVerdict | Outcome::DropStalled);
            assert_eq!(run.action, if drops { XDP_DROP } else { XDP_PASS });
            assert_eq!(run.data, packet, "{outcome:?}");
            assert_eq!(after.selectors, self.before.selectors);
            None
        };
        self.before = after;
        Met { outcome, metadata }
    }

    fn outcome(&mut self, packet: &[u8]) -> Outcome {
        self.run(packet).outcome
    }

    /// Offsets of a packet that must be taken.
    fn offsets(&mut self, packet: &[u8]) -> (u16, Option<u16>) {
        let met = self.run(packet);
        let metadata = met.metadata.unwrap_or_else(|| panic!("{met:?}"));
        (metadata.l3_offset.into(), metadata.l4_offset)
    }
}

pub(crate) fn to(destination: &str) -> Selector {
    Selector {
        destination: destination.parse().unwrap(),
        source: None,
        protocol: Protocol::Any,
        destination_ports: None,
        fragments: Fragments::Pass,
        protection: None,
    }
}

fn udp_to(destination: &str, ports: RangeInclusive<u16>) -> Selector {
    Selector { protocol: Protocol::UDP, destination_ports: Some(ports), ..to(destination) }
}

/// UDP port 53 of either family.
fn dns() -> [Selector; 2] {
    [udp_to("198.18.0.0/15", 53..=53), udp_to("2001:db8::/32", 53..=53)]
}

use Outcome::{
    PassExtensionHeaders, PassFragment, PassGateClosed, PassHeadersSplit, PassMalformed,
    PassNoSelector, PassNoSocket, PassNotIp, PassTruncated, Redirected,
};

#[test]
fn a_selector_takes_what_it_names_and_leaves_the_rest() {
    require_net!();
    let from = |source: &str| Selector { source: Some(source.parse().unwrap()), ..to("0.0.0.0/0") };
    let protocol = |protocol| Selector { protocol, ..to("198.18.0.80") };
    let any_53 = Selector { destination_ports: Some(53..=53), ..to("198.18.0.80") };
    let icmp = Ipv4::new(1).packet(&[8; 8]);
    let tcp = |port| Ipv4::new(TCP).packet(&ports(port));
    let sctp = |port| Ipv4::new(SCTP).packet(&ports(port));
    let cases = [
        (to("198.18.0.80"), udp(9), Redirected),
        (to("198.18.0.81"), udp(9), PassNoSelector),
        (to("198.18.0.80/28"), udp(9), Redirected),
        (to("198.18.0.64/28"), udp(9), PassNoSelector),
        (to("0.0.0.0/0"), udp(9), Redirected),
        (to("0.0.0.0/0"), udp6(9), PassNoSelector),
        (to("::/0"), udp(9), PassNoSelector),
        (to("::/0"), udp6(9), Redirected),
        (to("2001:db8::50"), udp6(9), Redirected),
        (to("2001:db8::51"), udp6(9), PassNoSelector),
        (to("2001:db8::40/124"), udp6(9), PassNoSelector),
        (from("198.19.7.0/24"), udp(9), Redirected),
        (from("198.19.8.0/24"), udp(9), PassNoSelector),
        (protocol(Protocol::TCP), udp(9), PassNoSelector),
        (protocol(Protocol::TCP), tcp(9), Redirected),
        (protocol(Protocol::Number(1)), icmp.clone(), Redirected),
        (protocol(Protocol::Any), icmp.clone(), Redirected),
        (udp_to("198.18.0.80", 53..=60), udp(52), PassNoSelector),
        (udp_to("198.18.0.80", 53..=60), udp(53), Redirected),
        (udp_to("198.18.0.80", 53..=60), udp(60), Redirected),
        (udp_to("198.18.0.80", 53..=60), udp(61), PassNoSelector),
        (udp_to("198.18.0.80", 0..=65535), udp(65535), Redirected),
        (udp_to("198.18.0.80", 53..=53), tcp(53), PassNoSelector),
        (any_53.clone(), udp(53), Redirected),
        (any_53.clone(), tcp(53), Redirected),
        (any_53.clone(), sctp(53), Redirected),
        (any_53.clone(), sctp(54), PassNoSelector),
        (any_53, icmp, PassNoSelector),
    ];
    let mut bench = Bench::new(&[]);
    for (selector, packet, expected) in cases {
        bench.program.set_selectors(std::slice::from_ref(&selector)).unwrap();
        assert_eq!(bench.outcome(&packet), expected, "{selector:?} on {packet:02x?}");
    }
}

#[test]
fn the_first_match_wins_and_its_index_travels_with_the_packet() {
    require_net!();
    let mut selectors = vec![to("198.18.1.0/24"); 64];
    selectors[1] = udp_to("198.18.0.0/16", 53..=53);
    selectors[2] = to("198.18.0.80");
    selectors[63] = to("::/0");
    let mut bench = Bench::new(&selectors);
    let selector = |met: Met| met.metadata.unwrap().selector;
    assert_eq!(selector(bench.run(&udp(53))), 1);
    assert_eq!(selector(bench.run(&udp(54))), 2);
    assert_eq!(selector(bench.run(&udp6(54))), 63);
}

#[test]
fn sees_through_two_vlan_tags_and_options() {
    require_net!();
    let mut bench = Bench::new(&dns());
    assert_eq!(bench.offsets(&udp(53)), (14, Some(34)));
    assert_eq!(bench.offsets(&udp6(53)), (14, Some(54)));
    let customer = tagged(0x8100, &udp(53));
    assert_eq!(bench.offsets(&customer), (18, Some(38)));
    assert_eq!(bench.offsets(&tagged(0x88a8, &customer)), (22, Some(42)));
    assert_eq!(bench.offsets(&tagged(0x8100, &tagged(0x8100, &udp6(53)))), (22, Some(62)));
    assert_eq!(bench.outcome(&tagged(0x88a8, &tagged(0x8100, &customer))), PassNotIp);
    for len in (4..=40).step_by(4) {
        let options = Ipv4 { options: vec![1; usize::from(len)], ..Ipv4::new(UDP) };
        let packet = options.packet(&ports(53));
        assert_eq!(bench.offsets(&packet), (14, Some(34 + len)));
    }
}

#[test]
fn leaves_what_is_not_ip_to_the_kernel() {
    require_net!();
    let mut bench = Bench::new(&[to("0.0.0.0/0"), to("::/0")]);
    for ethertype in [0x0806, 0x8847, 0x88cc, 0x0026, 0xffff] {
        assert_eq!(bench.outcome(&ethernet(ethertype, &[0x45; 46])), PassNotIp);
    }
}

#[test]
fn walks_every_kind_of_extension_header() {
    require_net!();
    let mut bench = Bench::new(&dns());
    for kind in [0, 43, 60, 135, 139, 140] {
        for units in [1, 2, 255] {
            let packet = ipv6(kind, &extension(UDP, units, &ports(53)));
            assert_eq!(bench.offsets(&packet), (14, Some(54 + 8 * u16::from(units))));
        }
    }
    // Authentication counts in words of four octets, minus 2.
    let mut authentication = vec![UDP, 4];
    authentication.resize(24, 0);
    authentication.extend(ports(53));
    assert_eq!(bench.offsets(&ipv6(51, &authentication)), (14, Some(78)));
    let atomic = fragment(UDP, 0, false, &ports(53));
    assert_eq!(bench.offsets(&ipv6(44, &atomic)), (14, Some(62)));
    assert_eq!(bench.outcome(&ipv6(59, &ports(53))), PassNoSelector);
}

#[test]
fn gives_up_after_eight_extension_headers() {
    require_net!();
    let chain = |headers: usize| {
        let mut chain = ports(53);
        for index in 0..headers {
            chain = extension(if index == 0 { UDP } else { 60 }, 1, &chain);
        }
        ipv6(if headers == 0 { UDP } else { 60 }, &chain)
    };
    let mut bench = Bench::new(&dns());
    assert_eq!(bench.outcome(&chain(8)), Redirected);
    assert_eq!(bench.outcome(&chain(9)), PassExtensionHeaders);
    // The address is known all the same.
    bench.program.set_selectors(&[to("2001:db8::50")]).unwrap();
    assert_eq!(bench.offsets(&chain(9)), (14, None));
}

#[test]
fn the_first_fragment_goes_by_its_ports_and_later_ones_by_policy() {
    require_net!();
    let v4 = |offset: u16, more: bool, payload: &[u8]| {
        Ipv4 { fragment: u16::from(more) << 13 | offset, ..Ipv4::new(UDP) }.packet(payload)
    };
    let v6 = |offset, more, payload: &[u8]| ipv6(44, &fragment(UDP, offset, more, payload));
    let mut bench = Bench::new(&dns());
    assert_eq!(bench.offsets(&v4(0, true, &ports(53))), (14, Some(34)));
    assert_eq!(bench.offsets(&v6(0, true, &ports(53))), (14, Some(62)));
    assert_eq!(bench.outcome(&v4(0, true, &ports(54))), PassNoSelector);
    // What looks like port 53 in a later fragment is payload.
    for later in [v4(1, true, &ports(53)), v4(0x1fff, false, &[]), v6(1, false, &ports(53))] {
        assert_eq!(bench.outcome(&later), PassFragment);
    }

    let take = dns().map(|selector| Selector { fragments: Fragments::Take, ..selector });
    bench.program.set_selectors(&take).unwrap();
    for later in [v4(1, true, &ports(9)), v4(0x1fff, false, &[]), v6(1, false, &[])] {
        assert_eq!(bench.offsets(&later), (14, None));
    }
    assert_eq!(bench.outcome(&v4(0, true, &ports(54))), PassNoSelector);
    let tcp = Ipv4 { fragment: 1, ..Ipv4::new(TCP) }.packet(&ports(53));
    assert_eq!(bench.outcome(&tcp), PassFragment);

    // Without a port range nothing is asked that a later fragment does not show.
    bench.program.set_selectors(&[to("198.18.0.80"), to("2001:db8::50")]).unwrap();
    assert_eq!(bench.offsets(&v4(1, true, &[])), (14, None));
    assert_eq!(bench.offsets(&v6(1, false, &[])), (14, None));
}

#[test]
fn every_truncation_is_counted_and_never_an_error() {
    require_net!();
    let option_and_tag =
        tagged(0x8100, &Ipv4 { options: vec![1; 8], ..Ipv4::new(UDP) }.packet(&ports(53)));
    let chained = ipv6(0, &extension(44, 2, &fragment(UDP, 0, true, &ports(53))));
    let mut bench = Bench::new(&dns());
    for whole in [udp(53), udp6(53), option_and_tag, chained] {
        // The kernel runs programs on 14 octets and more.
        for len in 14..whole.len() {
            assert_eq!(bench.outcome(&whole[..len]), PassTruncated, "{len} octets of {whole:02x?}");
        }
        assert_eq!(bench.outcome(&whole), Redirected);
    }
}

#[test]
fn a_datagram_that_ends_early_is_truncated_or_taken_by_what_it_shows() {
    require_net!();
    // The lengths agree with each other, but the payload has no room for ports or headers.
    let v4 = |len| Ipv4::new(UDP).packet(&ports(53)[..len]);
    let v6 = |len| ipv6(60, &extension(UDP, 1, &ports(53))[..len]);
    let mut bench = Bench::new(&dns());
    for len in 0..4 {
        assert_eq!(bench.outcome(&v4(len)), PassTruncated, "{len}");
    }
    assert_eq!(bench.outcome(&v4(4)), Redirected);
    for len in 0..12 {
        assert_eq!(bench.outcome(&v6(len)), PassTruncated, "{len}");
    }
    assert_eq!(bench.outcome(&v6(12)), Redirected);
    // Octets behind the datagram are Ethernet's padding and show nothing.
    let mut padded = v4(0);
    padded.extend(ports(53));
    assert_eq!(bench.outcome(&padded), PassTruncated);

    bench.program.set_selectors(&[to("198.18.0.80"), to("2001:db8::50")]).unwrap();
    assert_eq!(bench.outcome(&v4(3)), Redirected);
    assert_eq!(bench.offsets(&v6(3)), (14, None));
    let udp_only = Selector { protocol: Protocol::UDP, ..to("2001:db8::50") };
    bench.program.set_selectors(&[udp_only]).unwrap();
    assert_eq!(bench.outcome(&v6(3)), PassTruncated);
    assert_eq!(bench.outcome(&v6(8)), Redirected);
}

#[test]
fn leaves_impossible_headers_to_the_kernel() {
    require_net!();
    let patched = |packet: &[u8], at: usize, value: u8| {
        let mut packet = packet.to_vec();
        packet[at] = value;
        packet
    };
    let mut bench = Bench::new(&[to("0.0.0.0/0"), to("::/0")]);
    for wrong in [
        patched(&udp(53), 14, 0x55),  // Version 5.
        patched(&udp(53), 14, 0x44),  // A header of 16 octets.
        patched(&udp(53), 14, 0x00),  // Nothing at all.
        patched(&udp6(53), 14, 0x40), // Version 4 in an IPv6 packet.
    ] {
        assert_eq!(bench.outcome(&wrong), PassMalformed);
    }
    // A total length shorter than the header.
    assert_eq!(bench.outcome(&patched(&patched(&udp(53), 17, 19), 16, 0)), PassMalformed);
    // A total length past the packet.
    assert_eq!(bench.outcome(&patched(&udp(53), 16, 1)), PassTruncated);
}

#[test]
fn a_queue_without_a_socket_passes() {
    require_net!();
    let mut bench = Bench::new(&dns());
    assert_eq!(bench.outcome(&udp(53)), Redirected);
    bench.program.clear_socket(0).unwrap();
    assert_eq!(bench.outcome(&udp(53)), PassNoSocket);
    assert_eq!(bench.outcome(&udp(54)), PassNoSelector);
    bench.program.clear_socket(0).unwrap();
    let refusal = bench.program.clear_socket(1024).unwrap_err();
    assert!(matches!(refusal, Error::NoQueue { queue: 1024, .. }), "{refusal:?}");
}

#[test]
fn a_closed_gate_passes_everything_and_selectors_survive_it() {
    require_net!();
    let mut bench = Bench::new(&dns());
    bench.program.pass_all(true);
    assert_eq!(bench.outcome(&udp(53)), PassGateClosed);
    bench.program.set_selectors(&dns()[..1]).unwrap();
    assert_eq!(bench.outcome(&udp(53)), PassGateClosed);
    bench.program.pass_all(false);
    assert_eq!(bench.outcome(&udp(53)), Redirected);
    assert_eq!(bench.outcome(&udp6(53)), PassNoSelector);
}

#[test]
fn a_refused_list_of_selectors_leaves_the_old_one() {
    require_net!();
    let mut bench = Bench::new(&dns());
    let refusal = bench.program.set_selectors(&vec![to("0.0.0.0/0"); 65]).unwrap_err();
    assert!(matches!(refusal, Error::TooManySelectors { count: 65 }), "{refusal:?}");
    assert_eq!(bench.outcome(&udp(53)), Redirected);
    assert_eq!(bench.outcome(&udp(54)), PassNoSelector);
}

#[test]
fn no_packet_meets_half_a_list() {
    require_net!();
    // Every list takes the packet, each at another place.
    let lists: Vec<Vec<Selector>> = [0, 20, 63]
        .map(|place| {
            let mut list = vec![to("198.19.0.0/16"); 64];
            list[place] = to("198.18.0.80");
            list
        })
        .into();
    let mut bench = Bench::new(&lists[0]);
    // Without a socket a run leaves no metadata to the next.
    bench.program.clear_socket(0).unwrap();
    let program = bench.program.fd().unwrap().try_clone_to_owned().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                bpf::prog_test_run(program.as_fd(), &udp(53), None, 10_000).unwrap();
            }
        });
        for list in lists.iter().cycle().take(30) {
            bench.program.set_selectors(list).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let counters = bench.program.counters().unwrap();
    assert!(counters.received.packets > 0);
    assert_eq!(counters.get(PassNoSocket), counters.received, "{counters:?}");
}

#[test]
fn a_fresh_instance_goes_on_with_sockets_selectors_and_counters() {
    require_net!();
    let mut bench = Bench::new(&dns());
    assert_eq!(bench.outcome(&udp(53)), Redirected);
    bench.program.reload().unwrap();
    // The law in `run` counts from before the reload.
    assert_eq!(bench.outcome(&udp(53)), Redirected);
    assert_eq!(bench.outcome(&udp(54)), PassNoSelector);
}

#[test]
fn headers_outside_the_first_buffer_pass() {
    require_net!();
    // Eight headers of 2 KiB do not fit one page, the whole packet has several.
    let mut chain = ports(53);
    for index in 0..8 {
        chain = extension(if index == 0 { UDP } else { 60 }, 255, &chain);
    }
    let mut bench = Bench::new(&dns());
    assert_eq!(bench.outcome(&ipv6(60, &chain)), PassHeadersSplit);
}

/// A kernel that repeats a run keeps what the run before wrote in front of the packet, and so
/// runs out of room for metadata, as a driver without any does at once.
#[test]
fn a_packet_that_cannot_carry_its_selector_passes() {
    require_net!();
    let bench = Bench::new(&dns());
    let run = bpf::prog_test_run(bench.program.fd().unwrap(), &udp(53), None, 100).unwrap();
    assert_eq!(run.action, XDP_PASS);
    let counters = bench.program.counters().unwrap();
    let refused = counters.get(Outcome::PassMetadataRefused).packets;
    assert!(refused > 0);
    assert_eq!(refused + counters.get(Redirected).packets, 100);
    assert_eq!(counters.unaccounted(), 0);
}

#[test]
fn octets_changed_at_random_never_break_the_law() {
    require_net!();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    println!("SEED={seed}");
    // xorshift64*, Vigna 2016.
    let mut state = seed.max(1);
    let mut random = move |below: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    };
    let whole = [
        udp(53),
        tagged(0x88a8, &tagged(0x8100, &udp6(53))),
        Ipv4 { options: vec![1; 8], ..Ipv4::new(TCP) }.packet(&ports(53)),
        ipv6(0, &extension(51, 1, &extension(44, 1, &fragment(UDP, 0, true, &ports(53))))),
    ];
    let mut bench = Bench::new(&[to("198.18.0.0/15"), dns()[1].clone()]);
    for _ in 0..5_000 {
        let mut packet = whole[random(whole.len())].clone();
        for _ in 0..=random(3) {
            // Behind the addresses of Ethernet, where it matters.
            let at = 12 + random(packet.len() - 12);
            packet[at] = random(256).to_le_bytes()[0];
        }
        packet.truncate(14 + random(packet.len() - 13));
        bench.run(&packet);
    }
}
