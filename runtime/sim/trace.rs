//! Everything that happened, as one number.

/// What happened to a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// It left a shard.
    Leaves = 1,
    /// It came to a shard.
    Arrives = 2,
}

/// FNV-1a over the events.
#[derive(Clone, Debug)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn record(
        &mut self,
        at_ns: u64,
        event: Event,
        (shard, port): (usize, usize),
        packet: &[u8],
    ) {
        let head = [at_ns, event as u64, shard as u64, port as u64, packet.len() as u64];
        let octets = head.iter().flat_map(|word| word.to_le_bytes());
        for octet in octets.chain(packet.iter().copied()) {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.0
    }
}
