//! Which instructions write to memory, and how.

use wasm_encoder::ValType;
use wasmparser::{MemArg, Operator};

/// A store, read-modify-write or compare-and-exchange of fixed width.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreOp {
    pub(super) memarg: MemArg,
    pub(super) width: u32,
    /// The type of what lies above the address on the operand stack.
    pub(super) operand: ValType,
    /// How many of them: two for a compare-and-exchange.
    pub(super) operands: u32,
}

/// Returns what the instruction writes, if it writes a fixed number of bytes.
pub(super) fn store_op(operator: &Operator<'_>) -> Option<StoreOp> {
    use Operator::*;
    let one = |memarg: &MemArg, width, operand| Some(StoreOp { memarg: *memarg, width, operand, operands: 1 });
    let two = |memarg: &MemArg, width, operand| Some(StoreOp { memarg: *memarg, width, operand, operands: 2 });
    match operator {
        I32Store8 { memarg }
        | I32AtomicStore8 { memarg }
        | I32AtomicRmw8AddU { memarg }
        | I32AtomicRmw8SubU { memarg }
        | I32AtomicRmw8AndU { memarg }
        | I32AtomicRmw8OrU { memarg }
        | I32AtomicRmw8XorU { memarg }
        | I32AtomicRmw8XchgU { memarg } => one(memarg, 1, ValType::I32),
        I32Store16 { memarg }
        | I32AtomicStore16 { memarg }
        | I32AtomicRmw16AddU { memarg }
        | I32AtomicRmw16SubU { memarg }
        | I32AtomicRmw16AndU { memarg }
        | I32AtomicRmw16OrU { memarg }
        | I32AtomicRmw16XorU { memarg }
        | I32AtomicRmw16XchgU { memarg } => one(memarg, 2, ValType::I32),
        I32Store { memarg }
        | I32AtomicStore { memarg }
        | I32AtomicRmwAdd { memarg }
        | I32AtomicRmwSub { memarg }
        | I32AtomicRmwAnd { memarg }
        | I32AtomicRmwOr { memarg }
        | I32AtomicRmwXor { memarg }
        | I32AtomicRmwXchg { memarg } => one(memarg, 4, ValType::I32),
        I64Store8 { memarg }
        | I64AtomicStore8 { memarg }
        | I64AtomicRmw8AddU { memarg }
        | I64AtomicRmw8SubU { memarg }
        | I64AtomicRmw8AndU { memarg }
        | I64AtomicRmw8OrU { memarg }
        | I64AtomicRmw8XorU { memarg }
        | I64AtomicRmw8XchgU { memarg } => one(memarg, 1, ValType::I64),
        I64Store16 { memarg }
        | I64AtomicStore16 { memarg }
        | I64AtomicRmw16AddU { memarg }
        | I64AtomicRmw16SubU { memarg }
        | I64AtomicRmw16AndU { memarg }
        | I64AtomicRmw16OrU { memarg }
        | I64AtomicRmw16XorU { memarg }
        | I64AtomicRmw16XchgU { memarg } => one(memarg, 2, ValType::I64),
        I64Store32 { memarg }
        | I64AtomicStore32 { memarg }
        | I64AtomicRmw32AddU { memarg }
        | I64AtomicRmw32SubU { memarg }
        | I64AtomicRmw32AndU { memarg }
        | I64AtomicRmw32OrU { memarg }
        | I64AtomicRmw32XorU { memarg }
        | I64AtomicRmw32XchgU { memarg } => one(memarg, 4, ValType::I64),
        I64Store { memarg }
        | I64AtomicStore { memarg }
        | I64AtomicRmwAdd { memarg }
        | I64AtomicRmwSub { memarg }
        | I64AtomicRmwAnd { memarg }
        | I64AtomicRmwOr { memarg }
        | I64AtomicRmwXor { memarg }
        | I64AtomicRmwXchg { memarg } => one(memarg, 8, ValType::I64),
        F32Store { memarg } => one(memarg, 4, ValType::F32),
        F64Store { memarg } => one(memarg, 8, ValType::F64),
        V128Store { memarg } => one(memarg, 16, ValType::V128),
        V128Store8Lane { memarg, .. } => one(memarg, 1, ValType::V128),
        V128Store16Lane { memarg, .. } => one(memarg, 2, ValType::V128),
        V128Store32Lane { memarg, .. } => one(memarg, 4, ValType::V128),
        V128Store64Lane { memarg, .. } => one(memarg, 8, ValType::V128),
        I32AtomicRmw8CmpxchgU { memarg } => two(memarg, 1, ValType::I32),
        I32AtomicRmw16CmpxchgU { memarg } => two(memarg, 2, ValType::I32),
        I32AtomicRmwCmpxchg { memarg } => two(memarg, 4, ValType::I32),
        I64AtomicRmw8CmpxchgU { memarg } => two(memarg, 1, ValType::I64),
        I64AtomicRmw16CmpxchgU { memarg } => two(memarg, 2, ValType::I64),
        I64AtomicRmw32CmpxchgU { memarg } => two(memarg, 4, ValType::I64),
        I64AtomicRmwCmpxchg { memarg } => two(memarg, 8, ValType::I64),
        _ => None,
    }
}

/// Returns whether a group of stores that is logged together ends here: where the path may leave or join, where other
/// code runs, and where a device's writes may become visible.
pub(super) fn ends_group(operator: &Operator<'_>) -> bool {
    use Operator::*;
    let known = matches!(
        operator,
        Block { .. }
            | Loop { .. }
            | If { .. }
            | Else
            | End
            | Br { .. }
            | BrIf { .. }
            | BrTable { .. }
            | Return
            | Call { .. }
            | CallIndirect { .. }
            | ReturnCall { .. }
            | ReturnCallIndirect { .. }
            | Unreachable
            | MemoryCopy { .. }
            | MemoryFill { .. }
            | MemoryInit { .. }
            | AtomicFence
            | MemoryAtomicNotify { .. }
            | I32AtomicLoad { .. }
            | I32AtomicLoad8U { .. }
            | I32AtomicLoad16U { .. }
            | I64AtomicLoad { .. }
            | I64AtomicLoad8U { .. }
            | I64AtomicLoad16U { .. }
            | I64AtomicLoad32U { .. }
    );
    known || is_atomic_write(operator)
}

/// Stores that are also barriers.
fn is_atomic_write(operator: &Operator<'_>) -> bool {
    use Operator::*;
    store_op(operator).is_some()
        && !matches!(
            operator,
            I32Store8 { .. }
                | I32Store16 { .. }
                | I32Store { .. }
                | I64Store8 { .. }
                | I64Store16 { .. }
                | I64Store32 { .. }
                | I64Store { .. }
                | F32Store { .. }
                | F64Store { .. }
                | V128Store { .. }
                | V128Store8Lane { .. }
                | V128Store16Lane { .. }
                | V128Store32Lane { .. }
                | V128Store64Lane { .. }
        )
}

/// Returns what an instruction changes that no log holds, in words, if it is one that cannot be covered.
pub(super) fn refused(operator: &Operator<'_>) -> Option<&'static str> {
    use Operator::*;
    Some(match operator {
        MemoryGrow { .. } => "memory.grow: a memory cannot be made smaller again",
        DataDrop { .. } => "data.drop: what was dropped cannot be had back",
        ElemDrop { .. } => "elem.drop: what was dropped cannot be had back",
        TableSet { .. } | TableGrow { .. } | TableFill { .. } | TableCopy { .. } | TableInit { .. } => {
            "a change of a table: only memory and globals are logged"
        }
        MemoryAtomicWait32 { .. } | MemoryAtomicWait64 { .. } => {
            "memory.atomic.wait: nobody can wake a thread that is alone"
        }
        MemoryDiscard { .. } => "memory.discard: only known stores are logged",
        TryTable { .. } | Throw { .. } | ThrowRef => "exceptions: a handler would go on with half a transaction",
        _ => return None,
    })
}
