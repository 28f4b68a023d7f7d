//! Files: of other links, cut, broken, the same, full.

use std::fs;

use tidegate_dataplane::pcap::Record;

use super::super::{Failure, FileError, Request, run};
use super::craft::{Capture, Dice, Place, datagram, judge, judge_made, read, shipped};

/// A flood that shape alone stops, and one user who is answered.
fn mixed() -> Capture {
    let mut dice = Dice::new(1);
    let victim = ("198.18.7.7".parse().unwrap(), 53);
    let user = ("203.0.113.9".parse().unwrap(), 40_000);
    let mut capture = Capture::new();
    for _ in 0..100 {
        let answer = [&[0xd7, 0, 3, 0x2a][..], &dice.bytes(436)].concat();
        capture.add(datagram((dice.address(), 123), (victim.0, 4444), &answer));
        capture.add(datagram(user, victim, b"asks"));
        capture.add(datagram(victim, user, b"answers"));
    }
    capture
}

fn relinked(capture: &Capture, link_type: u32, header: &[u8]) -> Capture {
    let mut other = capture.clone();
    for Record { bytes, original_len, link_type: link, .. } in &mut other.records {
        bytes.splice(..14, header.iter().copied());
        *original_len = bytes.len().try_into().unwrap();
        *link = link_type;
    }
    other
}

#[test]
fn packets_of_every_link_are_judged_alike_and_kept_as_they_are() {
    let ethernet = mixed();
    let cooked = [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &[8, 0]].concat();
    let cooked2 = [&[8, 0][..], &[0; 18]].concat();
    let links: [(u32, &[u8]); 7] = [
        (101, &[]),
        (228, &[]),
        (113, &cooked),
        (276, &cooked2),
        (0, &[2, 0, 0, 0]),
        (108, &[0, 0, 0, 2]),
        (9, &[0xff, 3, 0, 0x21]),
    ];
    for capture in [ethernet.clone()]
        .into_iter()
        .chain(links.map(|(link, header)| relinked(&ethernet, link, header)))
    {
        let link = capture.records[0].link_type;
        let summary = judge_made(&capture, true);
        assert_eq!((summary.passed, summary.dropped), (200, 100), "link {link}: {summary}");
        assert_eq!(summary.by(), [("ntp_private", 100)], "link {link}");
    }
    // One file may have several; what is not read passes, and is said.
    let mut both = ethernet.clone();
    both.records.extend(relinked(&ethernet, 147, &[]).records);
    let summary = judge_made(&both, true);
    assert_eq!((summary.passed, summary.dropped), (500, 100), "{summary}");
    assert!(summary.to_string().contains("300 packets passed unread: of a link"), "{summary}");
}

#[test]
fn packets_that_the_capture_cut_are_judged_by_what_is_left() {
    for snap in [60, 64, 96, 128] {
        let mut capture = mixed();
        for record in &mut capture.records {
            record.bytes.truncate(snap);
        }
        let summary = judge_made(&capture, true);
        assert_eq!((summary.passed, summary.dropped), (200, 100), "{snap}: {summary}");
    }
}

#[test]
fn each_dropped_packet_says_why_in_its_comment() {
    let place = Place::new();
    let input = place.write("in.pcapng", &mixed().records);
    let (passed, dropped) = (place.file("p"), place.file("d"));
    let request = Request { read: &input, passed: &passed, dropped: &dropped, engaged: true };
    let mut lines = Vec::new();
    run(&request, &shipped(), Some(&mut lines)).unwrap();
    let count = |octets: &[u8], text: &str| {
        octets.windows(text.len()).filter(|it| *it == text.as_bytes()).count()
    };
    let octets = fs::read(&dropped).unwrap();
    let why = "rule ntp_private (rule): drop when udp.srcport == 123 and payload[0] & 0x87 == 0x87";
    assert_eq!(count(&octets, why), 100);
    assert_eq!(count(&fs::read(&passed).unwrap(), "rule"), 0);
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines.lines().count(), 300);
    assert!(lines.starts_with(&format!("1 dropped: {why}")), "{lines:.200}");
    assert!(
        lines.contains("\n2 passed: default (pass): no rule ended it, of a conversation\n"),
        "{lines:.900}"
    );
}

#[test]
fn a_capture_that_breaks_off_is_judged_up_to_there_and_says_so() {
    let place = Place::new();
    let whole = place.write("whole.pcapng", &mixed().records);
    let octets = fs::read(whole).unwrap();
    let cut = place.file("cut.pcapng");
    fs::write(&cut, &octets[..octets.len() - 5]).unwrap();
    let summary = judge(cut.clone(), true);
    assert_eq!((summary.packets, read(cut).len()), (299, 299));
    let broken = summary.broken.unwrap();
    assert!(broken.ends_with("after 299 records: the file breaks off"), "{broken}");
}

#[track_caller]
fn refusal(request: &Request<'_>) -> FileError {
    match run(request, &shipped(), None) {
        Err(Failure::File(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_are_one_or_none_or_full_are_refused_and_named() {
    let place = Place::new();
    let read = place.write("in.pcapng", &mixed().records);
    let before = fs::read(&read).unwrap();
    let (passed, dropped) = (place.file("p.pcapng"), place.file("d.pcapng"));
    let good = Request { read: &read, passed: &passed, dropped: &dropped, engaged: true };
    let link = place.file("link.pcapng");
    std::os::unix::fs::symlink(&read, &link).unwrap();
    for request in [
        Request { passed: &read, ..good },
        Request { dropped: &read, ..good },
        Request { dropped: &link, ..good },
        Request { dropped: &passed, ..good },
    ] {
        let refusal = refusal(&request).to_string();
        assert!(
            refusal.contains("are the same file, ") && refusal.ends_with(": name another"),
            "{refusal}"
        );
    }
    assert_eq!(fs::read(&read).unwrap(), before, "untouched");
    let full = std::path::Path::new("/dev/full");
    let refusal_of = |request: Request<'_>| refusal(&request).to_string();
    let said = refusal_of(Request { dropped: full, ..good });
    assert!(said.starts_with("capture /dev/full: ") && said.contains("No space left"), "{said}");
    let said = refusal_of(Request { passed: &place.0.join("no/such"), ..good });
    assert!(said.contains("no/such: No such file"), "{said}");
    let said = refusal_of(Request { read: &place.file("missing"), ..good });
    assert!(said.contains("missing: No such file"), "{said}");
    let said = refusal_of(Request { read: &place.0, ..good });
    assert!(said.contains("is a directory"), "{said}");
    let said = refusal_of(Request { read: "/dev/zero".as_ref(), ..good });
    assert!(said.contains("/dev/zero: no regular file, but it is read twice"), "{said}");
    let text = place.file("text");
    fs::write(&text, "no capture at all, but long enough to look like one").unwrap();
    let said = refusal_of(Request { read: &text, ..good });
    assert!(said.contains("no pcap or pcapng file"), "{said}");
    assert!(
        run(
            &Request { passed: "/dev/null".as_ref(), dropped: "/dev/null".as_ref(), ..good },
            &shipped(),
            None
        )
        .is_ok()
    );
}

#[test]
fn every_damaged_capture_is_judged_or_refused_but_never_panics() {
    let place = Place::new();
    let mut capture = mixed();
    capture.records.truncate(6);
    let whole = fs::read(place.write("whole.pcapng", &capture.records)).unwrap();
    let mut dice = Dice::new(12);
    let (passed, dropped, damaged) = (place.file("p"), place.file("d"), place.file("damaged"));
    for _ in 0..60 {
        let mut octets = whole.clone();
        for _ in 0..=dice.below(4) {
            let place = usize::try_from(dice.below(octets.len() as u64)).unwrap();
            octets[place] = dice.byte();
        }
        octets.truncate(usize::try_from(1 + dice.below(2 * octets.len() as u64)).unwrap());
        fs::write(&damaged, &octets).unwrap();
        for engaged in [false, true] {
            let request = Request { read: &damaged, passed: &passed, dropped: &dropped, engaged };
            if let Ok(summary) = run(&request, &shipped(), None) {
                let written = (read(&passed).len() as u64, read(&dropped).len() as u64);
                assert_eq!((summary.passed, summary.dropped), written);
                assert_eq!(summary.passed + summary.dropped, summary.packets);
            }
        }
    }
}
