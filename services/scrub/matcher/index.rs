//! From clauses to nodes: each clause is filed under its most telling test.
//!
//! ```text
//!  node ─┬─ udp.srcport  53 ─► list of candidates ─► what is left of each is tested
//!        │              123 ─► node, where a list would be long
//!        ├─ ip.src    class ─► …
//!        └─ rest            ─► list
//! ```
//!
//! A packet is looked up once in each dimension of a node, and of all candidates the first rule
//! whose tests hold wins. Which test tells most is counted, not guessed: the one under whose numbers
//! the fewest others would be filed, too. So a thousand rules about port 53 are filed under
//! something else.

use std::collections::BTreeMap;

use super::address::Members;
use super::atom::{Run, Writer};
use super::formula::{Clause, Field, Formula, Slot};
use super::interval::{Intervals, sweep};
use super::{CANDIDATES_MAX, Candidate, Dimension, END, HIDDEN, NODE, Node, Source, TooLarge};

/// Lists up to this length are not worth a further look-up.
const LIST_MAX: usize = 6;

/// A dimension for fewer clauses costs more than their tests.
const DIMENSION_MIN: usize = 3;

/// Nodes below nodes.
const DEPTH_MAX: u32 = 6;

/// Entries that a clause may have in a dimension, over all clauses: with few clauses, each may have
/// many.
const ENTRIES_MAX: usize = 1 << 21;

/// A clause of which some parts are known to hold where it is filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    clause: u32,
    /// A bit for each part that is known to hold.
    known: u64,
}

/// What clauses can be filed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Under {
    Field(Field),
    Set(Slot),
}

/// One way to file one item.
#[derive(Clone, Copy, Debug)]
struct Choice {
    item: usize,
    part: usize,
    /// Items that would be filed under the same number, and the more the wider it is.
    crowd: usize,
}

/// What has been made so far.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) nodes: Vec<Node>,
    pub(super) candidates: Vec<Candidate>,
}

/// Makes the index of one kind of packet.
pub(super) struct Builder<'b, 'a> {
    pub(super) index: &'b mut Index,
    pub(super) writer: &'b mut Writer<'a>,
    pub(super) clauses: &'b [Clause<'a>],
    /// Whether a rule ends what it holds of.
    pub(super) ends: &'b [bool],
    /// Of each address field, the classes that are in each set.
    pub(super) inside: &'b [Members; Slot::COUNT],
    /// What was written for each item.
    pub(super) written: BTreeMap<Item, Run>,
}

impl<'a> Builder<'_, 'a> {
    /// Files all clauses; the reference to a node or a list.
    pub(super) fn root(&mut self) -> Result<u32, TooLarge> {
        let count = u32::try_from(self.clauses.len()).map_err(|_| TooLarge::Candidates)?;
        let items: Vec<Item> = (0..count).map(|clause| Item { clause, known: 0 }).collect();
        self.file(&items, 0)
    }

    /// All clauses with all their tests, for the look-ups that the index has no answer to.
    pub(super) fn complete(&mut self) -> Result<u32, TooLarge> {
        let count = u32::try_from(self.clauses.len()).map_err(|_| TooLarge::Candidates)?;
        let items: Vec<Item> = (0..count).map(|clause| Item { clause, known: 0 }).collect();
        self.list(&items, END)
    }

    fn parts(&self, item: Item) -> impl Iterator<Item = (usize, &Formula<'a>)> {
        let known = move |part: usize| part < 64 && item.known >> part & 1 != 0;
        let parts = self.clauses[item.clause as usize].parts.iter().enumerate();
        parts.filter(move |&(part, _)| !known(part))
    }

    /// Whether the item holds of all that it is filed under, and ends it.
    fn ends_all(&self, item: Item) -> bool {
        let rule = self.clauses[item.clause as usize].rule;
        self.ends[rule as usize] && self.parts(item).next().is_none()
    }

    /// Items in the order of their rules, as a list or a node.
    fn file(&mut self, items: &[Item], depth: u32) -> Result<u32, TooLarge> {
        // What stands behind a rule that ends everything is never met.
        let last = items.iter().position(|&item| self.ends_all(item));
        let (items, end) = match last {
            Some(last) => (&items[..=last], if last + 1 < items.len() { HIDDEN } else { END }),
            None => (items, END),
        };
        if items.len() <= LIST_MAX || depth == DEPTH_MAX {
            return self.list(items, end);
        }
        let mut choices = self.choices(items);
        let filed = assign(items.len(), &mut choices);
        let rest: Vec<Item> = (items.iter().zip(&filed))
            .filter(|(_, under)| under.is_none())
            .map(|(&item, _)| item)
            .collect();
        if rest.len() == items.len() {
            return self.list(items, end);
        }
        let mut dimensions = Vec::new();
        for (&under, choices) in &choices {
            let chosen: Vec<Choice> = (choices.iter().copied())
                .filter(|choice| filed[choice.item] == Some((under, choice.part)))
                .collect();
            if !chosen.is_empty() {
                dimensions.push(self.dimension(under, items, &chosen, depth)?);
            }
        }
        dimensions.sort_by_key(|dimension: &Dimension| dimension.least);
        let rest = self.list(&rest, end)?;
        let node = u32::try_from(self.index.nodes.len()).map_err(|_| TooLarge::Candidates)?;
        self.index.nodes.push(Node { dimensions: dimensions.into(), rest });
        Ok(NODE | node)
    }

    fn list(&mut self, items: &[Item], end: u32) -> Result<u32, TooLarge> {
        if items.is_empty() && end == END {
            return Ok(0);
        }
        let start = self.index.candidates.len();
        if start + items.len() >= CANDIDATES_MAX {
            return Err(TooLarge::Candidates);
        }
        for &item in items {
            let known = move |part: usize| part < 64 && item.known >> part & 1 != 0;
            let clause = &self.clauses[item.clause as usize];
            let tests = match self.written.get(&item) {
                Some(&tests) => tests,
                None => {
                    let parts = clause.parts.iter().enumerate().filter(|&(part, _)| !known(part));
                    let tests = self.writer.write(parts.map(|(_, formula)| formula));
                    self.written.insert(item, tests);
                    tests
                }
            };
            self.index.candidates.push(Candidate { rule: clause.rule, tests });
        }
        self.index.candidates.push(Candidate { rule: end, tests: Run::default() });
        u32::try_from(start).map_err(|_| TooLarge::Candidates)
    }

    /// All ways to file each item.
    fn choices(&self, items: &[Item]) -> BTreeMap<Under, Vec<Choice>> {
        let mut choices: BTreeMap<Under, Vec<Choice>> = BTreeMap::new();
        for (number, &item) in items.iter().enumerate() {
            for (part, formula) in self.parts(item).filter(|&(part, _)| part < 64) {
                let under = match *formula {
                    Formula::In(field, _) => Under::Field(field),
                    Formula::Within(slot, _) => Under::Set(slot),
                    _ => continue,
                };
                choices.entry(under).or_default().push(Choice { item: number, part, crowd: 0 });
            }
        }
        let entries_max = (ENTRIES_MAX / items.len()).clamp(16, 4096);
        for (&under, choices) in &mut choices {
            match under {
                Under::Field(_) => self.count_numbers(items, choices, entries_max),
                Under::Set(slot) => self.count_classes(slot, items, choices, entries_max),
            }
            choices.retain(|choice| choice.crowd < usize::MAX);
        }
        choices
    }

    /// How many share a number, for each choice.
    fn count_numbers(&self, items: &[Item], choices: &mut [Choice], entries_max: usize) {
        let ranges = |choice: &Choice| match &self.part(items[choice.item], choice.part) {
            Formula::In(_, ranges) => ranges.iter(),
            _ => unreachable!("chosen because it is one"),
        };
        let mut borders: Vec<(u64, i32)> = Vec::new();
        for choice in &*choices {
            for (first, last) in ranges(choice) {
                borders.extend([(first, 1), (last + 1, -1)]);
            }
        }
        borders.sort_unstable();
        let mut crowds: Vec<(u64, i32)> = Vec::new();
        for (border, change) in borders {
            match crowds.last_mut() {
                Some((last, crowd)) if *last == border => *crowd += change,
                Some(&mut (_, crowd)) => crowds.push((border, crowd + change)),
                None => crowds.push((border, change)),
            }
        }
        let mut counted = vec![(0, 0); choices.len()];
        for (choice, (crowd, entries)) in choices.iter().zip(&mut counted) {
            for (first, last) in ranges(choice) {
                let start = crowds.partition_point(|&(border, _)| border < first);
                let end = crowds.partition_point(|&(border, _)| border <= last);
                *entries += end - start;
                // The edges and the middle stand for the rest.
                for at in [start, usize::midpoint(start, end), end.saturating_sub(1)] {
                    let many = crowds.get(at).map_or(0, |&(_, many)| many);
                    *crowd = (*crowd).max(usize::try_from(many).unwrap_or(0));
                }
            }
        }
        for (choice, (crowd, entries)) in choices.iter_mut().zip(counted) {
            // A rule that needs no further test ends the lists that it is in, so they stay short.
            let alone = self.parts(items[choice.item]).count() == 1;
            let fits = entries <= entries_max || alone;
            choice.crowd = if fits { crowd + entries / 8 } else { usize::MAX };
        }
    }

    /// How many share a class.
    fn count_classes(
        &self,
        slot: Slot,
        items: &[Item],
        choices: &mut [Choice],
        entries_max: usize,
    ) {
        let mut crowds: BTreeMap<u32, usize> = BTreeMap::new();
        let mut sets = Vec::with_capacity(choices.len());
        for choice in &*choices {
            sets.push(self.set(items[choice.item], choice.part));
        }
        let classes = |set: u32| &*self.inside[slot as usize][set as usize];
        for &set in sets.iter().filter(|&&set| classes(set).len() <= entries_max) {
            for &class in classes(set) {
                *crowds.entry(class).or_default() += 1;
            }
        }
        for (choice, set) in choices.iter_mut().zip(sets) {
            let classes = classes(set);
            let crowd = classes.iter().filter_map(|class| crowds.get(class)).max();
            choice.crowd = match crowd {
                Some(&crowd) if classes.len() <= entries_max => crowd + classes.len() / 64,
                // A set without addresses: filed nowhere, which is right.
                None if classes.is_empty() => 0,
                _ => usize::MAX,
            };
        }
    }

    fn part(&self, item: Item, part: usize) -> &Formula<'a> {
        &self.clauses[item.clause as usize].parts[part]
    }

    /// The number of the set of a part that is `Within`.
    fn set(&self, item: Item, part: usize) -> u32 {
        match *self.part(item, part) {
            Formula::Within(slot, set) => {
                self.writer.sets[slot as usize].known(set).unwrap_or(u32::MAX)
            }
            _ => u32::MAX,
        }
    }

    /// Files the chosen items under one thing.
    fn dimension(
        &mut self,
        under: Under,
        items: &[Item],
        chosen: &[Choice],
        depth: u32,
    ) -> Result<Dimension, TooLarge> {
        let mut least = u32::MAX;
        let filed: Vec<Item> = chosen
            .iter()
            .map(|choice| {
                let item = items[choice.item];
                least = least.min(self.clauses[item.clause as usize].rule);
                Item { known: item.known | 1 << choice.part, ..item }
            })
            .collect();
        // Who is filed under each number, from border to border.
        let mut borders: Vec<(u32, Vec<u32>)> = Vec::new();
        match under {
            Under::Field(_) => {
                let mut ranges = Vec::new();
                for (number, choice) in (0..).zip(chosen) {
                    if let Formula::In(_, each) = self.part(items[choice.item], choice.part) {
                        ranges.extend(each.iter().map(|(first, last)| {
                            let low = |number: u64| u32::try_from(number).ok();
                            (low(first).unwrap_or(u32::MAX), low(last + 1), number)
                        }));
                    }
                }
                let ends: Vec<bool> = filed.iter().map(|&item| self.ends_all(item)).collect();
                sweep(ranges, |border, active| {
                    // What stands behind a rule that ends everything stays out, but for one.
                    let mut behind = 0;
                    let who = active.iter().copied().take_while(|&number| {
                        let take = behind < 2;
                        behind += usize::from(behind > 0 || ends[number as usize]);
                        take
                    });
                    borders.push((border, who.collect()));
                });
            }
            Under::Set(slot) => {
                let mut classes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
                for (number, choice) in (0..).zip(chosen) {
                    let set = self.set(items[choice.item], choice.part);
                    for &class in &*self.inside[slot as usize][set as usize] {
                        classes.entry(class).or_default().push(number);
                    }
                }
                let mut next = 0;
                for (class, who) in classes {
                    if class > next {
                        borders.push((next, Vec::new()));
                    }
                    borders.push((class, who));
                    next = class + 1;
                }
                borders.push((next, Vec::new()));
            }
        }
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        let mut values = Vec::with_capacity(borders.len());
        for (border, who) in borders {
            let value = match known.get(&who) {
                Some(&value) => value,
                None => {
                    let items: Vec<Item> =
                        who.iter().map(|&number| filed[number as usize]).collect();
                    let value = self.file(&items, depth + 1)?;
                    known.insert(who, value);
                    value
                }
            };
            values.push((border, value));
        }
        let source = match under {
            Under::Field(field) => Source::Field(field),
            Under::Set(slot) => Source::Set(slot),
        };
        Ok(Dimension { source, least, table: Intervals::new(0, values) })
    }
}

/// For each item the best way to file it, or none. Ways that only a few items would take are left
/// out, where those items find another.
fn assign(items: usize, choices: &mut BTreeMap<Under, Vec<Choice>>) -> Vec<Option<(Under, usize)>> {
    let mut filed = vec![None; items];
    for round in 0..2 {
        let mut best: Vec<Option<(usize, usize, Under, usize)>> = vec![None; items];
        for (&under, each) in &*choices {
            let rarity = items - each.len().min(items);
            for choice in each {
                let this = (choice.crowd, rarity, under, choice.part);
                let other = &mut best[choice.item];
                // What would be filed with half of all is not worth it.
                let tells = choice.crowd * 2 <= items;
                if tells && other.is_none_or(|other| this < other) {
                    *other = Some(this);
                }
            }
        }
        let mut counts: BTreeMap<Under, usize> = BTreeMap::new();
        for &(_, _, under, _) in best.iter().flatten() {
            *counts.entry(under).or_default() += 1;
        }
        let is_worth = |under: Under| counts.get(&under).is_some_and(|&n| n >= DIMENSION_MIN);
        if round == 0 {
            choices.retain(|&under, _| is_worth(under));
            continue;
        }
        for (filed, best) in filed.iter_mut().zip(best) {
            *filed = best
                .filter(|&(_, _, under, _)| is_worth(under))
                .map(|(_, _, under, part)| (under, part));
        }
    }
    filed
}
