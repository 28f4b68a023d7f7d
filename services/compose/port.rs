//! Opening one port on its shard: memory, socket, way back, and only then the steering map.

use std::sync::Arc;

use tidegate_config::Interface;
use tidegate_dataplane::driver::Driver;
use tidegate_dataplane::inject::{self, Injector, Outcome, Tiers};
use tidegate_dataplane::offload::TxOffloads;
use tidegate_dataplane::steer::Steering;
use tidegate_dataplane::sys::netlink;
use tidegate_dataplane::umem::Umem;
use tidegate_dataplane::xsk;
use tidegate_runtime::port::{NoReinject, Opener, PortFacts, Reinject};
use tracing::warn;

use super::{fit, launch, translate};
use crate::cli::told::told;

/// What opens queue `number` of `interface`.
pub(super) fn opener(
    interface: &Interface,
    number: u32,
    steering: Arc<Steering>,
    reinjects: bool,
) -> Opener {
    let umem = interface.umem;
    let mut options = translate::queue(interface, number);
    Box::new(move || {
        let xdp = steering.obtained();
        let link = netlink::link(&options.interface)?;
        let driver = Driver::of(&options.interface);
        options.copy = fit::copy_mode(&options.interface, options.copy, xdp)?;
        let umem = translate::umem(umem, driver.chunk_octets(link.mtu, options.copy));
        let mut queue = xsk::open(&options, Umem::new(&umem)?)?;
        fit::chunk(&options.interface, driver, &umem, link.mtu, queue.obtained().copy)?;
        let tx = queue.obtained().tx;
        if tx.launch_time
            && let Err(hindrance) = launch::judge_clock(&options.interface)
        {
            warn!(
                interface = &*options.interface,
                queue = number,
                "launch times are not asked for: {}",
                told(&hindrance)
            );
            queue.set_tx_offloads(TxOffloads { launch_time: false, ..tx });
        }
        let back: Box<dyn Reinject> = if reinjects {
            let interface = options.interface.clone();
            let options = inject::Options { interface, xdp, tiers: Tiers::Auto };
            Box::new(Back(Injector::new(&options)?))
        } else {
            Box::new(NoReinject)
        };
        let facts = PortFacts {
            interface: options.interface.clone(),
            mac: link.mac,
            mtu: link.mtu,
            queue: number,
            chunk_capacity_octets: queue.blank_capacity(),
            xdp: xdp.to_string().into(),
            tx: queue.obtained().tx,
        };
        // Last: once the gate is open packets come, and everything is there to take them.
        let socket = queue.fd().ok_or("a queue without a socket cannot be steered to")?;
        steering.set_socket(number, socket)?;
        Ok((queue, back, facts))
    })
}

/// The injector as the runtime knows it.
struct Back(Injector);

impl Reinject for Back {
    fn inject(&mut self, packet: &[u8], _now_ns: u64) -> bool {
        // A packet that is refused is counted as such by the next flush.
        self.0.inject(packet) == Outcome::Taken
    }

    fn flush(&mut self, _now_ns: u64) -> u32 {
        self.0.flush().refused
    }
}
