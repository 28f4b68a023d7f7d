//! The commands that operate a scrubber that runs.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use clap::{ArgGroup, Args as ClapArgs, Subcommand, ValueEnum};
use tidegate_config::DEFAULT_INSTANCE;

/// Who is asked.
#[derive(Clone, Debug, ClapArgs)]
pub struct Asked {
    /// Instance to ask: runtime.instance of its config.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_INSTANCE)]
    pub instance: String,
    /// Control socket to ask: runtime.control_socket of its config.
    #[arg(long, value_name = "PATH", conflicts_with = "instance")]
    pub socket: Option<PathBuf>,
    /// The scrubber, where the instance has several.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// Arguments of `rules`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Rules {
    /// What to do with them.
    #[command(subcommand)]
    pub command: RulesCommand,
}

/// What to do with rules.
#[derive(Clone, Debug, Subcommand)]
pub enum RulesCommand {
    /// Print the rules that are in force, in their order.
    List(RulesList),
    /// Say what is wrong with a file of rules. Asks nobody.
    Check(RulesCheck),
    /// Put one rule among those in force.
    Add(RulesAdd),
    /// Take one rule out.
    Remove(RulesRemove),
    /// Put the rules of a file in the place of all that are in force.
    Replace(RulesReplace),
    /// Show what each rule did.
    Hits(RulesHits),
}

/// Arguments of `rules list`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RulesList {
    /// Who is asked.
    #[command(flatten)]
    pub asked: Asked,
    /// Print them as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `rules check`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RulesCheck {
    /// The file; - is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `rules add`.
#[derive(Clone, Debug, ClapArgs)]
#[command(group = ArgGroup::new("place"))]
pub struct RulesAdd {
    /// The rule: NAME: ACTION when EXPRESSION.
    #[arg(value_name = "RULE")]
    pub rule: String,
    /// Before the rule of this name.
    #[arg(long, value_name = "NAME", group = "place")]
    pub before: Option<String>,
    /// Before all others.
    #[arg(long, group = "place")]
    pub first: bool,
    /// Behind all others; so it is where nothing is said.
    #[arg(long, group = "place")]
    pub last: bool,
    /// Who is asked.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `rules remove`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RulesRemove {
    /// The rule's name.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Who is asked.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `rules replace`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RulesReplace {
    /// The file; - is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Who is asked.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `rules hits`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RulesHits {
    /// Print them as JSON, with those that did nothing and by core.
    #[arg(long)]
    pub json: bool,
    /// Who is asked.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `capture`.
#[derive(Clone, Debug, ClapArgs)]
#[command(group = ArgGroup::new("fate").required(true))]
pub struct Capture {
    /// Packets that were dropped.
    #[arg(long, group = "fate")]
    pub dropped: bool,
    /// Packets that went on into the kernel.
    #[arg(long, group = "fate")]
    pub passed: bool,
    /// Packets whose source was challenged.
    #[arg(long, group = "fate")]
    pub challenged: bool,
    /// All that were judged.
    #[arg(long, group = "fate")]
    pub all: bool,
    /// Only those on which this rule decided.
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// One of so many on each core, as 1/1000.
    #[arg(long, value_name = "1/N", default_value = "1/1", value_parser = one_in())]
    pub sample: NonZeroU32,
    /// Packets to write, at most.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub count: u64,
    /// How long to capture, at most.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// The capture to write, as pcapng; - is standard output.
    #[arg(long, value_name = "FILE")]
    pub write: PathBuf,
    /// Who is asked.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `top`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Top {
    /// What to show the most frequent of.
    #[arg(value_name = "WHAT", default_value = "sources")]
    pub what: TopOf,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub count: u16,
    /// Show it again each second.
    #[arg(long)]
    pub watch: bool,
    /// Print it as JSON, one object a line.
    #[arg(long)]
    pub json: bool,
    /// Who is asked.
    #[command(flatten)]
    pub asked: Asked,
}

/// What `top` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopOf {
    /// Source addresses.
    Sources,
    /// Destination addresses.
    Destinations,
    /// Protocols and destination ports.
    Ports,
    /// Rules.
    Rules,
}

/// Arguments of `engage` and `release`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Engage {
    /// The destination, as `stats` names it; all if none is named.
    #[arg(value_name = "DESTINATION")]
    pub destination: Option<String>,
    /// Back to what the config says.
    #[arg(long)]
    pub auto: bool,
    /// Who is asked.
    #[command(flatten)]
    pub asked: Asked,
}

fn one_in() -> impl Clone + Send + Sync + clap::builder::TypedValueParser<Value = NonZeroU32> {
    clap::builder::NonEmptyStringValueParser::new().try_map(|text| {
        let number = text.strip_prefix("1/").unwrap_or("").parse::<NonZeroU32>();
        number.map_err(|_| "a share is written as 1/1000: one of a thousand")
    })
}
