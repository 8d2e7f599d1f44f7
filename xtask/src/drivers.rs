//! `cargo xtask drivers`: compiles every driver to `target/drivers/<manifest name>.wasm`.
//!
//! Those that drive a device are also compiled for this machine ([`objects`]), and those that can run in a process of
//! their own for that ([`programs`]).
//!
//! A driver is a package under `drivers/` or `benches/` with a `cdylib` target, or one under `tests/` whose name ends
//! in `-wasm`; those of the benchmarks are compiled a second time, without SIMD, to `<manifest name>-scalar.wasm`. It
//! is built as a cdylib alone: with an rlib beside it, which the native build uses, cargo would leave link-time
//! optimisation out.

use crate::wasm_toolchain::Toolchain;
use crate::{cargo, manifest, objects, programs, setup, util};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The compiler's flags for every driver.
/// - Without `atomics`, atomic loads and stores become plain ones, which the host's compiler may merge or drop, and
///   a descriptor that a device writes could not be polled.
/// - A driver's stack is 64 KiB; it lies first in memory (rustc's default), so that an overflow traps.
const FLAGS: &[&str] =
    &["-Ctarget-feature=+atomics,+bulk-memory,+simd128", "-Clink-arg=-zstack-size=65536", "-Clink-arg=--stack-first"];

/// For a driver of the benchmarks, to see what SIMD brings.
const SCALAR: &str = "-Ctarget-feature=-simd128";

/// How the names of the packages end that only tests use.
const ENDING: &str = "-wasm";

/// The compiler's remark on `atomics` above, once for each crate. That the instructions come out as they should is
/// pinned by a test on the compiled driver.
const EXPECTED: &str = "unstable feature specified for `-Ctarget-feature`: `atomics`";

/// Builds all drivers and returns where they are, by the names in their manifests.
pub fn build_all() -> Result<BTreeMap<String, PathBuf>> {
    let toolchain = setup::minimal()?;
    let mut built = BTreeMap::new();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for package in cargo::packages()?.iter().filter(|package| is_driver(package)) {
        let (name, bytes) = build_module(&toolchain, package)?;
        if let Some(other) = owners.insert(name.clone(), package.name.clone()) {
            bail!("{other} and {} both have `name = {name}` in their manifests: give one another name", package.name);
        }
        let file = keep(&name, package, &bytes)?;
        if is_for_benches(package) {
            let module = build(&toolchain, &package.name, &[SCALAR])?;
            let bytes = fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
            keep(&format!("{name}-scalar"), package, &bytes)?;
        }
        if manifest::drives_a_device(&bytes)? && !is_for_tests(package) {
            objects::build(package, &name)?;
        }
        built.insert(name, file);
    }
    ensure!(!built.is_empty(), "no package under drivers/ has a cdylib target, so there is no driver to build");
    objects::build_for_tests()?;
    programs::build_all()?;
    Ok(built)
}

/// Builds the module of one package under `drivers/`, without what it is compiled to besides, and returns where it is.
pub fn build_one(package: &str) -> Result<PathBuf> {
    let packages = cargo::packages()?;
    let package = packages.iter().find(|it| it.name == package).with_context(|| format!("no package {package}"))?;
    let (name, bytes) = build_module(&setup::minimal()?, package)?;
    keep(&name, package, &bytes)
}

/// Compiles a package and returns the name in its manifest, and its module.
fn build_module(toolchain: &Toolchain, package: &cargo::Package) -> Result<(String, Vec<u8>)> {
    let module = build(toolchain, &package.name, &[])?;
    let bytes = fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
    let name = manifest::driver_name(&bytes)
        .with_context(|| format!("{} ({}) is not a driver", package.name, module.display()))?;
    Ok((name, bytes))
}

/// Puts a module where tests and people look for it.
fn keep(name: &str, package: &cargo::Package, bytes: &[u8]) -> Result<PathBuf> {
    let file = util::target_dir().join("drivers").join(format!("{name}.wasm"));
    let news = if util::write_if_changed(&file, bytes)? { "new" } else { "unchanged" };
    println!("drivers: target/drivers/{name}.wasm from {}, {} bytes, {news}", package.dir, bytes.len());
    Ok(file)
}

fn is_driver(package: &cargo::Package) -> bool {
    (package.dir.starts_with("drivers/") || is_for_benches(package) || is_for_tests(package)) && package.has_cdylib
}

/// Returns a module that tests look at, and do not run.
fn is_for_tests(package: &cargo::Package) -> bool {
    package.dir.starts_with("tests/") && package.name.ends_with(ENDING)
}

fn is_for_benches(package: &cargo::Package) -> bool {
    package.dir.starts_with("benches/")
}

/// Builds a driver that only tests use and returns where its module is.
pub fn build_for_tests(package: &str) -> Result<PathBuf> {
    build(&setup::minimal()?, package, &[])
}

/// Runs clippy on every driver as compiled for wasm, and on what the SDK has for wasm only.
pub fn lint() -> Result<()> {
    let toolchain = setup::minimal()?;
    if !toolchain.has_clippy() {
        println!("drivers: {} has no clippy for wasm, so the drivers were checked natively only", toolchain.describe());
        return Ok(());
    }
    for package in cargo::packages()?.iter().filter(|package| is_driver(package)) {
        println!("drivers: clippy on {} for wasm", package.name);
        let mut cargo = cargo::command();
        cargo.args(["clippy", "--quiet", "--package", &package.name, "--lib"]);
        for_wasm(&mut cargo, &toolchain, &["-Dwarnings"]);
        cargo::artifacts(&mut cargo, Some(EXPECTED))?;
    }
    Ok(())
}

/// Compiles one package and returns its module.
fn build(toolchain: &Toolchain, package: &str, more_flags: &[&str]) -> Result<PathBuf> {
    println!("drivers: compiling {package}");
    let mut cargo = cargo::command();
    // Quiet, or cargo counts the expected warnings for each crate.
    cargo.args(["rustc", "--quiet", "--package", package, "--lib", "--crate-type", "cdylib"]);
    for_wasm(&mut cargo, toolchain, more_flags);
    let files = cargo::artifacts(&mut cargo, Some(EXPECTED))?;
    let mut modules = files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "wasm"));
    modules.next_back().with_context(|| format!("building {package} made no .wasm file"))
}

fn for_wasm(cargo: &mut Command, toolchain: &Toolchain, more_flags: &[&str]) {
    cargo.args(["--profile", "driver"]).arg("--target-dir").arg(util::target_dir().join("wasm"));
    toolchain.apply(cargo);
    // The encoded variable comes before RUSTFLAGS and every configuration file, so flags that the user has for the
    // host (such as target-cpu=native) do not reach the driver.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", [FLAGS, more_flags].concat().join("\x1f"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(dir: &str, has_cdylib: bool) -> cargo::Package {
        let name = dir.rsplit('/').next().unwrap_or(dir).into();
        cargo::Package { name, dir: dir.into(), dependencies: Vec::new(), has_cdylib }
    }

    #[test]
    fn a_driver_is_a_cdylib_under_drivers_or_benches_or_says_in_its_name_that_it_is_for_tests() {
        assert!(is_driver(&package("drivers/e1000-wasm", true)));
        assert!(is_driver(&package("benches/touch-driver", true)));
        assert!(!is_driver(&package("drivers/common", false)));
        assert!(is_driver(&package("tests/access-wasm", true)));
        assert!(!is_driver(&package("tests/hostile-driver", true)));
    }
}
