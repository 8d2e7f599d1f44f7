//! The driver of virtio network cards, held to what the e1000's driver is held to, on QEMU's card.

use crate::{cargo, util};
use anyhow::Result;

const DRIVER: &str = "virtio-net";

/// Tests: the files, and which of them. The card has no loopback, and there is no embedded model of it.
pub const TESTS: [&[&str]; 2] = [
    &["--test", "conformance", "--", "--skip", "in_loopback"],
    &["--test", "rollback", "--", "on_qemus_card", "is_to_discard", "is_given_up_each_way"],
];

/// Runs them.
pub fn test() -> Result<()> {
    for which in TESTS {
        let mut tests = cargo::command();
        tests.arg("test").args(cargo::WORKSPACE).args(which);
        util::run(tests.env("NOOK_TEST_DRIVER", DRIVER))?;
    }
    Ok(())
}
