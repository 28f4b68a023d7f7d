//! What is counted of a destination, and what of it is too much.

use super::Cause;

/// What came for a destination. Counters only grow; a difference of two is a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Packets.
    pub(crate) packets: u64,
    /// Octets of the frames.
    pub(crate) octets: u64,
    /// Flows (both addresses, protocol, ports) that were not met before.
    pub(crate) new_flows: u64,
    /// SYNs without ACK.
    pub(crate) syn: u64,
    /// SYNs that no ACK followed.
    pub(crate) unanswered_syn: u64,
}

/// What has a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    Packets,
    Bits,
    NewFlows,
    Syn,
    UnansweredSyn,
}

impl Measure {
    /// All there are.
    pub(crate) const ALL: [Self; 5] =
        [Self::Packets, Self::Bits, Self::NewFlows, Self::Syn, Self::UnansweredSyn];

    /// In messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Packets => "packets a second",
            Self::Bits => "bits a second",
            Self::NewFlows => "new flows a second",
            Self::Syn => "SYNs a second",
            Self::UnansweredSyn => "unanswered SYNs a second",
        }
    }
}

impl Counts {
    /// Nothing yet.
    pub(crate) const ZERO: Self =
        Self { packets: 0, octets: 0, new_flows: 0, syn: 0, unanswered_syn: 0 };

    /// How much of `measure`.
    pub(crate) const fn of(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Packets => self.packets,
            Measure::Bits => self.octets.saturating_mul(8),
            Measure::NewFlows => self.new_flows,
            Measure::Syn => self.syn,
            Measure::UnansweredSyn => self.unanswered_syn,
        }
    }

    /// Whether these can be the same counters as `before`, later.
    pub(super) fn is_since(&self, before: &Self) -> bool {
        // SYNs that were answered late are taken back from the unanswered, so those may fall.
        self.packets >= before.packets
            && self.octets >= before.octets
            && self.new_flows >= before.new_flows
            && self.syn >= before.syn
    }

    /// What came since `before`.
    pub(super) const fn minus(&self, before: &Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            octets: self.octets - before.octets,
            new_flows: self.new_flows - before.new_flows,
            syn: self.syn - before.syn,
            unanswered_syn: self.unanswered_syn.saturating_sub(before.unanswered_syn),
        }
    }

    /// What came in `elapsed_ns`, as so much in `window_ns`.
    pub(super) fn per(&self, elapsed_ns: u64, window_ns: u64) -> Self {
        let scale = |count: u64| {
            let scaled = u128::from(count) * u128::from(window_ns) / u128::from(elapsed_ns);
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        Self {
            packets: scale(self.packets),
            octets: scale(self.octets),
            new_flows: scale(self.new_flows),
            syn: scale(self.syn),
            unanswered_syn: scale(self.unanswered_syn),
        }
    }
}

/// What a destination may get in a second until it is engaged; `None` is not looked at.
///
/// The defaults are for one server of an ordinary site. They are above what users of one do, and
/// below what a kernel of one core bears: 100,000 packets are a tenth of what its receive path
/// drops in a second, and 500 handshakes that nobody ends fill the usual queue of a listener
/// (`somaxconn` 4,096) in eight. Lower, and a busy hour is an attack; higher, and the attack is
/// felt before it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) packets_per_second: Option<u64>,
    pub(crate) bits_per_second: Option<u64>,
    pub(crate) new_flows_per_second: Option<u64>,
    pub(crate) syn_per_second: Option<u64>,
    pub(crate) unanswered_syn_per_second: Option<u64>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            packets_per_second: Some(100_000),
            bits_per_second: Some(1_000_000_000),
            new_flows_per_second: Some(3_000),
            syn_per_second: Some(2_000),
            unanswered_syn_per_second: Some(500),
        }
    }
}

impl Thresholds {
    /// That of `measure`.
    pub(crate) const fn of(&self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Packets => self.packets_per_second,
            Measure::Bits => self.bits_per_second,
            Measure::NewFlows => self.new_flows_per_second,
            Measure::Syn => self.syn_per_second,
            Measure::UnansweredSyn => self.unanswered_syn_per_second,
        }
    }

    /// The measure that is farthest above its threshold, if one is.
    pub(super) fn above(&self, rates: &Counts) -> Option<Cause> {
        let causes = Measure::ALL.into_iter().filter_map(|measure| {
            let (rate, threshold) = (rates.of(measure), self.of(measure)?);
            (rate > threshold).then_some(Cause { measure, rate, threshold })
        });
        causes.max_by_key(|cause| cause.rate.saturating_mul(1000) / cause.threshold.max(1))
    }

    /// Whether each count is below so many thousandths of its threshold.
    pub(super) fn calm(&self, rates: &Counts, thousandths: u32) -> bool {
        Measure::ALL.into_iter().all(|measure| {
            self.of(measure).is_none_or(|threshold| {
                let calm = u128::from(threshold) * u128::from(thousandths) / 1000;
                // A threshold of 0 or 1 is calm with nothing.
                u128::from(rates.of(measure)) <= calm
            })
        })
    }
}
