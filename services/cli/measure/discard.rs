//! The service that is measured with: it looks at nothing and drops everything.

use tidegate_runtime::burst::Burst;
use tidegate_runtime::context::ShardContext;
use tidegate_runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate_runtime::verdict::{DropReason, Verdict};

use crate::registry::NoOptions;

/// Drops every frame, for a reason of its own.
pub(super) struct Discard(DropReason);

impl BurstHandler for Discard {
    const KIND: &'static str = "discard";
    type Options = NoOptions;

    fn build(_: &NoOptions, build: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self(build.drop_reason("measured", "Frames dropped: they were only counted")))
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for frame in burst.frames.drain(..) {
            cx.settle(frame, Verdict::Drop(self.0));
        }
        Ok(())
    }
}
