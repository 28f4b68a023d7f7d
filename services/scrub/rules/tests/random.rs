//! Random expressions, random packets, random damage.

use super::super::testing::{Random, condition, damaged, expression, packet, test};
use super::super::{contradiction, oracle};
use super::*;
use crate::scrub::facts::{Facts, Standings};

fn standings(random: &mut Random) -> Standings {
    let [known, verified, surging] = [300; 3].map(|often| random.chance(often));
    Standings { known, verified, surging }
}

#[test]
fn every_expression_reads_back_from_its_text() {
    let mut random = Random::seeded();
    for _ in 0..3_000 {
        let one = expression(&mut random, 4);
        let text = one.to_string();
        let again = condition(&text).unwrap_or_else(|mistake| panic!("{mistake}"));
        assert_eq!(again, one, "{text}");
    }
}

#[test]
fn every_kind_of_test_holds_of_some_packets_and_not_of_others() {
    let mut random = Random::seeded();
    let packets: Vec<Vec<u8>> = (0..400).map(|_| packet(&mut random)).collect();
    let mut held = std::collections::BTreeMap::<String, [usize; 2]>::new();
    for _ in 0..2_000 {
        let one = test(&mut random);
        let kind = format!("{one:?}").split([' ', '(']).next().unwrap().to_owned();
        let one = Expression::Test(one);
        for _ in 0..20 {
            let frame = random.pick(&packets);
            let standing = standings(&mut random);
            let Ok(facts) = Facts::of(frame, frame.len(), standing) else { continue };
            held.entry(kind.clone()).or_default()[usize::from(oracle::holds(&one, &facts))] += 1;
        }
    }
    assert_eq!(held.len(), 10, "{held:?}");
    for (kind, [no, yes]) in held {
        assert!(yes > 0 && no > 10, "{kind}: {yes} yes, {no} no");
    }
}

#[test]
fn what_is_called_impossible_is_met_by_no_packet() {
    let mut random = Random::seeded();
    let packets: Vec<Vec<u8>> = (0..400).map(|_| packet(&mut random)).collect();
    let (mut impossible, mut met) = (0, 0);
    for _ in 0..4_000 {
        let one = expression(&mut random, 3);
        let why = contradiction::of(&one);
        impossible += usize::from(why.is_some());
        for _ in 0..40 {
            let frame = random.pick(&packets);
            let standing = standings(&mut random);
            let Ok(facts) = Facts::of(frame, frame.len(), standing) else { continue };
            let holds = oracle::holds(&one, &facts);
            met += usize::from(holds);
            assert!(!(holds && why.is_some()), "{one}: {why:?}\n{frame:02x?}");
        }
    }
    assert!(impossible > 200 && met > 2_000, "{impossible} impossible, {met} met");
}

#[test]
fn a_text_that_is_damaged_is_read_or_its_mistakes_are_shown() {
    let mut random = Random::seeded();
    let pieces = [
        "set a = { 198.18.0.0/24, $b }",
        "set b = file \"b.txt\"",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\"",
        "\\x",
        "#",
        "\n",
        "\n  ",
        "$a",
        "==",
        "!=",
        "&",
        "not ",
        "and",
        " in ",
        "payload[-4:4]",
        "dns.qry.name",
        "\"*.a.b\"",
        "cbpf \"1,6 0 0 1\"",
        "p0f \"",
        "limit 5 pps per source/24",
        "drop for 10s per flow",
        "when",
        "é",
        "\0",
        "0x",
        "..",
        "99999999999999999999",
        "::",
        "1-",
        "-1",
        "udp port",
        "default",
        "preset dns",
        "true",
        "when not",
    ];
    let mut right = 0;
    for _ in 0..3_000 {
        let mut text = String::from("set a = {::1, 10.0.0.0/8}\nset p = {53 80-90}\n");
        for index in 0..1 + random.below(3) {
            text += &format!("r{index}: drop when {}\n", expression(&mut random, 2));
        }
        for _ in 0..random.below(4) {
            let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            places.push(text.len());
            let at = random.below(places.len());
            let behind = places[(at + random.below(4)).min(places.len() - 1)];
            match random.below(3) {
                0 => text.insert_str(places[at], random.pick::<&str>(&pieces)),
                1 => text.replace_range(places[at]..behind, ""),
                _ => text.truncate(places[at.max(places.len() * 3 / 4)]),
            }
        }
        let lines = text.split('\n').count();
        match with_files(&text, &[("b.txt", "2001:db8::/32\n")]) {
            Ok(_) => right += 1,
            Err(mistakes) => {
                assert!((1..=50).contains(&mistakes.len()));
                for mistake in mistakes {
                    let shown = mistake.to_string();
                    assert!(shown.contains('^') && !mistake.allowed.is_empty(), "{shown}");
                    let here = &*mistake.file == "test.rules";
                    assert!(!here || (1..=lines).contains(&(mistake.line as usize)), "{shown}");
                }
            }
        }
    }
    assert!((300..2_700).contains(&right), "{right} right");
}

#[test]
fn no_octets_make_facts_or_the_oracle_panic() {
    let mut random = Random::seeded();
    let captured = crate::scrub::facts::tests::captured();
    let expressions: Vec<Expression> = (0..60).map(|_| expression(&mut random, 3)).collect();
    let (mut read, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut frame =
            if random.chance(500) { packet(&mut random) } else { random.pick(&captured).clone() };
        damaged(&mut random, &mut frame);
        let octets = frame.len() + if random.chance(200) { 1000 } else { 0 };
        let Ok(facts) = Facts::of(&frame, octets, Standings::default()) else {
            refused += 1;
            continue;
        };
        read += 1;
        oracle::holds(&expressions[round % expressions.len()], &facts);
        for scope in [field::Scope::Outer, field::Scope::Inner] {
            for &field in field::NumberField::ALL {
                let number = facts.number(scope, field).unwrap_or(0);
                assert!(number >> field.bits() == 0, "{field} {number} in {frame:02x?}");
            }
            for &layer in field::Layer::ALL {
                facts.has(scope, layer);
            }
            let (bounds, payload) = (frame.as_ptr_range(), facts.payload(scope).as_ptr_range());
            let within = bounds.start <= payload.start && payload.end <= bounds.end;
            assert!(within || facts.payload(scope).is_empty());
            assert!(facts.query_name(scope).is_none_or(|name| (1..=255).contains(&name.len())));
        }
    }
    assert!(read > 5_000 && refused > 1_000, "{read} read, {refused} refused");
}
