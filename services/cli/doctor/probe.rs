//! Asks the machine. The only part of `doctor` that does; it decides nothing and changes nothing.

use std::fs;
use std::io;
use std::path::Path;

use io_uring::IoUring;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::Pid;
use tidegate_dataplane::sys::ethtool::{Ethtool, Offload};
use tidegate_dataplane::sys::netlink::{self, Features, Link, Netlink, XdpMode};
use tidegate_dataplane::sys::xdp;

use tidegate_runtime::clock::{Clock, TaiOffset};

use super::facts::{Answer, Facts, FeatureFacts, LinkFacts, XdpFacts};
use super::{hardware, text};

/// Collects what is known about this machine and the named interfaces, or all but the loopback.
///
/// What cannot be found out is left out; only that the kernel lists no interfaces is an error.
pub(super) fn facts(names: &[String]) -> io::Result<Facts> {
    let mut netlink = Netlink::open()?;
    let default_route = netlink.default_route_interface().ok().flatten();
    let all = netlink.links()?;
    let wanted = |link: &&Link| {
        let asked = names.iter().any(|name| **name == *link.name);
        asked || (names.is_empty() && &*link.name != "lo")
    };
    let ethtool = Ethtool::open()?;
    let interrupts = read("/proc/interrupts");
    let links = (all.iter().filter(wanted))
        .map(|link| LinkFacts {
            asked: names.iter().any(|name| **name == *link.name),
            ..link_facts(link, &ethtool, &interrupts, default_route)
        })
        .collect();
    let there = |name: &&String| all.iter().any(|link| *link.name == ***name);
    let status = read("/proc/self/status");
    Ok(Facts {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        capabilities: text::capabilities(&status),
        user_namespace: text::is_user_namespace(&read("/proc/self/uid_map")),
        memlock_octets: memlock(),
        io_uring_disabled: sysctl("kernel/io_uring_disabled"),
        // Two entries, the least that the kernel makes sense of; gone at the end of the line.
        io_uring: answer(IoUring::new(2)),
        af_xdp: answer(xdp::socket()),
        bpf_jit: sysctl("net/core/bpf_jit_enable"),
        tai_offset_seconds: match Clock::machine().tai_offset() {
            TaiOffset::Known(seconds) => seconds,
            TaiOffset::Unset => 0,
        },
        huge_pages: text::huge_pages(&read("/proc/meminfo")),
        cpus: cpus(),
        links,
        missing_links: names.iter().filter(|name| !there(name)).cloned().collect(),
    })
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn sysctl(name: &str) -> Option<u32> {
    read(Path::new("/proc/sys").join(name)).trim().parse().ok()
}

fn answer<T>(trial: io::Result<T>) -> Answer {
    match trial {
        Ok(_) => Answer::Works,
        Err(error) => Answer::Errno(error.raw_os_error().unwrap_or(0)),
    }
}

/// The soft limit, which is the one that counts.
fn memlock() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

fn cpus() -> Vec<u32> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    let is_set = |&cpu: &usize| set.is_set(cpu).unwrap_or(false);
    (0..CpuSet::count()).filter(is_set).filter_map(|cpu| u32::try_from(cpu).ok()).collect()
}

fn link_facts(
    link: &Link,
    ethtool: &Ethtool,
    interrupts: &str,
    default_route: Option<u32>,
) -> LinkFacts {
    let name = &*link.name;
    let channels = ethtool.channels(name).ok();
    let mode = |mode| match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
        XdpMode::Offload => "offload",
        XdpMode::Several => "several",
    };
    let is_on = |offload: &Offload| ethtool.offload(name, *offload).unwrap_or(false);
    let device = Path::new("/sys/class/net").join(name).join("device");
    let device_name = fs::canonicalize(&device)
        .ok()
        .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    let numbers: Vec<u32> = (fs::read_dir(device.join("msi_irqs")).into_iter().flatten())
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let mut irqs = text::irqs(interrupts, name, device_name.as_deref(), &numbers);
    for irq in &mut irqs {
        irq.cpus = text::cpu_list(&read(format!("/proc/irq/{}/smp_affinity_list", irq.number)));
    }
    LinkFacts {
        name: name.to_owned(),
        asked: false,
        driver: ethtool.driver(name).ok().map(String::from),
        mtu: link.mtu,
        up: link.up,
        carrier: link.carrier,
        queues: channels.map(|it| it.receiving()).filter(|&it| it > 0).unwrap_or(link.rx_queues),
        queues_max: channels.map_or(link.rx_queues, |it| it.rx_max.max(it.combined_max)),
        xdp: (link.xdp)
            .map(|xdp| XdpFacts { mode: mode(xdp.mode).to_owned(), program: xdp.prog_id }),
        offloads: Offload::ALL
            .iter()
            .filter(|it| is_on(it))
            .map(|it| it.word().to_owned())
            .collect(),
        irqs,
        default_route: default_route == Some(link.index),
        hardware: hardware::facts(ethtool, name),
        features: netlink::features(link.index).ok().flatten().map(features),
    }
}

fn features(found: Features) -> FeatureFacts {
    let words = |words: &[(bool, &'static str)]| {
        words.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect()
    };
    FeatureFacts {
        xdp: words(&[
            (found.native, "native"),
            (found.redirect, "redirect"),
            (found.redirect_target, "redirect-target"),
            (found.hardware, "hardware"),
            (found.multi_buffer, "multi-buffer"),
            (found.zero_copy, "zero-copy"),
        ]),
        zero_copy_segments_max: found.zero_copy_segments_max,
        rx_metadata: words(&[
            (found.rx_hash, "hash"),
            (found.rx_timestamp, "timestamp"),
            (found.rx_vlan, "vlan"),
        ]),
        tx_metadata: words(&[
            (found.tx_checksum, "checksum"),
            (found.tx_timestamp, "timestamp"),
            (found.tx_launch_time, "launch-time"),
        ]),
    }
}
