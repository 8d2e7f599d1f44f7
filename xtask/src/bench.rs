//! `cargo xtask bench`: builds what is measured, measures, and writes `target/bench-report/`.

use crate::{cargo, dpdk, drivers, util};
use anyhow::Result;
use std::process::Command;

/// Builds the drivers, nook-run and the measuring program, which understands the arguments, and runs it in the
/// repository's folder.
pub fn run(args: &[String]) -> Result<()> {
    drivers::build_all()?;
    if args.iter().any(|arg| arg == "--existing") {
        dpdk::build()?;
    }
    let nook_run = cargo::binary("nook-run")?;
    let mut bench = Command::new(cargo::binary("nook-bench")?);
    bench.current_dir(util::root()).args(args).env("NOOK_RUN", nook_run);
    util::run(&mut bench)
}
