//! The code that is added around the driver's, word for word: what begins and ends calls, what logs a range before a
//! bulk instruction, what empties the log outside transactions.

use nook_abi::{ENTRY_PREFIX, Entry};
use wasmparser::{BlockType, MemArg, Operator, ValType};

use crate::check::shape::{Item, LOG_MEMORY};
use crate::undo::layout::{
    BULK, FULL_CELL, LOG_BYTES, Mode, SAVED_GLOBAL_BYTES, SAVED_GLOBALS, TRAILER_BYTES, first_record,
};

/// Instructions that empty the log outside a transaction.
pub(super) const FORGET_LEN: usize = 6;
/// Instructions that trap if the stack pointer would lie too high, its write among them.
pub(super) const STACK_CHECK_LEN: usize = 8;

const EMPTY: BlockType = BlockType::Empty;

/// Globals that are added, and what belongs to them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Globals {
    /// Of the driver's globals, those that a transaction saves.
    pub(super) saved: usize,
    /// The log's top.
    pub(super) top: u32,
    /// The [`Mode`].
    pub(super) mode: u32,
    /// The stack pointer when the call began.
    pub(super) limit: u32,
}

/// The driver's stack, `[0, top)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// The global with its pointer.
    pub(super) pointer: u32,
    pub(super) top: u32,
}

fn get(global_index: u32) -> Operator<'static> {
    Operator::GlobalGet { global_index }
}

fn set(global_index: u32) -> Operator<'static> {
    Operator::GlobalSet { global_index }
}

fn local(local_index: u32) -> Operator<'static> {
    Operator::LocalGet { local_index }
}

fn i32(value: u32) -> Operator<'static> {
    Operator::I32Const { value: value.cast_signed() }
}

fn log(offset: u32) -> MemArg {
    MemArg { align: 2, max_align: 2, offset: offset.into(), memory: LOG_MEMORY }
}

/// Returns whether the items are these instructions, but for the alignment that stores claim, which says nothing.
pub(super) fn are(items: &[(usize, Item<'_>)], expected: &[Operator<'_>]) -> bool {
    items.len() == expected.len()
        && items.iter().zip(expected).all(|((_, item), expected)| match item {
            Item::Op(operator) => operator == expected || stores_alike(operator, expected),
            Item::DeadlineCheck(_) => false,
        })
}

fn stores_alike(found: &Operator<'_>, expected: &Operator<'_>) -> bool {
    use Operator::*;
    let alike = |a: &MemArg, b: &MemArg| a.offset == b.offset && a.memory == b.memory;
    match (found, expected) {
        (I32Store { memarg: a }, I32Store { memarg: b })
        | (I64Store { memarg: a }, I64Store { memarg: b })
        | (F32Store { memarg: a }, F32Store { memarg: b })
        | (F64Store { memarg: a }, F64Store { memarg: b })
        | (V128Store { memarg: a }, V128Store { memarg: b }) => alike(a, b),
        _ => false,
    }
}

impl Globals {
    /// Returns where the log begins.
    pub(super) fn first_record(&self) -> u32 {
        first_record(self.saved)
    }

    /// Returns what may stand behind a hostcall: nothing will be undone if no transaction runs.
    pub(super) fn forget(&self) -> [Operator<'static>; FORGET_LEN] {
        [
            get(self.mode),
            i32(Mode::Plain as u32),
            Operator::I32Eq,
            Operator::If { blockty: EMPTY },
            i32(self.first_record()),
            set(self.top),
        ]
    }

    /// Returns what stands before a write of the stack pointer, and that write; the value is kept in this local.
    pub(super) fn stack_check(&self, pointer: u32, kept: u32) -> [Operator<'static>; STACK_CHECK_LEN] {
        [
            Operator::LocalTee { local_index: kept },
            local(kept),
            get(self.limit),
            Operator::I32GtU,
            Operator::If { blockty: EMPTY },
            Operator::Unreachable,
            Operator::End,
            set(pointer),
        ]
    }

    /// Returns the body of what logs a range, up to its deadline check and from there on.
    pub(super) fn log_range(&self, kept_below: Option<u32>) -> [Vec<Operator<'static>>; 2] {
        let (address, length, end) = (0, 1, 2);
        let mut before = vec![
            get(self.mode),
            i32(Mode::Transaction as u32),
            Operator::I32Ne,
            Operator::If { blockty: EMPTY },
            Operator::Return,
            Operator::End,
        ];
        if let Some(kept_below) = kept_below {
            before.extend([
                local(address),
                Operator::I64ExtendI32U,
                local(length),
                Operator::I64ExtendI32U,
                Operator::I64Add,
                Operator::I64Const { value: kept_below.into() },
                Operator::I64LeU,
                Operator::If { blockty: EMPTY },
                Operator::Return,
                Operator::End,
            ]);
        }
        // What does not fit is noted, and traps.
        before.extend([
            local(length),
            i32(LOG_BYTES as u32 - 2 * TRAILER_BYTES),
            get(self.top),
            Operator::I32Sub,
            Operator::I32GtS,
            local(length),
            Operator::MemorySize { mem: 0 },
            i32(16),
            Operator::I32Shl,
            Operator::I32LeU,
            Operator::I32And,
            Operator::If { blockty: EMPTY },
            i32(0),
            i32(1),
            Operator::I32Store { memarg: log(FULL_CELL) },
            Operator::Unreachable,
            Operator::End,
        ]);
        let after = vec![
            get(self.top),
            local(address),
            local(length),
            Operator::MemoryCopy { dst_mem: LOG_MEMORY, src_mem: 0 },
            get(self.top),
            local(length),
            i32(7),
            Operator::I32Add,
            i32(-8_i32 as u32),
            Operator::I32And,
            Operator::I32Add,
            Operator::LocalTee { local_index: end },
            local(address),
            Operator::I32Store { memarg: log(0) },
            local(end),
            local(length),
            i32(BULK),
            Operator::I32Or,
            Operator::I32Store { memarg: log(4) },
            local(end),
            i32(TRAILER_BYTES),
            Operator::I32Add,
            set(self.top),
            Operator::End,
        ];
        [before, after]
    }

    /// Returns the body of what is exported in the place of an entry, with `call` to make it.
    pub(super) fn wrapper(
        &self,
        name: &str,
        stack: Option<Stack>,
        saved: &[(u32, ValType)],
        call: &[Operator<'static>],
    ) -> Vec<Operator<'static>> {
        let entry = name.strip_prefix(ENTRY_PREFIX).and_then(Entry::named);
        let is_transaction = entry.is_some_and(Entry::is_transaction);
        let (running, returned) = match is_transaction {
            true => (Mode::Transaction, Mode::TransactionReturned),
            false => (Mode::Plain, Mode::PlainReturned),
        };
        // A call that is made while one runs is part of that.
        let mut code = vec![
            get(self.mode),
            i32(Mode::Transaction as u32),
            Operator::I32Sub,
            i32(2),
            Operator::I32LtU,
            Operator::If { blockty: EMPTY },
        ];
        code.extend_from_slice(call);
        code.extend([Operator::Return, Operator::End]);
        if let Some(Stack { pointer, top }) = stack {
            code.extend([
                get(pointer),
                i32(top),
                Operator::I32GtU,
                Operator::If { blockty: EMPTY },
                Operator::Unreachable,
                Operator::End,
                get(pointer),
                set(self.limit),
            ]);
        }
        if is_transaction {
            for (number, (global, ty)) in (0..).zip(saved) {
                let memarg = log(SAVED_GLOBALS + number * SAVED_GLOBAL_BYTES);
                code.extend([i32(0), get(*global)]);
                code.push(match ty {
                    ValType::I32 => Operator::I32Store { memarg },
                    ValType::I64 => Operator::I64Store { memarg },
                    ValType::F32 => Operator::F32Store { memarg },
                    ValType::F64 => Operator::F64Store { memarg },
                    ValType::V128 => Operator::V128Store { memarg },
                    // No store matches it.
                    ValType::Ref(_) => Operator::Unreachable,
                });
            }
        }
        code.extend([i32(self.first_record()), set(self.top), i32(running as u32), set(self.mode)]);
        code.extend_from_slice(call);
        code.extend([i32(returned as u32), set(self.mode), Operator::End]);
        code
    }
}

/// Returns the call of a function with this many parameters, which are the caller's.
pub(super) fn call(parameters: u32, function_index: u32) -> Vec<Operator<'static>> {
    let mut code: Vec<_> = (0..parameters).map(local).collect();
    code.push(Operator::Call { function_index });
    code
}

/// Returns the same, or the call of its copy if the number of instructions in this global is not zero.
pub(super) fn choice(parameters: u32, ty: u32, function: u32, copy: u32, countdown: u32) -> Vec<Operator<'static>> {
    let mut code: Vec<_> = (0..parameters).map(local).collect();
    code.extend([
        get(countdown),
        Operator::I64Eqz,
        Operator::If { blockty: BlockType::FuncType(ty) },
        Operator::Call { function_index: function },
        Operator::Else,
        Operator::Call { function_index: copy },
        Operator::End,
    ]);
    code
}
