//! Other systems' source: Debian's source packages, fetched with apt into `target/<system>`. The lists of source
//! packages are our own; nothing is installed or changed on the system, and nobody has to be root.

use super::archive::{self, Packages};
use crate::util;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One of Debian's source packages.
pub struct Package {
    /// The system, as messages have it.
    pub title: &'static str,
    /// Debian's name.
    pub name: &'static str,
    /// Debian's version.
    pub version: &'static str,
    /// The archive of the system's authors in it. Debian's patches are not applied.
    pub archive: &'static str,
    /// The archive's SHA-256.
    pub sha256: &'static str,
    /// What is downloaded.
    pub megabytes: u32,
    /// The folder that it unpacks to.
    pub folder: &'static str,
    /// What of it is unpacked.
    pub parts: &'static [&'static str],
}

/// 140 MB over a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);

/// Unpacks the archive again, so that what is compiled is what Debian has, and returns the folder. `into` is below
/// `target`.
pub fn fetch(package: &Package, into: &str) -> Result<PathBuf> {
    fetch_into(package, &util::target_dir().join(into), Path::new("/etc/apt"))
}

/// With the sources of packages that `etc` names.
fn fetch_into(package: &Package, folder: &Path, etc: &Path) -> Result<PathBuf> {
    let Package { title, name, version, sha256, .. } = package;
    let archive = folder.join(package.archive);
    if !archive.is_file() {
        download(package, folder, etc).with_context(|| {
            format!(
                "{title}'s source is Debian's source package {name} {version}, which must be downloaded once: this \
                 needs apt, a network and a Debian whose archive has that version (bookworm). Everything else builds \
                 and tests without it"
            )
        })?;
    }
    let found = util::output(Command::new("sha256sum").arg(&archive))?;
    let found = found.split_whitespace().next().unwrap_or_default().to_string();
    ensure!(
        found == *sha256,
        "{} is not the {title} that the shim was written for: its SHA-256 is {found}, not {sha256}; remove it to fetch \
         it again",
        archive.display()
    );
    let source = folder.join("source");
    let _ = fs::remove_dir_all(&source);
    fs::create_dir_all(&source).with_context(|| format!("making {}", source.display()))?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--xz").arg("--file").arg(&archive).arg("--directory").arg(&source);
    tar.arg("--strip-components=1").args(package.parts.iter().map(|part| format!("{}/{part}", package.folder)));
    util::run(&mut tar)?;
    Ok(source)
}

fn download(package: &Package, folder: &Path, etc: &Path) -> Result<()> {
    let Package { title, name, version, archive: file, megabytes, .. } = package;
    println!("{title}: downloading Debian's source package {name} {version} ({megabytes} MB, once)");
    let apt = folder.join("apt");
    archive::update(&apt, etc, Packages::Sources)?;
    let mut get = archive::apt_get(&apt);
    get.args(["-qq", "source", "--download-only", &format!("{name}={version}")]).current_dir(apt.join("files"));
    util::run_limited(&mut get, DOWNLOAD_LIMIT)?;
    let from = apt.join("files").join(file);
    fs::rename(&from, folder.join(file)).with_context(|| format!("{} was not downloaded", from.display()))?;
    fs::remove_dir_all(&apt).with_context(|| format!("removing {}", apt.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpdk::DPDK;

    /// Returns what fetching says in its own folder, where the system's packages come from `source`.
    fn refused(package: &Package, name: &str, source: &str, prepare: impl Fn(&Path)) -> String {
        let folder = std::env::temp_dir().join(format!("nook-xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("etc")).unwrap();
        fs::write(folder.join("etc/sources.list"), source.replace("HERE", folder.to_str().unwrap())).unwrap();
        prepare(&folder);
        let error = fetch_into(package, &folder, &folder.join("etc")).unwrap_err();
        fs::remove_dir_all(folder).unwrap();
        format!("{error:#}")
    }

    #[test]
    fn without_a_network_the_error_says_what_is_missing_and_that_the_rest_works_without_it() {
        // Nothing listens on the port for discarded data (RFC 863).
        let said = refused(
            &DPDK.package,
            "unreachable",
            "deb [trusted=yes] http://127.0.0.1:9/debian bookworm main\n",
            |_| (),
        );
        for part in [DPDK.package.version, "a network", "Everything else builds and tests without it", "apt-get"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn an_archive_with_another_version_is_no_source() {
        let said = refused(&DPDK.package, "version", "deb [trusted=yes] file://HERE/debian ./\n", |folder| {
            let archive = folder.join("debian");
            fs::create_dir_all(&archive).unwrap();
            let other = "Package: dpdk\nBinary: dpdk\nVersion: 99.1-1\nArchitecture: any\nFormat: 3.0 (quilt)\n\
                         Directory: .\nChecksums-Sha256:\n 0 0 dpdk_99.1-1.dsc\n";
            fs::write(archive.join("Sources"), other).unwrap();
        });
        for part in [DPDK.package.version, "a Debian whose archive has that version", "Everything else"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn another_archive_under_the_same_name_is_found_by_its_hash() {
        let said = refused(&DPDK.package, "hash", "", |folder| {
            fs::write(folder.join(DPDK.package.archive), "another").unwrap()
        });
        assert!(
            said.contains("is not the DPDK that the shim was written for") && said.contains(DPDK.package.sha256),
            "{said}"
        );
    }

    #[test]
    fn a_system_that_names_no_archive_of_debians_is_reported() {
        let said = refused(&DPDK.package, "nothing", "deb https://example.org/other x main\n", |_| ());
        assert!(said.contains("names no source of Debian's packages"), "{said}");
    }
}
