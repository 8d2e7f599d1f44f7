//! Which instructions use a module's first memory, and how.

use wasm_encoder::{Instruction, MemArg};
use wasmparser::Operator;

use super::LoadKind;

/// The type of a value that is loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    I32,
    I64,
    F32,
    F64,
}

impl Scalar {
    /// Returns the instructions that make an `i64` of it.
    pub(super) fn widened(self) -> Vec<Instruction<'static>> {
        match self {
            Scalar::I32 => vec![Instruction::I64ExtendI32U],
            Scalar::I64 => vec![],
            Scalar::F32 => vec![Instruction::I32ReinterpretF32, Instruction::I64ExtendI32U],
            Scalar::F64 => vec![Instruction::I64ReinterpretF64],
        }
    }

    /// Returns those that make it of an `i64`.
    pub(super) fn narrowed(self) -> Vec<Instruction<'static>> {
        match self {
            Scalar::I32 => vec![Instruction::I32WrapI64],
            Scalar::I64 => vec![],
            Scalar::F32 => vec![Instruction::I32WrapI64, Instruction::F32ReinterpretI32],
            Scalar::F64 => vec![Instruction::F64ReinterpretI64],
        }
    }
}

/// A lane of a vector, as a separate value.
pub(super) struct Lane {
    pub(super) scalar: Scalar,
    pub(super) kind: LoadKind,
    pub(super) load: Instruction<'static>,
    pub(super) store: Instruction<'static>,
    pub(super) replace: Instruction<'static>,
    pub(super) extract: Instruction<'static>,
}

/// What an instruction does to memory.
pub(super) enum Access {
    Load {
        scalar: Scalar,
        at: MemArg,
        kind: LoadKind,
    },
    Store {
        scalar: Scalar,
        at: MemArg,
        width_bytes: u32,
    },
    LoadVector {
        at: MemArg,
    },
    StoreVector {
        at: MemArg,
    },
    /// The same as another load, and then these.
    LoadThen {
        scalar: Scalar,
        at: MemArg,
        kind: LoadKind,
        load: Instruction<'static>,
        then: Vec<Instruction<'static>>,
    },
    /// The same as another load, into the lowest lane of a vector of zeros.
    LoadIntoZeros {
        scalar: Scalar,
        at: MemArg,
        kind: LoadKind,
        load: Instruction<'static>,
    },
    LoadLane {
        at: MemArg,
        lane: Lane,
    },
    StoreLane {
        at: MemArg,
        lane: Lane,
    },
    /// An atomic read-modify-write with these operands behind the address.
    Change {
        at: MemArg,
        width_bytes: u32,
        operands: &'static [Scalar],
    },
    /// From and to its first memory.
    Copy,
    /// Into its first memory.
    Fill,
}

const ONE_I32: &[Scalar] = &[Scalar::I32];
const TWO_I32: &[Scalar] = &[Scalar::I32, Scalar::I32];
const ONE_I64: &[Scalar] = &[Scalar::I64];
const TWO_I64: &[Scalar] = &[Scalar::I64, Scalar::I64];

fn written(at: wasmparser::MemArg) -> MemArg {
    MemArg { offset: at.offset, align: at.align.into(), memory_index: at.memory }
}

fn unsigned(width_bytes: u32) -> LoadKind {
    LoadKind { width_bytes, signed: false }
}

/// Returns what an instruction does to the first memory, if it does anything to it.
pub(super) fn classify(operator: &Operator<'_>) -> Option<Access> {
    let access =
        plain(operator).or_else(|| vector(operator)).or_else(|| atomic(operator)).or_else(|| bulk(operator))?;
    let memory = match &access {
        Access::Load { at, .. }
        | Access::Store { at, .. }
        | Access::LoadVector { at }
        | Access::StoreVector { at }
        | Access::LoadThen { at, .. }
        | Access::LoadIntoZeros { at, .. }
        | Access::LoadLane { at, .. }
        | Access::StoreLane { at, .. }
        | Access::Change { at, .. } => at.memory_index,
        Access::Copy | Access::Fill => 0,
    };
    (memory == 0).then_some(access)
}

/// Loads and stores of scalars, the atomic ones among them.
fn plain(operator: &Operator<'_>) -> Option<Access> {
    use Operator::*;
    use Scalar::{F32, F64, I32, I64};
    let load = |scalar, at, width_bytes, signed| {
        Some(Access::Load { scalar, at: written(at), kind: LoadKind { width_bytes, signed } })
    };
    let store = |scalar, at, width_bytes| Some(Access::Store { scalar, at: written(at), width_bytes });
    match *operator {
        I32Load { memarg } | I32AtomicLoad { memarg } => load(I32, memarg, 4, false),
        I32Load8S { memarg } => load(I32, memarg, 1, true),
        I32Load8U { memarg } | I32AtomicLoad8U { memarg } => load(I32, memarg, 1, false),
        I32Load16S { memarg } => load(I32, memarg, 2, true),
        I32Load16U { memarg } | I32AtomicLoad16U { memarg } => load(I32, memarg, 2, false),
        I64Load { memarg } | I64AtomicLoad { memarg } => load(I64, memarg, 8, false),
        I64Load8S { memarg } => load(I64, memarg, 1, true),
        I64Load8U { memarg } | I64AtomicLoad8U { memarg } => load(I64, memarg, 1, false),
        I64Load16S { memarg } => load(I64, memarg, 2, true),
        I64Load16U { memarg } | I64AtomicLoad16U { memarg } => load(I64, memarg, 2, false),
        I64Load32S { memarg } => load(I64, memarg, 4, true),
        I64Load32U { memarg } | I64AtomicLoad32U { memarg } => load(I64, memarg, 4, false),
        F32Load { memarg } => load(F32, memarg, 4, false),
        F64Load { memarg } => load(F64, memarg, 8, false),
        I32Store { memarg } | I32AtomicStore { memarg } => store(I32, memarg, 4),
        I32Store8 { memarg } | I32AtomicStore8 { memarg } => store(I32, memarg, 1),
        I32Store16 { memarg } | I32AtomicStore16 { memarg } => store(I32, memarg, 2),
        I64Store { memarg } | I64AtomicStore { memarg } => store(I64, memarg, 8),
        I64Store8 { memarg } | I64AtomicStore8 { memarg } => store(I64, memarg, 1),
        I64Store16 { memarg } | I64AtomicStore16 { memarg } => store(I64, memarg, 2),
        I64Store32 { memarg } | I64AtomicStore32 { memarg } => store(I64, memarg, 4),
        F32Store { memarg } => store(F32, memarg, 4),
        F64Store { memarg } => store(F64, memarg, 8),
        _ => None,
    }
}

/// Loads and stores of vectors.
fn vector(operator: &Operator<'_>) -> Option<Access> {
    use Instruction as I;
    use Operator::*;
    let extended = |at, extend| {
        let (at, then) = (written(at), vec![I::I64x2Splat, extend]);
        Some(Access::LoadThen { scalar: Scalar::I64, at, kind: unsigned(8), load: I::I64Load(at), then })
    };
    let splat = |at, scalar, width, load: fn(MemArg) -> I<'static>, splat| {
        let at = written(at);
        Some(Access::LoadThen { scalar, at, kind: unsigned(width), load: load(at), then: vec![splat] })
    };
    let zeros = |at, scalar, width, load: fn(MemArg) -> I<'static>| {
        let at = written(at);
        Some(Access::LoadIntoZeros { scalar, at, kind: unsigned(width), load: load(at) })
    };
    let loads_lane =
        |at, bits, number| Some(Access::LoadLane { at: written(at), lane: lane(written(at), bits, number) });
    let stores_lane =
        |at, bits, number| Some(Access::StoreLane { at: written(at), lane: lane(written(at), bits, number) });
    match *operator {
        V128Load { memarg } => Some(Access::LoadVector { at: written(memarg) }),
        V128Store { memarg } => Some(Access::StoreVector { at: written(memarg) }),
        V128Load8x8S { memarg } => extended(memarg, I::I16x8ExtendLowI8x16S),
        V128Load8x8U { memarg } => extended(memarg, I::I16x8ExtendLowI8x16U),
        V128Load16x4S { memarg } => extended(memarg, I::I32x4ExtendLowI16x8S),
        V128Load16x4U { memarg } => extended(memarg, I::I32x4ExtendLowI16x8U),
        V128Load32x2S { memarg } => extended(memarg, I::I64x2ExtendLowI32x4S),
        V128Load32x2U { memarg } => extended(memarg, I::I64x2ExtendLowI32x4U),
        V128Load8Splat { memarg } => splat(memarg, Scalar::I32, 1, I::I32Load8U, I::I8x16Splat),
        V128Load16Splat { memarg } => splat(memarg, Scalar::I32, 2, I::I32Load16U, I::I16x8Splat),
        V128Load32Splat { memarg } => splat(memarg, Scalar::I32, 4, I::I32Load, I::I32x4Splat),
        V128Load64Splat { memarg } => splat(memarg, Scalar::I64, 8, I::I64Load, I::I64x2Splat),
        V128Load32Zero { memarg } => zeros(memarg, Scalar::I32, 4, I::I32Load),
        V128Load64Zero { memarg } => zeros(memarg, Scalar::I64, 8, I::I64Load),
        V128Load8Lane { memarg, lane } => loads_lane(memarg, 8, lane),
        V128Load16Lane { memarg, lane } => loads_lane(memarg, 16, lane),
        V128Load32Lane { memarg, lane } => loads_lane(memarg, 32, lane),
        V128Load64Lane { memarg, lane } => loads_lane(memarg, 64, lane),
        V128Store8Lane { memarg, lane } => stores_lane(memarg, 8, lane),
        V128Store16Lane { memarg, lane } => stores_lane(memarg, 16, lane),
        V128Store32Lane { memarg, lane } => stores_lane(memarg, 32, lane),
        V128Store64Lane { memarg, lane } => stores_lane(memarg, 64, lane),
        _ => None,
    }
}

fn lane(at: MemArg, bits: u32, number: u8) -> Lane {
    use Instruction as I;
    let (scalar, load, store, replace, extract) = match bits {
        8 => {
            (Scalar::I32, I::I32Load8U(at), I::I32Store8(at), I::I8x16ReplaceLane(number), I::I8x16ExtractLaneU(number))
        }
        16 => (
            Scalar::I32,
            I::I32Load16U(at),
            I::I32Store16(at),
            I::I16x8ReplaceLane(number),
            I::I16x8ExtractLaneU(number),
        ),
        32 => (Scalar::I32, I::I32Load(at), I::I32Store(at), I::I32x4ReplaceLane(number), I::I32x4ExtractLane(number)),
        _ => (Scalar::I64, I::I64Load(at), I::I64Store(at), I::I64x2ReplaceLane(number), I::I64x2ExtractLane(number)),
    };
    Lane { scalar, kind: unsigned(bits / 8), load, store, replace, extract }
}

/// Atomic read-modify-writes.
fn atomic(operator: &Operator<'_>) -> Option<Access> {
    use Operator::*;
    let change = |at, width_bytes, operands| Some(Access::Change { at: written(at), width_bytes, operands });
    macro_rules! changes {
        ($($width:literal $operands:ident: $($name:ident)*;)*) => {
            match *operator {
                $($($name { memarg } => change(memarg, $width, $operands),)*)*
                _ => None,
            }
        };
    }
    changes! {
        1 ONE_I32: I32AtomicRmw8AddU I32AtomicRmw8SubU I32AtomicRmw8AndU I32AtomicRmw8OrU I32AtomicRmw8XorU
                   I32AtomicRmw8XchgU;
        2 ONE_I32: I32AtomicRmw16AddU I32AtomicRmw16SubU I32AtomicRmw16AndU I32AtomicRmw16OrU I32AtomicRmw16XorU
                   I32AtomicRmw16XchgU;
        4 ONE_I32: I32AtomicRmwAdd I32AtomicRmwSub I32AtomicRmwAnd I32AtomicRmwOr I32AtomicRmwXor I32AtomicRmwXchg;
        1 ONE_I64: I64AtomicRmw8AddU I64AtomicRmw8SubU I64AtomicRmw8AndU I64AtomicRmw8OrU I64AtomicRmw8XorU
                   I64AtomicRmw8XchgU;
        2 ONE_I64: I64AtomicRmw16AddU I64AtomicRmw16SubU I64AtomicRmw16AndU I64AtomicRmw16OrU I64AtomicRmw16XorU
                   I64AtomicRmw16XchgU;
        4 ONE_I64: I64AtomicRmw32AddU I64AtomicRmw32SubU I64AtomicRmw32AndU I64AtomicRmw32OrU I64AtomicRmw32XorU
                   I64AtomicRmw32XchgU;
        8 ONE_I64: I64AtomicRmwAdd I64AtomicRmwSub I64AtomicRmwAnd I64AtomicRmwOr I64AtomicRmwXor I64AtomicRmwXchg;
        1 TWO_I32: I32AtomicRmw8CmpxchgU;
        2 TWO_I32: I32AtomicRmw16CmpxchgU;
        4 TWO_I32: I32AtomicRmwCmpxchg;
        1 TWO_I64: I64AtomicRmw8CmpxchgU;
        2 TWO_I64: I64AtomicRmw16CmpxchgU;
        4 TWO_I64: I64AtomicRmw32CmpxchgU;
        8 TWO_I64: I64AtomicRmwCmpxchg;
    }
}

/// Bulk instructions. One from the first memory to another one reads what will be overwritten, for an undo log; what
/// was overwritten is known after a rollback.
fn bulk(operator: &Operator<'_>) -> Option<Access> {
    match *operator {
        Operator::MemoryCopy { dst_mem: 0, src_mem: 0 } => Some(Access::Copy),
        Operator::MemoryFill { mem: 0 } | Operator::MemoryInit { mem: 0, .. } => Some(Access::Fill),
        _ => None,
    }
}
