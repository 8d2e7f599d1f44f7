//! Where the repository is, and how other programs are run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use nook_build::command::{check, find_program, output, run, run_limited, shown, spawn, write_if_changed};

/// Returns the repository's top folder: the parent of this crate's.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// `<repository>/target`, whatever CARGO_TARGET_DIR says: drivers and the set-up's stamp have one documented place
/// at which tests and people look for them.
pub fn target_dir() -> PathBuf {
    root().join("target")
}

/// Returns whether this process may do what root may: its effective user owns /proc/self.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
