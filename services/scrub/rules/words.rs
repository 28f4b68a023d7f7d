//! Words that stand for numbers: protocols, types of DNS, code points.

use super::field::NumberField;

/// Names and what they stand for.
type Table = &'static [(&'static str, u64)];

/// IANA, Protocol Numbers; what tcpdump and Wireshark call them.
const PROTOCOLS: Table = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

/// IANA, IEEE 802 Numbers.
const ETHER_TYPES: Table = &[
    ("ip", 0x0800),
    ("ipv4", 0x0800),
    ("arp", 0x0806),
    ("ethernet", 0x6558),
    ("ipv6", 0x86dd),
    ("ppp", 0x880b),
    ("lldp", 0x88cc),
];

/// IANA, Resource Record (RR) TYPEs.
const RECORDS: Table = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("NULL", 10),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DNAME", 39),
    ("OPT", 41),
    ("DS", 43),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("TLSA", 52),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("IXFR", 251),
    ("AXFR", 252),
    ("ANY", 255),
    ("CAA", 257),
];

/// RFC 1035, section 3.2.4.
const CLASSES: Table = &[("IN", 1), ("CH", 3), ("HS", 4), ("ANY", 255)];

/// RFC 1035, section 4.1.1, and RFC 1996, RFC 2136.
const OPCODES: Table = &[("QUERY", 0), ("IQUERY", 1), ("STATUS", 2), ("NOTIFY", 4), ("UPDATE", 5)];

/// RFC 1035, section 4.1.1.
const RESPONSE_CODES: Table = &[
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
];

/// RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622.
const CODE_POINTS: Table = &[
    ("BE", 0),
    ("LE", 1),
    ("CS1", 8),
    ("AF11", 10),
    ("AF12", 12),
    ("AF13", 14),
    ("CS2", 16),
    ("AF21", 18),
    ("AF22", 20),
    ("AF23", 22),
    ("CS3", 24),
    ("AF31", 26),
    ("AF32", 28),
    ("AF33", 30),
    ("CS4", 32),
    ("AF41", 34),
    ("AF42", 36),
    ("AF43", 38),
    ("CS5", 40),
    ("VA", 44),
    ("EF", 46),
    ("CS6", 48),
    ("CS7", 56),
];

/// RFC 792.
const ICMP_TYPES: Table = &[
    ("echo_reply", 0),
    ("unreachable", 3),
    ("source_quench", 4),
    ("redirect", 5),
    ("echo_request", 8),
    ("time_exceeded", 11),
    ("parameter_problem", 12),
    ("timestamp_request", 13),
    ("timestamp_reply", 14),
];

/// RFC 4443 and RFC 4861.
const ICMPV6_TYPES: Table = &[
    ("unreachable", 1),
    ("packet_too_big", 2),
    ("time_exceeded", 3),
    ("parameter_problem", 4),
    ("echo_request", 128),
    ("echo_reply", 129),
    ("router_solicitation", 133),
    ("router_advertisement", 134),
    ("neighbor_solicitation", 135),
    ("neighbor_advertisement", 136),
    ("redirect", 137),
];

/// Words that may stand for a number of `field`; compared without regard to case.
pub(super) const fn of(field: NumberField) -> Table {
    match field {
        NumberField::IpProtocol => PROTOCOLS,
        NumberField::EtherType | NumberField::GreProtocol => ETHER_TYPES,
        NumberField::IpDscp => CODE_POINTS,
        NumberField::IcmpType => ICMP_TYPES,
        NumberField::Icmpv6Type => ICMPV6_TYPES,
        NumberField::DnsQueryType => RECORDS,
        NumberField::DnsQueryClass => CLASSES,
        NumberField::DnsOpcode => OPCODES,
        NumberField::DnsResponseCode => RESPONSE_CODES,
        _ => &[],
    }
}

/// What a word stands for in `field`.
pub(super) fn number(field: NumberField, word: &str) -> Option<u64> {
    of(field).iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|&(_, number)| number)
}

/// Fields as other tools call them, and what they are here.
pub(super) const ELSEWHERE: [(&str, &str); 30] = [
    ("data", "payload"),
    ("data.len", "payload.len"),
    ("dns.name", "dns.qry.name"),
    ("dns.type", "dns.qry.type"),
    ("frame.length", "frame.len"),
    ("ip.dsfield.dscp", "ip.dscp"),
    ("ip.dsfield.ecn", "ip.ecn"),
    ("ip.length", "ip.len"),
    ("ip.protocol", "ip.proto"),
    ("ip.tos", "ip.dscp"),
    ("ipv6.addr", "ip.addr"),
    ("ipv6.dst", "ip.dst"),
    ("ipv6.flow", "ip.flow"),
    ("ipv6.hlim", "ip.ttl"),
    ("ipv6.nxt", "ip.proto"),
    ("ipv6.plen", "ip.len"),
    ("ipv6.src", "ip.src"),
    ("len", "frame.len"),
    ("sport", "srcport"),
    ("dport", "dstport"),
    ("tcp.dport", "tcp.dstport"),
    ("tcp.flags.rst", "tcp.flags.reset"),
    ("tcp.options.mss_val", "tcp.options.mss"),
    ("tcp.options.wscale.shift", "tcp.options.wscale"),
    ("tcp.payload", "payload"),
    ("tcp.sport", "tcp.srcport"),
    ("tcp.window_size", "tcp.window"),
    ("tcp.window_size_value", "tcp.window"),
    ("udp.dport", "udp.dstport"),
    ("udp.payload", "payload"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_fits_its_field_and_stands_for_one_number() {
        for &field in NumberField::ALL {
            for (at, &(name, number)) in of(field).iter().enumerate() {
                assert!(number >> field.bits() == 0, "{field} {name}");
                let again = of(field)[..at].iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
                assert!(!again, "{field} {name} twice");
                assert_eq!(super::number(field, &name.to_ascii_lowercase()), Some(number));
            }
        }
        assert_eq!(number(NumberField::DnsQueryType, "nothing"), None);
        assert_eq!(number(NumberField::IpTtl, "tcp"), None);
    }
}
