//! Which rule is met first: rule by rule, until there is something faster.

use super::facts::Facts;
use super::rules::expression::{Expression, Test};
use super::rules::rule::RuleSet;

/// The conditions of a rule set.
#[derive(Debug)]
pub(crate) struct Matcher(Vec<Expression>);

/// More than a matcher takes.
#[derive(Debug)]
pub(crate) struct TooLarge;

impl Matcher {
    pub(crate) fn compile(set: &RuleSet) -> Result<Self, TooLarge> {
        Ok(Self(set.rules.iter().map(|rule| rule.when.clone()).collect()))
    }

    /// The first rule at or behind `from` whose condition holds.
    pub(crate) fn first(&self, facts: &Facts<'_>, from: u32) -> Option<u32> {
        (from..)
            .zip(self.0.get(from as usize..)?)
            .find(|(_, when)| holds(when, facts))
            .map(|it| it.0)
    }
}

fn holds(when: &Expression, facts: &Facts<'_>) -> bool {
    match when {
        Expression::True => true,
        Expression::Not(inner) => !holds(inner, facts),
        Expression::And(all) => all.iter().all(|one| holds(one, facts)),
        Expression::Or(any) => any.iter().any(|one| holds(one, facts)),
        Expression::Test(Test::Has(scope, layer)) => facts.has(*scope, *layer),
        Expression::Test(Test::Number { scope, field, mask, ranges }) => {
            facts.number(*scope, *field).is_some_and(|number| ranges.contains(number & mask))
        }
        Expression::Test(Test::Address { scope, field, set }) => {
            facts.address(*scope, *field).is_some_and(|address| set.contains(address))
        }
        Expression::Test(Test::Standing(standing)) => facts.stands(*standing),
        Expression::Test(_) => false,
    }
}
