//! The `[[interface]]` tables: which queues are taken, and with how much memory.

use toml::de::DeValue;

use crate::reader::{Read, Reader, Section, Wrong};
use crate::value::{Numbers, integer, text, words};

/// Keys of the table.
pub(crate) const KEYS: &[&str] = &[
    "name",
    "queues",
    "steering",
    "xdp",
    "copy",
    "multi_buffer",
    "umem",
    "ring_entries",
    "fill_frames",
];

/// Keys of `umem`.
pub(crate) const UMEM_KEYS: &[&str] = &["frames", "chunk_octets", "pages"];

/// One network interface, of whose queues some are taken.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Name in this network namespace.
    pub name: String,
    /// Queues that may be taken; never empty, each once.
    pub queues: Vec<u32>,
    /// Who decides which packets come to the taken queues.
    pub steering: Steering,
    /// Where the XDP program runs.
    pub xdp: XdpMode,
    /// Whether the network card reaches UMEM itself.
    pub copy: CopyMode,
    /// Whether a packet may lie in several chunks.
    pub multi_buffer: MultiBuffer,
    /// Memory of each queue.
    pub umem: Umem,
    /// Entries of each of the four rings of a queue, a power of two.
    pub ring_entries: u32,
    /// Frames that are kept ready for the kernel to receive into.
    pub fill_frames: u32,
}

/// The memory of one queue.
#[derive(Clone, Copy, Debug)]
pub struct Umem {
    /// Chunks, each for one frame.
    pub frames: u32,
    /// Octets of a chunk, 2048 or 4096; `None` for what driver and MTU of the interface need.
    pub chunk_octets: Option<u32>,
    /// Kind of memory pages.
    pub pages: Pages,
}

words! {
    /// Who decides which packets come to the taken queues.
    pub enum Steering {
        /// The network card as it is set; nothing is changed on it.
        Xdp = "xdp",
        /// Its RSS table is made to name none of them.
        Rss = "rss",
        /// It gets a flow rule for each selector, and the same as `Rss` where it can.
        Ntuple = "ntuple",
    }
}

words! {
    /// Where the XDP program runs.
    pub enum XdpMode {
        /// In the driver if it can, else in the stack.
        Auto = "auto",
        /// In the driver.
        Native = "native",
        /// In the stack, for any interface; slower.
        Generic = "generic",
    }
}

words! {
    /// Whether the network card reaches UMEM itself.
    pub enum CopyMode {
        /// Zero-copy if the driver can, else copies.
        Auto = "auto",
        /// The kernel copies each frame.
        Copy = "copy",
        /// The network card reads and writes UMEM.
        ZeroCopy = "zero-copy",
    }
}

words! {
    /// Whether a packet may lie in several chunks.
    pub enum MultiBuffer {
        /// It may where the MTU is longer than a chunk holds, if that can be had.
        Auto = "auto",
        /// It may; it is an error if that cannot be had.
        On = "on",
        /// It may not: what no chunk holds is lost.
        Off = "off",
    }
}

words! {
    /// Kind of memory pages.
    pub enum Pages {
        /// Huge pages if there are enough, else ordinary ones.
        Auto = "auto",
        /// Ordinary pages.
        Ordinary = "ordinary",
        /// Huge pages; it is an error if there are too few.
        Huge = "huge",
    }
}

/// A name that the kernel accepts for an interface, `dev_valid_name` of `net/core/dev.c`.
struct LinkName(String);

impl Read for LinkName {
    const ALLOWED: &'static str = "a name of an interface: 1 to 15 octets, no space, / or :";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text(value).ok_or_else(Wrong::kind)?;
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
        if (1..=15).contains(&text.len()) && text != "." && text != ".." && !text.contains(bad) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Wrong::new(format!("{text:?}"), Self::ALLOWED))
        }
    }
}

/// A size of chunk, or that the driver decides.
struct Chunk(Option<u32>);

impl Read for Chunk {
    const ALLOWED: &'static str = "\"auto\", 2048 or 4096";

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match (text(value), integer(value)) {
            (Some("auto"), _) => Ok(Self(None)),
            (_, Some(2048)) => Ok(Self(Some(2048))),
            (_, Some(4096)) => Ok(Self(Some(4096))),
            _ => Err(Wrong::kind()),
        }
    }
}

/// Frames by default: rings of [`RING_ENTRIES`] twice over, and as much again to hold.
const FRAMES: u32 = 8192;

/// Entries by default: at a million packets a second, a shard may be away for 2 ms before the
/// ring overflows. Fewer lose packets whenever the CPU does something else; more only spread the
/// frames over more cache.
const RING_ENTRIES: u32 = 2048;

/// Reads one table. `None` where not even its name can be read.
pub(crate) fn read(reader: &mut Reader, section: &Section<'_>) -> Option<Interface> {
    let name = section.require(reader, "name").map(|LinkName(name)| name);
    let queues = section.read(reader, "queues").map_or_else(|| vec![0], |Numbers(queues)| queues);
    let ring_entries = section.number(reader, "ring_entries", 64..=262_144, RING_ENTRIES);
    if !ring_entries.is_power_of_two() {
        let (below, above) = (1 << ring_entries.ilog2(), ring_entries.next_power_of_two());
        let allowed = format!("a power of two, such as {below} or {above}");
        reader.mistake(&section.place_of("ring_entries"), ring_entries, allowed);
    }
    let fill_frames = section.number(reader, "fill_frames", 1..=262_144, ring_entries);
    if fill_frames > ring_entries {
        let found = format!("{fill_frames}, more than the ring has entries");
        let allowed = format!("at most ring_entries, which is {ring_entries}");
        reader.mistake(&section.place_of("fill_frames"), found, allowed);
    }
    let umem = umem(reader, section, fill_frames, ring_entries);
    Some(Interface {
        name: name?,
        queues,
        steering: section.read(reader, "steering").unwrap_or(Steering::Xdp),
        xdp: section.read(reader, "xdp").unwrap_or(XdpMode::Auto),
        copy: section.read(reader, "copy").unwrap_or(CopyMode::Auto),
        multi_buffer: section.read(reader, "multi_buffer").unwrap_or(MultiBuffer::Auto),
        umem,
        ring_entries,
        fill_frames,
    })
}

fn umem(reader: &mut Reader, section: &Section<'_>, fill_frames: u32, ring_entries: u32) -> Umem {
    // Fewer, and a full TX ring leaves the kernel nothing to receive into.
    let least = fill_frames.saturating_add(ring_entries);
    let default = Umem { frames: FRAMES.max(least), chunk_octets: None, pages: Pages::Auto };
    let Some(field) = section.field("umem") else { return default };
    let allowed = "a table such as { frames = 8192, chunk_octets = 4096, pages = \"auto\" }";
    let Some(umem) = field.section(reader, UMEM_KEYS, allowed) else { return default };
    let chunk_octets = umem.read(reader, "chunk_octets").and_then(|Chunk(octets)| octets);
    let frames = umem.number(reader, "frames", 1..=MAX_FRAMES, default.frames);
    if frames < least {
        let found = format!("{frames} frames, too few for the rings");
        let allowed = format!(
            "at least {least}: fill_frames ({fill_frames}) and a full TX ring ({ring_entries})"
        );
        reader.mistake(&umem.place_of("frames"), found, allowed);
    }
    Umem { frames, chunk_octets, pages: umem.read(reader, "pages").unwrap_or(default.pages) }
}

/// Most frames of a queue: 4 GiB of 4096 octets. More is a slip of the keyboard.
const MAX_FRAMES: u32 = 1 << 20;
