//! What no single key shows: names given twice, memory that does not suffice, selectors that
//! can never match.

use std::collections::HashMap;

use crate::interface::{Interface, Steering};
use crate::placement::Port;
use crate::reader::{Place, Reader, Section};
use crate::selector::{Fragments, Selector};
use crate::service::{Service, Written};

/// Most selectors of one interface: the steering program scans them in order for each packet.
pub(crate) const SELECTORS_MAX: usize = 64;

/// Notes every name that two of `named` have. `what` says of what it is the name.
pub(crate) fn names<'a>(
    reader: &mut Reader,
    what: &str,
    named: impl Iterator<Item = (&'a str, Place)>,
) {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    for (name, place) in named {
        match seen.get(name) {
            Some(first) => {
                let line = reader.source().position(&first.span).line;
                let found = format!("{name:?}, the name of the {what} of line {line} too");
                let allowed = format!("a name that no other {what} has");
                reader.mistake(&place, found, allowed);
            }
            None => drop(seen.insert(name, place)),
        }
    }
}

/// Notes services that may hold more frames than there are. What nobody wrote is no mistake of
/// theirs: the default is lowered to what there is.
pub(crate) fn held_frames(
    reader: &mut Reader,
    interfaces: &[Interface],
    written: &mut [Written<'_>],
) {
    for service in written {
        let of = |interface: &&Interface| service.interfaces().any(|own| own == interface.name);
        // All may be of one of its interfaces.
        let least = interfaces.iter().filter(of).min_by_key(|it| spare_frames(it));
        let Some(interface) = least else { continue };
        let (held, at) = (service.held_frames_max, service.section.place_of("held_frames_max"));
        let (frames, spare) = (interface.umem.frames, spare_frames(interface));
        if service.section.field("held_frames_max").is_none() {
            service.held_frames_max = held.min(spare.max(1));
            continue;
        }
        if held > frames {
            let found = format!("{held} frames, while a queue of {} has {frames}", interface.name);
            reader.mistake(&at, found, format!("at most {spare}, what fill_frames leaves"));
        } else if held > spare {
            let found = format!("{held} of the {frames} frames of a queue of {}", interface.name);
            let advice = format!(
                "at most {spare}, or more umem.frames: a service that holds them all leaves \
                 the kernel fewer than fill_frames to receive into"
            );
            reader.warn(&at, found, advice);
        }
    }
}

/// Frames of a queue that the kernel does not receive into.
fn spare_frames(interface: &Interface) -> u32 {
    let frames = interface.umem.frames;
    frames - interface.fill_frames.min(frames)
}

/// A selector with the interface it is for.
pub(crate) type Placed = (Place, Selector, String);

/// The selectors of all services, in the order in which they are asked.
pub(crate) fn selectors(written: &[Written<'_>]) -> Vec<Placed> {
    let of = |service: &Written<'_>| {
        // Where the file has no interface, that is told elsewhere.
        let interfaces = service.interfaces().chain(service.interface.is_none().then_some(""));
        let of = |interface: &str| -> Vec<Placed> {
            let with =
                |(at, it): &(Place, Selector)| (at.clone(), it.clone(), interface.to_owned());
            service.selectors.iter().map(with).collect()
        };
        interfaces.flat_map(of).collect::<Vec<_>>()
    };
    written.iter().flat_map(of).collect()
}

/// Notes where what a service derives has no place.
pub(crate) fn derived(reader: &mut Reader, interfaces: &[Interface], service: &Service) {
    if service.derived.is_empty() {
        return;
    }
    let of = |it: &&Interface| {
        it.steering == Steering::Ntuple && service.interfaces().any(|own| own == it.name)
    };
    for Interface { name, .. } in interfaces.iter().filter(of) {
        let (count, queues) = (service.derived.len(), service.queues.len());
        spare_queues(reader, &service.options_at, name, count, queues);
    }
    if let Some(at) = service.selectors_at.first() {
        let found = "selectors, while the options say by themselves which packets come";
        reader.mistake(at, found, "either of the two");
    }
    if service.interface.is_none() {
        let found = "options that say which packets come, while the file has no [[interface]]";
        reader.mistake(&service.options_at, found, "an [[interface]] that they come on");
    }
}

/// Notes selectors over the limit, and warns of those that an earlier one covers entirely.
pub(crate) fn shadows(reader: &mut Reader, selectors: &[Placed]) {
    for (index, (at, selector, interface)) in selectors.iter().enumerate() {
        let earlier: Vec<&Placed> =
            selectors[..index].iter().filter(|(_, _, other)| other == interface).collect();
        if earlier.len() == SELECTORS_MAX {
            let found = format!("selector {} of interface {interface}", SELECTORS_MAX + 1);
            reader.mistake(at, found, format!("at most {SELECTORS_MAX} of each interface"));
        }
        if let Some((first, ..)) = earlier.iter().find(|(_, other, _)| other.covers(selector)) {
            let line = reader.source().position(&first.span).line;
            let found = format!(
                "a selector that never matches: {} (line {line}) takes all of its packets first",
                first.path
            );
            reader.warn(at, found, "put the narrower selector first, or leave it out");
        }
    }
}

/// Warns of what flow rules cannot do for a service: give one selector's packets to several queues,
/// or see the ports of a later fragment.
pub(crate) fn aims(reader: &mut Reader, interfaces: &[Interface], written: &[Written<'_>]) {
    for service in written {
        let of = |interface: &&Interface| {
            interface.steering == Steering::Ntuple
                && service.interfaces().any(|own| own == interface.name)
        };
        for Interface { name, .. } in interfaces.iter().filter(of) {
            let queues = service.queues.as_ref().map_or(0, Vec::len);
            let at = service.section.place_of("selectors");
            spare_queues(reader, &at, name, service.selectors.len(), queues);
            later_fragments(reader, service, name);
        }
    }
}

fn later_fragments(reader: &mut Reader, service: &Written<'_>, name: &str) {
    for (at, selector) in &service.selectors {
        if selector.ports.is_some() && selector.fragments == Fragments::Take {
            let found = format!(
                "ports with fragments = \"take\", while steering = \"ntuple\" of {name} \
                 cannot see the ports of a later fragment"
            );
            let advice = "no ports, so that fragments come as well; else later ones stay with \
                          the kernel, on its own queues";
            reader.warn(at, found, advice);
        }
    }
}

/// Warns of queues to which no flow rule leads.
fn spare_queues(reader: &mut Reader, at: &Place, name: &str, count: usize, queues: usize) {
    if !(1..queues).contains(&count) {
        return;
    }
    let selectors = if count == 1 { "1 selector" } else { &format!("{count} selectors") };
    let found = format!(
        "{selectors} for {queues} queues, while steering = \"ntuple\" of {name} sends all packets \
         of a selector to one queue"
    );
    let advice = "fewer queues, or as many selectors, such as the halves of a network; else some \
                  queues get nothing";
    reader.warn(at, found, advice);
}

/// Warns of queues that were taken and that nothing works on.
pub(crate) fn idle_queues(
    reader: &mut Reader,
    interfaces: &[(Section<'_>, Interface)],
    ports: &[Port],
) {
    for (section, interface) in interfaces {
        let used = |queue: &&u32| {
            ports.iter().any(|port| port.interface == interface.name && port.queue == **queue)
        };
        let idle: Vec<&u32> = interface.queues.iter().filter(|queue| !used(queue)).collect();
        if idle.is_empty() {
            continue;
        }
        let found = format!("queues {idle:?} of {}, which no service uses", interface.name);
        let advice = "leave them out; their packets stay with the kernel either way";
        reader.warn(&section.place_of("queues"), found, advice);
    }
}
