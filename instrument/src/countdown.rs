//! A module with a second copy of its code that counts: before each instruction a number goes down, and at zero the
//! call traps. It is how calls are ended anywhere on request (`--crash-every`), and how tests cut them off.
//!
//! What is there already stays, byte for byte, and runs as long as the number is zero; only the beginning of a call
//! chooses between the two. Calls between copied functions stay among the copies, and so do calls through tables, of
//! which there is a second one for that. They lead back to the plain code where the module changes tables while it runs
//! (`table.init`, `table.copy`) or gives them to others.

use std::convert::Infallible;
use std::ops::Range;

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, Instruction, MemArg, NameMap, NameSection, RawSection, TableSection, ValType,
};
use wasmparser::{
    CustomSectionReader, ElementKind, Export, ExternalKind, FunctionBody, KnownCustom, Name, NameSectionReader,
    Operator, Parser, Payload,
};

use crate::sections::{Error, Rewriting, Sections, rewrite};
use crate::{Invalid, OffsetMap};

/// What the number of instructions is exported as: an `i64`, mutable. Zero: nothing is counted.
pub const COUNTDOWN_EXPORT: &str = "nook_countdown";

type Result<T, E = Error> = std::result::Result<T, E>;

/// A module that counts on request.
#[derive(Clone, Debug)]
pub struct Counting {
    /// The module.
    pub wasm: Vec<u8>,
    /// Where its code comes from: that of the copies too.
    pub offsets: OffsetMap,
    /// Which of its functions are copies.
    pub copies: Copies,
}

/// Functions that are copies of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Their indices.
    pub functions: Range<u32>,
    /// How far each is behind the one that it is a copy of, which is no copy.
    pub behind: u32,
}

impl Copies {
    /// Returns the function of the original that this one is, or is a copy of.
    pub fn original(&self, function: u32) -> u32 {
        if self.functions.contains(&function) { function.saturating_sub(self.behind) } else { function }
    }
}

impl Counting {
    /// Adds the copies to a valid module with a memory. `wrappers_from` is the first of its last functions that begin
    /// and end calls, and are no part of one: they are not copied, and choose between the others and their copies.
    /// Without such functions ([`u32::MAX`]) each exported function gets one.
    ///
    /// The number is in a mutable global `i64` that the module exports as `nook_countdown`: a call that begins with
    /// *n* there traps before its *n*th instruction, with 0 there afterwards.
    ///
    /// # Errors
    /// If the module is not valid.
    pub fn of(wasm: &[u8], wrappers_from: u32) -> Result<Self, Invalid> {
        let sections = Sections::of(wasm, crate::rewritten_features())?;
        Ok(Writer::write(Shape::of(sections, wrappers_from).map_err(Error::from)?)?)
    }
}

/// What has to be known of a module.
struct Shape<'a> {
    sections: Sections<'a>,
    /// Functions that are copied.
    copied: Range<u32>,
    globals: u32,
    tables: u32,
    /// Tables that stay as they are in an instance, so that a second one can be kept for the copies.
    constant_tables: Vec<u32>,
    /// Functions that get their own choice: the export's number, and the function's.
    chosen: Vec<(usize, u32)>,
}

impl<'a> Shape<'a> {
    fn of(sections: Sections<'a>, wrappers_from: u32) -> wasmparser::Result<Self> {
        let imported = |kind| sections.imported(kind);
        let globals = imported(ExternalKind::Global) + sections.globals.len() as u32;
        let tables = imported(ExternalKind::Table) + sections.tables.len() as u32;
        let copied = imported(ExternalKind::Func)..wrappers_from.min(sections.functions.len() as u32);
        let exported = |kind| sections.exports.iter().enumerate().filter(move |(_, export)| export.kind == kind);
        let given = |table: u32| {
            table < imported(ExternalKind::Table)
                || exported(ExternalKind::Table).any(|(_, export)| export.index == table)
        };
        let tables_change = changes_tables(&sections)?;
        let constant_tables = (0..tables).filter(|table| !tables_change && !given(*table)).collect();
        let chosen = exported(ExternalKind::Func).map(|(number, export)| (number, export.index));
        let chosen = chosen.filter(|(_, function)| copied.contains(function)).collect();
        Ok(Shape { copied, globals, tables, constant_tables, chosen, sections })
    }

    fn copy_of(&self, function: u32) -> u32 {
        if self.copied.contains(&function) {
            self.sections.functions.len() as u32 - self.copied.start + function
        } else {
            function
        }
    }

    fn table_of_copies(&self, table: u32) -> u32 {
        let number = self.constant_tables.iter().position(|&constant| constant == table);
        number.map_or(table, |number| self.tables + number as u32)
    }

    /// Calls a function or its copy, with its arguments on the operand stack.
    fn choice(&self, function: u32) -> [Instruction<'static>; 7] {
        [
            Instruction::GlobalGet(self.globals),
            Instruction::I64Eqz,
            Instruction::If(BlockType::FunctionType(self.sections.functions[function as usize])),
            Instruction::Call(function),
            Instruction::Else,
            Instruction::Call(self.copy_of(function)),
            Instruction::End,
        ]
    }

    /// Returns the code before each instruction of a copy. At zero it reads where no memory is, at all other times
    /// address 0, so that no block ends here and the compiler keeps what it knows.
    fn countdown(&self) -> [Instruction<'static>; 10] {
        [
            Instruction::GlobalGet(self.globals),
            Instruction::I64Const(1),
            Instruction::I64Sub,
            Instruction::GlobalSet(self.globals),
            Instruction::I32Const(0),
            Instruction::GlobalGet(self.globals),
            Instruction::I64Eqz,
            Instruction::I32Sub,
            Instruction::I32Load8U(MemArg { offset: 0, align: 0, memory_index: 0 }),
            Instruction::Drop,
        ]
    }
}

fn changes_tables(sections: &Sections<'_>) -> wasmparser::Result<bool> {
    for body in &sections.bodies {
        for operator in body.code.get_operators_reader()? {
            let changes = matches!(
                operator?,
                Operator::TableInit { .. }
                    | Operator::TableCopy { .. }
                    | Operator::TableSet { .. }
                    | Operator::TableFill { .. }
                    | Operator::TableGrow { .. }
            );
            if changes {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Names what the copies have in place of what the originals have.
struct Copying<'s, 'a>(&'s Shape<'a>);

impl Reencode for Copying<'_, '_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32> {
        Ok(self.0.copy_of(function))
    }

    fn table_index(&mut self, table: u32) -> Result<u32> {
        Ok(self.0.table_of_copies(table))
    }
}

/// Names everything as it is.
struct Verbatim;

impl Reencode for Verbatim {
    type Error = Infallible;
}

/// Where in a new body an instruction begins, and where in the original module it was.
type Positions = Vec<(usize, Option<usize>)>;

struct Writer<'a> {
    shape: Shape<'a>,
    code: CodeSection,
    placed: Vec<Positions>,
}

impl<'a> Writer<'a> {
    fn write(shape: Shape<'a>) -> Result<Counting> {
        let mut writer = Writer { shape, code: CodeSection::new(), placed: Vec::new() };
        let bodies: Vec<_> = writer.shape.sections.bodies.iter().map(|body| body.code.clone()).collect();
        let (copied, wrappers) = bodies.split_at(writer.shape.copied.len());
        for body in copied {
            writer.plain(body)?;
        }
        for body in wrappers {
            writer.wrapper(body)?;
        }
        for body in copied {
            writer.copy(body)?;
        }
        for at in 0..writer.shape.chosen.len() {
            writer.chooser(at);
        }
        let wasm = rewrite(&writer.shape.sections, &writer)?;
        let mut offsets = OffsetMap::default();
        let mut placed = writer.placed.iter();
        for payload in Parser::new(0).parse_all(&wasm) {
            let Payload::CodeSectionEntry(body) = payload? else { continue };
            let start = body.range().start;
            for &(at, original) in placed.next().into_iter().flatten() {
                offsets.push(start + at, original);
            }
        }
        let shape = writer.shape;
        let (first, count) = (shape.sections.functions.len() as u32, shape.copied.len() as u32);
        let copies = Copies { functions: first..first + count, behind: first - shape.copied.start };
        Ok(Counting { wasm, offsets, copies })
    }

    fn plain(&mut self, body: &FunctionBody<'a>) -> Result<()> {
        let range = body.range();
        self.code.raw(&self.shape.sections.wasm[range.clone()]);
        let mut places = Positions::new();
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (_, at) = operator?;
            places.push((at - range.start, Some(at)));
        }
        self.placed.push(places);
        Ok(())
    }

    /// Builds a function that begins and ends calls.
    fn wrapper(&mut self, body: &FunctionBody<'a>) -> Result<()> {
        let mut function = Verbatim.new_function_with_parsed_locals(body)?;
        let mut places = Positions::new();
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, at) = operator?;
            places.push((function.byte_len(), Some(at)));
            match operator {
                Operator::Call { function_index } if self.shape.copied.contains(&function_index) => {
                    for instruction in self.shape.choice(function_index) {
                        function.instruction(&instruction);
                    }
                }
                operator => {
                    function.instruction(&Verbatim.instruction(operator)?);
                }
            }
        }
        self.code.function(&function);
        self.placed.push(places);
        Ok(())
    }

    fn copy(&mut self, body: &FunctionBody<'a>) -> Result<()> {
        let mut copying = Copying(&self.shape);
        let countdown = self.shape.countdown();
        let mut function = copying.new_function_with_parsed_locals(body)?;
        let mut places = Positions::new();
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, at) = operator?;
            places.push((function.byte_len(), Some(at)));
            for instruction in &countdown {
                function.instruction(instruction);
            }
            function.instruction(&copying.instruction(operator)?);
        }
        self.code.function(&function);
        self.placed.push(places);
        Ok(())
    }

    /// Builds what is exported in a function's place.
    fn chooser(&mut self, number: usize) {
        let (_, chosen) = self.shape.chosen[number];
        let mut function = Function::new([]);
        for parameter in 0..self.shape.sections.function_type(chosen).params().len() as u32 {
            function.instruction(&Instruction::LocalGet(parameter));
        }
        for instruction in self.shape.choice(chosen) {
            function.instruction(&instruction);
        }
        function.instruction(&Instruction::End);
        self.code.function(&function);
        self.placed.push(vec![(0, None)]);
    }
}

impl Rewriting for Writer<'_> {
    fn functions(&self, section: &mut FunctionSection) {
        let chosen = self.shape.chosen.iter().map(|(_, function)| *function);
        for function in self.shape.copied.clone().chain(chosen) {
            section.function(self.shape.sections.functions[function as usize]);
        }
    }

    fn tables(&self, section: &mut TableSection) -> Result<()> {
        let imported = self.shape.tables - self.shape.sections.tables.len() as u32;
        for (table, number) in self.shape.sections.tables.iter().zip(imported..) {
            if self.shape.constant_tables.contains(&number) {
                section.table(Verbatim.table_type(table.ty)?);
            }
        }
        Ok(())
    }

    fn globals(&self, section: &mut GlobalSection) {
        let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
        section.global(ty, &ConstExpr::i64_const(0));
    }

    fn export<'e>(&self, number: usize, export: Export<'e>) -> Export<'e> {
        let choosers = (self.shape.sections.functions.len() + self.shape.copied.len()) as u32;
        let chooser = self.shape.chosen.iter().position(|(export, _)| *export == number);
        Export { index: chooser.map_or(export.index, |chooser| choosers + chooser as u32), ..export }
    }

    fn exports(&self, section: &mut ExportSection) {
        section.export(COUNTDOWN_EXPORT, ExportKind::Global, self.shape.globals);
    }

    fn elements(&self, section: &mut ElementSection) -> Result<()> {
        for element in &self.shape.sections.elements {
            let ElementKind::Active { table_index, .. } = &element.kind else { continue };
            if self.shape.constant_tables.contains(&table_index.unwrap_or(0)) {
                Copying(&self.shape).parse_element(section, element.clone())?;
            }
        }
        Ok(())
    }

    fn code(&self) -> Option<&CodeSection> {
        Some(&self.code)
    }

    fn custom(&self, custom: &CustomSectionReader<'_>, module: &mut wasm_encoder::Module, wasm: &[u8]) {
        match custom.as_known() {
            KnownCustom::Name(names) => module.section(&self.names(names)),
            _ => module.section(&RawSection { id: 0, data: &wasm[custom.range()] }),
        };
    }
}

impl Writer<'_> {
    /// Names each copy as its original.
    fn names(&self, names: NameSectionReader<'_>) -> NameSection {
        let mut functions = NameMap::new();
        // A damaged name section says nothing; it is not part of what is validated.
        for name in names.into_iter().map_while(wasmparser::Result::ok) {
            let Name::Function(map) = name else { continue };
            let named: Vec<_> = map.into_iter().map_while(wasmparser::Result::ok).collect();
            let copied = named.iter().filter(|naming| self.shape.copied.contains(&naming.index));
            functions = NameMap::new();
            named.iter().for_each(|naming| functions.append(naming.index, naming.name));
            copied.for_each(|naming| functions.append(self.shape.copy_of(naming.index), naming.name));
        }
        let mut section = NameSection::new();
        section.functions(&functions);
        section
    }
}
