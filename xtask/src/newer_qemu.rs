//! A QEMU that has models which bookworm's has not (`igb`): the one of bookworm-backports, downloaded by apt, which
//! checks it against the archive's signed index, and unpacked into `target/newer-qemu`. It is not installed. Of its
//! package only the program is kept: firmware and libraries are bookworm's.

use crate::foreign::archive::{self, Packages};
use crate::util;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Debian's package.
const PACKAGE: &str = "qemu-system-x86";
/// The file in it that is kept.
pub const PROGRAM: &str = "usr/bin/qemu-system-x86_64";
/// A folder for modules, in which none are: without it, QEMU would load bookworm's.
pub const MODULES: &str = "usr/lib/qemu";
/// QEMU's variable for it.
pub const MODULE_DIR: &str = "QEMU_MODULE_DIR";
/// 10 MB over a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);
/// A device that bookworm's has not.
const NEW_DEVICE: &str = "igb";

/// Downloads and unpacks it if that was not done, and returns the folder, in the form of nook-run's `--qemu-program`.
///
/// # Errors
/// If it cannot be had, or does not run here. What needs it is left out then.
pub fn fetch() -> Result<PathBuf> {
    fetch_into(&util::target_dir().join("newer-qemu"), Path::new("/etc/apt"))
}

fn fetch_into(folder: &Path, etc: &Path) -> Result<PathBuf> {
    let program = folder.join(PROGRAM);
    if !program.is_file() {
        let apt = folder.join("apt");
        let outcome = download(&apt, etc, folder);
        let _ = fs::remove_dir_all(&apt);
        outcome.with_context(|| format!("getting {PACKAGE} of bookworm-backports"))?;
    }
    let mut ask = Command::new(&program);
    ask.env(MODULE_DIR, folder.join(MODULES)).args(["-device", &format!("{NEW_DEVICE},help")]);
    let said = util::output(&mut ask).with_context(|| format!("{} does not run here", program.display()))?;
    ensure!(said.contains("options:"), "{} has no device {NEW_DEVICE}; remove it to fetch it again", program.display());
    Ok(folder.to_path_buf())
}

fn download(apt: &Path, etc: &Path, folder: &Path) -> Result<()> {
    archive::update(apt, etc, Packages::Backports)?;
    eprintln!("qemu: downloading Debian's package {PACKAGE} of bookworm-backports (10 MB, once)");
    let files = apt.join("files");
    let mut get = archive::apt_get(apt);
    get.args(["-qq", "download", PACKAGE]).current_dir(&files);
    util::run_limited(&mut get, DOWNLOAD_LIMIT)?;
    let found = fs::read_dir(&files).with_context(|| format!("reading {}", files.display()))?.flatten().next();
    let package = found.context("apt downloaded nothing")?.path();
    let unpacked = apt.join("unpacked");
    util::run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&unpacked))?;
    for inner in [Path::new(PROGRAM).parent().unwrap_or(Path::new("")), Path::new(MODULES)] {
        let inner = folder.join(inner);
        fs::create_dir_all(&inner).with_context(|| format!("making {}", inner.display()))?;
    }
    // Last, so that what is there is whole.
    fs::rename(unpacked.join(PROGRAM), folder.join(PROGRAM)).with_context(|| format!("{PACKAGE} has no {PROGRAM}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what fetching says in its own folder, where the system's packages come from `source`. Nothing may be
    /// left there.
    fn refused(name: &str, source: &str, prepare: impl Fn(&Path)) -> String {
        let folder = std::env::temp_dir().join(format!("nook-xtask-qemu-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("etc")).unwrap();
        fs::write(folder.join("etc/sources.list"), source.replace("HERE", folder.to_str().unwrap())).unwrap();
        prepare(&folder);
        let into = folder.join("into");
        let error = fetch_into(&into, &folder.join("etc")).unwrap_err();
        assert!(!into.join(PROGRAM).exists() && !into.join("apt").exists(), "{error:#}");
        fs::remove_dir_all(folder).unwrap();
        format!("{error:#}")
    }

    #[test]
    fn without_a_network_or_the_package_the_error_names_what_is_missing() {
        // Nothing listens on the port for discarded data (RFC 863).
        let said = refused("unreachable", "deb [trusted=yes] http://127.0.0.1:9/debian bookworm main\n", |_| ());
        assert!(said.contains("qemu-system-x86 of bookworm-backports"), "{said}");
        let said = refused("no-bookworm", "deb http://127.0.0.1:9/debian trixie main\n", |_| ());
        assert!(said.contains("names no source of Debian's packages for bookworm"), "{said}");
    }

    #[test]
    fn an_archive_whose_index_is_not_signed_is_no_source() {
        let said = refused("unsigned", "deb file://HERE/debian bookworm main\n", |folder| {
            let suite = folder.join("debian/dists/bookworm-backports");
            fs::create_dir_all(suite.join("main/binary-amd64")).unwrap();
            let index = "Package: qemu-system-x86\nVersion: 99\nArchitecture: amd64\nFilename: q.deb\nSize: 1\n";
            fs::write(suite.join("main/binary-amd64/Packages"), index).unwrap();
            fs::write(suite.join("Release"), "Suite: bookworm-backports\nCodename: bookworm-backports\n").unwrap();
            fs::write(folder.join("debian/q.deb"), "x").unwrap();
        });
        assert!(said.contains("qemu-system-x86 of bookworm-backports"), "{said}");
    }

    #[test]
    fn a_program_that_is_no_qemu_is_reported() {
        let folder = std::env::temp_dir().join(format!("nook-xtask-qemu-other-{}", std::process::id()));
        fs::create_dir_all(folder.join("usr/bin")).unwrap();
        std::os::unix::fs::symlink("/bin/true", folder.join(PROGRAM)).unwrap();
        let said = format!("{:#}", fetch_into(&folder, &folder).unwrap_err());
        fs::remove_dir_all(&folder).unwrap();
        assert!(said.contains("has no device igb"), "{said}");
    }
}
