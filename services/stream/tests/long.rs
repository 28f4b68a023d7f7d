//! Packets longer than a chunk.

use super::*;

/// Packets of up to three rows each, as one who fills long packets sends them: the pixels of up to
/// three of `packets`, which have one row each.
fn lengthened(packets: &[Vec<u8>], first_sequence: u16) -> Vec<Vec<u8>> {
    const UDP: usize = 34;
    const RTP: usize = 42;
    const ROW: usize = RTP + 12 + 2;
    let join = |(number, three): (u16, &[Vec<u8>])| {
        let last = three.last().unwrap();
        let mut packet = three[0][..ROW].to_vec();
        packet[RTP + 1] = last[RTP + 1]; // The marker.
        packet[RTP + 2..RTP + 4].copy_from_slice(&(first_sequence + number).to_be_bytes());
        for (row, one) in three.iter().enumerate() {
            packet.extend(&one[ROW..ROW + 6]);
            let at = packet.len() - 2;
            packet[at] |= if row + 1 < three.len() { 0x80 } else { 0 }; // Another row follows.
        }
        three.iter().for_each(|one| packet.extend(&one[ROW + 6..]));
        let length = |from: usize| u16::try_from(packet.len() - from).unwrap().to_be_bytes();
        let (ip, udp) = (length(14), length(UDP));
        packet[16..18].copy_from_slice(&ip);
        packet[UDP + 4..UDP + 6].copy_from_slice(&udp);
        packet
    };
    (0..).zip(packets.chunks(3)).map(join).collect()
}

#[test]
fn long_packets_of_several_rows_arrive_bit_for_bit() {
    let mut sim = Sim::new(1);
    let options = sender::Options { frames: Some(3), ..sender() };
    sim.shard(&[SimPort::default()], vec![sends(options)], Policy::default()).unwrap();
    let long = SimPort { multi_buffer: true, ..SimPort::default() };
    sim.shard(&[long], vec![receives(receiver())], Policy::default()).unwrap();
    run_frames(&mut sim, 3);
    let sent = sim.sent(0, 0);
    let packets = usize::try_from(PACKETS).unwrap();
    assert_eq!(sent.len(), 3 * packets);
    let mut sequence = 0;
    for frame in sent.chunks(packets) {
        let long = lengthened(frame, sequence);
        sequence += u16::try_from(long.len()).unwrap();
        assert!(long[0].len() > 2 * 1000 && long.len() == packets.div_ceil(3));
        for packet in long {
            sim.deliver(1, 0, &packet, 0);
            sim.turn();
        }
    }
    let (_, received) = ended(&mut sim);
    assert_eq!(received.counter("packets_received"), u64::from(sequence));
    assert_eq!(received.counter("frames_received"), 3);
    assert_eq!(received.counter("frames_verified") + received.counter("frames_dropped"), 3);
    assert_eq!((received.counter("frames_wrong"), received.dropped("in_parts")), (0, 0));
}
