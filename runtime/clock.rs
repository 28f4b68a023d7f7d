//! What time it is. The only file of this crate that asks the machine.
//!
//! Two time scales, never mixed:
//!
//! - `now_ns`: nanoseconds of `CLOCK_MONOTONIC`. Deadlines, latencies, stalls.
//!   Starts near boot and never jumps.
//! - `tai_ns`: nanoseconds of TAI since 1970. Video epochs (ST 2059-1: frame `k`
//!   starts at `k * T`). Has no leap seconds, unlike UTC.
//!
//! A [`Clock`] reads either the machine or a [`Manual`] clock that a test moves
//! by hand. It is one concrete type, so nothing that holds one is generic over
//! time. A shard reads it once per turn and passes the number on; nobody further
//! down asks again.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;

use nix::time::{ClockId, clock_gettime};

const NANOSECONDS: u64 = 1_000_000_000;

/// TAI minus UTC since 2017-01-01 (IERS Bulletin C 52); no later leap second has
/// been announced. Too low or too high by one and every epoch is a second off,
/// which receivers locked to PTP see as a jump of whole frames.
pub const TAI_MINUS_UTC_SECONDS: u32 = 37;

/// What the kernel knows about TAI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaiOffset {
    /// TAI minus UTC, in seconds, as some time daemon told the kernel.
    Known(u32),
    /// Nobody told the kernel: its `CLOCK_TAI` shows UTC.
    Unset,
}

/// A source of `now_ns` and `tai_ns`. Cheap to clone; stays on its thread.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    /// Added to what the source calls TAI.
    tai_correction_ns: u64,
}

#[derive(Clone, Debug)]
enum Source {
    Machine,
    Manual(Manual),
}

impl Clock {
    /// The machine's clocks.
    pub const fn machine() -> Self {
        Self { source: Source::Machine, tai_correction_ns: 0 }
    }

    /// The clock that `manual` moves.
    pub fn manual(manual: &Manual) -> Self {
        Self { source: Source::Manual(manual.clone()), tai_correction_ns: 0 }
    }

    /// The same clock with `seconds` added to its TAI while a machine's
    /// [`Clock::tai_offset`] is [`TaiOffset::Unset`]; once some daemon sets it,
    /// it alone counts, and nothing jumps. Whoever does this says so in the log:
    /// it is an assumption about the machine's UTC.
    pub fn with_tai_correction(self, seconds: u32) -> Self {
        Self { tai_correction_ns: u64::from(seconds) * NANOSECONDS, ..self }
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`, or of the manual clock.
    pub fn now_ns(&self) -> u64 {
        match &self.source {
            Source::Machine => monotonic_ns(),
            Source::Manual(manual) => manual.now_ns(),
        }
    }

    /// Nanoseconds of TAI since 1970, correction included.
    pub fn tai_ns(&self) -> u64 {
        match &self.source {
            Source::Machine if self.tai_correction_ns == 0 => read_ns(ClockId::CLOCK_TAI),
            Source::Machine => {
                let utc_ns = read_ns(ClockId::CLOCK_REALTIME);
                corrected(read_ns(ClockId::CLOCK_TAI), utc_ns, self.tai_correction_ns)
            }
            Source::Manual(manual) => manual.tai_ns() + self.tai_correction_ns,
        }
    }

    /// Whether this clock's TAI can be believed. A manual clock's always can.
    pub fn tai_offset(&self) -> TaiOffset {
        match &self.source {
            Source::Machine => {
                let utc_ns = read_ns(ClockId::CLOCK_REALTIME);
                let tai_ns = read_ns(ClockId::CLOCK_TAI);
                whole_offset(tai_ns.saturating_sub(utc_ns))
            }
            Source::Manual(_) => TaiOffset::Known(TAI_MINUS_UTC_SECONDS),
        }
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, for threads that serve shards and have no
/// [`Clock`] of their own (watchdog, control).
pub fn monotonic_ns() -> u64 {
    read_ns(ClockId::CLOCK_MONOTONIC)
}

/// By how many nanoseconds a card's clock (`/dev/ptp0`, open) is ahead of the kernel's `CLOCK_TAI`,
/// which is to say: of TAI where [`TaiOffset::Known`]. Right to half of what the reading takes,
/// some microseconds.
///
/// # Errors
///
/// Where the file is no clock, or its card does not answer.
pub fn hardware_ahead_ns(device: BorrowedFd<'_>) -> io::Result<i64> {
    // `FD_TO_CLOCKID` of `linux/posix-timers.h`: a dynamic clock is the complement of its
    // descriptor above three bits that say so.
    let clock = ClockId::from_raw(!device.as_raw_fd() << 3 | 3);
    let before_ns = read_ns(ClockId::CLOCK_TAI);
    let shown = clock_gettime(clock)?;
    let after_ns = read_ns(ClockId::CLOCK_TAI);
    let shown_ns =
        i128::from(shown.tv_sec()) * i128::from(NANOSECONDS) + i128::from(shown.tv_nsec());
    let ahead_ns = shown_ns - i128::from(before_ns.midpoint(after_ns));
    i64::try_from(ahead_ns).map_err(io::Error::other)
}

/// The two clocks differ by whole seconds; what is over is the time between the
/// two readings.
fn whole_offset(difference_ns: u64) -> TaiOffset {
    let seconds = (difference_ns + NANOSECONDS / 2) / NANOSECONDS;
    match u32::try_from(seconds) {
        Ok(0) | Err(_) => TaiOffset::Unset,
        Ok(seconds) => TaiOffset::Known(seconds),
    }
}

/// TAI of a kernel that may not know it, read just after UTC.
fn corrected(tai_ns: u64, utc_ns: u64, correction_ns: u64) -> u64 {
    match whole_offset(tai_ns.saturating_sub(utc_ns)) {
        TaiOffset::Known(_) => tai_ns,
        TaiOffset::Unset => tai_ns + correction_ns,
    }
}

/// One reading through the vDSO: no system call, some 25 ns.
fn read_ns(clock: ClockId) -> u64 {
    // Linux has had these clocks since 2.6.12 and 3.10; the call fails only for
    // a clock that does not exist.
    let time = clock_gettime(clock).expect("Linux has this clock");
    let seconds = u64::try_from(time.tv_sec()).expect("clocks start at 1970 or at boot");
    let nanoseconds = u64::try_from(time.tv_nsec()).expect("0..1_000_000_000");
    seconds * NANOSECONDS + nanoseconds
}

/// A clock that stands still until it is moved.
///
/// Clones share one time. Used by `sim` and by tests; never moves backwards, except that its TAI
/// may be set, as a machine's.
#[derive(Clone, Debug)]
pub struct Manual {
    now_ns: Rc<Cell<u64>>,
    /// TAI when `now_ns` is zero.
    tai_at_zero_ns: Rc<Cell<u64>>,
}

impl Manual {
    /// A clock that shows `now_ns`, and whose TAI shows `tai_ns` at that moment.
    ///
    /// # Panics
    ///
    /// When `tai_ns` is below `now_ns`: TAI counts from 1970, and nothing booted
    /// before that.
    pub fn new(now_ns: u64, tai_ns: u64) -> Self {
        assert!(tai_ns >= now_ns, "TAI {tai_ns} ns is before the clock's zero, now {now_ns} ns");
        let cell = |ns| Rc::new(Cell::new(ns));
        Self { now_ns: cell(now_ns), tai_at_zero_ns: cell(tai_ns - now_ns) }
    }

    /// What the clock shows.
    pub fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// TAI at this moment.
    pub fn tai_ns(&self) -> u64 {
        self.tai_at_zero_ns.get() + self.now_ns()
    }

    /// Sets TAI on or back by `ns` nanoseconds, as somebody does with a machine's clock.
    ///
    /// # Panics
    ///
    /// When that is before 1970.
    pub fn step_tai(&self, ns: i64) {
        let stepped = self.tai_at_zero_ns.get().checked_add_signed(ns);
        self.tai_at_zero_ns.set(stepped.expect("TAI counts from 1970"));
    }

    /// Moves the clock on by `ns` nanoseconds.
    pub fn advance(&self, ns: u64) {
        self.now_ns.set(self.now_ns() + ns);
    }

    /// Moves the clock on to `now_ns`.
    ///
    /// # Panics
    ///
    /// When that is in the clock's past.
    pub fn advance_to(&self, now_ns: u64) {
        assert!(now_ns >= self.now_ns(), "from {} back to {now_ns} ns", self.now_ns());
        self.now_ns.set(now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_never_runs_backwards() {
        let clock = Clock::machine();
        let mut last_ns = 0;
        for _ in 0..1_000 {
            let now_ns = clock.now_ns();
            assert!(now_ns >= last_ns);
            last_ns = now_ns;
        }
        assert!(last_ns > 0);
    }

    #[test]
    fn an_offset_is_whole_seconds_and_zero_means_nobody_set_it() {
        assert_eq!(whole_offset(0), TaiOffset::Unset);
        assert_eq!(whole_offset(1_200), TaiOffset::Unset, "1.2 us between the readings");
        assert_eq!(whole_offset(37 * NANOSECONDS), TaiOffset::Known(37));
        assert_eq!(whole_offset(37 * NANOSECONDS + 1_200), TaiOffset::Known(37));
    }

    #[test]
    fn a_file_that_is_no_clock_is_an_error() {
        use std::os::fd::AsFd as _;
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(hardware_ahead_ns(file.as_fd()).is_err());
    }

    #[test]
    fn a_correction_moves_tai_and_leaves_now_alone() {
        let manual = Manual::new(1_000, 5_000);
        let clock = Clock::manual(&manual).with_tai_correction(TAI_MINUS_UTC_SECONDS);
        assert_eq!(clock.now_ns(), 1_000);
        assert_eq!(clock.tai_ns(), 37 * NANOSECONDS + 5_000);
    }

    #[test]
    fn a_correction_ends_when_the_kernel_is_told() {
        let (utc_ns, correction_ns) = (1_700_000_000_000_000_000, 37 * NANOSECONDS);
        let right_ns = utc_ns + correction_ns;
        assert_eq!(corrected(utc_ns + 40, utc_ns, correction_ns), right_ns + 40);
        assert_eq!(corrected(right_ns + 40, utc_ns, correction_ns), right_ns + 40);
        // Whatever it was told.
        let told_ns = utc_ns + 36 * NANOSECONDS;
        assert_eq!(corrected(told_ns, utc_ns, correction_ns), told_ns);
    }

    #[test]
    fn the_machines_tai_is_ahead_of_its_monotonic_clock() {
        let clock = Clock::machine();
        assert!(clock.tai_ns() > clock.now_ns(), "1970 was before boot");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told_and_for_all_who_hold_it() {
        let manual = Manual::new(10, 1_000_010);
        let (one, two) = (Clock::manual(&manual), Clock::manual(&manual));
        assert_eq!((one.now_ns(), two.now_ns()), (10, 10));
        manual.advance(5);
        assert_eq!((one.now_ns(), two.now_ns()), (15, 15));
        manual.advance_to(115);
        assert_eq!((one.now_ns(), one.tai_ns()), (115, 1_000_115));
        assert_eq!(one.tai_offset(), TaiOffset::Known(37));
    }

    #[test]
    fn a_step_of_tai_leaves_the_other_clock_alone() {
        let manual = Manual::new(10, 1_000_010);
        manual.step_tai(-500);
        assert_eq!((manual.now_ns(), manual.tai_ns()), (10, 999_510));
        manual.clone().step_tai(600);
        assert_eq!((manual.now_ns(), manual.tai_ns()), (10, 1_000_110));
    }

    #[test]
    #[should_panic(expected = "from 10 back to 9 ns")]
    fn a_manual_clock_refuses_to_run_backwards() {
        Manual::new(10, 10).advance_to(9);
    }
}
