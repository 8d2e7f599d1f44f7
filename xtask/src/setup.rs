//! `cargo xtask setup`: what building and testing need, found or installed. A second call installs nothing and
//! prints one line.

use crate::wasm_toolchain::{self, Toolchain};
use crate::{apt, util};
use anyhow::{Context, Result};

/// A program that tests start, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

/// What the tests start. Binaries are looked for, not packages: who built their own QEMU keeps it.
const TOOLS: &[Tool] = &[
    Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "ping", package: "iputils-ping" },
    Tool { program: "iperf3", package: "iperf3" },
];

/// A way to compile drivers; all that a first run needs. Works without root wherever that way is there already.
pub fn minimal() -> Result<Toolchain> {
    let toolchain = wasm_toolchain::find_or_make()?;
    println!("setup: drivers compile with {}", toolchain.describe());
    Ok(toolchain)
}

/// Everything that `cargo xtask test` uses.
pub fn full() -> Result<()> {
    let toolchain = wasm_toolchain::find_or_make()?;
    let missing = missing(|program| util::find_program(program).is_some());
    if !missing.is_empty() {
        let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
        let programs: Vec<_> = missing.iter().map(|tool| tool.program).collect();
        apt::install(&packages).with_context(|| format!("the tests use {}, not found here", programs.join(", ")))?;
    }
    let programs: Vec<_> = TOOLS.iter().map(|tool| tool.program).collect();
    println!("setup: drivers compile with {}; tests have {}", toolchain.describe(), programs.join(", "));
    Ok(())
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| !is_there(tool.program)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let packages: Vec<_> = missing(|program| program != "ping").iter().map(|tool| tool.package).collect();
        assert_eq!(packages, ["iputils-ping"]);
        assert!(missing(|_| true).is_empty());
        assert_eq!(missing(|_| false).len(), TOOLS.len());
    }
}
