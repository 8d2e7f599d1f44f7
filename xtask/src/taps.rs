//! `cargo xtask taps`: TCP between two TAP interfaces through driver and model, beside a small forwarder.

use std::process::Command;

use anyhow::Result;

use crate::{cargo, drivers, util};

/// For how long each stream runs, in seconds, and how many rounds there are.
const USUAL: (u32, u32) = (5, 5);

/// Builds what is measured, and measures it.
pub fn run(seconds: Option<u32>, rounds: Option<u32>) -> Result<()> {
    drivers::build_all()?;
    let nook_run = cargo::binary("nook-run")?;
    let (seconds, rounds) = (seconds.unwrap_or(USUAL.0), rounds.unwrap_or(USUAL.1));
    let mut taps = Command::new(cargo::binary("nook-taps")?);
    taps.arg(nook_run).arg(util::root().join("target/drivers/e1000.wasm"));
    util::run(taps.args([seconds, rounds].map(|number| number.to_string())))
}
