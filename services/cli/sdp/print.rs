//! `tidegate sdp print`: the SDP of a sender.
//!
//! The class in it (TP) is one that the sender has been seen to keep, by an instance of the config
//! that runs here and measures. Without one there is no SDP, unless a planned one is asked for: that
//! has the class that the config asks for, and says beside that nobody has seen it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tidegate_config::{Config, Service as Configured};
use tidegate_dataplane::sys::netlink::Netlink;
use tidegate_runtime::clock::{Clock, TaiOffset};
use tidegate_runtime::control;
use tidegate_runtime::service::Service as _;

use crate::cli::args::SdpPrint;
use crate::cli::check;
use crate::registry::Registry;
use crate::run::control_path;
use crate::stream::programme::alone;
use crate::stream::sdp::describe::session_alone;
use crate::stream::sdp::describe::{Advertised, Facts, NoClass, sender_type, session};
use crate::stream::sdp::session::{RefClock, Session};
use crate::stream::sdp::translate;
use crate::stream::sdp::video::SenderType;
use crate::stream::sender::Options;
use crate::stream::{EssenceSend, StreamSend};

/// What the machine knows about a sender.
struct Around<'a> {
    /// Whether a class may be said that nobody has seen kept.
    planned: bool,
    /// Answers `stats`, of the instance of the config; `None` where it does not run.
    stats: &'a dyn Fn() -> Option<Value>,
    /// The link address of an interface.
    mac: &'a dyn Fn(&str) -> Option<[u8; 6]>,
    /// Whether something told the kernel what TAI is.
    tai_is_known: bool,
    /// Seconds since 1970: of the config's last change, and now.
    changed: u64,
    now: u64,
}

/// Runs the command. Fails where there is no such sender, or it has kept no class.
pub(super) fn run(
    args: &SdpPrint,
    registry: &Registry,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<ExitCode> {
    let config = match check::load(&args.config, registry) {
        Ok(config) => config,
        Err(error) => {
            writeln!(errors, "{error}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let around = Around {
        planned: args.planned,
        stats: &|| control::request(&control_path(&config).ok()?, "stats").ok(),
        mac: &|interface| {
            let mac = Netlink::open().ok()?.link(interface).ok()?.mac;
            // A loopback has none, and writes it so.
            (mac != [0; 6]).then_some(mac)
        },
        tai_is_known: matches!(Clock::machine().tai_offset(), TaiOffset::Known(_)),
        changed: changed(&args.config),
        now: seconds(SystemTime::now()),
    };
    match print(&config, args.service.as_deref(), &around) {
        Ok(Printed { sdp, said }) => {
            for line in said {
                writeln!(errors, "{line}")?;
            }
            out.write_all(sdp.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(refusal) => {
            writeln!(errors, "{refusal}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// When the file was last changed, which is when what it describes was.
fn changed(path: &Path) -> u64 {
    let modified = path.metadata().and_then(|file| file.modified());
    modified.map_or(0, seconds)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// An SDP and what is to be said beside it.
#[derive(Debug)]
struct Printed {
    sdp: String,
    said: Vec<String>,
}

fn print(config: &Config, wanted: Option<&str>, around: &Around<'_>) -> Result<Printed, String> {
    let service = choose(config, wanted)?;
    if service.kind == EssenceSend::KIND {
        return print_alone(config, service, around);
    }
    let options: Options = service.options.parse().map_err(|error| error.to_string())?;
    let mut said = Vec::new();
    let name = &service.name;
    if options.unpaced {
        return Err(format!(
            "no SDP of {name:?}: it sends unpaced, which is no class of ST 2110-21; set unpaced to \
             false"
        ));
    }

    let asked = translate::sender(options.class);
    let (held, nobody) = match (around.stats)() {
        None => {
            let instance = &config.runtime.instance;
            (None, format!("no instance {instance:?} runs here that has measured it"))
        }
        Some(stats) => (held(&stats, name), "the running instance has not measured it".to_owned()),
    };
    if held.as_deref().is_none_or(|held| held == "unmeasured") {
        if !around.planned {
            return Err(format!(
                "no SDP of {name:?}: it names the class that was kept, and {nobody}; print it while \
                 the sender runs, or what is planned with --planned"
            ));
        }
        said.push(format!("TP={asked} is what {name:?} is asked to keep; {nobody}"));
    }
    let Advertised { sender, is_measured } =
        sender_type(asked, held.as_deref()).map_err(|NoClass| {
            format!(
                "no SDP of {name:?}: since its start it has kept no class of ST 2110-21, and an \
                 SDP must name one; `tidegate stats` says how far it was off"
            )
        })?;
    if is_measured && sender != asked {
        said.push(format!("{name:?} is asked for TP={asked} and has kept TP={sender}: that it is"));
    }

    let interface = options.interface.as_deref().or(service.interface.as_deref());
    let facts = Facts {
        name,
        id: id_of(config, name),
        // What was measured is of now; what is asked for, of the config.
        version: if sender == asked { around.changed } else { around.now },
        own_clock: interface.and_then(|interface| (around.mac)(interface)),
        sender,
    };
    let session = session(&options, &facts).ok_or_else(|| no_clock(name, interface))?;
    said.extend(doubts(&session, name, around));
    Ok(Printed { sdp: session.emit(), said })
}

/// The SDP of a sender without pictures, of which nothing is measured.
fn print_alone(
    config: &Config,
    service: &Configured,
    around: &Around<'_>,
) -> Result<Printed, String> {
    let options: alone::Options = service.options.parse().map_err(|error| error.to_string())?;
    let name = &service.name;
    let interface = options.interface.as_deref().or(service.interface.as_deref());
    let facts = Facts {
        name,
        id: id_of(config, name),
        version: around.changed,
        own_clock: interface.and_then(|interface| (around.mac)(interface)),
        // Of pictures, which it does not have.
        sender: SenderType::Wide,
    };
    let session = session_alone(&options, &facts).ok_or_else(|| no_clock(name, interface))?;
    let said = doubts(&session, name, around).into_iter().collect();
    Ok(Printed { sdp: session.emit(), said })
}

fn id_of(config: &Config, name: &str) -> u64 {
    u64::from(crc32fast::hash(format!("{}/{name}", config.runtime.instance).as_bytes()))
}

fn no_clock(name: &str, interface: Option<&str>) -> String {
    let interface = interface.unwrap_or("its interface");
    format!(
        "no SDP of {name:?}: its clock is known by the link address of {interface}, which is not \
         here or has none; run this where it sends, or set options.sdp.refclk"
    )
}

/// What is to be said of a clock that may not be what is claimed.
fn doubts(session: &Session, name: &str, around: &Around<'_>) -> Option<String> {
    let mut clocks = session.media.iter().flat_map(|media| &media.refclks);
    let is_ptp = clocks.any(|it| matches!(it, RefClock::Ptp(_)));
    (is_ptp && !around.tai_is_known).then(|| {
        format!(
            "{name:?} is said to follow PTP, while nothing has told this kernel what TAI is; is \
             ptp4l running, with phc2sys?"
        )
    })
}

/// The sender of that name, or the only one.
fn choose<'a>(config: &'a Config, wanted: Option<&str>) -> Result<&'a Configured, String> {
    let senders: Vec<&Configured> = config.services.iter().filter(|it| is_sender(it)).collect();
    let names: Vec<&str> = senders.iter().map(|it| it.name.as_str()).collect();
    let names = names.join(", ");
    match (senders.as_slice(), wanted) {
        ([], _) => Err(format!(
            "the config has no service of the kind {:?} or {:?}",
            StreamSend::KIND,
            EssenceSend::KIND
        )),
        ([only], None) => Ok(only),
        (_, None) => Err(format!("the config has several senders; --service one of {names}")),
        (senders, Some(wanted)) => (senders.iter().find(|it| it.name == wanted).copied())
            .ok_or_else(|| format!("no sender is called {wanted:?}; --service one of {names}")),
    }
}

fn is_sender(service: &Configured) -> bool {
    [StreamSend::KIND, EssenceSend::KIND].contains(&service.kind.as_str())
}

/// The class that the service has kept since its start, the worst of its shards.
fn held(stats: &Value, service: &str) -> Option<String> {
    const ORDER: [&str; 5] = ["unmeasured", "narrow", "narrow-linear", "wide", "none"];
    let shards = stats["shards"].as_array()?;
    let services = shards.iter().filter_map(|shard| shard["services"].as_array()).flatten();
    let words = services
        .filter(|it| it["name"] == service)
        .filter_map(|it| it["words"]["class_held_since_start"].as_str());
    words.max_by_key(|word| ORDER.iter().position(|it| it == word)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_config::Machine;

    use super::*;
    use crate::stream::sdp::read;

    const SENDER: &str = "[[service]]\nname = \"camera\"\nkind = \"stream-send\"\n\
        [service.options]\ndestination = \"239.1.2.1:20000\"\n\
        source_address = \"198.18.0.1:20000\"\nwidth = 1920\nheight = 1080\nrate = \"50\"\n\
        depth = 10\nclass = \"narrow\"\n";

    fn config(text: &str) -> Config {
        let text = format!("[[interface]]\nname = \"eth1\"\n{text}");
        Config::parse_for("tide.toml", &text, &Machine { cpus: 2 }).unwrap()
    }

    /// What is printed, of plans too.
    fn printed(text: &str, wanted: Option<&str>, held: Option<&str>) -> Result<Printed, String> {
        said(text, wanted, held, true)
    }

    fn said(
        text: &str,
        wanted: Option<&str>,
        held: Option<&str>,
        planned: bool,
    ) -> Result<Printed, String> {
        let words = held.map(|held| json!({ "class_held_since_start": held }));
        let services = json!([{ "name": "camera", "words": words.unwrap_or_default() }]);
        let stats = json!({ "shards": [{ "services": services }] });
        let around = Around {
            planned,
            stats: &|| held.map(|_| stats.clone()),
            mac: &|interface| (interface == "eth1").then_some([2, 0, 0, 0, 0, 9]),
            tai_is_known: false,
            changed: 100,
            now: 200,
        };
        print(&config(text), wanted, &around)
    }

    #[test]
    fn what_nobody_has_measured_is_said_to_be_asked_for() {
        let Printed { sdp, said } = printed(SENDER, None, None).unwrap();
        assert!(sdp.contains("TP=2110TPN;") && sdp.contains(" 100 IN IP4 198.18.0.1\r\n"), "{sdp}");
        assert!(sdp.contains("a=ts-refclk:localmac=02-00-00-00-00-09\r\n"), "{sdp}");
        assert_eq!(
            said,
            [
                "TP=2110TPN is what \"camera\" is asked to keep; no instance \"main\" runs here that \
              has measured it"
            ]
        );
        assert!(read(sdp.as_bytes()).findings.is_empty());
        let said = printed(SENDER, None, Some("unmeasured")).unwrap().said;
        assert!(said[0].ends_with("the running instance has not measured it"), "{said:?}");
    }

    #[test]
    fn what_nobody_has_measured_is_printed_as_a_plan_only() {
        let refusal = said(SENDER, None, None, false).unwrap_err();
        assert_eq!(
            refusal,
            "no SDP of \"camera\": it names the class that was kept, and no instance \"main\" runs \
             here that has measured it; print it while the sender runs, or what is planned with \
             --planned"
        );
        let refusal = said(SENDER, None, Some("unmeasured"), false).unwrap_err();
        assert!(
            refusal.contains("the running instance has not measured it; print it"),
            "{refusal}"
        );
        let kept = said(SENDER, None, Some("wide"), false).unwrap();
        assert!(kept.sdp.contains("TP=2110TPW;"), "{}", kept.sdp);
    }

    #[test]
    fn what_was_kept_is_said_and_nothing_better() {
        let Printed { sdp, said } = said(SENDER, None, Some("narrow"), false).unwrap();
        assert!(sdp.contains("TP=2110TPN;") && said.is_empty(), "{said:?}");
        let Printed { sdp, said } = printed(SENDER, None, Some("wide")).unwrap();
        assert!(sdp.contains("TP=2110TPW;") && sdp.contains(" 200 IN IP4"), "{sdp}");
        assert_eq!(
            said,
            ["\"camera\" is asked for TP=2110TPN and has kept TP=2110TPW: that it is"]
        );
        let refusal = printed(SENDER, None, Some("none")).unwrap_err();
        assert!(refusal.starts_with("no SDP of \"camera\": since its start it has kept no class"));
    }

    #[test]
    fn what_is_sent_as_fast_as_it_goes_has_no_class() {
        let refusal = printed(&format!("{SENDER}unpaced = true\n"), None, None).unwrap_err();
        assert!(refusal.contains("it sends unpaced, which is no class"), "{refusal}");
    }

    #[test]
    fn the_worst_shard_counts() {
        let service = |word: &str| json!({ "services": [{ "name": "a", "words": { "class_held_since_start": word } }] });
        let stats =
            json!({ "shards": [service("narrow"), service("wide"), service("unmeasured")] });
        assert_eq!(held(&stats, "a").as_deref(), Some("wide"));
        assert_eq!(held(&stats, "b"), None);
    }

    #[test]
    fn a_sender_is_named_where_there_are_several() {
        let two = format!("{SENDER}{}", SENDER.replace("camera", "second"));
        let refusal = printed(&two, None, None).unwrap_err();
        assert_eq!(refusal, "the config has several senders; --service one of camera, second");
        assert!(printed(&two, Some("second"), None).unwrap().sdp.contains("\r\ns=second\r\n"));
        let refusal = printed(&two, Some("third"), None).unwrap_err();
        assert_eq!(refusal, "no sender is called \"third\"; --service one of camera, second");
        let none = "[[service]]\nname = \"a\"\nkind = \"echo\"\n";
        let refusal = printed(none, None, None).unwrap_err();
        assert_eq!(
            refusal,
            "the config has no service of the kind \"stream-send\" or \"essence-send\""
        );
    }

    #[test]
    fn a_clock_is_never_made_up() {
        let elsewhere =
            SENDER.replace("[service.options]", "interface = \"eth1\"\n[service.options]");
        let elsewhere = elsewhere.replace("depth = 10\n", "depth = 10\ninterface = \"eth9\"\n");
        let refusal = printed(&elsewhere, None, None).unwrap_err();
        assert!(
            refusal.contains("the link address of eth9, which is not here or has none"),
            "{refusal}"
        );
        let ptp = "sdp = { refclk = \"ptp=IEEE1588-2008:traceable\" }\n";
        let Printed { sdp, said } = printed(&format!("{elsewhere}{ptp}"), None, None).unwrap();
        assert!(sdp.contains("a=ts-refclk:ptp=IEEE1588-2008:traceable\r\n"), "{sdp}");
        assert!(said[1].contains("nothing has told this kernel what TAI is"), "{said:?}");
    }
}
