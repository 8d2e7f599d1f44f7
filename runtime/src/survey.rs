//! What a module imports and exports, and whether a driver may.

use nook_abi::net::{FILTER_ENTRIES, FilterEntryInfo};
use nook_abi::{
    ArgInfo, Class, ENTRIES, ENTRY_PREFIX, EntryInfo, HINT_MODULE, HINTS, HOSTCALLS, IMPORT_MODULE, MANIFEST_SECTION,
    Value,
};
use nook_instrument::{MEMORY_EXPORT, Sections, features, hints};
use wasmparser::{ExternalKind, FuncType, FunctionBody, Operator, TypeRef, ValType};

use crate::atomics;
use crate::load::Wasi;
use crate::world::{WASI_MODULE, World};
use crate::{LoadError, OwnedManifest};

/// The most memory that a module may ask for itself (data and stack).
pub(crate) const MAX_OWN_BYTES: u64 = 16 << 20;
/// The most table elements; a driver's tables hold its indirect calls.
const MAX_TABLE: u64 = 65536;

/// What a module's entries are held to.
struct Row {
    name: &'static str,
    args: &'static [ArgInfo],
    result: Value,
    required: bool,
}

/// What is called once, before all else, if a module exports it: its constructors (WASI application ABI, "Current
/// Unstable ABI").
pub(crate) const INITIALIZE: &str = "_initialize";

/// Returns the constructors' function if this body is what the linker puts before an entry of a module whose
/// constructors nobody calls: it calls them, the entry, and perhaps the destructors (lld, wasm/Writer.cpp,
/// createCommandExportWrapper).
fn wrapped(body: &FunctionBody<'_>) -> Option<u32> {
    let operators = body.get_operators_reader().ok()?.into_iter().collect::<Result<Vec<_>, _>>().ok()?;
    let passed = |operators: &[Operator<'_>]| operators.iter().all(|it| matches!(it, Operator::LocalGet { .. }));
    match &operators[..] {
        [Operator::Call { function_index }, rest @ .., Operator::Call { .. }, Operator::End]
        | [Operator::Call { function_index }, rest @ .., Operator::Call { .. }, Operator::Call { .. }, Operator::End]
            if passed(rest) =>
        {
            Some(*function_index)
        }
        _ => None,
    }
}

/// What a module imports and exports.
pub(crate) struct Survey<'a> {
    sections: Sections<'a>,
    pub(crate) manifest: Option<&'a [u8]>,
    pub(crate) imports: Vec<(&'a str, u32)>,
    pub(crate) hints: Vec<&'static str>,
    exports: Vec<(&'a str, u32)>,
    exports_memory: bool,
    wasi: Wasi,
    /// The world of which it imports functions.
    pub(crate) world: Option<&'static dyn World>,
}

impl<'a> Survey<'a> {
    pub(crate) fn of(wasm: &'a [u8], wasi: Wasi) -> Result<Self, LoadError> {
        let mut survey = Survey {
            sections: Sections::of(wasm, features())?,
            manifest: None,
            imports: Vec::new(),
            hints: Vec::new(),
            exports: Vec::new(),
            exports_memory: false,
            wasi,
            world: None,
        };
        for number in 0..survey.sections.imports.len() {
            survey.import(survey.sections.imports[number])?;
        }
        if let Some(table) = survey.sections.tables.iter().find(|table| table.ty.initial > MAX_TABLE) {
            let text = format!("a table with {} elements; a driver has at most {MAX_TABLE}", table.ty.initial);
            return Err(LoadError::Refused(text));
        }
        for export in &survey.sections.exports {
            match export.kind {
                ExternalKind::Func => survey.exports.push((export.name, export.index)),
                ExternalKind::Memory if export.name == MEMORY_EXPORT => survey.exports_memory = true,
                // Such names belong to what a preparation adds: the undo log and its globals.
                _ if export.name.starts_with(ENTRY_PREFIX) => {
                    return Err(LoadError::UnknownEntry { name: export.name.to_owned() });
                }
                _ => {}
            }
        }
        if survey.sections.start.is_some() {
            return Err(LoadError::Refused(
                "a start function: a driver runs only when it is called; do the work in `probe`".into(),
            ));
        }
        if let Some(name) = hints::referred(&survey.sections)? {
            return Err(LoadError::HintReferred(name));
        }
        for section in survey.sections.customs.iter().filter(|section| section.name() == MANIFEST_SECTION) {
            if survey.manifest.replace(section.data()).is_some() {
                return Err(LoadError::TwoManifests);
            }
        }
        Ok(survey)
    }

    fn import(&mut self, import: wasmparser::Import<'a>) -> Result<(), LoadError> {
        let (module, name) = (import.module.to_owned(), import.name.to_owned());
        let kind = match import.ty {
            TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                let of_world = matches!(self.wasi, Wasi::Given(world) if world.module() == import.module);
                if of_world || import.module == WASI_MODULE {
                    return self.wasi_import(import.name);
                }
                if let Some(row) = hints::row(import.module, import.name) {
                    let expected = signature(row.args.iter().map(|arg| arg.value), row.result);
                    self.check("import", import.name, index, &expected)?;
                    self.hints.push(row.name);
                    return Ok(());
                }
                let row = HOSTCALLS.iter().find(|row| import.module == IMPORT_MODULE && row.name == import.name);
                let row = row.ok_or(LoadError::UnknownImport { module, name })?;
                let expected = signature(row.args.iter().map(|arg| arg.value), row.result);
                self.check("import", import.name, index, &expected)?;
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
        let why = match self.wasi {
            Wasi::Given(world) if world.functions().contains(&name) => {
                self.world = Some(world);
                return Ok(());
            }
            Wasi::Refused => {
                "built for WASI; for development it can have an empty WASI world, whose output goes to the log (--wasi)"
            }
            Wasi::Given(_) => "the empty WASI world has no such function",
        };
        Err(LoadError::Wasi { module: WASI_MODULE, name: name.to_owned(), why })
    }

    fn check(&self, what: &'static str, name: &str, ty: u32, expected: &FuncType) -> Result<(), LoadError> {
        let found = self.sections.types.get(ty as usize).ok_or_else(|| LoadError::Invalid(format!("no type {ty}")))?;
        if found == expected {
            return Ok(());
        }
        let (found, expected) = (found.to_string(), expected.to_string());
        Err(LoadError::Signature { what, name: name.to_owned(), found, expected })
    }

    pub(crate) fn has_entry(&self, name: &str) -> bool {
        self.exports.iter().any(|(export, _)| export.strip_prefix(ENTRY_PREFIX) == Some(name))
    }

    /// Checks that what a driver imports and exports is of its class, and not newer than the ABI that it was built for;
    /// and it was compiled with atomics if it needs them.
    pub(crate) fn check_entries(&self, manifest: &OwnedManifest) -> Result<(), LoadError> {
        for row in HOSTCALLS.iter().filter(|row| self.imports.iter().any(|(name, _)| *name == row.name)) {
            may_use("import", row.name, row.class, row.since, manifest)?;
        }
        for row in HINTS.iter().filter(|row| self.hints.contains(&row.name)) {
            may_use("import", row.name, None, row.since, manifest)?;
        }
        for row in ENTRIES.iter().filter(|row| self.has_entry(row.name)) {
            may_use("export", row.name, row.class, row.since, manifest)?;
        }
        let row = |row: &'static EntryInfo| Row {
            name: row.name,
            args: row.args,
            result: row.result,
            required: row.required && row.class.is_none_or(|class| class == manifest.class()),
        };
        self.check_rows(&ENTRIES.iter().map(row).collect::<Vec<_>>())?;
        match atomics::are_missing(&self.sections) {
            Ok(false) => Ok(()),
            Ok(true) => Err(LoadError::NoAtomics),
            Err(error) => Err(LoadError::Invalid(error.to_string())),
        }
    }

    fn type_of(&self, function: u32) -> Option<&FuncType> {
        self.sections.types.get(*self.sections.functions.get(function as usize)? as usize)
    }

    /// Returns whether each entry calls the module's constructors first.
    fn has_wrapped_entries(&self) -> bool {
        let imported = self.sections.functions.len() - self.sections.bodies.len();
        let entries = self.exports.iter().filter(|(name, _)| name.starts_with(ENTRY_PREFIX));
        let mut constructors = entries.map(|(_, function)| {
            let body = self.sections.bodies.get((*function as usize).checked_sub(imported)?)?;
            wrapped(&body.code).filter(|&first| {
                self.type_of(first).is_some_and(|ty| ty.params().is_empty() && ty.results().is_empty())
            })
        });
        let first = constructors.next().flatten();
        first.is_some() && constructors.all(|other| other == first)
    }

    /// Checks that a filter imports nothing and has a filter's entries.
    pub(crate) fn check_filter(&self, manifest: &OwnedManifest) -> Result<(), LoadError> {
        if let Some((name, _)) = self.imports.first() {
            let text = format!("imports `{IMPORT_MODULE}.{name}`; a filter imports nothing");
            return Err(LoadError::Refused(text));
        }
        if let Some(name) = self.hints.first() {
            let text = format!("imports `{HINT_MODULE}.{name}`; a filter imports nothing");
            return Err(LoadError::Refused(text));
        }
        for row in FILTER_ENTRIES.iter().filter(|row| self.has_entry(row.name)) {
            may_use("export", row.name, None, row.since, manifest)?;
        }
        let row = |row: &'static FilterEntryInfo| Row {
            name: row.name,
            args: row.args,
            result: row.result,
            required: row.since <= manifest.abi,
        };
        self.check_rows(&FILTER_ENTRIES.iter().map(row).collect::<Vec<_>>())
    }

    fn check_rows(&self, rows: &[Row]) -> Result<(), LoadError> {
        if self.has_wrapped_entries() {
            return Err(LoadError::Constructors);
        }
        if let Some(&(name, function)) = self.exports.iter().find(|(name, _)| *name == INITIALIZE) {
            let ty = self.sections.functions.get(function as usize).copied().unwrap_or(u32::MAX);
            self.check("export", name, ty, &signature([].into_iter(), Value::Unit))?;
        }
        for &(export, function) in &self.exports {
            let Some(name) = export.strip_prefix(ENTRY_PREFIX) else { continue };
            let row = rows.iter().find(|row| row.name == name);
            let row = row.ok_or_else(|| LoadError::UnknownEntry { name: export.to_owned() })?;
            let ty = self.sections.functions.get(function as usize).copied();
            let ty = ty.ok_or_else(|| LoadError::Invalid(format!("no function {function}")))?;
            let expected = signature(row.args.iter().map(|arg| arg.value), row.result);
            self.check("export", export, ty, &expected)?;
        }
        match rows.iter().find(|row| row.required && !self.has_entry(row.name)) {
            Some(row) => Err(LoadError::MissingEntry(format!("{ENTRY_PREFIX}{}", row.name))),
            None => Ok(()),
        }
    }

    /// Returns what the module wants for itself, in bytes.
    pub(crate) fn memory_bytes(&self) -> Result<u64, LoadError> {
        let [memory] = self.sections.memories[..] else {
            return Err(LoadError::Memory(format!("{} memories; a driver defines one", self.sections.memories.len())));
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
                 `heap_bytes` in the manifest, buffers for the device with the keys of its class",
                bytes >> 20,
                MAX_OWN_BYTES >> 20
            )));
        }
        Ok(bytes)
    }
}

/// Checks whether a driver with this manifest may use a row of the tables.
fn may_use(
    what: &'static str,
    name: &'static str,
    of: Option<Class>,
    since: (u16, u16),
    manifest: &OwnedManifest,
) -> Result<(), LoadError> {
    let (abi, class) = (manifest.abi, manifest.class());
    match of {
        Some(of) if of != class => Err(LoadError::OtherClass { what, name, of, class }),
        _ if since > abi => Err(LoadError::NewerThanItsAbi { what, name, since, abi }),
        _ => Ok(()),
    }
}

/// Returns the wasm type of a table row.
fn signature(args: impl Iterator<Item = Value>, result: Value) -> FuncType {
    let wasm = |value| match value {
        Value::U32 | Value::I32 | Value::Addr => Some(ValType::I32),
        Value::U64 | Value::I64 => Some(ValType::I64),
        Value::Unit => None,
    };
    FuncType::new(args.filter_map(wasm), wasm(result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_manifest;

    #[test]
    fn a_row_that_is_newer_than_the_manifest_says_or_of_another_class_is_refused_by_name() {
        let text = "abi = 1.0\nname = odd\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 1234:5678\n\
                    registers = odd\ndma_bytes = 4096\ndma_mask_bits = 64\n";
        let manifest = parse_manifest(text.as_bytes()).unwrap();
        assert!(may_use("import", "old", Some(Class::Net), (1, 0), &manifest).is_ok());
        let newer = may_use("import", "dma_share", None, (1, 1), &manifest).unwrap_err().to_string();
        assert!(newer.contains("import `dma_share` came with nook ABI 1.1") && newer.contains("abi = 1.0"), "{newer}");
        let other = may_use("export", "frame", Some(Class::Filter), (1, 0), &manifest).unwrap_err().to_string();
        assert!(other.contains("export `frame` is for drivers of class `filter`"), "{other}");
    }
}
