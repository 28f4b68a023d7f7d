//! What a stream costs, and how unevenly it may be sent: packets, bits, VRX and CMAX.
//!
//! ST 2110-21, 6 and 7, with the formulas as EBU LIST has them. All of it in whole numbers, so that
//! floor is floor.

use super::session::UDP_STANDARD;
use super::video::{Packing, Scan, SenderType, Video};

/// RTP header, extended sequence number and one row header: ST 2110-20, 6.1.
const HEADERS: u32 = 12 + 2 + 6;

/// Octets of a block of the block packing mode, of which a packet has seven.
const BLOCK: u64 = 180;

/// Octets of Ethernet around an IP packet: header, check, preamble and gap.
pub const WIRE: u64 = 14 + 4 + 20;

/// Packets of a frame, or of a field where there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    /// The fewest that the packing mode allows.
    pub fewest: u64,
    /// How many they are where no packet crosses a line; the same as `fewest` for blocks, which
    /// leave no choice.
    pub by_line: u64,
    /// Octets of pixels in them together.
    pub octets: u64,
}

/// Packets of a period of `video`; `None` where its lines are not whole pgroups.
pub fn packets(video: &Video, max_udp: u16) -> Option<Packets> {
    let pgroup = video.pgroup()?;
    let octets = video.frame_octets()? / u64::from(video.periods_per_frame());
    if video.packing == Packing::Block {
        // The last packet may be short.
        let count = octets.div_ceil(7 * BLOCK);
        return Some(Packets { fewest: count, by_line: count, octets });
    }
    let room = u32::from(max_udp).checked_sub(8 + HEADERS)? / pgroup.octets * pgroup.octets;
    let fewest = octets.div_ceil(u64::from(room).max(1));
    let line_pgroups = video.width / pgroup.pixels;
    let rows = u64::from(video.height / pgroup.lines / video.periods_per_frame());
    // Equal packets of whole pgroups, as few as there are.
    let least = (line_pgroups * pgroup.octets).div_ceil(room.max(1));
    let by_line = (least..=2 * least).find(|&count| line_pgroups.is_multiple_of(count));
    let by_line = u64::from(by_line.unwrap_or(least)) * rows;
    Some(Packets { fewest, by_line, octets })
}

/// The bounds of a sender type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Packets that a receiver must be able to hold: VRX_FULL.
    pub vrx_full: u64,
    /// Packets that may stand at once: CMAX.
    pub cmax: u64,
}

/// The bounds of `sender` for `count` packets in a period; `None` without a rate.
pub fn bounds(video: &Video, sender: SenderType, count: u64, max_udp: u16) -> Option<Bounds> {
    let (frames, seconds) = video.rate?.ratio();
    // Packets of a second, as a ratio: count / T.
    let packets = count * u64::from(video.periods_per_frame()) * u64::from(frames);
    let seconds = u64::from(seconds);
    let max_ip: u64 = if max_udp > UDP_STANDARD { 9000 } else { 1500 };
    let (active, total) = match sender {
        SenderType::NarrowLinear | SenderType::Wide => (1, 1),
        SenderType::Narrow => active(video),
    };
    Some(match sender {
        SenderType::Wide => Bounds {
            vrx_full: (1500 * 720 / max_ip).max(packets / (300 * seconds)),
            cmax: 16.max(packets / (21_600 * seconds)),
        },
        SenderType::Narrow | SenderType::NarrowLinear => Bounds {
            vrx_full: (1500 * 8 / max_ip).max(packets / (27_000 * seconds)),
            cmax: 4.max(packets * total / (43_200 * active * seconds)),
        },
    })
}

/// The part of a period in which a gapped sender sends: ST 2110-21, 6.3.
fn active(video: &Video) -> (u64, u64) {
    match (video.scan, video.height) {
        (Scan::Progressive, _) => (1080, 1125),
        (_, ..=487) => (487, 525),
        (_, ..=576) => (576, 625),
        _ => (1080, 1125),
    }
}

/// Microseconds from a frame's time to its first packet, by default: ST 2110-21, 6.3 and 7.
pub fn troff_default_us(video: &Video) -> Option<f64> {
    let rate = video.rate?;
    let lines = match (video.scan, video.height) {
        (Scan::Progressive, 1080..) => 43.0 / 1125.0,
        (Scan::Progressive, _) => 28.0 / 750.0,
        (_, ..=487) => 20.0 / 525.0,
        (_, ..=576) => 26.0 / 625.0,
        _ => 22.0 / 1125.0,
    };
    Some(lines * 1e6 / rate.per_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sdp::rate::Rate;
    use crate::stream::sdp::samples::video;
    use crate::stream::sdp::video::Packing;
    use crate::stream::sdp::words::Word as _;

    fn of(width: u32, height: u32, rate: u32, packing: Packing) -> Video {
        Video { width, height, rate: Rate::new(rate, 1), packing, ..video() }
    }

    #[test]
    fn the_worked_numbers_of_the_formulas() {
        use Packing::{Block, General};
        // Size, rate, packing; packets; VRX_FULL and CMAX narrow, then wide; TROdefault in us.
        let table = [
            (1920, 1080, 25, General, 4320, [8, 4, 720, 16], 1528.9),
            (1920, 1080, 50, General, 4320, [8, 5, 720, 16], 764.4),
            (1920, 1080, 50, Block, 4115, [8, 4, 720, 16], 764.4),
            (3840, 2160, 25, General, 17280, [16, 10, 1440, 20], 1528.9),
            (3840, 2160, 25, Block, 16458, [15, 9, 1371, 19], 1528.9),
            (3840, 2160, 50, General, 17280, [32, 20, 2880, 40], 764.4),
            (3840, 2160, 50, Block, 16458, [30, 19, 2743, 38], 764.4),
        ];
        for (width, height, rate, packing, count, [vrx, cmax, vrx_wide, cmax_wide], tro) in table {
            let video = of(width, height, rate, packing);
            let found = packets(&video, UDP_STANDARD).unwrap();
            assert_eq!(found.by_line, count, "{video}");
            assert!(found.fewest <= count);
            let bounds = |sender| bounds(&video, sender, count, UDP_STANDARD).unwrap();
            assert_eq!(bounds(SenderType::Narrow), Bounds { vrx_full: vrx, cmax }, "{video}");
            let wide = Bounds { vrx_full: vrx_wide, cmax: cmax_wide };
            assert_eq!(bounds(SenderType::Wide), wide, "{video}");
            assert!((troff_default_us(&video).unwrap() - tro).abs() < 0.05, "{video}");
        }
    }

    /// The services compute the same for themselves, by a schedule.
    #[test]
    fn agrees_with_the_limits_that_senders_and_receivers_keep() {
        use crate::stream::sdp::translate::class;
        use crate::stream::timing::class::Limits;
        use crate::stream::timing::schedule::{Images, Scan as Fields, Schedule};

        let scans =
            [(Scan::Progressive, Fields::Progressive), (Scan::Interlaced, Fields::Interlaced)];
        for (width, height) in [(720, 480), (720, 576), (1280, 720), (1920, 1080), (3840, 2160)] {
            for (rate, (scan, fields)) in ["24000/1001", "25", "30000/1001", "50", "60"]
                .into_iter()
                .flat_map(|rate| scans.map(|scan| (rate, scan)))
            {
                let of = Rate::read(rate).map(|(rate, _)| rate);
                // There is no 720i.
                if height == 720 && scan != Scan::Progressive {
                    continue;
                }
                let video = Video { width, height, scan, rate: of, ..video() };
                let count = packets(&video, UDP_STANDARD).unwrap().by_line;
                for &sender in SenderType::ALL {
                    let images = Images {
                        frames: rate.parse().unwrap(),
                        scan: fields,
                        height,
                        packets: u32::try_from(count).unwrap(),
                    };
                    let class = class(sender);
                    let schedule = Schedule::new(images, class.read(), None).unwrap();
                    let limit = Limits::of(&schedule).of_class(class);
                    let Bounds { vrx_full, cmax } =
                        bounds(&video, sender, count, UDP_STANDARD).unwrap();
                    let theirs = (limit.buffer_packets.into(), limit.burst_packets.into());
                    assert_eq!((vrx_full, cmax), theirs, "{video} {sender}");
                    let default_ns = troff_default_us(&video).unwrap() * 1000.0;
                    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a frame")]
                    let difference = default_ns - schedule.offset_ns() as f64;
                    assert!(difference.abs() < 2.0, "{video}: {difference} ns");
                }
            }
        }
    }

    #[test]
    fn a_field_is_half_a_frame() {
        let video = Video { scan: Scan::Interlaced, ..of(1920, 1080, 25, Packing::General) };
        let found = packets(&video, UDP_STANDARD).unwrap();
        assert_eq!((found.by_line, found.octets), (2160, 2_592_000));
        // As many packets in a second as progressive: the same bounds.
        let bounds = bounds(&video, SenderType::Narrow, found.by_line, UDP_STANDARD).unwrap();
        assert_eq!(bounds, Bounds { vrx_full: 8, cmax: 4 });
    }

    #[test]
    fn larger_datagrams_are_fewer() {
        let video = of(1920, 1080, 50, Packing::General);
        assert_eq!(packets(&video, 8960).unwrap().by_line, 1080);
        assert_eq!(packets(&video, 20), None);
        assert_eq!(bounds(&video, SenderType::Narrow, 1080, 8960).unwrap().vrx_full, 2);
    }
}
