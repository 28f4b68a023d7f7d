//! A queue whose packets may lie in several chunks (multi-buffer, `XDP_USE_SG`).
//!
//! ```text
//!   descriptors   | CONTD | CONTD |   0   | |   0   | | CONTD |   0   |
//!   frames        └──── one, of three ────┘ └  one  ┘ └── of two ─────┘
//! ```
//!
//! A packet goes through a ring as that many descriptors in a row, all of them with `XDP_PKT_CONTD`
//! but the last. Here it is one frame: received whole, sent whole or not at all.
//!
//! The kernel shows a packet by one store of the ring's index, with all its descriptors
//! (`xsk_flush()` of `net/xdp/xsk.c`). One whose end is not there yet is left in the ring and waited
//! for. What cannot be waited for, because the ring is full of it, is thrown away.

use smallvec::SmallVec;

use super::{Group, Queue, QueueStats, TxCall, lease, receive};
use crate::frame::{Frame, NO_SELECTOR};
use crate::sys::xdp::XDP_PKT_CONTD;
use crate::umem::chain::CHUNKS_MAX;
use crate::umem::{Owner, Umem};
use crate::xsk::ring::Descriptor;
use crate::xsk::tx_metadata::XDP_TX_METADATA;

/// What such a queue has beside others.
#[derive(Debug)]
pub(super) struct Chains {
    /// Most chunks of one packet, in either direction.
    chunks_max: u32,
    /// Descriptors of the frames that are being sent: as many as the TX ring has room for.
    descriptors: Vec<Descriptor>,
}

impl Chains {
    /// For packets of up to `chunks_max` chunks and a TX ring of so many entries.
    pub(super) fn new(chunks_max: u32, ring_entries: u32) -> Self {
        let descriptors = Vec::with_capacity(ring_entries as usize);
        // A packet longer than the ring would wait for ever.
        Self { chunks_max: chunks_max.min(ring_entries), descriptors }
    }
}

impl Queue {
    /// Octets of the longest packet that can be built here, in as many chunks as it may have.
    pub fn packet_capacity(&self) -> usize {
        let more = self.chains.as_ref().map_or(0, |chains| chains.chunks_max - 1);
        (1 + more as usize) * self.blank_capacity()
    }

    /// Takes a frame for a packet of `octets`, in as many chunks as that needs: all of them or
    /// `None`. What is in it is what the chunks held before.
    ///
    /// # Panics
    ///
    /// When `octets` exceed [`Self::packet_capacity`].
    pub fn take_packet(&mut self, octets: usize) -> Option<Frame> {
        assert!(octets <= self.packet_capacity(), "{octets} of {}", self.packet_capacity());
        let each = self.blank_capacity();
        let more = octets.saturating_sub(each).div_ceil(each);
        if self.umem.count(Owner::Pool) as usize <= more {
            return None;
        }
        let mut head = self.take().expect("counted just before");
        head.set_len(octets.min(each));
        if more == 0 {
            return Some(head);
        }
        let mut left = octets - each;
        let mut part = || {
            // As far from its chunk's begin as the first: where the UMEM was registered with room
            // for TX metadata, the kernel refuses any part that starts nearer.
            let mut part = self.take().expect("counted before");
            part.set_len(left.min(each));
            left -= part.len();
            part
        };
        let mut rest: Parts = (0..more).map(|_| part()).collect();
        Some(head.join(rest.drain(..)))
    }

    /// [`Queue::recv`] for packets of any number of chunks; `max` counts packets.
    pub(super) fn recv_packets(&mut self, into: &mut impl Extend<Frame>, max: u32) -> u32 {
        let Self { rings, umem, stats, chains: Some(chains), .. } = self else { return 0 };
        let rx = &mut rings.rx;
        let before = stats.rx_frames;
        let shown = rx.ready(rx.size());
        (0..shown.min(max)).for_each(|step| umem.prefetch(rx.read(step).addr));
        let mut at = 0;
        for _ in 0..max {
            let last = |&step: &u32| rx.read(step).options & XDP_PKT_CONTD == 0;
            let end = match (at..shown).find(last) {
                Some(last) => last + 1,
                None if shown - at == rx.size() => shown,
                None => break,
            };
            let frame = match end - at {
                1 => {
                    let frame = receive(umem, rx.read(at));
                    stats.bad_descriptors += u64::from(frame.is_none());
                    frame
                }
                _ => {
                    let descriptors = (at..end).map(|step| rx.read(step));
                    join(umem, descriptors, chains.chunks_max, stats)
                }
            };
            if let Some(frame) = frame {
                stats.rx_frames += 1;
                stats.rx_octets += frame.octets() as u64;
                into.extend(Some(frame));
            }
            at = end;
        }
        if at > 0 {
            rx.pass(at);
        }
        u32::try_from(stats.rx_frames - before).expect("at most max")
    }

    /// [`Queue::send`] for packets of any number of chunks: none is on the ring in part.
    pub(super) fn send_packets(&mut self, group: &mut Group) -> u32 {
        let Self { rings, umem, stats, chains: Some(chains), .. } = self else { return 0 };
        let mut room = rings.tx.free(group.iter().map(Frame::chunks).sum());
        let fits = |frame: &&Frame| {
            assert!(frame.lease().is_of(umem), "a frame of another UMEM");
            assert!(!frame.is_empty(), "an empty frame");
            let left = room.checked_sub(frame.chunks());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let fit = group.iter().take_while(fits).count();
        let descriptors = &mut chains.descriptors;
        for frame in group.drain(..fit) {
            let first = descriptors.len();
            descriptors.extend(frame.walk().map(|place| Descriptor {
                addr: umem.address(place),
                len: place.len.into(),
                options: XDP_PKT_CONTD,
            }));
            descriptors.last_mut().expect("a frame has a part").options = 0;
            if frame.asks() {
                descriptors[first].options |= XDP_TX_METADATA;
            }
            stats.tx_frames += 1;
            stats.tx_parts += u64::from(frame.chunks() - 1);
            stats.tx_octets += frame.octets() as u64;
            frame.into_lease().give_all_to_tx();
        }
        let count = descriptors.len();
        let pushed = rings.tx.push_burst(&mut descriptors.drain(..));
        debug_assert_eq!(pushed as usize, count, "the room was asked for just before");
        if fit > 0 {
            self.tx_pending = true;
            self.tx_call = TxCall::Due;
        }
        u32::try_from(fit).expect("no more than the ring has")
    }
}

type Parts = SmallVec<[Frame; CHUNKS_MAX as usize]>;

/// The packet that lies in the chunks of `descriptors`, if every one of them can be true and there
/// are not too many. If not, what can be true of them is the pool's again.
fn join(
    umem: &Umem,
    descriptors: impl Iterator<Item = Descriptor>,
    chunks_max: u32,
    stats: &mut QueueStats,
) -> Option<Frame> {
    let mut parts = Parts::new();
    let (mut bad, mut beyond) = (0, 0);
    for descriptor in descriptors {
        let descriptor = Descriptor { options: descriptor.options & !XDP_PKT_CONTD, ..descriptor };
        // Only the first part has the metadata of the steering program in front.
        let part = match parts.is_empty() {
            true => receive(umem, descriptor),
            false => lease(umem, descriptor)
                .map(|(lease, offset, len)| Frame::received(lease, offset, len, NO_SELECTOR)),
        };
        match part {
            None => bad += 1,
            Some(part) if parts.len() < chunks_max as usize => parts.push(part),
            Some(part) => {
                beyond += 1;
                part.into_lease().decline();
            }
        }
    }
    if bad == 0 && beyond == 0 {
        stats.rx_parts += parts.len() as u64 - 1;
        let mut parts = parts.drain(..);
        return parts.next().map(|first| first.join(parts));
    }
    stats.bad_descriptors += bad;
    stats.overlong_packets += u64::from(bad == 0);
    parts.drain(..).for_each(|part| part.into_lease().decline());
    None
}
