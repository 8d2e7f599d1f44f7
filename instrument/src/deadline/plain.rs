//! A module with deadline checks and nothing else.

use wasm_encoder::{
    CodeSection, Encode, ExportKind, ExportSection, Function, FunctionSection, MemorySection, MemoryType, RefType,
    TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{CustomSectionReader, ExternalKind, FuncValidatorAllocations, Operator};

use super::{ASK_EXPORT, CELL_EXPORT, Check, Cost, Placed, Question, asking, offset_map, settle};
use crate::planted::{Planted, flawed};
use crate::sections::{self, Body, Rewriting, Sections};
use crate::{Invalid, OffsetMap};

/// A module whose calls check their deadline.
#[derive(Clone, Debug)]
pub struct Timed {
    /// The module.
    pub wasm: Vec<u8>,
    /// Where its code comes from.
    pub offsets: OffsetMap,
}

/// Adds deadline checks to a module with one memory: whatever it does, they see it, so that nothing is refused.
///
/// # Errors
/// If it is not valid, with features that no driver may use, or without exactly one memory, not imported.
pub fn with_deadline_checks(wasm: &[u8]) -> Result<Timed, Invalid> {
    add(wasm, Planted::default())
}

/// Adds them, with this mistake.
#[cfg(test)]
pub(crate) fn with_flaw(wasm: &[u8], flaw: crate::planted::Flaw) -> Result<Timed, Invalid> {
    add(wasm, Planted { flaw: Some(flaw) })
}

fn add(wasm: &[u8], planted: Planted) -> Result<Timed, Invalid> {
    let mut sections = Sections::of(wasm, crate::features())?;
    let bodies = std::mem::take(&mut sections.bodies);
    if sections.memories.len() != 1 || sections.imported(ExternalKind::Memory) != 0 {
        return Err(Invalid("it does not have exactly one memory that is not imported".into()));
    }
    let invalid = |error: wasmparser::BinaryReaderError| Invalid(error.to_string());
    let asks = asking(&sections, &bodies).map_err(invalid)?;
    let tables = sections.imported(ExternalKind::Table) + sections.tables.len() as u32;
    let question = Question { table: tables, answer: sections.types.len() as u32 + 1 };
    let ask = sections.functions.len() as u32;
    let imported = sections.imported(ExternalKind::Func);
    let (mut placed, mut costs, mut checks) = (Vec::new(), Vec::new(), Vec::new());
    let mut scratch = FuncValidatorAllocations::default();
    for (Body { validator, code }, asks) in bodies.into_iter().zip(asks) {
        let mut validator = validator.into_validator(scratch);
        validator.validate(&code).map_err(invalid)?;
        scratch = validator.into_allocations();
        let traps = !asks || flawed!(planted, TrapInSharedFunction);
        let check = if traps { Check::Traps } else { Check::Asks(ask) };
        let mut walk = Walk::new(wasm, imported, check, planted);
        walk.all(&code).map_err(invalid)?;
        placed.push(walk.placed);
        costs.push(walk.cost);
        checks.push(check);
    }
    let mut code = CodeSection::new();
    for ((function, check), needed) in placed.iter_mut().zip(checks).zip(settle(&costs)) {
        if needed && !flawed!(planted, FunctionWithoutCheck) {
            function.insert(check);
        }
        code.raw(&function.body);
    }
    let mut body = Function::new([]);
    question.code().iter().for_each(|instruction| {
        body.instruction(instruction);
    });
    code.function(&body);
    let wasm = sections::rewrite(&sections, &Plain { sections: &sections, question, code })?;
    let offsets = offset_map(&wasm, &placed).map_err(invalid)?;
    Ok(Timed { wasm, offsets })
}

/// One function, as it is written again.
struct Walk<'a> {
    wasm: &'a [u8],
    imported: u32,
    check: Check,
    planted: Planted,
    placed: Placed,
    cost: Cost,
    /// For each block that is open, whether it is a loop.
    loops: Vec<bool>,
}

impl<'a> Walk<'a> {
    fn new(wasm: &'a [u8], imported: u32, check: Check, planted: Planted) -> Self {
        let placed = Placed { body: Vec::new(), check_at: 0, offsets: Vec::new() };
        Walk { wasm, imported, check, planted, placed, cost: Cost::default(), loops: vec![false] }
    }

    fn all(&mut self, code: &wasmparser::FunctionBody<'_>) -> wasmparser::Result<()> {
        let mut reader = code.get_operators_reader()?;
        self.placed.body.extend(&self.wasm[code.range().start..reader.original_position()]);
        self.placed.check_at = self.placed.body.len();
        while !reader.eof() {
            let from = reader.original_position();
            let operator = reader.read()?;
            // Added code belongs to the instruction that follows.
            self.placed.offsets.push((self.placed.body.len(), Some(from)));
            if self.needs_check(&operator) {
                let code = self.check.code();
                code.iter().for_each(|instruction| instruction.encode(&mut self.placed.body));
                self.cost.add(code.len() as u64);
            }
            self.placed.body.extend(&self.wasm[from..reader.original_position()]);
            self.cost.operator(&operator, self.imported);
        }
        Ok(())
    }

    /// Follows the blocks, and returns whether a deadline check comes before this instruction. In code that cannot be
    /// reached there may be one too many.
    fn needs_check(&mut self, operator: &Operator<'_>) -> bool {
        use Operator::*;
        match operator {
            Block { .. } | If { .. } => self.loops.push(false),
            Loop { .. } => self.loops.push(true),
            End => drop(self.loops.pop()),
            Br { relative_depth } | BrIf { relative_depth } => return self.is_back_edge(*relative_depth),
            BrTable { targets } => {
                // The targets were read when the function was validated.
                let mut depths = targets.targets().filter_map(Result::ok).chain([targets.default()]);
                return depths.any(|depth| self.is_back_edge(depth));
            }
            // Each may take milliseconds, and there may be many in a row.
            MemoryCopy { .. } | MemoryFill { .. } | MemoryInit { .. } | TableCopy { .. } | TableInit { .. } => {
                return true;
            }
            _ => {}
        }
        false
    }

    fn is_back_edge(&self, depth: u32) -> bool {
        let frame = self.loops.len().checked_sub(1 + depth as usize);
        frame.is_some_and(|frame| self.loops[frame]) && !flawed!(self.planted, LoopWithoutCheck)
    }
}

/// What is added behind the module's own.
struct Plain<'s, 'a> {
    sections: &'s Sections<'a>,
    question: Question,
    code: CodeSection,
}

impl Rewriting for Plain<'_, '_> {
    fn types(&self, section: &mut TypeSection) {
        section.ty().function([], []);
        section.ty().function([], [ValType::I32]);
    }

    fn functions(&self, section: &mut FunctionSection) {
        section.function(self.sections.types.len() as u32);
    }

    fn tables(&self, section: &mut TableSection) -> Result<(), sections::Error> {
        let element_type = RefType::FUNCREF;
        section.table(TableType { element_type, table64: false, minimum: 1, maximum: Some(1), shared: false });
        Ok(())
    }

    fn memories(&self, section: &mut MemorySection) {
        let (memory64, shared, page_size_log2) = (false, false, None);
        section.memory(MemoryType { minimum: 1, maximum: Some(1), memory64, shared, page_size_log2 });
    }

    fn exports(&self, section: &mut ExportSection) {
        section.export(CELL_EXPORT, ExportKind::Memory, super::CELL_MEMORY);
        section.export(ASK_EXPORT, ExportKind::Table, self.question.table);
    }

    fn code(&self) -> Option<&CodeSection> {
        Some(&self.code)
    }

    fn custom(&self, custom: &CustomSectionReader<'_>, module: &mut wasm_encoder::Module, wasm: &[u8]) {
        // Line tables of the original; the offset map leads to them.
        if !custom.name().starts_with(".debug_") {
            module.section(&wasm_encoder::RawSection { id: 0, data: &wasm[custom.range()] });
        }
    }
}
