//! `cargo xtask drivers --with linux`: a driver of Linux's ([`foreign`]), with the shim in
//! `driver-sdk/linux`. Its module is made of code under GPL-2.0 and of ours, so it is for this machine only.

use crate::foreign::source::Package;
use crate::foreign::{self, System};
use crate::{cargo, util};
use anyhow::Result;

/// Linux, as Debian 12 has it without its updates, which come and go. The files that are compiled are those of Debian's
/// package linux-source-6.1: its patches are about others.
pub static LINUX: System = System {
    name: "linux",
    package: Package {
        title: "Linux",
        name: "linux",
        version: "6.1.176-1",
        archive: "linux_6.1.176.orig.tar.xz",
        sha256: "9aad4025973feea3f0d978e82ab7db97d8d5ce3f59fcc6b1f316153d66e3a504",
        megabytes: 140,
        folder: "linux-6.1.176",
        parts: &["drivers/net/ethernet/intel/e1000"],
    },
    flags: &["-DKBUILD_MODNAME=\"e1000\""],
    headers: &[],
    last_headers: None,
};

/// Builds the driver and says what may be done with it.
pub fn build() -> Result<()> {
    LINUX.build()?;
    println!("linux: the module contains code under GPL-2.0: it is not to be distributed with nook, nor is the source");
    Ok(())
}

/// What the driver is run on by the command, which must move frames each time.
const RUNS: &[&[&str]] = &[&["--isolation", "sfi"], &["--crash-every", "100ms"], &["--qemu", "e1000"]];

/// Builds the driver, looks at what was compiled, and has it move frames.
pub fn test() -> Result<()> {
    build()?;
    let mut tests = cargo::command();
    tests.arg("test").args(cargo::WORKSPACE).args(["--test", "linux"]);
    util::run(&mut tests)?;
    foreign::exercise("linux-e1000", RUNS, None)
}
