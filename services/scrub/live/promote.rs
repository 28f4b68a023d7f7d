//! Verdicts on their way from the shards into the steering programs.
//!
//! ```text
//!   shard ─► wishes ─┐  asked every 100 ms, nobody waits
//!   shard ─► wishes ─┴─► of the generation in force? ─► cache of each program, attributed to the rule
//! ```
//!
//! Rules have a number in the programs, by service and name: what is counted stays theirs through the
//! generations, and the verdicts of all are voided when a generation ends. A verdict that was on its
//! way meanwhile is of an epoch that is over, so it never holds.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_dataplane::steer::{
    self, Cached, Epoch, Prefix, Promotion, RULES_MAX, Steering, Tally, Whose,
};
use tidegate_runtime::instances::{AskError, Asked, Instances};
use tidegate_runtime::shards::ReplyError;
use tracing::warn;

use super::generation::Generation;
use super::instance::{Done, Order};
use crate::operator::{Ground, Place};
use crate::scrub::limits::{Flow, Owner};
use crate::scrub::rules::rule::Key;
use crate::scrub::wishes::{Wish, Wishes};

/// Numbers of rules, by service and name. Two services may share a program, so they are the
/// process's. None is used again: what was counted under it was another rule's.
static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { next: 0, of: BTreeMap::new() });

struct Numbers {
    next: u16,
    of: BTreeMap<(Box<str>, Box<str>), u16>,
}

/// The number of a rule, where there is one left.
fn number(service: &str, rule: &str) -> Option<u16> {
    let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (service.into(), rule.into());
    if let Some(&number) = numbers.of.get(&key) {
        return Some(number);
    }
    let number = numbers.next;
    if number >= RULES_MAX {
        return None;
    }
    numbers.next += 1;
    numbers.of.insert(key, number);
    Some(number)
}

/// Forgets the number of a rule that is gone: one of its name that comes later is another.
fn forget(service: &str, rule: &str) {
    let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
    numbers.of.remove(&(service.into(), rule.into()));
}

/// Networks with a verdict at once, as many as a program has room for.
const NETWORKS_MAX: usize = 16_384;

/// What became of wishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Verdicts that were put into all programs.
    pub(crate) promoted: u64,
    /// Those that one would not take.
    pub(crate) refused: u64,
}

/// One program, and where the service's verdicts hold in it.
struct Program {
    steering: Arc<Steering>,
    scope: u8,
    /// In which the rules in force were put there.
    epoch: Epoch,
}

/// A rule that promotes, as the programs know it.
struct Known {
    number: u16,
    per: Key,
}

/// Puts the verdicts of one service into its programs.
pub(crate) struct Promoter {
    service: Box<str>,
    instances: Instances,
    programs: Vec<Program>,
    /// The generation whose verdicts are taken.
    generation: u64,
    /// By their place in its rules.
    rules: BTreeMap<u32, Known>,
    /// By name, of that generation.
    names: BTreeMap<Box<str>, u16>,
    /// What shards were asked, and have not answered yet.
    asked: Vec<Asked<Done>>,
    /// Lists to be exchanged for full ones.
    rooms: Vec<Vec<Wish>>,
    /// Networks with a verdict, and until when: the kernel keeps them until they are taken out.
    networks: BTreeMap<(IpAddr, u8), u64>,
    counts: Counts,
    failing: bool,
}

impl fmt::Debug for Promoter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promoter").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Promoter {
    /// Of this service, whose selectors are all protected; nothing is promoted yet.
    pub(crate) fn new(service: &str, ground: &Ground) -> Self {
        let mut programs = Vec::<Program>::new();
        for Place { steering, scope, .. } in &ground.selectors {
            if !programs.iter().any(|other| Arc::ptr_eq(&other.steering, steering)) {
                let epoch = steering.cache().epoch();
                programs.push(Program { steering: Arc::clone(steering), scope: *scope, epoch });
            }
        }
        Self {
            service: service.into(),
            instances: ground.instances.clone(),
            programs,
            generation: 0,
            rules: BTreeMap::new(),
            names: BTreeMap::new(),
            asked: Vec::new(),
            rooms: Vec::new(),
            networks: BTreeMap::new(),
            counts: Counts::default(),
            failing: false,
        }
    }

    /// Takes the verdicts of this generation from now on, and voids those of the one before.
    pub(crate) fn succeed(&mut self, generation: &Generation) {
        if generation.number <= self.generation {
            return;
        }
        self.generation = generation.number;
        for program in &mut self.programs {
            program.epoch = program.steering.cache().epoch();
            for &number in self.names.values() {
                match program.steering.cache().flush_rule(number) {
                    Ok(epoch) => program.epoch = epoch,
                    // All of them, rather than one that should not hold.
                    Err(_) => program.epoch = program.steering.cache().flush(),
                }
            }
        }
        self.forget_networks(u64::MAX);
        self.rules.clear();
        let before = std::mem::take(&mut self.names);
        for (place, rule) in (0..).zip(&generation.rules.set().rules) {
            let Some(promote) = rule.promote else { continue };
            let Some(number) = number(&self.service, &rule.name) else {
                let (service, rule) = (&*self.service, &*rule.name);
                warn!(service, rule, "its verdicts stay here: {RULES_MAX} rules had a number");
                continue;
            };
            self.rules.insert(place, Known { number, per: promote.per });
            self.names.insert(rule.name.clone(), number);
        }
        for gone in before.keys().filter(|name| !self.names.contains_key(*name)) {
            forget(&self.service, gone);
        }
    }

    /// Takes what shards wished since, and asks them anew.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        self.forget_networks(now_ns);
        let mut waiting = Vec::with_capacity(self.asked.len());
        for mut one in std::mem::take(&mut self.asked) {
            match one.wait(Duration::ZERO) {
                Ok(Done::Wishes(generation, mut wishes)) => {
                    if generation == self.generation {
                        wishes.iter().for_each(|wish| self.promote(wish, now_ns));
                    }
                    wishes.clear();
                    self.rooms.push(wishes);
                }
                Err(AskError::Shard { why: ReplyError::TimedOut, .. }) => waiting.push(one),
                Ok(_) | Err(_) => {}
            }
        }
        self.asked = waiting;
        if self.rules.is_empty() || self.programs.is_empty() {
            return;
        }
        for &shard in self.instances.shards() {
            if self.asked.iter().any(|one| one.shard() == shard) {
                continue;
            }
            let room = self.rooms.pop().unwrap_or_else(Wishes::room);
            if let Ok(one) = self.instances.ask::<Order, Done>(shard, Order::Wishes(room)) {
                self.asked.push(one);
            }
        }
    }

    fn promote(&mut self, wish: &Wish, now_ns: u64) {
        let Some(known) = self.rules.get(&wish.rule) else { return };
        let Some(whose) = whose(wish.owner, known.per) else { return };
        let (rule, until_ns) = (known.number, wish.until_ns);
        if until_ns <= now_ns {
            return;
        }
        let verdict = if wish.passes { Cached::Pass } else { Cached::Drop };
        if let Whose::Prefix(network) = whose {
            let key = (network.address(), network.bits());
            // The programs have no more room either.
            if self.networks.len() >= NETWORKS_MAX && !self.networks.contains_key(&key) {
                self.counts.refused += 1;
                return;
            }
            self.networks.insert(key, until_ns);
        }
        for Program { steering, scope, epoch } in &self.programs {
            let (scope, epoch) = (*scope, *epoch);
            let promotion = Promotion { scope, whose, verdict, rule, epoch, until_ns };
            if let Err(error) = steering.promote(&promotion) {
                self.counts.refused += 1;
                if !self.failing {
                    let (service, interface) = (&*self.service, steering.interface());
                    warn!(service, interface, %error, "a verdict was not taken; said once");
                }
                self.failing = true;
                return;
            }
        }
        self.counts.promoted += 1;
    }

    /// Takes out networks whose time is over.
    fn forget_networks(&mut self, now_ns: u64) {
        let programs = &self.programs;
        self.networks.retain(|&(address, bits), until_ns| {
            let holds = now_ns < *until_ns;
            if !holds && let Ok(network) = Prefix::new(address, bits) {
                for Program { steering, scope, .. } in programs {
                    // One that is not there was never taken.
                    let _ = steering.forget(*scope, &Whose::Prefix(network));
                }
            }
            holds
        });
    }

    /// What became of wishes, where a rule has any.
    pub(crate) fn counts(&self) -> Option<Counts> {
        let idle = self.rules.is_empty() && self.counts == Counts::default();
        (!idle).then_some(self.counts)
    }

    /// Packets that verdicts decided on, by the rule of `generation` that they came from.
    pub(crate) fn hits(&self, generation: &Generation) -> Vec<Tally> {
        let mut by_number = BTreeMap::<u16, Tally>::new();
        for Program { steering, .. } in &self.programs {
            for (number, tally) in steering.cache_hits().unwrap_or_default() {
                let sum = by_number.entry(number).or_default();
                sum.packets += tally.packets;
                sum.octets += tally.octets;
            }
        }
        let of = |rule: &crate::scrub::rules::rule::Rule| {
            let number = self.names.get(&rule.name);
            number.and_then(|number| by_number.get(number)).copied().unwrap_or_default()
        };
        generation.rules.set().rules.iter().map(of).collect()
    }
}

/// Whose packets, as the programs say it; none of everybody's.
fn whose(owner: Owner, per: Key) -> Option<Whose> {
    match (owner, per) {
        (Owner::Source(address), Key::Source { ipv4, ipv6 }) => {
            let (bits, all) = match address {
                IpAddr::V4(_) => (ipv4, 32),
                IpAddr::V6(_) => (ipv6, 128),
            };
            match bits >= all {
                true => Some(Whose::Source(address)),
                false => Prefix::new(address, bits).ok().map(Whose::Prefix),
            }
        }
        (Owner::Flow(flow), Key::Flow) => {
            let Flow { source, destination, protocol, source_port, destination_port } = flow;
            Some(Whose::Flow(steer::Flow {
                source: SocketAddr::new(source, source_port),
                destination: SocketAddr::new(destination, destination_port),
                protocol,
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_prefix_and_a_whole_address_a_source() {
        let per = Key::Source { ipv4: 32, ipv6: 64 };
        let of = |text: &str, per| whose(Owner::Source(text.parse().unwrap()), per);
        assert_eq!(of("198.18.0.1", per), Some(Whose::Source([198, 18, 0, 1].into())));
        let network = Prefix::new("2001:db8::".parse().unwrap(), 64).unwrap();
        assert_eq!(of("2001:db8::", per), Some(Whose::Prefix(network)));
        let per = Key::Source { ipv4: 24, ipv6: 64 };
        let network = Prefix::new([198, 18, 0, 0].into(), 24).unwrap();
        assert_eq!(of("198.18.0.0", per), Some(Whose::Prefix(network)));
        assert_eq!(whose(Owner::All, Key::All), None);
    }

    #[test]
    fn a_rule_has_its_number_while_it_is_there_and_one_of_its_name_later_has_another() {
        let first = number("promote-a", "bad").unwrap();
        assert_eq!(number("promote-a", "bad"), Some(first));
        assert_ne!(number("promote-b", "bad"), Some(first), "of another service");
        forget("promote-a", "bad");
        assert_ne!(number("promote-a", "bad"), Some(first));
    }
}
