//! Floods that the corpus does not have, made by what their protocols say.
//!
//! Each reflection comes twice: from many reflectors, and from so few that only its shape tells.

use std::net::IpAddr;

use super::craft::{At, Capture, Dice, datagram, icmp, ip, judge_made, parts, segment};

/// Packets in a flood.
const PACKETS: usize = 3000;

fn victim() -> IpAddr {
    "198.18.7.7".parse().unwrap()
}

#[track_caller]
fn assert_stopped(name: &str, capture: &Capture) {
    let summary = judge_made(capture, true);
    assert!(summary.dropped * 100 >= summary.packets * 99, "{name}: {summary}");
}

/// Answers with `payload` from `port` of so many reflectors to the victim.
fn reflected(
    reflectors: usize,
    port: u16,
    mut payload: impl FnMut(&mut Dice) -> Vec<u8>,
) -> Capture {
    let mut dice = Dice::new(u64::from(port) + 1);
    let sources: Vec<IpAddr> = (0..reflectors).map(|_| dice.address()).collect();
    let targets = [dice.port(), dice.port(), 80];
    let mut capture = Capture::new();
    let mut id = 0;
    while capture.records.len() < PACKETS {
        let from: At = (sources[usize::try_from(dice.below(reflectors as u64)).unwrap()], port);
        let to = (victim(), targets[usize::try_from(dice.below(3)).unwrap()]);
        let data = payload(&mut dice);
        id += 1;
        match data.len() {
            0..=1472 => capture.add(datagram(from, to, &data)),
            _ => parts(from, to, &data, id).into_iter().for_each(|part| capture.add(part)),
        }
    }
    capture
}

type Payload = fn(&mut Dice) -> Vec<u8>;

fn length(dice: &mut Dice, from: u64, to: u64) -> usize {
    usize::try_from(from + dice.below(to - from)).unwrap()
}

/// RFC 1035: header, a question, and records up to so many octets.
fn dns(dice: &mut Dice, kind: u16, octets: usize) -> Vec<u8> {
    let [a, b] = [dice.byte(), dice.byte()];
    let mut message = vec![a, b, 0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 1];
    message.extend(b"\x07example\x03com\x00");
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    while message.len() < octets {
        message.extend([0xc0, 0x0c]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 14, 16, 0, 100]);
        message.extend(dice.bytes(100));
    }
    message
}

/// RFC 3416 in BER: version 2c, public, a response with values.
fn snmp(dice: &mut Dice, octets: usize) -> Vec<u8> {
    let values = dice.bytes(octets);
    let inner = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut message = vec![0x30, 0x82];
    message.extend(inner(octets + 17));
    message.extend(b"\x02\x01\x01\x04\x06public\xa2\x82");
    message.extend(inner(octets));
    message.extend(values);
    message
}

/// memcached's protocol.txt: the header of UDP, then an answer.
fn memcached(dice: &mut Dice) -> Vec<u8> {
    let [sequence, total] = [dice.byte() % 20, 20];
    let mut message = vec![0, dice.byte(), 0, sequence, 0, total, 0, 0];
    if sequence == 0 {
        message.extend(b"VALUE x 0 30000\r\n");
    }
    message.extend(dice.bytes(1300));
    message
}

/// RFC 4511 as directory servers write it: lengths in four octets, a searchResEntry.
fn cldap(dice: &mut Dice) -> Vec<u8> {
    let octets = length(dice, 1200, 2900);
    let number = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
    let mut message = vec![0x30, 0x84];
    message.extend(number(octets + 9));
    message.extend([0x02, 0x01, dice.byte() & 0x7f, 0x64, 0x84]);
    message.extend(number(octets));
    message.extend([0x04, 0x00]);
    message.extend(dice.bytes(octets));
    message
}

fn ssdp(dice: &mut Dice) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: upnp:rootdevice\r\nUSN: uuid:{:x}\r\n\
         SERVER: Linux UPnP/1.0\r\nLOCATION: http://192.168.1.1:1900/d.xml\r\n\r\n",
        dice.next()
    )
    .into()
}

/// The header of a recorder's protocol, and what it tells of itself.
fn dvr(dice: &mut Dice) -> Vec<u8> {
    let json = format!(
        "{{\"mac\":\"{:012x}\",\"method\":\"client.notifyDevInfo\",\"params\":{{\"deviceInfo\":{{}}}}}}",
        dice.next() >> 16
    );
    let mut message = b"\x20\x00\x00\x00DHIP".to_vec();
    message.extend([0; 24]);
    message.extend(json.bytes());
    message.extend(vec![b' '; length(dice, 300, 500)]);
    message
}

/// RFC 2408: a main mode answer that repeats the initiator's number and has one of its own.
fn ike(dice: &mut Dice) -> Vec<u8> {
    let mut message = dice.bytes(16);
    message.extend([1, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 104]);
    message.extend(dice.bytes(76));
    message
}

fn ntp_private(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![0xd7, dice.byte(), 3, 0x2a, 0, 6, 0, 72];
    message.extend(dice.bytes(432));
    message
}

fn ntp_control(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![0x16, 0x82, 0, 1, 6, 0x15, 0, 0, 0, 0, 1, 0xb0];
    message.extend(b"version=\"ntpd 4.2.6p5@1.2349-o\", processor=\"x86_64\", ");
    message.extend(vec![b'a'; length(dice, 200, 400)]);
    message
}

fn chargen(dice: &mut Dice) -> Vec<u8> {
    let octets = length(dice, 200, 1400);
    let start = usize::from(dice.byte() % 95);
    let line = |line: usize| {
        let mut text: Vec<u8> =
            (0..72).map(|at| 32 + u8::try_from((start + line + at) % 95).unwrap()).collect();
        text.extend(b"\r\n");
        text
    };
    (0..20).flat_map(line).take(octets).collect()
}

fn wsd(dice: &mut Dice) -> Vec<u8> {
    let mut message = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><SOAP-ENV:Envelope \
        xmlns:SOAP-ENV=\"http://www.w3.org/2003/05/soap-envelope\"><d:ProbeMatches>"
        .to_vec();
    message.extend(vec![b'x'; length(dice, 300, 900)]);
    message
}

fn bacnet(dice: &mut Dice) -> Vec<u8> {
    let octets = length(dice, 80, 400);
    let length = u16::try_from(octets + 8).unwrap().to_be_bytes();
    let mut message = vec![0x81, 0x0a, length[0], length[1], 1, 0, 0x30, dice.byte()];
    message.extend(dice.bytes(octets));
    message
}

fn coap(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![0x60, 0x45, dice.byte(), dice.byte(), 0xc1, 0x28, 0xff];
    message.extend(
        b"</.well-known/core>;ct=40,</sensors/temp>;rt=\"temperature\",</oic/res>;if=\"x\"",
    );
    message
}

fn steam(dice: &mut Dice) -> Vec<u8> {
    let mut message =
        b"\xff\xff\xff\xffI\x11A server of somebody\0de_dust2\0cstrike\0Counter-Strike\0".to_vec();
    message.extend(dice.bytes(40));
    message
}

fn rpc(dice: &mut Dice) -> Vec<u8> {
    let mut message = dice.bytes(4);
    message.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    message.extend([0; 12]);
    message.extend(dice.bytes(400));
    message
}

fn mssql(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![5, 120, 1];
    message.extend(
        b"ServerName;DB1;InstanceName;MSSQLSERVER;IsClustered;No;Version;10.0.1600.22;tcp;1433;;",
    );
    message.extend(vec![b'x'; length(dice, 50, 300)]);
    message
}

fn netbios(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![dice.byte(), dice.byte(), 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    message.extend(b" CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\0\x00\x21\x00\x01");
    message.extend(dice.bytes(110));
    message
}

fn mdns(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![0, 0, 0x84, 0, 0, 1, 0, 3, 0, 0, 0, 0];
    message.extend(b"\x09_services\x07_dns-sd\x04_udp\x05local\0\0\x0c\0\x01");
    message.extend(dice.bytes(120));
    message
}

fn ubiquiti(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![1, 0, 0, 150, 2, 0, 10];
    message.extend(dice.bytes(147));
    message
}

fn ard(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![0, 1, 3, 0xea, 0x31, 0];
    message.extend(dice.bytes(1000));
    message
}

fn rip(dice: &mut Dice) -> Vec<u8> {
    let mut message = vec![2, 1, 0, 0];
    (0..20).for_each(|_| {
        message.extend([0, 2, 0, 0]);
        message.extend(dice.bytes(4));
        message.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    });
    message
}

fn qotd(dice: &mut Dice) -> Vec<u8> {
    let mut text =
        b"\"We have no more right to consume happiness without producing it\"\r\n ".to_vec();
    text.extend(vec![b'.'; length(dice, 1, 100)]);
    text
}

fn quake(dice: &mut Dice) -> Vec<u8> {
    let mut text = b"\xff\xff\xff\xffstatusResponse\n\\sv_hostname\\x\\mapname\\q3dm17\\".to_vec();
    text.extend(vec![b'p'; length(dice, 200, 900)]);
    text
}

/// Port and payload of reflections that are told by their shape.
const REFLECTIONS: [(&str, u16, Payload); 27] = [
    ("dns any", 53, |dice| dns(dice, 255, 1000)),
    ("dns any, short", 53, |dice| dns(dice, 255, 200)),
    ("dns rrsig in parts", 53, |dice| dns(dice, 46, 4000)),
    ("dns txt", 53, |dice| {
        let octets = length(dice, 1000, 4000);
        dns(dice, 16, octets)
    }),
    ("snmp", 161, |dice| {
        let octets = length(dice, 600, 1400);
        snmp(dice, octets)
    }),
    ("snmp in parts", 161, |dice| snmp(dice, 5000)),
    ("memcached", 11211, memcached),
    ("cldap", 389, cldap),
    ("ssdp", 1900, ssdp),
    ("ssdp from elsewhere", 49_152, ssdp),
    ("dvr", 37810, dvr),
    ("ntp monlist", 123, ntp_private),
    ("ntp readvar", 123, ntp_control),
    ("chargen", 19, chargen),
    ("wsd", 3702, wsd),
    ("bacnet", 47808, bacnet),
    ("coap", 5683, coap),
    ("steam", 27015, steam),
    ("portmap", 111, rpc),
    ("mssql", 1434, mssql),
    ("netbios", 137, netbios),
    ("mdns", 5353, mdns),
    ("ubiquiti", 10001, ubiquiti),
    ("ard", 3283, ard),
    ("rip", 520, rip),
    ("qotd", 17, qotd),
    ("quake", 27960, quake),
];

#[test]
fn reflections_from_many_are_stopped() {
    for (name, port, payload) in REFLECTIONS {
        assert_stopped(name, &reflected(300, port, payload));
    }
}

#[test]
fn reflections_from_a_few_are_known_by_their_shape() {
    for (name, port, payload) in REFLECTIONS {
        assert_stopped(name, &reflected(5, port, payload));
    }
}

#[test]
fn reflections_of_handshakes_and_of_the_unheard_of_are_stopped_by_their_number() {
    let others: [(&str, u16, Payload); 6] = [
        ("ike", 500, ike),
        ("snmp, short", 161, |dice| snmp(dice, 12)),
        ("ntp time", 123, |dice| [&[0x24, 2, 3, 0xe9][..], &dice.bytes(44)].concat()),
        ("openvpn", 1194, |dice| [&[0x40][..], &dice.bytes(25)].concat()),
        ("stun", 3478, |dice| {
            [&[1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42][..], &dice.bytes(24)].concat()
        }),
        ("nobody knows", 9955, |dice| {
            let octets = length(dice, 1, 900);
            dice.bytes(octets)
        }),
    ];
    for (name, port, payload) in others {
        assert_stopped(name, &reflected(200, port, payload));
    }
}

/// A flood in which each packet has a source of its own.
fn spoofed(mut frame: impl FnMut(&mut Dice, IpAddr) -> Vec<u8>) -> Capture {
    let (mut dice, mut capture) = (Dice::new(99), Capture::new());
    for _ in 0..PACKETS {
        let source = dice.address();
        capture.add(frame(&mut dice, source));
    }
    capture
}

#[test]
fn spoofed_floods_of_udp_and_others_are_stopped() {
    let to = (victim(), 27015);
    assert_stopped(
        "random payload",
        &spoofed(|dice, source| {
            let octets = length(dice, 0, 1400);
            datagram((source, dice.port()), (victim(), dice.port()), &dice.bytes(octets))
        }),
    );
    assert_stopped(
        "same payload",
        &spoofed(|dice, source| datagram((source, dice.port()), to, b"the same each time")),
    );
    assert_stopped("no payload", &spoofed(|dice, source| datagram((source, dice.port()), to, b"")));
    assert_stopped(
        "port 0",
        &spoofed(|dice, source| datagram((source, dice.port()), (victim(), 0), &dice.bytes(20))),
    );
    assert_stopped(
        "gre",
        &spoofed(|dice, source| {
            let inner = datagram((dice.address(), 9), (dice.address(), 9), &dice.bytes(500));
            ip(source, victim(), 47, &[&[0, 0, 8, 0][..], &inner[14..]].concat())
        }),
    );
    for number in [0, 1, 2, 4, 33, 41, 50, 61, 103, 132, 255] {
        assert_stopped(
            "some protocol",
            &spoofed(|dice, source| {
                let octets = length(dice, 64, 600);
                ip(source, victim(), number, &dice.bytes(octets))
            }),
        );
    }
    let six: IpAddr = "2001:db8::7".parse().unwrap();
    assert_stopped(
        "ipv6",
        &spoofed(|dice, _| {
            let source = IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(dice.next())).into());
            datagram((source, dice.port()), (six, 53), &dice.bytes(60))
        }),
    );
}

#[test]
fn parts_without_a_beginning_are_stopped() {
    assert_stopped(
        "later parts of UDP",
        &spoofed(|dice, source| {
            let mut frame = ip(source, victim(), 17, &dice.bytes(800));
            let field = 185 + u16::try_from(dice.below(100)).unwrap();
            let id = dice.bytes(2);
            frame[18..20].copy_from_slice(&id);
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            frame
        }),
    );
    let one: IpAddr = "198.51.100.9".parse().unwrap();
    assert_stopped(
        "of one source",
        &spoofed(|dice, _| {
            let mut frame = ip(one, victim(), 17, &dice.bytes(800));
            let id = dice.bytes(2);
            frame[18..20].copy_from_slice(&id);
            frame[20..22].copy_from_slice(&185_u16.to_be_bytes());
            frame
        }),
    );
}

#[test]
fn floods_of_tcp_are_stopped_whatever_their_flags() {
    let to = (victim(), 443);
    // SYN; with ECE and CWR; ACK; PSH ACK; RST; FIN; FIN ACK; XMAS; none; SYN FIN; all; URG.
    for flags in [0x02, 0xc2, 0x10, 0x18, 0x04, 0x01, 0x11, 0x29, 0x00, 0x03, 0xff, 0x20] {
        let name = format!("flags {flags:#04x}");
        let flood = spoofed(|dice, source| {
            let octets = if flags & 0x08 != 0 { 300 } else { 0 };
            let numbers = (dice.word(), dice.word());
            let data = dice.bytes(octets);
            segment((source, dice.port()), to, flags, numbers, &data)
        });
        assert_stopped(&name, &flood);
        let one: IpAddr = "198.51.100.9".parse().unwrap();
        let flood =
            spoofed(|dice, _| segment((one, dice.port()), to, flags, (dice.word(), 1), b""));
        assert_stopped(&name, &flood);
    }
    assert_stopped("land", &spoofed(|_, _| segment(to, to, 0x02, (1, 0), b"")));
}

#[test]
fn reflected_syn_acks_are_stopped_and_so_is_what_the_victim_says_to_them() {
    let mut dice = Dice::new(5);
    let mut capture = Capture::new();
    for number in 0..1500 {
        let (server, port) = ((dice.address(), 443), dice.port());
        let sequence = dice.word();
        capture.add(segment(server, (victim(), port), 0x12, (sequence, number), b""));
        capture.add(segment((victim(), port), server, 0x04, (number, 0), b""));
    }
    assert_stopped("SYN-ACK", &capture);
}

#[test]
fn what_a_victim_answers_makes_no_flood_known() {
    // SYN-ACKs to forged SYNs, some of them reset by the host that has the address.
    let mut dice = Dice::new(6);
    let mut capture = Capture::new();
    for number in 0..1500 {
        let from = (dice.address(), dice.port());
        let to = (victim(), 443);
        capture.add(segment(from, to, 0x02, (number, 0), b""));
        capture.add(segment(to, from, 0x12, (77, number + 1), b""));
        if number % 3 == 0 {
            capture.add(segment(from, to, 0x04, (number + 1, 0), b""));
        }
    }
    assert_stopped("SYN", &capture);
    // ICMP: no such port.
    let mut capture = Capture::new();
    for _ in 0..PACKETS / 2 {
        let answer = datagram((dice.address(), 123), (victim(), 4444), &ntp_private(&mut dice));
        let source = answer[26..30].try_into().map(|it: [u8; 4]| IpAddr::from(it)).unwrap();
        capture.add(answer.clone());
        capture.add(icmp(victim(), source, [3, 3, 0, 0, 0, 0, 0, 0], &answer[14..54]));
    }
    assert_stopped("port unreachable", &capture);
}

#[test]
fn floods_of_icmp_are_stopped() {
    for (name, octets) in [("large", 1400), ("small", 56), ("empty", 0)] {
        assert_stopped(
            name,
            &spoofed(|dice, source| {
                let [a, b] = [dice.byte(), dice.byte()];
                icmp(source, victim(), [8, 0, 0, 0, a, b, 0, 1], &vec![0; octets])
            }),
        );
        let one: IpAddr = "198.51.100.9".parse().unwrap();
        let mut flood = spoofed(|dice, _| {
            icmp(one, victim(), [8, 0, 0, 0, 1, 1, dice.byte(), 1], &vec![0; octets])
        });
        flood.wait(1);
        assert_stopped(name, &flood);
    }
    for kind in [0, 3, 4, 5, 9, 11, 12, 13, 14, 17, 40] {
        assert_stopped(
            "kind",
            &spoofed(|dice, source| {
                icmp(source, victim(), [kind, 0, 0, 0, 1, 1, 1, 1], &dice.bytes(40))
            }),
        );
    }
}

#[test]
fn one_loud_source_is_stopped() {
    let one = ("198.51.100.9".parse().unwrap(), 5000);
    let mut dice = Dice::new(3);
    let mut capture = Capture::new();
    for _ in 0..PACKETS {
        capture.add(datagram(one, (victim(), 9), &dice.bytes(700)));
    }
    assert_stopped("10,000 a second", &capture);
}

#[test]
fn few_loud_sources_are_stopped_whatever_ports_they_use() {
    let mut dice = Dice::new(14);
    for sources in [1, 2, 8] {
        let bots: Vec<IpAddr> = (0..sources).map(|_| dice.address()).collect();
        let mut capture = Capture::new();
        for number in 0..PACKETS {
            let from = (bots[number % sources], dice.port());
            let to = (victim(), dice.port());
            capture.add(datagram(from, to, &dice.bytes(500)));
        }
        assert_stopped("few", &capture);
    }
}

#[test]
fn what_comes_from_its_own_destination_is_stopped() {
    for address in ["198.18.7.7", "2001:db8::7"] {
        let host: IpAddr = address.parse().unwrap();
        let mut dice = Dice::new(15);
        let mut capture = Capture::new();
        for _ in 0..300 {
            let (from, to) = ((host, dice.port()), (host, dice.port()));
            capture.add(datagram(from, to, b"land"));
            capture.add(segment((host, 80), (host, 80), 0x02, (1, 0), b""));
            capture.wait(1_000_000_000);
        }
        let summary = judge_made(&capture, true);
        assert_eq!(summary.by(), [("tcp_land", 300), ("udp_land", 300)], "{summary}");
    }
    // Neighbours whose addresses have three words of four in common are two.
    let mut capture = Capture::new();
    for other in ["2001:db8::8", "2001:db8:0:1::7", "2001:db9::7", "2001:db8::1:0:7"] {
        let from = ("2001:db8::7".parse().unwrap(), 40_000);
        capture.add(datagram(from, (other.parse().unwrap(), 40_000), b"hello"));
    }
    assert_eq!(judge_made(&capture, true).dropped, 0);
}

#[test]
fn forged_reports_are_no_more_than_a_collector_takes() {
    let line = b"<34>Oct 11 22:14:15 host su: failed";
    let flood = spoofed(|dice, source| datagram((source, dice.port()), (victim(), 514), line));
    let summary = judge_made(&flood, true);
    // 10,000 a second: what fills the bucket at once, and 1,000 a second of what comes after.
    let seconds = flood.records.len() as u64 / 10_000 + 1;
    assert!(summary.passed <= 1000 + 1000 * seconds, "{summary}");
}

#[test]
fn a_flood_engages_by_its_own_clock_and_is_judged_from_there_on() {
    let mut capture = Capture::new();
    let mut dice = Dice::new(8);
    for _ in 0..8 * PACKETS {
        let answer = ntp_private(&mut dice);
        capture.add(datagram((dice.address(), 123), (victim(), 4444), &answer));
    }
    let summary = judge_made(&capture, false);
    let engaged = summary.engaged.as_deref().unwrap();
    assert_eq!(engaged.len(), 1, "{summary}");
    assert_eq!((engaged[0].destination, engaged[0].to_ns), (victim(), None));
    // 3,000 new flows in a second are too many; what came before passes.
    assert!(engaged[0].from_ns < 400_000_000, "{summary}");
    assert_eq!(summary.passed, 3000, "{summary}");
}
