//! `cargo xtask bench`: builds what is measured, measures, and writes `target/bench-report/`.

use crate::against::Other;
use crate::{cargo, dpdk, drivers, util};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Compares this build with another one.
const AGAINST: &str = "--against";
/// The program that both builds have, and its source, which is compiled in either tree.
const SLICE: &str = "nook-slice";
const SLICE_SOURCE: &str = "benches/src/bin/nook-slice.rs";

/// Builds the drivers, nook-run and the measuring programs, which understand the arguments, and runs them in the
/// repository's folder. With `--against REV` it builds that revision too, in a separate checkout.
pub fn run(args: &[String]) -> Result<()> {
    let against = args.iter().position(|arg| arg == AGAINST);
    let other = match against {
        None => None,
        Some(at) => Some(other_slice(args.get(at + 1).context("--against needs a revision, or a folder with one")?)?),
    };
    drivers::build_all()?;
    if args.iter().any(|arg| arg == "--existing") {
        dpdk::build()?;
    }
    let nook_run = cargo::binary("nook-run")?;
    let mut args = args.to_vec();
    if let (Some(at), Some((name, slice))) = (against, other) {
        cargo::binary(SLICE)?;
        args[at + 1] = name;
        args.extend(["--slice".to_owned(), slice.display().to_string()]);
    }
    let mut bench = Command::new(cargo::binary("nook-bench")?);
    bench.current_dir(util::root()).args(args).env("NOOK_RUN", nook_run);
    util::run(&mut bench)
}

/// Builds the program that is compared in the other build's tree, with our source of it. Returns the build's name, and
/// the program.
fn other_slice(what: &str) -> Result<(String, PathBuf)> {
    let other = Other::find(what)?;
    let source = other.tree.join(SLICE_SOURCE);
    let ours = fs::read(util::root().join(SLICE_SOURCE)).context("reading what both builds are measured with")?;
    if fs::read(&source).ok().as_ref() != Some(&ours) {
        let parent = source.parent().context("a file has a folder")?;
        fs::create_dir_all(parent).and_then(|()| fs::write(&source, ours)).context("putting it into the other tree")?;
    }
    let program = other.build(SLICE)?;
    Ok((other.name, program))
}
