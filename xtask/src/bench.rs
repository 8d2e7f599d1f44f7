//! `cargo xtask bench`: builds what is measured, measures, and writes `target/bench-report/`.

use crate::{cargo, dpdk, drivers, util};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
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

/// Builds the program that is compared in a checkout of this revision, or in the checkout in this folder. Returns the
/// revision's short name, and the program.
fn other_slice(what: &str) -> Result<(String, PathBuf)> {
    let git = |folder: &Path, args: &[&str]| {
        let told = util::output(Command::new("git").current_dir(folder).args(args))?;
        anyhow::Ok(told.trim().to_owned())
    };
    let folder = Path::new(what);
    let (name, tree) = if folder.join("Cargo.toml").exists() {
        let tree = fs::canonicalize(folder).with_context(|| format!("looking for {what}"))?;
        (git(&tree, &["rev-parse", "--short=7", "HEAD"])?, tree)
    } else {
        let commit = format!("{what}^{{commit}}");
        let name = git(&util::root(), &["rev-parse", "--short=7", "--verify", &commit])?;
        let tree = util::target_dir().join("against").join(&name);
        if !tree.join("Cargo.toml").exists() {
            let place = tree.display().to_string();
            // One that was deleted by hand is still on git's list.
            git(&util::root(), &["worktree", "prune"])?;
            git(&util::root(), &["worktree", "add", "--detach", &place, &name])?;
        }
        (name, tree)
    };
    let source = tree.join(SLICE_SOURCE);
    let ours = fs::read(util::root().join(SLICE_SOURCE)).context("reading what both builds are measured with")?;
    if fs::read(&source).ok().as_ref() != Some(&ours) {
        let parent = source.parent().context("a file has a folder")?;
        fs::create_dir_all(parent).and_then(|()| fs::write(&source, ours)).context("putting it into the other tree")?;
    }
    println!("bench: building {name} in {}", tree.display());
    let cargo = |args: &[&str]| {
        let mut cargo = Command::new("cargo");
        // This tree's target folder, should the environment name one, is not the other's.
        util::run(cargo.current_dir(&tree).args(args).env_remove("CARGO_TARGET_DIR"))
    };
    cargo(&["xtask", "drivers"])?;
    cargo(&["build", "--release", "--workspace", "--exclude", "xtask", "--bin", SLICE])?;
    let program = tree.join("target/release").join(SLICE);
    ensure!(program.exists(), "building {name} made no {}", program.display());
    Ok((name, program))
}
