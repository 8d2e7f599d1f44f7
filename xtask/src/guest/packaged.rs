//! Programs out of Debian's packages for the guest, with the libraries that they need. Unpacked under `target/guest`,
//! never installed.

use crate::guest::cpio::Archive;
use crate::guest::{debian, needed_libraries, read};
use crate::util;
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The client of the NBD project, with which the kernel's block devices are set up and freed.
const NBD_CLIENT: &str = "sbin/nbd-client";
const NBD_PACKAGES: [&str; 3] = ["nbd-client", "libnl-3-200", "libnl-genl-3-200"];

/// Puts nbd-client and its libraries into the guest's file system; `libraries` are there already.
pub fn add_nbd_client(archive: &mut Archive, libraries: &mut BTreeSet<String>) -> Result<()> {
    let root =
        debian::unpacked("nbd-client", "nbd-client (130 kB, once)", |_| Ok(NBD_PACKAGES.map(Into::into).to_vec()))?;
    let program = root.join(NBD_CLIENT);
    archive.program(NBD_CLIENT, &small(&program)?);
    add_libraries(archive, libraries, &needed(&program, &root.join("lib/x86_64-linux-gnu"))?, &root)
}

/// The program that says what a network driver has, in the kernel's words.
const ETHTOOL: &str = "sbin/ethtool";
const ETHTOOL_PACKAGES: [&str; 2] = ["ethtool", "libmnl0"];

/// Puts ethtool and its libraries into the guest's file system; `libraries` are there already.
pub fn add_ethtool(archive: &mut Archive, libraries: &mut BTreeSet<String>) -> Result<()> {
    let root =
        debian::unpacked("ethtool", "ethtool (210 kB, once)", |_| Ok(ETHTOOL_PACKAGES.map(Into::into).to_vec()))?;
    let program = root.join(ETHTOOL);
    archive.program(ETHTOOL, &small(&program)?);
    add_libraries(archive, libraries, &needed(&program, &root.join("usr/lib/x86_64-linux-gnu"))?, &root)
}

/// Puts libraries into the guest's file system that are not in `libraries` yet.
pub fn add_libraries(
    archive: &mut Archive,
    libraries: &mut BTreeSet<String>,
    needed: &[String],
    root: &Path,
) -> Result<()> {
    for library in needed {
        let to = inside(Path::new(library), root);
        if libraries.insert(format!("/{to}")) {
            archive.program(&to, &small(Path::new(library))?);
        }
    }
    Ok(())
}

/// Returns the libraries of `file`, with those in `folder` before the system's.
pub fn needed(file: &Path, folder: &Path) -> Result<Vec<String>> {
    let printed = util::output(Command::new("ldd").arg(file).env("LD_LIBRARY_PATH", folder))?;
    if let Some(missing) = printed.lines().find(|line| line.contains("not found")) {
        bail!("{}: {}; no package of those that are unpacked has it", file.display(), missing.trim());
    }
    Ok(needed_libraries(&printed))
}

/// Returns where the guest has a file: where the system or the unpacked packages have it.
pub fn inside(file: &Path, root: &Path) -> String {
    let path = file.strip_prefix(root).unwrap_or(file);
    path.to_string_lossy().trim_start_matches('/').to_string()
}

/// Returns a file without what only debuggers read, if it can be had so.
pub fn small(file: &Path) -> Result<Vec<u8>> {
    crate::guest::stripped(file).or_else(|_| read(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_library_lies_in_the_guest_where_its_package_has_it() {
        assert_eq!(inside(Path::new("/r/usr/lib/a.so"), Path::new("/r")), "usr/lib/a.so");
        assert_eq!(inside(Path::new("/lib/x/libc.so.6"), Path::new("/r")), "lib/x/libc.so.6");
    }
}
