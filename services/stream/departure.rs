//! What a sender leaves to others for each packet: its checksum and its moment.
//!
//! ```text
//!   launch times:   build ─► hand over, LAUNCH_LEAD_NS ahead ─► the card: each packet at its TRS
//!   none:           build ─► wait ─► hand over ─► the card: the group at once
//! ```
//!
//! Groups are no longer than without launch times: a card whose queue does not obey them (they are
//! switched on by `tc qdisc … etf offload`, and nobody says whether they are) sends each group at
//! once, a little early, as any receiver of the class takes it.

use serde::Deserialize;
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::offload::{ChecksumBy, TxOffloads};
use tidegate_dataplane::wire::TransportChecksum;

use super::header::Header;

/// How long before its time a packet with a launch time is handed over.
///
/// It covers the shard's sleep, the driver, and that the card's clock may be half of it off. Less
/// and packets come too late for their time, in bursts; more and packets lie in the card's queue,
/// where 45 of 1080p50 are at a time, and a stall of the shard is hidden for longer.
pub const LAUNCH_LEAD_NS: u64 = 200_000;

/// Whether packets have a UDP checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// Where the driver sums, which costs nothing.
    #[default]
    Auto,
    /// None: 0, which UDP over IPv4 allows and ST 2110 too.
    None,
    /// Always. In software, each octet of the picture is read once more.
    Full,
}

/// Whether packets leave at times of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaunchTime {
    /// Where the card can.
    #[default]
    Auto,
    /// Groups leave at once.
    None,
}

/// What is asked for each packet of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    /// Where the checksum is, if packets have one.
    checksum: Option<TransportChecksum>,
    /// Whether packets have launch times.
    launches: bool,
}

impl Departure {
    /// What these wishes come to on a port that obtained `tx`.
    pub(super) fn new(
        checksum: Checksum,
        launch_time: LaunchTime,
        tx: TxOffloads,
        header: &Header,
    ) -> Self {
        let wanted = match checksum {
            // RFC 8200, section 8.1: UDP over IPv6 has one.
            _ if header.is_ipv6() => true,
            Checksum::Auto => tx.checksum == ChecksumBy::Driver,
            Checksum::None => false,
            Checksum::Full => true,
        };
        let launches = match launch_time {
            LaunchTime::Auto => tx.launch_time,
            LaunchTime::None => false,
        };
        Self { checksum: wanted.then(|| header.checksum()), launches }
    }

    /// Who sums, for the log.
    pub(super) fn checksum_word(&self, tx: TxOffloads) -> String {
        match self.checksum {
            Some(_) => format!("by {}", tx.checksum),
            None => "none".to_owned(),
        }
    }

    /// Whether packets have launch times.
    pub(super) const fn launches(&self) -> bool {
        self.launches
    }

    /// How long before its time a group is handed over.
    pub(super) const fn lead_ns(&self) -> u64 {
        if self.launches { LAUNCH_LEAD_NS } else { 0 }
    }

    /// Asks for a packet that is built and is to leave at `tai_ns`; whether it has that as its
    /// launch time.
    #[inline]
    pub(super) fn ask(&self, frame: &mut Frame, tai_ns: Option<u64>) -> bool {
        if let Some(place) = &self.checksum {
            frame.finish_checksum_at(&place.resized(frame.len()));
        }
        match tai_ns {
            Some(tai_ns) if self.launches => frame.launch_at(tai_ns),
            _ => false,
        }
    }
}
