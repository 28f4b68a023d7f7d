//! Packets longer than a chunk: whether to ask for multi-buffer, and what to say about what came.
//!
//! Pure: the same port, the same advice. It is judged by the interface's MTU at the start; who
//! raises the MTU later starts again.

use tidegate_config as config;
use tidegate_dataplane::driver::{Driver, NOT_MTU_OCTETS};
use tidegate_dataplane::xsk::{CopyMode, MultiBuffer};

/// The fill ring is filled up when so many chunks are missing ([`tidegate_dataplane::xsk::Queue::refill`]).
const REFILL: u32 = 8;

/// An open port, as far as the length of packets matters.
#[derive(Clone, Debug)]
pub(super) struct Port<'a> {
    pub(super) interface: &'a str,
    pub(super) queue: u32,
    pub(super) mtu: u32,
    pub(super) chunk_octets: u32,
    /// Octets of a received packet in each chunk, but for the last.
    pub(super) part_octets: u32,
    /// Chunks, and how many of them the fill ring is kept at.
    pub(super) frames: u32,
    pub(super) fill_frames: u32,
    /// Chunks that a packet may have: what the bind obtained.
    pub(super) packet_chunks_max: u32,
    pub(super) services: &'a [Reader],
}

/// One service of a port.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) name: Box<str>,
    pub(super) held_frames_max: u32,
    /// It reads packets in several chunks.
    pub(super) reads_parts: bool,
}

/// What to ask of the bind for packets of `mtu`: several chunks only where one does not hold them,
/// however it is filled. A driver that uses less of it in zero-copy is for the size of chunks.
pub(super) const fn wanted(
    said: config::MultiBuffer,
    driver: &Driver,
    mtu: u32,
    chunk_octets: u32,
) -> MultiBuffer {
    match said {
        config::MultiBuffer::Off => MultiBuffer::Off,
        config::MultiBuffer::On => MultiBuffer::Require,
        config::MultiBuffer::Auto if driver.fits(chunk_octets, mtu, CopyMode::Copy) => {
            MultiBuffer::Off
        }
        config::MultiBuffer::Auto => MultiBuffer::Prefer,
    }
}

/// What an operator should know of a port, each with the remedy.
pub(super) fn remarks(port: &Port<'_>) -> Vec<String> {
    let Port { interface, queue, mtu, part_octets, fill_frames, packet_chunks_max, .. } = *port;
    let at = format!("{interface} queue {queue}");
    let longest = mtu.saturating_add(NOT_MTU_OCTETS);
    let held = packet_chunks_max.saturating_mul(part_octets);
    let mut said = Vec::new();
    if longest > held {
        let (what, counter) = match packet_chunks_max {
            1 => {
                ("the one chunk that a packet may have here holds".to_owned(), "kernel_rx_dropped")
            }
            n => (format!("the {n} chunks that a packet may have hold"), "overlong_packets"),
        };
        let several = (packet_chunks_max == 1)
            .then_some("let multi_buffer be \"auto\" (where the driver can), ");
        let larger = (port.chunk_octets == 2048).then_some("leave umem.chunk_octets out, ");
        let remedies = [several, larger].into_iter().flatten().collect::<String>();
        let mtu_held = held - NOT_MTU_OCTETS;
        said.push(format!(
            "{at}: the MTU is {mtu}, {what} an MTU of {mtu_held}; longer packets are lost and \
             counted as {counter}; {remedies}or `ip link set {interface} mtu {mtu_held}`"
        ));
    }
    // Of the longest packet that is taken at all.
    let chunks = longest.min(held).div_ceil(part_octets);
    if chunks == 1 {
        return said;
    }
    if fill_frames < chunks + REFILL - 1 {
        let least = (chunks + REFILL - 1).next_multiple_of(REFILL);
        said.push(format!(
            "{at}: a packet of the MTU {mtu} takes {chunks} chunks, fill_frames = {fill_frames} \
             does not always have them ready; set fill_frames = {least} or more"
        ));
    }
    for Reader { name, held_frames_max, reads_parts } in port.services {
        if !reads_parts {
            said.push(format!(
                "{at}: service {name:?} reads packets in one chunk, up to {part_octets} octets; longer \
                 ones that its selectors name are dropped as in_parts"
            ));
            continue;
        }
        let spare = port.frames - fill_frames;
        if u64::from(*held_frames_max) * u64::from(chunks) > u64::from(spare) {
            said.push(format!(
                "{at}: service {name:?} may hold {held_frames_max} packets of {chunks} chunks, and \
                 umem.frames - fill_frames leaves {spare} chunks; set its held_frames_max to {} or \
                 umem.frames to {}, or one that hoards starves its neighbours",
                (spare / chunks).max(1),
                fill_frames.saturating_add(held_frames_max.saturating_mul(chunks)),
            ));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(held_frames_max: u32, reads_parts: bool) -> [Reader; 1] {
        [Reader { name: "shield".into(), held_frames_max, reads_parts }]
    }

    fn port(mtu: u32, packet_chunks_max: u32, services: &[Reader]) -> Port<'_> {
        Port {
            interface: "eth1",
            queue: 0,
            mtu,
            chunk_octets: 2048,
            part_octets: 1792,
            frames: 8192,
            fill_frames: 2048,
            packet_chunks_max,
            services,
        }
    }

    #[test]
    fn auto_asks_where_the_mtu_is_longer_than_a_chunk_holds() {
        use config::MultiBuffer::{Auto, Off, On};
        let cases = [
            (Auto, 1500, 2048, MultiBuffer::Off),
            (Auto, 1770, 2048, MultiBuffer::Off),
            (Auto, 1771, 2048, MultiBuffer::Prefer),
            (Auto, 3818, 4096, MultiBuffer::Off),
            (Auto, 3819, 4096, MultiBuffer::Prefer),
            (Auto, u32::MAX, 4096, MultiBuffer::Prefer),
            (On, 1500, 4096, MultiBuffer::Require),
            (Off, 9000, 2048, MultiBuffer::Off),
        ];
        for (said, mtu, chunk_octets, expected) in cases {
            assert_eq!(
                wanted(said, Driver::named("igb"), mtu, chunk_octets),
                expected,
                "{said:?} {mtu} {chunk_octets}"
            );
        }
    }

    #[test]
    fn an_ordinary_port_and_one_that_obtained_all_are_no_matter() {
        let hoarder = service(1_000_000, false);
        assert_eq!(remarks(&port(1500, 1, &hoarder)), [""; 0], "packets have one chunk");
        assert_eq!(remarks(&port(9000, 17, &service(1024, true))), [""; 0], "the defaults fit");
    }

    #[test]
    fn an_mtu_that_is_too_long_is_named_with_what_fits() {
        assert_eq!(
            remarks(&port(9000, 1, &[])),
            ["eth1 queue 0: the MTU is 9000, the one chunk that a packet may have here holds an \
              MTU of 1770; longer packets are lost and counted as kernel_rx_dropped; let \
              multi_buffer be \"auto\" (where the driver can), leave umem.chunk_octets out, or \
              `ip link set eth1 mtu 1770`"]
        );
        assert_eq!(
            remarks(&port(65_535, 17, &[])),
            [
                "eth1 queue 0: the MTU is 65535, the 17 chunks that a packet may have hold an MTU of \
              30442; longer packets are lost and counted as overlong_packets; leave \
              umem.chunk_octets out, or `ip link set eth1 mtu 30442`"
            ]
        );
        let large = Port { chunk_octets: 4096, part_octets: 3840, ..port(9000, 1, &[]) };
        assert_eq!(
            remarks(&large),
            ["eth1 queue 0: the MTU is 9000, the one chunk that a packet may have here holds an \
              MTU of 3818; longer packets are lost and counted as kernel_rx_dropped; let \
              multi_buffer be \"auto\" (where the driver can), or `ip link set eth1 mtu 3818`"]
        );
    }

    #[test]
    fn memory_that_is_too_scarce_for_long_packets_is_named_with_what_is_enough() {
        assert_eq!(
            remarks(&Port { fill_frames: 12, ..port(9000, 17, &[]) }),
            ["eth1 queue 0: a packet of the MTU 9000 takes 6 chunks, fill_frames = 12 does not \
              always have them ready; set fill_frames = 16 or more"]
        );
        assert_eq!(remarks(&Port { fill_frames: 16, ..port(9000, 17, &[]) }), [""; 0]);
        assert_eq!(
            remarks(&port(9000, 17, &service(1025, true))),
            [
                "eth1 queue 0: service \"shield\" may hold 1025 packets of 6 chunks, and umem.frames \
              - fill_frames leaves 6144 chunks; set its held_frames_max to 1024 or umem.frames to \
              8198, or one that hoards starves its neighbours"
            ]
        );
    }

    #[test]
    fn a_service_that_reads_one_chunk_is_named() {
        assert_eq!(
            remarks(&port(9000, 17, &service(1024, false))),
            ["eth1 queue 0: service \"shield\" reads packets in one chunk, up to 1792 octets; \
              longer ones that its selectors name are dropped as in_parts"]
        );
    }
}
