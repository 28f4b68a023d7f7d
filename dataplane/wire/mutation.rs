//! Random damage: no frame, however broken, may make a view panic or show octets from outside the
//! frame.

use super::packet::{Network, Transport};
use super::{Dns, Gre, Packet, Rfc4175, Rtp, Vxlan, samples};

/// Marsaglia's xorshift64; `SEED=n` replays a run.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
        eprintln!("SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }
}

/// Changes a few octets, most often to values that lengths and types trip over, and sometimes cuts
/// or grows.
fn damage(frame: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(frame.len());
        frame[at] = match random.below(4) {
            0 => 0,
            1 => 0xff,
            2 => frame[at] ^ (1 << random.below(8)),
            _ => [0, 6, 17, 43, 44, 51, 58, 60, 0x45, 0x60, 0x81, 0x08][random.below(12)],
        };
    }
    match random.below(8) {
        0 => frame.truncate(random.below(frame.len()) + 1),
        1 => frame.resize(frame.len() + random.below(64), 0xa5),
        _ => {}
    }
}

/// Touches everything that a view can show; returns whether the frame was read. Read as the
/// beginning of a longer one, nothing comes from outside of it either.
fn look(frame: &[u8]) -> bool {
    look_at(frame, frame.len() + 1_000);
    look_at(frame, frame.len())
}

fn look_at(frame: &[u8], octets: usize) -> bool {
    let Ok(packet) = Packet::parse_head(frame, octets) else { return false };
    let bounds = frame.as_ptr_range();
    let payload = packet.payload().as_ptr_range();
    assert!(bounds.start <= payload.start && payload.end <= bounds.end, "{packet:?}");
    assert!(packet.ip_octets() + packet.ethernet().header_octets() <= packet.frame_octets());
    let _ = (packet.source(), packet.destination(), packet.ports(), packet.fragment());
    assert!(packet.ethernet().tags().len() <= 2);
    look_further(&packet);
    if let Ok(rtp) = Rtp::parse(packet.payload())
        && let Ok(video) = Rfc4175::parse(rtp.payload())
    {
        let octets: usize = video.rows().map(|row| row.data.len()).sum();
        assert!(octets <= rtp.payload().len());
    }
    true
}

/// Whatever the payload is, as everything that it could be.
fn look_further(packet: &Packet<'_>) {
    let payload = packet.payload();
    if let Network::V6(ip) = packet.network() {
        let octets: usize = ip.each_extension().map(|(_, header)| header.len()).sum();
        assert_eq!(octets, ip.extensions().len(), "each was walked");
        assert!(ip.each_extension().count() <= 8);
    }
    if let Transport::Tcp(tcp) = packet.transport() {
        assert!(tcp.each_option().count() <= tcp.options().len());
    }
    for dns in [Dns::parse(payload), Dns::parse_segment(payload)].into_iter().flatten() {
        let name = dns.question().map_or(1, |question| question.name.len());
        assert!((1..=255).contains(&name));
    }
    if let Ok(gre) = Gre::parse(payload) {
        assert!(gre.payload().len() + 4 <= payload.len());
    }
    if let Ok(vxlan) = Vxlan::parse(payload) {
        assert_eq!(vxlan.payload().len() + 8, payload.len());
    }
}

#[test]
fn no_damage_makes_a_view_panic() {
    let mut random = Random::seeded();
    let (mut read, mut refused) = (0, 0);
    for sample in samples::all() {
        for _ in 0..40_000 {
            let mut frame = sample.clone();
            damage(&mut frame, &mut random);
            if look(&frame) { read += 1 } else { refused += 1 }
        }
    }
    // Both sides are reached often, or the damage is too weak or too strong to say anything.
    assert!(read > 50_000 && refused > 50_000, "{read} read, {refused} refused");
}

#[test]
fn noise_behind_a_plausible_start_never_panics() {
    let mut random = Random::seeded();
    for _ in 0..100_000 {
        let mut frame = samples::video();
        let from = 12 + random.below(40);
        for octet in &mut frame[from..] {
            *octet = u8::try_from(random.below(256)).unwrap();
        }
        look(&frame);
    }
}
