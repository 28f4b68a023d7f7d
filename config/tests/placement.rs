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
