//! `cargo xtask disk-crashes`: the disk's driver crashes again and again while clients work on what it serves.

use crate::{cargo, drivers, util};
use anyhow::Result;
use std::process::Command;

/// Builds the driver, `nook-run` and what plays the campaigns, and plays those that the arguments name.
pub fn run(args: &[String]) -> Result<()> {
    drivers::build_all()?;
    let mut campaigns = Command::new(cargo::binary("nook-disk-crashes")?);
    campaigns.arg("--nook-run").arg(cargo::binary("nook-run")?);
    campaigns.arg("--driver").arg(util::target_dir().join("drivers/nvme.wasm"));
    util::run(campaigns.args(args))
}
