//! Loading: everything that is checked about a module before any of it runs.

use std::fmt;
use std::path::{Path, PathBuf};

use nook_abi::{
    ABI_VERSION, Class, ENTRIES, ENTRY_PREFIX, HOSTCALLS, IMPORT_MODULE, MANIFEST_SECTION, Manifest, TxCompletion,
    Value,
};
use sha2::{Digest, Sha256};
use wasm_encoder::reencode::{self, Reencode};
use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef, ValType, Validator, WasmFeatures};

use crate::Layout;
use crate::wasi::{WASI_FUNCTIONS, WASI_MODULE};

/// What a driver exports its memory as.
pub(crate) const MEMORY_EXPORT: &str = "memory";
/// The largest file that is read at all.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// The most memory that a module may ask for itself (data and stack).
const MAX_OWN_BYTES: u64 = 16 << 20;
/// The most table elements; a driver's tables hold its indirect calls.
const MAX_TABLE: u64 = 65536;
/// What the manifest may ask for together with its packet buffers.
const MAX_WINDOW_BYTES: u64 = 256 << 20;

/// Why a file is not a driver that can run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
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
    #[error("not a WebAssembly module: {0}")]
    NotWasm(String),
    /// wasm, but not valid, or with features that drivers cannot use.
    #[error("not a valid WebAssembly module: {0}")]
    Invalid(String),
    /// A component.
    #[error("this is a WebAssembly component; a driver is a core module")]
    Component,
    /// No manifest section.
    #[error("no `{MANIFEST_SECTION}` section: not a nook driver (the SDK's nook_driver! macro writes it)")]
    NoManifest,
    /// More than one.
    #[error("more than one `{MANIFEST_SECTION}` section")]
    TwoManifests,
    /// A manifest with a mistake.
    #[error("the manifest {0}")]
    BadManifest(String),
    /// Built for another host.
    #[error(
        "built for nook ABI {}.{}, this host has {}.{}: rebuild the driver with this SDK",
        .0.0, .0.1, ABI_VERSION.0, ABI_VERSION.1
    )]
    AbiVersion((u16, u16)),
    /// An import that the host does not have.
    #[error("imports `{module}.{name}`, which this host (ABI {}.{}) does not have", ABI_VERSION.0, ABI_VERSION.1)]
    UnknownImport {
        /// Its module.
        module: String,
        /// Its name.
        name: String,
    },
    /// An import of WASI that was not asked for, or that the empty world does not have.
    #[error("imports `{module}.{name}`: {why}")]
    Wasi {
        /// WASI's module.
        module: &'static str,
        /// The function.
        name: String,
        /// What to do.
        why: &'static str,
    },
    /// An import that is not a function.
    #[error("imports the {kind} `{module}.{name}`; a driver imports functions only")]
    NotAFunction {
        /// Its module.
        module: String,
        /// Its name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// An import or export with a type that is not the table's.
    #[error("{what} `{name}` has type {found}, the ABI says {expected}")]
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
    #[error("does not export `{0}`, which every driver of its class has")]
    MissingEntry(String),
    /// An export that looks like an entry and is none.
    #[error("exports `{name}`, which is not an entry of ABI {}.{}", ABI_VERSION.0, ABI_VERSION.1)]
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

/// A [`Manifest`] that owns its text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of nook_abi::Manifest")]
pub struct OwnedManifest {
    pub abi: (u16, u16),
    pub name: String,
    pub version: String,
    pub license: String,
    pub class: Class,
    pub pci_ids: Vec<(u16, u16)>,
    pub registers: String,
    pub heap_bytes: u32,
    pub dma_bytes: u32,
    pub dma_mask_bits: u8,
    pub irq_vectors: u8,
    pub rx_buffers: u32,
    pub tx_buffers: u32,
    pub buffer_bytes: u32,
    pub headroom_bytes: u32,
    pub tx_completion: TxCompletion,
}

impl OwnedManifest {
    /// Reads and checks a manifest's text.
    pub fn parse(text: &[u8]) -> Result<Self, LoadError> {
        let m = Manifest::parse(text).map_err(|error| LoadError::BadManifest(error.to_string()))?;
        if m.abi.0 != ABI_VERSION.0 || m.abi.1 > ABI_VERSION.1 {
            return Err(LoadError::AbiVersion(m.abi));
        }
        let manifest = OwnedManifest {
            abi: m.abi,
            name: m.name.to_owned(),
            version: m.version.to_owned(),
            license: m.license.to_owned(),
            class: m.class,
            pci_ids: m.pci_ids().collect(),
            registers: m.registers.to_owned(),
            heap_bytes: m.heap_bytes,
            dma_bytes: m.dma_bytes,
            dma_mask_bits: m.dma_mask_bits,
            irq_vectors: m.irq_vectors,
            rx_buffers: m.rx_buffers,
            tx_buffers: m.tx_buffers,
            buffer_bytes: m.buffer_bytes,
            headroom_bytes: m.headroom_bytes,
            tx_completion: m.tx_completion,
        };
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

    /// Whether the driver drives this device.
    pub fn drives(&self, vendor: u16, device: u16) -> bool {
        self.pci_ids.contains(&(vendor, device))
    }
}

/// A module that passed every check, rewritten so that its memory holds all that a driver's memory holds.
#[derive(Clone)]
pub struct DriverModule {
    manifest: OwnedManifest,
    layout: Layout,
    wasm: Vec<u8>,
    sha256: [u8; 32],
    imports: Vec<String>,
    entries: Vec<&'static str>,
    original_bytes: usize,
    imports_wasi: bool,
}

/// Whether a driver may import WASI's functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wasi {
    /// It may not.
    #[default]
    Refused,
    /// It gets an empty world, for development.
    Empty,
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
        let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
        let len_bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if len_bytes > MAX_FILE_BYTES {
            return Err(LoadError::TooLong { path: path.to_owned(), len_bytes });
        }
        Self::from_bytes(&std::fs::read(path).map_err(unreadable)?, wasi)
    }

    /// Checks a module.
    ///
    /// # Errors
    /// If it is not a driver for this host.
    pub fn from_bytes(wasm: &[u8], wasi: Wasi) -> Result<Self, LoadError> {
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
        Validator::new_with_features(features())
            .validate_all(wasm)
            .map_err(|error| LoadError::Invalid(error.to_string()))?;
        let survey = Survey::of(wasm, wasi)?;
        let manifest = OwnedManifest::parse(survey.manifest.ok_or(LoadError::NoManifest)?)?;
        survey.check_entries()?;
        let layout = Layout::new(survey.memory_bytes()?, &manifest);
        let entries = ENTRIES.iter().map(|row| row.name).filter(|name| survey.has_entry(name)).collect();
        let rewritten = with_memory_pages(wasm, layout.total_pages())?;
        Ok(DriverModule {
            manifest,
            layout,
            wasm: rewritten,
            sha256: Sha256::digest(wasm).into(),
            imports: survey.imports.iter().map(|(name, _)| (*name).to_owned()).collect(),
            entries,
            original_bytes: wasm.len(),
            imports_wasi: survey.imports_wasi,
        })
    }

    /// What the driver says of itself.
    pub fn manifest(&self) -> &OwnedManifest {
        &self.manifest
    }

    /// Where things will be in its memory.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The module that is compiled: the file's, with its memory laid out.
    pub fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// Of the file.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// The hostcalls that it uses, in its own order.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The entries that it has, in the table's order.
    pub fn entries(&self) -> &[&'static str] {
        &self.entries
    }

    /// Whether it needs the empty WASI world.
    pub(crate) fn imports_wasi(&self) -> bool {
        self.imports_wasi
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> usize {
        self.original_bytes
    }
}

/// What a driver's module may use: core wasm with the vector, bulk and atomic instructions. What is left out has no
/// use in a driver and would have to be covered by rollback (reference types, exceptions, a second memory) or is not
/// deterministic (relaxed vectors).
fn features() -> WasmFeatures {
    WasmFeatures::WASM1
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::THREADS
}

/// What one walk over the module finds.
#[derive(Default)]
struct Survey<'a> {
    manifest: Option<&'a [u8]>,
    types: Vec<FuncType>,
    functions: Vec<u32>,
    imports: Vec<(&'a str, u32)>,
    exports: Vec<(&'a str, u32)>,
    memories: Vec<wasmparser::MemoryType>,
    exports_memory: bool,
    wasi: Wasi,
    imports_wasi: bool,
}

impl<'a> Survey<'a> {
    fn of(wasm: &'a [u8], wasi: Wasi) -> Result<Self, LoadError> {
        let invalid = |error: wasmparser::BinaryReaderError| LoadError::Invalid(error.to_string());
        let mut survey = Survey { wasi, ..Survey::default() };
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(invalid)? {
                Payload::TypeSection(types) => {
                    for ty in types.into_iter_err_on_gc_types() {
                        survey.types.push(ty.map_err(invalid)?);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        survey.import(import.map_err(invalid)?)?;
                    }
                }
                Payload::FunctionSection(functions) => {
                    for function in functions {
                        survey.functions.push(function.map_err(invalid)?);
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        let initial = table.map_err(invalid)?.ty.initial;
                        if initial > MAX_TABLE {
                            let text = format!("a table with {initial} elements; a driver has at most {MAX_TABLE}");
                            return Err(LoadError::Refused(text));
                        }
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        survey.memories.push(memory.map_err(invalid)?);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export.map_err(invalid)?;
                        match export.kind {
                            ExternalKind::Func => survey.exports.push((export.name, export.index)),
                            ExternalKind::Memory if export.name == MEMORY_EXPORT => survey.exports_memory = true,
                            _ => {}
                        }
                    }
                }
                Payload::StartSection { .. } => {
                    return Err(LoadError::Refused(
                        "a start function: a driver runs only when it is called; do the work in `probe`".into(),
                    ));
                }
                Payload::CustomSection(section)
                    if section.name() == MANIFEST_SECTION && survey.manifest.replace(section.data()).is_some() =>
                {
                    return Err(LoadError::TwoManifests);
                }
                _ => {}
            }
        }
        Ok(survey)
    }

    fn import(&mut self, import: wasmparser::Import<'a>) -> Result<(), LoadError> {
        let (module, name) = (import.module.to_owned(), import.name.to_owned());
        let kind = match import.ty {
            TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                if import.module == WASI_MODULE {
                    self.wasi_import(import.name)?;
                    self.functions.push(index);
                    return Ok(());
                }
                let row = HOSTCALLS.iter().find(|row| import.module == IMPORT_MODULE && row.name == import.name);
                let row = row.ok_or(LoadError::UnknownImport { module, name })?;
                let expected = signature(row.args.iter().map(|arg| arg.value), row.result);
                self.check("import", import.name, index, &expected)?;
                self.functions.push(index);
                self.imports.push((import.name, index));
                return Ok(());
            }
            TypeRef::Memory(_) => "memory",
            TypeRef::Table(_) => "table",
            TypeRef::Global(_) => "global",
            TypeRef::Tag(_) => "tag",
        };
        Err(LoadError::NotAFunction { module, name, kind })
    }

    fn wasi_import(&mut self, name: &str) -> Result<(), LoadError> {
        let why = match (self.wasi, WASI_FUNCTIONS.contains(&name)) {
            (Wasi::Empty, true) => {
                self.imports_wasi = true;
                return Ok(());
            }
            (Wasi::Refused, _) => {
                "built for WASI; for development it can have an empty WASI world, whose output goes to the log (--wasi)"
            }
            (Wasi::Empty, false) => "the empty WASI world has no such function",
        };
        Err(LoadError::Wasi { module: WASI_MODULE, name: name.to_owned(), why })
    }

    fn check(&self, what: &'static str, name: &str, ty: u32, expected: &FuncType) -> Result<(), LoadError> {
        let found = self.types.get(ty as usize).ok_or_else(|| LoadError::Invalid(format!("no type {ty}")))?;
        if found == expected {
            return Ok(());
        }
        let (found, expected) = (found.to_string(), expected.to_string());
        Err(LoadError::Signature { what, name: name.to_owned(), found, expected })
    }

    fn has_entry(&self, name: &str) -> bool {
        self.exports.iter().any(|(export, _)| export.strip_prefix(ENTRY_PREFIX) == Some(name))
    }

    fn check_entries(&self) -> Result<(), LoadError> {
        for &(export, function) in &self.exports {
            let Some(name) = export.strip_prefix(ENTRY_PREFIX) else { continue };
            let row = ENTRIES.iter().find(|row| row.name == name);
            let row = row.ok_or_else(|| LoadError::UnknownEntry { name: export.to_owned() })?;
            let ty = self.functions.get(function as usize).copied();
            let ty = ty.ok_or_else(|| LoadError::Invalid(format!("no function {function}")))?;
            let expected = signature(row.args.iter().map(|arg| arg.value), row.result);
            self.check("export", export, ty, &expected)?;
        }
        match ENTRIES.iter().find(|row| row.required && !self.has_entry(row.name)) {
            Some(row) => Err(LoadError::MissingEntry(format!("{ENTRY_PREFIX}{}", row.name))),
            None => Ok(()),
        }
    }

    /// What the module wants for itself, in bytes.
    fn memory_bytes(&self) -> Result<u64, LoadError> {
        let [memory] = self.memories[..] else {
            return Err(LoadError::Memory(format!("{} memories; a driver defines one", self.memories.len())));
        };
        if !self.exports_memory {
            return Err(LoadError::Memory(format!("it is not exported as `{MEMORY_EXPORT}`")));
        }
        if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
            return Err(LoadError::Memory("a driver's memory is 32-bit, unshared, with pages of 64 KiB".into()));
        }
        let bytes = memory.initial.saturating_mul(65536);
        if bytes > MAX_OWN_BYTES {
            return Err(LoadError::Memory(format!(
                "the module asks for {} MiB of data and stack; the most is {} MiB. A heap is asked for with \
                 `heap_bytes` in the manifest, packet buffers with `rx_buffers` and `tx_buffers`",
                bytes >> 20,
                MAX_OWN_BYTES >> 20
            )));
        }
        Ok(bytes)
    }
}

/// The wasm type of a table row.
fn signature(args: impl Iterator<Item = Value>, result: Value) -> FuncType {
    let wasm = |value| match value {
        Value::U32 | Value::I32 | Value::Addr => Some(ValType::I32),
        Value::U64 | Value::I64 => Some(ValType::I64),
        Value::Unit => None,
    };
    FuncType::new(args.filter_map(wasm), wasm(result))
}

/// The same module with a memory of exactly `pages`: nothing grows afterwards.
fn with_memory_pages(wasm: &[u8], pages: u64) -> Result<Vec<u8>, LoadError> {
    struct Resize(u64);
    impl Reencode for Resize {
        type Error = std::convert::Infallible;

        fn memory_type(
            &mut self,
            ty: wasmparser::MemoryType,
        ) -> Result<wasm_encoder::MemoryType, reencode::Error<Self::Error>> {
            let ty = wasmparser::MemoryType { initial: self.0, maximum: Some(self.0), ..ty };
            Ok(reencode::utils::memory_type(self, ty))
        }
    }
    let mut module = wasm_encoder::Module::new();
    Resize(pages)
        .parse_core_module(&mut module, Parser::new(0), wasm)
        .map_err(|error| LoadError::Invalid(error.to_string()))?;
    Ok(module.finish())
}
