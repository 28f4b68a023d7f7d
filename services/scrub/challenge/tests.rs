//! SYNs that are answered, resets that are answers, and all that is neither.

use tidegate_dataplane::wire::{Vlan, checksum, ethernet};

use super::*;

const NOW: u64 = 1 << 40;
const SLOT_NS: u64 = 1 << SLOT_BITS;

fn challenger() -> Challenger {
    Challenger::new(Key::fixed(11))
}

/// A segment as a client sends it.
#[derive(Clone, Copy)]
struct Segment {
    v4: bool,
    flags: Flags,
    sequence: u32,
    options: usize,
    tags: usize,
    port: u16,
}

const SYN: Segment =
    Segment { v4: true, flags: Flags::SYN, sequence: 77, options: 20, tags: 0, port: 40_000 };

impl Segment {
    fn ends(&self) -> Ends {
        let (source, destination) = match self.v4 {
            true => ("198.18.0.1", "198.18.0.2"),
            false => ("2001:db8::1", "2001:db8::2"),
        };
        Ends {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port: self.port,
            destination_port: 443,
        }
    }

    fn frame(&self) -> Vec<u8> {
        let ends = self.ends();
        let mut segment = tcp::Header {
            source: ends.source_port,
            destination: ends.destination_port,
            sequence: self.sequence,
            acknowledgment: 0,
            flags: self.flags,
            window: 64_240,
            checksum: 0,
        }
        .emit()
        .to_vec();
        segment.extend(vec![1; self.options]);
        segment[12] = u8::try_from(segment.len() / 4).unwrap() << 4;
        let mut ip = vec![0; 40];
        // The same writer, the other way.
        let back = Ends { source: ends.destination, destination: ends.source, ..ends };
        let octets = back.write_back(&mut ip, segment.len());
        ip.truncate(octets);
        let ether_type = if self.v4 { 0x0800 } else { 0x86dd };
        let (destination, source) = ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
        let first = if self.tags > 0 { ethernet::ether_type::VLAN } else { ether_type };
        let mut frame = ethernet::Header { destination, source, ether_type: first }.emit().to_vec();
        for tag in 1..=self.tags {
            let next = if tag == self.tags { ether_type } else { ethernet::ether_type::VLAN };
            let id = u16::try_from(tag).unwrap();
            frame.extend(Vlan::new(id, 3).unwrap().emit(next));
        }
        frame.extend(ip);
        frame.extend(segment);
        frame
    }

    fn tcp_of(frame: &[u8]) -> Tcp<'_> {
        let Transport::Tcp(tcp) = Packet::parse(frame).unwrap().transport() else { panic!() };
        tcp
    }
}

/// The answer to `syn`, checked in all that does not depend on the cookie.
fn answered(challenger: &Challenger, syn: Segment, now_ns: u64) -> Option<u32> {
    let (asked, mut frame) = (syn.frame(), syn.frame());
    let octets = challenger.answer(&mut frame, now_ns)?;
    assert!(octets <= asked.len(), "the answer is no longer than the SYN");
    assert_eq!(frame[octets..], asked[octets..], "nothing written behind it");
    frame.truncate(octets);
    assert_eq!((&frame[..6], &frame[6..12]), (&asked[6..12], &asked[..6]));
    let (question, answer) = (Packet::parse(&asked).unwrap(), Packet::parse(&frame).unwrap());
    assert!(question.ethernet().tags().eq(answer.ethernet().tags()));
    assert_eq!(
        (answer.source(), answer.destination()),
        (question.destination(), question.source())
    );
    assert_eq!(answer.ports(), question.ports().map(|(a, b)| (b, a)));
    let tcp = Segment::tcp_of(&frame);
    assert_eq!(tcp.flags(), Flags::SYN.with(Flags::ACK));
    assert_ne!(tcp.acknowledgment(), syn.sequence.wrapping_add(1));
    assert_eq!(tcp.options(), if syn.options > 0 { &MSS[..] } else { &[] });
    // Checksums: of the IP header, and of the segment with its pseudo header.
    if let Network::V4(ip) = answer.network() {
        assert!(ip.checksum_is_right());
    }
    let mut again = frame.clone();
    transport::TransportChecksum::of(&frame).unwrap().finish(&mut again);
    assert_eq!(again, frame);
    let segment = frame.len() - (20 + tcp.options().len());
    let sum = match (answer.source(), answer.destination()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            checksum::pseudo_v4(a, b, 6, u16::try_from(frame.len() - segment).unwrap())
        }
        (a, b) => checksum::pseudo_v6(
            bits(a).into(),
            bits(b).into(),
            6,
            u32::try_from(frame.len() - segment).unwrap(),
        ),
    };
    assert_eq!(sum.add_octets(&frame[segment..]).finish(), 0);
    Some(tcp.acknowledgment())
}

fn is_answer(challenger: &Challenger, reset: Segment, now_ns: u64) -> bool {
    let frame = reset.frame();
    challenger.is_answered_by(&reset.ends(), Segment::tcp_of(&frame), now_ns)
}

#[test]
fn a_syn_becomes_its_answer_and_the_reset_to_that_verifies() {
    for v4 in [true, false] {
        for tags in 0..=2 {
            for options in [0, 4, 40] {
                let syn = Segment { v4, tags, options, ..SYN };
                let cookie = answered(&challenger(), syn, NOW).unwrap();
                for flags in [Flags::RST, Flags::RST.with(Flags::ACK)] {
                    let reset = Segment { flags, sequence: cookie, options: 0, ..syn };
                    assert!(is_answer(&challenger(), reset, NOW));
                }
            }
        }
    }
}

#[test]
fn an_answer_counts_in_its_slot_and_the_next_and_at_no_other_time() {
    let cookie = answered(&challenger(), SYN, NOW + SLOT_NS - 1).unwrap();
    let reset = Segment { flags: Flags::RST, sequence: cookie, ..SYN };
    for (now_ns, right) in [
        (NOW + SLOT_NS - 1, true),
        (NOW + SLOT_NS, true),
        (NOW + 2 * SLOT_NS - 1, true),
        (NOW + 2 * SLOT_NS, false),
        // A clock that was set back, or far forth.
        (NOW - 1, false),
        (0, false),
        (u64::MAX, false),
    ] {
        assert_eq!(is_answer(&challenger(), reset, now_ns), right, "{now_ns}");
    }
}

#[test]
fn a_cookie_is_that_of_its_ends_and_of_its_key() {
    for v4 in [true, false] {
        let syn = Segment { v4, ..SYN };
        let sequence = answered(&challenger(), syn, NOW).unwrap();
        let reset = Segment { flags: Flags::RST, sequence, ..syn };
        assert!(is_answer(&challenger(), reset, NOW));
        assert!(!is_answer(&challenger(), Segment { port: 40_001, ..reset }, NOW));
        assert!(!is_answer(&challenger(), Segment { v4: !v4, ..reset }, NOW));
        assert!(!is_answer(&challenger(), Segment { sequence: sequence ^ 1, ..reset }, NOW));
        assert!(!is_answer(&Challenger::new(Key::fixed(12)), reset, NOW));
        for flags in [Flags::ACK, Flags::SYN, Flags::FIN, Flags::RST.with(Flags::SYN)] {
            assert!(!is_answer(&challenger(), Segment { flags, ..reset }, NOW), "{flags:?}");
        }
    }
}

#[test]
fn no_syn_gets_an_acknowledgement_that_it_could_take_for_right() {
    let cookie = answered(&challenger(), SYN, NOW).unwrap();
    // Sequence numbers for which this cookie is that of the SYN, or of the SYN and some data.
    for behind in [1, 2, 1000, SENT_MAX] {
        let syn = Segment { sequence: cookie.wrapping_sub(behind), ..SYN };
        let mut frame = syn.frame();
        assert_eq!(challenger().answer(&mut frame, NOW), None);
        assert_eq!(frame, syn.frame());
        assert!(answered(&challenger(), syn, NOW + SLOT_NS).is_some(), "the next slot has another");
    }
    for behind in [0, SENT_MAX + 1, 1 << 31] {
        let syn = Segment { sequence: cookie.wrapping_sub(behind), ..SYN };
        assert_eq!(answered(&challenger(), syn, NOW), Some(cookie));
    }
}

#[test]
fn guesses_at_random_do_not_hit() {
    let challenger = challenger();
    let mut random = 1_u64;
    let hits = (0..100_000).filter(|_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let port = u16::try_from(random >> 48).unwrap();
        let guess = Segment { flags: Flags::RST, sequence: low(random >> 13), port, ..SYN };
        is_answer(&challenger, guess, NOW)
    });
    // 1 in 20,000 that one of them does; the seed is fixed.
    assert_eq!(hits.count(), 0);
}

#[test]
fn what_nobody_may_answer_is_left_as_it_was() {
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = SYN.frame();
        change(&mut frame);
        let before = frame.clone();
        assert_eq!(challenger().answer(&mut frame, NOW), None);
        assert_eq!(frame, before);
    };
    refused(&|frame| frame[6] |= 1); // From a group.
    refused(&|frame| frame[0] |= 1); // To a group.
    refused(&|frame| frame[26] = 127);
    refused(&|frame| frame[26] = 0);
    refused(&|frame| frame[26] = 224);
    refused(&|frame| frame[30] = 255);
    refused(&|frame| frame[20] = 0x20); // More fragments follow.
    refused(&|frame| frame[23] = protocol::UDP);
    refused(&|frame| frame.truncate(40));
    refused(&|frame| frame.clear());
    for flags in [Flags::SYN.with(Flags::ACK), Flags::SYN.with(Flags::FIN), Flags::ACK, Flags(0)] {
        refused(&|frame| frame[47] = flags.0);
    }
    for address in ["::", "::1", "ff02::1"] {
        let address: std::net::Ipv6Addr = address.parse().unwrap();
        let mut frame = Segment { v4: false, ..SYN }.frame();
        frame[22..38].copy_from_slice(&address.octets());
        assert_eq!(challenger().answer(&mut frame, NOW), None);
    }
}

#[test]
fn headers_that_the_syn_had_and_the_answer_has_not_make_it_shorter() {
    // IPv4 options, and data as with fast open.
    let mut frame = SYN.frame();
    frame.splice(34..34, [1, 1, 1, 0]);
    frame[14] = 0x46;
    frame.extend([7; 100]);
    let octets = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&octets.to_be_bytes());
    assert_eq!(challenger().answer(&mut frame, NOW), Some(14 + 20 + 24));
    // An extension header of IPv6.
    let mut frame = Segment { v4: false, ..SYN }.frame();
    frame.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
    frame[20] = protocol::DESTINATION_OPTIONS;
    frame[19] += 8;
    assert_eq!(challenger().answer(&mut frame, NOW), Some(14 + 40 + 24));
}
