//! `tidegate scrub`: a capture judged as the running service would, with no privilege.
//!
//! ```text
//!  capture ─► read once ─► who speaks with whom (conversations)
//!          └► read again ─► destination engaged? ─► judge ─┬─► passed
//!                                                          └─► dropped, with the reason
//! ```
//!
//! The judge is the one of the service, and so are the rules. What the service learns otherwise is
//! taken from the capture: `known` from its other direction, the time from its timestamps, and
//! whether a destination is engaged from what comes for it, with the default thresholds. With
//! `engaged` all are, from the first packet on.
//!
//! The first reading stands for what the service had seen before the attack began. So a SYN is of a
//! `verified` source if its connection comes about in the capture, with right numbers from both
//! ends, or if its source has more connections that do than others: who does that answers a
//! challenge, too.
//!
//! Every packet is in exactly one of the two files, with its octets, its lengths, its link type and
//! its time. What is no IP, and what has a link that is not read here, is passed.

mod conversations;
mod court;
mod ends;
mod files;
mod summary;
#[cfg(test)]
mod tests;
mod watch;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use tidegate_dataplane::pcap::link::{as_ethernet, length_as_ethernet};
use tidegate_dataplane::pcap::{self, Record};
use tidegate_dataplane::wire::ethernet::ether_type;
use tidegate_dataplane::wire::{Ethernet, protocol};

use super::engage::Policy;
use super::facts::{Facts, Standings};
use super::judge::{Fate, Judgement};
use super::load::Rules;
use conversations::{Heard, Listener, Passed};
use court::Court;
use ends::{Word, word};
pub(crate) use files::FileError;
use files::{Outputs, open};
pub(crate) use summary::Summary;
use watch::{Clock, Watch};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) read: &'a Path,
    pub(crate) passed: &'a Path,
    pub(crate) dropped: &'a Path,
    /// All destinations are under attack, from the first packet on.
    pub(crate) engaged: bool,
}

/// Why a capture was not judged, or not to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One of the three files.
    File(FileError),
    /// The explanations could not be written.
    Explain(io::Error),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<pcap::Error> for Failure {
    fn from(error: pcap::Error) -> Self {
        Self::File(error.into())
    }
}

/// Judges a capture by `rules`. With `explain` each packet has a line there.
///
/// # Errors
///
/// [`Failure`]. A capture that breaks off is none: what is there is judged, and the summary says so.
pub(crate) fn run(
    request: &Request<'_>,
    rules: &Rules,
    explain: Option<&mut dyn Write>,
) -> Result<Summary, Failure> {
    let heard = listen(request.read)?;
    let outputs = Outputs::create(request.read, request.passed, request.dropped)?;
    let bench = Bench {
        heard,
        passed: Passed::default(),
        court: Court::new(rules),
        watch: (!request.engaged).then(|| Watch::new(Policy::default())),
        clock: Clock::default(),
        summary: Summary::new(rules.set()),
    };
    bench.sit(request, outputs, explain)
}

/// Reads the capture for who speaks with whom.
fn listen(path: &Path) -> Result<Heard, Failure> {
    let mut listener = Listener::default();
    let mut clock = Clock::default();
    for record in open(path)? {
        // Where it breaks off is said when it is read again.
        let Ok(record) = record else { break };
        let now_ns = clock.at(record.timestamp_ns);
        if let Some(frame) = frame(&record)
            && let Ok(facts) = Facts::of(&frame.head, frame.octets, Standings::default())
            && let Some(word) = word(&facts)
        {
            listener.hear(&word, is_to_all(&record, &frame.head), now_ns);
        }
    }
    Ok(listener.conclude())
}

/// A packet as a frame of Ethernet.
struct Frame<'a> {
    head: Cow<'a, [u8]>,
    /// Octets that it had on the wire.
    octets: usize,
}

/// Octets behind which a header that is cut off is taken for zeros: options of TCP, mostly, where a
/// capture keeps only so many octets of each packet.
const HEADERS_OCTETS: usize = 128;

/// The frame of a packet, if it is of a link that is read.
fn frame(record: &Record) -> Option<Frame<'_>> {
    let mut head = as_ethernet(record)?;
    let octets = length_as_ethernet(record, &head);
    if let Some(length) = offloaded(&head, octets) {
        let at = length.at;
        head.to_mut()[at..at + 2].copy_from_slice(&length.octets.to_be_bytes());
    }
    let is_cut = head.len() < octets;
    if is_cut && Facts::of(&head, octets, Standings::default()).is_err() {
        let whole = octets.min(HEADERS_OCTETS).max(head.len());
        head.to_mut().resize(whole, 0);
    }
    Some(Frame { head, octets })
}

/// A length field of IPv4 that its sender left to the network card.
struct Offloaded {
    /// Where it is in the frame.
    at: usize,
    /// What it would be.
    octets: u16,
}

/// What the length of a packet of TCP would be that has 0 there: some systems capture what they
/// hand to the card, which makes several segments of it and writes each one's length. No such packet
/// comes from a wire; the kernel drops it, and so does the running service.
fn offloaded(head: &[u8], octets: usize) -> Option<Offloaded> {
    let ethernet = Ethernet::parse(head).ok().filter(|it| it.ether_type() == ether_type::IPV4)?;
    let (at, ip) = (ethernet.header_octets() + 2, ethernet.payload());
    let is_left_out = ip.get(2..4)? == [0, 0] && *ip.get(9)? == protocol::TCP;
    let whole = octets - ethernet.header_octets();
    is_left_out.then(|| Offloaded { at, octets: u16::try_from(whole).unwrap_or(u16::MAX) })
}

/// Whether a frame goes to a group of hosts. Other links than Ethernet do not say.
fn is_to_all(record: &Record, frame: &[u8]) -> bool {
    record.link_type == pcap::LINK_ETHERNET && frame.first().is_some_and(|octet| octet & 1 == 1)
}

/// What happens to one packet.
enum Outcome {
    Passed(String),
    Dropped(String),
}

/// All that the second reading needs.
struct Bench {
    heard: Heard,
    passed: Passed,
    court: Court,
    /// `None`: all are engaged.
    watch: Option<Watch>,
    clock: Clock,
    summary: Summary,
}

impl Bench {
    fn sit(
        mut self,
        request: &Request<'_>,
        mut outputs: Outputs,
        mut explain: Option<&mut dyn Write>,
    ) -> Result<Summary, Failure> {
        for record in open(request.read)? {
            let record = match record {
                Ok(record) => record,
                Err(error @ pcap::Error::Format { .. }) => {
                    self.summary.broken = Some(error.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let outcome = self.decide(&record);
            let line = match &outcome {
                Outcome::Passed(why) => {
                    outputs.pass(&record)?;
                    format!("{} passed: {why}", self.summary.packets)
                }
                Outcome::Dropped(why) => {
                    outputs.drop(&record, why)?;
                    format!("{} dropped: {why}", self.summary.packets)
                }
            };
            if let Some(out) = &mut explain {
                writeln!(out, "{line}").map_err(Failure::Explain)?;
            }
        }
        outputs.finish(request.passed, request.dropped)?;
        self.summary.forgotten = self.heard.forgotten;
        if let Some(watch) = self.watch {
            self.summary.unwatched = watch.unwatched;
            self.summary.engaged = Some(watch.into_times());
        }
        Ok(self.summary)
    }

    fn decide(&mut self, record: &Record) -> Outcome {
        self.summary.packets += 1;
        let now_ns = self.clock.at(record.timestamp_ns);
        let Some(frame) = frame(record) else {
            self.summary.unread += 1;
            let link = record.link_type;
            return self.pass(format!("link type {link}, or a link header, that is not read here"));
        };
        let word =
            Facts::of(&frame.head, frame.octets, Standings::default()).map(|facts| word(&facts));
        let is_engaged = match (&mut self.watch, &word) {
            (None, _) => true,
            (Some(watch), Ok(Some(word))) => watch.count(word, frame.octets as u64, now_ns),
            // Without a destination there is nothing to be engaged.
            (Some(_), Ok(None) | Err(_)) => false,
        };
        if let Ok(None) = word {
            return self.pass("no IP".into());
        }
        if !is_engaged {
            if let Ok(Some(word)) = &word {
                self.passed.pass(word);
            }
            return self.pass("its destination is not engaged".into());
        }
        let word = word.ok().flatten();
        let to_all = is_to_all(record, &frame.head);
        let standing = word.as_ref().map_or_else(Standings::default, |word| Standings {
            known: self.passed.is_known(&self.heard, word),
            verified: self.heard.is_verified(word),
            surging: self.passed.is_surging(&self.heard, word, to_all),
        });
        let comes = word.as_ref().is_some_and(|word| self.heard.has_first(word));
        let judgement = self.court.judge(&frame.head, frame.octets, standing, comes, now_ns);
        self.settle(&judgement, word.as_ref(), standing)
    }

    fn settle(
        &mut self,
        judgement: &Judgement,
        word: Option<&Word>,
        standing: Standings,
    ) -> Outcome {
        let why = self.court.explain(judgement);
        match judgement.fate {
            Fate::Pass => {
                if let Some(word) = word {
                    self.passed.pass(word);
                }
                let known = if standing.known { ", of a conversation" } else { "" };
                self.pass(why + known)
            }
            Fate::Challenge => {
                self.summary.challenged += 1;
                self.drop(judgement, why)
            }
            Fate::Drop(_) | Fate::Hold => self.drop(judgement, why),
        }
    }

    fn pass(&mut self, why: String) -> Outcome {
        self.summary.passed += 1;
        Outcome::Passed(why)
    }

    fn drop(&mut self, judgement: &Judgement, why: String) -> Outcome {
        self.summary.dropped += 1;
        let by = match (self.court.rule(judgement), judgement.fate) {
            (Some(rule), _) => rule.to_owned(),
            (None, Fate::Drop(reason)) => format!("({})", court::name(reason)),
            (None, _) => "(held)".to_owned(),
        };
        *self.summary.by.entry(by).or_default() += 1;
        Outcome::Dropped(why)
    }
}
