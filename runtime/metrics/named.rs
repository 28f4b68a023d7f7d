//! Counters that a service names when it is built.

use std::cell::RefCell;
use std::error;
use std::fmt;

use super::Count;

/// Names that one service may register on one shard.
///
/// Their cells are taken at start, 8 octets each, and stored at each
/// publication. Lower, and a scrubber with many rules runs out of reasons;
/// higher, and every publication writes cache lines that nobody uses.
pub const NAMED_MAX: usize = 128;

/// Octets in the longest name.
const NAME_MAX: usize = 64;

/// A count that a service registered; see [`ServiceMetrics::counter`](super::registry::ServiceMetrics::counter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(pub(super) u16);

/// A cause of dropped frames that a service registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropReason(pub(super) u16);

/// A present value that a service registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge(pub(super) u16);

/// A signed value that a service registered: a present one, or an extreme that it keeps itself.
/// Never summed over shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub(super) u16);

/// One of a few words that a service registered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub(super) u16);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedKind {
    /// [`Counter`].
    Counter,
    /// [`DropReason`].
    DropReason,
    /// [`Gauge`].
    Gauge,
    /// [`Level`].
    Level,
    /// [`Word`].
    Word,
}

impl fmt::Display for NamedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::DropReason => "drop reason",
            Self::Gauge => "gauge",
            Self::Level => "level",
            Self::Word => "word",
        })
    }
}

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// Not `[a-z0-9_]+`, or too long.
    NotExportable {
        /// The name.
        name: Box<str>,
    },
    /// The service has this name for something else.
    Taken {
        /// The name.
        name: Box<str>,
        /// What it was registered as.
        is: NamedKind,
        /// What it was to become.
        wanted: NamedKind,
    },
    /// The service has [`NAMED_MAX`] names.
    TooMany {
        /// The name that found no place.
        name: Box<str>,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotExportable { name } => write!(
                f,
                "{name:?} cannot be the name of a counter; \
                 allowed are 1 to {NAME_MAX} of a-z, 0-9 and _"
            ),
            Self::Taken { name, is, wanted } => {
                write!(f, "{name:?} is a {is} of this service already, it cannot be a {wanted} too")
            }
            Self::TooMany { name } => {
                write!(f, "no room for {name:?}: a service may name {NAMED_MAX} counters")
            }
        }
    }
}

impl error::Error for NameError {}

/// Whether every tool that reads metrics takes this name.
pub(super) fn is_exportable(name: &str) -> bool {
    let allowed = |octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_');
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// What is known about one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: Box<str>,
    pub(super) kind: NamedKind,
    pub(super) help: Box<str>,
    /// What the value stands for, by number; empty for all kinds but [`NamedKind::Word`].
    pub(super) words: Box<[Box<str>]>,
}

/// The names of one service on one shard and their values.
#[derive(Debug)]
pub(super) struct Table {
    facts: RefCell<Vec<Facts>>,
    values: Box<[Count; NAMED_MAX]>,
}

impl Table {
    pub(super) fn new() -> Self {
        let values = Box::new([const { Count(std::cell::Cell::new(0)) }; NAMED_MAX]);
        Self { facts: RefCell::default(), values }
    }

    /// The place of `name`, the same one each time: a service that is built
    /// again goes on counting where it was. The second value says whether the
    /// facts are other than before.
    pub(super) fn register(
        &self,
        name: &str,
        kind: NamedKind,
        help: &str,
        words: &[&str],
    ) -> Result<(u16, bool), NameError> {
        if !is_exportable(name) {
            return Err(NameError::NotExportable { name: name.into() });
        }
        let mut facts = self.facts.borrow_mut();
        let found = facts.iter().position(|facts| &*facts.name == name);
        let place = found.unwrap_or(facts.len());
        match found {
            Some(place) if facts[place].kind != kind => {
                let is = facts[place].kind;
                return Err(NameError::Taken { name: name.into(), is, wanted: kind });
            }
            None if place == NAMED_MAX => return Err(NameError::TooMany { name: name.into() }),
            None => {
                let words = words.iter().copied().map(Box::from).collect();
                facts.push(Facts { name: name.into(), kind, help: help.into(), words });
            }
            Some(place)
                if facts[place].words.iter().map(|word| &**word).ne(words.iter().copied()) =>
            {
                facts[place].words = words.iter().copied().map(Box::from).collect();
                return Ok((u16::try_from(place).expect("below NAMED_MAX"), true));
            }
            Some(_) => (),
        }
        Ok((u16::try_from(place).expect("below NAMED_MAX"), found.is_none()))
    }

    pub(super) fn facts(&self) -> Vec<Facts> {
        self.facts.borrow().clone()
    }

    /// Frames dropped, for whatever reason.
    pub(super) fn dropped(&self) -> u64 {
        let facts = self.facts.borrow();
        let all = facts.iter().zip(self.values.iter());
        all.filter(|(facts, _)| facts.kind == NamedKind::DropReason).map(|(_, n)| n.get()).sum()
    }

    #[inline]
    pub(super) fn at(&self, place: u16) -> &Count {
        &self.values[usize::from(place)]
    }

    /// Values of the registered names, in order of registration.
    pub(super) fn values(&self) -> impl Iterator<Item = u64> {
        self.values.iter().take(self.facts.borrow().len()).map(Count::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_registered_again_goes_on_counting() {
        let table = Table::new();
        let (place, new) = table.register("late", NamedKind::Counter, "Late packets", &[]).unwrap();
        assert!(new);
        table.at(place).add(3);
        assert_eq!(
            table.register("late", NamedKind::Counter, "Late packets", &[]),
            Ok((place, false))
        );
        assert_eq!(table.values().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn refuses_names_that_exporters_would_refuse() {
        let table = Table::new();
        let long = "a".repeat(NAME_MAX + 1);
        for name in ["", "Late", "late-packets", "late packets", "p\u{e4}ckchen", &long] {
            let refusal = table.register(name, NamedKind::Gauge, "", &[]).unwrap_err();
            assert_eq!(refusal, NameError::NotExportable { name: name.into() });
        }
        assert_eq!(
            table.register("x y", NamedKind::Gauge, "", &[]).unwrap_err().to_string(),
            "\"x y\" cannot be the name of a counter; allowed are 1 to 64 of a-z, 0-9 and _"
        );
    }

    #[test]
    fn refuses_one_name_for_two_things() {
        let table = Table::new();
        table.register("late", NamedKind::Counter, "", &[]).unwrap();
        assert_eq!(
            table.register("late", NamedKind::DropReason, "", &[]).unwrap_err().to_string(),
            "\"late\" is a counter of this service already, it cannot be a drop reason too"
        );
    }

    #[test]
    fn refuses_one_name_too_many() {
        let table = Table::new();
        for n in 0..NAMED_MAX {
            table.register(&format!("n{n}"), NamedKind::Gauge, "", &[]).unwrap();
        }
        assert_eq!(
            table.register("more", NamedKind::Gauge, "", &[]).unwrap_err().to_string(),
            "no room for \"more\": a service may name 128 counters"
        );
        assert_eq!(table.register("n127", NamedKind::Gauge, "", &[]), Ok((127, false)));
    }
}
