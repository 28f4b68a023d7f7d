//! Opening one port on its shard: memory, socket, way back, and only then the steering map.

use std::sync::Arc;

use tidegate_config::Interface;
use tidegate_dataplane::driver::Driver;
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::inject::{self, Injector, Outcome, Tiers};
use tidegate_dataplane::offload::TxOffloads;
use tidegate_dataplane::steer::Steering;
use tidegate_dataplane::sys::netlink;
use tidegate_dataplane::umem::Umem;
use tidegate_dataplane::xsk;
use tidegate_runtime::port::{NoReinject, NotTaken, Opener, PortFacts, Reinject};
use tracing::warn;

use super::long::{self, Reader};
use super::{fit, launch, translate};
use crate::cli::told::told;

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
        let driver = Driver::of(&options.interface);
        options.copy = fit::copy_mode(&options.interface, options.copy, xdp)?;
        let umem = translate::umem(umem, driver.chunk_octets(link.mtu, options.copy));
        options.card_frames = fit::card_frames(&options.interface, driver, options.copy);
        options.multi_buffer = long::wanted(said, driver, link.mtu, umem.chunk_octets);
        let mut queue = xsk::open(&options, Umem::new(&umem)?)?;
        let obtained = queue.obtained();
        if obtained.packet_chunks_max == 1 {
            fit::chunk(&options.interface, driver, &umem, link.mtu, obtained.copy)?;
        }
        let opened = long::Port {
            interface: &options.interface,
            queue: number,
            mtu: link.mtu,
            chunk_octets: umem.chunk_octets,
            part_octets: driver.whole_octets(umem.chunk_octets, obtained.copy),
            frames: umem.frames,
            fill_frames: options.fill_frames,
            packet_chunks_max: obtained.packet_chunks_max,
            services: &services,
        };
        long::remarks(&opened).iter().for_each(|remark| warn!("{remark}"));
        let tx = obtained.tx;
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
        if steering.states().iter().any(Option::is_some) {
            queue.set_tidings(steering.tidings(number)?);
        }
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
            tx: queue.obtained().tx,
        };
        // Last: once the gate is open packets come, and everything is there to take them.
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
