//! Shards on threads of their own, with executors of their own: needs `io_uring`, no privilege.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::Poll;

use tidegate_dataplane::umem::{Options, Pages};
use tidegate_dataplane::xsk::testing::{self, Kernel};

use super::*;
use crate::burst::{Burst, Delivery};
use crate::context::ShardContext;
use crate::plan::{PortPlan, ServicePlan};
use crate::port::{NoReinject, PortFacts};
use crate::report::Health;
use crate::service::{Build, BuildError, BurstHandler, Service, ServiceError};
use crate::verdict::Verdict;

thread_local! {
    /// The kernel behind the port of the shard that runs on this thread.
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

fn port() -> PortPlan {
    let opener = || {
        let umem = Options { chunk_octets: 2048, frames: 256, pages: Pages::Ordinary };
        let (queue, kernel) = testing::pair(&umem, 64, 64)?;
        KERNEL.set(Some(kernel));
        let facts = PortFacts { interface: "memory".into(), ..PortFacts::default() };
        Ok((queue, Box::new(NoReinject) as _, facts))
    };
    PortPlan { name: "memory queue 0".into(), opener: Box::new(opener) }
}

/// Plays the kernel of its own shard: delivers a packet at each of its times, and takes away
/// what was sent.
struct Player {
    period_ns: u64,
}

impl Service for Player {
    const KIND: &'static str = "player";
    type Options = u64;

    fn build(period_ns: &u64, _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { period_ns: *period_ns })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut next_ns = cx.now_ns();
        let mut draining = false;
        loop {
            KERNEL.with_borrow_mut(|kernel| {
                let kernel = kernel.as_mut().expect("the port was opened on this thread");
                while kernel.transmit().is_some() {}
                kernel.complete(usize::MAX);
                if !draining {
                    kernel.deliver(&[0xa5; 60], 0);
                }
            });
            if draining {
                return Ok(());
            }
            next_ns += self.period_ns;
            draining = cx.sleep_until(next_ns).await == Delivery::Drained;
        }
    }
}

struct Echo;

impl BurstHandler for Echo {
    const KIND: &'static str = "echo";
    type Options = ();

    fn build(_: &(), _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self)
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for frame in burst.frames.drain(..) {
            // A kernel that nobody plays any more would not complete a transmission.
            let verdict = if cx.draining() { Verdict::Consumed } else { Verdict::Transmit };
            cx.settle(frame, verdict);
        }
        Ok(())
    }
}

fn plan(shards: Vec<ShardPlan>, policy: Policy) -> Plan {
    Plan::new(shards, policy, Registry::new("test", 0))
}

fn quick() -> Policy {
    Policy { idle: Idle::After(50_000), drain_timeout_ns: 2_000_000_000, ..Policy::default() }
}

fn echo_and_player(period_ns: u64) -> ShardPlan {
    let services = vec![
        ServicePlan::of::<Echo>("echo", ()).selector(0, 0),
        ServicePlan::of::<Player>("player", period_ns),
    ];
    ShardPlan { cpu: None, ports: vec![port()], services }
}

#[test]
fn two_shards_start_work_sleep_and_leave_with_every_frame() {
    let mut plan = plan(vec![echo_and_player(1_000_000), echo_and_player(1_000_000)], quick());
    let admitted = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&admitted);
    plan.admit = Box::new(move |admission| seen.lock().unwrap().push(admission));
    let runtime = Runtime::start(plan).unwrap();
    assert_eq!(*admitted.lock().unwrap(), [Admission::Open]);
    thread::sleep(Duration::from_millis(300));
    runtime.stopper().stop();
    let report = runtime.wait();
    assert_eq!(*admitted.lock().unwrap(), [Admission::Open, Admission::Closed]);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.shards.len(), 2);
    for shard in &report.shards {
        let stats = shard.services[0].stats();
        assert!(stats.rx_frames > 20, "{stats:?}");
        assert_eq!(stats.settled(), stats.rx_frames);
        assert!(shard.stats.sleeps > 20, "{:?}", shard.stats);
        assert!(shard.stats.asleep_ns > 0);
        assert!(shard.services.iter().all(|service| service.health == Health::Finished));
    }
}

#[test]
fn a_shard_that_spins_does_not_sleep() {
    let policy = Policy { idle: Idle::Spin, ..quick() };
    let shard = ShardPlan { cpu: Some(cpus::allowed().unwrap()[0]), ..echo_and_player(1_000_000) };
    let runtime = Runtime::start(plan(vec![shard], policy)).unwrap();
    thread::sleep(Duration::from_millis(50));
    runtime.stopper().stop();
    let report = runtime.wait();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.shards[0].stats.sleeps, 0);
    assert!(report.shards[0].stats.turns > 1_000);
}

#[test]
fn shards_that_share_a_cpu_sleep_even_if_told_to_spin() {
    let cpu = Some(cpus::allowed().unwrap()[0]);
    let shards = (0..2).map(|_| ShardPlan { cpu, ..echo_and_player(1_000_000) }).collect();
    let policy = Policy { idle: Idle::Spin, ..quick() };
    let runtime = Runtime::start(plan(shards, policy)).unwrap();
    thread::sleep(Duration::from_millis(300));
    runtime.stopper().stop();
    let report = runtime.wait();
    assert!(report.is_clean(), "{report:#?}");
    for shard in &report.shards {
        assert!(shard.stats.sleeps > 10, "{:?}", shard.stats);
        assert!(shard.services[0].stats().rx_frames > 10);
    }
}

#[test]
fn a_sleeping_shard_answers_questions() {
    let idle = ShardPlan { cpu: None, ports: vec![port()], services: Vec::new() };
    let runtime = Runtime::start(plan(vec![echo_and_player(1_000_000), idle], quick())).unwrap();
    let shards = runtime.shards();
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(5));
        let id = shards.submit_to(1, |shard| shard.id()).unwrap();
        assert_eq!(id.wait(Duration::from_secs(5)), Ok(ShardId(1)));
    }
    let frames = shards.map_reduce_wait(
        |shard| shard.report().services.len(),
        0,
        |sum, services| sum + services,
        Duration::from_secs(5),
    );
    assert_eq!(frames, Ok(2));
    runtime.stopper().stop();
    let report = runtime.wait();
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.shards[1].stats.messages >= 11);
    assert!(report.shards[1].stats.sleeps >= 5, "{:?}", report.shards[1].stats);
}

#[test]
fn work_that_panics_costs_its_asker_the_answer_and_nobody_else() {
    let idle = ShardPlan { cpu: None, ports: vec![port()], services: Vec::new() };
    let runtime = Runtime::start(plan(vec![idle], quick())).unwrap();
    let reply = runtime.shards().submit_to(0, |_| panic!("bad work")).unwrap();
    assert!(reply.wait(Duration::from_secs(5)).is_err());
    let id = runtime.shards().submit_to(0, |shard| shard.id()).unwrap();
    assert_eq!(id.wait(Duration::from_secs(5)), Ok(ShardId(0)));
    runtime.stopper().stop();
    assert!(runtime.wait().is_clean());
}

#[test]
fn mail_reaches_a_service_that_waits_for_it() {
    /// Counts messages until it gets one that says how many it should have.
    struct Reader;
    impl Service for Reader {
        const KIND: &'static str = "reader";
        type Options = ();
        fn build(_: &(), _: &mut Build<'_>) -> Result<Self, BuildError> {
            Ok(Self)
        }
        async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
            let mut count = 0_usize;
            while let Some(mail) = cx.recv_mail().await {
                match mail.downcast::<usize>() {
                    Ok(expected) if *expected == count => return Ok(()),
                    Ok(expected) => {
                        let told = format!("{count} of {expected} came");
                        return Err(ServiceError::new(told));
                    }
                    Err(_) => count += 1,
                }
            }
            Err(ServiceError::new("drained before the last message"))
        }
    }
    let services = vec![ServicePlan::of::<Reader>("reader", ())];
    let shard = ShardPlan { cpu: None, ports: vec![port()], services };
    let runtime = Runtime::start(plan(vec![shard], quick())).unwrap();
    let post = |mail: crate::shard::Mail| {
        let posted = runtime.shards().submit_to(0, |shard| shard.post("reader", mail).is_ok());
        assert_eq!(posted.unwrap().wait(Duration::from_secs(5)), Ok(true));
    };
    (0..5).for_each(|_| post(Box::new("hello")));
    post(Box::new(5_usize));
    let nobody = runtime.shards().submit_to(0, |shard| shard.post("nobody", Box::new(())).is_ok());
    assert_eq!(nobody.unwrap().wait(Duration::from_secs(5)), Ok(false));
    runtime.stopper().stop();
    assert_eq!(runtime.wait().shards[0].services[0].health, Health::Finished);
}

#[test]
fn a_service_may_be_woken_by_another_thread_while_its_shard_sleeps() {
    /// Waits for a thread ten times.
    struct Waiter;
    impl Service for Waiter {
        const KIND: &'static str = "waiter";
        type Options = ();
        fn build(_: &(), _: &mut Build<'_>) -> Result<Self, BuildError> {
            Ok(Self)
        }
        async fn run(&mut self, _: &mut ShardContext) -> Result<(), ServiceError> {
            for _ in 0..10 {
                let done = Arc::new(AtomicBool::new(false));
                let mut started = false;
                poll_fn(|cx| {
                    if done.load(Ordering::Acquire) {
                        return Poll::Ready(());
                    }
                    if !std::mem::replace(&mut started, true) {
                        let (done, waker) = (Arc::clone(&done), cx.waker().clone());
                        thread::spawn(move || {
                            thread::sleep(Duration::from_millis(3));
                            done.store(true, Ordering::Release);
                            waker.wake();
                        });
                    }
                    Poll::Pending
                })
                .await;
            }
            Ok(())
        }
    }
    let services = vec![ServicePlan::of::<Waiter>("waiter", ())];
    let shard = ShardPlan { cpu: None, ports: vec![port()], services };
    let runtime = Runtime::start(plan(vec![shard], quick())).unwrap();
    let health = || {
        let report = runtime.shards().submit_to(0, |shard| shard.report()).unwrap();
        report.wait(Duration::from_secs(5)).unwrap().services[0].health.clone()
    };
    let patience = std::time::Instant::now();
    while health() != Health::Finished {
        assert!(patience.elapsed() < Duration::from_secs(10), "it was not woken");
        thread::sleep(Duration::from_millis(20));
    }
    runtime.stopper().stop();
    assert!(runtime.wait().shards[0].stats.sleeps >= 10);
}

#[test]
fn a_service_that_stalls_its_shard_is_named() {
    /// Blocks its thread once.
    struct Sleepy;
    impl Service for Sleepy {
        const KIND: &'static str = "sleepy";
        type Options = ();
        fn build(_: &(), _: &mut Build<'_>) -> Result<Self, BuildError> {
            Ok(Self)
        }
        async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
            thread::sleep(Duration::from_millis(200));
            while cx.sleep_until(u64::MAX).await != Delivery::Drained {}
            Ok(())
        }
    }
    let mut shard = echo_and_player(1_000_000);
    shard.services.push(ServicePlan::of::<Sleepy>("sleepy", ()));
    let policy = Policy { stall_budget_ns: 50_000_000, ..quick() };
    let runtime = Runtime::start(plan(vec![shard], policy)).unwrap();
    thread::sleep(Duration::from_millis(300));
    runtime.stopper().stop();
    let report = runtime.wait();
    let [.., sleepy] = &report.shards[0].services[..] else { panic!("three services") };
    assert_eq!(sleepy.stats().stalls, 1);
    assert!(report.shards[0].stats.longest_turn_ns >= 200_000_000);
    assert!(report.shards[0].stats.long_turns >= 1);
}

#[test]
fn a_port_that_does_not_open_stops_all_and_is_named() {
    let broken = PortPlan {
        name: "eth7 queue 3".into(),
        opener: Box::new(|| Err("no interface \"eth7\" in this network namespace".into())),
    };
    let second = ShardPlan { cpu: None, ports: vec![broken], services: Vec::new() };
    let error = Runtime::start(plan(vec![echo_and_player(1_000_000), second], quick()));
    assert_eq!(
        error.unwrap_err().to_string(),
        "shard 1, eth7 queue 3: no interface \"eth7\" in this network namespace"
    );
}

#[test]
fn a_start_that_panics_is_an_error_that_says_so() {
    let broken =
        PortPlan { name: "eth7 queue 3".into(), opener: Box::new(|| panic!("a bug in an opener")) };
    let shard = ShardPlan { cpu: None, ports: vec![broken], services: Vec::new() };
    assert_eq!(
        Runtime::start(plan(vec![shard], quick())).unwrap_err().to_string(),
        "shard 0 panicked while it started: a bug in an opener"
    );
}

#[test]
fn a_plan_without_shards_or_for_a_cpu_elsewhere_is_refused() {
    assert_eq!(
        Runtime::start(plan(Vec::new(), quick())).unwrap_err().to_string(),
        "there is nothing to run: the plan has no shard"
    );
    let shard = ShardPlan { cpu: Some(9_999), ..echo_and_player(1) };
    let error = Runtime::start(plan(vec![shard], quick())).unwrap_err().to_string();
    assert!(error.starts_with("shard 0: CPU 9999 is not one that this process may run on"));
}

#[test]
fn no_service_is_built_before_the_plan_lets_them_begin() {
    let plan = plan(vec![echo_and_player(1_000_000), echo_and_player(1_000_000)], quick());
    let registry = Arc::clone(&plan.registry);
    let mut asked = 0;
    let begin = |_| {
        assert!(registry.snapshot(0).shards.is_empty(), "a shard counts before it may begin");
        asked += 1;
        if asked < 3 { Beginning::Later } else { Beginning::Now }
    };
    let runtime = Runtime::start_when(plan, begin).unwrap();
    runtime.stopper().stop();
    let report = runtime.wait();
    assert_eq!(asked, 3);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.shards.len(), 2);
}

#[test]
fn being_asked_to_stop_ends_the_wait_for_the_beginning() {
    let plan = plan(vec![echo_and_player(1_000_000)], quick());
    let stopper = plan.stopper();
    let begin = |_| {
        stopper.stop();
        Beginning::Later
    };
    assert!(Runtime::start_when(plan, begin).unwrap().wait().is_clean());
}

#[test]
fn being_asked_to_stop_before_the_start_is_not_forgotten() {
    let plan = plan(vec![echo_and_player(1_000_000)], quick());
    plan.stopper().stop();
    let report = Runtime::run(plan).unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn the_cause_of_a_ports_refusal_is_not_lost() {
    #[derive(Debug)]
    struct Refusal(std::io::Error);

    impl std::fmt::Display for Refusal {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("mmap of an XSK ring failed")
        }
    }

    impl std::error::Error for Refusal {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    let source = Box::new(Refusal(std::io::Error::from_raw_os_error(12)));
    let error = StartError::Port { shard: ShardId(1), port: "eth7 queue 3".into(), source };
    assert_eq!(error.to_string(), "shard 1, eth7 queue 3: mmap of an XSK ring failed");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "Cannot allocate memory (os error 12)");
}
