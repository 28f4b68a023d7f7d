//! Captures as octets, read and written.

use super::*;

fn read(octets: &[u8]) -> Result<Vec<Record>, Error> {
    Reader::new("x.pcap", octets)?.collect()
}

fn record(timestamp_ns: u64, bytes: &[u8], original_len: u32) -> Record {
    Record { timestamp_ns, bytes: bytes.to_vec(), original_len, link_type: LINK_ETHERNET }
}

fn written() -> Vec<u8> {
    let mut writer = Writer::new("x.pcap", Vec::new()).unwrap();
    writer.write(1_700_000_000_123_456_789, &[1, 2, 3]).unwrap();
    writer.write(1_700_000_001_000_000_000, &[]).unwrap();
    writer.into_stream()
}

/// Big-endian pcap with microseconds, snap length 4, one record cut from 9 octets to 2.
fn microseconds() -> Vec<u8> {
    let mut octets = vec![0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4];
    octets.extend([0; 8]);
    octets.extend([0, 0, 0, 4, 0, 0, 0, 1]);
    octets.extend([0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 9, 0xaa, 0xbb]);
    octets
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
    [&kind.to_le_bytes(), &length[..], body, &length].concat()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Little-endian pcapng: an interface with the given option, one enhanced and one simple packet.
fn next_generation(resolution: &[u8]) -> Vec<u8> {
    let mut octets = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    octets.extend(block(1, &[&[1, 0, 0, 0, 0, 0, 1, 0], resolution].concat()));
    octets.extend(block(6, &words(&[0, 1, 2, 3, 9, 0x00cc_bbaa])));
    octets.extend(block(3, &words(&[2, 0x0000_dd0c])));
    octets
}

#[test]
fn reads_back_what_it_wrote() {
    let records = read(&written()).unwrap();
    assert_eq!(
        records,
        [
            record(1_700_000_000_123_456_789, &[1, 2, 3], 3),
            record(1_700_000_001_000_000_000, &[], 0)
        ]
    );
}

#[test]
fn reads_the_other_byte_order_microseconds_and_cut_packets() {
    assert_eq!(read(&microseconds()).unwrap(), [record(5_000_007_000, &[0xaa, 0xbb], 9)]);
}

#[test]
fn reads_both_packet_blocks_of_pcapng() {
    let units = (1 << 32) + 2;
    let simple = record(0, &[0x0c, 0xdd], 2);
    let micro = record(units * 1000, &[0xaa, 0xbb, 0xcc], 9);
    assert_eq!(read(&next_generation(&[])).unwrap(), [micro, simple.clone()]);
    // Option 9, one octet: 10^-9 seconds, then 2^-10 seconds.
    let nano = record(units, &[0xaa, 0xbb, 0xcc], 9);
    let option = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(read(&next_generation(&option)).unwrap(), [nano, simple.clone()]);
    let binary = record(units * 1_000_000_000 / 1024, &[0xaa, 0xbb, 0xcc], 9);
    let option = [9, 0, 1, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(read(&next_generation(&option)).unwrap(), [binary, simple]);
}

#[test]
fn every_prefix_is_read_or_refused_but_never_panics() {
    for capture in [written(), microseconds(), next_generation(&[])] {
        let whole = read(&capture).unwrap().len();
        for end in 0..capture.len() {
            if let Ok(records) = read(&capture[..end]) {
                assert!(records.len() < whole, "{end} octets gave everything");
            }
        }
    }
}

#[test]
fn every_single_wrong_octet_is_read_or_refused_but_never_panics() {
    for capture in [written(), microseconds(), next_generation(&[9, 0, 1, 0, 9, 0, 0, 0])] {
        for at in 0..capture.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = capture.clone();
                broken[at] = value;
                let _ = read(&broken);
            }
        }
    }
}

#[test]
fn errors_name_file_and_record() {
    let text = |octets: &[u8]| read(octets).unwrap_err().to_string();
    assert_eq!(
        text(b"GIF89a, not a capture at all"),
        "capture x.pcap: after 0 records: no pcap or pcapng file: its first octets say otherwise"
    );
    assert_eq!(text(b""), "capture x.pcap: after 0 records: the file breaks off");
    let capture = written();
    assert_eq!(
        text(&capture[..capture.len() - 1]),
        "capture x.pcap: after 1 records: the file breaks off"
    );
    let mut old = next_generation(&[]);
    old.extend(block(2, &[0; 20]));
    assert_eq!(
        text(&old),
        "capture x.pcap: after 2 records: Invalid field value: obsolete packet block; \
         `editcap` rewrites such files"
    );
    let missing = Reader::open("/no/such.pcap").err().unwrap();
    assert_eq!(
        missing.to_string(),
        "capture /no/such.pcap: No such file or directory (os error 2)"
    );
}

#[test]
fn ends_after_an_error() {
    let capture = written();
    let mut reader = Reader::new("x.pcap", &capture[..capture.len() - 1]).unwrap();
    assert!(reader.next().unwrap().is_ok());
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none());
}

#[test]
fn refuses_to_write_what_readers_would_refuse() {
    let mut writer = Writer::new("x.pcap", Vec::new()).unwrap();
    let refusal = writer.write(0, &vec![0; 262_145]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "capture x.pcap: after 0 records: Invalid field value: PcapPacket: incl_len > snap_len"
    );
}

#[test]
fn says_what_unpacks_a_compressed_capture() {
    let cases: [(&[u8], &str); 4] = [
        (b"\x1f\x8b\x08\x00\x00", "gzip"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd"),
    ];
    for (start, program) in cases {
        let refusal = Reader::new("x.pcap.z", start).map(|_| ()).unwrap_err().to_string();
        let expected = format!(
            "capture x.pcap.z: after 0 records: it is compressed: unpack it with `{program} -d` first"
        );
        assert_eq!(refusal, expected);
    }
}
