//! What programs are taken, and what each instruction does.

use super::*;

fn program(text: &str) -> Program {
    text.parse().unwrap_or_else(|misread| panic!("{text}: {misread}"))
}

/// Reads `text`, which must be refused; the words of the refusal and the part that it points at.
fn refused(text: &str) -> (String, &str) {
    let misread = text.parse::<Program>().expect_err(text);
    (misread.to_string(), &text[misread.at])
}

/// IPv4 with protocol 6, and then the octets 20 to 39.
fn packet() -> Vec<u8> {
    let mut octets: Vec<u8> = (0..40).collect();
    octets[0] = 0x45;
    octets[9] = 6;
    octets
}

#[test]
fn reads_the_form_of_xt_bpf_and_that_of_tcpdump() {
    let tcp = program("4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0");
    let lines = "4\n48 0 0 9\n21 0 1 6\n6 0 0 1\n6 0 0 0\n";
    assert_eq!(program(lines), tcp);
    assert_eq!(program(&lines.replace('\n', ",")), tcp, "as `tr '\\n' ','` leaves it");
    assert_eq!(program(&lines.replace('\n', "\r\n")), tcp);
    assert_eq!(program(" 4, 48 0 0 9 , 21 0 1 6,6  0 0 1,6 0 0 0 "), tcp);
    assert_eq!(tcp.run(&packet()), 1);
    let mut udp = packet();
    udp[9] = 17;
    assert_eq!(tcp.run(&udp), 0);
}

#[test]
fn a_load_from_outside_ends_it_with_zero() {
    for (code, octets) in [(0x30, 1), (0x28, 2), (0x20, 4)] {
        for at in [0_u32, 36, 37, 38, 39, 40, 41, 0x7fff_ffff] {
            // If the load is inside, 7 is returned whatever it brings.
            let text = format!("2,{code} 0 0 {at},6 0 0 7");
            let inside = at + octets <= 40;
            assert_eq!(program(&text).run(&packet()), if inside { 7 } else { 0 }, "{text}");
        }
        assert_eq!(program(&format!("2,{code} 0 0 0,6 0 0 7")).run(&[]), 0);
    }
    assert_eq!(program("2,177 0 0 40,6 0 0 7").run(&packet()), 0);
    // X is far outside, or wraps around to somewhere inside as the kernel has it.
    assert_eq!(program("3,1 0 0 4294967295,80 0 0 40,22 0 0 0").run(&packet()), 39);
    assert_eq!(program("3,1 0 0 4294967295,80 0 0 41,22 0 0 0").run(&packet()), 0);
    assert_eq!(program("3,1 0 0 2147483648,80 0 0 0,22 0 0 0").run(&packet()), 0);
}

#[test]
fn offsets_from_the_network_header_are_those_from_the_start() {
    let far = |base: i32| (base + 20).cast_unsigned();
    assert_eq!(program(&format!("2,48 0 0 {},22 0 0 0", far(-0x10_0000))).run(&packet()), 20);
    assert_eq!(
        program(&format!("3,1 0 0 {},80 0 0 1,22 0 0 0", far(-0x10_0000))).run(&packet()),
        21
    );
    // Computed, the link layer is outside of the packet.
    assert_eq!(
        program(&format!("3,1 0 0 {},80 0 0 1,22 0 0 0", far(-0x20_0000))).run(&packet()),
        0
    );
    let ethertype = program(&format!("2,40 0 0 {},22 0 0 0", (-0x1000_i32).cast_unsigned()));
    assert_eq!(ethertype.run(&packet()), 0x0800);
    assert_eq!(ethertype.run(&[0x60]), 0x86dd);
    assert_eq!(ethertype.run(&[]), 0);
    let xor = format!("4,0 0 0 12,1 0 0 10,32 0 0 {},22 0 0 0", (-0x1000_i32 + 40).cast_unsigned());
    assert_eq!(program(&xor).run(&packet()), 6);
}

#[test]
fn each_instruction_does_what_it_does_in_the_kernel() {
    for (body, expected) in [
        ("32 0 0 20", 0x1415_1617),
        ("40 0 0 20", 0x1415),
        ("48 0 0 20", 0x14),
        ("177 0 0 0,64 0 0 0", 0x1415_1617),
        ("177 0 0 0,72 0 0 2", 0x1617),
        ("177 0 0 0,80 0 0 4", 0x18),
        ("177 0 0 21,135 0 0 0", 20),
        ("128 0 0 0", 40),
        ("129 0 0 0,135 0 0 0", 40),
        ("0 0 0 5", 5),
        ("0 0 0 5,2 0 0 15,0 0 0 6,96 0 0 15", 5),
        ("0 0 0 5,2 0 0 3,97 0 0 3,135 0 0 0", 5),
        ("1 0 0 5,3 0 0 0,96 0 0 0", 5),
        ("0 0 0 5,7 0 0 0,0 0 0 1,135 0 0 0", 5),
        ("0 0 0 5,132 0 0 0", 0xffff_fffb),
        ("0 0 0 4294967295,4 0 0 2", 1),
        ("0 0 0 1,20 0 0 2", 0xffff_ffff),
        ("0 0 0 65537,36 0 0 65537", 0x0002_0001),
        ("0 0 0 17,52 0 0 5", 3),
        ("0 0 0 17,148 0 0 5", 2),
        ("0 0 0 12,84 0 0 10", 8),
        ("0 0 0 12,68 0 0 10", 14),
        ("0 0 0 12,164 0 0 10", 6),
        ("0 0 0 12,100 0 0 31", 0),
        ("0 0 0 13,100 0 0 30", 0x4000_0000),
        ("0 0 0 12,116 0 0 2", 3),
        ("0 0 0 9,1 0 0 3,12 0 0 0", 12),
        ("0 0 0 9,1 0 0 3,28 0 0 0", 6),
        ("0 0 0 9,1 0 0 3,44 0 0 0", 27),
        ("0 0 0 9,1 0 0 2,60 0 0 0", 4),
        ("0 0 0 9,1 0 0 2,156 0 0 0", 1),
        ("0 0 0 9,1 0 0 3,92 0 0 0", 1),
        ("0 0 0 9,1 0 0 3,76 0 0 0", 11),
        ("0 0 0 9,1 0 0 3,172 0 0 0", 10),
        ("0 0 0 9,1 0 0 3,108 0 0 0", 72),
        // Modulo 32, where libpcap's own interpreter has 0.
        ("0 0 0 9,1 0 0 33,108 0 0 0", 18),
        ("0 0 0 9,1 0 0 33,124 0 0 0", 4),
        ("0 0 0 9,5 0 0 1,0 0 0 1", 9),
    ] {
        let count = body.split(',').count() + 1;
        assert_eq!(program(&format!("{count},{body},22 0 0 0")).run(&packet()), expected, "{body}");
    }
}

#[test]
fn comparisons_go_the_right_way() {
    for (code, below, equal, above) in
        [(0x15, 0, 1, 0), (0x25, 0, 0, 1), (0x35, 0, 1, 1), (0x45, 1, 1, 0)]
    {
        for (a, expected) in [(3_u32, below), (7, equal), (0x8000_0000, above)] {
            let number = format!("4,0 0 0 {a},{code} 0 1 7,6 0 0 1,6 0 0 0");
            assert_eq!(program(&number).run(&[]), expected, "{number}");
            let x = format!("5,0 0 0 {a},1 0 0 7,{} 0 1 0,6 0 0 1,6 0 0 0", code + 8);
            assert_eq!(program(&x).run(&[]), expected, "{x}");
        }
    }
}

#[test]
fn division_by_zero_is_refused_or_ends_it_with_zero() {
    for code in [52, 148] {
        let text = format!("2,{code} 0 0 0,6 0 0 7");
        let (what, part) = refused(&text);
        assert!(what.contains("divides by 0"), "{what}");
        assert_eq!(part, format!("{code} 0 0 0"));
        assert_eq!(program(&format!("2,{} 0 0 0,6 0 0 7", code + 8)).run(&packet()), 0);
    }
}

#[test]
fn what_would_not_end_or_reads_outside_is_refused_with_its_place() {
    for (text, part, reason) in [
        ("", "", "not the number of instructions"),
        ("x,6 0 0 0", "x", "not the number of instructions"),
        ("0", "0", "1 to 4096"),
        ("4097,6 0 0 0", "4097", "1 to 4096"),
        ("18446744073709551615,6 0 0 0", "18446744073709551615", "1 to 4096"),
        ("2,6 0 0 0", "2", "1 instructions, but the first number says that there are 2"),
        ("1,6 0 0 0,6 0 0 1", "6 0 0 1", "more instructions than the 1"),
        ("2,,6 0 0 0", "", "not four numbers"),
        ("1,6 0 0", "6 0 0", "not four numbers"),
        ("1,6 0 0 0 0", "6 0 0 0 0", "not four numbers"),
        ("1,6 0 0 -1", "6 0 0 -1", "\"-1\" is not a number up to 4294967295"),
        ("1,6 0 0 4294967296", "6 0 0 4294967296", "not a number up to 4294967295"),
        ("2,21 256 0 0,6 0 0 0", "21 256 0 0", "\"256\" is not a number up to 255"),
        ("1,65542 0 0 0", "65542 0 0 0", "not a number up to 65535"),
        // Jumps.
        ("2,5 0 0 1,6 0 0 0", "5 0 0 1", "instruction 0: jumps to 2, but the last one is 1"),
        ("2,5 0 0 4294967295,6 0 0 0", "5 0 0 4294967295", "jumps to 4294967296"),
        ("2,21 1 0 0,6 0 0 0", "21 1 0 0", "jumps to 2"),
        ("2,21 0 1 0,6 0 0 0", "21 0 1 0", "jumps to 2"),
        ("2,21 255 0 0,6 0 0 0", "21 255 0 0", "jumps to 256"),
        // Ends.
        ("1,0 0 0 1", "0 0 0 1", "must be a return"),
        ("2,6 0 0 0,21 0 0 0", "21 0 0 0", "jumps to 2"),
        ("2,6 0 0 0,5 0 0 0", "5 0 0 0", "jumps to 2"),
        // Scratch.
        ("2,2 0 0 16,6 0 0 0", "2 0 0 16", "scratch word 16: there are 16"),
        ("2,3 0 0 16,6 0 0 0", "3 0 0 16", "scratch word 16"),
        ("2,96 0 0 4294967295,6 0 0 0", "96 0 0 4294967295", "scratch word 4294967295"),
        ("2,97 0 0 256,6 0 0 0", "97 0 0 256", "scratch word 256"),
        ("2,96 0 0 3,6 0 0 0", "96 0 0 3", "scratch word 3 is read before it is written"),
        (
            "5,0 0 0 1,21 0 1 1,2 0 0 3,96 0 0 3,22 0 0 0",
            "96 0 0 3",
            "instruction 3: scratch word 3 is read before it is written",
        ),
        // Codes.
        ("2,255 0 0 0,6 0 0 0", "255 0 0 0", "the kernel has no code 255"),
        ("2,65535 0 0 0,6 0 0 0", "65535 0 0 0", "the kernel has no code 65535"),
        ("1,14 0 0 0", "14 0 0 0", "the kernel has no code 14"),
        ("2,100 0 0 32,6 0 0 0", "100 0 0 32", "shifts by 32"),
        // The link layer, and what the kernel knows of a packet.
        ("2,40 0 0 4292870156,6 0 0 0", "40 0 0 4292870156", "SKF_LL_OFF"),
        ("2,40 0 0 4294963220,6 0 0 0", "40 0 0 4294963220", "SKF_AD_MARK"),
        ("2,40 0 0 4294963244,6 0 0 0", "40 0 0 4294963244", "SKF_AD_VLAN_TAG"),
        ("2,32 0 0 4294967295,6 0 0 0", "32 0 0 4294967295", "does not have either"),
        ("2,32 0 0 2147483648,6 0 0 0", "32 0 0 2147483648", "there is nothing"),
        ("2,177 0 0 4294963200,6 0 0 0", "177 0 0 4294963200", "there is nothing"),
    ] {
        let (what, pointed) = refused(text);
        assert!(what.contains(reason), "{text}: {what}");
        assert_eq!(pointed, part, "{text}: {what}");
    }
}

#[test]
fn the_longest_program_runs_each_instruction_once() {
    let body = "4 0 0 1,".repeat(4095);
    assert_eq!(program(&format!("4096,{body}22 0 0 0")).run(&packet()), 4095);
    let text = format!("4097,{body}4 0 0 1,22 0 0 0");
    let (what, _) = refused(&text);
    assert!(what.contains("1 to 4096"), "{what}");
}

#[test]
fn no_text_makes_the_reader_panic_and_no_program_the_run() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % below
    };
    const CODES: [u16; 52] = [
        0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x00, 0x60, 0xb1, 0x81, 0x01, 0x61, 0x02, 0x03,
        0x84, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x06, 0x16, 0x07, 0x87, 0x04,
        0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x94, 0x9c, 0x54, 0x5c, 0x44, 0x4c, 0xa4, 0xac,
        0x64, 0x6c, 0x74, 0x7c, 0xff, 0x08, 0x86,
    ];
    const NUMBERS: [u32; 12] =
        [0, 1, 2, 9, 15, 16, 31, 32, 40, 0xfff0_0000, 0xffff_f000, 0xffff_ffff];
    let (mut taken, mut not) = (0, 0);
    for _ in 0..20_000 {
        let count = 1 + next(8);
        let mut text = count.to_string();
        for _ in 1..count {
            let (code, k) = (CODES[next(CODES.len())], NUMBERS[next(NUMBERS.len())]);
            text += &format!(",{code} {} {} {k}", next(3), next(3));
        }
        text += ",22 0 0 0";
        if next(10) == 0 {
            let at = next(text.len());
            text.replace_range(at..=at, ["", "-", "x", "9", ","][next(5)]);
        }
        match text.parse::<Program>() {
            Ok(program) => {
                taken += 1;
                for end in [0, 1, 9, 20, 40] {
                    program.run(&packet()[..end]);
                }
            }
            Err(misread) => {
                not += 1;
                assert!(text.get(misread.at.clone()).is_some(), "{text}: {misread:?}");
            }
        }
    }
    assert!(taken > 2_000 && not > 2_000, "{taken} taken, {not} not");
}
