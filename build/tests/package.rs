//! The crates that a driver of another repository depends on can be packaged: each is complete in itself, and compiles
//! from its package, with the packages of the others.

use nook_build::{cargo, command};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

#[test]
fn the_crates_that_a_driver_depends_on_pass_cargo_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
    // Begins empty, and so does what cargo unpacks: it would take the crates of an earlier run, unpacked or compiled,
    // for those that are packaged now (findings/cargo-package-stale-crate.sh).
    if target_dir.exists() {
        fs::remove_dir_all(&target_dir).unwrap();
    }
    let mut cargo = cargo::command(root);
    // What was not committed yet is tested too, and nothing is downloaded.
    cargo.args(["package", "--quiet", "--allow-dirty", "--offline"]).arg("--target-dir").arg(&target_dir);
    cargo.args(["--package", "nook-abi", "--package", "nook-regs", "--package", "nook-sdk"]);
    cargo.env("CARGO_HOME", home_without_unpacked_crates(&target_dir));
    command::run(&mut cargo).unwrap();
    for name in ["nook-abi", "nook-regs", "nook-sdk"] {
        let file = target_dir.join("package").join(format!("{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        assert!(file.is_file(), "{}", file.display());
    }
}

/// Makes a home for cargo that has the settings and downloads of the usual one, and nothing unpacked.
fn home_without_unpacked_crates(parent: &Path) -> PathBuf {
    let usual = env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = usual.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap()).join(".cargo"));
    let home = parent.join("home");
    fs::create_dir_all(home.join("registry")).unwrap();
    let link_all = |folder: &str, but: &str| {
        for entry in fs::read_dir(usual.join(folder)).into_iter().flatten() {
            let name = entry.unwrap().file_name();
            if name != but {
                symlink(usual.join(folder).join(&name), home.join(folder).join(&name)).unwrap();
            }
        }
    };
    link_all("", "registry");
    link_all("registry", "src");
    home
}
