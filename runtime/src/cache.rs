//! Compiled modules, kept between runs.
//!
//! The key covers the laid-out module, wasmtime's version and settings, and the machine's instruction set: a module
//! that was compiled by another version or for another machine is never loaded. What is loaded from the cache runs as
//! it is, so the cache is only believed if nobody but this user can write to it.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nook_abi::Hex;
use sha2::{Digest, Sha256};

use crate::engine::EngineError;
use crate::isa::target_description;

/// Where compiled modules are kept, if anywhere.
#[derive(Clone, Debug)]
pub struct ModuleCache {
    directory: Option<PathBuf>,
}

impl ModuleCache {
    /// Returns no cache: every start compiles.
    pub fn none() -> Self {
        ModuleCache { directory: None }
    }

    /// Returns the user's cache directory (`$XDG_CACHE_HOME/nook` or `~/.cache/nook`); no cache if there is neither.
    pub fn of_user() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        ModuleCache { directory: base.map(|base| base.join("nook")) }
    }

    /// Opens the cache in `directory`, which is made if it is missing.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        ModuleCache { directory: Some(directory.into()) }
    }

    /// Loads a compiled module or compiles it. A cache that cannot be used never stops a driver: it is compiled, and
    /// the reason is logged.
    pub(crate) fn get_or_compile(
        &self,
        engine: &wasmtime::Engine,
        wasm: &[u8],
    ) -> Result<wasmtime::Module, EngineError> {
        let path = self.directory.as_deref().and_then(|directory| match private_directory(directory) {
            Ok(()) => Some(directory.join(format!("{}.cwasm", key(engine, wasm)))),
            Err(why) => {
                tracing::warn!("compiled modules are not kept in {}: {why}", directory.display());
                None
            }
        });
        if let Some(path) = path.as_deref().filter(|path| path.exists()) {
            match load(engine, path) {
                Ok(module) => return Ok(module),
                Err(why) => tracing::warn!("{} cannot be used ({why}): compiling again", path.display()),
            }
        }
        let compiled =
            wasmtime::Module::new(engine, wasm).map_err(|error| EngineError::Compile(format!("{error:#}")))?;
        if let Some(path) = path
            && let Err(why) = keep(&compiled, &path)
        {
            tracing::warn!("cannot keep the compiled module in {}: {why}", path.display());
        }
        Ok(compiled)
    }
}

fn key(engine: &wasmtime::Engine, wasm: &[u8]) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut sha = Sha(Sha256::new());
    sha.write(wasm);
    sha.write(target_description().as_bytes());
    engine.precompile_compatibility_hash().hash(&mut sha);
    Hex::of(&sha.0.finalize()[..16]).to_string()
}

/// Makes the directory, and [checks](check_private_directory) it.
fn private_directory(directory: &Path) -> Result<(), String> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| error.to_string())?;
    check_private_directory(directory)
}

/// Checks that only this user can write to a directory, and that nobody else can put another in its place.
///
/// # Errors
/// Why that is not so, or the directory cannot be looked at.
pub fn check_private_directory(directory: &Path) -> Result<(), String> {
    private(directory)?;
    let real = fs::canonicalize(directory).map_err(|error| error.to_string())?;
    real.ancestors().skip(1).try_for_each(unmoved)
}

/// Checks that only this user and root can rename what is in the folder, or each user only their own files.
fn unmoved(folder: &Path) -> Result<(), String> {
    const STICKY: u32 = 0o1000;
    let meta = fs::metadata(folder).map_err(|error| error.to_string())?;
    let mode = meta.permissions().mode();
    if ![0, user()].contains(&meta.uid()) || (mode & 0o022 != 0 && mode & STICKY == 0) {
        return Err(format!("others than this user can rename what is in {}", folder.display()));
    }
    Ok(())
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn private(path: &Path) -> Result<(), String> {
    let meta = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if meta.is_symlink() || meta.uid() != user() || meta.permissions().mode() & 0o022 != 0 {
        return Err("it is not owned by this user, or others can write to it".to_owned());
    }
    Ok(())
}

#[expect(unsafe_code, reason = "compiled code is taken from a file")]
fn load(engine: &wasmtime::Engine, path: &Path) -> Result<wasmtime::Module, String> {
    private(path)?;
    // SAFETY: the file was written by `keep` of this user, in a directory that nobody else can write to, under a name
    // that covers its contents' origin; wasmtime checks version and settings again.
    unsafe { wasmtime::Module::deserialize_file(engine, path) }.map_err(|error| format!("{error:#}"))
}

/// Writes under another name first, one that nobody else writes to, so that a full disk, a second process or a second
/// thread never leaves half a module; and to the disk before it gets its name, so that a power cut does not either.
fn keep(module: &wasmtime::Module, path: &Path) -> io::Result<()> {
    static WRITERS: AtomicU64 = AtomicU64::new(0);
    let bytes = module.serialize().map_err(io::Error::other)?;
    let writer = WRITERS.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{writer}.tmp", std::process::id()));
    // Whatever the user's umask is: what others can write to is not believed.
    let file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let written = file.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_whose_place_others_can_put_theirs_is_not_believed() {
        let base = std::env::temp_dir().join(format!("nook-cache-parents-{}", std::process::id()));
        let directory = base.join("open/nook");
        private_directory(&directory).unwrap();
        for (mode, believed) in [(0o777, false), (0o720, false), (0o1777, true), (0o755, true)] {
            fs::set_permissions(base.join("open"), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(private_directory(&directory).is_ok(), believed, "{mode:o}");
        }
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn a_kept_module_is_for_its_user_alone() {
        let directory = std::env::temp_dir().join(format!("nook-cache-{}", std::process::id()));
        private_directory(&directory).unwrap();
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, b"\0asm\x01\0\0\0").unwrap();
        let path = directory.join("module.cwasm");
        keep(&module, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        assert!(load(&engine, &path).is_ok());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
