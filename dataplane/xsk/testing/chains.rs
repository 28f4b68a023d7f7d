//! Packets in several chunks, against the kernel played in memory.

use std::collections::VecDeque;

use super::*;
use crate::frame::{Frame, NO_SELECTOR};
use crate::xsk::queue::Group;

const UMEM: umem::Options =
    umem::Options { chunk_octets: 2048, frames: 256, pages: Pages::Ordinary };

/// Octets of a received packet in each chunk but the last.
const PART: usize = 2048 - 256;

/// Chunks of the longest packet.
const CHUNKS: usize = CHUNKS_MAX as usize;

/// Ethernet around an IP packet of 9,000 octets.
const JUMBO: usize = 9014;

fn bench() -> (Queue, Kernel) {
    multi_buffer_pair(&UMEM, 64, 64).unwrap()
}

/// `octets` octets in which no two places of a packet, and no two packets, look alike.
fn packet(number: usize, octets: usize) -> Vec<u8> {
    (0..octets).map(|at| ((at * 31 + at / 251 + number * 7) % 251).to_le_bytes()[0]).collect()
}

fn whole(frame: &Frame) -> Vec<u8> {
    let parts: Vec<u8> = frame.parts().flatten().copied().collect();
    assert_eq!(parts.len(), frame.octets());
    assert_eq!(frame.parts().count(), frame.chunks() as usize);
    assert_eq!(frame.parts().next().unwrap(), frame.bytes());
    assert!(frame.parts().all(|part| !part.is_empty()));
    assert_eq!(frame.contiguous(&mut Vec::new()), parts);
    parts
}

/// A blank frame with `packet` written into it.
fn built(queue: &mut Queue, packet: &[u8]) -> Option<Frame> {
    let mut frame = queue.take_packet(packet.len())?;
    let mut rest = packet;
    for part in frame.parts_mut() {
        let (here, behind) = rest.split_at(part.len());
        part.copy_from_slice(here);
        rest = behind;
    }
    assert!(rest.is_empty());
    Some(frame)
}

fn recv(queue: &mut Queue, max: u32) -> Vec<Frame> {
    let mut frames = Vec::new();
    let count = queue.recv(&mut frames, max);
    assert_eq!(count as usize, frames.len());
    frames
}

fn at_home(queue: &Queue) {
    let census = queue.census();
    assert_eq!(census.unaccounted(), 0, "{census:?}");
    assert_eq!((census.held, census.held_parts), (0, 0), "{census:?}");
}

#[test]
fn a_long_packet_is_one_frame_with_its_selector() {
    let (mut queue, mut kernel) = bench();
    let packets = [packet(0, 60), packet(1, JUMBO), packet(2, 60)];
    for packet in &packets {
        assert_eq!(kernel.deliver(packet, 3), Delivery::Delivered);
    }
    let frames = recv(&mut queue, 64);
    assert_eq!(frames.iter().map(whole).collect::<Vec<_>>(), packets);
    assert!(frames.iter().all(|frame| frame.selector() == 3));
    assert_eq!(frames.iter().map(Frame::chunks).collect::<Vec<_>>(), [1, 6, 1]);
    assert_eq!(frames.iter().map(Frame::is_chain).collect::<Vec<_>>(), [false, true, false]);
    let census = queue.census();
    assert_eq!((census.held, census.held_parts), (3, 5));
    frames.into_iter().for_each(Frame::release);
    let stats = *queue.stats();
    assert_eq!((stats.rx_frames, stats.rx_parts, stats.rx_octets), (3, 5, 120 + JUMBO as u64));
    assert_eq!(queue.released_frames(), 3, "packets, not chunks");
    at_home(&queue);
}

#[test]
fn every_length_up_to_the_last_chunk_comes_whole() {
    let (mut queue, mut kernel) = bench();
    for chunks in 1..=CHUNKS {
        for octets in [(chunks - 1) * PART + 1, chunks * PART - 1, chunks * PART] {
            let sent = packet(octets, octets);
            assert_eq!(kernel.deliver(&sent, 0), Delivery::Delivered);
            let [frame] = <[Frame; 1]>::try_from(recv(&mut queue, 1)).unwrap();
            assert_eq!(frame.chunks() as usize, chunks);
            assert_eq!(whole(&frame), sent);
            frame.release();
            queue.refill();
        }
    }
    at_home(&queue);
}

#[test]
fn a_packet_of_too_many_chunks_is_counted_and_comes_home() {
    let (mut queue, mut kernel) = bench();
    assert_eq!(kernel.deliver(&packet(0, CHUNKS * PART + 1), 0), Delivery::Delivered);
    assert_eq!(kernel.deliver(&packet(1, 60), 0), Delivery::Delivered);
    let frames = recv(&mut queue, 64);
    assert_eq!(frames.iter().map(whole).collect::<Vec<_>>(), [packet(1, 60)]);
    let stats = queue.stats();
    assert_eq!((stats.overlong_packets, stats.bad_descriptors), (1, 0));
    assert_eq!((stats.rx_frames, stats.rx_octets), (1, 60));
    frames.into_iter().for_each(Frame::release);
    assert_eq!(queue.released_frames(), 1, "the other one was never a frame");
    at_home(&queue);
}

/// Each lie as the first, the middle and the last part of a packet.
#[test]
fn a_packet_with_one_bad_descriptor_is_not_taken_and_comes_home() {
    let lies: [fn(u64, u64) -> Descriptor; 6] = [
        |_, _| Descriptor { addr: 256 * 2048, len: 60, options: 0 },
        |_, _| Descriptor { addr: u64::MAX, len: 60, options: 0 },
        |own, _| Descriptor { addr: own + 256, len: 1793, options: 0 },
        |own, _| Descriptor { addr: own + 256, len: 0, options: 0 },
        |own, _| Descriptor { addr: own + 256, len: 60, options: 2 },
        // A chunk that is in the packet already, or will be.
        |_, other| Descriptor { addr: other + 256, len: 60, options: 0 },
    ];
    for lie in lies {
        for place in 0..3 {
            let (mut queue, mut kernel) = bench();
            let chunks: Vec<u64> = (0..3).map(|_| kernel.take_chunk().unwrap()).collect();
            for (at, chunk) in chunks.iter().enumerate() {
                let truth = Descriptor { addr: chunk + 256, len: 100, options: 0 };
                let told = if at == place { lie(*chunk, chunks[(at + 1) % 3]) } else { truth };
                let more = if at < 2 { XDP_PKT_CONTD } else { 0 };
                assert!(kernel.post(Descriptor { options: told.options | more, ..told }));
            }
            kernel.deliver(&packet(1, 60), 0);
            let frames = recv(&mut queue, 64);
            assert_eq!(frames.iter().map(whole).collect::<Vec<_>>(), [packet(1, 60)]);
            let stats = queue.stats();
            assert_eq!((stats.bad_descriptors, stats.overlong_packets), (1, 0));
            frames.into_iter().for_each(Frame::release);
            let census = queue.census();
            assert_eq!((census.unaccounted(), census.held, census.held_parts), (0, 0, 0));
            assert_eq!(census.rx, 0);
        }
    }
}

#[test]
fn a_packet_whose_end_is_not_there_is_waited_for() {
    let (mut queue, mut kernel) = bench();
    let chunks: Vec<u64> = (0..3).map(|_| kernel.take_chunk().unwrap()).collect();
    let part = |at: usize, options| Descriptor { addr: chunks[at] + 256, len: 100, options };
    for at in 0..2 {
        assert!(kernel.post(part(at, XDP_PKT_CONTD)));
        assert!(recv(&mut queue, 64).is_empty());
        assert_eq!(queue.census().rx as usize, at + 1, "left where it is");
    }
    assert!(kernel.post(part(2, 0)));
    let frames = recv(&mut queue, 64);
    assert_eq!(frames.iter().map(Frame::chunks).collect::<Vec<_>>(), [3]);
    assert_eq!(frames[0].selector(), NO_SELECTOR);
    frames.into_iter().for_each(Frame::release);
    at_home(&queue);
}

#[test]
fn a_ring_full_of_a_packet_without_an_end_is_emptied() {
    let (mut queue, mut kernel) = bench();
    while let Some(chunk) = kernel.take_chunk() {
        assert!(kernel.post(Descriptor { addr: chunk + 256, len: 9, options: XDP_PKT_CONTD }));
    }
    assert_eq!(queue.census().rx, 64, "the whole ring");
    assert!(recv(&mut queue, 64).is_empty());
    assert_eq!(queue.stats().overlong_packets, 1);
    queue.refill();
    at_home(&queue);
    kernel.deliver(&packet(1, 60), 0);
    let frames = recv(&mut queue, 64);
    assert_eq!(frames.len(), 1, "it goes on");
    frames.into_iter().for_each(Frame::release);
}

#[test]
fn a_burst_is_counted_in_packets() {
    let (mut queue, mut kernel) = bench();
    for number in 0..10 {
        assert_eq!(kernel.deliver(&packet(number, JUMBO), 0), Delivery::Delivered);
    }
    let mut seen = 0;
    for expected in [1, 4, 4, 1, 0] {
        let frames = recv(&mut queue, if seen == 0 { 1 } else { 4 });
        assert_eq!(frames.len(), expected);
        for frame in frames {
            assert_eq!(whole(&frame), packet(seen, JUMBO));
            frame.release();
            seen += 1;
        }
    }
    assert_eq!(seen, 10);
    at_home(&queue);
}

#[test]
fn a_long_packet_is_built_and_sent_whole() {
    let (mut queue, mut kernel) = bench();
    let capacity = queue.packet_capacity();
    assert_eq!(capacity, 17 * (2048 - 64));
    let blank = queue.blank_capacity();
    for octets in [1, blank, blank + 1, 2 * blank, 2 * blank + 1, JUMBO, capacity] {
        let sent = packet(octets, octets);
        let frame = built(&mut queue, &sent).unwrap();
        assert_eq!((frame.octets(), frame.is_chain()), (octets, octets > blank));
        let chunks = frame.chunks();
        assert_eq!(queue.send(&mut [frame].into_iter().collect()), 1);
        assert_eq!(queue.tx_outstanding(), chunks);
        assert_eq!(kernel.transmit().unwrap(), sent);
        assert_eq!(kernel.complete(64), chunks as usize);
        assert_eq!(queue.reap(), chunks);
        at_home(&queue);
    }
    let stats = queue.stats();
    assert_eq!((stats.tx_frames, stats.tx_parts), (7, 1 + 1 + 2 + 4 + 16));
    assert_eq!(stats.completed_frames, stats.tx_frames + stats.tx_parts);
}

#[test]
fn a_received_packet_is_sent_back_as_it_is() {
    let (mut queue, mut kernel) = bench();
    kernel.deliver(&packet(1, JUMBO), 0);
    let mut frames = recv(&mut queue, 64);
    for part in frames[0].parts_mut() {
        part[0] ^= 0xff;
    }
    let expected = whole(&frames[0]);
    assert_ne!(expected, packet(1, JUMBO));
    assert_eq!(queue.send(&mut frames.drain(..).collect()), 1);
    assert_eq!(kernel.transmit().unwrap(), expected);
    kernel.complete(64);
    queue.reap();
    at_home(&queue);
}

#[test]
fn no_packet_is_put_on_a_ring_in_part() {
    let (mut queue, mut kernel) = bench();
    let frame = |queue: &mut Queue, number, octets| built(queue, &packet(number, octets)).unwrap();
    let mut group: Group = (0..10).map(|number| frame(&mut queue, number, JUMBO)).collect();
    let short = frame(&mut queue, 10, 60);
    group.push(short);
    assert_eq!(group[0].chunks(), 5);
    // 12 of 5 would fit, with 10 of them there is room for 14 more.
    assert_eq!(queue.send(&mut group), 11);
    let mut late: Group = (11..15).map(|number| frame(&mut queue, number, JUMBO)).collect();
    let short = frame(&mut queue, 15, 60);
    late.push(short);
    assert_eq!(queue.send(&mut late), 2, "13 descriptors of room: the third stays whole");
    assert_eq!(late.len(), 3);
    assert_eq!(queue.send(&mut late), 0, "nor does a short one overtake it");
    for number in 0..13 {
        let octets = if number == 10 { 60 } else { JUMBO };
        assert_eq!(kernel.transmit().unwrap(), packet(number, octets));
    }
    assert!(kernel.transmit().is_none());
    assert_eq!(queue.send(&mut late), 3);
    assert_eq!(queue.census().unaccounted(), 0);
}

#[test]
fn a_pool_with_too_few_chunks_gives_none_of_them() {
    let (mut queue, _kernel) = bench();
    let mut frames: Vec<Frame> = (0..189).map(|_| queue.take().unwrap()).collect();
    assert_eq!(queue.census().free, 3);
    assert!(queue.take_packet(JUMBO).is_none());
    assert_eq!(queue.census().free, 3);
    frames.pop().unwrap().release();
    assert!(queue.take_packet(JUMBO).is_none());
    frames.pop().unwrap().release();
    queue.take_packet(JUMBO).unwrap().release();
    frames.into_iter().for_each(Frame::release);
    at_home(&queue);
}

#[test]
fn a_dropped_packet_is_reclaimed_once_with_all_its_chunks() {
    let (mut queue, mut kernel) = bench();
    kernel.deliver(&packet(1, JUMBO), 0);
    drop(recv(&mut queue, 64));
    assert_eq!(queue.reclaimed_frames(), 1);
    at_home(&queue);
    drop(queue.take_packet(JUMBO).unwrap());
    assert_eq!(queue.reclaimed_frames(), 2);
    at_home(&queue);
}

#[test]
#[should_panic(expected = "the length of a packet in several chunks is what they hold")]
fn a_long_packet_is_not_cut() {
    let (mut queue, _kernel) = bench();
    queue.take_packet(JUMBO).unwrap().set_len(60);
}

#[test]
#[should_panic(expected = "2000 of 1984")]
fn a_queue_without_multi_buffer_builds_no_long_packet() {
    let (mut queue, _kernel) = pair(&UMEM, 64, 64).unwrap();
    queue.take_packet(2000);
}

#[test]
fn a_queue_without_multi_buffer_takes_no_part_for_a_packet() {
    let (mut queue, mut kernel) = pair(&UMEM, 64, 64).unwrap();
    assert_eq!(kernel.deliver(&packet(0, PART + 1), 0), Delivery::TooLong);
    let chunk = kernel.take_chunk().unwrap();
    assert!(kernel.post(Descriptor { addr: chunk + 256, len: 60, options: XDP_PKT_CONTD }));
    assert!(recv(&mut queue, 64).is_empty());
    assert_eq!(queue.stats().bad_descriptors, 1);
}

/// A walk against a model: what comes is what was delivered, what goes is what was built, every
/// octet of it, and every chunk is somewhere at every step.
#[test]
#[allow(clippy::too_many_lines)] // One table of operations.
fn packets_of_any_length_stay_whole_in_any_order_of_things() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7_u64);
    println!("SEED={seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 8).unwrap() % below
    };
    let (mut queue, mut kernel) = bench();
    // Delivered and not received; with the shard, each with what is in it; sent and not gone.
    let mut coming: VecDeque<Vec<u8>> = VecDeque::new();
    let mut held: Vec<(Frame, Vec<u8>)> = Vec::new();
    let mut going: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut number, mut lost, mut released, mut lies) = (0, 0, 0, 0);
    let (mut longest, mut refused) = (0, 0);
    for _ in 0..if cfg!(miri) { 300 } else { 20_000 } {
        let octets = match random(4) {
            0 => 1 + random(200),
            1 => PART - 2 + random(5),
            2 => 1 + random(JUMBO),
            _ => 1 + random(CHUNKS * PART + 2000),
        };
        match random(10) {
            0 | 1 => {
                number += 1;
                let packet = packet(number, octets);
                if kernel.deliver(&packet, 0) == Delivery::Delivered {
                    coming.push_back(packet);
                }
            }
            2 => {
                let overlong = queue.stats().overlong_packets;
                for frame in recv(&mut queue, u32::try_from(random(5)).unwrap()) {
                    while coming[0].len() > CHUNKS * PART {
                        coming.pop_front();
                    }
                    let expected = coming.pop_front().unwrap();
                    assert_eq!(whole(&frame), expected);
                    longest = longest.max(frame.chunks());
                    held.push((frame, expected));
                }
                refused += queue.stats().overlong_packets - overlong;
                let rest = coming.iter().filter(|packet| packet.len() <= CHUNKS * PART);
                assert!(rest.count() as u64 <= u64::from(queue.census().rx));
            }
            3 => {
                number += 1;
                let octets = octets.min(queue.packet_capacity());
                let packet = packet(number, octets);
                held.extend(built(&mut queue, &packet).map(|frame| (frame, packet)));
            }
            4 if !held.is_empty() => {
                let count = 1 + random(held.len().min(4));
                let (frames, mut packets): (Vec<_>, VecDeque<_>) = held.drain(..count).unzip();
                let mut group: Group = frames.into_iter().collect();
                let sent = queue.send(&mut group) as usize;
                going.extend(packets.drain(..sent));
                held.extend(group.drain(..).zip(packets));
            }
            5 if !held.is_empty() => {
                held.swap_remove(random(held.len())).0.release();
                released += 1;
            }
            6 if !held.is_empty() => {
                drop(held.swap_remove(random(held.len())));
                lost += 1;
            }
            7 => {
                while let Some(packet) = kernel.transmit() {
                    assert_eq!(packet, going.pop_front().unwrap());
                }
            }
            8 if kernel.fill_waiting() > 3 && queue.census().rx <= 64 - 3 => {
                // A packet of three, of which one is nowhere.
                let place = random(3);
                for at in 0..3 {
                    let nowhere = u64::from(UMEM.frames) * 2048;
                    let chunk = if at == place { nowhere } else { kernel.take_chunk().unwrap() };
                    let options = if at < 2 { XDP_PKT_CONTD } else { 0 };
                    assert!(kernel.post(Descriptor { addr: chunk + 256, len: 60, options }));
                }
                lies += 1;
            }
            _ => {
                kernel.complete(random(40));
                queue.reap();
                queue.refill();
            }
        }
        let census = queue.census();
        // A lie that waits in the RX ring stands for no chunk.
        let waiting = lies - queue.stats().bad_descriptors;
        assert!(u64::from(census.unaccounted()) <= waiting, "{census:?}");
        assert_eq!(census.held as usize, held.len());
        let parts: u32 = held.iter().map(|(frame, _)| frame.chunks() - 1).sum();
        assert_eq!(census.held_parts, parts);
        assert_eq!(queue.reclaimed_frames(), lost);
        assert_eq!(queue.released_frames(), released);
    }
    recv(&mut queue, 64).into_iter().for_each(Frame::release);
    assert_eq!(queue.stats().bad_descriptors, lies);
    for (frame, packet) in held {
        assert_eq!(whole(&frame), packet, "untouched by all that went on around it");
        frame.release();
    }
    while let Some(packet) = kernel.transmit() {
        assert_eq!(packet, going.pop_front().unwrap());
    }
    while kernel.complete(usize::MAX) > 0 {
        queue.reap();
    }
    assert_eq!(queue.tx_outstanding(), 0);
    assert_eq!((queue.census().unaccounted(), queue.census().held_parts), (0, 0));
    assert_eq!(queue.stats().completed_frames, queue.stats().tx_frames + queue.stats().tx_parts);
    assert!(
        cfg!(miri) || (longest > 10 && refused > 3 && lies > 100),
        "{longest} {refused} {lies}"
    );
}
