//! The exact message of each kind of mistake. Operators search for these words.

use super::*;

const SERVICE: &str = "[[service]]\nname = \"a\"\nkind = \"scrub\"\n";
const INTERFACE: &str = "[[interface]]\nname = \"eth1\"\n";

/// Key, found and allowed of each mistake of `text`.
fn parts(text: &str) -> Vec<(String, String, String)> {
    let error = parse(text).expect_err("this text has a mistake");
    let part = |it: &Remark| (it.key.clone(), it.found.clone(), it.allowed.clone());
    error.mistakes().iter().map(part).collect()
}

/// Asserts the one mistake of `text`.
#[track_caller]
fn one(text: &str, key: &str, found: &str, allowed: &str) {
    assert_eq!(parts(text), [(key.to_owned(), found.to_owned(), allowed.to_owned())]);
}

/// As [`one`], for a line of `[runtime]`.
#[track_caller]
fn runtime(line: &str, key: &str, found: &str, allowed: &str) {
    one(&format!("[runtime]\n{line}\n{SERVICE}"), &format!("runtime.{key}"), found, allowed);
}

/// As [`one`], for a line of `[[interface]]`.
#[track_caller]
fn interface(line: &str, key: &str, found: &str, allowed: &str) {
    one(&format!("{INTERFACE}{line}\n{SERVICE}"), &format!("interface[0].{key}"), found, allowed);
}

/// As [`one`], for a line of `[[service]]`.
#[track_caller]
fn service(line: &str, key: &str, found: &str, allowed: &str) {
    one(&format!("{INTERFACE}{SERVICE}{line}\n"), &format!("service[0].{key}"), found, allowed);
}

#[test]
fn a_whole_message_shows_file_line_column_key_and_the_place() {
    let selector = "selectors = [{ destination = \"198.19.0.1/15\" }]\n";
    assert_eq!(
        refuse(&format!("{INTERFACE}{SERVICE}{selector}")),
        "\
tide.toml:6:30: error: service[0].selectors[0].destination
  |
6 | selectors = [{ destination = \"198.19.0.1/15\" }]
  |                              ^^^^^^^^^^^^^^^
  found: \"198.19.0.1/15\", which has bits set behind the prefix
  allowed: the network \"198.18.0.0/15\" or the address \"198.19.0.1/32\""
    );
}

#[test]
fn all_mistakes_of_a_file_are_reported_together_in_its_order() {
    assert_eq!(
        refuse("[runtime]\nidel = \"spin\"\nshards = 0\n[[service]]\nkind = 7\n"),
        "\
tide.toml:2:1: error: runtime.idel
  |
2 | idel = \"spin\"
  | ^^^^
  found: the unknown key \"idel\"; did you mean \"idle\"?
  allowed: instance, cpus, shards, idle, stall_budget, drain_timeout, control_socket, restart, log

tide.toml:3:10: error: runtime.shards
  |
3 | shards = 0
  |          ^
  found: the integer 0
  allowed: an integer from 1 to 1024

tide.toml:4:1: error: service[0].name
  |
4 | [[service]]
  | ^^^^^^^^^^^
  found: nothing; the key is required
  allowed: 1 to 32 characters of a-z, 0-9 and -, begun by a letter

tide.toml:5:8: error: service[0].kind
  |
5 | kind = 7
  |        ^
  found: the integer 7
  allowed: 1 to 32 characters of a-z, 0-9 and -, begun by a letter

4 mistakes in tide.toml"
    );
}

#[test]
fn what_is_not_toml_is_shown_with_the_key_it_stands_at() {
    assert_eq!(
        refuse("[runtime]\ncpus = [0, 1\nshards = 2\n"),
        "\
tide.toml:3:1: error: runtime.shards
  |
3 | shards = 2
  | ^
  found: missing comma between array elements
  allowed: `,`"
    );
    one(
        "[runtime]\nidle = spin\n",
        "runtime.idle",
        "string values must be quoted",
        "literal string",
    );
    one(
        "[runtime]\nlog = \"info\"\nlog = \"warn\"\n",
        "runtime.log",
        "duplicate key",
        "valid TOML",
    );
}

#[test]
fn unknown_tables_and_tables_of_the_wrong_form_are_refused() {
    let text = format!("[runtimes]\n{SERVICE}");
    let found = "the unknown key \"runtimes\"; did you mean \"runtime\"?";
    one(&text, "runtimes", found, "runtime, interface, service");
    let text = format!("[interface]\nname = \"eth1\"\n{SERVICE}");
    one(&text, "interface", "a table", "tables, each written [[interface]]");
    one(
        &format!("runtime = 1\n{SERVICE}"),
        "runtime",
        "the integer 1",
        "a table, written [runtime]",
    );
    one("", "service", "no service", "at least one [[service]]");
}

#[test]
fn mistakes_in_runtime() {
    let name = "1 to 32 characters of a-z, 0-9 and -, begun by a letter";
    runtime("instance = \"Two\"", "instance", "\"Two\"", name);
    let numbers = "numbers from 0 to 1023, written 0, [0, 2], \"0-3\" or \"0-3,8\"";
    runtime("cpus = \"all\"", "cpus", "\"all\"", numbers);
    runtime("cpus = [0, 0]", "cpus", "0 twice", "each number once");
    runtime("shards = 1.5", "shards", "the float 1.5", "an integer from 1 to 1024");
    let idle = "\"spin\", or the time to spin before sleeping, such as \"50us\"";
    runtime("idle = \"spinn\"", "idle", "\"spinn\"", idle);
    runtime("idle = 50", "idle", "the integer 50", idle);
    runtime("idle = \"2s\"", "idle", "\"2s\"", "at most \"1s\", or \"spin\"");
    let interval =
        "a whole number with its unit ns, us, ms, s or min, such as \"50us\" or \"10ms\"";
    runtime("stall_budget = \"10\"", "stall_budget", "\"10\", which has no unit", interval);
    runtime("stall_budget = \"0ms\"", "stall_budget", "no time at all", "at least \"1ns\"");
    runtime("drain_timeout = 2", "drain_timeout", "the integer 2", interval);
    let path =
        "an absolute path of at most 107 octets that ends in NAME.sock, NAME as an instance's";
    let long = format!("/{}/a.sock", "d".repeat(100));
    for socket in ["a.sock", "/run/a", "/run/A.sock", "/run/.sock", &long] {
        let line = format!("control_socket = \"{socket}\"");
        runtime(&line, "control_socket", &format!("{socket:?}"), path);
    }
    let restart = "\"never\", \"always\" or { max_per_minute = 10 }";
    runtime("restart = \"often\"", "restart", "the string \"often\"", restart);
    runtime("restart = {}", "restart", "a table without max_per_minute", restart);
    let range = "an integer from 1 to 600";
    runtime("restart = { max_per_minute = 0 }", "restart.max_per_minute", "the integer 0", range);
    let levels = "one of \"error\" \"warn\" \"info\" \"debug\" \"trace\"";
    runtime("log = \"warning\"", "log", "\"warning\"; did you mean \"warn\"?", levels);
}

#[test]
fn mistakes_in_an_interface() {
    interface(
        "queues = []",
        "queues",
        "an empty list",
        "numbers from 0 to 1023, written 0, [0, 2], \"0-3\" or \"0-3,8\"",
    );
    interface("queues = [0, 1, 0]", "queues", "0 twice", "each number once");
    interface("queues = \"3-1\"", "queues", "the range 3-1, which runs backwards", "\"1-3\"");
    let modes = "one of \"auto\" \"native\" \"generic\"";
    interface("xdp = \"nativ\"", "xdp", "\"nativ\"; did you mean \"native\"?", modes);
    let copies = "one of \"auto\" \"copy\" \"zero-copy\"";
    interface("copy = \"zerocopy\"", "copy", "\"zerocopy\"; did you mean \"zero-copy\"?", copies);
    let several = "one of \"auto\" \"on\" \"off\"";
    interface(
        "multi_buffer = \"offf\"",
        "multi_buffer",
        "\"offf\"; did you mean \"off\"?",
        several,
    );
    interface("ring_entries = 1000", "ring_entries", "1000", "a power of two, such as 512 or 1024");
    interface("ring_entries = 8", "ring_entries", "the integer 8", "an integer from 64 to 262144");
    let fill = "at most ring_entries, which is 2048";
    interface("fill_frames = 4096", "fill_frames", "4096, more than the ring has entries", fill);
    interface(
        "umem = 8192",
        "umem",
        "the integer 8192",
        "a table such as { frames = 8192, chunk_octets = 4096, pages = \"auto\" }",
    );
    let least = "at least 4096: fill_frames (2048) and a full TX ring (2048)";
    interface(
        "umem = { frames = 4000 }",
        "umem.frames",
        "4000 frames, too few for the rings",
        least,
    );
    let chunk = "\"auto\", 2048 or 4096";
    interface("umem = { chunk_octets = 3000 }", "umem.chunk_octets", "the integer 3000", chunk);
    let found = "the string \"automatic\"";
    interface("umem = { chunk_octets = \"automatic\" }", "umem.chunk_octets", found, chunk);
    let pages = "one of \"auto\" \"ordinary\" \"huge\"";
    interface("umem = { pages = \"hug\" }", "umem.pages", "\"hug\"; did you mean \"huge\"?", pages);
    let slip = "the unknown key \"chunk_octet\"; did you mean \"chunk_octets\"?";
    interface(
        "umem = { chunk_octet = 2048 }",
        "umem.chunk_octet",
        slip,
        "frames, chunk_octets, pages",
    );
}

#[test]
fn names_of_interfaces_are_those_that_the_kernel_accepts() {
    for name in ["", "sixteen-octets-x", "a/b", "a b", "a:b", ".."] {
        let text = format!("[[interface]]\nname = \"{name}\"\n{SERVICE}interface = \"eth1\"\n");
        let allowed = "a name of an interface: 1 to 15 octets, no space, / or :";
        one(&text, "interface[0].name", &format!("{name:?}"), allowed);
    }
}

#[test]
fn mistakes_in_a_service() {
    let unknown = "the unknown interface \"eht1\"; did you mean \"eth1\"?";
    service("interface = \"eht1\"", "interface", unknown, "eth1");
    service("queues = 3", "queues", "queue 3, which eth1 does not list", "queues of [0]");
    let held = "at most 6144, what fill_frames leaves";
    service(
        "held_frames_max = 9000",
        "held_frames_max",
        "9000 frames, while a queue of eth1 has 8192",
        held,
    );
    let range = "an integer from 1 to 1048576";
    service("held_frames_max = 0", "held_frames_max", "the integer 0", range);
    service("options = 1", "options", "the integer 1", "a table, written [service.options]");
    service("selectors = {}", "selectors", "a table", "a list of tables, one for each selector");
    let slip = "the unknown key \"selector\"; did you mean \"selectors\"?";
    let keys = "name, kind, interface, queues, cores, selectors, held_frames_max, options";
    service("selector = []", "selector", slip, keys);
}

#[test]
fn mistakes_in_a_selector() {
    let selector = |keys: &str, key: &str, found: &str, allowed: &str| {
        let line = format!("selectors = [{{ {keys} }}]");
        service(&line, &format!("selectors[0].{key}"), found, allowed);
    };
    let prefix =
        "an IPv4 or IPv6 address or network, such as \"198.18.0.0/15\" or \"2001:db8::/32\"";
    selector("protocol = \"udp\"", "destination", "nothing; the key is required", prefix);
    selector("destination = \"all\"", "destination", "\"all\"", prefix);
    selector(
        "destination = \"198.18.0.0/40\"",
        "destination",
        "\"198.18.0.0/40\", whose prefix is too long",
        "/0 to /32 for IPv4",
    );
    let ip = "two addresses of the same kind of IP";
    selector(
        "destination = \"::/0\", source = \"198.18.0.1\"",
        "source",
        "198.18.0.1/32, while the destination is ::/0",
        ip,
    );
    let protocols = "\"any\", \"udp\", \"tcp\", \"icmp\" or a number from 0 to 255";
    selector(
        "destination = \"::/0\", protocol = \"upd\"",
        "protocol",
        "\"upd\"; did you mean \"udp\"?",
        protocols,
    );
    selector("destination = \"::/0\", protocol = 256", "protocol", "the integer 256", protocols);
    let ports = "port numbers from 0 to 65535, such as \"20000\" or \"1000-2000\"";
    selector("destination = \"::/0\", ports = 65536", "ports", "the integer 65536", ports);
    selector(
        "destination = \"::/0\", ports = \"20-10\"",
        "ports",
        "\"20-10\", which runs backwards",
        "\"10-20\"",
    );
    let beside = "ports only beside protocol = \"udp\", \"tcp\", 132 (SCTP) or \"any\"";
    selector(
        "destination = \"::/0\", protocol = \"icmp\", ports = 1",
        "ports",
        "ports of a protocol without ports",
        beside,
    );
    let fragments = "one of \"pass\" \"take\"";
    selector("destination = \"::/0\", fragments = \"drop\"", "fragments", "\"drop\"", fragments);
    service(
        "selectors = [1]",
        "selectors[0]",
        "the integer 1",
        "a table such as { destination = \"198.18.0.1\", protocol = \"udp\" }",
    );
}

#[test]
fn a_name_is_given_once() {
    let text = format!("{INTERFACE}{INTERFACE}{SERVICE}interface = \"eth1\"\n");
    let found = "\"eth1\", the name of the interface of line 2 too";
    one(&text, "interface[1].name", found, "a name that no other interface has");
    let found = "\"a\", the name of the service of line 2 too";
    one(
        &format!("{SERVICE}{SERVICE}"),
        "service[1].name",
        found,
        "a name that no other service has",
    );
}

#[test]
fn an_interface_is_named_where_there_are_several_and_given_where_it_is_needed() {
    let text = format!("{INTERFACE}[[interface]]\nname = \"eth2\"\n{SERVICE}");
    let found = "nothing, while the file has several interfaces";
    one(&text, "service[0].interface", found, "eth1, eth2");
    let text = format!("{SERVICE}selectors = [{{ destination = \"::/0\" }}]\n");
    let found = "selectors, while the file has no [[interface]]";
    one(&text, "service[0].selectors", found, "an [[interface]] that they refer to");
    let found = "the unknown interface \"eth1\"";
    one(
        &format!("{SERVICE}interface = \"eth1\"\n"),
        "service[0].interface",
        found,
        "none, as the file has no [[interface]]",
    );
}

#[test]
fn a_kind_that_the_program_has_not_is_shown_with_those_it_has() {
    let config = accept(&format!("{INTERFACE}{SERVICE}"));
    assert!(config.check_kinds(&["scrub", "stream"]).is_ok());
    assert_eq!(
        config.check_kinds(&["scrubs", "stream"]).unwrap_err().to_string(),
        "\
tide.toml:5:8: error: service[0].kind
  |
5 | kind = \"scrub\"
  |        ^^^^^^^
  found: the unknown kind \"scrub\"; did you mean \"scrubs\"?
  allowed: scrubs, stream"
    );
}

#[test]
fn a_selector_that_never_matches_is_a_warning() {
    let selectors = "selectors = [{ destination = \"198.18.0.0/15\" }]\n";
    let second = "[[service]]\nname = \"b\"\nkind = \"scrub\"\n\
                  selectors = [{ destination = \"198.18.0.1\", protocol = \"udp\", ports = 53 }]\n";
    let config = accept(&format!("{INTERFACE}{SERVICE}{selectors}{second}"));
    let [warning] = config.warnings() else { panic!("one warning: {:?}", config.warnings()) };
    assert_eq!(
        warning.to_string(),
        "\
tide.toml:10:14: warning: service[1].selectors[0]
   |
10 | selectors = [{ destination = \"198.18.0.1\", protocol = \"udp\", ports = 53 }]
   |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  found: a selector that never matches: service[0].selectors[0] (line 6) takes all of its packets first
  advice: put the narrower selector first, or leave it out"
    );
}

#[test]
fn frames_held_by_default_are_no_mistake_where_memory_is_small() {
    let held = |umem: &str| {
        let config = accept(&format!("{INTERFACE}{umem}\n{SERVICE}"));
        assert_eq!(config.warnings().len(), 0, "{:?}", config.warnings());
        config.services[0].held_frames_max
    };
    assert_eq!(held(""), 1024);
    assert_eq!(held("ring_entries = 64\numem = { frames = 512 }"), 448);
    assert_eq!(held("ring_entries = 64\numem = { frames = 128 }"), 64);
}

#[test]
fn memory_that_a_service_could_take_from_the_kernel_and_unused_queues_are_warnings() {
    let warnings = |text: &str| {
        let config = accept(text);
        config.warnings().iter().map(|it| format!("{}: {}", it.key, it.found)).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings(&format!("{INTERFACE}{SERVICE}held_frames_max = 7000\n")),
        ["service[0].held_frames_max: 7000 of the 8192 frames of a queue of eth1"]
    );
    assert_eq!(
        warnings(&format!("{INTERFACE}queues = \"0-2\"\n{SERVICE}queues = 1\n")),
        ["interface[0].queues: queues [0, 2] of eth1, which no service uses"]
    );
}

#[test]
fn an_interface_has_room_for_so_many_selectors() {
    let selectors = |count: u32| {
        let one = |i: u32| format!("{{ destination = \"198.18.0.{i}\" }}");
        let all: Vec<String> = (0..count).map(one).collect();
        format!("{INTERFACE}{SERVICE}selectors = [{}]\n", all.join(", "))
    };
    assert!(accept(&selectors(64)).warnings().is_empty());
    let found = "selector 65 of interface eth1";
    one(&selectors(65), "service[0].selectors[64]", found, "at most 64 of each interface");
}

#[test]
fn no_text_makes_the_reader_panic() {
    // Prefixes of the manual, and the manual without its comments and without each octet in turn.
    for end in (0..EXAMPLE.len()).step_by(7).filter(|&end| EXAMPLE.is_char_boundary(end)) {
        let _ = parse(&EXAMPLE[..end]).map_err(|error| error.to_string());
    }
    let dense: String = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    for at in 0..dense.len() {
        let text = format!("{}{}", &dense[..at], &dense[at + 1..]);
        let _ = parse(&text).map_err(|error| error.to_string());
    }
}
