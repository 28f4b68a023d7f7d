//! A tone for each channel, the same wherever and whenever it is made.
//!
//! Each sample is a function of its number and its channel alone, made of integers: a receiver
//! makes it again and compares every bit. The number counts modulo 2^32, as RTP timestamps do, and
//! so does the phase: there is no seam where the clock wraps. A channel is told by its pitch: the
//! first has 401 Hz at 48 kHz, each further one 100 Hz more.

use super::format::{Depth, Format};

/// Phase that the first channel gains with each sample, of 2^32: 401 Hz at 48 kHz. A whole number
/// of hertz would come round with the milliseconds, and sound of a wrong packet be taken for right:
/// 400 Hz is the same 10 ms later. This is 1 / (119 + the golden ratio), which comes round last of
/// all, and odd: no two samples of a day have the same phase.
const STEP: u32 = 35_905_685;

/// What each further channel gains more: 1 / (479 + the golden ratio), 100 Hz. Even, so that all
/// steps are odd.
const STEP_MORE: u32 = 8_954_974;

/// Loudest sample of 24 bits: -18 dB of the full scale, the alignment level of EBU R 68.
const PEAK: i64 = 1_056_000;

/// One sample of 24 bits.
#[inline]
pub const fn sample(number: u32, channel: u16) -> i32 {
    let step = STEP.wrapping_add(STEP_MORE.wrapping_mul(channel as u32));
    let phase = number.wrapping_mul(step);
    // A quarter turn as a fraction of 2^30, mirrored in the second quarter.
    let quarter = (phase & 0x3fff_ffff) as i64;
    let x = if phase & 0x4000_0000 == 0 { quarter } else { (1 << 30) - quarter };
    // sin(x pi/2) = x (pi - x^2 (2 pi - 5 - x^2 (pi - 3))) / 2, to 0.04 %, in fractions of 2^30.
    let square = (x * x) >> 30;
    let inner = 1_377_809_732 - ((square * 152_033_954) >> 30);
    let sine = (x * (3_373_259_426 - ((square * inner) >> 30))) >> 31;
    let value = (sine * PEAK) >> 30;
    #[expect(clippy::cast_possible_truncation, reason = "less than 2^23")]
    let value = value as i32;
    if phase & 0x8000_0000 == 0 { value } else { -value }
}

/// Writes samples of every channel, the first of them with this number, in network order.
pub fn write(format: &Format, first: u32, into: &mut [u8]) {
    for (frame, octets) in into.chunks_exact_mut(format.frame_octets()).enumerate() {
        #[expect(clippy::cast_possible_truncation, reason = "numbers count modulo 2^32")]
        let number = first.wrapping_add(frame as u32);
        write_frame(format, number, octets);
    }
}

/// Writes one sample of every channel.
#[inline]
pub fn write_frame(format: &Format, number: u32, into: &mut [u8]) {
    let depth = format.spec().depth;
    for (channel, octets) in (0..).zip(into.chunks_exact_mut(depth.octets())) {
        let [_, high, middle, low] = sample(number, channel).to_be_bytes();
        match depth {
            Depth::Sixteen => octets.copy_from_slice(&[high, middle]),
            Depth::TwentyFour => octets.copy_from_slice(&[high, middle, low]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::Spec;
    use super::*;

    #[test]
    fn it_is_a_sine_of_the_pitch_of_its_channel() {
        for channel in [0, 1, 7, 63] {
            let pitch = f64::from(STEP) + f64::from(STEP_MORE) * f64::from(channel);
            let frequency = pitch / 4_294_967_296.0 * 48_000.0;
            let about = 401.3 + f64::from(channel) * 100.08;
            assert!((frequency - about).abs() < 0.1, "{frequency}");
            for number in 0..48_000_u32 {
                let turns = f64::from(number) * pitch / 4_294_967_296.0;
                let exact = (turns.fract() * std::f64::consts::TAU).sin() * 1_056_000.0;
                let found = f64::from(sample(number, channel));
                assert!((found - exact).abs() < 420.0, "{channel} {number}: {found} {exact}");
            }
        }
    }

    /// Receivers of other builds compare with these: they are for ever.
    #[test]
    fn it_is_the_same_for_ever() {
        let some: Vec<i32> = [0, 1, 30, 119, 120, u32::MAX].map(|it| sample(it, 0)).into();
        let other: Vec<i32> = [1, 2, 3].map(|it| sample(12_345, it)).into();
        assert_eq!((some, other), (SOME.into(), OTHER.into()));
    }

    const SOME: [i32; 6] = [0, 55_443, 1_055_986, -34_275, 21_185, -55_443];
    const OTHER: [i32; 3] = [-371_852, -961_367, 501_870];

    #[test]
    fn sixteen_bits_are_the_upper_ones_of_twenty_four() {
        let format = |depth| {
            Spec { depth, sample_rate: 48_000, channels: 3, packet_time_us: 125 }.check().unwrap()
        };
        let (mut long, mut short) = ([0; 6 * 9], [0; 6 * 6]);
        write(&format(Depth::TwentyFour), u32::MAX - 2, &mut long);
        write(&format(Depth::Sixteen), u32::MAX - 2, &mut short);
        for (long, short) in long.chunks(3).zip(short.chunks(2)) {
            assert_eq!(long[..2], *short);
        }
        assert_eq!(long[27..30], [0, 0, 0], "number 0 has phase 0 in every channel");
        assert_ne!(long[18..27], long[36..45], "before and behind it");
    }
}
