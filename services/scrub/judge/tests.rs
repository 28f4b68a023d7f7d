//! Rules in order, what each action does, parts, challenges, and what goes to the next generation.

use std::path::Path;

use super::*;
use crate::scrub::limits::Owner;
use crate::scrub::load::Rules;
use crate::scrub::matcher::Matcher;
use crate::scrub::rules::rule::Rule;
use crate::scrub::samples::{Kind, Part as Piece, Sample};
use crate::scrub::wishes::{Wish, Wishes};
use tidegate_dataplane::wire::tcp::Flags;

const NOW: u64 = 1 << 40;
const SECOND: u64 = 1_000_000_000;

const UNKNOWN: Standings = Standings { known: false, verified: false, surging: false };

fn rules(text: &str) -> Rules {
    Rules::read(text, "test", Path::new("")).unwrap_or_else(|error| panic!("{error}"))
}

fn judge(text: &str) -> Judge {
    Judge::new(rules(text).book(Key::fixed(1)), Key::fixed(1))
}

fn on(judge: &mut Judge, frame: &[u8], now_ns: u64) -> Judgement {
    judge.judge(frame, frame.len(), UNKNOWN, now_ns)
}

fn from(host: u8) -> Sample {
    Sample { source: [198, 18, 7, host].into(), ..Sample::udp(b"payload") }
}

fn segment(flags: Flags) -> Sample {
    let kind = Kind::Tcp { source: 40_000, destination: 443, flags: flags.0 };
    Sample { kind, ..Sample::udp(b"") }
}

fn fates(judge: &mut Judge, samples: &[Sample]) -> Vec<(Fate, Option<u32>)> {
    samples
        .iter()
        .map(|sample| {
            let Judgement { fate, rule, .. } = on(judge, &sample.frame(), NOW);
            (fate, rule)
        })
        .collect()
}

#[test]
fn rules_are_tried_in_order_and_the_first_that_ends_decides() {
    let mut judge = judge(
        "friend: pass when ip.src == 198.18.7.1\n\
         net: drop when ip.src in { 198.18.7.0/24 }\n\
         all: pass when udp\n\
         default drop\n",
    );
    let other = Sample { source: [198, 18, 8, 1].into(), ..from(1) };
    let got = fates(&mut judge, &[from(1), from(2), other, segment(Flags::ACK)]);
    let expected = [
        (Fate::Pass, Some(0)),
        (Fate::Drop(Reason::Rule), Some(1)),
        (Fate::Pass, Some(2)),
        (Fate::Drop(Reason::Default), None),
    ];
    assert_eq!(got, expected);
    let tally = |met, ended| Tally { met, ended, would: 0 };
    assert_eq!(judge.book().tallies(), [tally(1, 1), tally(1, 1), tally(1, 1)]);
    assert_eq!(on(&mut judge, &from(1).frame()[..30], NOW).fate, Fate::Drop(Reason::Malformed));
}

#[test]
fn a_limit_ends_what_is_over_and_lets_the_rest_go_on() {
    let mut judge = judge(
        "each: limit 10 packets/s burst 2 per source of 8 when udp\n\
         rest: drop when ip.src == 198.18.7.2\n",
    );
    let over = (Fate::Drop(Reason::Limit), Some(0));
    let got = fates(&mut judge, &[from(1), from(1), from(1), from(2), from(2), from(2)]);
    let rest = (Fate::Drop(Reason::Rule), Some(1));
    assert_eq!(got, [(Fate::Pass, None), (Fate::Pass, None), over, rest, rest, over]);
    // 12 of the table's 16 tokens are left, for whoever else comes.
    let many: Vec<Sample> = (3..50).map(from).collect();
    let got = fates(&mut judge, &many);
    let passed = got.iter().filter(|it| it.0 == Fate::Pass).count();
    let full = got.iter().filter(|it| it.0 == Fate::Drop(Reason::TableFull)).count();
    assert_eq!((passed, full), (12, 35));
    assert_eq!(judge.book().takeovers(), 6);
    assert_eq!(on(&mut judge, &from(1).frame(), NOW + SECOND / 10).fate, Fate::Pass);
}

#[test]
fn bits_are_those_of_the_ip_packet() {
    // 35 octets each: 280 bits.
    let mut judge = judge("all: limit 12000 bits/s burst 12000 per all when udp\n");
    let got = fates(&mut judge, &vec![from(1); 43]);
    assert!(got[..42].iter().all(|&it| it == (Fate::Pass, None)));
    assert_eq!(got[42], (Fate::Drop(Reason::Limit), Some(0)));
    // 240 were left.
    assert_eq!(
        on(&mut judge, &from(2).frame(), NOW + SECOND / 301).fate,
        Fate::Drop(Reason::Limit)
    );
    assert_eq!(on(&mut judge, &from(2).frame(), NOW + SECOND / 300 + 1).fate, Fate::Pass);
}

#[test]
fn a_dry_run_counts_what_it_would_have_done_and_does_nothing() {
    let mut judge = judge(
        "try: dry-run drop when udp\n\
         rate: dry-run limit 1 packets/s burst 1 per source when udp\n\
         ask: dry-run challenge when tcp\n",
    );
    let got = fates(&mut judge, &[from(1), from(1), segment(Flags::SYN), segment(Flags::ACK)]);
    assert!(got.iter().all(|&it| it == (Fate::Pass, None)), "{got:?}");
    let tally = |met, would| Tally { met, ended: 0, would };
    assert_eq!(judge.book().tallies(), [tally(2, 2), tally(2, 1), tally(2, 1)]);
}

#[test]
fn a_sample_takes_one_of_so_many_and_lets_all_go_on() {
    let mut judge = judge("look: sample 1/3 when udp\nend: drop when udp\n");
    let sampled: Vec<Option<u32>> =
        (0..7).map(|_| on(&mut judge, &from(1).frame(), NOW).sampled).collect();
    assert_eq!(sampled.iter().filter(|it| it.is_some()).count(), 2);
    assert_eq!(judge.book().tallies()[0], Tally { met: 7, ended: 0, would: 0 });
    assert_eq!(judge.book().tallies()[1], Tally { met: 7, ended: 7, would: 0 });
}

/// The rules that belong together against floods of TCP.
const TCP: &str = "\
    syn: challenge when tcp.flags.syn and not tcp.flags.ack\n\
    unsolicited: drop when tcp and not known and not verified \
    and not (tcp.flags.syn and not tcp.flags.ack)\n";

/// The reset with which a client answers the challenge that `syn` became.
fn answer(judge: &mut Judge, syn: &Sample, now_ns: u64) -> Vec<u8> {
    let mut frame = syn.frame();
    let octets = judge.answer(&mut frame, now_ns).expect("an answer");
    let mut reset = Sample { kind: syn.kind, ..syn.clone() }.frame();
    let at = octets - 20;
    let cookie = frame[at + 8..at + 12].to_vec();
    let at = reset.len() - 20;
    reset[at + 4..at + 8].copy_from_slice(&cookie);
    reset[at + 13] = Flags::RST.0;
    reset
}

#[test]
fn a_source_that_answers_its_challenge_goes_on_and_no_other() {
    for syn in [segment(Flags::SYN), Sample::tcp_v6(Flags::SYN.0)] {
        let mut judge = judge(TCP);
        let challenged = on(&mut judge, &syn.frame(), NOW);
        assert_eq!((challenged.fate, challenged.rule), (Fate::Challenge, Some(0)));
        let reset = answer(&mut judge, &syn, NOW);
        // A wrong one is only unsolicited.
        let mut wrong = reset.clone();
        let at = wrong.len() - 20;
        wrong[at + 5] ^= 1;
        let refused = on(&mut judge, &wrong, NOW);
        assert_eq!((refused.fate, refused.rule), (Fate::Drop(Reason::Rule), Some(1)));
        assert_eq!(on(&mut judge, &syn.frame(), NOW).fate, Fate::Challenge);

        assert_eq!(on(&mut judge, &reset, NOW).fate, Fate::Drop(Reason::Answer));
        let later = NOW + 20 * SECOND;
        assert_eq!(on(&mut judge, &syn.frame(), later).fate, Fate::Pass);
        // The end of its handshake, of which the kernel may keep nothing.
        let flags = |flags: Flags| match syn.kind {
            Kind::Tcp { source, destination, .. } => {
                Sample { kind: Kind::Tcp { source, destination, flags: flags.0 }, ..syn.clone() }
            }
            _ => unreachable!(),
        };
        assert_eq!(on(&mut judge, &flags(Flags::ACK).frame(), later).fate, Fate::Pass);
        // And not for ever.
        assert_eq!(on(&mut judge, &syn.frame(), NOW + 301 * SECOND).fate, Fate::Challenge);
        let ack = on(&mut judge, &flags(Flags::ACK).frame(), NOW + 301 * SECOND);
        assert_eq!(ack.fate, Fate::Drop(Reason::Rule));
    }
}

#[test]
fn a_flood_of_syns_of_invented_sources_leaves_no_trace() {
    let mut judge = judge(TCP);
    for n in 0..50_000_u32 {
        let source = std::net::Ipv4Addr::from(0xc613_0000 + n).into();
        let syn = Sample { source, ..segment(Flags::SYN) };
        assert_eq!(on(&mut judge, &syn.frame(), NOW).fate, Fate::Challenge);
        let stray = Sample { source, ..segment(Flags::ACK) };
        assert_eq!(on(&mut judge, &stray.frame(), NOW).fate, Fate::Drop(Reason::Rule));
    }
    let syn = segment(Flags::SYN);
    let reset = answer(&mut judge, &syn, NOW);
    assert_eq!(on(&mut judge, &reset, NOW).fate, Fate::Drop(Reason::Answer));
    assert_eq!(on(&mut judge, &syn.frame(), NOW).fate, Fate::Pass);
}

#[test]
fn what_is_known_passes_the_rule_that_asks() {
    let mut judge = judge(TCP);
    let frame = segment(Flags::ACK).frame();
    let known = Standings { known: true, ..UNKNOWN };
    assert_eq!(judge.judge(&frame, frame.len(), known, NOW).fate, Fate::Pass);
    assert_eq!(on(&mut judge, &frame, NOW).fate, Fate::Drop(Reason::Rule));
}

#[test]
fn without_a_rule_that_challenges_a_reset_is_nobodys_answer() {
    let mut judge = judge("all: pass when tcp\ndefault drop\n");
    let reset = answer(&mut judge, &segment(Flags::SYN), NOW);
    assert_eq!(on(&mut judge, &reset, NOW).fate, Fate::Pass);
}

#[test]
fn parts_of_a_datagram_have_one_verdict_by_its_first() {
    for v6 in [false, true] {
        let mut judge = judge("ntp: drop when udp.srcport == 123\n");
        let whole = if v6 {
            Sample { kind: Sample::udp(b"").kind, ..Sample::tcp_v6(0) }
        } else {
            Sample::udp(b"payload!")
        };
        let piece = |part| Sample { part, ..whole.clone() }.frame();
        // The later one of the samples starts 800 octets in.
        let early = on(&mut judge, &piece(Piece::Later), NOW);
        assert_eq!((early.fate, early.rule), (Fate::Hold, None));
        let part = judge.take_early().unwrap();
        assert_eq!(judge.first_parts().ask(&part, NOW), Step::Early);
        let alone = piece(Piece::Later);
        let alone = judge.judge_alone(&alone, alone.len(), UNKNOWN, NOW);
        assert_eq!((alone.fate, alone.why), (Fate::Pass, Why::Alone));

        let first = on(&mut judge, &piece(Piece::First), NOW);
        assert_eq!((first.fate, first.rule), (Fate::Drop(Reason::Rule), Some(0)));
        let later = on(&mut judge, &piece(Piece::Later), NOW);
        assert_eq!((later.fate, later.rule), (Fate::Drop(Reason::Rule), Some(0)));
        assert_eq!(later.why, Why::FirstPart);
        let Step::Follow(verdict) = judge.first_parts().ask(&part, NOW) else { panic!() };
        assert_eq!(judge.follow(verdict).fate, Fate::Drop(Reason::Rule));
        assert_eq!(judge.book().tallies()[0], Tally { met: 1, ended: 3, would: 0 });
    }
}

#[test]
fn a_syn_in_parts_is_not_answered_and_takes_its_parts_along() {
    let mut judge = judge(TCP);
    let syn = Sample { part: Piece::First, ..segment(Flags::SYN) };
    let mut frame = syn.frame();
    assert_eq!(on(&mut judge, &frame, NOW).fate, Fate::Challenge);
    assert_eq!(judge.answer(&mut frame, NOW), None);
    let later = Sample { part: Piece::Later, payload: vec![0; 8], ..syn };
    assert_eq!(on(&mut judge, &later.frame(), NOW).fate, Fate::Drop(Reason::Challenge));
}

#[test]
fn the_next_generation_goes_on_with_counts_and_buckets_of_the_same_name() {
    let old = rules(
        "gone: drop when ip.src == 198.18.7.9\n\
         each: limit 1 packets/s burst 2 per source of 64 when udp\n\
         other: limit 1 packets/s burst 2 per source of 64 when tcp\n\
         pass: pass when udp\n",
    );
    let new = rules(
        "pass: pass when tcp\n\
         other: limit 1 packets/s burst 2 per destination of 64 when udp\n\
         each: limit 1 packets/s burst 1 per source of 64 when udp\n\
         fresh: drop when ip.src == 198.18.7.8\n",
    );
    let mut judge = Judge::new(old.book(Key::fixed(1)), Key::fixed(1));
    fates(&mut judge, &[from(1), from(1), from(1), from(2)]);
    let carry = Carry::between(old.set(), new.set());
    let before = judge.succeed(new.book(Key::fixed(1)), &carry);
    assert_eq!(before.tallies().len(), 4);
    let tally = |met, ended| Tally { met, ended, would: 0 };
    let counts = [tally(3, 3), tally(0, 0), tally(4, 1), tally(0, 0)];
    assert_eq!(judge.book().tallies(), counts);
    // The first source has spent its tokens, the second one has as many as there may be now; and
    // what limits something else than before begins anew.
    let got = fates(&mut judge, &[from(1), from(2), from(2)]);
    let over = |rule| (Fate::Drop(Reason::Limit), Some(rule));
    assert_eq!(got, [over(2), (Fate::Pass, None), over(1)]);
}

#[test]
fn a_generation_of_ten_thousand_rules_takes_over_in_no_time() {
    // The language is not what is measured: a hundred rules are read, and named anew.
    let text: String = (0..100)
        .map(|n| match n % 10 {
            0 => format!(
                "r{n}: limit {} packets/s per source of 64 when udp.dstport == {n}\n",
                n + 1
            ),
            _ => format!("r{n}: drop when udp.dstport == {n}\n"),
        })
        .collect();
    let few = rules(&text);
    let mut set = few.set().clone();
    set.rules = (0..10_000)
        .map(|n| Rule { name: format!("r{n}").into(), ..few.set().rules[n % 100].clone() })
        .collect();
    let matcher = std::sync::Arc::new(Matcher::compile(&set).unwrap());
    let book = || Book::new(std::sync::Arc::clone(&matcher), &set, Key::fixed(1));
    let carry = Carry::between(&set, &set);
    let mut judge = Judge::new(book(), Key::fixed(1));
    let times: Vec<std::time::Duration> = (0..9)
        .map(|_| {
            let next = book();
            let start = std::time::Instant::now();
            let before = judge.succeed(next, &carry);
            let took = start.elapsed();
            drop(before);
            took
        })
        .collect();
    let least = times.iter().min().unwrap();
    // 10,000 steps of some nanoseconds; of a debug build some tens.
    assert!(*least < std::time::Duration::from_millis(10), "{times:?}");
}

#[test]
fn limits_with_more_memory_than_there_may_be_are_refused() {
    let text: String = (0..5)
        .map(|n| format!("r{n}: limit 1 packets/s per source of 4194304 when udp\n"))
        .collect();
    let error = Rules::read(&text, "test", Path::new("")).unwrap_err().to_string();
    let said = "limits with 20971520 buckets in all, at most 16777216; say `of N` behind `per` to \
                keep fewer, or use fewer limits";
    assert_eq!(error, said);
}

#[test]
fn a_rule_says_how_far_it_looks() {
    for (when, reach) in [
        ("udp", 0),
        ("payload[3] == 1", 4),
        ("payload[3:2] == 1 and payload[0] == 1", 5),
        ("payload[-1] == 1", usize::MAX),
        ("payload contains \"abc\"", usize::MAX),
        ("dns.qry.type == 255", 512),
        ("not (inner and udp)", 512),
    ] {
        let book = rules(&format!("a: drop when {when}\n")).book(Key::fixed(1));
        assert_eq!(book.reach(), reach, "{when}");
        let frame = from(1).frame();
        assert_eq!(book.looks_beyond(&frame, frame.len()), reach > 7, "{when}");
    }
}

#[test]
fn a_verdict_that_is_the_kernels_is_wished_for_once_in_its_time() {
    let mut judge = judge(
        "bad: drop for 10s per source when ip.src == 198.18.7.1\n\
         good: pass for 1s per flow when udp\n",
    );
    for _ in 0..5 {
        fates(&mut judge, &[from(1), from(2), segment(Flags::ACK)]);
    }
    let wishes = judge.take_wishes(Wishes::room());
    let source = Owner::Source([198, 18, 7, 1].into());
    let bad = Wish { owner: source, passes: false, rule: 0, until_ns: NOW + 10 * SECOND };
    assert_eq!(wishes.len(), 2, "{wishes:?}");
    assert_eq!(wishes[0], bad);
    assert!(matches!(wishes[1].owner, Owner::Flow(_)), "{wishes:?}");
    assert_eq!((wishes[1].passes, wishes[1].until_ns), (true, NOW + SECOND));
    // Its time is over.
    on(&mut judge, &from(2).frame(), NOW + SECOND);
    assert_eq!(judge.take_wishes(Wishes::room()).len(), 1);
}
