//! What an operator may say.
//!
//! A config is one TOML file. This crate reads it into plain types, checks all that can be
//! checked without the machine, and reports every mistake of a file together:
//!
//! ```text
//! tide.toml:14:17: error: service[0].selectors[0].destination
//!    |
//! 14 | destination = "198.19.0.1/15"
//!    |               ^^^^^^^^^^^^^^^
//!   found: "198.19.0.1/15", which has bits set behind the prefix
//!   allowed: the network "198.18.0.0/15" or the address "198.19.0.1/32"
//! ```
//!
//! The manual is `example.toml`: every key stands there with its default and its meaning.
//!
//! Holding a [`Config`] proves that its names are unique, that every service refers to an
//! interface and queues that are there, that every port has one shard, and that the memory of a
//! queue suffices for its rings. What it does not prove: that the interface exists, has those
//! queues, or may be used; nor that a service understands its [`Options`]. Those are found out
//! when the parts are opened.
//!
//! Nothing here knows the other rooms: they have options of their own, filled from these types.

mod check;
mod interface;
mod interval;
mod nearest;
mod options;
mod placement;
mod prefix;
mod reader;
mod refusal;
mod remark;
mod runtime;
mod selector;
mod service;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

pub use interface::{CopyMode, Interface, MultiBuffer, Pages, Steering, Umem, XdpMode};
pub use interval::Interval;
pub use nearest::nearest;
pub use options::Options;
pub use placement::{Aim, Port};
pub use prefix::{PortRange, Prefix};
pub use refusal::Refusal;
pub use remark::{ConfigError, Remark, Severity};
pub use runtime::{DEFAULT_INSTANCE, Idle, LogLevel, Machine, Restart, Runtime};
pub use selector::{Fragments, Protection, Protocol, Selector};
pub use service::Service;
pub use value::Numbers;

use reader::{Place, Reader, Section};
use service::Written;
use source::Source;

/// The manual: a config that names every key. It is checked like any other.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Every table of a config, with its keys. What a manual must mention.
pub const SCHEMA: &[(&str, &[&str])] = &[
    ("", TOP_KEYS),
    ("runtime", runtime::KEYS),
    ("runtime.restart", runtime::RESTART_KEYS),
    ("interface", interface::KEYS),
    ("interface.umem", interface::UMEM_KEYS),
    ("service", service::KEYS),
    ("service.selectors", selector::KEYS),
];

const TOP_KEYS: &[&str] = &["runtime", "interface", "service"];

/// A whole config, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the process runs.
    pub runtime: Runtime,
    /// The interfaces, in the file's order.
    pub interfaces: Vec<Interface>,
    /// The services, in the file's order, which is also the order of their selectors.
    pub services: Vec<Service>,
    /// The queues that are taken, each with its shard.
    pub ports: Vec<Port>,
    warnings: Vec<Remark>,
    source: Arc<Source>,
}

impl Config {
    /// Reads and checks the file at `path`, for this machine.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unreadable`] when there is no such file or it is not text, else
    /// [`ConfigError::Mistakes`] with all that is wrong in it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Checks `text` for this machine. `file_name` stands in the messages.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] with all that is wrong.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, ConfigError> {
        Self::parse_for(file_name, text, &Machine::this())
    }

    /// Checks `text` for `machine`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] with all that is wrong.
    pub fn parse_for(file_name: &str, text: &str, machine: &Machine) -> Result<Self, ConfigError> {
        let source = Arc::new(Source::new(file_name, text));
        let document = document(&source)?;
        let mut reader = Reader::new(source.clone());
        let (runtime, interfaces, services, ports) = read(&mut reader, document.get_ref(), machine);
        let warnings = reader.finish()?;
        Ok(Self { runtime, interfaces, services, ports, warnings, source })
    }

    /// What is allowed, but hardly meant.
    pub fn warnings(&self) -> &[Remark] {
        &self.warnings
    }

    /// The interface named `name`.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The selectors of the interface named `name` in the order in which they are asked, each
    /// with the index of its service. The first that matches decides.
    pub fn selectors<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, &'a Selector)> {
        (self.services.iter().enumerate())
            .filter(move |(_, service)| service.interfaces().any(|own| own == name))
            .flat_map(|(index, service)| service.placed().map(move |(_, it)| (index, it)))
    }

    /// The same config, with the selectors that services derive from their own options: each with
    /// the index of its service. They stand where the written ones would, and replace those that
    /// were derived before.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] where a service has written selectors as well, has no interface,
    /// or there are too many.
    pub fn with_derived(
        mut self,
        derived: impl IntoIterator<Item = (usize, Vec<Selector>)>,
    ) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(self.source.clone());
        for (index, selectors) in derived {
            let service = &mut self.services[index];
            service.derived = selectors;
            check::derived(&mut reader, &self.interfaces, service);
        }
        let placed: Vec<check::Placed> = (self.services.iter())
            .flat_map(|service| {
                service.interfaces().flat_map(|interface| {
                    service.placed().map(|(at, it)| (at.clone(), it.clone(), interface.to_owned()))
                })
            })
            .collect();
        check::shadows(&mut reader, &placed);
        for warning in reader.finish()? {
            // Those of the written ones are known.
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        Ok(self)
    }

    /// For the interface named `name`, the queue on which the packets of each selector are wanted,
    /// in the order of [`Self::selectors`]. What `steering = "ntuple"` makes flow rules of.
    ///
    /// The queues of a service take its selectors in turn. So a service with fewer selectors than
    /// queues leaves some queues without packets, which is warned of.
    pub fn aims<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Aim<'a>> {
        let mut turns = vec![0; self.services.len()];
        self.selectors(name).filter_map(move |(service, selector)| {
            let mut own = (self.ports.iter())
                .filter(|port| port.interface == name && port.services.contains(&service));
            let count = own.clone().count();
            let queue = own.nth(turns[service] % count.max(1))?.queue;
            turns[service] += 1;
            Some(Aim { service, selector, queue })
        })
    }

    /// The queues of the interface named `name` that are taken.
    pub fn taken(&self, name: &str) -> Vec<u32> {
        let own = self.ports.iter().filter(|port| port.interface == name);
        own.map(|port| port.queue).collect()
    }

    /// Checks that each service is of a kind that the program has.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Mistakes`] with the services that are not.
    pub fn check_kinds(&self, known: &[&str]) -> Result<(), ConfigError> {
        let mut reader = Reader::new(self.source.clone());
        for service in self.services.iter().filter(|it| !known.contains(&it.kind.as_str())) {
            let hint = nearest::hint(&service.kind, known);
            let found = format!("the unknown kind {:?}{hint}", service.kind);
            reader.mistake(&service.kind_at, found, known.join(", "));
        }
        reader.finish().map(drop)
    }
}

/// The tree of a TOML file.
fn document(source: &Source) -> Result<Spanned<DeTable<'_>>, ConfigError> {
    DeTable::parse(source.text()).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        let (found, allowed) = message.split_once(", expected ").unwrap_or((message, "valid TOML"));
        let key = source.key_near(span.start);
        let remark = Remark::new(source, &span, Severity::Mistake, key, found, allowed);
        ConfigError::Mistakes(vec![remark])
    })
}

/// The parts of a config, which stand only if `reader` has no mistakes.
fn read(
    reader: &mut Reader,
    document: &DeTable<'_>,
    machine: &Machine,
) -> (Runtime, Vec<Interface>, Vec<Service>, Vec<Port>) {
    let top = Place { path: String::new(), span: 0..0 };
    let top = Section::open(reader, top, document, TOP_KEYS);
    let mut runtime = runtime_of(reader, &top);

    let sections = tables(reader, &top, "interface", interface::KEYS);
    let declared = sections.len();
    let interfaces: Vec<(Section<'_>, Interface)> = (sections.into_iter())
        .filter_map(|section| interface::read(reader, &section).map(|it| (section, it)))
        .collect();
    let named = interfaces.iter().map(|(section, it)| (it.name.as_str(), section.place_of("name")));
    check::names(reader, "interface", named);

    let mut written: Vec<Written<'_>> = Vec::new();
    for (index, section) in tables(reader, &top, "service", service::KEYS).into_iter().enumerate() {
        written.push(service::read(reader, section, index));
    }
    if written.is_empty() && top.field("service").is_none() {
        reader.mistake(&top.place_of("service"), "no service", "at least one [[service]]");
    }
    let named = (written.iter())
        .filter_map(|it| it.name.as_deref().map(|name| (name, it.section.place_of("name"))));
    check::names(reader, "service", named);

    let plain: Vec<Interface> = interfaces.iter().map(|(_, interface)| interface.clone()).collect();
    let all_known = plain.len() == declared;
    placement::open_interfaces(reader, &plain, all_known, &mut written);
    check::held_frames(reader, &plain, &mut written);
    check::shadows(reader, &check::selectors(&written));
    check::aims(reader, &plain, &written);
    let (ports, services) = placement::place(reader, machine, &mut runtime, &plain, written);
    check::idle_queues(reader, &interfaces, &ports);
    (runtime, plain, services, ports)
}

fn runtime_of(reader: &mut Reader, top: &Section<'_>) -> Runtime {
    let section = (top.field("runtime"))
        .and_then(|field| field.section(reader, runtime::KEYS, "a table, written [runtime]"));
    match section {
        Some(section) => runtime::read(reader, &section),
        None => {
            let nothing = DeTable::default();
            let section = Section::open(reader, top.place_of("runtime"), &nothing, runtime::KEYS);
            runtime::read(reader, &section)
        }
    }
}

/// The tables of the list `key`.
fn tables<'a>(
    reader: &mut Reader,
    top: &Section<'a>,
    key: &str,
    keys: &'static [&'static str],
) -> Vec<Section<'a>> {
    let Some(field) = top.field(key) else { return Vec::new() };
    let allowed = format!("tables, each written [[{key}]]");
    let items = field.items(reader, &allowed).unwrap_or_default();
    items.into_iter().filter_map(|item| item.section(reader, keys, &allowed)).collect()
}
