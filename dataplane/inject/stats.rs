//! What became of the packets given to an injector.

use std::io;

macro_rules! stats {
    ($(#[doc = $help:literal] $field:ident,)+) => {
        /// What became of the packets given to an injector.
        ///
        /// Every packet is under exactly one of the names that do not end in `_calls`, or
        /// pending.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats { $(#[doc = $help] pub $field: u64,)+ }

        impl Stats {
            /// Name and help text of every number, in the order of declaration.
            pub const HELP: &[(&str, &str)] = &[$((stringify!($field), $help)),+];

            /// The numbers in the order of [`Self::HELP`].
            pub const fn values(&self) -> [u64; Self::HELP.len()] {
                [$(self.$field),+]
            }
        }
    };
}

stats! {
    #[doc = "Packets put back into the stack as live frames"]
    live_packets,
    #[doc = "Packets put back into the stack through the TAP device"]
    tap_packets,
    #[doc = "Packets refused: no Ethernet header"]
    refused_runt_packets,
    #[doc = "Packets refused: longer than a live frame, and no TAP device to take them"]
    refused_oversized_packets,
    #[doc = "Packets refused: the kernel had no memory (ENOMEM, ENOBUFS, EAGAIN)"]
    refused_memory_packets,
    #[doc = "Packets refused: interface or TAP device down or gone (EIO, ENETDOWN, ENODEV, EINVAL)"]
    refused_link_packets,
    #[doc = "Packets refused: other errors"]
    refused_other_packets,
    #[doc = "Batches of live frames, one system call each"]
    live_calls,
    #[doc = "Those of them that the kernel refused, in whole or in part"]
    live_refused_calls,
}

impl Stats {
    /// Packets put back into the stack.
    pub const fn injected(&self) -> u64 {
        self.live_packets + self.tap_packets
    }

    /// Packets refused, for whatever reason.
    pub const fn refused(&self) -> u64 {
        self.refused_runt_packets
            + self.refused_oversized_packets
            + self.refused_memory_packets
            + self.refused_link_packets
            + self.refused_other_packets
    }

    /// Whether an error says that the interface is down or gone.
    pub(super) fn is_of_the_link(error: &io::Error) -> bool {
        // EINVAL: BPF_PROG_RUN names an interface that is gone so.
        let errnos = [libc::EIO, libc::ENETDOWN, libc::ENODEV, libc::EINVAL];
        error.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
    }

    /// Counts what a failed call refused, by the class of its error.
    pub(super) fn refuse(&mut self, error: &io::Error, packets: u64) {
        let class = match error.raw_os_error() {
            Some(libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN) => &mut self.refused_memory_packets,
            _ if Self::is_of_the_link(error) => &mut self.refused_link_packets,
            _ => &mut self.refused_other_packets,
        };
        *class += packets;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_refusals_by_the_class_of_the_error() {
        let mut stats = Stats::default();
        for errno in [libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN] {
            stats.refuse(&io::Error::from_raw_os_error(errno), 2);
        }
        for errno in [libc::EIO, libc::ENETDOWN, libc::ENODEV, libc::EINVAL] {
            stats.refuse(&io::Error::from_raw_os_error(errno), 1);
        }
        stats.refuse(&io::Error::from_raw_os_error(libc::EPERM), 1);
        assert_eq!(stats.refused_memory_packets, 6);
        assert_eq!(stats.refused_link_packets, 4);
        assert_eq!(stats.refused_other_packets, 1);
        assert_eq!((stats.refused(), stats.injected()), (11, 0));
    }

    #[test]
    fn every_number_has_a_name_and_a_help_text() {
        let stats = Stats { live_calls: 7, ..Stats::default() };
        let at = Stats::HELP.iter().position(|(name, _)| *name == "live_calls").unwrap();
        assert_eq!(stats.values()[at], 7);
        assert!(Stats::HELP.iter().all(|(_, help)| !help.is_empty()));
    }
}
