//! Rules from where an operator keeps them, ready to be used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{error, fmt, fs, io};

use super::judge::{Book, TooManyBuckets};
use super::matcher::{Matcher, TooLarge};
use super::presets::SHIPPED;
use super::rules::rule::RuleSet;
use super::rules::{self, Files, Mistake};
use super::siphash::Key;

/// A rule set and what it is made into. Cheap to clone: shards share both.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    set: Arc<RuleSet>,
    matcher: Arc<Matcher>,
    written: Arc<Written>,
}

/// What rules that are added later may use.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The definitions of sets, as text.
    pub(crate) sets: String,
    /// What the files have that they name.
    pub(crate) files: BTreeMap<String, String>,
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

impl Written {
    /// Reads rules that are written with the same sets, called `name`.
    ///
    /// # Errors
    ///
    /// What is wrong, with its place in `text`.
    pub(crate) fn read(&self, text: &str, name: &str) -> Result<RuleSet, LoadError> {
        const OTHER: &str = "a file that the set in force does not name; replace the whole set";
        let Self { sets, files } = self;
        let mut files =
            |file: &str| files.get(file).cloned().ok_or_else(|| io::Error::other(OTHER));
        // Each definition ends with its line.
        let whole = format!("{sets}{text}\n");
        rules::read(&whole, name, &mut files, SHIPPED).map_err(|mut mistakes| {
            let before = u32::try_from(sets.lines().count()).unwrap_or(u32::MAX);
            for mistake in &mut mistakes {
                mistake.line = mistake.line.saturating_sub(before).max(1);
            }
            LoadError::Mistakes(mistakes)
        })
    }
}

impl Origin {
    /// In words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Shipped => "the shipped rules".into(),
            Self::Config(_) => "the config".into(),
            Self::File(path) => path.display().to_string(),
        }
    }
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
        Self::read_with(text, name, &mut |file| fs::read_to_string(folder.join(file)))
    }

    /// As [`Self::read`]; `files` reads those that it names.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub(crate) fn read_with(text: &str, name: &str, files: Files<'_>) -> Result<Self, LoadError> {
        let mut written = Written { sets: rules::definitions(text), ..Written::default() };
        let mut kept = |file: &str| {
            let read = files(file)?;
            written.files.insert(file.to_owned(), read.clone());
            Ok(read)
        };
        let set = rules::read(text, name, &mut kept, SHIPPED).map_err(LoadError::Mistakes)?;
        Self::of(set, Arc::new(written))
    }

    /// Rules that were read already, and what they were written with.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub(crate) fn of(set: RuleSet, written: Arc<Written>) -> Result<Self, LoadError> {
        let matcher = Matcher::compile(&set).map_err(LoadError::TooLarge)?;
        Book::fits(&set).map_err(LoadError::Buckets)?;
        Ok(Self { set: Arc::new(set), matcher: Arc::new(matcher), written })
    }

    /// What they were written with.
    pub(crate) const fn written(&self) -> &Arc<Written> {
        &self.written
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
