//! A driver's program: an ELF file that says in a section what it is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nook_runtime::OwnedManifest;
use object::{Object, ObjectSection};

use crate::memory;

/// Where the manifest is.
const SECTION: &str = ".nook.manifest";

/// More than any driver's program has.
const MOST_BYTES: u64 = 64 << 20;

/// Why a driver cannot run in a process of its own.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no program.
    #[error("the driver's program {}: {why}; `cargo xtask drivers` makes it beside the driver", path.display())]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// It is something else.
    #[error("{} is not a driver's program: {why}", path.display())]
    NotADriver {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is another driver, or another version of it.
    #[error(
        "{} says of itself what the driver's wasm file does not; build both anew with `cargo xtask drivers`",
        path.display()
    )]
    OtherDriver {
        /// The file.
        path: PathBuf,
    },
    /// This machine has no such sandbox.
    #[error("no sandbox for the driver's process: {0}")]
    NoSandbox(String),
}

/// Reads the program at `path` and checks that it is the driver that `manifest` describes. The result is a sealed copy:
/// what was checked is what will run, whoever may write to the file or not execute it.
pub(crate) fn open(path: &Path, manifest: &OwnedManifest) -> Result<File, ProcessError> {
    let unreadable = |why| ProcessError::Unreadable { path: path.to_owned(), why };
    let not_a_driver = |why: String| ProcessError::NotADriver { path: path.to_owned(), why };
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    read.map_err(unreadable)?;
    let elf = object::File::parse(&*bytes).map_err(|error| not_a_driver(error.to_string()))?;
    let section = elf.section_by_name(SECTION).ok_or_else(|| not_a_driver(format!("it has no section {SECTION}")))?;
    let text = section.data().map_err(|error| not_a_driver(error.to_string()))?;
    let own = OwnedManifest::parse(text).map_err(|error| not_a_driver(error.to_string()))?;
    // The ABI's version is in it.
    if own != *manifest {
        return Err(ProcessError::OtherDriver { path: path.to_owned() });
    }
    sealed_copy(&bytes).map_err(|error| ProcessError::NoSandbox(format!("a sealed copy of the program: {error}")))
}

fn sealed_copy(bytes: &[u8]) -> io::Result<File> {
    let create = |flags| {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | flags;
        memory::memfd(c"nook-driver", flags)
    };
    // Kernels before 6.3 do not know the flag, and let everybody execute.
    let mut file = create(libc::MFD_EXEC).or_else(|_| create(0))?;
    file.write_all(bytes)?;
    memory::seal(&file, libc::F_SEAL_WRITE)?;
    Ok(file)
}
