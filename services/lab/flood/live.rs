//! The fast generator: frames made in the kernel.

use aya::maps::{Array, MapData};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, TestRun, TestRunAttrs, TestRunOptions};

use super::template::Template;
use crate::lab::{End, LabError, Namespace};

/// Made from flood.bpf.c by `dataplane/steer/rebuild`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../flood.bpf.o");

/// 64-bit words of the headers that the program stores, as in flood.bpf.c.
const TEMPLATE_WORDS: usize = 10;

/// Frames that the kernel makes before it hands them to the link.
///
/// The link's receive ring has 256 slots and is emptied after each batch. Too
/// high: batches of 256 overflowed it. Too low: 16 is the size in which the
/// kernel forwards, and below it each costs more.
const BATCH: u32 = 64;

/// The loopback, number 1 in every namespace.
const LOOPBACK: u32 = 1;

/// The loaded program, ready to be run.
pub(super) struct LiveFrames {
    ebpf: Ebpf,
    stamped: Array<MapData, u64>,
    frame: Vec<u8>,
    context: [u8; 24],
    /// Where the program is attached without ever running; see [`Self::new`].
    _pier: Namespace,
}

impl LiveFrames {
    pub(super) fn new(end: &End, template: &Template) -> Result<Self, LabError> {
        const LOAD: &str = "load the flood's XDP program";
        let mut words = [0u8; TEMPLATE_WORDS * 8];
        for (word, octet) in words.iter_mut().zip(&template.frame) {
            *word = *octet;
        }
        let words = words.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word));
        let words: Vec<u64> = words.collect();
        let (ipv6, tcp) = (u32::from(template.ipv6), u32::from(template.tcp));
        let mut ebpf = EbpfLoader::new()
            .override_global("output", &end.index, true)
            .override_global("seed", &template.seed, true)
            .override_global("ipv6", &ipv6, true)
            .override_global("tcp", &tcp, true)
            .override_global("ip_sum", &template.ip_sum, true)
            .override_global("l4_sum", &template.l4_sum, true)
            .override_global("template", words.as_slice(), true)
            .load(OBJECT)
            .map_err(|source| LabError::bpf(LOAD, source))?;
        let stamped = ebpf.take_map("stamped").expect("the object has this map");
        let stamped = Array::try_from(stamped).expect("the map has this type");
        let program = program(&mut ebpf);
        program.load().map_err(|source| LabError::bpf(LOAD, source))?;
        // The kernel keeps a program in its XDP dispatcher while it is attached
        // anywhere. Otherwise each run puts it in and takes it out again, which
        // waits for all processors: 24 ms. So it hangs on the loopback of a
        // namespace of its own, where nothing ever comes by.
        let pier = Namespace::new()?;
        pier.run(|| program.attach_to_if_index(LOOPBACK, XdpMode::Skb))?
            .map_err(|source| LabError::bpf("attach the flood's XDP program", source))?;
        let frame = template.frame.clone();
        let context = context(end.index, &frame);
        Ok(Self { ebpf, stamped, frame, context, _pier: pier })
    }

    /// Sends the next `count` packets and returns how many it were.
    pub(super) fn send(&mut self, count: u64) -> Result<u64, LabError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let before = self.stamped()?;
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(&self.context),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH.min(count)),
            ..TestRunOptions::new()
        };
        program(&mut self.ebpf)
            .test_run(options)
            .map_err(|source| LabError::bpf("run the flood's XDP program", source))?;
        Ok(self.stamped()? - before)
    }

    fn stamped(&self) -> Result<u64, LabError> {
        self.stamped.get(&0, 0).map_err(|source| LabError::bpf("read the flood's count", source))
    }
}

fn program(ebpf: &mut Ebpf) -> &mut Xdp {
    let program = ebpf.program_mut("tidegate_flood").expect("the object has this program");
    program.try_into().expect("it is an XDP program")
}

/// `struct xdp_md` of `linux/bpf.h`: data, data_end, data_meta,
/// ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(ingress: u32, frame: &[u8]) -> [u8; 24] {
    let data_end = u32::try_from(frame.len()).expect("below the longest frame");
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&data_end.to_ne_bytes());
    context[12..16].copy_from_slice(&ingress.to_ne_bytes());
    context
}
