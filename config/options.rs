//! The options of one service: a table whose meaning only the service knows.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::nearest::hint;
use crate::reader::{Node, describe};
use crate::refusal::Refusal;
use crate::remark::{ConfigError, Remark, Severity};
use crate::source::Source;

/// An options table as written, kept with its place in the file.
///
/// The service's own type says what it means: `options.parse::<MyOptions>()`. Give that type
/// `#[serde(deny_unknown_fields)]`, so that a slip in a key is found.
#[derive(Clone, Debug)]
pub struct Options {
    source: Arc<Source>,
    /// Which service of the file; `None`: the whole text is the table.
    service: Option<usize>,
}

impl Options {
    pub(crate) fn of_service(source: Arc<Source>, index: usize) -> Self {
        Self { source, service: Some(index) }
    }

    /// Options written as a TOML document of their own, for programs and tests without a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] when `text` is not TOML.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let source = Arc::new(Source::new("options", text));
        crate::document(&source)?;
        Ok(Self { source, service: None })
    }

    /// Reads the table as the service's own type. A table that is not given is an empty one.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] with file, line and full key, as for every other key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        // The tree borrows the text, so it is built again rather than kept: this is start-up.
        let document = crate::document(&self.source)?;
        let table = self.table(document);
        T::deserialize(ValueDeserializer::from(table.clone())).map_err(|error| {
            let span = error.span().unwrap_or_else(|| table.span());
            self.refuse(&table, error.message(), span)
        })
    }

    /// A mistake that shows only when the table is understood: the value of `key`, or that it is
    /// not there, does not go with the rest.
    pub fn mistake(&self, key: &str, refusal: Refusal) -> ConfigError {
        let document = match crate::document(&self.source) {
            Ok(document) => document,
            Err(error) => return error,
        };
        let table = self.table(document);
        let value = match table.get_ref() {
            DeValue::Table(values) => values.get(key).map(Spanned::span),
            _ => None,
        };
        let span = value.unwrap_or_else(|| table.span());
        let path = format!("{}.{key}", self.path());
        let Refusal { found, allowed } = refusal;
        let remark = Remark::new(&self.source, &span, Severity::Mistake, path, found, allowed);
        ConfigError::Mistakes(vec![remark])
    }

    /// The options table of `document`, or an empty one that stands at the service's header.
    fn table<'a>(&self, document: Spanned<DeTable<'a>>) -> Node<'a> {
        let span = document.span();
        let mut document = document.into_inner();
        let Some(index) = self.service else {
            return Spanned::new(span, DeValue::Table(document));
        };
        let services = document.remove("service").map(Spanned::into_inner);
        let service = match services {
            Some(DeValue::Array(services)) => services.into_iter().nth(index),
            _ => None,
        };
        let Some(service) = service else { unreachable!("service {index} was read before") };
        let span = service.span();
        let options = match service.into_inner() {
            DeValue::Table(mut service) => service.remove("options"),
            _ => None,
        };
        options.unwrap_or_else(|| Spanned::new(span, DeValue::Table(DeTable::default())))
    }

    fn path(&self) -> String {
        self.service.map_or("options".to_owned(), |index| format!("service[{index}].options"))
    }

    /// Serde's message in the form that all other mistakes have.
    fn refuse(&self, table: &Node<'_>, message: &str, span: Range<usize>) -> ConfigError {
        let (mut path, value) = if span == table.span() {
            (self.path(), None)
        } else {
            find(table.get_ref(), &self.path(), &span).unwrap_or_else(|| (self.path(), None))
        };
        let (found, allowed) = if let Some(Refusal { found, allowed }) = Refusal::split(message) {
            (found, allowed)
        } else if let Some((key, known)) = quoted(message, "unknown field `") {
            let close = hint(key, &known);
            if !path.ends_with(&format!(".{key}")) {
                path = format!("{path}.{key}");
            }
            (format!("the unknown key {key:?}{close}"), listed(&known))
        } else if let Some((word, known)) = quoted(message, "unknown variant `") {
            (format!("{word:?}{}", hint(word, &known)), listed(&known))
        } else if let Some((key, _)) = quoted(message, "missing field `") {
            path = format!("{path}.{key}");
            ("nothing; the key is required".to_owned(), "a value for it".to_owned())
        } else if let Some((_, expected)) =
            message.strip_prefix("invalid ").and_then(|rest| rest.split_once(", expected "))
        {
            let found = value.map_or_else(|| message.to_owned(), describe);
            (found, in_words(expected))
        } else {
            let found = value.map_or_else(|| "this table".to_owned(), describe);
            (found, message.to_owned())
        };
        let remark = Remark::new(&self.source, &span, Severity::Mistake, path, found, allowed);
        ConfigError::Mistakes(vec![remark])
    }
}

/// Searches `value` and all below for what stands exactly at `span`: its full key, and its value
/// unless `span` is the key's own place.
fn find<'a>(
    value: &'a DeValue<'a>,
    path: &str,
    span: &Range<usize>,
) -> Option<(String, Option<&'a DeValue<'a>>)> {
    let below = |path: String, node: &'a Node<'a>| {
        // Below first: the first table of `[[list]]` stands where the list does.
        find(node.get_ref(), &path, span)
            .or_else(|| (node.span() == *span).then(|| (path, Some(node.get_ref()))))
    };
    match value {
        DeValue::Table(table) => table.iter().find_map(|(key, node)| {
            let path = format!("{path}.{}", key.get_ref());
            if key.span() == *span {
                return Some((path, None));
            }
            below(path, node)
        }),
        DeValue::Array(items) => {
            items.iter().enumerate().find_map(|(i, node)| below(format!("{path}[{i}]"), node))
        }
        _ => None,
    }
}

/// The word behind `start` of one of serde's messages, and the other words in backticks.
///
/// "unknown field `x`, expected one of `a`, `b`" gives `x` and `[a, b]`.
fn quoted<'a>(message: &'a str, start: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let mut words = message.strip_prefix(start)?.split('`');
    let word = words.next()?;
    Some((word, words.skip(1).step_by(2).collect()))
}

fn listed(known: &[&str]) -> String {
    match known {
        [] => "no keys at all".to_owned(),
        known => known.join(", "),
    }
}

/// What serde calls by a Rust type, as an operator would say it.
fn in_words(expected: &str) -> String {
    let whole = |high: u32| format!("a whole number from 0 to {high}");
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a sequence" => "an array".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}
