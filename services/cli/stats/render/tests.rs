//! The table that an operator sees, from snapshots that a test makes up.

use tidegate_runtime::metrics::snapshot::{
    Conservation, RowSnapshot, ShardSnapshot, SteeringSnapshot,
};

use super::*;

fn map(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
}

/// A shard that scrubs on one port, `k` times as busy as the first.
fn shard(id: u32, k: u64) -> ShardSnapshot {
    ShardSnapshot {
        id,
        cpu: Some(id),
        torn: false,
        stats: ShardStats {
            turns: 1_200_000 * k,
            total_ns: 10_000_000_000,
            busy_ns: 4_210_000_000 * k,
            asleep_ns: 1_000_000_000,
            longest_turn_ns: 812_000 * k,
            sleeps: 3_000,
            wakeups: 3_100,
            ..ShardStats::default()
        },
        ports: vec![PortSnapshot {
            interface: "eth1".to_owned(),
            queue: id,
            stats: PortStats {
                rx_frames: 1_000_000 * k,
                rx_octets: 64_000_000 * k,
                tx_frames: 500,
                tx_octets: 640_000,
                kernel_rx_ring_full: 12 * (k - 1),
                tx_wakes: 40,
                held_frames: 5,
                ..PortStats::default()
            },
            obtained: [("copy", "zero-copy"), ("tx_checksum", "driver")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }],
        services: vec![ServiceSnapshot {
            name: "shield".to_owned(),
            kind: "scrub".to_owned(),
            stats: ServiceStats {
                rx_frames: 1_000_000 * k,
                rx_octets: 64_000_000 * k,
                bursts: 20_000,
                settled_drop: 990_000 * k,
                settled_reinject: 10_000 * k,
                panics: k - 1,
                held_frames: 5,
                ..ServiceStats::default()
            },
            counters: map(&[("flows", 7)]),
            drops: map(&[("malformed", 12), ("rule_3", 989_988), ("unused", 0)]),
            gauges: map(&[("sources", 3)]),
            ..ServiceSnapshot::default()
        }],
    }
}

/// A sender or receiver of video.
fn stream(name: &str, words: &[(&str, &str)], levels: &[(&str, i64)]) -> ServiceSnapshot {
    ServiceSnapshot {
        name: name.to_owned(),
        kind: "stream-send".to_owned(),
        words: words.iter().map(|&(name, word)| (name.to_owned(), word.to_owned())).collect(),
        levels: levels.iter().map(|&(name, level)| (name.to_owned(), level)).collect(),
        ..ServiceSnapshot::default()
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        instance: "main".to_owned(),
        pid: 4242,
        uptime_ns: 3_723_000_000_000,
        shards: vec![shard(0, 1), shard(1, 2)],
        steering: vec![SteeringSnapshot {
            interface: "eth1".to_owned(),
            counters: map(&[("passed", 55), ("redirected", 3_000_000)]),
            hardware: None,
        }],
        tables: Vec::new(),
        conservation: Conservation { unaccounted: 0 },
    }
}

#[test]
fn shows_cores_ports_services_totals_and_reasons() {
    assert_eq!(
        render(&snapshot(), "since the start"),
        "\
main, pid 4242, up 01:02:03; since the start

shard  cpu   busy  asleep  turns  longest  wake-ups  sleeps  stalls
0      0    42.1%   10.0%  1.20M    812us      3100    3000       0
1      1    84.2%   10.0%  2.40M   1.62ms      3100    3000       0
all         63.2%   10.0%  3.60M   1.62ms      6200    6000       0

port    shard     in  octets   out  octets  held  lost  wakes
eth1:0      0  1.00M   64.0M   500    640k     5     0     40
eth1:1      1  2.00M    128M   500    640k     5    12     40
all            3.00M    192M  1000   1.28M    10    12     80

service  shard     in  octets  out  octets  held  bursts   mean
shield       0  1.00M   64.0M    0       0     5   20.0k   50.0
shield       1  2.00M    128M    0       0     5   20.0k  100.0
all             3.00M    192M    0       0    10   40.0k   75.0

settled  shard  transmit  reinject  consumed   drop  reclaimed
shield       0         0     10.0k         0   990k          0
shield       1         0     20.0k         0  1.98M          0
all                    0     30.0k         0  2.97M          0

obtained by eth1:0 eth1:1: copy zero-copy, tx_checksum driver
kernel at eth1:1: rx_ring_full 12
steering of eth1: redirected 3.00M, passed 55
dropped by shield: rule_3 1.98M, malformed 24
counted by shield: flows 14, sources 6
TROUBLE with shield on shard 1: panics 1

every frame is accounted for
"
    );
}

#[test]
fn streams_are_shown_by_name_with_class_and_extremes() {
    let camera = stream(
        "camera",
        &[
            ("format", "1920x1080 at 50, 4:2:2 10 bit"),
            ("measured_by", "hand-over"),
            ("class_asked", "narrow"),
            ("class_held", "narrow"),
            ("class_held_since_start", "none"),
        ],
        &[("vrx_min", 4), ("vrx_max", 7), ("vrx_full", 8), ("c_inst_max", 2), ("c_max", 5)],
    );
    let screen = stream(
        "screen",
        &[("class_asked", "narrow-linear"), ("class_held", "unmeasured")],
        &[("latency_ns_max", -12)],
    );
    let mut shard = shard(0, 1);
    shard.services = vec![camera, screen];
    let text = render(&Snapshot { shards: vec![shard], ..snapshot() }, "since the start");
    let expected = "
stream  asked   held    ever  VRX of  C_INST of
camera  narrow  narrow  none  4..7/8        2/5
screen  linear  -       -          -          -

obtained by eth1:0: copy zero-copy, tx_checksum driver
stream camera: 1920x1080 at 50, 4:2:2 10 bit, measured by hand-over
stream screen: latency_ns_max -12
";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn shows_what_the_card_was_told() {
    let rule = |location, in_place| RuleSnapshot {
        location,
        queue: location % 2,
        in_place,
        ..RuleSnapshot::default()
    };
    let shown = |hardware: HardwareSnapshot| {
        let mut with = snapshot();
        with.steering[0].hardware = Some(hardware);
        let text = render(&with, "since the start");
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        let (_, from) = text.split_once("steering of eth1").unwrap();
        let (_, from) = from.split_once('\n').unwrap();
        from.split_once("dropped by").unwrap().0.to_owned()
    };
    let rss = HardwareSnapshot {
        asked: "rss".to_owned(),
        isolated_queues: vec![1],
        table: "ours".to_owned(),
        ..HardwareSnapshot::default()
    };
    assert_eq!(shown(rss.clone()), "hardware of eth1: rss, queue 1 isolated, RSS table ours\n");
    let changed = HardwareSnapshot {
        asked: "ntuple".to_owned(),
        isolated_queues: vec![0, 1],
        rules: vec![rule(1021, true), rule(1022, false)],
        ..rss.clone()
    };
    assert_eq!(
        shown(changed),
        "hardware of eth1: ntuple, queues 0, 1 isolated, RSS table ours\n\
         2 flow rules of eth1, by location: 1021 -> queue 1, 1022 -> queue 0 (GONE)\n"
    );
    let many = HardwareSnapshot {
        isolated_queues: Vec::new(),
        table: "none".to_owned(),
        rules: (0..40).map(|location| rule(location, true)).collect(),
        remarks: vec!["other packets come to queue 0 as well".to_owned()],
        ..rss
    };
    let many = shown(many);
    assert!(
        many.starts_with("hardware of eth1: rss, no queue isolated, RSS table none\n"),
        "{many}"
    );
    assert!(many.contains("11 -> queue 1, and 28 more\n"), "{many}");
    assert!(many.ends_with("REMARK on eth1: other packets come to queue 0 as well\n"), "{many}");
}

#[test]
fn paths_are_shown_by_name_with_what_each_lost() {
    let mut screen = stream(
        "screen",
        &[
            ("class_held", "wide"),
            ("first_path", "eth1 239.1.1.1:5"),
            ("second_path", "eth2 port 5"),
        ],
        &[("first_behind_us", 0), ("second_behind_us_max", 1_200), ("first_behind_us_max", 0)],
    );
    for (name, value) in [
        ("first_packets_received", 1_000),
        ("first_packets_lost", 3),
        ("first_packets_duplicate", 1),
        ("first_packets_reordered", 2),
        ("first_packets_late", 0),
        ("second_packets_sent", 7),
        ("second_packets_lost", 996),
    ] {
        screen.counters.insert(name.to_owned(), value);
    }
    let mut shown = snapshot();
    shown.shards[0].services.push(screen);
    let text = render(&shown, "since the start");
    let table = "\
path           packets  lost  twice  order  late  behind
screen first      1000     3      1      2     0     0ns
screen second        7   996      -      -     -  1.20ms
";
    assert!(text.contains(table), "{text}");
    let note = "stream screen: first path eth1 239.1.1.1:5, second path eth2 port 5\n";
    assert!(text.contains(note), "{text}");
    assert!(!render(&snapshot(), "since the start").contains("\npath "));
}

#[test]
fn ports_that_obtained_other_things_are_told_apart() {
    let mut mixed = snapshot();
    mixed.shards[1].ports[0].obtained.insert("copy".to_owned(), "copy".to_owned());
    let text = render(&mixed, "since the start");
    assert!(text.contains("\nobtained by eth1:0: copy zero-copy, tx_checksum driver\n"), "{text}");
    assert!(text.contains("\nobtained by eth1:1: copy copy, tx_checksum driver\n"), "{text}");
}

#[test]
fn one_of_each_needs_no_totals() {
    let alone = Snapshot { shards: vec![shard(0, 1)], ..snapshot() };
    let text = render(&alone, "since the start");
    assert!(!text.contains("\nall "), "{text}");
}

#[test]
fn nothing_is_shown_of_nothing() {
    let empty = Snapshot { instance: "main".to_owned(), pid: 1, ..Snapshot::default() };
    assert_eq!(
        render(&empty, "since the start"),
        "main, pid 1, up 00:00:00; since the start\n\nevery frame is accounted for\n"
    );
}

#[test]
fn fits_80_columns_with_the_largest_numbers_and_longest_names() {
    let mut wide = snapshot();
    for shard in &mut wide.shards {
        shard.id = 1023;
        shard.cpu = Some(1023);
        shard.stats = ShardStats::from_values([u64::MAX; _]);
        shard.ports[0].interface = "fifteen-octets1".to_owned();
        shard.ports[0].queue = 1023;
        shard.ports[0].stats = PortStats::from_values([u64::MAX / 100; _]);
        shard.services[0].name = "a-service-of-thirty-two-letters-".to_owned();
        shard.services[0].stats = ServiceStats::from_values([u64::MAX / 100; _]);
        shard.services[0].stats.bursts = 1;
        let words = ["class_asked", "class_held", "class_held_since_start"];
        shard.services.push(stream(
            "another-service-of-thirty-two-le",
            &words
                .map(|word| (word, "narrow-linear"))
                .into_iter()
                .chain([("first_path", "fifteen-octets1 port 65535")])
                .collect::<Vec<_>>(),
            &[
                ("first_behind_us_max", i64::MAX),
                ("vrx_min", -1_000_000),
                ("vrx_max", 100_000),
                ("vrx_full", 2880),
                ("c_max", 40),
            ],
        ));
    }
    for line in render(&wide, "per second").lines() {
        assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn frames_that_are_nowhere_are_shouted() {
    let lost = Snapshot { conservation: Conservation { unaccounted: 3 }, ..snapshot() };
    let text = render(&lost, "since the start");
    assert!(text.ends_with("\nUNACCOUNTED FRAMES: 3 (a bug of tidegate)\n"), "{text}");
}

#[test]
fn rates_are_growth_per_second_and_leave_gauges_and_peaks() {
    let before = snapshot();
    let mut now = snapshot();
    now.uptime_ns += 2_000_000_000;
    now.shards[0].stats.turns += 500;
    now.shards[0].ports[0].stats.rx_frames += 3_000;
    now.shards[0].ports[0].stats.held_frames = 9;
    now.shards[0].services[0].stats.bursts += 40;
    now.shards[0].services[0].drops.insert("rule_3".to_owned(), 989_988 + 100);
    now.steering[0].counters.insert("passed".to_owned(), 55 + 8);
    let rates = rates(&now, &before);
    let shard = &rates.shards[0];
    assert_eq!((shard.stats.turns, shard.stats.longest_turn_ns), (250, 812_000));
    assert_eq!((shard.ports[0].stats.rx_frames, shard.ports[0].stats.held_frames), (1_500, 9));
    assert_eq!(shard.services[0].stats.bursts, 20);
    assert_eq!(shard.services[0].drops, map(&[("malformed", 0), ("rule_3", 50), ("unused", 0)]));
    assert_eq!(rates.steering[0].counters["passed"], 4);
    assert_eq!(rates.shards[1].stats.turns, 0);
}

#[test]
fn a_process_started_anew_has_no_rate_rather_than_a_huge_one() {
    let mut now = snapshot();
    now.uptime_ns = 1;
    now.shards[0].stats.turns = 3;
    assert_eq!(rates(&now, &snapshot()).shards[0].stats.turns, 0);
}

fn row(name: &str, state: &str, packets: u64) -> RowSnapshot {
    RowSnapshot {
        name: name.to_owned(),
        words: [("state".to_owned(), state.to_owned())].into(),
        counters: map(&[("packets", packets), ("octets", packets * 100)]),
        gauges: map(&[("bits_per_second", 9_000)]),
    }
}

#[test]
fn tables_of_services_are_shown_with_their_own_columns() {
    let rows = vec![row("198.18.0.1", "engaged", 12_000), row("2001:db8::/32", "peace", 5)];
    let table = |rows| TableSnapshot { service: "gate".into(), name: "destination".into(), rows };
    let with = |rows| Snapshot { tables: vec![table(rows)], ..snapshot() };
    let text = render(&with(rows), "since the start");
    let expected = "\
gate destination  state    octets  packets  bits_per_second
198.18.0.1        engaged   1.20M    12.0k             9000
2001:db8::/32     peace       500        5             9000
";
    assert!(text.contains(expected), "{text}");
    let many = (0..40).map(|n| row(&n.to_string(), "peace", n)).collect();
    let text = render(&with(many), "since the start");
    assert!(text.contains("\n(28 more; --json has all)\n"), "{text}");
    assert!(!render(&with(Vec::new()), "").contains("destination"));
}

#[test]
fn counters_of_a_table_become_rates_row_by_row() {
    let table = |rows| TableSnapshot { service: "gate".into(), name: "rule".into(), rows };
    let of = |rows, uptime_ns| Snapshot { tables: vec![table(rows)], uptime_ns, ..snapshot() };
    let before = of(vec![row("a", "", 10)], 1_000_000_000);
    let now = of(vec![row("b", "", 8), row("a", "", 30)], 3_000_000_000);
    let rates = rates(&now, &before).tables.remove(0).rows;
    let packets = rates.iter().map(|row| row.counters["packets"]).collect::<Vec<_>>();
    assert_eq!(packets, [4, 10]);
    assert_eq!(rates[1].gauges["bits_per_second"], 9_000, "no counter");
}
