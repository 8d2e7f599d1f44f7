//! Loading: everything that is checked about a module before any of it runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nook_abi::{ABI_VERSION, Class, ENTRIES, HINT_MODULE, MANIFEST_SECTION, Manifest, OLDEST_ABI, Printable};
use nook_instrument::hints::{self, Replaced, Scratch};
use nook_instrument::{Invalid, OffsetMap, with_memory_pages};
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

use crate::survey::Survey;
use crate::{Layout, World, limits};

/// The largest file that is read at all.
///
/// The most that one gets for it: the compiler needs some hundred times a module's length for a while, and a driver
/// has some ten thousand bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 8 << 20;
/// What the manifest may ask for together with the buffers of its class.
pub(crate) const MAX_WINDOW_BYTES: u64 = 128 << 20;

/// What most authors should read.
const GUIDE: &str = "docs/writing-a-driver.md";
const KEYS: &str = "docs/abi.md#manifest";
/// What mends a driver that was made for another contract.
const REBUILD: &str = "rebuild the driver with this host's SDK";

/// Says that a driver was built for an ABI that is newer or older than what this host serves.
fn other_abi(abi: (u16, u16)) -> String {
    let remedy = if abi > ABI_VERSION { "use a newer nook-run, or " } else { "" };
    format!(
        "built for nook ABI {}.{}, this host runs drivers for {}.{} to {}.{} only, because tables and shared memory differ \
         in others: {remedy}{REBUILD}",
        abi.0, abi.1, OLDEST_ABI.0, OLDEST_ABI.1, ABI_VERSION.0, ABI_VERSION.1
    )
}

/// Returns where a driver comes from that is not at `path`.
fn how_built(path: &Path) -> String {
    if path.join("Cargo.toml").is_file() {
        return format!("it is a driver's source, and `nook-run build {}` compiles it", path.display());
    }
    "`nook-run build DIR` builds a driver, and `cargo xtask drivers` those in nook's tree, into target/drivers/".into()
}

/// Why a file is not a driver that can run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; {}", how_built(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Too large to be a driver.
    #[error("{path} has {len_bytes} bytes; a driver has at most {MAX_FILE_BYTES}")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        len_bytes: u64,
    },
    /// Not wasm at all.
    #[error("not a WebAssembly module: {0}; {GUIDE} says how a driver is built")]
    NotWasm(String),
    /// wasm, but not valid, or with features that drivers cannot use.
    #[error("not a valid WebAssembly module: {}; it is damaged or uses features that drivers may not use, see {GUIDE}", Printable(.0))]
    Invalid(String),
    /// Larger in some way than any driver.
    #[error(
        "{of} has {found} {what}; a driver's has at most {most}, so that compiling it takes little time and memory: \
         divide it into smaller parts"
    )]
    BeyondLimit {
        /// Whose.
        of: String,
        /// Of what it has too many.
        what: &'static str,
        /// How many it has.
        found: usize,
        /// How many are allowed.
        most: usize,
    },
    /// A component.
    #[error("this is a WebAssembly component; a driver is a core module, see {GUIDE}")]
    Component,
    /// No manifest section.
    #[error("no `{MANIFEST_SECTION}` section: not a nook driver (the SDK's nook_driver! macro writes it)")]
    NoManifest,
    /// More than one.
    #[error("more than one `{MANIFEST_SECTION}` section: keep one")]
    TwoManifests,
    /// A manifest with a mistake.
    #[error("the manifest {0}; {KEYS} has every key and what it may hold, and {GUIDE} a whole manifest")]
    BadManifest(String),
    /// Built for another host.
    #[error("{}", other_abi(*.0))]
    AbiVersion((u16, u16)),
    /// An import or export that is newer than what the manifest says.
    #[error(
        "{what} `{name}` came with nook ABI {}.{}, and the manifest says `abi = {}.{}`: {REBUILD}, which writes the \
         right version",
        .since.0, .since.1, .abi.0, .abi.1
    )]
    NewerThanItsAbi {
        /// "import" or "export".
        what: &'static str,
        /// Its name.
        name: &'static str,
        /// The version that brought it.
        since: (u16, u16),
        /// The version in the manifest.
        abi: (u16, u16),
    },
    /// An import or export of another class than the manifest's.
    #[error(
        "{what} `{name}` is for drivers of class `{of}`, and the manifest says `class = {class}`: docs/abi.md has both"
    )]
    OtherClass {
        /// "import" or "export".
        what: &'static str,
        /// Its name.
        name: &'static str,
        /// The class that it is of.
        of: Class,
        /// The class in the manifest.
        class: Class,
    },
    /// An import that the host does not have.
    #[error(
        "imports `{}.{}`, which this host (ABI {}.{}) does not have: {REBUILD}",
        Printable(.module), Printable(.name), ABI_VERSION.0, ABI_VERSION.1
    )]
    UnknownImport {
        /// Its module.
        module: String,
        /// Its name.
        name: String,
    },
    /// A hint that is not just called.
    #[error(
        "exports the hint `{HINT_MODULE}.{0}` or takes its address: it is an instruction and no function, so it can only be \
         called; docs/abi.md has the hints"
    )]
    HintReferred(&'static str),
    /// An import of WASI that was not asked for, or that the empty world does not have.
    #[error("imports `{module}.{}`: {why}", Printable(.name))]
    Wasi {
        /// WASI's module.
        module: &'static str,
        /// The function.
        name: String,
        /// What to do.
        why: &'static str,
    },
    /// An import that is not a function.
    #[error("imports the {kind} `{}.{}`; a driver imports functions only", Printable(.module), Printable(.name))]
    NotAFunction {
        /// Its module.
        module: String,
        /// Its name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// An import or export with a type that is not the table's.
    #[error("{what} `{name}` has type {found}, the ABI says {expected}: {REBUILD}")]
    Signature {
        /// "import" or "export".
        what: &'static str,
        /// Its name.
        name: String,
        /// Its type.
        found: String,
        /// The table's.
        expected: String,
    },
    /// An entry that every driver has is missing.
    #[error("does not export `{0}`, which every driver of its class has: docs/abi.md lists them")]
    MissingEntry(String),
    /// It turns DMA on and was compiled without atomics.
    #[error(
        "turns DMA on, but its entries reach no atomic instruction (0xfe), so it was compiled without the feature \
         `atomics` and would miss what its device writes. In Rust, put `rustflags = [\"-Ctarget-feature=+atomics,\
         +bulk-memory,+simd128\"]` under [target.wasm32-unknown-unknown] into .cargo/config.toml, or build with \
         `nook-run build`; in C, compile with -matomics and call `nook_fence()` before `nook_dma_enable()`; see {GUIDE}"
    )]
    NoAtomics,
    /// Its constructors would run again at each call.
    #[error(
        "runs its constructors at each entry, and not once: the linker does that if nobody calls them. In C and C++, declare \
         `void __wasm_call_ctors(void);` and call it first in `nook_probe`; see docs/drivers-in-c.md"
    )]
    Constructors,
    /// An export that looks like an entry and is none.
    #[error(
        "exports `{}`, which is not an entry of ABI {}.{}: docs/abi.md lists them",
        Printable(.name), ABI_VERSION.0, ABI_VERSION.1
    )]
    UnknownEntry {
        /// Its name.
        name: String,
    },
    /// The memory is not one that the host can lay out.
    #[error("memory: {0}")]
    Memory(String),
    /// Something in the module cannot be isolated or undone.
    #[error("{0}")]
    Refused(String),
}

impl From<Invalid> for LoadError {
    fn from(error: Invalid) -> Self {
        LoadError::Invalid(error.0)
    }
}

/// Reads a file's bytes, if it can be a module.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    // A device may have no end, and a pipe may never begin.
    if !meta.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a regular file")));
    }
    let len_bytes = meta.len();
    if len_bytes > MAX_FILE_BYTES {
        return Err(LoadError::TooLong { path: path.to_owned(), len_bytes });
    }
    std::fs::read(path).map_err(unreadable)
}

/// Validates a core module with nothing but what drivers may use.
pub(crate) fn validate(wasm: &[u8]) -> Result<(), LoadError> {
    if !wasm.starts_with(b"\0asm") {
        let found = match wasm {
            [] => "the file is empty".to_owned(),
            [0x7f, b'E', b'L', b'F', ..] => "it is an ELF file".to_owned(),
            _ => format!("it begins with {:02x?}, not with \\0asm", &wasm[..wasm.len().min(4)]),
        };
        return Err(LoadError::NotWasm(found));
    }
    if Parser::is_component(wasm) {
        return Err(LoadError::Component);
    }
    check_abi(wasm)?;
    limits::check(wasm)
}

/// Refuses a module that was built for another ABI, before anything else that may be because of that.
fn check_abi(wasm: &[u8]) -> Result<(), LoadError> {
    let mut payloads = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    let abi = payloads.find_map(|payload| match payload {
        Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => Manifest::abi_of(section.data()),
        _ => None,
    });
    match abi {
        Some(abi) if !(OLDEST_ABI..=ABI_VERSION).contains(&abi) => Err(LoadError::AbiVersion(abi)),
        _ => Ok(()),
    }
}

/// A [`Manifest`] that owns its text.
pub type OwnedManifest = Manifest<String>;

/// Reads and checks a manifest's text.
///
/// # Errors
/// If it is no manifest, of another ABI, or asks for more than a driver can have.
pub fn parse_manifest(text: &[u8]) -> Result<OwnedManifest, LoadError> {
    let manifest = Manifest::parse(text).map_err(|error| LoadError::BadManifest(error.to_string()))?;
    if !(OLDEST_ABI..=ABI_VERSION).contains(&manifest.abi) {
        return Err(LoadError::AbiVersion(manifest.abi));
    }
    let manifest = manifest.owned(str::to_owned);
    let window_bytes = Layout::new(0, &manifest).window_bytes;
    if window_bytes > MAX_WINDOW_BYTES {
        return Err(LoadError::BadManifest(format!(
            "asks for a DMA window of {} MiB; the most is {} MiB",
            window_bytes >> 20,
            MAX_WINDOW_BYTES >> 20
        )));
    }
    Ok(manifest)
}

/// A module that passed every check, rewritten so that its memory holds all that a driver's memory holds.
#[derive(Clone)]
pub struct DriverModule {
    manifest: OwnedManifest,
    layout: Layout,
    wasm: Vec<u8>,
    sha256: [u8; 32],
    /// What it was before hints were replaced, if it has any.
    before: Option<Arc<Before>>,
    imports: Vec<String>,
    hints: Vec<&'static str>,
    entries: Vec<&'static str>,
    original_bytes: usize,
    world: Option<&'static dyn World>,
    counts: bool,
    metered: bool,
    records: bool,
}

/// A module before its hints were replaced.
struct Before {
    wasm: Vec<u8>,
    /// From the code that has replaced it to this one's.
    offsets: OffsetMap,
    /// Which stores of that code were hints.
    scratch: Scratch,
}

/// Whether a driver may import WASI's functions.
#[derive(Clone, Copy, Debug, Default)]
pub enum Wasi {
    /// It may not.
    #[default]
    Refused,
    /// It gets this world, for development.
    Given(&'static dyn World),
}

impl fmt::Debug for DriverModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverModule").field("manifest", &self.manifest).field("layout", &self.layout).finish()
    }
}

impl DriverModule {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it is not a driver for this host.
    pub fn load(path: &Path, wasi: Wasi) -> Result<Self, LoadError> {
        Self::from_bytes(&read(path)?, wasi)
    }

    /// Checks a module.
    ///
    /// # Errors
    /// If it is not a driver for this host.
    pub fn from_bytes(wasm: &[u8], wasi: Wasi) -> Result<Self, LoadError> {
        validate(wasm)?;
        let survey = Survey::of(wasm, wasi)?;
        let manifest = parse_manifest(survey.manifest.ok_or(LoadError::NoManifest)?)?;
        if !manifest.class().has_device() {
            let text = format!(
                "a filter, which has no device: name it after its driver, as in `driver.wasm+{}.wasm`",
                manifest.name
            );
            return Err(LoadError::Refused(text));
        }
        survey.check_entries(&manifest)?;
        let layout = Layout::new(survey.memory_bytes()?, &manifest);
        let entries = ENTRIES.iter().map(|row| row.name).filter(|name| survey.has_entry(name)).collect();
        let resized = with_memory_pages(wasm, layout.total_pages())?;
        let (replaced, before) = match hints::replace(&resized)? {
            Some(Replaced { wasm, offsets, scratch }) => (wasm, Some(Before { wasm: resized, offsets, scratch })),
            None => (resized, None),
        };
        Ok(DriverModule {
            manifest,
            layout,
            wasm: replaced,
            before: before.map(Arc::new),
            sha256: Sha256::digest(wasm).into(),
            imports: survey.imports.iter().map(|(name, _)| (*name).to_owned()).collect(),
            hints: survey.hints,
            entries,
            original_bytes: wasm.len(),
            world: survey.world,
            counts: false,
            metered: false,
            records: false,
        })
    }

    /// Returns the driver's manifest.
    pub fn manifest(&self) -> &OwnedManifest {
        &self.manifest
    }

    /// Returns where things will be in its memory.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the module that is compiled: the file's, with its memory laid out and instructions in place of hints.
    pub fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// Returns the file's module with its memory laid out and its hints as they were: what places of faults are in.
    pub fn laid_out(&self) -> &[u8] {
        self.before.as_ref().map_or(&self.wasm, |before| &before.wasm)
    }

    /// Returns which stores of [`wasm`](Self::wasm) were hints, if any is.
    pub(crate) fn scratch(&self) -> Option<&Scratch> {
        self.before.as_ref().map(|before| &before.scratch)
    }

    /// Returns where the code of [`wasm`](Self::wasm) was before hints were replaced, if any was.
    pub(crate) fn offsets(&self) -> Option<&OffsetMap> {
        self.before.as_ref().map(|before| &before.offsets)
    }

    /// Returns the driver, to be compiled so that its calls can be [ended on request](crate::CrashWhen).
    pub fn counting(&self) -> Self {
        DriverModule { counts: true, ..self.clone() }
    }

    pub(crate) fn counts(&self) -> bool {
        self.counts
    }

    /// Returns the driver, to be compiled so that a call of it ends after a number of instructions, on whatever machine
    /// that is: for [virtual time](crate::Budgets::instruction_ns).
    pub fn metered(&self) -> Self {
        DriverModule { metered: true, ..self.clone() }
    }

    pub(crate) fn is_metered(&self) -> bool {
        self.metered
    }

    /// Returns the driver, to be compiled so that what enters it can be [recorded](crate::Host::record), or
    /// [come from a recording](crate::replay()).
    pub fn recording(&self) -> Self {
        DriverModule { records: true, ..self.clone() }
    }

    pub(crate) fn records(&self) -> bool {
        self.records
    }

    /// Returns the file's hash.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Returns the hostcalls that it uses, in its own order.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Returns the hints that it uses, in its own order.
    pub fn hints(&self) -> &[&'static str] {
        &self.hints
    }

    /// Returns the entries that it has, in the table's order.
    pub fn entries(&self) -> &[&'static str] {
        &self.entries
    }

    /// Returns whether it needs the empty WASI world.
    pub fn imports_wasi(&self) -> bool {
        self.world.is_some()
    }

    /// Returns the world of which it imports functions.
    pub(crate) fn world(&self) -> Option<&'static dyn World> {
        self.world
    }

    /// Returns the file's length in bytes.
    pub fn file_bytes(&self) -> usize {
        self.original_bytes
    }
}
