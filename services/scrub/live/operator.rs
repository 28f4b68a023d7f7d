//! Who answers for a scrubber: rules, captures, top, and whether its destinations are engaged.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_config::Options as Written;
use tidegate_dataplane::steer::{State, Steering};
use tidegate_runtime::clock::monotonic_ns;
use tidegate_runtime::metrics::snapshot::TableSnapshot;
use tracing::{info, warn};

use super::capture::{Capture, Request, Running};
use super::edit;
use super::fates::{Fate, Fates, Reading};
use super::generation::Generation;
use super::guard::{Gate, Guard, Protected};
use super::keeper::{Change, Hits, Keeper};
use super::promote::Promoter;
use super::{show, top};
use crate::operator::{Ground, Operator, Place, Stream};
use crate::scrub::engage::Counts;
use crate::scrub::load::Rules;
use crate::scrub::options::Options;

/// How long a shard may take to say who sends most.
const TOP_PATIENCE: Duration = Duration::from_millis(500);

/// The operator of one scrubber.
#[derive(Debug)]
pub(crate) struct Scrubber {
    service: Box<str>,
    keeper: Keeper,
    guard: Mutex<Guard>,
    ground: OnceLock<Ground>,
    /// What became of what came. Locked before the guard.
    fates: OnceLock<Mutex<Fates>>,
    /// Once it runs, where it protects anything.
    promoter: OnceLock<Mutex<Promoter>>,
    protects: bool,
    /// A capture goes on.
    capturing: Arc<AtomicBool>,
}

impl Scrubber {
    /// Of the service called `service` with these options.
    pub(crate) fn new(service: &str, options: &Options) -> Self {
        let protects = !options.protect().is_empty();
        let guard = Guard::new(service, protected(options), options.hook().map(Into::into));
        Self {
            service: service.into(),
            keeper: Keeper::new(service, Arc::clone(options.current()), protects),
            guard: Mutex::new(guard),
            ground: OnceLock::new(),
            fates: OnceLock::new(),
            promoter: OnceLock::new(),
            protects,
            capturing: Arc::default(),
        }
    }

    /// The rules in force.
    #[cfg(test)]
    pub(super) fn list(&self) -> Value {
        self.keeper.list()
    }

    /// As [`Generation::engaged_at`].
    #[cfg(test)]
    pub(super) fn engaged_at(&self) -> Option<u64> {
        self.keeper.current().engaged_at
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn promoter(&self) -> Option<MutexGuard<'_, Promoter>> {
        let promoter = self.promoter.get()?;
        Some(promoter.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other rules in force; verdicts by those before are void when it returns.
    fn change(
        &self,
        make: impl FnOnce(&Generation) -> Result<Change, String>,
    ) -> Result<Value, String> {
        self.void(self.keeper.change(make))
    }

    /// Voids the verdicts of rules that are no longer in force.
    fn void(&self, changed: Result<Value, String>) -> Result<Value, String> {
        if let Some(mut promoter) = self.promoter() {
            promoter.succeed(&self.keeper.current());
        }
        changed
    }

    /// What the rules in force did, on shards and before them.
    fn hits(&self) -> Result<(Arc<Generation>, Vec<Hits>), String> {
        let (generation, mut hits) = self.keeper.hits()?;
        if let Some(promoter) = self.promoter() {
            for (hits, promoted) in hits.iter_mut().zip(promoter.hits(&generation)) {
                hits.promoted = promoted;
            }
        }
        Ok((generation, hits))
    }

    fn rules(&self, request: &Value) -> Result<Value, String> {
        let text = |key: &str| {
            request[key].as_str().ok_or_else(|| format!("rules: the request has no {key:?}"))
        };
        match text("do")? {
            "list" => Ok(self.keeper.list()),
            "hits" => {
                let (generation, hits) = self.hits()?;
                Ok(show::hits(&generation, &hits))
            }
            "add" => self.void(self.keeper.add(text("rule")?, &place(&request["place"])?)),
            "remove" => self.void(self.keeper.remove(text("name")?)),
            "replace" => {
                let (rules, name) = (text("text")?, text("name")?);
                let mut files = |file: &str| match request["files"][file].as_str() {
                    Some(text) => Ok(text.to_owned()),
                    None => Err(io::Error::from(io::ErrorKind::NotFound)),
                };
                self.change(|_| change(rules, name, &mut files))
            }
            other => Err(format!(
                "rules: {other:?} cannot be done; there are list, hits, add, remove and replace"
            )),
        }
    }

    fn engage(&self, request: &Value) -> Result<Value, String> {
        let engaged = match request["state"].as_str() {
            Some("engaged") => Some(true),
            Some("released") => Some(false),
            Some("auto") => None,
            _ => return Err("engage: state is engaged, released or auto".into()),
        };
        let mut guard = self.guard();
        let name = request["destination"].as_str();
        match guard.order(name, engaged) {
            0 => Err(unknown_destination(name, &guard)),
            count => Ok(json!({ "destinations": count })),
        }
    }

    /// Takes the rules of the config as it stands now, and where thresholds are taken what surges by
    /// them.
    fn reread_rules(&self, options: &Options, thresholds: bool) {
        let service = &*self.service;
        let (rules, from) = (options.current().get(), options.origin().words());
        let running = self.keeper.current();
        let engaged_at = if thresholds { options.engaged_at() } else { running.engaged_at };
        if running.rules.set() == rules.rules.set() && running.engaged_at == engaged_at {
            info!(service, "SIGHUP: the rules are the same");
            return;
        }
        let change = Change::all(rules.rules.clone(), &from).engaged_at(engaged_at);
        if let Err(error) = self.change(|_| Ok(change)) {
            warn!(service, "SIGHUP: the rules were not taken: {error}");
        }
    }
}

impl Operator for Scrubber {
    fn begin(&self, ground: Ground) {
        self.keeper.begin(ground.instances.clone());
        if self.protects {
            let _ = self.promoter.set(Mutex::new(Promoter::new(&self.service, &ground)));
            let _ = self.fates.set(Mutex::new(Fates::new(&ground)));
        }
        let _ = self.ground.set(ground);
    }

    fn answer(&self, request: &Value) -> Result<Value, String> {
        match request["command"].as_str() {
            Some("rules") => self.rules(request),
            Some("top") => top::answer(&self.keeper, request, TOP_PATIENCE, monotonic_ns()),
            Some("engage") => self.engage(request),
            _ => Err("a scrubber answers rules, top, engage and capture".into()),
        }
    }

    fn stream(&self, request: &Value) -> Result<(Value, Stream), String> {
        let request = Request::read(request)?;
        let generation = self.keeper.current();
        if let Some(name) = request.rule().filter(|name| generation.place(name).is_none()) {
            return Err(format!(
                "capture: there is no rule {name:?}; `tidegate rules list` shows those there are"
            ));
        }
        let Some(running) = Running::begin(&self.capturing) else {
            return Err("capture: one goes on already; end that first".into());
        };
        let capture =
            Capture::begin(self.keeper.instances()?, self.keeper.shared(), request, running);
        let run: Stream = Box::new(move |connection| capture.run(connection));
        Ok((json!({ "generation": generation.number }), run))
    }

    fn tick(&self, now_ns: u64) {
        if let (Some(ground), Some(fates)) = (self.ground.get(), self.fates.get()) {
            let mut fates = fates.lock().unwrap_or_else(PoisonError::into_inner);
            let readings = readings(ground);
            for (steering, reading) in &readings {
                if let Ok(reading) = reading {
                    fates.look(steering, reading);
                }
            }
            fates.tick();
            self.guard().tick(&Steered { ground, readings: &readings, fates: &fates }, now_ns);
        }
        if let Some(mut promoter) = self.promoter() {
            promoter.succeed(&self.keeper.current());
            promoter.tick(now_ns);
        }
    }

    fn reread(&self, options: Option<&Written>) {
        let service = &*self.service;
        let Some(options) = options else { return };
        match options.parse::<Options>() {
            Ok(options) => {
                let hook = options.hook().map(Into::into);
                let taken = self.guard().change(protected(&options), hook);
                if let Err(what) = &taken {
                    warn!(
                        service,
                        "SIGHUP: thresholds and hook stay: {what}; restart to have that"
                    );
                }
                self.reread_rules(&options, taken.is_ok());
            }
            Err(error) => {
                warn!(service, "SIGHUP: nothing changes, for there is a mistake:\n{error}")
            }
        }
    }

    fn tables(&self) -> Vec<TableSnapshot> {
        let mut tables = Vec::new();
        {
            let guard = self.guard();
            tables.extend(show::destinations(&self.service, &guard, monotonic_ns()));
            tables.extend(show::fates(&self.service, &guard));
            tables.extend(show::hooks(&self.service, &guard));
        }
        if let Some(promoter) = self.promoter() {
            tables.extend(show::promotions(&self.service, promoter.counts()));
        }
        if let Ok((generation, hits)) = self.hits() {
            tables.extend(show::rules(&self.service, &generation, &hits));
        }
        tables
    }
}

/// Rules that were sent.
fn change(
    text: &str,
    name: &str,
    files: &mut dyn FnMut(&str) -> io::Result<String>,
) -> Result<Change, String> {
    let rules = Rules::read_with(text, name, files).map_err(|error| error.to_string())?;
    Ok(Change::all(rules, name))
}

fn place(value: &Value) -> Result<edit::Place, String> {
    match (value.as_str(), value["before"].as_str()) {
        (Some("first"), _) => Ok(edit::Place::First),
        (Some("last"), _) => Ok(edit::Place::Last),
        (_, Some(name)) => Ok(edit::Place::Before(name.into())),
        _ => Err("rules: place is \"first\", \"last\" or {\"before\": NAME}".into()),
    }
}

fn unknown_destination(name: Option<&str>, guard: &Guard) -> String {
    let names: Vec<_> = guard.standings(0).map(|standing| standing.name.to_owned()).collect();
    match name {
        _ if names.is_empty() => {
            "engage: the service protects no destination; its selectors are engaged always".into()
        }
        Some(name) => format!("engage: no destination {name:?}; there are: {}", names.join(", ")),
        None => "engage: no destination".into(),
    }
}

/// What is protected, as the loop takes it.
fn protected(options: &Options) -> Vec<Protected> {
    options.protect().iter().map(Protected::from).collect()
}

/// What the steering programs of the service's interfaces say, read once for all destinations.
type Readings<'a> = Vec<(&'a Arc<Steering>, io::Result<Reading>)>;

fn readings(ground: &Ground) -> Readings<'_> {
    let mut readings = Readings::new();
    for Place { steering, .. } in &ground.selectors {
        if !readings.iter().any(|(other, _)| Arc::ptr_eq(other, steering)) {
            readings.push((steering, Reading::of(steering)));
        }
    }
    // What was released before: at peace as soon as the last of its packets is back.
    for (steering, _) in &readings {
        if let Err(error) = steering.end_draining() {
            let interface = steering.interface();
            warn!(interface, %error, "the end of draining could not be asked for");
        }
    }
    readings
}

/// The service's destinations in those programs.
struct Steered<'a> {
    ground: &'a Ground,
    readings: &'a Readings<'a>,
    fates: &'a Fates,
}

impl<'a> Steered<'a> {
    fn places(&self, destination: usize) -> impl Iterator<Item = &'a Place> {
        self.ground.selectors.iter().filter(move |place| place.of_service == destination)
    }
}

impl Gate for Steered<'_> {
    fn counts(&self, destination: usize) -> io::Result<Counts> {
        let mut sum = Counts::ZERO;
        for Place { steering, selector, .. } in self.places(destination) {
            let read = self.readings.iter().find(|(other, _)| Arc::ptr_eq(other, steering));
            let counts = match read {
                Some((_, Ok(reading))) => reading.came.get(usize::from(*selector)),
                Some((_, Err(error))) => {
                    return Err(io::Error::new(error.kind(), error.to_string()));
                }
                None => None,
            };
            if let Some(counts) = counts {
                sum.packets += counts.packets;
                sum.octets += counts.octets;
                sum.new_flows += counts.new_flows;
                sum.syn += counts.syn;
                sum.unanswered_syn += counts.unanswered_syn;
            }
        }
        Ok(sum)
    }

    fn fate(&self, destination: usize) -> Fate {
        self.fates.of(destination)
    }

    fn engage(&self, destination: usize, engaged: bool) -> io::Result<()> {
        for Place { steering, selector, .. } in self.places(destination) {
            let selector = usize::from(*selector);
            let now = steering.states().get(selector).copied().flatten();
            let next = match (engaged, now) {
                (true, Some(State::Peace | State::Draining)) => State::Engaged,
                (false, Some(State::Engaged)) => State::Draining,
                // It is so already, or stands out of anyone's hands.
                _ => continue,
            };
            steering.set_state(selector, next).map_err(io::Error::other)?;
        }
        Ok(())
    }
}
