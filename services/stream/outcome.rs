//! What became of a packet: the same answers for pictures, sound and ancillary data.

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it brought is where it belongs, or was not needed any more.
    Taken,
    /// The other path had brought the same.
    Copy,
    /// Its number was seen before, on its path.
    Duplicate,
    /// It was given up before it came, or is from before the first.
    TooLate,
    /// It is none of the kind, or its lengths lie.
    Malformed,
    /// It is, but of another format or payload type.
    WrongFormat,
    /// It is from another source than the one that we listen to.
    Stranger,
}
