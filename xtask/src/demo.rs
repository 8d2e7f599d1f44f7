//! `cargo xtask demo`: the first run. It needs neither root nor a device once drivers can be compiled.

use crate::{cargo, drivers, util};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The package of the driver that is shown.
const DRIVER: &str = "e1000-wasm";

/// Builds the driver and the runtime, then becomes `nook-run`: its exit code and its Ctrl-C are the demo's.
pub fn run() -> Result<()> {
    let mut nook_run = build()?;
    println!("demo: 3/3 {}", util::shown(&nook_run));
    let error = nook_run.exec();
    Err(error).with_context(|| format!("cannot start `{}`", util::shown(&nook_run)))
}

/// Builds the same and runs it to its end: no test compiles what the demo does, with its features in its profile.
pub fn test() -> Result<()> {
    util::run(&mut build()?)
}

fn build() -> Result<Command> {
    println!("demo: 1/3 compile the e1000 driver to WebAssembly");
    let driver = drivers::build_one(DRIVER)?;
    println!("demo: 2/3 build nook-run (the first time takes a minute or two: it has a WebAssembly compiler in it)");
    let binary = cargo::demo_binary()?;
    let root = util::root();
    let mut nook_run = Command::new(binary.strip_prefix(&root).unwrap_or(&binary));
    nook_run.current_dir(&root).arg(driver.strip_prefix(&root).unwrap_or(&driver));
    nook_run.args(["--exercise", "ping,tcp,rr", "--duration", "2"]);
    Ok(nook_run)
}
