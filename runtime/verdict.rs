//! What becomes of a frame, and the words for why one was dropped.

/// The fate of one frame. Every received frame ends in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not wanted; counted under its reason.
    Drop(DropReason),
    /// Out of the port that it came from, as it is now.
    Transmit,
    /// Into the kernel stack, as if it had just arrived on its interface.
    Reinject,
    /// The service has used what was in it.
    Consumed,
}

/// Why a frame was dropped: one word, one counter. Registered with
/// [`Build::drop_reason`](crate::service::Build::drop_reason), valid for the service that did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DropReason(pub(crate) u8);

/// Reasons that a service can have, the runtime's own included. A bound, so that a counter is
/// found without a look-up; a service with more should count its finer distinctions by
/// [`Counter`](crate::tally::Counter)s.
pub const DROP_REASONS_MAX: usize = 64;

/// The runtime's own reasons, by which a service's frames end without the service.
pub(crate) const OWN_REASONS: [(&str, &str); 5] = [
    ("over_budget", "Frames dropped: the service held as many as it may"),
    ("unsettled", "Frames dropped: the handler left them in the burst"),
    ("tx_full", "Frames dropped: the TX ring was full, also after a wake-up"),
    ("reinject_full", "Frames dropped: the injector took no more"),
    ("abandoned", "Frames dropped: the service had ended, or ended before it received them"),
];

impl DropReason {
    /// The service held as many frames as it may.
    pub const OVER_BUDGET: Self = Self(0);
    /// A handler left the frame in its burst.
    pub const UNSETTLED: Self = Self(1);
    /// The TX ring had no room.
    pub const TX_FULL: Self = Self(2);
    /// The injector had no room.
    pub const REINJECT_FULL: Self = Self(3);
    /// The service had ended, or ended before it received the frame.
    pub const ABANDONED: Self = Self(4);
}

const _: () = assert!(size_of::<Verdict>() == 2, "passed in a register");
