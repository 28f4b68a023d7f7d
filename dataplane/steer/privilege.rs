//! Which capabilities BPF and AF_XDP need, and which of them the process lacks.
//!
//! CAP_PERFMON is among them: without it the verifier hardens programs against speculation
//! and refuses most that compute an offset into a packet or a map, ours too.

use std::{error, fmt, io};

/// Number and name of each, from linux/capability.h. CAP_SYS_ADMIN stands for the first two.
const NEEDED: [(u32, &str); 4] =
    [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];
const CAP_SYS_ADMIN: u32 = 21;

/// The capabilities needed that this thread has not.
pub(crate) fn missing() -> Box<[&'static str]> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    missing_from(effective(&status).unwrap_or(0))
}

/// The system's error number at the bottom of a chain of errors.
pub(crate) fn errno(error: &(dyn error::Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
}

/// The `CapEff` line of a `/proc/.../status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_from(effective: u64) -> Box<[&'static str]> {
    let has = |number: u32| effective >> number & 1 == 1;
    let lacks = |&(number, name): &(u32, &str)| {
        !(has(number) || matches!(name, "CAP_BPF" | "CAP_PERFMON") && has(CAP_SYS_ADMIN))
    };
    NEEDED.iter().filter(|needed| lacks(needed)).map(|(_, name)| *name).collect()
}

/// Writes what is missing and what to type.
pub(crate) fn explain(
    f: &mut fmt::Formatter<'_>,
    call: &str,
    missing: &[&'static str],
) -> fmt::Result {
    if missing.is_empty() {
        return write!(
            f,
            "{call} is not permitted, although no capability is missing: a container's user \
             namespace, its seccomp filter or kernel lockdown forbids it",
        );
    }
    write!(
        f,
        "{call} is not permitted: {} missing; run as root, or grant them with \
         `sudo setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw+ep <binary>`",
        missing.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Explained<'a>(&'a [&'static str]);

    impl fmt::Display for Explained<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            explain(f, "loading the XDP program", self.0)
        }
    }

    #[test]
    fn names_what_is_missing_and_what_to_type() {
        assert_eq!(
            Explained(&["CAP_BPF", "CAP_NET_RAW"]).to_string(),
            "loading the XDP program is not permitted: CAP_BPF, CAP_NET_RAW missing; run as root, \
             or grant them with `sudo setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw+ep <binary>`"
        );
        assert_eq!(
            Explained(&[]).to_string(),
            "loading the XDP program is not permitted, although no capability is missing: a \
             container's user namespace, its seccomp filter or kernel lockdown forbids it"
        );
    }

    #[test]
    fn reads_the_effective_set() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000008000001000\n";
        assert_eq!(effective(status), Some(1 << 39 | 1 << 12));
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(*missing_from(1 << 39 | 1 << 12), ["CAP_PERFMON", "CAP_NET_RAW"]);
        assert_eq!(*missing_from(1 << CAP_SYS_ADMIN | 1 << 13), ["CAP_NET_ADMIN"]);
        assert_eq!(*missing_from(0), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_NET_RAW"]);
        assert!(missing_from(u64::MAX).is_empty());
    }
}
