//! Sets: what they hold, and where their mistakes are.

use super::*;

#[test]
fn sets_hold_addresses_numbers_or_names_and_other_sets() {
    let text = "
        set all   = { $near, $far, 10.0.0.0/8 }
        set near  = { 198.18.0.0/24, 198.18.0.7 }
        set far   = file \"far.txt\"
        set ports = { 53, 1000-2000, $more }
        set more  = { 1500..2500 }
        set kinds = { TXT, any, 99 }
        set names = { \"example.com\", *.example.net, $deny }
        set deny  = file \"deny.txt\"
        a: drop when ip.src in $all and udp.srcport in $ports
        b: drop when dns.qry.type in $kinds and dns.qry.name in $names
        c: drop when ip.dst in { $near, ::1 } and dstport not in $ports
    ";
    let far = "# far away\n2001:db8::/32\n\n  192.0.2.0/24   # near\r\n192.0.2.1";
    let files = [("far.txt", far), ("deny.txt", "A.b\n*.c.d # all\n1e100.net")];
    let set = with_files(text, &files).unwrap();
    let shown: Vec<String> = set.rules.iter().map(|rule| rule.when.to_string()).collect();
    assert_eq!(
        shown,
        [
            "ip.src in {10.0.0.0/8, 192.0.2.0/24, 198.18.0.0/24, 2001:db8::/32} and \
             udp.srcport in {53, 1000-2500}",
            "dns.qry.type in {16, 99, 255} and dns.qry.name in {\"a.b\", \"1e100.net\", \
             \"example.com\", \"*.c.d\", \"*.example.net\"}",
            "ip.dst in {198.18.0.0/24, ::1} and dstport in {0-52, 54-999, 2501-65535}",
        ]
    );
}

#[test]
fn rules_share_the_set_that_they_name() {
    let text = "set a = { 198.18.0.0/24 }\nx: drop when ip.src in $a\ny: drop when ip.dst in $a";
    let set = rules(text);
    let held = |index: usize| match &set.rules[index].when {
        Expression::Test(expression::Test::Address { set, .. }) => std::sync::Arc::as_ptr(set),
        other => panic!("{other}"),
    };
    assert_eq!(held(0), held(1));
}

/// What is found wrong, without the places.
fn found(text: &str, files: &[(&str, &str)]) -> Vec<String> {
    let mistakes = with_files(text, files).unwrap_err();
    let place = |it: &Mistake| format!("{}:{}:{} {}", it.file, it.line, it.column, it.found);
    mistakes.iter().map(place).collect()
}

#[test]
fn each_mistake_in_a_file_is_told_with_the_files_line() {
    let file = "198.18.0.0/24\n198.18.0.1/24 # host\n\n  70\n198.18.0 \n1.2.3.4 5.6.7.8\n";
    let text = "set a = file \"a.txt\"\nx: drop when ip.src in $a";
    assert_eq!(
        found(text, &[("a.txt", file)]),
        [
            "a.txt:2:1 198.18.0.1/24, which has bits set behind the prefix",
            "a.txt:4:3 numbers in a set that began with addresses",
            "a.txt:5:1 198.18.0",
            "a.txt:6:1 \"1.2.3.4 5.6.7.8\", which is not one entry",
        ]
    );
}

#[test]
fn sets_that_cannot_be_are_refused_and_rules_that_use_them_add_nothing() {
    for (text, expected) in [
        ("set a = {}", "test.rules:1:9 an empty set, which holds nothing"),
        (
            "set a = file \"none.txt\"\nx: drop when ip.src in $a",
            "test.rules:1:14 \"none.txt\", which cannot be read: entity not found",
        ),
        ("set a = file \"empty.txt\"", "test.rules:1:14 \"empty.txt\", which has no entry"),
        ("set a = {1}\nset a = {2}", "test.rules:2:5 a second set named a; the first is in line 1"),
        ("set a = {1, ::1}", "test.rules:1:13 addresses in a set that began with numbers"),
        (
            "set a = {$b}\nx: drop when dstport in $a",
            "test.rules:1:10 $b, which is no set; did you mean $a?",
        ),
        (
            "x: drop when dstport in $prots\nset ports = {1}",
            "test.rules:1:25 $prots, which is no set; did you mean $ports?",
        ),
        (
            "set a = {1}\nx: drop when ip.src in $a",
            "test.rules:2:24 $a, a set of numbers, but ip.src is an address",
        ),
        (
            "set a = {::1}\nx: drop when dstport in $a",
            "test.rules:2:25 $a, a set of addresses, but dstport is a number",
        ),
        (
            "set a = {300}\nx: drop when ip.ttl in $a",
            "test.rules:2:24 300, but ip.ttl is 255 at most",
        ),
        ("set a = {TXT}\nx: drop when ip.ttl in $a", "test.rules:2:24 TXT, which is no number"),
        (
            "set a = {1}\nx: drop when dstport == $a",
            "test.rules:2:25 a set behind a comparison with one value",
        ),
        (
            "set a = {198.18.0.1/24}",
            "test.rules:1:10 198.18.0.1/24, which has bits set behind the prefix",
        ),
        ("set a = {2-1}", "test.rules:1:10 2-1, which runs backwards"),
        ("set a = 1", "test.rules:1:9 `1`"),
        ("set a {1}", "test.rules:1:7 `{`"),
        ("set 1 = {1}", "test.rules:1:5 the name \"1\""),
        ("set a = {1", "test.rules:1:11 the end of the statement"),
        ("set a = {1} 2", "test.rules:1:13 `2`"),
        ("set a = file x", "test.rules:1:14 no path"),
    ] {
        assert_eq!(found(text, &[("empty.txt", "# nothing\n")]), [expected], "{text}");
    }
}

#[test]
fn sets_in_a_circle_or_too_deep_are_refused() {
    let text = "set a = {$b}\nset b = {1, $c}\nset c = {$a}\nx: drop when dstport in $b";
    assert_eq!(found(text, &[]), ["test.rules:3:10 a circle: $a holds $b holds $c holds $a"]);
    assert_eq!(found("set a = {$a}", &[]), ["test.rules:1:10 a circle: $a holds $a"]);
    let chain = |length: usize| {
        let sets = (0..length).map(|at| format!("set s{at:04} = {{$s{:04}}}\n", at + 1));
        sets.collect::<String>() + &format!("set s{length:04} = {{1}}")
    };
    assert!(with_files(&chain(15), &[]).is_ok());
    assert!(found(&chain(16), &[])[0].ends_with("sets within sets, more than 16 deep"));
    // Doubling at each step is no more than the set itself.
    let twice = (0..15).map(|at| format!("set s{at} = {{$s{0}, $s{0}}}\n", at + 1));
    let twice = twice.collect::<String>() + "set s15 = {::1}\nx: drop when ip.src in $s0";
    assert_eq!(rules(&twice).rules[0].when.to_string(), "ip.src == ::1");
}

#[test]
fn sets_that_are_too_many_or_too_large_are_refused() {
    let many: String = (0..1025).map(|at| format!("set s{at} = {{1}}\n")).collect();
    assert_eq!(found(&many, &[]), ["test.rules:1025:5 more than 1024 sets"]);
    let numbers: Vec<String> = (0..4097).map(|at| (at * 2).to_string()).collect();
    let text = format!("set a = {{{}}}", numbers.join(" "));
    assert_eq!(found(&text, &[]), ["test.rules:1:5 more than 4096 numbers in one set"]);
    let file: String =
        (0..200_000_u32).map(|at| format!("{}\n", std::net::Ipv4Addr::from(at * 2))).collect();
    let six: String = (0..5).map(|at| format!("set s{at} = {{$f, ::{at}}}\n")).collect();
    let six = six + "set f = file \"a.txt\"";
    let expected = ["test.rules:5:5 more than 1048576 entries in all sets"];
    assert_eq!(found(&six, &[("a.txt", &file)]), expected);
}
