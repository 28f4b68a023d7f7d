//! A service that is told something while packets come, on `sim` and on a shard of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, ThreadId};

use super::*;
use crate::burst::Burst;
use crate::context::ShardContext;
use crate::plan::{Plan, Policy, ServicePlan, ShardPlan};
use crate::runtime::Runtime;
use crate::service::{Build, BuildError, BurstHandler, ServiceError};
use crate::sim::{Sim, SimPort};
use crate::verdict::Verdict;

/// What is exchanged: says on which thread it was dropped.
struct Word {
    octet: u8,
    dropped_on: Arc<std::sync::Mutex<Option<ThreadId>>>,
}

impl Word {
    fn new(octet: u8) -> Box<Self> {
        Box::new(Self { octet, dropped_on: Arc::default() })
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        *self.dropped_on.lock().unwrap() = Some(thread::current().id());
    }
}

/// Writes its present word over the last octet of every frame, and sends it back.
struct Stamp {
    word: Box<Word>,
}

impl BurstHandler for Stamp {
    const KIND: &'static str = "stamp";
    type Options = ();

    fn build(_: &(), _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { word: Word::new(1) })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for mut frame in burst.frames.drain(..) {
            *frame.bytes_mut().last_mut().expect("no frame is empty") = self.word.octet;
            cx.settle(frame, Verdict::Transmit);
        }
        Ok(())
    }

    fn on_mail(&mut self, mail: Mail, _: &mut ShardContext) {
        if let Ok(question) = Question::<Box<Word>, Box<Word>>::of(mail) {
            question.answer(|word| std::mem::replace(&mut self.word, word));
        }
    }
}

#[test]
fn a_burst_is_served_by_one_word_and_the_next_by_the_next() {
    let plan = ServicePlan::of::<Stamp>("stamp", ()).selector(0, 0);
    let mut sim = Sim::new(1);
    sim.shard(&[SimPort::default()], vec![plan], Policy::default()).unwrap();
    let sent = |sim: &mut Sim| -> Vec<u8> {
        for _ in 0..20 {
            sim.deliver(0, 0, &[0xa5; 60], 0);
        }
        (0..3).for_each(|_| sim.turn());
        sim.sent(0, 0).iter().map(|packet| packet[59]).collect()
    };
    assert_eq!(sent(&mut sim), [1; 20]);
    let (mail, mut reply) = Question::<Box<Word>, Box<Word>>::mail(Word::new(2));
    sim.post(0, "stamp", mail).unwrap();
    assert!(reply.wait_up_to(Duration::ZERO).is_err(), "not before its turn");
    assert_eq!(sent(&mut sim), [2; 20], "mail comes before frames");
    assert_eq!(reply.wait_up_to(Duration::ZERO).unwrap().octet, 1);
    sim.drain();
}

#[test]
fn a_service_that_waits_for_frames_in_vain_takes_its_mail() {
    let plan = ServicePlan::of::<Stamp>("stamp", ()).selector(0, 0);
    let mut sim = Sim::new(1);
    sim.shard(&[SimPort::default()], vec![plan], Policy::default()).unwrap();
    (0..5).for_each(|_| sim.turn());
    let (mail, reply) = Question::<Box<Word>, Box<Word>>::mail(Word::new(2));
    sim.post(0, "stamp", mail).unwrap();
    sim.turn();
    assert_eq!(reply.wait(Duration::ZERO).unwrap().octet, 1);
    // What it does not understand it drops, and who asked is told.
    let (mail, reply) = Question::<u8, u8>::mail(3);
    sim.post(0, "stamp", mail).unwrap();
    sim.turn();
    assert_eq!(reply.wait(Duration::ZERO), Err(ReplyError::Gone));
    sim.drain();
}

fn running() -> (Runtime, Instances) {
    let shard = || ShardPlan {
        services: vec![ServicePlan::of::<Stamp>("stamp", ())],
        ..ShardPlan::default()
    };
    let registry = crate::metrics::registry::Registry::new("test", crate::clock::monotonic_ns());
    let plan = Plan::new(vec![shard(), shard()], Policy::default(), registry);
    let runtime = Runtime::start(plan).unwrap();
    let instances = Instances::new(runtime.shards(), "stamp", [0, 1]);
    (runtime, instances)
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn what_a_shard_no_longer_needs_is_dropped_by_who_asked() {
    let (runtime, instances) = running();
    let mut last = [const { None }; 2];
    for octet in 2..50 {
        let ask = |&shard: &u32| instances.ask(shard, Word::new(octet)).unwrap();
        let mut asked: Vec<Asked<Box<Word>>> = instances.shards().iter().map(ask).collect();
        for (asked, last) in asked.iter_mut().zip(&mut last) {
            let old = asked.wait(LONG).unwrap();
            assert_eq!(old.octet, octet - 1);
            *last = Some(Arc::clone(&old.dropped_on));
            drop(old);
        }
    }
    for dropped_on in last.into_iter().flatten() {
        assert_eq!(*dropped_on.lock().unwrap(), Some(thread::current().id()));
    }
    runtime.stopper().stop();
    assert!(runtime.wait().is_clean());
}

#[test]
fn who_cannot_answer_is_named() {
    let (runtime, instances) = running();
    let mut nobody = Instances::new(runtime.shards(), "nobody", [1]).ask::<u8, u8>(1, 0).unwrap();
    assert_eq!(
        nobody.wait(LONG).unwrap_err().to_string(),
        "shard 1: the service takes no more messages"
    );
    let beyond = instances.ask::<u8, u8>(7, 0).unwrap_err();
    assert_eq!(beyond.to_string(), "there is no shard 7, only 2 counted from 0");
    let mut other = instances.ask::<u8, u8>(0, 0).unwrap();
    assert_eq!(
        other.wait(LONG).unwrap_err().to_string(),
        "shard 0: the service failed or left before it answered"
    );
    runtime.stopper().stop();
    assert!(runtime.wait().is_clean());
    let gone = instances.ask::<u8, u8>(0, 0).unwrap_err();
    assert_eq!(gone.to_string(), "shard 0: the shard has left");
}

#[test]
fn an_answer_that_is_late_is_waited_for_again() {
    let (runtime, instances) = running();
    let busy = Arc::new(AtomicU32::new(0));
    let hold = Arc::clone(&busy);
    let blocked = runtime.shards().submit_to(0, move |_| {
        while hold.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
    });
    let mut asked = instances.ask::<Box<Word>, Box<Word>>(0, Word::new(2)).unwrap();
    assert_eq!(
        asked.wait(Duration::from_millis(20)).err().unwrap().to_string(),
        "shard 0: the service did not answer in time"
    );
    busy.store(1, Ordering::Relaxed);
    assert_eq!(asked.wait(LONG).unwrap().octet, 1);
    drop(blocked);
    runtime.stopper().stop();
    assert!(runtime.wait().is_clean());
}
