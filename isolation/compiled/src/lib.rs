//! Drivers that were compiled for this machine: ELF files that say in a section what they are. What can be known of one
//! without running it is checked here.
//!
//! It runs nothing and knows no wasm. The crates that run such a file call it: `nook-process`, as a program, and
//! `nook-native`, in this process.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nook_abi::NATIVE_MANIFEST_SECTION;
use object::{
    Architecture, Object, ObjectKind, ObjectSection, ObjectSegment, ObjectSymbol, ObjectSymbolTable, RelocationTarget,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use nook_runtime::{OwnedManifest, parse_manifest};

/// More than any driver has.
const MOST_BYTES: u64 = 64 << 20;

/// Why a file is not the compiled driver that it should be.
#[derive(Debug, thiserror::Error)]
pub enum CompiledError {
    /// It cannot be read.
    #[error(
        "the compiled driver {}: {why}; of a driver in Rust, `nook-run build`, or `cargo xtask drivers` in nook's tree, \
         makes it beside the wasm file; one in C has none, and runs at sfi and sfi+txn (docs/security.md has the levels)",
        path.display()
    )]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// It is something else.
    #[error("{} is not a compiled driver: {why}", path.display())]
    NotADriver {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is for another kind of machine.
    #[error("{} is for {found}, and this machine is {}: build it here, with `nook-run build`, or `cargo xtask drivers` in nook's tree", path.display(), std::env::consts::ARCH)]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What it is for.
        found: String,
    },
    /// It is another driver, or another version of it.
    #[error(
        "{} has another manifest than the driver's wasm file; build both again, with `nook-run build`, or `cargo xtask drivers` in nook's tree",
        path.display()
    )]
    OtherDriver {
        /// The file.
        path: PathBuf,
    },
}

/// A file that says that it is the driver that it should be, as it was when it was read.
pub struct CompiledDriver {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl CompiledDriver {
    /// Reads the file at `path` and checks that it is the driver that `manifest` describes, for this machine.
    ///
    /// # Errors
    /// If it is not.
    pub fn read(path: &Path, manifest: &OwnedManifest) -> Result<Self, CompiledError> {
        let path = path.to_owned();
        let mut bytes = Vec::new();
        let opened = std::fs::metadata(&path).and_then(|meta| match meta.is_file() {
            true => File::open(&path),
            // A device may have no end, and a pipe may never begin.
            false => Err(io::Error::other("it is not a regular file")),
        });
        match opened.and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => CompiledDriver::of(path, bytes, manifest),
            Err(why) => Err(CompiledError::Unreadable { path, why }),
        }
    }

    /// Checks that what was read from `path` is the driver that `manifest` describes, for this machine.
    ///
    /// # Errors
    /// If it is not.
    pub fn of(path: PathBuf, bytes: Vec<u8>, manifest: &OwnedManifest) -> Result<Self, CompiledError> {
        let driver = CompiledDriver { path, bytes };
        let elf = driver.elf()?;
        let architecture = elf.architecture();
        if OURS.is_some_and(|ours| ours != architecture) {
            let found = format!("{architecture:?}").to_lowercase();
            return Err(CompiledError::OtherMachine { path: driver.path, found });
        }
        let section = elf.section_by_name(NATIVE_MANIFEST_SECTION);
        let section = section.ok_or_else(|| driver.refused(&format!("it has no section {NATIVE_MANIFEST_SECTION}")))?;
        let text = section.data().map_err(|error| driver.refused(&error))?;
        let own = parse_manifest(text).map_err(|error| driver.refused(&error))?;
        // The ABI's version is in it.
        if own != *manifest {
            return Err(CompiledError::OtherDriver { path: driver.path });
        }
        Ok(driver)
    }

    /// Returns the first `N` bytes of what a shared object exports under this name, before the loader has moved
    /// anything.
    ///
    /// # Errors
    /// If this is no shared object or does not export it.
    pub fn exported<const N: usize>(&self, name: &str) -> Result<[u8; N], CompiledError> {
        let elf = self.elf()?;
        if elf.kind() != ObjectKind::Dynamic {
            return Err(self.refused(&"it is no shared object"));
        }
        let is_wanted = |symbol: &object::Symbol<'_, '_>| symbol.is_definition() && symbol.name() == Ok(name);
        let symbol = elf.dynamic_symbols().find(is_wanted);
        let symbol = symbol.ok_or_else(|| self.refused(&format!("it does not export `{name}`")))?;
        let bytes = elf.sections().find_map(|section| section.data_range(symbol.address(), N as u64).ok().flatten());
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| self.refused(&format!("`{name}` is not in the file")))
    }

    /// Returns where a shared object's table has the address of what it imports under this name, counted from the first
    /// page that is loaded of it.
    ///
    /// # Errors
    /// If this is no ELF file.
    pub fn places_of_import(&self, name: &str) -> Result<Vec<u64>, CompiledError> {
        let elf = self.elf()?;
        let Some(symbols) = elf.dynamic_symbol_table() else { return Ok(Vec::new()) };
        let is_wanted = |target| match target {
            RelocationTarget::Symbol(index) => {
                symbols.symbol_by_index(index).is_ok_and(|symbol| symbol.is_undefined() && symbol.name() == Ok(name))
            }
            _ => false,
        };
        let first = elf.segments().map(|segment| segment.address() & !0xfff).min().unwrap_or(0);
        let relocations = elf.dynamic_relocations().into_iter().flatten();
        let places = relocations.filter(|(_, relocation)| is_wanted(relocation.target()));
        Ok(places.map(|(place, _)| place.wrapping_sub(first)).collect())
    }

    /// Returns where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what was read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns a file of memory with what was checked, which nobody can change: that is what is to run, no matter what
    /// is written to the file on disk or not execute it.
    ///
    /// # Errors
    /// What the system says.
    pub fn sealed_copy(&self) -> io::Result<File> {
        let create = |flags| memfd_create(c"nook-driver", flags);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels before 6.3 do not know the flag, and let everybody execute.
        let mut file = File::from(create(flags | MemfdFlags::EXEC).or_else(|_| create(flags))?);
        file.write_all(&self.bytes)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        Ok(file)
    }

    fn elf(&self) -> Result<object::File<'_>, CompiledError> {
        object::File::parse(&*self.bytes).map_err(|error| self.refused(&error))
    }

    fn refused(&self, why: &dyn std::fmt::Display) -> CompiledError {
        CompiledError::NotADriver { path: self.path.clone(), why: why.to_string() }
    }
}

/// What this process was compiled for, if that has a name here.
const OURS: Option<Architecture> = if cfg!(target_arch = "x86_64") {
    Some(Architecture::X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(Architecture::Aarch64)
} else {
    None
};
