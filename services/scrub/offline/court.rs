//! The judge, for packets that come from a file.

use super::super::facts::Standings;
use super::super::judge::{Fate, Judge, Judgement, Reason, Why};
use super::super::load::Rules;
use super::super::rules::rule::Action;
use super::super::siphash::Key;

/// Rules, and the judge who goes by them: the same that serves a live interface.
pub(super) struct Court {
    rules: Rules,
    judge: Judge,
}

impl Court {
    /// Full buckets, nobody known.
    pub(super) fn new(rules: &Rules) -> Self {
        // The same capture is judged the same each time: no secret is at stake.
        let key = Key::fixed(0);
        Self { rules: rules.clone(), judge: Judge::new(rules.book(key), key) }
    }

    /// Decides on one frame of `octets`.
    pub(super) fn judge(
        &mut self,
        head: &[u8],
        octets: usize,
        standing: Standings,
        now_ns: u64,
    ) -> Judgement {
        let judgement = self.judge.judge(head, octets, standing, now_ns);
        match judgement.fate {
            // Nothing waits here. What would wait for its first part knows by the first reading of
            // the capture whose it is.
            Fate::Hold => {
                self.judge.take_early();
                self.judge.judge_alone(head, octets, standing, now_ns)
            }
            _ => judgement,
        }
    }

    /// The name of the rule that ended a packet.
    pub(super) fn rule(&self, judgement: &Judgement) -> Option<&str> {
        let rule = self.rules.set().rules.get(judgement.rule? as usize)?;
        Some(&rule.name)
    }

    /// Who decided and why, in one line.
    pub(super) fn explain(&self, judgement: &Judgement) -> String {
        let rule = judgement.rule.and_then(|rule| self.rules.set().rules.get(rule as usize));
        let follows = match judgement.why {
            Why::FirstPart => " (as the first part of its datagram)",
            Why::Alone => " (a part of a datagram whose first part is not there)",
            Why::Itself | Why::Malformed(_) => "",
        };
        let reason = match judgement.fate {
            Fate::Pass => "pass",
            Fate::Challenge => "challenge",
            Fate::Drop(reason) => name(reason),
            Fate::Hold => "hold",
        };
        match (rule, judgement.why) {
            (Some(rule), _) => {
                let over = match rule.action {
                    Action::Limit(_) => ", over the limit",
                    _ => "",
                };
                format!("rule {} ({reason}{over}){follows}: {}", rule.name, rule.text)
            }
            (None, Why::Malformed(malformed)) => format!("{reason}: {malformed}"),
            (None, _) => match judgement.fate {
                Fate::Drop(Reason::Fragment) => {
                    format!("{reason}: a part of a datagram that no honest sender makes")
                }
                _ => format!("default ({reason}){follows}: no rule ended it"),
            },
        }
    }
}

/// The word under which the running service counts it.
pub(super) fn name(reason: Reason) -> &'static str {
    let listed = Reason::ALL.iter().find(|(it, ..)| *it == reason);
    listed.map_or("dropped", |(_, name, _)| name)
}
