//! Addresses on a real link: IPv6, groups, tags and marks as another program sees them, and a next
//! hop that the kernel finds, changes and loses.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate_dataplane::pcap::Reader;
use tidegate_dataplane::wire::packet::{Network, Packet};

use super::{FRAMES, PACKETS, PATIENCE, PICTURE, PROGRAM, Running, Scratch, counter};
use crate::require;

/// Two namespaces joined by a wire; `near` receives and `far` sends.
struct Scene {
    scratch: Scratch,
    near: End,
    far: End,
}

impl Scene {
    fn new(name: &str) -> Self {
        let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let Wire { near, far } = Wire::new(&near, &far, &WireOptions::default()).unwrap();
        Self { scratch: Scratch::new(name), near, far }
    }

    /// Has both ends resolve addresses as any machine does, and forget what they knew.
    fn resolve(&self) {
        for end in [&self.near, &self.far] {
            ip(end, &["link", "set", &end.name, "arp", "on"]);
            ip(end, &["neigh", "flush", "dev", &end.name, "nud", "all"]);
        }
    }

    /// A sender's config.
    fn sends(&self, destination: &str, rest: &str) -> String {
        let there = &self.far;
        let destination: SocketAddr = destination.parse().unwrap();
        let source = SocketAddr::new(there.address(destination.ip()), 20_000);
        format!(
            "[[interface]]\nname = {:?}\n[[service]]\nname = \"camera\"\nkind = \"stream-send\"\n\
             [service.options]\ndestination = \"{destination}\"\nsource_address = \"{source}\"\n\
             {PICTURE}{rest}",
            there.name,
        )
    }

    fn start(&self, destination: &str, rest: &str) -> Running {
        let config = self.sends(destination, rest);
        Running::start(&self.far.namespace, &self.scratch.0, "camera", &config)
    }

    /// The next packets of a stream that come to the near end, as tcpdump sees them, tags and all.
    fn captured(&self, count: usize) -> Vec<Vec<u8>> {
        let path = self.scratch.0.join("seen.pcap");
        let mut tcpdump = Command::new("tcpdump");
        tcpdump.args(["-i", &self.near.name, "-c", &count.to_string(), "-Z", "root", "-w"]);
        // Behind a tag the filter of a port has to be told of the tag; a size is the same.
        tcpdump.arg(&path).args(["greater", "800"]).stderr(Stdio::null());
        let mut child = self.near.namespace.spawn(&mut tcpdump).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("no {count} packets within {PATIENCE:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Reader::open(path).unwrap().map(|record| record.unwrap().bytes).collect()
    }

    /// The link address that packets go to now.
    fn destination_mac(&self) -> [u8; 6] {
        let packets = self.captured(1);
        Packet::parse(&packets[0]).unwrap().ethernet().destination()
    }
}

/// Runs `ip` in the namespace of `end`.
fn ip(end: &End, words: &[&str]) {
    let mut command = Command::new("ip");
    command.args(words).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = end.namespace.spawn(&mut command).unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "ip {words:?}: {output:?}");
}

fn written([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[test]
fn every_kind_of_address_arrives_bit_for_bit() {
    require_net!();
    let _alone = require::alone();
    for (destination, tag) in [
        ("[2001:db8:0:1::1]", ""),
        ("[ff3e::8000:1]", ""),
        ("198.18.1.1", "vlan = 100\ndestination_mac = \"02:74:67:00:01:01\"\n"),
        ("[ff3e::8000:1]", "vlan = { id = 4094, priority = 7 }\n"),
    ] {
        let scene = Scene::new("address");
        let address = destination.trim_matches(['[', ']']);
        let receives = format!(
            "[[interface]]\nname = {:?}\n[[service]]\nname = \"screen\"\nkind = \"stream-receive\"\n\
             selectors = [{{ destination = \"{address}\", source = \"{}\", protocol = \"udp\", \
             ports = 20000 }}]\n[service.options]\nport = 20000\nsink = \"verify\"\n{PICTURE}",
            scene.near.name,
            scene.far.address(address.parse().unwrap()),
        );
        let place = &scene.near.namespace;
        let mut receiver = Running::start(place, &scene.scratch.0, "screen", &receives);
        receiver
            .until("the receiver", |stats| stats["shards"][0]["stats"]["turns"].as_u64() > Some(0));
        let rest = format!("frames = {FRAMES}\n{tag}");
        let mut sender = scene.start(&format!("{destination}:20000"), &rest);
        sender.until("all frames", |stats| counter(stats, "frames_sent") == FRAMES);
        let received = receiver.until("every packet", |stats| {
            let redirected = stats["steering"][0]["counters"]["redirected"].as_u64();
            let frames = counter(stats, "frames_verified") + counter(stats, "frames_dropped");
            redirected == Some(FRAMES * PACKETS) && frames == counter(stats, "frames_received")
        });
        assert!(counter(&received, "frames_verified") > 0, "{destination} {tag}: {received}");
        assert_eq!(counter(&received, "frames_wrong"), 0, "{destination} {tag}: {received}");
        assert!(sender.stop().success());
        assert!(receiver.stop().success());
    }
}

#[test]
fn another_program_sees_the_marks_that_were_asked_for() {
    require_net!();
    if !require::program("tcpdump") {
        return;
    }
    let _alone = require::alone();
    for (destination, rest, tag, marks) in [
        ("198.18.1.1:20000", "", None, (34 << 2, 64)),
        ("239.18.1.1:20000", "dscp = \"EF\"\nttl = 3\n", None, (46 << 2, 3)),
        ("[ff3e::8000:1]:20000", "dscp = 10\nttl = 200\n", None, (10 << 2, 200)),
        (
            "[ff3e::8000:1]:20000",
            "vlan = { id = 100, priority = 5 }\n",
            Some((100, 5)),
            (34 << 2, 64),
        ),
        ("239.18.1.1:20000", "vlan = 7\ndscp = 0\n", Some((7, 0)), (0, 64)),
    ] {
        let scene = Scene::new("marks");
        let sender = scene.start(destination, rest);
        let packets = scene.captured(20);
        assert_eq!(packets.len(), 20);
        for octets in packets {
            let packet = Packet::parse(&octets).unwrap();
            let found = packet.ethernet().tags().next().map(|it| (it.id(), it.priority()));
            assert_eq!(found, tag, "{destination}");
            let found = match packet.network() {
                Network::V4(ip) => (ip.traffic_class(), ip.ttl()),
                Network::V6(ip) => (ip.traffic_class(), ip.hop_limit()),
            };
            assert_eq!(found, marks, "{destination}");
            assert_eq!(packet.destination(), destination.parse::<SocketAddr>().unwrap().ip());
        }
        assert!(sender.stop().success());
    }
}

/// The kernel drops what has no checksum or a wrong one, and counts it.
#[test]
fn a_kernel_socket_takes_udp_over_ipv6() {
    require_net!();
    let _alone = require::alone();
    let scene = Scene::new("checksum");
    let address: IpAddr = scene.near.ipv6.into();
    let socket = scene.near.namespace.run(|| UdpSocket::bind((address, 20_000)).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sender = scene.start("[2001:db8:0:1::1]:20000", "frames = 2\n");
    let mut heard = [0; 2048];
    // 20 octets of headers and 800 of pixels, and nothing else comes here.
    assert_eq!(socket.recv(&mut heard).unwrap(), 820);
    sender.until("both frames", |stats| counter(stats, "frames_sent") == 2);
    // The kernel sums when a datagram is read.
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while let Ok(octets) = socket.recv(&mut heard) {
        assert_eq!(octets, 820);
    }
    let counters = || fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let counters = scene.near.namespace.run(counters).unwrap();
    let value = |name: &str| -> u64 {
        let line = counters.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!(value("Udp6InCsumErrors"), 0, "{counters}");
    assert!(value("Udp6InDatagrams") > 0, "{counters}");
    // What does not fit into the socket's memory had a right sum as well.
    assert_eq!(value("Udp6InDatagrams") + value("Udp6RcvbufErrors"), 2 * PACKETS, "{counters}");
    assert!(sender.stop().success());
}

#[test]
fn a_receiver_is_asked_for_followed_and_missed() {
    require_net!();
    if !["ip", "tcpdump"].iter().all(|name| require::program(name)) {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::new("follow");
    scene.resolve();
    // Nobody but the sender makes the kernel ask for it.
    let mut sender = scene.start(&format!("{}:20000", scene.near.ipv4), "");
    let sent = |stats: &serde_json::Value| counter(stats, "packets_sent");
    sender.until("the first frames", |stats| counter(stats, "frames_sent") > 2);
    assert_eq!(scene.destination_mac(), scene.near.mac);

    // The receiver gets another card, and says so as kernels do.
    scene
        .near
        .namespace
        .set(&format!("net/ipv4/conf/{}/arp_notify", scene.near.name), "1")
        .unwrap();
    let other = [2, 0x74, 0x67, 0xff, 0xff, 0x01];
    ip(&scene.near, &["link", "set", &scene.near.name, "address", &written(other)]);
    let stats = sender.until("the other card", |stats| counter(stats, "next_hop_changes") == 1);
    let before = sent(&stats);
    sender.until("frames to it", |stats| sent(stats) > before + PACKETS);
    assert_eq!(scene.destination_mac(), other);

    // It answers no more: the stream goes on to where it was.
    ip(&scene.near, &["link", "set", &scene.near.name, "arp", "off"]);
    ip(&scene.far, &["neigh", "flush", "dev", &scene.far.name, "nud", "all"]);
    let stats = sender.until("its loss", |stats| counter(stats, "next_hop_losses") == 1);
    let before = sent(&stats);
    let stats = sender.until("frames all the same", |stats| sent(stats) > before + 2 * PACKETS);
    assert_eq!(scene.destination_mac(), other);
    assert_eq!(counter(&stats, "next_hop_losses"), 1, "told once");

    // And it is back.
    ip(&scene.near, &["link", "set", &scene.near.name, "arp", "on"]);
    let mac = written(scene.near.mac);
    ip(&scene.near, &["link", "set", &scene.near.name, "address", &mac]);
    sender.until("the first card again", |stats| counter(stats, "next_hop_changes") == 2);
    assert!(sender.stop().success());
}

#[test]
fn a_receiver_of_ipv6_is_asked_for_and_followed() {
    require_net!();
    if !["ip", "tcpdump"].iter().all(|name| require::program(name)) {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::new("discovery");
    scene.resolve();
    for (end, own) in [(&scene.near, "fe80::1/64"), (&scene.far, "fe80::2/64")] {
        // Neighbour discovery asks from such an address, and hears of the others by groups that are
        // joined with them.
        ip(end, &["address", "add", own, "dev", &end.name, "nodad"]);
        let address = format!("{}/64", end.ipv6);
        ip(end, &["address", "del", &address, "dev", &end.name]);
        ip(end, &["address", "add", &address, "dev", &end.name, "nodad"]);
    }
    // What takes half a minute elsewhere.
    for (setting, value) in [
        ("base_reachable_time_ms", "500"),
        ("delay_first_probe_time", "1"),
        ("retrans_time_ms", "200"),
    ] {
        let setting = format!("net/ipv6/neigh/{}/{setting}", scene.far.name);
        scene.far.namespace.set(&setting, value).unwrap();
    }
    let mut sender = scene.start(&format!("[{}]:20000", scene.near.ipv6), "");
    sender.until("the first frames", |stats| counter(stats, "frames_sent") > 2);
    assert_eq!(scene.destination_mac(), scene.near.mac);

    // It says nothing of its other card, and nobody else of this machine uses it: the kernel finds
    // out because it is told that what has grown stale is used.
    let other = [2, 0x74, 0x67, 0xff, 0xff, 0x02];
    ip(&scene.near, &["link", "set", &scene.near.name, "address", &written(other)]);
    let stats = sender.until("the other card", |stats| counter(stats, "next_hop_changes") == 1);
    let before = counter(&stats, "packets_sent");
    sender.until("frames to it", |stats| counter(stats, "packets_sent") > before + PACKETS);
    assert_eq!(scene.destination_mac(), other);
    assert!(sender.stop().success());
}

#[test]
fn a_route_that_moves_to_another_router_is_followed() {
    require_net!();
    if !["ip", "tcpdump"].iter().all(|name| require::program(name)) {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::new("route");
    let far = &scene.far;
    let routers = [("198.18.1.1", "198.18.1.3"), ("2001:db8:0:1::1", "2001:db8:0:1::3")];
    let destinations =
        [("198.18.200.0/24", "198.18.200.1"), ("2001:db8:c8::/64", "2001:db8:c8::1")];
    for ((first, second), (network, destination)) in routers.into_iter().zip(destinations) {
        let other = "02:74:67:00:01:03";
        ip(far, &["neigh", "replace", second, "lladdr", other, "dev", &far.name]);
        ip(far, &["route", "replace", network, "via", first, "dev", &far.name]);
        let to = SocketAddr::new(destination.parse().unwrap(), 20_000).to_string();
        let mut sender = scene.start(&to, "");
        sender.until("the first frames", |stats| counter(stats, "frames_sent") > 2);
        assert_eq!(scene.destination_mac(), scene.near.mac, "{destination}");

        // IPv6 would have two, of which a replaced one is another's.
        ip(far, &["route", "replace", network, "via", second, "dev", &far.name]);
        let stats =
            sender.until("the other router", |stats| counter(stats, "next_hop_changes") == 1);
        let before = counter(&stats, "packets_sent");
        sender.until("frames by it", |stats| counter(stats, "packets_sent") > before + PACKETS);
        assert_eq!(written(scene.destination_mac()), other, "{destination}");

        // Without any route, packets go on to the last router.
        ip(far, &["route", "del", network, "dev", &far.name]);
        assert_eq!(written(scene.destination_mac()), other, "{destination}");
        assert!(sender.stop().success());
    }
}

#[test]
fn a_start_without_a_neighbour_ends_with_what_helps() {
    require_net!();
    if !require::program("ip") {
        return;
    }
    let _alone = require::alone();
    let scene = Scene::new("nobody");
    scene.resolve();
    for (destination, said) in [
        (
            "198.18.1.77",
            "the link address of 198.18.1.77 on sea1 is not known, and nobody answered",
        ),
        ("[2001:db8:0:1::77]", "the link address of 2001:db8:0:1::77 on sea1 is not known, and"),
        (
            "[2001:db8:ff::1]",
            "no route leads to 2001:db8:ff::1 by sea1; add one, as with `ip route",
        ),
        ("198.18.1.2", "destination 198.18.1.2 is this machine itself"),
    ] {
        let config = scene.scratch.0.join("nobody.toml");
        fs::write(&config, scene.sends(&format!("{destination}:20000"), "")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--config").arg(config).stderr(Stdio::piped());
        let begun = Instant::now();
        let child = scene.far.namespace.spawn(&mut command).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(said), "{text}");
        assert!(begun.elapsed() < PATIENCE, "{destination}");
    }
}
