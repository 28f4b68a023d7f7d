//! The executor under a shard, and the one task that turns it.
//!
//! Glommio brings the thread's ring, its control tasks and a fair share for them; the shard brings
//! everything that touches packets. So the glue is one loop: turn, and when a turn brought
//! nothing for long enough, sleep on one file descriptor.
//!
//! Two things about glommio that shape it. Its timers and its ring are looked at only when its
//! preemption timer says so, which is why deadlines of services are the shard's own. And it can
//! park although a task is ready; the watchdog's beat ends such a sleep within a millisecond, once
//! the executor has run anything. `run` takes care of the time before.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{error, fmt, fs};

use futures_lite::{FutureExt as _, future};
use glommio::{
    GlommioError, Latency, LocalExecutor, LocalExecutorBuilder, Placement, ReactorErrorKind, Shares,
};
use tracing::error;

use crate::clock::Clock;
use crate::mailbox::Mailbox;
use crate::plan::Idle;
use crate::shard::Shard;
use crate::shards::Message;
use crate::sleep::{AWAKE_NS, Place, Sleeper};
use crate::turn::SleepEnded;
use crate::watchdog::Heartbeat;

/// Octets that the process must be allowed to lock (RLIMIT_MEMLOCK), or there is no executor.
///
/// Glommio compares the limit itself, so it counts for root and with CAP_IPC_LOCK too.
pub const LOCKED_OCTETS_MIN: u64 = 512 << 10;

/// Octets of registered I/O memory: the least that glommio takes. Nothing here reads files.
const IO_MEMORY_OCTETS: usize = 64 << 10;

/// Entries of each of the executor's three rings: a shard has a handful of waits at a time.
const RING_DEPTH: usize = 32;

/// How often the executor looks at its ring while the shard is busy.
///
/// At 100 us it parks with ready tasks within a second (see the watchdog); at 100 ms control
/// tasks wait for that long.
const PREEMPT: Duration = Duration::from_millis(1);

/// The same until the executor has run its first task, which gives the watchdog its waker.
///
/// The timer is set before that task is looked at, and an executor that loses its processor for so
/// long in between parks for ever: with [`PREEMPT`] one start in ten did on a software CPU of a
/// busy machine. Also holds while no task of the shard is ready, so higher would let control tasks
/// wait that long for one that is woken in just that moment.
const PREEMPT_AT_FIRST: Duration = Duration::from_secs(1);

/// Messages handled between two turns: a bound, so that a flood of questions does not stop
/// packets.
const MESSAGES_MAX: u32 = 16;

/// Why there is no executor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The kernel or a filter forbids `io_uring`.
    Forbidden {
        /// The kernel's answer, in its own words.
        answer: Box<str>,
        /// `kernel.io_uring_disabled`, where it can be read.
        disabled: Option<u8>,
    },
    /// Too little memory may be locked.
    Memlock {
        /// Octets that may be locked.
        limit_octets: u64,
        /// Octets that must be.
        need_octets: u64,
    },
    /// Anything else.
    Other {
        /// Glommio's words.
        answer: Box<str>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden { answer, disabled } => {
                write!(f, "io_uring cannot be used here ({answer}); ")?;
                match disabled {
                    Some(value @ 1..) => write!(
                        f,
                        "kernel.io_uring_disabled is {value}: \
                         allow it with `sysctl -w kernel.io_uring_disabled=0`"
                    ),
                    _ => f.write_str(
                        "a seccomp filter, as containers have one, forbids it: \
                         allow io_uring_setup, io_uring_enter and io_uring_register in the \
                         profile (to try: `--security-opt seccomp=unconfined`)",
                    ),
                }
            }
            Self::Memlock { limit_octets, need_octets } => write!(
                f,
                "only {limit_octets} octets may be locked, the executor needs {need_octets}; \
                 raise it with `ulimit -l {}` or LimitMEMLOCK= of the service",
                need_octets.div_ceil(1024)
            ),
            Self::Other { answer } => write!(f, "the executor could not be made: {answer}"),
        }
    }
}

impl error::Error for Error {}

/// Makes the executor of the calling thread and pins the thread to `cpu`.
pub(crate) fn make(cpu: usize) -> Result<LocalExecutor, Error> {
    let make = || {
        LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name("shard")
            .io_memory(IO_MEMORY_OCTETS)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT_AT_FIRST)
            .make()
    };
    // Some of its refusals are panics.
    match catch_unwind(make) {
        Ok(Ok(executor)) => Ok(executor),
        Ok(Err(refusal)) => Err(explain(refusal)),
        Err(_) => Err(Error::Other { answer: "it panicked; its message is above".into() }),
    }
}

/// Runs a shard's life. Whatever it waits for, the watchdog can wake it: the `heartbeat` has run
/// before it begins.
///
/// # Panics
///
/// When `life` does.
pub(crate) fn run<T: 'static>(
    executor: &LocalExecutor,
    heartbeat: Heartbeat,
    life: impl Future<Output = T> + 'static,
) -> T {
    run_preempted(executor, heartbeat, PREEMPT, life)
}

fn run_preempted<T: 'static>(
    executor: &LocalExecutor,
    heartbeat: Heartbeat,
    preempt: Duration,
    life: impl Future<Output = T> + 'static,
) -> T {
    let outcome = executor.run(async move {
        glommio::spawn_local(heartbeat).detach();
        future::yield_now().await;
        // The one way to another preemption timer: that of the queues with something to run.
        let latency = Latency::Matters(preempt);
        let queue = glommio::executor().create_task_queue(Shares::default(), latency, "shard");
        // A task that panics is lost with its message; the thread is to end with it.
        let life = AssertUnwindSafe(life).catch_unwind();
        glommio::spawn_local_into(life, queue).expect("the queue was just made").await
    });
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn explain(refusal: GlommioError<()>) -> Error {
    const EPERM: i32 = 1;
    const ENOSYS: i32 = 38;
    let answer = refusal.to_string();
    if let Some((limit_octets, need_octets)) = memlock(&refusal, &answer) {
        return Error::Memlock { limit_octets, need_octets };
    }
    let forbidden = match &refusal {
        GlommioError::IoError(error) => {
            matches!(error.raw_os_error(), Some(EPERM | ENOSYS)) || answer.contains("io_uring")
        }
        _ => false,
    };
    // Glommio explains at length; its first sentence is the kernel's answer.
    let first = answer.split(". ").next().unwrap_or_default().into();
    match forbidden {
        true => Error::Forbidden { answer: first, disabled: io_uring_disabled() },
        false => Error::Other { answer: answer.into() },
    }
}

/// The limit on locked memory and the need, if that is what `refusal` is about. On its way out of
/// the executor's thread the error becomes an I/O error that has them only in its words.
fn memlock(refusal: &GlommioError<()>, answer: &str) -> Option<(u64, u64)> {
    if let GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(limit, need)) = refusal {
        return Some((*limit, *need));
    }
    let (_, words) = answer.split_once("MemLockLimit(")?;
    let (limit, need) = words.split_once(')')?.0.split_once('/')?;
    Some((limit.parse().ok()?, need.parse().ok()?))
}

fn io_uring_disabled() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// What drives one shard besides the shard.
pub(crate) struct Drive {
    pub(crate) clock: Clock,
    pub(crate) mailbox: Mailbox<Message<Shard>>,
    pub(crate) sleeper: Sleeper,
    pub(crate) idle: Idle,
    /// Set by whoever wants the shard to drain.
    pub(crate) leave: Arc<AtomicBool>,
}

/// Longest sleep.
///
/// A packet that the kernel loses for want of a chunk, or because it is too long for one, puts
/// nothing on a ring and wakes nobody; that it was lost is told when the shard wakes. A second is
/// what `stats --watch` shows. Lower wakes idle cores more often, higher hides losses for as long.
const ASLEEP_NS_MAX: u64 = 1_000_000_000;

/// A round of the executor is put off where a deadline is as close as this.
///
/// It takes some 30 us (io_uring_enter twice), each [`PREEMPT`]: of a paced sender's groups, 13 us
/// apart on an idle machine, 870 a second were late by their distance with it and 290 without.
/// Lower and it makes deadlines late again; higher and it waits for no reason.
const ROUND_NS: u64 = 25_000;

/// For how long at most. Longer than the frame of 24 per second, after which a sender pauses; all
/// that waits are the executor's own tasks, for which a tenth of a second would do.
const ROUND_PUT_OFF_NS_MAX: u64 = 50_000_000;

/// Whether the executor's round waits for a deadline that is near.
const fn round_waits(since_last_ns: u64, to_deadline_ns: Option<u64>) -> bool {
    match to_deadline_ns {
        Some(ns) => ns <= ROUND_NS && since_last_ns < ROUND_PUT_OFF_NS_MAX,
        None => false,
    }
}

/// Turns the shard until it has drained.
pub(crate) async fn drive(shard: &mut Shard, mut drive: Drive) {
    let mut idle_since_ns = None;
    let mut round_at_ns = drive.clock.now_ns();
    loop {
        let now_ns = drive.clock.now_ns();
        if drive.leave.load(Ordering::Relaxed) {
            shard.begin_drain(now_ns);
        }
        let messages = handle_messages(shard, &mut drive.mailbox);
        let turn = shard.turn(now_ns);
        if turn.finished {
            return;
        }
        if turn.progress || messages {
            idle_since_ns = None;
        } else if let Idle::After(patience_ns) = drive.idle {
            let idle_ns = now_ns - *idle_since_ns.get_or_insert(now_ns);
            if idle_ns >= patience_ns && may_sleep(shard, now_ns) {
                let latest_ns = now_ns + ASLEEP_NS_MAX;
                let deadline_ns =
                    shard.next_deadline_ns().map_or(latest_ns, |at| at.min(latest_ns));
                shard.falls_asleep(now_ns);
                let (leave, place) = (&drive.leave, place(shard));
                let nothing_to_do = || shard.may_sleep() && !leave.load(Ordering::Relaxed);
                drive.sleeper.sleep(place, &mut drive.mailbox, deadline_ns, nothing_to_do).await;
                let now_ns = drive.clock.now_ns();
                let out = deadline_ns == latest_ns && now_ns + AWAKE_NS >= latest_ns;
                shard.wakes_up(now_ns, if out { SleepEnded::Out } else { SleepEnded::Woken });
                idle_since_ns = None;
                continue;
            }
        }
        if glommio::executor().need_preempt() {
            let to_deadline_ns = shard.next_deadline_ns().map(|at| at.saturating_sub(now_ns));
            let waits = round_waits(now_ns.saturating_sub(round_at_ns), to_deadline_ns);
            // Never where a service waits for what only the executor brings.
            if !waits || shard.needs_executor() {
                round_at_ns = now_ns;
                glommio::yield_if_needed().await;
            }
        }
    }
}

fn place(shard: &Shard) -> Place {
    if shard.needs_executor() { Place::Executor } else { Place::Kernel }
}

fn may_sleep(shard: &Shard, now_ns: u64) -> bool {
    let near = |deadline_ns: u64| deadline_ns <= now_ns + AWAKE_NS;
    shard.may_sleep() && !shard.next_deadline_ns().is_some_and(near)
}

fn handle_messages(shard: &mut Shard, mailbox: &mut Mailbox<Message<Shard>>) -> bool {
    let mut any = false;
    for _ in 0..MESSAGES_MAX {
        let Some(message) = mailbox.take() else { break };
        any = true;
        shard.count_message();
        // Whoever asked learns from the missing answer; the shard goes on.
        if catch_unwind(AssertUnwindSafe(|| message(shard))).is_err() {
            error!(shard = %shard.id(), "a message's work panicked on this shard");
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::{self, Watchdog};

    #[test]
    fn says_what_forbids_io_uring_and_what_to_type() {
        let sysctl = Error::Forbidden { answer: "not permitted".into(), disabled: Some(2) };
        assert_eq!(
            sysctl.to_string(),
            "io_uring cannot be used here (not permitted); kernel.io_uring_disabled is 2: \
             allow it with `sysctl -w kernel.io_uring_disabled=0`"
        );
        let seccomp = Error::Forbidden { answer: "not permitted".into(), disabled: Some(0) };
        assert_eq!(
            seccomp.to_string(),
            "io_uring cannot be used here (not permitted); a seccomp filter, as containers have \
             one, forbids it: allow io_uring_setup, io_uring_enter and io_uring_register in the \
             profile (to try: `--security-opt seccomp=unconfined`)"
        );
    }

    #[test]
    fn the_executors_round_waits_for_a_deadline_that_is_near_but_not_for_ever() {
        assert!(round_waits(1_000_000, Some(0)));
        assert!(round_waits(1_000_000, Some(ROUND_NS)));
        assert!(!round_waits(1_000_000, Some(ROUND_NS + 1)), "there is time for it");
        assert!(!round_waits(1_000_000, None));
        assert!(!round_waits(ROUND_PUT_OFF_NS_MAX, Some(0)), "it waited long enough");
    }

    /// The worst of machines: every timer has fired by the time that it is looked at. Without
    /// [`run`] the first task is never run, and the test hangs.
    #[test]
    fn a_life_begins_and_goes_on_although_its_time_is_always_up() {
        let watchdog = Watchdog::start(watchdog::Options::default()).unwrap();
        for _ in 0..20 {
            let executor = match make(0) {
                Ok(executor) => executor,
                // A container without io_uring, as other tests tell.
                Err(Error::Forbidden { .. }) => return,
                Err(error) => panic!("{error}"),
            };
            let watched = watchdog.handle().watch(0);
            let heartbeat = watched.heartbeat();
            let turns = run_preempted(&executor, heartbeat, Duration::from_nanos(1), async {
                let mut turns = 0;
                while turns < 50 {
                    glommio::yield_if_needed().await;
                    future::yield_now().await;
                    turns += 1;
                }
                turns
            });
            assert_eq!(turns, 50);
        }
    }

    #[test]
    fn a_life_that_panics_ends_its_thread_with_what_it_said() {
        let Ok(executor) = make(0) else { return };
        let watchdog = Watchdog::start(watchdog::Options::default()).unwrap();
        let heartbeat = watchdog.handle().watch(0).heartbeat();
        let life = async { panic!("a bug of ours") };
        let run = AssertUnwindSafe(|| run(&executor, heartbeat, life));
        let panic = catch_unwind(run).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a bug of ours"));
    }

    #[test]
    fn says_how_much_memory_must_be_lockable() {
        let limit = || {
            let need = LOCKED_OCTETS_MIN;
            GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(65_536, need))
        };
        // As it is made, and as it comes.
        for refusal in [limit(), std::io::Error::from(limit()).into()] {
            assert_eq!(
                explain(refusal).to_string(),
                "only 65536 octets may be locked, the executor needs 524288; \
                 raise it with `ulimit -l 512` or LimitMEMLOCK= of the service"
            );
        }
    }

    #[test]
    fn a_refusal_by_the_kernel_is_told_from_other_trouble() {
        let refused = |errno| explain(std::io::Error::from_raw_os_error(errno).into());
        assert!(matches!(refused(1), Error::Forbidden { .. }), "EPERM");
        assert!(matches!(refused(38), Error::Forbidden { .. }), "ENOSYS");
        assert!(matches!(refused(12), Error::Other { .. }), "ENOMEM");
    }
}
