//! Findings on machines that a test makes up: one healthy, then one fault at a time.

use super::super::facts::{FeatureFacts, HugePages, Irq, XdpFacts};
use super::super::hardware::{HardwareFacts, RecordFacts, RuleFacts};
use super::*;

/// A machine on which all is well, with one interface.
fn healthy() -> Facts {
    Facts {
        kernel: "6.12.9-amd64".to_owned(),
        capabilities: u64::MAX,
        user_namespace: false,
        memlock_octets: None,
        io_uring_disabled: Some(0),
        io_uring: Answer::Works,
        af_xdp: Answer::Works,
        bpf_jit: Some(1),
        huge_pages: Some(HugePages { total: 64, free: 60 }),
        cpus: vec![0, 1],
        tai_offset_seconds: 37,
        links: vec![LinkFacts {
            name: "eth1".to_owned(),
            asked: true,
            driver: Some("ice".to_owned()),
            mtu: 1500,
            up: true,
            carrier: true,
            queues: 2,
            queues_max: 16,
            xdp: None,
            offloads: Vec::new(),
            irqs: vec![irq(50, &[0]), irq(51, &[1])],
            default_route: false,
            hardware: HardwareFacts {
                rings: Some(2),
                table_entries: Some(128),
                table_queues: vec![0, 1],
                rules: RuleFacts::On { count: 1, room: 512 },
                record: None,
            },
            features: Some(FeatureFacts {
                xdp: vec!["native", "redirect", "zero-copy"],
                zero_copy_segments_max: 8,
                rx_metadata: vec!["hash", "timestamp"],
                tx_metadata: vec!["checksum"],
            }),
        }],
        missing_links: Vec::new(),
    }
}

fn irq(number: u32, cpus: &[u32]) -> Irq {
    Irq { number, name: format!("eth1-TxRx-{number}"), cpus: cpus.to_vec() }
}

/// What is said about the healthy machine after `change`, without what is good.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = healthy();
    change(&mut facts);
    judge(&facts).into_iter().filter(|it| it.severity != Severity::Good).collect()
}

/// Asserts the one finding after `change`.
#[track_caller]
fn one(severity: Severity, what: &str, command: &str, change: impl FnOnce(&mut Facts)) {
    let [finding] = <[Finding; 1]>::try_from(after(change)).unwrap();
    assert_eq!((finding.severity, finding.what.as_str()), (severity, what));
    assert_eq!(finding.command.unwrap_or_default(), command);
}

/// As [`one`], for a change of the interface.
#[track_caller]
fn link(severity: Severity, what: &str, command: &str, change: impl FnOnce(&mut LinkFacts)) {
    one(severity, what, command, |facts| change(&mut facts.links[0]));
}

#[test]
fn a_healthy_machine_is_only_good() {
    assert_eq!(after(|_| ()), []);
    assert_eq!(judge(&healthy()).len(), 13);
}

#[test]
fn an_old_kernel_is_said_to_be_old() {
    one(
        Severity::Problem,
        "5.4.0: XDP programs are attached by bpf_link, which came with 5.9",
        "",
        |facts| facts.kernel = "5.4.0".to_owned(),
    );
    one(
        Severity::Advice,
        "5.10.0-28-amd64: reinjection takes the slower way, live frames came with 5.18",
        "",
        |facts| facts.kernel = "5.10.0-28-amd64".to_owned(),
    );
}

#[test]
fn tai_may_be_unknown_or_wrong() {
    one(
        Severity::Advice,
        "the kernel was not told how far TAI is ahead of UTC: streams take UTC and 37 s, and say so",
        "echo leapsectz right/UTC >> /etc/chrony/chrony.conf   (or run ptp4l)",
        |facts| facts.tai_offset_seconds = 0,
    );
    one(
        Severity::Warning,
        "the kernel was told that TAI is 36 s ahead of UTC, it is 37 s: frames are off by the \
         difference",
        "apt-get install --only-upgrade tzdata   (and restart chrony)",
        |facts| facts.tai_offset_seconds = 36,
    );
}

#[test]
fn io_uring_is_forbidden_in_three_ways() {
    one(
        Severity::Problem,
        "io_uring is forbidden: kernel.io_uring_disabled = 2",
        "sysctl -w kernel.io_uring_disabled=0",
        |facts| (facts.io_uring, facts.io_uring_disabled) = (Answer::Errno(1), Some(2)),
    );
    one(
        Severity::Problem,
        "io_uring is refused (EPERM: Operation not permitted), as container engines do by seccomp",
        "docker run --security-opt seccomp=unconfined ...",
        |facts| facts.io_uring = Answer::Errno(libc::EPERM),
    );
    one(
        Severity::Problem,
        "io_uring is refused for want of memory that may be locked",
        "ulimit -l unlimited   (or LimitMEMLOCK=infinity in the systemd unit)",
        |facts| facts.io_uring = Answer::Errno(libc::ENOMEM),
    );
    one(Severity::Problem, "this kernel was built without io_uring", "", |facts| {
        facts.io_uring = Answer::Errno(libc::ENOSYS);
    });
}

#[test]
fn af_xdp_may_be_missing_or_refused() {
    one(
        Severity::Problem,
        "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)",
        "grep XDP_SOCKETS /boot/config-$(uname -r)",
        |facts| facts.af_xdp = Answer::Errno(libc::EAFNOSUPPORT),
    );
    one(
        Severity::Problem,
        "AF_XDP sockets are refused (EPERM: Operation not permitted)",
        "",
        |facts| facts.af_xdp = Answer::Errno(libc::EPERM),
    );
    one(
        Severity::Warning,
        "XDP programs are interpreted, several times slower",
        "sysctl -w net.core.bpf_jit_enable=1",
        |facts| facts.bpf_jit = Some(0),
    );
}

#[test]
fn each_missing_capability_is_named_with_what_it_is_for() {
    let findings = after(|facts| {
        facts.capabilities = 0;
        facts.af_xdp = Answer::Errno(libc::EPERM);
    });
    let said: Vec<&str> = findings.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(
        said,
        [
            "cap_net_admin is missing: this process cannot attach XDP programs",
            "cap_net_raw is missing: this process cannot open AF_XDP sockets",
            "cap_bpf is missing: this process cannot load XDP programs",
            "cap_perfmon is missing: this process cannot load an XDP program that computes offsets",
            "cap_sys_admin is missing: `run` does not need it, `demo` does, for its namespaces",
        ]
    );
    let command = "sudo setcap cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon,cap_ipc_lock+ep \
                   $(command -v tidegate)";
    assert_eq!(findings[0].command.as_deref(), Some(command));
}

#[test]
fn cap_sys_admin_contains_cap_bpf_and_cap_perfmon() {
    let both = 1 << Capability::Bpf as u32 | 1 << Capability::Perfmon as u32;
    assert_eq!(after(|facts| facts.capabilities &= !both), []);
}

#[test]
fn a_user_namespace_loads_no_program() {
    one(
        Severity::Problem,
        "this process is in a user namespace, where the kernel loads no XDP program",
        "podman run --userns=host ... (as root)",
        |facts| facts.user_namespace = true,
    );
}

#[test]
fn memlock_counts_only_without_cap_ipc_lock() {
    let limit = |octets: u64| {
        move |facts: &mut Facts| {
            facts.capabilities &= !(1 << Capability::IpcLock as u32);
            facts.memlock_octets = Some(octets);
        }
    };
    one(
        Severity::Problem,
        "8192 KiB may be locked, a queue needs 16384 KiB with default frames",
        "ulimit -l unlimited   (or LimitMEMLOCK=infinity in the systemd unit)",
        limit(8 << 20),
    );
    one(
        Severity::Advice,
        "64 MiB may be locked, enough for 4 queues with default frames",
        "ulimit -l unlimited",
        limit(64 << 20),
    );
    assert_eq!(after(|facts| facts.memlock_octets = Some(512 << 10)), []);
    let least = after(|facts| facts.memlock_octets = Some(64 << 10));
    assert_eq!(
        least[0].what,
        "64 KiB may be locked, the executor of a shard refuses less than 512 KiB"
    );
}

#[test]
fn missing_huge_pages_are_advice() {
    one(
        Severity::Advice,
        "no huge pages are free: ordinary pages are used, which cost some TLB misses",
        "sysctl -w vm.nr_hugepages=64",
        |facts| facts.huge_pages = Some(HugePages { total: 4, free: 0 }),
    );
}

#[test]
fn an_interface_that_is_missing_down_or_alone() {
    one(
        Severity::Problem,
        "no interface of that name in this network namespace",
        "ip -brief link",
        |facts| facts.missing_links.push("eth9".to_owned()),
    );
    link(Severity::Problem, "it is switched off", "ip link set dev eth1 up", |it| {
        (it.up, it.carrier) = (false, false);
    });
    let alone = "nobody is at the other end of the cable (no carrier)";
    link(Severity::Warning, alone, "ethtool eth1", |it| it.carrier = false);
}

#[test]
fn what_is_wrong_with_an_interface_that_nobody_named_is_advice() {
    link(Severity::Advice, "it is switched off", "ip link set dev eth1 up", |it| {
        (it.asked, it.up) = (false, false);
    });
    let program = XdpFacts { mode: "native".to_owned(), program: 3 };
    let what = "XDP program 3 is attached (native); there is room for one";
    let command = "bpftool prog show id 3; ip link set dev eth1 xdp off";
    link(Severity::Advice, what, command, |it| (it.asked, it.xdp) = (false, Some(program)));
}

#[test]
fn the_default_route_is_flagged() {
    link(
        Severity::Warning,
        "the default route leaves by it: a selector that is too wide cuts the machine off",
        "",
        |it| it.default_route = true,
    );
}

#[test]
fn an_attached_program_is_shown_with_how_to_look_at_it_first() {
    link(
        Severity::Problem,
        "XDP program 17 is attached (generic); there is room for one",
        "bpftool prog show id 17; ip link set dev eth1 xdp off",
        |it| it.xdp = Some(XdpFacts { mode: "generic".to_owned(), program: 17 }),
    );
}

/// All that is said about the interface of the healthy machine, with such a driver.
fn said(driver: &str, mtu: u32) -> Vec<String> {
    let mut facts = healthy();
    facts.links[0].driver = Some(driver.to_owned());
    facts.links[0].mtu = mtu;
    let about = |it: &Finding| it.about == "eth1";
    judge(&facts).into_iter().filter(about).map(|it| it.what).collect()
}

#[test]
fn what_is_known_of_a_driver_is_said_with_how_it_is_known() {
    let igb = said("igb", 1500);
    for line in [
        "sends in zero-copy only with a program in the driver: run attaches one to every \
         interface (",
        "receives in zero-copy into a multiple of 1024 octets: 3072 of a chunk of 4096 (",
        "takes its link down when a program comes or goes: a start waits for the carrier (",
        "packets need chunks of 4096 octets: leave umem.chunk_octets out, or say so",
    ] {
        assert!(igb.iter().any(|it| it.starts_with(line)), "{line} in {igb:#?}");
    }
    let veth = said("veth", 1500);
    assert!(!veth.iter().any(|it| it.contains("carrier") || it.contains("chunk")), "{veth:#?}");
    link(
        Severity::Advice,
        "its driver is not known here: it is taken for one that needs a program to send",
        "",
        |it| it.driver = Some("acme".to_owned()),
    );
}

#[test]
fn packets_that_no_chunk_holds_are_told_of_with_what_they_cost() {
    let segments = |most| {
        move |it: &mut LinkFacts| {
            it.mtu = 9000;
            it.features.as_mut().unwrap().zero_copy_segments_max = most;
        }
    };
    link(
        Severity::Advice,
        "packets of 9000 octets take 3 chunks (multi_buffer), in zero-copy its driver takes 1: \
         copy = \"auto\" gives up zero-copy, copy = \"zero-copy\" the long packets",
        "ip link set dev eth1 mtu 3818",
        segments(1),
    );
    for most in [0, 3, 8] {
        assert_eq!(after(|it| segments(most)(&mut it.links[0])), [], "{most} segments");
    }
    let jumbo = said("ice", 9000);
    assert!(jumbo.contains(&"packets of 9000 octets take 3 chunks (multi_buffer)".to_owned()));
    link(
        Severity::Warning,
        "packets of 65535 octets do not fit into 17 chunks and are lost",
        "ip link set dev eth1 mtu 65258",
        |it| it.mtu = 65_535,
    );
    link(
        Severity::Warning,
        "in zero-copy its driver brings packets of 3500 octets in pieces, which run refuses; copy = \
         \"copy\" takes them whole",
        "ip link set dev eth1 mtu 3050",
        |it| (it.driver, it.mtu) = (Some("igb".to_owned()), 3500),
    );
}

#[test]
fn offloads_that_change_packets_are_named() {
    let on = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    link(
        Severity::Warning,
        "veth with tx, gso on: what its kernel sends arrives at the other end with unfinished \
         checksums and uncut; the sending end is the one to change",
        "ethtool -K eth1 tx off gso off",
        |it| (it.driver, it.offloads) = (Some("veth".to_owned()), on(&["tx", "gso", "sg"])),
    );
    assert_eq!(after(|it| it.links[0].offloads = on(&["tx", "tso", "gso", "rx", "sg"])), []);
    link(
        Severity::Warning,
        "lro merges packets before XDP sees them; most drivers then refuse native XDP",
        "ethtool -K eth1 lro off",
        |it| it.offloads = on(&["lro"]),
    );
    link(
        Severity::Advice,
        "rxvlan takes VLAN tags out before XDP sees them: reinjected packets lose theirs",
        "ethtool -K eth1 rxvlan off",
        |it| it.offloads = on(&["rxvlan"]),
    );
    link(
        Severity::Advice,
        "gro merges packets before generic XDP sees them (native XDP is not concerned)",
        "ethtool -K eth1 gro off",
        |it| it.offloads = on(&["gro"]),
    );
}

#[test]
fn fewer_queues_than_cpus_are_advice_where_more_are_possible() {
    link(
        Severity::Advice,
        "1 queues for 2 CPUs: at most so many shards share its work",
        "ethtool -L eth1 combined 2",
        |it| it.queues = 1,
    );
    assert_eq!(after(|facts| (facts.links[0].queues, facts.links[0].queues_max) = (1, 1)), []);
}

#[test]
fn interrupts_that_share_a_cpu_while_another_has_none() {
    link(
        Severity::Advice,
        "interrupt 51 (eth1-TxRx-51) shares CPU 0 with another while CPU 1 serves none",
        "echo 1 > /proc/irq/51/smp_affinity_list",
        |it| it.irqs = vec![irq(50, &[0]), irq(51, &[0])],
    );
    assert_eq!(after(|it| it.links[0].irqs = vec![irq(50, &[0, 1]), irq(51, &[0, 1])]), []);
}

/// The last of what is good about the interface.
fn last_good(change: impl FnOnce(&mut HardwareFacts)) -> String {
    let mut facts = healthy();
    change(&mut facts.links[0].hardware);
    let findings = judge(&facts);
    let good = findings.iter().rfind(|it| it.about == "eth1" && it.severity == Severity::Good);
    good.unwrap().what.clone()
}

#[test]
fn what_a_card_can_be_told_about_its_queues_is_said() {
    assert_eq!(
        last_good(|_| ()),
        "steering xdp, rss, ntuple: RSS table of 128 entries, with queues 0-1; flow rules, 1 of \
         512 in use"
    );
    assert_eq!(
        last_good(|it| it.rules = RuleFacts::Missing),
        "steering xdp, rss: RSS table of 128 entries, with queues 0-1; no flow rules (ntuple)"
    );
    assert_eq!(
        last_good(|it| (it.table_entries, it.rules) = (None, RuleFacts::Off)),
        "steering xdp, ntuple: no RSS table (rss); flow rules, switched off"
    );
    assert_eq!(
        last_good(|it| *it = HardwareFacts::default()),
        "steering xdp: no RSS table (rss); no flow rules (ntuple)"
    );
}

#[test]
fn what_a_living_process_has_is_good_and_what_a_killed_one_left_has_its_remedy() {
    let record = |is_alive, isolated_queues: &[u32], rules| {
        let isolated_queues = isolated_queues.to_vec();
        Some(RecordFacts { pid: 4711, is_alive, isolated_queues, rules })
    };
    assert_eq!(
        last_good(|it| it.record = record(true, &[1], 0)),
        "process 4711 of tidegate has queue 1 out of the RSS table here"
    );
    link(
        Severity::Warning,
        "process 4711 of tidegate was killed and left queues 0-1 out of the RSS table and 3 flow \
         rules here; the next start on this interface puts it right, as does this",
        "tidegate restore eth1",
        |it| it.hardware.record = record(false, &[0, 1], 3),
    );
}

/// What is good about the interface, after `change`.
fn told(change: impl FnOnce(&mut LinkFacts)) -> Vec<String> {
    let mut facts = healthy();
    change(&mut facts.links[0]);
    let good = |it: &Finding| it.about == "eth1" && it.severity == Severity::Good;
    judge(&facts).into_iter().filter(good).map(|it| it.what).collect()
}

#[test]
fn what_the_driver_has_is_told_by_the_kernels_words() {
    assert_eq!(
        told(|_| ())[1..3],
        [
            "XDP: native, redirect, zero-copy (packets of up to 8 parts)",
            "metadata on receipt: hash, timestamp; on sending: checksum",
        ]
    );
    let copies = told(|link| {
        let xdp = vec!["native", "redirect"];
        link.features = Some(FeatureFacts { xdp, ..FeatureFacts::default() });
    });
    assert_eq!(
        copies[1..3],
        [
            "XDP: native, redirect; AF_XDP copies each packet",
            "metadata on receipt: none; on sending: none",
        ]
    );
    link(
        Severity::Advice,
        "its driver runs no XDP: programs run in the stack (generic), AF_XDP copies each packet",
        "",
        |link| link.features = Some(FeatureFacts::default()),
    );
    link(
        Severity::Advice,
        "this kernel does not say what drivers have for XDP (6.3 and newer do)",
        "",
        |link| link.features = None,
    );
}
