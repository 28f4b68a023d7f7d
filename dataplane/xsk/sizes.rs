//! How large rings are, and how many chunks the kernel gets to receive into.
//!
//! ```text
//!              in zero-copy
//!   fill ring ──► driver's ring, kept full ──► RX ring
//! ```
//!
//! While a shard is away, chunks go from the left to the right. The RX ring has to be full before
//! the fill ring is empty. A driver that finds the RX ring full stops, and that is counted by name;
//! one that finds no chunk leaves the packet to the card, which loses it where few look. And igb
//! does worse: where the chunks run out at the end of its ring, `igb_alloc_rx_buffers_zc()` of
//! `igb_xsk.c` leaves the length of an old descriptor, and `igb_clean_rx_irq_zc()` takes that for
//! a packet. Chunks that are not the kernel's any more came back so, and garbage went to the stack.
//!
//! So what the driver keeps is given to it on top. Where the UMEM has no room for that, the RX ring
//! is smaller instead.

/// Sizes of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Entries of the fill ring.
    pub(super) fill_entries: u32,
    /// Chunks that the fill ring is kept at, those that the driver has among them.
    pub(super) fill_frames: u32,
    /// Entries of the RX ring.
    pub(super) rx_entries: u32,
    /// Whether the RX ring is full before the fill ring is empty.
    pub(super) is_covered: bool,
}

/// The largest power of two of a ring's `u32`.
const ENTRIES_MAX: u32 = 1 << 31;

impl Sizes {
    /// Of rings of `ring_entries`, a power of two, for which `fill_frames` of a UMEM's `frames`
    /// are to be ready, with a driver that keeps `card_frames` for itself.
    pub(super) fn new(ring_entries: u32, fill_frames: u32, card_frames: u32, frames: u32) -> Self {
        let fill_frames = fill_frames.min(ring_entries);
        if card_frames == 0 {
            let (fill_entries, rx_entries) = (ring_entries, ring_entries);
            return Self { fill_entries, fill_frames, rx_entries, is_covered: true };
        }
        // A full TX ring is to leave the kernel something to receive into.
        let room = frames.saturating_sub(ring_entries).max(fill_frames);
        let fill_frames = room.min(fill_frames.saturating_add(card_frames)).min(ENTRIES_MAX);
        let ready = fill_frames.saturating_sub(card_frames);
        let is_covered = ready > 0;
        let rx_entries =
            if is_covered { ring_entries.min(1 << ready.ilog2()) } else { ring_entries };
        let fill_entries = fill_frames.next_power_of_two().max(ring_entries);
        Self { fill_entries, fill_frames, rx_entries, is_covered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_keeps_is_given_on_top_where_there_is_room() {
        let sizes = Sizes::new(2048, 2048, 256, 8192);
        let expected =
            Sizes { fill_entries: 4096, fill_frames: 2304, rx_entries: 2048, is_covered: true };
        assert_eq!(sizes, expected);
    }

    #[test]
    fn without_room_the_rx_ring_is_smaller() {
        let sizes = Sizes::new(2048, 2048, 1024, 4096);
        let expected =
            Sizes { fill_entries: 2048, fill_frames: 2048, rx_entries: 1024, is_covered: true };
        assert_eq!(sizes, expected);
    }

    #[test]
    fn a_driver_that_keeps_nothing_changes_nothing() {
        let sizes = Sizes::new(64, 32, 0, 128);
        let expected =
            Sizes { fill_entries: 64, fill_frames: 32, rx_entries: 64, is_covered: true };
        assert_eq!(sizes, expected);
    }

    #[test]
    fn a_driver_that_keeps_all_is_told_of() {
        let sizes = Sizes::new(64, 64, 256, 128);
        let expected =
            Sizes { fill_entries: 64, fill_frames: 64, rx_entries: 64, is_covered: false };
        assert_eq!(sizes, expected);
    }

    #[test]
    fn the_rx_ring_is_always_full_first_or_it_is_said() {
        for ring_entries in (6..16).map(|bits| 1 << bits) {
            for fill_frames in [1, ring_entries / 2, ring_entries] {
                for card_frames in [1, 64, 255, 256, 1024, 4096, 32_768, u32::MAX] {
                    for frames in [fill_frames + ring_entries, 4 * ring_entries, u32::MAX] {
                        let sizes = Sizes::new(ring_entries, fill_frames, card_frames, frames);
                        let Sizes { fill_entries, rx_entries, is_covered, .. } = sizes;
                        let given = sizes.fill_frames;
                        assert!(fill_entries.is_power_of_two() && rx_entries.is_power_of_two());
                        assert!(given <= fill_entries && given <= frames);
                        let first =
                            u64::from(given) >= u64::from(card_frames) + u64::from(rx_entries);
                        assert_eq!(is_covered, first, "{sizes:?} {card_frames} {frames}");
                    }
                }
            }
        }
    }
}
