//! What a packet's sender leaves to others: its checksum, and the moment of its departure.
//!
//! ```text
//!   service ─► Frame::finish_checksum ─┬─ Software ─────► summed here
//!                                      ├─ Kernel ───────► begun here, asked for in front of the packet
//!                                      └─ Driver ───────► the same; the card sums
//!   service ─► Frame::launch_at ───────── where the card can: asked for in front of the packet
//! ```
//!
//! What a queue obtained is in [`TxOffloads`]; a frame knows it, so that a service asks by one call
//! and cannot ask the wrong one. The octets are told in [`crate::xsk::tx_metadata`].

use core::fmt;

use crate::frame::Frame;
use crate::sys::netlink::Features;
use crate::wire::transport::{NoChecksum, TransportChecksum, finish_begun};
use crate::xsk::tx_metadata::{self, TxMetadata};

/// Who sums a packet whose checksum is to be finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumBy {
    /// We do, before the packet is handed over.
    #[default]
    Software,
    /// The kernel, which in copy mode does it as for its own packets: it leaves it to the card where
    /// the card can.
    Kernel,
    /// The driver, in zero-copy.
    Driver,
}

impl fmt::Display for ChecksumBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "software",
            Self::Kernel => "kernel",
            Self::Driver => "driver",
        })
    }
}

/// What the sending side of a queue obtained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffloads {
    /// Who finishes checksums.
    pub checksum: ChecksumBy,
    /// Whether the card sends packets at their time.
    pub launch_time: bool,
}

/// Who is asked for to finish checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumWish {
    /// The driver, else the kernel where that ends in a finished packet, else we.
    #[default]
    Auto,
    /// We, always.
    Software,
    /// The kernel, in copy mode. On a virtual link it leaves the sum undone for a receiver that
    /// knows: right between two kernels, wrong for one who reads the octets.
    Kernel,
    /// The kernel, in copy mode, and not the card (`XDP_UMEM_TX_SW_CSUM`): for tests and against
    /// cards that sum wrongly.
    KernelAlone,
}

/// What is known when it is decided who does what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// What the bind obtained.
    pub(crate) zero_copy: bool,
    /// Whether the kernel took a UMEM with room for TX metadata, as it does since Linux 6.11.
    pub(crate) has_room: bool,
    /// What the driver has.
    pub(crate) features: Features,
    /// Whether what is left to the kernel is right when it leaves, see
    /// [`crate::driver::Driver::finishes_checksums`].
    pub(crate) kernel_finishes: bool,
}

impl TxOffloads {
    /// What is obtained.
    pub(crate) const fn of(wish: ChecksumWish, found: Circumstances) -> Self {
        let Circumstances { zero_copy, has_room, features, kernel_finishes } = found;
        let checksum = match wish {
            _ if !has_room => ChecksumBy::Software,
            ChecksumWish::Auto if zero_copy && features.tx_checksum => ChecksumBy::Driver,
            ChecksumWish::Auto if !zero_copy && kernel_finishes => ChecksumBy::Kernel,
            ChecksumWish::Kernel | ChecksumWish::KernelAlone if !zero_copy => ChecksumBy::Kernel,
            _ => ChecksumBy::Software,
        };
        // In copy mode the kernel notes the time and no qdisc looks at it.
        let launch_time = has_room && zero_copy && features.tx_launch_time;
        Self { checksum, launch_time }
    }
}

impl Frame {
    /// Finishes the packet's UDP or TCP checksum, whatever is in its field: here, or by whoever the
    /// queue obtained for it. The last that is done to a packet: what is changed afterwards may be
    /// covered by the sum or not.
    ///
    /// # Errors
    ///
    /// [`NoChecksum`] for packets that have none; they are left as they were.
    ///
    /// ```
    /// # use tidegate_dataplane::frame::Frame;
    /// fn answer(frame: &mut Frame) {
    ///     frame.bytes_mut()[42] ^= 0xff;
    ///     frame.finish_checksum().expect("it was parsed as UDP just before");
    /// }
    /// ```
    #[inline]
    pub fn finish_checksum(&mut self) -> Result<(), NoChecksum> {
        let place = TransportChecksum::of_head(self.bytes(), self.octets())?;
        self.finish_checksum_at(&place);
        Ok(())
    }

    /// As [`Self::finish_checksum`], for who builds many packets alike and found the place once.
    ///
    /// # Panics
    ///
    /// When the packet is shorter than the one that `place` was found in.
    #[inline]
    pub fn finish_checksum_at(&mut self, place: &TransportChecksum) {
        if self.is_chain() {
            // Long packets are rare where this is, and no driver was seen to sum one.
            return place.finish_parts(self.parts_mut());
        }
        let software = self.tx_offloads().checksum == ChecksumBy::Software;
        // Who sums for us goes to the end of the packet, padding included.
        if !software && place.goes_to_the_end_of(self.len()) {
            let checksum = Some((place.start(), place.field()));
            let asked = self.ask(|metadata| TxMetadata { checksum, ..metadata });
            if asked {
                place.begin(self.bytes_mut());
                return;
            }
        }
        place.finish(self.bytes_mut());
    }

    /// Asks that the packet leaves when the card's clock, which shows TAI, shows `tai_ns`. False
    /// where the queue obtained no such thing: then it leaves when it is handed over.
    ///
    /// Packets leave in the order in which they were handed over. One with a time holds up those
    /// behind it, so times must not run backwards nor far ahead.
    #[inline]
    pub fn launch_at(&mut self, tai_ns: u64) -> bool {
        self.tx_offloads().launch_time
            && self.ask(|metadata| TxMetadata { launch_ns: Some(tai_ns), ..metadata })
    }

    /// Does what was left to others after all, for a packet that goes another way than out of its
    /// queue.
    #[inline]
    pub fn ask_nobody(&mut self) {
        if let Some(TxMetadata { checksum: Some((start, field)), .. }) = self.asked() {
            let done = finish_begun(self.bytes_mut(), start, field);
            debug_assert!(done, "the place was found in this packet");
        }
        self.set_asks(false);
    }

    /// What is asked for this packet until now.
    #[inline]
    fn asked(&mut self) -> Option<TxMetadata> {
        if !self.asks() {
            return None;
        }
        TxMetadata::parse(self.front_mut::<{ tx_metadata::LEN }>()?)
    }

    /// Asks for something more. False where there is no room in front of the packet.
    #[inline]
    fn ask(&mut self, more: impl FnOnce(TxMetadata) -> TxMetadata) -> bool {
        let metadata = more(self.asked().unwrap_or_default());
        let Some(front) = self.front_mut::<{ tx_metadata::LEN }>() else { return false };
        *front = metadata.emit();
        self.set_asks(true);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::{self, Pages};
    use crate::wire::{ethernet, ipv4, protocol, udp};
    use crate::xsk::Queue;
    use crate::xsk::testing::{Kernel, multi_buffer_pair, pair};

    const UMEM: umem::Options =
        umem::Options { chunk_octets: 2048, frames: 64, pages: Pages::Ordinary };

    fn bench(checksum: ChecksumBy, launch_time: bool) -> (Queue, Kernel) {
        let (mut queue, kernel) = pair(&UMEM, 16, 16).unwrap();
        queue.set_tx_offloads(TxOffloads { checksum, launch_time });
        (queue, kernel)
    }

    /// A UDP packet with these octets behind its header, and a wrong checksum.
    fn packet(data: &[u8], padding: usize) -> Vec<u8> {
        let payload_octets = u16::try_from(data.len()).unwrap();
        let header = udp::Header { source: 7, destination: 9, payload_octets, checksum: 0xa5a5 };
        let ip = ipv4::Header {
            source: [198, 18, 0, 1].into(),
            destination: [198, 18, 0, 2].into(),
            protocol: protocol::UDP,
            payload_octets: payload_octets + 8,
            ttl: 64,
            traffic_class: 0,
            id: 0,
        };
        let ether_type = ethernet::ether_type::IPV4;
        let link = ethernet::Header { destination: [2; 6], source: [4; 6], ether_type };
        let padding = vec![0xa5; padding];
        [&link.emit()[..], &ip.emit(), &header.emit(), data, &padding].concat()
    }

    fn finished(mut packet: Vec<u8>) -> Vec<u8> {
        TransportChecksum::of(&packet).unwrap().finish(&mut packet);
        packet
    }

    fn frame_of(queue: &mut Queue, packet: &[u8]) -> Frame {
        let mut frame = queue.take().unwrap();
        frame.set_len(packet.len());
        frame.bytes_mut().copy_from_slice(packet);
        frame
    }

    fn sent(queue: &mut Queue, kernel: &mut Kernel, frame: Frame) -> (Vec<u8>, Option<u64>) {
        assert_eq!(queue.send(&mut [frame].into_iter().collect()), 1);
        kernel.launch().unwrap()
    }

    #[test]
    fn a_checksum_is_right_on_the_wire_whoever_sums_and_whatever_follows_the_datagram() {
        for by in [ChecksumBy::Software, ChecksumBy::Kernel, ChecksumBy::Driver] {
            let (mut queue, mut kernel) = bench(by, false);
            for (data, padding) in [(&b"whole"[..], 0), (b"padded", 12), (b"", 0)] {
                let packet = packet(data, padding);
                let mut frame = frame_of(&mut queue, &packet);
                frame.finish_checksum().unwrap();
                // Left to others only where they do it right.
                assert_eq!(frame.asks(), by != ChecksumBy::Software && padding == 0, "{by}");
                let on_the_wire = sent(&mut queue, &mut kernel, frame);
                assert_eq!(on_the_wire, (finished(packet), None), "{by}");
            }
        }
    }

    #[test]
    fn a_received_packet_is_finished_too() {
        let (mut queue, mut kernel) = bench(ChecksumBy::Driver, true);
        kernel.deliver(&packet(b"changed", 0), 3);
        let mut frames = Vec::new();
        queue.recv(&mut frames, 1);
        let mut frame = frames.remove(0);
        frame.finish_checksum().unwrap();
        assert!(frame.launch_at(77));
        assert_eq!(frame.selector(), 3);
        let on_the_wire = sent(&mut queue, &mut kernel, frame);
        assert_eq!(on_the_wire, (finished(packet(b"changed", 0)), Some(77)));
    }

    /// A UDP packet in several chunks, and what it is on the wire.
    fn long_frame(queue: &mut Queue) -> (Frame, Vec<u8>) {
        let packet = packet(&(0..=u8::MAX).cycle().take(7001).collect::<Vec<_>>(), 3);
        let mut frame = queue.take_packet(packet.len()).unwrap();
        let mut rest = &packet[..];
        for part in frame.parts_mut() {
            let (here, behind) = rest.split_at(part.len());
            part.copy_from_slice(here);
            rest = behind;
        }
        (frame, finished(packet))
    }

    #[test]
    fn a_packet_in_several_chunks_is_summed_here_and_leaves_at_its_time() {
        let (mut queue, mut kernel) = multi_buffer_pair(&UMEM, 16, 16).unwrap();
        for by in [ChecksumBy::Software, ChecksumBy::Kernel, ChecksumBy::Driver] {
            for launch_time in [false, true] {
                queue.set_tx_offloads(TxOffloads { checksum: by, launch_time });
                let (mut frame, on_the_wire) = long_frame(&mut queue);
                assert_eq!(frame.chunks(), 4);
                frame.finish_checksum().unwrap();
                assert!(!frame.asks(), "no driver was seen to do it");
                assert_eq!(frame.launch_at(5), launch_time);
                let (octets, launch_ns) = sent(&mut queue, &mut kernel, frame);
                assert!(octets == on_the_wire, "{by}");
                assert_eq!(launch_ns, launch_time.then_some(5));
                kernel.complete(64);
                queue.reap();
            }
        }
        let (mut frame, on_the_wire) = long_frame(&mut queue);
        frame.finish_checksum().unwrap();
        frame.launch_at(5);
        frame.ask_nobody();
        assert!(!frame.asks() && frame.contiguous(&mut Vec::new()) == on_the_wire);
        frame.release();
    }

    #[test]
    fn a_packet_leaves_at_its_time_where_the_card_can_and_at_once_where_not() {
        let (mut queue, mut kernel) = bench(ChecksumBy::Driver, true);
        let mut frame = frame_of(&mut queue, &packet(b"both", 0));
        assert!(frame.launch_at(1));
        frame.finish_checksum().unwrap();
        assert!(frame.launch_at(1_700_000_000_000_000_000), "the last word counts");
        let (octets, launch_ns) = sent(&mut queue, &mut kernel, frame);
        assert_eq!(octets, finished(packet(b"both", 0)));
        assert_eq!(launch_ns, Some(1_700_000_000_000_000_000));

        let (mut queue, mut kernel) = bench(ChecksumBy::Driver, false);
        let mut frame = frame_of(&mut queue, &packet(b"none", 0));
        assert!(!frame.launch_at(5));
        assert!(!frame.asks());
        assert_eq!(sent(&mut queue, &mut kernel, frame).1, None);
    }

    #[test]
    fn what_was_asked_for_one_packet_is_not_asked_for_the_next_in_its_chunk() {
        let (mut queue, mut kernel) = bench(ChecksumBy::Driver, true);
        for round in 0..200 {
            let mut frame = frame_of(&mut queue, &packet(b"again", 0));
            if round % 2 == 0 {
                frame.launch_at(round);
            }
            let (_, launch_ns) = sent(&mut queue, &mut kernel, frame);
            assert_eq!(launch_ns, (round % 2 == 0).then_some(round));
            kernel.complete(1);
            queue.reap();
        }
    }

    #[test]
    fn a_packet_that_goes_another_way_is_finished_here_after_all() {
        let (mut queue, _kernel) = bench(ChecksumBy::Driver, true);
        let mut frame = frame_of(&mut queue, &packet(b"back", 0));
        frame.finish_checksum().unwrap();
        frame.launch_at(9);
        assert_ne!(frame.bytes(), finished(packet(b"back", 0)));
        frame.ask_nobody();
        assert_eq!(frame.bytes(), finished(packet(b"back", 0)));
        assert!(!frame.asks());
        frame.ask_nobody();
        assert_eq!(frame.bytes(), finished(packet(b"back", 0)), "once is enough");
        frame.release();
    }

    #[test]
    fn a_packet_that_is_cut_afterwards_asks_for_nothing() {
        let (mut queue, mut kernel) = bench(ChecksumBy::Driver, true);
        let mut frame = frame_of(&mut queue, &packet(b"cut", 0));
        frame.finish_checksum().unwrap();
        frame.set_len(20);
        assert!(!frame.asks());
        let (octets, _) = sent(&mut queue, &mut kernel, frame);
        assert_eq!(octets, packet(b"cut", 0)[..20]);
    }

    #[test]
    fn a_packet_without_a_checksum_is_left_as_it_was() {
        let (mut queue, _kernel) = bench(ChecksumBy::Driver, true);
        let mut frame = frame_of(&mut queue, &[0xa5; 60]);
        assert!(frame.finish_checksum().is_err());
        assert_eq!((frame.bytes(), frame.asks()), (&[0xa5; 60][..], false));
        frame.release();
    }

    #[test]
    fn each_does_what_it_can_do_right() {
        use ChecksumBy::{Driver, Kernel, Software};
        use ChecksumWish::{Auto, KernelAlone};
        let card = Features { tx_checksum: true, tx_launch_time: true, ..Features::default() };
        let none = Features::default();
        let told = |wish, zero_copy, has_room, features, kernel_finishes| {
            let found = Circumstances { zero_copy, has_room, features, kernel_finishes };
            let TxOffloads { checksum, launch_time } = TxOffloads::of(wish, found);
            (checksum, launch_time)
        };
        assert_eq!(told(Auto, true, true, card, true), (Driver, true));
        assert_eq!(told(Auto, true, true, none, true), (Software, false));
        assert_eq!(told(Auto, false, true, card, true), (Kernel, false), "copied, so no launch");
        assert_eq!(told(Auto, false, true, none, false), (Software, false), "veth");
        assert_eq!(told(Auto, true, false, card, true), (Software, false), "before 6.11");
        assert_eq!(told(ChecksumWish::Software, true, true, card, true), (Software, true));
        assert_eq!(told(ChecksumWish::Kernel, false, true, none, false), (Kernel, false));
        assert_eq!(told(KernelAlone, false, true, none, false), (Kernel, false));
        assert_eq!(told(KernelAlone, true, true, card, true), (Software, true));
    }
}
