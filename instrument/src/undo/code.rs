//! The instructions that are added: records, and what guards them.

use wasm_encoder::{BlockType, Instruction, MemArg};

use super::layout::{BULK, FULL_CELL, LOG_BYTES, Mode, TRAILER_BYTES, padded};
use crate::deadline::Check;

/// What the added code names: indices behind the module's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// Global: where the next record begins.
    pub(super) top: u32,
    /// Global: a [`Mode`].
    pub(super) mode: u32,
    /// Global: the stack pointer when the call began.
    pub(super) stack_limit: u32,
    /// Function: logs a range.
    pub(super) log_range: u32,
    /// Function: says that the time cell was found set.
    pub(super) ask: u32,
    /// Where records begin.
    pub(super) first_record: u32,
    /// What lies below is not logged: it is kept by other means.
    pub(super) kept_below: Option<u32>,
}

/// Where an address can be had from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Constant(u32),
    Local { local: u32, plus: u32 },
}

/// Bytes to log: `[source + offset, source + offset + width)`, `width` being 1, 2, 4, 8 or 16.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) source: Source,
    pub(super) offset: u64,
    pub(super) width: u32,
}

/// Code under construction.
pub(super) type Code = Vec<Instruction<'static>>;

fn log(offset: u32, align: u32) -> MemArg {
    MemArg { offset: u64::from(offset), align, memory_index: 1 }
}

fn driver(offset: u64) -> MemArg {
    MemArg { offset, align: 0, memory_index: 0 }
}

impl Source {
    pub(super) fn push(self, out: &mut Code) {
        match self {
            Source::Constant(value) => out.push(Instruction::I32Const(value.cast_signed())),
            Source::Local { local, plus } => {
                out.push(Instruction::LocalGet(local));
                if plus != 0 {
                    out.extend([Instruction::I32Const(plus.cast_signed()), Instruction::I32Add]);
                }
            }
        }
    }

    /// Pushes the trailer of a record as one `i64`.
    fn push_trailer(self, offset: u64, width: u32, out: &mut Code) {
        let length = i64::from(width) << 32;
        match self {
            Source::Constant(value) => {
                let address = value.wrapping_add(offset as u32);
                out.push(Instruction::I64Const(i64::from(address) | length));
            }
            Source::Local { local, plus } => {
                // The old bytes were read before, so the sum did not wrap.
                Source::Local { local, plus: plus.wrapping_add(offset as u32) }.push(out);
                out.extend([Instruction::I64ExtendI32U, Instruction::I64Const(length), Instruction::I64Or]);
            }
        }
    }
}

/// Appends records for the pieces; `top` is the local that mirrors the log's top.
///
/// The top moves when all of them are there: a trap between (an address outside memory, a full log) leaves it, and
/// nothing was stored yet.
pub(super) fn append(pieces: &[Piece], top: u32, names: &Names, out: &mut Code) {
    let mut at = 0;
    for piece in pieces {
        out.push(Instruction::LocalGet(top));
        piece.source.push(out);
        let old = driver(piece.offset);
        match piece.width {
            // Read at its own width: more would trap at the memory's end and stall on a store just made.
            1 => out.extend([Instruction::I64Load8U(old), Instruction::I64Store(log(at, 3))]),
            2 => out.extend([Instruction::I64Load16U(old), Instruction::I64Store(log(at, 3))]),
            16 => out.extend([Instruction::V128Load(old), Instruction::V128Store(log(at, 3))]),
            width => {
                // The whole record in one vector, and one store.
                let load = if width == 4 { Instruction::V128Load32Zero(old) } else { Instruction::V128Load64Zero(old) };
                out.push(load);
                piece.source.push_trailer(piece.offset, width, out);
                out.extend([Instruction::I64x2ReplaceLane(1), Instruction::V128Store(log(at, 3))]);
                at += padded(width) + TRAILER_BYTES;
                continue;
            }
        }
        out.push(Instruction::LocalGet(top));
        piece.source.push_trailer(piece.offset, piece.width, out);
        out.push(Instruction::I64Store(log(at + padded(piece.width), 3)));
        at += padded(piece.width) + TRAILER_BYTES;
    }
    out.extend([
        Instruction::LocalGet(top),
        Instruction::I32Const(at.cast_signed()),
        Instruction::I32Add,
        Instruction::LocalTee(top),
        Instruction::GlobalSet(names.top),
    ]);
}

/// Traps unless the value on the operand stack, which stays there, is at most the stack pointer at the beginning.
pub(super) fn check_stack_pointer(scratch: u32, names: &Names, out: &mut Code) {
    out.extend([
        Instruction::LocalTee(scratch),
        Instruction::LocalGet(scratch),
        Instruction::GlobalGet(names.stack_limit),
        Instruction::I32GtU,
        Instruction::If(BlockType::Empty),
        Instruction::Unreachable,
        Instruction::End,
    ]);
}

/// Empties the log after a hostcall: outside a transaction nothing will be undone.
pub(super) fn forget_outside_transaction(names: &Names, out: &mut Code) {
    out.extend([
        Instruction::GlobalGet(names.mode),
        Instruction::I32Const(Mode::Plain as i32),
        Instruction::I32Eq,
        Instruction::If(BlockType::Empty),
        Instruction::I32Const(names.first_record.cast_signed()),
        Instruction::GlobalSet(names.top),
        Instruction::End,
    ]);
}

/// Returns the body of the function that logs a range before a bulk instruction: `(address, length)`.
pub(super) fn log_range(names: &Names) -> Code {
    let (address, length, end) = (0, 1, 2);
    let mut code = vec![
        Instruction::GlobalGet(names.mode),
        Instruction::I32Const(Mode::Transaction as i32),
        Instruction::I32Ne,
        Instruction::If(BlockType::Empty),
        Instruction::Return,
        Instruction::End,
    ];
    if let Some(kept_below) = names.kept_below {
        code.extend([
            Instruction::LocalGet(address),
            Instruction::I64ExtendI32U,
            Instruction::LocalGet(length),
            Instruction::I64ExtendI32U,
            Instruction::I64Add,
            Instruction::I64Const(kept_below.into()),
            Instruction::I64LeU,
            Instruction::If(BlockType::Empty),
            Instruction::Return,
            Instruction::End,
        ]);
    }
    code.extend([
        Instruction::LocalGet(length),
        Instruction::I32Const((LOG_BYTES as u32 - 2 * TRAILER_BYTES).cast_signed()),
        Instruction::GlobalGet(names.top),
        Instruction::I32Sub,
        Instruction::I32GtS,
        // What is longer than memory is wrong in another way.
        Instruction::LocalGet(length),
        Instruction::MemorySize(0),
        Instruction::I32Const(16),
        Instruction::I32Shl,
        Instruction::I32LeU,
        Instruction::I32And,
        Instruction::If(BlockType::Empty),
        Instruction::I32Const(0),
        Instruction::I32Const(1),
        Instruction::I32Store(log(FULL_CELL, 2)),
        Instruction::Unreachable,
        Instruction::End,
    ]);
    // A copy may take milliseconds, and there may be many in a row. All functions share this one.
    code.extend(Check::Asks(names.ask).code());
    code.extend([
        // Traps if the range is not in memory.
        Instruction::GlobalGet(names.top),
        Instruction::LocalGet(address),
        Instruction::LocalGet(length),
        Instruction::MemoryCopy { src_mem: 0, dst_mem: 1 },
        Instruction::GlobalGet(names.top),
        Instruction::LocalGet(length),
        Instruction::I32Const(7),
        Instruction::I32Add,
        Instruction::I32Const(-8),
        Instruction::I32And,
        Instruction::I32Add,
        Instruction::LocalTee(end),
        Instruction::LocalGet(address),
        Instruction::I32Store(log(0, 2)),
        Instruction::LocalGet(end),
        Instruction::LocalGet(length),
        Instruction::I32Const(BULK.cast_signed()),
        Instruction::I32Or,
        Instruction::I32Store(log(4, 2)),
        Instruction::LocalGet(end),
        Instruction::I32Const(TRAILER_BYTES.cast_signed()),
        Instruction::I32Add,
        Instruction::GlobalSet(names.top),
        Instruction::End,
    ]);
    code
}

const _: () = assert!(LOG_BYTES < BULK as u64, "a length and its flag do not meet");
