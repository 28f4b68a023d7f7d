//! A file of a set: one entry a line, comments behind `#`.

use super::super::mistake::{Source, Wrong};
use super::super::reader::Mistakes;
use super::Collected;
use super::items::{Entry, Item};

/// Octets of a file at most: a million prefixes of IPv6, each written out, with a comment.
const OCTETS_MAX: usize = 1 << 26;

/// All entries of `text`. `None` where one of them is a mistake; each is said.
pub(super) fn read(name: &str, text: &str, mistakes: &mut Mistakes) -> Option<Collected> {
    let source = Source::new(name, text);
    if text.len() > OCTETS_MAX {
        let found = format!("a file of {} octets", text.len());
        mistakes.say(&source, Wrong::new(&(0..0), found, format!("{OCTETS_MAX} octets at most")));
        return None;
    }
    let mut collected = Collected::default();
    let mut right = true;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.split('#').next().unwrap_or("");
        let lead = content.len() - content.trim_start().len();
        let (from, word) = (start + lead, content.trim());
        start += line.len();
        if word.is_empty() {
            continue;
        }
        let at = from..from + word.len();
        let added = if word.contains(char::is_whitespace) || word.starts_with('"') {
            let found = format!("{word:?}, which is not one entry");
            Err(Wrong::new(&at, found, "one prefix, number or name a line, and comments behind #"))
        } else {
            collected.add(&Entry { item: Item::of(word), at })
        };
        if let Err(wrong) = added {
            right = false;
            mistakes.say(&source, wrong);
            if mistakes.are_many() {
                break;
            }
        }
    }
    right.then_some(collected)
}
