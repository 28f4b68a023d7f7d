//! How fast does one core turn planes of samples into pgroups, and back?
//!
//! Gigabytes of pgroups in a second, beside what copying as many octets takes. The least of many
//! rounds counts, so that whatever else the machine does matters little. 2160p does not fit the
//! caches, 1080p may.
#![allow(clippy::cast_precision_loss, clippy::print_stdout)] // What a benchmark is for.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate::stream::video::{Depth, Format, Packing, Sampling, Spec, convert};

fn main() {
    println!("{:<28} {:>8} {:>8} {:>8}", "GB/s of pgroups", "copy", "pack", "unpack");
    for (width, height) in [(1920, 1080), (3840, 2160)] {
        for sampling in [Sampling::YCbCr422, Sampling::YCbCr444, Sampling::YCbCr420] {
            for depth in Depth::ALL {
                let rate = "25".parse().expect("a rate");
                let spec = Spec::new(width, height, depth, rate);
                let spec = Spec { sampling, packing: Packing::Gpm, ..spec };
                measure(&spec.check().expect("a format"));
            }
        }
    }
}

fn measure(format: &Format) {
    let mut planes: Vec<u8> = (0..convert::planar_octets(format)).map(octet).collect();
    let mut picture: Vec<u8> = (0..format.frame_octets()).map(octet).collect();
    let other = picture.clone();
    let octets = picture.len();
    let mut least = [Duration::MAX; 3];
    for _ in 0..30 {
        let laps = [
            time(|| picture.copy_from_slice(black_box(&other))),
            time(|| convert::from_planes(format, black_box(&planes), &mut picture)),
            time(|| convert::to_planes(format, black_box(&picture), &mut planes)),
        ];
        least = std::array::from_fn(|at| least[at].min(laps[at]));
    }
    let [copy, pack, unpack] = least.map(|least| octets as f64 / least.as_secs_f64() / 1e9);
    println!("{:<28} {copy:>8.1} {pack:>8.1} {unpack:>8.1}", format.to_string());
}

fn octet(at: usize) -> u8 {
    (at % 251).to_le_bytes()[0]
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
