//! What a capture shows of who speaks with whom: the stand-in for the kernel's sockets.
//!
//! The running service asks the kernel whether a packet belongs to a connection. A capture has no
//! kernel, but mostly both directions. It is read once before it is judged, and then a packet is
//!
//! - `known` where its two ends speak with each other: of TCP, where each has acknowledged what the
//!   other said (so a SYN that is answered, and an answer that is reset, are no conversation); of
//!   ICMP errors, where the packet that they quote was passed; of echoes, where the ping was; else,
//!   where packets go both ways, or its destination has asked this source, or all (a multicast or
//!   broadcast), from the port at which it is answered. A capture of one direction shows no answers,
//!   so where nothing in it surges, a pair of TCP is known by itself: its segments go on where the
//!   one before ended, [`FOLLOWS`] times and more. Those of floods have numbers that are random, or
//!   all the same;
//! - `verified` where its pair speaks with each other, or its source mostly gets connections;
//! - `surging` where it is of many that nobody answers: at least [`CROWD`] sources speak to one
//!   destination in one protocol without an answer, more than is answered, and not as slowly as
//!   who reports now and then ([`SLOW_PER_SECOND`]); or fewer, as fast as [`ALONE_PER_SECOND`].
//!
//! A multicast or broadcast is never answered by its address, so it is no such destination.
//!
//! Memory is bounded: of more than [`TALKS_MAX`] conversations the later ones are not remembered.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use tidegate_dataplane::wire::protocol;

use super::ends::{Datagram, End, Ends, Kind, Segment, Side, Word};

/// Conversations that are remembered. At some 150 octets each that is 150 MiB.
const TALKS_MAX: usize = 1 << 20;

/// Sources that make a crowd. Servers of logs, traps and flows hear a handful that they never
/// answer; the smallest reflections come from hundreds.
pub(super) const CROWD: usize = 16;

/// Packets a second of a whole crowd below which it floods nobody: traps, logs and clocks of many
/// hosts, of which a capture shows one direction. Published floods are stretched, yet not so far.
const SLOW_PER_SECOND: u128 = 10;

/// Packets a second of one unanswered pair, or of all that a destination never answers, that make a
/// flood of it: a hundred calls at once. A gigabit at 1,400 octets in each is 90,000.
pub(super) const ALONE_PER_SECOND: u64 = 5_000;

/// Packets without an answer below which there is no rate.
const ALONE_PACKETS: u64 = 2_000;

/// How far behind what was said an acknowledgement can be: the largest window without much memory
/// (RFC 7323 allows 2^30, and a guess would be right once in four).
const BEHIND_MAX: u32 = 1 << 22;

/// How far before what was said it can be: what the capture lost, or a probe that repeats an octet.
const AHEAD_MAX: u32 = 1 << 20;

/// How often one direction of TCP has to go on where it was. A request does so from its handshake to
/// its end; with less, a forged segment that is sent again would.
const FOLLOWS: u32 = 3;

/// Of how many segments that go on one may be far off: what the capture lost.
const FOLLOWS_ASTRAY: u32 = 10;

/// One pair of ends.
#[derive(Debug, Default)]
struct Talk {
    /// Packets from the lower and from the upper end.
    packets: [u64; 2],
    /// What each end of TCP says next.
    next: [Option<u32>; 2],
    /// What each end of TCP has acknowledged last.
    acknowledged: [Option<u32>; 2],
    /// Whether that was what the other said.
    right: [bool; 2],
    /// Segments of each end that go on where the one before ended, and those that are far off.
    follows: [u32; 2],
    astray: [u32; 2],
    /// Whether the last segment of each end had anything that is counted.
    has_said: [bool; 2],
    first_ns: u64,
    last_ns: u64,
}

impl Talk {
    fn is_conversation(&self, protocol: u8) -> bool {
        match protocol {
            protocol::TCP => self.right == [true; 2],
            _ => self.packets[0] > 0 && self.packets[1] > 0,
        }
    }

    /// Whether only one end of TCP is heard, and goes on as in a connection.
    fn goes_on(&self, protocol: u8) -> bool {
        protocol == protocol::TCP
            && [(0, 1), (1, 0)].into_iter().any(|(own, other)| {
                self.packets[other] == 0
                    && self.follows[own] >= FOLLOWS
                    && self.astray[own].saturating_mul(FOLLOWS_ASTRAY) <= self.follows[own]
            })
    }

    fn hear(&mut self, side: Side, segment: &Segment) {
        // A reset says what the other end wants to hear, not what there is.
        if segment.reset {
            return;
        }
        let is_later = |next: u32| segment.next.wrapping_sub(next) < 1 << 31;
        let own = side as usize;
        if let Some(next) = self.next[own] {
            // Something was said since, by this end or by the other.
            let last = self.acknowledged[own];
            let is_heard = segment.ack
                && last.is_some_and(|last| {
                    (1..=BEHIND_MAX).contains(&segment.acknowledgement.wrapping_sub(last))
                });
            let goes_on = segment.sequence == next && (is_heard || self.has_said[own]);
            self.follows[own] = self.follows[own].saturating_add(u32::from(goes_on));
            let is_astray = !is_near(next.wrapping_sub(segment.sequence));
            self.astray[own] = self.astray[own].saturating_add(u32::from(is_astray));
        }
        self.has_said[own] = segment.next != segment.sequence;
        if segment.syn || self.next[own].is_none_or(is_later) {
            self.next[own] = Some(segment.next);
        }
        if segment.ack {
            self.acknowledged[own] = Some(segment.acknowledgement);
        }
        for own in [0, 1] {
            if let (Some(next), Some(acknowledged)) = (self.next[1 - own], self.acknowledged[own]) {
                self.right[own] |= is_near(next.wrapping_sub(acknowledged));
            }
        }
    }

    fn is_fast(&self) -> bool {
        is_fast(self.packets[0] + self.packets[1], self.first_ns, self.last_ns)
    }
}

/// Whether a number is so little behind another, or before it, that both are of one connection.
const fn is_near(behind: u32) -> bool {
    behind <= BEHIND_MAX || behind.wrapping_neg() <= AHEAD_MAX
}

/// Whether so many packets between two times are as fast as [`ALONE_PER_SECOND`].
fn is_fast(packets: u64, first_ns: u64, last_ns: u64) -> bool {
    // A capture whose clock stood still says nothing of rates; a tenth of a second is its least.
    let elapsed = last_ns.saturating_sub(first_ns).max(100_000_000);
    let per_second = u128::from(packets) * 1_000_000_000 / u128::from(elapsed);
    packets >= ALONE_PACKETS && per_second >= u128::from(ALONE_PER_SECOND)
}

/// How a source of TCP fares: pairs, and its packets in them.
#[derive(Debug, Default)]
struct Fare {
    conversations: u64,
    conversation_packets: u64,
    others: u64,
    other_packets: u64,
}

impl Fare {
    const fn tell(&mut self, is_conversation: bool, packets: u64) {
        let (pairs, sum) = match is_conversation {
            true => (&mut self.conversations, &mut self.conversation_packets),
            false => (&mut self.others, &mut self.other_packets),
        };
        *pairs += 1;
        *sum += packets;
    }

    /// Whether it mostly gets connections: who scans or floods does not.
    const fn is_honest(&self) -> bool {
        self.conversations > self.others && self.conversation_packets > self.other_packets
    }
}

/// Takes in a capture, packet by packet.
#[derive(Debug, Default)]
pub(super) struct Listener {
    talks: BTreeMap<Ends, Talk>,
    /// Ends that asked a host, or all (`None`), over UDP.
    asked: HashSet<(End, Option<IpAddr>)>,
    /// What the first part of a datagram says of the later ones.
    parts: BTreeMap<Datagram, Ends>,
    /// Packets of conversations that there was no room for.
    forgotten: u64,
}

impl Listener {
    /// Hears one packet. `to_all`: its frame goes to a group.
    pub(super) fn hear(&mut self, word: &Word, to_all: bool, now_ns: u64) {
        if let Some(part) = word.part_of
            && word.kind != Kind::Later
            && self.parts.len() < TALKS_MAX
        {
            self.parts.entry(part).or_insert(word.ends);
        }
        if matches!(word.kind, Kind::Undelivered(_)) {
            return;
        }
        let (pair, side) = word.ends.pair();
        if self.talks.len() == TALKS_MAX && !self.talks.contains_key(&pair) {
            self.forgotten += 1;
            return;
        }
        let talk =
            self.talks.entry(pair).or_insert_with(|| Talk { first_ns: now_ns, ..Talk::default() });
        talk.packets[side as usize] += 1;
        talk.last_ns = talk.last_ns.max(now_ns);
        if let Kind::Segment(segment) = &word.kind {
            talk.hear(side, segment);
        }
        if word.ends.protocol == protocol::UDP && word.kind == Kind::Datagram {
            let host = word.ends.destination.0;
            let whom = (!is_group(host, to_all)).then_some(host);
            if self.asked.len() < TALKS_MAX {
                self.asked.insert((word.ends.source, whom));
            }
        }
    }

    /// What came out of it.
    pub(super) fn conclude(self) -> Heard {
        let mut crowds: BTreeMap<(IpAddr, u8), Crowd> = BTreeMap::new();
        let (mut conversations, mut fast) = (HashSet::new(), HashSet::new());
        let mut fares: BTreeMap<IpAddr, Fare> = BTreeMap::new();
        let mut alone = Vec::new();
        for (pair, talk) in &self.talks {
            let is_conversation = talk.is_conversation(pair.protocol);
            if !is_conversation && talk.goes_on(pair.protocol) {
                alone.push(*pair);
                continue;
            }
            for (ends, packets) in [
                (*pair, talk.packets[0]),
                (
                    Ends { source: pair.destination, destination: pair.source, ..*pair },
                    talk.packets[1],
                ),
            ] {
                if packets == 0 {
                    continue;
                }
                if pair.protocol == protocol::TCP {
                    fares.entry(ends.source.0).or_default().tell(is_conversation, packets);
                }
                let crowd = crowds.entry((ends.destination.0, ends.protocol)).or_default();
                if is_conversation {
                    crowd.answered += packets;
                } else {
                    crowd.unanswered += packets;
                    crowd.first_ns = crowd.first_ns.min(talk.first_ns);
                    crowd.last_ns = crowd.last_ns.max(talk.last_ns);
                    if crowd.sources.len() < CROWD {
                        crowd.sources.insert(ends.source.0);
                    }
                }
            }
            if is_conversation {
                conversations.insert(*pair);
            } else if talk.is_fast() {
                fast.insert(*pair);
            }
        }
        let crowded: HashSet<(IpAddr, u8)> =
            crowds.into_iter().filter(|(_, crowd)| crowd.floods()).map(|it| it.0).collect();
        if crowded.is_empty() && fast.is_empty() {
            conversations.extend(alone);
        }
        Heard {
            conversations,
            fast,
            asked: self.asked,
            parts: self.parts,
            crowded,
            honest: fares.into_iter().filter(|(_, it)| it.is_honest()).map(|it| it.0).collect(),
            forgotten: self.forgotten,
        }
    }
}

/// What one destination hears in one protocol.
#[derive(Debug)]
struct Crowd {
    /// Sources without an answer, up to [`CROWD`].
    sources: HashSet<IpAddr>,
    answered: u64,
    unanswered: u64,
    /// When the first unanswered packet came, and the last.
    first_ns: u64,
    last_ns: u64,
}

impl Default for Crowd {
    fn default() -> Self {
        let sources = HashSet::new();
        Self { sources, answered: 0, unanswered: 0, first_ns: u64::MAX, last_ns: 0 }
    }
}

impl Crowd {
    fn floods(&self) -> bool {
        let elapsed_ns = u128::from(self.last_ns.saturating_sub(self.first_ns));
        let is_slow = u128::from(self.unanswered) * 1_000_000_000 < elapsed_ns * SLOW_PER_SECOND;
        let is_crowd = self.sources.len() >= CROWD && !is_slow;
        self.unanswered > self.answered
            && (is_crowd || is_fast(self.unanswered, self.first_ns, self.last_ns))
    }
}

/// What a capture shows.
#[derive(Debug)]
pub(super) struct Heard {
    conversations: HashSet<Ends>,
    fast: HashSet<Ends>,
    asked: HashSet<(End, Option<IpAddr>)>,
    parts: BTreeMap<Datagram, Ends>,
    crowded: HashSet<(IpAddr, u8)>,
    /// Sources of TCP that mostly get connections.
    honest: HashSet<IpAddr>,
    /// Packets of conversations that there was no room for.
    pub(super) forgotten: u64,
}

impl Heard {
    /// The ends of the whole datagram, where the packet is a part of one.
    fn ends(&self, word: &Word) -> Ends {
        let whole = word.part_of.and_then(|part| self.parts.get(&part));
        *whole.unwrap_or(&word.ends)
    }

    /// Whether the first part of the datagram is in the capture, where the packet is a part.
    pub(super) fn has_first(&self, word: &Word) -> bool {
        word.part_of.is_some_and(|part| self.parts.contains_key(&part))
    }

    /// Whether two ends speak with each other.
    pub(super) fn is_conversation(&self, word: &Word) -> bool {
        self.conversations.contains(&self.ends(word).pair().0)
    }

    /// Whether its source would answer a challenge: its connection comes about, or most of its do.
    pub(super) fn is_verified(&self, word: &Word) -> bool {
        self.is_conversation(word)
            || word.ends.protocol == protocol::TCP && self.honest.contains(&word.ends.source.0)
    }

    /// Whether the packet's destination asked for it: this source, or all.
    fn is_asked(&self, ends: &Ends) -> bool {
        // Who speaks with himself has not asked another.
        ends.protocol == protocol::UDP
            && ends.source.0 != ends.destination.0
            && [Some(ends.source.0), None]
                .into_iter()
                .any(|whom| self.asked.contains(&(ends.destination, whom)))
    }
}

/// What becomes of packets, as far as later ones depend on it.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Pairs of which a packet was passed.
    pairs: HashSet<Ends>,
}

impl Passed {
    /// Whether the packet is of a conversation.
    pub(super) fn is_known(&self, heard: &Heard, word: &Word) -> bool {
        match word.kind {
            // A new connection is not known before it is there.
            Kind::Segment(segment) if segment.syn && !segment.ack => false,
            Kind::Undelivered(quoted) => {
                quoted.is_some_and(|ends| self.pairs.contains(&ends.pair().0))
            }
            Kind::Ping => false,
            Kind::Echo => self.pairs.contains(&word.ends.pair().0),
            Kind::Segment(_) | Kind::Datagram | Kind::Later => {
                heard.is_conversation(word) || heard.is_asked(&heard.ends(word))
            }
        }
    }

    /// Whether the packet is one of many that nobody answers. `to_all`: its frame goes to a group.
    pub(super) fn is_surging(&self, heard: &Heard, word: &Word, to_all: bool) -> bool {
        let ends = heard.ends(word);
        !is_group(ends.destination.0, to_all)
            && !heard.is_conversation(word)
            && (heard.crowded.contains(&(ends.destination.0, ends.protocol))
                || heard.fast.contains(&ends.pair().0))
    }

    /// The packet was passed.
    pub(super) fn pass(&mut self, word: &Word) {
        if self.pairs.len() < TALKS_MAX && word.kind != Kind::Later {
            self.pairs.insert(word.ends.pair().0);
        }
    }
}

/// Whether an address is that of a group. The broadcast of a network looks like a host's, so there
/// the frame decides, and only where the address can be one.
fn is_group(address: IpAddr, to_all: bool) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_multicast() || address.is_broadcast() || to_all && address.octets()[3] == 255
        }
        IpAddr::V6(address) => address.is_multicast(),
    }
}
