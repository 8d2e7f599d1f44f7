//! `cargo xtask trusted`: how much code has to be right for what docs/security.md promises.

use crate::{cargo, util};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands between a driver and the rest, and where it is.
const PARTS: &[(&str, &[&str])] = &[
    ("the contract, with the checks of a manifest", &["abi/src"]),
    (
        "the host: loading, services, memory, time",
        &["runtime/src", "instrument/src/lib.rs", "instrument/src/resize.rs"],
    ),
    ("the bus: window, mapped BARs, held-back writes", &["hw/bus/src"]),
    (
        "register maps, which the policy is made of",
        &[
            "hw/regs/src",
            "hw/e1000-regs/src",
            "hw/edu-regs/src",
            "hw/igb-regs/src",
            "hw/nvme-regs/src",
            "hw/serial-regs/src",
            "hw/virtio-regs/src",
            "hw/vmxnet3-regs/src",
        ],
    ),
    ("register maps from files: reading, acceptance", &["hw/regs-file/src", "nook-run/src/maps.rs"]),
    ("for a real device: VFIO", &["hw/pci-passthrough/src"]),
    (
        "at process: the sandbox and the channel",
        &["isolation/compiled/src", "isolation/process/src", "isolation/process/guest/src/channel.rs"],
    ),
    ("at mpk: the loader, the gates, the handlers", &["isolation/mpk/src"]),
    ("the checker of deadline checks, for sfi+txn", &["instrument/src/check"]),
    ("not for isolation, for rollback: the undo log", &["instrument/src/undo"]),
];

/// Files, and lines that are code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    files: usize,
    lines: usize,
}

/// Prints the table.
pub fn run() -> Result<()> {
    let root = util::root();
    println!("{:50} {:>5} {:>8}", "part", "files", "lines");
    let mut all = Size::default();
    for (part, places) in PARTS {
        let mut size = Size::default();
        for place in *places {
            measure(&root.join(place), &mut size)?;
        }
        row(part, size);
        all = Size { files: all.files + size.files, lines: all.lines + size.lines };
    }
    row("together", all);
    let reach = cargo::reach()?;
    let packages = cargo::packages()?;
    let runtime = packages.iter().find(|package| package.dir == "runtime").and_then(|it| reach.get(&it.name));
    let wanted = runtime.context("no package in runtime/")?;
    let (mut names, mut size) = (BTreeSet::new(), Size::default());
    for (name, source) in cargo::foreign_sources()? {
        if wanted.contains(&name) {
            measure(&source, &mut size)?;
            names.insert(name);
        }
    }
    row(&format!("{} packages from elsewhere, wasmtime's most of all", names.len()), size);
    println!(
        "\nLines of code: neither blank, nor comments, nor unit tests. Of packages from elsewhere everything in src/ is \
         counted,\nwhether it is compiled or not."
    );
    Ok(())
}

fn row(what: &str, size: Size) {
    println!("{what:50} {:>5} {:>8}", size.files, size.lines);
}

/// Adds the Rust files at or below `path`.
fn measure(path: &Path, size: &mut Size) -> Result<()> {
    if path.is_file() {
        if is_code(path) {
            let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            size.files += 1;
            size.lines += code_lines(&String::from_utf8_lossy(&bytes));
        }
        return Ok(());
    }
    if path.file_name().is_some_and(|name| name == "tests") {
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("listing {}", path.display()))?;
    let mut inside: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    inside.sort();
    inside.iter().try_for_each(|path| measure(path, size))
}

/// Returns a Rust file that is not only tests.
fn is_code(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    path.extension().is_some_and(|extension| extension == "rs") && stem != "tests" && !stem.ends_with("_tests")
}

/// Lines that are neither blank nor comments, up to the unit tests, which stand at a file's end.
fn code_lines(text: &str) -> usize {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blank_lines_and_unit_tests_are_not_code() {
        let text = "//! A file.\n\nuse a;\n\n/// A thing.\nfn f() {\n    // Why.\n    g();\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
        assert_eq!(code_lines(text), 4);
        assert!(is_code(Path::new("a/lib.rs")));
        assert!(!is_code(Path::new("a/tests.rs")) && !is_code(Path::new("bind_tests.rs")));
        assert!(!is_code(Path::new("README.md")));
    }

    #[test]
    fn every_part_is_there() {
        let places = PARTS.iter().flat_map(|(_, places)| *places);
        let missing: Vec<_> = places.filter(|place| !util::root().join(place).exists()).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
