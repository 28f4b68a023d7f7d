//! Where a medium is sent to, and from where it may come.

use std::net::IpAddr;

use sdp_types::{
    AddrType, ConnectionAddressError, NetType, SourceFilter, SourceFilterAddress,
    SourceFilterDestination, SourceFilterMode,
};

use crate::stream::sdp::finding::{Code, Findings, quoted};
use crate::stream::sdp::session::Leg;
use crate::stream::sdp::text::{Attribute, Fields, Section};

/// The destinations of a section with their sources, and the line of the first. `None` where
/// there is none that could be received.
pub(super) fn legs(
    section: &Section,
    top: &Section,
    out: &mut Findings,
) -> (Option<Vec<Leg>>, usize) {
    // RFC 8866, 5.7: a medium's own lines stand instead of the session's.
    let own = if section.connections.is_empty() { &top.connections } else { &section.connections };
    let Some((first, _)) = own.first() else {
        let text = "no c=, neither here nor for the session: where is it sent to?";
        out.add(section.line, Code::ConnectionMissing, text, "c=IN IP4 <group>/<ttl>");
        return (None, section.line);
    };
    let destinations: Option<Vec<Leg>> =
        own.iter().map(|(line, connection)| destination(*line, connection, out)).collect();
    let Some(mut legs) = destinations else { return (None, *first) };
    let is_sound = filters(section, top, &mut legs, out);
    let any_source = |leg: &Leg| leg.destination.is_multicast() && leg.sources.is_empty();
    if is_sound && legs.iter().any(any_source) {
        let text = "a group without its source: anybody may send to it";
        let remedy = "a=source-filter: incl IN IP4 <group> <source>";
        out.add(*first, Code::FilterMissing, text, remedy);
    }
    (is_sound.then_some(legs), *first)
}

fn destination(line: usize, connection: &sdp_types::Connection, out: &mut Findings) -> Option<Leg> {
    let written = quoted(&connection.connection_address);
    let remedy = "c=IN IP4 <group>/<ttl>, c=IN IP6 <group>, or a receiver's address";
    if connection.nettype != NetType::In || matches!(connection.addrtype, AddrType::Other(_)) {
        let text = format!("c= of another network than the internet: {written}");
        out.add(line, Code::Address, text, remedy);
        return None;
    }
    let address = match connection.try_address() {
        Ok(address) => address,
        Err(error) => {
            let text = match error {
                ConnectionAddressError::InvalidAddress(_) => format!("{written} is no IP address"),
                ConnectionAddressError::InvalidTtl(_) => {
                    format!("{written} has a TTL that is none (0 to 255)")
                }
                ConnectionAddressError::InvalidCount(_) => {
                    format!("{written} has a count of groups that is none")
                }
            };
            out.add(line, Code::Address, text, remedy);
            return None;
        }
    };
    if address.ip.is_ipv4() != (connection.addrtype == AddrType::Ip4) {
        let text = format!("{written} is not an address of {}", connection.addrtype.as_str());
        let right = if address.ip.is_ipv4() { "IP4" } else { "IP6" };
        out.add(line, Code::AddressFamily, text, format!("c=IN {right} {}", address.ip));
        return None;
    }
    if address.count.is_some_and(|count| count != 1) {
        let text = format!("{written}: several groups, of which only the first is received");
        out.add(line, Code::AddressCount, text, "a c= for each group; IPv6 has no TTL here");
    }
    let ttl = match (address.ip, address.ttl) {
        (IpAddr::V4(group), None) if group.is_multicast() => {
            let text = format!("the IPv4 group {group} without a TTL");
            out.add(line, Code::TtlMissing, text, format!("c=IN IP4 {group}/64"));
            None
        }
        (ip, Some(_)) if !ip.is_multicast() => {
            let text = format!("a TTL of {ip}, which is no group");
            out.add(line, Code::TtlUnicast, text, format!("c=IN IP4 {ip}"));
            None
        }
        (_, ttl) => ttl,
    };
    Some(Leg { destination: address.ip, ttl, sources: Vec::new() })
}

/// Adds the sources that the filters allow. Whether the filters could all be followed.
fn filters(section: &Section, top: &Section, legs: &mut [Leg], out: &mut Findings) -> bool {
    // RFC 4570, 3.1: a medium's own filters stand instead of the session's.
    let own: Vec<_> = section.all("source-filter").collect();
    let (is_own, filters) =
        if own.is_empty() { (false, top.all("source-filter").collect()) } else { (true, own) };
    let mut is_sound = true;
    for attribute in filters {
        is_sound &= match read(attribute, out) {
            Read::Broken => false,
            Read::LeftOut => true,
            Read::Filter { destination, sources } => {
                apply(attribute.line, destination, &sources, is_own, legs, out)
            }
        };
    }
    is_sound
}

/// What a filter says.
enum Read {
    /// Nothing that can be followed.
    Broken,
    /// Nothing that is wanted.
    LeftOut,
    /// Sources for a destination, or for all.
    Filter { destination: Option<IpAddr>, sources: Vec<IpAddr> },
}

fn read(attribute: &Attribute, out: &mut Findings) -> Read {
    let line = attribute.line;
    let Ok(filter) = attribute.parse::<SourceFilter>() else {
        let text = format!("source-filter of {}", quoted(&attribute.value));
        let remedy = "a=source-filter: incl IN IP4 <destination> <source>";
        out.add(line, Code::FilterSyntax, text, remedy);
        return Read::Broken;
    };
    if filter.mode == SourceFilterMode::Excl {
        let text = "sources that are not wanted are received all the same";
        out.add(line, Code::FilterExclude, text, "incl, with the sources that are wanted");
        return Read::LeftOut;
    }
    let mut names = Vec::new();
    let destination = match filter.destination {
        SourceFilterDestination::Wildcard => None,
        SourceFilterDestination::Address(SourceFilterAddress::IpAddr(address)) => Some(address),
        SourceFilterDestination::Address(SourceFilterAddress::FQDN(name)) => {
            names.push(name);
            None
        }
    };
    let mut sources = Vec::new();
    for source in filter.sources {
        match source {
            SourceFilterAddress::IpAddr(address) if sources.contains(&address) => {}
            SourceFilterAddress::IpAddr(address) => sources.push(address),
            SourceFilterAddress::FQDN(name) => names.push(name),
        }
    }
    if let Some(name) = names.first() {
        let text = format!("source-filter with the name {}: packets have addresses", quoted(name));
        out.add(line, Code::FilterName, text, "the address in its place");
        return Read::Broken;
    }
    Read::Filter { destination, sources }
}

fn apply(
    line: usize,
    destination: Option<IpAddr>,
    sources: &[IpAddr],
    is_own: bool,
    legs: &mut [Leg],
    out: &mut Findings,
) -> bool {
    let wanted = |leg: &Leg| destination.is_none_or(|address| address == leg.destination);
    if let Some(address) = destination
        && is_own
        && !legs.iter().any(wanted)
    {
        let found: Vec<_> = legs.iter().map(|leg| leg.destination.to_string()).collect();
        let text = format!("source-filter for {address}, while c= says {}", found.join(" and "));
        out.add(line, Code::FilterDestination, text, format!("the destination {}", found[0]));
        return false;
    }
    for leg in legs.iter_mut().filter(|leg| wanted(leg)) {
        let family = |source: &&IpAddr| source.is_ipv4() != leg.destination.is_ipv4();
        if let Some(source) = sources.iter().find(family) {
            let text = format!("the source {source} cannot send to {}", leg.destination);
            out.add(line, Code::FilterFamily, text, "two addresses of the same kind of IP");
            return false;
        }
        for source in sources {
            if !leg.sources.contains(source) {
                leg.sources.push(*source);
            }
        }
    }
    true
}

/// Notes filters of the session whose destination no medium has.
pub(in crate::stream::sdp) fn session_filters(fields: &Fields, out: &mut Findings) {
    let sections = fields.media.iter().chain([&fields.top]);
    let known: Vec<IpAddr> = sections
        .flat_map(|section| &section.connections)
        .filter_map(|(_, connection)| connection.try_address().ok())
        .map(|address| address.ip)
        .collect();
    for attribute in fields.top.all("source-filter") {
        let Ok(filter) = attribute.parse::<SourceFilter>() else { continue };
        if let SourceFilterDestination::Address(SourceFilterAddress::IpAddr(address)) =
            filter.destination
            && !known.contains(&address)
        {
            let text = format!("source-filter for {address}, which no c= has");
            let remedy = "the destination of a c=, or * for all";
            out.add(attribute.line, Code::FilterDestination, text, remedy);
        }
    }
}
