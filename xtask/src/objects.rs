//! Drivers as shared objects, for `--isolation native` and `wrapped`: `target/drivers/<manifest name>.so`.
//!
//! An object is the same package as the wasm module, compiled for this machine; `nook_driver!` writes what the host
//! looks for. A package below `tests/` whose name ends in `-native` has no wasm module.

use crate::{cargo, util};
use anyhow::{Context, Result};
use std::fs;

/// How the names of the packages end that only tests use.
const ENDING: &str = "-native";

/// For the object itself: names of functions stay, for profilers.
const FLAGS: &[&str] = &["-Cstrip=debuginfo"];

/// Builds those that only tests use.
pub fn build_for_tests() -> Result<()> {
    for package in cargo::packages()?.iter().filter(|package| is_for_tests(package)) {
        build(package, package.name.trim_end_matches(ENDING))?;
    }
    Ok(())
}

/// Builds the object of a driver with this name.
pub fn build(package: &cargo::Package, name: &str) -> Result<()> {
    println!("drivers: compiling {} for this machine", package.name);
    let mut cargo = cargo::command();
    cargo.args(["rustc", "--quiet", "--package", &package.name, "--lib", "--crate-type", "cdylib"]);
    cargo.args(["--profile", "native-driver"]);
    let files = cargo::artifacts_with(&mut cargo, None, FLAGS)?;
    let object = files.into_iter().rfind(|file| file.extension().is_some_and(|extension| extension == "so"));
    let object = object.with_context(|| format!("building {} made no .so file", package.name))?;
    let bytes = fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    let file = util::target_dir().join("drivers").join(format!("{name}.so"));
    let news = if util::write_if_changed(&file, &bytes)? { "new" } else { "unchanged" };
    println!("drivers: target/drivers/{name}.so from {}, {} bytes, {news}", package.dir, bytes.len());
    Ok(())
}

fn is_for_tests(package: &cargo::Package) -> bool {
    package.dir.starts_with("tests/") && package.has_cdylib && package.name.ends_with(ENDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_object_is_named_after_its_driver() {
        let package = |name: &str, dir: &str, has_cdylib| cargo::Package {
            name: name.into(),
            dir: dir.into(),
            dependencies: Vec::new(),
            has_cdylib,
        };
        assert!(is_for_tests(&package("odd-native", "tests/odd-native", true)));
        assert!(!is_for_tests(&package("stray-dma", "tests/stray-dma", true)));
        assert!(!is_for_tests(&package("nook-native", "isolation/native", false)));
    }
}
