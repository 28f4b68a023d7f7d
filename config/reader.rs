//! Walks the tree of a TOML file and collects every mistake on the way.
//!
//! A reader never stops at the first mistake: it notes it, gives back `None`, and the caller goes
//! on with a default. At the end either there are no mistakes and all values stand, or there are
//! and the values are thrown away. So a default taken after a mistake is never used.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::nearest::hint;
use crate::remark::{ConfigError, Remark, Severity};
use crate::source::Source;

/// A value of the tree, with where it stands.
pub(crate) type Node<'a> = Spanned<DeValue<'a>>;

/// A value that the operator writes as one TOML value.
pub(crate) trait Read: Sized {
    /// What may stand there, in words.
    const ALLOWED: &'static str;

    /// Reads it.
    ///
    /// # Errors
    ///
    /// What was found and what is allowed, where the kind of value alone does not say it.
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong>;
}

/// Why a value cannot be read; what is `None` has a usual text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) found: Option<String>,
    pub(crate) allowed: Option<String>,
}

impl Wrong {
    /// The kind of value is not the one wanted.
    pub(crate) fn kind() -> Self {
        Self::default()
    }

    pub(crate) fn new(found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { found: Some(found.into()), allowed: Some(allowed.into()) }
    }
}

/// The value in words, short: `the string "x"`, `an array of 3`.
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {text:?}"),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the float {number}"),
        DeValue::Boolean(truth) => format!("the boolean {truth}"),
        DeValue::Datetime(time) => format!("the date {time}"),
        DeValue::Array(items) => format!("an array of {}", items.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The file being read, with what was said about it so far.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Arc<Source>,
    mistakes: Vec<(usize, Remark)>,
    warnings: Vec<(usize, Remark)>,
}

impl Reader {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, mistakes: Vec::new(), warnings: Vec::new() }
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    pub(crate) fn mistake(&mut self, at: &Place, found: impl Display, allowed: impl Display) {
        let remark = self.remark(at, Severity::Mistake, found, allowed);
        self.mistakes.push((at.span.start, remark));
    }

    pub(crate) fn warn(&mut self, at: &Place, found: impl Display, advice: impl Display) {
        let remark = self.remark(at, Severity::Warning, found, advice);
        self.warnings.push((at.span.start, remark));
    }

    fn remark(
        &self,
        at: &Place,
        severity: Severity,
        found: impl Display,
        allowed: impl Display,
    ) -> Remark {
        let (found, allowed) = (found.to_string(), allowed.to_string());
        Remark::new(&self.source, &at.span, severity, &*at.path, found, allowed)
    }

    /// The warnings, or, where there are mistakes, those; both in the file's order.
    pub(crate) fn finish(self) -> Result<Vec<Remark>, ConfigError> {
        let in_order = |mut remarks: Vec<(usize, Remark)>| {
            remarks.sort_by_key(|&(at, _)| at);
            remarks.into_iter().map(|(_, remark)| remark).collect()
        };
        if self.mistakes.is_empty() {
            Ok(in_order(self.warnings))
        } else {
            Err(ConfigError::Mistakes(in_order(self.mistakes)))
        }
    }
}

/// A key of the file and where its value stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) span: Range<usize>,
}

/// One value, not yet read.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) at: Place,
    pub(crate) value: &'a DeValue<'a>,
}

impl<'a> Field<'a> {
    pub(crate) fn new(path: String, node: &'a Node<'a>) -> Self {
        Self { at: Place { path, span: node.span() }, value: node.get_ref() }
    }

    /// Reads the value, or notes why it cannot be read.
    pub(crate) fn read<T: Read>(&self, reader: &mut Reader) -> Option<T> {
        T::read(self.value).map_err(|wrong| self.refuse::<T>(reader, wrong)).ok()
    }

    fn refuse<T: Read>(&self, reader: &mut Reader, wrong: Wrong) {
        let found = wrong.found.unwrap_or_else(|| describe(self.value));
        reader.mistake(&self.at, found, wrong.allowed.as_deref().unwrap_or(T::ALLOWED));
    }

    /// The items of an array, each with its own place.
    pub(crate) fn items(&self, reader: &mut Reader, allowed: &str) -> Option<Vec<Field<'a>>> {
        let DeValue::Array(items) = self.value else {
            reader.mistake(&self.at, describe(self.value), allowed);
            return None;
        };
        let path = &self.at.path;
        let item = |(index, node)| Field::new(format!("{path}[{index}]"), node);
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The table, with every key that is not among `keys` noted as a mistake.
    pub(crate) fn section(
        &self,
        reader: &mut Reader,
        keys: &'static [&'static str],
        allowed: &str,
    ) -> Option<Section<'a>> {
        let DeValue::Table(table) = self.value else {
            reader.mistake(&self.at, describe(self.value), allowed);
            return None;
        };
        Some(Section::open(reader, self.at.clone(), table, keys))
    }
}

/// One table whose keys are known.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    at: Place,
    table: &'a DeTable<'a>,
    keys: &'static [&'static str],
}

impl<'a> Section<'a> {
    pub(crate) fn open(
        reader: &mut Reader,
        at: Place,
        table: &'a DeTable<'a>,
        keys: &'static [&'static str],
    ) -> Self {
        let section = Self { at, table, keys };
        for key in table.keys().filter(|key| !keys.contains(&key.get_ref().as_ref())) {
            let place = Place { path: section.path_of(key.get_ref()), span: key.span() };
            let hint = hint(key.get_ref(), keys);
            let found = format!("the unknown key {:?}{hint}", key.get_ref());
            reader.mistake(&place, found, keys.join(", "));
        }
        section
    }

    fn path_of(&self, key: &str) -> String {
        match self.at.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// Where the value of `key` stands, or where the table begins if it is not given.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        let span = self.field(key).map_or_else(|| self.at.span.clone(), |field| field.at.span);
        Place { path: self.path_of(key), span }
    }

    /// The value of `key`, if given.
    pub(crate) fn field(&self, key: &str) -> Option<Field<'a>> {
        debug_assert!(self.keys.contains(&key), "{key:?} is not in the list of known keys");
        self.table.get(key).map(|node| Field::new(self.path_of(key), node))
    }

    /// Reads the value of `key`, if given.
    pub(crate) fn read<T: Read>(&self, reader: &mut Reader, key: &str) -> Option<T> {
        self.field(key)?.read(reader)
    }

    /// Reads the value of `key`; that there is none is a mistake.
    pub(crate) fn require<T: Read>(&self, reader: &mut Reader, key: &str) -> Option<T> {
        if self.field(key).is_none() {
            reader.mistake(&self.place_of(key), "nothing; the key is required", T::ALLOWED);
        }
        self.read(reader, key)
    }

    /// Reads a whole number of `range`, or gives `default`.
    pub(crate) fn number(
        &self,
        reader: &mut Reader,
        key: &str,
        range: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let Some(field) = self.field(key) else { return default };
        let read = crate::value::integer(field.value).and_then(|n| u32::try_from(n).ok());
        match read {
            Some(number) if range.contains(&number) => number,
            _ => {
                let allowed = format!("an integer from {} to {}", range.start(), range.end());
                reader.mistake(&field.at, describe(field.value), allowed);
                default
            }
        }
    }
}
