//! Real drivers: the shipped program in a guest with emulated NICs.
//!
//! On veth, AF_XDP copies. Two drivers with true zero-copy, up to eight queues and RSS exist in
//! QEMU as well, so any machine can have them, without KVM and in seconds: virtio_net and igb.
//! That shows what is right, never what is fast.
//!
//! ```text
//!   host: this program                          guest: this program again, as /init
//!     packages: emulator, kernel                  mounts, modules, NICs into namespaces
//!     image: program, itself, modules             plays one scenario: `tidegate run`, flood, ...
//!     one guest for each scenario ───boots───►    facts ─► JSON on a serial line
//!     judges the facts  ◄─────────────────────    switches off
//! ```
//!
//! A guest wants packages of 160 MB once. Where an earlier run has not fetched them the tests are
//! skipped and say so; `REQUIRE_VM=1` fetches them, and makes everything that is missing a failure.

mod guest;
mod host;
mod image;
mod machine;
mod packages;
mod report;
mod require;
mod scenario;

use std::process::ExitCode;

fn main() -> ExitCode {
    if guest::is_here() {
        guest::live();
    }
    host::main()
}
