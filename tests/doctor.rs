//! `doctor` on links whose state the test makes: each mischief is found, with its remedy, and is
//! gone from the report once that was done.

use tidegate::cli::args::Doctor;
use tidegate::cli::doctor;
use tidegate::lab::sink::{Action, Sink};
use tidegate::lab::{End, Namespace, Wire, WireOptions};
use tidegate_dataplane::sys::ethtool::{Ethtool, Offload};

/// What `doctor` says about `end` that is not good: severity, what, command.
fn findings(end: &End) -> Vec<(String, String, String)> {
    let args = Doctor { interfaces: vec![end.name.to_string()], json: true };
    let ask = || {
        let mut out = Vec::new();
        doctor::run(&args, &mut out).unwrap();
        out
    };
    let report: serde_json::Value =
        serde_json::from_slice(&end.namespace.run(ask).unwrap()).unwrap();
    let text = |finding: &serde_json::Value, key: &str| {
        finding[key].as_str().unwrap_or_default().to_owned()
    };
    let about = |finding: &&serde_json::Value| {
        finding["about"] == *end.name && finding["severity"] != "good"
    };
    (report["findings"].as_array().unwrap().iter().filter(about))
        .map(|it| (text(it, "severity"), text(it, "what"), text(it, "command")))
        // Which offloads veth has on by default differs between kernels.
        .filter(|(severity, ..)| severity != "advice")
        .collect()
}

#[test]
fn finds_what_is_wrong_with_a_link_and_that_it_was_mended() {
    require_net!();
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let wire = Wire::new(&near, &far, &WireOptions::default()).unwrap();
    let end = &wire.near;
    let name = &end.name;
    let set_checksum = |on: bool| {
        let set = || Ethtool::open().unwrap().set_offload(name, Offload::TxChecksum, on).unwrap();
        near.run(set).unwrap();
    };
    assert_eq!(findings(end), [], "as the lab makes them, links are fit for AF_XDP");

    set_checksum(true);
    let [(severity, what, command)] = &findings(end)[..] else { panic!("{:?}", findings(end)) };
    assert_eq!(severity, "warning");
    assert!(what.starts_with("veth with tx"), "{what}");
    assert!(command.starts_with(&format!("ethtool -K {name} tx off")), "{command}");
    set_checksum(false);
    assert_eq!(findings(end), []);

    let sink = Sink::attach(end, Action::Drop).unwrap();
    let program = end.link().unwrap().xdp.unwrap().prog_id;
    let found = findings(end);
    let [(severity, what, _)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(severity, "problem");
    assert_eq!(*what, format!("XDP program {program} is attached (native); there is room for one"));
    drop(sink);
    assert_eq!(findings(end), []);

    end.set_down().unwrap();
    let down = ("problem", "it is switched off", &*format!("ip link set dev {name} up"));
    let found = findings(end);
    let found: Vec<(&str, &str, &str)> = found.iter().map(|(a, b, c)| (&**a, &**b, &**c)).collect();
    assert_eq!(found, [down]);
    let far = findings(&wire.far);
    assert!(far.iter().any(|(_, what, _)| what.contains("no carrier")), "{far:?}");
    end.set_up().unwrap();
    assert_eq!(findings(end), []);
}

#[test]
fn tells_what_a_veth_and_the_loopback_have_for_xdp() {
    require_net!();
    let wire =
        Wire::new(&Namespace::new().unwrap(), &Namespace::new().unwrap(), &WireOptions::default())
            .unwrap();
    let args = Doctor { interfaces: vec![wire.near.name.to_string(), "lo".to_owned()], json: true };
    let ask = || {
        let mut out = Vec::new();
        doctor::run(&args, &mut out).unwrap();
        out
    };
    let report: serde_json::Value =
        serde_json::from_slice(&wire.near.namespace.run(ask).unwrap()).unwrap();
    let links = report["facts"]["links"].as_array().unwrap();
    let features = |name: &str| {
        let link = links.iter().find(|it| it["name"] == name).unwrap();
        let words = |key: &str| -> Vec<String> {
            serde_json::from_value(link["features"][key].clone()).unwrap()
        };
        (words("xdp"), words("rx_metadata"), words("tx_metadata"))
    };
    let (xdp, rx, tx) = features(&wire.near.name);
    for word in ["native", "redirect", "multi-buffer"] {
        assert!(xdp.iter().any(|it| it == word), "{word} in {xdp:?}");
    }
    assert!(!xdp.iter().any(|it| it == "zero-copy"), "{xdp:?}");
    // veth computes none of them, but passes on what the sending kernel knew.
    assert_eq!((rx, tx), (vec!["hash".into(), "timestamp".into(), "vlan".into()], vec![]));
    assert_eq!(features("lo"), (vec![], vec![], vec![]));
}
