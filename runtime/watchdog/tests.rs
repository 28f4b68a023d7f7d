//! The thread with shards played by hand. The decisions are tested in `judge`.

use std::pin::pin;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, Wake};
use std::time::Instant;

use super::*;

const BEAT: Duration = Duration::from_millis(1);

/// Counts its wakes.
#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Long enough for the thread on a machine that does other things.
fn within_five_seconds(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        if holds() {
            return true;
        }
        thread::sleep(BEAT);
    }
    false
}

#[test]
fn wakes_a_heartbeat_again_and_again_and_lets_it_end() {
    let watchdog = Watchdog::start(Options { beat: BEAT, ..Options::default() }).unwrap();
    let watched = watchdog.handle().watch(0);
    let wakes = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut heartbeat = pin!(watched.heartbeat());
    let mut cx = Context::from_waker(&waker);
    for round in 1..=5 {
        assert_eq!(heartbeat.as_mut().poll(&mut cx), Poll::Pending);
        assert!(within_five_seconds(|| wakes.0.load(Ordering::Relaxed) >= round), "round {round}");
    }
    let before = wakes.0.load(Ordering::Relaxed);
    drop(watched);
    assert!(wakes.0.load(Ordering::Relaxed) > before, "one last wake");
    assert_eq!(heartbeat.as_mut().poll(&mut cx), Poll::Ready(()));
}

#[test]
fn counts_a_stall_once_for_the_turn_and_for_the_task() {
    let options =
        Options { beat: BEAT, stall_budget: Duration::from_millis(2), ..Options::default() };
    let watchdog = Watchdog::start(options).unwrap();
    let watched = watchdog.handle().watch(3);
    let (fast, slow) = (watched.name_task("fast"), watched.name_task("slow"));
    let progress = watched.progress();
    progress.start_turn(monotonic_ns());
    progress.enter(slow);
    assert!(within_five_seconds(|| progress.stalls() > 0));
    thread::sleep(10 * BEAT);
    assert_eq!((progress.stalls(), progress.stalls_of(slow), progress.stalls_of(fast)), (1, 1, 0));
    progress.leave();
    progress.start_turn(monotonic_ns());
    progress.enter(slow);
    assert!(within_five_seconds(|| progress.stalls() == 2));
}

#[test]
fn a_shard_that_sleeps_or_has_not_started_is_left_alone() {
    let options = Options { stall_budget: Duration::ZERO, ..Options::default() };
    let watchdog = Watchdog::start(options).unwrap();
    let new = watchdog.handle().watch(0);
    let asleep = watchdog.handle().watch(1);
    asleep.progress().start_turn(u64::MAX);
    asleep.progress().fall_asleep();
    let stalled = watchdog.handle().watch(2);
    stalled.progress().start_turn(1);
    // When this one was seen, the others were too.
    assert!(within_five_seconds(|| stalled.progress().stalls() > 0));
    thread::sleep(3 * BEAT);
    assert_eq!((new.progress().stalls(), asleep.progress().stalls()), (0, 0));
}

#[test]
fn a_dropped_registration_is_forgotten() {
    let watchdog = Watchdog::start(Options::default()).unwrap();
    let watched = watchdog.handle().watch(0);
    let entry = Arc::downgrade(&watched.entry);
    drop(watched);
    assert!(within_five_seconds(|| entry.upgrade().is_none()));
}
