//! A scrubber on two shards of its own, asked over the socket while packets come.
//!
//! No privilege: the ports are rings in memory, and a service on each shard plays the kernel.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use serde_json::{Value, json};
use tidegate_dataplane::frame::Frame;
use tidegate_dataplane::pcap::Reader;
use tidegate_dataplane::umem::{self, Pages};
use tidegate_dataplane::xsk::testing::{self, Kernel};
use tidegate_runtime::burst::Delivery;
use tidegate_runtime::clock::monotonic_ns;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::control::{self, Handlers, Server};
use tidegate_runtime::instances::{Instances, Question};
use tidegate_runtime::metrics::registry::Registry as Metrics;
use tidegate_runtime::plan::{Plan, Policy, PortPlan, ServicePlan, ShardPlan};
use tidegate_runtime::port::{NotTaken, PortFacts, Reinject};
use tidegate_runtime::runtime::{Report, Runtime};
use tidegate_runtime::service::{Build, BuildError, Service, ServiceError};
use tidegate_runtime::sim::{Sim, SimPort};

use super::instance::{Done, Order};
use super::operator::Scrubber;
use crate::cli;
use crate::cli::args::{Args, Command};
use crate::operator::{Attended, Desk, Ground, Operator as _};
use crate::registry::Registry;
use crate::scrub::samples::{Kind, Sample};
use crate::scrub::{Options, Scrub};

thread_local! {
    /// The kernel behind the port of the shard that runs on this thread.
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// A way back that counts.
struct Counts(Arc<AtomicU64>);

impl Reinject for Counts {
    fn inject(&mut self, _: &Frame, _: u64) -> Result<(), NotTaken> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self, _: u64) -> u32 {
        0
    }
}

/// Plays the kernel of its own shard: delivers packets as fast as they are taken.
struct Flood {
    packets: Arc<[Vec<u8>]>,
    delivered: Arc<AtomicU64>,
}

impl Service for Flood {
    const KIND: &'static str = "flood";
    type Options = (Arc<[Vec<u8>]>, Arc<AtomicU64>);

    fn build(options: &Self::Options, _: &mut Build<'_>) -> Result<Self, BuildError> {
        let (packets, delivered) = options.clone();
        Ok(Self { packets, delivered })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut next = 0;
        loop {
            KERNEL.with_borrow_mut(|kernel| {
                let kernel = kernel.as_mut().expect("the port was opened on this thread");
                while kernel.transmit().is_some() {}
                kernel.complete(usize::MAX);
                for _ in 0..32 {
                    let packet = &self.packets[next % self.packets.len()];
                    if kernel.deliver(packet, 0) != testing::Delivery::Delivered {
                        break;
                    }
                    next += 1;
                    self.delivered.fetch_add(1, Ordering::Relaxed);
                }
            });
            if cx.sleep_until(cx.now_ns() + 50_000).await == Delivery::Drained {
                return Ok(());
            }
        }
    }
}

/// A scrubber at work, and its socket.
struct Stage {
    runtime: Runtime,
    scrubber: Arc<Scrubber>,
    _server: Server,
    place: PathBuf,
    delivered: Arc<AtomicU64>,
    reinjected: Arc<AtomicU64>,
}

const SHARDS: u32 = 2;

impl Stage {
    /// With these rules, under a flood of these packets.
    fn new(rules: &str, packets: Vec<Vec<u8>>) -> Self {
        Self::of(options(rules), packets)
    }

    /// The same, with these options.
    fn of(options: Options, packets: Vec<Vec<u8>>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (delivered, reinjected) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let packets: Arc<[Vec<u8>]> = packets.into();
        let port = || {
            let reinjected = Arc::clone(&reinjected);
            let opener = move || {
                let umem =
                    umem::Options { chunk_octets: 2048, frames: 1024, pages: Pages::Ordinary };
                let (queue, kernel) = testing::pair(&umem, 256, 256)?;
                KERNEL.set(Some(kernel));
                let facts = PortFacts { interface: "memory".into(), ..PortFacts::default() };
                Ok((queue, Box::new(Counts(reinjected)) as _, facts))
            };
            PortPlan { name: "memory queue 0".into(), opener: Box::new(opener) }
        };
        let shard = || {
            let flood = (Arc::clone(&packets), Arc::clone(&delivered));
            let services = vec![
                ServicePlan::of::<Scrub>("shield", options.clone()).selector(0, 0),
                ServicePlan::of::<Flood>("flood", flood),
            ];
            ShardPlan { cpu: None, ports: vec![port()], services }
        };
        let shards = (0..SHARDS).map(|_| shard()).collect();
        let plan = Plan::new(shards, Policy::default(), Metrics::new("live", monotonic_ns()));
        let scrubber = Arc::new(Scrubber::new("shield", &options));
        let runtime = Runtime::start(plan).unwrap();
        let instances = Instances::new(runtime.shards(), "shield", 0..SHARDS);
        scrubber.begin(Ground { instances, selectors: Vec::new() });
        let desk = Arc::new(Desk::default());
        let operator = Arc::clone(&scrubber) as _;
        desk.open(vec![Attended { service: "shield".into(), kind: "scrub".into(), operator }]);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = env::temp_dir().join(format!("tidegate-live-{}-{n}", process::id()));
        let handlers = desk.serve(&Registry::stock().commands(), Handlers::new());
        let server = Server::start(&place, "live", handlers).unwrap();
        Self { runtime, scrubber, _server: server, place, delivered, reinjected }
    }

    /// Runs a command as from the shell; what it said, or its errors.
    fn run(&self, words: &[&str]) -> Result<String, String> {
        let socket = self.place.join("live.sock");
        let socket = ["--socket", socket.to_str().unwrap()];
        let words = ["tidegate"].iter().chain(words).chain(&socket).copied();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let done = match <Args as clap::Parser>::try_parse_from(words).unwrap().command {
            Command::Rules(args) => cli::rules::run(&args, &mut out, &mut errors).map(drop),
            Command::Top(args) => cli::top::run(&args, false, &mut out),
            Command::Engage(args) => cli::engage::run(&args, true, &mut out),
            other => panic!("{other:?}"),
        };
        let text = |octets| String::from_utf8(octets).unwrap();
        match done {
            Ok(()) if errors.is_empty() => Ok(text(out)),
            Ok(()) => Err(text(errors)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn hits(&self) -> Value {
        serde_json::from_str(&self.run(&["rules", "hits", "--json"]).unwrap()).unwrap()
    }

    /// Ends it, with every frame accounted for.
    fn end(self) -> (Report, u64) {
        self.runtime.stopper().stop();
        let report = self.runtime.wait();
        assert!(report.is_clean(), "{report:?}");
        let _ = fs::remove_dir_all(&self.place);
        (report, self.reinjected.load(Ordering::Relaxed))
    }
}

fn options(rules: &str) -> Options {
    let text = format!("rules = '''\n{rules}'''");
    tidegate_config::Options::from_text(&text).unwrap().parse().unwrap()
}

/// Datagrams to the ports 1 to `count`, each from a source of its own.
fn datagrams(count: u16) -> Vec<Vec<u8>> {
    let datagram = |port: u16| {
        let [high, low] = port.to_be_bytes();
        let kind = Kind::Udp { source: 123, destination: port };
        Sample { kind, source: [198, 18, high, low].into(), ..Sample::udp(b"flood") }.frame()
    };
    (1..=count).map(datagram).collect()
}

fn packets(hits: &Value, name: &str) -> u64 {
    let rules = hits["rules"].as_array().unwrap();
    rules
        .iter()
        .find(|rule| rule["name"] == name)
        .map_or(0, |rule| rule["packets"].as_u64().unwrap())
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn rules_change_under_flood_and_every_packet_is_counted_by_one_of_them() {
    let stage = Stage::new("low: drop when udp.dstport < 5\nrest: pass\n", datagrams(8));
    until("no flood", || stage.delivered.load(Ordering::Relaxed) > 1_000);
    let mut generation = 1;
    let mut expect = |said: Result<String, String>, rules: usize| {
        generation += 1;
        let expected = format!("generation {generation} is in force on 2 shards: {rules} rules\n");
        assert_eq!(said, Ok(expected));
    };
    for _ in 0..20 {
        expect(stage.run(&["rules", "add", "high: drop when udp.dstport == 8", "--first"]), 3);
        let before = packets(&stage.hits(), "high");
        until("the new rule does nothing", || packets(&stage.hits(), "high") > before);
        expect(stage.run(&["rules", "remove", "high"]), 2);
        assert_eq!(packets(&stage.hits(), "high"), 0, "it is gone");
    }
    // A rule that goes and comes again begins anew; those that stay go on counting.
    let hits = stage.hits();
    assert!(packets(&hits, "low") > 1_000 && packets(&hits, "rest") > 1_000, "{hits}");
    // A set that is counted whole: no rule leaves it.
    let file = stage.place.join("all.rules");
    fs::write(&file, "low: drop when udp.dstport < 5\nrest: pass\nnever: drop\n").unwrap();
    expect(stage.run(&["rules", "replace", file.to_str().unwrap()]), 3);
    let (delivered, scrubber) = (Arc::clone(&stage.delivered), Arc::clone(&stage.scrubber));
    let (report, reinjected) = stage.end();
    let sum = |name: &str| -> u64 {
        report.shards.iter().map(|shard| shard.services[0].dropped(name)).sum()
    };
    let received: u64 = report.shards.iter().map(|shard| shard.services[0].stats().rx_frames).sum();
    assert_eq!(received, delivered.load(Ordering::Relaxed));
    assert_eq!(received, sum("rule") + reinjected, "received = dropped + reinjected");
    assert_eq!(scrubber.list()["generation"], 42);
}

#[test]
fn a_bad_rule_changes_nothing_and_is_shown_with_its_place() {
    let rules = "set mine = { 198.18.0.1, 198.18.0.2 }\nlow: drop when ip.src in $mine\n";
    let stage = Stage::new(rules, datagrams(4));
    let said = stage.run(&["rules", "add", "bad: drop when udp.dport == 5"]).unwrap_err();
    assert!(said.contains("rule:1:16: error"), "{said}");
    assert!(said.contains("\n1 | bad: drop when udp.dport == 5\n"), "{said}");
    assert!(said.contains("  |                ^^^^^^^^^\n"), "{said}");
    for (words, expected) in [
        (&["rules", "add", "low: drop when udp"][..], "there is a rule \"low\" already"),
        (&["rules", "add", "x: drop", "--before", "z"], "there is no rule \"z\""),
        (&["rules", "remove", "z"], "there is no rule \"z\""),
        (&["rules", "add", "default drop"], "that is no rule"),
        (&["rules", "add", "a: drop\nb: drop"], "these are several rules"),
        (&["rules", "add", "a: drop when ip.src in $other"], "other"),
        (&["engage", "198.18.0.1"], "the service protects no destination"),
        (&["top", "--service", "other"], "no service \"other\""),
    ] {
        let said = stage.run(words).unwrap_err();
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    let file = stage.place.join("bad.rules");
    fs::write(&file, "ok: drop when udp\nbad: drip when udp\n").unwrap();
    let said = stage.run(&["rules", "replace", file.to_str().unwrap()]).unwrap_err();
    assert!(said.contains("bad.rules:2:6: error"), "{said}");
    assert_eq!(stage.scrubber.list()["generation"], 1);
    // A rule may use the sets that are there, and a set may come from a file.
    stage.run(&["rules", "add", "also: drop when ip.dst in $mine"]).unwrap();
    fs::write(stage.place.join("some.txt"), "198.18.0.0/24\n").unwrap();
    fs::write(&file, "set some = file \"some.txt\"\nbad: drop when ip.src in $some\n").unwrap();
    stage.run(&["rules", "replace", file.to_str().unwrap()]).unwrap();
    stage.run(&["rules", "add", "more: pass when ip.dst in $some", "--first"]).unwrap();
    let listed = stage.run(&["rules", "list"]).unwrap();
    let expected = "set some = file \"some.txt\"\nmore: pass when ip.dst in $some\n\
                    bad: drop when ip.src in $some\ndefault pass\n";
    assert!(listed.ends_with(expected), "{listed}");
    assert!(listed.starts_with("# generation 4, from "), "{listed}");
    stage.end();
}

#[test]
fn top_shows_who_sends_most_over_all_shards() {
    let mut flood = datagrams(4);
    flood.extend(vec![flood[0].clone(); 12]);
    let stage = Stage::new("all: drop\n", flood);
    until("no flood", || stage.delivered.load(Ordering::Relaxed) > 10_000);
    let answer = stage.run(&["top", "sources", "--json", "--count", "2"]).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let [first, second] = answer["top"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!(first["name"], "198.18.0.1");
    assert_eq!(first["at_least"], first["at_most"], "few sources are counted exactly");
    let count = |row: &Value| row["at_most"].as_u64().unwrap();
    assert!(count(first) > 10 * count(second), "{answer}");
    assert!(stage.run(&["top", "ports"]).unwrap().contains("udp 1 "));
    assert!(stage.run(&["top", "destinations"]).unwrap().contains("198.19.0.2"));
    let rules = stage.run(&["top", "rules"]).unwrap();
    assert!(rules.contains("generation 1") && rules.contains("\nall "), "{rules}");
    let tables = stage.scrubber.tables();
    assert_eq!((tables[0].name.as_str(), tables[0].rows[0].name.as_str()), ("rule", "all"));
    stage.end();
}

#[test]
fn a_rule_whose_verdicts_have_no_place_is_refused() {
    let stage = Stage::new("all: drop\n", datagrams(8));
    let said = stage.run(&["rules", "add", "bad: drop for 10s per source when udp", "--first"]);
    let said = said.unwrap_err();
    assert!(said.contains("rule bad says `for`") && said.contains("protect]]"), "{said}");
    assert_eq!(stage.scrubber.list()["generation"], 1, "nothing has changed");
    stage.end();
}

#[test]
fn a_capture_has_what_was_asked_for_and_says_of_each_packet_why() {
    let rules = "low: drop when udp.dstport < 5\nhigh: drop when udp.dstport == 8\n";
    let stage = Stage::new(rules, datagrams(8));
    let file = stage.place.join("out.pcapng");
    let socket = stage.place.join("live.sock");
    let request = |more: Value| {
        let mut request = json!({ "command": "capture", "fate": "dropped" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let said = control::request_stream(&socket, &request(json!({ "rule": "none" }))).unwrap_err();
    assert!(said.to_string().contains("there is no rule \"none\""), "{said}");
    let words = ["tidegate", "capture", "--dropped", "--rule", "high", "--count", "50", "--write"];
    let words =
        words.into_iter().chain([file.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
    let Command::Capture(args) = <Args as clap::Parser>::try_parse_from(words).unwrap().command
    else {
        panic!("capture")
    };
    let mut errors = Vec::new();
    cli::capture::run(&args, &mut errors).unwrap();
    let errors = String::from_utf8(errors).unwrap();
    assert!(errors.starts_with("50 packets captured"), "{errors}");
    assert!(errors.contains("as many as asked for"), "{errors}");
    let octets = fs::read(&file).unwrap();
    let read: Vec<_> = Reader::new("out", &octets[..]).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), 50);
    let only = &datagrams(8)[7];
    assert!(read.iter().all(|record| record.bytes == *only));
    let comment = b"dropped: rule high, reason rule, generation 1, shard ";
    assert_eq!(octets.windows(comment.len()).filter(|it| it == comment).count(), 50);
    // The times are of now: UTC, as every capture has them.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let late = now.saturating_sub(Duration::from_nanos(read[0].timestamp_ns));
    assert!(late < Duration::from_secs(60), "{late:?}");

    // One at a time, and free again when the client is gone; the shards show nothing then.
    let begin = || control::request_stream(&socket, &request(json!({ "seconds": 3600 })));
    let first = begin().unwrap();
    let said = begin().unwrap_err().to_string();
    assert_eq!(said, "capture: one goes on already; end that first");
    drop(first);
    until("the end of the client was not noticed", || begin().is_ok());
    stage.end();
}

#[test]
fn a_disk_that_is_full_ends_the_capture_and_not_the_scrubber() {
    let stage = Stage::new("all: drop\n", datagrams(8));
    let socket = stage.place.join("live.sock");
    let words = ["tidegate", "capture", "--all", "--write", "/dev/full", "--socket"];
    let words = words.into_iter().chain([socket.to_str().unwrap()]);
    let Command::Capture(args) = <Args as clap::Parser>::try_parse_from(words).unwrap().command
    else {
        panic!("capture")
    };
    let mut errors = Vec::new();
    cli::capture::run(&args, &mut errors).unwrap();
    let errors = String::from_utf8(errors).unwrap();
    assert!(errors.contains("No space left on device"), "{errors}");
    assert!(errors.contains("the scrubber goes on"), "{errors}");
    let before = stage.delivered.load(Ordering::Relaxed);
    until("it stands still", || stage.delivered.load(Ordering::Relaxed) > before + 10_000);
    stage.end();
}

#[test]
fn storms_of_reloads_are_one_after_the_other() {
    let stage = Stage::new("all: drop\n", datagrams(8));
    const EACH: usize = 15;
    let socket = stage.place.join("live.sock");
    thread::scope(|scope| {
        for n in 0..4 {
            let socket = &socket;
            scope.spawn(move || {
                for _ in 0..EACH {
                    let rule = format!("r{n}: drop when udp.dstport == {n}");
                    let add =
                        json!({ "command": "rules", "do": "add", "rule": rule, "place": "first" });
                    control::request_with(socket, &add).unwrap();
                    let remove =
                        json!({ "command": "rules", "do": "remove", "name": format!("r{n}") });
                    control::request_with(socket, &remove).unwrap();
                }
            });
        }
    });
    let list = stage.scrubber.list();
    assert_eq!(list["generation"], 1 + 2 * 4 * EACH);
    assert_eq!(list["rules"].as_array().unwrap().len(), 1);
    stage.end();
}

#[test]
fn sighup_takes_the_rules_of_the_config_as_it_stands_now() {
    let stage = Stage::new("all: drop\n", datagrams(8));
    let reread = |rules: &str| {
        let text = format!("rules = '''\n{rules}'''");
        let written = tidegate_config::Options::from_text(&text).unwrap();
        stage.scrubber.reread(Some(&written));
        stage.scrubber.list()["generation"].as_u64().unwrap()
    };
    assert_eq!(reread("all: drop\n"), 1, "the same is not put in force again");
    assert_eq!(reread("all: pass\n"), 2);
    assert_eq!(reread("all: parse\n"), 2, "a bad file changes nothing");
    stage.scrubber.reread(None);
    assert_eq!(reread("all: pass\n"), 2);
    stage.end();
}

/// A surge begins at a tenth of the threshold, also of one that is said by SIGHUP.
#[test]
fn what_surges_follows_the_thresholds_of_the_config_as_it_stands_now() {
    let text = |packets_per_second: u32, destination: u8| {
        format!(
            "rules = 'alike: drop when surging'\n\
             [[protect]]\ndestination = \"198.18.0.{destination}\"\n\
             packets_per_second = {packets_per_second}\n"
        )
    };
    let written = |packets, destination| {
        tidegate_config::Options::from_text(&text(packets, destination)).unwrap()
    };
    let options: Options = written(100_000, 1).parse().unwrap();
    // Copies with forged sources, as fast as they are taken.
    let copies: Vec<Vec<u8>> = (0..200_u8)
        .map(|host| Sample { source: [198, 19, 7, host].into(), ..Sample::udp(b"alike") }.frame())
        .collect();
    let stage = Stage::of(options, copies);
    let dropped = || packets(&stage.hits(), "alike");
    let come = || {
        let before = stage.delivered.load(Ordering::Relaxed);
        let until = Instant::now() + Duration::from_secs(20);
        while stage.delivered.load(Ordering::Relaxed) < before + 6_000 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    };
    let level = || stage.scrubber.engaged_at();
    assert_eq!(level(), Some(100_000));
    stage.scrubber.reread(Some(&written(u32::MAX, 1)));
    assert_eq!(level(), Some(u64::from(u32::MAX)));
    come();
    let before = dropped();
    come();
    assert_eq!(dropped(), before, "nothing surges at 400 million packets a second");
    stage.scrubber.reread(Some(&written(1, 2)));
    assert_eq!(level(), Some(u64::from(u32::MAX)), "another destination: no threshold is taken");
    stage.scrubber.reread(Some(&written(1, 1)));
    assert_eq!(level(), Some(1));
    let soon = Instant::now() + Duration::from_secs(20);
    while dropped() == before {
        assert!(Instant::now() < soon, "at 200 packets a second it surges");
        thread::sleep(Duration::from_millis(5));
    }
    stage.end();
}

#[test]
fn ten_thousand_rules_go_in_and_out_of_an_instance_without_memory() {
    let many = |from: usize| -> String {
        (from..from + 10_000)
            .map(|n| format!("r{n}: drop when udp.dstport == {}\n", n % 60_000))
            .collect()
    };
    let options = options(&many(0));
    let next = options_of(&options, &many(5_000));
    let plan = ServicePlan::of::<Scrub>("shield", options.clone()).selector(0, 0);
    let mut sim = Sim::new(1);
    sim.shard(&[SimPort::default()], vec![plan], Policy::default()).unwrap();
    for packet in datagrams(64) {
        sim.deliver(0, 0, &packet, 0);
        sim.turn();
    }
    let (mail, reply) = Question::<Order, Done>::mail(Order::Succeed(next));
    sim.post(0, "shield", mail).unwrap();
    let counts = allocation_counter::measure(|| sim.turn_alone(0));
    // The message itself is one: its sender's box is freed by who reads it.
    assert_eq!(counts.count_total, 0, "{counts:?}");
    assert!(counts.count_current >= -1, "{counts:?}");
    let Done::Succeeded(old) = reply.wait(Duration::ZERO).unwrap() else { panic!("succeeded") };
    assert_eq!(old.generation.number, 1);
    sim.drain();
}

/// The succession from what `options` begin with to these rules.
fn options_of(options: &Options, rules: &str) -> super::instance::Succession {
    use crate::scrub::judge::Carry;
    use crate::scrub::siphash::Key;
    let old = options.current().get();
    let new = self::options(rules).current().get();
    let carry = Arc::new(Carry::between(old.rules.set(), new.rules.set()));
    let next = new.rules.book(Key::of_process());
    let generation = super::generation::Generation {
        number: 2,
        rules: new.rules.clone(),
        from: "test".into(),
        engaged_at: None,
    };
    let generation = Arc::new(generation);
    super::instance::Succession { next, carry, from: 1, generation }
}
