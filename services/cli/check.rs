//! `tidegate check`: what a config would do, in plain words, without doing it.
//!
//! It goes as far as one can without the machine: the file, the kinds of its services, and each
//! service's own options. Whether the interfaces are there and may be used, `doctor` says.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use tidegate_config::{
    Aim, Config, ConfigError, Fragments, Idle, Interface, Port, Prefix, Protection, Protocol,
    Restart, Selector, Service, Steering,
};

use super::wrap::wrap;
use crate::registry::Registry;

/// Runs the command: prints the plan to `out`, or all mistakes to `errors`.
///
/// # Errors
///
/// Where `out` or `errors` cannot be written.
pub fn run(
    path: &Path,
    registry: &Registry,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<ExitCode> {
    match load(path, registry) {
        Ok(config) => {
            for warning in config.warnings() {
                writeln!(errors, "{warning}\n")?;
            }
            writeln!(out, "{} is a valid config.\n", path.display())?;
            out.write_all(plan(&config).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            writeln!(errors, "{error}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Reads a config and checks it with the services that the program has: what `run` starts from.
///
/// # Errors
///
/// [`ConfigError`] with the mistakes of the file, else of all its kinds and options together.
pub fn load(path: &Path, registry: &Registry) -> Result<Config, ConfigError> {
    registry.complete(Config::load(path)?)
}

/// What a config would do. At most 80 columns, but for long names.
pub fn plan(config: &Config) -> String {
    let mut text = String::new();
    runtime(&mut text, config);
    for shard in 0..config.runtime.shards {
        shard_plan(&mut text, config, shard);
    }
    for interface in &config.interfaces {
        interface_plan(&mut text, config, interface);
    }
    text
}

fn runtime(text: &mut String, config: &Config) {
    let runtime = &config.runtime;
    let cpus = match &runtime.cpus {
        Some(cpus) => format!("CPUs {}", list(cpus)),
        None => "all CPUs that it may use".to_owned(),
    };
    let idle = match runtime.idle {
        Idle::Spin => "never sleep".to_owned(),
        Idle::SleepAfter(time) => format!("sleep after {time} without work"),
    };
    let restart = match runtime.restart {
        Restart::Never => "stays down".to_owned(),
        Restart::Always => "is built again".to_owned(),
        Restart::MaxPerMinute(count) => format!("is built again up to {count} times a minute"),
    };
    let _ = writeln!(text, "instance {}, {} on {cpus}", runtime.instance, shards(runtime.shards));
    let _ = writeln!(text, "  shards {idle}; a turn over {} is a stall", runtime.stall_budget);
    let _ = writeln!(text, "  a service that panics {restart}");
    let _ = writeln!(text, "  a stop takes {} at most", runtime.drain_timeout);
    let _ = match &runtime.control_socket {
        Some(socket) => writeln!(text, "  tidegate stats --socket {}", socket.display()),
        None => writeln!(text, "  tidegate stats --instance {}", runtime.instance),
    };
}

fn shard_plan(text: &mut String, config: &Config, shard: u32) {
    let cpu = runtime_cpu(config, shard).map_or(String::new(), |cpu| format!(" (CPU {cpu})"));
    let _ = writeln!(text, "\nshard {shard}{cpu}");
    let own: Vec<&Port> = config.ports.iter().filter(|port| port.shard == shard).collect();
    for port in &own {
        let who: Vec<String> =
            (port.services.iter()).map(|&index| describe(&config.services[index])).collect();
        let line = format!("{} queue {}: {}", port.interface, port.queue, who.join(", "));
        for (index, line) in wrap(&line, 80 - 4).into_iter().enumerate() {
            let indent = if index == 0 { "  " } else { "    " };
            let _ = writeln!(text, "{indent}{line}");
        }
    }
    let portless =
        |service: &&Service| service.interface.is_none() && service.cores.contains(&shard);
    for service in config.services.iter().filter(portless) {
        let _ = writeln!(text, "  no queue: {}", describe(service));
    }
    if own.is_empty() && !config.services.iter().any(|service| portless(&service)) {
        let _ = writeln!(text, "  nothing");
    }
}

fn runtime_cpu(config: &Config, shard: u32) -> Option<u32> {
    let cpus = config.runtime.cpus.as_ref()?;
    cpus.get(shard as usize % cpus.len()).copied()
}

fn describe(service: &Service) -> String {
    format!("{} ({})", service.name, service.kind)
}

fn interface_plan(text: &mut String, config: &Config, interface: &Interface) {
    let Interface { name, umem, ring_entries, fill_frames, .. } = interface;
    let taken: Vec<u32> = (config.ports.iter())
        .filter(|port| port.interface == *name)
        .map(|port| port.queue)
        .collect();
    let Interface { xdp, copy, multi_buffer, .. } = interface;
    let _ =
        writeln!(text, "\ninterface {name}: XDP {xdp}, copy {copy}, multi-buffer {multi_buffer}");
    let mib = |chunk_octets: u32| (u64::from(umem.frames) * u64::from(chunk_octets)) >> 20;
    let (size, mib) = match umem.chunk_octets {
        Some(octets) => (format!("{octets} octets each"), mib(octets).to_string()),
        None => {
            let mib = format!("{} or {}", mib(2048), mib(4096));
            ("2048 or 4096 octets each, as the driver needs".to_owned(), mib)
        }
    };
    let _ = writeln!(
        text,
        "  {}: {} chunks of {size}\n  \
         ({mib} MiB, pages {}), rings of {ring_entries}, {fill_frames} chunks for the kernel",
        queues(&taken),
        umem.frames,
        umem.pages,
    );
    for line in steering(config, interface).iter().flat_map(|line| wrap(line, 80 - 2)) {
        let _ = writeln!(text, "  {line}");
    }
    let mut number = 0;
    for (index, selector) in config.selectors(name) {
        number += 1;
        let line = format!("{number}. {} -> {}", words(selector), config.services[index].name);
        for (index, line) in wrap(&line, 80 - 7).into_iter().enumerate() {
            let _ = writeln!(text, "  {}{line}", if index == 0 { "" } else { "   " });
        }
    }
    let rest = if number == 0 { "all packets stay" } else { "what matches none stays" };
    let _ = writeln!(text, "  {rest} with the kernel");
}

/// What the network card is told about its queues, and what follows from it.
fn steering(config: &Config, interface: &Interface) -> Vec<String> {
    let (name, taken) = (&interface.name, config.taken(&interface.name));
    let mut said = match interface.steering {
        Steering::Rss if !taken.is_empty() => {
            let mut said = format!("steering rss: the RSS table leaves out {}", queues(&taken));
            if config.selectors(name).next().is_some() {
                said.push_str("; selectors get only what flow rules of yours send there");
            }
            vec![said]
        }
        Steering::Ntuple if !taken.is_empty() => {
            vec![format!(
                "steering ntuple: the RSS table leaves out {}; flow rules:",
                queues(&taken)
            )]
        }
        _ => return Vec::new(),
    };
    if interface.steering == Steering::Ntuple {
        let aims: Vec<Aim<'_>> = config.aims(name).collect();
        for queue in taken {
            let of: Vec<u32> = (1..)
                .zip(&aims)
                .filter(|(_, aim)| aim.queue == queue)
                .map(|(number, _)| number)
                .collect();
            said.push(match of.as_slice() {
                [] => format!("no selector to queue {queue}"),
                [one] => format!("selector {one} to queue {queue}"),
                many => format!("selectors {} to queue {queue}", list(many)),
            });
        }
    }
    said
}

/// A selector in words.
fn words(selector: &Selector) -> String {
    let Selector { destination, source, protocol, ports, fragments, protection } = selector;
    let protocol = match protocol {
        Protocol::Any => "all".to_owned(),
        Protocol::Number(1) => "ICMP".to_owned(),
        Protocol::Number(6) => "TCP".to_owned(),
        Protocol::Number(17) => "UDP".to_owned(),
        Protocol::Number(58) => "ICMPv6".to_owned(),
        Protocol::Number(number) => format!("protocol {number}"),
    };
    let mut words = format!("{protocol} to {}", network(*destination));
    if let Some(ports) = ports {
        let _ = write!(words, " port {ports}");
    }
    if let Some(source) = source {
        let _ = write!(words, " from {}", network(*source));
    }
    if ports.is_some() && *fragments == Fragments::Take {
        words.push_str(", and later fragments");
    }
    match protection {
        None => {}
        Some(Protection { engaged: true, .. }) => words.push_str(", protected always"),
        Some(Protection { engaged: false, .. }) => words.push_str(", protected when attacked"),
    }
    words
}

/// A network, or the address alone where it has only one.
fn network(prefix: Prefix) -> String {
    match (prefix.prefix_len(), prefix.is_ipv4()) {
        (0, true) => "any IPv4 address".to_owned(),
        (0, false) => "any IPv6 address".to_owned(),
        (32, true) | (128, false) => prefix.address().to_string(),
        _ => prefix.to_string(),
    }
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn shards(count: u32) -> String {
    if count == 1 { "1 shard".to_owned() } else { format!("{count} shards") }
}

fn queues(queues: &[u32]) -> String {
    match queues {
        [] => "no queue".to_owned(),
        [one] => format!("queue {one}"),
        many => format!("queues {}", list(many)),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::{EXAMPLE, Machine};

    use super::*;

    fn config(text: &str) -> Config {
        let machine = Machine { cpus: 2 };
        Config::parse_for("tide.toml", text, &machine).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn says_what_the_example_would_do() {
        let text = plan(&config(EXAMPLE));
        assert_eq!(
            text,
            "\
instance main, 2 shards on CPUs 0, 1
  shards sleep after 50us without work; a turn over 10ms is a stall
  a service that panics is built again up to 10 times a minute
  a stop takes 2s at most
  tidegate stats --instance main

shard 0 (CPU 0)
  eth1 queue 0: shield (scrub), camera (stream-send)
  eth2 queue 0: guard (scrub), camera (stream-send), radio (essence-send),
    monitor (stream-receive), listener (essence-receive), ping (echo)

shard 1 (CPU 1)
  eth1 queue 1: shield (scrub)

interface eth1: XDP auto, copy auto, multi-buffer auto
  queues 0, 1: 8192 chunks of 2048 or 4096 octets each, as the driver needs
  (16 or 32 MiB, pages auto), rings of 2048, 2048 chunks for the kernel
  1. UDP to 198.18.0.0/24 port 1000-2000 from any IPv4 address, and later
     fragments -> shield
  2. ICMPv6 to 2001:db8::/64 -> shield
  what matches none stays with the kernel

interface eth2: XDP auto, copy auto, multi-buffer auto
  queue 0: 8192 chunks of 2048 or 4096 octets each, as the driver needs
  (16 or 32 MiB, pages auto), rings of 2048, 2048 chunks for the kernel
  1. UDP to 198.18.2.1 port 30000-30020 -> monitor
  2. UDP to 198.18.2.1 port 30030 -> listener
  3. UDP to 198.18.2.1 port 7 -> ping
  what matches none stays with the kernel
"
        );
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }

    #[test]
    fn the_manual_is_good_for_the_stock_services_and_has_each_of_their_options() {
        let stock = Registry::stock();
        stock.check(&config(EXAMPLE)).unwrap_or_else(|error| panic!("{error}"));
        // A key that nobody has makes each table tell those that it has.
        let tables = [
            "zzz = 1",
            "protect = [{ zzz = 1 }]",
            "protect = [{ release = { zzz = 1 } }]",
            "sdp = { zzz = 1 }",
        ];
        for (kind, text) in stock.kinds().iter().flat_map(|kind| tables.map(|text| (kind, text))) {
            let options = tidegate_config::Options::from_text(text).unwrap();
            let error = kind.check(&options).unwrap_err();
            let mistake = &error.mistakes()[0];
            if !mistake.key.ends_with("zzz") || mistake.allowed == "no keys at all" {
                continue; // This kind has no rules, or no options.
            }
            for key in mistake.allowed.split(", ") {
                let given = format!("{key} = ");
                let header = format!("options.{key}]");
                let found = EXAMPLE.contains(&given) || EXAMPLE.contains(&header);
                assert!(found, "{} of {text:?}: {key} is not in example.toml", kind.name());
            }
        }
    }

    #[test]
    fn says_what_the_network_card_is_told() {
        let with = |steering: &str, services: &str| {
            let interface =
                format!("name = \"eth1\"\nqueues = \"0-2\"\nsteering = \"{steering}\"\n");
            let text = plan(&config(&format!(
                "[runtime]\nshards = 1\n[[interface]]\n{interface}\
                 [[service]]\nname = \"a\"\nkind = \"k\"\nqueues = [0, 1]\n{services}"
            )));
            let (_, rest) = text.split_once("for the kernel\n").unwrap();
            rest.lines().take_while(|line| !line.starts_with("  1.")).collect::<Vec<_>>().join("\n")
        };
        let one = |address| format!("{{ destination = \"{address}\" }},");
        let three =
            format!("selectors = [{}]", ["198.18.0.1", "198.18.0.2", "::1"].map(one).concat());
        assert_eq!(
            with("rss", &three),
            "  steering rss: the RSS table leaves out queues 0, 1; selectors get only what\n  \
             flow rules of yours send there"
        );
        assert_eq!(
            with("rss", ""),
            "  steering rss: the RSS table leaves out queues 0, 1\n  all packets stay with the kernel"
        );
        assert_eq!(
            with("ntuple", &three),
            "  steering ntuple: the RSS table leaves out queues 0, 1; flow rules:\n  \
             selectors 1, 3 to queue 0\n  selector 2 to queue 1"
        );
        assert_eq!(with("xdp", &three), "");
    }

    #[test]
    fn says_that_a_shard_has_nothing_or_no_queue() {
        let text = plan(&config(
            "[runtime]\nshards = 2\nidle = \"spin\"\n\
             [[service]]\nname = \"clock\"\nkind = \"tick\"\n",
        ));
        assert!(
            text.starts_with("instance main, 2 shards on all CPUs that it may use\n"),
            "{text}"
        );
        assert!(text.contains("  shards never sleep;"), "{text}");
        assert!(
            text.ends_with("shard 0\n  no queue: clock (tick)\n\nshard 1\n  nothing\n"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_fails_on_the_error_stream() {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let path = Path::new("/nonexistent/tide.toml");
        assert_eq!(run(path, &Registry::new(), &mut out, &mut errors).unwrap(), ExitCode::FAILURE);
        assert!(out.is_empty());
        let said = String::from_utf8(errors).unwrap();
        assert!(
            said.starts_with("the config file /nonexistent/tide.toml cannot be read"),
            "{said}"
        );
    }
}
