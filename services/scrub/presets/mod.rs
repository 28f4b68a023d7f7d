//! The shipped rules: what is known of floods, in the language of the operator.
//!
//! Each file is one preset; `preset dns` in a rule file includes one, `presets` all of them, in the
//! order of [`SHIPPED`]. docs/presets.md has a row for each, with what it lets live and why.
//!
//! They match by shape and not by port alone: what an answer looks like, how long it is, and that
//! nobody asked for it. Who is `known` is never touched by a rule about reflections, and requests to a
//! server never look like answers. The last of them, `surge` and `rates`, need no shape.

use super::rules::Preset;

/// Name and text of each preset, in the order in which `presets` includes them.
pub(crate) const SHIPPED: &[Preset] = &[
    shipped("anomalies", include_str!("anomalies.rules")),
    shipped("tcp", include_str!("tcp.rules")),
    shipped("dns", include_str!("dns.rules")),
    shipped("ntp", include_str!("ntp.rules")),
    shipped("snmp", include_str!("snmp.rules")),
    shipped("memcached", include_str!("memcached.rules")),
    shipped("cldap", include_str!("cldap.rules")),
    shipped("discovery", include_str!("discovery.rules")),
    shipped("things", include_str!("things.rules")),
    shipped("old", include_str!("old.rules")),
    shipped("games", include_str!("games.rules")),
    shipped("handshakes", include_str!("handshakes.rules")),
    shipped("icmp", include_str!("icmp.rules")),
    shipped("surge", include_str!("surge.rules")),
    shipped("rates", include_str!("rates.rules")),
];

const fn shipped(name: &'static str, text: &'static str) -> Preset {
    Preset { name, text }
}

#[cfg(test)]
mod tests;
