//! Opening one port on its shard: memory, socket, way back, and only then the steering map.

use std::sync::Arc;

use tidegate_config::Interface;
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::inject::{self, Injector, Outcome, Tiers};
use tidegate_dataplane::steer::Steering;
use tidegate_dataplane::sys::netlink;
use tidegate_dataplane::umem::Umem;
use tidegate_dataplane::xsk;
use tidegate_runtime::port::{NoReinject, NotTaken, Opener, PortFacts, Reinject};

use super::translate;

/// What opens queue `number` of `interface`.
pub(super) fn opener(
    interface: &Interface,
    number: u32,
    steering: Arc<Steering>,
    reinjects: bool,
) -> Opener {
    let umem = translate::umem(interface.umem);
    let options = translate::queue(interface, number);
    Box::new(move || {
        let xdp = steering.obtained();
        let link = netlink::link(&options.interface)?;
        let queue = xsk::open(&options, Umem::new(&umem)?)?;
        let back: Box<dyn Reinject> = if reinjects {
            let interface = options.interface.clone();
            let options = inject::Options { interface, xdp, tiers: Tiers::Auto };
            let longest = queue.packet_capacity();
            Box::new(Back {
                injector: Injector::new(&options)?,
                memory: Vec::with_capacity(longest),
            })
        } else {
            Box::new(NoReinject)
        };
        let facts = PortFacts {
            interface: options.interface.clone(),
            mac: link.mac,
            mtu: link.mtu,
            queue: number,
            chunk_capacity_octets: queue.blank_capacity(),
            packet_capacity_octets: queue.packet_capacity(),
            xdp: xdp.to_string().into(),
        };
        // Last: from here on packets come, and everything is there to take them.
        let socket = queue.fd().ok_or("a queue without a socket cannot be steered to")?;
        steering.set_socket(number, socket)?;
        Ok((queue, back, facts))
    })
}

/// The injector as the runtime knows it.
struct Back {
    injector: Injector,
    /// A packet in several chunks, copied together.
    memory: Vec<u8>,
}

impl Reinject for Back {
    fn inject(&mut self, packet: &Frame, _now_ns: u64) -> Result<(), NotTaken> {
        // A packet that the kernel refuses is counted as such by the next flush.
        match self.injector.inject(packet.contiguous(&mut self.memory)) {
            Outcome::Taken => Ok(()),
            Outcome::Refused => Err(NotTaken::Length),
        }
    }

    fn flush(&mut self, _now_ns: u64) -> u32 {
        self.injector.flush().refused
    }
}
