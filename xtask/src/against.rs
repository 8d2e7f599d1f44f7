//! Another build of this repository, to be measured in turn with this one: a revision in a separate checkout, or a
//! folder with one.

use crate::util;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A checkout of another revision.
pub struct Other {
    /// The revision's short name.
    pub name: String,
    /// Its folder.
    pub tree: PathBuf,
}

impl Other {
    /// Finds the checkout in this folder, or makes one of this revision in `target/against`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn find(what: &str) -> Result<Other> {
        let git = |folder: &Path, args: &[&str]| {
            let told = util::output(Command::new("git").current_dir(folder).args(args))?;
            anyhow::Ok(told.trim().to_owned())
        };
        let folder = Path::new(what);
        if folder.join("Cargo.toml").exists() {
            let tree = fs::canonicalize(folder).with_context(|| format!("looking for {what}"))?;
            return Ok(Other { name: git(&tree, &["rev-parse", "--short=7", "HEAD"])?, tree });
        }
        let commit = format!("{what}^{{commit}}");
        let name = git(&util::root(), &["rev-parse", "--short=7", "--verify", &commit])?;
        let tree = util::target_dir().join("against").join(&name);
        if !tree.join("Cargo.toml").exists() {
            let place = tree.display().to_string();
            // One that was deleted by hand is still on git's list.
            git(&util::root(), &["worktree", "prune"])?;
            git(&util::root(), &["worktree", "add", "--detach", &place, &name])?;
        }
        Ok(Other { name, tree })
    }

    /// Builds its drivers, and this program of its workspace. Returns the program.
    ///
    /// # Errors
    /// If they cannot be built.
    pub fn build(&self, program: &str) -> Result<PathBuf> {
        let Other { name, tree } = self;
        println!("building {name} in {}", tree.display());
        let cargo = |args: &[&str]| {
            let mut cargo = Command::new("cargo");
            // This tree's target folder, should the environment name one, is not the other's.
            util::run(cargo.current_dir(tree).args(args).env_remove("CARGO_TARGET_DIR"))
        };
        cargo(&["xtask", "drivers"])?;
        cargo(&["build", "--release", "--workspace", "--exclude", "xtask", "--bin", program])?;
        let built = tree.join("target/release").join(program);
        ensure!(built.exists(), "building {name} made no {}", built.display());
        Ok(built)
    }
}
