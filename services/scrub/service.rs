//! The service around the judge: settles and counts.

use tidegate_runtime::burst::Burst;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate_runtime::tally::Counter;
use tidegate_runtime::verdict::{DropReason, Verdict};

use super::judge::{Fate, Reason, State, judge};
use super::options::{Options, RuleOptions};
use super::siphash::Key;
use super::OWN_REASONS;

/// The `scrub` service.
pub struct Scrub {
    state: State,
    malformed: DropReason,
    default: DropReason,
    table_full: DropReason,
    /// By rule.
    rules: Vec<Account>,
    takeovers: Counter,
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
        let help = "Buckets of limits that were in use when a new source took them over";
        let takeovers = build.counter("takeovers", help);
        let state = State::new(options, Key::random());
        Ok(Self { state, malformed, default, table_full, rules, takeovers })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        let takeovers = self.state.takeovers();
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
