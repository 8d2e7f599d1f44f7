//! The machine with memory protection keys: another kernel, and the tests of `--isolation mpk` as programs, which find
//! what they need where they were built.

use crate::guest::cpio::Archive;
use crate::guest::debian::{self, Debian};
use crate::guest::{Rig, begun, file_name, needed_libraries, read, slots, stripped};
use crate::{cargo, drivers, util};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tests that are run in it, by the names of their programs in it.
const TESTS: [&str; 4] = ["mpk", "conformance", "disk_conformance", "revoke"];

/// Returns what its cases are run with.
pub fn rig(newer: &Debian, debian: &Debian, scripts: &Path) -> Result<Rig> {
    drivers::build_all()?;
    let long = if env::var_os("NOOK_LONG").is_some() { "NOOK_LONG=1" } else { "" };
    // Where the tests' own folder is, so that the drivers are found.
    let built = util::root().join("target/drivers");
    let settings = format!("{}DRIVERS={}\nLONG={long}\n", slots(), built.display());
    let mut archive = begun(debian, scripts, &settings)?;
    let mut libraries = BTreeSet::new();
    for test in TESTS {
        add(&mut archive, &mut libraries, &format!("test-{test}"), &cargo::tests(test)?)?;
    }
    add(&mut archive, &mut libraries, "nook-run", &cargo::binary("nook-run")?)?;
    for library in &libraries {
        archive.program(library.trim_start_matches('/'), &read(Path::new(library))?);
    }
    for file in driver_files(&built)? {
        let path = file.display().to_string();
        archive.file(path.trim_start_matches('/'), &read(&file)?);
    }
    let initramfs = debian::folder().join("keys.cpio");
    fs::write(&initramfs, archive.finish()).with_context(|| format!("writing {}", initramfs.display()))?;
    println!("guest: Linux {} on a processor with protection keys, emulated", newer.release);
    Ok(Rig { kernel: newer.image(), initramfs })
}

fn add(archive: &mut Archive, libraries: &mut BTreeSet<String>, name: &str, program: &Path) -> Result<()> {
    archive.program(&format!("usr/bin/{name}"), &stripped(program)?);
    libraries.extend(needed_libraries(&util::output(Command::new("ldd").arg(program))?));
    Ok(())
}

/// Returns the drivers' modules and objects for domains.
fn driver_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading the folder {}", folder.display()))?;
    let files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let is_wanted = |file: &PathBuf| {
        let name = file_name(file).unwrap_or_default();
        name.ends_with(".mpk") || ["e1000.wasm", "nvme.wasm"].contains(&name)
    };
    Ok(files.into_iter().filter(is_wanted).collect())
}
