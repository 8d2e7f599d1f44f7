//! Running the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What these tests call the driver is this one instead, if the variable is set: another one for the same cards.
const OTHER_DRIVER: &str = "NOOK_TEST_DRIVER";

/// Returns whether it is another driver than ours, which is in wasm only.
pub fn is_other() -> bool {
    std::env::var_os(OTHER_DRIVER).is_some()
}

/// Returns the e1000 driver as `cargo xtask drivers` makes it.
pub fn driver() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let name = std::env::var(OTHER_DRIVER).unwrap_or_else(|_| "e1000".into());
    let file = root.join("target/drivers").join(name).with_extension("wasm");
    assert!(file.exists(), "{} is missing; run `cargo xtask drivers`", file.display());
    file
}

/// Returns the command, without colours.
pub fn nook_run() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nook-run"));
    command.env_remove("NOOK_LOG").env("NO_COLOR", "1");
    command
}

/// Returns what it wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
