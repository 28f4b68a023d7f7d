//! The control side of a capture: takes samples from the shards and gives them to who asked.
//!
//! ```text
//!   shard 0 ─► ring ─┐
//!   shard 1 ─► ring ─┴─ every 20 ms ─► one line of JSON and the octets, each ─► control socket ─► file
//! ```
//!
//! It is bounded in packets and time, ends when nobody listens any more, and has the shards stop
//! before it says how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_runtime::clock::{Clock, TaiOffset};
use tidegate_runtime::control::{Connection, Ended};
use tidegate_runtime::instances::{Asked, Instances};

use super::generation::{Current, Generation};
use super::instance::{Done, Order};
use super::ring::{Ring, Sample, Shelf};
use super::tap::{Fate, Tap, Wanted};

/// Time between two looks at the rings. Lower costs a system call more often, higher and the shelves
/// fill sooner than they are emptied.
const LOOK: Duration = Duration::from_millis(20);

/// How often the client hears that the capture goes on though there is nothing to write.
const ALIVE_NS: u64 = 200_000_000;

/// How long a shard may take to be told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Packets and seconds that may be asked for.
const COUNT_MAX: u64 = 10_000_000;
const SECONDS_MAX: u64 = 86_400;

/// What is captured, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    wanted: Wanted,
    count: u64,
    seconds: u64,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// What in it cannot be.
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        let fate = match value["fate"].as_str() {
            Some("dropped") => Some(Fate::Dropped),
            Some("passed") => Some(Fate::Passed),
            Some("challenged") => Some(Fate::Challenged),
            Some("all") => None,
            _ => return Err("capture: fate is dropped, passed, challenged or all".into()),
        };
        let number = |key: &str, usual: u64, most: u64| match &value[key] {
            Value::Null => Ok(usual),
            given => match given.as_u64().filter(|given| (1..=most).contains(given)) {
                Some(given) => Ok(given),
                None => Err(format!("capture: {key} is {given}; allowed are 1 to {most}")),
            },
        };
        let sample = u32::try_from(number("sample", 1, u64::from(u32::MAX))?).ok();
        let sample = sample.and_then(std::num::NonZeroU32::new).ok_or("capture: sample")?;
        let wanted = Wanted { fate, rule: value["rule"].as_str().map(Into::into), sample };
        let (count, seconds) =
            (number("count", 10_000, COUNT_MAX)?, number("seconds", 60, SECONDS_MAX)?);
        Ok(Self { wanted, count, seconds })
    }

    /// The rule that is asked for, if one is.
    pub(crate) fn rule(&self) -> Option<&str> {
        self.wanted.rule.as_deref()
    }
}

/// That one capture goes on; there is one at a time.
#[derive(Debug)]
pub(crate) struct Running(Arc<AtomicBool>);

impl Running {
    /// Takes the place, if it is free.
    pub(crate) fn begin(place: &Arc<AtomicBool>) -> Option<Self> {
        (!place.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(place)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A capture that is being made.
pub(crate) struct Capture {
    instances: Instances,
    current: Arc<Current>,
    request: Request,
    rings: Vec<(u32, Arc<Ring>)>,
    /// Generations that samples may be of, the youngest last.
    known: Vec<Arc<Generation>>,
    _running: Running,
}

impl Capture {
    /// Has every shard show what is wanted.
    pub(crate) fn begin(
        instances: &Instances,
        current: &Arc<Current>,
        request: Request,
        running: Running,
    ) -> Self {
        let known = vec![current.get()];
        let rings: Vec<_> =
            instances.shards().iter().map(|&shard| (shard, Arc::new(Ring::new()))).collect();
        let capture = Self {
            instances: instances.clone(),
            current: Arc::clone(current),
            request,
            rings,
            known,
            _running: running,
        };
        let tap = |ring: &Arc<Ring>| {
            let wanted = capture.request.wanted.clone();
            Some(Box::new(Tap::new(wanted, Arc::clone(ring))))
        };
        capture.tell(tap);
        capture
    }

    /// Gives every shard a tap, or takes it; taps that come back are dropped here.
    fn tell(&self, tap: impl Fn(&Arc<Ring>) -> Option<Box<Tap>>) {
        let ask = |(shard, ring): &(u32, Arc<Ring>)| {
            self.instances.ask::<Order, Done>(*shard, Order::Tap(tap(ring))).ok()
        };
        let asked: Vec<Asked<Done>> = self.rings.iter().filter_map(ask).collect();
        for mut one in asked {
            // One that stands still is told when it goes on; a tap is small.
            let _ = one.wait(PATIENCE);
        }
    }

    /// Gives samples to `connection` until there are enough.
    pub(crate) fn run(mut self, mut connection: Connection) {
        let clock = Clock::machine();
        let until_ns = clock.now_ns() + self.request.seconds * 1_000_000_000;
        let mut shelf = Shelf::new();
        let (mut count, mut said_ns) = (0, clock.now_ns());
        let end = loop {
            let ended = connection.pause(LOOK);
            if let Some(why) = ended {
                break match why {
                    Ended::Client => return,
                    Ended::Process => "the process leaves",
                };
            }
            let now_ns = clock.now_ns();
            match self.hand_over(&mut shelf, &mut connection, &mut count, utc_at_zero_ns(&clock)) {
                Ok(0) if now_ns - said_ns < ALIVE_NS => {}
                Ok(0) => {
                    said_ns = now_ns;
                    if connection.write(b"{\"alive\":true}\n").is_err() {
                        return;
                    }
                }
                Ok(_) => said_ns = now_ns,
                Err(_) => return,
            }
            if count >= self.request.count {
                break "as many as asked for";
            }
            if now_ns >= until_ns {
                break "the time is over";
            }
        };
        let rings = self.rings.clone();
        // The shards show nothing any more, and another capture may begin, before the end is said.
        drop(self);
        let lost: u64 = rings.iter().map(|(_, ring)| ring.lost()).sum();
        let _ = connection.write(format!("{}\n", json!({ "end": end, "lost": lost })).as_bytes());
    }

    /// Writes what the rings have; how many packets that were.
    fn hand_over(
        &mut self,
        shelf: &mut Shelf,
        connection: &mut Connection,
        count: &mut u64,
        utc_at_zero_ns: u64,
    ) -> std::io::Result<u64> {
        let latest = self.current.get();
        if self.known.last().is_none_or(|known| known.number < latest.number) {
            // Two are enough: a shelf is as old as a look.
            self.known.drain(..self.known.len().saturating_sub(1));
            self.known.push(latest);
        }
        let before = *count;
        for (shard, ring) in &self.rings {
            ring.swap(shelf);
            for (sample, head) in shelf.iter() {
                if *count >= self.request.count {
                    break;
                }
                *count += 1;
                let said = json!({
                    "at_ns": sample.at_ns.wrapping_add(utc_at_zero_ns),
                    "octets": head.len(),
                    "original": sample.octets,
                    "comment": comment(sample, *shard, &self.known),
                });
                connection.write(format!("{said}\n").as_bytes())?;
                connection.write(head)?;
            }
            shelf.clear();
        }
        Ok(*count - before)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // However it ends, shards show nothing to nobody.
        self.tell(|_| None);
    }
}

/// What a capture says of a packet.
fn comment(sample: &Sample, shard: u32, known: &[Arc<Generation>]) -> String {
    let Sample { fate, reason, generation, rule, .. } = sample;
    let name = rule.map(|place| {
        let known = known.iter().find(|known| known.number == *generation);
        match known.and_then(|known| known.name(place)) {
            Some(name) => name.to_owned(),
            None => format!("number {place}"),
        }
    });
    let why = match name {
        Some(name) => format!("rule {name}"),
        None => "no rule".to_owned(),
    };
    format!("{fate}: {why}, reason {reason}, generation {generation}, shard {shard}")
}

/// UTC when the shards' clock shows 0.
fn utc_at_zero_ns(clock: &Clock) -> u64 {
    let leap_seconds = match clock.tai_offset() {
        TaiOffset::Known(seconds) => seconds,
        // The kernel's TAI is its UTC then.
        TaiOffset::Unset => 0,
    };
    let utc_ns = clock.tai_ns().wrapping_sub(u64::from(leap_seconds) * 1_000_000_000);
    utc_ns.wrapping_sub(clock.now_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_bounded_also_where_nothing_is_said() {
        let read = |value| Request::read(&value);
        let usual = read(json!({ "fate": "all" })).unwrap();
        assert_eq!((usual.count, usual.seconds, usual.wanted.sample.get()), (10_000, 60, 1));
        let asked =
            json!({ "fate": "dropped", "rule": "bad", "sample": 1000, "count": 5, "seconds": 2 });
        let asked = read(asked).unwrap();
        assert_eq!((asked.count, asked.seconds, asked.rule()), (5, 2, Some("bad")));
        assert_eq!(asked.wanted.fate, Some(Fate::Dropped));
        for (value, said) in [
            (json!({}), "capture: fate is dropped, passed, challenged or all"),
            (
                json!({ "fate": "all", "count": 0 }),
                "capture: count is 0; allowed are 1 to 10000000",
            ),
            (
                json!({ "fate": "all", "seconds": -1 }),
                "capture: seconds is -1; allowed are 1 to 86400",
            ),
            (
                json!({ "fate": "all", "sample": "x" }),
                "capture: sample is \"x\"; allowed are 1 to 4294967295",
            ),
        ] {
            assert_eq!(read(value).unwrap_err(), said);
        }
    }

    #[test]
    fn there_is_one_at_a_time() {
        let place = Arc::<AtomicBool>::default();
        let running = Running::begin(&place).unwrap();
        assert!(Running::begin(&place).is_none());
        drop(running);
        assert!(Running::begin(&place).is_some());
    }
}
