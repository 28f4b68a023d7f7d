//! From facts to findings. Pure: the same machine, the same advice.

mod driver;

use serde::Serialize;
use tidegate_runtime::clock::TAI_MINUS_UTC_SECONDS;
use tidegate_runtime::executor::LOCKED_OCTETS_MIN;

use super::facts::{Answer, Capability, Facts, LinkFacts, XdpFacts};
use super::hardware;

/// One thing that `doctor` has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `kernel`, `privilege`, `memory`, or the name of an interface.
    pub about: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found and what follows from it.
    pub what: String,
    /// What to type to mend it.
    pub command: Option<String>,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Good,
    /// Works, could be better or matters to some.
    Advice,
    /// Works, but packets may be lost or wrong.
    Warning,
    /// Will not work.
    Problem,
}

impl Severity {
    /// The word on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Advice => "advice",
            Self::Warning => "WARNING",
            Self::Problem => "PROBLEM",
        }
    }
}

/// Memory that a default config locks for each queue: 8192 frames of 2048 octets.
const QUEUE_OCTETS: u64 = 8192 * 2048;

/// All that is to be said about a machine, in the order in which it is asked.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings::default();
    kernel(facts, &mut findings.about("kernel"));
    privilege(facts, &mut findings.about("privilege"));
    memory(facts, &mut findings.about("memory"));
    clock(facts, &mut findings.about("clock"));
    for name in &facts.missing_links {
        let what = "no interface of that name in this network namespace";
        findings.about(name).problem(what, "ip -brief link");
    }
    for link in &facts.links {
        interface(facts, link, &mut findings.about(&link.name));
    }
    findings.0
}

fn kernel(facts: &Facts, say: &mut About<'_>) {
    let release = &facts.kernel;
    match version(release) {
        Some(version) if version < (5, 9) => say.add(
            Severity::Problem,
            format!("{release}: XDP programs are attached by bpf_link, which came with 5.9"),
            None,
        ),
        Some(version) if version < (5, 18) => say.add(
            Severity::Advice,
            format!("{release}: reinjection takes the slower way, live frames came with 5.18"),
            None,
        ),
        _ => say.good(release),
    }
    match (&facts.io_uring, facts.io_uring_disabled) {
        (Answer::Works, _) => say.good("io_uring works"),
        (_, Some(disabled @ 1..)) => say.problem(
            format!("io_uring is forbidden: kernel.io_uring_disabled = {disabled}"),
            "sysctl -w kernel.io_uring_disabled=0",
        ),
        (Answer::Errno(errno), _) if *errno == libc::ENOSYS => {
            say.add(Severity::Problem, "this kernel was built without io_uring", None);
        }
        // Rings are locked memory, counted over all processes of a user.
        (Answer::Errno(libc::ENOMEM), _) => say.problem(
            "io_uring is refused for want of memory that may be locked",
            "ulimit -l unlimited   (or LimitMEMLOCK=infinity in the systemd unit)",
        ),
        (Answer::Errno(errno), _) => say.problem(
            format!(
                "io_uring is refused ({}), as container engines do by seccomp",
                nix::errno::Errno::from_raw(*errno)
            ),
            "docker run --security-opt seccomp=unconfined ...",
        ),
    }
    match facts.af_xdp {
        Answer::Works => say.good("AF_XDP sockets work"),
        Answer::Errno(libc::EAFNOSUPPORT) => say.problem(
            "this kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)",
            "grep XDP_SOCKETS /boot/config-$(uname -r)",
        ),
        // Said under privilege.
        Answer::Errno(_) if !facts.has(Capability::NetRaw) => {}
        Answer::Errno(errno) => say.add(
            Severity::Problem,
            format!("AF_XDP sockets are refused ({})", nix::errno::Errno::from_raw(errno)),
            None,
        ),
    }
    if facts.bpf_jit == Some(0) {
        say.add(
            Severity::Warning,
            "XDP programs are interpreted, several times slower",
            Some("sysctl -w net.core.bpf_jit_enable=1".to_owned()),
        );
    }
}

const SETCAP: &str = "sudo setcap \
    cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon,cap_ipc_lock+ep $(command -v tidegate)";

fn privilege(facts: &Facts, say: &mut About<'_>) {
    let needed = [
        (Capability::NetAdmin, "attach XDP programs"),
        (Capability::NetRaw, "open AF_XDP sockets"),
        (Capability::Bpf, "load XDP programs"),
        (Capability::Perfmon, "load an XDP program that computes offsets"),
    ];
    let contained = |capability| {
        let of_sys_admin = matches!(capability, Capability::Bpf | Capability::Perfmon);
        of_sys_admin && facts.has(Capability::SysAdmin)
    };
    let mut missing = needed.into_iter().filter(|&(it, _)| !facts.has(it) && !contained(it));
    let first = missing.next();
    for (capability, purpose) in first.into_iter().chain(missing) {
        let what = format!("{} is missing: this process cannot {purpose}", capability.word());
        say.problem(what, SETCAP);
    }
    if first.is_none() {
        say.good("may load and attach XDP programs and open AF_XDP sockets");
    }
    if !facts.has(Capability::SysAdmin) {
        say.add(
            Severity::Advice,
            "cap_sys_admin is missing: `run` does not need it, `demo` does, for its namespaces",
            Some("sudo tidegate demo".to_owned()),
        );
    }
    if facts.user_namespace {
        say.add(
            Severity::Problem,
            "this process is in a user namespace, where the kernel loads no XDP program",
            Some("podman run --userns=host ... (as root)".to_owned()),
        );
    }
}

fn memory(facts: &Facts, say: &mut About<'_>) {
    match facts.memlock_octets {
        // Said by the executor itself, whatever the capabilities.
        Some(limit) if limit < LOCKED_OCTETS_MIN && facts.has(Capability::IpcLock) => say.problem(
            format!(
                "{} KiB may be locked, the executor of a shard refuses less than {} KiB",
                limit >> 10,
                LOCKED_OCTETS_MIN >> 10
            ),
            "ulimit -l unlimited   (or LimitMEMLOCK=infinity in the systemd unit)",
        ),
        _ if facts.has(Capability::IpcLock) => say.good("memory may be locked without a limit"),
        None => say.good("memory may be locked without a limit"),
        Some(limit) if limit < QUEUE_OCTETS => say.problem(
            format!(
                "{} KiB may be locked, a queue needs {} KiB with default frames",
                limit >> 10,
                QUEUE_OCTETS >> 10
            ),
            "ulimit -l unlimited   (or LimitMEMLOCK=infinity in the systemd unit)",
        ),
        Some(limit) => say.add(
            Severity::Advice,
            format!(
                "{} MiB may be locked, enough for {} queues with default frames",
                limit >> 20,
                limit / QUEUE_OCTETS
            ),
            Some("ulimit -l unlimited".to_owned()),
        ),
    }
    match facts.huge_pages {
        Some(pages) if pages.free > 0 => {
            say.good(format!("{} of {} huge pages are free", pages.free, pages.total));
        }
        _ => say.add(
            Severity::Advice,
            "no huge pages are free: ordinary pages are used, which cost some TLB misses",
            Some("sysctl -w vm.nr_hugepages=64".to_owned()),
        ),
    }
}

fn clock(facts: &Facts, say: &mut About<'_>) {
    const RIGHT: u32 = TAI_MINUS_UTC_SECONDS;
    match facts.tai_offset_seconds {
        RIGHT => say.good(format!("TAI is {RIGHT} s ahead of UTC, as the kernel was told")),
        0 => say.add(
            Severity::Advice,
            format!(
                "the kernel was not told how far TAI is ahead of UTC: streams take UTC and \
                 {RIGHT} s, and say so"
            ),
            Some("echo leapsectz right/UTC >> /etc/chrony/chrony.conf   (or run ptp4l)".to_owned()),
        ),
        seconds => say.add(
            Severity::Warning,
            format!(
                "the kernel was told that TAI is {seconds} s ahead of UTC, it is {RIGHT} s: frames \
                 are off by the difference"
            ),
            Some("apt-get install --only-upgrade tzdata   (and restart chrony)".to_owned()),
        ),
    }
}

fn interface(facts: &Facts, link: &LinkFacts, say: &mut About<'_>) {
    let name = &link.name;
    let driver_name = link.driver.as_deref().unwrap_or("no driver name");
    // Where no interface was named, these are all of the machine, and most are for others.
    let hindrance = if link.asked { Severity::Problem } else { Severity::Advice };
    say.good(format!(
        "{driver_name}, {} of {} queues, MTU {}",
        link.queues,
        link.queues_max.max(link.queues),
        link.mtu
    ));
    features(link, say);
    if link.default_route {
        say.add(
            Severity::Warning,
            "the default route leaves by it: a selector that is too wide cuts the machine off",
            None,
        );
    }
    match (link.up, link.carrier) {
        (false, _) => {
            say.add(hindrance, "it is switched off", Some(format!("ip link set dev {name} up")));
        }
        (true, false) => say.add(
            Severity::Warning,
            "nobody is at the other end of the cable (no carrier)",
            Some(format!("ethtool {name}")),
        ),
        (true, true) => {}
    }
    if let Some(XdpFacts { mode, program }) = &link.xdp {
        say.add(
            hindrance,
            format!("XDP program {program} is attached ({mode}); there is room for one"),
            Some(format!("bpftool prog show id {program}; ip link set dev {name} xdp off")),
        );
    }
    driver::facts(link, say);
    driver::mtu(link, say);
    offloads(link, say);
    queues(facts, link, say);
    hardware::judge(name, &link.hardware, say);
}

/// What the driver has, by the kernel's words for it.
fn features(link: &LinkFacts, say: &mut About<'_>) {
    let Some(found) = &link.features else {
        let what = "this kernel does not say what drivers have for XDP (6.3 and newer do)";
        return say.add(Severity::Advice, what, None);
    };
    let list = |words: &[&str]| match words {
        [] => "none".to_owned(),
        words => words.join(", "),
    };
    if found.has("native") {
        let parts = match found.zero_copy_segments_max {
            0 | 1 => String::new(),
            max => format!(" (packets of up to {max} parts)"),
        };
        let without = if found.has("zero-copy") { "" } else { "; AF_XDP copies each packet" };
        say.good(format!("XDP: {}{parts}{without}", list(&found.xdp)));
    } else {
        say.add(
            Severity::Advice,
            "its driver runs no XDP: programs run in the stack (generic), AF_XDP copies each packet",
            None,
        );
    }
    // Only zero-copy asks the driver; see `dataplane/offload.rs`.
    let (received, sent) = (list(&found.rx_metadata), list(&found.tx_metadata));
    say.good(format!("metadata on receipt: {received}; on sending: {sent}"));
}

fn offloads(link: &LinkFacts, say: &mut About<'_>) {
    let name = &link.name;
    let on = |word: &&str| link.offloads.iter().any(|offload| offload == word);
    let off = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| format!("{word} off")).collect();
        Some(format!("ethtool -K {name} {}", words.join(" ")))
    };
    if link.driver.as_deref() == Some("veth") {
        let unfinished: Vec<&str> = ["tx", "tso", "gso"].into_iter().filter(on).collect();
        if !unfinished.is_empty() {
            say.add(
                Severity::Warning,
                format!(
                    "veth with {} on: what its kernel sends arrives at the other end with \
                     unfinished checksums and uncut; the sending end is the one to change",
                    unfinished.join(", ")
                ),
                off(&unfinished),
            );
        }
    }
    if on(&"lro") {
        let what = "lro merges packets before XDP sees them; most drivers then refuse native XDP";
        say.add(Severity::Warning, what, off(&["lro"]));
    }
    if on(&"rxvlan") {
        let what =
            "rxvlan takes VLAN tags out before XDP sees them: reinjected packets lose theirs";
        say.add(Severity::Advice, what, off(&["rxvlan"]));
    }
    if on(&"gro") {
        let what = "gro merges packets before generic XDP sees them (native XDP is not concerned)";
        say.add(Severity::Advice, what, off(&["gro"]));
    }
}

fn queues(facts: &Facts, link: &LinkFacts, say: &mut About<'_>) {
    let name = &link.name;
    let cpus = u32::try_from(facts.cpus.len()).unwrap_or(u32::MAX);
    let possible = link.queues_max.min(cpus);
    if link.queues < possible {
        say.add(
            Severity::Advice,
            format!(
                "{} queues for {cpus} CPUs: at most so many shards share its work",
                link.queues
            ),
            Some(format!("ethtool -L {name} combined {possible}")),
        );
    }
    // Two interrupts that one same CPU alone may serve, while others are idle.
    let pinned = |irq: &super::facts::Irq| <[u32; 1]>::try_from(irq.cpus.as_slice()).ok();
    let crowded = link.irqs.iter().enumerate().find(|(index, irq)| {
        pinned(irq).is_some()
            && link.irqs[..*index].iter().any(|other| pinned(other) == pinned(irq))
    });
    let busy: Vec<u32> = link.irqs.iter().flat_map(|irq| irq.cpus.clone()).collect();
    let idle = facts.cpus.iter().find(|cpu| !busy.contains(cpu));
    if let (Some((_, irq)), Some(idle)) = (crowded, idle) {
        say.add(
            Severity::Advice,
            format!(
                "interrupt {} ({}) shares CPU {} with another while CPU {idle} serves none",
                irq.number, irq.name, irq.cpus[0]
            ),
            Some(format!("echo {idle} > /proc/irq/{}/smp_affinity_list", irq.number)),
        );
    }
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn about<'a>(&'a mut self, about: &'a str) -> About<'a> {
        About { findings: &mut self.0, about }
    }
}

/// Collects findings about one thing.
pub(super) struct About<'a> {
    findings: &'a mut Vec<Finding>,
    about: &'a str,
}

impl About<'_> {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        what: impl Into<String>,
        command: Option<String>,
    ) {
        let about = self.about.to_owned();
        self.findings.push(Finding { about, severity, what: what.into(), command });
    }

    pub(super) fn good(&mut self, what: impl Into<String>) {
        self.add(Severity::Good, what, None);
    }

    fn problem(&mut self, what: impl Into<String>, command: impl Into<String>) {
        self.add(Severity::Problem, what, Some(command.into()));
    }
}

#[cfg(test)]
mod tests;
