//! Running the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The e1000 driver as `cargo xtask drivers` makes it.
pub fn driver() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = root.join("target/drivers/e1000.wasm");
    assert!(file.exists(), "{} is missing; run `cargo xtask drivers`", file.display());
    file
}

/// The command, without colours.
pub fn nook_run() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nook-run"));
    command.env_remove("NOOK_LOG").env("NO_COLOR", "1");
    command
}

/// What it wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
