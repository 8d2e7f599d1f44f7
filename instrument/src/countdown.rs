//! A module with a second copy of its code that counts: before each instruction a number goes down, and at zero the
//! call traps. It is how calls are ended anywhere on request (`--crash-every`), and how tests cut them off.
//!
//! What is there already stays, byte for byte, and runs as long as the number is zero; only the beginning of a call
//! chooses between the two. Calls between copied functions stay among the copies, and so do calls through tables, of
//! which there is a second one for that. They lead back to the plain code where the module changes tables while it runs
//! (`table.init`, `table.copy`) or gives them to others.

use std::convert::Infallible;
use std::ops::Range;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, Instruction, MemArg, NameMap, NameSection, RawSection, TableSection, ValType,
};
use wasmparser::{
    Element, ElementKind, ExternalKind, FunctionBody, KnownCustom, Name, NameSectionReader, Operator, Parser, Payload,
    TypeRef,
};

use crate::{Invalid, OffsetMap};

/// What the number of instructions is exported as: an `i64`, mutable. Zero: nothing is counted.
pub const COUNTDOWN_EXPORT: &str = "nook_countdown";

type Result<T, E = reencode::Error<Infallible>> = std::result::Result<T, E>;

/// A module that counts on request.
#[derive(Clone, Debug)]
pub struct Counting {
    /// The module.
    pub wasm: Vec<u8>,
    /// Where its code comes from: that of the copies too.
    pub offsets: OffsetMap,
    /// Functions that are copies, and how far each is behind the one that it is a copy of.
    copies: Range<u32>,
    behind: u32,
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
        let counting = Shape::of(wasm, wrappers_from).map_err(reencode::Error::from).and_then(Writer::write);
        counting.map_err(|error| Invalid(error.to_string()))
    }

    /// The function of the original that this one is, or is a copy of.
    pub fn original(&self, function: u32) -> u32 {
        if self.copies.contains(&function) { function - self.behind } else { function }
    }
}

/// What has to be known of a module.
struct Shape<'a> {
    wasm: &'a [u8],
    /// Types of functions, imported ones first.
    functions: Vec<u32>,
    /// Parameters of each type.
    parameters: Vec<u32>,
    /// Functions that are copied.
    copied: Range<u32>,
    globals: u32,
    tables: u32,
    /// Tables that stay as they are in an instance, so that a second one can be kept for the copies.
    constant_tables: Vec<u32>,
    /// Functions that get a choice of their own, with the export's names.
    chosen: Vec<(&'a str, u32)>,
    bodies: Vec<FunctionBody<'a>>,
}

impl<'a> Shape<'a> {
    fn of(wasm: &'a [u8], wrappers_from: u32) -> wasmparser::Result<Self> {
        let (mut imported, mut globals, mut tables) = (0, 0, 0);
        let (mut functions, mut parameters, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        let (mut given_tables, mut exported) = (Vec::new(), Vec::new());
        let mut tables_change = false;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    for ty in types.into_iter_err_on_gc_types() {
                        parameters.push(ty?.params().len() as u32);
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                                functions.push(ty);
                                imported += 1;
                            }
                            TypeRef::Global(_) => globals += 1,
                            TypeRef::Table(_) => {
                                given_tables.push(tables);
                                tables += 1;
                            }
                            TypeRef::Memory(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        functions.push(ty?);
                    }
                }
                Payload::TableSection(section) => tables += section.count(),
                Payload::GlobalSection(section) => globals += section.count(),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        match export.kind {
                            ExternalKind::Func => exported.push((export.name, export.index)),
                            ExternalKind::Table => given_tables.push(export.index),
                            _ => {}
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader()? {
                        tables_change |= matches!(
                            operator?,
                            Operator::TableInit { .. }
                                | Operator::TableCopy { .. }
                                | Operator::TableSet { .. }
                                | Operator::TableFill { .. }
                                | Operator::TableGrow { .. }
                        );
                    }
                    bodies.push(body);
                }
                _ => {}
            }
        }
        let copied = imported..wrappers_from.min(functions.len() as u32);
        let constant_tables = (0..tables).filter(|table| !tables_change && !given_tables.contains(table)).collect();
        let chosen = exported.into_iter().filter(|(_, function)| copied.contains(function)).collect();
        Ok(Shape { wasm, functions, parameters, copied, globals, tables, constant_tables, chosen, bodies })
    }

    fn copy_of(&self, function: u32) -> u32 {
        if self.copied.contains(&function) {
            self.functions.len() as u32 - self.copied.start + function
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
            Instruction::If(BlockType::FunctionType(self.functions[function as usize])),
            Instruction::Call(function),
            Instruction::Else,
            Instruction::Call(self.copy_of(function)),
            Instruction::End,
        ]
    }

    /// Before each instruction of a copy. At zero it reads where no memory is, at all other times address 0, so that no
    /// block ends here and the compiler keeps what it knows.
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
struct Plain;

impl Reencode for Plain {
    type Error = Infallible;
}

/// Where in a new body an instruction begins, and where in the original module it was.
type Places = Vec<(usize, Option<usize>)>;

struct Writer<'a> {
    shape: Shape<'a>,
    code: CodeSection,
    placed: Vec<Places>,
}

impl<'a> Writer<'a> {
    fn write(shape: Shape<'a>) -> Result<Counting> {
        let mut writer = Writer { shape, code: CodeSection::new(), placed: Vec::new() };
        let bodies = std::mem::take(&mut writer.shape.bodies);
        let wrappers_at = writer.shape.copied.len();
        for body in &bodies[..wrappers_at] {
            writer.plain(body)?;
        }
        for body in &bodies[wrappers_at..] {
            writer.wrapper(body)?;
        }
        for body in &bodies[..wrappers_at] {
            writer.copy(body)?;
        }
        for at in 0..writer.shape.chosen.len() {
            writer.chooser(at);
        }
        let wasm = writer.module()?;
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
        let (first, count) = (shape.functions.len() as u32, shape.copied.len() as u32);
        Ok(Counting { wasm, offsets, copies: first..first + count, behind: first - shape.copied.start })
    }

    fn plain(&mut self, body: &FunctionBody<'a>) -> Result<()> {
        let range = body.range();
        self.code.raw(&self.shape.wasm[range.clone()]);
        let mut places = Places::new();
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (_, at) = operator?;
            places.push((at - range.start, Some(at)));
        }
        self.placed.push(places);
        Ok(())
    }

    /// A function that begins and ends calls.
    fn wrapper(&mut self, body: &FunctionBody<'a>) -> Result<()> {
        let mut function = Plain.new_function_with_parsed_locals(body)?;
        let mut places = Places::new();
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
                    function.instruction(&Plain.instruction(operator)?);
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
        let mut places = Places::new();
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

    /// What is exported in a function's place.
    fn chooser(&mut self, number: usize) {
        let (_, chosen) = self.shape.chosen[number];
        let mut function = Function::new([]);
        for parameter in 0..self.shape.parameters[self.shape.functions[chosen as usize] as usize] {
            function.instruction(&Instruction::LocalGet(parameter));
        }
        for instruction in self.shape.choice(chosen) {
            function.instruction(&instruction);
        }
        function.instruction(&Instruction::End);
        self.code.function(&function);
        self.placed.push(vec![(0, None)]);
    }

    /// The sections, each with what is added at its end, so that no index changes.
    fn module(&self) -> Result<Vec<u8>> {
        let shape = &self.shape;
        let mut module = wasm_encoder::Module::new();
        let mut globals_written = false;
        for payload in Parser::new(0).parse_all(shape.wasm) {
            let payload = payload?;
            // These come after the globals, of which the module may have none.
            let after_globals = matches!(
                payload,
                Payload::ExportSection(_)
                    | Payload::StartSection { .. }
                    | Payload::ElementSection(_)
                    | Payload::DataCountSection { .. }
                    | Payload::CodeSectionStart { .. }
                    | Payload::DataSection(_)
                    | Payload::End(_)
            );
            if after_globals && !globals_written {
                globals_written = true;
                module.section(&self.globals(None)?);
            }
            match payload {
                Payload::FunctionSection(functions) => {
                    let mut section = FunctionSection::new();
                    Plain.parse_function_section(&mut section, functions)?;
                    let chosen = shape.chosen.iter().map(|(_, function)| *function);
                    for function in shape.copied.clone().chain(chosen) {
                        section.function(shape.functions[function as usize]);
                    }
                    module.section(&section);
                }
                Payload::TableSection(tables) => {
                    let mut section = TableSection::new();
                    Plain.parse_table_section(&mut section, tables.clone())?;
                    let imported = shape.tables - tables.count();
                    for (number, table) in tables.into_iter().enumerate() {
                        let table = table?;
                        if shape.constant_tables.contains(&(imported + number as u32)) {
                            section.table(Plain.table_type(table.ty)?);
                        }
                    }
                    module.section(&section);
                }
                Payload::GlobalSection(globals) => {
                    globals_written = true;
                    module.section(&self.globals(Some(globals))?);
                }
                Payload::ExportSection(exports) => {
                    let mut section = ExportSection::new();
                    let mut chooser = (shape.functions.len() + shape.copied.len()) as u32;
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func && shape.copied.contains(&export.index) {
                            section.export(export.name, ExportKind::Func, chooser);
                            chooser += 1;
                        } else {
                            Plain.parse_export(&mut section, export)?;
                        }
                    }
                    section.export(COUNTDOWN_EXPORT, ExportKind::Global, shape.globals);
                    module.section(&section);
                }
                Payload::ElementSection(elements) => {
                    let mut section = ElementSection::new();
                    Plain.parse_element_section(&mut section, elements.clone())?;
                    for element in elements {
                        self.elements_of_copies(&mut section, element?)?;
                    }
                    module.section(&section);
                }
                Payload::CodeSectionStart { .. } => {
                    module.section(&self.code);
                }
                Payload::CustomSection(custom) => match custom.as_known() {
                    KnownCustom::Name(names) => {
                        module.section(&self.names(names));
                    }
                    _ => {
                        module.section(&RawSection { id: 0, data: &shape.wasm[custom.range()] });
                    }
                },
                other => {
                    if let Some((id, range)) = other.as_section() {
                        module.section(&RawSection { id, data: &shape.wasm[range] });
                    }
                }
            }
        }
        Ok(module.finish())
    }

    fn globals(&self, own: Option<wasmparser::GlobalSectionReader<'_>>) -> Result<GlobalSection> {
        let mut section = GlobalSection::new();
        if let Some(own) = own {
            Plain.parse_global_section(&mut section, own)?;
        }
        let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
        section.global(ty, &ConstExpr::i64_const(0));
        Ok(section)
    }

    fn elements_of_copies(&self, section: &mut ElementSection, element: Element<'_>) -> Result<()> {
        match element.kind {
            ElementKind::Active { table_index, .. }
                if self.shape.constant_tables.contains(&table_index.unwrap_or(0)) =>
            {
                Copying(&self.shape).parse_element(section, element)
            }
            _ => Ok(()),
        }
    }

    /// A copy is called as what it is a copy of.
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
