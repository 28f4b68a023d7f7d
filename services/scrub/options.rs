//! What an operator may say to a scrubber.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use tidegate_config::{Refusal, Selector};

use super::live::Current;
use super::load::{Origin, Rules};
use super::protect::Protect;
use super::service::Scrub;
use crate::registry::{Selects, Unfit};

/// The options table of a `scrub` service. Holding one proves that its rules were read and compiled.
#[derive(Clone, Debug)]
pub struct Options {
    rules: Rules,
    origin: Origin,
    protect: Box<[Protect]>,
    hook: Option<Box<str>>,
    /// Clones share it: the rules that an instance begins with that is built now.
    current: Arc<Current>,
}

impl Options {
    /// The rules in force.
    pub(crate) const fn current(&self) -> &Arc<Current> {
        &self.current
    }

    /// The rules that it begins with.
    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Where they are kept.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What it protects, and when.
    pub(crate) const fn protect(&self) -> &[Protect] {
        &self.protect
    }

    /// Packets a second at which the last of its destinations is engaged, where any is by packets.
    pub(crate) fn engaged_at(&self) -> Option<u64> {
        engaged_at(&self.protect)
    }

    /// What is run when a destination leaves the kernel and when it goes back.
    pub(crate) fn hook(&self) -> Option<&str> {
        self.hook.as_deref()
    }
}

fn engaged_at(protect: &[Protect]) -> Option<u64> {
    let thresholds = protect.iter().map(|protect| protect.policy.thresholds);
    thresholds.filter_map(|thresholds| thresholds.packets_per_second).max()
}

impl Selects for Scrub {
    fn selectors(options: &Options) -> Result<Vec<Selector>, Unfit> {
        if options.protect.is_empty()
            && let Some(refusal) = options.rules.set().needs_protection()
        {
            return Err(Unfit { key: "protect", refusal });
        }
        Ok(options.protect.iter().map(|protect| protect.selector.clone()).collect())
    }
}

/// The table as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rules: Option<Kept<InConfig>>,
    rules_file: Option<Kept<InFile>>,
    #[serde(default)]
    protect: Vec<Protect>,
    hook: Option<Box<str>>,
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { rules, rules_file, protect, hook } = Written::deserialize(deserializer)?;
        let (rules, origin) = match (rules, rules_file) {
            (Some(rules), None) => (rules.rules, rules.origin),
            (None, Some(file)) => (file.rules, file.origin),
            (None, None) => {
                let origin = Origin::Shipped;
                (Rules::load(&origin).map_err(D::Error::custom)?, origin)
            }
            (Some(_), Some(_)) => {
                let found = "rules and rules_file";
                return Err(D::Error::custom(Refusal::new(found, "one of them, or none")));
            }
        };
        let current = Arc::new(Current::new(rules.clone(), &origin.words(), engaged_at(&protect)));
        Ok(Self { rules, origin, protect: protect.into(), hook, current })
    }
}

/// Rules that were read while serde still knew the place of their key, so that a mistake is shown
/// there.
#[derive(Debug)]
struct Kept<W> {
    rules: Rules,
    origin: Origin,
    way: PhantomData<W>,
}

/// How a text says where rules are kept.
trait Way {
    const EXPECTED: &'static str;

    fn origin(text: &str) -> Origin;
}

/// It is the rules.
#[derive(Debug)]
struct InConfig;

/// It names their file.
#[derive(Debug)]
struct InFile;

impl Way for InConfig {
    const EXPECTED: &'static str = "rules in a string, one a line";

    fn origin(text: &str) -> Origin {
        Origin::Config(text.into())
    }
}

impl Way for InFile {
    const EXPECTED: &'static str = "the name of a file of rules";

    fn origin(text: &str) -> Origin {
        Origin::File(PathBuf::from(text))
    }
}

impl<'de, W: Way> Deserialize<'de> for Kept<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<W>(PhantomData<W>);

        impl<W: Way> Visitor<'_> for Text<W> {
            type Value = Kept<W>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(W::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Kept<W>, E> {
                let origin = W::origin(text);
                match Rules::load(&origin) {
                    Ok(rules) => Ok(Kept { rules, origin, way: PhantomData }),
                    Err(error) => {
                        let (found, allowed) = error.parts();
                        Err(E::custom(Refusal::new(found, allowed)))
                    }
                }
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }
}
