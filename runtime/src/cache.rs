//! Compiled modules, kept between runs.
//!
//! What is kept is the end of the whole way from a driver's file: rewritten, checked as it was to be compiled, and
//! compiled; with the places that lead from its code back to the driver's. None of that is done at the next start.
//! The key covers all that decides what comes out: the file's hash, where its memory's parts lie, what was made of it,
//! the version of the crate that rewrites and checks (`nook_instrument::VERSION`, a hash of its source), wasmtime's
//! version and settings, and the machine's instruction set.
//!
//! What is loaded from the cache runs as it is, so the cache is only believed if nobody but this user can write to it.
//! That is why the rewritten module need not be checked again: a program that could keep one that was not checked could
//! keep any machine code.

use std::fmt;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nook_abi::Hex;
use sha2::{Digest, Sha256};

use crate::engine::{CodeGen, Engine, EngineError, compile};
use crate::isa::target_description;
use crate::origin::Origin;

/// Compiles modules somewhere else than in this process.
pub trait Compiler: Send + Sync {
    /// Compiles a module: returns what [`CodeGen::compile`] returns. That is machine code, which will run here:
    /// the compiler is believed as this process is.
    ///
    /// # Errors
    /// If it is not done: why.
    fn compile(&self, how: CodeGen, wasm: &[u8]) -> Result<Vec<u8>, EngineError>;
}

/// Where compiled modules come from: a folder in which they are kept, if any, and what compiles the others.
#[derive(Clone)]
pub struct ModuleCache {
    directory: Option<PathBuf>,
    compiler: Option<Arc<dyn Compiler>>,
}

impl fmt::Debug for ModuleCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleCache").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What a module is made of, and how.
pub(crate) struct Recipe<'a> {
    /// The hash of the file that it comes from.
    pub(crate) sha256: [u8; 32],
    /// Where its memory's parts lie.
    pub(crate) layout: &'a crate::Layout,
    /// What is done to it before it is compiled, by a name; none if it is not to be kept.
    pub(crate) made: Option<String>,
}

/// A module as it is to be compiled: rewritten and checked.
pub(crate) struct Finished {
    pub(crate) wasm: Vec<u8>,
    /// Where its code comes from.
    pub(crate) origin: Origin,
}

/// A compiled module.
pub(crate) struct Compiled {
    pub(crate) module: wasmtime::Module,
    /// Where its code comes from.
    pub(crate) origin: Origin,
}

impl ModuleCache {
    /// Returns no cache: every start compiles.
    pub fn none() -> Self {
        ModuleCache { directory: None, compiler: None }
    }

    /// Returns the user's cache directory (`$XDG_CACHE_HOME/nook` or `~/.cache/nook`); no cache if there is neither.
    pub fn of_user() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        ModuleCache { directory: base.map(|base| base.join("nook")), ..Self::none() }
    }

    /// Opens the cache in `directory`, which is made if it is missing.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        ModuleCache { directory: Some(directory.into()), ..Self::none() }
    }

    /// Has modules compiled by `compiler`. Without one they are compiled in this process, for as long and with as much
    /// memory as it takes.
    #[must_use]
    pub fn compiled_by(self, compiler: Arc<dyn Compiler>) -> Self {
        ModuleCache { compiler: Some(compiler), ..self }
    }

    /// Loads a compiled module, or compiles what `finish` returns. A cache that cannot be used never stops a driver: it
    /// is compiled, and the reason is logged.
    pub(crate) fn get_or_compile(
        &self,
        engine: &Engine,
        recipe: &Recipe<'_>,
        finish: impl FnOnce() -> Result<Finished, EngineError>,
    ) -> Result<Compiled, EngineError> {
        let path =
            self.directory.as_deref().zip(recipe.made.as_deref()).and_then(
                |(directory, made)| match private_directory(directory) {
                    Ok(()) => Some(directory.join(format!("{}.cwasm", key(engine.wasmtime(), recipe, made)))),
                    Err(why) => {
                        tracing::warn!("compiled modules are not kept in {}: {why}", directory.display());
                        None
                    }
                },
            );
        if let Some(path) = path.as_deref().filter(|path| path.exists()) {
            match load(engine.wasmtime(), path) {
                Ok(compiled) => return Ok(compiled),
                Err(why) => tracing::warn!("{} cannot be used ({why}): compiling again", path.display()),
            }
        }
        let Finished { wasm, origin } = finish()?;
        let code = match &self.compiler {
            Some(compiler) => compiler.compile(engine.how(), &wasm)?,
            None => compile(engine.wasmtime(), &wasm)?,
        };
        if let Some(path) = path
            && let Err(why) = keep(&code, &origin, &path)
        {
            tracing::warn!("cannot keep the compiled module in {}: {why}", path.display());
        }
        #[expect(unsafe_code, reason = "compiled code is taken from bytes")]
        // SAFETY: the bytes are what the compiler made just now, here or in the process that does it for this one;
        // wasmtime checks version and settings.
        let module = unsafe { wasmtime::Module::deserialize(engine.wasmtime(), &code) };
        let module =
            module.map_err(|error| EngineError::Compile(format!("what the compiler made is not usable: {error:#}")))?;
        Ok(Compiled { module, origin })
    }
}

fn key(engine: &wasmtime::Engine, recipe: &Recipe<'_>, made: &str) -> String {
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
    sha.write(&recipe.sha256);
    let parts = [nook_instrument::VERSION, made, &format!("{:?}", recipe.layout), target_description()];
    parts.hash(&mut sha);
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

/// What a file in the cache ends with, behind the number of bytes before it that say where the code comes from.
const MARK: [u8; 8] = *b"nook-mod";
/// Bytes of that number and the mark.
const TAIL_BYTES: u64 = 16;

#[expect(unsafe_code, reason = "compiled code is taken from a file")]
fn load(engine: &wasmtime::Engine, path: &Path) -> Result<Compiled, String> {
    private(path)?;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let origin = origin_in(&file).map_err(|error| error.to_string())?.ok_or("it is cut off")?;
    // SAFETY: the file was written by `keep` of this user, in a directory that nobody else can write to, under a name
    // that covers its contents' origin; wasmtime checks version and settings again, and does not look behind its own.
    let module = unsafe { wasmtime::Module::deserialize_open_file(engine, file) };
    Ok(Compiled { module: module.map_err(|error| format!("{error:#}"))?, origin })
}

/// Reads the end of a kept module.
fn origin_in(file: &File) -> io::Result<Option<Origin>> {
    let len_bytes = file.metadata()?.len();
    let Some(tail_at) = len_bytes.checked_sub(TAIL_BYTES) else { return Ok(None) };
    let mut tail = [[0; 8]; 2];
    file.read_exact_at(tail.as_flattened_mut(), tail_at)?;
    let [origin_bytes, mark] = tail;
    let at = tail_at.checked_sub(u64::from_le_bytes(origin_bytes)).filter(|_| mark == MARK);
    let Some(at) = at else { return Ok(None) };
    let mut bytes = vec![0; (tail_at - at) as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(Origin::from_bytes(&bytes))
}

/// Writes under another name first, one that nobody else writes to, so that a full disk, a second process or a second
/// thread never leaves half a module; and to the disk before it gets its name, so that a power cut does not either.
fn keep(code: &[u8], origin: &Origin, path: &Path) -> io::Result<()> {
    static WRITERS: AtomicU64 = AtomicU64::new(0);
    let origin = origin.to_bytes();
    let len = (origin.len() as u64).to_le_bytes();
    let writer = WRITERS.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{writer}.tmp", std::process::id()));
    // Whatever the user's umask is: what others can write to is not believed.
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let written = file.and_then(|mut file| {
        [code, &origin, &len, &MARK]
            .into_iter()
            .try_for_each(|part| file.write_all(part))
            .and_then(|()| file.sync_all())
    });
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

    /// A module that was kept in a folder of this test's own, which goes with it.
    struct Kept {
        directory: PathBuf,
        engine: wasmtime::Engine,
        path: PathBuf,
        origin: Origin,
    }

    impl Kept {
        fn new(test: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("nook-cache-{test}-{}", std::process::id()));
            private_directory(&directory).unwrap();
            let engine = wasmtime::Engine::default();
            let code = compile(&engine, b"\0asm\x01\0\0\0").unwrap();
            let path = directory.join("module.cwasm");
            let origin = Origin::new(None, Some(nook_instrument::OffsetMap::of([(10, 1), (20, 2)])), None, None, None);
            keep(&code, &origin, &path).unwrap();
            Kept { directory, engine, path, origin }
        }

        fn load(&self) -> Result<Compiled, String> {
            load(&self.engine, &self.path)
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    #[test]
    fn a_kept_module_is_for_its_user_alone() {
        let kept = Kept::new("private");
        assert_eq!(fs::metadata(&kept.path).unwrap().permissions().mode() & 0o077, 0);
        assert!(kept.load().is_ok_and(|compiled| compiled.origin == kept.origin));
        assert_eq!(fs::read_dir(&kept.directory).unwrap().count(), 1);
    }

    #[test]
    fn a_module_that_was_cut_off_is_not_loaded() {
        let kept = Kept::new("cut-off");
        let whole = fs::read(&kept.path).unwrap();
        for len in [0, 10, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
            fs::write(&kept.path, &whole[..len]).unwrap();
            assert_eq!(kept.load().err().as_deref(), Some("it is cut off"), "{len}");
        }
    }

    #[test]
    fn all_that_decides_what_is_compiled_is_in_the_name() {
        let engine = wasmtime::Engine::default();
        let manifest = "abi = 1.0\nname = odd\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 1234:5678\n\
                        registers = odd\ndma_bytes = 4096\ndma_mask_bits = 64\n";
        let manifest = crate::parse_manifest(manifest.as_bytes()).unwrap();
        let [layout, other] = [65536, 131072].map(|own_bytes| crate::Layout::new(own_bytes, &manifest));
        let recipe = |number, layout| Recipe { sha256: [number; 32], layout, made: None };
        let keys = [
            key(&engine, &recipe(1, &layout), "log"),
            key(&engine, &recipe(2, &layout), "log"),
            key(&engine, &recipe(1, &other), "log"),
            key(&engine, &recipe(1, &layout), "pages"),
        ];
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(keys[0], key(&engine, &recipe(1, &layout), "log"));
    }
}
