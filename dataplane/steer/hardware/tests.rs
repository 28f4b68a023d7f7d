//! Taking a card and giving it back, on cards in memory: done, refused half way, killed at every
//! step, and changed by somebody else meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

use super::testing::{Fake, Fault, Killed, Random, Rules, Settings};
use super::*;
use crate::steer::{Fragments, Protocol};
use crate::sys::ethtool::rule::Rule;

/// A directory for the records of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-hardware-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn place() -> Place {
    Place {
        boot: "a-boot".into(),
        namespace: 4_026_531_840,
        ifindex: 3,
        address: [2, 0, 0, 0, 0, 1],
        driver: "igb".into(),
    }
}

fn aim(port: u16, queue: u32) -> Aim {
    let selector = Selector {
        destination: "198.18.0.1".parse().unwrap(),
        source: None,
        protocol: Protocol::UDP,
        destination_ports: Some(port..=port),
        fragments: Fragments::Pass,
        protection: None,
    };
    Aim { selector, queue }
}

fn options(folder: &Folder, mode: Mode, taken: &[u32], aims: &[Aim]) -> Options {
    let (interface, records) = ("eth1".into(), folder.0.clone());
    Options { interface, mode, taken: taken.to_vec(), aims: aims.to_vec(), records }
}

fn take(card: &Fake, options: &Options) -> Result<Option<Hardware>, Error> {
    Hardware::take_card(Box::new(card.clone()), &place(), options)
}

/// The rule that `aim` makes.
fn rule(aim: &Aim) -> Rule {
    let rules = ntuple::rules(&aim.selector, aim.queue);
    <[Rule; 1]>::try_from(rules).unwrap()[0]
}

#[test]
fn rss_keeps_the_taken_queue_out_and_puts_the_default_back_as_the_default() {
    let (card, folder) = (Fake::new(4, Rules::Never), Folder::new());
    let before = card.settings();
    let hardware = take(&card, &options(&folder, Mode::Rss, &[1], &[])).unwrap().unwrap();
    let during = card.settings();
    assert!(!during.table.contains(&1) && during.is_table_by_hand, "{during:?}");
    let seen = hardware.seen();
    assert_eq!((&*seen.isolated, seen.table), (&[1][..], Table::Ours));
    assert_eq!(folder.files(), ["steering-4026531840-3.json"]);

    hardware.put_back().unwrap();
    assert_eq!(card.settings(), before, "not as set by hand, either");
    assert_eq!(folder.files(), [""; 0]);
    assert_eq!(hardware.seen(), Seen::default());
    card.operator(|it| it.table.fill(2));
    drop(hardware);
    assert_eq!(card.settings().table, [2; 16], "once is enough");
}

#[test]
fn a_table_that_is_not_the_default_is_put_back_entry_by_entry() {
    let (card, folder) = (Fake::igb(4), Folder::new());
    let before = card.settings();
    drop(take(&card, &options(&folder, Mode::Rss, &[0, 3], &[])).unwrap().unwrap());
    let after = card.settings();
    assert_eq!(after.table, before.table);
    assert!(after.is_table_by_hand, "this cannot be had as well");
    assert_eq!(folder.files(), [""; 0]);
}

#[test]
fn a_table_without_the_taken_queue_is_left_as_it_is() {
    let (card, folder) = (Fake::new(4, Rules::Never), Folder::new());
    card.operator(|it| it.table = [0, 1].repeat(8));
    let before = card.settings();
    let hardware = take(&card, &options(&folder, Mode::Rss, &[2], &[])).unwrap().unwrap();
    let seen = hardware.seen();
    assert_eq!((&*seen.isolated, seen.table), (&[2][..], Table::AsFound));
    assert_eq!((card.changes(), folder.files().len()), (0, 0));
    drop(hardware);
    assert_eq!(card.settings(), before);
}

#[test]
fn xdp_changes_nothing_and_leaves_no_file() {
    let (card, folder) = (Fake::new(4, Rules::Switched), Folder::new());
    assert!(take(&card, &options(&folder, Mode::Xdp, &[0], &[aim(53, 0)])).unwrap().is_none());
    assert_eq!((card.changes(), folder.files().len()), (0, 0));
}

#[test]
fn what_a_driver_cannot_is_said_and_nothing_is_changed() {
    let folder = Folder::new();
    let refused = |card: &Fake, mode, taken: &[u32]| {
        let before = card.settings();
        let error = take(card, &options(&folder, mode, taken, &[aim(53, 0)])).unwrap_err();
        assert_eq!(card.settings(), before);
        assert_eq!(folder.files(), [""; 0]);
        error
    };
    let bare = Fake::new(4, Rules::Unknown);
    bare.operator(|it| it.table.clear());
    assert!(matches!(refused(&bare, Mode::Rss, &[0]), Error::NoTable { .. }));
    assert!(matches!(refused(&bare, Mode::Ntuple, &[0]), Error::NoRules { .. }));
    let igb = Fake::igb(4);
    assert!(matches!(refused(&igb, Mode::Ntuple, &[0]), Error::NoRules { .. }));
    let all = refused(&igb, Mode::Rss, &[0, 1, 2, 3]);
    assert!(matches!(all, Error::AllTaken { rings: 4, .. }), "{all:?}");
}

#[test]
fn ntuple_adds_a_rule_for_each_selector_and_removes_them() {
    for (rules, locations) in [(Rules::Switched, [6, 7]), (Rules::Chooses, [7, 6])] {
        let (card, folder) = (Fake::new(4, rules), Folder::new());
        let before = card.settings();
        let aims = [aim(53, 2), aim(5004, 3)];
        let options = options(&folder, Mode::Ntuple, &[2, 3], &aims);
        let hardware = take(&card, &options).unwrap().unwrap();
        let during = card.settings();
        for (aim, location) in aims.iter().zip(locations) {
            assert_eq!(during.rules[&location], rule(aim), "{rules:?}");
        }
        assert!(during.ntuple);
        let seen = hardware.seen();
        assert_eq!(seen.isolated, [2, 3]);
        let told: Vec<_> =
            seen.rules.iter().map(|it| (it.location, it.selector, it.queue)).collect();
        assert_eq!(told, [(locations[0], 0, 2), (locations[1], 1, 3)]);
        assert!(seen.rules.iter().all(|it| it.in_place));
        assert_eq!(&*seen.rules[0].flow, "flow-type udp4 dst-ip 198.18.0.1 dst-port 53");
        drop(hardware);
        assert_eq!(card.settings(), before, "{rules:?}");
        assert_eq!(folder.files(), [""; 0]);
    }
}

#[test]
fn ntuple_goes_on_without_a_table_and_says_so() {
    let (card, folder) = (Fake::new(2, Rules::Switched), Folder::new());
    card.operator(|it| it.table.clear());
    let with = options(&folder, Mode::Ntuple, &[0, 1], &[aim(53, 1)]);
    let hardware = take(&card, &with).unwrap().unwrap();
    let seen = hardware.seen();
    assert_eq!((seen.isolated.len(), seen.table, seen.rules.len()), (0, Table::Missing, 1));
    assert_eq!(
        seen.remarks,
        ["other packets come to queue 0 and 1 as well: igb has no RSS table".into()]
    );
    drop(hardware);

    let card = Fake::new(2, Rules::Switched);
    let seen = take(&card, &with).unwrap().unwrap().seen();
    assert_eq!(seen.remarks, ["other packets come to queue 0 and 1 as well: all are taken".into()]);
    assert_eq!(seen.table, Table::AsFound);
}

#[test]
fn a_driver_that_shows_rules_in_other_words_is_understood() {
    let (card, folder) = (Fake::new(4, Rules::Switched).odd(), Folder::new());
    card.operator(|it| it.table.clear());
    let before = card.settings();
    let aims = [aim(53, 2), aim(54, 2)];
    let hardware = take(&card, &options(&folder, Mode::Ntuple, &[2], &aims)).unwrap().unwrap();
    assert_eq!(card.settings().rules.len(), 2);
    drop(hardware);
    assert_eq!(card.settings(), before);
}

#[test]
fn a_driver_that_shows_another_table_than_it_took_is_refused() {
    let (card, folder) = (Fake::igb(4).odd(), Folder::new());
    let before = card.settings();
    let error = take(&card, &options(&folder, Mode::Rss, &[1], &[])).unwrap_err();
    assert!(matches!(error, Error::NotKept { .. }), "{error:?}");
    // It does the same when the table is put back; all but that entry is.
    assert_eq!(card.settings().table[1..], before.table[1..]);
    assert_eq!(folder.files(), [""; 0]);
}

#[test]
fn rules_of_others_are_used_or_in_the_way_and_stay() {
    let (card, folder) = (Fake::new(4, Rules::Switched), Folder::new());
    let theirs = rule(&aim(53, 2));
    card.operator(|it| {
        it.ntuple = true;
        it.rules.insert(7, theirs);
    });
    let before = card.settings();
    let with = |queue| options(&folder, Mode::Ntuple, &[2, 3], &[aim(53, queue), aim(54, 3)]);
    let hardware = take(&card, &with(2)).unwrap().unwrap();
    let told: Vec<_> = hardware.seen().rules.iter().map(|it| (it.location, it.selector)).collect();
    assert_eq!(told, [(6, 1)], "only what was missing");
    drop(hardware);
    assert_eq!(card.settings(), before);

    let error = take(&card, &with(3)).unwrap_err();
    assert!(matches!(error, Error::RuleInTheWay { location: 7, queue: 3, .. }), "{error:?}");
    assert_eq!(card.settings(), before);
}

#[test]
fn more_rules_than_there_is_room_for_are_refused_before_anything_is_changed() {
    let (card, folder) = (Fake::new(4, Rules::Switched), Folder::new());
    card.operator(|it| it.rules.extend([(0, rule(&aim(1, 0)))]));
    let aims: Vec<Aim> = (10..18).map(|port| aim(port, 1)).collect();
    let error = take(&card, &options(&folder, Mode::Ntuple, &[1], &aims)).unwrap_err();
    assert!(matches!(error, Error::TooManyRules { count: 8, room: 7, .. }), "{error:?}");
    assert_eq!(card.changes(), 0);

    let mut wide = aim(0, 1);
    wide.selector.destination_ports = Some(1..=65534);
    let aims: Vec<Aim> = (1..36)
        .map(|host| {
            let mut aim = wide.clone();
            aim.selector.destination = format!("198.18.0.{host}").parse().unwrap();
            aim
        })
        .collect();
    let error = take(&card, &options(&folder, Mode::Ntuple, &[1], &aims)).unwrap_err();
    assert!(matches!(error, Error::TooManyRules { count: 1050, room: 1024, .. }), "{error:?}");
    // The same again and again is one rule.
    let same = vec![aim(53, 1); 9];
    assert_eq!(
        take(&card, &options(&folder, Mode::Ntuple, &[1], &same))
            .unwrap()
            .unwrap()
            .seen()
            .rules
            .len(),
        1
    );
}

#[test]
fn a_card_that_chooses_and_is_full_is_put_back() {
    let (card, folder) = (Fake::new(4, Rules::Chooses), Folder::new());
    card.operator(|it| it.rules.extend([(3, rule(&aim(1, 0)))]));
    let before = card.settings();
    let aims: Vec<Aim> = (10..18).map(|port| aim(port, 1)).collect();
    let error = take(&card, &options(&folder, Mode::Ntuple, &[1], &aims)).unwrap_err();
    assert!(matches!(error, Error::TooManyRules { count: 8, room: 7, .. }), "{error:?}");
    assert_eq!(card.settings(), before);
    assert_eq!(folder.files(), [""; 0]);
}

/// Cards with their aims, on which everything is done that can be.
fn busy_cards() -> [(Fake, Vec<Aim>); 3] {
    let aims = vec![aim(53, 1), aim(54, 2), aim(55, 1)];
    let theirs = |card: Fake| {
        card.operator(|it| it.rules.extend([(5, rule(&aim(9, 0)))]));
        card
    };
    [
        (Fake::new(4, Rules::Switched), aims.clone()),
        (theirs(Fake::new(4, Rules::Chooses)), aims),
        (Fake::igb(4), Vec::new()),
    ]
}

fn mode(aims: &[Aim]) -> Mode {
    if aims.is_empty() { Mode::Rss } else { Mode::Ntuple }
}

#[test]
fn a_refusal_at_any_step_ends_with_the_card_as_it_was() {
    for (card, aims) in busy_cards() {
        let folder = Folder::new();
        let before = card.settings();
        let options = options(&folder, mode(&aims), &[1, 2], &aims);
        for step in 0.. {
            card.fault(step, Fault::Refuse(libc::EBUSY));
            let taken = take(&card, &options);
            card.no_fault();
            let done = match &taken {
                Err(error) => {
                    let told = matches!(error, Error::Os { .. } | Error::RuleRefused { .. });
                    assert!(told, "step {step}: {error:?}");
                    false
                }
                Ok(_) => true,
            };
            drop(taken);
            assert_eq!(card.settings().table, before.table, "step {step}");
            assert_eq!(card.settings().rules, before.rules, "step {step}");
            assert_eq!(card.settings().ntuple, before.ntuple, "step {step}");
            assert_eq!(folder.files(), [""; 0], "step {step}");
            if done {
                assert!(step > 0);
                break;
            }
        }
    }
}

/// Runs `work` until it ends or is killed; whether it was killed.
fn killed<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(cause) if cause.is::<Killed>() => None,
        Err(cause) => std::panic::resume_unwind(cause),
    }
}

/// A running process is killed: nothing that it would do at its end is done.
fn kill(hardware: Hardware) {
    // The kernel lets the lock go; the rest of the process just is no more.
    let state = hardware.state().take().unwrap();
    drop((state, hardware));
}

/// What the next start does, whatever its steering; and what `restore` does.
fn come_again(card: &Fake, folder: &Folder, by_start: bool) {
    if by_start {
        let xdp = options(folder, Mode::Xdp, &[0], &[]);
        assert!(take(card, &xdp).unwrap().is_none());
    } else {
        let opened = Journal::open(&folder.0, &place(), false).unwrap();
        if let Some((journal, left)) = opened {
            if let Some(record) = left {
                put_back_left(card, "eth1", &record).unwrap();
            }
            journal.remove().unwrap();
        }
    }
    assert_eq!(folder.files(), [""; 0]);
}

fn assert_as_before(card: &Fake, before: &Settings, told: &str) {
    let after = card.settings();
    assert_eq!(
        (&after.table, &after.rules, after.ntuple),
        (&before.table, &before.rules, before.ntuple),
        "{told}"
    );
}

#[test]
fn a_kill_at_any_step_is_put_right_by_the_next_start() {
    for (card, aims) in busy_cards() {
        let folder = Folder::new();
        let before = card.settings();
        let options = options(&folder, mode(&aims), &[1, 2], &aims);
        for fault in [Fault::KillBefore, Fault::KillAfter] {
            // While it is set up.
            for step in 0.. {
                card.fault(step, fault);
                let survived = killed(|| take(&card, &options).unwrap().unwrap());
                card.no_fault();
                let done = survived.is_some();
                survived.into_iter().for_each(kill);
                come_again(&card, &folder, step % 2 == 0);
                assert_as_before(&card, &before, &format!("{fault:?} at {step}"));
                if done {
                    break;
                }
            }
            // While it is put back, and while that is put right, too.
            for step in 0.. {
                let hardware = take(&card, &options).unwrap().unwrap();
                card.fault(step, fault);
                let put_back = killed(|| hardware.put_back().unwrap()).is_some();
                card.fault(step / 2, fault);
                let again = killed(|| come_again(&card, &folder, true));
                card.no_fault();
                if again.is_none() {
                    come_again(&card, &folder, false);
                }
                assert_as_before(&card, &before, &format!("put back, {fault:?} at {step}"));
                if put_back {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_somebody_else_has_changed_since_is_theirs() {
    let (card, folder) = (Fake::new(4, Rules::Switched), Folder::new());
    let with = options(&folder, Mode::Ntuple, &[1, 2], &[aim(53, 1), aim(54, 2)]);
    let theirs = rule(&aim(99, 3));
    let change = |it: &mut Settings| {
        it.table = [3, 2].repeat(8);
        it.rules.insert(7, theirs);
    };
    for by_kill in [false, true] {
        let hardware = take(&card, &with).unwrap().unwrap();
        card.operator(change);
        let seen = hardware.seen();
        assert_eq!((seen.table, &*seen.isolated), (Table::Changed, &[1][..]));
        if by_kill {
            kill(hardware);
            come_again(&card, &folder, true);
        } else {
            hardware.put_back().unwrap();
        }
        let after = card.settings();
        assert_eq!(after.table, [3, 2].repeat(8));
        assert_eq!(after.rules.into_iter().collect::<Vec<_>>(), [(7, theirs)]);
        assert!(after.ntuple, "switched off, the driver would forget their rule");
        assert_eq!(folder.files(), [""; 0]);
        card.operator(|it| {
            *it = Fake::new(4, Rules::Switched).settings();
        });
    }
}

#[test]
fn what_was_done_is_said() {
    let (card, folder) = (Fake::new(4, Rules::Switched), Folder::new());
    let with = options(&folder, Mode::Ntuple, &[1, 2], &[aim(53, 1), aim(54, 2)]);
    let undone = |change: fn(&mut Settings)| {
        let hardware = take(&card, &with).unwrap().unwrap();
        card.operator(change);
        let record = hardware.state().as_ref().unwrap().record.clone();
        kill(hardware);
        let undone = put_back_left(&card, "eth1", &record).unwrap();
        card.operator(|it| *it = Fake::new(4, Rules::Switched).settings());
        undone
    };
    let all = [Undone::RulesRemoved(2), Undone::NtupleOff, Undone::TableReset];
    assert_eq!(undone(|_| ()), all);
    assert!(all.iter().all(|it| !it.is_left()));
    let left = [
        Undone::RuleLeft { location: 7 },
        Undone::RulesRemoved(1),
        Undone::NtupleLeft,
        Undone::TableLeft,
    ];
    let changed = undone(|it| {
        it.table[0] = 3;
        let other = it.rules[&6];
        it.rules.insert(7, other);
    });
    assert_eq!(changed, left);
    let words: Vec<String> = changed.iter().map(Undone::to_string).collect();
    assert_eq!(
        words,
        [
            "somebody has put another flow rule at location 7 since; it was left alone",
            "1 flow rule was removed",
            "flow rules (ntuple) stay switched on: there are rules of somebody else, which some \
             drivers would remove",
            "somebody has changed the RSS table since; it was left alone",
        ]
    );
}

#[test]
fn a_living_owner_is_not_disturbed() {
    let (card, folder) = (Fake::new(4, Rules::Never), Folder::new());
    let first = take(&card, &options(&folder, Mode::Rss, &[1], &[])).unwrap().unwrap();
    let during = card.settings();
    for mode in [Mode::Xdp, Mode::Rss, Mode::Ntuple] {
        let error = take(&card, &options(&folder, mode, &[2], &[])).unwrap_err();
        let own = std::process::id();
        assert!(matches!(error, Error::Held { pid: Some(pid) } if pid == own), "{error:?}");
    }
    let (record, is_alive) = record::look(&folder.0, &place()).unwrap().unwrap();
    assert!(is_alive);
    assert_eq!(record.table.unwrap().taken, [1]);
    assert_eq!(card.settings(), during);
    kill(first);
    let (_, is_alive) = record::look(&folder.0, &place()).unwrap().unwrap();
    assert!(!is_alive);
    come_again(&card, &folder, true);
    assert_eq!(record::look(&folder.0, &place()).unwrap(), None);
}

#[test]
fn a_refusal_to_put_back_keeps_the_record() {
    let (card, folder) = (Fake::igb(4), Folder::new());
    let before = card.settings();
    let with = options(&folder, Mode::Rss, &[1], &[]);
    let hardware = take(&card, &with).unwrap().unwrap();
    card.fault(0, Fault::Refuse(libc::EBUSY));
    let refusal = hardware.put_back().unwrap_err();
    assert_eq!(refusal.raw_os_error(), Some(libc::EBUSY));
    drop(hardware);
    assert_eq!(folder.files().len(), 1);
    // The next start is refused as well, rather than to take ours for the operator's.
    card.fault(0, Fault::Refuse(libc::EBUSY));
    let error = take(&card, &with).unwrap_err();
    assert!(matches!(error, Error::Leftover { .. }), "{error:?}");
    card.no_fault();
    come_again(&card, &folder, true);
    assert_as_before(&card, &before, "the third");
}

#[test]
fn an_interface_that_is_gone_has_nothing_to_put_back() {
    let (card, folder) = (Fake::igb(4), Folder::new());
    let hardware = take(&card, &options(&folder, Mode::Rss, &[1], &[])).unwrap().unwrap();
    card.fault(0, Fault::Refuse(libc::ENODEV));
    hardware.put_back().unwrap();
    assert_eq!(folder.files(), [""; 0]);
    assert!(Undone::Gone.is_left());
}

/// Starts, ends, kills and changes of an operator at random: when nobody runs and nothing is left
/// over, the card is as the operator last wanted it.
#[test]
fn the_card_is_the_operators_whatever_happens() {
    let mut random = Random::seeded();
    for _ in 0..300 {
        let rules = [Rules::Never, Rules::Switched, Rules::Chooses][random.below(3) as usize];
        let (card, folder) = (Fake::new(5, rules), Folder::new());
        let mut wanted = card.settings();
        let mut running = None;
        for _ in 0..12 {
            match random.below(5) {
                // A start, perhaps killed in it. One that runs and has changed something is in its
                // way; one that has not, the XDP program on the interface is.
                0 | 1 if running.is_none() || !folder.files().is_empty() => {
                    let taken: Vec<u32> = (0..5).filter(|_| random.below(3) == 0).collect();
                    let aims: Vec<Aim> = taken.iter().map(|queue| aim(53, *queue)).collect();
                    let mode = [Mode::Xdp, Mode::Rss, Mode::Ntuple][random.below(3) as usize];
                    let with = options(&folder, mode, &taken, &aims);
                    let fault = [Fault::KillBefore, Fault::KillAfter][random.below(2) as usize];
                    card.fault(random.below(12), fault);
                    let started = killed(|| take(&card, &with));
                    card.no_fault();
                    match started {
                        Some(Ok(Some(hardware))) => {
                            assert!(running.is_none(), "two have changed one card");
                            running = Some(hardware);
                        }
                        Some(Err(Error::Held { .. })) => assert!(running.is_some()),
                        _ => {}
                    }
                }
                2 => running.take().into_iter().for_each(kill),
                3 => drop(running.take()),
                // A table of the operator's own, which counts from now on; and not while there are
                // rules or a table of ours that his would be mixed with.
                _ if folder.files().is_empty() && running.is_none() => {
                    card.operator(|it| {
                        it.table.iter_mut().for_each(|entry| *entry = random.below(5));
                        it.is_table_by_hand = true;
                    });
                    wanted = card.settings();
                }
                _ => {}
            }
            if running.is_none() && folder.files().is_empty() {
                assert_as_before(&card, &wanted, "nobody runs");
            }
        }
        drop(running);
        come_again(&card, &folder, true);
        assert_as_before(&card, &wanted, "at the end");
    }
}
