//! What does a packet of video cost the sender that builds it and the receiver that puts it together?
//!
//! In memory: no ring, no kernel. Pixels come as pgroups, or as planes that become pgroups in the
//! packet. Beside it what copying the same pixels takes, from and to the same
//! places. The least of many rounds counts, so that whatever else the machine does matters little.
//! `valgrind --tool=callgrind` counts the instructions; `ROUNDS=1` is enough for it.
#![allow(clippy::cast_precision_loss, clippy::print_stdout)] // What a benchmark is for.

use std::env;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tidegate::stream::header::{Flow, Header, Marks};
use tidegate::stream::video::assembler::{Assembler, Incomplete};
use tidegate::stream::video::convert::{self, Planar};
use tidegate::stream::video::packetizer::{Field, HEADER_OCTETS, Identity, Packetizer};
use tidegate::stream::video::packing::PacketOf;
use tidegate::stream::video::pattern::Pattern;
use tidegate::stream::video::{Depth, Format, Packing, Sampling, Spec};

/// Chunks of a UMEM, which packets are built into one after the other.
const CHUNKS: usize = 4096;
const CHUNK_OCTETS: usize = 2048;

/// Packets that a receiver finds at a time.
const BURST: usize = 64;

fn main() {
    println!(
        "{:<36} {:>7} {:>7} {:>7} {:>7}   {:>9} {:>7} {:>7}",
        "ns a packet", "built", "copied", "beyond", "planes", "assembled", "copied", "beyond"
    );
    for (width, height) in [(1920, 1080), (3840, 2160)] {
        for packing in [Packing::GpmLine, Packing::Gpm, Packing::Bpm] {
            let rate = "25".parse().expect("a rate");
            let spec = Spec { packing, ..Spec::new(width, height, Depth::Ten, rate) };
            measure(&spec.check().expect("a format"));
        }
    }
    let rate = "25".parse().expect("a rate");
    let small = Spec { sampling: Sampling::Rgb, ..Spec::new(1920, 1080, Depth::Eight, rate) };
    measure(&small.check().expect("a format"));
}

fn measure(format: &Format) {
    let rounds = env::var("ROUNDS").map_or(30, |text| text.parse().expect("a number"));
    let address = SocketAddr::new(Ipv4Addr::new(198, 18, 0, 1).into(), 20_000);
    let flow = Flow {
        source_mac: [2; 6],
        destination_mac: [2; 6],
        source: address,
        destination: address,
        marks: Marks::default(),
    };
    let packetizer = Packetizer::new(&Identity { payload_type: 96, ssrc: 1 }, format);
    let header = Header::new(&flow, packetizer.payload_octets_max()).expect("both are IPv4");
    let octets = |packet: &PacketOf| header.octets() + packetizer.payload_octets(packet);
    let mut pattern = Pattern::new(*format);
    let mut umem = vec![0; CHUNKS * CHUNK_OCTETS];
    let mut assembler = Assembler::new(*format, 96, Incomplete::Drop, 5);
    let packets: Vec<PacketOf> = format.packets().collect();
    let mut frame = vec![vec![0; CHUNK_OCTETS]; BURST];
    let mut memory = vec![0; format.frame_octets()];
    let row_octets = format.row_octets() as usize;
    let size = format.pgroup().octets as usize;

    let planes = vec![0x5a; convert::planar_octets(format)];
    let planar = Planar::new(format, &planes);

    let mut least = [Duration::MAX; 5];
    let (mut sequence, mut received) = (0, 0);
    for number in 0..rounds {
        let picture = pattern.picture(number);
        let field = Field { index: 0, timestamp: format.field_timestamp(number, 0) };

        let start = Instant::now();
        let chunks = (0..CHUNKS).cycle();
        for (packet, chunk) in format.packets().zip(chunks.clone()) {
            let into = &mut umem[chunk * CHUNK_OCTETS..][..octets(&packet)];
            packetizer.write(header.write(into), &packet, sequence, field, &picture);
            sequence += 1;
        }
        least[0] = least[0].min(start.elapsed());

        let start = Instant::now();
        for (packet, chunk) in packets.iter().zip(chunks) {
            let mut into = &mut umem[chunk * CHUNK_OCTETS + header.octets() + HEADER_OCTETS..];
            for segment in packet.segments() {
                let octets = usize::from(segment.pgroups) * size;
                let (piece, rest) = into.split_at_mut(octets);
                let from = usize::from(segment.start) * size;
                piece.copy_from_slice(picture.octets(segment.row.into(), from, octets));
                into = rest;
            }
        }
        least[1] = least[1].min(start.elapsed());

        // Packets come to a receiver in bursts, just written by the kernel or the card.
        let mut came = [Duration::ZERO; 2];
        for (at, took) in came.iter_mut().enumerate() {
            for burst in packets.chunks(BURST) {
                for ((packet, into), number) in burst.iter().zip(&mut frame).zip(received..) {
                    into.resize(packetizer.payload_octets(packet), 0);
                    packetizer.write(into, packet, number, field, &picture);
                }
                let start = Instant::now();
                if at == 0 {
                    for packet in &frame[..burst.len()] {
                        black_box(assembler.packet(black_box(packet)));
                    }
                    received += u32::try_from(burst.len()).expect("few");
                } else {
                    store(&mut memory, burst, &frame, row_octets, size);
                }
                *took += start.elapsed();
            }
        }
        let done = assembler.take_delivered().expect("a frame");
        assembler.give_back(done.octets.expect("its pixels"));
        least[2] = least[2].min(came[0]);
        least[3] = least[3].min(came[1]);
        black_box(&memory);

        let start = Instant::now();
        for (packet, chunk) in format.packets().zip((0..CHUNKS).cycle()) {
            let into = &mut umem[chunk * CHUNK_OCTETS..][..octets(&packet)];
            packetizer.write(header.write(into), &packet, sequence, field, &planar);
        }
        least[4] = least[4].min(start.elapsed());
    }
    let [built, copied, assembled, stored, converted] =
        least.map(|least| least.as_nanos() as f64 / packets.len() as f64);
    println!(
        "{:<36} {built:>7.1} {copied:>7.1} {:>7.1} {converted:>7.1}   {assembled:>9.1} {stored:>7.1} \
         {:>7.1}",
        format!("{format}, {:?}", format.packing()),
        built - copied,
        assembled - stored,
    );
}

/// Puts the pixels of a burst where they belong, and nothing else.
fn store(memory: &mut [u8], burst: &[PacketOf], frame: &[Vec<u8>], row_octets: usize, size: usize) {
    for (packet, into) in burst.iter().zip(frame) {
        let mut data = &into[into.len() - packet.pgroups() as usize * size..];
        for segment in packet.segments() {
            let octets = usize::from(segment.pgroups) * size;
            let at = usize::from(segment.row) * row_octets + usize::from(segment.start) * size;
            memory[at..at + octets].copy_from_slice(&data[..octets]);
            data = &data[octets..];
        }
    }
}
