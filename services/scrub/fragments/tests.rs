//! Datagrams in parts: in order, out of order, overlapping, without end, and in floods.

use super::waiting::{End, Waiting};
use super::*;

const NOW: u64 = 1 << 40;
const MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
}

use Verdict::{Bad, Good};

fn table() -> Fragments<Verdict> {
    Fragments::new(Key::fixed(5), Bad)
}

fn part(id: u32, offset_octets: u16, octets: u16) -> Part {
    Part {
        source: "198.18.0.1".parse().unwrap(),
        destination: "198.18.0.2".parse().unwrap(),
        protocol: protocol::UDP,
        id,
        offset_octets,
        octets,
    }
}

#[test]
fn later_parts_follow_their_first_and_no_other() {
    let mut table = table();
    for (id, verdict) in [(1, Good), (2, Bad)] {
        let first = part(id, 0, 1480);
        assert_eq!(table.ask(&first, NOW), Step::Judge);
        table.remember(&first, verdict, NOW);
    }
    assert_eq!(table.ask(&part(1, 1480, 1480), NOW), Step::Follow(Good));
    assert_eq!(table.ask(&part(2, 1480, 1480), NOW), Step::Follow(Bad));
    assert_eq!(table.ask(&part(1, 2960, 100), NOW + MS), Step::Follow(Good));
    let of_one = part(1, 1480, 8);
    for other in [
        Part { id: 3, ..of_one },
        Part { protocol: 47, ..of_one },
        Part { source: of_one.destination, ..of_one },
        Part { destination: of_one.source, ..of_one },
        Part { source: "::1".parse().unwrap(), destination: "::2".parse().unwrap(), ..of_one },
    ] {
        assert_eq!(table.ask(&other, NOW), Step::Early, "{other:?}");
    }
}

#[test]
fn a_first_part_speaks_for_a_while_whatever_the_clock_does() {
    let mut table = table();
    table.remember(&part(1, 0, 8), Good, NOW);
    for (now_ns, step) in [
        (NOW + SPEAKS_NS - 1, Step::Follow(Good)),
        (NOW + SPEAKS_NS, Step::Early),
        (NOW - SPEAKS_NS, Step::Early),
        (0, Step::Early),
        (u64::MAX, Step::Early),
        (NOW, Step::Follow(Good)),
    ] {
        assert_eq!(table.ask(&part(1, 8, 8), now_ns), step, "{now_ns}");
    }
    // From both ends of time.
    for now_ns in [0, u64::MAX] {
        table.remember(&part(2, 0, 8), Good, now_ns);
        assert_eq!(table.ask(&part(2, 8, 8), now_ns), Step::Follow(Good));
    }
}

#[test]
fn parts_over_the_header_or_the_first_part_are_refused() {
    let mut table = table();
    let tcp = |offset| Part { protocol: protocol::TCP, ..part(1, offset, 8) };
    table.remember(&Part { octets: 24, ..tcp(0) }, Good, NOW);
    for (offset, step) in [(8, Step::Refuse), (16, Step::Refuse), (24, Step::Follow(Good))] {
        assert_eq!(table.ask(&tcp(offset), NOW), step, "offset {offset}");
    }
    // Also where no first part is known; elsewhere 8 octets are the whole header.
    assert_eq!(table.ask(&Part { id: 2, ..tcp(8) }, NOW), Step::Refuse);
    assert_eq!(table.ask(&part(2, 8, 8), NOW), Step::Early);
    // Into the first part, of any protocol.
    table.remember(&part(3, 0, 1480), Good, NOW);
    assert_eq!(table.ask(&part(3, 1472, 8), NOW), Step::Refuse);
    assert_eq!(table.ask(&part(3, 1480, 8), NOW), Step::Follow(Good));
}

#[test]
fn a_datagram_has_no_more_octets_than_a_datagram_has() {
    let mut table = table();
    table.remember(&part(1, 0, 1480), Good, NOW);
    let follow =
        (0..200).filter(|_| table.ask(&part(1, 1480, 1480), NOW) == Step::Follow(Good)).count();
    assert_eq!(follow, 65_535 / 1480 - 1);
    for _ in 0..5_000_000 / 1480 {
        assert_eq!(table.ask(&part(1, 1480, u16::MAX), NOW), Step::Refuse);
    }
}

#[test]
fn two_first_parts_are_both_judged_and_the_last_one_speaks() {
    let mut table = table();
    table.remember(&part(1, 0, 16), Bad, NOW);
    assert_eq!(table.ask(&part(1, 0, 8), NOW), Step::Judge);
    table.remember(&part(1, 0, 8), Good, NOW);
    assert_eq!(table.ask(&part(1, 8, 8), NOW), Step::Follow(Good));
}

#[test]
fn a_flood_of_first_parts_costs_memory_of_a_fixed_size_and_the_newest_are_kept() {
    let mut table = table();
    let many = u32::try_from(8 * DATAGRAMS).unwrap();
    for id in 0..many {
        table.remember(&part(id, 0, 8), Good, NOW + u64::from(id));
    }
    let now_ns = NOW + u64::from(many);
    let mut kept = |range: std::ops::Range<u32>| {
        range.filter(|&id| table.ask(&part(id, 8, 8), now_ns) != Step::Early).count()
    };
    assert_eq!(kept(0..many), DATAGRAMS);
    let newest = u32::try_from(DATAGRAMS / 2).unwrap();
    assert!(kept(many - newest..many) > DATAGRAMS / 2 * 95 / 100);
}

#[test]
fn identifications_that_meet_under_a_known_key_do_not_under_ours() {
    let index = |key, id| part(id, 0, 8).tag(key) & (DATAGRAMS / SLOTS - 1) as u64;
    let meet = |&id: &u32| index(Key::fixed(1), id) == 0;
    let chosen: Vec<u32> = (0..).filter(meet).take(64).collect();
    let mut table = table();
    for &id in &chosen {
        table.remember(&part(id, 0, 8), Good, NOW);
    }
    assert!(chosen.iter().all(|&id| table.ask(&part(id, 8, 8), NOW) == Step::Follow(Good)));
}

/// Who was let go, in order: what they were and how it ended.
fn ended(
    waiting: &mut Waiting<u32>,
    table: &mut Fragments<Verdict>,
    now_ns: u64,
    all: bool,
) -> Vec<(u32, End<Verdict>)> {
    std::iter::from_fn(|| waiting.next(table, now_ns, all)).collect()
}

#[test]
fn parts_before_their_first_wait_for_it_or_for_their_time() {
    let (mut table, mut waiting) = (table(), Waiting::new());
    assert_eq!(waiting.until_ns(), None);
    for (frame, id, offset) in [(10, 1, 16), (11, 2, 8), (12, 1, 8)] {
        waiting.keep(frame, part(id, offset, 8), NOW + u64::from(frame)).unwrap();
    }
    assert_eq!(waiting.until_ns(), Some(NOW + 10 + WAIT));
    assert_eq!(ended(&mut waiting, &mut table, NOW + MS, false), []);
    table.remember(&part(1, 0, 8), Good, NOW + MS);
    let follow = [(10, End::Follow(Good)), (12, End::Follow(Good))];
    assert_eq!(ended(&mut waiting, &mut table, NOW + MS, false), follow);
    assert_eq!(ended(&mut waiting, &mut table, NOW + 11 + WAIT - 1, false), []);
    assert_eq!(ended(&mut waiting, &mut table, NOW + 11 + WAIT, false), [(11, End::Alone)]);
    assert_eq!(waiting.len(), 0);
    // Nobody waits longer because time went back, and all leave at the end.
    waiting.keep(13, part(9, 8, 8), NOW).unwrap();
    assert_eq!(ended(&mut waiting, &mut table, 0, false), [(13, End::Alone)]);
    waiting.keep(14, part(9, 8, 8), NOW).unwrap();
    assert_eq!(ended(&mut waiting, &mut table, NOW, true), [(14, End::Alone)]);
    // A first part that ends where this one is already.
    waiting.keep(15, part(5, 8, 8), NOW).unwrap();
    table.remember(&part(5, 0, 16), Good, NOW);
    assert_eq!(ended(&mut waiting, &mut table, NOW, false), [(15, End::Refuse)]);
}

const WAIT: u64 = 50 * MS;

#[test]
fn no_more_wait_than_there_is_room_for() {
    let mut waiting = Waiting::new();
    let kept = (0..1000).filter(|&n| waiting.keep(n, part(n, 8, 8), NOW).is_ok()).count();
    assert_eq!((kept, waiting.len()), (64, 64));
    assert_eq!(waiting.keep(7, part(7, 8, 8), NOW), Err(7));
}
