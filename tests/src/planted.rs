//! The e1000 driver with a planted bug: a call that goes well leaves memory in which no later call can.

use std::collections::BTreeMap;

use nook_abi::{ENTRY_PREFIX, Entry};
use nook_runtime::{DriverModule, Wasi};
use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder, utils};
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, InstructionSink, MemArg, Module,
    ValType,
};
use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef};

const WORD: MemArg = MemArg { offset: 0, align: 2, memory_index: 0 };

/// Puts functions in front of entries.
struct Planter<F> {
    /// By the entry's name, the wrapped ones: the function, its type's index, and its type.
    entries: BTreeMap<&'static str, (u32, u32, FuncType)>,
    functions: u32,
    /// Returns what is called in place of an entry, and calls it.
    body: F,
}

/// Returns `driver` with what `body` makes of an entry, its function and that one's type, in place of each entry that
/// is `wanted`.
///
/// # Panics
/// If it is no driver.
pub(crate) fn plant(
    driver: &[u8],
    wanted: impl Fn(Entry) -> bool,
    body: impl Fn(Entry, u32, &FuncType) -> Function,
) -> Vec<u8> {
    let mut planter = Planter { entries: BTreeMap::new(), functions: 0, body };
    planter.survey(driver, wanted);
    let mut module = Module::new();
    planter.parse_core_module(&mut module, Parser::new(0), driver).expect("a driver is a module");
    module.finish()
}

/// A bug of the e1000 driver.
struct Corruption {
    poll: u32,
    fuse: u32,
    /// Where the corrupt word is: private memory that nothing uses.
    corrupt_at: i32,
    /// Where calls of `poll` are counted: behind the packet buffers, which nothing rolls back.
    polls_at: i32,
}

/// `driver` with a bug: its call number `poll` of `poll` overwrites a word of its memory as it ends. After `fuse`
/// further ones that went well, every call of an entry that is a transaction traps. Whatever is rolled back, it does so
/// once.
///
/// # Panics
/// If it is no driver.
pub fn corrupted_at(driver: &[u8], poll: u32, fuse: u32) -> Vec<u8> {
    let module = DriverModule::from_bytes(driver, Wasi::Refused).expect("a driver");
    let (layout, pool) = (*module.layout(), nook_runtime::pool_of(module.manifest()));
    let end = layout.window + layout.window_bytes;
    let used = pool.offset + pool.count * pool.stride_bytes;
    assert!(u64::from(used) + 4 <= layout.window_bytes, "there is room behind the packet buffers");
    let bug = Corruption { poll, fuse, corrupt_at: layout.window as i32 - 4, polls_at: end as i32 - 4 };
    plant(driver, Entry::is_transaction, |entry, function, ty| bug.planted(entry, function, ty))
}

/// Adds to a word.
fn step(code: &mut InstructionSink<'_>, at: i32, by: i32) {
    code.i32_const(at).i32_const(at).i32_load(WORD).i32_const(by).i32_add().i32_store(WORD);
}

impl<F> Planter<F> {
    fn survey(&mut self, driver: &[u8], wanted: impl Fn(Entry) -> bool) {
        let (mut types, mut functions) = (Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(driver) {
            match payload.expect("a driver is a module") {
                Payload::TypeSection(section) => {
                    types.extend(section.into_iter_err_on_gc_types().map(|ty| ty.expect("function types")));
                }
                Payload::ImportSection(section) => {
                    functions.extend(section.into_imports().filter_map(|import| match import.expect("an import").ty {
                        TypeRef::Func(ty) => Some(ty),
                        _ => None,
                    }));
                }
                Payload::FunctionSection(section) => {
                    functions.extend(section.into_iter().map(|ty| ty.expect("a type")))
                }
                Payload::ExportSection(section) => {
                    for export in section.into_iter().map(|export| export.expect("an export")) {
                        let entry = export.name.strip_prefix(ENTRY_PREFIX).and_then(Entry::named);
                        if let (Some(entry), ExternalKind::Func) = (entry, export.kind)
                            && wanted(entry)
                        {
                            let ty = functions[export.index as usize];
                            self.entries.insert(entry.name(), (export.index, ty, types[ty as usize].clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        self.functions = functions.len() as u32;
    }
}

impl Corruption {
    /// Returns the entry with the bug in front of it and behind it.
    fn planted(&self, which: Entry, entry: u32, ty: &FuncType) -> Function {
        let result = ty.params().len() as u32;
        let mut function = Function::new(ty.results().iter().map(|_| (1, ValType::I32)));
        let mut code = function.instructions();
        code.i32_const(self.corrupt_at).i32_load(WORD).i32_const(1).i32_eq();
        code.if_(BlockType::Empty).unreachable().end();
        (0..result).for_each(|param| {
            code.local_get(param);
        });
        code.call(entry);
        if !ty.results().is_empty() {
            code.local_set(result);
        }
        if which == Entry::Poll {
            code.i32_const(self.corrupt_at).i32_load(WORD).if_(BlockType::Empty);
            step(&mut code, self.corrupt_at, -1);
            code.end();
            step(&mut code, self.polls_at, 1);
            code.i32_const(self.polls_at).i32_load(WORD).i32_const(self.poll as i32).i32_eq();
            code.if_(BlockType::Empty);
            code.i32_const(self.corrupt_at).i32_const(self.fuse as i32 + 1).i32_store(WORD).end();
        }
        if !ty.results().is_empty() {
            code.local_get(result);
        }
        code.end();
        function
    }
}

impl<F: Fn(Entry, u32, &FuncType) -> Function> Reencode for Planter<F> {
    type Error = std::convert::Infallible;

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_function_section(&mut RoundtripReencoder, functions, section)?;
        self.entries.values().for_each(|(_, ty, _)| {
            functions.function(*ty);
        });
        Ok(())
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: wasmparser::Export<'_>,
    ) -> Result<(), Error<Self::Error>> {
        match export.name.strip_prefix(ENTRY_PREFIX).and_then(|name| self.entries.keys().position(|key| *key == name)) {
            Some(at) => exports.export(export.name, ExportKind::Func, self.functions + at as u32),
            None => return utils::parse_export(&mut RoundtripReencoder, exports, export),
        };
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_code_section(&mut RoundtripReencoder, code, section)?;
        for (name, (entry, _, ty)) in &self.entries {
            let which = Entry::named(name).expect("an entry's name");
            code.function(&(self.body)(which, *entry, ty));
        }
        Ok(())
    }
}
