//! What this process lacks for a lab, and what to type.

use std::fs::{self, OpenOptions};
use std::io;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use tidegate_dataplane::sys::permission;
use tidegate_runtime::executor::LOCKED_OCTETS_MIN;

use super::Namespace;

/// Memory of two shards that the kernel counts as locked: a UMEM each, the
/// rings, and the executors' buffers, with room to spare.
const LOCKED_OCTETS: u64 = 64 << 20;

/// Number in `linux/capability.h`, name, and what it is wanted for.
const CAPABILITIES: [(u32, &str, &str); 4] = [
    (12, "CAP_NET_ADMIN", "interfaces and XDP"),
    (13, "CAP_NET_RAW", "AF_XDP sockets"),
    (21, "CAP_SYS_ADMIN", "network namespaces"),
    (39, "CAP_BPF", "BPF programs"),
];
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// Everything that this process lacks for a lab and for running services in
/// it, a line each with what to type; `None` when nothing is missing.
///
/// Where a thing can be tried it is tried; what a failed try means is then
/// told by what is known of its causes.
pub fn missing() -> Option<String> {
    explain(&Facts::gather())
}

/// What was found. A try that was not made, since what it needs was missing
/// already, counts as a success.
#[derive(Debug)]
struct Facts {
    effective: u64,
    locked_octets_max: u64,
    namespace: Result<(), String>,
    bpf: Result<(), i32>,
    xdp_socket: Result<(), i32>,
    io_uring: Result<(), i32>,
    io_uring_disabled: u32,
    tun: Result<(), i32>,
}

impl Facts {
    fn gather() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let effective = effective(&status).unwrap_or(0);
        let has_all = CAPABILITIES.iter().all(|(number, ..)| has(effective, *number));
        let errno = |refusal: io::Error| refusal.raw_os_error().unwrap_or(0);
        let attempt = |what: fn() -> io::Result<()>| if has_all { what() } else { Ok(()) };
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        Self {
            effective,
            locked_octets_max: getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft),
            namespace: if has_all { try_namespace() } else { Ok(()) },
            bpf: attempt(permission::bpf).map_err(errno),
            xdp_socket: attempt(permission::xdp_socket).map_err(errno),
            io_uring: permission::io_uring().map_err(errno),
            io_uring_disabled: disabled.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0),
            tun: attempt(try_tun).map_err(errno),
        }
    }
}

fn try_namespace() -> Result<(), String> {
    Namespace::new().map(drop).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

fn try_tun() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open("/dev/net/tun").map(drop)
}

/// The `CapEff` line of a `/proc/.../status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// capabilities(7): before there was `CAP_BPF`, `CAP_SYS_ADMIN` was it, and still is.
const fn has(effective: u64, number: u32) -> bool {
    let sets = if number == CAP_BPF { 1 << number | 1 << CAP_SYS_ADMIN } else { 1 << number };
    effective & sets != 0
}

fn explain(facts: &Facts) -> Option<String> {
    let mut lines = Vec::new();
    let lacking: Vec<_> =
        CAPABILITIES.iter().filter(|(number, ..)| !has(facts.effective, *number)).collect();
    for (_, name, purpose) in &lacking {
        lines.push(format!("{name} is missing ({purpose})"));
    }
    if !lacking.is_empty() {
        lines.push("  type: sudo tidegate demo; in a container: docker run --privileged".into());
    }
    if let Err(cause) = &facts.namespace {
        lines.push(cause.clone());
        lines.push(
            "  type: sudo sysctl user.max_net_namespaces=1024; in a container: docker run \
             --privileged"
                .into(),
        );
    }
    lines.extend(facts.bpf.err().map(|errno| match errno {
        libc::ENOSYS => "this kernel has no BPF; use one with CONFIG_BPF_SYSCALL".into(),
        _ => "BPF is forbidden although the capability is there, by a seccomp filter or lockdown\n  \
              in a container: docker run --privileged"
            .to_owned(),
    }));
    lines.extend(facts.xdp_socket.err().map(|errno| {
        match errno {
            libc::EAFNOSUPPORT => {
                "this kernel has no AF_XDP sockets; use one with CONFIG_XDP_SOCKETS".to_owned()
            }
            _ => {
                "AF_XDP sockets are forbidden although the capability is there\n  in a container: \
              docker run --privileged"
                    .into()
            }
        }
    }));
    lines.extend(facts.io_uring.err().map(|_| {
        match facts.io_uring_disabled {
        0 => "io_uring is forbidden, by a seccomp filter or the lack of it in this kernel\n  in a \
              container: docker run --security-opt seccomp=unconfined"
            .to_owned(),
        level => format!(
            "io_uring is forbidden by kernel.io_uring_disabled = {level}\n  type: sudo sysctl \
             kernel.io_uring_disabled=0"
        ),
    }
    }));
    lines.extend(facts.tun.err().map(|errno| {
        match errno {
            libc::ENOENT => "/dev/net/tun is missing\n  type: sudo modprobe tun; in a container: \
                         docker run --device /dev/net/tun"
                .to_owned(),
            libc::ENODEV => "/dev/net/tun has no driver\n  type: sudo modprobe tun".into(),
            _ => {
                "/dev/net/tun may not be opened\n  in a container: docker run --device /dev/net/tun"
                    .into()
            }
        }
    }));
    let octets = if has(facts.effective, CAP_IPC_LOCK) { LOCKED_OCTETS_MIN } else { LOCKED_OCTETS };
    if facts.locked_octets_max < octets {
        lines.push(format!(
            "locked memory is limited to {} KiB, {} KiB are needed\n  type: ulimit -l unlimited",
            facts.locked_octets_max >> 10,
            octets >> 10
        ));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_well() -> Facts {
        Facts {
            effective: u64::MAX,
            locked_octets_max: LOCKED_OCTETS_MIN,
            namespace: Ok(()),
            bpf: Ok(()),
            xdp_socket: Ok(()),
            io_uring: Ok(()),
            io_uring_disabled: 0,
            tun: Ok(()),
        }
    }

    #[track_caller]
    fn told(facts: &Facts) -> String {
        explain(facts).expect("something is missing")
    }

    #[test]
    fn nothing_is_said_when_nothing_is_missing() {
        assert_eq!(explain(&all_well()), None);
    }

    #[test]
    fn each_capability_is_named_and_what_to_type_stands_below() {
        let facts = Facts { effective: 1 << 12 | 1 << 14, ..all_well() };
        assert_eq!(
            told(&facts),
            "CAP_NET_RAW is missing (AF_XDP sockets)\n\
             CAP_SYS_ADMIN is missing (network namespaces)\n\
             CAP_BPF is missing (BPF programs)\n\
             \x20 type: sudo tidegate demo; in a container: docker run --privileged"
        );
        let facts = Facts { effective: 1 << 12 | 1 << 13 | 1 << 14 | 1 << 21, ..all_well() };
        assert_eq!(explain(&facts), None, "CAP_SYS_ADMIN stands for CAP_BPF");
    }

    #[test]
    fn a_forbidden_io_uring_is_told_from_a_disabled_one() {
        let facts = Facts { io_uring: Err(libc::EPERM), ..all_well() };
        assert_eq!(
            told(&facts),
            "io_uring is forbidden, by a seccomp filter or the lack of it in this kernel\n  in a \
             container: docker run --security-opt seccomp=unconfined"
        );
        let facts = Facts { io_uring: Err(libc::EPERM), io_uring_disabled: 2, ..all_well() };
        assert_eq!(
            told(&facts),
            "io_uring is forbidden by kernel.io_uring_disabled = 2\n  type: sudo sysctl \
             kernel.io_uring_disabled=0"
        );
    }

    #[test]
    fn a_low_limit_on_locked_memory_counts_only_without_the_capability_to_pass_it() {
        let facts = Facts { locked_octets_max: 64 << 10, ..all_well() };
        assert_eq!(
            told(&facts),
            "locked memory is limited to 64 KiB, 512 KiB are needed\n  type: ulimit -l unlimited",
            "the executor does not ask for the capability"
        );
        let effective = !(1 << CAP_IPC_LOCK);
        let facts = Facts { effective, locked_octets_max: 8 << 20, ..all_well() };
        assert_eq!(
            told(&facts),
            "locked memory is limited to 8192 KiB, 65536 KiB are needed\n  type: ulimit -l \
             unlimited"
        );
        let facts = Facts { effective, locked_octets_max: u64::MAX, ..all_well() };
        assert_eq!(explain(&facts), None);
    }

    #[test]
    fn what_the_kernel_lacks_is_told_from_what_a_container_forbids() {
        let cases: [(Facts, &str); 6] = [
            (
                Facts { bpf: Err(libc::ENOSYS), ..all_well() },
                "this kernel has no BPF; use one with CONFIG_BPF_SYSCALL",
            ),
            (
                Facts { bpf: Err(libc::EPERM), ..all_well() },
                "BPF is forbidden although the capability is there, by a seccomp filter or \
                 lockdown\n  in a container: docker run --privileged",
            ),
            (
                Facts { xdp_socket: Err(libc::EAFNOSUPPORT), ..all_well() },
                "this kernel has no AF_XDP sockets; use one with CONFIG_XDP_SOCKETS",
            ),
            (
                Facts { tun: Err(libc::ENOENT), ..all_well() },
                "/dev/net/tun is missing\n  type: sudo modprobe tun; in a container: docker run \
                 --device /dev/net/tun",
            ),
            (
                Facts { tun: Err(libc::EPERM), ..all_well() },
                "/dev/net/tun may not be opened\n  in a container: docker run --device \
                 /dev/net/tun",
            ),
            (
                Facts { namespace: Err("no namespace".into()), ..all_well() },
                "no namespace\n  type: sudo sysctl user.max_net_namespaces=1024; in a container: \
                 docker run --privileged",
            ),
        ];
        for (facts, words) in cases {
            assert_eq!(told(&facts), words);
        }
    }
}
