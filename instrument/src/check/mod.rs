//! The checkers. That of stores is in [`stores`](mod@stores). This one is of deadline checks: it reads the finished
//! module, the bytes that are compiled, and refuses it unless every call of it keeps checking its deadline.
//!
//! It shares no analysis with the pass that wrote the deadline checks ([`undo`](crate::undo)), only the way to read a
//! module and the log's [layout](crate::undo::layout), which the host uses too. So a call is ended at its deadline even
//! if the pass is wrong: what it forgot is found here, before anything of the module runs.
//!
//! # What it finds
//!
//! - **Loops.** A branch to a loop's beginning that can be reached has a deadline check right before it, in the same
//!   straight line: there is no way round a loop without one.
//! - **Functions.** A function that executes more than [`MOST_WITHOUT_CHECK`] instructions (loops counted once,
//!   callees included), that calls through a table, or that may come to call itself, begins with a deadline check. So
//!   between two of them there is at most one pass over the module's text, and little for each call in it, unless calls
//!   return from a recursion, see below. Functions that nothing in the module calls or refers to are excepted: the host
//!   calls them.
//! - **Bulk instructions** copy or fill at most 4096 bytes, which are counted, or have a deadline check right before
//!   them or their operands; so have those that copy into tables. What takes as long as its operand says, or waits, is
//!   refused otherwise (other changes of tables, a memory that grows or is shared).
//! - **A deadline check** is the real thing: an atomic load of the time cell, a test of its lowest bit, and either a
//!   trap or a call of a function that does nothing but ask the host and put its answer into the cell. What that calls
//!   is the only element of a table that no other instruction calls through or changes.
//! - **One that traps** is in no function that a call in process context can reach, by calls or through a table: there
//!   the bit is set at each tick, and not only when the time is up.
//! - **The cell.** Its memory is the module's second one, and nothing else reads or writes the cell: a store to that
//!   memory has a constant address behind the cell, or one relative to the log's top, which never lies before the
//!   records. A module without a log has no such stores.
//!
//! # What it does not find
//!
//! - That the log is right: what is logged, and that it is in the right order. That is for [`mod@stores`], which
//!   follows values through the code; here nothing is known but shapes.
//! - What a hostcall takes, or a single bulk instruction: they are not interrupted.
//! - How deep calls nest: each function of a recursion begins with a deadline check, and the engine's limit of the
//!   stack ends what goes too deep. What a recursion executes while it returns is not checked: at most as many passes
//!   over a function's text as the stack holds frames. (The engine's epochs are checked in the same places.)
//! - What the compiler makes of the module, and that the host sets the cell.
//!
//! Countdowns ([`Counting`](crate::Counting)) are read over: each can only trap. All is done in time linear in the
//! module's length.

mod calls;
mod code;
mod log;
mod shape;
mod stores;
#[cfg(test)]
mod tests;

use nook_abi::{Context, ENTRIES, ENTRY_PREFIX};
use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, FuncValidatorAllocations, Operator, TableInit,
};

use crate::deadline::{ASK_EXPORT, CELL_EXPORT};
use crate::sections::{Body, Sections};
use crate::undo::layout::{LOG_EXPORT, TOP_EXPORT};
use code::{Added, Found};
use shape::Then;
pub use stores::{StoresChecked, stores};

/// The most instructions that a function and its callees execute without a deadline check, loops counted once. The
/// log's instructions count too. A module of 8 MiB that consists of calls to such functions has some four million of
/// them: it checks its deadline about once in a second.
pub const MOST_WITHOUT_CHECK: u64 = 512;

/// What the checker saw in a module that it found right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Functions with code.
    pub functions: usize,
    /// Deadline checks that can be reached.
    pub deadline_checks: usize,
    /// Instructions read and calls followed: what it took.
    pub steps: u64,
}

/// Why a module is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It is not valid.
    #[error("it is not valid: {0}")]
    Invalid(String),
    /// Something that was to be added is not there, or is more than it should be.
    #[error("{0}")]
    Module(&'static str),
    /// Code that breaks a rule.
    #[error("function {function} has {what}, at byte {offset:#x}")]
    Code {
        /// The function's index.
        function: u32,
        /// Where, from the module's beginning.
        offset: usize,
        /// What it has.
        what: &'static str,
    },
}

impl From<crate::Invalid> for CheckError {
    fn from(error: crate::Invalid) -> Self {
        CheckError::Invalid(error.0)
    }
}

impl From<wasmparser::BinaryReaderError> for CheckError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        CheckError::Invalid(error.to_string())
    }
}

/// What is outside functions.
#[derive(Default)]
struct Outside {
    /// Functions that are imported, and so come first.
    imported: u32,
    /// Functions that elements or globals refer to.
    references: Vec<u32>,
    /// Tables that have elements.
    filled: Vec<u32>,
    /// Functions that are exported, but for entries in interrupt or atomic context.
    long: Vec<u32>,
}

/// Checks that every call of a module keeps checking its deadline.
///
/// # Errors
/// If one may not: then it must not be run without another watch over its time.
pub fn deadlines(wasm: &[u8]) -> Result<Checked, CheckError> {
    let mut sections = Sections::of(wasm, crate::rewritten_features())?;
    let bodies = std::mem::take(&mut sections.bodies);
    let outside = Outside::of(&sections)?;
    let added = outside.added(&sections)?;
    let (mut starts, mut functions) = (Vec::new(), Vec::new());
    let mut scratch = FuncValidatorAllocations::default();
    for (Body { validator, code }, function) in bodies.into_iter().zip(outside.imported..) {
        let mut validator = validator.into_validator(scratch);
        validator.validate(&code)?;
        scratch = validator.into_allocations();
        let found = code::read(&code, added);
        functions.push(found.map_err(|(offset, what)| CheckError::Code { function, offset, what })?);
        starts.push(code.range().start);
    }
    outside.functions(&starts, &functions)
}

impl Outside {
    fn of(sections: &Sections<'_>) -> Result<Self, CheckError> {
        let imported = sections.imported(ExternalKind::Func);
        if imported as usize != sections.imports.len() {
            return Err(CheckError::Module("it imports more than functions"));
        }
        if sections.start.is_some() {
            return Err(CheckError::Module("it has a start function"));
        }
        if sections.memories.iter().any(|memory| memory.shared) {
            return Err(CheckError::Module("it has memory that others share"));
        }
        let of_log = |data: &wasmparser::Data<'_>| matches!(data.kind, DataKind::Active { memory_index, .. } if memory_index == shape::LOG_MEMORY);
        if sections.data.iter().any(of_log) {
            return Err(CheckError::Module("it has data for the log memory"));
        }
        let short = |name: &str| {
            let is = |row: &&nook_abi::EntryInfo| name.strip_prefix(ENTRY_PREFIX) == Some(row.name);
            ENTRIES.iter().find(is).is_some_and(|row| row.context != Context::Process)
        };
        let functions = sections.exports.iter().filter(|export| export.kind == ExternalKind::Func);
        let long = functions.filter(|export| !short(export.name)).map(|export| export.index).collect();
        let mut outside = Outside { imported, long, ..Outside::default() };
        for table in &sections.tables {
            if let TableInit::Expr(expression) = &table.init {
                outside.refers(expression)?;
            }
        }
        for global in &sections.globals {
            outside.refers(&global.init_expr)?;
        }
        for element in &sections.elements {
            outside.element(element)?;
        }
        Ok(outside)
    }

    fn element(&mut self, element: &wasmparser::Element<'_>) -> Result<(), CheckError> {
        if let ElementKind::Active { table_index, .. } = element.kind {
            self.filled.push(table_index.unwrap_or(0));
        }
        match &element.items {
            ElementItems::Functions(functions) => {
                for function in functions.clone() {
                    self.references.push(function?);
                }
            }
            ElementItems::Expressions(_, expressions) => {
                for expression in expressions.clone() {
                    self.refers(&expression?)?;
                }
            }
        }
        Ok(())
    }

    fn refers(&mut self, expression: &ConstExpr<'_>) -> Result<(), CheckError> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.references.push(function_index);
            }
        }
        Ok(())
    }

    /// Returns what was added, if it is as it has to be.
    fn added(&self, sections: &Sections<'_>) -> Result<Added, CheckError> {
        let exported = |name: &str, kind| {
            let export = sections.exports.iter().find(|export| export.name == name && export.kind == kind);
            export.map(|export| export.index)
        };
        let (log, cell) = (exported(LOG_EXPORT, ExternalKind::Memory), exported(CELL_EXPORT, ExternalKind::Memory));
        if sections.memories.len() != 2 || log.or(cell) != Some(shape::LOG_MEMORY) {
            return Err(CheckError::Module("the log memory is not its second and last one"));
        }
        let table = exported(ASK_EXPORT, ExternalKind::Table);
        let table = table.ok_or(CheckError::Module("there is no table for deadline checks to call through"))?;
        if self.filled.contains(&table) {
            return Err(CheckError::Module("the table that deadline checks call through has elements"));
        }
        let memory_is_fixed = sections.memories[0].maximum == Some(sections.memories[0].initial);
        let top = exported(TOP_EXPORT, ExternalKind::Global);
        if log.is_none() && top.is_none() {
            return Ok(Added { top, table, memory_is_fixed });
        }
        let top = top.ok_or(CheckError::Module("there is no global with the log's top"))?;
        let first = sections.globals.get(top as usize).map(|global| global.init_expr.get_operators_reader().read());
        match first.transpose()? {
            Some(Operator::I32Const { value }) if log::is_top(value.cast_unsigned()) => {
                Ok(Added { top: Some(top), table, memory_is_fixed })
            }
            _ => Err(CheckError::Module("the log's top does not begin behind the cells")),
        }
    }

    /// Checks that deadline checks lead to the question, and that each function that must begin with one does.
    fn functions(&self, starts: &[usize], functions: &[Found]) -> Result<Checked, CheckError> {
        let wrong = |at: usize, offset, what| CheckError::Code { function: self.imported + at as u32, offset, what };
        let index = |function: u32| function.checked_sub(self.imported).map(|at| at as usize);
        let mut checked = Checked { functions: functions.len(), ..Checked::default() };
        let referred: Vec<u32> =
            self.references.iter().chain(functions.iter().flat_map(|found| &found.references)).copied().collect();
        let (in_long_calls, steps) = calls::reached(functions, self.imported, &self.long, &referred);
        checked.steps += steps;
        let mut called = vec![false; functions.len()];
        self.references.iter().filter_map(|function| index(*function)).for_each(|at| called[at] = true);
        for (at, found) in functions.iter().enumerate() {
            for &(then, offset) in &found.deadline_checks {
                match then {
                    Then::Ask(callee) if !index(callee).is_some_and(|callee| functions[callee].is_question) => {
                        let what = "a deadline check that calls anything but the question to the host";
                        return Err(wrong(at, offset, what));
                    }
                    Then::Trap if in_long_calls[at] => {
                        let what = "a deadline check that traps, although a call reaches it that may be long";
                        return Err(wrong(at, offset, what));
                    }
                    _ => {}
                }
            }
            let callees = found.calls.iter().chain(&found.references);
            callees.filter_map(|callee| index(*callee)).for_each(|callee| called[callee] = true);
            checked.deadline_checks += found.deadline_checks.len();
            checked.steps += found.steps + (found.deadline_checks.len() + found.calls.len()) as u64;
        }
        let (little, steps) = calls::little(functions, self.imported);
        checked.steps += steps;
        for (at, found) in functions.iter().enumerate() {
            if called[at] && !little[at] && !found.checks_first {
                return Err(wrong(at, starts[at], "no deadline check at its beginning, although it may execute much"));
            }
        }
        Ok(checked)
    }
}
