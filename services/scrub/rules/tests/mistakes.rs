//! What is said of wrong texts: where, what, and what to write instead.

use super::*;

/// Column, what was found, and what is allowed, of the only mistake in the condition.
fn wrong(condition: &str) -> (u32, String, String) {
    let mistakes = with_files(&format!("a: drop when {condition}"), &[]).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{condition}: {mistakes:?}");
    let mistake = mistakes.into_iter().next().unwrap();
    (mistake.column - 13, mistake.found, mistake.allowed)
}

#[test]
fn mistakes_in_conditions_point_at_their_column_and_name_the_remedy() {
    for (condition, column, found, allowed) in [
        ("tcp.dstport == 70000", 16, "70000, but tcp.dstport is 65535 at most", "0 to 65535"),
        ("ip.ttl == 99999999999999999999", 11, "ip.ttl is 255 at most", "0 to 255"),
        (
            "tcp.dsport == 80",
            1,
            "tcp.dsport, which is no field; did you mean tcp.dstport?",
            "a field",
        ),
        ("ipv6.src == ::1", 1, "did you mean ip.src?", "a field"),
        ("inner.tcp.flgs == 1", 1, "did you mean inner.tcp.flags?", "a field"),
        (
            "tcp.dstport == 198.18.0.1",
            16,
            "the address 198.18.0.1, but tcp.dstport is a number",
            "a number",
        ),
        ("tcp.dstport == \"80\"", 16, "the text \"80\", but tcp.dstport is a number", "a number"),
        ("ip.src == 80", 11, "the number 80, but an address is asked for", "address or network"),
        ("ip.src == \"::1\"", 11, "the text \"::1\", but ip.src is an address", "addresses"),
        (
            "ip.src == 198.18.0.1/24",
            11,
            "which has bits set behind the prefix",
            "the network 198.18.0.0/24 or the address 198.18.0.1/32",
        ),
        ("ip.src < ::1", 8, "ip.src, an address, compared by size", "=="),
        ("ip.src in {}", 11, "an empty set", "at least one"),
        ("ip.src in {::1", 15, "the end of the statement", "an entry"),
        ("ip.src", 7, "the end of the statement", "== != < <= > >= or in"),
        ("ip.ttl", 1, "the end of the statement", "such as `ip.ttl == 2`"),
        ("ip.ttl = 5", 8, "`=`", "`==`"),
        ("ip.ttl == ", 10, "no value", "0 to 255"),
        ("ip.ttl < 0", 10, "nothing is below 0", "0 to 255"),
        ("ip.ttl > 255", 10, "nothing is above 255", "0 to 255"),
        ("ip.ttl in 9-7", 11, "9-7, which runs backwards", "7-9"),
        ("ip.ttl in {0-255} and ip.ttl not in {0-255}", 37, "can never meet", "0 to 255"),
        ("tcp.flags & 0x12 == 1", 21, "can never be", "bits of 0x12 alone"),
        ("tcp.flags & 0 == 0", 13, "a mask of 0", "another mask"),
        ("tcp.flags & 0x1ff == 1", 13, "tcp.flags is 255 at most", "0 to 255"),
        ("udp == 53", 5, "a comparison with udp, which is a header", "`udp` alone"),
        ("ip.proto == upd", 13, "upd, which is no number; did you mean udp?", "icmp"),
        ("dns.qry.type == RRISG", 17, "did you mean RRSIG?", "0 to 65535"),
        ("payload[3] == 2a", 15, "2a, which has to be written 0x2a", "0 to 255"),
        ("payload[3] == 256", 15, "is 255 at most", "0 to 255"),
        ("payload[x] == 1", 9, "[x]", "payload[OFFSET]"),
        ("payload[0:0] == 1", 9, "no octets", "payload[OFFSET]"),
        ("payload[-0] == 1", 9, "octets behind the end", "payload[OFFSET]"),
        ("payload[-2:4] == 1", 9, "4 octets, where only 2 are before the end", "payload[OFFSET]"),
        ("payload[65535:2] == 1", 9, "octets behind the end of every packet", "payload[OFFSET]"),
        ("payload[0:3] == 5", 17, "a number, compared with 3 octets", "ff:00:2a"),
        ("payload[0:3] & 5 == 5", 14, "a mask of 3 octets", "1, 2 or 4"),
        ("payload[0:3] == \"four\"", 17, "4 octets, compared with 3", "[OFFSET:4]"),
        ("payload[0:2] < \"ab\"", 16, "octets, compared by size", "=="),
        ("payload == 5", 9, "`==`", "payload[OFFSET]"),
        ("payload contains \"\"", 18, "no octets", "text"),
        ("payload matches \"x\"", 9, "`matches` behind payload", "contains"),
        ("dns.qry.name == \"a..b\"", 17, "\"a..b\", which has an empty label", "a name of DNS"),
        ("dns.qry.name > \"a\"", 14, "a name, compared by size", "=="),
        ("cbpf \"1,6 0 0\"", 9, "is not four numbers", "tcpdump -ddd"),
        ("cbpf 5", 6, "`5`", "tcpdump -ddd"),
        ("p0f \"4:64\"", 6, "2 parts instead of 8", "p0f 3"),
        ("host 198.18.0.0/15", 6, "where one address is asked for", "net 198.18.0.0/15"),
        ("port 70000", 6, "a port is 65535 at most", "0 to 65535"),
        ("udp src host ::1", 9, "`host`", "port"),
        ("(udp or tcp", 12, "the end of the statement", "`)`"),
        ("udp)", 4, "`)`", "the end of the rule"),
        ("udp tcp", 5, "`tcp`", "`and`, `or`"),
        ("udp and", 8, "the end of the statement", "a test"),
        ("udp | tcp", 5, "'|'", "`or`"),
        ("udp and \"x\"", 9, "the text \"x\"", "a test"),
        ("known == 1", 7, "`==`", "the end of the rule"),
    ] {
        let (at, what, remedy) = wrong(condition);
        assert!(what.contains(found), "{condition}: {what}");
        assert!(remedy.contains(allowed), "{condition}: {remedy}");
        assert_eq!(at, column, "{condition}: {what}");
    }
}

#[test]
fn conditions_that_no_packet_meets_are_mistakes() {
    for (condition, why) in [
        ("tcp and udp", "tcp and udp are never in one packet"),
        ("udp and ipv4 and icmpv6", "udp and icmpv6 are never in one packet"),
        ("ipv6 and ip.src == 198.18.0.1", "ipv6 and ipv4 are never in one packet"),
        ("icmp and ip.dst in {::1, ::2}", "ipv4 and ipv6 are never in one packet"),
        ("tcp and udp.srcport == 53", "tcp and udp are never"),
        ("inner.tcp and (udp and inner.udp)", "inner.tcp and inner.udp are never"),
        ("ip.ttl < 5 and ip.ttl > 9", "`ip.ttl <= 4` and `ip.ttl >= 10` are never true together"),
        ("ip.ttl == 5 and (udp and ip.ttl == 6)", "`ip.ttl == 5` and `ip.ttl == 6`"),
        ("udp and ip.proto == tcp", "`udp` and `ip.proto == 6` are never"),
        ("srcport == 5 and udp.srcport == 6", "`srcport == 5` and `udp.srcport == 6`"),
        (
            "ip.src == 10.0.0.1 and ip.src == 10.0.0.2",
            "ip.src has two sets with no address in common",
        ),
        ("ip.frag_offset > 0 and udp.srcport == 53", "what only the first part of a datagram has"),
        (
            "payload contains \"x\" and ip.frag_offset == 8",
            "what only the first part of a datagram has",
        ),
        ("(tcp and udp) or (ip.ttl == 1 and ip.ttl == 2)", "tcp and udp are never"),
        ("tcp and (udp or icmp)", "are never in one packet"),
        ("tcp and not tcp", "tcp is asked for, and is not there"),
        ("not inner and inner.udp", "inner is asked for, and is not there"),
        ("dns and not ip", "ip is asked for, and is not there"),
        ("false", "it is `false`"),
        ("udp and false", "it is `false`"),
    ] {
        let (column, found, _) = wrong(condition);
        assert!(found.contains(why), "{condition}: {found}");
        assert_eq!(column, 1, "{condition}");
    }
    for possible in [
        "tcp and inner.udp",
        "tcp or udp",
        "tcp and (udp or not udp)",
        "not (tcp and udp)",
        "srcport == 5 and dstport == 6",
        "ip.src == 10.0.0.1 and ip.dst == 10.0.0.2",
        "ip.src == 10.0.0.0/8 and ip.src == 10.0.0.2",
        "ip.frag_offset > 0 and ip.proto == udp",
        "ip.ttl & 1 == 1 and ip.ttl & 2 == 2",
        "icmp and ip.src in {::1, 10.0.0.1}",
        "gre and inner.tcp and inner.ipv6",
        "vxlan and dns",
        "ah and ipv4",
    ] {
        condition(possible);
    }
}

/// Everything found wrong in a text.
fn all(text: &str) -> Vec<String> {
    let mistakes = with_files(text, &[]).unwrap_err();
    mistakes
        .iter()
        .map(|it| format!("{}:{}:{} {}", it.file, it.line, it.column, it.found))
        .collect()
}

#[test]
fn mistakes_in_statements_and_actions_are_told() {
    for (text, expected) in [
        ("drop when udp", "1:1 `drop` without a colon behind it"),
        ("Bad: drop", "1:1 the name \"Bad\""),
        (": drop", "1:1 the name \"\""),
        ("a: drop\na: pass", "2:1 a second rule named a; the first is in test.rules line 1"),
        (
            "dns-big: drop\npreset dns",
            "preset dns:2:1 a second rule named dns-big; the first is in test.rules line 1",
        ),
        ("a:", "1:3 the end of the statement"),
        ("a: drip when udp", "1:4 drip, which is no action; did you mean drop?"),
        ("a: drop udp", "1:9 `udp`"),
        ("a: drop when", "1:13 the end of the statement"),
        ("a: dry-run sample 1/2", "1:12 a sample in a dry run, which is all that it is"),
        ("a: sample 2/3", "1:11 `2/3`"),
        ("a: sample 1/0", "1:11 `1/0`"),
        (
            "a: challenge for 10s per source",
            "1:4 challenge, which cannot be decided for later packets too",
        ),
        ("a: drop for 10 per source", "1:13 `10`"),
        ("a: drop for 25h per source", "1:13 `25h`"),
        ("a: drop for 0s per source", "1:13 `0s`"),
        ("a: drop for 10s", "1:16 the end of the statement"),
        ("a: drop for 10s per all", "1:21 what is not one sender's"),
        ("a: limit packets/s", "1:10 `packets/s`"),
        ("a: limit 10", "1:12 the end of the statement"),
        ("a: limit 10 per source", "1:13 `per`"),
        ("a: limit 0 pps", "1:10 that rate"),
        ("a: limit 2000G pps", "1:10 that rate"),
        ("a: limit 99999999999G pps", "1:10 `99999999999G`"),
        ("a: limit 1.5 pps", "1:10 `1.5`, which is no whole number"),
        ("a: limit 1 pps burst 0", "1:22 a burst of 0"),
        ("a: limit 1 pps burst 1 burst 2", "1:24 a second `burst`"),
        ("a: limit 1 pps per source per flow", "1:27 a second `per`"),
        ("a: limit 1M bps burst 100", "1:23 a burst of 100 bits, less than one packet"),
        ("a: limit 1 pps per source/33", "1:20 `source/33`, where /33 is no length of a prefix"),
        (
            "a: limit 1 pps per source/24/129",
            "1:20 `source/24/129`, where /129 is no length of a prefix",
        ),
        ("a: limit 1 pps per sauce", "1:20 `sauce`"),
        ("a: limit 1 pps per source of 17M", "1:30 17000000 buckets"),
        ("a: limit 1 pps of 5", "1:19 many buckets, where all packets share one"),
        ("default reject", "1:9 `reject`"),
        ("default drop\ndefault pass", "2:1 a second default"),
        ("preset dsn", "1:8 dsn, which is no preset; did you mean dns?"),
        ("preset", "1:7 the end of the statement"),
        ("presets dns", "1:9 `dns`"),
        ("{ }", "1:1 `{`"),
    ] {
        let expected = match expected.starts_with("preset") {
            true => expected.to_owned(),
            false => format!("test.rules:{expected}"),
        };
        assert_eq!(all(text), [expected], "{text}");
    }
}

#[test]
fn all_mistakes_of_a_text_are_told_in_its_order_up_to_fifty() {
    let text = "a: drop when upd\nb: pass\nc: drip\n\nd: drop when 'x'\n";
    let lines: Vec<String> =
        all(text).iter().map(|it| it.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["test.rules:5:14", "test.rules:1:14", "test.rules:3:4"], "signs come first");
    let many: String = (0..100).map(|at| format!("r{at}: drip\n")).collect();
    assert_eq!(all(&many).len(), 50);
}

#[test]
fn a_mistake_is_shown_with_its_line_a_caret_and_the_remedy() {
    let mistakes = with_files("\nweb: drop when\n\ttcp.dstport == 70000 # all\n", &[]).unwrap_err();
    let expected = "test.rules:3:17: error\n  |\n3 | \ttcp.dstport == 70000 # all\n  | \t               ^^^^^\n  \
                    found: 70000, but tcp.dstport is 65535 at most\n  \
                    allowed: a number from 0 to 65535, in decimal or as 0x…";
    assert_eq!(mistakes[0].to_string(), expected);
}

#[test]
fn what_is_too_deep_or_too_much_is_refused() {
    let deep = |depth: usize| format!("{}udp{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(canonical(&deep(64)), "udp");
    assert!(wrong(&deep(65)).1.contains("more than 64 deep"));
    assert!(wrong(&deep(100_000)).1.contains("more than 64 deep"));
    assert!(wrong(&format!("{}udp", "not ".repeat(100_000))).1.contains("more than 64 deep"));
    let many: String = (0..16_385).map(|at| format!("r{at}: drop\n")).collect();
    assert_eq!(all(&many), ["test.rules:16385:1 more than 16384 rules"]);
    let ports: Vec<String> = (0..4096).map(|at| (at * 2).to_string()).collect();
    let sets = format!("set p = {{{}}}\n", ports.join(" "));
    let heavy: String = (0..1100).map(|at| format!("r{at}: drop when dstport in $p\n")).collect();
    let found = all(&(sets + &heavy));
    assert!(
        found[0].contains("more than 4194304 tests, ranges and names in all rules"),
        "{found:?}"
    );
    let long = "# ".repeat(1 << 23) + "\n";
    assert_eq!(all(&long), ["test.rules:1:1 a text of 16777217 octets"]);
}
