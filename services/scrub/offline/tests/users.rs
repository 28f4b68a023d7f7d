//! What users and services do, made by what their protocols say. Under attack it passes, too.

use std::net::IpAddr;

use super::craft::{At, Capture, Dice, datagram, icmp, ip, judge_made, parts, segment};

fn at(address: &str, port: u16) -> At {
    (address.parse().unwrap(), port)
}

fn client(number: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, number])
}

#[track_caller]
fn assert_untouched(name: &str, capture: &Capture) {
    let peace = judge_made(capture, false);
    assert_eq!((peace.dropped, peace.engaged.as_deref()), (0, Some(&[][..])), "{name}: {peace}");
    let attack = judge_made(capture, true);
    assert!(attack.passed * 100 >= attack.packets * 99, "{name}: {attack}");
}

/// Questions and answers between one client and one server.
fn exchange(
    from: At,
    to: At,
    rounds: usize,
    mut question: impl FnMut(usize) -> Vec<u8>,
    mut answer: impl FnMut(usize) -> Vec<u8>,
) -> Capture {
    let mut capture = Capture::new();
    for round in 0..rounds {
        capture.add(datagram(from, to, &question(round)));
        capture.add(datagram(to, from, &answer(round)));
        capture.wait(20_000_000);
    }
    capture
}

fn dns(flags: u8, kind: u8, octets: usize) -> Vec<u8> {
    let mut message = vec![1, 2, flags, 0x80, 0, 1, 0, 1, 0, 0, 0, 1];
    message.extend(b"\x07example\x03com\0\0");
    message.extend([kind, 0, 1]);
    message.resize(octets.max(message.len()), 7);
    message
}

#[test]
fn answers_that_were_asked_for_pass_whatever_their_shape() {
    let server = "192.0.2.1";
    // The shapes of floods, asked for.
    let answers: [(&str, u16, Vec<u8>); 9] = [
        ("dns", 53, dns(0x81, 46, 1400)),
        ("dns any", 53, dns(0x81, 255, 300)),
        (
            "snmp",
            161,
            [b"\x30\x82\x04\x00\x02\x01\x01\x04\x06public\xa2".to_vec(), vec![0; 1000]].concat(),
        ),
        ("ntp readvar", 123, [vec![0x16, 0x82], vec![b'x'; 400]].concat()),
        ("cldap", 389, [vec![0x30, 0x84, 0, 0, 4, 0, 2, 1, 7, 0x64, 0x84], vec![1; 900]].concat()),
        ("memcached", 11211, b"\0\x01\0\0\0\x01\0\0VALUE x 0 3\r\nabc\r\nEND\r\n".to_vec()),
        ("dvr", 37810, [b"\x20\0\0\0DHIP".to_vec(), vec![b'{'; 400]].concat()),
        ("steam", 27015, [b"\xff\xff\xff\xffI\x11name".to_vec(), vec![b'a'; 100]].concat()),
        ("ssdp", 1900, b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\n\r\n".to_vec()),
    ];
    for (name, port, answer) in answers {
        for (from, to) in [
            (at("198.18.7.7", 40_000), at(server, port)),
            (at("2001:db8::7", 40_000), at("2001:db8::53", port)),
        ] {
            let capture = exchange(from, to, 30, |_| vec![1; 40], |_| answer.clone());
            assert_untouched(name, &capture);
        }
    }
}

#[test]
fn a_server_of_many_clients_is_no_victim() {
    let mut dice = Dice::new(1);
    let server = at("198.18.7.7", 53);
    let mut capture = Capture::new();
    for _ in 0..2000 {
        let from = (dice.address(), dice.port());
        capture.add(datagram(from, server, &dns(0x01, 1, 40)));
        // One in twenty has no answer.
        if dice.below(20) > 0 {
            capture.add(datagram(server, from, &dns(0x81, 1, 120)));
        }
    }
    assert_untouched("name server", &capture);
}

#[test]
fn small_answers_pass_where_the_questions_are_not_in_the_capture() {
    let cases: [(&str, u16, Vec<u8>); 8] = [
        ("dns", 53, dns(0x81, 1, 180)),
        (
            "snmp",
            161,
            [b"\x30\x81\xa0\x02\x01\x01\x04\x06public\xa2".to_vec(), vec![0; 150]].concat(),
        ),
        ("ntp", 123, [vec![0x24, 2, 3, 0xe9], vec![7; 44]].concat()),
        ("quic", 443, [vec![0xc3, 0, 0, 0, 1, 8], vec![9; 1200]].concat()),
        ("wireguard", 51820, [vec![4, 0, 0, 0], vec![3; 1400]].concat()),
        ("openvpn", 1194, [vec![0x48], vec![3; 1200]].concat()),
        ("rtp", 16_384, [vec![0x80, 0, 0, 1], vec![3; 160]].concat()),
        ("ipsec", 4500, [vec![0, 1, 2, 3, 0, 0, 0, 9], vec![3; 1300]].concat()),
    ];
    for (name, port, answer) in cases {
        for servers in [1, 4, 12] {
            let mut capture = Capture::new();
            for packet in 0..240_u8 {
                let from = (client(1 + packet % servers), port);
                capture.add(datagram(from, at("198.18.7.7", 40_000), &answer));
                capture.wait(20_000_000);
            }
            assert_untouched(name, &capture);
        }
    }
}

#[test]
fn streams_that_nobody_answers_pass() {
    let mut dice = Dice::new(2);
    let to = at("198.18.7.7", 5004);
    // 50 packets a second, as a call has them; 1,000, as video has.
    for (packets, gap) in [(500_u16, 20_000_000), (5000, 900_000)] {
        let mut capture = Capture::new();
        for number in 0..packets {
            let data = [&[0x80, 0x60][..], &number.to_be_bytes(), &dice.bytes(1000)].concat();
            capture.add(datagram(at("203.0.113.5", 5004), to, &data));
            capture.wait(gap);
        }
        assert_untouched("rtp", &capture);
    }
    // Logs, traps and flows of a dozen devices.
    for (port, octets) in [(514, 200), (162, 180), (2055, 1400), (6343, 1300), (25_826, 1300)] {
        let mut capture = Capture::new();
        for number in 0..300_u16 {
            let from = (client(1 + (number % 12) as u8), 50_000 + number % 12);
            capture.add(datagram(from, at("198.18.7.7", port), &dice.bytes(octets)));
            capture.wait(5_000_000);
        }
        assert_untouched("collector", &capture);
    }
}

#[test]
fn a_crowd_that_reports_now_and_then_passes() {
    let mut dice = Dice::new(3);
    let mut capture = Capture::new();
    for number in 0..200_u16 {
        let from = (client(1 + (number % 50) as u8), 50_000 + number);
        capture.add(datagram(from, at("198.18.7.7", 5514), &dice.bytes(200)));
        capture.wait(200_000_000);
    }
    assert_untouched("reports", &capture);
}

#[test]
fn what_many_hosts_report_passes_by_its_shape() {
    let mut dice = Dice::new(4);
    let to = |port| at("198.18.7.7", port);
    let heads: [(u16, &[u8]); 5] = [
        (514, b"<34>Oct 11 22:14:15 host su: "),
        (162, b"\x30\x81\x90\x02\x01\x01\x04\x06public"),
        (2055, b"\0\x09\0\x08"),
        (6343, b"\0\0\0\x05\0\0\0\x01"),
        (25_826, b"\0\0\0\x09host"),
    ];
    for (port, head) in heads {
        let mut capture = Capture::new();
        for number in 0..1000_u16 {
            let from = (client(1 + (number % 200) as u8), 50_000 + number);
            capture.add(datagram(from, to(port), &[head, &dice.bytes(150)].concat()));
            capture.wait(2_000_000);
        }
        assert_untouched("reports", &capture);
    }
}

#[test]
fn a_house_full_of_discovery_passes() {
    let mut capture = Capture::new();
    let asks = [
        ("239.255.255.250", 1900, &b"M-SEARCH * HTTP/1.1\r\nST: ssdp:all\r\n\r\n"[..]),
        ("239.255.255.250", 3702, b"<?xml version=\"1.0\"?><soap:Envelope>Probe"),
        ("224.0.0.251", 5353, b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_ipp\x04_tcp\x05local\0\0\x0c\0\x01"),
        ("192.168.1.255", 137, b"\x12\x34\x01\x10\0\x01\0\0\0\0\0\0 FHEPFCELFDFEEBFEEJEPEO"),
        ("255.255.255.255", 37810, b"\x20\0\0\0DHIP"),
        ("255.255.255.255", 67, b"\x01\x01\x06\0"),
    ];
    // Thirty hosts ask everybody, all the time: groups never answer.
    for round in 0..40_u8 {
        for (group, port, question) in asks {
            let from =
                (IpAddr::from([192, 168, 1, 10 + round % 30]), 50_000 + u16::from(round % 30));
            let mut frame = datagram(from, at(group, port), question);
            if group.ends_with(".255") {
                frame[..6].fill(0xff);
            }
            capture.add(frame);
            if port == 1900 {
                // And are answered from elsewhere than where they asked.
                for device in [[192, 168, 1, 1], [203, 0, 113, 77]] {
                    let answer = b"HTTP/1.1 200 OK\r\nUSN: uuid:1\r\n\r\n";
                    capture.add(datagram((device.into(), 1900), from, answer));
                }
            }
        }
        let announce = b"NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\n\r\n";
        capture.add(datagram(at("192.168.1.1", 1900), at("239.255.255.250", 1900), announce));
        let answer = [b"\0\0\x84\0\0\0\0\x03\0\0\0\0".to_vec(), vec![7; 300]].concat();
        capture.add(datagram(at("192.168.1.9", 5353), at("224.0.0.251", 5353), &answer));
        capture.wait(100_000_000);
    }
    assert_untouched("house", &capture);
}

#[test]
fn what_is_answered_from_another_port_was_asked_for() {
    let (client, server) = (at("198.18.7.7", 40_000), "192.0.2.1");
    let mut capture = Capture::new();
    capture.add(datagram(client, at(server, 69), b"\0\x01file\0octet\0"));
    for block in 1..200_u16 {
        let data = [&[0, 3][..], &block.to_be_bytes(), &[7; 512]].concat();
        capture.add(datagram(at(server, 3333), client, &data));
        capture.add(datagram(
            client,
            at(server, 3333),
            &[&[0, 4][..], &block.to_be_bytes()].concat(),
        ));
    }
    assert_untouched("tftp", &capture);
}

#[test]
fn long_answers_in_parts_follow_their_first_part_in_any_order() {
    let (from, to) = (at("198.18.7.7", 40_000), at("192.0.2.1", 53));
    let mut capture = Capture::new();
    for round in 0..60_u16 {
        capture.add(datagram(from, to, &dns(1, 48, 40)));
        let mut answer = parts(to, from, &dns(0x81, 48, 3900), 100 + round);
        match round % 3 {
            0 => {}
            1 => answer.reverse(),
            _ => answer.swap(1, 2),
        }
        answer.into_iter().for_each(|part| capture.add(part));
    }
    assert_untouched("dnssec", &capture);
}

#[test]
fn calls_through_stun_and_peers_pass() {
    let mut dice = Dice::new(4);
    let me = at("198.18.7.7", 50_000);
    let (server, peer) = (at("192.0.2.7", 3478), at("203.0.113.9", 60_000));
    let mut capture = Capture::new();
    for _ in 0..10 {
        let id = dice.bytes(12);
        capture.add(datagram(
            me,
            server,
            &[&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &id].concat(),
        ));
        capture.add(datagram(
            server,
            me,
            &[&[1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42][..], &id, &[0; 12]].concat(),
        ));
    }
    for number in 0..600_u16 {
        let media = [&[0x80, 0x6f][..], &number.to_be_bytes(), &dice.bytes(160)].concat();
        capture.add(datagram(peer, me, &media));
        capture.add(datagram(me, peer, &media));
        capture.wait(20_000_000);
    }
    assert_untouched("call", &capture);
}

#[test]
fn handshakes_of_vpns_pass() {
    let mut dice = Dice::new(9);
    for port in [500, 4500] {
        let (from, to) = (at("203.0.113.9", port), at("198.18.7.7", port));
        let mut capture = Capture::new();
        for _ in 0..20 {
            let ours = dice.bytes(8);
            let theirs = dice.bytes(8);
            let head = |flags, kind| [0x21, 0x20, kind, flags, 0, 0, 0, 0, 0, 0, 1, 0];
            capture.add(datagram(
                from,
                to,
                &[&ours[..], &[0; 8], &head(0x08, 34), &[7; 300]].concat(),
            ));
            capture.add(datagram(
                to,
                from,
                &[&ours[..], &theirs, &head(0x20, 34), &[7; 300]].concat(),
            ));
            capture.add(datagram(
                from,
                to,
                &[&ours[..], &theirs, &head(0x08, 35), &[7; 900]].concat(),
            ));
            capture.add(datagram(
                to,
                from,
                &[&ours[..], &theirs, &head(0x20, 35), &[7; 900]].concat(),
            ));
        }
        assert_untouched("ike", &capture);
    }
    // The answers alone: one responder, a few handshakes.
    let mut capture = Capture::new();
    for _ in 0..8 {
        let head = [0x21, 0x20, 34, 0x20, 0, 0, 0, 0, 0, 0, 1, 0];
        let answer = [&dice.bytes(16)[..], &head, &[7; 300]].concat();
        capture.add(datagram(at("203.0.113.9", 500), at("198.18.7.7", 500), &answer));
        capture.wait(1_000_000_000);
    }
    assert_untouched("ike answers", &capture);
}

#[test]
fn errors_about_what_was_sent_pass_and_others_do_not() {
    let (me, there) = (at("198.18.7.7", 40_000), at("192.0.2.9", 33_434));
    let mut capture = Capture::new();
    for hop in 1..60_u8 {
        let probe = datagram(me, there, &[hop; 32]);
        capture.add(probe.clone());
        capture.add(icmp(client(hop), me.0, [11, 0, 0, 0, 0, 0, 0, 0], &probe[14..]));
    }
    assert_untouched("traceroute", &capture);
    let quoted = datagram(me, at("192.0.2.77", 53), b"never sent");
    let mut capture = Capture::new();
    for hop in 1..60_u8 {
        capture.add(icmp(client(hop), me.0, [11, 0, 0, 0, 0, 0, 0, 0], &quoted[14..]));
    }
    let summary = judge_made(&capture, true);
    assert_eq!(summary.passed, 0, "{summary}");
}

/// A connection of so many exchanges, with right numbers.
fn connection(capture: &mut Capture, from: At, to: At, rounds: u32) {
    let (ours, theirs) = (1000, 9000);
    capture.add(segment(from, to, 0x02, (ours, 0), b""));
    capture.add(segment(to, from, 0x12, (theirs, ours + 1), b""));
    capture.add(segment(from, to, 0x10, (ours + 1, theirs + 1), b""));
    let (mut mine, mut its) = (ours + 1, theirs + 1);
    for _ in 0..rounds {
        capture.add(segment(from, to, 0x18, (mine, its), &[7; 100]));
        mine += 100;
        capture.add(segment(to, from, 0x18, (its, mine), &[7; 1000]));
        its += 1000;
    }
    capture.add(segment(from, to, 0x11, (mine, its), b""));
    capture.add(segment(to, from, 0x11, (its, mine + 1), b""));
    capture.add(segment(from, to, 0x10, (mine + 1, its + 1), b""));
}

#[test]
fn connections_that_come_about_pass_and_syns_without_one_are_challenged() {
    let mut capture = Capture::new();
    for number in 1..=40 {
        for port in 0..5 {
            let from = (client(number), 40_000 + port);
            connection(&mut capture, from, at("198.18.7.7", 443), 20);
        }
    }
    let peace = judge_made(&capture, false);
    assert_eq!(peace.dropped, 0, "{peace}");
    for port in 0..30 {
        capture.add(segment((client(1), 50_000 + port), at("198.18.7.7", 443), 0x02, (1, 0), b""));
    }
    let attack = judge_made(&capture, true);
    assert_eq!((attack.challenged, attack.dropped), (30, 30), "{attack}");
}

#[test]
fn a_capture_that_begins_within_connections_keeps_them() {
    let mut capture = Capture::new();
    connection(&mut capture, at("203.0.113.9", 40_000), at("198.18.7.7", 443), 50);
    capture.records.drain(..20);
    let attack = judge_made(&capture, true);
    assert_eq!(attack.dropped, 0, "{attack}");
}

#[test]
fn one_direction_of_a_connection_passes_where_nothing_surges() {
    let (client, server) = (at("203.0.113.9", 40_000), at("198.18.7.7", 443));
    let mut both = Capture::new();
    connection(&mut both, client, server, 20);
    for source in [client, server] {
        let mut capture = both.clone();
        let IpAddr::V4(address) = source.0 else { unreachable!("both are IPv4") };
        capture.records.retain(|record| record.bytes[26..30] == address.octets());
        let attack = judge_made(&capture, true);
        // What opens a connection is known by nothing.
        let opening = u64::from(source == client);
        assert!(attack.dropped <= opening, "{attack}");
        // Beside a flood it is not taken for a connection: forged segments could be made like it.
        let mut dice = Dice::new(12);
        for _ in 0..200 {
            let (from, to) = ((dice.address(), dice.port()), (server.0, 27_015));
            capture.add(datagram(from, to, &dice.bytes(60)));
        }
        let flooded = judge_made(&capture, true);
        assert_eq!(flooded.passed, 0, "{flooded}");
    }
    // The same octets again and again, and numbers at random, are no connection.
    let mut dice = Dice::new(13);
    for forged in [false, true] {
        let mut capture = Capture::new();
        for _ in 0..40 {
            let numbers = if forged { (dice.word(), dice.word()) } else { (5, 6) };
            capture.add(segment(client, server, 0x18, numbers, &[7; 40]));
        }
        let attack = judge_made(&capture, true);
        assert_eq!(attack.passed, 0, "{attack}");
    }
}

#[test]
fn who_mostly_gets_connections_may_fail_to_get_one() {
    let server = "198.18.7.7";
    let mut capture = Capture::new();
    for port in 0..5 {
        connection(&mut capture, (client(1), 40_000 + port), at(server, 443), 20);
    }
    let mut scan = capture.clone();
    for port in 0..3 {
        capture.add(segment((client(1), 50_000 + port), at(server, 444), 0x02, (1, 0), b""));
    }
    let attack = judge_made(&capture, true);
    assert_eq!(attack.dropped, 0, "{attack}");
    // Whoever fails as often is asked, whatever connections it has.
    for port in 0..5 {
        scan.add(segment((client(1), 50_000 + port), at(server, 400 + port), 0x02, (1, 0), b""));
    }
    let attack = judge_made(&scan, true);
    assert_eq!((attack.challenged, attack.dropped), (5, 5), "{attack}");
}

#[test]
fn a_length_that_was_left_to_the_card_is_no_mistake() {
    let mut capture = Capture::new();
    connection(&mut capture, at("203.0.113.9", 40_000), at("198.18.7.7", 443), 50);
    for record in capture.records.iter_mut().filter(|it| it.bytes.len() > 1000) {
        record.bytes[16..18].fill(0);
    }
    assert_untouched("segments by the card", &capture);
    // Of other protocols nobody leaves it out.
    let mut frame = datagram(at("203.0.113.9", 40_000), at("198.18.7.7", 53), &[7; 90]);
    frame[16..18].fill(0);
    let mut capture = Capture::new();
    capture.add(frame);
    assert_eq!(judge_made(&capture, true).dropped, 1);
}

#[test]
fn tunnels_pings_and_link_protocols_that_are_answered_pass() {
    let (one, other): (IpAddr, IpAddr) = (client(1), "198.18.7.7".parse().unwrap());
    for number in [4, 41, 47, 50, 51, 89, 112, 115, 132] {
        let mut capture = Capture::new();
        for _ in 0..100 {
            capture.add(ip(one, other, number, &[0x45; 100]));
            capture.add(ip(other, one, number, &[0x45; 100]));
        }
        assert_untouched("tunnel", &capture);
    }
    let mut capture = Capture::new();
    for number in 0..100_u8 {
        capture.add(icmp(one, other, [8, 0, 0, 0, 9, 9, 0, number], &[7; 56]));
        capture.add(icmp(other, one, [0, 0, 0, 0, 9, 9, 0, number], &[7; 56]));
        capture.wait(1_000_000_000);
    }
    assert_untouched("ping", &capture);
}

#[test]
fn users_pass_while_the_same_host_is_flooded() {
    let mut dice = Dice::new(11);
    let victim = at("198.18.7.7", 40_000);
    let mut capture = Capture::new();
    let mut floods = 0;
    for round in 0..400_u16 {
        let asked = at("192.0.2.1", 53);
        capture.add(datagram(victim, asked, &dns(1, 1, 40)));
        for _ in 0..9 {
            let answer = [&[0xd7, 0, 3, 0x2a][..], &dice.bytes(436)].concat();
            capture.add(datagram((dice.address(), 123), (victim.0, dice.port()), &answer));
            floods += 1;
        }
        capture.add(datagram(asked, victim, &dns(0x81, 1, 900)));
        let game = (client(1 + (round % 8) as u8), 30_000);
        capture.add(datagram(game, (victim.0, 27015), &dice.bytes(80)));
        capture.add(datagram((victim.0, 27015), game, &dice.bytes(300)));
    }
    let summary = judge_made(&capture, true);
    assert_eq!((summary.dropped, summary.passed), (floods, 1600), "{summary}");
}
