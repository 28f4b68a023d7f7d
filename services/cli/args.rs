//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;
use tidegate_config::{CopyMode, DEFAULT_INSTANCE, LogLevel, Numbers, XdpMode};

use tidegate_runtime::clock::TAI_MINUS_UTC_SECONDS;

use super::measure::Only;
use crate::stream::sdp::video::{Colorimetry, Range};
use crate::stream::sdp::words::Word as _;
use crate::stream::timing::meter::Reference;
use crate::stream::timing::schedule::Scan;
use crate::stream::timing::{Class, Rate};
use crate::stream::video::{Depth, Sampling};

/// Thread-per-core services on AF_XDP: stream video out, shut floods out.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the services of a config until SIGTERM or Ctrl-C.
    Run(Run),
    /// Say what a config would do, and what is wrong with it.
    Check(Check),
    /// Show what a running tidegate does.
    Stats(Stats),
    /// Show all of it at once, on links of its own, and check every packet.
    Demo(Demo),
    /// Look for what stands in the way on this machine.
    Doctor(Doctor),
    /// Print, check and explain descriptions of streams (SDP).
    Sdp(Sdp),
    /// Put back what a killed process left on network cards.
    Restore(Restore),
    /// Measure receiving and dropping on an interface, which hears nothing meanwhile.
    ///
    /// Takes what arrives on the named queues out of the kernel, counts and drops it, and reports
    /// what that costs. Meanwhile this machine hears nothing of it; other queues stay with the
    /// kernel, and so does what is not IP. Nothing is transmitted. It ends by itself, and with
    /// Ctrl-C. The way of a default route and that of your own SSH session are refused unless you
    /// say twice that you mean it.
    Measure(Measure),
    /// Look at a stream of video.
    Stream(Stream),
    /// Say which packets of a capture the scrubbing service would drop, and why.
    ///
    /// Puts each packet into exactly one of two files. The capture is read twice: first for who
    /// speaks with whom, then it is judged. A destination is judged while it is engaged: by the
    /// clock of the capture and the default thresholds, or from the first packet on with --engaged.
    /// Needs no privilege.
    Scrub(Scrub),
    /// Print the completions for a shell.
    Completions(Completions),
}

/// Arguments of `run`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Run {
    /// The config; config/example.toml is the manual.
    #[arg(long, value_name = "PATH")]
    pub config: PathBuf,
    /// Least severe level to log, instead of the config's.
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub log: Option<LogLevel>,
    /// CPUs for the shards, as 0-3,8, instead of the config's.
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<Numbers>,
}

/// Arguments of `check`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Check {
    /// The config to check.
    #[arg(long, value_name = "PATH")]
    pub config: PathBuf,
}

/// Arguments of `stats`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Stats {
    /// Show it again each second, with rates.
    #[arg(long)]
    pub watch: bool,
    /// Print the numbers as JSON, one object a line.
    #[arg(long)]
    pub json: bool,
    /// Instance to ask: runtime.instance of its config.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_INSTANCE)]
    pub instance: String,
    /// Control socket to ask: runtime.control_socket of its config.
    #[arg(long, value_name = "PATH", conflicts_with = "instance")]
    pub socket: Option<PathBuf>,
}

/// Arguments of `demo`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Demo {
    /// How long to run.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Print one JSON object at the end and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Least severe level to log.
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub log: Option<LogLevel>,
}

/// Arguments of `doctor`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Doctor {
    /// Interfaces to look at; all but the loopback if none is named.
    #[arg(value_name = "INTERFACE")]
    pub interfaces: Vec<String>,
    /// Print findings and facts as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `sdp`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Sdp {
    /// What to do with it.
    #[command(subcommand)]
    pub command: SdpCommand,
}

/// What to do with an SDP.
#[derive(Clone, Debug, Subcommand)]
pub enum SdpCommand {
    /// Print that of a sender.
    Print(SdpPrint),
    /// Say what is wrong with it, and in which line.
    Check(SdpCheck),
    /// Say what it is, and what tidegate would do with it.
    Explain(SdpExplain),
}

/// Arguments of `sdp print`.
#[derive(Clone, Debug, ClapArgs)]
pub struct SdpPrint {
    /// The config with the sender.
    #[arg(long, value_name = "PATH")]
    pub config: PathBuf,
    /// The sender, where the config has several.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Before anything was sent: print the class that is asked for, which nobody has seen kept.
    #[arg(long)]
    pub planned: bool,
}

/// Arguments of `sdp check`.
#[derive(Clone, Debug, ClapArgs)]
pub struct SdpCheck {
    /// The SDPs; - is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `sdp explain`.
#[derive(Clone, Debug, ClapArgs)]
pub struct SdpExplain {
    /// The SDP; - is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `restore`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Restore {
    /// Interfaces to put back; all on which something was left if none is named.
    #[arg(value_name = "INTERFACE")]
    pub interfaces: Vec<String>,
}

/// Arguments of `measure`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Measure {
    /// The interface to measure on.
    #[arg(value_name = "INTERFACE")]
    pub interface: String,
    /// Queues to take, as 0-3,8; may be given several times. Default: 0.
    #[arg(long = "queue", value_name = "LIST")]
    pub queue: Vec<Numbers>,
    /// How long to measure.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Take only these packets; may be given several times.
    #[arg(long, value_name = "DESTINATION[,PROTOCOL[,PORTS]]")]
    pub only: Vec<Only>,
    /// Whether the network card reaches the memory itself.
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = copy_mode())]
    pub copy: CopyMode,
    /// Where the XDP program runs.
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = xdp_mode())]
    pub xdp: XdpMode,
    /// Print one JSON object at the end and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Measure although the default route or your session goes through the interface; needs
    /// --yes-cut-me-off too.
    #[arg(long)]
    pub allow_default_route: bool,
    /// Say it again: this may cut you off.
    #[arg(long)]
    pub yes_cut_me_off: bool,
    /// Least severe level to log.
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub log: Option<LogLevel>,
}

impl Measure {
    /// The queues to take, each once.
    pub fn queues(&self) -> Vec<u32> {
        let mut queues: Vec<u32> =
            self.queue.iter().flat_map(|list| list.as_slice()).copied().collect();
        queues.sort_unstable();
        queues.dedup();
        if queues.is_empty() { vec![0] } else { queues }
    }
}

/// Arguments of `stream`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Stream {
    /// What to do.
    #[command(subcommand)]
    pub command: StreamCommand,
}

/// What to do with a stream.
#[derive(Clone, Debug, Subcommand)]
pub enum StreamCommand {
    /// Measure a captured stream by ST 2110-21, and draw it.
    ///
    /// Computes VRX and C_INST of each packet as the EBU's LIST does, says which class each
    /// picture kept, and draws both as SVG. The capture needs nanoseconds, as with
    /// `tcpdump -i eth1 -s 96 --time-stamp-precision nano -w a.pcap udp port 20000`; the number
    /// of packets of a picture is learned from it.
    Plot(Plot),
    /// Find out what comes: of which format, how it is cut and timed, and what is lost.
    ///
    /// Listens to an interface for a few seconds, which needs root and takes nothing away from
    /// anybody, or reads a capture. Packets that a running tidegate takes never come to it. What several formats have in common is said, and so is what packets
    /// do not tell; the SDP that is printed has what they do.
    Probe(Probe),
    /// Make a PNG of a picture of a captured stream.
    ///
    /// The capture must have whole packets, as with `tcpdump -i eth1 -s 0 -w a.pcap udp port
    /// 20000`. What the packets say of the format need not be given. Of a receiver that runs, the
    /// sink "png" makes pictures.
    Picture(Picture),
}

/// Arguments of `stream plot`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Plot {
    /// The capture, pcap or pcapng.
    #[arg(value_name = "PCAP")]
    pub capture: PathBuf,
    /// Frames per second, as 50 or 30000/1001.
    #[arg(long, value_name = "RATE")]
    pub rate: Rate,
    /// Lines of a frame.
    #[arg(long, value_name = "LINES")]
    pub height: u32,
    /// How frames are scanned.
    #[arg(long, value_name = "SCAN", default_value = "progressive", value_parser = scan())]
    pub scan: Scan,
    /// The class that the sender claims; narrow has a gapped schedule, the others a linear one.
    #[arg(long, value_name = "CLASS", default_value = "wide", value_parser = class())]
    pub class: Class,
    /// TROFFSET in microseconds. Default: the standard's.
    #[arg(long, value_name = "N")]
    pub troffset_us: Option<u32>,
    /// What times are measured from.
    #[arg(long, value_name = "WHAT", default_value = "epoch", value_parser = reference())]
    pub reference: Reference,
    /// Seconds by which TAI is ahead of the capture's clock.
    #[arg(long, value_name = "N", default_value_t = TAI_MINUS_UTC_SECONDS)]
    pub tai_offset: u32,
    /// UDP port of the stream. Default: that of the first packet of video.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Where to draw.
    #[arg(long, value_name = "SVG")]
    pub out: Option<PathBuf>,
    /// Pictures to draw.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub pictures: u32,
    /// Pictures to skip before those that are drawn.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: u32,
}

/// Arguments of `stream probe`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Probe {
    /// The interface to listen to.
    #[arg(value_name = "INTERFACE", required_unless_present = "read", conflicts_with = "read")]
    pub interface: Option<String>,
    /// A capture to read, pcap or pcapng; it may be cut, as with tcpdump -s 96.
    #[arg(long, value_name = "PCAP")]
    pub read: Option<PathBuf>,
    /// How long to listen.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// A group to be a member of meanwhile, as 239.1.2.3, of one source as 239.1.2.3@192.168.1.10;
    /// may be given several times. Without it comes what comes anyway.
    #[arg(long, value_name = "GROUP[@SOURCE]", conflicts_with = "read", value_parser = group)]
    pub join: Vec<(IpAddr, Option<IpAddr>)>,
    /// Only streams to this UDP port.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// What times are measured from.
    #[arg(long, value_name = "WHAT", default_value = "first-packet", value_parser = reference())]
    pub reference: Reference,
    /// Seconds by which TAI is ahead of the clock that stamps packets.
    #[arg(long, value_name = "N", default_value_t = TAI_MINUS_UTC_SECONDS)]
    pub tai_offset: u32,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `stream picture`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Picture {
    /// The capture, pcap or pcapng, of whole packets.
    #[arg(value_name = "PCAP")]
    pub capture: PathBuf,
    /// Where to write.
    #[arg(value_name = "PNG")]
    pub out: PathBuf,
    /// Which of the whole pictures, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub number: u64,
    /// UDP port of the stream. Default: that with most packets.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Pixels of a line, where the packets do not say.
    #[arg(long, value_name = "PIXELS")]
    pub width: Option<u32>,
    /// Lines of a frame. Default: up to the last that came.
    #[arg(long, value_name = "LINES")]
    pub height: Option<u32>,
    /// Frames per second, where timestamps do not say.
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// Which samples, where the packets do not say.
    #[arg(long, value_name = "SAMPLING", value_parser = sampling())]
    pub sampling: Option<Sampling>,
    /// Bits of a sample, where the packets do not say.
    #[arg(long, value_name = "BITS", value_parser = depth())]
    pub depth: Option<Depth>,
    /// Colour primaries and matrix. Default: BT601 up to 576 lines, else BT709.
    #[arg(long, value_name = "NAME", value_parser = colorimetry())]
    pub colorimetry: Option<Colorimetry>,
    /// Which sample values are used. Default: NARROW.
    #[arg(long, value_name = "RANGE", value_parser = range())]
    pub range: Option<Range>,
}

/// Arguments of `scrub`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Scrub {
    /// The capture, pcap or pcapng: Ethernet, raw IP, Linux cooked, loopback or PPP.
    #[arg(long, value_name = "CAPTURE")]
    pub read: PathBuf,
    /// Where to write what passes, as pcapng.
    #[arg(long, value_name = "PCAPNG")]
    pub passed: PathBuf,
    /// Where to write what is dropped or challenged, as pcapng with the reason of each packet in its
    /// comment.
    #[arg(long, value_name = "PCAPNG")]
    pub dropped: PathBuf,
    /// The rules. Default: the shipped presets.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Judge as if all destinations were under attack.
    #[arg(long)]
    pub engaged: bool,
    /// Print a line for each packet: its number, what becomes of it, which rule decided and why. The
    /// summary goes to standard error then.
    #[arg(long)]
    pub explain: bool,
}

/// Arguments of `completions`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// Levels by their words, which also stand in the help and the completions.
fn level() -> impl clap::builder::TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(LogLevel::WORDS)
        .map(|word| LogLevel::of(&word).expect("only its words are possible"))
}

fn class() -> impl clap::builder::TypedValueParser<Value = Class> {
    PossibleValuesParser::new(Class::WORDS)
        .map(|word| Class::of(&word).expect("only its words are possible"))
}

fn scan() -> impl clap::builder::TypedValueParser<Value = Scan> {
    PossibleValuesParser::new(Scan::WORDS)
        .map(|word| Scan::of(&word).expect("only its words are possible"))
}

fn reference() -> impl clap::builder::TypedValueParser<Value = Reference> {
    PossibleValuesParser::new(Reference::WORDS)
        .map(|word| Reference::of(&word).expect("only its words are possible"))
}

/// A group, and perhaps the one source whose packets are wanted.
fn group(text: &str) -> Result<(IpAddr, Option<IpAddr>), String> {
    let (group, source) = match text.split_once('@') {
        Some((group, source)) => (group, Some(source)),
        None => (text, None),
    };
    let address = |text: &str| text.parse().map_err(|_| format!("{text:?} is no address"));
    let group: IpAddr = address(group)?;
    if !group.is_multicast() {
        return Err(format!("{group} is no group: those are 224.0.0.0/4 and ff00::/8"));
    }
    Ok((group, source.map(address).transpose()?))
}

fn sampling() -> impl clap::builder::TypedValueParser<Value = Sampling> {
    let all = Sampling::ALL;
    PossibleValuesParser::new(all.map(Sampling::name)).map(move |word| {
        let found = all.into_iter().find(|it| it.name() == word);
        found.expect("only its words are possible")
    })
}

fn depth() -> impl clap::builder::TypedValueParser<Value = Depth> {
    PossibleValuesParser::new(["8", "10", "12", "16"]).map(|word| {
        let found = Depth::ALL.into_iter().find(|it| it.bits().to_string() == word);
        found.expect("only its words are possible")
    })
}

fn colorimetry() -> impl clap::builder::TypedValueParser<Value = Colorimetry> {
    PossibleValuesParser::new(Colorimetry::WORDS)
        .map(|word| Colorimetry::of(&word).expect("only its words are possible"))
}

fn range() -> impl clap::builder::TypedValueParser<Value = Range> {
    PossibleValuesParser::new(Range::WORDS)
        .map(|word| Range::of(&word).expect("only its words are possible"))
}

fn copy_mode() -> impl clap::builder::TypedValueParser<Value = CopyMode> {
    PossibleValuesParser::new(CopyMode::WORDS)
        .map(|word| CopyMode::of(&word).expect("only its words are possible"))
}

fn xdp_mode() -> impl clap::builder::TypedValueParser<Value = XdpMode> {
    PossibleValuesParser::new(XdpMode::WORDS)
        .map(|word| XdpMode::of(&word).expect("only its words are possible"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = ["tidegate"].into_iter().chain(line.split_whitespace());
        Args::try_parse_from(words).map(|args| args.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn reads_each_command() {
        let Ok(Command::Run(run)) = parse("run --config a.toml --log debug --cpus 0-1,3") else {
            panic!("run")
        };
        assert_eq!(run.log, Some(LogLevel::Debug));
        assert_eq!(run.cpus.unwrap().as_slice(), [0, 1, 3]);
        assert!(matches!(parse("check --config a.toml"), Ok(Command::Check(_))));
        let Ok(Command::Stats(stats)) = parse("stats --watch --json") else { panic!("stats") };
        assert!(stats.watch && stats.json && stats.instance == "main");
        let Ok(Command::Demo(demo)) = parse("demo --seconds 3 --json") else { panic!("demo") };
        assert_eq!(demo.seconds, 3);
        let Ok(Command::Doctor(doctor)) = parse("doctor eth0 eth1") else { panic!("doctor") };
        assert_eq!(doctor.interfaces, ["eth0", "eth1"]);
        let Ok(Command::Restore(restore)) = parse("restore eth1") else { panic!("restore") };
        assert_eq!(restore.interfaces, ["eth1"]);
        let Ok(Command::Measure(measure)) = parse("measure eth1 --queue 3 --queue 0-1,3 --json")
        else {
            panic!("measure")
        };
        assert_eq!((measure.queues(), measure.seconds), (vec![0, 1, 3], 10));
        let Ok(Command::Measure(measure)) = parse("measure eth1 --copy zero-copy") else {
            panic!("measure")
        };
        assert_eq!((measure.queues(), measure.copy), (vec![0], CopyMode::ZeroCopy));
        let Ok(Command::Stream(Stream { command: StreamCommand::Probe(probe) })) =
            parse("stream probe eth1 --join 239.1.2.3@198.18.0.1 --join ff0e::1")
        else {
            panic!("stream probe")
        };
        assert_eq!(probe.join[0].1, Some([198, 18, 0, 1].into()));
        assert_eq!((probe.join.len(), probe.join[1].1), (2, None));
        let Ok(Command::Stream(Stream { command: StreamCommand::Picture(picture) })) =
            parse("stream picture a.pcap a.png --depth 12 --sampling RGB --range FULL")
        else {
            panic!("stream picture")
        };
        assert_eq!((picture.depth, picture.range), (Some(Depth::Twelve), Some(Range::Full)));
        assert!(matches!(parse("completions bash"), Ok(Command::Completions(_))));
        let Ok(Command::Sdp(Sdp { command: SdpCommand::Check(check) })) =
            parse("sdp check a.sdp - --json")
        else {
            panic!("sdp check")
        };
        assert!(check.json && check.files.len() == 2);
        let Ok(Command::Sdp(Sdp { command: SdpCommand::Print(print) })) =
            parse("sdp print --config a.toml --service camera")
        else {
            panic!("sdp print")
        };
        assert_eq!(print.service.as_deref(), Some("camera"));
        assert!(matches!(
            parse("sdp explain -"),
            Ok(Command::Sdp(Sdp { command: SdpCommand::Explain(_) }))
        ));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for line in [
            "run",
            "run --config a --log loud",
            "run --config a --cpus 3-0",
            "demo --seconds 0",
            "stats --instance a --socket /b",
            "completions cobol",
            "sdp",
            "sdp check",
            "sdp print",
            "sdp explain a b",
            "measure",
            "stream probe",
            "stream probe eth1 --join 198.18.0.1",
            "stream probe --read a.pcap --join 239.1.2.3",
            "stream picture a.pcap",
            "stream picture a.pcap a.png --depth 9",
            "measure eth1 --seconds 0",
            "measure eth1 --copy some",
            "measure eth1 --only everything",
            "frobnicate",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        let error = parse("run --config a --cpus 3-0").unwrap_err().to_string();
        assert!(error.contains("which runs backwards; allowed: \"0-3\""), "{error}");
    }
}
