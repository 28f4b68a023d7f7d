//! The service around the judge: settles and counts.

use tidegate_runtime::burst::Burst;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::metrics::Counter;
use tidegate_runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate_runtime::verdict::{DropReason, Verdict};

use super::options::{Options, RuleOptions};
use super::siphash::Key;
use super::tabled::{Fate, Reason, State, judge_head};
use super::{OWN_REASONS, TAKEOVERS};

/// The `scrub` service.
pub struct Scrub {
    state: State,
    malformed: DropReason,
    default: DropReason,
    table_full: DropReason,
    /// By rule.
    rules: Vec<Account>,
    takeovers: Counter,
    /// A packet in several chunks, copied together for a rule that looks at its payload.
    memory: Vec<u8>,
}

/// Where one rule is counted.
#[derive(Clone, Copy)]
struct Account {
    hits: Counter,
    drop: DropReason,
}

impl BurstHandler for Scrub {
    const KIND: &'static str = "scrub";
    const REINJECTS: bool = true;
    const READS_PARTS: bool = true;
    type Options = Options;

    fn build(options: &Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        let [malformed, default, table_full] =
            OWN_REASONS.map(|(name, help)| build.drop_reason(name, help));
        let account = |rule: &RuleOptions| {
            let name = &rule.name.0;
            let hits = format!("Packets that rule {name} decided on");
            let drop = format!("Frames dropped: rule {name}, or over its limit");
            Account {
                hits: build.counter(&format!("rule_{name}"), &hits),
                drop: build.drop_reason(name, &drop),
            }
        };
        let rules = options.rules.iter().map(account).collect();
        let takeovers = build.counter(TAKEOVERS.0, TAKEOVERS.1);
        let state = State::new(options, Key::random());
        let longest = build.ports().iter().map(|port| port.packet_capacity_octets).max();
        let memory = match state.reach() {
            0 => Vec::new(),
            _ => Vec::with_capacity(longest.unwrap_or(0)),
        };
        Ok(Self { state, malformed, default, table_full, rules, takeovers, memory })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        let takeovers = self.state.takeovers();
        for frame in burst.frames.drain(..) {
            let octets = frame.octets();
            let head = match frame.is_chain() && self.state.looks_beyond(frame.bytes(), octets) {
                true => frame.contiguous(&mut self.memory),
                false => frame.bytes(),
            };
            let decision = judge_head(&mut self.state, head, octets, burst.at_ns);
            let account = decision.rule.map(|rule| self.rules[usize::from(rule)]);
            if let Some(account) = account {
                cx.count(account.hits, 1);
            }
            let verdict = match decision.fate {
                Fate::Reinject => Verdict::Reinject,
                Fate::Drop(reason) => Verdict::Drop(self.reason(reason, account)),
            };
            cx.settle(frame, verdict);
        }
        cx.count(self.takeovers, self.state.takeovers() - takeovers);
        Ok(())
    }
}

impl Scrub {
    fn reason(&self, reason: Reason, account: Option<Account>) -> DropReason {
        match (reason, account) {
            (Reason::Rule, Some(account)) => account.drop,
            (Reason::TableFull, _) => self.table_full,
            (Reason::Malformed, _) => self.malformed,
            (Reason::Default | Reason::Rule, _) => self.default,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_runtime::plan::{Policy, ServicePlan};
    use tidegate_runtime::sim::{Sim, SimPort};

    use super::super::samples::{Kind, Sample};
    use super::*;

    #[test]
    fn settles_every_frame_and_counts_it_once() {
        let text = r#"
            default = "drop"

            [[rules]]
            name = "no_tcp"
            protocol = "tcp"
            action = "drop"

            [[rules]]
            name = "friend"
            source = "198.18.0.1"
            action = "pass"

            [[rules]]
            name = "others"
            protocol = "udp"
            action = { limit = { packets_per_second = 1, burst = 2, sources = 1 } }
        "#;
        let options = tidegate_config::Options::from_text(text).unwrap().parse().unwrap();
        let plan = ServicePlan::of::<Scrub>("shield", options).selector(0, 0);
        let mut sim = Sim::new(1);
        sim.shard(&[SimPort::default()], vec![plan], Policy::default()).unwrap();

        let friend = Sample::udp(b"friend");
        let from = |host: u8| Sample { source: [198, 18, 7, host].into(), ..friend.clone() };
        let ping = Sample { kind: Kind::Icmp, ..from(1) };
        let mut frames: Vec<Vec<u8>> =
            [&friend, &Sample::tcp_v6(2), &ping].map(Sample::frame).into();
        frames.push(friend.frame()[..41].to_vec());
        // Three of one source, of which the last is over; then so many sources that the 16
        // tokens of the table are spent.
        frames.extend([1, 1, 1].map(|host| from(host).frame()));
        frames.extend((2..20).map(|host| from(host).frame()));
        for frame in &frames {
            sim.deliver(0, 0, frame, 0);
            sim.turn();
        }
        let reinjected = sim.reinjected(0, 0);
        assert_eq!(reinjected.len(), 1 + 16);
        assert_eq!(reinjected[0], friend.frame(), "unchanged, as if it had just arrived");

        let report = &sim.drain()[0].services[0];
        let drops = ["malformed", "default", "table_full", "no_tcp", "friend", "others"];
        assert_eq!(drops.map(|reason| report.dropped(reason)), [1, 1, 4, 1, 0, 1]);
        let hits = ["rule_no_tcp", "rule_friend", "rule_others", "takeovers"];
        assert_eq!(hits.map(|name| report.counter(name)), [1, 1, 21, 7]);
        assert_eq!(report.stats().rx_frames, frames.len() as u64);
        assert_eq!(report.stats().settled_reinject, 17);
    }
}
