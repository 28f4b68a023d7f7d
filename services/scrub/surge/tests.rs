//! Floods and crowds, by facts and time.

use super::*;
use crate::scrub::facts::Standings;
use crate::scrub::facts::testing::udp_v4;

const SECOND: u64 = WINDOW_NS;

/// A datagram from one of so many sources.
fn from(source: u32, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut frame = udp_v4(ports.0, ports.1, data);
    frame[26..30].copy_from_slice(&(0x0b00_0000 + source).to_be_bytes());
    frame
}

fn meet(surge: &mut Surge, frame: &[u8], now_ns: u64) -> bool {
    let facts = Facts::of(frame, frame.len(), Standings::default()).unwrap();
    surge.meet(&facts, now_ns)
}

/// Packets that surge of so many a second, for two seconds.
fn surging(per_second: u32, mut frame: impl FnMut(u32) -> Vec<u8>) -> [u32; 2] {
    let mut surge = Surge::new(Key::fixed(1));
    [0, 1].map(|second| {
        let mut surging = 0;
        for number in 0..per_second {
            let now_ns = second * SECOND + u64::from(number) * SECOND / u64::from(per_second);
            surging += u32::from(meet(&mut surge, &frame(number), now_ns));
        }
        surging
    })
}

#[test]
fn an_unknown_reflection_surges_by_its_port() {
    let [first, second] = surging(30_000, |number| {
        let data = number.wrapping_mul(0x9e37_79b9).to_be_bytes().repeat(1 + number as usize % 40);
        from(number % 500, (9955, 20_000 + (number % 40_000) as u16), &data)
    });
    // The kinds that differ by payload take a packet or two from it until it has its place.
    assert!((19_900..=20_000).contains(&first), "{first}");
    assert_eq!(second, 30_000, "it is known from the second before");
}

#[test]
fn copies_with_forged_sources_surge_by_what_they_have_in_common() {
    let [first, second] = surging(30_000, |number| {
        from(number, (1024 + (number % 60_000) as u16, 27015), b"the same each time")
    });
    assert!((19_900..=20_000).contains(&first), "{first}");
    assert_eq!(second, 30_000);
}

#[test]
fn what_is_rare_or_of_few_never_surges() {
    let rare = surging(PACKETS_PER_SECOND, |number| from(number, (9955, 80), b"x"));
    assert_eq!(rare, [0, 0], "at the bound is not above it");
    let one = surging(40_000, |_| from(1, (9955, 80), b"x"));
    assert_eq!(one, [0, 0], "one source");
    let few = surging(40_000, |number| from(number % 20, (9955, 80), b"x"));
    assert_eq!(few, [0, 0], "twenty sources");
}

#[test]
fn users_who_differ_do_not_surge() {
    // Questions of DNS and first packets of QUIC begin with numbers of their own.
    let users = surging(40_000, |number| {
        let data = number.wrapping_mul(0x9e37_79b9).to_be_bytes().repeat(8);
        from(number % 5000, (1024 + (number.wrapping_mul(7919) % 60_000) as u16, 53), &data)
    });
    assert_eq!(users, [0, 0]);
    // Peers that speak from the port to which they speak.
    let peers = surging(40_000, |number| {
        from(number % 5000, (500, 500), &number.wrapping_mul(0x9e37_79b9).to_be_bytes().repeat(8))
    });
    assert_eq!(peers, [0, 0]);
}

#[test]
fn a_surge_is_over_a_second_after_it_ended_and_clocks_may_jump() {
    let mut surge = Surge::new(Key::fixed(1));
    let packet = |number: u32| from(number, (9955, 80), b"x");
    for number in 0..20_000 {
        meet(&mut surge, &packet(number), SECOND / 2);
    }
    assert!(meet(&mut surge, &packet(1), SECOND / 2));
    assert!(meet(&mut surge, &packet(1), SECOND));
    assert!(!meet(&mut surge, &packet(1), 3 * SECOND));
    assert!(!meet(&mut surge, &packet(1), u64::MAX));
    assert!(!meet(&mut surge, &packet(1), 0));
}

#[test]
fn a_flood_of_things_that_differ_washes_no_surge_out() {
    let mut surge = Surge::new(Key::fixed(1));
    let mut surging = 0;
    for number in 0..120_000_u32 {
        let now_ns = u64::from(number) * SECOND / 60_000;
        let data = number.wrapping_mul(0x9e37_79b9).to_be_bytes().repeat(3);
        meet(
            &mut surge,
            &from(number, (1024 + (number % 60_000) as u16, number as u16), &data),
            now_ns,
        );
        surging += u32::from(meet(&mut surge, &from(number % 900, (9955, 80), b"x"), now_ns));
    }
    assert!(surging > 105_000, "{surging}");
}

#[test]
fn tcp_is_for_the_challenge_and_what_is_no_ip_for_nobody() {
    let mut surge = Surge::new(Key::fixed(1));
    let segment = crate::scrub::facts::testing::tcp_v4(1, 2, 0x10);
    let arp = crate::scrub::facts::testing::frame(0x0806, &[0; 28]);
    for _ in 0..50_000 {
        assert!(!meet(&mut surge, &segment, 0));
        assert!(!meet(&mut surge, &arp, 0));
    }
}

#[test]
fn bits_stand_for_sources_as_linear_counting_has_it() {
    assert_eq!([1, 2, 64, 100].map(bits_of), [1, 1, 50, 69]);
}
