//! Whether launch times may be asked for: only where the card's clock shows what we call TAI.
//!
//! A packet that waits for its time holds up all behind it, so a card whose clock is an hour behind
//! would send nothing for an hour. A driver may also translate by the kernel's `CLOCK_TAI` (igc
//! does), so both have to show TAI: ptp4l sets the card, phc2sys or chrony the kernel.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::{error, fmt};

use tidegate_runtime::clock::{Clock, TaiOffset, hardware_ahead_ns};

/// How far the two may be apart: half of what a packet is handed over before its time (see
/// `LAUNCH_LEAD_NS` of the sender), so that none comes too late nor waits long. Daemons that keep
/// them together do so to a microsecond; less than the time of a reading, some ten, would refuse
/// good clocks.
const APART_NS_MAX: u64 = 100_000;

/// Why launch times are not asked for.
#[derive(Debug)]
pub(super) enum Hindrance {
    /// The card has no clock that can be read.
    NoClock,
    /// Its clock does not answer.
    Unreadable(io::Error),
    /// Nobody told the kernel the leap seconds.
    TaiUnset,
    /// The card's clock shows something else.
    Apart {
        /// By how much it is ahead.
        ahead_ns: i64,
    },
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClock => f.write_str("the card has no clock under /sys/class/net"),
            Self::Unreadable(_) => f.write_str("the card's clock cannot be read"),
            Self::TaiUnset => f.write_str(
                "the kernel does not know TAI; set it with ptp4l or chrony (leapsectz right/UTC)",
            ),
            Self::Apart { ahead_ns } => write!(
                f,
                "the card's clock is {ahead_ns} ns ahead of TAI; keep them together with ptp4l and \
                 phc2sys"
            ),
        }
    }
}

impl error::Error for Hindrance {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unreadable(source) => Some(source),
            _ => None,
        }
    }
}

/// Reads the clock of the interface's card and judges it.
pub(super) fn judge_clock(interface: &str) -> Result<(), Hindrance> {
    let device = clock_of(interface).ok_or(Hindrance::NoClock)?;
    let file = File::open(Path::new("/dev").join(device)).map_err(Hindrance::Unreadable)?;
    let ahead_ns = hardware_ahead_ns(file.as_fd()).map_err(Hindrance::Unreadable)?;
    judge(Clock::machine().tai_offset(), ahead_ns)
}

fn judge(tai: TaiOffset, ahead_ns: i64) -> Result<(), Hindrance> {
    match tai {
        TaiOffset::Unset => Err(Hindrance::TaiUnset),
        TaiOffset::Known(_) if ahead_ns.unsigned_abs() > APART_NS_MAX => {
            Err(Hindrance::Apart { ahead_ns })
        }
        TaiOffset::Known(_) => Ok(()),
    }
}

/// The name of the card's clock, as `ptp0`: the kernel lists it below the interface's device.
fn clock_of(interface: &str) -> Option<String> {
    let folder = Path::new("/sys/class/net").join(interface).join("device/ptp");
    let mut clocks = fs::read_dir(folder).ok()?;
    clocks.find_map(|clock| clock.ok()?.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_must_show_the_same_and_it_must_be_tai() {
        let told = |tai, ahead_ns| judge(tai, ahead_ns).map_err(|it| it.to_string());
        assert_eq!(told(TaiOffset::Known(37), 2_000), Ok(()));
        assert_eq!(told(TaiOffset::Known(37), -100_000), Ok(()));
        // A card that shows UTC.
        assert_eq!(
            told(TaiOffset::Known(37), -37_000_000_000).unwrap_err(),
            "the card's clock is -37000000000 ns ahead of TAI; keep them together with ptp4l and \
             phc2sys"
        );
        assert!(told(TaiOffset::Known(37), i64::MIN).is_err());
        assert_eq!(
            told(TaiOffset::Unset, 0).unwrap_err(),
            "the kernel does not know TAI; set it with ptp4l or chrony (leapsectz right/UTC)"
        );
    }

    #[test]
    fn an_interface_without_a_card_has_no_clock() {
        assert!(matches!(judge_clock("lo"), Err(Hindrance::NoClock)));
    }
}
