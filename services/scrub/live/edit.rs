//! Changes of a rule set: one rule in, one rule out.

use std::fmt;

use crate::scrub::rules::RULES_MAX;
use crate::scrub::rules::rule::{Rule, RuleSet};

/// Where a rule is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
    /// Before the one of this name.
    Before(Box<str>),
}

/// Why a change cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The name is taken.
    IsThere(Box<str>),
    /// No rule has the name.
    NotThere(Box<str>),
    /// There are as many as there may be.
    Full,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsThere(name) => write!(
                f,
                "there is a rule {name:?} already; remove it first, or choose another name"
            ),
            Self::NotThere(name) => {
                write!(f, "there is no rule {name:?}; `tidegate rules list` shows those there are")
            }
            Self::Full => write!(f, "there are {RULES_MAX} rules, which is all there may be"),
        }
    }
}

/// `set` with `rule` at `place`.
pub(crate) fn add(set: &RuleSet, rule: Rule, place: &Place) -> Result<RuleSet, Refused> {
    if set.rules.iter().any(|other| other.name == rule.name) {
        return Err(Refused::IsThere(rule.name));
    }
    if set.rules.len() >= RULES_MAX {
        return Err(Refused::Full);
    }
    let at = match place {
        Place::First => 0,
        Place::Last => set.rules.len(),
        Place::Before(name) => find(set, name)?,
    };
    let mut set = set.clone();
    set.rules.insert(at, rule);
    Ok(set)
}

/// `set` without the rule of this name.
pub(crate) fn remove(set: &RuleSet, name: &str) -> Result<RuleSet, Refused> {
    let at = find(set, name)?;
    let mut set = set.clone();
    set.rules.remove(at);
    Ok(set)
}

fn find(set: &RuleSet, name: &str) -> Result<usize, Refused> {
    let found = set.rules.iter().position(|rule| *rule.name == *name);
    found.ok_or_else(|| Refused::NotThere(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrub::rules::expression::Expression;
    use crate::scrub::rules::rule::{Action, Fallback};

    fn rule(name: &str) -> Rule {
        Rule {
            name: name.into(),
            action: Action::Drop,
            dry_run: false,
            promote: None,
            when: Expression::True,
            text: "drop".into(),
            line: 1,
        }
    }

    fn names(set: &RuleSet) -> Vec<&str> {
        set.rules.iter().map(|rule| &*rule.name).collect()
    }

    #[test]
    fn a_rule_is_put_where_it_is_wanted_and_the_set_before_stays_as_it_is() {
        let set = RuleSet { rules: vec![rule("a"), rule("b")], default: Fallback::Drop };
        let put = |place: &Place| add(&set, rule("x"), place).unwrap();
        assert_eq!(names(&put(&Place::First)), ["x", "a", "b"]);
        assert_eq!(names(&put(&Place::Last)), ["a", "b", "x"]);
        assert_eq!(names(&put(&Place::Before("b".into()))), ["a", "x", "b"]);
        assert_eq!(put(&Place::First).default, Fallback::Drop);
        assert_eq!(names(&remove(&set, "a").unwrap()), ["b"]);
        assert_eq!(names(&set), ["a", "b"]);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let set = RuleSet { rules: vec![rule("a")], default: Fallback::Pass };
        let said = |result: Result<RuleSet, Refused>| result.unwrap_err().to_string();
        assert_eq!(
            said(add(&set, rule("a"), &Place::Last)),
            "there is a rule \"a\" already; remove it first, or choose another name"
        );
        let nowhere = "there is no rule \"z\"; `tidegate rules list` shows those there are";
        assert_eq!(said(add(&set, rule("b"), &Place::Before("z".into()))), nowhere);
        assert_eq!(said(remove(&set, "z")), nowhere);
        let rules = (0..RULES_MAX).map(|n| rule(&format!("r{n}"))).collect();
        let full = RuleSet { rules, default: Fallback::Pass };
        assert_eq!(
            said(add(&full, rule("b"), &Place::Last)),
            "there are 16384 rules, which is all there may be"
        );
    }
}
