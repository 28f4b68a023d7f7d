//! The configs that programs of the guest run with.

use tidegate::lab::{End, Wire};

use super::traffic::PORT;

/// The keys of an interface with rings that do not overflow while a software CPU is away for half
/// a second, and `more` keys.
pub(crate) fn interface(end: &End, more: &str) -> String {
    interface_of(end, 16_384, 4096, more)
}

/// The same with rings of so many entries, and so many frames for each queue.
pub(crate) fn interface_of(end: &End, frames: u32, entries: u32, more: &str) -> String {
    format!(
        "[[interface]]\nname = \"{}\"\numem = {{ frames = {frames} }}\n\
         ring_entries = {entries}\n{more}\n",
        end.name
    )
}

/// A scrubber of [`PORT`], with `more` keys, which ends what has a source of the flood's and passes
/// the rest.
pub(crate) fn shield(wire: &Wire, more: &str) -> String {
    let to = wire.near.ipv4;
    format!(
        r#"
[[service]]
name = "shield"
kind = "scrub"
selectors = [{{ destination = "{to}", protocol = "udp", ports = {PORT} }}]
{more}
[service.options]
rules = "spoofed: drop when ip.src in {{ 198.19.0.0/16 }}"
"#
    )
}

/// Small, since every packet of it costs a software CPU.
const FORMAT: &str = "width = 320\nheight = 180\nrate = \"25\"\ndepth = 10\n";

/// A sender of video from the near end to the far one, with `more` options.
pub(crate) fn camera(wire: &Wire, more: &str) -> String {
    let (from, to) = (wire.near.ipv4, wire.far.ipv4);
    format!(
        r#"
[[service]]
name = "camera"
kind = "stream-send"
[service.options]
destination = "{to}:20000"
source_address = "{from}:20000"
{FORMAT}{more}
"#
    )
}

/// The receiver of such video, which compares every bit.
pub(crate) fn monitor(wire: &Wire) -> String {
    let to = wire.far.ipv4;
    format!(
        r#"
[[service]]
name = "monitor"
kind = "stream-receive"
selectors = [{{ destination = "{to}", protocol = "udp", ports = 20000 }}]
[service.options]
port = 20000
sink = "verify"
{FORMAT}"#
    )
}
