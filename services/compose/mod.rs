//! From a config to running parts: the one place where the rooms meet.
//!
//! ```text
//!   config::Interface ──► steer::Steering        one per interface, attached, nothing redirected yet
//!                     └─► steer::hardware        what the card is told, where the config asks for it
//!   config::Port ───────► runtime PortPlan       opened on its shard: UMEM, socket, way back
//!   config::Service ────► runtime ServicePlan    made by the registry, with its selectors
//! ```
//!
//! The other rooms know nothing of one another's options; the translations are in [`translate`].
//! A packet of a selector is redirected from the moment that all services are built, with the fill
//! rings full and the sockets in the steering program's map; until then the gate is closed and the
//! kernel has everything, also while a start waits for a link.

mod fit;
mod hardware;
mod launch;
mod long;
mod port;
mod translate;

use std::sync::Arc;

use tidegate_config::Config;
use tidegate_dataplane::steer::hardware::Hardware;
use tidegate_dataplane::steer::{self, Steering};
use tidegate_runtime::plan::{Policy, PortPlan, ServicePlan, ShardPlan};

pub(crate) use hardware::snapshot as hardware_snapshot;

use crate::operator::{Attended, Place};
use crate::registry::{Outfit, Registry};
use crate::run::RunError;

/// A config made ready to run.
pub(crate) struct Composed {
    /// The programs on the interfaces, in the config's order.
    pub(crate) steerings: Vec<Arc<Steering>>,
    /// What their cards were told, where they were told something, in the same order.
    pub(crate) hardware: Vec<Option<Arc<Hardware>>>,
    /// What each shard is to do.
    pub(crate) shards: Vec<ShardPlan>,
    /// What they share.
    pub(crate) policy: Policy,
    /// Who answers for services, in the config's order.
    pub(crate) operators: Vec<Manned>,
}

/// A service that somebody answers for.
pub(crate) struct Manned {
    pub(crate) attended: Attended,
    /// The shards that it runs on.
    pub(crate) shards: Vec<u32>,
    /// Its selectors.
    pub(crate) selectors: Vec<Place>,
}

/// Attaches the steering programs and plans the shards.
///
/// # Errors
///
/// Where a kind is unknown, a service's options are wrong, an interface refuses the program, or
/// its card what it is told. What was attached before is taken off again.
pub(crate) fn compose(config: &Config, registry: &Registry) -> Result<Composed, RunError> {
    let config = &registry.complete(config.clone())?;
    let records = hardware::records(config)?;
    let (mut steerings, mut cards) = (Vec::new(), Vec::new());
    for interface in &config.interfaces {
        steerings.push(attach(config, interface)?);
        // Behind the program: it keeps others from the interface, and when it is attached some
        // drivers start anew.
        cards.push(hardware::take(config, interface, &records)?);
    }

    let outfits: Vec<Outfit> =
        config.services.iter().map(|service| registry.outfit(service)).collect::<Result<_, _>>()?;
    let mut shards: Vec<_> = (0..config.runtime.shards).map(|_| ShardPlan::default()).collect();
    for (index, shard) in shards.iter_mut().enumerate() {
        shard.cpu = translate::cpu(&config.runtime, index);
    }
    let mut services: Vec<Vec<Option<ServicePlan>>> =
        shards.iter().map(|_| config.services.iter().map(|_| None).collect()).collect();

    for port in &config.ports {
        let shard = port.shard as usize;
        let place = interface_index(config, &port.interface);
        let (interface, steering) = (&config.interfaces[place], &steerings[place]);
        let number = shards[shard].ports.len();
        let mine = || port.services.iter().map(|&it| (&config.services[it], &outfits[it]));
        let reinjects = mine().any(|(service, _)| registry.reinjects(&service.kind));
        let readers = mine().map(|(service, outfit)| reader(service, outfit)).collect();
        shards[shard].ports.push(PortPlan {
            name: format!("{} queue {}", interface.name, port.queue).into(),
            opener: port::opener(interface, port.queue, Arc::clone(steering), reinjects, readers),
        });
        for &service in &port.services {
            let written = &config.services[service];
            let slot = &mut services[shard][service];
            if slot.is_none() {
                *slot = Some(planned(written, &outfits[service]));
            }
            let plan = slot.as_mut().expect("filled just before");
            let mine = config.selectors(&interface.name).enumerate();
            plan.selectors.extend(
                mine.filter(|(_, (owner, _))| *owner == service)
                    .map(|(index, _)| (number, u16::try_from(index).expect("at most 64"))),
            );
        }
    }
    // Services without an interface run where their `cores` say.
    for (service, written) in config.services.iter().enumerate() {
        for &shard in written.interface.is_none().then_some(&written.cores).into_iter().flatten() {
            services[shard as usize][service] = Some(planned(written, &outfits[service]));
        }
    }
    let operators = manned(config, &outfits, &services, &steerings);
    for (shard, services) in shards.iter_mut().zip(services) {
        shard.services = services.into_iter().flatten().collect();
    }
    Ok(Composed { steerings, hardware: cards, shards, policy: policy(config), operators })
}

/// Who answers for which service, and where that is.
fn manned(
    config: &Config,
    outfits: &[Outfit],
    planned: &[Vec<Option<ServicePlan>>],
    steerings: &[Arc<Steering>],
) -> Vec<Manned> {
    let mut manned = Vec::new();
    for (index, (service, outfit)) in config.services.iter().zip(outfits).enumerate() {
        let Some(operator) = &outfit.operator else { continue };
        let runs = |shard: &u32| planned[*shard as usize][index].is_some();
        let shards = (0..config.runtime.shards).filter(runs).collect();
        let mut selectors = Vec::new();
        for (interface, steering) in config.interfaces.iter().zip(steerings) {
            let all = config.selectors(&interface.name).enumerate();
            let mine = all.filter(|(_, (owner, _))| *owner == index);
            selectors.extend(mine.enumerate().map(|(of_service, (selector, _))| Place {
                steering: Arc::clone(steering),
                selector: u16::try_from(selector).expect("at most 64"),
                of_service,
                scope: translate::scope(index),
            }));
        }
        let attended = Attended {
            service: service.name.as_str().into(),
            kind: service.kind.as_str().into(),
            operator: Arc::clone(operator),
        };
        manned.push(Manned { attended, shards, selectors });
    }
    manned
}

fn planned(written: &tidegate_config::Service, outfit: &Outfit) -> ServicePlan {
    ServicePlan {
        name: written.name.as_str().into(),
        factory: outfit.factory.clone(),
        selectors: Vec::new(),
        held_frames_max: written.held_frames_max,
    }
}

fn reader(written: &tidegate_config::Service, outfit: &Outfit) -> long::Reader {
    long::Reader {
        name: written.name.as_str().into(),
        held_frames_max: written.held_frames_max,
        reads_parts: outfit.factory.reads_parts(),
    }
}

fn attach(
    config: &Config,
    interface: &tidegate_config::Interface,
) -> Result<Arc<Steering>, RunError> {
    let selectors =
        (config.selectors(&interface.name)).map(|(service, it)| translate::selector(service, it));
    let options = steer::Options {
        interface: interface.name.as_str().into(),
        xdp: translate::xdp_mode(interface.xdp),
        selectors: selectors.collect(),
    };
    let steering = Steering::attach(&options)?;
    // Opened by the runtime when services are there to take what comes.
    steering.pass_all(true);
    Ok(Arc::new(steering))
}

fn interface_index(config: &Config, name: &str) -> usize {
    let found = config.interfaces.iter().position(|interface| interface.name == name);
    found.expect("a checked config places ports on its own interfaces")
}

fn policy(config: &Config) -> Policy {
    let runtime = &config.runtime;
    Policy {
        idle: translate::idle(runtime.idle),
        restart: translate::restart(runtime.restart),
        stall_budget_ns: runtime.stall_budget.as_ns(),
        drain_timeout_ns: runtime.drain_timeout.as_ns(),
    }
}
