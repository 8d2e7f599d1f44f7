//! One driver's package as a WebAssembly module, as a shared object, and as a program.

use crate::toolchain::Toolchain;
use crate::{cargo, command};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler's flags for every module.
/// - Without `atomics`, atomic loads and stores become plain ones, which the host's compiler may merge or drop, and
///   a descriptor that a device writes could not be polled.
/// - A driver's stack is 128 KiB: one with two rings of 512 descriptors and two of 256 has 25 KiB, and `probe` moves it
///   some times.
///   It lies first in memory (rustc's default), so that an overflow traps.
///
/// The guide shows the same flags for a plain `cargo build`; a test compares them.
pub const WASM_FLAGS: [&str; 3] =
    ["-Ctarget-feature=+atomics,+bulk-memory,+simd128", "-Clink-arg=-zstack-size=131072", "-Clink-arg=--stack-first"];

/// The compiler's remark on `atomics` above, once for each crate. That the instructions come out as they should is
/// pinned by a test on the compiled driver, and checked at each load.
pub const EXPECTED: &str = "unstable feature specified for `-Ctarget-feature`: `atomics`";

/// For a shared object: names of functions stay, for profilers.
const OBJECT_FLAGS: &[&str] = &["-Cstrip=debuginfo"];

/// For an object that a loader of nook's own maps: nothing of the C library or its linker is in it, and its parts lie
/// on separate pages.
const DOMAIN_FLAGS: &[&str] = &[
    "-Cstrip=debuginfo",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-Wl,-z,now,-z,separate-code,-z,noexecstack,-Bsymbolic",
];

/// With which the SDK leaves the standard library out.
const DOMAIN_FEATURE: &str = "nook-sdk/domain";

/// For a program; what it is made of is compiled as usual. It is linked statically: its sandbox is up before it begins,
/// and there is no library to be found in it.
const PROGRAM_FLAGS: &[&str] = &["-Ctarget-feature=+crt-static", "-Cstrip=debuginfo"];

/// What drivers are compiled with, whatever their crate's Cargo.toml says; `debug = 1` is for `nook-run postmortem`.
/// Modules and programs abort on a panic, since the host catches it; panics of an object in the host's process can be
/// caught.
const PROFILES: [&str; 10] = [
    "profile.driver.inherits='release'",
    "profile.driver.debug=1",
    "profile.driver.strip=false",
    "profile.driver.lto='fat'",
    "profile.driver.codegen-units=1",
    "profile.driver.panic='abort'",
    "profile.native-driver.inherits='driver'",
    "profile.native-driver.lto='off'",
    "profile.native-driver.panic='unwind'",
    // By its name it has a separate folder: cargo calls the object like the one that a program's build
    // makes of the same library by the way, and took that one for it if it was newer
    // (findings/cargo-cdylib-shared-target.sh).
    "profile.domain-driver.inherits='driver'",
];

/// A package to be compiled.
#[derive(Clone, Debug)]
pub struct Package {
    /// Where cargo is started: it finds its configuration from here.
    pub dir: PathBuf,
    /// The package's Cargo.toml, or its workspace's.
    pub manifest: PathBuf,
    /// The package's name.
    pub name: String,
    /// Where cargo builds.
    pub target_dir: PathBuf,
}

/// Compiles the package's library to a module and says where it is. `more_flags` come after [`WASM_FLAGS`].
///
/// # Errors
/// If it does not compile; what the compiler says was printed then.
pub fn module(package: &Package, toolchain: &Toolchain, more_flags: &[&str]) -> Result<PathBuf> {
    // As a cdylib alone: with an rlib beside it, which the other forms use, cargo leaves link-time optimization out.
    let mut cargo = start(package, "rustc", "driver");
    cargo.args(["--lib", "--crate-type", "cdylib"]);
    for_wasm(&mut cargo, toolchain, more_flags);
    let files = cargo::artifacts(&mut cargo, Some(EXPECTED), &[])?;
    last(files, ".wasm file", &package.name, |file| file.extension().is_some_and(|extension| extension == "wasm"))
}

/// Compiles the package's library for this machine and says where its shared object is.
///
/// # Errors
/// As [`module`].
pub fn object(package: &Package) -> Result<PathBuf> {
    let mut cargo = start(package, "rustc", "native-driver");
    cargo.args(["--lib", "--crate-type", "cdylib"]);
    for_this_machine(&mut cargo)?;
    let files = cargo::artifacts(&mut cargo, None, OBJECT_FLAGS)?;
    last(files, ".so file", &package.name, |file| file.extension().is_some_and(|extension| extension == "so"))
}

/// Compiles the package's library for this machine as an object without the standard library, for a protection domain,
/// and says where it is. Only for x86-64 are there any.
///
/// # Errors
/// As [`module`].
pub fn domain_object(package: &Package) -> Result<PathBuf> {
    let mut cargo = start(package, "rustc", "domain-driver");
    cargo.args(["--lib", "--crate-type", "cdylib", "--features", DOMAIN_FEATURE]);
    for_this_machine(&mut cargo)?;
    let files = cargo::artifacts(&mut cargo, None, DOMAIN_FLAGS)?;
    last(files, ".so file", &package.name, |file| file.extension().is_some_and(|extension| extension == "so"))
}

/// Compiles the package's program, which has the package's name, and says where it is.
///
/// # Errors
/// As [`module`].
pub fn program(package: &Package) -> Result<PathBuf> {
    let mut cargo = start(package, "rustc", "driver");
    cargo.args(["--bin", &package.name]);
    for_this_machine(&mut cargo)?;
    let files = cargo::artifacts(&mut cargo, None, PROGRAM_FLAGS)?;
    last(files, "program", &package.name, |file| file.file_name().is_some_and(|name| name == &*package.name))
}

/// Runs clippy on the package's library as compiled for wasm.
///
/// # Errors
/// If it finds something, which was printed then.
pub fn lint(package: &Package, toolchain: &Toolchain) -> Result<()> {
    let mut cargo = start(package, "clippy", "driver");
    cargo.arg("--lib");
    for_wasm(&mut cargo, toolchain, &["-Dwarnings"]);
    cargo::artifacts(&mut cargo, Some(EXPECTED), &[]).map(|_| ())
}

/// Quiet, or cargo counts the expected warnings for each crate.
fn start(package: &Package, subcommand: &str, profile: &str) -> Command {
    let mut cargo = cargo::command(&package.dir);
    cargo.args([subcommand, "--quiet", "--package", &package.name, "--profile", profile]);
    cargo.arg("--manifest-path").arg(&package.manifest);
    for setting in PROFILES {
        cargo.args(["--config", setting]);
    }
    cargo.arg("--target-dir").arg(&package.target_dir);
    cargo
}

fn for_wasm(cargo: &mut Command, toolchain: &Toolchain, more_flags: &[&str]) {
    toolchain.apply(cargo);
    // The encoded variable comes before RUSTFLAGS and every configuration file, so flags that the user has for the
    // host (such as target-cpu=native) do not reach the driver.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", [&WASM_FLAGS, more_flags].concat().join("\x1f"));
}

/// Named, for a crate's configuration may say that a plain `cargo build` is for wasm.
fn for_this_machine(cargo: &mut Command) -> Result<()> {
    cargo.args(["--target", &cargo::host_triple()?]);
    Ok(())
}

fn last(files: Vec<PathBuf>, what: &str, package: &str, is_it: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    files.into_iter().rfind(|file| is_it(file)).with_context(|| format!("building {package} made no {what}"))
}

/// Puts what was compiled where it is looked for, and says so in a line.
///
/// # Errors
/// If it cannot be read or written.
pub fn keep(compiled: &Path, file: &Path, shown: &str, from: &str) -> Result<()> {
    let bytes = std::fs::read(compiled).with_context(|| format!("reading {}", compiled.display()))?;
    let news = if command::write_if_changed(file, &bytes)? { "new" } else { "unchanged" };
    println!("drivers: {shown} from {from}, {} bytes, {news}", bytes.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_the_flags_that_are_used_here() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/writing-a-driver.md");
        let guide = std::fs::read_to_string(guide).unwrap();
        for flag in WASM_FLAGS {
            assert!(guide.contains(&format!("\"{flag}\"")), "{flag}");
        }
    }
}
