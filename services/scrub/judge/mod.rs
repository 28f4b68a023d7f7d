//! The decision on one packet: a function of rules, tables, octets and time.
//!
//! ```text
//!  octets ─► facts ─┬─ malformed ───────────────────────────────► drop
//!                   ├─ part of a datagram ─► as its first part, or wait, or ┐
//!                   ├─ answer to a challenge: source verified ──► drop      │
//!                   └─► rules, in order ◄───────────────────────────────────┘
//!                        │ drop, pass, over a limit, challenged: ends here
//!                        │ within a limit, dry-run, sample: counted, goes on to the next
//!                        └─► default
//! ```
//!
//! A packet is parsed once. What depends on the rules is in [`Book`], one per generation; who was
//! verified and which parts of datagrams came is in [`Judge`] and stays when rules are replaced.
//!
//! # Who is legitimate
//!
//! Four things are known of a packet besides its octets, and rules may ask for three of them:
//!
//! - `known`: it belongs to a connection that the host has. Live, the steering program looks for the
//!   socket and passes what has one, so whatever comes here is not known; the question says so. Read
//!   from a file, it is what the capture's other direction shows.
//! - `verified`: its source answered a challenge not long ago.
//! - `surging`: it is one of very many that have something in common ([`Surge`]), or, read from a
//!   file, that nobody answers. Asked only of what is neither known nor verified.
//! - It is the answer to a challenge. That is no question: such a segment ends here, before all
//!   rules.
//!
//! So the rules against floods of TCP are two, and they belong together:
//!
//! ```text
//! syn:         challenge when tcp.flags.syn and not tcp.flags.ack
//! unsolicited: drop when tcp and not known and not verified and not (tcp.flags.syn and not tcp.flags.ack)
//! ```
//!
//! The second drops acknowledgements, resets and ends of connections that nobody has. It must let
//! the end of a handshake through, of which the kernel may keep nothing but its own cookie: the SYN
//! went on because its source was verified, so its acknowledgement does too. Without the first rule
//! nobody is ever verified, and the second would end every handshake that the kernel answers by a
//! cookie; with rules that let SYNs pass otherwise, only what can be no handshake may be dropped:
//!
//! ```text
//! unsolicited: drop when tcp.flags & 0x17 in {0x01, 0x04, 0x12, 0x14} and not known
//! ```
//!
//! that is FIN alone, resets, and SYN-ACKs, and a limit for pure acknowledgements.

use std::net::IpAddr;

use tidegate_dataplane::wire::packet::Network;
use tidegate_dataplane::wire::{Malformed, Tcp};

use super::challenge::{self, Challenger, Ends};
use super::facts::{Facts, Standings};
use super::fragments::{Fragments, Part, Step};
use super::heavy::Seen;
use super::rules::field::{AddressField, Scope, Standing};
use super::siphash::Key;
use super::surge::Surge;
use super::verified::Verified;
use super::wishes::Wish;

mod book;
mod carry;

pub(crate) use book::{Book, Tally, TooManyBuckets};
pub(crate) use carry::Carry;

use book::Verdict;

/// What becomes of a packet, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// What becomes of it.
    pub(crate) fate: Fate,
    /// The rule that ended it, counted from 0.
    pub(crate) rule: Option<u32>,
    /// How it came to that.
    pub(crate) why: Why,
    /// A rule that samples, and had its turn.
    pub(crate) sampled: Option<u32>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on into the kernel, as if it had just arrived.
    Pass,
    /// It ends here.
    Drop(Reason),
    /// Its source is asked whether it is there: the SYN becomes its answer.
    Challenge,
    /// A part of a datagram that came before its first: it waits a moment.
    Hold,
}

/// Under which word a packet is counted that ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its headers are cut off or contradict themselves.
    Malformed,
    /// A rule drops it.
    Rule,
    /// A rule's limit is reached.
    Limit,
    /// A rule has a limit, and no bucket is left for a new one.
    TableFull,
    /// A SYN that a rule challenges, and nobody may answer.
    Challenge,
    /// The right answer to a challenge: it has done its work.
    Answer,
    /// A part of a datagram that no honest sender makes.
    Fragment,
    /// No rule ended it, and the default is to drop.
    Default,
}

impl Reason {
    /// What it is counted under.
    pub(crate) const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// All of them, as they are counted: name and help.
    pub(crate) const ALL: [(Self, &str, &str); 8] = [
        (
            Self::Malformed,
            "malformed",
            "Frames dropped: headers cut off or at odds with themselves",
        ),
        (Self::Rule, "rule", "Frames dropped: a rule says so"),
        (Self::Limit, "limit", "Frames dropped: over the limit of a rule"),
        (
            Self::TableFull,
            "table_full",
            "Frames dropped: new to a limit, and no bucket left for it in the limit's table",
        ),
        (
            Self::Challenge,
            "challenge",
            "Frames dropped: a SYN to be challenged that none may answer",
        ),
        (
            Self::Answer,
            "answer",
            "Frames dropped: the right answer to a challenge, its source is verified",
        ),
        (
            Self::Fragment,
            "fragment",
            "Frames dropped: a part of a datagram that no honest sender makes",
        ),
        (Self::Default, "default", "Frames dropped: no rule ended it, and `default drop`"),
    ];
}

/// How it came to a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// By what is in the packet.
    Itself,
    /// It cannot be read.
    Malformed(Malformed),
    /// It is a later part, and follows the first.
    FirstPart,
    /// It is a later part whose first did not come: judged by what is in it alone.
    Alone,
}

/// All that decisions depend on, and all that they change.
pub(crate) struct Judge {
    book: Box<Book>,
    verified: Verified,
    challenger: Challenger,
    fragments: Fragments<Verdict>,
    surge: Surge,
    /// The last part that is to be held.
    early: Option<Part>,
    /// Of the last packet.
    seen: Option<Seen>,
}

impl Judge {
    /// A judge who knows nobody yet. Takes all memory that will be needed.
    pub(crate) fn new(book: Box<Book>, key: Key) -> Self {
        Self {
            book,
            verified: Verified::new(key.child(1)),
            challenger: Challenger::new(key.child(2)),
            fragments: Fragments::new(key.child(3), Verdict::DEFAULT),
            surge: Surge::new(key.child(4)),
            early: None,
            seen: None,
        }
    }

    /// As [`Surge::set_engaged_at`].
    pub(crate) fn set_engaged_at(&mut self, packets_per_second: Option<u64>) {
        self.surge.set_engaged_at(packets_per_second);
    }

    /// The rules that it goes by.
    pub(crate) const fn book(&self) -> &Book {
        &self.book
    }

    /// As [`Book::take_wishes`].
    pub(crate) fn take_wishes(&mut self, empty: Vec<Wish>) -> Vec<Wish> {
        self.book.take_wishes(empty)
    }

    /// Goes by other rules from here on, which take over what `carry` says from those that went,
    /// and gives those back. Neither allocates nor frees: both are for who prepared it.
    pub(crate) fn succeed(&mut self, mut next: Box<Book>, carry: &Carry) -> Box<Book> {
        carry.apply(&mut self.book, &mut next);
        std::mem::replace(&mut self.book, next)
    }

    /// Decides on a frame of `octets` by its beginning `head`, which has all headers in it, and of
    /// the payload what rules ask for ([`Book::looks_beyond`]). Same state, octets and time, same
    /// decision.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        head: &[u8],
        octets: usize,
        standing: Standings,
        now_ns: u64,
    ) -> Judgement {
        let mut facts = match Facts::of(head, octets, standing) {
            Ok(facts) => facts,
            Err(malformed) => {
                self.seen = None;
                return Self::malformed(malformed);
            }
        };
        self.seen = seen(&facts);
        let Some(part) = facts.network(Scope::Outer).and_then(Part::of) else {
            return self.by_rules(&mut facts, now_ns);
        };
        match self.fragments.ask(&part, now_ns) {
            Step::Judge => {
                let judgement = self.by_rules(&mut facts, now_ns);
                self.fragments.remember(&part, Verdict::of(judgement), now_ns);
                judgement
            }
            Step::Follow(verdict) => self.follow(verdict),
            Step::Refuse => Self::refuse(),
            Step::Early => {
                self.early = Some(part);
                Judgement { fate: Fate::Hold, rule: None, why: Why::Itself, sampled: None }
            }
        }
    }

    /// Decides on a part of a datagram by what is in it alone: whose first did not come in time, or
    /// for which there was no room to wait. Its rules are those of all packets; ports, flags and
    /// payload it has not.
    pub(crate) fn judge_alone(
        &mut self,
        head: &[u8],
        octets: usize,
        standing: Standings,
        now_ns: u64,
    ) -> Judgement {
        match Facts::of(head, octets, standing) {
            Ok(mut facts) => Judgement { why: Why::Alone, ..self.by_rules(&mut facts, now_ns) },
            Err(malformed) => Self::malformed(malformed),
        }
    }

    /// Where the last packet came from and goes to, where it said so.
    #[inline]
    pub(crate) const fn seen(&self) -> Option<Seen> {
        self.seen
    }

    /// Adds the octets of a packet to what its rule ended. Of one that is held: nothing yet.
    #[inline]
    pub(crate) fn weigh(&mut self, judgement: &Judgement, octets: usize) {
        if judgement.fate != Fate::Hold {
            self.book.weigh(judgement.rule, octets);
        }
    }

    /// The part that the last judgement holds.
    pub(crate) const fn take_early(&mut self) -> Option<Part> {
        self.early.take()
    }

    /// The first parts that were judged, for those who wait for them.
    pub(crate) const fn first_parts(&mut self) -> &mut Fragments<Verdict> {
        &mut self.fragments
    }

    /// The judgement on a part whose first has this one.
    pub(crate) fn follow(&mut self, verdict: Verdict) -> Judgement {
        let judgement = verdict.judgement();
        // Rules may have been replaced since: then it counts for the same number of the new ones,
        // or for none. What becomes of the datagram stays.
        self.book.count_ended(judgement.rule);
        Judgement { why: Why::FirstPart, ..judgement }
    }

    /// The judgement on a part that no honest sender makes.
    pub(crate) const fn refuse() -> Judgement {
        Judgement {
            fate: Fate::Drop(Reason::Fragment),
            rule: None,
            why: Why::Itself,
            sampled: None,
        }
    }

    const fn malformed(malformed: Malformed) -> Judgement {
        let why = Why::Malformed(malformed);
        Judgement { fate: Fate::Drop(Reason::Malformed), rule: None, why, sampled: None }
    }

    /// Makes the SYN in `frame` the answer to itself; returns its octets then. `None` where nobody
    /// may answer: it is dropped for [`Reason::Challenge`].
    pub(crate) fn answer(&self, frame: &mut [u8], now_ns: u64) -> Option<usize> {
        self.challenger.answer(frame, now_ns)
    }

    #[inline]
    fn by_rules(&mut self, facts: &mut Facts<'_>, now_ns: u64) -> Judgement {
        if self.book.asks_verified()
            && let Some(source) = facts.address(Scope::Outer, AddressField::Source)
        {
            if let Some(tcp) = facts.tcp(Scope::Outer)
                && self.is_answer(facts, source, tcp, now_ns)
            {
                self.verified.insert(source, now_ns);
                let fate = Fate::Drop(Reason::Answer);
                return Judgement { fate, rule: None, why: Why::Itself, sampled: None };
            }
            if self.verified.contains(source, now_ns) {
                facts.verify();
            }
        }
        if self.book.asks_surging()
            && !facts.stands(Standing::Known)
            && !facts.stands(Standing::Verified)
            && self.surge.meet(facts, now_ns)
        {
            facts.surge();
        }
        self.book.judge(facts, now_ns)
    }

    #[inline]
    fn is_answer(&self, facts: &Facts<'_>, source: IpAddr, tcp: Tcp<'_>, now_ns: u64) -> bool {
        let destination = || facts.address(Scope::Outer, AddressField::Destination);
        challenge::may_answer(tcp)
            && destination().is_some_and(|destination| {
                let ends = Ends {
                    source,
                    destination,
                    source_port: tcp.source(),
                    destination_port: tcp.destination(),
                };
                self.challenger.is_answered_by(&ends, tcp, now_ns)
            })
    }
}

/// What `top` counts of a packet.
#[inline]
fn seen(facts: &Facts<'_>) -> Option<Seen> {
    let (source, destination, protocol): (IpAddr, IpAddr, u8) = match facts.network(Scope::Outer)? {
        Network::V4(ip) => (ip.source().into(), ip.destination().into(), ip.protocol()),
        Network::V6(ip) => (ip.source().into(), ip.destination().into(), ip.protocol()),
    };
    let port = facts.ports(Scope::Outer).map(|(_, port)| (protocol, port));
    Some(Seen::new(source, destination, port))
}

#[cfg(test)]
mod tests;
