//! A service that breaks the rules when a packet asks it to, for the tests of what the runtime
//! makes of that. Not to be copied.

use std::mem;
use std::thread;
use std::time::Duration;

use tidegate::dataplane::frame::Frame;
use tidegate::registry::NoOptions;
use tidegate::runtime::burst::Burst;
use tidegate::runtime::context::ShardContext;
use tidegate::runtime::service::{Build, BuildError, BurstHandler, ServiceError};
use tidegate::runtime::verdict::Verdict;

/// Where the data of a UDP packet begins: behind Ethernet, IPv4 and UDP.
const DATA: usize = 14 + 20 + 8;

/// Does what the first octet of a packet's data says.
pub struct Unruly {
    kept: Vec<Frame>,
}

impl BurstHandler for Unruly {
    const KIND: &'static str = "unruly";
    type Options = NoOptions;

    fn build(_: &NoOptions, _: &mut Build<'_>) -> Result<Self, BuildError> {
        Ok(Self { kept: Vec::new() })
    }

    async fn on_burst(
        &mut self,
        burst: &mut Burst,
        cx: &mut ShardContext,
    ) -> Result<(), ServiceError> {
        for frame in burst.frames.drain(..) {
            match frame.bytes().get(DATA) {
                Some(b'P') => panic!("as the packet says"),
                Some(b'H') => self.kept.push(frame),
                Some(b'L') => mem::forget(frame),
                mark => {
                    if mark == Some(&b'S') {
                        thread::sleep(Duration::from_millis(50));
                    }
                    cx.settle(frame, Verdict::Consumed);
                }
            }
        }
        Ok(())
    }
}
