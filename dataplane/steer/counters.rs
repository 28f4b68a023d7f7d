//! What became of every packet, as the program counts it.

use super::selector::SELECTORS_MAX;

/// Number of outcomes a packet can have.
pub const OUTCOME_COUNT: usize = OUTCOMES.len();

macro_rules! outcomes {
    ($(#[doc = $help:literal] $Variant:ident = $name:literal,)+) => {
        /// What became of one packet. Each has exactly one outcome.
        ///
        /// Same order as `enum outcome` of steer.bpf.c; a test compares them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome { $(#[doc = $help] $Variant,)+ }

        /// Exported name and help text of every outcome, in order.
        pub const OUTCOMES: &[(Outcome, &str, &str)] =
            &[$((Outcome::$Variant, $name, $help)),+];
    };
}

outcomes! {
    #[doc = "Handed to the socket of its queue"]
    Redirected = "redirected",
    #[doc = "Left to the kernel: the gate is closed (draining)"]
    PassGateClosed = "pass_gate_closed",
    #[doc = "Left to the kernel: neither IPv4 nor IPv6, or over two VLAN tags"]
    PassNotIp = "pass_not_ip",
    #[doc = "Left to the kernel: no selector matches"]
    PassNoSelector = "pass_no_selector",
    #[doc = "Left to the kernel: IP header with an impossible version or length"]
    PassMalformed = "pass_malformed",
    #[doc = "Left to the kernel: ends before its headers say, and no selector matches what it shows"]
    PassTruncated = "pass_truncated",
    #[doc = "Left to the kernel: later fragment that no selector takes"]
    PassFragment = "pass_fragment",
    #[doc = "Left to the kernel: over eight IPv6 extension headers, and no selector matches the rest"]
    PassExtensionHeaders = "pass_extension_headers",
    #[doc = "Left to the kernel: headers not in the packet's first buffer"]
    PassHeadersSplit = "pass_headers_split",
    #[doc = "Left to the kernel: selected, but its queue has no socket"]
    PassNoSocket = "pass_no_socket",
    #[doc = "Left to the kernel: selected, but the driver has no room for metadata"]
    PassMetadataRefused = "pass_metadata_refused",
    #[doc = "Left to the kernel: of a protected destination that is not under attack"]
    PassPeace = "pass_peace",
    #[doc = "Left to the kernel: a cached verdict passes it"]
    PassVerdict = "pass_verdict",
    #[doc = "Dropped: a cached verdict says so"]
    DropVerdict = "drop_verdict",
    #[doc = "Left to the kernel: of a connection that one of its sockets has"]
    PassSocket = "pass_socket",
    #[doc = "Left to the kernel: for the scrubber, or behind what it has of the flow, and it stands still"]
    PassStalled = "pass_stalled",
    #[doc = "Dropped: for the scrubber, which stands still, and stalled = closed"]
    DropStalled = "drop_stalled",
    #[doc = "Left to the kernel: of a destination that is not under attack any more"]
    PassDrained = "pass_drained",
}

/// Packets and their octets, Ethernet header included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
}

/// `struct counters` of steer.bpf.c in 64-bit words.
pub(super) type Words = [u64; WORDS];
/// Those that are tallies, of two words each.
const TALLIES: usize = 2 * (1 + OUTCOME_COUNT + 1 + SELECTORS_MAX);
/// Words of `struct peace`.
const PEACE: usize = 8;
const WORDS: usize = TALLIES + PEACE * SELECTORS_MAX;

/// Everything the program counted, on one processor or on all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Packets the program saw.
    pub received: Tally,
    /// In the order of [`OUTCOMES`].
    pub outcomes: [Tally; OUTCOME_COUNT],
    /// What was redirected, by the selector's index.
    pub selectors: [Tally; SELECTORS_MAX],
    /// Of what was redirected: packets that pass, and were redirected for their place in their flow
    /// ([`Metadata::ordered`](super::Metadata::ordered)).
    pub ordered: Tally,
    /// What the destinations of protecting selectors got, by the selector's index.
    pub(super) peaces: [PeaceCounts; SELECTORS_MAX],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            received: Tally::default(),
            outcomes: [Tally::default(); OUTCOME_COUNT],
            selectors: [Tally::default(); SELECTORS_MAX],
            ordered: Tally::default(),
            peaces: [PeaceCounts::default(); SELECTORS_MAX],
        }
    }
}

impl Counters {
    /// The sum of processors.
    pub(super) fn of<'a>(processors: impl Iterator<Item = &'a Words>) -> Self {
        let sum = processors.fold([0; WORDS], |mut sum: Words, words| {
            sum.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
            sum
        });
        let (tallies, peaces) = sum.split_at(TALLIES);
        let mut counters = Self::default();
        let all = std::iter::once(&mut counters.received)
            .chain(&mut counters.outcomes)
            .chain(std::iter::once(&mut counters.ordered))
            .chain(&mut counters.selectors);
        for (tally, [packets, octets]) in all.zip(tallies.as_chunks::<2>().0) {
            *tally = Tally { packets: *packets, octets: *octets };
        }
        for (counts, words) in counters.peaces.iter_mut().zip(peaces.as_chunks().0) {
            *counts = PeaceCounts::of(words);
        }
        counters
    }

    /// Packets with this outcome.
    pub const fn get(&self, outcome: Outcome) -> Tally {
        self.outcomes[outcome as usize]
    }

    /// Name, help and value of every outcome, for whoever exports them.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, Tally)> {
        OUTCOMES.iter().zip(self.outcomes).map(|((_, name, help), tally)| (*name, *help, tally))
    }

    /// Packets received and not yet counted under an outcome. Zero on a quiet link; while
    /// packets arrive, at most one for each processor.
    pub fn unaccounted(&self) -> u64 {
        let settled: u64 = self.outcomes.iter().map(|tally| tally.packets).sum();
        self.received.packets.abs_diff(settled)
    }
}

/// What a protected destination got, in peace and in war: by a selector's index, on all
/// processors since the program was loaded.
///
/// Packets, octets, what was dropped and `syn` are exact. The rest are estimates, whose errors
/// `protect.bpf.h` bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeaceCounts {
    /// Packets.
    pub packets: u64,
    /// Octets, Ethernet header included.
    pub octets: u64,
    /// Of these, what the program dropped: by a cached verdict, or for a shard that stands still.
    pub dropped: Tally,
    /// TCP packets with SYN and without ACK.
    pub syn: u64,
    /// Packets of flows that were not seen lately, and all that were dropped. Estimated.
    pub new_flows: u64,
    /// Flows that a SYN began and that no ACK has followed. It goes down where an answer comes
    /// later: a rate made of it is at least 0. Estimated.
    pub unanswered_syn: u64,
}

impl PeaceCounts {
    /// Of the words of `struct peace`, summed over processors: what one asked may be answered on
    /// another.
    fn of(words: &[u64; PEACE]) -> Self {
        let [dropped, dropped_octets, others, other_octets, syn, new_flows, asked, answered] =
            *words;
        Self {
            packets: dropped + others,
            octets: dropped_octets + other_octets,
            dropped: Tally { packets: dropped, octets: dropped_octets },
            syn,
            new_flows: new_flows + dropped,
            unanswered_syn: asked.saturating_sub(answered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source of the program, so that table and enum cannot drift apart.
    const SOURCE: &str = include_str!("steer.bpf.c");

    #[test]
    fn outcomes_have_the_order_and_names_of_the_program() {
        let body = SOURCE.split_once("enum outcome {").unwrap().1.split_once("};").unwrap().0;
        let in_program: Vec<String> = body
            .split(',')
            .map(|name| name.trim().to_lowercase())
            .filter(|n| !n.is_empty())
            .collect();
        let in_table = OUTCOMES.iter().map(|(_, name, _)| (*name).to_owned());
        assert_eq!(in_program, in_table.chain(["outcomes".to_owned()]).collect::<Vec<_>>());
        for (index, (outcome, ..)) in OUTCOMES.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
    }

    #[test]
    fn sums_processors_word_by_word() {
        let mut words = [0; WORDS];
        words[0] = 3;
        words[1] = 180;
        words[2 + 2 * Outcome::PassNotIp as usize] = 1;
        words[2 + 2 * Outcome::Redirected as usize] = 2;
        words[2 + 2 * OUTCOME_COUNT] = 1;
        words[TALLIES - 1] = 120;
        words[TALLIES..TALLIES + 4].copy_from_slice(&[4, 240, 1, 60]);
        let counters = Counters::of([words, words].iter());
        assert_eq!(counters.received, Tally { packets: 6, octets: 360 });
        assert_eq!(counters.get(Outcome::PassNotIp).packets, 2);
        assert_eq!(counters.get(Outcome::Redirected).packets, 4);
        assert_eq!(counters.ordered, Tally { packets: 2, octets: 0 });
        assert_eq!(counters.selectors[63], Tally { packets: 0, octets: 240 });
        let dropped = Tally { packets: 8, octets: 480 };
        let expected = PeaceCounts {
            packets: 10,
            octets: 600,
            dropped,
            new_flows: 8,
            ..PeaceCounts::default()
        };
        assert_eq!(counters.peaces[0], expected);
        assert_eq!(counters.unaccounted(), 0);
    }

    #[test]
    fn tells_a_packet_without_an_outcome() {
        let mut words = [0; WORDS];
        words[0] = 3;
        assert_eq!(Counters::of([words].iter()).unaccounted(), 3);
    }

    #[test]
    fn what_is_answered_elsewhere_is_answered() {
        let (mut there, mut here) = ([0; WORDS], [0; WORDS]);
        there[TALLIES + 6] = 1;
        here[TALLIES + 7] = 1;
        assert_eq!(Counters::of([there].iter()).peaces[0].unanswered_syn, 1);
        assert_eq!(Counters::of([there, here].iter()).peaces[0].unanswered_syn, 0);
    }
}
