//! TCP signatures in the form of p0f 3.

/// What a SYN or SYN-ACK must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// As it was written.
    text: Box<str>,
}
