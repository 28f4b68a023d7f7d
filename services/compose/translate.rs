//! The config's words in the words of the other rooms.

use tidegate_config as config;
use tidegate_dataplane::offload::ChecksumWish;
use tidegate_dataplane::steer::hardware;
use tidegate_dataplane::{steer, umem, xsk};
use tidegate_runtime::plan;

/// The CPU of a shard: the listed ones in turn, or none in particular.
pub(super) fn cpu(runtime: &config::Runtime, shard: usize) -> Option<usize> {
    let cpus = runtime.cpus.as_deref()?;
    cpus.get(shard % cpus.len().max(1)).map(|&cpu| cpu as usize)
}

pub(super) const fn idle(idle: config::Idle) -> plan::Idle {
    match idle {
        config::Idle::Spin => plan::Idle::Spin,
        config::Idle::SleepAfter(interval) => plan::Idle::After(ns(interval)),
    }
}

#[allow(clippy::cast_possible_truncation)] // At most a second, by the config's check.
const fn ns(interval: config::Interval) -> u64 {
    interval.get().as_nanos() as u64
}

pub(super) const fn restart(restart: config::Restart) -> plan::Restart {
    match restart {
        config::Restart::Never => plan::Restart::Never,
        config::Restart::Always => plan::Restart::Always,
        config::Restart::MaxPerMinute(max) => plan::Restart::PerMinute(max),
    }
}

pub(super) const fn xdp_mode(mode: config::XdpMode) -> steer::XdpMode {
    match mode {
        config::XdpMode::Auto => steer::XdpMode::Auto,
        config::XdpMode::Native => steer::XdpMode::Native,
        config::XdpMode::Generic => steer::XdpMode::Generic,
    }
}

pub(super) const fn steering(steering: config::Steering) -> hardware::Mode {
    match steering {
        config::Steering::Xdp => hardware::Mode::Xdp,
        config::Steering::Rss => hardware::Mode::Rss,
        config::Steering::Ntuple => hardware::Mode::Ntuple,
    }
}

const fn copy_mode(mode: config::CopyMode) -> xsk::CopyMode {
    match mode {
        config::CopyMode::Auto => xsk::CopyMode::Auto,
        config::CopyMode::Copy => xsk::CopyMode::Copy,
        config::CopyMode::ZeroCopy => xsk::CopyMode::ZeroCopy,
    }
}

/// With chunks of `chunk_octets` where the config leaves that open.
pub(super) fn umem(umem: config::Umem, chunk_octets: u32) -> umem::Options {
    let pages = match umem.pages {
        config::Pages::Auto => umem::Pages::Auto,
        config::Pages::Ordinary => umem::Pages::Ordinary,
        config::Pages::Huge => umem::Pages::Huge,
    };
    let chunk_octets = umem.chunk_octets.unwrap_or(chunk_octets);
    umem::Options { chunk_octets, frames: umem.frames, pages }
}

/// Without multi-buffer, which is decided when the MTU is known.
pub(super) fn queue(interface: &config::Interface, queue: u32) -> xsk::Options {
    xsk::Options {
        interface: interface.name.as_str().into(),
        queue,
        ring_entries: interface.ring_entries,
        fill_frames: interface.fill_frames,
        card_frames: 0,
        copy: copy_mode(interface.copy),
        multi_buffer: xsk::MultiBuffer::Off,
        need_wakeup: true,
        tx_checksum: ChecksumWish::Auto,
    }
}

/// A selector of the service of this number.
pub(super) fn selector(service: usize, selector: &config::Selector) -> steer::Selector {
    steer::Selector {
        destination: prefix(selector.destination),
        source: selector.source.map(prefix),
        protocol: match selector.protocol {
            config::Protocol::Any => steer::Protocol::Any,
            config::Protocol::Number(number) => steer::Protocol::Number(number),
        },
        destination_ports: selector.ports.map(|ports| ports.first()..=ports.last()),
        fragments: match selector.fragments {
            config::Fragments::Pass => steer::Fragments::Pass,
            config::Fragments::Take => steer::Fragments::Take,
        },
        protection: selector.protection.map(|protection| steer::Protection {
            scope: scope(service),
            stalled: if protection.closed { steer::Stalled::Closed } else { steer::Stalled::Open },
            state: if protection.engaged { steer::State::Engaged } else { steer::State::Peace },
        }),
    }
}

/// For which the cached verdicts of the service of this number hold.
pub(super) fn scope(service: usize) -> u8 {
    // Services beyond 255 would share the verdicts of one; there are 64 selectors at most.
    u8::try_from(service).unwrap_or(u8::MAX)
}

fn prefix(prefix: config::Prefix) -> steer::Prefix {
    steer::Prefix::new(prefix.address(), prefix.prefix_len())
        .expect("the config checks prefixes by the same rule")
}
