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

use super::long::{self, Reader};
use super::translate;

/// What opens queue `number` of `interface`, for `services`.
pub(super) fn opener(
    interface: &Interface,
    number: u32,
    steering: Arc<Steering>,
    reinjects: bool,
    services: Vec<Reader>,
) -> Opener {
    let (umem, said) = (interface.umem, interface.multi_buffer);
    let mut options = translate::queue(interface, number);
    Box::new(move || {
        let xdp = steering.obtained();
        let link = netlink::link(&options.interface)?;
        options.multi_buffer = long::wanted(said, link.mtu, umem.chunk_octets);
        let queue = xsk::open(&options, Umem::new(&translate::umem(umem))?)?;
        let opened = long::Port {
            interface: &options.interface,
            queue: number,
            mtu: link.mtu,
            umem,
            fill_frames: options.fill_frames,
            packet_chunks_max: queue.obtained().packet_chunks_max,
            services: &services,
        };
        long::remarks(&opened).iter().for_each(|remark| tracing::warn!("{remark}"));
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
