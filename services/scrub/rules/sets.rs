//! Sets: addresses, numbers or names that rules ask for together.
//!
//! ```text
//! set local = { 198.18.0.0/24, 2001:db8::/32 }
//! set both  = { $local, $bad }
//! set bad   = file "bad-prefixes.txt"
//! ```
//!
//! What a set holds is what its first entry is. Sets may be named before they are defined, and in
//! other sets, but not in a circle.

mod file;
mod items;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tidegate_config::nearest;

use super::expression::{Names, Prefixes, Ranges};
use super::mistake::{Source, Wrong};
use super::reader::{Files, Mistakes};
use super::value::{NameList, Subject};
pub(super) use items::{Entry, Item, read_items};

/// Sets of one text at most: more is a mistake of whoever wrote a program that writes rules.
const SETS_MAX: usize = 1024;

/// How deep sets may be named in sets. Nobody needs three; the bound is for the stack.
const DEPTH_MAX: usize = 16;

/// Entries of all sets of one text at most. Ten lists of a hundred thousand prefixes; twice as many
/// would take longer to read than a reload may.
const ENTRIES_MAX: usize = 1 << 20;

/// Numbers in one set at most: a set is copied into each rule that asks for it.
const NUMBERS_MAX: usize = 4096;

/// What a set holds.
#[derive(Clone, Debug)]
pub(super) enum Set {
    Addresses(Arc<Prefixes>),
    Numbers(Numbers),
    Names(Arc<Names>),
    /// It has a mistake, which was said already.
    Broken,
}

/// Numbers, and words that are numbers in the field that is compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    ranges: Vec<(u64, u64)>,
    words: Vec<Box<str>>,
}

/// A set as it was written.
pub(super) struct Definition<'a> {
    pub(super) name: &'a str,
    /// Where the name stands.
    pub(super) at: Range<usize>,
    pub(super) body: Body,
}

/// What stands behind the `=` of a set.
pub(super) enum Body {
    Entries(Vec<Entry>),
    /// A path, and where it stands.
    File(String, Range<usize>),
}

/// All sets of one text.
#[derive(Debug, Default)]
pub(super) struct Sets<'a> {
    table: BTreeMap<&'a str, Set>,
}

/// A set that is being put together.
#[derive(Default)]
struct Collected {
    /// What the first entry was.
    kind: Option<Kind>,
    prefixes: Vec<tidegate_config::Prefix>,
    within: Vec<Arc<Prefixes>>,
    numbers: Numbers,
    names: NameList,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Addresses,
    Numbers,
    Names,
}

impl Kind {
    const fn plural(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Numbers => "numbers",
            Self::Names => "names",
        }
    }
}

impl Set {
    /// `None` of a broken one.
    const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Addresses(_) => Some(Kind::Addresses),
            Self::Numbers(_) => Some(Kind::Numbers),
            Self::Names(_) => Some(Kind::Names),
            Self::Broken => None,
        }
    }
}

impl<'a> Sets<'a> {
    /// Puts `definitions` together; mistakes in them are said, and those who have one are broken.
    pub(super) fn new(
        source: &Source<'_>,
        definitions: &[Definition<'a>],
        files: Files<'_>,
        mistakes: &mut Mistakes,
    ) -> Self {
        let mut by_name: BTreeMap<&'a str, &Definition<'a>> = BTreeMap::new();
        for definition in definitions {
            let name = definition.name;
            if by_name.len() == SETS_MAX {
                let found = format!("more than {SETS_MAX} sets");
                mistakes.say(source, Wrong::new(&definition.at, found, "fewer, with more in each"));
                break;
            }
            if let Some(first) = by_name.insert(name, definition) {
                let (line, _) = source.line(first.at.start);
                let found = format!("a second set named {name}; the first is in line {line}");
                mistakes.say(source, Wrong::new(&definition.at, found, "another name"));
            }
        }
        let mut maker =
            Maker { source, by_name, sets: Self::default(), entries: 0, files, mistakes };
        for name in maker.by_name.keys().copied().collect::<Vec<_>>() {
            maker.make(name, &mut Vec::new());
        }
        maker.sets
    }

    /// The set named so.
    pub(super) fn get(&self, name: &str, at: &Range<usize>) -> Result<&Set, Wrong> {
        self.table.get(name).ok_or_else(|| unknown(name, at, self.table.keys().copied()))
    }

    /// The numbers of `entries`; `None` where one is a broken set.
    pub(super) fn ranges(
        &self,
        entries: &[Entry],
        subject: &Subject,
    ) -> Result<Option<Ranges>, Wrong> {
        let mut ranges = Vec::new();
        for Entry { item, at } in entries {
            match item {
                Item::Range(text) | Item::Word(text) => ranges.push(subject.range(text, at)?),
                Item::Set(name) => match self.get(name, at)? {
                    Set::Numbers(numbers) => {
                        for &(first, last) in &numbers.ranges {
                            ranges.push((first, subject.fitting(last, at)?));
                        }
                        for word in &numbers.words {
                            let number = subject.number(word, at)?;
                            ranges.push((number, number));
                        }
                    }
                    Set::Broken => return Ok(None),
                    other => return Err(other_set(other, &subject.name, "a number", name, at)),
                },
                Item::Address(text) => {
                    subject.number(text, at)?;
                }
                Item::Name(text) => {
                    let found = format!(
                        "the text \"{}\", but {} is a number",
                        text.escape_ascii(),
                        subject.name
                    );
                    return Err(Wrong::new(at, found, "numbers"));
                }
            }
        }
        Ok(Some(Ranges::new(ranges)))
    }

    /// The addresses of `entries`; `None` where one is a broken set.
    pub(super) fn prefixes(
        &self,
        entries: &[Entry],
        subject: &str,
    ) -> Result<Option<Arc<Prefixes>>, Wrong> {
        let (mut single, mut within) = (Vec::new(), Vec::new());
        for Entry { item, at } in entries {
            match item {
                Item::Address(text) | Item::Range(text) | Item::Word(text) => {
                    single.push(super::value::prefix(text, at)?);
                }
                Item::Set(name) => match self.get(name, at)? {
                    Set::Addresses(set) => within.push(set.clone()),
                    Set::Broken => return Ok(None),
                    other => return Err(other_set(other, subject, "an address", name, at)),
                },
                Item::Name(text) => {
                    let found = format!(
                        "the text \"{}\", but {subject} is an address",
                        text.escape_ascii()
                    );
                    return Err(Wrong::new(at, found, "addresses and prefixes"));
                }
            }
        }
        Ok(Some(union(single, within)))
    }

    /// The names of `entries`; `None` where one is a broken set.
    pub(super) fn names(
        &self,
        entries: &[Entry],
        subject: &str,
    ) -> Result<Option<Arc<Names>>, Wrong> {
        let mut list = NameList::default();
        for Entry { item, at } in entries {
            match item {
                Item::Name(text) => list.add(text, at)?,
                Item::Word(text) | Item::Range(text) | Item::Address(text) => {
                    list.add(text.as_bytes(), at)?;
                }
                Item::Set(name) => match self.get(name, at)? {
                    Set::Names(set) if entries.len() == 1 => return Ok(Some(set.clone())),
                    Set::Names(set) => list.append(&NameList::from(&**set)),
                    Set::Broken => return Ok(None),
                    other => return Err(other_set(other, subject, "a name", name, at)),
                },
            }
        }
        Ok(Some(Arc::new(list.finish())))
    }
}

/// All of them together; a set alone is shared and not copied.
fn union(single: Vec<tidegate_config::Prefix>, mut within: Vec<Arc<Prefixes>>) -> Arc<Prefixes> {
    match (single.is_empty(), within.len()) {
        (true, 1) => within.remove(0),
        _ => {
            let single = Prefixes::new(single);
            Arc::new(Prefixes::union(within.iter().map(|it| &**it).chain([&single])))
        }
    }
}

fn other_set(set: &Set, subject: &str, is: &str, name: &str, at: &Range<usize>) -> Wrong {
    let held = set.kind().map_or("nothing", Kind::plural);
    let found = format!("${name}, a set of {held}, but {subject} is {is}");
    Wrong::new(at, found, "a set of the other kind")
}

fn unknown<'a>(name: &str, at: &Range<usize>, known: impl Iterator<Item = &'a str>) -> Wrong {
    let known: Vec<&str> = known.collect();
    let hint =
        nearest(name, &known).map_or(String::new(), |near| format!("; did you mean ${near}?"));
    let found = format!("${name}, which is no set{hint}");
    Wrong::new(at, found, "a set that a line such as `set NAME = { … }` defines")
}

/// Puts sets together, those first that others name.
struct Maker<'s, 'a, 'f> {
    source: &'s Source<'s>,
    by_name: BTreeMap<&'a str, &'s Definition<'a>>,
    sets: Sets<'a>,
    /// Of all sets that were put together.
    entries: usize,
    files: Files<'f>,
    mistakes: &'s mut Mistakes,
}

impl<'a> Maker<'_, 'a, '_> {
    /// Makes the set named so, unless it is there; `path` are those that are being made for which
    /// it is needed.
    fn make(&mut self, name: &'a str, path: &mut Vec<&'a str>) {
        if self.sets.table.contains_key(name) {
            return;
        }
        let Some(&definition) = self.by_name.get(name) else { return };
        path.push(name);
        let set = match &definition.body {
            Body::File(file, at) => self.load(file, at),
            Body::Entries(entries) => self.join(entries, definition, path),
        };
        path.pop();
        self.sets.table.insert(name, set.unwrap_or(Set::Broken));
    }

    fn load(&mut self, path: &str, at: &Range<usize>) -> Option<Set> {
        let text = match (self.files)(path) {
            Ok(text) => text,
            Err(error) => {
                let found = format!("{path:?}, which cannot be read: {error}");
                self.say(Wrong::new(at, found, "a file of prefixes, numbers or names, one a line"));
                return None;
            }
        };
        let collected = file::read(path, &text, self.mistakes)?;
        if collected.kind.is_none() {
            self.say(Wrong::new(at, format!("{path:?}, which has no entry"), "at least one"));
            return None;
        }
        self.finish(collected, at)
    }

    fn join(
        &mut self,
        entries: &[Entry],
        definition: &Definition<'a>,
        path: &mut Vec<&'a str>,
    ) -> Option<Set> {
        let mut collected = Collected::default();
        for entry in entries {
            let added = match &entry.item {
                Item::Set(name) => match self.needed(name, entry, path)? {
                    Set::Broken => return None,
                    set => collected.join(&set, &entry.at),
                },
                _ => collected.add(entry),
            };
            if let Err(wrong) = added {
                self.say(wrong);
                return None;
            }
        }
        if collected.kind.is_none() {
            let found = format!("the set {}, which is empty", definition.name);
            self.say(Wrong::new(&definition.at, found, "at least one entry"));
            return None;
        }
        self.finish(collected, &definition.at)
    }

    /// The set named in another one. `None` where that is a mistake.
    fn needed(&mut self, name: &str, entry: &Entry, path: &mut Vec<&'a str>) -> Option<Set> {
        let Some((&name, _)) = self.by_name.get_key_value(name) else {
            let wrong = unknown(name, &entry.at, self.by_name.keys().copied());
            self.say(wrong);
            return None;
        };
        if let Some(first) = path.iter().position(|&it| it == name) {
            let circle: Vec<String> =
                path[first..].iter().chain([&name]).map(|it| format!("${it}")).collect();
            let found = format!("a circle: {}", circle.join(" holds "));
            self.say(Wrong::new(&entry.at, found, "sets that do not hold themselves"));
            return None;
        }
        if path.len() == DEPTH_MAX {
            let found = format!("sets within sets, more than {DEPTH_MAX} deep");
            self.say(Wrong::new(&entry.at, found, "the entries themselves"));
            return None;
        }
        self.make(name, path);
        self.sets.table.get(name).cloned()
    }

    fn finish(&mut self, collected: Collected, at: &Range<usize>) -> Option<Set> {
        self.entries += collected.len();
        if self.entries > ENTRIES_MAX {
            let found = format!("more than {ENTRIES_MAX} entries in all sets");
            self.say(Wrong::new(at, found, "fewer, or larger prefixes"));
            return None;
        }
        if collected.numbers.ranges.len() + collected.numbers.words.len() > NUMBERS_MAX {
            let found = format!("more than {NUMBERS_MAX} numbers in one set");
            self.say(Wrong::new(at, found, "ranges such as 1000-2000"));
            return None;
        }
        Some(collected.finish())
    }

    fn say(&mut self, wrong: Wrong) {
        self.mistakes.say(self.source, wrong);
    }
}

impl Collected {
    fn is(&mut self, kind: Kind, at: &Range<usize>) -> Result<(), Wrong> {
        match self.kind {
            Some(first) if first != kind => {
                let found =
                    format!("{} in a set that began with {}", kind.plural(), first.plural());
                Err(Wrong::new(at, found, "one kind in a set"))
            }
            _ => {
                self.kind = Some(kind);
                Ok(())
            }
        }
    }

    fn add(&mut self, Entry { item, at }: &Entry) -> Result<(), Wrong> {
        // Of a field that is not known yet: each use asks again whether they fit.
        let subject = Subject { name: "a number".into(), field: None, last: u64::MAX };
        match item {
            Item::Address(text) => {
                self.is(Kind::Addresses, at)?;
                self.prefixes.push(super::value::prefix(text, at)?);
            }
            Item::Range(text) => {
                self.is(Kind::Numbers, at)?;
                self.numbers.ranges.push(subject.range(text, at)?);
            }
            Item::Word(text) => {
                self.is(Kind::Numbers, at)?;
                self.numbers.words.push(text.clone());
            }
            Item::Name(text) => {
                self.is(Kind::Names, at)?;
                self.names.add(text, at)?;
            }
            Item::Set(_) => {}
        }
        Ok(())
    }

    /// Adds all of another set.
    fn join(&mut self, set: &Set, at: &Range<usize>) -> Result<(), Wrong> {
        if let Some(kind) = set.kind() {
            self.is(kind, at)?;
        }
        match set {
            Set::Addresses(set) => self.within.push(set.clone()),
            Set::Numbers(numbers) => {
                self.numbers.ranges.extend_from_slice(&numbers.ranges);
                self.numbers.words.extend_from_slice(&numbers.words);
            }
            Set::Names(names) => self.names.append(&NameList::from(&**names)),
            Set::Broken => {}
        }
        Ok(())
    }

    fn len(&self) -> usize {
        let within = self.within.iter().map(|it| it.ipv4().len() + it.ipv6().len());
        within.sum::<usize>() + self.prefixes.len() + self.numbers.ranges.len() + self.names.len()
    }

    fn finish(self) -> Set {
        match self.kind {
            Some(Kind::Addresses) => Set::Addresses(union(self.prefixes, self.within)),
            Some(Kind::Names) => Set::Names(Arc::new(self.names.finish())),
            Some(Kind::Numbers) | None => {
                let joined = Ranges::new(self.numbers.ranges);
                let mut words = self.numbers.words;
                words.sort_unstable();
                words.dedup();
                Set::Numbers(Numbers { ranges: joined.iter().collect(), words })
            }
        }
    }
}
