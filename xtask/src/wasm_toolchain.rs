//! Finds or makes a way to compile drivers to wasm32-unknown-unknown: rustup is asked to add the target's library, or
//! Debian's compiler is installed.
//!
//! The way that worked is remembered in `target/nook-setup` and only probed again, so that a rustup that cannot
//! download is not waited for twice.

use crate::{apt, util};
use anyhow::{Error, Result, ensure};
use nook_build::toolchain::{self, Machine, TARGET, Way};
use std::fs;
use std::process::Command;
use std::time::Duration;

pub use nook_build::toolchain::Toolchain;

/// `rustup target add` hangs where its server cannot be reached.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Returns the remembered way if it still holds, else the first that is there or can be made.
pub fn find_or_make() -> Result<Toolchain> {
    let forced = toolchain::forced()?;
    let stamp = util::target_dir().join("nook-setup");
    let remembered = fs::read_to_string(&stamp).ok().and_then(|text| parse_stamp(&text));
    let toolchain = toolchain::choose(&ThisMachine, forced, remembered)?;
    // What was forced holds for that call only.
    if forced.is_none() {
        util::write_if_changed(&stamp, stamp_text(toolchain.way()).as_bytes())?;
    }
    Ok(toolchain)
}

fn stamp_text(way: Way) -> String {
    format!("wasm = {}\n", way.name())
}

fn parse_stamp(text: &str) -> Option<Way> {
    text.lines().find_map(|line| Way::from_name(line.strip_prefix("wasm = ")?))
}

struct ThisMachine;

impl Machine for ThisMachine {
    fn probe(&self, way: Way) -> Result<Toolchain> {
        toolchain::probe(way)
    }

    fn make(&self, way: Way, missing: Error) -> Result<()> {
        eprintln!("setup: {missing:#}");
        match way {
            Way::Rustup => {
                ensure!(util::find_program("rustup").is_some(), "rustup is not installed, so it cannot add the target");
                eprintln!("setup: rustup target add {TARGET} (at most {} s)", RUSTUP_LIMIT.as_secs());
                let mut rustup = Command::new("rustup");
                util::run_limited(rustup.args(["target", "add", TARGET]).stdout(std::io::stderr()), RUSTUP_LIMIT)
            }
            Way::Debian => {
                let mut packages = vec!["rustc-web", "rust-web-src"];
                if toolchain::wasm_linker().is_none() {
                    packages.push("lld");
                }
                apt::install(&packages)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_says_again_what_was_remembered() {
        for way in [Way::Rustup, Way::Debian] {
            assert_eq!(parse_stamp(&stamp_text(way)), Some(way));
        }
        assert_eq!(parse_stamp("wasm = other\n"), None);
    }
}
