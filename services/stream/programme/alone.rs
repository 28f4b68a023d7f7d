//! The sending service without pictures: sound, ancillary data, or both.

use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;
use tidegate_config::Selector;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::service::{Build, BuildError, Service, ServiceError};

use super::lanes::{Common, Lanes};
use super::options;
use crate::registry::{Selects, Unfit};
use crate::stream::departure::{Checksum, LaunchTime};
use crate::stream::header::Marks;
use crate::stream::route::{Dscp, Patience, Tag, Ttl};
use crate::stream::sdp::describe::Described;
use crate::stream::sender;

/// The options table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// From where: our address on the interface, and a UDP port.
    pub source_address: SocketAddr,
    /// The interface to send on; needed where the shard has more than one.
    #[serde(default)]
    pub interface: Option<Box<str>>,
    /// VLAN that packets are tagged with.
    #[serde(default)]
    pub vlan: Option<Tag>,
    /// Differentiated services code point.
    #[serde(default)]
    pub dscp: Dscp,
    /// Time to live, or hop limit.
    #[serde(default)]
    pub ttl: Ttl,
    /// What its SDP says beside.
    #[serde(default)]
    pub sdp: Described,
    /// Whether packets have a UDP checksum.
    #[serde(default)]
    pub checksum: Checksum,
    /// Whether the card sends each packet at its own time.
    #[serde(default)]
    pub launch_time: LaunchTime,
    /// The sound.
    #[serde(default)]
    pub audio: Option<options::Audio>,
    /// The ancillary data.
    #[serde(default)]
    pub ancillary: Option<options::Ancillary>,
}

/// Neither sound nor ancillary data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// Is sent.
    Sent,
    /// Is received.
    Received,
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, kind) = match self {
            Self::Sent => ("send", "stream-send"),
            Self::Received => ("receive", "stream-receive"),
        };
        write!(
            f,
            "nothing to {what}: set [service.options.audio] or [service.options.ancillary]; \
             pictures, with or without them, are of kind = {kind:?}"
        )
    }
}

impl std::error::Error for Nothing {}

/// Sends sound, ancillary data, or both.
#[derive(Debug)]
pub struct EssenceSend(Lanes);

impl Service for EssenceSend {
    const KIND: &'static str = "essence-send";
    type Options = Options;

    fn build(options: &Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        if options.audio.is_none() && options.ancillary.is_none() {
            return Err(BuildError::new(Nothing::Sent));
        }
        let interface = options.interface.as_deref();
        let port = sender::choose_port(build.name(), interface, build.ports());
        let port = port.map_err(BuildError::new)?;
        let Options { vlan, dscp, ttl, source_address, checksum, launch_time, .. } = *options;
        let common = Common {
            port,
            facts: &build.ports()[port],
            source_address,
            marks: Marks { vlan: vlan.map(|Tag(vlan)| vlan), dscp: dscp.0, ttl: ttl.0 },
            checksum,
            launch_time,
            patience: if build.is_anew() { Patience::None } else { Patience::Wait },
        };
        let (audio, ancillary) = (options.audio.as_ref(), options.ancillary.as_ref());
        let not_taken =
            build.drop_reason("not_taken", "Packets that were due and found no room to leave");
        Lanes::new(build, &common, audio, ancillary, None, not_taken).map(Self)
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        self.0.begin(cx.tai_ns());
        // Until the shard drains: the time never comes.
        let _ = self.0.rest_until(cx, u64::MAX).await;
        Ok(())
    }
}

impl Selects for EssenceSend {
    /// It receives nothing; here is only seen what does not go together.
    fn selectors(options: &Options) -> Result<Vec<Selector>, Unfit> {
        options::check(options.audio.as_ref(), options.ancillary.as_ref(), None)?;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_a_stream_is_refused_with_the_remedy() {
        assert_eq!(
            Nothing::Sent.to_string(),
            "nothing to send: set [service.options.audio] or [service.options.ancillary]; \
             pictures, with or without them, are of kind = \"stream-send\""
        );
        assert!(Nothing::Received.to_string().contains("kind = \"stream-receive\""));
    }
}
