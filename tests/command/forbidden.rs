//! What the process may not do: the capability, the filter or the limit is named, with what to
//! type.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use tidegate::lab::Namespace;
use tidegate::lab::witness::udp::{Questions, Server, ask};

use super::{Folder, Process, Said, assert_bare, echo, tidegate, unique, wire};

/// What `run` says of a process with no capability.
const NONE_TO_RUN: &str = "tidegate: loading the XDP program is not permitted: CAP_BPF, \
     CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW missing; run as root, or grant them with `sudo setcap \
     cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw+ep <binary>`";

/// The same of `demo`. What it says of memory depends on the limit that the test has.
const NONE_TO_PLAY: &str = "tidegate: the demo cannot run here:\n\
     CAP_NET_ADMIN is missing (interfaces and XDP)\n\
     CAP_NET_RAW is missing (AF_XDP sockets)\n\
     CAP_SYS_ADMIN is missing (network namespaces)\n\
     CAP_BPF is missing (BPF programs)\n  \
     type: sudo tidegate demo; in a container: docker run --privileged";

/// The same of `doctor`: what, for each of them the same to type.
const NONE: [&str; 4] = [
    "cap_net_admin is missing: this process cannot attach XDP programs",
    "cap_net_raw is missing: this process cannot open AF_XDP sockets",
    "cap_bpf is missing: this process cannot load XDP programs",
    "cap_perfmon is missing: this process cannot load an XDP program that computes offsets",
];
const SETCAP: &str = "sudo setcap \
     cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon,cap_ipc_lock+ep $(command -v tidegate)";

/// Nobody, as every distribution has it.
const NOBODY: u32 = 65534;

/// `command` behind another program with these words, as setpriv(1) of util-linux.
fn behind(program: &str, words: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(words).arg(command.get_program()).args(command.get_args());
    outer.env_remove("RUST_LOG").env("NO_COLOR", "1");
    outer
}

/// `command` of a root without these capabilities, or without any where it is `-all`.
fn without(capabilities: &str, command: &Command) -> Command {
    let (bounding, inherited) =
        (format!("--bounding-set={capabilities}"), format!("--inh-caps={capabilities}"));
    behind("setpriv", &[&bounding, &inherited], command)
}

fn said(namespace: &Namespace, command: Command) -> Said {
    Process::start(namespace, command).end()
}

/// What `doctor` finds wrong: what, and what to type.
fn problems(said: &Said) -> Vec<(String, String)> {
    assert_eq!((said.code, &*said.errors), (Some(1), ""), "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let problems = findings.filter(|it| it["severity"] == "problem");
    problems.map(|it| (text(it, "what"), text(it, "command"))).collect()
}

#[test]
fn run_says_which_capabilities_are_missing() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let file = folder.write("tide.toml", &echo(&unique(), "tide1"));
    let run = tidegate(&["run", "--config", &file]);
    let refused = said(&wire.near.namespace, without("-all", &run));
    assert_eq!(refused.refusal(), NONE_TO_RUN);
    assert_bare(&wire.near);
    for (capabilities, what, missing) in [
        ("-net_raw", "opening an AF_XDP socket", "CAP_NET_RAW"),
        ("-net_admin,-sys_admin", "loading the XDP program", "CAP_NET_ADMIN"),
        ("-bpf,-sys_admin", "loading the XDP program", "CAP_BPF"),
        ("-perfmon,-sys_admin", "loading the XDP program", "CAP_PERFMON"),
    ] {
        let refused = said(&wire.near.namespace, without(capabilities, &run));
        let place = if missing == "CAP_NET_RAW" { "shard 0, tide1 queue 0: " } else { "" };
        assert_eq!(
            refused.errors.lines().last().unwrap(),
            format!(
                "tidegate: {place}{what} is not permitted: {missing} missing; run as root, or \
                 grant them with `sudo setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw+ep \
                 <binary>`"
            )
        );
        assert_eq!((refused.code, &*refused.out), (Some(1), ""));
        assert_bare(&wire.near);
    }
}

#[test]
fn demo_says_which_capabilities_are_missing() {
    require_net!();
    let namespace = Namespace::new().unwrap();
    let refused = said(&namespace, without("-all", &tidegate(&["demo", "--seconds", "1"])));
    assert!(refused.refusal().starts_with(NONE_TO_PLAY), "{refused:?}");
}

#[test]
fn doctor_says_which_capabilities_are_missing() {
    require_net!();
    let wire = wire(1);
    let doctor = tidegate(&["doctor", "--json", "tide1"]);
    let refused = said(&wire.near.namespace, without("-all", &doctor));
    assert_no_capabilities(&refused);
}

/// `doctor` named all four. What else it found is of this machine's limits.
#[track_caller]
fn assert_no_capabilities(said: &Said) {
    let problems = problems(said);
    for what in NONE {
        let remedy = problems.iter().find(|it| it.0 == what).map(|it| &*it.1);
        assert_eq!(remedy, Some(SETCAP), "{what} in {problems:?}");
    }
}

#[test]
fn another_user_is_told_the_same() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let file = folder.write("tide.toml", &echo(&unique(), "tide1"));
    // The build may lie where only its owner may go.
    let program = folder.path().join("tidegate");
    fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    let run_time = folder.path().join("run");
    fs::create_dir(&run_time).unwrap();
    chown(&run_time, Some(NOBODY), Some(NOBODY)).unwrap();
    let nobody = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).uid(NOBODY).gid(NOBODY).env("XDG_RUNTIME_DIR", &run_time);
        command.env("NO_COLOR", "1");
        said(&wire.near.namespace, command)
    };
    assert_eq!(nobody(&["run", "--config", &file]).refusal(), NONE_TO_RUN);
    let demo = nobody(&["demo"]);
    assert!(demo.refusal().starts_with(NONE_TO_PLAY), "{demo:?}");
    assert_no_capabilities(&nobody(&["doctor", "--json", "tide1"]));
    let socket = run_time.join("tidegate/main.sock");
    assert_eq!(
        nobody(&["stats"]).refusal(),
        format!(
            "tidegate: no tidegate runs as instance \"main\" (nobody answers at {}); start it \
             with `tidegate run --config FILE`",
            socket.display()
        )
    );
    assert_bare(&wire.near);
}

/// Starts `command` behind a filter that forbids io_uring, as containers have one.
fn without_io_uring(namespace: &Namespace, mut command: Command) -> Said {
    let rules = BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]);
    let forbid = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, forbid, arch).unwrap();
    let filter = BpfProgram::try_from(filter).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // seccomp(2): the filter is of the thread, which ends, and of the children that it made.
    let spawn = || -> io::Result<_> {
        apply_filter(&filter).map_err(io::Error::other)?;
        command.spawn()
    };
    Process::adopt(namespace.run(spawn).unwrap().unwrap()).end()
}

#[test]
fn a_filter_that_forbids_io_uring_is_named_with_the_way_round_it() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let file = folder.write("tide.toml", &echo(&unique(), "tide1"));
    let near = &wire.near.namespace;
    let refused = without_io_uring(near, tidegate(&["run", "--config", &file]));
    assert_eq!(
        refused.errors.lines().last(),
        Some(
            "tidegate: shard 0: io_uring cannot be used here (IO error occurred: failed to create \
             an io_uring: Operation not permitted (os error 1)); a seccomp filter, as containers \
             have one, forbids it: allow io_uring_setup, io_uring_enter and io_uring_register in \
             the profile (to try: `--security-opt seccomp=unconfined`)"
        )
    );
    assert_eq!((refused.code, &*refused.out), (Some(1), ""));
    assert_bare(&wire.near);

    let refused = without_io_uring(near, tidegate(&["demo", "--seconds", "1"]));
    assert_eq!(
        refused.refusal(),
        "tidegate: the demo cannot run here:\nio_uring is forbidden, by a seccomp filter or the \
         lack of it in this kernel\n  in a container: docker run --security-opt seccomp=unconfined"
    );

    let refused = without_io_uring(near, tidegate(&["doctor", "--json", "tide1"]));
    let problem = (
        "io_uring is refused (EPERM: Operation not permitted), as container engines do by seccomp",
        "docker run --security-opt seccomp=unconfined ...",
    );
    let problems = problems(&refused);
    let problems: Vec<_> = problems.iter().map(|(what, command)| (&**what, &**command)).collect();
    assert_eq!(problems, [problem]);
}

/// The executor compares the limit and asks for no capability, so root meets it too.
#[test]
fn too_low_a_limit_on_locked_memory_is_found_for_root_as_well() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let file = folder.write("tide.toml", &echo(&unique(), "tide1"));
    let limited = |words: &[&str]| {
        said(&wire.near.namespace, behind("prlimit", &["--memlock=65536:65536"], &tidegate(words)))
    };
    let refused = limited(&["run", "--config", &file]);
    assert_eq!(
        refused.errors.lines().last(),
        Some(
            "tidegate: shard 0: only 65536 octets may be locked, the executor needs 524288; raise \
             it with `ulimit -l 512` or LimitMEMLOCK= of the service"
        )
    );
    assert_eq!((refused.code, &*refused.out), (Some(1), ""));
    assert_bare(&wire.near);
    assert_eq!(
        limited(&["demo", "--seconds", "1"]).refusal(),
        "tidegate: the demo cannot run here:\n\
         locked memory is limited to 64 KiB, 512 KiB are needed\n  type: ulimit -l unlimited"
    );
    let problem = (
        "64 KiB may be locked, the executor of a shard refuses less than 512 KiB".to_owned(),
        "ulimit -l unlimited   (or LimitMEMLOCK=infinity in the systemd unit)".to_owned(),
    );
    assert_eq!(problems(&limited(&["doctor", "--json", "tide1"])), [problem]);
}

/// Root may lock what it likes, and what is locked is counted for each user: so a user of its own
/// for each try, with the capabilities that `run` asks for and no more. The limit is of a process,
/// and prlimit(1) sets it for the child alone.
#[test]
fn too_little_memory_that_may_be_locked_is_told_with_how_much_is_needed() {
    require_net!();
    let (wire, folder) = (wire(1), Folder::new());
    let file = folder.write("tide.toml", &echo(&unique(), "tide1"));
    let near = &wire.near.namespace;
    let users = Cell::new(0);
    let limited = |octets: &str, words: &[&str]| {
        let run_time = folder.path().join(octets);
        let number = 60_000 + std::process::id() % 1000 * 4 + users.replace(users.get() + 1);
        let user = [format!("--reuid={number}"), format!("--regid={number}")];
        // The build and the config may lie where only their owner may go.
        let granted = "-all,+net_admin,+net_raw,+bpf,+perfmon,+dac_override";
        let granted = [format!("--inh-caps={granted}"), format!("--ambient-caps={granted}")];
        let flags = [&user[0], &user[1], "--clear-groups", &granted[0], &granted[1]];
        let command = behind("setpriv", &flags, &tidegate(words));
        let limit = format!("--memlock={octets}:{octets}");
        let mut command = behind("prlimit", &[&limit], &command);
        if !run_time.exists() {
            fs::create_dir(&run_time).unwrap();
        }
        chown(&run_time, Some(number), Some(number)).unwrap();
        said(near, {
            command.env("XDG_RUNTIME_DIR", &run_time);
            command
        })
    };
    for (octets, words) in [
        (
            "65536",
            "tidegate: shard 0: only 65536 octets may be locked, the executor needs 524288; raise \
             it with `ulimit -l 512` or LimitMEMLOCK= of the service",
        ),
        (
            "524288",
            "tidegate: shard 0, tide1 queue 0: a UMEM of 1048576 octets may not be locked in \
             memory; raise the limit with `ulimit -l 1024` or LimitMEMLOCK=, or give CAP_IPC_LOCK",
        ),
    ] {
        let refused = limited(octets, &["run", "--config", &file]);
        assert_eq!(refused.errors.lines().last(), Some(words));
        assert_eq!((refused.code, &*refused.out), (Some(1), ""));
        assert_bare(&wire.near);
    }
    let demo = limited("65536", &["demo", "--seconds", "1"]);
    assert!(
        demo.refusal().ends_with(
            "\nlocked memory is limited to 64 KiB, 65536 KiB are needed\n  type: ulimit -l unlimited"
        ),
        "{demo:?}"
    );
    let problems = problems(&limited("65536", &["doctor", "--json", "tide1"]));
    let (what, command) = &problems[0];
    assert_eq!(what, "64 KiB may be locked, a queue needs 16384 KiB with default frames");
    assert_eq!(command, "ulimit -l unlimited   (or LimitMEMLOCK=infinity in the systemd unit)");
}

/// Two queues have an injector each, and lack the same.
#[test]
fn a_filter_that_forbids_live_frames_is_said_once_and_packets_go_back_all_the_same() {
    require_net!();
    const PORT: u16 = 5300;
    let (wire, folder) = (wire(2), Folder::new());
    let config = echo(&unique(), "tide1").replace("umem =", "queues = [0, 1]\numem =")
        + &format!(
            "\n[[service]]\nname = \"shield\"\nkind = \"scrub\"\n\
             selectors = [{{ destination = \"198.18.0.0/15\", protocol = \"udp\", \
             ports = {PORT} }}]\noptions = {{ rules = \"default pass\" }}\n"
        );
    let file = folder.write("tide.toml", &config);
    // BPF_PROG_RUN of enum bpf_cmd.
    let run = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 10).unwrap();
    let rules = BTreeMap::from([(libc::SYS_bpf, vec![SeccompRule::new(vec![run]).unwrap()])]);
    let forbid = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, forbid, arch).unwrap();
    let filter = BpfProgram::try_from(filter).unwrap();
    let mut command = tidegate(&["run", "--config", &file]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // As for io_uring.
    let spawn = || -> io::Result<_> {
        apply_filter(&filter).map_err(io::Error::other)?;
        command.spawn()
    };
    let mut running = Process::adopt(wire.near.namespace.run(spawn).unwrap().unwrap());
    running.await_running();
    let at = SocketAddr::from((wire.near.ipv4, PORT));
    let server = Server::start(&wire.near.namespace, at).unwrap();
    let patience = Duration::from_secs(20);
    let questions = Questions { count: 200, per_second: 500, octets: 64, patience };
    let asker = ask(&wire.far.namespace, (wire.far.ipv4, 0).into(), at, questions).unwrap();
    let heard = asker.wait().unwrap();
    assert_eq!((heard.delivered, heard.wrong, heard.duplicate), (200, 0, 0), "{heard:?}");
    server.stop().unwrap();
    let said = running.leave();
    assert_eq!(said.code, Some(0), "{said:?}");
    let times = |words: &str| said.errors.matches(words).count();
    assert_eq!(times("packets go back by the TAP device alone"), 1, "{}", said.errors);
    assert_eq!(times("packets can be put back"), 2, "of each queue what it has: {}", said.errors);
}
