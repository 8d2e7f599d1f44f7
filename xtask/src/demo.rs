//! `cargo xtask demo`: the first run. It needs neither root nor a device once drivers can be compiled.

use crate::{cargo, drivers, util};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The driver that is shown, by the name in its manifest.
const DRIVER: &str = "e1000";

/// Builds the driver and the runtime, then becomes `nook-run`: its exit code and its Ctrl-C are the demo's.
pub fn run() -> Result<()> {
    println!("demo: 1/3 compile the drivers to WebAssembly");
    let drivers = drivers::build_all()?;
    let driver = drivers.get(DRIVER).with_context(|| format!("no driver has `name = {DRIVER}` in its manifest"))?;
    println!("demo: 2/3 build nook-run (the first time takes minutes: it has a WebAssembly compiler in it)");
    let binary = cargo::binary("nook-run")?;
    let root = util::root();
    let mut nook_run = Command::new(binary.strip_prefix(&root).unwrap_or(&binary));
    nook_run.current_dir(&root).arg(driver.strip_prefix(&root).unwrap_or(driver));
    nook_run.args(["--exercise", "ping,tcp,rr", "--duration", "5"]);
    println!("demo: 3/3 {}", util::shown(&nook_run));
    let error = nook_run.exec();
    Err(error).with_context(|| format!("cannot start `{}`", util::shown(&nook_run)))
}
