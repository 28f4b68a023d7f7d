//! Which destinations are under attack, by the clock of a capture.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::super::engage::{Advice, Cause, Counts, Engagement, Policy};
use super::ends::{Ends, Kind, Word};

/// Destinations and flows that are remembered. Those behind are never engaged, and said so.
const WATCHED_MAX: usize = 1 << 20;

/// A time that never runs backwards, of timestamps that do.
///
/// Packets of several interfaces are out of order by a little; a capture joined of several is out
/// of order by much. The one is held, the other goes on from where it was.
#[derive(Debug, Default)]
pub(super) struct Clock {
    latest: Option<u64>,
    now_ns: u64,
}

/// Timestamps that are older than the latest by more than this begin anew.
const DISORDER_NS: u64 = 1_000_000_000;

impl Clock {
    /// The time of a packet, from 0.
    pub(super) fn at(&mut self, timestamp_ns: u64) -> u64 {
        let latest = *self.latest.get_or_insert(timestamp_ns);
        if timestamp_ns >= latest {
            self.now_ns += timestamp_ns - latest;
            self.latest = Some(timestamp_ns);
        } else if latest - timestamp_ns > DISORDER_NS {
            self.latest = Some(timestamp_ns);
        }
        self.now_ns
    }
}

/// One time during which a destination was engaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Engaged {
    pub(crate) destination: IpAddr,
    /// Since the beginning of the capture.
    pub(crate) from_ns: u64,
    /// `None`: until the end of the capture.
    pub(crate) to_ns: Option<u64>,
    pub(crate) cause: Cause,
}

#[derive(Debug)]
struct Watched {
    counts: Counts,
    engagement: Engagement,
    /// Of [`Watch::times`], while it is engaged.
    open: Option<usize>,
}

/// All destinations of a capture.
#[derive(Debug)]
pub(super) struct Watch {
    policy: Policy,
    destinations: HashMap<IpAddr, Watched>,
    flows: HashSet<Ends>,
    /// Connections of which only the SYN came.
    half_open: HashSet<Ends>,
    times: Vec<Engaged>,
    /// Packets for destinations that there was no room for.
    pub(super) unwatched: u64,
}

impl Watch {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            destinations: HashMap::new(),
            flows: HashSet::new(),
            half_open: HashSet::new(),
            times: Vec::new(),
            unwatched: 0,
        }
    }

    /// Counts a packet of `octets`; whether its destination is engaged now.
    pub(super) fn count(&mut self, word: &Word, octets: u64, now_ns: u64) -> bool {
        let destination = word.ends.destination.0;
        if self.destinations.len() == WATCHED_MAX && !self.destinations.contains_key(&destination) {
            self.unwatched += 1;
            return false;
        }
        let pair = word.ends.pair().0;
        let is_new =
            word.kind != Kind::Later && self.flows.len() < WATCHED_MAX && self.flows.insert(pair);
        let policy = self.policy;
        let watched = self.destinations.entry(destination).or_insert_with(|| {
            let mut engagement = Engagement::new(policy);
            // Its counters stood at 0 until now.
            engagement.tell(Counts::ZERO, now_ns);
            Watched { counts: Counts::ZERO, engagement, open: None }
        });
        let counts = &mut watched.counts;
        counts.packets += 1;
        counts.octets += octets;
        counts.new_flows += u64::from(is_new);
        if let Kind::Segment(segment) = word.kind {
            if segment.syn && !segment.ack {
                counts.syn += 1;
                if self.half_open.len() < WATCHED_MAX && self.half_open.insert(word.ends) {
                    counts.unanswered_syn += 1;
                }
            } else if segment.ack && self.half_open.remove(&word.ends) {
                counts.unanswered_syn = counts.unanswered_syn.saturating_sub(1);
            }
        }
        match watched.engagement.tell(watched.counts, now_ns) {
            Advice::Engage(cause) => {
                watched.open = Some(self.times.len());
                self.times.push(Engaged { destination, from_ns: now_ns, to_ns: None, cause });
            }
            Advice::Release => {
                if let Some(open) = watched.open.take() {
                    self.times[open].to_ns = Some(now_ns);
                }
            }
            Advice::Keep => {}
        }
        watched.engagement.is_engaged()
    }

    /// When which destination was engaged, in the order in which they were.
    pub(super) fn into_times(self) -> Vec<Engaged> {
        self.times
    }
}

/// Times by destination, as the summary shows them.
pub(super) fn by_destination(times: &[Engaged]) -> BTreeMap<IpAddr, Vec<&Engaged>> {
    let mut by: BTreeMap<IpAddr, Vec<&Engaged>> = BTreeMap::new();
    for engaged in times {
        by.entry(engaged.destination).or_default().push(engaged);
    }
    by
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_holds_little_disorder_and_goes_on_behind_much() {
        let mut clock = Clock::default();
        let second = 1_000_000_000;
        let stamps = [100, 101, 100, 102, 50, 51, 50, 1000].map(|at| at * second);
        let times = stamps.map(|at| clock.at(at) / second);
        assert_eq!(times, [0, 1, 1, 2, 2, 3, 3, 952]);
    }
}
