//! A program of one's own: tidegate with services more. The command line is the same.

mod unruly;

use std::num::NonZeroU64;
use std::process::ExitCode;

use serde::Deserialize;
use tidegate::registry::Registry;
use tidegate::runtime::burst::Burst;
use tidegate::runtime::context::ShardContext;
use tidegate::runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate::runtime::verdict::{DropReason, Verdict};

/// Lets one packet in so many through to the kernel.
struct Sampler {
    one_in: NonZeroU64,
    seen: u64,
    left_out: DropReason,
}

/// `[service.options]` in the config.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    one_in: NonZeroU64,
}

impl BurstHandler for Sampler {
    const KIND: &'static str = "sampler";
    const REINJECTS: bool = true;
    type Options = Options;

    fn build(options: &Options, build: &mut Build<'_>) -> Result<Self, BuildError> {
        let left_out = build.drop_reason("left_out", "Frames dropped: not the one in so many");
        Ok(Self { one_in: options.one_in, seen: 0, left_out })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for frame in burst.frames.drain(..) {
            let chosen = self.seen % self.one_in == 0;
            self.seen += 1;
            cx.settle(frame, if chosen { Verdict::Reinject } else { Verdict::Drop(self.left_out) });
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    tidegate::main_with(&Registry::stock().add::<Sampler>().add::<unruly::Unruly>())
}
