//! Which shard owns which queue.

use super::*;

/// Two interfaces and the services given.
fn with(runtime: &str, services: &str) -> String {
    format!(
        "[runtime]\n{runtime}\n[[interface]]\nname = \"a\"\nqueues = \"0-2\"\n\
         [[interface]]\nname = \"b\"\n{services}"
    )
}

/// A service on `interface` with further `keys`.
fn service(name: &str, interface: &str, keys: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\nkind = \"k\"\ninterface = \"{interface}\"\n{keys}\n")
}

fn ports(config: &Config) -> Vec<(&str, u32, u32)> {
    config.ports.iter().map(|it| (it.interface.as_str(), it.queue, it.shard)).collect()
}

#[test]
fn ports_go_to_the_shards_in_turn() {
    let config = accept(&with("", &(service("x", "a", "") + &service("y", "b", ""))));
    assert_eq!(config.runtime.shards, 2, "four ports, two CPUs");
    assert_eq!(ports(&config), [("a", 0, 0), ("a", 1, 1), ("a", 2, 0), ("b", 0, 1)]);
    assert_eq!(config.services[0].cores, [0, 1]);
    assert_eq!(config.services[1].cores, [1]);
}

#[test]
fn cores_place_the_queues_of_a_service_in_order() {
    let services = service("x", "a", "queues = [2, 0, 1]\ncores = [1, 0]") + &service("y", "b", "");
    let config = accept(&with("", &services));
    assert_eq!(ports(&config), [("a", 0, 0), ("a", 1, 1), ("a", 2, 1), ("b", 0, 1)]);
}

#[test]
fn services_that_share_a_queue_share_its_shard() {
    let services = service("x", "a", "") + &service("y", "a", "queues = 1\ncores = 0");
    let config = accept(&with("", &services));
    assert_eq!(ports(&config), [("a", 0, 0), ("a", 1, 0), ("a", 2, 0)]);
    assert_eq!(config.ports[1].services, [0, 1]);
    assert_eq!(config.services[0].cores, [0]);

    let fought =
        service("x", "a", "queues = 1\ncores = 1") + &service("y", "a", "queues = 1\ncores = 0");
    let mistake = &parse(&with("", &fought)).unwrap_err().mistakes()[0].clone();
    assert_eq!(mistake.key, "service[1].cores");
    assert_eq!(mistake.found, "shard 0 for queue 1 of a, which x places on 1");
    assert_eq!(
        mistake.allowed,
        "one shard for each queue, the same for all services that share it"
    );
}

/// A service on both interfaces, which have the queues 0 to 2 each.
fn on_both(keys: &str) -> String {
    format!(
        "[[interface]]\nname = \"a\"\nqueues = \"0-2\"\n[[interface]]\nname = \"b\"\n\
         queues = \"0-2\"\n[[service]]\nname = \"x\"\nkind = \"k\"\n\
         interface = [\"a\", \"b\"]\n{keys}\n"
    )
}

#[test]
fn a_service_on_several_interfaces_has_the_queues_of_one_number_on_one_shard() {
    let config = accept(&on_both("queues = \"0-1\""));
    assert_eq!(ports(&config), [("a", 0, 0), ("a", 1, 1), ("b", 0, 0), ("b", 1, 1)]);
    let own: Vec<&str> = config.services[0].interfaces().collect();
    assert_eq!(own, ["a", "b"]);
    let config = accept(&on_both("queues = [2, 1]\ncores = [0, 1]"));
    assert_eq!(ports(&config), [("a", 1, 1), ("a", 2, 0), ("b", 1, 1), ("b", 2, 0)]);
    // Another places a queue of one of them, and so that of the other.
    let config = accept(&(on_both("queues = 1") + &service("y", "b", "queues = 1\ncores = 1")));
    assert_eq!(ports(&config), [("a", 1, 1), ("b", 1, 1)]);
    assert_eq!(config.services[0].cores, [1]);
    let each = "selectors = [{ destination = \"198.18.0.1\" }]\nqueues = 0";
    let config = accept(&on_both(each));
    assert_eq!((config.selectors("a").count(), config.selectors("b").count()), (1, 1));
    assert!(config.warnings().iter().all(|it| it.key.contains("queues")), "{:?}", warned(&config));
}

#[test]
fn what_several_interfaces_cannot_be_is_refused() {
    let mistake = |text: &str| {
        let error = parse(text).unwrap_err();
        let mistake = &error.mistakes()[0];
        (mistake.key.clone(), mistake.found.clone())
    };
    let with = |from: &str, to: &str| on_both("queues = 0").replace(from, to);
    let list = "[\"a\", \"b\"]";
    for (wrong, found) in [
        ("[\"a\", \"c\"]", "the unknown interface \"c\""),
        ("[\"a\", \"a\"]", "\"a\" twice"),
        ("[]", "an empty list"),
    ] {
        let (key, said) = mistake(&with(list, wrong));
        assert_eq!((key.as_str(), said.split(';').next()), ("service[0].interface", Some(found)));
    }
    let (key, found) = mistake(&with("queues = 0\n", "queues = 7\n"));
    assert_eq!(
        (key.as_str(), found.as_str()),
        ("service[0].queues", "queue 7, which a does not list")
    );
    let others = on_both("").replacen("\"0-2\"", "5", 1);
    assert_eq!(mistake(&others).1, "interfaces that have no queue in common");
    let torn = on_both("queues = 0")
        + &service("y", "a", "queues = 0\ncores = 0")
        + &service("z", "b", "queues = 0\ncores = 1");
    let (key, found) = mistake(&torn);
    assert_eq!(key, "service[0].interface");
    assert_eq!(
        found,
        "queue 0 of b on shard 1 by z, and that of another of its interfaces on shard 0 by y"
    );
}

#[test]
fn there_are_as_many_shards_as_have_work_and_a_cpu() {
    let one = service("x", "b", "");
    assert_eq!(accept(&with("", &one)).runtime.shards, 1);
    assert_eq!(accept(&with("cpus = 0", &service("x", "a", ""))).runtime.shards, 1);
    assert_eq!(accept(&with("shards = 5", &one)).runtime.shards, 5);
    assert_eq!(accept(&with("", &service("x", "b", "cores = 1"))).runtime.shards, 2);
}

#[test]
fn a_service_without_an_interface_runs_on_its_cores_or_the_first() {
    let config = accept("[[service]]\nname = \"a\"\nkind = \"k\"\ncores = \"0-1\"\n");
    assert_eq!(config.services[0].cores, [0, 1]);
    assert_eq!(config.services[0].interface, None);
    assert!(config.ports.is_empty());
    assert_eq!(accept("[[service]]\nname = \"a\"\nkind = \"k\"\n").services[0].cores, [0]);
}

#[test]
fn cores_beyond_the_shards_and_more_cores_than_queues_are_refused() {
    let mistake = |runtime: &str, services: &str| {
        parse(&with(runtime, services)).unwrap_err().mistakes()[0].clone()
    };
    let beyond = mistake("", &service("x", "b", "cores = 7"));
    assert_eq!(beyond.found, "shard 7");
    assert_eq!(beyond.allowed, "shards from 0 to 1; runtime.shards says how many there are, now 2");
    let many = mistake("", &service("x", "b", "cores = [0, 1]"));
    assert_eq!(many.found, "2 shards for 1 queues");
    assert_eq!(many.allowed, "at most as many shards as queues, for a queue has one owner");
}

/// One interface with four queues and flow rules, of which services take some.
fn ruled(services: &str) -> Config {
    accept(&format!(
        "[runtime]\n[[interface]]\nname = \"a\"\nqueues = \"0-3\"\nsteering = \"ntuple\"\n{services}"
    ))
}

fn aims(config: &Config) -> Vec<(usize, u32)> {
    config.aims("a").map(|aim| (aim.service, aim.queue)).collect()
}

fn warned(config: &Config) -> Vec<(&str, &str)> {
    config.warnings().iter().map(|it| (it.key.as_str(), it.found.as_str())).collect()
}

fn selectors(count: u32) -> String {
    let one = |n| format!("{{ destination = \"198.18.0.{n}\" }}, ");
    format!("selectors = [{}]", (1..=count).map(one).collect::<String>())
}

#[test]
fn the_queues_of_a_service_take_its_selectors_in_turn() {
    let first = service("x", "a", &format!("queues = [0, 1]\n{}", selectors(3)));
    let second = service("y", "a", &format!("queues = [3, 2]\n{}", selectors(2)));
    let sender = service("z", "a", "queues = 0");
    let second = second.replace("198.18.0.", "198.18.1.");
    let config = ruled(&(first + &sender + &second));
    // In the order of the interface's queues, as the ports are.
    assert_eq!(aims(&config), [(0, 0), (0, 1), (0, 0), (2, 2), (2, 3)]);
    assert_eq!(warned(&config), []);
}

#[test]
fn what_flow_rules_cannot_do_is_warned_of() {
    let config = ruled(&service("x", "a", &selectors(2)));
    assert_eq!(aims(&config), [(0, 0), (0, 1)]);
    let few = "2 selectors for 4 queues, while steering = \"ntuple\" of a sends all packets of a \
               selector to one queue";
    assert_eq!(warned(&config), [("service[0].selectors", few)]);

    let take = "queues = 0\nselectors = [{ destination = \"198.18.0.1\", protocol = \"udp\", \
                ports = 53, fragments = \"take\" }]";
    let config = ruled(&service("x", "a", take));
    let late = "ports with fragments = \"take\", while steering = \"ntuple\" of a cannot see the \
                ports of a later fragment";
    // Before it, that three queues have no service.
    assert_eq!(warned(&config)[1..], [("service[0].selectors[0]", late)]);
    // Where no flow rules are made, there is nothing to say.
    let text = with("", &service("x", "a", &take.replace("queues = 0\n", "")));
    assert!(warned(&accept(&text)).iter().all(|(key, _)| key.starts_with("interface")));
}
