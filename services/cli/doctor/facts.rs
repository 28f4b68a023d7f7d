//! What `doctor` knows about a machine. Only values; who asks is `probe`, who judges `judge`.

use serde::Serialize;

use super::hardware::HardwareFacts;

/// The machine, as this process sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// What this process may do, as the bits of `CapEff`.
    pub capabilities: u64,
    /// Whether this process is in a user namespace other than the machine's own.
    pub user_namespace: bool,
    /// Octets that this process may lock in memory; `None` is no limit.
    pub memlock_octets: Option<u64>,
    /// `kernel.io_uring_disabled`: 0 allowed, 1 for some, 2 for nobody; `None` in old kernels.
    pub io_uring_disabled: Option<u32>,
    /// What the kernel answered when a ring was made.
    pub io_uring: Answer,
    /// What the kernel answered when an `AF_XDP` socket was made.
    pub af_xdp: Answer,
    /// `net.core.bpf_jit_enable`.
    pub bpf_jit: Option<u32>,
    /// Huge pages of 2 MiB: all, and those that are free.
    pub huge_pages: Option<HugePages>,
    /// CPUs that this process may use.
    pub cpus: Vec<u32>,
    /// Seconds by which the kernel has TAI ahead of UTC; 0 where nobody told it.
    pub tai_offset_seconds: u32,
    /// The interfaces asked for, or all.
    pub links: Vec<LinkFacts>,
    /// Interfaces that were asked for and are not there.
    pub missing_links: Vec<String>,
}

/// What the kernel said to a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It works.
    Works,
    /// It does not, with this error number.
    Errno(i32),
}

/// Huge pages of 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HugePages {
    /// Pages that the kernel set aside.
    pub total: u64,
    /// Of those, pages that nobody uses.
    pub free: u64,
}

/// One interface.
#[derive(Clone, Debug, Serialize)]
pub struct LinkFacts {
    /// Its name.
    pub name: String,
    /// Whether it was asked for by name: what is wrong with others hinders nobody.
    pub asked: bool,
    /// Its driver, where it has a name.
    pub driver: Option<String>,
    /// Largest packet, in octets, without the Ethernet header.
    pub mtu: u32,
    /// Whether it was switched on.
    pub up: bool,
    /// Whether the other side is there.
    pub carrier: bool,
    /// Queues that receive.
    pub queues: u32,
    /// Most queues that the driver can have.
    pub queues_max: u32,
    /// The XDP program on it.
    pub xdp: Option<XdpFacts>,
    /// Offloads that are on, by the word that `ethtool -K` takes.
    pub offloads: Vec<String>,
    /// Its interrupts.
    pub irqs: Vec<Irq>,
    /// Whether the default route leaves by it.
    pub default_route: bool,
    /// What it can be told about its queues, and was told.
    pub hardware: HardwareFacts,
    /// What its driver has for XDP; `None` where the kernel does not say, before 6.3.
    pub features: Option<FeatureFacts>,
}

/// What a driver has for XDP and `AF_XDP`, as the kernel says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FeatureFacts {
    /// `native`, `redirect`, `redirect-target`, `hardware`, `multi-buffer`, `zero-copy`.
    pub xdp: Vec<&'static str>,
    /// Parts that a packet sent in zero-copy may have; 0 without zero-copy.
    pub zero_copy_segments_max: u32,
    /// What a program may ask about a received packet: `hash`, `timestamp`, `vlan`.
    pub rx_metadata: Vec<&'static str>,
    /// What a sender in zero-copy may ask for: `checksum`, `timestamp`, `launch-time`.
    pub tx_metadata: Vec<&'static str>,
}

impl FeatureFacts {
    /// Whether the driver has what this word stands for in [`Self::xdp`].
    pub fn has(&self, word: &str) -> bool {
        self.xdp.contains(&word)
    }
}

/// An XDP program found on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct XdpFacts {
    /// Where it runs: `native`, `generic`, `offload` or `several`.
    pub mode: String,
    /// The kernel's number for it, 0 if it names none.
    pub program: u32,
}

/// One interrupt of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Irq {
    /// Its number.
    pub number: u32,
    /// Its name, which often has the queue in it.
    pub name: String,
    /// CPUs that may serve it.
    pub cpus: Vec<u32>,
}

/// Capabilities that matter here, `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Attach XDP, change interfaces.
    NetAdmin = 12,
    /// Open `AF_XDP` sockets.
    NetRaw = 13,
    /// Lock any amount of memory.
    IpcLock = 14,
    /// Make network namespaces; contains the next two.
    SysAdmin = 21,
    /// Load XDP programs that compute offsets, as ours does.
    Perfmon = 38,
    /// Load XDP programs.
    Bpf = 39,
}

impl Capability {
    /// Its name, as `setcap` and `docker --cap-add` take it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NetAdmin => "cap_net_admin",
            Self::NetRaw => "cap_net_raw",
            Self::IpcLock => "cap_ipc_lock",
            Self::SysAdmin => "cap_sys_admin",
            Self::Perfmon => "cap_perfmon",
            Self::Bpf => "cap_bpf",
        }
    }
}

impl Facts {
    /// Whether this process has `capability`.
    pub const fn has(&self, capability: Capability) -> bool {
        self.capabilities & (1 << capability as u32) != 0
    }
}
