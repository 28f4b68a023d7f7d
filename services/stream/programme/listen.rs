//! The receiving service without pictures: sound, ancillary data, or both.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::Selector;
use tidegate_dataplane::wire::Fragment;
use tidegate_dataplane::wire::ethernet::Vlan;
use tidegate_dataplane::wire::packet::{Packet, Transport};
use tidegate_runtime::burst::{Burst, Delivery};
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::service::{Build, BuildError, Service, ServiceError};
use tidegate_runtime::verdict::Verdict;

use super::alone::Nothing;
use super::receive::{self, Came, Ears, Wanted};
use crate::registry::{Selects, Unfit};
use crate::stream::membership::{self, Membership};
use crate::stream::receiver::{self, FINISH_NS, LOOK_NS, Reasons};
use crate::stream::redundancy::SkewClass;
use crate::stream::route::Tag;

/// The options table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// An SDP that describes the streams.
    #[serde(default)]
    pub sdp: Option<PathBuf>,
    /// How far one path may be behind the other: a class of ST 2022-7.
    #[serde(default)]
    pub skew_class: Option<SkewClass>,
    /// The same in microseconds.
    #[serde(default)]
    pub skew_us: Option<u32>,
    /// The VLAN that packets of the first paths are tagged with; any, or none, where it is missing.
    #[serde(default)]
    pub vlan: Option<Tag>,
    /// Whether its groups are joined.
    #[serde(default)]
    pub membership: membership::Wish,
    /// The sound.
    #[serde(default)]
    pub audio: Option<receive::Audio>,
    /// The ancillary data.
    #[serde(default)]
    pub ancillary: Option<receive::Ancillary>,
}

impl Options {
    fn wanted(&self) -> Result<Wanted<'_>, Unfit> {
        Ok(Wanted {
            sdp: self.sdp.as_deref(),
            audio: self.audio.as_ref(),
            ancillary: self.ancillary.as_ref(),
            pictures: None,
            skew: receiver::skew(self.skew_class, self.skew_us)?,
            vlan: self.vlan,
        })
    }
}

/// Receives sound, ancillary data, or both.
#[derive(Debug)]
pub struct EssenceReceive {
    ears: Ears,
    reasons: Reasons,
    /// Held, and so a member, for as long as it runs.
    _membership: Membership,
}

impl Service for EssenceReceive {
    const KIND: &'static str = "essence-receive";
    const READS_PARTS: bool = true;
    type Options = Options;

    fn build(options: &Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        if options.audio.is_none() && options.ancillary.is_none() {
            return Err(BuildError::new(Nothing::Received));
        }
        let wanted = options.wanted().map_err(BuildError::new)?;
        let ears = Ears::new(build, &wanted)?;
        let tells = wanted.tells().map_err(BuildError::new)?;
        let membership = Membership::of(options.membership, tells, build.ports());
        Ok(Self {
            ears,
            reasons: Reasons::register(build),
            _membership: membership.map_err(BuildError::new)?,
        })
    }

    async fn run(&mut self, cx: &mut ShardContext) -> Result<(), ServiceError> {
        let mut burst = Burst::default();
        let longest = cx.ports().iter().map(|port| port.packet_capacity_octets).max();
        let mut memory = Vec::with_capacity(longest.unwrap_or(0));
        loop {
            // While a sink works, its counts change without a packet.
            let until_ns = if self.ears.sinks_work() { cx.now_ns() + LOOK_NS } else { u64::MAX };
            if cx.recv_until(&mut burst, until_ns).await == Delivery::Drained {
                break;
            }
            for frame in burst.frames.drain(..) {
                let port = frame.port();
                let verdict = self.judge(port, frame.contiguous(&mut memory), burst.at_ns);
                cx.settle(frame, verdict);
            }
            self.ears.tick(cx.now_ns());
            self.ears.publish(cx);
        }
        self.ears.end();
        let deadline_ns = cx.now_ns() + FINISH_NS;
        while !self.ears.finished() {
            if cx.now_ns() > deadline_ns {
                tracing::warn!("a sink did not finish in time; what it had left is lost");
                break;
            }
            futures_lite::future::yield_now().await;
        }
        self.ears.publish(cx);
        Ok(())
    }
}

impl Selects for EssenceReceive {
    fn selectors(options: &Options) -> Result<Vec<Selector>, Unfit> {
        options.wanted()?.check(&[])
    }
}

impl EssenceReceive {
    /// Takes one packet.
    fn judge(&mut self, shard_port: u16, octets: &[u8], at_ns: u64) -> Verdict {
        let Ok(packet) = Packet::parse(octets) else {
            return Verdict::Drop(self.reasons.malformed);
        };
        let (Transport::Udp(udp), Fragment::Whole) = (packet.transport(), packet.fragment()) else {
            return Verdict::Drop(self.reasons.not_ours);
        };
        let (to, from) = (packet.destination(), packet.source());
        let tag = packet.ethernet().tags().next().map(Vlan::id);
        let came = Came { shard_port, udp_port: udp.destination(), to, from, tag, at_ns };
        let outcome = self.ears.packet(&came, udp.payload());
        outcome.map_or(Verdict::Drop(self.reasons.not_ours), |it| self.reasons.of(it))
    }
}
