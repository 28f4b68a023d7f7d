//! The octets in front of a sent packet that say what is left to the driver.
//!
//! ```text
//!   0 flags        8 csum_start  10 csum_offset  12 –   16 launch_time   24 packet …
//!   └────────────────────── `struct xsk_tx_metadata` ──────────────────┘ └ the descriptor's address
//! ```
//!
//! `linux/if_xdp.h` and `Documentation/networking/xsk-tx-metadata.rst`. The kernel looks at them only
//! where the descriptor says [`XDP_TX_METADATA`], and writes to them only where a time stamp is asked
//! for, which is not done here. Offsets are those of the type information of Linux 6.18
//! (`bpftool btf dump`): 24 octets, the union at 8, the launch time 8 behind it.

pub use libc::XDP_TX_METADATA;

/// Octets of the metadata. A UMEM that is registered with them sends no packet that starts nearer to
/// its chunk's begin.
pub const LEN: usize = 24;

const FLAGS: usize = 0;
const CHECKSUM_START: usize = 8;
const CHECKSUM_FIELD: usize = 10;
const LAUNCH_TIME: usize = 16;

/// `XDP_TXMD_FLAGS_CHECKSUM`.
const HAS_CHECKSUM: u64 = 1 << 1;
/// `XDP_TXMD_FLAGS_LAUNCH_TIME`, since Linux 6.15.
const HAS_LAUNCH_TIME: u64 = 1 << 2;

const _: () = assert!(LEN < 256 && LEN.is_multiple_of(8), "xdp_umem_reg() takes no others");
const _: () = assert!(LEN <= crate::frame::TX_HEADROOM as usize, "it fits in front of a packet");
const _: () = assert!(HAS_CHECKSUM == libc::XDP_TXMD_FLAGS_CHECKSUM as u64);

/// What is asked for one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxMetadata {
    /// Sum from the first of these to the packet's end, and put the checksum so many octets behind
    /// it; the field holds the sum of the pseudo header.
    pub checksum: Option<(u16, u16)>,
    /// Send when the card's clock shows these nanoseconds.
    pub launch_ns: Option<u64>,
}

impl TxMetadata {
    /// The octets that the kernel reads.
    #[inline]
    pub fn emit(self) -> [u8; LEN] {
        let mut octets = [0; LEN];
        let mut flags = 0;
        if let Some((start, field)) = self.checksum {
            flags |= HAS_CHECKSUM;
            octets[CHECKSUM_START..CHECKSUM_FIELD].copy_from_slice(&start.to_ne_bytes());
            octets[CHECKSUM_FIELD..CHECKSUM_FIELD + 2].copy_from_slice(&field.to_ne_bytes());
        }
        if let Some(launch_ns) = self.launch_ns {
            flags |= HAS_LAUNCH_TIME;
            octets[LAUNCH_TIME..].copy_from_slice(&launch_ns.to_ne_bytes());
        }
        octets[FLAGS..CHECKSUM_START].copy_from_slice(&flags.to_ne_bytes());
        octets
    }

    /// What octets say, as the kernel reads them; `None` for flags that it refuses.
    #[inline]
    pub fn parse(octets: &[u8; LEN]) -> Option<Self> {
        let short = |at: usize| u16::from_ne_bytes([octets[at], octets[at + 1]]);
        let long = |at: usize| {
            u64::from_ne_bytes(octets[at..at + 8].try_into().expect("eight octets were taken"))
        };
        let flags = long(FLAGS);
        if flags & !(HAS_CHECKSUM | HAS_LAUNCH_TIME) != 0 {
            return None;
        }
        Some(Self {
            checksum: (flags & HAS_CHECKSUM != 0)
                .then(|| (short(CHECKSUM_START), short(CHECKSUM_FIELD))),
            launch_ns: (flags & HAS_LAUNCH_TIME != 0).then(|| long(LAUNCH_TIME)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octet for octet, as the structure lies in memory on a little-endian machine.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_octets_lie_where_the_kernel_reads_them() {
        let both = TxMetadata { checksum: Some((34, 6)), launch_ns: Some(0x0102_0304_0506_0708) };
        #[rustfmt::skip]
        assert_eq!(both.emit(), [
            0b110, 0, 0, 0, 0, 0, 0, 0,
            34, 0, 6, 0, 0, 0, 0, 0,
            8, 7, 6, 5, 4, 3, 2, 1,
        ]);
        let checksum = TxMetadata { launch_ns: None, ..both };
        assert_eq!(checksum.emit()[..12], [0b010, 0, 0, 0, 0, 0, 0, 0, 34, 0, 6, 0]);
        let launch = TxMetadata { checksum: None, ..both };
        assert_eq!(launch.emit()[..17], [0b100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8]);
    }

    #[test]
    fn reads_back_what_it_emits_and_refuses_flags_that_nobody_asked_for() {
        for checksum in [None, Some((34, 6)), Some((u16::MAX, 0))] {
            for launch_ns in [None, Some(0), Some(u64::MAX)] {
                let metadata = TxMetadata { checksum, launch_ns };
                assert_eq!(TxMetadata::parse(&metadata.emit()), Some(metadata));
            }
        }
        let mut stamp = TxMetadata::default().emit();
        stamp[FLAGS..CHECKSUM_START].copy_from_slice(&1_u64.to_ne_bytes());
        assert_eq!(TxMetadata::parse(&stamp), None);
    }
}
