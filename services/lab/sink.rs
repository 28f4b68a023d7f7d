//! The end of the line: an XDP program on one end of a wire that counts what
//! comes and drops it, or passes it on to the stack.
//!
//! Its counts are the kernel's word for what arrived; and with it an end takes
//! live frames (see [`super::LabError::NoReceiver`]).

use aya::maps::{MapData, PerCpuArray};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::{End, LabError};

/// Made from sink.bpf.c by `dataplane/steer/rebuild`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("sink.bpf.o");

/// Queues that are told apart, as in sink.bpf.c.
pub const QUEUES: usize = 64;

/// What becomes of a packet when it was counted; the numbers are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `XDP_DROP`.
    Drop = 1,
    /// `XDP_PASS`.
    Pass = 2,
}

/// What arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]

pub struct Arrived {
    /// Packets.
    pub packets: u64,
    /// Their octets, Ethernet header included.
    pub octets: u64,
}

/// A sink on an interface. Dropping it takes it off.
pub struct Sink {
    counts: PerCpuArray<MapData, [u64; 2]>,
    _attached: Ebpf,
}

impl Sink {
    /// Attaches a sink to `end`, in the driver.
    ///
    /// # Errors
    ///
    /// `EBUSY` where there is a program already; without `CAP_BPF` and
    /// `CAP_NET_ADMIN`.
    ///
    /// # Panics
    ///
    /// Where the committed object is not that of sink.bpf.c.
    pub fn attach(end: &End, action: Action) -> Result<Self, LabError> {
        const LOAD: &str = "load the sink's XDP program";
        let action = action as u32;
        let mut ebpf = EbpfLoader::new()
            .override_global("action", &action, true)
            .load(OBJECT)
            .map_err(|source| LabError::bpf(LOAD, source))?;
        let counts = ebpf.take_map("counts").expect("the object has this map");
        let counts = PerCpuArray::try_from(counts).expect("the map has this type");
        let program = ebpf.program_mut("tidegate_sink").expect("the object has this program");
        let program: &mut Xdp = program.try_into().expect("it is an XDP program");
        program.load().map_err(|source| LabError::bpf(LOAD, source))?;
        end.namespace
            .run(|| program.attach_to_if_index(end.index, XdpMode::Driver))?
            .map_err(|source| LabError::bpf("attach the sink's XDP program", source))?;
        Ok(Self { counts, _attached: ebpf })
    }

    /// What arrived since it was attached.
    ///
    /// # Errors
    ///
    /// Where the kernel does not let the counts be read.
    pub fn arrived(&self) -> Result<Arrived, LabError> {
        let by_queue = self.arrived_by_queue()?;
        Ok(by_queue.into_iter().fold(Arrived::default(), |sum, it| Arrived {
            packets: sum.packets + it.packets,
            octets: sum.octets + it.octets,
        }))
    }

    /// The same for each of the first [`QUEUES`] queues; what came on later ones is with the last.
    ///
    /// # Errors
    ///
    /// As [`Self::arrived`].
    pub fn arrived_by_queue(&self) -> Result<[Arrived; QUEUES], LabError> {
        let mut arrived = [Arrived::default(); QUEUES];
        for (queue, arrived) in (0..).zip(&mut arrived) {
            let counts = self
                .counts
                .get(&queue, 0)
                .map_err(|source| LabError::bpf("read the sink's counts", source))?;
            for [packets, octets] in counts.iter() {
                arrived.packets += packets;
                arrived.octets += octets;
            }
        }
        Ok(arrived)
    }
}
