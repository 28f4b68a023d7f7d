//! What is read of right texts.

use std::num::NonZeroU32;

use super::super::rule::{Action, Fallback, Key, Limit, Promote, Unit};
use super::*;

#[test]
fn every_way_to_write_a_condition_has_one_canonical_form() {
    for (text, form) in [
        ("udp", "udp"),
        ("inner", "inner"),
        ("inner.tcp", "inner.tcp"),
        ("tcp.flags.syn", "tcp.flags.syn"),
        ("tcp.flags.syn == 0", "tcp.flags.syn == 0"),
        ("tcp.flags.syn != 1", "tcp.flags.syn == 0"),
        ("not udp", "not udp"),
        ("!udp", "not udp"),
        ("udp && vlan || known", "(udp and vlan) or known"),
        ("udp and (vlan or verified)", "udp and (vlan or verified)"),
        ("ip.ttl == 5", "ip.ttl == 5"),
        ("ip.ttl eq 0x5", "ip.ttl == 5"),
        ("ip.ttl ne 5", "ip.ttl in {0-4, 6-255}"),
        ("ip.ttl < 5", "ip.ttl <= 4"),
        ("ip.ttl le 5", "ip.ttl <= 5"),
        ("ip.ttl gt 5", "ip.ttl >= 6"),
        ("ip.ttl >= 5", "ip.ttl >= 5"),
        ("ip.ttl >= 0", "ip.ttl >= 0"),
        ("ip.ttl in {5, 7-9, 8..10 1}", "ip.ttl in {1, 5, 7-10}"),
        ("ip.ttl in 7-9", "ip.ttl in {7-9}"),
        ("ip.ttl not in {5}", "ip.ttl in {0-4, 6-255}"),
        ("tcp.flags & 0x12 == 0x02", "tcp.flags & 0x12 == 0x2"),
        ("tcp.flags & 0x12 != 0x02", "tcp.flags & 0x12 in {0x0-0x1, 0x3-0x12}"),
        ("tcp.flags & 0x3 in {1 2}", "tcp.flags & 0x3 in {0x1-0x2}"),
        ("ip.proto == udp", "ip.proto == 17"),
        ("ip.proto in {ESP, ah, 99}", "ip.proto in {50-51, 99}"),
        ("dns.qry.type == any", "dns.qry.type == 255"),
        ("dns.flags.rcode == NXDOMAIN", "dns.flags.rcode == 3"),
        ("ip.dscp in {EF, AF41}", "ip.dscp in {34, 46}"),
        ("ip.src == 198.18.0.1", "ip.src == 198.18.0.1"),
        ("ip.src == 198.18.0.0/15", "ip.src == 198.18.0.0/15"),
        (
            "ip.dst in {2001:db8::/32, 198.18.0.0/15, 198.18.1.1}",
            "ip.dst in {198.18.0.0/15, 2001:db8::/32}",
        ),
        ("ip.src != ::1", "ip and not ip.src == ::1"),
        ("inner.ip.src not in {::1}", "inner.ip and not inner.ip.src == ::1"),
        ("ip.addr == ::1", "ip.src == ::1 or ip.dst == ::1"),
        ("ip.addr != ::1", "ip and not ip.src == ::1 and not ip.dst == ::1"),
        ("port == 53", "srcport == 53 or dstport == 53"),
        ("udp.port != 53", "udp.srcport in {0-52, 54-65535} and udp.dstport in {0-52, 54-65535}"),
        (
            "inner.tcp.port in {80, 443}",
            "inner.tcp.srcport in {80, 443} or inner.tcp.dstport in {80, 443}",
        ),
        ("port 53", "srcport == 53 or dstport == 53"),
        ("src port 53", "srcport == 53"),
        ("dst portrange 1-9", "dstport in {1-9}"),
        ("portrange 1-9", "srcport in {1-9} or dstport in {1-9}"),
        ("udp port 53", "udp.srcport == 53 or udp.dstport == 53"),
        ("tcp dst port 80", "tcp.dstport == 80"),
        ("host 198.18.0.1", "ip.src == 198.18.0.1 or ip.dst == 198.18.0.1"),
        ("src host ::1", "ip.src == ::1"),
        ("dst net 198.18.0.0/15", "ip.dst == 198.18.0.0/15"),
        ("src 198.18.0.1", "ip.src == 198.18.0.1"),
        (
            "net 2001:db8::/32 and udp",
            "(ip.src == 2001:db8::/32 or ip.dst == 2001:db8::/32) and udp",
        ),
        ("payload[3] == 0x2a", "payload[3] == 42"),
        ("payload[0:2] in {1, 2}", "payload[0:2] in {1-2}"),
        ("payload[:4] > 0xfffffffe", "payload[0:4] == 4294967295"),
        ("payload[-1] & 0xf0 == 0x20", "payload[-1] & 0xf0 == 0x20"),
        ("payload[-4:] == 0", "payload[-4:4] == 0"),
        ("payload[0:4] == ff:ff:FF:00", "payload[0:4] == ff:ff:ff:00"),
        ("payload[0:3] == \"GET\"", "payload[0:3] == \"GET\""),
        ("payload[1:1] == \"\\x2a\"", "payload[1:1] == \"*\""),
        (
            "payload[0:3] in {00:01:02, \"abc\"}",
            "payload[0:3] == 00:01:02 or payload[0:3] == \"abc\"",
        ),
        ("payload[2:3] != \"abc\"", "payload[4] >= 0 and not payload[2:3] == \"abc\""),
        ("payload[-3:3] != \"abc\"", "payload[-3] >= 0 and not payload[-3:3] == \"abc\""),
        ("payload contains \"a\\x00\\\"\"", "payload contains \"a\\x00\\\"\""),
        ("payload icontains \"HeLLo\"", "payload icontains \"hello\""),
        ("payload contains de:ad", "payload contains \"\\xde\\xad\""),
        ("inner.payload starts_with \"GET \"", "inner.payload[0:4] == \"GET \""),
        ("payload ends_with 00:00", "payload[-2:2] == 00:00"),
        ("dns.qry.name == \"Example.com.\"", "dns.qry.name == \"example.com\""),
        ("dns.qry.name in {\"*.a.b\", \".\", c.d}", "dns.qry.name in {\".\", \"c.d\", \"*.a.b\"}"),
        ("dns.qry.name != \"a\"", "dns.qry.name in {\".\", \"*..\"} and not dns.qry.name == \"a\""),
        ("cbpf \"1,6 0 0 1\"", "cbpf \"1,6 0 0 1\""),
        ("p0f \"4:64:0:*:*,*:mss:df:0\"", "p0f \"4:64:0:*:*,*:?2:df:0\""),
        ("true", "true"),
    ] {
        assert_eq!(canonical(text), form, "{text}");
        assert_eq!(condition(form), condition(text), "{text} as {form}");
    }
}

#[test]
fn actions_are_read_with_all_that_belongs_to_them() {
    let limit = Limit { unit: Unit::Packets, rate: 1000, burst: 1000, per: Key::All, buckets: 1 };
    let source = Key::Source { ipv4: 32, ipv6: 64 };
    for (text, expected) in [
        ("drop", Action::Drop),
        ("pass", Action::Pass),
        ("challenge", Action::Challenge),
        ("sample 1/1000", Action::Sample(NonZeroU32::new(1000).unwrap())),
        ("limit 1000 packets/s", Action::Limit(limit)),
        ("limit 1 kpps per all", Action::Limit(limit)),
        ("limit 1k pps burst 2.5k", Action::Limit(Limit { burst: 2500, ..limit })),
        (
            "limit 1000 packets/s per source",
            Action::Limit(Limit { per: source, buckets: 65_536, ..limit }),
        ),
        (
            "limit 1000 packets/s of 1M per source/24 burst 1",
            Action::Limit(Limit {
                per: Key::Source { ipv4: 24, ipv6: 64 },
                buckets: 1_000_000,
                burst: 1,
                ..limit
            }),
        ),
        (
            "limit 1.5M bits/s per source/24/56",
            Action::Limit(Limit {
                unit: Unit::Bits,
                rate: 1_500_000,
                burst: 1_500_000,
                per: Key::Source { ipv4: 24, ipv6: 56 },
                buckets: 65_536,
            }),
        ),
        (
            "limit 8k bits/s per destination",
            Action::Limit(Limit {
                unit: Unit::Bits,
                rate: 8_000,
                burst: 12_000,
                per: Key::Destination,
                buckets: 65_536,
            }),
        ),
        (
            "limit 2G bps per flow",
            Action::Limit(Limit {
                unit: Unit::Bits,
                rate: 2_000_000_000,
                burst: 2_000_000_000,
                per: Key::Flow,
                buckets: 65_536,
            }),
        ),
    ] {
        let rule = rules(&format!("a: {text} when udp")).rules.remove(0);
        assert_eq!((rule.action, rule.dry_run, rule.promote), (expected, false, None), "{text}");
    }
    let rule = rules("a: dry-run drop for 10s per source/24 when udp").rules.remove(0);
    assert!(rule.dry_run);
    let per = Key::Source { ipv4: 24, ipv6: 64 };
    assert_eq!(rule.promote, Some(Promote { per, for_ms: 10_000 }));
    let rule = rules("a: pass for 5m per flow when udp").rules.remove(0);
    assert_eq!(rule.promote, Some(Promote { per: Key::Flow, for_ms: 300_000 }));
}

#[test]
fn a_file_has_rules_sets_presets_and_a_default_in_its_order() {
    let text = "
        # The shield of one host.
        set local = { 198.18.0.0/24,
                      2001:db8::/32 }   # ours
        default drop

        one: drop when ip.src in $local  # \"not\" a comment's end
                   and payload contains \"#\"
        presets
        two : pass
        three:limit 5 pps
    ";
    let set = rules(text);
    let names: Vec<&str> = set.rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["one", "dns-big", "ntp", "two", "three"]);
    assert_eq!(set.default, Fallback::Drop);
    assert_eq!(set.rules.iter().map(|rule| rule.line).collect::<Vec<_>>(), [7, 9, 9, 10, 11]);
    assert_eq!(&*set.rules[0].text, "drop when ip.src in $local and payload contains \"#\"");
    assert_eq!(&*set.rules[3].text, "pass");
    assert_eq!(set.rules[3].when, Expression::True);
    assert_eq!(&*set.rules[4].text, "limit 5 pps");
    assert_eq!(rules("preset ntp dns").rules.len(), 2);
    let empty = rules("# nothing\n");
    assert_eq!((empty.rules.len(), empty.default), (0, Fallback::Pass));
}

/// Rules of a shape that operators have, with a set.
fn many(count: usize) -> String {
    let rules = (0..count).map(|at| {
        format!(
            "r{at}: drop when ip.src in {{10.{}.{}.0/24, 2001:db8:{at:x}::/48}} and udp.srcport == {} \
             and (payload[3] & 0x0f == {} or ip.len > 400) and not $known\n",
            at / 256 % 256,
            at % 256,
            at % 65_536,
            at % 16,
        )
    });
    rules.collect::<String>().replace("$known", "ip.dst in $known")
        + "set known = {198.18.0.0/15, 2001:db8::/32}\n"
}

#[test]
fn a_rule_among_many_is_read_as_fast_as_one_among_few() {
    // The fastest of several, since others use the machine too.
    let fastest = |text: &str| {
        let times = (0..5).map(|_| {
            let start = std::time::Instant::now();
            rules(text);
            start.elapsed()
        });
        times.min().unwrap()
    };
    let (few, lots) = (fastest(&many(500)), fastest(&many(8_000)));
    eprintln!("500 rules in {few:?}, 8,000 in {lots:?}");
    assert!(lots < few * 16 * 3, "500 rules in {few:?}, 8,000 in {lots:?}");
}
