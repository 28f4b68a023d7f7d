//! Which services a program has: one line each.
//!
//! ```
//! # use tidegate::{echo::Echo, registry::Registry};
//! let registry = Registry::new().add::<Echo>();
//! assert_eq!(registry.kinds()[0].name(), "echo");
//! ```
//!
//! The config names a service by its kind and has a table of options that only
//! the service understands. Here the two meet: a kind is looked up, its options
//! are read as the service's own type, and what comes out is the factory that
//! the runtime takes to its shards. Everything else in the program is the same
//! for all services, so a program of one's own is the stock registry with a
//! line more, handed to [`main_with`](crate::main_with).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::{error, fmt};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidegate_config::{
    Config, ConfigError, Options, Refusal, Remark, Selector, Service as Configured,
};
use tidegate_runtime::service::Service;
use tidegate_runtime::task::Factory;

use crate::echo::Echo;
use crate::operator::Operator;
use crate::scrub::Scrub;
use crate::stream::{EssenceReceive, EssenceSend, StreamReceive, StreamSend};

/// Options of a service that has none: any key in its table is a mistake.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// A service whose options say which packets it wants.
///
/// What it derives becomes its selectors, so that nobody has to write the same twice.
pub trait Selects: Service {
    /// The packets that come to it with these options; none: those that the config names.
    ///
    /// # Errors
    ///
    /// [`Unfit`], when the options do not go together, which shows only when they are understood.
    fn selectors(options: &Self::Options) -> Result<Vec<Selector>, Unfit>;
}

/// A service that answers commands while it runs: it has somebody on the control side who knows its
/// instances.
pub trait Operated: Service {
    /// What is asked of it, as the first word of a request.
    const COMMANDS: &'static [&'static str];
    /// The same, for what is answered as long as the client listens.
    const STREAMS: &'static [&'static str];

    /// Who answers for the service called `name`. Its instances are built from clones of these
    /// options, so whatever both are to share is in them.
    fn operator(options: &Self::Options, name: &str) -> Arc<dyn Operator>;
}

/// Options that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The key to be changed.
    pub key: &'static str,
    /// What stands there, and what may.
    pub refusal: Refusal,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.refusal)
    }
}

impl error::Error for Unfit {}

/// The services of a program, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    kinds: Vec<Kind>,
}

/// Commands by their word, each with the kinds that answer it.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// Answered once.
    pub once: BTreeMap<&'static str, Vec<&'static str>>,
    /// Answered as long as the client listens.
    pub streams: BTreeMap<&'static str, Vec<&'static str>>,
}

/// One service of a program.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    name: &'static str,
    reinjects: bool,
    read: fn(&Options) -> Result<Factory, ConfigError>,
    selectors: fn(&Options) -> Result<Vec<Selector>, ConfigError>,
    operated: Option<Handle>,
}

/// How a kind is operated.
#[derive(Clone, Copy, Debug)]
struct Handle {
    commands: &'static [&'static str],
    streams: &'static [&'static str],
    outfit: fn(&Options, &str) -> Result<Outfit, ConfigError>,
}

/// What a service of a config becomes.
#[derive(Debug)]
pub struct Outfit {
    /// What makes an instance of it; a clone for each shard.
    pub factory: Factory,
    /// Who answers for it, where somebody does.
    pub operator: Option<Arc<dyn Operator>>,
}

impl Registry {
    /// No services.
    pub const fn new() -> Self {
        Self { kinds: Vec::new() }
    }

    /// The services that come with tidegate.
    pub fn stock() -> Self {
        Self::new()
            .add::<Echo>()
            .add_selecting::<Scrub>()
            .operated::<Scrub>()
            .add_selecting::<StreamSend>()
            .add_selecting::<EssenceSend>()
            .add_selecting::<EssenceReceive>()
            .add_selecting::<StreamReceive>()
    }

    /// The same with one service more.
    ///
    /// # Panics
    ///
    /// When there is one of that kind already: the config could not tell them apart.
    #[must_use]
    pub fn add<S>(self) -> Self
    where
        S: Service,
        S::Options: DeserializeOwned,
    {
        self.with::<S>(|_| Ok(Vec::new()))
    }

    /// As [`Self::add`], one that derives its selectors.
    ///
    /// # Panics
    ///
    /// As [`Self::add`].
    #[must_use]
    pub fn add_selecting<S>(self) -> Self
    where
        S: Selects,
        S::Options: DeserializeOwned,
    {
        self.with::<S>(|options| {
            let understood = options.parse::<S::Options>()?;
            S::selectors(&understood)
                .map_err(|Unfit { key, refusal }| options.mistake(key, refusal))
        })
    }

    fn with<S>(mut self, selectors: fn(&Options) -> Result<Vec<Selector>, ConfigError>) -> Self
    where
        S: Service,
        S::Options: DeserializeOwned,
    {
        assert!(self.kind(S::KIND).is_none(), "two services of the kind {:?}", S::KIND);
        let read = |options: &Options| options.parse::<S::Options>().map(Factory::of::<S>);
        let (name, reinjects) = (S::KIND, S::REINJECTS);
        self.kinds.push(Kind { name, reinjects, read, selectors, operated: None });
        self
    }

    /// The same, where services of the kind that was added last answer commands.
    ///
    /// # Panics
    ///
    /// When another kind was added last.
    #[must_use]
    pub fn operated<S>(mut self) -> Self
    where
        S: Operated,
        S::Options: DeserializeOwned,
    {
        let last = self.kinds.last_mut().filter(|kind| kind.name == S::KIND);
        let kind = last.unwrap_or_else(|| panic!("{:?} was not added just before", S::KIND));
        kind.operated = Some(Handle {
            commands: S::COMMANDS,
            streams: S::STREAMS,
            outfit: |options, name| {
                let options = options.parse::<S::Options>()?;
                let operator = Some(S::operator(&options, name));
                Ok(Outfit { factory: Factory::of::<S>(options), operator })
            },
        });
        self
    }

    /// Every command that some kind answers once, and every one that it goes on answering; each
    /// with the kinds that do.
    pub fn commands(&self) -> Commands {
        let mut commands = Commands::default();
        for kind in &self.kinds {
            let Some(handle) = kind.operated else { continue };
            for (words, table) in
                [(handle.commands, &mut commands.once), (handle.streams, &mut commands.streams)]
            {
                for word in words {
                    table.entry(*word).or_default().push(kind.name);
                }
            }
        }
        commands
    }

    /// All of them.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The one that the config calls `name`.
    pub fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// Checks what only the services know: that each kind is there and understands its options.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] with all of them, in the file's order.
    pub fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let names: Vec<&str> = self.kinds().iter().map(Kind::name).collect();
        let unknown = config.check_kinds(&names).err();
        let wrong = config
            .services
            .iter()
            .filter_map(|service| self.kind(&service.kind)?.check(&service.options).err());
        let mut mistakes: Vec<Remark> =
            unknown.into_iter().chain(wrong).flat_map(|error| error.mistakes().to_vec()).collect();
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigError::Mistakes(mistakes)) }
    }

    /// The same config, checked, with the selectors that services derive from their options.
    ///
    /// # Errors
    ///
    /// As [`Self::check`], and those of [`Config::with_derived`].
    pub fn complete(&self, config: Config) -> Result<Config, ConfigError> {
        self.check(&config)?;
        let mut derived = Vec::new();
        for (index, service) in config.services.iter().enumerate() {
            let Some(kind) = self.kind(&service.kind) else { continue };
            derived.push((index, (kind.selectors)(&service.options)?));
        }
        config.with_derived(derived)
    }

    /// Whether services of this kind give packets back to the kernel.
    pub fn reinjects(&self, kind: &str) -> bool {
        self.kind(kind).is_some_and(|kind| kind.reinjects)
    }

    /// What `service` becomes. Its kind must be one that was checked.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] in its options, with file, line and key.
    ///
    /// # Panics
    ///
    /// When the registry has no such kind; [`Registry::check`] finds that out, and shows the
    /// operator where.
    pub fn outfit(&self, service: &Configured) -> Result<Outfit, ConfigError> {
        let Some(kind) = self.kind(&service.kind) else {
            panic!("the kind {:?} of {} was not checked", service.kind, service.name)
        };
        match kind.operated {
            Some(handle) => (handle.outfit)(&service.options, &service.name),
            None => Ok(Outfit { factory: kind.factory(&service.options)?, operator: None }),
        }
    }
}

impl Kind {
    /// The word for it in the config.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it understands these options.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] if it does not, with file, line and key.
    pub fn check(&self, options: &Options) -> Result<(), ConfigError> {
        self.factory(options)?;
        (self.selectors)(options).map(drop)
    }

    /// What makes one with these options.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn factory(&self, options: &Options) -> Result<Factory, ConfigError> {
        (self.read)(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        Options::from_text(text).unwrap()
    }

    #[test]
    fn stock_has_each_service_once_under_its_word() {
        let stock = Registry::stock();
        let names: Vec<&str> = stock.kinds().iter().map(Kind::name).collect();
        let streams = ["stream-send", "essence-send", "essence-receive", "stream-receive"];
        assert_eq!(names, [&["echo", "scrub"], &streams[..]].concat());
        assert_eq!(stock.kind("scrub").unwrap().name(), "scrub");
        assert!(stock.kind("Scrub").is_none());
    }

    #[test]
    fn options_are_read_as_the_type_of_the_service() {
        let stock = Registry::stock();
        let scrub = stock.kind("scrub").unwrap();
        assert_eq!(scrub.factory(&options("rules = 'default drop'")).unwrap().kind(), "scrub");
        let error = stock.kind("echo").unwrap().check(&options("rules = ''")).unwrap_err();
        assert!(error.to_string().contains("the unknown key \"rules\""), "{error}");
        assert!(stock.kind("echo").unwrap().check(&options("")).is_ok());
    }

    #[test]
    fn all_mistakes_of_a_config_are_shown_together() {
        let text = r#"
            [[interface]]
            name = "eth1"
            queues = [0]

            [[service]]
            name = "one"
            kind = "echo"
            selectors = [{ destination = "198.18.0.1" }]
            options = { loud = true }

            [[service]]
            name = "two"
            kind = "scrap"
            selectors = [{ destination = "198.18.0.2" }]

            [[service]]
            name = "three"
            kind = "scrub"
            selectors = [{ destination = "198.18.0.3" }]
            options = { rules = "a: keep when udp" }
        "#;
        let config = Config::parse("tide.toml", text).unwrap();
        let error = Registry::stock().check(&config).unwrap_err();
        let keys: Vec<&str> = error.mistakes().iter().map(|mistake| mistake.key.as_str()).collect();
        let expected = ["service[0].options.loud", "service[1].kind", "service[2].options.rules"];
        assert_eq!(keys, expected, "{error}");
    }

    #[test]
    fn says_which_kinds_give_packets_back() {
        let stock = Registry::stock();
        assert!(stock.reinjects("scrub") && !stock.reinjects("echo") && !stock.reinjects("none"));
    }

    #[test]
    #[should_panic(expected = "two services of the kind \"echo\"")]
    fn a_kind_is_added_once() {
        let _ = Registry::stock().add::<Echo>();
    }

    #[test]
    fn mistakes_of_kinds_and_options_come_together_in_the_files_order() {
        let text = "[[service]]\nname = \"a\"\nkind = \"echo\"\noptions = { x = 1 }\n\
                    [[service]]\nname = \"b\"\nkind = \"scrup\"\n\
                    [[service]]\nname = \"c\"\nkind = \"echo\"\noptions = { y = 1 }\n";
        let config = Config::parse("tide.toml", text).unwrap();
        let error = Registry::stock().check(&config).unwrap_err();
        let said: Vec<(&str, &str)> =
            error.mistakes().iter().map(|it| (it.key.as_str(), it.found.as_str())).collect();
        assert_eq!(
            said,
            [
                ("service[0].options.x", "the unknown key \"x\""),
                ("service[1].kind", "the unknown kind \"scrup\"; did you mean \"scrub\"?"),
                ("service[2].options.y", "the unknown key \"y\""),
            ]
        );
        assert_eq!(error.mistakes()[0].allowed, "no keys at all");
    }
}
