//! Rules from where an operator keeps them, ready to be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt, fs, io};

use super::judge::{Book, TooManyBuckets};
use super::matcher::{Matcher, TooLarge};
use super::presets::SHIPPED;
use super::rules::rule::RuleSet;
use super::rules::{self, Mistake};
use super::siphash::Key;

/// A rule set and what it is made into. Cheap to clone: shards share both.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    set: Arc<RuleSet>,
    matcher: Arc<Matcher>,
}

/// Where rules are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// With the program: nobody named others.
    #[default]
    Shipped,
    /// In the config.
    Config(Box<str>),
    /// In a file of their own, read again on reload.
    File(PathBuf),
}

/// Why rules cannot be used.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    File {
        /// As it was named.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What is wrong in the text, at least one.
    Mistakes(Vec<Mistake>),
    /// More than a matcher takes.
    TooLarge(TooLarge),
    /// More memory for limits than there may be.
    Buckets(TooManyBuckets),
}

impl Rules {
    /// Reads them where they are kept.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub(crate) fn load(origin: &Origin) -> Result<Self, LoadError> {
        match origin {
            Origin::Shipped => Self::read("presets\n", "shipped rules", Path::new("")),
            Origin::Config(text) => Self::read(text, "rules", Path::new("")),
            Origin::File(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|cause| LoadError::File { path: path.clone(), cause })?;
                let folder = path.parent().unwrap_or(Path::new(""));
                Self::read(&text, &path.display().to_string(), folder)
            }
        }
    }

    /// Reads `text`, which is called `name`; files that it names are looked for in `folder`.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub(crate) fn read(text: &str, name: &str, folder: &Path) -> Result<Self, LoadError> {
        let mut files = |file: &str| fs::read_to_string(folder.join(file));
        let set = rules::read(text, name, &mut files, SHIPPED).map_err(LoadError::Mistakes)?;
        let matcher = Matcher::compile(&set).map_err(LoadError::TooLarge)?;
        Book::fits(&set).map_err(LoadError::Buckets)?;
        Ok(Self { set: Arc::new(set), matcher: Arc::new(matcher) })
    }

    /// What was read.
    pub(crate) fn set(&self) -> &RuleSet {
        &self.set
    }

    /// The rules as one shard applies them, with full buckets and nothing counted. Takes all the
    /// memory that they need.
    pub(crate) fn book(&self, key: Key) -> Box<Book> {
        Book::new(Arc::clone(&self.matcher), &self.set, key)
    }
}

impl LoadError {
    /// What stands there and what may, in the two parts that a mistake in a config has.
    pub(crate) fn parts(&self) -> (String, String) {
        match self {
            Self::File { path, cause } => (
                format!("{}, which cannot be read: {cause}", path.display()),
                "a file of rules".into(),
            ),
            Self::Mistakes(mistakes) => {
                let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                (format!("mistakes in the rules\n{}", all.join("\n")), "rules without them".into())
            }
            Self::TooLarge(error) => (error.to_string(), "fewer or simpler rules".into()),
            Self::Buckets(error) => (error.to_string(), "fewer buckets".into()),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, cause } => write!(f, "{} cannot be read: {cause}", path.display()),
            Self::Mistakes(mistakes) => {
                for (index, mistake) in mistakes.iter().enumerate() {
                    let between = if index == 0 { "" } else { "\n" };
                    write!(f, "{between}{mistake}")?;
                }
                Ok(())
            }
            Self::TooLarge(error) => error.fmt(f),
            Self::Buckets(error) => error.fmt(f),
        }
    }
}

impl error::Error for LoadError {}
