//! `cargo xtask drivers`: compiles every driver to `target/drivers/<manifest name>.wasm`.
//!
//! Those that drive a device are also compiled for this machine: as a shared object, `<name>.so`, for `--isolation
//! native` and `wrapped`, and as a program, `<name>.elf`, for `process`. They are built as `nook-run build` builds one
//! of another repository.
//!
//! Those in C ([`in_c`]) are modules and nothing else.
//!
//! A driver is a package under `drivers/` or `benches/` with a `cdylib` target, or one under `tests/` whose name ends
//! in `-wasm`; those of the benchmarks are compiled a second time, without SIMD, to `<manifest name>-scalar.wasm`.
//! Tests have objects and programs besides, of which there is no module: packages whose names end in `-native` and
//! `-process`.

use crate::{cargo, in_c, setup, util};
use anyhow::{Context, Result, bail, ensure};
use nook_build::compile::{self, Package};
use nook_build::driver::Driver;
use nook_build::module;
use nook_build::toolchain::Toolchain;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// For a driver of the benchmarks, to see what SIMD brings.
const SCALAR: &str = "-Ctarget-feature=-simd128";

/// How the names of the packages end that only tests use: a module, a shared object, a program, an object for a
/// protection domain.
const MODULE: &str = "-wasm";
const OBJECT: &str = "-native";
const PROGRAM: &str = "-process";
const DOMAIN: &str = "-domain";

/// Builds all drivers and returns where they are, by the names in their manifests.
pub fn build_all() -> Result<BTreeMap<String, PathBuf>> {
    let toolchain = setup::minimal()?;
    let mut built = BTreeMap::new();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let packages = cargo::packages()?;
    let mut own = |name: &str, by: &str| match owners.insert(name.into(), by.into()) {
        Some(other) => bail!("{other} and {by} both have `name = {name}` in their manifests: give one another name"),
        None => Ok(()),
    };
    for package in packages.iter().filter(|package| is_driver(package)) {
        let (name, file) = build(&toolchain, package, |name| own(name, &package.name))?;
        built.insert(name, file);
    }
    for (folder, module) in in_c::build_all()? {
        let name = name_of(&module)?;
        own(&name, &folder)?;
        let file = keep(&module, &format!("{name}.wasm"), &format!("drivers/{folder}"))?;
        built.insert(name, file);
    }
    ensure!(!built.is_empty(), "no package under drivers/ has a cdylib target, so there is no driver to build");
    for package in packages.iter().filter(|package| package.dir.starts_with("tests/")) {
        if let Some(name) = package.name.strip_suffix(OBJECT).filter(|_| package.has_cdylib) {
            keep(&compile::object(&to_compile(package))?, &format!("{name}.so"), &package.dir)?;
        }
        if let Some(name) = package.name.strip_suffix(DOMAIN).filter(|_| cfg!(target_arch = "x86_64")) {
            keep(&compile::domain_object(&to_compile(package))?, &format!("{name}.mpk"), &package.dir)?;
        }
        if let Some(name) = package.name.strip_suffix(PROGRAM) {
            keep(&compile::program(&to_compile(package))?, &format!("{name}.elf"), &package.dir)?;
        }
    }
    Ok(built)
}

/// Builds one driver in its forms, and returns its name and where its module is.
fn build(
    toolchain: &Toolchain,
    package: &cargo::Package,
    mut own: impl FnMut(&str) -> Result<()>,
) -> Result<(String, PathBuf)> {
    if is_for_tests(package) {
        println!("drivers: compiling {}", package.name);
        let module = compile::module(&to_compile(package), toolchain, &[])?;
        let name = name_of(&module)?;
        own(&name)?;
        let file = keep(&module, &format!("{name}.wasm"), &package.dir)?;
        return Ok((name, file));
    }
    let mut driver = Driver::find(&util::root().join(&package.dir))?;
    driver.package = to_compile(package);
    let forms = driver.build(toolchain, |module| own(&name_of(module)?))?;
    let name = forms.name;
    let file = keep(&forms.module, &format!("{name}.wasm"), &package.dir)?;
    if is_for_benches(package) {
        let module = compile::module(&driver.package, toolchain, &[SCALAR])?;
        keep(&module, &format!("{name}-scalar.wasm"), &package.dir)?;
    }
    if cfg!(target_arch = "x86_64")
        && !forms.native.is_empty()
        && forms.native.iter().all(|(_, ending)| *ending != "mpk")
    {
        bail!("{} has no form for --isolation mpk; the compiler says why", package.name);
    }
    for (form, ending) in forms.native {
        keep(&form, &format!("{name}.{ending}"), &package.dir)?;
    }
    Ok((name, file))
}

fn name_of(module: &Path) -> Result<String> {
    let bytes = fs::read(module).with_context(|| format!("reading {}", module.display()))?;
    module::driver_name(&bytes).with_context(|| format!("{} is not a driver", module.display()))
}

/// Puts what was compiled where tests and people look for it.
fn keep(compiled: &Path, name: &str, from: &str) -> Result<PathBuf> {
    let file = util::target_dir().join("drivers").join(name);
    compile::keep(compiled, &file, &format!("target/drivers/{name}"), from)?;
    Ok(file)
}

/// Drivers are built beside the rest, for they have other profiles and targets.
fn to_compile(package: &cargo::Package) -> Package {
    let dir = util::root().join(&package.dir);
    let target_dir = util::target_dir().join("nook");
    Package { manifest: dir.join("Cargo.toml"), dir, name: package.name.clone(), target_dir }
}

fn is_driver(package: &cargo::Package) -> bool {
    (package.dir.starts_with("drivers/") || is_for_benches(package) || is_for_tests(package)) && package.has_cdylib
}

/// Returns a module that tests look at, and do not run.
fn is_for_tests(package: &cargo::Package) -> bool {
    package.dir.starts_with("tests/") && package.name.ends_with(MODULE)
}

fn is_for_benches(package: &cargo::Package) -> bool {
    package.dir.starts_with("benches/")
}

/// Builds the module of one package under `drivers/`, without its other forms, and returns where it is.
pub fn build_one(package: &str) -> Result<PathBuf> {
    let (package, module) = build_module(package)?;
    keep(&module, &format!("{}.wasm", name_of(&module)?), &package.dir)
}

/// Builds a driver that only tests use and returns where its module is.
pub fn build_for_tests(package: &str) -> Result<PathBuf> {
    build_module(package).map(|(_, module)| module)
}

fn build_module(name: &str) -> Result<(cargo::Package, PathBuf)> {
    let package = cargo::packages()?.into_iter().find(|package| package.name == name);
    let package = package.with_context(|| format!("there is no package {name}"))?;
    let toolchain = setup::minimal()?;
    println!("drivers: compiling {name}");
    let module = compile::module(&to_compile(&package), &toolchain, &[])?;
    Ok((package, module))
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
        compile::lint(&to_compile(package), &toolchain)?;
    }
    Ok(())
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
