//! What a sender counts.

use tidegate_runtime::metrics::Counter;
use tidegate_runtime::service::Build;

#[derive(Debug)]
pub(super) struct Counters {
    pub(super) packets_sent: Counter,
    pub(super) frames_sent: Counter,
    pub(super) frames_repeated: Counter,
    pub(super) frames_late: Counter,
    pub(super) frames_skipped: Counter,
    pub(super) groups_late: Counter,
    pub(super) clock_steps: Counter,
    pub(super) packets_timed: Counter,
    pub(super) pool_empty: Counter,
    pub(super) next_hop_changes: Counter,
    pub(super) next_hop_losses: Counter,
}

impl Counters {
    pub(super) fn register(build: &mut Build<'_>) -> Self {
        let mut counter = |name, help| build.counter(name, help);
        Self {
            packets_sent: counter("packets_sent", "Packets handed to the TX ring"),
            frames_sent: counter("frames_sent", "Frames whose packets were all handed over"),
            frames_repeated: counter(
                "frames_repeated",
                "Frames with the picture before: the source had none in time",
            ),
            frames_late: counter("frames_late", "Frames or fields that ended after their period"),
            frames_skipped: counter("frames_skipped", "Frames or fields not sent, after a stall"),
            groups_late: counter(
                "groups_late",
                "Groups that left after they should have been read",
            ),
            clock_steps: counter("clock_steps", "Times that TAI was set and the frames followed"),
            packets_timed: counter("packets_timed", "Packets that had a launch time of their own"),
            pool_empty: counter("pool_empty", "Times that a group had to wait for a free frame"),
            next_hop_changes: counter(
                "next_hop_changes",
                "Times that packets went to another link address from then on",
            ),
            next_hop_losses: counter(
                "next_hop_losses",
                "Times that the next hop did not answer any more; its address is kept",
            ),
        }
    }
}
