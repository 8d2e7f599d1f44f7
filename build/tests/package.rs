//! The crates that a driver of another repository depends on can be packaged: each is complete in itself, and compiles
//! from its package, with the packages of the others.

use nook_build::{cargo, command};
use std::path::Path;

#[test]
fn the_crates_that_a_driver_depends_on_pass_cargo_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
    let mut cargo = cargo::command(root);
    // What was not committed yet is tested too, and nothing is downloaded.
    cargo.args(["package", "--quiet", "--allow-dirty", "--offline"]).arg("--target-dir").arg(&target_dir);
    cargo.args(["--package", "nook-abi", "--package", "nook-regs", "--package", "nook-sdk"]);
    command::run(&mut cargo).unwrap();
    for name in ["nook-abi", "nook-regs", "nook-sdk"] {
        let file = target_dir.join("package").join(format!("{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        assert!(file.is_file(), "{}", file.display());
    }
}
