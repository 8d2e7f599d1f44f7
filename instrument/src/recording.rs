//! A module that says what it loads from memory that others write too, and what it stores there: what is needed to
//! record a run of a driver, and to run it again without its device.
//!
//! Before, behind, or in place of each access of its memory, code is added that compares the address with the
//! beginning of the shared part (host page, rings, DMA window), and calls a function of the host's if the access lies
//! in it:
//!
//! - a load gives the host what was loaded and goes on with what the host [returns](Border::Loaded): the same while a
//!   run is recorded, what was recorded when it is run again. So it does not matter who wrote it, nor when, and a
//!   device that writes meanwhile changes nothing;
//! - a store gives the host what [was stored](Border::Stored);
//! - a copy first says what it [will read](Border::Reads), and then what it [has copied](Border::Copied); what fills
//!   memory, and atomic read-modify-writes, say where they [have changed it](Border::Changed).
//!
//! The functions are in a table that the host fills, so that no index of the original changes. This is the last of all
//! rewritings: what the others have added is seen too (an undo log's reading of old values). The access of the checkers
//! is to the module before it.
//!
//! An access that begins below the shared part and ends in it is not seen, unless it is a bulk instruction's.

use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, Instruction, MemArg, RefType, TableSection, TableType,
    TypeSection, ValType,
};
use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload};

use crate::sections::{Error, Rewriting, Sections, rewrite};
use crate::{Invalid, OffsetMap};

mod access;

use access::{Access, Lane, Scalar, classify};

/// What the table of the host's functions is exported as.
pub const BORDER_EXPORT: &str = "nook_border";

/// The functions in the table, by their place in it. Addresses are bytes in the driver's memory, lengths bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Border {
    /// `(addr: i32, value: i64, kind: i32) -> i64`: it has loaded `value`, see [`LoadKind`], and goes on with what is
    /// returned.
    Loaded = 0,
    /// `(addr: i32, value: i64, width_bytes: i32)`: it has stored the low bytes of `value`.
    Stored = 1,
    /// `(addr: i32, len_bytes: i32)`: it is about to read there.
    Reads = 2,
    /// `(to: i32, from: i32, len_bytes: i32)`: it has copied, after it said that it reads; either may be private.
    Copied = 3,
    /// `(addr: i32, len_bytes: i32)`: it has changed memory there.
    Changed = 4,
}

/// How many functions the table has.
pub const BORDER_FUNCTIONS: u32 = 5;

/// What the third argument of [`Border::Loaded`] says: the width in bytes, and whether a narrow value was extended with
/// its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadKind {
    /// 1, 2, 4 or 8.
    pub width_bytes: u32,
    /// What is returned has to be extended with its sign, from this width to 64 bits; otherwise with zeros.
    pub signed: bool,
}

impl LoadKind {
    const SIGNED: u32 = 16;

    fn number(self) -> i32 {
        (self.width_bytes | if self.signed { Self::SIGNED } else { 0 }).cast_signed()
    }

    /// Returns the kind that the number is.
    pub fn of(number: i32) -> Self {
        let number = number.cast_unsigned();
        LoadKind { width_bytes: number & 15, signed: number & Self::SIGNED != 0 }
    }

    /// Returns the value that is loaded where these bytes are, in their lowest places.
    pub fn extended(self, bytes: u64) -> u64 {
        let unused = 64 - 8 * self.width_bytes;
        let high = bytes << unused;
        if self.signed { (high.cast_signed() >> unused).cast_unsigned() } else { high >> unused }
    }
}

/// A module that says what it loads and stores.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The module.
    pub wasm: Vec<u8>,
    /// Where its code comes from.
    pub offsets: OffsetMap,
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// Makes a valid module say what it loads from its first memory at `shared_from` and beyond, and what it stores there.
///
/// # Errors
/// If it is not valid.
pub fn with_recording(wasm: &[u8], shared_from: u32) -> Result<Recording, Invalid> {
    let sections = Sections::of(wasm, crate::rewritten_features())?;
    let types = sections.types.len() as u32;
    let table = sections.imported(ExternalKind::Table) + sections.tables.len() as u32;
    let names = Names { types, table, shared_from: shared_from.cast_signed() };
    Ok(write(&sections, names)?)
}

fn write(sections: &Sections<'_>, names: Names) -> Result<Recording> {
    let (mut code, mut placed) = (CodeSection::new(), Vec::new());
    let imported = sections.imported(ExternalKind::Func);
    for (body, function) in sections.bodies.iter().zip(imported..) {
        let parameters = sections.function_type(function).params().len() as u32;
        placed.push(add(names, &body.code, parameters, &mut code)?);
    }
    let wasm = rewrite(sections, &Writer { names, code })?;
    let (mut offsets, mut placed) = (OffsetMap::default(), placed.into_iter());
    for payload in Parser::new(0).parse_all(&wasm) {
        let Payload::CodeSectionEntry(body) = payload? else { continue };
        for (at, original) in placed.next().into_iter().flatten() {
            offsets.push(body.range().start + at, Some(original));
        }
    }
    Ok(Recording { wasm, offsets })
}

/// What was added, by its index.
#[derive(Clone, Copy)]
struct Names {
    /// The first of the types of the host's functions, in the order of [`Border`].
    types: u32,
    table: u32,
    shared_from: i32,
}

/// Names everything as it is.
struct Verbatim;

impl Reencode for Verbatim {
    type Error = Infallible;
}

/// Locals that are added to a function, by their index.
#[derive(Clone, Copy)]
struct Locals {
    addr: u32,
    from: u32,
    len: u32,
    i32: u32,
    i64: u32,
    other_i64: u32,
    f32: u32,
    f64: u32,
    v128: u32,
}

/// Writes one function again. Returns where in its body each instruction of the original begins, and where it was.
fn add(names: Names, body: &FunctionBody<'_>, parameters: u32, code: &mut CodeSection) -> Result<Vec<(usize, usize)>> {
    let mut declared = Vec::new();
    let mut count = parameters;
    for local in body.get_locals_reader()? {
        let (number, ty) = local?;
        declared.push((number, Verbatim.val_type(ty)?));
        count += number;
    }
    declared.extend([(4, ValType::I32), (2, ValType::I64), (1, ValType::F32), (1, ValType::F64), (1, ValType::V128)]);
    let [addr, from, len, i32, i64, other_i64, f32, f64, v128] = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|at| count + at);
    let locals = Locals { addr, from, len, i32, i64, other_i64, f32, f64, v128 };
    let mut walk = Walk { names, locals, function: Function::new(declared) };
    let mut places = Vec::new();
    for operator in body.get_operators_reader()?.into_iter_with_offsets() {
        let (operator, at) = operator?;
        places.push((walk.function.byte_len(), at));
        match classify(&operator) {
            Some(access) => walk.access(access, operator)?,
            None => walk.put([Verbatim.instruction(operator)?]),
        }
    }
    code.function(&walk.function);
    Ok(places)
}

struct Walk {
    names: Names,
    locals: Locals,
    function: Function,
}

impl Walk {
    fn put<'i>(&mut self, code: impl IntoIterator<Item = Instruction<'i>>) {
        code.into_iter().for_each(|instruction| {
            self.function.instruction(&instruction);
        });
    }

    fn access(&mut self, access: Access, operator: Operator<'_>) -> Result<()> {
        match access {
            Access::Load { scalar, at, kind } => {
                self.load(scalar, at, kind, Verbatim.instruction(operator)?);
            }
            Access::Store { scalar, at, width_bytes } => {
                self.store(scalar, at, width_bytes, Verbatim.instruction(operator)?);
            }
            Access::LoadVector { at } => self.load_vector(at),
            Access::StoreVector { at } => self.store_vector(at),
            Access::LoadThen { scalar, at, kind, load, then } => {
                self.load(scalar, at, kind, load);
                self.put(then);
            }
            Access::LoadIntoZeros { scalar, at, kind, load } => {
                self.load(scalar, at, kind, load);
                if scalar == Scalar::I32 {
                    self.put([Instruction::I64ExtendI32U]);
                }
                let i64 = self.locals.other_i64;
                self.put([
                    Instruction::LocalSet(i64),
                    Instruction::V128Const(0),
                    Instruction::LocalGet(i64),
                    Instruction::I64x2ReplaceLane(0),
                ]);
            }
            Access::LoadLane { at, lane: Lane { scalar, kind, load, replace, .. } } => {
                let (vector, value) = (self.locals.v128, self.local(scalar));
                self.put([Instruction::LocalSet(vector)]);
                self.load(scalar, at, kind, load);
                let value_of_lane = Instruction::LocalSet(value);
                self.put([value_of_lane, Instruction::LocalGet(vector), Instruction::LocalGet(value), replace]);
            }
            Access::StoreLane { at, lane: Lane { scalar, kind, store, extract, .. } } => {
                self.put([extract]);
                self.store(scalar, at, kind.width_bytes, store);
            }
            Access::Change { at, width_bytes, operands } => self.change(at, width_bytes, operands, operator)?,
            Access::Copy => self.copy(operator)?,
            Access::Fill => self.fill(operator)?,
        }
        Ok(())
    }

    fn local(&self, scalar: Scalar) -> u32 {
        match scalar {
            Scalar::I32 => self.locals.i32,
            Scalar::I64 => self.locals.i64,
            Scalar::F32 => self.locals.f32,
            Scalar::F64 => self.locals.f64,
        }
    }

    /// Adds the offset to the address that is kept, and begins what is done if that is in the shared part.
    fn if_shared(&mut self, at: MemArg) {
        let addr = self.locals.addr;
        self.put([Instruction::LocalGet(addr)]);
        if at.offset != 0 {
            // The access was in memory, so that this does not wrap; before one that will trap, it means nothing.
            self.put([
                Instruction::I32Const((at.offset as u32).cast_signed()),
                Instruction::I32Add,
                Instruction::LocalTee(addr),
            ]);
        }
        self.put([
            Instruction::I32Const(self.names.shared_from),
            Instruction::I32GeU,
            Instruction::If(BlockType::Empty),
        ]);
    }

    /// Calls a function of the host's with what is on the stack.
    fn call(&mut self, border: Border) {
        let (table_index, number) = (self.names.table, border as u32);
        let type_index = self.names.types + number;
        self.put([Instruction::I32Const(number.cast_signed()), Instruction::CallIndirect { type_index, table_index }]);
    }

    fn load(&mut self, scalar: Scalar, at: MemArg, kind: LoadKind, load: Instruction<'_>) {
        let (addr, value) = (self.locals.addr, self.local(scalar));
        self.put([Instruction::LocalTee(addr), load, Instruction::LocalSet(value)]);
        self.if_shared(at);
        self.put([Instruction::LocalGet(addr), Instruction::LocalGet(value)]);
        self.put(scalar.widened());
        self.put([Instruction::I32Const(kind.number())]);
        self.call(Border::Loaded);
        self.put(scalar.narrowed());
        self.put([Instruction::LocalSet(value), Instruction::End, Instruction::LocalGet(value)]);
    }

    fn store(&mut self, scalar: Scalar, at: MemArg, width_bytes: u32, store: Instruction<'_>) {
        let (addr, value) = (self.locals.addr, self.local(scalar));
        self.put([Instruction::LocalSet(value), Instruction::LocalTee(addr), Instruction::LocalGet(value), store]);
        self.if_shared(at);
        self.put([Instruction::LocalGet(addr), Instruction::LocalGet(value)]);
        self.put(scalar.widened());
        self.put([Instruction::I32Const(width_bytes.cast_signed())]);
        self.call(Border::Stored);
        self.put([Instruction::End]);
    }

    /// Puts the address of a half, and what is in that half of the vector.
    fn half(&mut self, lane: u8) {
        self.put([Instruction::LocalGet(self.locals.addr)]);
        if lane == 1 {
            self.put([Instruction::I32Const(8), Instruction::I32Add]);
        }
        self.put([Instruction::LocalGet(self.locals.v128), Instruction::I64x2ExtractLane(lane)]);
    }

    fn load_vector(&mut self, at: MemArg) {
        let Locals { addr, v128, .. } = self.locals;
        self.put([Instruction::LocalTee(addr), Instruction::V128Load(at), Instruction::LocalSet(v128)]);
        self.if_shared(at);
        for lane in [0, 1] {
            self.put([Instruction::LocalGet(v128)]);
            self.half(lane);
            self.put([Instruction::I32Const(8)]);
            self.call(Border::Loaded);
            self.put([Instruction::I64x2ReplaceLane(lane), Instruction::LocalSet(v128)]);
        }
        self.put([Instruction::End, Instruction::LocalGet(v128)]);
    }

    fn store_vector(&mut self, at: MemArg) {
        let Locals { addr, v128, .. } = self.locals;
        self.put([
            Instruction::LocalSet(v128),
            Instruction::LocalTee(addr),
            Instruction::LocalGet(v128),
            Instruction::V128Store(at),
        ]);
        self.if_shared(at);
        for lane in [0, 1] {
            self.half(lane);
            self.put([Instruction::I32Const(8)]);
            self.call(Border::Stored);
        }
        self.put([Instruction::End]);
    }

    /// An atomic read-modify-write, whose operands are on the stack behind the address.
    fn change(&mut self, at: MemArg, width_bytes: u32, operands: &[Scalar], operator: Operator<'_>) -> Result<()> {
        let Locals { addr, from, i32, i64, other_i64, .. } = self.locals;
        let place = |number: usize, scalar: &Scalar| match (number, scalar) {
            (0, Scalar::I32) => i32,
            (_, Scalar::I32) => from,
            (0, _) => i64,
            _ => other_i64,
        };
        let places: Vec<u32> = operands.iter().enumerate().map(|(number, scalar)| place(number, scalar)).collect();
        self.put(places.iter().rev().map(|&place| Instruction::LocalSet(place)));
        // With the offset added, so that it is added once.
        self.put([Instruction::LocalSet(addr)]);
        self.if_shared(at);
        self.put([Instruction::LocalGet(addr), Instruction::I32Const(width_bytes.cast_signed())]);
        self.call(Border::Reads);
        self.put([Instruction::End, Instruction::LocalGet(addr)]);
        if at.offset != 0 {
            self.put([Instruction::I32Const((at.offset as u32).cast_signed()), Instruction::I32Sub]);
        }
        self.put(places.iter().map(|&place| Instruction::LocalGet(place)));
        self.put([Verbatim.instruction(operator)?]);
        self.if_shared(MemArg { offset: 0, ..at });
        self.put([Instruction::LocalGet(addr), Instruction::I32Const(width_bytes.cast_signed())]);
        self.call(Border::Changed);
        self.put([Instruction::End]);
        Ok(())
    }

    /// Begins what is done if a range, whose beginning is in this local, ends in the shared part.
    fn reaches_shared(&mut self, begin: u32) {
        self.put([
            Instruction::LocalGet(begin),
            Instruction::LocalGet(self.locals.len),
            Instruction::I32Add,
            Instruction::I32Const(self.names.shared_from),
            Instruction::I32GtU,
        ]);
    }

    fn copy(&mut self, operator: Operator<'_>) -> Result<()> {
        let Locals { addr, from, len, .. } = self.locals;
        self.put([Instruction::LocalSet(len), Instruction::LocalSet(from), Instruction::LocalSet(addr)]);
        self.reaches_shared(from);
        self.put([Instruction::If(BlockType::Empty), Instruction::LocalGet(from), Instruction::LocalGet(len)]);
        self.call(Border::Reads);
        self.put([Instruction::End]);
        let operands = [addr, from, len].map(Instruction::LocalGet);
        self.put(operands.clone());
        self.put([Verbatim.instruction(operator)?]);
        self.reaches_shared(from);
        self.reaches_shared(addr);
        self.put([Instruction::I32Or, Instruction::If(BlockType::Empty)]);
        self.put(operands);
        self.call(Border::Copied);
        self.put([Instruction::End]);
        Ok(())
    }

    /// What fills memory: the address comes first, the length last.
    fn fill(&mut self, operator: Operator<'_>) -> Result<()> {
        let Locals { addr, from, len, .. } = self.locals;
        self.put([Instruction::LocalSet(len), Instruction::LocalSet(from), Instruction::LocalSet(addr)]);
        self.put([addr, from, len].map(Instruction::LocalGet));
        self.put([Verbatim.instruction(operator)?]);
        self.reaches_shared(addr);
        self.put([Instruction::If(BlockType::Empty), Instruction::LocalGet(addr), Instruction::LocalGet(len)]);
        self.call(Border::Changed);
        self.put([Instruction::End]);
        Ok(())
    }
}

/// What is added behind the module's own.
struct Writer {
    names: Names,
    code: CodeSection,
}

impl Rewriting for Writer {
    fn types(&self, section: &mut TypeSection) {
        use ValType::{I32, I64};
        section.ty().function([I32, I64, I32], [I64]);
        section.ty().function([I32, I64, I32], []);
        section.ty().function([I32, I32], []);
        section.ty().function([I32, I32, I32], []);
        section.ty().function([I32, I32], []);
    }

    fn tables(&self, section: &mut TableSection) -> std::result::Result<(), reencode::Error<Infallible>> {
        let (element_type, size) = (RefType::FUNCREF, BORDER_FUNCTIONS.into());
        section.table(TableType { element_type, table64: false, minimum: size, maximum: Some(size), shared: false });
        Ok(())
    }

    fn exports(&self, section: &mut ExportSection) {
        section.export(BORDER_EXPORT, ExportKind::Table, self.names.table);
    }

    fn code(&self) -> Option<&CodeSection> {
        Some(&self.code)
    }
}
