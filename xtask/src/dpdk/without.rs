//! That the project builds without what DPDK's driver needs, and says clearly what that is.

use crate::util;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is not to be found; without apt-get it cannot be installed either.
const HIDDEN: [&str; 3] = ["clang-14", "wasm-ld-14", "apt-get"];

/// Builds the drivers, DPDK's too, where there is no clang: all but DPDK's must be built, and the error must say what
/// is missing.
pub fn test() -> Result<()> {
    let folder = util::target_dir().join(format!("dpdk/path.{}", std::process::id()));
    let outcome = path_without(&folder).and_then(|()| refused(&folder));
    let _ = fs::remove_dir_all(&folder);
    outcome?;
    println!("dpdk: without clang all other drivers are built, and the error says what is missing");
    Ok(())
}

/// Returns a folder with links to all programs of PATH but the hidden ones.
fn path_without(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut taken: BTreeSet<_> = HIDDEN.map(Into::into).into();
    for from in env::split_paths(&env::var_os("PATH").unwrap_or_default()) {
        // A folder of PATH may be missing.
        for entry in fs::read_dir(&from).into_iter().flatten().flatten() {
            if taken.insert(entry.file_name()) {
                symlink(entry.path(), folder.join(entry.file_name())).context("linking a program")?;
            }
        }
    }
    Ok(())
}

fn refused(path: &Path) -> Result<()> {
    let program = env::current_exe().context("where this program is")?;
    let mut command = Command::new(program);
    command.args(["drivers", "--with", "dpdk"]).env("PATH", path).stdin(Stdio::null());
    let ended = command.output().with_context(|| format!("starting `{}`", util::shown(&command)))?;
    let (told, error) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let shown = format!("without {}: {}: {told}{error}", HIDDEN.join(", "), ended.status);
    ensure!(ended.status.code() == Some(1), "it did not fail in order; {shown}");
    ensure!(told.contains("target/drivers/e1000.wasm"), "the other drivers were not built; {shown}");
    for part in ["drivers in C are compiled with", "install what Debian calls: clang-14 lld-14"] {
        ensure!(error.contains(part), "it does not say {part:?}; {shown}");
    }
    Ok(())
}
