//! What the pass needs to know of a module before it rewrites it.

use nook_abi::{ENTRY_PREFIX, Entry, Printable};
use wasmparser::{ConstExpr, DataKind, Export, ExternalKind, KnownCustom, Name, Operator, TypeRef, ValType};

use super::Refused;
use super::layout::RESERVED_PREFIX;
use crate::sections::Sections;

/// The most mutable globals that are saved at the beginning of each transaction.
const MAX_MUTABLE_GLOBALS: usize = 256;
/// The name that linkers give to it.
const STACK_POINTER: &str = "__stack_pointer";
/// The first data after a stack that lies first in memory begins within this many bytes, for alignment.
const STACK_TO_DATA_BYTES: u32 = 64;

/// Where the stack is, if that is certain: `[0, top)`, growing down, with all data above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// The global that holds the stack pointer.
    pub(super) pointer: u32,
    /// Its first value.
    pub(super) top: u32,
}

/// A module that can be rewritten.
pub(super) struct Shape<'a> {
    pub(super) sections: Sections<'a>,
    pub(super) imported_functions: u32,
    pub(super) memory_bytes: u64,
    pub(super) stack: Option<Stack>,
}

impl<'a> Shape<'a> {
    pub(super) fn of(wasm: &'a [u8]) -> Result<Self, Refused> {
        let sections = Sections::of(wasm, crate::features())?;
        if let Some(import) = sections.imports.iter().find(|import| !matches!(import.ty, TypeRef::Func(_))) {
            let what = format!("the import `{}.{}`", Printable(import.module), Printable(import.name));
            return Err(Refused::Shared { what });
        }
        for export in &sections.exports {
            if export.name.starts_with(RESERVED_PREFIX) {
                return Err(Refused::ReservedExport(Printable(export.name).to_string()));
            }
            if export.kind == ExternalKind::Table {
                return Err(Refused::Shared { what: format!("the exported table `{}`", Printable(export.name)) });
            }
        }
        let [memory] = sections.memories[..] else {
            return Err(Refused::Memory(format!("the module defines {}; one is covered", sections.memories.len())));
        };
        if memory.shared || memory.memory64 || memory.page_size_log2.is_some() {
            return Err(Refused::Memory("it is shared, 64-bit or has its own pages size".into()));
        }
        let memory_bytes = memory.initial * 65536;
        let stack = Hints::of(&sections).stack(&sections, memory_bytes);
        let imported_functions = sections.imported(ExternalKind::Func);
        let shape = Shape { sections, imported_functions, memory_bytes, stack };
        let mutable = shape.mutable_globals().count();
        if mutable > MAX_MUTABLE_GLOBALS {
            return Err(Refused::TooManyGlobals { found: mutable, most: MAX_MUTABLE_GLOBALS });
        }
        Ok(shape)
    }

    /// Returns those that a transaction saves.
    pub(super) fn mutable_globals(&self) -> impl Iterator<Item = (u32, ValType)> {
        let all = self.sections.globals.iter().zip(0..);
        all.filter(|(global, _)| global.ty.mutable).map(|(global, index)| (index, global.ty.content_type))
    }

    /// Returns whether an export is an entry whose calls are transactions.
    pub(super) fn is_transaction(name: &str) -> bool {
        name.strip_prefix(ENTRY_PREFIX).and_then(Entry::named).is_some_and(Entry::is_transaction)
    }
}

/// Hints about the stack.
#[derive(Default)]
struct Hints {
    named_pointer: Option<u32>,
    names_globals: bool,
    lowest_data: Option<u32>,
    data_somewhere: bool,
}

impl Hints {
    fn of(sections: &Sections<'_>) -> Hints {
        let mut hints = Hints::default();
        let is_pointer = |export: &&Export<'_>| export.kind == ExternalKind::Global && export.name == STACK_POINTER;
        hints.named_pointer = sections.exports.iter().rfind(is_pointer).map(|export| export.index);
        for data in &sections.data {
            if let DataKind::Active { offset_expr, .. } = &data.kind {
                match constant(offset_expr) {
                    Some(at) => hints.lowest_data = Some(hints.lowest_data.map_or(at, |low| low.min(at))),
                    None => hints.data_somewhere = true,
                }
            }
        }
        for custom in &sections.customs {
            let KnownCustom::Name(names) = custom.as_known() else { continue };
            // A damaged name section says nothing; it is not part of what is validated.
            for name in names.into_iter().map_while(Result::ok) {
                let Name::Global(map) = name else { continue };
                hints.names_globals = true;
                let pointer = map.into_iter().map_while(Result::ok).find(|naming| naming.name == STACK_POINTER);
                hints.named_pointer = hints.named_pointer.or(pointer.map(|naming| naming.index));
            }
        }
        hints
    }

    /// Returns the stack, if a linker put it first in memory (`--stack-first`): only then is all that lies below a
    /// stack pointer stack. Without names, the first global is taken if it looks exactly like a linker's stack pointer.
    fn stack(&self, sections: &Sections<'_>, memory_bytes: u64) -> Option<Stack> {
        let pointer = match self.named_pointer {
            Some(pointer) => pointer,
            None if self.names_globals => return None,
            None => 0,
        };
        let global = sections.globals.get(pointer as usize)?;
        let top = constant(&global.init_expr)?;
        let data = self.lowest_data.filter(|_| !self.data_somewhere)?;
        let is_pointer =
            global.ty.mutable && global.ty.content_type == ValType::I32 && top > 0 && top.is_multiple_of(16);
        let is_first = (top..top.saturating_add(STACK_TO_DATA_BYTES)).contains(&data);
        let fits = u64::from(top) <= memory_bytes;
        (is_pointer && is_first && fits).then_some(Stack { pointer, top })
    }
}

/// Returns the value of an initialiser that is a plain `i32.const`.
fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    match expression.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => Some(value.cast_unsigned()),
        _ => None,
    }
}
