//! Flood scrubbing: drop what floods, give the kernel back the rest.
//!
//! ```text
//!  RX ring ─► burst ─► judge ─┬─► drop(malformed | default | table_full | the rule's name)
//!                             └─► reinject: into the kernel, on the interface it came from
//! ```
//!
//! Rules are tried in order and the first that matches decides, so the usual
//! list names what is known to be good, then what is known to be bad, and ends
//! with a limit for everyone else. What no rule matches has a default of its
//! own. [`judge`] decides without doing anything: it is a function of rules,
//! buckets, octets and time. The service around it only settles and counts.
//!
//! A packet is parsed once, however many rules there are. Every packet gets
//! exactly one decision, malformed ones included, and every drop one reason.
//!
//! Not done here: reassembly (a rule with ports never matches a later
//! fragment, `fragment = true` does), connections, tunnels, checksums (the
//! kernel verifies those of what is given back).

mod facts;
mod judge;
mod limiter;
mod options;
mod rule;
mod siphash;
mod words;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;

use tidegate_runtime::burst::Burst;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate_runtime::tally::{Counter, Gauge};
use tidegate_runtime::verdict::{DropReason, Verdict};

pub use judge::{Decision, Fate, Reason, State, judge};
pub use options::{Action, Fallback, Options, RULES_MAX};
pub use siphash::Key;

/// The scrubber's own drop reasons; a rule's reason has the rule's name.
const OWN_REASONS: [(&str, &str); 3] = [
    ("malformed", "Frames dropped: headers cut off or at odds with themselves"),
    ("default", "Frames dropped: no rule matched, and default = \"drop\""),
    ("table_full", "Frames dropped: a new source, and no bucket left for it in the limit's table"),
];

/// The `scrub` service.
pub struct Scrub {
    state: State,
    malformed: DropReason,
    default: DropReason,
    table_full: DropReason,
    /// By rule.
    rules: Vec<Account>,
    takeovers: Gauge,
}

/// Where one rule is counted.
#[derive(Clone, Copy)]
struct Account {
    hits: Counter,
    drop: DropReason,
}

impl BurstHandler for Scrub {
    const KIND: &'static str = "scrub";
    type Options = Options;

    fn build(options: &Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        let [malformed, default, table_full] =
            OWN_REASONS.map(|(name, help)| build.drop_reason(name, help));
        let account = |rule: &options::RuleOptions| {
            let name = &rule.name.0;
            let hits = format!("Packets that rule {name} decided on");
            let drop = format!("Frames dropped: rule {name}, or over its limit");
            Account {
                hits: build.counter(&format!("rule_{name}"), &hits),
                drop: build.drop_reason(name, &drop),
            }
        };
        let rules = options.rules.iter().map(account).collect();
        let help = "Buckets of limits that were in use when a new source took them over";
        let takeovers = build.gauge("takeovers", help);
        let state = State::new(options, Key::random());
        Ok(Self { state, malformed, default, table_full, rules, takeovers })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for frame in burst.frames.drain(..) {
            let decision = judge(&mut self.state, frame.bytes(), burst.at_ns);
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
        cx.set(self.takeovers, self.state.takeovers());
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
