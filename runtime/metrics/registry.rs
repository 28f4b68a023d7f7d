//! Who counts: shards register here, the control thread reads here.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::named::{Facts, NamedKind, Table};
use super::published::{Copy, Values, Version};
use super::snapshot::{
    PortSnapshot, ServiceSnapshot, ShardSnapshot, Snapshot, SteeringSnapshot, TableSnapshot,
};
use super::{
    Count, Counter, DropReason, Gauge, Level, NAMED_MAX, NameError, PortCounters, PortStats,
    ServiceCounters, ServiceStats, ShardCounters, ShardStats, Word,
};

type Read = Box<dyn Fn() -> SteeringSnapshot + Send>;
type ReadTables = Box<dyn Fn() -> Vec<TableSnapshot> + Send>;

/// Time between publications of a busy shard. Lower, and readers, who need a
/// few microseconds undisturbed, begin to starve; higher, and what `stats`
/// shows is old by that much.
pub const PUBLISH_EVERY_NS: u64 = 1_000_000;

/// All counters of one process.
///
/// Its locks are taken when a shard, port, service or name is added and when a
/// snapshot is made, never by a turn.
pub struct Registry {
    instance: Box<str>,
    started_ns: u64,
    shards: Mutex<Vec<Arc<PublishedShard>>>,
    steering: Mutex<Vec<Read>>,
    tables: Mutex<Vec<ReadTables>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (instance, started_ns) = (&self.instance, self.started_ns);
        f.debug_struct("Registry")
            .field("instance", instance)
            .field("started_ns", &started_ns)
            .finish_non_exhaustive()
    }
}

/// A panic elsewhere leaves the lists whole: each is pushed to in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// An empty registry of the process `instance`, which started at `started_ns`.
    pub fn new(instance: &str, started_ns: u64) -> Arc<Self> {
        Arc::new(Self {
            instance: instance.into(),
            started_ns,
            shards: Mutex::default(),
            steering: Mutex::default(),
            tables: Mutex::default(),
        })
    }

    /// Adds a shard; called on its own thread. What it counted stays readable
    /// after it left.
    pub fn add_shard(&self, id: u32, cpu: Option<u32>) -> ShardMetrics {
        let published = Arc::new(PublishedShard {
            id,
            cpu,
            version: Version::default(),
            stats: Values::new(ShardStats::HELP.len()),
            ports: Mutex::default(),
            services: Mutex::default(),
        });
        let mut shards = lock(&self.shards);
        shards.push(Arc::clone(&published));
        shards.sort_by_key(|shard| shard.id);
        let counters = Rc::default();
        ShardMetrics { counters, ports: Vec::new(), services: Vec::new(), published }
    }

    /// Adds what steers an interface's packets. `read` is called for each
    /// snapshot, on the thread that asks for it.
    pub fn add_steering(&self, read: impl Fn() -> SteeringSnapshot + Send + 'static) {
        lock(&self.steering).push(Box::new(read));
    }

    /// Adds what services show beyond their own shards. As [`Self::add_steering`].
    pub fn add_tables(&self, read: impl Fn() -> Vec<TableSnapshot> + Send + 'static) {
        lock(&self.tables).push(Box::new(read));
    }

    /// Every counter as last published; `now_ns` is the time of asking.
    pub fn snapshot(&self, now_ns: u64) -> Snapshot {
        let shards: Vec<_> = lock(&self.shards).iter().map(|shard| shard.read()).collect();
        let steering = lock(&self.steering).iter().map(|read| read()).collect();
        Snapshot {
            instance: self.instance.to_string(),
            pid: std::process::id(),
            uptime_ns: now_ns.saturating_sub(self.started_ns),
            conservation: Snapshot::conservation(&shards),
            shards,
            steering,
            tables: lock(&self.tables).iter().flat_map(|read| read()).collect(),
        }
    }

    /// Name and help text of everything that services registered, each once.
    pub fn named_help(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for shard in lock(&self.shards).iter() {
            for service in lock(&shard.services).iter() {
                for facts in lock(&service.named).iter() {
                    all.insert(facts.name.to_string(), facts.help.to_string());
                }
            }
        }
        all
    }
}

/// What other threads see of one shard.
#[derive(Debug)]
struct PublishedShard {
    id: u32,
    cpu: Option<u32>,
    /// Of everything below.
    version: Version,
    stats: Values,
    ports: Mutex<Vec<Arc<PublishedPort>>>,
    services: Mutex<Vec<Arc<PublishedService>>>,
}

#[derive(Debug)]
struct PublishedPort {
    interface: Box<str>,
    queue: u32,
    obtained: BTreeMap<String, String>,
    stats: Values,
}

#[derive(Debug)]
struct PublishedService {
    name: Box<str>,
    kind: Box<str>,
    stats: Values,
    named: Mutex<Vec<Facts>>,
    named_values: Values,
}

impl PublishedShard {
    fn read(&self) -> ShardSnapshot {
        let ports = lock(&self.ports).clone();
        let services = lock(&self.services).clone();
        let ((stats, port_stats, service_stats), copy) = self.version.read(|| {
            let ports: Vec<_> =
                ports.iter().map(|port| PortStats::from_values(port.stats.load())).collect();
            let services: Vec<_> = services
                .iter()
                .map(|service| {
                    let stats = ServiceStats::from_values(service.stats.load());
                    (stats, service.named_values.load::<NAMED_MAX>())
                })
                .collect();
            (ShardStats::from_values(self.stats.load()), ports, services)
        });
        let ports = ports.iter().zip(port_stats).map(|(port, stats)| PortSnapshot {
            interface: port.interface.to_string(),
            queue: port.queue,
            obtained: port.obtained.clone(),
            stats,
        });
        let services = services.iter().zip(service_stats).map(|(service, (stats, named))| {
            let facts = lock(&service.named);
            let of = |kind| {
                let all = facts.iter().zip(named);
                all.filter(|(facts, _)| facts.kind == kind)
                    .map(|(facts, value)| (facts.name.to_string(), value))
                    .collect()
            };
            ServiceSnapshot {
                name: service.name.to_string(),
                kind: service.kind.to_string(),
                stats,
                counters: of(NamedKind::Counter),
                drops: of(NamedKind::DropReason),
                gauges: of(NamedKind::Gauge),
                levels: levels(&facts, &named),
                words: words(&facts, &named),
            }
        });
        ShardSnapshot {
            id: self.id,
            cpu: self.cpu,
            torn: copy == Copy::Torn,
            stats,
            ports: ports.collect(),
            services: services.collect(),
        }
    }
}

/// Levels travel through the same cells as counts, as the two's complement that they are.
fn levels(facts: &[Facts], values: &[u64]) -> BTreeMap<String, i64> {
    let all = facts.iter().zip(values);
    all.filter(|(facts, _)| facts.kind == NamedKind::Level)
        .map(|(facts, &value)| (facts.name.to_string(), value.cast_signed()))
        .collect()
}

/// A value that no word stands for is left out: the words were read a moment after it.
fn words(facts: &[Facts], values: &[u64]) -> BTreeMap<String, String> {
    let word = |(facts, &value): (&Facts, &u64)| {
        let word = facts.words.get(usize::try_from(value).ok()?)?;
        Some((facts.name.to_string(), word.to_string()))
    };
    facts.iter().zip(values).filter_map(word).collect()
}

/// Everything that one shard counts; stays on its thread.
#[derive(Debug)]
pub struct ShardMetrics {
    counters: Rc<ShardCounters>,
    ports: Vec<(Rc<PortCounters>, Arc<PublishedPort>)>,
    services: Vec<Rc<ServiceMetrics>>,
    published: Arc<PublishedShard>,
}

impl ShardMetrics {
    /// The shard's own counters.
    pub const fn counters(&self) -> &Rc<ShardCounters> {
        &self.counters
    }

    /// Adds a port. `obtained` says in words what the kernel granted.
    pub fn add_port(
        &mut self,
        interface: &str,
        queue: u32,
        obtained: BTreeMap<String, String>,
    ) -> Rc<PortCounters> {
        let stats = Values::new(PortStats::HELP.len());
        let port = Arc::new(PublishedPort { interface: interface.into(), queue, obtained, stats });
        lock(&self.published.ports).push(Arc::clone(&port));
        let counters = Rc::<PortCounters>::default();
        self.ports.push((Rc::clone(&counters), port));
        counters
    }

    /// Adds a service, once; a service that is built again keeps its counters.
    pub fn add_service(&mut self, name: &str, kind: &str) -> Rc<ServiceMetrics> {
        let published = Arc::new(PublishedService {
            name: name.into(),
            kind: kind.into(),
            stats: Values::new(ServiceStats::HELP.len()),
            named: Mutex::default(),
            named_values: Values::new(NAMED_MAX),
        });
        lock(&self.published.services).push(Arc::clone(&published));
        let service = Rc::new(ServiceMetrics {
            counters: ServiceCounters::default(),
            named: Table::new(),
            published,
        });
        self.services.push(Rc::clone(&service));
        service
    }

    /// Whether the last publication was [`PUBLISH_EVERY_NS`] ago.
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.counters.published_ns.get()) >= PUBLISH_EVERY_NS
    }

    /// What was published last, as any reader sees it.
    pub fn snapshot(&self) -> ShardSnapshot {
        self.published.read()
    }

    /// [`ShardMetrics::publish`], when the last one was [`PUBLISH_EVERY_NS`] ago.
    /// For every turn: mostly one comparison.
    pub fn publish_if_due(&self, now_ns: u64) {
        if self.is_due(now_ns) {
            self.publish(now_ns);
        }
    }

    /// Copies all values to where readers look: before a sleep, and at the end.
    /// Allocates nothing and waits for nobody; some 50 stores per port and
    /// service.
    pub fn publish(&self, now_ns: u64) {
        self.counters.published_ns.raise_to(now_ns);
        self.published.version.write(|| {
            self.published.stats.store(self.counters.read().values().into_iter());
            for (counters, published) in &self.ports {
                published.stats.store(counters.read().values().into_iter());
            }
            for service in &self.services {
                service.counters.settled_drop.set(service.named.dropped());
                service.published.stats.store(service.counters.read().values().into_iter());
                service.published.named_values.store(service.named.values());
            }
        });
    }
}

/// What one service counts on one shard.
#[derive(Debug)]
pub struct ServiceMetrics {
    /// Counters that every service has.
    pub counters: ServiceCounters,
    named: Table,
    published: Arc<PublishedService>,
}

impl ServiceMetrics {
    /// Registers a count of its own. The same name again gives the same counter.
    ///
    /// # Errors
    ///
    /// [`NameError`] when the name is not `[a-z0-9_]+`, stands for something else,
    /// or is one too many.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, NameError> {
        self.register(name, NamedKind::Counter, help, &[]).map(Counter)
    }

    /// Registers a cause of drops.
    ///
    /// # Errors
    ///
    /// As [`ServiceMetrics::counter`].
    pub fn drop_reason(&self, name: &str, help: &str) -> Result<DropReason, NameError> {
        self.register(name, NamedKind::DropReason, help, &[]).map(DropReason)
    }

    /// Registers a present value.
    ///
    /// # Errors
    ///
    /// As [`ServiceMetrics::counter`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, NameError> {
        self.register(name, NamedKind::Gauge, help, &[]).map(Gauge)
    }

    /// Registers a signed value.
    ///
    /// # Errors
    ///
    /// As [`ServiceMetrics::counter`].
    pub fn level(&self, name: &str, help: &str) -> Result<Level, NameError> {
        self.register(name, NamedKind::Level, help, &[]).map(Level)
    }

    /// Registers a value that is one of `words`; the first until it is said otherwise. The same
    /// name again may have other words.
    ///
    /// # Errors
    ///
    /// As [`ServiceMetrics::counter`].
    pub fn word(&self, name: &str, help: &str, words: &[&str]) -> Result<Word, NameError> {
        let word = self.register(name, NamedKind::Word, help, words).map(Word)?;
        self.named.at(word.0).set(0);
        Ok(word)
    }

    fn register(
        &self,
        name: &str,
        kind: NamedKind,
        help: &str,
        words: &[&str],
    ) -> Result<u16, NameError> {
        let (place, changed) = self.named.register(name, kind, help, words)?;
        if changed {
            *lock(&self.published.named) = self.named.facts();
        }
        Ok(place)
    }

    /// Adds to a registered counter.
    #[inline]
    pub fn count(&self, counter: Counter, n: u64) {
        self.named.at(counter.0).add(n);
    }

    /// Sets a registered gauge.
    #[inline]
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.named.at(gauge.0).set(value);
    }

    /// Sets a registered level.
    #[inline]
    pub fn set_level(&self, level: Level, value: i64) {
        self.named.at(level.0).set(value.cast_unsigned());
    }

    /// Says the word of this number, counting from 0.
    #[inline]
    pub fn say(&self, word: Word, number: usize) {
        self.named.at(word.0).set(number as u64);
    }

    /// Counts frames as settled by a drop, for this reason. Their sum, `settled_drop`, is made
    /// at publication: it would be one more store per packet.
    #[inline]
    pub fn count_drop(&self, reason: DropReason, frames: u64) {
        self.named.at(reason.0).add(frames);
    }

    /// The present value of a registered counter.
    pub fn value(&self, counter: Counter) -> u64 {
        Count::get(self.named.at(counter.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obtained() -> BTreeMap<String, String> {
        BTreeMap::from([("copy".into(), "copy".into())])
    }

    #[test]
    fn a_snapshot_shows_what_was_published_and_nothing_later() {
        let registry = Registry::new("first", 1_000);
        let mut shard = registry.add_shard(0, Some(3));
        let port = shard.add_port("eth7", 2, obtained());
        let service = shard.add_service("gate", "scrub");
        let late = service.counter("late", "Late packets").unwrap();
        let malformed = service.drop_reason("malformed", "Not a packet").unwrap();
        let tracked = service.gauge("tracked", "Sources tracked").unwrap();

        shard.counters().turns.increment();
        port.rx_frames.add(9);
        service.counters.rx_frames.add(9);
        service.count(late, 2);
        service.count_drop(malformed, 5);
        service.set(tracked, 77);
        assert_eq!(registry.snapshot(5_000).shards[0].stats.turns, 0, "not published yet");
        shard.publish(1);
        port.rx_frames.add(1);

        let snapshot = registry.snapshot(5_000);
        assert_eq!((&*snapshot.instance, snapshot.uptime_ns), ("first", 4_000));
        assert_eq!(snapshot.pid, std::process::id());
        let shard = &snapshot.shards[0];
        assert_eq!((shard.id, shard.cpu, shard.torn), (0, Some(3), false));
        assert_eq!(shard.stats.turns, 1);
        assert_eq!((&*shard.ports[0].interface, shard.ports[0].queue), ("eth7", 2));
        assert_eq!(shard.ports[0].obtained, obtained());
        assert_eq!(shard.ports[0].stats.rx_frames, 9);
        let service = &shard.services[0];
        assert_eq!((&*service.name, &*service.kind), ("gate", "scrub"));
        assert_eq!((service.stats.rx_frames, service.stats.settled_drop), (9, 5));
        assert_eq!(service.counters, BTreeMap::from([("late".into(), 2)]));
        assert_eq!(service.drops, BTreeMap::from([("malformed".into(), 5)]));
        assert_eq!(service.gauges, BTreeMap::from([("tracked".into(), 77)]));
    }

    #[test]
    fn levels_are_signed_and_words_are_said_by_number() {
        let registry = Registry::new("first", 0);
        let mut shard = registry.add_shard(0, None);
        let service = shard.add_service("camera", "stream-send");
        let lowest = service.level("lowest", "Lowest level of all").unwrap();
        let class = service.word("class", "Class that is kept", &["none", "wide"]).unwrap();
        let seen = || {
            let service = registry.snapshot(0).shards.remove(0).services.remove(0);
            (service.levels["lowest"], service.words.get("class").cloned())
        };
        shard.publish(1);
        assert_eq!(seen(), (0, Some("none".into())));
        service.set_level(lowest, -14);
        service.say(class, 1);
        shard.publish(2);
        assert_eq!(seen(), (-14, Some("wide".into())));
        service.say(class, 2);
        shard.publish(3);
        assert_eq!(seen().1, None, "a number without a word");
        // Built again, with more words.
        let words = ["none", "wide", "narrow"];
        assert_eq!(service.word("class", "Class that is kept", &words), Ok(class));
        service.say(class, 2);
        shard.publish(4);
        assert_eq!(seen(), (-14, Some("narrow".into())));
        assert_eq!(
            service.level("class", "Class that is kept").unwrap_err().to_string(),
            "\"class\" is a word of this service already, it cannot be a level too"
        );
    }

    #[test]
    fn what_a_shard_counted_outlives_it() {
        let registry = Registry::new("first", 0);
        let shard = registry.add_shard(1, None);
        shard.counters().turns.add(12);
        shard.publish(1);
        drop(shard);
        drop(registry.add_shard(0, None));
        let snapshot = registry.snapshot(1);
        let seen: Vec<_> = snapshot.shards.iter().map(|s| (s.id, s.stats.turns)).collect();
        assert_eq!(seen, [(0, 0), (1, 12)], "in order of ids");
    }

    #[test]
    fn steering_counters_are_read_when_asked_for() {
        let registry = Registry::new("first", 0);
        registry.add_steering(|| SteeringSnapshot {
            interface: "eth7".into(),
            counters: BTreeMap::from([("passed".into(), 4)]),
            hardware: None,
        });
        let steering = registry.snapshot(1).steering;
        assert_eq!(&*steering[0].interface, "eth7");
        assert_eq!(steering[0].counters, BTreeMap::from([("passed".into(), 4)]));
    }

    #[test]
    fn sums_hold_in_every_snapshot_taken_while_the_shard_counts() {
        let registry = Registry::new("first", 0);
        let reader = Arc::clone(&registry);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let shard = std::thread::spawn(move || {
            let mut shard = registry.add_shard(0, None);
            let port = shard.add_port("eth7", 0, BTreeMap::new());
            port.total_frames.set(1_000);
            port.free_frames.set(1_000);
            shard.publish(0);
            ready.send(()).unwrap();
            for turn in 0..2_000_000 {
                let held = turn % 64;
                port.free_frames.set(1_000 - held);
                port.held_frames.set(held);
                shard.publish_if_due(turn * 250);
            }
        });
        is_ready.recv().unwrap();
        while !shard.is_finished() {
            let snapshot = reader.snapshot(0);
            assert!(!snapshot.shards[0].torn);
            assert_eq!(snapshot.conservation.unaccounted, 0);
        }
        shard.join().unwrap();
    }

    #[test]
    fn help_of_named_counters_is_data() {
        let registry = Registry::new("first", 0);
        let mut shard = registry.add_shard(0, None);
        shard.add_service("gate", "scrub").counter("late", "Late packets").unwrap();
        let help = registry.named_help();
        assert_eq!(help, BTreeMap::from([("late".into(), "Late packets".into())]));
    }

    #[test]
    fn a_busy_shard_publishes_once_a_millisecond() {
        let registry = Registry::new("first", 0);
        let shard = registry.add_shard(0, None);
        let seen = || registry.snapshot(0).shards[0].stats;
        shard.publish(7_000_000);
        shard.counters().turns.add(5);
        shard.publish_if_due(7_999_999);
        assert_eq!((seen().published_ns, seen().turns), (7_000_000, 0));
        shard.publish_if_due(8_000_000);
        assert_eq!((seen().published_ns, seen().turns), (8_000_000, 5));
    }

    #[test]
    fn publishing_allocates_nothing() {
        let registry = Registry::new("first", 0);
        let mut shard = registry.add_shard(0, None);
        shard.add_port("eth7", 0, BTreeMap::new());
        let service = shard.add_service("gate", "scrub");
        let late = service.counter("late", "Late packets").unwrap();
        let counts = allocation_counter::measure(|| {
            for _ in 0..100 {
                service.count(late, 1);
                shard.publish(1);
            }
        });
        assert_eq!(counts.count_total, 0);
    }
}
