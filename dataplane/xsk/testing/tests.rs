//! A queue against the kernel played in memory.

use super::*;
use crate::frame::{Frame, NO_SELECTOR};
use crate::xsk::queue::Group;

const UMEM: umem::Options =
    umem::Options { chunk_octets: 2048, frames: 64, pages: Pages::Ordinary };

fn bench() -> (Queue, Kernel) {
    pair(&UMEM, 16, 16).unwrap()
}

fn send_one(queue: &mut Queue, octets: &[u8]) {
    let mut frame = queue.take().unwrap();
    frame.set_len(octets.len());
    frame.bytes_mut().copy_from_slice(octets);
    let mut group: Group = [frame].into_iter().collect();
    assert_eq!(queue.send(&mut group), 1);
}

#[test]
fn a_received_packet_comes_with_its_selector() {
    let (mut queue, mut kernel) = bench();
    assert_eq!(kernel.deliver(b"a packet", 3), Delivery::Delivered);
    assert_eq!(kernel.deliver_bare(b"another"), Delivery::Delivered);
    let mut frames: Vec<Frame> = Vec::new();
    assert_eq!(queue.recv(&mut frames, 64), 2);
    assert_eq!((frames[0].bytes(), frames[0].selector()), (&b"a packet"[..], 3));
    assert_eq!((frames[1].bytes(), frames[1].selector()), (&b"another"[..], NO_SELECTOR));
    assert_eq!(queue.census().held, 2);
    frames.into_iter().for_each(|frame| queue.release(frame));
    assert_eq!(queue.census().unaccounted(), 0);
}

#[test]
fn a_group_goes_out_by_one_wakeup_and_comes_home() {
    let (mut queue, mut kernel) = bench();
    for octet in 0..5 {
        send_one(&mut queue, &[octet; 60]);
    }
    queue.kick();
    assert_eq!(kernel.wakeups(), (1, 0));
    for octet in 0..5 {
        assert_eq!(kernel.transmit().unwrap(), [octet; 60]);
    }
    queue.kick();
    assert_eq!(kernel.wakeups(), (2, 0), "it was not known yet that all had gone");
    queue.kick();
    assert_eq!(kernel.wakeups(), (2, 0), "nothing waits");
    assert_eq!(queue.census().tx, 5);
    assert_eq!(kernel.complete(64), 5);
    assert_eq!(queue.census().completion, 5);
    assert_eq!(queue.reap(), 5);
    assert_eq!((queue.census().tx, queue.census().unaccounted()), (0, 0));
}

#[test]
fn no_wakeup_where_the_kernel_asks_for_none() {
    let (mut queue, kernel) = bench();
    kernel.ask_for_wakeups(false);
    send_one(&mut queue, &[1; 60]);
    queue.kick();
    assert_eq!(kernel.wakeups(), (0, 0));
    kernel.ask_for_wakeups(true);
    queue.kick();
    assert_eq!(kernel.wakeups(), (1, 0), "the flag is read again");
}

#[test]
fn in_zero_copy_the_driver_is_told_once_and_again_when_it_has_looked_or_is_late() {
    let (mut queue, mut kernel) = bound(&UMEM, 16, 16, CopyMode::ZeroCopy).unwrap();
    let mut told = 0;
    let mut tells = |queue: &mut Queue, kernel: &Kernel, more: u64, why: &str| {
        (0..10).for_each(|_| queue.kick());
        told += more;
        assert_eq!(kernel.wakeups().0, told, "{why}");
    };
    send_one(&mut queue, &[1; 60]);
    send_one(&mut queue, &[2; 60]);
    tells(&mut queue, &kernel, 1, "both are new");
    assert!(queue.tx_pending(), "and are there still");
    send_one(&mut queue, &[3; 60]);
    tells(&mut queue, &kernel, 1, "one more is new");
    assert!(kernel.transmit().is_some());
    tells(&mut queue, &kernel, 1, "it has taken one and left two");
    kernel.complete(1);
    assert_eq!(queue.reap(), 1);
    tells(&mut queue, &kernel, 1, "it may have waited for room to complete into");
    queue.tell_again();
    tells(&mut queue, &kernel, 1, "it is late");
    while kernel.transmit().is_some() {}
    tells(&mut queue, &kernel, 1, "it was not known yet that it has taken all");
    kernel.complete(64);
    queue.reap();
    tells(&mut queue, &kernel, 0, "nothing waits");
    kernel.ask_for_wakeups(false);
    send_one(&mut queue, &[4; 60]);
    tells(&mut queue, &kernel, 0, "it looks by itself");
    kernel.ask_for_wakeups(true);
    tells(&mut queue, &kernel, 1, "it does not any more, and was not told");
}

#[test]
fn a_full_tx_ring_takes_what_fits_and_hands_the_rest_back() {
    let (mut queue, mut kernel) = bench();
    let mut group: Group = (0..20)
        .map(|_| {
            let mut frame = queue.take().unwrap();
            frame.set_len(60);
            frame
        })
        .collect();
    assert_eq!(queue.send(&mut group), 16);
    assert_eq!(group.len(), 4);
    assert_eq!(queue.send(&mut group), 0);
    while kernel.transmit().is_some() {}
    assert_eq!(queue.send(&mut group), 4);
    assert_eq!(queue.census().unaccounted(), 0);
}

#[test]
fn everyday_answers_are_counted_and_tried_again() {
    let (mut queue, mut kernel) = bench();
    send_one(&mut queue, &[1; 60]);
    for errno in [libc::EAGAIN, libc::EBUSY, libc::ENOBUFS, libc::ENETDOWN, libc::ENXIO] {
        kernel.answer_wakeups(errno);
        queue.kick();
    }
    let stats = queue.stats();
    let counted = [
        stats.wake_again,
        stats.wake_busy,
        stats.wake_no_buffers,
        stats.wake_link_down,
        stats.wake_other,
    ];
    assert_eq!(counted, [1; 5]);
    assert!(queue.tx_pending());
    assert!(kernel.transmit().is_some(), "nothing was lost");
}

#[test]
fn descriptors_that_cannot_be_true_are_counted_and_not_believed() {
    let (mut queue, mut kernel) = bench();
    let lies = [
        Descriptor { addr: 64 * 2048, len: 60, options: 0 },
        Descriptor { addr: u64::MAX, len: 60, options: 0 },
        Descriptor { addr: 256, len: 1793, options: 0 },
        Descriptor { addr: 256, len: 0, options: 0 },
        Descriptor { addr: 256, len: 60, options: 1 },
        // A chunk of the pool: the fill ring has only 16 of the 64.
        Descriptor { addr: 63 * 2048 + 256, len: 60, options: 0 },
    ];
    for lie in lies {
        assert!(kernel.post(lie));
    }
    assert!(kernel.post_completion(0));
    send_one(&mut queue, &[1; 60]);
    let mut frames: Vec<Frame> = Vec::new();
    assert_eq!(queue.recv(&mut frames, 64), 0);
    assert_eq!(queue.reap(), 0);
    assert_eq!(queue.stats().bad_descriptors, 7);
    assert_eq!(queue.census().unaccounted(), 0);
}

#[test]
fn the_kernel_names_its_losses() {
    let (mut queue, mut kernel) = bench();
    assert_eq!(kernel.deliver(&[0; 1793], 0), Delivery::TooLong);
    for _ in 0..16 {
        assert_eq!(kernel.deliver(&[0; 60], 0), Delivery::Delivered);
    }
    assert_eq!(kernel.deliver(&[0; 60], 0), Delivery::RingFull);
    let mut frames: Vec<Frame> = Vec::new();
    queue.recv(&mut frames, 64);
    assert_eq!(kernel.deliver(&[0; 60], 0), Delivery::NoChunk);
    queue.refill();
    assert_eq!(kernel.deliver(&[0; 60], 0), Delivery::Delivered);
    let lost = queue.kernel_statistics().unwrap();
    assert_eq!((lost.rx_dropped, lost.rx_ring_full, lost.rx_fill_ring_empty), (1, 1, 1));
    frames.into_iter().for_each(|frame| queue.release(frame));
}

#[test]
fn an_exhausted_umem_gives_no_frame_and_recovers() {
    let (mut queue, _kernel) = bench();
    let frames: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
    assert_eq!(frames.len(), 48, "64 less the fill ring's 16");
    frames.into_iter().for_each(|frame| queue.release(frame));
    assert!(queue.take().is_some());
}

#[test]
#[should_panic(expected = "a frame of another UMEM")]
fn a_frame_of_another_umem_is_our_mistake() {
    let (mut queue, _kernel) = bench();
    let (mut other, _other_kernel) = bench();
    let mut frame = other.take().unwrap();
    frame.set_len(60);
    queue.send(&mut [frame].into_iter().collect());
}

/// Random packets in and out, dropped frames among them: the law holds at every step.
#[test]
fn the_frame_law_holds_in_any_order_of_things() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7_u64);
    println!("SEED={seed}");
    let mut state = seed;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut queue, mut kernel) = bench();
    let mut held: Vec<Frame> = Vec::new();
    let mut lost = 0;
    for _ in 0..if cfg!(miri) { 200 } else { 20_000 } {
        match random(8) {
            0 => drop(kernel.deliver(&[0xa5; 60], 0)),
            1 => drop(queue.recv(&mut held, u32::try_from(random(8)).unwrap())),
            2 => held.extend(queue.take()),
            3 if !held.is_empty() => {
                let mut frame = held.swap_remove(0);
                frame.set_len(60);
                let mut group: Group = [frame].into_iter().collect();
                queue.send(&mut group);
                held.extend(group.drain(..));
            }
            4 if !held.is_empty() => queue.release(held.swap_remove(0)),
            5 if !held.is_empty() => {
                drop(held.swap_remove(0));
                lost += 1;
            }
            6 => while kernel.transmit().is_some() {},
            _ => {
                kernel.complete(usize::try_from(random(8)).unwrap());
                queue.reap();
                queue.refill();
            }
        }
        let census = queue.census();
        assert_eq!(census.unaccounted(), 0, "{census:?}");
        assert_eq!(census.held as usize, held.len());
        assert_eq!(queue.reclaimed_frames(), lost);
    }
    assert_eq!(queue.stats().bad_descriptors, 0);
}
