//! DPDK's own program `testpmd` for the guest, out of Debian's packages of the same version as the source that our
//! module is made of: DPDK's driver as it runs where it was written for, as a baseline. Unpacked under `target/guest`,
//! never installed.

use crate::dpdk::VERSION;
use crate::guest::cpio::Archive;
use crate::guest::debian;
use crate::guest::packaged::{self, inside, small};
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// The package that has it.
const PACKAGE: &str = "dpdk-dev";
const PROGRAM: &str = "usr/bin/dpdk-testpmd";
/// The driver, which is loaded by name and nobody's dependency; and libraries that only other libraries depend on.
const MORE_PACKAGES: [&str; 6] =
    ["librte-net-e1000-23", "libnl-3-200", "libnl-route-3-200", "libdbus-1-3", "libmd0", "libsystemd0"];
/// What testpmd loads by name: `tests/guest/words.sh` names them, too.
const PLUGINS: [&str; 2] = ["librte_net_e1000.so.23", "librte_mempool_ring.so.23"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Puts it and its libraries into the guest's file system; `libraries` are there already.
pub fn add(archive: &mut Archive, libraries: &mut BTreeSet<String>) -> Result<()> {
    let root = debian::unpacked(&format!("testpmd-{VERSION}"), "DPDK's testpmd (7 MB, once)", |lists| {
        packages(&debian::describe(&format!("{PACKAGE}={VERSION}"), lists)?)
    })?;
    let program = root.join(PROGRAM);
    // DPDK finds drivers by symbols that they register when they are loaded, not by names in the file.
    archive.program(PROGRAM, &small(&program)?);
    let folder = root.join(LIBRARIES);
    let plugins = PLUGINS.map(|name| folder.join(name));
    for plugin in &plugins {
        archive.file(&inside(plugin, &root), &small(plugin)?);
    }
    for file in plugins.iter().chain([&program]) {
        let mut needed = packaged::needed(file, &folder)?;
        needed.retain(|library| !PLUGINS.iter().any(|name| library.ends_with(name)));
        packaged::add_libraries(archive, libraries, &needed, &root)?;
    }
    Ok(())
}

/// Returns what testpmd's package depends on, itself, and what is not to be seen there.
fn packages(description: &str) -> Result<Vec<String>> {
    let depends = description.lines().find_map(|line| line.strip_prefix("Depends: "));
    let depends = depends.with_context(|| format!("{PACKAGE} {VERSION} depends on nothing"))?;
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    let wanted = |name: &&str| name.starts_with("lib") && *name != "libc6" && !name.ends_with("-dev");
    let mut packages: Vec<_> = names.filter(|name| wanted(name) || *name == "ibverbs-providers").collect();
    packages.push(PACKAGE);
    packages.extend(MORE_PACKAGES);
    let of_version = |name: &str| match name.starts_with("librte-") || name == PACKAGE {
        true => format!("{name}={VERSION}"),
        false => name.to_string(),
    };
    Ok(packages.into_iter().map(of_version).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_the_same_version_are_taken_and_the_c_library_is_the_systems() {
        let found = packages(
            "Package: dpdk-dev\nDepends: libdpdk-dev (>= 1), python3, ibverbs-providers (>= 23~), libc6 (>= 2.34), \
             libpcap0.8 (>= 1.5.1), librte-acl23 (>= 22.11)\n",
        );
        let found = found.unwrap();
        let (dpdk, acl) = (format!("dpdk-dev={VERSION}"), format!("librte-acl23={VERSION}"));
        assert_eq!(found[..4], ["ibverbs-providers", "libpcap0.8", &acl, &dpdk]);
        assert!(packages("Package: dpdk-dev\n").is_err());
    }
}
