//! Gives the crate its version ([`VERSION`](src/lib.rs)): a hash of all that decides what it makes of a module.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let mut hasher = DefaultHasher::new();
    hash(&root.join("src"), &mut hasher)?;
    // With the contract's tables, and the versions of what reads and writes modules.
    for beside in ["../abi/src", "../Cargo.lock"].map(|path| root.join(path)) {
        if beside.exists() {
            hash(&beside, &mut hasher)?;
        }
    }
    println!("cargo::rustc-env=NOOK_INSTRUMENT_VERSION={:016x}", hasher.finish());
    Ok(())
}

fn hash(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", path.display());
    if path.is_file() {
        fs::read(path)?.hash(hasher);
        return Ok(());
    }
    let mut inside = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    inside.sort();
    inside.iter().try_for_each(|path| hash(path, hasher))
}
