//! Drivers in C: folders under `drivers/` with a Makefile, which alone builds them, here as anywhere else. It puts the
//! module, which is called like the folder, where its variable `OUT` says.

use crate::{setup, util};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds each of them, if this machine has what that takes, and returns where the modules are, by the folders' names.
pub fn build_all() -> Result<Vec<(String, PathBuf)>> {
    let missing = setup::missing_for_c();
    let mut built = Vec::new();
    for name in names()? {
        if !missing.is_empty() {
            println!("drivers: drivers/{name} is in C and was not built: install {}", missing.join(", "));
            continue;
        }
        let out = util::target_dir().join("nook/c").join(&name);
        fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
        println!("drivers: compiling {name}");
        let mut make = Command::new("make");
        // Who runs this from a make would have its flags come here.
        make.env_remove("MAKEFLAGS").args(["--silent", "-C"]).arg(folder(&name));
        make.arg(format!("OUT={}", out.to_str().context("the repository's path is not UTF-8")?));
        util::run(&mut make)?;
        built.push((name.clone(), out.join(format!("{name}.wasm"))));
    }
    Ok(built)
}

fn folder(name: &str) -> PathBuf {
    util::root().join("drivers").join(name)
}

fn names() -> Result<Vec<String>> {
    let drivers: &Path = &util::root().join("drivers");
    let entries = fs::read_dir(drivers).with_context(|| format!("reading the folder {}", drivers.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.retain(|name| folder(name).join("Makefile").is_file());
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_driver_in_c_has_a_makefile() {
        assert_eq!(super::names().unwrap(), ["edu-c"]);
    }
}
