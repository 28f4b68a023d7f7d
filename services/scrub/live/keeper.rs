//! Puts rule sets in force, one after the other.
//!
//! ```text
//!   read, check, compile ─► a book for every shard ─► sent ─► each swaps between two bursts ─► old ones dropped here
//!         │ a mistake: nothing has changed
//! ```
//!
//! All of it is on the control side and one at a time: who asks while a set is being put in force waits
//! for that. A shard is given rules that are ready and gives back those that they replace.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_dataplane::steer;
use tidegate_runtime::instances::{AskError, Asked, Instances};
use tidegate_runtime::shards::ReplyError;
use tracing::{info, warn};

use super::edit::{self, Place};
use super::generation::{Current, Generation};
use super::instance::{Done, Order, Succession};
use crate::scrub::judge::{Carry, Tally};
use crate::scrub::load::{Rules, Written};
use crate::scrub::rules::rule::{Fallback, Rule, RuleSet};
use crate::scrub::siphash::Key;

/// How long a shard may take to answer. It answers between two bursts, so this is a shard that stands
/// still; it takes what waits for it when it goes on.
const SWAP_PATIENCE: Duration = Duration::from_secs(2);

/// How long numbers are waited for. Who shows them shows the rest without a shard that stands still.
const NUMBERS_PATIENCE: Duration = Duration::from_millis(500);

/// A change of the rules in force.
#[derive(Debug)]
pub(crate) struct Change {
    rules: Rules,
    from: Box<str>,
    /// Another one of [`Generation::engaged_at`].
    engaged_at: Option<Option<u64>>,
}

impl Change {
    /// All rules are these.
    pub(crate) fn all(rules: Rules, from: &str) -> Self {
        Self { rules, from: from.into(), engaged_at: None }
    }

    /// The same, for destinations that are engaged at so many packets a second.
    pub(crate) fn engaged_at(self, packets_per_second: Option<u64>) -> Self {
        Self { engaged_at: Some(packets_per_second), ..self }
    }
}

/// What a rule did on all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    /// All together.
    pub(crate) all: Tally,
    /// By shard, where it did something.
    pub(crate) by_shard: Vec<(u32, Tally)>,
    /// What the steering programs did by its verdicts, before any shard.
    pub(crate) promoted: steer::Tally,
}

/// Whoever has this may put rules in force.
#[derive(Debug)]
pub(crate) struct Keeper {
    service: Box<str>,
    current: Arc<Current>,
    /// Whether verdicts of rules have a place in the steering programs.
    protects: bool,
    instances: OnceLock<Instances>,
    /// Answers that were late. Held while rules are put in force or asked for.
    owed: Mutex<Vec<Asked<Done>>>,
}

impl Keeper {
    /// Of the service of this name, which begins with `current`, and may protect destinations.
    pub(crate) fn new(service: &str, current: Arc<Current>, protects: bool) -> Self {
        Self {
            service: service.into(),
            current,
            protects,
            instances: OnceLock::new(),
            owed: Mutex::default(),
        }
    }

    /// The service runs.
    pub(crate) fn begin(&self, instances: Instances) {
        let _ = self.instances.set(instances);
    }

    /// The same, as instances share it.
    pub(crate) const fn shared(&self) -> &Arc<Current> {
        &self.current
    }

    /// The generation in force.
    pub(crate) fn current(&self) -> Arc<Generation> {
        self.current.get()
    }

    /// The service on its shards.
    pub(crate) fn instances(&self) -> Result<&Instances, String> {
        self.instances.get().ok_or_else(|| "the service is still starting; ask again".to_owned())
    }

    /// One at a time. Answers that came late are dropped here.
    fn lock(&self) -> MutexGuard<'_, Vec<Asked<Done>>> {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.retain_mut(|asked| {
            matches!(
                asked.wait(Duration::ZERO),
                Err(AskError::Shard { why: ReplyError::TimedOut, .. })
            )
        });
        owed
    }

    /// The rules in force, as they can be read again.
    pub(crate) fn list(&self) -> Value {
        let generation = self.current.get();
        let set = generation.rules.set();
        let rule = |rule: &Rule| json!({ "name": rule.name, "text": rule.text });
        json!({
            "generation": generation.number,
            "from": generation.from,
            "default": match set.default { Fallback::Drop => "drop", Fallback::Pass => "pass" },
            "sets": generation.rules.written().sets,
            "rules": set.rules.iter().map(rule).collect::<Vec<_>>(),
        })
    }

    /// Puts one rule, written in `text`, among those in force.
    ///
    /// # Errors
    ///
    /// What is wrong with it; nothing has changed.
    pub(crate) fn add(&self, text: &str, place: &Place) -> Result<Value, String> {
        self.change(|generation| {
            let rule = one_rule(text, generation.rules.written())?;
            let from = format!("{}, and rule {} added", generation.from, rule.name);
            let set =
                edit::add(generation.rules.set(), rule, place).map_err(|it| it.to_string())?;
            edited(generation, set, &from)
        })
    }

    /// Takes one rule out.
    ///
    /// # Errors
    ///
    /// When there is none of that name; nothing has changed.
    pub(crate) fn remove(&self, name: &str) -> Result<Value, String> {
        self.change(|generation| {
            let from = format!("{}, and rule {name} removed", generation.from);
            let set = edit::remove(generation.rules.set(), name).map_err(|it| it.to_string())?;
            edited(generation, set, &from)
        })
    }

    /// Puts what `make` makes of the generation in force into its place.
    ///
    /// # Errors
    ///
    /// Those of `make`, and where a rule needs what the service does not have; then nothing has
    /// changed.
    pub(crate) fn change(
        &self,
        make: impl FnOnce(&Generation) -> Result<Change, String>,
    ) -> Result<Value, String> {
        let instances = self.instances()?;
        let mut owed = self.lock();
        let old = self.current.get();
        let Change { rules, from, engaged_at } = make(&old)?;
        if !self.protects
            && let Some(refusal) = rules.set().needs_protection()
        {
            return Err(refusal.to_string());
        }
        let engaged_at = engaged_at.unwrap_or(old.engaged_at);
        let next = Arc::new(Generation { number: old.number + 1, rules, from, engaged_at });
        let carry = Arc::new(Carry::between(old.rules.set(), next.rules.set()));
        // All memory is taken before the first shard is told.
        let key = Key::of_process();
        let shards = instances.shards();
        let books: Vec<_> = shards.iter().map(|_| next.rules.book(key)).collect();
        self.current.set(Arc::clone(&next));
        let (mut late, mut gone) = (Vec::new(), Vec::new());
        let mut asked = Vec::with_capacity(shards.len());
        for (&shard, book) in shards.iter().zip(books) {
            let succession = Succession {
                next: book,
                carry: Arc::clone(&carry),
                from: old.number,
                generation: Arc::clone(&next),
            };
            match instances.ask::<Order, Done>(shard, Order::Succeed(succession)) {
                Ok(one) => asked.push(one),
                // It leaves, or is so far behind that what it is built with next counts.
                Err(_) => gone.push(shard),
            }
        }
        for mut one in asked {
            match one.wait(SWAP_PATIENCE) {
                Ok(replaced) => drop(replaced),
                Err(AskError::Shard { why: ReplyError::TimedOut, .. }) => {
                    late.push(one.shard());
                    owed.push(one);
                }
                Err(_) => gone.push(one.shard()),
            }
        }
        drop(owed);
        let rules = next.rules.set().rules.len();
        let (service, generation, from) = (&*self.service, next.number, &*next.from);
        info!(service, generation, rules, from, "rules are in force");
        for shard in &late {
            warn!(service, generation, shard, "this shard stands still; it will take them then");
        }
        for shard in &gone {
            warn!(service, generation, shard, "this shard has no instance now; the next has them");
        }
        Ok(json!({
            "generation": generation,
            "rules": rules,
            "shards": shards.len() - late.len() - gone.len(),
            "late": late,
            "gone": gone,
        }))
    }

    /// What the rules in force did, with their generation. Of shards that do not answer: nothing.
    ///
    /// # Errors
    ///
    /// When the service is still starting.
    pub(crate) fn hits(&self) -> Result<(Arc<Generation>, Vec<Hits>), String> {
        let instances = self.instances()?;
        let mut owed = self.lock();
        let generation = self.current.get();
        let rules = generation.rules.set().rules.len();
        let ask = |&shard: &u32| {
            let room = Vec::with_capacity(rules);
            instances.ask::<Order, Done>(shard, Order::Tallies(room)).ok()
        };
        let asked: Vec<_> = instances.shards().iter().filter_map(ask).collect();
        let mut hits = vec![Hits::default(); rules];
        for mut one in asked {
            let shard = one.shard();
            match one.wait(NUMBERS_PATIENCE) {
                Ok(Done::Tallies(number, tallies)) if number == generation.number => {
                    for (hits, tally) in hits.iter_mut().zip(tallies) {
                        if tally != Tally::default() {
                            hits.all = hits.all.and(tally);
                            hits.by_shard.push((shard, tally));
                        }
                    }
                }
                Err(AskError::Shard { why: ReplyError::TimedOut, .. }) => owed.push(one),
                Ok(_) | Err(_) => {}
            }
        }
        drop(owed);
        Ok((generation, hits))
    }
}

/// `set` compiled, in the place of what is in force.
fn edited(generation: &Generation, set: RuleSet, from: &str) -> Result<Change, String> {
    let written = Arc::clone(generation.rules.written());
    let rules = Rules::of(set, written).map_err(|error| error.to_string())?;
    Ok(Change::all(rules, from))
}

/// The one rule that `text` is, which may use the sets that are defined.
fn one_rule(text: &str, written: &Written) -> Result<Rule, String> {
    const ALLOWED: &str = "one rule: NAME: ACTION when EXPRESSION";
    let set = written.read(text, "rule").map_err(|error| error.to_string())?;
    let mut rules = set.rules.into_iter();
    match (rules.next(), rules.next()) {
        (Some(rule), None) => Ok(rule),
        (None, _) => Err(format!("that is no rule; allowed: {ALLOWED}")),
        (Some(_), Some(_)) => Err(format!("these are several rules; allowed: {ALLOWED}")),
    }
}
