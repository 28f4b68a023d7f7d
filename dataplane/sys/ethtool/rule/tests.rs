//! Rules as octets, against what another program sends to the kernel.

use super::*;

/// What `ethtool` 6.1 of Debian 12 hands to the kernel for a command line, taken at its ioctl:
/// words 4 to 44 of the request, which are the rule, as octets in memory; words of zeros that
/// follow one another are written as their number.
const SENT: [(&str, &str); 8] = [
    (
        "flow-type udp4 src-ip 198.18.0.0 m 0.0.255.255 dst-ip 198.19.1.2 dst-port 5004 m 0x3 \
         action 2",
        "02000000 c6120000 c6130102 0000138c x15 ffff0000 ffffffff 0000fffc x16 02000000 00000000 \
         3f000000",
    ),
    (
        "flow-type tcp4 dst-ip 198.19.1.2 dst-port 80 action 3",
        "01000000 00000000 c6130102 00000050 x15 00000000 ffffffff 0000ffff x16 03000000 00000000 \
         07000000",
    ),
    (
        "flow-type sctp4 dst-ip 198.19.1.2 dst-port 80 action 3",
        "03000000 00000000 c6130102 00000050 x15 00000000 ffffffff 0000ffff x16 03000000 00000000 \
         07000000",
    ),
    (
        "flow-type tcp6 src-ip 2001:db8:5:: m ::ffff:ffff:ffff:ffff:ffff dst-ip 2001:db8::1 \
         dst-port 443 action 1",
        "05000000 20010db8 00050000 x2 20010db8 x2 00000001 000001bb x9 ffffffff ffff0000 x2 \
         ffffffff ffffffff ffffffff ffffffff 0000ffff x10 01000000 00000000 09000000",
    ),
    (
        "flow-type udp6 dst-ip 2001:db8::1 action 1",
        "06000000 x4 20010db8 x2 00000001 x14 ffffffff ffffffff ffffffff ffffffff x11 01000000 \
         00000000 09000000",
    ),
    (
        "flow-type ip4 dst-ip 198.19.1.2 action 3",
        "0d000000 00000000 c6130102 00000000 00010000 x15 ffffffff x17 03000000 00000000 07000000",
    ),
    (
        "flow-type ip4 dst-ip 198.19.1.2 l4proto 1 action 3",
        "0d000000 00000000 c6130102 00000000 00010100 x15 ffffffff 00000000 0000ff00 x15 03000000 \
         00000000 07000000",
    ),
    (
        "flow-type ip6 dst-ip 2001:db8::1 l4proto 58 action 1",
        "0e000000 x4 20010db8 x2 00000001 00000000 003a0000 x12 ffffffff ffffffff ffffffff \
         ffffffff 00000000 00ff0000 x9 01000000 00000000 09000000",
    ),
];

/// The words of a request, from octets as above.
fn words(octets: &str) -> [u32; WORDS] {
    let mut words = Vec::new();
    for word in octets.split_whitespace() {
        match word.strip_prefix('x') {
            Some(count) => words.resize(words.len() + count.parse::<usize>().unwrap(), 0),
            None => words.push(u32::from_be(u32::from_str_radix(word, 16).unwrap())),
        }
    }
    assert_eq!(words.len(), LOCATION + 1 - FLOW_TYPE, "{octets}");
    let mut request = [0; WORDS];
    request[FLOW_TYPE..=LOCATION].copy_from_slice(&words);
    request
}

#[test]
fn another_program_sends_the_same_octets() {
    for (line, octets) in SENT {
        let sent = words(octets);
        let rule = Rule::decode(&sent).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(rule.to_string(), line);
        let mut own = [0; WORDS];
        rule.encode(sent[LOCATION], &mut own);
        assert_eq!(own, sent, "{line}");
    }
}

fn udp4() -> Rule {
    let any = Network::any(Ipv4Addr::UNSPECIFIED.into());
    let destination = Network { address: Ipv4Addr::new(198, 18, 0, 0).into(), len: 15 };
    let ports = PortBlock { first: 5004, len: 14 };
    let flow = Flow { protocol: FlowProtocol::Udp, source: any, destination, ports };
    Rule { flow, queue: 7 }
}

fn request(rule: &Rule) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    rule.encode(3, &mut words);
    words
}

#[test]
fn what_is_written_reads_back() {
    let v6 = |rule: Rule, protocol| {
        let address: IpAddr = "2001:db8::".parse().unwrap();
        let (source, destination) = (Network::any(address), Network { address, len: 33 });
        Rule { flow: Flow { protocol, source, destination, ports: rule.flow.ports }, ..rule }
    };
    let of = |protocol| Rule { flow: Flow { protocol, ..udp4().flow }, ..udp4() };
    for protocol in [FlowProtocol::Tcp, FlowProtocol::Udp, FlowProtocol::Sctp] {
        for rule in [of(protocol), v6(of(protocol), protocol)] {
            for len in 0..=16 {
                let mask = PortBlock { first: 0, len }.mask();
                let ports = PortBlock { first: 5004 & mask, len };
                let rule = Rule { flow: Flow { ports, ..rule.flow }, ..rule };
                assert_eq!(Rule::decode(&request(&rule)), Some(rule));
            }
        }
    }
    for protocol in [FlowProtocol::Any, FlowProtocol::Number(0), FlowProtocol::Number(255)] {
        for mut rule in [of(protocol), v6(of(protocol), protocol)] {
            rule.flow.ports = PortBlock::ANY;
            assert_eq!(Rule::decode(&request(&rule)), Some(rule));
        }
    }
}

#[test]
fn bits_that_are_not_compared_do_not_matter() {
    let mut words = request(&udp4());
    words[VALUE] = u32::from_be(0xc613_0707); // The source, of which nothing is compared.
    words[VALUE + 2] |= u32::from_be(0x3);
    assert_eq!(Rule::decode(&words), Some(udp4()));
}

#[test]
fn a_rule_that_says_more_is_not_taken_for_one_of_ours() {
    let words = request(&udp4());
    let other = |at: usize, value: u32| {
        let mut words = words;
        words[at] = value;
        assert_eq!(Rule::decode(&words), None, "word {at}");
    };
    other(FLOW_TYPE, 0x8000_0002); // FLOW_EXT: a VLAN.
    other(FLOW_TYPE, 0x2000_0002); // FLOW_RSS: spread by a context.
    other(FLOW_TYPE, 0x12); // ETHER_FLOW.
    other(MASK, u32::from_be(0xff00_00ff)); // Source bits that are no prefix.
    other(MASK + 2, u32::from_be(0xffff_fffc)); // The source port too.
    other(MASK + 2, u32::from_be(0x0000_00ff)); // Port bits that are no beginning.
    other(MASK + 3, u32::from_be(0xff00_0000)); // The type of service too.
    other(QUEUE + 1, 1); // A virtual function.
    let mut discard = words;
    discard[QUEUE..QUEUE + 2].fill(u32::MAX);
    assert_eq!(Rule::decode(&discard), None);
}

#[test]
fn is_written_in_the_words_of_ethtool() {
    assert_eq!(
        udp4().to_string(),
        "flow-type udp4 dst-ip 198.18.0.0 m 0.1.255.255 dst-port 5004 m 0x3 action 7"
    );
    let all = Flow {
        protocol: FlowProtocol::Any,
        destination: Network::any(Ipv6Addr::UNSPECIFIED.into()),
        source: Network { address: "2001:db8::".parse().unwrap(), len: 32 },
        ports: PortBlock::ANY,
    };
    assert_eq!(
        all.to_string(),
        "flow-type ip6 src-ip 2001:db8:: m ::ffff:ffff:ffff:ffff:ffff:ffff"
    );
}

#[test]
fn what_a_driver_shows_is_compared_bit_by_bit() {
    let shown = Shown::unchanged(&udp4());
    assert_eq!((shown.rule(), shown.queue()), (Some(udp4()), Some(7)));
    let text = serde_json::to_string(&shown).unwrap();
    assert_eq!(serde_json::from_str::<Shown>(&text).unwrap(), shown);
    let mut words = request(&udp4());
    words[MASK + 3] = u32::from_be(0xff00_0000);
    let other = Shown::of(&words);
    assert_eq!((other.rule(), other.queue()), (None, Some(7)));
    assert_ne!(other, shown);
    // A record that was cut reads as something else, not as a panic.
    assert_eq!(serde_json::from_str::<Shown>("[2]").unwrap().queue(), Some(0));
}

#[test]
fn travels_as_text() {
    let text = serde_json::to_string(&udp4()).unwrap();
    assert_eq!(
        text,
        "{\"flow\":{\"protocol\":\"udp\",\"source\":{\"address\":\"0.0.0.0\",\"len\":0},\
         \"destination\":{\"address\":\"198.18.0.0\",\"len\":15},\
         \"ports\":{\"first\":5004,\"len\":14}},\"queue\":7}"
    );
    assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), udp4());
}
