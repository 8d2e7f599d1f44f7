//! What the pass needs to know of a module before it rewrites it.

use nook_abi::{ENTRY_PREFIX, Entry, Plain};
use wasmparser::{
    ConstExpr, DataKind, Export, ExternalKind, FuncToValidate, FuncType, FunctionBody, GlobalType, KnownCustom, Name,
    Operator, Parser, Payload, TypeRef, ValType, ValidPayload, Validator, ValidatorResources,
};

use super::Refused;
use super::layout::RESERVED_PREFIX;

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

/// One function's body.
pub(super) struct Body<'a> {
    pub(super) validator: FuncToValidate<ValidatorResources>,
    pub(super) code: FunctionBody<'a>,
}

/// A module, read and validated.
#[derive(Default)]
pub(super) struct Shape<'a> {
    pub(super) types: Vec<FuncType>,
    /// The type of each function, imported ones first.
    pub(super) functions: Vec<u32>,
    pub(super) imported_functions: u32,
    pub(super) tables: u32,
    pub(super) globals: Vec<GlobalType>,
    pub(super) exports: Vec<Export<'a>>,
    pub(super) bodies: Vec<Body<'a>>,
    pub(super) memory_bytes: u64,
    pub(super) stack: Option<Stack>,
}

/// Hints about the stack, found along the way.
#[derive(Default)]
struct Hints {
    named_pointer: Option<u32>,
    names_globals: bool,
    constants: Vec<Option<u32>>,
    lowest_data: Option<u32>,
    data_somewhere: bool,
}

impl<'a> Shape<'a> {
    pub(super) fn of(wasm: &'a [u8]) -> Result<Self, Refused> {
        let mut validator = Validator::new_with_features(crate::features());
        let mut shape = Shape::default();
        let mut hints = Hints::default();
        let mut memories = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            if let ValidPayload::Func(validator, code) = validator.payload(&payload)? {
                shape.bodies.push(Body { validator, code });
            }
            match payload {
                Payload::TypeSection(types) => {
                    for ty in types.into_iter_err_on_gc_types() {
                        shape.types.push(ty?);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        let TypeRef::Func(ty) = import.ty else {
                            let what = format!("the import `{}.{}`", Plain(import.module), Plain(import.name));
                            return Err(Refused::Shared { what });
                        };
                        shape.functions.push(ty);
                        shape.imported_functions += 1;
                    }
                }
                Payload::FunctionSection(functions) => {
                    for ty in functions {
                        shape.functions.push(ty?);
                    }
                }
                Payload::TableSection(tables) => shape.tables = tables.count(),
                Payload::MemorySection(section) => {
                    for memory in section {
                        let memory = memory?;
                        if memory.shared || memory.memory64 || memory.page_size_log2.is_some() {
                            return Err(Refused::Memory("it is shared, 64-bit or has pages of its own size".into()));
                        }
                        memories += 1;
                        shape.memory_bytes = memory.initial * 65536;
                    }
                }
                Payload::GlobalSection(globals) => {
                    for global in globals {
                        let global = global?;
                        shape.globals.push(global.ty);
                        hints.constants.push(constant(&global.init_expr));
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.name.starts_with(RESERVED_PREFIX) {
                            return Err(Refused::ReservedExport(Plain(export.name).to_string()));
                        }
                        if export.kind == ExternalKind::Table {
                            return Err(Refused::Shared {
                                what: format!("the exported table `{}`", Plain(export.name)),
                            });
                        }
                        if export.kind == ExternalKind::Global && export.name == STACK_POINTER {
                            hints.named_pointer = Some(export.index);
                        }
                        shape.exports.push(export);
                    }
                }
                Payload::DataSection(segments) => {
                    for segment in segments {
                        if let DataKind::Active { offset_expr, .. } = segment?.kind {
                            match constant(&offset_expr) {
                                Some(at) => hints.lowest_data = Some(hints.lowest_data.map_or(at, |low| low.min(at))),
                                None => hints.data_somewhere = true,
                            }
                        }
                    }
                }
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        // A damaged name section says nothing; it is not part of what is validated.
                        for name in names.into_iter().map_while(Result::ok) {
                            let Name::Global(map) = name else { continue };
                            hints.names_globals = true;
                            let pointer = map.into_iter().map_while(Result::ok).find(|n| n.name == STACK_POINTER);
                            hints.named_pointer = hints.named_pointer.or(pointer.map(|naming| naming.index));
                        }
                    }
                }
                _ => {}
            }
        }
        if memories != 1 {
            return Err(Refused::Memory(format!("the module defines {memories}; one is covered")));
        }
        let mutable = shape.mutable_globals().count();
        if mutable > MAX_MUTABLE_GLOBALS {
            return Err(Refused::TooManyGlobals { found: mutable, most: MAX_MUTABLE_GLOBALS });
        }
        shape.stack = hints.stack(&shape);
        Ok(shape)
    }

    /// Those that a transaction saves.
    pub(super) fn mutable_globals(&self) -> impl Iterator<Item = (u32, ValType)> {
        let all = self.globals.iter().enumerate();
        all.filter(|(_, global)| global.mutable).map(|(index, global)| (index as u32, global.content_type))
    }

    /// The type of a function.
    pub(super) fn function_type(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize] as usize]
    }

    /// Whether an export is an entry whose calls are transactions.
    pub(super) fn is_transaction(name: &str) -> bool {
        name.strip_prefix(ENTRY_PREFIX).and_then(Entry::named).is_some_and(Entry::is_transaction)
    }
}

impl Hints {
    /// The stack, if a linker put it first in memory (`--stack-first`): only then is all that lies below a stack
    /// pointer stack. Without names, the first global is taken if it looks exactly like a linker's stack pointer.
    fn stack(&self, shape: &Shape<'_>) -> Option<Stack> {
        let pointer = match self.named_pointer {
            Some(pointer) => pointer,
            None if self.names_globals => return None,
            None => 0,
        };
        let global = shape.globals.get(pointer as usize)?;
        let top = (*self.constants.get(pointer as usize)?)?;
        let data = self.lowest_data.filter(|_| !self.data_somewhere)?;
        let is_pointer = global.mutable && global.content_type == ValType::I32 && top > 0 && top.is_multiple_of(16);
        let is_first = (top..top.saturating_add(STACK_TO_DATA_BYTES)).contains(&data);
        let fits = u64::from(top) <= shape.memory_bytes;
        (is_pointer && is_first && fits).then_some(Stack { pointer, top })
    }
}

/// The value of an initialiser that is a plain `i32.const`.
fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    match expression.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => Some(value.cast_unsigned()),
        _ => None,
    }
}
