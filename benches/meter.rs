//! What does measuring a stream cost, per packet?
//!
//!     cargo bench --bench meter
//!
//! 1080p50, 4320 packets a frame, against a loop that only makes the times. `ROUNDS=1 ONLY=sender
//! valgrind --tool=callgrind target/release/deps/meter-…` counts instructions.

#![allow(clippy::cast_precision_loss)] // Nanoseconds to be looked at.
#![allow(clippy::cast_possible_truncation)] // Sequence numbers.
#![allow(clippy::print_stdout)] // What a benchmark is for.

use std::hint::black_box;
use std::time::Instant;

use tidegate::stream::timing::arrivals::{Arrivals, Expected, Stamp};
use tidegate::stream::timing::meter::Reference;
use tidegate::stream::timing::schedule::{Images, Scan, Schedule};
use tidegate::stream::timing::{Class, Meter};

const PACKETS: u32 = 4320;
const FRAMES: u64 = 500;

fn images() -> Images {
    Images {
        frames: "50".parse().expect("a rate"),
        scan: Scan::Progressive,
        height: 1080,
        packets: PACKETS,
    }
}

/// Frames of groups of `size`, each at its time and a little late; the work is done on each.
fn groups(size: u32, mut frame: impl FnMut(u64, u64), mut group: impl FnMut(u64, u32)) {
    let mut late = 1_u64;
    for number in 0..FRAMES {
        let start_ns = number * 20_000_000 + 746_667;
        frame(number, start_ns);
        for packet in (0..PACKETS).step_by(size as usize) {
            late = late.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            group(start_ns + u64::from(packet) * 40_000 / 9 + (late >> 53), size);
        }
    }
}

fn main() {
    let schedule = Schedule::new(images(), Class::Narrow.read(), None).expect("a schedule");
    let meter = move |size: u32| {
        let mut meter = Meter::new(schedule, Reference::Epoch);
        let cell = std::cell::RefCell::new(&mut meter);
        groups(
            size,
            |number, at_ns| cell.borrow_mut().begin(number, at_ns, 0),
            |at_ns, count| {
                black_box(cell.borrow_mut().group(at_ns, count));
            },
        );
        black_box(meter.end());
    };
    let nothing = |size: u32| {
        groups(
            size,
            |_, _| (),
            |at_ns, count| {
                black_box((at_ns, count));
            },
        );
    };
    let arrivals = |burst: u32| {
        let expected = Expected {
            images: images(),
            class: Class::Narrow,
            offset_us: None,
            reference: Reference::Epoch,
        };
        let mut arrivals = Arrivals::with_packets(expected, PACKETS).expect("a schedule");
        let (timestamp, mut sequence) = (std::cell::Cell::new(0), 0_u16);
        groups(
            burst,
            |number, _| timestamp.set((number * 1800) as u32),
            |at_ns, count| {
                for _ in 0..count {
                    let stamp = Stamp { sequence, timestamp: timestamp.get(), marker: false };
                    sequence = sequence.wrapping_add(1);
                    black_box(arrivals.packet(at_ns, 0, stamp));
                }
            },
        );
    };
    type Work<'a> = (&'a str, &'a dyn Fn(u32), u32);
    let works: [Work<'_>; 6] = [
        ("nothing, groups of 1", &nothing, 1),
        ("sender, groups of 1", &meter, 1),
        ("nothing, groups of 3", &nothing, 3),
        ("sender, groups of 3", &meter, 3),
        ("receiver, a packet a burst", &arrivals, 1),
        ("receiver, 16 packets a burst", &arrivals, 16),
    ];
    let only = std::env::var("ONLY").unwrap_or_default();
    let rounds: u32 = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let packets = f64::from(PACKETS) * FRAMES as f64;
    println!("best of {rounds} rounds of {FRAMES} frames of 1080p50");
    for (name, work, size) in works.iter().filter(|work| work.0.contains(&only)) {
        let time = |_| {
            let start = Instant::now();
            work(*size);
            start.elapsed().as_secs_f64()
        };
        let best = (0..rounds).map(time).fold(f64::INFINITY, f64::min);
        println!("  {name:<28} {:>6.2} ns a packet", best * 1e9 / packets);
    }
}
