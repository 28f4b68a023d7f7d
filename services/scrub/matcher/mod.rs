//! Rules as one matcher: what a packet costs hardly depends on how many there are.
//!
//! ```text
//!  rules ─► formulas of each kind of packet ─► clauses ─► an index of lists
//!           (kind, formula)                    (formula)    (index; interval, address, names)
//!  packet ─► its kind ─► looked up in each dimension ─► a few candidates ─► their other tests (atom)
//! ```
//!
//! The answer is that of trying the rules one by one, which the oracle of the rules does; a test
//! holds both against each other. Nothing is allocated for a packet.
//!
//! What cannot be looked up is tried one by one: bytecode, signatures, substrings, and what is negated
//! of fields that may be absent. Rules that have nothing else cost their number.

mod address;
mod atom;
mod formula;
mod index;
mod interval;
mod kind;
mod names;
mod packet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use super::facts::Facts;
use super::rules::rule::{Action, RuleSet};
use address::{Classes, Members};
use atom::{Atoms, Run, Writer};
use formula::{Clause, Field, Formula, Slot};
use index::{Builder, Index};
use interval::Intervals;
use kind::Kind;
use packet::{ABSENT, Packet};

/// Rules of one set.
pub(crate) const RULES_MAX: usize = 65_536;

/// Entries of lists, of 12 octets each: 192 MiB.
const CANDIDATES_MAX: usize = 1 << 24;

/// Ends a list.
const END: u32 = u32::MAX;

/// Ends a list where others were left out, because the rule before ends whatever gets there.
const HIDDEN: u32 = u32::MAX - 1;

/// No rule; above all rules and not above what ends a list.
const NONE: u32 = u32::MAX - 1;

/// Bit of a reference to a node; without it, it is one to a list.
const NODE: u32 = 1 << 31;

/// Compiled rules.
#[derive(Debug)]
pub(crate) struct Matcher {
    /// Where each kind of packet begins.
    roots: [u32; Kind::ALL.len()],
    /// The list of everything, for each kind.
    complete: [u32; Kind::ALL.len()],
    nodes: Box<[Node]>,
    candidates: Box<[Candidate]>,
    atoms: Atoms,
    classes: [Classes; Slot::COUNT],
}

/// A rule that may hold.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    rule: u32,
    /// What must hold besides.
    tests: Run,
}

/// Where a packet is looked up in several ways.
#[derive(Debug)]
struct Node {
    /// By their least rule.
    dimensions: Box<[Dimension]>,
    /// A list.
    rest: u32,
}

/// One way to look a packet up.
#[derive(Debug)]
struct Dimension {
    source: Source,
    /// The first rule that is filed here.
    least: u32,
    /// References to lists and nodes.
    table: Intervals<u32>,
}

/// What a packet is looked up by.
#[derive(Clone, Copy, Debug)]
enum Source {
    Field(Field),
    /// The class of an address or a name.
    Set(Slot),
}

/// Why rules were not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLarge {
    /// Too many rules.
    Rules {
        /// As many as there are.
        rules: usize,
    },
    /// Sets of prefixes that lie within each other in too many ways.
    Sets {
        /// As many as one field is tested for.
        sets: usize,
    },
    /// Ranges that overlap in too many ways.
    Candidates,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Rules { rules } => {
                write!(
                    f,
                    "{rules} rules: at most {RULES_MAX} can be compiled; put addresses and ports into sets"
                )
            }
            Self::Sets { sets } => write!(
                f,
                "{sets} sets of prefixes overlap in too many ways; join sets that are used alike, or \
                 take apart those within others"
            ),
            Self::Candidates => write!(
                f,
                "the ranges of the rules overlap in too many ways: over {CANDIDATES_MAX} entries; \
                 join rules that do the same, or give them narrower ranges"
            ),
        }
    }
}

impl std::error::Error for TooLarge {}

impl Matcher {
    /// Compiles rules.
    ///
    /// # Errors
    ///
    /// When they would take too much memory; nothing that an operator writes by hand does.
    pub(crate) fn compile(set: &RuleSet) -> Result<Self, TooLarge> {
        if set.rules.len() > RULES_MAX {
            return Err(TooLarge::Rules { rules: set.rules.len() });
        }
        let ends: Vec<bool> = set
            .rules
            .iter()
            .map(|rule| matches!(rule.action, Action::Drop | Action::Pass) && !rule.dry_run)
            .collect();
        let clauses = Kind::ALL.map(|kind| {
            let rules = (0..).zip(&set.rules);
            rules
                .flat_map(|(number, rule)| Clause::all_of(number, Formula::of(&rule.when, kind)))
                .collect::<Vec<_>>()
        });
        let mut writer = Writer::default();
        for part in clauses.iter().flatten().flat_map(|clause| &clause.parts) {
            writer.learn(part);
        }
        let mut classes: [Classes; Slot::COUNT] = Default::default();
        let mut members: [Members; Slot::COUNT] = Default::default();
        let mut inside: [Members; Slot::COUNT] = Default::default();
        for slot in 0..Slot::COUNT {
            (classes[slot], members[slot]) = writer.sets[slot].classes()?;
            inside[slot] = address::inverted(&members[slot], writer.sets[slot].len());
        }
        let mut index = Index::default();
        // The empty list.
        index.candidates.push(Candidate { rule: END, tests: Run::default() });
        let (mut roots, mut complete) = ([0; Kind::ALL.len()], [0; Kind::ALL.len()]);
        for (number, clauses) in clauses.iter().enumerate() {
            let mut builder = Builder {
                index: &mut index,
                writer: &mut writer,
                clauses,
                ends: &ends,
                inside: &inside,
                written: BTreeMap::new(),
            };
            roots[number] = builder.root()?;
            complete[number] = builder.complete()?;
        }
        let Index { nodes, candidates } = index;
        Ok(Self {
            roots,
            complete,
            nodes: nodes.into(),
            candidates: candidates.into(),
            atoms: writer.atoms,
            classes,
        })
    }

    /// The first rule at or behind `from` whose condition holds.
    #[inline]
    pub(crate) fn first(&self, facts: &Facts<'_>, from: u32) -> Option<u32> {
        let (kind, ports) = Kind::of(facts);
        let (kind, packet) = (kind as usize, Packet::new(facts, &self.classes, ports));
        let mut search = Search { matcher: self, packet, from, best: NONE, hidden: false };
        search.look(self.roots[kind]);
        if search.hidden {
            // Asked for what is behind a rule that ends everything, as nobody does who judges.
            search.best = NONE;
            search.scan(self.complete[kind]);
        }
        (search.best != NONE).then_some(search.best)
    }

    /// Octets that it takes, beside the rules' own.
    pub(crate) fn octets(&self) -> usize {
        let dimensions = self.nodes.iter().flat_map(|node| &node.dimensions);
        size_of_val(&*self.candidates)
            + size_of_val(&*self.nodes)
            + dimensions.map(|at| size_of::<Dimension>() + at.table.octets()).sum::<usize>()
            + self.classes.iter().map(Classes::octets).sum::<usize>()
            + self.atoms.octets()
    }
}

/// One look for one packet.
struct Search<'a, 'f> {
    matcher: &'a Matcher,
    packet: Packet<'a, 'f>,
    from: u32,
    /// The first rule found so far.
    best: u32,
    /// Whether something was left out that may be the answer.
    hidden: bool,
}

impl Search<'_, '_> {
    /// Nodes are not deeper than the index makes them.
    fn look(&mut self, reference: u32) {
        if reference & NODE == 0 {
            self.scan(reference);
            return;
        }
        let matcher = self.matcher;
        let node = &matcher.nodes[(reference & !NODE) as usize];
        for dimension in &node.dimensions {
            if dimension.least >= self.best {
                break;
            }
            let key = match dimension.source {
                Source::Field(field) => match self.packet.number(field) {
                    Some(number) => number,
                    None => continue,
                },
                Source::Set(slot) => match self.packet.class(slot) {
                    ABSENT => continue,
                    class => class,
                },
            };
            let found = dimension.table.get(key);
            if found != 0 {
                self.look(found);
            }
        }
        self.scan(node.rest);
    }

    /// Tries the candidates of a list.
    #[inline]
    fn scan(&mut self, list: u32) {
        let matcher = self.matcher;
        for candidate in &matcher.candidates[list as usize..] {
            if candidate.rule >= self.best {
                self.hidden |= candidate.rule == HIDDEN;
                return;
            }
            let holds = candidate.rule >= self.from
                && (candidate.tests.is_empty()
                    || matcher.atoms.all_hold(candidate.tests, &self.packet));
            if holds {
                self.best = candidate.rule;
                return;
            }
        }
    }
}
