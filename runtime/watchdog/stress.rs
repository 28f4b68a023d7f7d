//! Does a real executor stay awake? The stress that shows its park bug.
//!
//! A task that yields in a loop under a preemption timer of 100 us made the
//! executor of glommio 0.9 and glommio-ng 0.12 sleep for good within a second:
//! its preemption event arrived before the first task of a round. The watchdog's
//! beat ends each such sleep. To see it without, which fails:
//!
//! ```text
//! WITHOUT_BEAT=1 cargo test -p tidegate-runtime watchdog::stress
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};
use nix::errno::Errno;

use super::{Options, Watchdog};

const STRESS: Duration = Duration::from_secs(3);

/// Without the beat the executor sleeps for ever; with it for a millisecond. A
/// second is what a busy machine may take from a thread.
const GAP_MAX: Duration = Duration::from_secs(1);

/// Whether this failure to make an executor says that the machine forbids it
/// (container, sysctl `kernel.io_uring_disabled`, old kernel), which is no
/// fault of ours.
fn forbidden(error: &io::Error) -> bool {
    let forbidden = [Errno::EPERM, Errno::EACCES, Errno::ENOSYS];
    error.raw_os_error().is_some_and(|code| forbidden.contains(&Errno::from_raw(code)))
}

#[test]
fn tells_a_machine_without_io_uring_from_a_fault() {
    assert!(forbidden(&io::Error::from_raw_os_error(Errno::EPERM as i32)));
    assert!(forbidden(&io::Error::from_raw_os_error(Errno::ENOSYS as i32)));
    assert!(!forbidden(&io::Error::from_raw_os_error(Errno::EINVAL as i32)));
    assert!(!forbidden(&io::Error::other("probe failed")));
}

#[test]
fn an_executor_with_a_beat_stays_awake_under_a_yielding_task() {
    let watchdog = Watchdog::start(Options::default()).unwrap();
    let watched = (std::env::var_os("WITHOUT_BEAT").is_none()).then(|| watchdog.handle().watch(0));
    let turns = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));

    let made = LocalExecutorBuilder::new(Placement::Unbound)
        .preempt_timer(Duration::from_micros(100))
        .spin_before_park(Duration::from_millis(1))
        .io_memory(64 << 10)
        .ring_depth(32)
        .spawn({
            let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
            move || async move {
                if let Some(watched) = &watched {
                    glommio::spawn_local(watched.heartbeat()).detach();
                }
                while !stop.load(Ordering::Relaxed) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    glommio::executor().yield_now().await;
                }
            }
        });
    let executor = match made.map_err(io::Error::from) {
        Ok(executor) => executor,
        Err(error) if forbidden(&error) => {
            assert!(std::env::var_os("REQUIRE_NET").is_none(), "io_uring is forbidden: {error}");
            eprintln!("skipped: io_uring is forbidden here: {error}");
            return;
        }
        Err(error) => panic!("no executor: {error}"),
    };

    let (start, mut moved, mut seen) = (Instant::now(), Instant::now(), 0);
    while start.elapsed() < STRESS {
        thread::sleep(Duration::from_millis(5));
        let now = turns.load(Ordering::Relaxed);
        if now != seen {
            (moved, seen) = (Instant::now(), now);
        }
        assert!(moved.elapsed() < GAP_MAX, "the executor sleeps since turn {seen}");
    }
    stop.store(true, Ordering::Relaxed);
    executor.join().expect("the executor ended by itself");
    assert!(seen > 1_000, "{seen} turns are no stress");
}
