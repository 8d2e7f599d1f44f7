//! The rewritten module: the original's sections, each with what is added at its end, so that no index changes.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType,
    Instruction, MemArg, MemorySection, MemoryType, RawSection, RefType, TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{CustomSectionReader, Export, ExternalKind, Validator};

use super::code::{self, Names};
use super::deadline::cost;
use super::layout::{
    GLOBAL_EXPORT, LOG_BYTES, LOG_EXPORT, MODE_EXPORT, Mode, SAVED_GLOBAL_BYTES, SAVED_GLOBALS, TOP_EXPORT,
    first_record,
};
use super::module::Shape;
use super::planted::{Planted, flawed};
use super::rewrite::{Module, Part, Rewritten, rewrite};
use super::values::Analysis;
use super::{Effect, Instrumented, Options, Refused};
use crate::deadline::{ASK_EXPORT, Check, Placed, Question, asking, offset_map, settle};
use crate::sections::{self, Rewriting, Sections};

/// An export that gets a wrapper: its name and the function behind it.
struct Entry<'a> {
    /// The export's number.
    export: usize,
    name: &'a str,
    function: u32,
}

struct Writer<'a> {
    wasm: &'a [u8],
    shape: Shape<'a>,
    names: Names,
    question: Question,
    entries: Vec<Entry<'a>>,
    planted: Planted,
}

pub(super) fn instrument<'a>(wasm: &'a [u8], options: &Options<'_>) -> Result<Instrumented, Refused> {
    let mut shape = Shape::of(wasm)?;
    let code_bytes_before = shape.sections.code_bytes();
    let bodies = std::mem::take(&mut shape.sections.bodies);
    let Sections { types, functions, tables, globals, exports, .. } = &shape.sections;
    let globals = globals.len() as u32;
    let asks = asking(&shape.sections, &bodies)?;
    let question = Question { table: tables.len() as u32, answer: types.len() as u32 + 1 };
    let names = Names {
        top: globals,
        mode: globals + 1,
        stack_limit: globals + 2,
        log_range: functions.len() as u32,
        ask: functions.len() as u32 + 1,
        first_record: first_record(shape.mutable_globals().count()),
        kept_below: options.private_bytes.filter(|_| options.private_is_kept),
    };
    let functions = exports.iter().enumerate().filter(|(_, export)| export.kind == ExternalKind::Func);
    let entry =
        |(number, export): (usize, &Export<'a>)| Entry { export: number, name: export.name, function: export.index };
    let entries: Vec<_> = functions.map(entry).collect();
    let mut effect = Effect {
        transactions: entries.iter().filter(|entry| Shape::is_transaction(entry.name)).count(),
        own_frames_known: shape.stack.is_some(),
        ..Effect::default()
    };
    let module = Module {
        names,
        imported_functions: shape.imported_functions,
        memory_bytes: shape.memory_bytes,
        private_bytes: options.private_bytes.map_or(shape.memory_bytes, u64::from),
        planted: options.planted(),
    };
    let writer = Writer { wasm, shape, names, question, entries, planted: options.planted() };
    let range_logger = (names.log_range, code::log_range(&names).len());
    let (mut functions, mut costs, mut checks) = (Vec::new(), Vec::new(), Vec::new());
    let mut records_by_function = Vec::new();
    for ((number, body), asks) in bodies.into_iter().enumerate().zip(asks) {
        let function = writer.shape.imported_functions + number as u32;
        let declared = body.code.get_locals_reader()?.into_iter().collect::<Result<Vec<_>, _>>()?;
        let parameters = writer.shape.sections.function_type(function).params().len() as u32;
        let locals = parameters + declared.iter().map(|(count, _)| count).sum::<u32>();
        let scratch = options.scratch.map_or(&[][..], |scratch| scratch.of(number));
        let analysis = Analysis::of(body, &writer.shape, function, scratch, options.planted())?;
        let traps = !asks || flawed!(module.planted, TrapInSharedFunction);
        let check = if traps { Check::Traps } else { Check::Asks(names.ask) };
        let records_before = effect.records + effect.hoisted;
        let rewritten = rewrite(&module, &analysis, locals, check, &mut effect);
        let records = effect.records + effect.hoisted - records_before;
        records_by_function.extend((records > 0).then_some((function, records)));
        costs.push(cost(&rewritten, &analysis, module.imported_functions, range_logger));
        functions.push(writer.function(&declared, &analysis, &rewritten)?);
        checks.push(check);
    }
    let mut code = CodeSection::new();
    for ((function, check), needed) in functions.iter_mut().zip(checks).zip(settle(&costs)) {
        if needed && !flawed!(module.planted, FunctionWithoutCheck) {
            function.insert(check);
            effect.entry_checks += 1;
        }
        code.raw(&function.body);
    }
    writer.added_functions(&mut code);
    let finished = Finished { writer: &writer, code };
    let wasm = sections::rewrite(&writer.shape.sections, &finished)?;
    let map = offset_map(&wasm, &functions)?;
    Validator::new_with_features(crate::rewritten_features()).validate_all(&wasm)?;
    effect.code_bytes_before = code_bytes_before;
    effect.code_bytes_after = finished.code.byte_len();
    Ok(Instrumented { wasm, effect, offsets: map, wrappers_from: names.ask + 1, records_by_function })
}

impl Writer<'_> {
    fn function(
        &self,
        declared: &[(u32, wasmparser::ValType)],
        analysis: &Analysis<'_>,
        rewritten: &Rewritten,
    ) -> Result<Placed, Refused> {
        let mut locals = Vec::with_capacity(declared.len() + rewritten.added_locals.len());
        for &(count, ty) in declared {
            locals.push((count, RoundtripReencoder.val_type(ty)?));
        }
        locals.extend(rewritten.added_locals.iter().map(|&ty| (1, ty)));
        let mut body = Function::new(locals);
        let mut offsets = Vec::new();
        // Added code belongs to the instruction that follows.
        offsets.push((body.byte_len(), analysis.offsets.first().copied()));
        let reload = rewritten.top.map(|top| [Instruction::GlobalGet(self.names.top), Instruction::LocalSet(top)]);
        let emit = |body: &mut Function, code: &[Instruction<'_>]| {
            for instruction in code {
                body.instruction(instruction);
            }
        };
        emit(&mut body, reload.as_ref().map_or(&[], |code| &code[..]));
        let check_at = body.byte_len();
        for part in &rewritten.parts {
            match part {
                Part::Added(code) => emit(&mut body, code),
                Part::Reload => emit(&mut body, reload.as_ref().map_or(&[], |code| &code[..])),
                Part::Original(at) => {
                    let (from, to) = (analysis.offsets[*at], analysis.offsets[*at + 1]);
                    body.raw(self.wasm[from..to].iter().copied());
                    offsets.push((body.byte_len(), analysis.offsets.get(*at + 1).copied()));
                }
            }
        }
        Ok(Placed { body: body.into_raw_body(), check_at, offsets })
    }

    /// Adds the range logger, the question to the host, and one wrapper for each exported function.
    fn added_functions(&self, code: &mut CodeSection) {
        let helpers = [(Some(ValType::I32), code::log_range(&self.names)), (None, self.question.code().to_vec())];
        for (local, body) in helpers {
            let mut function = Function::new(local.map(|ty| (1, ty)));
            for instruction in body {
                function.instruction(&instruction);
            }
            code.function(&function);
        }
        for entry in &self.entries {
            code.function(&self.wrapper(entry));
        }
    }

    /// Begins a call, unless one is running already: then this is part of it.
    fn wrapper(&self, entry: &Entry<'_>) -> Function {
        let names = &self.names;
        let parameters = self.shape.sections.function_type(entry.function).params().len() as u32;
        let mut body = Function::new([]);
        let call = |body: &mut Function| {
            for parameter in 0..parameters {
                body.instruction(&Instruction::LocalGet(parameter));
            }
            body.instruction(&Instruction::Call(entry.function));
        };
        let set = |body: &mut Function, global, value: i32| {
            body.instruction(&Instruction::I32Const(value)).instruction(&Instruction::GlobalSet(global));
        };
        let (running, returned) = if Shape::is_transaction(entry.name) {
            (Mode::Transaction, Mode::TransactionReturned)
        } else {
            (Mode::Plain, Mode::PlainReturned)
        };
        // Transaction and plain are 1 and 2.
        body.instruction(&Instruction::GlobalGet(names.mode))
            .instruction(&Instruction::I32Const(Mode::Transaction as i32))
            .instruction(&Instruction::I32Sub)
            .instruction(&Instruction::I32Const(2))
            .instruction(&Instruction::I32LtU)
            .instruction(&Instruction::If(wasm_encoder::BlockType::Empty));
        call(&mut body);
        body.instruction(&Instruction::Return).instruction(&Instruction::End);
        if let Some(stack) = self.shape.stack {
            // With a stack pointer in the data, what is below it would be more than a stack.
            body.instruction(&Instruction::GlobalGet(stack.pointer))
                .instruction(&Instruction::I32Const(stack.top.cast_signed()))
                .instruction(&Instruction::I32GtU)
                .instruction(&Instruction::If(wasm_encoder::BlockType::Empty))
                .instruction(&Instruction::Unreachable)
                .instruction(&Instruction::End)
                .instruction(&Instruction::GlobalGet(stack.pointer))
                .instruction(&Instruction::GlobalSet(names.stack_limit));
        }
        if running == Mode::Transaction && !flawed!(self.planted, ForgetGlobals) {
            for (number, (global, ty)) in self.shape.mutable_globals().enumerate() {
                save_global(&mut body, number as u32, global, ty);
            }
        }
        set(&mut body, names.top, names.first_record.cast_signed());
        set(&mut body, names.mode, running as i32);
        call(&mut body);
        set(&mut body, names.mode, returned as i32);
        body.instruction(&Instruction::End);
        body
    }
}

/// The writer with all code.
struct Finished<'w, 'a> {
    writer: &'w Writer<'a>,
    code: CodeSection,
}

impl Rewriting for Finished<'_, '_> {
    fn types(&self, section: &mut TypeSection) {
        section.ty().function([ValType::I32, ValType::I32], []);
        section.ty().function([], [ValType::I32]);
        section.ty().function([], []);
    }

    fn functions(&self, section: &mut FunctionSection) {
        let sections = &self.writer.shape.sections;
        section.function(sections.types.len() as u32);
        section.function(self.writer.question.answer + 1);
        for entry in &self.writer.entries {
            section.function(sections.functions[entry.function as usize]);
        }
    }

    fn tables(&self, section: &mut TableSection) -> Result<(), sections::Error> {
        let element_type = RefType::FUNCREF;
        section.table(TableType { element_type, table64: false, minimum: 1, maximum: Some(1), shared: false });
        Ok(())
    }

    fn memories(&self, section: &mut MemorySection) {
        let pages = LOG_BYTES / 65536;
        let (memory64, shared, page_size_log2) = (false, false, None);
        section.memory(MemoryType { minimum: pages, maximum: Some(pages), memory64, shared, page_size_log2 });
    }

    fn globals(&self, section: &mut GlobalSection) {
        let top = self.writer.names.first_record;
        let limit = self.writer.shape.stack.map_or(0, |stack| stack.top);
        for initial in [top, Mode::Idle as u32, limit] {
            let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
            section.global(ty, &ConstExpr::i32_const(initial.cast_signed()));
        }
    }

    fn export<'e>(&self, number: usize, export: Export<'e>) -> Export<'e> {
        let wrapper = self.writer.entries.iter().position(|entry| entry.export == number);
        let index = wrapper.map_or(export.index, |wrapper| self.writer.names.ask + 1 + wrapper as u32);
        Export { index, ..export }
    }

    fn exports(&self, section: &mut ExportSection) {
        let names = &self.writer.names;
        section.export(LOG_EXPORT, ExportKind::Memory, 1);
        section.export(TOP_EXPORT, ExportKind::Global, names.top);
        section.export(MODE_EXPORT, ExportKind::Global, names.mode);
        section.export(ASK_EXPORT, ExportKind::Table, self.writer.question.table);
        for (number, (global, _)) in self.writer.shape.mutable_globals().enumerate() {
            section.export(&format!("{GLOBAL_EXPORT}{number}"), ExportKind::Global, global);
        }
    }

    fn code(&self) -> Option<&CodeSection> {
        Some(&self.code)
    }

    fn custom(&self, custom: &CustomSectionReader<'_>, module: &mut wasm_encoder::Module, wasm: &[u8]) {
        // Line tables of the original; the offset map leads to them.
        if !custom.name().starts_with(".debug_") {
            module.section(&RawSection { id: 0, data: &wasm[custom.range()] });
        }
    }
}

fn save_global(body: &mut Function, number: u32, global: u32, ty: wasmparser::ValType) {
    let at = MemArg { offset: u64::from(SAVED_GLOBALS + number * SAVED_GLOBAL_BYTES), align: 2, memory_index: 1 };
    body.instruction(&Instruction::I32Const(0)).instruction(&Instruction::GlobalGet(global));
    body.instruction(&match ty {
        wasmparser::ValType::I32 => Instruction::I32Store(at),
        wasmparser::ValType::I64 => Instruction::I64Store(at),
        wasmparser::ValType::F32 => Instruction::F32Store(at),
        wasmparser::ValType::F64 => Instruction::F64Store(at),
        wasmparser::ValType::V128 => Instruction::V128Store(at),
        wasmparser::ValType::Ref(_) => unreachable!("the module was validated without reference types"),
    });
}
