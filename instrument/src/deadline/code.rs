//! The instructions of a deadline check, and of the question to the host.

use wasm_encoder::{BlockType, Instruction, MemArg};

use super::{CELL_MEMORY, DUE, TIME_CELL};

/// What a deadline check does when the cell says that it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// It traps: there is nothing in a function that only short calls reach but their end. Without a call, the
    /// compiler keeps a loop's values in registers.
    Traps,
    /// It calls this function, which asks the host.
    Asks(u32),
}

/// What the question to the host names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// Table: its only element is what is asked.
    pub(crate) table: u32,
    /// Type: of that function.
    pub(crate) answer: u32,
}

fn cell() -> MemArg {
    MemArg { offset: u64::from(TIME_CELL), align: 2, memory_index: CELL_MEMORY }
}

impl Check {
    /// Returns the deadline check's instructions.
    ///
    /// The load is atomic because a plain one may be taken out of the loop.
    pub(crate) fn code(self) -> [Instruction<'static>; 7] {
        [
            Instruction::I32Const(0),
            Instruction::I32AtomicLoad(cell()),
            Instruction::I32Const(DUE.cast_signed()),
            Instruction::I32And,
            Instruction::If(BlockType::Empty),
            match self {
                Check::Traps => Instruction::Unreachable,
                Check::Asks(function) => Instruction::Call(function),
            },
            Instruction::End,
        ]
    }
}

impl Question {
    /// Returns the body of the function that asks the host, which says what the cell is to be from now on.
    pub(crate) fn code(self) -> [Instruction<'static>; 5] {
        [
            Instruction::I32Const(0),
            Instruction::I32Const(0),
            Instruction::CallIndirect { type_index: self.answer, table_index: self.table },
            Instruction::I32AtomicStore(cell()),
            Instruction::End,
        ]
    }
}
