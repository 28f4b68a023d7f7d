//! Every kind of address and mark, from sender to receiver.

use tidegate_dataplane::wire::packet::{Network, Packet};

use super::*;

/// Addresses of each kind, with and without a tag.
fn kinds() -> Vec<sender::Options> {
    let addresses = [
        ("198.18.0.1:20000", "198.18.0.2:20000"),
        ("198.18.0.1:20000", "239.18.0.2:20000"),
        ("[2001:db8::1]:20000", "[2001:db8::2]:20000"),
        ("[2001:db8::1]:20000", "[ff3e::8000:1]:20000"),
    ];
    let tags = ["", "vlan = { id = 100, priority = 5 }\n"];
    let marks = tags.map(|tag| format!("{tag}dscp = \"CS5\"\nttl = 17\n"));
    let all = addresses.into_iter().flat_map(|address| marks.iter().map(move |it| (address, it)));
    all.map(|((source, destination), marks)| {
        let marks: String =
            SENDER.replace("198.18.0.2:20000", destination).replace("198.18.0.1:20000", source)
                + marks;
        let read: sender::Options =
            tidegate_config::Options::from_text(&marks).unwrap().parse().unwrap();
        let sender::Options { destination, source_address, vlan, dscp, ttl, .. } = read;
        sender::Options { destination, source_address, vlan, dscp, ttl, ..sender() }
    })
    .collect()
}

#[test]
fn every_frame_arrives_bit_for_bit_from_addresses_of_every_kind() {
    for options in kinds() {
        let to = (options.destination, options.vlan);
        let options = sender::Options { frames: Some(3), ..options };
        let mut sim = joined(1, options, Faults::default());
        run_frames(&mut sim, 3);
        let (_, received) = ended(&mut sim);
        assert_eq!(received.counter("packets_received"), 3 * PACKETS, "{to:?}");
        let frames = received.counter("frames_verified") + received.counter("frames_dropped");
        assert_eq!((frames, received.counter("frames_received")), (3, 3), "{to:?}");
        assert_eq!(received.counter("frames_wrong"), 0, "{to:?}");
    }
}

#[test]
fn packets_have_the_marks_that_were_asked_for_and_ipv6_a_checksum_that_is_right() {
    for options in kinds() {
        for checksum in [ChecksumBy::Software, ChecksumBy::Kernel, ChecksumBy::Driver] {
            let tx = TxOffloads { checksum, launch_time: false };
            let (packets, _) = sent_by(options.clone(), tx, 1);
            assert_eq!(packets.len() as u64, PACKETS);
            for (octets, _) in packets {
                let packet = Packet::parse(&octets).unwrap();
                let ethernet = packet.ethernet();
                let tag = ethernet.tags().next().map(|tag| (tag.id(), tag.priority()));
                assert_eq!(tag, options.vlan.map(|_| (100, 5)));
                let marks = match packet.network() {
                    Network::V4(ip) => (ip.traffic_class(), ip.ttl()),
                    Network::V6(ip) => (ip.traffic_class(), ip.hop_limit()),
                };
                assert_eq!(marks, (40 << 2, 17));
                assert_eq!(packet.destination(), options.destination.ip());
                if options.destination.is_ipv6() {
                    let mut right = octets.clone();
                    TransportChecksum::of(&octets).unwrap().finish(&mut right);
                    assert!(octets == right, "{options:?} by {checksum}");
                }
            }
        }
    }
}

#[test]
fn mistakes_in_addresses_are_found_before_anything_runs() {
    let v6 = |text: &str| {
        text.replace("198.18.0.1", "[2001:db8::1]").replace("198.18.0.2", "[2001:db8::2]")
    };
    checked("stream-send", &v6(SENDER)).unwrap();
    for (text, key, allowed) in [
        (SENDER.replace("198.18.0.2", "[2001:db8::2]"), "source_address", "an address of IPv6"),
        (SENDER.replace("198.18.0.2", "0.0.0.0"), "destination", "a receiver or a group"),
        (SENDER.to_owned() + "vlan = 4095\n", "vlan", "1 to 4094"),
        (SENDER.to_owned() + "ttl = 0\n", "ttl", "1, which no router passes on, to 255"),
        (v6(SENDER) + "checksum = \"none\"\n", "checksum", "\"auto\" or \"full\""),
    ] {
        let said = checked("stream-send", &text).unwrap_err();
        assert!(said.contains(&format!("error: options.{key}\n")), "{said}");
        assert!(said.contains(allowed), "{said}");
    }
}
