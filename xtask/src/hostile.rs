//! `cargo xtask hostile`: every hostile driver is played, and a table says what came of it.

use crate::{cargo, drivers, util};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Builds the driver that each case is followed by and the suite, and runs it. A file is the caller's own: a name that
/// is not absolute counts from where the caller is.
pub fn run(json: Option<&str>) -> Result<()> {
    drivers::build_all()?;
    let mut suite = Command::new(cargo::binary("nook-hostile")?);
    if let Some(file) = json {
        suite.arg("--json").arg(std::path::absolute(Path::new(file))?);
    }
    util::run(&mut suite)
}
