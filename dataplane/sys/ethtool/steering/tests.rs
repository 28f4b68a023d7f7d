//! Requests as octets, against what another program sends; and what the loopback answers.

use std::net::Ipv4Addr;

use super::*;
use crate::sys::ethtool::rule::{Flow, FlowProtocol, Network, PortBlock};

/// The octets that the kernel would see.
fn octets(words: &[u32]) -> String {
    words.iter().map(|word| format!("{:08x}", u32::from_be_bytes(word.to_ne_bytes()))).collect()
}

fn tcp4() -> Rule {
    let destination = Network { address: Ipv4Addr::new(198, 19, 1, 2).into(), len: 32 };
    let source = Network::any(destination.address);
    let ports = PortBlock { first: 80, len: 16 };
    let flow = Flow { protocol: FlowProtocol::Tcp, source, destination, ports };
    Rule { flow, queue: 3 }
}

/// Taken at the ioctl of `ethtool` 6.1 of Debian 12, but for the words that it leaves unset:
/// `data`, which is not read, and what is behind the location.
#[test]
fn a_rule_is_inserted_and_deleted_with_the_octets_that_another_program_sends() {
    // ethtool -N va flow-type tcp4 dst-ip 198.19.1.2 dst-port 80 action 3 loc 7
    let sent = [
        "32000000 00000000 00000000 00000000 01000000 00000000 c6130102 00000050".to_owned(),
        "00000000 ".repeat(16),
        "ffffffff 0000ffff".to_owned(),
        "00000000 ".repeat(16),
        "03000000 00000000 07000000 00000000 00000000 00000000".to_owned(),
    ];
    let sent = sent.concat().replace(' ', "");
    assert_eq!(octets(&insertion(&tcp4(), Location::At(7))), sent);
    // Where the driver chooses, `ethtool` asks for the location 0xffffffff.
    let chosen = octets(&insertion(&tcp4(), Location::Any));
    assert_eq!(chosen, sent.replace("07000000", "ffffffff"));

    // ethtool -N va delete 7
    let sent = ["31000000".to_owned(), "00000000".repeat(43), "07000000".to_owned()].concat();
    assert_eq!(octets(&deletion(7)[..=rule::LOCATION]), sent);
    // It says 192 octets in all, `sizeof(struct ethtool_rxnfc)`.
    assert_eq!(size_of_val(&deletion(7)), 192);
}

#[test]
fn a_table_is_set_with_the_octets_that_another_program_sends() {
    // ethtool -X va weight 1 1 0 0
    let sent = "39000000 08000000 00000000 00000000 00000000 00000000 01000000 01000000 01000000 \
                01000000";
    assert_eq!(octets(&replacement(&[0, 0, 0, 0, 1, 1, 1, 1])), sent.replace(' ', ""));
    // ethtool -X va default
    assert_eq!(octets(&replacement(&[])), "3900000000000000");
}

#[test]
fn finds_a_feature_by_its_name() {
    let ethtool = Ethtool::open().unwrap();
    // `ethtool -k lo` shows the first as a choice and the second as fixed, since Linux 2.6.39.
    assert!(ethtool.can_switch("lo", "tx-generic-segmentation").unwrap());
    assert!(!ethtool.can_switch("lo", "loopback").unwrap());
    assert!(!ethtool.can_switch("lo", "no-such-feature").unwrap());
}

#[test]
fn what_the_loopback_does_not_have_is_said_with_the_kernels_number() {
    let ethtool = Ethtool::open().unwrap();
    let errno = |error: Error| error.errno();
    let unsupported = Some(libc::EOPNOTSUPP);
    assert_eq!(ethtool.rings("lo").map_err(errno), Err(unsupported));
    assert_eq!(ethtool.table("lo").map_err(errno), Err(unsupported));
    assert_eq!(ethtool.rules("lo").map_err(errno), Err(unsupported));
    assert_eq!(ethtool.rule("lo", 0).map_err(errno), Err(unsupported));
    assert_eq!(ethtool.permanent_address("lo").map_err(errno), Ok(None));
    assert_eq!(ethtool.can_switch_rules("lo").map_err(errno), Ok(false));
}

#[test]
fn an_absurd_count_is_not_believed() {
    let ethtool = Ethtool::open().unwrap();
    assert_eq!(ethtool.bounded("lo", "its RSS table", 128).unwrap(), 128);
    let error = ethtool.bounded("lo", "its RSS table", u32::MAX).unwrap_err();
    assert_eq!(
        std::io::Error::from(error).to_string(),
        "ethtool could not get or set \"its RSS table\" of \"lo\": the driver tells an absurd count"
    );
}
