//! `cargo xtask setup`: what building and testing need, found or installed. A second call installs nothing and
//! prints one line.

use crate::wasm_toolchain::{self, Toolchain};
use crate::{apt, util};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that tests start, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

/// What the tests start. Binaries are looked for, not packages: a QEMU that you built yourself is kept.
const TOOLS: &[Tool] = &[
    Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "ping", package: "iputils-ping" },
    Tool { program: "iperf3", package: "iperf3" },
    Tool { program: "nbdcopy", package: "libnbd-bin" },
    Tool { program: "nbdsh", package: "python3-libnbd" },
    Tool { program: "qemu-img", package: "qemu-utils" },
    Tool { program: "fio", package: "fio" },
    Tool { program: "nbdkit", package: "nbdkit" },
    Tool { program: "e2fsck", package: "e2fsprogs" },
    Tool { program: "picocom", package: "picocom" },
    Tool { program: "pyserial-miniterm", package: "python3-serial" },
    // Drivers in C are built, those that `nook-run new --lang c` makes too.
    Tool { program: MAKE, package: "make" },
    Tool { program: COMPILER, package: "clang-14" },
    Tool { program: LINKER, package: "lld-14" },
];

/// What drivers in C are compiled with: only asked for when there are such drivers to build.
const C_TOOLS: &[Tool] =
    &[Tool { program: COMPILER, package: "clang-14" }, Tool { program: LINKER, package: "lld-14" }];
const MAKE: &str = "make";
const COMPILER: &str = "clang-14";
const LINKER: &str = "wasm-ld-14";
/// Debian's wasi-libc, and a file that it must have.
const LIBC_PACKAGE: &str = "wasi-libc";
const LIBC_HEADERS: &str = "/usr/include/wasm32-wasi";
const LIBC_LIBRARIES: &str = "/usr/lib/wasm32-wasi";

/// Returns the packages that are missing for nook's own drivers in C, which take no C library.
pub fn missing_for_c() -> Vec<&'static str> {
    let is_needed = |tool: &&Tool| [MAKE, COMPILER, LINKER].contains(&tool.program);
    let missing = missing(TOOLS, |program| util::find_program(program).is_some());
    missing.into_iter().filter(is_needed).map(|tool| tool.package).collect()
}

/// Where they are.
pub struct CTools {
    /// clang.
    pub compiler: PathBuf,
    /// wasm-ld.
    pub linker: PathBuf,
    /// The folder of the headers that come with the compiler.
    pub builtin_headers: PathBuf,
    /// The folder of wasi-libc's headers.
    pub libc_headers: PathBuf,
    /// The folder of wasi-libc's libraries.
    pub libraries: PathBuf,
}

/// Returns the tools for drivers in C, installed if they are missing.
pub fn for_c() -> Result<CTools> {
    let has_libc = || Path::new(LIBC_LIBRARIES).join("libc.a").is_file();
    let mut packages: Vec<_> =
        missing(C_TOOLS, |program| util::find_program(program).is_some()).iter().map(|tool| tool.package).collect();
    if !has_libc() {
        packages.push(LIBC_PACKAGE);
    }
    if !packages.is_empty() {
        apt::install(&packages).context("drivers in C are compiled with Debian's clang, lld and wasi-libc")?;
    }
    let find = |program| util::find_program(program).with_context(|| format!("{program} is not in PATH"));
    ensure!(has_libc(), "{LIBC_PACKAGE} is installed but has no {LIBC_LIBRARIES}/libc.a");
    let compiler = find(COMPILER)?;
    let resources = util::output(Command::new(&compiler).arg("-print-resource-dir"))?;
    Ok(CTools {
        linker: find(LINKER)?,
        builtin_headers: Path::new(resources.trim()).join("include"),
        compiler,
        libc_headers: LIBC_HEADERS.into(),
        libraries: LIBC_LIBRARIES.into(),
    })
}

/// Returns a way to compile drivers; all that a first run needs. Works without root wherever that way is there already.
pub fn minimal() -> Result<Toolchain> {
    let toolchain = wasm_toolchain::find_or_make()?;
    println!("setup: drivers compile with {}", toolchain.describe());
    Ok(toolchain)
}

/// Returns everything that `cargo xtask test` uses.
pub fn full() -> Result<()> {
    let toolchain = wasm_toolchain::find_or_make()?;
    let missing = missing(TOOLS, |program| util::find_program(program).is_some());
    if !missing.is_empty() {
        let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
        let programs: Vec<_> = missing.iter().map(|tool| tool.program).collect();
        apt::install(&packages).with_context(|| format!("the tests use {}, not found here", programs.join(", ")))?;
    }
    let programs: Vec<_> = TOOLS.iter().map(|tool| tool.program).collect();
    println!("setup: drivers compile with {}; tests have {}", toolchain.describe(), programs.join(", "));
    Ok(())
}

fn missing(tools: &'static [Tool], is_there: impl Fn(&str) -> bool) -> Vec<&'static Tool> {
    tools.iter().filter(|tool| !is_there(tool.program)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let packages: Vec<_> = missing(TOOLS, |program| program != "ping").iter().map(|tool| tool.package).collect();
        assert_eq!(packages, ["iputils-ping"]);
        assert!(missing(TOOLS, |_| true).is_empty());
        assert_eq!(missing(TOOLS, |_| false).len(), TOOLS.len());
    }
}
