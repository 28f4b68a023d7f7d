//! What the tests need, and what becomes of them where it is missing.

use std::env;

use crate::packages::Packages;

/// What `REQUIRE_VM` says: `1` fetches what is missing and fails without it, `0` skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Use what is at hand.
    Unsaid,
    /// Do without.
    Skip,
    /// It must run.
    Required,
}

/// The wish of whoever runs the tests.
pub(crate) fn wish() -> Wish {
    match env::var("REQUIRE_VM").as_deref() {
        Ok("1") => Wish::Required,
        Ok("0") => Wish::Skip,
        _ => Wish::Unsaid,
    }
}

/// The packages, or why there are none.
pub(crate) fn packages() -> Result<Packages, String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err("the guest is an x86-64, and so must the program be".into());
    }
    match wish() {
        Wish::Skip => Err("REQUIRE_VM=0".into()),
        Wish::Unsaid => Packages::at_hand().ok_or_else(|| {
            "emulator and guest kernel were not fetched yet (160 MB of Debian packages); \
             `REQUIRE_VM=1 cargo test --test vm` does so"
                .into()
        }),
        Wish::Required => Packages::fetch().map_err(|error| error.to_string()),
    }
}
