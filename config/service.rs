//! The `[[service]]` tables: what runs, on which queues, for which packets.

use toml::de::DeValue;

use crate::options::Options;
use crate::reader::{Place, Reader, Section, describe};
use crate::selector::{self, Selector};
use crate::value::{Name, Names, Numbers};

/// Keys of the table.
pub(crate) const KEYS: &[&str] =
    &["name", "kind", "interface", "queues", "cores", "selectors", "held_frames_max", "options"];

/// One service. An instance of it runs on each of its shards.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, unlike any other service's.
    pub name: String,
    /// Which of the registered services it is.
    pub kind: String,
    /// The interface it works on, the first if there are several; `None` where the file has none.
    pub interface: Option<String>,
    /// The other interfaces that it works on.
    pub further: Vec<String>,
    /// Queues that it works on, of each of its interfaces.
    pub queues: Vec<u32>,
    /// Shards that run it.
    pub cores: Vec<u32>,
    /// Which packets come to it, as the file says; none for a service that only sends.
    pub selectors: Vec<Selector>,
    /// The same, as its own options say: see [`crate::Config::with_derived`]. A service has one or
    /// the other.
    pub derived: Vec<Selector>,
    /// Frames that one instance may hold without having settled them.
    pub held_frames_max: u32,
    /// Its own options.
    pub options: Options,
    /// Where the kind stands, for [`crate::Config::check_kinds`].
    pub(crate) kind_at: Place,
    /// Where each of the selectors stands.
    pub(crate) selectors_at: Vec<Place>,
    /// Where the options stand, from which others are derived.
    pub(crate) options_at: Place,
}

impl Service {
    /// The interfaces that it works on.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.interface.iter().chain(&self.further).map(String::as_str)
    }

    /// Which packets come to it, each selector with its place.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&Place, &Selector)> {
        let derived = self.derived.iter().map(|it| (&self.options_at, it));
        self.selectors_at.iter().zip(&self.selectors).chain(derived)
    }
}

/// A service as written: what the file leaves open is still open.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) section: Section<'a>,
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) interface: Option<String>,
    pub(crate) further: Vec<String>,
    pub(crate) queues: Option<Vec<u32>>,
    pub(crate) cores: Option<Vec<u32>>,
    pub(crate) selectors: Vec<(Place, Selector)>,
    pub(crate) held_frames_max: u32,
    pub(crate) options: Options,
}

/// Frames held by default, where there are as many: 16 bursts of 64. A service that needs more
/// knows it and says so.
const HELD_FRAMES_MAX: u32 = 1024;

/// Reads one table.
pub(crate) fn read<'a>(reader: &mut Reader, section: Section<'a>, index: usize) -> Written<'a> {
    let selectors = (section.field("selectors"))
        .and_then(|field| field.items(reader, "a list of tables, one for each selector"))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|field| selector::read(reader, &field).map(|it| (field.at, it)))
        .collect();
    let mut interfaces =
        section.read(reader, "interface").map(|Names(it)| it).into_iter().flatten();
    Written {
        name: section.require(reader, "name").map(|Name(name)| name),
        kind: section.require(reader, "kind").map(|Name(kind)| kind),
        interface: interfaces.next(),
        further: interfaces.collect(),
        queues: section.read(reader, "queues").map(|Numbers(queues)| queues),
        cores: section.read(reader, "cores").map(|Numbers(cores)| cores),
        selectors,
        held_frames_max: section.number(reader, "held_frames_max", 1..=1 << 20, HELD_FRAMES_MAX),
        options: options(reader, &section, index),
        section,
    }
}

/// Checks only that the options are a table; the rest is the service's.
fn options(reader: &mut Reader, section: &Section<'_>, index: usize) -> Options {
    if let Some(field) = section.field("options")
        && !matches!(field.value, DeValue::Table(_))
    {
        reader.mistake(&field.at, describe(field.value), "a table, written [service.options]");
    }
    Options::of_service(reader.source().clone(), index)
}

impl Written<'_> {
    /// The interfaces that it works on.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.interface.iter().chain(&self.further).map(String::as_str)
    }

    /// Whether it works on `queue` of `interface`.
    pub(crate) fn works_on(&self, interface: &str, queue: u32) -> bool {
        let queues = self.queues.as_ref();
        self.interfaces().any(|own| own == interface)
            && queues.is_some_and(|queues| queues.contains(&queue))
    }

    /// As the program sees it, with what was left open filled in. `None` where something that is
    /// required was not there, which has been noted.
    pub(crate) fn finish(self, cores: Vec<u32>) -> Option<Service> {
        let (selectors_at, selectors) = self.selectors.into_iter().unzip();
        Some(Service {
            name: self.name?,
            kind_at: self.section.place_of("kind"),
            kind: self.kind?,
            interface: self.interface,
            further: self.further,
            queues: self.queues.unwrap_or_default(),
            cores,
            selectors,
            derived: Vec::new(),
            selectors_at,
            options_at: self.section.place_of("options"),
            held_frames_max: self.held_frames_max,
            options: self.options,
        })
    }
}
