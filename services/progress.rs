//! How far long work is, in one line of a terminal.
//!
//! Where standard error is no terminal nothing is written: a log has no use for it.

use std::io::{self, IsTerminal as _, Write};

/// One piece of work, whose line is wiped when it ends.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    total: u64,
    done: u64,
    shown: Option<u64>,
    terminal: bool,
}

impl Progress {
    /// Begins: `total` of whatever [`Self::advance`] counts are to be done.
    pub(crate) fn begin(what: impl Into<String>, total: u64) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { what: what.into(), total, done: 0, shown: None, terminal }
    }

    /// So much more is done.
    pub(crate) fn advance(&mut self, by: u64) {
        self.done += by;
        if let Some(line) = self.line().filter(|_| self.terminal) {
            // A terminal that is gone is no reason to stop working.
            let _ = write!(io::stderr(), "\r{line}\x1b[K");
        }
    }

    /// The line, where it is another than before: a hundred times at most.
    fn line(&mut self) -> Option<String> {
        let percent = self.done.min(self.total) * 100 / self.total.max(1);
        (self.shown.replace(percent) != Some(percent)).then(|| format!("{} {percent} %", self.what))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_when_the_percentage_changes() {
        let mut progress = Progress {
            what: "loading a.y4m".into(),
            total: 1000,
            done: 0,
            shown: None,
            terminal: false,
        };
        let mut lines = Vec::new();
        for _ in 0..1000 {
            progress.advance(1);
            // `advance` has shown it; what it would show anew is nothing.
            assert_eq!(progress.line(), None);
            progress.shown.take();
            lines.extend(progress.line());
        }
        lines.dedup();
        assert_eq!(lines.len(), 101);
        assert_eq!(lines[50], "loading a.y4m 50 %");
        assert_eq!(lines.last().unwrap(), "loading a.y4m 100 %");
        let mut nothing = Progress::begin("x", 0);
        nothing.advance(5);
        assert_eq!(nothing.shown, Some(0));
    }
}
