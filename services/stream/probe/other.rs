//! Sound and ancillary data, as far as they are to be known.

use super::rate::ticks;
use super::{Sighting, Stamp};
use crate::stream::timing::Rate;

/// ST 2110-30, by what all of its packets have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Samples of a channel in a packet.
    pub samples: u32,
    /// Samples of a channel in a second, by when packets came.
    pub sample_rate: u32,
    /// What may be in it: bits of a sample and channels.
    pub candidates: Vec<(u8, u32)>,
}

/// ST 2110-40.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancillary {
    /// Fields or frames in a second.
    pub rate: Option<Rate>,
}

/// What ST 2110-30 allows; 44.1 kHz as AES67 has it.
const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 96_000];

impl Audio {
    /// Equal packets whose timestamps count samples; `None` for anything else.
    pub(super) fn of(sightings: &[Sighting]) -> Option<Self> {
        let octets = u32::from(sightings.first()?.octets);
        if octets == 0 || sightings.iter().any(|it| u32::from(it.octets) != octets) {
            return None;
        }
        let mut steps: Vec<u32> = sightings
            .windows(2)
            .filter(|pair| pair[0].stamp.sequence.wrapping_add(1) == pair[1].stamp.sequence)
            .map(|pair| pair[1].stamp.timestamp.wrapping_sub(pair[0].stamp.timestamp))
            .collect();
        steps.sort_unstable();
        let samples = *steps.get(steps.len() / 2)?;
        let alike = steps.iter().filter(|&&step| step == samples).count();
        if samples == 0 || alike * 100 < steps.len() * super::PERCENT || octets % samples != 0 {
            return None;
        }
        let first = sightings.first()?;
        let last = sightings.last()?;
        let ticks = u128::from(last.stamp.timestamp.wrapping_sub(first.stamp.timestamp));
        let span_ns = u128::from(last.at_ns.saturating_sub(first.at_ns).max(1));
        let measured = u32::try_from(ticks * 1_000_000_000 / span_ns).ok()?;
        let sample_rate = SAMPLE_RATES.into_iter().min_by_key(|it| it.abs_diff(measured))?;
        // Further off than a tenth it is no sound.
        if sample_rate.abs_diff(measured) > sample_rate / 10 {
            return None;
        }
        let each = octets / samples;
        let candidates = [(24, 3), (16, 2)].into_iter().filter(|(_, size)| each % size == 0);
        let candidates: Vec<_> = candidates.map(|(bits, size)| (bits, each / size)).collect();
        (!candidates.is_empty()).then_some(Self { samples, sample_rate, candidates })
    }

    /// Microseconds of sound in a packet.
    pub fn packet_time_us(&self) -> u32 {
        let us = u64::from(self.samples) * 1_000_000 / u64::from(self.sample_rate);
        u32::try_from(us).unwrap_or(u32::MAX)
    }
}

impl Ancillary {
    pub(super) fn of(stamps: &[(u64, Stamp)]) -> Self {
        Self { rate: super::rate::of(&ticks(stamps)) }
    }
}

/// RFC 8331, section 2.1: extended sequence number, octets, packets, and F with 22 zeros. Video of
/// one piece has its octets at the same place; its lines have other numbers than F leaves.
pub(super) fn is_ancillary(payload: &[u8]) -> bool {
    let &[_, _, high, low, count, field, zero, zeros, ref data @ ..] = payload else {
        return false;
    };
    let octets = usize::from(u16::from_be_bytes([high, low]));
    let is_empty = count == 0;
    field & 0x3f == 0
        && zero == 0
        && zeros == 0
        && octets == data.len()
        && is_empty == data.is_empty()
}
