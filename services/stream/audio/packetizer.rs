//! Packets of sound, built in place: the RTP header, and samples straight behind it.
//!
//! ```text
//!   0 RTP: V PT │ 2 sequence │ 4 timestamp │ 8 SSRC │ 12 sample 0 of channels 0 1 2 …, sample 1 of …
//! ```
//!
//! What is in front of RTP is the [header template](crate::stream::header)'s. Timestamp and samples
//! follow from the packet's index since the epoch: two senders of the same stream send the same, and
//! a sender that was away goes on where it would be. Numbers count what is sent: what is left out
//! after a stall has none, and is no loss on the way.

use tidegate_dataplane::wire::rtp;

use super::format::{Format, timestamp};
use super::source::Source;

/// Writes the packets of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Packetizer {
    format: Format,
    payload_type: u8,
    ssrc: u32,
}

impl Packetizer {
    /// For a stream of this payload type and synchronisation source.
    pub const fn new(format: Format, payload_type: u8, ssrc: u32) -> Self {
        Self { format, payload_type, ssrc }
    }

    /// Octets of a packet from its RTP header on. All packets are of the same length.
    pub const fn octets(&self) -> usize {
        rtp::HEADER_LEN + self.format.payload_octets()
    }

    /// What it sends.
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// Writes packet `index` since the epoch, with this number.
    ///
    /// The marker is 0: RFC 3551, 4.1, has it for the first packet after silence that was not sent,
    /// which there is none of.
    ///
    /// # Panics
    ///
    /// When `into` is not [`Self::octets`] long.
    pub fn write(&self, into: &mut [u8], index: u64, sequence: u16, source: &Source) {
        assert_eq!(into.len(), self.octets(), "a packet of sound");
        let first = self.format.first_sample(index);
        let header = rtp::Header {
            marker: false,
            payload_type: self.payload_type,
            sequence,
            timestamp: timestamp(first),
            ssrc: self.ssrc,
        };
        let (head, sound) = into.split_at_mut(rtp::HEADER_LEN);
        head.copy_from_slice(&header.emit());
        source.write(first, sound);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_dataplane::wire::Rtp;

    use super::super::format::{Depth, Spec};
    use super::*;

    #[test]
    fn timestamp_and_samples_are_those_of_the_epoch() {
        let spec = Spec {
            depth: Depth::TwentyFour,
            sample_rate: 48_000,
            channels: 2,
            packet_time_us: 125,
        };
        let packetizer = Packetizer::new(spec.check().unwrap(), 97, 0x5eed_0002);
        let source = Source::tone(*packetizer.format());
        let mut packet = vec![0xa5; packetizer.octets()];
        // A day after the clock's first wrap.
        let index = (1 << 32) / 6 + 8000 * 86_400;
        packetizer.write(&mut packet, index, 65_535, &source);
        assert_eq!(packet.len(), 12 + 36);
        let rtp = Rtp::parse(&packet).unwrap();
        assert!(!rtp.marker());
        assert_eq!((rtp.payload_type(), rtp.ssrc()), (97, 0x5eed_0002));
        assert_eq!(rtp.sequence(), 65_535);
        assert_eq!(u64::from(rtp.timestamp()), index * 6 % (1 << 32));
        let mut sound = [0; 36];
        super::super::tone::write(packetizer.format(), rtp.timestamp(), &mut sound);
        assert_eq!(rtp.payload(), sound);
    }

    #[test]
    fn building_packets_allocates_nothing() {
        let spec =
            Spec { depth: Depth::Sixteen, sample_rate: 48_000, channels: 8, packet_time_us: 1000 };
        let packetizer = Packetizer::new(spec.check().unwrap(), 97, 1);
        let source = Source::tone(*packetizer.format());
        let mut packet = vec![0; packetizer.octets()];
        let counts = allocation_counter::measure(|| {
            for index in 0..100 {
                packetizer.write(&mut packet, index, 0, &source);
            }
        });
        assert_eq!(counts.count_total, 0);
    }
}
