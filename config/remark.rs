//! What is said about a config file: mistakes, which end the start-up, and warnings.

use std::ops::Range;
use std::path::PathBuf;
use std::{error, fmt, io};

use crate::source::Source;

/// One thing said about one place of a config file.
///
/// It names the file, the line, the column and the full key, shows the line with the place
/// underlined, and says what was found there and what may stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Name of the file, as the operator gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// Full path of the key, such as `service[1].selectors[0].destination`.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there; of a warning, what to do.
    pub allowed: String,
    /// The line itself.
    text: String,
    /// Characters underlined.
    width: usize,
}

/// How bad a [`Remark`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Mistake,
    /// The file can be used, but hardly says what was meant.
    Warning,
}

impl Remark {
    pub(crate) fn new(
        source: &Source,
        span: &Range<usize>,
        severity: Severity,
        key: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        let at = source.position(span);
        Self {
            file: source.name().to_owned(),
            line: at.line,
            column: at.column,
            severity,
            key: key.into(),
            found: found.into(),
            allowed: allowed.into(),
            text: at.text,
            width: at.width,
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, advice) = match self.severity {
            Severity::Mistake => ("error", "allowed"),
            Severity::Warning => ("warning", "advice"),
        };
        let gutter = " ".repeat(self.line.to_string().len());
        // Tabs are kept, so that the underline stands below the place whatever they are worth.
        let indent: String = (self.text.chars().take(self.column - 1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let underline = "^".repeat(self.width);
        let Self { file, line, column, key, found, allowed, text, .. } = self;
        let colon = if key.is_empty() { "" } else { ": " };
        writeln!(f, "{file}:{line}:{column}: {word}{colon}{key}")?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{line} | {text}")?;
        writeln!(f, "{gutter} | {indent}{underline}")?;
        writeln!(f, "  found: {found}")?;
        write!(f, "  {advice}: {allowed}")
    }
}

/// Why a config file cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read at all.
    Unreadable {
        /// The path as given.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file was read and says something that it may not. Never empty, in the file's order.
    Mistakes(Vec<Remark>),
}

impl ConfigError {
    /// The mistakes found, none where the file could not be read.
    pub fn mistakes(&self) -> &[Remark] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Mistakes(mistakes) => mistakes,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "the config file {} cannot be read: {source}", path.display())
            }
            Self::Mistakes(mistakes) => {
                for (index, mistake) in mistakes.iter().enumerate() {
                    let gap = if index == 0 { "" } else { "\n\n" };
                    write!(f, "{gap}{mistake}")?;
                }
                match mistakes.len() {
                    0 | 1 => Ok(()),
                    count => write!(f, "\n\n{count} mistakes in {}", mistakes[0].file),
                }
            }
        }
    }
}

impl error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Mistakes(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place_also_behind_tabs() {
        let source = Source::new("a.toml", "\n\tcpus = \"none\"\n");
        let remark = Remark::new(&source, &(9..15), Severity::Mistake, "runtime.cpus", "x", "y");
        let shown = "a.toml:2:9: error: runtime.cpus\n  |\n2 | \tcpus = \"none\"\n  | \t       ^^^^^^\n  \
                     found: x\n  allowed: y";
        assert_eq!(remark.to_string(), shown);
    }

    #[test]
    fn counts_the_mistakes_when_there_are_several() {
        let source = Source::new("a.toml", "a = 1\n");
        let one = Remark::new(&source, &(0..1), Severity::Mistake, "a", "x", "y");
        let alone = ConfigError::Mistakes(vec![one.clone()]).to_string();
        assert!(alone.ends_with("allowed: y"), "{alone}");
        let both = ConfigError::Mistakes(vec![one.clone(), one]).to_string();
        assert!(both.ends_with("\n\n2 mistakes in a.toml"), "{both}");
    }
}
