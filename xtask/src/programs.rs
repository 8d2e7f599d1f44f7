//! Drivers as programs of their own, for `--isolation process`: `target/drivers/<name>.elf`.
//!
//! A program is a package that is named after its driver, `<name>-process`, and imports the driver's side of the
//! channel. It is linked statically: its sandbox is up before it begins, and there is no library to be found in it.

use crate::{cargo, util};
use anyhow::{Context, Result};
use std::fs;

/// The driver's side of the channel.
const GUEST: &str = "nook-process-guest";

/// How the names of the packages end.
const ENDING: &str = "-process";

/// For the program itself; what it is made of is compiled as usual.
const FLAGS: &[&str] = &["-Ctarget-feature=+crt-static", "-Cstrip=debuginfo"];

/// Builds all of them, those that only tests use among them.
pub fn build_all() -> Result<()> {
    for package in cargo::packages()?.iter().filter(|package| is_program(package)) {
        println!("drivers: compiling {}", package.name);
        let mut cargo = cargo::command();
        cargo.args(["rustc", "--quiet", "--package", &package.name, "--bin", &package.name, "--profile", "driver"]);
        let files = cargo::artifacts_with(&mut cargo, None, FLAGS)?;
        let program = files.into_iter().rfind(|file| file.file_name().is_some_and(|name| name == &*package.name));
        let program = program.with_context(|| format!("building {} made no program", package.name))?;
        let bytes = fs::read(&program).with_context(|| format!("reading {}", program.display()))?;
        let name = package.name.trim_end_matches(ENDING);
        let file = util::target_dir().join("drivers").join(format!("{name}.elf"));
        let news = if util::write_if_changed(&file, &bytes)? { "new" } else { "unchanged" };
        println!("drivers: target/drivers/{name}.elf from {}, {} bytes, {news}", package.dir, bytes.len());
    }
    Ok(())
}

/// The host's side of the channel imports the guest's too, and is a library of ours and no driver's program.
fn is_program(package: &cargo::Package) -> bool {
    let imports = package.dependencies.iter().any(|dependency| dependency.name == GUEST);
    imports && !package.name.starts_with("nook-") && package.name.ends_with(ENDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dir: &str, dependency: &str) -> cargo::Package {
        let dependency =
            cargo::Dependency { name: dependency.into(), named: dependency.into(), kind: cargo::Kind::Normal };
        cargo::Package { name: name.into(), dir: dir.into(), dependencies: vec![dependency], has_cdylib: false }
    }

    #[test]
    fn a_program_is_a_driver_with_its_side_of_the_channel() {
        assert!(is_program(&package("e1000-process", "isolation/process/e1000", GUEST)));
        assert!(is_program(&package("hostile-process", "tests/hostile-process", GUEST)));
        assert!(!is_program(&package("nook-process", "isolation/process", GUEST)));
        assert!(!is_program(&package("e1000-wasm", "drivers/e1000-wasm", "nook-sdk")));
    }
}
