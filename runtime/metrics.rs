//! What is counted, and how it leaves the shard.
//!
//! ```text
//!   shard thread                           control thread
//!   ShardCounters, PortCounters,  publish  Published      snapshot   Snapshot
//!   ServiceCounters + names      ────────► atomics with ───────────► plain, serde
//!   plain cells, no atomics                one version
//! ```
//!
//! The shard alone writes its counters, as plain integers, and publishes a copy
//! at most once per turn. A reader takes that copy as a whole or tries again, so
//! sums over a [`Snapshot`](snapshot::Snapshot) hold: a frame is never seen in two places or in none.
//!
//! The tables below are the only list of counters. Each line gives the field of
//! the shard's struct, the field of the reader's, the exported name and the help
//! text. Services add their own by name when they are built
//! ([`registry::ServiceMetrics`]).

use std::cell::Cell;

use serde::{Deserialize, Serialize};

mod named;
mod published;
pub mod registry;
pub mod snapshot;

pub use named::{Counter, DropReason, Gauge, Level, NAMED_MAX, NameError, Word};

/// How values of one name combine over shards and over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only grows; a rate makes sense. Sums over shards.
    Counter,
    /// How many there are now. Sums over shards.
    Gauge,
    /// The largest seen so far, or the latest moment. The largest over shards.
    Peak,
}

impl Kind {
    /// One value for two shards.
    pub const fn combine(self, one: u64, other: u64) -> u64 {
        match self {
            Self::Counter | Self::Gauge => one.saturating_add(other),
            Self::Peak if one > other => one,
            Self::Peak => other,
        }
    }
}

/// Name, kind and meaning of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Help {
    /// As exported, `[a-z0-9_]+`.
    pub name: &'static str,
    /// How values combine.
    pub kind: Kind,
    /// One line for operators.
    pub text: &'static str,
}

/// A number that one shard counts. Plain: no atomics, no lock.
#[derive(Debug, Default)]
pub struct Count(Cell<u64>);

impl Count {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Sets the value; for gauges and for totals that somebody else keeps.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.set(value);
    }

    /// Sets the value where it is larger than the present one; for peaks.
    #[inline]
    pub fn raise_to(&self, value: u64) {
        self.0.set(self.0.get().max(value));
    }

    /// The value.
    pub const fn get(&self) -> u64 {
        self.0.get()
    }
}

macro_rules! counters {
    (
        $(#[$outer:meta])*
        $Local:ident => $Stats:ident { $(#[doc = $help:literal] $field:ident: $Kind:ident,)+ }
    ) => {
        $(#[$outer])*
        ///
        /// The shard's own side: plain cells.
        #[derive(Debug, Default)]
        pub struct $Local { $(#[doc = $help] pub $field: Count,)+ }

        impl $Local {
            /// A copy of all values.
            pub const fn read(&self) -> $Stats {
                $Stats { $($field: self.$field.get()),+ }
            }
        }

        $(#[$outer])*
        ///
        /// The reader's side: one consistent copy.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $Stats { $(#[doc = $help] pub $field: u64,)+ }

        impl $Stats {
            /// Name, kind and help text of every counter, in declaration order.
            pub const HELP: &[Help] = &[
                $(Help { name: stringify!($field), kind: Kind::$Kind, text: $help }),+
            ];

            /// Values in the order of [`Self::HELP`].
            pub const fn values(&self) -> [u64; Self::HELP.len()] {
                [$(self.$field),+]
            }

            /// The inverse of [`Self::values`].
            pub const fn from_values(values: [u64; Self::HELP.len()]) -> Self {
                let [$($field),+] = values;
                Self { $($field),+ }
            }

            /// One set of values for two owners: sums, and the larger of peaks.
            pub const fn combine(&self, other: &Self) -> Self {
                Self { $($field: Kind::$Kind.combine(self.$field, other.$field)),+ }
            }
        }
    };
}

counters! {
    /// How one shard spent its time.
    ShardCounters => ShardStats {
        #[doc = "Monotonic clock at the last publication, in nanoseconds"]
        published_ns: Peak,
        #[doc = "Passes of the shard's loop"]
        turns: Counter,
        #[doc = "Turns that moved a frame, fired a timer or handled a message"]
        busy_turns: Counter,
        #[doc = "Nanoseconds since the shard started"]
        total_ns: Counter,
        #[doc = "Nanoseconds spent in busy turns"]
        busy_ns: Counter,
        #[doc = "Nanoseconds spent asleep"]
        asleep_ns: Counter,
        #[doc = "Longest single turn, in nanoseconds"]
        longest_turn_ns: Peak,
        #[doc = "Busy turns of over a millisecond"]
        long_turns: Counter,
        #[doc = "Times the shard found nothing to do and slept"]
        sleeps: Counter,
        #[doc = "Times a port, a message or a deadline ended the sleep"]
        wakeups: Counter,
        #[doc = "Sleeps that lasted as long as they may, because nothing happened"]
        slept_out: Counter,
        #[doc = "Turns past the stall budget, as the watchdog saw them"]
        stalls: Counter,
        #[doc = "Timers fired"]
        timers_fired: Counter,
        #[doc = "Timers refused because all were in use"]
        timers_refused: Counter,
        #[doc = "Messages from other threads handled"]
        messages: Counter,
    }
}

counters! {
    /// What went through one port, and where its frames are.
    PortCounters => PortStats {
        #[doc = "Frames taken from the RX ring"]
        rx_frames: Counter,
        #[doc = "Chunks of those frames beyond the first one of each, for packets in several"]
        rx_parts: Counter,
        #[doc = "Octets taken from the RX ring, Ethernet header included"]
        rx_octets: Counter,
        #[doc = "Packets thrown away: in more chunks than a frame may have"]
        overlong_packets: Counter,
        #[doc = "Frames put into the TX ring"]
        tx_frames: Counter,
        #[doc = "Chunks of those frames beyond the first one of each, for packets in several"]
        tx_parts: Counter,
        #[doc = "Octets put into the TX ring, Ethernet header included"]
        tx_octets: Counter,
        #[doc = "Chunks that the kernel gave back after transmission"]
        completed_frames: Counter,
        #[doc = "Frames in the TX ring or with the device when the shard left: not sent, or nobody knows"]
        unsent_frames: Counter,
        #[doc = "Received frames settled: sent out again"]
        settled_transmit: Counter,
        #[doc = "Received frames settled: given to the kernel stack"]
        settled_reinject: Counter,
        #[doc = "Received frames settled: used up by the service"]
        settled_consumed: Counter,
        #[doc = "Received frames settled: dropped, for one of the services' reasons"]
        settled_drop: Counter,
        #[doc = "Received frames dropped: no service has their selector"]
        unclaimed_frames: Counter,
        #[doc = "Blank frames that services took to build packets in"]
        taken_frames: Counter,
        #[doc = "Packets that the kernel stack refused when they were given back to it"]
        reinject_refused_packets: Counter,
        #[doc = "Frames that were dropped without a verdict and went back to the pool"]
        reclaimed_frames: Counter,
        #[doc = "Descriptors from the kernel that name no frame it owned"]
        bad_descriptors: Counter,
        #[doc = "System calls that woke the kernel for transmission"]
        tx_wakes: Counter,
        #[doc = "System calls that woke the kernel for reception"]
        rx_wakes: Counter,
        #[doc = "Wakes answered EAGAIN: the kernel's budget for one call was used up"]
        wake_errors_again: Counter,
        #[doc = "Wakes answered EBUSY: somebody else serves the queue"]
        wake_errors_busy: Counter,
        #[doc = "Wakes answered ENOBUFS: the device's queue or the socket buffer is full"]
        wake_errors_nobufs: Counter,
        #[doc = "Wakes answered ENETDOWN: the interface is down"]
        wake_errors_netdown: Counter,
        #[doc = "Wakes answered by any other error"]
        wake_errors_other: Counter,
        #[doc = "Kernel: packets dropped for other reasons than those below (rx_dropped)"]
        kernel_rx_dropped: Counter,
        #[doc = "Kernel: entries of the fill ring refused (rx_invalid_descs)"]
        kernel_rx_invalid_descs: Counter,
        #[doc = "Kernel: entries of the TX ring refused (tx_invalid_descs)"]
        kernel_tx_invalid_descs: Counter,
        #[doc = "Kernel: packets dropped because the RX ring was full (rx_ring_full)"]
        kernel_rx_ring_full: Counter,
        #[doc = "Kernel: times the fill ring was found empty (rx_fill_ring_empty_descs)"]
        kernel_rx_fill_ring_empty_descs: Counter,
        #[doc = "Kernel: times the TX ring was found empty (tx_ring_empty_descs)"]
        kernel_tx_ring_empty_descs: Counter,
        #[doc = "Chunks of the port's memory, all of them"]
        total_frames: Gauge,
        #[doc = "Chunks in the pool"]
        free_frames: Gauge,
        #[doc = "Chunks in the fill ring or with the device"]
        fill_frames: Gauge,
        #[doc = "Chunks in the RX ring"]
        ring_rx_frames: Gauge,
        #[doc = "Frames with services, not yet settled"]
        held_frames: Gauge,
        #[doc = "Chunks of those frames beyond the first one of each, for packets in several"]
        held_parts: Gauge,
        #[doc = "Chunks in the TX ring or with the device"]
        ring_tx_frames: Gauge,
        #[doc = "Chunks in the completion ring"]
        completion_frames: Gauge,
        #[doc = "Frames with the injector"]
        injector_frames: Gauge,
    }
}

impl PortStats {
    /// Chunks that are in no known place, or in two. Anything but 0 is our
    /// mistake: every chunk is owned by exactly one of the places summed here.
    pub const fn unaccounted(&self) -> u64 {
        let known = self.free_frames
            + self.fill_frames
            + self.ring_rx_frames
            + self.held_frames
            + self.held_parts
            + self.ring_tx_frames
            + self.completion_frames
            + self.injector_frames;
        self.total_frames.abs_diff(known)
    }

    /// Frames that were given a verdict.
    pub const fn settled(&self) -> u64 {
        self.settled_transmit + self.settled_reinject + self.settled_consumed + self.settled_drop
    }

    /// Both sides of the law of a port's frames: what came into services' hands, and what left
    /// them or is there still.
    pub const fn flow(&self) -> (u64, u64) {
        let came = self.rx_frames + self.taken_frames;
        let built_and_sent = self.tx_frames - self.settled_transmit;
        let left = self.settled() + self.unclaimed_frames + built_and_sent;
        (came, left + self.reclaimed_frames + self.held_frames)
    }

    /// Packets that the kernel lost between steering and the RX ring.
    pub const fn kernel_losses(&self) -> u64 {
        self.kernel_rx_dropped + self.kernel_rx_ring_full
    }

    /// Packets that steering redirected and that became no frame.
    pub const fn lost_packets(&self) -> u64 {
        self.kernel_losses() + self.overlong_packets
    }
}

counters! {
    /// What one service did on one shard.
    ServiceCounters => ServiceStats {
        #[doc = "Frames handed to the service, those over its budget included"]
        rx_frames: Counter,
        #[doc = "Octets handed to the service"]
        rx_octets: Counter,
        #[doc = "Blank frames the service took to build packets in"]
        taken_frames: Counter,
        #[doc = "Frames the service sent, transmitted ones included"]
        tx_frames: Counter,
        #[doc = "Octets the service sent"]
        tx_octets: Counter,
        #[doc = "Bursts handed to the service"]
        bursts: Counter,
        #[doc = "Received frames settled: sent out again"]
        settled_transmit: Counter,
        #[doc = "Received frames settled: given to the kernel stack"]
        settled_reinject: Counter,
        #[doc = "Received frames settled: used up"]
        settled_consumed: Counter,
        #[doc = "Received frames settled: dropped; the drop reasons sum to this"]
        settled_drop: Counter,
        #[doc = "Frames the service lost without a verdict, taken back"]
        reclaimed_frames: Counter,
        #[doc = "Frames the service lost for good: it ended and they were not found"]
        leaked_frames: Counter,
        #[doc = "Frames the service has and did not settle yet, those waiting for it included"]
        held_frames: Gauge,
        #[doc = "Times the service was given control"]
        polls: Counter,
        #[doc = "Times the service returned an error or could not be built"]
        failures: Counter,
        #[doc = "Panics of the service, each contained"]
        panics: Counter,
        #[doc = "Times the service was built again after a panic or an error"]
        restarts: Counter,
        #[doc = "Times the service asked for a blank frame beyond its budget"]
        over_budget: Counter,
        #[doc = "Times the service kept its shard past the stall budget"]
        stalls: Counter,
    }
}

impl ServiceStats {
    /// Frames that were given a verdict.
    pub const fn settled(&self) -> u64 {
        self.settled_transmit + self.settled_reinject + self.settled_consumed + self.settled_drop
    }

    /// Both sides of the law of a service's frames: what came into its hands, and what left them
    /// or is there still.
    pub const fn flow(&self) -> (u64, u64) {
        let came = self.rx_frames + self.taken_frames;
        let built_and_sent = self.tx_frames - self.settled_transmit;
        let left = self.settled() + built_and_sent + self.reclaimed_frames + self.leaked_frames;
        (came, left + self.held_frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_for_export_and_a_help_text() {
        for table in [ShardStats::HELP, PortStats::HELP, ServiceStats::HELP] {
            for help in table {
                assert!(named::is_exportable(help.name), "{help:?}");
                assert!(help.text.len() > 8 && !help.text.ends_with('.'), "{help:?}");
                let same_count = table.iter().filter(|other| other.name == help.name).count();
                assert_eq!(same_count, 1, "{help:?}");
            }
        }
    }

    #[test]
    fn a_copy_has_each_value_at_its_name() {
        let port = PortCounters::default();
        port.rx_octets.add(60);
        port.rx_octets.add(4);
        port.held_frames.set(7);
        let stats = port.read();
        assert_eq!((stats.rx_octets, stats.held_frames), (64, 7));
        let at = |name| PortStats::HELP.iter().position(|help| help.name == name).unwrap();
        assert_eq!(stats.values()[at("rx_octets")], 64);
        assert_eq!(stats.values()[at("held_frames")], 7);
        assert_eq!(PortStats::from_values(stats.values()), stats);
    }

    #[test]
    fn peaks_keep_the_larger_and_the_rest_is_summed() {
        let (one, other) = (ShardCounters::default(), ShardCounters::default());
        one.turns.increment();
        one.longest_turn_ns.raise_to(900);
        one.longest_turn_ns.raise_to(300);
        other.turns.add(4);
        other.longest_turn_ns.raise_to(500);
        let both = one.read().combine(&other.read());
        assert_eq!((both.turns, both.longest_turn_ns), (5, 900));
    }

    #[test]
    fn a_frame_in_no_place_and_a_frame_in_two_are_both_unaccounted() {
        let whole = PortStats {
            total_frames: 7,
            free_frames: 1,
            fill_frames: 1,
            ring_rx_frames: 1,
            held_frames: 1,
            ring_tx_frames: 1,
            completion_frames: 1,
            injector_frames: 1,
            ..PortStats::default()
        };
        assert_eq!(whole.unaccounted(), 0);
        assert_eq!(PortStats { free_frames: 0, ..whole }.unaccounted(), 1);
        assert_eq!(PortStats { ring_tx_frames: 3, ..whole }.unaccounted(), 2);
    }
}
