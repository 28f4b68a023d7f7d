//! Which shard owns which queue, and so which shard runs which service.
//!
//! A queue has one socket, and a socket one owner. So the placement is about *ports*, pairs of
//! interface and queue, and a service runs wherever its ports are:
//!
//! ```text
//!     [[service]] queues = [0, 1, 2]        queue 0 ─► shard 0      the service runs
//!                 cores  = [0, 1]           queue 1 ─► shard 1      on shards 0 and 1
//!                                           queue 2 ─► shard 0
//! ```
//!
//! Ports that no service's `cores` places go to the shards in turn. Two services may share a
//! port, its packets told apart by their selectors; then they share its shard too. A service on
//! several interfaces has the queues of one number together, on one shard: there it is one service
//! that sees all of them.

use crate::interface::Interface;
use crate::reader::Reader;
use crate::runtime::{Machine, Runtime};
use crate::selector::Selector;
use crate::service::{Service, Written};

/// One queue of one interface, with the shard that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name of the interface.
    pub interface: String,
    /// Queue of the interface.
    pub queue: u32,
    /// Shard that owns its socket.
    pub shard: u32,
    /// Services that work on it, as indices into [`crate::Config::services`].
    pub services: Vec<usize>,
}

/// A selector with the queue on which its packets are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    /// Its service, as an index into [`crate::Config::services`].
    pub service: usize,
    /// The packets.
    pub selector: &'a Selector,
    /// The queue.
    pub queue: u32,
}

/// A port on the way: the shard once known, and the service that said so.
struct Draft {
    interface: String,
    queue: u32,
    shard: Option<(u32, usize)>,
    services: Vec<usize>,
}

/// Checks the interface and the queues that each service names, and fills in what it leaves open.
///
/// `all_known` is false where an interface could not be read: that has been said, and a service
/// that refers to it makes no second mistake.
pub(crate) fn open_interfaces(
    reader: &mut Reader,
    interfaces: &[Interface],
    all_known: bool,
    written: &mut [Written<'_>],
) {
    for service in written {
        let interface = interface_of(reader, interfaces, all_known, service);
        let further: Vec<&Interface> = (service.further.iter())
            .filter_map(|name| named(reader, interfaces, all_known, service, name))
            .collect();
        let all: Vec<&Interface> =
            interface.iter().copied().chain(further.iter().copied()).collect();
        let queues = match (service.queues.take(), interface) {
            (Some(mut queues), Some(_)) => {
                for interface in &all {
                    let foreign = |queue: &&u32| !interface.queues.contains(queue);
                    if let Some(queue) = queues.iter().find(foreign) {
                        let found =
                            format!("queue {queue}, which {} does not list", interface.name);
                        let allowed = format!("queues of {:?}", interface.queues);
                        reader.mistake(&service.section.place_of("queues"), found, allowed);
                    }
                    queues.retain(|queue| interface.queues.contains(queue));
                }
                queues
            }
            (None, Some(first)) => {
                let listed = |queue: &u32| all.iter().all(|it| it.queues.contains(queue));
                let queues: Vec<u32> = first.queues.iter().copied().filter(listed).collect();
                if queues.is_empty() {
                    let found = "interfaces that have no queue in common";
                    let allowed = "interfaces that list the same queues";
                    reader.mistake(&service.section.place_of("interface"), found, allowed);
                }
                queues
            }
            (_, None) => Vec::new(),
        };
        service.queues = Some(queues);
        service.interface = interface.map(|interface| interface.name.clone());
        service.further = further.iter().map(|interface| interface.name.clone()).collect();
    }
}

/// The interface called `name`, if there is one.
fn named<'i>(
    reader: &mut Reader,
    interfaces: &'i [Interface],
    all_known: bool,
    service: &Written<'_>,
    name: &str,
) -> Option<&'i Interface> {
    let known = interfaces.iter().find(|interface| interface.name == name);
    if known.is_none() && all_known {
        let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        let hint = crate::nearest::hint(name, &names);
        let found = format!("the unknown interface {name:?}{hint}");
        reader.mistake(&service.section.place_of("interface"), found, listed(&names));
    }
    known
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "none, as the file has no [[interface]]".to_owned(),
        names => names.join(", "),
    }
}

/// The interface that `service` names, or the only one.
fn interface_of<'i>(
    reader: &mut Reader,
    interfaces: &'i [Interface],
    all_known: bool,
    service: &Written<'_>,
) -> Option<&'i Interface> {
    if !all_known {
        return interfaces.iter().find(|it| service.interface.as_ref() == Some(&it.name));
    }
    let section = &service.section;
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    if let Some(name) = &service.interface {
        return named(reader, interfaces, all_known, service, name);
    }
    match interfaces {
        [] => {
            for key in ["selectors", "queues"] {
                if let Some(field) = section.field(key) {
                    let found = format!("{key}, while the file has no [[interface]]");
                    reader.mistake(&field.at, found, "an [[interface]] that they refer to");
                }
            }
            None
        }
        [only] => Some(only),
        _ => {
            let found = "nothing, while the file has several interfaces";
            reader.mistake(&section.place_of("interface"), found, listed(&names));
            None
        }
    }
}

/// Places all ports and completes `runtime` and the services.
pub(crate) fn place(
    reader: &mut Reader,
    machine: &Machine,
    runtime: &mut Runtime,
    interfaces: &[Interface],
    written: Vec<Written<'_>>,
) -> (Vec<Port>, Vec<Service>) {
    let mut drafts = drafts(interfaces, &written);
    runtime.shards = shards(runtime, machine, drafts.len(), &written);
    for index in 0..written.len() {
        place_named(reader, runtime.shards, &mut drafts, index, &written);
    }
    keep_together(reader, &mut drafts, &written);
    for (at, shard) in (0..drafts.len()).zip((0..runtime.shards).cycle()) {
        if drafts[at].shard.is_none() {
            drafts[at].shard = Some((shard, drafts[at].services[0]));
            keep_together(reader, &mut drafts, &written);
        }
    }
    let ports: Vec<Port> = drafts.into_iter().map(finish).collect();
    let mut services = Vec::new();
    for (index, service) in written.into_iter().enumerate() {
        let own = ports.iter().filter(|port| port.services.contains(&index));
        let mut cores: Vec<u32> = own.map(|port| port.shard).collect();
        if cores.is_empty() {
            cores = service.cores.clone().unwrap_or_else(|| vec![0]);
        }
        cores.sort_unstable();
        cores.dedup();
        services.extend(service.finish(cores));
    }
    (ports, services)
}

/// The port as placed.
fn finish(draft: Draft) -> Port {
    let Draft { interface, queue, shard, services } = draft;
    Port { interface, queue, services, shard: shard.map_or(0, |(shard, _)| shard) }
}

/// Puts the queues of one number that a service has on several interfaces on one shard, where one
/// of them has its shard.
fn keep_together(reader: &mut Reader, drafts: &mut [Draft], written: &[Written<'_>]) {
    // What one service moves may be another's as well: as often as there are services at most.
    for index in (0..written.len()).cycle().take(written.len() * written.len()) {
        let service = &written[index];
        if service.further.is_empty() {
            continue;
        }
        for &queue in service.queues.iter().flatten() {
            let own = |draft: &&mut Draft| draft.queue == queue && draft.services.contains(&index);
            let mut together: Vec<&mut Draft> = drafts.iter_mut().filter(own).collect();
            let Some(first) = together.iter().find_map(|draft| draft.shard) else { continue };
            for draft in &mut together {
                let (shard, other) = *draft.shard.get_or_insert(first);
                if shard != first.0 {
                    let name = |at: usize| written[at].name.as_deref().unwrap_or("another service");
                    let found = format!(
                        "queue {queue} of {} on shard {shard} by {}, and that of another of its \
                         interfaces on shard {} by {}",
                        draft.interface,
                        name(other),
                        first.0,
                        name(first.1),
                    );
                    let allowed = "one shard for the queues of one number of all its interfaces";
                    reader.mistake(&service.section.place_of("interface"), found, allowed);
                    draft.shard = Some(first);
                }
            }
        }
    }
}

/// All ports that some service works on, in the order of the file.
fn drafts(interfaces: &[Interface], written: &[Written<'_>]) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for interface in interfaces {
        for &queue in &interface.queues {
            let services: Vec<usize> = (0..written.len())
                .filter(|&index| written[index].works_on(&interface.name, queue))
                .collect();
            if !services.is_empty() {
                let interface = interface.name.clone();
                drafts.push(Draft { interface, queue, shard: None, services });
            }
        }
    }
    drafts
}

/// Shards as the file says, else as many as have something to do and a CPU to do it on.
fn shards(runtime: &Runtime, machine: &Machine, ports: usize, written: &[Written<'_>]) -> u32 {
    if runtime.shards > 0 {
        return runtime.shards;
    }
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let cpus = runtime.cpus.as_ref().map_or(machine.cpus, |cpus| count(cpus.len()));
    let named = written.iter().filter_map(|service| service.cores.as_ref()?.iter().max()).max();
    count(ports).max(named.map_or(0, |core| core + 1)).clamp(1, cpus.max(1))
}

/// Places the ports of a service that names its shards.
fn place_named(
    reader: &mut Reader,
    shards: u32,
    drafts: &mut [Draft],
    index: usize,
    written: &[Written<'_>],
) {
    let service = &written[index];
    let (Some(cores), Some(queues)) = (&service.cores, &service.queues) else { return };
    let at = service.section.place_of("cores");
    if let Some(core) = cores.iter().find(|&&core| core >= shards) {
        let allowed = format!(
            "shards from 0 to {}; runtime.shards says how many there are, now {shards}",
            shards - 1
        );
        reader.mistake(&at, format!("shard {core}"), allowed);
        return;
    }
    if service.interface.is_some() && cores.len() > queues.len() {
        let found = format!("{} shards for {} queues", cores.len(), queues.len());
        let allowed = "at most as many shards as queues, for a queue has one owner";
        reader.mistake(&at, found, allowed);
        return;
    }
    for (&queue, &core) in queues.iter().zip(cores.iter().cycle()) {
        let own = |draft: &&mut Draft| draft.queue == queue && draft.services.contains(&index);
        for draft in drafts.iter_mut().filter(own) {
            match draft.shard {
                Some((shard, other)) if shard != core => {
                    let other = written[other].name.as_deref().unwrap_or("another service");
                    let port = format!("queue {queue} of {}", draft.interface);
                    let found = format!("shard {core} for {port}, which {other} places on {shard}");
                    let allowed =
                        "one shard for each queue, the same for all services that share it";
                    reader.mistake(&at, found, allowed);
                }
                _ => draft.shard = Some((core, index)),
            }
        }
    }
}
