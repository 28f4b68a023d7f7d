//! A row of samples to pgroups and back, sixteen octets at once.
//!
//! ```text
//!   registers ─shuffle─► lanes of 8 samples ─multiply-add─► pairs ─shift─► fours ─shuffle─► octets
//!                                            (10, 12 bits)        (10 bits)
//! ```
//!
//! `pshufb` moves any octets of a register to any places, so every sampling is a table; samples of
//! 8 and 16 bits are done with that. It came with SSSE3 in 2006. Wider registers were tried: AVX2
//! is no faster, AVX-512 twice as fast while everything is in the cache, and no program feeds it
//! at that speed.
#![allow(unsafe_code)] // Calls code for instructions that the processor was just asked for.

use super::super::format::Format;
use super::SOURCES;

/// Packs one row, or a piece of it. Returns false, with nothing done, where the processor cannot.
pub(super) fn pack_row(format: &Format, sources: [&[u8]; SOURCES], row: &mut [u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("ssse3") {
        // SAFETY: the processor has SSSE3, as was just asked, and that is all it needs.
        unsafe { ssse3::pack_row(format, sources, row) };
        return true;
    }
    let _ = (format, sources, row);
    false
}

/// Unpacks one row. Returns false, with nothing done, where the processor cannot.
pub(super) fn unpack_row(format: &Format, row: &[u8], targets: &mut [&mut [u8]; SOURCES]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("ssse3") {
        // SAFETY: as above.
        unsafe { ssse3::unpack_row(format, row, targets) };
        return true;
    }
    let _ = (format, row, targets);
    false
}

#[cfg(target_arch = "x86_64")]
mod ssse3 {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cvtsi128_si64, _mm_madd_epi16, _mm_mullo_epi16, _mm_or_si128,
        _mm_set_epi64x, _mm_set1_epi16, _mm_set1_epi32, _mm_setr_epi8, _mm_setr_epi16,
        _mm_setzero_si128, _mm_shuffle_epi8, _mm_slli_epi64, _mm_srli_epi16, _mm_srli_epi64,
        _mm_unpackhi_epi64,
    };

    use super::super::super::format::{Format, Sampling};
    use super::super::shuffle::{Moves, OCTETS, PARTS};
    use super::super::{SOURCES, sample_octets};

    /// A sampling, by its index in [`Sampling::ALL`], and a depth.
    struct Kind<const SAMPLING: usize, const BITS: u8>;

    impl<const SAMPLING: usize, const BITS: u8> Kind<SAMPLING, BITS> {
        const MOVES: Moves = Moves::of(Sampling::ALL[SAMPLING], BITS);
        /// Octets of a lane on the wire.
        const LANE: usize = OCTETS / sample_octets(BITS) * BITS as usize / 8;
        /// Octets of a step on the wire.
        const STEP: usize = Self::LANE * Self::MOVES.parts;
    }

    /// Calls `$work::<SAMPLING, BITS>` for the format's.
    macro_rules! of_kind {
        ($format:ident, $work:ident $arguments:tt) => {
            match ($format.sampling(), $format.depth().bits()) {
                (Sampling::YCbCr422, 8) => $work::<0, 8> $arguments,
                (Sampling::YCbCr422, 10) => $work::<0, 10> $arguments,
                (Sampling::YCbCr422, 12) => $work::<0, 12> $arguments,
                (Sampling::YCbCr422, _) => $work::<0, 16> $arguments,
                (Sampling::YCbCr444, 8) => $work::<1, 8> $arguments,
                (Sampling::YCbCr444, 10) => $work::<1, 10> $arguments,
                (Sampling::YCbCr444, 12) => $work::<1, 12> $arguments,
                (Sampling::YCbCr444, _) => $work::<1, 16> $arguments,
                (Sampling::YCbCr420, 8) => $work::<2, 8> $arguments,
                (Sampling::YCbCr420, 10) => $work::<2, 10> $arguments,
                (Sampling::YCbCr420, 12) => $work::<2, 12> $arguments,
                (Sampling::YCbCr420, _) => $work::<2, 16> $arguments,
                (Sampling::Rgb, 8) => $work::<3, 8> $arguments,
                (Sampling::Rgb, 10) => $work::<3, 10> $arguments,
                (Sampling::Rgb, 12) => $work::<3, 12> $arguments,
                (Sampling::Rgb, _) => $work::<3, 16> $arguments,
            }
        };
    }

    #[target_feature(enable = "ssse3")]
    pub(super) fn pack_row(format: &Format, sources: [&[u8]; SOURCES], row: &mut [u8]) {
        of_kind!(format, pack(sources, row));
    }

    #[target_feature(enable = "ssse3")]
    pub(super) fn unpack_row(format: &Format, row: &[u8], targets: &mut [&mut [u8]; SOURCES]) {
        of_kind!(format, unpack(row, targets));
    }

    #[target_feature(enable = "ssse3")]
    fn pack<const SAMPLING: usize, const BITS: u8>(sources: [&[u8]; SOURCES], row: &mut [u8]) {
        let spans = Kind::<SAMPLING, BITS>::MOVES.spans;
        let mut steps = row.chunks_exact_mut(Kind::<SAMPLING, BITS>::STEP);
        let mut count = 0;
        for step in &mut steps {
            pack_step::<SAMPLING, BITS>(sources, count, step);
            count += 1;
        }
        let rest = steps.into_remainder();
        if !rest.is_empty() {
            // The last samples, as the first of a step that ends with nothing.
            let mut last = [[0; 2 * OCTETS]; SOURCES];
            for ((last, source), span) in last.iter_mut().zip(sources).zip(spans) {
                let source = &source[count * span..];
                last[..source.len()].copy_from_slice(source);
            }
            let mut step = [0; OCTETS * PARTS];
            let step = &mut step[..Kind::<SAMPLING, BITS>::STEP];
            pack_step::<SAMPLING, BITS>(last.each_ref().map(|last| &last[..]), 0, step);
            rest.copy_from_slice(&step[..rest.len()]);
        }
    }

    #[target_feature(enable = "ssse3")]
    fn unpack<const SAMPLING: usize, const BITS: u8>(
        row: &[u8],
        targets: &mut [&mut [u8]; SOURCES],
    ) {
        let spans = Kind::<SAMPLING, BITS>::MOVES.spans;
        let mut steps = row.chunks_exact(Kind::<SAMPLING, BITS>::STEP);
        let mut count = 0;
        for step in &mut steps {
            unpack_step::<SAMPLING, BITS>(step, targets, count);
            count += 1;
        }
        let rest = steps.remainder();
        if !rest.is_empty() {
            let mut step = [0; OCTETS * PARTS];
            step[..rest.len()].copy_from_slice(rest);
            let step = &step[..Kind::<SAMPLING, BITS>::STEP];
            let mut last = [[0; 2 * OCTETS]; SOURCES];
            let mut lines = last.each_mut().map(|last| &mut last[..]);
            unpack_step::<SAMPLING, BITS>(step, &mut lines, 0);
            for ((last, target), span) in last.iter().zip(targets).zip(spans) {
                let target = &mut target[count * span..];
                target.copy_from_slice(&last[..target.len()]);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn pack_step<const SAMPLING: usize, const BITS: u8>(
        sources: [&[u8]; SOURCES],
        step: usize,
        into: &mut [u8],
    ) {
        let moves = const { &Kind::<SAMPLING, BITS>::MOVES };
        let mut registers = [_mm_setzero_si128(); PARTS];
        for (register, &(line, at)) in registers.iter_mut().zip(&moves.registers[..moves.parts]) {
            let at = step * moves.spans[line] + at;
            *register = load(&sources[line][at..at + OCTETS]);
        }
        let lanes = into.chunks_exact_mut(Kind::<SAMPLING, BITS>::LANE);
        for (lane, table) in lanes.zip(&moves.gather[..moves.parts]) {
            let samples = collect(&registers[..moves.parts], table);
            match BITS {
                10 => {
                    // Two samples in 20 bits of 32, the first above; then four in 40 of 64.
                    let samples = _mm_and_si128(samples, _mm_set1_epi16(0x3ff));
                    let pairs = _mm_madd_epi16(samples, _mm_set1_epi32(1 << 16 | 1 << 10));
                    let (first, second) = (_mm_slli_epi64(pairs, 20), _mm_srli_epi64(pairs, 32));
                    let fours = _mm_or_si128(first, second);
                    let order =
                        _mm_setr_epi8(4, 3, 2, 1, 0, 12, 11, 10, 9, 8, -1, -1, -1, -1, -1, -1);
                    lane.copy_from_slice(&store(_mm_shuffle_epi8(fours, order))[..10]);
                }
                12 => {
                    // Two samples in 24 bits of 32.
                    let samples = _mm_and_si128(samples, _mm_set1_epi16(0xfff));
                    let pairs = _mm_madd_epi16(samples, _mm_set1_epi32(1 << 16 | 1 << 12));
                    let order =
                        _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
                    lane.copy_from_slice(&store(_mm_shuffle_epi8(pairs, order))[..12]);
                }
                _ => lane.copy_from_slice(&store(samples)),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn unpack_step<const SAMPLING: usize, const BITS: u8>(
        from: &[u8],
        targets: &mut [&mut [u8]; SOURCES],
        step: usize,
    ) {
        let moves = const { &Kind::<SAMPLING, BITS>::MOVES };
        let mut lanes = [_mm_setzero_si128(); PARTS];
        let octets = from.chunks_exact(Kind::<SAMPLING, BITS>::LANE);
        for (lane, octets) in lanes.iter_mut().zip(octets) {
            let octets = load(octets);
            // To each sample its two octets, then up until nothing is above it, and down.
            *lane = match BITS {
                10 => {
                    let order = _mm_setr_epi8(1, 0, 2, 1, 3, 2, 4, 3, 6, 5, 7, 6, 8, 7, 9, 8);
                    let up = _mm_setr_epi16(1, 4, 16, 64, 1, 4, 16, 64);
                    _mm_srli_epi16(_mm_mullo_epi16(_mm_shuffle_epi8(octets, order), up), 6)
                }
                12 => {
                    let order = _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
                    let up = _mm_setr_epi16(1, 16, 1, 16, 1, 16, 1, 16);
                    _mm_srli_epi16(_mm_mullo_epi16(_mm_shuffle_epi8(octets, order), up), 4)
                }
                _ => octets,
            };
        }
        for (&(line, at), table) in moves.registers.iter().zip(&moves.scatter[..moves.parts]) {
            let at = step * moves.spans[line] + at;
            let samples = collect(&lanes[..moves.parts], table);
            targets[line][at..at + OCTETS].copy_from_slice(&store(samples));
        }
    }

    /// The octets that a table names, of each part.
    #[inline]
    #[target_feature(enable = "ssse3")]
    fn collect(parts: &[__m128i], table: &[[u8; OCTETS]; PARTS]) -> __m128i {
        let mut all = _mm_setzero_si128();
        for (&part, places) in parts.iter().zip(table) {
            all = _mm_or_si128(all, _mm_shuffle_epi8(part, load(places)));
        }
        all
    }

    /// Up to sixteen octets, and at least eight. The compiler makes one load of it.
    #[inline]
    #[target_feature(enable = "ssse3")]
    fn load(octets: &[u8]) -> __m128i {
        let (low, rest) = octets.split_first_chunk().expect("no lane is shorter");
        let high = match *rest {
            [a, b] => u64::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
            _ => u64::from_le_bytes(*rest.first_chunk().expect("none is of another length")),
        };
        _mm_set_epi64x(high.cast_signed(), u64::from_le_bytes(*low).cast_signed())
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn store(register: __m128i) -> [u8; OCTETS] {
        let low = _mm_cvtsi128_si64(register).cast_unsigned();
        let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(register, register)).cast_unsigned();
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    }
}
