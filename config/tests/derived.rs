//! Selectors that services derive from their own options.

use super::*;

const INTERFACE: &str = "[[interface]]\nname = \"eth1\"\n";

fn selector(destination: &str, port: u16) -> Selector {
    Selector {
        destination: destination.parse().unwrap(),
        source: None,
        protocol: Protocol::Number(17),
        ports: Some(PortRange::one(port)),
        fragments: Fragments::Pass,
        protection: None,
    }
}

fn service(name: &str, rest: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\nkind = \"k\"\n{rest}\n")
}

#[test]
fn stand_where_the_written_ones_would_and_replace_earlier_ones() {
    let written = "selectors = [{ destination = \"198.18.0.9\" }]";
    let text = format!("{INTERFACE}{}{}", service("a", ""), service("b", written));
    let config = accept(&text);
    let derived = vec![selector("239.1.1.1", 20_000), selector("239.1.1.2", 20_000)];
    let config = config.with_derived([(0, vec![selector("239.1.1.9", 1)])]).unwrap();
    let config = config.with_derived([(0, derived.clone())]).unwrap();
    let found: Vec<_> = config.selectors("eth1").map(|(index, it)| (index, it.clone())).collect();
    assert_eq!(found[..2], [(0, derived[0].clone()), (0, derived[1].clone())]);
    assert_eq!((found.len(), found[2].0), (3, 1));
    assert!(config.warnings().is_empty());
}

#[test]
fn are_refused_beside_written_ones_and_without_an_interface() {
    let written = "selectors = [{ destination = \"198.18.0.9\" }]";
    let text = format!("{INTERFACE}{}", service("a", written));
    let refusal = accept(&text).with_derived([(0, vec![selector("239.1.1.1", 1)])]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "tide.toml:6:14: error: service[0].selectors[0]\n  |\n6 | selectors = [{ destination = \
         \"198.18.0.9\" }]\n  |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  found: selectors, \
         while the options say by themselves which packets come\n  allowed: either of the two"
    );
    let text = service("a", "options = { sdp = \"a.sdp\" }");
    let refusal = accept(&text).with_derived([(0, vec![selector("239.1.1.1", 1)])]).unwrap_err();
    let mistake = &refusal.mistakes()[0];
    assert_eq!((mistake.key.as_str(), mistake.line), ("service[0].options", 4));
    assert!(mistake.found.ends_with("while the file has no [[interface]]"), "{refusal}");
}

#[test]
fn count_with_the_others_and_shadow_as_they_do() {
    let text = format!("{INTERFACE}{}{}", service("a", ""), service("b", ""));
    let many: Vec<_> = (1..=64).map(|port| selector("239.1.1.1", port)).collect();
    let config = accept(&text).with_derived([(0, many.clone())]).unwrap();
    let refusal = config.with_derived([(1, vec![selector("239.1.1.2", 1)])]).unwrap_err();
    assert_eq!(refusal.mistakes()[0].allowed, "at most 64 of each interface");

    let same = vec![selector("239.1.1.1", 1)];
    let config = accept(&text).with_derived([(0, same.clone()), (1, same.clone())]).unwrap();
    assert_eq!(config.warnings().len(), 1);
    assert!(config.warnings()[0].found.starts_with("a selector that never matches"));
    // Said once, however often.
    let config = config.with_derived([(1, same)]).unwrap();
    assert_eq!(config.warnings().len(), 1);
}

#[test]
fn leave_no_queue_without_packets_unsaid() {
    let interface = "[[interface]]\nname = \"eth1\"\nqueues = [0, 1]\nsteering = \"ntuple\"\n";
    let text = format!("{interface}{}", service("a", ""));
    let one = vec![selector("239.1.1.1", 1)];
    let config = accept(&text).with_derived([(0, one.clone())]).unwrap();
    let said: Vec<_> = config.warnings().iter().map(|it| it.found.as_str()).collect();
    assert!(said.iter().any(|it| it.starts_with("1 selector for 2 queues")), "{said:?}");
    let two = vec![selector("239.1.1.1", 1), selector("239.1.1.2", 1)];
    let config = accept(&text).with_derived([(0, two)]).unwrap();
    assert!(config.warnings().iter().all(|it| !it.found.contains("for 2 queues")));
    assert_eq!(config.aims("eth1").map(|aim| aim.queue).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_mistake_of_the_options_stands_at_its_key() {
    let text = format!("{INTERFACE}{}", service("a", "[service.options]\nwidth = 1280"));
    let options = &accept(&text).services[0].options;
    let wrong = |key| options.mistake(key, Refusal::new("1280, while it says 1920", "1920"));
    assert_eq!(
        wrong("width").to_string(),
        "tide.toml:7:9: error: service[0].options.width\n  |\n7 | width = 1280\n  |         ^^^^\n  \
         found: 1280, while it says 1920\n  allowed: 1920"
    );
    // A key that is not there is missed where the table begins.
    assert_eq!(wrong("height").mistakes()[0].line, 6);
    assert_eq!(wrong("height").mistakes()[0].key, "service[0].options.height");
}
