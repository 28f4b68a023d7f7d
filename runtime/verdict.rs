//! What becomes of a frame, and the runtime's own words for why one was dropped.

pub use crate::metrics::DropReason;
use crate::metrics::NameError;
use crate::metrics::registry::ServiceMetrics;

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

const _: () = assert!(size_of::<Verdict>() <= 4, "passed in a register");

/// Names of the reasons by which a service's frames end without the service. A service that
/// registers one of them counts into it, so what an operator may name should not be one.
pub const OWN_REASONS: [&str; 7] = [
    "over_budget",
    "in_parts",
    "unsettled",
    "tx_full",
    "reinject_full",
    "reinject_length",
    "abandoned",
];

/// Reasons by which a service's frames end without the service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnReasons {
    /// It held as many as it may.
    pub(crate) over_budget: DropReason,
    /// The packet lies in several chunks, and the service reads one.
    pub(crate) in_parts: DropReason,
    /// A handler left the frame in its burst.
    pub(crate) unsettled: DropReason,
    /// The TX ring had no room, also after a wake-up.
    pub(crate) tx_full: DropReason,
    /// The injector took no more.
    pub(crate) reinject_full: DropReason,
    /// No way into the kernel takes packets of this length.
    pub(crate) reinject_length: DropReason,
    /// The service had ended, or ended before it received the frame.
    pub(crate) abandoned: DropReason,
}

impl OwnReasons {
    /// Registers them before the service registers any of its own.
    pub(crate) fn register(metrics: &ServiceMetrics) -> Result<Self, NameError> {
        let reason = |name, help| metrics.drop_reason(name, help);
        let [over_budget, in_parts, unsettled, tx_full, full, length, abandoned] = OWN_REASONS;
        Ok(Self {
            over_budget: reason(over_budget, "The service held as many frames as it may")?,
            in_parts: reason(in_parts, "In several chunks, and the service reads one")?,
            unsettled: reason(unsettled, "The handler left the frame in its burst")?,
            tx_full: reason(tx_full, "The TX ring was full, also after a wake-up")?,
            reinject_full: reason(full, "The injector took no more packets")?,
            reinject_length: reason(length, "No way into the kernel takes packets of this length")?,
            abandoned: reason(abandoned, "The service had ended")?,
        })
    }
}
