//! The checker of stores: reads the finished module of a driver whose calls can be rolled back, the bytes that are
//! compiled, and refuses it unless each store of the driver's can be undone.
//!
//! It shares no analysis with the pass that logs stores ([`undo`](crate::undo)), only the way to read a module, the
//! log's [layout](crate::undo::layout), and the shape of deadline checks. The pass decides where to log what; this
//! reads what was written, knows nothing of the reasons, and has to find at each store that it was enough.
//!
//! # What it finds
//!
//! - **Stores.** Each one writes bytes of which a record was appended on every path to it, or below the stack pointer
//!   that the function has read, or memory that is kept by other means (constant addresses, or addresses that were
//!   compared), or it is declared scratch in the driver's own file. A record counts when the log's top is raised past
//!   it, and only if it has the address that its bytes were read from, and nothing that may change them came between.
//! - **Bulk instructions** are on a range that was logged right before them, or to the function's own frame.
//! - **Declared scratch** is taken from the driver's file, not from the pass: the finished module's functions have the
//!   driver's stores in their order, and those that are calls of `nook_hint.store64` there are scratch.
//! - **The log's top.** A local that keeps it is read again behind each call, and it is set to nothing else; the global
//!   is raised by whole records, and emptied only where no transaction runs.
//! - **The stack pointer** is compared with its value at the beginning of the call wherever it is written, and the
//!   driver's data lies above the stack.
//! - **What begins and ends calls** is, word for word, what has to be: it saves the mutable globals, empties the log,
//!   sets the mode. All exports lead there. So is what logs ranges.
//!
//! # What it does not find
//!
//! - Whether a store that a driver declares as scratch may be: that is the driver's to say, and only its own memory
//!   suffers.
//! - Whether more is logged than is stored. What a device writes meanwhile to bytes that the driver does not store
//!   would be undone too.
//! - What undoes the log when it has to (`runtime/src/rollback`), and the kernel's watch over pages.
//!
//! A value is known as a root and a distance from it, and all is done in time linear in the module's length; what it
//! takes is counted ([`StoresChecked::steps`]).

mod added;
mod facts;
mod records;
#[cfg(test)]
mod tests;
mod values;
mod walk;
mod written;

use std::collections::BTreeSet;

use nook_abi::{HINT_MODULE, Hint};
use wasmparser::{
    ConstExpr, DataKind, Export, ExternalKind, FuncValidatorAllocations, KnownCustom, Name, Operator, TypeRef, ValType,
};

use super::CheckError;
use super::shape::{self, Item};
use crate::deadline::ASK_EXPORT;
use crate::sections::{Body, Sections};
use crate::undo::layout::{GLOBAL_EXPORT, LOG_EXPORT, MODE_EXPORT, TOP_EXPORT};
use added::{Globals, Stack};
use walk::{Around, Code, MAX_FRAME_BYTES, Wrong};
use written::Written;

/// What linkers call the stack pointer.
const STACK_POINTER: &str = "__stack_pointer";
/// The driver's data begins at most this far behind its stack.
const STACK_TO_DATA_BYTES: u32 = 64;
/// Functions that are added before those that begin calls: the range logger and the question to the host.
const HELPERS: usize = 2;

/// What the checker saw in a module that it found right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoresChecked {
    /// Stores of fixed width that can be reached, declared scratch apart. Copies that count have them again.
    pub stores: usize,
    /// Of them: to the function's own frame.
    pub own_frame: usize,
    /// Of them: to constant addresses in memory that is kept by other means.
    pub kept: usize,
    /// Stores to declared scratch.
    pub scratch: usize,
    /// Bulk instructions.
    pub bulk: usize,
    /// What it took: instructions read, facts learnt and forgotten, locals looked up.
    pub steps: u64,
}

type Counts = StoresChecked;

/// A store of the driver's, as its file has it.
struct DriverStore {
    /// None: a hint, whose offset is an operand.
    written: Option<Written>,
    is_scratch: bool,
}

impl DriverStore {
    fn is(&self, found: &Written) -> bool {
        match &self.written {
            Some(written) => written == found,
            None => matches!(found, Written::Fixed { name: "I64Store", .. }),
        }
    }
}

/// Checks that all stores of a driver's module can be undone. `driver` is the module as it came, with its memory laid
/// out and its hints as they were; `kept_below` says up to where memory is kept by other means than the log; `finished`
/// is what is compiled.
///
/// # Errors
/// If one may not be undone: then the module must not be run as one whose calls can be rolled back.
pub fn stores(driver: &[u8], kept_below: Option<u32>, finished: &[u8]) -> Result<StoresChecked, CheckError> {
    let driver = Driver::of(driver)?;
    let mut sections = Sections::of(finished, crate::rewritten_features())?;
    let bodies = std::mem::take(&mut sections.bodies);
    let module = Module::of(&driver, &sections, kept_below, bodies.len())?;
    let mut counts = Counts { steps: driver.steps, ..Counts::default() };
    let mut scratch = FuncValidatorAllocations::default();
    for (Body { validator, code }, number) in bodies.into_iter().zip(0..) {
        let mut validator = validator.into_validator(scratch);
        validator.read_locals(&mut code.get_binary_reader())?;
        let function = module.imported + number as u32;
        let parameters = sections.function_type(function).params().len() as u32;
        let mut read = Code { parameters, ..Code::default() };
        for operator in code.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = operator?;
            let arity = operator.operator_arity(&validator);
            validator.op(offset, &operator)?;
            read.push(offset, operator, arity.ok_or(CheckError::Module("it has an instruction of unknown arity"))?);
        }
        scratch = validator.into_allocations();
        let checked = module.function(number, &read, &mut counts);
        checked.map_err(|(offset, what)| CheckError::Code { function, offset, what })?;
    }
    Ok(counts)
}

/// What has to be known of the driver's module as it came.
struct Driver<'a> {
    /// The stores of each function that is not imported.
    stores: Vec<Vec<DriverStore>>,
    /// Exported functions, in their order: names and parameters.
    entries: Vec<(Export<'a>, u32)>,
    /// How many globals it has, and which of them a transaction saves.
    globals: u32,
    saved: Vec<(u32, ValType)>,
    stack: Option<Stack>,
    steps: u64,
}

impl<'a> Driver<'a> {
    fn of(wasm: &'a [u8]) -> Result<Self, CheckError> {
        let sections = Sections::of(wasm, crate::features())?;
        let functions = sections.imports.iter().filter(|import| matches!(import.ty, TypeRef::Func(_)));
        let is_hint = |module: &str, name: &str| {
            module == HINT_MODULE && nook_abi::HINTS.iter().any(|row| row.name == name && row.hint == Hint::Store64)
        };
        let hints: BTreeSet<u32> =
            functions.zip(0..).filter(|(import, _)| is_hint(import.module, import.name)).map(|(_, at)| at).collect();
        let (mut stores, mut steps) = (Vec::new(), 0);
        for body in &sections.bodies {
            let mut found = Vec::new();
            for operator in body.code.get_operators_reader()? {
                steps += 1;
                match operator? {
                    Operator::Call { function_index } | Operator::ReturnCall { function_index }
                        if hints.contains(&function_index) =>
                    {
                        found.push(DriverStore { written: None, is_scratch: true });
                    }
                    operator => {
                        let written = Written::of(&operator);
                        found.extend(written.map(|written| DriverStore { written: Some(written), is_scratch: false }));
                    }
                }
            }
            stores.push(found);
        }
        let functions = sections.exports.iter().filter(|export| export.kind == ExternalKind::Func);
        let entries =
            functions.map(|export| (*export, sections.function_type(export.index).params().len() as u32)).collect();
        let globals = sections.globals.len() as u32;
        let mutable = sections.globals.iter().zip(0..).filter(|(global, _)| global.ty.mutable);
        let saved = mutable.map(|(global, index)| (index, global.ty.content_type)).collect();
        Ok(Driver { stores, entries, globals, saved, stack: stack(&sections), steps })
    }
}

/// Returns the driver's stack, if it has its pointer where linkers put it and begins below all data: then nothing but
/// stack is below the pointer.
fn stack(sections: &Sections<'_>) -> Option<Stack> {
    let exported =
        sections.exports.iter().rfind(|export| export.kind == ExternalKind::Global && export.name == STACK_POINTER);
    // Without names it is the first one.
    let pointer = match (exported, named(sections)) {
        (Some(export), _) => export.index,
        (None, Some(named)) => named?,
        (None, None) => 0,
    };
    let global = sections.globals.get(pointer as usize)?;
    let top = constant(&global.init_expr)?;
    let mut lowest = u32::MAX;
    for data in &sections.data {
        if let DataKind::Active { offset_expr, .. } = &data.kind {
            lowest = lowest.min(constant(offset_expr)?);
        }
    }
    let is_pointer = global.ty.mutable && global.ty.content_type == ValType::I32 && top > 0 && top.is_multiple_of(16);
    let is_below = top <= lowest && lowest - top < STACK_TO_DATA_BYTES;
    // A pointer that is too small for a frame wraps to where no memory is.
    let most = u64::from(u32::MAX - MAX_FRAME_BYTES);
    let memory = sections.memories.first().map(|memory| memory.maximum.unwrap_or(memory.initial) << 16);
    let fits = memory.is_some_and(|memory| u64::from(top) <= memory && memory <= most);
    (is_pointer && is_below && fits).then_some(Stack { pointer, top })
}

/// Returns which global is named as the stack pointer, if any; none, if the module names no globals.
fn named(sections: &Sections<'_>) -> Option<Option<u32>> {
    let mut found = None;
    for custom in &sections.customs {
        let KnownCustom::Name(names) = custom.as_known() else { continue };
        // A damaged name section says nothing; it is not part of what is validated.
        for name in names.into_iter().map_while(Result::ok) {
            let Name::Global(map) = name else { continue };
            let pointer = map.into_iter().map_while(Result::ok).find(|naming| naming.name == STACK_POINTER);
            found = Some(found.flatten().or(pointer.map(|naming| naming.index)));
        }
    }
    found
}

fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    match expression.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => Some(value.cast_unsigned()),
        _ => None,
    }
}

/// The finished module: which of its functions are what.
struct Module<'d, 'a> {
    driver: &'d Driver<'a>,
    imported: u32,
    /// The first function that is a copy which counts; as many as there are, if none is.
    copies_from: usize,
    around: Around,
    /// Type of each function, imported ones first.
    types: Vec<u32>,
    /// The table through which the host is asked.
    table: u32,
}

impl<'d, 'a> Module<'d, 'a> {
    fn of(
        driver: &'d Driver<'a>,
        sections: &Sections<'_>,
        kept_below: Option<u32>,
        bodies: usize,
    ) -> Result<Self, CheckError> {
        let wrong = |what| Err(CheckError::Module(what));
        let exported = |name: &str, kind| {
            let export = sections.exports.iter().find(|export| export.name == name && export.kind == kind);
            export.map(|export| export.index)
        };
        let imported = sections.imported(ExternalKind::Func);
        let copied = driver.stores.len() + HELPERS;
        let copies_from = copied + driver.entries.len();
        if bodies != copies_from && bodies != copies_from + copied {
            return wrong("it has other functions than the driver's and those that begin calls");
        }
        let exports: Vec<_> = sections.exports.iter().filter(|export| export.kind == ExternalKind::Func).collect();
        let wrappers = imported + copied as u32..;
        let alike = exports.len() == driver.entries.len()
            && exports
                .iter()
                .zip(&driver.entries)
                .zip(wrappers)
                .all(|((found, (of_driver, _)), wrapper)| found.name == of_driver.name && found.index == wrapper);
        if !alike {
            return wrong("it exports other functions than those that begin the driver's calls");
        }
        if exported(LOG_EXPORT, ExternalKind::Memory) != Some(shape::LOG_MEMORY) {
            return wrong("it has no log");
        }
        let [top, mode, limit] = [0, 1, 2].map(|added| driver.globals + added);
        let globals = Globals { saved: driver.saved.len(), top, mode, limit };
        let first = sections.globals.get(top as usize).and_then(|global| constant(&global.init_expr));
        if exported(TOP_EXPORT, ExternalKind::Global) != Some(top)
            || exported(MODE_EXPORT, ExternalKind::Global) != Some(mode)
            || sections.globals.len() <= limit as usize
            || first != Some(globals.first_record())
        {
            return wrong("the log's top and the mode are not behind the driver's globals");
        }
        for (number, (global, _)) in driver.saved.iter().enumerate() {
            if exported(&format!("{GLOBAL_EXPORT}{number}"), ExternalKind::Global) != Some(*global) {
                return wrong("a saved global is not exported by its number");
            }
        }
        let table = exported(ASK_EXPORT, ExternalKind::Table);
        let table = table.ok_or(CheckError::Module("there is no table for deadline checks to call through"))?;
        let logger = imported + driver.stores.len() as u32;
        let log_range = [logger, imported + copies_from as u32 + driver.stores.len() as u32];
        let around = Around { globals, stack: driver.stack, kept_below, log_range };
        Ok(Module { driver, imported, copies_from, around, types: sections.functions.clone(), table })
    }

    /// Checks the function with this number, imported ones not counted.
    fn function(&self, number: usize, code: &Code<'_>, counts: &mut Counts) -> Result<(), Wrong> {
        let driver = self.driver;
        let begins = code.items.first().map_or(0, |(offset, _)| *offset);
        let of_original = number.checked_sub(self.copies_from).unwrap_or(number);
        if let Some(stores) = driver.stores.get(of_original) {
            let found = walk::follow(self.around, code, stores)?;
            counts.add(found);
            return Ok(());
        }
        counts.steps += code.items.len() as u64;
        let what = match of_original - driver.stores.len() {
            0 if self.logs_range(&code.items) => return Ok(()),
            0 => "what logs ranges, and it is not as it has to be",
            1 if shape::is_question(&code.items, self.table) => return Ok(()),
            1 => "the question to the host, and it is not as it has to be",
            entry if self.begins_calls(entry - HELPERS, &code.items) => return Ok(()),
            _ => "what begins calls, and it is not as it has to be",
        };
        Err((begins, what))
    }

    fn logs_range(&self, items: &[(usize, Item<'_>)]) -> bool {
        let [before, after] = self.around.globals.log_range(self.around.kept_below);
        let Some((first, rest)) = items.split_at_checked(before.len()) else { return false };
        let Some(((_, check), rest)) = rest.split_first() else { return false };
        matches!(check, Item::DeadlineCheck(_)) && added::are(first, &before) && added::are(rest, &after)
    }

    fn begins_calls(&self, entry: usize, items: &[(usize, Item<'_>)]) -> bool {
        let driver = self.driver;
        let Some((export, parameters)) = driver.entries.get(entry) else { return false };
        let is = |call: &[Operator<'static>]| {
            added::are(items, &self.around.globals.wrapper(export.name, driver.stack, &driver.saved, call))
        };
        // The number of instructions is behind all other globals.
        let (function, countdown) = (export.index, self.around.globals.limit + 1);
        let copy = function + self.copies_from as u32;
        is(&added::call(*parameters, function))
            || self.types.get(function as usize).is_some_and(|ty| {
                function >= self.imported && is(&added::choice(*parameters, *ty, function, copy, countdown))
            })
    }
}

impl StoresChecked {
    fn add(&mut self, other: StoresChecked) {
        self.stores += other.stores;
        self.own_frame += other.own_frame;
        self.kept += other.kept;
        self.scratch += other.scratch;
        self.bulk += other.bulk;
        self.steps += other.steps;
    }
}
