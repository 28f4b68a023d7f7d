//! Those who answer for running services, and the desk where they are found.
//!
//! ```text
//!   control socket ──{"command": "rules", "service": "shield"}──► Desk ─► Operator ─► Instances
//!   every 100 ms   ──tick──────────────────────────────────────►   "                  (shards)
//!   SIGHUP         ──options as they stand now─────────────────►   "
//! ```
//!
//! A service lives on its shards and never leaves them. Its [`Operator`] lives on the control side:
//! it has the same options, knows the instances and the selectors, and may wait, allocate and read
//! files. One operator is asked by several threads at once; it has locks of its own, so that what
//! takes long (a large set of rules) does not hold up what may not (whether to engage).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tidegate_config::Options;
use tidegate_dataplane::steer::Steering;
use tidegate_runtime::clock::monotonic_ns;
use tidegate_runtime::control::{Connection, Handlers};
use tidegate_runtime::instances::Instances;
use tidegate_runtime::metrics::snapshot::TableSnapshot;

use crate::registry::Commands;

/// Time between two ticks of each operator.
///
/// What is decided in one is late by as much. Lower and an idle machine wakes up more often, and
/// reads counters of all CPUs for nothing.
pub const TICK: Duration = Duration::from_millis(100);

/// Answers for one service on the control side.
pub trait Operator: Send + Sync + fmt::Debug {
    /// All is running: from now on the service can be asked.
    fn begin(&self, ground: Ground);

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// Why not, as the client is to read it.
    fn answer(&self, request: &Value) -> Result<Value, String>;

    /// Answers a request with a first word and what follows.
    ///
    /// # Errors
    ///
    /// As [`Self::answer`].
    fn stream(&self, request: &Value) -> Result<(Value, Stream), String>;

    /// Does what is to be done every [`TICK`].
    fn tick(&self, now_ns: u64);

    /// Somebody asked by SIGHUP to read again what can be changed at run time. `options` are those of
    /// the config as it stands now; `None` where it cannot be read or has the service no longer. Says
    /// in the log what came of it.
    fn reread(&self, options: Option<&Options>);

    /// What it shows in `stats`.
    fn tables(&self) -> Vec<TableSnapshot>;
}

/// What follows a first answer.
pub type Stream = Box<dyn FnOnce(Connection) + Send>;

/// What an operator works on.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The service on its shards.
    pub instances: Instances,
    /// Its selectors, in the order of its options, on each of its interfaces.
    pub selectors: Vec<Place>,
}

/// One selector of a service, in the program of an interface.
#[derive(Clone, Debug)]
pub struct Place {
    /// The program.
    pub steering: Arc<Steering>,
    /// Which of the program's selectors it is.
    pub selector: u16,
    /// Which of the service's selectors it is.
    pub of_service: usize,
    /// For which verdicts in the program's cache hold, if it is protected.
    pub scope: u8,
}

/// A service and who answers for it.
#[derive(Clone, Debug)]
pub struct Attended {
    /// The service's name.
    pub service: Box<str>,
    /// Its kind.
    pub kind: Box<str>,
    /// Who answers.
    pub operator: Arc<dyn Operator>,
}

/// All operators of a process. Empty until it runs.
#[derive(Debug, Default)]
pub struct Desk {
    attended: OnceLock<Vec<Attended>>,
}

impl Desk {
    /// From now on these are asked.
    pub fn open(&self, attended: Vec<Attended>) {
        let opened = self.attended.set(attended);
        assert!(opened.is_ok(), "a process starts once");
    }

    /// Everybody.
    pub fn attended(&self) -> &[Attended] {
        self.attended.get().map_or(&[], Vec::as_slice)
    }

    /// Adds every command of the registry to the socket.
    pub(crate) fn serve(self: &Arc<Self>, commands: &Commands, mut handlers: Handlers) -> Handlers {
        for (&command, kinds) in &commands.once {
            let (desk, kinds) = (Arc::clone(self), kinds.clone());
            handlers = handlers
                .on(command, move |request| desk.find(command, &kinds, request)?.answer(request));
        }
        for (&command, kinds) in &commands.streams {
            let (desk, kinds) = (Arc::clone(self), kinds.clone());
            handlers = handlers.on_stream(command, move |request| {
                desk.find(command, &kinds, request)?.stream(request)
            });
        }
        handlers
    }

    /// Who answers this request: for the service that it names, or the only one there is.
    fn find(
        &self,
        command: &str,
        kinds: &[&str],
        request: &Value,
    ) -> Result<&dyn Operator, String> {
        let Some(attended) = self.attended.get() else {
            return Err("tidegate is still starting; ask again".into());
        };
        let takers: Vec<_> = attended.iter().filter(|it| kinds.contains(&&*it.kind)).collect();
        let names = || takers.iter().map(|it| &*it.service).collect::<Vec<_>>().join(", ");
        match (request.get("service").and_then(Value::as_str), takers.as_slice()) {
            (_, []) => {
                Err(format!("no service of this process is of the kind {}", kinds.join(" or ")))
            }
            (None, [one]) => Ok(&*one.operator),
            (None, _) => {
                Err(format!("{command}: which service? Name one with --service: {}", names()))
            }
            (Some(name), takers) => match takers.iter().find(|it| *it.service == *name) {
                Some(one) => Ok(&*one.operator),
                None => Err(format!("{command}: no service {name:?}; there are: {}", names())),
            },
        }
    }

    /// Tells everybody of SIGHUP. `options` finds those of a service by its name.
    pub(crate) fn reread(&self, options: impl Fn(&str) -> Option<Options>) {
        for attended in self.attended() {
            attended.operator.reread(options(&attended.service).as_ref());
        }
    }

    /// What everybody shows.
    pub(crate) fn tables(&self) -> Vec<TableSnapshot> {
        self.attended().iter().flat_map(|attended| attended.operator.tables()).collect()
    }
}

/// The thread that ticks, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Begins to tick.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(desk: Arc<Desk>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        if desk.attended().is_empty() {
            return Ok(Self { stop: None, thread: None });
        }
        let tick = move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                for attended in desk.attended() {
                    let tick = || attended.operator.tick(monotonic_ns());
                    if catch_unwind(AssertUnwindSafe(tick)).is_err() {
                        tracing::error!(service = &*attended.service, "its operator panicked");
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("operators".into()).spawn(tick)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    /// Says its name.
    #[derive(Debug)]
    struct Says(&'static str);

    impl Operator for Says {
        fn begin(&self, _: Ground) {}
        fn answer(&self, request: &Value) -> Result<Value, String> {
            Ok(json!([self.0, request["word"]]))
        }
        fn stream(&self, _: &Value) -> Result<(Value, Stream), String> {
            Err("no streams here".into())
        }
        fn tick(&self, _: u64) {}
        fn reread(&self, _: Option<&Options>) {}
        fn tables(&self) -> Vec<TableSnapshot> {
            vec![TableSnapshot { service: self.0.into(), ..TableSnapshot::default() }]
        }
    }

    fn attended(service: &'static str, kind: &str) -> Attended {
        let operator = Arc::new(Says(service));
        Attended { service: service.into(), kind: kind.into(), operator }
    }

    #[test]
    fn a_request_finds_the_service_that_it_names_or_the_only_one() {
        let desk = Desk::default();
        let ask = |kinds: &[&str], request: Value| {
            desk.find("rules", kinds, &request).and_then(|operator| operator.answer(&request))
        };
        let word = || json!({ "word": 1 });
        assert_eq!(ask(&["a"], word()), Err("tidegate is still starting; ask again".into()));
        desk.open(vec![attended("one", "a"), attended("two", "b"), attended("three", "b")]);
        assert_eq!(ask(&["a"], word()), Ok(json!(["one", 1])));
        assert_eq!(
            ask(&["b"], word()),
            Err("rules: which service? Name one with --service: two, three".into())
        );
        assert_eq!(ask(&["b"], json!({ "service": "three" })), Ok(json!(["three", null])));
        assert_eq!(
            ask(&["b"], json!({ "service": "one" })),
            Err("rules: no service \"one\"; there are: two, three".into())
        );
        assert_eq!(
            ask(&["c", "d"], word()),
            Err("no service of this process is of the kind c or d".into())
        );
        assert_eq!(desk.tables().len(), 3);
    }

    #[test]
    fn the_socket_takes_what_the_kinds_say() {
        let desk = Arc::new(Desk::default());
        let once = BTreeMap::from([("rules", vec!["a"]), ("top", vec!["a"])]);
        let commands = Commands { once, streams: BTreeMap::from([("capture", vec!["a"])]) };
        let handlers = desk.serve(&commands, Handlers::new());
        assert_eq!(format!("{handlers:?}"), r#"{"capture", "rules", "top"}"#);
    }
}
